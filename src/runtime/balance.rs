//! Which worker has which stream: readings go to their stream's worker, new streams to the least busy
//! one, and streams move so that no worker is much busier than another.
//!
//! A stream moves by two messages, the two ends of a channel of its own: [`WorkerMessage::Give`] goes to the
//! worker that has it, behind all its readings so far, [`WorkerMessage::Take`] to the other, before all its
//! further ones. So every reading is learned once and in order, whichever worker is ahead.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::{SendTimeoutError, Sender, TrySendError, bounded};
use tracing::{debug, error};

use super::orders::{Item, Moved, WorkerMessage};
use super::slot::StreamRuntime;
use crate::config::OutputSettings;
use crate::progress;
use crate::row::{StreamId, StreamMap};
use crate::status::Status;
use crate::stream::Stream;

/// Readings that are handed to a worker together at most.
pub const HANDOVER: usize = 256;
/// Learning that is handed to a worker together at most: what waits for it is learned within the grace
/// period, and soon after a restart.
const HANDOVER_TIME: Duration = Duration::from_millis(250);
/// Time between two signs of life of who waits for a worker.
const PATIENCE: Duration = Duration::from_millis(200);
/// Time between two looks at how busy the workers are.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// A worker that is busy for less of its time than this gives no stream away.
const HOT: f64 = 0.05;
/// Nor does one that is not busier than another by this.
const GAP: f64 = 0.03;
/// A stream stays that takes more than this share of what two workers differ by: moved, it would make
/// the other one as busy as this one is.
const TOO_LARGE: f64 = 0.75;
/// Streams that move after one look, at most.
const MOVES: usize = 64;
/// Assumed cost of a channel that has not been learned yet, as a share of a worker's time.
const UNKNOWN: f64 = 1e-5;

/// The way to one worker: readings gather here until nothing more has come, or they are
/// [`HANDOVER`].
struct Way {
    tx: Sender<WorkerMessage>,
    gathered: Vec<Item>,
    /// Streams that it has.
    n_streams: usize,
    /// Share of the time between the last two looks in which it learned, 0 to 1, and what was placed
    /// there since.
    load: f64,
    /// Time in which it has learned so far.
    busy: Duration,
    /// Readings that are handed over together.
    batch: usize,
}

struct Home {
    worker: usize,
    /// Time that the stream has taken so far.
    busy: Duration,
}

/// Readings to their worker.
pub struct Dispatch {
    ways: Vec<Way>,
    homes: StreamMap<Home>,
    shared: Arc<Status>,
    looked: Instant,
    /// The last look found the workers unevenly busy.
    uneven: bool,
}

impl Dispatch {
    /// To the workers at the other ends.
    pub fn new(senders: Vec<Sender<WorkerMessage>>, shared: Arc<Status>) -> Dispatch {
        let way = |tx| Way {
            tx,
            gathered: Vec::new(),
            n_streams: 0,
            load: 0.0,
            busy: Duration::ZERO,
            batch: HANDOVER,
        };
        Dispatch {
            ways: senders.into_iter().map(way).collect(),
            homes: StreamMap::default(),
            shared,
            looked: Instant::now(),
            uneven: false,
        }
    }

    /// The number of the worker that has a stream, or that gets it: the least busy one. It has so many
    /// channels, and is known to take `share` of a worker's time beside what they are taken for.
    pub fn place(&mut self, stream: &StreamId, n_channels: usize, share: f64) -> usize {
        if let Some(home) = self.homes.get(stream) {
            return home.worker;
        }
        let key = |way: &Way| (way.load, way.n_streams);
        let ways = self.ways.iter().enumerate();
        let least = ways.min_by(|a, b| key(a.1).partial_cmp(&key(b.1)).expect("a number"));
        let worker = least.map_or(0, |(worker, _)| worker);
        self.ways[worker].load += UNKNOWN * n_channels as f64 + share;
        self.ways[worker].n_streams += 1;
        let busy = Duration::ZERO;
        self.homes.insert(stream.clone(), Home { worker, busy });
        worker
    }

