//! Says which setting, or which change of the sender, would have a refused payload taken.

use serde::de::IgnoredAny;
use serde_json::Value;

use crate::payload::node::Node;
use crate::payload::{
    Form, Format, MISSING, Reject, TimeUnit, has_pairs, names_a_time, parse_line_protocol,
};
use crate::time::parse_moment;

/// Numbers below it are no unix time of these decades, in seconds or finer.
const SMALLEST_STAMP: f64 = 1e9;
const ENCODED_TWICE: &str =
    "it is JSON within a text, encoded twice: let the sender put the object itself there";

/// The setting that would help, by reason, format and payload.
pub(super) fn advice(
    reason: Reject,
    format: Option<&Format>,
    payload: &[u8],
    detail: &str,
) -> String {
    let text = String::from_utf8_lossy(payload);
    let text = text.trim();
    let fixed = match reason {
        Reject::TooBig => "mqtt.max_payload_bytes is the limit",
        Reject::Empty => "an empty message deletes a retained one; nothing is to be set",
        Reject::NotUtf8 => return on_bytes(payload),
        Reject::Malformed if format.is_some_and(|f| f.form == Form::Sparkplug) => {
            "it is no Sparkplug B payload (protobuf)"
        }
        Reject::Malformed => return on_text(format, text),
        Reject::TooDeep => "ignore = [\"...\"] leaves the member out",
        Reject::NotFinite => "numbers = \"lenient\" takes nan and inf as missing",
        Reject::OutOfRange => "no measurement is beyond 1e30; ignore = [\"...\"] leaves it out",
        Reject::NoValue if detail == MISSING => "it is a missing value; nothing is to be set",
        Reject::NoValue => return on_no_value(format, text),
        Reject::BadTimestamp => return on_stamp(detail),
        Reject::BadQuality => "good = [...] lists the qualities that let a value pass",
        Reject::UnknownMetric => "its births were not heard; the node is asked for them (NCMD)",
        Reject::NoChannel | Reject::BadName if detail.contains("has no {") => {
            "use a member that every record has, or leave such messages out by their topic"
        }
        Reject::BadName if !detail.is_empty() => {
            "names have 1 to 200 bytes, no + # and no control characters; ignore = [\"...\"] leaves it out"
        }
        Reject::NoChannel => "the topic ends where the pattern has {channel}",
        Reject::BadName => "names have 1 to 200 bytes, no / + # and no control characters",
        Reject::OwnTopic => "the input subscribes to what this daemon publishes",
        Reject::Retained => {
            "a retained message of unknown age is left out; ts = \"/...\" names its timestamp, \
             where it has one"
        }
        Reject::TooManyStreams => "stream.max_streams is the limit",
        Reject::TooManyChannels => {
            "stream.max_channels is the limit; only = [...] or ignore = [...] leaves members out"
        }
        Reject::UnknownState => "states = [...] of its [[channel]] lists what may come",
        Reject::BadFeedback => "a feedback is {\"incident\": 3, \"verdict\": \"false\"}",
        Reject::BadInstruction => {
            "a mute is {\"for_s\": 3600}, an order to forget {\"stream\": \"NAME\"}, with \"token\" where \
             output.feedback asks for it"
        }
        Reject::UnknownIncident => "the stream has no such incident, or not any more",
        Reject::UnknownChannel => "there is no such stream, or it has no such channel",
        Reject::Redelivered | Reject::Duplicate => "it was taken already; nothing is to be set",
        Reject::Future | Reject::Late | Reject::Collision | Reject::NoRoute => "",
    };
    fixed.to_owned()
}

fn on_bytes(payload: &[u8]) -> String {
    if payload.starts_with(&[0x1f, 0x8b]) {
        return "the payload is compressed (gzip); let the device send it plain".to_owned();
    }
    if payload.starts_with(&[0xff, 0xfe]) || payload.starts_with(&[0xfe, 0xff]) {
        return "the payload is UTF-16; let the device send UTF-8".to_owned();
    }
    "the payload is binary; Sparkplug B needs payload = \"sparkplug\", else let the device send JSON or plain numbers".to_owned()
}

