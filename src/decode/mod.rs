//! Messages to numbered readings: topic, payload and states together, refusals by reason.

mod advice;
mod explain;
mod first_look;
mod origins;
mod refusals;
mod remarks;
mod sparkplug;
mod states;

use std::collections::{BTreeSet, HashMap, HashSet};
use std::sync::Arc;
use std::vec::Drain;

use crate::assemble::MAX_AHEAD_MS;
use crate::engine::EngineParams;
use crate::payload::node::Node;
use crate::payload::{
    Form, Format, FoundValue, InstructionTopic, Measured, Order, Parsed, Refused, Reject, Scope,
    parse_instruction, parse_sparkplug,
};
use crate::route::{Match, Pattern, Route, Router};
use crate::row::{Reading, StreamId};
pub(crate) use explain::{Refusal, refused_reading};
use first_look::FirstLook;
pub(crate) use origins::StreamOrigins;
use origins::{Origins, instances_of};
pub use refusals::Refusals;
pub(crate) use refusals::RefusedTopic;
use remarks::Remark;
pub(crate) use sparkplug::{NodeCommand, Sessions, SparkplugTopic};
use states::number_of;

/// Sources whose last stamp within a repeated hour is remembered.
const MAX_FOLDS: usize = 100_000;

/// One message as the broker delivered it, or as a recording has it.
#[derive(Clone, Copy, Debug, Default)]
pub struct InboundMessage<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its payload.
    pub payload: &'a [u8],
    /// The broker kept it for those who subscribe later.
    pub retained: bool,
    /// Arrival, unix milliseconds.
    pub arrival_ms: i64,
    /// User properties of MQTT 5, names and values.
    pub properties: &'a [(String, String)],
}

/// Turns messages into readings.
pub struct Decoder {
    /// Payload format of each pattern.
    pub formats: Vec<Format>,
    /// Topics to streams and channels.
    pub router: Router,
    /// Says which channels have listed states, where some have.
    pub states: Option<EngineParams>,
    /// Largest payload accepted, bytes.
    pub max_payload_bytes: usize,
    /// Beginning of the topics of instructions, `<prefix>/<instance>/`; `None` where none is wanted.
    pub feedback: Option<String>,
    /// Token that an instruction must carry, where it is asked for.
    pub feedback_token: Option<String>,
    /// Input of the last message; `None` where no input takes its topic, and for instructions.
    pub last_input: Option<usize>,
    /// Highest sequence number given.
    pub last_seq: u64,
    parsed: Parsed,
    /// Last stamp within a repeated hour, by topic.
    folds: HashMap<Arc<str>, i64>,
    seen: SeenPlaces,
    /// States of Sparkplug's nodes.
    sessions: Sessions,
    /// Remarks on the inputs, each made once.
    remarks: Vec<String>,
    remarked: HashSet<(usize, Remark)>,
    first_look: FirstLook,
    origins: Origins,
}

/// A reading of one message: names are compared by their places, of which the router has one each.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct ReadingPlace {
    stream: usize,
    channel: usize,
    ts_ms: i64,
}

/// Stream, channel and time of the readings of one message.
#[derive(Default)]
struct SeenPlaces {
    few: Vec<ReadingPlace>,
    many: HashSet<ReadingPlace>,
}

/// Readings of one message that are compared one by one.
const FEW_READINGS: usize = 32;

impl SeenPlaces {
    fn clear(&mut self) {
        self.few.clear();
        self.many.clear();
    }

    /// Notes a reading; false where the message had one of the same channel and time.
    fn is_new(&mut self, stream: &Arc<str>, channel: &Arc<str>, ts_ms: i64) -> bool {
        let place = ReadingPlace {
            stream: stream.as_ptr().addr(),
            channel: channel.as_ptr().addr(),
            ts_ms,
        };
        if self.few.contains(&place) {
            return false;
        }
        if self.few.len() < FEW_READINGS {
            self.few.push(place);
            return true;
        }
        self.many.insert(place)
    }
}

impl Decoder {
    /// A decoder that has read nothing; `formats` belong to the patterns of `router`.
    pub fn new(formats: Vec<Format>, router: Router, max_payload_bytes: usize) -> Decoder {
        Decoder {
            formats,
            router,
            states: None,
            max_payload_bytes,
            feedback: None,
            feedback_token: None,
            last_input: None,
            last_seq: 0,
            parsed: Parsed::default(),
            folds: HashMap::new(),
            seen: SeenPlaces::default(),
            sessions: Sessions::default(),
            remarks: Vec::new(),
            remarked: HashSet::new(),
            first_look: FirstLook::default(),
            origins: Origins::default(),
        }
    }

