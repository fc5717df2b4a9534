//! One stream's mind: row in, prediction, score and flag out, learning in mini-batches.
//!
//! Two networks look at each row. The next-step head predicts the change from the last row, in
//! units of the usual step; the context head predicts the level from hour and weekday alone.
//! What was not expected by either adds to the channel's evidence; evidence past the bar opens
//! an incident. Horizons, soft sensors, labels and channels of states are asked for by
//! forecasters beside them.

mod channel;
mod forecaster;
mod head;
mod others;
mod params;
mod plan;
mod rulings;
mod sharpness;
mod states;
mod stats;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use params::{EngineParams, EngineSettings, Heads};
pub use plan::{MAX_STATES, Plan, Role, Rule, State, Values, state_named};
pub use rulings::Ruled;
pub use stats::EngineStats;

use self::channel::Channel;
use self::forecaster::{Aim, Forecaster, Present};
use self::head::{Head, Judged, Likelihood, Sample, Z90};
use self::others::Others;
use self::stats::Moving;
use crate::detect::{Evidence, Incidents, NullPeaks, Rulings, Step};
use crate::encode::{CALENDAR_WIDTH, Calendar, encode_calendar, hour_of_day};
use crate::ep::{NetworkDraft, Summary};
use crate::num::scrap::Scrap;
use crate::row::{ChannelOutcome, Incident, IncidentEdge, Kind, Outcome, Row, Share};

/// Input 0 is the bias, then the calendar, then a block a channel.
const SHARED_WIDTH: u32 = 1 + CALENDAR_WIDTH;
/// Inputs of them that are usually active.
const SHARED_ACTIVE: f32 = 4.0;
/// Rows before anything is learned: the scales are not known yet.
const LEARN_AFTER: u64 = 10;
/// Evidence is capped at this many bars.
const CAP: f64 = 1.3;
/// What is forgotten of context and scores when a new normal is accepted.
const ACCEPT_FORGETS: f64 = 0.9;
/// What the level counts for after a new normal was accepted, rows.
const ACCEPT_WEIGHT: f64 = 30.0;
/// Mini-batches between two looks at all weights.
const SUMMARY_EVERY: u64 = 64;
/// Novelty: ignorance above this many noise variances.
const NOVELTY: f64 = 4.0;
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
/// Outcomes whose memory is kept for the next ones.
const MAX_USED: usize = 4;
/// Week in milliseconds.
const WEEK_MS: f64 = 604_800_000.0;

/// One stream's mind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Engine {
    params: EngineParams,
    channels: Vec<Channel>,
    evidence: Vec<Evidence>,
    /// Built with the first row, when the number of channels is known.
    heads: Option<Networks>,
    /// Horizons, soft sensors, labels, channels of states; built with the networks.
    forecasters: Vec<Forecaster>,
    #[serde(skip)]
    present: Present,
    others: Others,
    null: NullPeaks,
    /// Bar of the evidence, nats.
    bar: f64,
    incidents: Incidents,
    /// The last one, open or ended.
    incident: Option<Incident>,
    /// Those before it, oldest first.
    past: Vec<Incident>,
    n_incidents: u64,
    rulings: Rulings,
    first_ms: i64,
    last_ms: i64,
    /// Moving mean of the time between rows, ms.
    period_ms: f64,
    rows: u64,
    batch: Vec<[Sample; 2]>,
    batch_since_ms: i64,
    #[serde(skip)]
    spare: Vec<[Sample; 2]>,
    moving: Moving,
    stats: EngineStats,
    /// Memory of rows gone by, see [`Engine::recycle`].
    #[serde(skip)]
    used: Scrap<Vec<Vec<ChannelOutcome>>>,
    #[serde(skip)]
    judged: Scrap<Vec<[Option<Judged>; 3]>>,
}

/// The two networks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Networks {
    step: Head,
    context: Head,
}