/// A payload that is neither a number nor the JSON that was expected.
fn on_text(format: Option<&Format>, text: &str) -> String {
    let form = format.map_or(Form::Auto, |format| format.form);
    let is_json = serde_json::from_str::<IgnoredAny>(text).is_ok();
    if text.starts_with(['{', '[']) {
        return match (is_json, form) {
            (true, Form::Number) => "it is JSON: payload = \"json\" with value = \"/...\", or \
                                     payload = \"object\""
                .to_owned(),
            (true, _) => on_members(format, text),
            (false, _) if text.contains('\'') && !text.contains('"') => {
                "JSON has double quotes, not single ones".to_owned()
            }
            (false, _) if has_decimal_comma(text) => {
                "JSON has decimal points, no commas: 21.5".to_owned()
            }
            (false, _) if text.trim_end().ends_with(['}', ']']) && text.contains("}\n{") => {
                "one message is one JSON document: an array of them, or a message each".to_owned()
            }
            (false, _) => "it is no JSON (cut short? a comma too many?)".to_owned(),
        };
    }
    if matches!(form, Form::Object) && text.parse::<f64>().is_ok() {
        return "it is a plain number: payload = \"auto\" and a topic with {channel}".to_owned();
    }
    if leniently(text) == Err(Reject::NoValue) {
        return format!("numbers = \"lenient\" takes {text:?} as a missing value");
    }
    if leniently(text) != Err(Reject::Malformed) {
        return "numbers = \"lenient\" reads decimal commas, groups and hex".to_owned();
    }
    if parse_line_protocol(text).is_ok() {
        return "it is line protocol: payload = \"influx\"".to_owned();
    }
    if let Some(advice) = on_shape(text) {
        return advice;
    }
    if parse_moment(text).is_some() {
        return "it is a time, no measurement: leave the topic out".to_owned();
    }
    if text.starts_with(char::is_alphabetic)
        && !text.contains(char::is_whitespace)
        && text.len() <= 40
    {
        return format!(
            "it is a word: a [[channel]] with kind = \"enum\" and states = [{text:?}, ...] takes \
             it as a state"
        );
    }
    match text.contains(|c: char| c.is_ascii_digit()) {
        true => {
            "a number stands within other text: let the device send it alone, or as JSON".to_owned()
        }
        false => "it is neither a number nor JSON; leave the topic out".to_owned(),
    }
}

/// Advice for texts that are built as others are known to be.
fn on_shape(text: &str) -> Option<String> {
    if text.contains(|c: char| c.is_control() && !c.is_whitespace()) {
        return Some(on_bytes(text.as_bytes()));
    }
    if text.starts_with('<') && text.ends_with('>') {
        return Some("it is XML, which has no reader here: let the device send JSON".to_owned());
    }
    if let Ok(inner) = serde_json::from_str::<String>(text)
        && inner.trim_start().starts_with(['{', '['])
    {
        return Some(ENCODED_TWICE.to_owned());
    }
    let is_number = |part: &str| part.trim().parse::<f64>().is_ok();
    if has_pairs(text) {
        return Some("it is text of names and values: payload = \"pairs\" reads it".to_owned());
    }
    for separator in [';', '\t', '|', ',', '/', ' '] {
        let parts: Vec<&str> = text.split(separator).collect();
        let numbers = parts.len() > 1 && parts.iter().all(|part| is_number(part));
        if (numbers && (separator != '/' || parts.len() == 2))
            || (parts.len() > 2 && !matches!(separator, '/' | ' '))
        {
            return Some(format!(
                "it is separated text: payload = \"csv\" with separator = {:?} and columns = [\"...\", ...]",
                separator.to_string()
            ));
        }
    }
    if text.contains(':') && text.chars().all(|c| c.is_ascii_digit() || c == ':') {
        return Some(
            "it is a time of day or a span, no measurement: leave the topic out".to_owned(),
        );
    }
    let sign = text.strip_prefix(['<', '>', '~', '=', '\u{2248}']);
    sign.filter(|rest| is_number(rest)).map(|_| {
        "a sign stands before the number, which is then a bound and no measurement: let the device send \
         the number alone"
            .to_owned()
    })
}

