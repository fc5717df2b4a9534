//! The daemon from start to end: restore, bind, start, wait, and stop in order.

use std::future::Future;
use std::sync::Arc;

use sd_notify::NotifyState;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::time::Instant;
use tracing::{error, info, warn};

use super::connections::Clients;
use super::holding::{Holding, IntakeWays};
use super::partitions::Partitions;
use super::resending::{repost, republish};
use super::threads::{Parts, Threads};
use super::tuning::Takers;
use super::{Hooks, RunSummary, ServeError, supervise};
use crate::carrier::store::{NoStore, Store};
use crate::carrier::{Carrier, CarrierError, Partition, PartitionCommit};
use crate::config::{FeedbackMode, Overload, Settings};
use crate::http::{Admin, Limits, Site};
use crate::metrics::Metrics;
use crate::mqtt::{Intake, Out};
use crate::progress::{BEAT_EVERY, Pulse};
use crate::status::Status;
use crate::webhook::{Webhook, WebhookQueue};

/// Runs the daemon until `shutdown` ends, then stops it in order within the grace period: no
/// further intake, queues drained, workers joined, snapshots taken, outbox flushed, `offline`
/// said, disconnected.
///
/// # Errors
/// If an address cannot be bound or the state cannot be restored. Later failures are counted,
/// logged and seen at /readyz.
pub async fn serve(
    settings: Settings,
    mut hooks: Hooks,
    shutdown: impl Future<Output = ()>,
) -> Result<RunSummary, ServeError> {
    match hooks.store.take() {
        Some(disk) => serve_from(disk, settings, hooks, shutdown).await,
        None => serve_from(NoStore, settings, hooks, shutdown).await,
    }
}

/// The daemon. `local` keeps what is learned on this machine; in a cluster that is nothing.
async fn serve_from<C: Carrier + Store + Clone>(
    local: C,
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
    let store: Arc<dyn Store> = Arc::new(local.clone());
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
    let (orders, ordered) = crossbeam_channel::unbounded();
    let ways = IntakeWays {
        intake: intake.clone(),
        orders,
        shared: shared.clone(),
    };
    let mut clients = Clients::start(&settings, &ways, &store, may_connect).await?;
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

    let params = settings.stream_params().clone();
    // In a cluster partitions come and go with its membership.
    let mut alone =
        (settings.cluster.is_none()).then(|| Holding::new(Arc::new(local), params, ways));
    let claimed = tokio::select! {
        claimed = claim_alone(&mut alone) => Some(claimed?),
        () = &mut shutdown => None,
    };
    let mut threads = None;
    if claimed.is_some() {
        let mut beside = store.take_beside();
        for (stream, history) in beside.histories.drain(..) {
            shared.restore_history(&stream, history);
        }
        let filters = &clients.filters;
        filters.send_modify(|filters| filters.add_former(&beside.filters));
        store.keep_filters(filters.borrow().held());
        republish(&clients.out, &beside.messages);
        repost(webhook_queue.as_ref(), &beside.messages, &store);
        let n_partitions = settings.cluster.as_ref().map_or(1, |c| c.partitions);
        let parts = Parts {
            beside,
            webhook: webhook_queue.clone(),
            store: &store,
            intake: &intake,
            partitions: Partitions::new(n_partitions, ordered),
            clients: &clients,
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
            recovered = recover_alone(&mut alone) => recovered.map(|()| true)?,
            () = &mut shutdown => false,
        };
        if is_recovered {
            shared.end_recovery();
            // The connections are there as long as their tasks.
            let _ = connect.send(true);
            supervise::notify(&[NotifyState::Ready]);
            info!(http = ?http_addr, workers = n_workers, "started");
            if let Some(started) = hooks.started {
                // A caller that does not listen any more does not want to know.
                let _ = started.send(shared.clone());
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
    if let Some(alone) = &mut alone {
        alone.stop_reading();
    }
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
    match tokio::time::timeout_at(deadline, release_alone(&mut alone)).await {
        Ok(Ok(())) => {}
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

/// The partition of a single machine.
const ALONE: Partition = 0;

/// Claims the partition of a single machine, unless there is a cluster.
async fn claim_alone<C: Carrier>(alone: &mut Option<Holding<C>>) -> Result<(), CarrierError> {
    let Some(alone) = alone else { return Ok(()) };
    let failed = alone.claim(vec![(ALONE, String::new())]).await;
    match failed.into_iter().next() {
        Some((_, error)) => Err(error),
        None if alone.held.contains_key(&ALONE) => Ok(()),
        None => Err(CarrierError::Settings(
            "reading the state panicked".to_owned(),
        )),
    }
}

/// Learns what the last commit does not have.
async fn recover_alone<C: Carrier>(alone: &mut Option<Holding<C>>) -> Result<(), CarrierError> {
    if let Some(alone) = alone
        && let Some(after) = alone.held.get(&ALONE).map(|held| held.position)
    {
        alone.read_behind(after).await;
        alone.recovered().await?;
    }
    Ok(())
}

/// Releases the partition once its streams are committed.
async fn release_alone<C: Carrier>(alone: &mut Option<Holding<C>>) -> Result<(), CarrierError> {
    match alone {
        Some(alone) if alone.held.contains_key(&ALONE) => {
            alone.release(ALONE, PartitionCommit::default()).await
        }
        _ => Ok(()),
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

/// In a cluster the server keeps what is kept, and whatever is slow is waited for: the journal has it.
fn adapt_to_cluster(settings: &mut Settings) {
    settings.output.overload = Overload::Block;
    settings.runtime.overload = Overload::Block;
    settings.state.idle_evict = None;
}
