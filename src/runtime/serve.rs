//! The daemon from start to end: restore, bind, start, wait, and stop in order.

use std::collections::HashMap;
use std::future::Future;
use std::sync::Arc;
use std::thread::JoinHandle;

use crossbeam_channel::Receiver;
use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::balance::{Dispatch, HANDOVER};
use super::intake::{Deliveries, GroupRule, IntakeThread, Pipeline};
use super::moving::Work;
use super::store::{NoStore, Restored, Store};
use super::worker::{Slot, Worker};
use super::{Hooks, ServeError, Started, Summary, supervise};
use crate::config::{OutputSettings, Protocol, Settings};
use crate::http::Limits;
use crate::metrics::{Class, Metrics};
use crate::mqtt::outbox::Outbox;
use crate::mqtt::{self, Client, ClientHandles, Intake, Link, LinkOptions, Message, V4, V5};
use crate::status::{Role, Status};

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
    settings: Settings,
    hooks: Hooks,
    shutdown: impl Future<Output = ()>,
) -> Result<Summary, ServeError> {
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
    let mut restored = store.restore(settings.stream_params())?;
    let http_addr = listener.as_ref().and_then(|l| l.local_addr().ok());
    let http = listener.map(|l| crate::http::start(l, Limits::new(&settings.http), shared.clone()));

    let intake = Intake::new(settings.runtime.queue_messages, settings.runtime.overload);
    let start = match settings.mqtt.protocol {
        Protocol::V3 => Clients::start::<V4>,
        Protocol::V5 => Clients::start::<V5>,
    };
    let clients = start(&settings, &intake, &shared, store.clone());
    for message in restored.messages.drain(..) {
        clients.outgoing.out.push(Message {
            topic: message.topic.into(),
            payload: message.payload,
            qos: 1,
            retain: message.retain,
            class: Class::Anomaly,
            arrived: None,
            kept: Some(message.id),
        });
    }
    let threads = Threads::start(
        &settings, restored, &store, &intake, &clients, hooks.tap, &shared,
    )?;
    let queues = supervise::Queues {
        intake: intake.clone(),
        out: clients.outgoing.out.clone(),
        store: store.clone(),
    };
    let watch = supervise::watch(shared.clone(), queues);
    supervise::notify(NotifyState::Ready);
    info!(http = ?http_addr, workers = n_workers, "started");
    if let Some(started) = hooks.started {
        // A caller that does not listen any more does not want to know.
        let _ = started.send(Started {
            http: http_addr,
            shared: shared.clone(),
        });
    }

    shutdown.await;
    let deadline = Instant::now() + settings.runtime.grace;
    info!(
        shutdown_grace_s = settings.runtime.grace.as_secs_f64(),
        "stopping"
    );
    supervise::notify(NotifyState::Stopping);
    shared.set_stopping();
    watch.abort();
    intake.close();
    let joined = threads.join(deadline).await;
    // The last PUBACKs take their messages out of the store: it closes after them.
    let flushed = clients.finish(deadline, &shared).await;
    if let Err(error) = store.close() {
        error!(%error, "the state cannot be flushed");
    }
    if let Some(http) = http {
        http.abort();
    }
    let summary = Summary {
        readings: shared.metrics.readings_received.get(),
        rows: shared.metrics.rows.get(),
        clean: joined && flushed,
    };
    if summary.clean {
        info!(readings = summary.readings, rows = summary.rows, "stopped");
    } else {
        warn!(
            readings = summary.readings,
            rows = summary.rows,
            joined,
            flushed,
            "stopped before everything was done"
        );
    }
    Ok(summary)
}

/// The two connections to the broker.
struct Clients {
    /// Receives.
    incoming: ClientHandles,
    /// Publishes.
    outgoing: ClientHandles,
}

impl Clients {
    fn start<L: Link<Options = LinkOptions>>(
        settings: &Settings,
        intake: &Intake,
        shared: &Arc<Status>,
        store: Arc<dyn Store>,
    ) -> Clients {
        let output = &settings.output;
        let status_topic = format!("{}/{}/status", output.prefix, output.instance);
        let incoming = mqtt::start::<L>(Client {
            side: Role::Subscriber,
            options: LinkOptions {
                mqtt: settings.mqtt.clone(),
                status_topic: None,
                clean_session: false,
                in_flight: 1,
            },
            filters: filters(settings),
            optional: feedback_filter(output),
            status_topic: None,
            reconnect_max: settings.mqtt.reconnect_max,
            intake: intake.clone(),
            acks_at_once: !store.groups_commits(),
            outbox: Outbox::new(1, 1),
            shared: shared.clone(),
            delivered: Box::new(|_| {}),
        });
        let mut mqtt = settings.mqtt.clone();
        mqtt.client_id.push_str("-out");
        let outgoing = mqtt::start::<L>(Client {
            side: Role::Publisher,
            options: LinkOptions {
                mqtt,
                status_topic: Some(status_topic.clone()),
                // The outbox is all the session there is.
                clean_session: true,
                in_flight: output.in_flight,
            },
            filters: Vec::new(),
            optional: Vec::new(),
            status_topic: Some(status_topic.into()),
            reconnect_max: settings.mqtt.reconnect_max,
            intake: Intake::new(1, settings.runtime.overload),
            acks_at_once: false,
            outbox: Outbox::new(output.outbox_messages, output.in_flight),
            shared: shared.clone(),
            delivered: Box::new(move |id| store.delivered(id)),
        });
        Clients { incoming, outgoing }
    }

