//! `spiked fit`: learn a table offline.

mod data;
mod data_table;
mod export;
mod file;
mod images;
mod predictions;
mod report;
mod table;

use std::io::Write;
use std::path::PathBuf;
use std::time::Instant;

use clap::{Args, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use serde::{Deserialize, Serialize};

use self::data::{Column, Encoding, FitData, InputCode};
use crate::cli::CliError;
use crate::ep::{BatchSchedule, Family, SpikeFunction};
use crate::fit::{FitPlan, LearnedEnsemble, Scaling, Schedule, Score, Trainer};

/// Marks a saved model, and its version.
const MAGIC: [u8; 8] = *b"SPKFIT\x00\x08";

/// A saved model: the networks, and how a table's columns become their inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Model {
    fit: LearnedEnsemble,
    /// Scale of the targets.
    target: Scaling,
    /// Every other column of a table; empty for images.
    columns: Vec<Column>,
    /// Columns of texts and the texts that became inputs.
    texts: Vec<table::Texts>,
    /// Numbers that stand for the classes, in order.
    labels: Vec<f64>,
    /// How rows become inputs; `None` of images.
    code: Option<InputCode>,
}

/// Changes of the log score in a pass that count as better and as worse, in nats a row.
const BETTER: f64 = 0.01;
const WORSE: f64 = 0.05;

/// The quantity to predict.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Task {
    /// A number
    Regression,
    /// One of several classes
    Classification,
}

/// Schedules that can be asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum ScheduleArg {
    /// Exact where its sites fit into memory (regression, Gaussian weights), else sequential
    Auto,
    /// Stochastic EP, one sample after the other
    Sequential,
    /// A site for each sample: of the whole table (full EP), or with --batch of each mini-batch
    Exact,
    /// Averaged EP in mini-batches, stochastic EP across them: all samples of one against one
    /// cavity, one site for all
    Averaged,
}

