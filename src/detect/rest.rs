//! Estimates how likely a value is to stay exactly as it is, by how long it has done so.

use serde::{Deserialize, Serialize};

/// Octaves of the length of the run.
const OCTAVES: usize = 12;
/// Counts of an octave are halved when they reach this many.
const MEMORY: f32 = 2000.0;
/// Most rows by which the hazard is learned late, so that a fault is no precedent of itself.
const DELAY: usize = 64;
/// A young stream's delay, as a share of its rows: it cannot wait for what it does not know.
const YOUNG: usize = 8;
/// Flag of a byte that waits: the value stayed the same.
const SAME: u8 = 16;

/// Hazard of a change by octaves of the run of equal values.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RestHazard {
    run: u32,
    same: [f32; OCTAVES],
    total: [f32; OCTAVES],
    /// A ring of what waits before it is counted: the octave, and [`SAME`].
    waiting: Vec<u8>,
    at: usize,
    rows: usize,
}

impl RestHazard {
    fn octave(&self) -> usize {
        ((self.run + 1).ilog2() as usize).min(OCTAVES - 1)
    }

    /// Probability that the next value is the same (the estimate of Krichevsky and Trofimov).
    pub fn stay_probability(&self) -> f64 {
        let o = self.octave();
        f64::from((self.same[o] + 0.5) / (self.total[o] + 1.0))
    }

    /// The value is likelier to stay than to change.
    pub fn rests(&self) -> bool {
        self.stay_probability() > 0.5
    }

    /// Learns whether the value stayed the same; what has waited is counted with `weight`.
    pub fn observe(&mut self, same: bool, weight: f64) {
        self.rows = self.rows.saturating_add(1);
        let new = self.octave() as u8 + if same { SAME } else { 0 };
        if self.waiting.len() < DELAY.min(self.rows / YOUNG) {
            self.waiting.insert(self.at, new);
            self.at = (self.at + 1) % self.waiting.len();
        } else if self.waiting.is_empty() {
            self.count(new, weight);
        } else {
            let old = std::mem::replace(&mut self.waiting[self.at], new);
            self.at = (self.at + 1) % self.waiting.len();
            self.count(old, weight);
        }
        self.run = if same { self.run.saturating_add(1) } else { 0 };
    }

    fn count(&mut self, what: u8, weight: f64) {
        let o = usize::from(what % SAME);
        if self.total[o] >= MEMORY {
            self.total[o] *= 0.5;
            self.same[o] *= 0.5;
        }
        self.total[o] += weight as f32;
        if what >= SAME {
            self.same[o] += weight as f32;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_never_moves_rests_and_one_that_always_moves_does_not() {
        let (mut constant, mut white) = (RestHazard::default(), RestHazard::default());
        for _ in 0..200 {
            constant.observe(true, 1.0);
            white.observe(false, 1.0);
        }
        assert!(constant.stay_probability() > 0.9 && constant.rests());
        assert!(white.stay_probability() < 0.01 && !white.rests());
    }

    #[test]
    fn a_fault_is_no_precedent_of_itself() {
        let mut hazard = RestHazard::default();
        (0..4_000).for_each(|_| hazard.observe(false, 1.0));
        let before = hazard.stay_probability();
        (0..60).for_each(|_| hazard.observe(true, 1.0));
        assert!(!hazard.rests());
        (0..400).for_each(|_| hazard.observe(true, 1.0));
        assert!(hazard.stay_probability() > 10.0 * before);
    }

    #[test]
    fn a_schedule_is_most_likely_to_change_when_it_always_does() {
        let mut hazard = RestHazard::default();
        let mut likely = Vec::new();
        for row in 0..6_000 {
            if row > 5_000 {
                likely.push(hazard.stay_probability());
            }
            hazard.observe(row % 60 != 0, 1.0);
        }
        assert!(likely.iter().all(|p| *p > 0.5));
    }
}
