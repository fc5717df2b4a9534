//! The detector on residuals of a known law.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use super::*;
use crate::row::{IncidentEdge, Kind};

/// Sum of twelve uniforms: as good as standard normal.
fn normal(rng: &mut Pcg64) -> f64 {
    (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0
}

fn moment(row: u64) -> Moment {
    Moment {
        ts_ms: row as i64 * 60_000,
        row,
        period_ms: 60_000.0,
        statistics_rows: 2_000.0,
        memory_rows: 10_000.0,
    }
}

/// A detector of one channel whose level moves by `shift` sd after 1,500 rows; the kinds of the
/// incidents that opened.
fn kinds_of_incidents(settings: &DetectSettings, shift: f64) -> Vec<Kind> {
    let mut rng = Pcg64::seed_from_u64(3);
    let mut detector = Detector::new(settings);
    detector.add([ChannelOptions::default()]);
    let mut kinds = Vec::new();
    for row in 1..=1_560 {
        let level = normal(&mut rng) + if row > 1_500 { shift } else { 0.0 };
        let residuals = [ChannelResiduals {
            step: Some(Residual::unscaled(normal(&mut rng))),
            context: Some(Residual::unscaled(level)),
            ..ChannelResiduals::unpredicted(level)
        }];
        let judgement = detector.judge(moment(row), &residuals);
        if let Some(IncidentEdge::Opened(incident)) = judgement.edge {
            kinds.push(incident.kind);
        }
        detector.learn(moment(row), &residuals);
    }
    kinds
}

#[test]
fn a_level_that_moves_is_a_drift_whichever_predictors_are_heard() {
    for heads in [Heads::Both, Heads::Context] {
        for shift in [true, false] {
            let settings = DetectSettings {
                heads,
                shift,
                ..DetectSettings::default()
            };
            let kinds = kinds_of_incidents(&settings, 6.0);
            assert_eq!(kinds, [Kind::Drift], "{heads:?}, shift {shift}");
        }
    }
}

#[test]
fn of_levels_that_are_off_together_the_one_that_explains_the_others_is_told() {
    let settings = DetectSettings::default();
    let mut rng = Pcg64::seed_from_u64(5);
    let mut detector = Detector::new(&settings);
    detector.add([ChannelOptions::default(); 2]);
    let mut told = Vec::new();
    for row in 1..=3_200 {
        // The first channel's level moves; the second looks further off, since it is predicted from it.
        let (moved, shifts) = if row > 3_000 {
            (4.0, [2.0, 2.5])
        } else {
            (0.0, [0.0, 0.0])
        };
        let levels = [normal(&mut rng) + moved, normal(&mut rng)];
        let noise = normal(&mut rng);
        let residuals = [0, 1].map(|c| ChannelResiduals {
            lasting: Some(Residual::unscaled(noise + shifts[c])),
            ..ChannelResiduals::unpredicted(levels[c])
        });
        let judgement = detector.judge(moment(row), &residuals);
        if let Some(IncidentEdge::Opened(incident)) = judgement.edge {
            told.push((row, incident.channels[0].channel));
        }
        detector.learn(moment(row), &residuals);
    }
    let first = told.iter().find(|(row, _)| *row > 3_000);
    assert!(matches!(first, Some((_, 0))), "{told:?}");
}

/// A channel that goes in turn to 0 and 10 and is off by `off` from row 6,000 on, while no predictor errs.
fn unusual(settings: &DetectSettings, off: f64) -> (Detector, Vec<Kind>) {
    let mut rng = Pcg64::seed_from_u64(8);
    let mut detector = Detector::new(settings);
    detector.add([ChannelOptions::default()]);
    let mut kinds = Vec::new();
    for row in 1..=6_060 {
        let added = if row >= 6_000 { off } else { 0.0 };
        let level = if row % 100 < 40 { 10.0 } else { 0.0 } + 0.2 * normal(&mut rng) + added;
        let residuals = [ChannelResiduals {
            step: Some(Residual::unscaled(normal(&mut rng))),
            ..ChannelResiduals::unpredicted(level)
        }];
        let judgement = detector.judge(moment(row), &residuals);
        if let Some(IncidentEdge::Opened(incident)) = judgement.edge {
            kinds.push(incident.kind);
        }
        detector.learn(moment(row), &residuals);
    }
    (detector, kinds)
}

#[test]
fn a_level_that_is_merely_unusual_is_told_and_the_predictors_go_on_learning() {
    let settings = DetectSettings::default();
    let (detector, kinds) = unusual(&settings, 3.0);
    assert_eq!(kinds, [Kind::Drift]);
    assert_eq!(detector.learning_weight(), 1.0);
    assert_eq!(unusual(&settings, 0.0).1, []);
    let without = DetectSettings {
        usual: false,
        ..settings
    };
    assert_eq!(unusual(&without, 3.0).1, []);
}