/// A number such as `21,5` stands as a member's value.
fn has_decimal_comma(text: &str) -> bool {
    let mut rest = text;
    while let Some((_, behind)) = rest.split_once(':') {
        let value = behind.trim_start();
        let digits = |text: &str| text.bytes().take_while(u8::is_ascii_digit).count();
        let whole = digits(value.strip_prefix('-').unwrap_or(value));
        let after = value
            .strip_prefix('-')
            .unwrap_or(value)
            .get(whole..)
            .unwrap_or_default();
        let fraction = after.strip_prefix(',').map_or(0, digits);
        if whole > 0 && fraction > 0 {
            return true;
        }
        rest = behind;
    }
    false
}

/// Reads a text as `numbers = "lenient"` does.
fn leniently(text: &str) -> Result<(), Reject> {
    let lenient = Format {
        lenient: true,
        ..Format::number()
    };
    lenient.parse(text.as_bytes(), &mut crate::payload::Parsed::default())
}

/// No value where it was looked for: in a record, or in the document.
fn on_no_value(format: Option<&Format>, text: &str) -> String {
    let document = serde_json::from_str::<Value>(text).ok();
    let each = format.and_then(|format| format.each.as_ref());
    if let (Some(_), Some(document)) = (each, &document) {
        let records =
            list_of_records(document, "").and_then(|at| document.pointer(&at)?.as_array());
        let last = records.and_then(|records| records.last());
        let numbers = last
            .map(|record| numeric_members(record, ""))
            .unwrap_or_default();
        return match numbers.first() {
            Some(first) => format!("a record's number is at .{first}: value = \".{first}\""),
            None => "value = \"./...\" names the value's place in each record".to_owned(),
        };
    }
    let object = format.filter(|format| format.form == Form::Object && !format.only.is_empty());
    if let (Some(format), Some(document)) = (object, &document) {
        let there: Vec<String> = numeric_members(document, "").into_iter().take(5).collect();
        return format!(
            "only = {:?} takes none of its numbers ({})",
            format.only,
            there
                .join(", ")
                .replace('/', ".")
                .replace(" .", " ")
                .trim_start_matches('.')
        );
    }
    on_members(format, text)
}

/// Records of one message that give one channel at one time: the member that tells them apart.
pub(super) fn on_records(format: Option<&Format>, payload: &[u8]) -> String {
    let text = String::from_utf8_lossy(payload);
    let text = text.trim();
    if let Ok(lines) = parse_line_protocol(text)
        && let Some(tag) = differing_tag(&lines)
    {
        return format!(
            "the tag {tag} tells them apart: channel = \"{{{tag}}}.{{field}}\", or stream = \
             \"{{stream}}.{{{tag}}}\""
        );
    }
    let document = serde_json::from_str::<Value>(text).unwrap_or_default();
    let at = list_of_records(&document, "");
    let records = at.as_ref().and_then(|at| document.pointer(at)?.as_array());
    let (Some(at), Some([first, second, ..])) = (at, records.map(Vec::as_slice)) else {
        return "they have neither names nor times of their own: where they are samples one after the other, \
                sample_interval_s = 0.1 says how far apart; else channel = \"{key}\" with `each` makes each \
                a channel"
            .to_owned();
    };
    let members = first.as_object().into_iter().flatten();
    let names = members.filter(|(name, value)| {
        let other = second.get(name);
        (value.is_string() || value.is_u64()) && other.is_some_and(|other| other != *value)
    });
    // A text names a record rather than a number, and an id rather than a value.
    let rank = |name: &str, value: &Value| match value.is_string() {
        true => 0,
        false => 2 - i32::from(name.to_lowercase().ends_with("id")),
    };
    let first_choice = names.min_by_key(|(name, value)| rank(name, value));
    let Some((name, _)) = first_choice else {
        return "no member tells them apart: let the device send a name or a time with each"
            .to_owned();
    };
    let numbers = numeric_members(first, "");
    let mut values = numbers.iter().filter(|number| number[1..] != **name);
    let each = match format.is_some_and(|format| format.each.is_some()) {
        true => String::new(),
        false => format!("each = {at:?} with "),
    };
    match (values.next(), values.next()) {
        (Some(value), None) => {
            format!(
                "{name} tells them apart: {each}channel = \"{{./{name}}}\" and value = \".{value}\""
            )
        }
        _ => format!("{name} tells them apart: {each}channel = \"{{./{name}}}\""),
    }
}

