//! Learns a table pass by pass: standardised samples, an ensemble of networks, a schedule.

use serde::{Deserialize, Serialize};

use super::ensemble::Ensemble;
use super::member::EnsembleMember;
use super::plan::{FitPlan, Schedule};
use super::samples::{Samples, Targets, shuffled};
use super::score::{RegressionSums, Score, ScoreSums};
use crate::ep::noise::NoiseVariance;
use crate::ep::{Committee, Family, Input, Network, Report, SpecErrors};

/// First guess of the noise variance of standardised observations, worth six of them. Chosen, as the
/// outputs' prior mean of 0, on held-out parts of the training rows of eight tables: 0.1 learns five
/// of them faster in one pass, but SKAB's slower, and is too sure in the gap of a curve.
const NOISE: f64 = 0.2;

/// Share of the rows of a regression that one fit leaves out to calibrate the width of predictions.
const HELD_OUT: f64 = 0.1;

/// Rows that calibrate, left out by several fits where a tenth of the table is fewer: the standard
/// error of the share that an interval of 90% holds is then 3%.
const CALIBRATING_ROWS: usize = 100;

/// Fewest rows of which a tenth says anything about a width (a standard error of a third).
const FEWEST_ROWS: usize = 200;

/// How often every row counts for a regression's weights on a grid, by a memory that is so many tables long. A
/// step of theirs is that of a belief which stays uncertain, so that an average site of one row says
/// too little. Chosen on held-out tenths of the training rows of concrete, energy, wine and yacht.
const GRID_MEMORY: f64 = 3.0;

/// An ensemble that learns one table.
#[derive(Clone, Debug)]
pub struct Trainer {
    members: Vec<EnsembleMember>,
    /// The predictor.
    ensemble: Ensemble,
    plan: FitPlan,
    /// Spike noise follows observation noise.
    follow: bool,
    /// Passes so far, and whether the samples were learned before these.
    passes: u32,
    known_rows: bool,
    /// Rows learned before this table.
    before: f64,
    /// Calibrate the width of predictions, where it is calibrated.
    calibrations: Vec<Calibration>,
    /// Counts of all updates.
    pub report: Report,
}

/// The same networks, learned in the same passes without some rows. How far they are off on these
/// says how wide the intervals of such networks must be (cross-conformal prediction, Vovk 2015). The
/// networks that predict learn all rows. Learning the rows that were held out in later passes instead
/// saves the time of a second fit, but then neither the error nor the stated deviation are those of
/// the calibration: 90% intervals of the last pass held 82 to 97%.
#[derive(Clone, Debug)]
struct Calibration {
    members: Vec<EnsembleMember>,
    held_out: Vec<usize>,
}

/// The stored form of a trainer.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LearnedEnsemble {
    /// Networks with the variance of their noise.
    pub networks: Vec<(Network, NoiseVariance)>,
    /// The predictor.
    pub ensemble: Ensemble,
    /// Spike noise follows observation noise.
    pub follow: bool,
    /// Number of rows learned.
    pub rows: f64,
    /// Checksum of the last table learned: its rows are no news.
    pub table: u32,
}

impl Trainer {
    /// Networks at their prior for `samples` of the given targets; `classes` is the number of
    /// classes, or `None` for regression.
    ///
    /// # Errors
    /// If the plan makes no valid network.
    pub fn new(
        plan: &FitPlan,
        samples: &Samples,
        classes: Option<usize>,
    ) -> Result<Trainer, SpecErrors> {
        let member = |i| {
            let seed = plan.seed_of(i);
            let mut network = Network::new(&plan.draft(samples.inputs, classes, seed).build()?);
            network.set_inner_sweeps(plan.inner.max(1));
            let schedule = plan.schedule_for(&network, samples, classes);
            let noise = NoiseVariance::new(NOISE, samples.len() as f64);
            let annealing = classes.map(|_| plan.annealing(samples, false));
            Ok(EnsembleMember::new(network, noise, seed)
                .with_order(plan.in_order)
                .with_schedule(schedule, samples.len())
                .with_annealing(annealing))
        };
        let members: Vec<EnsembleMember> = (0..plan.inits.max(1))
            .map(member)
            .collect::<Result<_, _>>()?;
        let folds = plan.held_out(samples, classes).into_iter();
        let calibrations = folds.map(|held_out| Calibration {
            members: members.clone(),
            held_out,
        });
        Ok(Trainer {
            ensemble: Ensemble::new(&members, classes),
            calibrations: calibrations.collect(),
            members,
            follow: plan.spikes.is_none() && classes.is_none(),
            passes: 0,
            known_rows: false,
            before: 0.0,
            plan: plan.clone(),
            report: Report::default(),
        })
    }

