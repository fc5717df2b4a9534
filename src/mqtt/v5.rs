//! Encodes and decodes MQTT 5, by rumqttc's codec but for messages and their acknowledgements.
//!
//! Differences from 3.1.1: the session is given a life time; each side says how many messages it
//! takes without an acknowledgement and how large they may be; the broker says why it disconnects.

use bytes::BytesMut;
use rumqttc::v5::mqttbytes::v5::{
    Connect, ConnectProperties, ConnectReturnCode, DisconnectReasonCode, Filter, LastWill, Login,
    Packet, Subscribe, SubscribeReasonCode, Unsubscribe,
};
use rumqttc::v5::mqttbytes::{Error, QoS};

use super::connection::{Codec, Connection, Greeting};
use super::frame;
use super::{Event, LinkError, LinkOptions, Message};

/// An MQTT 5 connection.
pub type V5 = Connection<Version5>;

/// A session that outlives its connection: until the broker forgets it by its own rules.
const FOR_EVER: u32 = u32::MAX;
/// Messages that the broker may send unacknowledged: a group commit.
const RECEIVE_MAXIMUM: u16 = 1024;
/// Goodbye, as its first byte.
const DISCONNECT: u8 = 0xe0;

/// MQTT 5.
pub struct Version5;

impl Codec for Version5 {
    fn connect(options: &LinkOptions, limit: usize, out: &mut BytesMut) -> Result<(), LinkError> {
        let mqtt = &options.mqtt;
        let mut properties = ConnectProperties::new();
        properties.receive_maximum = Some(RECEIVE_MAXIMUM);
        properties.max_packet_size = u32::try_from(limit).ok();
        properties.session_expiry_interval = (!options.clean_session).then_some(FOR_EVER);
        let connect = Connect {
            keep_alive: u16::try_from(mqtt.keep_alive.as_secs()).unwrap_or(u16::MAX),
            client_id: mqtt.client_id.clone(),
            clean_start: options.clean_session,
            properties: Some(properties),
        };
        let will = options
            .status_topic
            .as_ref()
            .map(|topic| LastWill::new(topic.as_str(), "offline", QoS::AtLeastOnce, true, None));
        let login = (!mqtt.username.is_empty())
            .then(|| Login::new(mqtt.username.as_str(), mqtt.password.as_str()));
        write(&Packet::Connect(connect, will, login), out)
    }

    fn greeting(bytes: &mut BytesMut, _: usize) -> Result<Greeting, LinkError> {
        match Packet::read(bytes, None).map_err(codec_error)? {
            Packet::ConnAck(ack) if ack.code == ConnectReturnCode::Success => {
                let said = ack.properties;
                Ok(Greeting {
                    session_present: ack.session_present,
                    receive_maximum: said.as_ref().and_then(|p| p.receive_max),
                    maximum_packet_size: said.as_ref().and_then(|p| p.max_packet_size),
                    keep_alive: said.as_ref().and_then(|p| p.server_keep_alive),
                })
            }
            Packet::ConnAck(ack) => Err(LinkError::Refused(format!("{:?}", ack.code))),
            other => Err(LinkError::Lost(format!("{other:?} in place of a CONNACK"))),
        }
    }

    fn subscribe(filters: &[(String, u8)], id: u16, out: &mut BytesMut) -> Result<(), LinkError> {
        let filters = filters
            .iter()
            .map(|(filter, level)| Filter::new(filter.clone(), qos(*level)));
        let mut subscribe = Subscribe::new_many(filters, None);
        subscribe.pkid = id;
        write(&Packet::Subscribe(subscribe), out)
    }

    fn unsubscribe(filters: &[String], id: u16, out: &mut BytesMut) -> Result<(), LinkError> {
        let mut unsubscribe = Unsubscribe::new(filters.first().cloned().unwrap_or_default(), None);
        unsubscribe.filters = filters.to_vec();
        unsubscribe.pkid = id;
        write(&Packet::Unsubscribe(unsubscribe), out)
    }

    fn publish(message: &Message, id: u16, out: &mut BytesMut) {
        // No properties.
        frame::publish(message, id, &[0], out);
    }

    fn payload(rest: &[u8]) -> Result<&[u8], LinkError> {
        let (mut n, mut shift) = (0usize, 0);
        for (i, byte) in rest.iter().enumerate().take(4) {
            n |= usize::from(byte & 127) << shift;
            shift += 7;
            if byte & 128 == 0 {
                // User properties may hold a timestamp; we allow the broker no topic aliases.
                return rest.get(i + 1 + n..).ok_or(frame::malformed("property"));
            }
        }
        Err(frame::malformed("property"))
    }

    fn user_properties(rest: &[u8]) -> Vec<(String, String)> {
        // No property: a length of 0, as nearly always.
        if rest.first() == Some(&0) {
            return Vec::new();
        }
        let Some(payload) = Self::payload(rest).ok() else {
            return Vec::new();
        };
        let block = &rest[..rest.len() - payload.len()];
        let start = block.iter().take_while(|byte| **byte & 128 != 0).count() + 1;
        block.get(start..).map_or(Vec::new(), user_properties)
    }

