//! Explains refusals: the message, the times, and the setting that would help.

use crate::assemble::MAX_AHEAD_MS;
use crate::payload::{Form, Format, Reject, TimeUnit, parse_line_protocol};
use crate::route::is_invisible;
use crate::time::parse_moment;

use super::{Decoder, Message};
use crate::row::Reading;

/// Bytes of a payload that are shown.
const EXCERPT_BYTES: usize = 80;
/// Time within which an offset counts as a whole quarter of an hour (milliseconds): stamps are
/// made some seconds before a message arrives.
const OFFSET_SLACK_MS: i64 = 120_000;
const QUARTER_MS: i64 = 900_000;
const YEAR_MS: i64 = 31_557_600_000;

/// Zones by their offset from UTC in minutes, winter and summer: examples for a hint.
const ZONES: [(i64, &str); 27] = [
    (-600, "Pacific/Honolulu"),
    (-480, "America/Los_Angeles"),
    (-420, "America/Denver"),
    (-360, "America/Chicago"),
    (-300, "America/New_York"),
    (-240, "America/Halifax"),
    (-180, "America/Sao_Paulo"),
    (0, "Europe/London"),
    (60, "Europe/Berlin"),
    (120, "Europe/Helsinki"),
    (180, "Europe/Istanbul"),
    (210, "Asia/Tehran"),
    (240, "Asia/Dubai"),
    (300, "Asia/Karachi"),
    (330, "Asia/Kolkata"),
    (345, "Asia/Kathmandu"),
    (360, "Asia/Dhaka"),
    (390, "Asia/Yangon"),
    (420, "Asia/Bangkok"),
    (480, "Asia/Shanghai"),
    (525, "Australia/Eucla"),
    (540, "Asia/Tokyo"),
    (570, "Australia/Darwin"),
    (600, "Australia/Brisbane"),
    (660, "Australia/Sydney"),
    (720, "Pacific/Auckland"),
    (780, "Pacific/Tongatapu"),
];

/// A refusal with all that a person needs to mend it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The reason.
    pub reason: Reject,
    /// Filter of the input that takes the topic; empty where none does.
    pub input: String,
    /// Topic of the message.
    pub topic: String,
    /// The first 80 bytes of the payload, control characters escaped.
    pub excerpt: String,
    /// The member or record, or what else is known; may be empty.
    pub detail: String,
    /// Source timestamp, unix milliseconds, where one was read.
    pub stamp_ms: Option<i64>,
    /// Arrival, unix milliseconds.
    pub arrival_ms: i64,
    /// The setting that would help, or what else is to be done.
    pub advice: String,
}

impl Refusal {
    /// The refusal as one line of text.
    pub fn line(&self) -> String {
        let topic = visible(&self.topic);
        let mut line = format!("refused as {}: {topic}", self.reason.as_str());
        let mut part = |name: &str, text: &str| {
            if !text.is_empty() {
                line.push_str("  ");
                line.push_str(name);
                line.push_str(text);
            }
        };
        part("", &self.detail);
        part("payload ", &self.excerpt);
        if let Some(stamp) = self.stamp_ms {
            part("stamp ", &utc(stamp));
            part("arrival ", &utc(self.arrival_ms));
        }
        part("-> ", &self.advice);
        line
    }
}

/// A time as people read it.
pub(super) fn utc(ms: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(ms);
    at.map_or_else(|_| ms.to_string(), |at| format!("{at:.3}"))
}

/// A text in which characters that nobody sees are escaped: they would break a line of the log, or show it
/// in another order.
fn visible(text: &str) -> String {
    let mut shown = String::with_capacity(text.len());
    for c in text.chars() {
        if c.is_control() || is_invisible(c) {
            shown.extend(c.escape_default());
        } else {
            shown.push(c);
        }
    }
    shown
}

/// The first 80 bytes of a payload, control characters and bytes that are no text escaped.
pub fn excerpt(payload: &[u8]) -> String {
    let cut = &payload[..payload.len().min(EXCERPT_BYTES)];
    let mut text = String::with_capacity(cut.len() + 8);
    for chunk in cut.utf8_chunks() {
        text.push_str(&visible(chunk.valid()));
        for byte in chunk.invalid() {
            text.push_str(&format!("\\x{byte:02x}"));
        }
    }
    if payload.len() > EXCERPT_BYTES {
        text.push_str("...");
    }
    text
}