    /// Continues from what was saved, with weights of the family that was saved. The belief of then is the prior of what is new; samples that
    /// are those of the last table are visited again, one after the other, their sites being gone.
    ///
    /// # Errors
    /// If it was learned on other inputs or classes, in words.
    pub fn resume(
        learned: LearnedEnsemble,
        plan: &FitPlan,
        samples: &Samples,
        targets: &Targets,
    ) -> Result<Trainer, String> {
        let (mut members, inputs) = (Vec::new(), samples.inputs);
        let first = learned.networks.first();
        let plan = &FitPlan {
            family: first.map_or(plan.family, |(network, _)| network.family()),
            ..plan.clone()
        };
        let classes = learned.ensemble.classes();
        let known = learned.table == checksum(samples, targets);
        let annealing = classes.map(|_| plan.annealing(samples, true));
        for (i, (mut network, mut noise)) in learned.networks.into_iter().enumerate() {
            if network.inputs() != inputs {
                let got = network.inputs();
                return Err(format!("the model has {got} inputs, the data {inputs}"));
            }
            network.set_memory(None);
            network.set_inner_sweeps(plan.inner.max(1));
            noise.set_memory(learned.rows + samples.len() as f64);
            let schedule = match plan.schedule_for(&network, samples, classes) {
                Schedule::Exact if known => Schedule::Sequential,
                schedule => schedule,
            };
            let member =
                EnsembleMember::new(network, noise, plan.seed_of(i)).with_order(plan.in_order);
            members.push(
                member
                    .with_schedule(schedule, samples.len())
                    .with_annealing(annealing),
            );
        }
        Ok(Trainer {
            members,
            ensemble: learned.ensemble,
            follow: learned.follow,
            passes: 0,
            known_rows: known,
            before: if known { 0.0 } else { learned.rows },
            calibrations: Vec::new(),
            plan: plan.clone(),
            report: Report::default(),
        })
    }

    /// Learns a table in all passes of the plan: the whole of it in one call.
    ///
    /// # Errors
    /// If the plan makes no valid network.
    pub fn learn(
        plan: &FitPlan,
        samples: &Samples,
        targets: &Targets,
    ) -> Result<Trainer, SpecErrors> {
        let classes = match targets {
            Targets::Real(_) => None,
            Targets::Class(classes) => Some(classes.iter().max().map_or(1, |top| top + 1)),
        };
        let mut trainer = Trainer::new(plan, samples, classes)?;
        for _ in 0..plan.passes {
            trainer.pass(samples, targets, 1.0, &mut |_| ());
        }
        Ok(trainer)
    }

    /// The schedule in use.
    pub fn schedule(&self) -> Schedule {
        let first = self.members.first();
        first.map_or(Schedule::Sequential, EnsembleMember::schedule)
    }

    /// One pass over all samples, each network in its own order. Returns the score of the
    /// first network's predictions, each made before the sample is learned (in later passes of the
    /// exact schedule: without the sample). `scale`: of the targets; `tick` is called now and then
    /// with the number of samples done.
    ///
    /// From the last pass of the plan on, predictions know the output weights jointly.
    pub fn pass(
        &mut self,
        samples: &Samples,
        targets: &Targets,
        scale: f64,
        tick: &mut dyn FnMut(u64),
    ) -> Score {
        let all: Vec<usize> = (0..samples.len()).collect();
        let mut members = std::mem::take(&mut self.members);
        let first = self.teach(&mut members, samples, targets, &all, tick);
        self.members = members;
        let none = || RegressionSums::default().score(scale);
        let first = first.map_or_else(none, |sums| sums.score(scale));
        let mut calibrations = std::mem::take(&mut self.calibrations);
        let report = self.report;
        for Calibration { members, held_out } in &mut calibrations {
            let kept = without(samples.len(), held_out);
            self.teach(members, samples, targets, &kept, &mut |_| ());
        }
        self.report = report;
        self.passes += 1;
        if self.passes < self.plan.passes {
            self.calibrations = calibrations;
            self.ensemble.follow(&self.members);
            return first;
        }
        let mut seen = Vec::new();
        for Calibration { members, held_out } in &calibrations {
            let kept = without(samples.len(), held_out);
            self.read_out(members, samples, targets, &kept);
            seen.extend(self.ensemble.held_out(samples, targets, held_out));
        }
        if !seen.is_empty() {
            self.ensemble.calibrate(&seen);
        }
        let members = std::mem::take(&mut self.members);
        self.read_out(&members, samples, targets, &all);
        self.members = members;
        first
    }

