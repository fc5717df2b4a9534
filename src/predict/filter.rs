//! Recursive linear regression with the full covariance of its weights: recursive least squares with
//! exponential forgetting, or a Kalman filter over weights that drift.
//!
//! Both are one update with two rules of forgetting. Write P for the covariance of the weights, x for
//! the inputs, g = P x, v = x' g and s for the noise variance:
//!
//! * gain k = g / (s + v), weights w <- w + k e with e the error of the prediction w'x;
//! * [`Forgetting::Memory`]: P <- (P - g g' / (s + v)) / (1 - 1/n), the growth bounded so that the
//!   trace of P stays below the prior's. P is in units of the noise variance (s = 1), so that several
//!   outputs share it.
//! * [`Forgetting::RandomWalk`]: P <- (1 - 2/tau) (P - g g' / (s + v)) + (2/tau) P0 and
//!   w <- (1 - 1/tau) w: an Ornstein-Uhlenbeck walk whose stationary law is the prior N(0, P0). P is in
//!   squared units of the output.
//!
//! P is kept as the lower block triangle that [`SymmetricMatrix`] describes.

use ndarray::Array2;
use serde::{Deserialize, Serialize};

use super::symmetric::{SymmetricMatrix, add_scaled, dot};
use crate::encode::Spikes;
use crate::num::scrap::Scrap;

/// How the weights forget.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Forgetting {
    /// Exponential forgetting with a memory of so many samples, above 1.
    Memory(f64),
    /// Weights walk at random about the prior, with a correlation time of so many samples, above 2.
    RandomWalk(f64),
}

/// A linear regression of one or more outputs on the same inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecursiveFilter {
    forgetting: Forgetting,
    /// Prior variance of every weight.
    prior: f32,
    /// Covariance P of the weights, the same for each output.
    covariance: SymmetricMatrix,
    /// Mean of the weights, a row an output.
    weights: Array2<f32>,
    /// Times that P lost its positive diagonal to rounding and was set to the prior.
    pub resets: u64,
    #[serde(skip)]
    last: Scrap<PredictedFrom>,
}

/// Inputs of the last prediction and what the covariance makes of them.
#[derive(Debug, Default)]
struct PredictedFrom {
    /// Inputs x, one a weight.
    inputs: Vec<f32>,
    /// P x.
    gain: Vec<f32>,
    /// x' P x.
    variance: f32,
}

impl RecursiveFilter {
    /// A filter at its prior: weights N(0, `prior`).
    pub fn new(
        inputs: usize,
        outputs: usize,
        prior: f64,
        forgetting: Forgetting,
    ) -> RecursiveFilter {
        let mut filter = RecursiveFilter {
            forgetting,
            prior: prior as f32,
            covariance: SymmetricMatrix::default(),
            weights: Array2::zeros((0, 0)),
            resets: 0,
            last: Scrap::default(),
        };
        filter.grow(inputs, outputs);
        filter
    }

    /// Number of inputs.
    pub fn inputs(&self) -> usize {
        self.covariance.order()
    }

    /// Adds inputs and outputs at the prior, behind those that are there.
    pub fn grow(&mut self, inputs: usize, outputs: usize) {
        let n = self.inputs() + inputs;
        self.covariance.grow(inputs, self.prior);
        let mut weights = Array2::zeros((self.weights.nrows() + outputs, n));
        for (place, w) in self.weights.indexed_iter() {
            weights[place] = *w;
        }
        self.weights = weights;
    }

    /// Changes the rule of forgetting.
    pub fn set_forgetting(&mut self, forgetting: Forgetting) {
        self.forgetting = forgetting;
    }

    /// Predicts: writes the mean of each output to `mean` and gives the variance x' P x that comes
    /// from not knowing the weights (with [`Forgetting::Memory`] in units of the noise variance).
    ///
    /// # Panics
    /// If an input is out of range or `mean` has not one entry an output.
    pub fn predict(&mut self, x: &Spikes, mean: &mut [f64]) -> f64 {
        assert_eq!(mean.len(), self.weights.nrows(), "one mean an output");
        let last = &mut self.last.0;
        last.inputs.clear();
        last.inputs.resize(self.covariance.order(), 0.0);
        for (&i, &x) in x.index.iter().zip(&x.value) {
            last.inputs[i as usize] = x;
        }
        self.covariance.times(&last.inputs, &mut last.gain);
        last.variance = dot(&last.inputs, &last.gain).max(0.0);
        for (mean, weights) in mean.iter_mut().zip(self.weights.rows()) {
            let weights = weights.to_slice().expect("row by row");
            *mean = f64::from(dot(&last.inputs, weights));
        }
        f64::from(last.variance)
    }

