//! `spiked discover`: listens to a broker, recognises what runs on it, and proposes the inputs.

mod conventions;
mod shapes;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::Write;
use std::path::PathBuf;
use std::time::Duration;

use clap::Args;

use crate::cli::CliError;
use crate::cli::listen::{Heard, Made, hear};
use crate::config::{self, Settings};
use conventions::CONVENTIONS;

/// Messages kept at most: enough for some of each topic of a large plant.
const MAX_MESSAGES: usize = 200_000;
/// Topics shown of a convention.
const MAX_TOPICS: usize = 3;

/// Arguments of `spiked discover`.
#[derive(Debug, Args)]
pub struct DiscoverArgs {
    /// Broker, as mqtt://host:port or mqtts://host:port
    #[arg(value_name = "URL")]
    pub url: String,
    /// How long to listen
    #[arg(long, value_name = "SECONDS", default_value_t = 60.0)]
    pub seconds: f64,
    /// Topics to listen to
    #[arg(long, value_name = "FILTER", default_value = "#")]
    pub topic: String,
    /// Write the configuration to a file that is not there yet
    #[arg(long, value_name = "FILE")]
    pub write: Option<PathBuf>,
    /// Settings of the connection, as mqtt.key=value; may be repeated
    #[arg(long = "set", value_name = "KEY=VALUE")]
    pub set: Vec<String>,
}

/// A topic with the messages that came on it.
pub(super) struct Topic<'a> {
    /// The topic.
    pub name: &'a str,
    /// Its messages, in order.
    pub messages: Vec<&'a Heard>,
}

impl Topic<'_> {
    /// Levels of the topic.
    fn levels(&self) -> Vec<&str> {
        self.name.split('/').collect()
    }

    /// The last payload, where it is a text.
    fn text(&self) -> &str {
        let last = self.messages.last();
        let text = last.and_then(|heard| std::str::from_utf8(&heard.delivered.payload).ok());
        text.unwrap_or_default().trim()
    }

    /// The last payload as JSON.
    fn json(&self) -> serde_json::Value {
        serde_json::from_str(self.text()).unwrap_or_default()
    }

    fn arrival_ms(&self) -> i64 {
        self.messages.last().map_or(0, |heard| heard.arrival_ms)
    }
}

/// Tables of a configuration, with the convention that they are for.
pub(super) struct ProposedInput {
    /// Name of the convention.
    pub name: String,
    /// `[[input]]` and `[[channel]]` tables.
    pub tables: String,
    /// Topics that it was made for.
    pub topics: Vec<String>,
}

/// Listens, proposes, and writes.
///
/// # Errors
/// If the broker cannot be reached, nothing comes, or the file exists.
pub fn run(args: DiscoverArgs) -> Result<(), CliError> {
    if let Some(path) = args.write.as_ref().filter(|path| path.exists()) {
        return Err(CliError::Config(format!(
            "--write: {} is there already",
            path.display()
        )));
    }
    let mut pairs = vec![("mqtt.url".to_owned(), args.url.clone())];
    for item in &args.set {
        let (key, value) = item
            .split_once('=')
            .ok_or_else(|| CliError::Config(format!("--set: mqtt.key=value, got {item:?}")))?;
        pairs.push((key.trim().to_owned(), value.to_owned()));
    }
    let settings = config::load(None, &pairs)?;
    if !(0.1..=86_400.0).contains(&args.seconds) {
        return Err(CliError::Config("--seconds: 0.1 to 86400".to_owned()));
    }
    let time = Duration::from_secs_f64(args.seconds);
    let filters = [(args.topic.clone(), 0)];
    let mut stderr = std::io::stderr().lock();
    writeln!(stderr, "listening to {} for {} s", args.url, args.seconds)?;
    let heard = hear(&settings.mqtt, &filters, time, MAX_MESSAGES)?;
    let topics = topics_of(&heard, &settings);
    if topics.is_empty() {
        return Err(CliError::Runtime(format!(
            "nothing came on {} within {} s; is it the right broker, and may this user read?",
            args.topic, args.seconds
        )));
    }
    let (proposals, left) = propose(&topics);
    let text = configuration(&args, &proposals);
    let checked = settings_of(&text)?;
    let made = Made::of(&heard, &mut checked.decoder(0));
    let mut stdout = std::io::stdout().lock();
    stdout.write_all(report(&topics, &proposals, &left, &made, &text).as_bytes())?;
    if let Some(path) = &args.write {
        std::fs::write(path, &text)
            .map_err(|e| CliError::Runtime(format!("cannot write {}: {e}", path.display())))?;
        writeln!(stdout, "written to {}", path.display())?;
    }
    Ok(())
}

