//! Judges how long and how far a channel's level is off from what the others' levels let expect.

use serde::{Deserialize, Serialize};

use super::level_record::{LevelRecord, RecordScale, Recorded, score};
use crate::num::fading::rate;

/// Time constant of the mean of residuals, rows: what lasts as long is no noise of single rows.
const MEAN_ROWS: f64 = 20.0;
/// Residuals are limited to this many standard deviations, so that one row alone proves nothing:
/// 10/20 over the standard deviation 1/sqrt(39) of such a mean of white noise is 3.1.
pub const LIMIT: f64 = 10.0;
/// Degrees of freedom of the variance of the mean: W rows count as 5 + W/40, since a mean of 20 rows is
/// news about every fortieth row.
const DOF: f64 = 5.0;
const ROWS_A_DOF: f64 = 2.0 * MEAN_ROWS;
/// Outliers teach the variance with the weight ROBUST/(1 + height), at most 1.
const ROBUST: f64 = 3.0;
/// Share of the variance that is left with these weights where means are Gaussian: E(w x^2) / E(w) with the
/// weight w of the height x^2. Without it heights would be a fifth too large.
const CONSISTENCY: f64 = 0.825;
/// Weight while an incident is open.
const OPEN_WEIGHT: f64 = 0.1;
/// The test is one of several of a channel: it gets a third of the wanted alarms.
pub const SHARE: f64 = 3.0;
/// Largest exponent of the tail of peaks: a height is a log likelihood ratio, and has a thin tail like evidence.
const ALPHA: f64 = 10.0;

/// Mean of a channel's last residuals beside how far it usually wanders, and the record of its peaks.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LastingLevel {
    mean: f64,
    /// Variance of the mean, and the rows behind it.
    variance: f64,
    weight: f64,
    height: f64,
    record: LevelRecord,
    bar: f64,
    /// The deviation that is told, see [`LastingLevel::score`].
    told: f64,
}

impl LastingLevel {
    /// Takes a row's residual.
    pub fn judge(&mut self, ts_ms: i64, residual: f64) {
        self.mean += (residual.clamp(-LIMIT, LIMIT) - self.mean) / MEAN_ROWS;
        let dof = DOF + self.weight / ROWS_A_DOF;
        self.height = if self.variance > 0.0 {
            // As in Student's test: the variance is an estimate.
            dof * (CONSISTENCY * self.mean * self.mean / self.variance / dof).ln_1p()
        } else {
            0.0
        };
        if self.weight >= DOF * ROWS_A_DOF {
            self.record.observe(ts_ms, self.height);
        }
    }

    /// Learns the row that was judged last, with a memory of `memory` rows. `told`: the weight of what is
    /// told, where an incident is open.
    pub fn learn(&mut self, told: Option<f64>, memory: f64) {
        let robust = (ROBUST / (1.0 + self.height)).min(1.0);
        let weight = robust * if told.is_some() { OPEN_WEIGHT } else { 1.0 };
        if let Some(told) = told {
            self.record.was_told(told);
        }
        self.weight += weight;
        let rate = weight * rate(self.weight + 1.0, memory);
        self.variance += rate * (self.mean * self.mean - self.variance);
    }

    /// Adds `rows` rows to the record and sets the bar for one alarm in `between` rows of this test; it
    /// stays as it is while an incident is `open`. Returns the entry that was recorded.
    pub fn set_bar(
        &mut self,
        rows: f64,
        open: bool,
        between: f64,
        period_ms: f64,
        stretch: f64,
    ) -> Option<Recorded> {
        if self.weight == 0.0 {
            return None;
        }
        // Chi-squared with one degree of freedom: the height that one of so many independent rows reaches.
        let base = 2.0 * between.ln().max(1.0);
        let scale = RecordScale { between, period_ms };
        let recorded = self.record.advance(rows, rows, base, scale);
        if !open {
            // A plant of several modes is off by much in each change: heavier tails are learned.
            let alpha = self.record.tail_exponent(base, ALPHA);
            let level = self.record.return_level(SHARE * between, alpha);
            self.bar = stretch * level.max(base);
        }
        recorded
    }

    /// Changes the weight of a recorded entry: an operator has said what it was.
    pub fn reweigh(&mut self, height: f64, weight: f64) {
        self.record.reweigh(height, weight);
    }

    /// Forgets the present deviation, not what is usual.
    pub fn reset(&mut self) {
        self.mean = 0.0;
        self.height = 0.0;
    }

    /// Takes the present for normal: the share `keep` of what is known is kept.
    pub fn accept(&mut self, keep: f64) {
        self.reset();
        self.weight *= keep;
    }

    /// The deviation that is told of this channel; 0 where another channel's level is the one that counts: one
    /// that is off makes all look off that are predicted from it.
    pub fn score(&self) -> f64 {
        self.told
    }

    /// Sets the deviation that is told of this channel.
    pub fn tell(&mut self, deviation: f64) {
        self.told = deviation;
    }

    /// Deviation of the level: 1 at the bar, unbounded above.
    pub fn deviation(&self) -> f64 {
        score(self.height, self.bar)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::counter;

    fn step(level: &mut LastingLevel, row: u32, shift: f64) {
        let noise = f64::from(counter::bell(counter::row_key(3, row), 0));
        level.judge(i64::from(row) * 60_000, noise + shift);
        level.learn(None, 10_000.0);
        if row.is_multiple_of(16) {
            level.set_bar(16.0, false, 40_000.0, 60_000.0, 1.0);
        }
    }

    #[test]
    fn a_level_that_is_off_by_little_for_long_stands_out_and_one_far_row_does_not() {
        let mut level = LastingLevel::default();
        (0..3_000).for_each(|row| step(&mut level, row, 0.0));
        assert!(level.deviation() < 0.9, "{}", level.deviation());
        step(&mut level, 3_000, 1e6);
        assert!(level.deviation() < 1.0, "{}", level.deviation());
        (3_001..3_200).for_each(|row| step(&mut level, row, 0.0));
        let found = (3_200..3_230).find(|&row| {
            step(&mut level, row, 1.5);
            level.deviation() > 1.0
        });
        assert!(found.is_some());
    }

    #[test]
    fn before_its_wandering_is_known_nothing_is_recorded() {
        let mut level = LastingLevel::default();
        (0..100).for_each(|row| step(&mut level, row, 8.0));
        (100..1_000).for_each(|row| step(&mut level, row, 0.0));
        assert!(level.bar < 30.0, "{}", level.bar);
    }
}
