//! The hazard of no change: how likely the next value equals the last one to the bit, by how long it
//! has stood still.

use serde::{Deserialize, Serialize};

/// Cells of run lengths, one an octave: 2^11 rows and more share the last.
const OCTAVES: usize = 12;
/// Counts are halved when a cell has so many.
const MOST: f32 = 2_000.0;

/// Counts of rows with the same value and with another, by octave of the run so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Stay {
    run: u64,
    same: [f32; OCTAVES],
    total: [f32; OCTAVES],
}

impl Stay {
    fn octave(&self) -> usize {
        ((self.run + 1).ilog2() as usize).min(OCTAVES - 1)
    }

    /// Probability that the next value is the same. Each octave's counts are smoothed towards the
    /// shorter runs': a run as long as never before ends as likely as those did.
    pub fn probability(&self) -> f64 {
        (0..=self.octave()).fold(0.5, |shorter, o| {
            let (same, total) = (f64::from(self.same[o]), f64::from(self.total[o]));
            (same + shorter) / (total + 1.0)
        })
    }

    /// Takes whether the value was the same.
    pub fn observe(&mut self, same: bool) {
        let octave = self.octave();
        self.total[octave] += 1.0;
        if same {
            self.same[octave] += 1.0;
            self.run += 1;
        } else {
            self.run = 0;
        }
        if self.total[octave] >= MOST {
            self.total[octave] *= 0.5;
            self.same[octave] *= 0.5;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_never_repeats_is_not_expected_to_and_what_always_does_is() {
        let (mut never, mut always) = (Stay::default(), Stay::default());
        for _ in 0..1000 {
            never.observe(false);
            always.observe(true);
        }
        assert!(never.probability() < 1e-3);
        assert!(always.probability() > 0.99);
    }

    #[test]
    fn a_duty_cycle_is_due_to_change_at_its_length() {
        let mut stay = Stay::default();
        for t in 0..3000 {
            stay.observe(t % 16 != 15);
        }
        // A run of one: it stays. In the octave of 15 rows: it changes about every eighth row.
        stay.run = 1;
        assert!(stay.probability() > 0.99);
        stay.run = 15;
        assert!(stay.probability() < 0.9);
    }

    #[test]
    fn the_probability_stays_within_its_bounds_for_ever() {
        let mut stay = Stay::default();
        for t in 0..100_000u32 {
            stay.observe(t % 7 > 2);
            let p = stay.probability();
            assert!(p > 0.0 && p < 1.0);
        }
    }
}
