//! Writes the network in integers as C or as a graph of NIR, and says how large and how good it is.

use std::io::Write;
use std::path::Path;

use super::data::FitData;
use crate::cli::CliError;
use crate::fit::{IntegerNetwork, Samples, Targets, Trainer};

/// Integer of an input of 1 where inputs are real: 8 bits hold two standard deviations.
const REAL_UNIT: i32 = 64;

/// Integer of the largest pixel.
const PIXEL_UNIT: i32 = 255;

/// Writes `spiked_model.h` and `spiked_infer.c` into a folder, which is made where there is none.
///
/// # Errors
/// If the network has direct synapses or a file cannot be written.
pub fn write_c(folder: &Path, trainer: &Trainer, data: &FitData) -> Result<(), CliError> {
    let network = integers(trainer, data)?;
    let failed = |e: std::io::Error| CliError::Runtime(format!("{}: {e}", folder.display()));
    std::fs::create_dir_all(folder).map_err(failed)?;
    std::fs::write(folder.join("spiked_model.h"), network.header()).map_err(failed)?;
    std::fs::write(folder.join("spiked_infer.c"), IntegerNetwork::source()).map_err(failed)?;
    report(folder, &network, data)
}

/// Writes a graph of the Neuromorphic Intermediate Representation into a file.
///
/// # Errors
/// If the network has direct synapses or the file cannot be written.
pub fn write_nir(path: &Path, trainer: &Trainer, data: &FitData) -> Result<(), CliError> {
    let network = integers(trainer, data)?;
    // The bias is the last of every sample.
    let bias = data.train.0.get(0).value.last().copied().unwrap_or(1.0);
    std::fs::write(path, network.nir(bias))
        .map_err(|e| CliError::Runtime(format!("{}: {e}", path.display())))?;
    report(path, &network, data)
}

/// The first network in integers.
fn integers(trainer: &Trainer, data: &FitData) -> Result<IntegerNetwork, CliError> {
    let unit = unit(&data.train.0, data);
    let first = trainer.networks().next();
    first
        .and_then(|network| IntegerNetwork::new(network, unit))
        .ok_or_else(|| {
            let text = "an export needs a network without --direct: its synapses are real numbers";
            CliError::Config(text.into())
        })
}

/// Says how large the network is and how well it does on the rows to test on.
fn report(path: &Path, network: &IntegerNetwork, data: &FitData) -> Result<(), CliError> {
    let samples = &data.train.0;
    let active = (0..samples.len()).map(|i| samples.get(i).index.len());
    let active = active.sum::<usize>() as f64 / samples.len().max(1) as f64;
    let score = data
        .test
        .as_ref()
        .map_or(String::new(), |(samples, targets)| {
            format!(", test {}", score(network, samples, targets, data.scale))
        });
    writeln!(
        std::io::stderr(),
        "{}: {} bytes of weights, {:.0} additions a sample{score}",
        path.display(),
        network.bytes(),
        network.additions(active),
    )?;
    Ok(())
}

/// The integer of an input of value 1.
fn unit(samples: &Samples, data: &FitData) -> i32 {
    // The bias is the last of every sample, and no input.
    let spikes = (0..samples.len()).all(|i| {
        let x = samples.get(i).value;
        x[..x.len() - 1].iter().all(|v| *v == 1.0) && x[x.len() - 1].fract() == 0.0
    });
    match (spikes, data.shown.is_some()) {
        (true, _) => 1,
        (false, false) => PIXEL_UNIT,
        (false, true) => REAL_UNIT,
    }
}

fn score(network: &IntegerNetwork, samples: &Samples, targets: &Targets, scale: f64) -> String {
    let outputs = |i: usize| network.outputs(&network.quantise(samples.get(i)));
    match targets {
        Targets::Class(classes) => {
            let right = |i: &usize| {
                let outputs = outputs(*i);
                let top = (0..outputs.len()).max_by_key(|k| outputs[*k]);
                top == Some(classes[*i])
            };
            let right = (0..classes.len()).filter(right).count();
            format!(
                "accuracy {:.2}%",
                100.0 * right as f64 / classes.len() as f64
            )
        }
        Targets::Real(y) => {
            let factor = f64::from(network.scale());
            let square = |(i, y): (usize, &f32)| {
                let error = factor * f64::from(outputs(i)[0]) - f64::from(*y);
                error * error
            };
            let sum: f64 = y.iter().enumerate().map(square).sum();
            format!("RMSE {:.4}", scale * (sum / y.len() as f64).sqrt())
        }
    }
}
