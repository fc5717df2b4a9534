//! Source timestamps: numbers in a unit and texts in many forms, to unix milliseconds.
//!
//! A text without an offset is local time: [`Clock`] resolves it in the input's time zone, UTC
//! where none is set. jiff reads the ISO 8601 forms and has the zones' rules.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::fmt::strtime::BrokenDownTime;
use jiff::tz::{AmbiguousOffset, TimeZone};

use super::Reject;

/// Last millisecond of the year 9999: later ones are refused as none.
const MAX_MS: i64 = 253_402_300_799_999;

/// A local time that occurs twice is taken as the second one where the message arrived within
/// this time of it (milliseconds): readings are sent within minutes, buffered ones hours later.
const PROMPT_MS: i64 = 1_800_000;

/// Unit of numeric timestamps.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TimeUnit {
    /// The unit in which the number lies between 1973 and 5138, see [`TimeUnit::by_size`].
    #[default]
    Auto,
    /// Seconds.
    Seconds,
    /// Milliseconds.
    Millis,
    /// Microseconds.
    Micros,
    /// Nanoseconds.
    Nanos,
}

impl TimeUnit {
    /// The unit that a number's size suggests: 1e11 seconds are the year 5138, 1e11 milliseconds
    /// are 1973, and so on by factors of 1000.
    pub fn by_size(n: f64) -> TimeUnit {
        match n.abs() {
            x if x < 1e11 => TimeUnit::Seconds,
            x if x < 1e14 => TimeUnit::Millis,
            x if x < 1e17 => TimeUnit::Micros,
            _ => TimeUnit::Nanos,
        }
    }

    /// The word used in settings.
    pub fn as_str(self) -> &'static str {
        match self {
            TimeUnit::Auto => "auto",
            TimeUnit::Seconds => "s",
            TimeUnit::Millis => "ms",
            TimeUnit::Micros => "us",
            TimeUnit::Nanos => "ns",
        }
    }

    /// Converts a whole number of units to unix milliseconds, rounded down.
    ///
    /// # Errors
    /// [`Reject::BadTimestamp`] before 1970 and after 9999.
    pub fn whole(self, n: i64) -> Result<i64, Reject> {
        #[expect(clippy::cast_precision_loss, reason = "its size is enough")]
        let ms = match self {
            TimeUnit::Auto => return TimeUnit::by_size(n as f64).whole(n),
            TimeUnit::Seconds => n.checked_mul(1000).ok_or(Reject::BadTimestamp)?,
            TimeUnit::Millis => n,
            TimeUnit::Micros => n.div_euclid(1000),
            TimeUnit::Nanos => n.div_euclid(1_000_000),
        };
        in_range(ms)
    }

    /// Converts a fractional number of units to unix milliseconds, rounded.
    ///
    /// # Errors
    /// [`Reject::BadTimestamp`] before 1970 and after 9999.
    pub fn fractional(self, n: f64) -> Result<i64, Reject> {
        let factor = match self {
            TimeUnit::Auto => return TimeUnit::by_size(n).fractional(n),
            TimeUnit::Seconds => 1e3,
            TimeUnit::Millis => 1.0,
            TimeUnit::Micros => 1e-3,
            TimeUnit::Nanos => 1e-6,
        };
        let ms = (n * factor).round();
        #[expect(clippy::cast_precision_loss, reason = "MAX_MS is below 2^53")]
        if !(0.0..=MAX_MS as f64).contains(&ms) {
            return Err(Reject::BadTimestamp);
        }
        #[expect(clippy::cast_possible_truncation, reason = "within 0 to MAX_MS")]
        in_range(ms as i64)
    }
}

fn in_range(ms: i64) -> Result<i64, Reject> {
    if (0..=MAX_MS).contains(&ms) {
        Ok(ms)
    } else {
        Err(Reject::BadTimestamp)
    }
}

/// A text read as a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Moment {
    /// With an offset or `Z`: unix milliseconds.
    Utc(i64),
    /// Without: a local time.
    Local(DateTime),
}

