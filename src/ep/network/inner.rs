//! Inner sweeps of the output layer: what one output says of a spike reaches the factors of the
//! others before any weight moves.
//!
//! With a_j the spike probability from below and rho_kj the message of output k, the factor of
//! output k sees sigma(logit a_j + sum over the other outputs of rho_kj). Messages start at 0 and
//! are damped from the second sweep on.

use super::Network;
use crate::ep::dense::OutputEvidence;
use crate::ep::factor::hidden::MAX_RHO;

/// Share of the new message from the second sweep on.
const DAMPING: f32 = 0.5;

/// The messages that the outputs received, given their means and variances.
type Factors<'a> = dyn Fn(&[f32], &[f32]) -> Vec<OutputEvidence> + 'a;

/// One output's view of the spikes below it, and what it has seen under it.
pub(super) struct View {
    pub a: Vec<f32>,
    pub seen: OutputEvidence,
}

impl Network {
    /// How often messages go between the output layer and the spikes below it in one visit, 1 and
    /// more; 1 without a call. Not part of what is serialised.
    ///
    /// # Panics
    /// If it is 0.
    pub fn set_inner_sweeps(&mut self, sweeps: u32) {
        assert!(sweeps > 0, "inner sweeps: {sweeps}");
        self.inner = sweeps - 1;
    }

    /// Every output's view after all sweeps but the last; `seen` says what the outputs have seen
    /// given their means and variances.
    pub(super) fn views(&self, seen: &Factors<'_>) -> Vec<View> {
        let (Some(layer), Some(units)) = (self.upper.last(), self.scratch.units.last()) else {
            return Vec::new();
        };
        let width = self.spec.hidden.last().copied().unwrap_or(0);
        let mut rho = vec![vec![0.0f32; units.a.len()]; self.outputs];
        let mut views = vec![units.a.clone(); self.outputs];
        for sweep in 0..self.inner {
            for (k, seen) in self.seen_by(&views, seen).into_iter().enumerate() {
                let mut fresh = vec![0.0f32; units.a.len()];
                layer.message(k, &views[k], &mut fresh, seen);
                let share = if sweep == 0 { 1.0 } else { DAMPING };
                for (rho, fresh) in rho[k].iter_mut().zip(fresh) {
                    *rho += share * (fresh - *rho);
                }
            }
            for j in 0..width {
                let total: f32 = rho.iter().map(|rho| rho[j]).sum();
                for (view, rho) in views.iter_mut().zip(&rho) {
                    view[j] = tilted(units.a[j], total - rho[j]);
                }
            }
        }
        let seen = self.seen_by(&views, seen);
        let both = views.into_iter().zip(seen);
        both.map(|(a, seen)| View { a, seen }).collect()
    }

    fn seen_by(&self, views: &[Vec<f32>], seen: &Factors<'_>) -> Vec<OutputEvidence> {
        let s = &self.scratch;
        let at = self.input.direct_at();
        let moments = views.iter().enumerate().map(|(k, a)| {
            let (mut mean, mut variance) = match self.spec.direct {
                true => (s.omega[at + k], s.variance[at + k]),
                false => (0.0, 0.0),
            };
            if let Some(layer) = self.upper.last() {
                let of_unit = layer.sums_of(k, a);
                (mean, variance) = (mean + of_unit.0, variance + of_unit.1);
            }
            (mean, variance)
        });
        let (means, variances): (Vec<f32>, Vec<f32>) = moments.unzip();
        seen(&means, &variances)
    }
}

