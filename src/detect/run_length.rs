//! Monitors how long a condition usually lasts, and notices when it lasts far longer.

use serde::{Deserialize, Serialize};

use super::record::ExcursionRecord;

/// Runs shorter than this are never remarkable: one missed reading, or a dozen equal ones, may be
/// chance in any sensor.
const SHORTEST: u32 = 12;
/// Rows that the record remembers: longer than any wanted time between alarms that a stream of a
/// row a second or slower asks for.
const MEMORY: f64 = 1e6;
/// Exponent of the tail of run lengths: a run twice as long as any seen is an eighth as likely.
const ALPHA: f64 = 3.0;
/// Most that regular runs may show: their next one may be twice as long in 1 of 256 cases.
const MAX_ALPHA: f64 = 8.0;
/// A condition that lasts too long is one of several tests of a channel: it gets a third of the
/// wanted alarms.
const SHARE: f64 = 3.0;
/// Share of the wanted time in which the condition must not have held before its lasting means
/// anything.
const PROOF: f64 = 0.3;
/// Runs that prove regularity, and how much longer than the mean the longest of them may be.
const REGULAR_RUNS: f64 = 100.0;
const EVEN: f64 = 3.0;

/// Runs of one condition (value unchanged, channel silent), and how long they usually last.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunLengthMonitor {
    run: u32,
    /// Rows in which the condition did not hold.
    free: f64,
    record: ExcursionRecord,
    /// Rows that the record does not know of yet.
    pending: f64,
    /// Runs ended, the sum and the longest of their lengths.
    runs: f64,
    sum: f64,
    longest: f64,
}

impl RunLengthMonitor {
    /// Takes one row in which the condition holds or not.
    pub fn observe(&mut self, holds: bool) {
        self.pending += 1.0;
        if holds {
            self.run = self.run.saturating_add(1);
            return;
        }
        self.free += 1.0;
        if self.run > 0 {
            self.accept();
            self.run = 0;
        }
    }

    /// The run that goes on is `stretch` times as long as is passed once in three times `between` rows of all
    /// channels, `between` being the rows wanted between two alarms of the stream. A channel that
    /// has proved nothing, neither by rows without the condition nor by regular runs, has no habit
    /// to exceed.
    pub fn is_exceeded(&self, between: f64, n_channels: f64, stretch: f64) -> bool {
        let proved = self.free >= PROOF * between || self.is_regular();
        if self.run < SHORTEST || !proved {
            return false;
        }
        let between = SHARE * between * n_channels;
        f64::from(self.run) >= stretch * self.record.return_level(between, self.alpha())
    }

    /// Exponent of the tail. The longest of n runs with a power-law tail is about n^(1/alpha) times
    /// as long as the mean: solved for alpha, where there are enough runs to say.
    fn alpha(&self) -> f64 {
        if self.runs < REGULAR_RUNS {
            return ALPHA;
        }
        let longest = self.longest * self.runs / self.sum;
        (self.runs.ln() / longest.ln().max(f64::MIN_POSITIVE)).clamp(ALPHA, MAX_ALPHA)
    }

    /// Every run has been about as long as the others: a sensor that is polled seldom.
    fn is_regular(&self) -> bool {
        self.runs >= REGULAR_RUNS && self.longest * self.runs <= EVEN * self.sum
    }

    /// Accepts the run that goes on as normal.
    pub fn accept(&mut self) {
        let run = f64::from(self.run);
        self.record.rows(self.pending, MEMORY);
        self.pending = 0.0;
        self.record.observe(run, 1.0);
        self.runs += 1.0;
        self.sum += run;
        self.longest = self.longest.max(run);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows of the condition until it has lasted `stretch` times as long as is remarkable; at most `most`.
    fn lasts(monitor: &mut RunLengthMonitor, most: u32, stretch: f64) -> Option<u32> {
        (1..=most).find(|_| {
            monitor.observe(true);
            monitor.is_exceeded(10_000.0, 1.0, stretch)
        })
    }

    fn noticed_after(monitor: &mut RunLengthMonitor, most: u32) -> Option<u32> {
        lasts(monitor, most, 1.0)
    }

    #[test]
    fn a_channel_that_always_moved_and_stops_is_noticed_within_a_dozen_rows() {
        let mut monitor = RunLengthMonitor::default();
        (0..5_000).for_each(|_| monitor.observe(false));
        assert_eq!(noticed_after(&mut monitor, 100), Some(12));
    }

    #[test]
    fn what_was_told_too_often_has_to_last_longer() {
        let mut monitor = RunLengthMonitor::default();
        for _ in 0..200 {
            (0..30).for_each(|_| monitor.observe(true));
            (0..30).for_each(|_| monitor.observe(false));
        }
        let [once, twice] = [1.0, 2.0].map(|stretch| lasts(&mut monitor.clone(), 10_000, stretch));
        let (once, twice) = (once.unwrap(), twice.unwrap());
        assert!(once > 30, "{once}");
        assert_eq!(twice.div_ceil(2), once);
    }

    #[test]
    fn a_channel_that_never_moved_has_no_habit() {
        let mut monitor = RunLengthMonitor::default();
        assert_eq!(noticed_after(&mut monitor, 100_000), None);
    }

    #[test]
    fn a_channel_that_often_rests_is_given_longer() {
        let mut monitor = RunLengthMonitor::default();
        for _ in 0..120 {
            (0..40).for_each(|_| monitor.observe(true));
            (0..3).for_each(|_| monitor.observe(false));
        }
        let after = noticed_after(&mut monitor, 10_000).expect("noticed in the end");
        assert!((80..800).contains(&after), "{after}");
        monitor.accept();
        assert!(!monitor.is_exceeded(10_000.0, 1.0, 1.0));
    }

    #[test]
    fn the_first_runs_of_a_valve_are_no_fault() {
        for period in [12, 20, 37, 60] {
            let mut monitor = RunLengthMonitor::default();
            for row in 0..1_000 {
                monitor.observe(row % period != 0);
                assert!(!monitor.is_exceeded(10_000.0, 1.0, 1.0), "{period}: {row}");
            }
        }
    }
}
