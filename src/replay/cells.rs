//! How the cells of a recording are written: numbers, dates and times.

use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::TimeZone;

use super::probe::bare;
use crate::payload::parse_rfc3339;

/// Days as people write them, the first that fits taken: a dot stands behind the day everywhere,
/// of days with strokes the month comes first unless that fits less well.
const DATES: [&str; 7] = [
    "%d.%m.%Y", "%Y/%m/%d", "%m/%d/%Y", "%d/%m/%Y", "%d.%m.%y", "%m/%d/%y", "%d/%m/%y",
];
/// Times of day behind them, with what parts the two.
const TIMES: [&str; 5] = [" %H:%M:%S%.f", " %H:%M", " %I:%M:%S %p", " %I:%M %p", ""];

/// Start of 1900, unix milliseconds: no recording is older, a year of two digits read as one of four is.
const YEAR_1900: i64 = -2_208_988_800_000;

/// Start of 1998: a number of seconds that big is hardly anything but a time.
const YEAR_1998: i64 = 883_612_800_000;

/// How the time column is written.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum TimeFormat {
    /// Date and time by ISO 8601, with or without an offset; without one it is read as UTC.
    Civil,
    /// The same by a pattern of `strftime`.
    Pattern(String),
    /// A unix time; this many milliseconds to its unit.
    Unix(f64),
    /// There is none: rows are taken as one second apart.
    None,
}

impl TimeFormat {
    /// How a column's times are written, judged by samples from it; `None` if they are no times.
    pub(super) fn of(samples: &[impl AsRef<str>]) -> Option<TimeFormat> {
        let first = samples.first()?.as_ref();
        let format = match first.parse::<f64>() {
            // Milliseconds since about 1973, microseconds, nanoseconds; else seconds.
            Ok(x) if x.abs() >= 1e17 => TimeFormat::Unix(1e-6),
            Ok(x) if x.abs() >= 1e14 => TimeFormat::Unix(1e-3),
            Ok(x) if x.abs() >= 1e11 => TimeFormat::Unix(1.0),
            Ok(_) => TimeFormat::Unix(1000.0),
            Err(_) => TimeFormat::Civil,
        };
        if let Some(format) = format.that_fits(samples) {
            return Some(format);
        }
        let mut patterns = patterns().filter_map(|pattern| pattern.that_fits(samples));
        let first = patterns.next()?;
        let in_order = |format: &TimeFormat| format.runs_on(samples);
        if in_order(&first) {
            return Some(first);
        }
        Some(patterns.find(in_order).unwrap_or(first))
    }

    /// Itself, if there are samples and all are written so, none of them in antiquity.
    pub(super) fn that_fits(self, samples: &[impl AsRef<str>]) -> Option<TimeFormat> {
        let since = if matches!(self, TimeFormat::Pattern(_)) {
            YEAR_1900
        } else {
            i64::MIN
        };
        let ms = |text: &str| self.parse(text).filter(|ms| *ms >= since);
        let fits = !samples.is_empty() && samples.iter().all(|text| ms(text.as_ref()).is_some());
        fits.then_some(self)
    }

    /// No sample lies before the one above.
    fn runs_on(&self, samples: &[impl AsRef<str>]) -> bool {
        samples
            .iter()
            .map(|text| self.parse(text.as_ref()))
            .is_sorted()
    }

    /// Numbers that can hardly be anything but unix times: from 1998 on, never less than above.
    pub(super) fn is_plainly_unix(&self, samples: &[impl AsRef<str>]) -> bool {
        let TimeFormat::Unix(_) = self else {
            return false;
        };
        let ms: Vec<_> = samples
            .iter()
            .map(|text| self.parse(text.as_ref()))
            .collect();
        ms.first() < ms.last() && ms.is_sorted() && ms[0] > Some(YEAR_1998)
    }

    /// The other reading of days such as 01/02/2026, where the samples fit that as well.
    pub(super) fn doubt(&self, samples: &[impl AsRef<str>]) -> Option<String> {
        let TimeFormat::Pattern(pattern) = self else {
            return None;
        };
        let other = match pattern.split_at_checked(6)? {
            ("%m/%d/", rest) => format!("%d/%m/{rest}"),
            ("%d/%m/", rest) => format!("%m/%d/{rest}"),
            _ => return None,
        };
        let turned = TimeFormat::Pattern(other.clone()).that_fits(samples)?;
        let differ = |text: &str| self.parse(text) != turned.parse(text);
        let doubtful = turned.runs_on(samples) == self.runs_on(samples)
            && samples.iter().any(|text| differ(text.as_ref()));
        doubtful.then_some(other)
    }

