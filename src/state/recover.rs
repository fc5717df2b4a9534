//! Recovers the streams from the state file: their snapshots, then the readings of the journal.
//!
//! [`prepare`] loads the snapshots and looks through the journal without learning anything. The
//! readings to replay then come from [`JournalReplay`], a group at a time: the daemon hands them to its
//! workers, [`recover`] (for `spiked inspect`) replays them in place.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet, VecDeque};
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use super::db::{ASIDE, BAD, GOOD};
use super::error::StateError;
use super::journal::{self, JournalEntry, JournalRow};
use super::reader::{Reader, SnapshotRow};
use super::records::{Edge, OutMessage, Span, Spans};
use super::report::RecoveryReport;
use super::supervise::{Failures, push_caught};
use crate::history::StreamHistory;
use crate::row::{IncidentEdge, Outcome, Reading, StreamId, StreamMap};
use crate::stream::{Stream, StreamParams};

/// Delivery keys kept to recognise what the broker delivers again: all that MQTT can tell apart.
const KEYS: usize = 65_536;
/// More readings than any group has: what a damaged one says beyond that is part of the damage.
const GROUP_MAX: u64 = 1 << 24;
/// Journal rows read at once for a replay.
const CHUNK: usize = 16;

/// An incident's edge that the replay met and the file does not know: the crash came between the
/// reading and its record. It is to be recorded and published now.
#[derive(Clone, Debug)]
pub struct MissedEdge {
    /// Index into [`Recovered::streams`].
    pub stream: usize,
    /// The outcome that carries the edge.
    pub outcome: Outcome,
}

/// Findings of a restart.
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
    /// Message about it.
    pub report: RecoveryReport,
    pub(crate) dead: Vec<(Reading, String)>,
}

/// A restart before anything is replayed.
#[derive(Debug, Default)]
pub struct Prepared {
    /// The streams as their newest snapshots have them, by name.
    pub streams: Vec<Stream>,
    /// Readings to replay, by stream.
    pub pending: BTreeMap<StreamId, u64>,
    /// Messages to publish again, oldest first.
    pub outbox: Vec<OutMessage>,
    /// Number of the newest reading known; the next one accepted is one more.
    pub last_seq: u64,
    /// Keys of the newest deliveries, oldest first.
    pub keys: VecDeque<u64>,
    /// Message about it.
    pub report: RecoveryReport,
    /// Incident edges on record.
    pub told: Told,
    /// Histories as they were last written, by stream.
    pub histories: Vec<(String, StreamHistory)>,
    /// Filters to which the broker may hold a subscription.
    pub filters: Vec<String>,
    /// Every stream has learned the readings up to this one.
    pub position: u64,
    pub(crate) marks: Vec<(i64, i64)>,
    pub(crate) spans: Spans,
}

impl Prepared {
    /// Numbers of the last readings in each stream's two newest snapshots, older first.
    pub fn covered(&self) -> HashMap<String, [u64; 2]> {
        let spans = self.spans.iter();
        spans
            .map(|(name, span)| (name.clone(), span.covered))
            .collect()
    }

    /// Readings to replay.
    pub fn n_pending(&self) -> u64 {
        self.pending.values().sum()
    }
}

/// The incident edges that the file has on record: a replay meets them again.
#[derive(Clone, Debug, Default)]
pub struct Told(HashSet<EdgeKey>);

impl Told {
    /// The edge is on record.
    pub fn knows(&self, stream: &str, edge: &IncidentEdge) -> bool {
        let edge = Edge::of(stream, edge);
        let key = (edge.stream, edge.number, edge.start_ms, edge.edge);
        self.0.contains(&key)
    }
}

/// The readings of the journal that the streams have not learned yet, a group at a time. Read in
/// parts, so that the file can be written and its log emptied meanwhile.
#[derive(Debug)]
pub struct JournalReplay {
    reader: Reader,
    /// Rows read ahead.
    rows: VecDeque<JournalRow>,
    /// First reading of the last row read.
    after: Option<u64>,
    /// Last reading of that row.
    position: u64,
    due: Arc<DueReadings>,
}

/// Tells the readings of the journal that the streams have not learned yet from the others.
#[derive(Debug, Default)]
pub(crate) struct DueReadings {
    /// Last reading that each stream has learned. Streams that are not here are left out.
    learned: StreamMap<u64>,
    dead: HashSet<u64>,
}

