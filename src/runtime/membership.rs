//! A worker's part in a cluster: it is heard, claims the partitions that are its own, gives up those that
//! are not, and commits.
//!
//! Nobody leads. Every worker deals the partitions to those that are heard, by the same rule; a partition
//! without a worker that is heard goes to whom it is dealt. The carrier refuses all writes but those of the
//! last claim, so that two workers which disagree for a moment harm nothing: one of them is refused, and
//! drops what it has.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use super::engine_panic::EnginePanic;
use super::outlet::OutletFlush;
use super::partitions::{PartitionCut, PartitionOrder};
use super::roster::Roster;
use crate::carrier::{
    Carrier, CarrierError, ClaimedPartition, DeadLetter, JournalReader, NewsReader, Partition,
    PartitionCommit, PartitionState, partition_of,
};
use crate::config::ClusterSettings;
use crate::mqtt::{Delivered, Fate, Intake, JournalPlace};
use crate::progress::{BEAT_EVERY, Pulse};
use crate::state::Failures;
use crate::status::{Role, Status, lock};
use crate::stream::{Stream, StreamParams};

/// Wait before what failed is tried again.
const AGAIN: Duration = Duration::from_millis(200);
/// Time between two looks whether there is a connection.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Partitions that are committed together at most.
const TOGETHER: usize = 16;
/// A partition with a panic is committed at each look for so long: what is learned before the next one is
/// not learned again.
const WARY: Duration = Duration::from_secs(60);

/// Parts that a membership works with.
pub(super) struct Membership<C: Carrier> {
    pub(super) carrier: Arc<C>,
    pub(super) settings: ClusterSettings,
    pub(super) params: StreamParams,
    pub(super) n_workers: usize,
    pub(super) intake: Intake,
    pub(super) orders: Sender<PartitionOrder>,
    pub(super) flush: OutletFlush,
    /// Panics of engines come from here.
    pub(super) panicked: mpsc::UnboundedReceiver<EnginePanic>,
    pub(super) shared: Arc<Status>,
    /// Nothing is claimed before this is true.
    pub(super) may_begin: watch::Receiver<bool>,
    /// True when the end has come.
    pub(super) stop: watch::Receiver<bool>,
}

/// A partition that is here.
struct HeldPartition {
    epoch: u64,
    /// Number of the last message in the last commit.
    position: u64,
    committed: Instant,
    /// The last state was not taken: the next cut is of a partition that has changed.
    is_due: bool,
}

/// Signs of life of this worker.
struct Heartbeat {
    /// When the last one that was taken was sent.
    sent: std::sync::Mutex<Instant>,
    /// One came later than the lease allows.
    was_late: AtomicBool,
    /// Why the last one was not taken.
    refused: std::sync::Mutex<Option<CarrierError>>,
    is_leaving: AtomicBool,
}

/// A membership that has begun.
struct ClusterMember<C: Carrier> {
    parts: Membership<C>,
    roster: Roster,
    heartbeat: Arc<Heartbeat>,
    held: BTreeMap<Partition, HeldPartition>,
    generation: u64,
    reading: Option<JoinHandle<()>>,
    /// Panics in a row over the same reading, by stream.
    failures: HashMap<Arc<str>, Failures>,
    /// When an engine of a partition last panicked.
    wary: HashMap<Partition, Instant>,
    /// It is not heard any more.
    is_mute: bool,
    /// Why there is no connection, as it was last said.
    obstacle: Option<CarrierError>,
    /// Why it cannot do its work.
    trouble: Option<String>,
    pulse: Arc<Pulse>,
}

