//! The daemon from start to end: restore, bind, start, wait, and stop in order.

use std::collections::{BTreeMap, HashMap};
use std::future::Future;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Duration;

use crossbeam_channel::Receiver;
use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::balance::{Dispatch, HANDOVER};
use super::engine_panic::EnginePanic;
use super::expiry::Expiry;
use super::input_counts::InputCounts;
use super::intake::{Deliveries, GroupRule, IntakeThread, Pipeline};
use super::moving::WorkerMessage;
use super::partitions::{Partitions, admit};
use super::store::{KeptMessage, NoStore, Restored, Store, StoreError, WEBHOOK_TOPIC};
use super::tuning::{ChangedInputs, Takers};
use super::worker::{StreamRuntime, Worker};
use super::{Hooks, RunSummary, ServeError, Started, supervise};
use crate::config::{
    FeedbackMode, InputSettings, MqttSettings, OutputSettings, Overload, Protocol, Settings,
};
use crate::http::{Admin, Limits, Site};
use crate::metrics::{Class, Metrics};
use crate::mqtt::outbox::Outbox;
use crate::mqtt::{
    self, Ack, Client, ClientHandles, Filters, Intake, Link, LinkOptions, Message, Out, V4, V5,
};
use crate::payload::InstructionTopic;
use crate::progress::{BEAT_EVERY, Pulse};
use crate::status::{ConnectionRole, Status};
use crate::stream::Stream;
use crate::webhook::{Webhook, WebhookQueue};

/// Readings that may wait for one worker, at most: enough to keep it busy, few enough to be learned within
/// the grace period.
const WORKER_QUEUE: usize = 1024;

