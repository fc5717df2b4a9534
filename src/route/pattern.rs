//! Topic patterns: the filters they subscribe to, and the names they make of a topic.

use super::name::{MAX_NAME_BYTES, is_name};
use crate::payload::{Names, Template};

/// One level of a pattern.
#[derive(Clone, Debug, PartialEq, Eq)]
enum PatternLevel {
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
    levels: Vec<PatternLevel>,
    /// Names of the levels that are captured, in order; empty for `+` and `#`.
    captured: Vec<String>,
    names: Names,
    /// The names are needed to read a payload, also where the topic decides them.
    pub(super) needs_names: bool,
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
            if level == PatternLevel::One || level == PatternLevel::Rest {
                captured.push(name);
            }
            levels.push(level);
        }
        let rest = levels.iter().position(|level| *level == PatternLevel::Rest);
        let rest_at_end = rest.is_none_or(|at| at + 1 == levels.len());
        if topic.is_empty() || topic.len() > 1000 || !rest_at_end {
            return Err("a topic of 1 to 1000 bytes with # only at its end".to_owned());
        }
        let begins_open = matches!(topic.as_bytes()[0], b'+' | b'#') || rest == Some(0);
        if begins_open || (levels[0] == PatternLevel::One && rest == Some(1)) {
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
                PatternLevel::Literal(text) => text.as_str(),
                PatternLevel::One => "+",
                PatternLevel::Rest => "#",
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
                (PatternLevel::Rest, _) => return true,
                (PatternLevel::One, Some(PatternLevel::One | PatternLevel::Literal(_))) => {}
                (PatternLevel::Literal(a), Some(PatternLevel::Literal(b))) if a == b => {}
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
        if topic.starts_with('$') && !matches!(self.levels.first(), Some(PatternLevel::Literal(_)))
        {
            return None;
        }
        let mut captures = Vec::with_capacity(self.captured.len());
        let mut rest = Some(topic);
        for level in &self.levels {
            if *level == PatternLevel::Rest {
                captures.push(rest.unwrap_or_default());
                return Some(captures);
            }
            let (text, behind) = match rest?.split_once('/') {
                Some((text, behind)) => (text, Some(behind)),
                None => (rest?, None),
            };
            rest = behind;
            match level {
                PatternLevel::Literal(literal) if text != literal => return None,
                PatternLevel::Literal(_) | PatternLevel::Rest => {}
                PatternLevel::One => captures.push(text),
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
        // Levels such as $SYS of brokers and $aws of AWS; $queue/ is a group in some brokers.
        let first = topic.split('/').next().unwrap_or_default();
        let lower = first.to_lowercase();
        let is_level = first.len() > 1 && !lower.starts_with("$share") && lower != "$queue";
        if topic.starts_with('$') && (!is_level || first.contains(['{', '}', '+', '#'])) {
            return Err(
                "$share/GROUP/ in front of a topic, or a plain word behind the $".to_owned(),
            );
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
fn level(text: &str) -> Result<(PatternLevel, String), String> {
    let inner = text.strip_prefix('{').and_then(|t| t.strip_suffix('}'));
    match (text, inner) {
        ("+", _) => Ok((PatternLevel::One, String::new())),
        ("#", _) => Ok((PatternLevel::Rest, String::new())),
        (_, Some(inner)) => {
            let (name, level) = match inner.strip_suffix('#') {
                Some(name) => (name, PatternLevel::Rest),
                None => (inner, PatternLevel::One),
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
        _ => Ok((PatternLevel::Literal(text.to_owned()), String::new())),
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
        let level = level.ok_or(
            "one {stream}, or `stream`: a name, or one made of levels and members as in stream = \
             \"{hall}.{/device}\"",
        )?;
        return Ok(Template::of_levels(&[level]));
    }
    let template = template(settings.stream, settings, captured)
        .map_err(|allowed| format!("a `stream` made of {allowed}"))?;
    match level {
        Some(level) if !template.names_level(level) => {
            Err("`stream` to use the level {stream}, or that level called otherwise".to_owned())
        }
        _ => Ok(template),
    }
}

fn channel_template(
    settings: &PatternSettings<'_>,
    captured: &[String],
) -> Result<Option<Template>, String> {
    let level = captured.iter().position(|name| name == "channel");
    if settings.channel.is_empty() {
        return match level {
            Some(level) => Ok(Some(Template::of_levels(&[level]))),
            None if settings.payload_names_channels => Ok(wildcards_behind(settings, captured)),
            None if !settings.default_channel.is_empty() => {
                template(settings.default_channel, settings, captured).map(Some)
            }
            None => Err(
                "one {channel}, or `channel`: a name, or one made of levels as in channel = \
                 \"{part}.{kind}\"; or payload = \"object\", whose members are channels"
                    .to_owned(),
            ),
        };
    }
    let template = template(settings.channel, settings, captured)
        .map_err(|allowed| format!("a `channel` made of {allowed}"))?;
    match level {
        Some(level) if !template.names_level(level) => {
            Err("`channel` to use the level {channel}, or that level called otherwise".to_owned())
        }
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
