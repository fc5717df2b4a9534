//! The state file alone: what a restart finds after kills, damage, full disks and new settings.

use std::path::Path;
use std::sync::Arc;

use spiked::assemble::{Align, AssembleParams};
use spiked::row::Reading;
use spiked::state::snapshot::Snapshot;
use spiked::state::{
    Durability, JournalEntry, Reader, Recovered, StateError, StateStore, StoreOptions, digest,
};
use spiked::stream::{Stream, StreamParams};

pub fn params(channels: &[&str]) -> StreamParams {
    let channels = channels.iter().map(|&c| Arc::from(c)).collect();
    StreamParams {
        assemble: AssembleParams::new(Align::PerReading, 1000, 60_000, 8, channels).unwrap(),
        engine: Default::default(),
    }
}

/// Reading number `seq` of a plant with three streams of two channels.
pub fn reading(seq: u64) -> Reading {
    let ts_ms = 1_700_000_000_000 + 100 * seq as i64;
    Reading {
        seq,
        stream: ["press", "pump", "oven"][(seq % 3) as usize].into(),
        channel: ["a", "b"][(seq / 3 % 2) as usize].into(),
        value: (seq as f64 * 0.37).sin() + (seq % 7) as f64 * 0.01,
        ts_ms,
        arrival_ms: ts_ms + 5,
    }
}

pub fn accepted(seq: u64) -> JournalEntry {
    let reading = reading(seq);
    JournalEntry {
        reading,
        key: 7 * seq,
    }
}

/// The plant as a daemon would run it: every reading journaled, then learned.
pub struct Plant {
    pub store: StateStore,
    pub streams: Vec<Stream>,
}

impl Plant {
    pub fn open(options: StoreOptions) -> (Plant, Recovered) {
        let store = StateStore::open(options).unwrap();
        let mut recovered = store.recover(&|_| Some(params(&[]))).unwrap();
        let streams = std::mem::take(&mut recovered.streams);
        (Plant { store, streams }, recovered)
    }

    pub fn run(&mut self, seqs: std::ops::RangeInclusive<u64>) {
        for seq in seqs {
            self.store.append(vec![accepted(seq)], Box::new(|_| ()));
            learn(&mut self.streams, &reading(seq));
        }
        self.store.flush().unwrap();
    }

    pub fn save(&self) {
        for stream in &self.streams {
            self.store.save(Snapshot::of(stream, &params(&[]), 1));
        }
        self.store.flush().unwrap();
    }
}

fn learn(streams: &mut Vec<Stream>, reading: &Reading) {
    let index = match streams.iter().position(|s| *s.name() == reading.stream) {
        Some(index) => index,
        None => {
            streams.push(Stream::new(&reading.stream, &params(&[])));
            streams.sort_by(|a, b| a.name().cmp(b.name()));
            streams
                .iter()
                .position(|s| *s.name() == reading.stream)
                .unwrap()
        }
    };
    streams[index].push(reading, &mut Vec::new());
}

/// The streams after readings 1 to `last` without any interruption.
pub fn uninterrupted(last: u64) -> Vec<Stream> {
    let mut streams = Vec::new();
    (1..=last).for_each(|seq| learn(&mut streams, &reading(seq)));
    streams
}

pub fn digests(streams: &[Stream]) -> Vec<String> {
    streams.iter().map(digest).collect()
}

pub fn copy_state(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for suffix in ["", "-wal"] {
        let name = format!("spiked.db{suffix}");
        if from.join(&name).exists() {
            std::fs::copy(from.join(&name), to.join(&name)).unwrap();
        }
    }
}

#[test]
fn a_restart_after_a_kill_gives_the_same_bits() {
    let dir = tempfile::tempdir().unwrap();
    let (mut plant, _) = Plant::open(StoreOptions::new(dir.path()));
    plant.run(1..=500);
    plant.save();
    plant.run(501..=800);
    // The disk is as a kill would leave it: nothing has been closed.
    let killed = tempfile::tempdir().unwrap();
    copy_state(dir.path(), killed.path());
    let (again, recovered) = Plant::open(StoreOptions::new(killed.path()));
    assert_eq!(digests(&again.streams), digests(&uninterrupted(800)));
    assert_eq!(recovered.last_seq, 800);
    assert_eq!(recovered.report.replayed, 300);
    assert_eq!(recovered.report.from_snapshot, 3);
    assert!(!recovered.report.is_bad(), "{}", recovered.report);
    assert_eq!(recovered.keys.back(), Some(&accepted(800).key));
}

