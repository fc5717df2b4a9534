//! Streams on one worker and on several, moved at random: the same outcomes in order, the same bits.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use super::balance::Dispatch;
use super::orders::{Item, WorkerMessage};
use super::worker::Worker;
use crate::carrier::disk::DiskStore;
use crate::carrier::store::Store;
use crate::config::{Settings, load_plain};
use crate::engine::EngineStats;
use crate::metrics::Metrics;
use crate::mqtt::Out;
use crate::mqtt::outbox::Outbox;
use crate::row::{Outcome, Reading, StreamId};
use crate::state::digest;
use crate::status::{Status, StreamView, lock};
use crate::stream::Stream;

const STREAMS: u64 = 5;

fn settings(dir: &tempfile::TempDir, n_workers: usize) -> Settings {
    load_plain(&[
        ("mqtt.url", "mqtt://127.0.0.1:1".to_owned()),
        ("state.dir", dir.path().display().to_string()),
        ("state.durability", "snapshot".to_owned()),
        ("stream.align", "per-reading".to_owned()),
        ("runtime.workers", n_workers.to_string()),
    ])
    .unwrap()
}

fn reading(seq: u64) -> Reading {
    let k = seq / STREAMS;
    Reading {
        seq,
        stream: format!("s{}", seq % STREAMS).into(),
        channel: format!("c{}", k % 2).into(),
        value: (seq as f64 * 0.01).sin() + (seq % 13) as f64 * 0.1,
        ts_ms: 1_700_000_000_000 + 100 * seq as i64,
        arrival_ms: 1_700_000_000_000 + 100 * seq as i64,
    }
}

/// The moments of the rows in the order of their outcomes, and what the stream is at the end.
type Seen = BTreeMap<String, (Vec<i64>, String)>;

/// `n` readings through `n_workers`; after every `every` of them a stream moves. Returns what came
/// of each stream, and the number of moves.
fn run(n: u64, n_workers: usize, every: u64) -> (Seen, u64) {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(&dir, n_workers);
    let disk = DiskStore::open(&settings.state).unwrap();
    let restored = disk.restore(settings.stream_params()).unwrap();
    let store: Arc<dyn Store> = Arc::new(disk.clone());
    assert!(restored.streams.is_empty());
    let shared = Arc::new(Status::new(Metrics::new().unwrap(), n_workers, 0));
    let rows: Arc<Mutex<HashMap<String, Vec<i64>>>> = Arc::default();
    let noted = rows.clone();
    let observer = Arc::new(move |stream: &str, outcome: &Outcome| {
        let mut rows = lock(&noted);
        let rows = rows.entry(stream.to_owned()).or_default();
        rows.push(outcome.ts_ms);
    });
    let (senders, receivers): (Vec<_>, Vec<_>) = (0..n_workers)
        .map(|_| crossbeam_channel::bounded::<WorkerMessage>(4))
        .unzip();
    let start = |(idx, rx)| {
        let out = Out::new(Outbox::new(10, 1), shared.clone());
        let mut worker = Worker::new(idx, rx, &settings, out, store.clone(), shared.clone());
        worker.observer = Some(observer.clone());
        std::thread::spawn(move || worker.run())
    };
    let threads: Vec<_> = receivers.into_iter().enumerate().map(start).collect();
    let mut dispatch = Dispatch::new(senders, shared.clone());
    let mut dice = 0x9e37_79b9_7f4a_7c15_u64;
    for seq in 1..=n {
        dispatch.push(Item {
            reading: reading(seq),
            arrived: Instant::now(),
            replayed: false,
        });
        if seq % every == 0 {
            dice = dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let stream: StreamId = format!("s{}", (dice >> 40) % STREAMS).into();
            dispatch.move_to(&stream, (dice >> 50) as usize % n_workers);
        }
    }
    dispatch.flush();
    drop(dispatch);
    for thread in threads {
        thread.join().unwrap();
    }
    disk.close().unwrap();
    let again = DiskStore::open(&settings.state).unwrap();
    let restored = again.restore(settings.stream_params()).unwrap();
    let mut rows = lock(&rows);
    let seen = restored.streams.iter().map(|stream| {
        let name = stream.name().to_string();
        let rows = rows.remove(&name).unwrap_or_default();
        (name, (rows, digest(stream)))
    });
    (seen.collect(), shared.metrics.stream_moves.get())
}