    /// What a time should look like, for a message.
    pub(super) fn expected(&self) -> String {
        match self {
            TimeFormat::Pattern(pattern) => format!("{pattern} (strftime)"),
            _ => "unix seconds or milliseconds, or a date and time such as 2026-01-31 13:45:00; \
                  --time-format tells any other"
                .to_owned(),
        }
    }

    /// Unix milliseconds; `None` for what is written otherwise.
    pub(super) fn parse(&self, text: &str) -> Option<i64> {
        match self {
            TimeFormat::Unix(unit) => unix(text, *unit),
            TimeFormat::Civil => civil(text),
            TimeFormat::Pattern(pattern) => {
                let parts = BrokenDownTime::parse(pattern, text).ok()?;
                if parts.offset().is_some() || parts.timestamp().is_some() {
                    return Some(parts.to_timestamp().ok()?.as_millisecond());
                }
                utc(parts.to_datetime().ok()?)
            }
            TimeFormat::None => None,
        }
    }
}

fn patterns() -> impl Iterator<Item = TimeFormat> {
    let all = DATES
        .iter()
        .flat_map(|day| TIMES.iter().map(move |time| format!("{day}{time}")));
    all.map(TimeFormat::Pattern)
}

fn unix(text: &str, unit: f64) -> Option<i64> {
    if unit >= 1.0
        && let Ok(whole) = text.parse::<i64>()
    {
        return whole
            .checked_mul(unit as i64)
            .filter(|ms| ms.abs() < 9_000_000_000_000_000);
    }
    let x: f64 = text.parse().ok()?;
    (x.is_finite() && x.abs() * unit < 9e15).then(|| (x * unit).round() as i64)
}

/// A date and time, with or without an offset, or a date alone: unix milliseconds.
fn civil(text: &str) -> Option<i64> {
    // The usual forms, read without a detour; the library knows all others.
    if let Some(ms) = parse_rfc3339(text) {
        return Some(ms);
    }
    if let Ok(stamp) = text.parse::<jiff::Timestamp>() {
        return Some(stamp.as_millisecond());
    }
    utc(text.parse().ok()?)
}

fn utc(moment: jiff::civil::DateTime) -> Option<i64> {
    let stamp = moment.to_zoned(TimeZone::UTC).ok()?;
    Some(stamp.timestamp().as_millisecond())
}

/// A time of day alone, such as stands in a column beside that of the days.
pub(super) fn is_time_of_day(text: &str) -> bool {
    text.contains(':') && text.parse::<jiff::civil::Time>().is_ok()
}

/// What stands between the whole and the rest of a number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decimal {
    /// 1.5
    Point,
    /// 1,5; points group thousands then: 1.234,5.
    Comma,
}

impl Decimal {
    /// Judged by cells of a file whose separator is no comma: one with a comma, none that only
    /// a point makes a number.
    pub fn of<'a>(cells: impl Iterator<Item = &'a [u8]>) -> Decimal {
        let mut commas = false;
        for cell in cells {
            match (
                parse_number(cell, Decimal::Point),
                parse_number(cell, Decimal::Comma),
            ) {
                (Cell::Number(_), Cell::Other) => return Decimal::Point,
                (Cell::Other, Cell::Number(_)) => commas = true,
                _ => {}
            }
        }
        if commas {
            Decimal::Comma
        } else {
            Decimal::Point
        }
    }
}

/// What one cell holds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Cell {
    /// A finite number.
    Number(f64),
    /// Nothing, NaN, or a word for none.
    Missing,
    /// Anything else.
    Other,
}

/// What stands in a cell.
pub fn parse_number(cell: &[u8], decimal: Decimal) -> Cell {
    let cell = cell.trim_ascii();
    if cell.is_empty() {
        return Cell::Missing;
    }
    let text = std::str::from_utf8(cell).ok().map(bare);
    let number = text.and_then(|text| match decimal {
        Decimal::Comma if text.contains([',', '.']) => pointed(text)?.parse().ok(),
        _ => text.parse::<f64>().ok(),
    });
    match number {
        Some(x) if x.is_finite() => Cell::Number(x),
        Some(x) if x.is_nan() => Cell::Missing,
        Some(_) => Cell::Other,
        None if is_word_for_none(cell) => Cell::Missing,
        None => Cell::Other,
    }
}

