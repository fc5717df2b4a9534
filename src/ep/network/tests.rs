//! Tests of the whole network: exactness where it is exact, growth, forgetting, odd inputs.

use super::*;
use crate::ep::{NetworkDraft, OutputKind, Priors};
use crate::num::counter;

fn draw(i: u32, j: u32) -> f32 {
    counter::bell(counter::row_key(99, i), j)
}

/// A small smooth task: 5 inputs (the last a bias), 2 outputs.
fn sample(i: u32) -> ([f32; 5], [f32; 2]) {
    let x = [draw(i, 0), draw(i, 1), draw(i, 2), draw(i, 3), 1.0];
    let y = [
        (2.0 * x[0]).sin() + 0.3 * x[1] + 0.1 * draw(i, 7),
        x[2] * 0.5 - 0.2 + 0.1 * draw(i, 8),
    ];
    (x, y)
}

const ALL: [u32; 5] = [0, 1, 2, 3, 4];
const NOISE: [f32; 2] = [0.05, 0.05];

fn stream_network(hidden: &[usize], seed: u64) -> Network {
    let mut draft = NetworkDraft::stream(5, hidden, 2, 5.0);
    draft.seed = seed;
    draft.memory = Some(1000.0);
    Network::new(&draft.build().unwrap())
}

fn learn_some(net: &mut Network, range: std::ops::Range<u32>) -> f32 {
    let (mut sum, n) = (0.0, range.len() as f32);
    for i in range {
        let (x, y) = sample(i);
        let x = Input {
            index: &ALL,
            value: &x,
        };
        let error = y[0] - net.predict(x).mean[0];
        sum += error * error;
        let report = net.learn(x, &y, &NOISE, 1.0);
        assert_eq!(report.accepted, 1);
    }
    sum / n
}

#[test]
fn a_linear_network_is_exact_bayesian_regression() {
    // One sample at a time with a diagonal belief is exact for a single sample, and for orthogonal
    // inputs: here unit vectors, so that the exact posterior factorises.
    let mut draft = NetworkDraft::regression(3, &[], 1);
    draft.priors.direct.variance = 0.5;
    let mut net = Network::new(&draft.build().unwrap());
    let (mut precision, mut shift) = ([2.0f64; 3], [0.0f64; 3]);
    for i in 0..60u32 {
        let (j, y) = (i % 3, draw(i, 0) + 1.0);
        let value = 0.5 + 0.1 * (i % 5) as f32;
        let x = Input {
            index: &[j],
            value: &[value],
        };
        let report = net.learn(x, &[y], &[0.25], 1.0);
        assert_eq!((report.accepted, report.clipped), (1, 0));
        precision[j as usize] += f64::from(value * value) / 0.25;
        shift[j as usize] += f64::from(value) * f64::from(y) / 0.25;
    }
    for j in 0..3 {
        let (m, s) = net.direct_weight(j, 0);
        assert!((f64::from(m) - shift[j] / precision[j]).abs() < 1e-6);
        assert!((f64::from(s) * precision[j] - 1.0).abs() < 1e-5);
    }
}

#[test]
fn it_learns_a_curve_that_a_line_cannot_follow() {
    let mut net = stream_network(&[16], 1);
    learn_some(&mut net, 0..4000);
    let with = learn_some(&mut net, 4000..5000);
    let mut line = stream_network(&[], 1);
    learn_some(&mut line, 0..4000);
    let without = learn_some(&mut line, 4000..5000);
    assert!(with < 0.7 * without, "{with} against {without}");
}

#[test]
fn two_hidden_layers_learn_as_well() {
    let mut net = stream_network(&[24, 12], 3);
    learn_some(&mut net, 0..4000);
    let with = learn_some(&mut net, 4000..5000);
    let mut line = stream_network(&[], 1);
    learn_some(&mut line, 0..4000);
    let without = learn_some(&mut line, 4000..5000);
    assert!(with < 0.8 * without, "{with} against {without}");
}

#[test]
fn the_same_seed_gives_the_same_bits_and_another_seed_others() {
    let (mut a, mut b, mut c) = (
        stream_network(&[16], 1),
        stream_network(&[16], 1),
        stream_network(&[16], 2),
    );
    learn_some(&mut a, 0..500);
    learn_some(&mut b, 0..500);
    learn_some(&mut c, 0..500);
    assert_eq!(a, b);
    assert_ne!(a.input, c.input);
}

#[test]
fn a_saved_network_continues_with_the_same_bits() {
    let mut a = stream_network(&[16], 1);
    learn_some(&mut a, 0..333);
    let bytes = postcard::to_allocvec(&a).unwrap();
    let mut b: Network = postcard::from_bytes(&bytes).unwrap();
    assert_eq!(a, b);
    learn_some(&mut a, 333..700);
    learn_some(&mut b, 333..700);
    assert_eq!(a, b);
}

#[test]
fn learning_after_predicting_something_else_is_learning_without_predicting() {
    let (mut a, mut b) = (stream_network(&[16], 1), stream_network(&[16], 1));
    // Below one block of forgetting, so that the extra look moves no row.
    for i in 0..7 {
        let (x, y) = sample(i);
        let x = Input {
            index: &ALL,
            value: &x,
        };
        a.predict(x);
        a.predict(Input {
            index: &[1],
            value: &[3.0],
        });
        a.learn(x, &y, &NOISE, 1.0);
        b.learn(x, &y, &NOISE, 1.0);
    }
    assert_eq!(a, b);
}