impl Engine {
    /// An engine that has seen nothing, for `n_channels` channels (0 and more; see
    /// [`Engine::grow`]).
    pub fn new(params: &EngineParams, n_channels: usize) -> Engine {
        let mut engine = Engine {
            params: params.clone(),
            channels: Vec::new(),
            evidence: Vec::new(),
            heads: None,
            forecasters: Vec::new(),
            present: Present::default(),
            others: Others::default(),
            null: NullPeaks::default(),
            bar: f64::INFINITY,
            incidents: Incidents::default(),
            incident: None,
            past: Vec::new(),
            n_incidents: 0,
            rulings: Rulings::default(),
            first_ms: 0,
            last_ms: 0,
            period_ms: 0.0,
            rows: 0,
            batch: Vec::new(),
            batch_since_ms: 0,
            spare: Vec::new(),
            moving: Moving::default(),
            stats: EngineStats::default(),
            used: Scrap::default(),
            judged: Scrap::default(),
        };
        engine.grow(n_channels);
        engine
    }

    /// Adds plain sensors at the prior, without touching the rest, until there are `n_channels`.
    pub fn grow(&mut self, n_channels: usize) {
        let more = n_channels.saturating_sub(self.channels.len());
        self.add((0..more).map(|_| Plan::default()));
    }

    /// Adds channels at the prior, without touching the rest.
    pub fn add(&mut self, plans: impl IntoIterator<Item = Plan>) {
        let lags = self.params.get().lags;
        let from = self.channels.len();
        let new = plans.into_iter().map(|plan| Channel::new(lags, plan));
        let new: Vec<Channel> = new.collect();
        if new.is_empty() {
            return;
        }
        // Rows that wait were encoded for the channels of before.
        self.flush();
        self.channels.extend(new);
        let more = self.channels.len() - from;
        self.evidence
            .resize_with(self.channels.len(), Evidence::default);
        let inputs = inputs_of(&self.channels[from..]);
        if let Some(heads) = &mut self.heads {
            heads.step.grow(inputs, more);
            heads.context.grow(0, more);
            for forecaster in &mut self.forecasters {
                forecaster.grow(inputs, &self.channels, from);
            }
            self.add_forecasters(from);
        }
    }

    /// Forecasters for the channels from number `from` on that need their own.
    fn add_forecasters(&mut self, from: usize) {
        let settings = self.params.get();
        let shape = shape_of(&self.channels);
        let own = |(c, channel): (usize, &Channel)| match (&channel.states, channel.role) {
            (Some(_), _) => Some(Aim::State(c)),
            (None, Role::Target) => Some(Aim::Target(c)),
            (None, _) => None,
        };
        let aims = self.channels.iter().enumerate().skip(from).filter_map(own);
        let new = aims.map(|aim| Forecaster::new(aim, settings, &self.channels, shape));
        self.forecasters.extend(new);
    }

    /// Number of channels.
    pub fn n_channels(&self) -> usize {
        self.channels.len()
    }

    /// Predicts, scores and flags one row, then learns: at once, or with its mini-batch.
    ///
    /// # Panics
    /// If the row has another number of channels than the engine.
    pub fn step(&mut self, row: &Row) -> Outcome {
        assert_eq!(
            row.values.len(),
            self.channels.len(),
            "a row has a value for every channel"
        );
        self.keep_time(row.ts_ms);
        let mut samples = self.spare.pop().unwrap_or_default();
        let calendar = self.encode(row.ts_ms, &mut samples);
        if !self.forecasters.is_empty() {
            self.encode_present(row, calendar);
        }
        let mut judged = std::mem::take(&mut self.judged.0);
        let mut outcome = self.judge(row, calendar, &mut samples, &mut judged);
        self.update_incident(row, &mut outcome);
        self.learn(row, samples, &judged);
        self.judged.0 = judged;
        if !self.forecasters.is_empty() {
            self.look_ahead(row, &mut outcome);
        }
        self.stats.rows = self.rows;
        self.stats.open = self.incidents.is_open();
        outcome
    }

    /// Takes back an outcome that nobody needs any more, for its memory: with every outcome given
    /// back, rows in which nothing begins or ends allocate nothing.
    pub fn recycle(&mut self, outcome: Outcome) {
        if self.used.0.len() < MAX_USED {
            self.used.0.push(outcome.channels);
        }
    }

