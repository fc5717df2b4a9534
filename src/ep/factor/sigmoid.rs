//! A hidden unit with a sigmoid spike: the sigmoid as a mixture of K = 5 probits.
//!
//! sigma(u) = sum_k p_k Phi(s_k u) up to 6e-7, so that with q_k = s_k / sqrt(1 + s_k^2 V) and
//! t_k = q_k omega: S = sum p_k Phi(t_k), S' = sum p_k q_k phi(t_k), S'' = -sum p_k q_k^2 t_k
//! phi(t_k). Then Z = (1-p) + (2p-1) S, g = (2p-1) S'/Z, Gamma = g^2 - (2p-1) S''/Z.

#![expect(
    clippy::manual_clamp,
    reason = "clamp keeps loops from becoming vector code where it must pass on NaN"
)]

use super::FactorMoments;
use super::hidden::MAX_RHO;
use crate::num::{fast, special};

/// Weights and slopes of the mixture, precise to 6e-7: with three probits, to 4.4e-5, a message against
/// a spike of probability 1e-4 was off by half.
const MIX5: [(f64, f64); 5] = [
    (0.429_805_477_705_085, 0.576_187_721_202_201),
    (0.294_990_406_875_417, 0.803_887_454_677_545),
    (0.207_575_356_960_121, 0.410_908_395_598_296),
    (0.044_339_278_064_106_3, 1.122_700_842_743_37),
    (0.023_289_480_395_271_4, 0.291_477_816_555_075),
];

/// (S, S', S'') in f64.
pub fn reference_forward(omega: f64, v: f64) -> (f64, f64, f64) {
    let mut sums = (0.0, 0.0, 0.0);
    for (p, s) in MIX5 {
        let q = s / (1.0 + s * s * v).sqrt();
        let t = q * omega;
        let density = special::pdf(t);
        sums.0 += p * special::cdf(t);
        sums.1 += p * q * density;
        sums.2 -= p * q * q * t * density;
    }
    sums
}

/// The factor in f64 (up to the mixture's error).
pub fn reference(omega: f64, v: f64, rho: f64) -> FactorMoments {
    let (s, s1, s2) = reference_forward(omega, v);
    let odds = libm::tanh(0.5 * rho);
    let z = special::sigmoid(-rho) + odds * s;
    let g = odds * s1 / z;
    FactorMoments {
        log_z: libm::log(z),
        g,
        gamma: g * g - odds * s2 / z,
    }
}

/// (S, S', S'') in f32.
#[inline(always)]
pub fn forward(omega: f32, v: f32) -> [f32; 3] {
    let (mut s, mut s1, mut s2) = (0.0f32, 0.0f32, 0.0f32);
    for (p, slope) in MIX5.map(|(p, slope)| (p as f32, slope as f32)) {
        let q = slope / (slope * slope).mul_add(v, 1.0).sqrt();
        let t = q * omega;
        let (pdf, cdf) = fast::normal(t);
        s = p.mul_add(cdf, s);
        s1 = (p * q).mul_add(pdf, s1);
        s2 = (-p * q * q * t).mul_add(pdf, s2);
    }
    [s, s1, s2]
}

/// (g, Gamma) in f32 from the message and (S, S', S'').
#[inline(always)]
pub fn backward(rho: f32, [s, s1, s2]: [f32; 3]) -> (f32, f32) {
    let r = rho.max(-MAX_RHO).min(MAX_RHO);
    let odds = fast::tanh_half(r);
    let e = fast::exp(-r.abs());
    let likely = 1.0 / (1.0 + e);
    let off = if r < 0.0 { likely } else { e * likely };
    // (1-p) + (2p-1) S, both terms positive in either case.
    let z = if r < 0.0 {
        (e * likely).mul_add(s, likely * (1.0 - s))
    } else {
        odds.mul_add(s, off)
    };
    let inv = odds / z;
    let g = inv * s1;
    (g, g.mul_add(g, -inv * s2))
}

#[cfg(test)]
mod tests {
    use super::super::quadrature;
    use super::*;
    use crate::num::oracle;

    #[test]
    fn both_forms_agree_with_the_oracle_up_to_the_mixture() {
        for row in oracle::table("hidden_sigmoid") {
            let [omega, v, rho, log_z, g, gamma, s, s1, s2] = row[..] else {
                panic!("nine columns")
            };
            let got = reference_forward(omega, v);
            oracle::close(got.0, s, 0.0, 1e-6, &row);
            oracle::close(got.1, s1, 0.0, 1e-5, &row);
            oracle::close(got.2, s2, 0.0, 5e-5, &row);
            let fast = forward(omega as f32, v as f32);
            oracle::close(fast[0].into(), s, 0.0, 2e-6, &row);
            oracle::close(fast[1].into(), s1, 0.0, 2e-5, &row);
            oracle::close(fast[2].into(), s2, 0.0, 1e-4, &row);
            // The factor itself where the tail does not decide (there a probit mixture is wrong).
            if s > 1e-4 && s < 1.0 - 1e-4 {
                let factor = reference(omega, v, rho);
                oracle::close(factor.log_z, log_z, 1e-4, 1e-4, &row);
                oracle::close(factor.g, g, 1e-2, 1e-3, &row);
                // Far out Gamma is the difference of g^2 and nearly the same.
                let size = 1e-2 * g * g;
                oracle::close(factor.gamma, gamma, 2e-2, 2e-3 + size, &row);
                let (g32, gamma32) = backward(rho as f32, fast);
                oracle::close(g32.into(), g, 2e-2, 2e-3, &row);
                oracle::close(gamma32.into(), gamma, 5e-2, 1e-2 + size, &row);
            }
        }
    }

    #[test]
    fn it_agrees_with_quadrature() {
        for (omega, v, rho) in [(0.3, 1.0, 2.0), (-1.5, 0.4, 1.0), (2.0, 3.0, -4.0)] {
            let (on, off) = (special::sigmoid(rho), special::sigmoid(-rho));
            let want = quadrature::moments(omega, v, |u| {
                let s = special::sigmoid(u);
                on * s + off * (1.0 - s)
            });
            let got = reference(omega, v, rho);
            oracle::close(got.log_z, want.log_z, 1e-4, 1e-5, &[omega, v, rho]);
            oracle::close(got.g, want.g, 1e-3, 1e-4, &[omega, v, rho]);
            oracle::close(got.gamma, want.gamma, 1e-2, 1e-3, &[omega, v, rho]);
        }
    }

    #[test]
    fn it_stays_finite_at_its_limits() {
        for omega in [-1e6, -40.0, 0.0, 40.0, 1e6] {
            for v in [0.0, 1.0, 1e12] {
                for rho in [-1e3, -30.0, 0.0, 30.0, 1e3] {
                    let (g, gamma) = backward(rho, forward(omega, v));
                    assert!(g.is_finite() && gamma.is_finite(), "{omega} {v} {rho}");
                }
            }
        }
        assert_eq!(backward(0.0, forward(0.4, 1.0)), (0.0, 0.0));
    }
}
