//! Judges whether a channel is at a level where it usually is, and for as long as it usually is there.

use serde::{Deserialize, Serialize};

use super::level_record::{LevelRecord, RecordScale, Recorded};
use super::run_length::RunLengthMonitor;
use crate::num::fading::{FadingMean, rate};

/// Bins of the histogram of levels, and bins in a standard deviation of the level: it reaches to 6 of them
/// on either side.
const BINS: usize = 96;
const BINS_PER_SD: f64 = 8.0;
/// A level counts for the bins beside its own as e^-1 a bin.
const DECAY: f64 = 1.0 / std::f64::consts::E;
/// Values after which the histogram begins.
const FIRST: f64 = 20.0;
/// The histogram is laid out anew where the standard deviation has changed by this factor, or the mean
/// by as many standard deviations.
const RESCALE: f64 = 2.0;
/// Beyond all past levels the surprise grows by this many nats a standard deviation, as the tail of a
/// Gaussian does at 3 of them.
const BEYOND: f64 = 3.0;
/// Time constant of the mean of surprises, rows: what lasts as long is no noise of single rows.
const MEAN_ROWS: f64 = 20.0;
/// Memory of the mean surprise, rows.
const MEMORY_ROWS: f64 = 1e4;
/// Surprises are limited to this many nats.
const LIMIT: f64 = 20.0;
/// Most rows by which levels are learned late, so that a fault is no precedent of itself, and the same as
/// a share of the rows lived.
const DELAY: usize = 64;
const YOUNG: u64 = 8;
/// The test is one of several of a channel: it gets a third of the wanted alarms.
pub const SHARE: f64 = 3.0;
/// Exponent of the tail of peaks: nats are logarithms already, and have a thin tail.
const ALPHA: f64 = 10.0;
/// Peaks from this share of the lowest bar on are recorded.
const RECORDED: f64 = 0.5;
/// A level is usual or not once the channel has gone this often from half a standard deviation below its
/// mean to half a one above: before, all levels are new.
const CYCLES: u32 = 4;
const CYCLE_SD: f64 = 0.5;
/// Nor before it has been seen for two days: plants live by the day.
const LIFE_MS: i64 = 172_800_000;
/// A channel stays where it is while it is within this many standard deviations.
const STAY_SD: f64 = 0.5;

/// Fading histogram of a channel's levels, how surprising its last levels were, and how long it stays.
///
/// The surprise of a level is -ln of the share of the past that lay about there. A sensor that is off by a
/// constant, or drifts, comes to levels where the channel seldom or never is: between two set-points, or
/// beyond both. Peaks of the mean over rows are recorded, and the bar is their return level, so that a
/// channel that wanders into new levels by itself may.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct UsualLevel {
    mean: f64,
    variance: f64,
    weight: f64,
    rows: u64,
    /// Middle of the histogram and width of a bin; 0 before it is laid out.
    middle: f64,
    width: f64,
    bins: Vec<f32>,
    mass: f64,
    /// Values and weights that wait before they are learned, a ring.
    waiting: Vec<(f32, f32)>,
    next: usize,
    /// Mean surprise of the last rows, and of all, nats.
    height: f64,
    typical: FadingMean,
    record: LevelRecord,
    bar: f64,
    /// The channel was last far below its mean; how often it then came far above.
    was_below: bool,
    cycles: u32,
    /// Moment of the first value.
    first_ms: Option<i64>,
    /// Long enough for a level to be usual or not.
    is_known: bool,
    /// Where the present stay began, and how long stays are.
    stay_from: f64,
    pub(super) stays: RunLengthMonitor,
}

impl UsualLevel {
    /// Judges a fresh value; one whose deviation is not `worth` a word is usual. Returns whether its
    /// surprise was limited.
    pub fn judge(&mut self, ts_ms: i64, value: f64, worth: bool) -> bool {
        let first = *self.first_ms.get_or_insert(ts_ms);
        self.is_known = ts_ms.saturating_sub(first) >= LIFE_MS && self.cycles >= CYCLES;
        if !self.is_known {
            return false;
        }
        let unlimited = self.surprise_of(value);
        let surprise = unlimited.min(LIMIT);
        self.typical.observe(surprise, 1.0, MEMORY_ROWS);
        let surprise = if worth { surprise } else { self.typical.get() };
        self.height += (surprise - self.height) / MEAN_ROWS;
        self.record.observe(ts_ms, self.height);
        unlimited > LIMIT
    }