/// The messages by topic, without our own outputs.
fn topics_of<'a>(heard: &'a [Heard], settings: &Settings) -> Vec<Topic<'a>> {
    let own = format!("{}/{}/", settings.output.prefix, settings.output.instance);
    let mut topics: BTreeMap<&str, Vec<&Heard>> = BTreeMap::new();
    for message in heard {
        let topic = message.delivered.topic.as_str();
        if !topic.starts_with(&own) && !topic.starts_with('$') {
            topics.entry(topic).or_default().push(message);
        }
    }
    let topics = topics.into_iter();
    topics
        .map(|(name, messages)| Topic { name, messages })
        .collect()
}

/// Conventions first, each for the topics that it knows; then shapes for what is left. Returns the
/// proposals and the topics that none is for.
fn propose<'a>(topics: &'a [Topic<'a>]) -> (Vec<ProposedInput>, Vec<&'a str>) {
    let mut proposals = Vec::new();
    let mut left: Vec<&Topic<'_>> = topics.iter().collect();
    for convention in &CONVENTIONS {
        let (mine, others): (Vec<_>, Vec<_>) = left
            .into_iter()
            .partition(|topic| (convention.is_one)(topic));
        left = others;
        if mine.iter().any(|topic| (convention.has_values)(topic)) {
            proposals.push(ProposedInput {
                name: convention.name.to_owned(),
                tables: convention.tables(&mine),
                topics: mine.iter().map(|topic| topic.name.to_owned()).collect(),
            });
        }
    }
    let (shapes, left) = shapes::propose(&left);
    proposals.extend(shapes);
    (proposals, left)
}

fn configuration(args: &DiscoverArgs, proposals: &[ProposedInput]) -> String {
    let mut text = format!(
        "# Made by `spiked discover` from what came within {} s. Names and settings are proposals.\n\n\
         [mqtt]\nurl = {}\n",
        args.seconds,
        toml::Value::String(args.url.clone())
    );
    for item in args.set.iter().filter(|item| !item.contains("password=")) {
        if let Some((key, value)) = item.split_once('=')
            && let Some(key) = key.trim().strip_prefix("mqtt.")
        {
            let value = toml::Value::String(value.to_owned());
            let _ = writeln!(text, "{key} = {value}");
        }
    }
    for proposal in proposals {
        let _ = write!(text, "\n# {}\n{}", proposal.name, proposal.tables);
    }
    text
}

/// The settings that a text makes, without the environment's.
fn settings_of(text: &str) -> Result<Settings, CliError> {
    config::from_text(text).map_err(CliError::from)
}

fn report(
    topics: &[Topic<'_>],
    proposals: &[ProposedInput],
    left: &[&str],
    made: &Made,
    configuration: &str,
) -> String {
    let mut text = format!("{} topics\n", topics.len());
    // Writing to a string cannot fail, here and elsewhere in this file.
    for proposal in proposals {
        let shown: Vec<&str> = proposal
            .topics
            .iter()
            .take(MAX_TOPICS)
            .map(String::as_str)
            .collect();
        let more = proposal.topics.len().saturating_sub(MAX_TOPICS);
        let more = match more {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        let _ = writeln!(text, "  {}: {}{more}", proposal.name, shown.join(", "));
    }
    if !left.is_empty() {
        let shown: Vec<&str> = left.iter().take(10).copied().collect();
        let _ = writeln!(
            text,
            "  nothing to learn: {} topics, such as {}",
            left.len(),
            shown.join(", ")
        );
    }
    let _ = write!(text, "\n{configuration}\n# Of what came this makes:\n");
    for line in made.preview().lines() {
        let _ = writeln!(text, "#   {line}");
    }
    if made.n_streams() == 0 {
        let _ = writeln!(
            text,
            "#   nothing yet: only retained messages came; listen longer"
        );
    }
    text
}
