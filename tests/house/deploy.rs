//! Holds the files of `deploy/` against the tools that will read them and the metrics that exist.

use std::collections::BTreeSet;

use crate::support::{Demo, has_tool, read, run};

/// Words of a PromQL expression that are metrics of ours; recorded ones have colons in their names.
fn metrics_in(text: &str) -> BTreeSet<String> {
    text.split(|c: char| !(c.is_ascii_alphanumeric() || "_:".contains(c)))
        .filter(|word| word.starts_with("spiked_") || word.starts_with("process_"))
        .filter(|word| !word.ends_with(':'))
        .map(str::to_owned)
        .collect()
}

/// Every `expr` and every query of a dashboard.
pub fn expressions(dashboard: &serde_json::Value, found: &mut Vec<String>) {
    match dashboard {
        serde_json::Value::Object(members) => {
            for (key, value) in members {
                match value.as_str() {
                    Some(text) if key == "expr" || key == "query" => found.push(text.to_owned()),
                    _ => expressions(value, found),
                }
            }
        }
        serde_json::Value::Array(items) => {
            items.iter().for_each(|item| expressions(item, found));
        }
        _ => {}
    }
}

/// The dashboards.
pub fn dashboards() -> Vec<serde_json::Value> {
    ["fleet", "stream", "learning", "operations"]
        .map(|name| read(&format!("deploy/grafana/spiked-{name}.json")))
        .map(|text| serde_json::from_str(&text).expect("a dashboard is JSON"))
        .into()
}

/// Names of the samples in the exposition format.
fn exported(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter(|line| !line.starts_with('#'))
        .filter_map(|line| line.split(['{', ' ']).next())
        .map(str::to_owned)
        .collect()
}

/// The metrics in the table of `deploy/README.md`.
fn documented_metrics() -> BTreeSet<String> {
    let readme = read("deploy/README.md");
    let table = readme.split("<!-- metrics -->").nth(1).unwrap_or_default();
    let table = table.split("<!-- /metrics -->").next().unwrap_or_default();
    let name = |line: &str| Some(line.strip_prefix("| `")?.split('`').next()?.to_owned());
    table.lines().filter_map(name).collect()
}

#[test]
fn dashboard_rules_and_readme_name_the_metrics_that_are_exported() {
    let demo = Demo::start(&[]);
    let text = demo.metrics("spiked_stream_rows{stream=\"pump-1\"}");
    let exported = exported(&text);

    let mut used = Vec::new();
    for dashboard in dashboards() {
        expressions(&dashboard, &mut used);
    }
    assert!(used.len() > 20, "{} expressions", used.len());
    used.push(read("deploy/prometheus/spiked.rules.yml"));
    for expression in used {
        for metric in metrics_in(&expression) {
            assert!(exported.contains(&metric), "{metric} in {expression}");
        }
    }

    let families: BTreeSet<String> = text
        .lines()
        .filter_map(|line| line.strip_prefix("# TYPE ")?.split(' ').next())
        .map(str::to_owned)
        .collect();
    assert_eq!(
        documented_metrics(),
        families,
        "deploy/README.md and /metrics"
    );

    if has_tool("promtool") {
        let said = run(".", "promtool", &["check", "metrics"], &text);
        assert_eq!(said, "", "promtool has something to say");
    }
}

#[test]
fn prometheus_takes_its_job_and_its_rules() {
    if !has_tool("promtool") {
        return;
    }
    let folder = "deploy/prometheus";
    let said = run(
        folder,
        "promtool",
        &["check", "rules", "spiked.rules.yml"],
        "",
    );
    assert!(said.contains("22 rules found"), "{said}");
    run(
        folder,
        "promtool",
        &["check", "config", "prometheus.yml"],
        "",
    );
    run(
        folder,
        "promtool",
        &["test", "rules", "spiked.rules.test.yml"],
        "",
    );
}

#[test]
fn systemd_takes_its_unit() {
    if !has_tool("systemd-analyze") {
        return;
    }
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("spiked.service");
    let unit = read("deploy/spiked.service");
    // The tool wants the program to exist.
    let unit = unit.replace("/usr/bin/spiked", env!("CARGO_BIN_EXE_spiked"));
    std::fs::write(&path, unit).expect("written");
    let path = path.to_str().expect("a path");
    let said = run(".", "systemd-analyze", &["verify", path], "");
    assert_eq!(said, "", "systemd has something to say");
    let args = ["security", "--offline=true", "--threshold=12", path];
    run(".", "systemd-analyze", &args, "");
}
