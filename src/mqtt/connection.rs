//! Keeps one MQTT connection over a socket of its own: what has come is read together, what is to be
//! sent is written together. The versions of MQTT differ in their [`Codec`].

use std::collections::VecDeque;
use std::marker::PhantomData;
use std::sync::Arc;
use std::time::Duration;

use bytes::{Buf, BytesMut};
use tokio::sync::mpsc;
use tokio::time::{Instant, Interval, MissedTickBehavior};
use tokio_rustls::rustls::ClientConfig;
use tracing::error;

use super::frame::{self, Frame, PUBLISH};
use super::socket::{Socket, tls_config};
use super::{
    CONNECT_TIMEOUT_S, Delivered, Event, Link, LinkError, LinkOptions, LinkSender, MAX_BATCH,
    Message,
};

/// Requests that may wait between the sending task and the polling one.
const REQUESTS: usize = 64;

/// The broker's CONNACK.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Greeting {
    /// The broker kept our session.
    pub session_present: bool,
    /// Messages of ours that may be unacknowledged at once, where the broker limits them.
    pub receive_maximum: Option<u16>,
    /// Largest packet that the broker takes, bytes, where it limits them.
    pub maximum_packet_size: Option<u32>,
    /// The keep-alive that the broker wants in place of ours.
    pub keep_alive: Option<u16>,
}

/// Reads and writes the packets of one version of MQTT.
pub trait Codec: Send + 'static {
    /// Appends the first packet; `limit` is the largest that can be received, bytes.
    fn connect(options: &LinkOptions, limit: usize, out: &mut BytesMut) -> Result<(), LinkError>;
    /// Takes the broker's answer to it, which is there as a whole.
    fn greeting(bytes: &mut BytesMut, limit: usize) -> Result<Greeting, LinkError>;
    /// Appends a subscription.
    fn subscribe(filters: &[(String, u8)], id: u16, out: &mut BytesMut) -> Result<(), LinkError>;
    /// Appends the end of subscriptions.
    fn unsubscribe(filters: &[String], id: u16, out: &mut BytesMut) -> Result<(), LinkError>;
    /// Appends a message of ours; `id` 0 with QoS 0.
    fn publish(message: &Message, id: u16, out: &mut BytesMut);
    /// Where the payload of a message begins, behind its packet id.
    fn payload(rest: &[u8]) -> Result<&[u8], LinkError>;
    /// The user properties of a message, names and values; none where there are no properties.
    fn user_properties(_rest: &[u8]) -> Vec<(String, String)> {
        Vec::new()
    }
    /// Takes a packet that is no message and is there as a whole; `None` for the answer to a ping.
    fn other(bytes: &mut BytesMut, limit: usize) -> Result<Option<Event>, LinkError>;
}

/// One connection.
pub struct Connection<C> {
    options: LinkOptions,
    tls: Option<Arc<ClientConfig>>,
    /// Largest packet that is received, bytes.
    limit: usize,
    socket: Option<Socket>,
    /// Bytes that have come and are not understood yet.
    read_buf: BytesMut,
    /// Bytes of a packet beyond the limit that are still to come: they are discarded.
    skip: usize,
    /// Bytes to write.
    out: BytesMut,
    requests: mpsc::Receiver<Request>,
    taken: Vec<Request>,
    /// Events that came with others, in order.
    events: VecDeque<Event>,
    greeting: Greeting,
    /// Begins with the connection.
    pings: Option<Interval>,
    /// A ping has no answer yet, nor has anything else come since.
    unanswered: bool,
    /// The last packet id of ours. The outbox has fewer messages under way than there are.
    last_id: u16,
    codec: PhantomData<C>,
}

/// Requests of the sending half.
enum Request {
    Publish(Message),
    Subscribe(Vec<(String, u8)>),
    Unsubscribe(Vec<String>),
    /// Send PUBACK for these packet ids.
    Acknowledge(Vec<u16>),
    Disconnect,
}

/// The sending half of a connection.
#[derive(Clone)]
pub struct ConnectionSender {
    requests: mpsc::Sender<Request>,
}

impl<C: Codec> Link for Connection<C> {
    type Options = LinkOptions;
    type Sender = ConnectionSender;

