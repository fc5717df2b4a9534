//! Records of a stream's incidents, with what each channel showed at its most unexpected.

use serde::{Deserialize, Serialize};

use super::point::{ChannelPoint, Point, shown_severity};
use crate::row::{Incident, Outcome};

/// Records kept: older ones go first, open ones never.
const KEPT: usize = 100;
/// Rows before the first flagged one that evidence is looked for in, at most: it adds up before it passes the bar.
const ROWS_BEFORE: usize = 30;
/// Score that such rows have at least: below it nothing had added up yet.
const RISEN_SCORE: f32 = 0.2;

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

/// The row of an incident in which a channel was least expected: a number in predictive standard deviations,
/// a state by its probability.
///
/// Of a channel of states, `value` and `mean` are places of states, and `sd` is the probability that the
/// state seen had before it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChannelEvidence {
    /// Moment of the row, unix milliseconds.
    pub ts_ms: i64,
    /// The measured value, or the state seen; NaN where every value was missing.
    pub value: f64,
    /// The predictive mean, or the likeliest state.
    pub mean: f64,
    /// The predictive standard deviation, or the probability of the state seen.
    pub sd: f64,
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

    /// Takes a row; `incident` is the stream's last one, `before` the rows before this one, newest first, and
    /// `is_states` says whether a channel is one of states.
    pub fn push<'a>(
        &mut self,
        outcome: &Outcome,
        incident: Option<&Incident>,
        before: impl Iterator<Item = &'a Point>,
        is_states: impl Fn(usize) -> bool,
    ) {
        let known = self.records.last().map(|record| key(&record.incident));
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
        if let Some(record) = self.records.last_mut()
            && known != Some(key(&record.incident))
        {
            let led_here = |point: &&Point| {
                point.rows == 1 && !point.flagged && !point.warming_up && point.score >= RISEN_SCORE
            };
            for point in before.take(ROWS_BEFORE).take_while(led_here) {
                record.add_evidence(point, &is_states);
            }
        }
        // Up to the peak only: the way back from a fault is as unexpected as the way there.
        if let Some(record) = self.records.last_mut()
            && outcome.ts_ms <= record.incident.peak_ms
        {
            record.add_evidence(&Point::of(outcome), &is_states);
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
        let same = |record: &&mut IncidentRecord| key(&record.incident) == key(incident);
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

/// Tells the incidents of a stream apart, also after it began anew.
fn key(incident: &Incident) -> (u64, i64) {
    (incident.id, incident.start_ms)
}

impl IncidentRecord {
    fn add_evidence(&mut self, row: &Point, is_states: impl Fn(usize) -> bool) {
        if self.evidence.len() < row.cells.len() {
            self.evidence.resize(row.cells.len(), ChannelEvidence::NONE);
        }
        for (c, (kept, cell)) in self.evidence.iter_mut().zip(&row.cells).enumerate() {
            let new = ChannelEvidence::of(row.start_ms, cell);
            let further = if is_states(c) {
                new.sd < kept.sd
            } else {
                new.distance_sd().abs() > kept.distance_sd().abs()
            };
            if further || !kept.is_known() {
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

    fn of(ts_ms: i64, cell: &ChannelPoint) -> ChannelEvidence {
        ChannelEvidence {
            ts_ms,
            value: cell.value,
            mean: cell.predicted,
            sd: f64::from(cell.sd),
        }
    }

    /// There are a value and a prediction of it.
    pub fn is_known(&self) -> bool {
        !self.value.is_nan() && !self.mean.is_nan() && !self.sd.is_nan()
    }

    /// Infinite where another value was certain.
    fn distance_sd(&self) -> f64 {
        let distance = self.value - self.mean;
        if distance == 0.0 {
            0.0
        } else {
            distance / self.sd
        }
    }
}
