//! The JSON shape that the drawing code draws: one stream's history over a range of time.
//!
//! Columns, not rows: `ts_ms[i]`, `score[i]` and `channels[c].value[i]` belong together. A number
//! that does not exist is null. See [`HistoryView`] for each member.

use std::sync::Arc;

use serde::Serialize;

use super::point::{ChannelPoint, Point};
use super::what_if::{AlarmThreshold, alarm_thresholds};
use super::{ChannelEvidence, ChannelNames, IncidentRecord, LearningView, StreamHistory};
use crate::row::Ruling;

/// Version of the shape.
const VERSION: u32 = 1;
/// Points of a sparkline.
pub const SPARK_POINTS: usize = 60;
/// Significant steps within a channel's range that numbers are rounded to: finer than any screen.
const STEPS: f64 = 1e5;

/// The part of a history to show.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Range {
    /// First moment, unix milliseconds.
    pub from_ms: i64,
    /// Last moment, unix milliseconds.
    pub to_ms: i64,
    /// Points at most, or so: neighbours are merged beyond.
    pub max_points: usize,
}

impl Range {
    /// Everything that is kept.
    pub fn all(max_points: usize) -> Range {
        Range {
            from_ms: i64::MIN,
            to_ms: i64::MAX,
            max_points,
        }
    }
}

/// One stream's history, ready to draw.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HistoryView {
    /// Version of this shape.
    pub v: u32,
    /// The stream.
    pub stream: Arc<str>,
    /// Number of the stream's last row.
    pub rows: u64,
    /// Rows ever taken: of two views, the difference is what is new.
    pub taken: u64,
    /// Usual time between rows, ms.
    pub period_ms: f64,
    /// First moment that is kept at all, unix ms; null before the first row.
    pub first_ms: Option<i64>,
    /// Last row, unix ms.
    pub last_ms: Option<i64>,
    /// First row of each point, unix ms, ascending.
    pub ts_ms: Vec<i64>,
    /// Last row of each point, unix ms; equal to `ts_ms` for a point of one row.
    pub end_ms: Vec<i64>,
    /// Highest score of each point's rows: 1 is an alarm.
    pub score: Vec<f32>,
    /// 1 where an incident was open.
    pub flagged: Vec<u8>,
    /// 1 where there were too few rows to judge.
    pub warming_up: Vec<u8>,
    /// The channels.
    pub channels: Vec<ChannelView>,
    /// Incidents within the range, oldest first.
    pub incidents: Vec<IncidentView>,
    /// Where the bar would stand for other rates of false alarms, fewest first.
    pub alarm_thresholds: Vec<AlarmThreshold>,
}

/// One channel: a number, or one of a few states where `states` is not empty.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChannelView {
    /// Its name.
    pub name: Arc<str>,
    /// Unit of its values; empty where not known.
    pub unit: String,
    /// Names of its states; `value`, `low`, `high` and `mean` are places in this list, and `sd` is
    /// the probability that the state seen had before it was seen. Empty for a number.
    pub states: Vec<Arc<str>>,
    /// Measured values; of merged rows the mean (of states the last).
    pub value: Vec<Option<f64>>,
    /// Least measured value of the rows; left out where every point is one row.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub low: Vec<Option<f64>>,
    /// Greatest measured value of the rows; left out where every point is one row.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub high: Vec<Option<f64>>,
    /// Predictive mean, made before the value was seen.
    pub mean: Vec<Option<f64>>,
    /// Predictive standard deviation: ignorance and noise together.
    pub sd: Vec<Option<f64>>,
    /// The part of it that is ignorance of the mean; left out where not known.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub ignorance_sd: Vec<Option<f64>>,
    /// Highest score of the rows: 1 is an alarm.
    pub score: Vec<f32>,
    /// Forecasts made with the last row, nearest first.
    pub fan: Vec<FanPoint>,
}

/// A forecast made with the last row.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct FanPoint {
    /// Index of its channel.
    #[serde(skip)]
    pub channel: usize,
    /// Rows ahead.
    pub horizon_rows: u32,
    /// Moment at which that row is due, unix ms.
    pub ts_ms: i64,
    /// Predictive mean.
    pub mean: f64,
    /// Predictive standard deviation.
    pub sd: f64,
}

