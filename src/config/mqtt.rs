//! `[mqtt]` and `[[input]]`: where the broker is and what is subscribed to.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use config::{Value, ValueKind};

use super::reader::{ProblemReport, Section, any, not_empty};
use super::secrets::{SecretFiles, secret_file};
use crate::payload::{Clock, Columns, Form, Format, Pointer, Template, TimeUnit, ValuePlace};
use crate::route::{Pattern, PatternSettings};
use crate::time::{check_format, parse_zone};

/// Where trust anchors are found when `mqtts://` is used without `mqtt.ca_file`.
const CA_BUNDLES: [&str; 3] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

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
    pub max_payload_bytes: usize,
    /// Longest wait between two attempts to connect.
    pub reconnect_max: Duration,
    /// Learn from the broker how many messages it drops.
    pub watch_broker: bool,
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
pub struct InputSettings {
    /// Topic pattern.
    pub pattern: Pattern,
    /// Payload format.
    pub format: Format,
    /// Quality of service of the subscription, 0 or 1.
    pub qos: u8,
}

/// `files` are those that hold secrets.
pub(super) fn mqtt(
    value: Option<Value>,
    files: &mut SecretFiles,
    report: &mut ProblemReport,
) -> Option<MqttSettings> {
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
    let kept = secret_file(&mut s, "password_file", "mqtt-password", files);
    if let Some(kept) = kept {
        password = kept;
    }
    if !password.is_empty() && username.is_empty() {
        s.problem("username", "a name where there is a password", "none");
    }
    let ca_file = s.text("ca_file", "", any);
    let cert = s.text("client_cert_file", "", any);
    let key = s.text("client_key_file", "", any);
    if !key.is_empty() {
        files.push(PathBuf::from(&key));
    }
    let keep_alive = s.number("keep_alive_s", 30.0, 5.0..=3600.0);
    let max_payload_bytes = s.size("max_payload_bytes", 262_144, 1024..=268_435_455);
    let watch_broker = s.flag("watch_broker", true);
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
        max_payload_bytes,
        reconnect_max: Duration::from_secs_f64(reconnect_max),
        watch_broker,
    })
}

