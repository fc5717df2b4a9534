//! The snippets of `deploy/snippets`, as far as that goes without the programs they are for: their form,
//! and that every key they read is one that is published.

use std::collections::BTreeSet;

use crate::support::{has_tool, read, run};

/// Keys that the schemas of the messages name.
fn published() -> BTreeSet<String> {
    let mut keys = BTreeSet::new();
    for schema in ["prediction", "anomaly"] {
        let schema = read(&format!("deploy/{schema}.schema.json"));
        let schema: serde_json::Value = serde_json::from_str(&schema).expect("JSON");
        let named = schema["properties"].as_object().expect("properties");
        keys.extend(named.keys().cloned());
        // Of those that are numbered, such as ^channel_[1-3]$, the first.
        let patterns = schema["patternProperties"].as_object().into_iter();
        let patterns = patterns.flat_map(|patterns| patterns.keys());
        let first =
            patterns.filter_map(|pattern| pattern.strip_prefix('^')?.strip_suffix("[1-3]$"));
        keys.extend(first.map(|stem| format!("{stem}1")));
    }
    keys
}

/// The words behind each `marker` of a text.
fn behind<'a>(text: &'a str, marker: &'a str) -> impl Iterator<Item = String> + 'a {
    text.split(marker).skip(1).map(|rest| {
        let end = rest.find(|c: char| !(c.is_ascii_alphanumeric() || c == '_'));
        rest[..end.unwrap_or(rest.len())].to_owned()
    })
}

#[test]
fn every_key_that_a_snippet_reads_is_published() {
    let published = published();
    let telegraf: toml::Table = read("deploy/snippets/telegraf.conf").parse().expect("TOML");
    let consumer = &telegraf["inputs"]["mqtt_consumer"][0];
    let mut keys: Vec<String> = ["tag_keys", "json_string_fields"]
        .iter()
        .flat_map(|list| consumer[*list].as_array().expect("a list"))
        .map(|key| key.as_str().expect("a text").to_owned())
        .collect();
    keys.push(
        consumer["json_time_key"]
            .as_str()
            .expect("a text")
            .to_owned(),
    );
    for (file, marker) in [
        ("home-assistant.yaml", "value_json."),
        ("home-assistant-discovery.json", "value_json."),
        ("node-red.json", "payload."),
    ] {
        let text = read(&format!("deploy/snippets/{file}"));
        let found: Vec<String> = behind(&text, marker).collect();
        assert!(!found.is_empty(), "{file}");
        keys.extend(found);
    }
    for key in keys {
        assert!(published.contains(&key), "{key} is not published");
    }
}

#[test]
fn flows_and_discovery_are_json_whose_wires_lead_somewhere() {
    let discovery = read("deploy/snippets/home-assistant-discovery.json");
    let discovery: serde_json::Value = serde_json::from_str(&discovery).expect("JSON");
    assert_eq!(discovery["availability_topic"], "spiked/main/status");
    let flow = read("deploy/snippets/node-red.json");
    let flow: Vec<serde_json::Value> = serde_json::from_str(&flow).expect("JSON");
    let ids: BTreeSet<&str> = flow.iter().filter_map(|node| node["id"].as_str()).collect();
    for node in &flow {
        let wires = node["wires"].as_array().into_iter().flatten();
        for wire in wires.flat_map(|output| output.as_array().expect("a list")) {
            assert!(ids.contains(wire.as_str().expect("an id")), "{node}");
        }
    }
}

#[test]
fn alertmanager_takes_its_routes_and_they_name_alerts_that_exist() {
    let text = read("deploy/snippets/alertmanager.yml");
    let rules = read("deploy/prometheus/spiked.rules.yml");
    for alert in behind(&text, "alertname = \"") {
        assert!(rules.contains(&format!("alert: {alert}\n")), "{alert}");
    }
    if has_tool("amtool") {
        run(
            "deploy/snippets",
            "amtool",
            &["check-config", "alertmanager.yml"],
            "",
        );
    }
}
