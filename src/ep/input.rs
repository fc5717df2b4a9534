//! The weights of the inputs: to the first hidden layer and, by direct synapses, to the outputs.
//!
//! Input-major: the row of one input holds its hidden weights, then its direct weights, each part
//! padded to whole lanes. An active input touches two runs of memory (means, variances), a silent
//! one touches nothing, not even to forget: a row remembers when it was last decayed.

use serde::{Deserialize, Serialize};

use super::family::{AnyRule, Family, LANES, Visitor};
use super::kernel::{self, WeightRow, padded};
use super::report::LayerSummary;
use super::runs::{ActiveRun, MessageRun, MomentRun, MomentRunMut};
use super::spec::{NetworkDraft, Prior};
use crate::num::counter;

/// Rows catch up with forgetting when they are this many steps behind.
pub(super) const DECAY_BLOCK: f64 = 8.0;

/// Weights of all inputs. Serialised without its padding, which is made again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Kept", into = "Kept")]
pub(super) struct InputLayer {
    rows: usize,
    /// The hidden part's width, padded; the direct weights start here.
    direct_at: usize,
    stride: usize,
    kept: Kept,
}

/// The stored form of an [`InputLayer`], its direct weights without padding.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Kept {
    /// Widths of the two parts of a row.
    hidden: usize,
    direct: usize,
    mean: Vec<f32>,
    variance: Vec<f32>,
    /// Sites of the hidden part (rows of `direct_at`), for families that need them.
    sites: Option<(Vec<f32>, Vec<f32>)>,
    /// Step of each row's last decay.
    decayed_at: Vec<f64>,
    /// Keys of the prior's draws, and rules, of the two parts.
    keys: (u32, u32),
    rules: (AnyRule, AnyRule),
}

impl From<InputLayer> for Kept {
    fn from(layer: InputLayer) -> Kept {
        let width = layer.direct_at + layer.kept.direct;
        let pack = |lanes: &[f32]| -> Vec<f32> {
            let rows = lanes.chunks_exact(layer.stride.max(1));
            rows.flat_map(|row| &row[..width]).copied().collect()
        };
        Kept {
            mean: pack(&layer.kept.mean),
            variance: pack(&layer.kept.variance),
            ..layer.kept
        }
    }
}

impl TryFrom<Kept> for InputLayer {
    type Error = &'static str;

    fn try_from(kept: Kept) -> Result<InputLayer, &'static str> {
        let rows = kept.decayed_at.len();
        let direct_at = kept.hidden.checked_next_multiple_of(LANES).unwrap_or(0);
        let lanes = |width: usize| width.checked_mul(rows);
        let width = direct_at.checked_add(kept.direct);
        let fits = |column: &Vec<f32>, n: Option<usize>| Some(column.len()) == n;
        let on_grid = lanes(direct_at);
        let grid_fits = |(h, p)| fits(h, on_grid) && fits(p, on_grid);
        let whole = fits(&kept.mean, width.and_then(lanes))
            && fits(&kept.variance, width.and_then(lanes))
            && kept.sites.as_ref().is_none_or(|(h, p)| grid_fits((h, p)));
        if !whole {
            return Err("as many weights as rows and lanes");
        }
        if !matches!(kept.rules.1, AnyRule::Gaussian(_)) {
            return Err("direct weights are Gaussian");
        }
        let mut layer = InputLayer {
            rows,
            direct_at,
            stride: direct_at + kept.direct,
            kept,
        };
        layer.widen(layer.stride, direct_at + padded(layer.kept.direct));
        Ok(layer)
    }
}

impl InputLayer {
    /// All weights at their prior.
    pub(super) fn new(spec: &NetworkDraft) -> InputLayer {
        let hidden = spec.hidden.first().copied().unwrap_or(0);
        let family = if hidden == 0 {
            Family::Gaussian
        } else {
            spec.families[0]
        };
        let direct_at = padded(hidden);
        let rule = |family, power, prior: Prior| {
            AnyRule::new(family, power, prior.variance, prior.mean_scale)
        };
        let direct = if spec.direct { spec.outputs } else { 0 };
        let mut layer = InputLayer {
            rows: 0,
            direct_at,
            stride: direct_at + padded(direct),
            kept: Kept {
                hidden,
                direct,
                mean: Vec::new(),
                variance: Vec::new(),
                sites: family.has_sites().then(Default::default),
                decayed_at: Vec::new(),
                keys: (counter::key(spec.seed, 0), counter::key(spec.seed, 1)),
                rules: (
                    rule(family, spec.power_of(family), spec.priors.layers[0]),
                    rule(Family::Gaussian, spec.power, spec.priors.direct),
                ),
            },
        };
        layer.add_rows(spec.inputs, 0.0);
        layer
    }

