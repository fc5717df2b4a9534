//! The broker: one small trait over client libraries, a connection that comes back, an outbox.
//!
//! Known properties of rumqttc 0.25.1, and how they are met:
//!
//! | fact | remedy |
//! |---|---|
//! | polling has no back-off | [`backoff`]: doubling with jitter, reset by a subscribed connection that held |
//! | QoS 1 publishes are lost over a reconnect | [`outbox`]: kept until their PUBACK, sent again by us |
//! | a collision outlives its session; acks outlive their connection | client and event loop are built anew for each connection; acks carry its epoch |
//! | a packet over the limit ends every connection of a persistent session | its body is discarded as it comes, and it is acknowledged |
//! | publishing from the polling task deadlocks | one task polls, another sends |
//! | a write that waits stops the reading | one connection receives, another publishes |
//! | an event a poll, a write to the socket a request, reads of 8 KB, no say in when TCP acknowledges | a [`connection`] over a [`socket`] of our own; the library's codecs only |
//! | subscriptions end with the session | subscribed anew at every CONNACK, refusals are errors |

pub mod backoff;
mod broker_drops;
mod client;
mod client_parts;
mod connection;
mod frame;
mod misuse;
mod out;
pub mod outbox;
mod probe;
mod queue;
mod sending;
mod socket;
mod subscriptions;
mod v311;
mod v5;
mod window;

use std::future::Future;
use std::sync::Arc;
use std::time::Instant;

use crate::config::MqttSettings;
use crate::metrics::Class;
use crate::row::Reading;

pub use client::{Client, ClientHandles, start};
#[cfg(feature = "jetstream")]
pub use misuse::TlsPeer;
pub use out::{Ack, Out};
pub use probe::{ask, listen, probe};
pub use queue::Intake;
pub use socket::tls_config;
pub use subscriptions::Filters;
pub use v5::V5;
pub use v311::V4;

/// Where mosquitto publishes the number of messages that it has dropped since its start.
pub const DROPPED_TOPIC: &str = "$SYS/broker/publish/messages/dropped";
/// Time for TCP, TLS and CONNACK together, seconds.
const CONNECT_TIMEOUT_S: u64 = 5;
/// Messages that are handed over together at most.
const MAX_BATCH: usize = 2048;

/// Settings of the connections.
#[derive(Clone, Debug)]
pub struct LinkOptions {
    /// The broker.
    pub mqtt: MqttSettings,
    /// Topic of the status, for the will; `None` for no will.
    pub status_topic: Option<String>,
    /// The broker forgets us when we go.
    pub clean_session: bool,
}

/// A message that the broker delivered.
#[derive(Clone, Debug)]
pub struct Delivered {
    /// Topic.
    pub topic: String,
    /// Payload.
    pub payload: Vec<u8>,
    /// Packet id; 0 with QoS 0, where nothing is acknowledged.
    pub packet_id: u16,
    /// Delivered before, perhaps.
    pub dup: bool,
    /// Kept by the broker from before we subscribed.
    pub retain: bool,
    /// Connection that it came over.
    pub epoch: u64,
    /// When it came.
    pub arrived: Instant,
    /// Whether there is anything to read in it.
    pub fate: Fate,
    /// User properties of MQTT 5, names and values.
    pub properties: Vec<(String, String)>,
    /// Its place in a journal that several workers read; `None` where a broker delivered it.
    pub journal: Option<JournalPlace>,
}

/// A message's place in a journal.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct JournalPlace {
    /// Its number.
    pub sequence: u64,
    /// When the journal took it, unix milliseconds.
    pub stored_ms: i64,
    /// Grows whenever the journal is read anew from an earlier message.
    pub generation: u64,
    /// Messages behind it.
    pub pending: u64,
}

/// Fate of a message on its way to the intake thread, which acknowledges all of them in their
/// order.
#[derive(Clone, Debug, PartialEq)]
pub enum Fate {
    /// It is there.
    Whole,
    /// It was accepted before the start: these are its readings, and there is nothing else in it.
    Accepted(Vec<Reading>),
    /// It was larger than what is received, so many bytes: the payload was discarded.
    TooBig(usize),
    /// The queue was full of newer ones: the payload was discarded.
    Dropped,
}

