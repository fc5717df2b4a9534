//! Decimal numbers, also with a unit, and in the lenient form with commas, groups and hex.

use super::{Reject, believable};

/// Symbols of units that may follow a member's number without a blank. Those made of hexadecimal
/// digits (`A`, `C`, `F`) are left out: `12A` is an id as often as a current.
const UNITS: [&str; 40] = [
    "V", "W", "mA", "kA", "mV", "kV", "kW", "MW", "Wh", "kWh", "MWh", "VA", "kVA", "var", "Hz",
    "kHz", "MHz", "Pa", "hPa", "kPa", "mbar", "bar", "psi", "K", "ppm", "ppb", "lx", "lux", "dBm",
    "rpm", "mm", "cm", "m", "km", "kg", "ml", "l", "L", "ms", "min",
];

/// Symbols and names of units that may stand behind a blank and before further words, beside those
/// above.
const UNITS_BEHIND_BLANK: [&str; 26] = [
    "A", "C", "F", "J", "N", "T", "g", "t", "s", "h", "d", "deg", "degree", "degrees", "Ohm",
    "ohm", "Volt", "Volts", "Watt", "Watts", "Nm", "MPa", "GB", "MB", "kB", "cfm",
];
/// Words that say more about a unit: the kind of a current, the reference of a pressure, the scale of a
/// temperature, what a quotient is of.
const UNIT_WORDS: [&str; 34] = [
    "AC",
    "DC",
    "RMS",
    "rms",
    "peak",
    "pk",
    "abs",
    "abs.",
    "rel",
    "rel.",
    "gauge",
    "RH",
    "rH",
    "r.H.",
    "r.F.",
    "Celsius",
    "Fahrenheit",
    "Kelvin",
    "per",
    "/",
    "of",
    "water",
    "H2O",
    "Hg",
    "hour",
    "hours",
    "minute",
    "minutes",
    "second",
    "seconds",
    "day",
    "litre",
    "litres",
    "CO2",
];
/// Most words of a unit.
const MAX_UNIT_WORDS: usize = 4;
/// Longest unit of several words, bytes.
const MAX_UNIT_TEXT_BYTES: usize = 24;

/// The minus sign of typesetting, which displays and spreadsheets write.
const MINUS: char = '\u{2212}';

/// Longest unit believed, bytes.
const MAX_UNIT_BYTES: usize = 12;

/// Reads a whole payload as a decimal number, perhaps with a unit; `text` is trimmed and not
/// empty. `lenient` also takes a decimal comma, grouped thousands and hexadecimal digits, and
/// takes `nan`, `inf` and `null` as a missing value.
///
/// # Errors
/// Why it is none; [`Reject::NoValue`] for a missing value.
pub(super) fn parse(text: &str, lenient: bool) -> Result<f64, Reject> {
    if let Some(digits) = text
        .strip_prefix(MINUS)
        .filter(|rest| starts_with_digit(rest))
    {
        return parse(&format!("-{digits}"), lenient);
    }
    if let Ok(value) = text.parse::<f64>() {
        return match believable(value) {
            Err(Reject::NotFinite) if lenient => Err(Reject::NoValue),
            result => result,
        };
    }
    if lenient {
        return parse_lenient(text);
    }
    let (number, _) = with_unit(text, |_| true).ok_or(Reject::Malformed)?;
    number.parse().map_or(Err(Reject::Malformed), believable)
}

fn starts_with_digit(text: &str) -> bool {
    text.starts_with(|c: char| c.is_ascii_digit())
}

/// A truth value as a text: 1 or 0.
pub fn truth(text: &str) -> Option<f64> {
    match text {
        "true" | "True" | "TRUE" => Some(1.0),
        "false" | "False" | "FALSE" => Some(0.0),
        _ => None,
    }
}

