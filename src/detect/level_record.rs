//! Records the peaks of levels, so that episodes count once and schedules in full; their score.

use serde::{Deserialize, Serialize};

use super::record::ExcursionRecord;

/// Rows of a block, whose maximum is recorded.
pub const BLOCK_ROWS: f64 = 100.0;
/// Weight of a repeat within an episode: faults cluster.
const REPEAT: f64 = 0.1;
/// Slope of the score: half, where incidents close, at a third of the bar.
const SLOPE: f64 = 0.455;
/// An episode lasts this share of the wanted time between alarms, and no longer than this share
/// of the usual time between such peaks: what never stops repeating is no episode.
const EPISODE_SHARE: f64 = 0.3;
const EPISODE_OF_INTERVAL: f64 = 0.25;
/// A peak is a repeat of one at least this share of its height.
const ALIKE: f64 = 0.5;
/// The same for a schedule, whose height may vary more.
const ALIKE_DAILY: f64 = 0.4;
/// A schedule keeps the time of day to this many minutes, or to a period and a half.
const PUNCTUAL_MS: f64 = 900_000.0;
const PUNCTUAL_PERIODS: f64 = 1.5;
/// Days, and weeks at the same weekday, over which a schedule is looked for.
const SCHEDULE_DAYS: i64 = 7;
const SCHEDULE_WEEKS: i64 = 4;
const WEEK_DAYS: i64 = 7;
/// Peaks whose moments are remembered: four a day for a week.
const PEAKS: usize = 32;
const DAY_MS: f64 = 86_400_000.0;
/// Memory of the record, in wanted times between alarms.
const MEMORY: f64 = 8.0;

/// A peak that was recorded.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Peak {
    ts_ms: i64,
    height: f32,
    /// Weight with which it was recorded.
    weight: f32,
}

/// Bounds of a look at the record.
#[derive(Clone, Copy, Debug)]
pub struct RecordScale {
    /// Rows wanted between two alarms.
    pub between: f64,
    /// Usual time between rows, ms.
    pub period_ms: f64,
}

/// Record of the maxima of blocks of rows.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct LevelRecord {
    record: ExcursionRecord,
    peaks: Vec<Peak>,
    next: usize,
    /// Moment of the first row.
    first_ms: Option<i64>,
    /// Rows and highest peak of the present block.
    rows: f64,
    highest: Option<Peak>,
    /// Weight of a peak that was told, where an incident was open in one of the block's rows.
    told: Option<f64>,
    /// Row counter, and the row of the last peak that counted in full, by quarter octave.
    clock: f64,
    last: Vec<f64>,
}

/// Score of a height: 1 + SLOPE ln(height / bar), 1 at the bar, unbounded above; 0 where there is no bar.
pub fn score(height: f64, bar: f64) -> f64 {
    if height <= 0.0 || bar <= 0.0 {
        return 0.0;
    }
    (1.0 + SLOPE * (height / bar).ln()).max(0.0)
}

/// The entry that a peak was recorded as.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Recorded {
    /// Height.
    pub height: f64,
    /// Weight.
    pub weight: f64,
}

impl LevelRecord {
    /// The last row lay in an incident, or opened one: the peak of its block was told, and tells of
    /// what is quiet with the weight `weight`.
    pub fn was_told(&mut self, weight: f64) {
        self.told = Some(self.told.map_or(weight, |told| told.max(weight)));
    }

    /// Begins with one pseudo-excursion: a stream that has shown none yet may well show `height`.
    pub fn begin(&mut self, height: f64) {
        if self.record.is_empty() {
            self.record.observe(height, 1.0);
        }
    }

    /// Takes the height of a row.
    pub fn observe(&mut self, ts_ms: i64, height: f64) {
        self.first_ms.get_or_insert(ts_ms);
        let height = height as f32;
        if self.highest.is_none_or(|peak| height > peak.height) {
            self.highest = Some(Peak {
                ts_ms,
                height,
                weight: 1.0,
            });
        }
    }

