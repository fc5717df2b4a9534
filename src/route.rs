//! Topic to stream and channel: patterns, the filters they subscribe to, and the known topics.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use crate::payload::Reject;

/// Longest stream or channel name, bytes.
pub const MAX_NAME_BYTES: usize = 200;

/// One level of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Level {
    Literal(String),
    Stream,
    Channel,
    /// `+`: any one level.
    Any,
    /// `#`: the rest.
    Rest,
}

/// A topic pattern such as `plant/{stream}/{channel}`, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    levels: Vec<Level>,
    /// Stream of every topic, where the pattern has no `{stream}`.
    stream: Option<String>,
    /// Channel of every topic, where the pattern has no `{channel}`.
    channel: Option<String>,
}

/// What a topic means under a pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Match<'a> {
    /// Index of the pattern.
    pub input: usize,
    /// Stream name.
    pub stream: &'a str,
    /// Channel name; `None` where the payload names its channels.
    pub channel: Option<&'a str>,
}

impl Pattern {
    /// Levels are literals, `{stream}`, `{channel}`, `+` (any level) and a last `#` (any rest).
    /// A fixed `stream` or `channel` (empty for none) stands in for a placeholder;
    /// `payload_names_channels` says that neither `{channel}` nor a fixed channel is needed.
    ///
    /// # Errors
    /// What is allowed.
    pub fn new(
        topic: &str,
        stream: &str,
        channel: &str,
        payload_names_channels: bool,
    ) -> Result<Pattern, String> {
        let mut levels = Vec::new();
        for text in topic.split('/') {
            levels.push(match text {
                "{stream}" => Level::Stream,
                "{channel}" => Level::Channel,
                "+" => Level::Any,
                "#" => Level::Rest,
                _ if text.contains(['+', '#', '{', '}', '\0']) => {
                    return Err(
                        "levels that are a word, {stream}, {channel}, + or a last #".to_owned()
                    );
                }
                _ => Level::Literal(text.to_owned()),
            });
        }
        let count = |what: Level| levels.iter().filter(|level| **level == what).count();
        let rest_at_end = match count(Level::Rest) {
            0 => true,
            1 => levels.last() == Some(&Level::Rest),
            _ => false,
        };
        if topic.is_empty() || topic.len() > 1000 || !rest_at_end {
            return Err("a topic of 1 to 1000 bytes with # only at its end".to_owned());
        }
        if topic.starts_with(['+', '#']) || topic.starts_with("{stream}/#") {
            return Err("a pattern that starts with a word or {stream}".to_owned());
        }
        for (what, level, fixed, elsewhere) in [
            ("stream", Level::Stream, stream, false),
            ("channel", Level::Channel, channel, payload_names_channels),
        ] {
            let n = count(level) + usize::from(!fixed.is_empty());
            if elsewhere && n != 0 {
                return Err(format!("no {{{what}}}: the payload names its {what}s"));
            }
            if !elsewhere && n != 1 {
                return Err(format!("one {{{what}}}, or none and a fixed `{what}`"));
            }
            if !fixed.is_empty() && !is_name(fixed) {
                return Err(format!(
                    "a {what} of at most {MAX_NAME_BYTES} bytes, without / + #"
                ));
            }
        }
        let fixed = |text: &str| (!text.is_empty()).then(|| text.to_owned());
        Ok(Pattern {
            levels,
            stream: fixed(stream),
            channel: fixed(channel),
        })
    }

    /// The MQTT filter that the pattern subscribes to.
    pub fn filter(&self) -> String {
        let levels: Vec<&str> = self
            .levels
            .iter()
            .map(|level| match level {
                Level::Literal(text) => text.as_str(),
                Level::Stream | Level::Channel | Level::Any => "+",
                Level::Rest => "#",
            })
            .collect();
        levels.join("/")
    }

    /// Stream and channel of `topic`; `None` where the pattern does not fit.
    pub fn matches<'a>(&'a self, topic: &'a str) -> Option<(&'a str, Option<&'a str>)> {
        let mut stream = self.stream.as_deref();
        let mut channel = self.channel.as_deref();
        // What a broker keeps for itself is no answer to a wildcard.
        if topic.starts_with('$') && !matches!(self.levels.first(), Some(Level::Literal(_))) {
            return None;
        }
        let mut texts = topic.split('/');
        for level in &self.levels {
            match level {
                Level::Rest => return Some((stream?, channel)),
                Level::Literal(literal) if texts.next()? != literal => return None,
                Level::Literal(_) => {}
                Level::Stream => stream = Some(texts.next()?),
                Level::Channel => channel = Some(texts.next()?),
                Level::Any => {
                    texts.next()?;
                }
            }
        }
        if texts.next().is_some() {
            return None;
        }
        Some((stream?, channel))
    }
}

/// A name that may stand as a topic level.
fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_NAME_BYTES
        && !text.contains(['/', '+', '#'])
        && !text.chars().any(char::is_control)
}

