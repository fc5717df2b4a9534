//! Predicts the next value of every channel from the pasts of all: several experts, mixed a channel.
//!
//! Channels share the covariance of each expert's weights, because they share its inputs. More than
//! [`GROUP`] channels are split into groups in the order in which they came, so that the cost of a row
//! grows with their number and not with its square; channels of other groups are seen by the
//! predictor of each channel given the others.

use serde::{Deserialize, Serialize};

use super::expert::{Expert, ExpertKind, ExpertShape, RowTime};
use super::mixture::{Answer, Mixture, Published, Verified};
use super::past::Past;
use super::shape::Situation;
use crate::encode::hour_of_day;
use crate::ep::{NetworkSummary, Report};
use crate::num::scrap::Scrap;

/// Most channels that are predicted from one another's past.
pub const GROUP: usize = 16;
/// Memory of the short expert, as a share of the memory of the weights.
const FAST_SHARE: f64 = 1.0 / 6.0;
/// Rows before anything is learned: scales are not known yet.
const LEARN_AFTER: u64 = 20;
/// An expert whose gain stays below this, nats a value, is left out.
const LEAST_GAIN: f64 = 1e-3;
/// Rows before an expert may be left out.
const TRIAL_ROWS: u64 = 20_000;

/// Specification of the next-step predictor.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct NextStepSettings {
    /// Hidden spiking units of each group; 0 leaves out the expert of spikes and changes nothing else.
    pub hidden: usize,
    /// Memory of the weights, rows.
    pub memory_rows: f64,
    /// Learn at all; otherwise persistence is the only expert.
    pub learn: bool,
    /// The noise follows the hour of the day.
    pub hourly_noise: bool,
    /// Bytes of all experts, at most; those that do not fit are left out, see [`NextStep::fit`].
    pub max_bytes: usize,
    /// Seed of the hidden layers.
    pub seed: u64,
}

/// Channels that are predicted from one another's past.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Group {
    first: usize,
    size: usize,
    experts: Vec<Expert>,
}

/// The next-step predictor of one stream.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NextStep {
    settings: NextStepSettings,
    groups: Vec<Group>,
    mixtures: Vec<Mixture>,
    rows: u64,
    #[serde(skip)]
    targets: Scrap<Vec<f64>>,
    #[serde(skip)]
    answers: Scrap<Vec<Answer>>,
}

impl NextStep {
    /// A predictor without channels.
    pub fn new(settings: NextStepSettings) -> NextStep {
        NextStep {
            settings,
            groups: Vec::new(),
            mixtures: Vec::new(),
            rows: 0,
            targets: Scrap::default(),
            answers: Scrap::default(),
        }
    }

    /// Takes the channels behind those that it knows.
    pub fn grow<P: AsRef<Past>>(&mut self, pasts: &[P]) {
        while self.mixtures.len() < pasts.len() {
            let first = self.mixtures.len();
            let room = self.groups.last().map_or(0, |group| GROUP - group.size);
            if room == 0 {
                let size = (pasts.len() - first).min(GROUP);
                let group = self.build(first, &pasts[first..first + size]);
                self.groups.push(group);
                self.add_mixtures(size);
                continue;
            }
            let new = &pasts[first..(first + room).min(pasts.len())];
            if let Some(group) = self.groups.last_mut() {
                group.size += new.len();
                group.experts.iter_mut().for_each(|e| e.grow(new));
            }
            self.add_mixtures(new.len());
        }
        self.fit();
    }

    /// Leaves out experts until the rest fits: those of codes first, which cost most, then those of
    /// spikes, then short memories. The linear ones stay.
    fn fit(&mut self) {
        for kind in [ExpertKind::Code, ExpertKind::Spikes, ExpertKind::Fast] {
            for g in (0..self.groups.len()).rev() {
                let experts = &self.groups[g].experts;
                let place = experts.iter().position(|e| e.kind == kind);
                if let Some(e) = place.filter(|_| self.bytes() > self.settings.max_bytes) {
                    self.remove(g, e);
                }
            }
        }
    }