impl Moment {
    /// Unix milliseconds, a local time taken as UTC.
    pub fn utc_ms(self) -> Option<i64> {
        match self {
            Moment::Utc(ms) => Some(ms),
            Moment::Local(civil) => in_zone(civil, &TimeZone::UTC),
        }
    }
}

fn in_zone(civil: DateTime, zone: &TimeZone) -> Option<i64> {
    let at = zone.to_ambiguous_timestamp(civil).compatible().ok()?;
    Some(at.as_millisecond())
}

/// Patterns of local times that are no ISO 8601 and can be read in one way only.
const PATTERNS: [&str; 12] = [
    "%d.%m.%Y %H:%M:%S%.f",
    "%d.%m.%Y %H:%M",
    "%d.%m.%YT%H:%M:%S%.f",
    "%Y/%m/%d %H:%M:%S%.f",
    "%Y/%m/%d %H:%M",
    "%Y/%m/%d-%H:%M:%S%.f",
    "%Y.%m.%d %H:%M:%S%.f",
    "%Y%m%d %H:%M:%S",
    "%a %b %e %H:%M:%S %Y",
    "%b %e %Y %H:%M:%S",
    "%e %b %Y %H:%M:%S",
    "%d.%m.%Y, %H:%M:%S",
];

/// Reads a date and time as devices write them: ISO 8601 (extended or basic, `T`, `_` or a blank
/// between, seconds optional, a fraction after a point or a comma, `Z`, ` UTC`, ` GMT` or an
/// offset), RFC 2822, `28.02.2026 03:20:00`, `2026/02/28 03:20`, `20260228032000`, `/Date(ms)/`.
/// Forms that can be read in two ways (`02/03/2026`) are none of them.
pub fn parse_moment(text: &str) -> Option<Moment> {
    standard(text).or_else(|| {
        let text = plausible(text)?;
        PATTERNS.iter().find_map(|form| pattern(form, text))
    })
}

/// The forms that a standard has, and deviations from them.
fn standard(text: &str) -> Option<Moment> {
    let text = plausible(text)?;
    iso(text).or_else(|| odd(text))
}

/// No form is longer or shorter: a text of a megabyte is not tried in 20 ways.
fn plausible(text: &str) -> Option<&str> {
    let text = text.trim();
    ((8..=64).contains(&text.len()) && text.is_ascii()).then_some(text)
}

/// ISO 8601 with its usual liberties.
fn iso(text: &str) -> Option<Moment> {
    if let Ok(at) = text.parse::<Timestamp>() {
        return Some(Moment::Utc(at.as_millisecond()));
    }
    if text
        .bytes()
        .all(|b| b.is_ascii_digit() || b == b'-' || b == b'/')
    {
        return digits(text);
    }
    if let Ok(civil) = text.parse::<DateTime>() {
        // A time zone in brackets or an offset would have been read above.
        return (!text.contains(['[', '+'])).then_some(Moment::Local(civil));
    }
    None
}

/// `20260228032000`: a date and time without separators.
fn digits(text: &str) -> Option<Moment> {
    if text.len() != 14 || !text.starts_with(['1', '2']) {
        return None;
    }
    pattern("%Y%m%d%H%M%S", text)
}

/// The other forms, tried after ISO 8601 with the usual deviations undone.
fn odd(text: &str) -> Option<Moment> {
    // One zone is taken away, once: a text of many would otherwise be tried in all combinations.
    let zones = [" UTC", " GMT", "UTC", " Z"];
    if let Some(civil) = zones.iter().find_map(|zone| text.strip_suffix(zone)) {
        let utc = parse_moment(civil).and_then(Moment::utc_ms);
        return utc.map(Moment::Utc).or_else(|| rfc2822(text));
    }
    if let Some(ms) = text.strip_prefix("/Date(") {
        let ms = ms.strip_suffix(")/")?.split(['+', '-']).next()?;
        return Some(Moment::Utc(ms.parse().ok()?));
    }
    if text.as_bytes().get(10) == Some(&b'_') {
        return iso(&text.replacen('_', "T", 1));
    }
    // `2026-02-28 03:20:00 +0100`
    if let Some((civil, offset)) = text.rsplit_once(' ')
        && offset.starts_with(['+', '-'])
        && let Some(moment) = iso(&format!("{civil}{offset}"))
    {
        return Some(moment);
    }
    if let Some(moment) = midnight(text) {
        return Some(moment);
    }
    rfc2822(text)
}

