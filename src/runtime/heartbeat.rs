//! Has a worker of a cluster heard, and notes whether it was.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use crate::carrier::{CarrierError, SharedCarrier};
use crate::status::lock;

/// Signs of life of this worker.
pub(super) struct Heartbeat {
    /// When the last one that was taken was sent.
    pub(super) sent: Mutex<Instant>,
    /// One came later than the lease allows.
    pub(super) was_late: AtomicBool,
    /// Why the last one was not taken.
    pub(super) refused: Mutex<Option<CarrierError>>,
    pub(super) is_leaving: AtomicBool,
}

/// Has the worker heard, four times a lease.
pub(super) async fn beat<C: SharedCarrier>(
    carrier: Arc<C>,
    heartbeat: Arc<Heartbeat>,
    lease: Duration,
) {
    let mut ticks = tokio::time::interval(lease / 4);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        ticks.tick().await;
        let sent = Instant::now();
        let announced = carrier.announce(heartbeat.is_leaving.load(Ordering::Acquire));
        let no_answer = || Err(CarrierError::Away("no answer from the server".to_owned()));
        let announced = tokio::time::timeout(lease / 2, announced).await;
        let announced = announced.unwrap_or_else(|_| no_answer());
        let is_taken = announced.is_ok();
        *lock(&heartbeat.refused) = announced.err();
        if is_taken {
            let before = std::mem::replace(&mut *lock(&heartbeat.sent), sent);
            if before.elapsed() > lease {
                heartbeat.was_late.store(true, Ordering::Release);
            }
        }
    }
}
