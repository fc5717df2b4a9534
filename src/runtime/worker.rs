//! A worker thread: its streams predict, flag and learn; what they say goes to the outbox.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use tokio::sync::mpsc::UnboundedSender;

use super::engine_panic::EnginePanic;
use super::orders::{Coming, Item, WorkerMessage};
use super::rebuilding::{or_anew, rebuild};
use super::slot::{Evicted, StreamRuntime};
use crate::assemble::Verdict;
use crate::carrier::store::Store;
use crate::config::{OutputSettings, Settings};
use crate::decode::refused_reading;
use crate::metrics::Class;
use crate::mqtt::{Message, Out};
use crate::payload::Reject;
use crate::progress;
use crate::row::{Outcome, Reading, StreamId, StreamMap};
use crate::state::{Pushed, Told, push_supervised};
use crate::status::{Status, StreamView};
use crate::stream::{Stream, StreamParams};
use crate::webhook::WebhookQueue;

/// How long a worker sleeps at most before it gives a sign of life.
const IDLE: Duration = Duration::from_millis(100);
/// Time between the snapshots of two streams.
const SAVE_EVERY: Duration = Duration::from_millis(1);
/// Idle streams are looked for so often.
const EVICT_EVERY: Duration = Duration::from_secs(1);
/// Views are renewed at most so often while readings keep coming.
const VIEW_EVERY: Duration = Duration::from_millis(200);

/// Takes a stream's name and each of its outcomes, on the worker's thread.
type OutcomeObserver = Arc<dyn Fn(&str, &Outcome) + Send + Sync>;

/// Parts that a worker thread works with.
pub struct Worker {
    /// Its number.
    pub idx: usize,
    /// Readings come from here, in batches, and streams.
    pub rx: Receiver<WorkerMessage>,
    /// Parameters of new streams.
    pub params: StreamParams,
    /// The settings of the models were changed since the start.
    pub is_tuned: bool,
    /// Topics and QoS.
    pub output: OutputSettings,
    /// Messages go here.
    pub out: Out,
    /// Incidents for the webhook go here.
    pub webhook: Option<WebhookQueue>,
    /// Snapshots and edges go here.
    pub store: Arc<dyn Store>,
    /// Panics of engines are told here, and their streams stand still until they come anew; without it they
    /// are restored from the store.
    pub panics: Option<UnboundedSender<EnginePanic>>,
    /// Observer of every outcome.
    pub observer: Option<OutcomeObserver>,
    /// Flags, metrics, views.
    pub shared: Arc<Status>,
    /// Incident edges on record, for readings that are replayed.
    pub told: Arc<Told>,
    /// Learning that a restart would repeat before further snapshots are due.
    pub recovery: Duration,
    /// Learning that no snapshot has, of all streams together.
    pub unsaved_busy: Duration,
    /// Its streams.
    pub streams: StreamMap<StreamRuntime>,
    /// Streams without a reading for so long are forgotten; `None` for never.
    pub idle_evict: Option<Duration>,
    /// Forgotten streams, to be brought back by their next reading.
    pub evicted: StreamMap<Evicted>,
    /// Streams whose snapshot is due.
    pub unsaved: Vec<StreamId>,
    /// Streams on their way from other workers.
    pub coming: StreamMap<Coming>,
    /// Further readings are in hand.
    pub more: bool,
    /// Since when the broker has been connected, unix milliseconds.
    pub heard_since_ms: Option<i64>,
    /// Messages that go to the outbox together.
    pub pending: Vec<Message>,
    /// Streams whose last row is not published yet, with the moment at which it will be, in order.
    pub held: VecDeque<(Instant, StreamId)>,
}

impl Worker {
    /// Worker `idx` without streams, that takes its work from `rx`.
    pub fn new(
        idx: usize,
        rx: Receiver<WorkerMessage>,
        settings: &Settings,
        out: Out,
        store: Arc<dyn Store>,
        shared: Arc<Status>,
    ) -> Worker {
        Worker {
            idx,
            rx,
            params: settings.stream_params().clone(),
            is_tuned: false,
            output: settings.output.clone(),
            out,
            webhook: None,
            store,
            panics: None,
            observer: None,
            shared,
            told: Arc::default(),
            recovery: settings.state.recovery,
            unsaved_busy: Duration::ZERO,
            streams: StreamMap::default(),
            idle_evict: settings.state.idle_evict,
            evicted: StreamMap::default(),
            unsaved: Vec::new(),
            coming: StreamMap::default(),
            more: false,
            heard_since_ms: None,
            pending: Vec::new(),
            held: VecDeque::new(),
        }
    }

