//! The handle to the state file: what may be asked of it, by whom, and what it counts.

use std::collections::{HashMap, HashSet};
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use crossbeam_channel::{RecvTimeoutError, SendTimeoutError, Sender, bounded};

use super::commands::{Shared, WriterCommand};
use super::db;
use super::error::StateError;
use super::journal::JournalEntry;
use super::records::{Done, Edge, OutMessage, StoreOptions, StoreStats};
use super::recover::{
    DueReadings, JournalReplay, Prepared, Recovered, load_stream, prepare, recover_stream,
    replay_in_place,
};
use super::snapshot::Snapshot;
use super::writer::Writer;
use crate::config::Durability;
use crate::history::StreamHistory;
use crate::progress::{self, Pulse};
use crate::row::Reading;
use crate::stream::{Stream, StreamParams};

/// Commands that may wait for the writer; more make their senders wait.
const QUEUE: usize = 1024;
/// Time between two signs of life of who waits for the writer.
const PATIENCE: Duration = Duration::from_millis(200);

/// The handle to the state file. Clones share one writer.
#[derive(Clone, Debug)]
pub struct StateStore {
    options: Arc<StoreOptions>,
    shared: Arc<Shared>,
    sender: Option<Sender<WriterCommand>>,
    writer: Arc<Mutex<Option<JoinHandle<()>>>>,
}

impl StateStore {
    /// Opens or makes the state file and starts its writer. A damaged file is moved away and what
    /// its checksums vouch for is taken over; [`StateStore::recover`] says so.
    ///
    /// # Errors
    /// When the directory cannot be made, the file is in use, newer than this program, not ours,
    /// or damaged beyond repair.
    pub fn open(options: StoreOptions) -> Result<StateStore, StateError> {
        let mut store = StateStore {
            shared: Arc::new(Shared::new()),
            sender: None,
            writer: Arc::default(),
            options: Arc::new(options),
        };
        if store.options.durability == Durability::None {
            return Ok(store);
        }
        db::make_dir(&store.options.dir)?;
        let writer = Writer::open(&store.options, store.shared.clone())?;
        let (sender, receiver) = bounded(QUEUE);
        let handle = std::thread::Builder::new()
            .name("state-writer".to_owned())
            .spawn(move || writer.run(&receiver))
            .map_err(|source| StateError::Io {
                what: "cannot start the writer of",
                path: store.options.path(),
                source,
            })?;
        store.sender = Some(sender);
        *store.writer.lock().unwrap_or_else(PoisonError::into_inner) = Some(handle);
        Ok(store)
    }

