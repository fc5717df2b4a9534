//! How far the means of blocks of residuals wander, and what that leaves of evidence.

use serde::{Deserialize, Serialize};

use super::autocorrelation::LIMIT;

/// Residuals of a block, by their weight.
const BLOCK: f64 = 100.0;
/// The variance of this many block means says nothing.
const FIRST: f64 = 1.0;
/// Blocks past the first after which block means count as much as the autocorrelation.
const TRUST: f64 = 1.0;
/// Blocks that are remembered.
const MEMORY: f64 = 100.0;

/// Sums over blocks of residuals z.
///
/// For independent residuals the mean of n of them has the variance E[z^2]/n; n times the one
/// over the other is the integrated autocorrelation time tau (the method of batch means; Geyer,
/// Statistical Science 7, 1992). The autocorrelation of neighbours misses a level that wanders
/// over hours under noise; blocks do not. Evidence is tempered by tau^(-1/2) as by lag 1, which is
/// the same in an AR(1) sequence.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct BatchMeans {
    /// Sum of z in the present block, and its weight.
    sum: f64,
    weight: f64,
    /// Fading sums of z^2 and its weight, of n times the squared mean of a block, of blocks.
    squares: f64,
    squares_weight: f64,
    between: f64,
    blocks: f64,
    /// tau^(-1/2) and what it counts for, 0..1, as of the last block.
    exponent: f64,
    trust: f64,
}

impl BatchMeans {
    /// The exponent that evidence is tempered by, given the one `kappa` that lag 1 asks for:
    /// no higher than that.
    pub fn discount(&self, kappa: f64) -> f64 {
        kappa - self.trust * (kappa - self.exponent).max(0.0)
    }

    /// Learns one standardised residual with weight `weight` in 0..=1.
    pub fn observe(&mut self, z: f64, weight: f64) {
        let z = z.clamp(-LIMIT, LIMIT);
        self.sum += weight * z;
        self.weight += weight;
        self.squares += weight * z * z;
        self.squares_weight += weight;
        if self.weight < BLOCK {
            return;
        }
        self.between += self.sum * self.sum / self.weight;
        self.blocks += 1.0;
        (self.sum, self.weight) = (0.0, 0.0);
        let mean_square = (self.squares / self.squares_weight).max(1e-6);
        let tau = (self.between / self.blocks / mean_square).max(1.0);
        self.exponent = 1.0 / tau.sqrt();
        let past_first = (self.blocks - FIRST).max(0.0);
        self.trust = past_first / (past_first + TRUST);
        for sum in [
            &mut self.squares,
            &mut self.squares_weight,
            &mut self.between,
            &mut self.blocks,
        ] {
            *sum *= 1.0 - 1.0 / MEMORY;
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64;

    use super::*;

    /// Tempering of evidence by `rows` residuals of white noise of variance 1/2 around a level of
    /// variance 1/2 that forgets `rate` of itself a row.
    fn exponent(rows: usize, rate: f64) -> f64 {
        let mut rng = Pcg64::seed_from_u64(7);
        // Uniform with the variance 1.
        let mut noise = || (rng.random::<f64>() - 0.5) * 12f64.sqrt();
        let (mut wander, mut level) = (BatchMeans::default(), 0.0);
        for _ in 0..rows {
            level = (1.0 - rate) * level + (0.5 * rate * (2.0 - rate)).sqrt() * noise();
            wander.observe(level + 0.5f64.sqrt() * noise(), 1.0);
        }
        wander.discount(1.0)
    }

    #[test]
    fn independent_residuals_are_hardly_tempered() {
        let exponent = exponent(100_000, 1.0);
        assert!(exponent > 0.9, "{exponent}");
    }

    #[test]
    fn a_level_that_wanders_under_noise_tempers_by_its_time() {
        // tau of the sum over lags, 1/2 (2 - rate)/rate + 1/2, less what ends with a block:
        // 1/2 (1 + a)/(1 - a) - a (1 - a^100)/(100 (1 - a)^2) + 1/2 with a = 1 - rate.
        let a: f64 = 0.95;
        let tau = 0.5 * (1.0 + a) / (1.0 - a) + 0.5
            - a * (1.0 - a.powi(100)) / (100.0 * (1.0 - a).powi(2));
        // As many blocks as are remembered, at most, are trusted.
        let trust = (MEMORY - FIRST) / (MEMORY - FIRST + TRUST);
        let expected = 1.0 - trust * (1.0 - 1.0 / tau.sqrt());
        let exponent = exponent(200_000, 1.0 - a);
        assert!(
            (exponent / expected - 1.0).abs() < 0.1,
            "{exponent} for {expected}"
        );
    }

    #[test]
    fn one_block_says_nothing_and_it_never_raises() {
        assert_eq!(exponent(100, 0.01), 1.0);
        let mut wander = BatchMeans::default();
        (0..10_000).for_each(|row| wander.observe(f64::from(row % 2) - 0.5, 1.0));
        assert_eq!(wander.discount(0.3), 0.3);
    }
}