    /// Appends inputs at the prior, their forgetting up to date at step `now`.
    pub(super) fn add_rows(&mut self, n: usize, now: f64) {
        // No more than is needed: thousands of streams have such a table.
        self.kept.mean.reserve_exact(n * self.stride);
        self.kept.variance.reserve_exact(n * self.stride);
        for j in self.rows..self.rows + n {
            let key = counter::row_key(self.kept.keys.0, j as u32);
            for i in 0..self.direct_at {
                let prior = self.kept.rules.0.prior(counter::bell(key, i as u32));
                self.kept.mean.push(prior.mean);
                self.kept.variance.push(prior.variance);
                if let Some((h, p)) = &mut self.kept.sites {
                    h.push(prior.site);
                    p.push(0.0);
                }
            }
            self.push_direct_prior(j, 0);
        }
        self.rows += n;
        self.kept.decayed_at.resize(self.rows, now);
    }

    /// Pushes the prior of row `j` from direct weight `from` to the end of the row.
    fn push_direct_prior(&mut self, j: usize, from: usize) {
        let key = counter::row_key(self.kept.keys.1, j as u32);
        for i in from..self.stride - self.direct_at {
            let prior = self.kept.rules.1.prior(counter::bell(key, i as u32));
            self.kept.mean.push(prior.mean);
            self.kept.variance.push(prior.variance);
        }
    }

    /// Appends direct synapses to `n` more outputs, at the prior.
    pub(super) fn add_direct(&mut self, n: usize) {
        let kept = self.direct_at + self.kept.direct;
        self.kept.direct += n;
        self.widen(kept, self.direct_at + padded(self.kept.direct));
    }

    /// Makes rows of `stride` lanes, of which the first `kept` stay and the rest is at the prior.
    fn widen(&mut self, kept: usize, stride: usize) {
        let old = std::mem::replace(&mut self.stride, stride);
        let mean = std::mem::take(&mut self.kept.mean);
        let variance = std::mem::take(&mut self.kept.variance);
        self.kept.mean.reserve_exact(self.rows * stride);
        self.kept.variance.reserve_exact(self.rows * stride);
        for j in 0..self.rows {
            self.kept.mean.extend(&mean[j * old..j * old + kept]);
            self.kept
                .variance
                .extend(&variance[j * old..j * old + kept]);
            self.push_direct_prior(j, kept - self.direct_at);
        }
    }

    /// Forgets towards a prior of mean 0 from now on.
    pub(super) fn centre_prior(&mut self) {
        self.kept.rules.0.centre_prior();
        self.kept.rules.1.centre_prior();
    }

    /// Changes the likelihood power.
    pub(super) fn set_power(&mut self, power: f32) {
        self.kept.rules.0.set_power(power);
        self.kept.rules.1.set_power(power);
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

    /// The cells of row `j` up to lane `to`; the sites only of the hidden part.
    fn row(&mut self, j: usize, from: usize, to: usize) -> WeightRow<'_> {
        let run = j * self.stride + from..j * self.stride + to;
        let (h, p) = match &mut self.kept.sites {
            Some((h, p)) if from == 0 => {
                let run = j * self.direct_at..(j + 1) * self.direct_at;
                (&mut h[run.clone()], &mut p[run])
            }
            _ => Default::default(),
        };
        WeightRow {
            mean: &mut self.kept.mean[run.clone()],
            variance: &mut self.kept.variance[run],
            h,
            p,
        }
    }

    /// Lets the active rows catch up with forgetting; `ln_keep` is the log of what one step keeps.
    pub(super) fn catch_up(&mut self, index: &[u32], now: f64, ln_keep: f64) {
        // Rows that are active together are usually behind together.
        let (mut known, mut keep) = (0.0, 1.0);
        for &j in index {
            let j = j as usize;
            let behind = now - self.kept.decayed_at[j];
            if behind >= DECAY_BLOCK {
                if behind != known {
                    (known, keep) = (behind, libm::exp(ln_keep * behind) as f32);
                }
                self.kept.decayed_at[j] = now;
                self.decay_row(j, keep);
            }
        }
    }

    fn decay_row(&mut self, j: usize, keep: f32) {
        // The padding of the direct part stays at the prior, bit for bit.
        let end = self.direct_at + self.kept.direct;
        let ((first, second), at) = (self.kept.rules, self.direct_at);
        let key = counter::row_key(self.kept.keys.0, j as u32);
        kernel::decay(self.row(j, 0, at), key, keep, first);
        let key = counter::row_key(self.kept.keys.1, j as u32);
        kernel::decay(self.row(j, at, end), key, keep, second);
    }

    /// Lets all rows catch up, however little they are behind.
    pub(super) fn settle(&mut self, now: f64, ln_keep: f64) {
        for j in 0..self.rows {
            let behind = now - self.kept.decayed_at[j];
            self.kept.decayed_at[j] = now;
            if ln_keep != 0.0 && behind > 0.0 {
                self.decay_row(j, libm::exp(ln_keep * behind) as f32);
            }
        }
    }

