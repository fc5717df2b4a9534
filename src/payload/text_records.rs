//! Line protocol, separated text, pairs and SenML to the tree of records that the mapping reads.

use std::borrow::Cow;

use super::Reject;
use super::node::Node;

/// Reads InfluxDB line protocol: `measurement,tag=a field=1.5,other=71i 1772323200000000000`, a
/// record a line with `measurement`, `tags`, `fields` and, where there is one, `ts`.
///
/// # Errors
/// [`Reject::Malformed`] if a line is none.
pub fn parse_line_protocol(text: &str) -> Result<Node<'_>, Reject> {
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.is_empty() && !line.starts_with('#'));
    let records: Option<Vec<Node<'_>>> = lines.map(line).collect();
    match records {
        Some(records) if !records.is_empty() => Ok(Node::Array(records)),
        _ => Err(Reject::Malformed),
    }
}

fn line(text: &str) -> Option<Node<'_>> {
    let (key, rest) = split_unescaped(text, b' ', false)?;
    let (fields, time) = match split_unescaped(rest.trim_start(), b' ', true) {
        Some((fields, time)) => (fields, time.trim()),
        None => (rest.trim_start(), ""),
    };
    let mut parts = split_all(key, b',', false).into_iter();
    let measurement = parts.next().filter(|name| !name.is_empty())?;
    let tags: Option<Vec<_>> = parts
        .map(|part| {
            let (name, value) = split_unescaped(part, b'=', false)?;
            Some((unescape(name), Node::Text(unescape(value))))
        })
        .collect();
    let fields: Option<Vec<_>> = split_all(fields, b',', true)
        .into_iter()
        .map(|part| {
            let (name, value) = split_unescaped(part, b'=', true)?;
            (!name.is_empty()).then_some((unescape(name), field(value)?))
        })
        .collect();
    let mut record = vec![
        (
            Cow::Borrowed("measurement"),
            Node::Text(unescape(measurement)),
        ),
        (Cow::Borrowed("tags"), Node::Object(tags?)),
        (Cow::Borrowed("fields"), Node::Object(fields?)),
    ];
    if !time.is_empty() {
        record.push((Cow::Borrowed("ts"), Node::Whole(time.parse().ok()?)));
    }
    Some(Node::Object(record))
}

/// A field's value: `1.5`, `71i`, `71u`, `t`, `"text"`.
#[expect(clippy::cast_precision_loss, reason = "measurements are f64")]
fn field(text: &str) -> Option<Node<'_>> {
    if let Some(quoted) = text.strip_prefix('"') {
        return Some(Node::Text(unescape(quoted.strip_suffix('"')?)));
    }
    if let Some(whole) = text.strip_suffix('i') {
        return whole.parse().ok().map(Node::Whole);
    }
    if let Some(whole) = text.strip_suffix('u') {
        let n: u64 = whole.parse().ok()?;
        return Some(i64::try_from(n).map_or(Node::Number(n as f64), Node::Whole));
    }
    match text {
        "t" | "T" | "true" | "True" | "TRUE" => Some(Node::Bool(true)),
        "f" | "F" | "false" | "False" | "FALSE" => Some(Node::Bool(false)),
        _ => text.parse().ok().map(Node::Number),
    }
}

/// Splits at the first `at` that is neither escaped nor, with `quotes`, within a quoted text.
fn split_unescaped(text: &str, at: u8, quotes: bool) -> Option<(&str, &str)> {
    let (mut escaped, mut quoted) = (false, false);
    for (i, byte) in text.bytes().enumerate() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' if quotes => quoted = !quoted,
            _ if byte == at && !quoted => return Some((&text[..i], &text[i + 1..])),
            _ => {}
        }
    }
    None
}

fn split_all(mut text: &str, at: u8, quotes: bool) -> Vec<&str> {
    let mut parts = Vec::new();
    while let Some((part, rest)) = split_unescaped(text, at, quotes) {
        parts.push(part);
        text = rest;
    }
    parts.push(text);
    parts
}

fn unescape(text: &str) -> Cow<'_, str> {
    if !text.contains('\\') {
        return Cow::Borrowed(text);
    }
    let mut plain = String::with_capacity(text.len());
    let mut chars = text.chars().peekable();
    while let Some(c) = chars.next() {
        let special = |next: &char| matches!(next, ',' | ' ' | '=' | '"' | '\\');
        match (c, chars.peek()) {
            ('\\', Some(next)) if special(next) => plain.extend(chars.next()),
            _ => plain.push(c),
        }
    }
    Cow::Owned(plain)
}

/// How separated text is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    /// Between the fields.
    pub separator: char,
    /// Names of the fields by position, an empty one for a field that is left out; none takes the
    /// first line for a header where it has no number, else the positions 1, 2, ...
    pub names: Vec<String>,
}

