//! Carrier on NATS JetStream.
//!
//! | what | where |
//! |---|---|
//! | messages | stream `NAME`, whose subjects are those of the inputs and of operators' instructions |
//! | leases, positions, signs of life | key-value bucket `NAME-leases` |
//! | states | object store `NAME-states`, an object a commit |
//! | outputs to retain | stream `NAME-retained`, from which a worker takes them as an MQTT client |
//! | other outputs | stream `NAME-outputs`: drops repetitions by their id, and publishes the others again under the topic's own subject |
//!
//! An object store knows no compare-and-set, but its objects can have a name of their own each: a commit
//! writes the object first, then has the partition's record point to it, by compare-and-set. A
//! failure there leaves an object that nobody points to, which is deleted.

use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use async_nats::Client;
use async_nats::connection::State;
use async_nats::jetstream::consumer::DeliverPolicy;
use async_nats::jetstream::consumer::pull::OrderedConfig;
use async_nats::jetstream::context::PublishAckFuture;
use async_nats::jetstream::kv::{self, Operation, UpdateErrorKind};
use async_nats::jetstream::message::PublishMessage;
use async_nats::jetstream::object_store::ObjectStore;
use async_nats::jetstream::{self, Context};
use futures_util::StreamExt;
use tokio::io::AsyncReadExt;
use tokio::sync::OnceCell;
use tokio::task::JoinSet;
use tracing::warn;

use super::answers::{away, json, now_ms, parse, unix_ms};
use super::connecting::{self, Obstacle};
use super::journal_reading::{JetStreamJournal, JetStreamNews};
use super::provision::{Provision, leases_name, states_name};
use super::records::{
    AGREED_KEY, Agreed, LAYOUT, PartitionRecord, RecordKey, WorkerRecord, parse_key, partition_key,
    worker_key,
};
use super::retained::{self, RetainedQueue, is_retained};
use super::{
    Carrier, CarrierError, ClaimedPartition, ClusterView, Partition, PartitionCommit,
    PartitionState, SharedCarrier, is_covered, subject_of_filter, subject_of_topic,
};
use crate::config::ClusterSettings;
use crate::metrics::Class;
use crate::mqtt::Message;
use crate::payload::InstructionTopic;
use crate::status::lock;
use crate::stream::StreamParams;

/// Outputs that wait for their acknowledgement at once.
const IN_FLIGHT: usize = 512;

/// Entries that are asked for at the same time.
const ASKED_TOGETHER: usize = 64;

/// A worker's connection, and the leases that it has.
pub struct JetStream {
    settings: ClusterSettings,
    /// Subjects of the journal.
    subjects: Vec<String>,
    /// Beginning of the topics of outputs, `<prefix>/<instance>`.
    own_topic: String,
    worker: String,
    client: Client,
    /// Why there is no connection.
    obstacle: Arc<Obstacle>,
    context: Context,
    leases: OnceCell<kv::Store>,
    states: OnceCell<ObjectStore>,
    held: Mutex<HashMap<Partition, HeldRecord>>,
}

/// A record of our own and its revision.
#[derive(Clone, Debug)]
struct HeldRecord {
    record: PartitionRecord,
    revision: u64,
}

impl JetStream {
    /// Begins to connect; goes on trying. `filters` are those of the inputs and instructions,
    /// `own_topic` is `<prefix>/<instance>`.
    ///
    /// # Errors
    /// If the settings cannot be used.
    pub async fn connect(
        settings: &ClusterSettings,
        filters: &[String],
        own_topic: &str,
    ) -> Result<JetStream, CarrierError> {
        let worker = match settings.worker.as_str() {
            "" => format!("w{}.1", client_name()),
            name => format!("{name}.{}", client_name()),
        };
        let obstacle = Arc::default();
        let client = connecting::connect(settings, &format!("spiked {worker}"), &obstacle).await?;
        let mut context = jetstream::new(client.clone());
        context.set_timeout(settings.lease);
        Ok(JetStream {
            settings: settings.clone(),
            subjects: subjects(filters),
            own_topic: own_topic.to_owned(),
            worker,
            client,
            obstacle,
            context,
            leases: OnceCell::new(),
            states: OnceCell::new(),
            held: Mutex::default(),
        })
    }

