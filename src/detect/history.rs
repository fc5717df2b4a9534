//! Remembers how the residuals of one witness and channel are distributed and correlated.

use serde::{Deserialize, Serialize};

use super::autocorrelation::Autocorrelation;
use super::batch_means::BatchMeans;
use super::channel::ChannelKind;
use super::evalue::ln_e_values;
use super::residuals::{Scored, ScoredResidual, Witness};
use crate::num::residual_histogram::ResidualHistogram;

/// p-values from here on are counted, not extrapolated.
const RARE: f64 = 0.05;

/// How a residual is learned.
#[derive(Clone, Copy, Debug)]
pub struct Learning {
    /// Weight, 0..=1.
    pub weight: f64,
    /// Residuals that are remembered.
    pub memory: f64,
}

/// Distribution and autocorrelation of past residuals.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResidualHistory {
    histogram: ResidualHistogram,
    correlation: Autocorrelation,
    /// None where residuals have no level of their own.
    batch_means: Option<BatchMeans>,
    /// The residuals have a sign to be correlated by.
    is_signed: bool,
}

impl ResidualHistory {
    /// An empty history for a witness of a channel.
    pub fn new(witness: Witness, kind: ChannelKind) -> ResidualHistory {
        // The last row's level is in the prediction of the next one, but in no soft sensor's.
        let has_level = witness != Witness::Step || kind != ChannelKind::Number;
        ResidualHistory {
            histogram: ResidualHistogram::default(),
            correlation: Autocorrelation::default(),
            batch_means: has_level.then(BatchMeans::default),
            is_signed: witness != Witness::Event,
        }
    }

    /// Conformal p-value of a score, no less than (n + 1)^-2 after n residuals: the tail is
    /// extrapolated, but not beyond what twice the experience could show.
    fn p_value(&self, score: f64) -> f64 {
        let p = self.histogram.p_value(score);
        if p < RARE {
            p.max((self.histogram.mass() + 1.0).powi(-2))
        } else {
            p
        }
    }

    /// Exponent in (0, 1] by which evidence is discounted for the residuals' autocorrelation.
    fn discount(&self) -> f64 {
        if !self.is_signed {
            return 1.0;
        }
        let lag = self.correlation.discount();
        let batch_means = self.batch_means.as_ref();
        batch_means.map_or(lag, |means| means.discount(lag))
    }

    /// Learns a residual.
    pub fn observe(&mut self, scored: ScoredResidual, how: Learning) {
        let Learning { weight, memory } = how;
        self.histogram.observe(scored.score, weight, memory);
        self.correlation.observe(scored.z, weight, memory);
        if let Some(means) = &mut self.batch_means {
            means.observe(scored.z, weight);
        }
    }

    /// Whether a score is among the largest twentieth.
    pub fn is_rare(&self, score: f64) -> bool {
        self.histogram.p_value(score) < RARE
    }

    /// Adds `weight` residuals of this score, or takes them out where it is negative.
    pub fn reweigh(&mut self, score: f64, weight: f64) {
        if weight < 0.0 {
            self.histogram.forget(score, -weight);
        } else {
            self.histogram.add(score, weight);
        }
    }

    /// Keeps the share `keep` of what is known.
    pub fn fade(&mut self, keep: f64) {
        self.histogram.fade(keep);
    }

    /// Another predictor stands behind the residuals from now on: the share `keep` is kept of what
    /// is known, and nothing of how block means vary.
    pub fn renew(&mut self, keep: f64) {
        self.fade(keep);
        self.correlation.fade(keep);
        self.batch_means = self.batch_means.as_ref().map(|_| BatchMeans::default());
    }
}

/// Scores the residuals of `witness` of every channel against their history, many at a time, so
/// that the logarithms vectorise. `room` is working memory.
pub fn score_all<'a>(
    scored: &mut [Scored],
    witness: Witness,
    history: impl Fn(usize) -> &'a ResidualHistory,
    discounted: bool,
    room: &mut Vec<f32>,
) {
    room.clear();
    room.extend(
        scored
            .iter()
            .filter_map(|s| s.get(witness))
            .map(|r| r.z as f32),
    );
    ResidualHistogram::score_all(room);
    let mut next = room.iter_mut();
    for (c, scored) in scored.iter_mut().enumerate() {
        let Some(residual) = scored.get_mut(witness) else {
            continue;
        };
        let value = next.next().expect("one a residual");
        residual.score = f64::from(*value);
        let p = if residual.is_at_rest {
            1.0
        } else {
            (history(c).p_value(residual.score) * residual.p_factor).min(1.0)
        };
        *value = p as f32;
    }
    ln_e_values(room);
    let mut next = room.iter();
    for (c, scored) in scored.iter_mut().enumerate() {
        let Some(residual) = scored.get_mut(witness) else {
            continue;
        };
        let value = f64::from(*next.next().expect("one a residual"));
        let discount = if discounted {
            history(c).discount()
        } else {
            1.0
        };
        residual.ln_e = discount * value;
    }
}
