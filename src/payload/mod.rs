//! Payload formats, one file each: bytes to readings, outcomes to bytes.
//!
//! Every format becomes one tree of [`node::Node`]s that one mapping reads; plain numbers and flat
//! JSON values take a shorter way without the tree. Nothing in here panics on data, allocates
//! without a bound set by the payload's size, or recurses deeper than serde_json's own limit of 128.

mod clock;
mod digits;
mod feedback;
mod forms;
mod home_assistant;
mod json;
mod mapping;
mod missing;
pub mod node;
mod number;
mod output;
mod overlooked;
mod parsed;
mod reject;
mod sparkplug;
mod template;
mod text_records;
mod via;

pub use crate::time::TimeUnit;
pub(crate) use clock::{Clock, Order, Stamp};
pub(crate) use feedback::MAX_MUTE_S;
pub use feedback::{InstructionTopic, parse_instruction};
pub(crate) use forms::OutputForm;
pub(crate) use home_assistant::Discovery;
pub(crate) use missing::is_missing_mark;
pub use node::Pointer;
pub(crate) use number::truth;
pub(crate) use output::anomaly_json;
pub use output::prediction_json;
pub(crate) use overlooked::names_a_time;
pub use parsed::{FoundValue, Measured, Parsed, Refused};
pub use reject::Reject;
pub use sparkplug::{
    SparkplugMetrics, Value as SparkplugValue, encode_sparkplug, parse_sparkplug, rebirth_request,
};
pub use template::{Names, Template};
pub use text_records::{Columns, has_pairs, parse_line_protocol, parse_pairs, parse_separated};
pub(crate) use via::add_via;

use node::Node;
use text_records::resolve_senml;

/// Largest magnitude believed of a measurement. Beyond it squares and products of the learner's
/// single-precision kernel are no longer finite, and no physical quantity is meant.
pub(crate) const MAX_MAGNITUDE: f64 = 1e30;

/// Says of a number that it is one of those that stand for a missing value.
pub(crate) const MISSING: &str = "one of `missing`";

/// Longest text that may name a state.
pub(crate) const MAX_WORD_BYTES: usize = 100;

/// The kind of a payload.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Form {
    /// JSON where the payload starts with `{` or `[`, a plain number otherwise.
    #[default]
    Auto,
    /// A decimal number.
    Number,
    /// A JSON document with one value a record.
    Json,
    /// A JSON object of channels, or line protocol where the payload is no JSON.
    Object,
    /// InfluxDB line protocol.
    Influx,
    /// Lines of separated fields.
    Csv,
    /// Names and values in a text: `temp=21.5;hum=40`.
    Pairs,
    /// SenML (RFC 8428) in JSON.
    Senml,
    /// Sparkplug B, whose sessions the decoder keeps: see [`Format::read_tree`].
    Sparkplug,
}

/// Where something is: in the record, or in the whole document.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ValuePlace {
    pointer: Pointer,
    of_record: bool,
}

impl ValuePlace {
    /// `/pointer` into the document, `./pointer` into the record, `.` the record itself, or empty
    /// for the document.
    ///
    /// # Errors
    /// The allowed form.
    pub fn new(text: &str) -> Result<ValuePlace, String> {
        let (pointer, of_record) = match text.strip_prefix('.') {
            Some(pointer) => (pointer, true),
            None => (text, false),
        };
        let pointer = Pointer::new(pointer)
            .map_err(|allowed| format!("{allowed}, with . in front within the record"))?;
        Ok(ValuePlace { pointer, of_record })
    }
}

/// How an input's payloads are read; built by [`Format::auto`] and the like, or field by field.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Format {
    /// Kind of payload.
    pub form: Form,
    /// Array or object whose elements are the records; `None` for the document itself.
    pub each: Option<Pointer>,
    /// The value, or the object of channels.
    pub value: ValuePlace,
    /// The timestamp, which may be missing.
    pub ts: ValuePlace,
    /// A timestamp of several members, such as `{/date} {/time}`, in place of `ts`.
    pub ts_parts: Option<Template>,
    /// Time between the elements of an array that have no timestamps of their own, milliseconds: the
    /// last is the newest. `None` where they are of one time.
    pub sample_interval_ms: Option<f64>,
    /// How timestamps are read.
    pub clock: Clock,
    /// The quality, where readings have one.
    pub quality: Option<ValuePlace>,
    /// Qualities that let a reading pass.
    pub good: Vec<String>,
    /// Channels wanted, with `*` for any text; all where empty.
    pub only: Vec<String>,
    /// Channels not wanted.
    pub ignore: Vec<String>,
    /// How separated text is written.
    pub columns: Columns,
    /// Numbers with decimal commas, groups, hex, and words for missing values.
    pub lenient: bool,
    /// Numbers that stand for a missing value.
    pub missing: Vec<f64>,
}