#[test]
fn the_journal_is_pruned_behind_the_older_snapshot_and_still_rebuilds_from_it() {
    let dir = tempfile::tempdir().unwrap();
    let (mut plant, _) = Plant::open(StoreOptions::new(dir.path()));
    for round in 0..10 {
        plant.run(round * 10_000 + 1..=(round + 1) * 10_000);
        plant.save();
    }
    let reader = Reader::open(&plant.store.options().path()).unwrap();
    let (_, bytes, first, last) = reader.journal_span().unwrap().unwrap();
    assert!((50_000..=80_000).contains(&first), "{first}");
    assert_eq!(last, 100_000);
    assert_eq!(bytes, plant.store.stats().journal_bytes);
    plant.store.close();
    let db = rusqlite::Connection::open(dir.path().join("spiked.db")).unwrap();
    db.execute("UPDATE snapshots SET state = zeroblob(10) WHERE id IN (SELECT max(id) FROM snapshots GROUP BY stream)", [])
        .unwrap();
    let (again, recovered) = Plant::open(StoreOptions::new(dir.path()));
    assert_eq!(digests(&again.streams), digests(&uninterrupted(100_000)));
    assert_eq!(recovered.report.damaged_snapshots, 3);
    assert_eq!(recovered.report.lost_readings, 0);
    assert!(recovered.report.is_bad());
}

#[test]
fn a_lost_journal_group_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let (mut plant, _) = Plant::open(StoreOptions::new(dir.path()));
    for tens in 0..30 {
        plant.run(tens * 10 + 1..=tens * 10 + 10);
    }
    plant.store.close();
    let db = rusqlite::Connection::open(dir.path().join("spiked.db")).unwrap();
    let middle = "(SELECT first_seq FROM journal ORDER BY first_seq LIMIT 1 OFFSET 3)";
    db.execute(
        &format!("DELETE FROM journal WHERE first_seq = {middle}"),
        [],
    )
    .unwrap();
    let (_, recovered) = Plant::open(StoreOptions::new(dir.path()));
    let lost = recovered.report.lost_readings;
    assert!(lost > 0);
    assert_eq!(recovered.report.replayed + lost, 300);
}

#[test]
fn a_snapshot_of_other_settings_is_named_and_kept_aside() {
    let dir = tempfile::tempdir().unwrap();
    let (mut plant, _) = Plant::open(StoreOptions::new(dir.path()));
    plant.run(1..=300);
    plant.save();
    plant.store.close();
    let store = StateStore::open(StoreOptions::new(dir.path())).unwrap();
    let other = params(&["a", "b", "c"]);
    let recovered = store.recover(&|_| Some(other.clone())).unwrap();
    assert_eq!(recovered.report.set_aside.len(), 3);
    assert!(recovered.report.set_aside[0].1.contains("channels"));
    for round in 0..4 {
        for stream in &recovered.streams {
            store.save(Snapshot::of(stream, &other, round));
        }
    }
    store.close();
    let (rows, _) = Reader::open(&store.options().path())
        .unwrap()
        .snapshots(Some("press"))
        .unwrap();
    assert_eq!(rows.iter().filter(|row| row.aside).count(), 1);
    assert_eq!(rows.iter().filter(|row| !row.aside).count(), 2);
    // Changed back: the model comes back, and what was learned meanwhile is kept aside.
    let (again, recovered) = Plant::open(StoreOptions::new(dir.path()));
    assert_eq!(recovered.report.taken_back.len(), 3);
    assert_eq!(digests(&again.streams), digests(&uninterrupted(300)));
}

#[test]
fn one_snapshot_of_a_stream_waits_for_a_disk_that_is_full() {
    let dir = tempfile::tempdir().unwrap();
    let (mut plant, _) = Plant::open(StoreOptions::new(dir.path()));
    plant.run(1..=30);
    let block = rusqlite::Connection::open(dir.path().join("spiked.db")).unwrap();
    block.execute_batch("BEGIN IMMEDIATE").unwrap();
    let save = |stream: &Stream| {
        let snapshot = || Snapshot::of(stream, &params(&[]), 1);
        plant.store.try_save(stream.name(), snapshot)
    };
    let taken: Vec<bool> = (0..3)
        .flat_map(|_| plant.streams.iter().map(save))
        .collect();
    let expected = [vec![true; 3], vec![false; 6]].concat();
    assert_eq!(taken, expected);
    block.execute_batch("ROLLBACK").unwrap();
    plant.store.flush().unwrap();
    assert!(save(&plant.streams[0]), "the next one is taken");
}

