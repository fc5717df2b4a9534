//! One stream's mind: row in, prediction, score and flag out, learning in mini-batches.

use serde::{Deserialize, Serialize};

use crate::row::{Outcome, Row};

/// How rows are learned and judged.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EngineParams {}

/// Plain counters and moving figures of one engine; `metrics` turns them into Prometheus series.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EngineStats {
    /// Rows seen.
    pub rows: u64,
    /// Learning updates: mini-batches.
    pub updates: u64,
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
    /// Values limited on their way in (encoding range, noise cap).
    pub limited: u64,
    /// Mean log predictive density per scored value, in units of the next-step target (nats).
    pub log_density: f64,
    /// The same for the noise-only (persistence) model.
    pub log_density_baseline: f64,
    /// Moving change of `log_density` (nats a row).
    pub log_density_trend: f64,
    /// Relative change of the weight sites per update, moving mean.
    pub site_change: f64,
    /// Mean posterior sd over prior sd of the weights that have been touched, 0 to 1.
    pub weight_sd: f64,
    /// Noise variance, mean over channels, in units of the next-step target.
    pub noise_variance: f64,
    /// Coverage of the nominal 90% interval over the last 2,000 values or so.
    pub coverage90: f64,
    /// One-step RMSE over that of persistence, moving.
    pub rmse_ratio: f64,
    /// Incidents opened, by [`crate::row::Kind`] in the order of `Kind::ALL`.
    pub incidents: [u64; 5],
    /// An incident is open.
    pub open: bool,
}

/// One stream's mind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Engine {
    params: EngineParams,
    stats: EngineStats,
}

impl Engine {
    /// An engine that has seen nothing, for `n_channels` channels (0 and more; see [`Engine::grow`]).
    /// The seed of its random prior comes from the parameters and the stream's name.
    pub fn new(name: &str, params: &EngineParams, n_channels: usize) -> Engine {
        let _ = (name, n_channels);
        Engine {
            params: params.clone(),
            stats: EngineStats::default(),
        }
    }

    /// Predicts, scores and flags one row, then learns: at once, or with its mini-batch.
    ///
    /// # Panics
    /// If the row has another number of channels than the engine.
    pub fn step(&mut self, row: &Row) -> Outcome {
        let _ = &self.params;
        Outcome {
            ts_ms: row.ts_ms,
            arrival_ms: row.arrival_ms,
            row: 0,
            warming_up: true,
            score: 0.0,
            anomaly: false,
            kind: None,
            channels: Vec::new(),
            edge: None,
        }
    }

    /// Adds channels at the prior, without touching the rest, until there are `n_channels`.
    pub fn grow(&mut self, n_channels: usize) {
        let _ = n_channels;
    }

    /// Learns the partial mini-batch.
    pub fn flush(&mut self) {}

    /// Counters and moving figures.
    pub fn stats(&self) -> &EngineStats {
        &self.stats
    }
}
