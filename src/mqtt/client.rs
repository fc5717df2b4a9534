//! Keeps a connection to the broker: one task polls and reconnects, another sends.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rand::RngExt;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use super::backoff::Backoff;
use super::outbox::{Dropped, Outbox};
use super::queue::Intake;
use super::sending::{send_all, status};
use super::{Delivered, Event, Link, LinkError, Message};
use crate::metrics::Class;
use crate::status::{Role, Status, lock};

/// Packets up to here are received whatever the settings say, and judged afterwards: refusing
/// them at the connection would end it each time that the broker tries again.
const PACKET_LIMIT: usize = 16 << 20;
/// MQTT's own limit, for the one connection that gets rid of a packet beyond [`PACKET_LIMIT`].
const PACKET_MAX: usize = 268_435_455 + 5;
/// Connections lost to an oversized packet before that is done.
const POISON_PATIENCE: u32 = 3;
/// Time for the last packet to leave.
const GOODBYE: Duration = Duration::from_millis(500);

/// An acknowledgement to send, for the connection that its message came over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Epoch of the connection.
    pub epoch: u64,
    /// Packet id.
    pub packet_id: u16,
}

impl Ack {
    /// What acknowledges a message; `None` with QoS 0.
    pub fn of(message: &Delivered) -> Option<Ack> {
        (message.packet_id != 0).then_some(Ack {
            epoch: message.epoch,
            packet_id: message.packet_id,
        })
    }
}

/// The outbox and the bell that wakes the sending task.
#[derive(Clone, Debug)]
pub struct Out {
    pub(super) outbox: Arc<Mutex<Outbox>>,
    pub(super) bell: Arc<Notify>,
    shared: Arc<Status>,
}

impl Out {
    /// To `outbox`.
    pub fn new(outbox: Outbox, shared: Arc<Status>) -> Out {
        Out {
            outbox: Arc::new(Mutex::new(outbox)),
            bell: Arc::default(),
            shared,
        }
    }

    /// Takes a message; never waits.
    pub fn push(&self, message: Message) {
        self.push_all([message]);
    }

    /// Takes messages in order, so that they are sent together; never waits.
    pub fn push_all(&self, messages: impl IntoIterator<Item = Message>) {
        let mut dropped = Dropped::default();
        {
            let mut outbox = lock(&self.outbox);
            for message in messages {
                dropped += outbox.push(message);
            }
        }
        self.bell.notify_one();
        let metrics = &self.shared.metrics;
        if dropped.predictions > 0 {
            metrics.outbox_dropped(Class::Prediction, dropped.predictions);
        }
        if dropped.kept > 0 {
            metrics.outbox_dropped(Class::Anomaly, dropped.kept);
            error!(
                lost = dropped.kept,
                "the outbox is full of anomaly messages: the oldest is lost"
            );
        }
    }

    /// A prediction would find room.
    pub fn has_room(&self) -> bool {
        lock(&self.outbox).has_room()
    }

    /// Messages that wait or are not acknowledged.
    pub fn len(&self) -> usize {
        lock(&self.outbox).len()
    }

    /// Nothing waits and everything is acknowledged.
    pub fn is_empty(&self) -> bool {
        lock(&self.outbox).is_empty()
    }
}

/// What the client is started with.
pub struct Client<L: Link> {
    /// Which of the two connections it keeps.
    pub side: Role,
    /// How to connect.
    pub options: L::Options,
    /// What to subscribe to, with QoS.
    pub filters: Vec<(String, u8)>,
    /// The same, where a refusal is borne: behind the others.
    pub optional: Vec<(String, u8)>,
    /// Topic of the retained status, where this connection says it.
    pub status_topic: Option<Arc<str>>,
    /// Longest wait between attempts.
    pub reconnect_max: Duration,
    /// Where messages go.
    pub intake: Intake,
    /// Messages to publish.
    pub outbox: Outbox,
    /// Messages are acknowledged as soon as they are in the intake queue, since nothing is kept of
    /// them on disk; otherwise whoever takes them from there sees to it.
    pub acks_at_once: bool,
    /// Flags and metrics.
    pub shared: Arc<Status>,
    /// Told the number of each acknowledged message that is kept on disk.
    pub delivered: OnDelivered,
}

/// Told the number of each acknowledged message that is kept on disk.
pub type OnDelivered = Box<dyn Fn(u64) + Send + Sync>;

/// A running client.
#[derive(Debug)]
pub struct ClientHandles {
    /// Messages to publish go here.
    pub out: Out,
    /// Acknowledgements go here.
    pub acks: mpsc::UnboundedSender<Vec<Ack>>,
    stop: watch::Sender<Stop>,
    polling: JoinHandle<()>,
    sending: JoinHandle<()>,
    status_topic: Option<Arc<str>>,
    side: Role,
}

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Not at all.
    Running,
    /// Say goodbye.
    Disconnect,
    /// End.
    Now,
}

/// Ends when the end has come as far as `stage`.
pub(super) async fn reached(stop: &mut watch::Receiver<Stop>, stage: Stop) {
    // An error means that every handle is gone: nobody waits for an answer any more.
    let _ = stop.wait_for(|now| *now == stage).await;
}

