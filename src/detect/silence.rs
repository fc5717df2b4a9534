//! Learns how long a whole stream is usually silent, by arrival times, and how long is far too long.

use serde::{Deserialize, Serialize};

use super::record::ExcursionRecord;

/// Unit of the recorded gaps, ms: the record reaches to two and a half days.
const UNIT_MS: f64 = 50.0;
/// Gaps known before a silence means anything.
const GAPS: f64 = 100.0;
/// A silence is never shorter than this, nor than so many usual gaps: a restart of a device, or a
/// Wi-Fi that drops, is no fault.
const LEAST_MS: f64 = 10_000.0;
const LEAST_GAPS: f64 = 20.0;
/// Exponent of the tail of gaps, as of runs.
const ALPHA: f64 = 3.0;
/// Share of the wanted alarms, as of runs.
const SHARE: f64 = 3.0;
/// Gaps that are remembered.
const MEMORY: f64 = 1e6;
const WEEK_MS: f64 = 604_800_000.0;

/// Gaps between the arrivals of a stream's readings.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct SilenceMonitor {
    record: ExcursionRecord,
    last_ms: Option<i64>,
    gaps: f64,
    /// Mean gap, ms.
    mean_ms: f64,
}

impl SilenceMonitor {
    /// Takes the arrival of a reading, unix milliseconds.
    pub fn observe(&mut self, arrival_ms: i64) {
        if let Some(last) = self.last_ms {
            let gap = arrival_ms.saturating_sub(last).max(0) as f64;
            self.gaps += 1.0;
            self.mean_ms += (gap - self.mean_ms) / self.gaps.min(1000.0);
            self.record.rows(1.0, MEMORY);
            self.record.observe(gap / UNIT_MS, 1.0);
        }
        self.last_ms = Some(arrival_ms);
    }

    /// Arrival of the last reading, unix milliseconds.
    pub fn last_ms(&self) -> Option<i64> {
        self.last_ms
    }

    /// Silence that is far too long where `wanted` alarms a week are, ms; `None` while too little
    /// is known.
    pub fn limit_ms(&self, wanted: f64) -> Option<f64> {
        if self.gaps < GAPS {
            return None;
        }
        let gaps_between = WEEK_MS / self.mean_ms.max(1.0) / wanted;
        let usual = UNIT_MS * self.record.return_level(SHARE * gaps_between, ALPHA);
        Some(usual.max(LEAST_MS).max(LEAST_GAPS * self.mean_ms))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn learned(gap_ms: i64, n: i64) -> SilenceMonitor {
        let mut monitor = SilenceMonitor::default();
        (0..n).for_each(|k| monitor.observe(k * gap_ms));
        monitor
    }

    #[test]
    fn a_quick_stream_is_missed_within_half_a_minute_and_a_slow_one_later() {
        let quick = learned(50, 400).limit_ms(1.0).expect("known");
        assert!((10_000.0..30_000.0).contains(&quick), "{quick}");
        let slow = learned(60_000, 400).limit_ms(1.0).expect("known");
        assert!((1_200_000.0..7_200_000.0).contains(&slow), "{slow}");
    }

    #[test]
    fn a_stream_that_is_silent_every_night_is_not_missed_for_a_night() {
        let mut monitor = SilenceMonitor::default();
        let mut at = 0;
        for _day in 0..5 {
            for _ in 0..720 {
                at += 60_000;
                monitor.observe(at);
            }
            at += 43_200_000;
        }
        let limit = monitor.limit_ms(1.0).expect("known");
        assert!(limit > 43_200_000.0, "{limit}");
    }

    #[test]
    fn too_little_says_nothing() {
        assert_eq!(learned(1000, 100).limit_ms(1.0), None);
    }
}
