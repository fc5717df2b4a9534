//! `spiked replay`: the daemon's engine over recorded data, faster than real time.

mod print;
mod reading;

use std::fs::File;
use std::io::{BufWriter, IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::time::Instant;

use clap::Args;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;

use crate::cli::CliError;
use crate::cli::run::Overrides;
use crate::config::Settings;
use crate::engine::EngineParams;
use crate::payload::Reject;
use crate::replay::{Costs, Messages, Money, Recorder, Replayed, StreamOutputs, Summary};
use crate::table::{TableOptions, WideTable};
use print::table_of;
pub use reading::ReadingArgs;

/// Arguments of `spiked replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// Settings; config/minimal.toml does for any recording
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory for one output CSV per recording, named as its input
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Print the summary as JSON: a list with one object per recording
    #[arg(long)]
    pub json: bool,
    /// Any setting, as section.key=value; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
    /// How the recordings are to be read.
    #[command(flatten)]
    pub reading: ReadingArgs,
    /// The files hold recorded messages, a line each, as `mosquitto_sub -F '%j'` (or '%J', or '%U %t
    /// %p') writes them: the daemon's streams, one file after the other
    #[arg(long, conflicts_with_all = ["ReadingArgs", "continue_model"])]
    pub messages: bool,
    /// Write one file with charts, incidents worst first, proposals and, with --labels, the money; with
    /// --messages a file a stream, its name before the ending where there are several
    #[arg(long, value_name = "FILE.html")]
    pub report: Option<PathBuf>,
    /// Known faults, a line each: start and end
    #[arg(long, value_name = "CSV", conflicts_with = "messages")]
    pub labels: Option<PathBuf>,
    /// Price of one false alarm, in any currency
    #[arg(long, value_name = "AMOUNT", requires = "labels", default_value_t = 0.0, value_parser = amount)]
    pub cost_false_alarm: f64,
    /// Price of one fault that is missed
    #[arg(long, value_name = "AMOUNT", requires = "labels", default_value_t = 0.0, value_parser = amount)]
    pub cost_missed_fault: f64,
    /// Go on with the same model from file to file
    #[arg(long = "continue")]
    pub continue_model: bool,
    /// Recordings: text tables with a time column, also packed with gzip
    #[arg(value_name = "FILE", required = true)]
    pub files: Vec<PathBuf>,
}

/// Runs the replay.
///
/// # Errors
/// If the configuration is wrong or a recording cannot be read.
pub fn run(args: ReplayArgs) -> Result<(), CliError> {
    let overrides = Overrides {
        set: args.set.clone(),
        ..Overrides::default()
    };
    let settings = crate::config::load(args.config.as_deref(), &overrides.pairs()?)?;
    let params = &settings.stream_params().engine;
    if let Some(out) = &args.out {
        if !args.messages {
            check_outputs(out, &args.files)?;
        }
        std::fs::create_dir_all(out)
            .map_err(|e| CliError::Runtime(format!("cannot make {}: {e}", out.display())))?;
    }
    if args.messages {
        return replay_messages(&args, &settings);
    }
    if args.report.is_some() && args.files.len() > 1 {
        let text = "--report: one recording; run it once for each";
        return Err(CliError::Config(text.into()));
    }
    let mut before = None;
    let mut summaries = Vec::new();
    for file in &args.files {
        let (summary, money, replayed) = replay_file(&args, params, file, before.take())?;
        if args.continue_model {
            before = Some(replayed);
        }
        if args.json {
            let mut object = json_of(&summary, "file", &file.display().to_string())?;
            if let Some(money) = money {
                object["money"] = json!(money);
            }
            summaries.push(object);
        } else {
            let table = table_of(&file.display().to_string(), &summary, money.as_ref());
            std::io::stdout().write_all(table.as_bytes())?;
        }
    }
    if args.json {
        let text = serde_json::Value::Array(summaries);
        writeln!(std::io::stdout(), "{text:#}")?;
    }
    Ok(())
}

fn json_of(summary: &Summary, key: &str, name: &str) -> Result<serde_json::Value, CliError> {
    let mut object = serde_json::to_value(summary)
        .map_err(|e| CliError::Runtime(format!("cannot write the summary: {e}")))?;
    object[key] = json!(name);
    Ok(object)
}

