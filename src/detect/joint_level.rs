//! Measures how far all channels together are from their slow mean: a Mahalanobis distance.

use ndarray::linalg::general_mat_vec_mul;
use ndarray::{Array1, Array2};
use serde::{Deserialize, Serialize};

use super::channel::Watch;
use super::covariance::FadingCovariance;
use super::cross_channel::MAX_CHANNELS;
pub use super::level_record::Recorded;
use super::level_record::{LevelRecord, RecordScale, score};
use crate::num::scrap::Scrap;

/// Rows between two inversions, and before the first one.
const INVERT_EVERY: u64 = 25;
const FIRST: u64 = 20;
/// Rows whose median is the height: two odd rows of five are no level.
const WINDOW: usize = 5;
/// Sweeps in which missing channels are filled in; each brings them nearer to what the others let expect.
const SWEEPS: usize = 4;
/// Standardised deviations are limited to this many.
const LIMIT: f64 = 1e4;
/// Degrees of freedom of the distance: a covariance of W effective rows counts as 5 + W/30, since
/// neighbouring rows of a level are alike and one in thirty is news.
const DOF: f64 = 5.0;
const ROWS_A_DOF: f64 = 30.0;
/// Floor of a channel's sd, as a share of its sd in the long run.
const FLOOR: f64 = 0.05;
/// Memory of the long run, as a multiple of that of the level.
const LONG: f64 = 10.0;
/// The bar is at least base + share * C: real channels have heavy tails, and 2.6 sd in each of C
/// channels at once is what they do together.
const BASE: f64 = 3.5;
const BASE_PER_CHANNEL: f64 = 7.0;
/// Rows after which outliers are learned with less weight: 3 (C + 5)/(C + 5 + h).
const ROBUST_AFTER: u64 = 100;
const ROBUST: f64 = 3.0;
/// Weight while an incident is open.
const OPEN_WEIGHT: f64 = 0.5;
/// A stream has begun until this share of the wanted time between alarms has passed: its ordinary events are as
/// new as its faults, so that peaks tell of what is quiet in full at first, told or not.
const BEGINNING: f64 = 0.5;
/// Share of the wanted alarms, and exponent of the tail of peaks: heavy, since a plant's levels
/// have no scale that the next one must keep to.
const SHARE: f64 = 1.5;
const ALPHA: f64 = 1.5;

/// Slow mean and covariance of a stream's raw levels, and the distance of its last rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct JointLevel {
    levels: FadingCovariance,
    /// Slow variance, the scale of the floor.
    long: Array1<f64>,
    /// 1/sd at the last inversion.
    unit: Array1<f64>,
    precision: Option<Array2<f64>>,
    /// Smallest change ever of each channel, the grid of its sensor; 0 before any.
    grid: Vec<f64>,
    last: Vec<f64>,
    rows: u64,
    recent: [f64; WINDOW],
    height: f64,
    record: LevelRecord,
    bar: f64,
    /// Rows since the last look in which a channel moved.
    moved: f64,
    /// Mean contributions of the channels over as many rows as make the height.
    contributions: Vec<f64>,
    #[serde(skip)]
    off: Vec<f64>,
    #[serde(skip)]
    scratch: Scrap<Scratch>,
}

/// Working memory.
#[derive(Debug, Default)]
struct Scratch {
    /// Standardised deviations.
    z: Array1<f64>,
    /// Precision times z.
    projected: Array1<f64>,
    /// Channels that are missing, or whose deviation is worth no word.
    unknown: Vec<bool>,
    /// Variances with their floors, and the memory of an inversion.
    variance: Array1<f64>,
    room: Array2<f64>,
    inverse: Array2<f64>,
}

impl JointLevel {
    fn resize(&mut self, n: usize) {
        if self.levels.mean.len() == n {
            return;
        }
        *self = JointLevel {
            levels: FadingCovariance::new(n),
            long: Array1::zeros(n),
            unit: Array1::zeros(n),
            grid: vec![0.0; n],
            last: vec![f64::NAN; n],
            contributions: vec![0.0; n],
            record: std::mem::take(&mut self.record),
            bar: f64::INFINITY,
            ..JointLevel::default()
        };
    }

    /// Lowest bar.
    fn base(&self) -> f64 {
        BASE + BASE_PER_CHANNEL * self.levels.mean.len() as f64
    }

