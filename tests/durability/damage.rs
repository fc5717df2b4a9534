//! Damage to the state file: flipped bytes, files cut short, torn logs, lost groups.

use std::path::Path;
use std::time::Duration;

use spiked::state::{Reader, StateStore, StoreOptions};

use crate::plant::{Daemon, Dice, wait_until};
use crate::state::{Plant, accepted, copy_state, digests, params, sample, uninterrupted};

/// Result of a start on a damaged file.
#[derive(Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Clone, Copy)]
enum Outcome {
    Unharmed,
    OlderSnapshot,
    LossSaid,
    Refused,
}

fn start_damaged(dir: &Path, whole: &[String], context: &str) -> Outcome {
    let store = match StateStore::open(StoreOptions::new(dir)) {
        Ok(store) => store,
        Err(error) => {
            println!("{context}: refused: {error}");
            assert!(!error.to_string().is_empty());
            return Outcome::Refused;
        }
    };
    let recovered = match store.recover(&|_| Some(params(&[]))) {
        Ok(recovered) => recovered,
        Err(_) => return Outcome::Refused,
    };
    let salvaged = std::fs::read_dir(dir)
        .unwrap()
        .any(|f| f.unwrap().file_name().to_string_lossy().contains("damaged"));
    let found = digests(&recovered.streams);
    store.close();
    if found != whole {
        let lost = recovered.report.is_bad() || salvaged;
        assert!(
            lost,
            "{context}: other bits and not a word: {}",
            recovered.report
        );
        println!("{context}: {}", recovered.report);
        return Outcome::LossSaid;
    }
    if recovered.report.damaged_snapshots > 0 {
        Outcome::OlderSnapshot
    } else {
        Outcome::Unharmed
    }
}