    /// Subjects that the journal takes.
    pub fn subjects(&self) -> &[String] {
        &self.subjects
    }

    /// Subject under which an output enters the stream of outputs.
    fn output_subject(&self, topic: &str) -> String {
        let rest = topic.strip_prefix(&self.own_topic).unwrap_or(topic);
        let rest = rest.strip_prefix('/').unwrap_or(rest);
        format!("{}-out.{}", self.settings.name, subject_of_topic(rest))
    }

    async fn leases(&self) -> Result<&kv::Store, CarrierError> {
        let bucket = || self.context.get_key_value(leases_name(&self.settings));
        self.leases.get_or_try_init(bucket).await.map_err(away)
    }

    async fn states(&self) -> Result<&ObjectStore, CarrierError> {
        let bucket = || self.context.get_object_store(states_name(&self.settings));
        self.states.get_or_try_init(bucket).await.map_err(away)
    }

    /// Waits until the server has answered, `limit` at most.
    ///
    /// # Errors
    /// If it has not.
    pub async fn reach(&self, limit: Duration) -> Result<(), CarrierError> {
        let asking = async {
            connecting::attempt(&self.settings).await?;
            self.context.query_account().await.map_err(away)
        };
        match tokio::time::timeout(limit, asking).await {
            Ok(asked) => asked.map(drop),
            Err(_) => Err(CarrierError::Away(format!("no answer within {limit:?}"))),
        }
    }

    /// Workers and leases as they stand.
    ///
    /// # Errors
    /// If the server does not answer, or there is no cluster of this name.
    pub async fn view(&self) -> Result<ClusterView, CarrierError> {
        let stream = self.context.get_stream(&self.settings.name).await;
        let mut stream = stream.map_err(|error| {
            let name = &self.settings.name;
            CarrierError::Away(format!("there is no cluster named {name:?} yet ({error})"))
        })?;
        let state = stream.info().await.map_err(away)?.state.clone();
        let mut view = ClusterView {
            last_sequence: state.last_sequence,
            first_sequence: state.first_sequence,
            ..ClusterView::default()
        };
        let leases = self.leases().await?;
        // Its subjects are the keys. To ask for keys would leave a consumer at the server for some seconds.
        let subjects = format!("{}>", leases.prefix);
        let subjects = leases.stream.info_with_subjects(subjects).await;
        let mut subjects = subjects.map_err(away)?;
        let mut keys = Vec::new();
        while let Some(subject) = subjects.next().await {
            let (subject, _) = subject.map_err(away)?;
            let key = subject.strip_prefix(&leases.prefix).unwrap_or(&subject);
            keys.push(key.to_owned());
        }
        for entry in entries(leases, keys).await? {
            match parse_key(&entry.key) {
                RecordKey::Worker(worker) => {
                    let heard_ms = unix_ms(entry.created.unix_timestamp_nanos());
                    view.workers.insert(worker.to_owned(), now_ms() - heard_ms);
                }
                RecordKey::Partition(partition) => {
                    let record: PartitionRecord = parse(&entry.value)?;
                    view.leases.insert(partition, record.lease());
                }
                RecordKey::Other => {}
            }
        }
        Ok(view)
    }

    /// The outputs that wait to be retained.
    ///
    /// # Errors
    /// If the server does not answer.
    pub async fn retained(&self) -> Result<RetainedQueue, CarrierError> {
        RetainedQueue::open(&self.context, &self.settings).await
    }

    /// The state of a partition's last commit.
    ///
    /// # Errors
    /// If it cannot be read.
    pub async fn state(
        &self,
        partition: Partition,
    ) -> Result<Option<PartitionState>, CarrierError> {
        let leases = self.leases().await?;
        let entry = leases.get(partition_key(partition)).await.map_err(away)?;
        let Some(bytes) = entry else { return Ok(None) };
        let record: PartitionRecord = parse(&bytes)?;
        self.load(&record).await
    }

    async fn load(&self, record: &PartitionRecord) -> Result<Option<PartitionState>, CarrierError> {
        if record.object.is_empty() {
            return Ok(None);
        }
        let mut object = self
            .states()
            .await?
            .get(&record.object)
            .await
            .map_err(away)?;
        let mut bytes = Vec::new();
        object.read_to_end(&mut bytes).await.map_err(away)?;
        let state = PartitionState::from_bytes(&bytes);
        state
            .map(Some)
            .map_err(|error| CarrierError::Settings(format!("{}: {error}", record.object)))
    }