impl Default for Columns {
    fn default() -> Columns {
        Columns {
            separator: ',',
            names: Vec::new(),
        }
    }
}

/// Reads lines of separated fields, a record a line.
///
/// # Errors
/// [`Reject::Malformed`] if there is no line with two fields.
pub fn parse_separated<'a>(text: &'a str, columns: &'a Columns) -> Result<Node<'a>, Reject> {
    let mut lines = text
        .lines()
        .map(str::trim)
        .filter(|line| !line.is_empty())
        .peekable();
    let fields = |line: &'a str| -> Vec<&'a str> {
        let fields = line.split(columns.separator);
        fields.map(|field| field.trim().trim_matches('"')).collect()
    };
    let mut names: Vec<Cow<'a, str>> = columns
        .names
        .iter()
        .map(|name| Cow::Borrowed(name.as_str()))
        .collect();
    if names.is_empty()
        && let Some(first) = lines.peek().map(|line| fields(line))
        && text.lines().count() > 1
        && first
            .iter()
            .all(|field| !field.is_empty() && field.parse::<f64>().is_err())
    {
        names = first.into_iter().map(Cow::Borrowed).collect();
        lines.next();
    }
    let mut records = Vec::new();
    for line in lines {
        let fields = fields(line);
        if fields.len() < 2 && names.len() != 1 {
            return Err(Reject::Malformed);
        }
        let members = fields.iter().enumerate().filter_map(|(i, field)| {
            let name = match (names.get(i), names.is_empty()) {
                (Some(name), _) => name.clone(),
                (None, true) => Cow::Owned((i + 1).to_string()),
                (None, false) => return None,
            };
            let wanted = !name.is_empty() && !field.is_empty();
            wanted.then(|| (name, cell(field)))
        });
        records.push(Node::Object(members.collect()));
    }
    match records.is_empty() {
        true => Err(Reject::Malformed),
        false => Ok(Node::Array(records)),
    }
}

/// Characters that may stand between pairs, the surest first; blanks may also stand within one.
const BETWEEN_PAIRS: [char; 6] = ['\n', ';', '&', '|', '\t', ','];

/// Reads names and values: `temp=21.5;hum=40`, `temp: 21.5 hum: 50`, a pair a line. A part that is no
/// pair is named by its position: 1, 2, ...
///
/// # Errors
/// [`Reject::Malformed`] if there is no pair.
pub fn parse_pairs(text: &str) -> Result<Node<'_>, Reject> {
    let equals = if text.contains('=') { '=' } else { ':' };
    let marks = pair_marks(text, equals);
    if marks.is_empty() {
        return Err(Reject::Malformed);
    }
    let fits = |between: &&char| {
        let parts = || text.split(**between).filter(|part| !part.trim().is_empty());
        let pairs = parts().filter(|part| pair(part, equals).is_some()).count();
        // A comma may also be decimal: every part is a pair then.
        pairs > 1 && pairs == marks.len() && (**between != ',' || parts().count() == pairs)
    };
    let parts: Vec<&str> = match BETWEEN_PAIRS.iter().find(fits) {
        Some(between) => text.split(*between).collect(),
        None => at_blanks(text, &marks),
    };
    let mut members = Vec::new();
    let mut pairs = 0;
    for (i, part) in parts.iter().map(|part| part.trim()).enumerate() {
        match pair(part, equals) {
            Some((name, value)) => {
                pairs += 1;
                members.push((Cow::Borrowed(name), cell(value)));
            }
            None if part.is_empty() => {}
            None => members.push((Cow::Owned((i + 1).to_string()), cell(part))),
        }
    }
    match pairs {
        0 => Err(Reject::Malformed),
        _ => Ok(Node::Object(members)),
    }
}

/// The text is of names and values, at least one of which is a number.
pub fn has_pairs(text: &str) -> bool {
    let Ok(Node::Object(members)) = parse_pairs(text) else {
        return false;
    };
    let is_number = |node: &Node<'_>| node.measurement(true).is_ok();
    let is_name = |name: &str| name.starts_with(char::is_alphabetic) && name.len() <= 60;
    members
        .iter()
        .any(|(name, value)| is_name(name) && is_number(value))
}

/// A name and its value, which may be empty.
fn pair(part: &str, equals: char) -> Option<(&str, &str)> {
    let (name, value) = part.split_once(equals)?;
    let name = name.trim().trim_matches('"');
    // A time of day.
    let is_hour = equals == ':' && name.bytes().all(|byte| byte.is_ascii_digit());
    let is_name = !name.is_empty() && !is_hour;
    is_name.then(|| (name, value.trim().trim_matches('"')))
}

