//! Commands to the writer, and what it shares with those who send them.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

use super::journal::JournalEntry;
use super::records::{Done, Edge, OutMessage, Spans};
use super::snapshot::Snapshot;
use crate::progress::Pulse;
use crate::row::Reading;

/// Requests to the writer.
pub(crate) enum WriterCommand {
    Append {
        readings: Vec<JournalEntry>,
        done: Done,
    },
    Save {
        snapshot: Snapshot,
        done: Option<Done>,
    },
    Mark {
        id: i64,
        status: i64,
    },
    Record {
        edge: Edge,
        messages: Vec<OutMessage>,
    },
    Delivered(u64),
    Forget {
        stream: String,
        seq: u64,
    },
    History {
        stream: String,
        body: Vec<u8>,
    },
    /// Filters that the broker may hold subscriptions to.
    Filters(Vec<String>),
    Dead {
        reading: Reading,
        reason: String,
    },
    Adopt {
        spans: Spans,
        last_seq: u64,
    },
    Flush(Done),
    Stop,
}

impl WriterCommand {
    pub(crate) fn into_done(self) -> Option<Done> {
        match self {
            WriterCommand::Append { done, .. } | WriterCommand::Flush(done) => Some(done),
            WriterCommand::Save { done, .. } => done,
            _ => None,
        }
    }

    pub(crate) fn is_urgent(&self) -> bool {
        matches!(self, WriterCommand::Flush(_) | WriterCommand::Stop)
    }
}

/// Standing of the writer, which its senders see.
#[derive(Debug, Default)]
pub(crate) struct Shared {
    pub readings: AtomicU64,
    pub commits: AtomicU64,
    pub commit_us: AtomicU64,
    pub journal_bytes: AtomicU64,
    pub snapshots: AtomicU64,
    pub snapshot_failures: AtomicU64,
    pub write_failures: AtomicU64,
    pub outbox: AtomicU64,
    pub dead_letters: AtomicU64,
    pub next_out: AtomicU64,
    pub last_seq: AtomicU64,
    pub forced: AtomicU64,
    /// Numbers of the last readings in each stream's two newest snapshots on disk, older first.
    pub covered: Mutex<HashMap<String, [u64; 2]>>,
    pub wants_snapshot: AtomicBool,
    pub stopping: AtomicBool,
    pub failing: Mutex<Option<String>>,
    /// Streams with a snapshot on its way to the file.
    pub pending: Mutex<HashSet<String>>,
    /// Signs of life of the writer.
    pub pulse: Arc<Pulse>,
}

impl Shared {
    pub fn new() -> Shared {
        Shared {
            pulse: Pulse::new("state-writer"),
            ..Shared::default()
        }
    }

    /// No snapshot is on disk any more: all streams are to be saved.
    pub fn note_nothing_covered(&self) {
        let covered = &self.covered;
        let mut covered = covered.lock().unwrap_or_else(PoisonError::into_inner);
        covered.clear();
        self.wants_snapshot.store(true, Relaxed);
    }

    /// The snapshots among the commands are on their way no more.
    pub fn note_saved(&self, commands: &[WriterCommand]) {
        let mut pending = self.pending.lock().unwrap_or_else(PoisonError::into_inner);
        for command in commands {
            if let WriterCommand::Save { snapshot, .. } = command {
                pending.remove(&snapshot.stream);
            }
        }
    }
}
