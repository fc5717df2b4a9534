//! Texts to moments: with an offset an instant, without one a local time.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::TimeZone;

use super::civil::{self, DateOrder, MAX_TEXT_BYTES};

/// Earlier years are years of two digits read as ones of four.
const FIRST_YEAR: i16 = 1900;

/// A text read as a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ParsedTime {
    /// With an offset or `Z`: unix milliseconds.
    Utc(i64),
    /// Without: a local time.
    Local(DateTime),
}

impl ParsedTime {
    /// Unix milliseconds, a local time taken as UTC.
    pub fn utc_ms(self) -> Option<i64> {
        match self {
            ParsedTime::Utc(ms) => Some(ms),
            ParsedTime::Local(civil) => {
                let at = TimeZone::UTC.to_timestamp(civil).ok()?;
                Some(at.as_millisecond())
            }
        }
    }
}

/// Reads a date and time as devices write them: ISO 8601 (extended or basic, `T`, `_` or a blank
/// between, seconds optional, a fraction after a point or a comma, `Z`, ` UTC` or an offset), RFC
/// 2822, `28.02.2026 03:20:00`, `2026/02/28 03:20`, `Feb 28, 2026 3:20 AM`, `20260228032000`,
/// `/Date(ms)/`. Days that can be read in two ways (`02/03/2026`) and dates alone are none of them.
pub fn parse_moment(text: &str) -> Option<ParsedTime> {
    let text = text.trim();
    if !(8..=MAX_TEXT_BYTES).contains(&text.len()) {
        return None;
    }
    if let Some(moment) = iso_with_offset(text) {
        return Some(moment);
    }
    if let Some(ms) = text.strip_prefix("/Date(") {
        let ms = ms.strip_suffix(")/")?.split(['+', '-']).next()?;
        return Some(ParsedTime::Utc(ms.parse().ok()?));
    }
    let written = civil::parse(text, DateOrder::Unmistakable)?;
    (written.has_time && written.at.year() >= FIRST_YEAR).then(|| moment(written))?
}

/// Reads a date, or a date and a time of day, whose numbers stand in `order`.
pub(crate) fn in_order(text: &str, order: DateOrder) -> Option<ParsedTime> {
    match civil::parse(text, order) {
        Some(written) => moment(written),
        None if order == DateOrder::YearMonthDay => iso_with_offset(text.trim()),
        None => None,
    }
}

fn moment(written: civil::Civil) -> Option<ParsedTime> {
    let Some(offset_s) = written.offset_s else {
        return Some(ParsedTime::Local(written.at));
    };
    let ms = ParsedTime::Local(written.at).utc_ms()?;
    Some(ParsedTime::Utc(ms - i64::from(offset_s) * 1000))
}

/// The forms that jiff knows, such as weeks of a zone in brackets.
fn iso_with_offset(text: &str) -> Option<ParsedTime> {
    let at: Timestamp = text.parse().ok()?;
    Some(ParsedTime::Utc(at.as_millisecond()))
}

/// Reads `text` by a strftime pattern; with an offset, a zone or a unix time in it as an instant.
/// A date alone is its midnight.
pub fn by_pattern(pattern: &str, text: &str) -> Option<ParsedTime> {
    let parts = BrokenDownTime::parse(pattern, text).ok()?;
    if parts.offset().is_some() || parts.timestamp().is_some() {
        let at = parts.to_timestamp().ok()?;
        return Some(ParsedTime::Utc(at.as_millisecond()));
    }
    let time = parts.to_time().unwrap_or_default();
    let civil = parts.to_date().ok()?.to_datetime(time);
    (civil.year() >= FIRST_YEAR).then_some(ParsedTime::Local(civil))
}

/// Checks a strftime pattern as `ts_format` has it.
///
/// # Errors
/// The allowed form, where the pattern reads nothing that it writes itself.
pub fn check_format(format: &str) -> Result<(), String> {
    let probe = jiff::civil::date(2026, 2, 28).at(13, 20, 30, 0);
    let probe = probe.to_zoned(TimeZone::UTC).map_err(|e| e.to_string())?;
    let written = jiff::fmt::strtime::format(format, &probe);
    let read = written.ok().and_then(|text| by_pattern(format, &text));
    match read {
        Some(_) => Ok(()),
        None => {
            Err("a strftime pattern with date and time, such as \"%d.%m.%Y %H:%M:%S\"".to_owned())
        }
    }
}

