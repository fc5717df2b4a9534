//! JSON Schema of the configuration, for editors: keys, types, ranges and defaults from the code that
//! reads them, explanations from the sample file.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::reader::{Described, KeyKind};
use super::settings;

/// The sample file: every key with its explanation.
const SAMPLE: &str = include_str!("../../config/spiked.toml");

/// Every key, in the order in which it is read.
fn described() -> Vec<Described> {
    let channel = "[[channel]]\nname = \"*\"\n";
    let text = config::File::from_str(channel, config::FileFormat::Toml);
    let merged = config::Config::builder().add_source(text).build();
    let tree = merged.expect("a table of one key").cache;
    settings::described(tree)
}

/// Explanations of the sample file by table and key. The tables of channels stand in comments.
fn explanations() -> BTreeMap<(String, String), String> {
    let (mut header, mut text) = (String::new(), String::new());
    let mut found = BTreeMap::new();
    for line in SAMPLE.lines() {
        let bare = line.strip_prefix("# ").unwrap_or(line);
        let key = bare.split_once(" = ").map(|(key, _)| key);
        let is_key = |key: &&str| key.bytes().all(|b| b.is_ascii_lowercase() || b == b'_');
        if bare.starts_with('[') && bare.ends_with(']') {
            header = bare.to_owned();
            text.clear();
        } else if let Some(key) = key.filter(is_key) {
            found.insert((header.clone(), key.to_owned()), text.clone());
            text.clear();
        } else if line.starts_with('#') {
            let gap = if text.is_empty() { "" } else { "\n" };
            text = format!("{text}{gap}{bare}");
        } else {
            text.clear();
        }
    }
    found
}

/// Schema of one key's values.
fn of_kind(kind: &KeyKind) -> Value {
    match kind {
        KeyKind::Number(range) => {
            json!({"type": "number", "minimum": range.start(), "maximum": range.end()})
        }
        KeyKind::Integer(range) => {
            json!({"type": "integer", "minimum": range.start(), "maximum": range.end()})
        }
        KeyKind::Flag => json!({"type": "boolean"}),
        KeyKind::Text => json!({"type": "string"}),
        KeyKind::Choice(words) => json!({"type": "string", "enum": words}),
        KeyKind::Texts => json!({
            "type": "array",
            "items": {"type": ["string", "integer", "boolean"]},
        }),
        KeyKind::Integers(range) => json!({
            "type": "array",
            "items": {"type": "integer", "minimum": range.start(), "maximum": range.end()},
        }),
        KeyKind::Numbers => json!({"type": "array", "items": {"type": "number"}}),
        KeyKind::Range => json!({
            "type": "array",
            "items": {"type": "number"},
            "minItems": 2,
            "maxItems": 2,
        }),
    }
}

fn of_key(described: &Described, explanation: Option<&String>) -> Value {
    let mut schema = of_kind(&described.kind);
    let of_default = format!("x = {}", described.default).parse::<toml::Table>();
    let default = of_default.ok().and_then(|mut table| table.remove("x"));
    if let Some(default) = default.and_then(|value| serde_json::to_value(value).ok()) {
        schema["default"] = default;
    }
    if let Some(text) = explanation {
        schema["description"] = json!(text);
    }
    schema
}

/// The JSON Schema (draft 7) of a configuration file.
pub fn json_schema() -> Value {
    let explanations = explanations();
    let mut tables: BTreeMap<String, Map<String, Value>> = BTreeMap::new();
    for key in described() {
        let explanation = explanations.get(&(key.header.clone(), key.key.clone()));
        let table = tables.entry(key.header.clone()).or_default();
        table.insert(key.key.clone(), of_key(&key, explanation));
    }
    let mut properties = Map::new();
    for (header, keys) in tables {
        let name = header.trim_matches(['[', ']']).to_owned();
        let table = json!({"type": "object", "properties": keys, "additionalProperties": false});
        let schema = match header.starts_with("[[") {
            true => json!({"type": "array", "items": table}),
            false => table,
        };
        properties.insert(name, schema);
    }
    json!({
        "$schema": "http://json-schema.org/draft-07/schema#",
        "title": "Configuration of spiked",
        "type": "object",
        "properties": properties,
        "additionalProperties": false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offences(text: &str) -> Vec<String> {
        let file: toml::Table = text.parse().expect("TOML");
        let file = serde_json::to_value(file).expect("JSON");
        let schema = jsonschema::validator_for(&json_schema()).expect("a schema");
        schema.iter_errors(&file).map(|e| e.to_string()).collect()
    }

    #[test]
    fn the_samples_fit_the_schema_and_mistakes_do_not() {
        assert_eq!(offences(SAMPLE), Vec::<String>::new());
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/config/inputs");
        for entry in std::fs::read_dir(folder).expect("a folder") {
            let path = entry.expect("an entry").path();
            let text = std::fs::read_to_string(&path).expect("a text");
            assert_eq!(offences(&text), Vec::<String>::new(), "{}", path.display());
        }
        for wrong in [
            "[mqtt]\nurls = \"mqtt://a\"",
            "[mqtt]\nkeep_alive_s = 1.0",
            "[output]\noverload = \"drop\"",
            "[[channel]]\nname = \"a\"\nkind = \"bool\"",
            "[detec]\nwarm_up_rows = 100",
        ] {
            assert_eq!(offences(wrong).len(), 1, "{wrong}");
        }
    }

    #[test]
    fn every_key_is_explained_in_the_sample_with_its_range() {
        let explanations = explanations();
        let (mut last, mut faults) = (String::new(), Vec::new());
        for key in described() {
            let place = (key.header.clone(), key.key.clone());
            let own = explanations.get(&place);
            assert!(own.is_some(), "{place:?} is missing in the sample");
            // Keys that stand together share the text above the first.
            if let Some(text) = own.filter(|text| !text.is_empty()) {
                last.clone_from(text);
            }
            assert!(!last.is_empty(), "{place:?} is not explained");
            let words: Vec<&str> = last
                .split(|c: char| !(c.is_ascii_alphanumeric() || c == '.' || c == '_'))
                .map(|word| word.trim_end_matches('.'))
                .collect();
            let named = |limit: f64| words.iter().any(|w| w.parse::<f64>() == Ok(limit));
            let (low, high) = match &key.kind {
                KeyKind::Number(range) => (*range.start(), *range.end()),
                KeyKind::Integer(range) => (*range.start() as f64, *range.end() as f64),
                _ => continue,
            };
            // Limits that nobody meets need no word.
            let met = |limit: f64| limit.abs() < 1e12;
            if [low, high].iter().any(|&limit| met(limit) && !named(limit)) {
                faults.push(format!("{place:?}: {low} to {high}: {last}"));
            }
        }
        assert!(faults.is_empty(), "{faults:#?}");
    }
}