    /// Loads every stream's newest good snapshot and finds what the journal has beyond them. Call it,
    /// or [`StateStore::recover`], once, before the first [`StateStore::append`]. `params` gives a stream's
    /// settings by its name; a stream without is left out and stays in the file. `None` where nothing
    /// is kept.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn prepare(
        &self,
        params: &dyn Fn(&str) -> Option<StreamParams>,
    ) -> Result<Option<(Prepared, JournalReplay)>, StateError> {
        if self.sender.is_none() {
            return Ok(None);
        }
        let (prepared, replay) = prepare(&self.options.path(), params)?;
        *self.covered_by_stream() = prepared.covered();
        for &(id, status) in &prepared.marks {
            self.send(WriterCommand::Mark { id, status });
        }
        self.send(WriterCommand::Adopt {
            spans: prepared.spans.clone(),
            last_seq: prepared.last_seq,
        });
        Ok(Some((prepared, replay)))
    }

    /// The readings of the journal that are due and behind number `after`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn replay_behind(
        &self,
        after: u64,
        due: Arc<DueReadings>,
    ) -> Result<JournalReplay, StateError> {
        JournalReplay::behind(&self.options.path(), after, due)
    }

    /// [`StateStore::prepare`], and replays in place what the journal has beyond the snapshots.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn recover(
        &self,
        params: &dyn Fn(&str) -> Option<StreamParams>,
    ) -> Result<Recovered, StateError> {
        let start = Instant::now();
        let Some((prepared, replay)) = self.prepare(params)? else {
            return Ok(Recovered::default());
        };
        let path = self.options.path();
        let recovered = replay_in_place(&path, params, prepared, replay, start)?;
        for (reading, reason) in &recovered.dead {
            self.dead_letter(reading, reason);
        }
        Ok(recovered)
    }

    /// Journals accepted readings, ascending in `seq`, and calls `done` when they are safe; with
    /// other durabilities at once. An empty list is a barrier: its `done` comes after all before
    /// it. Waits while the writer is behind, so never call it on the task that reads the socket.
    pub fn append(&self, readings: Vec<JournalEntry>, done: Done) {
        if self.options.durability != Durability::Journal {
            done(Ok(()));
            return;
        }
        self.send(WriterCommand::Append { readings, done });
    }

    /// [`StateStore::append`] and wait.
    ///
    /// # Errors
    /// When the store was closed before the readings were safe.
    pub fn append_and_wait(&self, readings: Vec<JournalEntry>) -> Result<(), StateError> {
        self.wait(|done| self.append(readings, done))
    }

    /// Writes a snapshot, after everything sent before it; the stream's two newest are kept. A
    /// failure is counted and the next interval tries again. Waits while the writer is behind.
    pub fn save(&self, snapshot: Snapshot) {
        self.send(WriterCommand::Save {
            snapshot,
            done: None,
        });
    }

    /// [`StateStore::save`] where it need not wait: one snapshot a stream is on its way at most, however
    /// long the disk takes, so that memory is bounded and nobody is held up. False where it was not
    /// taken.
    pub fn try_save(&self, stream: &str, snapshot: impl FnOnce() -> Snapshot) -> bool {
        let Some(sender) = &self.sender else {
            return false;
        };
        if sender.is_full() || !self.pending().insert(stream.to_owned()) {
            return false;
        }
        let save = WriterCommand::Save {
            snapshot: snapshot(),
            done: None,
        };
        let taken = sender.try_send(save).is_ok();
        if !taken {
            self.pending().remove(stream);
        }
        taken
    }

    fn pending(&self) -> MutexGuard<'_, HashSet<String>> {
        let pending = &self.shared.pending;
        pending.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Signs of life of the writer.
    pub fn pulse(&self) -> Arc<Pulse> {
        self.shared.pulse.clone()
    }

    /// Writes a stream's history, in the place of the one before, where that need not wait; false
    /// where it was not taken. A full disk loses it.
    pub fn save_history(&self, stream: &str, history: &StreamHistory) -> bool {
        let Some(sender) = self.sender.as_ref().filter(|sender| !sender.is_full()) else {
            return false;
        };
        let command = WriterCommand::History {
            stream: stream.to_owned(),
            body: super::snapshot::encode(history),
        };
        sender.try_send(command).is_ok()
    }

    /// [`StateStore::save`] and wait.
    ///
    /// # Errors
    /// When it could not be written.
    pub fn save_and_wait(&self, snapshot: Snapshot) -> Result<(), StateError> {
        if self.sender.is_none() {
            return Ok(());
        }
        self.wait(|done| {
            self.send(WriterCommand::Save {
                snapshot,
                done: Some(done),
            });
        })
    }

    /// Records an incident's edge once and, with it, the messages that tell of it (topic, payload,
    /// retain). Returns the messages as numbered in the outbox.
    pub fn record(&self, edge: Edge, messages: Vec<(String, Vec<u8>, bool)>) -> Vec<OutMessage> {
        let messages = messages.into_iter();
        let messages = messages.map(|(topic, payload, retain)| OutMessage {
            id: self.shared.next_out.fetch_add(1, Relaxed),
            topic,
            payload,
            retain,
        });
        let messages: Vec<OutMessage> = messages.collect();
        self.send(WriterCommand::Record {
            edge,
            messages: messages.clone(),
        });
        messages
    }

    /// Gives up a stream whose last reading has number `seq`: its snapshots are deleted, its readings up
    /// to that one are not replayed.
    pub fn forget(&self, stream: &str, seq: u64) {
        let stream = stream.to_owned();
        self.send(WriterCommand::Forget { stream, seq });
    }

    /// Replaces the filters to which the broker may hold a subscription, where that need not wait: at
    /// worst the broker is asked in vain to drop some of them once more.
    pub fn keep_filters(&self, filters: Vec<String>) {
        if let Some(sender) = &self.sender
            && sender.try_send(WriterCommand::Filters(filters)).is_err()
        {
            tracing::warn!("the filters are not kept: the disk is too far behind");
        }
    }

    /// The message has its PUBACK.
    pub fn delivered(&self, id: u64) {
        self.send(WriterCommand::Delivered(id));
    }

    /// Sets a reading apart: replays leave it out from now on.
    pub fn dead_letter(&self, reading: &Reading, reason: &str) {
        self.send(WriterCommand::Dead {
            reading: reading.clone(),
            reason: reason.to_owned(),
        });
    }

    /// Rebuilds one stream as it was before reading number `until`, once everything sent before
    /// is on disk; at its beginning where nothing is kept. Readings that make it panic on the way
    /// are set apart.
    ///
    /// # Errors
    /// When the file cannot be read, or the writer has stopped.
    pub fn rebuild(
        &self,
        stream: &str,
        params: &StreamParams,
        until: u64,
    ) -> Result<Stream, StateError> {
        if self.sender.is_none() {
            return Ok(Stream::new(stream, params));
        }
        self.flush()?;
        let (rebuilt, dead) = recover_stream(&self.options.path(), stream, params, until)?;
        for (reading, reason) in dead {
            self.dead_letter(&reading, &reason);
        }
        Ok(rebuilt)
    }

    /// Numbers of the last readings in a stream's two newest snapshots on disk, older first; 0 where
    /// there is none.
    pub fn covered(&self, stream: &str) -> [u64; 2] {
        let covered = self.covered_by_stream();
        covered.get(stream).copied().unwrap_or_default()
    }

    fn covered_by_stream(&self) -> MutexGuard<'_, HashMap<String, [u64; 2]>> {
        let covered = &self.shared.covered;
        covered.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The stream as its snapshot that ends with reading number `seq` has it; `None` where there
    /// is no such snapshot, or it cannot be used.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub fn load(
        &self,
        stream: &str,
        params: &StreamParams,
        seq: u64,
    ) -> Result<Option<Stream>, StateError> {
        if self.sender.is_none() {
            return Ok(None);
        }
        load_stream(&self.options.path(), stream, params, seq)
    }

    /// Waits until the journal holds reading number `seq`, for `timeout` at most; returns whether
    /// it does. True at once where there is no journal.
    pub fn wait_for(&self, seq: u64, timeout: Duration) -> bool {
        let until = Instant::now() + timeout;
        let here = || {
            self.options.durability != Durability::Journal
                || self.shared.last_seq.load(Relaxed) >= seq
        };
        while !here() && Instant::now() < until {
            std::thread::sleep(Duration::from_millis(1));
        }
        here()
    }

    /// The journal has grown so much since the last snapshot that one is due now. Says so once.
    pub fn wants_snapshot(&self) -> bool {
        self.shared.wants_snapshot.swap(false, Relaxed)
    }

    /// Waits until everything sent before is on disk.
    ///
    /// # Errors
    /// When the store was closed before.
    pub fn flush(&self) -> Result<(), StateError> {
        if self.sender.is_none() {
            return Ok(());
        }
        self.wait(|done| self.send(WriterCommand::Flush(done)))
    }

    /// Writes what is waiting and stops the writer; what a full disk keeps from being written is
    /// given up, and its `done` told so. Idempotent; later commands fail.
    pub fn close(&self) {
        self.shared.stopping.store(true, Relaxed);
        let handle = self
            .writer
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        if let Some(handle) = handle {
            self.send(WriterCommand::Stop);
            if handle.join().is_err() {
                tracing::error!("the state writer panicked");
            }
        }
    }

    /// Counters and standing.
    pub fn stats(&self) -> StoreStats {
        let s = &self.shared;
        StoreStats {
            readings: s.readings.load(Relaxed),
            commits: s.commits.load(Relaxed),
            commit_us: s.commit_us.load(Relaxed),
            journal_bytes: s.journal_bytes.load(Relaxed),
            snapshots: s.snapshots.load(Relaxed),
            snapshot_failures: s.snapshot_failures.load(Relaxed),
            forced: s.forced.load(Relaxed),
            write_failures: s.write_failures.load(Relaxed),
            outbox: s.outbox.load(Relaxed),
            dead_letters: s.dead_letters.load(Relaxed),
            failing: s
                .failing
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .clone(),
        }
    }

    /// How and where this store keeps its state.
    pub fn options(&self) -> &StoreOptions {
        &self.options
    }

    fn send(&self, command: WriterCommand) {
        let Some(sender) = &self.sender else { return };
        let mut command = command;
        loop {
            // Whoever waits for the writer is not the one that hangs.
            progress::beat();
            match sender.send_timeout(command, PATIENCE) {
                Ok(()) => return,
                Err(SendTimeoutError::Timeout(back)) => command = back,
                Err(SendTimeoutError::Disconnected(back)) => {
                    if let Some(done) = back.into_done() {
                        done(Err(StateError::Closed.to_string()));
                    }
                    return;
                }
            }
        }
    }

    fn wait(&self, start: impl FnOnce(Done)) -> Result<(), StateError> {
        let (told, answer) = bounded(1);
        start(Box::new(move |result| {
            // The waiter below cannot be gone; if it were, nobody would want to know.
            drop(told.send(result));
        }));
        loop {
            progress::beat();
            match answer.recv_timeout(PATIENCE) {
                Ok(Ok(())) => return Ok(()),
                Ok(Err(detail)) => return Err(StateError::format("not written", detail)),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return Err(StateError::Closed),
            }
        }
    }
}
