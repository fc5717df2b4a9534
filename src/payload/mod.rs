//! Payload formats, one file each: bytes to readings, outcomes to bytes.
//!
//! Nothing in here panics on data, allocates without a bound set by the payload's size, or
//! recurses deeper than serde_json's own limit of 128.

mod feedback;
mod json;
mod number;
mod output;
mod reject;
mod time;

pub use feedback::parse_feedback;
pub use json::Pointer;
pub use output::{SCHEMA_VERSION, anomaly_json, prediction_json};
pub use reject::Reject;
pub use time::{TimeUnit, parse_rfc3339};

/// Largest magnitude believed of a measurement. Beyond it squares and products of the learner's
/// single-precision kernel are no longer finite, and no physical quantity is meant.
pub const MAX_MAGNITUDE: f64 = 1e30;

/// How a subscription's payloads are read.
#[derive(Clone, Debug, PartialEq)]
pub enum Format {
    /// A JSON object where the payload starts with a brace, a plain number otherwise.
    Auto(Pointers),
    /// A decimal number.
    Number,
    /// One JSON document a reading.
    Json(Pointers),
    /// A JSON object of channels.
    Object(Pointers),
}

/// Where in a JSON document the value (or the object of channels) and its timestamp are.
#[derive(Clone, Debug, PartialEq)]
pub struct Pointers {
    value: Pointer,
    ts: Pointer,
    unit: TimeUnit,
}

/// What one payload holds; reused from payload to payload.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parsed {
    /// Source timestamp in unix milliseconds, if the payload has one.
    pub ts_ms: Option<i64>,
    /// The value of a payload that carries one channel.
    pub value: Option<f64>,
    /// Channels and values of a payload that carries several, in the payload's order.
    pub channels: Vec<(String, f64)>,
    /// Texts that are no numbers are wanted too: they may name states.
    pub wants_words: bool,
    /// Those texts, of at most [`MAX_WORD_BYTES`], with the channels that the payload names.
    pub words: Vec<(Option<String>, String)>,
    /// Members of an object of channels that were refused, the others being fine.
    pub refused: Vec<Reject>,
}

impl Parsed {
    fn clear(&mut self) {
        self.ts_ms = None;
        self.value = None;
        self.channels.clear();
        self.words.clear();
        self.refused.clear();
    }
}

impl Format {
    /// A number, or JSON with its value at `value` and its timestamp, if any, at `ts`.
    pub fn auto(value: Pointer, ts: Pointer, unit: TimeUnit) -> Format {
        Format::Auto(Pointers { value, ts, unit })
    }

    /// JSON with its value at `value` and its timestamp, if any, at `ts`.
    pub fn json(value: Pointer, ts: Pointer, unit: TimeUnit) -> Format {
        Format::Json(Pointers { value, ts, unit })
    }

    /// JSON with an object of channels at `channels` and its timestamp, if any, at `ts`.
    pub fn object(channels: Pointer, ts: Pointer, unit: TimeUnit) -> Format {
        Format::Object(Pointers {
            value: channels,
            ts,
            unit,
        })
    }

    /// The payload names its channels, so that the topic need not.
    pub fn names_channels(&self) -> bool {
        matches!(self, Format::Object(_))
    }

    /// Reads one payload into `out`.
    ///
    /// # Errors
    /// Why the payload is refused; nothing of it may be used then.
    pub fn parse(&self, payload: &[u8], out: &mut Parsed) -> Result<(), Reject> {
        out.clear();
        if payload.is_empty() {
            return Err(Reject::Empty);
        }
        let text = std::str::from_utf8(payload).map_err(|_| Reject::NotUtf8)?;
        let text = text.trim();
        if text.is_empty() {
            return Err(Reject::Empty);
        }
        match self {
            Format::Number => number_or_word(text, out),
            Format::Auto(pointers) if text.starts_with(['{', '[']) => {
                json::parse_value(text, pointers, out)
            }
            Format::Auto(_) => number_or_word(text, out),
            Format::Json(pointers) => json::parse_value(text, pointers, out),
            Format::Object(pointers) => json::parse_object(text, pointers, out),
        }
    }
}

/// Longest text that may name a state.
pub const MAX_WORD_BYTES: usize = 100;

/// The value of a payload that carries one channel: a number, or a word where those are wanted.
fn number_or_word(text: &str, out: &mut Parsed) -> Result<(), Reject> {
    match number::parse(text) {
        Err(Reject::Malformed) if keep_word(None, text, out) => Ok(()),
        value => value.map(|value| out.value = Some(value)),
    }
}

/// Keeps a text that is no number, where those are wanted.
fn keep_word(channel: Option<&str>, text: &str, out: &mut Parsed) -> bool {
    let keep = out.wants_words && !text.is_empty() && text.len() <= MAX_WORD_BYTES;
    if keep {
        let channel = channel.map(str::to_owned);
        out.words.push((channel, text.to_owned()));
    }
    keep
}

/// A measurement that may be learned from.
fn believable(value: f64) -> Result<f64, Reject> {
    if !value.is_finite() {
        return Err(Reject::NotFinite);
    }
    if value.abs() > MAX_MAGNITUDE {
        return Err(Reject::OutOfRange);
    }
    Ok(value)
}
