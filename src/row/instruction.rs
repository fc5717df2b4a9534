//! Operators' instructions to a stream, which travel, are journaled and are replayed among its readings.

use std::sync::Arc;

use super::{Feedback, Reading, Ruling, StreamId};

/// Says what an operator wants of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Instruction {
    /// A verdict on an incident.
    Feedback(Feedback),
    /// No incidents and no learning for a time.
    Mute(Mute),
    /// Everything learned is dropped; the stream learns anew.
    Forget,
}

/// Mutes a stream or one of its channels.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mute {
    /// The channel; `None` for the whole stream.
    pub channel: Option<Arc<str>>,
    /// Time from the instruction's arrival on, milliseconds; 0 ends a mute.
    pub for_ms: u64,
}

/// Says by names what is muted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Muted {
    /// Until when the whole stream is muted, unix milliseconds.
    pub until_ms: Option<i64>,
    /// Channels muted by themselves, and until when.
    pub channels: Vec<(Arc<str>, i64)>,
}

/// Channel names have no `/`: none that a topic or a payload can give begins like these.
const MARK: char = '/';
const FEEDBACK: &str = "/feedback/";
const MUTE: &str = "/mute/";
const FORGET: &str = "/forget/";

impl Instruction {
    /// The instruction in its place among the readings: as a reading of a channel that cannot exist.
    /// Its value is the incident's number (below 2^53) or the milliseconds of a mute.
    pub fn to_reading(&self, seq: u64, stream: StreamId, arrival_ms: i64) -> Reading {
        let (channel, value) = match self {
            Instruction::Feedback(feedback) => (
                format!("{FEEDBACK}{}", feedback.ruling.as_str()),
                feedback.incident as f64,
            ),
            Instruction::Mute(mute) => (
                format!("{MUTE}{}", mute.channel.as_deref().unwrap_or_default()),
                mute.for_ms as f64,
            ),
            Instruction::Forget => (FORGET.to_owned(), 0.0),
        };
        Reading {
            seq,
            stream,
            channel: channel.into(),
            value,
            ts_ms: arrival_ms,
            arrival_ms,
        }
    }

    /// The instruction that travels as `reading`; `None` for a measurement.
    pub fn of(reading: &Reading) -> Option<Instruction> {
        let channel = &*reading.channel;
        if !channel.starts_with(MARK) {
            return None;
        }
        if let Some(word) = channel.strip_prefix(FEEDBACK) {
            let ruling = Ruling::ALL.into_iter().find(|r| r.as_str() == word)?;
            return Some(Instruction::Feedback(Feedback {
                incident: reading.value as u64,
                ruling,
            }));
        }
        if let Some(name) = channel.strip_prefix(MUTE) {
            return Some(Instruction::Mute(Mute {
                channel: (!name.is_empty()).then(|| name.into()),
                for_ms: reading.value as u64,
            }));
        }
        (channel == FORGET).then_some(Instruction::Forget)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_instruction_comes_back_from_the_reading_that_it_travels_as_and_no_measurement_is_one() {
        let mute = |channel: Option<&str>, for_ms| {
            Instruction::Mute(Mute {
                channel: channel.map(Into::into),
                for_ms,
            })
        };
        let rulings = Ruling::ALL.map(|ruling| {
            Instruction::Feedback(Feedback {
                incident: 9_007_199_254_740_991,
                ruling,
            })
        });
        let others = [
            mute(None, 3_600_000),
            mute(Some("temp °C"), 0),
            Instruction::Forget,
        ];
        for instruction in rulings.into_iter().chain(others) {
            let reading = instruction.to_reading(7, "pump".into(), 5);
            assert_eq!(Instruction::of(&reading), Some(instruction));
        }
        let mut reading = Instruction::Forget.to_reading(7, "pump".into(), 5);
        for channel in ["mute", "forget", "feedback", "temp", "", "/"] {
            reading.channel = channel.into();
            assert_eq!(Instruction::of(&reading), None, "{channel}");
        }
    }
}