/// Runs the daemon until `shutdown` ends, then stops it in order within the grace period: no
/// further intake, queues drained, workers joined, snapshots taken, outbox flushed, `offline`
/// said, disconnected.
///
/// # Errors
/// If an address cannot be bound or the state cannot be restored. Later failures are counted,
/// logged and seen at /readyz.
pub async fn serve(
    mut settings: Settings,
    hooks: Hooks,
    shutdown: impl Future<Output = ()>,
) -> Result<RunSummary, ServeError> {
    if settings.cluster.is_some() {
        adapt_to_cluster(&mut settings);
    }
    let n_workers = settings.runtime.workers;
    let metrics = Metrics::new()?;
    let engine = settings.stream_params().engine.get();
    metrics.set_limits(
        settings.state.journal_max_bytes,
        engine.detect.false_alarms_per_week,
    );
    let shared = Arc::new(Status::new(
        metrics,
        n_workers,
        settings.http.max_labelled_streams,
    ));
    shared.set_stuck_after(settings.runtime.stuck_after);
    shared.set_history_bytes(settings.http.history_bytes);
    let store: Arc<dyn Store> = match hooks.store {
        Some(store) => store,
        None => Arc::new(NoStore),
    };
    let listener = match (hooks.http, settings.http.listen) {
        (Some(listener), _) => Some(listener),
        (None, Some(address)) => {
            let listener = TcpListener::bind(address).await;
            Some(listener.map_err(|error| ServeError::Bind(address, error))?)
        }
        (None, None) => None,
    };
    let http_addr = listener.as_ref().and_then(|l| l.local_addr().ok());
    let mut shutdown = std::pin::pin!(shutdown);

    let intake = Intake::new(settings.runtime.queue_messages, settings.runtime.overload);
    let (connect, may_connect) = watch::channel(false);
    let mut clients = Clients::start(&settings, &intake, &shared, &store, may_connect).await?;
    let http = listener.map(|l| {
        let site = site(&settings, &shared, &clients.out);
        crate::http::start(l, Limits::new(&settings.http), site)
    });
    let webhook_queue = settings.webhook.as_ref();
    let webhook_queue = webhook_queue.map(|webhook| WebhookQueue::new(&webhook.events));
    let webhook = start_webhook(&settings, webhook_queue.as_ref(), &shared, &store)?;
    let queues = supervise::Queues {
        intake: intake.clone(),
        out: clients.out.clone(),
        store: store.clone(),
    };
    if let Some(pulse) = store.pulse() {
        shared.pulses.watch(pulse);
    }
    let watch = supervise::Watchdog::start(shared.clone(), queues).map_err(ServeError::Thread)?;
    let runtime_pulse = tokio::spawn(beat(shared.pulses.add("edge")));

    let restoring = store.clone();
    let params = settings.stream_params().clone();
    let restored = tokio::task::spawn_blocking(move || restoring.restore(&params));
    let restored = tokio::select! {
        restored = restored => Some(restored.map_err(|e| StoreError(e.to_string()))??),
        () = &mut shutdown => None,
    };
    let mut threads = None;
    if let Some(mut restored) = restored {
        for (stream, history) in restored.histories.drain(..) {
            shared.restore_history(&stream, history);
        }
        let filters = &clients.filters;
        filters.send_modify(|filters| filters.add_former(&restored.filters));
        store.keep_filters(filters.borrow().held());
        republish(&clients.out, &restored.messages);
        repost(webhook_queue.as_ref(), &restored.messages, &store);
        let (recovered, recovery) = oneshot::channel();
        let parts = Parts {
            restored,
            webhook: webhook_queue.clone(),
            recovered,
            store: &store,
            intake: &intake,
            clients: &mut clients,
            tap: hooks.tap,
            shared: &shared,
        };
        let started = Threads::start(&settings, parts)?;
        let takers = Takers {
            workers: started.senders.clone(),
            intake: started.changed_inputs.clone(),
            filters: clients.filters.clone(),
            store: store.clone(),
            shared: shared.clone(),
        };
        threads = Some(started);
        let is_recovered = tokio::select! {
            recovered = recovery => recovered.is_ok(),
            () = &mut shutdown => false,
        };
        if is_recovered {
            // The connections are there as long as their tasks.
            let _ = connect.send(true);
            supervise::notify(&[NotifyState::Ready]);
            info!(http = ?http_addr, workers = n_workers, "started");
            if let Some(started) = hooks.started {
                // A caller that does not listen any more does not want to know.
                let _ = started.send(Started {
                    http: http_addr,
                    shared: shared.clone(),
                });
            }
            let tuning = hooks
                .changed
                .map(|changed| tokio::spawn(takers.hand_on(changed)));
            let pulse = shared.pulses.add("main");
            tokio::select! {
                () = shutdown => {}
                // It never ends.
                () = beat(pulse.clone()) => {}
            }
            pulse.end();
            if let Some(tuning) = tuning {
                tuning.abort();
                // Its senders keep the workers from ending. It ends by being aborted.
                let _ = tuning.await;
            }
        }
    }

    if shared.is_subscribed() {
        // Those of before are dropped: the broker has had the request before our goodbye.
        let wanted = clients.filters.borrow().wanted();
        store.keep_filters(wanted);
    }
    let deadline = Instant::now() + settings.runtime.grace;
    info!(
        shutdown_grace_s = settings.runtime.grace.as_secs_f64(),
        "stopping"
    );
    supervise::notify(&[NotifyState::Stopping]);
    shared.set_stopping();
    if shared.recovering().is_some() {
        shared.set_hurried();
    }
    let left = clients.leave(deadline - settings.runtime.grace / 4).await;
    intake.close();
    let joined = match threads {
        Some(threads) => {
            threads
                .join(deadline, settings.runtime.grace, &shared)
                .await
        }
        None => false,
    };
    // The last PUBACKs take their messages out of the store: it closes after them.
    let flushed = clients.finish(deadline, &shared).await;
    if let Some(webhook) = webhook {
        webhook.finish(deadline).await;
    }
    let closing = store.clone();
    let closed = tokio::task::spawn_blocking(move || closing.close());
    match tokio::time::timeout_at(deadline, closed).await {
        Ok(Ok(Ok(()))) => {}
        Ok(Ok(Err(error))) => error!(%error, "the state cannot be flushed"),
        Ok(Err(error)) => error!(%error, "the state cannot be flushed"),
        Err(_) => error!("the state is not flushed within the grace period"),
    }
    runtime_pulse.abort();
    watch.stop();
    if let Some(http) = http {
        http.abort();
    }
    let summary = RunSummary {
        readings: shared.metrics.readings_received.get(),
        rows: shared.metrics.rows.get(),
        clean: joined && flushed && left,
    };
    if summary.clean {
        info!(readings = summary.readings, rows = summary.rows, "stopped");
    } else {
        warn!(
            readings = summary.readings,
            rows = summary.rows,
            joined,
            flushed,
            left,
            "stopped before everything was done"
        );
    }
    Ok(summary)
}

