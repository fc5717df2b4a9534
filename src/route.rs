//! Topic to stream and channel: patterns, the filters they subscribe to, and the known topics.

use std::collections::HashMap;
use std::sync::Arc;

use crate::payload::{Names, Reject, Template};

/// Bytes of the topics that are remembered: a topic may have 65,535. Those beyond are found anew each time.
const TOPICS_MAX_BYTES: usize = 32 << 20;
/// Longest stream or channel name, bytes.
pub const MAX_NAME_BYTES: usize = 200;

/// One level of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Level {
    Literal(String),
    /// `+` or `{name}`: any one level.
    One,
    /// `#` or `{name#}`: the rest.
    Rest,
}

/// A topic pattern such as `factory/{hall}/{machine}/+/{rest#}`, checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pattern {
    /// `$share/GROUP/`, which the broker takes off.
    share: String,
    levels: Vec<Level>,
    /// Names of the levels that are captured, in order; empty for `+` and `#`.
    captured: Vec<String>,
    names: Names,
    /// The names are needed to read a payload, also where the topic decides them.
    needs_names: bool,
}

/// A pattern as it is written, with the names that are made of it.
#[derive(Clone, Debug, Default)]
pub struct PatternSettings<'a> {
    /// Levels are words, `{name}`, `+` (any level) and a last `#` or `{name#}` (any rest);
    /// `$share/GROUP/` may stand in front.
    pub topic: &'a str,
    /// Template of the stream; empty for the level `{stream}`.
    pub stream: &'a str,
    /// Template of the channel; empty for the level `{channel}`, or none where the payload names
    /// its channels.
    pub channel: &'a str,
    /// The payload names its channels: the channel's template is put before their names.
    pub payload_names_channels: bool,
    /// Template of the channel where nothing else names it; empty for none.
    pub default_channel: &'a str,
    /// Some channels are left out by their name.
    pub has_filters: bool,
    /// Without a `stream`, all named levels make it.
    pub levels_name_stream: bool,
    /// Where a name that is no level is found in the record, such as `/tags/`; empty for nowhere.
    pub tags: &'a str,
}

/// The topic levels that a pattern's `{}`, `+` and `#` stand for.
type Captures<'a> = Vec<&'a str>;

impl Pattern {
    /// Levels are literals, `{stream}`, `{channel}`, `+` (any level) and a last `#` (any rest).
    /// A fixed `stream` or `channel` (empty for none) stands in for a placeholder;
    /// `payload_names_channels` says that neither `{channel}` nor a fixed channel is needed.
    ///
    /// # Errors
    /// The allowed form.
    pub fn new(
        topic: &str,
        stream: &str,
        channel: &str,
        payload_names_channels: bool,
    ) -> Result<Pattern, String> {
        Pattern::build(&PatternSettings {
            topic,
            stream,
            channel,
            payload_names_channels,
            ..PatternSettings::default()
        })
    }

    /// Checks a pattern and its names.
    ///
    /// # Errors
    /// The allowed form.
    pub fn build(settings: &PatternSettings<'_>) -> Result<Pattern, String> {
        let (share, topic) = split_share(settings.topic)?;
        let (mut levels, mut captured) = (Vec::new(), Vec::new());
        for text in topic.split('/') {
            let (level, name) = level(text)?;
            if level == Level::One || level == Level::Rest {
                captured.push(name);
            }
            levels.push(level);
        }
        let rest = levels.iter().position(|level| *level == Level::Rest);
        let rest_at_end = rest.is_none_or(|at| at + 1 == levels.len());
        if topic.is_empty() || topic.len() > 1000 || !rest_at_end {
            return Err("a topic of 1 to 1000 bytes with # only at its end".to_owned());
        }
        let begins_open = matches!(topic.as_bytes()[0], b'+' | b'#') || rest == Some(0);
        if begins_open || (levels[0] == Level::One && rest == Some(1)) {
            return Err("a pattern that starts with a word or {stream}".to_owned());
        }
        for (i, name) in captured.iter().enumerate() {
            if !name.is_empty() && captured[..i].contains(name) {
                return Err(format!("each level named once ({{{name}}} is there twice)"));
            }
        }
        let names = Names {
            stream: stream_template(settings, &captured)?,
            channel: channel_template(settings, &captured)?,
        };
        Ok(Pattern {
            share: share.to_owned(),
            levels,
            captured,
            names,
            needs_names: settings.payload_names_channels
                || settings.has_filters
                || !settings.default_channel.is_empty(),
        })
    }

