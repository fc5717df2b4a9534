//! The inner loops, eight values at a time: the one place where processor features are chosen.
//!
//! `multiversion` compiles each function below a second time for AVX2 with fused multiply-add and
//! picks at run time (NEON has both by default). Every sum runs in a fixed order and every
//! `mul_add` is one rounding everywhere, so the bits do not depend on the choice.
//!
//! All slices are padded to a multiple of [`LANES`]. Spike probabilities, g and Gamma are 0 in the
//! padding, so that nothing there matters.

use multiversion::multiversion;

use super::factor::gaussian::{self, Observed};
use super::factor::hidden::{self, Forward};
use super::factor::sigmoid;
use super::family::{AnyRule, Cell, Chunk, Rule};
use crate::num::counter;

/// Values handled together.
pub(super) const LANES: usize = 8;

/// Rounds up to a whole number of lanes.
pub(super) fn padded(n: usize) -> usize {
    n.next_multiple_of(LANES)
}

/// Rows of weights: means and variances, and the sites where the family has any (else empty).
pub(super) struct Cells<'a> {
    pub mean: &'a mut [f32],
    pub variance: &'a mut [f32],
    pub h: &'a mut [f32],
    pub p: &'a mut [f32],
}

impl Cells<'_> {
    /// Runs `f` over the chunks.
    #[inline(always)]
    fn each(self, mut f: impl FnMut(usize, Cell<'_>)) {
        let (m, _) = self.mean.as_chunks_mut::<LANES>();
        let (s, _) = self.variance.as_chunks_mut::<LANES>();
        if self.h.is_empty() {
            let (mut h, mut p) = ([0.0; LANES], [0.0; LANES]);
            for (i, (m, s)) in m.iter_mut().zip(s).enumerate() {
                let cell = Cell {
                    m,
                    s,
                    h: &mut h,
                    p: &mut p,
                };
                f(i, cell);
            }
        } else {
            let (h, _) = self.h.as_chunks_mut::<LANES>();
            let (p, _) = self.p.as_chunks_mut::<LANES>();
            for (i, (((m, s), h), p)) in m.iter_mut().zip(s).zip(h).zip(p).enumerate() {
                f(i, Cell { m, s, h, p });
            }
        }
    }
}

/// Sums eight lanes in a fixed order.
#[inline(always)]
fn horizontal(x: Chunk) -> f32 {
    ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7]))
}