impl DueReadings {
    fn has(&self, reading: &Reading) -> bool {
        let learned = self.learned.get(&reading.stream);
        learned.is_some_and(|learned| reading.seq > *learned) && !self.dead.contains(&reading.seq)
    }
}

impl JournalReplay {
    /// Those of the file at `path` that are due and behind number `after`.
    ///
    /// # Errors
    /// When the file cannot be read.
    pub(crate) fn behind(
        path: &Path,
        after: u64,
        due: Arc<DueReadings>,
    ) -> Result<JournalReplay, StateError> {
        let reader =
            Reader::open_unchecked(path).map_err(StateError::sql("opening the state file"))?;
        Ok(JournalReplay {
            after: reader.journal_start(after)?,
            position: after,
            rows: VecDeque::new(),
            reader,
            due,
        })
    }

    /// Number of the last reading of the last group.
    pub(crate) fn position(&self) -> u64 {
        self.position
    }

    /// Which readings they are.
    pub(crate) fn due(&self) -> Arc<DueReadings> {
        self.due.clone()
    }
}

impl Iterator for JournalReplay {
    type Item = Result<Vec<Reading>, StateError>;

    fn next(&mut self) -> Option<Result<Vec<Reading>, StateError>> {
        if self.rows.is_empty() {
            match self.reader.journal_rows(self.after, CHUNK) {
                Ok(rows) => self.rows = rows.into(),
                Err(error) => return Some(Err(error)),
            }
        }
        let row = self.rows.pop_front()?;
        self.after = Some(row.first_seq);
        self.position = row.last_seq;
        // A damaged group has been counted already.
        let (mut readings, _) = journal::unpack(&row).unwrap_or_default();
        readings.retain(|JournalEntry { reading, .. }| self.due.has(reading));
        Some(Ok(readings.into_iter().map(|a| a.reading).collect()))
    }
}

/// Loads the newest snapshot of every stream of the file at `path` for which `params` knows
/// settings, and looks through the journal. Writes nothing.
///
/// # Errors
/// When the file cannot be read.
pub fn prepare(
    path: &Path,
    params: &dyn Fn(&str) -> Option<StreamParams>,
) -> Result<(Prepared, JournalReplay), StateError> {
    let start = Instant::now();
    let reader = Reader::open_unchecked(path).map_err(StateError::sql("opening the state file"))?;
    let mut scan = Scan {
        params,
        dead: dead_seqs(&reader)?,
        forgotten: reader.forgotten(),
        streams: BTreeMap::new(),
        learned: StreamMap::default(),
        out: Prepared {
            told: Told(reader.edges()?.into_iter().collect()),
            ..Prepared::default()
        },
    };
    scan.load_snapshots(&reader)?;
    scan.run_journal(&reader)?;
    scan.look_at_mark(path);
    let Scan {
        dead,
        forgotten,
        streams,
        mut learned,
        mut out,
        ..
    } = scan;
    out.outbox = reader.outbox()?;
    out.histories = reader.histories();
    out.filters = reader.filters();
    out.streams = streams.into_values().collect();
    out.report.streams = out.streams.len();
    let new = out
        .pending
        .keys()
        .filter(|name| !learned.contains_key(*name));
    let from = |name: &StreamId| forgotten.get(&**name).copied().unwrap_or(0);
    let new: Vec<_> = new.map(|name| (name.clone(), from(name))).collect();
    out.report.streams += new.len();
    learned.extend(new);
    out.report.replayed = out.n_pending();
    out.report.took = start.elapsed();
    out.position = learned.values().copied().min().unwrap_or(0);
    let due = Arc::new(DueReadings { learned, dead });
    let replay = JournalReplay::behind(path, out.position, due)?;
    Ok((out, replay))
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
    let (prepared, replay) = prepare(path, params)?;
    replay_in_place(path, params, prepared, replay, start)
}

