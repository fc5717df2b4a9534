//! Accumulates evidence against normality of one channel: a CUSUM of log e-values.

use serde::{Deserialize, Serialize};

use super::residuals::Witness;

/// The height of an excursion is followed to this many bars: far enough to order incidents by, and
/// to fall again within a bounded time.
const HIGHEST: f64 = 3.0;

/// S <- clip(S + ln e, 0, cap). Reflected at zero it is the CUSUM form of an e-detector: with
/// valid e-values the mean time to a false alarm at level h is at least e^h rows (Shin, Ramdas
/// and Rinaldo, "E-detectors", 2024). The cap bounds how long an ended anomaly lingers; the height
/// is the same sum with a far higher cap.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EvidenceCusum {
    sum: f64,
    height: f64,
    /// Largest height since the sum last left zero.
    peak: f64,
    /// Nats that witnesses of single steps added since the sum last left zero.
    from_steps: f64,
    /// Nats that witnesses of levels added since the sum last left zero.
    from_levels: f64,
}

impl EvidenceCusum {
    /// Adds the equal mixture of the witnesses' e-values, given as logarithms. The sum stays at or
    /// below `bar` and `slack` nats. Returns the peak of the excursion that ended with it.
    pub fn add(&mut self, ln_e: &[(Witness, f64)], bar: f64, slack: f64) -> Option<f64> {
        let high = ln_e.iter().map(|e| e.1).fold(f64::NEG_INFINITY, f64::max);
        if self.height == 0.0 && high <= 0.0 {
            // Nothing against normality, before or now: the usual row.
            return None;
        }
        let total: f64 = ln_e.iter().map(|e| (e.1 - high).exp()).sum();
        let mixture = high + (total / ln_e.len() as f64).ln();
        let of_level = ln_e.iter().filter(|e| e.0.is_of_level());
        let level: f64 = of_level.map(|e| (e.1 - high).exp()).sum::<f64>() / total;
        self.from_levels += mixture.max(0.0) * level;
        self.from_steps += mixture.max(0.0) * (1.0 - level);
        self.sum = (self.sum + mixture).clamp(0.0, bar + slack);
        self.height = (self.height + mixture).clamp(0.0, HIGHEST * bar);
        self.peak = self.peak.max(self.height);
        if self.sum > 0.0 {
            return None;
        }
        self.reset()
    }

    /// Raises S to `sum`: something is certain.
    pub fn raise(&mut self, sum: f64) {
        self.sum = sum;
    }

    /// S, nats.
    pub fn get(&self) -> f64 {
        self.sum
    }

    /// Most of it came from witnesses of levels.
    pub fn is_of_level(&self) -> bool {
        self.from_levels > self.from_steps
    }

    /// Forgets all evidence. Returns the peak that it had reached.
    pub fn reset(&mut self) -> Option<f64> {
        let peak = self.peak;
        *self = EvidenceCusum::default();
        (peak > 0.0).then_some(peak)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(step: f64, context: f64) -> [(Witness, f64); 2] {
        [(Witness::Step, step), (Witness::Context, context)]
    }

    #[test]
    fn evidence_stays_between_zero_and_its_cap_and_the_height_goes_on() {
        let mut s = EvidenceCusum::default();
        s.add(&of(-5.0, -3.0), 8.0, 2.0);
        assert_eq!(s, EvidenceCusum::default());
        s.add(&of(500.0, 0.0), 8.0, 2.0);
        assert_eq!(s.get(), 10.0);
        assert_eq!(s.reset(), Some(24.0));
        assert_eq!(s.reset(), None);
    }

    #[test]
    fn an_excursion_ends_at_zero_with_its_peak() {
        let mut s = EvidenceCusum::default();
        assert_eq!(s.add(&[(Witness::Step, 5.0)], 8.0, 2.0), None);
        assert_eq!(s.add(&[(Witness::Step, -6.0)], 8.0, 2.0), Some(5.0));
    }

    #[test]
    fn it_remembers_which_witness_brought_it() {
        let mut s = EvidenceCusum::default();
        s.add(&of(0.0, 4.0), 8.0, 2.0);
        s.add(&of(0.0, 3.0), 8.0, 2.0);
        assert!(s.from_levels > 20.0 * s.from_steps);
        let mut alone = EvidenceCusum::default();
        alone.add(&[(Witness::Context, 4.0)], 8.0, 2.0);
        assert!(alone.is_of_level(), "a drift is no surprise");
    }
}