pub(super) fn refusal(
    decoder: &Decoder,
    reason: Reject,
    detail: &str,
    message: &Message<'_>,
) -> Refusal {
    let input = match decoder.router.known(message.topic) {
        Some(route) => Some(route.input),
        None => decoder.router.find(message.topic).ok().map(|m| m.input),
    };
    let format = input.and_then(|input| decoder.formats.get(input));
    // Feedback is no reading: it has no stamp.
    let stamp_ms = decoder
        .parsed
        .ts_ms()
        .filter(|_| !matches!(reason, Reject::BadFeedback | Reject::BadInstruction));
    let advice = match reason {
        Reject::Future | Reject::Late => {
            let stamp = stamp_ms.unwrap_or(message.arrival_ms);
            advice_on_time(stamp, message.arrival_ms).unwrap_or_else(|| on_clock(reason))
        }
        Reject::Collision => on_collision(decoder, input),
        Reject::NoRoute => on_route(decoder, message.topic),
        _ => advice(reason, format, message.payload, detail),
    };
    let patterns = decoder.router.patterns();
    let pattern = input.and_then(|input| patterns.get(input));
    Refusal {
        reason,
        input: pattern.map_or_else(String::new, |pattern| pattern.filter()),
        topic: message.topic.chars().take(200).collect(),
        excerpt: excerpt(message.payload),
        detail: detail.chars().take(300).collect(),
        stamp_ms,
        arrival_ms: message.arrival_ms,
        advice,
    }
}

/// A reading that its stream refused, explained.
pub fn refused_reading(reason: Reject, reading: &Reading) -> Refusal {
    let on_time = advice_on_time(reading.ts_ms, reading.arrival_ms);
    let advice = match reason {
        Reject::Future | Reject::Late => on_time.unwrap_or_else(|| on_clock(reason)),
        _ => advice(reason, None, &[], ""),
    };
    Refusal {
        reason,
        input: String::new(),
        topic: format!("stream {} channel {}", reading.stream, reading.channel),
        excerpt: reading.value.to_string(),
        detail: String::new(),
        stamp_ms: Some(reading.ts_ms),
        arrival_ms: reading.arrival_ms,
        advice,
    }
}

/// Says which setting would bring a stamp to its arrival: the unit where it is more than a year
/// off, a zone where it is off by whole quarters of an hour. `None` where neither is likely.
pub fn advice_on_time(stamp_ms: i64, arrival_ms: i64) -> Option<String> {
    let ahead = stamp_ms - arrival_ms;
    if ahead.abs() > YEAR_MS {
        let unit = unit_that_fits(stamp_ms, arrival_ms).map_or_else(
            || "\"s\", \"ms\", \"us\" or \"ns\"".to_owned(),
            |unit| format!("{:?}", unit.as_str()),
        );
        return Some(format!(
            "the stamp is {} years {} its arrival: is ts_unit = {unit} right? ts_unit = \"auto\" \
             goes by the size of the number",
            ahead.abs() / YEAR_MS,
            if ahead > 0 { "after" } else { "before" },
        ));
    }
    let quarters = (ahead + ahead.signum() * QUARTER_MS / 2) / QUARTER_MS;
    let off = ahead - quarters * QUARTER_MS;
    // No zone is further from UTC than 14 hours; some seconds pass before a message arrives.
    if quarters == 0 || quarters.abs() > 56 || off.abs() > OFFSET_SLACK_MS {
        return None;
    }
    let minutes = quarters * 15;
    let (sign, abs) = (if minutes < 0 { '-' } else { '+' }, minutes.abs());
    let offset = format!("{sign}{:02}:{:02}", abs / 60, abs % 60);
    let zones = zones_at(minutes, arrival_ms);
    Some(format!(
        "the stamp is {} h {} its arrival, as local time without an offset is: timezone = {zones} \
         or timezone = \"{offset}\"",
        hours(abs),
        if ahead > 0 { "after" } else { "before" },
    ))
}

fn hours(minutes: i64) -> String {
    match minutes % 60 {
        0 => (minutes / 60).to_string(),
        _ => format!("{}:{:02}", minutes / 60, minutes % 60),
    }
}