/// A spike probability after a log-odds message.
fn tilted(a: f32, rho: f32) -> f32 {
    let r = rho.max(-MAX_RHO).min(MAX_RHO);
    a / (1.0 - a).mul_add((-r).exp(), a)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ep::{Input, NetworkDraft, Prior};
    use crate::num::counter;

    const SPIKES: usize = 8;
    const OUTPUTS: usize = 8;
    const NOISE: f64 = 0.1;
    const X: Input<'_> = Input {
        index: &[0, 1],
        value: &[0.7, 1.0],
    };

    fn network(seed: u64, inner: u32) -> Network {
        let mut draft = NetworkDraft::regression(2, &[SPIKES], OUTPUTS);
        draft.seed = seed;
        draft.priors.layers[1] = Prior {
            variance: 0.1,
            mean_scale: 2.0,
        };
        let mut network = Network::new(&draft.build().unwrap());
        network.set_inner_sweeps(inner);
        network
    }

    /// Means and variances of the output weights: one row an output, the bias last.
    fn weights(network: &mut Network) -> Vec<Vec<(f64, f64)>> {
        let mut runs = Vec::new();
        network.upper[0].visit(&mut |m, s, _| {
            let pairs = m.iter().zip(s.iter());
            runs.push(
                pairs
                    .map(|(m, s)| (f64::from(*m), f64::from(*s)))
                    .collect::<Vec<_>>(),
            );
        });
        let row = |k: usize| {
            let spikes = runs[0][k * SPIKES..(k + 1) * SPIKES].iter();
            spikes.chain([&runs[1][k]]).copied().collect()
        };
        (0..OUTPUTS).map(row).collect()
    }

    /// Largest distance of a weight's mean from its exact posterior mean, in standard deviations,
    /// by enumeration of all spike patterns.
    fn error(seed: u64, inner: u32) -> f64 {
        let mut network = network(seed, inner);
        let y: Vec<f32> = (0..OUTPUTS as u32)
            .map(|k| 1.5 * counter::bell(seed as u32, k))
            .collect();
        network.predict(X);
        let a: Vec<f64> = network.scratch.units[0].a[..SPIKES]
            .iter()
            .map(|a| f64::from(*a))
            .collect();
        let before = weights(&mut network);
        let (mut total, mut exact) = (0.0, vec![vec![0.0; SPIKES + 1]; OUTPUTS]);
        for pattern in 0..1u32 << SPIKES {
            let on = |j: usize| j == SPIKES || pattern >> j & 1 == 1;
            let mut p: f64 = (0..SPIKES)
                .map(|j| if on(j) { a[j] } else { 1.0 - a[j] })
                .product();
            let mut steps = Vec::new();
            for (row, y) in before.iter().zip(&y) {
                let active = || (0..=SPIKES).filter(|j| on(*j));
                let mean: f64 = active().map(|j| row[j].0).sum();
                let total = active().map(|j| row[j].1).sum::<f64>() + NOISE;
                let error = f64::from(*y) - mean;
                p *= (-0.5 * error * error / total).exp() / total.sqrt();
                steps.push(error / total);
            }
            total += p;
            for (k, row) in exact.iter_mut().enumerate() {
                for (j, mean) in row.iter_mut().enumerate() {
                    let step = if on(j) {
                        before[k][j].1 * steps[k]
                    } else {
                        0.0
                    };
                    *mean += p * (before[k][j].0 + step);
                }
            }
        }
        network.learn(X, &y, &[NOISE as f32; OUTPUTS], 1.0);
        let after = weights(&mut network);
        let mut worst = 0.0f64;
        for (exact, after) in exact.iter().zip(&after) {
            for (exact, (m, s)) in exact.iter().zip(after) {
                worst = worst.max((exact / total - m).abs() / s.sqrt());
            }
        }
        worst
    }

    #[test]
    fn inner_sweeps_come_nearer_to_enumeration() {
        let mean = |inner| (1..=10).map(|seed| error(seed, inner)).sum::<f64>() / 10.0;
        let (one, two, five) = (mean(1), mean(2), mean(5));
        assert!(two < 0.8 * one && five < 0.6 * one, "{one} {two} {five}");
    }

    #[test]
    fn one_output_hears_no_other() {
        let of = |inner| {
            let mut draft = NetworkDraft::classification(2, &[SPIKES], 1);
            draft.seed = 3;
            let mut network = Network::new(&draft.build().unwrap());
            network.set_inner_sweeps(inner);
            network.learn_answers(X, &[1.0], 1.0);
            let seen = network.predict(X);
            (seen.mean[0], seen.variance[0])
        };
        let (one, three) = (of(1), of(3));
        assert!((one.0 - three.0).abs() < 1e-5 && (one.1 - three.1).abs() < 1e-4);
    }
}
