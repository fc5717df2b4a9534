//! Knows whose turn it is on each connection, so that clients that keep us waiting make room for others.
//!
//! A client has the turn while it has not sent all of its request, has not taken all of an answer, or is
//! silent between two requests. We have it while an answer is made, or an event is yet to happen.

use std::collections::HashMap;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes, HttpBody};
use hyper::body::{Frame, SizeHint};
use tokio::task::{AbortHandle, Id};

/// A client that has kept us waiting for so long makes room for another. An honest one needs a round trip.
const PATIENCE: Duration = Duration::from_secs(1);

/// Turn on one connection: the client's or ours.
#[derive(Clone, Debug)]
pub(super) struct Turn {
    begin: Instant,
    /// Milliseconds since `begin` at which the client's turn began, plus 1; 0 while it is ours.
    client_since: Arc<AtomicU64>,
}

impl Turn {
    /// The client's: it is to send a request.
    pub(super) fn of_client() -> Turn {
        Turn {
            begin: Instant::now(),
            client_since: Arc::new(AtomicU64::new(1)),
        }
    }

    /// The whole request is here.
    pub(super) fn take(&self) {
        self.client_since.store(0, Ordering::Release);
    }

    /// The client is to take what there is, or to ask again.
    pub(super) fn give(&self) {
        let millis = u64::try_from(self.begin.elapsed().as_millis()).unwrap_or(u64::MAX - 1);
        self.client_since.store(millis + 1, Ordering::Release);
    }

    /// How long the client has kept us waiting.
    fn waited(&self) -> Option<Duration> {
        let since = self.client_since.load(Ordering::Acquire).checked_sub(1)?;
        Some(
            self.begin
                .elapsed()
                .saturating_sub(Duration::from_millis(since)),
        )
    }
}

/// The connections that are open.
#[derive(Default)]
pub(super) struct Turns {
    open: HashMap<Id, (Turn, AbortHandle)>,
}

impl Turns {
    pub(super) fn add(&mut self, turn: Turn, task: AbortHandle) {
        self.open.insert(task.id(), (turn, task));
    }

    pub(super) fn remove(&mut self, task: Id) {
        self.open.remove(&task);
    }

    /// Ends the connection whose client has kept us waiting for longest; false where none has for long.
    pub(super) fn end_slowest(&mut self) -> bool {
        let waiting = self.open.iter().filter_map(|(id, (turn, task))| {
            let waited = turn.waited().filter(|_| !task.is_finished())?;
            (waited >= PATIENCE).then_some((waited, *id))
        });
        let slowest = waiting.max_by_key(|(waited, _)| *waited);
        let Some((_, task)) = slowest.and_then(|(_, id)| self.open.remove(&id)) else {
            return false;
        };
        task.abort();
        true
    }
}

/// The body of an answer: the client has the turn whenever there is something for it to take.
pub(super) struct TurnBody {
    body: Body,
    turn: Turn,
}

impl TurnBody {
    pub(super) fn of(body: Body, turn: Turn) -> TurnBody {
        TurnBody { body, turn }
    }
}

impl HttpBody for TurnBody {
    type Data = Bytes;
    type Error = axum::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, axum::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        match polled {
            Poll::Pending => self.turn.take(),
            Poll::Ready(_) => self.turn.give(),
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}

impl Drop for TurnBody {
    fn drop(&mut self) {
        self.turn.give();
    }
}