    /// Adds `rows` rows, of which `moved` count since a channel moved in them. Returns the entry
    /// that a full block made: its peak, where that is above `base`.
    pub fn advance(
        &mut self,
        rows: f64,
        moved: f64,
        base: f64,
        scale: RecordScale,
    ) -> Option<Recorded> {
        self.record.rows(moved, MEMORY * scale.between);
        self.clock += moved;
        self.rows += rows;
        if self.rows < BLOCK_ROWS {
            return None;
        }
        self.rows = 0.0;
        let told = std::mem::take(&mut self.told);
        let mut peak = self.highest.take()?;
        let height = f64::from(peak.height);
        if height <= base {
            return None;
        }
        let told = told.unwrap_or(1.0);
        let schedule = self.schedule_of(peak, scale.period_ms);
        let weight = if let Some(earlier) = schedule {
            self.count_in_full(earlier);
            1.0
        } else if self.is_repeat(height, scale.between) {
            REPEAT * told
        } else {
            told
        };
        self.record.observe(height, weight);
        peak.weight = weight as f32;
        self.remember(peak);
        Some(Recorded { height, weight })
    }

    /// The earlier peaks of the schedule that `peak` belongs to, as bits by their place. Peaks come at its time
    /// of day, or of the week, as a rule: by the rule of succession the next day or week has one with a
    /// probability of at least one half, so that a schedule from the first day on is known on the second, and
    /// a fault that comes back is no schedule before it has come on most days.
    fn schedule_of(&self, peak: Peak, period_ms: f64) -> Option<u32> {
        let punctual = PUNCTUAL_MS.max(PUNCTUAL_PERIODS * period_ms) / DAY_MS;
        let days_since = |ts_ms: i64| (peak.ts_ms - ts_ms) as f64 / DAY_MS;
        // Bits of the peaks so many days before.
        let before = |days: i64| {
            let places = self.peaks.iter().enumerate().filter(|(_, before)| {
                let off = (days_since(before.ts_ms) - days as f64).abs();
                let alike = f64::from(before.height) > ALIKE_DAILY * f64::from(peak.height);
                off < punctual && alike
            });
            places.fold(0_u32, |bits, (place, _)| bits | 1 << place)
        };
        let lived = days_since(self.first_ms.unwrap_or(peak.ts_ms)) + punctual;
        let rule = |every: i64, most: i64| {
            let known = (lived as i64 / every).min(most);
            let times: Vec<u32> = (1..=known).map(|k| before(k * every)).collect();
            let came = times.iter().filter(|&&bits| bits != 0).count() as i64;
            let is_rule = came > 0 && 2 * (came + 1) >= known + 2;
            is_rule.then(|| times.iter().fold(0, |all, bits| all | bits))
        };
        rule(1, SCHEDULE_DAYS).or_else(|| rule(WEEK_DAYS, SCHEDULE_WEEKS))
    }

    /// Counts peaks, given as bits by their place, in full: they turned out to belong to a schedule.
    fn count_in_full(&mut self, places: u32) {
        for (place, peak) in self.peaks.iter_mut().enumerate() {
            if places >> place & 1 == 1 {
                let missing = 1.0 - std::mem::replace(&mut peak.weight, 1.0);
                self.record.observe(peak.height.into(), missing.into());
            }
        }
    }

    /// A peak about as high came shortly before; counts this one as the last otherwise.
    fn is_repeat(&mut self, height: f64, between: f64) -> bool {
        let known = self.record.count_from(ALIKE * height);
        let interval = self.record.known_rows() / (1.0 + known);
        let span = (EPISODE_SHARE * between).min(EPISODE_OF_INTERVAL * interval);
        let bin = octave_quarter(height);
        let from = octave_quarter(ALIKE * height).min(self.last.len());
        let last = self.last[from..].iter().copied().fold(f64::MIN, f64::max);
        if self.clock - last < span {
            return true;
        }
        if bin >= self.last.len() {
            self.last.resize(bin + 1, f64::MIN);
        }
        self.last[bin] = self.clock;
        false
    }

