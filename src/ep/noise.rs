//! The variance of observation noise, learned: an inverse gamma belief.

use serde::{Deserialize, Serialize};

/// Distribution of observation noise: Student's t.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct StudentNoise {
    /// Squared scale, above 0, in squared units of the target.
    pub variance: f64,
    /// Degrees of freedom; infinity: Gaussian.
    pub dof: f64,
}

/// Inverse gamma belief about a variance: alpha (half the observations counted so far) and beta
/// (half their squared noise). Its mean beta/(alpha - 1) serves as the variance.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct NoiseVariance {
    alpha: f64,
    beta: f64,
    /// Largest alpha: half the memory in samples.
    cap: f64,
}

impl NoiseVariance {
    /// A belief with the given mean (above 0), worth 6 observations (alpha = 3). `memory`: how many
    /// observations count at most, 6 and more; a table's number of rows, or a stream's memory.
    ///
    /// # Panics
    /// If `mean` is not above 0.
    pub fn new(mean: f64, memory: f64) -> NoiseVariance {
        assert!(mean > 0.0 && mean.is_finite(), "noise variance {mean}");
        NoiseVariance {
            alpha: 3.0,
            beta: 2.0 * mean,
            cap: 3.0 + (0.5 * memory).max(0.0),
        }
    }

    /// Changes how many observations count at most, 6 and more.
    pub fn set_memory(&mut self, memory: f64) {
        self.cap = 3.0 + (0.5 * memory).max(0.0);
        self.limit();
    }

    /// The variance.
    pub fn mean(&self) -> f64 {
        self.beta / (self.alpha - 1.0)
    }

    /// Learns from a prediction under a cavity: residual `r`, variance of ignorance `v`. The expected
    /// squared noise under the tilted distribution is (sigma2 r/T)^2 + sigma2 V/T, T = V + sigma2.
    /// The cavity of a first visit is the belief itself, that of full EP the belief without the
    /// sample's site, that of stochastic EP the belief without an average site. The last still
    /// holds most of the sample, so that the noise comes out too small; the posterior mean of the
    /// squared residual, r^2 + V, is much worse, because a factorised belief overstates V: the noise
    /// grows, then V with it. Values that are not finite are left out; says whether it learned.
    pub fn observe(&mut self, r: f64, v: f64) -> bool {
        let sigma2 = self.mean();
        let share = sigma2 / (v + sigma2);
        self.add(share * share * r * r + share * v)
    }

    fn add(&mut self, squared: f64) -> bool {
        if !squared.is_finite() {
            return false;
        }
        self.alpha += 0.5;
        self.beta += 0.5 * squared;
        self.limit();
        true
    }

    /// Bounds the memory, keeps the mean.
    fn limit(&mut self) {
        if self.alpha > self.cap {
            self.beta *= (self.cap - 1.0) / (self.alpha - 1.0);
            self.alpha = self.cap;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::counter;

    #[test]
    fn it_finds_the_variance_of_pure_noise_and_follows_a_change() {
        let mut noise = NoiseVariance::new(0.3, 400.0);
        for i in 0..4000 {
            noise.observe(0.5 * f64::from(counter::bell(1, i)), 0.0);
        }
        assert!((noise.mean() - 0.25).abs() < 0.05, "{}", noise.mean());
        for i in 0..4000 {
            noise.observe(2.0 * f64::from(counter::bell(2, i)), 0.0);
        }
        assert!((noise.mean() - 4.0).abs() < 0.8, "{}", noise.mean());
    }

    #[test]
    fn ignorance_explains_part_of_a_residual() {
        let (mut sure, mut unsure) = (NoiseVariance::new(0.3, 1e9), NoiseVariance::new(0.3, 1e9));
        sure.observe(3.0, 0.0);
        unsure.observe(3.0, 3.0);
        assert!(unsure.mean() < sure.mean());
    }

    #[test]
    fn values_that_are_not_finite_change_nothing() {
        let mut noise = NoiseVariance::new(0.3, 100.0);
        let before = noise;
        assert!(!noise.observe(f64::NAN, 1.0));
        assert!(!noise.observe(f64::INFINITY, 1.0));
        assert_eq!(noise, before);
    }
}
