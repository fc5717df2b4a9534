//! A small shift of the level that lasts: too small in any one row, sure in the sum of many.

use serde::{Deserialize, Serialize};

/// The shift that is looked for, in standard deviations of a residual.
const SHIFT: f64 = 1.75;
/// Residuals are limited to this many standard deviations: larger ones are the other tests' business.
const LIMIT: f64 = 2.0;
/// Rows in the finest block.
const BLOCK_ROWS: f64 = 16.0;
/// Blocks that wait before they are learned: what is shifting now must not teach what is usual.
const WAIT: usize = 8;
/// Scales of blocks: 16, 64, 256 rows.
const SCALES: usize = 3;
/// Blocks of a scale in one of the next.
const FAN: f64 = 4.0;
/// Prior of each scale's variance, what the finer scale says, counts as this many blocks.
const PRIOR_BLOCKS: f64 = 4.0;
/// A block mean further out than this many standard deviations is learned as if it were there.
const BLOCK_LIMIT: f64 = 2.5;
/// Blocks that must be known before anything is judged: sixteen, so that the long-run variance is
/// known to about a third.
const MIN_BLOCKS: f64 = 16.0;
/// A channel whose long-run variance is above this many residual variances drifts by itself: a shift
/// is no news there.
const MAX_VARIANCE: f64 = 4.0;
/// The test's share of the false alarms is an eighth, ln 8 = 2.08 nats.
const SHARE: f64 = 2.079_441_541_679_836;

/// Block means of one scale.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Scale {
    /// Variance of the means about the habitual mean.
    variance: f64,
    /// Blocks known.
    weight: f64,
    /// Sums for the next scale: of means, of weights, and the number of blocks.
    gathered: (f64, f64, f64),
}

/// Two-sided CUSUM of log-likelihood ratios for a shift of the mean (Page, Biometrika 41, 1954), with
/// the null measured instead of assumed: block means of the channel's own past, at three scales, give
/// the mean that residuals usually have and the long-run variance, which is that of a row for white
/// residuals and many times it for a channel that drifts. The variance being an estimate from nu
/// blocks, a ratio of M nats counts as (nu/2) ln(1 + 2M/nu), as in Student's test.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct MeanShiftCusum {
    up: f64,
    down: f64,
    mean: f64,
    /// Long-run variance, in residual variances.
    variance: f64,
    scales: [Scale; SCALES],
    /// The block that fills: sum of residuals and of weights, rows.
    block: (f64, f64, f64),
    /// Mean and weight of the blocks that wait, a ring.
    waiting: [(f32, f32); WAIT],
    blocks: usize,
}

impl Default for MeanShiftCusum {
    fn default() -> MeanShiftCusum {
        MeanShiftCusum {
            up: 0.0,
            down: 0.0,
            mean: 0.0,
            variance: 1.0,
            scales: [Scale::default(); SCALES],
            block: (0.0, 0.0, 0.0),
            waiting: [(0.0, 0.0); WAIT],
            blocks: 0,
        }
    }
}

impl MeanShiftCusum {
    /// Adds one standardised residual to the evidence, which stays at or below `cap` nats; true if it
    /// would have gone further.
    pub fn add(&mut self, z: f64, cap: f64) -> bool {
        if self.scales[0].weight < MIN_BLOCKS || self.variance > MAX_VARIANCE {
            self.reset();
            return false;
        }
        let off = z.clamp(-LIMIT, LIMIT) - self.mean;
        let step = |sum: f64, off: f64| {
            let ratio = (SHIFT * off - 0.5 * SHIFT * SHIFT) / self.variance;
            (sum + ratio).max(0.0)
        };
        (self.up, self.down) = (step(self.up, off), step(self.down, -off));
        let beyond = self.get() > cap;
        if beyond {
            let half = 0.5 * self.scales[0].weight;
            let most = half * ((cap + SHARE) / half).exp_m1();
            (self.up, self.down) = (self.up.min(most), self.down.min(most));
        }
        beyond
    }

    /// The evidence, nats, comparable to that of the other tests; 0 and above.
    pub fn get(&self) -> f64 {
        let sum = self.up.max(self.down);
        if sum <= SHARE {
            return 0.0;
        }
        let half = 0.5 * self.scales[0].weight;
        (half * (sum / half).ln_1p() - SHARE).max(0.0)
    }

    /// The mean that residuals usually have.
    pub fn mean(&self) -> f64 {
        self.mean
    }

    /// Forgets the evidence, not what is usual.
    pub fn reset(&mut self) {
        (self.up, self.down) = (0.0, 0.0);
    }

    /// Keeps the share `keep` of what is known.
    pub fn fade(&mut self, keep: f64) {
        self.reset();
        for scale in &mut self.scales {
            scale.weight *= keep;
        }
    }

    /// Learns a residual with weight `weight` in 0..=1 and a memory of `memory` rows.
    pub fn observe(&mut self, z: f64, weight: f64, memory: f64) {
        self.block.0 += z.clamp(-LIMIT, LIMIT);
        self.block.1 += weight;
        self.block.2 += 1.0;
        if self.block.2 < BLOCK_ROWS {
            return;
        }
        let (sum, weights, rows) = std::mem::take(&mut self.block);
        let block = ((sum / rows) as f32, (weights / rows) as f32);
        let (mean, weight) = std::mem::replace(&mut self.waiting[self.blocks % WAIT], block);
        self.blocks += 1;
        if self.blocks > WAIT {
            self.learn(f64::from(mean), f64::from(weight), memory);
        }
    }

