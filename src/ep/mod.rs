//! Expectation propagation for spiking networks.
//!
//! Symbols, as in Yao, McLaughlin and Altmann (arXiv 2506.23757): a unit's input u has mean omega
//! and variance V; a is the probability that it spikes; a factor sends up g = d log Z / d omega and
//! Gamma = -d2 log Z / d omega2; c = g^2 - Gamma; rho is the log-odds message to a spike; a weight
//! has mean m and variance s.

mod dense;
pub mod factor;
mod family;
mod input;
mod kernel;
mod linear;
mod network;
pub mod noise;
mod report;
mod scratch;
mod sites;
mod spec;

pub use family::Family;
pub use linear::Linear;
pub use network::batch::{BatchLearner, BatchSchedule, Lesson, Sample};
pub use network::committee::Committee;
pub use network::readout::{Predicted, Readout};
pub use network::weights::LayerWeights;
pub use network::{Input, Moments, Network, Summary};
pub use report::{LayerSummary, Report};
pub use sites::Sites;
pub use spec::{
    NetworkDraft, NetworkSpec, OutputKind, Prior, Priors, SpecError, SpecErrors, Spikes,
};
