//! Messages to numbered readings: topic, payload and states together, refusals by reason.

mod states;

use std::vec::Drain;

use crate::engine::EngineParams;
use crate::payload::{Format, Parsed, Reject, parse_feedback};
use crate::route::{Route, Router};
use crate::row::Reading;
use states::tell_states;

/// One message as the broker delivered it, or as a recording has it.
#[derive(Clone, Copy, Debug)]
pub struct Message<'a> {
    /// Its topic.
    pub topic: &'a str,
    /// Its payload.
    pub payload: &'a [u8],
    /// The broker kept it for those who subscribe later.
    pub retained: bool,
    /// Arrival, unix milliseconds.
    pub arrival_ms: i64,
}

/// What turns messages into readings.
pub struct Decoder {
    /// Payload format of each pattern.
    pub formats: Vec<Format>,
    /// Topics to streams and channels.
    pub router: Router,
    /// What says which channels have listed states, where some have.
    pub states: Option<EngineParams>,
    /// Largest payload accepted, bytes.
    pub max_payload_bytes: usize,
    /// What topics of feedback start with, `<prefix>/<instance>/`; `None` where none is wanted.
    pub feedback: Option<String>,
    /// Highest sequence number given.
    pub last_seq: u64,
    /// Used again from message to message.
    pub parsed: Parsed,
}

impl Decoder {
    /// Appends the readings of a message, or the feedback that travels as one, to `readings`,
    /// numbered in order.
    ///
    /// # Errors
    /// Why nothing of it is accepted; what is refused of a message that is otherwise fine is in
    /// [`Decoder::refused`].
    pub fn read(
        &mut self,
        message: Message<'_>,
        readings: &mut Vec<Reading>,
    ) -> Result<(), Reject> {
        self.parsed.refused.clear();
        match self.feedback_stream(message.topic) {
            Some(stream) => self.feedback(stream, message, readings),
            None => self.measured(message, readings),
        }
    }

    /// Members of the last message that were refused, the others being fine.
    pub fn refused(&mut self) -> Drain<'_, Reject> {
        self.parsed.refused.drain(..)
    }

    /// The stream that a topic gives feedback to.
    fn feedback_stream<'a>(&self, topic: &'a str) -> Option<&'a str> {
        let stream = topic.strip_prefix(self.feedback.as_deref()?)?;
        stream
            .strip_suffix("/feedback")
            .filter(|stream| !stream.contains('/'))
    }

    /// A feedback, numbered like a reading.
    fn feedback(
        &mut self,
        stream: &str,
        message: Message<'_>,
        readings: &mut Vec<Reading>,
    ) -> Result<(), Reject> {
        // Said once and for all, not to each that connects.
        if message.retained {
            return Err(Reject::Retained);
        }
        let feedback = parse_feedback(message.payload)?;
        let stream = self.router.admitted(stream);
        let stream = stream.ok_or(Reject::UnknownIncident)?.clone();
        self.last_seq += 1;
        readings.push(feedback.to_reading(self.last_seq, stream, message.arrival_ms));
        Ok(())
    }

    /// The readings of a message.
    fn measured(
        &mut self,
        message: Message<'_>,
        readings: &mut Vec<Reading>,
    ) -> Result<(), Reject> {
        if message.payload.len() > self.max_payload_bytes {
            return Err(Reject::TooBig);
        }
        let parsed = &mut self.parsed;
        parsed.wants_words = self.states.is_some();
        let states = self.states.as_ref();
        let route = match self.router.known(message.topic) {
            Some(route) => {
                self.formats[route.input].parse(message.payload, parsed)?;
                tell_states(states, (&route.stream, route.channel.as_deref()), parsed)?;
                route.clone()
            }
            None => {
                let found = self.router.find(message.topic)?;
                self.formats[found.input].parse(message.payload, parsed)?;
                tell_states(states, (found.stream, found.channel), parsed)?;
                self.router.admit(message.topic)?
            }
        };
        if message.retained && parsed.ts_ms.is_none() {
            return Err(Reject::Retained);
        }
        let ts_ms = parsed.ts_ms.unwrap_or(message.arrival_ms);
        let Route {
            stream, channel, ..
        } = route;
        let mut add = |channel, value| {
            self.last_seq += 1;
            readings.push(Reading {
                seq: self.last_seq,
                stream: stream.clone(),
                channel,
                value,
                ts_ms,
                arrival_ms: message.arrival_ms,
            });
        };
        if let (Some(channel), Some(value)) = (channel, parsed.value) {
            add(channel, value);
        }
        for (name, value) in parsed.channels.drain(..) {
            match self.router.channel(&stream, &name) {
                Ok(channel) => add(channel, value),
                Err(reason) => parsed.refused.push(reason),
            }
        }
        Ok(())
    }
}
