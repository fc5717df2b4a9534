//! Reports how far the recovery after a start has come.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Readings to learn again, and how many of them are.
#[derive(Debug, Default)]
pub(super) struct Recovery {
    /// When it began and how many readings there are; `None` while the state is being read.
    begin: Mutex<Option<(Instant, u64)>>,
    pub(super) done: AtomicU64,
    pub(super) over: AtomicBool,
}

impl Recovery {
    /// So many readings are to be learned again.
    pub(super) fn begin(&self, readings: u64) {
        let mut begin = self.begin.lock().unwrap_or_else(PoisonError::into_inner);
        *begin = Some((Instant::now(), readings));
    }

    /// Such as "recovering 43 %, 12 s left"; `None` once it is over.
    pub(super) fn in_words(&self) -> Option<String> {
        if self.over.load(Ordering::Acquire) {
            return None;
        }
        let begin = *self.begin.lock().unwrap_or_else(PoisonError::into_inner);
        Some(match begin {
            None => "recovering, reading the state file".to_owned(),
            Some((since, all)) => words(self.done.load(Ordering::Acquire), all, since.elapsed()),
        })
    }
}

fn words(done: u64, all: u64, elapsed: Duration) -> String {
    let share = (done as f64 / all.max(1) as f64).min(1.0);
    let percent = (100.0 * share).floor();
    if done == 0 {
        return format!("recovering {percent} %, {all} readings left");
    }
    let left = elapsed.as_secs_f64() * (1.0 - share) / share;
    format!("recovering {percent} %, {:.0} s left", left.ceil())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_that_is_left_goes_by_the_time_taken_so_far() {
        assert_eq!(
            words(43, 100, Duration::from_secs(9)),
            "recovering 43 %, 12 s left"
        );
        assert_eq!(
            words(0, 7, Duration::ZERO),
            "recovering 0 %, 7 readings left"
        );
    }
}
