//! One network of an ensemble: a pass over the samples, each predicted and scored before it is
//! learned.

use super::annealing::Annealing;
use super::plan::Schedule;
use super::samples::{Samples, Targets, shuffled};
use super::score::{RegressionSums, ScoreSums};
use crate::ep::factor::student;
use crate::ep::noise::{NoiseVariance, StudentNoise};
use crate::ep::{BatchLearner, Network, Observation, Report, Sites};

/// Sweeps over a mini-batch whose schedule keeps sites.
const SWEEPS: usize = 3;

/// Samples of a classifier that share a likelihood power, without mini-batches.
const POWER_BLOCK: usize = 16;

/// Degrees of freedom of the noise of a regression. Under a Gaussian a single row that is ten
/// standard deviations off counts for fifty nats, enough for units that fire at random, much against
/// the rows around it, only to explain that row.
const STUDENT_NU: f64 = 30.0;

/// Noise of the spikes over noise of the standardised observations: where targets are noisy, soft
/// thresholds keep single samples from moving them.
const SPIKE_NOISE: f64 = 1.0;

/// One network with its noise and what its schedule keeps.
#[derive(Clone, Debug)]
pub struct EnsembleMember {
    pub network: Network,
    pub noise: NoiseVariance,
    sites: Option<Sites>,
    batches: Option<BatchLearner>,
    in_order: bool,
    /// Of a classifier.
    annealing: Option<Annealing>,
    seed: u64,
    /// Samples learned so far.
    seen: u64,
    /// The memory that was set, if any was.
    memory: Option<Option<f64>>,
}

/// Samples of a pass, and its score.
struct Round<'a> {
    samples: &'a Samples,
    targets: &'a Targets,
    /// Observation noise variance for the present samples.
    sigma2: f64,
    /// Noise variance that each sample of the present batch is learned with.
    noise: Vec<f32>,
    /// Steps of forgetting of each sample.
    weight: f32,
    probabilities: Vec<f32>,
    sums: ScoreSums,
}

impl Round<'_> {
    fn start(&mut self, sigma2: f64) {
        self.sigma2 = sigma2;
        self.noise.clear();
    }

    /// The evidence of sample `i`, the `k`th of the batch that was judged.
    fn lesson(&self, k: usize, i: usize) -> Observation<'_> {
        match self.targets {
            Targets::Real(y) => {
                Observation::Values(std::slice::from_ref(&y[i]), &self.noise[k..=k])
            }
            Targets::Class(c) => Observation::Class(c[i]),
        }
    }

    /// Predicts sample `i` and scores that; the noise learns from it. How far it is off says how
    /// noisy the sample is.
    fn judge(&mut self, i: usize, network: &mut Network, noise: &mut NoiseVariance) {
        let x = self.samples.get(i);
        match (self.targets, &mut self.sums) {
            (Targets::Real(y), ScoreSums::Real(sums)) => {
                let moments = network.predict(x);
                let (mean, v) = (f64::from(moments.mean[0]), f64::from(moments.variance[0]));
                let y = f64::from(y[i]);
                sums.add(y, &[(mean, v + self.sigma2)]);
                let weight = student::weight(y - mean, v + self.sigma2, STUDENT_NU);
                self.noise.push((self.sigma2 / weight) as f32);
                noise.observe(y - mean, v);
            }
            (Targets::Class(c), ScoreSums::Class(sums)) => {
                network.predict_class(x, &mut self.probabilities);
                sums.add(c[i], &self.probabilities);
            }
            _ => unreachable!("sums are made for their targets"),
        }
    }
}

impl EnsembleMember {
    /// A network with the noise that is learned beside it, sequentially.
    pub fn new(network: Network, noise: NoiseVariance, seed: u64) -> EnsembleMember {
        EnsembleMember {
            network,
            noise,
            sites: None,
            batches: None,
            in_order: false,
            annealing: None,
            seed,
            seen: 0,
            memory: None,
        }
    }

    /// Sets the schedule; `samples` is the number of samples of a table.
    pub fn with_schedule(mut self, schedule: Schedule, samples: usize) -> EnsembleMember {
        match schedule {
            Schedule::Sequential => (),
            Schedule::Exact => self.sites = Some(Sites::over(&mut self.network, samples)),
            Schedule::Batches(schedule, size) => {
                self.batches = Some(BatchLearner::new(schedule, size.max(1), SWEEPS));
            }
        }
        self
    }

