//! Documents of every form, and the readings that they give.

use super::*;
use crate::payload::{Pointer, Template};

fn place(text: &str) -> ValuePlace {
    ValuePlace::new(text).unwrap()
}

fn names(stream: &str, channel: Option<&str>) -> Names {
    let template = |text| Template::new(text, |_| None, |_| None).unwrap();
    Names {
        stream: template(stream),
        channel: channel.map(template),
    }
}

fn read(format: &Format, names: &Names, payload: &str) -> Result<Parsed, Reject> {
    let mut parsed = Parsed::default();
    let scope = Scope {
        names: Some(names),
        ..Scope::default()
    };
    format.read(&scope, payload.as_bytes(), &mut parsed)?;
    Ok(parsed)
}

fn lines(parsed: &Parsed) -> Vec<String> {
    let lines = parsed.found().map(|found| {
        let value = match found.value {
            Measured::Number(x) => x.to_string(),
            Measured::Word(word) => word.to_owned(),
        };
        let ts = found.ts.map_or(String::new(), |ts| format!(" @{}", ts.ms));
        let part = |text: Option<&str>| text.unwrap_or("-").to_owned();
        format!("{} {} {value}{ts}", part(found.stream), part(found.channel))
    });
    lines.collect()
}

#[test]
fn an_object_of_channels_gives_each_of_them() {
    let at = |text| Pointer::new(text).unwrap();
    let format = Format::object(at(""), at("/ts"), TimeUnit::Seconds);
    let payload = r#"{"ts":2,"name":"pump","flow":1.5,"on":true,"bad":"nan","gone":null,
                      "motor":{"temp":60,"ts":3},"relay/0":"1"}"#;
    let mut parsed = Parsed::default();
    format.parse(payload.as_bytes(), &mut parsed).unwrap();
    assert_eq!(parsed.ts_ms(), Some(2000));
    let channels: Vec<(&str, f64)> = parsed.channels().collect();
    let expected = [
        ("flow", 1.5),
        ("on", 1.0),
        ("motor.temp", 60.0),
        ("motor.ts", 3.0),
        ("relay.0", 1.0),
    ];
    assert_eq!(channels, expected);
    assert_eq!(parsed.refused.len(), 1);
    assert_eq!(parsed.refused[0].reason, Reject::NotFinite);
    assert_eq!(parsed.refused[0].detail, "bad");
    let refused = |payload: &[u8]| format.parse(payload, &mut Parsed::default());
    assert_eq!(refused(br#"{"ts":2}"#), Err(Reject::NoValue));
    assert_eq!(refused(b"3"), Err(Reject::Malformed));
}

#[test]
fn a_sensor_that_prints_nan_costs_its_own_value_only() {
    let format = Format::object(Pointer::default(), place("/ts").pointer, TimeUnit::Auto);
    let mut parsed = Parsed::default();
    let payload = br#"{"t":nan,"h":51.5,"v":-Infinity,"x":3}"#;
    format.parse(payload, &mut parsed).unwrap();
    let channels: Vec<(&str, f64)> = parsed.channels().collect();
    assert_eq!(channels, [("h", 51.5), ("x", 3.0)]);
    assert_eq!(parsed.refused.len(), 2);
    let lenient = Format {
        lenient: true,
        ..format
    };
    lenient.parse(payload, &mut parsed).unwrap();
    assert_eq!((parsed.len(), parsed.refused.len()), (2, 0));
}

#[test]
fn an_array_of_samples_gives_each_with_its_time() {
    let at = |text| Pointer::new(text).unwrap();
    let format = Format::object(at("/values"), at("/ts"), TimeUnit::Auto);
    let payload = r#"[{"ts":1772323195000,"values":{"t":22.5}},
                      {"ts":1772323196000,"values":{"t":22.7}}]"#;
    let mut parsed = Parsed::default();
    format.parse(payload.as_bytes(), &mut parsed).unwrap();
    let expected = ["- t 22.5 @1772323195000", "- t 22.7 @1772323196000"];
    assert_eq!(lines(&parsed), expected);
}

#[test]
fn records_name_their_stream_and_channel() {
    let format = Format {
        each: Some(Pointer::new("/values").unwrap()),
        value: place("./v"),
        ts: place("./t"),
        quality: Some(place("./q")),
        good: vec!["192".to_owned(), "GOOD".to_owned()],
        ..Format::default()
    };
    let names = names("{/dev}", Some("{./id}"));
    let payload = r#"{"dev":"D/1","t":5,"values":[
        {"id":"a","v":1,"t":6,"q":192},{"id":"b","v":2,"q":"good"},
        {"id":"c","v":3,"q":0},{"v":4},{"id":"e","v":{"x":1,"y":2}}]}"#;
    let parsed = read(&format, &names, payload).unwrap();
    let expected = [
        "D.1 a 1 @6000",
        "D.1 b 2 @5000",
        "D.1 e.x 1 @5000",
        "D.1 e.y 2 @5000",
    ];
    assert_eq!(lines(&parsed), expected);
    let refused: Vec<_> = parsed
        .refused
        .iter()
        .map(|r| (r.reason, &*r.detail))
        .collect();
    assert_eq!(refused[0], (Reject::BadQuality, "record 2: quality 0"));
    assert_eq!(refused[1].0, Reject::NoChannel);
    assert_eq!(read(&format, &names, r#"{"dev":1}"#), Err(Reject::NoValue));
}

#[test]
fn records_within_records_are_reached_by_a_star() {
    let format = Format {
        each: Some(Pointer::new("/*").unwrap()),
        value: place("./values"),
        ts: place("./ts"),
        ..Format::default()
    };
    let payload = r#"{"A":[{"ts":1,"values":{"t":42}}],"B":[{"ts":2,"values":{"t":43,"h":1}}]}"#;
    let parsed = read(&format, &names("{key1}", None), payload).unwrap();
    assert_eq!(
        lines(&parsed),
        ["A t 42 @1000", "B t 43 @2000", "B h 1 @2000"]
    );
    let format = Format {
        each: Some(Pointer::new("/entries/*/list").unwrap()),
        value: place("./value"),
        ..Format::default()
    };
    let payload = r#"{"entries":[{"alias":"/x/y","list":[{"value":1},{"value":2}]},
                                 {"alias":"z","list":[7]}]}"#;
    let parsed = read(&format, &names("s", Some("{/entries/*/alias}")), payload).unwrap();
    assert_eq!(lines(&parsed), ["- x.y 1", "- x.y 2", "- z 7"]);
}

#[test]
fn channels_are_taken_by_globs_and_sources_of_names_are_none() {
    let format = Format {
        form: Form::Object,
        ts: place("/time"),
        only: vec!["t*".to_owned(), "h".to_owned()],
        ignore: vec!["*.F".to_owned()],
        ..Format::default()
    };
    let names = names("{/model}-{/id}", None);
    let payload = r#"{"time":"2026-03-01 00:00:00","model":"P","id":5,"temp":{"C":1,"F":2},
                      "h":"007","x":3}"#;
    let parsed = read(&format, &names, payload).unwrap();
    let expected = ["P-5 temp.C 1 @1772323200000", "P-5 h 7 @1772323200000"];
    assert_eq!(lines(&parsed), expected);
    let all = Format {
        only: vec![],
        ..format
    };
    let parsed = read(&all, &names, payload).unwrap();
    assert_eq!(lines(&parsed).len(), 2, "{:?}", lines(&parsed));
}
