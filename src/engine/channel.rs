//! What one channel's past says: its scale, its last steps, its inputs to the networks.

use std::iter;

use serde::{Deserialize, Serialize};

use super::plan::{Plan, Role, Values};
use super::states::States;
use crate::encode::{Encode, Encoder, Level, Spikes, StepScale};
use crate::ep::Linear;

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
    /// Value in the last row; NaN where missing.
    previous: f64,
    /// Last value that was not missing; NaN before the first.
    last: f64,
    /// Differences of the last rows, newest first; NaN where either side is missing.
    steps: Vec<f64>,
    /// Its step from its own last steps and level, in units, with the full covariance.
    pub own: Linear,
    /// Values that were limited on their way in.
    pub limited: u64,
    /// What it is for.
    pub role: Role,
    /// Its states, where its values are states.
    pub states: Option<States>,
    encoder: Encoder,
}

impl Channel {
    /// A channel that has seen nothing, with `lags` lagged differences.
    pub fn new(lags: usize, plan: Plan) -> Channel {
        Channel {
            level: Level::default(),
            step: StepScale::default(),
            previous: f64::NAN,
            last: f64::NAN,
            steps: vec![f64::NAN; lags],
            own: Linear::new(lags + 2),
            limited: 0,
            states: match &plan.values {
                Values::Numbers if plan.role != Role::Label => None,
                Values::Numbers => Some(States::new(&[])),
                Values::States(listed) => Some(States::new(listed)),
            },
            role: plan.role,
            encoder: plan.encoder,
        }
    }

    /// It is predicted by the networks that all numeric sensors share.
    pub fn is_shared(&self) -> bool {
        self.role == Role::Sensor && self.states.is_none()
    }

    /// Inputs that it takes in forecasters, and those that are usually active: lagged differences,
    /// level and code of the level; or its states.
    pub fn shape(&self) -> (u32, f32) {
        let lags = self.steps.len();
        match (&self.states, self.role) {
            (Some(states), Role::Sensor) => (states.width(), States::ACTIVE),
            (None, Role::Sensor) => (
                lags as u32 + 1 + self.encoder.width(),
                lags as f32 + 1.0 + self.encoder.active(),
            ),
            _ => (0, 0.0),
        }
    }

    /// The same in the next-step network: of the differences, only the newest. The older ones say
    /// more of the channel itself than of the others, and go into [`Channel::own`]; the prior is as
    /// narrow as if they were there.
    pub fn step_shape(&self) -> (u32, f32) {
        let (inputs, active) = self.shape();
        let older = if self.is_shared() {
            self.steps.len() - 1
        } else {
            0
        };
        (inputs - older as u32, active)
    }

    /// Appends the active inputs of the next-step network, numbered from `at`, and sets those of
    /// [`Channel::own`]. A missing value and its differences are left out; so is the newest
    /// difference of a channel that is `alone`: [`Channel::own`] has it.
    pub fn encode(&mut self, at: u32, alone: bool, out: &mut Spikes) {
        if self.role != Role::Sensor {
            return;
        }
        if let Some(states) = &self.states {
            states.encode(at, out);
            return;
        }
        let unit = self.step.get();
        self.own.clear();
        for (lag, &step) in self.steps.iter().enumerate() {
            if step.is_nan() {
                continue;
            }
            let step = limit(step / unit, LIMIT, &mut self.limited);
            self.own.set(lag, step);
            if lag == 0 && !alone {
                out.push(at, step as f32);
            }
        }
        self.own.set(self.steps.len() + 1, 1.0);
        if !self.previous.is_nan() {
            let level = self.standardise(self.previous);
            self.own.set(self.steps.len(), f64::from(level));
            out.push(at + 1, level);
            self.encoder.encode(level, at + 2, out);
        }
    }

    /// Appends the active inputs of forecasters, with all differences, for a row of this `value`
    /// (NaN: missing).
    pub fn encode_present(&mut self, value: f64, at: u32, out: &mut Spikes) {
        if self.role != Role::Sensor {
            return;
        }
        if let Some(states) = &self.states {
            states.encode_present(value, at, out);
            return;
        }
        let unit = self.step.get();
        let newest = value - self.previous;
        let older = &self.steps[..self.steps.len() - 1];
        let steps = iter::once(&newest).chain(older);
        push_steps(steps, unit, at, out, &mut self.limited);
        if !value.is_nan() {
            let at = at + self.steps.len() as u32;
            let z = self.standardise(value);
            let mut encoder = self.encoder;
            encoder.observe(z);
            out.push(at, z);
            encoder.encode(z, at + 1, out);
        }
    }

