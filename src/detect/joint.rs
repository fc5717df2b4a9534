//! What the other channels of a row say of one: residuals given the residuals beside them.

use serde::{Deserialize, Serialize};

use super::autocorrelation::LIMIT;
use crate::num::scrap::Scrap;

/// Variance added to every channel before the inversion: channels that are copies of each other
/// would have no inverse, and no two sensors are that equal for ever.
const RIDGE: f64 = 0.02;
/// Rows between two inversions.
const INVERT_EVERY: u64 = 32;
/// Rows before the first inversion.
const FIRST: u64 = 64;
/// More channels than this are not judged against each other: the inversion costs C^3.
pub const MAX_CHANNELS: usize = 64;

/// Running covariance of the standardised residuals of C channels and its inverse.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Joint {
    n: usize,
    covariance: Vec<f64>,
    precision: Vec<f64>,
    rows: u64,
    weight: f64,
    /// Working memory of the inversion.
    #[serde(skip)]
    scratch: Scrap<[Vec<f64>; 2]>,
}

impl Joint {
    /// Starts anew for `n` channels if it was built for another number.
    pub fn resize(&mut self, n: usize) {
        if n != self.n {
            let covariance = (0..n * n)
                .map(|i| f64::from(u8::from(i % (n + 1) == 0)))
                .collect();
            *self = Joint {
                n,
                covariance,
                ..Joint::default()
            };
        }
    }

    /// Standardised residual of every channel given all the others,
    /// (P z)_c / sqrt(P_cc) with P the inverse covariance; `None` before enough is known.
    pub fn conditional(&self, z: &[f64], out: &mut Vec<f64>) -> bool {
        out.clear();
        if self.precision.len() != z.len() * z.len() || z.is_empty() {
            return false;
        }
        out.extend(
            self.precision
                .chunks_exact(self.n)
                .enumerate()
                .map(|(c, row)| {
                    let projected: f64 = row.iter().zip(z).map(|(p, z)| p * z).sum();
                    projected / row[c].sqrt()
                }),
        );
        true
    }

    /// Learns one row of residuals (0 for a missing channel) with weight `weight` in 0..=1.
    pub fn observe(&mut self, z: &[f64], weight: f64, memory: f64) {
        self.rows += 1;
        self.weight += weight;
        let rate = weight * (1.0 / (self.weight + 1.0)).max(1.0 / memory);
        for (row, &a) in self.covariance.chunks_exact_mut(self.n).zip(z) {
            let a = a.clamp(-LIMIT, LIMIT);
            for (cell, &b) in row.iter_mut().zip(z) {
                *cell += rate * (a * b.clamp(-LIMIT, LIMIT) - *cell);
            }
        }
        if self.rows >= FIRST && self.rows.is_multiple_of(INVERT_EVERY) {
            self.invert();
        }
    }

    /// Inverts the covariance by Gauss-Jordan elimination; keeps the last inverse if it has none.
    fn invert(&mut self) {
        let n = self.n;
        let [a, inverse] = &mut self.scratch.0;
        a.clone_from(&self.covariance);
        inverse.clear();
        inverse.resize(n * n, 0.0);
        for c in 0..n {
            a[c * n + c] += RIDGE;
            inverse[c * n + c] = 1.0;
        }
        for c in 0..n {
            let pivot = a[c * n + c];
            // Positive definite by the ridge, but for rounding.
            if pivot < 1e-9 {
                return;
            }
            for k in 0..n {
                a[c * n + k] /= pivot;
                inverse[c * n + k] /= pivot;
            }
            for r in (0..n).filter(|&r| r != c) {
                let factor = a[r * n + c];
                for k in 0..n {
                    a[r * n + k] -= factor * a[c * n + k];
                    inverse[r * n + k] -= factor * inverse[c * n + k];
                }
            }
        }
        std::mem::swap(&mut self.precision, inverse);
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64;

    use super::*;

    #[test]
    fn a_channel_that_parts_from_its_twin_stands_out_though_both_look_usual() {
        let mut rng = Pcg64::seed_from_u64(1);
        let mut joint = Joint::default();
        joint.resize(2);
        let mut noise = || (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0;
        for _ in 0..2000 {
            let common = noise();
            joint.observe(&[common, common + 0.1 * noise()], 1.0, 2000.0);
        }
        let mut out = Vec::new();
        assert!(joint.conditional(&[1.0, 1.0], &mut out));
        assert!(out.iter().all(|z| z.abs() < 1.0), "{out:?}");
        joint.conditional(&[1.0, -1.0], &mut out);
        assert!(out.iter().all(|z| z.abs() > 5.0), "{out:?}");
    }

    #[test]
    fn independent_channels_are_judged_as_if_alone() {
        let mut rng = Pcg64::seed_from_u64(2);
        let mut joint = Joint::default();
        joint.resize(3);
        for _ in 0..4000 {
            let z: Vec<f64> = (0..3)
                .map(|_| (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0)
                .collect();
            joint.observe(&z, 1.0, 4000.0);
        }
        let mut out = Vec::new();
        joint.conditional(&[2.0, 0.0, -1.0], &mut out);
        assert!((out[0] - 2.0).abs() < 0.2 && out[1].abs() < 0.2 && (out[2] + 1.0).abs() < 0.2);
    }

    #[test]
    fn identical_channels_have_an_inverse_all_the_same() {
        let mut joint = Joint::default();
        joint.resize(2);
        for i in 0..200 {
            let z = f64::from(i % 3) - 1.0;
            joint.observe(&[z, z], 1.0, 2000.0);
        }
        let mut out = Vec::new();
        assert!(joint.conditional(&[1.0, 1.0], &mut out));
        assert!(out.iter().all(|z| z.is_finite()));
    }
}
