//! Keeps a stream's last incidents and what each taught.

use serde::{Deserialize, Serialize};

use super::alarm_debt::AlarmCharge;
use super::joint_level::Recorded;
use super::lessons::{Lessons, Subject};
use super::monitor::ChannelMonitor;
use super::residuals::{Scored, Witness};
use crate::row::{Incident, Kind, Ruling};

/// Incidents before the last one that can still be ruled on.
pub const PAST: usize = 7;

/// An incident and what it taught.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Entry {
    pub incident: Incident,
    pub lessons: Lessons,
    /// Debts that it made.
    pub charges: Vec<AlarmCharge>,
}

/// The last incidents of a stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct IncidentLog {
    /// Oldest first; the last one may be open.
    pub(super) entries: Vec<Entry>,
    opened: u64,
    /// Incidents opened, by kind.
    pub(super) counts: [u64; 5],
    /// Channels that are part of the open incident.
    pub(super) members: Vec<bool>,
}

impl IncidentLog {
    /// The last incident, open or ended.
    pub fn last(&self) -> Option<&Incident> {
        self.entries.last().map(|entry| &entry.incident)
    }

    pub(super) fn last_mut(&mut self) -> Option<&mut Incident> {
        self.entries.last_mut().map(|entry| &mut entry.incident)
    }

    /// An operator has confirmed the last incident.
    pub(super) fn is_confirmed(&self) -> bool {
        let last = self.last();
        last.is_some_and(|incident| incident.verdict == Some(Ruling::True))
    }

    /// The entry of this number.
    pub(super) fn find_mut(&mut self, id: u64) -> Option<&mut Entry> {
        let mut known = self.entries.iter_mut();
        known.find(|entry| entry.incident.id == id)
    }

    /// Adds a new incident; the ones before are kept for rulings.
    pub(super) fn push(&mut self, incident: Incident, charges: Vec<AlarmCharge>) {
        self.entries.push(Entry {
            incident,
            lessons: Lessons::default(),
            charges,
        });
        let excess = self.entries.len().saturating_sub(PAST + 1);
        self.entries.drain(..excess);
    }

    pub(super) fn next_id(&mut self, kind: Kind) -> u64 {
        self.opened += 1;
        let place = Kind::ALL.iter().position(|&k| k == kind).unwrap_or(0);
        self.counts[place] += 1;
        self.opened
    }

    pub(super) fn note(&mut self, subject: Subject, value: f64, weight: f64) {
        if let Some(entry) = self.entries.last_mut() {
            entry.lessons.note(subject, value, weight);
        }
    }

    /// Notes a peak of the joint level that was recorded during an incident.
    pub(super) fn note_level(&mut self, recorded: Recorded) {
        self.note(Subject::Level, recorded.height, recorded.weight);
    }

    /// Notes a peak of how far a channel's level was off for long.
    pub(super) fn note_lasting(&mut self, channel: usize, recorded: Recorded) {
        let subject = Subject::Lasting(channel as u16);
        self.note(subject, recorded.height, recorded.weight);
    }

    /// Notes a peak of how unusual a channel's level was for long.
    pub(super) fn note_usual(&mut self, channel: usize, recorded: Recorded) {
        let subject = Subject::Usual(channel as u16);
        self.note(subject, recorded.height, recorded.weight);
    }

    /// Notes the rare residuals of a channel that are learned during an incident, those of levels
    /// with weight `weight`.
    pub(super) fn note_residuals(
        &mut self,
        channel: usize,
        monitor: &ChannelMonitor,
        scored: &Scored,
        weight: f64,
    ) {
        for witness in Witness::ALL {
            let residual = scored.get(witness).filter(|r| !r.is_at_rest);
            if let (Some(residual), Some(history)) = (residual, monitor.history(witness))
                && history.is_rare(residual.score)
            {
                let weight = if witness.is_of_level() { weight } else { 1.0 };
                let subject = Subject::Residual(channel as u16, witness as u8);
                self.note(subject, residual.score, weight);
            }
        }
    }
}
