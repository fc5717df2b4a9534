//! `spiked inspect`: what a state directory holds.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use clap::Args;

use crate::cli::CliError;
use crate::state::inspect::{current, inspect};
use crate::state::snapshot::Snapshot;
use crate::state::{Durability, FILE_NAME, StateStore, StoreOptions, export, import};

/// Arguments of `spiked inspect`.
#[derive(Debug, Args)]
pub struct InspectArgs {
    /// State directory or state file
    #[arg(value_name = "STATE")]
    pub state: PathBuf,
    /// Only this stream
    #[arg(long, value_name = "S")]
    pub stream: Option<String>,
    /// Print JSON
    #[arg(long)]
    pub json: bool,
    /// Write the stream's model as safetensors
    #[arg(long, value_name = "FILE", requires = "stream")]
    pub export: Option<PathBuf>,
    /// Put a model from a safetensors file in the place of the stream's; the service must not run
    #[arg(
        long,
        value_name = "FILE",
        requires = "stream",
        conflicts_with = "export"
    )]
    pub import: Option<PathBuf>,
}

/// Runs the inspection.
///
/// # Errors
/// If the state cannot be read, or a model cannot be written or taken over.
pub fn run(args: InspectArgs) -> Result<(), CliError> {
    let failed = |error: crate::state::StateError| CliError::Runtime(error.to_string());
    let new = args.import.is_some() && !args.state.exists();
    let file = if args.state.is_dir() || new {
        args.state.join(FILE_NAME)
    } else {
        args.state.clone()
    };
    let stream = args.stream.as_deref();
    if let (Some(target), Some(stream)) = (&args.export, stream) {
        let snapshot = current(&file, stream, now_ms()).map_err(failed)?;
        return export(&snapshot, target).map_err(failed);
    }
    if let (Some(source), Some(stream)) = (&args.import, stream) {
        return take_over(&file, stream, source).map_err(failed);
    }
    let inspection = inspect(&file, stream).map_err(failed)?;
    let text = if args.json {
        serde_json::to_string_pretty(&inspection).map_err(|e| CliError::Runtime(e.to_string()))?
    } else {
        inspection.to_string()
    };
    writeln!(std::io::stdout().lock(), "{}", text.trim_end())?;
    Ok(())
}

/// Makes the model of `source` the stream's newest snapshot: it learns what comes next.
fn take_over(file: &Path, stream: &str, source: &Path) -> Result<(), crate::state::StateError> {
    let found = import(source)?;
    let params = found.params()?;
    let model = found.open()?;
    let dir = file.parent().unwrap_or(Path::new("."));
    // Without a journal of its own: the model is new, and there are no readings to go with it.
    let options = StoreOptions {
        durability: Durability::Snapshot,
        ..StoreOptions::new(dir)
    };
    let store = StateStore::open(options)?;
    // The settings of other streams do not matter: nothing of theirs is written.
    let last_seq = store.recover(&|_| None)?.last_seq.max(1);
    let model = model.carried_over(stream, last_seq);
    let saved = store.save_and_wait(Snapshot::of(&model, &params, now_ms()));
    store.close();
    saved
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}