impl<C: Carrier> Membership<C> {
    /// Runs until the end has come, and gives everything up in order.
    pub(super) async fn run(mut self) {
        let pulse = self.shared.pulses.add("membership");
        let mut stop = self.stop.clone();
        loop {
            pulse.beat();
            // An error means that the start was given up: the end is near.
            let began = self.may_begin.wait_for(|may| *may);
            tokio::select! {
                _ = began => break,
                _ = stop.wait_for(|stop| *stop) => return pulse.end(),
                () = tokio::time::sleep(BEAT_EVERY) => {}
            }
        }
        let mut said = None;
        loop {
            pulse.beat();
            let prepared = tokio::select! {
                prepared = self.prepare() => prepared,
                _ = stop.wait_for(|stop| *stop) => return pulse.end(),
            };
            let Err(error) = prepared else { break };
            self.shared
                .note_cluster(Some(format!("the cluster: {error}")));
            if said.as_ref() != Some(&error) {
                warn!(%error, "the cluster cannot be joined, trying again");
                said = Some(error);
            }
            tokio::time::sleep(AGAIN).await;
        }
        let heartbeat = Arc::new(Heartbeat {
            sent: std::sync::Mutex::new(Instant::now()),
            was_late: AtomicBool::new(false),
            refused: std::sync::Mutex::default(),
            is_leaving: AtomicBool::new(false),
        });
        let beating = tokio::spawn(beat(
            self.carrier.clone(),
            heartbeat.clone(),
            self.settings.lease,
        ));
        let roster = Roster::new(self.carrier.worker(), self.settings.lease);
        info!(worker = self.carrier.worker(), "joins the cluster");
        let mut member = ClusterMember {
            parts: self,
            roster,
            heartbeat,
            held: BTreeMap::new(),
            generation: 0,
            reading: None,
            failures: HashMap::new(),
            wary: HashMap::new(),
            is_mute: false,
            obstacle: None,
            trouble: None,
            pulse: pulse.clone(),
        };
        member.stay(stop).await;
        member.leave().await;
        beating.abort();
        let carrier = &member.parts.carrier;
        if let Err(error) = carrier.withdraw(carrier.worker()).await {
            warn!(%error, "the others are not told that this worker has left");
        }
        pulse.end();
    }
}

impl<C: Carrier> Membership<C> {
    /// Prepares the carrier as soon as there is a connection.
    async fn prepare(&self) -> Result<(), CarrierError> {
        let limit = BEAT_EVERY * 4;
        let connected = async {
            while !self.carrier.is_connected() && self.carrier.obstacle().is_none() {
                tokio::time::sleep(LOOK_EVERY).await;
            }
        };
        // An error means that nothing is known.
        let _ = tokio::time::timeout(limit, connected).await;
        let prepared = match self.carrier.is_connected() {
            true => tokio::time::timeout(limit, self.carrier.prepare())
                .await
                .ok(),
            false => None,
        };
        prepared.unwrap_or_else(|| {
            let unknown = || CarrierError::Away("no answer from the server".to_owned());
            Err(self.carrier.obstacle().unwrap_or_else(unknown))
        })
    }
}

/// Has the worker heard, four times a lease.
async fn beat<C: Carrier>(carrier: Arc<C>, heartbeat: Arc<Heartbeat>, lease: Duration) {
    let mut ticks = tokio::time::interval(lease / 4);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let sent = Instant::now();
        let announced = carrier.announce(heartbeat.is_leaving.load(Ordering::Acquire));
        let no_answer = || Err(CarrierError::Away("no answer from the server".to_owned()));
        let announced = tokio::time::timeout(lease / 2, announced).await;
        let announced = announced.unwrap_or_else(|_| no_answer());
        let is_taken = announced.is_ok();
        *lock(&heartbeat.refused) = announced.err();
        if is_taken {
            let before = std::mem::replace(&mut *lock(&heartbeat.sent), sent);
            if before.elapsed() > lease {
                heartbeat.was_late.store(true, Ordering::Release);
            }
        }
    }
}

