//! Opens a stream's incidents by the row's scores, names their kind, lets channels join, and closes them.

use super::alarm_debt::{AlarmCharge, AlarmDebts, AlarmSource};
use super::detector::{Detector, Judgement, Moment};
use super::incident::{IncidentParams, Step};
use super::joint_level::JointLevel;
use super::lessons::Subject;
use super::monitor::ChannelMonitor;
use super::residuals::ChannelResiduals;
use crate::row::{Incident, IncidentEdge, Kind, Share};

/// Rows of the hold that remain when a channel joins, so that acceptance does not wipe out what
/// has just begun.
const JOINED_ROWS: u32 = 100;
/// A channel with this share of an incident is part of it from the start.
const MEMBER_SHARE: f64 = 0.1;
/// Contributions to the joint level below this share are not listed.
const LISTED_SHARE: f64 = 0.01;
/// The hold limit in time is at least this many rows.
const LEAST_HOLD_ROWS: f64 = 100.0;

impl Detector {
    /// Opens, continues or ends the incident by the row's scores.
    pub(super) fn update_incident(
        &mut self,
        at: Moment,
        residuals: &[ChannelResiduals],
        judgement: &mut Judgement,
    ) {
        let level = if judgement.warming_up {
            0.0
        } else {
            self.audible_level(at.ts_ms)
        };
        let params = self.hold(at);
        let scores = self.scores.iter().copied().chain([level]);
        let step = self.incidents.step(scores, self.base, &params);
        match step {
            Step::Same => {}
            Step::Opened => judgement.edge = Some(self.open_incident(at, residuals, judgement)),
            Step::Reopened => {
                if let Some(incident) = self.log.last_mut() {
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
        self.join(at, step, judgement);
        if judgement.anomaly
            && let Some(entry) = self.log.entries.last_mut()
        {
            let incident = &mut entry.incident;
            if judgement.score > incident.peak_score {
                incident.peak_score = judgement.score;
                incident.peak_ms = at.ts_ms;
                if self.scores.iter().any(|&score| score > 1.0) {
                    fill_shares(&self.channels, &self.level, &mut incident.channels);
                }
            }
            judgement.kind = Some(incident.kind);
        }
    }

    /// The parameters of incidents with the hold limit as it is now: what has lasted as long as
    /// all that was known before is the new normal, unless an operator has confirmed the fault.
    fn hold(&self, at: Moment) -> IncidentParams {
        let mut params = self.settings.incident;
        if self.is_open() {
            if self.log.is_confirmed() {
                params.hold_rows = u32::MAX;
                return params;
            }
            let known = at.row.saturating_sub(u64::from(self.incidents.age()));
            let by_time = params.hold_s * 1000.0 / at.period_ms.max(1.0);
            let limit = by_time.max(LEAST_HOLD_ROWS).min(known as f64);
            params.hold_rows = params.hold_rows.min(limit as u32);
        }
        params
    }

    /// A channel that passes its bar while an incident is open without it joins it, once.
    fn join(&mut self, at: Moment, step: Step, judgement: &mut Judgement) {
        let members = &mut self.log.members;
        members.resize(self.channels.len(), false);
        if !judgement.anomaly {
            members.fill(false);
            return;
        }
        if matches!(step, Step::Opened | Step::Reopened)
            && let Some(entry) = self.log.entries.last()
        {
            let shares = entry.incident.channels.iter();
            let carriers = shares.filter(|share| share.share >= MEMBER_SHARE);
            carriers.for_each(|share| members[share.channel] = true);
        }
        let mut joined = Vec::new();
        for (c, &score) in self.scores.iter().enumerate() {
            if score > 1.0 && !members[c] {
                members[c] = true;
                joined.push(c);
            }
        }
        if step != Step::Same || joined.is_empty() {
            return;
        }
        let hold = self.settings.incident.hold_rows;
        self.incidents.renew(JOINED_ROWS, hold);
        let mut charges = Vec::new();
        for source in AlarmSource::ALL {
            let over = |c: &usize| self.is_over(source, *c, at.ts_ms);
            let raised: Vec<usize> = joined.iter().copied().filter(over).collect();
            charges.extend(self.charge_channels(source, &raised, at.row));
        }
        if let Some(entry) = self.log.entries.last_mut() {
            entry.charges.extend(charges);
        }
        if let Some(incident) = self.log.last_mut() {
            fill_shares(&self.channels, &self.level, &mut incident.channels);
            judgement.edge = Some(IncidentEdge::Joined {
                incident: incident.clone(),
                channels: joined,
            });
        }
    }

    fn open_incident(
        &mut self,
        at: Moment,
        residuals: &[ChannelResiduals],
        judgement: &Judgement,
    ) -> IncidentEdge {
        let mut channels = Vec::with_capacity(self.channels.len());
        fill_shares(&self.channels, &self.level, &mut channels);
        if self.scores.iter().all(|&score| score <= 1.0) {
            // The joint level opened it: channels by their contribution to the distance.
            fill_contributions(self.level.contributions(), &mut channels);
        }
        let first = channels.first().map_or(0, |share| share.channel);
        let kind = self.kind_of(first, residuals);
        let charges = self.charge(at);
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
        self.log.push(incident.clone(), charges);
        IncidentEdge::Opened(incident)
    }

    /// Charges the tests that are over their bar, and the channels in which they are, with the incident that
    /// opens; then the other tests of levels.
    fn charge(&mut self, at: Moment) -> Vec<AlarmCharge> {
        let (mut charges, mut told) = (Vec::new(), Vec::new());
        for source in AlarmSource::ALL {
            let over: Vec<usize> = (0..self.channels.len())
                .filter(|&c| self.is_over(source, c, at.ts_ms))
                .collect();
            if over.is_empty() {
                continue;
            }
            told.push(source);
            charges.push(AlarmCharge {
                source,
                channel: None,
                incidents: self.debts.opened(source, at.row, self.between),
            });
            charges.extend(self.charge_channels(source, &over, at.row));
        }
        let n = self.channels.len();
        let channels = (0..n).map(|c| Some(c as u16));
        let mut further = Vec::new();
        for channel in std::iter::once(None).chain(channels) {
            let of = charges.iter().filter(|charge| charge.channel == channel);
            let told: Vec<AlarmSource> = of.clone().map(|charge| charge.source).collect();
            if !told.is_empty() {
                let most = of.map(|charge| charge.incidents).fold(0.0, f64::max);
                further.extend(self.debts_of(channel).share(&told, channel, most, n));
            }
        }
        charges.extend(further);
        charges
    }

    /// Charges channels with an incident that they raised by this test.
    fn charge_channels(
        &mut self,
        source: AlarmSource,
        raised: &[usize],
        row: u64,
    ) -> Vec<AlarmCharge> {
        if !source.is_of_channel() {
            return Vec::new();
        }
        let between = self.between * self.channels.len() as f64;
        let charge = |&c: &usize| AlarmCharge {
            source,
            channel: Some(c as u16),
            incidents: self.channels[c].debts.opened(source, row, between),
        };
        raised.iter().map(charge).collect()
    }

    /// The channel is over the bar of this test.
    fn is_over(&self, source: AlarmSource, c: usize, ts_ms: i64) -> bool {
        let monitor = &self.channels[c];
        match source {
            AlarmSource::Evidence => monitor.is_over(),
            AlarmSource::JointLevel => self.audible_level(ts_ms) > 1.0,
            AlarmSource::Lasting => monitor.lasting.score() >= 1.0,
            AlarmSource::Usual => self.scores[c] > 1.0 && monitor.usual.deviation() > 1.0,
        }
    }

    /// Debts of a channel; of the stream where there is none.
    fn debts_of(&mut self, channel: Option<u16>) -> &mut AlarmDebts {
        match channel {
            Some(c) => &mut self.channels[usize::from(c)].debts,
            None => &mut self.debts,
        }
    }

    /// Takes what an incident was charged with out of the debts, or back in with `sign` 1.
    pub(super) fn recharge(&mut self, charges: &[AlarmCharge], sign: f64) {
        for charge in charges {
            let debts = self.debts_of(charge.channel);
            debts.add(charge.source, sign * charge.incidents);
        }
    }

    /// Ends the last incident in the log.
    pub(super) fn close_incident(&mut self, ts_ms: i64, accepted: bool) -> Option<IncidentEdge> {
        let incident = self.log.last_mut()?;
        incident.end_ms = Some(ts_ms);
        incident.accepted = accepted;
        Some(IncidentEdge::Closed(incident.clone()))
    }

    fn kind_of(&self, c: usize, residuals: &[ChannelResiduals]) -> Kind {
        let (monitor, thresholds) = (&self.channels[c], self.thresholds());
        let habits = self.settings.habits;
        let by_level = self.scores.iter().all(|&score| score <= 1.0);
        if habits && monitor.is_silent(thresholds) {
            Kind::Gap
        } else if habits && monitor.is_stuck(thresholds) {
            Kind::Stuck
        } else if residuals[c].is_novel {
            Kind::Novelty
        } else if by_level || monitor.is_drift() {
            Kind::Drift
        } else {
            Kind::Surprise
        }
    }

    /// Records the excursions that ended with the row: those of an incident that was confirmed are
    /// no precedents.
    pub(super) fn record_excursions(&mut self) {
        let open = self.is_open();
        let confirmed = self.log.is_confirmed();
        for (c, monitor) in self.channels.iter_mut().enumerate() {
            let in_incident = monitor.was_in_incident(open);
            let weight = if in_incident && confirmed { 0.0 } else { 1.0 };
            while let Some(peak) = monitor.pop_ended() {
                monitor.record(peak, weight);
                if in_incident {
                    self.log.note(Subject::Evidence(c as u16), peak, weight);
                }
            }
        }
    }
}

/// Fills in channels by their share of all evidence, largest first, those without any left out. Channels
/// that are predicted from one that is off look off as well, so that evidence counts by how far a channel's
/// level stands apart from what the others let expect.
fn fill_shares(channels: &[ChannelMonitor], level: &JointLevel, shares: &mut Vec<Share>) {
    let apart = |c: usize| level.contributions().get(c).copied().unwrap_or(0.0);
    let parts = channels.iter().enumerate();
    fill(
        parts.map(|(c, monitor)| monitor.part() * (1.0 + apart(c))),
        0.0,
        shares,
    );
}

/// The same by their contributions to the joint level.
fn fill_contributions(contributions: &[f64], shares: &mut Vec<Share>) {
    let parts = contributions.iter().map(|part| part.max(0.0));
    fill(parts, LISTED_SHARE, shares);
}

fn fill(parts: impl Iterator<Item = f64> + Clone, least: f64, shares: &mut Vec<Share>) {
    let total: f64 = parts.clone().sum();
    shares.clear();
    if total > 0.0 {
        let shared = parts.map(|part| part / total).enumerate();
        let listed = shared.filter(|(_, share)| *share > least);
        shares.extend(listed.map(|(channel, share)| Share { channel, share }));
    }
    shares.sort_unstable_by(|a, b| b.share.total_cmp(&a.share).then(a.channel.cmp(&b.channel)));
}
