//! A softmax output: P(class c | u) = exp(u_c) / sum_k exp(u_k), the classes against one another.
//!
//! Its mean over u_k ~ N(omega_k, V_k) is one integral whatever the number of classes, because
//! 1/S = integral of exp(-S e^tau) e^tau dtau: with h(x, V) = E exp(-e^(x + sqrt(V) z)),
//!
//! Z = integral of M(omega_c + tau, V_c) prod over k != c of h(omega_k + tau, V_k) dtau,
//! M(x, V) = -dh/dx = e^(x + V/2) h(x + V, V),
//! g_k = E[h'/h], Gamma_k = g_k^2 - E[h''/h], and for c the same with M; the means are taken under
//! the integrand over Z, which is log-concave in tau.
//!
//! exp(-e^x) is a mixture of six normal distribution functions, so that h and its derivatives are
//! closed forms; the own class keeps its exponential tail by the second form of M. The integral is a
//! trapezoidal sum around the mode. Errors are in the tests.

#![expect(
    clippy::manual_clamp,
    clippy::needless_range_loop,
    reason = "as everywhere in the factors: clamp must pass on NaN, and lanes advance together"
)]

use super::FactorMoments;
use crate::ep::family::{Chunk, LANES};
use crate::ep::runs::{MessageRunMut, MomentRun};
use crate::num::{fast, special};

/// exp(-e^x) = sum of w Phi((b - x)/s) within 3e-4, its derivative within 0.0014: weights w, centres
/// b and squares of s, by least squares.
const WEIGHT: [f32; TERMS] = [
    0.015_248_85,
    0.091_081_17,
    0.241_830_2,
    0.338_293_5,
    0.245_434,
    0.068_112_3,
];
const CENTRE: [f32; TERMS] = [
    -4.053_179_2,
    -2.504_103,
    -1.300_810_3,
    -0.377_260_1,
    0.358_126_64,
    0.987_443_17,
];
const SQUARE: [f32; TERMS] = [
    3.438_687_3,
    1.513_386,
    0.764_800_5,
    0.429_150_45,
    0.260_121_05,
    0.165_011_37,
];
const TERMS: usize = 6;

/// Largest variance that the integral is made for: above it the randomness of the softmax itself is
/// 2% of the variance, and moments are scaled down to it.
const MAX_VARIANCE: f32 = 64.0;

/// Largest distance of a mean below the largest: further out e^x is nothing next to 1.
const FAR: f32 = 1e18;

/// Largest |t| of a term, as in a hidden unit.
const MAX_T: f32 = 12.0;

/// Points of the trapezoidal sum, the distance between them in units of 1/sqrt(-f'') at the mode of
/// the log-integrand f, and the place of the mode among them.
const NODES: usize = 16;
const GAP: f32 = 0.75;
const MODE: f32 = 8.5;

/// The same distance where one set of points serves all classes.
const WIDE_GAP: f32 = 0.9;

/// The integrand falls more slowly on the left: places (1 - e^(-STRETCH s))/STRETCH.
const STRETCH: f32 = 0.15;

/// Newton steps to the mode.
const STEPS: usize = 6;

/// h, h' and h'' at `x` for terms of precision `inv` squared.
#[inline(always)]
fn survival(x: Chunk, inv: &[Chunk; TERMS]) -> [Chunk; 3] {
    let [mut h, mut first, mut second] = [[0.0f32; LANES]; 3];
    for j in 0..TERMS {
        for l in 0..LANES {
            let inv = inv[j][l];
            let t = ((CENTRE[j] - x[l]) * inv).max(-MAX_T).min(MAX_T);
            let (pdf, cdf) = fast::normal(t);
            let step = WEIGHT[j] * inv * pdf;
            h[l] = WEIGHT[j].mul_add(cdf, h[l]);
            first[l] -= step;
            second[l] = (-step * inv).mul_add(t, second[l]);
        }
    }
    [h, first, second]
}

/// 1/sqrt(s^2 + V) of every term.
#[inline(always)]
fn widths(v: Chunk) -> [Chunk; TERMS] {
    let mut inv = [[0.0; LANES]; TERMS];
    for j in 0..TERMS {
        for l in 0..LANES {
            inv[j][l] = 1.0 / (SQUARE[j] + v[l]).sqrt();
        }
    }
    inv
}

