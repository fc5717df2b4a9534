//! p-value to e-value: evidence that can be multiplied over time.

use multiversion::multiversion;

use crate::num::fast;

/// Turns p-values into ln e(p), e(p) = (1 - p + p ln p) / (p ln^2 p), in place: the mixture of
/// kappa p^(kappa - 1) over kappa in (0, 1), with no parameter and expectation 1 under uniform p
/// (Vovk and Wang, "E-values: Calibration, combination and applications", Annals of Statistics 49,
/// 2021, equation 2). Absolute error below 1e-5.
///
/// Below l = 1/2 by the series e = (e^l - 1 - l)/l^2 = 1/2! + l/3! + l^2/4! + ...
#[multiversion(targets("x86_64+avx2+fma"))]
pub fn ln_e_values(values: &mut [f32]) {
    for value in values {
        let p = value.max(f32::MIN_POSITIVE);
        let l = -fast::ln(p);
        let mut series = 1.0 / 362_880.0;
        for over in [40_320.0, 5040.0, 720.0, 120.0, 24.0, 6.0, 2.0] {
            series = l.mul_add(series, 1.0 / over);
        }
        let near = l < 0.5;
        let closed = (1.0 - p - p * l) / (l * l).max(0.25);
        let e = if near { series } else { closed };
        *value = fast::ln(e) + if near { 0.0 } else { l };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The same in f64.
    fn ln_e_value(p: f64) -> f64 {
        // l = -ln p; e = (1 - p - p l)/(p l^2). For small l the numerator cancels: series in l.
        let p = p.max(f64::MIN_POSITIVE);
        let l = -p.ln();
        if l < 1e-2 {
            // (e^l - 1 - l)/l^2 = 1/2 + l/6 + l^2/24 + ...
            return (0.5 + l / 6.0 + l * l / 24.0).ln();
        }
        ((1.0 - p - p * l) / (l * l)).ln() + l
    }

    #[test]
    fn its_expectation_under_uniform_p_is_one() {
        // Midpoint rule in l = -ln p: the integral of e(p) dp is that of e(e^-l) e^-l dl; the
        // integrand falls as 1/l^2, so the part past the last node is about 1/L.
        let (n, top) = (4_000_000, 4000.0);
        let step = top / f64::from(n);
        let total: f64 = (0..n)
            .map(|i| {
                let l = (f64::from(i) + 0.5) * step;
                if l > 700.0 {
                    step / (l * l)
                } else {
                    (ln_e_value((-l).exp()) - l).exp() * step
                }
            })
            .sum();
        assert!((total + 1.0 / top - 1.0).abs() < 1e-4, "{total}");
    }

    #[test]
    fn series_and_closed_form_meet() {
        let (a, b) = (
            ln_e_value((-0.00999f64).exp()),
            ln_e_value((-0.01001f64).exp()),
        );
        assert!((b - a).abs() < 1e-5, "{a} {b}");
        assert!((ln_e_value(1.0) - 0.5f64.ln()).abs() < 1e-12);
    }

    #[test]
    fn many_at_once_are_as_good_as_one() {
        let exact: Vec<f64> = (0..4000).map(|i| (-f64::from(i) * 0.02).exp()).collect();
        let mut fast: Vec<f32> = exact.iter().map(|p| *p as f32).collect();
        ln_e_values(&mut fast);
        for (p, fast) in exact.iter().zip(fast) {
            assert!((ln_e_value(*p) - f64::from(fast)).abs() < 1e-5, "{p}");
        }
        let mut none = [0.0];
        ln_e_values(&mut none);
        assert!(none[0].is_finite() && none[0] > 70.0);
    }

    #[test]
    fn it_falls_in_p() {
        let mut last = f64::INFINITY;
        for i in 1..1000 {
            let e = ln_e_value(f64::from(i) / 1000.0);
            assert!(e < last);
            last = e;
        }
        assert!(ln_e_value(1e-300) > 600.0);
        assert!(ln_e_value(0.0).is_finite());
    }
}