impl<C: Carrier> ClusterMember<C> {
    async fn stay(&mut self, mut stop: watch::Receiver<bool>) {
        let tick = (self.parts.settings.lease / 16).min(Duration::from_millis(250));
        let mut news: Option<C::News> = None;
        let mut was_connected = true;
        let mut looked = Instant::now();
        while !*stop.borrow_and_update() {
            self.pulse.beat();
            let is_connected = self.parts.carrier.is_connected();
            for side in [Role::Subscriber, Role::Publisher] {
                if self.parts.shared.is_connected(side) != is_connected {
                    self.parts.shared.set_connected(side, is_connected);
                }
            }
            let now = Instant::now();
            // The watch may have ended unseen with the connection, or stand still.
            let is_stale =
                looked.elapsed() > self.parts.settings.lease && !self.roster.is_fresh(now);
            if (is_connected && !was_connected) || is_stale {
                news = None;
                self.roster.give_time(now);
                looked = now;
            }
            was_connected = is_connected;
            if news.is_none() && is_connected {
                news = self.parts.carrier.news().await.ok();
            }
            let next = async {
                match &mut news {
                    Some(news) => news.next().await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                told = next => match told {
                    Ok(told) => {
                        self.roster.note(told, Instant::now());
                        self.take_all(&mut news).await;
                    }
                    Err(error) => {
                        warn!(%error, "the watch of the cluster ended");
                        news = None;
                        tokio::time::sleep(AGAIN).await;
                    }
                },
                Some(panic) = self.parts.panicked.recv() => self.note_panic(panic).await,
                () = tokio::time::sleep(tick) => {}
                _ = stop.changed() => return,
            }
            self.look().await;
        }
    }

    /// Takes all news that are there.
    async fn take_all(&mut self, news: &mut Option<C::News>) {
        while let Some(reader) = news {
            match tokio::time::timeout(Duration::from_millis(1), reader.next()).await {
                Ok(Ok(told)) => self.roster.note(told, Instant::now()),
                Ok(Err(_)) => *news = None,
                Err(_) => return,
            }
        }
    }

    /// Looks at who has what, and does what follows.
    async fn look(&mut self) {
        if !self.parts.carrier.is_connected() {
            return self.tell_obstacle();
        }
        self.obstacle = None;
        let lease = self.parts.settings.lease;
        let is_late = lock(&self.heartbeat.sent).elapsed() > lease;
        let is_heard_again = self.heartbeat.was_late.swap(false, Ordering::AcqRel);
        if is_heard_again || (is_late && !self.is_mute) {
            self.defend().await;
        }
        self.is_mute = is_late;
        self.drop_lost().await;
        if is_late {
            // It may have lost everything, and cannot find out.
            let why = lock(&self.heartbeat.refused).clone();
            let said = "the others do not hear this worker";
            let said = why.map_or(said.to_owned(), |why| format!("{said}: {why}"));
            return self.tell(Some(said));
        }
        let now = Instant::now();
        if !self.roster.is_fresh(now) {
            return self.tell(Some("the cluster's news do not come".to_owned()));
        }
        self.trouble = None;
        self.pulse.beat();
        while let Ok(panic) = self.parts.panicked.try_recv() {
            self.note_panic(panic).await;
        }
        self.hand_over().await;
        self.pulse.beat();
        self.claim_all().await;
        self.pulse.beat();
        self.commit_due().await;
        for gone in self.roster.long_gone(Instant::now()) {
            // Another worker may be first; what is left costs nothing.
            let _ = self.parts.carrier.withdraw(&gone).await;
        }
        let now = Instant::now();
        let all = 0..self.parts.settings.partitions;
        let unowned = all.filter(|p| !self.held.contains_key(p) && self.roster.is_free(*p, now));
        let unowned = unowned.count();
        let metrics = &self.parts.shared.metrics.cluster;
        metrics
            .unowned
            .set(i64::try_from(unowned).unwrap_or(i64::MAX));
        metrics
            .workers
            .set(i64::try_from(self.roster.n_live(now)).unwrap_or(i64::MAX));
        let n = self.parts.settings.partitions;
        let missing = (unowned > 0).then(|| format!("{unowned} of {n} partitions have no worker"));
        let trouble = self.trouble.take().or(missing);
        // Each time that this is said it is logged.
        if self.parts.shared.metrics.broker_subscribed.get() == 0 {
            self.parts.shared.set_subscribed(true);
        }
        self.tell(trouble);
    }

    /// Says that there is no connection, and why as soon as that is known.
    fn tell_obstacle(&mut self) {
        let obstacle = self.parts.carrier.obstacle();
        let said = "no connection to the cluster's server";
        let said = match &obstacle {
            Some(why) => format!("{said}: {why}"),
            None => said.to_owned(),
        };
        if obstacle.is_some() && obstacle != self.obstacle {
            warn!("{said}");
        }
        self.obstacle = obstacle;
        self.tell(Some(said));
    }

    fn tell(&self, trouble: Option<String>) {
        let owned = i64::try_from(self.held.len()).unwrap_or(i64::MAX);
        self.parts.shared.metrics.cluster.owned.set(owned);
        if let Some(said) = &trouble
            && self.parts.shared.note_cluster(trouble.clone())
        {
            warn!("{said}");
        } else if trouble.is_none() {
            self.parts.shared.note_cluster(None);
        }
    }

    /// The others may have taken this worker for dead: each of its partitions is written anew, which is
    /// refused where it has another owner.
    async fn defend(&mut self) {
        warn!("this worker was not heard for longer than cluster.lease_s");
        // Nor may this one take the others for dead, whose signs of life wait to be read.
        self.roster.give_time(Instant::now());
        let mine: Vec<(Partition, u64)> = self.held.iter().map(|(p, h)| (*p, h.epoch)).collect();
        for (partition, epoch) in mine {
            self.pulse.beat();
            let written = self
                .parts
                .carrier
                .commit(partition, epoch, PartitionCommit::default());
            if let Err(CarrierError::Fenced { epoch, .. }) = written.await {
                self.note_refused(partition, epoch).await;
            }
        }
    }

    /// A write was refused: the partition belongs to another worker.
    async fn note_refused(&mut self, partition: Partition, epoch: u64) {
        self.parts.shared.metrics.cluster.stale_writes.inc();
        self.lose(partition, epoch).await;
    }

    async fn lose(&mut self, partition: Partition, epoch: u64) {
        warn!(
            partition,
            epoch, "another worker has taken a partition: its state here is dropped"
        );
        self.parts.shared.metrics.cluster.losses.inc();
        if self.held.remove(&partition).is_some() {
            // Its state is of no use.
            let _ = self.order_cut(partition, true).await;
        }
    }

    /// Drops the partitions that have another owner.
    async fn drop_lost(&mut self) {
        let lost = self.held.iter().filter_map(|(partition, held)| {
            let lease = self.roster.lease_of(*partition);
            (lease.epoch > held.epoch).then_some((*partition, lease.epoch))
        });
        for (partition, epoch) in lost.collect::<Vec<_>>() {
            self.lose(partition, epoch).await;
        }
    }

    /// Gives up the partition of a stream whose engine panicked, as it is: with its next claim it goes on from
    /// its last commit. A reading that panics again and again is set apart.
    async fn note_panic(&mut self, panic: EnginePanic) {
        let EnginePanic { reading, reason } = panic;
        let partition = partition_of(&reading.stream, self.parts.settings.partitions);
        let failures = self.failures.entry(reading.stream.clone()).or_default();
        let is_condemned = failures.again(reading.seq);
        self.parts.shared.note_panic();
        error!(
            stream = %reading.stream,
            seq = reading.seq,
            channel = %reading.channel,
            value = reading.value,
            reason,
            is_condemned,
            partition,
            "an engine panicked; its partition goes on from the last commit"
        );
        let Some(held) = self.held.remove(&partition) else {
            return;
        };
        self.wary.insert(partition, Instant::now());
        // Its state is of no use.
        let _ = self.order_cut(partition, true).await;
        let dead_letter = is_condemned.then(|| DeadLetter {
            seq: reading.seq,
            stream: reading.stream.to_string(),
            reading: serde_json::to_string(&reading).unwrap_or_default(),
            reason,
        });
        let commit = PartitionCommit {
            dead_letter,
            releases: true,
            ..PartitionCommit::default()
        };
        match self
            .parts
            .carrier
            .commit(partition, held.epoch, commit)
            .await
        {
            Ok(()) if is_condemned => {
                self.failures.remove(&reading.stream);
                self.parts.shared.metrics.cluster.quarantined.inc();
            }
            Ok(()) => {}
            Err(CarrierError::Fenced { epoch, .. }) => {
                self.note_refused(partition, epoch).await;
            }
            // It is claimed again all the same; the reading is condemned again.
            Err(error) => warn!(partition, %error, "a partition cannot be given up"),
        }
    }

    /// Gives up the partitions that are dealt to others.
    async fn hand_over(&mut self) {
        let now = Instant::now();
        let own = self.parts.carrier.worker();
        let others = self.held.keys().copied();
        let others = others.filter(|p| self.roster.owner(*p, now).is_some_and(|o| o != own));
        let others: Vec<Partition> = others.collect();
        if !others.is_empty() {
            info!(partitions = others.len(), "hands over to another worker");
            self.give_up(&others).await;
        }
    }

    /// Commits partitions for the last time and releases them.
    async fn give_up(&mut self, partitions: &[Partition]) {
        let mut cuts = Vec::new();
        for partition in partitions {
            let is_due = self.held.get(partition).is_some_and(|held| held.is_due);
            cuts.push((*partition, self.order(*partition, true, is_due)));
        }
        let until = Instant::now() + self.parts.settings.lease;
        for (partition, cut) in cuts {
            self.pulse.beat();
            let Some(held) = self.held.remove(&partition) else {
                continue;
            };
            let commit = match self.commit_of(cut).await {
                Ok(commit) => PartitionCommit {
                    releases: true,
                    ..commit
                },
                Err(error) => {
                    error!(partition, %error, "a partition is given up without its last state");
                    PartitionCommit {
                        releases: true,
                        ..PartitionCommit::default()
                    }
                }
            };
            loop {
                let given = self
                    .parts
                    .carrier
                    .commit(partition, held.epoch, commit.clone());
                match given.await {
                    Ok(()) => {
                        self.parts.shared.metrics.cluster.hand_overs.inc();
                        break;
                    }
                    Err(CarrierError::Fenced { epoch, .. }) => {
                        self.note_refused(partition, epoch).await;
                        break;
                    }
                    // Whoever claims it after the lease learns again what this commit would have told.
                    Err(error) if Instant::now() > until => {
                        warn!(partition, %error, "a partition cannot be handed over");
                        break;
                    }
                    Err(_) => tokio::time::sleep(AGAIN).await,
                }
            }
        }
    }

    /// Claims the partitions that are dealt to this worker and that nobody has, and reads on from the
    /// earliest of them.
    async fn claim_all(&mut self) {
        let now = Instant::now();
        let own = self.parts.carrier.worker().to_owned();
        let all = 0..self.parts.settings.partitions;
        let free = all.filter(|p| {
            let is_dealt = self.roster.owner(*p, now) == Some(own.as_str());
            // One that is ours and not here is handed over in order, where it is dealt to another.
            let is_ours = self.roster.lease_of(*p).owner == own;
            !self.held.contains_key(p) && (is_ours || (is_dealt && self.roster.is_free(*p, now)))
        });
        let mut earliest: Option<u64> = None;
        let mut n = 0;
        for partition in free.collect::<Vec<_>>() {
            let dead = self.roster.lease_of(partition).owner;
            self.pulse.beat();
            let begin = Instant::now();
            match self.parts.carrier.claim(partition, &dead).await {
                Ok(claimed) => {
                    let position = claimed.position;
                    if self.admit(partition, claimed).await {
                        earliest = Some(earliest.map_or(position, |e| e.min(position)));
                        n += 1;
                    }
                }
                // Another worker was first: the news will say so.
                Err(CarrierError::Fenced { .. }) => {}
                Err(error) => {
                    warn!(partition, %error, "a partition cannot be claimed");
                    self.trouble =
                        Some(format!("partition {partition} cannot be claimed: {error}"));
                }
            }
            if begin.elapsed() > self.parts.settings.lease {
                break;
            }
        }
        if let Some(after) = earliest {
            info!(partitions = n, after, "claimed partitions");
            self.read_behind(after).await;
        }
    }

    /// Hands a claimed partition's streams to the worker threads.
    async fn admit(&mut self, partition: Partition, claimed: ClaimedPartition) -> bool {
        let ClaimedPartition {
            epoch,
            state,
            position,
            dead_letters,
        } = claimed;
        let params = self.parts.params.clone();
        let opened = tokio::task::spawn_blocking(move || open(state.unwrap_or_default(), &params));
        let Ok(streams) = opened.await else {
            error!(partition, "the state of a partition cannot be opened");
            return false;
        };
        self.parts.shared.metrics.cluster.claims.inc();
        let held = HeldPartition {
            epoch,
            position,
            committed: Instant::now(),
            is_due: false,
        };
        self.held.insert(partition, held);
        let order = PartitionOrder::Admit {
            partition,
            position,
            streams,
            set_apart: dead_letters.iter().map(|letter| letter.seq).collect(),
        };
        // An error means that the intake thread has ended: so will the daemon.
        self.parts.orders.send(order).is_ok()
    }

    /// Reads the journal anew, behind message `after` at the latest.
    async fn read_behind(&mut self, after: u64) {
        if let Some(reading) = self.reading.take() {
            reading.abort();
        }
        self.generation += 1;
        let generation = self.generation;
        let (reply, from) = oneshot::channel();
        // An error means that the intake thread has ended: so will the daemon.
        let _ = self.parts.orders.send(PartitionOrder::ReadBehind {
            generation,
            after,
            reply,
        });
        let Ok(after) = from.await else { return };
        self.reading = Some(tokio::spawn(read_on(
            self.parts.carrier.clone(),
            self.parts.intake.clone(),
            self.parts.shared.clone(),
            generation,
            after,
        )));
    }

    /// Has the intake thread cut a partition.
    fn order(
        &self,
        partition: Partition,
        gives_up: bool,
        is_due: bool,
    ) -> oneshot::Receiver<PartitionCut> {
        let (reply, cut) = oneshot::channel();
        // Where the intake thread has ended, the answer does not come.
        let _ = self.parts.orders.send(PartitionOrder::Cut {
            partition,
            gives_up,
            is_due,
            reply,
        });
        cut
    }

    async fn order_cut(&self, partition: Partition, gives_up: bool) -> Option<PartitionCut> {
        self.order(partition, gives_up, false).await.ok()
    }

    /// Waits for a cut and for its outputs, and makes the commit of it.
    async fn commit_of(
        &self,
        cut: oneshot::Receiver<PartitionCut>,
    ) -> Result<PartitionCommit, CarrierError> {
        let gone = |what: &str| CarrierError::Away(what.to_owned());
        let cut = cut.await.map_err(|_| gone("the intake thread has ended"))?;
        let n_workers = self.parts.n_workers;
        let state = match cut.snapshots {
            None => None,
            Some(snapshots) => {
                let gathered = tokio::task::spawn_blocking(move || {
                    let parts: Vec<_> = snapshots.iter().collect();
                    let is_whole = parts.len() == n_workers;
                    let mut streams: Vec<_> = parts.into_iter().flatten().collect();
                    streams.sort_by(|a, b| a.stream.cmp(&b.stream));
                    is_whole.then(|| PartitionState { streams }.to_bytes())
                });
                let bytes = gathered.await.ok().flatten();
                Some(bytes.ok_or_else(|| gone("an engine has panicked"))?)
            }
        };
        let flushed = tokio::time::timeout(self.parts.settings.lease, self.parts.flush.flushed());
        match flushed.await {
            Ok(true) => {}
            Ok(false) => return Err(gone("outputs are no longer published")),
            Err(_) => return Err(gone("its outputs are not acknowledged yet")),
        }
        Ok(PartitionCommit {
            state,
            position: Some(cut.position),
            ..PartitionCommit::default()
        })
    }

    /// Commits the partitions whose time has come.
    async fn commit_due(&mut self) {
        let every = self.parts.settings.commit;
        self.wary.retain(|_, since| since.elapsed() < WARY);
        let due = self.held.iter().filter(|(partition, held)| {
            held.committed.elapsed() >= every || self.wary.contains_key(*partition)
        });
        let mut due: Vec<(Instant, Partition)> =
            due.map(|(p, held)| (held.committed, *p)).collect();
        due.sort_unstable();
        // A few at each look, so that they do not all fall due together for ever.
        due.truncate(TOGETHER);
        let cuts: Vec<_> = due
            .iter()
            .map(|(_, p)| (*p, self.order(*p, false, self.held[p].is_due)))
            .collect();
        let mut is_away = false;
        for (partition, cut) in cuts {
            self.pulse.beat();
            // A server that does not answer once is not asked for the others as well.
            let commit = match is_away {
                true => Err(CarrierError::Away("no answer to the one before".to_owned())),
                false => self.commit_of(cut).await,
            };
            let Some(HeldPartition {
                epoch, position, ..
            }) = self.held.get(&partition)
            else {
                continue;
            };
            let (epoch, mut position) = (*epoch, *position);
            let done = match commit {
                // Nothing has come.
                Ok(commit) if commit.state.is_none() && commit.position == Some(position) => Ok(()),
                Ok(commit) => {
                    position = commit.position.unwrap_or(position);
                    self.parts.carrier.commit(partition, epoch, commit).await
                }
                Err(error) => Err(error),
            };
            if let Err(CarrierError::Fenced { epoch, .. }) = done {
                self.note_refused(partition, epoch).await;
                continue;
            }
            let Some(held) = self.held.get_mut(&partition) else {
                continue;
            };
            held.committed = Instant::now();
            match done {
                Ok(()) => {
                    held.is_due = false;
                    held.position = position;
                    self.parts.shared.metrics.cluster.commits.inc();
                }
                Err(error) => {
                    held.is_due = true;
                    // The others fail with it.
                    if !std::mem::replace(&mut is_away, true) {
                        warn!(partition, %error, "a partition cannot be committed, trying again");
                        let said = format!("partition {partition} cannot be committed: {error}");
                        self.trouble = Some(said);
                    }
                }
            }
        }
    }

    /// Gives everything up.
    async fn leave(&mut self) {
        self.heartbeat.is_leaving.store(true, Ordering::Release);
        // The others are told before anything is free.
        let _ = self.parts.carrier.announce(true).await;
        if let Some(reading) = self.reading.take() {
            reading.abort();
        }
        let all: Vec<Partition> = self.held.keys().copied().collect();
        for some in all.chunks(TOGETHER) {
            self.pulse.beat();
            self.give_up(some).await;
        }
        info!(partitions = all.len(), "has left the cluster");
    }
}

/// The streams of a partition's state. One that was made with settings that this worker's models cannot go
/// on with begins anew.
fn open(state: PartitionState, params: &StreamParams) -> Vec<Stream> {
    let opened = state.streams.into_iter().filter_map(|snapshot| {
        if let Some(why) = snapshot.unfit_for(params) {
            warn!(stream = snapshot.stream, "the stream learns anew: {why}");
            return None;
        }
        match snapshot.open_with(params) {
            Ok((stream, _)) => Some(stream),
            Err(error) => {
                error!(stream = snapshot.stream, %error, "the stream learns anew");
                None
            }
        }
    });
    opened.collect()
}

/// Reads the journal into the intake queue, on and on.
async fn read_on<C: Carrier>(
    carrier: Arc<C>,
    intake: Intake,
    shared: Arc<Status>,
    generation: u64,
    mut after: u64,
) {
    let mut messages = Vec::new();
    let mut waiting = VecDeque::new();
    loop {
        let mut journal = match carrier.read(after).await {
            Ok(journal) => journal,
            Err(error) => {
                if shared.note_cluster(Some(format!("the journal: {error}"))) {
                    warn!(%error, "the journal cannot be read, trying again");
                }
                tokio::time::sleep(AGAIN).await;
                continue;
            }
        };
        loop {
            let came = journal.next(&mut messages).await;
            let arrived = Instant::now();
            for message in messages.drain(..) {
                // A journal has no holes but where messages were too old.
                let missing = message.sequence.saturating_sub(after + 1);
                if missing > 0 && after > 0 {
                    error!(
                        missing,
                        after, "the journal no longer has messages that were due"
                    );
                    shared.metrics.cluster.missing.inc_by(missing);
                }
                after = after.max(message.sequence);
                shared.metrics.messages_received.inc();
                waiting.push_back(Delivered {
                    topic: message.topic,
                    payload: message.payload,
                    packet_id: 0,
                    dup: false,
                    retain: false,
                    epoch: 0,
                    arrived,
                    fate: Fate::Whole,
                    properties: Vec::new(),
                    journal: Some(JournalPlace {
                        sequence: message.sequence,
                        stored_ms: message.stored_ms,
                        generation,
                        pending: message.pending,
                    }),
                });
            }
            while !waiting.is_empty() {
                intake.put(&mut waiting);
                if !waiting.is_empty() {
                    intake.room().await;
                }
            }
            if let Err(error) = came {
                warn!(%error, "the journal is read anew");
                tokio::time::sleep(AGAIN).await;
                break;
            }
        }
    }
}
