//! The validated settings: which keys there are, their defaults and their ranges.

use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use config::{Value, ValueKind};

use super::channels::{channels, predict};
use super::reader::{Report, Section, unknown};
use crate::assemble::{Align, AssembleParams};
use crate::detect::IncidentParams;
use crate::engine::{EngineParams, EngineSettings, Heads, Rule};
use crate::payload::{Format, Pointer, TimeUnit};
use crate::route::Pattern;
use crate::stream::StreamParams;

/// Where trust anchors are found when `mqtts://` is used without `mqtt.ca_file`.
const CA_BUNDLES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// Everything the daemon is told.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Log level or filter.
    pub log_level: String,
    /// The broker.
    pub mqtt: MqttSettings,
    /// What is subscribed to.
    pub inputs: Vec<Input>,
    /// What is published.
    pub output: OutputSettings,
    /// Streams accepted; readings of further ones are refused.
    pub max_streams: usize,
    /// Channels accepted a stream.
    pub max_channels: usize,
    /// Channels that every stream has from the start.
    pub channels: Vec<Arc<str>>,
    /// What each stream is built from.
    pub stream: StreamParams,
    /// Threads, queues, overload, shutdown.
    pub runtime: RuntimeSettings,
    /// The HTTP listener.
    pub http: HttpSettings,
    /// What is kept on disk.
    pub state: StateSettings,
    effective: String,
}

/// The broker and how to reach it.
#[derive(Clone, PartialEq)]
pub struct MqttSettings {
    /// Host name or address.
    pub host: String,
    /// Port.
    pub port: u16,
    /// Version of the protocol.
    pub protocol: Protocol,
    /// TLS, where the URL says `mqtts`.
    pub tls: Option<TlsSettings>,
    /// Stable client id: the broker keeps our session under it.
    pub client_id: String,
    /// User name; empty for none.
    pub username: String,
    /// Password; empty for none.
    pub password: String,
    /// Keep-alive.
    pub keep_alive: Duration,
    /// Largest packet accepted, bytes.
    pub max_packet_bytes: usize,
    /// Longest wait between two attempts to connect.
    pub reconnect_max: Duration,
}

impl fmt::Debug for MqttSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MqttSettings")
            .field("host", &self.host)
            .field("port", &self.port)
            .field("tls", &self.tls)
            .field("client_id", &self.client_id)
            .field("username", &self.username)
            .finish_non_exhaustive()
    }
}

/// Version of MQTT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// 3.1.1.
    V3,
    /// 5.
    V5,
}

/// Certificates, as PEM files.
#[derive(Clone, Debug, PartialEq)]
pub struct TlsSettings {
    /// Trust anchors.
    pub ca_file: PathBuf,
    /// Client certificate and its key.
    pub client_auth: Option<(PathBuf, PathBuf)>,
}

/// One subscription.
#[derive(Clone, Debug, PartialEq)]
pub struct Input {
    /// Topic pattern.
    pub pattern: Pattern,
    /// Payload format.
    pub format: Format,
    /// Quality of service of the subscription, 0 or 1.
    pub qos: u8,
}

/// What is published and how.
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
    /// What happens to predictions when so many messages wait.
    pub overload: Overload,
    /// Operators may rule on incidents.
    pub feedback: bool,
}

/// What happens when a queue is full.
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
    pub queue_readings: usize,
    /// What happens when that queue is full.
    pub overload: Overload,
    /// Time for an orderly shutdown.
    pub grace: Duration,
}

/// The HTTP listener.
#[derive(Clone, Debug, PartialEq)]
pub struct HttpSettings {
    /// Address; `None` when switched off.
    pub listen: Option<SocketAddr>,
    /// Streams that get metrics of their own, with a `stream` label; 0 for none.
    pub stream_labels: usize,
}

/// What is kept on disk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// Nothing: a restart learns anew.
    None,
    /// Snapshots: a crash loses what was learned since the last one.
    Snapshot,
    /// Snapshots and a journal: nothing acknowledged is lost.
    Journal,
}

