//! Carries readings and state to a worker and from it: one trait, with the state file of a single machine
//! and NATS JetStream behind it.
//!
//! Streams are dealt by their names into partitions. Whoever holds the lease of a partition learns its
//! streams; the lease has an epoch that only grows. Messages are numbered in a journal. A commit puts the
//! state of streams, and the number of the last message that is in it, in the place of the one before,
//! unless the lease has gone to another worker meanwhile. Whoever claims a partition goes on from its last
//! commit: the same messages give the same bits.
//!
//! | | single machine (`disk`) | cluster (`jetstream`) |
//! |---|---|---|
//! | partitions | one | 64, if not set otherwise |
//! | lease | the lock of the state directory | a record in a key-value bucket |
//! | journal | readings in the state file; what comes behind them comes from the broker | messages in a stream of the server |
//! | commit | a stream at a time, at a number of its own | all streams of a partition, at one number |
//! | outputs | the broker, kept in the state file until it has them | a stream of the server, which knows repetitions |
//!
//! Threads of the single machine write to the state file while they learn: `store::Store`.

#[cfg(feature = "jetstream")]
mod answers;
mod assignment;
#[cfg(feature = "jetstream")]
mod connecting;
#[cfg(test)]
pub(crate) mod contract_tests;
pub(crate) mod disk;
#[cfg(feature = "jetstream")]
pub mod jetstream;
#[cfg(feature = "jetstream")]
mod journal_reading;
#[cfg(feature = "jetstream")]
mod partition_state;
#[cfg(feature = "jetstream")]
mod provision;
#[cfg(feature = "jetstream")]
mod records;
#[cfg(feature = "jetstream")]
mod retained;
pub(crate) mod store;
#[cfg(feature = "jetstream")]
mod subject;

use std::collections::BTreeMap;
use std::future::Future;

use serde::{Deserialize, Serialize};

use crate::mqtt::Message;
use crate::row::{Reading, StreamId};
use crate::state::snapshot::Snapshot;
use crate::stream::{Stream, StreamParams};

pub(crate) use assignment::partition_of;
pub use assignment::{Partition, owner_of};
#[cfg(feature = "jetstream")]
pub use partition_state::PartitionState;
#[cfg(feature = "jetstream")]
pub(crate) use subject::{is_covered, subject_of_filter, subject_of_topic, topic_of_subject};

/// Why a carrier did not do what it was asked to.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum CarrierError {
    /// The lease has gone to another worker: nothing was written.
    #[error("partition {partition} belongs to another worker since epoch {epoch}")]
    Fenced {
        /// The partition.
        partition: Partition,
        /// Its epoch now.
        epoch: u64,
    },
    /// It cannot be used as it is set up.
    #[error("{0}")]
    Settings(String),
    /// It cannot be reached, or does not answer; the same may succeed later.
    #[error("{0}")]
    Away(String),
}

/// A lease as it stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Lease {
    /// Grows by one with each claim.
    pub epoch: u64,
    /// Worker that has it; empty for none.
    pub owner: String,
    /// Number of the last message in the last commit.
    pub position: u64,
    /// When the last commit was, unix milliseconds; 0 for never.
    pub committed_ms: i64,
    /// Size of the last commit's state, bytes.
    pub state_bytes: u64,
    /// Readings that are set apart, oldest first.
    pub dead_letters: Vec<DeadLetter>,
}

/// A reading that is set apart, since no attempt to learn it survived: whoever has the partition leaves it
/// out.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadLetter {
    /// Number of the reading.
    pub seq: u64,
    /// Its stream.
    pub stream: String,
    /// The whole of it, as JSON.
    pub reading: String,
    /// Words of the panic.
    pub reason: String,
}

/// News of the other workers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CarrierNews {
    /// A worker was heard.
    Heard {
        /// Its name.
        worker: String,
        /// Differs from one sign of life to the next.
        revision: u64,
        /// It gives up what it has, and takes nothing.
        is_leaving: bool,
    },
    /// A worker has left.
    Left(String),
    /// A lease changed.
    Leased(Partition, Lease),
    /// All that was there before is told.
    Current,
}

/// A partition that was claimed.
#[derive(Default)]
pub struct ClaimedPartition {
    /// Epoch of the lease.
    pub epoch: u64,
    /// Its streams, as the last commit has them.
    pub streams: Vec<Stream>,
    /// All of them have learned the journal up to this number; 0 before the first commit.
    pub position: u64,
    /// Readings of each stream behind it, where that is known.
    pub pending: BTreeMap<StreamId, u64>,
    /// Readings to leave out.
    pub dead_letters: Vec<DeadLetter>,
}

