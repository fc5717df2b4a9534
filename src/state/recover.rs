//! From the state file back to the streams: snapshots, then the journal; and salvage of a damaged
//! file.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use super::db::{self, ASIDE, BAD, Reader, SnapshotRow};
use super::error::StateError;
use super::journal::{self, JournalRow};
use super::store::{Edge, OutMessage, Spans};
use super::supervise::{Failures, push_caught};
use super::writer::{Span, insert_snapshot, now_ms};
use crate::row::{Outcome, Reading};
use crate::stream::{Stream, StreamParams};

/// Delivery keys kept to recognise what the broker delivers again: all that MQTT can tell apart.
const KEYS: usize = 65_536;
/// More readings than any group has: what a damaged one says beyond that is part of the damage.
const GROUP_MAX: u64 = 1 << 24;

/// An incident's edge that the replay met and the file does not know: the crash came between the
/// reading and its record. It is to be recorded and published now.
#[derive(Clone, Debug)]
pub struct MissedEdge {
    /// Index into [`Recovered::streams`].
    pub stream: usize,
    /// The outcome that carries the edge.
    pub outcome: Outcome,
}

/// What a restart found.
#[derive(Debug, Default)]
pub struct Recovered {
    /// The streams, by name.
    pub streams: Vec<Stream>,
    /// Edges to record and publish.
    pub edges: Vec<MissedEdge>,
    /// Messages to publish again, oldest first.
    pub outbox: Vec<OutMessage>,
    /// Number of the newest reading known; the next one accepted is one more.
    pub last_seq: u64,
    /// Keys of the newest deliveries, oldest first.
    pub keys: VecDeque<u64>,
    /// What to say about it.
    pub report: Report,
    pub(crate) marks: Vec<(i64, i64)>,
    pub(crate) dead: Vec<(Reading, String)>,
    pub(crate) spans: Spans,
}

impl Recovered {
    /// Numbers of the last readings in each stream's two newest snapshots, older first.
    pub fn covered(&self) -> HashMap<String, [u64; 2]> {
        let spans = self.spans.iter();
        spans
            .map(|(name, span)| (name.clone(), span.covered))
            .collect()
    }
}

/// What to say about a restart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Report {
    /// Streams rebuilt.
    pub streams: usize,
    /// Of these, from a snapshot.
    pub from_snapshot: usize,
    /// Readings replayed from the journal.
    pub replayed: u64,
    /// Snapshots passed over because their checksum or layout is wrong.
    pub damaged_snapshots: u64,
    /// Streams whose snapshots are of other settings, and what changed.
    pub set_aside: Vec<(String, String)>,
    /// Streams that go on with changed settings.
    pub retuned: usize,
    /// Streams that have damaged snapshots only, and start from what the journal holds.
    pub started_over: Vec<String>,
    /// Journal groups whose checksum is wrong.
    pub damaged_groups: u64,
    /// Readings missing from the journal at most.
    pub lost_readings: u64,
    /// Readings that no stream could digest, left out.
    pub dead_letters: u64,
    /// What was wrong with the file, if it had to be salvaged.
    pub salvaged: Option<String>,
    /// How long it took.
    pub took: Duration,
}

impl Report {
    /// Something was lost or passed over: worth an ERROR and a look.
    pub fn is_bad(&self) -> bool {
        self.damaged_snapshots + self.damaged_groups + self.lost_readings > 0
            || !self.started_over.is_empty()
            || self.salvaged.is_some()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "restored {} streams, {} from snapshots, {} readings replayed, in {:.3} s",
            self.streams,
            self.from_snapshot,
            self.replayed,
            self.took.as_secs_f64()
        )?;
        if self.retuned > 0 {
            write!(f, "; {} go on with changed settings", self.retuned)?;
        }
        for (stream, why) in &self.set_aside {
            write!(f, "; snapshot of {stream:?} set aside: {why}")?;
        }
        if self.damaged_snapshots > 0 {
            write!(
                f,
                "; {} damaged snapshots passed over",
                self.damaged_snapshots
            )?;
        }
        for stream in &self.started_over {
            write!(
                f,
                "; {stream:?} starts over: none of its snapshots is whole"
            )?;
        }
        if self.damaged_groups + self.lost_readings > 0 {
            write!(
                f,
                "; {} damaged journal groups, up to {} readings lost",
                self.damaged_groups, self.lost_readings
            )?;
        }
        if self.dead_letters > 0 {
            write!(
                f,
                "; {} readings left out as dead letters",
                self.dead_letters
            )?;
        }
        if let Some(detail) = &self.salvaged {
            write!(f, "; the file was damaged ({detail}) and has been salvaged")?;
        }
        Ok(())
    }
}