/// Arguments of `spiked fit`.
#[derive(Debug, Args)]
pub struct FitArgs {
    /// Predict a number or a class
    #[arg(long, value_enum)]
    task: Task,
    /// Column to predict: a name from the header, or a number from 0
    #[arg(long, value_name = "COLUMN", required_unless_present_any = ["train_images", "test_images"])]
    target: Option<String>,
    /// Columns that are no inputs. A column of 2 to 20 texts, each of five rows or more on average, becomes
    /// an input a text; other columns of texts are left out anyway
    #[arg(long, value_name = "COLUMN,...", value_delimiter = ',')]
    ignore: Vec<String>,
    /// Table to learn
    #[arg(long, value_name = "CSV", requires = "test", conflicts_with = "data")]
    train: Option<PathBuf>,
    /// Table to test on; alone with --load, the model predicts it and learns nothing
    #[arg(long, value_name = "CSV")]
    test: Option<PathBuf>,
    /// One table, split at random into a part to learn and a part to test on
    #[arg(long, value_name = "CSV")]
    data: Option<PathBuf>,
    /// Share of `--data` to learn
    #[arg(long, default_value_t = 0.9)]
    split: f64,
    /// Images to learn (IDX, gzip or not, or .npy); pixels count from 0 to 1, the largest value
    #[arg(long, value_name = "FILE", requires = "train_labels", conflicts_with_all = ["train", "data"])]
    train_images: Option<PathBuf>,
    /// Labels of the images to learn
    #[arg(long, value_name = "FILE")]
    train_labels: Option<PathBuf>,
    /// Images to test on
    #[arg(long, value_name = "FILE", requires = "test_labels")]
    test_images: Option<PathBuf>,
    /// Labels of the images to test on
    #[arg(long, value_name = "FILE")]
    test_labels: Option<PathBuf>,
    /// See images through local receptive fields: spikes of oriented edges, pooled over windows
    #[arg(long, requires = "train_images")]
    receptive_fields: bool,
    /// Learn only the first N samples
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Hidden units; several layers as 100,50
    #[arg(long, default_value = "50", value_delimiter = ',')]
    hidden: Vec<usize>,
    /// Weights: gaussian, binary, ternary or levels:K. Classes are learned one against the rest by
    /// gaussian weights, through a softmax by the others; the output weights of a regression are
    /// always gaussian
    #[arg(long, default_value = "gaussian", value_parser = parse_family)]
    weights: Family,
    /// Spikes: deterministic, probit:NOISE or sigmoid; without it, probit spikes whose noise
    /// follows the learned noise (regression), or deterministic ones (classification)
    #[arg(long, value_parser = parse_spikes)]
    spikes: Option<SpikeFunction>,
    /// Synapses from the inputs straight to the outputs as well
    #[arg(long)]
    direct: bool,
    /// How samples follow one another
    #[arg(long, value_enum, default_value_t = ScheduleArg::Auto)]
    schedule: ScheduleArg,
    /// Samples of a mini-batch (32 for averaged)
    #[arg(long, value_name = "B", value_parser = clap::value_parser!(u32).range(1..))]
    batch: Option<u32>,
    /// Inner sweeps of the output layer for each row: with 2 and more every output hears of a spike
    /// what the others say before weights move. Helps where a row has many outputs
    #[arg(long, default_value_t = 1, value_parser = clap::value_parser!(u32).range(1..=100))]
    inner: u32,
    /// Passes over the table
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..))]
    passes: u32,
    /// Networks to average, each from its own random start; the output weights of a regression are
    /// then learned at once
    #[arg(long, value_name = "K", default_value_t = 1, value_parser = clap::value_parser!(u16).range(1..))]
    inits: u16,
    /// Memory in samples (sequential schedule); without it, the table's length from the second pass
    /// on, or for classes one that grows over the run as steps get smaller
    #[arg(long, value_name = "N")]
    memory: Option<f64>,
    /// Learn the rows in the order of the table, as a stream, not in a random one for each pass
    #[arg(long)]
    in_order: bool,
    /// Predict with a mean and a variance a weight only, as while learning. Without it, a regression
    /// reads the table once more after each pass and then knows its output weights jointly
    #[arg(long)]
    no_readout: bool,
    /// Leave the width of predictions as the belief says. Without it, a regression of 200 rows and 4
    /// passes or more is fitted again without a tenth of the rows (below 1000 rows several times,
    /// without another tenth), and the width of its predictions is that which these rows ask for
    #[arg(long)]
    no_calibration: bool,
    /// Inputs as numbers, as spikes of a population, as latencies, or as numbers and latencies; without
    /// it, as numbers, and as both where hidden weights of a regression are on a grid, whose
    /// thresholds numbers alone cannot place
    #[arg(long, value_enum)]
    encode: Option<Encoding>,
    /// Seed of the split, the order and the networks
    #[arg(long, default_value_t = 0)]
    seed: u64,
    /// Print one JSON object on standard output
    #[arg(long)]
    json: bool,
    /// Write what was learned to a file
    #[arg(long, value_name = "MODEL")]
    save: Option<PathBuf>,
    /// Continue from a file that --save wrote: it is the prior of the rows to come. The columns and
    /// their order must be the same, and values are standardised as they were then
    #[arg(long, value_name = "MODEL")]
    load: Option<PathBuf>,
    /// Write every test row to a CSV file, its inputs and target first; then mean, sd (noise
    /// included), ignorance (sd without any noise) and the ends of the 90% interval, or the class and
    /// the probability of every class
    #[arg(long, value_name = "CSV")]
    predict: Option<PathBuf>,
    /// Write a page with charts to a file: learning curves, calibration on the rows to test on, and of a
    /// regression on one column the learned curve with its bands
    #[arg(long, value_name = "HTML")]
    report: Option<PathBuf>,
    /// Write the network in integers to a folder: a C header of few-bit weights and a C file that
    /// predicts, without any library
    #[arg(long, value_name = "FOLDER")]
    export_c: Option<PathBuf>,
    /// Write the network in integers to a file as a graph of the Neuromorphic Intermediate
    /// Representation (HDF5)
    #[arg(long, value_name = "NIR")]
    export_nir: Option<PathBuf>,
}

fn parse_family(text: &str) -> Result<Family, String> {
    match text {
        "gaussian" => Ok(Family::Gaussian),
        "binary" => Ok(Family::Binary),
        "ternary" => Ok(Family::Levels(3)),
        _ => match text.strip_prefix("levels:").map(str::parse) {
            Some(Ok(2)) => Ok(Family::Binary),
            Some(Ok(count @ 3..=256)) => Ok(Family::Levels(count)),
            _ => Err("gaussian, binary, ternary or levels:K with K from 2 to 256".into()),
        },
    }
}

