//! Judges a stream's rows: residuals in, scores and incidents out.

use serde::{Deserialize, Serialize};

use super::alarm_debt::{AlarmDebts, AlarmSource};
use super::channel::ChannelOptions;
use super::cross_channel::CrossChannelTest;
use super::history::{Learning, score_all};
use super::incident::Incidents;
use super::incident_log::IncidentLog;
use super::joint_level::JointLevel;
use super::lasting_level;
use super::monitor::{ChannelMonitor, Thresholds, tell_one_lasting};
use super::residuals::{ChannelResiduals, Scored, Witness};
use super::rulings::Rulings;
use super::settings::DetectSettings;
use crate::num::scrap::Scrap;
use crate::row::{Incident, IncidentEdge, Kind};

/// Rows between two looks at the bars.
const BAR_EVERY: u64 = 16;
/// The base bar stays within these bounds, nats: e^3 = 20 times as likely is little, e^40 is
/// certainty.
const MIN_BAR: f64 = 3.0;
const MAX_BAR: f64 = 40.0;
/// The base bar is this much lower than theory asks for: exact e-values reach ln n in n rows, and
/// discounted mixtures of them fall short of that by about this; the record and the debt make good
/// where it is too low.
const BELOW_THEORY: f64 = 3.0;
/// Memory of operators' rulings, in wanted times between alarms.
const RULINGS_MEMORY: f64 = 4.0;
/// Faster streams are taken for this fast, ms a row.
const MIN_PERIOD_MS: f64 = 1.0;
/// However slow the stream and however many false alarms are allowed, evidence for fewer rows
/// than this between them would flag plain noise.
const MIN_ROWS_BETWEEN: f64 = 200.0;
/// Week in milliseconds.
const WEEK_MS: f64 = 604_800_000.0;
/// Rows before residuals are learned: the scales are not known yet.
const LEARN_AFTER: u64 = 10;
/// Rows before the joint level is recorded.
const RECORD_LEVEL_AFTER: u64 = 50;
/// Share of the histories that is kept when a new normal is accepted, and rows that the joint
/// level then counts for.
const ACCEPT_KEEPS: f64 = 0.1;
const ACCEPT_ROWS: f64 = 60.0;
/// Share of the level's past residuals that is kept when its predictor begins to see hours: they
/// were another predictor's. Weekdays change little.
const HOURS_KEEP: f64 = 0.01;
/// Weight with which standing still is learned during an incident and shortly after one opened.
const REST_WEIGHT: f64 = 0.3;
const REST_ROWS: u64 = 64;
/// Share of the largest channel score in the severity. Evidence lingers after events, so that it
/// must weigh little.
const EVIDENCE_SHARE: f64 = 0.15;
const EVIDENCE_MOST: f64 = 1.2;

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
    /// Memory of levels, rows.
    pub memory_rows: f64,
}

