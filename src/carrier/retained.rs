//! Outputs that an MQTT client is to have retained: they wait in a stream of their own until one of the workers
//! has published them to the server's MQTT listener.
//!
//! nats-server retains what MQTT clients publish and nothing else. The stream drops repetitions by their id, as
//! that of the other outputs does, and gives one message at a time to one of the workers: so their order stands.

use std::time::Duration;

use async_nats::jetstream::consumer::{AckPolicy, PullConsumer, pull};
use async_nats::jetstream::context::PublishAckFuture;
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::stream::{self, RetentionPolicy};
use async_nats::jetstream::{self, AckKind, Context};
use futures_util::StreamExt;

use super::answers::away;
use super::{CarrierError, subject_of_topic};
use crate::config::ClusterSettings;
use crate::metrics::Class;
use crate::mqtt::Message;

/// Name of the consumer that the workers share.
const CONSUMER: &str = "mqtt";
/// Header with the topic, of which the subject does not say all.
const TOPIC: &str = "Spiked-Topic";
/// A worker that took a message and is gone has it no longer than this.
const TAKEN: Duration = Duration::from_secs(5);
/// Longest wait for the next message.
const PATIENCE: Duration = Duration::from_millis(500);

fn name_of_stream(settings: &ClusterSettings) -> String {
    format!("{}-retained", settings.name)
}

/// The stream of the outputs to retain.
pub(super) fn stream_config(settings: &ClusterSettings) -> stream::Config {
    stream::Config {
        name: name_of_stream(settings),
        subjects: vec![format!("{}-retain.>", settings.name)],
        retention: RetentionPolicy::WorkQueue,
        max_age: settings.journal_age,
        num_replicas: settings.replicas,
        ..stream::Config::default()
    }
}

/// An MQTT client is to have the message retained. Predictions are too many for that.
pub(super) fn is_retained(settings: &ClusterSettings, message: &Message) -> bool {
    settings.retain_over_mqtt && message.retain && message.class != Class::Prediction
}

/// Puts a message into the stream. `id` drops its repetitions.
pub(super) async fn put(
    context: &Context,
    settings: &ClusterSettings,
    message: &Message,
    id: Option<String>,
) -> Result<PublishAckFuture, CarrierError> {
    let subject = subject_of_topic(&message.topic);
    let subject = format!("{}-retain.{subject}", settings.name);
    let mut build = PublishMessage::build()
        .payload(message.payload.clone().into())
        .header(TOPIC, &*message.topic);
    if let Some(id) = id {
        build = build.message_id(id);
    }
    context.send_publish(subject, build).await.map_err(away)
}

/// Outputs that wait to be retained.
pub struct RetainedQueue {
    consumer: PullConsumer,
}

/// One of them. It comes again where [`RetainedOutput::done`] is not called.
pub struct RetainedOutput {
    /// As it is to be published.
    pub message: Message,
    taken: jetstream::Message,
}

impl RetainedQueue {
    pub(super) async fn open(
        context: &Context,
        settings: &ClusterSettings,
    ) -> Result<RetainedQueue, CarrierError> {
        let stream = context.get_stream(name_of_stream(settings)).await;
        let config = pull::Config {
            durable_name: Some(CONSUMER.to_owned()),
            ack_policy: AckPolicy::Explicit,
            ack_wait: TAKEN,
            max_ack_pending: 1,
            ..pull::Config::default()
        };
        let stream = stream.map_err(away)?;
        let consumer = stream.get_or_create_consumer(CONSUMER, config).await;
        consumer
            .map(|consumer| RetainedQueue { consumer })
            .map_err(away)
    }

    /// The next one; `None` where none comes for a while.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn next(&self) -> Result<Option<RetainedOutput>, CarrierError> {
        let fetch = self.consumer.fetch().max_messages(1).expires(PATIENCE);
        let mut messages = fetch.messages().await.map_err(away)?;
        let Some(taken) = messages.next().await else {
            return Ok(None);
        };
        let taken = taken.map_err(away)?;
        let topic = taken.headers.as_ref().and_then(|all| all.get(TOPIC));
        let topic = topic.map(|topic| topic.as_str().into());
        let topic = topic.ok_or_else(|| away("a message without a topic"))?;
        let message = Message {
            topic,
            payload: taken.payload.to_vec(),
            qos: 1,
            retain: true,
            class: Class::Status,
            arrived: None,
            kept: None,
        };
        Ok(Some(RetainedOutput { message, taken }))
    }
}

impl RetainedOutput {
    /// The listener has acknowledged it.
    ///
    /// # Errors
    /// If the server does not answer: then it comes again.
    pub async fn done(self) -> Result<(), CarrierError> {
        let acknowledged = tokio::time::timeout(TAKEN, self.taken.double_ack()).await;
        acknowledged.map_err(away)?.map_err(away)
    }

    /// It could not be published: another worker may have it.
    pub async fn give_back(self) {
        // Without an answer it comes again after a while.
        let _ = self.taken.ack_with(AckKind::Nak(None)).await;
    }
}