/// Reads a member's text as a number, in an object of channels: as [`parse`], but a text that is
/// rather an identifier is none. Leading zeros, twelve digits and more (an address, a serial
/// number) and exponents beyond all numbers say so.
///
/// # Errors
/// Why it is none.
pub(super) fn parse_member(text: &str, lenient: bool) -> Result<f64, Reject> {
    if let Some(digits) = text
        .strip_prefix(MINUS)
        .filter(|rest| starts_with_digit(rest))
    {
        return parse_member(&format!("-{digits}"), lenient);
    }
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let bytes = digits.as_bytes();
    if bytes.len() > 1 && bytes[0] == b'0' && bytes[1].is_ascii_alphanumeric() && !lenient {
        return Err(Reject::Malformed);
    }
    if bytes.len() > 1 && bytes[0] == b'0' && bytes[1].is_ascii_digit() {
        return Err(Reject::Malformed);
    }
    if bytes.len() >= 12 && bytes.iter().all(u8::is_ascii_digit) {
        return Err(Reject::Malformed);
    }
    let is_digits = bytes.first().is_some_and(u8::is_ascii_digit);
    match text.parse::<f64>() {
        Ok(value) if !value.is_finite() && is_digits => Err(Reject::Malformed),
        Ok(value) if value.is_finite() => believable(value),
        Ok(_) => parse(text, lenient),
        Err(_) if lenient => parse_lenient(text),
        Err(_) => {
            let known = |unit: &str| UNITS.contains(&unit);
            let (number, _) = with_unit(text, known).ok_or(Reject::Malformed)?;
            number.parse().map_or(Err(Reject::Malformed), believable)
        }
    }
}

/// Several words that are a unit: a unit, then others or words that say more about it.
fn is_unit_text(text: &str) -> bool {
    let is_unit = |word: &str| {
        let symbol = word.starts_with(['%', '°', 'µ', 'μ', 'Ω']);
        symbol || UNITS.contains(&word) || UNITS_BEHIND_BLANK.contains(&word)
    };
    let says_more = |word: &str| UNIT_WORDS.contains(&word.trim_matches(['(', ')']));
    let mut words = text.split_whitespace();
    let quotient = |word: &str| word.split('/').all(is_unit) && !word.is_empty();
    text.len() <= MAX_UNIT_TEXT_BYTES
        && words.clone().count() <= MAX_UNIT_WORDS
        && words
            .next()
            .is_some_and(|first| is_unit(first) || quotient(first))
        && words.all(|word| says_more(word) || is_unit(word) || quotient(word))
}

/// Splits a number and its unit: letters, `%`, `°` and the like, behind a blank; without
/// a blank where the unit begins with no letter or digit, or is `believed`.
fn with_unit(text: &str, believed: impl Fn(&str) -> bool) -> Option<(&str, &str)> {
    let end = text
        .char_indices()
        .find(|(at, c)| !is_part_of_number(text, *at, *c))
        .map(|(at, _)| at)?;
    let (number, rest) = text.split_at(end);
    // 0x1F is no zero of the unit x1F.
    if rest.starts_with(['x', 'X']) && number.trim_start_matches(['-', '+']) == "0" {
        return None;
    }
    let unit = rest.trim_start();
    let begins = unit.chars().next()?;
    if number.is_empty() {
        return None;
    }
    if unit.contains(char::is_whitespace) {
        return is_unit_text(unit).then_some((number, unit));
    }
    if unit.len() > MAX_UNIT_BYTES {
        return None;
    }
    let letters =
        |c: char| c.is_alphabetic() || matches!(c, '%' | '°' | '/' | '²' | '³' | '·' | '^');
    let digits_behind = |c: char| letters(c) || c.is_ascii_digit();
    if !(letters(begins) && unit.chars().all(digits_behind)) || matches!(begins, '/' | '^') {
        return None;
    }
    let blank = rest.len() > unit.len();
    let symbol = matches!(begins, '%' | '°' | 'µ' | 'μ' | 'Ω' | '²' | '³');
    (blank || symbol || believed(unit)).then_some((number, unit))
}

/// Digits, a sign in front, a point, and an exponent that has digits.
fn is_part_of_number(text: &str, at: usize, c: char) -> bool {
    let bytes = text.as_bytes();
    match c {
        '0'..='9' | '.' => true,
        '+' | '-' => at == 0 || matches!(bytes[at - 1], b'e' | b'E'),
        'e' | 'E' => {
            let behind = bytes.get(at + 1).copied().unwrap_or_default();
            let signed = matches!(behind, b'+' | b'-');
            let digit = if signed {
                bytes.get(at + 2)
            } else {
                Some(&behind)
            };
            at > 0 && digit.is_some_and(u8::is_ascii_digit)
        }
        _ => false,
    }
}