    fn keep_time(&mut self, ts_ms: i64) {
        if self.rows == 0 {
            self.first_ms = ts_ms;
            self.build();
        } else {
            let dt = (ts_ms - self.last_ms).max(0) as f64;
            let rate = (1.0 / self.rows as f64).max(1e-3);
            // A pause is no change of rhythm.
            let dt = if self.rows > 20 {
                dt.min(10.0 * self.period_ms)
            } else {
                dt
            };
            self.period_ms += rate * (dt - self.period_ms);
        }
        self.last_ms = ts_ms;
        self.rows += 1;
    }

    /// Builds everything that learns, for the channels that there are.
    fn build(&mut self) {
        let settings = self.params.get();
        let shape = shape_of(&self.channels);
        self.heads = Some(Networks::new(settings, self.channels.len(), shape));
        let ahead = settings.horizons.iter().map(|&horizon| {
            let aim = Aim::Ahead(horizon);
            Forecaster::new(aim, settings, &self.channels, shape)
        });
        self.forecasters = ahead.collect();
        self.add_forecasters(0);
    }

    /// Fills the inputs of both networks from the past.
    fn encode(&mut self, ts_ms: i64, samples: &mut [Sample; 2]) -> Calendar {
        let settings = self.params.get();
        let calendar = if settings.calendar {
            Calendar::after(ts_ms - self.first_ms)
        } else {
            Calendar::Off
        };
        let hourly = settings.hourly_noise && calendar != Calendar::Off;
        let hour = hourly.then(|| hour_of_day(ts_ms) as f32);
        for sample in samples.iter_mut() {
            sample.hour = hour;
            sample.spikes.clear();
            sample.target.clear();
            sample.spikes.push(0, 1.0);
            encode_calendar(calendar, ts_ms, 1, &mut sample.spikes);
        }
        let spikes = &mut samples[0].spikes;
        let mut at = SHARED_WIDTH;
        for channel in &mut self.channels {
            channel.encode(at, spikes);
            at += channel.width();
        }
        calendar
    }

    /// Fills the inputs of the forecasters from the row, and finds its states.
    fn encode_present(&mut self, row: &Row, calendar: Calendar) {
        let present = &mut self.present;
        present.spikes.clear();
        present.ts_ms = row.ts_ms;
        present.period_ms = self.period_ms;
        present.calendar = calendar;
        present.hourly = self.params.get().hourly_noise && calendar != Calendar::Off;
        let mut at = SHARED_WIDTH;
        for (channel, &value) in self.channels.iter_mut().zip(&row.values) {
            if let Some(states) = &mut channel.states
                && !value.is_nan()
                && states.find_or_add(value).is_none()
            {
                self.stats.unknown_states += 1;
            }
            channel.encode_present(value, at, &mut present.spikes);
            at += channel.width();
        }
    }

    /// Asks the soft sensors and labels, and judges every forecast of the row.
    fn judge_forecasts(
        &mut self,
        row: &Row,
        outcome: &mut Outcome,
        judged: &mut [[Option<Judged>; 3]],
    ) {
        let settings = self.params.get();
        for forecaster in &mut self.forecasters {
            if forecaster.is_of_present() {
                forecaster.ask(&self.present, &self.channels, settings.learn);
            }
            let judgement = forecaster.judge(row, &self.channels, settings.temper);
            if let Some(c) = forecaster.judges(&self.channels) {
                judged[c][0] = judgement.filter(|_| self.rows > LEARN_AFTER);
            }
            if let Some((c, mean, sd)) = forecaster.estimate() {
                (outcome.channels[c].mean, outcome.channels[c].sd) = (mean, sd);
            }
            outcome.odds.extend(forecaster.odds(row, &self.channels));
        }
    }

    /// Learns what the row told, and forecasts what comes after it.
    fn look_ahead(&mut self, row: &Row, outcome: &mut Outcome) {
        let settings = self.params.get();
        let open = self.incidents.is_open();
        for forecaster in &mut self.forecasters {
            // A soft sensor must not learn its own fault; a label is taught in incidents above all.
            let weight = match forecaster.aim() {
                Aim::Target(_) if open => settings.gate_weight,
                _ => 1.0,
            };
            if let Some(learned) = forecaster.learn(row, &self.channels, settings, weight) {
                self.stats.count(&learned);
            }
            if !forecaster.is_of_present() {
                forecaster.ask(&self.present, &self.channels, settings.learn);
                forecaster.forecasts(&mut outcome.forecasts);
            }
        }
    }