    /// Leaves out an expert of a group.
    fn remove(&mut self, group: usize, expert: usize) {
        let group = &mut self.groups[group];
        group.experts.remove(expert);
        let mixtures = &mut self.mixtures[group.first..group.first + group.size];
        mixtures.iter_mut().for_each(|m| m.remove(expert));
    }

    fn add_mixtures(&mut self, n: usize) {
        let experts = self.groups.last().map_or(0, |group| group.experts.len());
        let mixtures = self.mixtures.len() + n;
        self.mixtures
            .resize_with(mixtures, || Mixture::new(experts));
    }

    fn build<P: AsRef<Past>>(&self, first: usize, pasts: &[P]) -> Group {
        let NextStepSettings {
            hidden,
            memory_rows,
            learn,
            seed,
            ..
        } = self.settings;
        let wanted = |kind: &ExpertKind| match kind {
            ExpertKind::Persistence => false,
            ExpertKind::Spikes => learn && hidden > 0,
            _ => learn,
        };
        let expert = |kind| {
            let memory = match kind {
                ExpertKind::Fast => FAST_SHARE * memory_rows,
                _ => memory_rows,
            };
            let shape = ExpertShape {
                kind,
                memory,
                hidden,
                seed: seed.wrapping_add(first as u64),
            };
            Expert::new(shape, pasts, pasts.len())
        };
        Group {
            first,
            size: pasts.len(),
            experts: ExpertKind::ALL
                .into_iter()
                .filter(wanted)
                .map(expert)
                .collect(),
        }
    }

    /// Predicts the row of the moment `moment`; what is published of channel `c` goes to `out`.
    pub fn predict<P: AsRef<Past>>(
        &mut self,
        moment: RowTime,
        pasts: &[P],
        out: &mut Vec<Option<Published>>,
    ) {
        out.clear();
        let answers = &mut self.answers.0;
        for group in &mut self.groups {
            let of = &pasts[group.first..group.first + group.size];
            for expert in &mut group.experts {
                expert.predict(moment, of);
            }
            for (o, past) in of.iter().enumerate() {
                let Some(history) = past.as_ref().history() else {
                    out.push(None);
                    continue;
                };
                answers.clear();
                if let Some(unit) = history.unit() {
                    answers.extend(group.experts.iter().map(|e| Answer {
                        mean: history.last() + unit * e.mean(o),
                        variance: unit * unit * (e.ignorance(o) + e.noise(o)),
                    }));
                }
                let hourly = moment.hourly && self.settings.hourly_noise;
                let situation = Situation {
                    hour: hourly.then(|| hour_of_day(moment.ts_ms)),
                    z: history.z().into(),
                    age: history.age(),
                };
                let mixture = &mut self.mixtures[group.first + o];
                out.push(mixture.predict(history, situation, answers));
            }
        }
    }

    /// Compares the value of channel `c` with the last prediction.
    pub fn verify(&self, c: usize, value: f64) -> Option<Verified> {
        self.mixtures[c].verify(value)
    }

    /// Learns from the row that was predicted last, NaN where a value is missing; to be called before the
    /// pasts take the row. `verified`: as [`NextStep::verify`] gave, one a channel; `rests`: the channel
    /// was expected not to change, and has not, which teaches the experts nothing.
    pub fn learn<P: AsRef<Past>>(
        &mut self,
        values: &[f64],
        pasts: &[P],
        verified: &[Option<Verified>],
        rests: &[bool],
    ) -> Report {
        let mut report = Report::default();
        self.rows += 1;
        for ((mixture, past), (&value, verified)) in self
            .mixtures
            .iter_mut()
            .zip(pasts)
            .zip(values.iter().zip(verified))
        {
            if let Some(history) = past.as_ref().history() {
                let inside = verified.is_none_or(|v| v.inside);
                mixture.learn(value, history, inside);
            }
        }
        if self.rows <= LEARN_AFTER {
            return report;
        }
        let targets = &mut self.targets.0;
        for group in &mut self.groups {
            targets.clear();
            for c in group.first..group.first + group.size {
                let history = pasts[c].as_ref().history();
                let history = history.filter(|_| !rests[c]);
                targets.push(history.map_or(f64::NAN, |history| history.target(values[c])));
            }
            for expert in &mut group.experts {
                report += expert.learn(targets);
            }
        }
        if self.rows.is_multiple_of(TRIAL_ROWS) {
            self.leave_out();
        }
        report
    }

