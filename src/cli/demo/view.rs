//! Display of the demo: a screen that is redrawn on a terminal, plain lines elsewhere.
//!
//! Everything here makes text from what was seen; nothing reads a clock or a socket.

use std::collections::{BTreeMap, VecDeque};
use std::fmt::Write;

use serde_json::{Map, Value};

use super::cooler;
use super::health::LearningFigures;
use super::plant::{CHANNELS, PERIOD_S, UNITS};
use super::score::{Account, News};

/// Scores kept for the little curve.
const CURVE: usize = 28;
/// Lines of news on the screen.
const NEWS: usize = 8;
/// Columns that two channels a line take.
const WIDE: usize = 106;
/// Columns of a channel's name and unit.
const NAME_WIDTH: usize = 21;
/// Rises from nothing to the alarm bar.
const BLOCKS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// How much is shown.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Detail {
    All,
    Tables,
    Headlines,
}

/// The last prediction of one channel.
#[derive(Clone, Debug, Default, PartialEq)]
struct ChannelPanel {
    value: f64,
    mean: f64,
    sd: f64,
    score: f64,
    /// State and the likeliest one before it was seen; empty for numbers.
    state: String,
    predicted: String,
}

/// State of one stream.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StreamPanel {
    ts_ms: i64,
    rows: u64,
    rows_before: u64,
    rows_per_s: f64,
    warming_up: bool,
    anomaly: bool,
    kind: String,
    score: f64,
    curve: VecDeque<f64>,
    channels: BTreeMap<String, ChannelPanel>,
}

/// The facts of one prediction that the score needs.
#[derive(Clone, Debug, PartialEq)]
pub struct SeenRow {
    /// The stream's name.
    pub stream: String,
    /// Moment of the row, unix milliseconds.
    pub ts_ms: i64,
    /// An incident is open.
    pub anomaly: bool,
    /// Too early to judge.
    pub warming_up: bool,
}

/// Everything that is on the screen.
#[derive(Clone, Debug, Default)]
pub struct Screen {
    /// Commands to look on, a line each.
    hints: Vec<String>,
    /// Simulated seconds a second.
    speed: f64,
    /// Real seconds since the start.
    pub elapsed_s: f64,
    /// How the learning goes, by stream; under "" where it is not told apart.
    pub health: BTreeMap<String, LearningFigures>,
    streams: BTreeMap<String, StreamPanel>,
    news: VecDeque<String>,
}

fn number(object: &Map<String, Value>, key: &str) -> f64 {
    object.get(key).and_then(Value::as_f64).unwrap_or(f64::NAN)
}

fn is_set(object: &Map<String, Value>, key: &str) -> bool {
    object.get(key).and_then(Value::as_f64) == Some(1.0)
}

impl Screen {
    /// An empty screen.
    pub fn new(hints: Vec<String>, speed: f64) -> Screen {
        Screen {
            hints,
            speed,
            ..Screen::default()
        }
    }

    /// Enters a published prediction; `None` if it is none.
    pub fn predict(&mut self, payload: &[u8]) -> Option<SeenRow> {
        let object: Map<String, Value> = serde_json::from_slice(payload).ok()?;
        let name = object.get("stream")?.as_str()?;
        let stream = self.streams.entry(name.to_owned()).or_default();
        stream.ts_ms = object.get("ts")?.as_i64()?;
        stream.rows += 1;
        stream.warming_up = is_set(&object, "warming_up");
        stream.anomaly = is_set(&object, "anomaly");
        stream.score = number(&object, "score");
        let kind = object.get("kind").and_then(Value::as_str);
        stream.kind = kind.unwrap_or_default().to_owned();
        for (key, value) in &object {
            if let Some(channel) = key.strip_suffix(".score") {
                let get = |what: &str| number(&object, &format!("{channel}.{what}"));
                let word = |what: &str| match object.get(&format!("{channel}.{what}")) {
                    Some(Value::String(word)) => word.clone(),
                    Some(other) => other.to_string(),
                    None => String::new(),
                };
                let shown = ChannelPanel {
                    value: get("value"),
                    mean: get("mean"),
                    sd: get("sd"),
                    score: value.as_f64().unwrap_or(f64::NAN),
                    state: word("state"),
                    predicted: word("predicted"),
                };
                stream.channels.insert(channel.to_owned(), shown);
            }
        }
        Some(SeenRow {
            stream: name.to_owned(),
            ts_ms: stream.ts_ms,
            anomaly: stream.anomaly,
            warming_up: stream.warming_up,
        })
    }