    /// Runs until every sender of readings is gone, then takes snapshots. Returns the number of
    /// rows learned.
    pub fn run(mut self) -> u64 {
        let mut outcomes = Vec::new();
        let mut viewed = Instant::now();
        let mut evicted = Instant::now();
        let mut saved = Instant::now();
        let mut round = 0;
        let mut is_recovered = self.shared.is_recovered();
        let pulse = self.shared.pulses.add(format!("worker-{}", self.idx));
        progress::enter(pulse.clone());
        self.renew_views();
        loop {
            progress::beat();
            let patience = if self.unsaved.is_empty() && self.coming.is_empty() {
                self.until_due().min(IDLE)
            } else {
                SAVE_EVERY
            };
            match self.rx.recv_timeout(patience) {
                Ok(work) => self.work(work, &mut outcomes),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            self.flush_if_due();
            self.let_all_in(false, &mut outcomes);
            if self.rx.is_empty() || viewed.elapsed() >= VIEW_EVERY {
                if viewed.elapsed() >= VIEW_EVERY {
                    self.renew_views();
                    self.watch_silence();
                    viewed = Instant::now();
                }
                // Readings that were learned again are not to be learned a third time.
                if !is_recovered && self.shared.is_recovered() && self.unsaved.is_empty() {
                    is_recovered = true;
                    self.unsaved = self.streams.keys().cloned().collect();
                }
                let due = self.store.snapshot_round();
                // A round that is not over is not begun anew: its last streams would never be saved.
                if due > round && self.unsaved.is_empty() {
                    round = due;
                    self.unsaved = self.streams.keys().cloned().collect();
                }
                if evicted.elapsed() >= EVICT_EVERY {
                    self.evict_idle();
                    evicted = Instant::now();
                }
            }
            // One at a time: no reading has to wait for the snapshots of a thousand streams.
            if saved.elapsed() >= SAVE_EVERY {
                if let Some(name) = self.unsaved.pop() {
                    self.save(&name);
                }
                self.bound_recovery();
                saved = Instant::now();
            }
        }
        self.let_all_in(true, &mut outcomes);
        self.flush_all();
        self.renew_views();
        for slot in self.streams.values() {
            self.store.save_last(&slot.stream);
            save_history(&*self.store, slot);
        }
        pulse.end();
        self.streams
            .values()
            .map(|slot| slot.stream.engine().stats().rows)
            .sum()
    }

    /// Takes a snapshot of a stream; false where the last one is still on its way.
    fn save(&mut self, name: &StreamId) -> bool {
        let Some(slot) = self.streams.get_mut(name) else {
            return true;
        };
        let saved = self.store.save(&slot.stream);
        if saved {
            let unsaved = std::mem::take(&mut slot.unsaved_busy);
            self.unsaved_busy = self.unsaved_busy.saturating_sub(unsaved);
            save_history(&*self.store, slot);
        }
        saved
    }

    /// Takes snapshots of the streams with the most learning that no snapshot has, until a restart
    /// would repeat no more than it may.
    fn bound_recovery(&mut self) {
        let begin = Instant::now();
        while self.unsaved_busy > self.recovery && begin.elapsed() < SAVE_EVERY {
            let streams = self.streams.iter();
            let most = streams.max_by_key(|(_, slot)| slot.unsaved_busy);
            let Some(name) = most.map(|(name, _)| name.clone()) else {
                return;
            };
            if !self.save(&name) {
                return;
            }
        }
        self.shared.set_unsaved(self.idx, self.unsaved_busy);
    }

    /// Learns readings, and notes how long each stream's take.
    pub(super) fn learn_in_turn(&mut self, items: Vec<Item>, outcomes: &mut Vec<Outcome>) {
        let n_items = items.len();
        self.shared.taken(n_items);
        let begin = Instant::now();
        let mut from = begin;
        let mut items = items.into_iter();
        while let Some(item) = items.next() {
            self.more = !items.as_slice().is_empty();
            let Some(item) = self.keep_waiting(item, outcomes) else {
                continue;
            };
            progress::beat();
            // It is in the journal: the next start learns it.
            if self.shared.is_hurried() && (item.replayed || self.store.groups_commits()) {
                continue;
            }
            self.learn(&item, outcomes);
            if item.replayed {
                self.shared.note_replayed();
            }
            if let Some(slot) = self.streams.get_mut(&item.reading.stream) {
                slot.touched = Instant::now();
                let took = slot.touched - from;
                slot.busy += took;
                slot.unsaved_busy += took;
                self.unsaved_busy += took;
                from = slot.touched;
            }
        }
        self.shared.add_busy(self.idx, from - begin);
        self.shared.add_learned(self.idx, n_items);
    }

    fn learn(&mut self, item: &Item, outcomes: &mut Vec<Outcome>) {
        let name = &item.reading.stream;
        if !self.streams.contains_key(name) {
            let slot = self.bring(&item.reading);
            self.streams.insert(name.clone(), slot);
        }
        let Some(slot) = self.streams.get_mut(name) else {
            return;
        };
        if slot.uncounted && !item.replayed {
            slot.counted = slot.stream.engine().stats().clone();
        }
        slot.uncounted = item.replayed;
        outcomes.clear();
        let (store, shared, params) = (&self.store, &self.shared, &self.params);
        let reading = &item.reading;
        let rebuild =
            |reason: &str, condemned| rebuild(&**store, shared, params, reading, reason, condemned);
        let begin = Instant::now();
        let pushed = match &self.panics {
            None => push_supervised(&mut slot.stream, reading, outcomes, rebuild),
            Some(tell) => match slot.push_or_break(reading, outcomes, params, tell) {
                Some(verdict) => Pushed::Done { verdict, panics: 0 },
                None => return,
            },
        };
        let seconds = begin.elapsed().as_secs_f64();
        shared.metrics.learning_seconds.inc_by(seconds);
        slot.dirty = true;
        match pushed {
            Pushed::Done { verdict, panics } => {
                if panics > 0 {
                    slot.counted = slot.stream.engine().stats().clone();
                }
                if !item.replayed {
                    note_verdict(&self.shared, verdict, &item.reading);
                }
                for outcome in outcomes.drain(..) {
                    if item.replayed {
                        self.replay(name, outcome);
                    } else {
                        self.publish(name, outcome, item.arrived);
                    }
                }
            }
            Pushed::Quarantined { .. } => slot.counted = slot.stream.engine().stats().clone(),
        }
    }

    /// Tells the others how the streams stand, those that have changed.
    fn renew_views(&mut self) {
        for (name, slot) in self.streams.iter_mut().filter(|(_, slot)| slot.dirty) {
            let stats = slot.stream.engine().stats();
            if !slot.uncounted {
                self.shared.metrics.add_engine(&slot.counted, stats);
            }
            slot.counted = stats.clone();
            slot.dirty = false;
            if let Some(history) = &slot.history {
                let engine = slot.stream.engine();
                let per_week = self.params.engine.get().detect.false_alarms_per_week;
                let mut history = history.lock();
                history.push_stats(stats);
                history.set_bar(engine.bar(), per_week);
            }
            self.shared.set_view(
                name,
                StreamView {
                    channels: slot.stream.channels().to_vec(),
                    last: slot.last.clone(),
                    stats: stats.clone(),
                    busy: slot.busy,
                    touched: slot.touched,
                    usual_interval: slot.usual_interval(),
                    incident: slot.incident(),
                    muted: slot.stream.muted(),
                },
            );
        }
    }

    /// A stream that is not here: new, or back from where idle ones are kept.
    fn bring(&mut self, reading: &Reading) -> StreamRuntime {
        let name = &reading.stream;
        let Some(evicted) = self.evicted.remove(name) else {
            return StreamRuntime::new(Stream::new(name, &self.params), &self.output);
        };
        let metrics = &self.shared.metrics;
        metrics.streams_evicted.dec();
        metrics.stream_returns.inc();
        let stream = or_anew(
            self.store.load(reading, &self.params, evicted.seq),
            &self.shared,
            name,
            &self.params,
        );
        let mut slot = StreamRuntime::new(stream, &self.output);
        slot.said = evicted.said;
        slot
    }

    /// Gives up a stream, on disk as well, and takes back what the broker retains of it.
    pub(super) fn forget(&mut self, name: &StreamId, seq: u64) {
        self.evicted.remove(name);
        if let Some(slot) = self.streams.remove(name) {
            self.unsaved_busy = self.unsaved_busy.saturating_sub(slot.unsaved_busy);
            if slot.said.is_some() {
                self.pending.push(Message {
                    topic: slot.anomaly_topic,
                    payload: Vec::new(),
                    qos: 1,
                    retain: true,
                    class: Class::Anomaly,
                    arrived: None,
                    kept: None,
                });
            }
        }
        self.store.forget(name, seq);
        self.shared.forget(name);
        self.shared.metrics.streams_expired.inc();
    }

    /// Forgets the streams that have been idle for long, once their snapshots are on disk. That
    /// goes by the wall clock, since it changes no bit of what is learned.
    fn evict_idle(&mut self) {
        let Some(limit) = self.idle_evict else { return };
        let (store, metrics) = (&self.store, &self.shared.metrics);
        let evicted = &mut self.evicted;
        self.streams.retain(|name, slot| {
            if slot.touched.elapsed() < limit || slot.dirty || slot.stream.last_seq() == 0 {
                return true;
            }
            if !store.is_kept(&slot.stream) {
                store.save(&slot.stream);
                return true;
            }
            let left = Evicted {
                seq: slot.stream.last_seq(),
                said: slot.said.take(),
            };
            evicted.insert(name.clone(), left);
            metrics.streams_evicted.inc();
            metrics.stream_evictions.inc();
            false
        });
    }
}

/// Keeps a stream's history where it has changed: it is as old as the snapshot beside it.
fn save_history(store: &dyn Store, slot: &StreamRuntime) {
    if let Some(history) = &slot.history {
        history.save(|history| store.save_history(slot.stream.name(), history));
    }
}

fn note_verdict(shared: &Status, verdict: Verdict, reading: &Reading) {
    if let Some(reason) = Reject::from_verdict(verdict) {
        let source = format!("{} {}", reading.stream, reading.channel);
        let explain = || refused_reading(reason, reading);
        shared.refuse(reason, &source, reading.arrival_ms, explain);
    }
}
