//! Tells the service manager how the daemon is, and exports the figures that nobody else has.
//!
//! A thread of its own does it, since a daemon whose runtime hangs must be seen as well. It feeds the
//! watchdog only while every thread and task meets its deadline, and names the one that does not.

use std::collections::HashSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use sd_notify::NotifyState;
use tracing::{error, warn};

use crate::carrier::store::Store;
use crate::mqtt::{Intake, Out};
use crate::progress::BEAT_EVERY;
use crate::status::Status;

/// Time between two looks.
const EVERY: Duration = BEAT_EVERY;
/// This thread does not wait for any other: where its own look comes so late, nothing ran at all.
const PAUSE: Duration = Duration::from_secs(5);
/// A recovery is given this much further time at each look, as long as it makes progress.
const EXTENSION: Duration = Duration::from_secs(30);

/// The queues whose depths are exported.
pub struct Queues {
    /// From the connection to the intake thread.
    pub intake: Intake,
    /// From the workers to the connection.
    pub out: Out,
    /// Settings of the state on disk.
    pub store: Arc<dyn Store>,
}

/// Tells the service manager something; without one there is nobody to tell.
pub fn notify(state: &[NotifyState<'_>]) {
    if let Err(error) = sd_notify::notify(state) {
        tracing::debug!(%error, "the service manager cannot be told");
    }
}

/// The thread that watches the others.
pub struct Watchdog {
    stop: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Watchdog {
    /// Starts it.
    ///
    /// # Errors
    /// If there is no thread to be had.
    pub fn start(shared: Arc<Status>, queues: Queues) -> std::io::Result<Watchdog> {
        let every = sd_notify::watchdog_enabled().map_or(EVERY, |limit| (limit / 3).min(EVERY));
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::Builder::new().name("watch".to_owned());
        let thread = thread.spawn(move || {
            let mut seen = Seen::default();
            let mut looked = Instant::now();
            let pulse = shared.pulses.add("watch");
            while !stopped.load(Ordering::Acquire) {
                // After a pause of the whole process, or of the machine, the others beat again first.
                let was_paused = looked.elapsed() > PAUSE;
                looked = Instant::now();
                pulse.beat();
                if !was_paused {
                    seen.look(&shared, &queues);
                }
                std::thread::park_timeout(every);
            }
            pulse.end();
        })?;
        Ok(Watchdog { stop, thread })
    }

    /// Ends it.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Release);
        self.thread.thread().unpark();
        if self.thread.join().is_err() {
            error!("the thread that watches the others has panicked");
        }
    }
}

/// Observations of the last look.
#[derive(Default)]
struct Seen {
    stuck: HashSet<String>,
    status: String,
}

impl Seen {
    fn look(&mut self, shared: &Status, queues: &Queues) {
        measure(shared, queues);
        let stuck = shared.stuck();
        for stuck in &stuck {
            if !self.stuck.contains(&stuck.name) {
                let silent_s = stuck.silent.as_secs();
                error!(
                    thread = stuck.name,
                    silent_s, "no progress: the daemon is not healthy"
                );
            }
        }
        let names: HashSet<String> = stuck.into_iter().map(|stuck| stuck.name).collect();
        for name in self.stuck.difference(&names) {
            warn!(thread = name, "progress again");
        }
        self.stuck = names;
        let health = shared.health();
        if health.alive {
            notify(&[NotifyState::Watchdog]);
        }
        if health.alive && shared.recovering().is_some() {
            let micros = u32::try_from(EXTENSION.as_micros()).unwrap_or(u32::MAX);
            notify(&[NotifyState::ExtendTimeoutUsec(micros)]);
        }
        let status = match health.reasons.as_slice() {
            [] => "ready".to_owned(),
            reasons => reasons.join("; "),
        };
        if status != self.status {
            notify(&[NotifyState::Status(&status)]);
            self.status = status;
        }
    }
}

fn measure(shared: &Status, queues: &Queues) {
    let metrics = &shared.metrics;
    metrics.set_queue("intake", queues.intake.len());
    metrics.set_queue("worker", shared.waiting());
    metrics.set_queue("outbox", queues.out.len());
    let stats = queues.store.stats();
    metrics.set_store(&stats);
    let failing = stats.failing.as_deref();
    let failing =
        failing.map(|why| format!("the state file cannot be written, readings wait: {why}"));
    shared.note_store(failing.as_deref());
}
