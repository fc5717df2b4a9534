//! Lines of recorded messages: JSON as `mosquitto_sub -F '%j'` and `'%J'` write it, or time, topic and
//! payload.

use std::borrow::Cow;
use std::collections::BTreeMap;

use serde::Deserialize;
use serde_json::value::RawValue;

use crate::decode::InboundMessage;
use crate::table::TimeFormat;

/// Blanks of a line at which a topic may end.
const MAX_BLANKS: usize = 16;

/// One recorded message.
#[derive(Debug, PartialEq)]
pub(super) struct RecordedMessage<'a> {
    pub(super) arrival_ms: i64,
    pub(super) topic: Cow<'a, str>,
    pub(super) payload: Cow<'a, [u8]>,
    pub(super) retained: bool,
    /// User properties of MQTT 5, names and values.
    pub(super) properties: Vec<(String, String)>,
}

impl RecordedMessage<'_> {
    /// As the decoder takes it.
    pub(super) fn message(&self) -> InboundMessage<'_> {
        InboundMessage {
            topic: &self.topic,
            payload: &self.payload,
            retained: self.retained,
            arrival_ms: self.arrival_ms,
            properties: &self.properties,
        }
    }
}

/// Reads lines; the first times met say how all are written.
#[derive(Default)]
pub(super) struct LineReader {
    format: Option<TimeFormat>,
}

/// A line as mosquitto_sub writes it in JSON.
#[derive(Deserialize)]
struct JsonLine<'a> {
    #[serde(borrow, alias = "timestamp", alias = "ts")]
    tst: &'a RawValue,
    topic: String,
    #[serde(default)]
    retain: Flag,
    payloadlen: Option<usize>,
    #[serde(default)]
    properties: Properties,
    #[serde(borrow)]
    payload: Option<&'a RawValue>,
}

/// The properties of MQTT 5 that a payload's time may stand in.
#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Properties {
    #[serde(default)]
    user_properties: BTreeMap<String, String>,
}

/// `0`, `1`, `false` or `true`.
#[derive(Deserialize)]
#[serde(untagged)]
enum Flag {
    Number(u8),
    Truth(bool),
}

impl Default for Flag {
    fn default() -> Flag {
        Flag::Truth(false)
    }
}

impl LineReader {
    /// The messages that a line may be, the likeliest first: where blanks separate, the topic may end
    /// at each of them. None where the line is no message.
    pub(super) fn read<'a>(&mut self, line: &'a [u8]) -> Vec<RecordedMessage<'a>> {
        if line.starts_with(b"{") {
            return self.json(line).into_iter().collect();
        }
        self.separated(line).unwrap_or_default()
    }

    fn time(&mut self, text: &str) -> Option<i64> {
        if self.format.is_none() {
            self.format = TimeFormat::of(&[text]);
        }
        self.format.as_ref()?.utc_ms(text)
    }

    fn json<'a>(&mut self, line: &'a [u8]) -> Option<RecordedMessage<'a>> {
        // A payload that is no UTF-8 is written as it is: only text can be read.
        let read: JsonLine<'a> = serde_json::from_slice(line).ok()?;
        let time = read.tst.get();
        let arrival_ms = self.time(time.trim_matches('"'))?;
        let retained = match read.retain {
            Flag::Number(n) => n != 0,
            Flag::Truth(truth) => truth,
        };
        let payload = read.payload.map_or("", RawValue::get);
        Some(RecordedMessage {
            arrival_ms,
            topic: Cow::Owned(read.topic),
            payload: unescaped(payload, read.payloadlen),
            retained,
            properties: read.properties.user_properties.into_iter().collect(),
        })
    }

    fn separated<'a>(&mut self, line: &'a [u8]) -> Option<Vec<RecordedMessage<'a>>> {
        let (time, rest) = parted(line, |byte| matches!(byte, b' ' | b'\t'))?;
        let arrival_ms = self.time(std::str::from_utf8(time).ok()?)?;
        let message = |topic: &'a [u8], payload: &'a [u8], retained| {
            let topic = std::str::from_utf8(topic).ok()?;
            (!topic.is_empty()).then_some(RecordedMessage {
                arrival_ms,
                topic: Cow::Borrowed(topic),
                payload: Cow::Borrowed(payload),
                retained,
                properties: Vec::new(),
            })
        };
        if line.get(time.len()) == Some(&b'\t')
            && let Some((topic, payload)) = parted(rest, |byte| byte == b'\t')
        {
            // %U\t%t\t%p, or with the retain flag: %U\t%r\t%t\t%p.
            let flagged = matches!(topic, b"0" | b"1");
            return match parted(payload, |byte| byte == b'\t').filter(|_| flagged) {
                Some((real, payload)) => Some(vec![message(real, payload, topic == b"1")?]),
                None => Some(vec![message(topic, payload, false)?]),
            };
        }
        let blanks = rest
            .iter()
            .enumerate()
            .filter(|(_, byte)| matches!(**byte, b' ' | b'\t'));
        let ends = blanks.map(|(at, _)| at).take(MAX_BLANKS);
        let mut all: Vec<RecordedMessage<'a>> = ends
            .filter_map(|end| message(&rest[..end], &rest[end + 1..], false))
            .collect();
        all.extend(all.is_empty().then(|| message(rest, &[], false)).flatten());
        Some(all)
    }
}

