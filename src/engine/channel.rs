//! What one channel's past says: its scale, its last steps, its inputs to the next-step network.

use serde::{Deserialize, Serialize};

use super::params::EngineSettings;
use crate::detect::Habit;
use crate::encode::{Encode, Encoder, Level, Spikes, StepScale};

/// Inputs and next-step targets are limited to this many units, and counted.
const LIMIT: f64 = 100.0;
/// Context targets are limited to this many standard deviations.
const LIMIT_CONTEXT: f64 = 20.0;
/// Memory of the step scale, rows: half that of the level, since it is the unit of the target.
const STEP_MEMORY_SHARE: f64 = 0.5;

/// One channel's running state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Channel {
    /// Mean and sd.
    pub level: Level,
    /// Unit of the next-step target.
    pub step: StepScale,
    /// Runs of unchanged values.
    pub stuck: Habit,
    /// Runs of missing rows.
    pub gap: Habit,
    /// Value in the last row; NaN where missing.
    previous: f64,
    /// Last value that was not missing; NaN before the first.
    last: f64,
    /// Differences of the last rows, newest first; NaN where either side is missing.
    steps: Vec<f64>,
    /// Values that were limited on their way in.
    pub limited: u64,
}

impl Channel {
    /// A channel that has seen nothing, with `lags` lagged differences.
    pub fn new(lags: usize) -> Channel {
        Channel {
            level: Level::default(),
            step: StepScale::default(),
            stuck: Habit::default(),
            gap: Habit::default(),
            previous: f64::NAN,
            last: f64::NAN,
            steps: vec![f64::NAN; lags],
            limited: 0,
        }
    }

    /// Inputs that a channel takes: lagged differences, level, code of the level.
    pub fn width(settings: &EngineSettings) -> u32 {
        settings.lags as u32 + 1 + settings.encoder.width()
    }

    /// Appends the channel's active inputs, numbered from `at`. A missing value and its
    /// differences are left out.
    pub fn encode(&mut self, encoder: &Encoder, at: u32, out: &mut Spikes) {
        let unit = self.step.get();
        for (lag, &step) in self.steps.iter().enumerate() {
            if !step.is_nan() {
                out.push(
                    at + lag as u32,
                    limit(step / unit, LIMIT, &mut self.limited) as f32,
                );
            }
        }
        if self.previous.is_nan() {
            return;
        }
        let at = at + self.steps.len() as u32;
        let z = limit(
            self.level.standardise(self.previous),
            LIMIT,
            &mut self.limited,
        ) as f32;
        out.push(at, z);
        encoder.encode(z, at + 1, out);
    }

    /// Target of the next-step network for `value`; NaN where there is no step.
    pub fn step_target(&self, value: f64) -> f64 {
        (value - self.previous) / self.step.get()
    }

    /// Target of the context network for `value`; NaN where missing.
    pub fn context_target(&mut self, value: f64) -> f64 {
        limit(
            self.level.standardise(value),
            LIMIT_CONTEXT,
            &mut self.limited,
        )
    }

    /// Last value that was not missing; NaN before the first.
    pub fn last(&self) -> f64 {
        self.last
    }

    /// The last row had a value.
    pub fn has_previous(&self) -> bool {
        !self.previous.is_nan()
    }

    /// Learns the row's value (NaN: missing). The level learns with weight `context`.
    pub fn observe(&mut self, value: f64, context: f64, memory: f64) {
        let step = value - self.previous;
        self.gap.observe(value.is_nan());
        if !value.is_nan() {
            self.stuck.observe(step == 0.0);
            self.level.observe(value, context, memory);
            self.last = value;
        }
        if !step.is_nan() {
            self.step
                .observe(step, self.level.sd(), memory * STEP_MEMORY_SHARE);
        }
        self.previous = value;
        self.steps.rotate_right(1);
        self.steps[0] = step;
    }
}

/// `x` within [-limit, limit]; counts where it was not.
fn limit(x: f64, limit: f64, limited: &mut u64) -> f64 {
    if x.abs() > limit {
        *limited += 1;
        return limit.copysign(x);
    }
    x
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_gap_silences_the_differences_that_touch_it() {
        let mut channel = Channel::new(3);
        for value in [1.0, 2.0, f64::NAN, 5.0] {
            channel.observe(value, 1.0, 2000.0);
        }
        assert!(channel.steps[0].is_nan() && channel.steps[1].is_nan());
        assert_eq!(channel.steps[2], 1.0);
        let mut spikes = Spikes::default();
        channel.encode(&Encoder::Raw, 10, &mut spikes);
        assert_eq!(spikes.index, [12, 13]);
    }

    #[test]
    fn an_outlier_is_limited_and_counted() {
        let mut channel = Channel::new(2);
        for i in 0..50 {
            channel.observe(f64::from(i % 2), 1.0, 2000.0);
        }
        channel.observe(1e300, 1.0, 2000.0);
        let mut spikes = Spikes::default();
        channel.encode(&Encoder::default(), 0, &mut spikes);
        assert_eq!(spikes.value[0], 100.0);
        assert!(channel.limited >= 2);
    }
}
