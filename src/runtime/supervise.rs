//! What the service manager is told, and the figures that nobody else has.

use std::sync::Arc;
use std::time::Duration;

use sd_notify::NotifyState;
use tokio::task::JoinHandle;

use super::store::Store;
use crate::mqtt::{Intake, Out};
use crate::status::Status;

/// Time between two looks at the queues.
const EVERY: Duration = Duration::from_millis(500);

/// The queues whose depths are exported.
pub struct Queues {
    /// From the connection to the intake thread.
    pub intake: Intake,
    /// From the workers to the connection.
    pub out: Out,
    /// What is kept on disk.
    pub store: Arc<dyn Store>,
}

/// Tells the service manager something; without one there is nobody to tell.
pub fn notify(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!(%error, "the service manager cannot be told");
    }
}

/// Exports queue depths and feeds the watchdog while every worker makes progress.
pub fn watch(shared: Arc<Status>, queues: Queues) -> JoinHandle<()> {
    let every = sd_notify::watchdog_enabled().map_or(EVERY, |limit| (limit / 3).min(EVERY));
    tokio::spawn(async move {
        let mut ticks = tokio::time::interval(every);
        loop {
            ticks.tick().await;
            measure(&shared, &queues);
            if shared.health().alive {
                notify(NotifyState::Watchdog);
            }
        }
    })
}

fn measure(shared: &Status, queues: &Queues) {
    let metrics = &shared.metrics;
    metrics.set_queue("intake", queues.intake.len());
    metrics.set_queue("worker", shared.waiting());
    metrics.set_queue("outbox", queues.out.len());
    let stats = queues.store.stats();
    metrics.set_store(&stats);
    shared.note_store(stats.failing.is_some());
}