    /// Goes on with other patterns and the payload formats that belong to them.
    pub fn replace_inputs(&mut self, patterns: Vec<Pattern>, formats: Vec<Format>) {
        self.router.replace_patterns(patterns);
        self.formats = formats;
        self.remarked.clear();
        self.first_look = FirstLook::default();
    }

    /// Appends the readings of a message, or the feedback that travels as one, to `readings`,
    /// numbered in order.
    ///
    /// # Errors
    /// Why nothing of it is accepted; parts that are refused of a message that is otherwise fine
    /// are in [`Decoder::refused`].
    pub fn read(
        &mut self,
        message: InboundMessage<'_>,
        readings: &mut Vec<Reading>,
    ) -> Result<(), Reject> {
        self.parsed.refused.clear();
        self.parsed.detail.clear();
        self.last_input = None;
        match self.instructed(message.topic) {
            Some((stream, topic)) => self.instruction(stream, topic, message, readings),
            None => match instances_of(message.topic, message.payload) {
                Some(instances) => self.predicted(&instances, message, readings),
                None => self.measured(message, readings),
            },
        }
    }

    /// A prediction of another instance, or of several, taken as a measurement.
    fn predicted(
        &mut self,
        instances: &BTreeSet<String>,
        message: InboundMessage<'_>,
        readings: &mut Vec<Reading>,
    ) -> Result<(), Reject> {
        let own = self.router.own_topics();
        if instances.contains(own) {
            let others = instances.iter().filter(|instance| *instance != own);
            let others: Vec<&str> = others.map(String::as_str).collect();
            let by_way = match others.is_empty() {
                true => String::new(),
                false => format!(
                    ": they are made of our own predictions, by way of {}, and the instances would feed each \
                     other for ever",
                    others.join(", ")
                ),
            };
            self.parsed.detail = format!("predictions of {own}{by_way}");
            return Err(Reject::OwnTopic);
        }
        let before = readings.len();
        self.measured(message, readings)?;
        self.origins.note(instances, &readings[before..]);
        Ok(())
    }

    /// Streams that other instances' predictions have come into since the last call, with these instances:
    /// their own predictions are to name them.
    pub fn changed_origins(&mut self) -> Vec<StreamOrigins> {
        self.origins.take_changed()
    }

