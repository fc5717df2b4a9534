//! One channel as an input of predictors: a number with its history, or one of a few states.

use serde::{Deserialize, Serialize};

use super::history::{History, LINEAR_WIDTH};
use crate::encode::Spikes;

/// The past of one channel, as inputs.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub enum Past {
    /// A number.
    Number(Box<History>),
    /// One of a few states, each an input.
    State {
        /// Inputs that it takes.
        width: u32,
        /// The input of its last state; `None` before the first and where it is unknown.
        active: Option<u32>,
    },
    /// No input: a target or a label.
    Ignored,
}

impl AsRef<Past> for Past {
    fn as_ref(&self) -> &Past {
        self
    }
}

impl Past {
    /// Its history, where it is a number.
    pub fn history(&self) -> Option<&History> {
        match self {
            Past::Number(history) => Some(history),
            Past::State { .. } | Past::Ignored => None,
        }
    }

    /// Inputs of a linear expert.
    pub fn linear_width(&self) -> u32 {
        match self {
            Past::Number(_) => LINEAR_WIDTH,
            Past::State { width, .. } => *width,
            Past::Ignored => 0,
        }
    }

    /// Further inputs of an expert that sees the population code.
    pub fn code_width(&self) -> u32 {
        match self {
            Past::Number(history) => history.code_width(),
            Past::State { .. } | Past::Ignored => 0,
        }
    }

    /// Inputs of a hidden layer: the level and its code, or the state.
    pub fn hidden_width(&self) -> u32 {
        match self {
            Past::Number(history) => 1 + history.code_width(),
            Past::State { width, .. } => *width,
            Past::Ignored => 0,
        }
    }

    /// Squared size that the hidden layer's inputs usually have together.
    pub fn hidden_active(&self) -> f32 {
        match self {
            Past::Number(history) => 1.0 + 0.35 * history.code_active(),
            Past::State { .. } => 1.0,
            Past::Ignored => 0.0,
        }
    }

    /// Appends the inputs of a linear expert, numbered from `at`.
    pub fn linear(&self, at: u32, out: &mut Spikes) {
        match self {
            Past::Number(history) => history.linear(at, out),
            Past::State { active, .. } => active.iter().for_each(|a| out.push(at + a, 1.0)),
            Past::Ignored => {}
        }
    }

    /// Appends the population code, numbered from `at`.
    pub fn code(&self, at: u32, out: &mut Spikes) {
        if let Past::Number(history) = self {
            history.code(at, out);
        }
    }

    /// Appends the inputs of a hidden layer, numbered from `at`.
    pub fn hidden(&self, at: u32, out: &mut Spikes) {
        match self {
            Past::Number(history) if !history.last().is_nan() => {
                out.push(at, history.z());
                history.code(at + 1, out);
            }
            Past::State { active, .. } => active.iter().for_each(|a| out.push(at + a, 1.0)),
            Past::Number(_) | Past::Ignored => {}
        }
    }
}
