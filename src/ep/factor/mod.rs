//! The factors of the model: each with an f64 reference and the f32 form that the kernels inline.
//!
//! A factor over a unit's input u ~ N(omega, V) has a normaliser Z; what it teaches is
//! g = d log Z / d omega and Gamma = -d2 log Z / d omega2.

pub mod gaussian;
pub mod hidden;
pub mod probit;
pub mod sigmoid;
pub mod softmax;
pub mod student;

/// A factor's normaliser and its first two derivatives, in f64.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct FactorMoments {
    /// ln Z.
    pub log_z: f64,
    /// d ln Z / d omega.
    pub g: f64,
    /// -d2 ln Z / d omega2.
    pub gamma: f64,
}

/// Quadrature for the tests: expectations over a Gaussian without using the factor's own formulas.
#[cfg(test)]
pub(crate) mod quadrature {
    use super::FactorMoments;

    /// Trapezoid sum of exp(ln_f) over omega +- 12 sd, split at 0 where thresholds sit.
    /// Derivatives come from the identity d Z / d omega = E[(u - omega) f] / V.
    pub(crate) fn moments(omega: f64, v: f64, f: impl Fn(f64) -> f64) -> FactorMoments {
        let sd = v.sqrt();
        let (low, high) = (omega - 12.0 * sd, omega + 12.0 * sd);
        let cut = 0.0f64.clamp(low, high);
        let mut sums = [0.0; 3];
        for (a, b) in [(low, cut), (cut, high)] {
            let (n, width) = (20_000, b - a);
            if width <= 0.0 {
                continue;
            }
            let h = width / f64::from(n);
            // Midpoints: no value is asked for at the threshold itself.
            for i in 0..n {
                let u = a + (f64::from(i) + 0.5) * h;
                let t = (u - omega) / sd;
                let w = f(u) * (-0.5 * t * t).exp() * h;
                sums[0] += w;
                sums[1] += w * t;
                sums[2] += w * t * t;
            }
        }
        let z = sums[0] / (sd * (2.0 * std::f64::consts::PI).sqrt());
        let g = sums[1] / sums[0] / sd;
        let second = (sums[2] / sums[0] - 1.0) / v;
        FactorMoments {
            log_z: z.ln(),
            g,
            gamma: g * g - second,
        }
    }
}
