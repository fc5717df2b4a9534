//! The inner loops, eight values at a time: the one place where processor features are chosen.
//!
//! `multiversion` compiles each function below a second time for AVX2 with fused multiply-add and
//! picks at run time (NEON has both by default). Every sum runs in a fixed order and every
//! `mul_add` is one rounding everywhere, so the bits do not depend on the choice.
//!
//! All slices are padded to a multiple of [`LANES`]; padding holds mean 0, variance 0, spike
//! probability 0, and stays so.

use multiversion::multiversion;

use crate::num::{counter, fast};

/// Values handled together.
pub(super) const LANES: usize = 8;

/// Largest share of a weight's variance that one update may take away.
const MAX_SHARE: f32 = 0.9;

/// Smallest variance of a unit's input: below it the unit is a sure step.
const MIN_VARIANCE: f32 = 1e-12;

/// Largest log-odds message to a spike; e^-30 is below what f32 sees next to 1.
const MAX_RHO: f32 = 30.0;

/// Rounds up to a whole number of lanes.
pub(super) fn padded(n: usize) -> usize {
    n.next_multiple_of(LANES)
}

/// How far a likelihood term moves the weights.
#[derive(Clone, Copy, Debug)]
pub(super) struct Power {
    /// Likelihood power.
    pub eta: f32,
    /// 1 where the mean's step shrinks with the precision (any power but 1), else 0.
    pub shrink: f32,
}

impl Power {
    /// The power as the kernels want it.
    pub(super) fn new(eta: f32) -> Power {
        Power {
            eta,
            shrink: if eta == 1.0 { 0.0 } else { 1.0 },
        }
    }
}

/// Moves one weight by gradient `g` and precision `lambda` (both per weight); counts clipping.
#[inline(always)]
pub(super) fn step(m: &mut f32, s: &mut f32, g: f32, lambda: f32, power: Power, clipped: &mut u32) {
    let wanted = power.eta * lambda * *s;
    let x = wanted.clamp(0.0, MAX_SHARE);
    *clipped += u32::from(x != wanted);
    let gain = power.eta * *s * g;
    *m = gain.mul_add((-power.shrink).mul_add(x, 1.0), *m);
    *s = (-*s).mul_add(x, *s);
}

/// Sums eight lanes in a fixed order.
#[inline(always)]
fn horizontal(x: [f32; LANES]) -> f32 {
    ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7]))
}

#[inline(always)]
fn input_block<const B: usize>(
    (index, value): (&[u32], &[f32]),
    (mean, variance): (&[f32], &[f32]),
    (stride, at): (usize, usize),
    (omega, v): (&mut [f32], &mut [f32]),
) {
    let mut w = [[0.0f32; LANES]; B];
    let mut u = [[0.0f32; LANES]; B];
    for (&j, &x) in index.iter().zip(value) {
        let start = j as usize * stride + at;
        let x2 = x * x;
        let (m, _) = mean[start..start + B * LANES].as_chunks::<LANES>();
        let (s, _) = variance[start..start + B * LANES].as_chunks::<LANES>();
        for b in 0..B {
            for l in 0..LANES {
                w[b][l] = m[b][l].mul_add(x, w[b][l]);
                u[b][l] = s[b][l].mul_add(x2, u[b][l]);
            }
        }
    }
    omega[at..at + B * LANES].copy_from_slice(w.as_flattened());
    v[at..at + B * LANES].copy_from_slice(u.as_flattened());
}

/// Input layer, forward: `omega[i] = sum m_ji x_j`, `v[i] = sum s_ji x_j^2` over the active inputs.
#[multiversion(targets("x86_64+avx2+fma"))]
pub(super) fn input_sums(
    x: (&[u32], &[f32]),
    weights: (&[f32], &[f32]),
    stride: usize,
    sums: (&mut [f32], &mut [f32]),
) {
    let (omega, v) = sums;
    let mut at = 0;
    while at < stride {
        let place = (stride, at);
        match (stride - at) / LANES {
            1 => input_block::<1>(x, weights, place, (omega, v)),
            2 => input_block::<2>(x, weights, place, (omega, v)),
            3 => input_block::<3>(x, weights, place, (omega, v)),
            _ => input_block::<4>(x, weights, place, (omega, v)),
        }
        at += 4 * LANES;
    }
}

