//! A head: one network with the noise and the calibrated intervals of its outputs.

use serde::{Deserialize, Serialize};

use super::interval::IntervalCalibration;
use crate::encode::Spikes;
use crate::ep::{Input, Network, NetworkSpec, NetworkSummary, Report};
use crate::num::scrap::Scrap;
use crate::num::special;
use crate::predict::{Forgetting, RecursiveFilter};

/// A squared residual counts as no more than this many noise variances.
const NOISE_CAP: f64 = 25.0;
/// Floor of the noise variance, in squared target units: below it f32 moments say nothing.
const NOISE_FLOOR: f64 = 1e-4;
/// The prior noise variance of 1 counts as this many samples.
const NOISE_PRIOR_WEIGHT: f64 = 4.0;

/// Observation noise of one output: fading mean of the posterior expectation of its square.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct OutputNoise {
    variance: f64,
    weight: f64,
}

impl Default for OutputNoise {
    fn default() -> OutputNoise {
        OutputNoise {
            variance: 1.0,
            weight: 0.0,
        }
    }
}

impl OutputNoise {
    /// Takes one posterior expectation of the squared noise. True if it was capped.
    fn observe(&mut self, square: f64, weight: f64, memory: f64) -> bool {
        let cap = NOISE_CAP * self.variance;
        self.weight += weight;
        let rate = weight * (1.0 / (self.weight + NOISE_PRIOR_WEIGHT)).max(1.0 / memory);
        self.variance = ((1.0 - rate) * self.variance + rate * square.min(cap)).max(NOISE_FLOOR);
        square > cap
    }
}

/// Prior variance of a readout's weights, in units of the noise.
const READOUT_PRIOR: f64 = 1.0;
/// Errors are limited to this many standard deviations before a readout learns them.
const ERROR_LIMIT: f64 = 5.0;
/// No event is taken for less likely than this: beyond it f32 moments say nothing.
pub const LEAST_P: f64 = 1e-9;
/// Cells of the daily noise profile.
const HOURS: usize = 24;
/// The prior of a cell, that it is as noisy as the day, counts as this many values.
const PROFILE_PRIOR: f32 = 12.0;
/// No hour is taken for quieter than this share of the day.
const PROFILE_FLOOR: f64 = 1e-3;
/// Memory of a cell, as a share of the memory of the statistics.
const PROFILE_MEMORY_SHARE: f64 = 0.125;

/// How noisy each hour of the day is against the whole day: squared noise over the noise
/// variance, a cell an hour, linear in between.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Profile {
    ratio: [f32; HOURS],
    weight: [f32; HOURS],
}

impl Default for Profile {
    fn default() -> Profile {
        Profile {
            ratio: [1.0; HOURS],
            weight: [PROFILE_PRIOR; HOURS],
        }
    }
}

impl Profile {
    /// The ratio at `hour`, 0..24.
    fn at(&self, hour: f32) -> f64 {
        let (cell, next, share) = cells(hour);
        f64::from((1.0 - share) * self.ratio[cell] + share * self.ratio[next]).max(PROFILE_FLOOR)
    }

    /// Learns one squared noise in units of the noise variance.
    fn observe(&mut self, hour: f32, square: f64, weight: f64, memory: f64) {
        let (cell, next, share) = cells(hour);
        for (cell, part) in [(cell, 1.0 - share), (next, share)] {
            let part = part * weight as f32;
            self.weight[cell] = (self.weight[cell] + part).min(memory as f32);
            self.ratio[cell] += part / self.weight[cell] * (square as f32 - self.ratio[cell]);
        }
    }
}

/// The two cells that share an hour, and the second one's share.
fn cells(hour: f32) -> (usize, usize, f32) {
    let cell = (hour as usize).min(HOURS - 1);
    (cell, (cell + 1) % HOURS, hour - cell as f32)
}

/// An output's prediction of its target.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum Likelihood {
    /// A real number with Gaussian noise.
    #[default]
    Gaussian,
    /// Yes (1) or no (-1), through a probit.
    Probit,
}

