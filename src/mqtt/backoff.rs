//! How long to wait before the next attempt to connect.

use std::time::Duration;

/// First wait.
const FIRST: Duration = Duration::from_millis(100);
/// A subscribed connection that held so long ends a row of failures.
const HELD: Duration = Duration::from_secs(2);

/// Waits that double up to a cap, with jitter.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Backoff {
    cap: Duration,
    next: Duration,
}

impl Backoff {
    /// Waits from 0.1 s up to `cap`.
    pub fn new(cap: Duration) -> Backoff {
        Backoff {
            cap,
            next: FIRST.min(cap),
        }
    }

    /// A connection was lost that had been subscribed for `held`; `None` if it never was.
    pub fn lost(&mut self, held: Option<Duration>) {
        if held.is_some_and(|held| held >= HELD) {
            self.next = FIRST.min(self.cap);
        }
    }

    /// The broker refused us for a reason that a person has to mend: attempts in a row would fill logs and
    /// may lock the account.
    pub fn refused(&mut self) {
        self.next = self.cap;
    }

    /// The wait before the next attempt: half of it is certain, the rest goes by `random`, a
    /// number from 0 to 1. The one after it is twice as long.
    pub fn wait(&mut self, random: f64) -> Duration {
        let wait = self.next.mul_f64(0.5 + 0.5 * random.clamp(0.0, 1.0));
        self.next = (self.next * 2).min(self.cap);
        wait
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_cap_and_jitter_shortens_them_by_half_at_most() {
        let mut backoff = Backoff::new(Duration::from_secs(1));
        let longest: Vec<u128> = (0..6).map(|_| backoff.wait(1.0).as_millis()).collect();
        assert_eq!(longest, [100, 200, 400, 800, 1000, 1000]);
        assert_eq!(backoff.wait(0.0), Duration::from_millis(500));
    }

    #[test]
    fn a_refusal_waits_as_long_as_can_be() {
        let mut backoff = Backoff::new(Duration::from_secs(30));
        backoff.refused();
        assert_eq!(backoff.wait(1.0), Duration::from_secs(30));
    }

    #[test]
    fn only_a_subscribed_connection_that_held_resets_the_wait() {
        let mut backoff = Backoff::new(Duration::from_secs(30));
        for _ in 0..5 {
            backoff.wait(1.0);
        }
        backoff.lost(None);
        backoff.lost(Some(Duration::from_millis(50)));
        assert_eq!(backoff.wait(1.0), Duration::from_millis(3200));
        backoff.lost(Some(Duration::from_secs(3)));
        assert_eq!(backoff.wait(1.0), Duration::from_millis(100));
    }
}
