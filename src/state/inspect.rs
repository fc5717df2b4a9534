//! Contents of a state file, for a person or a script: the figures of `spiked inspect`.

use std::fmt;
use std::path::Path;

use serde::Serialize;
use serde_json::Value;

use super::error::StateError;
use super::first_page;
use super::journal;
use super::listing::{UtcTime, incident_line};
use super::reader::{Reader, SnapshotRow};
use super::recover::recover;
use super::report::RecoveryReport;
use super::snapshot::{Snapshot, digest};
use crate::stream::{Stream, StreamParams};

/// Incident edges listed.
const INCIDENTS: usize = 20;

/// A state file, summed up.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Inspection {
    /// The file.
    pub file: String,
    /// Its size, bytes, without its log.
    pub bytes: u64,
    /// The journal; `None` when it is empty.
    pub journal: Option<JournalSpan>,
    /// One a stream.
    pub streams: Vec<StreamSummary>,
    /// Messages without a PUBACK.
    pub outbox: u64,
    /// Readings set apart: number, stream, reading, reason.
    pub dead_letters: Vec<(u64, String, String, String)>,
    /// The newest incident edges: stream, incident.
    pub incidents: Vec<(String, Value)>,
    /// Messages of a restart.
    pub restart: String,
}

/// Extent of the journal.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct JournalSpan {
    /// Group commits.
    pub groups: u64,
    /// Packed bytes.
    pub bytes: u64,
    /// Number of the first reading.
    pub first_seq: u64,
    /// Number of the last reading.
    pub last_seq: u64,
    /// Arrival of the first reading, unix milliseconds.
    pub first_ms: Option<i64>,
    /// Arrival of the last reading, unix milliseconds.
    pub last_ms: Option<i64>,
}

/// One stream as a restart would find it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct StreamSummary {
    /// Its name.
    pub stream: String,
    /// Readings accepted and learned, or waiting in a partial row or batch. This and what follows
    /// is `None` where no snapshot says which settings the stream has.
    pub readings: Option<u64>,
    /// Number of its last reading.
    pub last_seq: Option<u64>,
    /// Digest of the whole learner state.
    pub digest: Option<String>,
    /// Channel names.
    pub channels: Vec<String>,
    /// Rows learned.
    pub rows: Option<u64>,
    /// Its snapshots, newest first.
    pub snapshots: Vec<SnapshotSummary>,
    /// Summary figures of its networks.
    pub weights: Vec<Weights>,
}

/// One snapshot.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SnapshotSummary {
    /// When it was made, unix milliseconds.
    pub created_ms: i64,
    /// Number of its last reading.
    pub seq: u64,
    /// Bytes of the state.
    pub bytes: usize,
    /// Its checksum is right.
    pub intact: bool,
    /// Made with other settings and kept aside.
    pub aside: bool,
}

/// One layer of one network.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Weights {
    /// The network.
    pub network: String,
    /// The layer, from the input; the last are the direct synapses.
    pub layer: String,
    /// Weights.
    pub weights: usize,
    /// Mean posterior sd over prior sd.
    pub relative_sd: f64,
    /// Share still at the prior, 0 to 1.
    pub at_prior: f64,
}

/// Sums up the state file at `path`, all of it or one stream.
///
/// # Errors
/// When the file cannot be read.
pub fn inspect(path: &Path, only: Option<&str>) -> Result<Inspection, StateError> {
    let (reader, damage) = match Reader::open(path) {
        Err(StateError::Damaged { .. } | StateError::NotOurs { .. })
            if first_page::is_mendable(path) =>
        {
            let what = "the state file's first page is damaged";
            return Err(StateError::format(
                what,
                "the next start mends it from a copy",
            ));
        }
        Err(StateError::Damaged { detail, .. }) => {
            let reader = Reader::open_unchecked(path);
            let reader = reader.map_err(StateError::sql("opening the state file"))?;
            (reader, Some(detail))
        }
        other => (other?, None),
    };
    let (rows, _) = reader.snapshots(only)?;
    let (streams, mut report) = restored(path, &rows)?;
    report.salvaged = damage;
    let mut names: Vec<String> = rows.iter().map(|row| row.snapshot.stream.clone()).collect();
    let journal = journal_span(&reader, &mut names)?;
    names.sort();
    names.dedup();
    names.retain(|name| only.is_none_or(|only| only == name));
    let bytes = std::fs::metadata(path).map_or(0, |meta| meta.len());
    Ok(Inspection {
        file: path.display().to_string(),
        bytes,
        journal,
        streams: names
            .iter()
            .map(|name| summary(name, &rows, &streams))
            .collect(),
        outbox: reader.counts()?.outbox,
        dead_letters: reader.dead_letters()?,
        incidents: reader
            .incidents(INCIDENTS)?
            .into_iter()
            .map(|(stream, body)| (stream, serde_json::from_str(&body).unwrap_or(Value::Null)))
            .collect(),
        restart: report.to_string(),
    })
}

/// The stream as a restart would find it, as a snapshot.
///
/// # Errors
/// When the file cannot be read, or has no whole snapshot of the stream.
pub fn current(path: &Path, stream: &str, now_ms: i64) -> Result<Snapshot, StateError> {
    let (rows, _) = Reader::open(path)?.snapshots(Some(stream))?;
    let missing = || StateError::format("state file", format!("no snapshot of stream {stream:?}"));
    let params = known_params(&rows, stream).ok_or_else(missing)?;
    let (streams, _) = restored(path, &rows)?;
    let found = streams.iter().find(|s| &**s.name() == stream);
    Ok(Snapshot::of(found.ok_or_else(missing)?, &params, now_ms))
}

