//! Follows the covariance of a stream's channels and its inverse, in pairs that are both present.

use ndarray::{Array1, Array2, Zip};
use serde::{Deserialize, Serialize};

use crate::num::cholesky::invert;
use crate::num::fading::rate;

/// Added to the diagonal of a correlation matrix before it is inverted: identical channels have an
/// inverse all the same.
const RIDGE: f64 = 1e-6;

/// Exponentially weighted mean and covariance.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct FadingCovariance {
    /// Mean a channel; NaN before its first value.
    pub mean: Array1<f64>,
    /// Covariance of each pair.
    pub matrix: Array2<f64>,
    /// Effective rows, without the fading.
    pub weight: f64,
}

impl FadingCovariance {
    /// Of `n` channels of which nothing is known.
    pub fn new(n: usize) -> FadingCovariance {
        FadingCovariance {
            mean: Array1::from_elem(n, f64::NAN),
            matrix: Array2::zeros((n, n)),
            weight: 0.0,
        }
    }

    /// Learns a row (NaN: missing) with weight `weight` in 0..=1 and a memory of `memory` rows.
    /// `off` is filled with the deviations from the means before. Pairs of which one is missing
    /// are left as they were.
    pub fn observe(&mut self, row: &[f64], weight: f64, memory: f64, off: &mut Vec<f64>) {
        self.weight += weight;
        let rate = weight * rate(self.weight + 1.0, memory);
        off.clear();
        for (mean, &x) in self.mean.iter_mut().zip(row) {
            if mean.is_nan() {
                *mean = x;
            }
            let deviation = x - *mean;
            if !deviation.is_nan() {
                *mean += rate * deviation;
            }
            off.push(deviation);
        }
        for (mut cells, &a) in self.matrix.rows_mut().into_iter().zip(off.iter()) {
            if a.is_nan() {
                continue;
            }
            for (cell, &b) in cells.iter_mut().zip(off.iter()) {
                if !b.is_nan() {
                    *cell += rate * (a * b * (1.0 - rate) - *cell);
                }
            }
        }
    }

    /// Fills `inverse` with that of the correlation matrix in which `variance` stands for the
    /// channels' own variances, which are no larger; false where it has none. `room` is working
    /// memory.
    pub fn invert(
        &self,
        variance: &Array1<f64>,
        room: &mut Array2<f64>,
        inverse: &mut Array2<f64>,
    ) -> bool {
        if room.dim() != self.matrix.dim() {
            *room = Array2::zeros(self.matrix.dim());
        }
        room.assign(&self.matrix);
        let unit = |c: usize| {
            if variance[c] > 0.0 {
                1.0 / variance[c].sqrt()
            } else {
                0.0
            }
        };
        Zip::indexed(&mut *room).for_each(|(i, j), cell| {
            *cell = if i == j {
                1.0 + RIDGE
            } else {
                *cell * unit(i) * unit(j)
            };
        });
        invert(room, inverse)
    }
}
