//! The weights of the inputs: to the first hidden layer and, by direct synapses, to the outputs.
//!
//! Input-major: the row of one input holds its hidden weights, then its direct weights, each part
//! padded to whole lanes. An active input touches two runs of memory (means, variances), a silent
//! one touches nothing, not even to forget: a row remembers when it was last decayed.

use serde::{Deserialize, Serialize};

use super::family::{AnyRule, Family};
use super::kernel::{self, Cells, LANES, padded};
use super::network::Visitor;
use super::report::LayerSummary;
use super::spec::NetworkDraft;
use crate::num::counter;

/// Rows catch up with forgetting when they are this many steps behind.
pub(super) const DECAY_BLOCK: f64 = 8.0;

/// Weights of all inputs. Serialised without its padding, which is made again.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "Packed", into = "Packed")]
pub(super) struct InputLayer {
    rows: usize,
    /// Widths of the two parts of a row.
    hidden: usize,
    direct: usize,
    /// The hidden part's width, padded; the direct weights start here.
    direct_at: usize,
    stride: usize,
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

/// The fields of an [`InputLayer`], the direct weights of each row without their padding.
#[derive(Serialize, Deserialize)]
struct Packed {
    hidden: usize,
    direct: usize,
    mean: Vec<f32>,
    variance: Vec<f32>,
    sites: Option<(Vec<f32>, Vec<f32>)>,
    decayed_at: Vec<f64>,
    keys: (u32, u32),
    rules: (AnyRule, AnyRule),
}

impl From<InputLayer> for Packed {
    fn from(layer: InputLayer) -> Packed {
        let kept = layer.direct_at + layer.direct;
        let pack = |lanes: &[f32]| -> Vec<f32> {
            let rows = lanes.chunks_exact(layer.stride.max(1));
            rows.flat_map(|row| &row[..kept]).copied().collect()
        };
        Packed {
            hidden: layer.hidden,
            direct: layer.direct,
            mean: pack(&layer.mean),
            variance: pack(&layer.variance),
            sites: layer.sites,
            decayed_at: layer.decayed_at,
            keys: layer.keys,
            rules: layer.rules,
        }
    }
}

impl TryFrom<Packed> for InputLayer {
    type Error = &'static str;

    fn try_from(packed: Packed) -> Result<InputLayer, &'static str> {
        let rows = packed.decayed_at.len();
        let direct_at = packed.hidden.checked_next_multiple_of(LANES).unwrap_or(0);
        let lanes = |width: usize| width.checked_mul(rows);
        let kept = direct_at.checked_add(packed.direct).and_then(lanes);
        let fits = |column: &Vec<f32>, n: Option<usize>| Some(column.len()) == n;
        let on_grid = lanes(direct_at);
        let grid_fits = |(h, p)| fits(h, on_grid) && fits(p, on_grid);
        let whole = fits(&packed.mean, kept)
            && fits(&packed.variance, kept)
            && packed.sites.as_ref().is_none_or(|(h, p)| grid_fits((h, p)));
        if !whole {
            return Err("as many weights as rows and lanes");
        }
        if !matches!(packed.rules.1, AnyRule::Gaussian(_)) {
            return Err("direct weights are Gaussian");
        }
        let mut layer = InputLayer {
            rows,
            hidden: packed.hidden,
            direct: packed.direct,
            direct_at,
            stride: direct_at + packed.direct,
            mean: packed.mean,
            variance: packed.variance,
            sites: packed.sites,
            decayed_at: packed.decayed_at,
            keys: packed.keys,
            rules: packed.rules,
        };
        layer.widen(layer.stride, direct_at + padded(layer.direct));
        Ok(layer)
    }
}

