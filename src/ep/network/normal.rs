//! Bayesian linear regression with a noise of its own for every sample.

use crate::num::cholesky::Cholesky;

/// Samples that are added together, so that a row of the precision stays near.
const BLOCK: usize = 8;

/// Precision P and shift h of the weights w ~ N(0, v) of a linear regression that learns samples
/// N(y; w'f, R): P = 1/v + sum f f'/R, h = sum f y/R; the posterior is N(P^-1 h, P^-1).
pub(super) struct Normal {
    /// d by d, row after row, the lower triangle.
    precision: Vec<f64>,
    shift: Vec<f64>,
    /// Samples that wait: their features, and 1/R.
    features: Vec<f64>,
    weights: Vec<f64>,
}

impl Normal {
    /// Weights at their prior of the given variances (above 0).
    pub(super) fn new(prior: Vec<f64>) -> Normal {
        let d = prior.len();
        let mut precision = vec![0.0; d * d];
        for (k, variance) in prior.iter().enumerate() {
            precision[k * d + k] = 1.0 / variance;
        }
        Normal {
            precision,
            shift: vec![0.0; d],
            features: Vec::with_capacity(BLOCK * d),
            weights: Vec::with_capacity(BLOCK),
        }
    }

    /// Learns a sample: its features, its target and the variance of its noise (above 0).
    ///
    /// # Panics
    /// If there is not one feature a weight.
    pub(super) fn add(&mut self, features: &[f64], target: f64, noise: f64) {
        assert_eq!(features.len(), self.shift.len(), "one feature a weight");
        let weight = 1.0 / noise;
        for (shift, f) in self.shift.iter_mut().zip(features) {
            *shift += weight * f * target;
        }
        self.features.extend_from_slice(features);
        self.weights.push(weight);
        if self.weights.len() == BLOCK {
            self.settle();
        }
    }

    /// Adds the samples that wait.
    fn settle(&mut self) {
        let d = self.shift.len();
        for k in 0..d {
            let row = &mut self.precision[k * d..=k * d + k];
            for (f, weight) in self.features.chunks_exact(d).zip(&self.weights) {
                let scaled = weight * f[k];
                row.iter_mut().zip(f).for_each(|(p, f)| *p += scaled * f);
            }
        }
        self.features.clear();
        self.weights.clear();
    }

    /// Means of the weights and their precision; `None` where f64 cannot solve for them.
    pub(super) fn solve(mut self) -> Option<(Vec<f64>, Cholesky)> {
        self.settle();
        let precision = Cholesky::new(self.shift.len(), self.precision)?;
        precision.solve(&mut self.shift);
        let finite = self.shift.iter().all(|m| m.is_finite());
        finite.then_some((self.shift, precision))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::counter;

    #[test]
    fn it_is_one_sample_after_the_other_by_kalmans_rule() {
        let d = 5;
        let prior: Vec<f64> = (0..d).map(|k| 0.5 + k as f64).collect();
        let mut sums = Normal::new(prior.clone());
        let (mut mean, mut cov) = (vec![0.0; d], vec![0.0; d * d]);
        for k in 0..d {
            cov[k * d + k] = prior[k];
        }
        // Not a whole number of blocks.
        for i in 0..2 * BLOCK as u32 + 3 {
            let f: Vec<f64> = (0..d as u32).map(|k| counter::bell(i, k).into()).collect();
            let (y, noise) = (f64::from(counter::bell(i, 90)), 0.1 + 0.2 * f64::from(i));
            sums.add(&f, y, noise);
            let gain: Vec<f64> = (0..d)
                .map(|k| (0..d).map(|j| cov[k * d + j] * f[j]).sum())
                .collect();
            let total = noise + gain.iter().zip(&f).map(|(g, f)| g * f).sum::<f64>();
            let error = y - mean.iter().zip(&f).map(|(m, f)| m * f).sum::<f64>();
            for k in 0..d {
                mean[k] += gain[k] * error / total;
                for j in 0..d {
                    cov[k * d + j] -= gain[k] * gain[j] / total;
                }
            }
        }
        let (got, precision) = sums.solve().unwrap();
        for k in 0..d {
            assert!((got[k] - mean[k]).abs() < 1e-12, "{got:?} {mean:?}");
            let mut unit = vec![0.0; d];
            unit[k] = 1.0;
            precision.solve(&mut unit);
            for j in 0..d {
                assert!((unit[j] - cov[k * d + j]).abs() < 1e-12);
            }
        }
    }

    #[test]
    fn what_cannot_be_solved_is_none() {
        let mut sums = Normal::new(vec![1.0, 1.0]);
        sums.add(&[f64::NAN, 1.0], 1.0, 1.0);
        assert!(sums.solve().is_none());
    }
}
