//! Predictions of a network that has learned a table, its output weights known jointly.
//!
//! While it learns, a network keeps a mean and a variance for each weight. Where nothing was seen
//! this is too sure, for two reasons, and a readout takes both away:
//!
//! - Output weights by themselves. Steps whose thresholds lie where there is no data share one rise;
//!   only its sum is known, yet each weight believes its own part to be. Given the hidden layers the
//!   factor of a sample on the output weights w is N(y; w'f, R), f the expected spikes (or inputs
//!   of direct synapses), R = noise + sum a (1 - a) E w^2 over the spikes. Prior times all factors
//!   is one Gaussian of precision P0 + sum f f'/R. The noise of a sample is that of Student's t for
//!   its distance from the network's own prediction.
//! - Units that have learned nothing spike with a = 1/2 everywhere, which says nothing anywhere. A
//!   draw of their weights has its threshold somewhere, also where there is no data. Several draws,
//!   each with its own joint output weights, make a mixture.

use serde::{Deserialize, Serialize};

use super::normal::Normal;
use super::{Input, Network};
use crate::ep::factor::student;
use crate::ep::family::Family;
use crate::ep::noise::StudentNoise;
use crate::num::cholesky::Cholesky;
use crate::num::{counter, special};

/// A unit has learned nothing if the variance of its input, over the data, is more than this share
/// of what the prior gave it. Errors hardly depend on it between .05 and .5.
const IDLE_SHARE: f64 = 0.2;

/// Draws of the units that have learned nothing.
const DRAWS: u32 = 10;

/// The variance of a weight that was drawn: none, but for f32's sake.
const DRAWN: f32 = 1e-6;

/// Most output weights that are known jointly; beyond, each by itself.
pub(super) const MAX_JOINT: usize = 512;

/// Noise of the probit that is nearest to a sigmoid spike.
const SIGMOID_NOISE: f64 = 2.9;

/// One component of a prediction: N(mean, ignorance + spikes + observation noise).
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Predicted {
    /// Mean.
    pub mean: f64,
    /// Variance of the expected output: what is not known about the weights.
    pub ignorance: f64,
    /// Variance that the noise of spikes in the last hidden layer adds, the weights being known.
    pub spikes: f64,
}

/// How far output weights are known.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum Spread {
    /// A variance each.
    Single(Vec<f64>),
    /// Their joint precision.
    Joint(Cholesky),
}

/// One component: hidden layers, and the output weights given these.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct EnsemblePart {
    network: Network,
    mean: Vec<f64>,
    spread: Spread,
    /// Inputs of the output's weights in the last prediction.
    #[serde(skip)]
    features: Vec<f64>,
}

/// Predicts the single output of a regression as a mixture of equal parts.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LinearReadout {
    parts: Vec<EnsemblePart>,
    /// How often each part counts: any two joint readouts weigh the same.
    copies: u32,
    /// E w^2 of the weights of spikes.
    square: Vec<f64>,
    #[serde(skip)]
    work: Vec<f64>,
}

/// The samples that output weights are learned from: sample `i` is `(input, target)`.
pub(super) type SampleTable<'a> = dyn Fn(usize) -> (Input<'a>, f32) + 'a;

impl LinearReadout {
    /// The network's own belief: one part, every output weight by itself.
    ///
    /// # Panics
    /// If the network has not one output.
    pub fn single(network: &Network) -> LinearReadout {
        assert_eq!(network.outputs, 1, "one output");
        let mut network = network.clone();
        network.set_memory(None);
        let (mean, variance) = network.output_weights();
        let spikes = network.spec.hidden.last().copied().unwrap_or(0);
        let moments = mean.iter().zip(&variance).take(spikes);
        LinearReadout {
            square: moments.map(|(m, s)| m * m + s).collect(),
            parts: vec![EnsemblePart {
                network,
                mean,
                spread: Spread::Single(variance),
                features: Vec::new(),
            }],
            copies: 1,
            work: Vec::new(),
        }
    }

    /// Output weights known jointly from `n` samples under observation `noise`; their own belief where they are too many (512),
    /// not Gaussian, or beyond what f64 can solve.
    ///
    /// # Panics
    /// If the network has not one output or a sample does not fit it.
    pub fn joint(
        network: &Network,
        n: usize,
        table: &SampleTable<'_>,
        noise: StudentNoise,
    ) -> LinearReadout {
        LinearReadout::surveyed(network, n, table, noise).0
    }

