//! Killed at random moments: every acknowledged reading is learned exactly once, and the state is
//! bit for bit that of a run without kills. `SPIKED_KILLS` (20) kills, a fifth of them over MQTT 5.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::{Duration, Instant};

use spiked::row::Reading;
use spiked::state::{Reader, digest, journal};
use spiked::stream::Stream;

use crate::plant::{
    Broker, Daemon, Dice, Source, alone, have_mosquitto, now_ms, number, topic, wait_until,
};

const CONFIG: &str = "[state]\ndurability = \"journal\"\nsnapshot_every_s = 1.0\n[stream]\nalign = \"per-reading\"\n";

/// Processes that are killed, and when.
struct Trial {
    /// Further settings.
    settings: &'static str,
    topic: fn(u64) -> String,
    /// Readings a second.
    rate: u64,
    /// Milliseconds that each life lasts at least.
    life: u64,
}

const PLAIN: Trial = Trial {
    settings: "",
    topic,
    rate: 2000,
    life: 30,
};

/// Reads what the journal holds into `known`; what was known before must still be the same.
pub fn note_journal(state: &Path, known: &mut BTreeMap<u64, Reading>) {
    let Ok(reader) = Reader::open(state) else {
        return;
    };
    reader
        .journal(0, |row| {
            let (readings, _) = journal::unpack(&row?)?;
            for accepted in readings {
                let reading = accepted.reading;
                let before = known.insert(reading.seq, reading.clone());
                assert!(
                    before.is_none_or(|b| b == reading),
                    "number {} twice",
                    reading.seq
                );
            }
            Ok(())
        })
        .unwrap();
}

/// A copy of what a killed daemon left, so that looking at it changes nothing.
fn note_left_behind(daemon: &Daemon, known: &mut BTreeMap<u64, Reading>) {
    let copy = tempfile::tempdir().unwrap();
    for suffix in ["", "-wal"] {
        let name = format!("spiked.db{suffix}");
        // A very early kill leaves neither.
        let _ = std::fs::copy(
            daemon.dir.join("state").join(&name),
            copy.path().join(&name),
        );
    }
    note_journal(&copy.path().join("spiked.db"), known);
}

#[test]
fn killed_at_random_moments_every_acknowledged_reading_is_learned_exactly_once() {
    kill_and_compare(number("SPIKED_KILLS", 20), "3.1.1", &PLAIN);
}

#[test]
fn the_same_over_mqtt_5() {
    kill_and_compare(number("SPIKED_KILLS", 20) / 5, "5", &PLAIN);
}

/// Two streams of four have most of the readings, and start on one worker each time.
#[test]
fn the_same_while_streams_move_between_workers() {
    let uneven = Trial {
        settings: "[runtime]\nworkers = 2\n[learn]\nhidden = 1024\n",
        topic: |k| {
            let stream = if k % 16 < 4 { k % 4 } else { k % 2 * 2 };
            format!("plant/s{stream}/c{}", k / 16 % 4)
        },
        rate: 3000,
        life: 1400,
    };
    let moves = kill_and_compare(number("SPIKED_KILLS", 20) / 5, "3.1.1", &uneven);
    assert!(moves > 0.0 || !have_mosquitto(), "none has moved");
}