    fn remember(&mut self, peak: Peak) {
        if self.peaks.len() < PEAKS {
            self.peaks.push(peak);
        } else {
            self.peaks[self.next % PEAKS] = peak;
        }
        self.next = (self.next + 1) % PEAKS;
    }

    /// Changes the weight of an entry by `weight`: an operator has said what it was. One that is taken out
    /// belongs to no schedule.
    pub fn reweigh(&mut self, height: f64, weight: f64) {
        self.record.observe(height, weight);
        if weight < 0.0 {
            let taken = height as f32;
            self.peaks
                .iter_mut()
                .filter(|peak| peak.height == taken)
                .for_each(|peak| peak.height = 0.0);
        }
    }

    /// Exponent of the tail of peaks above `base`, at most `prior`.
    pub fn tail_exponent(&self, base: f64, prior: f64) -> f64 {
        self.record.tail_exponent(base, prior)
    }

    /// Height that is passed once in `between` rows.
    pub fn return_level(&self, between: f64, alpha: f64) -> f64 {
        self.record.return_level(between, alpha)
    }
}

fn octave_quarter(height: f64) -> usize {
    (height.max(1.0).log2() * 4.0) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    const SCALE: RecordScale = RecordScale {
        between: 10_000.0,
        period_ms: 60_000.0,
    };

    /// Blocks of 100 rows a minute; the weights that peaks of `height` got in the blocks `at`.
    fn weights(at: &[usize], blocks: usize) -> Vec<f64> {
        let mut record = LevelRecord::default();
        let mut weights = Vec::new();
        for block in 0..blocks {
            let height = if at.contains(&block) { 80.0 } else { 2.0 };
            record.observe(block as i64 * 6_000_000, height);
            let entry = record.advance(100.0, 100.0, 10.0, SCALE);
            weights.extend(entry.map(|entry| entry.weight));
        }
        weights
    }

    #[test]
    fn repeats_soon_after_the_first_are_an_episode() {
        assert_eq!(weights(&[300, 305, 310], 400), [1.0, REPEAT, REPEAT]);
    }

    #[test]
    fn a_peak_that_was_told_counts_little_wherever_its_incident_lay_in_the_block() {
        let mut record = LevelRecord::default();
        record.observe(0, 80.0);
        record.was_told(0.1);
        record.observe(60_000, 2.0);
        let entry = record.advance(100.0, 100.0, 10.0, SCALE);
        assert_eq!(entry.map(|entry| entry.weight), Some(0.1));
        record.observe(50_000_000, 80.0);
        let entry = record.advance(100.0, 20_000.0, 10.0, SCALE);
        assert_eq!(entry.map(|entry| entry.weight), Some(1.0));
    }

    #[test]
    fn peaks_that_never_stop_are_no_episode() {
        let at: Vec<usize> = (0..80).map(|k| k * 7).collect();
        let weights = weights(&at, 560);
        let late = weights[40..].iter().sum::<f64>() / 40.0;
        assert!(late > 0.9, "{late}");
    }

    /// Peaks on these days at the same time, each of which was told.
    fn daily(days: &[usize]) -> Vec<f64> {
        let mut record = LevelRecord::default();
        let mut weights = Vec::new();
        // A day of 15 blocks of 96 rows a minute.
        for block in 0..11 * 15 {
            let told = block % 15 == 7 && days.contains(&(block / 15));
            record.observe(block as i64 * 5_760_000, if told { 80.0 } else { 2.0 });
            if told {
                record.was_told(REPEAT);
            }
            let entry = record.advance(BLOCK_ROWS, 96.0, 10.0, SCALE);
            weights.extend(entry.map(|entry| entry.weight));
        }
        weights
    }

    #[test]
    fn the_same_time_of_day_is_a_schedule_once_most_days_have_it() {
        assert_eq!(daily(&[0, 1, 2])[1..], [1.0, 1.0]);
        let late = daily(&[5, 6, 7, 8, 9, 10]);
        assert!(late[..4].iter().all(|&w| w <= REPEAT), "{late:?}");
        assert_eq!(late[5], 1.0);
    }
}