    /// Leaves out experts whose mean gain over the channels of a group is nothing.
    fn leave_out(&mut self) {
        for g in 0..self.groups.len() {
            let group = &self.groups[g];
            let mixtures = &self.mixtures[group.first..group.first + group.size];
            // One at a time: two that can stand in for each other gain nothing each.
            let gain = |e: usize| {
                let of = mixtures.iter().filter(|m| m.gate().values() > 0.0);
                let n = of.clone().count().max(1) as f64;
                of.map(|m| m.gate().gain()[e + 1]).sum::<f64>() / n
            };
            let gains: Vec<f64> = (0..group.experts.len()).map(gain).collect();
            let costly = |&e: &usize| group.experts[e].kind >= ExpertKind::Fast;
            let least = (0..gains.len()).filter(costly);
            let least = least.min_by(|&a, &b| gains[a].total_cmp(&gains[b]));
            if let Some(e) = least.filter(|&e| gains[e] < LEAST_GAIN) {
                self.remove(g, e);
            }
        }
    }

    /// The mixture of channel `c`.
    pub fn mixture(&self, c: usize) -> &Mixture {
        &self.mixtures[c]
    }

    /// The kinds of the experts of channel `c`, in the order of its gate.
    pub fn kinds(&self, c: usize) -> impl Iterator<Item = ExpertKind> + '_ {
        let group = self.groups.iter().find(|g| c < g.first + g.size);
        let experts = group.into_iter().flat_map(|g| &g.experts);
        std::iter::once(ExpertKind::Persistence).chain(experts.map(|e| e.kind))
    }

    /// Share of the predictive variance of channel `c` that comes from not knowing the weights of
    /// its linear expert, and that of its noise, in squared usual steps.
    pub fn ignorance(&self, c: usize) -> Option<(f64, f64)> {
        let group = self.groups.iter().find(|g| c < g.first + g.size)?;
        let expert = group.experts.first()?;
        let o = c - group.first;
        Some((expert.ignorance(o), expert.noise(o)))
    }

    /// Goes on with another memory of the weights, rows, and with noise by the hour or without.
    pub fn retune(&mut self, rows: f64, hourly_noise: bool) {
        self.settings.memory_rows = rows;
        self.settings.hourly_noise = hourly_noise;
        for expert in self.groups.iter_mut().flat_map(|g| &mut g.experts) {
            let share = if expert.kind == ExpertKind::Fast {
                FAST_SHARE
            } else {
                1.0
            };
            expert.set_memory(share * rows);
        }
    }

    /// Forgets how errors looked, after a new normal was accepted.
    pub fn renew(&mut self) {
        self.mixtures.iter_mut().for_each(Mixture::renew);
    }

    /// Mean posterior over prior standard deviation of the weights of hidden layers, 0 to 1; 1 without
    /// any.
    pub fn relative_sd(&self) -> f64 {
        let experts = self.groups.iter().flat_map(|g| &g.experts);
        let sds = experts.filter_map(|e| Some(e.hidden()?.relative_sd()));
        let (sum, n) = sds.fold((0.0, 0.0), |(sum, n), sd| (sum + sd, n + 1.0));
        if n > 0.0 { sum / n } else { 1.0 }
    }

    /// Summarises each hidden layer in figures. Walks over all weights.
    pub fn summaries(&self) -> impl Iterator<Item = NetworkSummary> + '_ {
        let experts = self.groups.iter().flat_map(|g| &g.experts);
        experts.filter_map(|e| Some(e.hidden()?.summary()))
    }

    /// Values and figures that were limited on their way.
    pub fn limited(&self) -> u64 {
        let experts = self.groups.iter().flat_map(|g| &g.experts);
        let mixtures = self.mixtures.iter().map(|m| m.limited);
        experts.map(Expert::limited).sum::<u64>() + mixtures.sum::<u64>()
    }

    /// Bytes of all filters and hidden layers.
    pub fn bytes(&self) -> usize {
        let experts = self.groups.iter().flat_map(|g| &g.experts);
        experts.map(Expert::bytes).sum()
    }
}
