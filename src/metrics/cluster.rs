//! Metrics of a worker in a cluster.

#![cfg_attr(
    not(feature = "jetstream"),
    expect(dead_code, reason = "counted in a cluster only")
)]

use prometheus::{IntCounter, IntGauge};

use super::declare::Declare;
use super::whole;

/// Metrics of a worker in a cluster.
#[derive(Debug)]
pub struct ClusterMetrics {
    /// Partitions that are here.
    pub owned: IntGauge,
    /// Partitions that no worker has, as this one sees it.
    pub unowned: IntGauge,
    /// Workers that are heard, this one among them.
    pub workers: IntGauge,
    /// Partitions claimed.
    pub claims: IntCounter,
    /// Partitions given to other workers in order.
    pub hand_overs: IntCounter,
    /// Partitions lost to other workers.
    pub losses: IntCounter,
    /// Writes that were refused since the lease had gone.
    pub stale_writes: IntCounter,
    /// Commits.
    pub commits: IntCounter,
    /// Readings set apart.
    pub quarantined: IntCounter,
    /// Messages that the journal no longer had.
    pub missing: IntCounter,
    lag: IntGauge,
}

impl ClusterMetrics {
    /// Declares them.
    pub(super) fn declare(d: &Declare<'_>) -> prometheus::Result<ClusterMetrics> {
        Ok(ClusterMetrics {
            owned: d.int_gauge(
                "spiked_cluster_partitions_owned",
                "Partitions of this worker",
            )?,
            unowned: d.int_gauge(
                "spiked_cluster_partitions_unowned",
                "Partitions without a worker that is heard, as this one sees it",
            )?,
            workers: d.int_gauge(
                "spiked_cluster_workers",
                "Workers that are heard, this one among them",
            )?,
            claims: d.counter("spiked_cluster_claims_total", "Partitions claimed")?,
            hand_overs: d.counter(
                "spiked_cluster_hand_overs_total",
                "Partitions given up in order, for another worker",
            )?,
            losses: d.counter(
                "spiked_cluster_partitions_lost_total",
                "Partitions that another worker has taken since this one was not heard",
            )?,
            stale_writes: d.counter(
                "spiked_cluster_stale_writes_refused_total",
                "Writes that were refused since the partition belongs to another worker",
            )?,
            commits: d.counter("spiked_cluster_commits_total", "Commits of a partition")?,
            quarantined: d.counter(
                "spiked_cluster_quarantined_readings_total",
                "Readings set apart by this worker, since no attempt to learn them survived",
            )?,
            missing: d.counter(
                "spiked_cluster_journal_missing_messages_total",
                "Messages that were due and that the journal no longer has",
            )?,
            lag: d.int_gauge(
                "spiked_cluster_journal_lag_messages",
                "Messages of the journal that this worker has not read",
            )?,
        })
    }

    /// So many messages of the journal wait.
    pub fn note_lag(&self, messages: u64) {
        self.lag.set(whole(messages));
    }
}