    /// The same with the noise variance of each sample; none where weights are not known jointly.
    pub(super) fn surveyed(
        network: &Network,
        n: usize,
        table: &SampleTable<'_>,
        noise: StudentNoise,
    ) -> (LinearReadout, Vec<f64>) {
        let mut readout = LinearReadout::single(network);
        let EnsemblePart { network, mean, .. } = &mut readout.parts[0];
        readout.copies = DRAWS;
        let gaussian = network.spec.families.last() == Some(&Family::Gaussian);
        if !gaussian || mean.len() > MAX_JOINT {
            return (readout, Vec::new());
        }
        let (idle, noise) = network.survey(n, table, noise);
        let draws = if idle.contains(&true) { DRAWS } else { 1 };
        let parts = (0..draws).map(|draw| {
            let drawn = network.drawn(&idle, draw);
            EnsemblePart::joint(drawn, &readout.square, table, &noise)
        });
        let Some(parts) = parts.collect() else {
            return (readout, Vec::new());
        };
        readout.parts = parts;
        readout.copies = DRAWS / draws;
        (readout, noise)
    }

    /// How many draws of idle units there are: 1 where nothing was drawn.
    pub(super) fn draws(&self) -> usize {
        self.parts.len()
    }

    /// Inputs of the output's weights of draw `draw` (the only part where nothing was drawn) in the
    /// last prediction or look.
    pub(super) fn met(&self, draw: usize) -> &[f64] {
        &self.parts[draw % self.parts.len()].features
    }

    /// Shows an input to the hidden layers of draw `draw`: what the output's weights meet then is in
    /// [`LinearReadout::met`]. Returns the variance that the spikes, each by itself, add to the output.
    pub(super) fn look(&mut self, draw: usize, x: Input<'_>) -> f64 {
        let draw = draw % self.parts.len();
        let part = &mut self.parts[draw];
        part.network.features(x, &mut part.features);
        spread(&part.features, &self.square)
    }

    /// Prior variances of the output's weights.
    pub(super) fn prior(&self) -> Vec<f64> {
        self.parts[0].network.prior_of_outputs()
    }

    /// Number of inputs, the bias included.
    pub fn inputs(&self) -> usize {
        self.parts.first().map_or(0, |part| part.network.inputs())
    }

    /// Output weights are known jointly.
    pub fn is_joint(&self) -> bool {
        matches!(self.parts[0].spread, Spread::Joint(_))
    }

    /// The equal parts of a prediction, one after the other to `seen`.
    ///
    /// # Panics
    /// If the input does not fit the network.
    pub fn predict(&mut self, x: Input<'_>, mut seen: impl FnMut(Predicted)) {
        for part in &mut self.parts {
            part.network.features(x, &mut part.features);
            let f = &part.features;
            let mean = f.iter().zip(&part.mean).map(|(f, m)| f * m).sum();
            let weights: f64 = match &part.spread {
                Spread::Single(variance) => f.iter().zip(variance).map(|(f, s)| f * f * s).sum(),
                Spread::Joint(precision) => {
                    self.work.clone_from(f);
                    precision.forward(&mut self.work);
                    self.work.iter().map(|x| x * x).sum()
                }
            };
            let (mut hidden, mut spikes) = (0.0, 0.0);
            for (k, square) in self.square.iter().enumerate() {
                let shot = part.network.shot(k);
                hidden += square * (f[k] * (1.0 - f[k]) - shot).max(0.0);
                spikes += square * shot;
            }
            for _ in 0..self.copies {
                seen(Predicted {
                    mean,
                    ignorance: weights + hidden,
                    spikes,
                });
            }
        }
    }
}

impl EnsemblePart {
    /// Prior times the factors of all samples; `None` where that cannot be solved.
    fn joint(
        mut network: Network,
        square: &[f64],
        table: &SampleTable<'_>,
        noise: &[f64],
    ) -> Option<EnsemblePart> {
        let mut sums = Normal::new(network.prior_of_outputs());
        let mut f = Vec::new();
        for (i, noise) in noise.iter().enumerate() {
            let (x, y) = table(i);
            network.features(x, &mut f);
            sums.add(&f, y.into(), noise + spread(&f, square));
        }
        let (mean, precision) = sums.solve()?;
        Some(EnsemblePart {
            network,
            mean,
            spread: Spread::Joint(precision),
            features: Vec::new(),
        })
    }
}

