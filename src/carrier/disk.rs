//! The carrier of a single machine: one SQLite file, which the lock of its directory keeps for this process.
//!
//! Its one partition has the epoch 1 from the claim to the release. Messages come from the broker; their
//! readings are journaled as they are accepted ([`Store::accept`]), so that the journal ends at the start.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tracing::{error, info, warn};

use super::store::{Accepted, Delivery, KeptBeside, KeptMessage, Store, StoreError};
use super::{
    Carrier, CarrierError, ClaimedPartition, DeadLetter, JournalMessage, JournalReader, Partition,
    PartitionCommit,
};
use crate::config::{Durability, StateSettings};
use crate::history::StreamHistory;
use crate::progress::Pulse;
use crate::row::{IncidentEdge, Reading, StreamId};
use crate::state::snapshot::Snapshot;
use crate::state::{
    self, Done, DueReadings, Edge, JournalReplay, StateError, StoreOptions, StoreStats,
};
use crate::status::lock;
use crate::stream::{Stream, StreamParams};

/// Longest wait for the readings before a panic to come into the journal.
const JOURNAL_WAIT: Duration = Duration::from_secs(5);

impl From<StateError> for StoreError {
    fn from(error: StateError) -> StoreError {
        StoreError(error.to_string())
    }
}

/// Epoch of the lease: no process has the lock beside another, and none takes it up again.
const EPOCH: u64 = 1;

/// Journal, snapshots and the rest in the state file. Clones share it.
#[derive(Clone)]
pub struct DiskStore {
    store: state::StateStore,
    snapshot_every: Duration,
    params: Arc<OnceLock<StreamParams>>,
    rounds: Arc<Mutex<Rounds>>,
    claimed: Arc<Mutex<Claim>>,
}

/// Findings of a claim.
#[derive(Default)]
struct Claim {
    is_held: bool,
    beside: KeptBeside,
    /// The readings that are due; `None` where nothing is kept.
    due: Option<Arc<DueReadings>>,
}

/// Streams as their snapshots have them, and the readings that are due behind them.
#[derive(Default)]
pub struct Restored {
    /// Streams, by name.
    pub streams: Vec<Stream>,
    /// All of them have learned the readings up to this one.
    pub position: u64,
    /// Readings behind it, by stream.
    pub pending: BTreeMap<StreamId, u64>,
}

#[derive(Debug)]
struct Rounds {
    number: u64,
    since: Instant,
}

impl DiskStore {
    /// Opens the state file.
    ///
    /// # Errors
    /// When it cannot be opened, or must not be used.
    pub fn open(settings: &StateSettings) -> Result<DiskStore, StateError> {
        let options = StoreOptions {
            dir: settings.dir.clone(),
            durability: settings.durability,
            // The intake thread makes the groups; a second wait would only delay the acks.
            // Readings that have come by the time that the disk is ready share a commit.
            commit_messages: 1,
            commit_age: Duration::ZERO,
            journal_max_bytes: settings.journal_max_bytes,
        };
        Ok(DiskStore {
            store: state::StateStore::open(options)?,
            snapshot_every: settings.snapshot_every,
            params: Arc::default(),
            rounds: Arc::new(Mutex::new(Rounds {
                number: 0,
                since: Instant::now(),
            })),
            claimed: Arc::default(),
        })
    }

    /// Reads the state at the daemon's last stop; once, before all others.
    ///
    /// # Errors
    /// If the state is there but cannot be used.
    pub fn restore(&self, params: &StreamParams) -> Result<Restored, StateError> {
        let params = self.params.get_or_init(|| params.clone());
        let prepared = self.store.prepare(&|_| Some(params.clone()))?;
        let mut claimed = lock(&self.claimed);
        claimed.is_held = true;
        let Some((prepared, replay)) = prepared else {
            return Ok(Restored::default());
        };
        let report = prepared.report.to_string();
        if prepared.report.is_bad() {
            error!("{report}");
        } else if prepared.report.set_aside.is_empty() {
            info!("{report}");
        } else {
            warn!("{report}");
        }
        claimed.due = Some(replay.due());
        claimed.beside = KeptBeside {
            messages: prepared
                .outbox
                .into_iter()
                .map(|message| KeptMessage {
                    id: message.id,
                    topic: message.topic,
                    payload: String::from_utf8_lossy(&message.payload).into_owned(),
                    retain: message.retain,
                })
                .collect(),
            deliveries: prepared.keys.into_iter().map(delivery).collect(),
            last_seq: prepared.last_seq,
            histories: prepared
                .histories
                .into_iter()
                .map(|(s, h)| (s.into(), h))
                .collect(),
            filters: prepared.filters,
            told: prepared.told,
        };
        Ok(Restored {
            streams: prepared.streams,
            position: prepared.position,
            pending: prepared.pending,
        })
    }

