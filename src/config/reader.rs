//! Reads a tree of raw values key by key: checks each, keeps every offence, every effective value and
//! the description of every key.

use std::fmt::Write as _;
use std::ops::RangeInclusive;

use config::{Map, Value, ValueKind};

/// Text that stands for a masked secret.
const MASK: &str = "********";

/// Findings of the reading of a whole tree.
#[derive(Debug, Default)]
pub(super) struct ProblemReport {
    /// Offences, a line each.
    pub problems: Vec<String>,
    /// The effective settings as TOML text, secrets masked.
    pub effective: String,
    /// Every key that was asked for.
    pub described: Vec<Described>,
}

/// One key of the configuration, as the code that reads it describes it.
#[derive(Clone, Debug)]
pub(super) struct Described {
    /// Table as it is written in a file: `[mqtt]` or `[[input]]`.
    pub header: String,
    /// Name of the key within its table.
    pub key: String,
    /// Type and range of its values.
    pub kind: KeyKind,
    /// Default value as TOML text; empty where there is none.
    pub default: String,
}

/// Type and range of a key's values.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum KeyKind {
    /// A finite number within a range.
    Number(RangeInclusive<f64>),
    /// A whole number within a range.
    Integer(RangeInclusive<u64>),
    /// `true` or `false`.
    Flag,
    /// A text.
    Text,
    /// One of these words.
    Choice(Vec<String>),
    /// A list of texts.
    Texts,
    /// A list of whole numbers within a range.
    Integers(RangeInclusive<u32>),
    /// Two numbers, the lower one first.
    Range,
    /// A list of numbers.
    Numbers,
}

/// One table being read. Keys that nobody asked for are offences of [`Section::done`].
pub(super) struct Section<'a> {
    path: String,
    header: String,
    table: Map<String, Value>,
    report: &'a mut ProblemReport,
    /// Keys asked for.
    known: Vec<String>,
}

