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

/// The deviate t with ln Phi(t) = `ln_p`, for probabilities up to a half: Newton's steps on ln Phi from the
/// leading terms of its tail.
pub fn deviate_of_ln(ln_p: f64) -> f64 {
    let ln_p = ln_p.min(-std::f64::consts::LN_2);
    let square = -2.0 * (ln_p + LN_SQRT_2PI);
    let mut t = if square > 4.0 {
        -(square - libm::log(square)).sqrt()
    } else {
        0.0
    };
    for _ in 0..5 {
        let step = (ln_cdf(t) - ln_p) / inverse_mills(t);
        t -= step;
        if step.abs() < 1e-9 {
            break;
        }
    }
    t
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

/// Nodes and weights of the Gauss-Legendre rule of order 8 on [-1, 1], the positive half.
const GAUSS: [(f64, f64); 4] = [
    (0.183_434_642_495_649_8, 0.362_683_783_378_362),
    (0.525_532_409_916_329, 0.313_706_645_877_887_3),
    (0.796_666_477_413_626_7, 0.222_381_034_453_374_5),
    (0.960_289_856_497_536_2, 0.101_228_536_290_376_3),
];

/// Owen's T(h, c), the integral of exp(-h^2 (1 + x^2)/2) / (1 + x^2) / 2 pi over x from 0 to c, for
/// 0 <= c <= 1; within 1e-7. (Here and not by a series: the error is far below any use of it.)
///
/// With u ~ N(omega, V) and h = omega/sqrt(V + n): E Phi(u/sqrt(n))^2 =
/// Phi(h) - 2 T(h, sqrt(n/(2V + n))) (Owen, 1956).
pub fn owens_t(h: f64, c: f64) -> f64 {
    let f = |x: f64| {
        let q = 1.0 + x * x;
        libm::exp(-0.5 * h * h * q) / q
    };
    let half = 0.5 * c;
    let pairs = GAUSS.map(|(x, w)| w * (f(half * (1.0 - x)) + f(half * (1.0 + x))));
    half * pairs.iter().sum::<f64>() / std::f64::consts::TAU
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
    fn deviates_are_the_inverse_of_the_distribution_function() {
        for t in [0.0, -0.01, -0.5, -1.0, -1.96, -2.2, -5.0, -9.0, -37.0] {
            let found = deviate_of_ln(ln_cdf(t));
            assert!((found - t).abs() < 1e-8, "{t} {found}");
        }
    }

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
            // Values that f32 cannot hold (below 1e-38) are only asked to be small.
            oracle::close(fast::ln_cdf(t).into(), row[1], 2e-5, 1e-37, &row);
            oracle::close(fast::inverse_mills(t).into(), row[2], 2e-5, 1e-37, &row);
            oracle::close(fast::curvature(t).into(), row[3], 2e-5, 1e-34, &row);
        }
    }

    #[test]
    fn owens_t_is_the_expected_square_of_a_probit() {
        assert!((owens_t(0.0, 0.7) - 0.7f64.atan() / std::f64::consts::TAU).abs() < 1e-9);
        for (omega, v, n) in [
            (0.3, 2.0, 0.5),
            (-1.5, 0.2, 0.1),
            (3.0, 4.0, 0.01),
            (0.0, 1e-6, 1.0),
        ] {
            // Midpoints over ten standard deviations.
            let (steps, sd): (i32, f64) = (20_000, f64::sqrt(v));
            let mut square = 0.0;
            for i in 0..steps {
                let z = 20.0 * (f64::from(i) + 0.5) / f64::from(steps) - 10.0;
                let p = cdf((omega + sd * z) / f64::sqrt(n));
                square += p * p * pdf(z) * 20.0 / f64::from(steps);
            }
            let h = omega / f64::sqrt(v + n);
            let got = cdf(h) - 2.0 * owens_t(h, f64::sqrt(n / (2.0 * v + n)));
            assert!((got - square).abs() < 1e-6, "{got} {square}");
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
