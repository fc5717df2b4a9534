//! `spiked demo`: a simulated plant, a broker and the daemon in one process.

use clap::Args;

use crate::cli::CliError;

/// Arguments of `spiked demo`.
#[derive(Debug, Args)]
pub struct DemoArgs {
    /// Stop after so many seconds (default: until Ctrl-C)
    #[arg(long, value_name = "N")]
    pub seconds: Option<f64>,
    /// Simulated time over real time
    #[arg(long, value_name = "X")]
    pub speed: Option<f64>,
}

/// Runs the demo.
///
/// # Errors
/// If it cannot start or fails while running.
pub fn run(args: DemoArgs) -> Result<(), CliError> {
    let _ = args;
    Err(CliError::Runtime("the demo is not built yet".into()))
}
