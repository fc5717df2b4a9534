//! `spiked fit`: learn a table offline.

use clap::Args;

use crate::cli::CliError;

/// Arguments of `spiked fit`.
#[derive(Debug, Args)]
pub struct FitArgs {}

/// Runs the fit.
///
/// # Errors
/// If the arguments are wrong or a table cannot be read.
pub fn run(args: FitArgs) -> Result<(), CliError> {
    let _ = args;
    Err(CliError::Runtime("fit is not built yet".into()))
}