/// Where readings of a known topic go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Index of the pattern.
    pub input: usize,
    /// Stream.
    pub stream: Arc<str>,
    /// Channel; `None` where the payload names its channels.
    pub channel: Option<Arc<str>>,
}

/// The patterns, and the streams, channels and topics known so far. Bounded: topics are kept only
/// for admitted channels of admitted streams.
#[derive(Debug)]
pub struct Router {
    patterns: Vec<Pattern>,
    own_prefix: String,
    max_streams: usize,
    max_channels: usize,
    listed: Vec<Arc<str>>,
    streams: HashMap<Arc<str>, HashSet<Arc<str>>>,
    topics: HashMap<String, Route>,
}

impl Router {
    /// A router that knows no topic yet. Topics under `own_prefix` are our own outputs; `listed`
    /// channels exist in every stream from the start.
    pub fn new(
        patterns: Vec<Pattern>,
        own_prefix: &str,
        max_streams: usize,
        max_channels: usize,
        listed: Vec<Arc<str>>,
    ) -> Router {
        Router {
            patterns,
            own_prefix: format!("{own_prefix}/"),
            max_streams,
            max_channels,
            listed,
            streams: HashMap::new(),
            topics: HashMap::new(),
        }
    }

    /// The route of a topic seen before.
    pub fn known(&self, topic: &str) -> Option<&Route> {
        self.topics.get(topic)
    }

    /// What a topic means, before its payload is looked at.
    ///
    /// # Errors
    /// Why the topic is refused.
    pub fn find<'a>(&'a self, topic: &'a str) -> Result<Match<'a>, Reject> {
        if topic.starts_with(&self.own_prefix) {
            return Err(Reject::OwnTopic);
        }
        let found = self
            .patterns
            .iter()
            .enumerate()
            .find_map(|(input, pattern)| pattern.matches(topic).map(|found| (input, found)));
        let (input, (stream, channel)) = found.ok_or(Reject::NoRoute)?;
        if channel.is_some_and(str::is_empty) {
            return Err(Reject::NoChannel);
        }
        if !is_name(stream) || !channel.is_none_or(is_name) {
            return Err(Reject::BadName);
        }
        Ok(Match {
            input,
            stream,
            channel,
        })
    }

    /// Admits the stream and channel of a topic whose payload was good, and remembers the topic.
    ///
    /// # Errors
    /// If there are too many streams or channels.
    pub fn admit(&mut self, topic: &str) -> Result<Route, Reject> {
        let Match {
            input,
            stream,
            channel,
        } = self.find(topic)?;
        let (stream, channel) = (stream.to_owned(), channel.map(str::to_owned));
        let stream = self.stream(&stream)?;
        let channel = match channel {
            Some(channel) => Some(self.channel(&stream, &channel)?),
            None => None,
        };
        let route = Route {
            input,
            stream,
            channel,
        };
        // Wildcard levels can make many topics of one channel: those beyond the bound are found
        // anew each time.
        if self.topics.len()
            < self
                .max_streams
                .saturating_mul(self.max_channels)
                .min(1_000_000)
        {
            self.topics.insert(topic.to_owned(), route.clone());
        }
        Ok(route)
    }

    /// The stream named `name`, admitted if there is room.
    ///
    /// # Errors
    /// If there are `max_streams` others.
    pub fn stream(&mut self, name: &str) -> Result<Arc<str>, Reject> {
        if let Some((known, _)) = self.streams.get_key_value(name) {
            return Ok(known.clone());
        }
        if self.streams.len() >= self.max_streams {
            return Err(Reject::TooManyStreams);
        }
        let name: Arc<str> = name.into();
        self.streams
            .insert(name.clone(), self.listed.iter().cloned().collect());
        Ok(name)
    }

    /// The channel named `name` of an admitted stream, admitted if there is room.
    ///
    /// # Errors
    /// If the name is none or there are `max_channels` others.
    pub fn channel(&mut self, stream: &str, name: &str) -> Result<Arc<str>, Reject> {
        let channels = self.streams.get_mut(stream).ok_or(Reject::NoRoute)?;
        if let Some(known) = channels.get(name) {
            return Ok(known.clone());
        }
        if !is_name(name) {
            return Err(Reject::BadName);
        }
        if channels.len() >= self.max_channels {
            return Err(Reject::TooManyChannels);
        }
        let name: Arc<str> = name.into();
        channels.insert(name.clone());
        Ok(name)
    }

    /// The stream named `name`, if it has been admitted.
    pub fn admitted(&self, name: &str) -> Option<&Arc<str>> {
        self.streams.get_key_value(name).map(|(known, _)| known)
    }

