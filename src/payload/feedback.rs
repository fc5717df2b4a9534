//! Payloads of operators' instructions.
//!
//! | topic ends in | payload |
//! |---|---|
//! | `feedback` | `{"incident": 3, "verdict": "false" or "true" or "new_normal"}` |
//! | `mute` | `{"for_s": 3600}`, of one channel with `"channel": "temp"`; 0 ends a mute |
//! | `forget` | `{"stream": "press"}`: the name once more, so that no slip wipes out a model |

use serde::Deserialize;

use super::Reject;
use crate::row::{Feedback, Instruction, Mute, Ruling};

/// Incident numbers travel as 64-bit floats.
const MAX_INCIDENT: u64 = 1 << 53;
/// Longest mute: a year, s.
pub const MAX_MUTE_S: f64 = 366.0 * 86_400.0;

/// Says which instruction a topic is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum InstructionTopic {
    /// Verdicts on incidents.
    Feedback,
    /// Mutes and their ends.
    Mute,
    /// Orders to forget.
    Forget,
}

impl InstructionTopic {
    /// Every topic.
    pub const ALL: [InstructionTopic; 3] = [
        InstructionTopic::Feedback,
        InstructionTopic::Mute,
        InstructionTopic::Forget,
    ];

    /// The topic's last level.
    pub fn as_str(self) -> &'static str {
        match self {
            InstructionTopic::Feedback => "feedback",
            InstructionTopic::Mute => "mute",
            InstructionTopic::Forget => "forget",
        }
    }
}

#[derive(Deserialize)]
struct InstructionPayload {
    incident: u64,
    verdict: Ruling,
    token: Option<String>,
}

#[derive(Deserialize)]
struct MutePayload {
    for_s: f64,
    channel: Option<String>,
    token: Option<String>,
}

#[derive(Deserialize)]
struct ForgetPayload {
    stream: String,
    token: Option<String>,
}

/// Reads an instruction to `stream`, which must carry `token` where there is one; other members are
/// ignored.
///
/// # Errors
/// [`Reject::BadFeedback`] or [`Reject::BadInstruction`] for anything else.
pub fn parse_instruction(
    topic: InstructionTopic,
    stream: &str,
    payload: &[u8],
    token: Option<&str>,
) -> Result<Instruction, Reject> {
    match topic {
        InstructionTopic::Feedback => parse_feedback(payload, token).map(Instruction::Feedback),
        InstructionTopic::Mute => parse_mute(payload, token).ok_or(Reject::BadInstruction),
        InstructionTopic::Forget => {
            let read: Option<ForgetPayload> = serde_json::from_slice(payload).ok();
            let meant = read
                .filter(|read| read.stream == stream && is_allowed(token, read.token.as_deref()));
            meant
                .map(|_| Instruction::Forget)
                .ok_or(Reject::BadInstruction)
        }
    }
}

fn parse_mute(payload: &[u8], token: Option<&str>) -> Option<Instruction> {
    let read: MutePayload = serde_json::from_slice(payload).ok()?;
    let is_meant = is_allowed(token, read.token.as_deref())
        && (0.0..=MAX_MUTE_S).contains(&read.for_s)
        && read.channel.as_ref().is_none_or(|name| !name.is_empty());
    is_meant.then(|| {
        Instruction::Mute(Mute {
            channel: read.channel.map(Into::into),
            for_ms: (read.for_s * 1000.0).round() as u64,
        })
    })
}

fn is_allowed(wanted: Option<&str>, given: Option<&str>) -> bool {
    wanted.is_none_or(|wanted| is_same(wanted.as_bytes(), given.unwrap_or_default().as_bytes()))
}

/// Reads a feedback, which must carry `token` where there is one; other members are ignored.
///
/// # Errors
/// [`Reject::BadFeedback`] for anything else.
fn parse_feedback(payload: &[u8], token: Option<&str>) -> Result<Feedback, Reject> {
    let read: InstructionPayload =
        serde_json::from_slice(payload).map_err(|_| Reject::BadFeedback)?;
    let is_allowed = is_allowed(token, read.token.as_deref());
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

    #[test]
    fn a_mute_has_a_time_and_an_order_to_forget_names_its_stream() {
        let read = |topic, payload: &str, token| {
            parse_instruction(topic, "press", payload.as_bytes(), token)
        };
        let mute = |payload| read(InstructionTopic::Mute, payload, None);
        let muted = |channel: Option<&str>, for_ms| {
            Ok(Instruction::Mute(Mute {
                channel: channel.map(Into::into),
                for_ms,
            }))
        };
        assert_eq!(mute(r#"{"for_s": 1.5}"#), muted(None, 1500));
        assert_eq!(mute(r#"{"for_s":0,"channel":"t"}"#), muted(Some("t"), 0));
        for bad in [
            "",
            "3600",
            "{}",
            r#"{"for_s":-1}"#,
            r#"{"for_s":1e9}"#,
            r#"{"for_s":null}"#,
            r#"{"for_s":1,"channel":""}"#,
        ] {
            assert_eq!(mute(bad), Err(Reject::BadInstruction), "{bad}");
        }
        let forget = |payload, token| read(InstructionTopic::Forget, payload, token);
        assert_eq!(
            forget(r#"{"stream":"press"}"#, None),
            Ok(Instruction::Forget)
        );
        for (bad, token) in [
            ("", None),
            ("{}", None),
            (r#"{"stream":"pres"}"#, None),
            (r#"{"stream":"press"}"#, Some("sesame")),
        ] {
            assert_eq!(forget(bad, token), Err(Reject::BadInstruction), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn a_feedback_comes_back_from_its_payload(
            incident in 1..MAX_INCIDENT,
            ruling in prop::sample::select(Ruling::ALL.to_vec()),
        ) {
            let payload = format!(
                r#"{{"verdict": "{}", "by": "me", "incident": {incident}}}"#,
                ruling.as_str()
            );
            let feedback = parse_feedback(payload.as_bytes(), None).unwrap();
            prop_assert_eq!(feedback, Feedback { incident, ruling });
        }
    }
}
