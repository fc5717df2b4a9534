//! How sure probabilities of states may be: one exponent on their odds, learned from what happened.

use serde::{Deserialize, Serialize};

/// The exponent 1 counts as this much information about it.
const PRIOR: f64 = 20.0;
/// It moves by no more than this a row: one absurd row must not undo what many have shown.
const FURTHEST: f64 = 0.05;
/// The exponent stays within these bounds.
const LOWEST: f64 = 0.25;
const HIGHEST: f64 = 4.0;

/// p_k = e^(tau l_k) / sum_j e^(tau l_j): tau follows the likelihood by Newton steps, its gradient
/// l_seen - sum_k p_k l_k over the information gathered, sum of the variances of l under p
/// (temperature scaling, Guo et al., ICML 2017, made online). Below 1 where the network is too sure
/// of itself, above 1 where it is not sure enough.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sharpness {
    tau: f64,
    information: f64,
}

impl Default for Sharpness {
    fn default() -> Sharpness {
        Sharpness {
            tau: 1.0,
            information: PRIOR,
        }
    }
}

impl Sharpness {
    /// Probabilities for log odds, of which those from `one` on repeat the one before and add
    /// nothing to the sum.
    pub fn probabilities(&self, logits: &[f64], one: usize, p: &mut Vec<f64>) {
        let top = logits.iter().copied().fold(f64::MIN, f64::max);
        p.extend(logits.iter().map(|l| (self.tau * (l - top)).exp()));
        let total: f64 = p[..one].iter().sum();
        p.iter_mut().for_each(|p| *p /= total);
    }

    /// Learns that state `seen` came, with a memory of `memory` rows.
    pub fn observe(&mut self, logits: &[f64], p: &[f64], seen: usize, memory: f64) {
        let (Some(&l), true) = (logits.get(seen), p.len() == logits.len()) else {
            return;
        };
        let total: f64 = p.iter().sum();
        let mean = |f: &dyn Fn(f64) -> f64| -> f64 {
            let terms = logits.iter().zip(p).map(|(&l, p)| p * f(l));
            terms.sum::<f64>() / total
        };
        let centre = mean(&|l| l);
        let variance = mean(&|l| (l - centre).powi(2));
        self.information = (self.information * (1.0 - 1.0 / memory)).max(PRIOR) + variance;
        let step = ((l - centre) / self.information).clamp(-FURTHEST, FURTHEST);
        self.tau = (self.tau + step).clamp(LOWEST, HIGHEST);
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64;

    use super::*;

    #[test]
    fn it_finds_how_sure_the_odds_may_be() {
        let mut rng = Pcg64::seed_from_u64(1);
        for truth in [0.5, 1.0, 2.0] {
            let mut sharpness = Sharpness::default();
            for _ in 0..20_000 {
                let logits: Vec<f64> = (0..3).map(|_| 4.0 * rng.random::<f64>() - 2.0).collect();
                let (mut p, mut right) = (Vec::new(), Vec::new());
                sharpness.probabilities(&logits, 3, &mut p);
                let true_law = Sharpness {
                    tau: truth,
                    ..Sharpness::default()
                };
                true_law.probabilities(&logits, 3, &mut right);
                let mut u: f64 = rng.random();
                let seen = right.iter().position(|p| {
                    u -= p;
                    u < 0.0
                });
                sharpness.observe(&logits, &p, seen.unwrap_or(2), 2000.0);
            }
            assert!(
                (sharpness.tau / truth - 1.0).abs() < 0.15,
                "{sharpness:?} for {truth}"
            );
        }
    }

    #[test]
    fn states_that_only_repeat_the_new_one_add_nothing() {
        let mut p = Vec::new();
        Sharpness::default().probabilities(&[1.0, 1.0, -1.0, -1.0, -1.0], 3, &mut p);
        assert!((p[..3].iter().sum::<f64>() - 1.0).abs() < 1e-12);
        assert_eq!(p[2], p[4]);
    }
}
