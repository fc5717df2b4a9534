//! From a document to readings: records, values, timestamps, qualities and names.

#[cfg(test)]
mod tests;

use std::ops::Range;

use crate::glob::glob;

use super::node::Node;
use super::template::{Key, Names, RecordView, Template, no_slashes};
use super::{
    Form, Format, MISSING, Measured, Parsed, Reject, Scope, Stamp, TimeUnit, ValuePlace, number,
};

/// Nesting of an object of channels that is followed; deeper members are refused.
const MAX_OBJECT_DEPTH: usize = 8;
/// Nesting of the containers that `each` may lead through.
const MAX_KEYS: usize = 3;
/// Members of a record that its names, timestamp and quality are made of, at most.
const MAX_SOURCES: usize = 8;

impl ValuePlace {
    fn find<'a>(&self, record: &RecordView<'a>, implied: bool) -> Option<&'a Node<'a>> {
        match self.of_record || implied {
            true => record.node.at(&self.pointer),
            false => record.in_document(&self.pointer),
        }
    }
}

/// Facts that all members of one record share.
struct RecordFacts<'a> {
    stream: Option<Range<u32>>,
    ts: Option<Stamp>,
    /// Nodes that are no channels: timestamp, quality, and what the names are made of.
    skip: [Option<&'a Node<'a>>; MAX_SOURCES],
}

impl Format {
    /// Reads a document: each record of it.
    pub(super) fn map(
        &self,
        scope: &Scope<'_>,
        document: &Node<'_>,
        out: &mut Parsed,
    ) -> Result<(), Reject> {
        let whole = RecordView {
            document,
            node: document,
            keys: &[],
            siblings: 0,
        };
        let result = match &self.each {
            Some(each) => {
                let mut keys = Vec::with_capacity(MAX_KEYS + 1);
                let tokens: Vec<&str> = each.tokens().collect();
                out.several = true;
                match self.walk(scope, document, document, &tokens, &mut keys, out) {
                    true => Ok(()),
                    false => {
                        out.detail = format!("nothing at {each}");
                        Err(Reject::NoValue)
                    }
                }
            }
            // A list of what the settings describe one of.
            None => match document {
                Node::Array(items) if self.value.find(&whole, false).is_none_or(is_list) => {
                    out.several = true;
                    for (idx, node) in items.iter().enumerate() {
                        let record = RecordView {
                            document,
                            node,
                            keys: &[Key::Index(idx)],
                            siblings: items.len(),
                        };
                        self.one_of_several(scope, &record, true, out);
                    }
                    Ok(())
                }
                _ => self.record(scope, &whole, false, out),
            },
        };
        result?;
        if out.is_empty() && out.refused.is_empty() {
            return Err(Reject::NoValue);
        }
        Ok(())
    }

