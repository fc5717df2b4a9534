//! `[predict]` and `[[channel]]`: how far ahead is forecast, and what channels are.

use config::{Value, ValueKind};

use super::reader::{ProblemReport, Section};
use crate::detect::{Direction, ValueRange, Watch};
use crate::encode::Encoder;
use crate::engine::{Plan, Role, Rule, Values};

/// Horizons beside the next row, rows.
pub(super) fn predict(value: Option<Value>, report: &mut ProblemReport) -> Vec<u32> {
    let mut s = Section::new("predict", "[predict]", value, report);
    let mut horizons = s.integers("horizons", &[1], 1..=1000);
    s.done();
    // The next row is always predicted.
    horizons.retain(|&horizon| horizon != 1);
    horizons
}

/// The unit of channels, for people to read.
#[derive(Clone, Debug, PartialEq)]
pub struct Unit {
    /// Streams and channels meant.
    pub rule: Rule,
    /// The unit; may be empty.
    pub unit: String,
}

/// Kinds of channels and their units, in the order of the tables.
pub(super) fn channels(value: Option<Value>, report: &mut ProblemReport) -> Vec<Unit> {
    let tables = match value.map(|value| value.kind) {
        None => Vec::new(),
        Some(ValueKind::Array(tables)) => tables,
        Some(_) => {
            report.problems.push(
                "channel: a list of tables, written as [[channel]], got something else".into(),
            );
            Vec::new()
        }
    };
    let tables = tables.into_iter().enumerate();
    tables.map(|(i, table)| channel(i, table, report)).collect()
}

fn channel(idx: usize, value: Value, report: &mut ProblemReport) -> Unit {
    let mut s = Section::new(
        &format!("channel[{idx}]"),
        "[[channel]]",
        Some(value),
        report,
    );
    let pattern = |text: &str| match text.is_empty() {
        true => Err("a name, in which * is any text".to_owned()),
        false => Ok(()),
    };
    let channel = s.text("name", "", pattern);
    if channel.is_empty() {
        s.problem("name", "a name, in which * is any text", "none");
    }
    let stream = s.text("stream", "*", pattern);
    let role = s.choice(
        "role",
        "sensor",
        &[
            ("sensor", Role::Sensor),
            ("target", Role::Target),
            ("label", Role::Label),
        ],
    );
    let kind = s.choice(
        "kind",
        "number",
        &[("number", 0), ("binary", 1), ("enum", 2), ("counter", 3)],
    );
    let names = s.list("states", |_| Ok(()));
    let values = match Values::states(&names) {
        Ok(states) => match (kind, names.len()) {
            (1, 0) => Values::binary(),
            (1, 2) | (2, _) => states,
            // A label is a class whatever it is made of.
            (0, _) if role == Role::Label => states,
            (0, 0) => Values::Numbers,
            (1, n) => {
                s.problem(
                    "states",
                    "none or 2 states of a binary channel",
                    &n.to_string(),
                );
                Values::Numbers
            }
            (_, n) => {
                s.problem("states", "none of a channel of numbers", &n.to_string());
                Values::Numbers
            }
        },
        Err(allowed) => {
            s.problem("states", &allowed, &format!("{names:?}"));
            Values::Numbers
        }
    };
    let codes = Encoder::NAMES.map(|name| (name, name));
    let code = s.choice("encoder", "latency", &codes);
    let fields = s.integer("fields", 12, 2..=64);
    let range = s.number("range_sd", 2.5, 0.1..=100.0);
    let plain = Encoder::new(code, u32::try_from(fields).unwrap_or(12), range as f32);
    let is_input = role == Role::Sensor && values == Values::Numbers;
    if !is_input && plain != Encoder::default() {
        s.problem(
            "encoder",
            "the default where the channel is no sensor of numbers",
            &format!("{code:?} with {fields} fields to {range}"),
        );
    }
    let unit = s.text("unit", "", |text| match text.chars().count() <= 16 {
        true => Ok(()),
        false => Err("at most 16 characters".to_owned()),
    });
    if kind == 3 && role != Role::Sensor {
        s.problem("kind", "a counter is a sensor", "another role");
    }
    let watch = Watch {
        direction: s.choice(
            "direction",
            "both",
            &[
                ("both", Direction::Both),
                ("up", Direction::Up),
                ("down", Direction::Down),
            ],
        ),
        min_deviation: s.number("min_deviation", 0.0, 0.0..=1e300),
        range: s.range("range").map(|(low, high)| ValueRange { low, high }),
    };
    s.done();
    let plan = Plan {
        role,
        values,
        encoder: plain,
        counter: kind == 3,
        watch,
    };
    let rule = Rule {
        stream,
        channel,
        plan,
    };
    Unit { rule, unit }
}
