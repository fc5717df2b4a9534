//! Frames MQTT packets: the fixed header, and what is the same in both versions of messages and
//! acknowledgements, which come by the hundred thousand.

use bytes::{BufMut, BytesMut};

use super::{Delivered, Fate, LinkError, Message};

/// First byte of a message, but for its flags.
pub(super) const PUBLISH: u8 = 0x30;

/// The packet that some bytes begin with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// It is not there as a whole.
    Partial,
    /// It is there: start and end of its body.
    Whole { from: usize, to: usize },
    /// It is larger than the limit, whether it is there or not.
    Large { from: usize, to: usize },
}

/// Finds the packet that `bytes` begin with; `limit` is the largest body that is received.
///
/// # Errors
/// If the length is none.
pub(super) fn next(bytes: &[u8], limit: usize) -> Result<Frame, LinkError> {
    let (mut n, mut shift) = (0usize, 0);
    for (i, byte) in bytes.iter().enumerate().skip(1) {
        n |= usize::from(byte & 127) << shift;
        shift += 7;
        if byte & 128 == 0 {
            let (from, to) = (i + 1, i + 1 + n);
            return Ok(match (n > limit, bytes.len() >= to) {
                (true, _) => Frame::Large { from, to },
                (false, true) => Frame::Whole { from, to },
                (false, false) => Frame::Partial,
            });
        }
        if shift > 21 {
            return Err(malformed("length"));
        }
    }
    Ok(Frame::Partial)
}

pub(super) fn malformed(what: &str) -> LinkError {
    LinkError::Lost(format!("a packet with a malformed {what}"))
}

/// Reads a message, but for what follows its packet id: that comes as the second part.
///
/// # Errors
/// If it is malformed.
pub(super) fn message(
    head: u8,
    body: &[u8],
    arrived: std::time::Instant,
) -> Result<(Delivered, &[u8]), LinkError> {
    let (length, rest) = body.split_first_chunk().ok_or(malformed("topic"))?;
    let length = usize::from(u16::from_be_bytes(*length));
    let (topic, rest) = rest.split_at_checked(length).ok_or(malformed("topic"))?;
    let (packet_id, rest) = match head >> 1 & 3 {
        0 => (0, rest),
        1 => {
            let (id, rest) = rest.split_first_chunk().ok_or(malformed("packet id"))?;
            (u16::from_be_bytes(*id), rest)
        }
        _ => return Err(malformed("quality of service")),
    };
    if head & 6 != 0 && packet_id == 0 {
        return Err(malformed("packet id"));
    }
    let topic = std::str::from_utf8(topic).map_err(|_| malformed("topic"))?;
    let message = Delivered {
        packet_id,
        dup: head & 8 != 0,
        retain: head & 1 != 0,
        payload: Vec::new(),
        topic: topic.to_owned(),
        epoch: 0,
        arrived,
        fate: Fate::Whole,
        properties: Vec::new(),
        journal: None,
    };
    Ok((message, rest))
}

/// Reads what there is of a message beyond the limit, which has `size` bytes: enough to acknowledge it
/// and to say which it was. `None` where more has to come for that.
///
/// # Errors
/// If it is malformed, or no message.
pub(super) fn head_of_message(
    head: u8,
    body: &[u8],
    size: usize,
    arrived: std::time::Instant,
) -> Result<Option<Delivered>, LinkError> {
    if head & 0xf0 != PUBLISH {
        return Err(malformed("length"));
    }
    let Some(length) = body.first_chunk() else {
        return Ok(None);
    };
    let length = usize::from(u16::from_be_bytes(*length));
    let id = if head & 6 == 0 { 0 } else { 2 };
    let Some(start) = body.get(..2 + length + id) else {
        return Ok(None);
    };
    let (mut message, _) = message(head, start, arrived)?;
    message.fate = Fate::TooBig(size);
    Ok(Some(message))
}

/// Appends a message of ours, `id` 0 with QoS 0, with `properties` behind its packet id.
pub(super) fn publish(message: &Message, id: u16, properties: &[u8], out: &mut BytesMut) {
    let (topic, payload) = (message.topic.as_bytes(), message.payload.as_slice());
    // Topics are made of levels of the settings and of topics that came.
    let length = u16::try_from(topic.len()).expect("a topic of at most 65,535 bytes");
    out.put_u8(PUBLISH | u8::from(id > 0) << 1 | u8::from(message.retain));
    let id_size = if id > 0 { 2 } else { 0 };
    let mut n = 2 + topic.len() + id_size + properties.len() + payload.len();
    while n >= 128 {
        out.put_u8((n & 127) as u8 | 128);
        n >>= 7;
    }
    out.put_u8(n as u8);
    out.put_u16(length);
    out.put_slice(topic);
    if id > 0 {
        out.put_u16(id);
    }
    out.put_slice(properties);
    out.put_slice(payload);
}