/// Input layer, learning: every weight of an active input moves by its unit's g and Gamma (clipped
/// at 0 by the caller). Returns the number of clipped precisions.
#[multiversion(targets("x86_64+avx2+fma"))]
pub(super) fn input_learn(
    x: (&[u32], &[f32]),
    weights: (&mut [f32], &mut [f32]),
    messages: (&[f32], &[f32]),
    power: Power,
) -> u64 {
    let (index, value) = x;
    let (mean, variance) = weights;
    let (g, _) = messages.0.as_chunks::<LANES>();
    let (gamma, _) = messages.1.as_chunks::<LANES>();
    let stride = g.len() * LANES;
    let mut clipped = [0u32; LANES];
    for (&j, &x) in index.iter().zip(value) {
        let x2 = x * x;
        let start = j as usize * stride;
        let (m, _) = mean[start..start + stride].as_chunks_mut::<LANES>();
        let (s, _) = variance[start..start + stride].as_chunks_mut::<LANES>();
        for (((m, s), g), gamma) in m.iter_mut().zip(s).zip(g).zip(gamma) {
            for l in 0..LANES {
                step(
                    &mut m[l],
                    &mut s[l],
                    g[l] * x,
                    gamma[l] * x2,
                    power,
                    &mut clipped[l],
                );
            }
        }
    }
    clipped.iter().map(|&c| u64::from(c)).sum()
}

/// Dense layer, forward: adds the moments of each unit's input from the spikes `a` below.
/// Weights are unit-major, one row of `a.len()` a unit.
#[multiversion(targets("x86_64+avx2+fma"))]
pub(super) fn dense_sums(a: &[f32], weights: (&[f32], &[f32]), sums: (&mut [f32], &mut [f32])) {
    let (a, _) = a.as_chunks::<LANES>();
    let (m, _) = weights.0.as_chunks::<LANES>();
    let (s, _) = weights.1.as_chunks::<LANES>();
    let rows = m.chunks_exact(a.len()).zip(s.chunks_exact(a.len()));
    for ((m, s), (omega, v)) in rows.zip(sums.0.iter_mut().zip(sums.1)) {
        let mut w = [0.0f32; LANES];
        let mut u = [0.0f32; LANES];
        for ((a, m), s) in a.iter().zip(m).zip(s) {
            for l in 0..LANES {
                w[l] = m[l].mul_add(a[l], w[l]);
                let spread = m[l] * m[l] * (1.0 - a[l]);
                u[l] = (s[l] + spread).mul_add(a[l], u[l]);
            }
        }
        *omega += horizontal(w);
        *v += horizontal(u);
    }
}

/// A Gaussian observation of one unit's input.
#[derive(Clone, Copy, Debug)]
pub(super) struct Observed {
    /// y - omega.
    pub error: f32,
    /// V.
    pub variance: f32,
    /// Variance of the noise, above 0.
    pub noise: f32,
}

