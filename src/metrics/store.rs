//! Metrics of the state store.

use prometheus::{Counter, IntCounter, IntGauge};

use super::declare::Declare;
use super::whole;
use crate::state::StoreStats;

/// Metrics of the state store.
#[derive(Debug)]
pub(super) struct StoreMetrics {
    readings: IntCounter,
    commits: IntCounter,
    commit_seconds: Counter,
    journal_bytes: IntGauge,
    snapshots: IntCounter,
    snapshot_failures: IntCounter,
    forced: IntCounter,
    write_failures: IntCounter,
    outbox: IntGauge,
    dead_letters: IntGauge,
}

impl StoreMetrics {
    /// Declares them.
    pub fn declare(d: &Declare<'_>) -> prometheus::Result<StoreMetrics> {
        Ok(StoreMetrics {
            readings: d.counter("spiked_storage_journal_readings_total", "Readings journaled")?,
            commits: d.counter("spiked_storage_commits_total", "Commits of the state file")?,
            commit_seconds: d.fractional_counter(
                "spiked_storage_commit_seconds_total",
                "Time spent in commits of the state file",
            )?,
            journal_bytes: d.int_gauge("spiked_storage_journal_bytes", "Packed readings in the journal")?,
            snapshots: d.counter("spiked_storage_snapshots_total", "Snapshots written")?,
            snapshot_failures: d.counter(
                "spiked_storage_snapshot_failures_total",
                "Snapshots that could not be written",
            )?,
            forced: d.counter(
                "spiked_storage_snapshots_forced_total",
                "Times that the journal's size made snapshots due before their time (state.journal_max_bytes)",
            )?,
            write_failures: d.counter(
                "spiked_storage_write_failures_total",
                "Commits of the state file that failed and were tried again",
            )?,
            outbox: d.int_gauge(
                "spiked_outbox_persisted_messages",
                "Incident messages kept on disk until the broker has them",
            )?,
            dead_letters: d.int_gauge(
                "spiked_storage_quarantined_readings",
                "Readings set apart since no stream survives them",
            )?,
        })
    }

    /// Raises counters and sets gauges to what the store says.
    pub fn set(&self, stats: &StoreStats) {
        let raise =
            |counter: &IntCounter, to: u64| counter.inc_by(to.saturating_sub(counter.get()));
        raise(&self.readings, stats.readings);
        raise(&self.commits, stats.commits);
        let further = stats.commit_us as f64 * 1e-6 - self.commit_seconds.get();
        if further > 0.0 {
            self.commit_seconds.inc_by(further);
        }
        self.journal_bytes.set(whole(stats.journal_bytes));
        raise(&self.snapshots, stats.snapshots);
        raise(&self.snapshot_failures, stats.snapshot_failures);
        raise(&self.forced, stats.forced);
        raise(&self.write_failures, stats.write_failures);
        self.outbox.set(whole(stats.outbox));
        self.dead_letters.set(whole(stats.dead_letters));
    }
}
