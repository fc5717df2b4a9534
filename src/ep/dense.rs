//! The weights of one layer above a hidden layer: unit-major, one padded row a unit, with the
//! unit's bias apart.

use serde::{Deserialize, Serialize};

use super::factor::gaussian::GaussianObservation;
use super::family::{AnyRule, Family, Visitor};
use super::few::{self, Below, Factor};
use super::input::DECAY_BLOCK;
use super::kernel::{self, WeightRow, padded};
use super::report::LayerSummary;
use super::runs::{MomentRun, MomentRunMut, UnitInput, UnitMessage};
use super::spec::Prior;
use crate::num::counter;

/// The messages that an output received.
#[derive(Clone, Copy, Debug)]
pub(super) enum OutputEvidence {
    /// A real number with Gaussian noise.
    Gaussian(GaussianObservation),
    /// Anything else: g and Gamma.
    Linear(f32, f32),
    /// Nothing.
    Nothing,
}

/// Beliefs about a run of weights: moments, and sites where the family has any (else empty).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Beliefs {
    mean: Vec<f32>,
    variance: Vec<f32>,
    h: Vec<f32>,
    p: Vec<f32>,
}

impl Beliefs {
    fn push_prior(&mut self, rule: AnyRule, sites: bool, draw: f32) {
        let prior = rule.prior(draw);
        self.mean.push(prior.mean);
        self.variance.push(prior.variance);
        if sites {
            self.h.push(prior.site);
            self.p.push(0.0);
        }
    }

    fn cells(&mut self, run: std::ops::Range<usize>) -> WeightRow<'_> {
        let (h, p) = if self.h.is_empty() {
            Default::default()
        } else {
            (&mut self.h[run.clone()], &mut self.p[run.clone()])
        };
        WeightRow {
            mean: &mut self.mean[run.clone()],
            variance: &mut self.variance[run],
            h,
            p,
        }
    }
}

/// Moves weight `at` alone. Returns 1 if it was clipped.
fn step_one(weights: &mut Beliefs, at: usize, rule: AnyRule, message: UnitMessage) -> u64 {
    let (mut none, mut nothing) = (0.0, 0.0);
    let (h, p) = match (weights.h.get_mut(at), weights.p.get_mut(at)) {
        (Some(h), Some(p)) => (h, p),
        _ => (&mut none, &mut nothing),
    };
    let weight = [&mut weights.mean[at], &mut weights.variance[at], h, p];
    rule.step_one(weight, message.g, message.gamma)
}

/// Weights of one layer above a hidden layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct DenseLayer {
    /// Width of the layer below, and the same padded: the length of a row.
    width: usize,
    stride: usize,
    units: usize,
    weights: Beliefs,
    /// One bias a unit and padding; `None` where the layer has none.
    bias: Option<Beliefs>,
    decayed_at: f64,
    key: u32,
    bias_key: u32,
    family: Family,
    rule: AnyRule,
}

/// Settings of a layer to be made.
pub(super) struct DenseDraft {
    /// Width of the layer below.
    pub width: usize,
    pub units: usize,
    pub family: Family,
    pub prior: Prior,
    /// Likelihood power.
    pub power: f32,
    /// Whether each unit has a bias.
    pub bias: bool,
    pub seed: u64,
    /// Numbers the layer for the seed.
    pub table: u32,
}

impl DenseLayer {
    /// A layer at its prior.
    pub(super) fn new(draft: &DenseDraft) -> DenseLayer {
        let &DenseDraft {
            width,
            units,
            family,
            prior,
            power,
            bias,
            seed,
            table,
        } = draft;
        let mut layer = DenseLayer {
            width,
            stride: padded(width),
            units: 0,
            weights: Beliefs::default(),
            bias: bias.then(Beliefs::default),
            decayed_at: 0.0,
            key: counter::key(seed, 2 * table),
            bias_key: counter::row_key(counter::key(seed, 2 * table + 1), 0),
            family,
            rule: AnyRule::new(family, power, prior.variance, prior.mean_scale),
        };
        layer.add_units(units);
        layer
    }

