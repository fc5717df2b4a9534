//! Learns a table pass by pass: standardised samples, an ensemble of networks, a schedule.

use serde::{Deserialize, Serialize};

use super::boldness::Boldness;
use super::member::{Member, STUDENT_NU};
use super::samples::{Samples, Targets};
use super::score::{ClassSums, RegressionSums, Score};
use crate::ep::noise::NoiseVariance;
use crate::ep::{
    BatchSchedule, Committee, Family, Input, Network, NetworkDraft, OutputKind, Predicted, Report,
    Sites, SpecErrors, Spikes,
};

/// Largest memory of the sites of one network, in f32 values (1 GiB).
const MAX_SITE_VALUES: usize = 1 << 28;

/// First guess of the noise variance of standardised observations, worth six of them. Chosen, as the
/// outputs' prior mean of 0, on held-out parts of the training rows of eight tables: .1 learns five
/// of them faster in one pass, but SKAB's slower, and is too sure in the gap of a curve.
const NOISE: f64 = 0.2;

/// Noise of the spikes over noise of the standardised observations: where targets are noisy, soft
/// thresholds keep single samples from moving them.
const SPIKE_NOISE: f64 = 1.0;

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

/// Prior variance of hidden weights before noisy spikes, over that before sure ones: the noise of a
/// probit (given) or a sigmoid (variance near 3) must not drown the input, whose variance is near .4
/// else. Ten times the noise, chosen on the last 10,000 of MNIST's training images.
fn gain(spikes: Spikes) -> f32 {
    match spikes {
        Spikes::Deterministic => 1.0,
        Spikes::Probit { noise } => 1.0 + 10.0 * noise,
        Spikes::Sigmoid => 32.0,
    }
}

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
    /// Memory of stochastic EP; `None` is the number of samples from the second pass on, or for
    /// classes what [`Boldness`] says.
    pub memory: Option<f64>,
    /// Predictions of a regression know the output weights jointly.
    pub joint: bool,
    /// Samples follow one another as in the table; else in a random order for each pass.
    pub in_order: bool,
    /// Passes to come, 1 and more.
    pub passes: u32,
    /// Number of networks to average.
    pub inits: usize,
    /// Seed.
    pub seed: u64,
}

impl Plan {
    /// Seed of network `i`.
    fn seed_of(&self, i: usize) -> u64 {
        self.seed.wrapping_mul(1000).wrapping_add(i as u64)
    }

    fn boldness(&self, samples: &Samples, known: bool) -> Boldness {
        let run = (samples.len(), self.passes);
        Boldness::new(self.family, samples.inputs, run, known)
    }

    fn schedule_for(
        &self,
        network: &Network,
        samples: &Samples,
        classes: Option<usize>,
    ) -> Schedule {
        let gaussian = self.family == Family::Gaussian;
        let size = Sites::size_of_sample(network, samples.get(0).index.len());
        let fits = size.saturating_mul(samples.len()) <= MAX_SITE_VALUES;
        match self.schedule {
            Some(Schedule::Exact) if !gaussian => Schedule::Sequential,
            Some(schedule) => schedule,
            None if fits && gaussian && classes.is_none() => Schedule::Exact,
            None => Schedule::Sequential,
        }
    }
}

/// An ensemble that learns one table.
#[derive(Clone, Debug)]
pub struct Trainer {
    members: Vec<Member>,
    /// What predicts after a pass over a regression.
    committee: Option<Committee>,
    joint: bool,
    classes: Option<usize>,
    memory: Option<f64>,
    /// Spike noise follows observation noise.
    follow: bool,
    passes: u32,
    /// What all updates did.
    pub report: Report,
}

/// A prediction in units of the standardised target.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Forecast {
    /// Mean.
    pub mean: f64,
    /// Standard deviation, all noise included.
    pub sd: f64,
    /// Standard deviation of the expected target: what is not known.
    pub ignorance: f64,
}

