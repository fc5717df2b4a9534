//! The outbox as workers see it, and the acknowledgements of what was received.

use std::sync::{Arc, Mutex};

use tokio::sync::Notify;
use tracing::error;

use super::outbox::{Dropped, Outbox};
use super::{Delivered, Message};
use crate::metrics::Class;
use crate::status::{Status, lock};

/// An acknowledgement to send, for the connection that its message came over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ack {
    /// Epoch of the connection.
    pub epoch: u64,
    /// Packet id.
    pub packet_id: u16,
}

impl Ack {
    /// Acknowledgement of a message; `None` with QoS 0.
    pub fn of(message: &Delivered) -> Option<Ack> {
        (message.packet_id != 0).then_some(Ack {
            epoch: message.epoch,
            packet_id: message.packet_id,
        })
    }
}

/// The outbox and the bell that wakes the sending task.
#[derive(Clone, Debug)]
pub struct Out {
    pub(super) outbox: Arc<Mutex<Outbox>>,
    pub(super) bell: Arc<Notify>,
    shared: Arc<Status>,
}

impl Out {
    /// To `outbox`.
    pub fn new(outbox: Outbox, shared: Arc<Status>) -> Out {
        Out {
            outbox: Arc::new(Mutex::new(outbox)),
            bell: Arc::default(),
            shared,
        }
    }

    /// Takes a message; never waits.
    pub fn push(&self, message: Message) {
        self.push_all([message]);
    }

    /// Takes messages in order, so that they are sent together; never waits.
    pub fn push_all(&self, messages: impl IntoIterator<Item = Message>) {
        let mut dropped = Dropped::default();
        {
            let mut outbox = lock(&self.outbox);
            for message in messages {
                dropped += outbox.push(message);
            }
        }
        self.bell.notify_one();
        let metrics = &self.shared.metrics;
        if dropped.predictions > 0 {
            metrics.outbox_dropped(Class::Prediction, dropped.predictions);
        }
        if dropped.kept > 0 {
            metrics.outbox_dropped(Class::Anomaly, dropped.kept);
            error!(
                lost = dropped.kept,
                "the outbox is full of anomaly messages: the oldest is lost"
            );
        }
    }

    /// Gives away all messages that wait, for a carrier of its own kind.
    #[cfg(feature = "jetstream")]
    pub fn take_all(&self) -> Vec<Message> {
        lock(&self.outbox).take_all()
    }

    /// Ends when a message has come since it was last called, or comes.
    #[cfg(feature = "jetstream")]
    pub async fn rung(&self) {
        self.bell.notified().await;
    }

    /// A prediction would find room.
    pub fn has_room(&self) -> bool {
        lock(&self.outbox).has_room()
    }

    /// Messages that wait or are not acknowledged.
    pub fn len(&self) -> usize {
        lock(&self.outbox).len()
    }

    /// Nothing waits and everything is acknowledged.
    pub fn is_empty(&self) -> bool {
        lock(&self.outbox).is_empty()
    }
}
