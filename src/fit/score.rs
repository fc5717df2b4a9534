//! Scores of predictions: errors, log densities, coverage, calibration.

use serde::Serialize;

/// Half-width of the central 90% of a standard normal.
pub const Z90: f64 = 1.644_853_626_951_472_7;

/// Bins of the calibration error.
const BINS: usize = 15;

/// Figures of a regression, in the target's own units.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Regression {
    /// Root mean square error.
    pub rmse: f64,
    /// Mean log predictive density (nats).
    pub log_density: f64,
    /// Share of targets inside the nominal 90% interval.
    pub coverage90: f64,
}

/// Figures of a classification.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize)]
pub struct Classification {
    /// Share of right answers.
    pub accuracy: f64,
    /// Mean negative log probability of the true class (nats).
    pub log_loss: f64,
    /// Expected calibration error of the top class, 15 bins of equal width.
    pub ece: f64,
}

/// Figures of either task.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Score {
    /// Regression.
    Regression(Regression),
    /// Classification.
    Classification(Classification),
}

impl Score {
    /// The proper score, higher is better: log density, or minus the log loss.
    pub fn log_score(&self) -> f64 {
        match self {
            Score::Regression(score) => score.log_density,
            Score::Classification(score) => -score.log_loss,
        }
    }

    /// One line for people.
    pub fn line(&self) -> String {
        match self {
            Score::Regression(s) => format!(
                "RMSE {:.4}, log density {:.3}, coverage of 90% {:.1}%",
                s.rmse,
                s.log_density,
                100.0 * s.coverage90
            ),
            Score::Classification(s) => format!(
                "accuracy {:.2}%, log loss {:.4}, calibration error {:.4}",
                100.0 * s.accuracy,
                s.log_loss,
                s.ece
            ),
        }
    }
}

/// Sums up a regression.
#[derive(Clone, Copy, Debug)]
pub struct RegressionSums {
    n: f64,
    square: f64,
    density: f64,
    covered: f64,
    half_width: f64,
}

impl Default for RegressionSums {
    fn default() -> RegressionSums {
        RegressionSums::of_intervals(Z90)
    }
}

impl RegressionSums {
    /// Sums over intervals of `half_width` standard deviations.
    pub fn of_intervals(half_width: f64) -> RegressionSums {
        RegressionSums {
            n: 0.0,
            square: 0.0,
            density: 0.0,
            covered: 0.0,
            half_width,
        }
    }

    /// Adds one target with the predictive mixture of equal parts given as (mean, variance), the
    /// noise included.
    pub fn add(&mut self, target: f64, parts: &[(f64, f64)]) {
        let k = parts.len() as f64;
        let mean = parts.iter().map(|p| p.0).sum::<f64>() / k;
        let second = parts.iter().map(|p| p.1 + p.0 * p.0).sum::<f64>() / k;
        let variance = (second - mean * mean).max(f64::MIN_POSITIVE);
        let log_of = |p: &(f64, f64)| {
            let e = target - p.0;
            -0.5 * ((2.0 * std::f64::consts::PI * p.1).ln() + e * e / p.1)
        };
        let top = parts.iter().map(log_of).fold(f64::NEG_INFINITY, f64::max);
        let sum: f64 = parts.iter().map(|p| (log_of(p) - top).exp()).sum();
        let e = target - mean;
        self.n += 1.0;
        self.square += e * e;
        self.density += top + (sum / k).ln();
        self.covered += f64::from(u8::from(e.abs() <= self.half_width * variance.sqrt()));
    }

    /// The figures, scaled from standardised targets to ones with standard deviation `scale`.
    pub fn score(&self, scale: f64) -> Score {
        Score::Regression(Regression {
            rmse: (self.square / self.n).sqrt() * scale,
            log_density: self.density / self.n - scale.ln(),
            coverage90: self.covered / self.n,
        })
    }
}