/// Facts of a message beside its payload.
#[derive(Clone, Copy, Debug, Default)]
pub struct Scope<'a> {
    /// Names, as far as the topic decides them; `None` where it decides all.
    pub names: Option<&'a Names>,
    /// The earlier time that decides between two equal local times.
    pub order: Order,
    /// A timestamp beside the payload (a user property of MQTT 5), where the payload has none.
    pub property: Option<&'a str>,
}

impl Format {
    /// A number, or JSON with its value at `value` and its timestamp, if any, at `ts`.
    pub fn auto(value: Pointer, ts: Pointer, unit: TimeUnit) -> Format {
        Format::of(Form::Auto, value, ts, unit)
    }

    /// A decimal number.
    pub fn number() -> Format {
        Format {
            form: Form::Number,
            ..Format::default()
        }
    }

    /// JSON with its value at `value` and its timestamp, if any, at `ts`.
    pub fn json(value: Pointer, ts: Pointer, unit: TimeUnit) -> Format {
        Format::of(Form::Json, value, ts, unit)
    }

    /// JSON with an object of channels at `channels` and its timestamp, if any, at `ts`.
    pub fn object(channels: Pointer, ts: Pointer, unit: TimeUnit) -> Format {
        Format::of(Form::Object, channels, ts, unit)
    }

    fn of(form: Form, value: Pointer, ts: Pointer, unit: TimeUnit) -> Format {
        let place = |pointer| ValuePlace {
            pointer,
            of_record: false,
        };
        Format {
            form,
            value: place(value),
            ts: place(ts),
            clock: Clock::of_unit(unit),
            ..Format::default()
        }
    }

    /// The payload names its channels, so that the topic need not.
    pub fn names_channels(&self) -> bool {
        matches!(
            self.form,
            Form::Object | Form::Influx | Form::Csv | Form::Pairs
        )
    }

    /// Some channels are left out by their name.
    pub fn has_filters(&self) -> bool {
        !self.only.is_empty() || !self.ignore.is_empty()
    }

    /// The name of the timestamp: the last one of its pointer.
    pub fn ts_name(&self) -> Option<&str> {
        self.ts.pointer.last()
    }

    /// Reads one payload into `out`; the topic says nothing but stream and channel.
    ///
    /// # Errors
    /// Why the payload is refused; nothing of it may be used then.
    pub fn parse(&self, payload: &[u8], out: &mut Parsed) -> Result<(), Reject> {
        self.read(&Scope::default(), payload, out)
    }

    /// Reads one payload into `out`.
    ///
    /// # Errors
    /// Why the payload is refused, with more in [`Parsed::detail`]; nothing of it may be used then.
    pub fn read(&self, scope: &Scope<'_>, payload: &[u8], out: &mut Parsed) -> Result<(), Reject> {
        out.clear(scope.order);
        if payload.is_empty() {
            return Err(Reject::Empty);
        }
        let text = text_of(payload)?;
        let result = match self.form {
            Form::Number => self.plain(scope, text, out),
            Form::Auto if text.starts_with(['{', '[']) => self.json_value(scope, text, out),
            Form::Auto => self.plain(scope, text, out),
            Form::Json => self.json_value(scope, text, out),
            Form::Object if text.starts_with(['{', '[']) => self.document(scope, text, out),
            Form::Object => match parse_line_protocol(text) {
                Ok(lines) => self.map(scope, &self.as_objects(lines), out),
                // A number, a word: not what was expected.
                Err(_) => self.document(scope, text, out),
            },
            // Binary, and read by the decoder.
            Form::Sparkplug => Err(Reject::Malformed),
            Form::Influx => self.map(scope, &parse_line_protocol(text)?, out),
            Form::Csv => self.map(scope, &parse_separated(text, &self.columns)?, out),
            Form::Pairs => self.map(scope, &parse_pairs(text)?, out),
            Form::Senml => {
                let document = json::document(text).inspect_err(|_| out.explain(text))?;
                let records = resolve_senml(&document, scope.order.arrival_ms)?;
                self.map(scope, &records, out)
            }
        };
        if result.is_ok()
            && let Some(property) = scope.property
        {
            out.stamp_by(property, &self.clock);
        }
        result
    }

    /// Reads a document that is a tree already.
    ///
    /// # Errors
    /// As [`Format::read`].
    pub fn read_tree(
        &self,
        scope: &Scope<'_>,
        document: &Node<'_>,
        out: &mut Parsed,
    ) -> Result<(), Reject> {
        out.clear(scope.order);
        self.map(scope, document, out)
    }

