//! The writer thread: many commands, one commit; pruning; trying again when the disk is full.

use std::path::Path;
use std::sync::Arc;
use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use crossbeam_channel::{Receiver, RecvTimeoutError};
use rusqlite::Connection;

use super::commands::{Shared, WriterCommand};
use super::db;
use super::error::StateError;
use super::first_page;
use super::journal::{JournalEntry, pack};
use super::mark::Mark;
use super::place::{FileState, StateFiles};
use super::records::{Span, Spans, StoreOptions};
use super::rows::{CommitChanges, apply, insert_group, prune};
use crate::config::Durability;
use crate::progress;

/// Readings that pruning leaves while the journal is within its limit, so that deliveries from
/// before a crash are recognised. A broker's in-flight window should be far smaller, but
/// mosquitto 2.0.11 was seen to send thousands at once to a client that comes back to a backlog.
const TAIL: u64 = 32_768;
/// Commands in one commit at most.
const GROUP: usize = 1024;
/// Wait after a failed commit, doubling up to the second number.
const RETRY: (Duration, Duration) = (Duration::from_millis(50), Duration::from_secs(2));

/// Longest time without a sign of life while there is nothing to do.
const IDLE: Duration = progress::BEAT_EVERY;
/// Time between two looks at the file while there is nothing to do.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// Owns the connection.
pub(crate) struct Writer {
    connection: Connection,
    place: StateFiles,
    /// It was not in its place at the last look.
    is_lost: bool,
    looked: Instant,
    mark: Option<Mark>,
    options: StoreOptions,
    shared: Arc<Shared>,
    /// `None` until recovery has said what the snapshots cover: nothing is pruned before.
    spans: Option<Spans>,
    /// Newest reading journaled.
    last_seq: u64,
    /// Newest reading that the restart knew of, journaled or in a snapshot alone.
    restored_seq: u64,
    bytes_since_snapshot: u64,
    /// Snapshots of readings that are not journaled yet: they wait for them.
    early: Vec<WriterCommand>,
}

impl Writer {
    pub(crate) fn open(options: &StoreOptions, shared: Arc<Shared>) -> Result<Writer, StateError> {
        let path = options.path();
        let lock = db::lock(&path)?;
        super::salvage::resume(&path)?;
        let sync = options.durability == Durability::Journal;
        let mut page = first_page::read(&path);
        let mut opened = db::open_writer(&path, sync);
        if let Err(StateError::Damaged { .. } | StateError::NotOurs { .. }) = &opened
            && first_page::mend(&path)?
        {
            page = first_page::read(&path);
            opened = db::open_writer(&path, sync);
        }
        page = page.filter(|_| opened.is_ok());
        let connection = match opened {
            Err(StateError::Damaged { detail, .. }) => {
                super::salvage::salvage(&path, &detail)?;
                db::open_writer(&path, sync)?
            }
            other => other?,
        };
        let sql = || StateError::sql("reading the state file");
        let span = db::span(&connection).map_err(sql())?;
        let count = |query: &str| {
            connection
                .query_row(query, [], |row| row.get::<_, i64>(0))
                .map(|n| n as u64)
                .map_err(sql())
        };
        shared
            .outbox
            .store(count("SELECT count(*) FROM outbox")?, Relaxed);
        let next_out = 1 + count("SELECT coalesce(max(id), 0) FROM outbox")?;
        shared.next_out.store(next_out, Relaxed);
        shared
            .dead_letters
            .store(count("SELECT count(*) FROM dead_letters")?, Relaxed);
        let (bytes, last_seq) = span.map_or((0, 0), |(_, bytes, _, last)| (bytes, last));
        shared.journal_bytes.store(bytes, Relaxed);
        let pruned = db::meta(&connection, "pruned_through").map_err(sql())?;
        let last_seq = last_seq.max(pruned);
        shared.last_seq.store(last_seq, Relaxed);
        let mark = open_mark(&path);
        first_page::keep(mark.as_ref(), page);
        Ok(Writer {
            connection,
            place: StateFiles::new(&path, lock),
            is_lost: false,
            looked: Instant::now(),
            mark,
            options: options.clone(),
            shared,
            spans: None,
            last_seq,
            restored_seq: 0,
            bytes_since_snapshot: bytes,
            early: Vec::new(),
        })
    }