#[test]
fn a_newer_schema_another_program_and_a_second_daemon_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spiked.db");
    let store = StateStore::open(StoreOptions::new(dir.path())).unwrap();
    let second = StateStore::open(StoreOptions::new(dir.path()));
    assert!(
        matches!(second, Err(StateError::InUse { .. })),
        "{second:?}"
    );
    store.close();
    let db = rusqlite::Connection::open(&path).unwrap();
    db.pragma_update(None, "user_version", 99).unwrap();
    drop(db);
    let newer = StateStore::open(StoreOptions::new(dir.path()));
    assert!(
        matches!(newer, Err(StateError::NewerSchema { found: 99, .. })),
        "{newer:?}"
    );
    std::fs::remove_file(&path).unwrap();
    rusqlite::Connection::open(&path)
        .unwrap()
        .execute_batch("CREATE TABLE recipes(x)")
        .unwrap();
    let foreign = StateStore::open(StoreOptions::new(dir.path()));
    assert!(
        matches!(foreign, Err(StateError::NotOurs { .. })),
        "{foreign:?}"
    );
    std::fs::write(
        &path,
        b"this is no database at all, and it is longer than a header",
    )
    .unwrap();
    let text = StateStore::open(StoreOptions::new(dir.path())).unwrap_err();
    assert!(text.to_string().contains("damaged"), "{text}");
}

#[test]
fn a_full_disk_keeps_readings_unacknowledged_until_there_is_room() {
    let dir = tempfile::tempdir().unwrap();
    let (mut plant, _) = Plant::open(StoreOptions::new(dir.path()));
    plant.run(1..=10);
    // A reader's lock on the whole file stands for the disk: SQLite cannot write, then it can.
    let block = rusqlite::Connection::open(dir.path().join("spiked.db")).unwrap();
    block.execute_batch("BEGIN IMMEDIATE").unwrap();
    let (told, answer) = std::sync::mpsc::channel();
    plant.store.append(
        vec![accepted(11)],
        Box::new(move |result| told.send(result).unwrap()),
    );
    let early = answer.recv_timeout(std::time::Duration::from_millis(300));
    assert!(early.is_err(), "acknowledged without being written");
    block.execute_batch("ROLLBACK").unwrap();
    answer
        .recv_timeout(std::time::Duration::from_secs(20))
        .unwrap()
        .unwrap();
    plant.store.close();
    let (again, _) = Plant::open(StoreOptions::new(dir.path()));
    assert_eq!(digests(&again.streams), digests(&uninterrupted(11)));
}

#[test]
fn a_snapshot_never_comes_to_disk_before_its_readings() {
    let dir = tempfile::tempdir().unwrap();
    let (mut plant, _) = Plant::open(StoreOptions::new(dir.path()));
    plant.run(1..=9);
    learn(&mut plant.streams, &reading(10));
    plant.save();
    assert_eq!(
        plant.store.stats().snapshots,
        2,
        "one stream is ahead of the journal"
    );
    plant.store.append_and_wait(vec![accepted(10)]).unwrap();
    assert_eq!(plant.store.stats().snapshots, 3);
    plant.store.close();
    let (again, _) = Plant::open(StoreOptions::new(dir.path()));
    assert_eq!(digests(&again.streams), digests(&uninterrupted(10)));
}

#[test]
fn without_a_journal_readings_are_taken_at_once_and_snapshots_still_restore() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions {
        durability: Durability::Snapshot,
        ..StoreOptions::new(dir.path())
    };
    let (mut plant, _) = Plant::open(options.clone());
    plant.run(1..=100);
    plant.save();
    plant.run(101..=150);
    plant.store.close();
    let (again, recovered) = Plant::open(options);
    assert_eq!(digests(&again.streams), digests(&uninterrupted(100)));
    assert_eq!(recovered.last_seq, 100);
    let none = StoreOptions {
        durability: Durability::None,
        ..StoreOptions::new(dir.path().join("none"))
    };
    let (mut plant, _) = Plant::open(none);
    plant.run(1..=10);
    plant.save();
    assert!(!dir.path().join("none").exists());
}

/// A file with snapshots, a journal behind and after them, and nothing in its log.
pub fn sample(dir: &Path) -> u64 {
    let (mut plant, _) = Plant::open(StoreOptions::new(dir));
    plant.run(1..=600);
    plant.save();
    plant.run(601..=900);
    plant.save();
    plant.run(901..=1000);
    plant.store.close();
    1000
}

