//! Looks closely at the first messages of each input, and remarks on what its settings overlook.

use std::collections::HashMap;

use super::InboundMessage;
use super::remarks::Remark;
use crate::payload::{Format, Names};

/// Messages of an input that are looked at.
const MESSAGES: u32 = 200;
/// Values of one identifier that are remembered.
const MAX_VALUES: usize = 32;

/// The first messages of the inputs.
#[derive(Default)]
pub(super) struct FirstLook {
    inputs: Vec<Looked>,
}

#[derive(Default)]
struct Looked {
    messages: u32,
    /// Values of identifiers by topic and pointer, the last one at the end.
    identifiers: HashMap<(String, String), Vec<String>>,
}

impl FirstLook {
    /// More messages of the input are to be looked at.
    pub(super) fn wants(&self, input: usize) -> bool {
        let looked = self.inputs.get(input);
        looked.is_none_or(|looked| looked.messages < MESSAGES)
    }

    /// Looks at a message; `timed` where it had a time that is used.
    pub(super) fn look(
        &mut self,
        input: usize,
        format: &Format,
        names: Option<&Names>,
        message: &InboundMessage<'_>,
        timed: bool,
    ) -> Vec<(Remark, String)> {
        if self.inputs.len() <= input {
            self.inputs.resize_with(input + 1, Looked::default);
        }
        let looked = &mut self.inputs[input];
        looked.messages += 1;
        let Some(document) = format.tree(message.payload) else {
            return Vec::new();
        };
        let mut remarks = Vec::new();
        if let Some(found) = format.number_in_text(&document) {
            let advice = match found.is_lenient {
                true => "numbers = \"lenient\" reads it",
                false => "let the device send the number alone",
            };
            let advice = format!(
                "{} is left out, its text {:?} being no plain number: {advice}",
                found.member, found.text
            );
            remarks.push((Remark::NumberInText, advice));
        }
        if let Some(at) = format.list_left_out(&document) {
            let advice = format!(
                "{at} is a list and left out: each = {at:?} with channel and value reads its elements, \
                 ignore = [{:?}] says that it is not wanted",
                at[1..].replace('/', ".")
            );
            remarks.push((Remark::ListLeftOut, advice));
        }
        if !timed && let Some(at) = format.unused_time(&document, message.arrival_ms) {
            let advice = format!(
                "{at} looks like the time of the message, but the arrival counts: ts = {at:?} takes it"
            );
            remarks.push((Remark::TimeUnused, advice));
        }
        for (at, value) in format.identifiers(&document, names) {
            if let Some(other) = looked.comes_again(message.topic, &at, value) {
                let advice = format!(
                    "{at} goes to and fro ({}, {}): where it tells devices or sensors apart, put it into \
                     `stream` or `channel`, as in stream = \"{{stream}}.{{{at}}}\"",
                    other.0, other.1
                );
                remarks.push((Remark::SeveralDevices, advice));
            }
        }
        remarks
    }
}

impl Looked {
    /// Notes a value; where it was met before, but another in between, both. A number that counts up
    /// never comes again.
    fn comes_again(&mut self, topic: &str, at: &str, value: String) -> Option<(String, String)> {
        let key = (topic.to_owned(), at.to_owned());
        let met = self.identifiers.entry(key).or_default();
        let last = met.last().cloned();
        let known = met.iter().position(|known| *known == value);
        match known {
            Some(place) => {
                let value = met.remove(place);
                met.push(value.clone());
                last.filter(|last| *last != value).map(|last| (last, value))
            }
            None => {
                if met.len() < MAX_VALUES {
                    met.push(value);
                }
                None
            }
        }
    }
}
