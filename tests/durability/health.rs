//! Health that sees: each thread that stops is named at /healthz within its deadline, and a state file
//! that is removed or replaced while the daemon runs is noticed and written anew.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use spiked::state::{StateStore, StoreOptions};

use crate::plant::{Broker, Daemon, Source, alone, have_mosquitto, http_get, now_ms, wait_until};
use crate::state::{Plant, accepted, params};

/// Stops one thread of a process, as a fault below it would, until its input ends.
const STOP_THREAD: &str = "
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
pid, name = sys.argv[1], sys.argv[2]
tid = next(int(t) for t in os.listdir(f'/proc/{pid}/task')
           if open(f'/proc/{pid}/task/{t}/comm').read().strip() == name)
SEIZE, INTERRUPT, DETACH = 0x4206, 0x4207, 17
assert libc.ptrace(SEIZE, tid, None, None) == 0, os.strerror(ctypes.get_errno())
assert libc.ptrace(INTERRUPT, tid, None, None) == 0, os.strerror(ctypes.get_errno())
os.waitpid(tid, 0x40000000)
print('stopped', flush=True)
sys.stdin.read()
libc.ptrace(DETACH, tid, None, None)
";

fn stop_thread(daemon: &Daemon, name: &str) -> Child {
    let mut child = Command::new("python3")
        .args(["-c", STOP_THREAD, &daemon.child.id().to_string(), name])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3 is needed to stop a thread");
    let mut line = String::new();
    let out = child.stdout.as_mut().unwrap();
    BufReader::new(out).read_line(&mut line).unwrap();
    assert_eq!(line.trim(), "stopped", "{name}");
    child
}

#[test]
fn a_thread_that_stops_is_named_and_one_that_goes_on_is_well_again() {
    if !have_mosquitto() {
        return;
    }
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_in_memory();
    let daemon = Daemon::start(dir.path(), broker.port, "[runtime]\nstuck_after_s = 1.0\n");
    daemon.wait_ready();
    // Each thread by its own name and by the one that is told.
    let threads = [
        ("intake", "intake"),
        ("worker-0", "worker-0"),
        ("state-writer", "state-writer"),
        ("spiked", "main"),
        ("watch", "watch"),
    ];
    for (thread, name) in threads {
        let said = || {
            let log = daemon.log();
            let lines = log.lines().filter(|line| line.contains("no progress"));
            lines.filter(|line| line.contains(name)).count()
        };
        let before = said();
        let mut stopped = stop_thread(&daemon, thread);
        // On a machine that is busy elsewhere another one may be late for a moment.
        let named_alone = |path: &str| {
            let (status, reasons) = http_get(daemon.http, path).unwrap_or_default();
            let n_named = reasons.matches("no progress").count();
            status == 503 && reasons.contains(name) && n_named == 1
        };
        wait_until(name, Duration::from_secs(10), || named_alone("/healthz"));
        wait_until(name, Duration::from_secs(10), || named_alone("/readyz"));
        // The one that watches would have to write the line.
        if thread != "watch" {
            wait_until("the log says it", Duration::from_secs(5), || {
                said() > before
            });
            assert_eq!(said(), before + 1, "once, however long it lasts");
        }
        drop(stopped.stdin.take());
        stopped.wait().unwrap();
        wait_until("well again", Duration::from_secs(10), || {
            http_get(daemon.http, "/healthz").is_some_and(|(status, _)| status == 200)
        });
    }
}

#[test]
fn a_state_directory_that_is_removed_or_replaced_is_written_anew_and_nothing_is_lost() {
    if !have_mosquitto() {
        return;
    }
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_in_memory();
    let mut daemon = Daemon::start(
        dir.path(),
        broker.port,
        "[stream]\nalign = \"per-reading\"\n",
    );
    daemon.wait_ready();
    let source = Source::start(broker.port, 500, now_ms() - 86_400_000);
    std::thread::sleep(Duration::from_millis(500));
    std::fs::remove_dir_all(dir.path().join("state")).unwrap();
    let file = daemon.state_file();
    wait_until("the file is there again", Duration::from_secs(10), || {
        file.is_file()
    });
    std::thread::sleep(Duration::from_millis(1500));
    // Another one in its place.
    std::fs::rename(&file, dir.path().join("moved")).unwrap();
    std::fs::write(&file, "not ours").unwrap();
    wait_until("both are said", Duration::from_secs(10), || {
        daemon.log().matches("was removed or replaced").count() >= 2
    });
    let published = source.finish();
    wait_until("all are learned", Duration::from_secs(20), || {
        daemon.metric("spiked_readings_received_total") >= published as f64
    });
    std::thread::sleep(Duration::from_millis(300));
    let found = daemon.inspect_after_kill();
    let streams = found["streams"].as_array().unwrap();
    let learned: u64 = streams.iter().filter_map(|s| s["readings"].as_u64()).sum();
    assert_eq!(learned, published);
    println!(
        "{published} readings, the state removed once and replaced once: all {learned} are there"
    );
}

/// An open store at `dir` whose journal has readings 1 to 50.
fn store_of_fifty(dir: &Path) -> StateStore {
    let store = StateStore::open(StoreOptions::new(dir)).unwrap();
    store.recover(&|_| None).unwrap();
    for seq in 1..=50 {
        store.append_and_wait(vec![accepted(seq)]).unwrap();
    }
    store
}

/// The state as a kill leaves it: no checkpoint at the end.
fn as_after_a_kill(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for end in ["", "-wal", ".mark"] {
        let name = format!("spiked.db{end}");
        std::fs::copy(dir.join(&name), copy.path().join(&name)).unwrap();
    }
    copy
}

