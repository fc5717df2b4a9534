//! The only place that makes threads, tasks and channels: wiring, order of shutdown, supervision.
//!
//! [`serve()`] is the whole daemon. `spiked run` calls it with the addresses of the settings and a
//! future that ends with SIGTERM; `spiked demo` and the tests with a listener and a shutdown of their own.

mod balance;
#[cfg(test)]
mod balance_tests;
mod clock;
#[cfg(feature = "jetstream")]
mod cluster;
#[cfg(all(test, feature = "jetstream", feature = "embedded-broker"))]
mod cluster_panic_tests;
#[cfg(feature = "jetstream")]
mod committing;
mod connections;
mod cutting;
mod deliveries;
mod engine_panic;
mod expiry;
mod filters;
#[cfg(feature = "jetstream")]
mod heartbeat;
mod holding;
mod input_counts;
mod intake;
#[cfg(feature = "jetstream")]
mod membership;
mod moving;
mod orders;
#[cfg(feature = "jetstream")]
mod outlet;
#[cfg(all(test, feature = "embedded-broker"))]
mod panic_tests;
mod partitions;
mod reading_on;
mod rebuilding;
mod resending;
#[cfg(feature = "jetstream")]
mod retaining;
#[cfg(feature = "jetstream")]
mod roster;
mod serve;
mod slot;
mod supervise;
#[cfg(feature = "jetstream")]
mod taking_over;
mod telling;
mod threads;
mod tuning;
mod worker;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;

use crate::carrier::CarrierError;
use crate::carrier::disk::DiskStore;
use crate::config::InputSettings;
use crate::stream::StreamParams;

use crate::status::Status;
pub(crate) use filters::filters;
pub(crate) use serve::serve;

/// Settings that a running daemon takes over; `None` for those that stay.
#[derive(Clone, Debug, Default)]
pub struct LiveSettings {
    /// Of the models.
    pub params: Option<StreamParams>,
    /// Topics to subscribe to, and how their messages are read.
    pub inputs: Option<Vec<InputSettings>>,
}

/// Parts that a caller may bring along.
#[derive(Default)]
pub struct Hooks {
    /// HTTP listener, instead of binding `http.listen`.
    pub http: Option<TcpListener>,
    /// Where readings and snapshots are kept; `None` for nowhere.
    pub store: Option<DiskStore>,
    /// Settings that change while the daemon runs.
    pub changed: Option<tokio::sync::mpsc::Receiver<LiveSettings>>,
    /// Takes the daemon's status once, when everything is bound and started.
    pub started: Option<tokio::sync::oneshot::Sender<Arc<Status>>>,
}

/// Summary of a run.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RunSummary {
    /// Readings accepted.
    pub readings: u64,
    /// Rows learned.
    pub rows: u64,
    /// Everything was flushed and acknowledged within the grace period.
    pub clean: bool,
}

/// Why the daemon could not start or had to stop.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// An address could not be bound.
    #[error("cannot listen on {0}: {1}")]
    Bind(SocketAddr, std::io::Error),
    /// A thread could not be started.
    #[error("cannot start a thread: {0}")]
    Thread(std::io::Error),
    /// The state could not be restored.
    #[error("cannot restore the state: {0}")]
    Store(#[from] CarrierError),
    /// The broker settings cannot be used.
    #[error("cannot use the broker settings: {0}")]
    Mqtt(String),
    /// The cluster's settings cannot be used.
    #[error("cannot use the cluster's settings: {0}")]
    Cluster(String),
    /// The webhook's settings cannot be used.
    #[error("cannot use the webhook's settings: {0}")]
    Webhook(String),
    /// A metric could not be registered.
    #[error("cannot register a metric: {0}")]
    Metrics(#[from] prometheus::Error),
}
