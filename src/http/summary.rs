//! One stream in a few figures, and the order of streams by trouble.

use std::cmp::Ordering;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;

use super::Site;
use crate::history::shown_severity;
use crate::status::{KeptHistory, StreamView};

/// Usual intervals between readings after which a stream is shown as silent.
const SILENT_INTERVALS: u32 = 10;
/// No stream is shown as silent after less: a hiccup of the network is none.
const LEAST_SILENCE: Duration = Duration::from_secs(5);

/// One line of the list of streams.
#[derive(Clone, Debug, Serialize)]
pub struct ListedStream {
    /// The stream.
    pub stream: Arc<str>,
    /// `muted`, `incident`, `silent`, `warming_up`, `normal`, or `waiting` before the first row.
    pub state: &'static str,
    /// Kind of the open incident.
    pub kind: Option<&'static str>,
    /// Until when the whole stream is muted, unix ms: no incidents, no learning.
    pub muted_until_ms: Option<i64>,
    /// Channels muted by themselves.
    pub muted_channels: Vec<MutedChannel>,
    /// How bad it is now: 1 is the alarm bar.
    pub severity: f64,
    /// Since when an incident is open, unix ms.
    pub open_since_ms: Option<i64>,
    /// Rows seen.
    pub rows: u64,
    /// Rows ever taken into the history: of two answers, the difference is what is new.
    pub taken: u64,
    /// Rows before the stream is judged.
    pub warm_up_rows: u64,
    /// Usual time between rows, ms; null before the second.
    pub period_ms: Option<f64>,
    /// Time of the last row, unix ms.
    pub last_ms: Option<i64>,
    /// Arrival of the last row, unix ms.
    pub last_arrival_ms: Option<i64>,
    /// Time since the last reading came, or since the start where none has, s.
    pub last_reading_age_s: Option<u64>,
    /// Channels.
    pub n_channels: usize,
    /// Share of recent values inside their 90 % interval; null before any.
    pub coverage90: Option<f64>,
    /// One-step error over that of assuming nothing changes; null before any.
    pub rmse_ratio: Option<f64>,
    /// Severities of the last rows, oldest first, `SPARK_POINTS` of `history` at most.
    pub spark: Vec<f32>,
}

/// A channel that is muted by itself.
#[derive(Clone, Debug, Serialize)]
pub struct MutedChannel {
    name: Arc<str>,
    /// Until when, unix ms.
    until_ms: i64,
}

/// Channels muted by themselves.
fn muted_channels(view: Option<&StreamView>) -> Vec<MutedChannel> {
    let channels = view.map_or(&[][..], |view| &view.muted.channels);
    let named = channels.iter().map(|(name, until_ms)| MutedChannel {
        name: name.clone(),
        until_ms: *until_ms,
    });
    named.collect()
}

impl ListedStream {
    /// The figures of one stream.
    pub fn of(site: &Site, name: &Arc<str>, history: &KeptHistory) -> ListedStream {
        let view = site.status.view(name);
        let history = history.lock();
        let open = history.incidents().iter().rev();
        let open = open.map(|record| &record.incident);
        let open_since = open.filter(|i| i.end_ms.is_none()).map(|i| i.start_ms);
        let last = view.as_ref().and_then(|view| view.last.as_ref());
        let stats = view.as_ref().map(|view| &view.stats);
        let learned = stats.filter(|stats| stats.learned > 0);
        let state = match last {
            None if history.is_empty() => "waiting",
            None => "normal",
            Some(last) if last.warming_up => "warming_up",
            Some(last) if last.anomaly => "incident",
            Some(_) => "normal",
        };
        let state = match &view {
            Some(view) if view.muted.until_ms.is_some() => "muted",
            Some(view) if state != "incident" && is_silent(view) => "silent",
            _ => state,
        };
        let is_open = state == "incident";
        let finite = |x: f64| Some(x).filter(|x| x.is_finite());
        ListedStream {
            stream: name.clone(),
            state,
            kind: last.and_then(|last| last.kind).map(|kind| kind.as_str()),
            muted_until_ms: view.as_ref().and_then(|view| view.muted.until_ms),
            muted_channels: muted_channels(view.as_ref()),
            severity: last.map_or(0.0, shown_severity),
            open_since_ms: open_since.take(1).last().filter(|_| is_open),
            rows: history.rows(),
            taken: history.taken(),
            warm_up_rows: site.warm_up_rows,
            period_ms: Some(history.period_ms().round()).filter(|p| *p > 0.0),
            last_ms: history.span_ms().map(|(_, last)| last),
            last_arrival_ms: last.map(|last| last.arrival_ms),
            last_reading_age_s: view.as_ref().map(|view| view.touched.elapsed().as_secs()),
            n_channels: view.as_ref().map_or(0, channels_of),
            coverage90: learned.and_then(|stats| finite(stats.coverage90)),
            rmse_ratio: learned.and_then(|stats| finite(stats.rmse_ratio)),
            spark: history.spark(),
        }
    }

    /// Worst first: open incidents by severity, then what is closest to the bar, then by name.
    pub fn by_trouble(&self, other: &ListedStream) -> Ordering {
        let rank = |s: &ListedStream| match s.state {
            "incident" => 2,
            "silent" => 1,
            _ => 0,
        };
        rank(other)
            .cmp(&rank(self))
            .then_with(|| match rank(self) == 2 {
                true => other.severity.total_cmp(&self.severity),
                // Coarse, so that a quiet list stands still.
                false => half_bars(other).cmp(&half_bars(self)),
            })
            .then_with(|| self.stream.cmp(&other.stream))
    }
}

fn half_bars(summary: &ListedStream) -> i64 {
    (summary.severity * 2.0).floor() as i64
}

/// Nothing has come for [`SILENT_INTERVALS`] usual intervals, by the wall clock.
fn is_silent(view: &StreamView) -> bool {
    let usual = view.usual_interval;
    let patience = usual.saturating_mul(SILENT_INTERVALS).max(LEAST_SILENCE);
    !usual.is_zero() && view.touched.elapsed() > patience
}

fn channels_of(view: &StreamView) -> usize {
    view.channels.len()
}

/// Every stream whose name contains `search`, worst first, `limit` at most; and how many there are.
pub fn summaries(site: &Site, search: &str, limit: usize) -> (usize, Vec<ListedStream>) {
    let histories = site.status.histories();
    let wanted = histories
        .iter()
        .filter(|(name, _)| search.is_empty() || name.contains(search));
    let summaries = wanted.map(|(name, history)| ListedStream::of(site, name, history));
    let mut summaries: Vec<ListedStream> = summaries.collect();
    summaries.sort_by(ListedStream::by_trouble);
    let n = summaries.len();
    summaries.truncate(limit);
    (n, summaries)
}
