//! The store on disk, as the runtime sees it: [`Store`] by means of one SQLite file.

use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use tracing::{error, info, warn};

use super::store::{Accepted, Delivery, KeptMessage, Replay, Restored, Store, StoreError};
use crate::config::{Durability, StateSettings};
use crate::history::StreamHistory;
use crate::progress::Pulse;
use crate::row::{IncidentEdge, Reading};
use crate::state::snapshot::Snapshot;
use crate::state::{self, Done, Edge, StateError, StoreOptions, StoreStats};
use crate::status::lock;
use crate::stream::{Stream, StreamParams};

/// Longest wait for the readings before a panic to come into the journal.
const JOURNAL_WAIT: Duration = Duration::from_secs(5);

impl From<StateError> for StoreError {
    fn from(error: StateError) -> StoreError {
        StoreError(error.to_string())
    }
}

/// Journal, snapshots and the rest in the state file.
#[derive(Debug)]
pub struct DiskStore {
    store: state::StateStore,
    snapshot_every: Duration,
    params: OnceLock<StreamParams>,
    rounds: Mutex<Rounds>,
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
            params: OnceLock::new(),
            rounds: Mutex::new(Rounds {
                number: 0,
                since: Instant::now(),
            }),
        })
    }
}

impl Store for DiskStore {
    fn restore(&self, params: &StreamParams) -> Result<Restored, StoreError> {
        let params = self.params.get_or_init(|| params.clone());
        let Some((prepared, replay)) = self.store.prepare(&|_| Some(params.clone()))? else {
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
        let readings = replay.map(|group| group.map_err(StoreError::from));
        Ok(Restored {
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
            streams: prepared.streams,
            replay: Some(Replay {
                readings: Box::new(readings),
                pending: prepared.pending,
                told: prepared.told,
            }),
        })
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

    fn close(&self) -> Result<(), StoreError> {
        self.store.close();
        match self.store.stats().failing {
            None => Ok(()),
            Some(failing) => Err(StoreError(failing)),
        }
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
