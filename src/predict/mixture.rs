//! The predictive distribution of one channel, and all that it learns from: the gate over experts, the
//! hazard of no change, the table of what follows what, the shape of the noise, the level of the interval.

use serde::{Deserialize, Serialize};

use super::distribution::{Component, Distribution};
use super::gate::Gate;
use super::history::History;
use super::shape::{NoiseShape, Situation};
use super::stay::Stay;
use super::student;
use super::table::Table;
use crate::num::scrap::Scrap;

/// Places of the parts in the mixture: experts, table, and a broad law that makes nothing impossible.
const EXPERTS: usize = 0;
const TABLE: usize = 1;
const BROAD: usize = 2;
const PARTS: usize = 3;
/// Weights of the parts before anything is known.
const PRIOR_PARTS: [f64; PARTS] = [0.9, 0.05, 0.05];
/// The prior of the parts counts as so many values.
const PARTS_PRIOR_WEIGHT: f64 = 20.0;
/// How fast the weights of the parts follow (online expectation maximisation).
const PARTS_RATE: f64 = 0.005;
/// No part falls below this weight.
const LEAST_PART: f64 = 1e-3;
/// How fast the scale of an expert follows its errors, in log scale a unit of score.
const SCALE_RATE: f64 = 0.01;
/// Scales stay within e^-3 and e^3 of what the expert says itself.
const SCALE_LIMIT: f64 = 3.0;
/// Scale of the broad law, in standard deviations of the level.
const BROAD_SD: f64 = 3.0;
/// Scale of an expert, in cells of the sensor's grid, at least: the standard deviation of rounding,
/// 1/sqrt(12).
const LEAST_SCALE_GRID: f64 = 0.29;
/// The grid is no finer than this share of the usual step: floating point differences that small are
/// rounding of the source.
const FINEST_GRID_STEPS: f64 = 1e-3;
/// The same as a share of the value, where there is no step yet.
const FINEST_GRID_VALUE: f64 = 1e-9;
/// Errors that the scale of persistence remembers.
const PERSISTENCE_MEMORY: f64 = 500.0;
/// Square of the scale of Student's t with 4 degrees of freedom over the mean square of heavy-tailed
/// errors, to start from.
const SQUARE_TO_SCALE: f64 = 0.5625;
/// Share of values that the 90% interval may miss.
const MISS: f64 = 0.1;
/// How fast the level of the interval follows its misses (Gibbs and Candes, NeurIPS 2021, equation 2).
const MISS_RATE: f64 = 0.005;
/// The level of the interval stays within these.
const LEAST_MISS: f64 = 0.002;
const MOST_MISS: f64 = 0.5;
/// |z| that a tenth of a standard normal exceeds: what a standard deviation stands for.
pub const Z90: f64 = 1.644_853_626_951_472_7;

/// One expert's prediction of a value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Answer {
    /// Mean, in the channel's own unit.
    pub mean: f64,
    /// Variance, ignorance and noise together.
    pub variance: f64,
}

/// Scores of a prediction once the value was there.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Verified {
    /// Deviation from the mean of the experts' mixture in its standard deviations, not blunted by its
    /// heavy tails; before there are experts, the normal deviate under the whole distribution.
    pub z: f64,
    /// Standard deviation of the experts' mixture, in the channel's unit; NaN before there are experts.
    pub scale: f64,
    /// Log density of the value, in nats a unit of the channel.
    pub ln_density: f64,
    /// Log density of Student's t with 4 degrees of freedom about the last value, with a running scale.
    pub ln_persistence: f64,
    /// The 90% interval held the value.
    pub inside: bool,
    /// The channel was expected not to change.
    pub at_rest: bool,
}

/// Mean and width published of a distribution.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Published {
    /// Mean of the mixture.
    pub mean: f64,
    /// Half-width of the interval that holds nine values in ten, over 1.645.
    pub sd: f64,
}

#[derive(Clone, Debug, Default)]
struct Working {
    distribution: Distribution,
    situation: Option<Situation>,
    published: Published,
    densities: Vec<f64>,
    is_known: bool,
}

/// All that is learned of one channel's predictive distribution.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Mixture {
    /// Expert 0 is persistence.
    gate: Gate,
    /// Log scale of each expert's errors against what it says itself.
    ln_scale: Vec<f64>,
    /// Mean square change, for persistence.
    square: f64,
    values: f64,
    parts: [f64; PARTS],
    shape: NoiseShape,
    stay: Stay,
    table: Table,
    /// Smallest change seen; infinite before the first.
    smallest: f64,
    miss: f64,
    /// Half-width of the last interval over the standard deviation of the mixture.
    half_ratio: f64,
    /// Times that a scale or the level of the interval was kept within its bounds.
    pub limited: u64,
    #[serde(skip)]
    now: Scrap<Working>,
}