fn parse_spikes(text: &str) -> Result<SpikeFunction, String> {
    match text {
        "deterministic" => Ok(SpikeFunction::Deterministic),
        "sigmoid" => Ok(SpikeFunction::Sigmoid),
        _ => match text.strip_prefix("probit:").map(str::parse::<f32>) {
            Some(Ok(noise)) if noise > 0.0 && noise.is_finite() => {
                Ok(SpikeFunction::Probit { noise })
            }
            _ => Err("deterministic, sigmoid or probit:NOISE with NOISE above 0".into()),
        },
    }
}

/// Figures of one pass.
#[derive(Debug, Serialize)]
struct Pass {
    pass: u32,
    seconds: f64,
    prequential: Score,
    #[serde(skip_serializing_if = "Option::is_none")]
    test: Option<Score>,
}

/// The figures that `--json` prints.
#[derive(Debug, Serialize)]
struct Fitted {
    passes: Vec<Pass>,
    schedule: &'static str,
    joint_readout: bool,
    /// Of several networks: all output weights were learned at once, not averaged.
    #[serde(skip_serializing_if = "Option::is_none")]
    joint_inits: Option<bool>,
    rows: usize,
    inputs: usize,
    #[serde(skip_serializing_if = "Option::is_none")]
    noise_sd: Option<f64>,
    accepted: u64,
    damped: u64,
    fell_back: u64,
    skipped: u64,
    clipped: u64,
    /// Factor on the variances of predictions.
    #[serde(skip_serializing_if = "Option::is_none")]
    width: Option<f64>,
    /// Input cells limited to the reach of their column; rows left out for their target.
    limited_cells: u64,
    left_out_rows: u64,
    convergence: &'static str,
}

/// Runs the fit.
///
/// # Errors
/// If the arguments are wrong or a table cannot be read.
pub fn run(args: FitArgs) -> Result<(), CliError> {
    let saved = args.load.as_ref().map(load).transpose()?;
    let data = FitData::load(&args, saved.as_ref())?;
    let batch = args.batch.map(|size| size as usize);
    let plan = FitPlan {
        hidden: args.hidden.clone(),
        spikes: args.spikes,
        family: args.weights,
        direct: args.direct,
        schedule: match args.schedule {
            ScheduleArg::Auto => None,
            ScheduleArg::Sequential => Some(Schedule::Sequential),
            ScheduleArg::Exact => Some(match batch {
                Some(size) => Schedule::Batches(BatchSchedule::Exact, size),
                None => Schedule::Exact,
            }),
            ScheduleArg::Averaged => Some(Schedule::Batches(
                BatchSchedule::Averaged,
                batch.unwrap_or(32),
            )),
        },
        memory: args.memory,
        joint: !args.no_readout,
        calibrate: !args.no_calibration,
        in_order: args.in_order,
        inner: args.inner,
        passes: args.passes,
        inits: args.inits.into(),
        seed: args.seed,
    };
    if args.memory.is_some_and(|n| !(n > 1.0 && n.is_finite())) {
        return Err(CliError::Config("memory must be above 1 sample".into()));
    }
    let grid = args.weights != Family::Gaussian;
    if grid && !matches!(args.schedule, ScheduleArg::Auto | ScheduleArg::Sequential) {
        return Err(CliError::Config(
            "schedules other than sequential need gaussian weights".into(),
        ));
    }
    if args.applies_only() {
        return match saved {
            Some(model) => apply(model, &data, &args),
            None => Err(CliError::Config("--load says which model".into())),
        };
    }
    let fresh = saved.is_none();
    let mut trainer = match saved {
        Some(learned) => {
            if learned.fit.ensemble.classes() != data.classes {
                let text = "the model was learned for another task or other classes";
                return Err(CliError::Config(text.into()));
            }
            Trainer::resume(learned.fit, &plan, &data.train.0, &data.train.1)
                .map_err(CliError::Config)?
        }
        None => Trainer::new(&plan, &data.train.0, data.classes)
            .map_err(|e| CliError::Config(e.to_string()))?,
    };
    let sequential = trainer.schedule() == Schedule::Sequential;
    let full = args.schedule == ScheduleArg::Auto && !grid && data.classes.is_none() && fresh;
    if full && sequential {
        eprintln!(
            "stochastic EP, not full EP: a site for each row would take over 1 GiB \
             (--schedule exact keeps them all the same)"
        );
    }
    let passes = learn(&mut trainer, &data, &args)?;
    let fitted = Fitted {
        schedule: match trainer.schedule() {
            Schedule::Sequential => "sequential",
            Schedule::Exact => "exact",
            Schedule::Batches(BatchSchedule::Sequential, _) => "sequential batches",
            Schedule::Batches(BatchSchedule::Exact, _) => "exact batches",
            Schedule::Batches(BatchSchedule::Averaged, _) => "averaged batches",
        },
        joint_readout: trainer.ensemble().is_joint(),
        joint_inits: (args.inits > 1 && trainer.ensemble().is_joint())
            .then(|| trainer.ensemble().is_together()),
        rows: data.train.0.len(),
        inputs: data.train.0.inputs,
        noise_sd: data
            .classes
            .is_none()
            .then(|| trainer.ensemble().noise_sd() * data.scale),
        accepted: trainer.report.accepted,
        damped: trainer.report.damped,
        fell_back: trainer.report.fell_back,
        skipped: trainer.report.skipped,
        clipped: trainer.report.clipped,
        width: data.classes.is_none().then(|| trainer.ensemble().width()),
        limited_cells: data.limited,
        left_out_rows: data.left_out,
        convergence: convergence(&passes, data.scale),
        passes,
    };
    if let Some(path) = &args.save {
        let model = Model {
            fit: trainer.learned(&data.train.0, &data.train.1),
            target: data.target,
            columns: data.columns.clone(),
            texts: data.texts.clone(),
            labels: data.labels.clone(),
            code: data.code,
        };
        save(path, &model)?;
    }
    if let Some(path) = &args.predict {
        predictions::write(path, trainer.ensemble(), &data)?;
    }
    if let Some(folder) = &args.export_c {
        export::write_c(folder, &trainer, &data)?;
    }
    if let Some(path) = &args.export_nir {
        export::write_nir(path, &trainer, &data)?;
    }
    if let Some(path) = &args.report {
        report::write(path, trainer.ensemble(), &data, &fitted.passes)?;
    }
    finish(&fitted, args.json)
}