    /// One pass of `members` over `rows`. Returns the first network's sums.
    fn teach(
        &mut self,
        members: &mut [EnsembleMember],
        samples: &Samples,
        targets: &Targets,
        rows: &[usize],
        tick: &mut dyn FnMut(u64),
    ) -> Option<ScoreSums> {
        let mut first = None;
        let again = self.passes > 0 || self.known_rows;
        for member in members {
            let total = self.before + rows.len() as f64;
            let grid = self.plan.family != Family::Gaussian;
            if grid && self.ensemble.classes().is_none() {
                let share = self.grid_share();
                member.remember(self.plan.memory, again, GRID_MEMORY * total / share);
                member.network.set_power(share as f32, share as f32);
            } else {
                member.remember(self.plan.memory, again, total);
            }
            if self.follow {
                member.follow_noise();
            }
            let (passes, report) = (self.passes, &mut self.report);
            let sums = member.pass(samples, targets, rows, passes, report, tick);
            first.get_or_insert(sums);
        }
        first
    }

    /// Share of a site that a visit replaces for weights on a grid: one over the root of the passes so far,
    /// so that the rows visited last do not count for more than the others in the end. A memory
    /// that was asked for keeps its meaning.
    fn grid_share(&self) -> f64 {
        match self.plan.memory {
            Some(_) => 1.0,
            None => 1.0 / f64::from(self.passes.max(1)).sqrt(),
        }
    }

    /// Makes what predicts from here on; a regression's output weights are learned from `rows`.
    fn read_out(
        &mut self,
        members: &[EnsembleMember],
        samples: &Samples,
        targets: &Targets,
        rows: &[usize],
    ) {
        self.ensemble.follow(members);
        let Targets::Real(y) = targets else { return };
        if self.plan.joint {
            let table = |i: usize| (samples.get(rows[i]), y[rows[i]]);
            let members = members.iter().map(|m| (&m.network, m.noise_law()));
            self.ensemble
                .set_committee(Committee::joint(members, rows.len(), &table));
        }
    }

    /// The networks, each by itself.
    pub fn networks(&self) -> impl Iterator<Item = &Network> {
        self.members.iter().map(|m| &m.network)
    }

    /// The predictor.
    pub fn ensemble(&mut self) -> &mut Ensemble {
        &mut self.ensemble
    }

    /// Predicts a regression, in units of the standardised target.
    pub fn predict(&mut self, x: Input<'_>) -> super::EnsembleForecast {
        self.ensemble.predict(x)
    }

    /// Returns the stored form, after a table.
    pub fn learned(&self, samples: &Samples, targets: &Targets) -> LearnedEnsemble {
        LearnedEnsemble {
            networks: self
                .members
                .iter()
                .map(|m| (m.network.clone(), m.noise))
                .collect(),
            ensemble: self.ensemble.clone(),
            follow: self.follow,
            rows: self.before + samples.len() as f64,
            table: checksum(samples, targets),
        }
    }
}

/// The rows of a table of `n` that are not held out.
fn without(n: usize, held_out: &[usize]) -> Vec<usize> {
    let held: std::collections::HashSet<usize> = held_out.iter().copied().collect();
    (0..n).filter(|i| !held.contains(i)).collect()
}

