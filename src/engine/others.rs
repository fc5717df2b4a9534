//! Each channel's context residual judged given the other channels' residuals of the same row.

use serde::{Deserialize, Serialize};

use super::head::{Judged, Learning, Past, judge_all};
use crate::detect::{Joint, MAX_JOINT_CHANNELS};

/// The covariance of the residuals, and what conditional residuals usually look like.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Others {
    joint: Joint,
    past: Vec<Past>,
    #[serde(skip)]
    z: Vec<f64>,
    #[serde(skip)]
    conditional: Vec<f64>,
}

impl Others {
    /// Fills the third judgement of every channel that has a second; none for a single channel,
    /// for too many, or before the covariance is known.
    pub fn judge(&mut self, judged: &mut [[Option<Judged>; 3]], temper: bool, room: &mut Vec<f32>) {
        if judged.len() < 2 || judged.len() > MAX_JOINT_CHANNELS {
            return;
        }
        self.past.resize_with(judged.len(), Past::default);
        self.joint.resize(judged.len());
        self.z.clear();
        self.z
            .extend(judged.iter().map(|j| j[1].map_or(0.0, |j| j.z)));
        if !self.joint.conditional(&self.z, &mut self.conditional) {
            return;
        }
        for (judged, &z) in judged.iter_mut().zip(&self.conditional) {
            judged[2] = judged[1].map(|_| Judged::unscored(z));
        }
        judge_all(judged, 2, &self.past, temper, room);
    }

    /// Learns the row.
    pub fn observe(&mut self, judged: &[[Option<Judged>; 3]], how: Learning) {
        if self.z.len() != judged.len() {
            return;
        }
        for (past, judged) in self.past.iter_mut().zip(judged) {
            if let Some(j) = judged[2] {
                past.observe(j, how);
            }
        }
        self.joint.observe(&self.z, how.weight, how.memory);
    }

    /// As [`Past::renew`].
    pub fn renew(&mut self, keep: f64) {
        self.past.iter_mut().for_each(|past| past.renew(keep));
    }

    /// Keeps the share `keep` of the past scores.
    pub fn fade(&mut self, keep: f64) {
        self.past.iter_mut().for_each(|past| past.fade(keep));
    }
}
