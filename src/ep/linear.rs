//! Bayesian linear regression, one row at a time, with the full covariance of its weights.
//!
//! The belief of a layer is independent over weights; where inputs are strongly correlated, as a
//! channel's lagged differences are, that costs accuracy. For a few inputs the exact answer of
//! expectation propagation is affordable: a Gaussian factor leaves a Gaussian belief.

use serde::{Deserialize, Serialize};

use crate::num::scrap::Scrap;

/// Prior variance of every weight.
const PRIOR: f64 = 1.0;

/// Weights w of n inputs x: mean, and covariance P as rows of its upper triangle.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Linear {
    mean: Vec<f64>,
    covariance: Vec<f64>,
    /// Last input x, P x and x' P x.
    #[serde(skip)]
    last: Scrap<Last>,
}

#[derive(Debug, Default)]
struct Last {
    input: Vec<f64>,
    gain: Vec<f64>,
    variance: f64,
}

impl Linear {
    /// `inputs` weights at the prior N(0, 1).
    pub fn new(inputs: usize) -> Linear {
        let rows = (0..inputs).rev();
        let row = |rest: usize| std::iter::once(PRIOR).chain(std::iter::repeat_n(0.0, rest));
        Linear {
            mean: vec![0.0; inputs],
            covariance: rows.flat_map(row).collect(),
            last: Scrap::default(),
        }
    }

    /// Starts a new input; what is not [`Linear::set`] is 0.
    pub fn clear(&mut self) {
        let input = &mut self.last.0.input;
        input.clear();
        input.resize(self.mean.len(), 0.0);
    }

    /// Sets input `i`.
    pub fn set(&mut self, i: usize, value: f64) {
        self.last.0.input[i] = value;
    }

    /// Mean w'x and variance x' P x of the answer.
    pub fn predict(&mut self) -> (f64, f64) {
        let n = self.mean.len();
        let Last {
            input,
            gain,
            variance,
        } = &mut self.last.0;
        gain.clear();
        gain.resize(n, 0.0);
        let mut rest = self.covariance.as_slice();
        for i in 0..n {
            let (row, below) = rest.split_at(n - i);
            rest = below;
            let x = &input[i..];
            let dot: f64 = row.iter().zip(x).map(|(p, x)| p * x).sum();
            gain[i] += dot;
            for (g, p) in gain[i + 1..].iter_mut().zip(&row[1..]) {
                *g += p * x[0];
            }
        }
        let dot = |a: &[f64]| -> f64 { a.iter().zip(&*input).map(|(a, x)| a * x).sum() };
        *variance = dot(gain).max(0.0);
        (dot(&self.mean), *variance)
    }

