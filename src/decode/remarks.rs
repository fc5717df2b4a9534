//! Remarks on the inputs that a person should hear once: units, zones, times among the channels.

use super::explain::advice_on_time;
use super::{Decoder, InboundMessage, MAX_FOLDS};
use crate::payload::{Measured, Order, TimeUnit, is_missing_mark, names_a_time};

/// Kinds of remarks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Remark {
    Unit,
    Gap,
    Behind,
    TimeAmongChannels,
    TimeUnused,
    NumberInText,
    ListLeftOut,
    MissingMark,
    SeveralDevices,
}

/// Stamps this far from their arrival are hardly meant: a unit or an epoch is another than set.
const YEAR_MS: i64 = 31_557_600_000;
const DAY_MS: u64 = 86_400_000;
const HOUR_MS: u64 = 3_600_000;

impl Decoder {
    /// Remarks once on a channel that is named like a time and lies within a day of the arrival, or under
    /// any name within an hour, where the message has no other time.
    pub(super) fn note_time_among_channels(&mut self, input: usize, message: &InboundMessage<'_>) {
        let is_time = |(name, value): &(&str, f64)| {
            let last = name.rsplit('.').next().unwrap_or(name);
            let near = if names_a_time(last) { DAY_MS } else { HOUR_MS };
            let ms = TimeUnit::Auto.fractional(*value);
            ms.is_some_and(|ms| ms.abs_diff(message.arrival_ms) < near)
        };
        let has_time = self.parsed.found().any(|found| found.ts.is_some());
        let mut channels = self.parsed.channels().filter(|_| !has_time);
        if let Some((name, _)) = channels.find(is_time)
            && self.remarked.insert((input, Remark::TimeAmongChannels))
        {
            self.remarks.push(format!(
                "{}: {name} is learned as a channel, but looks like the time of the message: \
                 ts = \"/{}\" takes it as such, ignore = [{name:?}] leaves it out",
                message.topic,
                name.replace('.', "/")
            ));
        }
    }

