//! Holds partitions, whatever carries them: claims them, has their messages read, commits and releases them.

#![cfg_attr(
    not(feature = "jetstream"),
    expect(dead_code, reason = "a single machine cuts nothing")
)]

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use crossbeam_channel::Sender;
use tokio::sync::oneshot;
use tokio::task::{JoinHandle, JoinSet};
use tracing::{error, info};

use super::partitions::{PartitionCut, PartitionOrder};
use super::reading_on::read_on;
use crate::carrier::{Carrier, CarrierError, ClaimedPartition, Partition, PartitionCommit};
use crate::mqtt::Intake;
use crate::status::Status;
use crate::stream::StreamParams;

/// Time between two looks whether everything is recovered.
const RECOVERY_POLL: Duration = Duration::from_millis(5);

/// A partition that is here.
pub(super) struct HeldPartition {
    pub(super) epoch: u64,
    /// Number of the last message in the last commit.
    pub(super) position: u64,
    pub(super) committed: Instant,
    /// The last state was not taken: the next cut is of a partition that has changed.
    pub(super) is_due: bool,
}

/// Ways from the carrier to the intake thread.
#[derive(Clone)]
pub(super) struct IntakeWays {
    /// Messages go here.
    pub(super) intake: Intake,
    /// Orders go here.
    pub(super) orders: Sender<PartitionOrder>,
    pub(super) shared: Arc<Status>,
}

/// The partitions that are here.
pub(super) struct Holding<C: Carrier> {
    carrier: Arc<C>,
    params: StreamParams,
    ways: IntakeWays,
    pub(super) held: BTreeMap<Partition, HeldPartition>,
    generation: u64,
    reading: Option<JoinHandle<u64>>,
}

impl<C: Carrier> Holding<C> {
    /// Nothing is here yet. New streams have the parameters `params`.
    pub(super) fn new(carrier: Arc<C>, params: StreamParams, ways: IntakeWays) -> Holding<C> {
        Holding {
            carrier,
            params,
            ways,
            held: BTreeMap::new(),
            generation: 0,
            reading: None,
        }
    }

    /// Claims partitions at the same time, each with the owner that is not heard any more, and hands their
    /// streams to the worker threads. Returns those that could not be claimed.
    pub(super) async fn claim(
        &mut self,
        partitions: Vec<(Partition, String)>,
    ) -> Vec<(Partition, CarrierError)> {
        let mut claims = JoinSet::new();
        for (partition, dead) in partitions {
            let (carrier, params) = (self.carrier.clone(), self.params.clone());
            claims.spawn(async move {
                let claimed = carrier.claim(partition, &dead, &params).await;
                (partition, claimed)
            });
        }
        let mut failed = Vec::new();
        while let Some(claimed) = claims.join_next().await {
            match claimed {
                Ok((partition, Ok(claimed))) => self.admit(partition, claimed),
                Ok((partition, Err(error))) => failed.push((partition, error)),
                // As if it had not begun.
                Err(error) => error!(%error, "a claim panicked"),
            }
        }
        failed
    }

    /// Hands a claimed partition's streams to the worker threads.
    fn admit(&mut self, partition: Partition, claimed: ClaimedPartition) {
        let ClaimedPartition {
            epoch,
            streams,
            position,
            pending,
            dead_letters,
        } = claimed;
        let held = HeldPartition {
            epoch,
            position,
            committed: Instant::now(),
            is_due: false,
        };
        self.held.insert(partition, held);
        if !self.ways.shared.is_recovered() {
            self.ways.shared.begin_recovery(pending.values().sum());
        }
        self.order(PartitionOrder::Admit {
            partition,
            position,
            streams,
            pending,
            set_apart: dead_letters.iter().map(|letter| letter.seq).collect(),
        });
    }

    /// Reads the journal anew, behind number `after` at the latest.
    pub(super) async fn read_behind(&mut self, after: u64) {
        self.stop_reading();
        self.generation += 1;
        let generation = self.generation;
        let (reply, from) = oneshot::channel();
        self.order(PartitionOrder::ReadBehind {
            generation,
            after,
            reply,
        });
        let Ok(after) = from.await else { return };
        self.reading = Some(tokio::spawn(read_on(
            self.carrier.clone(),
            self.ways.intake.clone(),
            self.ways.shared.clone(),
            generation,
            after,
        )));
    }

    /// Waits until the journal has ended and the worker threads have learned all its readings.
    ///
    /// # Errors
    /// If the journal was not read to its end: what is missing must not be committed over.
    pub(super) async fn recovered(&mut self) -> Result<(), CarrierError> {
        let begin = Instant::now();
        let broken = |why: &str| CarrierError::Settings(format!("the journal was not read: {why}"));
        let reading = self.reading.as_mut();
        let reading = reading.ok_or_else(|| broken("the intake thread has ended"))?;
        let accepted = reading.await.map_err(|error| broken(&error.to_string()))?;
        self.reading = None;
        self.ways.shared.note_carrier(None);
        while self.ways.shared.replayed() < accepted {
            tokio::time::sleep(RECOVERY_POLL).await;
        }
        if accepted > 0 {
            let took_s = begin.elapsed().as_secs_f64();
            info!(readings = accepted, took_s, "recovered");
        }
        Ok(())
    }

    /// Nothing more is read of the journal.
    pub(super) fn stop_reading(&mut self) {
        if let Some(reading) = self.reading.take() {
            reading.abort();
        }
    }

    fn order(&self, order: PartitionOrder) {
        // An error means that the intake thread has ended: so will the daemon.
        let _ = self.ways.orders.send(order);
        self.ways.intake.wake();
    }

    /// Has the intake thread cut a partition; it counts as changed where its last cut was not committed.
    pub(super) fn cut(
        &self,
        partition: Partition,
        gives_up: bool,
    ) -> oneshot::Receiver<PartitionCut> {
        let (reply, cut) = oneshot::channel();
        self.order(PartitionOrder::Cut {
            partition,
            gives_up,
            is_due: self.held.get(&partition).is_some_and(|held| held.is_due),
            reply,
        });
        cut
    }

    /// Drops a partition without a commit: its state here is of no use.
    pub(super) async fn drop_state(&mut self, partition: Partition) {
        if self.held.remove(&partition).is_some() {
            // An error means that the intake thread has ended.
            let _ = self.cut(partition, true).await;
        }
    }

    /// Commits a partition.
    ///
    /// # Errors
    /// If it is not here, or the carrier does not take it.
    pub(super) async fn commit(
        &self,
        partition: Partition,
        commit: PartitionCommit,
    ) -> Result<(), CarrierError> {
        let Some(held) = self.held.get(&partition) else {
            return Err(CarrierError::Fenced {
                partition,
                epoch: 0,
            });
        };
        self.carrier.commit(partition, held.epoch, commit).await
    }

    /// Commits a partition for the last time: it has no owner afterwards, and is not here any more. Where the
    /// commit fails for another reason than a lease that has gone, it is still here.
    ///
    /// # Errors
    /// If the carrier does not take it.
    pub(super) async fn release(
        &mut self,
        partition: Partition,
        commit: PartitionCommit,
    ) -> Result<(), CarrierError> {
        let commit = PartitionCommit {
            releases: true,
            ..commit
        };
        let released = self.commit(partition, commit).await;
        if matches!(released, Ok(()) | Err(CarrierError::Fenced { .. })) {
            self.held.remove(&partition);
        }
        released
    }
}
