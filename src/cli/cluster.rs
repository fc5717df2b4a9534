//! `spiked cluster`: who has which partition, and which streams the last commits hold.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::PathBuf;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand};
use serde_json::json;

use crate::carrier::jetstream::JetStream;
use crate::carrier::{ClusterView, DeadLetter};
use crate::cli::CliError;
use crate::cli::run::Overrides;
use crate::config::{self, ClusterSettings};
use crate::state::digest;

/// Longest time for the server's answer.
const LIMIT: Duration = Duration::from_secs(10);

/// Arguments of `spiked cluster`.
#[derive(Debug, Args)]
pub struct ClusterArgs {
    /// ClusterQuestion to answer
    #[command(subcommand)]
    pub question: ClusterQuestion,
}

/// Questions about a cluster.
#[derive(Debug, Subcommand)]
pub enum ClusterQuestion {
    /// Print the workers, their partitions, and how far the last commits have come
    Status(QuestionArgs),
    /// Print the streams of the last commits: readings, rows, and a digest of the whole state
    Streams(QuestionArgs),
}

/// Where the cluster is, and in which form the answer is wanted.
#[derive(Debug, Args)]
pub struct QuestionArgs {
    /// Settings of a worker; without it, the defaults
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Overrides.
    #[command(flatten)]
    pub overrides: Overrides,
}

/// Answers.
///
/// # Errors
/// If the settings are wrong, or the server does not answer.
pub fn run(args: ClusterArgs) -> Result<(), CliError> {
    let text = match args.question {
        ClusterQuestion::Status(args) => {
            let text = |view: &ClusterView, settings: &ClusterSettings| match args.json {
                true => status_json(view),
                false => status_text(view, settings),
            };
            let (carrier, settings) = connect(&args)?;
            let view = ask(&carrier, async |carrier| carrier.view().await)?;
            text(&view, &settings)
        }
        ClusterQuestion::Streams(args) => {
            let (carrier, settings) = connect(&args)?;
            streams(&carrier, &settings, args.json)?
        }
    };
    writeln!(std::io::stdout().lock(), "{}", text.trim_end())?;
    Ok(())
}

/// A connection with the runtime that drives it.
struct ClusterConnection {
    runtime: tokio::runtime::Runtime,
    carrier: JetStream,
}

fn connect(args: &QuestionArgs) -> Result<(ClusterConnection, ClusterSettings), CliError> {
    let settings = config::load(args.config.as_deref(), &args.overrides.pairs()?)?;
    let Some(settings) = settings.cluster else {
        let missing = "there is no cluster: cluster.url is empty";
        return Err(CliError::Config(missing.to_owned()));
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let carrier = runtime.block_on(async {
        let carrier = JetStream::connect(&settings, &[], "").await?;
        carrier.reach(LIMIT).await?;
        Ok(carrier)
    });
    let carrier = carrier.map_err(failed)?;
    Ok((ClusterConnection { runtime, carrier }, settings))
}

fn ask<T>(
    connected: &ClusterConnection,
    question: impl AsyncFnOnce(&JetStream) -> Result<T, crate::carrier::CarrierError>,
) -> Result<T, CliError> {
    let answer = connected.runtime.block_on(question(&connected.carrier));
    answer.map_err(failed)
}

fn failed(error: crate::carrier::CarrierError) -> CliError {
    CliError::Runtime(error.to_string())
}

/// Partitions by worker; those without one under the empty name.
fn by_worker(view: &ClusterView) -> BTreeMap<&str, Vec<u16>> {
    let mut found: BTreeMap<&str, Vec<u16>> = BTreeMap::new();
    for worker in view.workers.keys() {
        found.entry(worker).or_default();
    }
    for (partition, lease) in &view.leases {
        found.entry(&lease.owner).or_default().push(*partition);
    }
    found
}

fn status_text(view: &ClusterView, settings: &ClusterSettings) -> String {
    let mut lines = vec![format!(
        "journal: messages {} to {}",
        view.first_sequence, view.last_sequence
    )];
    let lease_ms = i64::try_from(settings.lease.as_millis()).unwrap_or(i64::MAX);
    for (worker, partitions) in by_worker(view) {
        let heard = match view.workers.get(worker) {
            _ if worker.is_empty() => "no worker".to_owned(),
            Some(ms) if *ms > lease_ms => format!("not heard for {:.1} s", *ms as f64 / 1000.0),
            Some(ms) => format!("heard {:.1} s ago", *ms as f64 / 1000.0),
            None => "not heard".to_owned(),
        };
        let behind = partitions.iter().filter_map(|p| view.leases.get(p));
        let behind = behind
            .map(|lease| view.last_sequence.saturating_sub(lease.position))
            .max();
        let name = if worker.is_empty() { "-" } else { worker };
        lines.push(format!(
            "{name}: {} partitions, {heard}, last commits at most {} messages behind",
            partitions.len(),
            behind.unwrap_or(0)
        ));
    }
    let claimed = view.leases.len();
    let all = usize::from(settings.partitions);
    if claimed < all {
        lines.push(format!("{} partitions were never claimed", all - claimed));
    }
    for letter in view.leases.values().flat_map(|lease| &lease.dead_letters) {
        let DeadLetter {
            seq,
            stream,
            reading,
            reason,
        } = letter;
        lines.push(format!("dead letter {seq} {stream}: {reason}: {reading}"));
    }
    lines.join("\n")
}

fn status_json(view: &ClusterView) -> String {
    let workers = view
        .workers
        .iter()
        .map(|(name, ms)| json!({"worker": name, "heard_ms_ago": ms}));
    let partitions = view.leases.iter().map(|(partition, lease)| {
        json!({
            "partition": partition,
            "worker": lease.owner,
            "epoch": lease.epoch,
            "position": lease.position,
            "state_bytes": lease.state_bytes,
            "committed_ms": lease.committed_ms,
            "dead_letters": lease.dead_letters,
        })
    });
    let all = json!({
        "first_message": view.first_sequence,
        "last_message": view.last_sequence,
        "now_ms": now_ms(),
        "workers": workers.collect::<Vec<_>>(),
        "partitions": partitions.collect::<Vec<_>>(),
    });
    all.to_string()
}

fn streams(
    connected: &ClusterConnection,
    settings: &ClusterSettings,
    as_json: bool,
) -> Result<String, CliError> {
    let mut lines = Vec::new();
    let mut all = Vec::new();
    for partition in 0..settings.partitions {
        let state = ask(connected, async |carrier| carrier.state(partition).await)?;
        for snapshot in state.unwrap_or_default().streams {
            let stream = snapshot
                .open()
                .map_err(|e| CliError::Runtime(e.to_string()))?;
            let (readings, rows) = (stream.readings(), stream.engine().stats().rows);
            let digest = digest(&stream);
            lines.push(format!(
                "{} (partition {partition}): {readings} readings, {rows} rows, digest {digest}",
                snapshot.stream
            ));
            all.push(json!({
                "stream": snapshot.stream,
                "partition": partition,
                "readings": readings,
                "rows": rows,
                "last_reading_seq": stream.last_seq(),
                "digest": digest,
            }));
        }
    }
    Ok(match as_json {
        true => json!(all).to_string(),
        false => lines.join("\n"),
    })
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}