    /// The MQTT filter that the pattern subscribes to.
    pub fn filter(&self) -> String {
        format!("{}{}", self.share, self.topic_filter())
    }

    /// The same without `$share/GROUP/`: what decides which topics come.
    pub fn topic_filter(&self) -> String {
        let levels: Vec<&str> = self
            .levels
            .iter()
            .map(|level| match level {
                Level::Literal(text) => text.as_str(),
                Level::One => "+",
                Level::Rest => "#",
            })
            .collect();
        levels.join("/")
    }

    /// The group of a shared subscription.
    pub fn share_group(&self) -> Option<&str> {
        self.share.split('/').nth(1)
    }

    /// Every topic of `other` is also one of this pattern.
    pub fn covers(&self, other: &Pattern) -> bool {
        let mut theirs = other.levels.iter();
        for level in &self.levels {
            match (level, theirs.next()) {
                (Level::Rest, _) => return true,
                (Level::One, Some(Level::One | Level::Literal(_))) => {}
                (Level::Literal(a), Some(Level::Literal(b))) if a == b => {}
                _ => return false,
            }
        }
        theirs.next().is_none()
    }

    /// Names of levels that no name of a stream or channel is made of.
    pub fn unused_levels(&self) -> Vec<&str> {
        let used = |at: usize| {
            let channel = self.names.channel.as_ref();
            self.names.stream.names_level(at) || channel.is_some_and(|c| c.names_level(at))
        };
        let captured = self.captured.iter().enumerate();
        captured
            .filter(|(at, name)| !name.is_empty() && !used(*at))
            .map(|(_, name)| name.as_str())
            .collect()
    }

    /// The levels of `topic` that the pattern captures; `None` where it does not fit.
    pub fn matches<'a>(&self, topic: &'a str) -> Option<Captures<'a>> {
        // Topics that a broker keeps for itself are no answer to a wildcard.
        if topic.starts_with('$') && !matches!(self.levels.first(), Some(Level::Literal(_))) {
            return None;
        }
        let mut captures = Vec::with_capacity(self.captured.len());
        let mut rest = Some(topic);
        for level in &self.levels {
            if *level == Level::Rest {
                captures.push(rest.unwrap_or_default());
                return Some(captures);
            }
            let (text, behind) = match rest?.split_once('/') {
                Some((text, behind)) => (text, Some(behind)),
                None => (rest?, None),
            };
            rest = behind;
            match level {
                Level::Literal(literal) if text != literal => return None,
                Level::Literal(_) | Level::Rest => {}
                Level::One => captures.push(text),
            }
        }
        rest.is_none().then_some(captures)
    }

    /// Stream and channel of `topic` as far as it decides them; `None` where it does not fit.
    pub fn names(&self, topic: &str) -> Option<Names> {
        let levels = self.matches(topic)?;
        let channel = self.names.channel.as_ref();
        Some(Names {
            stream: self.names.stream.with_levels(&levels),
            channel: channel.map(|channel| channel.with_levels(&levels)),
        })
    }
}

/// `$share/GROUP/` and the topic behind it.
fn split_share(topic: &str) -> Result<(&str, &str), String> {
    let Some(rest) = topic.strip_prefix("$share/") else {
        if topic.starts_with('$') && !topic.starts_with("$SYS/") {
            return Err("$share/GROUP/ in front of a topic, or no $ at its beginning".to_owned());
        }
        return Ok(("", topic));
    };
    match rest.split_once('/') {
        Some((group, filter))
            if !group.is_empty() && !group.contains(['+', '#', '{', '}']) && !filter.is_empty() =>
        {
            Ok(topic.split_at(topic.len() - filter.len()))
        }
        _ => Err("$share/GROUP/ in front of a topic, with a plain word as GROUP".to_owned()),
    }
}

