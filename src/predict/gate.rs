//! Weighs experts by their evidence: a Bayesian mixture with a fixed share (Herbster and Warmuth,
//! Machine Learning 32, 1998), for one channel.
//!
//! Each row multiplies an expert's weight by the density that it gave the value; a small share then
//! moves evenly to all, so that an expert which was bad for long can come back within a few rows. The
//! log density of the mixture is at most ln(K / alpha) below that of any expert each time the best
//! one changes, and no worse in between than that expert by -ln(1 - alpha) a row.

use serde::{Deserialize, Serialize};

/// Share of the weight that is spread evenly over all experts after each row.
const FIXED_SHARE: f64 = 0.005;
/// Values that the mean weight and the gain remember.
const MEMORY: f64 = 3_000.0;
/// Smallest density that counts, against a weight that could never recover.
const LEAST_DENSITY: f64 = 1e-280;

/// The weights of the experts of one channel, and those of the same gate without each one of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Gate {
    weights: Vec<f64>,
    /// Row e: weights of the gate that does without expert e.
    without: Vec<f64>,
    values: f64,
    share: Vec<f64>,
    gain: Vec<f64>,
}

impl Gate {
    /// A gate over `n` experts, each as likely as any other.
    pub fn new(n: usize) -> Gate {
        let mut gate = Gate {
            weights: vec![1.0 / n as f64; n],
            share: vec![0.0; n],
            gain: vec![0.0; n],
            ..Gate::default()
        };
        gate.start_without();
        gate
    }

    fn start_without(&mut self) {
        let n = self.weights.len();
        self.without.clear();
        for left_out in 0..n {
            let others = 1.0 - self.weights[left_out];
            let weight = |e: usize| {
                if e == left_out || others <= 0.0 {
                    0.0
                } else {
                    self.weights[e] / others
                }
            };
            let row: Vec<f64> = (0..n).map(weight).collect();
            self.without.extend(row);
        }
    }

    /// Weights of the experts; they sum to 1.
    pub fn weights(&self) -> &[f64] {
        &self.weights
    }

    /// Mean weight of each expert over the last values.
    pub fn share(&self) -> &[f64] {
        &self.share
    }

    /// Mean over the last values of the log density with each expert less that without it, nats.
    pub fn gain(&self) -> &[f64] {
        &self.gain
    }

    /// Values learned from.
    pub fn values(&self) -> f64 {
        self.values
    }

    /// Learns from the density that each expert gave the value. `rest`: the density of what is mixed
    /// beside the experts, `part`: the weight of all experts together in that mixture.
    pub fn observe(&mut self, densities: &[f64], rest: f64, part: f64) {
        let n = self.weights.len();
        let of = |e: usize| densities[e].max(LEAST_DENSITY);
        self.values += 1.0;
        let rate = (1.0 / self.values).max(1.0 / MEMORY);
        let mixed: f64 = (0..n).map(|e| self.weights[e] * of(e)).sum();
        let whole = part * mixed + rest;
        for left_out in 0..n {
            let row = &mut self.without[left_out * n..][..n];
            let mixed: f64 = (0..n).map(|e| row[e] * of(e)).sum();
            let ratio = whole / (part * mixed + rest).max(LEAST_DENSITY);
            self.gain[left_out] += rate * (libm::log(ratio) - self.gain[left_out]);
            self.share[left_out] += rate * (self.weights[left_out] - self.share[left_out]);
            let others = n.saturating_sub(1).max(1) as f64;
            for (e, weight) in row.iter_mut().enumerate().filter(|(e, _)| *e != left_out) {
                let posterior = *weight * of(e) / mixed.max(LEAST_DENSITY);
                *weight = (1.0 - FIXED_SHARE) * posterior + FIXED_SHARE / others;
            }
        }
        for (e, weight) in self.weights.iter_mut().enumerate() {
            let posterior = *weight * of(e) / mixed;
            *weight = (1.0 - FIXED_SHARE) * posterior + FIXED_SHARE / n as f64;
        }
    }

    /// Leaves out expert `e` from now on.
    pub fn remove(&mut self, e: usize) {
        self.weights.remove(e);
        self.share.remove(e);
        self.gain.remove(e);
        let sum: f64 = self.weights.iter().sum();
        self.weights.iter_mut().for_each(|w| *w /= sum);
        self.start_without();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_bayes_rule_with_a_fixed_share() {
        let mut gate = Gate::new(2);
        gate.observe(&[0.6, 0.2], 0.0, 1.0);
        let posterior = 0.6 / 0.8;
        let wanted = (1.0 - FIXED_SHARE) * posterior + FIXED_SHARE / 2.0;
        assert!((gate.weights()[0] - wanted).abs() < 1e-12);
        assert!((gate.weights().iter().sum::<f64>() - 1.0).abs() < 1e-12);
    }

    #[test]
    fn an_expert_that_turns_out_right_takes_over_within_a_few_rows() {
        let mut gate = Gate::new(3);
        (0..10_000).for_each(|_| gate.observe(&[1.0, 0.5, 0.5], 0.0, 1.0));
        assert!(gate.weights()[0] > 0.98);
        (0..10).for_each(|_| gate.observe(&[0.1, 0.1, 1.0], 0.0, 1.0));
        assert!(gate.weights()[2] > 0.9, "{:?}", gate.weights());
    }

    #[test]
    fn it_is_never_worse_than_an_expert_by_more_than_its_bound() {
        let mut gate = Gate::new(4);
        let (mut mixed, mut best) = (0.0, 0.0);
        for t in 0..5000 {
            let densities = [1e-30, 0.3 + 0.2 * f64::from(t % 2), 1e-3, 1e-200];
            let weighed = gate.weights().iter().zip(densities);
            mixed += weighed.map(|(w, p)| w * p).sum::<f64>().ln();
            best += densities[1].ln();
            gate.observe(&densities, 0.0, 1.0);
        }
        let bound = 4f64.ln() - 5000.0 * (1.0 - FIXED_SHARE).ln();
        assert!(best - mixed <= bound, "{best} {mixed} {bound}");
    }

    #[test]
    fn a_copy_gains_nothing_and_the_only_good_one_gains_all() {
        let mut gate = Gate::new(3);
        (0..2000).for_each(|_| gate.observe(&[0.5, 0.5, 0.1], 0.0, 1.0));
        assert!(gate.gain()[0].abs() < 0.01 && gate.gain()[2].abs() < 0.02);
        let mut gate = Gate::new(2);
        (0..2000).for_each(|_| gate.observe(&[0.5, 0.1], 0.0, 1.0));
        assert!((gate.gain()[0] - 5f64.ln()).abs() < 0.05);
        assert!(gate.share()[0] > 0.9);
    }

    #[test]
    fn an_expert_that_is_left_out_leaves_its_weight_to_the_others() {
        let mut gate = Gate::new(3);
        (0..20).for_each(|_| gate.observe(&[0.5, 0.4, 0.1], 0.0, 1.0));
        gate.remove(1);
        assert_eq!(gate.weights().len(), 2);
        assert!((gate.weights().iter().sum::<f64>() - 1.0).abs() < 1e-12);
        gate.observe(&[1.0, 1.0], 0.0, 1.0);
    }
}
