//! Plain counters and moving figures of one engine, and how they move.

use serde::{Deserialize, Serialize};

use super::head::Learned;
use crate::predict::{ExpertKind, Gate};

/// Values that the moving figures remember.
const MEMORY: f64 = 2_000.0;
/// Values that the fast mean of the log density remembers: its lead over the slow one is the trend.
const FAST_MEMORY: f64 = 200.0;
/// Updates that the convergence signal remembers.
const UPDATE_MEMORY: f64 = 100.0;
/// A squared error counts as no more than this many squared usual steps in the moving figures: one
/// absurd reading must not hide a month of good ones.
const LIMIT: f64 = 1e4;

/// Plain counters and moving figures of one engine; `metrics` turns them into Prometheus series.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EngineStats {
    /// Rows seen.
    pub rows: u64,
    /// Rows learned.
    pub learned: u64,
    /// Site updates accepted as computed.
    pub accepted: u64,
    /// Site updates damped.
    pub damped: u64,
    /// Mini-batches that fell back to the sequential schedule.
    pub fell_back: u64,
    /// Updates skipped because nothing finite came of them.
    pub skipped: u64,
    /// Site precisions clipped to their legal range.
    pub clipped: u64,
    /// Values limited on their way in (encoding range, caps of scales), and limits of the detector
    /// that were reached (cap of evidence, bounds of the bar, levels of intervals, aftermath set to zero, residuals).
    pub limited: u64,
    /// Squared residuals that the noise variance took for less than they were.
    pub noise_capped: u64,
    /// Mean log predictive density of the next step (nats, in units of the usual step), moving.
    pub log_density: f64,
    /// The same for persistence with a running variance.
    pub log_density_baseline: f64,
    /// Fast less slow mean of the log density: positive while it improves.
    pub log_density_trend: f64,
    /// Relative change of the weights per update, moving mean.
    pub site_change: f64,
    /// Mean posterior sd of the weights over their prior sd, 0 to 1.
    pub weight_sd: f64,
    /// Noise variance, mean over channels, in units of the next-step target.
    pub noise_variance: f64,
    /// Coverage of the nominal 90% interval over the last 2,000 values or so.
    pub coverage90: f64,
    /// One-step RMSE over that of persistence, moving.
    pub rmse_ratio: f64,
    /// Values of channels of states that are none of them; taken as missing.
    pub unknown_states: u64,
    /// Horizon, coverage of its 90% interval, its RMSE over that of persistence, moving.
    pub horizons: Vec<(u32, f64, f64)>,
    /// Incidents opened, by [`crate::row::Kind`] in the order of `Kind::ALL`.
    pub incidents: [u64; 5],
    /// Rulings of operators, by [`crate::row::Ruling`] in the order of `Ruling::ALL`.
    pub rulings: [u64; 3],
    /// An incident is open.
    pub open: bool,
    /// Share and gain of the next-step experts, by [`ExpertKind`] in the order of `ExpertKind::ALL`.
    pub experts: [ExpertFigures; ExpertKind::ALL.len()],
    /// The same of the predictors given the other channels.
    pub given_experts: [ExpertFigures; ExpertKind::ALL.len()],
}

/// Figures of one expert, means over the channels that have it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ExpertFigures {
    /// Channels that have it.
    pub channels: u32,
    /// Mean weight in the mixture.
    pub share: f64,
    /// Mean log density of the mixture with it less that without it, nats a value.
    pub gain: f64,
}

/// Sums behind [`ExpertFigures`].
#[derive(Debug, Default)]
pub struct ExpertMeans([ExpertFigures; ExpertKind::ALL.len()]);

impl ExpertMeans {
    /// Adds the experts of one gate.
    pub fn add(&mut self, kinds: impl Iterator<Item = ExpertKind>, gate: &Gate) {
        for ((kind, share), gain) in kinds.zip(gate.share()).zip(gate.gain()) {
            let sum = &mut self.0[kind as usize];
            sum.channels += 1;
            sum.share += share;
            sum.gain += gain;
        }
    }