/// Returns how many streams were seen to move.
fn kill_and_compare(kills: u64, protocol: &str, trial: &Trial) -> f64 {
    if !have_mosquitto() {
        return 0.0;
    }
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_in_memory();
    let config = format!("{CONFIG}{}", trial.settings);
    let mut daemon = Daemon::start_speaking(protocol, dir.path(), broker.port, &config);
    daemon.wait_ready();
    let start = Instant::now();
    let base_ms = now_ms() - 86_400_000;
    let source = Source::start_to(trial.topic, broker.port, trial.rate, base_ms);
    let mut known = BTreeMap::new();
    let mut dice = Dice(0x5eed);
    let (mut redelivered, mut moves) = (0.0, 0.0);
    for _ in 0..kills {
        std::thread::sleep(Duration::from_millis(trial.life + dice.below(800)));
        redelivered += redelivered_now(&daemon);
        moves += daemon.metric("spiked_stream_moves_total").max(0.0);
        daemon.kill();
        note_left_behind(&daemon, &mut known);
        daemon.restart();
    }
    let published = source.finish();
    let file = daemon.state_file();
    wait_until(
        "the daemon has every reading",
        Duration::from_secs(60),
        || {
            note_journal(&file, &mut known);
            known.len() as u64 >= published
        },
    );
    std::thread::sleep(Duration::from_millis(300));
    redelivered += redelivered_now(&daemon);
    moves += daemon.metric("spiked_stream_moves_total").max(0.0);
    daemon.stop();
    note_journal(&file, &mut known);

    let twice = check_complete(&known, published, base_ms);
    let found = daemon.inspect();
    let uninterrupted = replayed(&known, &file);
    assert_eq!(
        found["streams"].as_array().unwrap().len(),
        uninterrupted.len()
    );
    for (stream, found) in uninterrupted
        .iter()
        .zip(found["streams"].as_array().unwrap())
    {
        assert_eq!(found["stream"], &**stream.name());
        assert_eq!(found["readings"], stream.readings(), "{}", stream.name());
        assert_eq!(found["digest"], digest(stream), "{}", stream.name());
    }
    let learned: u64 = uninterrupted.iter().map(Stream::readings).sum();
    assert_eq!(learned, published, "learned and published");
    println!(
        "MQTT {protocol}, {kills} kills in {:.1} s: {published} readings published, {} numbered, {redelivered} redeliveries known by their packet, \
         {twice} by their timestamp, \
         {moves} moves between workers, each learned once, {} digests equal to an uninterrupted run",
        start.elapsed().as_secs_f64(),
        known.len(),
        uninterrupted.len()
    );
    moves
}

fn redelivered_now(daemon: &Daemon) -> f64 {
    let n = daemon.metric("spiked_readings_rejected_total{reason=\"redelivered\"}");
    if n.is_nan() { 0.0 } else { n }
}

/// The numbers have no gap, and every published reading is among them. Returns how many are there
/// twice: redelivered beyond what the journal remembers, and refused by their stream.
fn check_complete(known: &BTreeMap<u64, Reading>, published: u64, base_ms: i64) -> usize {
    let gap = known
        .keys()
        .zip(1..)
        .find(|(seq, expected)| **seq != *expected);
    assert_eq!(gap, None, "a gap before the first, the second is missing");
    let mut seen = BTreeMap::new();
    for reading in known.values() {
        *seen.entry(reading.ts_ms - base_ms).or_insert(0) += 1;
    }
    let missing: Vec<_> = (1..=published as i64)
        .filter(|k| !seen.contains_key(k))
        .collect();
    assert!(missing.is_empty(), "never learned: {missing:?}");
    seen.values().filter(|&&n| n > 1).count()
}

/// Fresh streams, fed with the readings in order: a run that nobody interrupted.
pub fn replayed(known: &BTreeMap<u64, Reading>, file: &Path) -> Vec<Stream> {
    let (rows, _) = Reader::open(file).unwrap().snapshots(None).unwrap();
    let mut streams: BTreeMap<String, Stream> = BTreeMap::new();
    for reading in known.values() {
        let name = reading.stream.to_string();
        let stream = streams.entry(name).or_insert_with_key(|name| {
            let row = rows
                .iter()
                .find(|row| row.snapshot.stream == *name)
                .unwrap();
            Stream::new(name, &row.snapshot.params().unwrap())
        });
        stream.push(reading, &mut Vec::new());
    }
    streams.into_values().collect()
}

/// The control: without a journal the same treatment loses what came after the last snapshot.
#[test]
fn without_a_journal_a_kill_costs_readings() {
    if !have_mosquitto() {
        return;
    }
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_in_memory();
    let config = CONFIG.replace("\"journal\"", "\"snapshot\"");
    let mut daemon = Daemon::start(dir.path(), broker.port, &config);
    daemon.wait_ready();
    let source = Source::start(broker.port, 2000, now_ms() - 86_400_000);
    std::thread::sleep(Duration::from_millis(1500));
    daemon.kill();
    daemon.restart();
    daemon.wait_ready();
    std::thread::sleep(Duration::from_millis(500));
    let published = source.finish();
    std::thread::sleep(Duration::from_millis(1000));
    daemon.stop();
    let found = daemon.inspect();
    let streams = found["streams"].as_array().unwrap();
    let learned: u64 = streams.iter().filter_map(|s| s["readings"].as_u64()).sum();
    println!("without a journal: {learned} of {published} readings learned");
    assert!(learned < published);
}