/// Numbers as people and cheap firmware write them.
fn parse_lenient(text: &str) -> Result<f64, Reject> {
    const MISSING: [&str; 12] = [
        "nan",
        "-nan",
        "null",
        "none",
        "n/a",
        "na",
        "-",
        "--",
        "---",
        "unavailable",
        "unknown",
        "infinity",
    ];
    if MISSING.iter().any(|word| text.eq_ignore_ascii_case(word)) || text.is_empty() {
        return Err(Reject::NoValue);
    }
    if let Some(hex) = text.strip_prefix("0x").or_else(|| text.strip_prefix("0X")) {
        // Beyond 53 bits it would be another number.
        let n = u64::from_str_radix(hex, 16).map_err(|_| Reject::Malformed)?;
        #[expect(clippy::cast_precision_loss, reason = "below 2^53")]
        return (n < 1 << 53).then_some(n as f64).ok_or(Reject::OutOfRange);
    }
    let digit =
        |c: char| c.is_ascii_digit() || matches!(c, '.' | ',' | '\'' | '\u{a0}' | '\u{202f}');
    let body = text.strip_prefix(['-', '+']).unwrap_or(text);
    let end = body
        .char_indices()
        .find(|(at, c)| {
            let grouped = *c == ' ' && followed_by_group(&body[at + 1..]);
            !digit(*c) && !grouped && !is_part_of_number(body, *at, *c)
        })
        .map_or(body.len(), |(at, _)| at);
    let (number, unit) = body.split_at(end);
    if !number.starts_with(|c: char| c.is_ascii_digit() || matches!(c, '.' | ',')) {
        return Err(Reject::Malformed);
    }
    let unit = unit.trim();
    let words = unit.contains(char::is_whitespace);
    let is_unit = match words {
        true => is_unit_text(unit),
        false => unit.len() <= MAX_UNIT_BYTES,
    };
    if !is_unit || starts_with_digit(unit) {
        return Err(Reject::Malformed);
    }
    if !unit.is_empty() && unit.starts_with(|c: char| c.is_ascii_punctuation() && c != '%') {
        return Err(Reject::Malformed);
    }
    let plain = ungrouped(number.trim()).ok_or(Reject::Malformed)?;
    let value: f64 = plain.parse().map_err(|_| Reject::Malformed)?;
    believable(if text.starts_with('-') { -value } else { value })
}

fn followed_by_group(text: &str) -> bool {
    let bytes = text.as_bytes();
    bytes.len() >= 3
        && bytes[..3].iter().all(u8::is_ascii_digit)
        && !bytes.get(3).is_some_and(u8::is_ascii_digit)
}