/// Places of the marks between names and values; colons within a time of day are none.
fn pair_marks(text: &str, equals: char) -> Vec<usize> {
    let is_mark = |at: &usize| {
        let before = text[..*at].trim_end();
        let word = before
            .rsplit(|c: char| c.is_whitespace() || c == equals || BETWEEN_PAIRS.contains(&c))
            .next();
        equals == '=' || word.is_some_and(|word| !word.bytes().all(|byte| byte.is_ascii_digit()))
    };
    let places = text.match_indices(equals).map(|(at, _)| at);
    places.filter(is_mark).collect()
}

/// Splits before each word that begins a pair: the last word in front of a mark.
fn at_blanks<'a>(text: &'a str, marks: &[usize]) -> Vec<&'a str> {
    let start = |at: &usize| {
        let before = text[..*at].trim_end();
        let word = before.char_indices().rev().find(|(_, c)| c.is_whitespace());
        word.map_or(0, |(blank, c)| blank + c.len_utf8())
    };
    let mut starts: Vec<usize> = marks.iter().map(start).collect();
    starts.dedup();
    let mut parts = Vec::with_capacity(starts.len() + 1);
    let first = starts.first().copied().unwrap_or(text.len());
    parts.extend(Some(&text[..first]).filter(|lead| !lead.trim().is_empty()));
    for (i, from) in starts.iter().enumerate() {
        let to = starts.get(i + 1).copied().unwrap_or(text.len());
        parts.push(&text[*from..to]);
    }
    parts
}

/// A field: leading zeros are those of a fixed width, not of an identifier.
fn cell(field: &str) -> Node<'_> {
    match field.parse::<f64>() {
        Ok(x) if x.is_finite() && field.len() < 16 => Node::Number(x),
        _ => Node::Text(Cow::Borrowed(field)),
    }
}

/// Times below this are relative to now (RFC 8428, section 4.5.3), seconds.
const SENML_RELATIVE_S: f64 = 268_435_456.0;

