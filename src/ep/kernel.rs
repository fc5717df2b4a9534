//! The inner loops, eight values at a time: the one place where processor features are chosen.
//!
//! `multiversion` compiles each function below a second time for AVX2 with fused multiply-add and
//! picks at run time (NEON has both by default). Every sum runs in a fixed order and every
//! `mul_add` is one rounding everywhere, so the bits do not depend on the choice.
//!
//! All slices are padded to a multiple of [`LANES`]. Spike probabilities, g and Gamma are 0 in the
//! padding, so that nothing there matters.

#![expect(
    clippy::needless_range_loop,
    reason = "the lanes of several arrays advance together"
)]

use multiversion::multiversion;

use super::factor::gaussian::{self, GaussianObservation};
use super::factor::hidden::{self, Forward};
use super::factor::{sigmoid, softmax};
use super::family::{AnyRule, Chunk, LANES, LaneCell, LaneRule, MAX_SHARE, powered};
use super::runs::{
    ActiveRun, LaneBlock, MessageRun, MessageRunMut, MomentRun, MomentRunMut, UnitMessage,
};
use crate::num::counter;

/// Rounds up to a whole number of lanes.
pub(super) fn padded(n: usize) -> usize {
    n.next_multiple_of(LANES)
}

/// Rows of weights: means and variances, and the sites where the family has any (else empty).
pub(super) struct WeightRow<'a> {
    pub mean: &'a mut [f32],
    pub variance: &'a mut [f32],
    pub h: &'a mut [f32],
    pub p: &'a mut [f32],
}

/// Sums eight lanes in a fixed order.
#[inline(always)]
fn horizontal(x: Chunk) -> f32 {
    ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7]))
}

/// Moves a row on a grid, eight weights at a time: `message(i, m, s)` gives g_w and Lambda.
/// A macro, because a closure that is not inlined loses the processor features.
macro_rules! levels_row {
    ($row:expr, $rule:expr, |$i:ident, $m:ident, $s:ident| $message:expr) => {{
        let row: WeightRow<'_> = $row;
        let (means, _) = row.mean.as_chunks_mut::<LANES>();
        let (variances, _) = row.variance.as_chunks_mut::<LANES>();
        let (hs, _) = row.h.as_chunks_mut::<LANES>();
        let (ps, _) = row.p.as_chunks_mut::<LANES>();
        let mut clipped = [0u32; LANES];
        for c in 0..means.len() {
            let (mut g_w, mut lambda) = ([0.0f32; LANES], [0.0f32; LANES]);
            for l in 0..LANES {
                let ($i, $m, $s) = (c * LANES + l, means[c][l], variances[c][l]);
                (g_w[l], lambda[l]) = $message;
            }
            let cell = LaneCell {
                m: &mut means[c],
                s: &mut variances[c],
                h: &mut hs[c],
                p: &mut ps[c],
            };
            $rule.step(cell, g_w, lambda, &mut clipped);
        }
        u64::from(clipped.iter().sum::<u32>())
    }};
}

/// Moves a row of a family without sites.
macro_rules! plain_row {
    ($row:expr, $rule:expr, |$i:ident, $m:ident, $s:ident| $message:expr) => {{
        let row: WeightRow<'_> = $row;
        let means = row.mean;
        let variances = &mut row.variance[..means.len()];
        let mut clipped = 0u32;
        for $i in 0..means.len() {
            let ($m, $s) = (means[$i], variances[$i]);
            let (g_w, lambda) = $message;
            let limited;
            (means[$i], variances[$i], limited) = $rule.step($m, $s, g_w, lambda);
            clipped += limited;
        }
        u64::from(clipped)
    }};
}

/// Moves a row of any family; the message is written once and compiled for each.
macro_rules! any_row {
    ($row:expr, $rule:expr, |$i:ident, $m:ident, $s:ident| $message:expr) => {
        match $rule {
            AnyRule::Gaussian(rule) => plain_row!($row, rule, |$i, $m, $s| $message),
            AnyRule::Binary(rule) => plain_row!($row, rule, |$i, $m, $s| $message),
            AnyRule::Levels(rule) => levels_row!($row, rule, |$i, $m, $s| $message),
        }
    };
}

