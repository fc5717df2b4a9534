//! One short recording of each form through `spiked replay`.

use std::path::Path;
use std::process::{Command, Output};

use serde_json::Value;

/// A recording: its file, the channels, rows and readings that are right, and what is said of it.
struct Case {
    file: &'static str,
    channels: &'static [&'static str],
    rows: u64,
    readings: u64,
    said: &'static str,
}

const WEATHER: &[&str] = &["temp", "pres", "hum"];

const CASES: [Case; 15] = [
    Case {
        file: "long.csv",
        channels: WEATHER,
        rows: 60,
        readings: 180,
        said: "a line a reading",
    },
    Case {
        file: "sep_line.csv",
        channels: WEATHER,
        rows: 60,
        readings: 180,
        said: "names the separator",
    },
    Case {
        file: "toa5.dat",
        channels: &["AirTemp_C", "RH"],
        rows: 60,
        readings: 118,
        said: "RECORD (row numbers)",
    },
    Case {
        file: "influx_annotated.csv",
        channels: &["temperature", "pressure", "humidity"],
        rows: 60,
        readings: 180,
        said: "annotated CSV",
    },
    Case {
        file: "no_header.csv",
        channels: &["2", "3", "4", "5", "6"],
        rows: 60,
        readings: 180,
        said: "no header",
    },
    Case {
        file: "utf16.csv",
        channels: &["Temperatur [°C]", "Druck [hPa]"],
        rows: 60,
        readings: 120,
        said: "UTF-16LE",
    },
    Case {
        file: "gzip.csv.gz",
        channels: WEATHER,
        rows: 60,
        readings: 180,
        said: "gzip",
    },
    Case {
        file: "air_quality.csv",
        channels: &[
            "CO(GT)",
            "PT08.S1(CO)",
            "NMHC(GT)",
            "C6H6(GT)",
            "PT08.S2(NMHC)",
            "NOx(GT)",
            "PT08.S3(NOx)",
            "NO2(GT)",
            "PT08.S4(NO2)",
            "PT08.S5(O3)",
            "T",
            "RH",
            "AH",
        ],
        rows: 48,
        readings: 624,
        said: "",
    },
    Case {
        file: "hour_without_zero.csv",
        channels: &["temp"],
        rows: 72,
        readings: 72,
        said: "",
    },
    Case {
        file: "utc_in_words.csv",
        channels: &["temp"],
        rows: 60,
        readings: 60,
        said: "",
    },
    Case {
        file: "comment_within.csv",
        channels: WEATHER,
        rows: 60,
        readings: 180,
        said: "",
    },
    Case {
        file: "line_without_time.csv",
        channels: WEATHER,
        rows: 60,
        readings: 180,
        said: "1 lines left out",
    },
    Case {
        file: "blank_line.csv",
        channels: WEATHER,
        rows: 25,
        readings: 75,
        said: "",
    },
    Case {
        file: "units_in_cells.csv",
        channels: &["temp", "hum"],
        rows: 60,
        readings: 120,
        said: "temp in °C",
    },
    Case {
        file: "commas_in_cells.csv",
        channels: &["temp", "hum"],
        rows: 60,
        readings: 120,
        said: "decimal comma",
    },
];

fn folder() -> &'static Path {
    Path::new(concat!(
        env!("CARGO_MANIFEST_DIR"),
        "/tests/data/recordings"
    ))
}

/// The program, without the variables of tests: they are no settings.
pub fn spiked() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_spiked"));
    let variables = std::env::vars().map(|(name, _)| name);
    for name in variables.filter(|name| name.starts_with("SPIKED_")) {
        command.env_remove(name);
    }
    command
}

/// True where `tool` is installed. A missing one fails the test, unless `SPIKED_SKIP_TOOLS=1`.
pub fn has(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let found = std::env::split_paths(&path).any(|place| place.join(tool).exists());
    let skip = std::env::var("SPIKED_SKIP_TOOLS").is_ok_and(|x| x == "1");
    assert!(
        found || skip,
        "{tool} is not installed: tests/run installs it"
    );
    found
}

fn replay(args: &[&str]) -> Output {
    spiked()
        .current_dir(folder())
        .args(["replay", "--json"])
        .args(args)
        .output()
        .expect("spiked runs")
}

fn summaries(output: &Output) -> Vec<Value> {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("a list")
}