    /// Judges a row; NaN where a channel is missing or has no level. Such a channel, and one whose deviation
    /// is worth no word, is filled in by what the others let expect of it, so that the distance is that of
    /// the others alone. `moves` where at least one channel does not rest.
    pub fn judge(&mut self, ts_ms: i64, row: &[f64], moves: bool, watch: impl Fn(usize) -> Watch) {
        if row.is_empty() || row.len() > MAX_CHANNELS {
            return;
        }
        self.resize(row.len());
        self.moved += f64::from(u8::from(moves));
        let Scratch {
            z,
            projected,
            unknown,
            ..
        } = &mut self.scratch.0;
        if z.len() != row.len() {
            (*z, *projected) = (Array1::zeros(row.len()), Array1::zeros(row.len()));
            unknown.resize(row.len(), false);
        }
        for (c, z) in z.iter_mut().enumerate() {
            let off = row[c] - self.levels.mean[c];
            let is_unknown = off.is_nan() || !watch(c).is_worth(off, 1.0);
            unknown[c] = is_unknown;
            *z = if is_unknown {
                0.0
            } else {
                (off * self.unit[c]).clamp(-LIMIT, LIMIT)
            };
        }
        let mut distance = 0.0;
        if let Some(precision) = &self.precision {
            general_mat_vec_mul(1.0, precision, &*z, 0.0, projected);
            fill_in(precision, unknown, z, projected);
            distance = z.dot(&*projected).max(0.0);
            let rows = self.contributions.iter_mut().zip(projected.indexed_iter());
            for (contribution, (c, p)) in rows {
                let newest = p * p / precision[(c, c)];
                *contribution += (newest - *contribution) / WINDOW as f64;
            }
        }
        // As in Student's test: the covariance is an estimate.
        let dof = DOF + self.levels.weight / ROWS_A_DOF;
        self.recent[(self.rows % WINDOW as u64) as usize] = dof * (distance / dof).ln_1p();
        let mut sorted = self.recent;
        sorted.sort_unstable_by(f64::total_cmp);
        self.height = sorted[WINDOW / 2];
        self.record.observe(ts_ms, self.height);
        self.rows += 1;
    }

    /// The row that was judged last lay in an incident, or opened one: its height tells of what is
    /// quiet with the weight `weight`, and with more while the stream has `lived` for less than half the
    /// wanted time between alarms.
    pub fn was_told(&mut self, weight: f64, lived: f64) {
        self.record.was_told(weight.max(1.0 - lived / BEGINNING));
    }

    /// Learns the row that was judged last, with a memory of `memory` rows.
    pub fn learn(&mut self, row: &[f64], open: bool, memory: f64) {
        if row.len() != self.levels.mean.len() || row.is_empty() {
            return;
        }
        let newest = ((self.rows - 1) % WINDOW as u64) as usize;
        let free = row.len() as f64 + DOF;
        let robust = if self.rows < ROBUST_AFTER {
            1.0
        } else {
            (ROBUST * free / (free + self.recent[newest])).min(1.0)
        };
        let weight = robust * if open { OPEN_WEIGHT } else { 1.0 };
        self.levels.observe(row, weight, memory, &mut self.off);
        let slow = (1.0 / self.rows as f64).max(1.0 / (LONG * memory));
        for (c, &off) in self.off.iter().enumerate() {
            if off.is_nan() {
                continue;
            }
            self.long[c] += slow * (off * off - self.long[c]);
            let step = (row[c] - self.last[c]).abs();
            if step > 0.0 && (self.grid[c] == 0.0 || step < self.grid[c]) {
                self.grid[c] = step;
            }
            self.last[c] = row[c];
        }
        if self.rows >= FIRST && self.rows.is_multiple_of(INVERT_EVERY) {
            self.invert();
        }
    }

    fn invert(&mut self) {
        let Scratch {
            variance,
            room,
            inverse,
            ..
        } = &mut self.scratch.0;
        if variance.len() != self.grid.len() {
            *variance = Array1::zeros(self.grid.len());
        }
        for (c, variance) in variance.iter_mut().enumerate() {
            // A value is known to its cell of the grid only: a variance of q^2/12.
            let cell = self.grid[c] * self.grid[c] / 12.0;
            let floor = FLOOR * FLOOR * self.long[c];
            *variance = self.levels.matrix[(c, c)] + floor + cell;
        }
        if self.levels.invert(variance, room, inverse) {
            let precision = self.precision.get_or_insert_with(|| Array2::zeros((0, 0)));
            std::mem::swap(precision, inverse);
            let units = self.unit.iter_mut().zip(&*variance);
            units.for_each(|(unit, &v)| *unit = if v > 0.0 { 1.0 / v.sqrt() } else { 0.0 });
        }
    }

    /// Adds `rows` rows to the record and sets the bar for one alarm in `between` rows; it stays
    /// as it is while an incident is `open`. Returns the entry that was recorded.
    pub fn set_bar(
        &mut self,
        rows: f64,
        open: bool,
        between: f64,
        period_ms: f64,
    ) -> Option<Recorded> {
        if self.levels.mean.is_empty() {
            return None;
        }
        let scale = RecordScale { between, period_ms };
        let moved = std::mem::take(&mut self.moved).min(rows);
        let base = self.base();
        self.record.begin(base);
        let recorded = self.record.advance(rows, moved, base, scale);
        if !open {
            let level = self.record.return_level(SHARE * between, ALPHA);
            self.bar = level.max(base);
        }
        recorded
    }

