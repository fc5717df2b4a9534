//! Mini-batches: how samples are learned together, and the guard around it.
//!
//! | schedule | what |
//! |---|---|
//! | sequential | one sample after the other |
//! | exact | a site a sample, true cavities, several sweeps |
//! | averaged | averaged EP: all samples against one cavity, one site for all, the average of theirs; damped unit by unit |
//!
//! The guard: expectation propagation need not converge. If the batch's log evidence fell or is not
//! finite, the batch is restored and learned sequentially; if even that is not finite, skipped.

use super::Network;
use super::averaged::averaged;
use super::sample::{LabelledInput, Observation};
use crate::ep::factor::{gaussian, probit, softmax};
use crate::ep::family::Family;
use crate::ep::report::Report;
use crate::ep::sites::Sites;
use crate::ep::spec::OutputKind;

/// Share of batches that may fall back before their size is halved, and after how many it is told.
const MAX_FALLBACKS: f64 = 0.1;
const JUDGED_AFTER: u32 = 20;

/// How the samples of a batch are learned together. All but the first need Gaussian weights.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BatchSchedule {
    /// One after the other.
    Sequential,
    /// A site for each sample of the batch.
    Exact,
    /// Averaged EP: all samples against one cavity, one averaged site for the batch, damped.
    Averaged,
}

/// Learns in guarded mini-batches.
#[derive(Clone, Debug, PartialEq)]
pub struct BatchLearner {
    schedule: BatchSchedule,
    sweeps: usize,
    size: usize,
    batches: u32,
    fallbacks: u32,
}

impl BatchLearner {
    /// Batches of `size` samples (1 and more), `sweeps` (1 and more) over each where sites are kept.
    ///
    /// # Panics
    /// If either is 0.
    pub fn new(schedule: BatchSchedule, size: usize, sweeps: usize) -> BatchLearner {
        assert!(size > 0 && sweeps > 0, "batches of {size}, {sweeps} sweeps");
        BatchLearner {
            schedule,
            sweeps,
            size,
            batches: 0,
            fallbacks: 0,
        }
    }

    /// How samples of a batch are learned together.
    pub fn schedule(&self) -> BatchSchedule {
        self.schedule
    }