/// Says so where a password goes over the network as it is.
fn warn_of_plain_password(mqtt: &MqttSettings) {
    let is_local = mqtt.host == "localhost"
        || (mqtt.host.parse::<std::net::IpAddr>()).is_ok_and(|address| address.is_loopback());
    if !mqtt.password.is_empty() && mqtt.tls.is_none() && !is_local {
        warn!(
            host = mqtt.host,
            "the password goes over the network unencrypted: use mqtts://"
        );
    }
}

/// Beats as long as the runtime runs its tasks.
async fn beat(pulse: Arc<Pulse>) {
    let mut ticks = tokio::time::interval(BEAT_EVERY);
    loop {
        ticks.tick().await;
        pulse.beat();
    }
}

/// Publishes again the messages that had no PUBACK before the stop.
fn republish(out: &Out, messages: &[KeptMessage]) {
    let for_broker = messages.iter().filter(|m| m.topic != WEBHOOK_TOPIC);
    out.push_all(for_broker.map(|message| Message {
        topic: message.topic.as_str().into(),
        payload: message.payload.clone().into(),
        qos: 1,
        retain: message.retain,
        class: Class::Anomaly,
        arrived: None,
        kept: Some(message.id),
    }));
}

/// Posts again the messages that the webhook had not taken before the stop.
fn repost(queue: Option<&WebhookQueue>, messages: &[KeptMessage], store: &Arc<dyn Store>) {
    let waiting = messages.iter().filter(|m| m.topic == WEBHOOK_TOPIC);
    let waiting: Vec<&KeptMessage> = waiting.collect();
    if waiting.is_empty() {
        return;
    }
    let Some(queue) = queue else {
        warn!(
            incidents = waiting.len(),
            "there is no webhook any more: what waited for it is dropped"
        );
        return waiting
            .iter()
            .for_each(|message| store.delivered(message.id));
    };
    info!(incidents = waiting.len(), "goes on posting to the webhook");
    for message in waiting {
        if let Some(given_up) = queue.push(Some(message.id), message.payload.clone()) {
            given_up.kept.into_iter().for_each(|id| store.delivered(id));
        }
    }
}

/// Starts the task that posts, where there is a webhook.
fn start_webhook(
    settings: &Settings,
    queue: Option<&WebhookQueue>,
    shared: &Arc<Status>,
    store: &Arc<dyn Store>,
) -> Result<Option<Webhook>, ServeError> {
    let Some((settings, queue)) = settings.webhook.as_ref().zip(queue) else {
        return Ok(None);
    };
    let store = store.clone();
    let done = Box::new(move |id| store.delivered(id));
    Webhook::start(settings, queue.clone(), shared.clone(), done)
        .map(Some)
        .map_err(ServeError::Webhook)
}

/// Parts that the HTTP room works with.
fn site(settings: &Settings, status: &Arc<Status>, out: &Out) -> Site {
    let output = &settings.output;
    let admin = settings.http.admin_token.clone().map(|token| Admin {
        token,
        out: out.clone(),
        base_topic: format!("{}/{}", output.prefix, output.instance),
        feedback_token: (output.feedback == FeedbackMode::Token)
            .then(|| output.feedback_token.clone()),
    });
    Site::new(status.clone(), settings, admin)
}

/// The ways in and out.
struct Clients {
    /// Messages to publish go here.
    out: Out,
    /// Acknowledgements go here.
    acks: mpsc::UnboundedSender<Vec<Ack>>,
    /// Topics subscribed to.
    filters: watch::Sender<Filters>,
    /// Orders of a cluster to the intake thread.
    partitions: Option<Partitions>,
    /// Panics of engines go here, in a cluster.
    panics: Option<mpsc::UnboundedSender<EnginePanic>>,
    ways: Ways,
}

/// Ways by which messages come and go.
enum Ways {
    /// Two connections to the broker: one receives, one publishes.
    Broker(ClientHandles, ClientHandles),
    /// The membership of a cluster.
    #[cfg(feature = "jetstream")]
    Cluster(super::cluster::ClusterHandles),
}

/// In a cluster the server keeps what is kept, and whatever is slow is waited for: the journal has it.
fn adapt_to_cluster(settings: &mut Settings) {
    settings.output.overload = Overload::Block;
    settings.runtime.overload = Overload::Block;
    settings.state.idle_evict = None;
}

