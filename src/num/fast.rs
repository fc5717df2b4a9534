//! Special functions in f32, branch-free, so that loops over them become vector code.
//!
//! Every function is `#[inline(always)]` and uses `mul_add`: called from a kernel compiled for
//! fused multiply-add (see `ep::kernel`) a loop over eight values costs a few instructions each.
//! The bits are the same with and without such a processor. Coefficients: Chebyshev fits, made
//! for this file.

#![expect(
    clippy::manual_clamp,
    reason = "clamp keeps loops from becoming vector code where it must pass on NaN"
)]

/// ln 2, in two parts whose first multiplies exactly by small integers.
const LN2_HIGH: f32 = 0.693_359_4;
const LN2_LOW: f32 = -2.121_944_4e-4;
/// Adding it leaves the nearest integer in the low bits: 1.5 * 2^23.
const ROUND: f32 = 12_582_912.0;
/// 1 / sqrt(2 pi).
pub const INV_SQRT_2PI: f32 = 0.398_942_3;
/// ln sqrt(2 pi).
pub const LN_SQRT_2PI: f32 = 0.918_938_5;

/// Arguments of tails stop here, so that their squares and inverses stay finite.
const FAR: f32 = 1e18;

/// Evaluates a polynomial, lowest coefficient first.
#[inline(always)]
fn horner<const N: usize>(x: f32, c: [f32; N]) -> f32 {
    let mut sum = c[N - 1];
    let mut i = N - 1;
    while i > 0 {
        i -= 1;
        sum = sum.mul_add(x, c[i]);
    }
    sum
}

/// e^x; relative error below 3e-7. Below -87 it stays at e^-87 = 1.6e-38, above 88 at e^88.
#[inline(always)]
pub fn exp(x: f32) -> f32 {
    let x = x.max(-87.0).min(88.0);
    let shifted = x.mul_add(std::f32::consts::LOG2_E, ROUND);
    let n = shifted - ROUND;
    let r = n.mul_add(-LN2_LOW, n.mul_add(-LN2_HIGH, x)) * std::f32::consts::LOG2_E;
    let fraction = horner(
        r,
        [
            1.0,
            std::f32::consts::LN_2,
            0.240_226_5,
            0.055_503_57,
            0.009_618_057,
            0.001_339_086_7,
            0.000_154_614_48,
        ],
    );
    // The low bits of `shifted` hold n: move them into the exponent.
    let scale = f32::from_bits((shifted.to_bits() << 23).wrapping_add(0x3f80_0000));
    fraction * scale
}

/// ln(x) for normal positive x; relative error below 2e-7 away from 1, absolute below 1e-7 near it.
#[inline(always)]
pub fn ln(x: f32) -> f32 {
    // Exponent such that the mantissa lies in [sqrt(1/2), sqrt(2)).
    let bits = x.to_bits().wrapping_sub(0x3f35_04f3);
    let n = ((bits as i32) >> 23) as f32;
    let f = f32::from_bits((bits & 0x007f_ffff).wrapping_add(0x3f35_04f3)) - 1.0;
    let tail = horner(
        f,
        [
            0.333_339_7,
            -0.250_012_6,
            0.199_611_48,
            -0.165_789_59,
            0.149_341_74,
            -0.142_628_31,
            0.086_427_7,
        ],
    );
    let f2 = f * f;
    let low = n.mul_add(LN2_LOW, (f2 * f).mul_add(tail, -0.5 * f2));
    n.mul_add(LN2_HIGH, f + low)
}

/// ln(1 + x) for x >= 0, finite; relative error below 5e-7 also where x is tiny.
#[inline(always)]
pub fn ln_1p(x: f32) -> f32 {
    let u = 1.0 + x;
    // The rounding error of u, to first order.
    ln(u) + (x - (u - 1.0)) / u
}

/// Mills ratio (1 - Phi(z)) / phi(z) for z >= 0; relative error below 5e-7, finite everywhere.
///
/// With u = 3.5 / (3.5 + z) the quotient of the ratio and u is smooth on [0, 1] (the idea of
/// Numerical Recipes' erfcc).
#[inline(always)]
pub fn mills(z: f32) -> f32 {
    let z = z.min(FAR);
    let u = 3.5 / (3.5 + z);
    u * horner(
        u,
        [
            0.285_714_3,
            0.285_710_65,
            0.262_548_24,
            0.213_292_64,
            0.169_685_21,
            0.008_082_581,
            0.183_151_41,
            -0.216_941_24,
            0.062_070_597,
        ],
    )
}

/// phi(t), the standard normal density; at least 6e-39 and never below it.
#[inline(always)]
pub fn normal_pdf(t: f32) -> f32 {
    INV_SQRT_2PI * exp(-0.5 * t * t)
}

/// (phi(t), Phi(t)): density and distribution function of the standard normal.
#[inline(always)]
pub fn normal(t: f32) -> (f32, f32) {
    let pdf = normal_pdf(t);
    let tail = pdf * mills(t.abs());
    (pdf, if t < 0.0 { tail } else { 1.0 - tail })
}