/// The first tag whose values differ between two lines.
fn differing_tag(lines: &Node<'_>) -> Option<String> {
    let Node::Array(lines) = lines else {
        return None;
    };
    let [first, second, ..] = lines.as_slice() else {
        return None;
    };
    let Some(Node::Object(tags)) = first.get("tags") else {
        return None;
    };
    let other = second.get("tags")?;
    let mut differing = tags
        .iter()
        .filter(|(name, value)| other.get(name) != Some(value));
    differing.next().map(|(name, _)| name.to_string())
}

/// A document without a value where it was looked for.
fn on_members(format: Option<&Format>, text: &str) -> String {
    let Ok(document) = serde_json::from_str::<Value>(text) else {
        return "value = \"/...\" names the value's place".to_owned();
    };
    if document.is_null() || text == "null" {
        return "null is a missing value; nothing is to be set".to_owned();
    }
    if let Some(each) = list_of_records(&document, "") {
        return format!("it has records: each = {each:?} with value and channel of each of them");
    }
    if let Some(at) = json_in_text(&document) {
        return format!("{ENCODED_TWICE}: see {at}");
    }
    let numbers = numeric_members(&document, "");
    let is_time = |at: &String| {
        let name = at.rsplit('/').next().unwrap_or_default();
        let large = document.pointer(at).and_then(Value::as_f64);
        names_a_time(name) && large.is_some_and(|x| x >= SMALLEST_STAMP)
    };
    let (times, numbers): (Vec<String>, Vec<String>) = numbers.into_iter().partition(is_time);
    match numbers.as_slice() {
        [one] if !times.is_empty() => {
            format!(
                "value = {one:?} is its one number beside the time {}",
                times[0]
            )
        }
        [] if has_nothing_in_it(&document) => {
            "null and \"\" are missing values; nothing is to be set".to_owned()
        }
        [] => "it has no number that could be a value; leave the topic out".to_owned(),
        [one] => format!("value = {one:?} is its one number"),
        [first, second, ..] => {
            let object = format.is_some_and(|format| format.form == Form::Object);
            let parent = common_parent(&numbers);
            match object {
                true => format!("channels = {parent:?} is where its numbers are"),
                false => format!(
                    "it has several numbers ({first}, {second}, ...): payload = \"object\" takes \
                     them all, value = {first:?} one"
                ),
            }
        }
    }
}

/// A member is null or an empty text, at any depth of objects.
fn has_nothing_in_it(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::String(text) => text.is_empty(),
        Value::Object(members) => members.values().any(has_nothing_in_it),
        _ => false,
    }
}

/// The member that holds JSON as a text.
fn json_in_text(document: &Value) -> Option<String> {
    let members = document.as_object().into_iter().flatten();
    let mut inner = members.filter(|(_, value)| {
        let text = value.as_str().unwrap_or_default().trim_start();
        text.starts_with(['{', '[']) && serde_json::from_str::<IgnoredAny>(text).is_ok()
    });
    inner.next().map(|(name, _)| format!("/{name}"))
}

