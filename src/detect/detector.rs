//! Judges a stream's rows: residuals in, scores and incidents out.

use serde::{Deserialize, Serialize};

use super::cross_channel::CrossChannelTest;
use super::history::{Learning, score_all};
use super::incident::Incidents;
use super::incident_log::IncidentLog;
use super::maxima::Maxima;
use super::monitor::{ChannelMonitor, EvidenceCaps};
use super::null::NullPeaks;
use super::residuals::{ChannelKind, ChannelResiduals, Scored, Witness};
use super::rulings::Rulings;
use super::settings::DetectSettings;
use crate::num::scrap::Scrap;
use crate::row::{Incident, IncidentEdge, Kind};

/// Evidence is capped at this many bars.
const CAP: f64 = 1.2;
/// That for a shift is capped at fewer: the ratio behind it, which has to fall when the shift is
/// over, grows faster than what it counts for.
const SHIFT_CAP: f64 = 1.05;
/// Rows between two looks at the bar.
const BAR_EVERY: u64 = 16;
/// Memory of the null behaviour, as a share of the memory of the weights.
const NULL_MEMORY_SHARE: f64 = 2.0;
/// The bar stays within these bounds, nats: e^3 = 20 times as likely is little, e^40 is certainty.
const MIN_BAR: f64 = 3.0;
const MAX_BAR: f64 = 40.0;
/// Faster streams are taken for this fast, ms a row.
const MIN_PERIOD_MS: f64 = 1.0;
/// However slow the stream and however many false alarms are allowed, evidence for fewer rows
/// than this between them would flag plain noise.
const MIN_ROWS_BETWEEN: f64 = 200.0;
/// Week in milliseconds.
const WEEK_MS: f64 = 604_800_000.0;
/// Rows before residuals are learned: the scales are not known yet.
const LEARN_AFTER: u64 = 10;
/// Share of the histories that is kept when a new normal is accepted.
const ACCEPT_KEEPS: f64 = 0.1;
/// Share of the level's past residuals that is kept when its predictor changes.
const RENEW_KEEPS: f64 = 0.3;

/// Where a row stands in its stream.
#[derive(Clone, Copy, Debug)]
pub struct Moment {
    /// Moment of the row, unix milliseconds.
    pub ts_ms: i64,
    /// Rows that the stream has seen, this one included.
    pub row: u64,
    /// Usual time between rows, ms.
    pub period_ms: f64,
    /// Memory of statistics, rows.
    pub statistics_rows: f64,
    /// Memory of the predictors' weights, rows.
    pub memory_rows: f64,
}

/// The detector's judgement of one row; the channels' scores are [`Detector::scores`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judgement {
    /// Too few rows yet to judge: every score is 0.
    pub warming_up: bool,
    /// Largest score: 1 and more is an alarm.
    pub score: f64,
    /// An incident is open.
    pub anomaly: bool,
    /// Kind of the open incident.
    pub kind: Option<Kind>,
    /// An incident that opened or ended with the row.
    pub edge: Option<IncidentEdge>,
    /// The incident outlasted the hold limit: the present is the new normal, also for predictors.
    pub accepted: bool,
}

/// The detector of one stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Detector {
    pub(super) settings: DetectSettings,
    pub(super) channels: Vec<ChannelMonitor>,
    cross_channel: CrossChannelTest,
    null: NullPeaks,
    maxima: Maxima,
    pub(super) rulings: Rulings,
    /// Bar of the evidence, nats.
    pub(super) bar: f64,
    pub(super) incidents: Incidents,
    pub(super) log: IncidentLog,
    /// Limits that were reached: evidence at its cap or set to zero as aftermath, a bar at its
    /// bounds, residuals limited for correlations.
    limited: u64,
    #[serde(skip)]
    scored: Scrap<Vec<Scored>>,
    #[serde(skip)]
    scores: Scrap<Vec<f64>>,
    #[serde(skip)]
    room: Scrap<Vec<f32>>,
}

impl Detector {
    /// A detector that has seen nothing.
    pub fn new(settings: &DetectSettings) -> Detector {
        Detector {
            settings: settings.clone(),
            channels: Vec::new(),
            cross_channel: CrossChannelTest::default(),
            null: NullPeaks::default(),
            maxima: Maxima::default(),
            rulings: Rulings::default(),
            bar: f64::INFINITY,
            incidents: Incidents::default(),
            log: IncidentLog::default(),
            limited: 0,
            scored: Scrap::default(),
            scores: Scrap::default(),
            room: Scrap::default(),
        }
    }

    /// Adds channels of which nothing is known.
    pub fn add(&mut self, kinds: impl IntoIterator<Item = ChannelKind>) {
        let new = kinds.into_iter().map(ChannelMonitor::new);
        self.channels.extend(new);
    }

    /// Goes on with other settings.
    pub fn retune(&mut self, settings: &DetectSettings) {
        self.settings = settings.clone();
    }

    /// Judges a row; to be followed by [`Detector::learn`] with the same row.
    ///
    /// # Panics
    /// If there is not one entry a channel.
    pub fn judge(&mut self, at: Moment, residuals: &[ChannelResiduals]) -> Judgement {
        assert_eq!(residuals.len(), self.channels.len(), "one entry a channel");
        self.set_bar(at);
        self.score_residuals(residuals);
        let warming_up = at.row <= self.settings.warm_up_rows;
        self.scores.0.clear();
        self.scores.0.resize(residuals.len(), 0.0);
        let mut judgement = Judgement {
            warming_up,
            ..Judgement::default()
        };
        if !warming_up {
            self.accumulate();
            judgement.score = self.scores.0.iter().copied().fold(0.0, f64::max);
            let open = self.incidents.is_open();
            self.maxima.observe(judgement.score * self.bar, open);
        }
        self.update_incident(at, residuals, &mut judgement);
        judgement
    }

