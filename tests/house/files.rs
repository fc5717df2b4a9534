//! No files stand in a circle; no type name is used twice and no parameter is a tuple.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use crate::architecture::{Graph, circles, code, room_of, sources};
use crate::support::root;

/// Beginnings of the paths in `src` of what serves a purpose that commit 21c92f4 did not have.
const ADDED: &str = "\
    carrier/ charts/ cli/backup cli/cluster cli/demo/cooler cli/demo/sensors cli/discover/ \
    cli/fit/data_table cli/fit/export cli/fit/predictions cli/fit/report cli/instruct cli/listen \
    cli/needs cli/reload cli/replay/reading config/advice config/changes config/cluster config/schema \
    config/secrets config/webhook decode/advice decode/explain decode/first_look decode/origins \
    decode/refusals decode/remarks decode/sparkplug detect/alarm_debt detect/feedback detect/joint_level \
    detect/lasting_level detect/lessons detect/level_record detect/record detect/rest detect/silence \
    detect/usual_level encode/receptive engine/interval ep/few ep/network/weights fit/annealing fit/hdf5 \
    fit/integers fit/nir fit/scaling glob history/ http/admin http/api http/assets http/events \
    http/limits http/probes http/summary http/turns metrics/cluster metrics/streams mqtt/broker_drops \
    mqtt/misuse mqtt/window payload/clock payload/digits payload/forms payload/home_assistant \
    payload/mapping payload/missing payload/node payload/overlooked payload/parsed payload/sparkplug \
    payload/template payload/text_records payload/via predict/ progress replay/proposals replay/recorded \
    replay/report/ replay/words row/instruction runtime/clock runtime/cluster runtime/committing \
    runtime/cutting runtime/engine_panic runtime/expiry runtime/heartbeat runtime/input_counts \
    runtime/membership runtime/outlet runtime/partitions runtime/reading_on runtime/retaining \
    runtime/roster runtime/taking_over runtime/tuning state/backup state/first_page state/listing \
    state/mark state/place state/salvage status/inputs status/origins status/recovery status/waits \
    stream/mutes table/column table/layout table/long table/missing table/names table/pivot table/record \
    table/source table/stretch webhook/";

/// Lines of all other files, without tests, today.
const LINES: usize = 40_900;

/// The modules of `src` and their code, by path: `ep::network` for `ep/network.rs`.
struct Modules {
    files: BTreeMap<String, String>,
    texts: BTreeMap<String, String>,
}

impl Modules {
    fn of(src: &Path) -> Modules {
        let (mut files, mut texts) = (BTreeMap::new(), BTreeMap::new());
        for (path, text) in sources(src) {
            let inner = path.strip_prefix(src).expect("in src");
            let file = inner.display().to_string();
            let module = file.trim_end_matches(".rs").trim_end_matches("/mod");
            let module = module.replace('/', "::");
            let lines: Vec<&str> = code(&text).into_iter().map(|(_, line)| line).collect();
            texts.insert(module.clone(), lines.join("\n"));
            files.insert(module, file);
        }
        Modules { files, texts }
    }

    /// The paths that a module imports, each from the root of the crate.
    fn imports(&self, module: &str) -> Vec<String> {
        let text = &self.texts[module];
        let mut found = Vec::new();
        for (at, _) in text.match_indices("use ") {
            let line = text[..at].rsplit('\n').next().unwrap_or_default();
            let begins = line.is_empty() || (line.starts_with("pub") && line.ends_with(' '));
            if begins && let Some((tree, _)) = text[at + 4..].split_once(';') {
                let tree: String = tree.split_whitespace().collect::<Vec<_>>().join(" ");
                found.extend(leaves(&tree));
            }
        }
        found
            .iter()
            .filter_map(|path| self.absolute(module, path))
            .collect()
    }

    fn absolute(&self, module: &str, path: &str) -> Option<String> {
        let mut base: Vec<&str> = module.split("::").collect();
        let mut parts: Vec<&str> = path.split("::").collect();
        if parts[0] == "crate" {
            return Some(parts[1..].join("::"));
        }
        let relative = matches!(parts[0], "super" | "self");
        while parts
            .first()
            .is_some_and(|part| matches!(*part, "super" | "self"))
        {
            if parts.remove(0) == "super" {
                base.pop();
            }
        }
        base.append(&mut parts);
        let path = base.join("::");
        (relative
            || self
                .module_of(&path)
                .is_some_and(|of| of.len() > module.len()))
        .then_some(path)
    }