impl FitArgs {
    /// Nothing is to be learned: a model is loaded and predicts.
    fn applies_only(&self) -> bool {
        self.load.is_some()
            && self.train.is_none()
            && self.data.is_none()
            && self.train_images.is_none()
    }
}

/// Lets a saved model predict the rows to test on, without learning.
fn apply(model: Model, data: &FitData, args: &FitArgs) -> Result<(), CliError> {
    let mut ensemble = model.fit.ensemble;
    let Some((samples, targets)) = &data.test else {
        let text = "give --test or --test-images: what the model is to predict";
        return Err(CliError::Config(text.into()));
    };
    let inputs = ensemble.inputs();
    if ensemble.classes() != data.classes || inputs != samples.inputs {
        let text = format!(
            "the model has {inputs} inputs, the data {}, or they differ in their classes",
            samples.inputs
        );
        return Err(CliError::Config(text));
    }
    let score = ensemble.test(samples, targets, data.scale);
    writeln!(std::io::stderr(), "test {}", score.line())?;
    if let Some(path) = &args.predict {
        predictions::write(path, &mut ensemble, data)?;
    }
    if let Some(path) = &args.report {
        report::write(path, &mut ensemble, data, &[])?;
    }
    if args.json {
        let text = serde_json::to_string(&score).map_err(|e| CliError::Runtime(e.to_string()))?;
        writeln!(std::io::stdout(), "{text}")?;
    }
    Ok(())
}

fn learn(trainer: &mut Trainer, data: &FitData, args: &FitArgs) -> Result<Vec<Pass>, CliError> {
    let (samples, targets) = &data.train;
    let per_pass = samples.len() as u64 * u64::from(args.inits);
    let bar = ProgressBar::new(per_pass * u64::from(args.passes));
    if let Ok(style) = ProgressStyle::with_template("{bar:30} {percent}% {per_sec} {eta} {msg}") {
        bar.set_style(style);
    }
    let mut passes: Vec<Pass> = Vec::new();
    for pass in 1..=args.passes {
        let start = Instant::now();
        let prequential = trainer.pass(samples, targets, data.scale, &mut |n| bar.inc(n));
        let seconds = start.elapsed().as_secs_f64();
        // A regression's readout comes with the last pass: what it predicts before is not its best.
        let due = data.classes.is_some() || args.no_readout || pass == args.passes;
        let test = data.test.as_ref().filter(|_| due);
        let test =
            test.map(|(samples, targets)| trainer.ensemble().test(samples, targets, data.scale));
        let shown = test.as_ref().unwrap_or(&prequential).line();
        let which = if test.is_some() {
            "test"
        } else {
            "prequential"
        };
        bar.suspend(|| {
            writeln!(
                std::io::stderr(),
                "pass {pass}: {which} {shown} ({seconds:.2} s)"
            )
        })?;
        passes.push(Pass {
            pass,
            seconds,
            prequential,
            test,
        });
    }
    bar.finish_and_clear();
    Ok(passes)
}

