//! `spiked inspect`: what a state directory holds.

use std::path::PathBuf;

use clap::Args;

use crate::cli::CliError;

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
    #[arg(long, value_name = "FILE")]
    pub export: Option<PathBuf>,
    /// Read the stream's model from safetensors
    #[arg(long, value_name = "FILE")]
    pub import: Option<PathBuf>,
}

/// Runs the inspection.
///
/// # Errors
/// If the state cannot be read.
pub fn run(args: InspectArgs) -> Result<(), CliError> {
    let _ = args;
    Err(CliError::Runtime("inspect is not built yet".into()))
}
