//! Exact messages of a unit over few spikes: every pattern of theirs is enumerated.
//!
//! Given a pattern b the unit's input is Gaussian: omega_b = rest + sum m b, V_b likewise with s. With
//! W_b the probability of b from below times Z(omega_b, V_b), over their sum, and g_b, Gamma_b the
//! factor's derivatives there:
//!
//! rho_j = ln(sum over b_j = 1 of W_b / a_j) - ln(sum over b_j = 0 of W_b / (1 - a_j)),
//! g_w = sum of W_b b_j g_b, Lambda = g_w^2 - sum of W_b b_j (g_b^2 - Gamma_b).

use super::factor::hidden::MIN_VARIANCE;
use super::factor::{FactorMoments, hidden, probit, sigmoid};
use super::family::LANES;

/// Most spikes below a unit whose patterns are enumerated: with more, a sum is near enough to a
/// Gaussian, and the second-order expansion to it.
pub(super) const MOST: usize = 4;

/// The factor over a unit's input.
#[derive(Clone, Copy, Debug)]
pub(super) enum Factor {
    /// A probit output: 1 or -1.
    Answer(f32),
    /// A deterministic or probit spike: the message from above and the spike's noise.
    Spike { rho: f32, noise: f32 },
    /// A sigmoid spike: the message from above.
    Sigmoid { rho: f32 },
}

impl Factor {
    fn at(self, omega: f64, v: f64) -> FactorMoments {
        let limited = |rho: f32| f64::from(rho.clamp(-hidden::MAX_RHO, hidden::MAX_RHO));
        let v = v.max(f64::from(MIN_VARIANCE));
        match self {
            Factor::Answer(y) => probit::reference(y.into(), omega, v),
            Factor::Spike { rho, noise } => hidden::reference(omega, v, noise.into(), limited(rho)),
            Factor::Sigmoid { rho } => sigmoid::reference(omega, v, limited(rho)),
        }
    }
}

/// The spikes below a unit and the moments of its input.
#[derive(Clone, Copy, Debug)]
pub(super) struct Below<'a> {
    /// Spike probabilities, at most [`MOST`].
    pub a: &'a [f32],
    /// Means and variances of their weights.
    pub mean: &'a [f32],
    pub variance: &'a [f32],
    /// Mean and variance of the whole input.
    pub omega: f32,
    pub v: f32,
}

/// Messages of a unit: to every spike, to every weight and to the rest of its input.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct SpikeMessages {
    pub rho: [f32; LANES],
    /// g and Lambda of each weight.
    pub weight: [(f32, f32); LANES],
    /// g and Gamma of the input as a whole.
    pub rest: (f32, f32),
}

