//! MQTT 3.1.1 by rumqttc.

use std::collections::VecDeque;
use std::time::Duration;

use rumqttc::mqttbytes::Error as CodecError;
use rumqttc::{
    AsyncClient, ConnectionError, Disconnect, EventLoop, LastWill, MqttOptions, Outgoing, Packet,
    PingReq, PubAck, Publish, QoS, StateError, Subscribe, SubscribeFilter, SubscribeReasonCode,
    TlsConfiguration, Transport,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::{
    CONNECT_TIMEOUT_S, Delivered, Event, Link, LinkError, LinkOptions, LinkSender, MAX_BATCH,
    Message,
};
use crate::config::TlsSettings;

/// Requests that may wait between the sending task and the polling one.
pub(super) const REQUESTS: usize = 64;

/// One MQTT 3.1.1 connection. The library connects, frames packets and numbers our messages; its
/// own loop would yield one event and write to the socket once for each packet, so reading,
/// writing and pinging go in batches here.
pub struct V4 {
    events: EventLoop,
    /// Keeps the library's own queue of requests, in which nothing ever is, from closing.
    _client: AsyncClient,
    requests: mpsc::Receiver<Request>,
    asked: Vec<Request>,
    /// Events that came with others, in order.
    come: VecDeque<Event>,
    /// Begins with the connection.
    pings: Option<Interval>,
    keep_alive: Duration,
}

/// What the sending half asks for.
enum Request {
    Send(rumqttc::Request),
    /// These packet ids are ours now.
    Acknowledge(Vec<u16>),
}

/// Its sending half.
#[derive(Clone)]
pub struct V4Sender {
    requests: mpsc::Sender<Request>,
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
        let (requests_tx, requests) = mpsc::channel(REQUESTS);
        let link = V4 {
            events,
            _client: client,
            requests,
            asked: Vec::with_capacity(REQUESTS),
            come: VecDeque::new(),
            pings: None,
            keep_alive: mqtt.keep_alive,
        };
        let sender = V4Sender {
            requests: requests_tx,
        };
        Ok((sender, link))
    }

    async fn next(&mut self, delivered: &mut Vec<Delivered>) -> Result<Event, LinkError> {
        loop {
            if let Some(event) = self.come.pop_front() {
                return Ok(event);
            }
            let Some(network) = &mut self.events.network else {
                return self.connect().await;
            };
            let pings = self.pings.get_or_insert_with(|| pings(self.keep_alive));
            // Whatever is not chosen is dropped while it waits: neither a packet of which a part
            // has come nor a request is lost by that.
            tokio::select! {
                packet = network.read() => {
                    self.receive(packet.map_err(state_error)?, delivered).await?;
                    if !delivered.is_empty() {
                        return Ok(Event::Delivered);
                    }
                }
                n = self.requests.recv_many(&mut self.asked, REQUESTS) => {
                    if n == 0 {
                        return Err(gone(()));
                    }
                    self.write().await?;
                }
                _ = pings.tick() => {
                    self.asked.push(Request::Send(rumqttc::Request::PingReq(PingReq)));
                    self.write().await?;
                }
            }
        }
    }
}

fn pings(keep_alive: Duration) -> Interval {
    let keep_alive = keep_alive.max(Duration::from_secs(1));
    let mut pings = tokio::time::interval_at(Instant::now() + keep_alive, keep_alive);
    pings.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pings
}

impl V4 {
    async fn connect(&mut self) -> Result<Event, LinkError> {
        match self.events.poll().await.map_err(link_error)? {
            rumqttc::Event::Incoming(Packet::ConnAck(ack)) => Ok(Event::Connected {
                session_present: ack.session_present,
            }),
            other => Err(LinkError::Lost(format!("{other:?} in place of a CONNACK"))),
        }
    }

    /// Takes a packet and those behind it that need not be waited for.
    async fn receive(
        &mut self,
        first: Packet,
        delivered: &mut Vec<Delivered>,
    ) -> Result<(), LinkError> {
        let arrived = std::time::Instant::now();
        let mut next = Some(first);
        while let Some(packet) = next {
            match packet {
                Packet::Publish(publish) => delivered.push(message(publish, arrived)),
                other => self.note(other)?,
            }
            let network = self.events.network.as_mut();
            next = match network {
                Some(network) if delivered.len() < MAX_BATCH => tokio::select! {
                    biased;
                    packet = network.read() => Some(packet.map_err(state_error)?),
                    () = std::future::ready(()) => None,
                },
                _ => None,
            };
        }
        Ok(())
    }

