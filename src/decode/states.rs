//! Payloads of channels of states: words to the numbers that stand for them, strangers refused.

use crate::engine::{EngineParams, State, state_named};
use crate::payload::{Parsed, Reject};

/// Turns what was `parsed` for `channel` of `stream` (or for channels that the payload names) into
/// numbers; without `params` no channel has listed states.
///
/// # Errors
/// If the payload's one value is none of its channel's states, or a word where there are none.
pub fn tell_states(
    params: Option<&EngineParams>,
    (stream, channel): (&str, Option<&str>),
    parsed: &mut Parsed,
) -> Result<(), Reject> {
    let Some(params) = params else {
        return Ok(());
    };
    if let Some(channel) = channel {
        let states = params.states(stream, channel);
        parsed.value = match (parsed.value, parsed.words.pop()) {
            (Some(value), _) => Some(numbered(states, value)?),
            (None, Some((_, word))) => Some(named(states, &word)?),
            (None, None) => None,
        };
        return Ok(());
    }
    let refused = &mut parsed.refused;
    parsed.channels.retain(|(name, value)| {
        let state = numbered(params.states(stream, name), *value);
        state.map_err(|reason| refused.push(reason)).is_ok()
    });
    for (name, word) in parsed.words.drain(..) {
        let name = name.unwrap_or_default();
        match named(params.states(stream, &name), &word) {
            Ok(value) => parsed.channels.push((name, value)),
            // A name or a unit beside the channels is no offence.
            Err(Reject::Malformed) => {}
            Err(reason) => parsed.refused.push(reason),
        }
    }
    Ok(())
}

fn numbered(states: Option<&[State]>, value: f64) -> Result<f64, Reject> {
    match states {
        Some(states) if states.iter().all(|state| state.value != value) => {
            Err(Reject::UnknownState)
        }
        _ => Ok(value),
    }
}

fn named(states: Option<&[State]>, word: &str) -> Result<f64, Reject> {
    let state = state_named(states.ok_or(Reject::Malformed)?, word);
    state.map(|state| state.value).ok_or(Reject::UnknownState)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{EngineSettings, Plan, Rule, Values};
    use crate::payload::{Format, Pointer, TimeUnit};

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

    #[test]
    fn a_word_stands_for_its_state_and_a_stranger_is_refused() {
        let auto = Format::auto(pointer("/value"), pointer("/ts"), TimeUnit::Millis);
        let params = params();
        let read = |channel: &str, payload: &str| {
            let mut parsed = Parsed {
                wants_words: true,
                ..Parsed::default()
            };
            auto.parse(payload.as_bytes(), &mut parsed)?;
            tell_states(Some(&params), ("pump", Some(channel)), &mut parsed)?;
            Ok(parsed.value.unwrap())
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
        let mut parsed = Parsed {
            wants_words: true,
            ..Parsed::default()
        };
        let payload = br#"{"flow": 2, "unit": "bar", "valve": "open", "valve_2": "ajar"}"#;
        object.parse(payload, &mut parsed).unwrap();
        tell_states(Some(&params()), ("pump", None), &mut parsed).unwrap();
        let channels = [("flow".to_owned(), 2.0), ("valve".to_owned(), 1.0)];
        assert_eq!(parsed.channels, channels);
        assert_eq!(parsed.refused, [Reject::UnknownState]);
    }
}
