//! Finds members of a document that the settings overlook: numbers within texts, times, identifiers.

use super::node::Node;
use super::template::{Names, RecordView};
use super::{Form, Format, Reject, number, parse_pairs, parse_separated, text_of};
use crate::time::{TimeUnit, parse_moment};

/// Names that members have which hold the time of a message, in small letters.
const TIME_MEMBERS: [&str; 9] = [
    "ts",
    "time",
    "timestamp",
    "datetime",
    "epoch",
    "unixtime",
    "utc",
    "t",
    "date",
];

/// Names that members have which tell devices apart, in small letters and digits.
const IDENTIFIERS: [&str; 26] = [
    "id",
    "device",
    "deviceid",
    "devicename",
    "deviceeui",
    "deveui",
    "eui",
    "mac",
    "macaddress",
    "address",
    "addr",
    "serial",
    "serialnumber",
    "sn",
    "node",
    "nodeid",
    "sensor",
    "sensorid",
    "sensorname",
    "name",
    "uuid",
    "tag",
    "machine",
    "machineid",
    "station",
    "meter",
];

/// Elements of a list that are looked at.
const MAX_ELEMENTS: usize = 20;
/// Nesting that is followed.
const MAX_DEPTH: usize = 4;
const DAY_MS: u64 = 86_400_000;

/// A member whose text begins with a number and is left out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TextNumber {
    /// Path of the member.
    pub member: String,
    /// Its text.
    pub text: String,
    /// `numbers = "lenient"` reads it.
    pub is_lenient: bool,
}

/// The name is one that times of messages have.
pub fn names_a_time(name: &str) -> bool {
    TIME_MEMBERS.contains(&name.to_lowercase().as_str())
}

/// A number with a decimal point, a blank and words, which is no date: a measurement with a unit that is
/// not known. Whole numbers stand in addresses and names as well.
fn number_and_words(text: &str) -> bool {
    let Some((number, words)) = text.split_once(' ') else {
        return false;
    };
    number.contains('.')
        && number.parse::<f64>().is_ok()
        && words
            .trim_start()
            .starts_with(|c: char| c.is_alphabetic() || c == '%' || c == '°')
        && parse_moment(text).is_none()
}

/// An element that a measurement may come from: a number, or an object with one as a member.
fn has_number(element: &Node<'_>) -> bool {
    match element {
        Node::Object(members) => members
            .iter()
            .any(|(_, inner)| inner.is_scalar() && has_number(inner)),
        Node::Null | Node::Array(_) => false,
        scalar => scalar.measurement(true).is_ok(),
    }
}

impl Format {
    /// The tree of a payload; `None` where it is none.
    pub fn tree<'a>(&'a self, payload: &'a [u8]) -> Option<Node<'a>> {
        let text = text_of(payload).ok()?;
        match self.form {
            Form::Csv => parse_separated(text, &self.columns).ok(),
            Form::Pairs => parse_pairs(text).ok(),
            _ if text.starts_with(['{', '[']) => serde_json::from_str(text).ok(),
            _ => None,
        }
    }

    /// The first member whose text begins with a number but is read as none: with `numbers = "lenient"`
    /// it may be one.
    pub fn number_in_text(&self, document: &Node<'_>) -> Option<TextNumber> {
        if !matches!(self.form, Form::Object | Form::Csv | Form::Pairs) {
            return None;
        }
        let channels = match self.value.of_record {
            true => document,
            false => document.at(&self.value.pointer)?,
        };
        let mut path = String::new();
        self.in_text(channels, &mut path, 0)
    }

