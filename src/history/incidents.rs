//! Records of a stream's incidents, with what each channel showed at its most unexpected.

use serde::{Deserialize, Serialize};

use crate::row::{Incident, Outcome};

/// Records kept: older ones go first, open ones never.
const KEPT: usize = 100;

/// One incident and what its channels showed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct IncidentRecord {
    /// The incident, as it stands or as it ended.
    pub incident: Incident,
    /// Highest severity so far: 1 is the alarm bar.
    pub severity: f64,
    /// One a channel: its least expected row within the incident.
    pub evidence: Vec<ChannelEvidence>,
}

/// The row of an incident in which a channel was least expected, in predictive standard deviations.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChannelEvidence {
    /// Moment of the row, unix milliseconds.
    pub ts_ms: i64,
    /// The measured value; NaN where every value was missing.
    pub value: f64,
    /// The predictive mean.
    pub mean: f64,
    /// The predictive standard deviation.
    pub sd: f64,
}

impl ChannelEvidence {
    /// Distance of the value from its prediction, in predictive standard deviations; NaN without
    /// both.
    pub fn distance_sd(&self) -> f64 {
        (self.value - self.mean) / self.sd
    }
}

/// How bad a row is: 1 is the alarm bar. Below it the score, which says how close; beyond it the
/// severity, which has no cap.
pub fn shown_severity(outcome: &Outcome) -> f64 {
    if outcome.score >= 1.0 {
        outcome.score.max(outcome.severity)
    } else {
        outcome.score
    }
}

/// The records of one stream, oldest first.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct IncidentRecords {
    records: Vec<IncidentRecord>,
}

impl IncidentRecords {
    /// Records, oldest first.
    pub fn all(&self) -> &[IncidentRecord] {
        &self.records
    }

    /// Takes a row; `incident` is the stream's last one.
    pub fn push(&mut self, outcome: &Outcome, incident: Option<&Incident>) {
        if let Some(edge) = &outcome.edge {
            self.note(edge.incident());
        }
        if !outcome.anomaly {
            self.end_at(outcome.ts_ms);
            return;
        }
        if let Some(incident) = incident {
            self.note(incident);
        }
        let severity = shown_severity(outcome);
        let open = self.records.last_mut();
        if let Some(record) = open.filter(|record| record.incident.end_ms.is_none()) {
            record.severity = record.severity.max(severity);
        }
        // Up to the peak only: the way back from a fault is as unexpected as the way there.
        if let Some(record) = self.records.last_mut()
            && outcome.ts_ms <= record.incident.peak_ms
        {
            record.add_evidence(outcome);
        }
    }

    /// Takes what an operator said.
    pub fn judged(&mut self, outcome: &Outcome) {
        if let Some(edge) = &outcome.edge {
            self.note(edge.incident());
        }
    }

    /// Nothing is open: an incident that a stream forgot as it began anew ends here.
    fn end_at(&mut self, ts_ms: i64) {
        let open = self.records.iter_mut();
        for record in open.filter(|record| record.incident.end_ms.is_none()) {
            record.incident.end_ms = Some(ts_ms);
        }
    }

    fn note(&mut self, incident: &Incident) {
        let same = |record: &&mut IncidentRecord| {
            record.incident.id == incident.id && record.incident.start_ms == incident.start_ms
        };
        match self.records.iter_mut().rev().find(same) {
            Some(record) => record.incident.clone_from(incident),
            None => self.records.push(IncidentRecord {
                incident: incident.clone(),
                severity: incident.peak_score,
                evidence: Vec::new(),
            }),
        }
        if self.records.len() > KEPT {
            self.records.remove(0);
        }
    }
}

impl IncidentRecord {
    fn add_evidence(&mut self, outcome: &Outcome) {
        self.evidence
            .resize(outcome.channels.len(), ChannelEvidence::NONE);
        for (kept, channel) in self.evidence.iter_mut().zip(&outcome.channels) {
            let new = ChannelEvidence {
                ts_ms: outcome.ts_ms,
                value: channel.value,
                mean: channel.mean,
                sd: channel.sd,
            };
            let further = new.distance_sd().abs() > kept.distance_sd().abs();
            if further || kept.distance_sd().is_nan() {
                *kept = new;
            }
        }
    }
}

impl ChannelEvidence {
    const NONE: ChannelEvidence = ChannelEvidence {
        ts_ms: 0,
        value: f64::NAN,
        mean: f64::NAN,
        sd: f64::NAN,
    };
}