/// What the polling task tells the sending one.
pub(super) enum Control<S> {
    Connected(u64, S),
    Lost,
}

struct Polling<L: Link> {
    client: Arc<ClientParts<L>>,
    controls: mpsc::UnboundedSender<Control<L::Sender>>,
    acks: mpsc::UnboundedSender<Vec<Ack>>,
    stop: watch::Receiver<Stop>,
}

pub(super) struct ClientParts<L: Link> {
    side: Role,
    pub(super) options: L::Options,
    /// Needed ones first.
    pub(super) filters: Vec<(String, u8)>,
    needed: usize,
    pub(super) status_topic: Option<Arc<str>>,
    pub(super) reconnect_max: Duration,
    pub(super) intake: Intake,
    acks_at_once: bool,
    pub(super) out: Out,
    pub(super) shared: Arc<Status>,
    pub(super) epoch: AtomicU64,
    pub(super) delivered: OnDelivered,
}

/// Starts the two tasks on the current tokio runtime.
pub fn start<L: Link>(client: Client<L>) -> ClientHandles {
    let out = Out::new(client.outbox, client.shared.clone());
    let parts = Arc::new(ClientParts::<L> {
        side: client.side,
        options: client.options,
        needed: client.filters.len(),
        filters: [client.filters, client.optional].concat(),
        status_topic: client.status_topic.clone(),
        reconnect_max: client.reconnect_max,
        intake: client.intake,
        acks_at_once: client.acks_at_once,
        out: out.clone(),
        shared: client.shared,
        epoch: AtomicU64::new(0),
        delivered: client.delivered,
    });
    let (controls_tx, controls_rx) = mpsc::unbounded_channel();
    // Bounded by the broker's own window of unacknowledged messages.
    let (acks_tx, acks_rx) = mpsc::unbounded_channel();
    let (stop_tx, stop_rx) = watch::channel(Stop::Running);
    let goodbye = stop_rx.clone();
    let polling = Polling {
        client: parts.clone(),
        controls: controls_tx,
        acks: acks_tx.clone(),
        stop: stop_rx,
    };
    ClientHandles {
        out,
        acks: acks_tx,
        stop: stop_tx,
        polling: tokio::spawn(polling.run()),
        sending: tokio::spawn(send_all(parts, controls_rx, acks_rx, goodbye)),
        status_topic: client.status_topic,
        side: client.side,
    }
}

/// Why a connection ended.
enum End {
    Stopped,
    /// The error, and for how long the connection had been subscribed.
    Lost(LinkError, Option<Duration>),
}

