//! A worker's part in a cluster: it is heard, claims the partitions that are its own, gives up those that
//! are not, and commits.
//!
//! Nobody leads. Every worker deals the partitions to those that are heard, by the same rule; a partition
//! without a worker that is heard goes to whom it is dealt. The carrier refuses all writes but those of the
//! last claim, so that two workers which disagree for a moment harm nothing: one of them is refused, and
//! drops what it has.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use tokio::sync::{mpsc, watch};
use tracing::{info, warn};

use super::engine_panic::EnginePanic;
use super::heartbeat::{Heartbeat, beat};
use super::holding::{Holding, IntakeWays};
use super::outlet::OutletFlush;
use super::reading_on::AGAIN;
use super::retaining::RetainingTrouble;
use super::roster::Roster;
use crate::carrier::{CarrierError, NewsReader, Partition, PartitionCommit, SharedCarrier};
use crate::config::ClusterSettings;
use crate::mqtt::{Message, Out};
use crate::progress::{BEAT_EVERY, Pulse};
use crate::row::StreamMap;
use crate::state::Failures;
use crate::status::{ConnectionRole, Status, lock};
use crate::stream::StreamParams;

/// Time between two looks whether there is a connection.
const LOOK_EVERY: Duration = Duration::from_millis(20);
/// Partitions that are committed together at most.
pub(super) const TOGETHER: usize = 16;

/// Parts that a membership works with.
pub(super) struct Membership<C: SharedCarrier> {
    pub(super) carrier: Arc<C>,
    pub(super) settings: ClusterSettings,
    pub(super) params: StreamParams,
    pub(super) n_workers: usize,
    pub(super) ways: IntakeWays,
    pub(super) flush: OutletFlush,
    /// Says that no worker is left, where outputs are retained.
    pub(super) farewell: Option<Message>,
    /// Messages to publish go here.
    pub(super) out: Out,
    /// Why retained outputs wait.
    pub(super) retaining: RetainingTrouble,
    /// Panics of engines come from here.
    pub(super) panicked: mpsc::UnboundedReceiver<EnginePanic>,
    pub(super) shared: Arc<Status>,
    /// Nothing is claimed before this is true.
    pub(super) may_begin: watch::Receiver<bool>,
    /// True when the end has come.
    pub(super) stop: watch::Receiver<bool>,
}

/// A membership that has begun.
pub(super) struct ClusterMember<C: SharedCarrier> {
    pub(super) parts: Membership<C>,
    pub(super) roster: Roster,
    pub(super) heartbeat: Arc<Heartbeat>,
    pub(super) holding: Holding<C>,
    /// Epoch of a partition's lease when it was last released.
    pub(super) released: HashMap<Partition, u64>,
    /// Panics in a row over the same reading, by stream.
    pub(super) failures: StreamMap<Failures>,
    /// When an engine of a partition last panicked.
    pub(super) wary: HashMap<Partition, Instant>,
    /// It is not heard any more.
    is_mute: bool,
    /// Why there is no connection, as it was last said.
    obstacle: Option<CarrierError>,
    /// Why it cannot do its work.
    pub(super) trouble: Option<String>,
    pub(super) pulse: Arc<Pulse>,
}

impl<C: SharedCarrier> Membership<C> {
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
                .note_carrier(Some(format!("the cluster: {error}")));
            if said.as_ref() != Some(&error) {
                warn!(%error, "the cluster cannot be joined, trying again");
                said = Some(error);
            }
            tokio::time::sleep(AGAIN).await;
        }
        let heartbeat = Arc::new(Heartbeat {
            sent: Mutex::new(Instant::now()),
            was_late: AtomicBool::new(false),
            refused: Mutex::default(),
            is_leaving: AtomicBool::new(false),
        });
        let beating = tokio::spawn(beat(
            self.carrier.clone(),
            heartbeat.clone(),
            self.settings.lease,
        ));
        let roster = Roster::new(self.carrier.worker(), self.settings.lease);
        info!(worker = self.carrier.worker(), "joins the cluster");
        let holding = Holding::new(self.carrier.clone(), self.params.clone(), self.ways.clone());
        let mut member = ClusterMember {
            parts: self,
            roster,
            heartbeat,
            holding,
            released: HashMap::new(),
            failures: StreamMap::default(),
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

impl<C: SharedCarrier> Membership<C> {
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

impl<C: SharedCarrier> ClusterMember<C> {
    async fn stay(&mut self, mut stop: watch::Receiver<bool>) {
        let tick = (self.parts.settings.lease / 16).min(Duration::from_millis(250));
        let mut news: Option<C::News> = None;
        let mut was_connected = true;
        let mut looked = Instant::now();
        while !*stop.borrow_and_update() {
            self.pulse.beat();
            let is_connected = self.parts.carrier.is_connected();
            for side in [ConnectionRole::Subscriber, ConnectionRole::Publisher] {
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
        let unowned =
            all.filter(|p| !self.holding.held.contains_key(p) && self.roster.is_free(*p, now));
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
        let trouble = trouble.or_else(|| lock(&self.parts.retaining).clone());
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
        let owned = i64::try_from(self.holding.held.len()).unwrap_or(i64::MAX);
        self.parts.shared.metrics.cluster.owned.set(owned);
        if let Some(said) = &trouble
            && self.parts.shared.note_carrier(trouble.clone())
        {
            warn!("{said}");
        } else if trouble.is_none() {
            self.parts.shared.note_carrier(None);
        }
    }

    /// The others may have taken this worker for dead: each of its partitions is written anew, which is
    /// refused where it has another owner.
    async fn defend(&mut self) {
        warn!("this worker was not heard for longer than cluster.lease_s");
        // Nor may this one take the others for dead, whose signs of life wait to be read.
        self.roster.give_time(Instant::now());
        let mine: Vec<Partition> = self.holding.held.keys().copied().collect();
        for partition in mine {
            self.pulse.beat();
            let written = self.holding.commit(partition, PartitionCommit::default());
            if let Err(CarrierError::Fenced { epoch, .. }) = written.await {
                self.note_refused(partition, epoch).await;
            }
        }
    }

    /// A write was refused: the partition belongs to another worker.
    pub(super) async fn note_refused(&mut self, partition: Partition, epoch: u64) {
        self.parts.shared.metrics.cluster.stale_writes.inc();
        self.lose(partition, epoch).await;
    }

    async fn lose(&mut self, partition: Partition, epoch: u64) {
        warn!(
            partition,
            epoch, "another worker has taken a partition: its state here is dropped"
        );
        self.parts.shared.metrics.cluster.losses.inc();
        self.holding.drop_state(partition).await;
    }

    /// Drops the partitions that have another owner.
    async fn drop_lost(&mut self) {
        let lost = self.holding.held.iter().filter_map(|(partition, held)| {
            let lease = self.roster.lease_of(*partition);
            (lease.epoch > held.epoch).then_some((*partition, lease.epoch))
        });
        for (partition, epoch) in lost.collect::<Vec<_>>() {
            self.lose(partition, epoch).await;
        }
    }
}
