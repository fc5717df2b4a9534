//! Predicts each channel from the others' present values and its own past: a value that the others
//! contradict stands out in its first row, whatever the next step would have allowed.
//!
//! Every channel has a few partners, those whose levels correlate with its own most. Experts are
//! Kalman filters whose weights walk slowly: a linear one, and one with the population codes and the
//! spikes of a hidden layer besides. A gate weighs them against persistence.

use serde::{Deserialize, Serialize};

use super::expert::{ExpertKind, RowTime};
use super::filter::{Forgetting, RecursiveFilter};
use super::history::{History, LINEAR_WIDTH};
use super::mixture::{Answer, Mixture, Verified};
use super::noise::Noise;
use super::past::Past;
use super::shape::Situation;
use super::spikes::{HiddenLayer, HiddenShape};
use crate::encode::{Spikes, hour_of_day};
use crate::num::scrap::Scrap;

/// Inputs before those of channels: the bias and two harmonics of the day.
const SHARED_WIDTH: u32 = 1 + 4;
/// Real-valued inputs of a partner: its level and its step.
const PARTNER_WIDTH: u32 = 2;
/// Correlation time of the weights, rows.
const WALK_ROWS: f64 = 1e5;
/// Memory of the hidden layer, rows.
const HIDDEN_MEMORY: f64 = 3_000.0;
/// Contribution of a hidden unit to the nominal number of inputs: half of the spikes at half their size.
const UNIT_ACTIVE: f64 = 0.3;
/// Noise variance before anything is known, and its floor, in squared usual steps.
const NOISE: f64 = 0.5;
const NOISE_FLOOR: f64 = 1e-5;
/// The same as a share of the squared spread of levels: covariances are kept in single precision.
const FLOOR_OF_SPREAD: f64 = 1e-7;
/// Errors are limited to this many standard deviations before a filter learns them.
const ERROR_LIMIT: f64 = 5.0;

/// One expert of one channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct GivenExpert {
    kind: ExpertKind,
    hidden: Option<HiddenLayer>,
    /// Inputs: those that are real-valued, then codes, then spikes.
    filter: RecursiveFilter,
    noise: Noise,
    #[serde(skip)]
    now: Scrap<GivenScratch>,
}

#[derive(Debug, Default)]
struct GivenScratch {
    input: Spikes,
    mean: [f64; 1],
    ignorance: f64,
}

/// Specification of one channel's predictor.
#[derive(Clone, Debug)]
pub struct GivenShape {
    /// The channel.
    pub channel: usize,
    /// The channels whose present values it is predicted from.
    pub partners: Vec<usize>,
    /// Experts beside persistence.
    pub kinds: Vec<ExpertKind>,
    /// Units of the hidden layer, where an expert has one.
    pub hidden: usize,
    /// Seed of the hidden layer.
    pub seed: u64,
}

/// The predictor of one channel given the others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Given {
    /// The channel.
    pub channel: usize,
    partners: Vec<usize>,
    experts: Vec<GivenExpert>,
    mixture: Mixture,
    #[serde(skip)]
    inputs: Scrap<Inputs>,
}

/// The inputs of a row: real-valued ones, and codes numbered on behind them.
#[derive(Debug, Default)]
struct Inputs {
    linear: Spikes,
    code: Spikes,
    answers: Vec<Answer>,
}