/// Means below the largest and variances, scaled to [`MAX_VARIANCE`].
#[derive(Clone, Copy)]
struct Scaled<'a> {
    mean: &'a [f32],
    variance: &'a [f32],
    top: f32,
    scale: f32,
}

impl<'a> Scaled<'a> {
    #[inline(always)]
    fn new(mean: &'a [f32], variance: &'a [f32]) -> Scaled<'a> {
        let largest = variance.iter().copied().fold(0.0, f32::max);
        let share = MAX_VARIANCE / largest.max(MAX_VARIANCE);
        Scaled {
            mean,
            variance,
            top: mean.iter().copied().fold(f32::MIN, f32::max),
            scale: share.sqrt(),
        }
    }

    /// Mean and variance of class `k`.
    #[inline(always)]
    fn of(&self, k: usize) -> (f32, f32) {
        // Halves: the difference does not leave f32.
        let below = 0.5f32.mul_add(self.mean[k], -0.5 * self.top) * self.scale;
        let variance = self.variance[k] * self.scale * self.scale;
        ((2.0 * below).max(-FAR), variance)
    }

    /// Mode of the integrand of class `class`, and 1/sqrt(-f'') there.
    #[inline(always)]
    fn mode(&self, class: usize) -> (f32, f32) {
        let (own, own_v) = self.of(class);
        let own_inv = widths([own_v; LANES]);
        let (mut tau, mut width) = (0.0f32, 1.0);
        for _ in 0..STEPS {
            let [h, first, second] = survival([own + own_v + tau; LANES], &own_inv);
            let (r, q) = (first[0] / h[0], second[0] / h[0]);
            let (mut slope, mut bend) = (1.0 + r, q - r * r);
            for start in (0..self.mean.len()).step_by(LANES) {
                let n = LANES.min(self.mean.len() - start);
                let (mut x, mut v, mut on) = ([-FAR; LANES], [0.0; LANES], [0.0f32; LANES]);
                for l in 0..n {
                    let (below, variance) = self.of(start + l);
                    (x[l], v[l]) = (below + tau, variance);
                    on[l] = f32::from(u8::from(start + l != class));
                }
                let [h, first, second] = survival(x, &widths(v));
                for l in 0..LANES {
                    let r = first[l] / h[l];
                    slope = on[l].mul_add(r, slope);
                    bend = on[l].mul_add(second[l] / h[l] - r * r, bend);
                }
            }
            width = 1.0 / (-bend).max(0.5 / MAX_VARIANCE).sqrt();
            tau += (slope * width * width).max(-4.0 * width).min(4.0 * width);
        }
        (tau, width)
    }
}

/// Places of the points in units of the width, from the mode, and the logarithm of how densely they
/// lie there.
#[inline(always)]
fn node(i: usize, gap: f32) -> (f32, f32) {
    let s = gap * (i as f32 - MODE);
    ((1.0 - fast::exp(-STRETCH * s)) / STRETCH, -STRETCH * s)
}

/// h, h' and h'' in f64.
fn survival_64(x: f64, v: f64) -> [f64; 3] {
    let mut sums = [0.0; 3];
    for j in 0..TERMS {
        let (w, inv) = (
            f64::from(WEIGHT[j]),
            1.0 / (f64::from(SQUARE[j]) + v).sqrt(),
        );
        let far = f64::from(MAX_T);
        let t = ((f64::from(CENTRE[j]) - x) * inv).max(-far).min(far);
        let step = w * inv * special::pdf(t);
        sums[0] += w * special::cdf(t);
        sums[1] -= step;
        sums[2] -= step * inv * t;
    }
    sums
}

