//! The queue from the connection to the intake thread: bounded in messages and bytes, handed over
//! in batches.

use std::collections::VecDeque;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::{Delivered, Fate};
use crate::config::Overload;
use crate::status::lock;

/// Bytes that may wait in the intake queue.
const INTAKE_MAX_BYTES: usize = 64 << 20;

/// The queue from the connection to the intake thread: bounded in messages and bytes.
#[derive(Clone, Debug)]
pub struct Intake {
    inner: Arc<Inner>,
    capacity: usize,
    overload: Overload,
}

#[derive(Debug, Default)]
struct Inner {
    waiting: Mutex<Waiting>,
    /// Rung when something comes and the intake thread sleeps.
    bell: Condvar,
    /// Rung when something is taken out.
    room: Notify,
}

#[derive(Debug, Default)]
struct Waiting {
    /// Acknowledgements of messages that had to make room: each is sent in its turn. Bounded by MQTT: without an
    /// acknowledgement there are at most 65,535 of them, without payload.
    dropped: VecDeque<Delivered>,
    messages: VecDeque<Delivered>,
    bytes: usize,
    closed: bool,
    asleep: bool,
    /// There is something else to do for the intake thread.
    woken: bool,
}

impl Intake {
    /// A queue of `capacity` messages.
    pub fn new(capacity: usize, overload: Overload) -> Intake {
        Intake {
            inner: Arc::default(),
            capacity,
            overload,
        }
    }

    /// Moves what waits to the end of `out`, at most `most` messages, waiting until `timeout` is
    /// over for the first of them. True where one came.
    pub fn recv(&self, out: &mut VecDeque<Delivered>, most: usize, timeout: Duration) -> bool {
        let mut waiting = lock(&self.inner.waiting);
        let until = Instant::now() + timeout;
        while waiting.messages.is_empty() && waiting.dropped.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if std::mem::take(&mut waiting.woken) || left.is_zero() {
                return false;
            }
            waiting.asleep = true;
            let woken = self.inner.bell.wait_timeout(waiting, left);
            waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
            waiting.asleep = false;
        }
        // They are older than all that is left.
        out.append(&mut waiting.dropped);
        let n = waiting.messages.len().min(most);
        waiting.bytes -= waiting.messages.iter().take(n).map(size).sum::<usize>();
        out.extend(waiting.messages.drain(..n));
        drop(waiting);
        self.inner.room.notify_one();
        true
    }

    /// Ends the wait of [`Intake::recv`], or the next one that finds nothing.
    pub fn wake(&self) {
        lock(&self.inner.waiting).woken = true;
        self.inner.bell.notify_one();
    }

    /// No further message is taken: what comes is left to the broker, unacknowledged.
    pub fn close(&self) {
        lock(&self.inner.waiting).closed = true;
    }

    /// The queue is closed.
    pub fn is_closed(&self) -> bool {
        lock(&self.inner.waiting).closed
    }

    /// Messages that wait.
    pub fn len(&self) -> usize {
        lock(&self.inner.waiting).messages.len()
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        let waiting = lock(&self.inner.waiting);
        waiting.messages.is_empty() && waiting.dropped.is_empty()
    }

    /// Ends when something has been taken out since it was last called, or is.
    pub async fn room(&self) {
        self.inner.room.notified().await;
    }

    /// Moves messages from the front of `batch` into the queue, in their order, as many as there is room
    /// for. With [`Overload::DropOldest`] older ones make room: what is left of them stays in its place
    /// to be acknowledged. Returns how many had to.
    pub fn put(&self, batch: &mut VecDeque<Delivered>) -> u64 {
        let mut waiting = lock(&self.inner.waiting);
        let mut dropped = 0;
        while !waiting.closed
            && let Some(message) = batch.front()
        {
            // A message larger than the whole bound is taken when nothing else waits.
            let bytes = waiting.bytes + size(message);
            let full = waiting.messages.len() >= self.capacity || bytes > INTAKE_MAX_BYTES;
            if full && !waiting.messages.is_empty() {
                if self.overload == Overload::Block {
                    break;
                }
                if let Some(oldest) = waiting.messages.pop_front() {
                    waiting.bytes -= size(&oldest);
                    dropped += 1;
                    // With QoS 0 nobody waits for an acknowledgement.
                    let left = (oldest.packet_id != 0).then(|| Delivered {
                        topic: String::new(),
                        payload: Vec::new(),
                        fate: Fate::Dropped,
                        ..oldest
                    });
                    waiting.dropped.extend(left);
                }
                continue;
            }
            waiting.bytes = bytes;
            waiting.messages.extend(batch.pop_front());
        }
        if waiting.closed {
            // The next packets are the broker's.
            batch.clear();
        }
        if waiting.asleep && !(waiting.messages.is_empty() && waiting.dropped.is_empty()) {
            self.inner.bell.notify_one();
        }
        dropped
    }
}

