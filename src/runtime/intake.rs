//! The intake thread: messages to numbered readings, group commits, acknowledgements.

use std::collections::VecDeque;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Sender, bounded};
use tokio::sync::mpsc::UnboundedSender;
use tracing::{error, info};

use super::balance::Dispatch;
use super::store::{Accepted, Delivery, Store};
use crate::decode::{Decoder, Message};
use crate::mqtt::{Ack, Delivered, Intake};
use crate::payload::{Refused, Reject};
use crate::row::Reading;
use crate::status::Status;

/// How long the thread sleeps at most before it looks whether it should end.
const IDLE: Duration = Duration::from_millis(50);
/// Messages in a group at most, however many have come already.
const MAX_GROUP: usize = 4096;
/// Groups that may be on their way to disk at once.
const PIPELINE: usize = 8;

/// When a group of readings is committed.
#[derive(Clone, Copy, Debug)]
pub struct GroupRule {
    /// So many messages.
    pub count: usize,
    /// Or so long after the first of them.
    pub max_age: Duration,
}

/// What the intake thread works with.
pub struct IntakeThread {
    /// Messages come from here.
    pub intake: Intake,
    /// Makes readings of them.
    pub decoder: Decoder,
    /// When groups are committed.
    pub group: GroupRule,
    /// Where readings are kept.
    pub store: Arc<dyn Store>,
    /// Acknowledgements go here.
    pub acks: UnboundedSender<Vec<Ack>>,
    /// Readings go here, by the stream's worker.
    pub dispatch: Dispatch,
    /// Flags and metrics.
    pub shared: Arc<Status>,
    /// Deliveries accepted.
    pub deliveries: Deliveries,
    /// Groups on their way to disk.
    pub pipeline: Pipeline,
}

/// Hash of the last message accepted under each packet id; constant memory.
#[derive(Debug)]
pub struct Deliveries(Vec<u64>);

impl Deliveries {
    /// Deliveries known from before, the newest of each packet id last.
    pub fn new(known: &[Delivery]) -> Deliveries {
        // Hashes have 48 bits: no message has this one.
        let mut deliveries = Deliveries(vec![u64::MAX; 1 << 16]);
        known.iter().for_each(|&delivery| deliveries.note(delivery));
        deliveries
    }

    fn note(&mut self, delivery: Delivery) {
        self.0[usize::from(delivery.packet_id)] = delivery.hash;
    }

    fn knows(&self, delivery: Delivery) -> bool {
        self.0[usize::from(delivery.packet_id)] == delivery.hash
    }
}

/// The group being filled.
#[derive(Default)]
struct Group {
    accepted: Vec<Accepted>,
    acks: Vec<Ack>,
    messages: usize,
}

/// What is used again from message to message.
#[derive(Default)]
struct Scratch {
    messages: VecDeque<Delivered>,
    readings: Vec<Reading>,
    /// Arrival of the messages, unix milliseconds.
    arrival_ms: i64,
}

impl IntakeThread {
    /// Runs until the queue is closed and empty.
    pub fn run(mut self) {
        let mut group = Group::default();
        let mut scratch = Scratch::default();
        loop {
            self.dispatch.balance();
            if self.receive(&mut scratch, MAX_GROUP, IDLE) {
                self.fill(&mut group, &mut scratch);
                self.commit(&mut group);
            } else if self.intake.is_closed() && self.intake.is_empty() {
                self.pipeline.finish();
                return;
            }
        }
    }

    fn receive(&self, scratch: &mut Scratch, most: usize, wait: Duration) -> bool {
        let came = self.intake.recv(&mut scratch.messages, most, wait);
        if came {
            scratch.arrival_ms = unix_ms();
        }
        came
    }

    /// Takes the messages that have come and those that belong to their group.
    fn fill(&mut self, group: &mut Group, scratch: &mut Scratch) {
        let until = Instant::now() + self.group.max_age;
        loop {
            while let Some(message) = scratch.messages.pop_front() {
                self.take(message, group, scratch);
                group.messages += 1;
            }
            self.dispatch.flush();
            if group.messages >= MAX_GROUP {
                return;
            }
            // A full group waits for nothing, but what has come already shares its commit. Where no
            // broker waits for acknowledgements, groups are as large as their age allows.
            let small = group.messages < self.group.count || group.acks.is_empty();
            let wait = if self.store.groups_commits() && small {
                until.saturating_duration_since(Instant::now())
            } else {
                Duration::ZERO
            };
            if !self.receive(scratch, MAX_GROUP - group.messages, wait) {
                return;
            }
        }
    }

