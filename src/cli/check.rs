//! `spiked check`: says everything wrong with a configuration, or prints the effective settings, and
//! tries what `spiked run` will need.

use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::cli::CliError;
use crate::cli::listen::{Made, hear};
use crate::cli::run::Overrides;
use crate::config::{self, Protocol, Settings};
use crate::mqtt::{LinkOptions, V4, V5, probe};
use crate::runtime::filters;

/// Longest time for the whole attempt.
const LIMIT: Duration = Duration::from_secs(10);

/// Messages kept while listening, at most.
const MAX_MESSAGES: usize = 200_000;

/// Arguments of `spiked check`.
#[derive(Debug, Args)]
pub struct CheckArgs {
    /// Settings to check; without it, the defaults
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Print the effective settings, secrets masked
    #[arg(long)]
    pub print: bool,
    /// Print the JSON Schema of configuration files, for editors, and check nothing
    #[arg(long)]
    pub schema: bool,
    /// Also connect to the broker and try the subscriptions
    #[arg(long)]
    pub connect: bool,
    /// Also listen to the broker for so long, and say what comes and what each input makes of it
    #[arg(long, value_name = "SECONDS")]
    pub listen: Option<f64>,
    /// Overrides.
    #[command(flatten)]
    pub overrides: Overrides,
}

/// Checks, and says in one line that all is well; prints the effective settings where they are
/// asked for.
///
/// # Errors
/// If anything is wrong: every offence is listed.
pub fn run(args: CheckArgs) -> Result<(), CliError> {
    if args.schema {
        let schema = serde_json::to_string_pretty(&config::json_schema()).expect("JSON");
        writeln!(std::io::stdout().lock(), "{schema}")?;
        return Ok(());
    }
    let settings = config::load(args.config.as_deref(), &args.overrides.pairs()?)?;
    let mut stdout = std::io::stdout().lock();
    if args.print {
        write!(stdout, "{}", settings.to_toml())?;
    }
    let warnings = settings.warnings();
    for warning in &warnings {
        writeln!(stdout, "# warning: {warning}")?;
    }
    let needs = crate::cli::needs::check(&settings).map_err(CliError::Runtime)?;
    for line in needs.iter().filter(|_| args.print || args.connect) {
        writeln!(stdout, "# {line}")?;
    }
    if args.connect {
        match &settings.cluster {
            None => try_subscriptions(&settings, &mut stdout)?,
            Some(cluster) => try_cluster(cluster, &mut stdout)?,
        }
    }
    if let Some(seconds) = args.listen {
        if !(0.1..=86_400.0).contains(&seconds) {
            return Err(CliError::Config(
                "--listen: 0.1 to 86400 seconds".to_owned(),
            ));
        }
        let time = Duration::from_secs_f64(seconds);
        let heard = hear(
            &settings.mqtt,
            &filters(&settings.inputs),
            time,
            MAX_MESSAGES,
        )?;
        writeln!(stdout, "# {} messages within {seconds} s", heard.len())?;
        let made = Made::of(&heard, &mut settings.decoder(0));
        let inputs: Vec<String> = settings.inputs.iter().map(|i| i.pattern.filter()).collect();
        for line in made.report(&inputs).lines() {
            writeln!(stdout, "# {line}")?;
        }
    }
    writeln!(stdout, "{}", verdict(&settings, warnings.len()))?;
    Ok(())
}

/// The last line where all is well.
fn verdict(settings: &Settings, n_warnings: usize) -> String {
    let inputs: Vec<String> = filters(&settings.inputs)
        .into_iter()
        .map(|(filter, _)| filter)
        .collect();
    let warnings = match n_warnings {
        0 => String::new(),
        1 => ", 1 warning".to_owned(),
        n => format!(", {n} warnings"),
    };
    if let Some(cluster) = &settings.cluster {
        let servers = cluster.servers.join(", ");
        return format!(
            "OK, cluster {} at {servers}, journal of {}{warnings}",
            cluster.name,
            inputs.join(", ")
        );
    }
    format!(
        "OK, broker {}:{}, subscribes to {}{warnings}",
        settings.mqtt.host,
        settings.mqtt.port,
        inputs.join(", ")
    )
}

/// Says how the cluster's server answers.
#[cfg(feature = "jetstream")]
fn try_cluster(cluster: &config::ClusterSettings, out: &mut impl Write) -> Result<(), CliError> {
    use crate::carrier::jetstream::JetStream;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let view = runtime.block_on(async {
        let carrier = JetStream::connect(cluster, &[], "").await?;
        carrier.reach(LIMIT).await?;
        Ok::<_, crate::carrier::CarrierError>(carrier.view().await.ok())
    });
    let servers = cluster.servers.join(", ");
    let failed = |error| CliError::Runtime(format!("cluster {servers}: {error}"));
    let said = match view.map_err(failed)? {
        None => format!("answers; there is no cluster named {:?} yet", cluster.name),
        Some(view) => format!(
            "answers; {} workers, {} of {} partitions claimed",
            view.workers.len(),
            view.leases.len(),
            cluster.partitions
        ),
    };
    writeln!(out, "# cluster {servers}: {said}")?;
    Ok(())
}

#[cfg(not(feature = "jetstream"))]
fn try_cluster(_: &config::ClusterSettings, _: &mut impl Write) -> Result<(), CliError> {
    let missing = "cluster.url: this program was built without the feature jetstream";
    Err(CliError::Config(missing.to_owned()))
}

/// Says whether the broker grants each subscription.
fn try_subscriptions(settings: &Settings, out: &mut impl Write) -> Result<(), CliError> {
    let granted = connect(settings)?;
    let mut refused = Vec::new();
    for ((filter, qos), granted) in filters(&settings.inputs).iter().zip(granted) {
        let answer = if granted { "granted" } else { "refused" };
        writeln!(out, "# subscription {filter} (QoS {qos}): {answer}")?;
        if !granted {
            refused.push(filter.clone());
        }
    }
    match refused.is_empty() {
        true => Ok(()),
        false => Err(CliError::Runtime(format!(
            "the broker refuses {}",
            refused.join(", ")
        ))),
    }
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
    let filters = filters(&settings.inputs);
    let answer = runtime.block_on(async {
        match settings.mqtt.protocol {
            Protocol::V3 => probe::<V4>(&options, &filters, LIMIT).await,
            Protocol::V5 => probe::<V5>(&options, &filters, LIMIT).await,
        }
    });
    let broker = format!("{}:{}", settings.mqtt.host, settings.mqtt.port);
    answer.map_err(|error| CliError::Runtime(format!("broker {broker}: {error}")))
}