    /// Learns from the errors of the last prediction, NaN where an output has none, under noise of
    /// variance `noise` (1 with [`Forgetting::Memory`], unless the sample is to count for less).
    /// Nothing is learned where all are missing.
    pub fn learn(&mut self, errors: &[f64], noise: f64) {
        let PredictedFrom { gain, variance, .. } = &mut self.last.0;
        let total = (noise as f32) + *variance;
        if errors.iter().all(|e| e.is_nan()) || !total.is_finite() || gain.is_empty() {
            return;
        }
        let n = self.covariance.order();
        for (weights, &error) in self.weights.rows_mut().into_iter().zip(errors) {
            if !error.is_nan() {
                let weights = weights.into_slice().expect("row by row");
                add_scaled(weights, gain, error as f32 / total);
            }
        }
        let (keep, add) = match self.forgetting {
            Forgetting::Memory(memory) => {
                let left = self.covariance.trace() - dot(gain, gain) / total;
                let most = self.prior * n as f32 / left;
                (((1.0 / (1.0 - 1.0 / memory)) as f32).min(most), 0.0)
            }
            Forgetting::RandomWalk(tau) => {
                let fade = (1.0 - 1.0 / tau) as f32;
                self.weights.iter_mut().for_each(|w| *w *= fade);
                let share = (2.0 / tau) as f32;
                (1.0 - share, share * self.prior)
            }
        };
        let scale = (keep / total).sqrt();
        gain.iter_mut().for_each(|g| *g *= scale);
        self.covariance.downdate(gain, keep, add);
        gain.clear();
        if !self.covariance.has_positive_diagonal() {
            self.covariance = SymmetricMatrix::diagonal_of(n, self.prior);
            self.resets += 1;
        }
    }

    /// Forgets a share of what is known, 0 to 1: weights towards 0, their covariance towards the prior.
    pub fn forget(&mut self, share: f64) {
        let keep = (1.0 - share) as f32;
        self.weights.iter_mut().for_each(|w| *w *= keep);
        let add = self.prior * (1.0 - keep * keep);
        self.covariance.scale(keep * keep, add);
    }

    /// Bytes that it holds.
    pub fn bytes(&self) -> usize {
        let weights = self.weights.len() * size_of::<f32>();
        self.covariance.bytes() + weights + size_of::<RecursiveFilter>()
    }

