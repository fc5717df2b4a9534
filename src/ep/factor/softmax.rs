//! A softmax output: P(class c | u) = exp(u_c) / sum_k exp(u_k), the classes against one another.
//!
//! Its mean over u_k ~ N(omega_k, V_k) has no closed form. It is taken pair by pair: softmax is
//! 1 / (1 + sum of the odds against c), each odds a logistic function of a difference of two
//! Gaussians, for which MacKay (1992) has sigma(kappa d), kappa^2 = 1 / (1 + pi V / 8):
//!
//! x_k = kappa_k (omega_k - omega_c), kappa_k^2 = 1 / (1 + pi (V_k + V_c) / 8), x_c = 0,
//! Z = 1 / sum_k exp(x_k), and with q_k = Z exp(x_k): g_k = -kappa_k q_k,
//! Gamma_k = kappa_k^2 q_k (1 - q_k) for the others, g_c = sum kappa_k q_k,
//! Gamma_c = sum kappa_k^2 q_k - g_c^2.
//!
//! Exact for V = 0, and a function of differences only. The tests hold its other errors.

#![expect(
    clippy::manual_clamp,
    reason = "as everywhere in the factors: clamp must pass on NaN"
)]

use super::Moments;
use crate::num::{fast, special};

/// pi / 8.
const SLOPE: f32 = std::f32::consts::FRAC_PI_8;

/// Largest |x_k|: further out e^x is nothing next to 1.
const FAR: f32 = 1e18;

/// The factor in f64 for each output, all of the same Z; the class seen is `class`.
pub fn reference(class: usize, omega: &[f64], v: &[f64]) -> Vec<Moments> {
    let kappa = |k: usize| 1.0 / (std::f64::consts::FRAC_PI_8 * (v[k] + v[class]) + 1.0).sqrt();
    let outputs = 0..omega.len();
    let x = |k: usize| kappa(k) * (omega[k] - omega[class]);
    let others = outputs.clone().filter(|&k| k != class);
    let log_z = -others.clone().map(x).fold(0.0, special::ln_add);
    let share = |k: usize| libm::exp(x(k) + log_z);
    let g: f64 = others.clone().map(|k| kappa(k) * share(k)).sum();
    let square: f64 = others.map(|k| kappa(k) * kappa(k) * share(k)).sum();
    let of = |k: usize| {
        let (g, gamma) = if k == class {
            (g, square - g * g)
        } else {
            let (kappa, q) = (kappa(k), share(k));
            (-kappa * q, kappa * kappa * q * (1.0 - q))
        };
        Moments { log_z, g, gamma }
    };
    outputs.map(of).collect()
}

/// (x, kappa) of a class of moments `other` against the class `own`.
#[inline(always)]
fn odds(own: (f32, f32), other: (f32, f32)) -> (f32, f32) {
    // Halves: neither sum leaves f32.
    let v = 0.5f32.mul_add(own.1, 0.5 * other.1);
    let kappa = 1.0 / (2.0 * SLOPE).mul_add(v, 1.0).sqrt();
    let x = 2.0 * kappa * 0.5f32.mul_add(other.0, -0.5 * own.0);
    (x.max(-FAR).min(FAR), kappa)
}

/// g and Gamma of every output in f32, written to `g` and `gamma`; the class seen is `class`.
///
/// # Panics
/// If `class` is out of range or the slices differ in length.
pub fn messages(
    class: usize,
    (mean, variance): (&[f32], &[f32]),
    (g, gamma): (&mut [f32], &mut [f32]),
) {
    let own = (mean[class], variance[class]);
    let (g, gamma) = (&mut g[..mean.len()], &mut gamma[..mean.len()]);
    let mut top = 0.0f32;
    for k in 0..mean.len() {
        // Both wait in the places of what they become.
        (g[k], gamma[k]) = odds(own, (mean[k], variance[k]));
        top = top.max(g[k]);
    }
    g[class] = 0.0;
    let mut total = 0.0;
    for x in g.iter_mut() {
        *x = fast::exp(*x - top);
        total += *x;
    }
    let inv = 1.0 / total;
    let (mut sum, mut square) = (0.0, 0.0);
    for k in (0..mean.len()).filter(|&k| k != class) {
        let (q, kappa) = (g[k] * inv, gamma[k]);
        let step = kappa * q;
        sum += step;
        square = kappa.mul_add(step, square);
        (g[k], gamma[k]) = (-step, kappa * step * (1.0 - q));
    }
    (g[class], gamma[class]) = (sum, (-sum).mul_add(sum, square));
}

/// Z of one class in f32.
fn share(class: usize, mean: &[f32], variance: &[f32]) -> f32 {
    let own = (mean[class], variance[class]);
    let moments = || mean.iter().zip(variance).map(|(m, v)| (*m, *v)).enumerate();
    let x = |(k, other)| if k == class { 0.0 } else { odds(own, other).0 };
    let top = moments().map(x).fold(0.0, f32::max);
    let total: f32 = moments().map(x).map(|x| fast::exp(x - top)).sum();
    fast::exp(-top) / total
}

/// Class probabilities from the outputs' moments, written to `out`: each class's Z over their sum,
/// which is 1 for two classes and within a few percent of it for more.
pub fn probabilities(mean: &[f32], variance: &[f32], out: &mut [f32]) {
    let mut sum = 0.0;
    for (k, p) in out.iter_mut().enumerate() {
        *p = share(k, mean, variance);
        sum += *p;
    }
    for p in out {
        *p /= sum;
    }
}

#[cfg(test)]
mod tests {
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

