//! Messages of real kinds of devices and reported problems, from the bytes to the readings.
//!
//! Each file of `tests/data/payloads` holds the `[[input]]` tables for one kind of device, as
//! `config/inputs` shows them, with messages and the readings that they give. Each file of
//! `tests/data/cases` holds a problem that users met, with the right answer.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use spiked::config;
use spiked::decode::{Decoder, InboundMessage, Refusals};
use spiked::row::Reading;

/// Arrival of a message that names none: 2026-03-01T00:00:00Z.
const ARRIVAL_MS: i64 = 1_772_323_200_000;

#[derive(Deserialize)]
struct File {
    message: Vec<Sent>,
    #[serde(default)]
    refused: Vec<Expected>,
}

#[derive(Deserialize)]
struct Sent {
    topic: String,
    #[serde(default)]
    payload: String,
    /// The payload as hexadecimal, where it is binary.
    hex: Option<String>,
    arrival: Option<i64>,
    /// Stream, channel, value and, where it is not the arrival, the timestamp of each reading.
    #[serde(default)]
    gives: Vec<String>,
    /// The message may be refused.
    #[serde(default)]
    refused: bool,
}

#[derive(Deserialize)]
struct Expected {
    reason: String,
    count: u64,
    says: Vec<String>,
}

fn folder(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(name)
}

fn files(name: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(folder(name))
        .expect("a folder")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|end| end == "toml"))
        .collect();
    files.sort();
    files
}

/// The tables that make the configuration: all but messages and what is expected of them.
fn configuration(text: &str) -> toml::Table {
    let mut table: toml::Table = text.parse().expect("TOML");
    table.remove("message");
    table.remove("refused");
    table
}

fn decoder(settings: &toml::Table) -> Decoder {
    let file = tempfile::NamedTempFile::new().expect("a file");
    std::fs::write(file.path(), settings.to_string()).expect("written");
    let settings = config::load(Some(file.path()), &[]).unwrap_or_else(|e| panic!("{e}"));
    settings.decoder(0)
}

fn bytes(hex: &str) -> Vec<u8> {
    let pairs = hex.as_bytes().chunks(2);
    let digits = pairs.map(|pair| std::str::from_utf8(pair).expect("digits"));
    digits
        .map(|pair| u8::from_str_radix(pair, 16).expect("a byte"))
        .collect()
}

fn shown(reading: &Reading) -> String {
    let Reading {
        stream,
        channel,
        value,
        ts_ms,
        arrival_ms,
        ..
    } = reading;
    match ts_ms == arrival_ms {
        true => format!("{stream} {channel} {value}"),
        false => format!("{stream} {channel} {value} @{ts_ms}"),
    }
}

/// A timestamp that is the arrival is not shown.
fn wanted(line: &str, arrival_ms: i64) -> String {
    line.strip_suffix(&format!(" @{arrival_ms}"))
        .unwrap_or(line)
        .to_owned()
}

/// Refusals by reason: how many, and the lines that explain them.
type Refused = BTreeMap<&'static str, (u64, Vec<String>)>;

/// Reads the messages of a file; returns what is wrong with their readings, and the refusals.
fn read_all(path: &Path) -> (Vec<String>, Refused) {
    let text = std::fs::read_to_string(path).expect("text");
    let file: File = toml::from_str(&text).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let mut decoder = decoder(&configuration(&text));
    let (mut wrong, mut refusals, mut readings) = (Vec::new(), Refusals::default(), Vec::new());
    for sent in &file.message {
        let arrival_ms = sent.arrival.unwrap_or(ARRIVAL_MS);
        let payload = match &sent.hex {
            Some(hex) => bytes(hex),
            None => sent.payload.clone().into_bytes(),
        };
        let message = InboundMessage {
            topic: &sent.topic,
            payload: &payload,
            arrival_ms,
            ..InboundMessage::default()
        };
        let whole = decoder.read(message, &mut readings).err();
        let parts: Vec<_> = decoder.refused().collect();
        let parts = parts.iter().map(|part| (part.reason, Some(&*part.detail)));
        for (reason, detail) in parts.chain(whole.map(|reason| (reason, None))) {
            let explain = || decoder.explain(reason, detail, &message);
            refusals.note(reason, &sent.topic, 0, explain);
        }
        let got: Vec<String> = readings.drain(..).map(|reading| shown(&reading)).collect();
        let gives: Vec<String> = sent
            .gives
            .iter()
            .map(|line| wanted(line, arrival_ms))
            .collect();
        if got != gives && !(sent.refused && got.is_empty()) {
            let name = path.file_name().expect("a name").to_string_lossy();
            wrong.push(format!(
                "{name}: {} gave {got:?}, wanted {gives:?}",
                sent.topic
            ));
        }
    }
    let mut refused = Refused::new();
    for topic in refusals.list() {
        let entry = refused.entry(topic.last.reason.as_str()).or_default();
        entry.0 += topic.count;
        entry.1.push(topic.last.line());
    }
    (wrong, refused)
}

