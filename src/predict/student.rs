//! Student's t distribution with 4 degrees of freedom, whose density and distribution function are
//! algebraic: no transcendental function is called.

/// Degrees of freedom: heavy tails with a finite variance.
pub const NU: f64 = 4.0;
/// Variance of the standard distribution, nu / (nu - 2).
pub const VARIANCE: f64 = 2.0;
/// Standardised deviations are limited to this many scales, where the density is still above the
/// smallest f64.
const FARTHEST: f64 = 1e50;

/// Density at `u`: 3/8 (1 + u^2/4)^(-5/2).
pub fn density(u: f64) -> f64 {
    let u = u.clamp(-FARTHEST, FARTHEST);
    let q = 1.0 + 0.25 * u * u;
    0.375 / (q * q * q.sqrt())
}

/// Probability of a value below `u`. With s = u / sqrt(4 + u^2) it is 1/2 + (3 s - s^3)/4, in the lower
/// tail (1 + s)^2 (2 - s) / 4 with 1 + s = 4 / (r (r - u)), r = sqrt(4 + u^2), free of cancellation.
pub fn cdf(u: f64) -> f64 {
    if u > 0.0 { 1.0 - lower(-u) } else { lower(u) }
}

/// [`cdf`] of a negative `u`.
fn lower(u: f64) -> f64 {
    let u = u.max(-FARTHEST);
    let r = (4.0 + u * u).sqrt();
    let below = 4.0 / (r * (r - u));
    0.25 * below * below * (3.0 - below)
}

/// ln of the density at a finite `u`, however far out.
pub fn ln_density(u: f64) -> f64 {
    if u.abs() < 1e6 {
        libm::log(density(u))
    } else {
        // 1 is nothing beside u^2/4: 3/8 (u/2)^-5.
        libm::log(0.375) - 5.0 * libm::log(0.5 * u.abs())
    }
}

/// Derivative of the log density by the log of the scale, plus 1: (nu + 1) u^2 / (nu + u^2), whose mean
/// is 1 where the scale is right.
pub fn scale_score(u: f64) -> f64 {
    let square = (u * u).min(1e100);
    (NU + 1.0) * square / (NU + square)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_distribution_function_is_the_integral_of_the_density() {
        let (mut sum, step) = (cdf(-20.0), 1e-3);
        let mut u = -20.0;
        while u < 20.0 {
            sum += step / 6.0 * (density(u) + 4.0 * density(u + 0.5 * step) + density(u + step));
            u += step;
            assert!((sum - cdf(u)).abs() < 1e-9, "{u}");
        }
    }

    #[test]
    fn known_quantiles() {
        // Two-sided 95% and 99% points of tables: 2.776445, 4.604095.
        assert!((cdf(2.776_445_105) - 0.975).abs() < 1e-9);
        assert!((cdf(4.604_094_871) - 0.995).abs() < 1e-9);
        assert!((cdf(-4.604_094_871) - 0.005).abs() < 1e-9);
    }

    #[test]
    fn the_tail_falls_as_three_over_the_fourth_power() {
        for u in [1e3, 1e6, 1e40] {
            assert!((cdf(-u) * u.powi(4) / 3.0 - 1.0).abs() < 1e-4, "{u}");
            assert!((ln_density(u) - (12f64.ln() - 5.0 * u.ln())).abs() < 1e-4);
        }
        assert!(ln_density(1e300).is_finite() && density(1e300) > 0.0);
    }

    #[test]
    fn the_score_of_the_scale_has_mean_one() {
        let (mut mean, step) = (0.0, 1e-2);
        let mut u = -2000.0;
        while u < 2000.0 {
            mean += step * density(u) * scale_score(u);
            u += step;
        }
        assert!((mean - 1.0).abs() < 1e-3, "{mean}");
    }
}
