//! The only place that makes threads, tasks and channels: wiring, order of shutdown, supervision.
//!
//! [`serve()`] is the whole daemon. `spiked run` calls it with the addresses of the settings and a
//! future that ends with SIGTERM; `spiked demo` and the tests with listeners, a [`Tap`] and a
//! shutdown of their own.

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
mod cutting;
pub mod disk;
mod engine_panic;
mod expiry;
#[cfg(feature = "jetstream")]
mod heartbeat;
mod input_counts;
mod intake;
#[cfg(feature = "jetstream")]
mod membership;
mod moving;
#[cfg(feature = "jetstream")]
mod outlet;
#[cfg(all(test, feature = "embedded-broker"))]
mod panic_tests;
mod partitions;
#[cfg(feature = "jetstream")]
mod reading_on;
mod rebuilding;
#[cfg(feature = "jetstream")]
mod retaining;
#[cfg(feature = "jetstream")]
mod roster;
mod serve;
pub mod store;
mod supervise;
#[cfg(feature = "jetstream")]
mod taking_over;
mod telling;
mod tuning;
mod worker;

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::net::TcpListener;

use crate::config::InputSettings;
use crate::engine::EngineStats;
use crate::row::Outcome;
use crate::stream::StreamParams;

pub use crate::status::{Health, Status, StreamView};
pub use serve::{filters, serve};

/// One row as a [`Tap`] sees it, on the worker's thread, before it is published.
#[derive(Debug)]
pub struct Observed<'a> {
    /// Stream name.
    pub stream: &'a str,
    /// Channel names, in the order of the outcome's channels.
    pub channels: &'a [Arc<str>],
    /// The engine's outcome of the row.
    pub outcome: &'a Outcome,
    /// The engine's counters after the row.
    pub stats: &'a EngineStats,
}

/// An observer of every outcome. It must return at once: it stands in the worker's way.
pub type Tap = Arc<dyn Fn(&Observed<'_>) + Send + Sync>;

/// Addresses and views that [`serve()`] gives once it listens, before the broker is reached.
#[derive(Clone, Debug)]
pub struct Started {
    /// Address of the HTTP listener.
    pub http: Option<SocketAddr>,
    /// Health and views of the running daemon.
    pub shared: Arc<Status>,
}

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
    /// Observer of every outcome.
    pub tap: Option<Tap>,
    /// Where readings and snapshots are kept; `None` for nowhere.
    pub store: Option<Arc<dyn store::Store>>,
    /// Settings that change while the daemon runs.
    pub changed: Option<tokio::sync::mpsc::Receiver<LiveSettings>>,
    /// Told once, when everything is bound and started.
    pub started: Option<tokio::sync::oneshot::Sender<Started>>,
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
    Store(#[from] store::StoreError),
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
