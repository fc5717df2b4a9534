//! Sends again the messages that nobody had acknowledged before the stop.

use std::sync::Arc;

use tracing::{info, warn};

use crate::carrier::store::{KeptMessage, Store, WEBHOOK_TOPIC};
use crate::metrics::Class;
use crate::mqtt::{Message, Out};
use crate::webhook::WebhookQueue;

/// Publishes again the messages that had no PUBACK before the stop.
pub(super) fn republish(out: &Out, messages: &[KeptMessage]) {
    let for_broker = messages.iter().filter(|m| m.topic != WEBHOOK_TOPIC);
    out.push_all(for_broker.map(|message| Message {
        topic: message.topic.as_str().into(),
        payload: message.payload.clone().into(),
        qos: 1,
        retain: message.retain,
        class: Class::Anomaly,
        arrived: None,
        kept: Some(message.id),
    }));
}

/// Posts again the messages that the webhook had not taken before the stop.
pub(super) fn repost(
    queue: Option<&WebhookQueue>,
    messages: &[KeptMessage],
    store: &Arc<dyn Store>,
) {
    let waiting = messages.iter().filter(|m| m.topic == WEBHOOK_TOPIC);
    let waiting: Vec<&KeptMessage> = waiting.collect();
    if waiting.is_empty() {
        return;
    }
    let Some(queue) = queue else {
        warn!(
            incidents = waiting.len(),
            "there is no webhook any more: what waited for it is dropped"
        );
        return waiting
            .iter()
            .for_each(|message| store.delivered(message.id));
    };
    info!(incidents = waiting.len(), "goes on posting to the webhook");
    for message in waiting {
        if let Some(given_up) = queue.push(Some(message.id), message.payload.clone()) {
            given_up.kept.into_iter().for_each(|id| store.delivered(id));
        }
    }
}