impl FitPlan {
    /// Rows that a regression of this plan holds out to calibrate the width of its predictions, a
    /// tenth for each of one or more fits, in random order; none of a short table, a single pass or a
    /// stream.
    fn held_out(&self, samples: &Samples, classes: Option<usize>) -> Vec<Vec<usize>> {
        let n = samples.len();
        let fits = n >= FEWEST_ROWS && self.passes >= 4;
        if !fits || classes.is_some() || self.in_order || !self.calibrate {
            return Vec::new();
        }
        let order = shuffled(n, self.seed, u32::MAX - 1);
        let tenth = (HELD_OUT * n as f64) as usize;
        let folds = CALIBRATING_ROWS.div_ceil(tenth);
        let folds = order.chunks_exact(tenth).take(folds);
        folds.map(<[usize]>::to_vec).collect()
    }
}

/// Tells tables apart.
fn checksum(samples: &Samples, targets: &Targets) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    for i in 0..samples.len() {
        let x = samples.get(i);
        for (index, value) in x.index.iter().zip(x.value) {
            hasher.update(&index.to_le_bytes());
            hasher.update(&value.to_le_bytes());
        }
        match targets {
            Targets::Real(y) => hasher.update(&y[i].to_le_bytes()),
            Targets::Class(c) => hasher.update(&c[i].to_le_bytes()),
        }
    }
    hasher.finalize()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ep::BatchSchedule;
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

    fn plan() -> FitPlan {
        FitPlan {
            hidden: vec![30],
            passes: 2,
            inits: 2,
            seed: 3,
            ..FitPlan::default()
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
        ] {
            let plan = FitPlan {
                schedule: Some(schedule),
                ..plan()
            };
            let mut trainer = Trainer::new(&plan, &samples, None).unwrap();
            for _ in 0..15 {
                trainer.pass(&samples, &targets, 1.0, &mut |_| ());
            }
            let Score::Regression(score) = trainer.ensemble().test(&samples, &targets, 1.0) else {
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
        let plan = FitPlan {
            inits: 1,
            joint: false,
            ..plan()
        };
        let mut trainer = Trainer::new(&plan, &samples, None).unwrap();
        for _ in 0..10 {
            trainer.pass(&samples, &Targets::Real(y.clone()), 1.0, &mut |_| ());
        }
        let Score::Regression(score) = trainer.ensemble().test(&samples, &clean, 1.0) else {
            panic!()
        };
        // With Gaussian noise it is 5.2.
        assert!(score.rmse < 0.3, "{score:?}");
    }

    #[test]
    fn a_network_goes_on_with_the_weights_that_it_was_saved_with() {
        let (samples, targets) = curve(300);
        let binary = FitPlan {
            family: Family::Binary,
            inits: 1,
            passes: 3,
            ..plan()
        };
        for schedule in [
            None,
            Some(Schedule::Exact),
            Some(Schedule::Batches(BatchSchedule::Averaged, 16)),
        ] {
            let learned = Trainer::learn(&binary, &samples, &targets).unwrap();
            let saved = learned.learned(&samples, &targets);
            let plan = FitPlan { schedule, ..plan() };
            let mut trainer = Trainer::resume(saved, &plan, &samples, &targets).unwrap();
            assert_eq!(trainer.schedule(), Schedule::Sequential);
            trainer.pass(&samples, &targets, 1.0, &mut |_| ());
            let Score::Regression(score) = trainer.ensemble().test(&samples, &targets, 1.0) else {
                panic!()
            };
            assert!(score.rmse < 0.7, "{score:?}");
        }
    }

    #[test]
    fn in_order_is_the_random_order_of_a_table_that_was_shuffled_before() {
        let (samples, Targets::Real(y)) = curve(100) else {
            panic!()
        };
        let schedule = Some(Schedule::Sequential);
        let random = FitPlan {
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
        let ordered = FitPlan {
            in_order: true,
            ..random.clone()
        };
        let learn = |plan: &FitPlan, samples: &Samples, y: &[f32]| {
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
            let plan = FitPlan { family, ..plan() };
            let mut trainer = Trainer::new(&plan, &samples, Some(3)).unwrap();
            for _ in 0..2 {
                trainer.pass(&samples, &targets, 1.0, &mut |_| ());
            }
            let Score::Classification(score) = trainer.ensemble().test(&samples, &targets, 1.0)
            else {
                panic!()
            };
            assert!(score.accuracy > 0.95, "{family:?} {score:?}");
        }
    }
}
