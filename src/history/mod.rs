//! Keeps a bounded, downsampled record of one stream for its pictures.
//!
//! The newest rows are kept one by one. Beyond [`StreamHistory::capacity`] of them, the oldest eight
//! become one point of the next tier (mean, least and greatest value), and so on: eight tiers of
//! 360 points hold more than 800 million rows. Nothing is sampled away: the least and greatest
//! value and the highest score of the merged rows stay. The record is a deterministic function of
//! the outcomes; it is no part of the model, and losing it changes no prediction.

mod incidents;
mod learning;
mod point;
#[cfg(test)]
mod tests;
mod view;
mod what_if;

use std::collections::VecDeque;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

pub use incidents::{ChannelEvidence, IncidentRecord};
pub use learning::LearningView;
pub use point::shown_severity;
pub use view::{FanPoint, HistoryView, IncidentView, Range};

use self::incidents::IncidentRecords;
use self::learning::LearningRecord;
use self::point::Point;
use crate::engine::EngineStats;
use crate::row::{Incident, Outcome};

/// Points of one tier that become one of the next.
const FAN: usize = 8;
/// Tiers at most: with 360 points each, 20 rows a second fill them in more than a year.
const MAX_TIERS: usize = 8;
/// Tiers that memory is counted for: with [`DEFAULT_CAPACITY`] points, 13 million rows fill them.
const USUAL_TIERS: usize = 6;
/// Points that a tier keeps where nothing else is said.
pub const DEFAULT_CAPACITY: usize = 360;
/// The fewest points a tier can be told to keep.
pub const MIN_CAPACITY: usize = 32;
/// The most points a tier can be told to keep.
pub const MAX_CAPACITY: usize = 10_000;

/// A bounded record of one stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct StreamHistory {
    capacity: usize,
    channels: Vec<ChannelNames>,
    /// Finest first; within a tier oldest first.
    tiers: Vec<VecDeque<Point>>,
    /// Number of the last row taken; 0 before any.
    rows: u64,
    /// Rows ever taken: goes on where a stream learns anew.
    taken: u64,
    /// Points that fell off the coarsest tier.
    dropped: u64,
    incidents: IncidentRecords,
    learning: LearningRecord,
    /// Bar of the evidence, nats, and false alarms a week that it is for; NaN before there is one.
    bar: (f64, f64),
    /// Forecasts of the last row; the next row brings them back after a restart.
    #[serde(skip)]
    fan: Vec<FanPoint>,
    /// Moving mean of the time between rows, ms.
    period_ms: f64,
}

/// A channel, and its states where it has any.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct ChannelNames {
    name: Arc<str>,
    states: Vec<Arc<str>>,
}

/// Points that each tier may keep, so that histories of `n_channels` channels together fit into
/// `bytes`; [`DEFAULT_CAPACITY`] at most.
pub fn capacity_within(bytes: usize, n_channels: usize) -> usize {
    let bytes_a_point = n_channels.saturating_mul(size_of::<point::ChannelPoint>());
    let points = bytes / bytes_a_point.saturating_mul(USUAL_TIERS).max(1);
    points.clamp(MIN_CAPACITY, DEFAULT_CAPACITY)
}

impl Default for StreamHistory {
    /// An empty record of the default capacity.
    fn default() -> StreamHistory {
        StreamHistory::new(DEFAULT_CAPACITY)
    }
}

impl StreamHistory {
    /// An empty record that keeps `capacity` points in each tier, limited to
    /// [`MIN_CAPACITY`]..=[`MAX_CAPACITY`].
    pub fn new(capacity: usize) -> StreamHistory {
        StreamHistory {
            capacity: capacity.clamp(MIN_CAPACITY, MAX_CAPACITY),
            channels: Vec::new(),
            tiers: vec![VecDeque::new()],
            rows: 0,
            taken: 0,
            dropped: 0,
            incidents: IncidentRecords::default(),
            learning: LearningRecord::default(),
            bar: (f64::NAN, f64::NAN),
            fan: Vec::new(),
            period_ms: 0.0,
        }
    }

    /// Points that each tier keeps.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Keeps `capacity` points in each tier from now on; fewer than now merges the oldest.
    pub fn set_capacity(&mut self, capacity: usize) {
        self.capacity = capacity.clamp(MIN_CAPACITY, MAX_CAPACITY);
        self.cascade();
    }

    /// Number of the last row taken; 0 before any.
    pub fn rows(&self) -> u64 {
        self.rows
    }

    /// Rows ever taken, also before the stream began to learn anew.
    pub fn taken(&self) -> u64 {
        self.taken
    }