fn size(message: &Delivered) -> usize {
    message.payload.len() + message.topic.len() + size_of::<Delivered>()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(text: &str) -> Delivered {
        Delivered {
            topic: "t".into(),
            payload: text.as_bytes().to_vec(),
            packet_id: 0,
            dup: false,
            retain: false,
            epoch: 1,
            arrived: Instant::now(),
            fate: Fate::Whole,
            properties: Vec::new(),
            journal: None,
        }
    }

    /// Puts messages in; returns how many older ones had to make room, and how many found none.
    fn put(intake: &Intake, texts: &[&str]) -> (u64, usize) {
        let mut batch = texts.iter().map(|text| message(text)).collect();
        (intake.put(&mut batch), batch.len())
    }

    fn payloads(intake: &Intake) -> Vec<String> {
        let mut out = VecDeque::new();
        intake.recv(&mut out, 1, Duration::ZERO);
        intake.recv(&mut out, usize::MAX, Duration::ZERO);
        out.into_iter()
            .map(|message| String::from_utf8(message.payload).unwrap())
            .collect()
    }

    #[test]
    fn a_full_queue_drops_the_oldest_and_counts_them() {
        let intake = Intake::new(2, Overload::DropOldest);
        assert_eq!(put(&intake, &["a", "b", "c"]), (1, 0));
        assert_eq!(put(&intake, &["d"]), (1, 0));
        assert_eq!(payloads(&intake), ["c", "d"]);
    }

    #[test]
    fn what_was_dropped_is_acknowledged_in_its_turn() {
        let intake = Intake::new(2, Overload::DropOldest);
        let numbered = (1..=5).map(|packet_id| Delivered {
            packet_id,
            ..message("x")
        });
        assert_eq!(intake.put(&mut numbered.collect()), 3);
        let mut out = VecDeque::new();
        assert!(intake.recv(&mut out, 10, Duration::ZERO));
        let order: Vec<u16> = out.iter().map(|message| message.packet_id).collect();
        assert_eq!(order, [1, 2, 3, 4, 5]);
        let whole = out.iter().filter(|message| message.fate == Fate::Whole);
        assert_eq!(whole.count(), 2);
    }

    #[tokio::test]
    async fn a_full_queue_that_blocks_takes_more_once_there_is_room() {
        let intake = Intake::new(1, Overload::Block);
        assert_eq!(put(&intake, &["a"]), (0, 0));
        assert_eq!(put(&intake, &["b", "c"]), (0, 2));
        assert_eq!(payloads(&intake), ["a"]);
        intake.room().await;
        assert_eq!(put(&intake, &["b", "c"]), (0, 1));
        assert_eq!(payloads(&intake), ["b"]);
    }

    #[test]
    fn a_queue_is_full_by_bytes_as_well_but_takes_any_single_message() {
        let intake = Intake::new(1000, Overload::DropOldest);
        let large = "x".repeat(INTAKE_MAX_BYTES / 2);
        let dropped: u64 = (0..5).map(|_| put(&intake, &[&large]).0).sum();
        assert_eq!((dropped, intake.len()), (4, 1));
        assert_eq!(put(&intake, &[&"x".repeat(INTAKE_MAX_BYTES * 2)]), (1, 0));
        assert_eq!(intake.len(), 1);
    }

    #[test]
    fn who_waits_is_woken_once() {
        let intake = Intake::new(1, Overload::Block);
        let other = intake.clone();
        let waker = std::thread::spawn(move || other.wake());
        let begin = Instant::now();
        let mut out = VecDeque::new();
        assert!(!intake.recv(&mut out, 1, Duration::from_secs(60)));
        assert!(begin.elapsed() < Duration::from_secs(30));
        waker.join().unwrap();
        let begin = Instant::now();
        assert!(!intake.recv(&mut out, 1, Duration::from_millis(20)));
        assert!(begin.elapsed() >= Duration::from_millis(20));
    }

    #[test]
    fn a_closed_queue_takes_nothing_and_hands_out_what_it_has() {
        let intake = Intake::new(10, Overload::Block);
        put(&intake, &["a"]);
        intake.close();
        put(&intake, &["b"]);
        assert_eq!(payloads(&intake), ["a"]);
    }
}