/// An incident, ready to show as a card.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IncidentView {
    /// The stream.
    pub stream: Arc<str>,
    /// Number within its stream.
    pub id: u64,
    /// `surprise`, `drift`, `novelty`, `gap`, `stuck`.
    pub kind: &'static str,
    /// First flagged row, unix ms.
    pub start_ms: i64,
    /// Row of the highest score, unix ms.
    pub peak_ms: i64,
    /// First row after it, unix ms; null while it is open.
    pub end_ms: Option<i64>,
    /// How bad it was at its peak: 1 is the alarm bar.
    pub severity: f64,
    /// It lasted so long that it is the new normal, or was ruled so.
    pub accepted: bool,
    /// The operator's verdict: `false`, `true`, `new_normal`; null without.
    pub verdict: Option<&'static str>,
    /// Channels by their share of the evidence, largest first.
    pub channels: Vec<ShareView>,
}

/// A channel's part in an incident.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ShareView {
    /// Its name.
    pub name: Arc<str>,
    /// Unit of its values; empty where not known.
    pub unit: String,
    /// Its share of the evidence, 0 to 1.
    pub share: f64,
    /// Moment of its least expected row, unix ms; null where nothing was predicted.
    pub ts_ms: Option<i64>,
    /// The value then; null for a channel of states.
    pub value: Option<f64>,
    /// The predictive mean for it.
    pub mean: Option<f64>,
    /// The predictive standard deviation for it.
    pub sd: Option<f64>,
    /// The state then; null for a number.
    pub state: Option<Arc<str>>,
    /// The state that was likeliest.
    pub expected_state: Option<Arc<str>>,
    /// The probability that the state had before it was seen.
    pub probability: Option<f64>,
}

impl StreamHistory {
    /// The part of the record in `range`, ready to draw.
    pub fn view(&self, stream: &Arc<str>, range: Range) -> HistoryView {
        let points = self.points();
        let inside = points.filter(|p| p.end_ms >= range.from_ms && p.start_ms <= range.to_ms);
        let points: Vec<&Point> = inside.collect();
        let states = self.which_are_states();
        let merged = thinned(&points, range.max_points, &states);
        let incidents = self.incidents().iter().filter(|record| {
            let end = record.incident.end_ms.unwrap_or(i64::MAX);
            record.incident.start_ms <= range.to_ms && end >= range.from_ms
        });
        let incidents = incidents.map(|record| self.incident_view(stream, record));
        let incidents = incidents.collect();
        self.columns(stream, &merged, incidents)
    }

    /// The last `rows` rows; `None` where they are not kept one by one any more.
    pub fn latest(&self, stream: &Arc<str>, rows: u64) -> Option<HistoryView> {
        let finest = &self.tiers[0];
        let n = usize::try_from(rows).ok().filter(|n| *n <= finest.len())?;
        let points: Vec<Point> = finest.range(finest.len() - n..).cloned().collect();
        let from_ms = points.first().map_or(i64::MAX, |point| point.start_ms);
        let touched = self.incidents().iter().filter(|record| {
            let incident = &record.incident;
            incident.end_ms.is_none_or(|end| end >= from_ms)
        });
        let incidents = touched.map(|record| self.incident_view(stream, record));
        let incidents = incidents.collect();
        Some(self.columns(stream, &points, incidents))
    }

    /// How the figures of the learning went.
    pub fn learning(&self) -> LearningView {
        self.learning.view()
    }

    /// Usual time between rows, ms; 0 before the second.
    pub fn period_ms(&self) -> f64 {
        self.period_ms
    }

    /// Every kept incident, oldest first.
    pub fn incident_views(&self, stream: &Arc<str>) -> Vec<IncidentView> {
        let records = self.incidents().iter();
        let views = records.map(|record| self.incident_view(stream, record));
        views.collect()
    }

