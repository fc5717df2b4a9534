//! How long a channel usually stays the same, or silent; and when it does so far beyond that.

use serde::{Deserialize, Serialize};

/// A run must be this many times as long as the longest one remembered.
const FAR: f64 = 3.0;
/// Runs shorter than this are never remarkable.
const SHORTEST: u32 = 12;
/// The memory of the longest run fades by this factor with every run that ends.
const FADE: f64 = 0.999;

/// Runs of one condition (value unchanged, channel silent), and the channel's habit of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RunLengthMonitor {
    run: u32,
    longest: f64,
    /// Rows seen, and those in which the condition held, not counting the run that goes on.
    rows: u64,
    held: u64,
}

impl RunLengthMonitor {
    /// Takes one row in which the condition holds or not.
    pub fn observe(&mut self, holds: bool) {
        if holds {
            self.run = self.run.saturating_add(1);
            return;
        }
        self.rows += u64::from(self.run) + 1;
        self.held += u64::from(self.run);
        self.longest = (self.longest * FADE).max(f64::from(self.run));
        self.run = 0;
    }

    /// The run that goes on is beyond all habit: much longer than the longest before, and, were
    /// its rows independent at the channel's rate, less likely than e^-bar.
    pub fn is_exceeded(&self, bar: f64) -> bool {
        if self.run < SHORTEST || f64::from(self.run) < FAR * self.longest {
            return false;
        }
        let rate = (self.held as f64 + 1.0) / (self.rows as f64 + 2.0);
        -rate.ln() * f64::from(self.run) >= bar
    }

    /// Accepts the run that goes on as normal.
    pub fn accept(&mut self) {
        self.longest = self.longest.max(f64::from(self.run));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_channel_that_always_moved_and_stops_is_noticed_within_a_dozen_rows() {
        let mut habit = RunLengthMonitor::default();
        (0..500).for_each(|_| habit.observe(false));
        let noticed = (1..).find(|_| {
            habit.observe(true);
            habit.is_exceeded(8.0)
        });
        assert_eq!(noticed, Some(12));
    }

    #[test]
    fn a_channel_that_often_rests_is_given_longer() {
        let mut habit = RunLengthMonitor::default();
        for _ in 0..50 {
            (0..40).for_each(|_| habit.observe(true));
            habit.observe(false);
        }
        (0..100).for_each(|_| habit.observe(true));
        assert!(!habit.is_exceeded(8.0));
        (0..500).for_each(|_| habit.observe(true));
        assert!(habit.is_exceeded(8.0));
        habit.accept();
        assert!(!habit.is_exceeded(8.0));
    }
}
