//! A spiking network and its belief: predict, learn one sample at a time, grow, forget.

use serde::{Deserialize, Serialize};

use super::dense::{DenseDraft, DenseLayer, OutputEvidence};
use super::factor::gaussian::GaussianObservation;
use super::factor::{hidden, probit};
use super::few::Factor;
use super::input::InputLayer;
use super::kernel::{self, UnitCache};
use super::report::{LayerSummary, Report};
use super::runs::{ActiveRun, MessageRunMut, MomentRun, UnitInput, UnitMessage};
use super::scratch::NetworkScratch;
use super::spec::{NetworkSpec, OutputKind, SpikeFunction};
use inner::View;

/// One input: the active entries only. Silent inputs cost nothing.
///
/// The bias is an input like any other: the caller keeps one index for it and always activates it
/// with value 1. Each index at most once; spikes have value 1.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Input<'a> {
    /// Which inputs are active, each below the number of inputs.
    pub index: &'a [u32],
    /// Their values, as many.
    pub value: &'a [f32],
}

/// Moments of the outputs, one entry an output. The variance is ignorance (weights and hidden
/// spikes); it holds no observation noise.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct OutputMoments<'a> {
    /// Means.
    pub mean: &'a [f32],
    /// Variances.
    pub variance: &'a [f32],
}

/// Moments of the outputs, and the messages that a factor sends them.
struct OutputMessages<'a> {
    mean: &'a [f32],
    variance: &'a [f32],
    g: &'a mut [f32],
    gamma: &'a mut [f32],
    room: &'a mut Vec<f32>,
}

/// Largest target that is learned: f32 must hold the squares of weights that predict it.
const MAX_TARGET: f32 = 1e15;

/// Summary figures of a network's weights.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct NetworkSummary {
    /// One entry a layer, from the input: the hidden layers, then the output layer.
    pub layers: Vec<LayerSummary>,
    /// Direct synapses.
    pub direct: LayerSummary,
}

/// A network and its belief about every weight.
///
/// Serialised, it is the whole state: the same samples after loading it give the same bits.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Network {
    spec: NetworkSpec,
    outputs: usize,
    input: InputLayer,
    /// Layers above the first hidden one; the last is the output layer.
    upper: Vec<DenseLayer>,
    /// Steps of forgetting so far.
    clock: f64,
    /// ln(1 - 1/N); 0 without forgetting.
    ln_keep: f64,
    /// Noise of probit spikes; `None` for sigmoid ones.
    spike_noise: Option<f32>,
    /// Inner sweeps beyond the first.
    #[serde(skip)]
    inner: u32,
    #[serde(skip)]
    scratch: NetworkScratch,
}

impl Network {
    /// A network at its prior.
    pub fn new(spec: &NetworkSpec) -> Network {
        let mut upper = Vec::new();
        for (i, &width) in spec.hidden.iter().enumerate() {
            let last = i + 1 == spec.hidden.len();
            let units = if last {
                spec.outputs
            } else {
                spec.hidden[i + 1]
            };
            let family = spec.families[i + 1];
            upper.push(DenseLayer::new(&DenseDraft {
                width,
                units,
                family,
                prior: spec.priors.layers[i + 1],
                power: spec.power_of(family),
                bias: !(last && spec.direct),
                seed: spec.seed,
                table: i as u32 + 1,
            }));
        }
        Network {
            spec: spec.clone(),
            outputs: spec.outputs,
            input: InputLayer::new(spec),
            upper,
            clock: 0.0,
            ln_keep: spec.memory.map_or(0.0, |n| libm::log1p(-1.0 / n)),
            spike_noise: match spec.spikes {
                SpikeFunction::Deterministic => Some(0.0),
                SpikeFunction::Probit { noise } => Some(noise),
                SpikeFunction::Sigmoid => None,
            },
            inner: 0,
            scratch: NetworkScratch::default(),
        }
    }