    /// -ln of the share of past levels about `value`, nats.
    fn surprise_of(&self, value: f64) -> f64 {
        let (place, bin) = (self.place_of(value), self.bin_of(value));
        let (mut share, mut weight) = (0.0, 1.0);
        for distance in 0..BINS {
            let at = |bin: Option<usize>| {
                let count = bin.and_then(|bin| self.bins.get(bin));
                count.map_or(0.0, |&count| f64::from(count))
            };
            share += weight * at(bin.checked_add(distance));
            if distance > 0 {
                share += weight * at(bin.checked_sub(distance));
            }
            weight *= DECAY;
        }
        let share = share * (1.0 - DECAY) / (1.0 + DECAY);
        let known = |count: &f32| *count > 0.5;
        let low = self.bins.iter().position(known).unwrap_or(0) as f64;
        let high = self
            .bins
            .iter()
            .rposition(known)
            .map_or(0.0, |b| (b + 1) as f64);
        let beyond = (low - place).max(place - high).max(0.0) / BINS_PER_SD;
        libm::log((self.mass + 1.0) / (share + 1.0)) + BEYOND * beyond
    }

    /// The row that was judged last lay in an incident, or opened one: its height tells of what is usual with
    /// the weight `weight`.
    pub fn was_told(&mut self, weight: f64) {
        self.record.was_told(weight);
    }

    /// Learns the value that was judged last, with `weight` in 0..=1 and a memory of `memory` rows. Returns
    /// whether it lay beyond the histogram, whose outermost bin then took it.
    pub fn learn(&mut self, value: f64, weight: f64, memory: f64) -> bool {
        let is_beyond = self.width > 0.0 && !(0.0..BINS as f64).contains(&self.place_of(value));
        self.rows += 1;
        let new = (value as f32, weight as f32);
        if (self.waiting.len() as u64) < (DELAY as u64).min(self.rows / YOUNG) {
            self.waiting.insert(self.next, new);
            self.next = (self.next + 1) % self.waiting.len();
        } else if self.waiting.is_empty() {
            self.count(value, weight, memory);
        } else {
            let (value, weight) = std::mem::replace(&mut self.waiting[self.next], new);
            self.next = (self.next + 1) % self.waiting.len();
            self.count(value.into(), weight.into(), memory);
        }
        is_beyond
    }

    fn count(&mut self, value: f64, weight: f64, memory: f64) {
        self.weight += weight;
        let rate = weight * rate(self.weight.max(1.0), memory);
        let off = value - self.mean;
        self.mean += rate * off;
        self.variance = (1.0 - rate) * (self.variance + rate * off * off);
        self.lay_out();
        if self.width > 0.0 {
            let keep = (1.0 - weight / memory) as f32;
            self.bins.iter_mut().for_each(|bin| *bin *= keep);
            let bin = self.bin_of(value);
            self.bins[bin] += weight as f32;
            self.mass = self.mass * f64::from(keep) + weight;
            self.count_cycle(value);
        }
    }

    fn count_cycle(&mut self, value: f64) {
        let sd = self.variance.sqrt();
        if value < self.mean - CYCLE_SD * sd {
            self.was_below = true;
        } else if self.was_below && value > self.mean + CYCLE_SD * sd {
            self.was_below = false;
            self.cycles = self.cycles.saturating_add(1);
        }
    }

    /// Learns whether the channel stays where it was.
    pub fn observe_stay(&mut self, value: f64) {
        let stays = (value - self.stay_from).abs() < STAY_SD * self.variance.sqrt();
        if !stays {
            self.stay_from = value;
        }
        if self.is_known {
            self.stays.observe(stays);
        }
    }

    fn place_of(&self, value: f64) -> f64 {
        (value - self.middle) / self.width + 0.5 * BINS as f64
    }

    /// The outermost bins hold all that lies beyond.
    fn bin_of(&self, value: f64) -> usize {
        self.place_of(value).clamp(0.0, (BINS - 1) as f64) as usize
    }

