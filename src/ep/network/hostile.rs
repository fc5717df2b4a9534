//! A learner fed what a plant can send at its worst: every belief stays finite, and the report says
//! what was done.

use proptest::prelude::*;

use super::batch::{BatchLearner, BatchSchedule};
use super::sample::{LabelledInput, Observation};
use super::*;
use crate::ep::{Family, NetworkDraft, Sites};
use crate::num::counter;

const SCHEDULES: [BatchSchedule; 3] = [
    BatchSchedule::Sequential,
    BatchSchedule::Exact,
    BatchSchedule::Averaged,
];

type HostileSample = ([f32; 3], [f32; 1]);

fn network(inputs: usize) -> Network {
    let mut draft = NetworkDraft::stream(inputs, &[12], 1, inputs as f32);
    draft.memory = Some(500.0);
    Network::new(&draft.build().unwrap())
}

/// Asserts that every mean and variance is finite and no variance negative.
fn assert_sane(net: &mut Network) {
    let all: Vec<u32> = (0..net.inputs() as u32).collect();
    net.visit(&all, &mut |m, s, _| {
        assert!(m.iter().all(|m| m.is_finite()), "means {m:?}");
        let sane = |s: &f32| s.is_finite() && *s >= 0.0;
        assert!(s.iter().all(sane), "variances {s:?}");
    });
}

fn normal(i: u32) -> HostileSample {
    let draw = |j| counter::bell(counter::row_key(11, i), j);
    let x = [draw(0), draw(1), 1.0];
    (x, [0.5 * x[0] - 0.3 * x[1] + 0.1 * draw(2)])
}

fn input(x: &[f32; 3]) -> Input<'_> {
    Input {
        index: &[0, 1, 2],
        value: x,
    }
}

/// Learns the rows in batches of `size`.
fn learn(schedule: BatchSchedule, size: usize, rows: &[HostileSample]) -> (Network, Report) {
    let samples: Vec<LabelledInput<'_>> = rows
        .iter()
        .map(|(x, y)| (input(x), Observation::Values(y, &[0.05])))
        .collect();
    let mut net = network(3);
    let report = BatchLearner::new(schedule, size, 3).learn(&mut net, &samples, 1.0);
    assert_sane(&mut net);
    (net, report)
}

#[test]
fn constants_are_learned_and_nothing_is_skipped() {
    let rows = [([2.0, -1.0, 1.0], [3.0]); 600];
    for schedule in SCHEDULES {
        let (mut net, report) = learn(schedule, 16, &rows);
        assert_eq!(report.skipped, 0, "{schedule:?}");
        assert_eq!(report.accepted + report.damped, 600, "{schedule:?}");
        let seen = net.predict(input(&rows[0].0));
        assert!((seen.mean[0] - 3.0).abs() < 0.1, "{schedule:?} {seen:?}");
        assert!(seen.variance[0] < 0.05, "{schedule:?} {seen:?}");
    }
}

#[test]
fn duplicates_are_learned_and_counted_whatever_the_schedule() {
    let rows: Vec<HostileSample> = (0..640).map(|i| normal(i / 64)).collect();
    for schedule in SCHEDULES {
        let (mut net, report) = learn(schedule, 64, &rows);
        assert_eq!(report.skipped, 0, "{schedule:?}");
        assert_eq!(report.accepted + report.damped, 640, "{schedule:?}");
        let (x, y) = normal(9);
        let error = net.predict(input(&x)).mean[0] - y[0];
        assert!(error.abs() < 0.5, "{schedule:?} {error}");
    }
}