/// `Sun, 01 Mar 2026 10:00:00 +0100`, as in mail.
fn rfc2822(text: &str) -> Option<Moment> {
    let zoned = jiff::fmt::rfc2822::parse(text).ok()?;
    Some(Moment::Utc(zoned.timestamp().as_millisecond()))
}

/// `2026-02-28T24:00:00` is the start of the next day.
fn midnight(text: &str) -> Option<Moment> {
    let at = text.find("24:00")?;
    // Behind the date, not among minutes and seconds.
    if !text[..at].ends_with(['T', ' ']) {
        return None;
    }
    let zero = format!("{}00:00{}", &text[..at], &text[at + 5..]);
    match parse_moment(&zero)? {
        Moment::Utc(ms) => Some(Moment::Utc(ms + 86_400_000)),
        Moment::Local(civil) => Some(Moment::Local(civil.tomorrow().ok()?)),
    }
}

/// Reads `text` by a strftime pattern; with an offset, a zone or a unix time in it as an instant.
fn pattern(pattern: &str, text: &str) -> Option<Moment> {
    let parts = BrokenDownTime::parse(pattern, text).ok()?;
    if parts.offset().is_some() || parts.timestamp().is_some() {
        let at = parts.to_timestamp().ok()?;
        return Some(Moment::Utc(at.as_millisecond()));
    }
    let civil = parts.to_datetime().ok()?;
    // A year of two digits read as one of four is antiquity.
    (civil.year() >= 1900).then_some(Moment::Local(civil))
}

/// Checks a strftime pattern as `ts_format` has it.
///
/// # Errors
/// The allowed form, where the pattern reads nothing that it writes itself.
pub fn check_format(format: &str) -> Result<(), String> {
    let probe = jiff::civil::date(2026, 2, 28).at(13, 20, 30, 0);
    let probe = probe.to_zoned(TimeZone::UTC).map_err(|e| e.to_string())?;
    let written = jiff::fmt::strtime::format(format, &probe);
    let read = written.ok().and_then(|text| pattern(format, &text));
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

/// How an input's timestamps are read.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Clock {
    /// Unit of numbers.
    pub unit: TimeUnit,
    /// Form of texts (strftime), tried before the known forms.
    pub format: Option<String>,
    /// Zone of local times; `None` where none was set, which is UTC.
    pub zone: Option<TimeZone>,
}

/// A timestamp as read, with its circumstances.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Unix milliseconds.
    pub ms: i64,
    /// The text had no offset: the zone decided.
    pub local: bool,
    /// The local time does not exist, the clock having been put forward; it was moved by the gap.
    pub gap: bool,
}

impl From<i64> for Stamp {
    fn from(ms: i64) -> Stamp {
        Stamp {
            ms,
            local: false,
            gap: false,
        }
    }
}

/// Decides which of two equal local times is meant, in the hour that occurs twice.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Order {
    /// The source's last stamp within such an hour, unix milliseconds.
    pub last_ms: Option<i64>,
    /// Arrival of the message, unix milliseconds.
    pub arrival_ms: i64,
}

impl Clock {
    /// A clock of numbers in `unit` and texts in UTC.
    pub fn of_unit(unit: TimeUnit) -> Clock {
        Clock {
            unit,
            ..Clock::default()
        }
    }

