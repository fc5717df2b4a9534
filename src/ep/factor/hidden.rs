//! A hidden unit with a deterministic or probit spike and a log-odds message rho from above.
//!
//! p = sigma(rho), t = omega / sqrt(V + noise): Z = p Phi(t) + (1 - p) Phi(-t),
//! g = (2p - 1) phi(t) / (sqrt(V + noise) Z), Gamma = g (g + omega / (V + noise)).

#![expect(
    clippy::manual_clamp,
    reason = "clamp keeps loops from becoming vector code where it must pass on NaN"
)]

use super::FactorMoments;
use crate::num::{fast, special};

/// Smallest variance of a unit's input: below it the unit is a sure step.
pub const MIN_VARIANCE: f32 = 1e-12;

/// Largest |t|: further out phi(t) is below what a rounding anywhere else hides, and numbers near the
/// smallest that f32 holds take a processor a hundred times longer.
const FAR: f32 = 12.0;

/// Smallest spike probability, for the same reason; next to 1 the spacing of f32 is 6e-8.
const MIN_SPIKE: f32 = 1e-10;

/// Smallest |g| in units of 1/sd, below it there is nothing to learn.
const MIN_G: f32 = 1e-18;

/// Largest log-odds message to a spike; e^-30 is below what f32 sees next to 1.
pub const MAX_RHO: f32 = 30.0;

/// The factor in f64. `noise` is 0 for a deterministic spike; V + noise is above 0.
pub fn reference(omega: f64, v: f64, noise: f64, rho: f64) -> FactorMoments {
    let sd = (v + noise).sqrt();
    let t = omega / sd;
    let (on, off) = (special::sigmoid(rho), special::sigmoid(-rho));
    let log_z = special::ln_add(
        libm::log(on) + special::ln_cdf(t),
        libm::log(off) + special::ln_cdf(-t),
    );
    // phi / Z through logarithms: both may be too small for a double.
    let ratio = libm::exp(-0.5 * t * t - special::LN_SQRT_2PI - log_z);
    let g = libm::tanh(0.5 * rho) * ratio / sd;
    FactorMoments {
        log_z,
        g,
        gamma: g * (g + t / sd),
    }
}

/// Forward pass of one unit.
#[derive(Clone, Copy, Debug)]
pub struct Forward {
    /// Spike probability Phi(t), at least 1e-10.
    pub a: f32,
    /// Phi(-|t|), precise however small up to |t| = 12.
    pub tail: f32,
    /// phi(t).
    pub pdf: f32,
    /// 1 / sqrt(V + noise).
    pub inv_sd: f32,
}

/// Forward pass in f32.
#[inline(always)]
pub fn forward(omega: f32, v: f32, noise: f32) -> Forward {
    let inv_sd = 1.0 / (v.max(MIN_VARIANCE) + noise).sqrt();
    let t = (omega * inv_sd).max(-FAR).min(FAR);
    let pdf = fast::normal_pdf(t);
    let tail = pdf * fast::mills(t.abs());
    Forward {
        a: if t < 0.0 {
            tail.max(MIN_SPIKE)
        } else {
            1.0 - tail
        },
        tail,
        pdf,
        inv_sd,
    }
}

/// (g, Gamma) in f32, from the forward pass and the message; |rho| is limited to [`MAX_RHO`].
#[inline(always)]
pub fn backward(rho: f32, omega: f32, unit: Forward) -> (f32, f32) {
    let r = rho.max(-MAX_RHO).min(MAX_RHO);
    let e = fast::exp(-r.abs());
    let likely = 1.0 / (1.0 + e);
    let unlikely = e * likely;
    // Where the message and the forward pass agree Z is near 1, else near 0: adding the small
    // terms of either side apart keeps the relative precision of Z.
    let agree = (r < 0.0) == (omega < 0.0);
    let same = if agree { likely } else { unlikely };
    let other = if agree { unlikely } else { likely };
    let z = same.mul_add(1.0 - unit.tail, other * unit.tail);
    let g = fast::tanh_half(r) * (unit.pdf / z);
    let g = if g.abs() < MIN_G { 0.0 } else { g } * unit.inv_sd;
    (g, g * (omega * unit.inv_sd).mul_add(unit.inv_sd, g))
}