#[inline(always)]
fn total(clipped: [u32; LANES]) -> u64 {
    clipped.iter().map(|&c| u64::from(c)).sum()
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

#[inline(always)]
fn input_row<R: Rule>(row: Cells<'_>, x: f32, messages: (&[f32], &[f32]), rule: R) -> u64 {
    let (g, _) = messages.0.as_chunks::<LANES>();
    let (gamma, _) = messages.1.as_chunks::<LANES>();
    let x2 = x * x;
    let mut clipped = [0u32; LANES];
    row.each(|i, cell| {
        let g = g[i].map(|g| g * x);
        rule.step(cell, g, gamma[i].map(|gamma| gamma * x2), &mut clipped);
    });
    total(clipped)
}

/// Input layer, learning: the weights of one active input of value `x` move by their units' g and
/// Gamma (negative ones set to 0 by the caller). Returns the number of clipped precisions.
#[multiversion(targets("x86_64+avx2+fma"))]
pub(super) fn input_learn(
    row: Cells<'_>,
    x: f32,
    messages: (&[f32], &[f32]),
    rule: AnyRule,
) -> u64 {
    match rule {
        AnyRule::Gaussian(rule) => input_row(row, x, messages, rule),
        AnyRule::Binary(rule) => input_row(row, x, messages, rule),
        AnyRule::Levels(rule) => input_row(row, x, messages, rule),
    }
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

#[inline(always)]
fn gaussian_row<R: Rule>(
    a: &[f32],
    row: Cells<'_>,
    rho: &mut [f32],
    seen: Observed,
    rule: R,
) -> u64 {
    let (a, _) = a.as_chunks::<LANES>();
    let (rho, _) = rho.as_chunks_mut::<LANES>();
    let mut clipped = [0u32; LANES];
    row.each(|i, cell| {
        let (mut g, mut lambda) = ([0.0; LANES], [0.0; LANES]);
        for l in 0..LANES {
            let message = gaussian::spike(seen, a[i][l], cell.m[l], cell.s[l]);
            rho[i][l] += message.rho;
            (g[l], lambda[l]) = (message.g, message.lambda);
        }
        rule.step(cell, g, lambda, &mut clipped);
    });
    total(clipped)
}

/// One unit of a dense layer under a Gaussian output, by the exact mixture over each spike. Adds
/// the log-odds messages to `rho`, moves the weights, returns the number of clipped precisions.
#[multiversion(targets("x86_64+avx2+fma"))]
pub(super) fn dense_gaussian(
    a: &[f32],
    row: Cells<'_>,
    rho: &mut [f32],
    seen: Observed,
    rule: AnyRule,
) -> u64 {
    match rule {
        AnyRule::Gaussian(rule) => gaussian_row(a, row, rho, seen, rule),
        AnyRule::Binary(rule) => gaussian_row(a, row, rho, seen, rule),
        AnyRule::Levels(rule) => gaussian_row(a, row, rho, seen, rule),
    }
}

#[inline(always)]
fn linear_row<R: Rule>(
    a: &[f32],
    row: Cells<'_>,
    rho: &mut [f32],
    (g, gamma): (f32, f32),
    rule: R,
) -> u64 {
    let (a, _) = a.as_chunks::<LANES>();
    let (rho, _) = rho.as_chunks_mut::<LANES>();
    let c = g.mul_add(g, -gamma);
    let mut clipped = [0u32; LANES];
    row.each(|i, cell| {
        let (mut g_w, mut lambda) = ([0.0; LANES], [0.0; LANES]);
        for l in 0..LANES {
            let (p, m, s) = (a[i][l], cell.m[l], cell.s[l]);
            let spread = p * (1.0 - p);
            let linear = (gamma * m).mul_add(p - 0.5, g) * m;
            rho[i][l] += (0.5 * c).mul_add(s, linear);
            g_w[l] = g.mul_add(p, c * m * spread);
            lambda[l] = (gamma * p).mul_add(p, -c * spread);
        }
        rule.step(cell, g_w, lambda, &mut clipped);
    });
    total(clipped)
}

/// One unit of a dense layer under any other factor: messages and weight steps by second-order
/// expansion.
///
/// rho = g m + Gamma m^2 (a - 1/2) + c s/2; g_w = g a + c m a(1-a); Lambda = Gamma a^2 - c a(1-a).
#[multiversion(targets("x86_64+avx2+fma"))]
pub(super) fn dense_linear(
    a: &[f32],
    row: Cells<'_>,
    rho: &mut [f32],
    message: (f32, f32),
    rule: AnyRule,
) -> u64 {
    match rule {
        AnyRule::Gaussian(rule) => linear_row(a, row, rho, message, rule),
        AnyRule::Binary(rule) => linear_row(a, row, rho, message, rule),
        AnyRule::Levels(rule) => linear_row(a, row, rho, message, rule),
    }
}

/// What hidden units compute on the way forward and need again on the way back: Phi(-|t|), phi(t)
/// and 1/sd for probit spikes, S, S' and S'' for sigmoid ones.
pub(super) struct UnitCache<'a> {
    pub first: &'a mut [f32],
    pub second: &'a mut [f32],
    pub third: &'a mut [f32],
}

/// Hidden units, forward: spike probabilities. `noise` is the probit's, `None` a sigmoid.
/// Returns a sum that is finite if and only if every moment was.
#[multiversion(targets("x86_64+avx2+fma"))]
pub(super) fn activate(
    moments: (&[f32], &[f32]),
    noise: Option<f32>,
    a: &mut [f32],
    cache: UnitCache<'_>,
) -> f32 {
    let (omega, _) = moments.0.as_chunks::<LANES>();
    let (v, _) = moments.1.as_chunks::<LANES>();
    let (a, _) = a.as_chunks_mut::<LANES>();
    let (first, _) = cache.first.as_chunks_mut::<LANES>();
    let (second, _) = cache.second.as_chunks_mut::<LANES>();
    let (third, _) = cache.third.as_chunks_mut::<LANES>();
    let mut check = [0.0f32; LANES];
    for i in 0..omega.len() {
        let (w, v) = (omega[i], v[i]);
        let out = (&mut a[i], &mut first[i], &mut second[i], &mut third[i]);
        for l in 0..LANES {
            // 0 times a number that is not finite is not a number.
            check[l] += 0.0 * (w[l] + v[l]);
        }
        if let Some(noise) = noise {
            for l in 0..LANES {
                let unit = hidden::forward(w[l], v[l], noise);
                (out.0[l], out.1[l]) = (unit.a, unit.tail);
                (out.2[l], out.3[l]) = (unit.pdf, unit.inv_sd);
            }
        } else {
            for l in 0..LANES {
                let (s, s1, s2) = sigmoid::forward(w[l], v[l]);
                (out.0[l], out.1[l]) = (s, s);
                (out.2[l], out.3[l]) = (s1, s2);
            }
        }
    }
    horizontal(check)
}

/// Hidden units, backward: from the messages `rho` to each unit's g and Gamma.
#[multiversion(targets("x86_64+avx2+fma"))]
pub(super) fn unit_messages(
    rho: &[f32],
    omega: &[f32],
    (probit, cache): (bool, UnitCache<'_>),
    out: (&mut [f32], &mut [f32]),
) {
    let (rho, _) = rho.as_chunks::<LANES>();
    let (omega, _) = omega.as_chunks::<LANES>();
    let (first, _) = cache.first.as_chunks::<LANES>();
    let (second, _) = cache.second.as_chunks::<LANES>();
    let (third, _) = cache.third.as_chunks::<LANES>();
    let (g, _) = out.0.as_chunks_mut::<LANES>();
    let (gamma, _) = out.1.as_chunks_mut::<LANES>();
    for i in 0..rho.len() {
        let (x, y, z) = (first[i], second[i], third[i]);
        if probit {
            for l in 0..LANES {
                let unit = Forward {
                    a: 0.0,
                    tail: x[l],
                    pdf: y[l],
                    inv_sd: z[l],
                };
                (g[i][l], gamma[i][l]) = hidden::backward(rho[i][l], omega[i][l], unit);
            }
        } else {
            for l in 0..LANES {
                (g[i][l], gamma[i][l]) = sigmoid::backward(rho[i][l], (x[l], y[l], z[l]));
            }
        }
    }
}

#[inline(always)]
fn decay_row<R: Rule>(row: Cells<'_>, row_key: u32, keep: f32, rule: R) {
    row.each(|i, cell| {
        let mut draw = [0.0; LANES];
        for (l, draw) in draw.iter_mut().enumerate() {
            *draw = counter::bell(row_key, (i * LANES + l) as u32);
        }
        rule.decay(cell, draw, keep);
    });
}

/// Moves one row of weights towards its prior: `keep` of the sites' natural parameters stays. The
/// prior's random draws are made again by counter.
#[multiversion(targets("x86_64+avx2+fma"))]
pub(super) fn decay(row: Cells<'_>, row_key: u32, keep: f32, rule: AnyRule) {
    match rule {
        AnyRule::Gaussian(rule) => decay_row(row, row_key, keep, rule),
        AnyRule::Binary(rule) => decay_row(row, row_key, keep, rule),
        AnyRule::Levels(rule) => decay_row(row, row_key, keep, rule),
    }
}
