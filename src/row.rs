//! The shapes in which data moves: a reading comes in, a row is learned, an outcome goes out.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

mod instruction;
mod stream_id;

pub use instruction::{Instruction, Mute, Muted};
pub use stream_id::{StreamId, StreamMap};

/// One accepted measurement of one channel. Everything after it is a deterministic function of
/// the readings in order of `seq`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Reading {
    /// Number given at acceptance, ascending over the whole daemon; the journal's key.
    pub seq: u64,
    /// Name of the stream: the group of channels that is learned together.
    pub stream: StreamId,
    /// Name of the channel within its stream.
    pub channel: Arc<str>,
    /// The value, finite.
    pub value: f64,
    /// Source timestamp in unix milliseconds; the arrival stamp where the source gives none.
    pub ts_ms: i64,
    /// Arrival at the daemon in unix milliseconds, as journaled.
    pub arrival_ms: i64,
}

/// All channels of a stream at one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Moment of the row in unix milliseconds.
    pub ts_ms: i64,
    /// Arrival of the reading that completed the row, unix milliseconds.
    pub arrival_ms: i64,
    /// A value a channel, in the stream's channel order; NaN where the channel is missing.
    pub values: Vec<f64>,
    /// Whether a value is held from an earlier row, a flag a channel; empty where none is.
    pub held: Vec<bool>,
}

impl Row {
    /// The value of a channel is held from an earlier row: no observation of this one.
    pub fn is_held(&self, channel: usize) -> bool {
        self.held.get(channel).copied().unwrap_or(false)
    }
}

/// Kind of an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Kind {
    /// The next step was not what the recent past leads to.
    Surprise,
    /// The level does not fit the hour, the weekday or the long-run mean.
    Drift,
    /// The input is unlike anything learned: ignorance dominates the predictive variance.
    Novelty,
    /// A channel went silent far beyond its habit.
    Gap,
    /// A value stands still far beyond its habit.
    Stuck,
}

impl Kind {
    /// Every kind, for tables and metric labels.
    pub const ALL: [Kind; 5] = [
        Kind::Surprise,
        Kind::Drift,
        Kind::Novelty,
        Kind::Gap,
        Kind::Stuck,
    ];

    /// The word used in payloads, CSV files and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Kind::Surprise => "surprise",
            Kind::Drift => "drift",
            Kind::Novelty => "novelty",
            Kind::Gap => "gap",
            Kind::Stuck => "stuck",
        }
    }
}

/// Prediction and judgement for one channel of one row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChannelOutcome {
    /// The measured value; NaN where missing.
    pub value: f64,
    /// Predictive mean, made before the value was seen; NaN before anything can be said.
    pub mean: f64,
    /// Predictive standard deviation (ignorance and noise), calibrated on past errors so that
    /// `mean` -+ 1.645 `sd` holds nine values in ten also where errors are not Gaussian; NaN before
    /// anything can be said.
    pub sd: f64,
    /// The part of `sd` that comes from not knowing the weights: `sd` times the root of their share of the
    /// variance of the linear expert; NaN where unknown.
    pub ignorance_sd: f64,
    /// Evidence against normality over the alarm bar: 1 is an alarm.
    pub score: f64,
    /// Log density of the value under the whole predictive distribution, nats a unit of the channel; NaN
    /// where there is no value or no prediction.
    pub ln_density: f64,
    /// The same under the baseline: persistence as Student's t about the last value with a running scale,
    /// for a soft sensor a Student's t about its level.
    pub ln_baseline: f64,
    /// The value was expected not to change.
    pub at_rest: bool,
}

impl ChannelOutcome {
    /// A value of which nothing was known before.
    pub fn unknown(value: f64) -> ChannelOutcome {
        ChannelOutcome {
            value,
            mean: f64::NAN,
            sd: f64::NAN,
            ignorance_sd: f64::NAN,
            score: 0.0,
            ln_density: f64::NAN,
            ln_baseline: f64::NAN,
            at_rest: false,
        }
    }
}

/// Forecast of one channel with a row, `horizon` rows later.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forecast {
    /// Index of the channel in the stream.
    pub channel: usize,
    /// Rows from now, 2 and more: the next row's forecast is that row's own `mean`.
    pub horizon: u32,
    /// Predictive mean; NaN before anything can be said.
    pub mean: f64,
    /// Predictive standard deviation, calibrated as that of [`ChannelOutcome`].
    pub sd: f64,
}