#[test]
fn a_recording_of_each_form_is_read_rightly() {
    let files: Vec<&str> = CASES.iter().map(|case| case.file).collect();
    let output = replay(&files);
    let said = String::from_utf8_lossy(&output.stderr);
    for (case, summary) in CASES.iter().zip(summaries(&output)) {
        let channels = summary["channels"].as_array().expect("channels");
        let channels: Vec<&str> = channels.iter().filter_map(|c| c["name"].as_str()).collect();
        assert_eq!(channels, case.channels, "{}", case.file);
        assert_eq!(summary["rows"], case.rows, "{}", case.file);
        assert_eq!(summary["readings"], case.readings, "{}", case.file);
        let own: String = said
            .lines()
            .filter(|line| line.starts_with(case.file))
            .collect();
        assert!(own.contains(case.said), "{}: {own:?}", case.file);
        assert!(!own.contains("no time column"), "{}: {own:?}", case.file);
    }
}

#[test]
fn times_come_out_as_they_went_in() {
    let dir = tempfile::tempdir().expect("a directory");
    let out = dir.path().to_str().expect("UTF-8");
    let files = [
        "air_quality.csv",
        "hour_without_zero.csv",
        "total_at_the_end.csv",
    ];
    let output = replay(&[&["--out", out], &files[..]].concat());
    summaries(&output);
    let first = |file: &str| {
        let text = std::fs::read_to_string(dir.path().join(file)).expect("an output");
        text.lines()
            .nth(1)
            .expect("a row")
            .split(',')
            .next()
            .unwrap_or_default()
            .to_owned()
    };
    assert_eq!(first(files[0]), "10/03/2004 18.00.00");
    assert_eq!(first(files[1]), "01/03/2026 0:00:00");
}

#[test]
fn a_pattern_reads_hours_without_a_zero_as_well() {
    let output = replay(&[
        "--time-format",
        "%d/%m/%Y %H:%M:%S",
        "hour_without_zero.csv",
    ]);
    assert_eq!(summaries(&output)[0]["rows"], 72);
    let wrong = replay(&["--time-format", "%d/%m/%Y", "hour_without_zero.csv"]);
    let said = String::from_utf8_lossy(&wrong.stderr);
    assert!(
        !wrong.status.success() && said.contains("\"Time\""),
        "{said}"
    );
}

#[test]
fn recorded_messages_keep_blanks_in_topics_and_leave_retained_ones_out() {
    let dir = tempfile::tempdir().expect("a directory");
    let config = dir.path().join("c.toml");
    std::fs::write(&config, "[[input]]\ntopic = \"plant/{stream}/{channel}\"\n").expect("written");
    let config = config.to_str().expect("UTF-8");
    let blanks = replay(&["--messages", "--config", config, "messages_with_blanks.log"]);
    let streams: Vec<Value> = summaries(&blanks)
        .iter()
        .map(|s| s["stream"].clone())
        .collect();
    assert_eq!(streams, ["boiler", "old pump"]);
    let line = |at: u32, topic: &str, retain: u8, payload: &str| {
        format!(
            "{{\"tst\":\"2026-03-01T00:00:{at:02}.000000Z+0000\",\"topic\":\"{topic}\",\"qos\":0,\
             \"retain\":{retain},\"payloadlen\":{},\"payload\":\"{payload}\"}}\n",
            payload.len()
        )
    };
    let mut text = line(0, "plant/old pump/flow", 1, "999");
    (1..40).for_each(|at| text += &line(at, "plant/old pump/flow", 0, "80.5"));
    let json = dir.path().join("m.jsonl");
    std::fs::write(&json, text).expect("written");
    let output = replay(&[
        "--messages",
        "--config",
        config,
        json.to_str().expect("UTF-8"),
    ]);
    let all = summaries(&output);
    assert_eq!((all.len(), &all[0]["readings"]), (1, &Value::from(39)));
    assert!(String::from_utf8_lossy(&output.stderr).contains("retained"));
}

#[test]
fn settings_can_be_given_one_by_one() {
    let good = replay(&["--set", "detect.warm_up_rows=30", "gzip.csv.gz"]);
    assert_eq!(summaries(&good)[0]["rows"], 60);
    let wrong = replay(&["--set", "detect.no_such_key=1", "gzip.csv.gz"]);
    assert_eq!(wrong.status.code(), Some(64));
}