/// The pointer to a list of objects, the first one met.
fn list_of_records(value: &Value, at: &str) -> Option<String> {
    match value {
        Value::Array(items) if items.first().is_some_and(|i| i.is_object()) => Some(at.to_owned()),
        Value::Object(members) => members
            .iter()
            .find_map(|(name, inner)| list_of_records(inner, &format!("{at}/{name}"))),
        _ => None,
    }
}

/// Pointers to the numbers of a document.
fn numeric_members(value: &Value, at: &str) -> Vec<String> {
    match value {
        Value::Number(_) | Value::Bool(_) => vec![at.to_owned()],
        Value::Object(members) => members
            .iter()
            .flat_map(|(name, inner)| numeric_members(inner, &format!("{at}/{name}")))
            .collect(),
        _ => Vec::new(),
    }
}

fn common_parent(pointers: &[String]) -> String {
    let parents = pointers
        .iter()
        .map(|p| p.rsplit_once('/').map_or("", |(parent, _)| parent));
    parents
        .min_by_key(|parent| parent.len())
        .unwrap_or_default()
        .to_owned()
}

fn on_stamp(detail: &str) -> String {
    let text = detail.strip_prefix("timestamp ").unwrap_or(detail);
    if let Ok(number) = text.parse::<f64>() {
        let unit = TimeUnit::by_size(number).as_str();
        return format!(
            "{text} is no time in the unit of ts_unit; by its size ts_unit = {unit:?}, which \"auto\" \
             finds; or ts names another member"
        );
    }
    if let Some(advice) = on_strokes(text) {
        return advice;
    }
    if text.contains(':') && text.len() <= 12 && text.starts_with(|c: char| c.is_ascii_digit()) {
        return "it is a time of day without a date: ts = \"{/date} {/time}\" puts the members of both \
                together, or ts = \"\" goes by arrival"
            .to_owned();
    }
    if text.len() == 10 && parse_moment(&format!("{text} 00:00")).is_some() {
        return "it is a date without a time of day: ts = \"{/date} {/time}\" puts the members of both \
                together, or ts = \"\" goes by arrival"
            .to_owned();
    }
    "ts_format = \"%d.%m.%Y %H:%M:%S\" says how the time is written (strftime); ts = \"\" goes by \
     arrival"
        .to_owned()
}

