//! Further forms of a prediction: nested JSON, line protocol, ThingsBoard telemetry.

use std::fmt::Write;
use std::sync::Arc;

use serde_json::{Map, Value, json};

use super::digits::{decimals, rounded};
use super::output::{SCHEMA_VERSION, prediction_json};
use crate::row::Outcome;

/// A form in which predictions are published.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum OutputForm {
    /// One flat JSON object.
    Flat,
    /// JSON with an object a channel.
    Nested,
    /// InfluxDB line protocol.
    Influx,
    /// ThingsBoard telemetry: `{"ts": ..., "values": {...}}`.
    Thingsboard,
}

impl OutputForm {
    /// Every form, with its word in settings.
    pub const ALL: [(&str, OutputForm); 4] = [
        ("flat", OutputForm::Flat),
        ("nested", OutputForm::Nested),
        ("influx", OutputForm::Influx),
        ("thingsboard", OutputForm::Thingsboard),
    ];

    /// Topic level behind `prediction`; none for the flat form.
    pub fn level(self) -> Option<&'static str> {
        match self {
            OutputForm::Flat => None,
            OutputForm::Nested => Some("nested"),
            OutputForm::Influx => Some("influx"),
            OutputForm::Thingsboard => Some("thingsboard"),
        }
    }

    /// Appends the prediction of one row in this form.
    pub fn write(
        self,
        stream: &str,
        channels: &[Arc<str>],
        outcome: &Outcome,
        last_reading_seq: u64,
        out: &mut String,
    ) {
        match self {
            OutputForm::Flat => prediction_json(stream, channels, outcome, last_reading_seq, out),
            OutputForm::Nested => {
                let nested = nested(stream, channels, outcome, last_reading_seq);
                out.push_str(&nested.to_string());
            }
            OutputForm::Influx => line_protocol(stream, channels, outcome, out),
            OutputForm::Thingsboard => {
                let _ = write!(out, "{{\"ts\":{},\"values\":", outcome.ts_ms);
                prediction_json(stream, channels, outcome, last_reading_seq, out);
                out.push('}');
            }
        }
    }
}

/// Figures by their keys.
type ChannelFigures = Vec<(String, f64)>;

/// The figures of each channel, rounded, by name.
fn figures(channels: &[Arc<str>], outcome: &Outcome) -> Vec<(Arc<str>, ChannelFigures)> {
    let mut all = Vec::new();
    for (idx, (name, channel)) in channels.iter().zip(&outcome.channels).enumerate() {
        let digits = decimals(channel.value, channel.sd);
        let mut of_channel = vec![
            ("value".to_owned(), channel.value),
            ("mean".to_owned(), rounded(channel.mean, digits)),
            ("sd".to_owned(), rounded(channel.sd, digits)),
            ("score".to_owned(), channel.score),
        ];
        for forecast in outcome.forecasts.iter().filter(|f| f.channel == idx) {
            let horizon = forecast.horizon;
            let digits = decimals(channel.value, forecast.sd);
            of_channel.push((format!("h{horizon}.mean"), rounded(forecast.mean, digits)));
            of_channel.push((format!("h{horizon}.sd"), rounded(forecast.sd, digits)));
        }
        of_channel.retain(|(_, x)| x.is_finite());
        all.push((name.clone(), of_channel));
    }
    all
}

fn nested(stream: &str, channels: &[Arc<str>], outcome: &Outcome, last_reading_seq: u64) -> Value {
    let mut by_name = Map::new();
    for (name, figures) in figures(channels, outcome) {
        let mut object = Map::new();
        for (key, x) in figures {
            match key.split_once('.') {
                Some((horizon, key)) => {
                    let ahead = object.entry(horizon).or_insert_with(|| json!({}));
                    ahead[key] = json!(x);
                }
                None => {
                    object.insert(key, json!(x));
                }
            }
        }
        by_name.insert(name.to_string(), Value::Object(object));
    }
    for odds in &outcome.odds {
        let Some(Value::Object(object)) = by_name.get_mut(&*channels[odds.channel]) else {
            continue;
        };
        let word = |place: Option<usize>| Some(odds.states.get(place?)?.0.to_string());
        if let Some(seen) = word(odds.seen) {
            object.insert("state".to_owned(), json!(seen));
        }
        if let Some(likeliest) = word(odds.likeliest()) {
            object.insert("predicted".to_owned(), json!(likeliest));
        }
        let p: Map<String, Value> = odds
            .states
            .iter()
            .map(|(state, p)| (state.to_string(), json!(p)))
            .collect();
        object.insert("p".to_owned(), Value::Object(p));
    }
    json!({
        "v": SCHEMA_VERSION,
        "ts": outcome.ts_ms,
        "stream": stream,
        "score": outcome.score,
        "severity": outcome.severity,
        "anomaly": u8::from(outcome.anomaly),
        "kind": outcome.kind.map_or("", |kind| kind.as_str()),
        "warming_up": u8::from(outcome.warming_up),
        "last_reading_seq": last_reading_seq,
        "channels": by_name,
    })
}

