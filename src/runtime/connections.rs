//! The ways in and out of the daemon: two connections to a broker, or the membership of a cluster.

use std::sync::Arc;

use tokio::sync::{mpsc, watch};
use tokio::time::Instant;
use tracing::warn;

use super::ServeError;
use super::engine_panic::EnginePanic;
use super::filters::{broker_figures, filters, optional_filters};
use super::holding::IntakeWays;
use crate::carrier::store::Store;
use crate::config::{MqttSettings, Protocol, Settings};
use crate::mqtt::outbox::Outbox;
use crate::mqtt::{
    self, Ack, Client, ClientHandles, Filters, Intake, Link, LinkOptions, Out, V4, V5,
};
use crate::status::{ConnectionRole, Status};

/// The ways in and out.
pub(super) struct Clients {
    /// Messages to publish go here.
    pub(super) out: Out,
    /// Acknowledgements go here.
    pub(super) acks: mpsc::UnboundedSender<Vec<Ack>>,
    /// Topics subscribed to.
    pub(super) filters: watch::Sender<Filters>,
    /// Panics of engines go here, in a cluster.
    pub(super) panics: Option<mpsc::UnboundedSender<EnginePanic>>,
    ways: Ways,
}

/// Ways by which messages come and go.
enum Ways {
    /// Two connections to the broker: one receives, one publishes.
    Broker(ClientHandles, ClientHandles),
    /// The membership of a cluster.
    #[cfg(feature = "jetstream")]
    Cluster(super::cluster::ClusterHandles),
}

/// Filters of the messages that belong into the journal of a cluster.
#[cfg(feature = "jetstream")]
fn journal_filters(settings: &Settings) -> Vec<String> {
    let inputs = settings.inputs.iter().map(|i| i.pattern.topic_filter());
    let others = optional_filters(settings)
        .into_iter()
        .map(|(filter, _)| filter);
    inputs.chain(others).collect()
}

impl Clients {
    pub(super) async fn start(
        settings: &Settings,
        ways: &IntakeWays,
        store: &Arc<dyn Store>,
        may_connect: watch::Receiver<bool>,
    ) -> Result<Clients, ServeError> {
        if settings.cluster.is_some() {
            return Clients::join(settings, ways, may_connect).await;
        }
        warn_of_plain_password(&settings.mqtt);
        let connect = match settings.mqtt.protocol {
            Protocol::V3 => Clients::connect::<V4>,
            Protocol::V5 => Clients::connect::<V5>,
        };
        connect(settings, ways, store.clone(), may_connect)
    }

    #[cfg(feature = "jetstream")]
    async fn join(
        settings: &Settings,
        ways: &IntakeWays,
        may_connect: watch::Receiver<bool>,
    ) -> Result<Clients, ServeError> {
        use super::cluster::ClusterHandles;
        let filters = journal_filters(settings);
        let handles = ClusterHandles::start(settings, &filters, ways, may_connect).await?;
        Ok(Clients {
            out: handles.out.clone(),
            // Nobody waits for acknowledgements, and the subjects are those of the start.
            acks: mpsc::unbounded_channel().0,
            filters: watch::channel(Filters::default()).0,
            panics: Some(handles.panics.clone()),
            ways: Ways::Cluster(handles),
        })
    }

    #[cfg(not(feature = "jetstream"))]
    async fn join(
        _: &Settings,
        _: &IntakeWays,
        _: watch::Receiver<bool>,
    ) -> Result<Clients, ServeError> {
        Err(ServeError::Cluster(
            "this program was built without the feature jetstream".to_owned(),
        ))
    }

    fn connect<L: Link<Options = LinkOptions>>(
        settings: &Settings,
        ways: &IntakeWays,
        store: Arc<dyn Store>,
        may_connect: watch::Receiver<bool>,
    ) -> Result<Clients, ServeError> {
        let shared = &ways.shared;
        let output = &settings.output;
        let status_topic = format!("{}/{}/status", output.prefix, output.instance);
        let options = LinkOptions {
            mqtt: settings.mqtt.clone(),
            status_topic: None,
            clean_session: false,
        };
        // Settings that cannot be used now will not be usable at the next attempt.
        L::open(&options, 0).map_err(|error| ServeError::Mqtt(error.to_string()))?;
        let incoming = mqtt::start::<L>(Client {
            side: ConnectionRole::Subscriber,
            options,
            filters: Filters {
                needed: filters(&settings.inputs),
                optional: optional_filters(settings),
                former: Vec::new(),
            },
            status_topic: None,
            reconnect_max: settings.mqtt.reconnect_max,
            intake: ways.intake.clone(),
            max_payload_bytes: settings.mqtt.max_payload_bytes,
            acks_at_once: !store.groups_commits(),
            outbox: Outbox::new(1, 1),
            shared: shared.clone(),
            may_connect: may_connect.clone(),
            delivered: Box::new(|_| {}),
        });
        let mut mqtt = settings.mqtt.clone();
        mqtt.client_id.push_str("-out");
        let outgoing = mqtt::start::<L>(Client {
            side: ConnectionRole::Publisher,
            options: LinkOptions {
                mqtt,
                status_topic: Some(status_topic.clone()),
                // The outbox is all the session there is.
                clean_session: true,
            },
            filters: Filters {
                // Here no backlog of readings stands before the broker's figures.
                optional: broker_figures(settings),
                ..Filters::default()
            },
            status_topic: Some(status_topic.into()),
            reconnect_max: settings.mqtt.reconnect_max,
            intake: Intake::new(1, settings.runtime.overload),
            max_payload_bytes: settings.mqtt.max_payload_bytes,
            acks_at_once: false,
            outbox: Outbox::new(output.outbox_messages, output.in_flight),
            shared: shared.clone(),
            may_connect,
            delivered: Box::new(move |id| store.delivered(id)),
        });
        Ok(Clients {
            out: outgoing.out.clone(),
            acks: incoming.acks.clone(),
            filters: incoming.filters.clone(),
            panics: None,
            ways: Ways::Broker(incoming, outgoing),
        })
    }

    /// Gives up what this worker of a cluster has. Returns whether all of it was in time.
    #[cfg_attr(
        not(feature = "jetstream"),
        expect(unused_variables, reason = "no cluster")
    )]
    pub(super) async fn leave(&mut self, deadline: Instant) -> bool {
        match &mut self.ways {
            Ways::Broker(..) => true,
            #[cfg(feature = "jetstream")]
            Ways::Cluster(handles) => handles.leave(deadline).await,
        }
    }

    /// Flushes what waits, says `offline` and disconnects. Returns whether everything was
    /// acknowledged in time.
    pub(super) async fn finish(self, deadline: Instant, shared: &Status) -> bool {
        match self.ways {
            Ways::Broker(incoming, outgoing) => {
                let incoming = incoming.finish(deadline, shared).await;
                outgoing.finish(deadline, shared).await && incoming
            }
            #[cfg(feature = "jetstream")]
            Ways::Cluster(handles) => handles.finish(deadline).await,
        }
    }
}

/// Says so where a password goes over the network as it is.
fn warn_of_plain_password(mqtt: &MqttSettings) {
    let is_local = mqtt.host == "localhost"
        || (mqtt.host.parse::<std::net::IpAddr>()).is_ok_and(|address| address.is_loopback());
    if !mqtt.password.is_empty() && mqtt.tls.is_none() && !is_local {
        warn!(
            host = mqtt.host,
            "the password goes over the network unencrypted: use mqtts://"
        );
    }
}