/// Dense layer under a Gaussian output: the exact mixture over each spike. Adds the log-odds
/// messages to `rho`, moves the weights, returns the number of clipped precisions.
///
/// With V0, e0 the variance and error without the spike, V1 = V0 + s, e1 = e0 - m with it:
/// rho = (ln(V0/V1) - e1^2/V1 + e0^2/V0)/2, written so that nothing cancels for small m and s;
/// q = a/(a + (1-a) e^-rho); g_w = q e1/V1; Lambda = q/V1 - q (1-q) (e1/V1)^2.
#[multiversion(targets("x86_64+avx2+fma"))]
pub(super) fn dense_gaussian(
    a: &[f32],
    weights: (&mut [f32], &mut [f32]),
    rho: &mut [f32],
    seen: Observed,
    power: Power,
) -> u64 {
    let (a, _) = a.as_chunks::<LANES>();
    let (m, _) = weights.0.as_chunks_mut::<LANES>();
    let (s, _) = weights.1.as_chunks_mut::<LANES>();
    let (rho, _) = rho.as_chunks_mut::<LANES>();
    let mut clipped = [0u32; LANES];
    for (((a, m), s), rho) in a.iter().zip(m).zip(s).zip(rho) {
        for l in 0..LANES {
            let (p, mean, var) = (a[l], m[l], s[l]);
            let spread = (mean * mean).mul_add(1.0 - p, var) * p;
            let v0 = (seen.variance - spread).max(0.0) + seen.noise;
            let ratio = var / v0;
            let inv1 = 1.0 / (v0 + var);
            let e0 = mean.mul_add(p, seen.error);
            let e1 = e0 - mean;
            let square = (e0 * e0).mul_add(ratio, mean * (e0 + e1)) * inv1;
            let message = 0.5 * (square - fast::ln_1p(ratio));
            rho[l] += message;
            let q = p / (1.0 - p).mul_add(fast::exp(-message), p);
            let g1 = e1 * inv1;
            let lambda = q * (inv1 - (1.0 - q) * g1 * g1);
            step(&mut m[l], &mut s[l], q * g1, lambda, power, &mut clipped[l]);
        }
    }
    clipped.iter().map(|&c| u64::from(c)).sum()
}

/// Dense layer under any other factor: messages and weight steps by second-order expansion.
///
/// rho = g m + Gamma m^2 (a - 1/2) + c s/2; g_w = g a + c m a(1-a); Lambda = Gamma a^2 - c a(1-a).
#[multiversion(targets("x86_64+avx2+fma"))]
pub(super) fn dense_linear(
    a: &[f32],
    weights: (&mut [f32], &mut [f32]),
    rho: &mut [f32],
    (g, gamma): (f32, f32),
    power: Power,
) -> u64 {
    let (a, _) = a.as_chunks::<LANES>();
    let (m, _) = weights.0.as_chunks_mut::<LANES>();
    let (s, _) = weights.1.as_chunks_mut::<LANES>();
    let (rho, _) = rho.as_chunks_mut::<LANES>();
    let c = g.mul_add(g, -gamma);
    let mut clipped = [0u32; LANES];
    for (((a, m), s), rho) in a.iter().zip(m).zip(s).zip(rho) {
        for l in 0..LANES {
            let (p, mean, var) = (a[l], m[l], s[l]);
            let spread = p * (1.0 - p);
            let linear = (gamma * mean).mul_add(p - 0.5, g) * mean;
            rho[l] += (0.5 * c).mul_add(var, linear);
            let g_w = g.mul_add(p, c * mean * spread);
            let lambda = (gamma * p).mul_add(p, -c * spread);
            step(&mut m[l], &mut s[l], g_w, lambda, power, &mut clipped[l]);
        }
    }
    clipped.iter().map(|&c| u64::from(c)).sum()
}

/// Hidden units, forward: spike probabilities, with what the messages need later.
/// `tail` receives Phi(-|t|), `pdf` phi(t), `inv_sd` 1/sqrt(V + noise), t = omega * inv_sd.
/// Returns a sum that is finite if and only if every moment was.
#[multiversion(targets("x86_64+avx2+fma"))]
pub(super) fn activate(
    moments: (&[f32], &[f32]),
    noise: f32,
    a: &mut [f32],
    cache: (&mut [f32], &mut [f32], &mut [f32]),
) -> f32 {
    let (omega, _) = moments.0.as_chunks::<LANES>();
    let (v, _) = moments.1.as_chunks::<LANES>();
    let (a, _) = a.as_chunks_mut::<LANES>();
    let (tail, _) = cache.0.as_chunks_mut::<LANES>();
    let (pdf, _) = cache.1.as_chunks_mut::<LANES>();
    let (inv_sd, _) = cache.2.as_chunks_mut::<LANES>();
    let mut check = [0.0f32; LANES];
    let out = a.iter_mut().zip(tail).zip(pdf).zip(inv_sd);
    for ((omega, v), (((a, tail), pdf), inv_sd)) in omega.iter().zip(v).zip(out) {
        for l in 0..LANES {
            let inv = 1.0 / (v[l].max(MIN_VARIANCE) + noise).sqrt();
            let t = omega[l] * inv;
            // 0 times a number that is not finite is not a number.
            check[l] += 0.0 * (omega[l] + v[l]);
            let density = fast::normal_pdf(t);
            let q = density * fast::mills(t.abs());
            tail[l] = q;
            pdf[l] = density;
            inv_sd[l] = inv;
            a[l] = if t < 0.0 { q } else { 1.0 - q };
        }
    }
    horizontal(check)
}