/// All messages of a unit.
pub(super) fn messages(below: Below<'_>, factor: Factor) -> SpikeMessages {
    let n = below.a.len();
    let at = |column: &[f32], j: usize| f64::from(column[j]);
    let a = |j| at(below.a, j).clamp(1e-12, 1.0 - 1e-7);
    let (m, s) = (|j| at(below.mean, j), |j| at(below.variance, j));
    let (mut rest, mut rest_v) = (f64::from(below.omega), f64::from(below.v));
    for j in 0..n {
        rest -= m(j) * a(j);
        rest_v -= s(j) * a(j) + m(j) * m(j) * a(j) * (1.0 - a(j));
    }
    let patterns = 0..1usize << n;
    let on = |b: usize, j: usize| b >> j & 1 == 1;
    let seen: Vec<FactorMoments> = patterns
        .clone()
        .map(|b| {
            let spikes = || (0..n).filter(move |j| on(b, *j));
            let omega = rest + spikes().map(m).sum::<f64>();
            let moments = factor.at(omega, rest_v.max(0.0) + spikes().map(s).sum::<f64>());
            let prior = (0..n).map(|j| libm::log(if on(b, j) { a(j) } else { 1.0 - a(j) }));
            let log_z = moments.log_z + prior.sum::<f64>();
            FactorMoments { log_z, ..moments }
        })
        .collect();
    let top = seen.iter().map(|b| b.log_z).fold(f64::MIN, f64::max);
    let share = |b: usize| libm::exp(seen[b].log_z - top);
    let total: f64 = patterns.clone().map(share).sum();
    // g and Lambda of what adds to the input where `with` holds.
    let sums = |with: &dyn Fn(usize) -> bool| {
        let (mut g, mut second) = (0.0, 0.0);
        for b in patterns.clone().filter(|b| with(*b)) {
            let weight = share(b) / total;
            g += weight * seen[b].g;
            second += weight * (seen[b].g * seen[b].g - seen[b].gamma);
        }
        (g as f32, (g * g - second) as f32)
    };
    let mut messages = SpikeMessages {
        rest: sums(&|_| true),
        ..SpikeMessages::default()
    };
    for j in 0..n {
        let odds = |spike: bool, p: f64| {
            let sum: f64 = patterns
                .clone()
                .filter(|b| on(*b, j) == spike)
                .map(share)
                .sum();
            libm::log((sum / p).max(1e-300))
        };
        messages.rho[j] = (odds(true, a(j)) - odds(false, 1.0 - a(j))) as f32;
        messages.weight[j] = sums(&|b| on(b, j));
    }
    messages
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::counter;
    use crate::num::special;

    /// Mean of `f` by midpoints, apart on both sides of the threshold at 0.
    fn mean(omega: f64, v: f64, f: impl Fn(f64) -> f64) -> f64 {
        const POINTS: u32 = 150;
        let sd = v.sqrt();
        let (low, high) = (omega - 9.0 * sd, omega + 9.0 * sd);
        let cut = 0.0f64.clamp(low, high);
        let part = |from: f64, to: f64| {
            let step = (to - from) / f64::from(POINTS);
            let at = |i| from + (f64::from(i) + 0.5) * step;
            let density = |u: f64| special::pdf((u - omega) / sd) / sd;
            (0..POINTS)
                .map(at)
                .map(|u| f(u) * density(u) * step)
                .sum::<f64>()
        };
        part(low, cut) + part(cut, high)
    }

    /// Z of three spikes by quadrature over every pattern, `force`d where a spike is known.
    fn z(
        a: &[f32; 3],
        m: &[f64; 3],
        s: &[f32; 3],
        f: impl Fn(f64) -> f64,
        force: Option<(usize, bool)>,
    ) -> f64 {
        let mut sum = 0.0;
        for b in 0..8usize {
            let on = |j: usize| b >> j & 1 == 1;
            if force.is_some_and(|(j, spike)| on(j) != spike) {
                continue;
            }
            let (mut p, mut omega, mut v) = (1.0, -0.2, 0.3);
            for j in 0..3 {
                let known = force.is_some_and(|(i, _)| i == j);
                let a = f64::from(a[j]);
                p *= if known {
                    1.0
                } else if on(j) {
                    a
                } else {
                    1.0 - a
                };
                if on(j) {
                    (omega, v) = (omega + m[j], v + f64::from(s[j]));
                }
            }
            sum += p * mean(omega, v, &f);
        }
        sum
    }

    #[test]
    fn messages_over_three_spikes_agree_with_quadrature_over_all_patterns() {
        let rho = 2.5f64;
        let on = special::sigmoid(rho);
        let spike = |u: f64| if u >= 0.0 { on } else { 1.0 - on };
        let noisy = |u: f64| {
            on * special::cdf(u / 0.2f64.sqrt()) + (1.0 - on) * special::cdf(-u / 0.2f64.sqrt())
        };
        let answer = |u: f64| special::cdf(-u);
        for i in 0..6 {
            let key = counter::row_key(0xfe3, i);
            let [mut a, mut m, mut s] = [[0.0f32; 3]; 3];
            for j in 0..3 {
                let lane = j as u32;
                // Some spikes are next to sure.
                a[j] = [0.02, 0.5, 0.97][counter::mix(key ^ lane) as usize % 3];
                m[j] = 1.5 * counter::bell(key, lane);
                s[j] = 0.2 + counter::uniform(key, 10 + lane) as f32;
            }
            let known = |column: [f32; 3]| column.map(f64::from);
            let (mut omega, mut v) = (-0.2f32, 0.3f32);
            for j in 0..3 {
                omega += m[j] * a[j];
                v += s[j] * a[j] + m[j] * m[j] * a[j] * (1.0 - a[j]);
            }
            let below = Below {
                a: &a,
                mean: &m,
                variance: &s,
                omega,
                v,
            };
            type FactorOfInput<'a> = &'a dyn Fn(f64) -> f64;
            let cases: [(Factor, FactorOfInput<'_>); 3] = [
                (
                    Factor::Spike {
                        rho: rho as f32,
                        noise: 0.0,
                    },
                    &spike,
                ),
                (
                    Factor::Spike {
                        rho: rho as f32,
                        noise: 0.2,
                    },
                    &noisy,
                ),
                (Factor::Answer(-1.0), &answer),
            ];
            for (factor, f) in cases {
                let got = messages(below, factor);
                let whole = |m: &[f64; 3]| z(&a, m, &s, f, None).ln();
                for j in 0..3 {
                    let one = |spike| z(&a, &known(m), &s, f, Some((j, spike))).ln();
                    let want = one(true) - one(false);
                    assert!(
                        (f64::from(got.rho[j]) - want).abs() < 1e-3,
                        "{got:?} {want}"
                    );
                    let at = |d: f64| {
                        let mut moved = known(m);
                        moved[j] += d;
                        whole(&moved)
                    };
                    let (low, here, high) = (at(-1e-3), at(0.0), at(1e-3));
                    let g = (high - low) / 2e-3;
                    let lambda = -(high - 2.0 * here + low) / 1e-6;
                    assert!((f64::from(got.weight[j].0) - g).abs() < 2e-3, "{got:?} {g}");
                    assert!(
                        (f64::from(got.weight[j].1) - lambda).abs() < 5e-3,
                        "{got:?} {lambda}"
                    );
                }
            }
        }
    }
}
