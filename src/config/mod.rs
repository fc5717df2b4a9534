//! Settings: a TOML file, overridden by `SPIKED_...` variables, overridden by flags; validated whole.
//!
//! Every offence is reported at once, each with its key, what is allowed and what was found.
//! Unknown keys and unknown `SPIKED_` variables are offences too.

mod advice;
mod changes;
mod channels;
mod cluster;
mod model;
mod mqtt;
mod reader;
mod schema;
mod secrets;
mod settings;
mod webhook;

use std::path::Path;

use config::{Config, Environment, File, FileFormat};

pub(crate) use changes::Changes;
pub(crate) use channels::Unit;
pub use cluster::ClusterSettings;
pub(crate) use mqtt::{InputSettings, MqttSettings, Protocol, TlsSettings};
pub(crate) use schema::json_schema;
pub use settings::{Durability, Settings};
pub(crate) use settings::{FeedbackMode, HttpSettings, OutputSettings, Overload, StateSettings};
pub(crate) use webhook::WebhookSettings;

/// Prefix of the environment variables: `SPIKED_MQTT__URL` is `mqtt.url`.
pub(crate) const ENV_PREFIX: &str = "SPIKED";

/// Errors of a configuration.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file cannot be read or is no TOML.
    #[error("{0}")]
    Unreadable(String),
    /// Settings that are wrong: a line each.
    #[error("{} wrong in the configuration:\n  {}", count(.0.len()), .0.join("\n  "))]
    Invalid(Vec<String>),
}

fn count(n: usize) -> String {
    if n == 1 {
        "1 thing is".to_owned()
    } else {
        format!("{n} things are")
    }
}

/// Loads the settings from `path` (defaults where `None`), the environment and `overrides`, pairs
/// of a key such as `mqtt.url` and its value as text.
///
/// # Errors
/// If the file cannot be read or anything in it, in the environment or in `overrides` is wrong.
pub fn load(path: Option<&Path>, overrides: &[(String, String)]) -> Result<Settings, ConfigError> {
    load_from(path, Environment::with_prefix(ENV_PREFIX), overrides)
}

/// As [`load`], from the text of a file alone.
///
/// # Errors
/// As [`load`].
pub fn from_text(text: &str) -> Result<Settings, ConfigError> {
    let unreadable = |error: &dyn std::fmt::Display| ConfigError::Unreadable(error.to_string());
    text.parse::<toml::Table>().map_err(|e| unreadable(&e))?;
    let file = File::from_str(text, FileFormat::Toml);
    let merged = Config::builder().add_source(file).build();
    settings::validate(merged.map_err(|e| unreadable(&e))?.cache).map_err(ConfigError::Invalid)
}

/// As [`load`], from `overrides` alone.
#[cfg(test)]
pub(crate) fn load_plain(overrides: &[(&str, String)]) -> Result<Settings, ConfigError> {
    let overrides = overrides
        .iter()
        .map(|(key, value)| ((*key).to_owned(), value.clone()));
    let nothing = Environment::with_prefix(ENV_PREFIX).source(Some(Default::default()));
    load_from(None, nothing, &overrides.collect::<Vec<_>>())
}

/// As [`load`], from a given environment.
fn load_from(
    path: Option<&Path>,
    environment: Environment,
    overrides: &[(String, String)],
) -> Result<Settings, ConfigError> {
    let mut builder = Config::builder();
    if let Some(path) = path {
        let text = std::fs::read_to_string(path).map_err(|error| {
            ConfigError::Unreadable(format!("cannot read {}: {error}", path.display()))
        })?;
        text.parse::<toml::Table>().map_err(|error| {
            // The parser's own text shows the line, which may hold a password.
            let at = error.span().map_or(0, |span| span.start);
            let line = 1 + text[..at.min(text.len())].matches('\n').count();
            let why = error.message();
            ConfigError::Unreadable(format!("{} is no TOML: line {line}: {why}", path.display()))
        })?;
        builder = builder.add_source(File::from_str(&text, FileFormat::Toml));
    }
    builder = builder.add_source(environment.prefix_separator("_").separator("__"));
    for (key, value) in overrides {
        builder = builder
            .set_override(key.as_str(), value.as_str())
            .map_err(|error| ConfigError::Invalid(vec![format!("{key}: no key: {error}")]))?;
    }
    let merged = builder
        .build()
        .map_err(|error| ConfigError::Unreadable(error.to_string()))?;
    settings::validate(merged.cache).map_err(ConfigError::Invalid)
}

#[cfg(test)]
mod tests;