/// What is kept on disk and how often.
#[derive(Clone, Debug, PartialEq)]
pub struct StateSettings {
    /// Directory of the state file.
    pub dir: PathBuf,
    /// How much is kept.
    pub durability: Durability,
    /// Readings that make a group commit.
    pub commit_readings: usize,
    /// Longest wait of a reading for its group commit.
    pub commit_max_age: Duration,
    /// Time between snapshots.
    pub snapshot_every: Duration,
    /// Size of the journal at which a snapshot is forced, bytes.
    pub journal_max_bytes: u64,
    /// Streams without a reading for so long leave memory; `None` for never.
    pub idle_evict: Option<Duration>,
}

impl Settings {
    /// The effective settings as TOML, secrets masked.
    pub fn to_toml(&self) -> &str {
        &self.effective
    }

    /// What each stream is built from.
    pub fn stream_params(&self) -> &StreamParams {
        &self.stream
    }
}

/// Validates a merged tree.
///
/// # Errors
/// Every offence, a line each.
pub(super) fn validate(root: Value) -> Result<Settings, Vec<String>> {
    let ValueKind::Table(mut root) = root.kind else {
        return Err(vec!["the configuration is no table".to_owned()]);
    };
    let mut report = Report::default();
    let r = &mut report;
    let mqtt = mqtt(root.remove("mqtt"), r);
    let inputs = inputs(root.remove("input"), r);
    let output = output(root.remove("output"), r);
    let (caps, assemble) = stream(root.remove("stream"), r);
    let horizons = predict(root.remove("predict"), r);
    let channels = channels(root.remove("channel"), r);
    let engine = engine(
        root.remove("learn"),
        root.remove("detect"),
        (horizons, channels),
        r,
    );
    let runtime = runtime(root.remove("runtime"), r);
    let http = http(root.remove("http"), r);
    let state = state(root.remove("state"), r);
    let log_level = log(root.remove("log"), r);
    unknown("", root, r);
    if !report.problems.is_empty() {
        return Err(report.problems);
    }
    match (mqtt, inputs, assemble, engine) {
        (Some(mqtt), Some(inputs), Some(assemble), Some(engine)) => Ok(Settings {
            log_level,
            mqtt,
            inputs,
            output,
            max_streams: caps.streams,
            max_channels: caps.channels,
            channels: caps.listed,
            stream: StreamParams { assemble, engine },
            runtime,
            http,
            state,
            effective: report.effective,
        }),
        _ => Err(vec!["the configuration is incomplete".to_owned()]),
    }
}

fn any(_: &str) -> Result<(), String> {
    Ok(())
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

fn not_empty(text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        return Err("a text that is not empty".to_owned());
    }
    Ok(())
}

fn mqtt(value: Option<Value>, report: &mut Report) -> Option<MqttSettings> {
    let mut s = Section::new("mqtt", "[mqtt]", value, report);
    let url = s.discreet_text("url", "mqtt://127.0.0.1:1883", |url| {
        parse_url(url).map(|_| ())
    });
    let protocol = s.choice(
        "protocol",
        "3.1.1",
        &[("3.1.1", Protocol::V3), ("5", Protocol::V5)],
    );
    let client_id = s.text("client_id", "spiked", not_empty);
    let username = s.text("username", "", any);
    let mut password = s.secret("password");
    let password_file = s.text("password_file", "", any);
    if !password_file.is_empty() {
        match std::fs::read_to_string(&password_file) {
            Ok(text) => password = text.trim_end_matches(['\r', '\n']).to_owned(),
            Err(error) => s.problem(
                "password_file",
                "a readable file",
                &format!("{password_file:?}: {error}"),
            ),
        }
    }
    if !password.is_empty() && username.is_empty() {
        s.problem("username", "a name where there is a password", "none");
    }
    let ca_file = s.text("ca_file", "", any);
    let cert = s.text("client_cert_file", "", any);
    let key = s.text("client_key_file", "", any);
    let keep_alive = s.number("keep_alive_s", 30.0, 5.0..=3600.0);
    let max_packet_bytes = s.size("max_packet_bytes", 262_144, 1024..=268_435_455);
    let reconnect_max = s.number("reconnect_max_s", 30.0, 0.1..=3600.0);
    let parsed = parse_url(&url).ok();
    let tls = match &parsed {
        Some((_, _, true)) => tls(&mut s, ca_file, cert, key),
        _ => None,
    };
    s.done();
    let (host, port, _) = parsed?;
    Some(MqttSettings {
        host,
        port,
        protocol,
        tls,
        client_id,
        username,
        password,
        keep_alive: Duration::from_secs_f64(keep_alive),
        max_packet_bytes,
        reconnect_max: Duration::from_secs_f64(reconnect_max),
    })
}