    /// Predicts, compares, adds up evidence; fills the targets.
    fn judge(
        &mut self,
        row: &Row,
        calendar: Calendar,
        samples: &mut [Sample; 2],
        judged: &mut Vec<[Option<Judged>; 3]>,
    ) -> Outcome {
        self.set_bar();
        let settings = self.params.get();
        let heads = self.heads.as_mut().expect("built with the first row");
        let warming_up = self.rows <= settings.warm_up_rows;
        if settings.learn {
            heads.step.predict(&samples[0].spikes, samples[0].hour);
        }
        if calendar == Calendar::Off || !settings.learn {
            heads.context.predict_nothing();
        } else {
            heads.context.predict(&samples[1].spikes, samples[1].hour);
        }
        judged.clear();
        let mut channels = self.used.0.pop().unwrap_or_default();
        channels.clear();
        channels.reserve_exact(row.values.len());
        for (c, &value) in row.values.iter().enumerate() {
            let channel = &mut self.channels[c];
            let (targets, outcome) = if channel.is_shared() {
                let targets = [channel.step_target(value), channel.context_target(value)];
                (targets, predicted(channel, &heads.step, c, value))
            } else {
                ([f64::NAN; 2], ChannelOutcome::unknown(value))
            };
            let step =
                (!targets[0].is_nan()).then(|| heads.step.judge(c, targets[0], settings.temper));
            let context = (!targets[1].is_nan() && self.rows > 1)
                .then(|| heads.context.judge(c, targets[1], settings.temper));
            samples[0].target.push(targets[0] as f32);
            samples[1].target.push(targets[1] as f32);
            if let Some(j) = step {
                let inside = (value - outcome.mean).abs() <= Z90 * outcome.sd;
                heads.step.held(c, inside);
                self.moving
                    .observe(j.z, heads.step.variance(c), targets[0], inside);
            }
            channels.push(outcome);
            judged.push([step, context, None]);
        }
        if settings.joint {
            self.others.judge(judged, settings.temper);
        }
        let mut outcome = Outcome {
            ts_ms: row.ts_ms,
            arrival_ms: row.arrival_ms,
            row: self.rows,
            warming_up,
            score: 0.0,
            anomaly: false,
            kind: None,
            channels,
            forecasts: Vec::new(),
            odds: Vec::new(),
            edge: None,
        };
        self.judge_forecasts(row, &mut outcome, judged);
        if !warming_up {
            self.add_up(judged, &mut outcome);
        }
        outcome
    }

    /// Adds what was not expected to the evidence, and fills the scores.
    fn add_up(&mut self, judged: &[[Option<Judged>; 3]], outcome: &mut Outcome) {
        let (settings, bar) = (self.params.get(), self.bar);
        for (c, judged) in judged.iter().enumerate() {
            let ln_e = judged.map(|j| j.map_or(0.0, |j: Judged| j.ln_e));
            let channel = &self.channels[c];
            let mixed = match settings.heads {
                _ if !channel.is_shared() => &ln_e[..1],
                Heads::Both if judged[2].is_some() => &ln_e[..],
                Heads::Both => &ln_e[..2],
                Heads::Step => &ln_e[..1],
                Heads::Context => &ln_e[1..2],
            };
            if let Some(peak) = self.evidence[c].add(mixed, CAP * bar) {
                self.null.observe(peak, bar);
            }
            if settings.habits && (channel.stuck.is_broken(bar) || channel.gap.is_broken(bar)) {
                self.evidence[c].raise(CAP * bar);
            }
            outcome.channels[c].score = self.evidence[c].get() / bar;
        }
        let scores = outcome.channels.iter().map(|c| c.score);
        outcome.score = scores.fold(0.0, f64::max);
    }

