//! JSON payloads: the whole document, or two members of it without the rest.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, Visitor};

use super::Reject;
use super::node::{Node, NodeSeed};

/// Nesting of a document from which on it is refused; serde_json follows no further either.
const MAX_DEPTH: usize = 128;

/// Reads a whole document.
///
/// # Errors
/// Why it is none.
pub(super) fn document(text: &str) -> Result<Node<'_>, Reject> {
    serde_json::from_str(text).map_err(|error| reason(text, &error))
}

/// Why a document was not read.
fn reason(text: &str, error: &serde_json::Error) -> Reject {
    if depth(text) >= MAX_DEPTH {
        return Reject::TooDeep;
    }
    if error.to_string().starts_with("number out of range") {
        return Reject::NotFinite;
    }
    Reject::Malformed
}

/// Deepest nesting of brackets outside of strings.
fn depth(text: &str) -> usize {
    let (mut depth, mut deepest, mut quoted, mut escaped) = (0usize, 0usize, false, false);
    for byte in text.bytes() {
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            b'{' | b'[' if !quoted => {
                depth += 1;
                deepest = deepest.max(depth);
            }
            b'}' | b']' if !quoted => depth = depth.saturating_sub(1),
            _ => {}
        }
    }
    deepest
}

type TwoMembers<'a> = (Option<Node<'a>>, Option<Node<'a>>);

/// Reads two members of the root object and skips the others without building them.
/// Arrays and objects come without what is in them.
///
/// # Errors
/// If the text is no JSON object, or nested too deep.
pub(super) fn two_members<'a>(
    text: &'a str,
    first: &str,
    second: &str,
) -> Result<TwoMembers<'a>, Reject> {
    if text.len() >= MAX_DEPTH && depth(text) >= MAX_DEPTH {
        return Err(Reject::TooDeep);
    }
    let mut deserializer = serde_json::Deserializer::from_str(text);
    let members = Members { first, second }
        .deserialize(&mut deserializer)
        .map_err(|error| reason(text, &error))?;
    deserializer.end().map_err(|error| reason(text, &error))?;
    Ok(members)
}

struct Members<'a> {
    first: &'a str,
    second: &'a str,
}

impl<'de> DeserializeSeed<'de> for Members<'_> {
    type Value = TwoMembers<'de>;

    fn deserialize<D: Deserializer<'de>>(
        self,
        deserializer: D,
    ) -> Result<TwoMembers<'de>, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = TwoMembers<'de>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TwoMembers<'de>, A::Error> {
        let mut found = (None, None);
        while let Some(which) = map.next_key_seed(Which(&self))? {
            match which {
                Some(true) => found.0 = Some(map.next_value_seed(NodeSeed::WITHOUT_CONTENTS)?),
                Some(false) => found.1 = Some(map.next_value_seed(NodeSeed::WITHOUT_CONTENTS)?),
                None => {
                    map.next_value::<IgnoredAny>()?;
                }
            }
        }
        Ok(found)
    }
}

/// Compares a key without keeping it: the first (`true`), the second (`false`), or another.
struct Which<'a, 'b>(&'a Members<'b>);

impl<'de> DeserializeSeed<'de> for Which<'_, '_> {
    type Value = Option<bool>;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Self::Value, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Which<'_, '_> {
    type Value = Option<bool>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_str<E>(self, key: &str) -> Result<Self::Value, E> {
        Ok(if key == self.0.first {
            Some(true)
        } else if key == self.0.second {
            Some(false)
        } else {
            None
        })
    }
}

/// Describes what is wrong with a document, with its place, in the parser's words.
pub(super) fn trouble(text: &str) -> String {
    match serde_json::from_str::<IgnoredAny>(text) {
        Ok(_) => String::new(),
        Err(error) => error.to_string(),
    }
}

/// Words that firmware prints where a number should stand, and that are none in JSON.
const BARE_WORDS: [&str; 9] = [
    "nan",
    "infinity",
    "inf",
    "undefined",
    "none",
    "null",
    "ovf",
    "true",
    "false",
];

/// Puts quotes around words that some firmware prints where a number should stand (`nan`, `-inf`,
/// `1.#IND`, `None`), and null where it prints nothing (`{"t":,"h":5}`), so that the document can be
/// read and the value refused by itself. `None` where there is nothing of this.
pub(super) fn quote_bare_words(text: &str) -> Option<String> {
    let bytes = text.as_bytes();
    let (mut out, mut from, mut at) = (String::new(), 0, 0);
    let (mut quoted, mut escaped) = (false, false);
    while at < bytes.len() {
        let byte = bytes[at];
        match byte {
            _ if escaped => escaped = false,
            b'\\' if quoted => escaped = true,
            b'"' => quoted = !quoted,
            _ if quoted => {}
            b':' => {
                let behind = text[at + 1..].trim_start();
                if behind.starts_with([',', '}']) {
                    out.push_str(&text[from..=at]);
                    out.push_str("null");
                    from = at + 1;
                }
            }
            _ if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'+') => {
                let end = at + bare_end(&bytes[at..]);
                let (end, token) = (end + behind_nan(&text[at..]), &text[at..end]);
                if let Some(word) = bare_word(token) {
                    out.push_str(&text[from..at]);
                    out.push('"');
                    out.push_str(word);
                    out.push('"');
                    from = end;
                }
                at = end;
                continue;
            }
            _ => {}
        }
        at += 1;
    }
    (from > 0).then(|| out + &text[from..])
}

/// Length of the number or word that `bytes` begin with, at least 1.
fn bare_end(bytes: &[u8]) -> usize {
    let is_part = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'#');
    1 + bytes[1..].iter().take_while(|b| is_part(b)).count()
}

