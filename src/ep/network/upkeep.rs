//! A network beside learning: growth, forgetting, what its weights are like.

use super::{Network, NetworkSummary};
use crate::ep::dense::DenseLayer;
use crate::ep::family::Visitor;
use crate::ep::report::LayerSummary;

impl Network {
    /// Appends inputs and outputs at the prior; what is there stays as it is, bit for bit.
    pub fn grow(&mut self, add_inputs: usize, add_outputs: usize) {
        if add_outputs > 0 {
            self.outputs += add_outputs;
            if self.spec.direct {
                self.input.add_direct(add_outputs);
            }
            if let Some(layer) = self.upper.last_mut() {
                layer.add_units(add_outputs);
            }
        }
        if add_inputs > 0 {
            self.input.add_rows(add_inputs, self.clock);
        }
        self.scratch.fresh = false;
    }

    /// Forgets `share` of everything learned, 0 to 1: the belief moves towards the prior in
    /// natural parameters.
    ///
    /// # Panics
    /// If `share` is not within 0 to 1.
    pub fn forget(&mut self, share: f64) {
        assert!((0.0..=1.0).contains(&share), "share to forget: {share}");
        let keep = (1.0 - share) as f32;
        self.input.forget(keep);
        for layer in &mut self.upper {
            layer.forget(keep);
        }
        self.scratch.fresh = false;
    }

    /// Changes the memory N; what was to be forgotten so far is forgotten first.
    ///
    /// # Panics
    /// If the memory is not above 1.
    pub fn set_memory(&mut self, memory: Option<f64>) {
        assert!(memory.is_none_or(|n| n > 1.0), "memory {memory:?}");
        self.input.settle(self.clock, self.ln_keep);
        for layer in &mut self.upper {
            layer.settle(self.clock, self.ln_keep);
        }
        self.ln_keep = memory.map_or(0.0, |n| libm::log1p(-1.0 / n));
        self.scratch.fresh = false;
    }

    /// Changes the noise of probit spikes (0 and more; 0 is deterministic). Nothing changes where
    /// spikes are of another kind.
    ///
    /// # Panics
    /// If the noise is negative or not finite.
    pub fn set_spike_noise(&mut self, noise: f32) {
        assert!(noise >= 0.0 && noise.is_finite(), "spike noise {noise}");
        if let Some(old) = &mut self.spike_noise {
            *old = noise;
        }
        self.scratch.fresh = false;
    }

    /// From now on forgets towards priors of mean 0, of the same variance (of grids: the same
    /// levels): the random means that broke the symmetry fade like all that was learned. Weights
    /// that are added later start there.
    pub fn centre_priors(&mut self) {
        self.input.centre_prior();
        for layer in &mut self.upper {
            layer.centre_prior();
        }
    }

    /// Changes the likelihood power of all weights: of hidden layers (and direct synapses), and of
    /// the output layer.
    ///
    /// # Panics
    /// If a power is not above 0 and finite.
    pub fn set_power(&mut self, hidden: f32, output: f32) {
        for power in [hidden, output] {
            assert!(power > 0.0 && power.is_finite(), "likelihood power {power}");
        }
        self.input.set_power(hidden);
        if let Some((last, layers)) = self.upper.split_last_mut() {
            last.set_power(output);
            for layer in layers {
                layer.set_power(hidden);
            }
        }
    }

    /// Weights of a sample with `active` active inputs, padding included.
    pub(in crate::ep) fn weights_touched(&self, active: usize) -> usize {
        let dense: usize = self.upper.iter().map(DenseLayer::size).sum();
        active * self.input.stride() + dense
    }

    /// A network of the same size that has learned nothing.
    pub(in crate::ep) fn at_prior(&self) -> Network {
        let mut network = Network::new(&self.spec);
        network.grow(
            self.inputs() - network.inputs(),
            self.outputs - network.outputs(),
        );
        network
    }

    /// Walks over the weights of the given inputs, then over all others: means, variances and the
    /// prior's precision of each run.
    pub(in crate::ep) fn visit(&mut self, index: &[u32], f: &mut Visitor<'_>) {
        self.scratch.fresh = false;
        self.input.visit(index, f);
        for layer in &mut self.upper {
            layer.visit(f);
        }
    }

    /// Summarises the network in figures. Walks over all weights.
    pub fn summary(&self) -> NetworkSummary {
        NetworkSummary {
            layers: self.layer_summaries().collect(),
            direct: self.input.direct_summary(),
        }
    }

    fn layer_summaries(&self) -> impl Iterator<Item = LayerSummary> {
        let first = (!self.spec.hidden.is_empty()).then(|| self.input.hidden_summary());
        let upper = self.upper.iter().map(DenseLayer::summary);
        first.into_iter().chain(upper)
    }

    /// Mean posterior sd of all weights over their prior sd, 0 to 1. Walks over all weights.
    pub fn relative_sd(&self) -> f64 {
        let groups = self.layer_summaries().chain([self.input.direct_summary()]);
        let (sum, n) = groups.fold((0.0, 0.0), |(sum, n), group| {
            let weights = group.weights as f64;
            (sum + group.relative_sd * weights, n + weights)
        });
        sum / f64::max(n, 1.0)
    }

    /// The belief about the direct weight from input `j` to output `k`: (mean, variance).
    ///
    /// # Panics
    /// If there is no such weight.
    pub fn direct_weight(&self, j: usize, k: usize) -> (f32, f32) {
        assert!(
            self.spec.direct && k < self.outputs,
            "no direct weight {j}, {k}"
        );
        self.input.weight(j, self.input.direct_at() + k)
    }
}
