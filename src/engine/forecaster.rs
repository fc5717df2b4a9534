//! A head with a question of its own: what channels will be some rows from now, or are just now.
//!
//! One mechanism carries horizons (all numeric sensors, h rows from now), soft sensors (a target
//! just now), labels (a class just now) and channels of states (one row from now). A question is
//! asked with what the row shows, its answer is published, and it waits for the row that tells:
//! then it is judged first and learned from afterwards.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::channel::Channel;
use super::head::{Head, LEAST_P, Learned, Likelihood, Readout, Sample};
use super::hidden_of_calendar;
use super::interval::Z90;
use super::networks::{shape_of, sum_of};
use super::params::EngineSettings;
use super::plan::Role;
use super::sharpness::Sharpness;
use super::states::States;
use super::stats::{Figures, Moving};
use crate::detect::Residual;
use crate::encode::{Calendar, Spikes, StepScale, encode_calendar, hour_of_day};
use crate::ep::{NetworkDraft, NetworkSummary};
use crate::predict::student;
use crate::row::{ChannelOutcome, Forecast, Odds, Row};

/// Values of a channel before its mean and sd are good enough a unit to learn in.
const LEARN_AFTER: u64 = 5;

/// The unit of what lies ahead is no smaller than this many sd of the level: the first changes over
/// a whole period may be none at all, and the next ones would be a million units.
const LEAST_CHANGE_SD: f64 = 0.02;

/// Memory of what lies ahead, as a share of the memory of weights: as that of the next step.
const AHEAD_MEMORY_SHARE: f64 = super::NEXT_STEP_MEMORY_SHARE;

/// A question.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Aim {
    /// All numeric sensors, so many rows from now.
    Ahead(u32),
    /// A numeric target, from the row's other channels.
    Target(usize),
    /// The state of a channel: of a sensor in the next row, of others from the row's sensors.
    State(usize),
}

impl Aim {
    /// Inputs of a channel, and those that are usually active.
    fn shape_of(self, channel: &Channel) -> (u32, f32) {
        match self {
            Aim::Target(_) => channel.level_shape(),
            Aim::Ahead(_) | Aim::State(_) => channel.shape(),
        }
    }
}

/// One channel that is asked for.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Asked {
    channel: usize,
    /// Mean absolute change over the horizon: the unit of what lies ahead.
    change: StepScale,
    /// Values seen.
    seen: u64,
}

/// A question and its answer, waiting for the row that tells. Entries an output, in the channels'
/// own units; NaN where nothing can be said.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Question {
    sample: Sample,
    /// The target is (value - base) / unit.
    base: Vec<f64>,
    unit: Vec<f64>,
    mean: Vec<f64>,
    /// sd from the network's own variance.
    raw_sd: Vec<f64>,
    /// sd that the 90% interval wants.
    sd: Vec<f64>,
    /// Log odds of the states, and the probabilities made of them.
    logits: Vec<f64>,
    p: Vec<f64>,
}

/// A row as the inputs of every forecaster.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Present {
    /// Inputs of all channels, the row's own values the newest.
    pub spikes: Spikes,
    /// Levels of all channels alone: the inputs of soft sensors.
    pub levels: Spikes,
    /// Moment of the row.
    pub ts_ms: i64,
    /// Usual time between rows.
    pub period_ms: f64,
    /// Hour and weekday are inputs.
    pub calendar: Calendar,
    /// The noise follows the hour.
    pub hourly: bool,
}

/// A head, its question, and the questions that wait for their answers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Forecaster {
    aim: Aim,
    /// Rows between question and answer.
    wait: usize,
    head: Head,
    asked: Vec<Asked>,
    waiting: VecDeque<Question>,
    moving: Moving,
    /// Levels of intervals that were kept in bounds.
    pub limited: u64,
    sharpness: Sharpness,
    #[serde(skip)]
    compared: Vec<Option<(Residual, bool)>>,
    #[serde(skip)]
    spare: Vec<Question>,
}