    fn in_text(&self, node: &Node<'_>, path: &mut String, depth: usize) -> Option<TextNumber> {
        match node {
            Node::Array(items) if depth == 0 => {
                let mut items = items.iter().take(MAX_ELEMENTS);
                items.find_map(|item| self.in_text(item, path, 1))
            }
            Node::Object(members) if depth < MAX_DEPTH => {
                members.iter().find_map(|(name, inner)| {
                    let length = path.len();
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(name);
                    let found = self.in_text(inner, path, depth + 1);
                    path.truncate(length);
                    found
                })
            }
            Node::Text(text) if !path.is_empty() => {
                let text = text.trim();
                // Digits with a comma or grouped: letters behind digits alone are rather a name.
                let written = text.contains([',', '\'', '\u{a0}', '\u{202f}', ' ']);
                let malformed =
                    |lenient| number::parse_member(text, lenient) == Err(Reject::Malformed);
                if !written || !self.wants(path, path) || !malformed(self.lenient) {
                    return None;
                }
                let is_lenient = !malformed(true);
                (is_lenient || number_and_words(text)).then(|| TextNumber {
                    member: path.clone(),
                    text: text.to_owned(),
                    is_lenient,
                })
            }
            _ => None,
        }
    }

    /// Pointer to a list with numbers in it that is left out, since channels are members of objects.
    pub fn list_left_out(&self, document: &Node<'_>) -> Option<String> {
        if self.form != Form::Object || self.each.is_some() {
            return None;
        }
        let channels = document.at(&self.value.pointer)?;
        self.list_within(channels, &mut String::new(), 0)
    }

    fn list_within(&self, node: &Node<'_>, path: &mut String, depth: usize) -> Option<String> {
        match node {
            Node::Array(items) if !path.is_empty() => {
                let numbers = items.iter().take(MAX_ELEMENTS).any(has_number);
                let name = &path[1..].replace('/', ".");
                (numbers && self.wants(name, name)).then(|| path.clone())
            }
            Node::Object(members) if depth < MAX_DEPTH => {
                members.iter().find_map(|(name, inner)| {
                    let length = path.len();
                    path.push('/');
                    path.push_str(name);
                    let found = self.list_within(inner, path, depth + 1);
                    path.truncate(length);
                    found
                })
            }
            _ => None,
        }
    }

    /// Pointer to a member that is named as the time of a message is, lies within a day of the arrival,
    /// and is neither used nor a channel.
    pub fn unused_time(&self, document: &Node<'_>, arrival_ms: i64) -> Option<String> {
        let Node::Object(members) = document else {
            return None;
        };
        let near = |ms: Option<i64>| ms.is_some_and(|ms| ms.abs_diff(arrival_ms) < DAY_MS);
        let is_time = |node: &Node<'_>| match node {
            Node::Text(text) => near(parse_moment(text).and_then(|moment| moment.utc_ms())),
            Node::Whole(n) if self.form != Form::Object => near(TimeUnit::Auto.whole(*n)),
            Node::Number(x) if self.form != Form::Object => near(TimeUnit::Auto.fractional(*x)),
            _ => false,
        };
        let mut members = members.iter();
        let found = members.find(|(name, node)| names_a_time(name) && is_time(node));
        found.map(|(name, _)| format!("/{name}"))
    }

    /// Members of the document that are named as identifiers are, and that make up no name: pointer
    /// and value of each.
    pub fn identifiers(&self, document: &Node<'_>, names: Option<&Names>) -> Vec<(String, String)> {
        let Node::Object(members) = document else {
            return Vec::new();
        };
        let record = RecordView {
            document,
            node: document,
            keys: &[],
            siblings: 0,
        };
        let mut used: Vec<*const ()> = Vec::new();
        let place = |node: &Node<'_>| std::ptr::from_ref(node).cast::<()>();
        let mut note = |node: &Node<'_>| used.push(place(node));
        if let Some(names) = names {
            names.stream.sources(&record, &mut note);
            let channel = names.channel.as_ref();
            channel
                .into_iter()
                .for_each(|channel| channel.sources(&record, &mut note));
        }
        let word = |name: &str| -> String {
            let letters = name.chars().filter(|c| c.is_alphanumeric());
            letters.flat_map(char::to_lowercase).collect()
        };
        let is_one = |(name, node): &&(std::borrow::Cow<'_, str>, Node<'_>)| {
            matches!(node, Node::Text(_) | Node::Whole(_))
                && !used.contains(&place(node))
                && IDENTIFIERS.contains(&word(name).as_str())
        };
        let found = members.iter().filter(is_one).map(|(name, node)| {
            let mut value = String::new();
            node.write(&mut value);
            (format!("/{name}"), value)
        });
        found.collect()
    }
}