/// phi(t) / Phi(t), the inverse Mills ratio; relative error below 2e-5, tails included.
#[inline(always)]
pub fn inverse_mills(t: f32) -> f32 {
    let m = mills(t.abs());
    let pdf = normal_pdf(t);
    let right = pdf / pdf.mul_add(-m, 1.0);
    if t < 0.0 { 1.0 / m } else { right }
}

/// r (r + t) with r = phi(t) / Phi(t): minus the second derivative of ln Phi, within 0 to 1;
/// relative error below 2e-5. Left of -8 by its asymptotic series, where r + t would cancel.
#[inline(always)]
pub fn curvature(t: f32) -> f32 {
    let r = inverse_mills(t);
    let w = 1.0 / (t * t).max(1e-6).min(FAR);
    // 1 - 1/t^2 + 6/t^4 - 50/t^6 + 518/t^8, from r + t = 1/|t| - 2/|t|^3 + 10/|t|^5 - ...
    let series = horner(w, [1.0, -1.0, 6.0, -50.0, 518.0, -6354.0]);
    if t < -8.0 { series } else { r * (r + t) }
}

/// ln Phi(t); relative error below 2e-5, tails included.
#[inline(always)]
pub fn ln_cdf(t: f32) -> f32 {
    let t = t.max(-FAR).min(FAR);
    let m = mills(t.abs());
    let left = ln(m) - LN_SQRT_2PI - 0.5 * t * t;
    // ln(1 - q) with q <= 1/2 as -ln(1 + q / (1 - q)).
    let q = normal_pdf(t) * m;
    let right = -ln_1p(q / (1.0 - q));
    if t < 0.0 { left } else { right }
}

/// tanh(x / 2) = 2 sigma(x) - 1, precise around 0 as well; the argument is limited to +-80.
#[inline(always)]
pub fn tanh_half(x: f32) -> f32 {
    let h = 0.5 * x;
    let h2 = h * h;
    let near = h * horner(
        h2,
        [
            1.0,
            -0.333_333_34,
            0.133_333_34,
            -0.053_968_254,
            0.021_869_488,
        ],
    );
    let e = exp(-x.abs().min(80.0));
    let far = ((1.0 - e) / (1.0 + e)).copysign(x);
    if h2 < 0.04 { near } else { far }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn grid(from: f64, to: f64) -> impl Iterator<Item = f64> {
        (0..=20_000).map(move |i| from + (to - from) * f64::from(i) / 20_000.0)
    }

    fn worst(from: f64, to: f64, ours: impl Fn(f32) -> f32, truth: impl Fn(f64) -> f64) -> f64 {
        grid(from, to)
            .map(|x| {
                let x = x as f32;
                let t = truth(f64::from(x));
                (f64::from(ours(x)) - t).abs() / t.abs().max(1e-300)
            })
            .fold(0.0, f64::max)
    }

    #[test]
    fn exp_and_ln_are_precise_to_a_few_roundings() {
        assert!(worst(-86.0, 87.0, exp, f64::exp) < 3e-7);
        assert!(worst(1e-3, 0.9, ln, f64::ln) < 3e-7);
        assert!(worst(1.1, 1e6, ln, f64::ln) < 3e-7);
        assert!(worst(0.0, 1e-3, |x| ln_1p(x + 1e-9), |x| (x + 1e-9).ln_1p()) < 5e-7);
        assert!(worst(0.0, 50.0, |x| ln_1p(x + 1e-9), |x| (x + 1e-9).ln_1p()) < 5e-7);
    }

    #[test]
    fn tanh_half_is_precise_around_zero() {
        assert!(worst(1e-6, 5.0, tanh_half, |x| (x / 2.0).tanh()) < 1e-6);
        assert_eq!(tanh_half(-3.0), -tanh_half(3.0));
        assert_eq!(tanh_half(500.0), 1.0);
    }

    #[test]
    fn the_normal_tails_agree_with_erfc() {
        let cdf = |t: f64| 0.5 * libm::erfc(-t / std::f64::consts::SQRT_2);
        assert!(worst(-12.0, 12.0, |t| normal(t).1, cdf) < 2e-5);
        assert!(worst(-12.0, 5.0, ln_cdf, |t| cdf(t).ln()) < 2e-5);
    }

    #[test]
    fn everything_is_finite_on_the_whole_line() {
        for t in [0.0, 1e-30, 1.0, 13.0, 40.0, 1e10, 1e19, f32::MAX] {
            for t in [t, -t] {
                let (pdf, cdf) = normal(t);
                assert!(pdf.is_finite() && (0.0..=1.0).contains(&cdf), "{t}");
                assert!(inverse_mills(t).is_finite(), "{t}");
                assert!(ln_cdf(t).is_finite(), "{t}");
                assert!(tanh_half(t).abs() <= 1.0, "{t}");
            }
        }
    }
}