impl Given {
    /// A predictor at its prior; `None` where the channel is no number.
    pub fn new<P: AsRef<Past>>(shape: &GivenShape, pasts: &[P]) -> Option<Given> {
        let own = pasts[shape.channel].as_ref().history()?;
        let m = shape.partners.len() as u32;
        let linear = SHARED_WIDTH + LINEAR_WIDTH + PARTNER_WIDTH * m;
        let histories = shape
            .partners
            .iter()
            .filter_map(|&p| pasts[p].as_ref().history());
        let codes = histories.map(History::code_width).sum::<u32>() + own.code_width();
        // Weights of levels: a change may be as large as the channel's own spread.
        let spread = own
            .unit()
            .map_or(1.0, |unit| own.level.sd() / unit)
            .max(1.0);
        let nominal = 3.0 + f64::from(LINEAR_WIDTH + PARTNER_WIDTH * m);
        let experts = shape.kinds.iter().map(|&kind| {
            let code = if kind == ExpertKind::Linear { 0 } else { codes };
            let units = if kind == ExpertKind::Spikes {
                shape.hidden
            } else {
                0
            };
            let active = nominal + 0.7 * f64::from(m + 1) * f64::from(u8::from(code > 0));
            let hidden = (units > 0).then(|| {
                HiddenLayer::new(HiddenShape {
                    units,
                    inputs: linear + codes,
                    nominal: active as f32,
                    outputs: 1,
                    memory: HIDDEN_MEMORY,
                    seed: shape.seed.wrapping_add(1 + shape.channel as u64),
                })
            });
            let prior = spread * spread / (active + UNIT_ACTIVE * units as f64);
            let width = (linear + code) as usize + units;
            GivenExpert {
                kind,
                hidden,
                filter: RecursiveFilter::new(width, 1, prior, Forgetting::RandomWalk(WALK_ROWS)),
                noise: Noise::new(NOISE, NOISE_FLOOR.max(FLOOR_OF_SPREAD * spread * spread)),
                now: Scrap::default(),
            }
        });
        let experts: Vec<GivenExpert> = experts.collect();
        Some(Given {
            channel: shape.channel,
            partners: shape.partners.clone(),
            mixture: Mixture::new(experts.len()),
            experts,
            inputs: Scrap::default(),
        })
    }

    /// Compares the row's value with what the others' values and its own past let expect; `None`
    /// where nothing can be said. `values`: the row, with another value in place of one that is
    /// not to be trusted.
    pub fn compare<P: AsRef<Past>>(
        &mut self,
        moment: RowTime,
        values: &[f64],
        pasts: &[P],
        value: f64,
    ) -> Option<Verified> {
        let history = pasts[self.channel].as_ref().history()?;
        let unit = history.unit().filter(|_| !value.is_nan())?;
        self.fill(moment, values, pasts, history);
        let inputs = &mut self.inputs.0;
        inputs.answers.clear();
        for expert in &mut self.experts {
            let (mean, variance) = expert.predict(&inputs.linear, &inputs.code);
            inputs.answers.push(Answer {
                mean: history.last() + unit * mean,
                variance: unit * unit * variance,
            });
        }
        let situation = Situation {
            hour: moment.hourly.then(|| hour_of_day(moment.ts_ms)),
            z: history.z().into(),
            age: history.age(),
        };
        self.mixture.mix(history, situation, &inputs.answers);
        self.mixture.verify(value)
    }

    /// Fills the inputs of all experts.
    fn fill<P: AsRef<Past>>(
        &mut self,
        moment: RowTime,
        values: &[f64],
        pasts: &[P],
        own: &History,
    ) {
        let Inputs { linear, code, .. } = &mut self.inputs.0;
        linear.clear();
        code.clear();
        linear.push(0, 1.0);
        if moment.hourly {
            let angle = std::f64::consts::TAU * hour_of_day(moment.ts_ms) / 24.0;
            for (i, harmonic) in [(1, angle), (3, 2.0 * angle)] {
                linear.push(i, libm::sin(harmonic) as f32);
                linear.push(i + 1, libm::cos(harmonic) as f32);
            }
        }
        own.linear(SHARED_WIDTH, linear);
        let mut at = SHARED_WIDTH + LINEAR_WIDTH;
        // Codes are numbered on behind the real-valued inputs.
        let mut code_at = at + PARTNER_WIDTH * self.partners.len() as u32;
        own.code(code_at, code);
        code_at += own.code_width();
        for &p in &self.partners {
            let Some(history) = pasts[p].as_ref().history() else {
                continue;
            };
            if !values[p].is_nan() {
                let z = history.standardise(values[p]);
                linear.push(at, z);
                linear.push(at + 1, history.in_steps(values[p] - history.last()));
                history.code_of(z, code_at, code);
            }
            at += PARTNER_WIDTH;
            code_at += history.code_width();
        }
    }