fn restored(
    path: &Path,
    rows: &[SnapshotRow],
) -> Result<(Vec<Stream>, RecoveryReport), StateError> {
    let recovered = recover(path, &|name| known_params(rows, name))?;
    Ok((recovered.streams, recovered.report))
}

fn known_params(rows: &[SnapshotRow], stream: &str) -> Option<StreamParams> {
    rows.iter()
        .filter(|row| row.snapshot.stream == stream && row.intact && !row.aside)
        .find_map(|row| row.snapshot.params().ok())
}

fn journal_span(
    reader: &Reader,
    names: &mut Vec<String>,
) -> Result<Option<JournalSpan>, StateError> {
    let mut arrivals = None;
    let forgotten = reader.forgotten();
    reader.journal(0, |row| {
        let Ok((readings, _)) = row.and_then(|row| journal::unpack(&row)) else {
            return Ok(());
        };
        for reading in readings.iter().map(|accepted| &accepted.reading) {
            let (first, _) = *arrivals.get_or_insert((reading.arrival_ms, reading.arrival_ms));
            arrivals = Some((first, reading.arrival_ms));
            let seq = forgotten.get(&*reading.stream);
            let is_forgotten = seq.is_some_and(|seq| reading.seq <= *seq);
            if !is_forgotten && !names.iter().any(|name| **name == *reading.stream) {
                names.push(reading.stream.to_string());
            }
        }
        Ok(())
    })?;
    let span = reader.journal_span()?;
    Ok(
        span.map(|(groups, bytes, first_seq, last_seq)| JournalSpan {
            groups,
            bytes,
            first_seq,
            last_seq,
            first_ms: arrivals.map(|(first, _)| first),
            last_ms: arrivals.map(|(_, last)| last),
        }),
    )
}

fn summary(name: &str, rows: &[SnapshotRow], streams: &[Stream]) -> StreamSummary {
    let stream = streams.iter().find(|stream| &**stream.name() == name);
    let snapshots = rows
        .iter()
        .filter(|row| row.snapshot.stream == name)
        .map(|row| SnapshotSummary {
            created_ms: row.snapshot.created_ms,
            seq: row.snapshot.seq,
            bytes: row.snapshot.state.len(),
            intact: row.intact,
            aside: row.aside,
        })
        .collect();
    StreamSummary {
        stream: name.to_owned(),
        readings: stream.map(Stream::readings),
        last_seq: stream.map(Stream::last_seq),
        digest: stream.map(digest),
        channels: stream
            .map(|s| s.channels().iter().map(ToString::to_string).collect())
            .unwrap_or_default(),
        rows: stream.map(|s| s.engine().stats().rows),
        snapshots,
        weights: stream.map(weights).unwrap_or_default(),
    }
}

fn weights(stream: &Stream) -> Vec<Weights> {
    let mut all = Vec::new();
    for (network, summary) in stream.engine().weights() {
        let hidden = summary.layers.iter().enumerate();
        let named = hidden.map(|(i, layer)| (format!("layer {}", i + 1), layer));
        for (name, layer) in named.chain([("direct".to_owned(), &summary.direct)]) {
            all.push(Weights {
                network: network.to_owned(),
                layer: name,
                weights: layer.weights,
                relative_sd: layer.relative_sd,
                at_prior: layer.at_prior,
            });
        }
    }
    all
}

impl fmt::Display for Inspection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}  {} bytes", self.file, self.bytes)?;
        match &self.journal {
            Some(j) => writeln!(
                f,
                "journal       {} groups, {} bytes, readings {} to {}",
                j.groups, j.bytes, j.first_seq, j.last_seq
            )?,
            None => writeln!(f, "journal       empty")?,
        }
        writeln!(f, "outbox        {}", self.outbox)?;
        writeln!(f, "dead letters  {}", self.dead_letters.len())?;
        for (seq, stream, reading, reason) in &self.dead_letters {
            writeln!(f, "  {seq} {stream}: {reason}: {reading}")?;
        }
        writeln!(f, "restart       {}", self.restart)?;
        self.streams
            .iter()
            .try_for_each(|stream| write!(f, "{stream}"))?;
        for (stream, incident) in &self.incidents {
            let known = self.streams.iter().find(|known| known.stream == *stream);
            let channels = known.map_or(&[][..], |known| &known.channels);
            writeln!(
                f,
                "incident      {}",
                incident_line(stream, channels, incident)
            )?;
        }
        Ok(())
    }
}

impl fmt::Display for StreamSummary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "\nstream {}", self.stream)?;
        if let (Some(readings), Some(seq), Some(digest)) =
            (self.readings, self.last_seq, &self.digest)
        {
            writeln!(f, "  readings    {readings}, the last is number {seq}")?;
            writeln!(f, "  digest      {digest}")?;
            writeln!(f, "  channels    {}", self.channels.join(", "))?;
            writeln!(f, "  rows        {}", self.rows.unwrap_or(0))?;
        } else {
            writeln!(
                f,
                "  no whole snapshot yet: its readings are in the journal"
            )?;
        }
        for s in &self.snapshots {
            let state = match (s.intact, s.aside) {
                (false, _) => "damaged",
                (true, true) => "aside",
                (true, false) => "good",
            };
            writeln!(
                f,
                "  snapshot    {state}, through reading {}, {} bytes, made at {}",
                s.seq,
                s.bytes,
                UtcTime(s.created_ms)
            )?;
        }
        for w in &self.weights {
            writeln!(
                f,
                "  weights     {} {}: {} weights, sd {:.3} of the prior's, {:.1}% at the prior",
                w.network,
                w.layer,
                w.weights,
                w.relative_sd,
                100.0 * w.at_prior
            )?;
        }
        Ok(())
    }
}
