//! From a row to what was expected, what came, and the evidence that the two do not fit.

use super::channel::Channel;
use super::head::{Head, Judged, Sample, Z90, judge_all};
use super::networks::shape_of;
use super::params::Heads;
use super::{Engine, LEARN_AFTER, SHARED_WIDTH, WEEK_MS};
use crate::detect::NullPeaks;
use crate::encode::{Calendar, encode_calendar, hour_of_day};
use crate::row::{ChannelOutcome, Outcome, Row};

/// Evidence is capped at this many bars.
const CAP: f64 = 1.2;
/// That for a shift is capped at fewer: the ratio behind it, which has to fall when the shift is over,
/// grows faster than what it counts for.
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

impl Engine {
    /// Fills the inputs of both networks from the past.
    pub(super) fn encode(&mut self, ts_ms: i64, samples: &mut [Sample; 2]) -> Calendar {
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
        if spikes.index.capacity() < self.channels.len() {
            // What is usually active and a little more: thousands of streams have such lists.
            // The prior counts the older differences too, which are no inputs.
            let (_, nominal) = shape_of(self.channels.iter().map(Channel::step_shape));
            let older = self.channels.len() * (settings.lags - 1);
            spikes.reserve((nominal as usize + self.channels.len()).saturating_sub(older));
        }
        let mut at = SHARED_WIDTH;
        let alone = self.channels.len() == 1;
        for channel in &mut self.channels {
            channel.encode(at, alone, spikes);
            at += channel.step_shape().0;
        }
        calendar
    }

    /// Fills the inputs of the forecasters from the row, and finds its states.
    pub(super) fn encode_present(&mut self, row: &Row, calendar: Calendar) {
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
            at += channel.shape().0;
        }
    }

    /// Predicts, compares, adds up evidence; fills the targets.
    pub(super) fn judge(
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
        samples[0].beside.clear();
        if settings.learn && settings.direct {
            for (c, channel) in self.channels.iter_mut().enumerate() {
                let (mean, variance) = if channel.is_shared() {
                    channel.own.predict()
                } else {
                    (0.0, 0.0)
                };
                heads.step.add_beside(c, mean, variance);
                samples[0].beside.push((mean as f32, variance as f32));
            }
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
            let unscored = |head: &Head, target| Judged::unscored(head.residual(c, target));
            let step = (!targets[0].is_nan()).then(|| unscored(&heads.step, targets[0]));
            let context = (!targets[1].is_nan() && self.rows > 1)
                .then(|| unscored(&heads.context, targets[1]));
            samples[0].target.push(targets[0] as f32);
            samples[1].target.push(targets[1] as f32);
            if let Some(j) = step {
                let inside = (value - outcome.mean).abs() <= Z90 * outcome.sd;
                self.limited += u64::from(heads.step.held(c, inside));
                self.moving
                    .observe(j.z, heads.step.variance(c), targets[0], inside);
            }
            channels.push(outcome);
            judged.push([step, context, None]);
        }
        let room = &mut self.room.0;
        for (which, head) in [&heads.step, &heads.context].into_iter().enumerate() {
            judge_all(judged, which, head.past(), settings.temper, room);
        }
        if settings.joint {
            self.others.judge(judged, settings.temper, room);
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
            let shift = &mut self.evidence[c].shift;
            if !settings.shift || settings.heads == Heads::Step {
                shift.reset();
            } else if let Some(j) = judged[1].filter(|_| channel.is_shared()) {
                self.limited += u64::from(shift.add(j.z, SHIFT_CAP * bar));
            }
            if settings.habits && (channel.stuck.is_broken(bar) || channel.gap.is_broken(bar)) {
                self.evidence[c].raise(CAP * bar);
            }
            self.limited += u64::from(self.evidence[c].get() >= CAP * bar);
            outcome.channels[c].score = self.evidence[c].get() / bar;
        }
        let scores = outcome.channels.iter().map(|c| c.score);
        outcome.score = scores.fold(0.0, f64::max);
        let open = self.incidents.is_open();
        self.maxima.observe(outcome.score * bar, open);
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
        let n_channels = self.channels.len();
        let own = if settings.calibrate {
            self.null.bar(between, n_channels) + self.maxima.lift(between, self.null.rows())
        } else {
            NullPeaks::default().bar(between, n_channels)
        };
        let memory = settings.memory_rows * NULL_MEMORY_SHARE;
        self.rulings.rows(BAR_EVERY as f64, memory);
        let bar = own + self.rulings.lift(between);
        self.bar = bar.clamp(MIN_BAR, MAX_BAR);
        self.limited += u64::from(self.bar != bar);
    }
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
