//! Reads numbers as people and programs write them: decimal comma, grouped thousands, units.

/// The character between the whole and the rest of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decimal {
    /// 1.5; commas group thousands then: 1,234.5.
    Point,
    /// 1,5; points group thousands then: 1.234,5.
    Comma,
}

/// Words that stand for no value.
const WORDS_FOR_NONE: [&str; 26] = [
    "na",
    "n/a",
    "n.a.",
    "nan",
    "-nan",
    "null",
    "none",
    "nil",
    "missing",
    "undefined",
    "unknown",
    "unavailable",
    "no data",
    "nodata",
    "-",
    "--",
    "---",
    "?",
    "\\n",
    "#n/a",
    "#nv",
    "#ref!",
    "#div/0!",
    "#value!",
    "#num!",
    "<na>",
];

/// Longest unit, characters.
const LONGEST_UNIT: usize = 12;

/// Prefixes of units by powers of ten, as programs write them that scale a number to be short.
const PREFIXES: [(&str, f64); 8] = [
    ("n", 1e-9),
    ("u", 1e-6),
    ("\u{b5}", 1e-6),
    ("\u{3bc}", 1e-6),
    ("m", 1e-3),
    ("k", 1e3),
    ("M", 1e6),
    ("G", 1e9),
];

/// The content of one cell.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum CellValue {
    /// A finite number.
    Number(f64),
    /// Nothing, NaN, or a word for none.
    Missing,
    /// Anything else.
    Other,
}

impl Decimal {
    /// Judges how a file writes numbers by its cells: as most of those do that can be read in one
    /// way only. A comma before three digits can be read in two ways; where `comma_separates` fields
    /// it groups thousands.
    pub fn of<'a>(cells: impl Iterator<Item = &'a [u8]>, comma_separates: bool) -> Decimal {
        let (mut points, mut commas, mut either) = (0_u64, 0_u64, 0_u64);
        for cell in cells {
            let number = split_unit(cell).map_or(cell, |(number, _)| number.as_bytes());
            let as_point = parse_number(number, Decimal::Point);
            let as_comma = parse_number(number, Decimal::Comma);
            match (as_point, as_comma) {
                (CellValue::Number(_), CellValue::Other) => points += 1,
                (CellValue::Other, CellValue::Number(_)) => commas += 1,
                (CellValue::Number(a), CellValue::Number(b)) if a != b => {
                    either += u64::from(number.contains(&b','));
                }
                _ => {}
            }
        }
        if commas > points || (commas == points && either > 0 && !comma_separates) {
            Decimal::Comma
        } else {
            Decimal::Point
        }
    }
}

/// Takes away quotes around a field that stand behind a blank, which no reader of RFC 4180 does.
pub fn bare(cell: &[u8]) -> &[u8] {
    let inner = cell.strip_prefix(b"\"").and_then(|c| c.strip_suffix(b"\""));
    inner.unwrap_or(cell)
}

/// Reads a cell.
pub fn parse_number(cell: &[u8], decimal: Decimal) -> CellValue {
    let cell = bare(cell.trim_ascii());
    if cell.is_empty() {
        return CellValue::Missing;
    }
    let Ok(text) = std::str::from_utf8(cell) else {
        return CellValue::Other;
    };
    let text = text.trim();
    // The minus sign of typesetting, as displays and spreadsheets write it.
    if let Some(digits) = text.strip_prefix('\u{2212}')
        && digits.starts_with(|c: char| c.is_ascii_digit())
    {
        return parse_number(format!("-{digits}").as_bytes(), decimal);
    }
    let plain = match decimal {
        Decimal::Comma if text.contains([',', '.']) => None,
        _ => text.parse::<f64>().ok(),
    };
    match plain.or_else(|| ungrouped(text, decimal)?.parse().ok()) {
        Some(x) if x.is_finite() => CellValue::Number(x),
        Some(x) if x.is_nan() => CellValue::Missing,
        Some(_) => CellValue::Other,
        None if is_word_for_none(text) => CellValue::Missing,
        None => CellValue::Other,
    }
}