    /// Limited standard deviations from the mean.
    fn standardise(&mut self, value: f64) -> f32 {
        limit(self.level.standardise(value), LIMIT, &mut self.limited) as f32
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

    /// Learns from the residual of the next-step target what its own past says, with a memory as
    /// long as that of the target's unit.
    pub fn learn_own(&mut self, residual: f64, noise: f64, memory: f64) {
        let limited = self.own.learn(residual, noise, memory * STEP_MEMORY_SHARE);
        self.limited += u64::from(limited);
    }

    /// Learns the row's value (NaN: missing). The level learns with weight `context`. Where the
    /// value `rests` as expected there is no step.
    pub fn observe(&mut self, value: f64, rests: bool, context: f64, memory: f64) {
        if let Some(states) = &mut self.states {
            states.observe(value);
        }
        let step = value - self.previous;
        if !value.is_nan() {
            if self.encoder.remembers() {
                let z = self.standardise(value);
                self.encoder.observe(z);
            }
            self.level.observe(value, context, memory);
            self.last = value;
        }
        if !step.is_nan() && !rests {
            self.step
                .observe(step, self.level.sd(), memory * STEP_MEMORY_SHARE);
        }
        self.previous = value;
        self.steps.rotate_right(1);
        self.steps[0] = step;
    }
}

/// Appends those of `steps` that exist, in units, numbered from `at`.
fn push_steps<'a>(
    steps: impl Iterator<Item = &'a f64>,
    unit: f64,
    at: u32,
    out: &mut Spikes,
    limited: &mut u64,
) {
    for (lag, &step) in steps.enumerate() {
        if !step.is_nan() {
            out.push(at + lag as u32, limit(step / unit, LIMIT, limited) as f32);
        }
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

    fn plain(lags: usize, encoder: Encoder) -> Channel {
        let plan = Plan {
            encoder,
            ..Plan::default()
        };
        Channel::new(lags, plan)
    }

    #[test]
    fn the_present_is_encoded_as_it_will_be_once_it_is_past() {
        for name in Encoder::NAMES {
            let mut channel = plain(3, Encoder::new(name, 8, 2.0));
            for i in 0..40 {
                let value = if i % 11 == 3 {
                    f64::NAN
                } else {
                    f64::from(i * i % 17)
                };
                let (mut present, mut past) = (Spikes::default(), Spikes::default());
                channel.encode_present(value, 5, &mut present);
                let (level, step) = (channel.level.clone(), channel.step.clone());
                channel.observe(value, false, 1.0, 1e9);
                let learned = (
                    std::mem::replace(&mut channel.level, level),
                    std::mem::replace(&mut channel.step, step),
                );
                channel.encode(5, false, &mut past);
                // Without the two older differences.
                let newest = present.index.iter().zip(&present.value);
                let newest = newest.filter(|&(&i, _)| i != 6 && i != 7);
                let newest: Vec<_> = newest
                    .map(|(&i, &x)| (i - if i > 7 { 2 } else { 0 }, x))
                    .collect();
                let past: Vec<_> = past.index.into_iter().zip(past.value).collect();
                assert_eq!(newest, past, "{name} {i}");
                (channel.level, channel.step) = learned;
            }
        }
    }

    #[test]
    fn a_gap_silences_the_differences_that_touch_it() {
        let mut channel = plain(3, Encoder::new("raw", 16, 4.0));
        for value in [1.0, 2.0, f64::NAN, 5.0] {
            channel.observe(value, false, 1.0, 2000.0);
        }
        assert!(channel.steps[0].is_nan() && channel.steps[1].is_nan());
        assert_eq!(channel.steps[2], 1.0);
        let mut spikes = Spikes::default();
        channel.encode(10, false, &mut spikes);
        assert_eq!(spikes.index, [11]);
    }

    #[test]
    fn an_outlier_is_limited_and_counted() {
        let mut channel = plain(2, Encoder::default());
        for i in 0..50 {
            channel.observe(f64::from(i % 2), false, 1.0, 2000.0);
        }
        channel.observe(1e300, false, 1.0, 2000.0);
        let mut spikes = Spikes::default();
        channel.encode(0, false, &mut spikes);
        assert_eq!(spikes.value[0], 100.0);
        assert!(channel.limited >= 2);
    }
}
