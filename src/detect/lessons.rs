//! Notes what an incident taught the detector, so that a verdict can take it out or count it in full.

use serde::{Deserialize, Serialize};

use super::detector::Detector;
use super::residuals::Witness;

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
    subject: Subject,
    value: f32,
    /// Number of times, and the sum of their weights.
    times: f32,
    weight: f32,
}

/// The lessons of one incident.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Lessons(Vec<Lesson>);

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

impl Detector {
    /// Takes lessons out again: the incident was a fault, and no precedent.
    pub(super) fn unlearn(&mut self, lessons: &mut Lessons) {
        for lesson in &mut lessons.0 {
            self.relearn(*lesson, -f64::from(lesson.weight));
            lesson.weight = 0.0;
        }
    }

    /// Counts lessons in full: the incident was none.
    pub(super) fn learn_in_full(&mut self, lessons: &mut Lessons) {
        for lesson in &mut lessons.0 {
            self.relearn(*lesson, f64::from(lesson.times - lesson.weight));
            lesson.weight = lesson.times;
        }
    }

    fn relearn(&mut self, lesson: Lesson, weight: f64) {
        let value = f64::from(lesson.value);
        match lesson.subject {
            Subject::Level => self.level.reweigh(value, weight),
            Subject::Lasting(c) => self.channels[usize::from(c)].lasting.reweigh(value, weight),
            Subject::Usual(c) => {
                let usual = &mut self.channels[usize::from(c)].usual;
                usual.reweigh(value, weight);
            }
            Subject::Evidence(c) => self.channels[usize::from(c)].record(value, weight),
            Subject::Residual(c, witness) => {
                let witness = Witness::ALL[usize::from(witness)];
                if let Some(history) = self.channels[usize::from(c)].history_mut(witness) {
                    history.reweigh(value, weight);
                }
            }
        }
    }
}
