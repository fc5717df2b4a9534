//! Keeps on disk, while a single machine learns: journal of readings, snapshots of streams, incident edges.

use std::sync::Arc;

use super::{
    Carrier, CarrierError, ClaimedPartition, JournalMessage, JournalReader, Partition,
    PartitionCommit,
};
use crate::history::StreamHistory;
use crate::progress::Pulse;
use crate::row::{IncidentEdge, Reading};
use crate::state::{Done, StoreStats, Told};
use crate::stream::{Stream, StreamParams};

/// A store that failed: what it was doing and why.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct StoreError(pub String);

/// How the broker delivered the message that readings came in, for telling redeliveries apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Delivery {
    /// Packet id of the broker's delivery; 0 with QoS 0.
    pub packet_id: u16,
    /// Hash of topic and payload, 48 bits, the same in every run.
    pub hash: u64,
}

/// One accepted reading, numbered.
#[derive(Clone, Debug, PartialEq)]
pub struct Accepted {
    /// How the message was delivered whose first reading it is; `None` for its others, and with
    /// QoS 0.
    pub delivery: Option<Delivery>,
    /// The reading.
    pub reading: Reading,
}

/// A message that had no PUBACK before the stop: to be published again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeptMessage {
    /// Number for [`Store::delivered`].
    pub id: u64,
    /// Its topic.
    pub topic: String,
    /// Its payload.
    pub payload: String,
    /// Retained by the broker.
    pub retain: bool,
}

/// Records beside the streams and their readings, as they were at the daemon's last stop.
#[derive(Default)]
pub struct KeptBeside {
    /// Highest sequence number ever given.
    pub last_seq: u64,
    /// Deliveries accepted but perhaps never acknowledged: the broker may send them again.
    pub deliveries: Vec<Delivery>,
    /// Messages to publish again, oldest first.
    pub messages: Vec<KeptMessage>,
    /// Histories, by stream.
    pub histories: Vec<(Arc<str>, StreamHistory)>,
    /// Filters to which the broker may hold a subscription from before.
    pub filters: Vec<String>,
    /// Incident edges on record: not to be published again.
    pub told: Told,
}

/// In place of the topic of a message that is kept for the webhook. No topic of ours begins with a slash.
pub const WEBHOOK_TOPIC: &str = "/webhook";

/// Where readings, snapshots and incident edges are kept. Called from the intake thread
/// (`accept`) and the workers (`save`, `edge`, `recover`), which wait for no task.
///
/// Readings go to the workers before they are committed, since a prediction need not wait for the
/// disk. So [`Store::save`] must not make a snapshot durable before the readings up to its
/// `last_seq` are committed.
pub trait Store: Send + Sync {
    /// Takes what is kept beside the streams and their readings, once the partition is claimed.
    fn take_beside(&self) -> KeptBeside;

    /// Commits the readings of a group of messages, after those before it, and then calls `done`:
    /// with an error if the group will never be committed. Tries again for as long as it takes.
    /// Where commits are not grouped, `group` is empty: nothing is kept of readings.
    fn accept(&self, group: Vec<Accepted>, done: Done);

    /// Commits a stream as it is, at the number of its own last reading; false where its last commit is still
    /// on its way to disk. Never waits.
    fn save(&self, stream: &Stream) -> bool;

    /// Commits a stream for the last time, waiting while the disk is behind.
    fn save_last(&self, stream: &Stream);

    /// Whether the stream could be forgotten: both its snapshots on disk are of its present state.
    fn is_kept(&self, stream: &Stream) -> bool;

    /// The stream of `reading`, forgotten after reading number `seq`, as it was then; `None` where
    /// nothing is kept of it.
    ///
    /// # Errors
    /// If what is kept cannot be read.
    fn load(
        &self,
        reading: &Reading,
        params: &StreamParams,
        seq: u64,
    ) -> Result<Option<Stream>, StoreError>;

    /// Keeps an edge of an incident of a stream, and the messages that tell of it, one for each topic,
    /// until [`Store::delivered`] is called with the number returned for it; no numbers where nothing
    /// is kept.
    ///
    /// # Errors
    /// If it cannot be kept.
    fn edge(
        &self,
        stream: &str,
        edge: &IncidentEdge,
        topics: &[&str],
        payload: &str,
    ) -> Result<Vec<u64>, StoreError>;