    /// Writes a commit. Each stream has a number of its own in its snapshot.
    fn write(&self, commit: PartitionCommit) -> Result<(), StateError> {
        for snapshot in commit.streams.into_iter().flatten() {
            self.store.save_and_wait(snapshot)?;
        }
        if let Some(DeadLetter {
            reading, reason, ..
        }) = commit.dead_letter
        {
            let reading = serde_json::from_str(&reading);
            let reading = reading.map_err(|error| StateError::format("a dead letter", error))?;
            self.store.dead_letter(&reading, &reason);
        }
        if commit.releases {
            self.close()
        } else {
            Ok(())
        }
    }

    /// Writes what waits and lets the state file go.
    ///
    /// # Errors
    /// If not everything could be written.
    pub fn close(&self) -> Result<(), StateError> {
        self.store.close();
        lock(&self.claimed).is_held = false;
        match self.store.stats().failing {
            None => Ok(()),
            Some(failing) => Err(StateError::format("not everything is written", failing)),
        }
    }
}

impl Carrier for DiskStore {
    type Journal = DiskJournal;

    async fn claim(
        &self,
        _: Partition,
        _: &str,
        params: &StreamParams,
    ) -> Result<ClaimedPartition, CarrierError> {
        let (store, params) = (self.clone(), params.clone());
        let restored = blocking(move || store.restore(&params)).await?;
        Ok(ClaimedPartition {
            epoch: EPOCH,
            streams: restored.streams,
            position: restored.position,
            pending: restored.pending,
            // The journal leaves them out itself.
            dead_letters: Vec::new(),
        })
    }

    async fn read(&self, after: u64) -> Result<DiskJournal, CarrierError> {
        let due = lock(&self.claimed).due.clone();
        let Some(due) = due else {
            return Ok(DiskJournal(None));
        };
        let store = self.store.clone();
        let replay = blocking(move || store.replay_behind(after, due)).await?;
        Ok(DiskJournal(Some(replay)))
    }

    async fn commit(
        &self,
        partition: Partition,
        epoch: u64,
        commit: PartitionCommit,
    ) -> Result<(), CarrierError> {
        if epoch != EPOCH || !lock(&self.claimed).is_held {
            return Err(CarrierError::Fenced { partition, epoch });
        }
        let store = self.clone();
        blocking(move || store.write(commit)).await
    }
}

/// Does what waits for the disk.
async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, StateError> + Send + 'static,
) -> Result<T, CarrierError> {
    let done = tokio::task::spawn_blocking(work).await;
    let done = done.map_err(|error| CarrierError::Settings(error.to_string()))?;
    done.map_err(|error| CarrierError::Settings(error.to_string()))
}

/// Reads the readings of the journal that were accepted before the start and that no snapshot has.
pub struct DiskJournal(Option<JournalReplay>);

impl JournalReader for DiskJournal {
    async fn next(&mut self, out: &mut Vec<JournalMessage>) -> Result<(), CarrierError> {
        let Some(mut replay) = self.0.take() else {
            return Ok(());
        };
        let next = tokio::task::spawn_blocking(move || (replay.next(), replay)).await;
        let (next, replay) = next.map_err(|error| CarrierError::Settings(error.to_string()))?;
        let position = replay.position();
        self.0 = Some(replay);
        let readings = next.transpose();
        let readings = readings.map_err(|error| CarrierError::Away(error.to_string()))?;
        out.extend(readings.map(|readings| JournalMessage::Accepted { position, readings }));
        Ok(())
    }
}