/// Writes a number with a point and without groups; `None` where groups are not of three digits.
fn ungrouped(text: &str, decimal: Decimal) -> Option<String> {
    if !text.bytes().any(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let (mark, group) = match decimal {
        Decimal::Point => ('.', ','),
        Decimal::Comma => (',', '.'),
    };
    let (whole, rest) = text.split_once(mark).unwrap_or((text, ""));
    let is_group = |c: char| {
        c == group
            || matches!(
                c,
                ' ' | '\'' | '\u{2019}' | '\u{a0}' | '\u{202f}' | '\u{2009}'
            )
    };
    let mut groups = whole.split(is_group);
    let first = groups.next()?.trim_start_matches(['+', '-']);
    let grouped = |group: &str| group.len() == 3 && group.bytes().all(|b| b.is_ascii_digit());
    let begins = (1..=3).contains(&first.len()) && first != "0";
    if whole.contains(is_group) && !(begins && groups.all(grouped)) {
        return None;
    }
    Some(format!("{}.{rest}", whole.replace(is_group, "")))
}

fn is_word_for_none(text: &str) -> bool {
    let is = |word: &&str| text.eq_ignore_ascii_case(word);
    WORDS_FOR_NONE.iter().any(is)
}

/// Parts a cell such as `23.5 °C` into the number and its unit; `None` where it is no such cell.
pub(super) fn split_unit(cell: &[u8]) -> Option<(&str, &str)> {
    let text = std::str::from_utf8(bare(cell.trim_ascii())).ok()?.trim();
    let (currency, text) = match text.chars().next()? {
        '$' | '\u{20ac}' | '\u{a3}' | '\u{a5}' => text.split_at(text.chars().next()?.len_utf8()),
        _ => ("", text),
    };
    let digits = |c: char| c.is_ascii_digit() || c.is_whitespace() || ".,+-'\u{2019}".contains(c);
    let behind = text.find(|c: char| !digits(c)).unwrap_or(text.len());
    let (number, unit) = text.split_at(behind);
    let number = number.trim();
    if !number.bytes().next_back()?.is_ascii_digit() {
        return None;
    }
    if unit.is_empty() {
        return (!currency.is_empty()).then_some((number, currency));
    }
    let begins = |c: char| c.is_alphabetic() || matches!(c, '%' | '\u{b0}' | '\u{2103}' | '/');
    let holds = |c: char| {
        c.is_alphanumeric()
            || matches!(
                c,
                '%' | '\u{b0}' | '\u{2103}' | '/' | ' ' | '.' | '*' | '^' | '-'
            )
            || "\u{b2}\u{b3}\u{b7}\u{207b}\u{b9}()".contains(c)
    };
    let is_unit = unit.starts_with(begins)
        && unit.chars().all(holds)
        && unit.chars().count() <= LONGEST_UNIT
        && currency.is_empty();
    is_unit.then_some((number, unit))
}

/// The factor from `unit` to `base`, where both are the same unit with another prefix.
pub(super) fn factor(unit: &str, base: &str) -> Option<f64> {
    if unit == base {
        return Some(1.0);
    }
    let readings = |unit: &'_ str| -> Vec<(String, f64)> {
        let prefixed = PREFIXES.iter().filter_map(|(prefix, factor)| {
            let rest = unit.strip_prefix(prefix)?;
            (!rest.is_empty()).then(|| (rest.to_owned(), *factor))
        });
        std::iter::once((unit.to_owned(), 1.0))
            .chain(prefixed)
            .collect()
    };
    let bases = readings(base);
    readings(unit).iter().find_map(|(rest, factor)| {
        let same = bases.iter().find(|(base, _)| base == rest)?;
        Some(factor / same.1)
    })
}

