//! A worker's part in a cut: snapshots of its streams of a partition, as they are between two messages.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use super::moving::CutWork;
use super::worker::Worker;
use crate::carrier::partition_of;
use crate::row::Outcome;
use crate::state::snapshot::Snapshot;

impl Worker {
    /// Answers a cut.
    pub(super) fn cut(&mut self, cut: &CutWork, outcomes: &mut Vec<Outcome>) {
        let is_of = |stream: &Arc<str>| partition_of(stream, cut.n_partitions) == cut.partition;
        // Streams on their way from another worker have their snapshot here.
        let coming: Vec<Arc<str>> = self.coming.keys().filter(|s| is_of(s)).cloned().collect();
        for stream in coming {
            self.let_in(&stream, outcomes);
        }
        let mut names: Vec<Arc<str>> = self.streams.keys().filter(|s| is_of(s)).cloned().collect();
        names.sort_unstable();
        let now_ms = now_ms();
        let wanted = cut.reply.is_some();
        let streams = names.iter().filter(|_| wanted);
        let streams = streams.filter_map(|name| self.streams.get(name));
        let snapshots =
            streams.map(|slot| Snapshot::of(&slot.stream, &slot.stream.params(), now_ms));
        let snapshots: Vec<Snapshot> = snapshots.collect();
        if cut.gives_up {
            self.flush_all();
            for name in &names {
                self.streams.remove(name);
                self.shared.forget(name);
            }
        } else {
            self.flush();
        }
        if let Some(reply) = &cut.reply {
            // Nobody waits any more where the daemon is about to stop.
            let _ = reply.send(snapshots);
        }
    }
}

/// The time of day, unix milliseconds.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}
