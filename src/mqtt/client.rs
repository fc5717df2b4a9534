//! Keeps a connection to the broker: one task polls and reconnects, another sends.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use rand::RngExt;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tracing::{error, info, warn};

use super::backoff::Backoff;
use super::broker_drops::BrokerDrops;
use super::client_parts::{ClientParts, Connected, OnDelivered, OpenLink, Stop, reached};
use super::out::{Ack, Out};
use super::outbox::Outbox;
use super::queue::Intake;
use super::sending::send_all;
use super::subscriptions::{Filters, Subscriptions};
use super::window::Window;
use super::{DROPPED_TOPIC, Delivered, Event, Link, LinkError, Message};
use crate::metrics::Class;
use crate::progress::{BEAT_EVERY, Pulse};
use crate::status::{ConnectionRole, Status, lock};

/// Bytes of a packet beyond its payload at most: topic, packet id, properties.
const PACKET_OVERHEAD: usize = 70_000;
/// Connections lost in a row, each soon after it was accepted, before a reason is guessed.
const SHORT_LIVED: u32 = 3;
/// A connection that is lost sooner is short-lived.
const SOON: Duration = Duration::from_secs(30);
/// Time for the last packet to leave.
const GOODBYE: Duration = Duration::from_millis(500);

/// Settings that the client is started with.
pub struct Client<L: Link> {
    /// Which of the two connections it keeps.
    pub side: ConnectionRole,
    /// How to connect.
    pub options: L::Options,
    /// Topics to subscribe to.
    pub filters: Filters,
    /// Topic of the retained status, where this connection says it.
    pub status_topic: Option<Arc<str>>,
    /// Longest wait between attempts.
    pub reconnect_max: Duration,
    /// Where messages go.
    pub intake: Intake,
    /// Messages to publish.
    pub outbox: Outbox,
    /// Largest payload that is received, bytes.
    pub max_payload_bytes: usize,
    /// Messages are acknowledged as soon as they are in the intake queue, since nothing is kept of
    /// them on disk; otherwise whoever takes them from there sees to it.
    pub acks_at_once: bool,
    /// Flags and metrics.
    pub shared: Arc<Status>,
    /// Nothing is connected before this is true.
    pub may_connect: watch::Receiver<bool>,
    /// Told the number of each acknowledged message that is kept on disk.
    pub delivered: OnDelivered,
}

/// A running client.
#[derive(Debug)]
pub struct ClientHandles {
    /// Messages to publish go here.
    pub out: Out,
    /// Acknowledgements go here.
    pub acks: mpsc::UnboundedSender<Vec<Ack>>,
    /// Topics subscribed to; others may be put in their place.
    pub filters: watch::Sender<Filters>,
    stop: watch::Sender<Stop>,
    polling: JoinHandle<()>,
    sending: JoinHandle<()>,
    status_topic: Option<Arc<str>>,
    side: ConnectionRole,
}

struct Polling<L: Link> {
    client: Arc<ClientParts<L>>,
    connected: watch::Sender<Connected<L::Sender>>,
    acks: mpsc::UnboundedSender<Vec<Ack>>,
    stop: watch::Receiver<Stop>,
    may_connect: watch::Receiver<bool>,
    pulse: Arc<Pulse>,
    drops: BrokerDrops,
}

