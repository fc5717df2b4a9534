//! Publishes what a worker has to say of its streams: messages go to the outbox together while readings
//! keep coming, and predictions of a stream no more often than is wanted.

use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tracing::error;

use super::slot::{Said, StreamRuntime};
use super::worker::Worker;
use crate::carrier::store::{Store, WEBHOOK_TOPIC};
use crate::config::Overload;
use crate::metrics::Class;
use crate::mqtt::{Message, Out};
use crate::payload::{Discovery, add_via, anomaly_json};
use crate::progress;
use crate::row::{IncidentEdge, Outcome, StreamId};
use crate::status::{ConnectionRole, Status};
use crate::webhook::Pending;

/// Messages that gather while readings keep coming, at most.
const MAX_PENDING: usize = 32;
/// Pause while the outbox is full.
const FULL_PAUSE: Duration = Duration::from_millis(1);

impl Worker {
    /// Hands over what is to be published.
    pub(super) fn flush(&mut self) {
        if !self.pending.is_empty() {
            self.out.push_all(self.pending.drain(..));
        }
    }

    /// The same, while readings keep coming only where much has gathered; and what has been held back
    /// for long enough.
    pub(super) fn flush_if_due(&mut self) {
        while self
            .held
            .front()
            .is_some_and(|(due, _)| *due <= Instant::now())
            && let Some((_, name)) = self.held.pop_front()
        {
            self.publish_prediction(&name);
        }
        if self.rx.is_empty() || self.pending.len() >= MAX_PENDING {
            self.flush();
        }
    }

    /// All that is to be published.
    pub(super) fn flush_all(&mut self) {
        while let Some((_, name)) = self.held.pop_front() {
            self.publish_prediction(&name);
        }
        self.flush();
    }

    /// Time until a prediction that is held back is due.
    pub(super) fn until_due(&self) -> Duration {
        let next = self.held.front();
        next.map_or(Duration::MAX, |(due, _)| {
            due.saturating_duration_since(Instant::now())
        })
    }

    /// Takes an outcome of a reading that was learned before the start as well: only an incident's edge
    /// that is not on record is news.
    pub(super) fn replay(&mut self, name: &StreamId, outcome: Outcome) {
        let news = outcome
            .edge
            .as_ref()
            .is_some_and(|edge| !self.told.knows(name, edge));
        if news {
            self.publish_anomaly(name, &outcome, None);
        }
        let Some(slot) = self.streams.get_mut(name) else {
            return;
        };
        slot.record(&self.shared, &outcome);
        slot.note_edge(outcome.edge.as_ref());
        if !outcome.channels.is_empty()
            && let Some(before) = slot.last.replace(outcome)
        {
            slot.stream.recycle(before);
        }
    }

    pub(super) fn publish(&mut self, name: &StreamId, outcome: Outcome, arrived: Instant) {
        self.end_silence(name, &outcome);
        let Some(slot) = self.streams.get_mut(name) else {
            return;
        };
        slot.record(&self.shared, &outcome);
        // No row, but an operator's instruction.
        if outcome.channels.is_empty() {
            return self.publish_anomaly(name, &outcome, Some(arrived));
        }
        if let Some(observer) = &self.observer {
            observer(name, &outcome);
        }
        let wait = slot.predicted.map_or(Duration::ZERO, |at| {
            self.output.prediction_interval.saturating_sub(at.elapsed())
        });
        let waits = slot.unsaid.replace(arrived).is_some();
        if waits {
            self.shared.metrics.predictions_superseded.inc();
        }
        self.publish_anomaly(name, &outcome, Some(arrived));
        if let Some(slot) = self.streams.get_mut(name)
            && let Some(before) = slot.last.replace(outcome)
        {
            slot.stream.recycle(before);
        }
        if wait.is_zero() {
            self.publish_prediction(name);
        } else if !waits {
            self.held.push_back((Instant::now() + wait, name.clone()));
        }
    }