#[cfg(test)]
mod tests {
    use super::super::quadrature;
    use super::*;
    use crate::num::oracle;

    #[test]
    fn the_reference_agrees_with_the_oracle() {
        for row in oracle::table("hidden_probit") {
            let [omega, v, noise, rho, log_z, g, gamma, _] = row[..] else {
                panic!("eight columns")
            };
            let got = reference(omega, v, noise, rho);
            // t^2 reaches 36,000 here and is rounded before it meets the exponential.
            oracle::close(got.log_z, log_z, 1e-11, 1e-14, &row);
            oracle::close(got.g, g, 1e-10, 1e-290, &row);
            oracle::close(got.gamma, gamma, 1e-9, 1e-280, &row);
        }
    }

    #[test]
    fn the_fast_form_agrees_with_the_reference() {
        for row in oracle::table("hidden_probit") {
            let [omega, v, noise, rho, ..] = row[..] else {
                panic!("eight columns")
            };
            let want = reference(omega, v, noise, rho);
            let unit = forward(omega as f32, v as f32, noise as f32);
            let (g, gamma) = backward(rho as f32, omega as f32, unit);
            let scale = 1.0 / (v + noise).sqrt();
            // Beyond |t| = 12 what is left of g is below 1e-18.
            oracle::close(g.into(), want.g, 5e-5, 1e-18 * scale, &row);
            // Gamma is a difference where g nearly cancels omega / V.
            let size = want.g * want.g + (want.g * omega / (v + noise)).abs();
            oracle::close(
                gamma.into(),
                want.gamma,
                0.0,
                1e-4 * size + 1e-16 * scale * scale,
                &row,
            );
        }
    }

    #[test]
    fn it_agrees_with_quadrature() {
        for (omega, v, rho) in [(0.3, 1.0, 2.0), (-1.5, 0.4, 1.0), (2.0, 3.0, -4.0)] {
            let (on, off) = (special::sigmoid(rho), special::sigmoid(-rho));
            let want = quadrature::moments(omega, v, |u| if u >= 0.0 { on } else { off });
            let got = reference(omega, v, 0.0, rho);
            oracle::close(got.log_z, want.log_z, 1e-6, 1e-8, &[omega, v, rho]);
            oracle::close(got.g, want.g, 1e-6, 1e-8, &[omega, v, rho]);
            oracle::close(got.gamma, want.gamma, 1e-5, 1e-7, &[omega, v, rho]);
        }
    }

    #[test]
    fn limits_and_symmetries_hold() {
        // No message, no lesson.
        assert_eq!(backward(0.0, 0.7, forward(0.7, 1.0, 0.0)), (0.0, 0.0));
        for (omega, v, rho) in [
            (0.7f32, 1.3f32, 2.0f32),
            (-3.0, 0.2, 5.0),
            (0.1, 40.0, -30.0),
        ] {
            let (g, gamma) = backward(rho, omega, forward(omega, v, 0.0));
            // Mirrored: g changes sign, Gamma does not.
            let (g2, gamma2) = backward(-rho, -omega, forward(-omega, v, 0.0));
            assert_eq!((g, gamma), (-g2, gamma2));
            // Scaled by 4: g by 1/4, Gamma by 1/16, exactly.
            let (g4, gamma4) = backward(rho, 4.0 * omega, forward(4.0 * omega, 16.0 * v, 0.0));
            assert!((g4 * 4.0 - g).abs() <= 1e-6 * g.abs(), "{g4} {g}");
            assert!((gamma4 * 16.0 - gamma).abs() <= 1e-5 * gamma.abs().max(g * g));
        }
        // V to 0 with a clear sign: sure, nothing to learn. V to infinity: nothing as well.
        assert!(backward(3.0, 1.0, forward(1.0, 0.0, 0.0)).0.abs() < 1e-20);
        assert!(backward(3.0, 1.0, forward(1.0, 1e30, 0.0)).0.abs() < 1e-14);
        // A saturated unit whose message says otherwise stays finite.
        for rho in [-30.0, 30.0] {
            let (g, gamma) = backward(rho, 12.0, forward(12.0, 1.0, 0.0));
            assert!(g.is_finite() && gamma.is_finite());
        }
    }
}
