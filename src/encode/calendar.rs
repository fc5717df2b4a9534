//! Hour of day and weekday as inputs, from a unix timestamp taken as local to the plant's rhythm.

use super::Spikes;

const DAY_MS: i64 = 86_400_000;

/// Inputs that the calendar takes: 24 hours and 7 weekdays.
pub const CALENDAR_WIDTH: u32 = 31;

/// How much of the calendar a stream has lived through: a rhythm is only told from a drift once
/// a whole period has been seen.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Calendar {
    /// Less than a day: nothing.
    #[default]
    Off,
    /// A day and more: hour of day.
    Hours,
    /// A week and more: hour of day and weekday.
    HoursAndDays,
}

impl Calendar {
    /// The calendar for a stream that has lived `span_ms`.
    pub fn after(span_ms: i64) -> Calendar {
        if span_ms >= 7 * DAY_MS {
            Calendar::HoursAndDays
        } else if span_ms >= DAY_MS {
            Calendar::Hours
        } else {
            Calendar::Off
        }
    }
}

/// Hour of the day, 0..24.
pub fn hour_of_day(ts_ms: i64) -> f64 {
    ts_ms.rem_euclid(DAY_MS) as f64 / 3_600_000.0
}

/// Appends the calendar's inputs from index `at`: two neighbouring hour cells that share one unit
/// by linear interpolation, and one weekday cell (Monday first).
pub fn encode_calendar(calendar: Calendar, ts_ms: i64, at: u32, out: &mut Spikes) {
    if calendar == Calendar::Off {
        return;
    }
    let hours = hour_of_day(ts_ms);
    let cell = (hours as u32).min(23);
    let share = (hours - f64::from(cell)) as f32;
    let next = (cell + 1) % 24;
    if next < cell {
        out.push(at + next, share);
        out.push(at + cell, 1.0 - share);
    } else {
        out.push(at + cell, 1.0 - share);
        out.push(at + next, share);
    }
    if calendar == Calendar::HoursAndDays {
        // 1 January 1970 was a Thursday, day 3 of a week that starts on Monday.
        let weekday = (ts_ms.div_euclid(DAY_MS) + 3).rem_euclid(7) as u32;
        out.push(at + 24 + weekday, 1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quarter_past_an_hour_is_three_quarters_that_hour() {
        let mut out = Spikes::default();
        encode_calendar(Calendar::Hours, 5 * 3_600_000 + 900_000, 1, &mut out);
        assert_eq!(out.index, [6, 7]);
        assert_eq!(out.value, [0.75, 0.25]);
    }

    #[test]
    fn the_last_hour_of_the_day_flows_into_the_first() {
        let mut out = Spikes::default();
        encode_calendar(Calendar::Hours, DAY_MS - 1_800_000, 0, &mut out);
        assert_eq!(out.index, [0, 23]);
        assert_eq!(out.value, [0.5, 0.5]);
    }

    #[test]
    fn weekdays_start_on_monday_and_hold_before_1970() {
        for (day, weekday) in [(0, 3), (4, 0), (-1, 2), (-3, 0)] {
            let mut out = Spikes::default();
            encode_calendar(Calendar::HoursAndDays, day * DAY_MS, 0, &mut out);
            assert_eq!(out.index.last(), Some(&(24 + weekday)), "day {day}");
        }
    }

    #[test]
    fn the_calendar_comes_on_with_the_first_whole_period() {
        assert_eq!(Calendar::after(DAY_MS - 1), Calendar::Off);
        assert_eq!(Calendar::after(DAY_MS), Calendar::Hours);
        assert_eq!(Calendar::after(7 * DAY_MS), Calendar::HoursAndDays);
    }
}