    /// Parts of the last message that were refused, the others being fine.
    pub fn refused(&mut self) -> Drain<'_, Refused> {
        self.parsed.refused.drain(..)
    }

    /// Remarks on the inputs that were not made before, such as the unit of their stamps.
    pub fn remarks(&mut self) -> Drain<'_, String> {
        self.remarks.drain(..)
    }

    /// Requests to be published: Sparkplug nodes are asked for their births.
    pub fn commands(&mut self) -> Drain<'_, NodeCommand> {
        self.sessions.commands()
    }

    /// Gaps in the sequence numbers of Sparkplug's nodes so far.
    pub fn sequence_gaps(&self) -> u64 {
        self.sessions.gaps()
    }

    /// Explains why the last message, or a part of it, was refused.
    pub fn explain(
        &self,
        reason: Reject,
        detail: Option<&str>,
        message: &InboundMessage<'_>,
    ) -> Refusal {
        let detail = detail.unwrap_or(&self.parsed.detail);
        explain::refusal(self, reason, detail, message)
    }

    /// The stream that a topic instructs, and how.
    fn instructed<'a>(&self, topic: &'a str) -> Option<(&'a str, InstructionTopic)> {
        let (stream, last) = topic
            .strip_prefix(self.feedback.as_deref()?)?
            .rsplit_once('/')?;
        let mut all = InstructionTopic::ALL.into_iter();
        let topic = all.find(|topic| topic.as_str() == last)?;
        (!stream.contains('/')).then_some((stream, topic))
    }

    /// The stream of a topic's readings, or the one that it instructs, where the topic alone decides it and
    /// nobody else has to see its messages.
    pub fn stream_of(&self, topic: &str) -> Option<String> {
        if let Some((stream, _)) = self.instructed(topic) {
            return Some(stream.to_owned());
        }
        let found = self.router.find(topic).ok()?;
        // A node's births say how the messages of its devices are read.
        let is_read_alone = self.formats[found.input].form != Form::Sparkplug;
        let stream = found.stream().filter(|_| is_read_alone);
        stream.map(str::to_owned)
    }

    /// An instruction, numbered like a reading.
    fn instruction(
        &mut self,
        stream: &str,
        topic: InstructionTopic,
        message: InboundMessage<'_>,
        readings: &mut Vec<Reading>,
    ) -> Result<(), Reject> {
        // Said once and for all, not to each that connects.
        if message.retained {
            return Err(Reject::Retained);
        }
        let token = self.feedback_token.as_deref();
        let instruction = parse_instruction(topic, stream, message.payload, token)?;
        let unknown = match topic {
            InstructionTopic::Feedback => Reject::UnknownIncident,
            InstructionTopic::Mute | InstructionTopic::Forget => Reject::UnknownChannel,
        };
        let stream = self.router.admitted(stream).ok_or(unknown)?.clone();
        self.last_seq += 1;
        readings.push(instruction.to_reading(self.last_seq, stream, message.arrival_ms));
        Ok(())
    }

    /// The readings of a message.
    fn measured(
        &mut self,
        message: InboundMessage<'_>,
        readings: &mut Vec<Reading>,
    ) -> Result<(), Reject> {
        if message.payload.len() > self.max_payload_bytes {
            return Err(Reject::TooBig);
        }
        let known = self.router.known(message.topic).cloned();
        let found = match &known {
            Some(_) => None,
            None => Some(self.router.find(message.topic)?),
        };
        let (input, names) = match (&known, &found) {
            (Some(route), _) => (route.input, route.names.as_ref()),
            (None, Some(found)) => (found.input, found.asks_payload().then_some(&found.names)),
            (None, None) => return Err(Reject::NoRoute),
        };
        self.last_input = Some(input);
        let format = &self.formats[input];
        let scope = Scope {
            names,
            order: Order {
                last_ms: match self.folds.is_empty() {
                    true => None,
                    false => self.folds.get(message.topic).copied(),
                },
                arrival_ms: message.arrival_ms,
            },
            property: property(format, &message),
        };
        self.parsed.wants_words = self.states.is_some();
        let mut source = None;
        if format.form == Form::Sparkplug {
            let topic = SparkplugTopic::new(message.topic).ok_or(Reject::NoRoute)?;
            let payload = parse_sparkplug(message.payload)?;
            self.sessions.wants_words = self.parsed.wants_words;
            let records = self.sessions.records(&topic, payload, message.arrival_ms)?;
            if records == Node::Array(Vec::new()) {
                return Ok(());
            }
            format.read_tree(&scope, &records, &mut self.parsed)?;
            source = Some(topic.source());
        } else {
            format.read(&scope, message.payload, &mut self.parsed)?;
        }
        if self.first_look.wants(input) {
            let timed = self.parsed.found().any(|found| found.ts.is_some());
            let remarks = self.first_look.look(input, format, names, &message, timed);
            for (remark, text) in remarks {
                if self.remarked.insert((input, remark)) {
                    self.remarks.push(format!("{}: {text}", message.topic));
                }
            }
        }
        self.note_circumstances(input, &scope.order, &message);
        match (known, found) {
            (Some(route), _) => self.take(&route, &message, readings),
            (None, Some(found)) => {
                let found = Match { source, ..found };
                self.note_time_among_channels(input, &message);
                self.take_first(found, &message, readings)
            }
            (None, None) => Err(Reject::NoRoute),
        }
    }

    /// The first good payload of a topic: only with it the topic is remembered.
    fn take_first(
        &mut self,
        found: Match,
        message: &InboundMessage<'_>,
        readings: &mut Vec<Reading>,
    ) -> Result<(), Reject> {
        // A single value that cannot be used admits nothing.
        if let (1, Some(stream), Some(channel)) =
            (self.parsed.len(), found.stream(), found.channel())
            && let Some(first) = self.parsed.found().next()
            && first.channel.is_none()
        {
            number_of(self.states.as_ref(), stream, channel, first.value)?;
            usable_time(&first, message)?;
        }
        let bare = self.parsed.found().any(|found| found.channel.is_none());
        let source = found.stream().zip(found.channel());
        let source = source.map(|(s, c)| (s.to_owned(), c.to_owned()));
        let route = self.router.admit_found(message.topic, found, bare);
        if route == Err(Reject::Collision)
            && let Some((stream, channel)) = source
        {
            self.parsed.detail = collision(&self.router, &stream, &channel);
        }
        self.take(&route?, message, readings)
    }

    /// Numbers what was parsed.
    fn take(
        &mut self,
        route: &Arc<Route>,
        message: &InboundMessage<'_>,
        readings: &mut Vec<Reading>,
    ) -> Result<(), Reject> {
        let single = self.parsed.len() == 1 && self.parsed.refused.is_empty();
        let mut refused = std::mem::take(&mut self.parsed.refused);
        let mut detail = String::new();
        let before = readings.len();
        self.seen.clear();
        for found in self.parsed.found() {
            let taken = one(
                &mut self.router,
                self.states.as_ref(),
                route,
                &found,
                message,
            );
            let (stream, channel, value) = match taken {
                Ok(taken) => taken,
                // A name or a unit beside the channels is no offence.
                Err((Reject::Malformed, _)) if found.channel.is_some() => continue,
                Err((reason, why)) if single => {
                    detail = why;
                    refused.push(Refused {
                        reason,
                        detail: String::new(),
                    });
                    continue;
                }
                Err((reason, detail)) => {
                    refused.push(Refused { reason, detail });
                    continue;
                }
            };
            let ts_ms = found.ts.map_or(message.arrival_ms, |ts| ts.ms);
            if self.parsed.several && !self.seen.is_new(stream.name(), &channel, ts_ms) {
                refused.push(Refused {
                    reason: Reject::Collision,
                    detail: format!(
                        "two records of one message give channel {channel} of stream {stream} at \
                         one time"
                    ),
                });
                continue;
            }
            self.last_seq += 1;
            readings.push(Reading {
                seq: self.last_seq,
                stream,
                channel,
                value,
                ts_ms,
                arrival_ms: message.arrival_ms,
            });
        }
        // A message of one value is refused as a whole.
        if single
            && readings.len() == before
            && let Some(only) = refused.pop()
        {
            self.parsed.detail = detail;
            return Err(only.reason);
        }
        self.parsed.refused = refused;
        Ok(())
    }
}