    /// Publishes the last row of a stream, where that has not been done.
    fn publish_prediction(&mut self, name: &StreamId) {
        if self.output.overload == Overload::Block {
            self.flush();
            wait_for_room(&self.out, &self.shared);
        }
        let Some(slot) = self.streams.get_mut(name) else {
            return;
        };
        let (Some(outcome), Some(arrived)) = (&slot.last, slot.unsaid.take()) else {
            return;
        };
        if !self.output.prediction_interval.is_zero() {
            slot.predicted = Some(Instant::now());
        }
        let channels = slot.stream.channels();
        let seq = slot.stream.last_seq();
        let via = self.shared.via(name);
        for form in &self.output.forms {
            let mut payload = String::with_capacity(128 + channels.len() * 128);
            form.write(name, channels, outcome, seq, &mut payload);
            if let Some(via) = &via {
                add_via(*form, via, &mut payload);
            }
            let topic = match form.level() {
                None => slot.prediction_topic.clone(),
                Some(level) => format!("{}/{level}", slot.prediction_topic).into(),
            };
            self.pending.push(Message {
                topic,
                payload: payload.into_bytes(),
                qos: self.output.predictions_qos,
                retain: self.output.predictions_retain,
                class: Class::Prediction,
                arrived: Some(arrived),
                kept: None,
            });
        }
        if !self.output.home_assistant.is_empty() {
            self.announce(name);
        }
    }

    /// Announces a stream to Home Assistant, where it has channels that are not announced or Home
    /// Assistant has started anew.
    fn announce(&mut self, name: &StreamId) {
        let Some(slot) = self.streams.get_mut(name) else {
            return;
        };
        let now = (slot.stream.channels().len(), self.shared.announce_round());
        if slot.announced == now {
            return;
        }
        slot.announced = now;
        let own = format!("{}/{}", self.output.prefix, self.output.instance);
        let discovery = Discovery {
            prefix: &self.output.home_assistant,
            own: &own,
        };
        for (topic, payload) in discovery.announce(name, slot.stream.channels()) {
            self.pending.push(Message {
                topic: topic.into(),
                payload: payload.into_bytes(),
                qos: 1,
                retain: true,
                class: Class::Status,
                arrived: None,
                kept: None,
            });
        }
    }

    /// Publishes the stream's state where it changed; with an incident's edge it is kept on disk
    /// until the broker has it.
    pub(super) fn publish_anomaly(
        &mut self,
        name: &StreamId,
        outcome: &Outcome,
        arrived: Option<Instant>,
    ) {
        let Some(slot) = self.streams.get_mut(name) else {
            return;
        };
        slot.note_edge(outcome.edge.as_ref());
        let state = Said {
            anomaly: outcome.anomaly,
            kind: outcome.kind,
            muted: slot.stream.muted(),
        };
        // An instruction is answered in any case.
        let is_row = outcome.edge.is_none() && !outcome.channels.is_empty();
        if is_row && slot.said.as_ref() == Some(&state) {
            return;
        }
        let channels = slot.stream.channels();
        let mut payload = String::with_capacity(256);
        let open = slot.open.as_ref();
        let seq = slot.stream.last_seq();
        let muted = &state.muted;
        anomaly_json(name, channels, outcome, open, muted, seq, &mut payload);
        slot.said = Some(state);
        let webhook = self.webhook.as_ref().zip(outcome.edge.as_ref());
        let webhook = webhook.filter(|(webhook, edge)| webhook.wants(edge));
        let mut topics = vec![&*slot.anomaly_topic];
        topics.extend(webhook.is_some().then_some(WEBHOOK_TOPIC));
        let kept = match &outcome.edge {
            None => Ok(Vec::new()),
            Some(edge) => self.store.edge(name, edge, &topics, &payload),
        };
        let kept = kept.unwrap_or_else(|error| {
            self.shared.set_store_failed(true);
            error!(stream = %name, %error, "an incident cannot be kept");
            Vec::new()
        });
        if let Some((webhook, _)) = webhook {
            let given_up = webhook.push(kept.get(1).copied(), payload.clone());
            give_up(&self.shared, &*self.store, given_up);
            self.shared.metrics.set_queue("webhook", webhook.len());
        }
        self.pending.push(Message {
            topic: slot.anomaly_topic.clone(),
            payload: payload.into_bytes(),
            qos: 1,
            retain: true,
            class: Class::Anomaly,
            arrived,
            kept: kept.first().copied(),
        });
    }
}

/// Counts a message for the webhook that had to make room for others.
pub(super) fn give_up(shared: &Status, store: &dyn Store, given_up: Option<Pending>) {
    if let Some(pending) = given_up {
        shared.metrics.webhook_attempt("dropped");
        pending.kept.into_iter().for_each(|id| store.delivered(id));
        error!("the webhook is too far behind: its oldest incident is dropped");
    }
}

