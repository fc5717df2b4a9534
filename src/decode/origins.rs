//! Tells whose predictions the streams are made of, and finds instances that feed each other.
//!
//! A prediction names in `via` the instances whose predictions its stream takes in. Where that list comes
//! back with our own name in it, two or more instances would feed each other for ever.

use std::collections::BTreeSet;

use crate::row::{Reading, StreamId, StreamMap};

/// Streams whose origins are remembered, at most.
const MAX_STREAMS: usize = 100_000;
/// Origins of one stream, at most.
const MAX_ORIGINS: usize = 32;
/// Forms of predictions that have a topic level of their own.
const FORMS: [&str; 3] = ["nested", "influx", "thingsboard"];

/// Instances whose predictions each stream takes in.
#[derive(Debug, Default)]
pub(super) struct Origins {
    by_stream: StreamMap<BTreeSet<String>>,
    changed: Vec<StreamId>,
}

/// Origins of a stream, as its predictions name them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StreamOrigins {
    /// The stream.
    pub stream: StreamId,
    /// Instances with their prefix, with blanks between.
    pub via: String,
}

impl Origins {
    /// Notes that the streams of `readings` take in predictions of `instances`.
    pub(super) fn note(&mut self, instances: &BTreeSet<String>, readings: &[Reading]) {
        if self.by_stream.len() > MAX_STREAMS {
            self.by_stream.clear();
        }
        for reading in readings {
            let known = self.by_stream.entry(reading.stream.clone()).or_default();
            let before = known.len();
            let room = MAX_ORIGINS.saturating_sub(before);
            let new = instances.iter().filter(|one| !known.contains(*one));
            let new: Vec<String> = new.take(room).cloned().collect();
            known.extend(new);
            if known.len() > before && !self.changed.contains(&reading.stream) {
                self.changed.push(reading.stream.clone());
            }
        }
    }

    /// Streams whose origins have changed since the last call.
    pub(super) fn take_changed(&mut self) -> Vec<StreamOrigins> {
        let changed = std::mem::take(&mut self.changed).into_iter();
        let changed = changed.filter_map(|stream| {
            let via: Vec<&str> = self
                .by_stream
                .get(&stream)?
                .iter()
                .map(String::as_str)
                .collect();
            Some(StreamOrigins {
                via: via.join(" "),
                stream,
            })
        });
        changed.collect()
    }
}

/// The instances that a prediction comes from: the one that its topic names, and those of its `via`. None
/// where the topic is no prediction's.
pub(super) fn instances_of(topic: &str, payload: &[u8]) -> Option<BTreeSet<String>> {
    let base = match topic.rsplit_once('/')? {
        (base, "prediction" | "anomaly") => base,
        (base, form) if FORMS.contains(&form) => base.strip_suffix("/prediction")?,
        _ => return None,
    };
    let (instance, _stream) = base.rsplit_once('/')?;
    let mut instances = BTreeSet::from([instance.to_owned()]);
    instances.extend(via_of(payload));
    Some(instances)
}

/// The names in the member `via` of a payload. Only predictions are looked through, which we write
/// ourselves: a name has no quotes.
fn via_of(payload: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(payload).unwrap_or_default();
    let Some((_, behind)) = text.rsplit_once("\"via\"") else {
        return Vec::new();
    };
    let list = behind.trim_start_matches([':', ' ']).strip_prefix('"');
    let list = list.and_then(|list| list.split_once('"'));
    let names = list.map_or("", |(list, _)| list).split(' ');
    let names = names.filter(|name| !name.is_empty()).take(MAX_ORIGINS);
    names.map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use crate::decode::InboundMessage;
    use crate::payload::{OutputForm, Reject, add_via};

    /// A decoder of the plant and of other instances' predictions, by arrival.
    fn decoder(prefix: &str, others: &[&str]) -> crate::decode::Decoder {
        let mut text = format!("[output]\nprefix = \"{prefix}\"\n");
        let others = others
            .iter()
            .map(|other| format!("{other}/main/{{stream}}/prediction"));
        for topic in others.chain(["plant/{stream}".to_owned()]) {
            text += &format!("[[input]]\ntopic = \"{topic}\"\npayload = \"object\"\nts = \"\"\n");
        }
        crate::config::from_text(&text).unwrap().decoder(0)
    }

    fn message<'a>(topic: &'a str, payload: &'a str) -> InboundMessage<'a> {
        InboundMessage {
            topic,
            payload: payload.as_bytes(),
            arrival_ms: 1_772_323_200_000,
            ..InboundMessage::default()
        }
    }

    #[test]
    fn a_prediction_that_comes_back_by_way_of_another_instance_is_refused_and_named() {
        let (mut a, mut b) = (decoder("a", &["b"]), decoder("b", &["a"]));
        let mut readings = Vec::new();
        a.read(message("plant/press", r#"{"t":1}"#), &mut readings)
            .unwrap();
        assert!(a.changed_origins().is_empty());
        let of_a = r#"{"v":1,"t.mean":1.5}"#;
        b.read(message("a/main/press/prediction", of_a), &mut readings)
            .unwrap();
        let origins = b.changed_origins();
        assert_eq!((&*origins[0].stream, &*origins[0].via), ("press", "a/main"));
        let mut of_b = r#"{"v":1,"t.mean.mean":1.5}"#.to_owned();
        add_via(OutputForm::Flat, &origins[0].via, &mut of_b);
        let back = message("b/main/press/prediction", &of_b);
        assert_eq!(a.read(back, &mut readings), Err(Reject::OwnTopic));
        let line = a.explain(Reject::OwnTopic, None, &back).line();
        assert!(line.contains("feed each other"), "{line}");
        // A third instance may take them.
        let mut c = decoder("c", &["b"]);
        c.read(back, &mut readings).unwrap();
        assert_eq!(c.changed_origins()[0].via, "a/main b/main");
        assert!(c.changed_origins().is_empty());
    }
}
