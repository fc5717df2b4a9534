//! Starts logging: to standard error, or to the journal when systemd reads it.

use std::io::IsTerminal;
use std::sync::OnceLock;

use tracing_subscriber::filter::ParseError;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::SubscriberInitExt;
use tracing_subscriber::{EnvFilter, Registry, reload};

use crate::cli::CliError;

/// Changes the level of the subscriber that was started.
static LEVEL: OnceLock<reload::Handle<EnvFilter, Registry>> = OnceLock::new();

/// Goes on logging at `level`, which the settings have checked.
pub fn set_level(level: &str) {
    let Some(handle) = LEVEL.get() else { return };
    if let Ok(filter) = filter(level)
        && let Err(error) = handle.reload(filter)
    {
        tracing::error!(%error, "the log level cannot be changed");
    }
}

/// A filter of events. The client of NATS logs each attempt to connect: without a word of it in `level` it is
/// silent, and the cluster says once why it is not connected.
fn filter(level: &str) -> Result<EnvFilter, ParseError> {
    const CLIENT: &str = "async_nats";
    match level.contains(CLIENT) {
        true => EnvFilter::try_new(level),
        false => EnvFilter::try_new(format!("{level},{CLIENT}=off")),
    }
}

/// Starts logging at `level` (a word or a filter such as `info,spiked::mqtt=debug`). When
/// `JOURNAL_STREAM` says that the journal listens, events go there with their fields.
///
/// # Errors
/// If `level` is not a filter.
pub fn init(level: &str) -> Result<(), CliError> {
    let filter = filter(level).map_err(|error| {
        CliError::Config(format!(
            "log.level: a level or a filter, got {level:?}: {error}"
        ))
    })?;
    let (filter, handle) = reload::Layer::new(filter);
    // A second start in one process (tests, demo) keeps the first subscriber, and its handle.
    let _ = LEVEL.set(handle);
    let registry = tracing_subscriber::registry().with(filter);
    let journal = match std::env::var_os("JOURNAL_STREAM") {
        Some(_) => tracing_journald::layer().ok(),
        None => None,
    };
    let _ = match journal {
        Some(layer) => registry.with(layer).try_init(),
        None => registry
            .with(
                tracing_subscriber::fmt::layer()
                    .with_writer(std::io::stderr)
                    .with_ansi(std::io::stderr().is_terminal()),
            )
            .try_init(),
    };
    Ok(())
}