/// Variance that spikes add to the output, each by itself: sum a (1 - a) E w^2.
fn spread(features: &[f64], square: &[f64]) -> f64 {
    let each = features.iter().zip(square);
    each.map(|(a, square)| a * (1.0 - a) * square).sum()
}

impl Network {
    /// Inputs of the output's weights: expected spikes of the last hidden layer, then 1 for the
    /// bias or, with direct synapses, the inputs.
    fn features(&mut self, x: Input<'_>, f: &mut Vec<f64>) {
        self.forward(x);
        f.clear();
        if let (Some(units), Some(&width)) = (self.scratch.units.last(), self.spec.hidden.last()) {
            f.extend(units.a[..width].iter().map(|a| f64::from(*a)));
        }
        if self.spec.direct {
            let spikes = f.len();
            f.resize(spikes + self.inputs(), 0.0);
            for (j, x) in x.index.iter().zip(x.value) {
                f[spikes + *j as usize] = (*x).into();
            }
        } else {
            f.push(1.0);
        }
    }

    /// E p (1 - p) of unit `k` of the last hidden layer in the last forward pass, p the probability
    /// of its spike under given weights: what its noise adds to the variance of its spike.
    fn shot(&self, k: usize) -> f64 {
        let noise = self.spike_noise.map_or(SIGMOID_NOISE, f64::from);
        let Some(units) = self.scratch.units.last() else {
            return 0.0;
        };
        let (omega, v) = (f64::from(units.omega[k]), f64::from(units.variance[k]));
        if noise == 0.0 {
            return 0.0;
        }
        2.0 * special::owens_t(
            omega / (v + noise).sqrt(),
            (noise / (2.0 * v + noise)).sqrt(),
        )
    }

    /// Prior variances of the output's weights. Around zero: random means of a prior only serve to
    /// tell units apart while they learn.
    fn prior_of_outputs(&self) -> Vec<f64> {
        self.at_prior().output_weights().1
    }

    /// Means and variances of the output's weights, in the order of [`Network::features`].
    fn output_weights(&mut self) -> (Vec<f64>, Vec<f64>) {
        let mut moments = (Vec::new(), Vec::new());
        let mut push = |m: f32, s: f32| {
            moments.0.push(m.into());
            moments.1.push(s.into());
        };
        if let (Some(layer), Some(&width)) = (self.upper.last_mut(), self.spec.hidden.last()) {
            let mut wanted = width;
            layer.visit(&mut |m, s, _| {
                m.iter().zip(s).take(wanted).for_each(|(m, s)| push(*m, *s));
                wanted = 1;
            });
        }
        if self.spec.direct {
            for j in 0..self.inputs() {
                let (m, s) = self.direct_weight(j, 0);
                push(m, s);
            }
        }
        moments
    }

    /// Which units of the first hidden layer have learned nothing, and the noise variance of each
    /// sample.
    fn survey(
        &mut self,
        n: usize,
        table: &SampleTable<'_>,
        noise: StudentNoise,
    ) -> (Vec<bool>, Vec<f64>) {
        let width = self.spec.hidden.first().copied().unwrap_or(0);
        let (mut drive, mut prior) = (vec![0.0; width], 0.0);
        let mut noises = Vec::with_capacity(n);
        for i in 0..n {
            let (x, y) = table(i);
            self.forward(x);
            let s = &self.scratch;
            let error = f64::from(y) - f64::from(s.mean[0]);
            let total = f64::from(s.out_variance[0]) + noise.variance;
            noises.push(noise.variance / student::weight(error, total, noise.dof));
            for (sum, v) in drive.iter_mut().zip(&s.variance) {
                *sum += f64::from(*v);
            }
            prior += x.value.iter().map(|x| f64::from(x * x)).sum::<f64>();
        }
        prior *= f64::from(self.spec.priors.layers[0].variance);
        let idle = drive.iter().map(|v| *v > IDLE_SHARE * prior);
        (idle.collect(), noises)
    }