/// Resolves SenML (RFC 8428): records with `n`, `v` and `ts` (unix seconds), their base name, time
/// and value put in. Relative times count from `arrival_ms`.
///
/// # Errors
/// [`Reject::Malformed`] if the document is no list of objects.
#[expect(
    clippy::cast_precision_loss,
    reason = "a time of arrival is below 2^53"
)]
pub fn resolve_senml<'a>(document: &Node<'a>, arrival_ms: i64) -> Result<Node<'a>, Reject> {
    let Node::Array(items) = document else {
        return Err(Reject::Malformed);
    };
    let (mut name, mut time, mut value) = (String::new(), 0.0, 0.0);
    let mut records = Vec::new();
    for item in items {
        let Node::Object(_) = item else {
            return Err(Reject::Malformed);
        };
        let number = |key: &str| item.get(key).and_then(|node| node.measurement(false).ok());
        if let Some(Node::Text(base)) = item.get("bn") {
            name = base.clone().into_owned();
        }
        time = number("bt").unwrap_or(time);
        value = number("bv").unwrap_or(value);
        let own = match item.get("n") {
            Some(Node::Text(own)) => own.clone(),
            _ => Cow::Borrowed(""),
        };
        let measured = match (number("v"), item.get("vb"), item.get("vs")) {
            (Some(v), _, _) => Node::Number(v + value),
            (None, Some(state), _) => state.clone(),
            (None, None, Some(text)) => text.clone(),
            // A record of base values only.
            (None, None, None) => continue,
        };
        let at = time + number("t").unwrap_or(0.0);
        let at = match at < SENML_RELATIVE_S {
            true => arrival_ms as f64 / 1000.0 + at,
            false => at,
        };
        records.push(Node::Object(vec![
            (
                Cow::Borrowed("n"),
                Node::Text(Cow::Owned(format!("{name}{own}"))),
            ),
            (Cow::Borrowed("v"), measured),
            (Cow::Borrowed("ts"), Node::Number(at)),
        ]));
    }
    Ok(Node::Array(records))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Pointer;

    fn show(node: &Node<'_>, pointer: &str) -> String {
        let mut text = String::new();
        let found = node.at(&Pointer::new(pointer).unwrap());
        assert!(found.is_none_or(|node| node.write(&mut text)));
        text
    }

    #[test]
    fn line_protocol_is_read_with_its_escapes_and_kinds() {
        let text = "# made up\nwea\\ ther,loc\\,1=hall\\ 1,b=2 t=82.1,h=71i,u=7u,ok=t,s=\"a b,c=\\\"d\\\"\" 1772323200000000000\ncpu x=1e3\n";
        let node = parse_line_protocol(text).unwrap();
        for (pointer, value) in [
            ("/0/measurement", "wea ther"),
            ("/0/tags/loc,1", "hall 1"),
            ("/0/fields/t", "82.1"),
            ("/0/fields/h", "71"),
            ("/0/fields/u", "7"),
            ("/0/fields/ok", "true"),
            ("/0/fields/s", "a b,c=\"d\""),
            ("/0/ts", "1772323200000000000"),
            ("/1/fields/x", "1000"),
            ("/1/ts", ""),
        ] {
            assert_eq!(show(&node, pointer), value, "{pointer}");
        }
        for wrong in [
            "",
            "21.5",
            "a b",
            "a b=c",
            "{\"a\":1}",
            "a,b c=1",
            "a x=1 soon",
            "a =1",
        ] {
            assert_eq!(
                parse_line_protocol(wrong),
                Err(Reject::Malformed),
                "{wrong}"
            );
        }
    }

    #[test]
    fn separated_text_has_fields_by_position_by_name_or_by_header() {
        let columns = Columns::default();
        let node = parse_separated("A1,026.9,x\n", &columns).unwrap();
        assert_eq!(show(&node, "/0/2"), "26.9");
        let node = parse_separated("time,a,b\n1,2,3\n4,5,6", &columns).unwrap();
        assert_eq!(show(&node, "/1/b"), "6");
        let named = Columns {
            separator: ';',
            names: ["id", "", "t"].map(str::to_owned).to_vec(),
        };
        let node = parse_separated("A;7;21.5;9", &named).unwrap();
        let Node::Array(records) = &node else {
            panic!()
        };
        let Node::Object(members) = &records[0] else {
            panic!()
        };
        assert_eq!((members.len(), show(&node, "/0/t")), (2, "21.5".to_owned()));
        assert!(parse_separated("warm", &columns).is_err());
    }

    #[test]
    fn names_and_values_are_read_whatever_stands_between_them() {
        for (text, expected) in [
            ("temp=21.5;hum=40", &[("temp", "21.5"), ("hum", "40")][..]),
            ("temp: 21.5 hum: 50", &[("temp", "21.5"), ("hum", "50")]),
            (
                "temp = 21.5 C, hum = 50 %",
                &[("temp", "21.5 C"), ("hum", "50 %")],
            ),
            ("t=21,5 h=40,1", &[("t", "21,5"), ("h", "40,1")]),
            ("t1:21.5,t2:22", &[("t1", "21.5"), ("t2", "22")]),
            (
                "a=1 b=2\nc=3 d=4",
                &[("a", "1"), ("b", "2"), ("c", "3"), ("d", "4")],
            ),
            (
                "time: 10:00:00\ntemp: 5",
                &[("time", "10:00:00"), ("temp", "5")],
            ),
            (
                "ts=2026-03-01T10:00:00&t=5",
                &[("ts", "2026-03-01T10:00:00"), ("t", "5")],
            ),
            (
                "OK temp=21.5 hum=",
                &[("1", "OK"), ("temp", "21.5"), ("hum", "")],
            ),
            ("x=5", &[("x", "5")]),
        ] {
            let node = parse_pairs(text).unwrap();
            let Node::Object(members) = &node else {
                panic!("{text}: {node:?}")
            };
            let shown: Vec<(String, String)> = members
                .iter()
                .map(|(name, value)| {
                    let mut text = String::new();
                    value.write(&mut text);
                    (name.to_string(), text)
                })
                .collect();
            let expected: Vec<(String, String)> = expected
                .iter()
                .map(|(name, value)| ((*name).to_owned(), (*value).to_owned()))
                .collect();
            assert_eq!(shown, expected, "{text}");
        }
        for text in ["21.5", "warm", "12:30:00", "=5", ":", "2026-03-01 10:00"] {
            assert_eq!(parse_pairs(text), Err(Reject::Malformed), "{text}");
        }
    }

    #[test]
    fn senml_records_get_their_base_name_time_and_value() {
        let text = r#"[{"bn":"dev:","bt":1.6e9,"bv":10},{"n":"t","v":1,"t":-5},
                       {"n":"on","vb":true}]"#;
        let document: Node<'_> = serde_json::from_str(text).unwrap();
        let node = resolve_senml(&document, 0).unwrap();
        assert_eq!(show(&node, "/0/n"), "dev:t");
        assert_eq!(show(&node, "/0/v"), "11");
        assert_eq!(show(&node, "/0/ts"), "1599999995");
        assert_eq!(show(&node, "/1/n"), "dev:on");
        let now: Node<'_> = serde_json::from_str(r#"[{"n":"t","v":1,"t":-5}]"#).unwrap();
        let node = resolve_senml(&now, 1_772_323_200_000).unwrap();
        assert_eq!(show(&node, "/0/ts"), "1772323195");
    }
}
