//! A trained network in integers: few bits a weight, sums without rounding, and its C source.
//!
//! A hidden unit spikes where its sum is not negative, whatever the sum's scale: hidden weights
//! become integers without loss on a grid, and by 8 bits a unit where they are Gaussian. Inputs are
//! integers too. All sums are exact, so that any machine gives the same bits.

use crate::ep::{Family, Input, LayerWeights, Network};

/// Largest 8 bit weight.
const TOP: f32 = 127.0;

/// Weights of one layer, unit by unit, and the bias of each unit: whole numbers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct AffineLayer {
    pub inputs: usize,
    pub units: usize,
    pub weight: Vec<f32>,
    pub bias: Vec<f32>,
}

/// One layer of integer weights.
#[derive(Clone, Debug, PartialEq)]
struct Layer {
    inputs: usize,
    units: usize,
    /// Number of levels of a grid, whose code c stands for 2 c - (levels - 1); 0: 8 bit integers.
    levels: u16,
    /// Codes, input by input.
    codes: Vec<u8>,
    /// A real weight over its integer, in the output layer.
    scale: f32,
}

impl Layer {
    fn new(layer: &LayerWeights, last: bool) -> Layer {
        let levels = match layer.family {
            Family::Gaussian => 0,
            Family::Binary => 2,
            Family::Levels(count) => count,
        };
        let largest = |k: Option<usize>| {
            let all = layer.mean.iter().enumerate();
            all.filter(|(i, _)| k.is_none_or(|k| i % layer.units == k))
                .map(|(_, m)| m.abs())
                .fold(f32::MIN_POSITIVE, f32::max)
        };
        let tops: Vec<f32> = (0..layer.units)
            .map(|k| largest((!last).then_some(k)))
            .collect();
        let code = |(i, m): (usize, &f32)| {
            if levels == 0 {
                return ((m / tops[i % layer.units] * TOP).round() as i8) as u8;
            }
            let place = (m / layer.scale + 1.0) * 0.5 * f32::from(levels - 1);
            place.round().max(0.0).min(f32::from(levels - 1)) as u8
        };
        Layer {
            inputs: layer.inputs,
            units: layer.units,
            levels,
            codes: layer.mean.iter().enumerate().map(code).collect(),
            scale: match levels {
                0 => tops[0] / TOP,
                _ => layer.scale / f32::from(levels - 1),
            },
        }
    }

    fn weight(&self, j: usize, k: usize) -> i32 {
        let code = self.codes[j * self.units + k];
        match self.levels {
            0 => i32::from(code as i8),
            levels => 2 * i32::from(code) - i32::from(levels - 1),
        }
    }

    /// Bits a weight: 1, 2, 4 or 8.
    fn bits(&self) -> usize {
        match self.levels {
            2 => 1,
            3 | 4 => 2,
            5..=16 => 4,
            _ => 8,
        }
    }

    /// Bytes of one input's row.
    fn stride(&self) -> usize {
        (self.units * self.bits()).div_ceil(8)
    }

    fn packed(&self) -> Vec<u8> {
        let mut bytes = vec![0u8; self.inputs * self.stride()];
        for (i, code) in self.codes.iter().enumerate() {
            let (j, at) = (i / self.units, (i % self.units) * self.bits());
            bytes[j * self.stride() + at / 8] |= code << (at % 8);
        }
        bytes
    }
}

/// A network of integers.
#[derive(Clone, Debug, PartialEq)]
pub struct IntegerNetwork {
    layers: Vec<Layer>,
    /// Integer of an input of value 1.
    unit: i32,
}

impl IntegerNetwork {
    /// The means of a network's weights as integers. `unit` is the integer of an input of value 1:
    /// 1 for spikes, 255 for pixels. `None` where direct synapses join input and output.
    pub fn new(network: &Network, unit: i32) -> Option<IntegerNetwork> {
        let layers = network.layer_weights()?;
        let last = layers.len() - 1;
        let layers = layers.iter().enumerate();
        Some(IntegerNetwork {
            layers: layers
                .map(|(i, layer)| Layer::new(layer, i == last))
                .collect(),
            unit,
        })
    }

