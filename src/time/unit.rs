//! Unix times as numbers of seconds, milliseconds, microseconds or nanoseconds.

/// Last millisecond of the year 9999: later ones are refused as none.
const MAX_MS: i64 = 253_402_300_799_999;

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
    /// `None` beyond the year 9999.
    pub fn whole(self, n: i64) -> Option<i64> {
        #[expect(clippy::cast_precision_loss, reason = "its size is enough")]
        let ms = match self {
            TimeUnit::Auto => return TimeUnit::by_size(n as f64).whole(n),
            TimeUnit::Seconds => n.checked_mul(1000)?,
            TimeUnit::Millis => n,
            TimeUnit::Micros => n.div_euclid(1000),
            TimeUnit::Nanos => n.div_euclid(1_000_000),
        };
        (-MAX_MS..=MAX_MS).contains(&ms).then_some(ms)
    }

    /// Converts a fractional number of units to unix milliseconds, rounded.
    /// `None` beyond the year 9999.
    pub fn fractional(self, n: f64) -> Option<i64> {
        let factor = match self {
            TimeUnit::Auto => return TimeUnit::by_size(n).fractional(n),
            TimeUnit::Seconds => 1e3,
            TimeUnit::Millis => 1.0,
            TimeUnit::Micros => 1e-3,
            TimeUnit::Nanos => 1e-6,
        };
        let ms = (n * factor).round();
        #[expect(clippy::cast_precision_loss, reason = "MAX_MS is below 2^53")]
        let within = ms.abs() <= MAX_MS as f64;
        #[expect(clippy::cast_possible_truncation, reason = "within MAX_MS")]
        within.then_some(ms as i64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_agree_and_ranges_hold() {
        assert_eq!(
            TimeUnit::Seconds.whole(1_400_000_000),
            Some(1_400_000_000_000)
        );
        assert_eq!(
            TimeUnit::Seconds.fractional(1.4e9 + 0.25),
            Some(1_400_000_000_250)
        );
        assert_eq!(
            TimeUnit::Nanos.whole(1_400_000_000_250_000_000),
            Some(1_400_000_000_250)
        );
        assert_eq!(TimeUnit::Seconds.whole(i64::MAX), None);
        assert_eq!(TimeUnit::Millis.whole(i64::MIN), None);
        assert_eq!(TimeUnit::Millis.fractional(f64::NAN), None);
        for n in [
            1_400_000_000,
            1_400_000_000_000,
            1_400_000_000_000_000,
            1_400_000_000_000_000_000,
        ] {
            assert_eq!(TimeUnit::Auto.whole(n), Some(1_400_000_000_000), "{n}");
            assert_eq!(TimeUnit::Auto.fractional(n as f64), Some(1_400_000_000_000));
        }
    }
}