/// Zones that are so many minutes east of UTC at a moment.
fn zones_at(minutes: i64, at_ms: i64) -> String {
    let at = jiff::Timestamp::from_millisecond(at_ms).unwrap_or_default();
    let fits = |zone: &&(i64, &str)| {
        let zone = jiff::tz::TimeZone::get(zone.1);
        zone.is_ok_and(|zone| i64::from(zone.to_offset(at).seconds()) == minutes * 60)
    };
    let found: Vec<String> = ZONES
        .iter()
        .filter(fits)
        .take(2)
        .map(|(_, name)| format!("{name:?}"))
        .collect();
    match found.is_empty() {
        true => "its zone".to_owned(),
        false => found.join(", "),
    }
}

/// The unit in which the number behind `stamp_ms`, taken as milliseconds, lies near the arrival.
fn unit_that_fits(stamp_ms: i64, arrival_ms: i64) -> Option<TimeUnit> {
    let near = |ms: Option<i64>| ms.is_some_and(|ms| (ms - arrival_ms).abs() < YEAR_MS);
    [
        (TimeUnit::Seconds, stamp_ms.checked_mul(1000)),
        (TimeUnit::Micros, Some(stamp_ms / 1000)),
        (TimeUnit::Nanos, Some(stamp_ms / 1_000_000)),
    ]
    .into_iter()
    .find(|(_, ms)| near(*ms))
    .map(|(unit, _)| unit)
}

fn on_clock(reason: Reject) -> String {
    match reason {
        Reject::Future => format!(
            "its clock is ahead of ours by more than {} s: set the device's clock (NTP), or \
             ts = \"\" to go by arrival",
            MAX_AHEAD_MS / 1000
        ),
        _ => "a newer reading of the channel is there already: send in order, or ts = \"\" to go \
              by arrival"
            .to_owned(),
    }
}

fn on_collision(decoder: &Decoder, input: Option<usize>) -> String {
    let pattern = input.and_then(|input| decoder.router.patterns().get(input));
    let unused = pattern.map(|pattern| pattern.unused_levels());
    match unused.as_deref() {
        Some([first, ..]) => format!(
            "put the level {{{first}}} into `stream` or `channel`, as in stream = \
             \"{{{first}}}.{{stream}}\""
        ),
        _ => "name the levels that differ, as in topic = \".../{hall}/...\", and use them in \
              `stream` or `channel`; or a member, as in channel = \"{./id}\""
            .to_owned(),
    }
}

fn on_route(decoder: &Decoder, topic: &str) -> String {
    let filters: Vec<String> = decoder
        .router
        .patterns()
        .iter()
        .map(|p| p.filter())
        .collect();
    format!(
        "no [[input]] has a topic that fits {topic} (there are {})",
        filters.join(", ")
    )
}

/// The setting that would help, by reason, format and payload.
fn advice(reason: Reject, format: Option<&Format>, payload: &[u8], detail: &str) -> String {
    let text = String::from_utf8_lossy(payload);
    let text = text.trim();
    let fixed = match reason {
        Reject::TooBig => "mqtt.max_payload_bytes is the limit",
        Reject::Empty => "an empty message deletes a retained one; nothing is to be set",
        Reject::NotUtf8 => return on_bytes(payload),
        Reject::Malformed if format.is_some_and(|f| f.form == Form::Sparkplug) => {
            "it is no Sparkplug B payload (protobuf)"
        }
        Reject::Malformed => return on_text(format, text),
        Reject::TooDeep => "ignore = [\"...\"] leaves the member out",
        Reject::NotFinite => "numbers = \"lenient\" takes nan and inf as missing",
        Reject::OutOfRange => "no measurement is beyond 1e30; ignore = [\"...\"] leaves it out",
        Reject::NoValue => return on_members(format, text),
        Reject::BadTimestamp => return on_stamp(detail),
        Reject::BadQuality => "good = [...] lists the qualities that let a value pass",
        Reject::UnknownMetric => "its births were not heard; the node is asked for them (NCMD)",
        Reject::NoChannel | Reject::BadName if !detail.is_empty() => {
            "use a member that every record has, or leave such messages out by their topic"
        }
        Reject::NoChannel => "the topic ends where the pattern has {channel}",
        Reject::BadName => "names have 1 to 200 bytes, no / + # and no control characters",
        Reject::OwnTopic => "the input subscribes to what this daemon publishes",
        Reject::Retained => {
            "a retained message of unknown age is left out; ts = \"/...\" names its timestamp, \
             where it has one"
        }
        Reject::TooManyStreams => "stream.max_streams is the limit",
        Reject::TooManyChannels => {
            "stream.max_channels is the limit; only = [...] or ignore = [...] leaves members out"
        }
        Reject::UnknownState => "states = [...] of its [[channel]] lists what may come",
        Reject::BadFeedback => "a feedback is {\"incident\": 3, \"verdict\": \"false\"}",
        Reject::BadInstruction => {
            "a mute is {\"for_s\": 3600}, an order to forget {\"stream\": \"NAME\"}, with \"token\" where \
             output.feedback asks for it"
        }
        Reject::UnknownIncident => "the stream has no such incident, or not any more",
        Reject::UnknownChannel => "there is no such stream, or it has no such channel",
        Reject::Redelivered | Reject::Duplicate => "it was taken already; nothing is to be set",
        Reject::Future | Reject::Late | Reject::Collision | Reject::NoRoute => "",
    };
    fixed.to_owned()
}

