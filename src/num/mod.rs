//! Special functions: exact ones in f64, fast branch-free ones in f32; random numbers by counter;
//! small linear systems; fading statistics.

pub mod cholesky;
pub mod counter;
pub mod fading;
pub mod fast;
pub mod residual_histogram;
pub mod scrap;
pub mod special;

#[cfg(test)]
pub(crate) mod oracle;
