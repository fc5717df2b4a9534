//! The way out in a cluster: takes the outbox's messages to the carrier, and says when all of those that
//! were there have been acknowledged.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use crate::carrier::SharedCarrier;
use crate::metrics::Class;
use crate::mqtt::Out;
use crate::progress::BEAT_EVERY;
use crate::status::Status;

/// Wait before messages that were not taken are published again.
const AGAIN: Duration = Duration::from_millis(100);

/// Asks for the outputs so far to be published.
#[derive(Clone, Debug)]
pub(super) struct OutletFlush(mpsc::UnboundedSender<oneshot::Sender<()>>);

impl OutletFlush {
    /// To the other end of `asked`.
    pub(super) fn new(asks: mpsc::UnboundedSender<oneshot::Sender<()>>) -> OutletFlush {
        OutletFlush(asks)
    }

    /// Waits until all messages that are in the outbox now are acknowledged. False where nobody sees to it
    /// any more.
    pub(super) async fn flushed(&self) -> bool {
        let (done, is_done) = oneshot::channel();
        self.0.send(done).is_ok() && is_done.await.is_ok()
    }
}

/// Publishes on and on.
pub(super) async fn publish_all<C: SharedCarrier>(
    carrier: Arc<C>,
    out: Out,
    mut asked: mpsc::UnboundedReceiver<oneshot::Sender<()>>,
    shared: Arc<Status>,
) {
    let pulse = shared.pulses.add("outlet");
    let mut asks = Vec::new();
    loop {
        pulse.beat();
        tokio::select! {
            () = out.rung() => {}
            ask = asked.recv() => match ask {
                Some(ask) => asks.push(ask),
                None => return pulse.end(),
            },
            () = tokio::time::sleep(BEAT_EVERY) => {}
        }
        while let Ok(ask) = asked.try_recv() {
            asks.push(ask);
        }
        // Whoever has asked by now has put its messages in before.
        let messages = out.take_all();
        let mut is_told = false;
        while let Err(error) = carrier.publish(&messages).await {
            pulse.beat();
            if !is_told {
                warn!(%error, messages = messages.len(), "outputs wait");
                is_told = true;
            }
            shared.metrics.resent.inc_by(messages.len() as u64);
            tokio::time::sleep(AGAIN).await;
        }
        for message in &messages {
            shared.metrics.published(message.class);
            if let (Class::Prediction, Some(arrived)) = (message.class, message.arrived) {
                shared.metrics.latency(arrived.elapsed());
            }
        }
        for ask in asks.drain(..) {
            // Nobody waits any more where the daemon is about to stop.
            let _ = ask.send(());
        }
    }
}
