//! Source timestamps: numbers in a unit, or RFC 3339 texts, to unix milliseconds.

use super::Reject;

/// Last millisecond of the year 9999: later ones are refused as none.
const MAX_MS: i64 = 253_402_300_799_999;

/// Unit of numeric timestamps.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeUnit {
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
    /// A whole number of units as unix milliseconds, rounded down.
    pub(super) fn whole(self, n: i64) -> Result<i64, Reject> {
        let ms = match self {
            TimeUnit::Seconds => n.checked_mul(1000).ok_or(Reject::BadTimestamp)?,
            TimeUnit::Millis => n,
            TimeUnit::Micros => n.div_euclid(1000),
            TimeUnit::Nanos => n.div_euclid(1_000_000),
        };
        in_range(ms)
    }

    /// A fractional number of units as unix milliseconds, rounded.
    pub(super) fn fractional(self, n: f64) -> Result<i64, Reject> {
        let factor = match self {
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

/// `2014-02-14 21:30:00`, `2014-02-14T21:30:00.25Z`, `...+01:00` and the like as unix
/// milliseconds; a text without an offset is taken as UTC. Hours 0 to 23, a leap second counts as
/// the next second's start. `None` for anything else.
pub fn parse_rfc3339(text: &str) -> Option<i64> {
    let bytes = text.as_bytes();
    if bytes.len() < 19 || !matches!(bytes[10], b'T' | b't' | b' ' | b'_') {
        return None;
    }
    for (idx, sign) in [(4, b'-'), (7, b'-'), (13, b':'), (16, b':')] {
        if bytes[idx] != sign {
            return None;
        }
    }
    let field = |from: usize, to: usize| digits(&bytes[from..to]);
    let (year, month, day) = (field(0, 4)?, field(5, 7)?, field(8, 10)?);
    let (hour, minute, second) = (field(11, 13)?, field(14, 16)?, field(17, 19)?);
    if !(1..=12).contains(&month) || day < 1 || day > days_in_month(year, month) {
        return None;
    }
    if hour > 23 || minute > 59 || second > 60 {
        return None;
    }
    let (ms, rest) = fraction(&bytes[19..])?;
    let offset_min = offset_minutes(rest)?;
    let seconds = days_from_civil(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    Some((seconds - offset_min * 60) * 1000 + ms)
}

fn digits(bytes: &[u8]) -> Option<i64> {
    bytes.iter().try_fold(0, |n, b| {
        b.is_ascii_digit().then(|| n * 10 + i64::from(b - b'0'))
    })
}

/// Milliseconds of a fraction `.ddd`, if there is one, and what follows it.
fn fraction(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let Some(rest) = bytes.strip_prefix(b".") else {
        return Some((0, bytes));
    };
    let n = rest.iter().take_while(|b| b.is_ascii_digit()).count();
    if n == 0 {
        return None;
    }
    let ms = (0..3).fold(0, |ms, idx| {
        ms * 10
            + if idx < n {
                i64::from(rest[idx] - b'0')
            } else {
                0
            }
    });
    Some((ms, &rest[n..]))
}

/// Minutes east of UTC: nothing, `Z`, `+hh:mm`, `+hhmm` or `+hh`.
fn offset_minutes(bytes: &[u8]) -> Option<i64> {
    let (sign, rest) = match bytes {
        [] | [b'Z' | b'z'] => return Some(0),
        [b'+', rest @ ..] => (1, rest),
        [b'-', rest @ ..] => (-1, rest),
        _ => return None,
    };
    let (hour, minute) = match rest.len() {
        2 => (digits(rest)?, 0),
        4 => (digits(&rest[..2])?, digits(&rest[2..])?),
        5 if rest[2] == b':' => (digits(&rest[..2])?, digits(&rest[3..])?),
        _ => return None,
    };
    (hour < 24 && minute < 60).then_some(sign * (hour * 60 + minute))
}

fn is_leap(year: i64) -> bool {
    year % 4 == 0 && (year % 100 != 0 || year % 400 == 0)
}

fn days_in_month(year: i64, month: i64) -> i64 {
    match month {
        2 if is_leap(year) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01, proleptic Gregorian calendar.
fn days_from_civil(year: i64, month: i64, day: i64) -> i64 {
    let leap_days_before = |y: i64| {
        let y = y - 1;
        y.div_euclid(4) - y.div_euclid(100) + y.div_euclid(400)
    };
    let years = (year - 1970) * 365 + leap_days_before(year) - leap_days_before(1970);
    let months: i64 = (1..month).map(|m| days_in_month(year, m)).sum();
    years + months + day - 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_moments_are_read() {
        for (text, ms) in [
            ("1970-01-01T00:00:00Z", 0),
            ("2000-02-29 12:00:00", 951_825_600_000),
            ("2013-12-02 21:15:00.000000", 1_386_018_900_000),
            ("2014-02-14T21:30:00.25Z", 1_392_413_400_250),
            ("2014-02-14T22:30:00+01:00", 1_392_413_400_000),
            ("2100-03-01T00:00:00Z", 4_107_542_400_000),
        ] {
            assert_eq!(parse_rfc3339(text), Some(ms), "{text}");
        }
    }

    #[test]
    fn what_is_no_moment_is_none() {
        for text in [
            "",
            "2014",
            "2014-02-30T00:00:00Z",
            "1900-02-29T00:00:00Z",
            "2014-13-01T00:00:00Z",
            "2014-01-01T24:00:00Z",
            "2014-01-01T00:00:00.Z",
            "2014-01-01T00:00:00+1",
            "2014-01-01T00:00:00 UTC",
            "2014-01-01T0a:00:00Z",
            "ÄÄÄÄÄÄÄÄÄÄÄÄÄÄ",
        ] {
            assert_eq!(parse_rfc3339(text), None, "{text}");
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
    }
}