    fn fast_messages(class: usize, omega: &[f64], v: &[f64]) -> (Vec<f32>, Vec<f32>) {
        let (mean, variance) = (single(omega), single(v));
        let (mut g, mut gamma) = (vec![0.0; mean.len()], vec![0.0; mean.len()]);
        messages(class, (&mean, &variance), (&mut g, &mut gamma));
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
    fn its_error_against_quadrature_is_known() {
        // Largest errors of Z and of g over eight draws: they may not grow.
        for (v, in_z, in_g) in [(0.01, 3e-4, 0.005), (0.3, 0.008, 0.11), (3.0, 0.027, 0.14)] {
            let mut worst = (0.0f64, 0.0f64);
            for i in 0..8 {
                let (omega, v) = draw(i, 3, 1.5, v);
                for (c, (z, g)) in exact(&omega, &v).into_iter().enumerate() {
                    for (got, g) in reference(c, &omega, &v).into_iter().zip(g) {
                        worst.0 = worst.0.max((got.log_z.exp() - z).abs());
                        worst.1 = worst.1.max((got.g - g).abs());
                    }
                }
            }
            assert!(worst.0 < in_z && worst.1 < in_g, "{v}: {worst:?}");
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
                oracle::close(got.g, (high.log_z - low.log_z) / 2e-5, 1e-7, 1e-9, &what);
                oracle::close(got.gamma, (low.g - high.g) / 2e-5, 1e-6, 1e-9, &what);
            }
        }
    }

    #[test]
    fn the_fast_form_agrees_with_the_reference() {
        let spreads = [(0.5, 0.0), (3.0, 1.0), (20.0, 0.01), (100.0, 40.0)];
        for (i, (spread, v)) in spreads.into_iter().enumerate() {
            let (omega, v) = draw(i as u32, 10, spread, v);
            for class in 0..10 {
                let want = reference(class, &omega, &v);
                let (g, gamma) = fast_messages(class, &omega, &v);
                let z = share(class, &single(&omega), &single(&v));
                let tolerance = 1e-5 * (1.0 + spread);
                oracle::close(z.into(), want[0].log_z.exp(), tolerance, 1e-30, &omega);
                for ((want, g), gamma) in want.iter().zip(g).zip(gamma) {
                    oracle::close(g.into(), want.g, tolerance, 1e-30, &omega);
                    // Gamma of the class itself is a difference.
                    let rounding = 1e-6 * want.g.abs();
                    oracle::close(gamma.into(), want.gamma, tolerance, rounding, &omega);
                }
            }
        }
    }

    #[test]
    fn known_inputs_give_the_plain_softmax_and_unknown_ones_nothing() {
        let (omega, _) = draw(1, 4, 2.0, 1.0);
        let total: f64 = omega.iter().map(|u| u.exp()).sum();
        for (k, got) in reference(1, &omega, &[0.0; 4]).into_iter().enumerate() {
            let p = omega[k].exp() / total;
            let seen = f64::from(u8::from(k == 1));
            oracle::close(got.log_z.exp(), omega[1].exp() / total, 1e-12, 0.0, &omega);
            oracle::close(got.g, seen - p, 1e-12, 1e-15, &omega);
            oracle::close(got.gamma, p * (1.0 - p), 1e-12, 1e-15, &omega);
        }
        for got in reference(1, &omega, &[1e30; 4]) {
            oracle::close(got.log_z, -(4f64.ln()), 1e-12, 0.0, &omega);
            assert!(got.g.abs() < 1e-14 && got.gamma.abs() < 1e-28, "{got:?}");
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
                oracle::close(got.log_z, want[k].log_z, 1e-12, 0.0, &omega);
                oracle::close(got.g, want[k].g, 1e-12, 1e-15, &omega);
                oracle::close(got.gamma, want[k].gamma, 1e-12, 1e-15, &omega);
            }
        }
        // A constant teaches nothing: no sum of steps moves all outputs together.
        let sum: f64 = want.iter().map(|m| m.g).sum();
        assert!(sum.abs() < 1e-15, "{sum}");
    }

    #[test]
    fn probabilities_add_up_to_one_and_nearly_did_before() {
        for (i, v) in [0.1, 1.0, 8.0].into_iter().enumerate() {
            let (omega, v) = draw(i as u32, 10, 3.0, v);
            let z = |c| reference(c, &omega, &v)[0].log_z.exp();
            let total: f64 = (0..10).map(z).sum();
            assert!((total - 1.0).abs() < 0.02, "{total}");
            let mut p = [0.0; 10];
            probabilities(&single(&omega), &single(&v), &mut p);
            assert!((p.iter().sum::<f32>() - 1.0).abs() < 1e-5);
            for (c, p) in p.into_iter().enumerate() {
                oracle::close(p.into(), z(c) / total, 1e-4, 1e-30, &omega);
            }
        }
        let pair = |a, b| share(a, &[0.3, 1.1], &[2.0, 0.4]) + share(b, &[0.3, 1.1], &[2.0, 0.4]);
        assert!((pair(0, 1) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn it_stays_finite_at_the_ends_of_f32() {
        for (mean, variance) in [
            ([f32::MAX, -f32::MAX, 0.0], [0.0; 3]),
            ([f32::MAX, -f32::MAX, 0.0], [f32::MAX; 3]),
            ([-1e9, 1e9, 0.0], [1.0, 0.0, 1e30]),
        ] {
            let mut p = [0.0; 3];
            probabilities(&mean, &variance, &mut p);
            assert!((p.iter().sum::<f32>() - 1.0).abs() < 1e-5, "{p:?}");
            for class in 0..3 {
                let (mut g, mut gamma) = ([0.0; 3], [0.0; 3]);
                messages(class, (&mean, &variance), (&mut g, &mut gamma));
                assert!(
                    g.iter().chain(&gamma).all(|x| x.is_finite()),
                    "{g:?} {gamma:?}"
                );
            }
        }
    }
}
