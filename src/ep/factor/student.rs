//! Robust weighting of a Gaussian output by Student's t: far residuals count less.

/// Weight within 0 to 1 of an observation with residual `r`, predictive variance `total` (above 0)
/// and `nu` degrees of freedom: min(1, (nu + 1)/(nu + r^2/total)). Multiplying g and Gamma by it is
/// dividing the noise of a Gaussian observation by it, to first order.
#[inline(always)]
pub fn weight(r: f64, total: f64, nu: f64) -> f64 {
    ((nu + 1.0) / (nu + r * r / total)).min(1.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_residuals_count_in_full_and_large_ones_fade() {
        assert_eq!(weight(0.0, 1.0, 8.0), 1.0);
        assert_eq!(weight(1.0, 1.0, 8.0), 1.0);
        assert!((weight(10.0, 1.0, 8.0) - 9.0 / 108.0).abs() < 1e-12);
        assert_eq!(weight(3.0, 1.0, 8.0), weight(-3.0, 1.0, 8.0));
        assert_eq!(weight(1e6, 1.0, f64::INFINITY), 1.0);
        // The pull r * weight stays bounded.
        assert!(1e6 * weight(1e6, 1.0, 8.0) < 1e-4);
    }

    #[test]
    fn it_is_the_ratio_of_the_students_score_to_the_gaussian_one() {
        // d/dr of ln t_nu with unit scale is -(nu + 1) r / (nu + r^2), of the Gaussian -r.
        let (nu, r, h) = (5.0, 2.5, 1e-5);
        let ln_t = |r: f64| -0.5 * (nu + 1.0) * libm::log(1.0 + r * r / nu);
        let score = (ln_t(r + h) - ln_t(r - h)) / (2.0 * h);
        assert!((score / -r - weight(r, 1.0, nu)).abs() < 1e-8);
    }
}