/// The payload: a JSON string stands for the text in it, unless the length says that the quotes
/// belong to it.
fn unescaped(json: &str, length: Option<usize>) -> Cow<'_, [u8]> {
    match serde_json::from_str::<String>(json) {
        Ok(text) if length != Some(json.len()) || length == Some(text.len()) => {
            Cow::Owned(text.into_bytes())
        }
        _ => Cow::Borrowed(json.as_bytes()),
    }
}

fn parted(text: &[u8], ends: impl Fn(u8) -> bool) -> Option<(&[u8], &[u8])> {
    let end = text.iter().position(|byte| ends(*byte))?;
    Some((&text[..end], &text[end + 1..]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(line: &str) -> Vec<(i64, String, String, bool)> {
        let mut reader = LineReader::default();
        let all = reader.read(line.as_bytes()).into_iter();
        all.map(|m| {
            let payload = String::from_utf8_lossy(&m.payload).into_owned();
            (m.arrival_ms, m.topic.into_owned(), payload, m.retained)
        })
        .collect()
    }

    #[test]
    fn json_lines_carry_blanks_line_breaks_and_the_retain_flag() {
        // As mosquitto_sub 2.0 writes them.
        for (line, topic, payload, retained) in [
            (
                r#"{"tst":"2026-11-26T06:37:12.354168Z+0000","topic":"plant/old pump/flow","qos":0,"retain":1,"payloadlen":5,"payload":"80.05"}"#,
                "plant/old pump/flow",
                "80.05",
                true,
            ),
            (
                r#"{"tst":"2026-11-26T07:37:12.354168+0100","topic":"x","qos":0,"retain":0,"payloadlen":20,"payload":{"a":1,"b":"x\"y"}}"#,
                "x",
                r#"{"a":1,"b":"x\"y"}"#,
                false,
            ),
            (
                r#"{"tst":"2026-11-26T06:37:12.354168Z+0000","topic":"y","qos":0,"retain":0,"payloadlen":4,"payload":"\"on\""}"#,
                "y",
                "\"on\"",
                false,
            ),
            (
                r#"{"tst":"2026-11-26T06:37:12.354168Z+0000","topic":"y","qos":0,"retain":0,"payloadlen":4,"payload":"on"}"#,
                "y",
                "\"on\"",
                false,
            ),
            (
                r#"{"tst":"2026-11-26T06:37:12.354168Z+0000","topic":"z","qos":0,"retain":0,"payloadlen":3,"payload":"1\n2"}"#,
                "z",
                "1\n2",
                false,
            ),
        ] {
            let want = (
                1_795_675_032_354,
                topic.to_owned(),
                payload.to_owned(),
                retained,
            );
            assert_eq!(read(line), [want], "{line}");
        }
    }

    #[test]
    fn tabs_separate_and_blanks_may() {
        let want = |topic: &str, payload: &str, retained| {
            (
                1_772_323_200_450,
                topic.to_owned(),
                payload.to_owned(),
                retained,
            )
        };
        assert_eq!(
            read("1772323200.450\ta b/c\t1 2"),
            [want("a b/c", "1 2", false)]
        );
        assert_eq!(
            read("1772323200.450\t1\ta b/c\t12"),
            [want("a b/c", "12", true)]
        );
        assert_eq!(
            read("1772323200.450 a b/c 12"),
            [want("a", "b/c 12", false), want("a b/c", "12", false)]
        );
        assert_eq!(read("1772323200.450 a"), [want("a", "", false)]);
        assert!(read("no message").is_empty() && read("{\"a\":1}").is_empty());
    }
}
