//! Calibrates a predictor's 90% interval on its past errors.

use serde::{Deserialize, Serialize};

use crate::num::residual_histogram::ResidualHistogram;

/// |z| that a tenth of a standard normal exceeds.
pub const Z90: f64 = 1.644_853_626_951_472_7;
/// Share of values that the 90% interval may miss.
const MISS: f64 = 0.1;
/// How fast the miscoverage level follows the misses.
const ALPHA_RATE: f64 = 0.005;
/// The level stays where the histogram can answer.
const ALPHA_LOW: f64 = 0.002;
const ALPHA_HIGH: f64 = 0.5;

/// Past standardised errors of one output, and the miscoverage level at which their quantile
/// misses a tenth of the values: adaptive conformal inference (Gibbs and Candes, NeurIPS 2021,
/// equation 2).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IntervalCalibration {
    histogram: ResidualHistogram,
    alpha: f64,
}

impl Default for IntervalCalibration {
    fn default() -> IntervalCalibration {
        IntervalCalibration {
            histogram: ResidualHistogram::default(),
            alpha: MISS,
        }
    }
}

impl IntervalCalibration {
    /// Half-width of the 90% interval in predictive sds; the Gaussian's before enough is known.
    pub fn half_width(&self) -> f64 {
        self.histogram.quantile(self.alpha).unwrap_or(Z90)
    }

    /// Learns whether the interval held. True if the level was kept in bounds.
    pub fn held(&mut self, inside: bool) -> bool {
        let miss = if inside { 0.0 } else { 1.0 };
        let alpha = self.alpha + ALPHA_RATE * (MISS - miss);
        self.alpha = alpha.clamp(ALPHA_LOW, ALPHA_HIGH);
        self.alpha != alpha
    }

    /// Learns a standardised error.
    pub fn observe(&mut self, z: f64, weight: f64, memory: f64) {
        let score = ResidualHistogram::score(z);
        self.histogram.observe(score, weight, memory);
    }

    /// Keeps the share `keep` of what is known.
    pub fn fade(&mut self, keep: f64) {
        self.histogram.fade(keep);
    }
}