/// Reads a cell whose number has `unit` behind it, or none, or the unit with another prefix.
pub(super) fn parse_with_unit(cell: &[u8], decimal: Decimal, base: &str) -> CellValue {
    match parse_number(cell, decimal) {
        CellValue::Other => {}
        read => return read,
    }
    let Some((number, unit)) = split_unit(cell) else {
        return CellValue::Other;
    };
    match (parse_number(number.as_bytes(), decimal), factor(unit, base)) {
        (CellValue::Number(x), Some(factor)) => CellValue::Number(x * factor),
        _ => CellValue::Other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_decimal_comma_is_told_from_a_point() {
        let of = |cells: &[&str], comma_separates| {
            Decimal::of(cells.iter().map(|cell| cell.as_bytes()), comma_separates)
        };
        assert_eq!(of(&["1,5", "x", "-3,25E2", "7", ""], false), Decimal::Comma);
        assert_eq!(of(&["1,5", "2.5", "2.6"], true), Decimal::Point);
        assert_eq!(of(&["1", "x"], false), Decimal::Point);
        assert_eq!(of(&["19,97", "20,04"], true), Decimal::Comma);
        assert_eq!(of(&["1,234", "2,500"], true), Decimal::Point);
        assert_eq!(of(&["1,234", "2,500"], false), Decimal::Comma);
        assert_eq!(of(&["20,5 %", "21,5 %"], true), Decimal::Comma);
    }

    #[test]
    fn thousands_may_be_grouped() {
        for (text, decimal, number) in [
            ("1,5", Decimal::Comma, CellValue::Number(1.5)),
            ("-3,25E2", Decimal::Comma, CellValue::Number(-325.0)),
            (
                "1.234.567,5",
                Decimal::Comma,
                CellValue::Number(1_234_567.5),
            ),
            ("1.234", Decimal::Comma, CellValue::Number(1234.0)),
            ("7", Decimal::Comma, CellValue::Number(7.0)),
            ("1.23", Decimal::Comma, CellValue::Other),
            ("0.123", Decimal::Comma, CellValue::Other),
            ("1,2,3", Decimal::Comma, CellValue::Other),
            ("n/a", Decimal::Comma, CellValue::Missing),
            (
                "1,234,567.5",
                Decimal::Point,
                CellValue::Number(1_234_567.5),
            ),
            ("-12 345.5", Decimal::Point, CellValue::Number(-12_345.5)),
            ("12\u{a0}345,5", Decimal::Comma, CellValue::Number(12_345.5)),
            ("1'234.5", Decimal::Point, CellValue::Number(1234.5)),
            ("1,23", Decimal::Point, CellValue::Other),
            ("18.00.00", Decimal::Point, CellValue::Other),
            ("unavailable", Decimal::Point, CellValue::Missing),
            ("inf", Decimal::Point, CellValue::Other),
            ("oops", Decimal::Point, CellValue::Other),
        ] {
            assert_eq!(parse_number(text.as_bytes(), decimal), number, "{text}");
        }
    }

    #[test]
    fn a_unit_is_parted_from_its_number_and_prefixes_scale_it() {
        assert_eq!(split_unit("20.1 °C".as_bytes()), Some(("20.1", "°C")));
        assert_eq!(split_unit(b"45%"), Some(("45", "%")));
        assert_eq!(split_unit("3,2 m³/h".as_bytes()), Some(("3,2", "m³/h")));
        assert_eq!(split_unit(b"$1,234.50"), Some(("1,234.50", "$")));
        for text in [
            "2026-03-01 00:00:00",
            "pump 7",
            "12",
            "",
            "-",
            "3 of 7 pumps that ran",
        ] {
            assert_eq!(split_unit(text.as_bytes()), None, "{text}");
        }
        let read = |text: &str| parse_with_unit(text.as_bytes(), Decimal::Point, "kW");
        assert_eq!(read("1.5 kW"), CellValue::Number(1.5));
        assert_eq!(read("500 W"), CellValue::Number(0.5));
        assert_eq!(read("2 MW"), CellValue::Number(2000.0));
        assert_eq!(read("2"), CellValue::Number(2.0));
        assert_eq!(read("2 bar"), CellValue::Other);
    }
}
