//! The validated settings: which keys there are, their defaults and their ranges.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use config::{Value, ValueKind};

use super::channels::{Unit, channels, predict};
use super::cluster::{ClusterSettings, cluster};
use super::model::{engine, stream};
use super::mqtt::{InputSettings, MqttSettings, inputs, mqtt};
use super::reader::{Described, ProblemReport, Section, any, not_empty, unknown};
use super::secrets::{SecretFiles, readable_by_all, secret_file};
use super::webhook::{WebhookSettings, webhook};
use crate::decode::Decoder;
use crate::payload::OutputForm;
use crate::route::Router;
use crate::stream::StreamParams;

/// Everything the daemon is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Log level or filter.
    pub log_level: String,
    /// The broker.
    pub mqtt: MqttSettings,
    /// Subscriptions and their inputs.
    pub inputs: Vec<InputSettings>,
    /// The inputs are written down; else the default one is there.
    pub inputs_given: bool,
    /// Settings of the published messages.
    pub output: OutputSettings,
    /// Streams accepted; readings of further ones are refused.
    pub max_streams: usize,
    /// A stream that has hardly come and is silent for so long makes room where there are
    /// `max_streams`; `None` for never.
    pub expire_after: Option<Duration>,
    /// Channels accepted a stream.
    pub max_channels: usize,
    /// Channels that every stream has from the start.
    pub channels: Vec<Arc<str>>,
    /// Parameters of each stream.
    pub stream: StreamParams,
    /// Threads, queues, overload, shutdown.
    pub runtime: RuntimeSettings,
    /// The HTTP listener.
    pub http: HttpSettings,
    /// Where incidents are posted to; `None` for nowhere.
    pub webhook: Option<WebhookSettings>,
    /// Units of channels: the first that fits counts.
    pub units: Vec<Unit>,
    /// Settings of the state on disk.
    pub state: StateSettings,
    /// The workers that share the streams; `None` for a single machine.
    pub cluster: Option<ClusterSettings>,
    secret_files: SecretFiles,
    pub(super) effective: String,
}

/// Settings of the published messages.
#[derive(Clone, Debug, PartialEq)]
pub struct OutputSettings {
    /// First level of every topic that we publish.
    pub prefix: String,
    /// Second level: which daemon this is.
    pub instance: String,
    /// Quality of service of predictions, 0 or 1.
    pub predictions_qos: u8,
    /// Whether predictions are retained.
    pub predictions_retain: bool,
    /// Messages waiting for the broker before the oldest predictions are dropped.
    pub outbox_messages: usize,
    /// Messages sent with QoS 1 that may wait for their acknowledgement at once.
    pub in_flight: usize,
    /// Shortest time between two predictions of a stream; a row that comes earlier waits, and a newer
    /// one replaces it. Zero publishes every row.
    pub prediction_interval: Duration,
    /// Policy for predictions when so many messages wait.
    pub overload: Overload,
    /// Forms in which predictions are published, each on a topic of its own.
    pub forms: Vec<OutputForm>,
    /// First level of Home Assistant's discovery topics; empty for none.
    pub home_assistant: String,
    /// Operators may rule on incidents.
    pub feedback: FeedbackMode,
    /// Token that a message of theirs must carry with [`FeedbackMode::Token`].
    pub feedback_token: String,
}

/// Whose verdicts on incidents are taken from the broker.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FeedbackMode {
    /// Nobody's.
    Off,
    /// Everybody's who may publish there.
    On,
    /// Theirs who know the token.
    Token,
}

const FEEDBACK_MODES: [(&str, FeedbackMode); 3] = [
    ("off", FeedbackMode::Off),
    ("on", FeedbackMode::On),
    ("token", FeedbackMode::Token),
];

/// Policy for a full queue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Overload {
    /// Stop reading from the socket: the broker queues.
    Block,
    /// Drop the oldest readings, counted.
    DropOldest,
}

const OVERLOADS: [(&str, Overload); 2] = [
    ("block", Overload::Block),
    ("drop_oldest", Overload::DropOldest),
];

/// Threads, queues, overload, shutdown.
#[derive(Clone, Debug, PartialEq)]
pub struct RuntimeSettings {
    /// Worker threads.
    pub workers: usize,
    /// Readings waiting for a worker.
    pub queue_messages: usize,
    /// Policy for that queue when it is full.
    pub overload: Overload,
    /// Time for an orderly shutdown.
    pub grace: Duration,
    /// Longest time without progress of a thread or task before the daemon is unhealthy.
    pub stuck_after: Duration,
}

