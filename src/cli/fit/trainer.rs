//! Learns a table pass by pass: standardised samples, an ensemble of networks, a schedule.

use serde::{Deserialize, Serialize};

use super::score::{ClassSums, RegressionSums, Score};
use crate::ep::noise::NoiseVariance;
use crate::ep::{
    BatchLearner, BatchSchedule, Family, Input, Lesson, Network, NetworkDraft, Report, Sites,
    SpecErrors, Spikes,
};
use crate::num::counter;

/// Largest memory of the sites of one network, in f32 values (1 GiB).
const MAX_SITE_VALUES: usize = 1 << 28;

/// Noise of the spikes over noise of the standardised observations: where targets are noisy, soft
/// thresholds keep single samples from moving them.
const SPIKE_NOISE: f64 = 1.0;

/// Memory of a classifier from the second pass on, in tables: its likelihoods overlap so little
/// that a memory of one table forgets rare shapes.
const CLASS_MEMORY: f64 = 5.0;

/// Likelihood power of a classifier's Gaussian weights after `n` samples: bold while little is
/// known, then towards Bayes' rule.
fn class_power(n: u64) -> f32 {
    1.5 + 4.0 / (1.0 + n as f32 / 2000.0)
}

/// Samples in sparse form; the last input is the bias.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Samples {
    /// Number of inputs, the bias included.
    pub inputs: usize,
    start: Vec<usize>,
    index: Vec<u32>,
    value: Vec<f32>,
}

impl Samples {
    /// Adds a sample from its dense values (zeros and missing values are silent) and the bias.
    pub fn push(&mut self, dense: impl Iterator<Item = f32>) {
        self.start.push(self.index.len());
        let mut n = 0u32;
        for value in dense {
            if value != 0.0 && value.is_finite() {
                self.index.push(n);
                self.value.push(value);
            }
            n += 1;
        }
        self.index.push(n);
        self.value.push(1.0);
        self.inputs = n as usize + 1;
    }

    /// Number of samples.
    pub fn len(&self) -> usize {
        self.start.len()
    }

    /// Sample `i`.
    pub fn get(&self, i: usize) -> Input<'_> {
        let end = self.start.get(i + 1).copied().unwrap_or(self.index.len());
        Input {
            index: &self.index[self.start[i]..end],
            value: &self.value[self.start[i]..end],
        }
    }
}

/// What is to be predicted.
#[derive(Clone, Debug, PartialEq)]
pub enum Targets {
    /// Standardised values.
    Real(Vec<f32>),
    /// Classes from 0.
    Class(Vec<usize>),
}

/// How samples follow one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Schedule {
    /// Stochastic EP: one site for all; from the second pass on each sample replaces its share.
    Sequential,
    /// Full EP: a site for each sample.
    Exact,
    /// Guarded mini-batches of so many samples.
    Batches(BatchSchedule, usize),
}

/// Sweeps over a mini-batch whose schedule keeps sites.
const SWEEPS: usize = 3;

/// Prior variance of hidden weights before sigmoid spikes, over that before the others: a sigmoid's
/// own noise (variance near 3) must not drown the input, whose variance is near .4 else. Chosen on
/// the last 10,000 of MNIST's training images.
const SIGMOID_GAIN: f32 = 32.0;

/// How to learn.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// Widths of the hidden layers.
    pub hidden: Vec<usize>,
    /// The hidden units' spikes; `None`: probit, their noise following that of the observations
    /// (a regression), or deterministic (a classification).
    pub spikes: Option<Spikes>,
    /// Families of the layers.
    pub family: Family,
    /// Direct synapses from input to output.
    pub direct: bool,
    /// Schedule; `None` chooses: exact where sites for all samples fit (Gaussian weights,
    /// regression, 1 GiB a network), else sequential.
    pub schedule: Option<Schedule>,
    /// Memory of stochastic EP; `None` is the number of samples (five times that for
    /// classes), from the second pass on.
    pub memory: Option<f64>,
    /// Number of networks to average.
    pub inits: usize,
    /// Seed.
    pub seed: u64,
}

/// One network with its noise and sites.
#[derive(Clone, Debug)]
struct Member {
    network: Network,
    noise: NoiseVariance,
    sites: Option<Sites>,
    batches: Option<BatchLearner>,
    seed: u64,
    /// Samples learned so far.
    seen: u64,
}