/// Recorded messages: the files in turn through the same streams.
fn replay_messages(args: &ReplayArgs, settings: &Settings) -> Result<(), CliError> {
    let mut messages = Messages::new(settings.stream_params(), settings.decoder(0));
    if args.report.is_some() {
        messages.keep_rows();
    }
    let mut open = |stream: &str| -> std::io::Result<Box<dyn Write>> {
        let dir = args.out.as_deref().unwrap_or(Path::new("."));
        let file = File::create(dir.join(format!("{stream}.jsonl")))?;
        Ok(Box::new(BufWriter::with_capacity(1 << 16, file)))
    };
    let mut outputs = args
        .out
        .is_some()
        .then_some(&mut open as &mut StreamOutputs<'_>);
    let start = Instant::now();
    for file in &args.files {
        let fail =
            |e: &dyn std::fmt::Display| CliError::Runtime(format!("{}: {e}", file.display()));
        let input = crate::table::text_of(file).map_err(|e| fail(&e))?;
        let bar = progress_bar(file);
        messages
            .run(input, outputs.as_deref_mut(), |at| bar.set_position(at))
            .map_err(|e| fail(&e))?;
        bar.finish_and_clear();
        if !messages.guessed().is_empty() {
            let topics = messages.guessed().join(", ");
            say(
                file,
                format!("blanks taken as part of the topic: {topics} (-F '%j' leaves no doubt)"),
            );
        }
        if messages.unreadable() > 0 {
            let n = messages.unreadable();
            say(file, format!("{n} lines are no messages; left out"));
        }
    }
    let summaries = messages
        .finish(outputs)
        .map_err(|e| CliError::Runtime(e.to_string()))?;
    report_refusals(&messages);
    if summaries.is_empty() {
        let patterns = settings.inputs.iter().map(|input| input.pattern.filter());
        let patterns: Vec<String> = patterns.collect();
        let why = match messages
            .refused()
            .keys()
            .any(|reason| *reason != Reject::NoRoute.as_str())
        {
            true => "no message could be taken: see what was refused above; the inputs are",
            false => "no message matches an input of the configuration:",
        };
        return Err(CliError::Runtime(format!("{why} {}", patterns.join(", "))));
    }
    let mut objects = Vec::new();
    let several = summaries.len() > 1;
    for of_stream in summaries {
        let (stream, mut summary) = (of_stream.stream, of_stream.summary);
        summary.took(start.elapsed().as_secs_f64());
        if let (Some(recorder), Some(path)) = (&of_stream.recorder, &args.report) {
            let path = match several {
                true => path.with_file_name(file_of_stream(path, &stream)),
                false => path.clone(),
            };
            write_report(recorder, &stream, &summary, None, &path)?;
        }
        if args.json {
            objects.push(json_of(&summary, "stream", &stream)?);
        } else {
            std::io::stdout().write_all(table_of(&stream, &summary, None).as_bytes())?;
        }
    }
    if args.json {
        writeln!(std::io::stdout(), "{:#}", serde_json::Value::Array(objects))?;
    }
    Ok(())
}

/// `report.html` as `report.pump.html`.
fn file_of_stream(path: &Path, stream: &str) -> String {
    let part =
        |part: Option<&std::ffi::OsStr>| part.unwrap_or_default().to_string_lossy().into_owned();
    let (stem, ending) = (part(path.file_stem()), part(path.extension()));
    match ending.is_empty() {
        true => format!("{stem}.{stream}"),
        false => format!("{stem}.{stream}.{ending}"),
    }
}

fn write_report(
    recorder: &Recorder,
    stream: &str,
    summary: &Summary,
    money: Option<&Money>,
    path: &Path,
) -> Result<(), CliError> {
    let fail = |e: &dyn std::fmt::Display| {
        CliError::Runtime(format!("cannot write {}: {e}", path.display()))
    };
    let html = recorder
        .html(stream, summary, money)
        .map_err(|e| fail(&e))?;
    std::fs::write(path, html).map_err(|e| fail(&e))
}

/// Refusals explained at most.
const MAX_EXPLAINED: usize = 20;

/// Says on standard error what was refused, with the first of each kind explained.
fn report_refusals(messages: &Messages) {
    let mut stderr = std::io::stderr().lock();
    // Nothing can be done when even standard error is closed, here and below.
    for remark in messages.remarks() {
        let _ = writeln!(stderr, "{remark}");
    }
    for refused in messages.refusals().iter().take(MAX_EXPLAINED) {
        let _ = writeln!(
            stderr,
            "{}  ({} of these)",
            refused.last.line(),
            refused.count
        );
    }
    for (reason, n) in messages.refused() {
        let _ = writeln!(stderr, "refused as {reason}: {n}");
    }
}

/// Output files are named as their inputs: two inputs of one name would overwrite each other, and
/// an input must not be overwritten.
fn check_outputs(out: &Path, files: &[PathBuf]) -> Result<(), CliError> {
    let mut names = std::collections::HashSet::new();
    for file in files {
        let name = file.file_name().unwrap_or_default();
        if !names.insert(name) {
            return Err(CliError::Config(format!(
                "two recordings are named {}: their outputs in {} would overwrite each other",
                Path::new(name).display(),
                out.display()
            )));
        }
        let target = out.join(name);
        if let (Ok(a), Ok(b)) = (target.canonicalize(), file.canonicalize())
            && a == b
        {
            return Err(CliError::Config(format!(
                "the output {} would overwrite the recording itself; give another --out",
                target.display()
            )));
        }
    }
    Ok(())
}

fn replay_file(
    args: &ReplayArgs,
    params: &EngineParams,
    file: &Path,
    before: Option<Replayed>,
) -> Result<(Summary, Option<Money>, Replayed), CliError> {
    let fail = |e: &dyn std::fmt::Display| CliError::Runtime(format!("{}: {e}", file.display()));
    // A recording is the stream of its name, for the rules that say what channels are.
    let stream = file.file_stem().unwrap_or_default();
    let stream = stream.to_string_lossy().into_owned();
    let options = TableOptions {
        states: params
            .lists_states()
            .then(|| (params.clone(), stream.clone())),
        ..args.reading.options()?
    };
    let mut table = WideTable::open(file, &options).map_err(|e| fail(&e))?;
    let mut recorder = (args.report.is_some() || args.labels.is_some()).then(|| {
        let units = table.channels().iter().map(|name| table.unit(name));
        let units = units.map(|unit| unit.unwrap_or_default().to_owned());
        Recorder::new(table.channels(), units.collect())
    });
    let mut replayed = match before {
        Some(replayed) => {
            replayed.fits(&table).map_err(|e| fail(&e))?;
            replayed
        }
        None => Replayed::fresh(params, &table, &stream),
    };
    let mut out = match &args.out {
        Some(dir) => {
            let path = dir.join(file.file_name().unwrap_or_default());
            let created = File::create(&path)
                .map_err(|e| CliError::Runtime(format!("cannot write {}: {e}", path.display())))?;
            Some(BufWriter::with_capacity(1 << 16, created))
        }
        None => None,
    };
    let bar = progress_bar(file);
    let start = Instant::now();
    let mut summary = replayed
        .run(
            &mut table,
            out.as_mut().map(|out| out as &mut dyn Write),
            recorder.as_mut(),
            |at| bar.set_position(at),
        )
        .map_err(|e| fail(&e))?;
    if let Some(mut out) = out {
        out.flush().map_err(|e| fail(&e))?;
    }
    bar.finish_and_clear();
    summary.took(start.elapsed().as_secs_f64());
    report_oddities(&table, file);
    let money = match (&recorder, &args.labels) {
        (Some(recorder), Some(labels)) => {
            let wrong =
                |e: &dyn std::fmt::Display| CliError::Runtime(format!("{}: {e}", labels.display()));
            let faults = crate::table::stretches_of(labels, &options).map_err(|e| wrong(&e))?;
            let costs = Costs {
                false_alarm: args.cost_false_alarm,
                missed_fault: args.cost_missed_fault,
            };
            Some(recorder.money(&faults, costs))
        }
        _ => None,
    };
    if let (Some(recorder), Some(path)) = (&recorder, &args.report) {
        write_report(recorder, &stream, &summary, money.as_ref(), path)?;
    }
    Ok((summary, money, replayed))
}

fn amount(text: &str) -> Result<f64, String> {
    let amount = text
        .parse()
        .ok()
        .filter(|x: &f64| x.is_finite() && *x >= 0.0);
    amount.ok_or_else(|| "an amount of 0 or more".to_owned())
}

fn progress_bar(file: &Path) -> ProgressBar {
    let size = std::fs::metadata(file).map_or(0, |m| m.len());
    if !std::io::stderr().is_terminal() {
        return ProgressBar::hidden();
    }
    let bar = ProgressBar::new(size);
    if let Ok(style) = ProgressStyle::with_template("{msg} {wide_bar} {bytes}/{total_bytes} {eta}")
    {
        bar.set_style(style);
    }
    bar.set_message(
        file.file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned(),
    );
    bar
}

fn say(file: &Path, text: String) {
    // Nothing can be done when even standard error is closed.
    let _ = writeln!(std::io::stderr(), "{}: {text}", file.display());
}

/// Says on standard error what was read differently from what one might expect.
fn report_oddities(table: &WideTable<'_>, file: &Path) {
    let say = |text: String| say(file, text);
    if !table.found().is_empty() {
        say(format!("read as: {}", table.found().join("; ")));
    }
    if table.time_column().is_none() {
        say(
            "no time column found; rows are taken as one second apart (--time names it, \
             --time-format says how it is written)"
                .into(),
        );
    }
    if let Some(other) = table.doubt() {
        say(format!(
            "its days can be read in two ways, the other is --time-format {other:?}"
        ));
    }
    if !table.ignored().is_empty() {
        say(format!("left out: {}", table.ignored().join(", ")));
    }
    if let Some(marks) = table.marks() {
        say(format!(
            "taken as missing: {marks} (--missing names such numbers, or none)"
        ));
    }
    if let Some((lines, (line, why, text))) = table.unreadable_lines() {
        say(format!(
            "{lines} lines left out that cannot be read, the first is line {line}: {why}: {text:?}"
        ));
    }
    if table.times_in_gap() > 0 {
        say(format!(
            "{} times do not exist in their zone, where its clock is put forward",
            table.times_in_gap()
        ));
    }
    if table.unreadable() > 0 {
        say(format!(
            "{} cells are no numbers; taken as missing",
            table.unreadable()
        ));
    }
    if table.backward() > 0 {
        say(format!(
            "{} rows lie before the row above; learned in file order (--timezone, where the clock was put back)",
            table.backward()
        ));
    }
}