/// A number with a decimal comma, written with a point; `None` where points do not group thousands.
fn pointed(text: &str) -> Option<String> {
    let (whole, rest) = text.split_once(',').unwrap_or((text, ""));
    let mut groups = whole.split('.');
    let first = groups.next()?.trim_start_matches(['+', '-']);
    let grouped = |group: &str| group.len() == 3 && group.bytes().all(|b| b.is_ascii_digit());
    let begins = (1..=3).contains(&first.len()) && first != "0";
    if whole.contains('.') && !(begins && groups.all(grouped)) {
        return None;
    }
    Some(format!("{}.{rest}", whole.replace('.', "")))
}

fn is_word_for_none(cell: &[u8]) -> bool {
    [&b"na"[..], b"n/a", b"null", b"none", b"-", b"?"]
        .iter()
        .any(|w| cell.eq_ignore_ascii_case(w))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn offsets_and_fractions_of_a_second_are_understood() {
        for text in [
            "2020-03-09T10:14:33.250Z",
            "2020-03-09 12:14:33.25+02:00",
            "2020-03-09 10:14:33.25",
            "2020-03-09 10:14:33,25",
        ] {
            assert_eq!(civil(text), Some(1_583_748_873_250), "{text}");
        }
        assert_eq!(civil("1970-01-02"), Some(86_400_000));
    }

    #[test]
    fn days_are_read_as_people_write_them() {
        for (text, pattern) in [
            ("09.03.2020 10:14:33", "%d.%m.%Y %H:%M:%S%.f"),
            ("9.3.2020 10:14:33.000", "%d.%m.%Y %H:%M:%S%.f"),
            ("09.03.20 10:14:33", "%d.%m.%y %H:%M:%S%.f"),
            ("3/9/2020 10:14:33 AM", "%m/%d/%Y %I:%M:%S %p"),
            ("2020/03/09 10:14:33", "%Y/%m/%d %H:%M:%S%.f"),
        ] {
            let format = TimeFormat::of(&[text]).expect("a time");
            assert_eq!(format, TimeFormat::Pattern(pattern.to_owned()), "{text}");
            assert_eq!(format.parse(text), Some(1_583_748_873_000), "{text}");
        }
        let night = TimeFormat::of(&["31.12.2020"]).expect("a day");
        assert_eq!(night.parse("31.12.2020"), Some(1_609_372_800_000));
        for text in ["31.13.2020 10:00", "1.5", "soon", "10:14:33"] {
            let format = TimeFormat::of(&[text]);
            assert!(
                !matches!(format, Some(TimeFormat::Pattern(_))),
                "{text}: {format:?}"
            );
        }
    }

    #[test]
    fn strokes_are_read_as_what_runs_on_and_else_in_doubt() {
        let pattern = |samples: &[&str]| match TimeFormat::of(samples) {
            Some(TimeFormat::Pattern(pattern)) => pattern,
            other => panic!("{other:?}"),
        };
        // A month after the other, or a day.
        let months = ["31/01/2020 10:00", "01/02/2020 10:00"];
        assert_eq!(pattern(&months), "%d/%m/%Y %H:%M");
        let turn = ["12/01/2020 10:00", "01/02/2020 10:00", "02/02/2020 10:00"];
        assert_eq!(pattern(&turn), "%d/%m/%Y %H:%M");
        let format = TimeFormat::of(&turn).expect("a time");
        assert_eq!(format.doubt(&turn), None);
        let day = ["03/04/2020 10:00", "03/04/2020 10:01"];
        assert_eq!(pattern(&day), "%m/%d/%Y %H:%M");
        let format = TimeFormat::of(&day).expect("a time");
        assert_eq!(format.doubt(&day).as_deref(), Some("%d/%m/%Y %H:%M"));
    }

    #[test]
    fn a_decimal_comma_is_told_from_a_point() {
        let of = |cells: &[&str]| Decimal::of(cells.iter().map(|cell| cell.as_bytes()));
        assert_eq!(of(&["1,5", "x", "-3,25E2", "7", ""]), Decimal::Comma);
        assert_eq!(of(&["1,5", "2.5"]), Decimal::Point);
        assert_eq!(of(&["1", "x"]), Decimal::Point);
        for (text, number) in [
            ("1,5", Cell::Number(1.5)),
            ("-3,25E2", Cell::Number(-325.0)),
            ("1.234.567,5", Cell::Number(1_234_567.5)),
            ("1.234", Cell::Number(1234.0)),
            ("7", Cell::Number(7.0)),
            ("1.23", Cell::Other),
            ("0.123", Cell::Other),
            ("1,2,3", Cell::Other),
            ("n/a", Cell::Missing),
        ] {
            assert_eq!(
                parse_number(text.as_bytes(), Decimal::Comma),
                number,
                "{text}"
            );
        }
    }
}
