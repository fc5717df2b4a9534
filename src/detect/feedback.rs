//! Takes operators' verdicts on incidents.

use super::detector::Detector;
use super::lessons::{Lesson, Lessons, Subject};
use super::residuals::Witness;
use crate::row::{Feedback, IncidentEdge, Ruling};

/// Result of a feedback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruled {
    /// Taken.
    Taken,
    /// It had been said before: nothing changed.
    Known,
    /// No such incident, or it is too long ago.
    Unknown,
}

/// Consequences of a feedback.
#[derive(Clone, Debug, PartialEq)]
pub struct FeedbackResult {
    /// Whether it was taken.
    pub ruled: Ruled,
    /// The incident's edges that it made.
    pub edges: Vec<IncidentEdge>,
    /// The present is the new normal, also for predictors.
    pub accepted: bool,
}

impl FeedbackResult {
    fn nothing(ruled: Ruled) -> FeedbackResult {
        FeedbackResult {
            ruled,
            edges: Vec::new(),
            accepted: false,
        }
    }
}

impl Detector {
    /// Takes an operator's ruling on one of the last eight incidents. `ts_ms` is the moment of the
    /// last row.
    ///
    /// | ruling | an open incident | any |
    /// |---|---|---|
    /// | false | ends, its evidence is forgotten; channels that stand still or are silent may | what it taught counts in full, and it counts as a false alarm measured by hand, see [`super::rulings`] |
    /// | true | goes on until the fault is gone, teaches nothing more | what it taught is taken out, and it was no alarm too many: the fault is no precedent when it returns |
    /// | new normal | ends as if it had reached the hold limit | kept with the incident |
    ///
    /// A later ruling replaces an earlier one; changes that a closed incident had made stay.
    pub fn feedback(&mut self, feedback: Feedback, ts_ms: i64) -> FeedbackResult {
        let is_last = self.incident().is_some_and(|i| i.id == feedback.incident);
        let Some(entry) = self.log.find_mut(feedback.incident) else {
            return FeedbackResult::nothing(Ruled::Unknown);
        };
        let before = entry.incident.verdict.replace(feedback.ruling);
        if before == Some(feedback.ruling) {
            return FeedbackResult::nothing(Ruled::Known);
        }
        let mut lessons = std::mem::take(&mut entry.lessons);
        let charges = std::mem::take(&mut entry.charges);
        match feedback.ruling {
            Ruling::False => self.learn_in_full(&mut lessons),
            Ruling::True => self.unlearn(&mut lessons),
            Ruling::NewNormal => {}
        }
        match (before, feedback.ruling) {
            (_, Ruling::True) => self.recharge(&charges, -1.0),
            (Some(Ruling::True), _) => self.recharge(&charges, 1.0),
            _ => {}
        }
        match (before, feedback.ruling) {
            (_, Ruling::False) => self.rulings.false_alarm(),
            (Some(Ruling::False), _) => self.rulings.withdraw(),
            _ => {}
        }
        let mut result = FeedbackResult::nothing(Ruled::Taken);
        if is_last && self.is_open() && feedback.ruling != Ruling::True {
            result.accepted = feedback.ruling == Ruling::NewNormal;
            let closed = self.end_incident(ts_ms, result.accepted);
            result.edges.extend(closed);
        }
        if let Some(entry) = self.log.find_mut(feedback.incident) {
            (entry.lessons, entry.charges) = (lessons, charges);
            let edge = IncidentEdge::Judged(entry.incident.clone());
            result.edges.push(edge);
        }
        result
    }

    /// Ends the open incident by order.
    fn end_incident(&mut self, ts_ms: i64, accepted: bool) -> Option<IncidentEdge> {
        if accepted {
            self.accept();
        } else {
            for monitor in &mut self.channels {
                monitor.reset();
                monitor.accept_runs();
            }
            self.level.dismiss();
        }
        self.incidents.end();
        self.close_incident(ts_ms, accepted)
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
