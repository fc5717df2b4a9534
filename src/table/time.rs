//! Finds how a time column is written and reads its times as unix milliseconds.

use jiff::Timestamp;
use jiff::civil::DateTime;
use jiff::tz::{AmbiguousOffset, TimeZone};

use crate::time::{DateOrder, ParsedTime, TimeUnit, by_pattern, civil, in_order};

/// Start of 1900, unix milliseconds: no recording is older, a year of two digits read as one of four is.
const YEAR_1900: i64 = -2_208_988_800_000;
/// Start of 1998: a number of seconds that big is hardly anything but a time.
const YEAR_1998: i64 = 883_612_800_000;
/// 1980 and 2100 as the days that spreadsheets count from 1899-12-30.
const SPREADSHEET_DAYS: std::ops::Range<f64> = 29_221.0..73_051.0;
/// Unix time of the spreadsheets' day 0, days.
const SPREADSHEET_EPOCH: f64 = -25_569.0;

const DAY_MS: i64 = 86_400_000;

/// Dates since 1900 without separators: days, then with hours, minutes and seconds. As unix times
/// those with hours would lie beyond 2030, with minutes before 1977, with seconds beyond 2570.
const UNPARTED: [std::ops::Range<f64>; 4] =
    [1e7..1e8, 1.9e9..2.1e9, 1.9e11..2.1e11, 1.9e13..2.1e13];

/// How the time column is written.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum TimeFormat {
    /// A date, or a date and a time of day.
    Civil(DateOrder),
    /// The same by a pattern of `strftime`.
    Pattern(String),
    /// A unix time.
    Unix(TimeUnit),
    /// Days since 1899-12-30, as spreadsheets store times.
    Days,
    /// A time of day without a date, or a span since the start.
    OfDay,
    /// There is none: rows are taken as one second apart.
    None,
}

impl TimeFormat {
    /// Judges samples of a column: the format that most fit, which must be at least half; of dates
    /// that can be read in two ways the one whose largest step is smaller. `None` for no times.
    pub(crate) fn of(samples: &[impl AsRef<str>]) -> Option<TimeFormat> {
        TimeFormat::found(samples, false)
    }

    /// The same; where nothing else decides, 01/02/2026 is a day of February if `day_first`.
    pub(super) fn found(samples: &[impl AsRef<str>], day_first: bool) -> Option<TimeFormat> {
        let numbers = samples
            .iter()
            .filter_map(|text| text.as_ref().trim().parse::<f64>().ok());
        let number = numbers.clone().next();
        let mut formats: Vec<TimeFormat> = Vec::new();
        if let Some(x) = number {
            let days = samples.len() > 1
                && numbers.clone().count() == samples.len()
                && numbers.clone().all(|x| SPREADSHEET_DAYS.contains(&x))
                && numbers.clone().any(|x| x.fract() != 0.0);
            if days {
                return Some(TimeFormat::Days);
            }
            formats.push(TimeFormat::Unix(TimeUnit::by_size(x)));
        }
        let mut orders = [
            DateOrder::YearMonthDay,
            DateOrder::MonthDayYear,
            DateOrder::DayMonthYear,
        ];
        if day_first {
            orders.swap(1, 2);
        }
        formats.extend(orders.map(TimeFormat::Civil));
        if number.is_some_and(|x| UNPARTED.iter().any(|range| range.contains(&x))) {
            // 20260301 is a day, and 2026030110 its tenth hour, if all can be read so.
            let day = TimeFormat::Civil(DateOrder::YearMonthDay);
            if day.fits(samples) == samples.len() && !samples.is_empty() {
                return Some(day);
            }
        }
        let most = formats.iter().map(|format| format.fits(samples)).max()?;
        if most == 0 || 2 * most < samples.len() {
            return None;
        }
        formats.retain(|format| format.fits(samples) == most);
        formats
            .into_iter()
            .min_by_key(|format| format.disorder(samples))
    }

    /// Itself, but numbers too small for a date in the unit that the column's name ends with: `t [ms]`.
    pub(super) fn in_unit_of(self, name: &str, samples: &[impl AsRef<str>]) -> TimeFormat {
        let letters = |c: char| !c.is_alphanumeric() && c != '\u{b5}' && c != '\u{3bc}';
        let last = name.split(letters).rfind(|word| !word.is_empty());
        let unit = match last {
            Some("ms" | "msec" | "milliseconds" | "Millisekunden") => TimeUnit::Millis,
            Some("us" | "\u{b5}s" | "\u{3bc}s" | "microseconds") => TimeUnit::Micros,
            Some("ns" | "nanoseconds") => TimeUnit::Nanos,
            _ => return self,
        };
        let ms = samples.last().and_then(|text| self.utc_ms(text.as_ref()));
        match (&self, ms) {
            (TimeFormat::Unix(TimeUnit::Seconds), Some(ms)) if ms < YEAR_1998 => {
                TimeFormat::Unix(unit)
            }
            _ => self,
        }
    }