    /// An input as integers, all of them, the bias included.
    pub fn quantise(&self, x: Input<'_>) -> Vec<i32> {
        let mut dense = vec![0; self.layers[0].inputs];
        for (j, value) in x.index.iter().zip(x.value) {
            dense[*j as usize] = (value * self.unit as f32).round() as i32;
        }
        dense
    }

    /// The outputs' sums; a real output is [`IntegerNetwork::scale`] times its sum.
    pub fn outputs(&self, input: &[i32]) -> Vec<i32> {
        let mut below = input.to_vec();
        for (i, layer) in self.layers.iter().enumerate() {
            if i > 0 {
                // Spikes, then the bias.
                below.iter_mut().for_each(|u| *u = i32::from(*u >= 0));
                below.push(1);
            }
            let mut sums = vec![0; layer.units];
            for (j, x) in below.iter().enumerate().filter(|(_, x)| **x != 0) {
                for (k, sum) in sums.iter_mut().enumerate() {
                    *sum += x * layer.weight(j, k);
                }
            }
            below = sums;
        }
        below
    }

    /// Integer of an input of value 1.
    pub fn unit(&self) -> i32 {
        self.unit
    }

    /// The layers, the last input of each being its bias; that of the first has the value `bias`.
    pub(super) fn affine_layers(&self, bias: f32) -> Vec<AffineLayer> {
        let first = (bias * self.unit as f32).round() as i32;
        let layers = self.layers.iter().enumerate();
        let affine = |(i, layer): (usize, &Layer)| {
            let (inputs, units) = (layer.inputs - 1, layer.units);
            let value = if i == 0 { first } else { 1 };
            let weights = (0..units).flat_map(|k| (0..inputs).map(move |j| layer.weight(j, k)));
            AffineLayer {
                inputs,
                units,
                weight: weights.map(|w| w as f32).collect(),
                bias: (0..units)
                    .map(|k| (value * layer.weight(inputs, k)) as f32)
                    .collect(),
            }
        };
        layers.map(affine).collect()
    }

    /// A real output over its sum.
    pub fn scale(&self) -> f32 {
        let last = &self.layers[self.layers.len() - 1];
        if self.layers.len() == 1 {
            last.scale / self.unit as f32
        } else {
            last.scale
        }
    }

    /// Bytes of all weights.
    pub fn bytes(&self) -> usize {
        self.layers.iter().map(|l| l.inputs * l.stride()).sum()
    }

    /// Additions for one sample with `active` inputs that are not 0, half of the units spiking.
    pub fn additions(&self, active: f64) -> f64 {
        let later = self.layers.iter().skip(1);
        let later: f64 = later.map(|l| 0.5 * (l.inputs * l.units) as f64).sum();
        active * self.layers[0].units as f64 + later
    }

    /// C header that holds the weights.
    pub fn header(&self) -> String {
        let first = &self.layers[0];
        let outputs = self.layers[self.layers.len() - 1].units;
        let widest = self.layers.iter().map(|l| l.units).max().unwrap_or(0);
        let mut text = format!(
            "/* A trained spiking network in integers, for spiked_infer.c. */\n#ifndef SPIKED_MODEL_H\n\
             #define SPIKED_MODEL_H\n#include <stdint.h>\n\n#define SPIKED_INPUTS {}\n#define SPIKED_OUTPUTS {outputs}\n\
             #define SPIKED_LAYERS {}\n#define SPIKED_WIDEST {widest}\n/* Integer of an input of value 1; the last input is the bias. */\n\
             #define SPIKED_UNIT {}\n/* A real output over its sum. */\n#define SPIKED_SCALE {:e}f\n\n",
            first.inputs,
            self.layers.len(),
            self.unit,
            self.scale(),
        );
        for (i, layer) in self.layers.iter().enumerate() {
            text += &format!("static const uint8_t spiked_weights_{i}[] = {{");
            for (at, byte) in layer.packed().iter().enumerate() {
                text += if at % 20 == 0 { "\n" } else { "" };
                text += &format!("{byte},");
            }
            text += "\n};\n";
        }
        text += "\n/* Inputs, units, levels (0: signed bytes), bits a weight, weights. */\n\
                 typedef struct { uint32_t inputs; uint16_t units, levels, bits; const uint8_t *weights; } spiked_layer;\n\
                 static const spiked_layer spiked_layers[SPIKED_LAYERS] = {\n";
        for (i, layer) in self.layers.iter().enumerate() {
            let (inputs, units) = (layer.inputs, layer.units);
            let (levels, bits) = (layer.levels, layer.bits());
            text += &format!("    {{{inputs}, {units}, {levels}, {bits}, spiked_weights_{i}}},\n");
        }
        text + "};\n\n#endif\n"
    }