    /// Works until told to stop, or until every handle is gone.
    pub(crate) fn run(mut self, commands: &Receiver<WriterCommand>) {
        progress::enter(self.shared.pulse.clone());
        while let Some(first) = self.next(commands) {
            let group = self.gather(first, commands);
            let stop = group.iter().any(|c| matches!(c, WriterCommand::Stop));
            let group = self.hold_back_early(group);
            self.commit(group);
            if stop {
                break;
            }
        }
        let early = std::mem::take(&mut self.early);
        self.give_up(early, "its last readings never came to the journal");
        if let Err(error) = self
            .connection
            .execute_batch("PRAGMA wal_checkpoint(TRUNCATE)")
        {
            tracing::warn!(%error, "the last checkpoint of the state file failed; its log remains");
        }
        drop(self.connection);
        let page = first_page::read(&self.options.path());
        first_page::keep(self.mark.as_ref(), page);
        self.shared.pulse.end();
    }

    /// The next command; `None` once every handle is gone.
    fn next(&mut self, commands: &Receiver<WriterCommand>) -> Option<WriterCommand> {
        loop {
            progress::beat();
            if self.looked.elapsed() >= LOOK_EVERY {
                self.looked = Instant::now();
                self.look_after();
            }
            match commands.recv_timeout(IDLE) {
                Ok(command) => return Some(command),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
    }

    /// Where the file was removed or replaced, everything that it had is written anew from the one that
    /// is still open.
    ///
    /// # Errors
    /// If it cannot be: nothing is committed to a file that nobody will find.
    fn stay_in_place(&mut self) -> Result<(), StateError> {
        let path = self.options.path();
        let found = self.place.look();
        if found == FileState::Cut && self.place.accept(self.last_seq) {
            return Ok(());
        }
        if found == FileState::InPlace {
            if !self.mark.as_ref().is_none_or(|mark| mark.is_at(&path)) {
                self.renew_mark(&path);
            }
            return Ok(());
        }
        let (cut, sync) = (
            found == FileState::Cut,
            self.options.durability == Durability::Journal,
        );
        match self.place.write_anew(&self.connection, cut, sync) {
            Ok(connection) => self.connection = connection,
            Err(error) => {
                let what = "the state file was removed or replaced, and cannot be written anew";
                return Err(StateError::format(what, error.to_string()));
            }
        }
        self.renew_mark(&path);
        if cut {
            self.shared.note_nothing_covered();
            tracing::error!(path = %path.display(), "the state file was cut while it was open: it is written anew with what can be read, and the streams in memory are saved again; older incidents and idle streams may be lost");
        } else {
            tracing::error!(path = %path.display(), "the state file was removed or replaced: it is written anew, nothing is lost");
        }
        Ok(())
    }

    fn renew_mark(&mut self, path: &Path) {
        self.mark = open_mark(path);
        if let Some(mark) = &self.mark {
            mark.write(self.last_seq);
            mark.forget_first_page();
        }
    }

    /// Looks after the file while nothing is written to it.
    fn look_after(&mut self) {
        match self.stay_in_place() {
            Ok(()) if self.is_lost => {
                self.is_lost = false;
                *self.failing() = None;
            }
            Ok(()) => {}
            Err(error) => {
                self.is_lost = true;
                self.note_failure(&error.to_string());
            }
        }
    }

    /// Commands for one commit: enough readings, enough time, or one that will not wait.
    fn gather(
        &self,
        first: WriterCommand,
        commands: &Receiver<WriterCommand>,
    ) -> Vec<WriterCommand> {
        let weight = |command: &WriterCommand| match command {
            WriterCommand::Append { readings, .. } => readings.len(),
            _ => 0,
        };
        let deadline = Instant::now() + self.options.commit_age;
        let mut readings = weight(&first);
        let mut urgent = first.is_urgent();
        let mut group = vec![first];
        while !urgent && group.len() < GROUP {
            let next = if readings < self.options.commit_messages {
                commands.recv_deadline(deadline).ok()
            } else {
                commands.try_recv().ok()
            };
            let Some(next) = next else { break };
            readings += weight(&next);
            urgent = next.is_urgent();
            group.push(next);
        }
        group
    }

    /// A worker may learn a reading, and take a snapshot, before the reading is committed. Such a
    /// snapshot waits, or a crash between the two would have learned what was never acknowledged.
    fn hold_back_early(&mut self, mut group: Vec<WriterCommand>) -> Vec<WriterCommand> {
        if self.options.durability != Durability::Journal {
            return group;
        }
        group.splice(0..0, self.early.drain(..));
        let newest = group.iter().flat_map(readings_of).map(|a| a.reading.seq);
        let known = self.last_seq.max(self.restored_seq);
        let newest = newest.max().unwrap_or(0).max(known);
        let is_early = |c: &WriterCommand| matches!(c, WriterCommand::Save { snapshot, .. } if snapshot.seq > newest);
        let (early, ready) = group.into_iter().partition(is_early);
        self.early = early;
        ready
    }

    /// Commits the group, trying again for as long as it takes: readings stay unacknowledged
    /// meanwhile. Snapshots are given up at the first failure.
    fn commit(&mut self, mut group: Vec<WriterCommand>) {
        let mut wait = RETRY.0;
        loop {
            let start = Instant::now();
            let tried = self.stay_in_place();
            let error = match tried.and_then(|()| self.try_commit(&group)) {
                Ok(changes) => {
                    self.settle(&group, &changes, start.elapsed());
                    for done in group.into_iter().filter_map(WriterCommand::into_done) {
                        done(Ok(()));
                    }
                    return;
                }
                Err(error) => error.to_string(),
            };
            self.note_failure(&error);
            let (snapshots, rest): (Vec<_>, Vec<_>) = group.into_iter().partition(|c| {
                matches!(
                    c,
                    WriterCommand::Save { .. } | WriterCommand::History { .. }
                )
            });
            let only_rest = snapshots.is_empty();
            self.give_up(snapshots, &error);
            group = rest;
            if !only_rest {
                continue;
            }
            if self.shared.stopping.load(Relaxed) {
                self.give_up(group, &error);
                return;
            }
            // It waits for room, and goes on by itself once there is some.
            progress::beat();
            std::thread::sleep(wait);
            wait = (wait * 2).min(RETRY.1);
        }
    }

    fn give_up(&self, commands: Vec<WriterCommand>, error: &str) {
        self.shared.note_saved(&commands);
        for command in commands {
            if matches!(command, WriterCommand::Save { .. }) {
                self.shared.snapshot_failures.fetch_add(1, Relaxed);
            }
            if let Some(done) = command.into_done() {
                done(Err(error.to_owned()));
            }
        }
    }

    fn note_failure(&self, error: &str) {
        self.shared.write_failures.fetch_add(1, Relaxed);
        let mut failing = self.failing();
        if failing.is_none() {
            tracing::error!(
                error,
                "cannot write the state file; readings wait unacknowledged"
            );
        }
        *failing = Some(error.to_owned());
    }

    fn failing(&self) -> std::sync::MutexGuard<'_, Option<String>> {
        self.shared
            .failing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }

    /// One transaction with everything of the group in it.
    fn try_commit(&mut self, group: &[WriterCommand]) -> Result<CommitChanges, StateError> {
        for command in group {
            if let WriterCommand::Adopt { spans, last_seq } = command {
                self.spans = Some(spans.clone());
                self.restored_seq = *last_seq;
            }
        }
        let mut changes = CommitChanges::default();
        let saves = group
            .iter()
            .any(|c| matches!(c, WriterCommand::Save { .. }));
        let floor = saves.then(|| self.floor_after(group)).flatten();
        let last_seq = self.last_seq;
        let transaction = self
            .connection
            .transaction()
            .map_err(StateError::sql("starting a commit"))?;
        let readings: Vec<&JournalEntry> = group.iter().flat_map(readings_of).collect();
        if let Some(row) = pack(&readings, last_seq) {
            insert_group(&transaction, &row).map_err(StateError::sql("journaling readings"))?;
            changes.added = row.data.len() as u64;
            changes.last_seq = Some(row.last_seq);
            changes.readings = readings.len() as u64;
        }
        for command in group {
            apply(&transaction, command, &mut changes)
                .map_err(StateError::sql("writing the state file"))?;
        }
        if changes.snapshots > 0
            && let Some(floor) = floor
        {
            changes.removed =
                prune(&transaction, floor).map_err(StateError::sql("pruning the journal"))?;
        }
        transaction
            .commit()
            .map_err(StateError::sql("committing"))?;
        Ok(changes)
    }

    /// Every reading up to this number is in both snapshots of its stream, once the group is on
    /// disk. `None`: not known, or nothing.
    fn floor_after(&self, group: &[WriterCommand]) -> Option<u64> {
        let mut spans = self.spans.clone()?;
        let last = advance(&mut spans, group).unwrap_or(self.last_seq);
        let floor = spans
            .values()
            .filter(|span| span.last > span.covered[0])
            .map(|span| span.covered[0])
            .min()
            .unwrap_or(last);
        let crowded = self.shared.journal_bytes.load(Relaxed) > self.options.journal_max_bytes / 2;
        let tail = if crowded { 0 } else { TAIL };
        Some(floor.min(last.saturating_sub(tail)))
    }

    /// Takes note of what is now on disk.
    fn settle(&mut self, group: &[WriterCommand], changes: &CommitChanges, took: Duration) {
        if let Some(spans) = &mut self.spans {
            advance(spans, group);
        }
        self.note_covered(group);
        self.shared.note_saved(group);
        self.last_seq = changes.last_seq.unwrap_or(self.last_seq);
        let s = &self.shared;
        s.last_seq.store(self.last_seq, Relaxed);
        if let (Some(mark), Some(last_seq)) = (&self.mark, changes.last_seq) {
            mark.write(last_seq);
        }
        s.readings.fetch_add(changes.readings, Relaxed);
        s.commits.fetch_add(1, Relaxed);
        s.commit_us.fetch_add(took.as_micros() as u64, Relaxed);
        s.snapshots.fetch_add(changes.snapshots, Relaxed);
        s.dead_letters.fetch_add(changes.dead, Relaxed);
        let bytes = s.journal_bytes.load(Relaxed) + changes.added;
        s.journal_bytes
            .store(bytes.saturating_sub(changes.removed), Relaxed);
        let outbox = s.outbox.load(Relaxed).saturating_add_signed(changes.outbox);
        s.outbox.store(outbox, Relaxed);
        if let Some(error) = self.failing().take() {
            tracing::warn!(error, "the state file can be written again");
        }
        if changes.snapshots > 0 {
            self.bytes_since_snapshot = 0;
        }
        self.bytes_since_snapshot += changes.added;
        // Two snapshots' worth of readings is kept, so one is due at half the limit.
        if self.bytes_since_snapshot > self.options.journal_max_bytes / 2 {
            self.bytes_since_snapshot = 0;
            s.forced.fetch_add(1, Relaxed);
            s.wants_snapshot.store(true, Relaxed);
        }
    }

    fn note_covered(&self, group: &[WriterCommand]) {
        let covered = &self.shared.covered;
        let mut covered = covered.lock().unwrap_or_else(PoisonError::into_inner);
        for command in group {
            match command {
                WriterCommand::Save { snapshot, .. } => {
                    let seqs = covered.entry(snapshot.stream.clone()).or_default();
                    *seqs = [seqs[1], snapshot.seq];
                }
                WriterCommand::Forget { stream, .. } => drop(covered.remove(stream)),
                _ => {}
            }
        }
    }
}

fn open_mark(path: &Path) -> Option<Mark> {
    let mark = Mark::open(path);
    mark.inspect_err(|error| tracing::warn!(%error, "the state file has no mark: a damaged log would not be noticed"))
        .ok()
}

fn readings_of(command: &WriterCommand) -> &[JournalEntry] {
    match command {
        WriterCommand::Append { readings, .. } => readings,
        _ => &[],
    }
}

/// Brings the spans up to date with a group; returns the number of its last reading.
fn advance(spans: &mut Spans, group: &[WriterCommand]) -> Option<u64> {
    let mut last = None;
    for reading in group.iter().flat_map(readings_of).map(|a| &a.reading) {
        last = Some(reading.seq);
        if let Some(span) = spans.get_mut(&*reading.stream) {
            span.last = reading.seq;
        } else {
            let before = reading.seq.saturating_sub(1);
            let span = Span {
                covered: [before; 2],
                last: reading.seq,
            };
            spans.insert(reading.stream.to_string(), span);
        }
    }
    for command in group {
        match command {
            WriterCommand::Save { snapshot, .. } => {
                if let Some(span) = spans.get_mut(&snapshot.stream) {
                    span.covered = [span.covered[1], snapshot.seq];
                }
            }
            WriterCommand::Forget { stream, seq } => match spans.get_mut(stream) {
                Some(span) if span.last > *seq => span.covered = [*seq; 2],
                _ => drop(spans.remove(stream)),
            },
            _ => {}
        }
    }
    last
}
