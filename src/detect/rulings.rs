//! Operators' verdicts on incidents: false alarms that they measured, and how far these raise the bar.

use serde::{Deserialize, Serialize};

/// The bar is raised by this much at most, nats: false alarms e^3 = 20 times as rare.
const MAX_LIFT: f64 = 3.0;

/// Fading count of the incidents that were ruled false, over the rows that are remembered.
///
/// Alarms past a bar h come at a rate that falls as e^-h (exact e-values). With k false ones in n
/// rows, where one in `rows_between` was wanted, the rate is (1 + k)/(1 + n/rows_between) times
/// the wanted one (posterior mean under a Gamma prior worth one alarm as wanted), and the bar that
/// mends it is the logarithm of that higher. Fewer than wanted lower nothing: nobody need say a word.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Rulings {
    count: f64,
    rows: f64,
}

impl Rulings {
    /// So many more rows, with a memory of `memory` rows.
    pub fn rows(&mut self, n: f64, memory: f64) {
        let keep = (-n / memory).exp();
        self.count *= keep;
        self.rows = self.rows * keep + n;
    }

    /// An incident was ruled false.
    pub fn false_alarm(&mut self) {
        self.count += 1.0;
    }

    /// It was not, after all.
    pub fn withdraw(&mut self) {
        self.count = (self.count - 1.0).max(0.0);
    }

    /// How much higher the bar has to be, nats, for one false alarm in `rows_between` rows.
    pub fn lift(&self, rows_between: f64) -> f64 {
        let wanted = self.rows / rows_between;
        ((1.0 + self.count) / (1.0 + wanted))
            .ln()
            .clamp(0.0, MAX_LIFT)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn without_a_word_nothing_is_lifted() {
        let mut rulings = Rulings::default();
        assert_eq!(rulings.lift(1000.0), 0.0);
        rulings.rows(1e6, 2e4);
        assert_eq!(rulings.lift(1000.0), 0.0);
    }

    #[test]
    fn false_alarms_beyond_the_wanted_ones_lift_by_the_logarithm_of_their_excess_and_fade() {
        let mut rulings = Rulings::default();
        rulings.rows(3000.0, 1e9);
        (0..7).for_each(|_| rulings.false_alarm());
        // Eight against four.
        assert!((rulings.lift(1000.0) - 2f64.ln()).abs() < 1e-5);
        rulings.withdraw();
        assert!(rulings.lift(1000.0) < 2f64.ln());
        rulings.rows(1e5, 1e4);
        assert!(rulings.lift(1000.0) < 1e-3);
    }

    #[test]
    fn the_lift_is_bounded() {
        let mut rulings = Rulings::default();
        (0..1000).for_each(|_| rulings.false_alarm());
        assert_eq!(rulings.lift(1e9), MAX_LIFT);
    }
}
