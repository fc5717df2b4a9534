//! Predicts a row, compares it with what came, and hands the residuals to the detector.

use super::channel::Channel;
use super::stats::Figures;
use super::{Engine, LEARN_AFTER, SHARED_WIDTH};
use crate::detect::{ChannelResiduals, Moment, Residual, Ruled};
use crate::encode::{Calendar, encode_calendar, hour_of_day};
use crate::predict::{self, History, Past, Verified};
use crate::row::{ChannelOutcome, Feedback, IncidentEdge, Outcome, Row};

/// Share of the predictors' knowledge that is forgotten when a new normal is accepted.
const ACCEPT_FORGETS: f64 = 0.9;
/// Weight of the level after a new normal was accepted, rows.
const ACCEPT_WEIGHT: f64 = 60.0;
/// Share of the context's past errors that is kept when it begins to see hours.
const HOURS_KEEP: f64 = 0.01;
/// Novelty: ignorance above this many noise variances.
const NOVELTY: f64 = 4.0;

impl Engine {
    /// Fills the inputs of the context network.
    pub(super) fn encode(&mut self, ts_ms: i64) -> Calendar {
        let settings = self.params.get();
        let calendar = if settings.calendar {
            Calendar::after(ts_ms - self.first_ms)
        } else {
            Calendar::Off
        };
        let hourly = settings.hourly_noise && calendar != Calendar::Off;
        let sample = &mut self.sample.0;
        sample.hour = hourly.then(|| hour_of_day(ts_ms) as f32);
        sample.spikes.clear();
        sample.target.clear();
        sample.spikes.push(0, 1.0);
        encode_calendar(calendar, ts_ms, 1, &mut sample.spikes);
        calendar
    }

    /// Fills the inputs of the forecasters from the row, and finds its states.
    pub(super) fn encode_present(&mut self, row: &Row, calendar: Calendar) {
        let present = &mut self.present;
        present.spikes.clear();
        present.levels.clear();
        present.ts_ms = row.ts_ms;
        present.period_ms = self.period_ms;
        present.calendar = calendar;
        present.hourly = self.params.get().hourly_noise && calendar != Calendar::Off;
        let (mut at, mut level_at) = (SHARED_WIDTH, SHARED_WIDTH);
        for (channel, &value) in self.channels.iter_mut().zip(&row.values) {
            if let Some(states) = &mut channel.states
                && !value.is_nan()
                && states.find_or_add(value).is_none()
            {
                self.stats.unknown_states += 1;
            }
            channel.encode_present(value, at, &mut present.spikes);
            at += channel.shape().0;
            channel.encode_level(value, level_at, &mut present.levels);
            level_at += channel.level_shape().0;
        }
    }