impl<L: Link> Polling<L> {
    async fn run(mut self) {
        let mut backoff = Backoff::new(self.client.reconnect_max);
        let mut poisoned = 0;
        loop {
            let limit = if poisoned >= POISON_PATIENCE {
                PACKET_MAX
            } else {
                PACKET_LIMIT
            };
            let (error, held) = match self.one_connection(limit).await {
                End::Stopped => return,
                End::Lost(error, held) => (error, held),
            };
            poisoned = self.note_loss(&error, poisoned);
            backoff.lost(held);
            let wait = backoff.wait(rand::rng().random::<f64>());
            warn!(side = ?self.client.side, %error, wait_s = wait.as_secs_f64(), "no connection to the broker, trying again");
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                () = reached(&mut self.stop, Stop::Now) => return,
            }
        }
    }

    /// Notes that a connection ended; returns how many in a row were lost to oversized packets.
    fn note_loss(&self, error: &LinkError, poisoned: u32) -> u32 {
        let shared = &self.client.shared;
        shared.set_connected(self.client.side, false);
        shared.metrics.broker_failures.inc();
        let resent = lock(&self.client.out.outbox).connection_lost();
        shared.metrics.resent.inc_by(resent);
        // The sending task ends with this one, never before it.
        let _ = self.controls.send(Control::Lost);
        match error {
            LinkError::TooBig(bytes) => {
                shared.metrics.poison_packets.inc();
                warn!(
                    bytes,
                    limit = PACKET_LIMIT,
                    "a packet is too large to be received; the broker delivers it again at each connection"
                );
                poisoned + 1
            }
            LinkError::Refused(_) | LinkError::Settings(_) | LinkError::Lost(_) => 0,
        }
    }

    async fn one_connection(&mut self, limit: usize) -> End {
        let epoch = self.client.epoch.fetch_add(1, Ordering::AcqRel) + 1;
        let (sender, mut link) = match L::open(&self.client.options, limit) {
            Ok(halves) => halves,
            Err(error) => return End::Lost(error, None),
        };
        let mut subscribed_since: Option<Instant> = None;
        let (mut delivered, mut dropped) = (Vec::new(), Vec::new());
        loop {
            let event = tokio::select! {
                event = link.next(&mut delivered) => event,
                () = reached(&mut self.stop, Stop::Now) => return End::Stopped,
            };
            if !delivered.is_empty() {
                self.take(&mut link, (epoch, &mut delivered, &mut dropped))
                    .await;
            }
            let event = match event {
                Ok(event) => event,
                Err(error) => return End::Lost(error, subscribed_since.map(|at| at.elapsed())),
            };
            match event {
                Event::Connected { session_present } => {
                    info!(side = ?self.client.side, session_present, "connected to the broker");
                    self.client.shared.set_connected(self.client.side, true);
                    self.client.shared.metrics.broker_connections.inc();
                    if self.client.filters.is_empty() {
                        subscribed_since = Some(Instant::now());
                    }
                    lock(&self.client.out.outbox).connected(epoch);
                    let _ = self
                        .controls
                        .send(Control::Connected(epoch, sender.clone()));
                }
                Event::Subscribed(granted) => {
                    if self.note_subscribed(&granted) {
                        subscribed_since = Some(Instant::now());
                    }
                }
                Event::Sent(packet_id) => self.note_sent(packet_id),
                Event::Acknowledged(packet_id) => {
                    self.note_acknowledged(packet_id);
                    self.client.out.bell.notify_one();
                }
                Event::Goodbye => return End::Stopped,
                Event::Delivered | Event::Other => {}
            }
        }
    }

    /// True where every filter was granted.
    fn note_subscribed(&self, granted: &[bool]) -> bool {
        let mut all = true;
        let answers = self.client.filters.iter().zip(granted);
        for (idx, ((filter, _), _)) in answers.enumerate().filter(|(_, (_, granted))| !**granted) {
            if idx < self.client.needed {
                all = false;
                error!(filter, "the broker refuses the subscription");
            } else {
                warn!(filter, "the broker refuses the subscription: we do without");
            }
        }
        self.client.shared.set_subscribed(all);
        if all {
            info!(filters = self.client.filters.len(), "subscribed");
        }
        all
    }

    async fn take(
        &self,
        link: &mut L,
        (epoch, delivered, dropped): (u64, &mut Vec<Delivered>, &mut Vec<Delivered>),
    ) {
        let metrics = &self.client.shared.metrics;
        metrics.messages_received.inc_by(delivered.len() as u64);
        let mut acks = Vec::new();
        for message in delivered.iter_mut() {
            message.epoch = epoch;
            if self.client.acks_at_once {
                acks.extend(Ack::of(message));
            }
        }
        // Once the queue is closed, what comes is the broker's.
        let taken = self.client.intake.offer(delivered, dropped).await;
        if !taken {
            acks.clear();
        }
        metrics.messages_dropped.inc_by(dropped.len() as u64);
        let dropped = dropped.drain(..);
        if !self.client.acks_at_once {
            // Given up: without their acknowledgements the broker would stop delivering.
            acks.extend(dropped.filter_map(|message| Ack::of(&message)));
        }
        if acks.is_empty() {
            return;
        }
        let ids = acks.iter().map(|ack| ack.packet_id);
        if link.acknowledge(ids) {
            metrics.acks.inc_by(acks.len() as u64);
        } else {
            // The sending task ends with this one.
            let _ = self.acks.send(acks);
        }
    }

    fn note_acknowledged(&self, packet_id: u16) {
        let mut outbox = lock(&self.client.out.outbox);
        outbox.acknowledged(packet_id);
        let delivered = outbox.take_delivered();
        drop(outbox);
        delivered.into_iter().for_each(&*self.client.delivered);
    }

    fn note_sent(&self, packet_id: u16) {
        let Some(message) = lock(&self.client.out.outbox).sent(packet_id) else {
            return;
        };
        let metrics = &self.client.shared.metrics;
        metrics.published(message.class);
        if let (Class::Prediction, Some(arrived)) = (message.class, message.arrived) {
            metrics.latency(arrived.elapsed());
        }
    }
}

impl ClientHandles {
    /// Flushes the outbox, says `offline` and disconnects, until `deadline` at the latest.
    /// Returns whether everything was acknowledged.
    pub async fn finish(self, deadline: tokio::time::Instant, shared: &Status) -> bool {
        // The last moments belong to the goodbye.
        let drain_until = deadline - GOODBYE;
        let mut clean = self.drained(drain_until, shared).await;
        if let Some(topic) = &self.status_topic {
            self.out.push(status(topic, "offline"));
        }
        clean &= self.drained(drain_until, shared).await;
        let ClientHandles {
            stop,
            mut polling,
            mut sending,
            ..
        } = self;
        let _ = stop.send(Stop::Disconnect);
        // The sending task asks for the goodbye, the polling task sends it and ends.
        if tokio::time::timeout(GOODBYE, &mut sending).await.is_err() {
            sending.abort();
            clean = false;
        }
        if tokio::time::timeout(GOODBYE, &mut polling).await.is_err() {
            let _ = stop.send(Stop::Now);
            if tokio::time::timeout(GOODBYE, &mut polling).await.is_err() {
                polling.abort();
            }
        }
        clean
    }

    /// Waits until everything is acknowledged. Without a connection nothing can be.
    async fn drained(&self, deadline: tokio::time::Instant, shared: &Status) -> bool {
        loop {
            if self.out.is_empty() {
                return true;
            }
            if tokio::time::Instant::now() >= deadline || !shared.is_connected(self.side) {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