    fn other(bytes: &mut BytesMut, _: usize) -> Result<Option<Event>, LinkError> {
        if bytes.starts_with(&[DISCONNECT, 0]) {
            return Err(LinkError::Lost("the broker says goodbye".to_owned()));
        }
        Ok(Some(
            match Packet::read(bytes, None).map_err(codec_error)? {
                Packet::SubAck(ack) => Event::Subscribed(
                    ack.return_codes
                        .iter()
                        .map(|code| matches!(code, SubscribeReasonCode::Success(_)))
                        .collect(),
                ),
                Packet::PubAck(ack) => Event::Acknowledged(ack.pkid),
                Packet::UnsubAck(_) => Event::Other,
                Packet::PingResp(_) => return Ok(None),
                Packet::Disconnect(bye)
                    if bye.reason_code == DisconnectReasonCode::SessionTakenOver =>
                {
                    return Err(LinkError::TakenOver);
                }
                Packet::Disconnect(bye) => {
                    let reason = bye.reason_code;
                    return Err(LinkError::Lost(format!(
                        "the broker says goodbye: {reason:?}"
                    )));
                }
                other => return Err(LinkError::Lost(format!("{other:?} out of its turn"))),
            },
        ))
    }
}

fn write(packet: &Packet, out: &mut BytesMut) -> Result<(), LinkError> {
    packet.write(out, None).map(drop).map_err(codec_error)
}

fn codec_error(error: Error) -> LinkError {
    LinkError::Lost(error.to_string())
}

fn qos(level: u8) -> QoS {
    if level == 0 {
        QoS::AtMostOnce
    } else {
        QoS::AtLeastOnce
    }
}

/// User properties among the properties of a PUBLISH (MQTT 5, section 2.2.2.2), up to the first that
/// a PUBLISH does not have.
fn user_properties(mut block: &[u8]) -> Vec<(String, String)> {
    fn text<'a>(block: &mut &'a [u8]) -> Option<&'a [u8]> {
        let (length, rest) = block.split_first_chunk()?;
        let (text, rest) = rest.split_at_checked(usize::from(u16::from_be_bytes(*length)))?;
        *block = rest;
        Some(text)
    }
    let mut found = Vec::new();
    while let Some((kind, rest)) = block.split_first() {
        block = rest;
        let skipped = match kind {
            // User property.
            0x26 => {
                let (Some(name), Some(value)) = (text(&mut block), text(&mut block)) else {
                    return found;
                };
                let text = |bytes| String::from_utf8_lossy(bytes).into_owned();
                found.push((text(name), text(value)));
                Some(block)
            }
            // Payload format, expiry, topic alias.
            0x01 => block.get(1..),
            0x02 => block.get(4..),
            0x23 => block.get(2..),
            // Content type, response topic, correlation data.
            0x03 | 0x08 | 0x09 => text(&mut block).map(|_| block),
            // Subscription identifier.
            0x0b => {
                let length = block.iter().take_while(|byte| **byte & 128 != 0).count() + 1;
                block.get(length..)
            }
            _ => None,
        };
        let Some(rest) = skipped else {
            return found;
        };
        block = rest;
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Class;
    use proptest::prelude::*;
    use rumqttc::v5::mqttbytes::v5::{Publish, PublishProperties};

    proptest! {
        #[test]
        fn a_message_reads_as_the_library_wrote_it(
            payload in proptest::collection::vec(any::<u8>(), 0..2000), id in 0u16..,
            properties in proptest::collection::vec(("[a-z]{0,100}", "[a-z]{0,100}"), 0..3),
        ) {
            let level = if id > 0 { QoS::AtLeastOnce } else { QoS::AtMostOnce };
            let expected = properties.clone();
            let said = PublishProperties {
                user_properties: properties,
                content_type: Some("json".to_owned()),
                message_expiry_interval: Some(60),
                subscription_identifiers: vec![300],
                ..Default::default()
            };
            let mut publish = Publish::new("a/b", level, payload.clone(), Some(said));
            publish.pkid = id;
            let mut bytes = BytesMut::new();
            publish.write(&mut bytes).unwrap();
            let frame::Frame::Whole { from, to } = frame::next(&bytes, 1 << 20).unwrap() else {
                panic!("no frame");
            };
            let now = std::time::Instant::now();
            let (read, rest) = frame::message(bytes[0], &bytes[from..to], now).unwrap();
            prop_assert_eq!((read.topic.as_str(), read.packet_id), ("a/b", id));
            prop_assert_eq!(Version5::payload(rest).unwrap(), &payload[..]);
            prop_assert_eq!(Version5::user_properties(rest), expected);
        }

        #[test]
        fn the_library_reads_a_message_of_ours(payload in "[ -~]{0,2000}", id in 0u16.., retain: bool) {
            let ours = Message {
                topic: "a/b".into(),
                payload: payload.clone().into(),
                qos: u8::from(id > 0),
                retain,
                class: Class::Prediction,
                arrived: None,
                kept: None,
            };
            let mut bytes = BytesMut::new();
            <Version5 as Codec>::publish(&ours, id, &mut bytes);
            let Packet::Publish(read) = Packet::read(&mut bytes, None).unwrap() else {
                panic!("no message");
            };
            prop_assert_eq!((&read.topic[..], &read.payload[..]), (&b"a/b"[..], payload.as_bytes()));
            prop_assert_eq!((read.pkid, read.retain), (id, retain));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..60)) {
            // Refused or not: it must not panic.
            let _ = Version5::payload(&bytes);
            let _ = Version5::user_properties(&bytes);
        }
    }
}
