//! Keeps a stream's last incidents: opens them, names their kind, closes them.

use serde::{Deserialize, Serialize};

use super::detector::{Detector, Judgement, Moment};
use super::incident::Step;
use super::monitor::ChannelMonitor;
use super::residuals::ChannelResiduals;
use crate::row::{Incident, IncidentEdge, Kind, Share};

/// Incidents before the last one that can still be ruled on.
pub const PAST: usize = 7;

/// The last incidents of a stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct IncidentLog {
    /// The last one, open or ended.
    pub(super) last: Option<Incident>,
    /// Those before it, oldest first.
    pub(super) past: Vec<Incident>,
    opened: u64,
    /// Incidents opened, by kind.
    pub(super) counts: [u64; 5],
}

impl IncidentLog {
    /// The last incident, open or ended.
    pub fn last(&self) -> Option<&Incident> {
        self.last.as_ref()
    }

    /// Every incident that can still be ruled on.
    pub fn known(&self) -> impl Iterator<Item = &Incident> {
        self.last.iter().chain(&self.past)
    }

    /// The incident of this number.
    pub(super) fn find_mut(&mut self, id: u64) -> Option<&mut Incident> {
        let mut known = self.last.iter_mut().chain(&mut self.past);
        known.find(|incident| incident.id == id)
    }

    /// Adds a new incident; the ones before are kept for rulings.
    pub(super) fn push(&mut self, incident: Incident) {
        if let Some(before) = self.last.replace(incident) {
            self.past.push(before);
        }
        let excess = self.past.len().saturating_sub(PAST);
        self.past.drain(..excess);
    }

    fn next_id(&mut self, kind: Kind) -> u64 {
        self.opened += 1;
        let place = Kind::ALL.iter().position(|&k| k == kind).unwrap_or(0);
        self.counts[place] += 1;
        self.opened
    }
}

impl Detector {
    /// Opens, continues or ends the incident by the row's scores.
    pub(super) fn update_incident(
        &mut self,
        at: Moment,
        residuals: &[ChannelResiduals],
        judgement: &mut Judgement,
    ) {
        let scores = self.scores().to_vec();
        let params = self.settings.incident;
        let step = self
            .incidents
            .step(scores.iter().copied(), self.bar, &params);
        match step {
            Step::Same => {}
            Step::Opened => judgement.edge = Some(self.open_incident(at, residuals, judgement)),
            Step::Reopened => {
                if let Some(incident) = &mut self.log.last {
                    incident.end_ms = None;
                }
            }
            Step::Closed | Step::Accepted => {
                judgement.accepted = step == Step::Accepted;
                if judgement.accepted {
                    self.accept();
                } else {
                    self.reset_non_members();
                }
                judgement.edge = self.close_incident(at.ts_ms, judgement.accepted);
            }
        }
        judgement.anomaly = self.incidents.is_open();
        if judgement.anomaly
            && let Some(incident) = &mut self.log.last
        {
            if judgement.score > incident.peak_score {
                incident.peak_score = judgement.score;
                incident.peak_ms = at.ts_ms;
                fill_shares(&self.channels, &mut incident.channels);
            }
            judgement.kind = Some(incident.kind);
        }
    }

    fn open_incident(
        &mut self,
        at: Moment,
        residuals: &[ChannelResiduals],
        judgement: &Judgement,
    ) -> IncidentEdge {
        let mut channels = Vec::with_capacity(self.channels.len());
        fill_shares(&self.channels, &mut channels);
        let first = channels.first().map_or(0, |share| share.channel);
        let kind = self.kind_of(first, residuals);
        let incident = Incident {
            id: self.log.next_id(kind),
            kind,
            start_ms: at.ts_ms,
            peak_ms: at.ts_ms,
            end_ms: None,
            peak_score: judgement.score,
            channels,
            accepted: false,
            verdict: None,
        };
        self.log.push(incident.clone());
        IncidentEdge::Opened(incident)
    }

    /// Ends the last incident in the log.
    pub(super) fn close_incident(&mut self, ts_ms: i64, accepted: bool) -> Option<IncidentEdge> {
        let incident = self.log.last.as_mut()?;
        incident.end_ms = Some(ts_ms);
        incident.accepted = accepted;
        Some(IncidentEdge::Closed(incident.clone()))
    }

    fn kind_of(&self, c: usize, residuals: &[ChannelResiduals]) -> Kind {
        let monitor = &self.channels[c];
        let habits = self.settings.habits;
        if habits && monitor.is_silent(self.bar) {
            Kind::Gap
        } else if habits && monitor.is_stuck(self.bar) {
            Kind::Stuck
        } else if residuals[c].is_novel {
            Kind::Novelty
        } else if monitor.is_drift() {
            Kind::Drift
        } else {
            Kind::Surprise
        }
    }
}

/// Fills in channels by their share of all evidence, largest first, those without any left out.
fn fill_shares(channels: &[ChannelMonitor], shares: &mut Vec<Share>) {
    let total: f64 = channels.iter().map(ChannelMonitor::evidence).sum();
    let carriers = channels.iter().enumerate();
    let carriers = carriers.filter(|(_, monitor)| monitor.evidence() > 0.0);
    shares.clear();
    shares.extend(carriers.map(|(channel, monitor)| Share {
        channel,
        share: monitor.evidence() / total,
    }));
    shares.sort_unstable_by(|a, b| b.share.total_cmp(&a.share).then(a.channel.cmp(&b.channel)));
}