#[test]
fn a_millionfold_outlier_is_survived_and_told() {
    // In the target, in an input, in both: then two thousand normal rows.
    for (x, y) in [(1.0, 1e6), (1e6, 1.0), (1e6, 1e6)] {
        let mut rows: Vec<HostileSample> = (0..3000).map(normal).collect();
        rows[1000].0[0] *= x;
        rows[1000].1[0] *= y;
        for schedule in SCHEDULES {
            let (mut net, report) = learn(schedule, 16, &rows);
            let done = report.accepted + report.damped;
            assert_eq!((report.skipped, done), (0, 3000), "{schedule:?} {x} {y}");
            let square = |i| {
                let (x, y) = normal(i);
                (net.predict(input(&x)).mean[0] - y[0]).powi(2)
            };
            let error = (3000..3200).map(square).sum::<f32>() / 200.0;
            if x > 1.0 {
                // Silenced by the variance that the input brings.
                assert!(error < 0.02, "{schedule:?} {x} {y} {error}");
            } else if schedule == BatchSchedule::Sequential {
                // Robust weights are the caller's: it moves, and says by how much.
                assert!(report.site_change > 1e3, "{report:?}");
            }
        }
    }
}

#[test]
fn silent_inputs_are_no_hindrance_and_learn_nothing() {
    // 512 inputs that are always 0, beside three that speak; once listed as 0, once left out.
    let index: Vec<u32> = (0..515).collect();
    let (mut listed, mut left_out) = (network(515), network(515));
    let fresh = network(515);
    for i in 0..300 {
        let (x, y) = normal(i);
        let mut value = vec![0.0; 515];
        value[..3].copy_from_slice(&x);
        let all = Input {
            index: &index,
            value: &value,
        };
        for report in [
            listed.learn(all, &y, &[0.05], 1.0),
            left_out.learn(input(&x), &y, &[0.05], 1.0),
        ] {
            assert_eq!((report.accepted, report.skipped), (1, 0));
        }
    }
    assert_sane(&mut listed);
    for j in 3..515 {
        let prior = fresh.direct_weight(j, 0);
        let (m, s) = listed.direct_weight(j, 0);
        assert!((m - prior.0).abs() < 1e-6 && (s / prior.1 - 1.0).abs() < 1e-4);
        assert_eq!(left_out.direct_weight(j, 0), prior);
    }
    let (x, _) = normal(301);
    let a = listed.predict(input(&x)).mean[0];
    assert!((a - left_out.predict(input(&x)).mean[0]).abs() < 1e-3);
    assert!(left_out.direct_weight(0, 0) != fresh.direct_weight(0, 0));
}

#[test]
fn targets_at_the_ends_of_single_precision_are_skipped_or_leave_it_finite() {
    for y in [f32::MAX, f32::MIN, 1e30, -1e20, 1e12, f32::MIN_POSITIVE] {
        let mut net = network(3);
        for i in 0..50 {
            let report = net.learn(input(&normal(i).0), &[y], &[0.05], 1.0);
            assert_eq!(report.accepted + report.skipped, 1, "{y}");
            assert_sane(&mut net);
        }
    }
}

fn spikes() -> impl Strategy<Value = SpikeFunction> {
    prop_oneof![
        Just(SpikeFunction::Deterministic),
        Just(SpikeFunction::Probit { noise: 0.3 }),
        Just(SpikeFunction::Sigmoid)
    ]
}

fn family() -> impl Strategy<Value = Family> {
    prop_oneof![
        Just(Family::Gaussian),
        Just(Family::Binary),
        Just(Family::Levels(3)),
        Just(Family::Levels(16))
    ]
}

/// Mostly what a plant sends, sometimes any finite number.
fn value() -> impl Strategy<Value = f32> {
    let any = prop::num::f32::NORMAL | prop::num::f32::SUBNORMAL | prop::num::f32::ZERO;
    prop_oneof![-3.0f32..3.0, Just(0.0), -1e6f32..1e6, Just(1e6), any]
}

fn draft(
    output: OutputKind,
    hidden: &[usize],
    spikes: SpikeFunction,
    family: Family,
) -> NetworkDraft {
    let mut draft = match output {
        OutputKind::Regression => NetworkDraft::stream(3, hidden, 1, 3.0),
        _ => NetworkDraft::classification(3, hidden, 3),
    };
    draft.output = output;
    draft = draft.with_families(&vec![family; hidden.len() + 1]);
    (draft.spikes, draft.memory) = (spikes, Some(50.0));
    draft
}