    /// Reads a text; an empty one is no timestamp.
    ///
    /// # Errors
    /// [`Reject::BadTimestamp`] for anything that is none, or lies before 1970.
    pub fn text(&self, text: &str, order: &mut Order) -> Result<Option<Stamp>, Reject> {
        let text = text.trim();
        if text.is_empty() {
            return Ok(None);
        }
        let by_format = self.format.as_deref().and_then(|form| pattern(form, text));
        if by_format.is_none() && (text.len() != 14 || self.unit != TimeUnit::Auto) {
            if let Ok(n) = text.parse::<i64>() {
                return self.unit.whole(n).map(|ms| Some(ms.into()));
            }
            if let Ok(x) = text.parse::<f64>() {
                return self.unit.fractional(x).map(|ms| Some(ms.into()));
            }
        }
        let moment = by_format
            .or_else(|| parse_moment(text))
            .ok_or(Reject::BadTimestamp)?;
        let stamp = self.resolve(moment, order).ok_or(Reject::BadTimestamp)?;
        in_range(stamp.ms).map(|_| Some(stamp))
    }

    /// Places a moment in time.
    pub fn resolve(&self, moment: Moment, order: &mut Order) -> Option<Stamp> {
        let civil = match moment {
            Moment::Utc(ms) => return Some(ms.into()),
            Moment::Local(civil) => civil,
        };
        let Some(zone) = &self.zone else {
            return Some(Stamp {
                local: true,
                ..in_zone(civil, &TimeZone::UTC)?.into()
            });
        };
        let ambiguous = zone.to_ambiguous_timestamp(civil);
        let mut gap = false;
        let at = match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { .. } => ambiguous.compatible().ok()?.as_millisecond(),
            AmbiguousOffset::Gap { .. } => {
                gap = true;
                ambiguous.compatible().ok()?.as_millisecond()
            }
            AmbiguousOffset::Fold { .. } => {
                let first = ambiguous.earlier().ok()?.as_millisecond();
                let second = ambiguous.later().ok()?.as_millisecond();
                let at = fold(first, second, *order);
                order.last_ms = Some(at);
                at
            }
        };
        Some(Stamp {
            ms: at,
            local: true,
            gap,
        })
    }
}

/// Which of the two is meant: the first that is not before the source's last stamp; without one,
/// the second only where the message arrived just then.
fn fold(first: i64, second: i64, order: Order) -> i64 {
    match order.last_ms {
        // A stamp of another autumn says nothing.
        Some(last) if (last - first).abs() < 86_400_000 => match first >= last {
            true => first,
            false => second,
        },
        _ if (order.arrival_ms - second).abs() <= PROMPT_MS => second,
        _ => first,
    }
}

