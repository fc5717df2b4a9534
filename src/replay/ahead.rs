//! How good forecasts further ahead, soft sensors' rivals and the probabilities of states were.

use std::collections::VecDeque;

use serde::Serialize;

use super::Z90;
use crate::row::{Forecast, Odds, Outcome};

/// Cells of confidence in which accuracy is compared with it.
const CELLS: usize = 10;

/// One channel at one horizon.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HorizonSummary {
    /// Rows ahead.
    pub horizon: u32,
    /// The channel.
    pub channel: String,
    /// Forecasts compared with what came.
    pub scored: u64,
    /// RMSE, in the channel's units.
    pub rmse: f64,
    /// The same over that of persistence at this horizon.
    pub rmse_over_persistence: f64,
    /// Share of values inside the nominal 90% interval, mean -+ 1.645 sd.
    pub coverage90: f64,
    #[serde(skip)]
    sums: [f64; 3],
}

/// One channel of states.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StateSummary {
    /// The channel.
    pub channel: String,
    /// States compared with their probabilities.
    pub scored: u64,
    /// Share of rows in which the likeliest state came.
    pub accuracy: f64,
    /// The same of always naming the most frequent state so far.
    pub accuracy_of_the_commonest: f64,
    /// Mean of -ln p of the state that came, nats.
    pub log_loss: f64,
    /// The same of the shares of the states so far.
    pub log_loss_of_the_shares: f64,
    /// Mean distance between confidence and accuracy in ten cells of confidence (expected
    /// calibration error), 0 to 1.
    pub calibration_error: f64,
    #[serde(skip)]
    counts: Vec<f64>,
    #[serde(skip)]
    sums: [f64; 4],
    /// Rows, sum of confidence, rows that were right.
    #[serde(skip)]
    cells: [[f64; 3]; CELLS],
}

/// Forecasts that wait for what they are of.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Ahead {
    /// A queue for each entry of [`Ahead::horizons`]: the forecast, and the value when it was made.
    #[serde(skip)]
    waiting: Vec<VecDeque<(Forecast, f64)>>,
    /// A figure a horizon and channel.
    pub horizons: Vec<HorizonSummary>,
    /// A figure a channel of states.
    pub states: Vec<StateSummary>,
}

impl Ahead {
    /// Takes one row's outcome.
    pub fn observe(&mut self, channels: &[impl AsRef<str>], outcome: &Outcome) {
        let name = |channel: usize| channels[channel].as_ref().to_owned();
        for (i, &forecast) in outcome.forecasts.iter().enumerate() {
            if self.horizons.len() == i {
                self.waiting.push(VecDeque::new());
                self.horizons.push(HorizonSummary::new(
                    forecast.horizon,
                    name(forecast.channel),
                ));
            }
            let value = outcome.channels[forecast.channel].value;
            let waiting = &mut self.waiting[i];
            if waiting.len() == forecast.horizon as usize
                && let Some((made, then)) = waiting.pop_front()
            {
                self.horizons[i].score(made, then, value);
            }
            waiting.push_back((forecast, value));
        }
        for (i, odds) in outcome.odds.iter().enumerate() {
            if self.states.len() == i {
                self.states.push(StateSummary::new(name(odds.channel)));
            }
            self.states[i].score(odds);
        }
    }

    /// Puts the figures together.
    pub fn finish(&mut self) {
        self.horizons.iter_mut().for_each(HorizonSummary::fill);
        self.states.iter_mut().for_each(StateSummary::fill);
    }
}

impl HorizonSummary {
    fn new(horizon: u32, channel: String) -> HorizonSummary {
        HorizonSummary {
            horizon,
            channel,
            scored: 0,
            rmse: f64::NAN,
            rmse_over_persistence: f64::NAN,
            coverage90: f64::NAN,
            sums: [0.0; 3],
        }
    }

    fn score(&mut self, made: Forecast, then: f64, value: f64) {
        let (error, change) = (value - made.mean, value - then);
        if (error + change + made.sd).is_nan() {
            return;
        }
        self.scored += 1;
        let inside = f64::from(u8::from(error.abs() <= Z90 * made.sd));
        let terms = [error * error, change * change, inside];
        self.sums
            .iter_mut()
            .zip(terms)
            .for_each(|(sum, x)| *sum += x);
    }

    fn fill(&mut self) {
        let n = self.scored as f64;
        let [square, persistence, inside] = self.sums;
        self.rmse = (square / n).sqrt();
        self.rmse_over_persistence = (square / persistence).sqrt();
        self.coverage90 = inside / n;
    }
}

