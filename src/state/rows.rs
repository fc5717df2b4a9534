//! Writes the rows that the commands of one commit ask for, and prunes the journal.

use std::time::{SystemTime, UNIX_EPOCH};

use rusqlite::{Connection, Transaction, params};

use super::commands::WriterCommand;
use super::db::{self, GOOD};
use super::journal::JournalRow;
use super::records::{Edge, OutMessage};
use super::snapshot::Snapshot;
use crate::row::Reading;

/// Begins the keys of the meta table that hold the last reading of a stream that was given up.
pub(crate) const FORGOTTEN: &str = "forgotten:";
/// Begins the keys of the meta table that name a filter to which the broker may hold a subscription.
pub(crate) const FILTER: &str = "filter:";
/// Former settings of a stream for which a model is kept.
const SETTINGS_KEPT: i64 = 3;
/// Edges of incidents kept.
const INCIDENT_EDGES: i64 = 20_000;
/// Changes of a commit, told to the rest only once they are on disk.
#[derive(Default)]
pub(super) struct CommitChanges {
    pub last_seq: Option<u64>,
    pub added: u64,
    pub removed: u64,
    pub snapshots: u64,
    pub readings: u64,
    pub outbox: i64,
    pub dead: u64,
}

/// Writes a journal row. One with the same number is damaged: a whole one would have been replayed,
/// and its number given to nobody else.
pub(crate) fn insert_group(
    transaction: &Transaction<'_>,
    row: &JournalRow,
) -> rusqlite::Result<()> {
    transaction
        .prepare_cached(
            "INSERT OR REPLACE INTO journal(first_seq, last_seq, crc, data) VALUES(?1, ?2, ?3, ?4)",
        )?
        .execute(params![
            row.first_seq as i64,
            row.last_seq as i64,
            row.crc,
            row.data
        ])
        .map(drop)
}

pub(super) fn apply(
    t: &Transaction<'_>,
    command: &WriterCommand,
    changes: &mut CommitChanges,
) -> rusqlite::Result<()> {
    match command {
        WriterCommand::Save { snapshot, .. } => {
            insert_snapshot(t, snapshot, GOOD)?;
            trim_snapshots(t, &snapshot.stream)?;
            changes.snapshots += 1;
        }
        WriterCommand::Mark { id, status } => {
            t.execute(
                "UPDATE snapshots SET status = ?2 WHERE id = ?1",
                [id, status],
            )?;
        }
        WriterCommand::Record { edge, messages } => {
            insert_edge(t, edge)?;
            for message in messages {
                insert_message(t, message)?;
                changes.outbox += 1;
            }
        }
        WriterCommand::Delivered(id) => {
            let gone = t
                .prepare_cached("DELETE FROM outbox WHERE id = ?1")?
                .execute([*id as i64])?;
            changes.outbox -= gone as i64;
        }
        WriterCommand::Forget { stream, seq } => {
            for table in ["snapshots", "history"] {
                t.execute(&format!("DELETE FROM {table} WHERE stream = ?1"), [stream])?;
            }
            set_meta(t, &format!("{FORGOTTEN}{stream}"), *seq)?;
        }
        WriterCommand::History { stream, body } => {
            t.prepare_cached(
                "INSERT OR REPLACE INTO history(stream, format, body) VALUES(?1, ?2, ?3)",
            )?
            .execute(params![stream, db::HISTORY_FORMAT, body])?;
        }
        WriterCommand::Filters(filters) => {
            t.execute("DELETE FROM meta WHERE key GLOB ?1", [format!("{FILTER}*")])?;
            for filter in filters {
                set_meta(t, &format!("{FILTER}{filter}"), 1)?;
            }
        }
        WriterCommand::Dead { reading, reason } => {
            changes.dead += insert_dead_letter(t, reading, reason)?;
        }
        WriterCommand::Append { .. }
        | WriterCommand::Adopt { .. }
        | WriterCommand::Flush(_)
        | WriterCommand::Stop => {}
    }
    Ok(())
}

/// Writes a snapshot's row.
pub(crate) fn insert_snapshot(
    connection: &Connection,
    snapshot: &Snapshot,
    status: i64,
) -> rusqlite::Result<()> {
    connection
        .prepare_cached(
            "INSERT INTO snapshots(stream, seq, readings, format, created_ms, crc, status, params, state)
             VALUES(?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9)",
        )?
        .execute(params![
            snapshot.stream,
            snapshot.seq as i64,
            snapshot.readings as i64,
            snapshot.format,
            snapshot.created_ms,
            snapshot.checksum(),
            status,
            snapshot.params,
            snapshot.state
        ])
        .map(drop)
}

