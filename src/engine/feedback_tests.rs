//! Operators' rulings on incidents, through the engine.

use super::*;
use crate::detect::Ruled;
use crate::row::{Feedback, IncidentEdge, Outcome, Row, Ruling};

/// A calm channel, and a jump by `shift` after `calm` rows.
fn run(engine: &mut Engine, rows: std::ops::Range<u64>, shift: f64) -> Vec<Outcome> {
    let noise = |i: u64| ((i * 7919 % 1009) as f64 / 1009.0 - 0.5) * 0.2;
    rows.map(|i| {
        engine.step(&Row {
            ts_ms: i as i64 * 60_000,
            arrival_ms: i as i64 * 60_000,
            values: vec![(i as f64 * 0.1).sin() + noise(i) + shift],
            held: Vec::new(),
        })
    })
    .collect()
}

fn engine() -> Engine {
    let mut settings = EngineSettings::default();
    settings.detect.incident.hold_rows = 10_000;
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
fn false_ends_the_incident_and_the_evidence_is_forgotten() {
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
}

#[test]
fn true_confirms_and_the_incident_goes_on() {
    let mut engine = engine();
    let id = engine.incident().unwrap().id;
    let (ruled, out) = rule(&mut engine, id, Ruling::True);
    assert_eq!((ruled, out.len()), (Ruled::Taken, 1));
    assert!(out[0].anomaly && engine.detector().is_open());
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
}

#[test]
fn a_restart_right_after_a_ruling_changes_no_bit_of_what_follows() {
    let mut engine = engine();
    let bytes = |engine: &Engine| postcard::to_allocvec(engine).expect("an engine can be saved");
    let same_after = |engine: &Engine, from: u64, what: &str| {
        let mut restored: Engine = postcard::from_bytes(&bytes(engine)).expect("and loaded");
        let mut going_on = engine.clone();
        run(&mut going_on, from..from + 60, 0.0);
        run(&mut restored, from..from + 60, 0.0);
        assert!(bytes(&going_on) == bytes(&restored), "{what}");
    };
    same_after(&engine, 1530, "an open incident");
    let id = engine.incident().unwrap().id;
    for (ruling, what) in [
        (Ruling::True, "true"),
        (Ruling::NewNormal, "new normal"),
        (Ruling::False, "false"),
    ] {
        let mut ruled = engine.clone();
        rule(&mut ruled, id, ruling);
        same_after(&ruled, 1530, what);
    }
    rule(&mut engine, id, Ruling::False);
    run(&mut engine, 1530..1531, 12.0);
    same_after(&engine, 1531, "a row after a ruling");
}

/// Times of ten that a fault which comes back every 500 rows is flagged, where each incident is ruled so once it
/// has ended.
fn flagged_again(ruling: Option<Ruling>) -> usize {
    let mut engine = engine();
    let mut flagged = 0;
    for n in 4..14 {
        let at = n * 500;
        let mut outcomes = run(&mut engine, at..at + 15, 2.0);
        flagged += usize::from(outcomes.iter().any(|outcome| outcome.anomaly));
        outcomes.extend(run(&mut engine, at + 15..at + 500, 0.0));
        for outcome in &outcomes {
            if let (Some(IncidentEdge::Closed(incident)), Some(ruling)) = (&outcome.edge, ruling) {
                rule(&mut engine, incident.id, ruling);
            }
        }
    }
    flagged
}

#[test]
fn a_fault_that_is_confirmed_is_flagged_whenever_it_returns() {
    let confirmed = flagged_again(Some(Ruling::True));
    assert_eq!(confirmed, 10);
    let denied = flagged_again(Some(Ruling::False));
    assert!(denied < confirmed, "{denied}");
}
