//! Outcomes to the flat JSON objects that are published.

use std::fmt::Write;
use std::io;
use std::sync::Arc;

use super::digits::{decimals, rounded};
use crate::row::{Incident, IncidentEdge, Muted, Outcome};

/// Version of the published schema, the key `v`.
pub const SCHEMA_VERSION: u32 = 2;

/// Channels named in an anomaly message at most.
const TOP_CHANNELS: usize = 3;

/// The prediction message of one row: flat, numbers and short strings only. Keys whose number is
/// not finite (a missing channel, nothing predicted yet) are left out.
pub fn prediction_json(
    stream: &str,
    channels: &[Arc<str>],
    outcome: &Outcome,
    last_reading_seq: u64,
    out: &mut String,
) {
    head(stream, outcome, last_reading_seq, out);
    for (name, channel) in channels.iter().zip(&outcome.channels) {
        let digits = decimals(channel.value, channel.sd);
        let figures = [
            ("value", channel.value),
            ("mean", rounded(channel.mean, digits)),
            ("sd", rounded(channel.sd, digits)),
            ("score", channel.score),
        ];
        for (what, x) in figures {
            if x.is_finite() {
                out.push_str(",\"");
                escape(name, out);
                out.push('.');
                out.push_str(what);
                out.push_str("\":");
                number(x, out);
            }
        }
    }
    forecasts(channels, outcome, out);
    states(channels, outcome, out);
    out.push('}');
}

/// Forecasts further ahead: `<channel>.h<rows>.mean` and `.sd`.
fn forecasts(channels: &[Arc<str>], outcome: &Outcome, out: &mut String) {
    for forecast in &outcome.forecasts {
        let value = outcome
            .channels
            .get(forecast.channel)
            .map_or(f64::NAN, |c| c.value);
        let digits = decimals(value, forecast.sd);
        for (what, x) in [("mean", forecast.mean), ("sd", forecast.sd)] {
            let x = rounded(x, digits);
            if x.is_finite() {
                out.push_str(",\"");
                escape(&channels[forecast.channel], out);
                let _ = write!(out, ".h{}.{what}\":{x}", forecast.horizon);
            }
        }
    }
}

/// Channels of states: `<channel>.state` as measured, `.predicted` and `.p.<state>` from before.
fn states(channels: &[Arc<str>], outcome: &Outcome, out: &mut String) {
    for odds in &outcome.odds {
        let name = &channels[odds.channel];
        let words = [("state", odds.seen), ("predicted", odds.likeliest())];
        for (what, place) in words {
            if let Some((state, _)) = place.and_then(|k| odds.states.get(k)) {
                out.push_str(",\"");
                escape(name, out);
                let _ = write!(out, ".{what}\":\"");
                escape(state, out);
                out.push('"');
            }
        }
        for (state, p) in &odds.states {
            out.push_str(",\"");
            escape(name, out);
            out.push_str(".p.");
            escape(state, out);
            let _ = write!(out, "\":{}", finite(*p));
        }
    }
}

/// The anomaly message of one row: the stream's state, and its open or just ended incident.
pub fn anomaly_json(
    stream: &str,
    channels: &[Arc<str>],
    outcome: &Outcome,
    incident: Option<&Incident>,
    muted: &Muted,
    last_reading_seq: u64,
    out: &mut String,
) {
    head(stream, outcome, last_reading_seq, out);
    if let Some(until_ms) = muted.until_ms {
        let _ = write!(out, ",\"muted_until\":{until_ms}");
    }
    if !muted.channels.is_empty() {
        let _ = write!(out, ",\"muted_channels\":{}", muted.channels.len());
    }
    if let Some(edge) = &outcome.edge {
        let _ = write!(out, ",\"event\":\"{}\"", edge.as_str());
    }
    if let Some(IncidentEdge::Joined { channels: new, .. }) = &outcome.edge {
        for (rank, &channel) in new.iter().take(TOP_CHANNELS).enumerate() {
            if let Some(name) = channels.get(channel) {
                let _ = write!(out, ",\"joined_{}\":\"", rank + 1);
                escape(name, out);
                out.push('"');
            }
        }
    }
    let own = outcome.edge.as_ref().map(IncidentEdge::incident);
    if let Some(incident) = own.or(incident) {
        let _ = write!(
            out,
            ",\"incident\":{},\"incident_kind\":\"{}\",\"start\":{},\"peak\":{},\"peak_score\":{}",
            incident.id,
            incident.kind.as_str(),
            incident.start_ms,
            incident.peak_ms,
            finite(incident.peak_score),
        );
        if let Some(end) = incident.end_ms {
            let _ = write!(out, ",\"end\":{end}");
        }
        let _ = write!(out, ",\"accepted\":{}", u8::from(incident.accepted));
        if let Some(verdict) = incident.verdict {
            let _ = write!(out, ",\"verdict\":\"{}\"", verdict.as_str());
        }
        for (rank, part) in incident.channels.iter().take(TOP_CHANNELS).enumerate() {
            if let Some(name) = channels.get(part.channel) {
                let _ = write!(out, ",\"channel_{}\":\"", rank + 1);
                escape(name, out);
                let _ = write!(
                    out,
                    "\",\"contribution_{}\":{}",
                    rank + 1,
                    finite(part.share)
                );
            }
        }
    }
    out.push('}');
}

