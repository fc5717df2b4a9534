//! The intake thread: messages to numbered readings, group commits, acknowledgements.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use crossbeam_channel::{Receiver, Sender, bounded};
use tokio::sync::mpsc::UnboundedSender;
use tokio::sync::oneshot;
use tracing::{error, info, warn};

use super::balance::Dispatch;
use super::clock::{ArrivalClock, ClockStep};
use super::deliveries::{Deliveries, hash};
use super::expiry::Expiry;
use super::input_counts::InputCounts;
use super::orders::Item;
use super::partitions::{OrderScope, Partitions};
use crate::carrier::store::{Accepted, Delivery, Store};
use crate::config::{InputSettings, OutputSettings};
use crate::decode::{Decoder, InboundMessage};
use crate::metrics::Class;
use crate::mqtt::{self, Ack, Delivered, Fate, Intake, Out};
use crate::payload::{Refused, Reject};
use crate::progress;
use crate::row::{Instruction, Reading};
use crate::status::Status;

/// How long the thread sleeps at most before it looks whether it should end.
const IDLE: Duration = Duration::from_millis(50);
/// Messages in a group at most, however many have come already.
const MAX_GROUP: usize = 4096;
/// Time between two signs of life while the thread waits for the disk.
const PATIENCE: Duration = Duration::from_millis(200);
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

/// Parts that the intake thread works with.
pub(super) struct IntakeThread {
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
    /// Decides which streams make room for others.
    pub expiry: Expiry,
    /// Topic on which Home Assistant says that it has started; `None` where it is not served.
    pub home_assistant: Option<String>,
    /// Requests to Sparkplug's nodes go here.
    pub out: Out,
    /// Messages by input.
    pub inputs: InputCounts,
    /// Inputs that were changed while the daemon runs.
    pub changed_inputs: Receiver<ChangedInputs>,
    /// Partitions that are here.
    pub partitions: Partitions,
    /// Topics and QoS.
    pub output: OutputSettings,
}

/// Inputs for the intake thread, which tells when it reads messages by them.
pub(super) struct ChangedInputs {
    pub(super) inputs: Vec<InputSettings>,
    pub(super) taken: oneshot::Sender<()>,
}

/// The group being filled.
#[derive(Default)]
struct MessageGroup {
    accepted: Vec<Accepted>,
    acks: Vec<Ack>,
    messages: usize,
}

/// Buffers that are used again from message to message.
#[derive(Default)]
struct MessageBuffers {
    messages: VecDeque<Delivered>,
    readings: Vec<Reading>,
    /// Arrival of the messages, unix milliseconds.
    arrival_ms: i64,
    clock: ArrivalClock,
}

impl IntakeThread {
    /// Runs until the queue is closed and empty.
    pub fn run(mut self) {
        let mut group = MessageGroup::default();
        let mut scratch = MessageBuffers::default();
        let pulse = self.shared.pulses.add("intake");
        progress::enter(pulse.clone());
        loop {
            progress::beat();
            self.dispatch.balance();
            self.expire();
            self.take_changed_inputs();
            self.partitions.take_orders(&mut OrderScope {
                decoder: &mut self.decoder,
                dispatch: &mut self.dispatch,
                output: &self.output,
            });
            self.inputs.show(&self.shared);
            if self.receive(&mut scratch, MAX_GROUP, IDLE) {
                self.fill(&mut group, &mut scratch);
                self.commit(&mut group);
            } else if self.intake.is_closed() && self.intake.is_empty() {
                self.pipeline.finish();
                pulse.end();
                return;
            }
        }
    }

    /// Hands readings that were accepted before the start, and that no commit has, to the workers. Where the
    /// daemon is to stop, the next start does.
    fn learn_again(&mut self, readings: Vec<Reading>, arrived: Instant) {
        if self.shared.is_stopping() {
            return;
        }
        for reading in readings {
            self.admit(&reading);
            self.dispatch.push(Item {
                reading,
                arrived,
                replayed: true,
            });
        }
    }

    /// A reading of the journal keeps its stream's and its channel's place, in vain where there is none.
    fn admit(&mut self, reading: &Reading) {
        let router = &mut self.decoder.router;
        if router.stream(&reading.stream).is_ok() && Instruction::of(reading).is_none() {
            let _ = router.channel(&reading.stream, &reading.channel);
        }
    }