    /// Itself, if at least half of the samples are written so.
    pub(super) fn that_fits(self, samples: &[impl AsRef<str>]) -> Option<TimeFormat> {
        let n = self.fits(samples);
        (n > 0 && 2 * n >= samples.len()).then_some(self)
    }

    /// Samples that are written so, none of them in antiquity.
    fn fits(&self, samples: &[impl AsRef<str>]) -> usize {
        let since = match self {
            TimeFormat::Unix(_) => i64::MIN,
            _ => YEAR_1900,
        };
        let ms = |text: &str| self.utc_ms(text).filter(|ms| *ms >= since);
        samples
            .iter()
            .filter(|text| ms(text.as_ref()).is_some())
            .count()
    }

    /// Whether the times run both ways, and the largest step: a wrong order of day and month jumps.
    fn disorder(&self, samples: &[impl AsRef<str>]) -> (bool, i64) {
        let ms: Vec<i64> = samples
            .iter()
            .filter_map(|text| self.utc_ms(text.as_ref()))
            .collect();
        let both = !ms.is_sorted() && !ms.iter().rev().is_sorted();
        let steps = ms.windows(2).map(|pair| pair[1].abs_diff(pair[0]));
        (
            both,
            i64::try_from(steps.max().unwrap_or(0)).unwrap_or(i64::MAX),
        )
    }

    /// The times run from old to new, or from new to old.
    pub(super) fn runs_one_way(&self, samples: &[impl AsRef<str>]) -> bool {
        !self.disorder(samples).0
    }

    /// Numbers that can hardly be anything but unix times: from 1998 on, running one way.
    pub(super) fn is_plainly_unix(&self, samples: &[impl AsRef<str>]) -> bool {
        if !matches!(self, TimeFormat::Unix(_)) {
            return false;
        }
        let ms: Option<Vec<i64>> = samples
            .iter()
            .map(|text| self.utc_ms(text.as_ref()))
            .collect();
        ms.is_some_and(|ms| {
            ms.first() != ms.last()
                && (ms.is_sorted() || ms.iter().rev().is_sorted())
                && ms.iter().all(|ms| *ms > YEAR_1998)
        })
    }

    /// The other reading of days such as 01/02/2026, where the samples do not tell them apart.
    pub(super) fn doubt(&self, samples: &[impl AsRef<str>]) -> Option<&'static str> {
        let (other, pattern) = match self {
            TimeFormat::Civil(DateOrder::MonthDayYear) => (DateOrder::DayMonthYear, "%d/%m/%Y"),
            TimeFormat::Civil(DateOrder::DayMonthYear) => (DateOrder::MonthDayYear, "%m/%d/%Y"),
            _ => return None,
        };
        let turned = TimeFormat::Civil(other);
        let differ = |text: &str| self.utc_ms(text) != turned.utc_ms(text);
        let doubtful = turned.fits(samples) == self.fits(samples)
            && turned.disorder(samples) == self.disorder(samples)
            && samples.iter().any(|text| differ(text.as_ref()));
        doubtful.then_some(pattern)
    }

    /// Says what a time should look like.
    pub(super) fn expected(&self) -> String {
        match self {
            TimeFormat::Pattern(pattern) => format!("{pattern} (strftime)"),
            _ => "unix seconds or milliseconds, or a date and time such as 2026-01-31 13:45:00; \
                  --time-format tells any other, --time another column, --ignore leaves it out"
                .to_owned(),
        }
    }

    fn read(&self, text: &str) -> Option<ParsedTime> {
        let text = text.trim();
        match self {
            TimeFormat::Unix(unit) => unix(text, *unit).map(ParsedTime::Utc),
            TimeFormat::Days => {
                let days: f64 = text.parse().ok()?;
                let days = SPREADSHEET_DAYS
                    .contains(&days)
                    .then_some(days + SPREADSHEET_EPOCH)?;
                let stamp = Timestamp::from_second((days * 86_400.0).round() as i64).ok()?;
                Some(ParsedTime::Local(TimeZone::UTC.to_datetime(stamp)))
            }
            TimeFormat::OfDay => civil::of_day_ms(text).map(ParsedTime::Utc),
            TimeFormat::Civil(order) => in_order(text, *order),
            TimeFormat::Pattern(pattern) => by_pattern(pattern, text),
            TimeFormat::None => None,
        }
    }

    /// Unix milliseconds, a time without an offset taken as UTC.
    pub(crate) fn utc_ms(&self, text: &str) -> Option<i64> {
        self.read(text)?.utc_ms()
    }
}