    /// Learns the row that was compared last, before the pasts take it; `weight`, 0 to 1: how much it
    /// counts.
    pub fn learn<P: AsRef<Past>>(&mut self, value: f64, pasts: &[P], weight: f64) {
        let Some(history) = pasts[self.channel].as_ref().history() else {
            return;
        };
        let target = history.target(value);
        if target.is_nan() || weight <= 0.0 {
            return;
        }
        self.mixture.learn(value, history, true);
        for expert in &mut self.experts {
            expert.learn(target, weight);
        }
    }

    /// The channels whose present values it is predicted from.
    pub fn partners(&self) -> &[usize] {
        &self.partners
    }

    /// The kinds of its experts, in the order of its gate.
    pub fn kinds(&self) -> impl Iterator<Item = ExpertKind> + '_ {
        std::iter::once(ExpertKind::Persistence).chain(self.experts.iter().map(|e| e.kind))
    }

    /// Its mixture.
    pub fn mixture(&self) -> &Mixture {
        &self.mixture
    }

    /// Leaves out the costliest expert where its gain stays below `least`, nats a value.
    pub fn leave_out(&mut self, least: f64) {
        let Some(last) = self.experts.len().checked_sub(1).filter(|&last| last > 0) else {
            return;
        };
        if self.mixture.gate().gain()[last + 1] < least {
            self.experts.remove(last);
            self.mixture.remove(last);
        }
    }

    /// Squared residuals that counted as less than they were, resets of covariances, and limits of the
    /// mixture.
    pub fn limited(&self) -> u64 {
        let experts = self.experts.iter();
        let of_experts = experts.map(|e| e.noise.capped + e.filter.resets);
        of_experts.sum::<u64>() + self.mixture.limited
    }

    /// Bytes of its filters and hidden layers.
    pub fn bytes(&self) -> usize {
        let hidden = |e: &GivenExpert| e.hidden.as_ref().map_or(0, HiddenLayer::bytes);
        let experts = self.experts.iter();
        experts.map(|e| e.filter.bytes() + hidden(e)).sum()
    }
}

impl GivenExpert {
    /// Mean and variance of the step, in usual steps.
    fn predict(&mut self, linear: &Spikes, code: &Spikes) -> (f64, f64) {
        let now = &mut self.now.0;
        now.input.clear();
        let spikes = match &mut self.hidden {
            Some(hidden) => {
                let input = hidden.start();
                join(linear, code, input);
                hidden.respond()
            }
            None => &[],
        };
        (0..).zip(spikes).for_each(|(i, &a)| now.input.push(i, a));
        let behind = spikes.len() as u32;
        let with_code = self.kind != ExpertKind::Linear;
        let first = now.input.index.len();
        if with_code {
            join(linear, code, &mut now.input);
        } else {
            now.input.index.extend_from_slice(&linear.index);
            now.input.value.extend_from_slice(&linear.value);
        }
        now.input.index[first..]
            .iter_mut()
            .for_each(|i| *i += behind);
        now.ignorance = self.filter.predict(&now.input, &mut now.mean);
        (now.mean[0], now.ignorance + self.noise.variance())
    }

    fn learn(&mut self, target: f64, weight: f64) {
        let now = &mut self.now.0;
        let error = target - now.mean[0];
        let total = now.ignorance + self.noise.variance();
        let limit = ERROR_LIMIT * total.sqrt();
        let noise = self.noise.variance() / weight;
        self.filter.learn(&[error.clamp(-limit, limit)], noise);
        if weight >= 1.0 {
            self.noise.observe(error, now.ignorance);
        }
        if let Some(hidden) = &mut self.hidden {
            hidden.learn(&[target]);
        }
    }
}

/// Real-valued inputs, then codes, in ascending order of their numbers.
fn join(linear: &Spikes, code: &Spikes, out: &mut Spikes) {
    out.index.extend_from_slice(&linear.index);
    out.value.extend_from_slice(&linear.value);
    out.index.extend_from_slice(&code.index);
    out.value.extend_from_slice(&code.value);
}
