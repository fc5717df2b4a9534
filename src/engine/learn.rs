//! Learns a row: statistics and weights.

use super::channel::{Channel, Observing};
use super::forecaster::{Aim, Forecaster};
use super::head::Learned;
use super::stats::ExpertMeans;
use super::{Engine, LEARN_AFTER};
use crate::encode::Calendar;
use crate::row::{Outcome, Row};

/// Rows between two looks at all weights and experts.
const SUMMARY_EVERY: u64 = 64;
/// Rows between two looks at the moving figures.
const FIGURES_EVERY: u64 = 8;

impl Engine {
    /// Learns what the row told, and forecasts what comes after it.
    pub(super) fn look_ahead(&mut self, row: &Row, outcome: &mut Outcome) {
        let settings = self.params.get();
        let gate = self.detector.learning_weight();
        for forecaster in &mut self.forecasters {
            // A soft sensor must not learn its own fault; a label is taught in incidents above all.
            let weight = match forecaster.aim() {
                Aim::Target(_) => gate,
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

    /// Learns the row: statistics and weights.
    pub(super) fn learn(&mut self, row: &Row) {
        let settings = self.params.get();
        let gate = self.detector.learning_weight();
        // A value that stays where it rests has no change to learn from.
        let values = row.values.iter().enumerate();
        let rests = values
            .map(|(c, &value)| self.channels[c].is_shared() && self.detector.is_at_rest(c, value));
        self.rests.0.clear();
        self.rests.0.extend(rests);
        let rests = &self.rests.0;
        let report = self
            .next
            .learn(&self.fresh.0, &self.channels, &self.verified.0, rests);
        self.moving
            .learned(&mut self.stats, &Learned { report, limited: 0 });
        self.given.learn(&self.fresh.0, &self.channels, gate);
        for ((channel, &value), &rests) in self.channels.iter_mut().zip(&self.fresh.0).zip(rests) {
            let how = Observing {
                rests,
                weight: gate,
                statistics_rows: settings.statistics_rows,
                history_rows: settings.memory_rows,
            };
            channel.observe(value, how);
        }
        if self.rows > LEARN_AFTER {
            self.learn_context(gate);
            self.stats.learned += 1;
        }
        if self.rows % SUMMARY_EVERY == 1 {
            self.stats.weight_sd = self.next.relative_sd();
            self.note_experts();
        }
        if self.rows.is_multiple_of(FIGURES_EVERY) {
            self.note_figures();
        }
    }

    fn learn_context(&mut self, weight: f64) {
        let settings = self.params.get();
        let span_ms = self.last_ms - self.first_ms;
        let on = settings.calendar && Calendar::after(span_ms) != Calendar::Off;
        let (Some(context), true) = (&mut self.context, on && settings.learn) else {
            return;
        };
        let sample = &mut self.sample.0;
        sample.weight = weight;
        let learned = context.learn(sample, settings.student_nu, settings.statistics_rows);
        self.moving.learned(&mut self.stats, &learned);
    }

    /// Share and gain of each expert, means over the channels that have it.
    fn note_experts(&mut self) {
        let shared = |&c: &usize| self.channels[c].is_shared();
        let mut means = ExpertMeans::default();
        for c in (0..self.channels.len()).filter(shared) {
            means.add(self.next.kinds(c), self.next.mixture(c).gate());
        }
        self.stats.experts = means.take();
        for given in self.given.predictors() {
            means.add(given.kinds(), given.mixture().gate());
        }
        self.stats.given_experts = means.take();
    }

    /// Copies the moving figures.
    fn note_figures(&mut self) {
        self.moving.publish(&mut self.stats);
        let shared = || (0..self.channels.len()).filter(|&c| self.channels[c].is_shared());
        let noise = shared().filter_map(|c| Some(self.next.ignorance(c)?.1));
        self.stats.noise_variance = noise.sum::<f64>() / shared().count().max(1) as f64;
        self.stats.horizons.clear();
        let figures = self
            .forecasters
            .iter()
            .filter_map(Forecaster::horizon_figures);
        self.stats.horizons.extend(figures);
        let of_channel = |c: &Channel| {
            let history = c.past.history();
            let history = history.map_or(0, |h| h.limited + h.level.clipped + h.step_scale.clipped);
            c.limited + c.level.clipped + history
        };
        let channels = self.channels.iter().map(of_channel);
        let ahead = self.forecasters.iter().map(|f| f.limited);
        self.stats.limited = self.next.limited()
            + self.given.limited()
            + self.detector.limited()
            + channels.sum::<u64>()
            + ahead.sum::<u64>();
    }
}
