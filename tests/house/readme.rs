//! Checks the README and the documents it links to: length, links, commands, words.

use std::collections::BTreeSet;
use std::path::Path;

use crate::architecture::files;
use crate::support::{read, root};

/// Documents that are written for people.
const DOCUMENTS: [&str; 5] = [
    "README.md",
    "deploy/README.md",
    "tests/bench/README.md",
    "tests/durability/README.md",
    "benches/README.md",
];

/// Targets of the links in a document, without web addresses.
fn links(text: &str) -> Vec<String> {
    text.split("](")
        .skip(1)
        .filter_map(|rest| Some(rest.split(')').next()?.to_owned()))
        .filter(|target| !target.starts_with("http"))
        .collect()
}

/// Anchors of the headings of a document, as hosting sites make them.
fn anchors(text: &str) -> BTreeSet<String> {
    text.lines()
        .filter_map(|line| line.strip_prefix('#'))
        .map(|line| {
            line.trim_start_matches('#')
                .trim()
                .to_lowercase()
                .chars()
                .filter(|c| c.is_alphanumeric() || *c == ' ' || *c == '-')
                .map(|c| if c == ' ' { '-' } else { c })
                .collect()
        })
        .collect()
}

/// The lines of the blocks of shell commands.
pub fn commands(text: &str) -> Vec<String> {
    let mut inside = false;
    let mut found = Vec::new();
    for line in text.lines() {
        match line {
            "```sh" => inside = true,
            "```" => inside = false,
            _ if inside && !line.trim().is_empty() => found.push(line.to_owned()),
            _ => {}
        }
    }
    found
}

/// The commands within sentences that begin with `start`.
pub fn inline_commands(text: &str, start: &str) -> Vec<String> {
    let words = text.replace('\n', " ");
    words
        .split('`')
        .filter(|piece| piece.starts_with(start))
        .map(str::to_owned)
        .collect()
}

#[test]
fn the_readme_is_a_front_door_of_at_most_200_lines() {
    let lines = read("README.md").lines().count();
    assert!(lines <= 200, "{lines} lines");
}

#[test]
fn every_link_leads_to_a_file_and_a_heading_that_exist() {
    for document in DOCUMENTS {
        let text = read(document);
        let folder = Path::new(document).parent().expect("a folder");
        for link in links(&text) {
            let (file, anchor) = link.split_once('#').unwrap_or((&link, ""));
            let path = if file.is_empty() {
                document.to_owned()
            } else {
                folder.join(file).to_string_lossy().into_owned()
            };
            assert!(root().join(&path).exists(), "{document}: {link}");
            if !anchor.is_empty() {
                let anchors = anchors(&read(&path));
                assert!(anchors.contains(anchor), "{document}: {link}: {anchors:?}");
            }
        }
    }
}

#[test]
fn every_file_that_a_command_of_the_readme_names_exists() {
    // Files that the reader brings along or that a build makes.
    let theirs = ["recording.csv", "plant.log", "target/release/spiked"];
    for command in commands(&read("README.md")) {
        for word in command.split_whitespace() {
            let is_ours = ["config/", "deploy/", "tests/", ".ci/", "./tests/"]
                .iter()
                .any(|start| word.starts_with(start));
            if is_ours && !theirs.contains(&word) {
                assert!(root().join(word).exists(), "{command}: {word}");
            }
        }
    }
}

#[test]
fn every_example_message_of_the_readme_fits_its_schema() {
    let readme = read("README.md");
    let mut checked = 0;
    for line in readme.lines().filter(|line| line.starts_with("{\"v\":")) {
        let message: serde_json::Value = serde_json::from_str(line).expect("JSON");
        let schema = if message.get("incident").is_some() {
            "deploy/anomaly.schema.json"
        } else {
            "deploy/prediction.schema.json"
        };
        let schema = serde_json::from_str(&read(schema)).expect("JSON");
        let faults = jsonschema::validator_for(&schema)
            .expect("a schema")
            .iter_errors(&message)
            .map(|error| error.to_string())
            .collect::<Vec<_>>();
        assert!(faults.is_empty(), "{line}: {faults:?}");
        checked += 1;
    }
    assert_eq!(checked, 2);
}

#[test]
fn no_sentence_of_a_document_or_comment_begins_with_what() {
    for document in DOCUMENTS {
        for line in read(document).lines() {
            let begins = line.starts_with("What ") || line.contains(". What ");
            assert!(!begins, "{document}: {line}");
        }
    }
    let mut found = Vec::new();
    for folder in ["src", "benches", "tests", "examples", "fuzz"] {
        for path in files(&root().join(folder)) {
            let text = std::fs::read_to_string(&path).expect("a text");
            let comments = text.lines().filter_map(|line| {
                let line = line.trim_start();
                Some(line.strip_prefix("//")?.trim_start_matches(['/', '!']))
            });
            let begins = |line: &str| line.starts_with(" What ") || line.contains(". What ");
            let said = comments.filter(|line| begins(line));
            found.extend(said.map(|line| format!("{}:{line}", path.display())));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}
