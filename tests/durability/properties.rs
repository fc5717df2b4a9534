//! Properties over arbitrary inputs: MQTT's matching rules, codecs there and back, and that it does
//! not matter how readings are cut into groups. `PROPTEST_CASES` sets the number of cases.

use proptest::prelude::*;
use spiked::payload::{Format, Parsed, Pointer, TimeUnit, prediction_json};
use spiked::route::Pattern;
use spiked::row::{ChannelOutcome, Outcome, Reading};
use spiked::state::journal::{pack, unpack};
use spiked::state::snapshot::{Snapshot, decode, encode};
use spiked::state::{JournalEntry, digest};
use spiked::stream::{Stream, StreamParams};

use crate::state::params;

/// MQTT 3.1.1, section 4.7, word by word: `+` is one whole level (also an empty one), a last `#`
/// the level before it and everything below, and a filter that starts with a wildcard fits no
/// topic that starts with `$`.
fn delivered(filter: &str, topic: &str) -> bool {
    if filter.starts_with(['+', '#']) && topic.starts_with('$') {
        return false;
    }
    let (filter, rest) = match filter.strip_suffix('#') {
        Some("") => return true,
        Some(head) => (head.strip_suffix('/').expect("# is a level"), true),
        None => (filter, false),
    };
    let filter: Vec<&str> = filter.split('/').collect();
    let topic: Vec<&str> = topic.split('/').collect();
    let lengths = if rest {
        topic.len() >= filter.len()
    } else {
        topic.len() == filter.len()
    };
    lengths && filter.iter().zip(&topic).all(|(f, t)| *f == "+" || f == t)
}

/// Levels of a pattern, and of topics that often fit it.
fn pattern_and_topic() -> impl Strategy<Value = (String, String)> {
    let level = prop::sample::select(vec![
        "a",
        "b",
        "",
        "$x",
        "ä",
        "+",
        "{stream}",
        "{channel}",
        "{stream}",
        "{channel}",
    ]);
    let word = prop::sample::select(vec!["a", "b", "", "$x", "$SYS", "ä", "a b"]);
    let levels = prop::collection::vec((level, word.clone(), 0..4u8), 1..6);
    (levels, any::<bool>(), prop::collection::vec(word, 0..3)).prop_map(|(levels, rest, more)| {
        let mut pattern: Vec<&str> = levels.iter().map(|(level, ..)| *level).collect();
        let mut topic: Vec<&str> = levels
            .iter()
            .map(|&(level, word, luck)| {
                let literal = !level.contains(['+', '{']);
                if literal && luck > 0 { level } else { word }
            })
            .collect();
        topic.extend(more);
        if rest {
            pattern.push("#");
        }
        (pattern.join("/"), topic.join("/"))
    })
}

/// Readings of two streams with irregular stamps, some late, some twice, now and then a jump.
fn readings() -> impl Strategy<Value = Vec<Reading>> {
    let one = (0..2usize, 0..3usize, -3.0..3.0f64, -2..6i64, 0..4i64);
    prop::collection::vec(one, 20..120).prop_map(|parts| {
        let mut ts_ms = 1_700_000_000_000;
        type Part = (usize, usize, f64, i64, i64);
        let number = |(i, (stream, channel, value, step, delay)): (usize, Part)| {
            ts_ms += 400 * step;
            Reading {
                seq: i as u64 + 1,
                stream: ["press", "pump"][stream].into(),
                channel: ["a", "b", "c"][channel].into(),
                value,
                ts_ms,
                arrival_ms: ts_ms + 100 * delay,
            }
        };
        parts.into_iter().enumerate().map(number).collect()
    })
}

fn streams(params: &StreamParams) -> Vec<Stream> {
    ["press", "pump"]
        .map(|name| Stream::new(name, params))
        .into()
}

fn learn(streams: &mut [Stream], reading: &Reading, out: &mut Vec<Outcome>) {
    let stream = streams.iter_mut().find(|s| *s.name() == reading.stream);
    stream.expect("one of the two").push(reading, out);
}

fn pointer(text: &str) -> Pointer {
    Pointer::new(text).unwrap()
}

/// Values that are believed, of all magnitudes.
fn value() -> impl Strategy<Value = f64> {
    prop_oneof![
        -1e30..1e30f64,
        -1e-3..1e-3f64,
        any::<i32>().prop_map(f64::from),
        any::<f64>().prop_filter("believable", |x| x.is_finite() && x.abs() <= 1e30),
    ]
}

