//! Writes the report of a fit: learning curves, calibration, the learned curve, as one page.

use std::path::Path;

use serde::Serialize;

use super::data::{Curve, DataPoint, FitData};
use super::{Pass, Score};
use crate::charts;
use crate::cli::CliError;
use crate::fit::{Ensemble, Samples, Targets};
use crate::num::special;

const SCRIPT: &str = include_str!("report.js");
/// Points of a cloud at most: more hide each other.
const MAX_POINTS: usize = 1500;
/// Points of a curve beside those of its rows: one for two pixels of a wide screen.
const CURVE_POINTS: usize = 400;
/// Share of the range of a curve's rows by which it goes on at either end.
const BEYOND: f64 = 0.15;
/// Bins of equal width in the reliability diagram.
const BINS: usize = 10;
/// Probabilities of the central intervals that are looked at, 5 % apart.
const LEVELS: usize = 19;

/// Contents of the report.
#[derive(Serialize)]
struct Contents<'a> {
    name: String,
    sentences: Vec<String>,
    passes: &'a [Pass],
    #[serde(skip_serializing_if = "Option::is_none")]
    intervals: Option<Vec<IntervalLevel>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    reliability: Option<Vec<Bin>>,
    #[serde(skip_serializing_if = "Option::is_none")]
    curve: Option<Drawn>,
    #[serde(skip_serializing_if = "Option::is_none")]
    cloud: Option<Cloud>,
}

/// Share of the rows to test on inside the central interval of a probability.
#[derive(Debug, PartialEq, Serialize)]
struct IntervalLevel {
    nominal: f64,
    observed: f64,
}

/// Answers whose likeliest class had about the same probability.
#[derive(Debug, Default, PartialEq, Serialize)]
struct Bin {
    rows: u64,
    /// Mean probability of the likeliest class.
    stated: f64,
    /// Share of rows in which it was the true one.
    right: f64,
}

/// The learned curve at each of `x`, in ascending order, with the rows that stand there.
#[derive(Serialize)]
struct Drawn {
    input: String,
    target: String,
    x: Vec<f64>,
    mean: Vec<f64>,
    sd: Vec<f64>,
    ignorance_sd: Vec<f64>,
    learned: Vec<Option<f64>>,
    tested: Vec<Option<f64>>,
}

/// Predictions in ascending order and what was measured.
#[derive(Serialize)]
struct Cloud {
    target: String,
    predicted: Vec<f64>,
    measured: Vec<f64>,
}

/// Writes the report of a model that has gone through `passes`, none where it was loaded.
///
/// # Errors
/// If the file cannot be written.
pub fn write(
    path: &Path,
    ensemble: &mut Ensemble,
    data: &FitData,
    passes: &[Pass],
) -> Result<(), CliError> {
    let failed = |e: &dyn std::fmt::Display| CliError::Runtime(format!("{}: {e}", path.display()));
    let mut contents = Contents {
        name: named(data),
        sentences: Vec::new(),
        passes,
        intervals: None,
        reliability: None,
        curve: data.curve.as_ref().map(|c| draw(c, ensemble, data)),
        cloud: None,
    };
    if let Some((samples, targets)) = &data.test {
        let score = ensemble.test(samples, targets, data.scale);
        contents.sentences = sentences(&score, samples.len(), data.scale);
        match targets {
            Targets::Real(y) => {
                let seen = answers(ensemble, samples, y);
                contents.intervals = Some(intervals(&seen));
                contents.cloud = (contents.curve.is_none()).then(|| cloud(&seen, data));
            }
            Targets::Class(classes) => {
                contents.reliability = Some(reliability(ensemble, samples, classes));
            }
        }
    }
    let html = charts::report(&format!("spiked fit: {}", contents.name), &contents, SCRIPT);
    let html = html.map_err(|e| failed(&e))?;
    std::fs::write(path, html).map_err(|e| failed(&e))
}

fn named(data: &FitData) -> String {
    match &data.shown {
        Some((table, target)) => table.names[*target].clone(),
        None => format!("{} classes of images", data.labels.len()),
    }
}

fn sentences(score: &Score, rows: usize, sd: f64) -> Vec<String> {
    match score {
        Score::Regression(s) => vec![
            format!(
                "On {rows} rows that it has not learned, the error is {:.4} (root mean square), {:.0} % of \
                 the spread of the target.",
                s.rmse,
                100.0 * s.rmse / sd
            ),
            format!(
                "Its 90 % interval holds {:.1} % of them.",
                100.0 * s.coverage90
            ),
        ],
        Score::Classification(s) => vec![
            format!(
                "On {rows} rows that it has not learned, {:.2} % of the answers are right.",
                100.0 * s.accuracy
            ),
            format!(
                "Stated and observed probabilities differ by {:.1} % on average.",
                100.0 * s.ece
            ),
        ],
    }
}

/// An answer to a row, in units of the standardised target.
struct Answered {
    mean: f64,
    sd: f64,
    truth: f64,
}

fn answers(ensemble: &mut Ensemble, samples: &Samples, y: &[f32]) -> Vec<Answered> {
    let each = y.iter().enumerate().map(|(i, y)| {
        let seen = ensemble.predict(samples.get(i));
        Answered {
            mean: seen.mean,
            sd: seen.sd,
            truth: f64::from(*y),
        }
    });
    each.collect()
}

