//! Samples in sparse form, their targets, and random orders.

use crate::encode::Spikes;
use crate::ep::Input;
use crate::num::counter;

/// Samples in sparse form; the last input is the bias.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    /// Number of inputs, the bias included.
    pub inputs: usize,
    start: Vec<usize>,
    index: Vec<u32>,
    value: Vec<f32>,
}

impl Samples {
    /// Adds a sample from its dense values (zeros and missing values are silent) and the value of
    /// the bias.
    pub fn push(&mut self, dense: impl Iterator<Item = f32>, bias: f32) {
        self.start.push(self.index.len());
        let mut n = 0u32;
        for value in dense {
            if value != 0.0 && value.is_finite() {
                self.index.push(n);
                self.value.push(value);
            }
            n += 1;
        }
        self.index.push(n);
        self.value.push(bias);
        self.inputs = n as usize + 1;
    }

    /// Adds a sample from its spikes, in ascending order of index below `width`, and the value of the bias.
    pub fn push_spikes(&mut self, spikes: &Spikes, width: usize, bias: f32) {
        self.start.push(self.index.len());
        self.index.extend(&spikes.index);
        self.value.extend(&spikes.value);
        self.index.push(width as u32);
        self.value.push(bias);
        self.inputs = width + 1;
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.start.len()
    }

    /// There is none.
    pub fn is_empty(&self) -> bool {
        self.start.is_empty()
    }

    /// Sample `i`.
    pub fn get(&self, i: usize) -> Input<'_> {
        let end = self.start.get(i + 1).copied().unwrap_or(self.index.len());
        Input {
            index: &self.index[self.start[i]..end],
            value: &self.value[self.start[i]..end],
        }
    }
}

/// The quantity to predict.
#[derive(Clone, Debug, PartialEq)]
pub enum Targets {
    /// Standardised values.
    Real(Vec<f32>),
    /// Classes from 0.
    Class(Vec<usize>),
}

/// A random order of 0..n.
pub fn shuffled(n: usize, seed: u64, pass: u32) -> Vec<usize> {
    let key = counter::key(seed, pass.wrapping_add(0x5eed));
    let mut order: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        let u = counter::uniform(counter::row_key(key, i as u32), 0);
        order.swap(i, ((i + 1) as f64 * u) as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_order_holds_every_sample_once() {
        let mut order = shuffled(100, 7, 1);
        assert_ne!(order, shuffled(100, 7, 2));
        order.sort_unstable();
        assert!(order.iter().enumerate().all(|(i, &j)| i == j));
    }
}