    /// A reading on its way to its worker.
    pub fn push(&mut self, item: Item) {
        let worker = match self.homes.get(&item.reading.stream) {
            Some(home) => home.worker,
            None => self.place(&item.reading.stream, 1, 0.0),
        };
        let way = &mut self.ways[worker];
        way.gathered.push(item);
        if way.gathered.len() >= way.batch {
            self.hand_over(worker);
        }
    }

    /// Hands every worker what has gathered for it.
    pub fn flush(&mut self) {
        (0..self.ways.len()).for_each(|worker| self.hand_over(worker));
    }

    fn hand_over(&mut self, worker: usize) {
        let way = &mut self.ways[worker];
        if way.gathered.is_empty() {
            return;
        }
        let nanos = self.shared.per_reading(worker).as_nanos();
        let fitting = HANDOVER_TIME.as_nanos().checked_div(nanos);
        way.batch = fitting.map_or(HANDOVER, |n| n.clamp(1, HANDOVER as u128) as usize);
        let batch = std::mem::replace(&mut way.gathered, Vec::with_capacity(way.batch));
        let new = batch.iter().filter(|item| !item.replayed).count();
        let received = &self.shared.metrics.readings_received;
        received.inc_by(new as u64);
        self.shared.handed_over(batch.len());
        self.send(worker, WorkerMessage::Learn(batch));
    }

    fn send(&self, worker: usize, work: WorkerMessage) {
        let mut work = match self.ways[worker].tx.try_send(work) {
            Ok(()) => return,
            Err(TrySendError::Full(back) | TrySendError::Disconnected(back)) => back,
        };
        loop {
            // Who waits for a worker is not the one that hangs.
            progress::beat();
            let begin = Instant::now();
            let sent = self.ways[worker].tx.send_timeout(work, PATIENCE);
            self.shared.note_wait(begin.elapsed());
            match sent {
                Ok(()) => return,
                Err(SendTimeoutError::Timeout(back)) => work = back,
                // A worker ends only after this thread has.
                Err(SendTimeoutError::Disconnected(_)) => {
                    error!(worker, "a worker has ended: readings are lost");
                    return;
                }
            }
        }
    }

    /// Moves a stream to a worker; its further readings go there.
    pub fn move_to(&mut self, stream: &StreamId, worker: usize) {
        let Some(home) = self.homes.get_mut(stream).filter(|h| h.worker != worker) else {
            return;
        };
        let from = std::mem::replace(&mut home.worker, worker);
        self.ways[from].n_streams -= 1;
        self.ways[worker].n_streams += 1;
        self.hand_over(from);
        let (gives, takes) = bounded(1);
        self.send(from, WorkerMessage::Give(stream.clone(), gives));
        self.send(worker, WorkerMessage::Take(stream.clone(), takes));
        self.shared.metrics.stream_moves.inc();
        debug!(%stream, from, to = worker, "a stream moves");
    }

    /// Worker threads.
    pub(super) fn n_workers(&self) -> usize {
        self.ways.len()
    }

    /// Sends every worker an order.
    pub(super) fn send_all(&self, order: impl Fn() -> WorkerMessage) {
        (0..self.ways.len()).for_each(|worker| self.send(worker, order()));
    }