    /// The longest beginning of a path that is a module.
    fn module_of(&self, path: &str) -> Option<String> {
        let parts: Vec<&str> = path.split("::").collect();
        let mut beginnings = (1..=parts.len()).rev().map(|n| parts[..n].join("::"));
        beginnings.find(|module| self.files.contains_key(module))
    }

    /// The module where what `path` names is defined: imports that are passed on are followed.
    fn home(&self, path: &str, depth: usize) -> Option<String> {
        let module = self.module_of(path)?;
        let name = path.strip_prefix(&module)?.trim_start_matches("::");
        let name = name.split("::").next().unwrap_or_default();
        if name.is_empty() || depth > 5 {
            return Some(module);
        }
        let passed_on = self
            .imports(&module)
            .into_iter()
            .find(|import| import != path && import.rsplit("::").next() == Some(name));
        match passed_on {
            Some(import) => self.home(&import, depth + 1),
            None => Some(module),
        }
    }

    /// Arrows from file to file: imports, and from a file to its parts that it uses. A part may
    /// use what the file above it defines for all of them, so such an arrow is none.
    fn arrows(&self) -> Graph {
        let mut arrows = Graph::new();
        for (module, file) in &self.files {
            let homes = self.imports(module).into_iter();
            let mut to: BTreeSet<String> = homes.filter_map(|path| self.home(&path, 0)).collect();
            let within = format!("{module}::");
            let part = |other: &&String| {
                other.strip_prefix(&within).is_some_and(|name| {
                    !name.contains("::") && self.texts[module].contains(&format!("{name}::"))
                })
            };
            to.extend(self.files.keys().filter(part).cloned());
            let above =
                |other: &String| module == other || module.starts_with(&format!("{other}::"));
            let to = to.iter().filter(|other| !above(other));
            arrows.insert(
                file.clone(),
                to.map(|other| self.files[other].clone()).collect(),
            );
        }
        arrows
    }
}

/// The paths of a tree of imports: `a::{b, c::d}` is `a::b` and `a::c::d`.
fn leaves(tree: &str) -> Vec<String> {
    let Some((before, rest)) = tree.split_once('{') else {
        let path = tree.split(" as ").next().unwrap_or_default().trim();
        return vec![path.trim_end_matches("::self").to_owned()];
    };
    let inner = rest.rsplit_once('}').map_or(rest, |(inner, _)| inner);
    let parts = top_level(inner)
        .into_iter()
        .filter(|part| !part.trim().is_empty());
    parts
        .flat_map(|part| leaves(&format!("{}{}", before.trim(), part.trim())))
        .collect()
}