    /// Appends units at the prior.
    pub(super) fn add_units(&mut self, n: usize) {
        let sites = self.family.has_sites();
        for k in self.units..self.units + n {
            let key = counter::row_key(self.key, k as u32);
            for j in 0..self.stride {
                let draw = counter::bell(key, j as u32);
                self.weights.push_prior(self.rule, sites, draw);
            }
        }
        if let Some(bias) = &mut self.bias {
            for column in [&mut bias.mean, &mut bias.variance, &mut bias.h, &mut bias.p] {
                column.truncate(self.units);
            }
            for k in self.units..padded(self.units + n) {
                bias.push_prior(self.rule, sites, counter::bell(self.bias_key, k as u32));
            }
        }
        self.units += n;
    }

    /// Forgets towards a prior of mean 0 from now on.
    pub(super) fn centre_prior(&mut self) {
        self.rule.centre_prior();
    }

    /// Changes the likelihood power.
    pub(super) fn set_power(&mut self, power: f32) {
        self.rule.set_power(power);
    }

    /// Forgets when the layer is far enough behind step `now`.
    pub(super) fn catch_up(&mut self, now: f64, ln_keep: f64) {
        let behind = now - self.decayed_at;
        if behind >= DECAY_BLOCK {
            self.decayed_at = now;
            self.forget(libm::exp(ln_keep * behind) as f32);
        }
    }

    /// Catches up, however little the layer is behind.
    pub(super) fn settle(&mut self, now: f64, ln_keep: f64) {
        let behind = now - self.decayed_at;
        self.decayed_at = now;
        if ln_keep != 0.0 && behind > 0.0 {
            self.forget(libm::exp(ln_keep * behind) as f32);
        }
    }

    /// Has biases of its own.
    pub(super) fn has_bias(&self) -> bool {
        self.bias.is_some()
    }

    /// Over so few spikes that their patterns are enumerated.
    pub(super) fn is_few(&self) -> bool {
        self.width <= few::MOST
    }

    /// Number of weights and biases, padding included.
    pub(super) fn size(&self) -> usize {
        self.weights.mean.len() + self.bias.as_ref().map_or(0, |bias| bias.mean.len())
    }

    /// Walks over the weights, then the biases.
    pub(super) fn visit(&mut self, f: &mut Visitor<'_>) {
        let floor = self.rule.prior_precision();
        f(&mut self.weights.mean, &mut self.weights.variance, floor);
        if let Some(bias) = &mut self.bias {
            f(&mut bias.mean, &mut bias.variance, floor);
        }
    }

    /// Moves all weights towards the prior.
    pub(super) fn forget(&mut self, keep: f32) {
        for k in 0..self.units {
            let key = counter::row_key(self.key, k as u32);
            let row = self.weights.cells(k * self.stride..(k + 1) * self.stride);
            kernel::decay(row, key, keep, self.rule);
        }
        if let Some(bias) = &mut self.bias {
            let all = bias.cells(0..padded(self.units));
            kernel::decay(all, self.bias_key, keep, self.rule);
        }
    }

    /// Adds the moments of each unit's input to `omega` and `v` (one entry a unit and more).
    pub(super) fn sums(&self, a: &[f32], omega: &mut [f32], v: &mut [f32]) {
        if let Some(bias) = &self.bias {
            for k in 0..self.units {
                omega[k] += bias.mean[k];
                v[k] += bias.variance[k];
            }
        }
        let weights = MomentRun {
            mean: &self.weights.mean,
            variance: &self.weights.variance,
        };
        let sums = MomentRunMut {
            mean: omega,
            variance: v,
        };
        kernel::dense_sums(a, weights, sums);
    }

    /// Moments of the input of unit `k` alone.
    pub(super) fn sums_of(&self, k: usize, a: &[f32]) -> (f32, f32) {
        let row = k * self.stride..(k + 1) * self.stride;
        let (mut omega, mut v) = ([0.0], [0.0]);
        if let Some(bias) = &self.bias {
            (omega, v) = ([bias.mean[k]], [bias.variance[k]]);
        }
        let weights = MomentRun {
            mean: &self.weights.mean[row.clone()],
            variance: &self.weights.variance[row],
        };
        let sums = MomentRunMut {
            mean: &mut omega,
            variance: &mut v,
        };
        kernel::dense_sums(a, weights, sums);
        (omega[0], v[0])
    }