    /// Learns that the last prediction was off by `residual`, with an observation noise of variance
    /// `noise` > 0, and fades with a memory of `memory` rows: P grows by 1/memory a row, to the
    /// prior's trace at most, so that inputs that stand still do not wind it up. Gives true where
    /// that bound was reached, or nothing was learned since a figure is not finite.
    ///
    /// T = noise + x'Px, k = Px/T: w <- w + k r, P <- (P - k k' T) / (1 - 1/memory).
    pub fn learn(&mut self, residual: f64, noise: f64, memory: f64) -> bool {
        let n = self.mean.len();
        let Last { gain, variance, .. } = &self.last.0;
        let total = noise + variance;
        if !(residual.is_finite() && total.is_finite()) {
            return true;
        }
        for (w, g) in self.mean.iter_mut().zip(gain) {
            *w += g * (residual / total);
        }
        let (mut at, mut trace) = (0, 0.0);
        for i in 0..n {
            let shrink = gain[i] / total;
            for (p, g) in self.covariance[at..].iter_mut().zip(&gain[i..]) {
                *p -= shrink * g;
            }
            trace += self.covariance[at];
            at += n - i;
        }
        let most = PRIOR * n as f64 / trace;
        let grow = (1.0 / (1.0 - 1.0 / memory)).min(most);
        self.covariance.iter_mut().for_each(|p| *p *= grow);
        grow == most
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64;

    use super::*;

    const FOREVER: f64 = f64::INFINITY;

    fn predict(linear: &mut Linear, x: &[f64]) -> (f64, f64) {
        linear.clear();
        x.iter().enumerate().for_each(|(i, &x)| linear.set(i, x));
        linear.predict()
    }

    /// Solves A x = b, A positive definite.
    fn solve(mut a: Vec<Vec<f64>>, mut b: Vec<f64>) -> Vec<f64> {
        let n = b.len();
        for c in 0..n {
            let pivot = a[c].clone();
            for r in c + 1..n {
                let f = a[r][c] / pivot[c];
                a[r].iter_mut().zip(&pivot).for_each(|(x, p)| *x -= f * p);
                b[r] -= f * b[c];
            }
        }
        for c in (0..n).rev() {
            let known: f64 = (c + 1..n).map(|k| a[c][k] * b[k]).sum();
            b[c] = (b[c] - known) / a[c][c];
        }
        b
    }

    #[test]
    fn without_fading_it_is_the_exact_posterior() {
        // Precision I + sum x x'/s, mean P sum x y/s: from all rows at once.
        let mut rng = Pcg64::seed_from_u64(1);
        let mut uniform = || 2.0 * rng.random::<f64>() - 1.0;
        let mut linear = Linear::new(3);
        let mut precision = vec![
            vec![1.0, 0.0, 0.0],
            vec![0.0, 1.0, 0.0],
            vec![0.0, 0.0, 1.0],
        ];
        let mut moment = vec![0.0; 3];
        for row in 0..300 {
            let common = uniform();
            let x = [common, common + 0.01 * uniform(), 1.0];
            let y = 3.0 * x[0] - 2.0 * x[1] + 0.5 + uniform();
            let noise = 0.1 + f64::from(row % 3);
            let (mean, _) = predict(&mut linear, &x);
            linear.learn(y - mean, noise, FOREVER);
            for i in 0..3 {
                moment[i] += x[i] * y / noise;
                for j in 0..3 {
                    precision[i][j] += x[i] * x[j] / noise;
                }
            }
        }
        let x = [0.3, -0.8, 1.0];
        let weights = solve(precision.clone(), moment);
        let spread = solve(precision, x.to_vec());
        let dot = |a: &[f64]| -> f64 { a.iter().zip(&x).map(|(a, x)| a * x).sum() };
        let (mean, variance) = predict(&mut linear, &x);
        assert!((mean - dot(&weights)).abs() < 1e-9);
        assert!((variance - dot(&spread)).abs() < 1e-9);
    }

    #[test]
    fn outliers_and_inputs_that_stand_still_leave_it_sound() {
        let mut rng = Pcg64::seed_from_u64(2);
        let mut linear = Linear::new(10);
        let mut bounded = 0;
        for row in 0..200_000 {
            let common = match row / 20_000 % 4 {
                0 => 2.0 * rng.random::<f64>() - 1.0,
                1 => 0.0,
                2 => 1e-7,
                _ => 100.0,
            };
            let x: Vec<f64> = (0..10)
                .map(|i| {
                    if i < 9 {
                        common * (1.0 + 1e-9 * f64::from(i))
                    } else {
                        1.0
                    }
                })
                .collect();
            let (mean, variance) = predict(&mut linear, &x);
            assert!(
                mean.is_finite() && (0.0..1e6).contains(&variance),
                "{row}: {mean} {variance}"
            );
            let residual = if row % 997 == 0 { 1e6 } else { common - mean };
            bounded +=
                u64::from(linear.learn(residual, if row % 997 == 0 { 1e9 } else { 1.0 }, 1000.0));
        }
        assert!(bounded > 0);
        // It still learns: y = 2 x.
        for _ in 0..5_000 {
            let mut x = [0.0; 10];
            x[0] = 2.0 * rng.random::<f64>() - 1.0;
            let (mean, _) = predict(&mut linear, &x);
            linear.learn(2.0 * x[0] - mean, 0.01, 1000.0);
        }
        let mut x = [0.0; 10];
        x[0] = 1.0;
        assert!((predict(&mut linear, &x).0 - 2.0).abs() < 0.05);
    }
}
