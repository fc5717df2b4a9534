//! Settings of the detector.

use serde::{Deserialize, Serialize};

use super::incident::IncidentParams;

/// Settings of a detector; `engine::EngineParams` checks their ranges.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DetectSettings {
    /// Wanted false alarms a stream and week, above 0, up to 1000.
    pub false_alarms_per_week: f64,
    /// Rows before anything is judged, 20..=1e6.
    pub warm_up_rows: u64,
    /// Which predictors raise evidence.
    pub heads: Heads,
    /// Discount evidence by the autocorrelation of the residuals.
    pub temper: bool,
    /// Judge each channel's context residual also given those of the other channels.
    pub joint: bool,
    /// Notice small shifts that last in channels that are steady otherwise.
    pub shift: bool,
    /// Notice values that stand still, and silent channels, beyond their habit.
    pub habits: bool,
    /// A value that is likelier to stay than to change says nothing while it stays.
    pub rest: bool,
    /// Judge each level, averaged over rows, by the others' levels alone.
    pub lasting: bool,
    /// Judge whether each level, averaged over rows, is one that the channel usually has, and for as long.
    pub usual: bool,
    /// Judge the distance of all levels together from their slow mean.
    pub level: bool,
    /// Set the bar from the stream's own normal behaviour in the long run, not from theory alone.
    pub calibrate: bool,
    /// Weight with which levels are learned while an incident is open, 0..=1; 1 is no gate.
    pub gate_weight: f64,
    /// When incidents open, close and give in.
    pub incident: IncidentParams,
}

impl Default for DetectSettings {
    fn default() -> DetectSettings {
        DetectSettings {
            false_alarms_per_week: 1.0,
            warm_up_rows: 100,
            heads: Heads::Both,
            temper: true,
            joint: true,
            shift: true,
            habits: true,
            rest: true,
            lasting: true,
            usual: true,
            level: true,
            calibrate: true,
            gate_weight: 0.1,
            incident: IncidentParams::default(),
        }
    }
}

/// Which predictors raise evidence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Heads {
    /// Next step and context.
    Both,
    /// Next step only.
    Step,
    /// Context only.
    Context,
}
