//! The intake thread and the workers: started with what was restored, and joined at the end.

use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::Receiver;
use tokio::time::Instant;

use super::ServeError;
use super::balance::{Dispatch, HANDOVER};
use super::connections::Clients;
use super::deliveries::Deliveries;
use super::expiry::Expiry;
use super::filters::home_assistant_status;
use super::input_counts::InputCounts;
use super::intake::{ChangedInputs, GroupRule, IntakeThread, Pipeline};
use super::orders::WorkerMessage;
use super::partitions::Partitions;
use super::worker::Worker;
use crate::carrier::store::{KeptBeside, Store};
use crate::config::Settings;
use crate::mqtt::Intake;
use crate::status::Status;
use crate::webhook::WebhookQueue;

/// Readings that may wait for one worker, at most: enough to keep it busy, few enough to be learned within
/// the grace period.
const WORKER_QUEUE: usize = 1024;

/// The intake thread and the workers.
pub(super) struct Threads {
    intake: JoinHandle<()>,
    workers: Vec<JoinHandle<u64>>,
    pub(super) senders: Vec<crossbeam_channel::Sender<WorkerMessage>>,
    pub(super) changed_inputs: crossbeam_channel::Sender<ChangedInputs>,
}

/// Parts that the threads are started with.
pub(super) struct Parts<'a> {
    pub(super) beside: KeptBeside,
    pub(super) webhook: Option<WebhookQueue>,
    pub(super) store: &'a Arc<dyn Store>,
    pub(super) intake: &'a Intake,
    pub(super) partitions: Partitions,
    pub(super) clients: &'a Clients,
    pub(super) shared: &'a Arc<Status>,
}

impl Threads {
    pub(super) fn start(settings: &Settings, parts: Parts<'_>) -> Result<Threads, ServeError> {
        let Parts {
            beside,
            webhook,
            store,
            intake,
            partitions,
            clients,
            shared,
        } = parts;
        let n_workers = settings.runtime.workers;
        let decoder = settings.decoder(beside.last_seq);
        let (senders, receivers): (Vec<_>, Vec<Receiver<WorkerMessage>>) = (0..n_workers)
            .map(|_| crossbeam_channel::bounded(WORKER_QUEUE / HANDOVER))
            .unzip();
        let dispatch = Dispatch::new(senders.clone(), shared.clone());
        let told = Arc::new(beside.told);
        let mut workers = Vec::new();
        for (idx, rx) in receivers.into_iter().enumerate() {
            let out = clients.out.clone();
            let mut worker = Worker::new(idx, rx, settings, out, store.clone(), shared.clone());
            worker.webhook = webhook.clone();
            worker.panics = clients.panics.clone();
            worker.told = told.clone();
            workers.push(spawn(&format!("worker-{idx}"), move || worker.run())?);
        }
        let (changed_inputs, changes) = crossbeam_channel::bounded(1);
        let thread = IntakeThread {
            intake: intake.clone(),
            inputs: InputCounts::of(&decoder),
            decoder,
            group: GroupRule {
                count: settings.state.commit_messages,
                max_age: settings.state.commit_max_age,
            },
            store: store.clone(),
            acks: clients.acks.clone(),
            dispatch,
            shared: shared.clone(),
            deliveries: Deliveries::new(&beside.deliveries),
            pipeline: Pipeline::new(),
            out: clients.out.clone(),
            changed_inputs: changes,
            partitions,
            output: settings.output.clone(),
            home_assistant: home_assistant_status(&settings.output),
            expiry: Expiry::new(
                settings.expire_after,
                settings.max_streams,
                settings.stream_params().engine.get().detect.warm_up_rows,
            ),
        };
        Ok(Threads {
            intake: spawn("intake", move || thread.run())?,
            workers,
            senders,
            changed_inputs,
        })
    }

    /// Joins the intake thread, then the workers, until `deadline` at the latest. Returns whether
    /// all of them ended in time and well. With half of the grace period over, they leave to the next
    /// start what is in the journal.
    pub(super) async fn join(self, deadline: Instant, grace: Duration, shared: &Status) -> bool {
        let Threads {
            intake,
            workers,
            senders,
            ..
        } = self;
        let all = tokio::task::spawn_blocking(move || {
            let mut well = intake.join().is_ok();
            // With the last sender gone, each worker ends when its queue is empty.
            drop(senders);
            for worker in workers {
                well &= worker.join().is_ok();
            }
            well
        });
        let mut all = all;
        let in_time = match tokio::time::timeout_at(deadline - grace / 2, &mut all).await {
            Ok(well) => Ok(well),
            Err(_) => {
                shared.set_hurried();
                // The last quarter belongs to the connections and the disk.
                tokio::time::timeout_at(deadline - grace / 4, all).await
            }
        };
        matches!(in_time, Ok(Ok(true)))
    }
}

fn spawn<T: Send + 'static>(
    name: &str,
    body: impl FnOnce() -> T + Send + 'static,
) -> Result<JoinHandle<T>, ServeError> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(body)
        .map_err(ServeError::Thread)
}
