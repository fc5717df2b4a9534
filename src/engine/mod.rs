//! One stream's mind: row in, prediction, score and flag out; each row is learned before the next.
//!
//! Three predictors look at each row. [`NextStep`] predicts every number from the pasts of all
//! channels; [`GivenOthers`] from the others' present values and its own past; the context network predicts its level from hour and weekday alone.
//! Their residuals go to the [`Detector`]. Horizons, soft sensors, labels and channels of states
//! are asked for by forecasters beside them.

mod channel;
mod counters;
#[cfg(test)]
mod feedback_tests;
mod forecaster;
mod head;
mod interval;
mod judge;
mod learn;
mod networks;
#[cfg(test)]
mod ordinary_tests;
mod params;
mod plan;
mod sharpness;
mod states;
mod stats;
#[cfg(test)]
mod tests;

use serde::{Deserialize, Serialize};

pub use params::{EngineParams, EngineSettings};
pub use plan::{MAX_STATES, Plan, Role, Rule, State, Values, state_named};
pub use stats::EngineStats;

use self::channel::Channel;
use self::counters::Counters;
use self::forecaster::{Aim, Forecaster, Present};
use self::head::{Head, Sample};
use self::networks::context_head;
use self::stats::Moving;
use crate::detect::{ChannelKind, ChannelOptions, ChannelResiduals, Detector, Watch};
use crate::encode::CALENDAR_WIDTH;
use crate::ep::NetworkSummary;
use crate::num::scrap::Scrap;
use crate::predict::{
    GivenOthers, GivenSettings, LevelResidual, NextStep, NextStepSettings, Published, Verified,
};
use crate::row::{ChannelOutcome, Incident, Outcome, Row};

/// Input 0 is the bias, then the calendar, then a block a channel.
const SHARED_WIDTH: u32 = 1 + CALENDAR_WIDTH;
/// Memory of the next-step experts' weights, as a share of the memory of weights: what holds from one
/// row to the next changes faster than levels and calendars do.
const NEXT_STEP_MEMORY_SHARE: f64 = 0.3;
/// Hidden units of networks that see the calendar or ask for states, at most.
const MOST_HIDDEN: usize = 16;
/// Rows before the context is learned: the scales are not known yet.
const LEARN_AFTER: u64 = 10;
/// Outcomes whose memory is kept for the next ones.
const MAX_USED: usize = 4;
/// Week in milliseconds.
const WEEK_MS: f64 = 604_800_000.0;

/// One stream's mind.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Engine {
    params: EngineParams,
    channels: Vec<Channel>,
    counters: Counters,
    /// Next value of every number.
    next: NextStep,
    /// Each number given the others of the same row.
    given: GivenOthers,
    /// The level that the time of day and week lets expect; built with the first row, when the
    /// number of channels is known.
    context: Option<Head>,
    /// Horizons, soft sensors, labels, channels of states; built with the networks.
    forecasters: Vec<Forecaster>,
    #[serde(skip)]
    present: Present,
    detector: Detector,
    first_ms: i64,
    last_ms: i64,
    /// Moving mean of the time between rows, ms.
    period_ms: f64,
    rows: u64,
    /// The context network's present sample.
    #[serde(skip)]
    sample: Scrap<Sample>,
    moving: Moving,
    stats: EngineStats,
    /// Memory of rows gone by, see [`Engine::recycle`].
    #[serde(skip)]
    used: Scrap<Vec<Vec<ChannelOutcome>>>,
    #[serde(skip)]
    residuals: Scrap<Vec<ChannelResiduals>>,
    #[serde(skip)]
    published: Scrap<Vec<Option<Published>>>,
    #[serde(skip)]
    verified: Scrap<Vec<Option<Verified>>>,
    /// The row with the values of numbers that are held as missing.
    #[serde(skip)]
    fresh: Scrap<Vec<f64>>,
    #[serde(skip)]
    rests: Scrap<Vec<bool>>,
    #[serde(skip)]
    compared: Scrap<Vec<Option<Verified>>>,
    #[serde(skip)]
    levels: Scrap<Vec<Option<LevelResidual>>>,
}