#[test]
fn twenty_eight_kinds_of_devices_are_read_by_configuration_alone() {
    let mut wrong = Vec::new();
    let files = files("tests/data/payloads");
    for path in &files {
        wrong.extend(read_all(path).0);
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(files.len() >= 28, "{} kinds", files.len());
}

#[test]
fn the_samples_to_copy_are_those_that_are_tested() {
    let samples = files("config/inputs");
    assert!(samples.len() >= 28, "{} samples", samples.len());
    for path in samples {
        let name = path.file_name().expect("a name");
        let tested = folder("tests/data/payloads").join(name);
        let read = |path: &Path| {
            std::fs::read_to_string(path).unwrap_or_else(|e| panic!("{}: {e}", path.display()))
        };
        assert_eq!(
            configuration(&read(&path)),
            configuration(&read(&tested)),
            "{}",
            name.display()
        );
    }
}

#[test]
fn reported_problems_give_the_right_readings_and_say_what_to_change() {
    for path in files("tests/data/cases") {
        let name = path.file_name().expect("a name").display().to_string();
        let (wrong, mut refused) = read_all(&path);
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
        let text = std::fs::read_to_string(&path).expect("text");
        let file: File = toml::from_str(&text).expect("TOML");
        for expected in &file.refused {
            let (count, lines) = refused
                .remove(expected.reason.as_str())
                .unwrap_or_else(|| panic!("{name}: nothing refused as {}", expected.reason));
            assert_eq!(count, expected.count, "{name}: {}", expected.reason);
            let text = lines.join("\n");
            for part in &expected.says {
                assert!(text.contains(part), "{name}: {part:?} is not in\n{text}");
            }
        }
        assert!(refused.is_empty(), "{name}: {refused:?}");
    }
}

/// One wrong message: the input's settings, topic, payload, milliseconds before its arrival for
/// `{ts}` in the payload, and words that its line must have.
type Wrong = (
    &'static str,
    &'static str,
    &'static str,
    &'static [&'static str],
);

const PLAIN: &str = "topic = \"plant/{stream}/{channel}\"";
const OBJECT: &str = "topic = \"plant/{stream}\"\npayload = \"object\"";

/// Messages that strangers send on their first day.
const WRONG: [Wrong; 24] = [
    (
        PLAIN,
        "plant/a/x",
        r#"{"temp": 21.5}"#,
        &["no_value", "value = \"/temp\""],
    ),
    (
        PLAIN,
        "plant/a/x",
        r#"{"temp": 21.5, "hum": 40}"#,
        &["payload = \"object\"", "/temp"],
    ),
    (
        PLAIN,
        "plant/a/x",
        r#"[{"id": "a", "v": 1}]"#,
        &["each = \"\""],
    ),
    (
        PLAIN,
        "plant/a/x",
        "21,5",
        &["malformed", "numbers = \"lenient\""],
    ),
    (
        PLAIN,
        "plant/a/x",
        "ON",
        &["[[channel]]", "states = [\"ON\""],
    ),
    (
        PLAIN,
        "plant/a/x",
        "nan",
        &["not_finite", "numbers = \"lenient\""],
    ),
    (PLAIN, "plant/a/x", "", &["empty", "deletes a retained one"]),
    (
        PLAIN,
        "plant/a/x",
        "a;1.5;2.5;b",
        &["payload = \"csv\"", "separator = \";\""],
    ),
    (
        PLAIN,
        "plant/a/x",
        "cpu,host=a load=0.5",
        &["payload = \"influx\""],
    ),
    (PLAIN, "plant/a/x", "{'value': 21.5}", &["double quotes"]),
    (
        PLAIN,
        "plant/a/x",
        r#"{"value": 21.5"#,
        &["malformed", "EOF", "cut short"],
    ),
    (PLAIN, "plant/a/x", "\u{1}\u{2}x", &["\\u{1}\\u{2}x"]),
    (
        PLAIN,
        "plant/a/x",
        r#"{"value": 1, "ts": "01/02/2026 10:00"}"#,
        &["ts_format", "two ways"],
    ),
    (
        PLAIN,
        "plant/a/x",
        r#"{"value": 1, "ts": "yesterday"}"#,
        &["bad_timestamp", "ts_format"],
    ),
    (
        PLAIN,
        "plant/a/x",
        r#"{"value": 1, "ts": "2026-03-01T01:00:00"}"#,
        &["future", "Europe/Berlin"],
    ),
    (
        "topic = \"plant/{stream}/{channel}\"\nts_unit = \"s\"",
        "plant/a/x",
        r#"{"value": 1, "ts": 1772323200000}"#,
        &["bad_timestamp", "ts_unit = \"ms\""],
    ),
    (PLAIN, "plant/a", "1", &["no_route", "plant/+/+"]),
    (PLAIN, "plant/a/", "1", &["no_channel", "{channel}"]),
    (PLAIN, "plant//x", "1", &["bad_name", "1 to 200 bytes"]),
    (OBJECT, "plant/a", "21.5", &["plain number", "{channel}"]),
    (
        OBJECT,
        "plant/a",
        r#"{"name": "pump"}"#,
        &["no_value", "no number"],
    ),
    (
        OBJECT,
        "plant/a",
        r#"{"t": 1e400}"#,
        &["not_finite", "numbers = \"lenient\""],
    ),
    (
        "topic = \"plant/{stream}\"\neach = \"/values\"\nquality = \"./q\"\nvalue = \"./v\"",
        "plant/a",
        r#"{"values": [{"v": 1, "q": "BAD"}]}"#,
        &["bad_quality", "quality BAD", "good = ["],
    ),
    (
        "topic = \"plant/#\"\nstream = \"{/id}\"\npayload = \"object\"",
        "plant/a",
        r#"{"t": 1}"#,
        &["bad_name", "{/id}"],
    ),
];

