//! Names of streams and channels: templates of topic levels, members of the payload and keys.

use super::node::{Node, Pointer};

/// A part of a template.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    Text(String),
    /// `{hall}`: a level of the topic, by its place among the captured ones.
    Level(usize),
    /// `{/pointer}`: of the document; `*` is the key of the record at that place.
    Document(Pointer),
    /// `{./pointer}`: of the record.
    RecordView(Pointer),
    /// `{key}`, `{key1}`: name or index of the record, counted from outside.
    Key(Option<usize>),
}

/// A name that is built from a topic and a payload, such as `{hall}.{/device/id}`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    pieces: Vec<Piece>,
}

/// A key on the way to a record: the name of a member or the index of an element.
#[derive(Clone, Copy, Debug)]
pub(super) enum Key<'a> {
    Name(&'a str),
    Index(usize),
}

/// The record that a template is filled in for.
#[derive(Clone, Copy, Debug)]
pub(super) struct RecordView<'a> {
    /// The whole document.
    pub document: &'a Node<'a>,
    /// The record itself.
    pub node: &'a Node<'a>,
    /// The keys that lead to it, outermost first; none where the document is the record.
    pub keys: &'a [Key<'a>],
    /// Elements of the array that it is one of; 0 where it is of none.
    pub siblings: usize,
}

impl<'a> RecordView<'a> {
    /// The node that a pointer into the document names; `*` is the key at its place.
    pub fn in_document(&self, pointer: &Pointer) -> Option<&'a Node<'a>> {
        let mut keys = self.keys.iter();
        pointer.tokens().try_fold(self.document, |node, token| {
            let key = (token == "*").then(|| keys.next()).flatten();
            match key {
                Some(Key::Name(name)) => node.get(name),
                Some(Key::Index(idx)) => match node {
                    Node::Array(items) => items.get(*idx),
                    _ => None,
                },
                None => node.get(token),
            }
        })
    }
}

impl Template {
    /// Reads a template. `level` gives the place of a named topic level; `tag` a pointer into the
    /// record for a name that is no level (tags of the line protocol, columns of a table).
    ///
    /// # Errors
    /// The error.
    pub fn new(
        text: &str,
        level: impl Fn(&str) -> Option<usize>,
        tag: impl Fn(&str) -> Option<String>,
    ) -> Result<Template, String> {
        let mut template = Template::default();
        let mut rest = text;
        while let Some(at) = rest.find(['{', '}']) {
            let (before, inner) = rest.split_at(at);
            template.push_text(before);
            let inside = inner
                .strip_prefix('{')
                .and_then(|inner| inner.split_once('}'));
            let Some((name, after)) = inside else {
                return Err("a { for each }".to_owned());
            };
            template.pieces.push(match name {
                "key" => Piece::Key(None),
                "key1" | "key2" | "key3" => {
                    Piece::Key(Some(usize::from(name.as_bytes()[3] - b'1')))
                }
                _ if name.starts_with('/') => Piece::Document(Pointer::new(name)?),
                _ if name.starts_with("./") => Piece::RecordView(Pointer::new(&name[1..])?),
                _ => match (level(name), tag(name)) {
                    (Some(place), _) => Piece::Level(place),
                    (None, Some(pointer)) => Piece::RecordView(Pointer::new(&pointer)?),
                    (None, None) => {
                        return Err(format!(
                            "names of topic levels, {{/pointer}}, {{./pointer}} or {{key}} in \
                             braces ({{{name}}} is no level of the topic)"
                        ));
                    }
                },
            });
            rest = after;
        }
        template.push_text(rest);
        Ok(template)
    }

    /// Topic levels, with points between them.
    pub(crate) fn of_levels(levels: &[usize]) -> Template {
        let mut template = Template::default();
        for (i, level) in levels.iter().enumerate() {
            if i > 0 {
                template.push_text(".");
            }
            template.pieces.push(Piece::Level(*level));
        }
        template
    }

    fn push_text(&mut self, text: &str) {
        if text.is_empty() {
            return;
        }
        match self.pieces.last_mut() {
            Some(Piece::Text(last)) => last.push_str(text),
            _ => self.pieces.push(Piece::Text(text.to_owned())),
        }
    }

    fn drop_point(&mut self) {
        if let Some(Piece::Text(last)) = self.pieces.last_mut()
            && last.ends_with('.')
        {
            last.pop();
        }
    }