impl Mixture {
    /// A mixture of persistence and `experts` others.
    pub fn new(experts: usize) -> Mixture {
        Mixture {
            gate: Gate::new(experts + 1),
            ln_scale: vec![0.0; experts + 1],
            square: 0.0,
            values: 0.0,
            parts: PRIOR_PARTS,
            shape: NoiseShape::default(),
            stay: Stay::default(),
            table: Table::default(),
            smallest: f64::INFINITY,
            miss: MISS,
            half_ratio: Z90,
            limited: 0,
            now: Scrap::default(),
        }
    }

    /// The gate over persistence (expert 0) and the others.
    pub fn gate(&self) -> &Gate {
        &self.gate
    }

    /// Leaves out an expert, counted without persistence.
    pub fn remove(&mut self, expert: usize) {
        self.gate.remove(expert + 1);
        self.ln_scale.remove(expert + 1);
    }

    /// The distribution of the value that is to come.
    pub fn distribution(&self) -> &Distribution {
        &self.now.0.distribution
    }

    /// Predicts, with an interval: as [`Mixture::mix`]. Gives nothing before the first value.
    pub fn predict(
        &mut self,
        history: &History,
        situation: Situation,
        answers: &[Answer],
    ) -> Option<Published> {
        if !self.mix(history, situation, answers) {
            return None;
        }
        let now = &mut self.now.0;
        let d = &now.distribution;
        let (mean, moment_sd) = (d.mean(), d.variance().sqrt());
        let half = d.half_width(mean, self.miss, self.half_ratio * moment_sd);
        if half > 0.0 && moment_sd > 0.0 {
            self.half_ratio = half / moment_sd;
        }
        now.published = Published {
            mean,
            sd: half / Z90,
        };
        Some(now.published)
    }

    /// Mixes the `answers` of the experts but persistence, none before the channel has a unit. Gives false
    /// before the first value.
    pub fn mix(&mut self, history: &History, situation: Situation, answers: &[Answer]) -> bool {
        let last = history.last();
        let now = &mut self.now.0;
        now.is_known = !last.is_nan();
        if !now.is_known {
            return false;
        }
        let step = history.unit().unwrap_or(0.0);
        let finest = (FINEST_GRID_STEPS * step).max(FINEST_GRID_VALUE * last.abs());
        let seen = if self.smallest.is_finite() {
            self.smallest
        } else {
            0.0
        };
        let grid = seen.max(finest).max(f64::MIN_POSITIVE * 1e16);
        let to = &mut now.distribution;
        to.clear(last, grid);
        let mut parts = self.parts;
        let scale = self.shape.scale(situation);
        let least = LEAST_SCALE_GRID * grid;
        let knows = history.unit().is_some() && self.square > 0.0;
        if knows && answers.len() + 1 == self.ln_scale.len() {
            let persistence = Answer {
                mean: last,
                variance: SQUARE_TO_SCALE * self.square,
            };
            let all = std::iter::once(&persistence).chain(answers);
            for ((answer, weight), ln_scale) in all.zip(self.gate.weights()).zip(&self.ln_scale) {
                let own = answer.variance.max(0.0).sqrt() * scale * libm::exp(*ln_scale);
                to.components.push(Component {
                    weight: parts[EXPERTS] * weight,
                    mean: answer.mean,
                    scale: own.max(least),
                });
            }
        } else {
            parts[BROAD] += std::mem::take(&mut parts[EXPERTS]);
        }
        if !self
            .table
            .add_to(&history.level, situation.z, parts[TABLE], to)
        {
            parts[BROAD] += parts[TABLE];
        }
        let sd = history.level.sd();
        to.components.push(Component {
            weight: parts[BROAD],
            mean: if sd > 0.0 { history.level.mean() } else { last },
            scale: if sd > 0.0 {
                (BROAD_SD * sd).max(least)
            } else {
                last.abs().max(least)
            },
        });
        to.set_stay(self.stay.probability());
        now.situation = Some(situation);
        true
    }

