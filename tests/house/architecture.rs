//! The four floors: imports go down only, and the lower three know nothing of the outside.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use crate::support::root;

/// Rooms of the lower floors; every other room is on the edge.
const FLOORS: [&[&str]; 3] = [
    &["num"],
    &["encode", "ep"],
    &[
        "row", "glob", "time", "payload", "route", "decode", "assemble", "predict", "detect",
        "engine", "stream", "history", "fit",
    ],
];
const EDGE: usize = FLOORS.len();

/// Names forbidden on floors 0 to 2: the outside world, clocks, threads, hidden state.
const OUTSIDE: [&str; 27] = [
    "tokio::",
    "rumqttc::",
    "rumqttd::",
    "axum::",
    "prometheus::",
    "rusqlite::",
    "tracing::",
    "clap::",
    "crossbeam_channel::",
    "indicatif::",
    "sd_notify::",
    "csv::",
    "toml::",
    "use config",
    "SystemTime",
    "Instant",
    "std::thread",
    "thread_local!",
    "std::net",
    "std::fs",
    "std::env",
    "std::process",
    "thread_rng",
    "rand::rng",
    "from_os_rng",
    "println!",
    "eprintln!",
];

/// Names forbidden on floor 0 beside those.
const BESIDE_NUMBERS: [&str; 2] = ["serde_json::", "rand::"];

fn floor_of(room: &str) -> usize {
    FLOORS
        .iter()
        .position(|rooms| rooms.contains(&room))
        .unwrap_or(EDGE)
}

/// Every Rust file below `folder`.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).expect("a folder") {
        let path = entry.expect("an entry").path();
        if path.is_dir() {
            found.extend(files(&path));
        } else if path.extension().is_some_and(|end| end == "rs") {
            found.push(path);
        }
    }
    found
}

/// Files that are compiled for tests only: `mod name;` below `#[cfg(test)]`.
fn test_files(path: &Path, text: &str) -> Vec<PathBuf> {
    let folder = match path.file_stem().and_then(|stem| stem.to_str()) {
        Some("mod" | "lib" | "main") => path.parent().expect("a folder").to_owned(),
        _ => path.with_extension(""),
    };
    let lines: Vec<&str> = text.lines().map(str::trim).collect();
    lines
        .windows(2)
        .filter(|w| w[0] == "#[cfg(test)]" || w[0].starts_with("#[cfg(all(test,"))
        .filter_map(|w| w[1].strip_suffix(';')?.rsplit_once("mod "))
        .map(|(_, name)| folder.join(format!("{name}.rs")))
        .collect()
}

/// The room of a file: the first part of its path in `src`.
pub fn room_of(path: &Path, src: &Path) -> String {
    let inner = path.strip_prefix(src).expect("in src");
    let first = inner.iter().next().expect("a name").to_string_lossy();
    first.trim_end_matches(".rs").to_owned()
}

/// The lines of code that are not tests: comments end them, `#[cfg(test)] mod` ends the file.
pub fn code(text: &str) -> Vec<(usize, &str)> {
    let lines: Vec<&str> = text.lines().collect();
    let tests = lines
        .windows(2)
        .position(|w| w[0].trim() == "#[cfg(test)]" && w[1].trim_start().starts_with("mod tests {"))
        .unwrap_or(lines.len());
    let code = lines[..tests].iter().enumerate();
    code.map(|(i, line)| (i + 1, line.split("//").next().unwrap_or_default()))
        .collect()
}

/// Rooms that a line names by `crate::room`, also in groups.
fn rooms_named(line: &str) -> Vec<String> {
    let word = |text: &str| -> String {
        text.chars()
            .take_while(|c| c.is_alphanumeric() || *c == '_')
            .collect()
    };
    line.match_indices("crate::")
        .flat_map(|(at, found)| {
            let rest = &line[at + found.len()..];
            match rest.strip_prefix('{') {
                Some(group) => group.split(',').map(|part| word(part.trim())).collect(),
                None => vec![word(rest)],
            }
        })
        .filter(|room| !room.is_empty())
        .collect()
}

/// Offences of one file.
fn offences(text: &str, room: &str) -> Vec<String> {
    let floor = floor_of(room);
    let mut offences = Vec::new();
    for (number, line) in code(text) {
        for named in rooms_named(line) {
            if floor_of(&named) > floor {
                offences.push(format!(
                    "{number}: floor {floor} imports `{named}` from above"
                ));
            }
        }
        let beside: &[&str] = if floor == 0 { &BESIDE_NUMBERS } else { &[] };
        for word in OUTSIDE.iter().chain(beside) {
            if floor < EDGE && line.contains(word) {
                offences.push(format!("{number}: floor {floor} names `{word}`"));
            }
        }
    }
    offences
}

