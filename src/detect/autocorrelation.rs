//! Running lag-1 autocorrelation of residuals, and the exponent that tempers evidence by it.

use serde::{Deserialize, Serialize};

/// Residuals are limited to this many standard deviations here: one outlier says little about
/// the correlation of the rest.
pub const LIMIT: f64 = 4.0;
/// rho is kept below this.
const MAX_RHO: f64 = 0.9999;

/// Running E[z_t z_(t-1)] / E[z_t^2].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Autocorrelation {
    square: f64,
    lagged: f64,
    weight: f64,
    last: f64,
}

impl Default for Autocorrelation {
    fn default() -> Autocorrelation {
        Autocorrelation {
            square: 1e-3,
            lagged: 0.0,
            weight: 0.0,
            last: 0.0,
        }
    }
}

impl Autocorrelation {
    /// kappa = sqrt((1 - rho)/(1 + rho)) in (0, 1], rho >= 0: the square root of the share of
    /// independent samples in an AR(1) sequence. e^kappa is still an e-value (Jensen).
    pub fn discount(&self) -> f64 {
        let rho = (self.lagged / self.square).clamp(0.0, MAX_RHO);
        ((1.0 - rho) / (1.0 + rho)).sqrt()
    }

    /// Keeps the share `keep` of what is known: what comes counts for more.
    pub fn fade(&mut self, keep: f64) {
        self.weight *= keep;
    }

    /// Learns one standardised residual with weight `weight` in 0..=1 and `memory` residuals.
    pub fn observe(&mut self, z: f64, weight: f64, memory: f64) {
        let z = z.clamp(-LIMIT, LIMIT);
        self.weight += weight;
        let rate = weight * (1.0 / (self.weight + 1.0)).max(1.0 / memory);
        self.square += rate * (z * z - self.square);
        self.lagged += rate * (z * self.last - self.lagged);
        self.last = z;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_constant_residual_tempers_to_almost_nothing() {
        let mut ac = Autocorrelation::default();
        for _ in 0..1000 {
            ac.observe(1.0, 1.0, 2000.0);
        }
        assert!(ac.discount() < 0.05, "{}", ac.discount());
    }

    #[test]
    fn an_alternating_residual_is_not_tempered() {
        let mut ac = Autocorrelation::default();
        for i in 0..1000 {
            ac.observe(f64::from(i % 2) * 2.0 - 1.0, 1.0, 2000.0);
        }
        assert_eq!(ac.discount(), 1.0);
    }
}