/// By the normal distribution of each answer's mean and sd.
fn intervals(seen: &[Answered]) -> Vec<IntervalLevel> {
    let inside = |a: &Answered| 2.0 * special::cdf(((a.truth - a.mean) / a.sd).abs()) - 1.0;
    let mut reached: Vec<f64> = seen.iter().map(inside).collect();
    reached.sort_by(f64::total_cmp);
    let levels = (1..=LEVELS).map(|i| i as f64 / (LEVELS + 1) as f64);
    let levels = levels.map(|nominal| IntervalLevel {
        nominal,
        observed: reached.partition_point(|p| *p <= nominal) as f64 / reached.len() as f64,
    });
    levels.collect()
}

fn reliability(ensemble: &mut Ensemble, samples: &Samples, classes: &[usize]) -> Vec<Bin> {
    let mut p = vec![0.0f32; ensemble.classes().unwrap_or(0)];
    let mut bins: Vec<Bin> = (0..BINS).map(|_| Bin::default()).collect();
    for (i, class) in classes.iter().enumerate() {
        ensemble.predict_class(samples.get(i), &mut p);
        let top = p.iter().enumerate().max_by(|a, b| a.1.total_cmp(b.1));
        let Some((top, &stated)) = top else { continue };
        let bin = &mut bins[((f64::from(stated) * BINS as f64) as usize).min(BINS - 1)];
        bin.rows += 1;
        bin.stated += f64::from(stated);
        bin.right += f64::from(u8::from(top == *class));
    }
    bins.retain(|bin| bin.rows > 0);
    for bin in &mut bins {
        bin.stated /= bin.rows as f64;
        bin.right /= bin.rows as f64;
    }
    bins
}

/// Evenly chosen rows, `MAX_POINTS` at most.
fn thinned<T: Copy>(all: &[T]) -> Vec<T> {
    let step = all.len().div_ceil(MAX_POINTS).max(1);
    all.iter().copied().step_by(step).collect()
}

fn draw(curve: &Curve, ensemble: &mut Ensemble, data: &FitData) -> Drawn {
    let (learned, tested) = (thinned(&curve.learned), thinned(&curve.tested));
    let all = || learned.iter().chain(&tested).map(|point| point.x);
    let low = all().fold(f64::INFINITY, f64::min);
    let high = all().fold(f64::NEG_INFINITY, f64::max);
    let beyond = BEYOND * (high - low);
    let step = (high - low + 2.0 * beyond) / CURVE_POINTS as f64;
    let grid = (0..=CURVE_POINTS).map(|i| CurveStop {
        x: (low - beyond) + step * i as f64,
        learned: None,
        tested: None,
    });
    let of_learned = |p: &DataPoint| CurveStop {
        x: p.x,
        learned: Some(p.y),
        tested: None,
    };
    let of_tested = |p: &DataPoint| CurveStop {
        x: p.x,
        learned: None,
        tested: Some(p.y),
    };
    let rows = learned.iter().map(of_learned);
    let mut stops: Vec<CurveStop> = grid
        .chain(rows)
        .chain(tested.iter().map(of_tested))
        .collect();
    stops.sort_by(|a, b| a.x.total_cmp(&b.x));
    let x: Vec<f64> = stops.iter().map(|stop| stop.x).collect();
    let samples = curve.samples(&x);
    let mut drawn = Drawn {
        input: input_name(data),
        target: named(data),
        x,
        mean: Vec::new(),
        sd: Vec::new(),
        ignorance_sd: Vec::new(),
        learned: stops.iter().map(|stop| stop.learned).collect(),
        tested: stops.iter().map(|stop| stop.tested).collect(),
    };
    for i in 0..samples.len() {
        let seen = ensemble.predict(samples.get(i));
        drawn.mean.push(data.target.mean + data.scale * seen.mean);
        drawn.sd.push(data.scale * seen.sd);
        drawn.ignorance_sd.push(data.scale * seen.ignorance);
    }
    drawn
}

/// A place on the axis of a curve, and the row that stands there.
struct CurveStop {
    x: f64,
    learned: Option<f64>,
    tested: Option<f64>,
}

fn input_name(data: &FitData) -> String {
    let Some((table, target)) = &data.shown else {
        return String::new();
    };
    let mut names = table.names.iter().enumerate();
    let other = names.find(|(number, _)| number != target);
    other.map_or_else(String::new, |(_, name)| name.clone())
}

fn cloud(seen: &[Answered], data: &FitData) -> Cloud {
    let unscaled = |v: f64| data.target.mean + data.scale * v;
    let step = seen.len().div_ceil(MAX_POINTS).max(1);
    let mut chosen: Vec<&Answered> = seen.iter().step_by(step).collect();
    chosen.sort_by(|a, b| a.mean.total_cmp(&b.mean));
    Cloud {
        target: named(data),
        predicted: chosen.iter().map(|a| unscaled(a.mean)).collect(),
        measured: chosen.iter().map(|a| unscaled(a.truth)).collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::counter;

    #[test]
    fn honest_answers_lie_in_their_intervals_as_often_as_said_and_boasting_ones_less_often() {
        let answer = |i: u32, sd: f64| Answered {
            mean: 0.0,
            sd,
            truth: f64::from(counter::bell(3, i)),
        };
        let held = |sd: f64| {
            let seen: Vec<Answered> = (0..20_000).map(|i| answer(i, sd)).collect();
            intervals(&seen)
        };
        let honest = held(1.0);
        assert_eq!(honest.len(), LEVELS);
        let off = |level: &IntervalLevel| (level.observed - level.nominal).abs();
        // The deviates are sums of four uniform ones: nearly normal.
        assert!(
            honest.iter().map(off).fold(0.0, f64::max) < 0.03,
            "{honest:?}"
        );
        let boasting = held(0.5);
        assert!(boasting.iter().all(|level| level.observed < level.nominal));
    }
}