    /// Goes down to the records. False where there are none.
    fn walk<'a>(
        &self,
        scope: &Scope<'_>,
        document: &'a Node<'a>,
        node: &'a Node<'a>,
        tokens: &[&str],
        keys: &mut Vec<Key<'a>>,
        out: &mut Parsed,
    ) -> bool {
        if let [token, rest @ ..] = tokens
            && *token != "*"
        {
            return match node.get(token) {
                Some(inner) => self.walk(scope, document, inner, rest, keys, out),
                None => false,
            };
        }
        let rest = tokens.get(1..);
        let siblings = match node {
            Node::Array(items) => items.len(),
            _ => 0,
        };
        let mut each = |key: Key<'a>, inner: &'a Node<'a>| {
            keys.push(key);
            let found = match rest {
                Some(rest) if keys.len() <= MAX_KEYS => {
                    self.walk(scope, document, inner, rest, keys, out)
                }
                Some(_) => false,
                None => {
                    let record = RecordView {
                        document,
                        node: inner,
                        keys,
                        siblings,
                    };
                    self.one_of_several(scope, &record, false, out);
                    true
                }
            };
            keys.pop();
            found
        };
        let mut any = false;
        match node {
            Node::Array(items) => {
                for (idx, inner) in items.iter().enumerate() {
                    any |= each(Key::Index(idx), inner);
                }
            }
            Node::Object(members) => {
                for (name, inner) in members {
                    any |= each(Key::Name(name), inner);
                }
            }
            _ => {}
        }
        any
    }

    fn one_of_several(
        &self,
        scope: &Scope<'_>,
        record: &RecordView<'_>,
        implied: bool,
        out: &mut Parsed,
    ) {
        if let Err(reason) = self.record(scope, record, implied, out) {
            let key = match record.keys.last() {
                Some(Key::Name(name)) => format!("record {name}"),
                Some(Key::Index(idx)) => format!("record {idx}"),
                None => String::new(),
            };
            let detail = std::mem::take(&mut out.detail);
            let between = if detail.is_empty() { "" } else { ": " };
            out.refuse(reason, format!("{key}{between}{detail}"));
        }
    }

    /// One record: a value, or an object of channels.
    fn record(
        &self,
        scope: &Scope<'_>,
        record: &RecordView<'_>,
        implied: bool,
        out: &mut Parsed,
    ) -> Result<(), Reject> {
        let value = match (self.value.find(record, implied), record.node) {
            (Some(value), _) => value,
            // A bare value among records.
            (None, node) if !record.keys.is_empty() && node.is_scalar() => node,
            (None, _) => {
                out.detail = format!("nothing at {}", self.value.pointer);
                return Err(Reject::NoValue);
            }
        };
        let quality = self.quality.as_ref().and_then(|q| q.find(record, implied));
        if let Some(quality) = quality
            && !self.is_good(quality)
        {
            out.detail = "quality ".to_owned();
            quality.write(&mut out.detail);
            return Err(Reject::BadQuality);
        }
        let ts_node = self.ts_of(record).filter(|ts| !std::ptr::eq(*ts, value));
        let ts = match (ts_node, &self.ts_parts) {
            (Some(node), _) => self.stamp(node, out)?,
            (None, Some(parts)) => self.stamp_of_parts(parts, record, out)?,
            (None, None) => None,
        };
        let ts = self.of_sample(ts, record, scope.order.arrival_ms);
        match value {
            // Where the topic names the channel, an object is no value of it.
            Node::Object(_)
                if scope.names.is_none()
                    && matches!(self.form, Form::Auto | Form::Json | Form::Number)
                    && self.each.is_none() =>
            {
                Err(Reject::Malformed)
            }
            Node::Object(_) => {
                let mut skip = [None; MAX_SOURCES];
                let mut places = skip.iter_mut();
                let mut note = |node| {
                    if let Some(place) = places.next() {
                        *place = Some(node);
                    }
                };
                ts_node.into_iter().chain(quality).for_each(&mut note);
                if let Some(parts) = &self.ts_parts {
                    parts.sources(record, &mut note);
                }
                if let Some(names) = scope.names {
                    names.stream.sources(record, &mut note);
                    let channel = names.channel.as_ref();
                    channel
                        .into_iter()
                        .for_each(|c| c.sources(record, &mut note));
                }
                let stream = self.stream_of(scope, record, out)?;
                let shared = RecordFacts { stream, ts, skip };
                self.members(scope, record, value, &shared, out)
            }
            Node::Array(_) => Err(Reject::Malformed),
            _ if self.form == Form::Object && record.keys.is_empty() => Err(Reject::Malformed),
            _ => {
                let value = self.value_of(value, false, out)?;
                match scope.names {
                    None => out.push(None, None, value, ts),
                    Some(names) => self.named(names, record, value, ts, out)?,
                }
                Ok(())
            }
        }
    }

    /// The record's timestamp, or the document's.
    fn ts_of<'a>(&self, record: &RecordView<'a>) -> Option<&'a Node<'a>> {
        // Nowhere, and not the document itself.
        if self.ts.pointer.is_root() {
            return None;
        }
        let own = record.node.at(&self.ts.pointer);
        own.or_else(|| record.in_document(&self.ts.pointer))
    }

    /// A timestamp of several members; none where the record has none of them.
    fn stamp_of_parts(
        &self,
        parts: &Template,
        record: &RecordView<'_>,
        out: &mut Parsed,
    ) -> Result<Option<Stamp>, Reject> {
        let mut any = false;
        parts.sources(record, |node| any |= *node != Node::Null);
        if !any {
            return Ok(None);
        }
        let mut text = String::new();
        match parts.write(record, &mut text) {
            Ok(()) => self.stamp(&Node::Text(text.into()), out),
            Err(part) => {
                out.detail = format!("the record has no {part} for its timestamp");
                Err(Reject::BadTimestamp)
            }
        }
    }

    /// The time of one of several samples without timestamps of their own: the last one has that of the
    /// document, or of its arrival.
    fn of_sample(
        &self,
        ts: Option<Stamp>,
        record: &RecordView<'_>,
        arrival_ms: i64,
    ) -> Option<Stamp> {
        let (Some(interval_ms), Some(Key::Index(idx))) =
            (self.sample_interval_ms, record.keys.last())
        else {
            return ts;
        };
        let own = !self.ts.pointer.is_root() && record.node.at(&self.ts.pointer).is_some();
        if own || record.siblings == 0 {
            return ts;
        }
        let last = ts.unwrap_or_else(|| arrival_ms.into());
        #[expect(
            clippy::cast_precision_loss,
            clippy::cast_possible_truncation,
            reason = "a payload has fewer elements than 2^28"
        )]
        let before_ms = ((record.siblings - 1 - idx) as f64 * interval_ms).round() as i64;
        Some(Stamp {
            ms: last.ms.saturating_sub(before_ms),
            ..last
        })
    }

    /// A timestamp; null and an empty text are none.
    pub(super) fn stamp(&self, node: &Node<'_>, out: &mut Parsed) -> Result<Option<Stamp>, Reject> {
        let result = match node {
            Node::Null => Ok(None),
            Node::Whole(n) => {
                #[expect(clippy::cast_precision_loss, reason = "its size is enough")]
                self.note_unit(*n as f64, out);
                self.clock.whole(*n).map(|ms| Some(ms.into()))
            }
            Node::Number(x) => {
                self.note_unit(*x, out);
                self.clock.fractional(*x).map(|ms| Some(ms.into()))
            }
            Node::Text(text) => {
                let mut order = out.order;
                let stamp = self.clock.text(text, &mut order);
                out.order = order;
                stamp
            }
            Node::Bool(_) | Node::Array(_) | Node::Object(_) => Err(Reject::BadTimestamp),
        };
        if result.is_err() {
            out.detail = "timestamp ".to_owned();
            node.write(&mut out.detail);
        }
        out.gap |= matches!(result, Ok(Some(Stamp { gap: true, .. })));
        result
    }

    /// Notes the unit of a numeric stamp, found by its size where none is set.
    fn note_unit(&self, n: f64, out: &mut Parsed) {
        if self.clock.unit == TimeUnit::Auto {
            out.unit = Some(TimeUnit::by_size(n));
        }
    }

    fn is_good(&self, quality: &Node<'_>) -> bool {
        let mut text = String::new();
        // Without a status there is nothing to object to.
        if *quality == Node::Null {
            return true;
        }
        quality.write(&mut text)
            && self
                .good
                .iter()
                .any(|good| good.eq_ignore_ascii_case(&text))
    }

    /// A scalar as a measured value: a number, or a word where those are wanted.
    pub(super) fn value_of(
        &self,
        node: &Node<'_>,
        member: bool,
        out: &mut Parsed,
    ) -> Result<Measured, Reject> {
        let number = match node {
            Node::Text(text) if member => number::parse_member(text.trim(), self.lenient),
            node => node.measurement(self.lenient),
        };
        match (node, number) {
            (_, Ok(x)) if self.missing.contains(&x) => {
                out.detail = MISSING.to_owned();
                Err(Reject::NoValue)
            }
            (_, Ok(x)) => Ok(Measured::Number(x)),
            (Node::Text(text), Err(Reject::Malformed)) if out.keeps_word(text.trim()) => {
                Ok(out.word(text.trim()))
            }
            (Node::Text(text), Err(Reject::Malformed)) => number::truth(text.trim())
                .map(Measured::Number)
                .ok_or(Reject::Malformed),
            (_, Err(reason)) => Err(reason),
        }
    }

    fn stream_of(
        &self,
        scope: &Scope<'_>,
        record: &RecordView<'_>,
        out: &mut Parsed,
    ) -> Result<Option<Range<u32>>, Reject> {
        let Some(names) = scope.names.filter(|n| n.stream.constant().is_none()) else {
            return Ok(None);
        };
        let mut missing = Ok(());
        let span = out.span(|texts| missing = names.stream.render(record, texts));
        if let Err(part) = missing {
            out.detail = format!("the record has no {part} for its stream's name");
            return Err(Reject::BadName);
        }
        Ok(Some(span))
    }

    /// A value whose channel has the template's name.
    pub(super) fn named(
        &self,
        names: &Names,
        record: &RecordView<'_>,
        value: Measured,
        ts: Option<Stamp>,
        out: &mut Parsed,
    ) -> Result<(), Reject> {
        let scope = Scope {
            names: Some(names),
            ..Scope::default()
        };
        let stream = self.stream_of(&scope, record, out)?;
        let Some(channel) = &names.channel else {
            out.detail = "the payload names no channel".to_owned();
            return Err(Reject::NoChannel);
        };
        if let Some(name) = channel.constant() {
            if self.wants(name, name) {
                out.push(stream, None, value, ts);
            }
            return Ok(());
        }
        let mut missing = Ok(());
        let span = out.span(|texts| missing = channel.render(record, texts));
        if let Err(part) = missing {
            out.detail = format!("the record has no {part} for its channel's name");
            return Err(Reject::NoChannel);
        }
        let name = out.text(span.clone());
        if self.wants(name, name) {
            out.push(stream, Some(span), value, ts);
        }
        Ok(())
    }

    /// An object of channels: nested objects give dotted names. Numbers, booleans and texts that
    /// are numbers are channels; null is a missing channel; other texts and arrays are none.
    fn members(
        &self,
        scope: &Scope<'_>,
        record: &RecordView<'_>,
        value: &Node<'_>,
        shared: &RecordFacts<'_>,
        out: &mut Parsed,
    ) -> Result<(), Reject> {
        let mut path = String::new();
        if let Some(channel) = scope.names.and_then(|names| names.channel.as_ref())
            && let Err(part) = channel.render(record, &mut path)
        {
            out.detail = format!("the record has no {part} for its channels' names");
            return Err(Reject::NoChannel);
        }
        let prefix = path.len() + usize::from(!path.is_empty());
        self.collect(value, shared, prefix, 0, &mut path, out);
        Ok(())
    }

    fn collect(
        &self,
        members: &Node<'_>,
        shared: &RecordFacts<'_>,
        prefix: usize,
        depth: usize,
        path: &mut String,
        out: &mut Parsed,
    ) {
        let Node::Object(members) = members else {
            return;
        };
        for (name, value) in members {
            // A member that names or dates the others is no channel: the same node, not an equal one.
            let mut skip = shared.skip.iter().map_while(|node| *node);
            if skip.any(|node| std::ptr::eq(node, value)) {
                continue;
            }
            let length = path.len();
            if !path.is_empty() {
                path.push('.');
            }
            let from = path.len();
            path.push_str(name);
            no_slashes(path, from);
            match value {
                Node::Object(_) if depth + 1 >= MAX_OBJECT_DEPTH => {
                    out.refuse(Reject::TooDeep, path.as_str());
                }
                Node::Object(_) => self.collect(value, shared, prefix, depth + 1, path, out),
                Node::Null | Node::Array(_) => {}
                _ => self.member(value, shared, path.as_str(), prefix, out),
            }
            path.truncate(length);
        }
    }

    fn member(
        &self,
        value: &Node<'_>,
        shared: &RecordFacts<'_>,
        name: &str,
        prefix: usize,
        out: &mut Parsed,
    ) {
        let within = name.get(prefix..).unwrap_or(name);
        if !self.wants(name, within) {
            return;
        }
        // A channel that is asked for is a number, whatever its text looks like.
        match self.value_of(value, self.only.is_empty(), out) {
            Ok(value) => {
                let channel = out.span(|texts| texts.push_str(name));
                out.push(shared.stream.clone(), Some(channel), value, shared.ts);
            }
            // A name or a unit is no offence; a number that cannot be used is one. A missing
            // value is missing.
            Err(Reject::Malformed | Reject::NoValue) => {}
            Err(reason) => out.refuse(reason, name),
        }
    }

    /// Whether a channel is wanted, by its name or by its path within the record.
    pub(super) fn wants(&self, name: &str, within: &str) -> bool {
        if self.only.is_empty() && self.ignore.is_empty() {
            return true;
        }
        let fits = |globs: &[String]| globs.iter().any(|g| glob(g, name) || glob(g, within));
        (self.only.is_empty() || fits(&self.only)) && !fits(&self.ignore)
    }
}

fn is_list(node: &Node<'_>) -> bool {
    matches!(node, Node::Array(_))
}