/// The factor in f64 for each output, all of the same Z; the class seen is `class`.
pub fn reference(class: usize, omega: &[f64], v: &[f64]) -> Vec<FactorMoments> {
    let limit = f64::from(MAX_VARIANCE);
    let scale = (limit / v.iter().copied().fold(limit, f64::max)).sqrt();
    let omega: Vec<f64> = omega.iter().map(|x| scale * x).collect();
    let v: Vec<f64> = v.iter().map(|v| scale * scale * v).collect();
    let top = omega.iter().copied().fold(f64::MIN, f64::max);
    // ln of the factor of class k at tau, and its first two derivatives over it.
    let factor = |k: usize, tau: f64| {
        let own = k == class;
        let x = omega[k] - top + tau;
        let [h, first, second] = survival_64(if own { x + v[k] } else { x }, v[k]);
        let (r, q) = (first / h, second / h);
        if own {
            [x + 0.5 * v[k] + h.ln(), 1.0 + r, 1.0 + 2.0 * r + q]
        } else {
            [h.ln(), r, q]
        }
    };
    let outputs = 0..omega.len();
    let (mut tau, mut width) = (0.0, 1.0);
    for _ in 0..STEPS {
        let parts = outputs.clone().map(|k| factor(k, tau));
        let (slope, bend) = parts.fold((0.0, 0.0), |sum, [_, r, q]| (sum.0 + r, sum.1 + q - r * r));
        width = 1.0 / (-bend).max(1e-4).sqrt();
        tau += (slope * width * width).max(-4.0 * width).min(4.0 * width);
    }
    let stretch = f64::from(STRETCH);
    let node = |i: usize| {
        let s = f64::from(GAP) * (i as f64 - f64::from(MODE));
        (
            tau + width * (1.0 - (-stretch * s).exp()) / stretch,
            -stretch * s,
        )
    };
    let ln_weight = |i: usize| {
        let (at, density) = node(i);
        outputs.clone().map(|k| factor(k, at)[0]).sum::<f64>() + density
    };
    let ln_weights: Vec<f64> = (0..NODES).map(ln_weight).collect();
    let ln_total = ln_weights
        .iter()
        .copied()
        .fold(f64::NEG_INFINITY, special::ln_add);
    let of = |k: usize| {
        let mean = |which: usize| {
            let terms = ln_weights.iter().enumerate();
            let terms = terms.map(|(i, w)| (w - ln_total).exp() * factor(k, node(i).0)[which]);
            terms.sum::<f64>()
        };
        let (g, second) = (mean(1), mean(2));
        FactorMoments {
            log_z: ln_total + (f64::from(GAP) * width).ln(),
            g: scale * g,
            gamma: scale * scale * (g * g - second),
        }
    };
    outputs.clone().map(of).collect()
}

/// g and Gamma of every output in f32, written to `out`; the class seen is `class`. `room`
/// is for intermediate values.
///
/// # Panics
/// If `class` is out of range or the slices differ in length.
#[inline(always)]
pub(in crate::ep) fn messages(
    class: usize,
    moments: MomentRun<'_>,
    out: MessageRunMut<'_>,
    room: &mut Vec<f32>,
) {
    let MomentRun { mean, variance } = moments;
    let MessageRunMut { g, gamma } = out;
    let n = mean.len();
    let scaled = Scaled::new(mean, &variance[..n]);
    let (tau, width) = scaled.mode(class);
    room.clear();
    room.resize(2 * NODES * n, 0.0);
    let (mut place, mut weight) = ([0.0f32; NODES], [0.0f32; NODES]);
    for i in 0..NODES {
        let (at, density) = node(i, GAP);
        place[i] = width * at;
        weight[i] = place[i] + density;
    }
    let (rooms, _) = room.as_chunks_mut::<{ 2 * NODES }>();
    for k in 0..n {
        let (below, v) = scaled.of(k);
        let inv = widths([v; LANES]);
        let own = k == class;
        let start = below + tau + if own { v } else { 0.0 };
        for chunk in 0..NODES / LANES {
            let mut x = [0.0; LANES];
            for l in 0..LANES {
                x[l] = start + place[chunk * LANES + l];
            }
            let [h, first, second] = survival(x, &inv);
            for l in 0..LANES {
                let (r, q) = (first[l] / h[l], second[l] / h[l]);
                let (r, q) = if own {
                    (1.0 + r, 2.0f32.mul_add(r, 1.0 + q))
                } else {
                    (r, q)
                };
                let i = chunk * LANES + l;
                (rooms[k][i], rooms[k][NODES + i]) = (r, q);
                weight[i] += fast::ln(h[l]);
            }
        }
    }
    let top = weight.iter().copied().fold(f32::MIN, f32::max);
    let mut total = 0.0;
    for w in &mut weight {
        *w = fast::exp(*w - top);
        total += *w;
    }
    let scale = scaled.scale;
    for (k, room) in rooms.iter().enumerate() {
        let (mut first, mut second) = (0.0, 0.0);
        for i in 0..NODES {
            first = weight[i].mul_add(room[i], first);
            second = weight[i].mul_add(room[NODES + i], second);
        }
        let (first, second) = (first / total, second / total);
        g[k] = scale * first;
        gamma[k] = scale * scale * first.mul_add(first, -second);
    }
}