    /// Mean of the weights of output `o`.
    #[cfg(test)]
    fn weights(&self, o: usize) -> Vec<f64> {
        self.weights.row(o).iter().map(|&w| w.into()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::cholesky::Cholesky;
    use crate::num::counter;

    fn inputs(t: u32, n: u32) -> Spikes {
        let mut x = Spikes::default();
        x.push(0, 1.0);
        (1..n).for_each(|i| x.push(i, counter::bell(counter::row_key(7, t), i)));
        x
    }

    fn noise(t: u32) -> f64 {
        counter::bell(counter::row_key(8, t), 0).into()
    }

    fn target(x: &Spikes, t: u32) -> f64 {
        let w = [0.5, -1.0, 2.0, 0.25];
        let sum: f64 = x.value.iter().zip(w).map(|(x, w)| f64::from(*x) * w).sum();
        sum + 0.1 * noise(t)
    }

    /// Weights and covariance of the batch regression with sample weights `fade`^(age).
    fn batch(rows: u32, fade: f64, noise: f64) -> (Vec<f64>, Vec<f64>) {
        let n = 4;
        let mut a = vec![0.0; n * n];
        let mut b = vec![0.0; n];
        (0..n).for_each(|i| a[i * n + i] = fade.powi(rows as i32));
        for t in 0..rows {
            let x = inputs(t, n as u32);
            let y = target(&x, t);
            let weight = fade.powi((rows - 1 - t) as i32) * fade / noise;
            for i in 0..n {
                let xi = f64::from(x.value[i]);
                b[i] += weight * xi * y;
                (0..n).for_each(|j| a[i * n + j] += weight * xi * f64::from(x.value[j]));
            }
        }
        let solve = Cholesky::new(n, a).unwrap();
        let mut covariance = Vec::new();
        for i in 0..n {
            let mut column = vec![0.0; n];
            column[i] = 1.0;
            solve.solve(&mut column);
            covariance.extend(column);
        }
        solve.solve(&mut b);
        (b, covariance)
    }

    fn run(filter: &mut RecursiveFilter, rows: u32, noise: f64) {
        for t in 0..rows {
            let x = inputs(t, 4);
            let mut mean = [0.0];
            filter.predict(&x, &mut mean);
            filter.learn(&[target(&x, t) - mean[0]], noise);
        }
    }

    fn near(a: &[f64], b: impl IntoIterator<Item = f64>, by: f64) {
        for (a, b) in a.iter().zip(b) {
            assert!((a - b).abs() < by, "{a} {b}");
        }
    }

    #[test]
    fn with_a_memory_it_is_the_weighted_batch_regression() {
        for memory in [20.0, 200.0] {
            let mut filter = RecursiveFilter::new(4, 1, 1.0, Forgetting::Memory(memory));
            run(&mut filter, 60, 1.0);
            let fade = 1.0 - 1.0 / memory;
            let (weights, covariance) = batch(60, fade, 1.0);
            near(&weights, filter.weights(0), 1e-4);
            let entries = (0..16).map(|at| filter.covariance.get(at / 4, at % 4).into());
            near(&covariance, entries, 1e-4);
        }
    }

    #[test]
    fn a_random_walk_is_the_kalman_filter_of_its_state_space_model() {
        // One weight: the scalar recursions of prediction and correction.
        let (tau, prior, noise) = (10.0, 0.7, 0.3);
        let mut filter = RecursiveFilter::new(1, 1, prior, Forgetting::RandomWalk(tau));
        let (mut w, mut p) = (0.0, prior);
        for t in 0..40 {
            let mut x = Spikes::default();
            let value = 1.0 + (t % 3) as f32;
            x.push(0, value);
            let (value, y) = (f64::from(value), f64::from(t % 5) - 2.0);
            let mut mean = [0.0];
            let v = filter.predict(&x, &mut mean);
            assert!((mean[0] - w * value).abs() < 1e-5 && (v - p * value * value).abs() < 1e-5);
            filter.learn(&[y - mean[0]], noise);
            let total = noise + p * value * value;
            w += p * value / total * (y - w * value);
            p -= (p * value).powi(2) / total;
            (w, p) = (
                w * (1.0 - 1.0 / tau),
                p * (1.0 - 2.0 / tau) + 2.0 / tau * prior,
            );
        }
    }

    #[test]
    fn without_samples_a_random_walk_stays_at_its_prior() {
        let mut filter = RecursiveFilter::new(3, 1, 0.5, Forgetting::RandomWalk(100.0));
        for _ in 0..1000 {
            filter.predict(&Spikes::default(), &mut [0.0]);
            filter.learn(&[0.0], 1.0);
        }
        near(&[0.5; 3], filter.covariance.diagonal().map(f64::from), 1e-4);
    }

    #[test]
    fn it_stays_bounded_over_many_memories_and_silent_inputs() {
        let mut filter = RecursiveFilter::new(6, 2, 1.0, Forgetting::Memory(50.0));
        for t in 0..20_000 {
            // Inputs 4 and 5 stand still.
            let x = inputs(t, 4);
            let mut mean = [0.0; 2];
            filter.predict(&x, &mut mean);
            filter.learn(&[target(&x, t) - mean[0], f64::NAN], 1.0);
        }
        assert!(filter.covariance.trace() < 6.01);
        assert_eq!(filter.resets, 0);
        near(&[0.5, -1.0, 2.0, 0.25], filter.weights(0), 0.1);
        near(&[0.0; 6], filter.weights(1), 1e-9);
    }

    #[test]
    fn growing_leaves_what_is_known_and_a_missing_output_teaches_nothing() {
        let mut filter = RecursiveFilter::new(4, 1, 1.0, Forgetting::Memory(100.0));
        run(&mut filter, 30, 1.0);
        let mut grown = filter.clone();
        grown.grow(2, 1);
        let x = inputs(99, 4);
        let (mut one, mut two) = ([0.0], [0.0; 2]);
        let v = filter.predict(&x, &mut one);
        assert_eq!(grown.predict(&x, &mut two), v);
        assert_eq!((two[0], two[1]), (one[0], 0.0));
        let before = grown.clone();
        grown.learn(&[f64::NAN; 2], 1.0);
        assert_eq!(grown, before);
    }

    #[test]
    fn forgetting_everything_is_the_prior() {
        let mut filter = RecursiveFilter::new(4, 1, 1.0, Forgetting::Memory(100.0));
        let mut fresh = filter.clone();
        run(&mut filter, 30, 1.0);
        filter.forget(1.0);
        let x = inputs(5, 4);
        let variance = fresh.predict(&x, &mut [0.0]);
        assert_eq!(filter.predict(&x, &mut [0.0]), variance);
    }
}