/// Days and months as numbers with strokes between: the pattern that fits, or both.
fn on_strokes(text: &str) -> Option<String> {
    let (date, behind) = text.split_once([' ', 'T']).unwrap_or((text, ""));
    let parts: Vec<u32> = date
        .split('/')
        .map(|part| part.parse().ok())
        .collect::<Option<_>>()?;
    let [first, second, year] = parts.as_slice() else {
        return None;
    };
    let year = if *year > 99 { "%Y" } else { "%y" };
    let between = if text.contains('T') { "T" } else { " " };
    let time = match behind.matches(':').count() {
        0 if behind.is_empty() => String::new(),
        1 => format!("{between}%H:%M"),
        _ => format!("{between}%H:%M:%S"),
    };
    let (day_first, month_first) = (format!("%d/%m/{year}{time}"), format!("%m/%d/{year}{time}"));
    Some(match (*first > 12, *second > 12) {
        (true, _) => format!("the day stands first: ts_format = {day_first:?}"),
        (_, true) => format!("the month stands first: ts_format = {month_first:?}"),
        _ => {
            format!("{text} can be read in two ways: ts_format = {day_first:?} or {month_first:?}")
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::payload::Pointer;

    fn on(format: &Format, text: &str) -> String {
        advice(Reject::Malformed, Some(format), text.as_bytes(), "")
    }

    #[test]
    fn a_text_that_is_no_number_is_called_what_it_is() {
        for (text, said) in [
            ("ON", "kind = \"enum\""),
            ("12:30", "time of day"),
            (">5", "a bound"),
            ("22.5;50.1", "separator = \";\""),
            ("22.5 50.1", "separator = \" \""),
            ("A1,00-00,C1,026.9,N", "separator = \",\""),
            ("temp=22.5,hum=50", "names and values"),
            ("temp: 21.5 hum: 50", "names and values"),
            ("temp=21.5&hum=50", "names and values"),
            ("<t>21.5</t>", "XML"),
            (r#""{\"value\": 21.5}""#, "encoded twice"),
            ("\u{1f}x", "binary"),
            ("OK 21.5 now", "within other text"),
            ("1 234,5 kWh", "lenient"),
            ("21,5", "lenient"),
            ("unavailable", "as a missing value"),
        ] {
            let advice = on(&Format::number(), text);
            assert!(advice.contains(said), "{text}: {advice}");
        }
    }

    #[test]
    fn a_document_is_explained_by_what_is_in_it() {
        let object = Format::object(
            Pointer::new("").unwrap(),
            Pointer::new("/ts").unwrap(),
            TimeUnit::Auto,
        );
        for (text, said) in [
            (r#"{"t":21,5,"h":5}"#, "decimal points"),
            ("{'t':1}", "double quotes"),
            ("{\"t\":1}\n{\"t\":2}", "one message is one JSON document"),
            ("{\"t\":1", "cut short"),
        ] {
            let advice = on(&object, text);
            assert!(advice.contains(said), "{text}: {advice}");
        }
        let none = |format: &Format, text: &str| {
            advice(Reject::NoValue, Some(format), text.as_bytes(), "")
        };
        let auto = Format::auto(
            Pointer::new("/value").unwrap(),
            Pointer::new("/ts").unwrap(),
            TimeUnit::Auto,
        );
        let said = none(&auto, r#"{"ts":1772323199000,"val":1}"#);
        assert!(said.contains("value = \"/val\""), "{said}");
        for missing in [r#"{"value":null}"#, r#"{"value":"","unit":"V"}"#] {
            let said = none(&auto, missing);
            assert!(said.contains("missing values"), "{said}");
        }
        let said = none(&auto, r#"{"t":21.5,"h":50}"#);
        assert!(said.contains("several numbers"), "{said}");
        let twice = none(&object, r#"{"data":"{\"t\":1}"}"#);
        assert!(twice.contains("/data"), "{twice}");
        let only = Format {
            only: vec!["tmp*".to_owned()],
            ..object.clone()
        };
        let said = none(&only, r#"{"temp":1,"a":{"b":2}}"#);
        assert!(said.contains("(a.b, temp)"), "{said}");
        let each = Format {
            each: Some(Pointer::new("").unwrap()),
            ..object
        };
        let said = none(&each, r#"[{"name":"temp","val":21.5}]"#);
        assert!(said.contains("value = \"./val\""), "{said}");
    }

    #[test]
    fn records_that_collide_are_told_by_a_member_or_a_tag() {
        let said = on_records(
            None,
            br#"[{"name":"temp","value":21.5},{"name":"hum","value":50}]"#,
        );
        assert!(
            said.contains("each = \"\" with channel = \"{./name}\" and value = \"./value\""),
            "{said}"
        );
        let said = on_records(None, b"cpu,cpu=0,host=a x=1 5\ncpu,cpu=1,host=a x=2 5");
        assert!(said.contains("channel = \"{cpu}.{field}\""), "{said}");
        assert!(on_records(None, b"[1.5,1.6]").contains("sample_interval_s"));
    }

    #[test]
    fn a_date_with_strokes_names_the_pattern_that_fits() {
        for (text, said) in [
            ("02/28/2026 03:20:00", "\"%m/%d/%Y %H:%M:%S\""),
            ("28/02/26 03:20", "\"%d/%m/%y %H:%M\""),
            ("03/02/2026 03:20:00", "two ways"),
            ("2026-02-28T03:20:00 Europe/Berlin", "strftime"),
            ("03:20:00", "without a date"),
            ("2026-02-28", "without a time of day"),
        ] {
            let advice = on_stamp(&format!("timestamp {text}"));
            assert!(advice.contains(said), "{text}: {advice}");
        }
    }
}