impl<'a> Section<'a> {
    /// The table named `path`, shown in the effective settings under `header`.
    pub fn new(
        path: &str,
        header: &str,
        value: Option<Value>,
        report: &'a mut ProblemReport,
    ) -> Section<'a> {
        let table = match value.map(|value| value.kind) {
            None => Map::new(),
            Some(ValueKind::Table(table)) => table,
            Some(other) => {
                report
                    .problems
                    .push(format!("{path}: a table, got {}", show(&other)));
                Map::new()
            }
        };
        if !report.effective.is_empty() {
            report.effective.push('\n');
        }
        // Writing to a string cannot fail.
        let _ = writeln!(report.effective, "{header}");
        Section {
            path: path.to_owned(),
            header: header.to_owned(),
            table,
            report,
            known: Vec::new(),
        }
    }

    /// Notes an offence against `key`.
    pub fn problem(&mut self, key: &str, allowed: &str, got: &str) {
        self.report
            .problems
            .push(format!("{}.{key}: {allowed}, got {got}", self.path));
    }

    /// The value that was built, or its offences (of several keys together), in the words of whoever found
    /// them.
    pub fn accept<T>(&mut self, built: Result<T, Vec<String>>) -> Option<T> {
        built
            .map_err(|offences| {
                for text in offences {
                    self.report.problems.push(format!("{}: {text}", self.path));
                }
            })
            .ok()
    }

    fn describe(&mut self, key: &str, kind: KeyKind, default: String) {
        self.report.described.push(Described {
            header: self.header.clone(),
            key: key.to_owned(),
            kind,
            default,
        });
    }

    fn note(&mut self, key: &str, value: &str) {
        self.known.push(key.to_owned());
        let _ = writeln!(self.report.effective, "{key} = {value}");
    }

    /// A finite number within `range`.
    pub fn number(&mut self, key: &str, default: f64, range: RangeInclusive<f64>) -> f64 {
        self.describe(key, KeyKind::Number(range.clone()), format!("{default:?}"));
        let mut result = default;
        if let Some(value) = self.table.remove(key) {
            let number = match &value.kind {
                ValueKind::Float(x) => Some(*x),
                #[expect(clippy::cast_precision_loss, reason = "ranges end far below 2^53")]
                ValueKind::I64(x) => Some(*x as f64),
                ValueKind::String(text) => text.trim().parse().ok(),
                _ => None,
            };
            match number.filter(|x| range.contains(x)) {
                Some(x) => result = x,
                None => {
                    let allowed = format!("a number from {} to {}", range.start(), range.end());
                    self.problem(key, &allowed, &show(&value.kind));
                }
            }
        }
        self.note(key, &format!("{result:?}"));
        result
    }

    /// A whole number within `range`.
    pub fn integer(&mut self, key: &str, default: u64, range: RangeInclusive<u64>) -> u64 {
        self.describe(key, KeyKind::Integer(range.clone()), default.to_string());
        let mut result = default;
        if let Some(value) = self.table.remove(key) {
            let number = match &value.kind {
                ValueKind::I64(x) => u64::try_from(*x).ok(),
                ValueKind::U64(x) => Some(*x),
                ValueKind::String(text) => text.trim().parse().ok(),
                _ => None,
            };
            match number.filter(|x| range.contains(x)) {
                Some(x) => result = x,
                None => {
                    let allowed =
                        format!("a whole number from {} to {}", range.start(), range.end());
                    self.problem(key, &allowed, &show(&value.kind));
                }
            }
        }
        self.note(key, &result.to_string());
        result
    }

    /// As [`Section::integer`], for sizes and counts.
    pub fn size(&mut self, key: &str, default: usize, range: RangeInclusive<usize>) -> usize {
        let n = self.integer(
            key,
            default as u64,
            *range.start() as u64..=*range.end() as u64,
        );
        // Within `range`, which is made of usize.
        usize::try_from(n).unwrap_or(default)
    }

    /// `true` or `false`.
    pub fn flag(&mut self, key: &str, default: bool) -> bool {
        self.describe(key, KeyKind::Flag, default.to_string());
        let mut result = default;
        if let Some(value) = self.table.remove(key) {
            let flag = match &value.kind {
                ValueKind::Boolean(x) => Some(*x),
                ValueKind::String(text) => text.trim().to_ascii_lowercase().parse().ok(),
                _ => None,
            };
            match flag {
                Some(x) => result = x,
                None => self.problem(key, "true or false", &show(&value.kind)),
            }
        }
        self.note(key, &result.to_string());
        result
    }

    /// A text that passes `check`, whose error says what is allowed.
    pub fn text(
        &mut self,
        key: &str,
        default: &str,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> String {
        self.describe(key, KeyKind::Text, quote(default));
        let mut result = default.to_owned();
        if let Some(value) = self.table.remove(key) {
            match text_of(&value.kind) {
                Some(text) => match check(&text) {
                    Ok(()) => result = text,
                    Err(allowed) => self.problem(key, &allowed, &show(&value.kind)),
                },
                None => self.problem(key, "a text", &show(&value.kind)),
            }
        }
        self.note(key, &quote(&result));
        result
    }

    /// As [`Section::text`], but what is behind an offence with an `@` is not shown: it may hold
    /// a password.
    pub fn discreet_text(
        &mut self,
        key: &str,
        default: &str,
        check: impl Fn(&str) -> Result<(), String>,
    ) -> String {
        let hidden = match self.table.get(key).map(|value| &value.kind) {
            Some(ValueKind::String(text)) if text.contains('@') => check(text).err(),
            _ => None,
        };
        if let Some(allowed) = hidden {
            self.table.remove(key);
            self.problem(key, &allowed, "one with an @ (not shown)");
        }
        self.text(key, default, check)
    }

    /// A text that is never shown.
    pub fn secret(&mut self, key: &str) -> String {
        self.describe(key, KeyKind::Text, quote(""));
        let mut result = String::new();
        if let Some(value) = self.table.remove(key) {
            match text_of(&value.kind) {
                Some(text) => result = text,
                None => self.problem(key, "a text", "something else (not shown)"),
            }
        }
        let shown = if result.is_empty() { "" } else { MASK };
        self.note(key, &quote(shown));
        result
    }

    /// One of a few words.
    pub fn choice<T: Copy>(&mut self, key: &str, default: &str, choices: &[(&str, T)]) -> T {
        let words = choices.iter().map(|(word, _)| (*word).to_owned());
        self.describe(key, KeyKind::Choice(words.collect()), quote(default));
        let mut word = default.to_owned();
        if let Some(value) = self.table.remove(key) {
            match text_of(&value.kind).filter(|text| choices.iter().any(|(w, _)| w == text)) {
                Some(text) => word = text,
                None => {
                    let words: Vec<String> = choices.iter().map(|(w, _)| quote(w)).collect();
                    let allowed = format!("one of {}", words.join(", "));
                    self.problem(key, &allowed, &show(&value.kind));
                }
            }
        }
        self.note(key, &quote(&word));
        choices
            .iter()
            .find(|(w, _)| *w == word)
            .map(|(_, value)| *value)
            .unwrap_or(choices[0].1)
    }

    /// A list of texts (or whole numbers and truth values, read as texts); a text with commas does
    /// as well (for the environment). Empty by default.
    pub fn list(&mut self, key: &str, check: impl Fn(&str) -> Result<(), String>) -> Vec<String> {
        self.list_or(key, &[], check)
    }

    /// As [`Section::list`], with a default.
    pub fn list_or(
        &mut self,
        key: &str,
        default: &[&str],
        check: impl Fn(&str) -> Result<(), String>,
    ) -> Vec<String> {
        let quoted: Vec<String> = default.iter().map(|item| quote(item)).collect();
        self.describe(key, KeyKind::Texts, format!("[{}]", quoted.join(", ")));
        let mut result: Vec<String> = default.iter().map(|item| (*item).to_owned()).collect();
        if let Some(value) = self.table.remove(key) {
            let items: Option<Vec<String>> = match &value.kind {
                ValueKind::Array(items) => items
                    .iter()
                    .map(|item| text_of(&item.kind).or_else(|| whole_text(&item.kind)))
                    .collect(),
                ValueKind::String(text) => Some(
                    text.split(',')
                        .map(|item| item.trim().to_owned())
                        .filter(|item| !item.is_empty())
                        .collect(),
                ),
                _ => None,
            };
            match items {
                Some(items) => result = items,
                None => self.problem(key, "a list of texts", &show(&value.kind)),
            }
            for item in result.clone() {
                if let Err(allowed) = check(&item) {
                    self.problem(key, &allowed, &quote(&item));
                }
            }
        }
        let quoted: Vec<String> = result.iter().map(|item| quote(item)).collect();
        self.note(key, &format!("[{}]", quoted.join(", ")));
        result
    }

    /// A list of whole numbers within `range`; a text with commas does as well.
    pub fn integers(&mut self, key: &str, default: &[u32], range: RangeInclusive<u32>) -> Vec<u32> {
        self.describe(
            key,
            KeyKind::Integers(range.clone()),
            format!("{default:?}"),
        );
        let mut result = default.to_vec();
        if let Some(value) = self.table.remove(key) {
            let numbers: Option<Vec<u32>> = match &value.kind {
                ValueKind::Array(items) => items.iter().map(|item| whole(&item.kind)).collect(),
                ValueKind::String(text) => text.split(',').map(|n| n.trim().parse().ok()).collect(),
                _ => None,
            };
            match numbers.filter(|all| all.iter().all(|n| range.contains(n))) {
                Some(numbers) => result = numbers,
                None => {
                    let (from, to) = (range.start(), range.end());
                    let allowed = format!("a list of whole numbers from {from} to {to}");
                    self.problem(key, &allowed, &show(&value.kind));
                }
            }
        }
        let shown: Vec<String> = result.iter().map(u32::to_string).collect();
        self.note(key, &format!("[{}]", shown.join(", ")));
        result
    }

    /// A list of finite numbers, none by default; a text with commas does as well.
    pub fn numbers(&mut self, key: &str) -> Vec<f64> {
        self.describe(key, KeyKind::Numbers, "[]".to_owned());
        let mut result = Vec::new();
        if let Some(value) = self.table.remove(key) {
            let numbers: Option<Vec<f64>> = match &value.kind {
                ValueKind::Array(items) => items
                    .iter()
                    .map(|item| item.clone().into_float().ok())
                    .collect(),
                ValueKind::String(text) => text.split(',').map(|n| n.trim().parse().ok()).collect(),
                _ => None,
            };
            match numbers.filter(|all| all.iter().all(|n| n.is_finite())) {
                Some(numbers) => result = numbers,
                None => self.problem(key, "a list of numbers", &show(&value.kind)),
            }
        }
        self.note(key, &format!("{result:?}"));
        result
    }

    /// Two numbers, the lower one first; none by default.
    pub fn range(&mut self, key: &str) -> Option<(f64, f64)> {
        self.describe(key, KeyKind::Range, String::new());
        let value = self.table.remove(key)?;
        let numbers: Option<Vec<f64>> = match &value.kind {
            ValueKind::Array(items) => items
                .iter()
                .map(|item| item.clone().into_float().ok())
                .collect(),
            _ => None,
        };
        match numbers.as_deref() {
            Some(&[low, high]) if low < high => {
                self.note(key, &format!("[{low}, {high}]"));
                Some((low, high))
            }
            _ => {
                let allowed = "two numbers, the lower one first";
                self.problem(key, allowed, &show(&value.kind));
                None
            }
        }
    }

    /// Ends the section: what is left in the table is unknown.
    pub fn done(self) {
        let known: Vec<&str> = self.known.iter().map(String::as_str).collect();
        unknown(&self.path, self.table, &known, self.report);
    }
}

