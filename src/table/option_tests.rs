//! Options that override what is found, names, and files without numbers.

use super::fixture::{ISO, NAMES, START_MS, at, check, long, plain, read, read_text, refusal};
use super::*;
use crate::engine::{EngineSettings, Plan, Rule, Values};

#[test]
fn an_option_overrides_everything_that_is_found() {
    let options = |change: fn(&mut TableOptions)| {
        let mut options = TableOptions::default();
        change(&mut options);
        options
    };
    let by_sensor = long("time,sensor,value", |i, name, x| {
        format!("{},{name},{x}", at(i, ISO, "UTC"))
    });
    let wide = options(|o| o.shape = TableShape::Wide);
    assert_eq!(
        read(by_sensor.as_bytes(), &wide).unwrap().channels,
        ["value"]
    );
    let named = options(|o| {
        o.shape = TableShape::Long {
            names: vec!["b".into()],
            value: "c".into(),
        }
    });
    let text = by_sensor.replace("time,sensor,value", "a,b,c");
    check(&read(text.as_bytes(), &named).unwrap(), NAMES);
    let headless = options(|o| o.layout.header = Header::None);
    assert_eq!(
        read(plain().as_bytes(), &headless).unwrap().channels,
        ["2", "3", "4"]
    );
    let comma = options(|o| o.layout.decimal = Some(Decimal::Comma));
    let thousand = read(b"t;a\n1772323200;1.234\n1772323260;2.345\n", &comma).unwrap();
    assert_eq!(thousand.rows[0].1, [1234.0]);
    let zone = options(|o| o.timezone = jiff::tz::TimeZone::get("Europe/Berlin").ok());
    let read = read(plain().as_bytes(), &zone).unwrap();
    assert_eq!(read.rows[0].0, START_MS - 3_600_000);
    let unknown = options(|o| o.ignore = vec!["anomaly".into()]);
    let error = refusal("t,a\n0,1\n", &unknown);
    assert!(
        error.contains("\"anomaly\"") && error.contains("t, a"),
        "{error}"
    );
}

#[test]
fn names_that_come_again_are_numbered_and_small_numbers_named_t_are_no_times() {
    let read = read_text("time,a,a\n1772323200,2,3\n1772323260,4,5\n");
    assert_eq!(read.channels, ["a", "a (2)"]);
    let read = read_text("T,RH\n20.5,50\n21.5,51\n20.0,52\n22.0,50\n");
    assert_eq!(read.channels, ["T", "RH"]);
}

#[test]
fn a_file_without_numbers_is_refused() {
    let error = refusal(
        "t,a\n1772323200,\n1772323201,n/a\n",
        &TableOptions::default(),
    );
    assert!(error.contains("no column of numbers"), "{error}");
    for text in ["", "\n\n", "time,a\n"] {
        assert!(
            refusal(text, &TableOptions::default()).contains("no rows"),
            "{text:?}"
        );
    }
}

#[test]
fn texts_that_name_states_are_read_also_where_they_are_a_word_for_none() {
    let states = vec!["none".to_owned(), "leak".to_owned()];
    let rule = Rule {
        stream: "*".into(),
        channel: "fault".into(),
        plan: Plan {
            values: Values::states(&states).unwrap(),
            ..Plan::default()
        },
    };
    let settings = EngineSettings {
        channels: vec![rule],
        ..EngineSettings::default()
    };
    let options = TableOptions {
        states: Some((EngineParams::new(settings).unwrap(), "s".into())),
        ..TableOptions::default()
    };
    let text = "ts,fault,other\n1,none,none\n2,leak,1\n3,burst,2\n4,,3\n5,1,4\n";
    let read = read(text.as_bytes(), &options).unwrap();
    assert_eq!(read.channels, ["fault", "other"]);
    let faults: Vec<f64> = read.rows.iter().map(|row| row.1[0]).collect();
    assert_eq!(faults[..2], [0.0, 1.0]);
    assert!(faults[2].is_nan() && faults[3].is_nan() && read.rows[0].1[1].is_nan());
    assert_eq!(faults[4], 1.0);
}

#[test]
fn a_table_of_thousands_of_columns_of_texts_is_refused() {
    let line = |of: fn(usize) -> String| (0..3000).map(of).collect::<Vec<_>>().join(",") + "\n";
    let text = line(|i| format!("c{i}")) + &line(|i| format!("x{i}")).repeat(3);
    let error = refusal(&text, &TableOptions::default());
    assert!(error.contains("no column of numbers"), "{error:.200}");
}