/// Keeps the newest two good snapshots of a stream, its newest bad one, and the newest of each of the last
/// settings under which one was set aside.
fn trim_snapshots(t: &Transaction<'_>, stream: &str) -> rusqlite::Result<()> {
    for (status, keep) in [(GOOD, 2), (db::BAD, 1)] {
        t.prepare_cached(
            "DELETE FROM snapshots WHERE stream = ?1 AND status = ?2 AND id NOT IN
             (SELECT id FROM snapshots WHERE stream = ?1 AND status = ?2 ORDER BY id DESC LIMIT ?3)",
        )?
        .execute(params![stream, status, keep])?;
    }
    t.prepare_cached(
        "DELETE FROM snapshots WHERE stream = ?1 AND status = ?2 AND id NOT IN
         (SELECT max(id) FROM snapshots WHERE stream = ?1 AND status = ?2
          GROUP BY params, format ORDER BY max(id) DESC LIMIT ?3)",
    )?
    .execute(params![stream, db::ASIDE, SETTINGS_KEPT])
    .map(drop)
}

fn insert_edge(t: &Transaction<'_>, edge: &Edge) -> rusqlite::Result<()> {
    t.prepare_cached(
        "INSERT OR IGNORE INTO incidents(stream, number, start_ms, edge, body)
         VALUES(?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![
        edge.stream,
        edge.number as i64,
        edge.start_ms,
        edge.edge,
        edge.body
    ])?;
    t.prepare_cached("DELETE FROM incidents WHERE id <= (SELECT max(id) FROM incidents) - ?1")?
        .execute([INCIDENT_EDGES])
        .map(drop)
}

/// Writes a message of the outbox.
pub(crate) fn insert_message(t: &Transaction<'_>, message: &OutMessage) -> rusqlite::Result<()> {
    t.prepare_cached(
        "INSERT OR REPLACE INTO outbox(id, topic, payload, retain, created_ms) VALUES(?1, ?2, ?3, ?4, ?5)",
    )?
    .execute(params![
        message.id as i64,
        message.topic,
        message.payload,
        message.retain,
        now_ms()
    ])
    .map(drop)
}

fn insert_dead_letter(
    t: &Transaction<'_>,
    reading: &Reading,
    reason: &str,
) -> rusqlite::Result<u64> {
    t.prepare_cached(
        "INSERT OR IGNORE INTO dead_letters(seq, stream, channel, payload, reason, created_ms)
         VALUES(?1, ?2, ?3, ?4, ?5, ?6)",
    )?
    .execute(params![
        reading.seq as i64,
        reading.stream.name(),
        reading.channel,
        serde_json::to_string(reading).unwrap_or_default(),
        reason,
        now_ms()
    ])
    .map(|n| n as u64)
}

/// Deletes groups whose last reading is `floor` or older; returns their bytes.
pub(super) fn prune(t: &Transaction<'_>, floor: u64) -> rusqlite::Result<u64> {
    let (bytes, last): (i64, Option<i64>) = t
        .prepare_cached(
            "SELECT coalesce(sum(length(data)), 0), max(last_seq) FROM journal
             WHERE first_seq <= ?1 AND last_seq <= ?1",
        )?
        .query_row([floor as i64], |row| Ok((row.get(0)?, row.get(1)?)))?;
    let Some(last) = last else { return Ok(0) };
    t.prepare_cached("DELETE FROM journal WHERE first_seq <= ?1 AND last_seq <= ?1")?
        .execute([floor as i64])?;
    set_meta(t, "pruned_through", last as u64)?;
    t.prepare_cached("DELETE FROM meta WHERE key GLOB ?1 AND value <= ?2")?
        .execute(params![format!("{FORGOTTEN}*"), last])?;
    Ok(bytes as u64)
}

/// Writes a number of the meta table.
pub(crate) fn set_meta(connection: &Connection, key: &str, value: u64) -> rusqlite::Result<()> {
    connection
        .prepare_cached("INSERT OR REPLACE INTO meta(key, value) VALUES(?1, ?2)")?
        .execute(params![key, value as i64])
        .map(drop)
}

/// Unix milliseconds now.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| d.as_millis() as i64)
}