/// The HTTP listener.
#[derive(Clone, Default, PartialEq)]
pub struct HttpSettings {
    /// Address; `None` when switched off.
    pub listen: Option<SocketAddr>,
    /// Streams that get metrics of their own, with a `stream` label; 0 for none.
    pub max_labelled_streams: usize,
    /// Connections at once.
    pub max_connections: usize,
    /// Host names that requests may be for.
    pub allowed_hosts: Vec<String>,
    /// Token that every request but a probe's needs; `None` for none.
    pub token: Option<String>,
    /// Token for verdicts from the page; `None` where they are not wanted.
    pub admin_token: Option<String>,
    /// Memory for the histories of all streams, bytes.
    pub history_bytes: usize,
}

impl fmt::Debug for HttpSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("HttpSettings")
            .field("listen", &self.listen)
            .field("max_labelled_streams", &self.max_labelled_streams)
            .field("max_connections", &self.max_connections)
            .field("allowed_hosts", &self.allowed_hosts)
            .finish_non_exhaustive()
    }
}

/// Settings of the state on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Nothing: a restart learns anew.
    None,
    /// Snapshots: a crash loses what was learned since the last one.
    Snapshot,
    /// Snapshots and a journal: nothing acknowledged is lost.
    Journal,
}

/// Settings of the state on disk, and how often it is written.
#[derive(Clone, Debug, PartialEq)]
pub struct StateSettings {
    /// Directory of the state file.
    pub dir: PathBuf,
    /// How much is kept.
    pub durability: Durability,
    /// Readings that make a group commit.
    pub commit_messages: usize,
    /// Longest wait of a reading for its group commit.
    pub commit_max_age: Duration,
    /// Time between snapshots.
    pub snapshot_every: Duration,
    /// Size of the journal at which a snapshot is forced, bytes.
    pub journal_max_bytes: u64,
    /// Learning that a restart may have to repeat, at most, by each worker: more makes snapshots due.
    pub recovery: Duration,
    /// Streams without a reading for so long leave memory; `None` for never.
    pub idle_evict: Option<Duration>,
}

impl Settings {
    /// The effective settings as TOML, secrets masked.
    pub fn to_toml(&self) -> &str {
        &self.effective
    }

    /// Warnings: settings that are valid but unwise.
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = readable_by_all(&self.secret_files);
        warnings.extend(self.warnings_of_inputs());
        warnings.extend(self.warnings_of_cluster());
        warnings
    }

    /// Parameters of each stream.
    pub fn stream_params(&self) -> &StreamParams {
        &self.stream
    }

    /// The decoder of messages into readings, numbered from `last_seq` on.
    pub fn decoder(&self, last_seq: u64) -> Decoder {
        let own = format!("{}/{}", self.output.prefix, self.output.instance);
        let router = Router::new(
            self.inputs.iter().map(|i| i.pattern.clone()).collect(),
            &own,
            self.max_streams,
            self.max_channels,
            self.channels.clone(),
        );
        let formats = self.inputs.iter().map(|i| i.format.clone()).collect();
        let mut decoder = Decoder::new(formats, router, self.mqtt.max_payload_bytes);
        decoder.states = (self.stream.engine.lists_states()).then(|| self.stream.engine.clone());
        let wanted = self.output.feedback != FeedbackMode::Off;
        decoder.feedback = wanted.then(|| format!("{own}/"));
        let token = &self.output.feedback_token;
        let with_token = self.output.feedback == FeedbackMode::Token;
        decoder.feedback_token = with_token.then(|| token.clone());
        decoder.last_seq = last_seq;
        decoder
    }
}

/// Names of the tables.
const SECTIONS: [&str; 15] = [
    "mqtt",
    "input",
    "output",
    "stream",
    "predict",
    "channel",
    "learn",
    "detect",
    "experimental",
    "runtime",
    "http",
    "webhook",
    "state",
    "cluster",
    "log",
];

/// Validates a merged tree.
///
/// # Errors
/// Every offence, a line each.
pub(super) fn validate(root: Value) -> Result<Settings, Vec<String>> {
    let mut report = ProblemReport::default();
    let settings = read(root, &mut report);
    if !report.problems.is_empty() {
        return Err(report.problems);
    }
    let mut settings =
        settings.ok_or_else(|| vec!["the configuration is incomplete".to_owned()])?;
    settings.effective = report.effective;
    Ok(settings)
}

/// Describes every key of the tables of a merged tree and of those that are there by default.
pub(super) fn described(root: Value) -> Vec<Described> {
    let mut report = ProblemReport::default();
    read(root, &mut report);
    report.described
}