#[test]
fn wrong_messages_get_a_line_that_says_what_to_change() {
    for (settings, topic, payload, says) in WRONG {
        let settings: toml::Table = format!("[[input]]\n{settings}").parse().expect("TOML");
        let mut decoder = decoder(&settings);
        let message = InboundMessage {
            topic,
            payload: payload.as_bytes(),
            arrival_ms: ARRIVAL_MS,
            ..InboundMessage::default()
        };
        let mut readings = Vec::new();
        let whole = decoder.read(message, &mut readings).err();
        assert!(readings.is_empty(), "{payload}: {readings:?}");
        let part = decoder.refused().next();
        let line = match (whole, part) {
            (Some(reason), _) => decoder.explain(reason, None, &message),
            (None, Some(part)) => decoder.explain(part.reason, Some(&part.detail), &message),
            (None, None) => panic!("{payload} is not refused"),
        }
        .line();
        for part in says {
            assert!(line.contains(part), "{part:?} is not in: {line}");
        }
        assert!(line.contains(topic), "{line}");
    }
}

#[test]
fn a_user_property_is_the_timestamp_where_the_payload_has_none() {
    let settings: toml::Table = format!("[[input]]\n{PLAIN}").parse().expect("TOML");
    let mut decoder = decoder(&settings);
    let properties = [("ts".to_owned(), "2026-02-28T23:59:58Z".to_owned())];
    let mut readings = Vec::new();
    for payload in [
        "21.5",
        r#"{"value": 21.5}"#,
        r#"{"value": 21.5, "ts": 1772323199000}"#,
    ] {
        let message = InboundMessage {
            topic: "plant/a/x",
            payload: payload.as_bytes(),
            arrival_ms: ARRIVAL_MS,
            properties: &properties,
            ..InboundMessage::default()
        };
        decoder.read(message, &mut readings).expect("read");
    }
    let before: Vec<i64> = readings.iter().map(|r| ARRIVAL_MS - r.ts_ms).collect();
    assert_eq!(before, [2000, 2000, 1000]);
}

#[test]
fn a_check_of_the_configuration_names_what_is_hardly_meant() {
    let warnings = |text: &str| {
        let settings = config::from_text(text).unwrap_or_else(|e| panic!("{e}"));
        settings.warnings().join("\n")
    };
    let input = |topic: &str| format!("[[input]]\ntopic = \"{topic}\"\n");
    let two = input("plant/#").replace("#\"", "#\"\nstream = \"s\"\nchannel = \"c\"")
        + &input("plant/{stream}/{channel}");
    for (text, says) in [
        (
            two,
            "input[1].topic: plant/+/+ is never reached, since input[0]",
        ),
        (
            input("spiked/{stream}/{name}/{channel}"),
            "our own outputs below spiked/main/",
        ),
        (
            input("$share/g/plant/{stream}/{channel}"),
            "members of the group g",
        ),
        (
            input("plant/{hall}/{stream}/{channel}"),
            "{hall} is in no name",
        ),
        ("[mqtt]\n".to_owned(), "there is no [[input]]"),
    ] {
        let said = warnings(&text);
        assert!(said.contains(says), "{text}: {said}");
    }
    assert_eq!(warnings(&input("plant/{stream}/{channel}")), "");
    let errors = |text: &str| match config::from_text(text) {
        Ok(_) => panic!("{text} is accepted"),
        Err(error) => error.to_string(),
    };
    for (text, says) in [
        (
            "[mqtt]\nurl = \"tcp://broker:1883\"",
            "here mqtt://broker:1883",
        ),
        ("[mqtt]\nurl = \"ws://broker\"", "WebSockets"),
        ("[mqtt]\nclientid = \"x\"", "did you mean client_id?"),
        ("[outputs]\nprefix = \"x\"", "did you mean output?"),
        (
            "[log]\nlevel = \"verbose\"",
            "error, warn, info, debug, trace",
        ),
        ("[[input]]\ntopic = \"$share/plant\"", "$share/GROUP/"),
        (
            "[[input]]\ntopic = \"$queue/plant/{stream}/{channel}\"",
            "$share/GROUP/",
        ),
        (
            "[[input]]\ntopic = \"plant/{stream}\"\nchannel = \"{hal}\"",
            "{hal} is no level",
        ),
        ("[[input]]\ntimezone = \"Berlin\"", "Europe/Berlin"),
        ("[[input]]\nts_format = \"dd.mm.yyyy\"", "strftime"),
    ] {
        let said = errors(text);
        assert!(said.contains(says), "{text}: {said}");
    }
}