fn unix(text: &str, unit: TimeUnit) -> Option<i64> {
    match text.parse::<i64>() {
        Ok(whole) => unit.whole(whole),
        Err(_) => unit.fractional(text.parse().ok()?),
    }
}

/// The order in which times stand in a file.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct RowOrder {
    /// The rows run from new to old.
    pub(super) newest_first: bool,
    /// Several lines share a time: a line a reading.
    pub(super) repeats: bool,
}

/// Reads the times of a column in turn. Local times that a change of the clock makes twice are told
/// apart by their order.
pub(super) struct RowClock {
    format: TimeFormat,
    zone: TimeZone,
    order: RowOrder,
    last_ms: Option<i64>,
    /// Days since the first row, where times are without a date.
    day: i64,
    /// Local times that the zone leaves out; taken as if the clock had not been put forward.
    pub(super) in_gap: u64,
}

impl RowClock {
    pub(super) fn new(format: TimeFormat, zone: TimeZone, order: RowOrder) -> RowClock {
        RowClock {
            format,
            zone,
            order,
            last_ms: None,
            day: 0,
            in_gap: 0,
        }
    }

    /// Unix milliseconds; `None` for a time that is written otherwise.
    pub(super) fn read(&mut self, text: &str) -> Option<i64> {
        let ms = match self.format.read(text)? {
            ParsedTime::Utc(ms) if self.format == TimeFormat::OfDay => self.on_its_day(ms),
            ParsedTime::Utc(ms) => ms,
            ParsedTime::Local(at) => self.local(at)?,
        };
        self.last_ms = Some(ms);
        Some(ms)
    }

    /// Puts a time of day on the day that is nearest to the row above: midnight has passed where it
    /// lies more than half a day back.
    fn on_its_day(&mut self, of_day_ms: i64) -> i64 {
        let step = self
            .last_ms
            .map_or(0, |last| of_day_ms + self.day * DAY_MS - last);
        self.day += i64::from(step < -DAY_MS / 2);
        self.day -= i64::from(step > DAY_MS / 2 && self.order.newest_first);
        of_day_ms + self.day * DAY_MS
    }

