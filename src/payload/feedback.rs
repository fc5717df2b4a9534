//! Feedback payloads: `{"incident": 3, "verdict": "false" | "true" | "new_normal"}`.

use serde::Deserialize;

use super::Reject;
use crate::row::{Feedback, Ruling};

/// Incident numbers travel as 64-bit floats.
const MAX_INCIDENT: u64 = 1 << 53;

#[derive(Deserialize)]
struct Payload {
    incident: u64,
    verdict: Ruling,
}

/// Reads a feedback; members beyond the two are nobody's business.
///
/// # Errors
/// [`Reject::BadFeedback`] for anything else.
pub fn parse_feedback(payload: &[u8]) -> Result<Feedback, Reject> {
    match serde_json::from_slice(payload) {
        Ok(Payload { incident, verdict }) if (1..MAX_INCIDENT).contains(&incident) => {
            Ok(Feedback {
                incident,
                ruling: verdict,
            })
        }
        _ => Err(Reject::BadFeedback),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn anything_else_is_refused() {
        for payload in [
            &b""[..],
            b"false",
            b"{}",
            b"{\"incident\":1}",
            b"{\"incident\":0,\"verdict\":\"true\"}",
            b"{\"incident\":-1,\"verdict\":\"true\"}",
            b"{\"incident\":1.5,\"verdict\":\"true\"}",
            b"{\"incident\":9007199254740992,\"verdict\":\"true\"}",
            b"{\"incident\":1,\"verdict\":true}",
            b"{\"incident\":1,\"verdict\":\"maybe\"}",
            b"{\"incident\":1,\"verdict\":\"true\"}x",
            b"\xff",
        ] {
            assert_eq!(parse_feedback(payload), Err(Reject::BadFeedback));
        }
    }

    proptest! {
        #[test]
        fn a_feedback_comes_back_from_its_payload_and_from_the_reading_it_travels_as(
            incident in 1..MAX_INCIDENT,
            ruling in prop::sample::select(Ruling::ALL.to_vec()),
        ) {
            let payload = format!(
                r#"{{"verdict": "{}", "by": "me", "incident": {incident}}}"#,
                ruling.as_str()
            );
            let feedback = parse_feedback(payload.as_bytes()).unwrap();
            prop_assert_eq!(feedback, Feedback { incident, ruling });
            let reading = feedback.to_reading(7, "pump".into(), 5);
            prop_assert_eq!(Feedback::of(&reading), Some(feedback));
        }
    }
}