    /// Samples of a batch; halved when more than a tenth of the batches fell back.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Learns the samples, batch by batch; each counts for `weight` steps of forgetting.
    ///
    /// # Panics
    /// If a weight is not Gaussian (unless sequential) or a sample does not fit the network.
    pub fn learn(
        &mut self,
        network: &mut Network,
        samples: &[LabelledInput<'_>],
        weight: f32,
    ) -> Report {
        let gaussian = network.spec.families.iter().all(|f| *f == Family::Gaussian);
        assert!(
            gaussian || self.schedule == BatchSchedule::Sequential,
            "weights on a grid are learned sequentially"
        );
        let (mut report, mut at) = (Report::default(), 0);
        while at < samples.len() {
            let end = (at + self.size).min(samples.len());
            report += self.guarded(network, &samples[at..end], weight);
            at = end;
        }
        report
    }

    fn guarded(
        &mut self,
        network: &mut Network,
        batch: &[LabelledInput<'_>],
        weight: f32,
    ) -> Report {
        if self.schedule == BatchSchedule::Sequential || batch.len() < 2 {
            return sequential(network, batch, weight);
        }
        let before = evidence(network, batch);
        let saved = network.clone();
        // Forgetting waits: within a batch a site must not fade under its own cavity.
        let ln_keep = std::mem::replace(&mut network.ln_keep, 0.0);
        let mut report = match self.schedule {
            BatchSchedule::Sequential => Report::default(),
            BatchSchedule::Exact => exact(network, batch, self.sweeps),
            BatchSchedule::Averaged => averaged(network, batch, self.sweeps),
        };
        network.ln_keep = ln_keep;
        network.clock = saved.clock + batch.len() as f64 * f64::from(weight);
        self.batches += 1;
        let after = evidence(network, batch);
        if !(before.is_finite() && after.is_finite() && after >= before) {
            self.fallbacks += 1;
            *network = saved.clone();
            report = sequential(network, batch, weight);
            // Samples that cannot be used at all are skipped one by one above.
            if before.is_finite() && !evidence(network, batch).is_finite() {
                *network = saved;
                report = Report {
                    skipped: batch.len() as u64,
                    ..Report::default()
                };
            }
            report.fell_back = 1;
        }
        self.judge();
        report
    }

    fn judge(&mut self) {
        if self.batches >= JUDGED_AFTER {
            if f64::from(self.fallbacks) > MAX_FALLBACKS * f64::from(self.batches) {
                self.size = (self.size / 2).max(1);
            }
            (self.batches, self.fallbacks) = (0, 0);
        }
    }
}

/// Log evidence of a batch, each sample by itself.
fn evidence(network: &mut Network, batch: &[LabelledInput<'_>]) -> f64 {
    let mut sum = 0.0;
    let output = network.spec.output;
    for &(x, lesson) in batch {
        let moments = network.predict(x);
        if let (Observation::Class(class), OutputKind::Softmax) = (lesson, output) {
            let double = |x: &[f32]| -> Vec<f64> { x.iter().map(|x| f64::from(*x)).collect() };
            let seen = (double(moments.mean), double(moments.variance));
            sum += softmax::reference(class, &seen.0, &seen.1)[0].log_z;
            continue;
        }
        for (k, (m, v)) in moments.mean.iter().zip(moments.variance).enumerate() {
            let (m, v) = (f64::from(*m), f64::from(*v));
            sum += match lesson {
                Observation::Values(target, _) if target[k].is_nan() => 0.0,
                Observation::Values(target, noise) => {
                    gaussian::reference(target[k].into(), m, v, noise[k].into()).log_z
                }
                Observation::Class(class) => probit::reference(sign(k == class), m, v).log_z,
            };
        }
    }
    sum
}

fn sign(yes: bool) -> f64 {
    if yes { 1.0 } else { -1.0 }
}

fn sequential(network: &mut Network, batch: &[LabelledInput<'_>], weight: f32) -> Report {
    let mut report = Report::default();
    for &(x, lesson) in batch {
        report += lesson.teach(network, x, weight);
    }
    report
}

fn exact(network: &mut Network, batch: &[LabelledInput<'_>], sweeps: usize) -> Report {
    let mut sites = Sites::new(batch.len());
    let mut report = Report::default();
    for _ in 0..sweeps {
        report = Report::default();
        for (i, &(x, lesson)) in batch.iter().enumerate() {
            report += sites.learn(i, network, x, |network| lesson.teach(network, x, 1.0));
        }
    }
    report
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ep::{Input, NetworkDraft};
    use crate::num::counter;

    fn all(value: &[f32; 4]) -> Input<'_> {
        let index = &[0, 1, 2, 3];
        Input { index, value }
    }

    struct BatchRows(Vec<([f32; 4], [f32; 1])>);

    impl BatchRows {
        fn new(n: u32) -> BatchRows {
            let draw = |i, j| counter::bell(counter::row_key(5, i), j);
            let row = |i| {
                let x = [draw(i, 0), draw(i, 1), draw(i, 2), 1.0];
                (x, [(2.0 * x[0]).sin() + 0.3 * x[1] + 0.1 * draw(i, 3)])
            };
            BatchRows((0..n).map(row).collect())
        }

        fn samples(&self) -> Vec<LabelledInput<'_>> {
            let rows = self.0.iter();
            rows.map(|(x, y)| (all(x), Observation::Values(y, &[0.05])))
                .collect()
        }
    }

    fn network(hidden: &[usize]) -> Network {
        let mut draft = NetworkDraft::stream(4, hidden, 1, 4.0);
        draft.seed = 4;
        Network::new(&draft.build().unwrap())
    }

    fn square_error(net: &mut Network, rows: &BatchRows) -> f32 {
        let error = |(x, y): &([f32; 4], [f32; 1])| (y[0] - net.predict(all(x)).mean[0]).powi(2);
        rows.0.iter().map(error).sum::<f32>() / rows.0.len() as f32
    }

    const EVERY: [BatchSchedule; 3] = [
        BatchSchedule::Sequential,
        BatchSchedule::Exact,
        BatchSchedule::Averaged,
    ];

    #[test]
    fn every_schedule_learns_a_curve() {
        let (rows, test) = (
            BatchRows::new(1500),
            BatchRows(BatchRows::new(1800).0.split_off(1500)),
        );
        for schedule in EVERY {
            for hidden in [&[16][..], &[16, 8]] {
                let mut net = network(hidden);
                let before = square_error(&mut net, &test);
                let report =
                    BatchLearner::new(schedule, 16, 3).learn(&mut net, &rows.samples(), 1.0);
                let after = square_error(&mut net, &test);
                assert!(
                    after < 0.35 * before,
                    "{schedule:?} {hidden:?} {after} {before} {report:?}"
                );
                assert_eq!(report.skipped, 0, "{schedule:?}");
            }
        }
    }

    #[test]
    fn splitting_and_merging_batches_is_nothing_to_the_sequential_schedule_and_one_sweep_of_exact()
    {
        let rows = BatchRows::new(60);
        let all = rows.samples();
        let mut want = network(&[16]);
        want.set_memory(None);
        let fresh = want.clone();
        sequential(&mut want, &all, 1.0);
        for (size, cut) in [(1, 7), (8, 60), (60, 31)] {
            let mut net = fresh.clone();
            let mut learner = BatchLearner::new(BatchSchedule::Sequential, size, 1);
            learner.learn(&mut net, &all[..cut], 1.0);
            learner.learn(&mut net, &all[cut..], 1.0);
            assert_eq!(net, want);
            // One sweep visits every sample for the first time: nothing to take out.
            let mut net = fresh.clone();
            let mut learner = BatchLearner::new(BatchSchedule::Exact, size, 1);
            learner.learn(&mut net, &all[..cut], 1.0);
            learner.learn(&mut net, &all[cut..], 1.0);
            assert_eq!(net, want);
        }
    }

    #[test]
    fn a_batch_of_one_is_the_sequential_step_for_every_schedule() {
        let rows = BatchRows::new(30);
        let mut want = network(&[16]);
        sequential(&mut want, &rows.samples(), 1.0);
        for schedule in EVERY {
            let mut net = network(&[16]);
            BatchLearner::new(schedule, 1, 3).learn(&mut net, &rows.samples(), 1.0);
            assert_eq!(net, want, "{schedule:?}");
        }
    }

    #[test]
    fn averaged_sites_of_orthogonal_inputs_are_exact() {
        let mut draft = NetworkDraft::regression(3, &[], 1);
        draft.priors.direct.variance = 0.5;
        let spec = draft.build().unwrap();
        let rows: Vec<([u32; 1], [f32; 1])> =
            (0..12).map(|i| ([i % 3], [i as f32 * 0.2 - 1.0])).collect();
        let batch: Vec<LabelledInput<'_>> = rows
            .iter()
            .map(|(index, y)| {
                let value = &[1.0];
                (Input { index, value }, Observation::Values(y, &[4.0]))
            })
            .collect();
        let (mut one, mut all) = (Network::new(&spec), Network::new(&spec));
        sequential(&mut one, &batch, 1.0);
        let report = BatchLearner::new(BatchSchedule::Averaged, 12, 1).learn(&mut all, &batch, 1.0);
        assert_eq!(report.fell_back, 0);
        for j in 0..3 {
            // The cavity's marginal variance enters each step: close, not equal.
            let ((m1, _), (m2, _)) = (one.direct_weight(j, 0), all.direct_weight(j, 0));
            assert!((m1 - m2).abs() < 0.1 * m1.abs().max(0.05), "{m1} {m2}");
        }
    }

    #[test]
    fn the_guard_damps_falls_back_and_halves_where_batches_agree_too_much() {
        // One sample a thousand times over, a thousand times surer than the prior: undamped steps
        // against one cavity overshoot.
        let mut rows = BatchRows::new(2000);
        let first = rows.0[0];
        for (i, row) in rows.0.iter_mut().enumerate() {
            *row = (first.0, [if i % 2 == 0 { 30.0 } else { -30.0 }]);
        }
        let mut net = network(&[16]);
        let mut learner = BatchLearner::new(BatchSchedule::Averaged, 40, 1);
        let report = learner.learn(&mut net, &rows.samples(), 1.0);
        assert!(report.damped > 0 && report.fell_back > 0, "{report:?}");
        assert!(learner.size() < 40, "{}", learner.size());
        assert!(square_error(&mut net, &rows).is_finite());
    }

    #[test]
    fn odd_samples_are_skipped_and_counted_whatever_the_schedule() {
        let mut rows = BatchRows::new(64);
        for (i, row) in rows.0.iter_mut().enumerate() {
            match i % 8 {
                0 => row.0[1] = f32::NAN,
                1 => row.0[1] = f32::INFINITY,
                2 => row.1[0] = f32::INFINITY,
                3 => row.1[0] = f32::NAN,
                4 => row.1[0] *= 1e6,
                5 => row.0 = [0.0; 4],
                _ => {}
            }
        }
        for schedule in EVERY {
            let mut net = network(&[16]);
            let report = BatchLearner::new(schedule, 16, 2).learn(&mut net, &rows.samples(), 1.0);
            assert_eq!(report.skipped, 24, "{schedule:?}");
            let moments = net.predict(all(&[0.1, 0.2, 0.3, 1.0]));
            assert!(moments.mean[0].is_finite() && moments.variance[0] >= 0.0);
        }
    }

    #[test]
    fn a_softmax_is_learned_in_batches_of_every_schedule() {
        let rows = BatchRows::new(900);
        let class = |x: &[f32; 4]| usize::from(x[0] > 0.4) + usize::from(x[0] > -0.4);
        let samples: Vec<LabelledInput<'_>> = rows
            .samples()
            .into_iter()
            .zip(&rows.0)
            .map(|((x, _), (row, _))| (x, Observation::Class(class(row))))
            .collect();
        for schedule in [
            BatchSchedule::Sequential,
            BatchSchedule::Exact,
            BatchSchedule::Averaged,
        ] {
            let mut draft = NetworkDraft::classification(4, &[12], 3);
            (draft.output, draft.power, draft.seed) = (OutputKind::Softmax, 1.0, 4);
            let mut net = Network::new(&draft.build().unwrap());
            let before = evidence(&mut net, &samples);
            let report = BatchLearner::new(schedule, 8, 2).learn(&mut net, &samples, 1.0);
            let after = evidence(&mut net, &samples);
            assert_eq!((report.skipped, report.fell_back), (0, 0), "{schedule:?}");
            assert!(after > 0.5 * before, "{schedule:?} {before} {after}");
        }
    }
}