/// An ensemble that learns one table.
#[derive(Clone, Debug)]
pub struct Trainer {
    members: Vec<Member>,
    classes: Option<usize>,
    memory: Option<f64>,
    /// Spike noise follows observation noise.
    follow: bool,
    passes: u32,
    /// What all updates did.
    pub report: Report,
}

/// What is saved of a trainer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Learned {
    /// Networks with the variance of their noise.
    pub networks: Vec<(Network, NoiseVariance)>,
    /// Number of classes, or `None` for regression.
    pub classes: Option<usize>,
    /// Samples that each network has learned (classes only).
    pub seen: u64,
    /// Spike noise follows observation noise.
    pub follow: bool,
    /// Mean and standard deviation that standardised the targets.
    pub target: (f64, f64),
    /// The same of every other column of a table, with its number; empty for images.
    pub columns: Vec<(usize, f64, f64)>,
}

impl Trainer {
    /// Networks at their prior for `samples` of the given targets; `classes` as in [`Learned`].
    ///
    /// # Errors
    /// If the plan makes no valid network.
    pub fn new(
        plan: &Plan,
        samples: &Samples,
        classes: Option<usize>,
    ) -> Result<Trainer, SpecErrors> {
        let mut members = Vec::new();
        for i in 0..plan.inits.max(1) {
            let seed = plan.seed.wrapping_mul(1000).wrapping_add(i as u64);
            let network = Network::new(&draft(plan, samples.inputs, classes, seed).build()?);
            let size = Sites::size_of_sample(&network, samples.get(0).index.len());
            let fits = size.saturating_mul(samples.len()) <= MAX_SITE_VALUES;
            let gaussian = plan.family == Family::Gaussian;
            let exact = match plan.schedule {
                Some(schedule) => schedule == Schedule::Exact && gaussian,
                None => fits && gaussian && classes.is_none(),
            };
            members.push(Member {
                network,
                noise: NoiseVariance::new(0.3, samples.len() as f64),
                sites: exact.then(|| Sites::new(samples.len())),
                batches: match plan.schedule {
                    Some(Schedule::Batches(schedule, size)) => {
                        Some(BatchLearner::new(schedule, size.max(1), SWEEPS))
                    }
                    _ => None,
                },
                seed,
                seen: 0,
            });
        }
        Ok(Trainer {
            members,
            classes,
            memory: plan.memory,
            follow: plan.spikes.is_none() && classes.is_none(),
            passes: 0,
            report: Report::default(),
        })
    }

    /// Continues from what was saved: sequentially, its sites being gone.
    ///
    /// # Errors
    /// If it was learned on other inputs or classes, in words.
    pub fn resume(learned: Learned, plan: &Plan, inputs: usize) -> Result<Trainer, String> {
        let mut members = Vec::new();
        for (i, (network, noise)) in learned.networks.into_iter().enumerate() {
            if network.inputs() != inputs {
                let got = network.inputs();
                return Err(format!("the model has {got} inputs, the data {inputs}"));
            }
            let seed = plan.seed.wrapping_mul(1000).wrapping_add(i as u64);
            members.push(Member {
                network,
                noise,
                sites: None,
                batches: None,
                seed,
                seen: learned.seen,
            });
        }
        Ok(Trainer {
            members,
            classes: learned.classes,
            memory: plan.memory,
            follow: learned.follow,
            passes: 1,
            report: Report::default(),
        })
    }

    /// The schedule in use.
    pub fn schedule(&self) -> Schedule {
        match self.members.first() {
            Some(m) if m.sites.is_some() => Schedule::Exact,
            Some(Member {
                batches: Some(learner),
                ..
            }) => Schedule::Batches(learner.schedule(), learner.size()),
            _ => Schedule::Sequential,
        }
    }