/// What is saved of a trainer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Learned {
    /// Networks with the variance of their noise.
    pub networks: Vec<(Network, NoiseVariance)>,
    /// Number of classes, or `None` for regression.
    pub classes: Option<usize>,
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
        let member = |i| {
            let seed = plan.seed_of(i);
            let network = Network::new(&draft(plan, samples.inputs, classes, seed).build()?);
            let schedule = plan.schedule_for(&network, samples, classes);
            let noise = NoiseVariance::new(NOISE, samples.len() as f64);
            let boldness = classes.map(|_| plan.boldness(samples, false));
            Ok(Member::new(network, noise, seed)
                .with_order(plan.in_order)
                .with_schedule(schedule, samples.len())
                .with_boldness(boldness))
        };
        Ok(Trainer {
            members: (0..plan.inits.max(1))
                .map(member)
                .collect::<Result<_, _>>()?,
            classes,
            committee: None,
            joint: plan.joint,
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
    pub fn resume(learned: Learned, plan: &Plan, samples: &Samples) -> Result<Trainer, String> {
        let (mut members, inputs) = (Vec::new(), samples.inputs);
        let boldness = learned.classes.map(|_| plan.boldness(samples, true));
        for (i, (network, noise)) in learned.networks.into_iter().enumerate() {
            if network.inputs() != inputs {
                let got = network.inputs();
                return Err(format!("the model has {got} inputs, the data {inputs}"));
            }
            let member = Member::new(network, noise, plan.seed_of(i)).with_order(plan.in_order);
            members.push(member.with_boldness(boldness));
        }
        Ok(Trainer {
            members,
            classes: learned.classes,
            committee: None,
            joint: plan.joint,
            memory: plan.memory,
            follow: learned.follow,
            passes: 1,
            report: Report::default(),
        })
    }

    /// The schedule in use.
    pub fn schedule(&self) -> Schedule {
        let first = self.members.first();
        first.map_or(Schedule::Sequential, Member::schedule)
    }

    /// One pass over all samples, each network in its own order. Returns the score of the
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
            member.remember(self.memory, self.passes, samples.len());
            if self.follow {
                let noise = SPIKE_NOISE * member.noise.mean();
                member.network.set_spike_noise(noise as f32);
            }
            let part = (samples, targets);
            let sums = member.pass(part, self.passes, &mut self.report, tick);
            first.get_or_insert(sums.score(scale));
        }
        self.passes += 1;
        self.read_out(samples, targets);
        first.unwrap_or(RegressionSums::default().score(scale))
    }

    /// Makes what predicts after a pass.
    fn read_out(&mut self, samples: &Samples, targets: &Targets) {
        let Targets::Real(y) = targets else { return };
        self.committee = Some(if self.joint {
            let table = |i: usize| (samples.get(i), y[i]);
            let noise = |m: &'_ Member| (m.noise.mean(), STUDENT_NU);
            let members = self.members.iter().map(|m| (&m.network, noise(m)));
            Committee::joint(members, samples.len(), &table)
        } else {
            Committee::single(self.members.iter().map(|m| &m.network))
        });
    }

    /// Score of the ensemble on samples that it does not learn.
    pub fn test(&mut self, samples: &Samples, targets: &Targets, scale: f64) -> Score {
        match targets {
            Targets::Real(y) => {
                let mut sums = RegressionSums::default();
                let mut parts = Vec::new();
                for (i, &y) in y.iter().enumerate() {
                    parts.clear();
                    self.parts(samples.get(i), |seen, noise| {
                        parts.push((seen.mean, seen.ignorance + seen.spikes + noise));
                    });
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

    /// All parts of the ensemble's prediction, each with its network's noise variance.
    fn parts(&mut self, x: Input<'_>, mut seen: impl FnMut(Predicted, f64)) {
        let members = &self.members;
        if let Some(committee) = &mut self.committee {
            committee.predict(x, |i, part| seen(part, members[i].noise.mean()));
        }
    }

    /// The ensemble's prediction of a regression, in units of the standardised target.
    pub fn predict(&mut self, x: Input<'_>) -> Forecast {
        let (mut n, mut mean, mut second, mut ignorance) = (0.0, 0.0, 0.0, 0.0);
        self.parts(x, |seen, noise| {
            n += 1.0;
            mean += seen.mean;
            second += seen.mean * seen.mean + seen.ignorance + seen.spikes + noise;
            ignorance += seen.mean * seen.mean + seen.ignorance;
        });
        mean /= n;
        let sd = |second: f64| (second / n - mean * mean).max(0.0).sqrt();
        Forecast {
            mean,
            sd: sd(second),
            ignorance: sd(ignorance),
        }
    }

    /// Predictions know the output weights jointly.
    pub fn is_joint(&self) -> bool {
        self.committee.as_ref().is_some_and(Committee::is_joint)
    }

    /// The output weights of several networks were learned at once.
    pub fn is_together(&self) -> bool {
        self.committee.as_ref().is_some_and(Committee::is_together)
    }

    /// Standard deviation of the noise, mean over the networks, in units of the targets.
    pub fn noise_sd(&self) -> f64 {
        let sum: f64 = self.members.iter().map(|m| m.noise.mean().sqrt()).sum();
        sum / self.members.len() as f64
    }

    /// What is worth saving.
    pub fn learned(&self, target: (f64, f64), columns: &[(usize, f64, f64)]) -> Learned {
        Learned {
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

fn draft(plan: &Plan, inputs: usize, classes: Option<usize>, seed: u64) -> NetworkDraft {
    let mut draft = match classes {
        Some(n) => NetworkDraft::classification(inputs, &plan.hidden, n),
        None => NetworkDraft::regression(inputs, &plan.hidden, 1),
    };
    if classes.is_some() && plan.family != Family::Gaussian {
        draft.output = OutputKind::Softmax;
    }
    draft.spikes = plan.spikes.unwrap_or(Spikes::Deterministic);
    draft.direct = plan.direct || plan.hidden.is_empty();
    draft.seed = seed;
    for prior in &mut draft.priors.layers[..plan.hidden.len()] {
        prior.variance *= gain(draft.spikes);
    }
    draft.with_families(&vec![plan.family; plan.hidden.len() + 1])
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::counter;

    fn curve(n: usize) -> (Samples, Targets) {
        let (mut samples, mut y) = (Samples::default(), Vec::new());
        for i in 0..n {
            let x = counter::bell(i as u32, 0);
            samples.push([x].into_iter(), 1.0);
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
            joint: true,
            in_order: false,
            passes: 2,
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
    fn a_few_wild_rows_do_not_spoil_those_around_them() {
        let (samples, Targets::Real(mut y)) = curve(2000) else {
            panic!()
        };
        let (_, clean) = curve(2000);
        let mut wild = 0;
        for (i, y) in y.iter_mut().enumerate() {
            if samples.get(i).value[0] > 1.3 && i % 20 == 0 {
                *y -= 15.0;
                wild += 1;
            }
        }
        assert!((5..20).contains(&wild), "{wild}");
        let plan = Plan {
            inits: 1,
            joint: false,
            ..plan()
        };
        let mut trainer = Trainer::new(&plan, &samples, None).unwrap();
        for _ in 0..10 {
            trainer.pass(&samples, &Targets::Real(y.clone()), 1.0, &mut |_| ());
        }
        let Score::Regression(score) = trainer.test(&samples, &clean, 1.0) else {
            panic!()
        };
        // With Gaussian noise it is 5.2.
        assert!(score.rmse < 0.3, "{score:?}");
    }

    #[test]
    fn in_order_is_the_random_order_of_a_table_that_was_shuffled_before() {
        let (samples, Targets::Real(y)) = curve(100) else {
            panic!()
        };
        let schedule = Some(Schedule::Sequential);
        let random = Plan {
            schedule,
            inits: 1,
            ..plan()
        };
        let mut shuffled = (Samples::default(), Vec::new());
        for i in super::super::samples::shuffled(samples.len(), random.seed_of(0), 0) {
            shuffled
                .0
                .push(samples.get(i).value[..1].iter().copied(), 1.0);
            shuffled.1.push(y[i]);
        }
        let ordered = Plan {
            in_order: true,
            ..random.clone()
        };
        let learn = |plan: &Plan, samples: &Samples, y: &[f32]| {
            let mut trainer = Trainer::new(plan, samples, None).unwrap();
            let score = trainer.pass(samples, &Targets::Real(y.to_vec()), 1.0, &mut |_| ());
            (score, trainer.members[0].network.clone())
        };
        let want = learn(&random, &samples, &y);
        assert_eq!(learn(&ordered, &shuffled.0, &shuffled.1), want);
        assert_ne!(learn(&ordered, &samples, &y), want);
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
            samples.push((0..24).map(pixel), 1.0);
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
}
