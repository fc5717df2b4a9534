//! Counts past residuals in a fading histogram: conformal p-values and quantiles.

use multiversion::multiversion;
use serde::{Deserialize, Serialize};

use super::fast;

/// Most bins.
const BINS: usize = 160;
/// Bins summed together, and added together when a score lies beyond those that there are.
const BLOCK: usize = 16;
/// ln score at the lower edge of the first bin: no score is below ln 1e-3 = -6.908.
const LOWEST: f64 = -6.95;
/// Width of a bin in ln score: the histogram reaches to ln score 17.05.
const WIDTH: f64 = 0.15;
/// Added to z^2 before the logarithm, so that a perfect prediction has a finite score.
const FLOOR: f64 = 1e-3;
/// Share of the mass that is modelled as an exponential tail (in ln score: a power law in z).
const TAIL: f64 = 0.05;
/// Prior of the tail's mean excess: [`TAIL_PRIOR_MEAN`] with this much weight.
const TAIL_PRIOR_WEIGHT: f64 = 5.0;
/// Mean excess in ln score that the tail is given before it has been seen.
const TAIL_PRIOR_MEAN: f64 = 0.25;
/// Below this much mass every p-value is 1.
const MIN_MASS: f64 = 20.0;
/// Above this the growing weight of new scores is scaled back to 1.
const MAX_UNIT: f32 = 1_048_576.0;

/// Fading histogram of ln(z^2 + 1e-3), z a standardised residual.
///
/// Fading is by growth: instead of shrinking all bins, each new score weighs a little more than
/// the one before; the bins are scaled back when that weight gets large.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ResidualHistogram {
    /// Whole blocks, up to the highest score met.
    bins: Vec<f32>,
    /// Weight of a score learned now.
    unit: f32,
    /// Mass in units of `unit`.
    mass: f64,
}

impl Default for ResidualHistogram {
    fn default() -> ResidualHistogram {
        ResidualHistogram {
            bins: Vec::new(),
            unit: 1.0,
            mass: 0.0,
        }
    }
}

impl ResidualHistogram {
    /// The score of a standardised residual.
    pub fn score(z: f64) -> f64 {
        (z * z + FLOOR).ln()
    }

    /// The scores of many standardised residuals at once, in place; absolute error below 1e-5.
    pub fn score_all(residuals: &mut [f32]) {
        score_all(residuals);
    }

    /// Conformal p-value of a score: the share of past scores at or above it, with an exponential
    /// tail past the top 5%. In (0, 1]; 1 while fewer than 20 scores are known.
    pub fn p_value(&self, score: f64) -> f64 {
        if self.mass < MIN_MASS {
            return 1.0;
        }
        let per_unit = 1.0 / f64::from(self.unit);
        let bin = bin_of(score);
        let inside = (position(score) - bin as f64).clamp(0.0, 1.0);
        let (here, above) = match self.bins.get(bin) {
            Some(here) => (
                f64::from(*here) * per_unit,
                f64::from(sum_above(&self.bins, bin)) * per_unit,
            ),
            None => (0.0, 0.0),
        };
        let p = ((above + (1.0 - inside) * here + 1.0) / (self.mass + 1.0)).min(1.0);
        if above + here >= TAIL * self.mass {
            return p;
        }
        self.tail_p_value(score).min(p)
    }

    /// p = p_u exp(-(score - u)/xi) past the upper edge u of the bin that holds the top 5% point.
    fn tail_p_value(&self, score: f64) -> f64 {
        let unit = f64::from(self.unit);
        let (top, mass_above) = self.upper_bin(TAIL);
        let edge = LOWEST + (top + 1) as f64 * WIDTH;
        let excess: f64 = self.bins[top + 1..]
            .iter()
            .enumerate()
            .map(|(i, &bin)| f64::from(bin) / unit * (i as f64 + 0.5) * WIDTH)
            .sum();
        let xi = (excess + TAIL_PRIOR_MEAN * TAIL_PRIOR_WEIGHT) / (mass_above + TAIL_PRIOR_WEIGHT);
        let p_edge = (mass_above + 1.0) / (self.mass + 1.0);
        p_edge * (-(score - edge).max(0.0) / xi).exp()
    }

