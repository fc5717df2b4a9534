//! How the figures of the learning went, thinned as they become many.

use serde::{Deserialize, Serialize};

use crate::engine::EngineStats;

/// Samples kept: when there are so many, every second one goes and the distance doubles.
const KEPT: usize = 256;

/// Samples of the learning's figures, evenly spaced in rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LearningRecord {
    samples: Vec<LearningSample>,
    /// Rows between two samples; 0 before the first.
    every_rows: u64,
}

#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct LearningSample {
    ts_ms: i64,
    rows: u64,
    log_density: f32,
    log_density_baseline: f32,
    coverage90: f32,
    rmse_ratio: f32,
    site_change: f32,
    weight_sd: f32,
    noise_variance: f32,
}

/// The figures of the learning as columns, oldest first; see [`EngineStats`] for each.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct LearningView {
    /// Moment of each sample, unix ms.
    pub ts_ms: Vec<i64>,
    /// Rows seen by then.
    pub rows: Vec<u64>,
    /// Mean log predictive density of the next step, nats.
    pub log_density: Vec<f32>,
    /// The same for persistence with a running variance.
    pub log_density_baseline: Vec<f32>,
    /// Coverage of the nominal 90 % interval, 0 to 1.
    pub coverage90: Vec<f32>,
    /// One-step error over that of persistence.
    pub rmse_ratio: Vec<f32>,
    /// Relative change of the weights per mini-batch.
    pub site_change: Vec<f32>,
    /// Mean posterior sd of the weights over their prior sd, 0 to 1.
    pub weight_sd: Vec<f32>,
    /// Noise variance in units of the next-step target, mean over channels.
    pub noise_variance: Vec<f32>,
}

impl LearningRecord {
    /// Takes a sample where one is due.
    pub fn push(&mut self, ts_ms: i64, stats: &EngineStats) {
        self.every_rows = self.every_rows.max(1);
        let next = self.samples.last().map_or(0, |s| s.rows + self.every_rows);
        let anew = self.samples.last().is_some_and(|s| stats.rows < s.rows);
        if stats.learned == 0 || (stats.rows < next && !anew) {
            return;
        }
        self.samples.push(LearningSample {
            ts_ms,
            rows: stats.rows,
            log_density: stats.log_density as f32,
            log_density_baseline: stats.log_density_baseline as f32,
            coverage90: stats.coverage90 as f32,
            rmse_ratio: stats.rmse_ratio as f32,
            site_change: stats.site_change as f32,
            weight_sd: stats.weight_sd as f32,
            noise_variance: stats.noise_variance as f32,
        });
        if self.samples.len() >= KEPT {
            let mut odd = false;
            self.samples.retain(|_| {
                odd = !odd;
                odd
            });
            self.every_rows *= 2;
        }
    }

    /// The samples as columns.
    pub fn view(&self) -> LearningView {
        let samples = &self.samples;
        let column = |figure: fn(&LearningSample) -> f32| samples.iter().map(figure).collect();
        LearningView {
            ts_ms: samples.iter().map(|s| s.ts_ms).collect(),
            rows: samples.iter().map(|s| s.rows).collect(),
            log_density: column(|s| s.log_density),
            log_density_baseline: column(|s| s.log_density_baseline),
            coverage90: column(|s| s.coverage90),
            rmse_ratio: column(|s| s.rmse_ratio),
            site_change: column(|s| s.site_change),
            weight_sd: column(|s| s.weight_sd),
            noise_variance: column(|s| s.noise_variance),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_stay_few_and_even_however_long_it_goes_on() {
        let mut learning = LearningRecord::default();
        for rows in 1..=100_000 {
            let stats = EngineStats {
                rows,
                learned: 1,
                ..EngineStats::default()
            };
            learning.push(rows as i64, &stats);
        }
        let view = learning.view();
        assert!((KEPT / 2..KEPT).contains(&view.rows.len()));
        let steps = view.rows.windows(2).map(|w| w[1] - w[0]);
        let (least, most) = steps.fold((u64::MAX, 0), |(a, b), s| (a.min(s), b.max(s)));
        assert!(most <= 2 * least, "{least} to {most} rows");
    }
}
