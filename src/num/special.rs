//! Special functions in f64, the reference for everything else: relative error below 1e-13 on the
//! whole line, finite wherever the true value is.

/// 1 / sqrt(2 pi).
pub const INV_SQRT_2PI: f64 = 0.398_942_280_401_432_7;
/// ln sqrt(2 pi).
pub const LN_SQRT_2PI: f64 = 0.918_938_533_204_672_7;

/// Left of this the continued fraction of the tail converges quickly.
const TAIL: f64 = -5.0;

/// phi(t), the standard normal density.
pub fn pdf(t: f64) -> f64 {
    // t^2 in two parts: its rounding error would be magnified by the exponential.
    let square = t * t;
    let rest = libm::fma(t, t, -square);
    let rest = if rest.is_finite() { rest } else { 0.0 };
    INV_SQRT_2PI * libm::exp(-0.5 * square) * (1.0 - 0.5 * rest)
}

/// Phi(t), the standard normal distribution function.
pub fn cdf(t: f64) -> f64 {
    if t < TAIL {
        pdf(t) / (-t + tail_fraction(-t))
    } else {
        0.5 * libm::erfc(-t * std::f64::consts::FRAC_1_SQRT_2)
    }
}

/// K(z) in 1 / (z + K) = (1 - Phi(z)) / phi(z): the continued fraction 1/(z + 2/(z + 3/(z + ...))),
/// for z >= 5, where 100 terms leave nothing.
fn tail_fraction(z: f64) -> f64 {
    let mut k = 0.0;
    for n in (1..=100).rev() {
        k = f64::from(n) / (z + k);
    }
    k
}

/// ln Phi(t).
pub fn ln_cdf(t: f64) -> f64 {
    if t < TAIL {
        -0.5 * t * t - LN_SQRT_2PI - libm::log(-t + tail_fraction(-t))
    } else if t < 0.0 {
        libm::log(cdf(t))
    } else {
        libm::log1p(-cdf(-t))
    }
}

/// phi(t) / Phi(t), the inverse Mills ratio.
pub fn inverse_mills(t: f64) -> f64 {
    if t < TAIL {
        -t + tail_fraction(-t)
    } else {
        pdf(t) / cdf(t)
    }
}

/// r (r + t) with r = phi(t) / Phi(t): minus the second derivative of ln Phi, within 0 to 1.
pub fn curvature(t: f64) -> f64 {
    if t < TAIL {
        // r + t is the fraction itself: nothing cancels.
        let k = tail_fraction(-t);
        (k - t) * k
    } else {
        let r = inverse_mills(t);
        r * (r + t)
    }
}

/// 1 / (1 + e^-x).
pub fn sigmoid(x: f64) -> f64 {
    if x < 0.0 {
        let e = libm::exp(x);
        e / (1.0 + e)
    } else {
        1.0 / (1.0 + libm::exp(-x))
    }
}

/// ln(e^a + e^b).
pub fn ln_add(a: f64, b: f64) -> f64 {
    let (low, high) = if a < b { (a, b) } else { (b, a) };
    if high == f64::NEG_INFINITY {
        high
    } else {
        high + libm::log1p(libm::exp(low - high))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::{fast, oracle};

    #[test]
    fn all_agree_with_the_oracle_to_1e_13() {
        for row in oracle::table("logphi") {
            let [t, ln_phi, ratio, curve] = row[..] else {
                panic!("four columns")
            };
            oracle::close(ln_cdf(t), ln_phi, 1e-13, 0.0, &row);
            oracle::close(inverse_mills(t), ratio, 1e-13, 1e-300, &row);
            oracle::close(curvature(t), curve, 2e-13, 1e-300, &row);
        }
    }

    #[test]
    fn the_fast_forms_agree_with_the_oracle_to_2e_5() {
        for row in oracle::table("logphi") {
            let t = row[0] as f32;
            // What f32 cannot hold (below 1e-38) is only asked to be small.
            oracle::close(fast::ln_cdf(t).into(), row[1], 2e-5, 1e-37, &row);
            oracle::close(fast::inverse_mills(t).into(), row[2], 2e-5, 1e-37, &row);
            oracle::close(fast::curvature(t).into(), row[3], 2e-5, 1e-34, &row);
        }
    }

    #[test]
    fn ends_of_the_line_are_finite() {
        for t in [-1e300, -1e150, -1e10, 1e10, 1e300] {
            assert!(
                inverse_mills(t).is_finite() && curvature(t).is_finite(),
                "{t}"
            );
            assert!(pdf(t) == 0.0, "{t}");
        }
        assert_eq!(ln_add(f64::NEG_INFINITY, -3.0), -3.0);
        assert_eq!(sigmoid(-1000.0) + sigmoid(1000.0), 1.0);
    }
}