    /// Line protocol as objects of channels: the fields, and the time under its usual name.
    fn as_objects<'a>(&self, lines: Node<'a>) -> Node<'a> {
        let Node::Array(lines) = lines else {
            return lines;
        };
        let objects = lines.into_iter().map(|line| {
            let Node::Object(parts) = line else {
                return line;
            };
            let (mut members, mut time) = (Vec::new(), None);
            for (name, node) in parts {
                match (name.as_ref(), node) {
                    ("fields", Node::Object(fields)) => members = fields,
                    ("ts", at) => time = Some(at),
                    _ => {}
                }
            }
            let name = self.ts_name().unwrap_or("ts").to_owned();
            members.extend(time.map(|at| (name.into(), at)));
            Node::Object(members)
        });
        Node::Array(objects.collect())
    }

    /// A number, or a word where those are wanted.
    fn plain(&self, scope: &Scope<'_>, text: &str, out: &mut Parsed) -> Result<(), Reject> {
        let text = without_quotes(text);
        // A channel that is not wanted may send anything.
        let name = scope
            .names
            .and_then(|names| names.channel.as_ref()?.constant());
        if name.is_some_and(|name| !self.wants(name, name)) {
            return Ok(());
        }
        let value = match number::parse(text, self.lenient) {
            Err(Reject::Malformed) if out.keeps_word(text) => out.word(text),
            Err(Reject::Malformed) if number::truth(text).is_some() => {
                Measured::Number(number::truth(text).unwrap_or_default())
            }
            Ok(x) if self.missing.contains(&x) => {
                out.detail = MISSING.to_owned();
                return Err(Reject::NoValue);
            }
            value => Measured::Number(value.inspect_err(|_| out.explain(text))?),
        };
        self.bare(scope, value, None, out)
    }

    /// One value whose stream and channel the topic decides.
    fn bare(
        &self,
        scope: &Scope<'_>,
        value: Measured,
        ts: Option<Stamp>,
        out: &mut Parsed,
    ) -> Result<(), Reject> {
        match scope.names {
            None => out.push(None, None, value, ts),
            Some(names) => {
                let record = template::RecordView {
                    document: &Node::Null,
                    node: &Node::Null,
                    keys: &[],
                    siblings: 0,
                };
                self.named(names, &record, value, ts, out)?;
            }
        }
        Ok(())
    }

    /// JSON with a value: the short way where value and timestamp are members of the root, and
    /// nothing else is wanted of it.
    fn json_value(&self, scope: &Scope<'_>, text: &str, out: &mut Parsed) -> Result<(), Reject> {
        let short = self.each.is_none()
            && self.quality.is_none()
            && scope.names.is_none()
            && self.ts_parts.is_none();
        if let (true, Some(value), Some(ts)) =
            (short, self.value.pointer.member(), self.ts.pointer.member())
            && text.starts_with('{')
            && let Ok((Some(value), ts)) = json::two_members(text, value, ts)
            && value.is_scalar()
        {
            let value = self.value_of(&value, false, out)?;
            let ts = match ts {
                Some(ts) => self.stamp(&ts, out)?,
                None => None,
            };
            out.push(None, None, value, ts);
            return Ok(());
        }
        self.document(scope, text, out)
    }

    /// JSON, by way of the tree.
    fn document(&self, scope: &Scope<'_>, text: &str, out: &mut Parsed) -> Result<(), Reject> {
        match json::document(text) {
            Ok(document) => self.map(scope, &document, out),
            Err(reason) => {
                let mended = json::quote_bare_words(text);
                if let Some(document) = mended.as_deref().and_then(|t| json::document(t).ok()) {
                    return self.map(scope, &document, out);
                }
                out.explain(text);
                Err(reason)
            }
        }
    }
}

/// The text of a payload, without a byte order mark, blanks around and zero bytes behind.
fn text_of(payload: &[u8]) -> Result<&str, Reject> {
    let text = std::str::from_utf8(payload).map_err(|_| Reject::NotUtf8)?;
    let text = text.strip_prefix('\u{feff}').unwrap_or(text);
    let text = text.trim_end_matches('\0').trim();
    match text.is_empty() {
        true => Err(Reject::Empty),
        false => Ok(text),
    }
}

/// A text of JSON, `"21.5"` or `"on"`, without its quotes; anything else as it is.
fn without_quotes(text: &str) -> &str {
    let inner = text.strip_prefix('"').and_then(|t| t.strip_suffix('"'));
    let plain = |inner: &&str| !inner.is_empty() && !inner.contains(['"', '\\']);
    inner.filter(plain).map_or(text, str::trim)
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