fn head(stream: &str, outcome: &Outcome, last_reading_seq: u64, out: &mut String) {
    let _ = write!(
        out,
        "{{\"v\":{SCHEMA_VERSION},\"ts\":{},\"stream\":\"",
        outcome.ts_ms
    );
    escape(stream, out);
    let _ = write!(
        out,
        "\",\"score\":{},\"severity\":{},\"anomaly\":{},\"kind\":\"{}\",\"warming_up\":{},\"last_reading_seq\":{last_reading_seq}",
        finite(outcome.score),
        finite(outcome.severity),
        u8::from(outcome.anomaly),
        outcome.kind.map_or("", |kind| kind.as_str()),
        u8::from(outcome.warming_up),
    );
}

/// A string as something that bytes are written to.
struct Text<'a>(&'a mut String);

impl io::Write for Text<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let text = std::str::from_utf8(bytes).map_err(io::Error::other)?;
        self.0.push_str(text);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Appends the shortest number that reads as `x`, in a quarter of the time of `std`.
fn number(x: f64, out: &mut String) {
    // Writing to a string cannot fail, here and elsewhere in this file.
    let _ = serde_json::to_writer(Text(out), &x);
}

/// Scores are finite by construction; JSON has no other numbers.
fn finite(x: f64) -> f64 {
    if x.is_finite() { x } else { 0.0 }
}

/// Appends `text` as it stands inside a JSON string.
fn escape(text: &str, out: &mut String) {
    if !text.bytes().any(|b| matches!(b, b'"' | b'\\' | 0..0x20)) {
        return out.push_str(text);
    }
    for c in text.chars() {
        match c {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            c if u32::from(c) < 0x20 => {
                let _ = write!(out, "\\u{:04x}", u32::from(c));
            }
            c => out.push(c),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::{ChannelOutcome, Forecast, Kind, Odds, Share};

    fn outcome() -> Outcome {
        Outcome {
            ts_ms: 1000,
            arrival_ms: 1001,
            row: 7,
            warming_up: false,
            score: 1.25,
            severity: 2.5,
            anomaly: true,
            kind: Some(Kind::Surprise),
            channels: vec![
                ChannelOutcome {
                    value: 21.5,
                    mean: 21.25,
                    sd: 0.5,
                    score: 1.25,
                    ..ChannelOutcome::unknown(21.5)
                },
                ChannelOutcome::unknown(f64::NAN),
            ],
            forecasts: Vec::new(),
            odds: Vec::new(),
            edge: None,
        }
    }

    fn incident() -> Incident {
        Incident {
            id: 3,
            kind: Kind::Surprise,
            start_ms: 900,
            peak_ms: 950,
            end_ms: Some(1000),
            peak_score: 1.3,
            channels: vec![
                Share {
                    channel: 1,
                    share: 0.75,
                },
                Share {
                    channel: 0,
                    share: 0.25,
                },
            ],
            accepted: false,
            verdict: None,
        }
    }

    #[test]
    fn a_prediction_is_flat_and_leaves_out_what_is_missing() {
        let channels: Vec<Arc<str>> = vec!["temp\"erature".into(), "flow".into()];
        let mut text = String::new();
        prediction_json("pump\\1", &channels, &outcome(), 42, &mut text);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["stream"], "pump\\1");
        assert_eq!(json["temp\"erature.mean"], 21.25);
        assert_eq!(json["kind"], "surprise");
        assert_eq!(json["anomaly"], 1);
        assert_eq!(json["severity"], 2.5);
        assert_eq!(json["last_reading_seq"], 42);
        assert!(json.get("flow.value").is_none());
        assert_eq!(json["flow.score"], 0.0);
        let members = json.as_object().unwrap();
        assert!(members.values().all(|v| v.is_number() || v.is_string()));
    }

    #[test]
    fn what_lies_ahead_and_the_states_have_keys_of_their_own() {
        let channels: Vec<Arc<str>> = vec!["temp".into(), "valve".into()];
        let mut outcome = outcome();
        outcome.forecasts = [(12, 20.5), (48, f64::NAN)]
            .map(|(horizon, mean)| Forecast {
                channel: 0,
                horizon,
                mean,
                sd: mean / 10.0,
            })
            .to_vec();
        outcome.odds = vec![Odds {
            channel: 1,
            seen: Some(0),
            states: vec![("shut".into(), 0.25), ("op\"en".into(), 0.75)],
        }];
        let mut text = String::new();
        prediction_json("pump", &channels, &outcome, 1, &mut text);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(
            (&json["temp.h12.mean"], &json["temp.h12.sd"]),
            (&20.5.into(), &2.05.into())
        );
        assert!(json.get("temp.h48.mean").is_none());
        assert_eq!(json["valve.state"], "shut");
        assert_eq!(json["valve.predicted"], "op\"en");
        assert_eq!(json["valve.p.op\"en"], 0.75);
    }

    #[test]
    fn an_anomaly_names_its_incident_and_the_channels_that_carry_it() {
        let channels: Vec<Arc<str>> = vec!["temp".into(), "flow".into()];
        let mut outcome = outcome();
        outcome.edge = Some(IncidentEdge::Closed(incident()));
        let mut text = String::new();
        anomaly_json(
            "pump",
            &channels,
            &outcome,
            None,
            &Muted::default(),
            42,
            &mut text,
        );
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["event"], "closed");
        assert_eq!(json["incident"], 3);
        assert_eq!(json["end"], 1000);
        assert_eq!(json["channel_1"], "flow");
        assert_eq!(json["contribution_1"], 0.75);
        assert!(json.get("channel_3").is_none());
    }
}