fn tls(s: &mut Section<'_>, ca_file: String, cert: String, key: String) -> Option<TlsSettings> {
    let ca_file = if ca_file.is_empty() {
        CA_BUNDLES
            .iter()
            .map(PathBuf::from)
            .find(|path| path.exists())
    } else {
        Some(PathBuf::from(ca_file))
    };
    let Some(ca_file) = ca_file else {
        s.problem(
            "ca_file",
            "a PEM file of trust anchors",
            "none, and the system has none",
        );
        return None;
    };
    for (name, path) in [
        ("ca_file", ca_file.clone()),
        ("client_cert_file", PathBuf::from(&cert)),
        ("client_key_file", PathBuf::from(&key)),
    ] {
        if path.as_os_str().is_empty() {
            continue;
        }
        if let Err(error) = std::fs::File::open(&path) {
            let got = format!("{:?}: {error}", path.display().to_string());
            s.problem(name, "a readable PEM file", &got);
        }
    }
    if cert.is_empty() != key.is_empty() {
        s.problem(
            "client_cert_file",
            "set together with client_key_file",
            "only one of them",
        );
    }
    let client_auth = (!cert.is_empty()).then(|| (PathBuf::from(cert), PathBuf::from(key)));
    Some(TlsSettings {
        ca_file,
        client_auth,
    })
}

/// `(host, port, tls)` of `mqtt://host[:port]` or `mqtts://host[:port]`.
fn parse_url(url: &str) -> Result<(String, u16, bool), String> {
    let allowed = || "mqtt://host:port or mqtts://host:port".to_owned();
    let (rest, tls) = match url.split_once("://") {
        Some(("mqtt" | "tcp", rest)) => (rest, false),
        Some(("mqtts" | "ssl", rest)) => (rest, true),
        _ => return Err(allowed()),
    };
    if rest.contains('@') {
        return Err("no user in the URL (use mqtt.username and mqtt.password)".to_owned());
    }
    let rest = rest.strip_suffix('/').unwrap_or(rest);
    let default_port = if tls { 8883 } else { 1883 };
    let (host, port) = match rest.strip_prefix('[') {
        Some(v6) => {
            let (host, after) = v6.split_once(']').ok_or_else(allowed)?;
            (host, after.strip_prefix(':'))
        }
        None => match rest.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (rest, None),
        },
    };
    let port = match port {
        Some(port) => port.parse().ok().filter(|p| *p > 0).ok_or_else(allowed)?,
        None => default_port,
    };
    if host.is_empty() || host.contains(['/', ' ']) {
        return Err(allowed());
    }
    Ok((host.to_owned(), port, tls))
}

fn inputs(value: Option<Value>, report: &mut Report) -> Option<Vec<Input>> {
    let tables = match value.map(|value| value.kind) {
        // Without any: one topic a channel.
        None => vec![None],
        Some(ValueKind::Array(items)) => items.into_iter().map(Some).collect(),
        Some(_) => {
            report
                .problems
                .push("input: a list of tables, written as [[input]], got something else".into());
            return None;
        }
    };
    let inputs: Vec<Option<Input>> = tables
        .into_iter()
        .enumerate()
        .map(|(idx, table)| input(idx, table, report))
        .collect();
    if inputs.is_empty() {
        report
            .problems
            .push("input: at least one [[input]], got an empty list".into());
    }
    inputs.into_iter().collect()
}

