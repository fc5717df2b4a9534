//! Networks that have learned a table predict together, in intervals of calibrated width.

use serde::{Deserialize, Serialize};

use super::member::EnsembleMember;
use super::samples::{Samples, Targets};
use super::score::{ClassSums, RegressionSums, Score, Z90};
use crate::ep::{Committee, Input, Network, Predicted};

/// Observations that the prior of the width, a factor of 1 on variances, is worth.
const WIDTH_PRIOR: f64 = 6.0;

/// The target of a row that was not learned, and the mean and variance (all noise included, width 1)
/// of each part of its prediction.
pub(super) type HeldOut = (f64, Vec<(f64, f64)>);

/// A prediction in units of the standardised target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct EnsembleForecast {
    /// Mean.
    pub mean: f64,
    /// Standard deviation, all noise included.
    pub sd: f64,
    /// Standard deviation of the expected target: what is not known.
    pub ignorance: f64,
}

/// The predictor after a pass.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Ensemble {
    kind: EnsembleKind,
    /// Observation noise variance of each network.
    noise: Vec<f64>,
    /// Factor on the variances of a regression's predictions.
    width: f64,
    /// Half-width of a regression's 90% interval, in standard deviations.
    half_width: f64,
}

/// Of which task.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
enum EnsembleKind {
    Regression(Box<Committee>),
    Classes(usize, Vec<Network>),
}

impl Ensemble {
    /// By the networks' own beliefs.
    pub(super) fn new(members: &[EnsembleMember], classes: Option<usize>) -> Ensemble {
        let networks = members.iter().map(|m| &m.network);
        Ensemble {
            kind: match classes {
                None => EnsembleKind::Regression(Box::new(Committee::single(networks))),
                Some(n) => EnsembleKind::Classes(n, networks.cloned().collect()),
            },
            noise: noises(members),
            width: 1.0,
            half_width: Z90,
        }
    }

    /// Takes the networks as they are now, by their own beliefs; the widths stay.
    pub(super) fn follow(&mut self, members: &[EnsembleMember]) {
        *self = Ensemble {
            width: self.width,
            half_width: self.half_width,
            ..Ensemble::new(members, self.classes())
        };
    }

    /// Replaces what predicts a regression.
    pub(super) fn set_committee(&mut self, committee: Committee) {
        self.kind = EnsembleKind::Regression(Box::new(committee));
    }

    /// Number of inputs, the bias included.
    pub fn inputs(&self) -> usize {
        match &self.kind {
            EnsembleKind::Regression(committee) => committee.inputs(),
            EnsembleKind::Classes(_, networks) => networks.first().map_or(0, Network::inputs),
        }
    }

    /// Number of classes; `None` for regression.
    pub fn classes(&self) -> Option<usize> {
        match self.kind {
            EnsembleKind::Regression(_) => None,
            EnsembleKind::Classes(n, _) => Some(n),
        }
    }

    /// Predicts rows that were not learned, to calibrate with.
    pub(super) fn held_out(
        &mut self,
        samples: &Samples,
        targets: &Targets,
        held: &[usize],
    ) -> Vec<HeldOut> {
        let Targets::Real(y) = targets else {
            return Vec::new();
        };
        let mut predict = |i: usize| {
            let mut parts = Vec::new();
            self.parts(samples.get(i), |part, noise| {
                parts.push((part.mean, part.ignorance + part.spikes + noise));
            });
            (f64::from(y[i]), parts)
        };
        held.iter().map(|i| predict(*i)).collect()
    }

    /// Sets the factor on variances that makes held-out rows most probable, and the half-width of the
    /// 90% interval that holds nine tenths of them (split conformal prediction: where residuals have
    /// heavier tails than a Gaussian, the variance that fits them is too wide an interval).
    pub(super) fn calibrate(&mut self, seen: &[HeldOut]) {
        let score = |ln: f64| {
            let width = ln.exp();
            let mut sums = RegressionSums::default();
            for (y, parts) in seen {
                let wide: Vec<_> = parts.iter().map(|(m, v)| (*m, v * width)).collect();
                sums.add(*y, &wide);
            }
            // The prior: so many observations exactly one standard deviation off.
            let prior = -0.5 * WIDTH_PRIOR * (ln + 1.0 / width);
            sums.score(1.0).log_score() * seen.len() as f64 + prior
        };
        self.width = maximum(score, -4.0, 4.0).exp();
        let distance = |(y, parts): &HeldOut| {
            let k = parts.len() as f64;
            let mean = parts.iter().map(|p| p.0).sum::<f64>() / k;
            let wide = |p: &(f64, f64)| self.width.mul_add(p.1, p.0 * p.0);
            let variance = parts.iter().map(wide).sum::<f64>() / k - mean * mean;
            (y - mean).abs() / variance.max(f64::MIN_POSITIVE).sqrt()
        };
        self.half_width = quantile90(seen.iter().map(distance).collect());
    }

    /// Half-width of the 90% interval, in standard deviations; that of a normal where it was not
    /// calibrated.
    pub fn half_width(&self) -> f64 {
        self.half_width
    }

    /// Factor on the variances of a regression's predictions; 1 where it was not calibrated.
    pub fn width(&self) -> f64 {
        self.width
    }

