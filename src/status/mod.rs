//! Holds what the rooms of the daemon tell each other without a channel: health flags, stream views.
//!
//! The room stands below `mqtt`, `http` and `runtime`, which all write to it or read it, so that none
//! of them has to know another for that.

mod health;
mod inputs;
mod origins;
mod recovery;
mod stream_view;
mod streams;
mod waits;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tracing::{info, warn};

use crate::decode::{Refusal, Refusals, RefusedTopic};
use crate::metrics::Metrics;
use crate::payload::Reject;
use crate::progress::{Pulses, Stuck};
use crate::row::{StreamId, StreamMap};
pub use inputs::InputCount;
use origins::KeptOrigins;
use recovery::Recovery;
pub use stream_view::{KeptHistory, StreamView};
use waits::Waits;

/// Longest time without a sign of life, unless the settings say otherwise. Nothing that the daemon does
/// in one step takes a tenth of it on the slowest machine that it is meant for.
const STUCK_AFTER: Duration = Duration::from_secs(20);

/// The two connections to the broker. One could do both, but then predictions and acknowledgements
/// wait behind each other: a broker reads each connection in turn, and a full one stops being read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionRole {
    /// Subscribes, receives and acknowledges; its session outlives the connection.
    Subscriber,
    /// Publishes; messages without an acknowledgement are in the outbox.
    Publisher,
}

/// Locks a mutex, also after a panic under it: every critical section leaves whole values.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// State that several rooms see.
#[derive(Debug)]
pub struct Status {
    /// Every metric.
    pub metrics: Metrics,
    started: Instant,
    /// By [`ConnectionRole`].
    connected: [AtomicBool; 2],
    subscribed: AtomicBool,
    stopping: AtomicBool,
    store_failed: AtomicBool,
    /// Reason why the store cannot write, in words.
    store_trouble: Mutex<Option<String>>,
    /// Reason why the carrier does not do all its work, in words.
    carrier_trouble: Mutex<Option<String>>,
    /// Milliseconds since the start at which a worker last panicked, plus 1; 0 for never.
    panicked: AtomicU64,
    /// The same, at which a new stream was last refused.
    streams_full: AtomicU64,
    /// The same, at which the broker last said that it drops messages.
    broker_dropped: AtomicU64,
    /// The same, at which readings last came faster than they are learned or stored here.
    behind: AtomicU64,
    waits: Mutex<Waits>,
    /// The same, at which the broker last held messages back until others are acknowledged.
    window_full: AtomicU64,
    /// Signs of life of every thread and task.
    pub pulses: Pulses,
    /// Longest time without one, milliseconds.
    stuck_after_ms: AtomicU64,
    recovery: Recovery,
    origins: KeptOrigins,
    /// Half of the grace period is over.
    hurried: AtomicBool,
    /// Microseconds of learning of each worker that no snapshot has.
    unsaved: Vec<AtomicU64>,
    /// Readings that each worker has learned.
    learned: Vec<AtomicU64>,
    /// Nanoseconds in which each worker learned.
    busy: Vec<AtomicU64>,
    /// Readings handed to workers and not yet taken by them.
    waiting: AtomicUsize,
    views: Mutex<StreamMap<StreamView>>,
    refusals: Mutex<Refusals>,
    /// By input, in the order of the settings.
    inputs: Mutex<Vec<InputCount>>,
    /// How often Home Assistant has said that it is there.
    announce_round: AtomicU64,
    /// A message of an input has come.
    heard: AtomicBool,
    histories: Mutex<HashMap<Arc<str>, Arc<KeptHistory>>>,
    /// Memory for all histories, bytes.
    history_bytes: AtomicUsize,
    /// Channels of all streams.
    n_channels: AtomicUsize,
    max_labelled_streams: usize,
    /// Held by a scrape: series of single streams are set anew by each.
    scraping: Mutex<()>,
}