/// Class probabilities from the outputs' moments, written to `out`: each class's Z over their sum,
/// all by points around the mode of the most probable mean. `room` is for intermediate values.
#[inline(always)]
pub fn probabilities(mean: &[f32], variance: &[f32], out: &mut [f32], room: &mut Vec<f32>) {
    let n = mean.len();
    let scaled = Scaled::new(mean, &variance[..n]);
    let best = (0..n).fold(0, |best, k| if mean[k] > mean[best] { k } else { best });
    let (tau, width) = scaled.mode(best);
    room.clear();
    room.resize(NODES * n, 0.0);
    let (mut place, mut weight) = ([0.0f32; NODES], [0.0f32; NODES]);
    for i in 0..NODES {
        let (at, density) = node(i, WIDE_GAP);
        place[i] = tau + width * at;
        weight[i] = density;
    }
    let (rooms, _) = room.as_chunks_mut::<NODES>();
    for k in 0..n {
        let (below, v) = scaled.of(k);
        let inv = widths([v; LANES]);
        for chunk in 0..NODES / LANES {
            let (mut x, mut y) = ([0.0; LANES], [0.0; LANES]);
            for l in 0..LANES {
                x[l] = below + place[chunk * LANES + l];
                y[l] = x[l] + v;
            }
            let ([h, ..], [tilted, ..]) = (survival(x, &inv), survival(y, &inv));
            for l in 0..LANES {
                let i = chunk * LANES + l;
                let ln_h = fast::ln(h[l]);
                weight[i] += ln_h;
                rooms[k][i] = 0.5f32.mul_add(v, x[l]) + fast::ln(tilted[l]) - ln_h;
            }
        }
    }
    let mut sum = 0.0;
    for (p, room) in out.iter_mut().zip(rooms) {
        *p = 0.0;
        for i in 0..NODES {
            *p += fast::exp(weight[i] + room[i]);
        }
        sum += *p;
    }
    for p in out {
        *p /= sum;
    }
}

#[cfg(test)]
mod tests {
    use super::super::sigmoid;
    use super::*;
    use crate::num::counter;
    use crate::num::oracle;

    /// Moments of `n` outputs, means of spread `spread`, variances from half to one and a half of
    /// `v`; case `i`.
    fn draw(i: u32, n: u32, spread: f64, v: f64) -> (Vec<f64>, Vec<f64>) {
        let key = counter::row_key(0x50f7, i);
        let mean = |k| spread * f64::from(counter::bell(key, k));
        let variance = |k| v * (0.5 + counter::uniform(key, 100 + k));
        ((0..n).map(mean).collect(), (0..n).map(variance).collect())
    }

    fn single(values: &[f64]) -> Vec<f32> {
        values.iter().map(|x| *x as f32).collect()
    }

    fn write_messages(
        class: usize,
        [mean, variance]: [&[f32]; 2],
        [g, gamma]: [&mut [f32]; 2],
        room: &mut Vec<f32>,
    ) {
        let moments = MomentRun { mean, variance };
        messages(class, moments, MessageRunMut { g, gamma }, room);
    }

    fn fast_messages(class: usize, omega: &[f64], v: &[f64]) -> (Vec<f32>, Vec<f32>) {
        let (mean, variance) = (single(omega), single(v));
        let (mut g, mut gamma) = (vec![0.0; mean.len()], vec![0.0; mean.len()]);
        let room = &mut Vec::new();
        write_messages(class, [&mean, &variance], [&mut g, &mut gamma], room);
        (g, gamma)
    }

