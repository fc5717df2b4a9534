//! Further shapes of recordings, written here: channels, rows and the time that they span.

use std::path::Path;

use serde_json::Value;

use crate::cases::spiked;

/// Rows of a recording.
const ROWS: usize = 48;
const MINUTE_MS: i64 = 60_000;
const HOUR_MS: i64 = 60 * MINUTE_MS;

/// A recording: header, row by its number, and what is right.
struct Shape {
    file: &'static str,
    header: &'static str,
    row: fn(usize) -> String,
    channels: &'static [&'static str],
    rows: usize,
    span_ms: i64,
    said: &'static str,
}

const SPAN: i64 = (ROWS as i64 - 1) * MINUTE_MS;

/// A value that changes from row to row, with two digits.
fn value(i: usize) -> f64 {
    20.0 + ((i * 7) % 11) as f64 / 4.0
}

fn comma(i: usize) -> String {
    format!("{:.2}", value(i)).replace('.', ",")
}

fn clock(i: usize) -> String {
    format!("{:02}:{:02}", i / 60, i % 60)
}

const SHAPES: [Shape; 11] = [
    Shape {
        file: "times_of_day.csv",
        header: "Uhrzeit;temp",
        // Over midnight.
        row: |i| {
            let minute = (23 * 60 + 40 + i) % 1440;
            format!("{:02}:{:02};{}", minute / 60, minute % 60, comma(i))
        },
        channels: &["temp"],
        rows: ROWS,
        span_ms: SPAN,
        said: "times without a date",
    },
    Shape {
        file: "spans.csv",
        header: "Elapsed;temp",
        row: |i| format!("{:02}:30:00;{}", i, comma(i)),
        channels: &["temp"],
        rows: ROWS,
        span_ms: (ROWS as i64 - 1) * HOUR_MS,
        said: "times without a date",
    },
    Shape {
        file: "hour_column.csv",
        header: "Datum;Stunde;Preis",
        row: |i| format!("{:02}.03.2026;{};{}", 1 + i / 24, 1 + i % 24, comma(i)),
        channels: &["Preis"],
        rows: ROWS,
        span_ms: (ROWS as i64 - 1) * HOUR_MS,
        said: "",
    },
    Shape {
        file: "hours_with_a_point.csv",
        header: "Datum;Uhrzeit;Temperatur",
        row: |i| format!("01.03.2026;{};{}", clock(i).replace(':', "."), comma(i)),
        channels: &["Temperatur"],
        rows: ROWS,
        span_ms: SPAN,
        said: "",
    },
    Shape {
        file: "elapsed_seconds.csv",
        header: "elapsed_s,temp",
        row: |i| format!("{:.1},{}", i as f64 * 0.5, value(i)),
        channels: &["temp"],
        rows: ROWS,
        span_ms: (ROWS as i64 - 1) * 500,
        said: "",
    },
    Shape {
        file: "separators_at_the_end.csv",
        header: "time;temp;",
        row: |i| format!("01.03.2026 {};{};;", clock(i), comma(i)),
        channels: &["temp"],
        rows: ROWS,
        span_ms: SPAN,
        said: "",
    },
    Shape {
        file: "tags_of_a_scada.csv",
        header: "\"VarName\";\"TimeString\";\"VarValue\";\"Validity\";\"Time_ms\"",
        row: |i| {
            let at = format!("01.03.2026 {}:00", clock(i));
            let days = 46_082_000_000 + i * 694_444;
            format!(
                "\"Temp\";\"{at}\";{};1;{days}\n\"Druck\";\"{at}\";{};1;{days}",
                comma(i),
                comma(i + 3)
            )
        },
        channels: &["Temp", "Druck"],
        rows: ROWS,
        span_ms: SPAN,
        said: "a line a reading",
    },
    Shape {
        file: "numbered_sensors.csv",
        header: "timestamp,sensor,reading",
        row: |i| {
            let at = |s| format!("2026-03-01 {}:{s:02}", clock(i));
            let (first, second) = (value(i), value(i + 5) + 30.0);
            format!("{},1,{first}\n{},2,{second}", at(7), at(14))
        },
        channels: &["1", "2"],
        rows: 2 * ROWS,
        span_ms: SPAN + 7000,
        said: "a line a reading",
    },
    Shape {
        file: "devices_in_turn.csv",
        header: "ts,device,temp,hum",
        row: |i| {
            let at = |s| format!("2026-03-01 {}:{s:02}", clock(i));
            let line = |s, name| format!("{},{name},{},{}", at(s), value(i), value(i + 2));
            format!("{}\n{}", line(1, "north"), line(2, "south"))
        },
        channels: &["north.temp", "north.hum", "south.temp", "south.hum"],
        rows: 2 * ROWS,
        span_ms: SPAN + 1000,
        said: "a line a reading",
    },
    Shape {
        file: "two_decimal_marks.csv",
        header: "Zeit;Leistung;Energie",
        row: |i| {
            format!(
                "01.03.2026 {};{:.1} W;1 234,{} kWh",
                clock(i),
                value(i),
                i % 10
            )
        },
        channels: &["Leistung", "Energie"],
        rows: ROWS,
        span_ms: SPAN,
        said: "Energie in kWh",
    },
    Shape {
        file: "no_numbers_but_in_one.csv",
        header: "time,temp,note",
        row: |i| format!("2026-03-01 {},{},all is well", clock(i), value(i)),
        channels: &["temp"],
        rows: ROWS,
        span_ms: SPAN,
        said: "left out: note",
    },
];