    /// The same with the weights of idle units drawn from their belief.
    fn drawn(&self, idle: &[bool], draw: u32) -> Network {
        let mut network = self.clone();
        let key = counter::key(self.spec.seed, draw.wrapping_add(0xd4a3));
        network.input.draw(idle, key, DRAWN);
        network
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ep::NetworkDraft;

    #[test]
    fn without_hidden_units_it_is_the_exact_posterior() {
        exact(f64::INFINITY);
    }

    #[test]
    fn a_row_counts_as_students_t_says() {
        exact(4.0);
    }

    fn exact(nu: f64) {
        // y = w x + b + noise with priors N(0, v): two by two, by hand.
        let mut draft = NetworkDraft::regression(2, &[], 1);
        draft.priors.direct.variance = 2.0;
        let network = Network::new(&draft.build().unwrap());
        let rows = [
            ([0.5f32, 1.0], 1.0f32),
            ([-1.0, 1.0], -0.5),
            ([2.0, 1.0], 5.5),
        ];
        let table = |i: usize| {
            let input = Input {
                index: &[0, 1],
                value: &rows[i].0,
            };
            (input, rows[i].1)
        };
        let mut readout = LinearReadout::joint(
            &network,
            rows.len(),
            &table,
            StudentNoise {
                variance: 0.1,
                dof: nu,
            },
        );
        assert!(readout.is_joint());
        let (mut a, mut b, mut c, mut d, mut e) = (0.5, 0.0, 0.5, 0.0, 0.0);
        let mut faded = 0;
        for ([x, one], y) in rows.map(|(x, y)| (x.map(f64::from), f64::from(y))) {
            // The network at its prior predicts 0 with variance 2 (x^2 + 1).
            let square = y * y / (2.0 * (x * x + one) + 0.1);
            let weight = if square > 1.0 && nu.is_finite() {
                (nu + 1.0) / (nu + square)
            } else {
                1.0
            };
            faded += u32::from(weight < 1.0);
            let noise = 0.1 / weight;
            a += x * x / noise;
            b += x * one / noise;
            c += one / noise;
            d += x * y / noise;
            e += y / noise;
        }
        assert_eq!(faded, u32::from(nu.is_finite()));
        let det = a * c - b * b;
        let (w, bias) = ((c * d - b * e) / det, (a * e - b * d) / det);
        let x = Input {
            index: &[0, 1],
            value: &[3.0, 1.0],
        };
        readout.predict(x, |seen| {
            assert!((seen.mean - (3.0 * w + bias)).abs() < 1e-12, "{seen:?}");
            let variance = (9.0 * c - 6.0 * b + a) / det;
            assert!((seen.ignorance - variance).abs() < 1e-12, "{seen:?}");
            assert_eq!(seen.spikes, 0.0);
        });
    }

    #[test]
    fn by_itself_it_is_the_networks_own_prediction() {
        for direct in [false, true] {
            let mut draft = NetworkDraft::regression(3, &[6, 5], 1);
            draft.direct = direct;
            draft.spikes = crate::ep::SpikeFunction::Probit { noise: 0.3 };
            let mut network = Network::new(&draft.build().unwrap());
            let x = Input {
                index: &[0, 1, 2],
                value: &[0.3, -1.2, 1.0],
            };
            network.learn(x, &[0.7], &[0.1], 1.0);
            let mut readout = LinearReadout::single(&network);
            let moments = network.predict(x);
            let (mean, variance) = (f64::from(moments.mean[0]), f64::from(moments.variance[0]));
            readout.predict(x, |seen| {
                assert!((seen.mean - mean).abs() < 1e-5, "{seen:?} {mean}");
                let sum = seen.ignorance + seen.spikes;
                assert!((sum - variance).abs() < 1e-5, "{seen:?} {variance}");
                assert!(seen.spikes > 0.0 && seen.ignorance > 0.0);
            });
        }
    }

    #[test]
    fn idle_units_are_drawn_and_the_others_stay() {
        let draft = NetworkDraft::regression(3, &[4], 1);
        let network = Network::new(&draft.build().unwrap());
        let drawn = network.drawn(&[true, false, true, false], 1);
        for k in 0..4 {
            for j in 0..3 {
                let (before, after) = (network.input.weight(j, k), drawn.input.weight(j, k));
                assert_eq!(before == after, k % 2 == 1);
                assert!(k % 2 == 1 || after.1 < 1e-5 * before.1);
            }
        }
    }
}