    fn open(
        options: &LinkOptions,
        limit: usize,
    ) -> Result<(ConnectionSender, Connection<C>), LinkError> {
        let (sender, requests) = mpsc::channel(REQUESTS);
        let link = Connection {
            options: options.clone(),
            tls: options.mqtt.tls.as_ref().map(tls_config).transpose()?,
            limit,
            socket: None,
            read_buf: BytesMut::new(),
            skip: 0,
            out: BytesMut::new(),
            requests,
            taken: Vec::with_capacity(REQUESTS),
            events: VecDeque::new(),
            greeting: Greeting::default(),
            pings: None,
            unanswered: false,
            last_id: 0,
            codec: PhantomData,
        };
        Ok((ConnectionSender { requests: sender }, link))
    }

    fn acknowledge(&mut self, packet_ids: impl Iterator<Item = u16>) -> bool {
        packet_ids.for_each(|id| frame::puback(id, &mut self.out));
        true
    }

    async fn next(
        &mut self,
        delivered: &mut Vec<Delivered>,
        read: bool,
    ) -> Result<Event, LinkError> {
        loop {
            self.write().await?;
            if let Some(event) = self.events.pop_front() {
                return Ok(event);
            }
            if self.socket.is_none() {
                return self.connect().await;
            }
            // Bytes that came with the CONNACK, or while nothing was to be read.
            if read && !self.read_buf.is_empty() {
                self.parse(delivered, std::time::Instant::now())?;
                if !delivered.is_empty() {
                    return Ok(Event::Delivered);
                }
                if !self.events.is_empty() {
                    continue;
                }
            }
            let Some(socket) = &mut self.socket else {
                continue;
            };
            let keep_alive = self
                .greeting
                .keep_alive
                .map(|s| Duration::from_secs(s.into()));
            let keep_alive = keep_alive.unwrap_or(self.options.mqtt.keep_alive);
            let pings = self.pings.get_or_insert_with(|| pings(keep_alive));
            // Packets that are not read cannot be missed.
            self.unanswered &= read;
            // Whatever is not chosen is dropped while it waits: neither a packet of which a part
            // has come nor a request is lost by that.
            tokio::select! {
                more = socket.read(&mut self.read_buf), if read => {
                    more?;
                    // Any packet is a sign of life: the answer to a ping may be behind a backlog.
                    self.unanswered = false;
                    self.receive(delivered).await?;
                    if !delivered.is_empty() {
                        return Ok(Event::Delivered);
                    }
                }
                n = self.requests.recv_many(&mut self.taken, REQUESTS) => {
                    if n == 0 {
                        return Err(gone(()));
                    }
                    self.encode()?;
                }
                _ = pings.tick() => {
                    if std::mem::replace(&mut self.unanswered, read) {
                        return Err(LinkError::Lost("the broker does not answer".to_owned()));
                    }
                    frame::ping(&mut self.out);
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

impl<C: Codec> Connection<C> {
    async fn connect(&mut self) -> Result<Event, LinkError> {
        let late = |_| LinkError::Lost("no connection in time".to_owned());
        let limit = Duration::from_secs(CONNECT_TIMEOUT_S);
        tokio::time::timeout(limit, self.handshake())
            .await
            .map_err(late)?
    }

    async fn handshake(&mut self) -> Result<Event, LinkError> {
        let mut socket = Socket::connect(&self.options.mqtt, self.tls.clone()).await?;
        C::connect(&self.options, self.limit, &mut self.out)?;
        socket.write(&mut self.out).await?;
        loop {
            match frame::next(&self.read_buf, self.limit)? {
                Frame::Whole { .. } => break,
                Frame::Large { .. } => return Err(frame::malformed("length")),
                Frame::Partial => socket.read(&mut self.read_buf).await?,
            }
        }
        self.greeting = C::greeting(&mut self.read_buf, self.limit)?;
        self.socket = Some(socket);
        Ok(Event::Connected {
            session_present: self.greeting.session_present,
            receive_maximum: self.greeting.receive_maximum,
        })
    }

    /// Takes what has come, and what need not be waited for.
    async fn receive(&mut self, delivered: &mut Vec<Delivered>) -> Result<(), LinkError> {
        let arrived = std::time::Instant::now();
        loop {
            self.parse(delivered, arrived)?;
            let Some(socket) = &mut self.socket else {
                return Ok(());
            };
            if delivered.len() >= MAX_BATCH {
                return Ok(());
            }
            if !socket.read_on(&mut self.read_buf).await? {
                socket.drained(delivered.len());
                return Ok(());
            }
        }
    }

    /// Takes the packets that have come as a whole, and what there is of one beyond the limit.
    fn parse(
        &mut self,
        delivered: &mut Vec<Delivered>,
        arrived: std::time::Instant,
    ) -> Result<(), LinkError> {
        let skipped = self.skip.min(self.read_buf.len());
        self.read_buf.advance(skipped);
        self.skip -= skipped;
        let mut at = 0;
        loop {
            let bytes = &self.read_buf[at..];
            let (from, to) = match frame::next(bytes, self.limit)? {
                Frame::Partial => break,
                Frame::Whole { from, to } => (from, to),
                Frame::Large { from, to } => {
                    let (head, body) = (bytes[0], &bytes[from..]);
                    let Some(message) = frame::head_of_message(head, body, to, arrived)? else {
                        break;
                    };
                    delivered.push(message);
                    let here = to.min(bytes.len());
                    self.skip = to - here;
                    at += here;
                    continue;
                }
            };
            let (head, body) = (bytes[0], &bytes[from..to]);
            if head & 0xf0 == PUBLISH {
                let (mut message, rest) = frame::message(head, body, arrived)?;
                message.payload = C::payload(rest)?.to_vec();
                message.properties = C::user_properties(rest);
                delivered.push(message);
                at += to;
            } else {
                self.read_buf.advance(std::mem::take(&mut at));
                self.events
                    .extend(C::other(&mut self.read_buf, self.limit)?);
            }
        }
        self.read_buf.advance(at);
        Ok(())
    }

    /// Encodes what is asked for.
    fn encode(&mut self) -> Result<(), LinkError> {
        let mut taken = std::mem::take(&mut self.taken);
        for request in taken.drain(..) {
            match request {
                Request::Publish(message) => {
                    let id = if message.qos > 0 { self.next_id() } else { 0 };
                    let before = self.out.len();
                    C::publish(&message, id, &mut self.out);
                    self.events.push_back(Event::Sent(id));
                    let size = self.out.len() - before;
                    let limit = self.greeting.maximum_packet_size;
                    if limit.is_some_and(|limit| size > limit as usize) {
                        error!(topic = %message.topic, size, limit, "the broker takes no message of this size: it is lost");
                        self.out.truncate(before);
                        self.events
                            .extend((id > 0).then_some(Event::Acknowledged(id)));
                    }
                }
                Request::Subscribe(filters) => {
                    let id = self.next_id();
                    C::subscribe(&filters, id, &mut self.out)?;
                }
                Request::Unsubscribe(filters) => {
                    let id = self.next_id();
                    C::unsubscribe(&filters, id, &mut self.out)?;
                }
                Request::Acknowledge(packet_ids) => {
                    let ids = packet_ids.into_iter();
                    ids.for_each(|id| frame::puback(id, &mut self.out));
                }
                Request::Disconnect => {
                    frame::disconnect(&mut self.out);
                    self.events.push_back(Event::Goodbye);
                }
            }
        }
        self.taken = taken;
        Ok(())
    }

    fn next_id(&mut self) -> u16 {
        self.last_id = self.last_id.checked_add(1).unwrap_or(1);
        self.last_id
    }

    /// Writes what is encoded. Nothing is lost where the future is dropped.
    async fn write(&mut self) -> Result<(), LinkError> {
        let Some(socket) = &mut self.socket else {
            return Ok(());
        };
        if self.out.is_empty() && !socket.is_unflushed() {
            return Ok(());
        }
        // A busy broker deserves as much patience as one that does not speak.
        let patience = self.options.mqtt.keep_alive;
        let patience = patience.max(Duration::from_secs(CONNECT_TIMEOUT_S));
        let silent = |_| LinkError::Lost("the broker reads nothing".to_owned());
        tokio::time::timeout(patience, socket.write(&mut self.out))
            .await
            .map_err(silent)?
    }
}

pub(super) fn gone<E>(_: E) -> LinkError {
    LinkError::Lost("the connection has ended".to_owned())
}

impl ConnectionSender {
    async fn ask(&self, request: Request) -> Result<(), LinkError> {
        self.requests.send(request).await.map_err(gone)
    }
}

impl LinkSender for ConnectionSender {
    async fn publish(&self, message: Message) -> Result<(), LinkError> {
        self.ask(Request::Publish(message)).await
    }

    async fn subscribe(&self, filters: &[(String, u8)]) -> Result<(), LinkError> {
        self.ask(Request::Subscribe(filters.to_vec())).await
    }

    async fn unsubscribe(&self, filters: &[String]) -> Result<(), LinkError> {
        self.ask(Request::Unsubscribe(filters.to_vec())).await
    }

    async fn ack(&self, packet_ids: Vec<u16>) -> Result<(), LinkError> {
        self.ask(Request::Acknowledge(packet_ids)).await
    }

    async fn disconnect(&self) -> Result<(), LinkError> {
        self.ask(Request::Disconnect).await
    }
}