#[inline(always)]
fn input_block<const B: usize>(
    x: ActiveRun<'_>,
    weights: MomentRun<'_>,
    block: LaneBlock,
    sums: &mut MomentRunMut<'_>,
) {
    let LaneBlock { stride, at } = block;
    let mut w = [[0.0f32; LANES]; B];
    let mut u = [[0.0f32; LANES]; B];
    for (j, x) in x.each() {
        let start = j as usize * stride + at;
        let x2 = x * x;
        let (m, _) = weights.mean[start..start + B * LANES].as_chunks::<LANES>();
        let (s, _) = weights.variance[start..start + B * LANES].as_chunks::<LANES>();
        for b in 0..B {
            for l in 0..LANES {
                w[b][l] = m[b][l].mul_add(x, w[b][l]);
                u[b][l] = s[b][l].mul_add(x2, u[b][l]);
            }
        }
    }
    sums.mean[at..at + B * LANES].copy_from_slice(w.as_flattened());
    sums.variance[at..at + B * LANES].copy_from_slice(u.as_flattened());
}

/// Input layer, forward: `omega[i] = sum m_ji x_j`, `v[i] = sum s_ji x_j^2` over the active inputs.
#[multiversion(targets("x86_64+avx2+fma"))]
pub(super) fn input_sums(
    x: ActiveRun<'_>,
    weights: MomentRun<'_>,
    stride: usize,
    sums: MomentRunMut<'_>,
) {
    let mut sums = sums;
    let mut at = 0;
    while at < stride {
        let block = LaneBlock { stride, at };
        match (stride - at) / LANES {
            1 => input_block::<1>(x, weights, block, &mut sums),
            2 => input_block::<2>(x, weights, block, &mut sums),
            3 => input_block::<3>(x, weights, block, &mut sums),
            _ => input_block::<4>(x, weights, block, &mut sums),
        }
        at += 4 * LANES;
    }
}

/// One row of Gaussian weights under an input of value `x`: m += s x g, s -= s^2 x^2 Gamma. Returns how many precisions were clipped. References as
/// parameters tell the compiler that the four runs of memory are apart.
#[inline(always)]
fn gaussian_row(m: &mut [f32], s: &mut [f32], g: &[f32], gamma: &[f32], x: f32) -> u32 {
    let n = m.len();
    let (s, g, gamma) = (&mut s[..n], &g[..n], &gamma[..n]);
    let mut clipped = 0;
    for i in 0..n {
        let gain = s[i] * x;
        let wanted = gain * x * gamma[i];
        let share = wanted.min(MAX_SHARE);
        m[i] = gain.mul_add(g[i], m[i]);
        s[i] = (-s[i]).mul_add(share, s[i]);
        clipped += u32::from(share != wanted);
    }
    clipped
}

/// The same for all active inputs and `N` lanes from lane `at` on, whose messages stay in registers.
#[inline(always)]
fn gaussian_block<const N: usize>(
    x: ActiveRun<'_>,
    weights: &mut MomentRunMut<'_>,
    block: LaneBlock,
    messages: MessageRun<'_>,
) -> u32 {
    let LaneBlock { stride, at } = block;
    let (mut g_lanes, mut gamma_lanes) = ([0.0f32; N], [0.0f32; N]);
    g_lanes.copy_from_slice(&messages.g[at..at + N]);
    gamma_lanes.copy_from_slice(&messages.gamma[at..at + N]);
    let mut clipped = 0;
    for (j, x) in x.each() {
        let start = j as usize * stride + at;
        let m = &mut weights.mean[start..start + N];
        let s = &mut weights.variance[start..start + N];
        clipped += gaussian_row(m, s, &g_lanes, &gamma_lanes, x);
    }
    clipped
}

/// The same with a likelihood power `eta` other than 1, see [`powered`].
#[inline(always)]
fn gaussian_power_row(
    m: &mut [f32],
    s: &mut [f32],
    messages: MessageRun<'_>,
    x: f32,
    eta: f32,
) -> u32 {
    let n = m.len();
    let (s, g, gamma) = (&mut s[..n], &messages.g[..n], &messages.gamma[..n]);
    let mut clipped = 0;
    for i in 0..n {
        let gain = s[i] * x;
        let wanted = gain * x * gamma[i];
        let share = wanted.min(MAX_SHARE);
        let (step, left) = powered(eta, share);
        m[i] = (gain * step).mul_add(g[i], m[i]);
        s[i] *= left;
        clipped += u32::from(share != wanted);
    }
    clipped
}

