//! Scans dates and times of day as people and programs write them.

use jiff::civil::{Date, DateTime, Time};

/// The order of day, month and year where all are numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum DateOrder {
    /// 2026-03-01, 2026/03/01, 20260301; 01.03.2026 with points alone, which stand behind the day
    /// everywhere.
    Unmistakable,
    /// 2026-03-01, 2026/03/01, 20260301.
    YearMonthDay,
    /// 01.03.2026, 01/03/2026, 01-03-26.
    DayMonthYear,
    /// 03/01/2026.
    MonthDayYear,
}

/// Abbreviations of zones in English and German, hours east of UTC in quarters: RFC 822 has the
/// American ones.
const ZONES: [(&str, i32); 24] = [
    ("Z", 0),
    ("UTC", 0),
    ("GMT", 0),
    ("UCT", 0),
    ("WET", 0),
    ("WEST", 4),
    ("BST", 4),
    ("CET", 4),
    ("MEZ", 4),
    ("CEST", 8),
    ("MESZ", 8),
    ("EET", 8),
    ("EEST", 12),
    ("MSK", 12),
    ("JST", 36),
    ("KST", 36),
    ("AEST", 40),
    ("EST", -20),
    ("EDT", -16),
    ("CST", -24),
    ("CDT", -20),
    ("MST", -28),
    ("PST", -32),
    ("PDT", -28),
];

/// First letters of the months in English, German, French, Spanish, Italian, Portuguese and Dutch.
const MONTHS: [&[&str]; 12] = [
    &["jan", "jän", "ene", "gen"],
    &["feb", "fév", "fev"],
    &["mar", "mär", "mrz", "maa", "mrt"],
    &["apr", "avr", "abr"],
    &["may", "mai", "mag", "mei"],
    &["jun", "juin", "giu"],
    &["jul", "juil", "lug"],
    &["aug", "aoû", "aou", "ago"],
    &["sep", "set"],
    &["oct", "okt", "ott", "out"],
    &["nov"],
    &["dec", "dez", "déc", "dic"],
];

/// No text of a time is longer: one of a kilobyte or more is not tried in several ways.
pub(super) const MAX_TEXT_BYTES: usize = 100;

/// A date and time as it is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Civil {
    pub(crate) at: DateTime,
    /// Seconds east of UTC, where that is written.
    pub(crate) offset_s: Option<i32>,
    /// A time of day is written.
    pub(crate) has_time: bool,
}

/// Remainder of a text.
struct Scanner<'a> {
    rest: &'a str,
}

impl<'a> Scanner<'a> {
    fn take(&mut self, wanted: impl Fn(char) -> bool, most: usize) -> &'a str {
        let mut ends = self
            .rest
            .char_indices()
            .skip_while(|(_, c)| wanted(*c))
            .map(|(i, _)| i);
        let end = ends.next().unwrap_or(self.rest.len());
        let limit = self
            .rest
            .char_indices()
            .nth(most)
            .map_or(self.rest.len(), |(i, _)| i);
        let (taken, rest) = self.rest.split_at(end.min(limit));
        self.rest = rest;
        taken
    }

    fn digits(&mut self, least: usize, most: usize) -> Option<(i64, usize)> {
        let text = self.take(|c| c.is_ascii_digit(), most);
        let value = text.parse().ok()?;
        (text.len() >= least).then_some((value, text.len()))
    }

    fn one_of(&mut self, wanted: &str) -> Option<char> {
        let next = self.rest.chars().next().filter(|c| wanted.contains(*c))?;
        self.rest = &self.rest[next.len_utf8()..];
        Some(next)
    }

    fn blanks(&mut self) -> bool {
        !self.take(char::is_whitespace, usize::MAX).is_empty()
    }
}

