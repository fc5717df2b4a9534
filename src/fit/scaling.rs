//! Scales of columns that a few wild cells cannot spoil.

use serde::{Deserialize, Serialize};

/// Cells farther from the median than this many robust standard deviations say nothing about the
/// scale and are limited to that distance. Far beyond the tails of ordinary columns (one of wine's
/// 11 inputs reaches 40), near enough that limited cells move no other.
const FAR: f64 = 100.0;

/// Standard deviation of a normal over its interquartile range.
const QUARTILES: f64 = 0.7413;

/// Largest standard deviation over the largest cell that is rounding, not change.
const ROUNDING: f64 = 1e-13;

/// Mean and standard deviation of a column, and how far cells may reach.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Scaling {
    /// Mean of the cells within reach.
    pub mean: f64,
    /// Standard deviation of the cells within reach; 1 of a column that never changes.
    pub sd: f64,
    /// Smallest and largest cell within reach.
    pub reach: (f64, f64),
}

impl Scaling {
    /// Of a column's cells; those that are not finite are left out.
    pub fn of(cells: impl Iterator<Item = f64>) -> Scaling {
        let mut cells: Vec<f64> = cells.filter(|v| v.is_finite()).collect();
        cells.sort_by(f64::total_cmp);
        let reach = reach(&cells);
        cells.retain(|v| (reach.0..=reach.1).contains(v));
        let largest = cells.iter().fold(0.0f64, |top, v| top.max(v.abs()));
        // In units near the largest cell, a power of 2: squares of neither 1e300 nor 1e-300 fit a double.
        let unit = if largest > 0.0 {
            largest.log2().floor().exp2()
        } else {
            1.0
        };
        let n = cells.len().max(1) as f64;
        let mean = cells.iter().map(|v| v / unit).sum::<f64>() / n;
        let square = |v: &f64| (v / unit - mean) * (v / unit - mean);
        let sd = (cells.iter().map(square).sum::<f64>() / n).sqrt();
        Scaling {
            mean: mean * unit,
            sd: if sd > ROUNDING && sd * unit > 0.0 {
                sd * unit
            } else {
                1.0
            },
            reach,
        }
    }

    /// A cell in standard deviations from the mean, limited to reach.
    pub fn scaled(&self, cell: f64) -> f64 {
        // Not clamp: NaN, a missing cell, passes.
        let near = if cell < self.reach.0 {
            self.reach.0
        } else if cell > self.reach.1 {
            self.reach.1
        } else {
            cell
        };
        // Halves: the difference of two cells may not fit a double.
        (0.5 * near - 0.5 * self.mean) / self.sd * 2.0
    }

    /// A cell is beyond reach.
    pub fn is_far(&self, cell: f64) -> bool {
        cell < self.reach.0 || cell > self.reach.1
    }
}

/// How far sorted cells reach. All are within reach where most are the same: a flag that is rarely
/// set is no fault.
fn reach(cells: &[f64]) -> (f64, f64) {
    let at = |share: f64| cells[((cells.len() - 1) as f64 * share).round() as usize];
    if cells.is_empty() {
        return (f64::NEG_INFINITY, f64::INFINITY);
    }
    let (low, middle, high) = (at(0.25), at(0.5), at(0.75));
    let far = FAR * QUARTILES * (high - low);
    if far > 0.0 {
        (middle - far, middle + far)
    } else {
        (f64::NEG_INFINITY, f64::INFINITY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::counter;

    fn normal(n: u32) -> Vec<f64> {
        (0..n).map(|i| counter::bell(5, i).into()).collect()
    }

    #[test]
    fn an_ordinary_column_has_its_own_mean_and_standard_deviation() {
        let scaling = Scaling::of([1.0, 3.0, 5.0, 7.0].into_iter());
        assert_eq!((scaling.mean, scaling.sd), (4.0, 5f64.sqrt()));
        assert!((scaling.scaled(4.0 + 5f64.sqrt()) - 1.0).abs() < 1e-15);
        assert!(scaling.scaled(f64::NAN).is_nan());
    }

    #[test]
    fn one_wild_cell_in_a_hundred_changes_nothing() {
        let clean = normal(990);
        let want = Scaling::of(clean.iter().copied());
        for wild in [1e6, -1e12, 1e308] {
            let got = Scaling::of(clean.iter().copied().chain([wild; 10]));
            assert!((got.sd - want.sd).abs() < 1e-6, "{wild}: {got:?}");
            assert!(got.is_far(wild) && !got.is_far(3.0));
            assert!(got.scaled(wild).abs() < 200.0);
        }
    }

    #[test]
    fn the_unit_does_not_matter_however_small_or_large() {
        let want = Scaling::of(normal(100).into_iter());
        for unit in [1e-300, 1e-30, 1e30, 1e300] {
            let got = Scaling::of(normal(100).into_iter().map(|v| v * unit));
            assert!((got.sd / unit - want.sd).abs() < 1e-9, "{unit}");
            assert!((got.scaled(unit) - want.scaled(1.0)).abs() < 1e-9, "{unit}");
        }
    }

    #[test]
    fn a_constant_column_is_silent_and_a_rare_flag_is_no_fault() {
        let constant = Scaling::of([0.1; 30].into_iter());
        assert!(constant.scaled(0.1).abs() < 1e-12);
        let flag = Scaling::of((0..100).map(|i| f64::from(u8::from(i % 50 == 0))));
        assert!(!flag.is_far(1.0) && flag.sd < 0.2);
        let nothing = Scaling::of(std::iter::empty());
        assert_eq!((nothing.mean, nothing.sd), (0.0, 1.0));
    }
}