/// Rebuilds every stream of the file at `path` for which `params` knows settings. Writes nothing.
///
/// # Errors
/// When the file cannot be read.
pub fn recover(
    path: &Path,
    params: &dyn Fn(&str) -> Option<StreamParams>,
) -> Result<Recovered, StateError> {
    let start = Instant::now();
    let reader = Reader::open_unchecked(path).map_err(StateError::sql("opening the state file"))?;
    let mut replay = Replay {
        params,
        dead: dead_seqs(&reader)?,
        told: told_edges(&reader)?,
        streams: BTreeMap::new(),
        panicked: BTreeSet::new(),
        edges: Vec::new(),
        out: Recovered::default(),
    };
    replay.load_snapshots(&reader)?;
    replay.run_journal(&reader)?;
    replay.redo_panicked(&reader)?;
    let mut recovered = replay.finish();
    recovered.outbox = reader.outbox()?;
    recovered.report.took = start.elapsed();
    Ok(recovered)
}

/// Rebuilds one stream up to and without reading number `until`. Readings that make it panic three
/// times are left out and returned with the panic's words.
///
/// # Errors
/// When the file cannot be read.
pub fn recover_stream(
    path: &Path,
    name: &str,
    params: &StreamParams,
    until: u64,
) -> Result<(Stream, Vec<(Reading, String)>), StateError> {
    let reader = Reader::open_unchecked(path).map_err(StateError::sql("opening the state file"))?;
    rebuild(&reader, name, params, until)
}

/// The stream as its snapshot that ends with reading number `seq` has it; `None` where there is no
/// such snapshot, or it cannot be used.
///
/// # Errors
/// When the file cannot be read.
pub fn load_stream(
    path: &Path,
    name: &str,
    params: &StreamParams,
    seq: u64,
) -> Result<Option<Stream>, StateError> {
    let reader = Reader::open_unchecked(path).map_err(StateError::sql("opening the state file"))?;
    let row = reader.snapshot_at(name, seq)?;
    Ok(row.and_then(|row| usable(&row, params).ok().map(|(stream, _)| stream)))
}

fn rebuild(
    reader: &Reader,
    name: &str,
    params: &StreamParams,
    until: u64,
) -> Result<(Stream, Vec<(Reading, String)>), StateError> {
    let mut skip = dead_seqs(reader)?;
    let mut failures = Failures::default();
    let mut dead = Vec::new();
    let (rows, _) = reader.snapshots(Some(name))?;
    let mut outcomes = Vec::new();
    loop {
        let mut stream = rows
            .iter()
            .find_map(|row| usable(row, params).ok().map(|(stream, _)| stream))
            .unwrap_or_else(|| Stream::new(name, params));
        let mut panicked = None;
        reader.journal(stream.last_seq(), |row| {
            let Ok((readings, _)) = row.and_then(|row| journal::unpack(&row)) else {
                return Ok(());
            };
            for reading in readings.into_iter().map(|a| a.reading) {
                let wanted = &*reading.stream == name
                    && reading.seq > stream.last_seq()
                    && reading.seq < until
                    && !skip.contains(&reading.seq);
                if panicked.is_none() && wanted {
                    outcomes.clear();
                    if let Err(words) = push_caught(&mut stream, &reading, &mut outcomes) {
                        panicked = Some((reading, words));
                    }
                }
            }
            Ok(())
        })?;
        let Some((reading, words)) = panicked else {
            return Ok((stream, dead));
        };
        if failures.again(reading.seq) {
            skip.insert(reading.seq);
            dead.push((reading, words));
        }
    }
}

