//! Signs of life: every thread and task has a deadline by which it must show progress.
//!
//! A thread or task holds a [`Pulse`] and calls [`Pulse::beat`] whenever it gets on, also while it
//! waits for something that another one owes it: so the one that hangs is the one that is named.
//! Code that does not know on whose thread it runs calls [`beat`]. The room depends on nothing, so
//! that every other room can use it.

use std::cell::RefCell;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, LazyLock, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Time between two signs of life of a thread or task that waits, at most: a quarter of the shortest deadline
/// that can be set, so that one that is only late for it is not taken for one that hangs.
pub const BEAT_EVERY: Duration = Duration::from_millis(250);

static START: LazyLock<Instant> = LazyLock::new(Instant::now);

fn now_ms() -> u64 {
    u64::try_from(START.elapsed().as_millis()).unwrap_or(u64::MAX)
}

/// The signs of life of one thread or task.
#[derive(Debug, Default)]
pub struct Pulse {
    name: String,
    at_ms: AtomicU64,
    ended: AtomicBool,
}

impl Pulse {
    /// The pulse of what is called `name`; it has just beaten.
    pub fn new(name: impl Into<String>) -> Arc<Pulse> {
        Arc::new(Pulse {
            name: name.into(),
            at_ms: AtomicU64::new(now_ms()),
            ended: AtomicBool::new(false),
        })
    }

    /// There is progress.
    pub fn beat(&self) {
        self.at_ms.store(now_ms(), Ordering::Release);
    }

    /// The thread or task has ended as it should: nothing more is expected of it.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
    }

    /// Time since the last sign of life; `None` after the end.
    fn silence(&self) -> Option<Duration> {
        let since = now_ms().saturating_sub(self.at_ms.load(Ordering::Acquire));
        (!self.ended.load(Ordering::Acquire)).then_some(Duration::from_millis(since))
    }
}

/// A thread or task that has missed its deadline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stuck {
    /// Its name.
    pub name: String,
    /// Time since its last sign of life.
    pub silent: Duration,
}

/// The pulses of a daemon.
#[derive(Clone, Debug, Default)]
pub struct Pulses(Arc<Mutex<Vec<Arc<Pulse>>>>);

impl Pulses {
    /// Makes and watches a pulse.
    pub fn add(&self, name: impl Into<String>) -> Arc<Pulse> {
        let pulse = Pulse::new(name);
        self.watch(pulse.clone());
        pulse
    }

    /// Watches a pulse that was made elsewhere.
    pub fn watch(&self, pulse: Arc<Pulse>) {
        let mut pulses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        pulses.retain(|known| known.silence().is_some() && !Arc::ptr_eq(known, &pulse));
        pulses.push(pulse);
    }

    /// Those without a sign of life for longer than `deadline`.
    pub fn stuck(&self, deadline: Duration) -> Vec<Stuck> {
        let pulses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let silent = pulses.iter().filter_map(|pulse| {
            let silent = pulse.silence()?;
            (silent > deadline).then(|| Stuck {
                name: pulse.name.clone(),
                silent,
            })
        });
        silent.collect()
    }
}

thread_local! {
    static CURRENT: RefCell<Option<Arc<Pulse>>> = const { RefCell::new(None) };
}

/// Makes `pulse` the one that [`beat`] means on this thread.
pub fn enter(pulse: Arc<Pulse>) {
    pulse.beat();
    CURRENT.with_borrow_mut(|current| *current = Some(pulse));
}

/// A sign of life of this thread, where it has a pulse.
pub fn beat() {
    CURRENT.with_borrow(|current| {
        if let Some(pulse) = current {
            pulse.beat();
        }
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_silent_and_has_not_ended_is_stuck_and_it_is_named() {
        let pulses = Pulses::default();
        let (beating, _silent, ended) = (pulses.add("a"), pulses.add("b"), pulses.add("c"));
        ended.end();
        std::thread::sleep(Duration::from_millis(30));
        beating.beat();
        let stuck = pulses.stuck(Duration::from_millis(20));
        let names: Vec<&str> = stuck.iter().map(|stuck| stuck.name.as_str()).collect();
        assert_eq!(names, ["b"]);
    }

    #[test]
    fn a_thread_beats_for_the_pulse_that_it_entered() {
        let pulses = Pulses::default();
        let pulse = pulses.add("a");
        std::thread::sleep(Duration::from_millis(30));
        beat();
        assert_eq!(pulses.stuck(Duration::from_millis(20)).len(), 1);
        enter(pulse);
        assert_eq!(pulses.stuck(Duration::from_millis(20)), []);
    }
}