/// Reads a date, or a date and a time of day, with or without an offset or a zone behind it.
pub(crate) fn parse(text: &str, order: DateOrder) -> Option<Civil> {
    let text = text.trim();
    if text.len() > MAX_TEXT_BYTES {
        return None;
    }
    let mut scanner = Scanner { rest: text };
    weekday(&mut scanner);
    if let Some(civil) = year_last(scanner.rest) {
        return Some(civil);
    }
    let begin = scanner.rest.len();
    let date = date(&mut scanner, order)?;
    // 2026030110, 202603011015, 20260301101500
    let digits = scanner.rest.len();
    let unparted = begin - digits == 8 && matches!(digits, 2 | 4 | 6);
    if unparted && digits == 2 {
        let (hour, _) = scanner.digits(2, 2).filter(|(hour, _)| *hour < 24)?;
        return with_time(date, hour * 3600, 0, None);
    }
    let between = scanner.one_of("Tt_:,-").is_some() | scanner.blanks();
    if scanner.rest.is_empty() {
        return Some(Civil {
            at: date.to_datetime(Time::midnight()),
            offset_s: None,
            has_time: false,
        });
    }
    if !between && !unparted {
        return None;
    }
    let (seconds, nanos) = time_of_day(&mut scanner)?;
    let offset_s = offset(&mut scanner)?;
    with_time(date, seconds, nanos, offset_s)
}

fn with_time(date: Date, seconds: i64, nanos: i64, offset_s: Option<i32>) -> Option<Civil> {
    let midnight = date.to_datetime(Time::midnight());
    let span = jiff::Span::new().seconds(seconds).nanoseconds(nanos);
    Some(Civil {
        at: midnight.checked_add(span).ok()?,
        offset_s,
        has_time: true,
    })
}

/// Reads `Feb 14 21:30:00 2014` and `Feb 14 21:30:00 CET 2014`, as C and `date` write them.
fn year_last(text: &str) -> Option<Civil> {
    let mut scanner = Scanner { rest: text };
    if !text.starts_with(char::is_alphabetic) {
        return None;
    }
    let month = month(scanner.take(char::is_alphabetic, 9))?;
    scanner.blanks();
    let (day, _) = scanner.digits(1, 2)?;
    let (rest, year) = scanner.rest.rsplit_once(' ')?;
    if year.len() != 4 {
        return None;
    }
    scanner.rest = rest;
    scanner.blanks().then_some(())?;
    let (seconds, nanos) = time_of_day(&mut scanner)?;
    let offset_s = offset(&mut scanner)?;
    let date = ymd(year.parse().ok()?, month, day)?;
    with_time(date, seconds, nanos, offset_s)
}

/// A time of day alone, such as stands in a column beside that of the days.
pub(crate) fn is_time_of_day(text: &str) -> bool {
    let text = text.trim();
    if text.len() > MAX_TEXT_BYTES {
        return false;
    }
    let mut scanner = Scanner { rest: text };
    let parted = text.contains([':', 'h']) || text.matches('.').count() == 2;
    parted && time_of_day(&mut scanner).is_some() && offset(&mut scanner).is_some()
}

/// Hours and minutes with a point between: a number as well, which only its column's name tells.
pub(crate) fn is_hour_and_minute(text: &str) -> bool {
    let parts = text.trim().split_once('.');
    let below = |part: &str, least: usize, limit: u8| {
        (least..=2).contains(&part.len()) && part.parse::<u8>().is_ok_and(|n| n < limit)
    };
    parts.is_some_and(|(hour, minute)| below(hour, 1, 24) && below(minute, 2, 60))
}

/// Milliseconds since midnight of a time of day, or since the start of a span that may pass a day,
/// such as `25:10:00`.
pub(crate) fn of_day_ms(text: &str) -> Option<i64> {
    let text = text.trim();
    if is_time_of_day(text) {
        let (seconds, nanos) = time_of_day(&mut Scanner { rest: text })?;
        return Some(seconds * 1000 + nanos / 1_000_000);
    }
    let (hours, rest) = text.split_once(':')?;
    let is_span = (1..=5).contains(&hours.len()) && hours.bytes().all(|b| b.is_ascii_digit());
    let mut scanner = Scanner { rest };
    let (minute, _) = scanner.digits(2, 2).filter(|_| is_span)?;
    let (mut second, mut nanos) = (0, 0);
    if scanner.one_of(":").is_some() {
        second = scanner.digits(2, 2)?.0;
        nanos = fraction(&mut scanner)?;
    }
    let legal = scanner.rest.is_empty() && minute < 60 && second < 60;
    let hours: i64 = hours.parse().ok()?;
    legal.then_some((hours * 3600 + minute * 60 + second) * 1000 + nanos / 1_000_000)
}