/// The stream of a snapshot that [`fits`], and whether some of its settings have changed.
fn usable(row: &SnapshotRow, params: &StreamParams) -> Result<(Stream, bool), Unusable> {
    fits(row, params)?;
    let opened = row.snapshot.open_with(params);
    opened.map_err(|_| Unusable::Damaged)
}

/// Whether a snapshot is whole, not set aside, and of settings that make the same model.
fn fits(row: &SnapshotRow, params: &StreamParams) -> Result<(), Unusable> {
    if !row.intact {
        return Err(Unusable::Damaged);
    }
    if row.aside {
        return Err(Unusable::Aside);
    }
    match row.snapshot.unfit_for(params) {
        Some(why) => Err(Unusable::Unfit(why)),
        None => Ok(()),
    }
}

enum Unusable {
    Damaged,
    Aside,
    Unfit(String),
}

type EdgeKey = (String, u64, i64, i64);

fn told_edges(reader: &Reader) -> Result<HashSet<EdgeKey>, StateError> {
    Ok(reader.edges()?.into_iter().collect())
}

fn dead_seqs(reader: &Reader) -> Result<HashSet<u64>, StateError> {
    Ok(reader.dead_letters()?.into_iter().map(|d| d.0).collect())
}

struct Replay<'a> {
    params: &'a dyn Fn(&str) -> Option<StreamParams>,
    dead: HashSet<u64>,
    told: HashSet<EdgeKey>,
    streams: BTreeMap<Arc<str>, Stream>,
    panicked: BTreeSet<Arc<str>>,
    edges: Vec<(Arc<str>, Outcome)>,
    out: Recovered,
}