/// Learns one sample and asserts that the belief is finite and the report says what happened.
fn learn_one(net: &mut Network, x: Input<'_>, lesson: Observation<'_>) {
    net.predict(x);
    let before = net.clone();
    let report = lesson.teach(net, x, 1.0);
    assert_eq!(report.accepted + report.skipped, 1);
    if report.skipped == 1 {
        assert_eq!(*net, before);
    }
    assert_sane(net);
    let calm = input(&[0.5, -0.5, 1.0]);
    let seen = net.predict(calm);
    assert!(seen.mean.iter().all(|m| m.is_finite()), "{seen:?}");
    let sane = |v: &f32| v.is_finite() && *v >= 0.0;
    assert!(seen.variance.iter().all(sane), "{seen:?}");
}

proptest! {
    #[test]
    fn no_finite_sample_leaves_a_regression_that_is_not_finite(
        kind in (spikes(), family()),
        deep in any::<bool>(),
        samples in prop::collection::vec((value(), value(), value(), 1e-6f32..10.0), 1..40),
    ) {
        let hidden: &[usize] = if deep { &[9, 5] } else { &[9] };
        let mut net = Network::new(&draft(OutputKind::Regression, hidden, kind.0, kind.1).build().unwrap());
        for (a, b, y, noise) in samples {
            learn_one(&mut net, input(&[a, b, 1.0]), Observation::Values(&[y], &[noise]));
        }
    }

    #[test]
    fn no_finite_sample_leaves_a_classifier_that_is_not_finite(
        output in prop::sample::select(vec![OutputKind::Classification, OutputKind::Softmax]),
        kind in (spikes(), family()),
        deep in any::<bool>(),
        samples in prop::collection::vec((value(), value(), 0usize..3), 1..40),
    ) {
        let hidden: &[usize] = if deep { &[9, 5] } else { &[9] };
        let mut net = Network::new(&draft(output, hidden, kind.0, kind.1).build().unwrap());
        for (a, b, class) in samples {
            learn_one(&mut net, input(&[a, b, 1.0]), Observation::Class(class));
            let mut p = [0.0; 3];
            net.predict_class(input(&[0.5, -0.5, 1.0]), &mut p);
            prop_assert!((p.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{p:?}");
        }
    }

    #[test]
    fn no_finite_table_leaves_sites_that_are_not_finite(
        spikes in spikes(),
        rows in prop::collection::vec((value(), value(), value()), 1..20),
    ) {
        let kind = (spikes, Family::Gaussian);
        let mut net = Network::new(&draft(OutputKind::Regression, &[9], kind.0, kind.1).build().unwrap());
        net.set_memory(None);
        let mut sites = Sites::new(rows.len());
        for _ in 0..4 {
            for (i, &(a, b, y)) in rows.iter().enumerate() {
                let (x, lesson) = ([a, b, 1.0], Observation::Values(&[y], &[0.05]));
                let step = |net: &mut Network| lesson.teach(net, input(&x), 1.0);
                let report = sites.learn(i, &mut net, input(&x), step);
                prop_assert_eq!(report.accepted + report.skipped, 1);
                assert_sane(&mut net);
            }
        }
    }

    #[test]
    fn no_finite_batch_leaves_a_belief_that_is_not_finite(
        schedule in prop::sample::select(SCHEDULES.to_vec()),
        spikes in spikes(),
        size in 1usize..9,
        rows in prop::collection::vec((value(), value(), value()), 1..40),
    ) {
        let kind = (spikes, Family::Gaussian);
        let mut net = Network::new(&draft(OutputKind::Regression, &[9], kind.0, kind.1).build().unwrap());
        let rows: Vec<HostileSample> = rows.iter().map(|&(a, b, y)| ([a, b, 1.0], [y])).collect();
        let samples: Vec<LabelledInput<'_>> = rows
            .iter()
            .map(|(x, y)| (input(x), Observation::Values(y, &[0.05])))
            .collect();
        let report = BatchLearner::new(schedule, size, 3).learn(&mut net, &samples, 1.0);
        assert_sane(&mut net);
        let done = report.accepted + report.damped + report.skipped;
        prop_assert!(done <= rows.len() as u64 && done > 0, "{report:?}");
    }
}