/// Sums up a classification.
#[derive(Clone, Debug)]
pub struct ClassSums {
    n: f64,
    right: f64,
    loss: f64,
    /// Per bin of the top probability: count, sum of probabilities, right answers.
    bins: [(f64, f64, f64); BINS],
}

impl Default for ClassSums {
    fn default() -> ClassSums {
        ClassSums {
            n: 0.0,
            right: 0.0,
            loss: 0.0,
            bins: [(0.0, 0.0, 0.0); BINS],
        }
    }
}

impl ClassSums {
    /// Adds one sample of class `class` with predicted probabilities.
    pub fn add(&mut self, class: usize, probabilities: &[f32]) {
        let (mut best, mut top) = (0, f32::NEG_INFINITY);
        for (k, &p) in probabilities.iter().enumerate() {
            if p > top {
                (best, top) = (k, p);
            }
        }
        let right = f64::from(u8::from(best == class));
        self.n += 1.0;
        self.right += right;
        // A probability of 0 in single precision is below 1e-38.
        self.loss -= f64::from(probabilities[class]).max(1e-38).ln();
        let bin = ((f64::from(top) * BINS as f64) as usize).min(BINS - 1);
        let bin = &mut self.bins[bin];
        *bin = (bin.0 + 1.0, bin.1 + f64::from(top), bin.2 + right);
    }

    /// The figures.
    pub fn score(&self) -> Score {
        let gap = |b: &(f64, f64, f64)| (b.1 - b.2).abs();
        Score::Classification(Classification {
            accuracy: self.right / self.n,
            log_loss: self.loss / self.n,
            ece: self.bins.iter().map(gap).sum::<f64>() / self.n,
        })
    }
}

/// Sums of either task.
#[derive(Clone, Debug)]
pub enum ScoreSums {
    /// Of a regression.
    Real(RegressionSums),
    /// Of a classification.
    Class(Box<ClassSums>),
}

impl ScoreSums {
    /// The figures; `scale` as for [`RegressionSums::score`].
    pub fn score(&self, scale: f64) -> Score {
        match self {
            ScoreSums::Real(sums) => sums.score(scale),
            ScoreSums::Class(sums) => sums.score(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_standard_normal_scores_as_it_should() {
        let mut sums = RegressionSums::default();
        for i in 0..1000 {
            // Normal quantiles are not needed: a uniform target on +-1 has known moments.
            sums.add(f64::from(i) / 499.5 - 1.0, &[(0.0, 1.0)]);
        }
        let Score::Regression(s) = sums.score(2.0) else {
            panic!()
        };
        assert!((s.rmse - 2.0 / 3f64.sqrt()).abs() < 0.01);
        assert!((s.log_density - (-0.918_94 - 1.0 / 6.0 - 2f64.ln())).abs() < 0.01);
        assert_eq!(s.coverage90, 1.0);
    }

    #[test]
    fn a_mixture_of_equal_parts_is_one_part() {
        let (mut a, mut b) = (RegressionSums::default(), RegressionSums::default());
        a.add(0.3, &[(0.1, 0.5)]);
        b.add(0.3, &[(0.1, 0.5), (0.1, 0.5), (0.1, 0.5)]);
        let (a, b) = (a.score(1.0).log_score(), b.score(1.0).log_score());
        assert!((a - b).abs() < 1e-12);
    }

    #[test]
    fn calibration_error_is_zero_for_honest_and_large_for_boasting_answers() {
        let (mut honest, mut boasting) = (ClassSums::default(), ClassSums::default());
        for i in 0..100 {
            let class = usize::from(i % 4 == 0);
            honest.add(class, &[0.75, 0.25]);
            boasting.add(class, &[1.0, 0.0]);
        }
        let (Score::Classification(h), Score::Classification(b)) =
            (honest.score(), boasting.score())
        else {
            panic!()
        };
        assert!(h.ece < 1e-9 && (b.ece - 0.25).abs() < 1e-9);
        assert_eq!((h.accuracy, b.accuracy), (0.75, 0.75));
        assert!(b.log_loss.is_finite());
    }
}
