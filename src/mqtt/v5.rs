//! MQTT 5 by rumqttc, as far as MQTT 3.1.1 goes: nothing that only version 5 can say is used.
//!
//! What differs: the session has to be given a life time, the broker may grant a smaller window
//! than ours (the library keeps to it), and it leaves out by itself what is larger than we receive.

use std::collections::VecDeque;
use std::time::{Duration, Instant};

use rumqttc::v5::mqttbytes::QoS;
use rumqttc::v5::mqttbytes::v5::{
    ConnectProperties, Filter, LastWill, Packet, Publish, SubscribeReasonCode,
};
use rumqttc::v5::{
    AsyncClient, ConnectionError, Event as LibraryEvent, EventLoop, MqttOptions, StateError,
};
use rumqttc::{Outgoing, TlsConfiguration, Transport};

use super::socket::tls_config;
use super::v4::{REQUESTS, gone};
use super::{
    CONNECT_TIMEOUT_S, Delivered, Event, Link, LinkError, LinkOptions, LinkSender, MAX_BATCH,
    Message,
};

/// A session that outlives its connection: until the broker forgets it by its own rules.
const FOR_EVER: u32 = u32::MAX;
/// Messages that the broker may send unacknowledged: a group commit.
const RECEIVE_MAXIMUM: u16 = 1024;

/// One MQTT 5 connection.
pub struct V5 {
    events: EventLoop,
    /// The library says something at each keep-alive, unless it waits for a broker that does not
    /// read; it would do so for ever.
    patience: Duration,
    /// Events that came with messages, in order.
    come: VecDeque<Event>,
}

/// Its sending half.
#[derive(Clone)]
pub struct V5Sender {
    client: AsyncClient,
}

impl Link for V5 {
    type Options = LinkOptions;
    type Sender = V5Sender;

    fn open(options: &LinkOptions, limit: usize) -> Result<(V5Sender, V5), LinkError> {
        let mqtt = &options.mqtt;
        let mut o = MqttOptions::new(mqtt.client_id.as_str(), mqtt.host.as_str(), mqtt.port);
        o.set_keep_alive(mqtt.keep_alive);
        o.set_clean_start(options.clean_session);
        o.set_manual_acks(true);
        o.set_connection_timeout(CONNECT_TIMEOUT_S);
        let mut properties = ConnectProperties::new();
        properties.receive_maximum = Some(RECEIVE_MAXIMUM);
        properties.max_packet_size = u32::try_from(limit).ok();
        properties.session_expiry_interval = (!options.clean_session).then_some(FOR_EVER);
        o.set_connect_properties(properties);
        // One more than our own window, so that packet ids never collide; 65,534 at most.
        let in_flight = u16::try_from(options.in_flight + 1).unwrap_or(u16::MAX - 1);
        o.set_outgoing_inflight_upper_limit(in_flight);
        if !mqtt.username.is_empty() {
            o.set_credentials(mqtt.username.as_str(), mqtt.password.as_str());
        }
        if let Some(topic) = &options.status_topic {
            let will = LastWill::new(topic.as_str(), "offline", QoS::AtLeastOnce, true, None);
            o.set_last_will(will);
        }
        if let Some(tls) = &mqtt.tls {
            o.set_transport(Transport::tls_with_config(TlsConfiguration::Rustls(
                tls_config(tls)?,
            )));
        }
        let mut network = o.network_options();
        network.set_tcp_nodelay(true);
        o.set_network_options(network);
        let (client, events) = AsyncClient::new(o, REQUESTS);
        let patience = mqtt.keep_alive * 2 + Duration::from_secs(CONNECT_TIMEOUT_S);
        let link = V5 {
            events,
            patience,
            come: VecDeque::new(),
        };
        Ok((V5Sender { client }, link))
    }

    async fn next(&mut self, delivered: &mut Vec<Delivered>) -> Result<Event, LinkError> {
        if let Some(event) = self.come.pop_front() {
            return Ok(event);
        }
        let event = tokio::time::timeout(self.patience, self.events.poll());
        let silent = |_| LinkError::Lost("the broker reads nothing".to_owned());
        let mut next = Some(event.await.map_err(silent)?.map_err(link_error)?);
        let arrived = Instant::now();
        while let Some(event) = next {
            match event {
                LibraryEvent::Incoming(Packet::Publish(publish)) => {
                    delivered.push(message(publish, arrived));
                }
                other => self.come.push_back(told(other)),
            }
            // What the library has read already.
            next = (delivered.len() < MAX_BATCH)
                .then(|| self.events.state.events.pop_front())
                .flatten();
        }
        Ok(self.come.pop_front().unwrap_or(Event::Delivered))
    }
}

fn message(publish: Publish, arrived: Instant) -> Delivered {
    Delivered {
        packet_id: publish.pkid,
        dup: publish.dup,
        retain: publish.retain,
        payload: publish.payload.to_vec(),
        topic: String::from_utf8_lossy(&publish.topic).into_owned(),
        epoch: 0,
        arrived,
    }
}

fn told(event: LibraryEvent) -> Event {
    match event {
        LibraryEvent::Incoming(Packet::ConnAck(ack)) => Event::Connected {
            session_present: ack.session_present,
        },
        LibraryEvent::Incoming(Packet::SubAck(ack)) => Event::Subscribed(
            ack.return_codes
                .iter()
                .map(|code| matches!(code, SubscribeReasonCode::Success(_)))
                .collect(),
        ),
        LibraryEvent::Incoming(Packet::PubAck(ack)) => Event::Acknowledged(ack.pkid),
        LibraryEvent::Outgoing(Outgoing::Publish(pkid)) => Event::Sent(pkid),
        LibraryEvent::Outgoing(Outgoing::Disconnect) => Event::Goodbye,
        LibraryEvent::Incoming(_) | LibraryEvent::Outgoing(_) => Event::Other,
    }
}

fn link_error(error: ConnectionError) -> LinkError {
    match error {
        ConnectionError::MqttState(StateError::IncomingPacketTooLarge { pkt_size, .. }) => {
            LinkError::TooBig(pkt_size)
        }
        ConnectionError::ConnectionRefused(code) => LinkError::Refused(format!("{code:?}")),
        other => LinkError::Lost(other.to_string()),
    }
}

fn qos(level: u8) -> QoS {
    if level == 0 {
        QoS::AtMostOnce
    } else {
        QoS::AtLeastOnce
    }
}

impl LinkSender for V5Sender {
    async fn publish(&self, message: Message) -> Result<(), LinkError> {
        self.client
            .publish(
                message.topic.as_ref(),
                qos(message.qos),
                message.retain,
                message.payload,
            )
            .await
            .map_err(gone)
    }

    async fn subscribe(&self, filters: &[(String, u8)]) -> Result<(), LinkError> {
        let filters = filters
            .iter()
            .map(|(filter, level)| Filter::new(filter.clone(), qos(*level)));
        self.client.subscribe_many(filters).await.map_err(gone)
    }

    async fn ack(&self, packet_ids: Vec<u16>) -> Result<(), LinkError> {
        let mut publish = Publish::new("", QoS::AtLeastOnce, Vec::new(), None);
        for packet_id in packet_ids {
            publish.pkid = packet_id;
            self.client.ack(&publish).await.map_err(gone)?;
        }
        Ok(())
    }

    async fn disconnect(&self) -> Result<(), LinkError> {
        self.client.disconnect().await.map_err(gone)
    }
}