    /// A packet that is no message.
    fn note(&mut self, packet: Packet) -> Result<(), LinkError> {
        let event = match &packet {
            Packet::SubAck(ack) => Some(Event::Subscribed(
                ack.return_codes
                    .iter()
                    .map(|code| matches!(code, SubscribeReasonCode::Success(_)))
                    .collect(),
            )),
            Packet::PubAck(ack) => Some(Event::Acknowledged(ack.pkid)),
            _ => None,
        };
        let state = &mut self.events.state;
        let answer = state.handle_incoming_packet(packet).map_err(state_error)?;
        state.events.clear();
        if answer.is_some() {
            return Err(LinkError::Lost("a packet out of its turn".to_owned()));
        }
        self.come.extend(event);
        Ok(())
    }

    /// Writes what is asked for, and to the socket at the end.
    async fn write(&mut self) -> Result<(), LinkError> {
        // A busy broker deserves as much patience as one that does not speak.
        let patience = self.keep_alive.max(Duration::from_secs(CONNECT_TIMEOUT_S));
        let silent = |_| LinkError::Lost("the broker reads nothing".to_owned());
        tokio::time::timeout(patience, self.write_all())
            .await
            .map_err(silent)?
    }

    async fn write_all(&mut self) -> Result<(), LinkError> {
        let Some(network) = &mut self.events.network else {
            return Err(gone(()));
        };
        let state = &mut self.events.state;
        for request in self.asked.drain(..) {
            let request = match request {
                Request::Send(request) => request,
                Request::Acknowledge(packet_ids) => {
                    for id in packet_ids {
                        let packet = Packet::PubAck(PubAck::new(id));
                        network.write(packet).await.map_err(state_error)?;
                    }
                    continue;
                }
            };
            let packet = state.handle_outgoing_packet(request).map_err(state_error)?;
            // A packet id that is still taken: our own window is there to exclude it.
            let packet = packet.ok_or(LinkError::Lost("packet ids collide".to_owned()))?;
            network.write(packet).await.map_err(state_error)?;
        }
        network.flush().await.map_err(state_error)?;
        let told = state.events.drain(..);
        self.come.extend(told.filter_map(|event| match event {
            rumqttc::Event::Outgoing(Outgoing::Publish(id)) => Some(Event::Sent(id)),
            rumqttc::Event::Outgoing(Outgoing::Disconnect) => Some(Event::Goodbye),
            _ => None,
        }));
        Ok(())
    }
}

fn message(publish: Publish, arrived: std::time::Instant) -> Delivered {
    Delivered {
        packet_id: publish.pkid,
        dup: publish.dup,
        retain: publish.retain,
        payload: publish.payload.to_vec(),
        topic: publish.topic,
        epoch: 0,
        arrived,
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
        ConnectionError::MqttState(error) => state_error(error),
        ConnectionError::ConnectionRefused(code) => LinkError::Refused(format!("{code:?}")),
        other => LinkError::Lost(other.to_string()),
    }
}

fn state_error(error: StateError) -> LinkError {
    match error {
        StateError::Deserialization(CodecError::PayloadSizeLimitExceeded(n)) => {
            LinkError::TooBig(n)
        }
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

impl V4Sender {
    async fn ask(&self, request: rumqttc::Request) -> Result<(), LinkError> {
        let request = Request::Send(request);
        self.requests.send(request).await.map_err(gone)
    }
}

impl LinkSender for V4Sender {
    async fn publish(&self, message: &Message) -> Result<(), LinkError> {
        let (topic, payload) = (message.topic.as_ref(), message.payload.as_bytes());
        let mut publish = Publish::new(topic, qos(message.qos), payload);
        publish.retain = message.retain;
        self.ask(rumqttc::Request::Publish(publish)).await
    }

    async fn subscribe(&self, filters: &[(String, u8)]) -> Result<(), LinkError> {
        let filters = filters
            .iter()
            .map(|(filter, level)| SubscribeFilter::new(filter.clone(), qos(*level)));
        let subscribe = Subscribe::new_many(filters);
        self.ask(rumqttc::Request::Subscribe(subscribe)).await
    }

    async fn ack(&self, packet_ids: Vec<u16>) -> Result<(), LinkError> {
        let request = Request::Acknowledge(packet_ids);
        self.requests.send(request).await.map_err(gone)
    }

    async fn disconnect(&self) -> Result<(), LinkError> {
        self.ask(rumqttc::Request::Disconnect(Disconnect)).await
    }
}
