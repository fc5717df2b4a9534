//! How a table is to be learned: widths, spikes, weights, schedule, passes.

use super::annealing::Annealing;
use super::samples::Samples;
use crate::ep::{BatchSchedule, Family, Network, NetworkDraft, OutputKind, Sites, SpikeFunction};

/// Largest memory of the sites of one network, in f32 values (1 GiB).
const MAX_SITE_VALUES: usize = 1 << 28;

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
fn gain(spikes: SpikeFunction) -> f32 {
    match spikes {
        SpikeFunction::Deterministic => 1.0,
        SpikeFunction::Probit { noise } => 1.0 + 10.0 * noise,
        SpikeFunction::Sigmoid => 32.0,
    }
}

/// How to learn.
#[derive(Clone, Debug, PartialEq)]
pub struct FitPlan {
    /// Widths of the hidden layers.
    pub hidden: Vec<usize>,
    /// The hidden units' spikes; `None`: probit, their noise following that of the observations
    /// (a regression), or deterministic (a classification).
    pub spikes: Option<SpikeFunction>,
    /// Families of the layers.
    pub family: Family,
    /// Direct synapses from input to output.
    pub direct: bool,
    /// Schedule; `None` chooses: exact where sites for all samples fit (Gaussian weights,
    /// regression, 1 GiB a network), else sequential.
    pub schedule: Option<Schedule>,
    /// Memory of stochastic EP; `None` is the number of samples from the second pass on (for weights on a
    /// grid three times that, and more in later passes), or for classes what [`Annealing`] says.
    pub memory: Option<f64>,
    /// Predictions of a regression know the output weights jointly.
    pub joint: bool,
    /// A regression calibrates the width of its predictions by further fits, each of which leaves a
    /// tenth of the rows out.
    pub calibrate: bool,
    /// Samples follow one another as in the table; else in a random order for each pass.
    pub in_order: bool,
    /// Inner sweeps of the output layer for each visit, 1 and more; see
    /// [`Network::set_inner_sweeps`].
    pub inner: u32,
    /// Passes to come, 1 and more.
    pub passes: u32,
    /// Number of networks to average.
    pub inits: usize,
    /// Seed.
    pub seed: u64,
}

impl Default for FitPlan {
    /// 50 units, ten passes, one network, everything else as the table asks for.
    fn default() -> FitPlan {
        FitPlan {
            hidden: vec![50],
            spikes: None,
            family: Family::Gaussian,
            direct: false,
            schedule: None,
            memory: None,
            joint: true,
            calibrate: true,
            in_order: false,
            inner: 1,
            passes: 10,
            inits: 1,
            seed: 0,
        }
    }
}

impl FitPlan {
    /// Seed of network `i`.
    pub(super) fn seed_of(&self, i: usize) -> u64 {
        self.seed.wrapping_mul(1000).wrapping_add(i as u64)
    }

    pub(super) fn annealing(&self, samples: &Samples, known: bool) -> Annealing {
        let (inputs, rows) = (samples.inputs, samples.len());
        Annealing::new(self.family, inputs, rows, self.passes, known)
    }

    pub(super) fn schedule_for(
        &self,
        network: &Network,
        samples: &Samples,
        classes: Option<usize>,
    ) -> Schedule {
        let gaussian = self.family == Family::Gaussian;
        let size = Sites::size_of_sample(network, samples.get(0).index.len());
        let fits = size.saturating_mul(samples.len()) <= MAX_SITE_VALUES;
        match self.schedule {
            // Others are for Gaussian weights.
            Some(_) if !gaussian => Schedule::Sequential,
            Some(schedule) => schedule,
            None if fits && gaussian && classes.is_none() => Schedule::Exact,
            None => Schedule::Sequential,
        }
    }
}

impl FitPlan {
    /// The network of this plan.
    pub(super) fn draft(&self, inputs: usize, classes: Option<usize>, seed: u64) -> NetworkDraft {
        let plan = self;
        let mut draft = match classes {
            Some(n) => NetworkDraft::classification(inputs, &plan.hidden, n),
            None => NetworkDraft::regression(inputs, &plan.hidden, 1),
        };
        if classes.is_some() && plan.family != Family::Gaussian {
            draft.output = OutputKind::Softmax;
        }
        draft.spikes = plan.spikes.unwrap_or(SpikeFunction::Deterministic);
        draft.direct = plan.direct || plan.hidden.is_empty();
        draft.seed = seed;
        for prior in &mut draft.priors.layers[..plan.hidden.len()] {
            prior.variance *= gain(draft.spikes);
        }
        let mut families = vec![plan.family; plan.hidden.len() + 1];
        if classes.is_none() {
            families[plan.hidden.len()] = Family::Gaussian;
        }
        draft.with_families(&families)
    }
}