    /// Writes a record in the place of ours, as long as it still is; says what is there otherwise.
    async fn swap(
        &self,
        partition: Partition,
        held: &HeldRecord,
        record: PartitionRecord,
    ) -> Result<(), CarrierError> {
        let leases = self.leases().await?;
        let mut revision = held.revision;
        // A write whose answer was lost may have been done: the record says so itself.
        for _ in 0..3 {
            let bytes = json(&record);
            match leases
                .update(partition_key(partition), bytes.into(), revision)
                .await
            {
                Ok(revision) => {
                    self.note_held(partition, record, revision);
                    return Ok(());
                }
                Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => {
                    let entry = leases.entry(partition_key(partition)).await.map_err(away)?;
                    let now = entry.as_ref().map(|entry| parse(&entry.value));
                    let now: PartitionRecord = now.transpose()?.unwrap_or_default();
                    if now == record {
                        revision = entry.map_or(0, |entry| entry.revision);
                        self.note_held(partition, record, revision);
                        return Ok(());
                    }
                    if now.epoch != held.record.epoch || now.owner != self.worker {
                        lock(&self.held).remove(&partition);
                        let epoch = now.epoch;
                        return Err(CarrierError::Fenced { partition, epoch });
                    }
                    revision = entry.map_or(0, |entry| entry.revision);
                }
                Err(error) => return Err(away(error)),
            }
        }
        Err(CarrierError::Away(format!(
            "the record of partition {partition} does not stand still"
        )))
    }

    fn note_held(&self, partition: Partition, record: PartitionRecord, revision: u64) {
        let mut all = lock(&self.held);
        if record.owner == self.worker {
            all.insert(partition, HeldRecord { record, revision });
        } else {
            all.remove(&partition);
        }
    }

    async fn remove_object(&self, object: &str) {
        if object.is_empty() {
            return;
        }
        // An object that stays behind costs room and nothing else.
        if let Ok(states) = self.states().await
            && let Err(error) = states.delete(object).await
        {
            warn!(object, %error, "a state that is out of date cannot be deleted");
        }
    }

    /// Sends one message on its way; what is still to be acknowledged comes back.
    async fn send(&self, message: &Message) -> Result<Option<PublishAckFuture>, CarrierError> {
        let is_instruction = InstructionTopic::ALL
            .into_iter()
            .any(|topic| message.topic.rsplit('/').next() == Some(topic.as_str()));
        let build = PublishMessage::build().payload(message.payload.clone().into());
        let sent = if is_instruction {
            let subject = subject_of_topic(&message.topic);
            self.context.send_publish(subject, build).await
        } else if is_retained(&self.settings, message) {
            // A status or an empty message has no row that would tell it from one before.
            let is_of_row = message.class == Class::Anomaly && !message.payload.is_empty();
            let id = is_of_row.then(|| id_of(message));
            let put = retained::put(&self.context, &self.settings, message, id).await?;
            return Ok(Some(put));
        } else if message.class == Class::Status {
            let subject = subject_of_topic(&message.topic);
            let payload = message.payload.clone().into();
            self.client.publish(subject, payload).await.map_err(away)?;
            return Ok(None);
        } else {
            let subject = self.output_subject(&message.topic);
            self.context
                .send_publish(subject, build.message_id(id_of(message)))
                .await
        };
        sent.map(Some).map_err(away)
    }
}

/// Id of an output: equal for the same topic and payload, which say stream, row and kind.
fn id_of(message: &Message) -> String {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let bytes = message
        .topic
        .bytes()
        .chain([0])
        .chain(message.payload.iter().copied());
    let hash = bytes.fold(OFFSET, |hash, byte| {
        (hash ^ u128::from(byte)).wrapping_mul(PRIME)
    });
    format!("{hash:032x}")
}