/// Reads a merged tree; `None` where a part that nothing can stand in for is wrong.
fn read(root: Value, r: &mut ProblemReport) -> Option<Settings> {
    let ValueKind::Table(mut root) = root.kind else {
        r.problems.push("the configuration is no table".to_owned());
        return None;
    };
    let mut secret_files = SecretFiles::new();
    let mqtt = mqtt(root.remove("mqtt"), &mut secret_files, r);
    let input_tables = root.remove("input");
    let inputs_given = input_tables.is_some();
    let inputs = inputs(input_tables, r);
    let output = output(root.remove("output"), r);
    let (caps, assemble) = stream(root.remove("stream"), r);
    let horizons = predict(root.remove("predict"), r);
    let units = channels(root.remove("channel"), r);
    let channels = units.iter().map(|unit| unit.rule.clone()).collect();
    let engine = engine(
        root.remove("learn"),
        root.remove("detect"),
        root.remove("experimental"),
        horizons,
        channels,
        r,
    );
    let runtime = runtime(root.remove("runtime"), r);
    let http = http(root.remove("http"), &mut secret_files, r);
    let webhook = webhook(root.remove("webhook"), &mut secret_files, r);
    let state = state(root.remove("state"), r);
    let cluster = cluster(root.remove("cluster"), &mut secret_files, r);
    let log_level = log(root.remove("log"), r);
    unknown("", root, &SECTIONS, r);
    Some(Settings {
        log_level,
        mqtt: mqtt?,
        inputs: inputs?,
        inputs_given,
        output,
        max_streams: caps.streams,
        expire_after: caps.expire_after,
        max_channels: caps.channels,
        channels: caps.listed,
        units,
        stream: StreamParams {
            assemble: assemble?,
            engine: engine?,
        },
        runtime,
        http,
        webhook,
        state,
        cluster,
        secret_files,
        effective: String::new(),
    })
}

/// A topic level of our own: not empty, no separator, no wildcard.
fn level(text: &str) -> Result<(), String> {
    if text.is_empty() || text.contains(['/', '+', '#', '\0']) {
        return Err("one topic level without /, + or #".to_owned());
    }
    Ok(())
}

fn topic_levels(text: &str) -> Result<(), String> {
    text.split('/').try_for_each(level).map_err(|_| {
        "topic levels without wildcards, such as \"spiked\" or \"site/spiked\"".to_owned()
    })
}

fn output(value: Option<Value>, report: &mut ProblemReport) -> OutputSettings {
    let mut s = Section::new("output", "[output]", value, report);
    let settings = OutputSettings {
        prefix: s.text("prefix", "spiked", topic_levels),
        instance: s.text("instance", "main", level),
        predictions_qos: u8::try_from(s.integer("predictions_qos", 0, 0..=1)).unwrap_or(0),
        predictions_retain: s.flag("predictions_retain", false),
        prediction_interval: Duration::from_secs_f64(
            s.number("prediction_interval_ms", 0.0, 0.0..=3_600_000.0) / 1000.0,
        ),
        outbox_messages: s.size("outbox_messages", 10_000, 100..=10_000_000),
        in_flight: s.size("in_flight", 64, 1..=10_000),
        overload: s.choice("overload", "drop_oldest", &OVERLOADS),
        forms: forms(&mut s),
        home_assistant: s.text("home_assistant", "", |text| match text {
            "" => Ok(()),
            text => topic_levels(text),
        }),
        feedback: s.choice("feedback", "off", &FEEDBACK_MODES),
        feedback_token: s.secret("feedback_token"),
    };
    if !settings.home_assistant.is_empty() && !settings.forms.contains(&OutputForm::Flat) {
        s.problem(
            "home_assistant",
            "empty where output.forms has no \"flat\", which its sensors read",
            &format!("{:?}", settings.home_assistant),
        );
    }
    let wants_token = settings.feedback == FeedbackMode::Token;
    if wants_token && settings.feedback_token.len() < 16 {
        let allowed = "a secret of 16 characters or more where feedback is \"token\"";
        s.problem("feedback_token", allowed, "a shorter one");
    }
    s.done();
    settings
}

/// Forms of predictions, by their words.
fn forms(s: &mut Section<'_>) -> Vec<OutputForm> {
    let of = |word: &str| OutputForm::ALL.iter().find(|(known, _)| *known == word);
    let words = s.list_or("forms", &["flat"], |word| match of(word) {
        Some(_) => Ok(()),
        None => Err("some of \"flat\", \"nested\", \"influx\", \"thingsboard\"".to_owned()),
    });
    let mut forms: Vec<OutputForm> = Vec::new();
    for (_, form) in words.iter().filter_map(|word| of(word)) {
        if !forms.contains(form) {
            forms.push(*form);
        }
    }
    forms
}

