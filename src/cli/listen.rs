//! Listens to a broker for a while and says what came and what the inputs made of it: for
//! `spiked check --listen` and `spiked discover`.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use crate::cli::CliError;
use crate::config::{MqttSettings, Protocol};
use crate::decode::{Decoder, InboundMessage, Refusals};
use crate::mqtt::{Delivered, LinkOptions, V4, V5, listen};
use crate::replay::SeenValues;
use crate::row::Reading;

/// Names shown of a list.
const MAX_NAMES: usize = 12;
/// Fewest values from which a kind is proposed: a sensor that wavers rises so often in turn once in a
/// million times.
const FEWEST_VALUES: u64 = 20;
/// Refusals shown.
const MAX_REFUSALS: usize = 30;

/// A message that was heard.
pub struct Heard {
    /// As the broker delivered it.
    pub delivered: Delivered,
    /// When it came, unix milliseconds.
    pub arrival_ms: i64,
}

/// Subscribes to `filters` for `time` under a client id of its own, so that a daemon that runs keeps
/// its session. Returns the messages in order, at most `most`.
///
/// # Errors
/// If the broker cannot be reached, or refuses a filter.
pub fn hear(
    mqtt: &MqttSettings,
    filters: &[(String, u8)],
    time: Duration,
    most: usize,
) -> Result<Vec<Heard>, CliError> {
    let mut options = LinkOptions {
        mqtt: mqtt.clone(),
        status_topic: None,
        clean_session: true,
    };
    options.mqtt.client_id = format!("{}-listen-{}", mqtt.client_id, std::process::id());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    let mut heard = Vec::new();
    let mut keep = |delivered| {
        if heard.len() < most {
            heard.push(Heard {
                delivered,
                arrival_ms: unix_ms(),
            });
        }
    };
    let answer = runtime.block_on(async {
        match mqtt.protocol {
            Protocol::V3 => listen::<V4>(&options, filters, time, &mut keep).await,
            Protocol::V5 => listen::<V5>(&options, filters, time, &mut keep).await,
        }
    });
    let broker = format!("{}:{}", mqtt.host, mqtt.port);
    let granted = answer.map_err(|error| CliError::Runtime(format!("broker {broker}: {error}")))?;
    let refused: Vec<&str> = filters
        .iter()
        .zip(granted)
        .filter(|(_, granted)| !granted)
        .map(|((filter, _), _)| filter.as_str())
        .collect();
    match refused.is_empty() {
        true => Ok(heard),
        false => Err(CliError::Runtime(format!(
            "the broker refuses {}",
            refused.join(", ")
        ))),
    }
}

fn unix_ms() -> i64 {
    let now = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    i64::try_from(now.as_millis()).unwrap_or(i64::MAX)
}

/// One channel, as it was heard.
#[derive(Clone, Debug)]
struct HeardChannel {
    readings: u64,
    first_ms: i64,
    last_ms: i64,
    last: f64,
    changed: bool,
    /// Smallest change.
    step: f64,
    values: SeenValues,
}

impl HeardChannel {
    fn new(reading: &Reading) -> HeardChannel {
        let mut values = SeenValues::default();
        values.observe(reading.value);
        HeardChannel {
            readings: 1,
            first_ms: reading.ts_ms,
            last_ms: reading.ts_ms,
            last: reading.value,
            changed: false,
            step: f64::INFINITY,
            values,
        }
    }

    fn add(&mut self, reading: &Reading) {
        self.readings += 1;
        self.values.observe(reading.value);
        self.first_ms = self.first_ms.min(reading.ts_ms);
        self.last_ms = self.last_ms.max(reading.ts_ms);
        let step = (reading.value - self.last).abs();
        if step > 0.0 {
            self.changed = true;
            self.step = self.step.min(step);
        }
        self.last = reading.value;
    }

    /// Time between two readings, seconds.
    fn period_s(&self) -> Option<f64> {
        let n = self.readings.checked_sub(1).filter(|n| *n > 0)?;
        Some((self.last_ms - self.first_ms) as f64 / 1000.0 / n as f64)
    }
}

/// The streams and refusals that a configuration makes of messages.
#[derive(Default)]
pub struct Made {
    streams: BTreeMap<String, BTreeMap<String, HeardChannel>>,
    /// Topics by the input that took them.
    topics: BTreeMap<usize, BTreeSet<String>>,
    refusals: Refusals,
    n_refused: u64,
    remarks: Vec<String>,
    retained: u64,
}

impl Made {
    /// Reads the messages as the daemon would.
    pub fn of(heard: &[Heard], decoder: &mut Decoder) -> Made {
        let mut made = Made::default();
        let mut readings = Vec::new();
        for Heard {
            delivered,
            arrival_ms,
        } in heard
        {
            let message = InboundMessage {
                topic: &delivered.topic,
                payload: &delivered.payload,
                retained: delivered.retain,
                arrival_ms: *arrival_ms,
                properties: &delivered.properties,
            };
            made.read(message, decoder, &mut readings);
        }
        made
    }

