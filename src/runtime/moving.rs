//! Does what messages to a worker ask for, and takes a stream from one worker to another.

use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use tracing::error;

use super::orders::{Coming, Item, Moved, WorkerMessage};
use super::worker::Worker;
use crate::progress;
use crate::row::{Outcome, StreamId};

/// Readings that wait for one stream at most, before the worker waits for it too. That cannot end in
/// two workers that wait for each other: what one waits for was sent to the other before.
const WAITING: usize = 1024;
/// Time between two signs of life of a worker that waits for another.
const PATIENCE: Duration = Duration::from_millis(200);

impl Worker {
    /// Does what it is told.
    pub(super) fn work(&mut self, work: WorkerMessage, outcomes: &mut Vec<Outcome>) {
        match work {
            WorkerMessage::Learn(items) => self.learn_in_turn(items, outcomes),
            WorkerMessage::Give(stream, to) => {
                self.let_in(&stream, outcomes);
                // Published before anything that its next worker says of the stream.
                self.flush();
                let slot = self.streams.remove(&stream);
                let unsaved = slot.as_ref().map_or(Duration::ZERO, |s| s.unsaved_busy);
                self.unsaved_busy = self.unsaved_busy.saturating_sub(unsaved);
                let moved = Moved {
                    slot,
                    evicted: self.evicted.remove(&stream),
                };
                if to.send(moved).is_err() {
                    error!(%stream, "a worker has ended: a stream on its way there is lost");
                }
            }
            WorkerMessage::Tune(params) => self.tune(params),
            WorkerMessage::Cut(cut) => self.cut(&cut, outcomes),
            WorkerMessage::Forget(stream, seq) => {
                self.let_in(&stream, outcomes);
                self.forget(&stream, seq);
            }
            WorkerMessage::Take(stream, from) => {
                let items = Vec::new();
                self.coming.insert(stream, Coming { from, items });
            }
        }
    }

    /// Keeps a reading whose stream is on its way; gives back any other.
    pub(super) fn keep_waiting(&mut self, item: Item, outcomes: &mut Vec<Outcome>) -> Option<Item> {
        let Some(coming) = self.coming.get_mut(&item.reading.stream) else {
            return Some(item);
        };
        if coming.items.len() < WAITING {
            coming.items.push(item);
            return None;
        }
        self.let_in(&item.reading.stream, outcomes);
        Some(item)
    }

    /// Lets in the streams that have come, or all, however long it takes.
    pub(super) fn let_all_in(&mut self, wait: bool, outcomes: &mut Vec<Outcome>) {
        let here = self.coming.iter();
        let here = here.filter(|(_, coming)| wait || !coming.from.is_empty());
        let here: Vec<StreamId> = here.map(|(stream, _)| stream.clone()).collect();
        for stream in here {
            self.let_in(&stream, outcomes);
        }
    }

    /// Waits for a stream that is on its way and learns what has waited for it.
    pub(super) fn let_in(&mut self, stream: &StreamId, outcomes: &mut Vec<Outcome>) {
        let Some(Coming { from, items }) = self.coming.remove(stream) else {
            return;
        };
        let Some(Moved { slot, evicted }) = wait_for(&from) else {
            error!(%stream, readings = items.len(), "a worker has ended: its stream is lost");
            return;
        };
        if let Some(mut slot) = slot {
            if self.is_tuned {
                slot.stream.retune(&self.params);
            }
            if slot.unsaid.is_some() {
                self.held.push_front((Instant::now(), stream.clone()));
            }
            self.unsaved_busy += slot.unsaved_busy;
            self.streams.insert(stream.clone(), slot);
            // Its turn may have passed here and not have come there.
            self.unsaved.push(stream.clone());
        }
        if let Some(evicted) = evicted {
            self.evicted.insert(stream.clone(), evicted);
        }
        self.learn_in_turn(items, outcomes);
    }
}

/// The stream once its worker has given it; `None` where that has ended.
fn wait_for(from: &Receiver<Moved>) -> Option<Moved> {
    loop {
        progress::beat();
        match from.recv_timeout(PATIENCE) {
            Ok(moved) => return Some(moved),
            Err(RecvTimeoutError::Timeout) => {}
            Err(RecvTimeoutError::Disconnected) => return None,
        }
    }
}