fn write(folder: &Path, file: &str, text: &str) {
    std::fs::write(folder.join(file), text).expect("written");
}

#[test]
fn further_shapes_are_read_with_their_times() {
    let dir = tempfile::tempdir().expect("a directory");
    for shape in &SHAPES {
        let rows: Vec<String> = (0..ROWS).map(shape.row).collect();
        let text = format!("{}\n{}\n", shape.header, rows.join("\n"));
        write(dir.path(), shape.file, &text);
    }
    let output = spiked()
        .current_dir(dir.path())
        .args(["replay", "--json"])
        .args(SHAPES.iter().map(|shape| shape.file))
        .output()
        .expect("spiked runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let summaries: Vec<Value> = serde_json::from_slice(&output.stdout).expect("a list");
    assert_eq!(summaries.len(), SHAPES.len());
    for (shape, summary) in SHAPES.iter().zip(summaries) {
        let channels = summary["channels"].as_array().expect("channels");
        let channels: Vec<&str> = channels.iter().filter_map(|c| c["name"].as_str()).collect();
        assert_eq!(channels, shape.channels, "{}", shape.file);
        assert_eq!(summary["rows"], shape.rows, "{}", shape.file);
        assert_eq!(summary["span_ms"], shape.span_ms, "{}", shape.file);
        let own: Vec<&str> = said
            .lines()
            .filter(|line| line.starts_with(shape.file))
            .collect();
        let own = own.join("\n");
        assert!(own.contains(shape.said), "{}: {own:?}", shape.file);
        assert!(!own.contains("cannot be read"), "{}: {own:?}", shape.file);
    }
}

#[test]
fn a_file_that_is_no_recording_is_told_what_to_do() {
    let dir = tempfile::tempdir().expect("a directory");
    let days: Vec<String> = (1..20)
        .map(|day| format!("{day:02}.03.2026 10:00"))
        .collect();
    let values: Vec<String> = (1..20).map(|day| format!("{}", value(day))).collect();
    let turned = format!("id,{}\nsensor.a,{}\n", days.join(","), values.join(","));
    let messages =
        r#"{"tst":"2026-03-01T00:00:00Z","topic":"a/b","qos":0,"retain":0,"payload":"1"}"#;
    for (file, text, expected) in [
        ("turned.csv", turned.as_str(), "a row is a channel there"),
        ("lines.jsonl", "{\"time\": 1, \"temp\": 2}\n", "jq -r"),
        ("list.json", "[\n {\"time\": 1, \"temp\": 2}]\n", "jq -r"),
        ("messages.jsonl", messages, "--messages replays them"),
    ] {
        write(dir.path(), file, text);
        let output = spiked()
            .current_dir(dir.path())
            .args(["replay", file])
            .output();
        let output = output.expect("spiked runs");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(!output.status.success(), "{file}");
        assert!(said.contains(expected), "{file}: {said}");
    }
}
