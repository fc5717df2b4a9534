//! MQTT 3.1.1 by rumqttc.

use std::time::{Duration, Instant};

use rumqttc::mqttbytes::Error as CodecError;
use rumqttc::{
    AsyncClient, ConnectionError, EventLoop, LastWill, MqttOptions, Outgoing, Packet, Publish, QoS,
    StateError, SubscribeFilter, SubscribeReasonCode, TlsConfiguration, Transport,
};

use super::{
    CONNECT_TIMEOUT_S, Delivered, Event, Link, LinkError, LinkOptions, LinkSender, Message,
};
use crate::config::TlsSettings;

/// Requests that may wait between the sending task and the polling one.
pub(super) const REQUESTS: usize = 64;
/// One MQTT 3.1.1 connection.
pub struct V4 {
    events: EventLoop,
    keep_alive: Duration,
}

/// Its sending half.
#[derive(Clone)]
pub struct V4Sender {
    client: AsyncClient,
}

impl Link for V4 {
    type Options = LinkOptions;
    type Sender = V4Sender;

    fn open(options: &LinkOptions, limit: usize) -> Result<(V4Sender, V4), LinkError> {
        let mqtt = &options.mqtt;
        let mut o = MqttOptions::new(mqtt.client_id.as_str(), mqtt.host.as_str(), mqtt.port);
        o.set_keep_alive(mqtt.keep_alive);
        o.set_clean_session(options.clean_session);
        o.set_manual_acks(true);
        o.set_max_packet_size(limit, limit);
        // One more than our own window, so that packet ids never collide; 65,534 at most.
        let in_flight = u16::try_from(options.in_flight + 1).unwrap_or(u16::MAX - 1);
        o.set_inflight(in_flight);
        if !mqtt.username.is_empty() {
            o.set_credentials(mqtt.username.as_str(), mqtt.password.as_str());
        }
        if let Some(topic) = &options.status_topic {
            let will = LastWill::new(topic.as_str(), "offline", QoS::AtLeastOnce, true);
            o.set_last_will(will);
        }
        if let Some(tls) = &mqtt.tls {
            o.set_transport(Transport::tls_with_config(tls_config(tls)?));
        }
        let (client, mut events) = AsyncClient::new(o, REQUESTS);
        let mut network = events.network_options();
        network.set_connection_timeout(CONNECT_TIMEOUT_S);
        network.set_tcp_nodelay(true);
        events.set_network_options(network);
        let keep_alive = mqtt.keep_alive;
        Ok((V4Sender { client }, V4 { events, keep_alive }))
    }

    async fn next(&mut self) -> Result<Event, LinkError> {
        let event = self.events.poll().await.map_err(link_error)?;
        Ok(match event {
            rumqttc::Event::Incoming(Packet::ConnAck(ack)) => {
                // The library takes the same time for its patience with a broker that does not
                // read: a busy one deserves as much as one that does not speak.
                let mut network = self.events.network_options();
                network.set_connection_timeout(self.keep_alive.as_secs().max(CONNECT_TIMEOUT_S));
                self.events.set_network_options(network);
                Event::Connected {
                    session_present: ack.session_present,
                }
            }
            rumqttc::Event::Incoming(Packet::SubAck(ack)) => Event::Subscribed(
                ack.return_codes
                    .iter()
                    .map(|code| matches!(code, SubscribeReasonCode::Success(_)))
                    .collect(),
            ),
            rumqttc::Event::Incoming(Packet::Publish(publish)) => Event::Delivered(Delivered {
                packet_id: publish.pkid,
                dup: publish.dup,
                retain: publish.retain,
                payload: publish.payload.to_vec(),
                topic: publish.topic,
                epoch: 0,
                arrived: Instant::now(),
            }),
            rumqttc::Event::Incoming(Packet::PubAck(ack)) => Event::Acknowledged(ack.pkid),
            rumqttc::Event::Outgoing(Outgoing::Publish(pkid)) => Event::Sent(pkid),
            rumqttc::Event::Outgoing(Outgoing::Disconnect) => Event::Goodbye,
            rumqttc::Event::Incoming(_) | rumqttc::Event::Outgoing(_) => Event::Other,
        })
    }
}

pub(super) fn tls_config(tls: &TlsSettings) -> Result<TlsConfiguration, LinkError> {
    let read = |path: &std::path::Path| {
        std::fs::read(path).map_err(|error| {
            LinkError::Settings(format!("cannot read {}: {error}", path.display()))
        })
    };
    let client_auth = match &tls.client_auth {
        Some((certificate, key)) => Some((read(certificate)?, read(key)?)),
        None => None,
    };
    Ok(TlsConfiguration::Simple {
        ca: read(&tls.ca_file)?,
        alpn: None,
        client_auth,
    })
}

fn link_error(error: ConnectionError) -> LinkError {
    match error {
        ConnectionError::MqttState(StateError::Deserialization(
            CodecError::PayloadSizeLimitExceeded(n),
        )) => LinkError::TooBig(n),
        ConnectionError::ConnectionRefused(code) => LinkError::Refused(format!("{code:?}")),
        other => LinkError::Lost(other.to_string()),
    }
}

pub(super) fn gone<E>(_: E) -> LinkError {
    LinkError::Lost("the connection has ended".to_owned())
}

fn qos(level: u8) -> QoS {
    if level == 0 {
        QoS::AtMostOnce
    } else {
        QoS::AtLeastOnce
    }
}

impl LinkSender for V4Sender {
    async fn publish(&self, message: &Message) -> Result<(), LinkError> {
        self.client
            .publish(
                message.topic.as_ref(),
                qos(message.qos),
                message.retain,
                message.payload.as_bytes(),
            )
            .await
            .map_err(gone)
    }

    async fn subscribe(&self, filters: &[(String, u8)]) -> Result<(), LinkError> {
        let filters = filters
            .iter()
            .map(|(filter, level)| SubscribeFilter::new(filter.clone(), qos(*level)));
        self.client.subscribe_many(filters).await.map_err(gone)
    }

    async fn ack(&self, packet_id: u16) -> Result<(), LinkError> {
        let mut publish = Publish::new(String::new(), QoS::AtLeastOnce, Vec::new());
        publish.pkid = packet_id;
        self.client.ack(&publish).await.map_err(gone)
    }

    async fn disconnect(&self) -> Result<(), LinkError> {
        self.client.disconnect().await.map_err(gone)
    }
}
