//! Topic to stream and channel: patterns, the filters they subscribe to, and the known topics.

mod name;
mod pattern;
#[cfg(test)]
mod tests;

use std::collections::HashMap;
use std::sync::Arc;

use crate::payload::{Names, Reject, Template};
use crate::row::StreamId;
pub use name::MAX_NAME_BYTES;
pub(crate) use name::is_invisible;
use name::is_name;
pub use pattern::{Pattern, PatternSettings};

/// Bytes of the topics that are remembered: a topic may have 65,535. Those beyond are found anew each time.
const TOPICS_MAX_BYTES: usize = 32 << 20;
/// A topic's meaning, before its payload is looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Match {
    /// Index of the pattern.
    pub input: usize,
    /// Stream and channel, as far as the topic decides them.
    pub names: Names,
    /// The names are needed to read a payload, also where the topic decides them.
    pub needs_names: bool,
    /// Source of the readings, where several topics are one.
    pub source: Option<String>,
}

impl Match {
    /// Stream name, where the topic decides it.
    pub fn stream(&self) -> Option<&str> {
        self.names.stream.constant()
    }

    /// Channel name, where the topic decides it.
    pub fn channel(&self) -> Option<&str> {
        self.names.channel.as_ref().and_then(Template::constant)
    }

    /// Whether the names are needed to read a payload.
    pub fn asks_payload(&self) -> bool {
        self.needs_names || self.stream().is_none() || self.channel().is_none()
    }
}

/// Where readings of a known topic go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Route {
    /// Index of the pattern.
    pub input: usize,
    /// Source of the readings: the topic, as a rule.
    pub source: Arc<str>,
    /// Stream; `None` where the payload names it.
    pub stream: Option<StreamId>,
    /// Channel; `None` where the payload names its channels.
    pub channel: Option<Arc<str>>,
    /// Names that the payload is read with; `None` where it has no need of them.
    pub names: Option<Names>,
}

/// A stream that may come, and its channels.
#[derive(Debug)]
struct AdmittedStream {
    id: StreamId,
    channels: Channels,
}

/// Channels of one stream, each with the topic that gives it; `None` until one does.
type Channels = HashMap<Arc<str>, Option<Arc<str>>>;

