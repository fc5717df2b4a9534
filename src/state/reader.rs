//! Reads what is in a state file, also while a daemon writes it.

use std::collections::HashMap;
use std::path::Path;

use rusqlite::{Connection, OpenFlags, OptionalExtension, Row, params};

use super::db::{ASIDE, BUSY, GOOD, HISTORY_FORMAT, check, meta, span, version};
use super::error::StateError;
use super::journal::JournalRow;
use super::records::OutMessage;
use super::rows::{FILTER, FORGOTTEN};
use super::snapshot::Snapshot;
use crate::history::StreamHistory;

/// Columns that [`snapshot_row`] reads.
const SNAPSHOT: &str =
    "SELECT id, stream, seq, readings, format, created_ms, crc, status, params, state
 FROM snapshots";

/// A stored snapshot with what the file says about it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SnapshotRow {
    /// Its row.
    pub id: i64,
    /// Set aside: made with other settings.
    pub aside: bool,
    /// Its checksum is right.
    pub intact: bool,
    /// The snapshot.
    pub snapshot: Snapshot,
}

/// How much there is in each table that is not a journal or a snapshot.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TableCounts {
    /// Edges of incidents.
    pub incident_edges: u64,
    /// Messages without a PUBACK.
    pub outbox: u64,
    /// Readings set apart.
    pub dead_letters: u64,
}

/// Reads a state file, also while a daemon writes it.
#[derive(Debug)]
pub struct Reader {
    connection: Connection,
}

impl Reader {
    /// Opens `path` read-only.
    ///
    /// # Errors
    /// When it is missing, damaged, newer than this program or not ours.
    pub fn open(path: &Path) -> Result<Reader, StateError> {
        if !path.is_file() {
            return Err(StateError::Open {
                path: path.to_owned(),
                detail: "no such file".to_owned(),
            });
        }
        let connection = read_only(path).map_err(|e| StateError::Open {
            path: path.to_owned(),
            detail: e.to_string(),
        })?;
        check(&connection, path)?;
        Ok(Reader { connection })
    }

    /// Opens `path` read-only without looking whether it is whole.
    pub(crate) fn open_unchecked(path: &Path) -> rusqlite::Result<Reader> {
        Ok(Reader {
            connection: read_only(path)?,
        })
    }

    /// Every snapshot, of one stream or of all, by stream and then newest first. Rows that cannot
    /// be read at all are left out and counted in the second part.
    ///
    /// # Errors
    /// When SQLite cannot read the table.
    pub fn snapshots(&self, stream: Option<&str>) -> Result<(Vec<SnapshotRow>, u64), StateError> {
        let sql = format!("{SNAPSHOT} NOT INDEXED WHERE ?1 IS NULL OR stream = ?1");
        let (mut found, unreadable) = self.readable(&sql, params![stream], snapshot_row)?;
        found.sort_by(|a, b| (&a.snapshot.stream, b.id).cmp(&(&b.snapshot.stream, a.id)));
        Ok((found, unreadable))
    }

    /// Row and stream of every snapshot, by stream and then newest first; rows that cannot be read
    /// are left out and counted in the second part.
    pub(crate) fn snapshot_ids(&self) -> Result<(Vec<(i64, String)>, u64), StateError> {
        let sql = "SELECT id, stream FROM snapshots NOT INDEXED";
        let (mut found, unreadable) = self.readable(sql, [], |row| {
            Ok((row.get::<_, i64>(0)?, row.get::<_, String>(1)?))
        })?;
        found.sort_by(|a, b| (&a.1, b.0).cmp(&(&b.1, a.0)));
        Ok((found, unreadable))
    }