proptest! {
    #[test]
    fn a_pattern_fits_what_its_filter_delivers_and_reads_the_right_levels(
        (text, topic) in pattern_and_topic()
    ) {
        let fixed = |what: &str, name: &'static str| if text.contains(what) { "" } else { name };
        let (stream, channel) = (fixed("{stream}", "s"), fixed("{channel}", "c"));
        let Ok(pattern) = Pattern::new(&text, stream, channel, false) else {
            return Ok(());
        };
        let found = pattern.names(&topic);
        let filter = pattern.filter();
        prop_assert_eq!(found.is_some(), delivered(&filter, &topic), "{} {}", filter, topic);
        if let Some(names) = found {
            let level = |what: &str, fixed: &'static str| {
                let place = text.split('/').position(|level| level == what);
                place.map_or(fixed.to_owned(), |i| topic.split('/').nth(i).unwrap().to_owned())
            };
            let channel = names.channel.unwrap();
            prop_assert_eq!(names.stream.constant().unwrap(), level("{stream}", "s"));
            prop_assert_eq!(channel.constant().unwrap(), level("{channel}", "c"));
        }
    }

    #[test]
    fn a_number_comes_back_from_every_payload_that_carries_it(
        x in value(), ts in 0..4_000_000_000_000i64
    ) {
        let mut parsed = Parsed::default();
        let json = Format::json(pointer("/d/v"), pointer("/d/t"), TimeUnit::Millis);
        let object = Format::object(pointer(""), pointer("/t"), TimeUnit::Millis);
        for text in [format!("{x}"), format!("{x:e}"), format!(" {x:?}\n")] {
            Format::number().parse(text.as_bytes(), &mut parsed).unwrap();
            prop_assert_eq!(parsed.number().unwrap().to_bits(), x.to_bits(), "{}", text);
            let document = format!("{{\"d\":{{\"t\":{ts},\"v\":{}}}}}", text.trim());
            json.parse(document.as_bytes(), &mut parsed).unwrap();
            prop_assert_eq!(parsed.number().unwrap().to_bits(), x.to_bits(), "{}", document);
            prop_assert_eq!(parsed.ts_ms(), Some(ts));
            let document = format!("{{\"t\":{ts},\"flow\":{},\"temp\":1.5}}", text.trim());
            object.parse(document.as_bytes(), &mut parsed).unwrap();
            let flow = parsed.channels().find(|(name, _)| *name == "flow").unwrap();
            prop_assert_eq!(flow.1.to_bits(), x.to_bits(), "{}", document);
            prop_assert_eq!(parsed.ts_ms(), Some(ts));
        }
    }

    #[test]
    fn a_published_value_reads_back_to_the_bit_and_its_prediction_within_its_uncertainty(
        value in value(), mean in value(), sd in 0.0..1e9f64, ts_ms in 0..4_000_000_000_000i64,
        name in "[a-z\"\\\\ äµ]{1,12}"
    ) {
        let outcome = Outcome {
            severity: 0.0,
            ts_ms, arrival_ms: ts_ms, row: 1, warming_up: false, score: 0.5, anomaly: false,
            kind: None, forecasts: Vec::new(), odds: Vec::new(), channels: vec![ChannelOutcome { value, mean, sd, score: 0.25, ..ChannelOutcome::unknown(value) }], edge: None,
        };
        let mut text = String::new();
        prediction_json("s", &[name.as_str().into()], &outcome, 7, &mut text);
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        let back = |what: &str| json[format!("{name}.{what}")].as_f64().unwrap();
        prop_assert_eq!(back("value").to_bits(), value.to_bits());
        prop_assert!((back("mean") - mean).abs() <= sd / 100.0, "{}", text);
        prop_assert!((back("sd") - sd).abs() <= sd / 100.0, "{}", text);
        prop_assert_eq!(json["ts"].as_i64(), Some(ts_ms));
    }

    #[test]
    fn readings_split_into_any_groups_with_any_restarts_give_the_same_posterior(
        readings in readings(), cuts in prop::collection::vec((1..9usize, 0..4u8), 120)
    ) {
        let params = params(&[]);
        let (mut whole, mut said) = (streams(&params), Vec::new());
        readings.iter().for_each(|reading| learn(&mut whole, reading, &mut said));
        // The same in groups that went through the journal's codec, with restarts from snapshots
        // in the middle of mini-batches.
        let (mut split, mut said_split) = (streams(&params), Vec::new());
        let (mut rest, mut before) = (&readings[..], 0);
        for (size, luck) in cuts {
            let (group, later) = rest.split_at(size.min(rest.len()));
            rest = later;
            let group: Vec<_> = group
                .iter()
                .map(|reading| JournalEntry { reading: reading.clone(), key: 0 })
                .collect();
            let Some(row) = pack(&group, before) else { break };
            before = row.last_seq;
            for accepted in unpack(&row).unwrap().0 {
                learn(&mut split, &accepted.reading, &mut said_split);
            }
            if luck == 0 {
                for stream in &mut split {
                    *stream = Snapshot::of(stream, &params, 1).open().unwrap();
                }
            }
        }
        prop_assert_eq!(rest.len(), 0);
        for (whole, split) in whole.iter().zip(&split) {
            prop_assert_eq!(digest(whole), digest(split));
            let back: Stream = decode(&encode(split)).unwrap();
            prop_assert_eq!(digest(&back), digest(whole));
        }
        prop_assert_eq!(format!("{said:?}"), format!("{said_split:?}"));
    }
}
