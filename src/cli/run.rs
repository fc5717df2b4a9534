//! `spiked run`: the service.

use std::future::Future;
use std::path::PathBuf;

use clap::Args;
use tokio::signal::unix::{SignalKind, signal};
use tracing::warn;

use crate::carrier::disk::DiskStore;
use crate::cli::CliError;
use crate::cli::reload::Reload;
use crate::config::{Durability, Settings};
use crate::{config, runtime};

/// Flags that override the configuration file and the environment.
#[derive(Debug, Default, Args)]
pub struct Overrides {
    /// Broker, as mqtt://host:port or mqtts://host:port
    #[arg(long, value_name = "URL")]
    pub mqtt_url: Option<String>,
    /// Address of /metrics, /healthz and /readyz
    #[arg(long, value_name = "ADDR:PORT")]
    pub http_listen: Option<String>,
    /// Directory of the state file
    #[arg(long, value_name = "DIR")]
    pub state_dir: Option<String>,
    /// Any other setting, as section.key=value; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

impl Overrides {
    /// As `(key, value)` pairs for [`config::load`].
    ///
    /// # Errors
    /// If a `--set` has no `=`.
    pub fn pairs(&self) -> Result<Vec<(String, String)>, CliError> {
        let mut pairs = Vec::new();
        for item in &self.set {
            let (key, value) = item.split_once('=').ok_or_else(|| {
                CliError::Config(format!("--set: section.key=value, got {item:?}"))
            })?;
            pairs.push((key.trim().to_owned(), value.to_owned()));
        }
        let named = [
            ("mqtt.url", &self.mqtt_url),
            ("http.listen", &self.http_listen),
            ("state.dir", &self.state_dir),
        ];
        for (key, value) in named {
            if let Some(value) = value {
                pairs.push((key.to_owned(), value.clone()));
            }
        }
        Ok(pairs)
    }
}

/// Arguments of `spiked run`.
#[derive(Debug, Args)]
pub struct RunArgs {
    /// Settings; config/spiked.toml shows them all. Without it they are at their defaults
    #[arg(long, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// Overrides.
    #[command(flatten)]
    pub overrides: Overrides,
}

/// Runs the service until SIGTERM, SIGINT or SIGQUIT.
///
/// # Errors
/// If the configuration is wrong, an address cannot be bound or the daemon fails.
pub fn run(args: RunArgs) -> Result<(), CliError> {
    let overrides = args.overrides.pairs()?;
    let settings = config::load(args.config.as_deref(), &overrides)?;
    crate::cli::logging::init(&settings.log_level)?;
    for warning in settings.warnings() {
        warn!("{warning}");
    }
    let (changed, changes) = tokio::sync::mpsc::channel(1);
    let mut reload = Reload {
        config: args.config,
        overrides,
        settings: settings.clone(),
        changed,
    };
    let hooks = runtime::Hooks {
        store: store(&settings)?,
        changed: Some(changes),
        ..runtime::Hooks::default()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .thread_name("edge")
        .enable_all()
        .build()?;
    let served = runtime.block_on(async {
        let shutdown = shutdown_signal(&mut reload)?;
        Ok::<_, CliError>(runtime::serve(settings, hooks, shutdown).await?)
    });
    // A thread that hangs does not keep the process from ending.
    runtime.shutdown_background();
    served.map(|_| ())
}

/// The state file; `None` where nothing is to be kept.
fn store(settings: &Settings) -> Result<Option<DiskStore>, CliError> {
    let (settings, in_cluster) = (&settings.state, settings.cluster.is_some());
    if in_cluster || settings.durability == Durability::None {
        return Ok(None);
    }
    let store = DiskStore::open(settings).map_err(|error| CliError::Runtime(error.to_string()))?;
    Ok(Some(store))
}

/// Ends with the first SIGTERM, SIGINT or SIGQUIT; each SIGHUP before has the settings read anew. The
/// signals that mean nothing here would end the process at once: they are caught and said.
fn shutdown_signal(reload: &mut Reload) -> Result<impl Future<Output = ()>, CliError> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut quit = signal(SignalKind::quit())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut user1 = signal(SignalKind::user_defined1())?;
    let mut user2 = signal(SignalKind::user_defined2())?;
    let mut alarm = signal(SignalKind::alarm())?;
    Ok(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => return,
                _ = interrupt.recv() => return,
                _ = quit.recv() => return,
                _ = hangup.recv() => reload.reload(),
                _ = user1.recv() => say_ignored("SIGUSR1"),
                _ = user2.recv() => say_ignored("SIGUSR2"),
                _ = alarm.recv() => say_ignored("SIGALRM"),
            }
        }
    })
}

fn say_ignored(signal: &str) {
    warn!(
        signal,
        "ignored: SIGHUP reads the settings anew, SIGTERM ends the daemon"
    );
}