    /// Walks over the rows of the given inputs, each in its two parts.
    pub(super) fn visit(&mut self, index: &[u32], f: &mut Visitor<'_>) {
        let (hidden, direct) = self.kept.rules;
        for &j in index {
            for (from, to, rule) in [
                (0, self.direct_at, hidden),
                (self.direct_at, self.stride, direct),
            ] {
                if from < to {
                    let row = self.row(j as usize, from, to);
                    f(row.mean, row.variance, rule.prior_precision());
                }
            }
        }
    }

    /// Sets the hidden weights of the `chosen` units to a draw of their belief, by row keys of `key`; their
    /// variance becomes `left` of what it was.
    pub(super) fn draw(&mut self, chosen: &[bool], key: u32, left: f32) {
        let (rule, at) = (self.kept.rules.0, self.direct_at);
        for j in 0..self.rows {
            let key = counter::row_key(key, j as u32);
            let row = self.row(j, 0, at);
            for k in (0..chosen.len()).filter(|k| chosen[*k]) {
                let site = |column: &[f32]| column.get(k).copied().unwrap_or(0.0);
                let weight = [row.mean[k], row.variance[k], site(row.h), site(row.p)];
                row.mean[k] = rule.draw(weight, key, k as u32);
                row.variance[k] *= left;
            }
        }
    }

    /// Moves all weights towards the prior.
    pub(super) fn forget(&mut self, keep: f32) {
        for j in 0..self.rows {
            self.decay_row(j, keep);
        }
    }

    /// Moments of the inputs of the first hidden layer and, from `direct_at`, of the outputs.
    pub(super) fn sums(&self, x: ActiveRun<'_>, omega: &mut [f32], v: &mut [f32]) {
        let weights = MomentRun {
            mean: &self.kept.mean,
            variance: &self.kept.variance,
        };
        let sums = MomentRunMut {
            mean: omega,
            variance: v,
        };
        kernel::input_sums(x, weights, self.stride, sums);
    }

    /// Moves the weights of the active inputs. Clips negative Gamma where weights have a precision
    /// (those with two values have none); returns how many were clipped. The messages are used up.
    pub(super) fn learn(&mut self, x: ActiveRun<'_>, g: &mut [f32], gamma: &mut [f32]) -> u64 {
        let (at, end) = (self.direct_at, self.stride);
        let mut clipped = 0;
        let kept = match self.kept.rules.0 {
            AnyRule::Binary(_) => at,
            AnyRule::Gaussian(_) | AnyRule::Levels(_) => 0,
        };
        for value in gamma[kept..].iter_mut().filter(|value| **value < 0.0) {
            *value = 0.0;
            clipped += x.index.len() as u64;
        }
        let (first, second) = self.kept.rules;
        if let AnyRule::Gaussian(rule) = first {
            // Direct weights differ in their prior only, which learning does not see.
            let weights = MomentRunMut {
                mean: &mut self.kept.mean[..],
                variance: &mut self.kept.variance[..],
            };
            let messages = MessageRun { g, gamma };
            return clipped + kernel::input_learn_gaussian(x, weights, messages, rule.power());
        }
        let hidden = MessageRun {
            g: &g[..at],
            gamma: &gamma[..at],
        };
        let direct = MessageRun {
            g: &g[at..],
            gamma: &gamma[at..],
        };
        for (j, value) in x.each() {
            let row = self.row(j as usize, 0, at);
            clipped += kernel::input_learn(row, value, hidden, first);
            let row = self.row(j as usize, at, end);
            clipped += kernel::input_learn(row, value, direct, second);
        }
        clipped
    }

    /// Hidden weights seen from outside.
    pub(super) fn hidden_summary(&self) -> LayerSummary {
        self.summary(0..self.kept.hidden, self.kept.rules.0, self.kept.keys.0)
    }

    /// Direct weights seen from outside.
    pub(super) fn direct_summary(&self) -> LayerSummary {
        let lanes = self.direct_at..self.direct_at + self.kept.direct;
        self.summary(lanes, self.kept.rules.1, self.kept.keys.1)
    }

    fn summary(&self, lanes: std::ops::Range<usize>, rule: AnyRule, key: u32) -> LayerSummary {
        LayerSummary::of((0..self.rows).flat_map(|j| {
            let key = counter::row_key(key, j as u32);
            let from = lanes.start;
            lanes.clone().map(move |i| {
                let prior = rule.prior(counter::bell(key, (i - from) as u32));
                self.kept.variance[j * self.stride + i] / prior.variance
            })
        }))
    }

    /// Mean and variance of the weight from input `j` to lane `i`.
    pub(super) fn weight(&self, j: usize, i: usize) -> (f32, f32) {
        let at = j * self.stride + i;
        (self.kept.mean[at], self.kept.variance[at])
    }
}
