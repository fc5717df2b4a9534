//! The weights themselves: what is left of a belief once it is to be carried out of the learner.

use super::Network;
use crate::ep::family::Family;

/// Means of the weights of one layer.
#[derive(Clone, Debug, PartialEq)]
pub struct LayerWeights {
    /// Number of inputs; the last is the bias, of value 1 (in the first layer the caller's).
    pub inputs: usize,
    /// Number of units.
    pub units: usize,
    /// Which values the weights may take.
    pub family: Family,
    /// Largest weight of a grid [-c, c]; 1 for Gaussian weights.
    pub scale: f32,
    /// Means, input by input, `units` each.
    pub mean: Vec<f32>,
}

impl Network {
    /// Which values the weights of the first layer may take.
    pub fn family(&self) -> Family {
        self.spec
            .families
            .first()
            .copied()
            .unwrap_or(Family::Gaussian)
    }

    /// Means of all weights, layer by layer; `None` where direct synapses join input and output.
    pub fn layer_weights(&self) -> Option<Vec<LayerWeights>> {
        if self.spec.direct {
            return None;
        }
        let mut network = self.clone();
        network.set_memory(None);
        let index: Vec<u32> = (0..network.inputs() as u32).collect();
        let mut runs = Vec::new();
        network.visit(&index, &mut |m, _, _| runs.push(m.to_vec()));
        let spec = &self.spec;
        let widths: Vec<usize> = spec.hidden.iter().copied().chain([self.outputs]).collect();
        // The first layer: a run an input, padded.
        let (first, rest) = runs.split_at(index.len());
        let rows = first.iter().flat_map(|row| &row[..widths[0]]).copied();
        let mut layers = vec![self.layer(0, index.len(), widths[0], rows.collect())];
        // The others: a run of rows, a unit each, then one of biases.
        for (i, pair) in rest.chunks_exact(2).enumerate() {
            let (below, units) = (widths[i], widths[i + 1]);
            let stride = pair[0].len() / units;
            let rows = (0..below).flat_map(|j| (0..units).map(move |k| k * stride + j));
            let mut mean: Vec<f32> = rows.map(|at| pair[0][at]).collect();
            mean.extend_from_slice(&pair[1][..units]);
            layers.push(self.layer(i + 1, below + 1, units, mean));
        }
        Some(layers)
    }

    fn layer(&self, i: usize, inputs: usize, units: usize, mean: Vec<f32>) -> LayerWeights {
        let family = self.spec.families[i];
        LayerWeights {
            inputs,
            units,
            family,
            scale: match family {
                Family::Gaussian => 1.0,
                Family::Binary | Family::Levels(_) => self.spec.priors.layers[i].variance.sqrt(),
            },
            mean,
        }
    }
}

#[cfg(test)]
mod tests {
    use crate::ep::{Input, Network, NetworkDraft};

    #[test]
    fn the_means_predict_what_the_network_predicts_when_it_is_sure_of_its_spikes() {
        let mut draft = NetworkDraft::regression(3, &[5, 9], 2);
        draft.priors.layers[0].mean_scale = 1e6;
        draft.priors.layers[1].mean_scale = 1e6;
        draft.priors.layers[2].mean_scale = 0.5;
        let mut network = Network::new(&draft.build().unwrap());
        let layers = network.layer_weights().unwrap();
        let value = [0.7, -1.2, 1.0];
        let mut below = value.to_vec();
        for (i, layer) in layers.iter().enumerate() {
            if i > 0 {
                below.push(1.0);
            }
            let sums = (0..layer.units).map(|k| {
                let inputs = below.iter().enumerate();
                inputs
                    .map(|(j, x)| x * layer.mean[j * layer.units + k])
                    .sum::<f32>()
            });
            let last = i + 1 == layers.len();
            let spike = |u: f32| {
                if last {
                    u
                } else {
                    f32::from(u8::from(u >= 0.0))
                }
            };
            below = sums.map(spike).collect();
        }
        let index = &[0, 1, 2];
        let seen = network.predict(Input {
            index,
            value: &value,
        });
        for (got, want) in below.iter().zip(seen.mean) {
            assert!((got - want).abs() < 1e-4, "{got} {want}");
        }
    }
}
