//! Encodes and decodes MQTT 3.1.1, by rumqttc's codec but for messages and their acknowledgements.

use bytes::BytesMut;
use rumqttc::mqttbytes::Error;
use rumqttc::{
    Connect, ConnectReturnCode, LastWill, Login, Packet, QoS, Subscribe, SubscribeFilter,
    SubscribeReasonCode, Unsubscribe,
};

use super::connection::{Codec, Connection, Greeting};
use super::frame;
use super::{Event, LinkError, LinkOptions, Message};

/// An MQTT 3.1.1 connection.
pub type V4 = Connection<V311>;

/// MQTT 3.1.1.
pub struct V311;

impl Codec for V311 {
    fn connect(options: &LinkOptions, _: usize, out: &mut BytesMut) -> Result<(), LinkError> {
        let mqtt = &options.mqtt;
        let mut connect = Connect::new(mqtt.client_id.as_str());
        connect.keep_alive = u16::try_from(mqtt.keep_alive.as_secs()).unwrap_or(u16::MAX);
        connect.clean_session = options.clean_session;
        if !mqtt.username.is_empty() {
            connect.login = Some(Login::new(mqtt.username.as_str(), mqtt.password.as_str()));
        }
        let will = |topic: &String| LastWill::new(topic, "offline", QoS::AtLeastOnce, true);
        connect.last_will = options.status_topic.as_ref().map(will);
        write(&Packet::Connect(connect), out)
    }

    fn greeting(bytes: &mut BytesMut, limit: usize) -> Result<Greeting, LinkError> {
        match Packet::read(bytes, limit).map_err(codec_error)? {
            Packet::ConnAck(ack) if ack.code == ConnectReturnCode::Success => Ok(Greeting {
                session_present: ack.session_present,
                ..Greeting::default()
            }),
            Packet::ConnAck(ack) => Err(LinkError::Refused(format!("{:?}", ack.code))),
            other => Err(LinkError::Lost(format!("{other:?} in place of a CONNACK"))),
        }
    }

    fn subscribe(filters: &[(String, u8)], id: u16, out: &mut BytesMut) -> Result<(), LinkError> {
        let filters = filters
            .iter()
            .map(|(filter, level)| SubscribeFilter::new(filter.clone(), qos(*level)));
        let mut subscribe = Subscribe::new_many(filters);
        subscribe.pkid = id;
        write(&Packet::Subscribe(subscribe), out)
    }

    fn unsubscribe(filters: &[String], id: u16, out: &mut BytesMut) -> Result<(), LinkError> {
        let unsubscribe = Unsubscribe {
            pkid: id,
            topics: filters.to_vec(),
        };
        write(&Packet::Unsubscribe(unsubscribe), out)
    }

    fn publish(message: &Message, id: u16, out: &mut BytesMut) {
        frame::publish(message, id, &[], out);
    }

    fn payload(rest: &[u8]) -> Result<&[u8], LinkError> {
        Ok(rest)
    }

    fn other(bytes: &mut BytesMut, limit: usize) -> Result<Option<Event>, LinkError> {
        Ok(Some(
            match Packet::read(bytes, limit).map_err(codec_error)? {
                Packet::SubAck(ack) => Event::Subscribed(
                    ack.return_codes
                        .iter()
                        .map(|code| matches!(code, SubscribeReasonCode::Success(_)))
                        .collect(),
                ),
                Packet::PubAck(ack) => Event::Acknowledged(ack.pkid),
                Packet::UnsubAck(_) => Event::Other,
                Packet::PingResp => return Ok(None),
                other => return Err(LinkError::Lost(format!("{other:?} out of its turn"))),
            },
        ))
    }
}

fn write(packet: &Packet, out: &mut BytesMut) -> Result<(), LinkError> {
    packet.write(out, usize::MAX).map(drop).map_err(codec_error)
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