fn tls(s: &mut Section<'_>, ca_file: String, cert: String, key: String) -> Option<TlsSettings> {
    let ca_file = trust_anchors(s, ca_file)?;
    for (name, path) in [
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

/// The file of trust anchors that is named, or else the system's.
pub(super) fn trust_anchors(s: &mut Section<'_>, named: String) -> Option<PathBuf> {
    let path = match named.as_str() {
        "" => {
            let mut bundles = CA_BUNDLES.iter().map(PathBuf::from);
            bundles.find(|path| path.exists())
        }
        _ => Some(PathBuf::from(named)),
    };
    let got = match &path {
        None => Some("none, and the system has none".to_owned()),
        Some(path) => {
            let error = std::fs::File::open(path).err();
            error.map(|error| format!("{:?}: {error}", path.display().to_string()))
        }
    };
    if let Some(got) = got {
        s.problem("ca_file", "a readable PEM file of trust anchors", &got);
    }
    path
}

/// `(host, port, tls)` of `mqtt://host[:port]` or `mqtts://host[:port]`.
fn parse_url(url: &str) -> Result<(String, u16, bool), String> {
    let allowed = || "mqtt://host:port or mqtts://host:port".to_owned();
    let (rest, tls) = match url.split_once("://") {
        Some(("mqtt", rest)) => (rest, false),
        Some(("mqtts", rest)) => (rest, true),
        Some(("tcp", rest)) => return Err(format!("{} (here mqtt://{rest})", allowed())),
        Some(("ssl" | "tls", rest)) => return Err(format!("{} (here mqtts://{rest})", allowed())),
        Some(("ws" | "wss", _)) => {
            return Err(format!("{} (WebSockets are not spoken)", allowed()));
        }
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

pub(super) fn inputs(
    value: Option<Value>,
    report: &mut ProblemReport,
) -> Option<Vec<InputSettings>> {
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
    let inputs: Vec<Option<InputSettings>> = tables
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

fn input(idx: usize, value: Option<Value>, report: &mut ProblemReport) -> Option<InputSettings> {
    let mut s = Section::new(&format!("input[{idx}]"), "[[input]]", value, report);
    let topic = s.text("topic", "plant/{stream}/{channel}", any);
    let stream = s.text("stream", "", any);
    let channel = s.text("channel", "", any);
    let form = s.choice(
        "payload",
        "auto",
        &[
            ("auto", Form::Auto),
            ("number", Form::Number),
            ("json", Form::Json),
            ("object", Form::Object),
            ("influx", Form::Influx),
            ("csv", Form::Csv),
            ("pairs", Form::Pairs),
            ("senml", Form::Senml),
            ("sparkplug", Form::Sparkplug),
        ],
    );
    let format = format(&mut s, form);
    let qos = s.integer("qos", 1, 0..=1);
    let pattern = Pattern::build(&PatternSettings {
        topic: &topic,
        stream: &stream,
        // The field's name follows by itself.
        channel: channel.trim_end_matches("{field}").trim_end_matches('.'),
        payload_names_channels: format.as_ref().is_some_and(Format::names_channels),
        default_channel: match form {
            Form::Senml => "{./n}",
            Form::Sparkplug => "{./name}",
            _ if format.as_ref().is_some_and(|f| f.each.is_some()) => "{key}",
            _ => "",
        },
        levels_name_stream: form == Form::Sparkplug,
        has_filters: format.as_ref().is_some_and(Format::has_filters),
        tags: match form {
            Form::Influx => "/tags/",
            Form::Csv | Form::Pairs => "/",
            _ => "",
        },
    });
    let pattern = match pattern {
        Ok(pattern) => Some(pattern),
        Err(allowed) => {
            let (key, got) = match allowed.starts_with("a `stream`") {
                true => ("stream", &stream),
                false if allowed.starts_with("a `channel`") => ("channel", &channel),
                false => ("topic", &topic),
            };
            s.problem(key, &allowed, &format!("{got:?}"));
            None
        }
    };
    s.done();
    Some(InputSettings {
        pattern: pattern?,
        format: format?,
        qos: u8::try_from(qos).unwrap_or(1),
    })
}

/// How the payloads of an input are read. `value` and `channels` are two names of one thing: the
/// place of the value, or of the object of channels.
fn format(s: &mut Section<'_>, form: Form) -> Option<Format> {
    let pointer = |text: &str| Pointer::new(text).map(|_| ());
    let place = |text: &str| ValuePlace::new(text).map(|_| ());
    // `each = ""` is the document's own list: its absence needs another word.
    let each = s.text("each", "none", |text| match text {
        "none" => Ok(()),
        text => pointer(text),
    });
    let each = (each != "none").then_some(each);
    let value_default = match (&each, form) {
        (_, Form::Influx) => "./fields",
        (_, Form::Csv | Form::Pairs) => ".",
        (_, Form::Senml) => "./v",
        (_, Form::Sparkplug) => "./value",
        (Some(_), Form::Auto | Form::Json | Form::Number) => "./value",
        (Some(_), Form::Object) => ".",
        (None, _) => "/value",
    };
    let value_at = s.text("value", value_default, place);
    let channels_default = if each.is_some() { "." } else { "" };
    let channels_at = s.text("channels", channels_default, place);
    let ts_at = s.text("ts", "/ts", |text| match text.contains('{') {
        true => ts_parts(text).map(|_| ()),
        false => place(text),
    });
    let unit = s.choice(
        "ts_unit",
        "auto",
        &[
            ("auto", TimeUnit::Auto),
            ("s", TimeUnit::Seconds),
            ("ms", TimeUnit::Millis),
            ("us", TimeUnit::Micros),
            ("ns", TimeUnit::Nanos),
        ],
    );
    let ts_format = s.text("ts_format", "", |text| match text {
        "" => Ok(()),
        text => check_format(text),
    });
    let zone = s.text("timezone", "", |text| match text {
        "" => Ok(()),
        text => parse_zone(text).map(|_| ()),
    });
    let sample_interval_s = s.number("sample_interval_s", 0.0, 0.0..=86_400.0);
    let quality = s.text("quality", "", place);
    let good = s.list_or("good", &["192", "GOOD", "true", "0"], |_| Ok(()));
    let only = s.list("only", any);
    let ignore = s.list("ignore", any);
    let separator = s.text("separator", ",", |text| match text.chars().count() {
        1 => Ok(()),
        _ => Err("one character, such as \";\"".to_owned()),
    });
    let columns = s.list("columns", any);
    let lenient = s.choice("numbers", "plain", &[("plain", false), ("lenient", true)]);
    let missing = s.numbers("missing");
    let value = match (form, channels_at.as_str() != channels_default) {
        (Form::Object, true) => &channels_at,
        (Form::Object, false) if value_at != value_default => &value_at,
        (Form::Object, false) => &channels_at,
        _ => &value_at,
    };
    Some(Format {
        form,
        each: match each {
            Some(each) => Some(Pointer::new(&each).ok()?),
            None => None,
        },
        value: ValuePlace::new(value).ok()?,
        ts: match ts_at.contains('{') {
            true => ValuePlace::default(),
            false => ValuePlace::new(&ts_at).ok()?,
        },
        ts_parts: match ts_at.contains('{') {
            true => Some(ts_parts(&ts_at).ok()?),
            false => None,
        },
        sample_interval_ms: (sample_interval_s > 0.0).then_some(sample_interval_s * 1000.0),
        clock: Clock {
            unit,
            format: (!ts_format.is_empty()).then_some(ts_format),
            zone: match zone.is_empty() {
                true => None,
                false => Some(parse_zone(&zone).ok()?),
            },
        },
        quality: match quality.is_empty() {
            true => None,
            false => Some(ValuePlace::new(&quality).ok()?),
        },
        good,
        only,
        ignore,
        columns: Columns {
            separator: separator.chars().next().unwrap_or(','),
            names: columns,
        },
        lenient,
        missing,
    })
}

/// A timestamp of several members, such as `{/date} {/time}`.
fn ts_parts(text: &str) -> Result<Template, String> {
    let allowed = || "pointers in braces, such as \"{/date} {/time}\"".to_owned();
    Template::new(text, |_| None, |_| None).map_err(|_| allowed())
}
