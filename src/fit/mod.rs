//! Learns a table: an ensemble of networks, pass by pass, with noise, sites and readout.

mod annealing;
mod ensemble;
mod hdf5;
mod integers;
mod member;
mod nir;
mod plan;
mod samples;
mod scaling;
mod score;
mod trainer;

pub use ensemble::{Ensemble, EnsembleForecast};
pub use integers::IntegerNetwork;
pub use plan::{FitPlan, Schedule};
pub use samples::{Samples, Targets, shuffled};
pub use scaling::Scaling;
pub use score::{Classification, Regression, Score};
pub use trainer::{LearnedEnsemble, Trainer};
