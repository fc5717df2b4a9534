//! Carries the panic of an engine from a worker thread to the membership of a cluster.

#![cfg_attr(
    not(feature = "jetstream"),
    expect(dead_code, reason = "a cluster only is told")
)]

use crate::row::Reading;

/// An engine that panicked over a reading.
#[derive(Clone, Debug)]
pub struct EnginePanic {
    /// The reading.
    pub reading: Reading,
    /// The panic's words.
    pub reason: String,
}