    /// Lays the histogram out anew where the channel's mean or spread is another one.
    fn lay_out(&mut self) {
        let sd = self.variance.sqrt();
        if self.weight < FIRST || sd <= 0.0 {
            return;
        }
        let ratio = sd / (BINS_PER_SD * self.width);
        let moved = (self.mean - self.middle).abs() / sd;
        if (1.0 / RESCALE..=RESCALE).contains(&ratio) && moved < RESCALE {
            return;
        }
        let (middle, width) = (self.middle, self.width);
        let before = std::mem::replace(&mut self.bins, vec![0.0; BINS]);
        (self.middle, self.width) = (self.mean, sd / BINS_PER_SD);
        for (bin, count) in before.into_iter().enumerate() {
            let value = middle + (bin as f64 + 0.5 - 0.5 * BINS as f64) * width;
            let bin = self.bin_of(value);
            self.bins[bin] += count;
        }
    }

    /// Adds `rows` rows to the record and sets the bar for one alarm in `between` rows of all channels; it
    /// stays as it is while an incident is `open`. Returns the entry that was recorded.
    pub fn set_bar(
        &mut self,
        rows: f64,
        open: bool,
        between: f64,
        period_ms: f64,
        stretch: f64,
    ) -> Option<Recorded> {
        if !self.is_known {
            return None;
        }
        // A level that lasts as long as the mean is as rare as its surprise says.
        let base = libm::log(SHARE * between / MEAN_ROWS).max(1.0);
        let scale = RecordScale { between, period_ms };
        let recorded = self.record.advance(rows, rows, RECORDED * base, scale);
        if !open {
            let level = self.record.return_level(SHARE * between, ALPHA);
            self.bar = stretch * level.max(base);
        }
        recorded
    }

    /// Changes the weight of a recorded entry: an operator has said what it was.
    pub fn reweigh(&mut self, height: f64, weight: f64) {
        self.record.reweigh(height, weight);
    }

    /// Deviation of the level from the usual ones: 0 where it is as usual as ever, 1 at the bar.
    pub fn deviation(&self) -> f64 {
        let typical = self.typical.get();
        if self.bar <= typical {
            return 0.0;
        }
        ((self.height - typical) / (self.bar - typical)).max(0.0)
    }

    /// Forgets the present deviation, not what is usual.
    pub fn reset(&mut self) {
        self.height = self.typical.get();
    }

    /// Takes the present for normal: the share `keep` is kept of what is known.
    pub fn accept(&mut self, keep: f64) {
        self.reset();
        self.bins.iter_mut().for_each(|bin| *bin *= keep as f32);
        self.mass *= keep;
        self.weight *= keep;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::counter;

    /// A cycle between 0 and 10 with a little noise; the deviation after `off` was added for 60 rows.
    fn deviation(off: f64) -> f64 {
        let mut level = UsualLevel::default();
        for row in 0..6_060u32 {
            let noise = f64::from(counter::bell(counter::row_key(3, row), 0));
            let added = if row < 6_000 { 0.0 } else { off };
            let value = 10.0 * f64::from(u8::from(row % 100 < 40)) + 0.2 * noise + added;
            level.judge(i64::from(row) * 60_000, value, true);
            level.learn(value, 1.0, 10_000.0);
            if row.is_multiple_of(16) {
                level.set_bar(16.0, false, 10_000.0, 60_000.0, 1.0);
            }
        }
        level.deviation()
    }

    #[test]
    fn a_level_beside_all_usual_ones_stands_out() {
        assert!(deviation(0.0) < 0.9, "{}", deviation(0.0));
        for off in [3.0, -3.0, 5.0] {
            assert!(deviation(off) > 1.0, "{off}: {}", deviation(off));
        }
    }

    #[test]
    fn a_channel_that_has_not_gone_through_its_cycle_has_no_usual_level() {
        let mut level = UsualLevel::default();
        for row in 0..5_000 {
            let value = f64::from(row);
            level.judge(row.into(), value, true);
            level.learn(value, 1.0, 10_000.0);
        }
        assert_eq!(level.deviation(), 0.0);
    }
}