/// Appends an acknowledgement. Version 5 takes the short form for success.
pub(super) fn puback(id: u16, out: &mut BytesMut) {
    out.put_slice(&[0x40, 2]);
    out.put_u16(id);
}

/// Appends a ping.
pub(super) fn ping(out: &mut BytesMut) {
    out.put_slice(&[0xc0, 0]);
}

/// Appends a goodbye.
pub(super) fn disconnect(out: &mut BytesMut) {
    out.put_slice(&[0xe0, 0]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Class;
    use proptest::prelude::*;
    use rumqttc::{Packet, Publish, QoS};

    fn theirs(publish: &Publish) -> BytesMut {
        let mut bytes = BytesMut::new();
        publish.write(&mut bytes).unwrap();
        bytes
    }

    proptest! {
        #[test]
        fn a_message_reads_as_the_library_wrote_it(
            topic in "[a-z/é]{1,300}", payload in proptest::collection::vec(any::<u8>(), 0..20_000),
            id in 0u16.., dup: bool, retain: bool,
        ) {
            let level = if id > 0 { QoS::AtLeastOnce } else { QoS::AtMostOnce };
            let mut publish = Publish::new(topic.as_str(), level, payload.as_slice());
            (publish.pkid, publish.dup, publish.retain) = (id, dup && id > 0, retain);
            let bytes = theirs(&publish);
            let Frame::Whole { from, to } = next(&bytes, 1 << 20).unwrap() else {
                panic!("no frame");
            };
            prop_assert_eq!(to, bytes.len());
            prop_assert_eq!(next(&bytes[..to - 1], 1 << 20).unwrap(), Frame::Partial);
            let (read, rest) = message(bytes[0], &bytes[from..to], std::time::Instant::now()).unwrap();
            prop_assert_eq!((read.topic, rest), (topic, &payload[..]));
            prop_assert_eq!((read.packet_id, read.dup, read.retain), (id, publish.dup, retain));
        }

        #[test]
        fn the_library_reads_a_message_of_ours(
            topic in "[a-z/é]{1,300}", payload in "[ -~é]{0,20000}", id in 0u16.., retain: bool,
        ) {
            let ours = Message {
                topic: topic.as_str().into(),
                payload: payload.clone().into(),
                qos: u8::from(id > 0),
                retain,
                class: Class::Prediction,
                arrived: None,
                kept: None,
            };
            let mut bytes = BytesMut::new();
            super::publish(&ours, id, &[], &mut bytes);
            let Packet::Publish(read) = Packet::read(&mut bytes, 1 << 20).unwrap() else {
                panic!("no message");
            };
            prop_assert_eq!((read.topic, &read.payload[..]), (topic, payload.as_bytes()));
            prop_assert_eq!((read.pkid, read.retain), (id, retain));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            // Refused or not: it must not panic.
            match next(&bytes, 100) {
                Ok(Frame::Whole { from, to }) => {
                    let _ = message(bytes[0], &bytes[from..to], std::time::Instant::now());
                }
                Ok(Frame::Large { from, to }) => {
                    let _ = head_of_message(bytes[0], &bytes[from..], to, std::time::Instant::now());
                }
                Ok(Frame::Partial) | Err(_) => {}
            }
        }
    }

    #[test]
    fn a_message_beyond_the_limit_is_known_by_its_head() {
        let mut publish = Publish::new("plant/a/b", QoS::AtLeastOnce, vec![0; 5000]);
        publish.pkid = 7;
        let bytes = theirs(&publish);
        let now = std::time::Instant::now();
        let Frame::Large { from, to } = next(&bytes[..4], 1000).unwrap() else {
            panic!("not large");
        };
        assert_eq!(to, bytes.len());
        assert_eq!(
            head_of_message(bytes[0], &bytes[from..8], to, now)
                .unwrap()
                .map(|m| m.topic),
            None
        );
        let read = head_of_message(bytes[0], &bytes[from..20], to, now)
            .unwrap()
            .unwrap();
        assert_eq!((read.topic.as_str(), read.packet_id), ("plant/a/b", 7));
        assert_eq!(read.fate, Fate::TooBig(to));
        assert!(head_of_message(0x90, &bytes[from..20], to, now).is_err());
        assert!(next(&[0x30, 0xff, 0xff, 0xff, 0xff, 1], 1 << 30).is_err());
    }
}