fn on_bytes(payload: &[u8]) -> String {
    if payload.starts_with(&[0x1f, 0x8b]) {
        return "the payload is compressed (gzip); let the device send it plain".to_owned();
    }
    "the payload is binary; Sparkplug B needs payload = \"sparkplug\", else let the device send JSON or plain numbers".to_owned()
}

/// A payload that is neither a number nor the JSON that was expected.
fn on_text(format: Option<&Format>, text: &str) -> String {
    let form = format.map_or(Form::Auto, |format| format.form);
    let is_json = serde_json::from_str::<serde::de::IgnoredAny>(text).is_ok();
    if text.starts_with(['{', '[']) {
        return match (is_json, form) {
            (true, Form::Number) => "it is JSON: payload = \"json\" with value = \"/...\", or \
                                     payload = \"object\""
                .to_owned(),
            (true, _) => on_members(format, text),
            (false, _) if text.contains('\'') && !text.contains('"') => {
                "JSON has double quotes, not single ones".to_owned()
            }
            (false, _) => "it is no JSON (cut short? a comma too many?)".to_owned(),
        };
    }
    if matches!(form, Form::Object) && text.parse::<f64>().is_ok() {
        return "it is a plain number: payload = \"auto\" and a topic with {channel}".to_owned();
    }
    if is_lenient_number(text) {
        return "numbers = \"lenient\" reads decimal commas, groups and hex".to_owned();
    }
    if parse_line_protocol(text).is_ok() {
        return "it is line protocol: payload = \"influx\"".to_owned();
    }
    let mut separators = [';', ',', '\t', '|'].into_iter();
    if let Some(separator) = separators.find(|s| text.matches(*s).count() >= 2) {
        return format!(
            "it is separated text: payload = \"csv\" with separator = {:?} and columns = [\"...\", ...]",
            separator.to_string()
        );
    }
    if parse_moment(text).is_some() {
        return "it is a time, no measurement: leave the topic out".to_owned();
    }
    let words = text.split_whitespace().count();
    if words == 1 && text.len() <= 40 {
        return format!(
            "it is a word: a [[channel]] with kind = \"enum\" and states = [{text:?}, ...] takes \
             it as a state"
        );
    }
    "it is neither a number nor JSON; leave the topic out".to_owned()
}

fn is_lenient_number(text: &str) -> bool {
    let lenient = Format {
        lenient: true,
        ..Format::number()
    };
    let mut parsed = crate::payload::Parsed::default();
    lenient.parse(text.as_bytes(), &mut parsed) != Err(Reject::Malformed)
}

/// A document without a value where it was looked for.
fn on_members(format: Option<&Format>, text: &str) -> String {
    let Ok(document) = serde_json::from_str::<serde_json::Value>(text) else {
        return "value = \"/...\" names the value's place".to_owned();
    };
    if document.is_null() || text == "null" {
        return "null is a missing value; nothing is to be set".to_owned();
    }
    if let Some(each) = list_of_records(&document, "") {
        return format!("it has records: each = {each:?} with value and channel of each of them");
    }
    let numbers = numeric_members(&document, "");
    match numbers.as_slice() {
        [] => "it has no number that could be a value; leave the topic out".to_owned(),
        [one] => format!("value = {one:?} is its one number"),
        [first, second, ..] => {
            let object = format.is_some_and(|format| format.form == Form::Object);
            let parent = common_parent(&numbers);
            match object {
                true => format!("channels = {parent:?} is where its numbers are"),
                false => format!(
                    "it has several numbers ({first}, {second}, ...): payload = \"object\" takes \
                     them all, value = {first:?} one"
                ),
            }
        }
    }
}

