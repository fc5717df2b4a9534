//! What an operator says of an incident, and what it changes.

use super::Engine;
use crate::detect::Evidence;
use crate::row::{Feedback, Incident, IncidentEdge, Outcome, Ruling};

/// Incidents before the last one that can still be ruled on.
const PAST: usize = 7;

/// What became of a feedback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruled {
    /// Taken.
    Taken,
    /// It had been said before: nothing changed.
    Known,
    /// No such incident, or it is too long ago.
    Unknown,
}

impl Engine {
    /// Takes an operator's ruling on one of the last eight incidents; appends to `out` an outcome
    /// without channels for each edge that it makes.
    ///
    /// | ruling | an open incident | any |
    /// |---|---|---|
    /// | false | ends, its evidence is forgotten; what stands still or is silent may | counts as a false alarm measured by hand, see [`crate::detect::Rulings`] |
    /// | true | goes on | kept with the incident |
    /// | new normal | ends as if it had reached the hold limit | kept with the incident |
    ///
    /// A later ruling replaces an earlier one; what a closed incident had changed stays.
    pub fn feedback(&mut self, feedback: Feedback, out: &mut Vec<Outcome>) -> Ruled {
        self.settle();
        let last = self.incident.as_mut();
        let is_last = last.as_ref().is_some_and(|i| i.id == feedback.incident);
        let mut known = last.into_iter().chain(&mut self.past);
        let Some(incident) = known.find(|i| i.id == feedback.incident) else {
            return Ruled::Unknown;
        };
        let before = incident.verdict.replace(feedback.ruling);
        if before == Some(feedback.ruling) {
            return Ruled::Known;
        }
        match (before, feedback.ruling) {
            (_, Ruling::False) => self.rulings.false_alarm(),
            (Some(Ruling::False), _) => self.rulings.withdraw(),
            _ => {}
        }
        self.stats.rulings[feedback.ruling as usize] += 1;
        if is_last && self.incidents.is_open() && feedback.ruling != Ruling::True {
            self.end_by_ruling(feedback.ruling, out);
        }
        let mut known = self.incident.iter().chain(&self.past);
        if let Some(incident) = known.find(|i| i.id == feedback.incident) {
            let edge = IncidentEdge::Judged(incident.clone());
            out.push(self.outcome_of(edge));
        }
        Ruled::Taken
    }

    /// Ends the open incident.
    fn end_by_ruling(&mut self, ruling: Ruling, out: &mut Vec<Outcome>) {
        if ruling == Ruling::NewNormal {
            self.accept();
        } else {
            self.evidence.iter_mut().for_each(Evidence::reset);
            for channel in &mut self.channels {
                channel.stuck.accept();
                channel.gap.accept();
            }
        }
        self.incidents.end();
        self.stats.open = false;
        if let Some(incident) = &mut self.incident {
            incident.end_ms = Some(self.last_ms);
            incident.accepted = ruling == Ruling::NewNormal;
            let edge = IncidentEdge::Closed(incident.clone());
            out.push(self.outcome_of(edge));
        }
    }

    /// The present state with an edge that no row made.
    fn outcome_of(&self, edge: IncidentEdge) -> Outcome {
        let anomaly = self.incidents.is_open();
        let open = self.incident.as_ref().filter(|_| anomaly);
        let score = self.evidence.iter().map(Evidence::get).fold(0.0, f64::max);
        Outcome {
            ts_ms: self.last_ms,
            arrival_ms: self.last_ms,
            row: self.rows,
            warming_up: self.rows <= self.params.get().warm_up_rows,
            score: score / self.bar,
            anomaly,
            kind: open.map(|incident| incident.kind),
            channels: Vec::new(),
            forecasts: Vec::new(),
            odds: Vec::new(),
            edge: Some(edge),
        }
    }