/// Readings in the journal of the state at `dir`, after a restart that has nothing to complain about.
fn journaled(dir: &Path) -> u64 {
    let store = StateStore::open(StoreOptions::new(dir)).unwrap();
    let recovered = store.recover(&|_| Some(params(&[]))).unwrap();
    assert!(!recovered.report.is_bad(), "{}", recovered.report);
    recovered
        .streams
        .iter()
        .map(|stream| stream.readings())
        .sum()
}

#[test]
fn a_state_file_whose_log_or_mark_is_removed_is_written_anew() {
    for end in ["-wal", "-shm", ".mark"] {
        let dir = tempfile::tempdir().unwrap();
        let store = store_of_fifty(dir.path());
        std::fs::remove_file(dir.path().join(format!("spiked.db{end}"))).unwrap();
        (51..=60).for_each(|seq| store.append_and_wait(vec![accepted(seq)]).unwrap());
        assert_eq!(journaled(as_after_a_kill(dir.path()).path()), 60, "{end}");
    }
}

#[test]
fn a_log_that_is_cut_while_it_is_open_is_noticed_and_everything_in_memory_saved_again() {
    let dir = tempfile::tempdir().unwrap();
    let (mut plant, _) = Plant::open(StoreOptions::new(dir.path()));
    plant.run(1..=50);
    plant.save();
    assert!(!plant.store.wants_snapshot());
    let file = dir.path().join("spiked.db-wal");
    let file = std::fs::File::options().write(true).open(file).unwrap();
    file.set_len(0).unwrap();
    wait_until("it is noticed", Duration::from_secs(5), || {
        plant.store.wants_snapshot()
    });
    plant.run(51..=60);
    plant.save();
    assert_eq!(journaled(as_after_a_kill(dir.path()).path()), 60);
}

/// As a tool for backups does it.
#[test]
fn a_log_that_another_program_empties_after_taking_it_over_is_no_loss() {
    let dir = tempfile::tempdir().unwrap();
    let (mut plant, _) = Plant::open(StoreOptions::new(dir.path()));
    plant.run(1..=50);
    let other = rusqlite::Connection::open(dir.path().join("spiked.db")).unwrap();
    let busy: i64 = other
        .query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |row| row.get(0))
        .unwrap();
    assert_eq!(busy, 0, "the log was not emptied");
    plant.run(51..=60);
    plant.save();
    drop(other);
    assert!(!plant.store.wants_snapshot(), "taken for a loss");
    let aside = std::fs::read_dir(dir.path()).unwrap().flatten();
    let names = aside.map(|entry| entry.file_name().to_string_lossy().into_owned());
    assert!(names.into_iter().all(|name| !name.contains("found")));
    assert_eq!(journaled(as_after_a_kill(dir.path()).path()), 60);
}

#[test]
fn nothing_is_taken_while_the_state_file_is_gone_and_cannot_be_written_anew() {
    let dir = tempfile::tempdir().unwrap();
    let (state, moved) = (dir.path().join("state"), dir.path().join("moved"));
    let store = store_of_fifty(&state);
    std::fs::rename(&state, moved).unwrap();
    std::fs::write(&state, "a file where the directory was").unwrap();
    let (told, answer) = std::sync::mpsc::channel();
    let done = Box::new(move |kept: Result<(), String>| told.send(kept).unwrap());
    store.append(vec![accepted(51)], done);
    wait_until("it is said", Duration::from_secs(5), || {
        let failing = store.stats().failing.unwrap_or_default();
        failing.contains("cannot be written anew")
    });
    assert!(answer.try_recv().is_err(), "acknowledged into nothing");
    std::fs::remove_file(&state).unwrap();
    answer
        .recv_timeout(Duration::from_secs(5))
        .unwrap()
        .unwrap();
    assert_eq!(store.stats().failing, None);
    assert_eq!(journaled(as_after_a_kill(&state).path()), 51);
}

#[test]
fn a_log_that_is_cut_or_removed_is_a_loss_that_is_said() {
    for keep in [0.0, 0.5] {
        let dir = tempfile::tempdir().unwrap();
        let _store = store_of_fifty(dir.path());
        let copy = as_after_a_kill(dir.path());
        let log = copy.path().join("spiked.db-wal");
        let size = std::fs::metadata(&log).unwrap().len();
        let log = std::fs::File::options().write(true).open(log).unwrap();
        log.set_len((size as f64 * keep) as u64).unwrap();
        let again = StateStore::open(StoreOptions::new(copy.path())).unwrap();
        let recovered = again.recover(&|_| None).unwrap();
        let report = recovered.report;
        assert!(report.is_bad() && report.lost_log > 0, "{report}");
        assert_eq!(recovered.last_seq, 50, "no number is given twice");
        println!("log cut to {keep} of its size: {report}");
    }
}

#[test]
fn a_second_daemon_is_kept_away_though_every_file_beside_the_state_is_removed() {
    let dir = tempfile::tempdir().unwrap();
    let store = StateStore::open(StoreOptions::new(dir.path())).unwrap();
    for entry in std::fs::read_dir(dir.path()).unwrap().flatten() {
        if !entry
            .file_name()
            .to_string_lossy()
            .starts_with("spiked.db-")
            && entry.file_name() != "spiked.db"
        {
            std::fs::remove_file(entry.path()).unwrap();
        }
    }
    assert!(StateStore::open(StoreOptions::new(dir.path())).is_err());
    store.close();
    drop(store);
    StateStore::open(StoreOptions::new(dir.path())).unwrap();
}