    /// One pass over all samples, each network in its own random order. Returns the score of the
    /// first network's predictions, each made before the sample is learned (in later passes of the
    /// exact schedule: without the sample). `scale`: of the targets; `tick` is called now and then
    /// with the number of samples done.
    pub fn pass(
        &mut self,
        samples: &Samples,
        targets: &Targets,
        scale: f64,
        tick: &mut dyn FnMut(u64),
    ) -> Score {
        let mut first = None;
        for member in &mut self.members {
            if member.sites.is_none() {
                let memory = match (self.memory, self.passes) {
                    (Some(memory), _) => Some(memory),
                    (None, 0) => None,
                    (None, _) => {
                        let tables = self.classes.map_or(1.0, |_| CLASS_MEMORY);
                        Some((tables * samples.len() as f64).max(2.0))
                    }
                };
                if self.passes <= 1 {
                    member.network.set_memory(memory);
                }
            }
            if self.follow {
                let noise = SPIKE_NOISE * member.noise.mean();
                member.network.set_spike_noise(noise as f32);
            }
            let order = shuffled(samples.len(), member.seed, self.passes);
            let score = match targets {
                Targets::Real(y) if member.batches.is_some() => {
                    let again = self.passes > 0;
                    member.batches_real(samples, y, &order, again, &mut self.report, tick)
                }
                Targets::Class(c) if member.batches.is_some() => {
                    member.batches_class(samples, c, &order, &mut self.report, tick)
                }
                Targets::Real(y) => {
                    let again = self.passes > 0;
                    member.pass_real(samples, y, &order, again, &mut self.report, tick)
                }
                Targets::Class(c) => member.pass_class(samples, c, &order, &mut self.report, tick),
            };
            first.get_or_insert(score.of(scale));
        }
        self.passes += 1;
        first.unwrap_or(RegressionSums::default().score(scale))
    }

    /// Score of the ensemble on samples that it does not learn.
    pub fn test(&mut self, samples: &Samples, targets: &Targets, scale: f64) -> Score {
        match targets {
            Targets::Real(y) => {
                let mut sums = RegressionSums::default();
                let mut parts = Vec::new();
                for (i, &y) in y.iter().enumerate() {
                    parts.clear();
                    for member in &mut self.members {
                        let moments = member.network.predict(samples.get(i));
                        let variance = f64::from(moments.variance[0]) + member.noise.mean();
                        parts.push((f64::from(moments.mean[0]), variance));
                    }
                    sums.add(f64::from(y), &parts);
                }
                sums.score(scale)
            }
            Targets::Class(classes) => {
                let mut sums = ClassSums::default();
                let n = self.classes.unwrap_or(0);
                let members = self.members.len() as f32;
                let (mut mean, mut one) = (vec![0.0f32; n], vec![0.0f32; n]);
                for (i, &class) in classes.iter().enumerate() {
                    mean.fill(0.0);
                    for member in &mut self.members {
                        member.network.predict_class(samples.get(i), &mut one);
                        for (mean, one) in mean.iter_mut().zip(&one) {
                            *mean += one / members;
                        }
                    }
                    sums.add(class, &mean);
                }
                sums.score()
            }
        }
    }

    /// Mean and sd of the ensemble's prediction, the noise included, in units of the standardised
    /// target.
    pub fn predict(&mut self, x: Input<'_>) -> (f64, f64) {
        let (mut mean, mut second) = (0.0, 0.0);
        let share = 1.0 / self.members.len() as f64;
        for member in &mut self.members {
            let moments = member.network.predict(x);
            let (m, v) = (f64::from(moments.mean[0]), f64::from(moments.variance[0]));
            mean += share * m;
            second += share * (m * m + v + member.noise.mean());
        }
        (mean, (second - mean * mean).max(0.0).sqrt())
    }

    /// Standard deviation of the noise, mean over the networks, in units of the targets.
    pub fn noise_sd(&self) -> f64 {
        let sum: f64 = self.members.iter().map(|m| m.noise.mean().sqrt()).sum();
        sum / self.members.len() as f64
    }

    /// What is worth saving.
    pub fn learned(&self, target: (f64, f64), columns: &[(usize, f64, f64)]) -> Learned {
        Learned {
            seen: self.members.first().map_or(0, |m| m.seen),
            follow: self.follow,
            target,
            columns: columns.to_vec(),
            networks: self
                .members
                .iter()
                .map(|m| (m.network.clone(), m.noise))
                .collect(),
            classes: self.classes,
        }
    }
}

/// Sums of either task.
enum Sums {
    Real(RegressionSums),
    Class(Box<ClassSums>),
}

impl Sums {
    fn of(&self, scale: f64) -> Score {
        match self {
            Sums::Real(sums) => sums.score(scale),
            Sums::Class(sums) => sums.score(),
        }
    }
}

