//! Options of the store, what it records and what it counts.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

use super::db;
use crate::config::Durability;
use crate::row::IncidentEdge;
#[cfg(doc)]
use crate::row::Ruling;

/// Where and how to keep the state.
#[derive(Clone, Debug)]
pub struct StoreOptions {
    /// Directory of the state file; made if missing.
    pub dir: PathBuf,
    /// Guarantee against failures.
    pub durability: Durability,
    /// Readings that make a group commit at once (1 and more). Keep it well below the broker's
    /// in-flight window (20 by default), or the stream stalls for `commit_age` every window.
    pub commit_messages: usize,
    /// Longest wait of a reading for its group commit.
    pub commit_age: Duration,
    /// Packed readings kept at most before a snapshot is asked for, in bytes.
    pub journal_max_bytes: u64,
}

impl StoreOptions {
    /// The defaults: journal, 10 readings or 5 ms, 256 MiB.
    pub fn new(dir: impl Into<PathBuf>) -> StoreOptions {
        StoreOptions {
            dir: dir.into(),
            durability: Durability::Journal,
            commit_messages: 10,
            commit_age: Duration::from_millis(5),
            journal_max_bytes: 256 << 20,
        }
    }

    /// The state file.
    pub fn path(&self) -> PathBuf {
        self.dir.join(db::FILE_NAME)
    }
}

/// Called once, on the writer's thread, when a command is on disk or has failed for good.
pub type Done = Box<dyn FnOnce(Result<(), String>) + Send>;

/// Numbers of edges from here on are of channels that joined.
const JOINED: i64 = 16;

/// An edge of an incident, to be recorded once.
#[derive(Clone, Debug, PartialEq)]
pub struct Edge {
    /// The stream's name.
    pub stream: String,
    /// The incident's number within its stream.
    pub number: u64,
    /// Its first flagged row, unix milliseconds.
    pub start_ms: i64,
    /// 0 it opened, 1 it ended, 2 and more it was ruled on: 2 and the ruling's place in
    /// [`Ruling::ALL`].
    pub edge: i64,
    /// The incident as JSON.
    pub body: String,
}

impl Edge {
    /// The record of an edge.
    pub fn of(stream: &str, edge: &IncidentEdge) -> Edge {
        let incident = edge.incident();
        Edge {
            stream: stream.to_owned(),
            number: incident.id,
            start_ms: incident.start_ms,
            edge: match edge {
                IncidentEdge::Opened(_) => 0,
                IncidentEdge::Closed(_) => 1,
                // A channel joins an incident once.
                IncidentEdge::Joined { channels, .. } => {
                    JOINED + channels.first().map_or(0, |&channel| channel as i64)
                }
                IncidentEdge::Judged(incident) => {
                    2 + incident.verdict.map_or(0, |ruling| ruling as i64)
                }
            },
            body: serde_json::to_string(incident).unwrap_or_default(),
        }
    }
}

/// A QoS 1 message that must not be lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutMessage {
    /// Number in the outbox.
    pub id: u64,
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: Vec<u8>,
    /// The broker is to retain it.
    pub retain: bool,
}

/// Counts of the store since it was opened, and its state.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StoreStats {
    /// Readings written to the journal.
    pub readings: u64,
    /// Commits.
    pub commits: u64,
    /// Time spent in commits, microseconds.
    pub commit_us: u64,
    /// Packed bytes in the journal now.
    pub journal_bytes: u64,
    /// Snapshots written.
    pub snapshots: u64,
    /// Snapshots that could not be written.
    pub snapshot_failures: u64,
    /// Times that the journal's size made snapshots due.
    pub forced: u64,
    /// Commits that failed and were tried again.
    pub write_failures: u64,
    /// Messages without a PUBACK now.
    pub outbox: u64,
    /// Readings set apart.
    pub dead_letters: u64,
    /// Error of the last commit; `None` once one succeeded again.
    pub failing: Option<String>,
}

/// One stream's readings: what the older of its two snapshots covers, and the newest journaled.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Span {
    /// Numbers of the stream's newest snapshots, older first; equal when there is only one, or
    /// both just before the stream's first reading when there is none.
    pub covered: [u64; 2],
    /// Number of its newest reading in the journal.
    pub last: u64,
}

/// The newest reading of each stream and what its snapshots cover.
pub(crate) type Spans = HashMap<String, Span>;
