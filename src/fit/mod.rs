//! Learns a table: an ensemble of networks, pass by pass, with noise, sites and readout.
//!
//! # From Python
//!
//! There is no Python package. A module over numpy would be thin, but its wheels have to be built and tested
//! for every platform and every version of Python, for calls that the command answers already: `spiked
//! fit --train a.csv --test b.csv --target y --json --save model --predict out.csv` takes what
//! `numpy.savetxt` writes and writes what `numpy.loadtxt` reads, as `tests/bench/uci.py` and
//! `tests/bench/gap.py` do. A network in integers goes to Python as a graph of NIR (`--export-nir`).

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
