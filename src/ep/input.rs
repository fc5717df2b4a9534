//! The weights of the inputs: to the first hidden layer and, by direct synapses, to the outputs.
//!
//! Input-major: the row of one input holds its hidden weights, then its direct weights, each part
//! padded to whole lanes. An active input touches two runs of memory (means, variances), a silent
//! one touches nothing, not even to forget: a row remembers when it was last decayed.

use serde::{Deserialize, Serialize};

use super::kernel::{self, LANES, Power, padded};
use super::report::LayerSummary;
use super::spec::{NetworkDraft, Prior};
use crate::num::counter;

/// Rows catch up with forgetting when they are this many steps behind.
pub(super) const DECAY_BLOCK: f64 = 8.0;

/// Weights of all inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct InputLayer {
    rows: usize,
    /// First hidden layer's width, padded; the direct weights start here.
    direct_at: usize,
    stride: usize,
    mean: Vec<f32>,
    variance: Vec<f32>,
    /// Step of each row's last decay.
    decayed_at: Vec<f64>,
    key: u32,
    /// Per lane: sd of the prior means, precision of the prior; 0 in the padding.
    prior: (Vec<f32>, Vec<f32>),
    hidden: usize,
    direct: usize,
    direct_prior: Prior,
}

impl InputLayer {
    /// All weights at their prior.
    pub(super) fn new(spec: &NetworkDraft) -> InputLayer {
        let hidden = spec.hidden.first().copied().unwrap_or(0);
        let direct_at = padded(hidden);
        let mut layer = InputLayer {
            rows: 0,
            direct_at,
            stride: direct_at,
            mean: Vec::new(),
            variance: Vec::new(),
            decayed_at: Vec::new(),
            key: counter::key(spec.seed, 0),
            prior: (vec![0.0; direct_at], vec![0.0; direct_at]),
            hidden,
            direct: 0,
            direct_prior: spec.priors.direct,
        };
        layer.set_prior(0..hidden, spec.priors.layers[0]);
        if spec.direct {
            layer.add_direct(spec.outputs);
        }
        layer.add_rows(spec.inputs, 0.0);
        layer
    }

    fn set_prior(&mut self, lanes: std::ops::Range<usize>, prior: Prior) {
        for i in lanes {
            self.prior.0[i] = prior.mean_scale * prior.variance.sqrt();
            self.prior.1[i] = 1.0 / prior.variance;
        }
    }

    /// The prior of lane `i` in row `j`: (mean, variance); (0, 0) in the padding.
    fn at_prior(&self, j: usize, i: usize) -> (f32, f32) {
        let precision = self.prior.1[i];
        if precision == 0.0 {
            return (0.0, 0.0);
        }
        let draw = counter::bell(counter::row_key(self.key, j as u32), i as u32);
        (self.prior.0[i] * draw, 1.0 / precision)
    }

    /// Appends inputs at the prior, their forgetting up to date at step `now`.
    pub(super) fn add_rows(&mut self, n: usize, now: f64) {
        for j in self.rows..self.rows + n {
            for i in 0..self.stride {
                let (m, s) = self.at_prior(j, i);
                self.mean.push(m);
                self.variance.push(s);
            }
        }
        self.rows += n;
        self.decayed_at.resize(self.rows, now);
    }

    /// Appends direct synapses to `n` more outputs, at the prior.
    pub(super) fn add_direct(&mut self, n: usize) {
        let (old, old_end) = (self.stride, self.direct_at + self.direct);
        self.direct += n;
        self.stride = self.direct_at + padded(self.direct);
        self.prior.0.resize(self.stride, 0.0);
        self.prior.1.resize(self.stride, 0.0);
        self.set_prior(old_end..old_end + n, self.direct_prior);
        let (mean, variance) = (
            std::mem::take(&mut self.mean),
            std::mem::take(&mut self.variance),
        );
        for j in 0..self.rows {
            self.mean.extend(&mean[j * old..j * old + old_end]);
            self.variance.extend(&variance[j * old..j * old + old_end]);
            for i in old_end..self.stride {
                let (m, s) = self.at_prior(j, i);
                self.mean.push(m);
                self.variance.push(s);
            }
        }
    }

    /// Lanes of one row.
    pub(super) fn stride(&self) -> usize {
        self.stride
    }

    /// Number of inputs.
    pub(super) fn rows(&self) -> usize {
        self.rows
    }

    /// First lane of the direct weights.
    pub(super) fn direct_at(&self) -> usize {
        self.direct_at
    }

    /// Lets the active rows catch up with forgetting; `ln_keep` is the log of what one step keeps.
    pub(super) fn catch_up(&mut self, index: &[u32], now: f64, ln_keep: f64) {
        for &j in index {
            let j = j as usize;
            let behind = now - self.decayed_at[j];
            if behind >= DECAY_BLOCK {
                self.decayed_at[j] = now;
                self.decay_row(j, libm::exp(ln_keep * behind) as f32);
            }
        }
    }

    fn decay_row(&mut self, j: usize, keep: f32) {
        let run = j * self.stride..(j + 1) * self.stride;
        kernel::decay(
            (&mut self.mean[run.clone()], &mut self.variance[run]),
            (&self.prior.0, &self.prior.1),
            counter::row_key(self.key, j as u32),
            keep,
        );
    }

    /// Moves all weights towards the prior.
    pub(super) fn forget(&mut self, keep: f32) {
        for j in 0..self.rows {
            self.decay_row(j, keep);
        }
    }

    /// Moments of the inputs of the first hidden layer and, from `direct_at`, of the outputs.
    pub(super) fn sums(&self, x: (&[u32], &[f32]), omega: &mut [f32], v: &mut [f32]) {
        kernel::input_sums(x, (&self.mean, &self.variance), self.stride, (omega, v));
    }

    /// Moves the weights of the active inputs. Clips negative Gamma; returns how many precisions
    /// were clipped.
    pub(super) fn learn(
        &mut self,
        x: (&[u32], &[f32]),
        g: &[f32],
        gamma: &mut [f32],
        power: Power,
    ) -> u64 {
        let mut negative = 0;
        for value in gamma.iter_mut().filter(|value| **value < 0.0) {
            *value = 0.0;
            negative += 1;
        }
        let weights = (&mut self.mean[..], &mut self.variance[..]);
        negative * x.0.len() as u64 + kernel::input_learn(x, weights, (g, gamma), power)
    }

    /// Hidden weights seen from outside.
    pub(super) fn hidden_summary(&self) -> LayerSummary {
        self.summary(0..self.hidden)
    }

    /// Direct weights seen from outside.
    pub(super) fn direct_summary(&self) -> LayerSummary {
        self.summary(self.direct_at..self.direct_at + self.direct)
    }

    fn summary(&self, lanes: std::ops::Range<usize>) -> LayerSummary {
        LayerSummary::of(
            self.variance
                .chunks_exact(self.stride.max(LANES))
                .flat_map(|row| lanes.clone().map(|i| row[i] * self.prior.1[i])),
        )
    }

    /// Mean and variance of the weight from input `j` to lane `i`.
    pub(super) fn weight(&self, j: usize, i: usize) -> (f32, f32) {
        let at = j * self.stride + i;
        (self.mean[at], self.variance[at])
    }
}
