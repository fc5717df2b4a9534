//! The intake thread and the workers: started with what was restored, and joined at the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::Receiver;
use tokio::sync::oneshot;
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
use super::partitions::admit;
use super::slot::StreamRuntime;
use super::store::{Restored, Store};
use super::worker::Worker;
use crate::config::Settings;
use crate::mqtt::Intake;
use crate::row::{StreamId, StreamMap};
use crate::status::Status;
use crate::stream::Stream;
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
    pub(super) restored: Restored,
    pub(super) webhook: Option<WebhookQueue>,
    pub(super) recovered: oneshot::Sender<()>,
    pub(super) store: &'a Arc<dyn Store>,
    pub(super) intake: &'a Intake,
    pub(super) clients: &'a mut Clients,
    pub(super) shared: &'a Arc<Status>,
}

impl Threads {
    pub(super) fn start(settings: &Settings, parts: Parts<'_>) -> Result<Threads, ServeError> {
        let Parts {
            restored,
            webhook,
            recovered,
            store,
            intake,
            clients,
            shared,
        } = parts;
        let n_workers = settings.runtime.workers;
        let mut decoder = settings.decoder(restored.last_seq);
        let (senders, receivers): (Vec<_>, Vec<Receiver<WorkerMessage>>) = (0..n_workers)
            .map(|_| crossbeam_channel::bounded(WORKER_QUEUE / HANDOVER))
            .unzip();
        let mut dispatch = Dispatch::new(senders.clone(), shared.clone());
        let (pending, told) = match &restored.replay {
            Some(replay) => (replay.pending.clone(), replay.told.clone()),
            None => Default::default(),
        };
        shared.begin_recovery(pending.values().sum());
        place_all(&mut dispatch, &restored.streams, &pending);
        let mut slots: Vec<StreamMap<StreamRuntime>> =
            (0..n_workers).map(|_| StreamMap::default()).collect();
        for stream in restored.streams {
            admit(&mut decoder, &stream);
            let worker = dispatch.place(stream.name(), stream.channels().len(), 0.0);
            slots[worker].insert(
                stream.name().clone(),
                StreamRuntime::new(stream, &settings.output),
            );
        }
        let told = Arc::new(told);
        let mut workers = Vec::new();
        for (idx, (rx, streams)) in receivers.into_iter().zip(slots).enumerate() {
            let out = clients.out.clone();
            let mut worker = Worker::new(idx, rx, settings, out, store.clone(), shared.clone());
            worker.webhook = webhook.clone();
            worker.panics = clients.panics.clone();
            worker.told = told.clone();
            worker.streams = streams;
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
            deliveries: Deliveries::new(&restored.deliveries),
            pipeline: Pipeline::new(),
            replay: restored.replay,
            recovered: Some(recovered),
            out: clients.out.clone(),
            changed_inputs: changes,
            partitions: clients.partitions.take(),
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

/// Gives every stream a worker, so that each has about as much to learn again.
fn place_all(dispatch: &mut Dispatch, streams: &[Stream], pending: &BTreeMap<StreamId, u64>) {
    let all = pending.values().sum::<u64>().max(1) as f64;
    let mut names: Vec<(&StreamId, usize, u64)> = streams
        .iter()
        .map(|stream| (stream.name(), stream.channels().len()))
        .chain(pending.keys().map(|name| (name, 1)))
        .map(|(name, n)| (name, n, pending.get(name).copied().unwrap_or(0)))
        .collect();
    names.sort_by(|a, b| b.2.cmp(&a.2).then(a.0.cmp(b.0)));
    names.dedup_by(|a, b| a.0 == b.0);
    for (name, n_channels, n_pending) in names {
        dispatch.place(name, n_channels, n_pending as f64 / all);
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
