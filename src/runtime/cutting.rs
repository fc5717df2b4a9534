//! A worker thread's part in a cluster: snapshots of its streams of a partition, as they are between two
//! messages, and streams that stand still since their engine panicked.

use std::time::{SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc::UnboundedSender;

use super::engine_panic::EnginePanic;
use super::orders::CutWork;
use super::slot::StreamRuntime;
use super::worker::Worker;
use crate::assemble::Verdict;
use crate::carrier::partition_of;
use crate::row::{Outcome, Reading, StreamId};
use crate::state::push_caught;
use crate::state::snapshot::Snapshot;
use crate::stream::{Stream, StreamParams};

impl Worker {
    /// Answers a cut.
    pub(super) fn cut(&mut self, cut: &CutWork, outcomes: &mut Vec<Outcome>) {
        let is_of = |stream: &StreamId| partition_of(stream, cut.n_partitions) == cut.partition;
        // Streams on their way from another worker have their snapshot here.
        let coming: Vec<StreamId> = self.coming.keys().filter(|s| is_of(s)).cloned().collect();
        for stream in coming {
            self.let_in(&stream, outcomes);
        }
        let mut names: Vec<StreamId> = self.streams.keys().filter(|s| is_of(s)).cloned().collect();
        names.sort_unstable();
        let slots = names.iter().filter_map(|name| self.streams.get(name));
        let is_broken = slots.into_iter().any(|slot| slot.is_broken);
        let now_ms = now_ms();
        let wanted = cut.reply.is_some() && !is_broken;
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
        // A stream that is broken has no state: the cut is not whole.
        if let Some(reply) = cut.reply.as_ref().filter(|_| !is_broken) {
            // Nobody waits any more where the daemon is about to stop.
            let _ = reply.send(snapshots);
        }
    }
}

impl StreamRuntime {
    /// Has the stream take a reading; its word is `None` where the engine panics over it, or has before. The
    /// stream then stands still, with nothing that could be taken for its state.
    pub(super) fn push_or_break(
        &mut self,
        reading: &Reading,
        outcomes: &mut Vec<Outcome>,
        params: &StreamParams,
        tell: &UnboundedSender<EnginePanic>,
    ) -> Option<Verdict> {
        if self.is_broken {
            return None;
        }
        let reason = match push_caught(&mut self.stream, reading, outcomes) {
            Ok(verdict) => return Some(verdict),
            Err(reason) => reason,
        };
        outcomes.clear();
        self.is_broken = true;
        self.stream = Stream::new(&reading.stream, params);
        self.counted = self.stream.engine().stats().clone();
        (self.last, self.unsaid) = (None, None);
        (self.open, self.silent) = (None, None);
        // Nobody listens any more where the daemon is about to stop.
        let _ = tell.send(EnginePanic {
            reading: reading.clone(),
            reason,
        });
        None
    }
}

/// The time of day, unix milliseconds.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}