impl Engine {
    /// An engine that has seen nothing, for `n_channels` channels (0 and more; see
    /// [`Engine::grow`]).
    pub fn new(params: &EngineParams, n_channels: usize) -> Engine {
        let settings = params.get();
        let mut engine = Engine {
            params: params.clone(),
            next: NextStep::new(next_step(settings)),
            given: GivenOthers::new(given_others(settings)),
            channels: Vec::new(),
            counters: Counters::default(),
            context: None,
            forecasters: Vec::new(),
            present: Present::default(),
            detector: Detector::new(&settings.detect),
            first_ms: 0,
            last_ms: 0,
            period_ms: 0.0,
            rows: 0,
            sample: Scrap::default(),
            moving: Moving::default(),
            stats: EngineStats::default(),
            used: Scrap::default(),
            residuals: Scrap::default(),
            published: Scrap::default(),
            verified: Scrap::default(),
            fresh: Scrap::default(),
            rests: Scrap::default(),
            compared: Scrap::default(),
            levels: Scrap::default(),
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
        let from = self.channels.len();
        let plans: Vec<Plan> = plans.into_iter().collect();
        let watches: Vec<Watch> = plans.iter().map(|plan| plan.watch).collect();
        for (c, _) in plans.iter().enumerate().filter(|(_, plan)| plan.counter) {
            self.counters.add(from + c);
        }
        let new: Vec<Channel> = plans.into_iter().map(Channel::new).collect();
        if new.is_empty() {
            return;
        }
        self.channels.extend(new);
        self.next.grow(&self.channels);
        // The next step comes first; what it leaves is for the predictors given the others.
        let most = 1_000 * self.params.get().max_model_kb;
        self.given
            .set_max_bytes(most.saturating_sub(self.next.bytes()));
        let more = self.channels.len() - from;
        let new = &self.channels[from..];
        let options = new.iter().zip(watches);
        self.detector
            .add(options.map(|(channel, watch)| options_of(channel, watch)));
        if let Some(context) = &mut self.context {
            context.grow(0, more);
            for forecaster in &mut self.forecasters {
                forecaster.grow(&self.channels, from);
            }
            self.add_forecasters(from);
        }
    }

    /// Forecasters for the channels from number `from` on that need their own.
    fn add_forecasters(&mut self, from: usize) {
        let settings = self.params.get();
        let own = |(c, channel): (usize, &Channel)| match (&channel.states, channel.role) {
            (Some(_), _) => Some(Aim::State(c)),
            (None, Role::Target) => Some(Aim::Target(c)),
            (None, _) => None,
        };
        let aims = self.channels.iter().enumerate().skip(from).filter_map(own);
        let new = aims.map(|aim| Forecaster::new(aim, settings, &self.channels));
        self.forecasters.extend(new);
    }

    /// Number of channels.
    pub fn n_channels(&self) -> usize {
        self.channels.len()
    }

    /// Predicts, scores, flags and learns one row.
    ///
    /// # Panics
    /// If the row has another number of channels than the engine.
    pub fn step(&mut self, row: &Row) -> Outcome {
        assert_eq!(
            row.values.len(),
            self.channels.len(),
            "a row has a value for every channel"
        );
        let grown;
        let row = if self.counters.is_empty() {
            row
        } else {
            grown = self.counters.grown(row);
            &grown
        };
        // A held value is no new value of a number: it is neither compared nor learned.
        let values = row.values.iter().zip(&self.channels).enumerate();
        let fresh = values.map(|(c, (&value, channel))| {
            if channel.is_shared() && row.is_held(c) {
                f64::NAN
            } else {
                value
            }
        });
        self.fresh.0.clear();
        self.fresh.0.extend(fresh);
        let span_ms = self.last_ms - self.first_ms;
        self.keep_time(row.ts_ms);
        self.renew_context(span_ms);
        let calendar = self.encode(row.ts_ms);
        if !self.forecasters.is_empty() {
            self.encode_present(row, calendar);
        }
        let mut residuals = std::mem::take(&mut self.residuals.0);
        let mut outcome = self.predict(row, calendar, &mut residuals);
        for (c, residuals) in residuals.iter_mut().enumerate() {
            residuals.is_fresh &= !row.is_held(c);
        }
        self.judge(row, &residuals, &mut outcome);
        self.learn(row);
        self.detector.learn(self.moment(row.ts_ms), &residuals);
        self.given.learn_levels(self.detector.is_open());
        self.residuals.0 = residuals;
        if !self.forecasters.is_empty() {
            self.look_ahead(row, &mut outcome);
        }
        self.stats.rows = self.rows;
        self.stats.open = self.detector.is_open();
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
            // Time that began anew, since stamps had been wrong: the age of the stream stays.
            self.first_ms += ts_ms.saturating_sub(self.last_ms).min(0);
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
        self.context = Some(context_head(settings, self.channels.len()));
        let ahead = settings.horizons.iter().map(|&horizon| {
            let aim = Aim::Ahead(horizon);
            Forecaster::new(aim, settings, &self.channels)
        });
        self.forecasters = ahead.collect();
        self.add_forecasters(0);
    }

    /// Goes on with other parameters, that differ in [`crate::stream::TUNABLE`] alone.
    pub fn retune(&mut self, params: &EngineParams) {
        self.params = params.clone();
        self.detector.retune(&params.get().detect);
        let rows = NEXT_STEP_MEMORY_SHARE * params.get().memory_rows;
        self.next.retune(rows, params.get().hourly_noise);
        self.given.retune(given_others(params.get()));
        if let Some(context) = &mut self.context {
            context.set_memory(params.get().memory_rows);
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
        weeks * self.params.get().detect.false_alarms_per_week
    }

    /// Summarises each network in figures; empty before the first row. Walks over all weights.
    pub fn weights(&self) -> Vec<(String, NetworkSummary)> {
        let Some(context) = &self.context else {
            return Vec::new();
        };
        let steps = self.next.summaries().enumerate();
        let mut all: Vec<(String, NetworkSummary)> = steps
            .map(|(i, summary)| match i {
                0 => ("step".to_owned(), summary),
                _ => (format!("step {i}"), summary),
            })
            .collect();
        all.extend(context.summary().map(|s| ("context".to_owned(), s)));
        let further = self.forecasters.iter();
        all.extend(further.filter_map(|f| Some((f.name(), f.summary()?))));
        all
    }

    /// Raises no incident of a channel, or of the whole stream, before `until_ms` by the rows' time.
    pub fn mute(&mut self, channel: Option<usize>, until_ms: i64) {
        self.detector.mute(channel, until_ms);
    }

    /// Takes over the incidents of an engine that is given up, and rulings on them; nothing else of what
    /// it had learned.
    pub fn inherit_incidents(&mut self, before: Engine) {
        let mut detector = before.detector;
        detector.forget(None);
        self.detector = detector;
        self.stats.incidents = before.stats.incidents;
        self.stats.rulings = before.stats.rulings;
        self.stats.open = before.stats.open;
        self.last_ms = before.last_ms;
    }

    /// The next-step predictor.
    pub fn next_step(&self) -> &NextStep {
        &self.next
    }

    /// The predictors of each number given the others.
    pub fn given_others(&self) -> &GivenOthers {
        &self.given
    }

    /// The detector.
    pub fn detector(&self) -> &Detector {
        &self.detector
    }

    /// Counters and moving figures.
    pub fn stats(&self) -> &EngineStats {
        &self.stats
    }

    /// Bar of the evidence, nats; infinite before there is one.
    pub fn bar(&self) -> f64 {
        self.detector.bar()
    }

    /// The last incident, open or ended.
    pub fn incident(&self) -> Option<&Incident> {
        self.detector.incident()
    }
}

/// Settings of the next-step predictor.
fn next_step(settings: &EngineSettings) -> NextStepSettings {
    NextStepSettings {
        hidden: settings.hidden,
        memory_rows: NEXT_STEP_MEMORY_SHARE * settings.memory_rows,
        learn: settings.learn,
        hourly_noise: settings.hourly_noise,
        max_bytes: 1_000 * settings.max_model_kb,
        seed: settings.seed,
    }
}

/// Settings of the predictors given the others.
fn given_others(settings: &EngineSettings) -> GivenSettings {
    GivenSettings {
        partners: if settings.learn { settings.partners } else { 0 },
        hidden: settings.hidden.min(MOST_HIDDEN),
        max_bytes: 1_000 * settings.max_model_kb,
        // A level that lasts as long as the hold is taken for normal.
        delay_rows: settings.detect.incident.hold_rows.into(),
        seed: settings.seed,
    }
}

/// Hidden layers of networks that see the calendar or ask for states.
fn hidden_of_calendar(hidden: usize) -> Vec<usize> {
    match hidden.min(MOST_HIDDEN) {
        0 => Vec::new(),
        units => vec![units],
    }
}

/// Properties of a channel that the detector uses.
fn options_of(channel: &Channel, watch: Watch) -> ChannelOptions {
    let kind = match (channel.role, &channel.states) {
        (Role::Sensor, None) => ChannelKind::Number,
        (Role::Sensor, Some(_)) => ChannelKind::States,
        (Role::Target, _) => ChannelKind::Target,
        (Role::Label, _) => ChannelKind::Label,
    };
    ChannelOptions { kind, watch }
}
