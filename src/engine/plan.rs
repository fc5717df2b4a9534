//! Roles of channels: the role, the values and the code of each; and the rules that set them by name.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::detect::Watch;
use crate::encode::Encoder;
use crate::glob::glob;

/// States of a channel whose states are not listed: so many are told apart.
pub const FOUND_STATES: usize = 16;
/// States that may be listed.
pub const MAX_STATES: usize = 64;

/// Role of a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    /// Its past predicts itself and the others.
    #[default]
    Sensor,
    /// Predicted from the other channels only, nothing of its own past goes in; also while it is
    /// missing: a soft sensor. Its value is judged against the prediction.
    Target,
    /// The same, but never judged: what is taught when it arrives, right or wrong, is no anomaly.
    Label,
}

/// One state of a channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct State {
    /// Its name in payloads.
    pub name: Arc<str>,
    /// The number that stands for it in readings: the name's own where it is a number, its place
    /// in the list otherwise.
    pub value: f64,
}

/// Values that a channel takes.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Values {
    /// Numbers.
    #[default]
    Numbers,
    /// One of these states; none listed: whichever numbers come first, [`FOUND_STATES`] of them.
    States(Vec<State>),
}

impl Values {
    /// The listed states of these names.
    ///
    /// # Errors
    /// The error.
    pub fn states(names: &[String]) -> Result<Values, String> {
        if names.len() == 1 || names.len() > MAX_STATES {
            return Err(format!("none or 2 to {MAX_STATES} states"));
        }
        let states: Vec<State> = numbered(names);
        for (i, state) in states.iter().enumerate() {
            let same = |s: &State| s.name == state.name || s.value == state.value;
            if state.name.is_empty() || state.name.len() > 100 {
                return Err("states with names of 1 to 100 bytes".to_owned());
            }
            if states[..i].iter().any(same) {
                return Err(
                    "states that differ (a name that is no number stands for its place)".to_owned(),
                );
            }
        }
        Ok(Values::States(states))
    }

    /// The two states of a binary channel.
    pub fn binary() -> Values {
        Values::States(numbered(&["0", "1"]))
    }

    /// Its states where some are listed.
    pub fn listed(&self) -> Option<&[State]> {
        match self {
            Values::States(states) if !states.is_empty() => Some(states),
            _ => None,
        }
    }
}

/// States of these names; the value of one that is no number is its place.
fn numbered(names: &[impl AsRef<str>]) -> Vec<State> {
    let names = names.iter().map(AsRef::as_ref).enumerate();
    let states = names.map(|(place, name)| State {
        name: name.into(),
        value: name
            .parse()
            .ok()
            .filter(|x: &f64| x.is_finite())
            .unwrap_or(place as f64),
    });
    states.collect()
}

/// The state that a payload's text names; `true` and `false` are 1 and 0.
pub fn state_named<'a>(states: &'a [State], text: &str) -> Option<&'a State> {
    let number = match text {
        "true" => Some(1.0),
        "false" => Some(0.0),
        _ => text.parse().ok(),
    };
    states
        .iter()
        .find(|state| *state.name == *text)
        .or_else(|| states.iter().find(|state| Some(state.value) == number))
}

/// Role, values and code of a channel.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// Its role.
    pub role: Role,
    /// Values that it takes.
    pub values: Values,
    /// Code of its level, where it takes numbers.
    pub encoder: Encoder,
    /// Its numbers are totals: growth a row is predicted and judged.
    pub counter: bool,
    /// Which of its deviations are worth a word.
    pub watch: Watch,
}

impl Plan {
    /// Its past goes into the predictions.
    pub fn is_input(&self) -> bool {
        self.role == Role::Sensor
    }

    /// It is one of a few states.
    pub fn has_states(&self) -> bool {
        self.role == Role::Label || self.values != Values::Numbers
    }

    /// It is predicted by the networks that all numeric sensors share.
    pub fn is_shared(&self) -> bool {
        self.role == Role::Sensor && self.values == Values::Numbers
    }
}

/// A rule for the channels of some names.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rule {
    /// Streams meant: a name in which `*` is any text.
    pub stream: String,
    /// Channels meant, likewise.
    pub channel: String,
    /// Their properties.
    pub plan: Plan,
}

impl Rule {
    /// Whether the channel is meant.
    pub fn fits(&self, stream: &str, channel: &str) -> bool {
        glob(&self.stream, stream) && glob(&self.channel, channel)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn states_are_found_by_name_and_by_number() {
        let names = |list: &[&str]| list.iter().map(|s| (*s).to_owned()).collect::<Vec<_>>();
        let words = Values::states(&names(&["off", "slow", "fast"])).unwrap();
        let words = words.listed().unwrap();
        assert_eq!(state_named(words, "slow").unwrap().value, 1.0);
        assert_eq!(&*state_named(words, "2").unwrap().name, "fast");
        assert!(state_named(words, "3").is_none() && state_named(words, "FAST").is_none());
        let numbers = Values::states(&names(&["-1", "5"])).unwrap();
        assert_eq!(
            state_named(numbers.listed().unwrap(), "5.0").unwrap().value,
            5.0
        );
        let binary = Values::binary();
        let binary = binary.listed().unwrap();
        assert_eq!(state_named(binary, "true").unwrap().value, 1.0);
        assert!(state_named(binary, "2").is_none());
        for wrong in [&["a"][..], &["a", "a"], &["1", "b"], &["", "b"]] {
            assert!(Values::states(&names(wrong)).is_err(), "{wrong:?}");
        }
    }
}
