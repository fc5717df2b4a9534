//! Publishes the outputs that are to be retained to the MQTT listener of the cluster's server, as an MQTT client.

use std::pin::pin;
use std::sync::{Arc, Mutex};
use std::time::Instant;

use rand::RngExt;
use tokio::sync::watch;
use tracing::{info, warn};

use crate::carrier::jetstream::JetStream;
use crate::carrier::{CarrierError, SharedCarrier};
use crate::config::MqttSettings;
use crate::mqtt::backoff::Backoff;
use crate::mqtt::{Event, Link, LinkError, LinkOptions, LinkSender, Message, V4};
use crate::status::lock;

/// Largest packet that is received, bytes: nothing is subscribed to.
const LIMIT: usize = 1 << 16;

/// Why retained outputs wait, where they do.
pub(super) type RetainingTrouble = Arc<Mutex<Option<String>>>;

/// Parts that it works with.
pub(super) struct Retaining {
    pub(super) carrier: Arc<JetStream>,
    /// The listener.
    pub(super) mqtt: MqttSettings,
    /// Topic that says that a worker is there.
    pub(super) status_topic: Arc<str>,
    pub(super) trouble: RetainingTrouble,
    /// True when the end has come: what waits is published before.
    pub(super) stop: watch::Receiver<bool>,
}

/// One connection to the listener.
struct Listener {
    sender: <V4 as Link>::Sender,
    link: V4,
}

impl Listener {
    async fn connect(options: &LinkOptions) -> Result<Listener, LinkError> {
        let (sender, link) = V4::open(options, LIMIT)?;
        let mut listener = Listener { sender, link };
        listener
            .wait_for(|event| matches!(event, Event::Connected { .. }))
            .await?;
        Ok(listener)
    }

    async fn wait_for(&mut self, is_it: impl Fn(&Event) -> bool) -> Result<(), LinkError> {
        while !is_it(&self.link.next(&mut Vec::new(), true).await?) {}
        Ok(())
    }

    /// Publishes a message and waits for its acknowledgement.
    async fn publish(&mut self, message: Message) -> Result<(), LinkError> {
        self.sender.publish(message).await?;
        self.wait_for(|event| matches!(event, Event::Acknowledged(_)))
            .await
    }
}

fn lost(error: CarrierError) -> LinkError {
    LinkError::Lost(error.to_string())
}

impl Retaining {
    /// Publishes until the end has come and nothing waits.
    pub(super) async fn run(mut self) {
        let mut mqtt = self.mqtt.clone();
        let worker = self.carrier.worker().replace('.', "-");
        mqtt.client_id = format!("{}-{worker}", mqtt.client_id);
        let options = LinkOptions {
            mqtt,
            status_topic: None,
            clean_session: true,
        };
        let mut backoff = Backoff::new(self.mqtt.reconnect_max);
        while !*self.stop.borrow_and_update() {
            let begin = Instant::now();
            let ended = tokio::select! {
                ended = self.one_connection(&options) => ended,
                // One that is not there is not waited for.
                () = self.stopped_without_connection() => return,
            };
            let Err(error) = ended else { return };
            backoff.lost(Some(begin.elapsed()));
            if matches!(error, LinkError::Refused(_) | LinkError::Settings(_)) {
                backoff.refused();
            }
            let (host, port) = (&self.mqtt.host, self.mqtt.port);
            let said = format!("retained outputs wait for mqtt.url, {host}:{port}: {error}");
            if lock(&self.trouble).replace(said.clone()).as_ref() != Some(&said) {
                warn!("{said}");
            }
            let wait = backoff.wait(rand::rng().random::<f64>());
            let _ = tokio::time::timeout(wait, self.stop.wait_for(|stop| *stop)).await;
        }
    }

    /// Ends when the end has come while there is no connection.
    async fn stopped_without_connection(&self) {
        let mut stop = self.stop.clone();
        // An error means that nobody waits any more.
        let _ = stop.wait_for(|stop| *stop).await;
        if lock(&self.trouble).is_none() {
            std::future::pending::<()>().await;
        }
    }

    /// Keeps one connection until it ends, or until the end has come and nothing waits.
    async fn one_connection(&self, options: &LinkOptions) -> Result<(), LinkError> {
        let mut listener = Listener::connect(options).await?;
        let queue = self.carrier.retained().await.map_err(lost)?;
        listener
            .publish(Message::status(&self.status_topic, "online"))
            .await?;
        *lock(&self.trouble) = None;
        info!("retained outputs go to the MQTT listener");
        loop {
            let is_end = *self.stop.borrow();
            let mut delivered = Vec::new();
            let next = {
                let mut next = pin!(queue.next());
                loop {
                    tokio::select! {
                        next = &mut next => break next.map_err(lost)?,
                        event = listener.link.next(&mut delivered, true) => event.map(drop)?,
                    }
                }
            };
            let Some(output) = next else {
                if is_end {
                    listener.sender.disconnect().await?;
                    return listener
                        .wait_for(|event| matches!(event, Event::Goodbye))
                        .await;
                }
                continue;
            };
            if let Err(error) = listener.publish(output.message.clone()).await {
                output.give_back().await;
                return Err(error);
            }
            output.done().await.map_err(lost)?;
        }
    }
}
