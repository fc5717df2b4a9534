//! A sample of a mini-batch and its evidence; all weights in one row, to be put back.

use super::{Input, Network};
use crate::ep::report::Report;

/// The evidence of one sample.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Observation<'a> {
    /// Targets and their noise variances, one each an output (see [`Network::learn`]).
    Values(&'a [f32], &'a [f32]),
    /// A class (see [`Network::learn_class`]).
    Class(usize),
}

impl Observation<'_> {
    /// Teaches the network that this belongs to `x`; it counts for `weight` steps of forgetting.
    ///
    /// # Panics
    /// As [`Network::learn`] and [`Network::learn_class`].
    pub fn teach(self, network: &mut Network, x: Input<'_>, weight: f32) -> Report {
        match self {
            Observation::Values(target, noise) => network.learn(x, target, noise, weight),
            Observation::Class(class) => network.learn_class(x, class, weight),
        }
    }
}

/// One sample of a batch.
pub type LabelledInput<'a> = (Input<'a>, Observation<'a>);

/// Every weight of a network in one row: all inputs' rows, then each upper layer with its biases.
#[derive(Clone)]
pub(super) struct Flat {
    pub index: Vec<u32>,
    pub mean: Vec<f32>,
    pub variance: Vec<f32>,
    pub floor: Vec<f32>,
}

impl Flat {
    pub(super) fn of(network: &mut Network) -> Flat {
        let mut flat = Flat {
            index: (0..network.inputs() as u32).collect(),
            mean: Vec::new(),
            variance: Vec::new(),
            floor: Vec::new(),
        };
        let index = flat.index.clone();
        network.visit(&index, &mut |m, s, floor| {
            flat.mean.extend_from_slice(m);
            flat.variance.extend_from_slice(s);
            flat.floor.resize(flat.mean.len(), floor);
        });
        flat
    }

    /// This belief times `share` of a site in natural parameters; precisions below the prior's are
    /// lifted to it and counted.
    pub(super) fn times(
        &self,
        precision: &[f32],
        shift: &[f32],
        share: f32,
        report: &mut Report,
    ) -> Flat {
        let mut flat = self.clone();
        for at in 0..precision.len() {
            let p0 = 1.0 / self.variance[at];
            let wanted = share.mul_add(precision[at], p0);
            let p = wanted.max(self.floor[at]);
            report.clipped += u64::from(wanted < 0.999 * p);
            flat.mean[at] = share.mul_add(shift[at], self.mean[at] * p0) / p;
            flat.variance[at] = 1.0 / p;
        }
        flat
    }

    /// Gives the network this belief.
    pub(super) fn write(&self, network: &mut Network) {
        let mut at = 0;
        network.visit(&self.index, &mut |m, s, _| {
            m.copy_from_slice(&self.mean[at..at + m.len()]);
            s.copy_from_slice(&self.variance[at..at + m.len()]);
            at += m.len();
        });
    }
}
