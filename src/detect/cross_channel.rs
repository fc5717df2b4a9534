//! Judges each channel's context residual given the other channels' residuals of the same row.

use serde::{Deserialize, Serialize};

use super::history::Learning;
use super::joint::{Joint, MAX_CHANNELS};
use super::residuals::{Residual, Scored, Witness};

/// The covariance of the context residuals, and the residuals of the present row.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct CrossChannelTest {
    joint: Joint,
    #[serde(skip)]
    z: Vec<f64>,
    #[serde(skip)]
    conditional: Vec<f64>,
}

impl CrossChannelTest {
    /// Fills the conditional residual of every channel that has a context residual; none for a
    /// single channel, for too many, or before the covariance is known.
    pub fn judge(&mut self, scored: &mut [Scored]) {
        if scored.len() < 2 || scored.len() > MAX_CHANNELS {
            return;
        }
        self.joint.resize(scored.len());
        self.z.clear();
        let context = |s: &Scored| s.get(Witness::Context).map_or(0.0, |r| r.z);
        self.z.extend(scored.iter().map(context));
        if !self.joint.conditional(&self.z, &mut self.conditional) {
            return;
        }
        for (scored, &z) in scored.iter_mut().zip(&self.conditional) {
            let has_context = scored.get(Witness::Context).is_some();
            let residual = has_context.then_some(Residual::new(z));
            scored.set(Witness::CrossChannel, residual);
        }
    }

    /// Learns the row that was judged last.
    pub fn observe(&mut self, n_channels: usize, how: Learning) {
        if self.z.len() == n_channels {
            self.joint.observe(&self.z, how.weight, how.memory);
        }
    }
}
