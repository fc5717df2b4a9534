//! The incidents of a recording, one by one.

use std::fmt::Write as _;

use serde::Serialize;

use crate::row::{Incident, Outcome, Share};

/// Incidents that the text lists, the worst; all are in the JSON.
const SHOWN: usize = 5;

/// One incident.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FlaggedIncident {
    /// Number within the recording, from 1; the same as in the output's column.
    pub incident: u64,
    /// `surprise`, `drift`, `novelty`, `gap` or `stuck`.
    pub kind: &'static str,
    /// Time of its first row as it stands in the recording.
    pub start: String,
    /// First flagged row, from 1.
    pub row: u64,
    /// Rows flagged.
    pub rows: u64,
    /// Highest score; 1 is the bar.
    pub peak_score: f64,
    /// Highest severity of its rows: as the score, but without an upper limit.
    pub severity: f64,
    /// It lasted so long that it is the new normal.
    pub accepted: bool,
    /// Channels that carry the evidence and their share of it, largest first, three at most.
    pub channels: Vec<IncidentPart>,
}

/// One channel's part in an incident.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IncidentPart {
    /// The channel.
    pub channel: String,
    /// Its share of the evidence, 0 to 1.
    pub share: f64,
}

/// Those of a recording, in their order.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
#[serde(transparent)]
pub struct Flagged {
    all: Vec<FlaggedIncident>,
}

impl Flagged {
    /// Takes the outcome of row `row`, from 1, its time as it stands in the recording, and the
    /// stream's last incident, if that is open or ends with the row.
    pub fn observe(
        &mut self,
        names: &[impl AsRef<str>],
        row: u64,
        time: &str,
        outcome: &Outcome,
        last: &Incident,
    ) {
        if !outcome.anomaly && outcome.edge.is_none() {
            return;
        }
        if self
            .all
            .last()
            .is_none_or(|known| known.incident != last.id)
        {
            self.all.push(FlaggedIncident {
                incident: last.id,
                kind: "",
                start: time.to_owned(),
                row,
                rows: 0,
                peak_score: 0.0,
                severity: 0.0,
                accepted: false,
                channels: Vec::new(),
            });
        }
        let Some(known) = self.all.last_mut() else {
            return;
        };
        known.rows += u64::from(outcome.anomaly);
        known.kind = last.kind.as_str();
        known.peak_score = last.peak_score;
        // A maximum passes over a severity that is NaN.
        known.severity = known.severity.max(last.peak_score).max(outcome.severity);
        known.accepted = last.accepted;
        let named = |part: &Share| IncidentPart {
            channel: names[part.channel].as_ref().to_owned(),
            share: part.share,
        };
        known.channels = last.channels.iter().take(3).map(named).collect();
    }

    /// The worst incidents, a line each.
    pub fn table(&self) -> String {
        let mut text = String::new();
        let mut worst: Vec<&FlaggedIncident> = self.all.iter().collect();
        worst.sort_by(|a, b| b.severity.total_cmp(&a.severity));
        worst.truncate(SHOWN);
        let starts = worst.iter().map(|i| i.start.chars().count());
        let width = starts.max().unwrap_or(0);
        if self.all.len() > SHOWN {
            // Writing to a string cannot fail, here and below.
            let _ = writeln!(
                text,
                "  the worst {SHOWN} of {} (--json lists all)",
                self.all.len()
            );
        }
        for i in worst {
            let parts = i.channels.iter().filter(|part| part.share >= 0.01);
            let parts = parts.map(|part| format!("{} {:.0}%", part.channel, 100.0 * part.share));
            let parts: Vec<String> = parts.collect();
            let accepted = if i.accepted {
                ", accepted as normal"
            } else {
                ""
            };
            let _ = writeln!(
                text,
                "  #{:<3} {:width$}  row {}, {} rows, severity {:.1}, {}{accepted}: {}",
                i.incident,
                i.start,
                i.row,
                i.rows,
                i.severity,
                i.kind,
                parts.join(", ")
            );
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::{IncidentEdge, Kind};

    #[test]
    fn an_incident_that_flares_up_again_is_one_and_ends_as_it_ended() {
        let names = ["a".to_owned(), "b".to_owned()];
        let mut incident = Incident {
            id: 3,
            kind: Kind::Drift,
            start_ms: 0,
            peak_ms: 0,
            end_ms: None,
            peak_score: 1.25,
            channels: vec![
                Share {
                    channel: 1,
                    share: 0.996,
                },
                Share {
                    channel: 0,
                    share: 0.004,
                },
            ],
            accepted: false,
            verdict: None,
        };
        let mut outcome = Outcome {
            ts_ms: 0,
            arrival_ms: 0,
            row: 0,
            warming_up: false,
            score: 1.25,
            severity: 0.0,
            anomaly: true,
            kind: None,
            channels: Vec::new(),
            forecasts: Vec::new(),
            odds: Vec::new(),
            edge: None,
        };
        let mut list = Flagged::default();
        for row in [10, 11, 20] {
            list.observe(&names, row, "noon", &outcome, &incident);
        }
        outcome.anomaly = false;
        list.observe(&names, 21, "one", &outcome, &incident);
        incident.accepted = true;
        outcome.edge = Some(IncidentEdge::Closed(incident.clone()));
        list.observe(&names, 22, "two", &outcome, &incident);
        let line = "  #3   noon  row 10, 3 rows, severity 1.2, drift, accepted as normal: b 100%\n";
        assert_eq!(list.table(), line);
    }
}