    /// Flushes what waits, says `offline` and disconnects. Returns whether everything was
    /// acknowledged in time.
    async fn finish(self, deadline: Instant, shared: &Status) -> bool {
        let incoming = self.incoming.finish(deadline, shared).await;
        self.outgoing.finish(deadline, shared).await && incoming
    }
}

/// The filters to subscribe to, each once.
pub fn filters(settings: &Settings) -> Vec<(String, u8)> {
    let mut filters: Vec<(String, u8)> = Vec::new();
    for input in &settings.inputs {
        let filter = input.pattern.filter();
        match filters.iter_mut().find(|(known, _)| *known == filter) {
            Some((_, qos)) => *qos = (*qos).max(input.qos),
            None => filters.push((filter, input.qos)),
        }
    }
    filters
}

/// Where feedback comes from, if it is wanted.
fn feedback_filter(output: &OutputSettings) -> Vec<(String, u8)> {
    let filter = format!("{}/{}/+/feedback", output.prefix, output.instance);
    if output.feedback {
        vec![(filter, 1)]
    } else {
        Vec::new()
    }
}

/// The intake thread and the workers.
struct Threads {
    intake: JoinHandle<()>,
    workers: Vec<JoinHandle<u64>>,
    senders: Vec<crossbeam_channel::Sender<Work>>,
}

impl Threads {
    fn start(
        settings: &Settings,
        restored: Restored,
        store: &Arc<dyn Store>,
        intake: &Intake,
        clients: &Clients,
        tap: Option<super::Tap>,
        shared: &Arc<Status>,
    ) -> Result<Threads, ServeError> {
        let n_workers = settings.runtime.workers;
        let mut decoder = settings.decoder(restored.last_seq);
        let (senders, receivers): (Vec<_>, Vec<Receiver<Work>>) = (0..n_workers)
            .map(|_| crossbeam_channel::bounded(WORKER_QUEUE / HANDOVER))
            .unzip();
        let mut dispatch = Dispatch::new(senders.clone(), shared.clone());
        let mut slots: Vec<HashMap<Arc<str>, Slot>> =
            (0..n_workers).map(|_| HashMap::new()).collect();
        for stream in restored.streams {
            let name = decoder.router.stream(stream.name());
            let channels = stream.channels();
            let admitted = name.is_ok()
                && channels
                    .iter()
                    .all(|channel| decoder.router.channel(stream.name(), channel).is_ok());
            if !admitted {
                warn!(stream = %stream.name(), "a kept stream is beyond max_streams or max_channels");
            }
            let worker = dispatch.place(stream.name(), channels.len());
            slots[worker].insert(stream.name().clone(), Slot::new(stream, &settings.output));
        }
        let mut workers = Vec::new();
        for (idx, (rx, streams)) in receivers.into_iter().zip(slots).enumerate() {
            let missed = restored.edges.iter();
            let missed = missed.filter(|edge| streams.contains_key(&edge.stream));
            let out = clients.outgoing.out.clone();
            let mut worker = Worker::new((idx, rx), settings, out, store.clone(), shared.clone());
            worker.tap = tap.clone();
            worker.missed = missed.cloned().collect();
            worker.streams = streams;
            workers.push(spawn(&format!("worker-{idx}"), move || worker.run())?);
        }
        let thread = IntakeThread {
            intake: intake.clone(),
            decoder,
            group: GroupRule {
                count: settings.state.commit_messages,
                max_age: settings.state.commit_max_age,
            },
            store: store.clone(),
            acks: clients.incoming.acks.clone(),
            dispatch,
            shared: shared.clone(),
            deliveries: Deliveries::new(&restored.deliveries),
            pipeline: Pipeline::new(),
        };
        Ok(Threads {
            intake: spawn("intake", move || thread.run())?,
            workers,
            senders,
        })
    }

    /// Joins the intake thread, then the workers, until `deadline` at the latest. Returns whether
    /// all of them ended in time and well.
    async fn join(self, deadline: Instant) -> bool {
        let Threads {
            intake,
            workers,
            senders,
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
        match tokio::time::timeout_at(deadline, all).await {
            Ok(Ok(well)) => well,
            Ok(Err(_)) | Err(_) => false,
        }
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