    /// Remembers the order within a repeated hour, and remarks on what a person should know once.
    pub(super) fn note_circumstances(
        &mut self,
        input: usize,
        before: &Order,
        message: &InboundMessage<'_>,
    ) {
        if self.parsed.order != *before
            && let Some(last_ms) = self.parsed.order.last_ms
        {
            if self.folds.len() >= MAX_FOLDS {
                self.folds.clear();
            }
            self.folds.insert(message.topic.into(), last_ms);
        }
        if self.parsed.gap && self.remarked.insert((input, Remark::Gap)) {
            self.remarks.push(format!(
                "{}: a timestamp lies in the hour that summer time leaves out; it is taken an hour \
                 later",
                message.topic
            ));
        }
        if let Some(unit) = self.parsed.unit
            && self.remarked.insert((input, Remark::Unit))
        {
            self.remarks.push(format!(
                "{}: timestamps are numbers of unit {:?} by their size (ts_unit = \"auto\")",
                message.topic,
                unit.as_str()
            ));
        }
        let marks = self.parsed.found().find_map(|found| match found.value {
            Measured::Number(x) if is_missing_mark(x) => Some((x, found.channel)),
            _ => None,
        });
        if let Some((mark, channel)) = marks
            && self.remarked.insert((input, Remark::MissingMark))
        {
            let of = channel.map_or(String::new(), |channel| format!("{channel} is "));
            self.remarks.push(format!(
                "{}: {of}{mark}, which many devices send for a missing value: missing = [{mark}] takes it as \
                 such, now it is learned and judged",
                message.topic
            ));
        }
        let behind = self.parsed.found().next().and_then(|found| found.ts);
        if let Some(stamp) = behind
            && let Some(behind_ms) = message.arrival_ms.checked_sub(stamp.ms)
            && (behind_ms > YEAR_MS || (stamp.local && behind_ms > 1_700_000))
            && (behind_ms > YEAR_MS || self.formats[input].clock.zone.is_none())
            && let Some(advice) = advice_on_time(stamp.ms, message.arrival_ms)
            && self.remarked.insert((input, Remark::Behind))
        {
            self.remarks.push(format!("{}: {advice}", message.topic));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Remarks on one message that arrives on 2026-03-01.
    fn remarks(input: &str, payload: &str) -> Vec<String> {
        let settings = crate::config::from_text(&format!("[[input]]\n{input}\n")).unwrap();
        let mut decoder = settings.decoder(0);
        let message = InboundMessage {
            topic: "plant/press",
            payload: payload.as_bytes(),
            arrival_ms: 1_772_323_200_000,
            ..InboundMessage::default()
        };
        let (mut readings, mut all) = (Vec::new(), Vec::new());
        for _ in 0..2 {
            decoder.read(message, &mut readings).unwrap();
            all.extend(decoder.remarks());
        }
        all
    }

    #[test]
    fn a_time_that_would_be_a_channel_is_named_once() {
        let object = "topic = \"plant/{stream}\"\npayload = \"object\"";
        let said = remarks(object, r#"{"a":{"timestamp":1772323199},"t":21}"#);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains("ts = \"/a/timestamp\""), "{said:?}");
        let said = remarks(object, r#"{"origin":1772323199817000000,"t":21}"#);
        assert!(said[0].contains("ts = \"/origin\""), "{said:?}");
        for harmless in [
            r#"{"time":12.5,"t":21}"#,
            r#"{"ts":1772323199,"time":1772323199,"t":1}"#,
        ] {
            let said = remarks(object, harmless);
            assert!(said.iter().all(|s| !s.contains("as a channel")), "{said:?}");
        }
    }

    #[test]
    fn what_the_settings_overlook_is_said_once() {
        let object = "topic = \"plant/{stream}\"\npayload = \"object\"";
        let value = "topic = \"plant/{stream}\"\nchannel = \"a\"";
        let csv = "topic = \"plant/{stream}\"\npayload = \"csv\"\nseparator = \";\"\ncolumns = [\"temp\", \"hum\"]";
        for (input, payload, expected) in [
            (object, r#"{"e":"1 234,5 kWh","k":1}"#, "e is left out"),
            (object, r#"{"a":{"e":"21,5"},"k":1}"#, "a.e is left out"),
            (csv, "21,5;50", "temp is left out"),
            (
                object,
                r#"{"u":"3.3 V at pin 4","k":1}"#,
                "u is left out, its text \"3.3 V at pin 4\" being no plain number: let the device",
            ),
            (object, r#"{"temp":-999.9,"k":1}"#, "missing = [-999.9]"),
            (
                object,
                r#"{"a":{"acc":[0.1,9.8]},"k":1}"#,
                "each = \"/a/acc\" with channel and value",
            ),
            (
                object,
                r#"{"readings":[{"name":"t","value":"23.5"}],"k":1}"#,
                "/readings is a list and left out",
            ),
            (
                object,
                r#"{"time":"2026-03-01T00:00:00Z","k":1}"#,
                "ts = \"/time\"",
            ),
            (
                value,
                r#"{"timestamp":1772323199,"value":1}"#,
                "ts = \"/timestamp\"",
            ),
        ] {
            let said = remarks(input, payload);
            assert_eq!(said.len(), 1, "{payload}: {said:?}");
            assert!(said[0].contains(expected), "{payload}: {said:?}");
        }
        for (input, payload) in [
            (
                object,
                r#"{"e":"pump, left","fw":"1.2.3","mac":"A4CF12","k":1,"at":"12 Main Street","p":-99.9}"#,
            ),
            (object, r#"{"time":"2020-03-01T00:00:00Z","k":1}"#),
            (object, r#"{"names":["a","b"],"none":[],"k":1}"#),
            (value, r#"{"ts":1772323199000,"time":1772323199,"value":1}"#),
        ] {
            let said = remarks(input, payload);
            assert!(
                said.iter().all(|s| s.contains("of unit")),
                "{payload}: {said:?}"
            );
        }
    }

    #[test]
    fn several_devices_of_one_topic_are_told_by_an_identifier_that_comes_again() {
        let of_ids = |stream: &str, ids: &[u32]| {
            let input = format!("[[input]]\ntopic = \"{stream}\"\npayload = \"object\"\n");
            let settings = crate::config::from_text(&input).unwrap();
            let mut decoder = settings.decoder(0);
            let (mut readings, mut said) = (Vec::new(), Vec::new());
            for id in ids {
                let payload = format!("{{\"id\":{id},\"temp\":21.5}}");
                let message = InboundMessage {
                    topic: "plant/press",
                    payload: payload.as_bytes(),
                    arrival_ms: 1_772_323_200_000,
                    ..InboundMessage::default()
                };
                decoder.read(message, &mut readings).unwrap();
                said.extend(decoder.remarks());
            }
            said
        };
        let said = of_ids("plant/{stream}", &[12, 77, 12, 77]);
        assert_eq!(said.len(), 1, "{said:?}");
        assert!(said[0].contains("/id goes to and fro (77, 12)"), "{said:?}");
        assert_eq!(
            of_ids("plant/{stream}", &[1, 2, 3, 4]),
            Vec::<String>::new()
        );
        assert_eq!(
            of_ids("plant/{stream}\"\nstream = \"{stream}.{/id}", &[1, 2, 1]),
            Vec::<String>::new()
        );
    }

    #[test]
    fn a_stamp_years_before_its_arrival_is_said_once() {
        let ticks = "topic = \"plant/{stream}\"\nchannel = \"a\"";
        let said = remarks(ticks, r#"{"value":1,"ts":639079200000000000}"#);
        let years: Vec<&String> = said
            .iter()
            .filter(|s| s.contains("35 years before"))
            .collect();
        assert_eq!(years.len(), 1, "{said:?}");
    }
}