/// A message of a journal.
#[derive(Clone, Debug, PartialEq)]
pub enum JournalMessage {
    /// As a device sent it.
    Sent {
        /// Its number.
        sequence: u64,
        /// When the journal took it, unix milliseconds.
        stored_ms: i64,
        /// Topic.
        topic: String,
        /// Payload.
        payload: Vec<u8>,
        /// Messages behind it, as far as the journal knew when it sent it.
        pending: u64,
    },
    /// Readings of messages that were accepted before the start. They have their numbers, and no stream has
    /// learned them.
    Accepted {
        /// All readings up to this number were handed out with these.
        position: u64,
        /// The readings.
        readings: Vec<Reading>,
    },
}

/// Reads a journal on and on.
pub trait JournalReader: Send + 'static {
    /// Appends the next messages to `out`: at least one, and those that are there behind it. Appends none
    /// where the journal ends, and what comes later comes another way.
    fn next(
        &mut self,
        out: &mut Vec<JournalMessage>,
    ) -> impl Future<Output = Result<(), CarrierError>> + Send;
}

/// Tells news as they come.
pub trait NewsReader: Send + 'static {
    /// The next one.
    fn next(&mut self) -> impl Future<Output = Result<CarrierNews, CarrierError>> + Send;
}

/// Where the readings and the state of a partition are kept.
pub trait Carrier: Send + Sync + 'static {
    /// Reads the journal.
    type Journal: JournalReader;

    /// Claims a partition whose owner is none, or `dead`: none other has it afterwards. A stream that models
    /// of `params` cannot go on with is not among its streams.
    fn claim(
        &self,
        partition: Partition,
        dead: &str,
        params: &StreamParams,
    ) -> impl Future<Output = Result<ClaimedPartition, CarrierError>> + Send;

    /// Reads the journal behind number `after`.
    fn read(&self, after: u64) -> impl Future<Output = Result<Self::Journal, CarrierError>> + Send;

    /// Puts states of streams and `position` in the place of the last commit's, and adds `dead_letter`, as
    /// long as the lease is the one of `epoch`; afterwards the partition has no owner where `releases`.
    fn commit(
        &self,
        partition: Partition,
        epoch: u64,
        commit: PartitionCommit,
    ) -> impl Future<Output = Result<(), CarrierError>> + Send;
}

/// A carrier that several workers share: one worker's access to it.
pub trait SharedCarrier: Carrier {
    /// Tells of the other workers.
    type News: NewsReader;

    /// This worker's name, unlike any other's.
    fn worker(&self) -> &str;

    /// There is a connection.
    fn is_connected(&self) -> bool;

    /// Why there is no connection, or what the server denied last; `None` where nothing is known.
    fn obstacle(&self) -> Option<CarrierError>;

    /// Makes what is missing, and checks that it fits the settings.
    fn prepare(&self) -> impl Future<Output = Result<(), CarrierError>> + Send;

    /// Lets the others hear this worker, and whether it is leaving.
    fn announce(&self, is_leaving: bool) -> impl Future<Output = Result<(), CarrierError>> + Send;

    /// Takes a worker off the list.
    fn withdraw(&self, worker: &str) -> impl Future<Output = Result<(), CarrierError>> + Send;

    /// All that is known of workers and leases, then what changes.
    fn news(&self) -> impl Future<Output = Result<Self::News, CarrierError>> + Send;

    /// Publishes messages in their order; of those that were published before, with the same topic and
    /// payload, nobody is told again for a time.
    fn publish(
        &self,
        messages: &[Message],
    ) -> impl Future<Output = Result<(), CarrierError>> + Send;
}

/// New state of a partition.
#[derive(Clone, Debug, Default)]
pub struct PartitionCommit {
    /// Streams; `None` where none of them has changed. All of the partition's, where a commit has one number.
    pub streams: Option<Vec<Snapshot>>,
    /// Number of the last message that was taken; `None` where it stays.
    pub position: Option<u64>,
    /// A further reading that is set apart.
    pub dead_letter: Option<DeadLetter>,
    /// The partition is given up with it.
    pub releases: bool,
}

/// All leases and workers, as `spiked cluster status` shows them.
#[derive(Clone, Debug, Default)]
pub struct ClusterView {
    /// Leases by partition.
    pub leases: BTreeMap<Partition, Lease>,
    /// Workers, and the time since each was heard, milliseconds.
    pub workers: BTreeMap<String, i64>,
    /// Number of the newest message of the journal.
    pub last_sequence: u64,
    /// Number of the oldest one.
    pub first_sequence: u64,
}
