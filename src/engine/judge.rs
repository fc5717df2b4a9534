//! Predicts a row, compares it with what came, and hands the residuals to the detector.

use super::channel::Channel;
use super::head::{Head, Sample};
use super::interval::Z90;
use super::networks::shape_of;
use super::{Engine, LEARN_AFTER, SHARED_WIDTH};
use crate::detect::{ChannelResiduals, Moment, Residual, Ruled};
use crate::encode::{Calendar, encode_calendar, hour_of_day};
use crate::row::{ChannelOutcome, Feedback, IncidentEdge, Outcome, Row};

/// What is forgotten of the predictors when a new normal is accepted.
const ACCEPT_FORGETS: f64 = 0.9;
/// What the level counts for after a new normal was accepted, rows.
const ACCEPT_WEIGHT: f64 = 60.0;
/// What is kept of the context's past errors when it begins to see hours.
const HOURS_KEEP: f64 = 0.01;
/// Novelty: ignorance above this many noise variances.
const NOVELTY: f64 = 4.0;

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

    /// Predicts and compares; fills the targets.
    pub(super) fn predict(
        &mut self,
        row: &Row,
        calendar: Calendar,
        samples: &mut [Sample; 2],
        residuals: &mut Vec<ChannelResiduals>,
    ) -> Outcome {
        let settings = self.params.get();
        let heads = self.heads.as_mut().expect("built with the first row");
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
        residuals.clear();
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
            let residual = |head: &Head, target, unit| {
                Residual::new(head.residual(c, target), unit * head.variance(c).sqrt())
            };
            let unit = channel.step.get();
            let step = (!targets[0].is_nan()).then(|| residual(&heads.step, targets[0], unit));
            let unit = channel.level.sd();
            let context = (!targets[1].is_nan() && self.rows > 1)
                .then(|| residual(&heads.context, targets[1], unit));
            // A value that stays where it rests has no change to learn from.
            let rests = channel.is_shared() && self.detector.is_at_rest(c, value);
            samples[0]
                .target
                .push(if rests { f32::NAN } else { targets[0] as f32 });
            samples[1].target.push(targets[1] as f32);
            if let Some(residual) = step {
                let inside = (value - outcome.mean).abs() <= Z90 * outcome.sd;
                self.limited += u64::from(heads.step.held(c, inside));
                let variance = heads.step.variance(c);
                self.moving
                    .observe(residual.z, variance, targets[0], inside);
            }
            channels.push(outcome);
            let is_novel =
                channel.is_shared() && heads.step.ignorance(c) > NOVELTY * heads.step.noise(c);
            residuals.push(ChannelResiduals {
                step,
                context,
                is_novel,
                ..ChannelResiduals::unpredicted(value)
            });
        }
        let mut outcome = Outcome {
            ts_ms: row.ts_ms,
            arrival_ms: row.arrival_ms,
            row: self.rows,
            warming_up: false,
            score: 0.0,
            severity: 0.0,
            anomaly: false,
            kind: None,
            channels,
            forecasts: Vec::new(),
            odds: Vec::new(),
            edge: None,
        };
        self.compare_forecasts(row, &mut outcome, residuals);
        outcome
    }

    /// Hands the residuals to the detector, and takes its judgement.
    pub(super) fn judge(
        &mut self,
        row: &Row,
        residuals: &[ChannelResiduals],
        outcome: &mut Outcome,
    ) {
        let judgement = self.detector.judge(self.moment(row.ts_ms), residuals);
        let scores = outcome.channels.iter_mut().zip(self.detector.scores());
        scores.for_each(|(channel, &score)| channel.score = score);
        outcome.warming_up = judgement.warming_up;
        outcome.score = judgement.score;
        outcome.severity = judgement.severity;
        outcome.anomaly = judgement.anomaly;
        outcome.kind = judgement.kind;
        outcome.edge = judgement.edge;
        if judgement.accepted {
            self.accept();
        }
        self.stats.incidents = self.detector.incident_counts();
    }

    /// Where the present row stands.
    pub(super) fn moment(&self, ts_ms: i64) -> Moment {
        let settings = self.params.get();
        Moment {
            ts_ms,
            row: self.rows,
            period_ms: self.period_ms,
            statistics_rows: settings.statistics_rows,
            memory_rows: settings.memory_rows,
        }
    }

    /// Once the context network sees hours, the residuals of before are those of another
    /// predictor: they count for little. `span_ms` is what the stream had lived through before
    /// this row.
    pub(super) fn renew_context(&mut self, span_ms: i64) {
        let now = Calendar::after(self.last_ms - self.first_ms);
        let before = Calendar::after(span_ms);
        let begins = before == Calendar::Off && now != Calendar::Off;
        if !self.params.get().calendar || !begins {
            return;
        }
        if let Some(heads) = &mut self.heads {
            heads.context.renew(HOURS_KEEP);
        }
        self.detector.renew_levels();
    }

    /// Takes the present for the new normal.
    fn accept(&mut self) {
        let Some(heads) = &mut self.heads else { return };
        heads.step.forget(ACCEPT_FORGETS, false);
        heads.context.forget(ACCEPT_FORGETS, true);
        for forecaster in &mut self.forecasters {
            forecaster.forget(ACCEPT_FORGETS);
        }
        for channel in &mut self.channels {
            channel.level.soften(ACCEPT_WEIGHT);
        }
    }

    /// Takes an operator's ruling on one of the last incidents; appends to `out` an outcome without
    /// channels for each edge that it makes.
    pub fn feedback(&mut self, feedback: Feedback, out: &mut Vec<Outcome>) -> Ruled {
        self.settle();
        let result = self.detector.feedback(feedback, self.last_ms);
        if result.accepted {
            self.accept();
        }
        if result.ruled == Ruled::Taken {
            self.stats.rulings[feedback.ruling as usize] += 1;
        }
        self.stats.open = self.detector.is_open();
        out.extend(result.edges.into_iter().map(|edge| self.outcome_of(edge)));
        result.ruled
    }

    /// The present state with an edge that no row made.
    fn outcome_of(&self, edge: IncidentEdge) -> Outcome {
        let anomaly = self.detector.is_open();
        let open = self.detector.incident().filter(|_| anomaly);
        Outcome {
            ts_ms: self.last_ms,
            arrival_ms: self.last_ms,
            row: self.rows,
            warming_up: self.rows <= self.params.get().detect.warm_up_rows,
            score: self.detector.score(),
            severity: self.detector.severity(),
            anomaly,
            kind: open.map(|incident| incident.kind),
            channels: Vec::new(),
            forecasts: Vec::new(),
            odds: Vec::new(),
            edge: Some(edge),
        }
    }

    /// Asks the soft sensors and labels, and compares every forecast with the row.
    fn compare_forecasts(
        &mut self,
        row: &Row,
        outcome: &mut Outcome,
        residuals: &mut [ChannelResiduals],
    ) {
        let settings = self.params.get();
        for forecaster in &mut self.forecasters {
            if forecaster.is_of_present() {
                forecaster.ask(&self.present, &self.channels, settings.learn);
            }
            let residual = forecaster.compare(row, &self.channels);
            if let Some(c) = forecaster.judges(&self.channels) {
                let residual = residual.filter(|_| self.rows > LEARN_AFTER);
                if forecaster.is_of_states() {
                    residuals[c].event = residual;
                } else {
                    residuals[c].step = residual;
                }
            }
            if let Some((c, mean, sd)) = forecaster.estimate() {
                (outcome.channels[c].mean, outcome.channels[c].sd) = (mean, sd);
            }
            outcome.odds.extend(forecaster.odds(row, &self.channels));
        }
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