/// The parts between the commas that stand in no brackets.
fn top_level(text: &str) -> Vec<&str> {
    let (mut depth, mut from, mut parts) = (0_i32, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&text[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&text[from..]);
    parts
}

#[test]
fn no_files_import_one_another_in_a_circle() {
    let arrows = Modules::of(&root().join("src")).arrows();
    assert!(
        arrows.len() > 150,
        "the scan finds the files: {}",
        arrows.len()
    );
    let found = circles(&arrows);
    let found: BTreeMap<_, _> = found.iter().map(|file| (*file, &arrows[*file])).collect();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn imports_of_every_form_are_followed_to_the_file_that_defines() {
    assert_eq!(
        leaves("crate::a::{b, c::{self, D as E}, F}"),
        [
            "crate::a::b",
            "crate::a::c",
            "crate::a::c::D",
            "crate::a::F"
        ]
    );
    let texts = [
        ("a", "mod b;\npub use b::T;\n"),
        ("a::b", "use super::c::U;\npub struct T;\n"),
        ("c", "use crate::a::T;\n"),
        ("a::c", "pub(super) use crate::c::U;\n"),
    ];
    let modules = Modules {
        files: texts
            .map(|(module, _)| (module.into(), module.into()))
            .into(),
        texts: texts
            .map(|(module, text)| (module.into(), text.into()))
            .into(),
    };
    assert_eq!(modules.home("a::T", 0).as_deref(), Some("a::b"));
    let arrows = modules.arrows();
    assert_eq!(circles(&arrows), ["a::b", "c"], "{arrows:?}");
}

/// Names of the types that a text defines at its left margin.
fn types(text: &str) -> Vec<String> {
    let defined = text.lines().filter_map(|line| {
        let rest = match line.strip_prefix("pub") {
            Some(rest) => rest.split_once(' ')?.1,
            None => line,
        };
        let (kind, rest) = rest.split_once(' ')?;
        let is_type = matches!(kind, "struct" | "enum" | "trait" | "type" | "union");
        let name = rest
            .split(|c: char| !c.is_alphanumeric() && c != '_')
            .next()?;
        is_type.then(|| name.to_owned())
    });
    defined.collect()
}

/// Parameters of functions that are tuples, each with the function's name.
fn tuple_parameters(text: &str) -> Vec<String> {
    let mut found = Vec::new();
    for (at, _) in text.match_indices("fn ") {
        let rest = &text[at + 3..];
        let Some(open) = rest.find('(') else {
            continue;
        };
        let name = rest[..open].split('<').next().unwrap_or_default();
        let is_name = |c: char| c.is_alphanumeric() || c == '_';
        if name.is_empty() || !name.chars().all(is_name) {
            continue;
        }
        let mut depth = 0_i32;
        let end = rest[open..].char_indices().find(|(_, c)| {
            depth += i32::from(matches!(c, '(' | '[' | '{'));
            depth -= i32::from(matches!(c, ')' | ']' | '}'));
            depth == 0
        });
        let Some((length, _)) = end else {
            continue;
        };
        let parameters = top_level(&rest[open + 1..open + length]);
        let tuple = |parameter: &&&str| {
            let kind = parameter.split_once(": ").map_or("", |(_, kind)| kind);
            let kind = kind
                .trim_start_matches(['&', ' '])
                .trim_start_matches("mut ");
            parameter.trim_start().starts_with('(') || kind.starts_with('(')
        };
        let n = parameters.iter().filter(tuple).count();
        found.extend(std::iter::repeat_n(name.to_owned(), n));
    }
    found
}

#[test]
fn no_type_name_is_used_twice() {
    let src = root().join("src");
    let mut places: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, text) in sources(&src) {
        let lines: Vec<&str> = code(&text).into_iter().map(|(_, line)| line).collect();
        for name in types(&lines.join("\n")) {
            places.entry(name).or_default().push(room_of(&path, &src));
        }
    }
    assert!(
        places.len() > 300,
        "the scan finds the types: {}",
        places.len()
    );
    places.retain(|_, rooms| rooms.len() > 1);
    assert!(places.is_empty(), "{places:#?}");
}

#[test]
fn no_parameter_is_a_tuple() {
    let src = root().join("src");
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for (path, text) in sources(&src) {
        let lines: Vec<&str> = code(&text).into_iter().map(|(_, line)| line).collect();
        let tuples = tuple_parameters(&lines.join("\n"));
        if !tuples.is_empty() {
            found
                .entry(room_of(&path, &src))
                .or_default()
                .extend(tuples);
        }
    }
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn lines_that_serve_the_purposes_of_21c92f4_only_fall() {
    let src = root().join("src");
    let (mut kept, mut added) = (0, 0);
    for (path, text) in sources(&src) {
        let path = path.strip_prefix(&src).expect("in src");
        let path = path.to_str().expect("a path");
        let is_added = ADDED.split_whitespace().any(|part| path.starts_with(part));
        let lines = code(&text).len();
        *if is_added { &mut added } else { &mut kept } += lines;
    }
    eprintln!("{kept} lines, and {added} lines that serve further purposes");
    assert!(kept <= LINES, "{kept} lines");
}

#[test]
fn the_scans_find_types_and_tuple_parameters() {
    let text = "pub(super) struct A<T>(T);\nenum B {\n    type C = u8;\npub type D = u8;\n";
    assert_eq!(types(text), ["A", "B", "D"]);
    let text = "fn a((x, y): (u8, u8), z: &mut (u8, u8)) -> (u8, u8) {}\nfn b<T>(f: fn(u8, u8), x: [u8; 2]) {}";
    assert_eq!(tuple_parameters(text), ["a", "a"]);
}