/// One sample.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Sample {
    /// Active inputs.
    pub spikes: Spikes,
    /// Target a output, NaN where missing.
    pub target: Vec<f32>,
    /// Weight of the likelihood and of the forgetting, 0..=1.
    pub weight: f64,
    /// Hour of the day, 0..24, once a day has been seen.
    pub hour: Option<f32>,
}

/// Shape of a readout.
#[derive(Clone, Copy, Debug)]
pub struct Readout {
    /// Inputs beside the spikes.
    pub inputs: usize,
    /// Outputs.
    pub outputs: usize,
    /// Memory of its weights, rows.
    pub memory: f64,
}

/// A network and what is known of its errors, an entry an output.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Head {
    /// The network; none where only the readout predicts.
    net: Option<Network>,
    /// Reads the inputs and the hidden layer's spikes jointly, in place of the network's own outputs.
    readout: Option<RecursiveFilter>,
    likelihood: Likelihood,
    noise: Vec<OutputNoise>,
    profile: Vec<Profile>,
    intervals: Vec<IntervalCalibration>,
    /// Spikes and inputs, as the readout sees them, and its means.
    #[serde(skip)]
    joined: Scrap<Spikes>,
    #[serde(skip)]
    read: Scrap<Vec<f64>>,
    /// Of the last prediction: noise of the hour over that of the day.
    ratio: Vec<f64>,
    mean: Vec<f64>,
    ignorance: Vec<f64>,
    effective: Vec<f32>,
}

/// Weight of a residual under Student's t with `nu` degrees of freedom, for a variance `total`.
fn student(residual: f64, total: f64, nu: f64) -> f64 {
    if nu.is_finite() {
        ((nu + 1.0) / (nu + residual * residual / total)).min(1.0)
    } else {
        1.0
    }
}

/// Result of learning one sample.
#[derive(Clone, Copy, Debug, Default)]
pub struct Learned {
    /// The network's own report.
    pub report: Report,
    /// Noise updates that hit their cap.
    pub limited: u64,
}

impl Head {
    /// A network at its prior.
    pub fn new(spec: &NetworkSpec, outputs: usize, likelihood: Likelihood) -> Head {
        Head::of(Some(Network::new(spec)), None, likelihood, outputs)
    }

    /// A linear readout of `inputs` inputs, with a memory of `memory` rows, jointly with the spikes of a
    /// hidden layer where there is one.
    pub fn joint(hidden: Option<&NetworkSpec>, shape: Readout) -> Head {
        let spikes = hidden.and_then(|spec| spec.hidden.last().copied());
        let width = spikes.unwrap_or(0) + shape.inputs;
        let forgetting = Forgetting::Memory(shape.memory);
        let readout = RecursiveFilter::new(width, shape.outputs, READOUT_PRIOR, forgetting);
        let net = hidden.map(Network::new);
        Head::of(net, Some(readout), Likelihood::Gaussian, shape.outputs)
    }

    fn of(
        net: Option<Network>,
        readout: Option<RecursiveFilter>,
        likelihood: Likelihood,
        outputs: usize,
    ) -> Head {
        let mut head = Head {
            net,
            readout,
            joined: Scrap::default(),
            read: Scrap::default(),
            likelihood,
            noise: Vec::new(),
            profile: Vec::new(),
            ratio: Vec::new(),
            intervals: Vec::new(),
            mean: Vec::new(),
            ignorance: Vec::new(),
            effective: Vec::new(),
        };
        head.add_outputs(outputs);
        head
    }

    /// Changes the memory of the weights, rows.
    pub fn set_memory(&mut self, rows: f64) {
        if let Some(readout) = &mut self.readout {
            readout.set_forgetting(Forgetting::Memory(rows));
        }
        if let Some(net) = &mut self.net {
            net.set_memory(Some(rows));
        }
    }

