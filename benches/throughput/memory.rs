//! Memory of many streams: live, idle and out of memory, back again; CPU and start-up of a fleet.

use std::io::Write;
use std::net::TcpStream;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::flood::{now_ms, settings};
use crate::process::{self, Daemon, cpu_of, rss_of};
use crate::wire;

/// A source that sends one row of one stream at a time, a minute of the readings' time between rows.
struct Feed {
    socket: TcpStream,
    base_ms: i64,
    bytes: Vec<u8>,
}

impl Feed {
    fn new(port: u16, rows: u64) -> Feed {
        Feed {
            socket: wire::connect(port, "source"),
            base_ms: now_ms() - (rows as i64 + 1) * 60_000,
            bytes: Vec::new(),
        }
    }

    fn send(&mut self, row: u64, stream: usize) {
        self.bytes.clear();
        let ts_ms = self.base_ms + row as i64 * 60_000;
        wire::row(&mut self.bytes, stream, ts_ms, row, &mut 0, 0);
        self.socket.write_all(&self.bytes).expect("a connection");
    }

    /// `rows` rows of `n` streams, no faster than they are learned: what the broker has to queue is
    /// not measured here.
    fn fill(&mut self, n: usize, rows: u64, daemon: &Daemon) {
        for row in 0..rows {
            (0..n).for_each(|stream| self.send(row, stream));
            process::wait_for("rows are learned", 120, || {
                // The first row of channels that are only being found ends with the second round.
                daemon.metrics(["spiked_rows_total"])[0] >= (n as u64 * row) as f64
            });
        }
    }
}

/// `n` streams of eight channels at a row a minute each: memory, CPU, start from snapshots.
pub fn fleet(n: usize, rows: u64, seconds: u64) -> Value {
    fleet_under(n, rows, seconds, &settings(0, "snapshot", n))
}

/// The same under other settings.
pub fn fleet_under(n: usize, rows: u64, seconds: u64, text: &str) -> Value {
    let dir = tempfile::tempdir().expect("a directory");
    let (_broker, port) = process::broker(dir.path());
    let (daemon, _) = Daemon::start(dir.path(), port, text);
    let empty = rss_of(daemon.pid());
    let mut feed = Feed::new(port, rows);
    let begin = Instant::now();
    feed.fill(n, rows, &daemon);
    let filled = begin.elapsed().as_secs_f64();
    // Free memory goes back to the system within ten seconds.
    std::thread::sleep(Duration::from_secs(12));
    let live = rss_of(daemon.pid());
    let (cpu, begin) = (cpu_of(daemon.pid()), Instant::now());
    let mut stream = 0;
    while begin.elapsed().as_secs() < seconds {
        let due = (begin.elapsed().as_secs_f64() * n as f64 / 60.0) as usize;
        while stream < due.min(n) {
            feed.send(rows, stream);
            stream += 1;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
    let cores = (cpu_of(daemon.pid()) - cpu) / begin.elapsed().as_secs_f64();
    let stopped = daemon.stop();
    let size = std::fs::read_dir(dir.path().join("state"))
        .into_iter()
        .flatten()
        .flatten();
    let size: u64 = size
        .filter_map(|file| file.metadata().ok())
        .map(|file| file.len())
        .sum();
    let (daemon, started) = Daemon::start(dir.path(), port, text);
    let again = rss_of(daemon.pid());
    let per_stream = (live - empty) / n as f64;
    println!(
        "{n} streams of 8 channels after {rows} rows each ({filled:.0} s): {:.0} MiB, {per_stream:.1} KiB a live stream; \
         at a row a minute {:.1}% of a core; stop with snapshots {:.1} s, {:.0} MiB on disk; start from them {:.2} s, {:.0} MiB",
        live / 1024.0,
        100.0 * cores,
        stopped.as_secs_f64(),
        size as f64 / 1048576.0,
        started.as_secs_f64(),
        again / 1024.0
    );
    json!({"streams": n, "rows": rows, "rss_kib": live, "kib_per_stream": per_stream, "cores": cores,
        "stop_s": stopped.as_secs_f64(), "disk_bytes": size, "start_s": started.as_secs_f64(), "rss_after_start_kib": again})
}

/// `n` streams of eight channels: memory before, live, idle and out of memory for `seconds`, and with
/// every stream back.
pub fn evict(n: usize, rows: u64, seconds: u64) -> Value {
    const SERIES: [&str; 2] = ["spiked_streams_evicted", "spiked_stream_returns_total"];
    let dir = tempfile::tempdir().expect("a directory");
    let (_broker, port) = process::broker(dir.path());
    let text = settings(0, "snapshot", n) + "idle_evict_s = 5.0\n";
    let (daemon, _) = Daemon::start(dir.path(), port, &text);
    let rss = || rss_of(daemon.pid()) / 1024.0;
    let empty = rss();
    let mut feed = Feed::new(port, rows + 1);
    feed.fill(n, rows, &daemon);
    let live = rss();
    process::wait_for("all are evicted", 120, || {
        daemon.metrics(SERIES)[0] == n as f64
    });
    let begin = Instant::now();
    let mut evicted = Vec::new();
    for at in [0, 2, 10, 30, 60, 120] {
        if at <= seconds {
            std::thread::sleep(Duration::from_secs(at).saturating_sub(begin.elapsed()));
            evicted.push((at, rss()));
        }
    }
    (0..n).for_each(|stream| feed.send(rows, stream));
    process::wait_for("all are back", 120, || {
        daemon.metrics(SERIES)[1] >= n as f64
    });
    let back = rss();
    daemon.stop();
    let cells: Vec<String> = evicted
        .iter()
        .map(|(at, mib)| format!("{mib:.0} after {at} s"))
        .collect();
    println!(
        "{n} streams of 8 channels, RSS in MiB: {empty:.0} before, {live:.0} live, evicted {}, {back:.0} with all back",
        cells.join(", ")
    );
    json!({"streams": n, "rows": rows, "empty_mib": empty, "live_mib": live, "evicted_mib": evicted, "back_mib": back})
}