    /// Score on samples that are not learned; `scale`: of the targets.
    pub fn test(&mut self, samples: &Samples, targets: &Targets, scale: f64) -> Score {
        match targets {
            Targets::Real(y) => {
                let mut sums = RegressionSums::of_intervals(self.half_width);
                let mut parts = Vec::new();
                let width = self.width;
                for (i, &y) in y.iter().enumerate() {
                    parts.clear();
                    self.parts(samples.get(i), |seen, noise| {
                        let variance = width * (seen.ignorance + seen.spikes + noise);
                        parts.push((seen.mean, variance));
                    });
                    sums.add(f64::from(y), &parts);
                }
                sums.score(scale)
            }
            Targets::Class(classes) => {
                let mut sums = ClassSums::default();
                let mut mean = vec![0.0f32; self.classes().unwrap_or(0)];
                for (i, &class) in classes.iter().enumerate() {
                    self.predict_class(samples.get(i), &mut mean);
                    sums.add(class, &mean);
                }
                sums.score()
            }
        }
    }

    /// Class probabilities, written to `out`; the mean over the networks.
    ///
    /// # Panics
    /// If it is a regression or `out` has another length than there are classes.
    pub fn predict_class(&mut self, x: Input<'_>, out: &mut [f32]) {
        let EnsembleKind::Classes(n, networks) = &mut self.kind else {
            panic!("a classifier");
        };
        let share = 1.0 / networks.len() as f32;
        let mut one = vec![0.0f32; *n];
        out.fill(0.0);
        for network in networks {
            network.predict_class(x, &mut one);
            out.iter_mut()
                .zip(&one)
                .for_each(|(out, p)| *out += share * p);
        }
    }

    /// All parts of a regression's prediction, each with its network's noise variance.
    fn parts(&mut self, x: Input<'_>, mut seen: impl FnMut(Predicted, f64)) {
        let noise = &self.noise;
        if let EnsembleKind::Regression(committee) = &mut self.kind {
            committee.predict(x, |i, part| seen(part, noise[i]));
        }
    }

    /// Predicts a regression, in units of the standardised target.
    pub fn predict(&mut self, x: Input<'_>) -> EnsembleForecast {
        let (mut n, mut mean, mut second, mut ignorance) = (0.0, 0.0, 0.0, 0.0);
        let width = self.width;
        self.parts(x, |seen, noise| {
            n += 1.0;
            mean += seen.mean;
            let square = seen.mean * seen.mean;
            second += width.mul_add(seen.ignorance + seen.spikes + noise, square);
            ignorance += width.mul_add(seen.ignorance, square);
        });
        mean /= n;
        let sd = |second: f64| (second / n - mean * mean).max(0.0).sqrt();
        EnsembleForecast {
            mean,
            sd: sd(second),
            ignorance: sd(ignorance),
        }
    }

    /// Predictions know the output weights jointly.
    pub fn is_joint(&self) -> bool {
        matches!(&self.kind, EnsembleKind::Regression(committee) if committee.is_joint())
    }

    /// The output weights of several networks were learned at once.
    pub fn is_together(&self) -> bool {
        matches!(&self.kind, EnsembleKind::Regression(committee) if committee.is_together())
    }

    /// Standard deviation of the noise, mean over the networks, in units of the targets.
    pub fn noise_sd(&self) -> f64 {
        self.noise.iter().map(|v| v.sqrt()).sum::<f64>() / self.noise.len() as f64
    }
}

fn noises(members: &[EnsembleMember]) -> Vec<f64> {
    members.iter().map(|m| m.noise.mean()).collect()
}

/// The distance within which the next one lies with probability 0.9: between order statistics, of
/// which the ith of n is that of i/(n + 1); that of a normal where nothing was seen.
fn quantile90(mut distances: Vec<f64>) -> f64 {
    distances.retain(|d| d.is_finite());
    distances.sort_by(f64::total_cmp);
    let Some(last) = distances.len().checked_sub(1) else {
        return Z90;
    };
    let place = (0.9 * (distances.len() + 1) as f64 - 1.0).clamp(0.0, last as f64);
    let (low, part) = (place.floor() as usize, place.fract());
    let (a, b) = (distances[low], distances[(low + 1).min(last)]);
    part.mul_add(b - a, a)
}

/// Where a function of one peak is largest, by golden section.
fn maximum(f: impl Fn(f64) -> f64, mut low: f64, mut high: f64) -> f64 {
    let golden = 0.5 * (5f64.sqrt() - 1.0);
    while high - low > 1e-3 {
        let (a, b) = (high - golden * (high - low), low + golden * (high - low));
        if f(a) > f(b) {
            high = b;
        } else {
            low = a;
        }
    }
    0.5 * (low + high)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::counter;

    #[test]
    fn nine_tenths_of_what_comes_next_lie_within_the_calibrated_half_width() {
        // Residuals of heavy tails: a normal's half-width would hold 95% of them.
        let draw = |i| f64::from(counter::bell(7, i)).powi(3);
        let (mut covered, mut n) = (0, 0);
        for block in 0..200 {
            let held: Vec<f64> = (0..30).map(|i| draw(1000 * block + i).abs()).collect();
            let half_width = quantile90(held);
            for i in 500..520 {
                covered += u32::from(draw(1000 * block + i).abs() <= half_width);
                n += 1;
            }
        }
        let share = f64::from(covered) / f64::from(n);
        assert!((share - 0.9).abs() < 0.015, "{share}");
        assert_eq!(quantile90(Vec::new()), Z90);
        assert_eq!(quantile90(vec![2.0]), 2.0);
    }
}