    /// The bar of the evidence for the wanted time between false alarms: from theory at first,
    /// from the stream's own normal behaviour in the long run.
    fn set_bar(&mut self) {
        let settings = self.params.get();
        if self.rows > settings.warm_up_rows {
            self.null.row(settings.memory_rows * NULL_MEMORY_SHARE);
        }
        if self.bar.is_finite() && !self.rows.is_multiple_of(BAR_EVERY) {
            return;
        }
        let rows_per_week = WEEK_MS / self.period_ms.max(MIN_PERIOD_MS);
        let between = (rows_per_week / settings.false_alarms_per_week).max(MIN_ROWS_BETWEEN);
        let null = if settings.calibrate {
            &self.null
        } else {
            &NullPeaks::default()
        };
        let memory = settings.memory_rows * NULL_MEMORY_SHARE;
        self.rulings.rows(BAR_EVERY as f64, memory);
        self.bar = (null.bar(between, self.channels.len()) + self.rulings.lift(between))
            .clamp(MIN_BAR, MAX_BAR);
    }

    fn update_incident(&mut self, row: &Row, outcome: &mut Outcome) {
        let scores = outcome.channels.iter().map(|c| c.score);
        let step = self.incidents.step(scores, &self.params.get().incident);
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
        } else if evidence.from_step >= evidence.from_context {
            Kind::Surprise
        } else {
            Kind::Drift
        }
    }

    /// What channels that did not carry the incident have gathered meanwhile starts from zero.
    fn leave_aftermath(&mut self, outcome: &Outcome) {
        let share = self.params.get().incident.close_share;
        for (evidence, channel) in self.evidence.iter_mut().zip(&outcome.channels) {
            if channel.score > share {
                evidence.reset();
            }
        }
    }

    /// Takes the present for the new normal.
    fn accept(&mut self) {
        self.evidence.iter_mut().for_each(Evidence::reset);
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

    /// Statistics at once, weights with the mini-batch.
    fn learn(&mut self, row: &Row, mut samples: [Sample; 2], judged: &[[Option<Judged>; 3]]) {
        let settings = self.params.get();
        let gate = if self.incidents.is_open() {
            settings.gate_weight
        } else {
            1.0
        };
        let memory = settings.statistics_rows;
        let heads = self.heads.as_mut().expect("built with the first row");
        for (c, &value) in row.values.iter().enumerate() {
            if self.rows > LEARN_AFTER {
                if let Some(j) = judged[c][0] {
                    heads.step.observe(c, j, 1.0, memory);
                }
                if let Some(j) = judged[c][1] {
                    heads.context.observe(c, j, gate, memory);
                }
            }
            self.channels[c].observe(value, gate, memory);
        }
        if settings.joint && self.rows > LEARN_AFTER {
            self.others.observe(judged, gate, memory);
        }
        if self.rows <= LEARN_AFTER {
            self.spare.push(samples);
            return;
        }
        samples[0].weight = 1.0;
        samples[1].weight = gate;
        if self.batch.is_empty() {
            self.batch_since_ms = row.ts_ms;
        }
        self.batch.push(samples);
        let age = (row.ts_ms - self.batch_since_ms) as f64 / 1000.0;
        if self.batch.len() >= settings.batch_rows || age >= settings.batch_max_age_s {
            self.flush();
        }
    }

    /// Learns the partial mini-batch.
    pub fn flush(&mut self) {
        let Some(heads) = &mut self.heads else { return };
        if self.batch.is_empty() {
            return;
        }
        let settings = self.params.get();
        let (nu, memory) = (settings.student_nu, settings.statistics_rows);
        let context_on = self.last_ms - self.first_ms;
        let context_on = settings.calendar && Calendar::after(context_on) != Calendar::Off;
        for samples in self.batch.drain(..) {
            if settings.learn {
                let learned = heads.step.learn(&samples[0], nu, memory);
                self.moving.learned(&mut self.stats, &learned);
                if context_on {
                    let learned = heads.context.learn(&samples[1], nu, memory);
                    self.moving.learned(&mut self.stats, &learned);
                }
            }
            self.stats.learned += 1;
            self.spare.push(samples);
        }
        self.stats.updates += 1;
        self.moving.publish(&mut self.stats);
        if self.stats.updates % SUMMARY_EVERY == 1 {
            self.stats.weight_sd = heads.step.relative_sd();
        }
        let shared = || (0..self.channels.len()).filter(|&c| self.channels[c].is_shared());
        let noise: f64 = shared().map(|c| heads.step.noise(c)).sum();
        self.stats.noise_variance = noise / shared().count().max(1) as f64;
        self.stats.horizons.clear();
        let figures = self
            .forecasters
            .iter()
            .filter_map(Forecaster::horizon_figures);
        self.stats.horizons.extend(figures);
        self.stats.limited = self
            .channels
            .iter()
            .map(|c| c.limited + c.level.clipped + c.step.clipped)
            .sum();
    }

    /// Goes on with other parameters, that differ in [`crate::stream::TUNABLE`] alone.
    pub fn retune(&mut self, params: &EngineParams) {
        self.params = params.clone();
        if let Some(heads) = &mut self.heads {
            heads.step.set_memory(params.get().memory_rows);
            heads.context.set_memory(params.get().memory_rows);
        }
        for forecaster in &mut self.forecasters {
            forecaster.set_memory(params.get().memory_rows);
        }
    }

    /// The parameters that it was built from.
    pub fn params(&self) -> &EngineParams {
        &self.params
    }

    /// False alarms that the setting allows over the time that the engine has seen.
    pub fn wanted_false_alarms(&self) -> f64 {
        let weeks = (self.last_ms - self.first_ms).max(0) as f64 / WEEK_MS;
        weeks * self.params.get().false_alarms_per_week
    }

    /// What each network knows, in figures; empty before the first row. Walks over all weights.
    pub fn weights(&self) -> Vec<(String, Summary)> {
        let Some(heads) = &self.heads else {
            return Vec::new();
        };
        let mut all = vec![
            ("step".to_owned(), heads.step.summary()),
            ("context".to_owned(), heads.context.summary()),
        ];
        all.extend(self.forecasters.iter().map(|f| (f.name(), f.summary())));
        all
    }

    /// Counters and moving figures.
    pub fn stats(&self) -> &EngineStats {
        &self.stats
    }

    /// The last incident, open or ended.
    pub fn incident(&self) -> Option<&Incident> {
        self.incident.as_ref()
    }
}

