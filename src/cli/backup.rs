//! `spiked backup` and `spiked restore`: a copy of the state, made while the service runs, and its return.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::cli::CliError;
use crate::cli::run::Overrides;
use crate::config;
use crate::state::{self, FILE_NAME, StateError};

/// Arguments of `spiked backup` and `spiked restore`.
#[derive(Debug, Args)]
pub struct BackupArgs {
    /// File to write, or to restore from
    #[arg(value_name = "FILE")]
    pub file: PathBuf,
    /// Settings that say where the state is; without it, the defaults
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Overrides.
    #[command(flatten)]
    pub overrides: Overrides,
}

impl BackupArgs {
    fn dir(&self) -> Result<PathBuf, CliError> {
        let settings = config::load(self.config.as_deref(), &self.overrides.pairs()?)?;
        Ok(settings.state.dir)
    }
}

fn failed(error: StateError) -> CliError {
    CliError::Runtime(error.to_string())
}

/// Copies the state file as it is at this moment.
///
/// # Errors
/// If the settings are wrong, there is such a file already or the copy fails.
pub fn backup(args: BackupArgs) -> Result<(), CliError> {
    let path = args.dir()?.join(FILE_NAME);
    state::backup(&path, &args.file).map_err(failed)?;
    let bytes = std::fs::metadata(&args.file)?.len();
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "{}: {bytes} bytes", args.file.display())?;
    Ok(())
}

/// Puts a copy in the place of the state file.
///
/// # Errors
/// If the settings are wrong, a daemon runs or the copy is no whole state file.
pub fn restore(args: BackupArgs) -> Result<(), CliError> {
    let dir = args.dir()?;
    let before = state::restore(&args.file, &dir).map_err(failed)?;
    let mut stdout = std::io::stdout().lock();
    writeln!(stdout, "restored to {}", dir.display())?;
    if let Some(before) = before {
        writeln!(stdout, "what was there is {}", before.display())?;
    }
    Ok(())
}