impl Forecaster {
    /// A head at its prior: `inputs` inputs, of which `nominal` are usually active.
    pub fn new(aim: Aim, settings: &EngineSettings, channels: &[Channel]) -> Forecaster {
        let (inputs, nominal) = shape_of(channels.iter().map(|c| aim.shape_of(c)));
        let (wait, likelihood, seed) = match aim {
            Aim::Ahead(horizon) => (horizon as usize, Likelihood::Gaussian, u64::from(horizon)),
            Aim::Target(c) => (0, Likelihood::Gaussian, 10_000 + c as u64),
            Aim::State(c) if channels[c].role == Role::Sensor => {
                (1, Likelihood::Probit, 10_000 + c as u64)
            }
            Aim::State(c) => (0, Likelihood::Probit, 10_000 + c as u64),
        };
        let outputs = match aim {
            Aim::State(c) => channels[c].states.as_ref().map_or(0, answers),
            _ => 0,
        };
        let hidden = match aim {
            Aim::Target(_) if settings.hidden > 0 => vec![settings.hidden],
            _ => hidden_of_calendar(settings.hidden),
        };
        let mut draft = NetworkDraft::stream(inputs, &hidden, outputs, nominal);
        if let (Aim::Target(_), [first, .., last]) = (aim, &mut draft.priors.layers[..]) {
            (first.mean_scale, last.mean_scale) = (0.5, 0.0);
            last.variance *= 4.0;
        }
        draft.memory = Some(settings.memory_rows);
        draft.seed = settings.seed.wrapping_add(seed);
        let spec = draft
            .build()
            .expect("validated settings make a valid network");
        let readout = |share: f64| Readout {
            inputs,
            outputs,
            memory: share * settings.memory_rows,
        };
        let mut forecaster = Forecaster {
            aim,
            wait,
            head: match aim {
                Aim::State(_) => Head::new(&spec, outputs, likelihood),
                // Several rows ahead hidden units do not pay: linear experts alone.
                Aim::Ahead(_) => Head::joint(None, readout(AHEAD_MEMORY_SHARE)),
                Aim::Target(_) => Head::joint((settings.hidden > 0).then_some(&spec), readout(1.0)),
            },
            asked: Vec::new(),
            waiting: VecDeque::new(),
            moving: Moving::default(),
            limited: 0,
            sharpness: Sharpness::default(),
            compared: Vec::new(),
            spare: Vec::new(),
        };
        forecaster.add(0, channels, 0);
        forecaster
    }

    /// Takes the channels from number `from` on.
    pub fn grow(&mut self, channels: &[Channel], from: usize) {
        let shapes = channels[from..].iter().map(|c| self.aim.shape_of(c));
        self.add(sum_of(shapes).0, channels, from);
    }

    /// Takes `inputs` more inputs, and the channels from number `from` on.
    fn add(&mut self, inputs: usize, channels: &[Channel], from: usize) {
        let new: Vec<usize> = match self.aim {
            Aim::Ahead(_) => (from..channels.len())
                .filter(|&c| channels[c].is_shared())
                .collect(),
            Aim::Target(c) | Aim::State(c) if c >= from => vec![c],
            _ => Vec::new(),
        };
        let outputs = match self.aim {
            Aim::State(_) => 0,
            _ => new.len(),
        };
        self.head.grow(inputs, outputs);
        self.asked.extend(new.into_iter().map(|channel| Asked {
            channel,
            change: StepScale::default(),
            seen: 0,
        }));
    }

    /// Its question.
    pub fn aim(&self) -> Aim {
        self.aim
    }

    /// The channel whose evidence its judgements are.
    pub fn judges(&self, channels: &[Channel]) -> Option<usize> {
        match self.aim {
            Aim::Target(c) | Aim::State(c) if channels[c].role != Role::Label => Some(c),
            _ => None,
        }
    }

