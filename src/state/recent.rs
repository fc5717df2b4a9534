//! Recognises messages that the broker delivers again because it did not see our ack.

use std::collections::{HashSet, VecDeque};

/// A number that tells one delivery from another: packet identifier, topic and payload hashed
/// (FNV-1a, 64 bits), never 0. The broker keeps the identifier when it delivers again.
pub fn delivery_key(packet_id: u16, topic: &str, payload: &[u8]) -> u64 {
    let bytes = packet_id
        .to_le_bytes()
        .into_iter()
        .chain(topic.bytes())
        .chain([0])
        .chain(payload.iter().copied());
    let hash = bytes.fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)
    });
    hash.max(1)
}

/// The newest delivery keys, oldest forgotten first. Ask it only about messages with the `dup`
/// flag: a packet identifier is used again by honest new messages.
#[derive(Clone, Debug, Default)]
pub struct Recent {
    order: VecDeque<u64>,
    known: HashSet<u64>,
    capacity: usize,
}

impl Recent {
    /// Remembers `capacity` keys: at least the broker's in-flight window.
    pub fn new(capacity: usize) -> Recent {
        Recent {
            capacity,
            ..Recent::default()
        }
    }

    /// Remembers a key; 0 is no key.
    pub fn remember(&mut self, key: u64) {
        if key == 0 || !self.known.insert(key) {
            return;
        }
        self.order.push_back(key);
        if self.order.len() > self.capacity
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// The key is among the remembered ones.
    pub fn contains(&self, key: u64) -> bool {
        self.known.contains(&key)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_delivery_has_the_same_key_and_another_has_not() {
        let key = delivery_key(7, "a/b", b"1");
        assert_eq!(key, delivery_key(7, "a/b", b"1"));
        for other in [
            delivery_key(8, "a/b", b"1"),
            delivery_key(7, "a/", b"b1"),
            delivery_key(7, "a/b", b"2"),
        ] {
            assert_ne!(key, other);
        }
    }

    #[test]
    fn the_oldest_key_is_forgotten_first() {
        let mut recent = Recent::new(2);
        for key in [0, 1, 2, 2, 3] {
            recent.remember(key);
        }
        assert!(!recent.contains(0) && !recent.contains(1));
        assert!(recent.contains(2) && recent.contains(3));
    }
}