/// Starts the two tasks on the current tokio runtime.
pub fn start<L: Link>(client: Client<L>) -> ClientHandles {
    let out = Out::new(client.outbox, client.shared.clone());
    let (filters, wanted) = watch::channel(client.filters);
    let parts = Arc::new(ClientParts::<L> {
        side: client.side,
        options: client.options,
        subscriptions: Subscriptions::new(wanted),
        status_topic: client.status_topic.clone(),
        reconnect_max: client.reconnect_max,
        intake: client.intake,
        max_payload_bytes: client.max_payload_bytes,
        acks_at_once: client.acks_at_once,
        out: out.clone(),
        shared: client.shared,
        epoch: AtomicU64::new(0),
        delivered: client.delivered,
    });
    let (connected_tx, connected_rx) = watch::channel(None);
    // Bounded by MQTT: without an acknowledgement a packet id is given away once, and there are 65,535.
    let (acks_tx, acks_rx) = mpsc::unbounded_channel();
    let (stop_tx, stop_rx) = watch::channel(Stop::Running);
    let goodbye = stop_rx.clone();
    let polling = Polling {
        client: parts.clone(),
        connected: connected_tx,
        acks: acks_tx.clone(),
        stop: stop_rx,
        may_connect: client.may_connect,
        pulse: parts
            .shared
            .pulses
            .add(format!("{:?}-connection", parts.side)),
        drops: BrokerDrops::default(),
    };
    ClientHandles {
        out,
        acks: acks_tx,
        filters,
        stop: stop_tx,
        polling: tokio::spawn(polling.run()),
        sending: tokio::spawn(send_all(parts, connected_rx, acks_rx, goodbye)),
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
        let mut short_lived = 0;
        while !*self.may_connect.borrow() {
            self.pulse.beat();
            tokio::select! {
                // An error means that the start was given up: the end is near.
                may = self.may_connect.changed() => if may.is_err() { return self.pulse.end() },
                _ = self.stop.wait_for(|stop| *stop != Stop::Running) => return self.pulse.end(),
                () = tokio::time::sleep(BEAT_EVERY) => {}
            }
        }
        loop {
            self.pulse.beat();
            let limit = self.client.max_payload_bytes + PACKET_OVERHEAD;
            let (error, held) = match self.one_connection(limit).await {
                End::Stopped => return self.pulse.end(),
                End::Lost(error, held) => (error, held),
            };
            self.note_loss();
            short_lived = match held {
                Some(held) if held < SOON => short_lived + 1,
                _ => 0,
            };
            if error == LinkError::TakenOver || short_lived >= SHORT_LIVED {
                short_lived = 0;
                warn!(
                    side = ?self.client.side,
                    "connections end soon after they begin: perhaps another client has the same mqtt.client_id"
                );
            }
            backoff.lost(held);
            if matches!(error, LinkError::Refused(_) | LinkError::Settings(_)) {
                backoff.refused();
                error!(side = ?self.client.side, %error, "the broker does not take us: somebody has to act");
            }
            let wait = backoff.wait(rand::rng().random::<f64>());
            warn!(side = ?self.client.side, %error, wait_s = wait.as_secs_f64(), "no connection to the broker, trying again");
            let until = tokio::time::Instant::now() + wait;
            while tokio::time::Instant::now() < until {
                self.pulse.beat();
                tokio::select! {
                    () = tokio::time::sleep_until(until) => {}
                    () = tokio::time::sleep(BEAT_EVERY) => {}
                    () = reached(&mut self.stop, Stop::Now) => return self.pulse.end(),
                }
            }
        }
    }

    /// Notes that a connection ended.
    fn note_loss(&self) {
        let shared = &self.client.shared;
        shared.set_connected(self.client.side, false);
        shared.metrics.broker_failures.inc();
        let resent = lock(&self.client.out.outbox).connection_lost();
        shared.metrics.resent.inc_by(resent);
        self.client.subscriptions.connection_lost();
        self.connected.send_replace(None);
    }

    async fn one_connection(&mut self, limit: usize) -> End {
        let epoch = self.client.epoch.fetch_add(1, Ordering::AcqRel) + 1;
        let (sender, mut link) = match L::open(&self.client.options, limit) {
            Ok(halves) => halves,
            Err(error) => return End::Lost(error, None),
        };
        let mut subscribed_since: Option<Instant> = None;
        // Whether the subscription has its answer, or messages of it, once it is sent.
        let mut answered = None;
        let mut delivered = Vec::new();
        // Messages that found no room yet: nothing is read before they have it.
        let mut waiting = VecDeque::new();
        let metrics = &self.client.shared.metrics;
        let mut window = Window::new(metrics.acks.get(), Instant::now());
        loop {
            let event = {
                let mut next = std::pin::pin!(link.next(&mut delivered, waiting.is_empty()));
                loop {
                    self.pulse.beat();
                    tokio::select! {
                        event = &mut next => break Some(event),
                        () = self.client.intake.room(), if !waiting.is_empty() => break None,
                        () = reached(&mut self.stop, Stop::Now) => return End::Stopped,
                        () = tokio::time::sleep(BEAT_EVERY) => {}
                    }
                }
            };
            if !delivered.is_empty() {
                answered = Some(true);
                self.note_window(&mut window, &delivered);
            }
            for message in delivered.drain(..) {
                if message.topic == DROPPED_TOPIC {
                    self.drops.note(&message.payload, &self.client.shared);
                    continue;
                }
                self.client.shared.metrics.messages_received.inc();
                waiting.push_back(Delivered { epoch, ..message });
            }
            if !waiting.is_empty() {
                self.hand_over(&mut link, &mut waiting);
            }
            let Some(event) = event else { continue };
            let event = match event {
                Ok(event) => event,
                Err(error) => {
                    self.hand_over_all(&mut link, &mut waiting).await;
                    if answered == Some(false) {
                        self.client.subscriptions.go_without_figures();
                    }
                    return End::Lost(error, subscribed_since.map(|at| at.elapsed()));
                }
            };
            match event {
                Event::Connected {
                    session_present,
                    receive_maximum,
                } => {
                    info!(side = ?self.client.side, session_present, "connected to the broker");
                    self.client.shared.set_connected(self.client.side, true);
                    // The session has its subscriptions. That they are granted anew is said behind all
                    // that the broker has kept for it.
                    if session_present && self.client.subscriptions.is_needed() {
                        self.client.shared.set_subscribed(true);
                        subscribed_since = Some(Instant::now());
                    }
                    self.client.shared.metrics.broker_connections.inc();
                    if self.client.subscriptions.is_empty() {
                        subscribed_since = Some(Instant::now());
                    }
                    lock(&self.client.out.outbox).connected(epoch, receive_maximum);
                    let sender = sender.clone();
                    self.connected
                        .send_replace(Some(OpenLink { epoch, sender }));
                    answered = Some(self.client.subscriptions.is_empty());
                }
                Event::Subscribed(granted) => {
                    answered = Some(true);
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

    /// Notes where the broker waits for acknowledgements before it sends more.
    fn note_window(&self, window: &mut Window, delivered: &[Delivered]) {
        let shared = &self.client.shared;
        let came = delivered.iter().filter(|message| message.packet_id != 0);
        let is_full = window.note(
            came.count() as u64,
            shared.metrics.acks.get(),
            Instant::now(),
        );
        if is_full && self.client.side == ConnectionRole::Subscriber && !self.client.acks_at_once {
            shared.note_window_full();
        }
    }

    /// True where every filter was granted.
    fn note_subscribed(&self, granted: &[bool]) -> bool {
        let asked = self.client.subscriptions.take_asked();
        let mut all = true;
        let filters = asked.needed.iter().chain(&asked.optional);
        let refused = filters.zip(granted).enumerate();
        for (idx, ((filter, _), _)) in refused.filter(|(_, (_, granted))| !**granted) {
            if idx < asked.needed.len() {
                all = false;
                error!(filter, "the broker refuses the subscription");
            } else if filter.starts_with('$') {
                info!(filter, "the broker does not tell its own figures");
            } else {
                warn!(filter, "the broker refuses the subscription: we do without");
            }
        }
        if asked.needed.is_empty() {
            return all;
        }
        self.client.shared.set_subscribed(all);
        if all {
            let filters = asked.needed.len() + asked.optional.len();
            info!(filters, "subscribed");
        }
        all
    }

    /// Moves messages to the intake queue as far as it has room.
    fn hand_over(&self, link: &mut L, waiting: &mut VecDeque<Delivered>) {
        let metrics = &self.client.shared.metrics;
        let mut acks: Vec<Ack> = Vec::new();
        if self.client.acks_at_once {
            acks.extend(waiting.iter().filter_map(Ack::of));
        }
        let came = waiting.len();
        metrics
            .messages_dropped
            .inc_by(self.client.intake.put(waiting));
        if !waiting.is_empty() {
            self.client.shared.note_behind();
        }
        if !self.client.acks_at_once || came == 0 {
            return;
        }
        // Those that wait for room, the last ones, are acknowledged once they have it. Once the queue is
        // closed, what comes is the broker's.
        let left = waiting.iter().filter_map(Ack::of).count();
        acks.truncate(acks.len() - left);
        if self.client.intake.is_closed() || acks.is_empty() {
            return;
        }
        if link.acknowledge(acks.iter().map(|ack| ack.packet_id)) {
            metrics.acks.inc_by(acks.len() as u64);
        } else {
            // The sending task ends with this one.
            let _ = self.acks.send(acks);
        }
    }

    /// Moves all messages to the intake queue, as there is room: what was read is taken, though its
    /// connection has ended.
    async fn hand_over_all(&mut self, link: &mut L, waiting: &mut VecDeque<Delivered>) {
        while !waiting.is_empty() {
            self.pulse.beat();
            self.hand_over(link, waiting);
            if !waiting.is_empty() {
                tokio::select! {
                    () = self.client.intake.room() => {}
                    () = reached(&mut self.stop, Stop::Now) => return,
                    () = tokio::time::sleep(BEAT_EVERY) => {}
                }
            }
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
            self.out.push(Message::status(topic, "offline"));
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