/// The detector's judgement of one row; the channels' scores are [`Detector::scores`].
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Judgement {
    /// Too few rows yet to judge: every score is 0.
    pub warming_up: bool,
    /// Largest score of a channel or of the joint level: 1 and more is an alarm.
    pub score: f64,
    /// Distance of the joint level over its bar, uncapped, with a little of the evidence: the order
    /// in which to look at incidents.
    pub severity: f64,
    /// An incident is open.
    pub anomaly: bool,
    /// Kind of the open incident.
    pub kind: Option<Kind>,
    /// An incident that opened, grew or ended with the row.
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
    pub(super) level: JointLevel,
    pub(super) rulings: Rulings,
    /// Each test pays for its own alarms, and most of all in the channels that raised them.
    pub(super) debts: AlarmDebts,
    /// Base bar of the evidence, nats.
    pub(super) base: f64,
    /// Rows wanted between two alarms.
    pub(super) between: f64,
    /// No incident is raised before this moment.
    muted_until_ms: i64,
    pub(super) incidents: Incidents,
    pub(super) log: IncidentLog,
    /// Limits that were reached: a bar at its bounds, evidence set to zero as aftermath, residuals
    /// limited for correlations.
    limited: u64,
    #[serde(skip)]
    scored: Scrap<Vec<Scored>>,
    /// Scores of the row that was judged last: what is said between two rows, also after a restart, goes by
    /// them.
    pub(super) scores: Vec<f64>,
    #[serde(skip)]
    levels: Scrap<Vec<f64>>,
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
            level: JointLevel::default(),
            rulings: Rulings::default(),
            debts: AlarmDebts::default(),
            base: f64::INFINITY,
            between: f64::INFINITY,
            muted_until_ms: i64::MIN,
            incidents: Incidents::default(),
            log: IncidentLog::default(),
            limited: 0,
            scored: Scrap::default(),
            scores: Vec::new(),
            levels: Scrap::default(),
            room: Scrap::default(),
        }
    }

    /// Adds channels of which nothing is known.
    pub fn add(&mut self, channels: impl IntoIterator<Item = ChannelOptions>) {
        let new = channels.into_iter().map(ChannelMonitor::new);
        self.channels.extend(new);
    }

    /// Goes on with other settings.
    pub fn retune(&mut self, settings: &DetectSettings) {
        self.settings = settings.clone();
    }

    /// The value equals the last one in a channel that is likelier to stay than to change: a
    /// predictor of changes has nothing to learn from it.
    pub fn is_at_rest(&self, channel: usize, value: f64) -> bool {
        self.settings.rest && self.channels[channel].is_at_rest(value)
    }

    /// Judges a row; to be followed by [`Detector::learn`] with the same row.
    ///
    /// # Panics
    /// If there is not one entry a channel.
    pub fn judge(&mut self, at: Moment, residuals: &[ChannelResiduals]) -> Judgement {
        assert_eq!(residuals.len(), self.channels.len(), "one entry a channel");
        self.set_bars(at);
        self.score_residuals(residuals);
        self.judge_level(at, residuals);
        if self.settings.lasting {
            for (monitor, residuals) in self.channels.iter_mut().zip(residuals) {
                if let Some(residual) = residuals.lasting {
                    self.limited += u64::from(residual.z.abs() > lasting_level::LIMIT);
                    monitor.judge_lasting(at.ts_ms, residual);
                }
            }
        }
        if self.settings.usual {
            for (monitor, residuals) in self.channels.iter_mut().zip(residuals) {
                let limited = monitor.judge_usual(at.ts_ms, residuals);
                self.limited += u64::from(limited);
            }
        }
        let mut judgement = Judgement {
            warming_up: at.row <= self.settings.warm_up_rows,
            ..Judgement::default()
        };
        self.scores.clear();
        self.scores.resize(residuals.len(), 0.0);
        if at.row > LEARN_AFTER {
            self.accumulate(at);
        }
        if self.settings.lasting {
            tell_one_lasting(&mut self.channels, self.level.contributions());
        }
        if !judgement.warming_up {
            self.fill_scores(at.ts_ms, &mut judgement);
        }
        self.update_incident(at, residuals, &mut judgement);
        self.record_excursions();
        judgement
    }

    /// Scores every channel's residuals against their histories.
    fn score_residuals(&mut self, residuals: &[ChannelResiduals]) {
        let scored = &mut self.scored.0;
        scored.clear();
        scored.resize(residuals.len(), Scored::default());
        let rest = self.settings.rest;
        for ((monitor, residuals), scored) in
            self.channels.iter_mut().zip(residuals).zip(&mut *scored)
        {
            monitor.take(residuals, rest, scored);
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

    /// Judges the joint level of the numeric channels.
    fn judge_level(&mut self, at: Moment, residuals: &[ChannelResiduals]) {
        if !self.settings.level {
            return;
        }
        let channels = self.channels.iter().zip(residuals);
        self.levels.0.clear();
        self.levels.0.extend(channels.map(|(monitor, residuals)| {
            let numeric = monitor.options.kind == super::ChannelKind::Number;
            if numeric && residuals.is_fresh {
                residuals.value
            } else {
                f64::NAN
            }
        }));
        let steps = self.scored.0.iter().filter_map(|s| s.get(Witness::Step));
        let moves = steps.into_iter().any(|residual| !residual.is_at_rest);
        let watch = |c: usize| self.channels[c].options.watch;
        self.level.judge(at.ts_ms, &self.levels.0, moves, watch);
    }

    /// Adds the row to every channel's evidence.
    fn accumulate(&mut self, at: Moment) {
        let thresholds = self.thresholds();
        let warm_up = self.settings.warm_up_rows;
        for (monitor, scored) in self.channels.iter_mut().zip(&self.scored.0) {
            if monitor.is_muted(at.ts_ms) {
                monitor.reset();
                continue;
            }
            monitor.add(scored, &self.settings, thresholds);
            if at.row <= warm_up && (at.row == warm_up || monitor.is_over()) {
                // The first rows' evidence is recorded, and raises nothing.
                monitor.reset();
            }
        }
    }

    /// Fills the scores and the severity.
    fn fill_scores(&mut self, ts_ms: i64, judgement: &mut Judgement) {
        for (score, monitor) in self.scores.iter_mut().zip(&self.channels) {
            *score = if monitor.is_muted(ts_ms) {
                0.0
            } else {
                monitor.score(self.base)
            };
        }
        let largest = self.scores.iter().copied().fold(0.0, f64::max);
        let level = self.audible_level(ts_ms);
        judgement.score = largest.max(level);
        judgement.severity = level + EVIDENCE_SHARE * largest.min(EVIDENCE_MOST);
    }

    /// Score of the joint level.
    pub(super) fn level_score(&self) -> f64 {
        if self.settings.level {
            self.level.score()
        } else {
            0.0
        }
    }

    /// Channel that contributes most to the joint level.
    pub(super) fn level_channel(&self) -> Option<usize> {
        let parts = self.level.contributions().iter().enumerate();
        parts.max_by(|a, b| a.1.total_cmp(b.1)).map(|(c, _)| c)
    }

    /// Score of the joint level, 0 while the stream, or the channel that contributes most, is muted.
    pub(super) fn audible_level(&self, ts_ms: i64) -> f64 {
        let most = self.level_channel();
        let muted = most.is_some_and(|c| self.channels[c].is_muted(ts_ms));
        if muted || ts_ms < self.muted_until_ms {
            0.0
        } else {
            self.level_score()
        }
    }

    /// Raises no incident of a channel, or of the whole stream, before `until_ms` by the rows' time;
    /// a moment gone by ends it. No evidence is gathered of what is muted, and no run lengths are
    /// learned; values that are given to it are learned all the same.
    ///
    /// # Panics
    /// If there is no such channel.
    pub fn mute(&mut self, channel: Option<usize>, until_ms: i64) {
        match channel {
            Some(c) => self.channels[c].mute(until_ms),
            None => {
                self.muted_until_ms = until_ms;
                let channels = self.channels.iter_mut();
                channels.for_each(|monitor| monitor.mute(until_ms));
            }
        }
    }

    /// Forgets what is usual of a channel, or of the whole stream: it is learned anew. Incidents,
    /// and rulings on them, stay.
    ///
    /// # Panics
    /// If there is no such channel.
    pub fn forget(&mut self, channel: Option<usize>) {
        let all = self.channels.iter_mut().enumerate();
        for (_, monitor) in all.filter(|(c, _)| channel.is_none_or(|one| one == *c)) {
            *monitor = ChannelMonitor::new(monitor.options);
        }
        // The covariances of a channel are of no use without those of the others.
        self.cross_channel = CrossChannelTest::default();
        self.level = JointLevel::default();
        self.base = f64::INFINITY;
    }

    /// Thresholds that all channels share.
    pub(super) fn thresholds(&self) -> Thresholds {
        Thresholds {
            base: self.base,
            between: self.between,
            n_channels: self.channels.len().max(1) as f64,
            stretch: 1.0,
        }
    }

    /// Sets every bar for the wanted time between false alarms: from theory, from what excursions
    /// there were, and from the incidents that were too many.
    fn set_bars(&mut self, at: Moment) {
        if self.base.is_finite() && !at.row.is_multiple_of(BAR_EVERY) {
            return;
        }
        let rows_per_week = WEEK_MS / at.period_ms.max(MIN_PERIOD_MS);
        let wanted = self.settings.false_alarms_per_week;
        self.between = (rows_per_week / wanted).max(MIN_ROWS_BETWEEN);
        let rows = BAR_EVERY as f64;
        self.rulings.rows(rows, RULINGS_MEMORY * self.between);
        let n_channels = self.channels.len().max(1) as f64;
        let theory = self.between.ln() + n_channels.ln() - BELOW_THEORY;
        let base = theory + self.rulings.lift(self.between);
        self.base = base.clamp(MIN_BAR, MAX_BAR);
        self.limited += u64::from(self.base != base);
        if at.row > self.settings.warm_up_rows {
            self.debts.rows(rows, self.between);
            for monitor in &mut self.channels {
                monitor.debts.rows(rows, n_channels * self.between);
            }
        }
        let open = self.is_open();
        if self.settings.level && at.row > RECORD_LEVEL_AFTER {
            let recorded = self.level.set_bar(rows, open, self.between, at.period_ms);
            if let Some(recorded) = recorded.filter(|_| open) {
                self.log.note_level(recorded);
            }
        }
        let thresholds = self.thresholds();
        let known = if at.row > LEARN_AFTER { rows } else { 0.0 };
        let n = self.channels.len();
        for (c, monitor) in self.channels.iter_mut().enumerate() {
            let stretch_of = |source| monitor.debts.in_channel(source, &self.debts, n).stretch();
            let lasting_stretch = stretch_of(AlarmSource::Lasting);
            let usual_stretch = stretch_of(AlarmSource::Usual);
            let thresholds = Thresholds {
                stretch: stretch_of(AlarmSource::Evidence),
                ..thresholds
            };
            monitor.set_bar(known, open, self.settings.calibrate, thresholds);
            if self.settings.lasting {
                let between = thresholds.between * thresholds.n_channels;
                let recorded =
                    monitor
                        .lasting
                        .set_bar(rows, open, between, at.period_ms, lasting_stretch);
                if let Some(recorded) = recorded.filter(|_| open) {
                    self.log.note_lasting(c, recorded);
                }
            }
            if self.settings.usual {
                let between = thresholds.between * thresholds.n_channels;
                let usual = &mut monitor.usual;
                let recorded = usual.set_bar(rows, open, between, at.period_ms, usual_stretch);
                if let Some(recorded) = recorded.filter(|_| open) {
                    self.log.note_usual(c, recorded);
                }
            }
        }
    }

    /// Learns the row that was judged last.
    pub fn learn(&mut self, at: Moment, residuals: &[ChannelResiduals]) {
        let how = Learning {
            weight: self.learning_weight(),
            memory: at.statistics_rows,
        };
        let open = self.is_open();
        let since = self.debts.rows_since(at.row);
        let recent = since.is_some_and(|rows| rows < REST_ROWS);
        let rest_weight = if open || recent { REST_WEIGHT } else { 1.0 };
        let confirmed = open && self.log.is_confirmed();
        let n = self.channels.len();
        let rows = self.channels.iter_mut().zip(&self.scored.0);
        for (c, ((monitor, scored), residuals)) in rows.zip(residuals).enumerate() {
            if at.row > LEARN_AFTER && !confirmed {
                if open {
                    self.log.note_residuals(c, monitor, scored, how.weight);
                }
                monitor.observe(scored, how);
                let limit = super::RESIDUAL_LIMIT;
                self.limited += scored.iter().filter(|r| r.z.abs() > limit).count() as u64;
            }
            if !monitor.is_muted(at.ts_ms) {
                monitor.observe_runs(residuals, rest_weight);
            }
        }
        if self.settings.lasting && !confirmed {
            for (monitor, residuals) in self.channels.iter_mut().zip(residuals) {
                let debt = monitor
                    .debts
                    .in_channel(AlarmSource::Lasting, &self.debts, n);
                let told = open.then(|| debt.told_weight());
                if residuals.lasting.is_some() {
                    monitor.lasting.learn(told, at.memory_rows);
                }
            }
        }
        if self.settings.usual && !confirmed {
            for (monitor, residuals) in self.channels.iter_mut().zip(residuals) {
                if open {
                    let debt = monitor.debts.in_channel(AlarmSource::Usual, &self.debts, n);
                    monitor.usual.was_told(debt.told_weight());
                }
                let is_beyond = monitor.learn_usual(residuals, how.weight, at.memory_rows);
                self.limited += u64::from(is_beyond);
            }
        }
        if open {
            let debt = self.debts.of(AlarmSource::JointLevel);
            let lived = at.row as f64 / self.between;
            self.level.was_told(debt.told_weight(), lived);
        }
        if self.settings.level && !confirmed {
            self.level.learn(&self.levels.0, open, at.memory_rows);
        }
        if self.settings.joint && at.row > LEARN_AFTER {
            self.cross_channel.observe(how);
        }
    }

    /// Weight with which levels are learned now.
    pub fn learning_weight(&self) -> f64 {
        if self.is_open() && self.log.is_confirmed() {
            // Nothing of a fault that an operator has confirmed is to become usual.
            0.0
        } else if self.is_open() && self.is_gated() {
            self.settings.gate_weight
        } else {
            1.0
        }
    }

    /// The open incident is of a kind that must not teach the predictors: a level that is merely unusual must,
    /// or the first weekend would never be learned.
    fn is_gated(&self) -> bool {
        let share = self.settings.incident.close_share;
        let over = |c: &ChannelMonitor| c.predicted_score(self.base) > share;
        self.level_score() > share || self.channels.iter().any(over)
    }

    /// The predictor of levels sees hours from now on.
    pub fn renew_levels(&mut self) {
        for monitor in &mut self.channels {
            monitor.renew_level(HOURS_KEEP);
        }
    }

    /// Takes the present for the new normal.
    pub(super) fn accept(&mut self) {
        let share = self.settings.incident.close_share;
        let by_level = self.level_score() > share;
        for (monitor, &score) in self.channels.iter_mut().zip(&self.scores) {
            if by_level || score > share {
                monitor.accept(ACCEPT_KEEPS);
            }
        }
        if by_level {
            self.level.accept(ACCEPT_ROWS);
        }
    }

    /// Sets the evidence of channels that did not carry the incident, and have gathered some
    /// meanwhile, to zero.
    pub(super) fn reset_non_members(&mut self) {
        let share = self.settings.incident.close_share;
        for (monitor, &score) in self.channels.iter_mut().zip(&self.scores) {
            if score > share {
                monitor.reset();
                self.limited += 1;
            }
        }
    }

    /// The channels' scores of the row that was judged last: evidence over the bar.
    pub fn scores(&self) -> &[f64] {
        &self.scores
    }

    /// The channel was flagged in the row that was judged last, and its level stands apart from what the
    /// others let expect: what is predicted from it is wrong.
    pub fn distrusts(&self, channel: usize) -> bool {
        let flagged = self.scores.get(channel).is_some_and(|&score| score >= 1.0);
        flagged && self.level.stands_apart(channel)
    }

    /// Largest score at present.
    pub fn score(&self) -> f64 {
        let scores = self.channels.iter().map(|monitor| monitor.score(self.base));
        scores.fold(self.level_score(), f64::max)
    }

    /// Severity at present.
    pub fn severity(&self) -> f64 {
        let scores = self.channels.iter().map(|monitor| monitor.score(self.base));
        let largest = scores.fold(0.0, f64::max);
        self.level_score() + EVIDENCE_SHARE * largest.min(EVIDENCE_MOST)
    }

    /// Bar of the evidence before any channel's own calibration, nats; infinite before there is one.
    pub fn bar(&self) -> f64 {
        self.base
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