    /// Closes a period of `seconds` for the rates and the curves.
    pub fn sample(&mut self, seconds: f64) {
        for stream in self.streams.values_mut() {
            let rate = (stream.rows - stream.rows_before) as f64 / seconds;
            stream.rows_before = stream.rows;
            let keep = if stream.rows_per_s == 0.0 { 0.0 } else { 0.7 };
            stream.rows_per_s = keep * stream.rows_per_s + (1.0 - keep) * rate;
            stream.curve.push_back(stream.score);
            if stream.curve.len() > CURVE {
                stream.curve.pop_front();
            }
        }
    }

    /// Enters a line of news and returns it.
    pub fn tell(&mut self, news: &News) -> String {
        let line = describe(news);
        self.news.push_back(line.clone());
        if self.news.len() > NEWS {
            self.news.pop_front();
        }
        line
    }

    /// The screen as text for a terminal of so many columns and lines: cursor home, every line
    /// cleared to its end. Where it does not fit, the least important parts are left out.
    pub fn draw(&self, account: &Account, width: usize, height: usize) -> String {
        let fit = |detail| self.lines(account, width, detail);
        let mut lines = fit(Detail::All);
        for detail in [Detail::Tables, Detail::Headlines] {
            if lines.len() + 3 > height {
                lines = fit(detail);
            }
        }
        if self.news.is_empty() {
            lines.push(
                "\x1b[2mlearning what is normal; the first fault comes after that".to_owned(),
            );
        }
        let room = height.saturating_sub(lines.len() + 1).min(NEWS);
        let skip = self.news.len().saturating_sub(room);
        lines.extend(self.news.iter().skip(skip).cloned());
        let mut text = String::from("\x1b[H");
        for line in lines.into_iter().take(height.saturating_sub(1)) {
            text.push_str(&line);
            text.push_str("\x1b[0m\x1b[K\n");
        }
        text.push_str("\x1b[J");
        text
    }

    fn lines(&self, account: &Account, width: usize, detail: Detail) -> Vec<String> {
        let mut lines = vec![format!(
            "\x1b[1mspiked demo\x1b[0m   plant time {}, {:.0} times real time   {:.0} s",
            self.plant_time(),
            self.speed,
            self.elapsed_s
        )];
        lines.extend(self.hints.iter().map(|hint| format!("\x1b[2m{hint}")));
        for (name, stream) in &self.streams {
            if detail == Detail::All {
                lines.push(String::new());
            }
            lines.push(stream.headline(name));
            if detail != Detail::Headlines {
                let wide = width >= WIDE;
                lines.extend((detail == Detail::All).then(|| header(wide)));
                lines.extend(stream.table(wide));
            }
            let health = self.health.get(name).filter(|_| detail == Detail::All);
            lines.extend(health.map(|health| format!("  \x1b[2m{}", health.words())));
        }
        if detail == Detail::All {
            lines.push(String::new());
        }
        lines.push(tally(account));
        lines
    }

    /// One line a stream, for where no screen can be drawn.
    pub fn plain(&self) -> Vec<String> {
        let line = |(name, stream): (&String, &StreamPanel)| {
            let worst = stream.worst();
            let mut line = format!(
                "{}  {name}  {:<9} {:>4.0} rows/s  severity {:.2}",
                clock(stream.ts_ms),
                stream.state(),
                stream.rows_per_s,
                stream.score
            );
            if let Some((channel, c)) = worst {
                let _ = write!(
                    line,
                    "  {channel} {} expected {} ± {}",
                    shown(c.value, &c.state),
                    shown(c.mean, &c.predicted),
                    figure(c.sd)
                );
            }
            if let Some(health) = self.health.get(name) {
                let _ = write!(line, "  {}", health.words());
            }
            line
        };
        self.streams.iter().map(line).collect()
    }

    fn plant_time(&self) -> String {
        let newest = self.streams.values().map(|stream| stream.ts_ms).max();
        newest.map_or_else(|| "-".to_owned(), clock)
    }
}

impl StreamPanel {
    fn state(&self) -> &str {
        match (self.warming_up, self.anomaly) {
            (true, _) => "learning",
            (false, false) => "normal",
            (false, true) if self.kind.is_empty() => "anomaly",
            (false, true) => &self.kind,
        }
    }

    fn headline(&self, name: &str) -> String {
        let colour = match (self.warming_up, self.anomaly) {
            (true, _) => "36",
            (false, true) => "1;31",
            (false, false) => "32",
        };
        let curve: String = self.curve.iter().map(|&score| block(score)).collect();
        format!(
            "\x1b[1m{name:<8}\x1b[0m \x1b[{colour}m{:<9}\x1b[0m{:>5.0} rows/s   severity {:>5.2}  \x1b[33m{curve}",
            self.state(),
            self.rows_per_s,
            self.score
        )
    }