    /// The highest bin at and above which at least `share` of the mass lies, and the mass above it.
    fn upper_bin(&self, share: f64) -> (usize, f64) {
        let unit = f64::from(self.unit);
        let need = share * self.mass * unit;
        let mut above = 0.0;
        // Whole blocks first: the bin is far from the top, and most of what lies above is empty.
        let (blocks, _) = self.bins.as_chunks::<BLOCK>();
        for (block, bins) in blocks.iter().enumerate().rev() {
            let all = f64::from(sum(*bins, &[]));
            if above + all < need {
                above += all;
                continue;
            }
            for (i, &here) in bins.iter().enumerate().rev() {
                let bin = block * BLOCK + i;
                if bin > 0 && above + f64::from(here) >= need {
                    return (bin, above / unit);
                }
                above += f64::from(here);
            }
        }
        (0, (above - f64::from(self.bins[0])) / unit)
    }

    /// |z| that a share `share` of the past exceeded; `None` while fewer than 20 scores are known.
    pub fn quantile(&self, share: f64) -> Option<f64> {
        if self.mass < MIN_MASS {
            return None;
        }
        let (bin, above) = self.upper_bin(share);
        let here = (f64::from(self.bins[bin]) / f64::from(self.unit)).max(1e-9);
        let inside = ((share * self.mass - above) / here).clamp(0.0, 1.0);
        let score = LOWEST + (bin as f64 + 1.0 - inside) * WIDTH;
        Some((score.exp() - FLOOR).max(0.0).sqrt())
    }

    /// Learns one score with weight `weight` in 0..=1 and a memory of `memory` scores.
    pub fn observe(&mut self, score: f64, weight: f64, memory: f64) {
        let keep = 1.0 - weight / memory;
        self.unit /= keep as f32;
        if self.unit > MAX_UNIT {
            let shrink = 1.0 / self.unit;
            self.bins.iter_mut().for_each(|bin| *bin *= shrink);
            self.unit = 1.0;
        }
        self.mass *= keep;
        self.add(score, weight);
    }

    /// Adds a score of weight `weight` without fading the others.
    pub fn add(&mut self, score: f64, weight: f64) {
        let bin = bin_of(score);
        if bin >= self.bins.len() {
            let bins = (bin + 1).next_multiple_of(BLOCK);
            self.bins.reserve_exact(bins - self.bins.len());
            self.bins.resize(bins, 0.0);
        }
        self.bins[bin] += weight as f32 * self.unit;
        self.mass += weight;
    }

    /// Takes `weight` scores like this one out again, as far as they are there.
    pub fn forget(&mut self, score: f64, weight: f64) {
        if let Some(bin) = self.bins.get_mut(bin_of(score)) {
            let taken = bin.min(weight as f32 * self.unit);
            *bin -= taken;
            self.mass = (self.mass - f64::from(taken / self.unit)).max(0.0);
        }
    }

    /// Keeps the share `keep` of the mass: after a new normal the past counts less.
    pub fn fade(&mut self, keep: f64) {
        self.mass *= keep;
        self.bins.iter_mut().for_each(|bin| *bin *= keep as f32);
    }

    /// Effective number of scores known.
    pub fn mass(&self) -> f64 {
        self.mass
    }
}

/// The bin of a score; scores off either end count in the end bins.
fn bin_of(score: f64) -> usize {
    (position(score).max(0.0) as usize).min(BINS - 1)
}

/// Place of a score in bins.
fn position(score: f64) -> f64 {
    (score - LOWEST) * (1.0 / WIDTH)
}

#[multiversion(targets("x86_64+avx2+fma"))]
fn score_all(residuals: &mut [f32]) {
    for z in residuals {
        // A residual of 1e18 is as far out as any.
        let near = z.abs().min(1e18);
        *z = fast::ln(near.mul_add(near, FLOOR as f32));
    }
}

/// Sum of the bins above `bin`.
fn sum_above(bins: &[f32], bin: usize) -> f32 {
    let (blocks, _) = bins.as_chunks::<BLOCK>();
    let [first, rest @ ..] = &blocks[bin / BLOCK..] else {
        return 0.0;
    };
    let mut lanes = [0.0f32; BLOCK];
    for (l, lane) in lanes.iter_mut().enumerate() {
        *lane = if l > bin % BLOCK { first[l] } else { 0.0 };
    }
    sum(lanes, rest)
}