/// One level, and its name where it has one.
fn level(text: &str) -> Result<(Level, String), String> {
    let inner = text.strip_prefix('{').and_then(|t| t.strip_suffix('}'));
    match (text, inner) {
        ("+", _) => Ok((Level::One, String::new())),
        ("#", _) => Ok((Level::Rest, String::new())),
        (_, Some(inner)) => {
            let (name, level) = match inner.strip_suffix('#') {
                Some(name) => (name, Level::Rest),
                None => (inner, Level::One),
            };
            let is_word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-');
            if name.is_empty() || !name.chars().all(is_word) || is_key(name) {
                return Err(format!(
                    "levels named with letters, digits, _ and - ({text} is none)"
                ));
            }
            Ok((level, name.to_owned()))
        }
        _ if text.contains(['+', '#', '{', '}', '\0']) => Err(
            "levels that are a word, {name} (such as {stream} and {channel}), + or a last # or \
             {name#}"
                .to_owned(),
        ),
        _ => Ok((Level::Literal(text.to_owned()), String::new())),
    }
}

fn is_key(name: &str) -> bool {
    matches!(name, "key" | "key1" | "key2" | "key3")
}

fn template(
    text: &str,
    settings: &PatternSettings<'_>,
    captured: &[String],
) -> Result<Template, String> {
    let place = |name: &str| captured.iter().position(|c| c == name);
    let tag = |name: &str| {
        let known = !settings.tags.is_empty() && !name.is_empty();
        let name = name.replace('~', "~0").replace('/', "~1");
        known.then(|| match (settings.tags, name.as_str()) {
            ("/tags/", "measurement") => "/measurement".to_owned(),
            (tags, name) => format!("{tags}{name}"),
        })
    };
    let template = Template::new(text, place, tag)?;
    if let Some(name) = template.constant()
        && !is_name(name)
    {
        return Err(format!(
            "names of 1 to {MAX_NAME_BYTES} bytes, without / + #, got {name:?}"
        ));
    }
    Ok(template)
}

fn stream_template(
    settings: &PatternSettings<'_>,
    captured: &[String],
) -> Result<Template, String> {
    let level = captured.iter().position(|name| name == "stream");
    if settings.stream.is_empty() && settings.levels_name_stream && level.is_none() {
        // A last # is the device, as a rule: it belongs to the name.
        let last = captured.len().saturating_sub(1);
        let named: Vec<usize> = (0..captured.len())
            .filter(|at| !captured[*at].is_empty() || *at == last)
            .collect();
        return Ok(Template::of_levels(&named));
    }
    if settings.stream.is_empty() {
        let level = level.ok_or("one {stream}, or none and a fixed `stream`")?;
        return Ok(Template::of_levels(&[level]));
    }
    let template = template(settings.stream, settings, captured)
        .map_err(|allowed| format!("a `stream` made of {allowed}"))?;
    match level {
        Some(level) if !template.names_level(level) => {
            Err("one {stream}, or none and a fixed `stream`".to_owned())
        }
        _ => Ok(template),
    }
}

fn channel_template(
    settings: &PatternSettings<'_>,
    captured: &[String],
) -> Result<Option<Template>, String> {
    let level = captured.iter().position(|name| name == "channel");
    let allowed = || "one {channel}, or none and a fixed `channel`".to_owned();
    if settings.channel.is_empty() {
        return match level {
            Some(level) => Ok(Some(Template::of_levels(&[level]))),
            None if settings.payload_names_channels => Ok(wildcards_behind(settings, captured)),
            None if !settings.default_channel.is_empty() => {
                template(settings.default_channel, settings, captured).map(Some)
            }
            None => Err(allowed()),
        };
    }
    let template = template(settings.channel, settings, captured)
        .map_err(|allowed| format!("a `channel` made of {allowed}"))?;
    match level {
        Some(level) if !template.names_level(level) => Err(allowed()),
        _ => Ok(Some(template)),
    }
}

/// Levels behind `{stream}` that a wildcard stands for: they tell apart the objects of one stream,
/// whose members would have the same names.
fn wildcards_behind(settings: &PatternSettings<'_>, captured: &[String]) -> Option<Template> {
    let stream = captured.iter().position(|name| name == "stream");
    let wild: Vec<usize> = (0..captured.len())
        .filter(|at| captured[*at].is_empty() && stream.is_none_or(|stream| *at > stream))
        .collect();
    let named_elsewhere = !settings.stream.is_empty() && settings.stream.contains('{');
    (!wild.is_empty() && !named_elsewhere).then(|| Template::of_levels(&wild))
}

