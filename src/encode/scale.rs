//! Running statistics of one channel: its level (mean, sd) and the scale of its steps.

use serde::{Deserialize, Serialize};

/// Deviations beyond this many standard deviations count as this many.
const LEVEL_CLIP_SD: f64 = 5.0;
/// Steps beyond this many times the usual count as this many.
const STEP_CLIP: f64 = 8.0;
/// Learned without clipping until the scale is known.
const CLIP_AFTER: f64 = 30.0;
/// Floor of the step scale, as a share of the level's sd: a channel that hardly moves would
/// otherwise make every move infinitely surprising.
const STEP_FLOOR_SD: f64 = 1e-3;

/// Running mean and variance with exponential memory, `rate = max(1/n, 1/memory)`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Level {
    mean: f64,
    variance: f64,
    weight: f64,
    /// Values that were clipped on their way in.
    pub clipped: u64,
}

impl Level {
    /// Mean; 0 before any value.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// Standard deviation; 0 before two different values.
    pub fn sd(&self) -> f64 {
        self.variance.sqrt()
    }

    /// `x` in standard deviations from the mean; 0 while there is no spread.
    pub fn standardise(&self, x: f64) -> f64 {
        if self.variance > 0.0 {
            (x - self.mean) / self.sd()
        } else {
            0.0
        }
    }

    /// Learns one value with weight `weight` in 0..=1 and a memory of `memory` values.
    pub fn observe(&mut self, x: f64, weight: f64, memory: f64) {
        if self.weight == 0.0 {
            self.mean = x;
            self.weight = 1.0;
            return;
        }
        let rate = weight * (1.0 / (self.weight + 1.0)).max(1.0 / memory);
        let mut deviation = x - self.mean;
        let limit = LEVEL_CLIP_SD * self.sd();
        if self.weight > CLIP_AFTER && limit > 0.0 && deviation.abs() > limit {
            deviation = limit.copysign(deviation);
            self.clipped += 1;
        }
        self.mean += rate * deviation;
        self.variance = (1.0 - rate) * (self.variance + rate * deviation * deviation);
        self.weight += weight;
    }

    /// After accepting a new normal: what is known counts as no more than `weight` values.
    pub fn soften(&mut self, weight: f64) {
        self.weight = self.weight.min(weight);
    }
}

/// Running mean of the absolute step |x - x[-1]|: the unit of the next-step target.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct StepScale {
    mean: f64,
    weight: f64,
    /// Steps that were clipped on their way in.
    pub clipped: u64,
}

impl StepScale {
    /// The unit; 1 while no step was seen.
    pub fn get(&self) -> f64 {
        if self.mean > 0.0 { self.mean } else { 1.0 }
    }

    /// A step was seen.
    pub fn is_known(&self) -> bool {
        self.mean > 0.0
    }

    /// Learns one step, with a memory of `memory` steps; `level_sd` sets the floor.
    pub fn observe(&mut self, step: f64, level_sd: f64, memory: f64) {
        let mut size = step.abs();
        if self.weight > CLIP_AFTER && self.mean > 0.0 && size > STEP_CLIP * self.mean {
            size = STEP_CLIP * self.mean;
            self.clipped += 1;
        }
        self.weight += 1.0;
        let rate = (1.0 / self.weight).max(1.0 / memory);
        self.mean = ((1.0 - rate) * self.mean + rate * size).max(STEP_FLOOR_SD * level_sd);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_values_average_evenly() {
        let mut level = Level::default();
        for x in [1.0, 2.0, 3.0, 6.0] {
            level.observe(x, 1.0, 2000.0);
        }
        assert!((level.mean() - 3.0).abs() < 1e-12);
        assert!((level.sd().powi(2) - 3.5).abs() < 1e-12);
    }

    #[test]
    fn an_outlier_moves_the_level_by_no_more_than_five_sd_and_is_counted() {
        let mut level = Level::default();
        for i in 0..200 {
            level.observe(f64::from(i % 2), 1.0, 2000.0);
        }
        let before = level.mean();
        level.observe(1e9, 1.0, 2000.0);
        assert!(level.mean() - before < 5.1 * 0.5 / 200.0);
        assert_eq!(level.clipped, 1);
    }

    #[test]
    fn a_constant_channel_has_no_spread_and_unit_steps() {
        let mut level = Level::default();
        let mut step = StepScale::default();
        for _ in 0..100 {
            level.observe(7.0, 1.0, 2000.0);
            step.observe(0.0, level.sd(), 1000.0);
        }
        assert_eq!(level.standardise(7.0), 0.0);
        assert_eq!(step.get(), 1.0);
        assert!(!step.is_known());
    }

    #[test]
    fn weight_zero_learns_nothing() {
        let mut level = Level::default();
        level.observe(1.0, 1.0, 100.0);
        level.observe(2.0, 1.0, 100.0);
        let before = level.clone();
        level.observe(50.0, 0.0, 100.0);
        assert_eq!(level, before);
    }
}