/// Hidden units, backward: from the messages `rho` to each unit's g and Gamma.
///
/// p = sigma(rho), Z = p Phi(t) + (1-p) Phi(-t), g = (2p-1) phi(t) / (sd Z),
/// Gamma = g (g + omega / (V + noise)).
#[multiversion(targets("x86_64+avx2+fma"))]
pub(super) fn unit_messages(
    rho: &[f32],
    omega: &[f32],
    cache: (&[f32], &[f32], &[f32]),
    out: (&mut [f32], &mut [f32]),
) {
    let (rho, _) = rho.as_chunks::<LANES>();
    let (omega, _) = omega.as_chunks::<LANES>();
    let (tail, _) = cache.0.as_chunks::<LANES>();
    let (pdf, _) = cache.1.as_chunks::<LANES>();
    let (inv_sd, _) = cache.2.as_chunks::<LANES>();
    let (g, _) = out.0.as_chunks_mut::<LANES>();
    let (gamma, _) = out.1.as_chunks_mut::<LANES>();
    let inputs = rho.iter().zip(omega).zip(tail).zip(pdf).zip(inv_sd);
    for (((((rho, omega), tail), pdf), inv_sd), (g, gamma)) in inputs.zip(g.iter_mut().zip(gamma)) {
        for l in 0..LANES {
            let r = rho[l].clamp(-MAX_RHO, MAX_RHO);
            let e = fast::exp(-r.abs());
            let likely = 1.0 / (1.0 + e);
            let unlikely = e * likely;
            // Where the message and the forward pass agree, Z is near 1, else near 0: adding the
            // small terms of either side apart keeps the relative precision of Z.
            let agree = (r < 0.0) == (omega[l] < 0.0);
            let (same, other) = if agree {
                (likely, unlikely)
            } else {
                (unlikely, likely)
            };
            let z = same.mul_add(1.0 - tail[l], other * tail[l]);
            let scaled = pdf[l] * inv_sd[l] / z;
            let value = fast::tanh_half(r) * scaled;
            g[l] = value;
            gamma[l] = value * (omega[l] * inv_sd[l]).mul_add(inv_sd[l], value);
        }
    }
}

/// Moves one row of weights towards its prior: `keep` of the sites' natural parameters stays.
///
/// 1/s <- 1/s0 + keep (1/s - 1/s0), and likewise m/s; the prior means are drawn again by counter.
#[multiversion(targets("x86_64+avx2+fma"))]
pub(super) fn decay(
    weights: (&mut [f32], &mut [f32]),
    prior: (&[f32], &[f32]),
    row_key: u32,
    keep: f32,
) {
    let (m, _) = weights.0.as_chunks_mut::<LANES>();
    let (s, _) = weights.1.as_chunks_mut::<LANES>();
    let (scale, _) = prior.0.as_chunks::<LANES>();
    let (precision, _) = prior.1.as_chunks::<LANES>();
    let lose = 1.0 - keep;
    for (c, (((m, s), scale), precision)) in
        m.iter_mut().zip(s).zip(scale).zip(precision).enumerate()
    {
        for l in 0..LANES {
            let mean0 = scale[l] * counter::bell(row_key, (c * LANES + l) as u32);
            let pull = lose * s[l] * precision[l];
            let inv = 1.0 / (keep + pull);
            m[l] = keep.mul_add(m[l], pull * mean0) * inv;
            s[l] *= inv;
        }
    }
}
