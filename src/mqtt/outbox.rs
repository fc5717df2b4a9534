//! Messages to publish: bounded, QoS 1 kept until the broker has acknowledged it.
//!
//! A message waits, is handed to the connection, is sent (the connection tells its packet id),
//! and with QoS 1 stays until its PUBACK. When the connection is lost, everything that was not
//! acknowledged waits again, in its old order, before all others.

use std::collections::VecDeque;

use super::Message;
use crate::metrics::Class;

/// Anomaly and status messages that may wait: far beyond what can be published in hours, and yet
/// bounded. The oldest goes first, which is an error that a person must know of.
const MAX_KEPT: usize = 100_000;

/// Messages that the outbox dropped to take another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Dropped {
    /// Predictions.
    pub predictions: u64,
    /// Anomaly or status messages.
    pub kept: u64,
}

impl std::ops::AddAssign for Dropped {
    fn add_assign(&mut self, other: Dropped) {
        self.predictions += other.predictions;
        self.kept += other.kept;
    }
}

/// The bounded outbox.
#[derive(Debug)]
pub struct Outbox {
    capacity: usize,
    in_flight: usize,
    /// The same, as far as this connection's broker allows.
    window: usize,
    /// Epoch of the connection that messages are handed to; 0 while there is none.
    epoch: u64,
    /// QoS 1 messages that wait, in order.
    kept: VecDeque<Message>,
    /// QoS 0 messages that wait, in order.
    loose: VecDeque<Message>,
    /// Handed to the connection, packet id not known yet, in order.
    handed: VecDeque<Message>,
    /// Sent with QoS 1: packet id, message, acknowledged.
    sent: VecDeque<(u16, Message, bool)>,
    /// Numbers of acknowledged messages that are kept on disk.
    delivered: Vec<u64>,
}

impl Outbox {
    /// An outbox in which `capacity` predictions may wait, and of which `in_flight` QoS 1 messages
    /// may be unacknowledged at once.
    pub fn new(capacity: usize, in_flight: usize) -> Outbox {
        Outbox {
            capacity,
            in_flight,
            window: in_flight,
            epoch: 0,
            kept: VecDeque::new(),
            loose: VecDeque::new(),
            handed: VecDeque::new(),
            sent: VecDeque::new(),
            delivered: Vec::new(),
        }
    }

    /// Takes a message; where the outbox is full, the oldest prediction makes room.
    pub fn push(&mut self, message: Message) -> Dropped {
        let mut dropped = Dropped::default();
        if message.class == Class::Prediction {
            while !self.has_room() {
                if self.loose.pop_front().is_none() && !self.drop_kept_prediction() {
                    break;
                }
                dropped.predictions += 1;
            }
        } else if self.kept.len() >= MAX_KEPT {
            if self.drop_kept_prediction() {
                dropped.predictions += 1;
            } else if self.kept.pop_front().is_some() {
                dropped.kept += 1;
            }
        }
        if message.qos == 0 {
            self.loose.push_back(message);
        } else {
            self.kept.push_back(message);
        }
        dropped
    }

    /// A prediction would find room.
    pub fn has_room(&self) -> bool {
        self.n_predictions_waiting() < self.capacity
    }

    fn n_predictions_waiting(&self) -> usize {
        // Where predictions go with QoS 1 they share the queue with the few others: close enough.
        self.loose.len() + self.kept.len()
    }

    fn drop_kept_prediction(&mut self) -> bool {
        let oldest = self
            .kept
            .iter()
            .position(|message| message.class == Class::Prediction);
        match oldest {
            Some(idx) => self.kept.remove(idx).is_some(),
            None => false,
        }
    }

    /// Gives away all messages that wait, for a carrier of its own kind: those of QoS 1 first.
    #[cfg(feature = "jetstream")]
    pub fn take_all(&mut self) -> Vec<Message> {
        self.kept.drain(..).chain(self.loose.drain(..)).collect()
    }

    /// Takes a message before all others that wait.
    pub fn push_first(&mut self, message: Message) {
        self.kept.push_front(message);
    }

    /// There is a connection: messages may be handed to it under its `epoch`, 1 and more. Its broker
    /// takes so many without an acknowledgement, where it limits them.
    pub fn connected(&mut self, epoch: u64, receive_maximum: Option<u16>) {
        self.epoch = epoch;
        let limit = receive_maximum.map_or(usize::MAX, usize::from);
        self.window = self.in_flight.min(limit).max(1);
    }

    /// The next message to hand to the connection of `epoch`, as a copy: QoS 1 first, as long as
    /// its window is open. The window counts from the oldest unacknowledged message, so that
    /// packet ids never collide. `None` where nothing may be handed over, or to that connection.
    pub fn next(&mut self, epoch: u64) -> Option<Message> {
        if epoch != self.epoch {
            return None;
        }
        let unacknowledged =
            self.sent.len() + self.handed.iter().filter(|message| message.qos > 0).count();
        let message = if unacknowledged < self.window && !self.kept.is_empty() {
            self.kept.pop_front()
        } else {
            self.loose.pop_front()
        }?;
        self.handed.push_back(message.clone());
        Some(message)
    }

    /// The connection has sent the message handed to it first; returns it.
    pub fn sent(&mut self, packet_id: u16) -> Option<Message> {
        let message = self.handed.pop_front()?;
        if message.qos > 0 {
            self.sent.push_back((packet_id, message.clone(), false));
        }
        Some(message)
    }

