//! Proposals for topics of no known convention: by their depth and the shape of their payloads.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{ProposedInput, Topic};
use crate::payload::{TimeUnit, has_pairs, parse_line_protocol};
use crate::time::parse_moment;

/// Names of members that are times, as devices have them.
const TIMES: [&str; 16] = [
    "ts",
    "timestamp",
    "time",
    "Time",
    "Timestamp",
    "timestamp_ms",
    "dateTime",
    "datetime",
    "received_at",
    "last_seen",
    "t",
    "date",
    "utc",
    "epoch",
    "measured_at",
    "created_at",
];
/// Names of members that name a record.
const IDS: [&str; 8] = [
    "name", "id", "n", "tag", "key", "channel", "sensor", "metric",
];
/// Names of members that are a record's value.
const VALUES: [&str; 5] = ["value", "v", "val", "data", "Value"];
/// A time that is one lies within a year of its arrival, milliseconds.
const YEAR_MS: i64 = 31_557_600_000;

/// The shape of a payload, as far as an input has to know it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum PayloadShape {
    Number,
    /// A document with one value.
    Value {
        ts: String,
    },
    Object {
        ts: String,
    },
    /// A list of records at a pointer, with pointers to name, value and time of each.
    Records {
        each: String,
        id: String,
        value: String,
        ts: String,
    },
    LineProtocol,
    /// Names and values in a text.
    Pairs,
}

/// Groups the topics by first level, depth and shape. Returns a proposal for each group, and the
/// topics without anything to learn.
pub fn propose<'a>(topics: &[&'a Topic<'a>]) -> (Vec<ProposedInput>, Vec<&'a str>) {
    let mut groups = Groups::new();
    let mut left = Vec::new();
    for topic in topics {
        let levels = topic.levels();
        match shape(topic) {
            Some(shape) => {
                let key = (levels[0].to_owned(), levels.len(), shape);
                groups.entry(key).or_default().push(topic);
            }
            None => left.push(topic.name),
        }
    }
    merge_values(&mut groups);
    let mut by_place: BTreeMap<(String, usize), Vec<TopicGroup<'_>>> = BTreeMap::new();
    for ((first, depth, shape), topics) in groups {
        by_place
            .entry((first, depth))
            .or_default()
            .push((shape, topics));
    }
    let mut proposals = Vec::new();
    for ((first, depth), mut shapes) in by_place {
        // One input takes all topics of a depth: the largest group's. Those of the others are named.
        shapes.sort_by_key(|(_, topics)| topics.len());
        let general = shapes.pop();
        for (shape, topics) in shapes {
            let mut lasts: Vec<&str> = topics
                .iter()
                .filter_map(|topic| topic.name.rsplit('/').next())
                .collect();
            lasts.sort_unstable();
            lasts.dedup();
            let tables = lasts
                .iter()
                .map(|last| tables(&first, depth, &shape, Some(last)));
            proposals.push(proposal(
                &shape,
                tables.collect::<Vec<_>>().join("\n"),
                &topics,
            ));
        }
        if let Some((shape, topics)) = general {
            let tables = tables(&first, depth, &shape, None);
            proposals.push(proposal(&shape, tables, &topics));
        }
    }
    (proposals, left)
}

fn proposal(shape: &PayloadShape, tables: String, topics: &[&Topic<'_>]) -> ProposedInput {
    ProposedInput {
        name: shape.name().to_owned(),
        tables,
        topics: topics.iter().map(|topic| topic.name.to_owned()).collect(),
    }
}

/// Topics of one shape.
type TopicGroup<'a> = (PayloadShape, Vec<&'a Topic<'a>>);

/// Groups of one first level, depth and shape.
type Groups<'a> = BTreeMap<(String, usize, PayloadShape), Vec<&'a Topic<'a>>>;

/// Plain numbers and documents with a value are read by one input.
fn merge_values(groups: &mut Groups<'_>) {
    let values: Vec<_> = groups
        .keys()
        .filter(|(_, _, shape)| matches!(shape, PayloadShape::Value { .. }))
        .cloned()
        .collect();
    for key in values {
        let number = (key.0.clone(), key.1, PayloadShape::Number);
        if let Some(topics) = groups.remove(&number) {
            groups.entry(key).or_default().extend(topics);
        }
    }
}

impl PayloadShape {
    fn name(&self) -> &'static str {
        match self {
            PayloadShape::Number => "Plain numbers",
            PayloadShape::Value { .. } => "JSON with a value",
            PayloadShape::Object { .. } => "JSON objects",
            PayloadShape::Records { .. } => "JSON lists of records",
            PayloadShape::LineProtocol => "Line protocol",
            PayloadShape::Pairs => "Names and values in a text",
        }
    }
}

