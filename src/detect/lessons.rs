//! Notes what an incident taught the detector, so that a verdict can take it out or count it in full.

use serde::{Deserialize, Serialize};

/// Lessons of an incident that are noted; what is beyond stays as it was learned.
const MAX_LESSONS: usize = 96;
/// Residuals whose scores are this near count as one lesson: a bin of the histogram.
const NEAR: f32 = 0.15;

/// A quantity that was learned during an incident.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub enum Subject {
    /// A residual score of a witness of a channel.
    Residual(u16, u8),
    /// The peak of an excursion of a channel's evidence.
    Evidence(u16),
    /// A peak of how far a channel's level is off for long.
    Lasting(u16),
    /// A peak of how unusual a channel's level is for long.
    Usual(u16),
    /// A peak of the joint level.
    Level,
}

/// A learned value of a subject, with its weight.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Lesson {
    pub(super) subject: Subject,
    pub(super) value: f32,
    /// Number of times, and the sum of their weights.
    pub(super) times: f32,
    pub(super) weight: f32,
}

/// The lessons of one incident.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Lessons(pub(super) Vec<Lesson>);

impl Lessons {
    /// Notes that `value` was learned with weight `weight`.
    pub fn note(&mut self, subject: Subject, value: f64, weight: f64) {
        let (value, weight) = (value as f32, weight as f32);
        let alike =
            |lesson: &&mut Lesson| lesson.subject == subject && (lesson.value - value).abs() < NEAR;
        if let Some(known) = self.0.iter_mut().find(alike) {
            known.times += 1.0;
            known.weight += weight;
        } else if self.0.len() < MAX_LESSONS {
            self.0.push(Lesson {
                subject,
                value,
                times: 1.0,
                weight,
            });
        }
    }
}