    /// Asks with what the row shows. Soft sensors are asked before their row is judged, what lies
    /// ahead after it was learned.
    pub fn ask(&mut self, present: &Present, channels: &[Channel], learn: bool) {
        let mut question = self.spare.pop().unwrap_or_default();
        let ahead = self.wait as f64 * present.period_ms;
        let ts_ms = present.ts_ms.saturating_add(ahead as i64);
        let sample = &mut question.sample;
        sample.spikes.clear();
        sample.spikes.push(0, 1.0);
        encode_calendar(present.calendar, ts_ms, 1, &mut sample.spikes);
        let shown = match self.aim {
            Aim::Target(_) => &present.levels,
            _ => &present.spikes,
        };
        let (index, value) = (&shown.index, &shown.value);
        sample.spikes.index.extend_from_slice(index);
        sample.spikes.value.extend_from_slice(value);
        sample.hour = present.hourly.then(|| hour_of_day(ts_ms) as f32);
        if learn {
            self.head.predict(&sample.spikes, sample.hour);
        } else {
            self.head.predict_nothing();
        }
        for list in [
            &mut question.base,
            &mut question.unit,
            &mut question.mean,
            &mut question.raw_sd,
            &mut question.sd,
            &mut question.logits,
            &mut question.p,
        ] {
            list.clear();
        }
        match self.aim {
            Aim::State(c) => self.answer_states(channels[c].states.as_ref(), &mut question),
            Aim::Ahead(_) | Aim::Target(_) => self.answer_numbers(channels, &mut question),
        }
        self.waiting.push_back(question);
    }

    fn answer_numbers(&self, channels: &[Channel], question: &mut Question) {
        for (o, asked) in self.asked.iter().enumerate() {
            let channel = &channels[asked.channel];
            let sd = channel.level.sd();
            let (base, unit, known) = match self.aim {
                Aim::Ahead(_) => (
                    channel.last(),
                    asked.change.get().max(LEAST_CHANGE_SD * sd),
                    asked.change.is_known(),
                ),
                _ if asked.seen == 0 => (f64::NAN, 1.0, false),
                _ => (
                    channel.level.mean(),
                    if sd > 0.0 { sd } else { 1.0 },
                    sd > 0.0,
                ),
            };
            question.base.push(base);
            question.unit.push(unit);
            // Before there is a unit the network's answer would mean nothing.
            let (mean, raw_sd) = if known {
                let raw_sd = unit * self.head.variance(o).sqrt();
                (base + unit * self.head.mean(o), raw_sd)
            } else {
                (base, if sd > 0.0 { sd } else { f64::NAN })
            };
            question.mean.push(mean);
            question.raw_sd.push(raw_sd);
            question.sd.push(raw_sd * self.head.half90(o) / Z90);
        }
    }

    /// Probabilities of the states: each one's own odds to the power of the sharpness, over their
    /// sum (given that one of independent answers is yes, the odds of each are its share). States
    /// not met yet all get what the likeliest of them has, so that those that were found make up
    /// all but the probability of something new.
    fn answer_states(&self, states: Option<&States>, question: &mut Question) {
        let Some(states) = states else { return };
        let logit = |o: usize| {
            let yes = self.head.yes(o).clamp(LEAST_P, 1.0 - LEAST_P);
            (yes / (1.0 - yes)).ln()
        };
        let (logits, known) = (&mut question.logits, states.known().len());
        if answers(states) == 1 {
            logits.extend([0.0, logit(0)]);
        } else {
            logits.extend((0..states.capacity()).map(logit));
            let new = logits[known..].iter().copied().fold(f64::MIN, f64::max);
            logits[known..].fill(new);
        }
        // All the new ones together count as one.
        let one = (known + 1).min(logits.len());
        self.sharpness.probabilities(logits, one, &mut question.p);
    }

    /// The question that the present row answers.
    fn due(&self) -> Option<&Question> {
        (self.waiting.len() == self.wait.max(1)).then(|| &self.waiting[0])
    }