/// Sum in sixteen lanes, so that it vectorises; the order is fixed, so the bits are too.
fn sum(mut lanes: [f32; BLOCK], blocks: &[[f32; BLOCK]]) -> f32 {
    for block in blocks {
        for (lane, value) in lanes.iter_mut().zip(block) {
            *lane += value;
        }
    }
    let mut half = BLOCK / 2;
    while half > 0 {
        for i in 0..half {
            lanes[i] += lanes[i + half];
        }
        half /= 2;
    }
    lanes[0]
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64;

    use super::*;

    /// Standard normal by Box and Muller.
    fn normal(rng: &mut Pcg64) -> f64 {
        let u: f64 = 1.0 - rng.random::<f64>();
        let v: f64 = rng.random();
        (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
    }

    #[test]
    fn p_values_of_the_same_law_are_uniform() {
        let mut rng = Pcg64::seed_from_u64(1);
        let mut scores = ResidualHistogram::default();
        for _ in 0..5000 {
            scores.observe(ResidualHistogram::score(normal(&mut rng)), 1.0, 2000.0);
        }
        for level in [0.5, 0.2, 0.05, 0.01] {
            let below = (0..20_000)
                .filter(|_| scores.p_value(ResidualHistogram::score(normal(&mut rng))) <= level)
                .count() as f64
                / 20_000.0;
            assert!((below / level - 1.0).abs() < 0.25, "{level}: {below}");
        }
    }

    #[test]
    fn p_values_fall_as_scores_rise_also_far_beyond_the_past() {
        let mut rng = Pcg64::seed_from_u64(2);
        let mut scores = ResidualHistogram::default();
        for _ in 0..3000 {
            scores.observe(ResidualHistogram::score(normal(&mut rng)), 1.0, 2000.0);
        }
        let mut last = 2.0;
        for i in 0..400 {
            let p = scores.p_value(-8.0 + 0.07 * f64::from(i));
            assert!(p <= last * (1.0 + 1e-5) && p > 0.0, "{i}: {p} after {last}");
            last = p;
        }
        assert!(last < 1e-12);
    }

    #[test]
    fn the_top_tenth_of_a_normal_starts_at_its_known_quantile() {
        let mut rng = Pcg64::seed_from_u64(3);
        let mut scores = ResidualHistogram::default();
        assert_eq!(scores.quantile(0.1), None);
        for _ in 0..20_000 {
            scores.observe(ResidualHistogram::score(normal(&mut rng)), 1.0, 10_000.0);
        }
        let q = scores.quantile(0.1).expect("enough mass");
        assert!((q - 1.645).abs() < 0.05, "{q}");
    }

    #[test]
    fn many_scores_at_once_are_as_good_as_one() {
        let exact: Vec<f64> = (0..4000).map(|i| f64::from(i * i) * 1e-3).collect();
        let mut fast: Vec<f32> = exact.iter().map(|z| -*z as f32).collect();
        ResidualHistogram::score_all(&mut fast);
        for (z, fast) in exact.iter().zip(fast) {
            assert!(
                (ResidualHistogram::score(*z) - f64::from(fast)).abs() < 1e-5,
                "{z}"
            );
        }
    }

    #[test]
    fn the_histogram_forgets_at_its_memory() {
        let mut scores = ResidualHistogram::default();
        for _ in 0..100_000 {
            scores.observe(0.0, 1.0, 500.0);
        }
        assert!((scores.mass() - 500.0).abs() < 1.0);
        let total: f32 = scores.bins.iter().sum();
        assert!((f64::from(total / scores.unit) / scores.mass() - 1.0).abs() < 1e-3);
    }

    #[test]
    fn infinite_scores_stay_in_the_end_bins() {
        let mut scores = ResidualHistogram::default();
        for score in [f64::NEG_INFINITY, f64::INFINITY, f64::MAX] {
            scores.observe(score, 1.0, 100.0);
        }
        assert!(scores.bins[0] > 0.9);
        assert!(scores.bins[BINS - 1] > 2.0);
    }
}