    /// Z of every class by quadrature over three outputs, and its derivatives by each mean, from
    /// dZ/domega = E[(u - omega) f] / V.
    fn exact(omega: &[f64], v: &[f64]) -> [(f64, [f64; 3]); 3] {
        const N: i32 = 40;
        let mut sums = [(0.0, [0.0; 3]); 3];
        let mut total = 0.0;
        let point = |k: usize, i: i32| {
            (
                0.2 * f64::from(i),
                omega[k] + v[k].sqrt() * 0.2 * f64::from(i),
            )
        };
        for i in -N..=N {
            for j in -N..=N {
                for l in -N..=N {
                    let at = [point(0, i), point(1, j), point(2, l)];
                    let square: f64 = at.iter().map(|(t, _)| t * t).sum();
                    let w = (-0.5 * square).exp();
                    let e = at.map(|(_, u)| u.exp());
                    total += w;
                    for (c, (z, first)) in sums.iter_mut().enumerate() {
                        let p = w * e[c] / (e[0] + e[1] + e[2]);
                        *z += p;
                        for (first, (t, _)) in first.iter_mut().zip(at) {
                            *first += p * t;
                        }
                    }
                }
            }
        }
        sums.map(|(z, mut first)| {
            for (first, v) in first.iter_mut().zip(v) {
                *first /= z * v.sqrt();
            }
            (z / total, first)
        })
    }

    #[test]
    fn it_agrees_with_quadrature_at_every_variance() {
        for v in [0.01, 0.3, 4.0, 15.0] {
            for i in 0..6 {
                let (omega, v) = draw(i, 3, 1.5 + 0.5 * v, v);
                for (c, (z, g)) in exact(&omega, &v).into_iter().enumerate() {
                    for (got, g) in reference(c, &omega, &v).into_iter().zip(g) {
                        oracle::close(got.log_z, z.ln(), 0.0, 1e-3, &omega);
                        oracle::close(got.g, g, 0.0, 5e-4, &omega);
                    }
                }
            }
        }
    }

    #[test]
    fn the_derivatives_are_those_of_log_z() {
        for (i, v) in [0.1, 2.0, 30.0].into_iter().enumerate() {
            let (omega, v) = draw(i as u32, 5, 2.0, v);
            for (k, got) in reference(2, &omega, &v).into_iter().enumerate() {
                let at = |d: f64| {
                    let mut moved = omega.clone();
                    moved[k] += d;
                    reference(2, &moved, &v)[k]
                };
                let (low, high) = (at(-1e-5), at(1e-5));
                let what = [k as f64, v[k]];
                // As far as the trapezoidal sum is the integral.
                oracle::close(got.g, (high.log_z - low.log_z) / 2e-5, 0.0, 2e-4, &what);
                oracle::close(got.gamma, (low.g - high.g) / 2e-5, 0.0, 2e-3, &what);
            }
        }
    }

    #[test]
    fn the_fast_form_agrees_with_the_reference() {
        let spreads = [(0.5, 0.0), (3.0, 1.0), (20.0, 0.01), (20.0, 40.0)];
        for (i, (spread, v)) in spreads.into_iter().enumerate() {
            let (omega, v) = draw(i as u32, 10, spread, v);
            for class in 0..10 {
                let want = reference(class, &omega, &v);
                let (g, gamma) = fast_messages(class, &omega, &v);
                for ((want, g), gamma) in want.iter().zip(g).zip(gamma) {
                    oracle::close(g.into(), want.g, 1e-3, 2e-5, &omega);
                    oracle::close(gamma.into(), want.gamma, 1e-3, 2e-5, &omega);
                }
            }
        }
    }

    #[test]
    fn two_classes_are_a_sigmoid_at_every_variance() {
        for v in [0.1, 5.0, 60.0, 400.0, 1e4] {
            let apart = 0.8 * f64::sqrt(v);
            let (z, slope, _) = sigmoid::reference_forward(-apart, v);
            let got = reference(0, &[0.3, 0.3 + apart], &[0.3 * v, 0.7 * v]);
            oracle::close(got[0].log_z.exp(), z, 0.02, 0.0, &[v]);
            oracle::close(got[0].g, slope / z, 0.03, 0.0, &[v]);
            oracle::close(got[1].g, -slope / z, 0.03, 0.0, &[v]);
        }
    }