impl Member {
    fn pass_real(
        &mut self,
        samples: &Samples,
        targets: &[f32],
        order: &[usize],
        again: bool,
        report: &mut Report,
        tick: &mut dyn FnMut(u64),
    ) -> Sums {
        let mut sums = RegressionSums::default();
        let Member {
            network,
            noise,
            sites,
            ..
        } = self;
        for (n, &i) in order.iter().enumerate() {
            let (x, y) = (samples.get(i), targets[i]);
            let exact = sites.is_some();
            let mut step = |network: &mut Network| {
                let moments = network.predict(x);
                let (mean, v) = (f64::from(moments.mean[0]), f64::from(moments.variance[0]));
                let sigma2 = noise.mean();
                sums.add(f64::from(y), &[(mean, v + sigma2)]);
                let report = network.learn(x, &[y], &[sigma2 as f32], 1.0);
                let r = f64::from(y) - mean;
                if again && !exact {
                    noise.observe_again(r, v);
                } else {
                    noise.observe(r, v);
                }
                report
            };
            *report += match sites.as_mut() {
                Some(sites) => sites.learn(i, network, x, step),
                None => step(network),
            };
            if n % 256 == 255 {
                tick(256);
            }
        }
        tick(order.len() as u64 % 256);
        if let Some(sites) = sites {
            sites.rebuild(network, |i| samples.get(i).index);
        }
        Sums::Real(sums)
    }

    fn batches_real(
        &mut self,
        samples: &Samples,
        targets: &[f32],
        order: &[usize],
        again: bool,
        report: &mut Report,
        tick: &mut dyn FnMut(u64),
    ) -> Sums {
        let mut sums = RegressionSums::default();
        let Some(learner) = &mut self.batches else {
            return Sums::Real(sums);
        };
        let mut at = 0;
        while at < order.len() {
            let batch = &order[at..(at + learner.size()).min(order.len())];
            let sigma2 = self.noise.mean();
            let noise = [sigma2 as f32];
            let mut lessons = Vec::new();
            for &i in batch {
                let moments = self.network.predict(samples.get(i));
                let (mean, v) = (f64::from(moments.mean[0]), f64::from(moments.variance[0]));
                let y = f64::from(targets[i]);
                sums.add(y, &[(mean, v + sigma2)]);
                if again {
                    self.noise.observe_again(y - mean, v);
                } else {
                    self.noise.observe(y - mean, v);
                }
                let lesson = Lesson::Values(std::slice::from_ref(&targets[i]), &noise);
                lessons.push((samples.get(i), lesson));
            }
            *report += learner.learn(&mut self.network, &lessons);
            at += batch.len();
            tick(batch.len() as u64);
        }
        Sums::Real(sums)
    }

    fn batches_class(
        &mut self,
        samples: &Samples,
        classes: &[usize],
        order: &[usize],
        report: &mut Report,
        tick: &mut dyn FnMut(u64),
    ) -> Sums {
        let mut sums = ClassSums::default();
        let mut probabilities = vec![0.0; self.network.outputs()];
        let Some(learner) = &mut self.batches else {
            return Sums::Class(Box::new(sums));
        };
        let mut at = 0;
        while at < order.len() {
            let batch = &order[at..(at + learner.size()).min(order.len())];
            self.network.set_power(class_power(self.seen));
            let mut lessons = Vec::new();
            for &i in batch {
                self.network
                    .predict_class(samples.get(i), &mut probabilities);
                sums.add(classes[i], &probabilities);
                lessons.push((samples.get(i), Lesson::Class(classes[i])));
            }
            *report += learner.learn(&mut self.network, &lessons);
            self.seen += batch.len() as u64;
            at += batch.len();
            tick(batch.len() as u64);
        }
        Sums::Class(Box::new(sums))
    }

    fn pass_class(
        &mut self,
        samples: &Samples,
        classes: &[usize],
        order: &[usize],
        report: &mut Report,
        tick: &mut dyn FnMut(u64),
    ) -> Sums {
        let mut sums = ClassSums::default();
        let mut probabilities = vec![0.0; self.network.outputs()];
        for (n, &i) in order.iter().enumerate() {
            let (x, class) = (samples.get(i), classes[i]);
            if n % 16 == 0 {
                self.network.set_power(class_power(self.seen));
            }
            self.seen += 1;
            let mut step = |network: &mut Network| {
                network.predict_class(x, &mut probabilities);
                sums.add(class, &probabilities);
                network.learn_class(x, class, 1.0)
            };
            *report += match self.sites.as_mut() {
                Some(sites) => sites.learn(i, &mut self.network, x, step),
                None => step(&mut self.network),
            };
            if n % 256 == 255 {
                tick(256);
            }
        }
        tick(order.len() as u64 % 256);
        if let Some(sites) = &self.sites {
            sites.rebuild(&mut self.network, |i| samples.get(i).index);
        }
        Sums::Class(Box::new(sums))
    }
}

