//! Stamps arrivals, and does not believe a wall clock that jumps.
//!
//! Between two arrivals the wall clock must advance as the monotonic clock does. A stamp that is further
//! off goes by the monotonic clock, until the wall clock has said the same for [`BELIEVED_AFTER`]: then
//! it was set on purpose, by NTP after a start without a battery, say, or the machine has slept.

use std::time::{Duration, Instant};

/// How far the two clocks may be apart between two arrivals, milliseconds: NTP slews by less.
const TOLERANCE_MS: i64 = 5_000;
/// How long the wall clock must keep to a new time before that is believed.
const BELIEVED_AFTER: Duration = Duration::from_secs(60);

/// Events of the wall clock.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ClockStep {
    /// It is off by so many milliseconds, which is not believed yet.
    Doubted(i64),
    /// It has been off by so many milliseconds for so long that it is believed.
    Believed(i64),
    /// It is right again.
    Withdrawn,
}

/// Stamps arrivals.
#[derive(Debug, Default)]
pub struct ArrivalClock {
    /// The last stamp, and the monotonic clock then.
    last: Option<(Instant, i64)>,
    /// Since when the wall clock is off, and by how much.
    doubt: Option<(Instant, i64)>,
}

impl ArrivalClock {
    /// The stamp of what arrives now, unix milliseconds, and what there is to say of the wall clock.
    pub fn stamp(&mut self, now: Instant, wall_ms: i64) -> (i64, Option<ClockStep>) {
        let Some((then, last_ms)) = self.last else {
            self.last = Some((now, wall_ms));
            return (wall_ms, None);
        };
        let elapsed = now.saturating_duration_since(then).as_millis();
        let elapsed = i64::try_from(elapsed).unwrap_or(i64::MAX);
        let expected = last_ms.saturating_add(elapsed);
        let off = wall_ms.saturating_sub(expected);
        if off.abs() <= TOLERANCE_MS {
            self.last = Some((now, wall_ms));
            return (wall_ms, self.doubt.take().map(|_| ClockStep::Withdrawn));
        }
        self.last = Some((now, expected));
        match self.doubt {
            Some((since, doubted)) if off.abs_diff(doubted) <= TOLERANCE_MS.unsigned_abs() => {
                if now.saturating_duration_since(since) < BELIEVED_AFTER {
                    return (expected, None);
                }
                self.doubt = None;
                self.last = Some((now, wall_ms));
                (wall_ms, Some(ClockStep::Believed(off)))
            }
            _ => {
                self.doubt = Some((now, off));
                (expected, Some(ClockStep::Doubted(off)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const YEARS_MS: i64 = 10 * 365 * 86_400_000;
    const BEGIN_MS: i64 = 1_700_000_000_000;

    /// Stamps at seconds after the beginning, with what the wall clock is off by.
    fn stamps(seen: &[(u64, i64)]) -> Vec<(i64, Option<ClockStep>)> {
        let mut clock = ArrivalClock::default();
        let begin = Instant::now();
        let stamp = |&(s, off): &(u64, i64)| {
            let now = begin + Duration::from_secs(s);
            let (ms, step) = clock.stamp(now, BEGIN_MS + 1000 * s as i64 + off);
            (ms - BEGIN_MS, step)
        };
        seen.iter().map(stamp).collect()
    }

    #[test]
    fn a_clock_that_is_years_ahead_for_a_moment_changes_no_stamp() {
        let stamps = stamps(&[(0, 0), (1, YEARS_MS), (2, 0), (3, 0)]);
        let ms: Vec<i64> = stamps.iter().map(|s| s.0).collect();
        assert_eq!(ms, [0, 1000, 2000, 3000]);
        assert_eq!(stamps[1].1, Some(ClockStep::Doubted(YEARS_MS)));
        assert_eq!(stamps[2].1, Some(ClockStep::Withdrawn));
    }

    #[test]
    fn a_clock_that_was_set_is_believed_after_a_minute_in_either_direction() {
        for off in [YEARS_MS, -3_600_000] {
            let stamps = stamps(&[(0, 0), (1, off), (30, off), (61, off), (62, off)]);
            let ms: Vec<i64> = stamps.iter().map(|s| s.0).collect();
            assert_eq!(ms, [0, 1000, 30_000, 61_000 + off, 62_000 + off]);
            assert_eq!(stamps[3].1, Some(ClockStep::Believed(off)));
        }
    }

    #[test]
    fn a_clock_that_drifts_or_is_slewed_is_followed() {
        let seen: Vec<(u64, i64)> = (0..100).map(|k| (k * 10, k as i64 * 100)).collect();
        assert!(stamps(&seen).iter().all(|(_, step)| step.is_none()));
        assert_eq!(stamps(&seen)[99].0, 990_000 + 9_900);
    }
}
