//! Hands changed settings of the models to the workers of a running daemon.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Sender, TrySendError};
use tokio::sync::mpsc::Receiver;

use super::moving::Work;
use super::worker::Worker;
use crate::status::Status;
use crate::stream::StreamParams;

/// Time between two attempts to hand over to a worker whose queue is full.
const AGAIN: Duration = Duration::from_millis(10);

/// Hands on to the workers whatever comes, until it is aborted.
pub(super) async fn hand_on(
    mut changed: Receiver<StreamParams>,
    workers: Vec<Sender<Work>>,
    shared: Arc<Status>,
) {
    while let Some(params) = changed.recv().await {
        let allowed = params.engine.get().detect.false_alarms_per_week;
        shared.metrics.set_false_alarms_allowed(allowed);
        for worker in &workers {
            let mut work = Work::Tune(params.clone());
            while let Err(TrySendError::Full(back)) = worker.try_send(work) {
                work = back;
                tokio::time::sleep(AGAIN).await;
            }
        }
    }
}

impl Worker {
    /// Goes on with other settings, that the models there are can go on with, and has them saved.
    pub(super) fn tune(&mut self, params: StreamParams) {
        for slot in self.streams.values_mut() {
            slot.stream.retune(&params);
        }
        self.params = params;
        self.is_tuned = true;
        self.unsaved = self.streams.keys().cloned().collect();
    }
}
