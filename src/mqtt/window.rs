//! Notices that the broker sends no more messages before older ones are acknowledged.
//!
//! A broker has a limited number of messages under way to a client without an acknowledgement (mosquitto: 20
//! unless `max_inflight_messages` says otherwise) and queues the rest. It does not tell that limit, but where
//! the limit is what holds the messages up their number stands at the same ceiling second after second.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

/// The highest number of messages without an acknowledgement is noted for so long each.
const EVERY: Duration = Duration::from_secs(1);
/// So many equal ones in a row are a ceiling: a load that varies does not meet the same number as often.
const EQUAL: usize = 5;
/// Fewer messages than this at once are no ceiling: hardly a broker is set to so few.
const LEAST: u64 = 10;
/// A ceiling is one only where it was gone through as often in that time: a burst that comes once a second
/// has the same height as well.
const ROUNDS: u64 = 3;

/// The messages of one connection that have no acknowledgement.
#[derive(Debug)]
pub(super) struct Window {
    /// Messages of the connection that want an acknowledgement, and acknowledgements before it began.
    received: u64,
    acknowledged_before: u64,
    since: Instant,
    came: u64,
    highest: u64,
    /// The highest numbers of the last periods.
    past: VecDeque<u64>,
}

impl Window {
    /// Begins at `now`, when so many messages had been acknowledged over earlier connections.
    pub(super) fn new(acknowledged_before: u64, now: Instant) -> Window {
        Window {
            received: 0,
            acknowledged_before,
            since: now,
            came: 0,
            highest: 0,
            past: VecDeque::new(),
        }
    }

    /// So many messages have come that want an acknowledgement, and so many have been acknowledged ever. True
    /// where the broker holds further ones back until they are, as it seems.
    pub(super) fn note(&mut self, came: u64, acknowledged: u64, now: Instant) -> bool {
        self.received += came;
        let acknowledged = acknowledged.saturating_sub(self.acknowledged_before);
        let unacknowledged = self.received.saturating_sub(acknowledged);
        if now.duration_since(self.since) >= EVERY {
            let is_high = self.highest >= LEAST && self.came >= ROUNDS * self.highest;
            self.past.push_back(if is_high { self.highest } else { 0 });
            if self.past.len() > EQUAL {
                self.past.pop_front();
            }
            (self.since, self.came, self.highest) = (now, 0, 0);
        }
        self.came += came;
        self.highest = self.highest.max(unacknowledged);
        let first = self.past.front().copied().unwrap_or(0);
        first > 0 && self.past.len() == EQUAL && self.past.iter().all(|&high| high == first)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whether a ceiling is seen at the end of ten seconds with `per_s` messages each, of which the
    /// numbers of `unacknowledged` in turn are without an acknowledgement.
    fn is_seen(per_s: u64, unacknowledged: &[u64]) -> bool {
        let start = Instant::now();
        let mut window = Window::new(7, start);
        let (mut seen, mut received) = (false, 7);
        for second in 0..10 {
            let here = unacknowledged[second as usize % unacknowledged.len()];
            let now = start + Duration::from_millis(1000 * second);
            received += per_s;
            seen = window.note(per_s, received - here, now);
        }
        seen
    }

    #[test]
    fn a_number_that_stands_at_the_same_height_is_a_ceiling() {
        assert!(is_seen(4000, &[20]));
        assert!(is_seen(400, &[65]));
    }

    #[test]
    fn a_load_that_varies_a_small_one_and_a_burst_once_a_second_are_none() {
        assert!(!is_seen(4000, &[20, 20, 20, 19]));
        assert!(!is_seen(4000, &[3]));
        assert!(!is_seen(40, &[40]));
    }
}