    /// C source that predicts; it includes the header as `spiked_model.h`.
    pub fn source() -> &'static str {
        include_str!("infer.c")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ep::NetworkDraft;
    use crate::num::counter;
    use std::process::Command;

    /// A network of two hidden layers that has learned some classes from spikes.
    fn learned(family: Family) -> Network {
        let draft = NetworkDraft::classification(21, &[61, 27], 3).with_families(&[family; 3]);
        let mut network = Network::new(&draft.build().unwrap());
        for i in 0..1500 {
            let (index, value) = sample(i);
            let x = Input {
                index: &index,
                value: &value,
            };
            network.learn_class(x, i as usize % 3, 1.0);
        }
        network
    }

    fn sample(i: u32) -> (Vec<u32>, Vec<f32>) {
        let on = |j: &u32| *j == 20 || counter::uniform(i, *j) < 0.3 || j % 3 == i % 3;
        let index: Vec<u32> = (0..21).filter(on).collect();
        let value = vec![1.0; index.len()];
        (index, value)
    }

    /// Outputs of the C program on the samples.
    fn compiled(network: &IntegerNetwork, inputs: &[Vec<i32>]) -> Vec<i32> {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, text: &str| std::fs::write(dir.path().join(name), text).unwrap();
        write("spiked_model.h", &network.header());
        write("spiked_infer.c", IntegerNetwork::source());
        let main = "#include <stdio.h>\n#include \"spiked_infer.c\"\nint main(void) { int32_t x[SPIKED_INPUTS], y[SPIKED_OUTPUTS]; \
            for (;;) { for (int j = 0; j < SPIKED_INPUTS; j++) if (scanf(\"%d\", &x[j]) != 1) return 0; \
            spiked_infer(x, y); for (int k = 0; k < SPIKED_OUTPUTS; k++) printf(\"%d\\n\", (int)y[k]); } }\n";
        write("main.c", main);
        let flags = [
            "-std=c99",
            "-Wall",
            "-Wextra",
            "-Werror",
            "-pedantic",
            "-O1",
        ];
        let built = Command::new("gcc")
            .args(flags)
            .args(["-o", "main", "main.c"])
            .current_dir(dir.path())
            .output()
            .expect("gcc");
        assert!(
            built.status.success(),
            "{}",
            String::from_utf8_lossy(&built.stderr)
        );
        let words: Vec<String> = inputs.concat().iter().map(i32::to_string).collect();
        write("inputs", &words.join(" "));
        let ran = Command::new(dir.path().join("main"))
            .stdin(std::fs::File::open(dir.path().join("inputs")).unwrap())
            .output()
            .unwrap();
        let text = String::from_utf8(ran.stdout).unwrap();
        text.lines().map(|line| line.parse().unwrap()).collect()
    }

    #[test]
    fn the_c_program_gives_the_same_bits_for_every_family() {
        for family in [
            Family::Binary,
            Family::Levels(3),
            Family::Levels(16),
            Family::Levels(40),
            Family::Gaussian,
        ] {
            let network = IntegerNetwork::new(&learned(family), 1).unwrap();
            let inputs: Vec<Vec<i32>> = (1000..1040)
                .map(|i| {
                    let (index, value) = sample(i);
                    network.quantise(Input {
                        index: &index,
                        value: &value,
                    })
                })
                .collect();
            let want: Vec<i32> = inputs.iter().flat_map(|x| network.outputs(x)).collect();
            assert_eq!(compiled(&network, &inputs), want, "{family:?}");
            assert!(want.iter().any(|sum| *sum != want[0]), "{family:?}");
        }
    }