impl Replay<'_> {
    fn load_snapshots(&mut self, reader: &Reader) -> Result<(), StateError> {
        let (rows, unreadable) = reader.snapshot_ids()?;
        self.out.report.damaged_snapshots += unreadable;
        // One at a time: a stream's two snapshots are larger than the stream.
        for of_stream in rows.chunk_by(|a, b| a.1 == b.1) {
            let rows = of_stream.iter().map(|(id, _)| (*id, reader.snapshot(*id)));
            self.load_newest(&of_stream[0].1, rows);
        }
        Ok(())
    }

    /// Takes the newest snapshot that is whole and fits; those behind it are only checked.
    fn load_newest(
        &mut self,
        name: &str,
        rows: impl Iterator<Item = (i64, Result<SnapshotRow, StateError>)>,
    ) {
        let params = (self.params)(name);
        let mut newest: Option<Stream> = None;
        let (mut older, mut damaged, mut unfit) = (0, 0, None);
        for (id, row) in rows {
            let row = row.ok().filter(|row| row.intact);
            let seq = row.as_ref().map_or(0, |row| row.snapshot.seq);
            self.out.last_seq = self.out.last_seq.max(seq);
            let Some(params) = &params else { continue };
            let found = match (&newest, &row) {
                (_, None) => Err(Unusable::Damaged),
                (None, Some(row)) => usable(row, params).map(Some),
                (Some(_), Some(row)) => fits(row, params).map(|()| None),
            };
            match found {
                Ok(Some((stream, retuned))) => {
                    self.out.report.retuned += usize::from(retuned);
                    newest = Some(stream);
                }
                Ok(None) => older = older.max(seq),
                Err(Unusable::Aside) => {}
                Err(Unusable::Damaged) => {
                    damaged += 1;
                    self.out.marks.push((id, BAD));
                }
                Err(Unusable::Unfit(why)) => {
                    self.out.marks.push((id, ASIDE));
                    unfit.get_or_insert(why);
                }
            }
        }
        let report = &mut self.out.report;
        report.damaged_snapshots += damaged;
        if let Some(why) = unfit {
            report.set_aside.push((name.to_owned(), why));
        } else if newest.is_none() && damaged > 0 {
            report.started_over.push(name.to_owned());
        }
        let Some(newest) = newest else { return };
        report.from_snapshot += 1;
        let span = Span {
            covered: [older, newest.last_seq()],
            last: newest.last_seq(),
        };
        self.out.spans.insert(name.to_owned(), span);
        self.streams.insert(newest.name().clone(), newest);
    }

    fn run_journal(&mut self, reader: &Reader) -> Result<(), StateError> {
        let mut before = reader.pruned_through()?;
        let mut torn = 0;
        reader.journal(0, |row| {
            let said = row.as_ref().map_or(0, |row| row.last_seq);
            if !self.group(row, &mut before) && said.saturating_sub(before) < GROUP_MAX {
                torn = torn.max(said);
            }
            Ok(())
        })?;
        // No group behind a damaged last one says what is missing, and its numbers are given away.
        if torn > before {
            self.note_hole(before, torn);
            before = torn;
        }
        self.out.last_seq = self.out.last_seq.max(before);
        Ok(())
    }

    /// Replays a group; false where it is damaged.
    fn group(&mut self, row: Result<JournalRow, StateError>, before: &mut u64) -> bool {
        let Ok((readings, follows)) = row.and_then(|row| journal::unpack(&row)) else {
            self.out.report.damaged_groups += 1;
            return false;
        };
        self.note_hole(*before, follows);
        let excess = self.out.keys.len().saturating_sub(KEYS);
        self.out.keys.drain(..excess);
        for accepted in readings {
            *before = accepted.reading.seq;
            if accepted.key != 0 {
                self.out.keys.push_back(accepted.key);
            }
            self.reading(&accepted.reading);
        }
        true
    }

    /// Readings after `before` and up to `follows` are missing. Those that every stream has in its
    /// snapshot are no loss.
    fn note_hole(&mut self, before: u64, follows: u64) {
        let needed = self.streams.values().map(Stream::last_seq).min();
        let from = before.max(needed.unwrap_or(0));
        self.out.report.lost_readings += follows.saturating_sub(from);
    }

    fn reading(&mut self, reading: &Reading) {
        let span = self
            .out
            .spans
            .entry(reading.stream.to_string())
            .or_insert(Span {
                covered: [reading.seq.saturating_sub(1); 2],
                last: reading.seq,
            });
        span.last = span.last.max(reading.seq);
        if !self.streams.contains_key(&reading.stream) {
            let Some(params) = (self.params)(&reading.stream) else {
                return;
            };
            let stream = Stream::new(&reading.stream, &params);
            self.streams.insert(reading.stream.clone(), stream);
        }
        let Some(stream) = self.streams.get_mut(&reading.stream) else {
            return;
        };
        let skip = reading.seq <= stream.last_seq()
            || self.dead.contains(&reading.seq)
            || self.panicked.contains(&reading.stream);
        if skip {
            return;
        }
        let mut outcomes = Vec::new();
        if push_caught(stream, reading, &mut outcomes).is_err() {
            self.panicked.insert(reading.stream.clone());
        }
        self.out.report.replayed += 1;
        for outcome in outcomes {
            let Some(edge) = &outcome.edge else { continue };
            let edge = Edge::of(&reading.stream, edge);
            let key = (edge.stream, edge.number, edge.start_ms, edge.edge);
            if !self.told.contains(&key) {
                self.edges.push((reading.stream.clone(), outcome));
            }
        }
    }

    fn redo_panicked(&mut self, reader: &Reader) -> Result<(), StateError> {
        for name in std::mem::take(&mut self.panicked) {
            let Some(params) = (self.params)(&name) else {
                continue;
            };
            let (stream, dead) = rebuild(reader, &name, &params, u64::MAX)?;
            self.streams.insert(name, stream);
            self.out.report.dead_letters += dead.len() as u64;
            self.out.dead.extend(dead);
        }
        Ok(())
    }

    fn finish(self) -> Recovered {
        let mut out = self.out;
        let index: BTreeMap<_, _> = self.streams.keys().cloned().zip(0..).collect();
        out.edges = self
            .edges
            .into_iter()
            .map(|(name, outcome)| MissedEdge {
                stream: index[&name],
                outcome,
            })
            .collect();
        out.streams = self.streams.into_values().collect();
        out.report.streams = out.streams.len();
        out
    }
}