impl Worker {
    /// Publishes an incident of every stream that is silent far longer than usual, by arrival times;
    /// silences begin anew while the broker is away, since nothing can be heard then.
    pub(super) fn watch_silence(&mut self) {
        if !self.shared.is_connected(ConnectionRole::Subscriber) {
            self.heard_since_ms = None;
            return;
        }
        let now_ms = now_ms();
        let since_ms = *self.heard_since_ms.get_or_insert(now_ms);
        let silent = self.streams.iter().filter_map(|(name, slot)| {
            let open = slot.silent.is_some() || slot.stream.engine().stats().open;
            let known = open || slot.stream.is_muted();
            let incident = slot.stream.silence(now_ms, since_ms).filter(|_| !known)?;
            Some((name.clone(), incident))
        });
        for (name, incident) in silent.collect::<Vec<_>>() {
            let Some(slot) = self.streams.get_mut(&name) else {
                continue;
            };
            slot.silent = Some(incident.clone());
            let edge = IncidentEdge::Opened(incident);
            let outcome = slot.stream.outcome_of_silence(edge);
            self.publish_anomaly(&name, &outcome, None);
        }
    }

    /// Publishes the end of a stream's silence with its next row.
    fn end_silence(&mut self, name: &StreamId, row: &Outcome) {
        let Some(slot) = self.streams.get_mut(name) else {
            return;
        };
        let Some(mut incident) = slot.silent.take() else {
            return;
        };
        incident.end_ms = Some(row.ts_ms);
        let edge = IncidentEdge::Closed(incident);
        let outcome = slot.stream.outcome_of_silence(edge);
        self.publish_anomaly(name, &outcome, None);
    }
}

impl StreamRuntime {
    /// Keeps the open incident.
    fn note_edge(&mut self, edge: Option<&IncidentEdge>) {
        match edge {
            Some(IncidentEdge::Opened(incident) | IncidentEdge::Joined { incident, .. }) => {
                self.open = Some(incident.clone());
            }
            Some(IncidentEdge::Closed(_)) => self.open = None,
            Some(IncidentEdge::Judged(incident))
                if self
                    .open
                    .as_ref()
                    .is_some_and(|open| open.id == incident.id) =>
            {
                self.open = Some(incident.clone());
            }
            Some(IncidentEdge::Judged(_)) | None => {}
        }
    }
}

/// The time of day, unix milliseconds.
fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

/// Waits until the outbox takes a prediction without dropping another; at the end of the daemon
/// there is no time for that.
fn wait_for_room(out: &Out, shared: &Status) {
    while !out.has_room() && !shared.is_stopping() {
        progress::beat();
        std::thread::sleep(FULL_PAUSE);
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::carrier::store::NoStore;
    use crate::config::load_plain;
    use crate::metrics::Metrics;
    use crate::mqtt::outbox::Outbox;
    use crate::row::Reading;
    use crate::runtime::orders::{Item, WorkerMessage};

    /// Rows of one stream, pushed at once, with predictions `interval_ms` apart: how many messages were
    /// published, and how many rows a newer one replaced.
    fn told(rows: u64, interval_ms: u64) -> (usize, u64) {
        let settings = load_plain(&[
            ("mqtt.url", "mqtt://127.0.0.1:1".to_owned()),
            ("state.durability", "none".to_owned()),
            ("stream.align", "per-reading".to_owned()),
            ("output.prediction_interval_ms", interval_ms.to_string()),
        ])
        .unwrap();
        let shared = Arc::new(Status::new(Metrics::new().unwrap(), 1, 0));
        let out = Out::new(Outbox::new(1000, 1), shared.clone());
        let (tx, rx) = crossbeam_channel::unbounded();
        let store = Arc::new(NoStore);
        let worker = Worker::new(0, rx, &settings, out.clone(), store, shared.clone());
        let items = (1..=rows).map(|seq| Item {
            reading: Reading {
                seq,
                stream: "s".into(),
                channel: "c".into(),
                value: seq as f64,
                ts_ms: 1_700_000_000_000 + 1000 * seq as i64,
                arrival_ms: 1_700_000_000_000 + 1000 * seq as i64,
            },
            arrived: Instant::now(),
            replayed: false,
        });
        tx.send(WorkerMessage::Learn(items.collect())).unwrap();
        drop(tx);
        assert_eq!(worker.run(), rows, "every row is learned");
        // The state of the stream, said once, is among them.
        (out.len() - 1, shared.metrics.predictions_superseded.get())
    }

    #[test]
    fn every_row_is_published_unless_less_is_wanted_and_then_the_first_and_the_last() {
        assert_eq!(told(50, 0), (50, 0));
        assert_eq!(told(50, 3_600_000), (2, 48));
    }
}