/// Keys that have another name now: (old, new).
const RENAMED: [(&str, &str); 19] = [
    ("mqtt.max_packet_bytes", "mqtt.max_payload_bytes"),
    ("runtime.queue_readings", "runtime.queue_messages"),
    ("runtime.grace_s", "runtime.shutdown_grace_s"),
    ("state.commit_readings", "state.commit_messages"),
    ("http.stream_labels", "http.max_labelled_streams"),
    ("learn.memory_rows", "learn.weight_memory_rows"),
    ("learn.statistics_rows", "learn.statistics_memory_rows"),
    ("learn.student_nu", "learn.student_t_dof"),
    ("learn.weights", "experimental.learn_weights"),
    ("learn.calendar", "experimental.calendar"),
    ("learn.hourly_noise", "experimental.hourly_noise"),
    ("detect.gate_weight", "detect.incident_learning_weight"),
    ("detect.hold_rows", "detect.accept_as_normal_after_rows"),
    ("detect.heads", "experimental.heads"),
    ("detect.temper", "experimental.discount_autocorrelation"),
    ("detect.habits", "experimental.run_lengths"),
    ("detect.calibrate", "experimental.calibrate"),
    ("detect.shift", "experimental.mean_shift"),
    ("detect.joint", "experimental.cross_channel"),
];