    #[test]
    fn integers_decide_as_the_network_does() {
        for family in [Family::Binary, Family::Levels(16), Family::Gaussian] {
            let mut network = learned(family);
            let integers = IntegerNetwork::new(&network, 1).unwrap();
            let mut right = 0;
            for i in 1000..1200u32 {
                let (index, value) = sample(i);
                let x = Input {
                    index: &index,
                    value: &value,
                };
                let outputs = integers.outputs(&integers.quantise(x));
                let best = (0..3).max_by_key(|k| outputs[*k]).unwrap();
                let mut p = [0.0; 3];
                network.predict_class(x, &mut p);
                let top = (0..3).max_by(|a, b| p[*a].total_cmp(&p[*b])).unwrap();
                right += u32::from(best == top);
            }
            assert!(right > 170, "{family:?} {right}");
        }
    }

    #[test]
    fn a_weight_costs_as_many_bits_as_its_levels_need() {
        let bytes = |family| IntegerNetwork::new(&learned(family), 1).unwrap().bytes();
        // 21 rows of 61, 62 of 27, 28 of 3, each row in whole bytes.
        assert_eq!(bytes(Family::Binary), 21 * 8 + 62 * 4 + 28);
        assert_eq!(bytes(Family::Levels(3)), 21 * 16 + 62 * 7 + 28);
        assert_eq!(bytes(Family::Gaussian), 21 * 61 + 62 * 27 + 28 * 3);
    }

    /// Python with the package `nir`; tests/run installs it.
    const PYTHON: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/target/tools/nir/bin/python");

    /// Reads a graph and lines of inputs, walks along the edges, prints a line of outputs each.
    const WALK: &str = "
import sys
import nir, numpy as np
graph = nir.read(sys.argv[1])
after = dict(graph.edges)
print(graph.metadata['input_unit'], graph.metadata['output_scale'])
for line in sys.stdin:
    x = np.array(line.split(), dtype=np.float32)
    assert x.shape == tuple(graph.input_type['input']), (x.shape, graph.input_type)
    name = 'input'
    while name != 'output':
        name = after[name]
        node = graph.nodes[name]
        if isinstance(node, nir.Affine):
            x = node.weight @ x + node.bias
        elif isinstance(node, nir.Threshold):
            x = (x > node.threshold).astype(np.float32)
        else:
            assert isinstance(node, nir.Output), node
    print(*[int(v) for v in x])
";

    #[test]
    fn the_package_nir_reads_a_graph_that_gives_the_same_sums() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        for family in [Family::Binary, Family::Levels(3), Family::Gaussian] {
            let network = IntegerNetwork::new(&learned(family), 1).unwrap();
            std::fs::write(path("graph.nir"), network.nir(1.0)).unwrap();
            let (mut lines, mut want) = (String::new(), Vec::new());
            for i in 1000..1040 {
                let (index, value) = sample(i);
                let input = network.quantise(Input {
                    index: &index,
                    value: &value,
                });
                want.push(words(&network.outputs(&input)));
                // The bias is no input of the graph.
                lines += &(words(&input[..input.len() - 1]) + "\n");
            }
            std::fs::write(path("inputs"), lines).unwrap();
            let ran = Command::new(PYTHON)
                .args(["-c", WALK])
                .arg(path("graph.nir"))
                .stdin(std::fs::File::open(path("inputs")).unwrap())
                .output()
                .unwrap_or_else(|e| panic!("{PYTHON}: {e}; tests/run installs it"));
            let errors = String::from_utf8_lossy(&ran.stderr);
            assert!(ran.status.success(), "{errors}");
            let text = String::from_utf8(ran.stdout).unwrap();
            let mut got: Vec<&str> = text.lines().collect();
            let head = got.remove(0);
            let scale: f32 = head.split(' ').nth(1).unwrap().parse().unwrap();
            assert!((scale / network.scale() - 1.0).abs() < 1e-5, "{head}");
            assert_eq!(got, want, "{family:?}");
        }
    }

    fn words(numbers: &[i32]) -> String {
        let words: Vec<String> = numbers.iter().map(i32::to_string).collect();
        words.join(" ")
    }
}