/// Filters of the messages that belong into the journal of a cluster.
#[cfg(feature = "jetstream")]
fn journal_filters(settings: &Settings) -> Vec<String> {
    let inputs = settings.inputs.iter().map(|i| i.pattern.topic_filter());
    let others = optional_filters(settings)
        .into_iter()
        .map(|(filter, _)| filter);
    inputs.chain(others).collect()
}

impl Clients {
    async fn start(
        settings: &Settings,
        intake: &Intake,
        shared: &Arc<Status>,
        store: &Arc<dyn Store>,
        may_connect: watch::Receiver<bool>,
    ) -> Result<Clients, ServeError> {
        if let Some(cluster) = &settings.cluster {
            return Clients::join(cluster.partitions, settings, intake, shared, may_connect).await;
        }
        warn_of_plain_password(&settings.mqtt);
        let connect = match settings.mqtt.protocol {
            Protocol::V3 => Clients::connect::<V4>,
            Protocol::V5 => Clients::connect::<V5>,
        };
        connect(settings, intake, shared, store.clone(), may_connect)
    }

    #[cfg(feature = "jetstream")]
    async fn join(
        n_partitions: u16,
        settings: &Settings,
        intake: &Intake,
        shared: &Arc<Status>,
        may_connect: watch::Receiver<bool>,
    ) -> Result<Clients, ServeError> {
        use super::cluster::ClusterHandles;
        let filters = journal_filters(settings);
        let handles = ClusterHandles::start(settings, &filters, intake, shared, may_connect);
        let handles = handles.await?;
        Ok(Clients {
            out: handles.out.clone(),
            // Nobody waits for acknowledgements, and the subjects are those of the start.
            acks: mpsc::unbounded_channel().0,
            filters: watch::channel(Filters::default()).0,
            partitions: Some(Partitions::new(n_partitions, handles.orders.clone())),
            panics: Some(handles.panics.clone()),
            ways: Ways::Cluster(handles),
        })
    }

    #[cfg(not(feature = "jetstream"))]
    async fn join(
        _: u16,
        _: &Settings,
        _: &Intake,
        _: &Arc<Status>,
        _: watch::Receiver<bool>,
    ) -> Result<Clients, ServeError> {
        Err(ServeError::Cluster(
            "this program was built without the feature jetstream".to_owned(),
        ))
    }

    fn connect<L: Link<Options = LinkOptions>>(
        settings: &Settings,
        intake: &Intake,
        shared: &Arc<Status>,
        store: Arc<dyn Store>,
        may_connect: watch::Receiver<bool>,
    ) -> Result<Clients, ServeError> {
        let output = &settings.output;
        let status_topic = format!("{}/{}/status", output.prefix, output.instance);
        let options = LinkOptions {
            mqtt: settings.mqtt.clone(),
            status_topic: None,
            clean_session: false,
        };
        // Settings that cannot be used now will not be usable at the next attempt.
        L::open(&options, 0).map_err(|error| ServeError::Mqtt(error.to_string()))?;
        let incoming = mqtt::start::<L>(Client {
            side: ConnectionRole::Subscriber,
            options,
            filters: Filters {
                needed: filters(&settings.inputs),
                optional: optional_filters(settings),
                former: Vec::new(),
            },
            status_topic: None,
            reconnect_max: settings.mqtt.reconnect_max,
            intake: intake.clone(),
            max_payload_bytes: settings.mqtt.max_payload_bytes,
            acks_at_once: !store.groups_commits(),
            outbox: Outbox::new(1, 1),
            shared: shared.clone(),
            may_connect: may_connect.clone(),
            delivered: Box::new(|_| {}),
        });
        let mut mqtt = settings.mqtt.clone();
        mqtt.client_id.push_str("-out");
        let outgoing = mqtt::start::<L>(Client {
            side: ConnectionRole::Publisher,
            options: LinkOptions {
                mqtt,
                status_topic: Some(status_topic.clone()),
                // The outbox is all the session there is.
                clean_session: true,
            },
            filters: Filters {
                // Here no backlog of readings stands before the broker's figures.
                optional: broker_figures(settings),
                ..Filters::default()
            },
            status_topic: Some(status_topic.into()),
            reconnect_max: settings.mqtt.reconnect_max,
            intake: Intake::new(1, settings.runtime.overload),
            max_payload_bytes: settings.mqtt.max_payload_bytes,
            acks_at_once: false,
            outbox: Outbox::new(output.outbox_messages, output.in_flight),
            shared: shared.clone(),
            may_connect,
            delivered: Box::new(move |id| store.delivered(id)),
        });
        Ok(Clients {
            out: outgoing.out.clone(),
            acks: incoming.acks.clone(),
            filters: incoming.filters.clone(),
            partitions: None,
            panics: None,
            ways: Ways::Broker(incoming, outgoing),
        })
    }

