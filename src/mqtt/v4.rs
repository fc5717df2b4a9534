//! MQTT 3.1.1: packets by rumqttc's codec, but for the two that come by the hundred thousand, messages
//! and their acknowledgements. What has come is read together, what is to be sent is written together.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BufMut, BytesMut};
use rumqttc::mqttbytes::Error as CodecError;
use rumqttc::tokio_rustls::rustls::ClientConfig;
use rumqttc::{
    Connect, ConnectReturnCode, LastWill, Login, Packet, QoS, Subscribe, SubscribeFilter,
    SubscribeReasonCode,
};
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior};

use super::socket::{Socket, tls_config};
use super::{
    CONNECT_TIMEOUT_S, Delivered, Event, Link, LinkError, LinkOptions, LinkSender, MAX_BATCH,
    Message,
};

/// Requests that may wait between the sending task and the polling one.
pub(super) const REQUESTS: usize = 64;
/// First byte of a message, but for its flags.
const PUBLISH: u8 = 0x30;

/// One MQTT 3.1.1 connection.
pub struct V4 {
    options: LinkOptions,
    tls: Option<Arc<ClientConfig>>,
    /// Largest packet that is received, bytes.
    limit: usize,
    socket: Option<Socket>,
    /// Bytes that have come and are not understood yet.
    come: BytesMut,
    /// Bytes to write.
    out: BytesMut,
    requests: mpsc::Receiver<Request>,
    asked: Vec<Request>,
    /// Events that came with others, in order.
    events: VecDeque<Event>,
    /// Begins with the connection.
    pings: Option<Interval>,
    /// A ping has no answer yet.
    pinged: bool,
    /// The last packet id of ours. The outbox has fewer messages under way than there are.
    last_id: u16,
}