/// [`recover`] from where [`prepare`] left off.
pub(crate) fn replay_in_place(
    path: &Path,
    params: &dyn Fn(&str) -> Option<StreamParams>,
    prepared: Prepared,
    replay: JournalReplay,
    start: Instant,
) -> Result<Recovered, StateError> {
    let known = prepared.streams.into_iter();
    let mut streams: BTreeMap<_, _> = known.map(|s| (s.name().clone(), s)).collect();
    let mut panicked = BTreeSet::new();
    let mut edges = Vec::new();
    let mut outcomes = Vec::new();
    for group in replay {
        for reading in group? {
            if panicked.contains(&reading.stream) {
                continue;
            }
            if !streams.contains_key(&reading.stream) {
                let Some(params) = params(&reading.stream) else {
                    continue;
                };
                let stream = Stream::new(&reading.stream, &params);
                streams.insert(reading.stream.clone(), stream);
            }
            let Some(stream) = streams.get_mut(&reading.stream) else {
                continue;
            };
            outcomes.clear();
            if push_caught(stream, &reading, &mut outcomes).is_err() {
                panicked.insert(reading.stream.clone());
            }
            edges.extend(outcomes.drain(..).filter_map(|outcome| {
                let missed = !prepared.told.knows(&reading.stream, outcome.edge.as_ref()?);
                missed.then(|| (reading.stream.clone(), outcome))
            }));
        }
    }
    let mut report = prepared.report;
    let mut all_dead = Vec::new();
    for name in panicked {
        let Some(params) = params(&name) else {
            continue;
        };
        let (stream, dead) = recover_stream(path, &name, &params, u64::MAX)?;
        streams.insert(name, stream);
        report.dead_letters += dead.len() as u64;
        all_dead.extend(dead);
    }
    let index: BTreeMap<_, _> = streams.keys().cloned().zip(0..).collect();
    report.took = start.elapsed();
    Ok(Recovered {
        edges: edges
            .into_iter()
            .map(|(name, outcome)| MissedEdge {
                stream: index[&name],
                outcome,
            })
            .collect(),
        streams: streams.into_values().collect(),
        outbox: prepared.outbox,
        last_seq: prepared.last_seq,
        keys: prepared.keys,
        report,
        dead: all_dead,
    })
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
    let forgotten = reader.forgotten().get(name).copied().unwrap_or(0);
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
                    && reading.seq > stream.last_seq().max(forgotten)
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

/// Whether a snapshot is whole and of settings that make the same model: one that was set aside is taken
/// back once its settings are.
fn fits(row: &SnapshotRow, params: &StreamParams) -> Result<(), Unusable> {
    if !row.intact {
        return Err(Unusable::Damaged);
    }
    match row.snapshot.unfit_for(params) {
        Some(_) if row.aside => Err(Unusable::Aside),
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

fn dead_seqs(reader: &Reader) -> Result<HashSet<u64>, StateError> {
    Ok(reader.dead_letters()?.into_iter().map(|d| d.0).collect())
}

/// The look through a file.
struct Scan<'a> {
    params: &'a dyn Fn(&str) -> Option<StreamParams>,
    dead: HashSet<u64>,
    /// Last reading of each stream that was given up.
    forgotten: HashMap<String, u64>,
    streams: BTreeMap<StreamId, Stream>,
    /// Last reading in each stream's snapshot.
    learned: StreamMap<u64>,
    out: Prepared,
}

impl Scan<'_> {
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
                    if row.as_ref().is_some_and(|row| row.aside) {
                        self.out.report.taken_back.push(name.to_owned());
                        self.out.marks.push((id, GOOD));
                    }
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
            let taken_back = report.taken_back.iter().any(|back| back == name);
            if !taken_back {
                report.set_aside.push((name.to_owned(), why));
            }
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
        let learned = newest.last_seq();
        self.learned.insert(newest.name().clone(), learned);
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

    /// Finds committed readings that are not there any more: the log was cut, removed or damaged. The numbers of
    /// the readings are given away.
    fn look_at_mark(&mut self, path: &Path) {
        let committed = super::mark::read(path).unwrap_or(0);
        self.out.report.lost_log = committed.saturating_sub(self.out.last_seq);
        self.out.last_seq = self.out.last_seq.max(committed);
    }

    /// Looks through a group; false where it is damaged.
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
        let forgotten = self.forgotten.get(&*reading.stream);
        if forgotten.is_some_and(|seq| reading.seq <= *seq) {
            return;
        }
        let span = self
            .out
            .spans
            .entry(reading.stream.to_string())
            .or_insert(Span {
                covered: [reading.seq.saturating_sub(1); 2],
                last: reading.seq,
            });
        span.last = span.last.max(reading.seq);
        if self.dead.contains(&reading.seq) {
            return;
        }
        match self.learned.get(&reading.stream) {
            Some(learned) if reading.seq <= *learned => return,
            Some(_) => {}
            None if self.out.pending.contains_key(&reading.stream) => {}
            None if (self.params)(&reading.stream).is_some() => {}
            None => return,
        }
        *self.out.pending.entry(reading.stream.clone()).or_default() += 1;
    }
}