    fn local(&mut self, at: DateTime) -> Option<i64> {
        let ambiguous = self.zone.to_ambiguous_timestamp(at);
        let (early, late) = match ambiguous.offset() {
            AmbiguousOffset::Unambiguous { offset } => {
                return Some(offset.to_timestamp(at).ok()?.as_millisecond());
            }
            AmbiguousOffset::Gap { before, .. } => {
                self.in_gap += 1;
                return Some(before.to_timestamp(at).ok()?.as_millisecond());
            }
            AmbiguousOffset::Fold { before, after } => (
                before.to_timestamp(at).ok()?.as_millisecond(),
                after.to_timestamp(at).ok()?.as_millisecond(),
            ),
        };
        let Some(last) = self.last_ms else {
            return Some(if self.order.newest_first { late } else { early });
        };
        // A time that comes again is the second of the two, unless times repeat anyway.
        let again = !self.order.repeats;
        Some(match self.order.newest_first {
            false if early < last || (again && early == last) => late,
            false => early,
            true if late > last || (again && late == last) => early,
            true => late,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strokes_are_read_as_what_runs_on_and_else_in_doubt() {
        use DateOrder::{DayMonthYear, MonthDayYear};
        for (samples, order) in [
            // A month after the other, or a day.
            (vec!["31/01/2020 10:00", "01/02/2020 10:00"], DayMonthYear),
            (
                vec!["12/01/2020 10:00", "01/02/2020 10:00", "02/02/2020 10:00"],
                DayMonthYear,
            ),
            (vec!["01/03/2026 23:00", "02/03/2026 0:00"], DayMonthYear),
            (vec!["03/01/2026 23:00", "03/02/2026 0:00"], MonthDayYear),
            (vec!["02/03/2026 0:00", "01/03/2026 23:00"], DayMonthYear),
        ] {
            let format = TimeFormat::of(&samples).expect("times");
            assert_eq!(format, TimeFormat::Civil(order), "{samples:?}");
            assert_eq!(format.doubt(&samples), None, "{samples:?}");
        }
        let day = ["03/04/2020 10:00", "03/04/2020 10:01"];
        assert_eq!(
            TimeFormat::found(&day, true),
            Some(TimeFormat::Civil(DayMonthYear))
        );
        let format = TimeFormat::of(&day).expect("a time");
        assert_eq!(format, TimeFormat::Civil(MonthDayYear));
        assert_eq!(format.doubt(&day), Some("%d/%m/%Y"));
    }

    #[test]
    fn a_unit_in_the_name_counts_for_numbers_that_are_no_dates() {
        let in_unit = |name: &str, samples: &[&str]| {
            let format = TimeFormat::of(samples).expect("times");
            format.in_unit_of(name, samples).utc_ms(samples[1])
        };
        assert_eq!(in_unit("elapsed (ms)", &["0", "500"]), Some(500));
        assert_eq!(in_unit("t_us", &["0", "500000"]), Some(500));
        assert_eq!(in_unit("Elapsed (s)", &["0", "0.5"]), Some(500));
        assert_eq!(
            in_unit("time_ms", &["1772323200000", "1772323200500"]),
            Some(1_772_323_200_500)
        );
    }

    #[test]
    fn numbers_are_unix_times_days_or_the_days_of_a_spreadsheet() {
        let read = |samples: &[&str]| {
            let format = TimeFormat::of(samples).expect("times");
            format.utc_ms(samples[0])
        };
        assert_eq!(read(&["1583748873"]), Some(1_583_748_873_000));
        assert_eq!(read(&["1583748873123"]), Some(1_583_748_873_123));
        assert_eq!(read(&["1583748873123456789"]), Some(1_583_748_873_123));
        assert_eq!(read(&["0", "1", "2"]), Some(0));
        assert_eq!(read(&["20200309", "20200310"]), Some(1_583_712_000_000));
        assert_eq!(read(&["43899.5", "43899.75"]), Some(1_583_755_200_000));
        let noon = Some(1_583_755_200_000);
        assert_eq!(read(&["2020030912", "2020030913"]), noon);
        assert_eq!(read(&["202003091200", "202003091210"]), noon);
        assert_eq!(read(&["20200309120000", "20200309120001"]), noon);
    }

    #[test]
    fn a_few_lines_that_are_no_times_do_not_spoil_a_column() {
        let mut samples = vec!["2026-03-01 00:00:00 UTC"; 5];
        samples.extend(["Total", "# a comment"]);
        assert_eq!(
            TimeFormat::of(&samples),
            Some(TimeFormat::Civil(DateOrder::YearMonthDay))
        );
        assert_eq!(TimeFormat::of(&["soon", "later", "2026-03-01"]), None);
    }

    #[test]
    fn times_of_day_without_a_date_run_over_midnight() {
        let read = |texts: &[&str], newest_first| -> Vec<i64> {
            let order = RowOrder {
                newest_first,
                repeats: false,
            };
            let mut clock = RowClock::new(TimeFormat::OfDay, TimeZone::UTC, order);
            let ms = texts.iter().map(|text| clock.read(text).expect("a time"));
            ms.map(|ms| ms / 60_000).collect()
        };
        let night = ["23:58", "23:59", "0:00", "00:01:00.5"];
        assert_eq!(read(&night, false), [1438, 1439, 1440, 1441]);
        let back: Vec<&str> = night.iter().copied().rev().collect();
        assert_eq!(read(&back, true), [1, 0, -1, -2]);
        assert_eq!(
            read(&["23:59:00", "24:00:00", "100:01:00"], false),
            [1439, 1440, 6001]
        );
        assert_eq!(
            read(&["12:00", "11:59", "12:01 PM"], false),
            [720, 719, 721]
        );
        for text in ["12:60", "100:60:00", "1:2", "x", "100.30", "-1:00"] {
            let mut clock = RowClock::new(TimeFormat::OfDay, TimeZone::UTC, RowOrder::default());
            assert_eq!(clock.read(text), None, "{text}");
        }
    }

    #[test]
    fn a_zone_is_applied_and_the_hour_that_comes_twice_is_told_by_its_order() {
        let zone = TimeZone::get("Europe/Berlin").expect("bundled");
        let civil = TimeFormat::Civil(DateOrder::YearMonthDay);
        let night = [
            "2025-10-26 01:30",
            "2025-10-26 02:30",
            "2025-10-26 02:30",
            "2025-10-26 03:30",
        ];
        let mut clock = RowClock::new(civil.clone(), zone.clone(), RowOrder::default());
        let ms: Vec<i64> = night
            .iter()
            .map(|text| clock.read(text).expect("a time"))
            .collect();
        assert!(
            ms.windows(2).all(|pair| pair[1] - pair[0] == 3_600_000),
            "{ms:?}"
        );
        let mut back = RowClock::new(
            civil.clone(),
            zone.clone(),
            RowOrder {
                newest_first: true,
                repeats: false,
            },
        );
        let turned: Vec<i64> = night
            .iter()
            .rev()
            .filter_map(|text| back.read(text))
            .collect();
        assert!(turned.iter().rev().eq(&ms), "{turned:?}");
        let mut spring = RowClock::new(civil, zone, RowOrder::default());
        assert_eq!(spring.read("2025-03-30 02:30:00"), Some(1_743_298_200_000));
        assert_eq!(spring.in_gap, 1);
    }
}
