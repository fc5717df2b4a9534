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
    token: Option<String>,
}

/// Reads a feedback, which must carry `token` where there is one; other members are ignored.
///
/// # Errors
/// [`Reject::BadFeedback`] for anything else.
pub fn parse_feedback(payload: &[u8], token: Option<&str>) -> Result<Feedback, Reject> {
    let read: Payload = serde_json::from_slice(payload).map_err(|_| Reject::BadFeedback)?;
    let is_allowed = token.is_none_or(|wanted| {
        let given = read.token.as_deref().unwrap_or_default();
        is_same(wanted.as_bytes(), given.as_bytes())
    });
    if !is_allowed || !(1..MAX_INCIDENT).contains(&read.incident) {
        return Err(Reject::BadFeedback);
    }
    Ok(Feedback {
        incident: read.incident,
        ruling: read.verdict,
    })
}

/// Compares secrets in a time that does not depend on where they differ.
fn is_same(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |all, (a, b)| all | (a ^ b)) == 0
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
            assert_eq!(parse_feedback(payload, None), Err(Reject::BadFeedback));
        }
    }

    #[test]
    fn where_a_token_is_asked_for_nothing_else_is_taken() {
        let said = |token: &str| format!(r#"{{"incident":1,"verdict":"true"{token}}}"#);
        let read = |payload: String| parse_feedback(payload.as_bytes(), Some("sesame")).is_ok();
        assert!(read(said(r#","token":"sesame""#)));
        for other in [
            "",
            r#","token":"""#,
            r#","token":"sesamo""#,
            r#","token":"sesames""#,
        ] {
            assert!(!read(said(other)), "{other}");
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
            let feedback = parse_feedback(payload.as_bytes(), None).unwrap();
            prop_assert_eq!(feedback, Feedback { incident, ruling });
            let reading = feedback.to_reading(7, "pump".into(), 5);
            prop_assert_eq!(Feedback::of(&reading), Some(feedback));
        }
    }
}