/// Length of what C prints behind `nan`: `nan(ind)`, `-nan(snan)`.
fn behind_nan(text: &str) -> usize {
    let word = text.strip_prefix(['-', '+']).unwrap_or(text);
    let is_nan = word.get(..3).is_some_and(|w| w.eq_ignore_ascii_case("nan"));
    let inner = word.get(3..).filter(|rest| is_nan && rest.starts_with('('));
    let end = inner.and_then(|rest| rest.get(..rest.len().min(16))?.find(')'));
    end.map_or(0, |end| end + 1)
}

/// The text to stand for a bare word; `None` for what JSON has itself.
fn bare_word(token: &str) -> Option<&str> {
    let word = token.strip_prefix(['-', '+']).unwrap_or(token);
    // As Microsoft's C library prints what is no number.
    if word.starts_with("1.#") {
        return Some("nan");
    }
    let known = BARE_WORDS.iter().any(|w| word.eq_ignore_ascii_case(w));
    (known && !matches!(token, "true" | "false" | "null")).then_some(token)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::{Format, Parsed, Pointer, TimeUnit};

    fn format(value: &str, ts: &str) -> Format {
        let at = |text| Pointer::new(text).unwrap();
        Format::auto(at(value), at(ts), TimeUnit::Millis)
    }

    fn parse(format: &Format, payload: &str) -> Result<Parsed, Reject> {
        let mut parsed = Parsed::default();
        format.parse(payload.as_bytes(), &mut parsed)?;
        Ok(parsed)
    }

    fn value_and_ts(format: &Format, payload: &str) -> Result<(f64, Option<i64>), Reject> {
        parse(format, payload).map(|parsed| (parsed.number().unwrap(), parsed.ts_ms()))
    }

    #[test]
    fn value_and_timestamp_are_found_flat_and_deep() {
        let flat = format("/value", "/ts");
        let ms = 1_700_000_000_123;
        let payload = format!(r#"{{"unit":"C","value":21.5,"ts":{ms},"more":[1,{{"a":2}}]}}"#);
        assert_eq!(value_and_ts(&flat, &payload), Ok((21.5, Some(ms))));
        assert_eq!(value_and_ts(&flat, "21.5"), Ok((21.5, None)));
        assert_eq!(
            value_and_ts(&flat, r#"{"value":"3","ts":null}"#),
            Ok((3.0, None))
        );
        assert_eq!(value_and_ts(&flat, r#"{"value":true}"#), Ok((1.0, None)));
        let deep = format("/data/0/v", "/meta/time");
        let payload = r#"{"data":[{"v":-1}],"meta":{"time":"1970-01-01T00:00:01Z"}}"#;
        assert_eq!(value_and_ts(&deep, payload), Ok((-1.0, Some(1000))));
    }

    #[test]
    fn what_cannot_be_used_is_refused_for_its_own_reason() {
        let format = format("/value", "/ts");
        for (payload, reason) in [
            ("{", Reject::Malformed),
            ("{}", Reject::NoValue),
            (r#"{"value":null}"#, Reject::NoValue),
            (r#"{"value":[1]}"#, Reject::Malformed),
            (r#"{"value":"warm"}"#, Reject::Malformed),
            (r#"{"value":"NaN"}"#, Reject::NotFinite),
            (r#"{"value":nan}"#, Reject::NotFinite),
            (r#"{"value":1e999}"#, Reject::NotFinite),
            (r#"{"value":1e308}"#, Reject::OutOfRange),
            (r#"{"value":1} x"#, Reject::Malformed),
            (r#"{"value":1,"ts":"soon"}"#, Reject::BadTimestamp),
            (r#"{"value":1,"ts":-5}"#, Reject::BadTimestamp),
            (r#"{"value":1,"ts":{}}"#, Reject::BadTimestamp),
            (r#"{"value":1,"ts":1e300}"#, Reject::BadTimestamp),
        ] {
            assert_eq!(value_and_ts(&format, payload), Err(reason), "{payload}");
        }
    }

    #[test]
    fn a_hundred_thousand_levels_are_refused_without_harm() {
        let deep = "[".repeat(100_000) + &"]".repeat(100_000);
        let member = format!(r#"{{"x":{deep},"value":1}}"#);
        let objects = r#"{"a":"#.repeat(100_000);
        for payload in [deep.as_str(), &member, &objects] {
            assert_eq!(
                parse(&format("/value", "/ts"), payload),
                Err(Reject::TooDeep)
            );
            assert_eq!(parse(&format("/a/b", "/ts"), payload), Err(Reject::TooDeep));
        }
    }

    #[test]
    fn bare_words_are_quoted_outside_of_texts_only() {
        for (text, mended) in [
            (r#"{"t":nan,"n":"nan"}"#, r#"{"t":"nan","n":"nan"}"#),
            (r#"[-inf, NaN,true]"#, r#"["-inf", "NaN",true]"#),
            (r#"{"a\"b":Infinity}"#, r#"{"a\"b":"Infinity"}"#),
            (r#"{"t":1.#IND,"h":-1.#QNAN0}"#, r#"{"t":"nan","h":"nan"}"#),
            (r#"{"t":-nan(ind),"h":nan}"#, r#"{"t":"-nan","h":"nan"}"#),
            (r#"{"t":,"h": }"#, r#"{"t":null,"h":null }"#),
            (
                r#"{"t":None,"u":null,"h":-5}"#,
                r#"{"t":"None","u":null,"h":-5}"#,
            ),
        ] {
            assert_eq!(quote_bare_words(text).as_deref(), Some(mended));
        }
        assert_eq!(
            quote_bare_words(r#"{"t":"nan:,","x":-1e-5,"y":[true]}"#),
            None
        );
    }
}