fn draft(plan: &Plan, inputs: usize, classes: Option<usize>, seed: u64) -> NetworkDraft {
    let mut draft = match classes {
        Some(n) => NetworkDraft::classification(inputs, &plan.hidden, n),
        None => NetworkDraft::regression(inputs, &plan.hidden, 1),
    };
    draft.spikes = plan.spikes.unwrap_or(Spikes::Deterministic);
    draft.direct = plan.direct || plan.hidden.is_empty();
    draft.seed = seed;
    if draft.spikes == Spikes::Sigmoid {
        let hidden = plan.hidden.len();
        for prior in &mut draft.priors.layers[..hidden] {
            prior.variance *= SIGMOID_GAIN;
        }
    }
    draft.with_families(&vec![plan.family; plan.hidden.len() + 1])
}

/// A random order of 0..n.
pub fn shuffled(n: usize, seed: u64, pass: u32) -> Vec<usize> {
    let key = counter::key(seed, pass.wrapping_add(0x5eed));
    let mut order: Vec<usize> = (0..n).collect();
    for i in (1..n).rev() {
        let u = counter::uniform(counter::row_key(key, i as u32), 0);
        order.swap(i, ((i + 1) as f64 * u) as usize);
    }
    order
}

#[cfg(test)]
mod tests {
    use super::*;

    fn curve(n: usize) -> (Samples, Targets) {
        let (mut samples, mut y) = (Samples::default(), Vec::new());
        for i in 0..n {
            let x = counter::bell(i as u32, 0);
            samples.push([x].into_iter());
            y.push((2.0 * x).sin() + 0.1 * counter::bell(i as u32, 1));
        }
        (samples, Targets::Real(y))
    }

    fn plan() -> Plan {
        Plan {
            hidden: vec![30],
            spikes: None,
            family: Family::Gaussian,
            direct: false,
            schedule: None,
            memory: None,
            inits: 2,
            seed: 3,
        }
    }

    #[test]
    fn every_schedule_learns_a_curve_and_knows_its_noise() {
        let (samples, targets) = curve(300);
        for schedule in [
            Schedule::Exact,
            Schedule::Sequential,
            Schedule::Batches(BatchSchedule::Exact, 16),
            Schedule::Batches(BatchSchedule::Averaged, 16),
            Schedule::Batches(BatchSchedule::Parallel, 16),
        ] {
            let plan = Plan {
                schedule: Some(schedule),
                ..plan()
            };
            let mut trainer = Trainer::new(&plan, &samples, None).unwrap();
            for _ in 0..15 {
                trainer.pass(&samples, &targets, 1.0, &mut |_| ());
            }
            let Score::Regression(score) = trainer.test(&samples, &targets, 1.0) else {
                panic!()
            };
            assert!(score.rmse < 0.3, "{schedule:?} {score:?}");
            assert!(score.coverage90 > 0.8, "{schedule:?} {score:?}");
            assert_eq!(trainer.report.skipped, 0);
        }
    }

    #[test]
    fn classes_are_learned_by_every_family() {
        let (mut samples, mut classes) = (Samples::default(), Vec::new());
        for i in 0..600u32 {
            let class = (i % 3) as usize;
            let pixel = |j: u32| {
                let on = j as usize % 3 == class;
                let flip = counter::uniform(i, j) < 0.1;
                f32::from(u8::from(on != flip))
            };
            samples.push((0..24).map(pixel));
            classes.push(class);
        }
        let targets = Targets::Class(classes);
        for family in [Family::Gaussian, Family::Binary, Family::Levels(3)] {
            let plan = Plan { family, ..plan() };
            let mut trainer = Trainer::new(&plan, &samples, Some(3)).unwrap();
            for _ in 0..2 {
                trainer.pass(&samples, &targets, 1.0, &mut |_| ());
            }
            let Score::Classification(score) = trainer.test(&samples, &targets, 1.0) else {
                panic!()
            };
            assert!(score.accuracy > 0.95, "{family:?} {score:?}");
        }
    }

    #[test]
    fn an_order_holds_every_sample_once() {
        let mut order = shuffled(100, 7, 1);
        assert_ne!(order, shuffled(100, 7, 2));
        order.sort_unstable();
        assert!(order.iter().enumerate().all(|(i, &j)| i == j));
    }
}
