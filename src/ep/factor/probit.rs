//! A probit output: P(y = +-1 | u) = Phi(y u), i.e. T = V + 1, t = y omega / sqrt(T).
//!
//! With r = phi(t) / Phi(t): g = y r / sqrt(T), Gamma = r (r + t) / T. A class is one of these
//! against the rest: +1 for the class seen, -1 for the others.

use super::FactorMoments;
use crate::num::{fast, special};

/// Variance of the noise in front of an output's threshold.
pub const NOISE: f32 = 1.0;

/// The factor in f64; `y` is 1 or -1.
pub fn reference(y: f64, omega: f64, v: f64) -> FactorMoments {
    let total = v + f64::from(NOISE);
    let root = total.sqrt();
    let t = y * omega / root;
    FactorMoments {
        log_z: special::ln_cdf(t),
        g: y * special::inverse_mills(t) / root,
        gamma: special::curvature(t) / total,
    }
}

/// (g, Gamma) in f32; `y` is 1 or -1.
#[inline(always)]
pub fn message(y: f32, omega: f32, v: f32) -> (f32, f32) {
    let inv = 1.0 / (v + NOISE).sqrt();
    let t = y * omega * inv;
    let g = y * fast::inverse_mills(t) * inv;
    (g, fast::curvature(t) * inv * inv)
}

/// Class probabilities from the outputs' moments, written to `out`: given that exactly one of the
/// independent binary answers is yes, the odds of each multiply to its share.
pub fn probabilities(mean: &[f32], variance: &[f32], out: &mut [f32]) {
    let mut top = f32::NEG_INFINITY;
    for ((m, v), p) in mean.iter().zip(variance).zip(out.iter_mut()) {
        let t = m / (v + NOISE).sqrt();
        *p = fast::ln_cdf(t) - fast::ln_cdf(-t);
        top = top.max(*p);
    }
    let mut sum = 0.0;
    for p in out.iter_mut() {
        *p = fast::exp(*p - top);
        sum += *p;
    }
    for p in out {
        *p /= sum;
    }
}

#[cfg(test)]
mod tests {
    use super::super::quadrature;
    use super::*;
    use crate::num::oracle;

    #[test]
    fn both_forms_agree_with_the_oracle() {
        for row in oracle::table("out_probit") {
            let [y, omega, v, log_z, g, gamma] = row[..] else {
                panic!("six columns")
            };
            let got = reference(y, omega, v);
            oracle::close(got.log_z, log_z, 1e-12, 1e-30, &row);
            oracle::close(got.g, g, 1e-12, 1e-300, &row);
            oracle::close(got.gamma, gamma, 1e-12, 1e-300, &row);
            let (g32, gamma32) = message(y as f32, omega as f32, v as f32);
            oracle::close(g32.into(), g, 5e-5, 1e-30, &row);
            oracle::close(gamma32.into(), gamma, 5e-5, 1e-30, &row);
        }
    }

    #[test]
    fn it_agrees_with_quadrature() {
        for (y, omega, v) in [(1.0, 0.4, 2.0), (-1.0, 1.5, 0.3), (1.0, -2.0, 9.0)] {
            let want = quadrature::moments(omega, v, |u| special::cdf(y * u));
            let got = reference(y, omega, v);
            oracle::close(got.log_z, want.log_z, 1e-6, 1e-9, &[y, omega, v]);
            oracle::close(got.g, want.g, 1e-6, 1e-9, &[y, omega, v]);
            oracle::close(got.gamma, want.gamma, 1e-5, 1e-9, &[y, omega, v]);
        }
    }

    #[test]
    fn probabilities_add_up_and_follow_the_evidence() {
        let mut p = [0.0; 3];
        probabilities(&[2.0, -1.0, -30.0], &[0.5, 0.1, 0.0], &mut p);
        assert!((p.iter().sum::<f32>() - 1.0).abs() < 1e-6);
        assert!(p[0] > p[1] && p[1] > p[2]);
        probabilities(&[-1e9; 3], &[1.0; 3], &mut p);
        assert!(p.iter().all(|p| (p - 1.0 / 3.0).abs() < 1e-6), "{p:?}");
    }

    #[test]
    fn the_mirrored_class_teaches_the_mirror_image() {
        let (a, b) = (message(1.0, 0.8, 2.0), message(-1.0, -0.8, 2.0));
        assert_eq!(a, (-b.0, b.1));
    }
}
