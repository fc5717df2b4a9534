//! Recognises messages that the broker delivers again.

use std::hash::{DefaultHasher, Hash, Hasher};

use crate::carrier::store::Delivery;
use crate::mqtt::Delivered;

/// Hash of the last message accepted under each packet id; constant memory. An entry ages: once so many
/// further messages have come that the broker must have had its acknowledgement, a message that comes
/// again under the same packet id is another one.
#[derive(Debug)]
pub struct Deliveries {
    /// By packet id: the message's hash, and how many were accepted before it.
    known: Vec<(u64, u64)>,
    accepted: u64,
}

/// Messages after which an entry of [`Deliveries`] is out of date. A broker has far fewer without an
/// acknowledgement at once, and gives a packet id away again after 65,535.
const DELIVERIES_AGE: u64 = 32_768;

impl Deliveries {
    /// Deliveries known from before, the newest of each packet id last.
    pub fn new(known: &[Delivery]) -> Deliveries {
        // Hashes have 48 bits: no message has this one.
        let mut deliveries = Deliveries {
            known: vec![(u64::MAX, 0); 1 << 16],
            accepted: 0,
        };
        known.iter().for_each(|&delivery| deliveries.note(delivery));
        deliveries
    }

    pub(super) fn note(&mut self, delivery: Delivery) {
        self.accepted += 1;
        self.known[usize::from(delivery.packet_id)] = (delivery.hash, self.accepted);
    }

    pub(super) fn knows(&self, delivery: Delivery) -> bool {
        let (hash, at) = self.known[usize::from(delivery.packet_id)];
        hash == delivery.hash && self.accepted - at < DELIVERIES_AGE
    }
}

/// Hash of a message, 48 bits.
pub(super) fn hash(message: &Delivered) -> u64 {
    hash_of(&(&message.topic, &message.payload)) >> 16
}

/// `DefaultHasher::new` has fixed keys.
fn hash_of<T: Hash>(value: &T) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_stands_still_is_new_once_the_packet_ids_have_come_round() {
        let delivery = |packet_id| Delivery { packet_id, hash: 7 };
        let mut deliveries = Deliveries::new(&[]);
        (1..=u16::MAX).for_each(|id| deliveries.note(delivery(id)));
        assert!(
            deliveries.knows(delivery(u16::MAX)),
            "acknowledged a moment ago"
        );
        assert!(deliveries.knows(delivery(40_000)));
        assert!(!deliveries.knows(delivery(15)), "another message by now");
    }
}
