//! The ways in and out of a worker in a cluster: what the two connections to a broker are otherwise.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tracing::error;

use super::ServeError;
use super::engine_panic::EnginePanic;
use super::holding::IntakeWays;
use super::membership::Membership;
use super::outlet::{OutletFlush, publish_all};
use super::retaining::{Retaining, RetainingTrouble};
use crate::carrier::jetstream::JetStream;
use crate::config::Settings;
use crate::mqtt::outbox::Outbox;
use crate::mqtt::{Message, Out};
use crate::status::lock;

/// A running membership of a cluster.
pub(super) struct ClusterHandles {
    /// Messages to publish go here.
    pub(super) out: Out,
    /// Panics of engines go here.
    pub(super) panics: mpsc::UnboundedSender<EnginePanic>,
    flush: OutletFlush,
    stop: watch::Sender<bool>,
    membership: JoinHandle<()>,
    outlet: JoinHandle<()>,
    retaining: Option<(watch::Sender<bool>, JoinHandle<()>)>,
}

impl ClusterHandles {
    /// Begins to connect; `filters` are of the messages that belong into the journal.
    pub(super) async fn start(
        settings: &Settings,
        filters: &[String],
        ways: &IntakeWays,
        may_begin: watch::Receiver<bool>,
    ) -> Result<ClusterHandles, ServeError> {
        let (output, shared) = (&settings.output, &ways.shared);
        let own_topic = format!("{}/{}", output.prefix, output.instance);
        let cluster = settings.cluster.as_ref();
        let cluster = cluster.ok_or_else(|| ServeError::Cluster("there is none".to_owned()))?;
        let carrier = JetStream::connect(cluster, filters, &own_topic).await;
        let carrier = Arc::new(carrier.map_err(|error| ServeError::Cluster(error.to_string()))?);
        let out = Out::new(Outbox::new(output.outbox_messages, 1), shared.clone());
        let (asks, asked) = mpsc::unbounded_channel();
        let flush = OutletFlush::new(asks);
        let (panics, panicked) = mpsc::unbounded_channel();
        let (stop, stopped) = watch::channel(false);
        let status_topic: Arc<str> = format!("{own_topic}/status").into();
        let trouble = RetainingTrouble::default();
        let retaining = cluster.retain_over_mqtt.then(|| {
            let (stop, stopped) = watch::channel(false);
            *lock(&trouble) = Some("the MQTT listener is not reached yet".to_owned());
            let retaining = Retaining {
                carrier: carrier.clone(),
                mqtt: settings.mqtt.clone(),
                status_topic: status_topic.clone(),
                trouble: trouble.clone(),
                stop: stopped,
            };
            (stop, tokio::spawn(retaining.run()))
        });
        let membership = Membership {
            carrier: carrier.clone(),
            settings: cluster.clone(),
            params: settings.stream_params().clone(),
            n_workers: settings.runtime.workers,
            ways: ways.clone(),
            flush: flush.clone(),
            farewell: (cluster.retain_over_mqtt).then(|| Message::status(&status_topic, "offline")),
            out: out.clone(),
            retaining: trouble,
            panicked,
            shared: shared.clone(),
            may_begin,
            stop: stopped,
        };
        Ok(ClusterHandles {
            outlet: tokio::spawn(publish_all(carrier, out.clone(), asked, shared.clone())),
            membership: tokio::spawn(membership.run()),
            out,
            panics,
            flush,
            stop,
            retaining,
        })
    }

    /// Gives up what this worker has, in order, until `deadline` at the latest. Returns whether all of it
    /// was.
    pub(super) async fn leave(&mut self, deadline: Instant) -> bool {
        let _ = self.stop.send(true);
        let left = tokio::time::timeout_at(deadline, &mut self.membership).await;
        if left.is_err() {
            self.membership.abort();
            error!("the partitions are not handed over within the grace period");
        }
        matches!(left, Ok(Ok(())))
    }

    /// Publishes what waits, until `deadline` at the latest. Returns whether all of it was.
    pub(super) async fn finish(self, deadline: Instant) -> bool {
        let flushed = tokio::time::timeout_at(deadline, self.flush.flushed()).await;
        if let Some((stop, mut retaining)) = self.retaining {
            // An error means that it has ended.
            let _ = stop.send(true);
            if tokio::time::timeout_at(deadline, &mut retaining)
                .await
                .is_err()
            {
                retaining.abort();
            }
        }
        drop(self.flush);
        let mut outlet = self.outlet;
        if tokio::time::timeout(Duration::from_millis(500), &mut outlet)
            .await
            .is_err()
        {
            outlet.abort();
        }
        matches!(flushed, Ok(true))
    }
}