/// Moves a damaged file away and puts in its place a new one with everything of the old one that
/// its checksums vouch for.
///
/// # Errors
/// When nothing can be saved, or the new file cannot be written.
pub(crate) fn salvage(path: &Path, detail: &str) -> Result<(), StateError> {
    let damaged = || StateError::Damaged {
        path: path.to_owned(),
        detail: detail.to_owned(),
    };
    let reader = Reader::open_unchecked(path).map_err(|_| damaged())?;
    let (snapshots, _) = reader.snapshots(None).unwrap_or_default();
    let mut groups = Vec::new();
    let mut unreadable = 0;
    // An error here means that the table ends early; what came before it counts.
    drop(reader.journal(0, |row| {
        match row.and_then(|row| journal::unpack(&row).map(|_| row)) {
            Ok(row) => groups.push(row),
            Err(_) => unreadable += 1,
        }
        Ok(())
    }));
    let whole: Vec<_> = snapshots.iter().filter(|row| row.intact).collect();
    if whole.is_empty() && groups.is_empty() {
        return Err(damaged());
    }
    let new = with_suffix(path, ".new");
    for suffix in ["", "-wal", "-shm"] {
        drop(std::fs::remove_file(with_suffix(&new, suffix)));
    }
    write_salvaged(&new, &reader, &whole, &groups)?;
    drop(reader);
    let kept = with_suffix(path, &format!(".damaged-{}", now_ms()));
    let rename = |from: &Path, to: &Path| {
        std::fs::rename(from, to).map_err(|source| StateError::Io {
            what: "cannot rename",
            path: from.to_owned(),
            source,
        })
    };
    rename(path, &kept)?;
    for suffix in ["-wal", "-shm"] {
        // They need not exist.
        drop(std::fs::rename(
            with_suffix(path, suffix),
            with_suffix(&kept, suffix),
        ));
    }
    rename(&new, path)?;
    tracing::error!(
        detail, kept = %kept.display(), snapshots = whole.len(), groups = groups.len(), unreadable,
        "the state file was damaged; what is whole was taken over, readings may be missing"
    );
    Ok(())
}

fn write_salvaged(
    new: &Path,
    old: &Reader,
    snapshots: &[&SnapshotRow],
    groups: &[JournalRow],
) -> Result<(), StateError> {
    let sql = || StateError::sql("writing the salvaged state file");
    let mut connection = db::open_writer(new, true)?;
    let t = connection.transaction().map_err(sql())?;
    let mut by_age = snapshots.to_vec();
    by_age.sort_by_key(|row| row.id);
    for row in by_age {
        let status = if row.aside { ASIDE } else { db::GOOD };
        insert_snapshot(&t, &row.snapshot, status).map_err(sql())?;
    }
    for row in groups {
        super::writer::insert_group(&t, row).map_err(sql())?;
    }
    for message in old.outbox().unwrap_or_default() {
        super::writer::insert_message(&t, &message).map_err(sql())?;
    }
    super::writer::set_meta(&t, "pruned_through", old.pruned_through().unwrap_or(0))
        .map_err(sql())?;
    super::writer::set_meta(&t, "salvaged_ms", now_ms() as u64).map_err(sql())?;
    t.commit().map_err(sql())?;
    connection.close().map_err(|(_, e)| sql()(e))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