/// Passes over the name of a day: `Sun, 01 Mar 2026`.
fn weekday(scanner: &mut Scanner<'_>) {
    let word: String = scanner
        .rest
        .chars()
        .take_while(|c| c.is_alphabetic())
        .collect();
    if word.is_empty() || month(&word).is_some() {
        return;
    }
    let days = [
        "mo", "tu", "di", "we", "mi", "th", "do", "fr", "sa", "su", "so",
    ];
    let lower = word.to_lowercase();
    if days.iter().any(|day| lower.starts_with(day)) {
        scanner.rest = &scanner.rest[word.len()..];
        scanner.one_of(".,");
        scanner.one_of(",");
        scanner.blanks();
    }
}

fn month(word: &str) -> Option<i64> {
    let lower = word.to_lowercase();
    let place = MONTHS
        .iter()
        .position(|names| names.iter().any(|name| lower.starts_with(name)))?;
    Some(place as i64 + 1)
}

fn date(scanner: &mut Scanner<'_>, order: DateOrder) -> Option<Date> {
    if scanner.rest.starts_with(char::is_alphabetic) {
        // Mar 1, 2026
        let month = month(scanner.take(char::is_alphabetic, 9))?;
        scanner.one_of(".");
        scanner.blanks();
        let (day, _) = scanner.digits(1, 2)?;
        scanner.one_of(",");
        if !scanner.blanks() {
            return None;
        }
        let (year, _) = scanner.digits(4, 4)?;
        return ymd(year, month, day);
    }
    let (first, first_len) = scanner.digits(1, 8)?;
    let year_first = matches!(order, DateOrder::Unmistakable | DateOrder::YearMonthDay);
    if first_len == 8 && year_first {
        return ymd(first / 10_000, first / 100 % 100, first % 100);
    }
    let part = scanner.one_of("-/. ")?;
    scanner.blanks();
    if scanner.rest.starts_with(char::is_alphabetic) {
        let month = month(scanner.take(char::is_alphabetic, 9))?;
        scanner.one_of("-/.");
        scanner.blanks();
        let (year, len) = scanner.digits(2, 4)?;
        (first_len <= 2).then_some(())?;
        return ymd(whole_year(year, len)?, month, first);
    }
    if part == ' ' {
        return None;
    }
    let (second, second_len) = scanner.digits(1, 2)?;
    scanner.one_of(part.encode_utf8(&mut [0; 4]))?;
    scanner.blanks();
    let (third, third_len) = scanner.digits(1, 4)?;
    if second_len > 2 {
        return None;
    }
    match order {
        _ if year_first && first_len == 4 && third_len <= 2 => ymd(first, second, third),
        DateOrder::Unmistakable if first_len <= 2 && part == '.' && third_len == 4 => {
            ymd(third, second, first)
        }
        DateOrder::DayMonthYear if first_len <= 2 => {
            ymd(whole_year(third, third_len)?, second, first)
        }
        // A dot stands behind the day everywhere.
        DateOrder::MonthDayYear if first_len <= 2 && part != '.' => {
            ymd(whole_year(third, third_len)?, first, second)
        }
        _ => None,
    }
}

/// A year of two digits lies between 1969 and 2068, as POSIX has it.
fn whole_year(year: i64, len: usize) -> Option<i64> {
    match len {
        4 => Some(year),
        2 => Some(if year < 69 { 2000 + year } else { 1900 + year }),
        _ => None,
    }
}

fn ymd(year: i64, month: i64, day: i64) -> Option<Date> {
    let (month, day) = (i8::try_from(month).ok()?, i8::try_from(day).ok()?);
    Date::new(i16::try_from(year).ok()?, month, day).ok()
}

