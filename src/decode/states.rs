//! Values of channels of states: words to the numbers that stand for them, strangers refused.

use crate::engine::{EngineParams, State, state_named};
use crate::payload::{Measured, Reject, truth};

/// The number that `value` is for `channel` of `stream`; without `params` no channel has listed
/// states.
///
/// # Errors
/// If the value is none of its channel's states, or a word where there are none.
pub fn number_of(
    params: Option<&EngineParams>,
    stream: &str,
    channel: &str,
    value: Measured<&str>,
) -> Result<f64, Reject> {
    let states = params.and_then(|params| params.states(stream, channel));
    match (states, value) {
        (None, Measured::Number(x)) => Ok(x),
        (None, Measured::Word(word)) => truth(word).ok_or(Reject::Malformed),
        (Some(states), Measured::Number(x)) => numbered(states, x),
        (Some(states), Measured::Word(word)) => state_named(states, word)
            .map(|state| state.value)
            .ok_or(Reject::UnknownState),
    }
}

fn numbered(states: &[State], value: f64) -> Result<f64, Reject> {
    match states.iter().any(|state| state.value == value) {
        true => Ok(value),
        false => Err(Reject::UnknownState),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{EngineSettings, Plan, Rule, Values};
    use crate::payload::{Format, Parsed, Pointer, TimeUnit};

    fn params() -> EngineParams {
        let states = ["shut", "open"].map(str::to_owned);
        let rule = Rule {
            stream: "*".into(),
            channel: "valve*".into(),
            plan: Plan {
                values: Values::states(&states).unwrap(),
                ..Plan::default()
            },
        };
        EngineParams::new(EngineSettings {
            channels: vec![rule],
            ..EngineSettings::default()
        })
        .unwrap()
    }

    fn pointer(text: &str) -> Pointer {
        Pointer::new(text).unwrap()
    }

    fn parse(format: &Format, payload: &str) -> Result<Parsed, Reject> {
        let mut parsed = Parsed::default();
        parsed.wants_words = true;
        format.parse(payload.as_bytes(), &mut parsed)?;
        Ok(parsed)
    }

    #[test]
    fn a_word_stands_for_its_state_and_a_stranger_is_refused() {
        let auto = Format::auto(pointer("/value"), pointer("/ts"), TimeUnit::Millis);
        let params = params();
        let read = |channel: &str, payload: &str| {
            let parsed = parse(&auto, payload)?;
            let value = parsed.found().next().unwrap().value;
            number_of(Some(&params), "pump", channel, value)
        };
        assert_eq!(read("valve_1", "open"), Ok(1.0));
        assert_eq!(read("valve_1", " 0 "), Ok(0.0));
        assert_eq!(read("valve_1", r#"{"value": "open"}"#), Ok(1.0));
        assert_eq!(read("valve_1", r#"{"value": true}"#), Ok(1.0));
        assert_eq!(read("valve_1", "ajar"), Err(Reject::UnknownState));
        assert_eq!(read("valve_1", "7"), Err(Reject::UnknownState));
        assert_eq!(read("flow", "7"), Ok(7.0));
        assert_eq!(read("flow", "open"), Err(Reject::Malformed));
    }

    #[test]
    fn an_object_may_name_states_beside_numbers_and_other_texts() {
        let object = Format::object(pointer(""), pointer("/ts"), TimeUnit::Millis);
        let payload = r#"{"flow": 2, "unit": "bar", "valve": "open", "valve_2": "ajar"}"#;
        let parsed = parse(&object, payload).unwrap();
        let params = params();
        let values: Vec<_> = parsed
            .found()
            .map(|f| number_of(Some(&params), "pump", f.channel.unwrap(), f.value))
            .collect();
        let expected = [
            Ok(2.0),
            Err(Reject::Malformed),
            Ok(1.0),
            Err(Reject::UnknownState),
        ];
        assert_eq!(values, expected);
    }
}
