//! A point of a history: one row, or neighbouring rows merged.

use serde::{Deserialize, Serialize};

use crate::row::{ChannelOutcome, Odds, Outcome};

/// How bad a row is: 1 is the alarm bar. Below it the score, which says how close; beyond it the
/// severity, which has no cap.
pub fn shown_severity(outcome: &Outcome) -> f64 {
    if outcome.score >= 1.0 {
        outcome.score.max(outcome.severity)
    } else {
        outcome.score
    }
}

/// One row, or neighbouring rows merged.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// First row, unix milliseconds.
    pub start_ms: i64,
    /// Last row, unix milliseconds.
    pub end_ms: i64,
    /// Rows in it.
    pub rows: u32,
    /// Highest severity of the rows.
    pub score: f32,
    /// An incident was open in one of the rows.
    pub flagged: bool,
    /// One of the rows was too early to judge.
    pub warming_up: bool,
    /// One a channel that was known then.
    pub cells: Box<[ChannelPoint]>,
}

/// One channel of a point. Of a channel of states, `value` and `predicted` are places of states and
/// `sd` is the probability that the state seen had before.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChannelPoint {
    /// Mean of the measured values; NaN where all are missing.
    pub value: f64,
    /// Least measured value.
    pub low: f64,
    /// Greatest measured value.
    pub high: f64,
    /// Mean of the predictive means; NaN where nothing was predicted.
    pub predicted: f64,
    /// Root mean square of the predictive standard deviations.
    pub sd: f32,
    /// The same for the part that is ignorance of the mean, as opposed to noise; NaN where unknown.
    pub ignorance_sd: f32,
    /// Highest score.
    pub score: f32,
    /// Rows with a value.
    pub seen: u32,
}

impl ChannelPoint {
    const MISSING: ChannelPoint = ChannelPoint {
        value: f64::NAN,
        low: f64::NAN,
        high: f64::NAN,
        predicted: f64::NAN,
        sd: f32::NAN,
        ignorance_sd: f32::NAN,
        score: 0.0,
        seen: 0,
    };

    fn of_number(channel: &ChannelOutcome) -> ChannelPoint {
        ChannelPoint {
            value: channel.value,
            low: channel.value,
            high: channel.value,
            predicted: channel.mean,
            sd: channel.sd as f32,
            ignorance_sd: channel.ignorance_sd as f32,
            score: channel.score as f32,
            seen: u32::from(!channel.value.is_nan()),
        }
    }

    fn of_states(channel: &ChannelOutcome, odds: &Odds) -> ChannelPoint {
        let place = |place: Option<usize>| place.map_or(f64::NAN, |place| place as f64);
        let seen = place(odds.seen);
        let p = odds.seen.and_then(|seen| odds.states.get(seen));
        ChannelPoint {
            value: seen,
            low: seen,
            high: seen,
            predicted: place(odds.likeliest()),
            sd: p.map_or(f32::NAN, |(_, p)| *p as f32),
            ignorance_sd: f32::NAN,
            score: channel.score as f32,
            seen: u32::from(odds.seen.is_some()),
        }
    }
}

impl Point {
    /// The point of one row.
    pub fn of(outcome: &Outcome) -> Point {
        let cell = |(c, channel): (usize, &ChannelOutcome)| match outcome
            .odds
            .iter()
            .find(|odds| odds.channel == c)
        {
            Some(odds) => ChannelPoint::of_states(channel, odds),
            None => ChannelPoint::of_number(channel),
        };
        Point {
            start_ms: outcome.ts_ms,
            end_ms: outcome.ts_ms,
            rows: 1,
            score: shown_severity(outcome) as f32,
            flagged: outcome.anomaly,
            warming_up: outcome.warming_up,
            cells: outcome.channels.iter().enumerate().map(cell).collect(),
        }
    }

    /// Neighbouring points as one; `None` of none. `states` says which channels are states: their
    /// last state stands for them, and the least probability.
    pub fn merge(points: impl Iterator<Item = Point>, states: &[bool]) -> Option<Point> {
        let points: Vec<Point> = points.collect();
        let (first, last) = (points.first()?, points.last()?);
        let n_channels = points.iter().map(|point| point.cells.len()).max()?;
        let cells = (0..n_channels).map(|c| {
            let cells = points
                .iter()
                .map(move |point| (point.rows, point.cells.get(c)));
            let cells = cells.map(|(rows, cell)| (rows, cell.unwrap_or(&ChannelPoint::MISSING)));
            if states.get(c).copied().unwrap_or(false) {
                merge_states(cells)
            } else {
                merge_numbers(cells)
            }
        });
        Some(Point {
            start_ms: first.start_ms,
            end_ms: last.end_ms,
            rows: points
                .iter()
                .fold(0, |n, point| n.saturating_add(point.rows)),
            score: points.iter().map(|point| point.score).fold(0.0, f32::max),
            flagged: points.iter().any(|point| point.flagged),
            warming_up: points.iter().any(|point| point.warming_up),
            cells: cells.collect(),
        })
    }
}

/// A weighted mean over what is not NaN.
#[derive(Default)]
struct Mean {
    sum: f64,
    weight: f64,
}

impl Mean {
    fn add(&mut self, x: f64, weight: f64) {
        if !x.is_nan() && weight > 0.0 {
            self.sum += x * weight;
            self.weight += weight;
        }
    }

    fn get(&self) -> f64 {
        if self.weight > 0.0 {
            self.sum / self.weight
        } else {
            f64::NAN
        }
    }
}

fn merge_numbers<'a>(cells: impl Iterator<Item = (u32, &'a ChannelPoint)>) -> ChannelPoint {
    let mut merged = ChannelPoint::MISSING;
    let [mut value, mut predicted, mut variance, mut ignorance] = <[Mean; 4]>::default();
    for (rows, cell) in cells {
        let rows = f64::from(rows);
        value.add(cell.value, f64::from(cell.seen));
        predicted.add(cell.predicted, rows);
        variance.add(f64::from(cell.sd).powi(2), rows);
        ignorance.add(f64::from(cell.ignorance_sd).powi(2), rows);
        add_extremes(&mut merged, cell);
    }
    ChannelPoint {
        value: value.get(),
        predicted: predicted.get(),
        sd: variance.get().sqrt() as f32,
        ignorance_sd: ignorance.get().sqrt() as f32,
        ..merged
    }
}

fn merge_states<'a>(cells: impl Iterator<Item = (u32, &'a ChannelPoint)>) -> ChannelPoint {
    let mut merged = ChannelPoint::MISSING;
    for (_, cell) in cells {
        if cell.seen > 0 {
            merged.value = cell.value;
            merged.predicted = cell.predicted;
        }
        // `min` passes over NaN.
        merged.sd = merged.sd.min(cell.sd);
        add_extremes(&mut merged, cell);
    }
    merged
}

/// `min` and `max` pass over NaN.
fn add_extremes(merged: &mut ChannelPoint, cell: &ChannelPoint) {
    merged.low = merged.low.min(cell.low);
    merged.high = merged.high.max(cell.high);
    merged.score = merged.score.max(cell.score);
    merged.seen = merged.seen.saturating_add(cell.seen);
}