    /// Streams admitted.
    pub fn n_streams(&self) -> usize {
        self.streams.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plant() -> Pattern {
        Pattern::new("plant/{stream}/{channel}", "", "", false).unwrap()
    }

    fn router(max_streams: usize, max_channels: usize) -> Router {
        Router::new(
            vec![plant()],
            "spiked/main",
            max_streams,
            max_channels,
            vec![],
        )
    }

    #[test]
    fn a_pattern_finds_stream_and_channel_and_subscribes_to_both() {
        assert_eq!(plant().filter(), "plant/+/+");
        assert_eq!(
            plant().matches("plant/pump1/flow"),
            Some(("pump1", Some("flow")))
        );
        for topic in ["plant/pump1", "plant/pump1/flow/x", "plants/pump1/flow", ""] {
            assert_eq!(plant().matches(topic), None, "{topic}");
        }
        let fixed = Pattern::new("site/+/{channel}/#", "press", "", false).unwrap();
        assert_eq!(fixed.filter(), "site/+/+/#");
        assert_eq!(
            fixed.matches("site/a/flow/raw/x"),
            Some(("press", Some("flow")))
        );
        assert_eq!(fixed.matches("site/a/flow"), Some(("press", Some("flow"))));
        let object = Pattern::new("plant/{stream}", "", "", true).unwrap();
        assert_eq!(object.matches("plant/pump1"), Some(("pump1", None)));
    }

    #[test]
    fn a_pattern_that_cannot_work_is_refused() {
        for (topic, stream, channel, names) in [
            ("", "", "", false),
            ("plant/{stream}", "", "", false),
            ("plant/{channel}", "", "", false),
            ("plant/{stream}/{stream}/{channel}", "", "", false),
            ("plant/{stream}/{channel}", "s", "", false),
            ("plant/{stream}/{channel}", "", "", true),
            ("plant/#/{stream}/{channel}", "", "", false),
            ("plant/x{stream}/{channel}", "", "", false),
            ("#", "s", "c", false),
            ("plant/x", "a/b", "c", false),
        ] {
            assert!(
                Pattern::new(topic, stream, channel, names).is_err(),
                "{topic}"
            );
        }
    }

    #[test]
    fn topics_without_a_channel_or_with_bad_names_are_refused() {
        let router = router(10, 10);
        let long = format!("plant/{}/c", "x".repeat(MAX_NAME_BYTES + 1));
        for (topic, reason) in [
            ("plant/pump1/", Reject::NoChannel),
            ("plant//flow", Reject::BadName),
            ("plant/pump1", Reject::NoRoute),
            ("plant/pu\u{7}mp/flow", Reject::BadName),
            (long.as_str(), Reject::BadName),
            ("spiked/main/pump1/prediction", Reject::OwnTopic),
        ] {
            assert_eq!(router.find(topic), Err(reason), "{topic}");
        }
    }

    #[test]
    fn streams_and_channels_beyond_their_caps_are_refused_and_the_others_go_on() {
        let mut router = router(2, 2);
        assert!(router.admit("plant/a/x").is_ok());
        assert!(router.admit("plant/a/y").is_ok());
        assert_eq!(router.admit("plant/a/z"), Err(Reject::TooManyChannels));
        assert!(router.admit("plant/b/x").is_ok());
        assert_eq!(router.admit("plant/c/x"), Err(Reject::TooManyStreams));
        assert!(router.known("plant/a/x").is_some());
        assert!(router.known("plant/c/x").is_none());
        assert_eq!(router.n_streams(), 2);
    }

    #[test]
    fn names_are_shared_between_the_topics_of_a_stream() {
        let mut router = router(10, 10);
        let a = router.admit("plant/a/x").unwrap();
        let b = router.admit("plant/a/y").unwrap();
        assert!(Arc::ptr_eq(&a.stream, &b.stream));
    }

    /// MQTT's own rule for filters, written on lists.
    fn filter_matches(filter: &[&str], topic: &[&str]) -> bool {
        match (filter, topic) {
            (["#"], _) => true,
            (["+", f @ ..], [_, t @ ..]) => filter_matches(f, t),
            ([a, f @ ..], [b, t @ ..]) => a == b && filter_matches(f, t),
            ([], []) => true,
            _ => false,
        }
    }

    proptest! {
        #[test]
        fn a_pattern_fits_exactly_the_topics_that_its_filter_delivers(
            pattern in prop::collection::vec(
                prop::sample::select(vec!["a", "b", "+", "{stream}", "{channel}"]), 1..5),
            rest in any::<bool>(),
            topic in prop::collection::vec(prop::sample::select(vec!["a", "b", "c", ""]), 1..6),
        ) {
            let mut levels = vec!["root"];
            levels.extend(pattern);
            if rest {
                levels.push("#");
            }
            let text = levels.join("/");
            let stream = if text.contains("{stream}") { "" } else { "s" };
            let channel = if text.contains("{channel}") { "" } else { "c" };
            if let Ok(pattern) = Pattern::new(&text, stream, channel, false) {
                let topic = format!("root/{}", topic.join("/"));
                let filter = pattern.filter();
                let filter: Vec<&str> = filter.split('/').collect();
                let levels: Vec<&str> = topic.split('/').collect();
                prop_assert_eq!(
                    pattern.matches(&topic).is_some(),
                    filter_matches(&filter, &levels)
                );
            }
        }
    }
}