    /// Gives up streams that hardly came, where others need their room.
    fn expire(&mut self) {
        let streams = self.expiry.due(&self.decoder.router, &self.shared);
        if streams.is_empty() {
            return;
        }
        let seq = self.decoder.last_seq;
        self.decoder.router.remove(&streams);
        for stream in &streams {
            self.dispatch.forget(stream, seq);
        }
        warn!(
            streams = streams.len(),
            first = %streams[0],
            "there are stream.max_streams: streams that hardly came and are silent make room for others"
        );
    }

    fn receive(&self, scratch: &mut MessageBuffers, most: usize, wait: Duration) -> bool {
        let came = self.intake.recv(&mut scratch.messages, most, wait);
        if came {
            let (arrival_ms, step) = scratch.clock.stamp(Instant::now(), unix_ms());
            scratch.arrival_ms = arrival_ms;
            if let Some(step) = step {
                self.note_clock(step);
            }
        }
        came
    }

    fn note_clock(&self, step: ClockStep) {
        let seconds = |ms: i64| ms as f64 / 1000.0;
        match step {
            ClockStep::Doubted(off) => {
                self.shared.metrics.clock_steps.inc();
                warn!(
                    off_s = seconds(off),
                    "the wall clock has jumped: arrivals go by the monotonic clock meanwhile"
                );
            }
            ClockStep::Believed(off) => {
                warn!(
                    off_s = seconds(off),
                    "the wall clock keeps to its new time: arrivals go by it again"
                );
            }
            ClockStep::Withdrawn => info!("the wall clock is right again"),
        }
    }

