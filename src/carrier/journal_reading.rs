//! Reads what nats-server delivers on and on: the messages of the journal, and changes of the leases.

use async_nats::jetstream::consumer::pull::Ordered;
use async_nats::jetstream::kv::{Operation, Watch};
use futures_util::{FutureExt, StreamExt};

use super::answers::{away, parse, unix_ms};
use super::records::{PartitionRecord, RecordKey, WorkerRecord, parse_key};
use super::{
    CarrierError, CarrierNews, JournalMessage, JournalReader, Lease, NewsReader, topic_of_subject,
};

/// Messages of the journal that are handed over together at most.
const MAX_BATCH: usize = 512;

/// Reads the journal's stream.
pub struct JetStreamJournal {
    messages: Ordered,
}

impl JetStreamJournal {
    pub(super) fn new(messages: Ordered) -> JetStreamJournal {
        JetStreamJournal { messages }
    }
}

impl JournalReader for JetStreamJournal {
    async fn next(&mut self, out: &mut Vec<JournalMessage>) -> Result<(), CarrierError> {
        let mut next = self.messages.next().await;
        for n in 1.. {
            let message = match next {
                Some(message) => message.map_err(away)?,
                None => return Err(CarrierError::Away("the journal ends".to_owned())),
            };
            let info = message.info().map_err(away)?;
            out.push(JournalMessage::Sent {
                sequence: info.stream_sequence,
                stored_ms: unix_ms(info.published.unix_timestamp_nanos()),
                pending: info.pending,
                topic: topic_of_subject(&message.subject),
                payload: message.payload.to_vec(),
            });
            if n == MAX_BATCH {
                break;
            }
            next = match self.messages.next().now_or_never() {
                Some(further) => further,
                None => break,
            };
        }
        Ok(())
    }
}

/// Watches the bucket of leases.
pub struct JetStreamNews {
    watch: Watch,
    is_current: bool,
    next: Option<CarrierNews>,
}

impl JetStreamNews {
    pub(super) fn new(watch: Watch) -> JetStreamNews {
        JetStreamNews {
            watch,
            is_current: false,
            next: None,
        }
    }
}

impl NewsReader for JetStreamNews {
    async fn next(&mut self) -> Result<CarrierNews, CarrierError> {
        loop {
            if let Some(next) = self.next.take() {
                return Ok(next);
            }
            let entry = self.watch.next().await;
            let entry = entry.ok_or_else(|| CarrierError::Away("the watch ends".to_owned()))?;
            let entry = entry.map_err(away)?;
            let is_there = entry.operation == Operation::Put;
            let news = match parse_key(&entry.key) {
                RecordKey::Worker(worker) if is_there => Some(CarrierNews::Heard {
                    worker: worker.to_owned(),
                    revision: entry.revision,
                    is_leaving: parse::<WorkerRecord>(&entry.value)?.is_leaving,
                }),
                RecordKey::Worker(worker) => Some(CarrierNews::Left(worker.to_owned())),
                RecordKey::Partition(partition) => {
                    let lease = match is_there {
                        true => parse::<PartitionRecord>(&entry.value)?.lease(),
                        false => Lease::default(),
                    };
                    Some(CarrierNews::Leased(partition, lease))
                }
                RecordKey::Other => None,
            };
            if entry.seen_current && !self.is_current {
                self.is_current = true;
                self.next = Some(CarrierNews::Current);
            }
            if let Some(news) = news {
                return Ok(news);
            }
        }
    }
}