fn shape(topic: &Topic<'_>) -> Option<PayloadShape> {
    let text = topic.text();
    if text.starts_with(['{', '[']) {
        return of_json(&topic.json(), topic.arrival_ms());
    }
    let number = text.split_whitespace().next().unwrap_or_default();
    if number.parse::<f64>().is_ok_and(f64::is_finite) {
        return Some(PayloadShape::Number);
    }
    match parse_line_protocol(text) {
        Ok(_) => Some(PayloadShape::LineProtocol),
        Err(_) => has_pairs(text).then_some(PayloadShape::Pairs),
    }
}

fn of_json(document: &Value, arrival_ms: i64) -> Option<PayloadShape> {
    let ts = |record: &Value, dot: &str| {
        let name = TIMES
            .iter()
            .find(|name| is_time(&record[**name], arrival_ms));
        name.map_or(String::new(), |name| format!("{dot}/{name}"))
    };
    if let Some((each, records)) = list_of_records(document, "") {
        let first = &records[0];
        let has = |names: &[&str], fits: fn(&Value) -> bool| {
            let found = names.iter().find(|name| fits(&first[**name]));
            found.map(|name| format!("./{name}"))
        };
        let id = has(&IDS, |value| value.is_string() || value.is_number());
        let value = has(&VALUES, |value| is_value(value) || value.is_object());
        let own = ts(first, ".");
        let ts = if own.is_empty() {
            ts(document, "")
        } else {
            own
        };
        if let (Some(id), Some(value)) = (id, value) {
            return Some(PayloadShape::Records {
                each,
                id,
                value,
                ts,
            });
        }
        return None;
    }
    let ts = ts(document, "");
    let others = |members: &serde_json::Map<String, Value>| {
        let named = members.iter().filter(|(name, _)| format!("/{name}") != ts);
        named.filter(|(_, value)| has_number(value)).count()
    };
    let members = document.as_object()?;
    match (is_value(&document["value"]), others(members)) {
        (_, 0) => None,
        (true, 1) => Some(PayloadShape::Value { ts }),
        _ => Some(PayloadShape::Object { ts }),
    }
}

fn is_value(value: &Value) -> bool {
    value.is_number() || value.is_boolean()
}

fn has_number(value: &Value) -> bool {
    match value {
        Value::Object(members) => members.values().any(has_number),
        Value::String(text) => text.parse::<f64>().is_ok(),
        value => is_value(value),
    }
}

fn is_time(value: &Value, arrival_ms: i64) -> bool {
    let ms = match value {
        Value::Number(n) => n.as_f64().and_then(|n| TimeUnit::Auto.fractional(n)),
        Value::String(text) => parse_moment(text).and_then(|moment| moment.utc_ms()),
        _ => None,
    };
    ms.is_some_and(|ms| (ms - arrival_ms).abs() < YEAR_MS)
}

/// The first list of objects, with its pointer.
fn list_of_records<'a>(value: &'a Value, at: &str) -> Option<(String, &'a Vec<Value>)> {
    match value {
        Value::Array(items) if items.first().is_some_and(Value::is_object) => {
            Some((at.to_owned(), items))
        }
        Value::Object(members) => members.iter().find_map(|(name, inner)| {
            let name = name.replace('~', "~0").replace('/', "~1");
            list_of_records(inner, &format!("{at}/{name}"))
        }),
        _ => None,
    }
}