    /// Keeps a stream's history over a restart; false where the disk is too far behind to take it.
    fn save_history(&self, stream: &str, history: &StreamHistory) -> bool;

    /// Gives up a stream whose last reading has number `seq`: a restart does not bring it back.
    fn forget(&self, stream: &str, seq: u64);

    /// The broker has acknowledged the message.
    fn delivered(&self, id: u64);

    /// Keeps the filters to which the broker may hold a subscription, in place of those kept before.
    fn keep_filters(&self, _filters: Vec<String>) {}

    /// A stream whose worker panicked, as it was before `reading`; `None` where nothing is kept.
    ///
    /// # Errors
    /// If it cannot be rebuilt.
    fn recover(
        &self,
        stream: &str,
        reading: &Reading,
        params: &StreamParams,
    ) -> Result<Option<Stream>, StoreError>;

    /// Sets a reading apart that no attempt to learn it survived: rebuilt streams leave it out.
    fn quarantine(&self, reading: &Reading, reason: &str);

    /// Workers ask after each batch: is it time for snapshots? Each worker knows the number of
    /// the round it last saved, 0 at first, and saves when the store's is higher.
    fn snapshot_round(&self) -> u64;

    /// Readings are committed, and wait for further ones by count and age; otherwise nothing is
    /// kept of them.
    fn groups_commits(&self) -> bool;

    /// Signs of life of the thread that writes.
    fn pulse(&self) -> Option<Arc<Pulse>>;

    /// Counters and standing.
    fn stats(&self) -> StoreStats;
}

/// Keeps nothing: `durability = "none"`, and the workers of a cluster, whose server keeps everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoStore;

impl Store for NoStore {
    fn take_beside(&self) -> KeptBeside {
        KeptBeside::default()
    }

    fn accept(&self, _: Vec<Accepted>, done: Done) {
        done(Ok(()));
    }

    fn save(&self, _: &Stream) -> bool {
        true
    }

    fn save_last(&self, _: &Stream) {}

    fn is_kept(&self, _: &Stream) -> bool {
        false
    }

    fn load(&self, _: &Reading, _: &StreamParams, _: u64) -> Result<Option<Stream>, StoreError> {
        Ok(None)
    }

    fn edge(&self, _: &str, _: &IncidentEdge, _: &[&str], _: &str) -> Result<Vec<u64>, StoreError> {
        Ok(Vec::new())
    }

    fn save_history(&self, _: &str, _: &StreamHistory) -> bool {
        true
    }

    fn forget(&self, _: &str, _: u64) {}

    fn delivered(&self, _: u64) {}

    fn recover(
        &self,
        _: &str,
        _: &Reading,
        _: &StreamParams,
    ) -> Result<Option<Stream>, StoreError> {
        Ok(None)
    }

    fn quarantine(&self, _: &Reading, _: &str) {}

    fn pulse(&self) -> Option<Arc<Pulse>> {
        None
    }

    fn stats(&self) -> StoreStats {
        StoreStats::default()
    }

    fn snapshot_round(&self) -> u64 {
        0
    }

    fn groups_commits(&self) -> bool {
        false
    }
}

impl Carrier for NoStore {
    type Journal = EndOfJournal;

    async fn claim(
        &self,
        _: Partition,
        _: &str,
        _: &StreamParams,
    ) -> Result<ClaimedPartition, CarrierError> {
        Ok(ClaimedPartition::default())
    }

    async fn read(&self, _: u64) -> Result<EndOfJournal, CarrierError> {
        Ok(EndOfJournal)
    }

    async fn commit(&self, _: Partition, _: u64, _: PartitionCommit) -> Result<(), CarrierError> {
        Ok(())
    }
}

/// A journal without messages.
#[derive(Clone, Copy, Debug)]
pub struct EndOfJournal;

impl JournalReader for EndOfJournal {
    async fn next(&mut self, _: &mut Vec<JournalMessage>) -> Result<(), CarrierError> {
        Ok(())
    }
}