/// What the sending half asks for.
enum Request {
    Publish(Message),
    Subscribe(Vec<SubscribeFilter>),
    /// These packet ids are ours now.
    Acknowledge(Vec<u16>),
    Disconnect,
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
        let (sender, requests) = mpsc::channel(REQUESTS);
        let link = V4 {
            options: options.clone(),
            tls: options.mqtt.tls.as_ref().map(tls_config).transpose()?,
            limit,
            socket: None,
            come: BytesMut::new(),
            out: BytesMut::new(),
            requests,
            asked: Vec::with_capacity(REQUESTS),
            events: VecDeque::new(),
            pings: None,
            pinged: false,
            last_id: 0,
        };
        Ok((V4Sender { requests: sender }, link))
    }

    fn acknowledge(&mut self, packet_ids: impl Iterator<Item = u16>) -> bool {
        packet_ids.for_each(|id| puback(id, &mut self.out));
        true
    }

    async fn next(&mut self, delivered: &mut Vec<Delivered>) -> Result<Event, LinkError> {
        loop {
            if !self.out.is_empty() {
                self.write().await?;
            }
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            let Some(socket) = &mut self.socket else {
                return self.connect().await;
            };
            // Messages that came with the CONNACK.
            if frame(&self.come, self.limit)?.is_some() {
                self.receive(delivered).await?;
                return Ok(Event::Delivered);
            }
            let keep_alive = self.options.mqtt.keep_alive;
            let pings = self.pings.get_or_insert_with(|| pings(keep_alive));
            // Whatever is not chosen is dropped while it waits: neither a packet of which a part
            // has come nor a request is lost by that.
            tokio::select! {
                read = socket.read(&mut self.come) => {
                    read?;
                    self.receive(delivered).await?;
                    if !delivered.is_empty() {
                        return Ok(Event::Delivered);
                    }
                }
                n = self.requests.recv_many(&mut self.asked, REQUESTS) => {
                    if n == 0 {
                        return Err(gone(()));
                    }
                    self.encode()?;
                }
                _ = pings.tick() => {
                    if std::mem::replace(&mut self.pinged, true) {
                        return Err(LinkError::Lost("the broker does not answer".to_owned()));
                    }
                    Packet::PingReq.write(&mut self.out, usize::MAX).map_err(codec_error)?;
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
        let late = |_| LinkError::Lost("no connection in time".to_owned());
        let limit = Duration::from_secs(CONNECT_TIMEOUT_S);
        tokio::time::timeout(limit, self.greet())
            .await
            .map_err(late)?
    }

    async fn greet(&mut self) -> Result<Event, LinkError> {
        let mut socket = Socket::connect(&self.options.mqtt, self.tls.clone()).await?;
        let hello = Packet::Connect(self.hello());
        hello
            .write(&mut self.out, usize::MAX)
            .map_err(codec_error)?;
        socket.write(&self.out).await?;
        self.out.clear();
        while frame(&self.come, self.limit)?.is_none() {
            socket.read(&mut self.come).await?;
        }
        self.socket = Some(socket);
        match Packet::read(&mut self.come, self.limit).map_err(codec_error)? {
            Packet::ConnAck(ack) if ack.code == ConnectReturnCode::Success => {
                Ok(Event::Connected {
                    session_present: ack.session_present,
                })
            }
            Packet::ConnAck(ack) => Err(LinkError::Refused(format!("{:?}", ack.code))),
            other => Err(LinkError::Lost(format!("{other:?} in place of a CONNACK"))),
        }
    }

    fn hello(&self) -> Connect {
        let mqtt = &self.options.mqtt;
        let mut hello = Connect::new(mqtt.client_id.as_str());
        hello.keep_alive = u16::try_from(mqtt.keep_alive.as_secs()).unwrap_or(u16::MAX);
        hello.clean_session = self.options.clean_session;
        if !mqtt.username.is_empty() {
            hello.login = Some(Login::new(mqtt.username.as_str(), mqtt.password.as_str()));
        }
        let will = |topic: &String| LastWill::new(topic, "offline", QoS::AtLeastOnce, true);
        hello.last_will = self.options.status_topic.as_ref().map(will);
        hello
    }

    /// Takes what has come, and what need not be waited for.
    async fn receive(&mut self, delivered: &mut Vec<Delivered>) -> Result<(), LinkError> {
        let arrived = std::time::Instant::now();
        loop {
            self.understand(delivered, arrived)?;
            let Some(socket) = &mut self.socket else {
                return Ok(());
            };
            if delivered.len() >= MAX_BATCH {
                return Ok(());
            }
            if !socket.read_on(&mut self.come).await? {
                socket.emptied(delivered.len());
                return Ok(());
            }
        }
    }

    /// Takes the packets that have come as a whole.
    fn understand(
        &mut self,
        delivered: &mut Vec<Delivered>,
        arrived: std::time::Instant,
    ) -> Result<(), LinkError> {
        let mut at = 0;
        while let Some((from, to)) = frame(&self.come[at..], self.limit)? {
            let (head, body) = (self.come[at], &self.come[at + from..at + to]);
            if head & 0xf0 == PUBLISH {
                delivered.push(message(head, body, arrived)?);
                at += to;
            } else {
                self.come.advance(std::mem::take(&mut at));
                let packet = Packet::read(&mut self.come, self.limit).map_err(codec_error)?;
                self.note(&packet)?;
            }
        }
        self.come.advance(at);
        Ok(())
    }

    /// A packet that is no message.
    fn note(&mut self, packet: &Packet) -> Result<(), LinkError> {
        let event = match packet {
            Packet::SubAck(ack) => Event::Subscribed(
                ack.return_codes
                    .iter()
                    .map(|code| matches!(code, SubscribeReasonCode::Success(_)))
                    .collect(),
            ),
            Packet::PubAck(ack) => Event::Acknowledged(ack.pkid),
            Packet::PingResp => {
                self.pinged = false;
                return Ok(());
            }
            other => return Err(LinkError::Lost(format!("{other:?} out of its turn"))),
        };
        self.events.push_back(event);
        Ok(())
    }

    /// Encodes what is asked for.
    fn encode(&mut self) -> Result<(), LinkError> {
        let mut asked = std::mem::take(&mut self.asked);
        for request in asked.drain(..) {
            match request {
                Request::Publish(message) => {
                    let id = if message.qos > 0 { self.next_id() } else { 0 };
                    publish(&message, id, &mut self.out);
                    self.events.push_back(Event::Sent(id));
                }
                Request::Subscribe(filters) => {
                    let mut subscribe = Subscribe::new_many(filters);
                    subscribe.pkid = self.next_id();
                    let packet = Packet::Subscribe(subscribe);
                    packet
                        .write(&mut self.out, usize::MAX)
                        .map_err(codec_error)?;
                }
                Request::Acknowledge(packet_ids) => {
                    packet_ids
                        .into_iter()
                        .for_each(|id| puback(id, &mut self.out));
                }
                Request::Disconnect => {
                    Packet::Disconnect
                        .write(&mut self.out, usize::MAX)
                        .map_err(codec_error)?;
                    self.events.push_back(Event::Goodbye);
                }
            }
        }
        self.asked = asked;
        Ok(())
    }

    fn next_id(&mut self) -> u16 {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.last_id
    }

    /// Writes what is encoded.
    async fn write(&mut self) -> Result<(), LinkError> {
        let Some(socket) = &mut self.socket else {
            return Err(gone(()));
        };
        // A busy broker deserves as much patience as one that does not speak.
        let patience = self.options.mqtt.keep_alive;
        let patience = patience.max(Duration::from_secs(CONNECT_TIMEOUT_S));
        let silent = |_| LinkError::Lost("the broker reads nothing".to_owned());
        tokio::time::timeout(patience, socket.write(&self.out))
            .await
            .map_err(silent)??;
        self.out.clear();
        Ok(())
    }
}

/// Start and end of the body of the packet that `bytes` begin with, once it is there as a whole.
fn frame(bytes: &[u8], limit: usize) -> Result<Option<(usize, usize)>, LinkError> {
    let (mut n, mut shift) = (0usize, 0);
    for (i, byte) in bytes.iter().enumerate().skip(1) {
        n |= usize::from(byte & 127) << shift;
        shift += 7;
        if byte & 128 == 0 {
            if n > limit {
                return Err(LinkError::TooBig(n));
            }
            return Ok((bytes.len() > i + n).then_some((i + 1, i + 1 + n)));
        }
        if shift > 21 {
            return Err(malformed("length"));
        }
    }
    Ok(None)
}

fn malformed(what: &str) -> LinkError {
    LinkError::Lost(format!("a packet with a malformed {what}"))
}

/// A message: topic, packet id with QoS 1, payload.
fn message(head: u8, body: &[u8], arrived: std::time::Instant) -> Result<Delivered, LinkError> {
    let (length, rest) = body.split_first_chunk().ok_or(malformed("topic"))?;
    let length = usize::from(u16::from_be_bytes(*length));
    let (topic, rest) = rest.split_at_checked(length).ok_or(malformed("topic"))?;
    let (packet_id, payload) = match head >> 1 & 3 {
        0 => (0, rest),
        1 => {
            let (id, payload) = rest.split_first_chunk().ok_or(malformed("packet id"))?;
            (u16::from_be_bytes(*id), payload)
        }
        _ => return Err(malformed("quality of service")),
    };
    if head & 6 != 0 && packet_id == 0 {
        return Err(malformed("packet id"));
    }
    let topic = std::str::from_utf8(topic).map_err(|_| malformed("topic"))?;
    Ok(Delivered {
        packet_id,
        dup: head & 8 != 0,
        retain: head & 1 != 0,
        payload: payload.to_vec(),
        topic: topic.to_owned(),
        epoch: 0,
        arrived,
    })
}

/// Appends a message of ours; `id` 0 with QoS 0.
fn publish(message: &Message, id: u16, out: &mut BytesMut) {
    let (topic, payload) = (message.topic.as_bytes(), message.payload.as_bytes());
    // Topics are made of levels of the settings and of topics that came.
    let length = u16::try_from(topic.len()).unwrap_or(u16::MAX);
    let topic = &topic[..usize::from(length)];
    out.put_u8(PUBLISH | u8::from(id > 0) << 1 | u8::from(message.retain));
    let mut n = 2 + topic.len() + if id > 0 { 2 } else { 0 } + payload.len();
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
    out.put_slice(payload);
}

fn puback(id: u16, out: &mut BytesMut) {
    out.put_slice(&[0x40, 2]);
    out.put_u16(id);
}

fn codec_error(error: CodecError) -> LinkError {
    LinkError::Lost(error.to_string())
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
    async fn ask(&self, request: Request) -> Result<(), LinkError> {
        self.requests.send(request).await.map_err(gone)
    }
}

impl LinkSender for V4Sender {
    async fn publish(&self, message: Message) -> Result<(), LinkError> {
        self.ask(Request::Publish(message)).await
    }

    async fn subscribe(&self, filters: &[(String, u8)]) -> Result<(), LinkError> {
        let filters = filters
            .iter()
            .map(|(filter, level)| SubscribeFilter::new(filter.clone(), qos(*level)));
        self.ask(Request::Subscribe(filters.collect())).await
    }

    async fn ack(&self, packet_ids: Vec<u16>) -> Result<(), LinkError> {
        self.ask(Request::Acknowledge(packet_ids)).await
    }

    async fn disconnect(&self) -> Result<(), LinkError> {
        self.ask(Request::Disconnect).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Class;
    use proptest::prelude::*;
    use rumqttc::Publish;

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
            let (from, to) = frame(&bytes, 1 << 20).unwrap().unwrap();
            prop_assert_eq!(to, bytes.len());
            prop_assert_eq!(frame(&bytes[..to - 1], 1 << 20).unwrap(), None);
            let read = message(bytes[0], &bytes[from..to], std::time::Instant::now()).unwrap();
            prop_assert_eq!((read.topic, read.payload), (topic, payload));
            prop_assert_eq!((read.packet_id, read.dup, read.retain), (id, publish.dup, retain));
        }

        #[test]
        fn the_library_reads_a_message_of_ours(
            topic in "[a-z/é]{1,300}", payload in "[ -~é]{0,20000}", id in 0u16.., retain: bool,
        ) {
            let ours = Message {
                topic: topic.as_str().into(),
                payload: payload.clone(),
                qos: u8::from(id > 0),
                retain,
                class: Class::Prediction,
                arrived: None,
                kept: None,
            };
            let mut bytes = BytesMut::new();
            super::publish(&ours, id, &mut bytes);
            let Packet::Publish(read) = Packet::read(&mut bytes, 1 << 20).unwrap() else {
                panic!("no message");
            };
            prop_assert_eq!((read.topic, &read.payload[..]), (topic, payload.as_bytes()));
            prop_assert_eq!((read.pkid, read.retain), (id, retain));
        }

        #[test]
        fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            if let Ok(Some((from, to))) = frame(&bytes, 1 << 20) {
                // Refused or not: it must not panic.
                let _ = message(bytes[0], &bytes[from..to], std::time::Instant::now());
            }
        }
    }

    #[test]
    fn a_packet_beyond_the_limit_is_refused_by_its_head_alone() {
        let head = [0x30, 0xff, 0xff, 0x7f];
        assert_eq!(frame(&head, 1 << 20), Err(LinkError::TooBig(2_097_151)));
        assert_eq!(frame(&head, 1 << 22), Ok(None));
        assert!(frame(&[0x30, 0xff, 0xff, 0xff, 0xff, 1], 1 << 30).is_err());
    }
}