    fn add_outputs(&mut self, n: usize) {
        let outputs = self.noise.len() + n;
        self.noise.resize_with(outputs, OutputNoise::default);
        self.profile.resize_with(outputs, Profile::default);
        self.ratio.resize(outputs, 1.0);
        self.intervals
            .resize_with(outputs, IntervalCalibration::default);
        self.mean.resize(outputs, 0.0);
        self.ignorance.resize(outputs, 0.0);
        self.effective.resize(outputs, 1.0);
    }

    /// Adds inputs and outputs at the prior.
    pub fn grow(&mut self, inputs: usize, outputs: usize) {
        if let Some(readout) = &mut self.readout {
            readout.grow(inputs, outputs);
        }
        if let Some(net) = &mut self.net {
            net.grow(inputs, outputs);
        }
        self.add_outputs(outputs);
    }

    /// Predictive mean and ignorance of every output.
    pub fn predict(&mut self, spikes: &Spikes, hour: Option<f32>) {
        for (ratio, profile) in self.ratio.iter_mut().zip(&self.profile) {
            *ratio = hour.map_or(1.0, |hour| profile.at(hour));
        }
        self.read(spikes);
    }

    /// Fills means and ignorance of every output for an input.
    fn read(&mut self, spikes: &Spikes) {
        let input = Input {
            index: &spikes.index,
            value: &spikes.value,
        };
        if let Some(net) = &mut self.net {
            let moments = net.predict(input);
            for (to, &from) in self.mean.iter_mut().zip(moments.mean) {
                *to = f64::from(from);
            }
            for (to, &from) in self.ignorance.iter_mut().zip(moments.variance) {
                *to = f64::from(from);
            }
        }
        let Some(readout) = &mut self.readout else {
            return;
        };
        let (joined, read) = (&mut self.joined.0, &mut self.read.0);
        joined.clear();
        let active = self.net.as_ref().map_or(&[][..], Network::spikes);
        (0..).zip(active).for_each(|(i, &a)| joined.push(i, a));
        let behind = active.len() as u32;
        for (&i, &x) in spikes.index.iter().zip(&spikes.value) {
            joined.push(behind + i, x);
        }
        read.clear();
        read.resize(self.mean.len(), 0.0);
        let ignorance = readout.predict(joined, read);
        self.mean.copy_from_slice(read);
        for (to, noise) in self.ignorance.iter_mut().zip(&self.noise) {
            *to = ignorance * noise.variance;
        }
    }

    /// Forgets the last prediction: mean 0, no ignorance.
    pub fn predict_nothing(&mut self) {
        self.mean.fill(0.0);
        self.ignorance.fill(0.0);
    }

    /// Mean of output `o` (target units).
    pub fn mean(&self, o: usize) -> f64 {
        self.mean[o]
    }

    /// Predictive variance of output `o`: ignorance and noise.
    pub fn variance(&self, o: usize) -> f64 {
        self.ignorance[o] + self.noise(o)
    }

    /// Probability that the answer of output `o` is yes: Phi(mean / sqrt(ignorance + 1)).
    pub fn yes(&self, o: usize) -> f64 {
        special::cdf(self.mean[o] / (self.ignorance[o] + 1.0).sqrt())
    }

    /// Noise variance of output `o` at the hour of the last prediction.
    pub fn noise(&self, o: usize) -> f64 {
        self.noise[o].variance * self.ratio[o]
    }

    /// Half-width of the 90% interval of output `o` in predictive sds.
    pub fn half90(&self, o: usize) -> f64 {
        self.intervals[o].half_width()
    }

    /// Learns whether the 90% interval of output `o` held. True if its level was kept in bounds.
    pub fn held(&mut self, o: usize, inside: bool) -> bool {
        self.intervals[o].held(inside)
    }

    /// Standardised residual of a target against the last prediction.
    pub fn residual(&self, o: usize, target: f64) -> f64 {
        (target - self.mean[o]) / self.variance(o).sqrt()
    }