/// The patterns, and the streams, channels and topics known so far. Bounded: topics are kept only
/// for admitted channels of admitted streams.
#[derive(Debug)]
pub struct Router {
    patterns: Vec<Pattern>,
    own_prefix: String,
    max_streams: usize,
    max_channels: usize,
    listed: Vec<Arc<str>>,
    streams: HashMap<Arc<str>, AdmittedStream>,
    topics: HashMap<Arc<str>, Arc<Route>>,
    /// Bytes of these topics.
    topic_bytes: usize,
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
            topic_bytes: 0,
        }
    }

    /// Goes on with other patterns. Streams and channels stay; the topics that give them are found anew.
    pub fn replace_patterns(&mut self, patterns: Vec<Pattern>) {
        self.patterns = patterns;
        self.topics.clear();
        self.topic_bytes = 0;
        let streams = self.streams.values_mut();
        let channels = streams.flat_map(|stream| stream.channels.values_mut());
        channels.for_each(|source| *source = None);
    }

    /// The route of a topic seen before.
    pub fn known(&self, topic: &str) -> Option<&Arc<Route>> {
        self.topics.get(topic)
    }

    /// Prefix and instance, below which we publish.
    pub fn own_topics(&self) -> &str {
        self.own_prefix.trim_end_matches('/')
    }

    /// Messages of another instance under our prefix are no measurements, unless a pattern names the
    /// prefix: two that feed each other would never come to an end.
    fn is_output(&self, topic: &str) -> bool {
        let prefix = self.own_prefix.trim_end_matches('/').rsplit_once('/');
        let Some((prefix, _)) = prefix else {
            return false;
        };
        let rest = topic.strip_prefix(prefix);
        let Some(rest) = rest.and_then(|rest| rest.strip_prefix('/')) else {
            return false;
        };
        let mut levels = rest.split('/').rev();
        let is_output = matches!(
            (levels.next(), levels.count()),
            (
                Some("prediction" | "anomaly" | "feedback" | "mute" | "forget"),
                2
            ) | (Some("status"), 1)
        );
        let names_it = |pattern: &Pattern| pattern.filter().starts_with(prefix);
        is_output && !self.patterns.iter().any(names_it)
    }

    /// A topic's meaning, before its payload is looked at.
    ///
    /// # Errors
    /// Why the topic is refused.
    pub fn find(&self, topic: &str) -> Result<Match, Reject> {
        if topic.starts_with(&self.own_prefix) || self.is_output(topic) {
            return Err(Reject::OwnTopic);
        }
        let mut patterns = self.patterns.iter().enumerate();
        let found = patterns.find_map(|(input, pattern)| {
            Some(Match {
                input,
                names: pattern.names(topic)?,
                needs_names: pattern.needs_names,
                source: None,
            })
        });
        let found = found.ok_or(Reject::NoRoute)?;
        if found.channel().is_some_and(str::is_empty) {
            return Err(Reject::NoChannel);
        }
        if !found.stream().is_none_or(is_name) || !found.channel().is_none_or(is_name) {
            return Err(Reject::BadName);
        }
        Ok(found)
    }

    /// Admits the stream and channel of a topic whose payload was good, and remembers the topic.
    ///
    /// # Errors
    /// If there are too many streams or channels, or another topic gives the channel already.
    pub fn admit(&mut self, topic: &str) -> Result<Arc<Route>, Reject> {
        let found = self.find(topic)?;
        self.admit_found(topic, found, true)
    }

    /// As [`Router::admit`], for what [`Router::find`] found; `bare` where the topic's channel
    /// itself has a value, not only members under its name.
    ///
    /// # Errors
    /// As [`Router::admit`].
    pub fn admit_found(
        &mut self,
        topic: &str,
        found: Match,
        bare: bool,
    ) -> Result<Arc<Route>, Reject> {
        let topic: Arc<str> = topic.into();
        let source: Arc<str> = match &found.source {
            Some(source) => source.as_str().into(),
            None => topic.clone(),
        };
        let stream = match found.stream() {
            Some(stream) => Some(self.stream(stream)?),
            None => None,
        };
        let channel = match (&stream, found.channel()) {
            (Some(stream), Some(channel)) if bare => {
                Some(self.channel_of(stream, channel, &source)?)
            }
            _ => None,
        };
        let asks_payload = found.asks_payload();
        let route = Arc::new(Route {
            input: found.input,
            source,
            stream,
            channel,
            names: asks_payload.then_some(found.names),
        });
        // Wildcard levels can make many topics of one channel: those beyond the bound are found
        // anew each time.
        let bound = self.max_streams.saturating_mul(self.max_channels);
        let has_room = self.topics.len() < bound.min(1_000_000);
        if has_room && self.topic_bytes + topic.len() <= TOPICS_MAX_BYTES {
            self.topic_bytes += topic.len();
            self.topics.insert(topic, route.clone());
        }
        Ok(route)
    }

    /// The stream named `name`, admitted if there is room.
    ///
    /// # Errors
    /// If the name is none or there are `max_streams` others.
    pub fn stream(&mut self, name: &str) -> Result<StreamId, Reject> {
        if let Some(known) = self.streams.get(name) {
            return Ok(known.id.clone());
        }
        if !is_name(name) {
            return Err(Reject::BadName);
        }
        if self.streams.len() >= self.max_streams {
            return Err(Reject::TooManyStreams);
        }
        let id = StreamId::from(name);
        let listed = self.listed.iter().map(|channel| (channel.clone(), None));
        let stream = AdmittedStream {
            id: id.clone(),
            channels: listed.collect(),
        };
        self.streams.insert(id.name().clone(), stream);
        Ok(id)
    }

    /// The channel named `name` of an admitted stream, admitted if there is room, whoever gives it.
    ///
    /// # Errors
    /// If the name is none or there are `max_channels` others.
    pub fn channel(&mut self, stream: &str, name: &str) -> Result<Arc<str>, Reject> {
        let stream = self.streams.get_mut(stream).ok_or(Reject::NoRoute)?;
        channel_in(&mut stream.channels, name, None, self.max_channels)
    }

    /// As [`Router::channel`], for `topic`: the first to give a channel is the only one.
    ///
    /// # Errors
    /// As [`Router::channel`], and if another topic gives the channel.
    pub fn channel_of(
        &mut self,
        stream: &str,
        name: &str,
        topic: &Arc<str>,
    ) -> Result<Arc<str>, Reject> {
        let stream = self.streams.get_mut(stream).ok_or(Reject::NoRoute)?;
        channel_in(&mut stream.channels, name, Some(topic), self.max_channels)
    }

    /// Gives up streams: their names and topics are as good as never seen.
    pub fn remove(&mut self, streams: &[StreamId]) {
        let gone = |stream: &StreamId| streams.contains(stream);
        self.streams.retain(|_, stream| !gone(&stream.id));
        let bytes = &mut self.topic_bytes;
        self.topics.retain(|topic, route| {
            let stays = !route.stream.as_ref().is_some_and(gone);
            *bytes -= if stays { 0 } else { topic.len() };
            stays
        });
    }

    /// The topic that gives a channel.
    pub fn source(&self, stream: &str, channel: &str) -> Option<&Arc<str>> {
        self.streams.get(stream)?.channels.get(channel)?.as_ref()
    }

    /// The stream named `name`, if it has been admitted.
    pub fn admitted(&self, name: &str) -> Option<&StreamId> {
        self.streams.get(name).map(|known| &known.id)
    }

    /// Names of the streams admitted.
    pub fn streams(&self) -> impl Iterator<Item = &StreamId> {
        self.streams.values().map(|stream| &stream.id)
    }

    /// Streams admitted.
    pub fn n_streams(&self) -> usize {
        self.streams.len()
    }

    /// The patterns, in order.
    pub fn patterns(&self) -> &[Pattern] {
        &self.patterns
    }
}

fn channel_in(
    channels: &mut Channels,
    name: &str,
    topic: Option<&Arc<str>>,
    max_channels: usize,
) -> Result<Arc<str>, Reject> {
    if let Some((known, source)) = channels.get_key_value(name) {
        return match (source, topic) {
            (Some(source), Some(topic)) if !Arc::ptr_eq(source, topic) && source != topic => {
                Err(Reject::Collision)
            }
            (None, Some(topic)) => {
                let known = known.clone();
                channels.insert(known.clone(), Some(topic.clone()));
                Ok(known)
            }
            _ => Ok(known.clone()),
        };
    }
    if !is_name(name) {
        return Err(Reject::BadName);
    }
    if channels.len() >= max_channels {
        return Err(Reject::TooManyChannels);
    }
    let name: Arc<str> = name.into();
    channels.insert(name.clone(), topic.cloned());
    Ok(name)
}
