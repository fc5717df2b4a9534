//! Tells whether the daemon is alive and ready, and why not.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::{ConnectionRole, Status, lock};

/// After a panic the daemon is not ready for so long.
const PANIC_SHADOW: Duration = Duration::from_secs(60);
/// Drops of the broker, and readings that wait here, count for so long.
const DROP_SHADOW: Duration = Duration::from_secs(60);
/// After a new stream was refused for want of room the daemon is not ready for so long.
const FULL_SHADOW: Duration = Duration::from_secs(300);

/// Whether the daemon is alive and ready, and why not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Health {
    /// Every thread makes progress.
    pub alive: bool,
    /// Connected, subscribed, learning, storing.
    pub ready: bool,
    /// Reasons for not being well, in words; empty when all is well.
    pub reasons: Vec<String>,
}

impl Status {
    /// The broker says that it has dropped so many messages more.
    pub fn note_broker_drops(&self, messages: u64) {
        self.metrics.broker_dropped.inc_by(messages);
        self.broker_dropped
            .store(self.now_ms() + 1, Ordering::Release);
    }

    /// Readings waited for so long for a worker, or for those before them to come to the disk.
    pub fn note_wait(&self, waited: Duration) {
        if lock(&self.waits).add(waited, Instant::now()) {
            self.note_behind();
        }
    }

    /// The intake queue is full, or readings wait more often than not.
    pub fn note_behind(&self) {
        self.behind.store(self.now_ms() + 1, Ordering::Release);
    }

    /// The broker has as many messages under way to us as it sends without an acknowledgement.
    pub fn note_window_full(&self) {
        self.window_full.store(self.now_ms() + 1, Ordering::Release);
    }

    /// A moment that is noted as milliseconds plus 1 is no longer ago than `shadow`.
    fn is_recent(&self, noted: &AtomicU64, shadow: Duration) -> bool {
        let noted = noted.load(Ordering::Acquire);
        let since = self.now_ms().saturating_sub(noted.saturating_sub(1));
        noted > 0 && Duration::from_millis(since) < shadow
    }

    /// Says why messages that the broker drops, now or a moment ago, are taken to be ours.
    pub fn losing_at_broker(&self) -> Option<&'static str> {
        let is_recent = |noted| self.is_recent(noted, DROP_SHADOW);
        if !is_recent(&self.broker_dropped) {
            None
        } else if is_recent(&self.behind) {
            Some(
                "the broker drops messages: readings come faster than they are learned or stored here, and its queue is full (mosquitto: max_queued_messages)",
            )
        } else if is_recent(&self.window_full) {
            Some(
                "the broker drops messages: it waits for acknowledgements before it sends more, and its queue is full (mosquitto: max_inflight_messages, max_queued_messages)",
            )
        } else {
            None
        }
    }

    /// Whether the daemon is alive and ready, and what is wrong.
    pub fn health(&self) -> Health {
        let stuck = self.stuck();
        let mut reasons: Vec<String> = stuck
            .iter()
            .map(|stuck| {
                let seconds = stuck.silent.as_secs();
                format!("{} has made no progress for {seconds} s", stuck.name)
            })
            .collect();
        let alive = reasons.is_empty();
        if let Some(recovering) = self.recovering() {
            reasons.push(recovering);
            reasons.extend(lock(&self.carrier_trouble).clone());
        } else if let Some(why) = lock(&self.carrier_trouble).as_deref() {
            reasons.push(why.to_owned());
        } else if !self.is_connected(ConnectionRole::Subscriber)
            || !self.is_connected(ConnectionRole::Publisher)
        {
            reasons.push("not connected to the broker".to_owned());
        } else if !self.subscribed.load(Ordering::Acquire) {
            reasons.push("not subscribed".to_owned());
        }
        if let Some(why) = lock(&self.store_trouble).as_deref() {
            reasons.push(why.to_owned());
        } else if self.store_failed.load(Ordering::Acquire) {
            reasons.push("the state store fails".to_owned());
        }
        if self.is_recent(&self.panicked, PANIC_SHADOW) {
            reasons.push("an engine panicked within the last minute".to_owned());
        }
        reasons.extend(self.losing_at_broker().map(str::to_owned));
        if self.is_recent(&self.streams_full, FULL_SHADOW) {
            reasons.push(
                "readings of new streams are refused: there are stream.max_streams already"
                    .to_owned(),
            );
        }
        if self.is_stopping() {
            reasons.push("stopping".to_owned());
        }
        Health {
            alive,
            ready: reasons.is_empty(),
            reasons,
        }
    }

    /// Remarks on a daemon that is well.
    pub fn remark(&self) -> Option<&'static str> {
        let dropped = self.is_recent(&self.broker_dropped, DROP_SHADOW);
        let remark = "the broker drops messages: its queue for a client, hardly ours, is full";
        self.waits_for_first().or(dropped.then_some(remark))
    }
}
