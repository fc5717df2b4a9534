//! A Gaussian output y ~ N(u, sigma2), and the exact mixture over one spike below it.
//!
//! T = V + sigma2: g = (y - omega)/T, Gamma = 1/T. The message to a spike is exact at the cost of
//! the linear one: with V0, e0 the variance and error without the spike, V1 = V0 + s and
//! e1 = e0 - m with it, rho = (ln(V0/V1) - e1^2/V1 + e0^2/V0)/2.

use super::FactorMoments;
use crate::num::fast;

/// The factor in f64; `sigma2` is above 0 or V is.
pub fn reference(y: f64, omega: f64, v: f64, sigma2: f64) -> FactorMoments {
    let total = v + sigma2;
    let error = y - omega;
    FactorMoments {
        log_z: -0.5 * (libm::log(2.0 * std::f64::consts::PI * total) + error * error / total),
        g: error / total,
        gamma: 1.0 / total,
    }
}

/// Expected squared noise E[(y - u)^2 | y], in f64.
pub fn expected_noise(y: f64, omega: f64, v: f64, sigma2: f64) -> f64 {
    let share = sigma2 / (v + sigma2);
    let error = share * (y - omega);
    error * error + share * v
}

/// A Gaussian observation of one unit's input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GaussianObservation {
    /// y - omega.
    pub error: f32,
    /// V.
    pub variance: f32,
    /// Variance of the noise, above 0.
    pub noise: f32,
}

/// Largest squared error, and largest square in units of its variance, that can be learned from:
/// weights move as far as the error, and their squares and sums of these must fit into f32.
const MAX_SQUARE: f32 = 1e30;

impl GaussianObservation {
    /// Whether weights that learn from this stay within what f32 can square and add up.
    pub fn is_usable(self) -> bool {
        let square = self.error * self.error;
        // Not so for NaN.
        square <= MAX_SQUARE && square <= MAX_SQUARE * (self.variance + self.noise)
    }
}

/// The messages of one observation to one spiking input and its weight.
#[derive(Clone, Copy, Debug)]
pub struct SpikeMessage {
    /// Log-odds for the spike.
    pub rho: f32,
    /// First derivative for the weight.
    pub g: f32,
    /// Precision for the weight; may be negative.
    pub lambda: f32,
}

/// The exact mixture over one spike of probability `a` and weight N(m, s).
///
/// rho is written so that nothing cancels for small m and s;
/// q = a/(a + (1-a) e^-rho); g_w = q e1/V1; Lambda = q/V1 - q (1-q) (e1/V1)^2.
#[inline(always)]
pub fn spike(seen: GaussianObservation, a: f32, m: f32, s: f32) -> SpikeMessage {
    let spread = (m * m).mul_add(1.0 - a, s) * a;
    let v0 = (seen.variance - spread).max(0.0) + seen.noise;
    let ratio = s / v0;
    let inv1 = 1.0 / (v0 + s);
    let e0 = m.mul_add(a, seen.error);
    let e1 = e0 - m;
    let square = (e0 * e0).mul_add(ratio, m * (e0 + e1)) * inv1;
    let rho = 0.5 * (square - fast::ln_1p(ratio));
    let q = a / (1.0 - a).mul_add(fast::exp(-rho), a);
    let g1 = e1 * inv1;
    SpikeMessage {
        rho,
        g: q * g1,
        lambda: q * (inv1 - (1.0 - q) * g1 * g1),
    }
}

#[cfg(test)]
mod tests {
    use super::super::quadrature;
    use super::*;
    use crate::num::oracle;

    #[test]
    fn the_reference_agrees_with_the_oracle() {
        for row in oracle::table("out_gauss") {
            let [y, omega, v, sigma2, log_z, g, gamma, noise] = row[..] else {
                panic!("eight columns")
            };
            let got = reference(y, omega, v, sigma2);
            oracle::close(got.log_z, log_z, 1e-13, 1e-13, &row);
            oracle::close(got.g, g, 1e-13, 1e-13, &row);
            oracle::close(got.gamma, gamma, 1e-13, 0.0, &row);
            oracle::close(
                expected_noise(y, omega, v, sigma2),
                noise,
                1e-13,
                1e-16,
                &row,
            );
        }
    }