    /// Adds the messages of unit `k` to the spikes to `rho`; no weight moves.
    pub(super) fn message(&self, k: usize, a: &[f32], rho: &mut [f32], seen: OutputEvidence) {
        let run = |column: &[f32]| match column.is_empty() {
            true => Vec::new(),
            false => column[k * self.stride..(k + 1) * self.stride].to_vec(),
        };
        let mut row = Beliefs {
            mean: run(&self.weights.mean),
            variance: run(&self.weights.variance),
            h: run(&self.weights.h),
            p: run(&self.weights.p),
        };
        let row = row.cells(0..self.stride);
        match seen {
            OutputEvidence::Gaussian(seen) => kernel::dense_gaussian(a, row, rho, seen, self.rule),
            OutputEvidence::Linear(g, gamma) => {
                kernel::dense_linear(a, row, rho, UnitMessage { g, gamma }, self.rule)
            }
            OutputEvidence::Nothing => 0,
        };
    }

    /// Learns a Gaussian observation of unit `k`; adds the messages to the spikes to `rho`.
    /// Returns how many precisions were clipped.
    pub(super) fn learn_gaussian(
        &mut self,
        k: usize,
        a: &[f32],
        rho: &mut [f32],
        seen: GaussianObservation,
    ) -> u64 {
        let total = seen.variance + seen.noise;
        let message = UnitMessage {
            g: seen.error / total,
            gamma: 1.0 / total,
        };
        let clipped = self.learn_bias(k, message);
        let row = self.weights.cells(k * self.stride..(k + 1) * self.stride);
        clipped + kernel::dense_gaussian(a, row, rho, seen, self.rule)
    }

    /// The same under a factor known by its g and Gamma.
    pub(super) fn learn_linear(
        &mut self,
        k: usize,
        a: &[f32],
        rho: &mut [f32],
        message: UnitMessage,
    ) -> u64 {
        let clipped = self.learn_bias(k, message);
        let row = self.weights.cells(k * self.stride..(k + 1) * self.stride);
        clipped + kernel::dense_linear(a, row, rho, message, self.rule)
    }

    /// The same of a unit over few spikes (see [`few`]), its input of mean `omega` and variance `v`.
    pub(super) fn learn_few(
        &mut self,
        k: usize,
        a: &[f32],
        rho: &mut [f32],
        input: UnitInput,
        factor: Factor,
    ) -> u64 {
        let row = k * self.stride..k * self.stride + self.width;
        let below = Below {
            a: &a[..self.width],
            mean: &self.weights.mean[row.clone()],
            variance: &self.weights.variance[row.clone()],
            omega: input.mean,
            v: input.variance,
        };
        let messages = few::messages(below, factor);
        let (g, gamma) = messages.rest;
        let mut clipped = self.learn_bias(k, UnitMessage { g, gamma });
        for (j, at) in row.enumerate() {
            rho[j] += messages.rho[j];
            let (g, gamma) = messages.weight[j];
            clipped += step_one(&mut self.weights, at, self.rule, UnitMessage { g, gamma });
        }
        clipped
    }

    fn learn_bias(&mut self, k: usize, message: UnitMessage) -> u64 {
        let Some(bias) = &mut self.bias else {
            return 0;
        };
        step_one(bias, k, self.rule, message)
    }

    /// Seen from outside; biases included.
    pub(super) fn summary(&self) -> LayerSummary {
        let relative = |variance: f32, key: u32, i: usize| {
            variance / self.rule.prior(counter::bell(key, i as u32)).variance
        };
        let weights = (0..self.units).flat_map(|k| {
            let key = counter::row_key(self.key, k as u32);
            let row = &self.weights.variance[k * self.stride..][..self.width];
            row.iter()
                .enumerate()
                .map(move |(j, s)| relative(*s, key, j))
        });
        let biases = self.bias.iter().flat_map(|bias| {
            let variance = bias.variance[..self.units].iter().enumerate();
            variance.map(|(k, s)| relative(*s, self.bias_key, k))
        });
        LayerSummary::of(weights.chain(biases))
    }
}
