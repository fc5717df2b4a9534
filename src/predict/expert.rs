//! One linear expert of several outputs: which inputs it sees, its filter, and the noise of its outputs.

use serde::{Deserialize, Serialize};

use super::filter::{Forgetting, RecursiveFilter};
use super::noise::Noise;
use super::past::Past;
use super::spikes::{HiddenLayer, HiddenShape};
use crate::encode::{Calendar, Spikes, encode_calendar};
use crate::ep::Report;
use crate::num::scrap::Scrap;

/// Inputs before those of channels: the bias and the hours of the day.
const SHARED_WIDTH: u32 = 1 + 24;
/// Inputs of a hidden layer before those of channels: the bias and two harmonics of the day.
const HIDDEN_SHARED_WIDTH: u32 = 1 + 4;
/// The same, by the square that they usually have together.
const HIDDEN_SHARED_ACTIVE: f32 = 1.0 + 2.0;
/// Prior variance of every weight, in units of the noise.
const PRIOR: f64 = 1.0;
/// Errors are limited to this many standard deviations before a filter learns them.
const ERROR_LIMIT: f64 = 5.0;
/// Noise variance before anything is known, and its floor, in squared usual steps.
const NOISE: f64 = 0.5;
const NOISE_FLOOR: f64 = 1e-5;

/// The kinds of experts, in the order in which they stand behind persistence.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ExpertKind {
    /// The last value.
    Persistence,
    /// Levels, steps and traces, with the memory of the weights.
    Linear,
    /// The same with a short memory.
    Fast,
    /// The same and the population code of the levels.
    Code,
    /// The same as the linear one, and the spikes of a hidden layer.
    Spikes,
}

impl ExpertKind {
    /// Every kind, for tables and metric labels.
    pub const ALL: [ExpertKind; 5] = [
        ExpertKind::Persistence,
        ExpertKind::Linear,
        ExpertKind::Fast,
        ExpertKind::Code,
        ExpertKind::Spikes,
    ];

    /// The word used in metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            ExpertKind::Persistence => "persistence",
            ExpertKind::Linear => "linear",
            ExpertKind::Fast => "fast",
            ExpertKind::Code => "code",
            ExpertKind::Spikes => "spikes",
        }
    }
}

/// Time of the day of a row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowTime {
    /// Timestamp, unix milliseconds.
    pub ts_ms: i64,
    /// The hour is an input: a whole day has been seen.
    pub hourly: bool,
}

/// One expert.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Expert {
    /// Its kind.
    pub kind: ExpertKind,
    hidden: Option<HiddenLayer>,
    /// First inputs: the shared ones, then the hidden layer's spikes, then the channels'.
    filter: RecursiveFilter,
    noise: Vec<Noise>,
    #[serde(skip)]
    now: Scrap<ExpertScratch>,
}

#[derive(Debug, Default)]
struct ExpertScratch {
    input: Spikes,
    mean: Vec<f64>,
    error: Vec<f64>,
    ignorance: f64,
}

/// Specification of an expert.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ExpertShape {
    /// Its kind.
    pub kind: ExpertKind,
    /// Memory of its weights, rows.
    pub memory: f64,
    /// Units of the hidden layer, where it has one.
    pub hidden: usize,
    /// Seed of the hidden layer.
    pub seed: u64,
}

impl Expert {
    /// An expert at its prior, with an output for each of `outputs` channels and the inputs of `pasts`.
    pub fn new<P: AsRef<Past>>(shape: ExpertShape, pasts: &[P], outputs: usize) -> Expert {
        let hidden = (shape.kind == ExpertKind::Spikes).then(|| {
            let pasts = pasts.iter().map(AsRef::as_ref);
            let inputs = pasts.clone().map(Past::hidden_width).sum::<u32>();
            let active = pasts.map(Past::hidden_active).sum::<f32>();
            HiddenLayer::new(HiddenShape {
                units: shape.hidden,
                inputs: HIDDEN_SHARED_WIDTH + inputs,
                nominal: HIDDEN_SHARED_ACTIVE + active,
                outputs,
                memory: shape.memory,
                seed: shape.seed,
            })
        });
        let spikes = hidden.as_ref().map_or(0, HiddenLayer::units);
        let forgetting = Forgetting::Memory(shape.memory);
        let mut expert = Expert {
            kind: shape.kind,
            filter: RecursiveFilter::new(SHARED_WIDTH as usize + spikes, 0, PRIOR, forgetting),
            noise: vec![Noise::new(NOISE, NOISE_FLOOR); outputs],
            hidden,
            now: Scrap::default(),
        };
        expert.filter.grow(expert.width_of(pasts), outputs);
        expert
    }

    fn width_of<P: AsRef<Past>>(&self, pasts: &[P]) -> usize {
        let width = |past: &Past| match self.kind {
            ExpertKind::Code => past.linear_width() + past.code_width(),
            _ => past.linear_width(),
        };
        pasts.iter().map(|p| width(p.as_ref())).sum::<u32>() as usize
    }