/// The pointer to a list of objects, the first one met.
fn list_of_records(value: &serde_json::Value, at: &str) -> Option<String> {
    match value {
        serde_json::Value::Array(items) if items.first().is_some_and(|i| i.is_object()) => {
            Some(at.to_owned())
        }
        serde_json::Value::Object(members) => members
            .iter()
            .find_map(|(name, inner)| list_of_records(inner, &format!("{at}/{name}"))),
        _ => None,
    }
}

/// Pointers to the numbers of a document.
fn numeric_members(value: &serde_json::Value, at: &str) -> Vec<String> {
    match value {
        serde_json::Value::Number(_) | serde_json::Value::Bool(_) => vec![at.to_owned()],
        serde_json::Value::Object(members) => members
            .iter()
            .flat_map(|(name, inner)| numeric_members(inner, &format!("{at}/{name}")))
            .collect(),
        _ => Vec::new(),
    }
}

fn common_parent(pointers: &[String]) -> String {
    let parents = pointers
        .iter()
        .map(|p| p.rsplit_once('/').map_or("", |(parent, _)| parent));
    parents
        .min_by_key(|parent| parent.len())
        .unwrap_or_default()
        .to_owned()
}

fn on_stamp(detail: &str) -> String {
    let text = detail.strip_prefix("timestamp ").unwrap_or(detail);
    if let Ok(number) = text.parse::<f64>() {
        let unit = TimeUnit::by_size(number).as_str();
        return format!(
            "{text} is no time in the unit of ts_unit; by its size ts_unit = {unit:?}, which \"auto\" \
             finds; or ts names another member"
        );
    }
    if text.contains('/') {
        return format!(
            "{text} can be read in two ways: ts_format = \"%d/%m/%Y %H:%M:%S\" or \
             \"%m/%d/%Y %H:%M:%S\""
        );
    }
    "ts_format = \"%d.%m.%Y %H:%M:%S\" says how the time is written (strftime); ts = \"\" goes by \
     arrival"
        .to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HOUR_MS: i64 = 3_600_000;

    #[test]
    fn an_excerpt_is_short_and_shows_what_cannot_be_seen() {
        assert_eq!(excerpt(b"a\n\x00b\xff"), "a\\n\\u{0}b\\xff");
        assert_eq!(
            visible("a\u{202e}b\u{2028}\n\u{e9}"),
            "a\\u{202e}b\\u{2028}\\n\u{e9}"
        );
        let long = excerpt(&[b'x'; 200]);
        assert_eq!(long.len(), EXCERPT_BYTES + 3);
        // A character is not cut in two, but shown as its bytes.
        let cut = excerpt("ä".repeat(60).as_bytes());
        assert!(cut.starts_with("ää") && cut.ends_with("..."));
    }

    #[test]
    fn a_stamp_off_by_whole_hours_names_a_zone_and_one_off_by_years_the_unit() {
        let arrival = 1_772_323_200_000;
        let advice = |off: i64| advice_on_time(arrival + off, arrival).unwrap_or_default();
        assert!(advice(2 * HOUR_MS - 3000).contains("\"Europe/Helsinki\""));
        assert!(advice(-5 * HOUR_MS - 2000).contains("\"America/New_York\""));
        assert!(advice(5 * HOUR_MS + HOUR_MS / 2).contains("\"Asia/Kolkata\""));
        assert!(advice(2 * HOUR_MS).contains("\"+02:00\""));
        assert_eq!(advice(2 * HOUR_MS + 400_000), "");
        assert_eq!(advice(-1000), "");
        let seconds = advice_on_time(arrival / 1000, arrival).unwrap();
        assert!(seconds.contains("ts_unit = \"s\""), "{seconds}");
        let micros = advice_on_time(arrival * 1000, arrival).unwrap();
        assert!(micros.contains("ts_unit = \"us\""), "{micros}");
    }
}