/// A message to publish.
#[derive(Clone, Debug)]
pub struct Message {
    /// Topic.
    pub topic: Arc<str>,
    /// Payload.
    pub payload: Vec<u8>,
    /// 0 or 1.
    pub qos: u8,
    /// Kept by the broker for later subscribers.
    pub retain: bool,
    /// Its kind.
    pub class: Class,
    /// Arrival of the reading that it answers, if it answers one.
    pub arrived: Option<Instant>,
    /// Number under which it is kept on disk until its PUBACK, if it is.
    pub kept: Option<u64>,
}

impl Message {
    /// The status of a daemon, or of all workers of a cluster together: retained, by QoS 1.
    pub fn status(topic: &Arc<str>, text: &str) -> Message {
        Message {
            topic: topic.clone(),
            payload: text.into(),
            qos: 1,
            retain: true,
            class: Class::Status,
            arrived: None,
            kept: None,
        }
    }
}

/// Events of a connection.
#[derive(Clone, Debug)]
pub enum Event {
    /// The broker accepted the connection; it may remember our session.
    Connected {
        /// The broker kept our session: subscriptions and unacknowledged messages.
        session_present: bool,
        /// Messages of ours that may be unacknowledged at once, where the broker limits them.
        receive_maximum: Option<u16>,
    },
    /// The broker answered a subscription: whether it granted each filter, in order.
    Subscribed(Vec<bool>),
    /// Messages came: they are in the list that [`Link::next`] was given.
    Delivered,
    /// A message of ours is on its way; the packet id is 0 with QoS 0.
    Sent(u16),
    /// The broker acknowledged a message of ours.
    Acknowledged(u16),
    /// Our goodbye is on its way.
    Goodbye,
    /// Anything else: pings and the like.
    Other,
}

/// Why a connection ended.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum LinkError {
    /// Another client has connected under our client id.
    #[error("another client has connected under the same client id")]
    TakenOver,
    /// The broker refused us.
    #[error("refused by the broker: {}", misuse::of_connack(.0))]
    Refused(String),
    /// The settings cannot be used, or not with this broker.
    #[error("{0}")]
    Settings(String),
    /// Anything else.
    #[error("{0}")]
    Lost(String),
}

/// The sending half of one connection. Its futures end with an error when the connection ends.
pub trait LinkSender: Clone + Send + Sync + 'static {
    /// Hands a message to the connection.
    fn publish(&self, message: Message) -> impl Future<Output = Result<(), LinkError>> + Send;
    /// Subscribes to filters with their QoS.
    fn subscribe(
        &self,
        filters: &[(String, u8)],
    ) -> impl Future<Output = Result<(), LinkError>> + Send;
    /// Has the broker drop filters.
    fn unsubscribe(&self, filters: &[String])
    -> impl Future<Output = Result<(), LinkError>> + Send;
    /// Acknowledges delivered messages.
    fn ack(&self, packet_ids: Vec<u16>) -> impl Future<Output = Result<(), LinkError>> + Send;
    /// Says goodbye.
    fn disconnect(&self) -> impl Future<Output = Result<(), LinkError>> + Send;
}

/// One connection, from its first packet to its end; never used again after an error.
pub trait Link: Sized + Send + 'static {
    /// Settings of the connections.
    type Options: Send + Sync + 'static;
    /// The sending half.
    type Sender: LinkSender;

    /// A connection to come: the first [`Link::next`] makes it. Of packets larger than `limit`, bytes,
    /// the payload is discarded.
    ///
    /// # Errors
    /// If the options cannot be used.
    fn open(options: &Self::Options, limit: usize) -> Result<(Self::Sender, Self), LinkError>;

    /// Acknowledges messages that [`Link::next`] delivered, with its next call; false where only the
    /// sending half can.
    fn acknowledge(&mut self, _packet_ids: impl Iterator<Item = u16>) -> bool {
        false
    }

    /// The next event. Messages that have come are appended to `delivered`, as many as are there
    /// up to [`MAX_BATCH`]; also with an error, and with other events that came among them. Unless
    /// `read`, nothing is read, but pings and requests are sent. Nothing is lost where the future is
    /// dropped, once the connection is accepted.
    fn next(
        &mut self,
        delivered: &mut Vec<Delivered>,
        read: bool,
    ) -> impl Future<Output = Result<Event, LinkError>> + Send;
}