/// A line a channel, and one for the stream.
fn line_protocol(stream: &str, channels: &[Arc<str>], outcome: &Outcome, out: &mut String) {
    let ns = outcome.ts_ms.saturating_mul(1_000_000);
    // Writing to a string cannot fail, here and below.
    for (name, figures) in figures(channels, outcome) {
        if figures.is_empty() {
            continue;
        }
        let _ = write!(
            out,
            "spiked_channel,stream={},channel={} ",
            tag(stream),
            tag(&name)
        );
        for (i, (key, x)) in figures.iter().enumerate() {
            let comma = if i > 0 { "," } else { "" };
            let _ = write!(out, "{comma}{}={x}", key.replace('.', "_"));
        }
        let _ = writeln!(out, " {ns}");
    }
    let _ = write!(
        out,
        "spiked_stream,stream={} score={},severity={},anomaly={}i,kind=\"{}\",warming_up={}i {ns}",
        tag(stream),
        outcome.score,
        outcome.severity,
        u8::from(outcome.anomaly),
        outcome.kind.map_or("", |kind| kind.as_str()),
        u8::from(outcome.warming_up),
    );
}

/// A tag's value: commas, blanks, equals signs and backslashes escaped.
fn tag(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for c in text.chars() {
        if matches!(c, ',' | ' ' | '=' | '\\') {
            escaped.push('\\');
        }
        escaped.push(c);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::{Pointer, parse_line_protocol};
    use crate::row::{ChannelOutcome, Forecast, Odds};

    fn outcome() -> Outcome {
        Outcome {
            ts_ms: 1000,
            arrival_ms: 1001,
            row: 7,
            warming_up: false,
            score: 0.25,
            severity: 1.5,
            anomaly: false,
            kind: None,
            channels: vec![
                ChannelOutcome {
                    value: 21.5,
                    mean: 21.256_789,
                    sd: 0.512_345,
                    score: 0.25,
                    ..ChannelOutcome::unknown(21.5)
                },
                ChannelOutcome::unknown(f64::NAN),
            ],
            forecasts: vec![Forecast {
                channel: 0,
                horizon: 12,
                mean: 22.000_1,
                sd: 1.234_567,
            }],
            odds: vec![Odds {
                channel: 1,
                seen: Some(0),
                states: vec![("shut".into(), 0.75), ("open".into(), 0.25)],
            }],
            edge: None,
        }
    }

    fn write(form: OutputForm) -> String {
        let channels: Vec<Arc<str>> = vec!["oil, hot".into(), "valve".into()];
        let mut text = String::new();
        form.write("press 1", &channels, &outcome(), 42, &mut text);
        text
    }

    #[test]
    fn nested_json_has_an_object_a_channel() {
        let json: Value = serde_json::from_str(&write(OutputForm::Nested)).unwrap();
        let oil = &json["channels"]["oil, hot"];
        assert_eq!((&oil["mean"], &oil["sd"]), (&json!(21.257), &json!(0.512)));
        assert_eq!(oil["h12"], json!({"mean": 22.0, "sd": 1.235}));
        let valve = &json["channels"]["valve"];
        assert_eq!(valve["state"], "shut");
        assert_eq!(valve["p"]["open"], 0.25);
        assert!(valve.get("mean").is_none());
        assert_eq!(json["last_reading_seq"], 42);
    }

    #[test]
    fn the_json_forms_fit_their_schemas() {
        for (form, schema) in [
            (
                OutputForm::Nested,
                include_str!("../../deploy/prediction-nested.schema.json"),
            ),
            (
                OutputForm::Thingsboard,
                include_str!("../../deploy/prediction-thingsboard.schema.json"),
            ),
        ] {
            let schema = serde_json::from_str(schema).unwrap();
            let validator = jsonschema::validator_for(&schema).unwrap();
            let json = serde_json::from_str(&write(form)).unwrap();
            assert!(validator.is_valid(&json), "{json}");
            assert!(!validator.is_valid(&json!({"ts": "soon"})));
        }
    }

    #[test]
    fn line_protocol_reads_back() {
        let text = write(OutputForm::Influx);
        let lines = parse_line_protocol(&text).unwrap();
        let show = |pointer: &str| {
            let mut text = String::new();
            let node = lines.at(&Pointer::new(pointer).unwrap());
            assert!(node.is_some_and(|node| node.write(&mut text)), "{pointer}");
            text
        };
        assert_eq!(show("/0/tags/channel"), "oil, hot");
        assert_eq!(show("/0/tags/stream"), "press 1");
        assert_eq!(show("/0/fields/h12_mean"), "22");
        assert_eq!(show("/0/ts"), "1000000000");
        assert_eq!(show("/2/fields/anomaly"), "0");
    }

    #[test]
    fn thingsboard_telemetry_has_the_flat_keys_as_values() {
        let json: Value = serde_json::from_str(&write(OutputForm::Thingsboard)).unwrap();
        assert_eq!(json["ts"], 1000);
        assert_eq!(json["values"]["oil, hot.mean"], 21.257);
    }
}
