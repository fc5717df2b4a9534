//! Predictive distribution to score to incident: small pure parts, each with its own state.
//!
//! residual -> [`Scores`] (conformal p-value) -> [`ln_e_value`] -> [`Autocorrelation`] (temper)
//! -> [`Evidence`], beside it [`Shift`] -> [`Incidents`]. All statistics use the past only; memory is constant.

mod autocorrelation;
mod episodes;
mod evalue;
mod evidence;
mod habit;
mod incident;
mod joint;
mod maxima;
mod null;
mod rulings;
mod scores;
mod shift;
mod wander;

pub use autocorrelation::{Autocorrelation, LIMIT as RESIDUAL_LIMIT};
pub use episodes::Episodes;
pub use evalue::{ln_e_value, ln_e_values};
pub use evidence::Evidence;
pub use habit::Habit;
pub use incident::{IncidentParams, Incidents, Step};
pub use joint::{Joint, MAX_CHANNELS as MAX_JOINT_CHANNELS};
pub use maxima::Maxima;
pub use null::NullPeaks;
pub use rulings::Rulings;
pub use scores::Scores;
pub use shift::Shift;
pub use wander::Wander;