/// A name that may stand as a topic level.
fn is_name(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= MAX_NAME_BYTES
        && !text.contains(['/', '+', '#'])
        && !text.chars().any(|c| c.is_control() || is_invisible(c))
}

/// Characters without a shape of their own that make two names look alike, or turn text around: format
/// characters and separators of lines and paragraphs (Unicode's Cf, Zl, Zp, as far as they occur in text).
fn is_invisible(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

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
    pub stream: Option<Arc<str>>,
    /// Channel; `None` where the payload names its channels.
    pub channel: Option<Arc<str>>,
    /// Names that the payload is read with; `None` where it has no need of them.
    pub names: Option<Names>,
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
    streams: HashMap<Arc<str>, Channels>,
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

    /// The route of a topic seen before.
    pub fn known(&self, topic: &str) -> Option<&Arc<Route>> {
        self.topics.get(topic)
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
    pub fn stream(&mut self, name: &str) -> Result<Arc<str>, Reject> {
        if let Some((known, _)) = self.streams.get_key_value(name) {
            return Ok(known.clone());
        }
        if !is_name(name) {
            return Err(Reject::BadName);
        }
        if self.streams.len() >= self.max_streams {
            return Err(Reject::TooManyStreams);
        }
        let name: Arc<str> = name.into();
        let listed = self.listed.iter().map(|channel| (channel.clone(), None));
        self.streams.insert(name.clone(), listed.collect());
        Ok(name)
    }

    /// The channel named `name` of an admitted stream, admitted if there is room, whoever gives it.
    ///
    /// # Errors
    /// If the name is none or there are `max_channels` others.
    pub fn channel(&mut self, stream: &str, name: &str) -> Result<Arc<str>, Reject> {
        let channels = self.streams.get_mut(stream).ok_or(Reject::NoRoute)?;
        channel_in(channels, name, None, self.max_channels)
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
        let channels = self.streams.get_mut(stream).ok_or(Reject::NoRoute)?;
        channel_in(channels, name, Some(topic), self.max_channels)
    }

    /// Gives up streams: their names and topics are as good as never seen.
    pub fn remove(&mut self, streams: &[Arc<str>]) {
        let gone = |stream: &Arc<str>| streams.contains(stream);
        self.streams.retain(|stream, _| !gone(stream));
        let bytes = &mut self.topic_bytes;
        self.topics.retain(|topic, route| {
            let stays = !route.stream.as_ref().is_some_and(gone);
            *bytes -= if stays { 0 } else { topic.len() };
            stays
        });
    }

    /// The topic that gives a channel.
    pub fn source(&self, stream: &str, channel: &str) -> Option<&Arc<str>> {
        self.streams.get(stream)?.get(channel)?.as_ref()
    }

    /// The stream named `name`, if it has been admitted.
    pub fn admitted(&self, name: &str) -> Option<&Arc<str>> {
        self.streams.get_key_value(name).map(|(known, _)| known)
    }

    /// Names of the streams admitted.
    pub fn streams(&self) -> impl Iterator<Item = &Arc<str>> {
        self.streams.keys()
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
        let named = |pattern: &Pattern, topic: &str| {
            let names = pattern.names(topic)?;
            let channel = names.channel.map(|c| c.constant().unwrap().to_owned());
            Some((names.stream.constant().unwrap().to_owned(), channel))
        };
        let both =
            |stream: &str, channel: &str| Some((stream.to_owned(), Some(channel.to_owned())));
        assert_eq!(named(&plant(), "plant/pump1/flow"), both("pump1", "flow"));
        for topic in ["plant/pump1", "plant/pump1/flow/x", "plants/pump1/flow", ""] {
            assert_eq!(plant().matches(topic), None, "{topic}");
        }
        let fixed = Pattern::new("site/+/{channel}/#", "press", "", false).unwrap();
        assert_eq!(fixed.filter(), "site/+/+/#");
        assert_eq!(named(&fixed, "site/a/flow/raw/x"), both("press", "flow"));
        assert_eq!(named(&fixed, "site/a/flow"), both("press", "flow"));
        let object = Pattern::new("plant/{stream}", "", "", true).unwrap();
        assert_eq!(
            named(&object, "plant/pump1"),
            Some(("pump1".to_owned(), None))
        );
        let switches = Pattern::new("{stream}/status/+", "", "", true).unwrap();
        assert_eq!(
            named(&switches, "shelly/status/switch:1"),
            both("shelly", "switch:1")
        );
    }

    #[test]
    fn a_pattern_that_cannot_work_is_refused() {
        for (topic, stream, channel, names) in [
            ("", "", "", false),
            ("plant/{stream}", "", "", false),
            ("plant/{channel}", "", "", false),
            ("plant/{stream}/{stream}/{channel}", "", "", false),
            ("plant/{stream}/{channel}", "s", "", false),
            ("plant/{hall}/{hall}", "s", "c", false),
            ("$share/plant", "s", "c", false),
            ("$share/g+/plant/{stream}/{channel}", "", "", false),
            ("plant/{key}", "s", "c", false),
            ("plant/{hall}", "{hal}", "c", false),
            ("{rest#}", "s", "c", false),
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
    fn named_levels_make_names_and_a_shared_subscription_is_taken_off() {
        let pattern = Pattern::build(&PatternSettings {
            topic: "$share/g1/factory/{hall}/{machine}/+/{rest#}",
            stream: "{hall}.{machine}",
            channel: "m_{rest}",
            ..PatternSettings::default()
        })
        .unwrap();
        assert_eq!(pattern.filter(), "$share/g1/factory/+/+/+/#");
        assert_eq!(pattern.share_group(), Some("g1"));
        let names = pattern.names("factory/h1/press/x/temp/oil").unwrap();
        assert_eq!(names.stream.constant(), Some("h1.press"));
        assert_eq!(names.channel.unwrap().constant(), Some("m_temp.oil"));
        let merged = Pattern::new("factory/{hall}/{stream}/{channel}", "", "", false).unwrap();
        assert_eq!(merged.unused_levels(), ["hall"]);
    }

    #[test]
    fn a_pattern_covers_another_where_it_takes_all_of_its_topics() {
        let pattern = |topic: &str| Pattern::new(topic, "s", "c", false).unwrap();
        for (wide, narrow, covers) in [
            ("plant/+/x", "plant/a/x", true),
            ("plant/#", "plant/a/{n}/+", true),
            ("plant/#", "plant", true),
            ("plant/{a}/{b}", "plant/+/+", true),
            ("plant/a/x", "plant/+/x", false),
            ("plant/+/x", "plant/#", false),
            ("plant/+", "plant/a/b", false),
        ] {
            assert_eq!(
                pattern(wide).covers(&pattern(narrow)),
                covers,
                "{wide} {narrow}"
            );
        }
    }

    #[test]
    fn two_topics_of_one_channel_collide_and_the_first_stays() {
        let pattern = Pattern::new("factory/+/{stream}/{channel}", "", "", false).unwrap();
        let mut router = Router::new(vec![pattern], "spiked/main", 10, 10, vec!["x".into()]);
        assert!(router.admit("factory/hall1/press/x").is_ok());
        assert_eq!(
            router.admit("factory/hall2/press/x"),
            Err(Reject::Collision)
        );
        assert!(router.admit("factory/hall2/press/y").is_ok());
        assert!(router.admit("factory/hall1/press/x").is_ok());
        let source = router.source("press", "x").unwrap();
        assert_eq!(&**source, "factory/hall1/press/x");
        assert!(router.known("factory/hall2/press/x").is_none());
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
        assert!(Arc::ptr_eq(
            a.stream.as_ref().unwrap(),
            b.stream.as_ref().unwrap()
        ));
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

    #[test]
    fn names_that_cannot_be_seen_and_outputs_of_other_instances_are_refused() {
        for name in ["a\u{202e}b", "a\u{200b}", "a\u{2028}b", "\u{feff}a"] {
            let topic = format!("plant/{name}/c");
            assert_eq!(router(9, 9).find(&topic), Err(Reject::BadName), "{name:?}");
        }
        let all = Pattern::new("{stream}/{channel}/#", "", "", false);
        let router = |pattern| Router::new(vec![pattern], "spiked/main", 9, 9, Vec::new());
        if let Ok(all) = all {
            let router = router(all);
            for topic in ["spiked/other/pump/prediction", "spiked/other/status"] {
                assert_eq!(router.find(topic), Err(Reject::OwnTopic), "{topic}");
            }
            assert!(router.find("plant/pump/prediction").is_ok());
        }
    }
}
