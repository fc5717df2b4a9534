//! Writes predictions of test rows beside what they were made from.

use std::io::{BufWriter, Write};
use std::path::Path;

use super::data::FitData;
use crate::cli::CliError;
use crate::fit::Ensemble;

/// Writes a CSV file: inputs and target as they were read (of images the number of the class only),
/// then the prediction.
///
/// # Errors
/// If there is nothing to test on or the file cannot be written.
pub fn write(path: &Path, ensemble: &mut Ensemble, data: &FitData) -> Result<(), CliError> {
    let failed = |e: std::io::Error| CliError::Runtime(format!("{}: {e}", path.display()));
    let Some((samples, targets)) = &data.test else {
        let text = "--predict needs rows to test on: --test, --data or --test-images";
        return Err(CliError::Config(text.into()));
    };
    let mut file = BufWriter::new(std::fs::File::create(path).map_err(failed)?);
    let mut header = match &data.shown {
        Some((table, target)) => {
            let inputs = table.names.iter().enumerate();
            let inputs = inputs
                .filter(|(c, _)| c != target)
                .map(|(_, name)| name.clone());
            inputs.chain([table.names[*target].clone()]).collect()
        }
        None => vec!["target".to_owned()],
    };
    match data.classes {
        None => header.extend(["mean", "sd", "ignorance", "low90", "high90"].map(str::to_owned)),
        Some(_) => {
            header.push("class".into());
            header.extend(data.labels.iter().map(|label| format!("p_{label}")));
        }
    }
    let header: Vec<String> = header.iter().map(|name| quoted(name)).collect();
    writeln!(file, "{}", header.join(",")).map_err(failed)?;
    let mut probabilities = vec![0.0f32; data.classes.unwrap_or(0)];
    for i in 0..samples.len() {
        let mut row: Vec<f64> = match (&data.shown, targets) {
            (Some((table, target)), _) => {
                let row = table.row(i);
                let inputs = row.iter().enumerate().filter(|(c, _)| c != target);
                inputs.map(|(_, v)| *v).chain([row[*target]]).collect()
            }
            (None, crate::fit::Targets::Class(classes)) => vec![data.labels[classes[i]]],
            (None, crate::fit::Targets::Real(y)) => vec![f64::from(y[i])],
        };
        if data.classes.is_some() {
            ensemble.predict_class(samples.get(i), &mut probabilities);
            let numbered = probabilities.iter().enumerate();
            let top = numbered
                .max_by(|a, b| a.1.total_cmp(b.1))
                .map_or(0, |(k, _)| k);
            row.push(data.labels[top]);
            row.extend(probabilities.iter().map(|p| f64::from(*p)));
        } else {
            let seen = ensemble.predict(samples.get(i));
            let mean = data.target.mean + data.scale * seen.mean;
            let (sd, ignorance) = (data.scale * seen.sd, data.scale * seen.ignorance);
            let reach = ensemble.half_width() * sd;
            row.extend([mean, sd, ignorance, mean - reach, mean + reach]);
        }
        let cells = row.iter().map(|v| match v.is_nan() {
            true => String::new(),
            false => v.to_string(),
        });
        let cells: Vec<String> = cells.collect();
        writeln!(file, "{}", cells.join(",")).map_err(failed)?;
    }
    file.flush().map_err(failed)
}

/// A name as a field of a CSV file.
fn quoted(name: &str) -> String {
    if name.contains([',', '"', '\n', '\r']) {
        format!("\"{}\"", name.replace('"', "\"\""))
    } else {
        name.to_owned()
    }
}
