//! The report of a recording: one file with charts, incidents worst first, proposals and, where faults
//! are known, the money.

mod money;

use std::sync::Arc;

use serde::Serialize;

use super::summary::Summary;
use super::words;
use crate::charts;
use crate::history::{HistoryView, IncidentView, MAX_CAPACITY, Range, StreamHistory};
use crate::row::{Incident, Outcome};
use crate::table::Stretch;
pub use money::{Costs, DetectorScore, Money};
use money::{SigmaLimits, Trail};

/// Values of a chart at most, over all channels: a file stays below 5 MB.
const MAX_VALUES: usize = 16_000;
/// Incidents that are shown as cards.
const MAX_CARDS: usize = 30;

const SCRIPT: &str = include_str!("report.js");

/// Keeps of each row what a report shows.
pub struct Recorder {
    history: StreamHistory,
    channels: Vec<Arc<str>>,
    units: Vec<String>,
    trail: Trail,
    limits: SigmaLimits,
}

/// Contents of the report.
#[derive(Serialize)]
struct ReportData<'a> {
    name: &'a str,
    sentences: Vec<String>,
    history: HistoryView,
    incidents: Vec<IncidentView>,
    n_incidents: u64,
    proposals: Vec<&'a str>,
    config: String,
    figures: Vec<words::Figure>,
    money: Option<Money>,
    money_words: Vec<String>,
}

impl Recorder {
    /// For the channels of a recording, with their units (empty where not known).
    pub fn new(channels: &[String], units: Vec<String>) -> Recorder {
        Recorder {
            history: StreamHistory::new(MAX_CAPACITY),
            channels: channels.iter().map(|name| name.as_str().into()).collect(),
            units,
            trail: Trail::default(),
            limits: SigmaLimits::default(),
        }
    }

    /// Takes the channels of a stream, to which new ones may have come behind.
    pub fn add(&mut self, channels: &[Arc<str>]) {
        let new = channels.get(self.channels.len()..).unwrap_or_default();
        self.channels.extend_from_slice(new);
    }

    /// Takes a row's outcome, with the stream's last incident.
    pub fn observe(&mut self, outcome: &Outcome, incident: Option<&Incident>) {
        self.history.push(&self.channels, outcome, incident);
        self.trail.ts_ms.push(outcome.ts_ms);
        // Beyond the alarm bar the score has an upper limit, the severity has none.
        let score = match outcome.score {
            score if score < 1.0 => score,
            score => score.max(outcome.severity),
        };
        self.trail.score.push(score as f32);
        let outside = self
            .limits
            .outside(outcome.channels.iter().map(|channel| channel.value));
        self.trail.outside.push(outside && !outcome.warming_up);
    }

    /// Scores the detectors against known faults.
    pub fn money(&self, faults: &[Stretch], costs: Costs) -> Money {
        let last_ms = self.trail.ts_ms.last().copied().unwrap_or(0);
        let incidents = self.history.incidents().iter().map(|record| Stretch {
            start_ms: record.incident.start_ms,
            end_ms: record.incident.end_ms.unwrap_or(last_ms),
        });
        self.trail
            .money(&incidents.collect::<Vec<_>>(), faults, costs)
    }

    /// Writes the report as one file of HTML.
    ///
    /// # Errors
    /// If a figure has no JSON form.
    pub fn html(
        &self,
        name: &str,
        summary: &Summary,
        money: Option<&Money>,
    ) -> serde_json::Result<String> {
        let stream: Arc<str> = name.into();
        let points = (MAX_VALUES / self.channels.len().max(1)).clamp(400, 4000);
        let mut history = self.history.view(&stream, Range::all(points));
        for (channel, unit) in history.channels.iter_mut().zip(&self.units) {
            channel.unit.clone_from(unit);
        }
        let mut incidents = std::mem::take(&mut history.incidents);
        for part in incidents
            .iter_mut()
            .flat_map(|incident| &mut incident.channels)
        {
            let place = self
                .channels
                .iter()
                .position(|channel| *channel == part.name);
            if let Some(unit) = place.and_then(|place| self.units.get(place)) {
                part.unit.clone_from(unit);
            }
        }
        incidents.sort_by(|a, b| b.severity.total_cmp(&a.severity));
        incidents.truncate(MAX_CARDS);
        let config: Vec<&str> = summary
            .proposals
            .iter()
            .map(|p| p.config.as_str())
            .collect();
        let data = ReportData {
            name,
            sentences: words::sentences(summary),
            history,
            incidents,
            n_incidents: summary.incidents,
            proposals: summary.proposals.iter().map(|p| p.text.as_str()).collect(),
            config: config.concat(),
            figures: words::figures(summary),
            money: money.cloned(),
            money_words: money.map(words::money).unwrap_or_default(),
        };
        charts::report(&format!("spiked: {name}"), &data, SCRIPT)
    }
}