    /// Number of inputs.
    pub fn inputs(&self) -> usize {
        self.input.rows()
    }

    /// Number of outputs.
    pub fn outputs(&self) -> usize {
        self.outputs
    }

    /// Predicts. Rows of active inputs first catch up with forgetting, hence `&mut`. Allocates
    /// nothing once the largest input has been seen. Input values that are not finite give moments
    /// that are not.
    ///
    /// # Panics
    /// If an index is out of range or the two slices differ in length.
    pub fn predict(&mut self, x: Input<'_>) -> OutputMoments<'_> {
        self.forward(x);
        self.moments()
    }

    fn moments(&self) -> OutputMoments<'_> {
        OutputMoments {
            mean: &self.scratch.mean,
            variance: &self.scratch.out_variance,
        }
    }

    /// Expected spikes of the last hidden layer in the last prediction, one a unit; none without hidden
    /// layers.
    pub fn spikes(&self) -> &[f32] {
        match (self.scratch.units.last(), self.spec.hidden.last()) {
            (Some(units), Some(&width)) => units.a.get(..width).unwrap_or_default(),
            _ => &[],
        }
    }

    fn forward(&mut self, x: Input<'_>) {
        assert_eq!(x.index.len(), x.value.len(), "one value for each index");
        let rows = self.input.rows();
        assert!(
            x.index.iter().all(|&j| (j as usize) < rows),
            "an input index is not below {rows}"
        );
        if self.ln_keep != 0.0 {
            self.input.catch_up(x.index, self.clock, self.ln_keep);
            for layer in &mut self.upper {
                layer.catch_up(self.clock, self.ln_keep);
            }
        }
        let scratch = &mut self.scratch;
        scratch.resize(self.input.stride(), &self.spec.hidden, self.outputs);
        scratch.keep(x.index, x.value);
        let active = ActiveRun {
            index: x.index,
            value: x.value,
        };
        self.input
            .sums(active, &mut scratch.omega, &mut scratch.variance);
        self.forward_upper();
        self.scratch.fresh = true;
    }

    /// From the moments of the input layer to those of the outputs.
    fn forward_upper(&mut self) {
        let s = &mut self.scratch;
        let at = self.input.direct_at();
        if self.spec.direct {
            s.mean.copy_from_slice(&s.omega[at..at + self.outputs]);
            s.out_variance
                .copy_from_slice(&s.variance[at..at + self.outputs]);
        } else {
            s.mean.fill(0.0);
            s.out_variance.fill(0.0);
        }
        let noise = self.spike_noise;
        let mut check = 0.0;
        if let Some(first) = s.units.first_mut() {
            first.omega.copy_from_slice(&s.omega[..at]);
            first.variance.copy_from_slice(&s.variance[..at]);
        }
        for (i, layer) in self.upper.iter().enumerate() {
            let (below, above) = s.units.split_at_mut(i + 1);
            let u = &mut below[i];
            check += kernel::activate(
                MomentRun {
                    mean: &u.omega,
                    variance: &u.variance,
                },
                noise,
                &mut u.a,
                UnitCache {
                    first: &mut u.first,
                    second: &mut u.second,
                    third: &mut u.third,
                },
            );
            u.a[self.spec.hidden[i]..].fill(0.0);
            match above.first_mut() {
                Some(next) => {
                    next.omega.fill(0.0);
                    next.variance.fill(0.0);
                    layer.sums(&u.a, &mut next.omega, &mut next.variance);
                }
                None => layer.sums(&u.a, &mut s.mean, &mut s.out_variance),
            }
        }
        let outputs = s.mean.iter().chain(&s.out_variance);
        s.finite = check.is_finite() && outputs.fold(0.0, |sum, x| sum + 0.0 * x) == 0.0;
    }

