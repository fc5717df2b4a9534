//! Predictors of one stream and the predictive distribution of every value.
//!
//! A channel's value is predicted by experts: persistence, linear regressions of several memories, one
//! on the population code of the levels, one on the spikes of a hidden layer. Each is a
//! [`RecursiveFilter`] with the full covariance of its weights. A [`Gate`] weighs them by their
//! evidence, so that no channel is worse off than with any one of them by more than a bounded amount.
//! The [`Distribution`] of a value is their mixture with a point mass for no change, a table of what
//! follows what, and a broad law; mean, interval, probability and log density come from it alone.
//!
//! Memories of filters are counted in rows: a filter's accuracy depends on how many rows it has seen,
//! whatever the time between them.

mod distribution;
mod expert;
mod filter;
mod gate;
mod given;
mod given_others;
mod history;
mod level_given;
mod mixture;
mod next_step;
mod noise;
mod past;
mod shape;
mod spikes;
mod stay;
pub mod student;
mod symmetric;
mod table;

pub use distribution::Distribution;
pub use expert::{ExpertKind, RowTime};
pub use filter::{Forgetting, RecursiveFilter};
pub use gate::Gate;
pub use given::Given;
pub use given_others::{GivenOthers, GivenSettings};
pub use history::History;
pub use level_given::{LevelGiven, LevelResidual};
pub use mixture::{Mixture, Published, Verified, Z90};
pub use next_step::{NextStep, NextStepSettings};
pub use past::Past;