    /// Samples follow one another as in the table, or in a random order a pass.
    pub fn with_order(mut self, in_order: bool) -> EnsembleMember {
        self.in_order = in_order;
        self
    }

    /// Sets how boldly a classifier learns.
    pub fn with_annealing(mut self, annealing: Option<Annealing>) -> EnsembleMember {
        if annealing.is_some() {
            self.network.centre_priors();
        }
        self.annealing = annealing;
        self
    }

    /// The schedule in use.
    pub fn schedule(&self) -> Schedule {
        match (&self.sites, &self.batches) {
            (Some(_), _) => Schedule::Exact,
            (None, Some(learner)) => Schedule::Batches(learner.schedule(), learner.size()),
            (None, None) => Schedule::Sequential,
        }
    }

    /// Before a pass over samples that it saw before (`again`) or not; `rows` are all that were ever
    /// learned. Without `memory`, a regression forgets nothing in the first pass and remembers
    /// all rows from then on; a classifier's annealing says its own. A site a sample needs no
    /// forgetting.
    pub fn remember(&mut self, memory: Option<f64>, again: bool, rows: f64) {
        if self.sites.is_some() {
            return;
        }
        let usual = match &self.annealing {
            Some(annealing) => Some(annealing.memory()),
            None => again.then(|| rows.max(2.0)),
        };
        let memory = memory.or(usual);
        if self.memory != Some(memory) {
            self.network.set_memory(memory);
            self.memory = Some(memory);
        }
    }

    /// Spike noise follows observation noise.
    pub fn follow_noise(&mut self) {
        let noise = SPIKE_NOISE * self.noise.mean();
        self.network.set_spike_noise(noise as f32);
    }

    /// Variance and degrees of freedom of the observation noise.
    pub fn noise_law(&self) -> StudentNoise {
        StudentNoise {
            variance: self.noise.mean(),
            dof: STUDENT_NU,
        }
    }

    /// One pass over the samples `rows`; `passes` went before. `tick` is called now and
    /// then with the number of samples done.
    pub fn pass(
        &mut self,
        samples: &Samples,
        targets: &Targets,
        rows: &[usize],
        passes: u32,
        report: &mut Report,
        tick: &mut dyn FnMut(u64),
    ) -> ScoreSums {
        let order: Vec<usize> = if self.in_order {
            rows.to_vec()
        } else {
            let order = shuffled(rows.len(), self.seed, passes);
            order.into_iter().map(|i| rows[i]).collect()
        };
        let mut round = Round {
            samples,
            targets,
            sigma2: 0.0,
            noise: Vec::new(),
            weight: 1.0,
            probabilities: vec![0.0; self.network.outputs()],
            sums: match targets {
                Targets::Real(_) => ScoreSums::Real(RegressionSums::default()),
                Targets::Class(_) => ScoreSums::Class(Box::default()),
            },
        };
        let mut at = 0;
        while at < order.len() {
            let size = self
                .batches
                .as_ref()
                .map_or(POWER_BLOCK, BatchLearner::size);
            let batch = &order[at..(at + size).min(order.len())];
            if let Some(annealing) = &self.annealing {
                let step = annealing.at(self.seen);
                self.network.set_power(step.hidden, step.output);
                round.weight = step.weight;
            }
            *report += self.batch(batch, &mut round);
            self.seen += batch.len() as u64;
            at += batch.len();
            tick(batch.len() as u64);
        }
        if let Some(sites) = &self.sites {
            sites.rebuild(&mut self.network, |i| samples.get(i).index);
        }
        round.sums
    }

    fn batch(&mut self, batch: &[usize], round: &mut Round<'_>) -> Report {
        let (network, noise) = (&mut self.network, &mut self.noise);
        if let Some(learner) = &mut self.batches {
            round.start(noise.mean());
            for &i in batch {
                round.judge(i, network, noise);
            }
            let lesson = |(k, &i): (usize, &usize)| (round.samples.get(i), round.lesson(k, i));
            let lessons: Vec<_> = batch.iter().enumerate().map(lesson).collect();
            return learner.learn(network, &lessons, round.weight);
        }
        let mut report = Report::default();
        for &i in batch {
            let x = round.samples.get(i);
            round.start(noise.mean());
            let mut step = |network: &mut Network| {
                round.judge(i, network, noise);
                round.lesson(0, i).teach(network, x, round.weight)
            };
            report += match &mut self.sites {
                Some(sites) => sites.learn(i, network, x, step),
                None => step(network),
            };
        }
        report
    }
}
