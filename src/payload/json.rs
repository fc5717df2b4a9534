//! JSON payloads: a value and its timestamp at configured places, or an object of channels.

use std::fmt;

use serde::de::{DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::Value;

use super::{Parsed, Pointers, Reject, TimeUnit, believable, keep_word, parse_rfc3339};

/// Nesting of a document from which on it is refused; serde_json follows no further either.
const MAX_DEPTH: usize = 128;
/// Nesting of an object of channels that is followed; deeper members are refused.
const MAX_OBJECT_DEPTH: usize = 8;

/// A JSON pointer (RFC 6901), checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pointer {
    text: String,
    /// The member's name where the pointer names a member of the root: the fast way.
    member: Option<String>,
}

impl Pointer {
    /// A pointer such as `/value` or `/data/0/v`; the empty pointer is the document itself.
    ///
    /// # Errors
    /// What is allowed, where `text` is no pointer.
    pub fn new(text: &str) -> Result<Pointer, String> {
        let allowed = || "a JSON pointer such as /value or /data/0/v".to_owned();
        if !text.is_empty() && !text.starts_with('/') {
            return Err(allowed());
        }
        let mut escapes = text.split('~').skip(1);
        if escapes.any(|after| !after.starts_with(['0', '1'])) {
            return Err(allowed());
        }
        let member = text
            .strip_prefix('/')
            .filter(|rest| !rest.contains('/'))
            .map(|rest| rest.replace("~1", "/").replace("~0", "~"));
        Ok(Pointer {
            text: text.to_owned(),
            member,
        })
    }
}

/// A JSON value as far as a reading needs it.
#[derive(Clone, Debug, PartialEq)]
enum Scalar {
    Null,
    Whole(i64),
    Number(f64),
    Text(String),
    /// An array or an object.
    Other,
}

impl Scalar {
    fn of(value: &Value) -> Scalar {
        match value {
            Value::Null => Scalar::Null,
            Value::Bool(x) => Scalar::Whole(i64::from(*x)),
            Value::Number(n) => match (n.as_i64(), n.as_f64()) {
                (Some(n), _) => Scalar::Whole(n),
                (None, Some(x)) => Scalar::Number(x),
                (None, None) => Scalar::Other,
            },
            Value::String(text) => Scalar::Text(text.clone()),
            Value::Array(_) | Value::Object(_) => Scalar::Other,
        }
    }

    /// As a measurement: a number, a boolean (0 or 1), or a text that is a number.
    #[expect(clippy::cast_precision_loss, reason = "measurements are f64")]
    fn measurement(&self) -> Result<f64, Reject> {
        match self {
            Scalar::Null => Err(Reject::NoValue),
            Scalar::Whole(n) => believable(*n as f64),
            Scalar::Number(x) => believable(*x),
            Scalar::Text(text) => super::number::parse(text.trim()),
            Scalar::Other => Err(Reject::Malformed),
        }
    }

    /// As a timestamp: a number in `unit`, a text that is one, or RFC 3339. Null is none.
    fn timestamp(&self, unit: TimeUnit) -> Result<Option<i64>, Reject> {
        match self {
            Scalar::Null => Ok(None),
            Scalar::Whole(n) => unit.whole(*n).map(Some),
            Scalar::Number(x) => unit.fractional(*x).map(Some),
            Scalar::Text(text) => {
                let text = text.trim();
                if let Ok(n) = text.parse::<i64>() {
                    return unit.whole(n).map(Some);
                }
                if let Ok(x) = text.parse::<f64>() {
                    return unit.fractional(x).map(Some);
                }
                match parse_rfc3339(text) {
                    Some(ms) if ms >= 0 => Ok(Some(ms)),
                    _ => Err(Reject::BadTimestamp),
                }
            }
            Scalar::Other => Err(Reject::BadTimestamp),
        }
    }
}

/// One value and perhaps a timestamp.
pub(super) fn parse_value(text: &str, at: &Pointers, out: &mut Parsed) -> Result<(), Reject> {
    if text.len() >= MAX_DEPTH && depth(text) >= MAX_DEPTH {
        return Err(Reject::TooDeep);
    }
    let (value, ts) = match (&at.value.member, &at.ts.member) {
        (Some(value), Some(ts)) if text.starts_with('{') => two_members(text, value, ts)?,
        _ => {
            let document = document(text)?;
            let find = |pointer: &str| document.pointer(pointer).map(Scalar::of);
            (find(&at.value.text), find(&at.ts.text))
        }
    };
    let value = value.ok_or(Reject::NoValue)?;
    match (&value, value.measurement()) {
        (Scalar::Text(word), Err(Reject::Malformed)) if keep_word(None, word.trim(), out) => {}
        (_, number) => out.value = Some(number?),
    }
    // Without a timestamp of its own, a document that is the bare value has none either.
    out.ts_ms = match ts {
        Some(_) if at.ts.text == at.value.text => None,
        Some(ts) => ts.timestamp(at.unit)?,
        None => None,
    };
    Ok(())
}