/// Reads `2014-02-14 21:30:00`, `2014-02-14T21:30:00.25Z`, `...+01:00` and the other standard forms
/// of [`parse_moment`] as unix milliseconds; a text without an offset is taken as UTC.
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    standard(text)?.utc_ms()
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
            (
                "2014-02-14T22:30:00+01:00[Europe/Berlin]",
                1_392_413_400_000,
            ),
        ] {
            let moment = parse_moment(text).and_then(Moment::utc_ms);
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
            "ÄÄÄÄÄÄÄÄÄÄÄÄÄÄ",
            "warm and sunny",
        ] {
            assert_eq!(parse_moment(text), None, "{text}");
        }
    }

    #[test]
    fn units_agree_and_ranges_hold() {
        assert_eq!(
            TimeUnit::Seconds.whole(1_400_000_000),
            Ok(1_400_000_000_000)
        );
        assert_eq!(
            TimeUnit::Seconds.fractional(1.4e9 + 0.25),
            Ok(1_400_000_000_250)
        );
        assert_eq!(
            TimeUnit::Nanos.whole(1_400_000_000_250_000_000),
            Ok(1_400_000_000_250)
        );
        assert_eq!(TimeUnit::Seconds.whole(i64::MAX), Err(Reject::BadTimestamp));
        assert_eq!(TimeUnit::Millis.whole(-1), Err(Reject::BadTimestamp));
        assert_eq!(
            TimeUnit::Millis.fractional(f64::NAN),
            Err(Reject::BadTimestamp)
        );
        for n in [
            1_400_000_000,
            1_400_000_000_000,
            1_400_000_000_000_000,
            1_400_000_000_000_000_000,
        ] {
            assert_eq!(TimeUnit::Auto.whole(n), Ok(1_400_000_000_000), "{n}");
            assert_eq!(TimeUnit::Auto.fractional(n as f64), Ok(1_400_000_000_000));
        }
    }

    fn clock(zone: &str) -> Clock {
        Clock {
            zone: Some(parse_zone(zone).unwrap()),
            ..Clock::default()
        }
    }

    fn read(clock: &Clock, text: &str, order: &mut Order) -> i64 {
        clock.text(text, order).unwrap().unwrap().ms
    }

    #[test]
    fn local_times_are_placed_by_the_zone_in_summer_and_winter() {
        let order = &mut Order::default();
        let berlin = clock("Europe/Berlin");
        let utc = |text| parse_rfc3339(text).unwrap();
        assert_eq!(
            read(&berlin, "2026-07-01T12:00:00", order),
            utc("2026-07-01T10:00:00Z")
        );
        assert_eq!(
            read(&berlin, "2026-01-01T12:00:00", order),
            utc("2026-01-01T11:00:00Z")
        );
        // An offset of its own wins.
        assert_eq!(
            read(&berlin, "2026-01-01T12:00:00Z", order),
            utc("2026-01-01T12:00:00Z")
        );
        let fixed = clock("-03:30");
        assert_eq!(
            read(&fixed, "2026-01-01T12:00:00", order),
            utc("2026-01-01T15:30:00Z")
        );
        assert!(parse_zone("Europe/Berln").is_err() && parse_zone("+40").is_err());
    }

    #[test]
    fn the_hour_that_occurs_twice_is_told_by_order_and_the_one_that_is_missing_is_said() {
        let berlin = clock("Europe/Berlin");
        let mut order = Order::default();
        let times: Vec<i64> = [
            "2026-10-25T01:50:00",
            "2026-10-25T02:10:00",
            "2026-10-25T02:50:00",
            "2026-10-25T02:10:00",
            "2026-10-25T02:50:00",
            "2026-10-25T03:10:00",
        ]
        .iter()
        .map(|text| read(&berlin, text, &mut order))
        .collect();
        let minutes: Vec<i64> = times.windows(2).map(|w| (w[1] - w[0]) / 60_000).collect();
        assert_eq!(minutes, [20, 40, 20, 40, 20]);
        // Alone, just sent in the second hour.
        let utc = |text| parse_rfc3339(text).unwrap();
        let mut order = Order {
            last_ms: None,
            arrival_ms: utc("2026-10-25T01:10:02Z"),
        };
        assert_eq!(
            read(&berlin, "2026-10-25T02:10:00", &mut order),
            utc("2026-10-25T01:10:00Z")
        );
        let stamp = berlin.text("2026-03-29T02:30:00", &mut Order::default());
        let stamp = stamp.unwrap().unwrap();
        assert!(stamp.gap);
        assert_eq!(stamp.ms, utc("2026-03-29T01:30:00Z"));
    }

    #[test]
    fn a_format_of_its_own_is_tried_first_and_checked() {
        let clock = Clock {
            format: Some("%d/%m/%Y %H:%M".to_owned()),
            ..Clock::default()
        };
        let order = &mut Order::default();
        let expected = parse_rfc3339("2026-03-02T12:30:00Z").unwrap();
        assert_eq!(read(&clock, "02/03/2026 12:30", order), expected);
        assert_eq!(read(&clock, "2026-03-02T12:30:00Z", order), expected);
        assert_eq!(clock.text("", order), Ok(None));
        assert_eq!(clock.text("soon", order), Err(Reject::BadTimestamp));
        assert!(check_format("%d.%m.%Y %H:%M:%S").is_ok());
        assert!(check_format("%s").is_ok());
        for wrong in ["", "%H:%M", "dd.mm.yyyy", "%Q"] {
            assert!(check_format(wrong).is_err(), "{wrong}");
        }
    }
}