    /// Changes the weight of a recorded entry: an operator has said what it was.
    pub fn reweigh(&mut self, height: f64, weight: f64) {
        self.record.reweigh(height, weight);
    }

    /// An operator has ruled that the present height is nothing: it is recorded, and forgotten.
    pub fn dismiss(&mut self) {
        self.record.reweigh(self.height, 1.0);
        self.bar = self.bar.max(self.height);
        self.recent = [0.0; WINDOW];
        self.height = 0.0;
    }

    /// Takes the present for normal: what is known counts for no more than `rows` rows.
    pub fn accept(&mut self, rows: f64) {
        self.levels.weight = self.levels.weight.min(rows);
        self.recent = [0.0; WINDOW];
        self.height = 0.0;
    }

    /// The score: 1 at the bar, unbounded above.
    pub fn score(&self) -> f64 {
        score(self.height, self.bar)
    }

    /// A channel is further from what the others let expect than levels usually are; any is where nothing is
    /// known of the distance.
    pub fn stands_apart(&self, channel: usize) -> bool {
        let contribution = self.contributions.get(channel);
        self.precision.is_none() || contribution.is_none_or(|&far| far > BASE_PER_CHANNEL)
    }

    /// Contributions of the channels to the last distances, one a channel: by how much the distance would
    /// be less if the channel were as the others let expect. The channel that alone is off has the largest
    /// (Alcala and Qin, "Reconstruction-based contribution", Automatica 45, 2009).
    pub fn contributions(&self) -> &[f64] {
        &self.contributions
    }
}

/// Fills in the unknown channels so that the distance is least, a channel at a time: the conditional mean.
fn fill_in(
    precision: &Array2<f64>,
    unknown: &[bool],
    z: &mut Array1<f64>,
    projected: &mut Array1<f64>,
) {
    if !unknown.contains(&true) || !unknown.contains(&false) {
        return;
    }
    for _ in 0..SWEEPS {
        for (c, _) in unknown.iter().enumerate().filter(|(_, unknown)| **unknown) {
            let change = -projected[c] / precision[(c, c)];
            z[c] += change;
            projected.scaled_add(change, &precision.row(c));
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

    fn learned(rows: usize) -> (JointLevel, Pcg64) {
        let (mut level, mut rng) = (JointLevel::default(), Pcg64::seed_from_u64(7));
        for t in 0..rows {
            let common = normal(&mut rng);
            let row = [common, common + 0.1 * normal(&mut rng), f64::NAN];
            step(&mut level, t, &row);
        }
        (level, rng)
    }

    fn step(level: &mut JointLevel, t: usize, row: &[f64]) {
        let plain = |_| Watch::default();
        level.judge(t as i64 * 60_000, row, true, plain);
        level.learn(row, false, 10_000.0);
        if t.is_multiple_of(16) {
            level.set_bar(16.0, false, 10_080.0, 60_000.0);
        }
    }

    #[test]
    fn channels_that_part_stand_out_though_each_looks_usual() {
        let (mut level, _) = learned(4_000);
        assert!(level.score() < 0.9, "{}", level.score());
        for t in 4_000..4_005 {
            step(&mut level, t, &[1.5, -1.5, f64::NAN]);
        }
        assert!(level.score() > 1.2, "{}", level.score());
        assert!(level.contributions()[2] == 0.0);
    }

    #[test]
    fn a_channel_that_is_missing_makes_the_others_no_odder() {
        let (mut level, _) = learned(4_000);
        for t in 4_000..4_005 {
            step(&mut level, t, &[2.0, f64::NAN, f64::NAN]);
        }
        let least = 4.5;
        assert!(level.height < least, "{}", level.height);
    }

    #[test]
    fn what_is_told_of_a_stream_that_has_just_begun_is_no_news_the_next_time() {
        let bar_after = |lived: f64| {
            let (mut level, _) = learned(4_000);
            for t in 4_000..4_200_usize {
                let off = if t < 4_010 { 50.0 } else { 0.0 };
                level.judge(t as i64 * 60_000, &[off, -off, f64::NAN], true, |_| {
                    Watch::default()
                });
                level.was_told(0.1, lived);
                if t.is_multiple_of(16) {
                    level.set_bar(16.0, false, 10_080.0, 60_000.0);
                }
            }
            level.bar
        };
        let (young, old) = (bar_after(0.0), bar_after(1.0));
        assert!(young > 2.0 * old, "{young} {old}");
        assert_eq!(bar_after(0.5), old);
    }

    #[test]
    fn two_odd_rows_are_no_level() {
        let (mut level, mut rng) = learned(4_000);
        for t in 4_000..4_002 {
            step(&mut level, t, &[50.0, -50.0, f64::NAN]);
        }
        let usual = normal(&mut rng);
        step(&mut level, 4_002, &[usual, usual, f64::NAN]);
        assert!(level.score() < 1.0, "{}", level.score());
    }
}
