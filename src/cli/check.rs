//! `spiked check`: says everything wrong with a configuration, or prints the effective settings.

use std::io::Write;
use std::path::PathBuf;

use clap::Args;

use crate::cli::CliError;
use crate::cli::run::Overrides;
use crate::config;

/// Arguments of `spiked check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Settings to check
    #[arg(long, value_name = "FILE")]
    pub config: PathBuf,
    /// Also connect to the broker and try the subscriptions
    #[arg(long)]
    pub connect: bool,
    /// Overrides.
    #[command(flatten)]
    pub overrides: Overrides,
}

/// Checks, and prints the effective settings with secrets masked.
///
/// # Errors
/// If anything is wrong: every offence is listed.
pub fn run(args: CheckArgs) -> Result<(), CliError> {
    let settings = config::load(Some(&args.config), &args.overrides.pairs()?)?;
    write!(std::io::stdout(), "{}", settings.to_toml())?;
    Ok(())
}