    #[test]
    fn known_inputs_give_the_plain_softmax_and_unknown_ones_nothing() {
        for spread in [2.0, 12.0] {
            let (omega, _) = draw(1, 4, spread, 1.0);
            let total: f64 = omega.iter().map(|u| u.exp()).sum();
            for class in 0..4 {
                let got = reference(class, &omega, &[0.0; 4]);
                for (k, got) in got.into_iter().enumerate() {
                    let p = omega[k].exp() / total;
                    let seen = f64::from(u8::from(k == class));
                    oracle::close(
                        got.log_z,
                        (omega[class].exp() / total).ln(),
                        0.0,
                        1e-3,
                        &omega,
                    );
                    oracle::close(got.g, seen - p, 0.0, 1e-3, &omega);
                    oracle::close(got.gamma, p * (1.0 - p), 0.0, 3e-3, &omega);
                }
            }
            let (g, gamma) = fast_messages(1, &omega, &[1e30; 4]);
            assert!(g.iter().chain(&gamma).all(|x| x.abs() < 1e-14), "{g:?}");
        }
    }

    #[test]
    fn neither_a_constant_nor_the_order_of_the_classes_matters() {
        let (omega, v) = draw(2, 4, 2.0, 1.5);
        let want = reference(0, &omega, &v);
        let shifted: Vec<f64> = omega.iter().map(|u| u + 7.0).collect();
        let turned = |x: &[f64]| -> Vec<f64> { x.iter().rev().copied().collect() };
        let moved = reference(0, &shifted, &v);
        let reversed = reference(3, &turned(&omega), &turned(&v));
        for k in 0..4 {
            for got in [moved[k], reversed[3 - k]] {
                oracle::close(got.log_z, want[k].log_z, 1e-9, 0.0, &omega);
                oracle::close(got.g, want[k].g, 1e-9, 1e-12, &omega);
                oracle::close(got.gamma, want[k].gamma, 1e-9, 1e-12, &omega);
            }
        }
        // A constant teaches nothing: no sum of steps moves all outputs together.
        let sum: f64 = want.iter().map(|m| m.g).sum();
        assert!(sum.abs() < 1e-4, "{sum}");
    }

    #[test]
    fn probabilities_are_the_z_of_each_class_which_add_up_to_one() {
        for (i, v) in [0.0, 0.1, 1.0, 8.0, 60.0].into_iter().enumerate() {
            let (omega, v) = draw(i as u32, 10, 3.0, v);
            let z = |c| reference(c, &omega, &v)[0].log_z.exp();
            let total: f64 = (0..10).map(z).sum();
            assert!((total - 1.0).abs() < 1e-3, "{total}");
            let mut p = [0.0; 10];
            probabilities(&single(&omega), &single(&v), &mut p, &mut Vec::new());
            assert!((p.iter().sum::<f32>() - 1.0).abs() < 1e-5);
            for (c, p) in p.into_iter().enumerate() {
                oracle::close(p.into(), z(c), 0.01, 1e-3, &omega);
            }
        }
    }

    #[test]
    fn it_stays_finite_at_the_ends_of_f32() {
        for (mean, variance) in [
            ([f32::MAX, -f32::MAX, 0.0], [0.0; 3]),
            ([f32::MAX, -f32::MAX, 0.0], [f32::MAX; 3]),
            ([-1e9, 1e9, 0.0], [1.0, 0.0, 1e30]),
        ] {
            let mut p = [0.0; 3];
            let room = &mut Vec::new();
            probabilities(&mean, &variance, &mut p, room);
            assert!((p.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{p:?}");
            for class in 0..3 {
                let (mut g, mut gamma) = ([0.0; 3], [0.0; 3]);
                write_messages(class, [&mean, &variance], [&mut g, &mut gamma], room);
                assert!(
                    g.iter().chain(&gamma).all(|x| x.is_finite()),
                    "{g:?} {gamma:?}"
                );
            }
        }
    }
}
