//! One channel's past: its level, its inputs to predictors, its states.

use serde::{Deserialize, Serialize};

use super::plan::{Plan, Role, Values};
use super::states::States;
use crate::encode::{Level, Spikes};
use crate::predict::{History, Past};

/// Context targets are limited to this many standard deviations, and counted.
const LIMIT_CONTEXT: f64 = 20.0;

/// One channel's running state.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Channel {
    /// Mean and sd, with the memory of statistics.
    pub level: Level,
    /// Its past as inputs of predictors.
    pub past: Past,
    /// Values that were limited on their way in.
    pub limited: u64,
    /// Its role.
    pub role: Role,
    /// Its states, where its values are states.
    pub states: Option<States>,
}

/// How a value is learned.
#[derive(Clone, Copy, Debug)]
pub struct Observing {
    /// The channel was expected not to change, and has not.
    pub rests: bool,
    /// Weight of levels, 0..=1.
    pub weight: f64,
    /// Memory of statistics, rows.
    pub statistics_rows: f64,
    /// Memory of the inputs' scales, rows.
    pub history_rows: f64,
}

impl AsRef<Past> for Channel {
    fn as_ref(&self) -> &Past {
        &self.past
    }
}

impl Channel {
    /// A channel that has seen nothing.
    pub fn new(plan: Plan) -> Channel {
        let states = match &plan.values {
            Values::Numbers if plan.role != Role::Label => None,
            Values::Numbers => Some(States::new(&[])),
            Values::States(listed) => Some(States::new(listed)),
        };
        Channel {
            level: Level::default(),
            past: match (plan.role, &states) {
                (Role::Sensor, None) => Past::Number(Box::new(History::new(plan.encoder))),
                (Role::Sensor, Some(states)) => Past::State {
                    width: states.capacity() as u32,
                    active: None,
                },
                _ => Past::Ignored,
            },
            limited: 0,
            states,
            role: plan.role,
        }
    }

    /// It is a number that the next-step predictor predicts.
    pub fn is_shared(&self) -> bool {
        self.role == Role::Sensor && self.states.is_none()
    }

    /// Inputs that it takes in forecasters, and those that are usually active: level, step, traces and
    /// code of the level; or its states.
    pub fn shape(&self) -> (u32, f32) {
        match (&self.states, self.role) {
            (Some(states), Role::Sensor) => (states.width(), States::ACTIVE),
            _ => (
                self.past.linear_width() + self.past.code_width(),
                self.past.linear_width() as f32 + self.past.hidden_active(),
            ),
        }
    }

    /// Inputs that it takes in soft sensors, and those that are usually active: level and code of the
    /// level; or its states.
    pub fn level_shape(&self) -> (u32, f32) {
        match (&self.states, self.role) {
            (Some(states), Role::Sensor) => (states.width(), States::ACTIVE),
            _ => (self.past.hidden_width(), self.past.hidden_active()),
        }
    }

    /// Appends the active inputs of soft sensors, numbered from `at`, for a row of this `value` (NaN:
    /// missing). A soft sensor is of the present: steps and traces would only be noise to it.
    pub fn encode_level(&self, value: f64, at: u32, out: &mut Spikes) {
        match (&self.states, &self.past) {
            (Some(states), Past::State { .. }) => states.encode_present(value, at, out),
            (_, Past::Number(history)) if !value.is_nan() => {
                let z = history.standardise(value);
                out.push(at, z);
                history.code_of(z, at + 1, out);
            }
            _ => {}
        }
    }

    /// Appends the active inputs of forecasters, numbered from `at`, for a row of this `value` (NaN:
    /// missing).
    pub fn encode_present(&self, value: f64, at: u32, out: &mut Spikes) {
        match (&self.states, &self.past) {
            (Some(states), Past::State { .. }) => states.encode_present(value, at, out),
            (_, Past::Number(history)) => history.present(value, at, out),
            _ => {}
        }
    }

    /// Target of the context network for `value`; NaN where missing.
    pub fn context_target(&mut self, value: f64) -> f64 {
        let z = self.level.standardise(value);
        self.limited += u64::from(z.abs() > LIMIT_CONTEXT);
        z.clamp(-LIMIT_CONTEXT, LIMIT_CONTEXT)
    }

    /// Last value that was not missing; NaN before the first, and of channels that are no numbers.
    pub fn last(&self) -> f64 {
        self.past.history().map_or(f64::NAN, History::last)
    }

    /// Learns the row's value (NaN: missing).
    pub fn observe(&mut self, value: f64, how: Observing) {
        if let Some(states) = &mut self.states {
            states.observe(value);
        }
        match &mut self.past {
            Past::Number(past) => {
                past.observe(value, how.rests, how.weight, how.history_rows);
            }
            Past::State { active, .. } => {
                let states = self.states.as_ref();
                *active = states.and_then(|s| s.find(value)).map(|s| s as u32);
            }
            Past::Ignored => {}
        }
        if !value.is_nan() {
            self.level.observe(value, how.weight, how.statistics_rows);
        }
    }
}
