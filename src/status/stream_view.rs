//! State of one stream and its history, as its worker shows them to other rooms.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use super::lock;
use crate::engine::EngineStats;
use crate::history::StreamHistory;
use crate::metrics::StreamFigures;
use crate::row::{Kind, Muted, Outcome};

/// State of one stream, updated by its worker once a batch.
#[derive(Clone, Debug)]
pub struct StreamView {
    /// Channel names.
    pub channels: Vec<Arc<str>>,
    /// The last row's outcome.
    pub last: Option<Outcome>,
    /// The engine's counters.
    pub stats: EngineStats,
    /// Time that they took, since the start or since the stream came back to memory.
    pub busy: Duration,
    /// When the last one came; the start where none has since.
    pub touched: Instant,
    /// Usual time between two readings of a channel; zero while unknown.
    pub usual_interval: Duration,
    /// Kind of the open incident.
    pub incident: Option<Kind>,
    /// Mutes that last, and until when.
    pub muted: Muted,
}

impl StreamView {
    pub(super) fn figures(&self) -> StreamFigures<'_> {
        let last = self.last.as_ref();
        StreamFigures {
            stats: &self.stats,
            score: last.map_or(0.0, |last| last.score),
            severity: last.map_or(0.0, |last| last.severity),
            incident: self.incident,
            is_muted: self.muted.until_ms.is_some(),
            last_reading_age: self.touched.elapsed(),
            usual_interval: self.usual_interval,
            channels: &self.channels,
            outcomes: last.map_or(&[], |last| &last.channels),
        }
    }
}

/// A stream's history, which its worker writes and the HTTP room reads.
#[derive(Debug, Default)]
pub struct KeptHistory {
    history: Mutex<StreamHistory>,
    /// Rows taken by when it was last written to disk.
    saved: AtomicU64,
}

impl KeptHistory {
    /// A history that was kept over a restart.
    pub(super) fn restored(history: StreamHistory) -> KeptHistory {
        KeptHistory {
            saved: AtomicU64::new(history.taken()),
            history: Mutex::new(history),
        }
    }

    /// The history, until the guard goes.
    pub fn lock(&self) -> MutexGuard<'_, StreamHistory> {
        lock(&self.history)
    }

    /// Writes the history by `write`, which says whether it could, where it has new rows.
    pub fn save(&self, write: impl FnOnce(&StreamHistory) -> bool) {
        let history = self.lock();
        let taken = history.taken();
        if self.saved.load(Ordering::Acquire) != taken && write(&history) {
            self.saved.store(taken, Ordering::Release);
        }
    }
}