    /// Highest scores over the last `4 * SPARK_POINTS` rows, [`SPARK_POINTS`] of them at most.
    pub fn spark(&self) -> Vec<f32> {
        let finest = &self.tiers[0];
        let from = finest.len().saturating_sub(4 * SPARK_POINTS);
        let scores: Vec<f32> = finest.range(from..).map(|point| point.score).collect();
        let highest = |few: &[f32]| few.iter().copied().fold(0.0, f32::max);
        let rounded = |x: f32| (x * 1e3).round() / 1e3;
        scores.chunks(4).map(|few| rounded(highest(few))).collect()
    }

    fn incident_view(&self, stream: &Arc<str>, record: &IncidentRecord) -> IncidentView {
        let incident = &record.incident;
        let share = |share: &crate::row::Share| {
            let name = self.channels.get(share.channel);
            let evidence = record.evidence.get(share.channel);
            share_view(name, share.share, evidence)
        };
        IncidentView {
            stream: stream.clone(),
            id: incident.id,
            kind: incident.kind.as_str(),
            start_ms: incident.start_ms,
            peak_ms: incident.peak_ms,
            end_ms: incident.end_ms,
            severity: record.severity,
            accepted: incident.accepted,
            verdict: incident.verdict.map(Ruling::as_str),
            channels: incident.channels.iter().map(share).collect(),
        }
    }

    fn columns(
        &self,
        stream: &Arc<str>,
        points: &[Point],
        incidents: Vec<IncidentView>,
    ) -> HistoryView {
        let single = points.iter().all(|point| point.rows == 1);
        let channel = |(c, names): (usize, &ChannelNames)| {
            let cells = points.iter().map(|point| point.cells.get(c));
            let fan = self.fan.iter().filter(|point| point.channel == c);
            channel_view(names, &cells.collect::<Vec<_>>(), single, fan.copied())
        };
        let (first_ms, last_ms) = self.span_ms().unzip();
        HistoryView {
            v: VERSION,
            stream: stream.clone(),
            rows: self.rows,
            taken: self.taken,
            period_ms: self.period_ms.round(),
            first_ms,
            last_ms,
            ts_ms: points.iter().map(|point| point.start_ms).collect(),
            end_ms: points.iter().map(|point| point.end_ms).collect(),
            score: points.iter().map(|p| thousandths(p.score)).collect(),
            flagged: points.iter().map(|p| u8::from(p.flagged)).collect(),
            warming_up: points.iter().map(|p| u8::from(p.warming_up)).collect(),
            channels: self.channels.iter().enumerate().map(channel).collect(),
            incidents,
            alarm_thresholds: alarm_thresholds(self.bar.0, self.bar.1),
        }
    }
}

/// Neighbours merged by equal stretches of time until `max_points` or so are left.
fn thinned(points: &[&Point], max_points: usize, states: &[bool]) -> Vec<Point> {
    let (Some(first), Some(last)) = (points.first(), points.last()) else {
        return Vec::new();
    };
    if points.len() <= max_points.max(1) {
        return points.iter().map(|&point| point.clone()).collect();
    }
    let span = last.end_ms.abs_diff(first.start_ms).max(1);
    let width = (span / max_points.max(1) as u64).max(1);
    let bin = |point: &&Point| point.start_ms.abs_diff(first.start_ms) / width;
    let groups = points.chunk_by(|a, b| bin(a) == bin(b));
    let merge = |group: &[&Point]| Point::merge(group.iter().map(|&p| p.clone()), states);
    groups.filter_map(merge).collect()
}