    /// Predicts and compares; fills the targets.
    pub(super) fn predict(
        &mut self,
        row: &Row,
        calendar: Calendar,
        residuals: &mut Vec<ChannelResiduals>,
    ) -> Outcome {
        let settings = self.params.get();
        let moment = predict::RowTime {
            ts_ms: row.ts_ms,
            hourly: calendar != Calendar::Off,
        };
        let (published, verified) = (&mut self.published.0, &mut self.verified.0);
        self.next.predict(moment, &self.channels, published);
        let context = self.context.as_mut().expect("built with the first row");
        if calendar == Calendar::Off || !settings.learn {
            context.predict_nothing();
        } else {
            let sample = &self.sample.0;
            context.predict(&sample.spikes, sample.hour);
        }
        residuals.clear();
        verified.clear();
        let mut channels = self.used.0.pop().unwrap_or_default();
        channels.clear();
        channels.reserve_exact(row.values.len());
        for (c, &value) in row.values.iter().enumerate() {
            let step = self.next.verify(c, self.fresh.0[c]);
            let channel = &mut self.channels[c];
            let target = if channel.is_shared() {
                channel.context_target(value)
            } else {
                f64::NAN
            };
            self.sample.0.target.push(target as f32);
            let known = !target.is_nan() && self.rows > 1;
            if let (Some(step), Some(said)) = (&step, published[c]) {
                self.moving
                    .observe(&figures_of(channel, said.mean, value, step));
            }
            let mut told = ChannelOutcome::unknown(value);
            let ignorance = self.next.ignorance(c);
            if let Some(said) = published[c] {
                (told.mean, told.sd) = (said.mean, said.sd);
                if let Some((ignorance, noise)) = ignorance {
                    told.ignorance_sd = said.sd * (ignorance / (ignorance + noise)).sqrt();
                }
            }
            if let Some(step) = &step {
                told.ln_density = step.ln_density;
                told.ln_baseline = step.ln_persistence;
                told.at_rest = step.at_rest;
            }
            channels.push(told);
            residuals.push(ChannelResiduals {
                step: step.map(|step| Residual::new(step.z, step.scale)),
                context: known.then(|| {
                    let scale = channel.level.sd() * context.variance(c).sqrt();
                    Residual::new(context.residual(c, target), scale)
                }),
                is_novel: ignorance.is_some_and(|(ignorance, noise)| ignorance > NOVELTY * noise),
                ..ChannelResiduals::unpredicted(value)
            });
            verified.push(step);
        }
        self.compare_given(moment, row, residuals);
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

    /// Compares each value with what the others of the row lead to. The prediction stands in for a value
    /// that is not to be trusted: one fault must not make all others look wrong.
    fn compare_given(
        &mut self,
        moment: predict::RowTime,
        row: &Row,
        residuals: &mut [ChannelResiduals],
    ) {
        let trusted = self.given.start(&row.values);
        let published = self.published.0.iter().enumerate();
        for (value, (c, said)) in trusted.iter_mut().zip(published) {
            if let Some(said) = said.filter(|_| self.detector.distrusts(c)) {
                *value = said.mean;
            }
        }
        let compared = &mut self.compared.0;
        self.given
            .compare(moment, &self.fresh.0, &self.channels, compared);
        for (residuals, compared) in residuals.iter_mut().zip(compared) {
            residuals.given = compared.map(|compared| Residual::new(compared.z, compared.scale));
        }
        let hour = moment.hourly.then(|| hour_of_day(row.ts_ms));
        let detector = &self.detector;
        let distrusted = |c: usize| detector.distrusts(c);
        let levels = &mut self.levels.0;
        self.given
            .compare_levels(hour, &self.fresh.0, &self.channels, distrusted, levels);
        let rows = residuals.iter_mut().zip(levels).zip(&self.channels);
        for ((residuals, level), channel) in rows {
            let sd = channel.past.history().map_or(f64::NAN, |h| h.level.sd());
            residuals.lasting = level.map(|level| Residual::new(level.z, level.sd * sd));
        }
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
        if let Some(context) = &mut self.context {
            context.renew(HOURS_KEEP);
        }
        self.detector.renew_levels();
    }

    /// Takes the present for the new normal.
    fn accept(&mut self) {
        let Some(context) = &mut self.context else {
            return;
        };
        self.next.renew();
        self.given.accept(ACCEPT_FORGETS);
        context.forget(ACCEPT_FORGETS, true);
        for forecaster in &mut self.forecasters {
            forecaster.forget(ACCEPT_FORGETS);
        }
        for channel in &mut self.channels {
            channel.level.soften(ACCEPT_WEIGHT);
            if let Past::Number(history) = &mut channel.past {
                history.level.soften(ACCEPT_WEIGHT);
            }
        }
    }

    /// Takes an operator's ruling on one of the last incidents; appends to `out` an outcome without
    /// channels for each edge that it makes.
    pub fn feedback(&mut self, feedback: Feedback, out: &mut Vec<Outcome>) -> Ruled {
        let result = self.detector.feedback(feedback, self.last_ms);
        if result.accepted {
            self.accept();
        }
        if result.ruled == Ruled::Taken {
            self.stats.rulings[feedback.ruling as usize] += 1;
        }
        self.stats.open = self.detector.is_open();
        let edges = result.edges.into_iter();
        out.extend(edges.map(|edge| self.outcome_of(Some(edge))));
        result.ruled
    }

    /// The present state, with an edge that no row made where an instruction made one.
    pub fn outcome_of(&self, edge: Option<IncidentEdge>) -> Outcome {
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
            edge,
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
            if let Some((c, estimate)) = forecaster.estimate(row) {
                outcome.channels[c] = estimate;
            }
            outcome.odds.extend(forecaster.odds(row, &self.channels));
        }
    }
}

/// The moving figures of one next-step prediction, in units of the usual step.
fn figures_of(channel: &Channel, mean: f64, value: f64, verified: &Verified) -> Figures {
    let history = channel.past.history();
    let unit = history.and_then(History::unit).unwrap_or(1.0);
    let last = channel.last();
    Figures {
        ln_density: verified.ln_density + unit.ln(),
        ln_baseline: verified.ln_persistence + unit.ln(),
        error: (value - mean) / unit,
        change: (value - last) / unit,
        inside: (!verified.at_rest).then_some(verified.inside),
    }
}