/// Seconds since midnight and nanoseconds: `10:00`, `1:02:03.5`, `18.00.00`, `101500`, `10:00 PM`,
/// `24:00`; a leap second counts as the next second's start.
fn time_of_day(scanner: &mut Scanner<'_>) -> Option<(i64, i64)> {
    let (first, len) = scanner.digits(1, 6)?;
    let (mut hour, mut minute, mut second, mut nanos) = (first, 0, 0, 0);
    match len {
        1 | 2 => {
            if let Some(part) = scanner.one_of(":.h") {
                minute = scanner.digits(2, 2)?.0;
                let again = if part == 'h' {
                    ":m"
                } else if part == ':' {
                    ":"
                } else {
                    "."
                };
                if scanner.one_of(again).is_some() {
                    second = scanner.digits(2, 2)?.0;
                    nanos = fraction(scanner)?;
                }
            } else if !half_follows(scanner.rest) {
                return None;
            }
        }
        4 => (hour, minute) = (first / 100, first % 100),
        6 => {
            (hour, minute, second) = (first / 10_000, first / 100 % 100, first % 100);
            nanos = fraction(scanner)?;
        }
        _ => return None,
    }
    hour = half_of_day(scanner, hour)?;
    if let Some(rest) = scanner.rest.strip_prefix(" Uhr") {
        scanner.rest = rest;
    }
    let ends_day = hour == 24 && minute == 0 && second == 0 && nanos == 0;
    let legal = (hour <= 23 || ends_day) && minute <= 59 && second <= 60;
    legal.then_some((hour * 3600 + minute * 60 + second, nanos))
}

/// Nanoseconds behind a point, a comma or, in milliseconds, a colon; 0 where nothing is.
fn fraction(scanner: &mut Scanner<'_>) -> Option<i64> {
    match scanner.one_of(".,:") {
        None => Some(0),
        Some(part) => {
            let text = scanner.take(|c| c.is_ascii_digit(), 12);
            let legal = if part == ':' {
                text.len() == 3
            } else {
                !text.is_empty()
            };
            let digits = text.bytes().chain(std::iter::repeat(b'0')).take(9);
            let nanos = digits.fold(0, |n, digit| n * 10 + i64::from(digit - b'0'));
            legal.then_some(nanos)
        }
    }
}

fn half_follows(rest: &str) -> bool {
    let rest = rest.trim_start();
    let two = rest.get(..2).unwrap_or_default();
    two.eq_ignore_ascii_case("am") || two.eq_ignore_ascii_case("pm")
}

/// The hour of a day of 24, where AM or PM follows.
fn half_of_day(scanner: &mut Scanner<'_>, hour: i64) -> Option<i64> {
    let rest = scanner.rest.trim_start();
    let (half, len) = match rest.get(..4) {
        Some(four) if four.eq_ignore_ascii_case("a.m.") => ("am", 4),
        Some(four) if four.eq_ignore_ascii_case("p.m.") => ("pm", 4),
        _ if half_follows(rest) => (&rest[..2], 2),
        _ => return Some(hour),
    };
    scanner.rest = &rest[len..];
    let after_noon = half.eq_ignore_ascii_case("pm");
    (1..=12)
        .contains(&hour)
        .then_some(hour % 12 + if after_noon { 12 } else { 0 })
}