impl Status {
    /// Nothing connected, nothing learned.
    pub fn new(metrics: Metrics, n_workers: usize, max_labelled_streams: usize) -> Status {
        Status {
            metrics,
            started: Instant::now(),
            connected: Default::default(),
            subscribed: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            store_failed: AtomicBool::new(false),
            store_trouble: Mutex::new(None),
            carrier_trouble: Mutex::new(None),
            panicked: AtomicU64::new(0),
            streams_full: AtomicU64::new(0),
            broker_dropped: AtomicU64::new(0),
            behind: AtomicU64::new(0),
            waits: Mutex::new(Waits::new()),
            window_full: AtomicU64::new(0),
            pulses: Pulses::default(),
            stuck_after_ms: AtomicU64::new(STUCK_AFTER.as_millis() as u64),
            recovery: Recovery::default(),
            origins: KeptOrigins::default(),
            hurried: AtomicBool::new(false),
            unsaved: (0..n_workers).map(|_| AtomicU64::new(0)).collect(),
            learned: (0..n_workers).map(|_| AtomicU64::new(0)).collect(),
            busy: (0..n_workers).map(|_| AtomicU64::new(0)).collect(),
            waiting: AtomicUsize::new(0),
            views: Mutex::default(),
            refusals: Mutex::default(),
            inputs: Mutex::default(),
            announce_round: AtomicU64::new(1),
            heard: AtomicBool::new(false),
            histories: Mutex::new(HashMap::new()),
            history_bytes: AtomicUsize::new(usize::MAX),
            n_channels: AtomicUsize::new(0),
            max_labelled_streams,
            scraping: Mutex::default(),
        }
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    /// Time since the start.
    pub fn uptime(&self) -> Duration {
        self.started.elapsed()
    }

    /// The broker accepted a connection, or it is gone (and with it the subscriptions).
    pub fn set_connected(&self, side: ConnectionRole, yes: bool) {
        self.connected[side as usize].store(yes, Ordering::Release);
        let both = self.is_connected(ConnectionRole::Subscriber)
            && self.is_connected(ConnectionRole::Publisher);
        self.metrics.broker_connected.set(i64::from(both));
        if !yes && side == ConnectionRole::Subscriber {
            self.set_subscribed(false);
        }
    }

    /// The broker has accepted this connection.
    pub fn is_connected(&self, side: ConnectionRole) -> bool {
        self.connected[side as usize].load(Ordering::Acquire)
    }

    /// The broker granted every subscription.
    pub fn set_subscribed(&self, yes: bool) {
        self.subscribed.store(yes, Ordering::Release);
        if let Some(remark) = self.waits_for_first() {
            info!("{remark}");
        }
        self.metrics.broker_subscribed.set(i64::from(yes));
    }

    /// The broker has granted every subscription of the present connection.
    pub fn is_subscribed(&self) -> bool {
        self.subscribed.load(Ordering::Acquire)
    }

    /// The shutdown has begun.
    pub fn set_stopping(&self) {
        self.stopping.store(true, Ordering::Release);
    }

    /// The shutdown has begun.
    pub fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Acquire)
    }

    /// The store failed, or works again.
    pub fn set_store_failed(&self, yes: bool) {
        if yes {
            self.metrics.store_failures.inc();
        }
        self.store_failed.store(yes, Ordering::Release);
    }

    /// The store writes, or does not at the moment and says why; counted once each time that it stops.
    pub fn note_store(&self, failing: Option<&str>) {
        *lock(&self.store_trouble) = failing.map(str::to_owned);
        if self.store_failed.load(Ordering::Acquire) != failing.is_some() {
            self.set_store_failed(failing.is_some());
        }
    }

    /// The carrier does not do all its work and says why, or does. True where it did before.
    pub fn note_carrier(&self, trouble: Option<String>) -> bool {
        let mut said = lock(&self.carrier_trouble);
        let is_news = said.is_none() && trouble.is_some();
        *said = trouble;
        is_news
    }

    /// An engine panicked.
    pub fn note_panic(&self) {
        self.metrics.worker_panics.inc();
        self.panicked.store(self.now_ms() + 1, Ordering::Release);
    }

    /// So many readings are on their way to a worker.
    pub fn handed_over(&self, n: usize) {
        self.waiting.fetch_add(n, Ordering::AcqRel);
    }

    /// A worker has taken so many of them.
    pub fn taken(&self, n: usize) {
        self.waiting.fetch_sub(n, Ordering::AcqRel);
    }

    /// Readings on their way to workers.
    pub fn waiting(&self) -> usize {
        self.waiting.load(Ordering::Acquire)
    }

    /// Threads and tasks without a sign of life for longer than this are stuck.
    pub fn set_stuck_after(&self, limit: Duration) {
        let millis = u64::try_from(limit.as_millis()).unwrap_or(u64::MAX);
        self.stuck_after_ms.store(millis, Ordering::Relaxed);
    }

    /// Threads and tasks that are.
    pub fn stuck(&self) -> Vec<Stuck> {
        let limit = self.stuck_after_ms.load(Ordering::Relaxed);
        self.pulses.stuck(Duration::from_millis(limit))
    }

    /// The grace period is half over: what is in the journal anyway is left to the next start.
    pub fn set_hurried(&self) {
        self.hurried.store(true, Ordering::Release);
    }

    /// The grace period is half over.
    pub fn is_hurried(&self) -> bool {
        self.hurried.load(Ordering::Acquire)
    }

    /// So many readings that were accepted before the start are to be learned again.
    pub fn begin_recovery(&self, readings: u64) {
        self.recovery.begin(readings);
    }

    /// One of them is.
    pub fn note_replayed(&self) {
        self.recovery.done.fetch_add(1, Ordering::AcqRel);
        self.metrics.readings_replayed.inc();
    }

    /// How many of them are.
    pub fn replayed(&self) -> u64 {
        self.recovery.done.load(Ordering::Acquire)
    }

    /// Everything is as it was before the stop.
    pub fn end_recovery(&self) {
        self.recovery.over.store(true, Ordering::Release);
    }

    /// Everything is as it was before the stop.
    pub fn is_recovered(&self) -> bool {
        self.recovery.over.load(Ordering::Acquire)
    }

    /// How far the recovery has come, in words; `None` once it is over.
    pub fn recovering(&self) -> Option<String> {
        self.recovery.in_words()
    }

    /// A worker has learned for so long what no snapshot has.
    pub fn set_unsaved(&self, worker: usize, time: Duration) {
        let micros = u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        self.unsaved[worker].store(micros, Ordering::Relaxed);
    }

    /// A worker has learned so many readings.
    pub fn add_learned(&self, worker: usize, readings: usize) {
        self.learned[worker].fetch_add(readings as u64, Ordering::Relaxed);
    }

    /// Mean time that a worker has taken for a reading; zero before the first.
    pub fn per_reading(&self, worker: usize) -> Duration {
        let n = self.learned[worker].load(Ordering::Relaxed);
        let nanos = self.busy[worker].load(Ordering::Relaxed);
        nanos
            .checked_div(n)
            .map_or(Duration::ZERO, Duration::from_nanos)
    }

    /// A worker has learned for so long.
    pub fn add_busy(&self, worker: usize, time: Duration) {
        let nanos = u64::try_from(time.as_nanos()).unwrap_or(u64::MAX);
        self.busy[worker].fetch_add(nanos, Ordering::Relaxed);
    }

    /// How long a worker has learned so far.
    pub fn busy(&self, worker: usize) -> Duration {
        Duration::from_nanos(self.busy[worker].load(Ordering::Relaxed))
    }

    /// How long each stream's readings have taken so far.
    pub fn each_busy(&self, mut each: impl FnMut(&StreamId, Duration)) {
        for (stream, view) in lock(&self.views).iter() {
            each(stream, view.busy);
        }
    }

    /// Counts a refused message or reading; logs it, explained, once a minute by reason and topic.
    pub fn refuse(
        &self,
        reason: Reject,
        topic: &str,
        now_ms: i64,
        explain: impl FnOnce() -> Refusal,
    ) {
        self.metrics.reject(reason);
        if reason == Reject::TooManyStreams {
            self.streams_full
                .store(self.now_ms() + 1, Ordering::Release);
        }
        let said = lock(&self.refusals).note(reason, topic, now_ms, explain);
        if let Some((refusal, further)) = said {
            let also = match further {
                0 => String::new(),
                n => format!(" ({n} more in the minute before)"),
            };
            warn!("{}{also}", refusal.line());
        }
    }

    /// Home Assistant has started: streams are announced anew with their next predictions.
    pub fn announce_anew(&self) {
        self.announce_round.fetch_add(1, Ordering::AcqRel);
    }

    /// Counts the starts of Home Assistant.
    pub fn announce_round(&self) -> u64 {
        self.announce_round.load(Ordering::Acquire)
    }

    /// A message of an input has come. True for the first.
    pub fn note_heard(&self) -> bool {
        !self.heard.load(Ordering::Relaxed) && !self.heard.swap(true, Ordering::AcqRel)
    }

    fn waits_for_first(&self) -> Option<&'static str> {
        let subscribed = self.is_connected(ConnectionRole::Subscriber)
            && self.subscribed.load(Ordering::Acquire);
        (subscribed && !self.heard.load(Ordering::Acquire))
            .then_some("connected, subscribed, no message yet")
    }

    /// Replaces what came by each input.
    pub fn set_inputs(&self, counts: &[InputCount]) {
        counts.clone_into(&mut lock(&self.inputs));
    }

    /// Messages by input.
    pub fn inputs(&self) -> Vec<InputCount> {
        lock(&self.inputs).clone()
    }

    /// The last refusals by topic and reason, the newest first.
    pub fn refusals(&self) -> Vec<RefusedTopic> {
        lock(&self.refusals).list()
    }

    /// The text that Prometheus scrapes, with the streams' figures as they stand.
    ///
    /// # Errors
    /// If a metric cannot be encoded.
    pub fn scrape(&self) -> prometheus::Result<String> {
        let _alone = lock(&self.scraping);
        self.metrics.ready.set(i64::from(self.health().ready));
        let unsaved = self.unsaved.iter().map(|u| u.load(Ordering::Relaxed));
        let unsaved = Duration::from_micros(unsaved.max().unwrap_or(0));
        self.metrics.unsaved_learning.set(unsaved.as_secs_f64());
        {
            let views = lock(&self.views);
            self.metrics
                .set_streams(views.values().map(|view| &view.stats));
            let channels: usize = views.values().map(|view| view.channels.len()).sum();
            let as_count = |n: usize| i64::try_from(n).unwrap_or(i64::MAX);
            self.metrics.channels.set(as_count(channels));
            self.metrics.streams.set(as_count(views.len()));
            // The first by name, so that the set of series stands still.
            let mut names: Vec<_> = views.keys().collect();
            names.sort_unstable();
            let labelled = names.len().min(self.max_labelled_streams);
            let each = names[..labelled].iter().map(|name| {
                let view = &views[*name];
                (&***name, view.figures())
            });
            let each: Vec<_> = each.collect();
            self.metrics.set_labelled(&each, names.len() - labelled);
        }
        self.metrics.encode()
    }
}