/// Subjects of filters, without those that others cover.
fn subjects(filters: &[String]) -> Vec<String> {
    let all: Vec<String> = filters.iter().flat_map(|f| subject_of_filter(f)).collect();
    let mut kept: Vec<String> = Vec::new();
    for (i, subject) in all.iter().enumerate() {
        let mut others = all.iter().enumerate().filter(|(j, _)| *j != i);
        let is_spare = others
            .any(|(j, other)| is_covered(subject, other) && (!is_covered(other, subject) || j < i));
        if !is_spare {
            kept.push(subject.clone());
        }
    }
    kept.sort_unstable();
    kept
}

/// The entries of keys, asked for some at a time; those that are deleted are left out.
async fn entries(leases: &kv::Store, keys: Vec<String>) -> Result<Vec<kv::Entry>, CarrierError> {
    let mut entries = Vec::with_capacity(keys.len());
    for some in keys.chunks(ASKED_TOGETHER) {
        let mut asked = JoinSet::new();
        for key in some {
            let (leases, key) = (leases.clone(), key.clone());
            asked.spawn(async move { leases.entry(key).await });
        }
        for entry in asked.join_all().await {
            let entry = entry.map_err(away)?;
            entries.extend(entry.filter(|entry| entry.operation == Operation::Put));
        }
    }
    Ok(entries)
}

/// Text that no other process has.
fn client_name() -> String {
    let id = u64::from(std::process::id());
    let nanos = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default()
        .as_nanos();
    format!("{:x}{:x}", id, nanos & 0xffff_ffff_ffff)
}

impl Carrier for JetStream {
    type Journal = JetStreamJournal;

    async fn claim(
        &self,
        partition: Partition,
        dead: &str,
        params: &StreamParams,
    ) -> Result<ClaimedPartition, CarrierError> {
        let leases = self.leases().await?;
        let key = partition_key(partition);
        let entry = leases.entry(&key).await.map_err(away)?;
        let revision = entry.as_ref().map_or(0, |entry| entry.revision);
        let before = entry.filter(|entry| entry.operation == Operation::Put);
        let before = before.map(|entry| parse(&entry.value)).transpose()?;
        let before: PartitionRecord = before.unwrap_or_default();
        let fenced = CarrierError::Fenced {
            partition,
            epoch: before.epoch,
        };
        if !before.owner.is_empty() && before.owner != dead {
            return Err(fenced);
        }
        let record = PartitionRecord {
            epoch: before.epoch + 1,
            owner: self.worker.clone(),
            ..before
        };
        let revision = match leases.update(&key, json(&record).into(), revision).await {
            Ok(revision) => revision,
            Err(error) if error.kind() == UpdateErrorKind::WrongLastRevision => return Err(fenced),
            Err(error) => return Err(away(error)),
        };
        lock(&self.held).insert(
            partition,
            HeldRecord {
                record: record.clone(),
                revision,
            },
        );
        let state = self.load(&record).await?.unwrap_or_default();
        let params = params.clone();
        let streams = tokio::task::spawn_blocking(move || state.open(&params)).await;
        let streams = streams.map_err(|error| {
            let object = &record.object;
            CarrierError::Settings(format!("{object} cannot be opened: {error}"))
        })?;
        Ok(ClaimedPartition {
            epoch: record.epoch,
            streams,
            position: record.position,
            dead_letters: record.dead_letters,
            ..ClaimedPartition::default()
        })
    }

    async fn read(&self, after: u64) -> Result<JetStreamJournal, CarrierError> {
        let mut stream = self
            .context
            .get_stream(&self.settings.name)
            .await
            .map_err(away)?;
        let last = stream.info().await.map_err(away)?.state.last_sequence;
        if last < after {
            return Err(CarrierError::Settings(format!(
                "the journal ends with message {last}, the states go on to {after}: it is not the \
                 journal that they were made from"
            )));
        }
        let config = OrderedConfig {
            deliver_policy: DeliverPolicy::ByStartSequence {
                start_sequence: after + 1,
            },
            ..OrderedConfig::default()
        };
        let consumer = stream.create_consumer(config).await.map_err(away)?;
        let messages = consumer.messages().await.map_err(away)?;
        Ok(JetStreamJournal::new(messages))
    }

