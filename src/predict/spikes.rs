//! A hidden layer of spiking units trained by stochastic expectation propagation, whose expected spikes
//! are inputs of a [`super::filter::RecursiveFilter`].
//!
//! The network's own output layer only teaches the hidden layer: a belief that holds each weight by
//! itself cannot weigh correlated spikes against one another, the filter's full covariance can.

use serde::{Deserialize, Serialize};

use super::noise::Noise;
use crate::encode::Spikes;
use crate::ep::{Input, Network, NetworkDraft, Report};
use crate::num::scrap::Scrap;

/// Prior mean of input weights, random, in prior standard deviations.
const INPUT_MEAN_SCALE: f32 = 0.5;
/// Prior variance of output weights, over the number of hidden units.
const OUTPUT_VARIANCE: f32 = 4.0;
/// Noise variance before anything is known, in squared usual steps, and its floor: below it f32
/// moments say nothing.
const NOISE: f64 = 0.5;
const NOISE_FLOOR: f64 = 1e-4;
/// Degrees of freedom of the Student weighting of a sample.
const NU: f64 = 30.0;

/// Shape of a [`HiddenLayer`].
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HiddenShape {
    /// Spiking units.
    pub units: usize,
    /// Inputs.
    pub inputs: u32,
    /// Inputs that are usually active, each counted by its square.
    pub nominal: f32,
    /// Outputs.
    pub outputs: usize,
    /// Memory of the weights, rows.
    pub memory: f64,
    /// Seed of the random prior.
    pub seed: u64,
}

/// A spiking layer and the outputs that teach it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HiddenLayer {
    units: usize,
    net: Network,
    noise: Vec<Noise>,
    #[serde(skip)]
    work: Scrap<Work>,
}

#[derive(Debug, Default)]
struct Work {
    input: Spikes,
    target: Vec<f32>,
    noise: Vec<f32>,
    mean: Vec<f32>,
    variance: Vec<f32>,
}

impl HiddenLayer {
    /// A layer at its prior.
    pub fn new(shape: HiddenShape) -> HiddenLayer {
        let HiddenShape { units, outputs, .. } = shape;
        let inputs = shape.inputs as usize;
        let mut draft = NetworkDraft::stream(inputs, &[units], outputs, shape.nominal);
        draft.memory = Some(shape.memory);
        draft.seed = shape.seed;
        draft.priors.layers[0].mean_scale = INPUT_MEAN_SCALE;
        draft.priors.layers[1].variance = OUTPUT_VARIANCE / units as f32;
        draft.priors.layers[1].mean_scale = 0.0;
        let spec = draft.build().expect("a valid network");
        HiddenLayer {
            units,
            net: Network::new(&spec),
            noise: vec![Noise::new(NOISE, NOISE_FLOOR); outputs],
            work: Scrap::default(),
        }
    }

    /// Spiking units.
    pub fn units(&self) -> usize {
        self.units
    }

    /// Adds inputs and outputs at the prior.
    pub fn grow(&mut self, inputs: u32, outputs: usize) {
        self.net.grow(inputs as usize, outputs);
        let outputs = self.noise.len() + outputs;
        self.noise.resize(outputs, Noise::new(NOISE, NOISE_FLOOR));
    }

    /// Changes the memory of the weights, rows.
    pub fn set_memory(&mut self, rows: f64) {
        self.net.set_memory(Some(rows));
    }

    /// The input that the next [`HiddenLayer::respond`] is for, emptied.
    pub fn start(&mut self) -> &mut Spikes {
        self.work.0.input.clear();
        &mut self.work.0.input
    }

    /// Expected spikes of the units for the input that was filled in.
    pub fn respond(&mut self) -> &[f32] {
        let work = &mut self.work.0;
        let moments = self.net.predict(Input {
            index: &work.input.index,
            value: &work.input.value,
        });
        work.mean.clear();
        work.mean.extend_from_slice(moments.mean);
        work.variance.clear();
        work.variance.extend_from_slice(moments.variance);
        self.net.spikes()
    }

    /// Learns the targets of the last response, NaN where one is missing.
    pub fn learn(&mut self, targets: &[f64]) -> Report {
        let work = &mut self.work.0;
        if work.mean.len() != targets.len() {
            return Report::default();
        }
        work.target.clear();
        work.noise.clear();
        for (o, &target) in targets.iter().enumerate() {
            let (residual, ignorance) = (
                target - f64::from(work.mean[o]),
                f64::from(work.variance[o]),
            );
            let noise = &mut self.noise[o];
            let total = ignorance + noise.variance();
            let weight = ((NU + 1.0) / (NU + residual * residual / total)).min(1.0);
            work.target.push(target as f32);
            let effective = noise.variance() / weight;
            work.noise.push(if target.is_nan() {
                1.0
            } else {
                effective as f32
            });
            if !target.is_nan() {
                noise.observe(residual, ignorance);
            }
        }
        let input = Input {
            index: &work.input.index,
            value: &work.input.value,
        };
        self.net.learn(input, &work.target, &work.noise, 1.0)
    }

    /// Summarises the network in figures. Walks over all weights.
    pub fn summary(&self) -> crate::ep::NetworkSummary {
        self.net.summary()
    }

    /// Bytes of its weights: mean and variance of each.
    pub fn bytes(&self) -> usize {
        let (inputs, outputs) = (self.net.inputs(), self.net.outputs());
        let direct = inputs * outputs;
        (inputs * self.units + self.units * outputs + direct) * 2 * size_of::<f32>()
    }

    /// Mean posterior sd of all weights over their prior sd, 0 to 1.
    pub fn relative_sd(&self) -> f64 {
        self.net.relative_sd()
    }
}