#[test]
fn a_changed_threshold_is_taken_over_and_learning_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (mut plant, _) = Plant::open(StoreOptions::new(dir.path()));
    plant.run(1..=300);
    plant.save();
    plant.store.close();
    let mut settings = params(&[]).engine.get().clone();
    settings.detect.false_alarms_per_week = 20.0;
    settings.memory_rows = 5000.0;
    let changed = StreamParams {
        engine: spiked::engine::EngineParams::new(settings).unwrap(),
        ..params(&[])
    };
    let store = StateStore::open(StoreOptions::new(dir.path())).unwrap();
    let recovered = store.recover(&|_| Some(changed.clone())).unwrap();
    assert_eq!(recovered.report.set_aside, []);
    assert_eq!(recovered.report.retuned, 3);
    assert!(recovered.report.to_string().contains("changed settings"));
    let mut expected = uninterrupted(300);
    for (stream, expected) in recovered.streams.iter().zip(&mut expected) {
        assert_eq!(stream.readings(), expected.readings());
        expected.retune(&changed);
        assert_eq!(digest(stream), digest(expected));
        assert_eq!(stream.engine().params(), &changed.engine);
    }
}

#[test]
fn a_journal_that_grows_too_large_asks_for_snapshots_and_stays_bounded() {
    let dir = tempfile::tempdir().unwrap();
    let options = StoreOptions {
        journal_max_bytes: 300_000,
        ..StoreOptions::new(dir.path())
    };
    let (mut plant, _) = Plant::open(options);
    let (mut asked, mut largest) = (0, 0);
    for round in 0..80 {
        plant.run(round * 500 + 1..=(round + 1) * 500);
        largest = largest.max(plant.store.stats().journal_bytes);
        if plant.store.wants_snapshot() {
            asked += 1;
            plant.save();
        }
    }
    assert!(asked > 2, "asked {asked} times");
    assert_eq!(plant.store.stats().forced, asked);
    assert!(largest < 400_000, "{largest} bytes");
}

#[test]
fn an_outbox_message_and_an_edge_survive_until_they_are_delivered() {
    let dir = tempfile::tempdir().unwrap();
    let (plant, _) = Plant::open(StoreOptions::new(dir.path()));
    let edge = spiked::state::Edge {
        stream: "press".into(),
        number: 1,
        start_ms: 5,
        edge: 0,
        body: "{}".into(),
    };
    let message = || ("t".to_owned(), b"p".to_vec(), true);
    let first = plant.store.record(edge.clone(), vec![message()]).remove(0);
    let second = plant.store.record(edge, vec![message()]).remove(0);
    plant.store.delivered(first.id);
    plant.store.close();
    let (plant, recovered) = Plant::open(StoreOptions::new(dir.path()));
    assert_eq!(recovered.outbox, vec![second.clone()]);
    let reader = Reader::open(&plant.store.options().path()).unwrap();
    assert_eq!(reader.counts().unwrap().incident_edges, 1);
    plant.store.delivered(second.id);
    plant.store.flush().unwrap();
    assert_eq!(plant.store.stats().outbox, 0);
}

/// A reader that has had enough is no failure of ours.
#[test]
fn inspect_ends_quietly_when_nobody_reads_on() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    let mut child = crate::plant::spiked()
        .arg("inspect")
        .arg(dir.path())
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    drop(child.stdout.take());
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.is_empty(), "{said}");
}

#[test]
fn inspect_says_what_a_restart_would_find_and_carries_models_over() {
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let last = sample(dir.path());
    let inspect = |state: &Path, more: &[&str]| {
        let output = crate::plant::spiked()
            .arg("inspect")
            .arg(state)
            .args(more)
            .output()
            .unwrap();
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(output.status.success(), "{text}");
        String::from_utf8(output.stdout).unwrap()
    };
    let text = inspect(dir.path(), &["--stream", "pump"]);
    let pump = &uninterrupted(last)[2];
    assert_eq!(&**pump.name(), "pump");
    assert!(text.contains(&digest(pump)), "{text}");
    assert!(!text.contains("oven"), "{text}");
    let file = other.path().join("pump.safetensors");
    let file = file.to_str().unwrap();
    inspect(dir.path(), &["--stream", "pump", "--export", file]);
    let new = other.path().join("state");
    inspect(&new, &["--stream", "mill", "--import", file]);
    let json: serde_json::Value = serde_json::from_str(&inspect(&new, &["--json"])).unwrap();
    assert_eq!(json["streams"][0]["stream"], "mill");
    assert_eq!(json["streams"][0]["readings"], pump.readings());
    let carried = pump.clone().carried_over("mill", 1);
    assert_eq!(json["streams"][0]["digest"], digest(&carried));
}