/// Reads a zone's name (`Europe/Berlin`), a fixed offset (`+02:00`) or `UTC`.
///
/// # Errors
/// The allowed form.
pub fn parse_zone(name: &str) -> Result<TimeZone, String> {
    if let Some(offset) = name.strip_prefix(['+', '-']) {
        let sign = if name.starts_with('-') { -1 } else { 1 };
        let (hours, minutes) = offset.split_once(':').unwrap_or((offset, "0"));
        if let (Ok(hours), Ok(minutes)) = (hours.parse::<i32>(), minutes.parse::<i32>())
            && hours <= 18
            && (0..60).contains(&minutes)
            && let Ok(offset) = jiff::tz::Offset::from_seconds(sign * (hours * 60 + minutes) * 60)
        {
            return Ok(TimeZone::fixed(offset));
        }
    }
    TimeZone::get(name).map_err(|_| {
        "a time zone such as \"Europe/Berlin\", an offset such as \"+02:00\", or \"UTC\"".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_zone_that_comes_again_and_again_costs_no_more_than_its_length() {
        // Each further zone once doubled the work: this one took 50 ms and more.
        let start = std::time::Instant::now();
        for _ in 0..100 {
            assert_eq!(parse_moment(&format!("18.000{}", " UTC".repeat(14))), None);
        }
        assert!(start.elapsed() < std::time::Duration::from_secs(1));
    }

    #[test]
    fn a_text_of_a_kilobyte_is_not_tried_in_several_ways() {
        // This one took 20 ms in a table.
        let long = format!("01/Mar/2026:10:00:00{}", " +0100".repeat(400));
        let start = std::time::Instant::now();
        for _ in 0..1000 {
            for order in [DateOrder::DayMonthYear, DateOrder::YearMonthDay] {
                assert_eq!(in_order(&long, order), None);
            }
            assert!(!civil::is_time_of_day(&long[12..]));
        }
        assert!(start.elapsed() < std::time::Duration::from_secs(1));
    }

    #[test]
    fn known_moments_are_read() {
        for (text, ms) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29 12:00:00", 951_825_600_000),
            ("2013-12-02 21:15:00.000000", 1_386_018_900_000),
            ("2014-02-14T21:30:00.25Z", 1_392_413_400_250),
            ("2014-02-14T22:30:00+01:00", 1_392_413_400_000),
            ("2100-03-01T00:00:00Z", 4_107_542_400_000),
            ("2014-02-14 21:30:00 UTC", 1_392_413_400_000),
            ("2014-02-14 21:30:00 GMT", 1_392_413_400_000),
            ("2014-02-14 22:30:00 +0100", 1_392_413_400_000),
            ("2014-02-14T22:30:00+01", 1_392_413_400_000),
            ("2014-02-14_21:30:00", 1_392_413_400_000),
            ("2014-02-14T21:30Z", 1_392_413_400_000),
            ("2014-02-14T21:30:00,250Z", 1_392_413_400_250),
            ("20140214T213000Z", 1_392_413_400_000),
            ("20140214213000", 1_392_413_400_000),
            ("14.02.2014 21:30:00", 1_392_413_400_000),
            ("14.02.2014 21:30", 1_392_413_400_000),
            ("2014/02/14 21:30:00.25", 1_392_413_400_250),
            ("Fri, 14 Feb 2014 21:30:00 GMT", 1_392_413_400_000),
            ("Fri, 14 Feb 2014 22:30:00 +0100", 1_392_413_400_000),
            ("Fri Feb 14 21:30:00 2014", 1_392_413_400_000),
            ("/Date(1392413400000)/", 1_392_413_400_000),
            ("2014-02-13T24:00:00Z", 1_392_336_000_000),
            ("2014-02-13 24:00", 1_392_336_000_000),
            ("2014/02/14-21:30:00.25", 1_392_413_400_250),
            ("2014.02.14 21:30:00", 1_392_413_400_000),
            ("Feb 14, 2014 9:30 PM", 1_392_413_400_000),
            ("14. Februar 2014, 21:30 Uhr", 1_392_413_400_000),
            ("14 févr. 2014 22:30 CET", 1_392_413_400_000),
            ("Fri Feb 14 22:30:00 CET 2014", 1_392_413_400_000),
            (
                "2014-02-14T22:30:00+01:00[Europe/Berlin]",
                1_392_413_400_000,
            ),
        ] {
            let moment = parse_moment(text).and_then(ParsedTime::utc_ms);
            assert_eq!(moment, Some(ms), "{text}");
        }
    }

    #[test]
    fn what_is_no_moment_or_more_than_one_is_none() {
        for text in [
            "",
            "2014",
            "2014-02-30T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2014-13-01T00:00:00Z",
            "2014-01-01T25:00:00Z",
            "2014-01-01T00:00:00.Z",
            "2014-01-01T0a:00:00Z",
            "02/03/2014 12:00:00",
            "12:30:00",
            "2014-02-14",
            "20140214",
            "14.02.14 21:30:00",
            "ÄÄÄÄÄÄÄÄÄÄÄÄÄÄ",
            "warm and sunny",
        ] {
            assert_eq!(parse_moment(text), None, "{text}");
        }
    }
}