    async fn commit(
        &self,
        partition: Partition,
        epoch: u64,
        commit: PartitionCommit,
    ) -> Result<(), CarrierError> {
        let held = lock(&self.held).get(&partition).cloned();
        let Some(held) = held.filter(|held| held.record.epoch == epoch) else {
            return Err(CarrierError::Fenced { partition, epoch });
        };
        let mut record = held.record.clone();
        record.position = commit
            .position
            .unwrap_or(record.position)
            .max(record.position);
        if let Some(letter) = commit.dead_letter {
            record.set_apart(letter);
        }
        if commit.releases {
            record.owner.clear();
        }
        if let Some(streams) = commit.streams {
            let state = PartitionState { streams };
            let bytes = tokio::task::spawn_blocking(move || state.to_bytes()).await;
            let bytes = bytes.map_err(|error| {
                CarrierError::Away(format!("its state cannot be written down: {error}"))
            })?;
            record.object = format!("{partition}.{epoch}.{}", record.position);
            record.state_bytes = bytes.len() as u64;
            record.committed_ms = now_ms();
            let mut data = bytes.as_slice();
            let put = self
                .states()
                .await?
                .put(record.object.as_str(), &mut data)
                .await;
            put.map_err(away)?;
        }
        let (before, new) = (held.record.object.clone(), record.object.clone());
        let swapped = self.swap(partition, &held, record).await;
        if before != new {
            match &swapped {
                Ok(()) => self.remove_object(&before).await,
                Err(CarrierError::Fenced { .. }) => self.remove_object(&new).await,
                Err(_) => {}
            }
        }
        swapped
    }
}

impl SharedCarrier for JetStream {
    type News = JetStreamNews;

    fn worker(&self) -> &str {
        &self.worker
    }

    fn is_connected(&self) -> bool {
        self.client.connection_state() == State::Connected
    }

    fn obstacle(&self) -> Option<CarrierError> {
        match self.is_connected() {
            true => self.obstacle.denied().map(CarrierError::Settings),
            false => self.obstacle.of_connection(),
        }
    }

    async fn prepare(&self) -> Result<(), CarrierError> {
        let provision = Provision {
            context: &self.context,
            settings: &self.settings,
            subjects: &self.subjects,
            own_topic: &self.own_topic,
        };
        provision.make().await?;
        let leases = self.leases().await?;
        let wanted = Agreed {
            layout: LAYOUT,
            partitions: self.settings.partitions,
        };
        // An error means that it is there.
        let _ = leases.create(AGREED_KEY, json(&wanted).into()).await;
        let found = leases.get(AGREED_KEY).await.map_err(away)?;
        let found: Agreed = parse(&found.unwrap_or_default())?;
        if found != wanted {
            return Err(CarrierError::Settings(format!(
                "the cluster {:?} has {} partitions and layout {}, this worker {} and {}",
                self.settings.name,
                found.partitions,
                found.layout,
                wanted.partitions,
                wanted.layout
            )));
        }
        Ok(())
    }

    async fn announce(&self, is_leaving: bool) -> Result<(), CarrierError> {
        let record = WorkerRecord {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            is_leaving,
        };
        let leases = self.leases().await?;
        let put = leases.put(worker_key(&self.worker), json(&record).into());
        put.await.map(|_| ()).map_err(away)
    }

    async fn withdraw(&self, worker: &str) -> Result<(), CarrierError> {
        let leases = self.leases().await?;
        leases.purge(worker_key(worker)).await.map_err(away)
    }

    async fn news(&self) -> Result<JetStreamNews, CarrierError> {
        let leases = self.leases().await?;
        let watch = leases.watch_with_history(">").await.map_err(away)?;
        Ok(JetStreamNews::new(watch))
    }

    async fn publish(&self, messages: &[Message]) -> Result<(), CarrierError> {
        for some in messages.chunks(IN_FLIGHT) {
            let mut acks = Vec::with_capacity(some.len());
            for message in some {
                acks.extend(self.send(message).await?);
            }
            for ack in acks {
                ack.await.map_err(away)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn subjects_that_others_cover_are_left_out() {
        let filters = ["plant/+/+", "plant/press/temp", "plant/+/+", "tele/#"];
        let filters = filters.map(str::to_owned);
        assert_eq!(subjects(&filters), ["plant.*.*", "tele", "tele.>"]);
    }
}