fn channel_view(
    names: &ChannelNames,
    cells: &[Option<&ChannelPoint>],
    single: bool,
    fan: impl Iterator<Item = FanPoint>,
) -> ChannelView {
    let decimals = decimals_of(cells);
    let column = |figure: &dyn Fn(&ChannelPoint) -> f64| -> Vec<Option<f64>> {
        let figures = cells.iter().map(|cell| cell.map_or(f64::NAN, figure));
        figures.map(|x| rounded(x, decimals)).collect()
    };
    let extremes = |figure: &dyn Fn(&ChannelPoint) -> f64| match single {
        true => Vec::new(),
        false => column(figure),
    };
    // A standard deviation may be far smaller than the steps of its channel, and is never rounded to nothing.
    let spread = |figure: &dyn Fn(&ChannelPoint) -> f32| -> Vec<Option<f64>> {
        let figures = cells.iter().map(|cell| cell.map_or(f32::NAN, figure));
        figures.map(|x| significant(f64::from(x))).collect()
    };
    let ignorance = spread(&|cell| cell.ignorance_sd);
    let known = ignorance.iter().any(Option::is_some);
    let figure = |point: FanPoint| FanPoint {
        mean: rounded(point.mean, decimals).unwrap_or(f64::NAN),
        sd: significant(point.sd).unwrap_or(f64::NAN),
        ..point
    };
    ChannelView {
        name: names.name.clone(),
        unit: String::new(),
        states: names.states.clone(),
        value: column(&|cell| cell.value),
        low: extremes(&|cell| cell.low),
        high: extremes(&|cell| cell.high),
        mean: column(&|cell| cell.predicted),
        sd: spread(&|cell| cell.sd),
        ignorance_sd: if known { ignorance } else { Vec::new() },
        score: cells
            .iter()
            .map(|cell| thousandths(cell.map_or(0.0, |cell| cell.score)))
            .collect(),
        fan: fan.map(figure).collect(),
    }
}

fn share_view(
    names: Option<&ChannelNames>,
    share: f64,
    evidence: Option<&ChannelEvidence>,
) -> ShareView {
    let states: &[Arc<str>] = names.map_or(&[], |names| &names.states);
    let known = evidence.filter(|evidence| evidence.is_known());
    let (number, state) = if states.is_empty() {
        (known, None)
    } else {
        (None, known)
    };
    let finite = |x: f64| Some(x).filter(|x| x.is_finite());
    let named = |place: f64| states.get(place as usize).cloned();
    ShareView {
        name: names.map_or_else(|| "".into(), |names| names.name.clone()),
        unit: String::new(),
        share,
        ts_ms: known.map(|evidence| evidence.ts_ms),
        value: number.and_then(|evidence| finite(evidence.value)),
        mean: number.and_then(|evidence| finite(evidence.mean)),
        sd: number.and_then(|evidence| finite(evidence.sd)),
        state: state.and_then(|evidence| named(evidence.value)),
        expected_state: state.and_then(|evidence| named(evidence.mean)),
        probability: state.and_then(|evidence| finite(evidence.sd)),
    }
}

/// Decimals that tell [`STEPS`] steps of a channel's range apart; negative for thousands.
fn decimals_of(cells: &[Option<&ChannelPoint>]) -> i32 {
    let (mut low, mut high, mut sd) = (f64::INFINITY, f64::NEG_INFINITY, f64::INFINITY);
    for cell in cells.iter().flatten() {
        (low, high) = (low.min(cell.low), high.max(cell.high));
        sd = sd.min(f64::from(cell.sd));
    }
    let range = if high > low { high - low } else { high.abs() };
    let range = if sd.is_finite() && sd > 0.0 {
        range.min(100.0 * sd)
    } else {
        range
    };
    if range.is_finite() && range > 0.0 {
        (STEPS / range).log10().ceil().clamp(-300.0, 300.0) as i32
    } else {
        6
    }
}

/// A number rounded to four significant digits; `None` where it is none.
fn significant(x: f64) -> Option<f64> {
    if x == 0.0 || !x.is_finite() {
        return Some(x).filter(|x| x.is_finite());
    }
    rounded(x, 3 - x.abs().log10().floor() as i32)
}

/// A number rounded to so many decimals; `None` where it is none.
fn rounded(x: f64, decimals: i32) -> Option<f64> {
    let scale = 10_f64.powi(decimals.abs());
    let x = if decimals >= 0 {
        let scaled = (x * scale).round();
        if scaled.is_finite() {
            scaled / scale
        } else {
            x
        }
    } else {
        (x / scale).round() * scale
    };
    Some(x).filter(|x| x.is_finite())
}

fn thousandths(x: f32) -> f32 {
    (x * 1e3).round() / 1e3
}
