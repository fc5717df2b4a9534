//! Puts incidents and moments of a state file in words for a person.

use std::fmt;

use serde::Deserialize;
use serde_json::Value;

use crate::row::Incident;

/// Moments as UTC; a number that is none of the calendar's stays one.
pub(super) struct UtcTime(pub i64);

impl fmt::Display for UtcTime {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match jiff::Timestamp::from_millisecond(self.0) {
            Ok(at) => write!(f, "{}", at.strftime("%Y-%m-%d %H:%M:%S UTC")),
            Err(_) => write!(f, "{} ms", self.0),
        }
    }
}

/// One line for an incident of `stream`, whose channels have these names.
pub(super) fn incident_line(stream: &str, channels: &[String], body: &Value) -> String {
    let Ok(incident) = Incident::deserialize(body) else {
        return format!("{stream}: {body}");
    };
    let end = match incident.end_ms {
        Some(end) => format!("to {}", UtcTime(end)),
        None => "open".to_owned(),
    };
    let shares = incident.channels.iter().take(3).map(|share| {
        let name = channels.get(share.channel).map_or("?", String::as_str);
        format!("{name} {:.0}%", 100.0 * share.share)
    });
    let shares: Vec<String> = shares.collect();
    let verdict = match incident.verdict {
        Some(verdict) => format!(", ruled {}", verdict.as_str()),
        None => String::new(),
    };
    let accepted = if incident.accepted {
        ", accepted as normal"
    } else {
        ""
    };
    format!(
        "{stream} #{} {} from {} {end}, peak score {:.1} at {}: {}{verdict}{accepted}",
        incident.id,
        incident.kind.as_str(),
        UtcTime(incident.start_ms),
        incident.peak_score,
        UtcTime(incident.peak_ms),
        shares.join(", "),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::{Kind, Share};

    #[test]
    fn an_incident_has_names_times_and_its_height_and_anything_else_is_shown_as_it_is() {
        let incident = Incident {
            id: 3,
            kind: Kind::Stuck,
            start_ms: 1_700_000_000_000,
            peak_ms: 1_700_000_060_000,
            end_ms: None,
            peak_score: 2.25,
            channels: vec![
                Share {
                    channel: 1,
                    share: 0.8,
                },
                Share {
                    channel: 7,
                    share: 0.2,
                },
            ],
            accepted: false,
            verdict: None,
        };
        let body = serde_json::to_value(&incident).unwrap();
        let channels = ["speed".to_owned(), "flow".to_owned()];
        assert_eq!(
            incident_line("pump", &channels, &body),
            "pump #3 stuck from 2023-11-14 22:13:20 UTC open, peak score 2.2 at 2023-11-14 22:14:20 UTC: \
             flow 80%, ? 20%"
        );
        let other = serde_json::json!({"id": "x"});
        assert_eq!(incident_line("pump", &[], &other), "pump: {\"id\":\"x\"}");
    }
}