    /// The channels in two columns, first half left; or the four highest scores in one.
    fn table(&self, wide: bool) -> Vec<String> {
        let mut names: Vec<&String> = self.channels.keys().collect();
        if !wide {
            let score = |name: &String| self.channels.get(name).map_or(0.0, |c| c.score);
            names.sort_by(|a, b| score(b).total_cmp(&score(a)));
            names.truncate(4);
        }
        names.sort_by_key(|name| channels_and_units().position(|(channel, _)| channel == *name));
        let n_lines = if wide {
            names.len().div_ceil(2)
        } else {
            names.len()
        };
        let cell = |name: &&String| self.cell(name);
        (0..n_lines)
            .map(|i| {
                let left = names.get(i).map(cell).unwrap_or_default();
                let right = names.get(i + n_lines).map(cell).unwrap_or_default();
                format!("  {left}   {right}")
            })
            .collect()
    }

    fn cell(&self, name: &str) -> String {
        let Some(channel) = self.channels.get(name) else {
            return String::new();
        };
        let colour = match channel.score {
            s if s >= 1.0 => "1;31",
            s if s >= 0.5 => "33",
            _ => "0",
        };
        format!(
            "{:<20}\x1b[{colour}m{:>9}\x1b[0m {:>9} ± {:<7}\x1b[{colour}m{}\x1b[0m",
            with_unit(name),
            shown(channel.value, &channel.state),
            shown(channel.mean, &channel.predicted),
            figure(channel.sd),
            block(channel.score)
        )
    }

    fn worst(&self) -> Option<(&String, &ChannelPanel)> {
        self.channels
            .iter()
            .max_by(|a, b| a.1.score.total_cmp(&b.1.score))
    }
}

/// A channel's name with its unit where both fit into their column.
fn with_unit(name: &str) -> String {
    let mut units = channels_and_units();
    let unit = units.find(|(channel, _)| *channel == name);
    let named = unit.map(|(_, unit)| format!("{name} {unit}"));
    let fitting = named.filter(|named| named.chars().count() < NAME_WIDTH);
    fitting.unwrap_or_else(|| name.to_owned())
}

/// Channels in the order in which they are shown, with their units.
fn channels_and_units() -> impl Iterator<Item = (&'static str, &'static str)> {
    let of_pumps = CHANNELS.into_iter().zip(UNITS);
    of_pumps.chain(cooler::CHANNELS.into_iter().zip(cooler::UNITS))
}

/// A state, or the number of a channel without any.
fn shown(value: f64, state: &str) -> String {
    match state {
        "" => figure(value),
        state => state.to_owned(),
    }
}

/// Names of the columns of [`StreamPanel::table`].
fn header(wide: bool) -> String {
    let cell = format!(
        "{:<20}{:>9} {:>9} ± {:<7} ",
        "channel", "measured", "expected", "sd"
    );
    match wide {
        true => format!("  \x1b[2m{cell}   {cell}"),
        false => format!("  \x1b[2m{cell}"),
    }
}