    /// The same with the topic's levels filled in; `/` in a level becomes `.`.
    pub fn with_levels(&self, levels: &[&str]) -> Template {
        let mut filled = Template::default();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => filled.push_text(text),
                Piece::Level(place) => {
                    let level = levels.get(*place).copied().unwrap_or_default();
                    match level.contains('/') {
                        // An empty rest needs no point in front.
                        _ if level.is_empty() => filled.drop_point(),
                        true => filled.push_text(&level.replace('/', ".")),
                        false => filled.push_text(level),
                    }
                }
                other => filled.pieces.push(other.clone()),
            }
        }
        filled
    }

    /// Whether the topic alone decides the name.
    pub fn is_of_topic(&self) -> bool {
        let of_topic = |piece: &Piece| matches!(piece, Piece::Text(_) | Piece::Level(_));
        self.pieces.iter().all(of_topic)
    }

    /// The name, where nothing is left to fill in.
    pub fn constant(&self) -> Option<&str> {
        match self.pieces.as_slice() {
            [] => Some(""),
            [Piece::Text(text)] => Some(text),
            _ => None,
        }
    }

    /// A level of the topic is in it.
    pub fn names_level(&self, place: usize) -> bool {
        self.pieces.contains(&Piece::Level(place))
    }

    /// Appends the name for a record; `/` becomes `.`.
    ///
    /// # Errors
    /// The part that the record does not have.
    pub(super) fn render(&self, record: &RecordView<'_>, out: &mut String) -> Result<(), String> {
        self.fill(record, true, out)
    }

    /// Appends the text for a record as its members have it.
    ///
    /// # Errors
    /// The part that the record does not have.
    pub(super) fn write(&self, record: &RecordView<'_>, out: &mut String) -> Result<(), String> {
        self.fill(record, false, out)
    }

    /// Fills in; where it is a name, each `/` of a member becomes `.`.
    fn fill(&self, record: &RecordView<'_>, name: bool, out: &mut String) -> Result<(), String> {
        for piece in &self.pieces {
            let from = out.len();
            let node = match piece {
                Piece::Text(text) => {
                    out.push_str(text);
                    continue;
                }
                Piece::Level(_) => continue,
                Piece::Key(place) => {
                    let key = match place {
                        Some(place) => record.keys.get(*place),
                        None => record.keys.last(),
                    };
                    match key {
                        Some(Key::Name(name)) => out.push_str(name),
                        Some(Key::Index(idx)) => out.push_str(&idx.to_string()),
                        None => return Err("{key}".to_owned()),
                    }
                    no_slashes(out, from);
                    continue;
                }
                Piece::Document(pointer) => record.in_document(pointer),
                Piece::RecordView(pointer) => record.node.at(pointer),
            };
            if !node.is_some_and(|node| node.write(out)) {
                return Err(piece.to_string());
            }
            if name {
                no_slashes(out, from);
            }
        }
        Ok(())
    }

    /// Tells `each` of the nodes of a record that its names are made of.
    pub(super) fn sources<'a>(&self, record: &RecordView<'a>, mut each: impl FnMut(&'a Node<'a>)) {
        for piece in &self.pieces {
            let node = match piece {
                Piece::Document(pointer) => record.in_document(pointer),
                Piece::RecordView(pointer) => record.node.at(pointer),
                Piece::Text(_) | Piece::Level(_) | Piece::Key(_) => None,
            };
            node.into_iter().for_each(&mut each);
        }
    }
}

impl std::fmt::Display for Piece {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Piece::Text(text) => f.write_str(text),
            Piece::Level(place) => write!(f, "{{level {place}}}"),
            Piece::Document(pointer) => write!(f, "{{{pointer}}}"),
            Piece::RecordView(pointer) => write!(f, "{{.{pointer}}}"),
            Piece::Key(_) => f.write_str("{key}"),
        }
    }
}

/// Makes each `/` behind `from` a `.`: names are topic levels; one in front goes.
pub(super) fn no_slashes(name: &mut String, from: usize) {
    if !name[from..].contains('/') {
        return;
    }
    let clean = name[from..].trim_matches('/').replace('/', ".");
    name.truncate(from);
    name.push_str(&clean);
}

/// The names of one topic's readings, as far as the topic decides them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Names {
    /// Of the stream.
    pub stream: Template,
    /// Of the channel, or what is put before the members' names; `None` where those are all.
    pub channel: Option<Template>,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn template(text: &str) -> Result<Template, String> {
        let level = |name: &str| ["hall", "rest"].iter().position(|n| *n == name);
        Template::new(text, level, |_| None)
    }

    #[test]
    fn names_are_built_from_levels_members_and_keys() {
        let text = r#"{"dev":{"id":7},"list":[{"n":"a/b","t":2.5},{"t":1}]}"#;
        let document: Node<'_> = serde_json::from_str(text).unwrap();
        let list = document.get("list").unwrap();
        let name = |text: &str, idx: usize| {
            let filled = template(text).unwrap().with_levels(&["h1", "x/y"]);
            let record = RecordView {
                document: &document,
                node: list.get(&idx.to_string()).unwrap(),
                keys: &[Key::Index(idx)],
                siblings: 2,
            };
            let mut out = String::new();
            filled.render(&record, &mut out).map(|()| out)
        };
        assert_eq!(name("{hall}.{rest}", 0), Ok("h1.x.y".to_owned()));
        assert_eq!(name("{/dev/id}-{./n}", 0), Ok("7-a.b".to_owned()));
        assert_eq!(name("m{key}", 1), Ok("m1".to_owned()));
        assert_eq!(name("{/list/*/t}", 0), Ok("2.5".to_owned()));
        assert_eq!(name("{./n}", 1), Err("{./n}".to_owned()));
        let constant = template("{hall}_{rest}").unwrap();
        assert!(constant.is_of_topic());
        let constant = constant.with_levels(&["h", "r"]);
        assert_eq!(constant.constant(), Some("h_r"));
    }

    #[test]
    fn a_template_that_names_nothing_is_refused() {
        for wrong in ["{hal}", "{", "a}b", "{./a~2}", "{hall"] {
            assert!(template(wrong).is_err(), "{wrong}");
        }
    }
}