fn input(idx: usize, value: Option<Value>, report: &mut Report) -> Option<Input> {
    let mut s = Section::new(&format!("input[{idx}]"), "[[input]]", value, report);
    let topic = s.text("topic", "plant/{stream}/{channel}", any);
    let stream = s.text("stream", "", any);
    let channel = s.text("channel", "", any);
    let kind = s.choice(
        "payload",
        "auto",
        &[("auto", 0), ("number", 1), ("json", 2), ("object", 3)],
    );
    let pointer = |text: &str| Pointer::new(text).map(|_| ());
    let value_at = s.text("value", "/value", pointer);
    let ts_at = s.text("ts", "/ts", pointer);
    let channels_at = s.text("channels", "", pointer);
    let unit = s.choice(
        "ts_unit",
        "ms",
        &[
            ("s", TimeUnit::Seconds),
            ("ms", TimeUnit::Millis),
            ("us", TimeUnit::Micros),
            ("ns", TimeUnit::Nanos),
        ],
    );
    let qos = s.integer("qos", 1, 0..=1);
    let at = |text: &str| Pointer::new(text).ok();
    let format = match kind {
        0 => Format::auto(at(&value_at)?, at(&ts_at)?, unit),
        1 => Format::Number,
        2 => Format::json(at(&value_at)?, at(&ts_at)?, unit),
        _ => Format::object(at(&channels_at)?, at(&ts_at)?, unit),
    };
    let pattern = Pattern::new(&topic, &stream, &channel, format.names_channels());
    let pattern = match pattern {
        Ok(pattern) => Some(pattern),
        Err(allowed) => {
            s.problem("topic", &allowed, &format!("{topic:?}"));
            None
        }
    };
    s.done();
    Some(Input {
        pattern: pattern?,
        format,
        qos: u8::try_from(qos).unwrap_or(1),
    })
}

fn output(value: Option<Value>, report: &mut Report) -> OutputSettings {
    let mut s = Section::new("output", "[output]", value, report);
    let settings = OutputSettings {
        prefix: s.text("prefix", "spiked", topic_levels),
        instance: s.text("instance", "main", level),
        predictions_qos: u8::try_from(s.integer("predictions_qos", 0, 0..=1)).unwrap_or(0),
        predictions_retain: s.flag("predictions_retain", false),
        outbox_messages: s.size("outbox_messages", 10_000, 100..=10_000_000),
        in_flight: s.size("in_flight", 64, 1..=10_000),
        overload: s.choice("overload", "drop_oldest", &OVERLOADS),
        feedback: s.flag("feedback", true),
    };
    s.done();
    settings
}

/// What the router needs of `[stream]`.
struct Caps {
    streams: usize,
    channels: usize,
    listed: Vec<Arc<str>>,
}

fn stream(value: Option<Value>, report: &mut Report) -> (Caps, Option<AssembleParams>) {
    let mut s = Section::new("stream", "[stream]", value, report);
    let align = s.choice(
        "align",
        "when-complete",
        &[
            ("when-complete", Align::WhenComplete),
            ("per-reading", Align::PerReading),
            ("fixed-period", Align::FixedPeriod),
        ],
    );
    let period_s = s.number("period_s", 1.0, 0.001..=86_400.0);
    let max_age_s = s.number("max_age_s", 300.0, 0.001..=31_536_000.0);
    let max_streams = s.size("max_streams", 1000, 1..=1_000_000);
    let max_channels = s.size("max_channels", 64, 1..=4096);
    let channels = s.list("channels", not_empty);
    let channels: Vec<Arc<str>> = channels.into_iter().map(Arc::from).collect();
    let params = AssembleParams::new(
        align,
        millis(period_s),
        millis(max_age_s),
        max_channels,
        channels.clone(),
    );
    let params = match params {
        Ok(params) => Some(params),
        Err(offences) => {
            for offence in offences {
                s.offence(&offence);
            }
            None
        }
    };
    s.done();
    let caps = Caps {
        streams: max_streams,
        channels: max_channels,
        listed: channels,
    };
    (caps, params)
}

/// Seconds within a validated range to whole milliseconds, at least 1.
#[expect(
    clippy::cast_possible_truncation,
    reason = "validated ranges end far below i64::MAX"
)]
fn millis(seconds: f64) -> i64 {
    ((seconds * 1000.0).round() as i64).max(1)
}

