//! Observation noise of one output: fading mean of the posterior expectation of its square.

use serde::{Deserialize, Serialize};

/// A squared residual counts as no more than this many noise variances.
const CAP: f64 = 25.0;
/// The prior counts as so many values.
const PRIOR_WEIGHT: f64 = 4.0;
/// Values that it remembers.
const MEMORY: f64 = 2_000.0;

/// A noise variance that is learned.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Noise {
    variance: f64,
    weight: f64,
    floor: f64,
    /// Squared residuals that counted as less than they were.
    pub capped: u64,
}

impl Noise {
    /// Noise of this variance before anything is known, never below `floor`.
    pub fn new(variance: f64, floor: f64) -> Noise {
        Noise {
            variance,
            weight: 0.0,
            floor,
            capped: 0,
        }
    }

    /// The variance.
    pub fn variance(&self) -> f64 {
        self.variance
    }

    /// Learns from a residual of a prediction whose ignorance has variance `ignorance`. The expected
    /// squared noise given the residual r is (s r / T)^2 + s V / T with T = V + s.
    pub fn observe(&mut self, residual: f64, ignorance: f64) {
        let share = self.variance / (ignorance + self.variance);
        let square = (share * residual).powi(2) + share * ignorance;
        if !square.is_finite() {
            return;
        }
        self.weight += 1.0;
        let rate = (1.0 / (self.weight + PRIOR_WEIGHT)).max(1.0 / MEMORY);
        let cap = CAP * self.variance;
        self.capped += u64::from(square > cap);
        self.variance = ((1.0 - rate) * self.variance + rate * square.min(cap)).max(self.floor);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_ignorance_it_is_the_mean_square() {
        let mut noise = Noise::new(1.0, 1e-6);
        (0..20_000).for_each(|t| noise.observe(if t % 2 == 0 { 0.3 } else { -0.3 }, 0.0));
        assert!((noise.variance() - 0.09).abs() < 1e-4);
    }

    #[test]
    fn one_giant_is_capped_and_counted() {
        let mut noise = Noise::new(1.0, 1e-6);
        (0..100).for_each(|_| noise.observe(1.0, 0.1));
        let before = noise.variance();
        noise.observe(1e9, 0.1);
        assert!(noise.variance() < 1.5 * before && noise.capped == 1);
    }
}
