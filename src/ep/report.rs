//! Reports of an update, and of a network as it is seen from outside.

use std::ops::AddAssign;

use serde::{Deserialize, Serialize};

/// Counts of one or several updates. Nothing that the learner limits, skips or repairs is silent:
/// it is counted here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Report {
    /// Updates accepted as computed.
    pub accepted: u64,
    /// Updates damped.
    pub damped: u64,
    /// Mini-batches that fell back to the sequential schedule.
    pub fell_back: u64,
    /// Updates skipped because nothing finite came of them.
    pub skipped: u64,
    /// Site precisions clipped to their legal range: negative ones, and those that would take
    /// away more than nine tenths of a variance at once; messages to spikes beyond 30 in log-odds.
    pub clipped: u64,
    /// Root mean square of the changes of the touched weights' means, in units of their sd.
    pub site_change: f32,
}

impl AddAssign for Report {
    /// Counters add up; `site_change` is that of the larger.
    fn add_assign(&mut self, other: Report) {
        self.accepted += other.accepted;
        self.damped += other.damped;
        self.fell_back += other.fell_back;
        self.skipped += other.skipped;
        self.clipped += other.clipped;
        self.site_change = self.site_change.max(other.site_change);
    }
}

/// One group of weights, seen from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LayerSummary {
    /// Number of weights.
    pub weights: usize,
    /// Mean posterior sd over prior sd, all weights.
    pub relative_sd: f64,
    /// Mean posterior sd over prior sd of the weights that have learned something; 1 if none has.
    pub touched_relative_sd: f64,
    /// Share of weights whose variance is still that of the prior, 0 to 1.
    pub at_prior: f64,
}

impl LayerSummary {
    /// Sums up weights given by their relative variance (posterior over prior).
    pub(crate) fn of(relative_variance: impl Iterator<Item = f32>) -> LayerSummary {
        let (mut n, mut untouched, mut sd, mut touched_sd) = (0usize, 0usize, 0.0, 0.0);
        for v in relative_variance {
            let root = f64::from(v).sqrt();
            n += 1;
            sd += root;
            if v >= 1.0 {
                untouched += 1;
            } else {
                touched_sd += root;
            }
        }
        let share = |sum: f64, count: usize| if count == 0 { 1.0 } else { sum / count as f64 };
        LayerSummary {
            weights: n,
            relative_sd: share(sd, n),
            touched_relative_sd: share(touched_sd, n - untouched),
            at_prior: share(untouched as f64, n),
        }
    }
}