/// A plain word on whether the passes have settled, by the prequential log score of targets in
/// units of their standard deviation, so that the unit of the target does not matter.
fn convergence(passes: &[Pass], scale: f64) -> &'static str {
    let scores = passes.iter().map(|p| match p.prequential {
        Score::Regression(score) => score.log_density + scale.ln(),
        Score::Classification(score) => -score.log_loss,
    });
    match scores.collect::<Vec<f64>>()[..] {
        [.., before, last] if !last.is_finite() || last < before - WORSE => "getting worse",
        [.., before, last] if last > before + BETTER => "still improving",
        [_, _, ..] => "settled",
        _ => "too early to say",
    }
}

fn save(path: &PathBuf, learned: &Model) -> Result<(), CliError> {
    let failed = |e: &dyn std::fmt::Display| CliError::Runtime(format!("{}: {e}", path.display()));
    let body = postcard::to_allocvec(learned).map_err(|e| failed(&e))?;
    let mut bytes = MAGIC.to_vec();
    bytes.extend(crc32fast::hash(&body).to_le_bytes());
    bytes.extend(body);
    std::fs::write(path, bytes).map_err(|e| failed(&e))
}

fn load(path: &PathBuf) -> Result<Model, CliError> {
    let bytes =
        std::fs::read(path).map_err(|e| CliError::Runtime(format!("{}: {e}", path.display())))?;
    let wrong = |what: &str| CliError::Config(format!("{}: {what}", path.display()));
    let Some((magic, rest)) = bytes.split_at_checked(MAGIC.len()) else {
        return Err(wrong("no model"));
    };
    if magic != MAGIC {
        return Err(wrong("no model, or one of another version"));
    }
    match rest.split_at_checked(4) {
        Some((sum, body)) if crc32fast::hash(body).to_le_bytes() == sum => {
            postcard::from_bytes(body).map_err(|e| wrong(&e.to_string()))
        }
        _ => Err(wrong("damaged: the checksum does not fit")),
    }
}

fn finish(fitted: &Fitted, json: bool) -> Result<(), CliError> {
    let mut err = std::io::stderr().lock();
    let noise = fitted
        .noise_sd
        .map_or(String::new(), |sd| format!("noise sd {sd:.4}, "));
    let plural = if fitted.passes.len() == 1 { "" } else { "es" };
    writeln!(
        err,
        "{} after {} pass{plural} over {} rows ({} schedule): {noise}{} updates, {} damped, {} batches fell back, {} skipped",
        fitted.convergence,
        fitted.passes.len(),
        fitted.rows,
        fitted.schedule,
        fitted.accepted + fitted.damped,
        fitted.damped,
        fitted.fell_back,
        fitted.skipped,
    )?;
    let updates = (fitted.accepted + fitted.damped).max(1);
    writeln!(
        err,
        "{} precisions of single weights held within their range, {:.1} an update: usual, a factor that \
         makes a weight less certain has no Gaussian site",
        fitted.clipped,
        fitted.clipped as f64 / updates as f64,
    )?;
    if let Some(width) = fitted.width.filter(|width| *width != 1.0) {
        writeln!(
            err,
            "variances of predictions times {width:.2}, by a tenth of the rows held out"
        )?;
    }
    if fitted.limited_cells > 0 || fitted.left_out_rows > 0 {
        writeln!(
            err,
            "far from all others (100 robust standard deviations): {} input cells limited to that, {} rows \
             left out for their target",
            fitted.limited_cells, fitted.left_out_rows
        )?;
    }
    if fitted.joint_inits == Some(false) {
        writeln!(
            err,
            "the networks are averaged: their output weights are too many (over 512), or too alike, to be learned at once"
        )?;
    }
    if json {
        let text = serde_json::to_string(fitted).map_err(|e| CliError::Runtime(e.to_string()))?;
        writeln!(std::io::stdout(), "{text}")?;
    }
    let finite = |pass: &Pass| pass.test.as_ref().is_none_or(|s| s.log_score().is_finite());
    if fitted.passes.iter().all(finite) {
        Ok(())
    } else {
        let text = "the score is not finite: look for targets of another kind than those learned";
        Err(CliError::Runtime(text.into()))
    }
}

#[cfg(test)]
mod tests;
