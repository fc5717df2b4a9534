//! Why a message or a reading is refused: a closed list, for counters and log lines.

use crate::assemble::Verdict;

/// Why a message or a reading is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Reject {
    /// The payload is larger than `mqtt.max_payload_bytes`.
    TooBig,
    /// The payload is empty.
    Empty,
    /// The payload is no UTF-8.
    NotUtf8,
    /// The payload is neither a number nor the JSON that was configured.
    Malformed,
    /// The JSON is nested too deep.
    TooDeep,
    /// The value is NaN or infinite.
    NotFinite,
    /// The value is beyond [`MAX_MAGNITUDE`](super::MAX_MAGNITUDE).
    OutOfRange,
    /// The JSON has no value where one was configured.
    NoValue,
    /// The timestamp is none, or is out of range.
    BadTimestamp,
    /// The source says that the value is not good.
    BadQuality,
    /// Another topic, or another record of the message, gives the same stream and channel.
    Collision,
    /// Sparkplug data of metrics whose birth was not heard.
    UnknownMetric,
    /// The topic fits no pattern.
    NoRoute,
    /// The topic has no channel where the pattern has one.
    NoChannel,
    /// A stream or channel name is empty, too long or has control characters.
    BadName,
    /// The topic is one that we publish ourselves.
    OwnTopic,
    /// A retained message without a timestamp: its age is unknown.
    Retained,
    /// There are `max_streams` streams already.
    TooManyStreams,
    /// The stream has `max_channels` channels already.
    TooManyChannels,
    /// The broker delivered a message again that is ours already.
    Redelivered,
    /// Same channel and source timestamp as a reading already taken.
    Duplicate,
    /// Older than the channel's newest reading.
    Late,
    /// Source timestamp too far ahead of its arrival.
    Future,
    /// The value is none of the states that the channel is said to have.
    UnknownState,
    /// A feedback that is none: no incident or no verdict.
    BadFeedback,
    /// A mute or an order to forget that is none, or without the token.
    BadInstruction,
    /// A feedback on a stream or an incident that is not known, or not any more.
    UnknownIncident,
    /// An instruction on a stream or a channel that is not known.
    UnknownChannel,
}

impl Reject {
    /// Every reason, for metric labels.
    pub const ALL: [Reject; 28] = [
        Reject::TooBig,
        Reject::Empty,
        Reject::NotUtf8,
        Reject::Malformed,
        Reject::TooDeep,
        Reject::NotFinite,
        Reject::OutOfRange,
        Reject::NoValue,
        Reject::BadTimestamp,
        Reject::BadQuality,
        Reject::Collision,
        Reject::UnknownMetric,
        Reject::NoRoute,
        Reject::NoChannel,
        Reject::BadName,
        Reject::OwnTopic,
        Reject::Retained,
        Reject::TooManyStreams,
        Reject::TooManyChannels,
        Reject::Redelivered,
        Reject::Duplicate,
        Reject::Late,
        Reject::Future,
        Reject::UnknownState,
        Reject::BadFeedback,
        Reject::BadInstruction,
        Reject::UnknownIncident,
        Reject::UnknownChannel,
    ];

    /// The word used in metric labels and log lines.
    pub fn as_str(self) -> &'static str {
        match self {
            Reject::TooBig => "too_big",
            Reject::Empty => "empty",
            Reject::NotUtf8 => "not_utf8",
            Reject::Malformed => "malformed",
            Reject::TooDeep => "too_deep",
            Reject::NotFinite => "not_finite",
            Reject::OutOfRange => "out_of_range",
            Reject::NoValue => "no_value",
            Reject::BadTimestamp => "bad_timestamp",
            Reject::BadQuality => "bad_quality",
            Reject::Collision => "collision",
            Reject::UnknownMetric => "unknown_metric",
            Reject::NoRoute => "no_route",
            Reject::NoChannel => "no_channel",
            Reject::BadName => "bad_name",
            Reject::OwnTopic => "own_topic",
            Reject::Retained => "retained",
            Reject::TooManyStreams => "too_many_streams",
            Reject::TooManyChannels => "too_many_channels",
            Reject::Redelivered => "redelivered",
            Reject::Duplicate => "duplicate",
            Reject::Late => "late",
            Reject::Future => "future",
            Reject::UnknownState => "unknown_state",
            Reject::BadFeedback => "bad_feedback",
            Reject::BadInstruction => "bad_instruction",
            Reject::UnknownIncident => "unknown_incident",
            Reject::UnknownChannel => "unknown_channel",
        }
    }

    /// Position in [`Reject::ALL`].
    pub fn index(self) -> usize {
        self as usize
    }

    /// The reason in an assembler's verdict; `None` where the reading was taken.
    pub fn from_verdict(verdict: Verdict) -> Option<Reject> {
        match verdict {
            Verdict::Taken | Verdict::NewChannel => None,
            Verdict::Duplicate => Some(Reject::Duplicate),
            Verdict::Late => Some(Reject::Late),
            Verdict::Future => Some(Reject::Future),
            Verdict::TooManyChannels => Some(Reject::TooManyChannels),
            Verdict::UnknownIncident => Some(Reject::UnknownIncident),
            Verdict::UnknownChannel => Some(Reject::UnknownChannel),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reason_stands_at_its_index_and_has_a_word_of_its_own() {
        for (idx, reason) in Reject::ALL.into_iter().enumerate() {
            assert_eq!(reason.index(), idx);
        }
        let words: std::collections::HashSet<_> =
            Reject::ALL.into_iter().map(Reject::as_str).collect();
        assert_eq!(words.len(), Reject::ALL.len());
    }
}