    /// Compares the row with the answer that was given for it. Gives the residual of the channel
    /// that it [`Forecaster::judges`], and for states its deviance.
    pub fn compare(&mut self, row: &Row, channels: &[Channel]) -> Option<Residual> {
        let mut compared = std::mem::take(&mut self.compared);
        compared.clear();
        if let Some(question) = self.due() {
            for (o, asked) in self.asked.iter().enumerate() {
                let value = row.values[asked.channel];
                compared.push(match self.aim {
                    Aim::State(c) => {
                        let state = channels[c].states.as_ref().and_then(|s| s.find(value));
                        let p = state.and_then(|k| question.p.get(k));
                        p.map(|&p| (Residual::unscaled(Head::deviance(p)), true))
                    }
                    _ => question.raw_sd.get(o).and_then(|&raw_sd| {
                        let off = value - question.mean[o];
                        let z = off / raw_sd;
                        let inside = off.abs() <= Z90 * question.sd[o];
                        let known = asked.seen >= LEARN_AFTER && z.is_finite();
                        known.then(|| (Residual::new(z, raw_sd), inside))
                    }),
                });
            }
        }
        self.compared = compared;
        let first = self.compared.first().copied().flatten();
        first.map(|(residual, _)| residual)
    }

    /// Learns from the row: how good its answer was, then the answer.
    pub fn learn(
        &mut self,
        row: &Row,
        channels: &[Channel],
        settings: &EngineSettings,
        weight: f64,
    ) -> Option<Learned> {
        self.due()?;
        let mut question = self.waiting.pop_front()?;
        let memory = settings.statistics_rows;
        for (o, compared) in self.compared.iter().enumerate() {
            let Some((residual, inside)) = *compared else {
                continue;
            };
            if let Some(&unit) = question.unit.get(o) {
                self.head.observe(o, residual.z, weight, memory);
                self.limited += u64::from(self.head.held(o, inside));
                let sd = question.raw_sd[o] / unit;
                let target = (row.values[self.asked[o].channel] - question.base[o]) / unit;
                self.moving.observe(&Figures {
                    ln_density: student::ln_density(residual.z) - sd.ln(),
                    ln_baseline: student::ln_density(target),
                    error: residual.z * sd,
                    change: target,
                    inside: Some(inside),
                });
            }
        }
        question.sample.weight = weight;
        question.sample.target.clear();
        self.fill_targets(row, channels, &mut question, memory);
        let known = question.sample.target.iter().any(|y| !y.is_nan());
        let learned = (settings.learn && known).then(|| {
            self.head
                .learn(&question.sample, settings.student_nu, memory)
        });
        self.spare.push(question);
        learned
    }

    fn fill_targets(
        &mut self,
        row: &Row,
        channels: &[Channel],
        question: &mut Question,
        memory: f64,
    ) {
        let target = &mut question.sample.target;
        if let Aim::State(c) = self.aim {
            let states = channels[c].states.as_ref();
            let Some((states, k)) = states.and_then(|s| Some((s, s.find(row.values[c])?))) else {
                return;
            };
            self.sharpness
                .observe(&question.logits, &question.p, k, memory);
            let yes = |yes: bool| if yes { 1.0 } else { -1.0 };
            if answers(states) == 1 {
                target.push(yes(k == 1));
            } else {
                target.extend((0..states.capacity()).map(|other| yes(other == k)));
            }
            return;
        }
        for (o, asked) in self.asked.iter_mut().enumerate() {
            let value = row.values[asked.channel];
            let (Some(&base), Some(&unit)) = (question.base.get(o), question.unit.get(o)) else {
                target.push(f32::NAN);
                continue;
            };
            let change = value - base;
            let known = asked.seen >= LEARN_AFTER;
            target.push(if known {
                (change / unit) as f32
            } else {
                f32::NAN
            });
            asked.seen += u64::from(!value.is_nan());
            if matches!(self.aim, Aim::Ahead(_)) && !change.is_nan() {
                let sd = channels[asked.channel].level.sd();
                asked.change.observe(change, sd, memory);
            }
        }
    }