    /// One message: its readings go to their worker soon, the rest waits for the commit.
    fn take(&mut self, message: Delivered, group: &mut Group, scratch: &mut Scratch) {
        if self.store.groups_commits() {
            group.acks.extend(Ack::of(&message));
        }
        let delivery = (message.packet_id != 0).then(|| Delivery {
            packet_id: message.packet_id,
            hash: hash(&message),
        });
        if let Some(delivery) = delivery
            && message.dup
            && self.deliveries.knows(delivery)
        {
            self.shared.metrics.reject(Reject::Redelivered);
            return;
        }
        scratch.readings.clear();
        let sent = Message {
            topic: &message.topic,
            payload: &message.payload,
            retained: message.retain,
            arrival_ms: scratch.arrival_ms,
            properties: &[],
        };
        let whole = self.decoder.read(sent, &mut scratch.readings).err();
        self.report_refusals(whole, &sent);
        if whole.is_some() {
            return;
        }
        if let Some(delivery) = delivery {
            self.deliveries.note(delivery);
        }
        if self.store.groups_commits() {
            let mut delivery = delivery;
            let kept = scratch.readings.iter().map(|reading| Accepted {
                delivery: delivery.take(),
                reading: reading.clone(),
            });
            group.accepted.extend(kept);
        }
        for reading in scratch.readings.drain(..) {
            self.dispatch.push(reading, message.arrived);
        }
    }

    /// Counts what was refused of a message, and says it once a minute by reason and topic.
    fn report_refusals(&mut self, whole: Option<Reject>, message: &Message<'_>) {
        for remark in self.decoder.remarks() {
            info!("{remark}");
        }
        if let Some(reason) = whole {
            let explain = || self.decoder.explain(reason, None, message);
            self.shared
                .refuse(reason, message.topic, message.arrival_ms, explain);
        }
        let parts: Vec<Refused> = self.decoder.refused().collect();
        for Refused { reason, detail } in parts {
            let explain = || self.decoder.explain(reason, Some(&detail), message);
            self.shared
                .refuse(reason, message.topic, message.arrival_ms, explain);
        }
    }

    /// Hands the group to the store and goes on; it is acknowledged once it is kept (where nothing
    /// is kept, the connection has done so). Groups without
    /// readings take the same way, since what was delivered again may still be on its way to disk.
    fn commit(&mut self, group: &mut Group) {
        let Group { accepted, acks, .. } = std::mem::take(group);
        let (sender, shared) = (self.acks.clone(), self.shared.clone());
        let place = self.pipeline.enter();
        let done = move |kept: Result<(), String>| {
            match kept {
                Ok(()) => {
                    if !acks.is_empty() {
                        // The receiver ends after this thread; at the very end the broker
                        // delivers again.
                        let _ = sender.send(acks);
                    }
                }
                // Unacknowledged, the broker keeps the messages.
                Err(error) => {
                    shared.set_store_failed(true);
                    error!(%error, messages = acks.len(), "readings cannot be kept");
                }
            }
            drop(place);
        };
        self.store.accept(accepted, Box::new(done));
    }
}

/// Groups on their way to disk: a bounded number.
#[derive(Debug)]
pub struct Pipeline {
    enter: Sender<()>,
    leave: Receiver<()>,
}

/// A group's place in the pipeline, free again when it is dropped.
struct Place(Receiver<()>);

impl Drop for Place {
    fn drop(&mut self) {
        // Whoever has a place has put a token in.
        let _ = self.0.try_recv();
    }
}

impl Pipeline {
    /// An empty one.
    pub fn new() -> Pipeline {
        let (enter, leave) = bounded(PIPELINE);
        Pipeline { enter, leave }
    }

    /// Waits for a place.
    fn enter(&self) -> Place {
        // This end holds the other: it is there.
        let _ = self.enter.send(());
        Place(self.leave.clone())
    }

    /// Waits until every group has left.
    fn finish(&self) {
        let all: Vec<Place> = (0..PIPELINE).map(|_| self.enter()).collect();
        drop(all);
    }
}

fn hash(message: &Delivered) -> u64 {
    hash_of(&(&message.topic, &message.payload)) >> 16
}

/// `DefaultHasher::new` has fixed keys.
fn hash_of<T: Hash>(value: &T) -> u64 {
    let mut hasher = DefaultHasher::new();
    value.hash(&mut hasher);
    hasher.finish()
}

/// Now, in unix milliseconds.
fn unix_ms() -> i64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}