impl Store for DiskStore {
    fn take_beside(&self) -> KeptBeside {
        std::mem::take(&mut lock(&self.claimed).beside)
    }

    fn accept(&self, group: Vec<Accepted>, done: Done) {
        let readings = group.into_iter().map(|accepted| state::JournalEntry {
            reading: accepted.reading,
            key: accepted.delivery.map_or(0, delivery_key),
        });
        self.store.append(readings.collect(), done);
    }

    fn save(&self, stream: &Stream) -> bool {
        // Twice, so that the journal need not keep what an idle stream has long learned.
        if stream.last_seq() == 0 || self.is_kept(stream) {
            return true;
        }
        if self.params.get().is_none() {
            return true;
        }
        let snapshot = || Snapshot::of(stream, &stream.params(), now_ms());
        self.store.try_save(stream.name(), snapshot)
    }

    fn save_last(&self, stream: &Stream) {
        if self.params.get().is_some() && stream.last_seq() > 0 && !self.is_kept(stream) {
            self.store
                .save(Snapshot::of(stream, &stream.params(), now_ms()));
        }
    }

    fn pulse(&self) -> Option<Arc<Pulse>> {
        Some(self.store.pulse())
    }

    fn is_kept(&self, stream: &Stream) -> bool {
        self.store.covered(stream.name()) == [stream.last_seq(); 2]
    }

    fn load(
        &self,
        reading: &Reading,
        params: &StreamParams,
        seq: u64,
    ) -> Result<Option<Stream>, StoreError> {
        let name = &*reading.stream;
        if let Some(stream) = self.store.load(name, params, seq)? {
            return Ok(Some(stream));
        }
        error!(
            stream = name,
            seq, "the snapshot of an idle stream cannot be used"
        );
        self.recover(name, reading, params)
    }

    fn edge(
        &self,
        stream: &str,
        edge: &IncidentEdge,
        topics: &[&str],
        payload: &str,
    ) -> Result<Vec<u64>, StoreError> {
        let message = |topic: &&str| ((*topic).to_owned(), payload.as_bytes().to_vec(), true);
        let messages = topics.iter().map(message).collect();
        let kept = self.store.record(Edge::of(stream, edge), messages);
        Ok(kept.into_iter().map(|message| message.id).collect())
    }

    fn save_history(&self, stream: &str, history: &StreamHistory) -> bool {
        self.store.save_history(stream, history)
    }

    fn forget(&self, stream: &str, seq: u64) {
        self.store.forget(stream, seq);
    }

    fn delivered(&self, id: u64) {
        self.store.delivered(id);
    }

    fn keep_filters(&self, filters: Vec<String>) {
        self.store.keep_filters(filters);
    }

    fn recover(
        &self,
        stream: &str,
        reading: &Reading,
        params: &StreamParams,
    ) -> Result<Option<Stream>, StoreError> {
        if self.store.options().durability == Durability::None {
            return Ok(None);
        }
        // The worker may be ahead of the journal by a group.
        if !self.store.wait_for(reading.seq, JOURNAL_WAIT) {
            error!(
                stream,
                "the readings before the panic are not in the journal yet: the stream goes on without them"
            );
        }
        Ok(Some(self.store.rebuild(stream, params, reading.seq)?))
    }

    fn quarantine(&self, reading: &Reading, reason: &str) {
        self.store.dead_letter(reading, reason);
    }

    fn snapshot_round(&self) -> u64 {
        let mut rounds = lock(&self.rounds);
        if self.store.wants_snapshot() || rounds.since.elapsed() >= self.snapshot_every {
            rounds.number += 1;
            rounds.since = Instant::now();
        }
        rounds.number
    }

    fn groups_commits(&self) -> bool {
        self.store.options().durability == Durability::Journal
    }

    fn stats(&self) -> StoreStats {
        self.store.stats()
    }
}

/// A delivery as the journal keeps it; never 0, since packet ids are not.
fn delivery_key(delivery: Delivery) -> u64 {
    delivery.hash << 16 | u64::from(delivery.packet_id)
}

fn delivery(key: u64) -> Delivery {
    Delivery {
        packet_id: (key & 0xffff) as u16,
        hash: key >> 16,
    }
}

fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}
