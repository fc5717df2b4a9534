//! Judges each channel's context residual given the other channels' residuals of the same row.

use ndarray::linalg::general_mat_vec_mul;
use ndarray::{Array1, Array2};
use serde::{Deserialize, Serialize};

use super::autocorrelation::LIMIT;
use super::history::Learning;
use super::residuals::{Residual, Scored, Witness};
use crate::num::cholesky::invert;
use crate::num::fading::rate;
use crate::num::scrap::Scrap;

/// More channels than this are not judged against each other: the inversion costs C^3.
pub const MAX_CHANNELS: usize = 64;
/// Rows between two inversions.
const INVERT_EVERY: u64 = 32;
/// Rows before the first one.
const FIRST: u64 = 64;
/// Added to the diagonal, in residual variances: identical channels have an inverse all the same.
const RIDGE: f64 = 0.02;

/// Second moments of the standardised context residuals, and their inverse.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CrossChannelTest {
    moments: Array2<f64>,
    precision: Option<Array2<f64>>,
    rows: u64,
    weight: f64,
    #[serde(skip)]
    z: Array1<f64>,
    #[serde(skip)]
    projected: Array1<f64>,
    #[serde(skip)]
    room: Scrap<[Array2<f64>; 2]>,
}

impl CrossChannelTest {
    /// Fills the conditional residual of every channel that has a context residual,
    /// (P z)_c / sqrt(P_cc) with P the inverse of the second moments; none for a single channel,
    /// for too many, or before the moments are known.
    pub fn judge(&mut self, scored: &mut [Scored]) {
        let n = scored.len();
        if !(2..=MAX_CHANNELS).contains(&n) {
            return;
        }
        if self.moments.nrows() != n {
            *self = CrossChannelTest {
                moments: Array2::eye(n),
                ..CrossChannelTest::default()
            };
        }
        let context = |s: &Scored| s.get(Witness::Context).map_or(0.0, |r| r.z);
        if self.z.len() != n {
            (self.z, self.projected) = (Array1::zeros(n), Array1::zeros(n));
        }
        let rows = self.z.iter_mut().zip(scored.iter());
        rows.for_each(|(z, scored)| *z = context(scored));
        let Some(precision) = &self.precision else {
            return;
        };
        general_mat_vec_mul(1.0, precision, &self.z, 0.0, &mut self.projected);
        for (c, scored) in scored.iter_mut().enumerate() {
            let has_context = scored.get(Witness::Context).is_some();
            let z = self.projected[c] / precision[(c, c)].sqrt();
            scored.set(
                Witness::CrossChannel,
                has_context.then_some(Residual::unscaled(z)),
            );
        }
    }

    /// Learns the row that was judged last.
    pub fn observe(&mut self, how: Learning) {
        let n = self.z.len();
        if n != self.moments.nrows() || n == 0 {
            return;
        }
        self.rows += 1;
        self.weight += how.weight;
        let rate = how.weight * rate(self.weight + 1.0, how.memory);
        self.z.mapv_inplace(|z| z.clamp(-LIMIT, LIMIT));
        for (mut cells, &a) in self.moments.rows_mut().into_iter().zip(&self.z) {
            for (cell, &b) in cells.iter_mut().zip(&self.z) {
                *cell += rate * (a * b - *cell);
            }
        }
        if self.rows >= FIRST && self.rows.is_multiple_of(INVERT_EVERY) {
            self.invert();
        }
    }

    fn invert(&mut self) {
        let [ridged, inverse] = &mut self.room.0;
        if ridged.dim() != self.moments.dim() {
            *ridged = Array2::zeros(self.moments.dim());
        }
        ridged.assign(&self.moments);
        ridged.diag_mut().iter_mut().for_each(|cell| *cell += RIDGE);
        if invert(ridged, inverse) {
            let precision = self.precision.get_or_insert_with(|| Array2::zeros((0, 0)));
            std::mem::swap(precision, inverse);
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64;

    use super::*;

    fn normal(rng: &mut Pcg64) -> f64 {
        (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0
    }

    /// Conditional residuals of a row, if there are any.
    fn conditional(test: &mut CrossChannelTest, row: &[f64]) -> Vec<f64> {
        let mut scored = vec![Scored::default(); row.len()];
        for (scored, &z) in scored.iter_mut().zip(row) {
            scored.set(Witness::Context, Some(Residual::unscaled(z)));
        }
        test.judge(&mut scored);
        let z = |s: &Scored| s.get(Witness::CrossChannel).map(|r| r.z);
        scored.iter().filter_map(z).collect()
    }

    fn learned(rows: usize, row: impl Fn(&mut Pcg64) -> Vec<f64>) -> CrossChannelTest {
        let (mut rng, mut test) = (Pcg64::seed_from_u64(1), CrossChannelTest::default());
        for _ in 0..rows {
            conditional(&mut test, &row(&mut rng));
            test.observe(Learning {
                weight: 1.0,
                memory: 2000.0,
            });
        }
        test
    }

    #[test]
    fn a_channel_that_parts_from_its_twin_stands_out_though_both_look_usual() {
        let mut test = learned(2000, |rng| {
            let common = normal(rng);
            vec![common, common + 0.1 * normal(rng)]
        });
        let together = conditional(&mut test, &[1.0, 1.0]);
        assert!(together.iter().all(|z| z.abs() < 1.0), "{together:?}");
        let apart = conditional(&mut test, &[1.0, -1.0]);
        assert!(apart.iter().all(|z| z.abs() > 5.0), "{apart:?}");
    }

    #[test]
    fn independent_channels_are_judged_as_if_alone() {
        let mut test = learned(4000, |rng| (0..3).map(|_| normal(rng)).collect());
        let z = conditional(&mut test, &[2.0, 0.0, -1.0]);
        assert!((z[0] - 2.0).abs() < 0.2 && z[1].abs() < 0.2 && (z[2] + 1.0).abs() < 0.2);
    }

    #[test]
    fn identical_channels_have_an_inverse_all_the_same() {
        let mut test = learned(200, |rng| vec![normal(rng); 2]);
        let z = conditional(&mut test, &[1.0, 1.0]);
        assert!(z.len() == 2 && z.iter().all(|z| z.is_finite()));
    }
}
