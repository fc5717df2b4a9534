//! Counts incidents beyond the wanted ones, which stretch the bars of the channels' evidence.

use serde::{Deserialize, Serialize};

/// Memory, in wanted times between alarms.
const MEMORY: f64 = 4.0;
/// A quiet stream saves up no more than one incident.
const SAVED: f64 = 1.0;
/// Debt that stretches nothing: one incident in the wanted time is what was asked for.
const FREE: f64 = 0.5;
/// Bars grow by this share for each incident too many.
const STRETCH: f64 = 1.2;
/// An incident again within this share of the wanted time, and of the rows lived, is a repeat.
const EPISODE_SHARE: f64 = 0.3;
const EPISODE_OF_LIFE: f64 = 0.25;
const REPEAT: f64 = 0.1;
/// Weight of a peak that was told as an incident: it says little about what is quiet. It grows to that
/// of any other from one incident more than wanted on, to three more: what is told again and again is no
/// news.
const TOLD: f64 = 0.1;
const TOLD_FREE: f64 = 1.0;
const TOLD_SPAN: f64 = 2.0;

/// Incidents opened, less those wanted, fading.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct AlarmDebt {
    incidents: f64,
    /// Row at which the last incident opened.
    last_row: Option<u64>,
}

impl AlarmDebt {
    /// Adds `n` rows in which one incident in `between` rows was wanted.
    pub fn rows(&mut self, n: f64, between: f64) {
        let keep = (-n / (MEMORY * between)).exp();
        self.incidents = (keep * self.incidents - n / between).max(-SAVED);
    }

    /// An incident opened at `row`.
    pub fn opened(&mut self, row: u64, between: f64) {
        let span = (EPISODE_SHARE * between).min(EPISODE_OF_LIFE * row as f64);
        let since = self.last_row.map(|last| row.saturating_sub(last) as f64);
        self.incidents += if since.is_some_and(|rows| rows < span) {
            REPEAT
        } else {
            1.0
        };
        self.last_row = Some(row);
    }

    /// Weight of what was told in the record of what is quiet: little, until there were more incidents
    /// than wanted.
    pub fn told_weight(&self) -> f64 {
        TOLD + (1.0 - TOLD) * self.excess()
    }

    /// Whether there were more incidents than wanted: 0 up to one more, 1 from three more on.
    pub fn excess(&self) -> f64 {
        ((self.incidents - TOLD_FREE) / TOLD_SPAN).clamp(0.0, 1.0)
    }

    /// Rows since the last incident opened.
    pub fn rows_since(&self, row: u64) -> Option<u64> {
        self.last_row.map(|last| row.saturating_sub(last))
    }

    /// Factor of the bars, 1 and more.
    pub fn stretch(&self) -> f64 {
        1.0 + STRETCH * (self.incidents - FREE).max(0.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_counts_little_until_it_is_told_too_often() {
        let mut debt = AlarmDebt::default();
        debt.opened(20_000, 10_000.0);
        assert_eq!(debt.told_weight(), TOLD);
        (3..6).for_each(|n| debt.opened(n * 10_000, 10_000.0));
        assert_eq!(debt.told_weight(), 1.0);
    }

    #[test]
    fn the_wanted_incidents_stretch_little_and_too_many_much() {
        let mut debt = AlarmDebt::default();
        debt.opened(20_000, 10_000.0);
        let one = debt.stretch();
        debt.opened(21_000, 10_000.0);
        assert!(debt.stretch() < one + 0.2, "a repeat");
        debt.opened(30_000, 10_000.0);
        debt.opened(39_000, 10_000.0);
        assert!(debt.stretch() > one + 2.0);
        debt.rows(60_000.0, 10_000.0);
        assert_eq!(debt.stretch(), 1.0);
    }
}
