//! How high a stream's own evidence goes in a block of rows, and what that adds to the bar of a promise that
//! reaches further than the stream has lived.

use serde::{Deserialize, Serialize};

/// Rows of a block, if no incident makes it longer: as far apart as incidents have to be.
const BLOCK_ROWS: f64 = 100.0;
/// Blocks that are remembered.
const MEMORY: f64 = 200.0;
/// The spread of fewer maxima than this says nothing.
const FIRST: f64 = 10.0;

/// Mean and variance of the highest evidence of each block, whole incidents counting as one.
///
/// The maxima of blocks have a Gumbel law whatever the law of what they are maxima of, within wide
/// bounds (Gumbel, "Statistics of Extremes", 1958): the level that is passed once in n times as many
/// rows lies beta ln n higher, beta = sd sqrt(6)/pi. Exact e-values have beta = 1 at most. What a stream
/// has lived through, its bar was measured on; the rest of the way to one alarm in `rows_between` rows
/// is taken with its own beta, where that is larger. A stream that did extraordinary things in its
/// first hour cannot promise one alarm a week by theory.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Maxima {
    /// Rows and highest evidence of the present block.
    rows: f64,
    highest: f64,
    blocks: f64,
    mean: f64,
    variance: f64,
}

impl Maxima {
    /// Takes the highest evidence of one row, nats; no block ends while an incident is open.
    pub fn observe(&mut self, evidence: f64, open: bool) {
        self.highest = self.highest.max(evidence);
        self.rows += 1.0;
        if self.rows < BLOCK_ROWS || open {
            return;
        }
        self.blocks += 1.0;
        let rate = (1.0 / self.blocks).max(1.0 / MEMORY);
        let off = self.highest - self.mean;
        self.mean += rate * off;
        self.variance = (1.0 - rate) * (self.variance + rate * off * off);
        (self.rows, self.highest) = (0.0, 0.0);
    }

    /// How much higher the bar has to be, nats, for one alarm in `rows_between` rows of a stream
    /// of which `rows` are known.
    pub fn lift(&self, rows_between: f64, rows: f64) -> f64 {
        if self.blocks < FIRST {
            return 0.0;
        }
        let beta = (6.0 * self.variance).sqrt() / std::f64::consts::PI;
        let beyond = (rows_between / rows.max(1.0)).max(1.0).ln();
        (beta - 1.0).max(0.0) * beyond
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngExt, SeedableRng};
    use rand_pcg::Pcg64;

    use super::*;

    /// Blocks whose maxima have a Gumbel law of scale `beta`.
    fn learned(beta: f64, blocks: usize) -> Maxima {
        let mut rng = Pcg64::seed_from_u64(3);
        let mut maxima = Maxima::default();
        for _ in 0..blocks {
            let u: f64 = 1.0 - rng.random::<f64>();
            let peak = 4.0 * beta - beta * (-u.ln()).max(1e-9).ln();
            (0..BLOCK_ROWS as usize).for_each(|row| {
                maxima.observe(if row == 50 { peak } else { 0.0 }, false);
            });
        }
        maxima
    }

    #[test]
    fn what_lies_beyond_the_past_is_as_far_as_the_own_maxima_say() {
        for beta in [2.0, 4.0] {
            let maxima = learned(beta, 200);
            let wanted = (beta - 1.0) * 30f64.ln();
            let lift = maxima.lift(600_000.0, 20_000.0);
            assert!((lift / wanted - 1.0).abs() < 0.25, "{lift} for {wanted}");
        }
    }

    #[test]
    fn a_promise_within_the_past_or_by_theory_needs_no_more() {
        assert_eq!(learned(4.0, 200).lift(10_000.0, 20_000.0), 0.0);
        assert_eq!(learned(0.7, 200).lift(600_000.0, 20_000.0), 0.0);
        assert_eq!(learned(4.0, 9).lift(600_000.0, 900.0), 0.0);
    }

    #[test]
    fn an_incident_is_one_block_however_long() {
        let mut maxima = learned(1.0, 20);
        let before = maxima.blocks;
        (0..500).for_each(|_| maxima.observe(20.0, true));
        assert_eq!(maxima.blocks, before);
        let quiet = maxima.lift(600_000.0, 2000.0);
        (0..100).for_each(|_| maxima.observe(0.0, false));
        assert_eq!(maxima.blocks, before + 1.0);
        assert!(maxima.lift(600_000.0, 2000.0) > quiet + 5.0);
    }
}
