//! Expectation propagation for spiking networks: a short course.
//!
//! The method is that of Yao, McLaughlin and Altmann (arXiv 2506.23757), derived anew; whole tables
//! are learned by [`crate::fit`], which keeps the sites, the noise and the readout for you.
//!
//! # 1. The model
//!
//! A unit sums its inputs, u = sum of w v, and spikes: v = 1 where u >= 0 ([`SpikeFunction::Deterministic`]),
//! or with probability Phi(u/sqrt(noise)) ([`SpikeFunction::Probit`]) or sigma(u) ([`SpikeFunction::Sigmoid`]). The
//! last layer's u is the output: a real number with Gaussian noise, or the argument of a probit or a
//! softmax over classes ([`OutputKind`]). Every weight has a belief of its own, independent of all
//! others: mean m, variance s ([`Family`] lists the kinds of weights).
//!
//! ```
//! use spiked::ep::{Input, Network, NetworkDraft};
//!
//! // Two inputs and the bias, which is an input like any other, 20 spiking units, one output.
//! let spec = NetworkDraft::regression(3, &[20], 1).build()?;
//! let mut network = Network::new(&spec);
//! let x = Input { index: &[0, 1, 2], value: &[0.5, -1.0, 1.0] };
//! let before = network.predict(x).variance[0];
//! // Learns that the output was 0.7, with noise of variance 0.1; one step of forgetting.
//! network.learn(x, &[0.7], &[0.1], 1.0);
//! assert!(network.predict(x).variance[0] < before);
//! # Ok::<(), spiked::ep::SpecErrors>(())
//! ```
//!
//! # 2. The factors
//!
//! Symbols: a unit's input u has mean omega and variance V; a is the probability that it spikes; a
//! factor sends up g = d log Z / d omega and Gamma = -d2 log Z / d omega2; c = g^2 - Gamma; rho is the
//! log-odds message to a spike. On the way forward every layer's u is taken as Gaussian (central
//! limit); on the way back each factor of [`factor`] answers with g and Gamma, and a weight moves by
//! m += s g_w, s -= s^2 Lambda, g_w = g a + c m a(1-a), Lambda = Gamma a^2 - c a(1-a): its moments are
//! those of the tilted distribution, cavity times factor.
//!
//! ```
//! use spiked::ep::factor::probit;
//!
//! // P(y = 1 | u) = Phi(u) with u ~ N(0, 3): Z is 1/2, and a yes pulls u up.
//! let seen = probit::reference(1.0, 0.0, 3.0);
//! assert!((seen.log_z - 0.5f64.ln()).abs() < 1e-12 && seen.g > 0.0 && seen.gamma > 0.0);
//! ```
//!
//! # 3. The schedules
//!
//! EP visits every sample again and again, each time under its cavity, the belief without it. The
//! schedules differ in what they keep to make cavities:
//!
//! | schedule | cavity | keeps |
//! |---|---|---|
//! | full EP, [`Sites`] | without the sample's own site | a site a sample |
//! | stochastic EP, [`Network::set_memory`] with the number of samples | without one average site | nothing |
//! | averaged EP, [`BatchSchedule::Averaged`] | without one average site of the mini-batch | nothing between batches |
//! | full EP in mini-batches, [`BatchSchedule::Exact`] | without the sample's own site | a site a sample of the batch |
//!
//! A stream is stochastic EP whose number of samples is the memory. The noise of the observations is
//! learned beside the weights ([`noise`]), by the moment of the tilted distribution under the same
//! cavity. After a table, [`LinearReadout`] knows the output weights jointly.
//!
//! ```
//! use spiked::fit::{FitPlan, Samples, Targets, Trainer};
//!
//! // The whole loop: sites, noise, held-out width, readout.
//! let (mut samples, mut y) = (Samples::default(), Vec::new());
//! for i in 0..100 {
//!     let x = i as f32 / 25.0 - 2.0;
//!     samples.push([x].into_iter(), 2.0);
//!     y.push((2.0 * x).sin());
//! }
//! let plan = FitPlan { hidden: vec![20], passes: 5, ..FitPlan::default() };
//! let mut trainer = Trainer::learn(&plan, &samples, &Targets::Real(y))?;
//! let seen = trainer.predict(samples.get(50));
//! assert!(seen.mean.abs() < 0.5 && seen.sd > seen.ignorance);
//! # Ok::<(), spiked::ep::SpecErrors>(())
//! ```
//!
//! # 4. Departures from EP
//!
//! Everything that is not expectation propagation as written in the literature, with its reason:
//!
//! | departure | where | why | counted |
//! |---|---|---|---|
//! | one inner sweep: messages go forward once and back once for each visit; other outputs' messages to a spike are ignored by its factor | [`Network::learn`] | half the cost of two; 8 spikes and 8 outputs are 0.07 posterior standard deviations off. [`Network::set_inner_sweeps`] takes more at the output layer | - |
//! | a unit's input is Gaussian | forward | exact sums over spike patterns grow exponentially; poor for fan-in up to 4 | - |
//! | messages to spikes to second order, but exact below Gaussian outputs and over up to 4 spikes | hidden layers, classes | all patterns of more spikes are too many; at fan-in 3 the sign was wrong in 2% | - |
//! | a softmax is one integral by a sum of 16 terms, its factors mixtures of six probits | classes of weights on a grid | no closed form; gradients within 0.0005 at every variance, above 64 within 3% | - |
//! | a sigmoid is a mixture of five probits | hidden units | closed forms; precise to 6e-7, too thin in the tails beyond | - |
//! | a site's precision is held between 0 and nine tenths of the weight's at once | weights | a third of exact precisions is negative; kept, they diverge | [`Report::clipped`] |
//! | a cavity's precision is at least the prior's | [`Sites`], averaged EP | a negative cavity has no moments | [`Report::clipped`] |
//! | likelihood power above 1, falling over the run, for classes | [`crate::fit`] | factorised beliefs hold back; plain Bayes gives 95.96% on one pass of MNIST, 97.26% counts each row eight times | - |
//! | rows count three times for weights on a grid of a regression, and a visit in pass p replaces 1/sqrt(p) of a site | [`crate::fit`] | their belief stays uncertain, one row moves it little; the last rows would count for more | - |
//! | forgetting in blocks of 8 visits of a weight | [`Network::set_memory`] | silent inputs cost nothing; on average a site of 4 visits ago is still there | - |
//! | averaged EP moves by a line search a unit, later sweeps at most half way | [`BatchSchedule::Averaged`] | sites of one cavity each explain the same error | [`Report::damped`] |
//! | a batch whose log evidence falls is learned one by one | [`BatchLearner`] | EP need not converge | [`Report::fell_back`] |
//! | observations count as Student's t of 30 degrees of freedom, by raising their noise | [`crate::fit`] | one wild row must not drag units along | - |
//! | prior means are random | [`Prior`] | a prior of mean 0 is a saddle | - |
//! | the noise under stochastic EP comes out too small, as its cavity has seen the sample | [`noise`] | a site a sample would be needed; [`crate::fit`] scales the width on held-out rows | width, printed |
//! | a binary weight's log-odds move by at most 1 a visit and end at 5; a grid's variance is at least a millionth of its square | [`Family`] | a weight that is sure could never turn round | steps in [`Report::clipped`] |
//! | a spike's log-odds message is held within 30 | hidden units | next to 1 nothing of it is left in single precision | [`Report::clipped`] |
//! | a unit's distance from its threshold is held within 12 standard deviations | hidden units | its density there, 1e-32, is no number next to others | changes nothing that single precision holds |
//! | samples beyond what single precision can square are skipped | [`Network::learn`] | one infinity would end everything | [`Report::skipped`] |

mod dense;
pub mod factor;
mod family;
mod few;
mod input;
mod kernel;
mod linear;
mod network;
pub mod noise;
mod report;
mod runs;
mod scratch;
mod sites;
mod spec;

pub use family::Family;
pub use linear::Linear;
pub use network::batch::{BatchLearner, BatchSchedule};
pub use network::committee::Committee;
pub use network::readout::{LinearReadout, Predicted};
pub use network::sample::{LabelledInput, Observation};
pub use network::weights::LayerWeights;
pub use network::{Input, Network, NetworkSummary, OutputMoments};
pub use report::{LayerSummary, Report};
pub use sites::Sites;
pub use spec::{
    NetworkDraft, NetworkSpec, OutputKind, Prior, Priors, SpecError, SpecErrors, SpikeFunction,
};