impl InputLayer {
    /// All weights at their prior.
    pub(super) fn new(spec: &NetworkDraft) -> InputLayer {
        let hidden = spec.hidden.first().copied().unwrap_or(0);
        let (first, direct) = (spec.priors.layers[0], spec.priors.direct);
        let family = if hidden == 0 {
            Family::Gaussian
        } else {
            spec.families[0]
        };
        let direct_at = padded(hidden);
        let mut layer = InputLayer {
            rows: 0,
            hidden,
            direct: if spec.direct { spec.outputs } else { 0 },
            direct_at,
            stride: direct_at,
            mean: Vec::new(),
            variance: Vec::new(),
            sites: family.has_sites().then(Default::default),
            decayed_at: Vec::new(),
            keys: (counter::key(spec.seed, 0), counter::key(spec.seed, 1)),
            rules: (
                AnyRule::new(
                    family,
                    spec.power_of(family),
                    first.variance,
                    first.mean_scale,
                ),
                AnyRule::new(
                    Family::Gaussian,
                    spec.power,
                    direct.variance,
                    direct.mean_scale,
                ),
            ),
        };
        layer.stride += padded(layer.direct);
        layer.add_rows(spec.inputs, 0.0);
        layer
    }

    /// Appends inputs at the prior, their forgetting up to date at step `now`.
    pub(super) fn add_rows(&mut self, n: usize, now: f64) {
        // No more than is needed: thousands of streams have such a table.
        self.mean.reserve_exact(n * self.stride);
        self.variance.reserve_exact(n * self.stride);
        for j in self.rows..self.rows + n {
            let key = counter::row_key(self.keys.0, j as u32);
            for i in 0..self.direct_at {
                let prior = self.rules.0.prior(counter::bell(key, i as u32));
                self.mean.push(prior.mean);
                self.variance.push(prior.variance);
                if let Some((h, p)) = &mut self.sites {
                    h.push(prior.site);
                    p.push(0.0);
                }
            }
            self.push_direct_prior(j, 0);
        }
        self.rows += n;
        self.decayed_at.resize(self.rows, now);
    }

    /// Pushes the prior of row `j` from direct weight `from` to the end of the row.
    fn push_direct_prior(&mut self, j: usize, from: usize) {
        let key = counter::row_key(self.keys.1, j as u32);
        for i in from..self.stride - self.direct_at {
            let prior = self.rules.1.prior(counter::bell(key, i as u32));
            self.mean.push(prior.mean);
            self.variance.push(prior.variance);
        }
    }

    /// Appends direct synapses to `n` more outputs, at the prior.
    pub(super) fn add_direct(&mut self, n: usize) {
        let kept = self.direct_at + self.direct;
        self.direct += n;
        self.widen(kept, self.direct_at + padded(self.direct));
    }

    /// Makes rows of `stride` lanes, of which the first `kept` stay and the rest is at the prior.
    fn widen(&mut self, kept: usize, stride: usize) {
        let old = std::mem::replace(&mut self.stride, stride);
        let mean = std::mem::take(&mut self.mean);
        let variance = std::mem::take(&mut self.variance);
        self.mean.reserve_exact(self.rows * stride);
        self.variance.reserve_exact(self.rows * stride);
        for j in 0..self.rows {
            self.mean.extend(&mean[j * old..j * old + kept]);
            self.variance.extend(&variance[j * old..j * old + kept]);
            self.push_direct_prior(j, kept - self.direct_at);
        }
    }

    /// Forgets towards a prior of mean 0 from now on.
    pub(super) fn centre_prior(&mut self) {
        self.rules.0.centre_prior();
        self.rules.1.centre_prior();
    }

    /// Changes the likelihood power.
    pub(super) fn set_power(&mut self, power: f32) {
        self.rules.0.set_power(power);
        self.rules.1.set_power(power);
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
    fn row(&mut self, j: usize, from: usize, to: usize) -> Cells<'_> {
        let run = j * self.stride + from..j * self.stride + to;
        let (h, p) = match &mut self.sites {
            Some((h, p)) if from == 0 => {
                let run = j * self.direct_at..(j + 1) * self.direct_at;
                (&mut h[run.clone()], &mut p[run])
            }
            _ => Default::default(),
        };
        Cells {
            mean: &mut self.mean[run.clone()],
            variance: &mut self.variance[run],
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
            let behind = now - self.decayed_at[j];
            if behind >= DECAY_BLOCK {
                if behind != known {
                    (known, keep) = (behind, libm::exp(ln_keep * behind) as f32);
                }
                self.decayed_at[j] = now;
                self.decay_row(j, keep);
            }
        }
    }