/// One value: its stream, channel and number.
type Taken = (StreamId, Arc<str>, f64);

fn one(
    router: &mut Router,
    states: Option<&EngineParams>,
    route: &Route,
    found: &FoundValue<'_>,
    message: &InboundMessage<'_>,
) -> Result<Taken, (Reject, String)> {
    let of_channel = |reason| (reason, found.channel.unwrap_or_default().to_owned());
    let stream = match (&route.stream, found.stream) {
        (Some(stream), _) => stream.clone(),
        (None, Some(name)) => router.stream(name).map_err(|r| (r, name.to_owned()))?,
        (None, None) => return Err((Reject::BadName, String::new())),
    };
    let constant = || {
        let names = route.names.as_ref()?;
        names.channel.as_ref()?.constant()
    };
    let name = found.channel.or(route.channel.as_deref()).or_else(constant);
    let name = name.ok_or((Reject::NoChannel, String::new()))?;
    let number = match (states, found.value) {
        (None, Measured::Number(x)) => x,
        (states, value) => number_of(states, &stream, name, value).map_err(of_channel)?,
    };
    if let Some(stamp) = found.ts
        && (message.retained || stamp.ms > message.arrival_ms)
    {
        usable_time(found, message).map_err(of_channel)?;
    } else if message.retained {
        return Err((Reject::Retained, String::new()));
    }
    let channel = match (&route.channel, found.channel) {
        (Some(channel), None) => channel.clone(),
        _ => router
            .channel_of(&stream, name, &route.source)
            .map_err(|reason| match reason {
                Reject::Collision => (reason, collision(router, &stream, name)),
                _ => (reason, name.to_owned()),
            })?,
    };
    Ok((stream, channel, number))
}

/// Whether a reading's time can be used: an age that is known, and not ahead of the arrival.
fn usable_time(found: &FoundValue<'_>, message: &InboundMessage<'_>) -> Result<(), Reject> {
    match found.ts {
        Some(stamp) if stamp.ms > message.arrival_ms.saturating_add(MAX_AHEAD_MS) => {
            Err(Reject::Future)
        }
        None if message.retained => Err(Reject::Retained),
        _ => Ok(()),
    }
}

fn collision(router: &Router, stream: &str, channel: &str) -> String {
    let source = router.source(stream, channel).map_or("", |topic| topic);
    format!("channel {channel} of stream {stream} comes from {source} already")
}

/// The timestamp that came beside the payload: a user property of the name that `ts` has.
fn property<'a>(format: &Format, message: &InboundMessage<'a>) -> Option<&'a str> {
    if message.properties.is_empty() {
        return None;
    }
    let name = format.ts_name()?;
    let mut properties = message.properties.iter();
    let found = properties.find(|(key, _)| key == name);
    found.map(|(_, value)| value.as_str())
}
