//! Holds the messages that wait for the webhook: bounded, first in, first out.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use tokio::sync::Notify;

use crate::row::IncidentEdge;
use crate::status::lock;

/// Messages that wait at most: a thousand streams with ten edges each.
const MOST: usize = 10_000;

/// A message that waits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pending {
    /// Number under which it is kept on disk, if it is.
    pub kept: Option<u64>,
    /// The JSON.
    pub body: String,
    /// Order of arrival.
    place: u64,
}

/// The queue, and which edges go into it; clones share it.
#[derive(Clone, Debug)]
pub struct WebhookQueue {
    /// Edges that are wanted, by their words.
    events: Arc<[String]>,
    waiting: Arc<Mutex<WaitingPosts>>,
    woken: Arc<Notify>,
}

#[derive(Debug, Default)]
struct WaitingPosts {
    messages: VecDeque<Pending>,
    places: u64,
}

impl WebhookQueue {
    /// An empty queue for these edges.
    pub fn new(events: &[String]) -> WebhookQueue {
        WebhookQueue {
            events: events.into(),
            waiting: Arc::default(),
            woken: Arc::default(),
        }
    }

    /// The edge is to be posted.
    pub fn wants(&self, edge: &IncidentEdge) -> bool {
        self.events.iter().any(|event| event == edge.as_str())
    }

    /// Appends a message. Returns the oldest where it had to be given up.
    pub fn push(&self, kept: Option<u64>, body: String) -> Option<Pending> {
        let mut waiting = lock(&self.waiting);
        waiting.places += 1;
        let place = waiting.places;
        waiting.messages.push_back(Pending { kept, body, place });
        self.woken.notify_one();
        if waiting.messages.len() > MOST {
            return waiting.messages.pop_front();
        }
        None
    }

    /// The oldest message, which stays.
    pub fn first(&self) -> Option<Pending> {
        lock(&self.waiting).messages.front().cloned()
    }

    /// Removes the oldest message; false where it was given up meanwhile.
    pub fn remove(&self, message: &Pending) -> bool {
        let mut waiting = lock(&self.waiting);
        let is_first = waiting.messages.front() == Some(message);
        is_first && waiting.messages.pop_front().is_some()
    }

    /// Messages that wait.
    pub fn len(&self) -> usize {
        lock(&self.waiting).messages.len()
    }

    /// Ends when a message has come since it last ended.
    pub async fn wait(&self) {
        self.woken.notified().await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_queue_keeps_its_order_and_gives_up_the_oldest_beyond_its_bound() {
        let queue = WebhookQueue::new(&[]);
        for k in 0..MOST as u64 {
            assert_eq!(queue.push(Some(k), "same".to_owned()), None);
        }
        let first = queue.first().unwrap();
        let given_up = queue.push(Some(7), "same".to_owned()).unwrap();
        assert_eq!(given_up, first);
        assert!(!queue.remove(&first), "it is gone already");
        assert_eq!(queue.first().and_then(|m| m.kept), Some(1));
        assert_eq!(queue.len(), MOST);
    }
}
