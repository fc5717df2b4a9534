//! Explains refusals: the message, the times, and the setting that would help.

use crate::assemble::MAX_AHEAD_MS;
use crate::payload::{Reject, TimeUnit};
use crate::route::is_invisible;
use crate::row::Reading;

use super::advice::{self, advice};
use super::{Decoder, InboundMessage};

/// Bytes of a payload that are shown.
const EXCERPT_BYTES: usize = 80;
/// Time within which an offset counts as a whole quarter of an hour (milliseconds): stamps are
/// made some seconds before a message arrives.
const OFFSET_SLACK_MS: i64 = 120_000;
const QUARTER_MS: i64 = 900_000;
const YEAR_MS: i64 = 31_557_600_000;
/// Start of 2000 and of 2001, unix milliseconds.
const EPOCH_2000_MS: i64 = 946_684_800_000;
const EPOCH_2001_MS: i64 = 978_307_200_000;

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
    message: &InboundMessage<'_>,
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
        Reject::Collision if detail.starts_with("two records") => {
            advice::on_records(format, message.payload)
        }
        Reject::Collision => on_collision(decoder, input, detail, message.topic),
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
        let advice = match unit_that_fits(stamp_ms, arrival_ms) {
            Some(unit) => format!(
                "is ts_unit = {:?} right? ts_unit = \"auto\" goes by the size of the number",
                unit.as_str()
            ),
            // MicroPython and Cocoa count from other years than Unix.
            None if near(stamp_ms + EPOCH_2000_MS, arrival_ms) => {
                "it counts from 2000: let the device add 946684800 s, or ts = \"\" goes by arrival"
                    .to_owned()
            }
            None if near(stamp_ms + EPOCH_2001_MS, arrival_ms) => {
                "it counts from 2001: let the device add 978307200 s, or ts = \"\" goes by arrival"
                    .to_owned()
            }
            None => "a clock that was never set, or one that counts from the device's start? \
                     ts = \"\" goes by arrival; ts_unit sets the unit of a number"
                .to_owned(),
        };
        return Some(format!(
            "the stamp is {} years {} its arrival: {advice}",
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
    let near = |ms: Option<i64>| ms.is_some_and(|ms| near(ms, arrival_ms));
    [
        (TimeUnit::Seconds, stamp_ms.checked_mul(1000)),
        (TimeUnit::Micros, Some(stamp_ms / 1000)),
        (TimeUnit::Nanos, Some(stamp_ms / 1_000_000)),
    ]
    .into_iter()
    .find(|(_, ms)| near(*ms))
    .map(|(unit, _)| unit)
}

fn near(ms: i64, arrival_ms: i64) -> bool {
    ms.abs_diff(arrival_ms) < YEAR_MS.unsigned_abs()
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

/// Names the level in which two topics of one channel differ.
fn on_collision(decoder: &Decoder, input: Option<usize>, detail: &str, topic: &str) -> String {
    let pattern = input.and_then(|input| decoder.router.patterns().get(input));
    let unused = pattern.map(|pattern| pattern.unused_levels());
    if let Some([first, ..]) = unused.as_deref() {
        return format!(
            "put the level {{{first}}} into `stream` or `channel`, as in stream = \
             \"{{{first}}}.{{stream}}\""
        );
    }
    let first = detail.split_once(" comes from ").map(|(_, rest)| rest);
    let first = first.and_then(|rest| rest.strip_suffix(" already"));
    let mut levels = first.unwrap_or_default().split('/').zip(topic.split('/'));
    match levels.position(|(a, b)| a != b) {
        Some(at) => {
            let level = |topic: &str| topic.split('/').nth(at).unwrap_or_default().to_owned();
            format!(
                "level {} differs ({}, {}): name it in the topic, as in {}, and put it into \
                 `stream` or `channel`, as in channel = \"{{part}}.{{channel}}\"",
                at + 1,
                level(first.unwrap_or_default()),
                level(topic),
                with_level(topic, at),
            )
        }
        None => "name the levels that differ, as in topic = \".../{hall}/...\", and use them in \
                 `stream` or `channel`; or a member, as in channel = \"{./id}\""
            .to_owned(),
    }
}

/// `a/b/c` as `.../{part}/...`.
fn with_level(topic: &str, at: usize) -> String {
    let last = topic.split('/').count() - 1;
    let before = if at > 0 { ".../" } else { "" };
    let behind = if at < last { "/..." } else { "" };
    format!("\"{before}{{part}}{behind}\"")
}

fn on_route(decoder: &Decoder, topic: &str) -> String {
    let filters: Vec<String> = decoder
        .router
        .patterns()
        .iter()
        .map(|p| p.filter())
        .collect();
    let plain = |topic: &str| topic.trim_matches('/').to_lowercase();
    let nearly = filters
        .iter()
        .find(|filter| fits(&plain(filter), &plain(topic)));
    let hint = match nearly {
        Some(filter) => format!("; {filter} differs by capital letters or a / at an end only"),
        None => String::new(),
    };
    format!(
        "no [[input]] has a topic that fits {topic} (there are {}){hint}",
        filters.join(", ")
    )
}

/// Whether a filter without a last # takes a topic.
fn fits(filter: &str, topic: &str) -> bool {
    let (mut filter, mut topic) = (filter.split('/'), topic.split('/'));
    loop {
        match (filter.next(), topic.next()) {
            (None, None) | (Some("#"), _) => return true,
            (Some(level), Some(of_topic)) if level == "+" || level == of_topic => {}
            _ => return false,
        }
    }
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
        let from_2000 = advice_on_time(arrival - EPOCH_2000_MS - 5000, arrival).unwrap();
        assert!(from_2000.contains("from 2000"), "{from_2000}");
        let uptime = advice_on_time(5000, arrival).unwrap();
        assert!(uptime.contains("goes by arrival"), "{uptime}");
        let micros = advice_on_time(arrival * 1000, arrival).unwrap();
        assert!(micros.contains("ts_unit = \"us\""), "{micros}");
    }
}
