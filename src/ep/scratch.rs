//! Buffers of one forward and backward pass. No part of a network's state: a copy starts empty,
//! and any two are equal.

use super::kernel::padded;

/// Quantities of one hidden layer that the forward pass computes and the backward pass needs again. All padded.
#[derive(Debug, Default)]
pub(super) struct UnitScratch {
    pub omega: Vec<f32>,
    pub variance: Vec<f32>,
    pub a: Vec<f32>,
    /// See [`super::kernel::UnitCache`].
    pub first: Vec<f32>,
    pub second: Vec<f32>,
    pub third: Vec<f32>,
    pub rho: Vec<f32>,
    pub g: Vec<f32>,
    pub gamma: Vec<f32>,
}

impl UnitScratch {
    fn resize(&mut self, width: usize) {
        for buffer in [
            &mut self.omega,
            &mut self.variance,
            &mut self.a,
            &mut self.first,
            &mut self.second,
            &mut self.third,
            &mut self.rho,
            &mut self.g,
            &mut self.gamma,
        ] {
            buffer.resize(padded(width), 0.0);
        }
    }
}

/// Buffers of a whole network.
#[derive(Debug, Default)]
pub(super) struct NetworkScratch {
    /// Moments of the input layer's lanes.
    pub omega: Vec<f32>,
    pub variance: Vec<f32>,
    /// Messages to the input layer's lanes.
    pub g: Vec<f32>,
    pub gamma: Vec<f32>,
    /// One entry a hidden layer.
    pub units: Vec<UnitScratch>,
    /// Moments of the outputs.
    pub mean: Vec<f32>,
    pub out_variance: Vec<f32>,
    /// Messages to the outputs, where a factor is known by these.
    pub out_g: Vec<f32>,
    pub out_gamma: Vec<f32>,
    /// Intermediate values of a softmax.
    pub room: Vec<f32>,
    /// The input of the last forward pass, and whether its moments still hold.
    pub index: Vec<u32>,
    pub value: Vec<f32>,
    pub fresh: bool,
    /// Every moment of the last forward pass was finite.
    pub finite: bool,
}

impl NetworkScratch {
    /// Keeps the input of a forward pass, in no more memory than the largest one needs.
    pub(super) fn keep(&mut self, index: &[u32], value: &[f32]) {
        self.index.clear();
        self.index.reserve_exact(index.len());
        self.index.extend_from_slice(index);
        self.value.clear();
        self.value.reserve_exact(value.len());
        self.value.extend_from_slice(value);
    }

    /// Makes room; allocates only when a size has grown.
    pub(super) fn resize(&mut self, lanes: usize, hidden: &[usize], outputs: usize) {
        for buffer in [
            &mut self.omega,
            &mut self.variance,
            &mut self.g,
            &mut self.gamma,
        ] {
            buffer.resize(lanes, 0.0);
        }
        if self.units.len() != hidden.len() {
            self.units.resize_with(hidden.len(), UnitScratch::default);
        }
        for (units, &width) in self.units.iter_mut().zip(hidden) {
            units.resize(width);
        }
        for buffer in [
            &mut self.mean,
            &mut self.out_variance,
            &mut self.out_g,
            &mut self.out_gamma,
        ] {
            buffer.resize(outputs, 0.0);
        }
    }
}

impl Clone for NetworkScratch {
    fn clone(&self) -> NetworkScratch {
        NetworkScratch::default()
    }
}

impl PartialEq for NetworkScratch {
    fn eq(&self, _: &NetworkScratch) -> bool {
        true
    }
}
