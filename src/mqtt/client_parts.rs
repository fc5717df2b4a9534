//! The parts that the polling and the sending task of a client share.

use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::time::Duration;

use tokio::sync::watch;

use super::Link;
use super::out::Out;
use super::queue::Intake;
use super::subscriptions::Subscriptions;
use crate::status::{ConnectionRole, Status};

/// Told the number of each acknowledged message that is kept on disk.
pub type OnDelivered = Box<dyn Fn(u64) + Send + Sync>;

/// How far the end has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// Not at all.
    Running,
    /// Say goodbye.
    Disconnect,
    /// End.
    Now,
}

/// Ends when the end has come as far as `stage`.
pub(super) async fn reached(stop: &mut watch::Receiver<Stop>, stage: Stop) {
    // An error means that every handle is gone: nobody waits for an answer any more.
    let _ = stop.wait_for(|now| *now == stage).await;
}

/// A connection that is open.
#[derive(Clone)]
pub(super) struct OpenLink<S> {
    pub epoch: u64,
    pub sender: S,
}

/// The connection that there is, as the polling task tells the sending one: the last word is all that
/// counts.
pub(super) type Connected<S> = Option<OpenLink<S>>;

/// One client: how it connects, and where messages come from and go to.
pub(super) struct ClientParts<L: Link> {
    pub(super) side: ConnectionRole,
    pub(super) options: L::Options,
    pub(super) subscriptions: Subscriptions,
    pub(super) status_topic: Option<Arc<str>>,
    pub(super) reconnect_max: Duration,
    pub(super) intake: Intake,
    pub(super) max_payload_bytes: usize,
    pub(super) acks_at_once: bool,
    pub(super) out: Out,
    pub(super) shared: Arc<Status>,
    pub(super) epoch: AtomicU64,
    pub(super) delivered: OnDelivered,
}
