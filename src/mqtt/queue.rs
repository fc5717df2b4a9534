//! The queue from the connection to the intake thread: bounded in messages and bytes, handed over
//! in batches.

use std::collections::VecDeque;
use std::iter::Peekable;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::time::{Duration, Instant};

use super::Delivered;
use crate::config::Overload;
use crate::status::lock;

/// Pause while the intake queue is full.
const FULL_PAUSE: Duration = Duration::from_millis(1);
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
}

#[derive(Debug, Default)]
struct Waiting {
    messages: VecDeque<Delivered>,
    bytes: usize,
    closed: bool,
    asleep: bool,
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
        while waiting.messages.is_empty() {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return false;
            }
            waiting.asleep = true;
            let woken = self.inner.bell.wait_timeout(waiting, left);
            waiting = woken.unwrap_or_else(PoisonError::into_inner).0;
            waiting.asleep = false;
        }
        let n = waiting.messages.len().min(most);
        waiting.bytes -= waiting.messages.iter().take(n).map(size).sum::<usize>();
        out.extend(waiting.messages.drain(..n));
        n > 0
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
        self.len() == 0
    }

    /// Puts messages in, in their order. Where the queue is full it waits, or drops the oldest and
    /// gives them back. False where the queue is closed: the last of them were not taken.
    pub(super) async fn offer(
        &self,
        batch: &mut Vec<Delivered>,
        dropped: &mut Vec<Delivered>,
    ) -> bool {
        let mut batch = batch.drain(..).peekable();
        while !self.put(&mut batch, dropped) {
            tokio::time::sleep(FULL_PAUSE).await;
        }
        batch.peek().is_none()
    }

    /// Puts in what there is room for, or makes room; true once nothing is left to put in.
    fn put(
        &self,
        batch: &mut Peekable<impl Iterator<Item = Delivered>>,
        dropped: &mut Vec<Delivered>,
    ) -> bool {
        let mut waiting = lock(&self.inner.waiting);
        while !waiting.closed
            && let Some(message) = batch.peek()
        {
            // A message larger than the whole bound is taken when nothing else waits.
            let bytes = waiting.bytes + size(message);
            let full = waiting.messages.len() >= self.capacity || bytes > INTAKE_MAX_BYTES;
            if full && !waiting.messages.is_empty() {
                if self.overload == Overload::Block {
                    break;
                }
                let oldest = waiting.messages.pop_front();
                waiting.bytes -= oldest.as_ref().map_or(0, size);
                dropped.extend(oldest);
                continue;
            }
            waiting.bytes = bytes;
            waiting.messages.extend(batch.next());
        }
        if waiting.asleep && !waiting.messages.is_empty() {
            self.inner.bell.notify_one();
        }
        waiting.closed || batch.peek().is_none()
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
        }
    }

    fn payloads(intake: &Intake) -> Vec<String> {
        let mut out = VecDeque::new();
        intake.recv(&mut out, 1, Duration::ZERO);
        intake.recv(&mut out, usize::MAX, Duration::ZERO);
        out.into_iter()
            .map(|message| String::from_utf8(message.payload).unwrap())
            .collect()
    }

    #[tokio::test]
    async fn a_full_queue_drops_the_oldest_and_gives_it_back() {
        let intake = Intake::new(2, Overload::DropOldest);
        let mut dropped = Vec::new();
        let mut batch = ["a", "b", "c"].map(message).to_vec();
        intake.offer(&mut batch, &mut dropped).await;
        intake.offer(&mut vec![message("d")], &mut dropped).await;
        assert_eq!(dropped.len(), 2);
        assert_eq!(dropped[0].payload, b"a");
        assert_eq!(payloads(&intake), ["c", "d"]);
    }

    #[tokio::test]
    async fn a_full_queue_that_blocks_waits_for_room() {
        let intake = Intake::new(1, Overload::Block);
        let mut dropped = Vec::new();
        intake.offer(&mut vec![message("a")], &mut dropped).await;
        let other = intake.clone();
        let waiting = tokio::spawn(async move {
            let mut batch = ["b", "c"].map(message).to_vec();
            other.offer(&mut batch, &mut Vec::new()).await;
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!waiting.is_finished());
        assert_eq!(payloads(&intake), ["a"]);
        assert!(!waiting.is_finished());
        while intake.is_empty() {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        assert_eq!(payloads(&intake), ["b"]);
        waiting.await.unwrap();
        assert_eq!(payloads(&intake), ["c"]);
        assert!(dropped.is_empty());
    }

    #[tokio::test]
    async fn a_queue_is_full_by_bytes_as_well_but_takes_any_single_message() {
        let intake = Intake::new(1000, Overload::DropOldest);
        let mut dropped = Vec::new();
        let large = "x".repeat(INTAKE_MAX_BYTES / 2);
        for _ in 0..5 {
            intake.offer(&mut vec![message(&large)], &mut dropped).await;
        }
        assert_eq!((dropped.len(), intake.len()), (4, 1));
        intake
            .offer(
                &mut vec![message(&"x".repeat(INTAKE_MAX_BYTES * 2))],
                &mut dropped,
            )
            .await;
        assert_eq!((dropped.len(), intake.len()), (5, 1));
    }

    #[tokio::test]
    async fn a_closed_queue_takes_nothing_and_hands_out_what_it_has() {
        let intake = Intake::new(10, Overload::Block);
        intake.offer(&mut vec![message("a")], &mut Vec::new()).await;
        intake.close();
        intake.offer(&mut vec![message("b")], &mut Vec::new()).await;
        assert_eq!(payloads(&intake), ["a"]);
    }
}