/// The tables for one group: of its levels all behind the first name the stream, but for the last
/// where that names the channel. `last` is the last level where it is a word.
fn tables(first: &str, depth: usize, shape: &PayloadShape, last: Option<&str>) -> String {
    let last = last.filter(|_| depth > 1);
    let topic_names_channel = matches!(shape, PayloadShape::Number | PayloadShape::Value { .. });
    let open = depth - usize::from(last.is_some());
    let inner: Vec<String> = (2..=open).map(|level| format!("level{level}")).collect();
    let (of_stream, channel) = match (topic_names_channel, inner.split_last()) {
        (true, Some((name, others))) if last.is_none() => (others.to_vec(), Some(name.clone())),
        (true, Some(_)) => (inner.clone(), None),
        (true, None) => (Vec::new(), None),
        (false, _) => (inner.clone(), None),
    };
    let mut levels = vec![first.to_owned()];
    levels.extend(inner.iter().map(|name| match name {
        name if Some(name) == channel.as_ref() => "{channel}".to_owned(),
        name if of_stream.len() == 1 && *name == of_stream[0] => "{stream}".to_owned(),
        name => format!("{{{name}}}"),
    }));
    levels.extend(last.map(str::to_owned));
    let mut text = format!("[[input]]\ntopic = {}\n", quoted(&levels.join("/")));
    let mut line = |key: &str, value: &str| {
        text.push_str(&format!("{key} = {}\n", quoted(value)));
    };
    match of_stream.len() {
        0 => line("stream", &name_of(first)),
        1 => {}
        _ => {
            let names: Vec<String> = of_stream.iter().map(|name| format!("{{{name}}}")).collect();
            line("stream", &names.join("."));
        }
    }
    if topic_names_channel && channel.is_none() {
        line("channel", last.unwrap_or("value"));
    }
    match shape {
        PayloadShape::Number => {}
        PayloadShape::Value { ts } | PayloadShape::Object { ts } => {
            if matches!(shape, PayloadShape::Object { .. }) {
                line("payload", "object");
            }
            if !ts.is_empty() && ts != "/ts" {
                line("ts", ts);
            }
        }
        PayloadShape::Records {
            each,
            id,
            value,
            ts,
        } => {
            line("each", each);
            line("channel", &format!("{{{id}}}"));
            line("value", value);
            if !ts.is_empty() {
                line("ts", ts);
            }
        }
        PayloadShape::LineProtocol => {
            line("payload", "influx");
            line("channel", "{measurement}.{field}");
        }
        PayloadShape::Pairs => line("payload", "pairs"),
    }
    text
}

/// A first level as a name.
fn name_of(first: &str) -> String {
    match first.is_empty() {
        true => "main".to_owned(),
        false => first.to_owned(),
    }
}

fn quoted(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shape_is_known_by_its_members() {
        let arrival = 1_772_323_200_000;
        let shape = |text: &str| of_json(&serde_json::from_str(text).unwrap(), arrival);
        let object = |ts: &str| Some(PayloadShape::Object { ts: ts.to_owned() });
        assert_eq!(
            shape(r#"{"a":1,"b":"x","time":1772323199}"#),
            object("/time")
        );
        assert_eq!(shape(r#"{"a":{"b":2},"t":21.5}"#), object(""));
        assert_eq!(
            shape(r#"{"value":1,"ts":1772323199000}"#),
            Some(PayloadShape::Value { ts: "/ts".into() })
        );
        assert_eq!(shape(r#"{"name":"x"}"#), None);
        let records = shape(r#"{"when":1,"d":[{"tag":"a","value":1,"t":"2026-03-01T00:00:00Z"}]}"#);
        let expected = PayloadShape::Records {
            each: "/d".into(),
            id: "./tag".into(),
            value: "./value".into(),
            ts: "./t".into(),
        };
        assert_eq!(records, Some(expected));
    }

    #[test]
    fn levels_name_the_stream_and_the_last_of_plain_numbers_the_channel() {
        let numbers = tables("site", 4, &PayloadShape::Number, None);
        assert_eq!(
            numbers,
            "[[input]]\ntopic = \"site/{level2}/{level3}/{channel}\"\nstream = \"{level2}.{level3}\"\n"
        );
        assert_eq!(
            tables("plant", 3, &PayloadShape::Number, None),
            "[[input]]\ntopic = \"plant/{stream}/{channel}\"\n"
        );
        let object = tables(
            "plant",
            1,
            &PayloadShape::Object { ts: String::new() },
            None,
        );
        assert_eq!(
            tables("plant", 3, &PayloadShape::Number, Some("temp")),
            "[[input]]\ntopic = \"plant/{stream}/temp\"\nchannel = \"temp\"\n"
        );
        assert_eq!(
            tables("yard", 2, &PayloadShape::Pairs, None),
            "[[input]]\ntopic = \"yard/{stream}\"\npayload = \"pairs\"\n"
        );
        assert_eq!(
            object,
            "[[input]]\ntopic = \"plant\"\nstream = \"plant\"\npayload = \"object\"\n"
        );
    }
}
