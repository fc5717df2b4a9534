//! Adds up how long readings wait for workers or for the disk.

use std::time::{Duration, Instant};

/// Waits are added up for so long, and more: a short one is no sign of anything.
const PERIOD: Duration = Duration::from_secs(1);

/// The waits of one period.
#[derive(Debug)]
pub(super) struct Waits {
    since: Instant,
    waited: Duration,
}

impl Waits {
    /// None so far.
    pub(super) fn new() -> Waits {
        Waits {
            since: Instant::now(),
            waited: Duration::ZERO,
        }
    }

    /// A wait that ends now. True where a period ends in which readings waited more often than not.
    pub(super) fn add(&mut self, waited: Duration, now: Instant) -> bool {
        self.waited += waited;
        let elapsed = now.saturating_duration_since(self.since);
        if elapsed < PERIOD {
            return false;
        }
        let waited = std::mem::take(&mut self.waited);
        self.since = now;
        2 * waited > elapsed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_waits_that_fill_half_of_the_time_count() {
        let mut waits = Waits::new();
        let start = waits.since;
        let mut is_behind = |from_ms: u64, every_ms: u64, waited_ms: u64| {
            let ends = (from_ms..from_ms + 3000).step_by(every_ms as usize);
            let added = ends.map(|end| {
                let now = start + Duration::from_millis(end);
                waits.add(Duration::from_millis(waited_ms), now)
            });
            added.fold(false, |any, one| any | one)
        };
        assert!(!is_behind(100, 100, 40));
        assert!(is_behind(60_000, 200, 200));
        assert!(!is_behind(120_000, 1500, 100));
    }
}
