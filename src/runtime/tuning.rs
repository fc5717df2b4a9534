//! Hands changed settings to the threads and connections of a running daemon.

use std::sync::Arc;
use std::time::Duration;

use crossbeam_channel::{Sender, TrySendError};
use tokio::sync::mpsc::Receiver;
use tokio::sync::{oneshot, watch};
use tracing::info;

use super::LiveSettings;
use super::filters::filters;
use super::intake::ChangedInputs;
use super::orders::WorkerMessage;
use super::worker::Worker;
use crate::carrier::store::Store;
use crate::config::InputSettings;
use crate::mqtt::Filters;
use crate::status::Status;
use crate::stream::StreamParams;

/// Time between two attempts to hand over to a worker whose queue is full.
const AGAIN: Duration = Duration::from_millis(10);

/// Threads and connections that take over changed settings.
pub(super) struct Takers {
    /// Take the settings of the models.
    pub(super) workers: Vec<Sender<WorkerMessage>>,
    /// Takes the inputs, for the intake thread.
    pub(super) intake: Sender<ChangedInputs>,
    /// Filters of the connection that receives.
    pub(super) filters: watch::Sender<Filters>,
    /// Keeps these filters over a restart.
    pub(super) store: Arc<dyn Store>,
    /// Metrics.
    pub(super) shared: Arc<Status>,
}

impl Takers {
    /// Hands on whatever comes, until it is aborted.
    pub(super) async fn hand_on(self, mut changed: Receiver<LiveSettings>) {
        while let Some(settings) = changed.recv().await {
            if let Some(params) = settings.params {
                self.tune(params).await;
            }
            if let Some(inputs) = settings.inputs {
                self.replace_inputs(inputs).await;
            }
        }
    }

    async fn tune(&self, params: StreamParams) {
        let allowed = params.engine.get().detect.false_alarms_per_week;
        self.shared.metrics.set_false_alarms_allowed(allowed);
        for worker in &self.workers {
            let mut work = WorkerMessage::Tune(params.clone());
            while let Err(TrySendError::Full(back)) = worker.try_send(work) {
                work = back;
                tokio::time::sleep(AGAIN).await;
            }
        }
    }

    /// The messages of a topic come once it is known how to read them.
    async fn replace_inputs(&self, inputs: Vec<InputSettings>) {
        let wanted = filters(&inputs);
        let (taken, told) = oneshot::channel();
        let changed = ChangedInputs { inputs, taken };
        // An error means that the intake thread has ended: so will the daemon.
        if self.intake.send(changed).is_err() || told.await.is_err() {
            return;
        }
        self.filters.send_modify(|filters| {
            filters.replace_needed(wanted);
            let topics: Vec<&str> = filters.needed.iter().map(|(topic, _)| &**topic).collect();
            let dropped = filters.former.join(" ");
            info!(
                topics = topics.join(" "),
                dropped, "subscribes to other topics"
            );
        });
        let held = self.filters.borrow().held();
        self.store.keep_filters(held);
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