    /// Learns one sample, sequentially.
    ///
    /// `target`: one value an output; NaN is a missing one and contributes nothing (a sample
    /// without any target is no step). `noise`: the effective variance of each observation, above
    /// 0; robust weighting and gating are the caller's, by raising it (a Gaussian likelihood to
    /// the power w is one with variance noise/w). `weight`, 0 to 1: how many steps of forgetting
    /// the sample counts for.
    ///
    /// Computes the forward pass again unless the last call was [`Network::predict`] on this very
    /// input. A sample whose moments, targets (beyond 1e15 too) or noise are not usable is skipped
    /// and counted.
    ///
    /// # Panics
    /// If an index is out of range or a slice has the wrong length.
    pub fn learn(&mut self, x: Input<'_>, target: &[f32], noise: &[f32], weight: f32) -> Report {
        assert_eq!(target.len(), self.outputs, "one target for each output");
        assert_eq!(noise.len(), self.outputs, "one noise for each output");
        let mut report = Report::default();
        self.refresh(x);
        let seen = target.iter().filter(|y| !y.is_nan()).count();
        let usable = |k: usize| {
            let small = target[k].abs() <= MAX_TARGET && noise[k] > 0.0;
            target[k].is_nan() || (small && self.observed(k, target, noise).is_usable())
        };
        if !self.scratch.finite || !(0..self.outputs).all(usable) {
            report.skipped = 1;
            return report;
        }
        if seen == 0 {
            return report;
        }
        let at = self.input.direct_at();
        self.start_backward();
        let views = if self.inner > 0 {
            self.views(&|mean, variance| {
                let seen = |k: usize| match target[k].is_nan() {
                    true => OutputEvidence::Nothing,
                    false => OutputEvidence::Gaussian(GaussianObservation {
                        error: target[k] - mean[k],
                        variance: variance[k],
                        noise: noise[k],
                    }),
                };
                (0..mean.len()).map(seen).collect()
            })
        } else {
            Vec::new()
        };
        for k in 0..self.outputs {
            if target[k].is_nan() {
                continue;
            }
            let (mut seen, mut view) = (self.observed(k, target, noise), None);
            if let Some(View {
                a,
                seen: OutputEvidence::Gaussian(own),
            }) = views.get(k)
            {
                (seen, view) = (*own, Some(a));
            }
            let s = &mut self.scratch;
            if self.spec.direct {
                let total = seen.variance + seen.noise;
                s.g[at + k] = seen.error / total;
                s.gamma[at + k] = 1.0 / total;
            }
            if let (Some(layer), Some(u)) = (self.upper.last_mut(), s.units.last_mut()) {
                let a = view.unwrap_or(&u.a);
                report.clipped += layer.learn_gaussian(k, a, &mut u.rho, seen);
            }
        }
        self.finish_backward(x, weight, &mut report);
        report
    }

    fn observed(&self, k: usize, target: &[f32], noise: &[f32]) -> GaussianObservation {
        GaussianObservation {
            error: target[k] - self.scratch.mean[k],
            variance: self.scratch.out_variance[k],
            noise: noise[k],
        }
    }

    /// Learns that the input belongs to `class`: through a softmax where the outputs are one, else
    /// one probit a class, against the rest. `weight`, 0 to 1: how many steps of forgetting the
    /// sample counts for.
    ///
    /// # Panics
    /// If `class` or an index is out of range.
    pub fn learn_class(&mut self, x: Input<'_>, class: usize, weight: f32) -> Report {
        assert!(class < self.outputs, "class {class} of {}", self.outputs);
        if self.spec.output == OutputKind::Softmax {
            return self.learn_linear(x, weight, |s| {
                let moments = MomentRun {
                    mean: s.mean,
                    variance: s.variance,
                };
                let out = MessageRunMut {
                    g: s.g,
                    gamma: s.gamma,
                };
                kernel::softmax_messages(class, moments, out, s.room);
            });
        }
        self.learn_probit(x, |k| if k == class { 1.0 } else { -1.0 }, weight)
    }