    /// Points kept.
    pub fn len(&self) -> usize {
        self.tiers.iter().map(VecDeque::len).sum()
    }

    /// Nothing has been taken yet.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Moments of the first and the last row kept, unix milliseconds.
    pub fn span_ms(&self) -> Option<(i64, i64)> {
        let first = self.tiers.iter().rev().find_map(VecDeque::front)?;
        let last = self.tiers.iter().find_map(VecDeque::back)?;
        Some((first.start_ms, last.end_ms))
    }

    /// Takes the outcome of one row, with the stream's last incident. A row that has been taken
    /// before is passed over, so that a replay may overlap.
    pub fn push(&mut self, channels: &[Arc<str>], outcome: &Outcome, incident: Option<&Incident>) {
        if outcome.channels.is_empty() {
            // A verdict, not a row.
            self.incidents.judged(outcome);
            return;
        }
        let known = outcome.row <= self.rows;
        if known && self.span_ms().is_none_or(|(_, last)| outcome.ts_ms <= last) {
            return;
        }
        self.rows = outcome.row;
        self.taken += 1;
        self.learn_channels(channels, outcome);
        self.keep_time(outcome.ts_ms);
        let known = &self.channels;
        let is_states = |c: usize| {
            known
                .get(c)
                .is_some_and(|channel| !channel.states.is_empty())
        };
        let before = self.tiers[0].iter().rev();
        self.incidents.push(outcome, incident, before, is_states);
        self.fan.clear();
        let period = self.period_ms;
        self.fan
            .extend(outcome.forecasts.iter().map(|forecast| FanPoint {
                channel: forecast.channel,
                horizon_rows: forecast.horizon,
                ts_ms: outcome.ts_ms + (period * f64::from(forecast.horizon)) as i64,
                mean: forecast.mean,
                sd: forecast.sd,
            }));
        self.tiers[0].push_back(Point::of(outcome));
        self.cascade();
    }

    /// Takes the bar of the evidence, nats, and the false alarms a week that it is for.
    pub fn set_bar(&mut self, nats: f64, per_week: f64) {
        self.bar = (nats, per_week);
    }

    /// Takes the figures of the learning, once a row or less often.
    pub fn push_stats(&mut self, stats: &EngineStats) {
        if let Some((_, last_ms)) = self.span_ms() {
            self.learning.push(last_ms, stats);
        }
    }

    fn keep_time(&mut self, ts_ms: i64) {
        let Some((_, last)) = self.span_ms() else {
            return;
        };
        let step = (ts_ms - last).max(0) as f64;
        if self.period_ms == 0.0 {
            self.period_ms = step;
        }
        // A pause is no change of rhythm.
        let step = step.min(10.0 * self.period_ms.max(1.0));
        let rate = 1.0 / (self.rows.min(100) as f64).max(2.0);
        self.period_ms += rate * (step - self.period_ms);
    }

    fn learn_channels(&mut self, channels: &[Arc<str>], outcome: &Outcome) {
        for name in channels.iter().skip(self.channels.len()) {
            self.channels.push(ChannelNames {
                name: name.clone(),
                states: Vec::new(),
            });
        }
        for odds in &outcome.odds {
            if let Some(channel) = self.channels.get_mut(odds.channel) {
                let known = channel.states.len();
                let new = odds.states.iter().skip(known);
                channel.states.extend(new.map(|(name, _)| name.clone()));
            }
        }
    }

    /// Merges what is beyond the capacity into the next tier; the last tier drops it.
    fn cascade(&mut self) {
        let mut tier = 0;
        while tier < self.tiers.len() {
            while self.tiers[tier].len() >= self.capacity + FAN {
                if tier + 1 == MAX_TIERS {
                    self.tiers[tier].pop_front();
                    self.dropped += 1;
                    continue;
                }
                let states: Vec<bool> = self.which_are_states();
                let merged = Point::merge(self.tiers[tier].drain(..FAN), &states);
                if tier + 1 == self.tiers.len() {
                    self.tiers.push(VecDeque::new());
                }
                self.tiers[tier + 1].extend(merged);
            }
            tier += 1;
        }
    }

    fn which_are_states(&self) -> Vec<bool> {
        self.channels.iter().map(|c| !c.states.is_empty()).collect()
    }

    /// Every point, oldest first.
    fn points(&self) -> impl Iterator<Item = &Point> {
        self.tiers.iter().rev().flatten()
    }

    /// Records of incidents, oldest first.
    pub fn incidents(&self) -> &[IncidentRecord] {
        self.incidents.all()
    }
}
