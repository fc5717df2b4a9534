//! `spiked check`: says everything wrong with a configuration, or prints the effective settings, and
//! tries what `spiked run` will need.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::cli::CliError;
use crate::cli::run::Overrides;
use crate::config::{self, Protocol, Settings};
use crate::mqtt::{LinkOptions, V4, V5, probe};
use crate::runtime::filters;

/// Longest time for the whole attempt.
const LIMIT: Duration = Duration::from_secs(10);

/// Arguments of `spiked check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Settings to check; without it, the defaults
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
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
    let settings = config::load(args.config.as_deref(), &args.overrides.pairs()?)?;
    let mut stdout = std::io::stdout().lock();
    write!(stdout, "{}", settings.to_toml())?;
    for warning in settings.warnings() {
        writeln!(stdout, "# warning: {warning}")?;
    }
    for line in crate::cli::needs::check(&settings).map_err(CliError::Runtime)? {
        writeln!(stdout, "# {line}")?;
    }
    if args.connect {
        let granted = connect(&settings)?;
        let mut refused = Vec::new();
        for ((filter, qos), granted) in filters(&settings).iter().zip(granted) {
            let answer = if granted { "granted" } else { "refused" };
            writeln!(stdout, "# subscription {filter} (QoS {qos}): {answer}")?;
            if !granted {
                refused.push(filter.clone());
            }
        }
        if !refused.is_empty() {
            return Err(CliError::Runtime(format!(
                "the broker refuses {}",
                refused.join(", ")
            )));
        }
    }
    Ok(())
}

/// Connects under a name of its own, so that a running daemon keeps its session.
fn connect(settings: &Settings) -> Result<Vec<bool>, CliError> {
    let mut options = LinkOptions {
        mqtt: settings.mqtt.clone(),
        status_topic: None,
        clean_session: true,
    };
    options.mqtt.client_id = format!("{}-check-{}", options.mqtt.client_id, std::process::id());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let filters = filters(settings);
    let answer = runtime.block_on(async {
        match settings.mqtt.protocol {
            Protocol::V3 => probe::<V4>(&options, &filters, LIMIT).await,
            Protocol::V5 => probe::<V5>(&options, &filters, LIMIT).await,
        }
    });
    let broker = format!("{}:{}", settings.mqtt.host, settings.mqtt.port);
    answer.map_err(|error| CliError::Runtime(format!("broker {broker}: {error}")))
}
