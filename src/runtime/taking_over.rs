//! Partitions come to a worker and go from it: claimed, handed over in order, or given up after a panic.

use std::sync::atomic::Ordering;
use std::time::Instant;

use tokio::sync::oneshot;
use tracing::{error, info, warn};

use super::engine_panic::EnginePanic;
use super::membership::{AGAIN, ClusterMember, HeldPartition, TOGETHER};
use super::partitions::{PartitionCut, PartitionOrder};
use super::reading_on::read_on;
use crate::carrier::{
    Carrier, CarrierError, ClaimedPartition, DeadLetter, Partition, PartitionCommit,
    PartitionState, partition_of,
};
use crate::stream::{Stream, StreamParams};

impl<C: Carrier> ClusterMember<C> {
    /// Gives up the partition of a stream whose engine panicked, as it is: with its next claim it goes on from
    /// its last commit. A reading that panics again and again is set apart.
    pub(super) async fn note_panic(&mut self, panic: EnginePanic) {
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
            reading: serde_json::to_string(&reading).expect("plain data serialises"),
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
            Ok(()) => {
                self.released.insert(partition, held.epoch);
                if is_condemned {
                    self.failures.remove(&reading.stream);
                    self.parts.shared.metrics.cluster.quarantined.inc();
                }
            }
            Err(CarrierError::Fenced { epoch, .. }) => {
                self.note_refused(partition, epoch).await;
            }
            // It is claimed again all the same; the reading is condemned again.
            Err(error) => warn!(partition, %error, "a partition cannot be given up"),
        }
    }

    /// Gives up the partitions that are dealt to others.
    pub(super) async fn hand_over(&mut self) {
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
                        self.released.insert(partition, held.epoch);
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
    pub(super) async fn claim_all(&mut self) {
        let now = Instant::now();
        let own = self.parts.carrier.worker().to_owned();
        let all = 0..self.parts.settings.partitions;
        let free = all.filter(|p| {
            let is_dealt = self.roster.owner(*p, now) == Some(own.as_str());
            // One that is ours and not here, and of which the news is not older than its release, is handed
            // over in order where it is dealt to another.
            let lease = self.roster.lease_of(*p);
            let is_ours = lease.owner == own
                && self
                    .released
                    .get(p)
                    .is_none_or(|epoch| lease.epoch > *epoch);
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
    pub(super) fn order(
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

    pub(super) async fn order_cut(
        &self,
        partition: Partition,
        gives_up: bool,
    ) -> Option<PartitionCut> {
        self.order(partition, gives_up, false).await.ok()
    }

    /// Gives everything up.
    pub(super) async fn leave(&mut self) {
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
        let is_last = self.roster.n_live(Instant::now()) <= 1;
        if let Some(farewell) = self.parts.farewell.take().filter(|_| is_last) {
            self.parts.out.push(farewell);
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