/// Seconds east of UTC behind a time, `Some(None)` where nothing is: `Z`, ` UTC`, `+01:00`,
/// `+0000 UTC`, `Z+0100`, `CET`, `+01:00[Europe/Berlin]`.
#[expect(
    clippy::option_option,
    reason = "the outer one says whether the text can be read"
)]
fn offset(scanner: &mut Scanner<'_>) -> Option<Option<i32>> {
    let mut found = None;
    loop {
        scanner.blanks();
        if scanner.rest.is_empty() {
            return Some(found);
        }
        if scanner.rest.starts_with('[') && scanner.rest.ends_with(']') && found.is_some() {
            return Some(found);
        }
        if let Some(sign) = scanner.one_of("+-\u{2212}") {
            let (value, len) = scanner.digits(1, 4)?;
            let (hours, minutes) = match len {
                4 => (value / 100, value % 100),
                1 | 2 if scanner.one_of(":").is_some() => (value, scanner.digits(2, 2)?.0),
                1 | 2 => (value, 0),
                _ => return None,
            };
            let seconds = i32::try_from(hours * 3600 + minutes * 60).ok()?;
            let legal = hours < 24 && minutes < 60;
            let signed = if sign == '+' { seconds } else { -seconds };
            // UTC+1 adds up, and so does mosquitto_sub's Z+0100.
            found = legal.then_some(Some(signed))?;
            continue;
        }
        let word = scanner.take(char::is_alphabetic, 5);
        let zone = ZONES
            .iter()
            .find(|(name, _)| word.eq_ignore_ascii_case(name))?;
        // `+0000 UTC`: the number has said it.
        found = found.or(Some(zone.1 * 900));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn utc(text: &str, order: DateOrder) -> Option<i64> {
        let civil = parse(text, order)?;
        let stamp = civil.at.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp();
        Some(stamp.as_millisecond() - i64::from(civil.offset_s.unwrap_or(0)) * 1000)
    }

    #[test]
    fn dates_and_times_are_read_as_they_are_met() {
        use DateOrder::{DayMonthYear as Dmy, MonthDayYear as Mdy, YearMonthDay as Ymd};
        for (text, order, want) in [
            ("2026-03-01 00:00:00 UTC", Ymd, "2026-03-01T00:00:00Z"),
            ("2026-03-01T00:00:00Z", Ymd, "2026-03-01T00:00:00Z"),
            ("2026-03-01 01:00:00+01:00", Ymd, "2026-03-01T00:00:00Z"),
            ("2026-03-01 00:00:00 +0000 UTC", Ymd, "2026-03-01T00:00:00Z"),
            ("2026-03-01 01:00:00.25 CET", Ymd, "2026-03-01T00:00:00.25Z"),
            ("2026-03-01T01:00:00.5Z+0100", Ymd, "2026-03-01T00:00:00.5Z"),
            (
                "2026-03-01T01:00:00+01:00[Europe/Berlin]",
                Ymd,
                "2026-03-01T00:00:00Z",
            ),
            ("20260301T101500", Ymd, "2026-03-01T10:15:00Z"),
            ("20260301", Ymd, "2026-03-01T00:00:00Z"),
            ("2026/3/1 1:02", Ymd, "2026-03-01T01:02:00Z"),
            ("01.03.2026 24:00", Dmy, "2026-03-02T00:00:00Z"),
            ("1.3.26, 9:05:07", Dmy, "2026-03-01T09:05:07Z"),
            ("10/03/2004 18.00.00", Dmy, "2004-03-10T18:00:00Z"),
            ("01-03-2026 00:00:00:250", Dmy, "2026-03-01T00:00:00.25Z"),
            ("01/Mar/2026:10:00:00 +0100", Dmy, "2026-03-01T09:00:00Z"),
            ("1-Mar-26 10:00 PM", Dmy, "2026-03-01T22:00:00Z"),
            ("1. März 2026 10:00", Dmy, "2026-03-01T10:00:00Z"),
            ("Sun, 01 Mar 2026 10:00:00 GMT", Dmy, "2026-03-01T10:00:00Z"),
            ("Mar 1, 2026 12:00:00 AM", Mdy, "2026-03-01T00:00:00Z"),
            ("3/1/2026 12:30 PM", Mdy, "2026-03-01T12:30:00Z"),
            ("2016-12-31 23:59:60", Ymd, "2017-01-01T00:00:00Z"),
        ] {
            let want: jiff::Timestamp = want.parse().unwrap();
            assert_eq!(utc(text, order), Some(want.as_millisecond()), "{text}");
        }
    }

    #[test]
    fn anything_else_is_no_time() {
        for text in [
            "",
            "2026",
            "2026-02-30",
            "2026-03-01 25:00",
            "2026-03-01 24:01",
            "2026-03-01 10:00 Total",
            "31.13.2026",
            "1.5",
            "soon",
            "10:14:33",
            "12:00 PM",
            "2026-03-01 10",
            "Ärger 1, 2026",
            "2026-03-01 10:00:00+99:00",
            "\u{fffd}",
        ] {
            for order in [
                DateOrder::YearMonthDay,
                DateOrder::DayMonthYear,
                DateOrder::MonthDayYear,
            ] {
                assert_eq!(utc(text, order), None, "{text}");
            }
        }
    }

    #[test]
    fn times_of_day_are_known() {
        for text in [
            "00:00",
            "0:00:00",
            "18.00.00",
            "24:00",
            "9:05 PM",
            "10:00:00.5",
            "6h30",
        ] {
            assert!(is_time_of_day(text), "{text}");
        }
        for text in ["18.00", "1.5", "25:00", "7", "10:00 bar", ""] {
            assert!(!is_time_of_day(text), "{text}");
        }
    }
}