#[test]
fn imports_go_down_only() {
    let src = root().join("src");
    let texts = sources(&src);
    let mut wrong = Vec::new();
    for (path, text) in &texts {
        let room = room_of(path, &src);
        if matches!(room.as_str(), "lib" | "main") {
            continue;
        }
        let name = path
            .strip_prefix(&src)
            .expect("in src")
            .display()
            .to_string();
        wrong.extend(
            offences(text, &room)
                .iter()
                .map(|o| format!("src/{name}:{o}")),
        );
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Arrows between rooms or files: each with those that it imports.
pub type Graph = BTreeMap<String, BTreeSet<String>>;

/// The files of `src` and their texts, without those that are compiled for tests only.
pub fn sources(src: &Path) -> Vec<(PathBuf, String)> {
    let mut texts: Vec<(PathBuf, String)> = files(src)
        .into_iter()
        .map(|path| (path.clone(), std::fs::read_to_string(path).expect("text")))
        .collect();
    let tests: BTreeSet<PathBuf> = texts
        .iter()
        .flat_map(|(path, text)| test_files(path, text))
        .collect();
    texts.retain(|(path, _)| !tests.contains(path));
    texts
}

/// Arrows between rooms, tests left out.
fn arrows(src: &Path) -> Graph {
    let texts = sources(src);
    let rooms: BTreeSet<String> = texts.iter().map(|(path, _)| room_of(path, src)).collect();
    let mut arrows = Graph::new();
    for (path, text) in &texts {
        let room = room_of(path, src);
        if room == "lib" {
            continue;
        }
        let named = code(text)
            .into_iter()
            .flat_map(|(_, line)| rooms_named(line));
        let imported = named.filter(|other| *other != room && rooms.contains(other));
        arrows.entry(room.clone()).or_default().extend(imported);
    }
    arrows
}

/// Rooms that are reached from `room`.
fn reached(room: &str, arrows: &Graph) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut next = vec![room.to_owned()];
    while let Some(room) = next.pop() {
        for other in arrows.get(&room).into_iter().flatten() {
            if found.insert(other.clone()) {
                next.push(other.clone());
            }
        }
    }
    found
}

/// Those that reach themselves.
pub fn circles(arrows: &Graph) -> Vec<&String> {
    let in_circle = |room: &&String| reached(room, arrows).contains(*room);
    arrows.keys().filter(in_circle).collect()
}

#[test]
fn no_rooms_import_one_another_in_a_circle() {
    let arrows = arrows(&root().join("src"));
    assert!(arrows.len() > 12, "the scan finds the rooms: {arrows:?}");
    let circles = circles(&arrows);
    assert!(circles.is_empty(), "{circles:?} in {arrows:#?}");
}

#[test]
fn a_circle_of_three_rooms_is_found() {
    let arrow = |from: &str, to: &str| (from.to_owned(), BTreeSet::from([to.to_owned()]));
    let arrows = BTreeMap::from([
        arrow("a", "b"),
        arrow("b", "c"),
        arrow("c", "a"),
        arrow("d", "a"),
    ]);
    assert_eq!(circles(&arrows), ["a", "b", "c"]);
}

#[test]
fn every_room_of_the_lower_floors_exists() {
    for room in FLOORS.iter().flat_map(|rooms| rooms.iter()) {
        let src = root().join("src");
        let exists = src.join(room).is_dir() || src.join(format!("{room}.rs")).is_file();
        assert!(exists, "no room {room}");
    }
}

#[test]
fn every_file_says_first_what_it_does() {
    for path in files(&root().join("src")) {
        let text = std::fs::read_to_string(&path).expect("text");
        assert!(text.starts_with("//! "), "{}", path.display());
    }
}

#[test]
fn the_scan_finds_what_it_should() {
    let found = |text: &str, room: &str| offences(text, room).len();
    assert_eq!(found("use crate::engine::Engine;", "ep"), 1);
    assert_eq!(found("use crate::{num, config};", "engine"), 1);
    assert_eq!(found("let t = std::time::Instant::now();", "detect"), 1);
    assert_eq!(found("use tokio::sync::mpsc; // outside", "assemble"), 1);
    assert_eq!(found("// use tokio::sync\nuse crate::num::phi;", "ep"), 0);
    assert_eq!(found("use crate::engine::Engine;", "runtime"), 0);
    assert_eq!(
        found(
            "fn f() {}\n#[cfg(test)]\nmod tests {\nuse std::fs;\n",
            "num"
        ),
        0
    );
}

/// Packages of the library without the daemon, itself among them.
const LIGHT_PACKAGES: usize = 18;

#[test]
fn the_library_without_the_daemon_needs_few_packages() {
    let args = "tree --edges normal --no-default-features --prefix none --no-dedupe --offline";
    let tree = std::process::Command::new(env!("CARGO"))
        .args(args.split(' '))
        .current_dir(root())
        .output()
        .expect("cargo runs");
    assert!(
        tree.status.success(),
        "{}",
        String::from_utf8_lossy(&tree.stderr)
    );
    let text = String::from_utf8(tree.stdout).expect("text");
    let packages: BTreeSet<&str> = text.lines().collect();
    assert!(
        (5..=LIGHT_PACKAGES).contains(&packages.len()),
        "{packages:#?}"
    );
}
