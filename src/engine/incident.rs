//! From evidence to incidents: when they open, what they are called, what ends them.

use super::Engine;
use crate::detect::{Evidence, Step};
use crate::encode::Calendar;
use crate::row::{Incident, IncidentEdge, Kind, Outcome, Row, Share};

/// What is forgotten of context and scores when a new normal is accepted.
const ACCEPT_FORGETS: f64 = 0.9;
/// What the level counts for after a new normal was accepted, rows.
const ACCEPT_WEIGHT: f64 = 60.0;
/// What is kept of the context's past residuals when its calendar begins.
const CALENDAR_KEEPS: f64 = 0.3;
/// Novelty: ignorance above this many noise variances.
const NOVELTY: f64 = 4.0;

impl Engine {
    pub(super) fn update_incident(&mut self, row: &Row, outcome: &mut Outcome) {
        let scores = outcome.channels.iter().map(|c| c.score);
        let step = self
            .incidents
            .step(scores, self.bar, &self.params.get().incident);
        match step {
            Step::Same => {}
            Step::Opened => self.open_incident(row, outcome),
            Step::Reopened => {
                if let Some(incident) = &mut self.incident {
                    incident.end_ms = None;
                }
            }
            Step::Closed | Step::Accepted => {
                if step == Step::Accepted {
                    self.accept();
                } else {
                    self.leave_aftermath(outcome);
                }
                if let Some(incident) = &mut self.incident {
                    incident.end_ms = Some(row.ts_ms);
                    incident.accepted = step == Step::Accepted;
                    outcome.edge = Some(IncidentEdge::Closed(incident.clone()));
                }
            }
        }
        outcome.anomaly = self.incidents.is_open();
        if outcome.anomaly
            && let Some(incident) = &mut self.incident
        {
            if outcome.score > incident.peak_score {
                incident.peak_score = outcome.score;
                incident.peak_ms = row.ts_ms;
                fill_shares(&self.evidence, &mut incident.channels);
            }
            outcome.kind = Some(incident.kind);
        }
    }

    fn open_incident(&mut self, row: &Row, outcome: &mut Outcome) {
        let mut channels = Vec::with_capacity(self.evidence.len());
        fill_shares(&self.evidence, &mut channels);
        let first = channels.first().map_or(0, |share| share.channel);
        let kind = self.kind_of(first);
        self.n_incidents += 1;
        let place = Kind::ALL.iter().position(|&k| k == kind).unwrap_or(0);
        self.stats.incidents[place] += 1;
        let incident = Incident {
            id: self.n_incidents,
            kind,
            start_ms: row.ts_ms,
            peak_ms: row.ts_ms,
            end_ms: None,
            peak_score: outcome.score,
            channels,
            accepted: false,
            verdict: None,
        };
        outcome.edge = Some(IncidentEdge::Opened(incident.clone()));
        self.remember(incident);
    }

    fn kind_of(&self, c: usize) -> Kind {
        let heads = self.heads.as_ref().expect("built with the first row");
        let (evidence, channel) = (&self.evidence[c], &self.channels[c]);
        let bar = self.bar;
        let habits = self.params.get().habits;
        if habits && channel.gap.is_broken(bar) {
            Kind::Gap
        } else if habits && channel.stuck.is_broken(bar) {
            Kind::Stuck
        } else if channel.is_shared() && heads.step.ignorance(c) > NOVELTY * heads.step.noise(c) {
            Kind::Novelty
        } else if evidence.is_drift() {
            Kind::Drift
        } else {
            Kind::Surprise
        }
    }

    /// What channels that did not carry the incident have gathered meanwhile starts from zero.
    fn leave_aftermath(&mut self, outcome: &Outcome) {
        let share = self.params.get().incident.close_share;
        for (evidence, channel) in self.evidence.iter_mut().zip(&outcome.channels) {
            if channel.score > share {
                evidence.reset();
                self.limited += 1;
            }
        }
    }

    /// Once the context network sees hours, and once it sees weekdays, the residuals of before are
    /// those of another predictor: they count for less. `span_ms` is what the stream had lived
    /// through before this row.
    pub(super) fn renew_context(&mut self, span_ms: i64) {
        let now = Calendar::after(self.last_ms - self.first_ms);
        if !self.params.get().calendar || now <= Calendar::after(span_ms) {
            return;
        }
        if let Some(heads) = &mut self.heads {
            heads.context.renew(CALENDAR_KEEPS);
        }
        self.others.renew(CALENDAR_KEEPS);
    }

    /// Takes the present for the new normal.
    pub(super) fn accept(&mut self) {
        for evidence in &mut self.evidence {
            evidence.reset();
            evidence.shift.fade(1.0 - ACCEPT_FORGETS);
        }
        let heads = self.heads.as_mut().expect("built with the first row");
        heads.step.forget(ACCEPT_FORGETS, false);
        heads.context.forget(ACCEPT_FORGETS, true);
        self.others.fade(1.0 - ACCEPT_FORGETS);
        for forecaster in &mut self.forecasters {
            forecaster.forget(ACCEPT_FORGETS);
        }
        for channel in &mut self.channels {
            channel.level.soften(ACCEPT_WEIGHT);
            channel.stuck.accept();
            channel.gap.accept();
        }
    }
}

/// Channels by their share of all evidence, largest first, those without any left out.
fn fill_shares(evidence: &[Evidence], shares: &mut Vec<Share>) {
    let total: f64 = evidence.iter().map(Evidence::get).sum();
    let carriers = evidence.iter().enumerate().filter(|(_, e)| e.get() > 0.0);
    shares.clear();
    shares.extend(carriers.map(|(channel, e)| Share {
        channel,
        share: e.get() / total,
    }));
    shares.sort_unstable_by(|a, b| b.share.total_cmp(&a.share).then(a.channel.cmp(&b.channel)));
}