    fn read(
        &mut self,
        message: InboundMessage<'_>,
        decoder: &mut Decoder,
        readings: &mut Vec<Reading>,
    ) {
        let whole = decoder.read(message, readings).err();
        self.remarks.extend(decoder.remarks());
        if message.retained && whole.is_some() {
            self.retained += 1;
            return;
        }
        let parts: Vec<_> = decoder.refused().collect();
        let parts = parts.iter().map(|part| (part.reason, Some(&*part.detail)));
        for (reason, detail) in parts.chain(whole.map(|reason| (reason, None))) {
            self.n_refused += 1;
            let explain = || decoder.explain(reason, detail, &message);
            self.refusals.note(reason, message.topic, 0, explain);
        }
        if whole.is_none()
            && let Some(route) = decoder.router.known(message.topic)
        {
            let topics = self.topics.entry(route.input).or_default();
            topics.insert(message.topic.to_owned());
        }
        for reading in readings.drain(..) {
            let channels = self.streams.entry(reading.stream.to_string()).or_default();
            channels
                .entry(reading.channel.to_string())
                .and_modify(|channel| channel.add(&reading))
                .or_insert_with(|| HeardChannel::new(&reading));
        }
    }

    /// Streams found.
    pub fn n_streams(&self) -> usize {
        self.streams.len()
    }

    /// A line a stream: its channels, and how often a row comes.
    pub fn preview(&self) -> String {
        let mut text = String::new();
        for (stream, channels) in &self.streams {
            let names: Vec<&str> = channels.keys().map(String::as_str).collect();
            let periods = channels.values().filter_map(HeardChannel::period_s);
            let period = periods.fold(f64::INFINITY, f64::min);
            let rows = match period.is_finite() && period > 0.0 {
                true => format!(", a row every {} s", digits(period)),
                false => String::new(),
            };
            // Writing to a string cannot fail, here and below.
            let _ = writeln!(text, "stream {stream}: channels {}{rows}", list(&names));
        }
        text
    }

    /// Lists the messages that came, input by input and stream by stream, and everything refused.
    pub fn report(&self, filters: &[String]) -> String {
        let mut text = String::new();
        for (idx, filter) in filters.iter().enumerate() {
            let topics: Vec<&str> = self.topics.get(&idx).map_or(Vec::new(), |topics| {
                topics.iter().map(String::as_str).collect()
            });
            let took = match topics.is_empty() {
                true => "took nothing".to_owned(),
                false => format!("took {} topics: {}", topics.len(), list(&topics)),
            };
            let _ = writeln!(text, "input[{idx}] {filter}: {took}");
        }
        text.push_str(&self.preview());
        for (stream, channels) in &self.streams {
            let still = channels
                .iter()
                .filter(|(_, c)| c.readings > 1 && !c.changed);
            let still: Vec<&str> = still.map(|(name, _)| name.as_str()).collect();
            if !still.is_empty() {
                let _ = writeln!(text, "  {stream}: never changed: {}", list(&still));
            }
            for (name, channel) in channels.iter().filter(|(_, c)| c.step.is_finite()) {
                let _ = writeln!(
                    text,
                    "  {stream} {name}: {} readings, last {}, smallest step {}",
                    channel.readings,
                    digits(channel.last),
                    digits(channel.step)
                );
                if let Some(proposal) = channel.values.proposal(name, FEWEST_VALUES) {
                    let _ = writeln!(text, "  proposal for {stream}: {}", proposal.text);
                }
            }
        }
        for remark in &self.remarks {
            let _ = writeln!(text, "{remark}");
        }
        if self.retained > 0 {
            let _ = writeln!(
                text,
                "{} retained messages of unknown age were left out",
                self.retained
            );
        }
        for refused in self.refusals.list().iter().take(MAX_REFUSALS) {
            let _ = writeln!(
                text,
                "{}  ({} of these)",
                refused.last.line(),
                refused.count
            );
        }
        if self.n_refused > 0 {
            let _ = writeln!(text, "{} refused in all", self.n_refused);
        }
        text
    }
}

fn list(names: &[&str]) -> String {
    let shown = names
        .iter()
        .take(MAX_NAMES)
        .copied()
        .collect::<Vec<_>>()
        .join(", ");
    match names.len() > MAX_NAMES {
        true => format!("{shown} and {} more", names.len() - MAX_NAMES),
        false => shown,
    }
}

/// A number with four significant digits at most.
fn digits(x: f64) -> String {
    if x == 0.0 || !x.is_finite() {
        return x.to_string();
    }
    let decimals = (3 - x.abs().log10().floor() as i32).clamp(0, 9) as usize;
    let text = format!("{x:.decimals$}");
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_shown_short() {
        for (x, text) in [(10.004, "10"), (0.1, "0.1"), (1234.56, "1235"), (0.0, "0")] {
            assert_eq!(digits(x), text);
        }
        assert_eq!(list(&["a", "b"]), "a, b");
    }
}