    /// Scores every channel's residuals against their histories.
    fn score_residuals(&mut self, residuals: &[ChannelResiduals]) {
        let scored = &mut self.scored.0;
        scored.clear();
        scored.resize(residuals.len(), Scored::default());
        for (scored, residuals) in scored.iter_mut().zip(residuals) {
            scored.set(Witness::Step, residuals.step);
            scored.set(Witness::Context, residuals.context);
            scored.set(Witness::Given, residuals.given);
            scored.set(Witness::Event, residuals.event);
        }
        if self.settings.joint {
            self.cross_channel.judge(scored);
        }
        for (monitor, scored) in self.channels.iter_mut().zip(scored.iter()) {
            monitor.prepare(scored);
        }
        let channels = &self.channels;
        for witness in Witness::ALL {
            let history = |c: usize| {
                let history = channels[c].history(witness);
                history.expect("a witness that has spoken has a history")
            };
            let discounted = self.settings.temper;
            score_all(scored, witness, history, discounted, &mut self.room.0);
        }
    }

    /// Adds the row to every channel's evidence, and fills the scores.
    fn accumulate(&mut self) {
        let bar = self.bar;
        let caps = EvidenceCaps {
            sum: CAP * bar,
            shift: SHIFT_CAP * bar,
        };
        let rows = self.channels.iter_mut().zip(&self.scored.0);
        for ((monitor, scored), score) in rows.zip(&mut self.scores.0) {
            if let Some(peak) = monitor.add(scored, &self.settings, bar, caps) {
                self.null.observe(peak, bar);
            }
            self.limited += u64::from(monitor.evidence() >= caps.shift);
            *score = monitor.evidence() / bar;
        }
    }

    /// Sets the bar of the evidence for the wanted time between false alarms: from theory at
    /// first, from the stream's own normal behaviour in the long run.
    fn set_bar(&mut self, at: Moment) {
        let memory = at.memory_rows * NULL_MEMORY_SHARE;
        if at.row > self.settings.warm_up_rows {
            self.null.row(memory);
        }
        if self.bar.is_finite() && !at.row.is_multiple_of(BAR_EVERY) {
            return;
        }
        let rows_per_week = WEEK_MS / at.period_ms.max(MIN_PERIOD_MS);
        let wanted = self.settings.false_alarms_per_week;
        let between = (rows_per_week / wanted).max(MIN_ROWS_BETWEEN);
        let n_channels = self.channels.len();
        let own = if self.settings.calibrate {
            self.null.bar(between, n_channels) + self.maxima.lift(between, self.null.rows())
        } else {
            NullPeaks::default().bar(between, n_channels)
        };
        self.rulings.rows(BAR_EVERY as f64, memory);
        let bar = own + self.rulings.lift(between);
        self.bar = bar.clamp(MIN_BAR, MAX_BAR);
        self.limited += u64::from(self.bar != bar);
    }

    /// Learns the row that was judged last.
    pub fn learn(&mut self, at: Moment, residuals: &[ChannelResiduals]) {
        let how = Learning {
            weight: self.learning_weight(),
            memory: at.statistics_rows,
            open: self.is_open(),
        };
        let rows = self.channels.iter_mut().zip(&self.scored.0);
        for ((monitor, scored), residuals) in rows.zip(residuals) {
            if at.row > LEARN_AFTER {
                monitor.observe(scored, how);
                let limit = super::RESIDUAL_LIMIT;
                self.limited += scored.iter().filter(|r| r.z.abs() > limit).count() as u64;
            }
            monitor.observe_runs(residuals.value);
        }
        if self.settings.joint && at.row > LEARN_AFTER {
            self.cross_channel.observe(self.channels.len(), how);
        }
    }

    /// Weight with which levels are learned now.
    pub fn learning_weight(&self) -> f64 {
        if self.is_open() {
            self.settings.gate_weight
        } else {
            1.0
        }
    }

    /// The predictor of levels has changed: it sees hours, or weekdays, from now on.
    pub fn renew_levels(&mut self) {
        for monitor in &mut self.channels {
            monitor.renew_level(RENEW_KEEPS);
        }
    }

    /// Takes the present for the new normal.
    pub(super) fn accept(&mut self) {
        for monitor in &mut self.channels {
            monitor.accept(ACCEPT_KEEPS);
        }
    }

    /// Sets the evidence of channels that did not carry the incident, and have gathered some
    /// meanwhile, to zero.
    pub(super) fn reset_non_members(&mut self) {
        let share = self.settings.incident.close_share;
        for (monitor, &score) in self.channels.iter_mut().zip(&self.scores.0) {
            if score > share {
                monitor.reset();
                self.limited += 1;
            }
        }
    }

    /// The channels' scores of the row that was judged last: evidence over the bar.
    pub fn scores(&self) -> &[f64] {
        &self.scores.0
    }

    /// An incident is open.
    pub fn is_open(&self) -> bool {
        self.incidents.is_open()
    }

    /// The last incident, open or ended.
    pub fn incident(&self) -> Option<&Incident> {
        self.log.last()
    }

    /// Incidents opened, by [`Kind`] in the order of `Kind::ALL`.
    pub fn incident_counts(&self) -> [u64; 5] {
        self.log.counts
    }

    /// Limits that were reached.
    pub fn limited(&self) -> u64 {
        self.limited
    }
}