#[test]
fn streams_that_move_between_workers_learn_the_same_bits_in_the_same_order() {
    const N: u64 = 6000;
    let dir = tempfile::tempdir().unwrap();
    let params = settings(&dir, 1).stream_params().clone();
    let mut alone: BTreeMap<String, (Vec<i64>, Stream)> = BTreeMap::new();
    for seq in 1..=N {
        let reading = reading(seq);
        let (rows, stream) = alone
            .entry(reading.stream.to_string())
            .or_insert_with_key(|name| (Vec::new(), Stream::new(name, &params)));
        let mut outcomes = Vec::new();
        stream.push(&reading, &mut outcomes);
        rows.extend(outcomes.iter().map(|outcome| outcome.ts_ms));
    }
    let alone: Seen = alone
        .into_iter()
        .map(|(name, (rows, stream))| (name, (rows, digest(&stream))))
        .collect();
    for (n_workers, every) in [(1, N), (2, 7), (4, 3), (4, 1)] {
        let (seen, moves) = run(N, n_workers, every);
        assert_eq!(seen, alone, "{n_workers} workers");
        assert!(n_workers == 1 || moves > N / every / 3, "{moves} moves");
    }
}

#[test]
fn predictions_of_a_stream_are_published_before_it_moves() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(&dir, 1);
    let store = DiskStore::open(&settings.state).unwrap();
    store.restore(settings.stream_params()).unwrap();
    let store: Arc<dyn Store> = Arc::new(store);
    let shared = Arc::new(Status::new(Metrics::new().unwrap(), 1, 0));
    let out = Out::new(Outbox::new(100, 1), shared.clone());
    let (_keep, rx) = crossbeam_channel::bounded(1);
    let mut worker = Worker::new(0, rx, &settings, out.clone(), store, shared);
    let items = (1..=10).map(|k| Item {
        reading: reading(STREAMS * k),
        arrived: Instant::now(),
        replayed: false,
    });
    worker.work(WorkerMessage::Learn(items.collect()), &mut Vec::new());
    assert!(out.is_empty(), "more readings may come");
    let (to, moved) = crossbeam_channel::bounded(1);
    worker.work(WorkerMessage::Give("s0".into(), to), &mut Vec::new());
    assert!(moved.try_recv().is_ok());
    assert!(!out.is_empty());
}

#[test]
fn a_hot_worker_gives_streams_away_until_the_workers_are_even() {
    let shared = Arc::new(Status::new(Metrics::new().unwrap(), 2, 0));
    let (tx, rx): (Vec<_>, Vec<_>) = (0..2).map(|_| crossbeam_channel::unbounded()).unzip();
    let mut dispatch = Dispatch::new(tx, shared.clone());
    // Four alike go two and two; then the two of one worker, and they alone, become hot.
    let names: Vec<StreamId> = (0..4).map(|s| format!("s{s}").into()).collect();
    let homes: Vec<usize> = names
        .iter()
        .map(|name| dispatch.place(name, 8, 0.0))
        .collect();
    assert_eq!(homes.iter().sum::<usize>(), 2);
    for round in 1..=2 {
        for (name, &home) in names.iter().zip(&homes) {
            let taken = Duration::from_millis(if home == homes[0] { 100 } else { 1 });
            shared.add_busy(home, taken);
            let view = StreamView {
                channels: Vec::new(),
                last: None,
                stats: EngineStats::default(),
                busy: taken * round,
                touched: Instant::now(),
                usual_interval: Duration::ZERO,
                incident: None,
                muted: Default::default(),
            };
            shared.set_view(name, view);
        }
        dispatch.look(Duration::from_millis(250));
    }
    let given = rx[homes[0]].try_iter().count();
    let taken = rx[1 - homes[0]].try_iter().count();
    assert_eq!((given, taken), (1, 1), "one of the two hot ones");
    assert_eq!(shared.metrics.stream_moves.get(), 1);
}