/// Notes each key left in `table` as renamed, or as unknown with the `known` one that it resembles.
pub(super) fn unknown(
    path: &str,
    table: Map<String, Value>,
    known: &[&str],
    report: &mut ProblemReport,
) {
    let mut left: Vec<(String, Value)> = table.into_iter().collect();
    left.sort_by(|a, b| a.0.cmp(&b.0));
    for (key, value) in left {
        let dot = if path.is_empty() { "" } else { "." };
        let origin = match value.origin() {
            Some(origin) => format!(" (from {origin})"),
            None => String::new(),
        };
        let full = format!("{path}{dot}{key}");
        let fault = match RENAMED.iter().find(|(old, _)| *old == full) {
            Some((_, new)) => format!("{full}: is now called {new}{origin}"),
            None => format!("{full}: no such key{origin}{}", did_you_mean(&key, known)),
        };
        report.problems.push(fault);
    }
}

/// The known key that a mistyped one is closest to, if any is close.
fn did_you_mean(key: &str, known: &[&str]) -> String {
    let near = known
        .iter()
        .map(|known| (strsim::jaro_winkler(key, known), known));
    let best = near.max_by(|a, b| a.0.total_cmp(&b.0));
    // Below that the likeness is that of any two words.
    match best.filter(|(likeness, _)| *likeness > 0.8) {
        Some((_, known)) => format!("; did you mean {known}?"),
        None => String::new(),
    }
}

fn text_of(kind: &ValueKind) -> Option<String> {
    match kind {
        ValueKind::String(text) => Some(text.clone()),
        _ => None,
    }
}

fn whole_text(kind: &ValueKind) -> Option<String> {
    match kind {
        ValueKind::I64(x) => Some(x.to_string()),
        ValueKind::U64(x) => Some(x.to_string()),
        ValueKind::Boolean(x) => Some(x.to_string()),
        _ => None,
    }
}

fn whole(kind: &ValueKind) -> Option<u32> {
    match kind {
        ValueKind::I64(x) => u32::try_from(*x).ok(),
        ValueKind::U64(x) => u32::try_from(*x).ok(),
        ValueKind::String(text) => text.trim().parse().ok(),
        _ => None,
    }
}

fn quote(text: &str) -> String {
    toml::Value::String(text.to_owned()).to_string()
}

/// A value as a person wrote it, cut where it is long.
fn show(kind: &ValueKind) -> String {
    let mut text = match kind {
        ValueKind::String(text) => quote(text),
        ValueKind::Table(_) => "a table".to_owned(),
        ValueKind::Array(items) => {
            let items: Vec<String> = items.iter().map(|item| show(&item.kind)).collect();
            format!("[{}]", items.join(", "))
        }
        other => other.to_string(),
    };
    if text.chars().count() > 80 {
        text = text.chars().take(77).collect::<String>() + "...";
    }
    text
}
/// Any text is allowed.
pub(super) fn any(_: &str) -> Result<(), String> {
    Ok(())
}

/// Any text but an empty one is allowed.
pub(super) fn not_empty(text: &str) -> Result<(), String> {
    if text.trim().is_empty() {
        return Err("a text that is not empty".to_owned());
    }
    Ok(())
}