    /// Takes the messages that have come and those that belong to their group.
    fn fill(&mut self, group: &mut MessageGroup, scratch: &mut MessageBuffers) {
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
    fn take(&mut self, message: Delivered, group: &mut MessageGroup, scratch: &mut MessageBuffers) {
        if self.store.groups_commits() {
            group.acks.extend(Ack::of(&message));
        }
        match message.fate {
            Fate::Whole => {}
            Fate::Accepted(readings) => return self.learn_again(readings, message.arrived),
            Fate::Dropped => return,
            Fate::TooBig(bytes) => return self.report_too_big(&message, bytes, scratch.arrival_ms),
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
        if let Some(place) = &message.journal {
            let topic = &message.topic;
            if !self.partitions.begin(place, topic, &mut self.decoder) {
                return;
            }
            // Equal for whoever reads the journal.
            scratch.arrival_ms = place.stored_ms;
            self.shared.metrics.cluster.note_lag(place.pending);
        }
        scratch.readings.clear();
        let sent = InboundMessage {
            topic: &message.topic,
            payload: &message.payload,
            retained: message.retain,
            arrival_ms: scratch.arrival_ms,
            properties: &message.properties,
        };
        if self.is_home_assistant(&sent) {
            return;
        }
        if self.shared.note_heard() {
            info!(topic = sent.topic, "the first message has come");
        }
        let whole = self.decoder.read(sent, &mut scratch.readings).err();
        let refused = self.report_refusals(whole, &sent);
        if let Some(input) = self.decoder.last_input {
            self.inputs
                .note(input, &sent, scratch.readings.len(), refused);
        }
        self.ask_nodes();
        for origins in self.decoder.changed_origins() {
            info!(
                stream = %origins.stream,
                instances = origins.via,
                "the stream takes in predictions of other instances"
            );
            self.shared.set_origins(origins);
        }
        if whole.is_some() {
            return;
        }
        if let Some(delivery) = delivery {
            self.deliveries.note(delivery);
        }
        if message.journal.is_some() {
            self.partitions.retain(&mut scratch.readings);
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
            self.dispatch.push(Item {
                reading,
                arrived: message.arrived,
                replayed: false,
            });
        }
    }

    /// Counts a message that was discarded as it came.
    fn report_too_big(&self, message: &Delivered, bytes: usize, arrival_ms: i64) {
        let metrics = &self.shared.metrics;
        metrics.poison_packets.inc();
        let sent = InboundMessage {
            topic: &message.topic,
            payload: &[],
            retained: message.retain,
            arrival_ms,
            properties: &[],
        };
        let detail = format!("{bytes} bytes");
        let explain = || self.decoder.explain(Reject::TooBig, Some(&detail), &sent);
        let topic = &message.topic;
        self.shared
            .refuse(Reject::TooBig, topic, arrival_ms, explain);
    }

    /// Whether a message says that Home Assistant has started, or stops.
    fn is_home_assistant(&self, message: &InboundMessage<'_>) -> bool {
        let is_status = self.home_assistant.as_deref() == Some(message.topic);
        if is_status && message.payload == b"online" {
            self.shared.announce_anew();
        }
        is_status
    }

    /// Publishes what the decoder asks Sparkplug's nodes for.
    fn ask_nodes(&mut self) {
        let gaps = self.decoder.sequence_gaps();
        let counted = &self.shared.metrics.sparkplug_gaps;
        counted.inc_by(gaps.saturating_sub(counted.get()));
        for command in self.decoder.commands() {
            info!(
                topic = command.topic,
                "asks a Sparkplug node for its births"
            );
            self.out.push(mqtt::Message {
                topic: command.topic.into(),
                payload: command.payload,
                qos: 0,
                retain: false,
                class: Class::Status,
                arrived: None,
                kept: None,
            });
        }
    }

    /// Counts what was refused of a message, and says it once a minute by reason and topic. Returns how much
    /// that was.
    fn report_refusals(&mut self, whole: Option<Reject>, message: &InboundMessage<'_>) -> usize {
        for remark in self.decoder.remarks() {
            info!("{remark}");
        }
        if let Some(reason) = whole {
            let explain = || self.decoder.explain(reason, None, message);
            self.shared
                .refuse(reason, message.topic, message.arrival_ms, explain);
        }
        let parts: Vec<Refused> = self.decoder.refused().collect();
        let refused = parts.len() + usize::from(whole.is_some());
        for Refused { reason, detail } in parts {
            let explain = || self.decoder.explain(reason, Some(&detail), message);
            self.shared
                .refuse(reason, message.topic, message.arrival_ms, explain);
        }
        refused
    }

    /// Hands the group to the store and goes on; it is acknowledged once it is kept (where nothing
    /// is kept, the connection has done so). Groups without
    /// readings take the same way, since what was delivered again may still be on its way to disk.
    fn commit(&mut self, group: &mut MessageGroup) {
        let MessageGroup { accepted, acks, .. } = std::mem::take(group);
        let (sender, shared) = (self.acks.clone(), self.shared.clone());
        let place = self.pipeline.enter(|waited| self.shared.note_wait(waited));
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

impl IntakeThread {
    /// Reads messages by other inputs, where they were changed.
    fn take_changed_inputs(&mut self) {
        while let Ok(ChangedInputs { inputs, taken }) = self.changed_inputs.try_recv() {
            let (mut patterns, mut formats) = (Vec::new(), Vec::new());
            for input in inputs {
                patterns.push(input.pattern);
                formats.push(input.format);
            }
            self.decoder.replace_inputs(patterns, formats);
            self.inputs.replace(&self.decoder);
            self.partitions.forget_topics();
            // Nobody waits any more where the daemon is about to stop.
            let _ = taken.send(());
        }
    }
}

/// Groups on their way to disk: a bounded number.
#[derive(Debug)]
pub struct Pipeline {
    enter: Sender<()>,
    leave: Receiver<()>,
}

/// A group's place in the pipeline, free again when it is dropped.
struct PipelinePlace(Receiver<()>);

impl Drop for PipelinePlace {
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

    /// Waits for a place, and tells `waited` how long that takes.
    fn enter(&self, waited: impl Fn(Duration)) -> PipelinePlace {
        if self.enter.try_send(()).is_ok() {
            return PipelinePlace(self.leave.clone());
        }
        loop {
            let begin = Instant::now();
            // This end holds the other: it is there.
            let entered = self.enter.send_timeout((), PATIENCE).is_ok();
            waited(begin.elapsed());
            if entered {
                return PipelinePlace(self.leave.clone());
            }
            progress::beat();
        }
    }

    /// Waits until every group has left.
    fn finish(&self) {
        let all: Vec<PipelinePlace> = (0..PIPELINE).map(|_| self.enter(|_| ())).collect();
        drop(all);
    }
}

/// Now, in unix milliseconds.
fn unix_ms() -> i64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}