    #[test]
    fn it_agrees_with_quadrature() {
        for (y, omega, v, sigma2) in [(0.5, 0.0, 1.0, 0.3), (-2.0, 1.0, 0.2, 1.0)] {
            let density = |u: f64| {
                let e: f64 = y - u;
                (-0.5 * e * e / sigma2).exp() / (2.0 * std::f64::consts::PI * sigma2).sqrt()
            };
            let want = quadrature::moments(omega, v, density);
            let got = reference(y, omega, v, sigma2);
            oracle::close(got.log_z, want.log_z, 1e-7, 1e-8, &[y, omega]);
            oracle::close(got.g, want.g, 1e-7, 1e-8, &[y, omega]);
            oracle::close(got.gamma, want.gamma, 1e-6, 1e-8, &[y, omega]);
        }
    }

    /// The mixture in f64, straight from its definition: two Gaussians, one a spike, one not.
    fn mixture(seen: GaussianObservation, a: f64, m: f64, s: f64) -> (f64, f64, f64) {
        let (e, v, n) = (
            f64::from(seen.error),
            f64::from(seen.variance),
            f64::from(seen.noise),
        );
        let rest = v - s * a - m * m * a * (1.0 - a);
        let ln_z = |w: f64| {
            // ln of the likelihood summed over the spike for a weight known to be w.
            let off = reference(e + m * a, 0.0, rest, n).log_z;
            let on = reference(e + m * a, w, rest, n).log_z;
            (off, on)
        };
        // Quadrature over the weight.
        let (mut z, mut first, mut second, mut spike) = (0.0, 0.0, 0.0, 0.0);
        for i in -4000..=4000 {
            let x = f64::from(i) / 400.0;
            let w = m + s.sqrt() * x;
            let (off, on) = ln_z(w);
            let p = (-0.5 * x * x).exp();
            let both = p * (a * on.exp() + (1.0 - a) * off.exp());
            z += both;
            first += both * x;
            second += both * x * x;
            spike += p * a * on.exp();
        }
        let (mean, q) = (first / z, spike / z);
        let variance = second / z - mean * mean;
        let rho = (q / (1.0 - q) / (a / (1.0 - a))).ln();
        (rho, mean / s.sqrt(), (1.0 - variance) / s)
    }

    #[test]
    fn the_spike_mixture_agrees_with_quadrature_over_weight_and_spike() {
        for (error, a, m, s) in [
            (0.5, 0.3, 0.4, 0.2),
            (-2.0, 0.9, 0.1, 0.5),
            (1.0, 0.02, -0.7, 0.05),
            (0.1, 0.5, 0.01, 0.001),
        ] {
            let seen = GaussianObservation {
                error,
                variance: 1.0,
                noise: 0.3,
            };
            let want = mixture(seen, a, m, s);
            let got = spike(seen, a as f32, m as f32, s as f32);
            let what = [f64::from(error), a, m, s];
            oracle::close(got.rho.into(), want.0, 2e-4, 1e-6, &what);
            oracle::close(got.g.into(), want.1, 2e-4, 1e-6, &what);
            oracle::close(got.lambda.into(), want.2, 1e-3, 1e-4, &what);
        }
    }

    #[test]
    fn a_sure_spike_is_an_ordinary_input() {
        let seen = GaussianObservation {
            error: 0.7,
            variance: 0.5,
            noise: 0.25,
        };
        let got = spike(seen, 1.0, 0.3, 0.1);
        assert!((got.g - 0.7 / 0.75).abs() < 1e-6);
        assert!((got.lambda - 1.0 / 0.75).abs() < 1e-5);
        let silent = spike(seen, 0.0, 0.3, 0.1);
        assert_eq!((silent.g, silent.lambda), (0.0, 0.0));
    }
}
