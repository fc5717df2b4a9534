//! The queue from the connection to the intake thread: bounded in messages and bytes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, TrySendError};

use super::Delivered;
use crate::config::Overload;

/// Pause while the intake queue is full.
const FULL_PAUSE: Duration = Duration::from_millis(1);
/// Bytes that may wait in the intake queue.
const INTAKE_MAX_BYTES: usize = 64 << 20;
/// The queue from the connection to the intake thread: bounded in messages and bytes.
#[derive(Clone, Debug)]
pub struct Intake {
    tx: Sender<Delivered>,
    rx: Receiver<Delivered>,
    bytes: Arc<AtomicUsize>,
    closed: Arc<AtomicBool>,
    overload: Overload,
}

impl Intake {
    /// A queue of `capacity` messages.
    pub fn new(capacity: usize, overload: Overload) -> Intake {
        let (tx, rx) = crossbeam_channel::bounded(capacity);
        Intake {
            tx,
            rx,
            bytes: Arc::default(),
            closed: Arc::default(),
            overload,
        }
    }

    /// Takes the next message, waiting for it until `timeout` is over.
    pub fn recv(&self, timeout: Duration) -> Option<Delivered> {
        let message = self.rx.recv_timeout(timeout).ok()?;
        self.bytes.fetch_sub(size(&message), Ordering::AcqRel);
        Some(message)
    }

    /// No further message is taken: what comes is left to the broker, unacknowledged.
    pub fn close(&self) {
        self.closed.store(true, Ordering::Release);
    }

    /// The queue is closed.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Messages that wait.
    pub fn len(&self) -> usize {
        self.rx.len()
    }

    /// Nothing waits.
    pub fn is_empty(&self) -> bool {
        self.rx.is_empty()
    }

    /// Puts a message in. Where the queue is full it waits, or drops the oldest and gives it back.
    pub(super) async fn offer(&self, message: Delivered, dropped: &mut Vec<Delivered>) {
        let n = size(&message);
        let mut message = message;
        loop {
            if self.is_closed() {
                return;
            }
            // A message larger than the whole bound is taken when nothing else waits.
            if self.bytes.load(Ordering::Acquire) + n <= INTAKE_MAX_BYTES.max(n) {
                // Counted before the other end can subtract it.
                self.bytes.fetch_add(n, Ordering::AcqRel);
                match self.tx.try_send(message) {
                    Ok(()) => return,
                    Err(TrySendError::Full(back) | TrySendError::Disconnected(back)) => {
                        self.bytes.fetch_sub(n, Ordering::AcqRel);
                        message = back;
                    }
                }
            }
            match self.overload {
                Overload::Block => tokio::time::sleep(FULL_PAUSE).await,
                Overload::DropOldest => dropped.extend(self.recv(Duration::ZERO)),
            }
        }
    }
}

fn size(message: &Delivered) -> usize {
    message.payload.len() + message.topic.len() + size_of::<Delivered>()
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

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
        std::iter::from_fn(|| intake.recv(Duration::ZERO))
            .map(|message| String::from_utf8(message.payload).unwrap())
            .collect()
    }

    #[tokio::test]
    async fn a_full_queue_drops_the_oldest_and_gives_it_back() {
        let intake = Intake::new(2, Overload::DropOldest);
        let mut dropped = Vec::new();
        for text in ["a", "b", "c", "d"] {
            intake.offer(message(text), &mut dropped).await;
        }
        assert_eq!(dropped.len(), 2);
        assert_eq!(dropped[0].payload, b"a");
        assert_eq!(payloads(&intake), ["c", "d"]);
    }

    #[tokio::test]
    async fn a_full_queue_that_blocks_waits_for_room() {
        let intake = Intake::new(1, Overload::Block);
        let mut dropped = Vec::new();
        intake.offer(message("a"), &mut dropped).await;
        let other = intake.clone();
        let waiting = tokio::spawn(async move {
            other.offer(message("b"), &mut Vec::new()).await;
        });
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert!(!waiting.is_finished());
        assert_eq!(intake.recv(Duration::ZERO).unwrap().payload, b"a");
        waiting.await.unwrap();
        assert_eq!(payloads(&intake), ["b"]);
        assert!(dropped.is_empty());
    }

    #[tokio::test]
    async fn a_queue_is_full_by_bytes_as_well_but_takes_any_single_message() {
        let intake = Intake::new(1000, Overload::DropOldest);
        let mut dropped = Vec::new();
        let large = "x".repeat(INTAKE_MAX_BYTES / 2);
        for _ in 0..5 {
            intake.offer(message(&large), &mut dropped).await;
        }
        assert_eq!((dropped.len(), intake.len()), (4, 1));
        intake
            .offer(message(&"x".repeat(INTAKE_MAX_BYTES * 2)), &mut dropped)
            .await;
        assert_eq!((dropped.len(), intake.len()), (5, 1));
    }

    #[tokio::test]
    async fn a_closed_queue_takes_nothing_and_hands_out_what_it_has() {
        let intake = Intake::new(10, Overload::Block);
        intake.offer(message("a"), &mut Vec::new()).await;
        intake.close();
        intake.offer(message("b"), &mut Vec::new()).await;
        assert_eq!(payloads(&intake), ["a"]);
    }
}
