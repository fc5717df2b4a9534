//! A trained network in integers as a graph of the Neuromorphic Intermediate Representation (NIR,
//! Pedersen et al., Nature Communications 2024): an HDF5 file that simulators and tools of neuromorphic
//! hardware read.
//!
//! Input, then for each layer an Affine node and, for hidden ones, a Threshold node, then Output. All
//! weights are the whole numbers of [`IntegerNetwork`], so that a graph gives the sums of the C program
//! as long as single precision holds them, up to 2^24. A hidden unit spikes where its sum is not
//! negative; a Threshold where it is above its threshold, which therefore is -1/2.

use super::hdf5::{Hdf5Writer, ObjectAddress};
use super::integers::IntegerNetwork;

/// Version of the representation, that of the Python package which defines it.
const VERSION: &str = "1.0";

impl IntegerNetwork {
    /// The network as an HDF5 file of NIR. `bias` is the value of the last input, which becomes the bias
    /// of the first layer; all others are inputs of the graph, in units of [`IntegerNetwork::unit`].
    pub fn nir(&self, bias: f32) -> Vec<u8> {
        let mut file = Hdf5Writer::new();
        let (mut names, mut nodes) = (vec!["input".to_owned()], Vec::new());
        let layers = self.affine_layers(bias);
        let shape = |n: Option<usize>| vec![n.unwrap_or(0) as i64];
        let inputs = shape(layers.first().map(|layer| layer.inputs));
        let outputs = shape(layers.last().map(|layer| layer.units));
        let size = file.integers(&inputs);
        nodes.push(node(&mut file, "Input", &[("shape", size)]));
        for (i, layer) in layers.iter().enumerate() {
            let weight = file.floats(&[layer.units, layer.inputs], &layer.weight);
            let bias = file.floats(&[layer.units], &layer.bias);
            names.push(format!("weights_{i}"));
            let parts = [("weight", weight), ("bias", bias)];
            nodes.push(node(&mut file, "Affine", &parts));
            if i + 1 < layers.len() {
                let threshold = file.floats(&[layer.units], &vec![-0.5; layer.units]);
                names.push(format!("spikes_{i}"));
                nodes.push(node(&mut file, "Threshold", &[("threshold", threshold)]));
            }
        }
        names.push("output".to_owned());
        let size = file.integers(&outputs);
        nodes.push(node(&mut file, "Output", &[("shape", size)]));
        let edges: Vec<&str> = names
            .windows(2)
            .flat_map(|pair| pair.iter().map(String::as_str))
            .collect();
        let edges = file.texts(&[names.len() - 1, 2], &edges);
        let members: Vec<(&str, ObjectAddress)> =
            names.iter().map(String::as_str).zip(nodes).collect();
        let members = file.group(&members);
        let unit = file.floats(&[], &[self.unit() as f32]);
        let scale = file.floats(&[], &[self.scale()]);
        let metadata = file.group(&[("input_unit", unit), ("output_scale", scale)]);
        let parts = [("nodes", members), ("edges", edges), ("metadata", metadata)];
        let graph = node(&mut file, "NIRGraph", &parts);
        let version = file.text(VERSION);
        let root = file.group(&[("version", version), ("node", graph)]);
        file.finish(root)
    }
}

/// A node of some type with its parts.
fn node(file: &mut Hdf5Writer, kind: &str, parts: &[(&str, ObjectAddress)]) -> ObjectAddress {
    let kind = file.text(kind);
    let mut members = vec![("type", kind)];
    members.extend_from_slice(parts);
    file.group(&members)
}
