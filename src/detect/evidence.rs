//! Evidence against normality of one channel: a sum of log e-values, reflected at zero and capped.

use serde::{Deserialize, Serialize};

use super::shift::Shift;

/// S <- clip(S + ln e, 0, cap). Reflected at zero it is the CUSUM form of an e-detector: with
/// valid e-values the mean time to a false alarm at level h is at least e^h rows (Shin, Ramdas
/// and Rinaldo, "E-detectors", 2024). The cap bounds how long an ended anomaly lingers.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Evidence {
    sum: f64,
    /// Highest sum since it last left zero.
    peak: f64,
    /// What the next-step head added since the sum last left zero (nats).
    pub from_step: f64,
    /// What the context head added since the sum last left zero (nats).
    pub from_context: f64,
    /// The evidence for a small shift that lasts, which stands beside the sum.
    pub shift: Shift,
}

impl Evidence {
    /// Adds the equal mixture of e-values, given as logarithms, that of the next step first; `cap`
    /// is the bound of S. Gives the peak of the excursion that ended with it, if one did.
    pub fn add(&mut self, ln_e: &[f64], cap: f64) -> Option<f64> {
        let high = ln_e.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        if self.sum == 0.0 && high <= 0.0 {
            // Nothing against normality, before or now: the usual row.
            return None;
        }
        let total: f64 = ln_e.iter().map(|l| (l - high).exp()).sum();
        let mixture = high + (total / ln_e.len() as f64).ln();
        let step = ln_e.first().map_or(0.0, |l| (l - high).exp()) / total;
        self.from_step += mixture.max(0.0) * step;
        self.from_context += mixture.max(0.0) * (1.0 - step);
        self.sum = (self.sum + mixture).clamp(0.0, cap);
        self.peak = self.peak.max(self.sum);
        if self.sum > 0.0 {
            return None;
        }
        let peak = self.peak;
        self.settle();
        (peak > 0.0).then_some(peak)
    }

    /// Raises S to its cap: something is certain.
    pub fn raise(&mut self, cap: f64) {
        self.sum = cap;
        self.peak = cap;
    }

    /// The larger of S and the evidence for a shift, in nats.
    pub fn get(&self) -> f64 {
        self.sum.max(self.shift.get())
    }

    /// Most of it speaks of a level that has moved, not of a surprise in the next step.
    pub fn is_drift(&self) -> bool {
        self.shift.get() > self.sum || self.from_context > self.from_step
    }

    /// Forgets all evidence, not what is usual.
    pub fn reset(&mut self) {
        self.settle();
        self.shift.reset();
    }

    fn settle(&mut self) {
        (self.sum, self.peak) = (0.0, 0.0);
        (self.from_step, self.from_context) = (0.0, 0.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn evidence_stays_between_zero_and_its_cap() {
        let mut s = Evidence::default();
        s.add(&[-5.0, -3.0], 10.0);
        assert_eq!(s, Evidence::default());
        s.add(&[500.0, 0.0], 10.0);
        assert_eq!(s.get(), 10.0);
    }

    #[test]
    fn it_remembers_which_head_brought_it() {
        let mut s = Evidence::default();
        s.add(&[0.0, 4.0], 10.0);
        s.add(&[0.0, 3.0], 10.0);
        assert!(s.from_context > 20.0 * s.from_step);
    }
}