    /// The broker acknowledged a packet id; false where it was not waited for.
    pub fn acknowledged(&mut self, packet_id: u16) -> bool {
        let found = self
            .sent
            .iter_mut()
            .find(|(id, _, done)| *id == packet_id && !*done);
        let Some((_, message, done)) = found else {
            return false;
        };
        *done = true;
        self.delivered.extend(message.kept);
        while self.sent.front().is_some_and(|(_, _, done)| *done) {
            self.sent.pop_front();
        }
        true
    }

    /// Numbers of the messages kept on disk that were acknowledged since the last call.
    pub fn take_delivered(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.delivered)
    }

    /// The connection is gone: what was not acknowledged waits again. Returns how many messages
    /// may have reached the broker already.
    pub fn connection_lost(&mut self) -> u64 {
        self.epoch = 0;
        let mut resent = 0;
        for message in std::mem::take(&mut self.handed).into_iter().rev() {
            if message.qos > 0 {
                self.kept.push_front(message);
            } else {
                self.loose.push_front(message);
            }
        }
        for (_, message, done) in std::mem::take(&mut self.sent).into_iter().rev() {
            // The status is said anew by each connection.
            if !done && message.class != Class::Status {
                resent += 1;
                self.kept.push_front(message);
            }
        }
        self.kept.retain(|message| message.class != Class::Status);
        resent
    }

    /// Messages that wait or are not acknowledged.
    pub fn len(&self) -> usize {
        let sent = self.sent.iter().filter(|(_, _, done)| !done).count();
        self.kept.len() + self.loose.len() + self.handed.len() + sent
    }

    /// Nothing waits and everything is acknowledged.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str, qos: u8, class: Class) -> Message {
        Message {
            topic: "t".into(),
            payload: text.into(),
            qos,
            retain: false,
            class,
            arrived: None,
            kept: None,
        }
    }

    fn outbox(capacity: usize, in_flight: usize) -> Outbox {
        let mut outbox = Outbox::new(capacity, in_flight);
        outbox.connected(1, None);
        outbox
    }

    fn prediction(text: &str) -> Message {
        message(text, 0, Class::Prediction)
    }

    fn anomaly(text: &str) -> Message {
        message(text, 1, Class::Anomaly)
    }

    fn next(outbox: &mut Outbox) -> Option<String> {
        outbox
            .next(1)
            .map(|m| String::from_utf8(m.payload).unwrap())
    }

    #[test]
    fn a_kept_message_leaves_only_with_its_acknowledgement() {
        let mut outbox = outbox(10, 10);
        outbox.push(anomaly("a"));
        assert_eq!(next(&mut outbox).unwrap(), "a");
        assert_eq!(outbox.sent(7).unwrap().payload, b"a");
        assert!(!outbox.is_empty());
        assert!(!outbox.acknowledged(8));
        assert!(outbox.acknowledged(7));
        assert!(outbox.is_empty());
        assert!(!outbox.acknowledged(7));
    }

    #[test]
    fn after_a_lost_connection_the_unacknowledged_come_again_first_and_in_order() {
        let mut outbox = outbox(10, 10);
        for text in ["a", "b", "c", "d"] {
            outbox.push(anomaly(text));
        }
        for _ in 0..3 {
            outbox.next(1);
        }
        outbox.sent(1);
        outbox.sent(2);
        assert!(outbox.acknowledged(1));
        outbox.push(anomaly("e"));
        assert_eq!(outbox.connection_lost(), 1);
        assert_eq!(
            next(&mut outbox),
            None,
            "nothing is handed to a connection that is gone"
        );
        outbox.connected(1, None);
        let order: Vec<String> = std::iter::from_fn(|| next(&mut outbox)).collect();
        assert_eq!(order, ["b", "c", "d", "e"]);
    }

    #[test]
    fn the_window_counts_from_the_oldest_unacknowledged() {
        let mut outbox = outbox(10, 2);
        for text in ["a", "b", "c"] {
            outbox.push(anomaly(text));
        }
        outbox.push(prediction("p"));
        outbox.next(1);
        outbox.next(1);
        assert_eq!(next(&mut outbox).unwrap(), "p");
        assert_eq!(next(&mut outbox), None);
        outbox.sent(1);
        outbox.sent(2);
        // Out of order: the oldest still holds its place.
        assert!(outbox.acknowledged(2));
        assert_eq!(next(&mut outbox), None);
        assert!(outbox.acknowledged(1));
        assert_eq!(next(&mut outbox).unwrap(), "c");
    }

    #[test]
    fn a_full_outbox_drops_the_oldest_predictions_and_nothing_else() {
        let mut outbox = outbox(3, 10);
        outbox.push(anomaly("a"));
        for idx in 0..5 {
            let dropped = outbox.push(prediction(&idx.to_string()));
            assert_eq!(dropped.predictions, u64::from(idx >= 2), "{idx}");
            assert_eq!(dropped.kept, 0);
        }
        let order: Vec<String> = std::iter::from_fn(|| next(&mut outbox)).collect();
        assert_eq!(order, ["a", "3", "4"]);
    }

    #[test]
    fn predictions_with_qos_1_are_bounded_as_well() {
        let mut outbox = outbox(2, 10);
        outbox.push(anomaly("a"));
        outbox.push(message("p", 1, Class::Prediction));
        let dropped = outbox.push(message("q", 1, Class::Prediction));
        assert_eq!(dropped.predictions, 1);
        let order: Vec<String> = std::iter::from_fn(|| next(&mut outbox)).collect();
        assert_eq!(order, ["a", "q"]);
    }
}