/// Takes the marks of thousands out and makes a decimal comma a point: of two kinds of marks the
/// last is the decimal one; a single one that could be either is decimal.
fn ungrouped(number: &str) -> Option<String> {
    let mut text: String = number
        .chars()
        .filter(|c| !matches!(c, ' ' | '\'' | '\u{a0}' | '\u{202f}'))
        .collect();
    let (commas, points) = (text.matches(',').count(), text.matches('.').count());
    let decimal = match (commas, points) {
        (0, 0 | 1) => '.',
        (1, 0) => ',',
        (0, _) => '_',
        (_, 0) => '_',
        _ if text.rfind(',') > text.rfind('.') => ',',
        _ => '.',
    };
    if decimal != '_' && text.matches(decimal).count() > 1 {
        return None;
    }
    // Groups have three digits.
    let whole = text.split(decimal).next().unwrap_or_default();
    let mut groups = whole.split(['.', ',']).skip(1);
    if !groups.all(|group| group.len() == 3) {
        return None;
    }
    let other = if decimal == ',' { "." } else { "," };
    match decimal {
        '_' => text = text.replace([',', '.'], ""),
        _ => text = text.replace(other, "").replace(decimal, "."),
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use crate::payload::number::{parse, parse_member};
    use crate::payload::{Format, Parsed, Reject};

    fn payload(payload: &[u8]) -> Result<f64, Reject> {
        let mut parsed = Parsed::default();
        Format::number().parse(payload, &mut parsed)?;
        Ok(parsed.number().unwrap())
    }

    #[test]
    fn numbers_are_read_with_blanks_around_them() {
        assert_eq!(payload(b"21.5"), Ok(21.5));
        assert_eq!(payload(b" -3e2\r\n"), Ok(-300.0));
        assert_eq!(payload(b"0"), Ok(0.0));
        assert_eq!(payload(b"\xef\xbb\xbf21.5\0\0"), Ok(21.5));
    }

    #[test]
    fn a_unit_may_follow_a_number() {
        for (text, value) in [
            ("23.5 °C", 23.5),
            ("45%", 45.0),
            ("412 ppm", 412.0),
            ("-1.5e3 kW", -1500.0),
            ("230V", 230.0),
            ("21.5C", 21.5),
            ("5 m/s", 5.0),
            ("1.2 m3/h", 1.2),
            ("3e", 3.0),
            ("3.3 V DC", 3.3),
            ("50 % RH", 50.0),
            ("20.5 deg C", 20.5),
            ("4.2 A (RMS)", 4.2),
            ("10 l / min", 10.0),
            ("1013 hPa abs", 1013.0),
            ("0.8 m/s per second", 0.8),
        ] {
            assert_eq!(parse(text, false), Ok(value), "{text}");
            assert_eq!(parse(text, true), Ok(value), "{text}");
        }
        for text in [
            "12 Main Street",
            "5 A Street",
            "3 pumps of hall 4",
            "3.3 V DC and 5 V DC too",
            "5 3",
            "C",
            "1.2.3",
            "1-2",
            "12:30:00",
            "00-00",
            "A1",
            "5 -3",
            "0x1F",
            "-0x10",
        ] {
            assert_eq!(parse(text, false), Err(Reject::Malformed), "{text}");
        }
    }

    #[test]
    fn a_members_text_that_is_rather_an_id_is_no_number() {
        for (text, value) in [
            ("219", 219.0),
            ("0", 0.0),
            ("-0.5", -0.5),
            ("0.25", 0.25),
            ("412 ppm", 412.0),
            ("230V", 230.0),
            ("23.5 °C", 23.5),
            ("0 %", 0.0),
        ] {
            assert_eq!(parse_member(text, false), Ok(value), "{text}");
        }
        for text in [
            "000005864756",
            "00E104578901",
            "12E999",
            "0451",
            "123456789012",
            "1.2b",
            "12A",
            "0x10",
            "2026-03-01",
        ] {
            assert_eq!(parse_member(text, false), Err(Reject::Malformed), "{text}");
        }
        assert_eq!(parse_member("nan", false), Err(Reject::NotFinite));
    }

    #[test]
    fn lenient_numbers_have_commas_groups_and_hex_and_name_what_is_missing() {
        for (text, value) in [
            ("21,5", 21.5),
            ("1.234,5", 1234.5),
            ("1,234.5", 1234.5),
            ("1 234,5", 1234.5),
            ("1'234.5", 1234.5),
            ("1,234,567", 1_234_567.0),
            ("1.234.567", 1_234_567.0),
            ("-3,25 °C", -3.25),
            ("0x1F", 31.0),
            ("1.5e3", 1500.0),
            ("12 kWh", 12.0),
        ] {
            assert_eq!(parse(text, true), Ok(value), "{text}");
            assert_eq!(parse_member(text, true), Ok(value), "{text}");
        }
        for text in [
            "nan",
            "NaN",
            "inf",
            "-Infinity",
            "null",
            "n/a",
            "--",
            "unavailable",
        ] {
            assert_eq!(parse(text, true), Err(Reject::NoValue), "{text}");
        }
        for text in [
            "1,2,3",
            "1.23.4",
            "warm",
            "12 Main Street",
            "--5",
            "1,23.4,5",
            "22.5 50.1",
            "1 23",
            "0xZZ",
        ] {
            assert_eq!(parse(text, true), Err(Reject::Malformed), "{text}");
        }
    }

    #[test]
    fn what_is_no_usable_number_is_refused_for_its_own_reason() {
        assert_eq!(payload(b""), Err(Reject::Empty));
        assert_eq!(payload(b" \t"), Err(Reject::Empty));
        assert_eq!(payload(b"\xff\xfe"), Err(Reject::NotUtf8));
        assert_eq!(payload(b"warm"), Err(Reject::Malformed));
        assert_eq!(payload(b"12,5"), Err(Reject::Malformed));
        for text in ["NaN", "nan", "inf", "-Infinity", "1e999"] {
            assert_eq!(payload(text.as_bytes()), Err(Reject::NotFinite), "{text}");
        }
        assert_eq!(payload(b"1e308"), Err(Reject::OutOfRange));
    }
}
