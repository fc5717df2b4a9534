//! Records the heights of past excursions and gives their return level.

use serde::{Deserialize, Serialize};

/// Bins an octave of height.
const BINS_PER_OCTAVE: f64 = 4.0;
/// Most bins: heights from 1 to 2^22.
const MAX_BINS: usize = 88;
/// Excursions expected in the wanted time at the return level. A quiet channel passes it once; two
/// leave room for the smoothing, which counts lower excursions as a share of one.
const BUDGET: f64 = 2.0;

/// Excursions that the exponent of the tail is expected to stand on before any is known: an estimate from one
/// or two says nothing.
const PRIOR_EXCURSIONS: f64 = 3.0;

/// Fading histogram of the heights of past excursions, and the rows in which they happened.
///
/// An excursion of height M speaks in full for later ones up to M, and as (M/h)^alpha for higher
/// ones: a power-law tail whose exponent says how far beyond the past the future may go. The
/// return level is the height that the past, so smoothed, passes as often as is wanted (Coles, "An
/// Introduction to Statistical Modeling of Extreme Values", 2001, chapter 4): what came more often
/// than wanted is no news, what came once must come higher until the wanted time has passed.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ExcursionRecord {
    /// Up to the highest excursion met.
    bins: Vec<f32>,
    /// Rows remembered.
    rows: f64,
}

impl ExcursionRecord {
    /// Adds `n` rows, with a memory of `memory` rows.
    pub fn rows(&mut self, n: f64, memory: f64) {
        let keep = (-n / memory).exp();
        self.rows = self.rows * keep + n;
        self.bins.iter_mut().for_each(|bin| *bin *= keep as f32);
    }

    /// Rows remembered.
    pub fn known_rows(&self) -> f64 {
        self.rows
    }

    /// Adds an excursion that ended at `height`; one below 1 is none. A negative `weight` takes an
    /// earlier one out.
    pub fn observe(&mut self, height: f64, weight: f64) {
        if let Some(bin) = bin_of(height) {
            if bin >= self.bins.len() {
                self.bins.resize(bin + 1, 0.0);
            }
            self.bins[bin] = (self.bins[bin] + weight as f32).max(0.0);
        }
    }

    /// Excursions of at least about `height` that are remembered, by their weight.
    pub fn count_from(&self, height: f64) -> f64 {
        let from = bin_of(height).unwrap_or(0).min(self.bins.len());
        self.bins[from..].iter().map(|&bin| f64::from(bin)).sum()
    }

    /// Nothing was observed.
    pub fn is_empty(&self) -> bool {
        self.bins.is_empty()
    }

    /// Exponent of the tail of excursions above `base`, at most `prior`: Hill's estimate, the number of
    /// excursions over the sum of ln(M / base) (Annals of Statistics 3, 1975), with [`PRIOR_EXCURSIONS`]
    /// excursions of the exponent `prior` added.
    pub fn tail_exponent(&self, base: f64, prior: f64) -> f64 {
        let (mut n, mut logs) = (PRIOR_EXCURSIONS, PRIOR_EXCURSIONS / prior);
        for (bin, &weight) in self.bins.iter().enumerate() {
            let height = ((bin as f64 + 0.5) / BINS_PER_OCTAVE).exp2();
            if height > base {
                n += f64::from(weight);
                logs += f64::from(weight) * (height / base).ln();
            }
        }
        (n / logs).min(prior)
    }

    /// Height that is passed once in `between` rows; 0 where nothing is known.
    pub fn return_level(&self, between: f64, alpha: f64) -> f64 {
        let budget = BUDGET * self.rows / between;
        let step = (-alpha / BINS_PER_OCTAVE).exp2();
        let mut above = self.count_from(1.0);
        if above <= 0.0 {
            return 0.0;
        }
        // Excursions below the upper edge of bin j, each as (M/h)^alpha; those within it lie half
        // a bin below the edge on average.
        let mut below = 0.0;
        for j in 0..4 * MAX_BINS {
            let here = self.bins.get(j).map_or(0.0, |&bin| f64::from(bin));
            below = below * step + here * step.sqrt();
            above = (above - here).max(0.0);
            if above + below <= budget {
                return ((j + 1) as f64 / BINS_PER_OCTAVE).exp2();
            }
        }
        f64::INFINITY
    }
}

fn bin_of(height: f64) -> Option<usize> {
    let bin = (height >= 1.0).then(|| (height.log2() * BINS_PER_OCTAVE) as usize)?;
    Some(bin.min(MAX_BINS - 1))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One excursion of `height` every `every` rows.
    fn learned(height: f64, every: f64, rows: f64) -> ExcursionRecord {
        let mut record = ExcursionRecord::default();
        for _ in 0..(rows / every) as usize {
            record.rows(every, 1e6);
            record.observe(height, 1.0);
        }
        record
    }

    #[test]
    fn a_frequent_excursion_is_no_news_and_a_rare_one_is() {
        let often = learned(10.0, 500.0, 20_000.0).return_level(10_000.0, 10.0);
        assert!((10.0..20.0).contains(&often), "{often}");
        let rarely = learned(10.0, 20_000.0, 40_000.0).return_level(10_000.0, 10.0);
        assert!(rarely < 10.0, "{rarely}");
        assert_eq!(ExcursionRecord::default().return_level(1e4, 10.0), 0.0);
    }

    #[test]
    fn one_excursion_stands_until_the_wanted_time_has_passed() {
        let mut record = ExcursionRecord::default();
        record.rows(1_000.0, 1e6);
        record.observe(10.0, 1.0);
        assert!(record.return_level(10_000.0, 10.0) >= 10.0);
        record.rows(9_000.0, 1e6);
        assert!(record.return_level(10_000.0, 10.0) < 10.0);
    }

    #[test]
    fn a_steep_tail_reaches_less_far_than_a_flat_one() {
        let record = learned(10.0, 100.0, 1_000.0);
        let (steep, flat) = (
            record.return_level(1e4, 10.0),
            record.return_level(1e4, 1.5),
        );
        assert!(steep < 0.5 * flat, "{steep} {flat}");
    }

    #[test]
    fn the_exponent_of_the_tail_follows_the_excursions() {
        assert_eq!(
            ExcursionRecord::default().tail_exponent(10.0, 10.0),
            10.0,
            "nothing known"
        );
        // Quantiles of a power law of exponent 2 above 10.
        let mut record = ExcursionRecord::default();
        for k in 0..1_000 {
            let p = (f64::from(k) + 0.5) / 1_000.0;
            record.observe(10.0 * p.powf(-0.5), 1.0);
        }
        let exponent = record.tail_exponent(10.0, 10.0);
        assert!((1.8..2.2).contains(&exponent), "{exponent}");
        let mut one = ExcursionRecord::default();
        one.observe(20.0, 1.0);
        assert!(one.tail_exponent(10.0, 10.0) > 3.0, "one says little");
    }

    #[test]
    fn an_excursion_that_is_taken_out_leaves_nothing() {
        let mut record = learned(100.0, 1_000.0, 1_000.0);
        record.observe(100.0, -1.0);
        assert_eq!(record.return_level(1e4, 10.0), 0.0);
    }
}
