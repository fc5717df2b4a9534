//! How boldly a classifier learns over a run: its likelihood power, and how fast it forgets.
//!
//! A power above 1 lets one pass teach more than Bayes' rule would, since the factorised belief
//! holds back; towards the end steps must become small, so that the belief settles. The power falls
//! in a straight line over the run, and the memory N grows as the power falls: a belief at rest is
//! the prior times the average site to the power of (likelihood power times N), and that product
//! stays [`Annealing::tables`] times the number of rows. Figures chosen on the last 10,000 of MNIST's
//! training images, after learning the others.

use crate::ep::Family;

/// Power at the end of a run over that at its start.
const END: f64 = 0.05;

/// Rows of the table that the figures below were chosen for. Fewer rows have to teach more each: the
/// power grows by the eighth root of how many are missing, the output's share and the count of every
/// row by the fourth root (chosen on 1,000 and 10,000 of the same images).
const ROWS: f64 = 60_000.0;

/// Highest power of hidden weights: from 16 on some runs diverged.
const MAX_START: f64 = 10.0;

/// Inputs from which on Gaussian weights start as boldly as that. With fewer the factorised belief
/// holds back less: the start comes nearer to Bayes' rule, as a power of inputs / INPUTS.
const INPUTS: f64 = 785.0;

/// Initial values of a run, by family.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Annealing {
    /// Likelihood power of hidden weights at the start.
    start: f64,
    /// Power of the output's weights over that of the hidden ones: their inputs are never silent.
    output: f64,
    /// Times that every row counts in a belief at rest.
    tables: f64,
    /// Samples of a table, and of the whole run.
    rows: f64,
    run: f64,
}

/// How to learn the next samples.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct AnnealingStep {
    /// Likelihood power of hidden weights.
    pub hidden: f32,
    /// Likelihood power of the output's weights.
    pub output: f32,
    /// Steps of forgetting of each sample, 0 to 1, at [`Annealing::memory`].
    pub weight: f32,
}

impl Annealing {
    /// For `passes` passes (1 and more) over `rows` samples (1 and more) of `inputs` values. A model
    /// that is `known` already starts at Bayes' rule.
    pub fn new(family: Family, inputs: usize, rows: usize, passes: u32, known: bool) -> Annealing {
        let share = (inputs as f64 / INPUTS).min(1.0);
        let wide = |figure: f64| libm::pow(figure, share);
        let fewer = (ROWS / rows as f64).max(1.0);
        let (start, output, tables) = match family {
            Family::Gaussian => (
                wide((6.0 * libm::pow(fewer, 0.125)).min(MAX_START)),
                wide((0.25 * libm::pow(fewer, 0.25)).min(1.0)),
                wide(8.0 * libm::pow(fewer, 0.25)),
            ),
            Family::Binary | Family::Levels(_) => (6.0, 1.0, 12.0),
        };
        Annealing {
            start: if known { 1.0 } else { start },
            output,
            tables,
            rows: rows as f64,
            run: rows as f64 * f64::from(passes),
        }
    }

    /// Memory in samples at the start of the run.
    pub fn memory(&self) -> f64 {
        (self.tables * self.rows / self.start).max(2.0)
    }

    /// After `seen` samples of the run.
    pub fn at(&self, seen: u64) -> AnnealingStep {
        let left = (1.0 - seen as f64 / self.run).max(0.0);
        let share = END + (1.0 - END) * left;
        let power = self.start * share;
        AnnealingStep {
            hidden: power as f32,
            output: (self.output * power) as f32,
            weight: share as f32,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_power_falls_and_what_is_remembered_stays() {
        let annealing = Annealing::new(Family::Gaussian, 785, 1000, 3, false);
        let mut before = f32::INFINITY;
        for seen in [0, 500, 1000, 2999, 3000, 9000] {
            let step = annealing.at(seen);
            assert!(step.hidden <= before && step.output <= step.hidden);
            assert!(step.weight > 0.0 && step.weight <= 1.0);
            before = step.hidden;
            let kept = f64::from(step.hidden / step.weight) * annealing.memory();
            assert!((kept / 1000.0 - annealing.tables).abs() < 1e-4, "{kept}");
        }
        assert!((f64::from(before) - END * annealing.start).abs() < 1e-6);
    }
}