    /// The forecasts made with this row, an entry a channel.
    pub fn forecasts(&self, out: &mut Vec<Forecast>) {
        if let (Aim::Ahead(horizon), Some(question)) = (self.aim, self.waiting.back()) {
            out.extend(self.asked.iter().enumerate().map(|(o, asked)| Forecast {
                channel: asked.channel,
                horizon,
                mean: question.mean[o],
                sd: question.sd[o],
            }));
        }
    }

    /// Channel of a soft sensor, and what it gives for the present row, once it was compared.
    pub fn estimate(&self, row: &Row) -> Option<(usize, ChannelOutcome)> {
        let Aim::Target(c) = self.aim else {
            return None;
        };
        let question = self.due()?;
        let value = row.values[c];
        let mut estimate = ChannelOutcome {
            mean: question.mean[0],
            sd: question.sd[0],
            ..ChannelOutcome::unknown(value)
        };
        if let Some(Some((residual, _))) = self.compared.first() {
            let unit = question.unit[0];
            let off = (value - question.base[0]) / unit;
            estimate.ln_density = student::ln_density(residual.z) - question.raw_sd[0].ln();
            estimate.ln_baseline = student::ln_density(off) - unit.ln();
        }
        Some((c, estimate))
    }

    /// The probabilities of the states of the present row, made before it was seen.
    pub fn odds(&self, row: &Row, channels: &[Channel]) -> Option<Odds> {
        let Aim::State(c) = self.aim else {
            return None;
        };
        let states = channels[c].states.as_ref()?;
        let p = self.due().map_or(&[][..], |question| &question.p);
        let named = states.known().iter().zip(p);
        Some(Odds {
            channel: c,
            seen: states.find(row.values[c]),
            states: named.map(|(s, &p)| (s.name.clone(), p)).collect(),
        })
    }

    /// Forgets what was usual, after a new normal was accepted. The knowledge of a soft sensor goes
    /// too; other forecasts follow by themselves.
    pub fn forget(&mut self, share: f64) {
        match self.aim {
            Aim::Ahead(_) => {}
            Aim::Target(_) => self.head.forget(share, true),
            Aim::State(_) => self.head.forget(share, false),
        }
    }

    /// Changes the memory of the weights, rows.
    pub fn set_memory(&mut self, rows: f64) {
        let share = match self.aim {
            Aim::Ahead(_) => AHEAD_MEMORY_SHARE,
            _ => 1.0,
        };
        self.head.set_memory(share * rows);
    }

    /// It asks what the row's missing channels are just now, not what comes later.
    pub fn is_of_present(&self) -> bool {
        self.wait == 0
    }

    /// It asks for states.
    pub fn is_of_states(&self) -> bool {
        matches!(self.aim, Aim::State(_))
    }

    /// Its name among the networks.
    pub fn name(&self) -> String {
        match self.aim {
            Aim::Ahead(horizon) => format!("ahead {horizon}"),
            Aim::Target(c) => format!("target {c}"),
            Aim::State(c) => format!("state {c}"),
        }
    }

    /// Horizon, moving coverage of its 90% interval, error over that of persistence; `None` before
    /// any answer.
    pub fn horizon_figures(&self) -> Option<(u32, f64, f64)> {
        let Aim::Ahead(horizon) = self.aim else {
            return None;
        };
        let (coverage, rmse_ratio) = self.moving.figures()?;
        Some((horizon, coverage, rmse_ratio))
    }

    /// Summarises the network in figures.
    pub fn summary(&self) -> Option<NetworkSummary> {
        self.head.summary()
    }
}

/// Outputs that tell the states apart: one for two of them, else one each.
fn answers(states: &States) -> usize {
    match states.capacity() {
        2 => 1,
        n => n,
    }
}