/// One flipped byte at each of many random places: `SPIKED_FLIPS` (100) of them.
#[test]
fn one_flipped_byte_anywhere_gives_the_same_bits_or_says_what_is_lost() {
    let flips: usize = std::env::var("SPIKED_FLIPS").map_or(100, |n| n.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let last = sample(dir.path());
    let whole = digests(&uninterrupted(last));
    let bytes = std::fs::read(dir.path().join("spiked.db")).unwrap();
    let mut random = 0x9e37_79b9_7f4a_7c15_u64;
    let mut tally = std::collections::BTreeMap::new();
    for flip in 0..flips {
        random = random
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        let at = (random >> 20) as usize % bytes.len();
        let mut damaged = bytes.clone();
        damaged[at] ^= ((random >> 8) as u8).max(1);
        let here = tempfile::tempdir().unwrap();
        std::fs::write(here.path().join("spiked.db"), &damaged).unwrap();
        let context = format!("flip {flip} at byte {at} of {}", bytes.len());
        *tally
            .entry(start_damaged(here.path(), &whole, &context))
            .or_insert(0) += 1;
    }
    println!("{flips} flipped bytes of {}: {tally:?}", bytes.len());
    assert!(
        tally.get(&Outcome::Refused).copied().unwrap_or(0) * 5 < flips,
        "{tally:?}"
    );
}

/// Flipped bytes where SQLite says what the file is and where its tables are.
#[test]
fn a_damaged_first_page_is_mended_from_its_copy() {
    let dir = tempfile::tempdir().unwrap();
    let last = sample(dir.path());
    let whole = digests(&uninterrupted(last));
    let bytes = std::fs::read(dir.path().join("spiked.db")).unwrap();
    // The magic, the page's size, its kind, the program, the tables' names.
    let mut places = vec![0, 15, 16, 18, 21, 68, 71, 100, 105];
    places.extend((2800..4096).step_by(97));
    for &at in &places {
        let here = tempfile::tempdir().unwrap();
        let mut damaged = bytes.clone();
        (at..bytes.len().min(at + 3)).for_each(|at| damaged[at] ^= 0x41);
        std::fs::write(here.path().join("spiked.db"), &damaged).unwrap();
        let mark = "spiked.db.mark";
        std::fs::copy(dir.path().join(mark), here.path().join(mark)).unwrap();
        let outcome = start_damaged(here.path(), &whole, &format!("first page at {at}"));
        assert_eq!(outcome, Outcome::Unharmed, "at {at}");
    }
    println!(
        "first page damaged at {} places: the same bits each time",
        places.len()
    );
}

#[test]
fn a_file_cut_short_anywhere_starts_or_refuses() {
    let dir = tempfile::tempdir().unwrap();
    let last = sample(dir.path());
    let whole = digests(&uninterrupted(last));
    let bytes = std::fs::read(dir.path().join("spiked.db")).unwrap();
    for part in 0..20 {
        let len = bytes.len() * part / 20 + part * 37;
        let here = tempfile::tempdir().unwrap();
        std::fs::write(
            here.path().join("spiked.db"),
            &bytes[..len.min(bytes.len())],
        )
        .unwrap();
        if len > 0 {
            start_damaged(here.path(), &whole, &format!("cut at {len}"));
        }
    }
}

/// State after a power cut in the middle of writes: the log ends anywhere, or its end is torn.
#[test]
fn a_torn_log_gives_the_state_of_an_earlier_moment_and_never_garbage() {
    let dir = tempfile::tempdir().unwrap();
    let (mut plant, _) = Plant::open(StoreOptions::new(dir.path()));
    for seq in 1..=70 {
        // A commit each.
        plant.run(seq..=seq);
        if seq == 30 || seq == 50 {
            plant.save();
        }
    }
    let killed = tempfile::tempdir().unwrap();
    copy_state(dir.path(), killed.path());
    let log = std::fs::read(killed.path().join("spiked.db-wal")).unwrap();
    assert!(log.len() > 100_000, "{} bytes are in the log", log.len());
    let mut dice = Dice(0x7042);
    let mut moments = std::collections::BTreeSet::new();
    for round in 0..40 {
        let here = tempfile::tempdir().unwrap();
        std::fs::copy(
            killed.path().join("spiked.db"),
            here.path().join("spiked.db"),
        )
        .unwrap();
        let cut = dice.below(log.len() as u64) as usize;
        let mut torn = log[..cut].to_vec();
        match round % 3 {
            // A short write, a sector of noise, a page that was never written.
            0 => {}
            1 => torn.extend((0..512).map(|_| dice.below(256) as u8)),
            _ => torn.resize(log.len(), 0),
        }
        std::fs::write(here.path().join("spiked.db-wal"), torn).unwrap();
        let store = match StateStore::open(StoreOptions::new(here.path())) {
            Ok(store) => store,
            // Not even the tables had come to disk.
            Err(error) => {
                assert!(!error.to_string().is_empty());
                continue;
            }
        };
        let recovered = store.recover(&|_| Some(params(&[]))).unwrap();
        let moment = recovered.last_seq;
        assert_eq!(
            digests(&recovered.streams),
            digests(&uninterrupted(moment)),
            "cut at {cut}, round {round}, {moment} readings"
        );
        assert_eq!(recovered.report.lost_readings, 0);
        moments.insert(moment);
    }
    println!("a log torn at 40 places: states after {moments:?} readings, bit for bit");
    assert!(moments.len() > 10, "{moments:?}");
}

/// The last group of the journal is damaged: nothing behind it says so, and what comes next has its
/// numbers to write over.
#[test]
fn a_damaged_last_group_is_counted_and_does_not_stand_in_the_way() {
    let dir = tempfile::tempdir().unwrap();
    let (mut plant, _) = Plant::open(StoreOptions::new(dir.path()));
    plant.run(1..=100);
    let last: Vec<_> = (101..=110).map(accepted).collect();
    plant.store.append_and_wait(last).unwrap();
    plant.store.close();
    let file = dir.path().join("spiked.db");
    for query in [
        // Its content; then its number, so that it lies across the way of a later group.
        "UPDATE journal SET crc = crc + 1 WHERE last_seq = 110",
        "UPDATE journal SET first_seq = first_seq + 10 WHERE last_seq = 110",
    ] {
        let db = rusqlite::Connection::open(&file).unwrap();
        assert_eq!(db.execute(query, []).unwrap(), 1);
        drop(db);
        let (plant, recovered) = Plant::open(StoreOptions::new(dir.path()));
        assert_eq!(recovered.report.damaged_groups, 1);
        assert_eq!(recovered.last_seq, 110, "no number is given twice");
        assert_eq!(recovered.report.lost_readings, 10, "{query}");
        plant.store.close();
    }
    let (plant, _) = Plant::open(StoreOptions::new(dir.path()));
    let next: Vec<_> = (111..=120).map(accepted).collect();
    plant.store.append_and_wait(next).unwrap();
    plant.store.close();
    let (_, recovered) = Plant::open(StoreOptions::new(dir.path()));
    assert_eq!(recovered.report.replayed, 110);
    assert_eq!(recovered.report.damaged_groups, 0, "written over");
    assert_eq!(recovered.report.lost_readings, 10);
    assert!(
        Reader::open(&file)
            .unwrap()
            .journal_span()
            .unwrap()
            .is_some()
    );
}

/// Zeroes pages of a state file until one costs it its structure; returns the damaged bytes, and the bytes of
/// the file that a start salvaged from them.
fn damaged_and_salvaged(dir: &Path) -> (Vec<u8>, Vec<u8>) {
    let whole = std::fs::read(dir.join("spiked.db")).unwrap();
    for page in (1..whole.len() / 4096).rev() {
        let mut damaged = whole.clone();
        damaged[page * 4096..page * 4096 + 16].fill(0xff);
        let here = tempfile::tempdir().unwrap();
        let file = here.path().join("spiked.db");
        std::fs::write(&file, &damaged).unwrap();
        let Ok(store) = StateStore::open(StoreOptions::new(here.path())) else {
            continue;
        };
        store.close();
        drop(store);
        let mut names = std::fs::read_dir(here.path()).unwrap().flatten();
        if names.any(|entry| entry.file_name().to_string_lossy().contains("damaged")) {
            return (damaged, std::fs::read(&file).unwrap());
        }
    }
    panic!("no page is needed");
}

#[test]
fn a_salvage_that_is_cut_off_anywhere_is_finished_by_the_next_start_and_said() {
    let dir = tempfile::tempdir().unwrap();
    sample(dir.path());
    let (damaged, salvaged) = damaged_and_salvaged(dir.path());
    let calm = {
        let here = tempfile::tempdir().unwrap();
        std::fs::write(here.path().join("spiked.db"), &salvaged).unwrap();
        let store = StateStore::open(StoreOptions::new(here.path())).unwrap();
        let recovered = store.recover(&|_| Some(params(&[]))).unwrap();
        digests(&recovered.streams)
    };
    assert!(!calm.is_empty());
    // Killed while the new file is written; before the renames; between them.
    for (new, moved) in [
        (salvaged.len() / 2, false),
        (salvaged.len(), false),
        (salvaged.len(), true),
    ] {
        let here = tempfile::tempdir().unwrap();
        let state = here.path().join("state");
        std::fs::create_dir(&state).unwrap();
        let file = state.join("spiked.db");
        std::fs::write(&file, &damaged).unwrap();
        std::fs::write(state.join("spiked.db.new"), &salvaged[..new]).unwrap();
        if moved {
            std::fs::hard_link(&file, state.join("spiked.db.damaged-1")).unwrap();
        }
        let inspected = |daemon: &Daemon| -> Vec<String> {
            let found = daemon.inspect();
            let streams = found["streams"].as_array().unwrap();
            let digests = streams
                .iter()
                .map(|s| s["digest"].as_str().unwrap_or("none"));
            digests.map(str::to_owned).collect()
        };
        // The settings of the sample. Nobody listens there: it starts all the same.
        let config = "[stream]\nalign = \"per-reading\"\nmax_age_s = 60.0\nmax_channels = 8\n";
        let mut daemon = Daemon::start(here.path(), crate::plant::free_port(), config);
        wait_until("the start", Duration::from_secs(20), || {
            daemon.log().contains("started http")
        });
        daemon.kill();
        let log = daemon.log();
        let said = log
            .lines()
            .find(|line| line.contains("the state file was damaged"));
        let said = said.unwrap_or_else(|| panic!("not a word\n{log}"));
        assert!(said.contains("ERROR"), "{said}");
        assert!(!log.contains("set aside"), "{log}");
        assert_eq!(inspected(&daemon), calm, "cut at {new}, {moved}");
        let store = StateStore::open(StoreOptions::new(&state)).unwrap();
        let recovered = store.recover(&|_| Some(params(&[]))).unwrap();
        assert_eq!(digests(&recovered.streams), calm, "cut at {new}, {moved}");
    }
}