    /// Compares the value with the last prediction. `None` where there was none.
    pub fn verify(&self, value: f64) -> Option<Verified> {
        let now = &self.now.0;
        if !now.is_known || value.is_nan() {
            return None;
        }
        let (published, d) = (now.published, &now.distribution);
        let scale = (SQUARE_TO_SCALE * self.square).sqrt();
        let scale = scale.max(LEAST_SCALE_GRID * d.grid);
        let ln_persistence = student::ln_density((value - d.last) / scale) - libm::log(scale);
        let half = published.sd * Z90;
        let moments = d.component_moments();
        Some(Verified {
            z: match moments {
                // To the nearest edge of the value's cell on the sensor's grid.
                Some((mean, sd)) => {
                    let off = value - mean;
                    ((off.abs() - 0.5 * d.grid).max(0.0) / sd).copysign(off)
                }
                None => d.deviate(value),
            },
            scale: moments.map_or(f64::NAN, |(_, sd)| sd),
            ln_density: d.ln_density(value),
            ln_persistence,
            inside: (value - published.mean).abs() <= half * (1.0 + 1e-9) + 1e-3 * d.grid,
            at_rest: d.stay > 0.5,
        })
    }

    /// Learns from the value what the distribution should have been. To be called after
    /// [`Mixture::verify`] and before the history takes the value.
    pub fn learn(&mut self, value: f64, history: &History, inside: bool) {
        let now = &mut self.now.0;
        let Some(situation) = now.situation.take().filter(|_| !value.is_nan()) else {
            return;
        };
        let d = &now.distribution;
        let (same, at_rest) = (d.is_same(value), d.stay > 0.5);
        let change = (value - d.last).abs();
        if change > 0.0 {
            self.smallest = self.smallest.min(change);
        }
        self.stay.observe(same);
        if !at_rest {
            let miss = if inside { 0.0 } else { 1.0 };
            let moved = self.miss + MISS_RATE * (MISS - miss);
            self.miss = moved.clamp(LEAST_MISS, MOST_MISS);
            self.limited += u64::from(self.miss != moved);
        }
        // The parts say what a change leads to: only changes teach them.
        if same {
            return;
        }
        self.values += 1.0;
        let table = d.table_mass(value);
        let (broad, experts) = d.components.split_last().expect("the broad law");
        let broad = d.component_mass(broad, value);
        if !experts.is_empty() {
            let residual = |c: &Component| (value - c.mean) / c.scale;
            now.densities.clear();
            // Each given that there is a change: its weight holds the cell that was taken out.
            let gate = self.gate.weights().iter();
            let given = experts.iter().zip(gate).map(|(c, weight)| {
                let weight = c.weight / (self.parts[EXPERTS] * weight);
                d.component_mass(&Component { weight, ..*c }, value)
            });
            now.densities.extend(given);
            let scores = experts
                .iter()
                .map(|c| student::scale_score(residual(c)) - 1.0);
            let weighed = scores.clone().zip(self.gate.weights());
            let score: f64 = weighed.map(|(score, weight)| score * weight).sum();
            self.shape.observe(situation, score);
            for (ln_scale, score) in self.ln_scale.iter_mut().zip(scores) {
                let moved = *ln_scale + SCALE_RATE * score;
                *ln_scale = moved.clamp(-SCALE_LIMIT, SCALE_LIMIT);
                self.limited += u64::from(*ln_scale != moved);
            }
            let mixed: f64 = experts.iter().map(|c| d.component_mass(c, value)).sum();
            self.gate
                .observe(&now.densities, table + broad, self.parts[EXPERTS]);
            let total = (mixed + table + broad).max(f64::MIN_POSITIVE);
            let rate = PARTS_RATE.max(1.0 / (self.values + PARTS_PRIOR_WEIGHT));
            for (part, mass) in self.parts.iter_mut().zip([mixed, table, broad]) {
                *part += rate * (mass / total - *part);
                *part = part.max(LEAST_PART);
            }
            let sum: f64 = self.parts.iter().sum();
            self.parts.iter_mut().for_each(|part| *part /= sum);
        }
        let z = history.level.standardise(value);
        self.table.observe(situation.z, z, value, d.grid);
        let rate = (1.0 / self.values).max(1.0 / PERSISTENCE_MEMORY);
        let limit = if self.values > 10.0 {
            25.0 * self.square
        } else {
            f64::MAX
        };
        self.square += rate * ((change * change).min(limit) - self.square);
    }

    /// Forgets how errors looked, after a new normal was accepted: scales and levels start anew, what
    /// follows what stays known.
    pub fn renew(&mut self) {
        self.ln_scale.fill(0.0);
        self.miss = MISS;
        self.parts = PRIOR_PARTS;
    }
}