/// Prediction of the state of one channel before it was seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Odds {
    /// Index of the channel in the stream.
    pub channel: usize,
    /// Place of the state that it is in; `None` where missing.
    pub seen: Option<usize>,
    /// The states and their probabilities; what is left to 1 is that of a state not met yet. Empty
    /// before anything can be said.
    pub states: Vec<(Arc<str>, f64)>,
}

impl Odds {
    /// Place of the likeliest state.
    pub fn likeliest(&self) -> Option<usize> {
        let p = |i: &usize| self.states[*i].1;
        (0..self.states.len()).max_by(|a, b| p(a).total_cmp(&p(b)).then(b.cmp(a)))
    }
}

/// A channel's part in an incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Share {
    /// Index of the channel in the stream.
    pub channel: usize,
    /// Its share of the evidence, 0 to 1.
    pub share: f64,
}

/// An incident, as it stands or as it ended.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Incident {
    /// Number within its stream, from 1.
    pub id: u64,
    /// Its kind.
    pub kind: Kind,
    /// First flagged row, unix milliseconds.
    pub start_ms: i64,
    /// Row of the highest score, unix milliseconds.
    pub peak_ms: i64,
    /// First row after it, unix milliseconds; `None` while it is open.
    pub end_ms: Option<i64>,
    /// Highest score.
    pub peak_score: f64,
    /// The channels by share of the evidence, largest first.
    pub channels: Vec<Share>,
    /// It outlasted the hold limit or was ruled so: its level was accepted as the new normal.
    pub accepted: bool,
    /// The last verdict of an operator.
    pub verdict: Option<Ruling>,
}

/// An edge of an incident.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum IncidentEdge {
    /// It opened with this row.
    Opened(Incident),
    /// Channels passed their bar in this row while it was open without them.
    Joined {
        /// The incident, these channels included.
        incident: Incident,
        /// The channels, in a row's order.
        channels: Vec<usize>,
    },
    /// It ended with this row, or with an operator's ruling.
    Closed(Incident),
    /// An operator ruled on it.
    Judged(Incident),
}

impl IncidentEdge {
    /// The incident as it stands with the edge.
    pub fn incident(&self) -> &Incident {
        match self {
            IncidentEdge::Opened(incident)
            | IncidentEdge::Joined { incident, .. }
            | IncidentEdge::Closed(incident)
            | IncidentEdge::Judged(incident) => incident,
        }
    }

    /// The word used in payloads.
    pub fn as_str(&self) -> &'static str {
        match self {
            IncidentEdge::Opened(_) => "opened",
            IncidentEdge::Joined { .. } => "joined",
            IncidentEdge::Closed(_) => "closed",
            IncidentEdge::Judged(_) => "judged",
        }
    }
}

/// An operator's verdict on an incident.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ruling {
    /// There was nothing: a false alarm.
    False,
    /// There was something.
    True,
    /// There was something, and it is how things are from now on.
    NewNormal,
}

impl Ruling {
    /// Every ruling, for tables and metric labels.
    pub const ALL: [Ruling; 3] = [Ruling::False, Ruling::True, Ruling::NewNormal];

    /// The word used in payloads and metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Ruling::False => "false",
            Ruling::True => "true",
            Ruling::NewNormal => "new_normal",
        }
    }
}

/// An operator's verdict on an incident of a stream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Feedback {
    /// Number of the incident within its stream.
    pub incident: u64,
    /// The verdict.
    pub ruling: Ruling,
}

/// The engine's outcome of one row. Predictions were made before the row was seen.
#[derive(Clone, Debug, PartialEq)]
pub struct Outcome {
    /// Moment of the row, unix milliseconds.
    pub ts_ms: i64,
    /// Arrival of the reading that completed the row, unix milliseconds.
    pub arrival_ms: i64,
    /// Rows that the stream has seen, this one included.
    pub row: u64,
    /// Too few rows yet to judge: `score` is 0.
    pub warming_up: bool,
    /// Largest score, of a channel or of all levels together: 1 and more is an alarm.
    pub score: f64,
    /// Order of importance: distance of all levels together over its bar, uncapped, with a little of
    /// the channels' evidence.
    pub severity: f64,
    /// An incident is open.
    pub anomaly: bool,
    /// Kind of the open incident.
    pub kind: Option<Kind>,
    /// One a channel; none where no row but an operator's ruling made the outcome.
    pub channels: Vec<ChannelOutcome>,
    /// Forecasts for later rows, where horizons are wanted.
    pub forecasts: Vec<Forecast>,
    /// Channels of states.
    pub odds: Vec<Odds>,
    /// An incident that opened, grew or ended with this row, or was ruled on.
    pub edge: Option<IncidentEdge>,
}