    /// The rows of `sql` that can be read, and how many cannot.
    fn readable<T>(
        &self,
        sql: &str,
        params: impl rusqlite::Params,
        map: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<(Vec<T>, u64), StateError> {
        let error = || StateError::sql("reading snapshots");
        let mut statement = self.connection.prepare(sql).map_err(error())?;
        let rows = statement.query_map(params, map).map_err(error())?;
        let mut found = Vec::new();
        let mut unreadable = 0;
        for row in rows {
            match row {
                Ok(row) => found.push(row),
                Err(_) => unreadable += 1,
            }
        }
        Ok((found, unreadable))
    }

    /// One snapshot by its row.
    pub(crate) fn snapshot(&self, id: i64) -> Result<SnapshotRow, StateError> {
        self.connection
            .prepare_cached(&format!("{SNAPSHOT} WHERE id = ?1"))
            .and_then(|mut statement| statement.query_row([id], snapshot_row))
            .map_err(StateError::sql("reading a snapshot"))
    }

    /// The newest good snapshot of a stream that ends with reading number `seq`.
    pub(crate) fn snapshot_at(
        &self,
        stream: &str,
        seq: u64,
    ) -> Result<Option<SnapshotRow>, StateError> {
        self.connection
            .prepare(&format!(
                "{SNAPSHOT} WHERE stream = ?1 AND status = ?2 AND seq = ?3
                          ORDER BY id DESC LIMIT 1"
            ))
            .and_then(|mut statement| {
                let key = params![stream, GOOD, seq as i64];
                statement.query_row(key, snapshot_row).optional()
            })
            .map_err(StateError::sql("reading a snapshot"))
    }

    /// Calls `visit` with every journal row that may hold readings after `seq`, in order; a row
    /// that cannot be read comes as an error.
    ///
    /// # Errors
    /// When SQLite cannot read the table, or the first error of `visit`.
    pub fn journal(
        &self,
        seq: u64,
        mut visit: impl FnMut(Result<JournalRow, StateError>) -> Result<(), StateError>,
    ) -> Result<(), StateError> {
        let mut statement = self
            .connection
            .prepare(
                "SELECT first_seq, last_seq, crc, data FROM journal WHERE first_seq >=
                 (SELECT coalesce(max(first_seq), 0) FROM journal WHERE first_seq <= ?1)
                 ORDER BY first_seq",
            )
            .map_err(StateError::sql("reading the journal"))?;
        let rows = statement
            .query_map([seq as i64], journal_row)
            .map_err(StateError::sql("reading the journal"))?;
        for row in rows {
            visit(row.map_err(StateError::sql("reading the journal")))?;
        }
        Ok(())
    }

    /// The first reading of the journal row before the first one that holds readings after `seq`;
    /// `None` where that is the first of all.
    pub(crate) fn journal_start(&self, seq: u64) -> Result<Option<u64>, StateError> {
        let sql = "SELECT max(first_seq) FROM journal WHERE last_seq <= ?1";
        self.connection
            .query_row(sql, [seq as i64], |row| row.get::<_, Option<i64>>(0))
            .map(|first| first.map(|first| first as u64))
            .map_err(StateError::sql("reading the journal"))
    }

    /// The next `limit` rows of the journal at most, after the one whose first reading is `after`.
    pub(crate) fn journal_rows(
        &self,
        after: Option<u64>,
        limit: usize,
    ) -> Result<Vec<JournalRow>, StateError> {
        let error = || StateError::sql("reading the journal");
        let mut statement = self
            .connection
            .prepare_cached(
                "SELECT first_seq, last_seq, crc, data FROM journal WHERE first_seq > ?1
                 ORDER BY first_seq LIMIT ?2",
            )
            .map_err(error())?;
        let after = after.map_or(-1, |after| after as i64);
        let rows = statement.query_map(params![after, limit as i64], journal_row);
        let rows: rusqlite::Result<_> = rows.map_err(error())?.collect();
        rows.map_err(error())
    }

    /// Rows, bytes, first and last reading of the journal; `None` when it is empty.
    ///
    /// # Errors
    /// When SQLite cannot read the table.
    pub fn journal_span(&self) -> Result<Option<(u64, u64, u64, u64)>, StateError> {
        span(&self.connection).map_err(StateError::sql("reading the journal"))
    }

    /// Number of the newest reading that was pruned from the journal; 0 before any.
    pub(crate) fn pruned_through(&self) -> Result<u64, StateError> {
        meta(&self.connection, "pruned_through").map_err(StateError::sql("reading the journal"))
    }

    /// Streams that were given up, each with the number of its last reading by then.
    pub(crate) fn forgotten(&self) -> HashMap<String, u64> {
        let query = || {
            let sql = "SELECT substr(key, ?2), value FROM meta WHERE key GLOB ?1";
            let mut statement = self.connection.prepare(sql)?;
            let from = FORGOTTEN.len() as i64 + 1;
            let rows = statement.query_map(params![format!("{FORGOTTEN}*"), from], |row| {
                Ok((row.get(0)?, row.get::<_, i64>(1)? as u64))
            })?;
            rows.collect::<rusqlite::Result<HashMap<String, u64>>>()
        };
        // Without it they come back, which is no loss.
        query().unwrap_or_else(|error| {
            tracing::warn!(%error, "the list of streams that were given up cannot be read: they come back");
            HashMap::new()
        })
    }

    /// A number of the meta table; 0 where it is missing or cannot be read.
    pub(crate) fn meta(&self, key: &str) -> u64 {
        meta(&self.connection, key).unwrap_or(0)
    }

    /// Sizes of the small tables.
    ///
    /// # Errors
    /// When SQLite cannot read them.
    pub fn counts(&self) -> Result<TableCounts, StateError> {
        let count = |table: &str| {
            self.connection
                .query_row(&format!("SELECT count(*) FROM {table}"), [], |row| {
                    row.get::<_, i64>(0)
                })
                .map(|n| n as u64)
                .map_err(StateError::sql("counting rows"))
        };
        Ok(TableCounts {
            incident_edges: count("incidents")?,
            outbox: count("outbox")?,
            dead_letters: count("dead_letters")?,
        })
    }

    /// The newest `limit` incident edges, newest first: stream and the incident as JSON.
    ///
    /// # Errors
    /// When SQLite cannot read the table.
    pub fn incidents(&self, limit: usize) -> Result<Vec<(String, String)>, StateError> {
        self.list(
            "SELECT stream, body FROM incidents ORDER BY id DESC LIMIT ?1",
            limit,
            |row| Ok((row.get(0)?, row.get(1)?)),
        )
    }

    /// Stream, number, start and kind ([`super::Edge::edge`]) of every recorded edge.
    pub(crate) fn edges(&self) -> Result<Vec<(String, u64, i64, i64)>, StateError> {
        self.list(
            "SELECT stream, number, start_ms, edge FROM incidents LIMIT ?1",
            usize::MAX >> 1,
            |row| {
                Ok((
                    row.get(0)?,
                    row.get::<_, i64>(1)? as u64,
                    row.get(2)?,
                    row.get(3)?,
                ))
            },
        )
    }

    /// Messages without a PUBACK, oldest first.
    ///
    /// # Errors
    /// When SQLite cannot read the table.
    pub fn outbox(&self) -> Result<Vec<OutMessage>, StateError> {
        self.list(
            "SELECT id, topic, payload, retain FROM outbox ORDER BY id LIMIT ?1",
            usize::MAX >> 1,
            |row| {
                Ok(OutMessage {
                    id: row.get::<_, i64>(0)? as u64,
                    topic: row.get(1)?,
                    payload: row.get(2)?,
                    retain: row.get(3)?,
                })
            },
        )
    }

    /// Histories of this version's layout; none where the file is older than the table.
    pub(crate) fn histories(&self) -> Vec<(String, StreamHistory)> {
        let sql = "SELECT stream, body FROM history WHERE format = ?1";
        let rows = self.readable(sql, [HISTORY_FORMAT], |row| {
            let body: Vec<u8> = row.get(1)?;
            Ok((row.get(0)?, postcard::from_bytes(&body).ok()))
        });
        let (rows, _) = rows.unwrap_or_default();
        let whole = rows.into_iter();
        let whole = whole.filter_map(|(stream, history)| Some((stream, history?)));
        whole.collect()
    }

    /// Filters to which the broker may hold a subscription.
    pub(crate) fn filters(&self) -> Vec<String> {
        let sql = "SELECT key FROM meta WHERE key GLOB ?1";
        let rows = self.readable(sql, [format!("{FILTER}*")], |row| row.get::<_, String>(0));
        let (keys, _) = rows.unwrap_or_default();
        let filters = keys.iter().filter_map(|key| key.strip_prefix(FILTER));
        filters.map(str::to_owned).collect()
    }

    /// Readings set apart: number, stream, the reading as JSON, and why.
    ///
    /// # Errors
    /// When SQLite cannot read the table.
    pub fn dead_letters(&self) -> Result<Vec<(u64, String, String, String)>, StateError> {
        self.list(
            "SELECT seq, stream, payload, reason FROM dead_letters ORDER BY seq LIMIT ?1",
            usize::MAX >> 1,
            |row| {
                Ok((
                    row.get::<_, i64>(0)? as u64,
                    row.get(1)?,
                    row.get(2)?,
                    row.get(3)?,
                ))
            },
        )
    }

    /// Copies what there is of a small table into the open file of `to`, row by row as far as it can be
    /// read; returns how many rows.
    pub(crate) fn copy_table(&self, table: &str, to: &Connection) -> rusqlite::Result<u64> {
        let mut read = self
            .connection
            .prepare(&format!("SELECT * FROM {table} NOT INDEXED"))?;
        let n = read.column_count();
        let places = vec!["?"; n].join(",");
        let mut write = to.prepare(&format!("INSERT OR IGNORE INTO {table} VALUES({places})"))?;
        let mut rows = read.query([])?;
        let mut copied = 0;
        // An error here means that the table ends early; what came before it counts.
        while let Ok(Some(row)) = rows.next() {
            let values = (0..n).map(|i| row.get::<_, rusqlite::types::Value>(i));
            let Ok(values) = values.collect::<rusqlite::Result<Vec<_>>>() else {
                continue;
            };
            copied += write.execute(rusqlite::params_from_iter(values))? as u64;
        }
        Ok(copied)
    }

    fn list<T>(
        &self,
        sql: &str,
        limit: usize,
        map: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
    ) -> Result<Vec<T>, StateError> {
        let error = || StateError::sql("reading a table");
        let mut statement = self.connection.prepare(sql).map_err(error())?;
        let rows = statement
            .query_map([limit as i64], map)
            .map_err(error())?
            .collect::<rusqlite::Result<_>>();
        rows.map_err(error())
    }
}

/// Opens read-only; where the directory cannot be written, without the shared-memory file.
fn read_only(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    match version(&connection) {
        Err(e) if e.sqlite_error_code() == Some(rusqlite::ErrorCode::CannotOpen) => {
            let escaped = path
                .to_string_lossy()
                .replace('%', "%25")
                .replace('?', "%3f")
                .replace('#', "%23");
            let uri = format!("file:{escaped}?immutable=1");
            Connection::open_with_flags(uri, flags | OpenFlags::SQLITE_OPEN_URI)
        }
        _ => Ok(connection),
    }
}

fn journal_row(row: &Row<'_>) -> rusqlite::Result<JournalRow> {
    Ok(JournalRow {
        first_seq: row.get::<_, i64>(0)? as u64,
        last_seq: row.get::<_, i64>(1)? as u64,
        crc: row.get(2)?,
        data: row.get(3)?,
    })
}

fn snapshot_row(row: &Row<'_>) -> rusqlite::Result<SnapshotRow> {
    let snapshot = Snapshot {
        stream: row.get(1)?,
        seq: row.get::<_, i64>(2)? as u64,
        readings: row.get::<_, i64>(3)? as u64,
        format: row.get(4)?,
        created_ms: row.get(5)?,
        params: row.get(8)?,
        state: row.get(9)?,
    };
    Ok(SnapshotRow {
        id: row.get(0)?,
        aside: row.get::<_, i64>(7)? == ASIDE,
        intact: snapshot.checksum() == row.get::<_, u32>(6)?,
        snapshot,
    })
}
