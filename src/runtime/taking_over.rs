//! Partitions come to a worker and go from it: claimed, handed over in order, or given up after a panic.

use std::sync::atomic::Ordering;
use std::time::Instant;

use tracing::{error, info, warn};

use super::engine_panic::EnginePanic;
use super::membership::{ClusterMember, TOGETHER};
use super::reading_on::AGAIN;
use crate::carrier::{
    CarrierError, DeadLetter, Partition, PartitionCommit, SharedCarrier, partition_of,
};

impl<C: SharedCarrier> ClusterMember<C> {
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
        let Some(epoch) = self.epoch_of(partition) else {
            return;
        };
        self.wary.insert(partition, Instant::now());
        // Its state is of no use.
        let _ = self.holding.cut(partition, true).await;
        let dead_letter = is_condemned.then(|| DeadLetter {
            seq: reading.seq,
            stream: reading.stream.to_string(),
            reading: serde_json::to_string(&reading).expect("plain data serialises"),
            reason,
        });
        let commit = PartitionCommit {
            dead_letter,
            ..PartitionCommit::default()
        };
        let released = self.holding.release(partition, commit).await;
        self.holding.held.remove(&partition);
        match released {
            Ok(()) => {
                self.released.insert(partition, epoch);
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
        let others = self.holding.held.keys().copied();
        let others = others.filter(|p| self.roster.owner(*p, now).is_some_and(|o| o != own));
        let others: Vec<Partition> = others.collect();
        if !others.is_empty() {
            info!(partitions = others.len(), "hands over to another worker");
            self.give_up(&others).await;
        }
    }

    /// Commits partitions for the last time and releases them.
    async fn give_up(&mut self, partitions: &[Partition]) {
        let cuts: Vec<_> = partitions
            .iter()
            .map(|partition| (*partition, self.holding.cut(*partition, true)))
            .collect();
        let until = Instant::now() + self.parts.settings.lease;
        for (partition, cut) in cuts {
            self.pulse.beat();
            let Some(epoch) = self.epoch_of(partition) else {
                continue;
            };
            let commit = self.commit_of(cut).await.unwrap_or_else(|error| {
                error!(partition, %error, "a partition is given up without its last state");
                PartitionCommit::default()
            });
            loop {
                match self.holding.release(partition, commit.clone()).await {
                    Ok(()) => {
                        self.released.insert(partition, epoch);
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
            self.holding.held.remove(&partition);
        }
    }

    /// Epoch of a partition that is here.
    fn epoch_of(&self, partition: Partition) -> Option<u64> {
        self.holding.held.get(&partition).map(|held| held.epoch)
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
            let is_here = self.holding.held.contains_key(p);
            !is_here && (is_ours || (is_dealt && self.roster.is_free(*p, now)))
        });
        let free: Vec<(Partition, String)> =
            free.map(|p| (p, self.roster.lease_of(p).owner)).collect();
        let mut positions: Vec<u64> = Vec::new();
        for some in free.chunks(TOGETHER) {
            self.pulse.beat();
            let begin = Instant::now();
            for (partition, error) in self.holding.claim(some.to_vec()).await {
                // Where another worker was first, the news will say so.
                if !matches!(error, CarrierError::Fenced { .. }) {
                    warn!(partition, %error, "a partition cannot be claimed");
                    self.trouble =
                        Some(format!("partition {partition} cannot be claimed: {error}"));
                }
            }
            let here = some.iter().filter_map(|(p, _)| self.holding.held.get(p));
            positions.extend(here.map(|held| held.position));
            if begin.elapsed() > self.parts.settings.lease {
                break;
            }
        }
        let n = positions.len();
        if let Some(after) = positions.into_iter().min() {
            self.parts.shared.metrics.cluster.claims.inc_by(n as u64);
            info!(partitions = n, after, "claimed partitions");
            self.holding.read_behind(after).await;
        }
    }

    /// Gives everything up.
    pub(super) async fn leave(&mut self) {
        self.heartbeat.is_leaving.store(true, Ordering::Release);
        // The others are told before anything is free.
        let _ = self.parts.carrier.announce(true).await;
        self.holding.stop_reading();
        let all: Vec<Partition> = self.holding.held.keys().copied().collect();
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
