//! Timestamps of messages: numbers in a unit and texts, placed in time by the input's zone.
//!
//! A text without an offset is local time: [`Clock`] resolves it in the input's time zone, UTC
//! where none is set.

use jiff::tz::{AmbiguousOffset, TimeZone};

use super::Reject;
use crate::time::{ParsedTime, TimeUnit, by_pattern, parse_moment};

/// A local time that occurs twice is taken as the second one where the message arrived within
/// this time of it (milliseconds): readings are sent within minutes, buffered ones hours later.
const PROMPT_MS: i64 = 1_800_000;

/// Refuses times that cannot be read and those before 1970.
fn since_1970(ms: Option<i64>) -> Result<i64, Reject> {
    ms.filter(|ms| *ms >= 0).ok_or(Reject::BadTimestamp)
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

    /// A whole number as unix milliseconds.
    ///
    /// # Errors
    /// [`Reject::BadTimestamp`] before 1970 and after 9999.
    pub(super) fn whole(&self, n: i64) -> Result<i64, Reject> {
        since_1970(self.unit.whole(n))
    }

    /// A fractional number as unix milliseconds.
    ///
    /// # Errors
    /// As [`Clock::whole`].
    pub(super) fn fractional(&self, n: f64) -> Result<i64, Reject> {
        since_1970(self.unit.fractional(n))
    }

    /// Reads a text; an empty one is no timestamp.
    ///
    /// # Errors
    /// [`Reject::BadTimestamp`] for anything that is none, or lies before 1970.
    pub fn text(&self, text: &str, order: &mut Order) -> Result<Option<Stamp>, Reject> {
        let text = text.trim();
        let none = ["null", "none", "nan", "n/a"];
        if text.is_empty() || none.iter().any(|word| text.eq_ignore_ascii_case(word)) {
            return Ok(None);
        }
        let by_format = self
            .format
            .as_deref()
            .and_then(|form| by_pattern(form, text));
        // 20260301101500 is a date and time, unless a unit is set.
        let unparted = text.len() == 14 && text.bytes().all(|byte| byte.is_ascii_digit());
        if by_format.is_none() && (!unparted || self.unit != TimeUnit::Auto) {
            if let Ok(n) = text.parse::<i64>() {
                return self.whole(n).map(|ms| Some(ms.into()));
            }
            if let Ok(x) = text.parse::<f64>() {
                return self.fractional(x).map(|ms| Some(ms.into()));
            }
        }
        let moment = by_format
            .or_else(|| parse_moment(text))
            .ok_or(Reject::BadTimestamp)?;
        let stamp = self.resolve(moment, order).ok_or(Reject::BadTimestamp)?;
        since_1970(Some(stamp.ms)).map(|_| Some(stamp))
    }

    /// Places a moment in time.
    pub fn resolve(&self, moment: ParsedTime, order: &mut Order) -> Option<Stamp> {
        let civil = match moment {
            ParsedTime::Utc(ms) => return Some(ms.into()),
            ParsedTime::Local(civil) => civil,
        };
        let Some(zone) = &self.zone else {
            return Some(Stamp {
                local: true,
                ..moment.utc_ms()?.into()
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::time::{check_format, parse_zone};

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
        let utc = |text| parse_moment(text).and_then(ParsedTime::utc_ms).unwrap();
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
        let utc = |text| parse_moment(text).and_then(ParsedTime::utc_ms).unwrap();
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
        let expected = parse_moment("2026-03-02T12:30:00Z")
            .and_then(ParsedTime::utc_ms)
            .unwrap();
        assert_eq!(read(&clock, "02/03/2026 12:30", order), expected);
        assert_eq!(read(&clock, "2026-03-02T12:30:00Z", order), expected);
        assert_eq!(read(&clock, "1772454600.250", order), expected + 250);
        assert_eq!(clock.text("", order), Ok(None));
        assert_eq!(clock.text("soon", order), Err(Reject::BadTimestamp));
        assert!(check_format("%d.%m.%Y %H:%M:%S").is_ok());
        assert!(check_format("%s").is_ok());
        for wrong in ["", "%H:%M", "dd.mm.yyyy", "%Q"] {
            assert!(check_format(wrong).is_err(), "{wrong}");
        }
    }
}