/// Four significant digits or so; a dash for what is missing.
fn figure(value: f64) -> String {
    match value.abs() {
        size if size.is_nan() => "-".to_owned(),
        size if size >= 1000.0 => format!("{value:.0}"),
        size if size >= 100.0 => format!("{value:.1}"),
        size if size >= 10.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

/// The height of a score below the alarm bar.
fn block(score: f64) -> char {
    let height = (score.clamp(0.0, 1.0) * 7.0).round();
    BLOCKS[if height.is_nan() { 0 } else { height as usize }]
}

/// Day and time of day of a simulated moment.
fn clock(ts_ms: i64) -> String {
    const DAYS: [&str; 7] = ["Thu", "Fri", "Sat", "Sun", "Mon", "Tue", "Wed"];
    let seconds = ts_ms.div_euclid(1000);
    let day = DAYS[seconds.div_euclid(86_400).rem_euclid(7) as usize];
    let of_day = seconds.rem_euclid(86_400);
    format!(
        "{day} {:02}:{:02}:{:02}",
        of_day / 3600,
        of_day / 60 % 60,
        of_day % 60
    )
}

/// One line for a piece of news.
pub fn describe(news: &News) -> String {
    let rows = |ms: i64| ms as f64 / 1e3 / PERIOD_S;
    match news {
        News::Begins(edge) => format!(
            "{}  {}  fault {} begins: {} of {}",
            clock(edge.ts),
            edge.stream,
            edge.fault,
            edge.kind.as_str(),
            edge.channel
        ),
        News::Flagged(edge, delay_ms) => format!(
            "{}  {}  fault {} flagged after {:.0} s ({:.0} rows)",
            clock(edge.ts + delay_ms),
            edge.stream,
            edge.fault,
            *delay_ms as f64 / 1e3,
            rows(*delay_ms)
        ),
        News::Ends(edge, flagged) => format!(
            "{}  {}  fault {} ends{}",
            clock(edge.ts),
            edge.stream,
            edge.fault,
            if *flagged { "" } else { ", not flagged" }
        ),
        News::False(stream, ts_ms) => {
            format!("{}  {stream}  flag without a fault", clock(*ts_ms))
        }
        News::Ruled(ended, was_fault) => format!(
            "{}  {}  the operator says of incident {}: {}",
            clock(ended.end_ms),
            ended.stream,
            ended.incident,
            if *was_fault { "a fault" } else { "no fault" }
        ),
    }
}

/// One line of the account so far.
fn tally(account: &Account) -> String {
    let false_ones: usize = account.quiet.values().map(|(n, _)| n).sum();
    format!(
        "\x1b[1mfaults flagged {} of {}\x1b[0m   flags without a fault {false_ones}",
        account.flagged, account.faults
    )
}

/// The closing summary, a line each.
pub fn summary(account: &Account) -> Vec<String> {
    let mut lines = vec![format!(
        "faults flagged: {} of {}, median delay {}",
        account.flagged,
        account.faults,
        match account.median_delay_s.is_nan() {
            true => "-".to_owned(),
            false => format!(
                "{:.0} simulated seconds ({:.0} rows)",
                account.median_delay_s,
                account.median_delay_s / PERIOD_S
            ),
        }
    )];
    for (stream, (n, hours)) in &account.quiet {
        let rate = match *hours > 0.0 {
            true => format!("{:.2}", *n as f64 / hours),
            false => "-".to_owned(),
        };
        lines.push(format!(
            "{stream}: {n} false incidents in {hours:.1} simulated hours without a fault, {rate} per hour"
        ));
    }
    if account.quiet.len() > 1 && account.false_per_hour().is_finite() {
        lines.push(format!(
            "together: {:.2} false incidents per simulated hour and stream",
            account.false_per_hour()
        ));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::super::faults::{FaultEdge, FaultKind};
    use super::*;

    fn prediction(ts: i64, anomaly: u8) -> Vec<u8> {
        format!(
            r#"{{"v":2,"ts":{ts},"stream":"pump-1","flow.value":71.25,"flow.mean":71.3,"flow.sd":0.4,
            "flow.score":0.5,"speed.mean":1301.0,"speed.sd":6.0,"speed.score":0.0,
            "score":0.5,"anomaly":{anomaly},"kind":"surprise","warming_up":0,"last_reading_seq":9}}"#
        )
        .into_bytes()
    }

    #[test]
    fn a_prediction_is_read_and_shown() {
        let mut screen = Screen::default();
        let seen = screen.predict(&prediction(1000, 1)).expect("a prediction");
        assert_eq!(
            (seen.ts_ms, seen.anomaly, seen.warming_up),
            (1000, true, false)
        );
        screen.sample(0.5);
        let shown = screen.draw(&Default::default(), 100, 40);
        for part in [
            "pump-1",
            "surprise",
            "71.25",
            "71.30 ± 0.400",
            "2 rows/s",
            "1301",
        ] {
            assert!(shown.contains(part), "{part} in {shown}");
        }
    }

    #[test]
    fn a_screen_fits_its_terminal() {
        let mut screen = Screen::default();
        screen.predict(&prediction(1000, 0));
        for height in [4, 10, 24, 60] {
            for width in [60, 80, 120] {
                let shown = screen.draw(&Account::default(), width, height);
                assert!(shown.lines().count() <= height, "{width} x {height}");
            }
        }
    }

    #[test]
    fn what_is_no_prediction_is_passed_over() {
        let mut screen = Screen::default();
        for payload in [&b""[..], b"online", b"{}", b"[1]", b"{\"stream\":\"a\"}"] {
            assert_eq!(screen.predict(payload), None);
        }
    }

    #[test]
    fn news_name_fault_and_delay() {
        let edge = FaultEdge {
            fault: 3,
            stream: "pump-3".into(),
            channel: "vibration".into(),
            kind: FaultKind::Noise,
            begins: true,
            ts: 0,
        };
        let mut screen = Screen::default();
        assert_eq!(
            screen.tell(&News::Begins(edge.clone())),
            "Thu 00:00:00  pump-3  fault 3 begins: noise of vibration"
        );
        assert_eq!(
            screen.tell(&News::Flagged(edge, 30_000)),
            "Thu 00:00:30  pump-3  fault 3 flagged after 30 s (3 rows)"
        );
    }

    #[test]
    fn scores_of_any_value_have_a_block() {
        assert_eq!(block(f64::NAN), '▁');
        assert_eq!(block(-1.0), '▁');
        assert_eq!(block(7.0), '█');
    }
}
