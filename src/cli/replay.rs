//! `spiked replay`: the daemon's engine over recorded data, faster than real time.

use std::path::PathBuf;

use clap::Args;

use crate::cli::CliError;

/// Arguments of `spiked replay`.
#[derive(Debug, Args)]
pub struct ReplayArgs {
    /// Settings; config/minimal.toml does for any recording
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Directory for one output CSV per recording, named as its input
    #[arg(long, value_name = "DIR")]
    pub out: Option<PathBuf>,
    /// Print the summary as JSON
    #[arg(long)]
    pub json: bool,
    /// The time column (default: found by its name or its content)
    #[arg(long, value_name = "COLUMN")]
    pub time: Option<String>,
    /// Columns that are no channels
    #[arg(long, value_name = "COLUMN,...", value_delimiter = ',')]
    pub ignore: Vec<String>,
    /// Go on with the same model from file to file
    #[arg(long = "continue")]
    pub continue_model: bool,
    /// Recordings: a time column and a column a channel, separated by `,` or `;`
    #[arg(value_name = "CSV", required = true)]
    pub files: Vec<PathBuf>,
}

/// Runs the replay.
///
/// # Errors
/// If the configuration is wrong or a recording cannot be read.
pub fn run(args: ReplayArgs) -> Result<(), CliError> {
    let _ = args;
    Err(CliError::Runtime("replay is not built yet".into()))
}
