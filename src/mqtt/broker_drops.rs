//! Reads how many messages the broker dropped, where it says so.
//!
//! A broker's queue for us is finite (mosquitto: 1,000 messages unless it is told otherwise). Beyond it
//! messages are dropped before they reach us, and the total that mosquitto publishes is the only sign of it.
//! The total is of all clients: only while readings also wait here is it taken to be ours.

use std::time::{Duration, Instant};

use tracing::warn;

use crate::status::Status;

/// Shortest time between two lines in the log.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// The total that the broker has said so far.
#[derive(Debug, Default)]
pub struct BrokerDrops {
    total: Option<u64>,
    unsaid: u64,
    said: Option<Instant>,
}

impl BrokerDrops {
    /// Takes the payload of a message under [`super::DROPPED_TOPIC`].
    pub fn note(&mut self, payload: &[u8], status: &Status) {
        let text = std::str::from_utf8(payload).unwrap_or_default();
        let Ok(total) = text.trim().parse::<u64>() else {
            return;
        };
        // The first one tells of the past; one that is smaller, of a broker that started anew.
        let before = self.total.replace(total).unwrap_or(total);
        let grown = total.checked_sub(before).unwrap_or(total);
        if grown == 0 {
            return;
        }
        status.note_broker_drops(grown);
        self.unsaid += grown;
        if self.said.is_none_or(|at| at.elapsed() >= SAY_EVERY) {
            let messages = self.unsaid;
            match status.losing_at_broker() {
                Some(why) => warn!(messages, "{why}"),
                None => warn!(
                    messages,
                    "the broker drops messages: its queue for a client, hardly ours, is full (mosquitto: max_queued_messages)"
                ),
            }
            (self.unsaid, self.said) = (0, Some(Instant::now()));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Metrics;

    #[test]
    fn only_what_is_dropped_from_now_on_counts_also_by_a_broker_that_started_anew() {
        let status = Status::new(Metrics::new().unwrap(), 1, 0);
        let mut drops = BrokerDrops::default();
        let mut counted = |payload: &str| {
            drops.note(payload.as_bytes(), &status);
            status.metrics.broker_dropped.get()
        };
        let counts = ["500", "500", "507", "not a number", "3"].map(&mut counted);
        assert_eq!(counts, [0, 0, 7, 7, 10]);
    }
}