fn runtime(value: Option<Value>, report: &mut ProblemReport) -> RuntimeSettings {
    let mut s = Section::new("runtime", "[runtime]", value, report);
    let settings = RuntimeSettings {
        workers: s.size("workers", 1, 1..=256),
        queue_messages: s.size("queue_messages", 10_000, 100..=100_000_000),
        overload: s.choice("overload", "block", &OVERLOADS),
        grace: Duration::from_secs_f64(s.number("shutdown_grace_s", 10.0, 0.1..=600.0)),
        stuck_after: Duration::from_secs_f64(s.number("stuck_after_s", 20.0, 1.0..=3600.0)),
    };
    s.done();
    settings
}

fn http(value: Option<Value>, files: &mut SecretFiles, report: &mut ProblemReport) -> HttpSettings {
    let mut s = Section::new("http", "[http]", value, report);
    let listen = s.text("listen", "127.0.0.1:9184", |text| {
        if text.is_empty() || text.parse::<SocketAddr>().is_ok() {
            Ok(())
        } else {
            Err("address:port such as 127.0.0.1:9184, or empty for none".to_owned())
        }
    });
    let settings = HttpSettings {
        listen: listen.parse().ok(),
        admin_token: admin_token(&mut s),
        history_bytes: s.size("history_mb", 128, 1..=65_536) << 20,
        max_labelled_streams: s.size("max_labelled_streams", 50, 0..=10_000),
        max_connections: s.size("max_connections", 64, 1..=10_000),
        allowed_hosts: s.list("allowed_hosts", not_empty),
        token: secret_file(&mut s, "token_file", "http-token", files).filter(|t| !t.is_empty()),
    };
    s.done();
    settings
}

/// The token that verdicts from the page need; one is asked for wherever they are wanted.
fn admin_token(s: &mut Section<'_>) -> Option<String> {
    let wanted = s.flag("admin", false);
    let file = s.text("admin_token_file", "", any);
    if !wanted {
        return None;
    }
    let least = "a file with a token of 16 to 1024 characters where admin = true";
    match std::fs::read_to_string(&file) {
        Ok(text) if (16..=1024).contains(&text.trim().len()) => Some(text.trim().to_owned()),
        Ok(text) => {
            let got = format!("{} characters", text.trim().len());
            s.problem("admin_token_file", least, &got);
            None
        }
        Err(error) => {
            s.problem("admin_token_file", least, &format!("{file:?}: {error}"));
            None
        }
    }
}

fn state(value: Option<Value>, report: &mut ProblemReport) -> StateSettings {
    let mut s = Section::new("state", "[state]", value, report);
    let dir = std::env::var("STATE_DIRECTORY").unwrap_or_default();
    // systemd may name several, separated by colons; the first is ours.
    let dir = dir.split(':').next().unwrap_or_default();
    let dir = if dir.is_empty() {
        "/var/lib/spiked"
    } else {
        dir
    };
    let settings = StateSettings {
        dir: PathBuf::from(s.text("dir", dir, not_empty)),
        durability: s.choice(
            "durability",
            "journal",
            &[
                ("none", Durability::None),
                ("snapshot", Durability::Snapshot),
                ("journal", Durability::Journal),
            ],
        ),
        commit_messages: s.size("commit_messages", 10, 1..=100_000),
        commit_max_age: Duration::from_secs_f64(
            s.number("commit_max_age_ms", 5.0, 0.0..=1000.0) / 1000.0,
        ),
        snapshot_every: Duration::from_secs_f64(s.number(
            "snapshot_every_s",
            300.0,
            1.0..=86_400.0,
        )),
        journal_max_bytes: s.integer("journal_max_bytes", 268_435_456, 1_048_576..=1 << 50),
        recovery: Duration::from_secs_f64(s.number("recovery_s", 3.0, 0.1..=3600.0)),
        idle_evict: Some(s.number("idle_evict_s", 0.0, 0.0..=31_536_000.0))
            .filter(|seconds| *seconds > 0.0)
            .map(Duration::from_secs_f64),
    };
    s.done();
    settings
}

fn log(value: Option<Value>, report: &mut ProblemReport) -> String {
    let mut s = Section::new("log", "[log]", value, report);
    let level = s.text("level", "info", |text| {
        let filter = tracing_subscriber::EnvFilter::try_new(text);
        // A filter takes any word for the name of a target: a level mistyped would silence all.
        let levels = ["error", "warn", "info", "debug", "trace", "off"];
        let mut directives = text.split(',').map(str::trim);
        let meant = directives.all(|directive| {
            let level = directive.rsplit('=').next().unwrap_or_default();
            levels.iter().any(|known| level.eq_ignore_ascii_case(known))
        });
        match filter.is_ok() && meant {
            true => Ok(()),
            false => Err(
                "error, warn, info, debug, trace, or a filter such as info,spiked::mqtt=debug"
                    .to_owned(),
            ),
        }
    });
    s.done();
    level
}