    /// Learns a block mean, on every scale that is full with it.
    fn learn(&mut self, mut mean: f64, mut weight: f64, memory: f64) {
        let habit = self.mean;
        let (mut rows, mut prior, mut longest) = (BLOCK_ROWS, 1.0, 0.0f64);
        let mut full = true;
        for (level, scale) in self.scales.iter_mut().enumerate() {
            if full {
                let limit = BLOCK_LIMIT * (scale.long_run(rows, prior) / rows).sqrt();
                let off = (mean - habit).clamp(-limit, limit);
                scale.weight += weight;
                let rate =
                    |known: f64| weight * (1.0 / known.max(f64::MIN_POSITIVE)).max(rows / memory);
                if level == 0 {
                    self.mean += rate(scale.weight + 1.0) * off;
                }
                scale.variance += rate(scale.weight) * (off * off - scale.variance);
                let gathered = &mut scale.gathered;
                *gathered = (gathered.0 + mean, gathered.1 + weight, gathered.2 + 1.0);
                full = gathered.2 >= FAN;
                if full {
                    (mean, weight, _) = std::mem::take(gathered);
                    (mean, weight) = (mean / FAN, weight / FAN);
                }
            }
            prior = scale.long_run(rows, prior);
            longest = longest.max(prior);
            rows *= FAN;
        }
        self.variance = longest.max(1.0);
    }
}

impl Scale {
    /// Variance of a block mean times its rows, shrunk to what the finer scale says.
    fn long_run(&self, rows: f64, prior: f64) -> f64 {
        let known = self.variance * rows * self.weight;
        (known + PRIOR_BLOCKS * prior) / (self.weight + PRIOR_BLOCKS)
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64;

    use super::*;

    const MEMORY: f64 = 2000.0;

    /// An AR(1) sequence of unit variance and autocorrelation `rho`, moved by `shift` after `from`
    /// rows; the evidence after each row.
    fn run(seed: u64, rho: f64, rows: usize, from: usize, shift: f64) -> Vec<f64> {
        let mut rng = Pcg64::seed_from_u64(seed);
        let (mut test, mut z) = (MeanShiftCusum::default(), 0.0);
        let mut one = |row: usize| {
            let noise = (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0;
            z = rho * z + (1.0 - rho * rho).sqrt() * noise;
            let moved = z + if row < from { 0.0 } else { shift };
            test.add(moved, 20.0);
            test.observe(moved, 1.0, MEMORY);
            test.get()
        };
        (0..rows).map(&mut one).collect()
    }

    #[test]
    fn a_shift_that_no_row_shows_is_sure_after_many() {
        for shift in [1.2, -1.2] {
            let evidence = run(1, 0.0, 700, 600, shift);
            assert!(evidence[..600].iter().all(|&e| e < 8.0));
            assert!(evidence[600..680].iter().any(|&e| e > 14.0));
        }
    }

    #[test]
    fn its_false_alarms_are_as_rare_as_theory_says() {
        // Reflected log-likelihood ratios pass h about once in e^h rows at most; here for h = 6 with
        // an eighth as share: less than once in 3,200 rows, over 60 sequences and both sides.
        let rows = 4000;
        let passed: usize = (0..60)
            .map(|seed| {
                let evidence = run(seed, 0.0, rows, rows, 0.0);
                let pairs = evidence.windows(2);
                pairs.filter(|e| e[0] <= 6.0 && e[1] > 6.0).count()
            })
            .sum();
        let theory = 60.0 * rows as f64 * (-6.0 - SHARE).exp();
        assert!((passed as f64) < theory, "{passed} of {theory}");
    }

    #[test]
    fn what_drifts_by_itself_raises_nothing() {
        let evidence = run(3, 0.99, 6000, 6000, 0.0);
        assert!(evidence[1000..].iter().all(|&e| e < 8.0));
    }

    #[test]
    fn evidence_ends_with_the_shift() {
        let mut rng = Pcg64::seed_from_u64(4);
        let mut test = MeanShiftCusum::default();
        let mut one = |test: &mut MeanShiftCusum, shift: f64, weight: f64| {
            let noise = (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0;
            test.add(noise + shift, 20.0);
            test.observe(noise + shift, weight, MEMORY);
        };
        (0..600).for_each(|_| one(&mut test, 0.0, 1.0));
        (0..200).for_each(|_| one(&mut test, 1.5, 0.1));
        assert!(test.get() > 14.0, "{}", test.get());
        (0..60).for_each(|_| one(&mut test, 0.0, 0.1));
        assert!(test.get() < 7.0, "{}", test.get());
    }

    #[test]
    fn the_cap_bounds_it_and_nothing_learned_means_nothing_said() {
        let mut test = MeanShiftCusum::default();
        assert!(!test.add(5.0, 20.0) && test.get() == 0.0);
        (0..20 * 16).for_each(|i| test.observe(f64::from(i % 3) - 1.0, 0.0, MEMORY));
        assert!(!test.add(2.0, 20.0), "rows of no weight taught something");
        (0..60 * 16).for_each(|i| test.observe(f64::from(i % 3) - 1.0, 1.0, MEMORY));
        assert!((0..500).any(|_| test.add(2.0, 20.0)));
        assert!((test.get() - 20.0).abs() < 1e-9, "{}", test.get());
        test.fade(0.1);
        assert_eq!(test.get(), 0.0);
    }
}