/// Input layer, learning, all weights Gaussian with the likelihood power `eta`: those of the active
/// inputs move by their units' g and Gamma (negative Gamma set to 0 by the caller). Returns the
/// number of clipped precisions.
#[multiversion(targets("x86_64+avx2+fma"))]
pub(super) fn input_learn_gaussian(
    x: ActiveRun<'_>,
    weights: MomentRunMut<'_>,
    messages: MessageRun<'_>,
    eta: f32,
) -> u64 {
    let mut weights = weights;
    let stride = messages.g.len();
    let block = LaneBlock { stride, at: 0 };
    // Narrow rows: a loop of known length keeps the messages in registers.
    let narrow = match stride / LANES {
        _ if eta != 1.0 => None,
        1 => Some(gaussian_block::<8>(x, &mut weights, block, messages)),
        2 => Some(gaussian_block::<16>(x, &mut weights, block, messages)),
        3 => Some(gaussian_block::<24>(x, &mut weights, block, messages)),
        4 => Some(gaussian_block::<32>(x, &mut weights, block, messages)),
        _ => None,
    };
    if let Some(clipped) = narrow {
        return clipped.into();
    }
    let mut clipped = 0u32;
    for (j, x) in x.each() {
        let start = j as usize * stride;
        let m = &mut weights.mean[start..start + stride];
        let s = &mut weights.variance[start..start + stride];
        clipped += if eta == 1.0 {
            gaussian_row(m, s, messages.g, messages.gamma, x)
        } else {
            gaussian_power_row(m, s, messages, x, eta)
        };
    }
    clipped.into()
}

/// Input layer, learning: the weights of one active input of value `x` move by their units' g and
/// Gamma (negative ones set to 0 by the caller, but for two values). Returns the number of clipped precisions.
#[multiversion(targets("x86_64+avx2+fma"))]
pub(super) fn input_learn(
    row: WeightRow<'_>,
    x: f32,
    messages: MessageRun<'_>,
    rule: AnyRule,
) -> u64 {
    let n = row.mean.len();
    let (g, gamma) = (&messages.g[..n], &messages.gamma[..n]);
    let x2 = x * x;
    any_row!(row, rule, |i, _m, _s| (g[i] * x, gamma[i] * x2))
}

/// Precisions and shifts of a run of weights.
pub(super) struct NaturalRun<'a> {
    pub precision: &'a mut [f32],
    pub shift: &'a mut [f32],
}

/// Takes a site out of a belief. The cavity, of precision `floor` and more, takes the place of both: its
/// moments that of the belief, its natural parameters that of the site. Returns how many cavities
/// had to be limited.
#[multiversion(targets("x86_64+avx2+fma"))]
pub(super) fn remove_site(belief: MomentRunMut<'_>, site: NaturalRun<'_>, floor: f32) -> u64 {
    let n = belief.mean.len();
    let (m, s) = (&mut belief.mean[..n], &mut belief.variance[..n]);
    let (precision, shift) = (&mut site.precision[..n], &mut site.shift[..n]);
    let mut limited = 0u32;
    for i in 0..n {
        let whole = 1.0 / s[i];
        let wanted = whole - precision[i];
        let cavity = if wanted < floor { floor } else { wanted };
        limited += u32::from(wanted < 0.999 * floor);
        let variance = 1.0 / cavity;
        let h = whole * m[i] - shift[i];
        (s[i], m[i]) = (variance, h * variance);
        (precision[i], shift[i]) = (cavity, h);
    }
    limited.into()
}

/// Turns the natural parameters of a cavity into the site that leads from it to the belief.
#[multiversion(targets("x86_64+avx2+fma"))]
pub(super) fn store_site(belief: MomentRun<'_>, cavity: NaturalRun<'_>) {
    let n = belief.mean.len();
    let (m, s) = (&belief.mean[..n], &belief.variance[..n]);
    let (precision, shift) = (&mut cavity.precision[..n], &mut cavity.shift[..n]);
    for i in 0..n {
        let whole = 1.0 / s[i];
        precision[i] = whole - precision[i];
        shift[i] = whole * m[i] - shift[i];
    }
}

