//! What a row teaches: statistics at once, weights with the mini-batch.

use super::forecaster::{Aim, Forecaster};
use super::head::Sample;
use super::{Engine, LEARN_AFTER};
use crate::detect::ChannelResiduals;
use crate::encode::Calendar;
use crate::row::{Outcome, Row};

/// Mini-batches between two looks at all weights.
const SUMMARY_EVERY: u64 = 64;

/// Degrees of freedom of the Student-t weighting of what a channel's own past says: more than those of
/// the network, since full covariances stand outliers better.
const OWN_NU: f64 = 30.0;

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

    /// Statistics at once, weights with the mini-batch.
    pub(super) fn learn(
        &mut self,
        row: &Row,
        mut samples: [Sample; 2],
        residuals: &[ChannelResiduals],
    ) {
        let settings = self.params.get();
        let gate = self.detector.learning_weight();
        let memory = settings.statistics_rows;
        let heads = self.heads.as_mut().expect("built with the first row");
        for (c, residuals) in residuals.iter().enumerate() {
            if self.rows > LEARN_AFTER {
                let shared = self.channels[c].is_shared();
                let moves = shared && !self.detector.is_at_rest(c, row.values[c]);
                if let Some(residual) = residuals.step.filter(|_| moves) {
                    heads.step.observe(c, residual.z, 1.0, memory);
                    if let Some(&(_, variance)) = samples[0].beside.get(c) {
                        let (residual, noise) = heads.step.beside(c, residual.z, variance, OWN_NU);
                        self.channels[c].learn_own(residual, noise, memory);
                    }
                }
            }
            let rests = self.detector.is_at_rest(c, row.values[c]);
            self.channels[c].observe(row.values[c], rests, gate, memory);
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
    }

    /// The mini-batch is full or old enough, or half learned: [`Engine::settle`] would learn it.
    pub fn is_due(&self) -> bool {
        let settings = self.params.get();
        let age = (self.last_ms - self.batch_since_ms) as f64 / 1000.0;
        let full = self.batch.len() >= settings.batch_rows || age >= settings.batch_max_age_s;
        (full || self.half_learned) && !self.batch.is_empty()
    }

    /// Learns the mini-batch where it is due. Whether that is done after a row or when the next
    /// one comes gives the same bits.
    pub fn settle(&mut self) {
        self.settle_some(usize::MAX);
    }

    /// Learns at most `rows` rows of the mini-batch where it is due: [`Engine::settle`] in parts, with
    /// the same bits. Until the last part, saving the engine loses that the batch is due.
    pub fn settle_some(&mut self, rows: usize) {
        if self.is_due() {
            self.learn_batch(rows);
        }
    }

    /// Learns the partial mini-batch.
    pub fn flush(&mut self) {
        if !self.batch.is_empty() {
            self.learn_batch(usize::MAX);
        }
    }

    fn learn_batch(&mut self, rows: usize) {
        let Some(heads) = &mut self.heads else { return };
        let settings = self.params.get();
        let (nu, memory) = (settings.student_nu, settings.statistics_rows);
        let context_on = self.last_ms - self.first_ms;
        let context_on = settings.calendar && Calendar::after(context_on) != Calendar::Off;
        for samples in self.batch.drain(..rows.min(self.batch.len())) {
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
        self.half_learned = !self.batch.is_empty();
        if self.half_learned {
            return;
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
        let channels = self.channels.iter();
        let channels = channels.map(|c| c.limited + c.level.clipped + c.step.clipped);
        let ahead = self.forecasters.iter().map(|f| f.limited);
        self.stats.limited =
            self.limited + self.detector.limited() + channels.sum::<u64>() + ahead.sum::<u64>();
    }
}