/// The one place where `[learn]` and `[detect]` become the engine's parameters.
fn engine(
    learn: Option<Value>,
    detect: Option<Value>,
    (horizons, channels): (Vec<u32>, Vec<Rule>),
    report: &mut Report,
) -> Option<EngineParams> {
    let d = EngineSettings::default();
    let mut s = Section::new("learn", "[learn]", learn, report);
    let batch_rows = s.size("batch_rows", d.batch_rows, 1..=256);
    let batch_max_age_s = s.number("batch_max_age_s", d.batch_max_age_s, 0.001..=86_400.0);
    let memory_rows = s.number("memory_rows", d.memory_rows, 100.0..=1e9);
    let statistics_rows = s.number("statistics_rows", d.statistics_rows, 100.0..=1e9);
    let hidden = s.size("hidden", d.hidden, 1..=1024);
    let lags = s.size("lags", d.lags, 1..=64);
    let calendar = s.flag("calendar", d.calendar);
    let direct = s.flag("direct", d.direct);
    let learn = s.flag("weights", d.learn);
    let hourly_noise = s.flag("hourly_noise", d.hourly_noise);
    let student_nu = s.number("student_nu", d.student_nu, 0.1..=1e9);
    let seed = s.integer("seed", d.seed, 0..=u64::MAX);
    s.done();
    let mut s = Section::new("detect", "[detect]", detect, report);
    let wanted = d.false_alarms_per_week;
    let false_alarms_per_week = s.number("false_alarms_per_week", wanted, 0.001..=1000.0);
    let warm_up_rows = s.integer("warm_up_rows", d.warm_up_rows, 20..=1_000_000);
    let heads = s.choice(
        "heads",
        "both",
        &[
            ("both", Heads::Both),
            ("step", Heads::Step),
            ("context", Heads::Context),
        ],
    );
    let temper = s.flag("temper", d.temper);
    let habits = s.flag("habits", d.habits);
    let calibrate = s.flag("calibrate", d.calibrate);
    let joint = s.flag("joint", d.joint);
    let gate_weight = s.number("gate_weight", d.gate_weight, 0.0..=1.0);
    let hold_rows = u64::from(d.incident.hold_rows);
    let hold_rows = s.integer("hold_rows", hold_rows, 10..=1_000_000);
    let params = EngineParams::new(EngineSettings {
        horizons,
        channels,
        batch_rows,
        batch_max_age_s,
        memory_rows,
        statistics_rows,
        hidden,
        lags,
        calendar,
        direct,
        learn,
        hourly_noise,
        student_nu,
        heads,
        temper,
        habits,
        calibrate,
        joint,
        gate_weight,
        seed,
        false_alarms_per_week,
        warm_up_rows,
        incident: IncidentParams {
            hold_rows: u32::try_from(hold_rows).unwrap_or(u32::MAX),
            ..d.incident
        },
    });
    let params = match params {
        Ok(params) => Some(params),
        Err(offences) => {
            for offence in offences {
                s.offence(&offence);
            }
            None
        }
    };
    s.done();
    params
}

fn runtime(value: Option<Value>, report: &mut Report) -> RuntimeSettings {
    let mut s = Section::new("runtime", "[runtime]", value, report);
    let settings = RuntimeSettings {
        workers: s.size("workers", 1, 1..=256),
        queue_readings: s.size("queue_readings", 10_000, 100..=100_000_000),
        overload: s.choice("overload", "block", &OVERLOADS),
        grace: Duration::from_secs_f64(s.number("grace_s", 10.0, 0.1..=600.0)),
    };
    s.done();
    settings
}

fn http(value: Option<Value>, report: &mut Report) -> HttpSettings {
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
        stream_labels: s.size("stream_labels", 0, 0..=10_000),
    };
    s.done();
    settings
}

fn state(value: Option<Value>, report: &mut Report) -> StateSettings {
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
        commit_readings: s.size("commit_readings", 10, 1..=100_000),
        commit_max_age: Duration::from_secs_f64(
            s.number("commit_max_age_ms", 5.0, 0.0..=1000.0) / 1000.0,
        ),
        snapshot_every: Duration::from_secs_f64(s.number(
            "snapshot_every_s",
            300.0,
            1.0..=86_400.0,
        )),
        journal_max_bytes: s.integer("journal_max_bytes", 268_435_456, 1_048_576..=1 << 50),
        idle_evict: Some(s.number("idle_evict_s", 0.0, 0.0..=31_536_000.0))
            .filter(|seconds| *seconds > 0.0)
            .map(Duration::from_secs_f64),
    };
    s.done();
    settings
}

fn log(value: Option<Value>, report: &mut Report) -> String {
    let mut s = Section::new("log", "[log]", value, report);
    let level = s.text("level", "info", |text| {
        tracing_subscriber::EnvFilter::try_new(text)
            .map(|_| ())
            .map_err(|_| {
                "error, warn, info, debug, trace, or a filter such as info,spiked::mqtt=debug"
                    .to_owned()
            })
    });
    s.done();
    level
}
