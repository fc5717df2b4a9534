//! Posts edges of incidents to a URL, in order and at least once, for those who have no MQTT alarm path.
//!
//! | file | does |
//! |---|---|
//! | `queue` | what waits: bounded, the oldest is given up first |
//! | `request` | one POST over HTTP/1.1, with TLS where the URL asks for it |
//! | `signature` | identifier, time and HMAC-SHA256 as the Standard Webhooks specification has them |
//!
//! A message is written to the state file together with its incident's edge, and leaves it when the
//! receiver has answered with 2xx, or refused it for good. One that waits at a stop is posted after the
//! next start. A receiver may see a message twice, under one `webhook-id`.

mod queue;
mod request;
mod signature;

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::{error, info, warn};

pub use queue::{Pending, WebhookQueue};

use crate::config::WebhookSettings;
use crate::mqtt::backoff::Backoff;
use crate::status::Status;
use request::{Failure, Receiver};
use signature::Signer;

/// Told the number of each message that need not be kept any more.
pub type OnDone = Box<dyn Fn(u64) + Send + Sync>;

/// Says what became of a message, for the metric's label.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Attempt {
    Delivered,
    Refused,
    Failed,
}

impl Attempt {
    fn as_str(self) -> &'static str {
        match self {
            Attempt::Delivered => "delivered",
            Attempt::Refused => "refused",
            Attempt::Failed => "failed",
        }
    }
}

/// The task that posts what the queue holds.
#[derive(Debug)]
pub struct Webhook {
    stop: watch::Sender<bool>,
    task: JoinHandle<()>,
}

impl Webhook {
    /// Starts posting.
    ///
    /// # Errors
    /// If the trust anchors cannot be used.
    pub fn start(
        settings: &WebhookSettings,
        queue: WebhookQueue,
        status: Arc<Status>,
        done: OnDone,
    ) -> Result<Webhook, String> {
        let poster = Poster {
            target: Receiver::new(settings)?,
            signer: Signer::new(&settings.secret),
            backoff: Backoff::new(settings.retry_max),
            queue,
            status,
            done,
            failing: None,
        };
        let (stop, stopped) = watch::channel(false);
        Ok(Webhook {
            stop,
            task: tokio::spawn(poster.run(stopped)),
        })
    }

    /// Ends once the message that is on its way has been answered, and where nothing is kept on disk once
    /// all have; at the deadline at the latest.
    pub async fn finish(self, deadline: Instant) {
        // The task may have ended by itself.
        let _ = self.stop.send(true);
        let abort = self.task.abort_handle();
        if tokio::time::timeout_at(deadline, self.task).await.is_err() {
            abort.abort();
        }
    }
}

struct Poster {
    target: Receiver,
    signer: Signer,
    backoff: Backoff,
    queue: WebhookQueue,
    status: Arc<Status>,
    done: OnDone,
    /// Since when attempts have failed.
    failing: Option<Instant>,
}

impl Poster {
    async fn run(mut self, mut stop: watch::Receiver<bool>) {
        loop {
            let Some(message) = self.queue.first() else {
                tokio::select! {
                    () = self.queue.wait() => continue,
                    _ = stop.wait_for(|stop| *stop) => return,
                }
            };
            if *stop.borrow() && (message.kept.is_some() || self.failing.is_some()) {
                return;
            }
            let answer = self.post(&message).await;
            let wait = self.take(&message, answer);
            tokio::select! {
                () = tokio::time::sleep(wait) => {}
                _ = stop.wait_for(|stop| *stop) => {}
            }
        }
    }

    async fn post(&self, message: &Pending) -> Result<(), Failure> {
        let seconds = unix_s();
        let mut headers = vec![("content-type", "application/json".to_owned())];
        headers.extend(self.signer.headers(&message.body, seconds));
        self.target.post(&headers, message.body.clone()).await
    }

    /// Notes the answer to a message; returns the wait before the next attempt.
    fn take(&mut self, message: &Pending, answer: Result<(), Failure>) -> Duration {
        let host = self.target.host();
        let (attempt, wait) = match answer {
            Ok(()) => {
                if let Some(since) = self.failing.take() {
                    let after_s = since.elapsed().as_secs();
                    info!(host, after_s, "the webhook takes messages again");
                }
                self.backoff.lost(Some(Duration::MAX));
                (Attempt::Delivered, Duration::ZERO)
            }
            Err(Failure::Refused(reason)) => {
                error!(host, reason, "the webhook refuses an incident for good");
                (Attempt::Refused, Duration::ZERO)
            }
            Err(Failure::Later(reason)) => {
                if self.failing.is_none() {
                    self.failing = Some(Instant::now());
                    warn!(
                        host,
                        reason, "the webhook does not take an incident: it is tried again"
                    );
                }
                (Attempt::Failed, self.backoff.wait(rand::random()))
            }
        };
        self.status.metrics.webhook_attempt(attempt.as_str());
        if attempt != Attempt::Failed && self.queue.remove(message) {
            message.kept.into_iter().for_each(&self.done);
        }
        self.status.metrics.set_queue("webhook", self.queue.len());
        wait
    }
}

fn unix_s() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |since| since.as_secs())
}
