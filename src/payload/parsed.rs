//! Values of a payload with their names and times, and the parts of it that were refused.

use std::ops::Range;

use super::{Clock, MAX_WORD_BYTES, Order, Reject, Stamp, TimeUnit, json};

/// A measured value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Measured<T = Range<u32>> {
    /// A number.
    Number(f64),
    /// A text that may name a state.
    Word(T),
}

/// One value of a payload, with its names within [`Parsed`].
#[derive(Clone, Debug, PartialEq)]
struct ParsedItem {
    stream: Option<Range<u32>>,
    channel: Option<Range<u32>>,
    value: Measured,
    ts: Option<Stamp>,
}

/// One value of a payload.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FoundValue<'a> {
    /// Stream; `None` where the topic decides it.
    pub stream: Option<&'a str>,
    /// Channel; `None` where the topic decides it.
    pub channel: Option<&'a str>,
    /// The value.
    pub value: Measured<&'a str>,
    /// Its timestamp, if it has one.
    pub ts: Option<Stamp>,
}

/// A part of a payload that was refused, the others being fine.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Refused {
    /// The reason.
    pub reason: Reject,
    /// The member or record, or what else says more.
    pub detail: String,
}

/// Contents of one payload; reused from payload to payload.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Parsed {
    items: Vec<ParsedItem>,
    /// Names and words of the items, one behind the other.
    texts: String,
    /// The payload is of several records.
    pub several: bool,
    /// Texts that are no numbers are wanted too: they may name states.
    pub wants_words: bool,
    /// Parts that were refused, the others being fine.
    pub refused: Vec<Refused>,
    /// More about why the whole payload was refused; may be empty.
    pub detail: String,
    /// The time that decides between two equal local times, as it stands after the payload.
    pub order: Order,
    /// A stamp lies in the hour that a change to summer time leaves out.
    pub gap: bool,
    /// The unit that a numeric stamp was taken to have by its size.
    pub unit: Option<TimeUnit>,
}

impl Parsed {
    pub(super) fn clear(&mut self, order: Order) {
        self.items.clear();
        self.texts.clear();
        self.refused.clear();
        self.detail.clear();
        self.several = false;
        self.gap = false;
        self.unit = None;
        self.order = order;
    }

    /// The values, in the payload's order.
    pub fn found(&self) -> impl Iterator<Item = FoundValue<'_>> {
        self.items.iter().map(|item| FoundValue {
            stream: item.stream.clone().map(|span| self.text(span)),
            channel: item.channel.clone().map(|span| self.text(span)),
            value: match &item.value {
                Measured::Number(x) => Measured::Number(*x),
                Measured::Word(span) => Measured::Word(self.text(span.clone())),
            },
            ts: item.ts,
        })
    }

    /// Number of values.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Without any value.
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// The first value, where it is a number.
    pub fn number(&self) -> Option<f64> {
        self.items.first().and_then(|item| match item.value {
            Measured::Number(x) => Some(x),
            Measured::Word(_) => None,
        })
    }

    /// The first value's timestamp, unix milliseconds.
    pub fn ts_ms(&self) -> Option<i64> {
        self.items.first()?.ts.map(|stamp| stamp.ms)
    }

    /// Numbers by the names of their channels, in the payload's order.
    pub fn channels(&self) -> impl Iterator<Item = (&str, f64)> {
        self.found().filter_map(|found| match found.value {
            Measured::Number(x) => Some((found.channel.unwrap_or_default(), x)),
            Measured::Word(_) => None,
        })
    }

    pub(super) fn text(&self, span: Range<u32>) -> &str {
        &self.texts[span.start as usize..span.end as usize]
    }

    /// Appends `text` to the texts.
    pub(super) fn span(&mut self, write: impl FnOnce(&mut String)) -> Range<u32> {
        let from = self.texts.len();
        write(&mut self.texts);
        // A payload is below 2^28 bytes, and its names are made of it.
        let at = |n: usize| u32::try_from(n).unwrap_or(u32::MAX);
        at(from)..at(self.texts.len())
    }

    pub(super) fn push(
        &mut self,
        stream: Option<Range<u32>>,
        channel: Option<Range<u32>>,
        value: Measured,
        ts: Option<Stamp>,
    ) {
        self.items.push(ParsedItem {
            stream,
            channel,
            value,
            ts,
        });
    }

    pub(super) fn keeps_word(&self, text: &str) -> bool {
        self.wants_words && !text.is_empty() && text.len() <= MAX_WORD_BYTES
    }

    pub(super) fn word(&mut self, text: &str) -> Measured {
        Measured::Word(self.span(|texts| texts.push_str(text)))
    }

    /// Keeps what is wrong with a text.
    pub(super) fn explain(&mut self, text: &str) {
        if text.starts_with(['{', '[']) {
            self.detail = json::trouble(text);
        }
    }

    pub(super) fn refuse(&mut self, reason: Reject, detail: impl Into<String>) {
        self.refused.push(Refused {
            reason,
            detail: detail.into(),
        });
    }

    /// Gives what has no timestamp the one that came beside the payload.
    pub(super) fn stamp_by(&mut self, property: &str, clock: &Clock) {
        let mut order = self.order;
        match clock.text(property, &mut order) {
            Ok(Some(stamp)) => {
                let without = self.items.iter_mut().filter(|item| item.ts.is_none());
                without.for_each(|item| item.ts = Some(stamp));
            }
            Ok(None) => {}
            Err(reason) => self.refuse(reason, format!("user property {property:?}")),
        }
        self.order = order;
    }
}