    fn decay_row(&mut self, j: usize, keep: f32) {
        // The padding of the direct part stays at the prior, bit for bit.
        let end = self.direct_at + self.direct;
        let ((first, second), at) = (self.rules, self.direct_at);
        let key = counter::row_key(self.keys.0, j as u32);
        kernel::decay(self.row(j, 0, at), key, keep, first);
        let key = counter::row_key(self.keys.1, j as u32);
        kernel::decay(self.row(j, at, end), key, keep, second);
    }

    /// Lets all rows catch up, however little they are behind.
    pub(super) fn settle(&mut self, now: f64, ln_keep: f64) {
        for j in 0..self.rows {
            let behind = now - self.decayed_at[j];
            self.decayed_at[j] = now;
            if ln_keep != 0.0 && behind > 0.0 {
                self.decay_row(j, libm::exp(ln_keep * behind) as f32);
            }
        }
    }

    /// Walks over the rows of the given inputs, each in its two parts.
    pub(super) fn visit(&mut self, index: &[u32], f: &mut Visitor<'_>) {
        let (hidden, direct) = self.rules;
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

    /// Moves the weights of the active inputs. Clips negative Gamma where weights have a precision
    /// (those with two values have none); returns how many were clipped. The messages are used up.
    pub(super) fn learn(&mut self, x: (&[u32], &[f32]), g: &mut [f32], gamma: &mut [f32]) -> u64 {
        let (at, end) = (self.direct_at, self.stride);
        let mut clipped = 0;
        let kept = match self.rules.0 {
            AnyRule::Binary(_) => at,
            AnyRule::Gaussian(_) | AnyRule::Levels(_) => 0,
        };
        for value in gamma[kept..].iter_mut().filter(|value| **value < 0.0) {
            *value = 0.0;
            clipped += x.0.len() as u64;
        }
        let (first, second) = self.rules;
        if let AnyRule::Gaussian(rule) = first {
            // Direct weights differ in their prior only, which learning does not see.
            let weights = (&mut self.mean[..], &mut self.variance[..]);
            return clipped + kernel::input_learn_gaussian(x, weights, (g, gamma), rule.power());
        }
        for (&j, &value) in x.0.iter().zip(x.1) {
            let row = self.row(j as usize, 0, at);
            clipped += kernel::input_learn(row, value, (&g[..at], &gamma[..at]), first);
            let row = self.row(j as usize, at, end);
            clipped += kernel::input_learn(row, value, (&g[at..], &gamma[at..]), second);
        }
        clipped
    }

    /// Hidden weights seen from outside.
    pub(super) fn hidden_summary(&self) -> LayerSummary {
        self.summary(0..self.hidden, self.rules.0, self.keys.0)
    }

    /// Direct weights seen from outside.
    pub(super) fn direct_summary(&self) -> LayerSummary {
        let lanes = self.direct_at..self.direct_at + self.direct;
        self.summary(lanes, self.rules.1, self.keys.1)
    }

    fn summary(&self, lanes: std::ops::Range<usize>, rule: AnyRule, key: u32) -> LayerSummary {
        LayerSummary::of((0..self.rows).flat_map(|j| {
            let key = counter::row_key(key, j as u32);
            let from = lanes.start;
            lanes.clone().map(move |i| {
                let prior = rule.prior(counter::bell(key, (i - from) as u32));
                self.variance[j * self.stride + i] / prior.variance
            })
        }))
    }

    /// Mean and variance of the weight from input `j` to lane `i`.
    pub(super) fn weight(&self, j: usize, i: usize) -> (f32, f32) {
        let at = j * self.stride + i;
        (self.mean[at], self.variance[at])
    }
}