/// Dense layer, forward: adds the moments of each unit's input from the spikes `a` below.
/// Weights are unit-major, one row of `a.len()` a unit.
#[multiversion(targets("x86_64+avx2+fma"))]
pub(super) fn dense_sums(a: &[f32], weights: MomentRun<'_>, sums: MomentRunMut<'_>) {
    let (a, _) = a.as_chunks::<LANES>();
    let (m, _) = weights.mean.as_chunks::<LANES>();
    let (s, _) = weights.variance.as_chunks::<LANES>();
    let rows = m.chunks_exact(a.len()).zip(s.chunks_exact(a.len()));
    for ((m, s), (omega, v)) in rows.zip(sums.mean.iter_mut().zip(sums.variance)) {
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

/// One unit of a dense layer under a Gaussian output, by the exact mixture over each spike. Adds
/// the log-odds messages to `rho`, moves the weights, returns the number of clipped precisions.
#[multiversion(targets("x86_64+avx2+fma"))]
pub(super) fn dense_gaussian(
    a: &[f32],
    row: WeightRow<'_>,
    rho: &mut [f32],
    seen: GaussianObservation,
    rule: AnyRule,
) -> u64 {
    let n = row.mean.len();
    let (a, rho) = (&a[..n], &mut rho[..n]);
    any_row!(row, rule, |i, m, s| {
        let message = gaussian::spike(seen, a[i], m, s);
        rho[i] += message.rho;
        (message.g, message.lambda)
    })
}

/// One unit of a dense layer under any other factor: messages and weight steps by second-order
/// expansion.
///
/// rho = g m + Gamma m^2 (a - 1/2) + c s/2; g_w = g a + c m a(1-a); Lambda = Gamma a^2 - c a(1-a).
#[multiversion(targets("x86_64+avx2+fma"))]
pub(super) fn dense_linear(
    a: &[f32],
    row: WeightRow<'_>,
    rho: &mut [f32],
    message: UnitMessage,
    rule: AnyRule,
) -> u64 {
    let UnitMessage { g, gamma } = message;
    let n = row.mean.len();
    let (a, rho) = (&a[..n], &mut rho[..n]);
    let c = g.mul_add(g, -gamma);
    any_row!(row, rule, |i, m, s| {
        let p = a[i];
        let spread = p * (1.0 - p);
        let linear = (gamma * m).mul_add(p - 0.5, g) * m;
        rho[i] += (0.5 * c).mul_add(s, linear);
        (
            g.mul_add(p, c * m * spread),
            (gamma * p).mul_add(p, -c * spread),
        )
    })
}

/// Quantities of hidden units that the forward pass computes and the backward pass needs again: Phi(-|t|), phi(t)
/// and 1/sd for probit spikes, S, S' and S'' for sigmoid ones.
pub(super) struct UnitCache<'a> {
    pub first: &'a mut [f32],
    pub second: &'a mut [f32],
    pub third: &'a mut [f32],
}

/// Probabilities and densities below this count as 0: next to 1 they are nothing in f32, and their
/// products would be subnormal, which costs a processor a hundred times as much.
const NOTHING: f32 = 1e-18;

/// `x` without what is next to nothing.
#[inline(always)]
fn flushed(x: f32) -> f32 {
    if x < NOTHING { 0.0 } else { x }
}

/// Hidden units, forward: spike probabilities. `noise` is the probit's, `None` a sigmoid.
/// Returns a sum that is finite if and only if every moment was.
#[multiversion(targets("x86_64+avx2+fma"))]
pub(super) fn activate(
    moments: MomentRun<'_>,
    noise: Option<f32>,
    a: &mut [f32],
    cache: UnitCache<'_>,
) -> f32 {
    let n = a.len();
    let (omega, v) = (&moments.mean[..n], &moments.variance[..n]);
    let (first, second, third) = (
        &mut cache.first[..n],
        &mut cache.second[..n],
        &mut cache.third[..n],
    );
    if let Some(noise) = noise {
        for i in 0..n {
            let unit = hidden::forward(omega[i], v[i], noise);
            a[i] = flushed(unit.a);
            first[i] = flushed(unit.tail);
            second[i] = flushed(unit.pdf);
            third[i] = unit.inv_sd;
        }
    } else {
        for i in 0..n {
            let [s, s1, s2] = sigmoid::forward(omega[i], v[i]);
            a[i] = flushed(s);
            first[i] = s;
            second[i] = s1;
            third[i] = s2;
        }
    }
    // 0 times a number that is not finite is not a number.
    let mut check = [0.0f32; LANES];
    for (w, v) in omega
        .as_chunks::<LANES>()
        .0
        .iter()
        .zip(v.as_chunks::<LANES>().0)
    {
        for l in 0..LANES {
            check[l] += 0.0 * (w[l] + v[l]);
        }
    }
    horizontal(check)
}

/// Hidden units, backward: from the messages `rho` to each unit's g and Gamma.
#[multiversion(targets("x86_64+avx2+fma"))]
pub(super) fn unit_messages(
    rho: &[f32],
    omega: &[f32],
    probit: bool,
    cache: UnitCache<'_>,
    out: MessageRunMut<'_>,
) {
    let n = rho.len();
    let omega = &omega[..n];
    let (x, y, z) = (&cache.first[..n], &cache.second[..n], &cache.third[..n]);
    let (g, gamma) = (&mut out.g[..n], &mut out.gamma[..n]);
    if probit {
        for i in 0..n {
            let unit = Forward {
                a: 0.0,
                tail: x[i],
                pdf: y[i],
                inv_sd: z[i],
            };
            (g[i], gamma[i]) = hidden::backward(rho[i], omega[i], unit);
        }
    } else {
        for i in 0..n {
            (g[i], gamma[i]) = sigmoid::backward(rho[i], [x[i], y[i], z[i]]);
        }
    }
}

/// A softmax, backward: see [`softmax::messages`].
#[multiversion(targets("x86_64+avx2+fma"))]
pub(super) fn softmax_messages(
    class: usize,
    moments: MomentRun<'_>,
    out: MessageRunMut<'_>,
    room: &mut Vec<f32>,
) {
    softmax::messages(class, moments, out, room);
}

/// A softmax, forward: see [`softmax::probabilities`].
#[multiversion(targets("x86_64+avx2+fma"))]
pub(super) fn softmax_probabilities(moments: MomentRun<'_>, out: &mut [f32], room: &mut Vec<f32>) {
    softmax::probabilities(moments.mean, moments.variance, out, room);
}

/// Moves one row of weights towards its prior: `keep` of the sites' natural parameters stays. The
/// prior's random draws are made again by counter.
#[multiversion(targets("x86_64+avx2+fma"))]
pub(super) fn decay(row: WeightRow<'_>, row_key: u32, keep: f32, rule: AnyRule) {
    let n = row.mean.len();
    let (m, s) = (row.mean, &mut row.variance[..n]);
    match rule {
        AnyRule::Gaussian(rule) => {
            for i in 0..n {
                let draw = counter::bell(row_key, i as u32);
                (m[i], s[i]) = rule.decay(m[i], s[i], draw, keep);
            }
        }
        AnyRule::Binary(rule) => {
            for i in 0..n {
                let draw = counter::bell(row_key, i as u32);
                (m[i], s[i]) = rule.decay(m[i], s[i], draw, keep);
            }
        }
        AnyRule::Levels(rule) => {
            let (m, s) = (m.as_chunks_mut().0, s.as_chunks_mut().0);
            let (h, p) = (row.h.as_chunks_mut().0, row.p.as_chunks_mut().0);
            for c in 0..m.len() {
                let mut draw = [0.0; LANES];
                for l in 0..LANES {
                    draw[l] = counter::bell(row_key, (c * LANES + l) as u32);
                }
                let cell = LaneCell {
                    m: &mut m[c],
                    s: &mut s[c],
                    h: &mut h[c],
                    p: &mut p[c],
                };
                rule.decay(cell, draw, keep);
            }
        }
    }
}
