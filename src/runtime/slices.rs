//! A wide stream's mini-batch is learned in slices, between which other streams' readings are taken:
//! none waits for more than a slice. A stream owes what is left of its mini-batch until its next
//! reading, its snapshot or its leaving at the latest; when it is learned changes no bit.

use std::sync::Arc;
use std::time::Instant;

use super::worker::{Worker, rebuild};
use crate::row::Reading;
use crate::state::settle_supervised;

/// Rows times channels of a slice; at least one row.
const SLICE: usize = 64;

impl Worker {
    /// Learns the mini-batch that a reading made due, once its row is on its way: the first slice, and
    /// owes the rest.
    pub(super) fn settle(&mut self, reading: &Reading) {
        if self.learn_some(reading, false) {
            self.owing.push_back(reading.clone());
        }
    }

    /// A slice of what has been owed for longest.
    pub(super) fn pay(&mut self) {
        let Some(reading) = self.owing.pop_front() else {
            return;
        };
        let begin = Instant::now();
        let left = self.learn_some(&reading, false);
        let took = begin.elapsed();
        if let Some(slot) = self.streams.get_mut(&reading.stream) {
            slot.busy += took;
        }
        self.shared.add_busy(self.idx, took);
        if left {
            self.owing.push_back(reading);
        }
    }

    /// All that a stream owes.
    pub(super) fn pay_off(&mut self, stream: &Arc<str>) {
        let owed = self.owing.iter().position(|r| r.stream == *stream);
        if let Some(reading) = owed.and_then(|at| self.owing.remove(at)) {
            self.learn_some(&reading, true);
        }
    }

    /// All that is owed.
    pub(super) fn pay_all(&mut self) {
        while let Some(reading) = self.owing.pop_front() {
            self.learn_some(&reading, true);
        }
    }

    /// A slice of the mini-batch that `reading`, its stream's last one, made due, or all; true where
    /// something is left.
    fn learn_some(&mut self, reading: &Reading, all: bool) -> bool {
        let slot = self.streams.get(&reading.stream);
        if !slot.is_some_and(|slot| slot.stream.engine().is_due()) {
            return false;
        }
        // What is in hand shares a wake-up of the sending task.
        if !self.more {
            self.tell();
        }
        let Some(slot) = self.streams.get_mut(&reading.stream) else {
            return false;
        };
        let rows = match slot.stream.channels().len() {
            n if n > 0 && !all => (SLICE / n).max(1),
            _ => usize::MAX,
        };
        let (store, shared, params) = (&self.store, &self.shared, &self.params);
        let rebuild = |reason: &str, condemned| {
            rebuild(&**store, shared, params, (reading, reason, condemned))
        };
        let begin = Instant::now();
        if settle_supervised(&mut slot.stream, (reading, rows), rebuild).is_some() {
            slot.counted = slot.stream.engine().stats().clone();
        }
        let seconds = begin.elapsed().as_secs_f64();
        self.shared.metrics.learning_seconds.inc_by(seconds);
        slot.stream.engine().is_due()
    }
}