    /// The means, and starts anew.
    pub fn take(&mut self) -> [ExpertFigures; ExpertKind::ALL.len()] {
        let mut means = std::mem::take(&mut self.0);
        for mean in &mut means {
            let n = f64::from(mean.channels.max(1));
            (mean.share, mean.gain) = (mean.share / n, mean.gain / n);
        }
        means
    }
}

/// Figures of one prediction, in units of the usual step.
#[derive(Clone, Copy, Debug)]
pub struct Figures {
    /// Log density of the value.
    pub ln_density: f64,
    /// The same for persistence.
    pub ln_baseline: f64,
    /// Error of the mean.
    pub error: f64,
    /// Change from the last value.
    pub change: f64,
    /// The 90% interval held; `None` where the channel was expected not to change.
    pub inside: Option<bool>,
}

impl EngineStats {
    /// Counts what became of one learned sample.
    pub fn count(&mut self, learned: &Learned) {
        let report = &learned.report;
        self.accepted += report.accepted;
        self.damped += report.damped;
        self.fell_back += report.fell_back;
        self.skipped += report.skipped;
        self.clipped += report.clipped;
        self.noise_capped += learned.limited;
    }
}

/// Moving means behind [`EngineStats`].
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Moving {
    values: f64,
    moved: f64,
    slow: f64,
    fast: f64,
    baseline: f64,
    inside: f64,
    square: f64,
    square_persistence: f64,
    change: f64,
    updates: f64,
}

impl Moving {
    /// Takes one prediction.
    pub fn observe(&mut self, figures: &Figures) {
        self.values += 1.0;
        let rate = (1.0 / self.values).max(1.0 / MEMORY);
        if let Some(inside) = figures.inside {
            self.moved += 1.0;
            let rate = (1.0 / self.moved).max(1.0 / MEMORY);
            self.inside += rate * (f64::from(u8::from(inside)) - self.inside);
        }
        let square = |x: f64| (x * x).min(LIMIT);
        self.square += rate * (square(figures.error) - self.square);
        self.square_persistence += rate * (square(figures.change) - self.square_persistence);
        let density = figures.ln_density;
        self.slow += rate * (density - self.slow);
        self.fast += (1.0 / self.values).max(1.0 / FAST_MEMORY) * (density - self.fast);
        self.baseline += rate * (figures.ln_baseline - self.baseline);
    }

    /// Takes the report of one learned sample.
    pub fn learned(&mut self, stats: &mut EngineStats, learned: &Learned) {
        stats.count(learned);
        let report = &learned.report;
        self.updates += 1.0;
        let rate = (1.0 / self.updates).max(1.0 / UPDATE_MEMORY);
        self.change += rate * (f64::from(report.site_change) - self.change);
    }

    /// Coverage of the 90% interval and RMSE over that of persistence; `None` before any value.
    pub fn figures(&self) -> Option<(f64, f64)> {
        let rmse_ratio = (self.square / self.square_persistence.max(1e-300)).sqrt();
        (self.values > 0.0).then_some((self.inside, rmse_ratio))
    }

    /// Copies the moving means into the figures.
    pub fn publish(&self, stats: &mut EngineStats) {
        stats.log_density = self.slow;
        stats.log_density_baseline = self.baseline;
        stats.log_density_trend = self.fast - self.slow;
        stats.site_change = self.change;
        stats.coverage90 = self.inside;
        stats.rmse_ratio = (self.square / self.square_persistence.max(1e-300)).sqrt();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn means_are_those_of_what_was_taken() {
        let (mut moving, mut stats) = (Moving::default(), EngineStats::default());
        for i in 0..5000 {
            moving.observe(&Figures {
                ln_density: -1.5,
                ln_baseline: -2.0,
                error: if i % 2 == 0 { 1.0 } else { -1.0 },
                change: 2.0,
                inside: (i % 4 != 0).then_some(true),
            });
        }
        moving.publish(&mut stats);
        assert!((stats.log_density + 1.5).abs() < 1e-9);
        assert!((stats.log_density_baseline + 2.0).abs() < 1e-9);
        assert!((stats.rmse_ratio - 0.5).abs() < 1e-9);
        assert!(stats.log_density_trend.abs() < 1e-9);
        assert_eq!(stats.coverage90, 1.0);
    }
}