impl StateSummary {
    fn new(channel: String) -> StateSummary {
        StateSummary {
            channel,
            scored: 0,
            accuracy: f64::NAN,
            accuracy_of_the_commonest: f64::NAN,
            log_loss: f64::NAN,
            log_loss_of_the_shares: f64::NAN,
            calibration_error: f64::NAN,
            counts: Vec::new(),
            sums: [0.0; 4],
            cells: [[0.0; 3]; CELLS],
        }
    }

    fn score(&mut self, odds: &Odds) {
        let (Some(seen), Some(likeliest)) = (odds.seen, odds.likeliest()) else {
            return;
        };
        let Some(&(_, p)) = odds.states.get(seen) else {
            return;
        };
        self.counts.resize(odds.states.len(), 0.0);
        let total: f64 = self.counts.iter().sum();
        let most = self.counts.iter().copied().fold(0.0, f64::max);
        // One of each to begin with, so that nothing is impossible.
        let share = (self.counts[seen] + 1.0) / (total + self.counts.len() as f64);
        let yes = |yes: bool| f64::from(u8::from(yes));
        let right = yes(likeliest == seen);
        let common = yes(most > 0.0 && self.counts[seen] == most);
        let terms = [right, common, -p.max(1e-300).ln(), -share.ln()];
        self.sums
            .iter_mut()
            .zip(terms)
            .for_each(|(sum, x)| *sum += x);
        let confidence = odds.states[likeliest].1;
        let cell = ((confidence * CELLS as f64) as usize).min(CELLS - 1);
        let parts = [1.0, confidence, right];
        self.cells[cell]
            .iter_mut()
            .zip(parts)
            .for_each(|(sum, x)| *sum += x);
        self.counts[seen] += 1.0;
        self.scored += 1;
    }

    fn fill(&mut self) {
        let n = self.scored as f64;
        [
            self.accuracy,
            self.accuracy_of_the_commonest,
            self.log_loss,
            self.log_loss_of_the_shares,
        ] = self.sums.map(|sum| sum / n);
        let off = self
            .cells
            .iter()
            .map(|[_, sure, right]| (sure - right).abs());
        self.calibration_error = off.sum::<f64>() / n;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::ChannelOutcome;

    fn outcome(value: f64, forecast: f64, odds: Option<Odds>) -> Outcome {
        Outcome {
            ts_ms: 0,
            arrival_ms: 0,
            row: 0,
            warming_up: false,
            score: 0.0,
            severity: 0.0,
            anomaly: false,
            kind: None,
            channels: vec![ChannelOutcome::unknown(value)],
            forecasts: vec![Forecast {
                channel: 0,
                horizon: 3,
                mean: forecast,
                sd: 1.0,
            }],
            odds: odds.into_iter().collect(),
            edge: None,
        }
    }

    #[test]
    fn a_forecast_is_compared_with_the_row_that_it_is_of() {
        let mut ahead = Ahead::default();
        // The value climbs by 1 a row; the forecast is off by a half, persistence by three.
        for t in 0..50 {
            ahead.observe(&["a"], &outcome(f64::from(t), f64::from(t) + 3.5, None));
        }
        ahead.finish();
        let figures = &ahead.horizons[0];
        assert_eq!((figures.scored, figures.rmse), (47, 0.5));
        assert!((figures.rmse_over_persistence - 0.5 / 3.0).abs() < 1e-12);
        assert_eq!(figures.coverage90, 1.0);
    }

    #[test]
    fn too_sure_is_a_calibration_error() {
        let mut ahead = Ahead::default();
        for t in 0..100 {
            let odds = Odds {
                channel: 0,
                seen: Some(usize::from(t % 4 == 0)),
                states: vec![("a".into(), 0.9), ("b".into(), 0.1)],
            };
            ahead.observe(&["a"], &outcome(0.0, 0.0, Some(odds)));
        }
        ahead.finish();
        let figures = &ahead.states[0];
        assert_eq!(figures.accuracy, 0.75);
        assert!((figures.calibration_error - 0.15).abs() < 1e-9);
        let log_loss = -(0.75 * 0.9f64.ln() + 0.25 * 0.1f64.ln());
        assert!((figures.log_loss - log_loss).abs() < 1e-9);
        assert!((figures.log_loss_of_the_shares - 0.58).abs() < 0.05);
    }
}
