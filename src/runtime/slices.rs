//! Splits the update of a wide stream into slices so that other streams of the worker are not delayed.
//! The remainder is finished before the stream's next reading, snapshot or migration. The result does
//! not depend on when the slices run.

use std::sync::Arc;
use std::time::Instant;

use super::worker::{Worker, rebuild};
use crate::row::Reading;
use crate::state::settle_supervised;

/// Rows times channels of a slice; at least one row.
const MAX_SLICE_VALUES: usize = 64;

impl Worker {
    /// Learns the first slice of the mini-batch that a reading made due, once its row is on its way, and
    /// defers the rest.
    pub(super) fn start_update(&mut self, reading: &Reading) {
        if self.learn_some(reading, false) {
            self.deferred_updates.push_back(reading.clone());
        }
    }

    /// Runs a slice of the update that has been deferred for longest.
    pub(super) fn run_slice(&mut self) {
        let Some(reading) = self.deferred_updates.pop_front() else {
            return;
        };
        let begin = Instant::now();
        let left = self.learn_some(&reading, false);
        let took = begin.elapsed();
        if let Some(slot) = self.streams.get_mut(&reading.stream) {
            slot.busy += took;
            slot.unsaved_busy += took;
            self.unsaved_busy += took;
        }
        self.shared.add_busy(self.idx, took);
        if left {
            self.deferred_updates.push_back(reading);
        }
    }

    /// Finishes the update of a stream.
    pub(super) fn finish_update(&mut self, stream: &Arc<str>) {
        let deferred = self
            .deferred_updates
            .iter()
            .position(|r| r.stream == *stream);
        if let Some(reading) = deferred.and_then(|at| self.deferred_updates.remove(at)) {
            self.learn_some(&reading, true);
        }
    }

    /// Finishes every update.
    pub(super) fn finish_all_updates(&mut self) {
        while let Some(reading) = self.deferred_updates.pop_front() {
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
            self.flush();
        }
        let Some(slot) = self.streams.get_mut(&reading.stream) else {
            return false;
        };
        let rows = match slot.stream.channels().len() {
            n if n > 0 && !all => (MAX_SLICE_VALUES / n).max(1),
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