    /// Makes room for a new incident: the one before is kept for rulings.
    pub(super) fn remember(&mut self, incident: Incident) {
        if let Some(before) = self.incident.replace(incident) {
            self.past.push(before);
        }
        let excess = self.past.len().saturating_sub(PAST);
        self.past.drain(..excess);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{EngineParams, EngineSettings};
    use crate::row::Row;

    /// A calm channel, and a jump by `shift` after `calm` rows.
    fn run(engine: &mut Engine, rows: std::ops::Range<u64>, shift: f64) -> Vec<Outcome> {
        let noise = |i: u64| ((i * 7919 % 1009) as f64 / 1009.0 - 0.5) * 0.2;
        rows.map(|i| {
            engine.step(&Row {
                ts_ms: i as i64 * 60_000,
                arrival_ms: i as i64 * 60_000,
                values: vec![(i as f64 * 0.1).sin() + noise(i) + shift],
            })
        })
        .collect()
    }

    fn engine() -> Engine {
        let mut settings = EngineSettings::default();
        settings.incident.hold_rows = 10_000;
        let mut engine = Engine::new(&EngineParams::new(settings).unwrap(), 1);
        run(&mut engine, 0..1500, 0.0);
        let last = run(&mut engine, 1500..1530, 3.0);
        assert!(last.last().unwrap().anomaly, "the jump is not flagged");
        engine
    }

    fn rule(engine: &mut Engine, incident: u64, ruling: Ruling) -> (Ruled, Vec<Outcome>) {
        let mut out = Vec::new();
        let ruled = engine.feedback(Feedback { incident, ruling }, &mut out);
        (ruled, out)
    }

    #[test]
    fn false_ends_the_incident_and_raises_the_bar_a_little() {
        let mut engine = engine();
        let id = engine.incident().unwrap().id;
        let (ruled, out) = rule(&mut engine, id, Ruling::False);
        assert_eq!(ruled, Ruled::Taken);
        assert!(matches!(&out[0].edge, Some(IncidentEdge::Closed(i)) if i.end_ms.is_some()));
        assert!(
            matches!(&out[1].edge, Some(IncidentEdge::Judged(i)) if i.verdict == Some(Ruling::False))
        );
        assert!(!out[1].anomaly && out[1].score == 0.0);
        assert_eq!(rule(&mut engine, id, Ruling::False).0, Ruled::Known);
        // Nearly two false alarms where one was expected.
        let mut deaf = engine.clone();
        deaf.rulings = Default::default();
        run(&mut engine, 1530..1546, 3.0);
        run(&mut deaf, 1530..1546, 3.0);
        let lift = engine.bar - deaf.bar;
        assert!((0.3..0.7).contains(&lift), "{lift} nats");
    }

    #[test]
    fn true_confirms_and_changes_nothing_else() {
        let mut engine = engine();
        let id = engine.incident().unwrap().id;
        let before = engine.bar;
        let (ruled, out) = rule(&mut engine, id, Ruling::True);
        assert_eq!((ruled, out.len()), (Ruled::Taken, 1));
        assert!(out[0].anomaly && engine.incidents.is_open());
        assert_eq!(engine.bar, before);
        assert_eq!(engine.stats().rulings, [0, 1, 0]);
    }

    #[test]
    fn a_new_normal_is_accepted_at_once() {
        let mut engine = engine();
        let id = engine.incident().unwrap().id;
        let (_, out) = rule(&mut engine, id, Ruling::NewNormal);
        assert!(matches!(&out[0].edge, Some(IncidentEdge::Closed(i)) if i.accepted));
        let after = run(&mut engine, 1530..1800, 3.0);
        let flagged = after.iter().filter(|o| o.anomaly).count();
        assert!(flagged < 30, "{flagged} rows flagged after it was accepted");
    }

    #[test]
    fn incidents_that_are_not_known_are_refused() {
        let mut engine = engine();
        for id in [0, 99, u64::MAX] {
            assert_eq!(rule(&mut engine, id, Ruling::True).0, Ruled::Unknown);
        }
        let first = engine.incident().unwrap().clone();
        for id in 100..120 {
            engine.remember(Incident {
                id,
                ..first.clone()
            });
        }
        assert_eq!(engine.past.len(), PAST);
        assert_eq!(rule(&mut engine, 111, Ruling::False).0, Ruled::Unknown);
        assert_eq!(rule(&mut engine, 112, Ruling::False).0, Ruled::Taken);
        assert_eq!(rule(&mut engine, 112, Ruling::True).0, Ruled::Taken);
        assert_eq!(
            engine.rulings.lift(1e9),
            0.0,
            "the false alarm is withdrawn"
        );
    }
}