    /// Gives up what this worker of a cluster has. Returns whether all of it was in time.
    #[cfg_attr(
        not(feature = "jetstream"),
        expect(unused_variables, reason = "no cluster")
    )]
    async fn leave(&mut self, deadline: Instant) -> bool {
        match &mut self.ways {
            Ways::Broker(..) => true,
            #[cfg(feature = "jetstream")]
            Ways::Cluster(handles) => handles.leave(deadline).await,
        }
    }

    /// Flushes what waits, says `offline` and disconnects. Returns whether everything was
    /// acknowledged in time.
    async fn finish(self, deadline: Instant, shared: &Status) -> bool {
        match self.ways {
            Ways::Broker(incoming, outgoing) => {
                let incoming = incoming.finish(deadline, shared).await;
                outgoing.finish(deadline, shared).await && incoming
            }
            #[cfg(feature = "jetstream")]
            Ways::Cluster(handles) => handles.finish(deadline).await,
        }
    }
}

/// The filters to subscribe to, each once.
pub fn filters(inputs: &[InputSettings]) -> Vec<(String, u8)> {
    let mut filters: Vec<(String, u8)> = Vec::new();
    for input in inputs {
        let filter = input.pattern.filter();
        match filters.iter_mut().find(|(known, _)| *known == filter) {
            Some((_, qos)) => *qos = (*qos).max(input.qos),
            None => filters.push((filter, input.qos)),
        }
    }
    filters
}

/// Where the broker's own figures come from, where they are wanted.
fn broker_figures(settings: &Settings) -> Vec<(String, u8)> {
    let wanted = settings.mqtt.watch_broker;
    let figures = wanted.then(|| (mqtt::DROPPED_TOPIC.to_owned(), 0));
    figures.into_iter().collect()
}

/// Where instructions and the starts of Home Assistant come from, as far as they are wanted.
fn optional_filters(settings: &Settings) -> Vec<(String, u8)> {
    let output = &settings.output;
    let topics = InstructionTopic::ALL
        .into_iter()
        .filter(|_| output.feedback != FeedbackMode::Off);
    let instructions = topics.map(|topic| {
        let filter = format!("{}/{}/+/{}", output.prefix, output.instance, topic.as_str());
        (filter, 1)
    });
    let home_assistant = home_assistant_status(output).map(|topic| (topic, 0));
    instructions.chain(home_assistant).collect()
}

/// The topic on which Home Assistant says that it has started.
fn home_assistant_status(output: &OutputSettings) -> Option<String> {
    let prefix = &output.home_assistant;
    (!prefix.is_empty()).then(|| format!("{prefix}/status"))
}

/// The intake thread and the workers.
struct Threads {
    intake: JoinHandle<()>,
    workers: Vec<JoinHandle<u64>>,
    senders: Vec<crossbeam_channel::Sender<WorkerMessage>>,
    changed_inputs: crossbeam_channel::Sender<ChangedInputs>,
}

/// Parts that the threads are started with.
struct Parts<'a> {
    restored: Restored,
    webhook: Option<WebhookQueue>,
    recovered: oneshot::Sender<()>,
    store: &'a Arc<dyn Store>,
    intake: &'a Intake,
    clients: &'a mut Clients,
    tap: Option<super::Tap>,
    shared: &'a Arc<Status>,
}

impl Threads {
    fn start(settings: &Settings, parts: Parts<'_>) -> Result<Threads, ServeError> {
        let Parts {
            restored,
            webhook,
            recovered,
            store,
            intake,
            clients,
            tap,
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
        let mut slots: Vec<HashMap<Arc<str>, StreamRuntime>> =
            (0..n_workers).map(|_| HashMap::new()).collect();
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
            worker.tap = tap.clone();
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
    async fn join(self, deadline: Instant, grace: Duration, shared: &Status) -> bool {
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
fn place_all(dispatch: &mut Dispatch, streams: &[Stream], pending: &BTreeMap<Arc<str>, u64>) {
    let all = pending.values().sum::<u64>().max(1) as f64;
    let mut names: Vec<(&Arc<str>, usize, u64)> = streams
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