    /// Learns yes (positive) or no (negative) of every output, through its probit; NaN is a missing
    /// answer and contributes nothing. `weight` as for [`Network::learn_class`].
    ///
    /// # Panics
    /// If an index is out of range or `answers` has not one entry an output.
    pub fn learn_answers(&mut self, x: Input<'_>, answers: &[f32], weight: f32) -> Report {
        assert_eq!(answers.len(), self.outputs, "one answer for each output");
        self.learn_probit(x, |k| answers[k].signum(), weight)
    }

    /// `answer`: 1, -1 or NaN of each output.
    fn learn_probit(&mut self, x: Input<'_>, answer: impl Fn(usize) -> f32, weight: f32) -> Report {
        self.learn_linear(x, weight, |s| {
            for k in 0..s.mean.len() {
                let y = answer(k);
                (s.g[k], s.gamma[k]) = if y.is_nan() {
                    (f32::NAN, 0.0)
                } else {
                    probit::message(y, s.mean[k], s.variance[k])
                };
            }
        })
    }

    /// Learns under factors known by their g and Gamma, which `factors` writes; an output whose g is
    /// NaN is left out.
    fn learn_linear(
        &mut self,
        x: Input<'_>,
        weight: f32,
        factors: impl Fn(&mut OutputMessages<'_>),
    ) -> Report {
        let mut report = Report::default();
        self.refresh(x);
        if !self.scratch.finite {
            report.skipped = 1;
            return report;
        }
        let at = self.input.direct_at();
        let probit = self.spec.output != OutputKind::Softmax;
        self.start_backward();
        let s = &mut self.scratch;
        factors(&mut OutputMessages {
            mean: &s.mean,
            variance: &s.out_variance,
            g: &mut s.out_g,
            gamma: &mut s.out_gamma,
            room: &mut s.room,
        });
        let views = if self.inner > 0 {
            self.views(&|mean, variance| {
                let (mut g, mut gamma) = (vec![0.0; mean.len()], vec![0.0; mean.len()]);
                factors(&mut OutputMessages {
                    mean,
                    variance,
                    g: &mut g,
                    gamma: &mut gamma,
                    room: &mut Vec::new(),
                });
                let seen = |(g, gamma): (f32, f32)| match g.is_nan() {
                    true => OutputEvidence::Nothing,
                    false => OutputEvidence::Linear(g, gamma),
                };
                g.into_iter().zip(gamma).map(seen).collect()
            })
        } else {
            Vec::new()
        };
        for k in 0..self.outputs {
            let s = &mut self.scratch;
            let (mut message, mut view) = ((s.out_g[k], s.out_gamma[k]), None);
            if let Some(View {
                a,
                seen: OutputEvidence::Linear(g, gamma),
            }) = views.get(k)
            {
                (message, view) = ((*g, *gamma), Some(a));
            }
            if message.0.is_nan() {
                continue;
            }
            if self.spec.direct {
                (s.g[at + k], s.gamma[at + k]) = message;
            }
            if let (Some(layer), Some(u)) = (self.upper.last_mut(), s.units.last_mut()) {
                let few = view.is_none() && probit && layer.is_few() && message.0 != 0.0;
                if few {
                    let input = UnitInput {
                        mean: s.mean[k],
                        variance: s.out_variance[k],
                    };
                    let answer = Factor::Answer(message.0.signum());
                    report.clipped += layer.learn_few(k, &u.a, &mut u.rho, input, answer);
                } else {
                    let a = view.unwrap_or(&u.a);
                    let (g, gamma) = message;
                    let message = UnitMessage { g, gamma };
                    report.clipped += layer.learn_linear(k, a, &mut u.rho, message);
                }
            }
        }
        self.finish_backward(x, weight, &mut report);
        report
    }

    /// Class probabilities, one an output, written to `out`.
    ///
    /// # Panics
    /// If the network is no classifier, an index is out of range or `out` has another length.
    pub fn predict_class(&mut self, x: Input<'_>, out: &mut [f32]) {
        assert_ne!(self.spec.output, OutputKind::Regression, "a classifier");
        assert_eq!(out.len(), self.outputs, "one probability for each class");
        self.forward(x);
        let s = &mut self.scratch;
        let (mean, variance) = (&s.mean, &s.out_variance);
        match self.spec.output {
            OutputKind::Softmax => {
                kernel::softmax_probabilities(MomentRun { mean, variance }, out, &mut s.room);
            }
            _ => probit::probabilities(mean, variance, out),
        }
    }

    /// Makes sure that the scratch holds the forward pass of `x`.
    fn refresh(&mut self, x: Input<'_>) {
        let s = &self.scratch;
        if !(s.fresh && s.index == x.index && s.value == x.value) {
            self.forward(x);
        }
        self.scratch.fresh = false;
    }

    fn start_backward(&mut self) {
        let s = &mut self.scratch;
        s.g.fill(0.0);
        s.gamma.fill(0.0);
        for units in &mut s.units {
            units.rho.fill(0.0);
        }
    }

    /// From the messages to the last hidden layer's spikes down to the input weights.
    fn finish_backward(&mut self, x: Input<'_>, weight: f32, report: &mut Report) {
        let probit = self.spike_noise.is_some();
        let s = &mut self.scratch;
        for i in (0..s.units.len()).rev() {
            let (below, above) = s.units.split_at_mut(i);
            let u = &mut above[0];
            u.rho[self.spec.hidden[i]..].fill(0.0);
            let cache = UnitCache {
                first: &mut u.first,
                second: &mut u.second,
                third: &mut u.third,
            };
            let out = MessageRunMut {
                g: &mut u.g,
                gamma: &mut u.gamma,
            };
            kernel::unit_messages(&u.rho, &u.omega, probit, cache, out);
            let held = u.rho.iter().filter(|rho| rho.abs() > hidden::MAX_RHO);
            report.clipped += held.count() as u64;
            if let Some(lower) = below.last_mut() {
                let layer = &mut self.upper[i - 1];
                let few = layer.is_few();
                for k in 0..self.spec.hidden[i] {
                    report.clipped += if few {
                        let rho = u.rho[k];
                        let factor = match self.spike_noise {
                            Some(noise) => Factor::Spike { rho, noise },
                            None => Factor::Sigmoid { rho },
                        };
                        let input = UnitInput {
                            mean: u.omega[k],
                            variance: u.variance[k],
                        };
                        layer.learn_few(k, &lower.a, &mut lower.rho, input, factor)
                    } else {
                        let message = UnitMessage {
                            g: u.g[k],
                            gamma: u.gamma[k],
                        };
                        layer.learn_linear(k, &lower.a, &mut lower.rho, message)
                    };
                }
            } else {
                s.g[..u.g.len()].copy_from_slice(&u.g);
                s.gamma[..u.g.len()].copy_from_slice(&u.gamma);
            }
        }
        // Sum over the layer of (dm)^2 / s = g^2 V, for free.
        let change: f32 = s.g.iter().zip(&s.variance).map(|(g, v)| g * g * v).sum();
        if change.is_finite() {
            let active = ActiveRun {
                index: x.index,
                value: x.value,
            };
            report.clipped += self.input.learn(active, &mut s.g, &mut s.gamma);
            report.accepted = 1;
        } else {
            report.skipped = 1;
        }
        let touched = (x.index.len() * s.g.len()).max(1);
        report.site_change = (change / touched as f32).sqrt();
        self.clock += f64::from(weight);
    }
}

mod averaged;
pub(super) mod batch;
pub(super) mod committee;
#[cfg(test)]
mod exact;
#[cfg(test)]
mod hostile;
mod inner;
mod normal;
pub(super) mod readout;
pub(super) mod sample;
#[cfg(test)]
mod tests;
mod upkeep;
pub(super) mod weights;