/// An object of channels; nested objects give dotted names. Numbers, booleans and texts that are
/// numbers are channels; null is a missing channel; other texts and arrays are no channels.
pub(super) fn parse_object(text: &str, at: &Pointers, out: &mut Parsed) -> Result<(), Reject> {
    let document = document(text)?;
    let members = document.pointer(&at.value.text).ok_or(Reject::NoValue)?;
    if !members.is_object() {
        return Err(Reject::Malformed);
    }
    if let Some(ts) = document.pointer(&at.ts.text) {
        out.ts_ms = Scalar::of(ts).timestamp(at.unit)?;
    }
    let ts = document.pointer(&at.ts.text);
    collect(members, ts, &mut String::new(), 0, out);
    if out.channels.is_empty() && out.refused.is_empty() && out.words.is_empty() {
        return Err(Reject::NoValue);
    }
    Ok(())
}

fn collect(members: &Value, ts: Option<&Value>, path: &mut String, depth: usize, out: &mut Parsed) {
    let Value::Object(members) = members else {
        return;
    };
    for (name, value) in members {
        // The timestamp is no channel: the same node, not an equal one.
        if ts.is_some_and(|ts| std::ptr::eq(ts, value)) {
            continue;
        }
        let length = path.len();
        if !path.is_empty() {
            path.push('.');
        }
        path.push_str(name);
        match value {
            Value::Object(_) if depth + 1 >= MAX_OBJECT_DEPTH => out.refused.push(Reject::TooDeep),
            Value::Object(_) => collect(value, ts, path, depth + 1, out),
            Value::Number(_) | Value::Bool(_) => match Scalar::of(value).measurement() {
                Ok(x) => out.channels.push((path.clone(), x)),
                Err(reason) => out.refused.push(reason),
            },
            Value::String(text) => {
                // A name or a unit is no offence; a number that cannot be used is one.
                match super::number::parse(text.trim()) {
                    Ok(x) => out.channels.push((path.clone(), x)),
                    Err(Reject::Malformed) => {
                        keep_word(Some(path.as_str()), text.trim(), out);
                    }
                    Err(reason) => out.refused.push(reason),
                }
            }
            Value::Null | Value::Array(_) => {}
        }
        path.truncate(length);
    }
}

fn document(text: &str) -> Result<Value, Reject> {
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

type TwoMembers = (Option<Scalar>, Option<Scalar>);

/// Reads two members of the root object and skips the others without building them.
fn two_members(text: &str, first: &str, second: &str) -> Result<TwoMembers, Reject> {
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
    type Value = TwoMembers;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<TwoMembers, D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Members<'_> {
    type Value = TwoMembers;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<TwoMembers, A::Error> {
        let mut found = (None, None);
        while let Some(which) = map.next_key_seed(Which(&self))? {
            match which {
                Some(true) => found.0 = Some(map.next_value_seed(ScalarSeed)?),
                Some(false) => found.1 = Some(map.next_value_seed(ScalarSeed)?),
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

struct ScalarSeed;

impl<'de> DeserializeSeed<'de> for ScalarSeed {
    type Value = Scalar;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Scalar, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for ScalarSeed {
    type Value = Scalar;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_unit<E>(self) -> Result<Scalar, E> {
        Ok(Scalar::Null)
    }

    fn visit_bool<E>(self, x: bool) -> Result<Scalar, E> {
        Ok(Scalar::Whole(i64::from(x)))
    }

    fn visit_i64<E>(self, n: i64) -> Result<Scalar, E> {
        Ok(Scalar::Whole(n))
    }

    #[expect(clippy::cast_precision_loss, reason = "measurements are f64")]
    fn visit_u64<E>(self, n: u64) -> Result<Scalar, E> {
        Ok(i64::try_from(n).map_or(Scalar::Number(n as f64), Scalar::Whole))
    }

    fn visit_f64<E>(self, x: f64) -> Result<Scalar, E> {
        Ok(Scalar::Number(x))
    }

    fn visit_str<E>(self, text: &str) -> Result<Scalar, E> {
        Ok(Scalar::Text(text.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Scalar, A::Error> {
        while seq.next_element::<IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Scalar, A::Error> {
        while map.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
        Ok(Scalar::Other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Format;

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
        parse(format, payload).map(|parsed| (parsed.value.unwrap(), parsed.ts_ms))
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
    fn escaped_member_names_are_understood() {
        let format = format("/a~1b~0c", "/ts");
        assert_eq!(value_and_ts(&format, r#"{"a/b~c":7}"#), Ok((7.0, None)));
        assert!(Pointer::new("value").is_err());
        assert!(Pointer::new("/a~2").is_err());
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
    fn an_object_of_channels_gives_each_of_them() {
        let at = |text| Pointer::new(text).unwrap();
        let format = Format::object(at(""), at("/ts"), TimeUnit::Seconds);
        let payload = r#"{"ts":2,"name":"pump","flow":1.5,"on":true,"bad":"nan","gone":null,
                          "motor":{"temp":60,"ts":3}}"#;
        let parsed = parse(&format, payload).unwrap();
        assert_eq!(parsed.ts_ms, Some(2000));
        let mut channels = parsed.channels.clone();
        channels.sort_by(|a, b| a.0.cmp(&b.0));
        let expected = [
            ("flow", 1.5),
            ("motor.temp", 60.0),
            ("motor.ts", 3.0),
            ("on", 1.0),
        ];
        let expected: Vec<(String, f64)> = expected
            .iter()
            .map(|(n, x)| ((*n).to_owned(), *x))
            .collect();
        assert_eq!(channels, expected);
        assert_eq!(parsed.refused, [Reject::NotFinite]);
        assert_eq!(parse(&format, r#"{"ts":2}"#), Err(Reject::NoValue));
        assert_eq!(parse(&format, "[1,2]"), Err(Reject::Malformed));
    }
}