    /// Deviance residual sqrt(-2 ln p) of an event of predicted probability `p`: it stands for the
    /// standardised one, so that an event that never happens is as far out as a value many sd away.
    pub fn deviance(p: f64) -> f64 {
        (-2.0 * p.max(LEAST_P).ln()).sqrt()
    }

    /// Learns a standardised error of output `o`.
    pub fn observe(&mut self, o: usize, z: f64, weight: f64, memory: f64) {
        self.intervals[o].observe(z, weight, memory);
    }

    /// Learns one sample: Student-t weighting and the sample's weight inflate the noise of each
    /// output, since a Gaussian likelihood to the power w is one with variance sigma^2/w.
    pub fn learn(&mut self, sample: &Sample, nu: f64, memory: f64) -> Learned {
        if sample.weight <= 0.0 {
            return Learned::default();
        }
        let input = Input {
            index: &sample.spikes.index,
            value: &sample.spikes.value,
        };
        if self.likelihood == Likelihood::Probit {
            let weight = sample.weight as f32;
            let net = self.net.as_mut();
            return Learned {
                report: net.map_or(Report::default(), |net| {
                    net.learn_answers(input, &sample.target, weight)
                }),
                limited: 0,
            };
        }
        self.read(&sample.spikes);
        let mut limited = 0;
        for (o, &target) in sample.target.iter().enumerate() {
            if target.is_nan() {
                continue;
            }
            let (noise, profile) = (&mut self.noise[o], &mut self.profile[o]);
            let ratio = sample.hour.map_or(1.0, |hour| profile.at(hour));
            let ignorance = self.ignorance[o];
            let residual = f64::from(target) - self.mean[o];
            let variance = noise.variance * ratio;
            let total = ignorance + variance;
            let noisy = variance / (student(residual, total, nu) * sample.weight);
            self.effective[o] = noisy as f32;
            if let Some(error) = self.read.0.get_mut(o) {
                let limit = ERROR_LIMIT * total.sqrt();
                *error = residual.clamp(-limit, limit);
            }
            // E[noise^2 | y] = (sigma^2 r/T)^2 + sigma^2 V/T, T = V + sigma^2.
            let share = variance / total;
            let square = (share * residual).powi(2) + share * ignorance;
            if let Some(hour) = sample.hour {
                let relative = (square / noise.variance).min(NOISE_CAP * ratio);
                profile.observe(hour, relative, sample.weight, memory * PROFILE_MEMORY_SHARE);
            }
            limited += u64::from(noise.observe(square / ratio, sample.weight, memory));
        }
        let outputs = sample.target.len();
        if let Some(readout) = &mut self.readout {
            for (error, target) in self.read.0.iter_mut().zip(&sample.target) {
                if target.is_nan() {
                    *error = f64::NAN;
                }
            }
            readout.learn(&self.read.0, 1.0 / sample.weight);
        }
        let net = self.net.as_mut();
        let report = net.map_or(Report::default(), |net| {
            let noise = &self.effective[..outputs];
            net.learn(input, &sample.target, noise, sample.weight as f32)
        });
        Learned { report, limited }
    }

    /// Summarises the network in figures. Walks over all weights.
    pub fn summary(&self) -> Option<NetworkSummary> {
        self.net.as_ref().map(Network::summary)
    }

    /// Forgets a share of everything: after a new normal was accepted.
    pub fn forget(&mut self, share: f64, weights_too: bool) {
        if weights_too {
            if let Some(readout) = &mut self.readout {
                readout.forget(share);
            }
            if let Some(net) = &mut self.net {
                net.forget(share);
            }
        }
        let intervals = self.intervals.iter_mut();
        intervals.for_each(|interval| interval.fade(1.0 - share));
    }

    /// The inputs have changed: the share `keep` is kept of what is known of errors and noise.
    pub fn renew(&mut self, keep: f64) {
        self.intervals.iter_mut().for_each(|i| i.fade(keep));
        self.noise.iter_mut().for_each(|noise| noise.weight *= keep);
    }
}
