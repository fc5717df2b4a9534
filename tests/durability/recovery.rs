//! Recovery after a kill: soon ready under any load, and a start that is cut off has made progress.
//!
//! Long forms: `SPIKED_LOAD_S` (6) seconds under full load of `SPIKED_STREAMS` (4 large ones; any other
//! number has the default settings) before the kill; `SPIKED_CUTS` (1) starts that are killed before the one
//! that may go on; `SPIKED_BACKLOG` (30000) readings to learn again, by `SPIKED_UNITS` (256) units;
//! `SPIKED_CUT_MS` (700) milliseconds that each start is given.

use std::time::{Duration, Instant};

use spiked::row::Reading;
use spiked::state::{JournalEntry, Reader, StateStore, StoreOptions, digest};
use spiked::stream::Stream;

use crate::plant::{
    Broker, Daemon, Source, alone, have_mosquitto, http_get, now_ms, number, signal, wait_until,
};

/// More learning than any machine does in the time that the source leaves it.
const HEAVY: &str = "[learn]\nhidden = 1024\n[stream]\nalign = \"per-reading\"\n";

#[test]
fn killed_under_full_load_it_is_ready_within_ten_seconds() {
    for protocol in ["3.1.1", "5"] {
        killed_under_load(protocol);
    }
}

fn killed_under_load(protocol: &str) {
    if !have_mosquitto() {
        return;
    }
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_in_memory();
    // Many streams of the default size, or few of a large one.
    let (settings, topic): (_, fn(u64) -> String) = match number("SPIKED_STREAMS", 4) {
        4 => (HEAVY, crate::plant::topic),
        _ => ("", |k| {
            format!("plant/s{}/c{}", k % number("SPIKED_STREAMS", 4), k / 4 % 2)
        }),
    };
    let mut daemon = Daemon::start_speaking(protocol, dir.path(), broker.port, settings);
    daemon.wait_ready();
    let source = Source::start_to(topic, broker.port, 20_000, now_ms() - 86_400_000);
    std::thread::sleep(Duration::from_secs(number("SPIKED_LOAD_S", 6)));
    let unsaved = daemon.metric("spiked_unsaved_learning_seconds");
    daemon.kill();
    let mut covered = covered_by_snapshots(&daemon);
    let life = Duration::from_millis(number("SPIKED_CUT_MS", 700));
    for cut in 1..=number("SPIKED_CUTS", 1) {
        daemon.restart();
        std::thread::sleep(life);
        let (_, state) = http_get(daemon.http, "/readyz").unwrap_or_default();
        daemon.kill();
        let now = covered_by_snapshots(&daemon);
        println!(
            "MQTT {protocol}: start {cut} killed after {life:?}, snapshots of {covered} readings before, {now} after; it said {state:?}"
        );
        // A start that was killed early may have saved nothing yet.
        let has_progress = now > covered || !state.contains("recovering");
        assert!(has_progress || life < Duration::from_secs(5), "no progress");
        covered = now;
    }
    let start = Instant::now();
    daemon.restart();
    daemon.wait_ready();
    let took = start.elapsed();
    let replayed = daemon.metric("spiked_readings_replayed_total");
    println!(
        "MQTT {protocol}: killed with {unsaved:.2} s of learning unsaved; ready after {took:.2?}, {:.2} s of a core, {replayed} readings again",
        daemon.usage().1 as f64 / 100.0
    );
    source.finish();
    assert!(took < Duration::from_secs(10), "{took:?}\n{}", daemon.log());
}

/// Readings that the newest snapshots of all streams have, by a copy of what a killed daemon left.
fn covered_by_snapshots(daemon: &Daemon) -> u64 {
    let copy = tempfile::tempdir().unwrap();
    crate::state::copy_state(&daemon.dir.join("state"), copy.path());
    let reader = Reader::open(&copy.path().join("spiked.db")).unwrap();
    let (rows, _) = reader.snapshots(None).unwrap();
    let newest = rows.chunk_by(|a, b| a.snapshot.stream == b.snapshot.stream);
    newest.map(|rows| rows[0].snapshot.readings).sum()
}

/// A state file whose journal holds `n` readings of four streams that nobody has learned.
fn backlog(dir: &std::path::Path, n: u64) -> Vec<Reading> {
    let readings: Vec<Reading> = (1..=n)
        .map(|seq| Reading {
            seq,
            stream: format!("s{}", seq % 4).into(),
            channel: format!("c{}", seq / 4 % 2).into(),
            value: (seq as f64 * 0.01).sin() + (seq % 13) as f64 * 0.01,
            ts_ms: 1_700_000_000_000 + 100 * seq as i64,
            arrival_ms: 1_700_000_000_000 + 100 * seq as i64,
        })
        .collect();
    let store = StateStore::open(StoreOptions::new(dir.join("state"))).unwrap();
    store.recover(&|_| None).unwrap();
    for group in readings.chunks(100) {
        let accepted = group.iter().map(|reading| JournalEntry {
            reading: reading.clone(),
            key: 0,
        });
        store.append_and_wait(accepted.collect()).unwrap();
    }
    store.close();
    readings
}

#[test]
fn starts_that_are_cut_off_get_on_answer_over_http_and_end_with_the_same_bits() {
    if !have_mosquitto() {
        return;
    }
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_in_memory();
    let readings = backlog(dir.path(), number("SPIKED_BACKLOG", 30_000));
    let config = format!(
        "[learn]\nhidden = {}\n[stream]\nalign = \"per-reading\"\n[state]\nrecovery_s = 0.2\n\
         [runtime]\nshutdown_grace_s = 5.0\nworkers = 2\n",
        number("SPIKED_UNITS", 256)
    );
    let life = Duration::from_millis(number("SPIKED_CUT_MS", 700));
    let mut daemon = Daemon::start(dir.path(), broker.port, &config);
    let (mut starts, mut said) = (1, None);
    loop {
        let until = Instant::now() + life;
        let mut ready = false;
        while Instant::now() < until && !ready {
            if let Some((status, reason)) = http_get(daemon.http, "/readyz") {
                // Once it is over, the connections are made.
                ready = status == 200 || !reason.contains("recovering");
                if !ready {
                    assert_eq!(http_get(daemon.http, "/healthz").unwrap().0, 200);
                    said = Some(reason);
                }
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        if ready {
            break;
        }
        assert!(starts < 100, "no end of it\n{}", daemon.log());
        starts += 1;
        // Every other one is told to stop, and has its grace period.
        if starts % 2 == 0 {
            let asked = Instant::now();
            signal(&daemon.child, "TERM");
            wait_until("the end", Duration::from_secs(5), || {
                daemon.child.try_wait().unwrap().is_some()
            });
            assert!(asked.elapsed() < Duration::from_secs(5));
        } else {
            daemon.kill();
        }
        daemon.restart();
    }
    println!("ready at start {starts} of {life:?} each; the last said: {said:?}");
    assert!(starts > 1 && said.is_some(), "there was nothing to cut off");
    daemon.stop();
    let found = daemon.inspect();
    let known = readings.into_iter().map(|reading| (reading.seq, reading));
    let known = known.collect();
    let alone: Vec<Stream> = crate::kill::replayed(&known, &daemon.state_file());
    assert_eq!(alone.len(), 4);
    for (stream, found) in alone.iter().zip(found["streams"].as_array().unwrap()) {
        assert_eq!(found["digest"], digest(stream), "{}", stream.name());
    }
}
