//! The weights of one layer above a hidden layer: unit-major, one padded row a unit, with the
//! unit's bias apart.

use serde::{Deserialize, Serialize};

use super::input::DECAY_BLOCK;
use super::kernel::{self, Observed, Power, padded};
use super::report::LayerSummary;
use super::spec::Prior;
use crate::num::counter;

/// Weights of one layer above a hidden layer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct DenseLayer {
    /// Width of the layer below, and the same padded: the length of a row.
    width: usize,
    stride: usize,
    units: usize,
    mean: Vec<f32>,
    variance: Vec<f32>,
    /// One bias a unit, (0, 0) for all where the layer has none; length padded.
    bias: Option<(Vec<f32>, Vec<f32>)>,
    decayed_at: f64,
    key: u32,
    bias_key: u32,
    prior: Prior,
    /// Per lane: sd of the prior means, precision of the prior; 0 in the padding.
    lanes: (Vec<f32>, Vec<f32>),
    bias_lanes: (Vec<f32>, Vec<f32>),
}

impl DenseLayer {
    /// `units` units over `width` below, at the prior. `table` numbers the layer for the seed.
    pub(super) fn new(
        (width, units): (usize, usize),
        prior: Prior,
        bias: bool,
        (seed, table): (u64, u32),
    ) -> DenseLayer {
        let stride = padded(width);
        let mut layer = DenseLayer {
            width,
            stride,
            units: 0,
            mean: Vec::new(),
            variance: Vec::new(),
            bias: bias.then(|| (Vec::new(), Vec::new())),
            decayed_at: 0.0,
            key: counter::key(seed, 2 * table),
            bias_key: counter::row_key(counter::key(seed, 2 * table + 1), 0),
            prior,
            lanes: lanes(prior, width),
            bias_lanes: lanes(prior, 0),
        };
        layer.add_units(units);
        layer
    }

    /// Appends units at the prior.
    pub(super) fn add_units(&mut self, n: usize) {
        for k in self.units..self.units + n {
            let key = counter::row_key(self.key, k as u32);
            for j in 0..self.stride {
                let inside = j < self.width;
                let mean = self.lanes.0[j] * counter::bell(key, j as u32);
                self.mean.push(if inside { mean } else { 0.0 });
                self.variance
                    .push(if inside { self.prior.variance } else { 0.0 });
            }
        }
        let old = self.units;
        self.units += n;
        self.bias_lanes = lanes(self.prior, self.units);
        if let Some((mean, variance)) = &mut self.bias {
            mean.resize(padded(self.units), 0.0);
            variance.resize(padded(self.units), 0.0);
            for k in old..self.units {
                mean[k] = self.bias_lanes.0[k] * counter::bell(self.bias_key, k as u32);
                variance[k] = self.prior.variance;
            }
        }
    }

    /// Forgets when the layer is far enough behind step `now`.
    pub(super) fn catch_up(&mut self, now: f64, ln_keep: f64) {
        let behind = now - self.decayed_at;
        if behind >= DECAY_BLOCK {
            self.decayed_at = now;
            self.forget(libm::exp(ln_keep * behind) as f32);
        }
    }

    /// Moves all weights towards the prior.
    pub(super) fn forget(&mut self, keep: f32) {
        let rows = self
            .mean
            .chunks_exact_mut(self.stride)
            .zip(self.variance.chunks_exact_mut(self.stride));
        for (k, row) in rows.enumerate() {
            let key = counter::row_key(self.key, k as u32);
            kernel::decay(row, (&self.lanes.0, &self.lanes.1), key, keep);
        }
        if let Some((mean, variance)) = &mut self.bias {
            let prior = (&self.bias_lanes.0[..], &self.bias_lanes.1[..]);
            kernel::decay((mean, variance), prior, self.bias_key, keep);
        }
    }

    /// Adds the moments of each unit's input to `omega` and `v` (one entry a unit and more).
    pub(super) fn sums(&self, a: &[f32], omega: &mut [f32], v: &mut [f32]) {
        if let Some((mean, variance)) = &self.bias {
            for k in 0..self.units {
                omega[k] += mean[k];
                v[k] += variance[k];
            }
        }
        kernel::dense_sums(a, (&self.mean, &self.variance), (omega, v));
    }

    /// Learns a Gaussian observation of unit `k`; adds the messages to the spikes to `rho`.
    /// Returns how many precisions were clipped.
    pub(super) fn learn_gaussian(
        &mut self,
        k: usize,
        a: &[f32],
        rho: &mut [f32],
        seen: Observed,
        power: Power,
    ) -> u64 {
        let total = seen.variance + seen.noise;
        let clipped = self.learn_bias(k, (seen.error / total, 1.0 / total), power);
        let run = k * self.stride..(k + 1) * self.stride;
        let weights = (&mut self.mean[run.clone()], &mut self.variance[run]);
        clipped + kernel::dense_gaussian(a, weights, rho, seen, power)
    }

    /// The same under a factor known by its g and Gamma.
    pub(super) fn learn_linear(
        &mut self,
        k: usize,
        a: &[f32],
        rho: &mut [f32],
        message: (f32, f32),
        power: Power,
    ) -> u64 {
        let clipped = self.learn_bias(k, message, power);
        let run = k * self.stride..(k + 1) * self.stride;
        let weights = (&mut self.mean[run.clone()], &mut self.variance[run]);
        clipped + kernel::dense_linear(a, weights, rho, message, power)
    }

    fn learn_bias(&mut self, k: usize, (g, gamma): (f32, f32), power: Power) -> u64 {
        let Some((mean, variance)) = &mut self.bias else {
            return 0;
        };
        let (m, s) = (&mut mean[k], &mut variance[k]);
        let mut clipped = 0;
        kernel::step(m, s, g, gamma, power, &mut clipped);
        u64::from(clipped)
    }

    /// Seen from outside; biases included.
    pub(super) fn summary(&self) -> LayerSummary {
        let inside = |row: &[f32]| row[..self.width].to_vec();
        let biases = self
            .bias
            .iter()
            .flat_map(|(_, variance)| &variance[..self.units]);
        LayerSummary::of(
            self.variance
                .chunks_exact(self.stride)
                .flat_map(inside)
                .chain(biases.copied())
                .map(|s| s / self.prior.variance),
        )
    }
}

/// Prior of `n` lanes and their padding: (sd of the means, precision).
fn lanes(prior: Prior, n: usize) -> (Vec<f32>, Vec<f32>) {
    let fill = |value: f32| {
        let mut lanes = vec![value; n];
        lanes.resize(padded(n), 0.0);
        lanes
    };
    (
        fill(prior.mean_scale * prior.variance.sqrt()),
        fill(1.0 / prior.variance),
    )
}