#[test]
fn a_missing_target_teaches_nothing_about_its_output() {
    let mut a = stream_network(&[16], 1);
    let before = a.direct_weight(0, 1);
    let (x, y) = sample(0);
    let x = Input {
        index: &ALL,
        value: &x,
    };
    let report = a.learn(x, &[y[0], f32::NAN], &NOISE, 1.0);
    assert_eq!(report.accepted, 1);
    assert_eq!(a.direct_weight(0, 1), before);
    let b = a.clone();
    assert_eq!(a.learn(x, &[f32::NAN; 2], &NOISE, 1.0), Report::default());
    assert_eq!(a, b);
}

#[test]
fn values_that_are_not_finite_are_skipped_and_counted() {
    let mut net = stream_network(&[16], 1);
    learn_some(&mut net, 0..20);
    let before = net.clone();
    let (x, y) = sample(0);
    for bad in [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MAX] {
        let odd = [x[0], bad, x[2], x[3], 1.0];
        let odd = Input {
            index: &ALL,
            value: &odd,
        };
        assert_eq!(net.learn(odd, &y, &NOISE, 1.0).skipped, 1, "{bad}");
    }
    let x = Input {
        index: &ALL,
        value: &x,
    };
    assert_eq!(net.learn(x, &[f32::INFINITY, 0.0], &NOISE, 1.0).skipped, 1);
    assert_eq!(net.learn(x, &y, &[0.0, 1.0], 1.0).skipped, 1);
    assert_eq!(net, before);
}

#[test]
fn growth_leaves_the_rest_untouched_and_starts_at_the_prior() {
    let mut net = stream_network(&[16], 1);
    learn_some(&mut net, 0..100);
    let (x, _) = sample(100);
    let x = Input {
        index: &ALL,
        value: &x,
    };
    let before = net.predict(x).mean.to_vec();
    let mut grown = net.clone();
    grown.grow(3, 7);
    assert_eq!((grown.inputs(), grown.outputs()), (8, 9));
    assert_eq!(grown.predict(x).mean[..2], before);
    assert!(grown.predict(x).variance[2] > 0.0);
    // One large growth and several small ones are the same.
    net.grow(1, 2);
    net.grow(2, 5);
    assert_eq!(net, grown);
}

#[test]
fn forgetting_everything_is_the_prior_again() {
    let fresh = stream_network(&[16], 1);
    let mut net = stream_network(&[16], 1);
    learn_some(&mut net, 0..100);
    assert!(net.summary().layers[0].relative_sd < 0.999);
    net.forget(1.0);
    let (x, _) = sample(7);
    let x = Input {
        index: &ALL,
        value: &x,
    };
    let mut fresh = fresh;
    let (a, b) = (net.predict(x).mean.to_vec(), fresh.predict(x).mean.to_vec());
    assert!((a[0] - b[0]).abs() < 1e-4 && (a[1] - b[1]).abs() < 1e-4);
    assert!(net.summary().direct.relative_sd > 0.9999);
}

#[test]
fn lazy_forgetting_agrees_with_forgetting_at_every_step() {
    let mut lazy = stream_network(&[], 1);
    let mut draft = NetworkDraft::stream(5, &[], 2, 5.0);
    draft.memory = None;
    draft.seed = 1;
    let mut eager = Network::new(&draft.build().unwrap());
    let index = [3u32];
    for i in 0..64u32 {
        let value = [1.0];
        let x = Input {
            index: &index[..],
            value: &value,
        };
        // Only the first sample teaches; the others let time pass (far too noisy to matter).
        let noise = if i == 0 { [0.01; 2] } else { [1e12; 2] };
        lazy.learn(x, &[1.0, -1.0], &noise, 1.0);
        eager.learn(x, &[1.0, -1.0], &noise, 1.0);
        eager.forget(1e-3);
    }
    let x = Input {
        index: &index,
        value: &[1.0],
    };
    lazy.predict(x);
    let ((m1, s1), (m2, s2)) = (lazy.direct_weight(3, 0), eager.direct_weight(3, 0));
    assert!((m1 - m2).abs() < 1e-4, "{m1} {m2}");
    assert!((s1 / s2 - 1.0).abs() < 1e-4, "{s1} {s2}");
}

#[test]
fn the_mirrored_task_gives_the_mirrored_prediction() {
    // With zero prior means on the direct path and a sign flip of every target, a network without
    // hidden units predicts the mirror image, bit for bit.
    let (mut a, mut b) = (stream_network(&[], 1), stream_network(&[], 1));
    for i in 0..200 {
        let (x, y) = sample(i);
        let x = Input {
            index: &ALL,
            value: &x,
        };
        a.learn(x, &y, &NOISE, 1.0);
        b.learn(x, &[-y[0], -y[1]], &NOISE, 1.0);
        assert_eq!(a.predict(x).mean[0], -b.predict(x).mean[0]);
    }
}

#[test]
fn table_priors_build_and_run() {
    let mut draft = NetworkDraft::regression(5, &[50], 1);
    draft.priors = Priors::table(5, &[50], OutputKind::Regression);
    let mut net = Network::new(&draft.build().unwrap());
    for i in 0..2000 {
        let (x, y) = sample(i % 400);
        let x = Input {
            index: &ALL,
            value: &x,
        };
        let report = net.learn(x, &y[..1], &NOISE[..1], 1.0);
        assert_eq!(report.skipped, 0);
        assert!(report.site_change.is_finite());
    }
}