impl Networks {
    /// For inputs of this shape: all of them, and those that are usually active.
    fn new(settings: &EngineSettings, n_channels: usize, shape: (usize, f32)) -> Networks {
        let head = |(inputs, nominal), seed| {
            let mut draft = NetworkDraft::stream(inputs, &[settings.hidden], n_channels, nominal);
            draft.direct = settings.direct;
            draft.memory = Some(settings.memory_rows);
            draft.seed = seed;
            let spec = draft
                .build()
                .expect("validated settings make a valid network");
            Head::new(&spec, n_channels, Likelihood::Gaussian)
        };
        let shared = (SHARED_WIDTH as usize, SHARED_ACTIVE);
        Networks {
            step: head(shape, settings.seed),
            context: head(shared, settings.seed.wrapping_add(1)),
        }
    }
}

/// Inputs of some channels.
fn inputs_of(channels: &[Channel]) -> usize {
    channels
        .iter()
        .map(|channel| channel.width() as usize)
        .sum()
}

/// Inputs of a network that sees everything, and those that are usually active: the nominal fan-in
/// of its priors.
fn shape_of(channels: &[Channel]) -> (usize, f32) {
    let active: f32 = channels.iter().map(Channel::active).sum();
    let inputs = SHARED_WIDTH as usize + inputs_of(channels);
    (inputs, active + SHARED_ACTIVE)
}

/// The next-step prediction for channel `c` in its own units.
fn predicted(channel: &Channel, head: &Head, c: usize, value: f64) -> ChannelOutcome {
    if channel.last().is_nan() {
        return ChannelOutcome::unknown(value);
    }
    let unit = channel.step.get();
    let (mean, sd) = if channel.has_previous() {
        // Before the first step there is no unit in which the network's answer would mean anything.
        let change = if channel.step.is_known() {
            unit * head.mean(c)
        } else {
            0.0
        };
        (channel.last() + change, unit * head.variance(c).sqrt())
    } else {
        // Back from a gap: the last level, with the uncertainty of any level.
        (channel.last(), channel.level.sd().max(unit))
    };
    ChannelOutcome {
        value,
        mean,
        sd: sd * head.half90(c) / Z90,
        score: 0.0,
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