    /// Gives every stream a worker, so that each has about as much to learn again.
    pub(super) fn place_all(&mut self, streams: &[Stream], pending: &BTreeMap<StreamId, u64>) {
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
            self.place(name, n_channels, n_pending as f64 / all);
        }
    }

    /// A stream comes from outside, before all its readings.
    pub(super) fn bring(&mut self, stream: Stream, output: &OutputSettings) {
        let name = stream.name().clone();
        let worker = self.place(&name, stream.channels().len(), 0.0);
        let (gives, takes) = bounded(1);
        // There is room for one, and the other end is here.
        let _ = gives.send(Moved::of(StreamRuntime::new(stream, output)));
        self.send(worker, WorkerMessage::Take(name, takes));
    }

    /// A stream has gone: it has no worker any more.
    pub(super) fn leave(&mut self, stream: &StreamId) {
        if let Some(Home { worker, .. }) = self.homes.remove(stream) {
            self.ways[worker].n_streams -= 1;
        }
    }

    /// Has a stream given up, behind all its readings, which end with number `seq`.
    pub fn forget(&mut self, stream: &StreamId, seq: u64) {
        let Some(Home { worker, .. }) = self.homes.remove(stream) else {
            return;
        };
        self.ways[worker].n_streams -= 1;
        self.hand_over(worker);
        self.send(worker, WorkerMessage::Forget(stream.clone(), seq));
    }

    /// Now and then, looks at how busy the workers are.
    pub fn balance(&mut self) {
        let elapsed = self.looked.elapsed();
        if self.ways.len() > 1 && elapsed >= LOOK_EVERY {
            self.looked = Instant::now();
            self.look(elapsed);
        }
    }

    /// Moves streams when the workers are unevenly busy twice in a row; `elapsed` is the time since the
    /// last look.
    pub(super) fn look(&mut self, elapsed: Duration) {
        for (idx, way) in self.ways.iter_mut().enumerate() {
            let busy = self.shared.busy(idx);
            way.load = (busy - way.busy).as_secs_f64() / elapsed.as_secs_f64();
            way.busy = busy;
        }
        let mut loads: Vec<f64> = self.ways.iter().map(|way| way.load).collect();
        if hottest_and_coldest(&loads).is_none() {
            self.uneven = false;
            return;
        }
        // The first time this only notes how much each stream has taken so far.
        let mut shares = self.shares(&loads);
        if std::mem::replace(&mut self.uneven, true) {
            for (stream, worker) in plan(&mut loads, &mut shares) {
                self.move_to(&stream, worker);
            }
        }
    }

    /// Each stream with its worker, and the share of that worker's time that it takes, going by what it
    /// has taken since this was last called.
    fn shares(&mut self, loads: &[f64]) -> Vec<StreamShare> {
        let mut shares = Vec::with_capacity(self.homes.len());
        let mut sums = vec![0.0; loads.len()];
        let homes = &mut self.homes;
        self.shared.each_busy(|stream, busy| {
            if let Some((stream, home)) = homes.get_key_value(stream) {
                let taken = busy.saturating_sub(home.busy).as_secs_f64();
                sums[home.worker] += taken;
                shares.push((stream.clone(), home.worker, taken));
            }
        });
        self.shared.each_busy(|stream, busy| {
            if let Some(home) = homes.get_mut(stream) {
                home.busy = busy;
            }
        });
        for (_, worker, share) in &mut shares {
            *share *= loads[*worker] / sums[*worker].max(f64::MIN_POSITIVE);
        }
        shares
    }
}

/// A stream, its worker, and the share of that worker's time that it takes.
type StreamShare = (StreamId, usize, f64);

/// The busiest and the least busy worker, where they differ enough.
fn hottest_and_coldest(loads: &[f64]) -> Option<(usize, usize)> {
    let by_load = |a: &usize, b: &usize| loads[*a].total_cmp(&loads[*b]);
    let hot = (0..loads.len()).max_by(by_load)?;
    let cold = (0..loads.len()).min_by(by_load)?;
    (loads[hot] >= HOT && loads[hot] - loads[cold] >= GAP).then_some((hot, cold))
}

/// Which streams go where: from the busiest worker to the least busy one the stream that brings them
/// closest to each other, and again, until they do not differ much or nothing helps.
fn plan(loads: &mut [f64], shares: &mut [StreamShare]) -> Vec<(StreamId, usize)> {
    let mut moves = Vec::new();
    while moves.len() < MOVES
        && let Some((hot, cold)) = hottest_and_coldest(loads)
    {
        let gap = loads[hot] - loads[cold];
        let most = TOO_LARGE * gap;
        let here = shares
            .iter_mut()
            .filter(|(_, worker, share)| *worker == hot && *share > 0.0 && *share < most);
        let off = |share: f64| (share - gap / 2.0).abs();
        let Some((stream, worker, share)) = here.min_by(|a, b| off(a.2).total_cmp(&off(b.2)))
        else {
            break;
        };
        loads[hot] -= *share;
        loads[cold] += *share;
        *worker = cold;
        moves.push((stream.clone(), cold));
    }
    moves
}