    /// Adds the inputs and outputs of channels behind those that are there.
    pub fn grow<P: AsRef<Past>>(&mut self, new: &[P]) {
        self.filter.grow(self.width_of(new), new.len());
        let outputs = self.noise.len() + new.len();
        self.noise.resize(outputs, Noise::new(NOISE, NOISE_FLOOR));
        if let Some(hidden) = &mut self.hidden {
            let inputs = new.iter().map(|p| p.as_ref().hidden_width()).sum();
            hidden.grow(inputs, new.len());
        }
    }

    /// Changes the memory of the weights, rows.
    pub fn set_memory(&mut self, rows: f64) {
        self.filter.set_forgetting(Forgetting::Memory(rows));
        if let Some(hidden) = &mut self.hidden {
            hidden.set_memory(rows);
        }
    }

    /// Predicts the outputs from what the channels' pasts say.
    pub fn predict<P: AsRef<Past>>(&mut self, moment: RowTime, pasts: &[P]) {
        let now = &mut self.now.0;
        now.input.clear();
        push_shared(moment, &mut now.input);
        let mut at = SHARED_WIDTH;
        if let Some(hidden) = &mut self.hidden {
            fill_hidden(moment, pasts, hidden.start());
            let spikes = hidden.respond();
            (at..).zip(spikes).for_each(|(i, &a)| now.input.push(i, a));
            at += spikes.len() as u32;
        }
        for past in pasts.iter().map(AsRef::as_ref) {
            past.linear(at, &mut now.input);
            at += past.linear_width();
            if self.kind == ExpertKind::Code {
                past.code(at, &mut now.input);
                at += past.code_width();
            }
        }
        now.mean.clear();
        now.mean.resize(self.noise.len(), 0.0);
        now.ignorance = self.filter.predict(&now.input, &mut now.mean);
    }

    /// Mean of output `o` in the last prediction.
    pub fn mean(&self, o: usize) -> f64 {
        self.now.0.mean[o]
    }

    /// Variance of output `o` from not knowing the weights, in the last prediction.
    pub fn ignorance(&self, o: usize) -> f64 {
        self.now.0.ignorance * self.noise[o].variance()
    }

    /// Noise variance of output `o`.
    pub fn noise(&self, o: usize) -> f64 {
        self.noise[o].variance()
    }

    /// Learns the targets of the last prediction, NaN where one is missing.
    pub fn learn(&mut self, targets: &[f64]) -> Report {
        let now = &mut self.now.0;
        let report = match &mut self.hidden {
            Some(hidden) => hidden.learn(targets),
            None => Report::default(),
        };
        now.error.clear();
        for ((&target, &mean), noise) in targets.iter().zip(&now.mean).zip(&mut self.noise) {
            let error = target - mean;
            let ignorance = now.ignorance * noise.variance();
            let limit = ERROR_LIMIT * (ignorance + noise.variance()).sqrt();
            now.error.push(if error.is_nan() {
                error
            } else {
                error.clamp(-limit, limit)
            });
            if !error.is_nan() {
                noise.observe(error, ignorance);
            }
        }
        self.filter.learn(&now.error, 1.0);
        report
    }

    /// Squared residuals that counted as less than they were, resets of the covariance.
    pub fn limited(&self) -> u64 {
        let capped = self.noise.iter().map(|noise| noise.capped).sum::<u64>();
        capped + self.filter.resets
    }

    /// Its hidden layer.
    pub fn hidden(&self) -> Option<&HiddenLayer> {
        self.hidden.as_ref()
    }

    /// Bytes of its filter and hidden layer.
    pub fn bytes(&self) -> usize {
        self.filter.bytes() + self.hidden.as_ref().map_or(0, HiddenLayer::bytes)
    }
}

/// Bias and hour of the day.
fn push_shared(moment: RowTime, out: &mut Spikes) {
    out.push(0, 1.0);
    if moment.hourly {
        encode_calendar(Calendar::Hours, moment.ts_ms, 1, out);
    }
}

/// Bias, two harmonics of the day, level and code of every channel.
fn fill_hidden<P: AsRef<Past>>(moment: RowTime, pasts: &[P], out: &mut Spikes) {
    out.push(0, 1.0);
    if moment.hourly {
        let angle = std::f64::consts::TAU * crate::encode::hour_of_day(moment.ts_ms) / 24.0;
        for (i, harmonic) in [(1, angle), (3, 2.0 * angle)] {
            out.push(i, libm::sin(harmonic) as f32);
            out.push(i + 1, libm::cos(harmonic) as f32);
        }
    }
    let mut at = HIDDEN_SHARED_WIDTH;
    for past in pasts.iter().map(AsRef::as_ref) {
        past.hidden(at, out);
        at += past.hidden_width();
    }
}
