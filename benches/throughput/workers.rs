//! Streams that share workers: how busy each worker is when some streams are hot, and how long a small
//! stream waits beside a wide one.

use std::fmt::Write as _;
use std::io::Write as _;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::flood::{now_ms, settings};
use crate::process::{self, Daemon};
use crate::wire;

/// CPU seconds of each worker so far.
fn by_worker(daemon: &Daemon) -> Vec<f64> {
    let mut all: Vec<(String, f64)> = process::cpu_of_threads(daemon.pid())
        .into_iter()
        .filter(|(name, _)| name.starts_with("worker-"))
        .collect();
    all.sort_by(|a, b| a.0.cmp(&b.0));
    all.into_iter().map(|(_, cpu)| cpu).collect()
}

/// Twenty streams of eight channels and 512 hidden units on two workers, at 6,000 rows a second for
/// `seconds`: 99% of the rows go to three streams that begin on the same worker.
pub fn skew(seconds: u64) -> Value {
    const ROWS_A_SECOND: f64 = 6000.0;
    let dir = tempfile::tempdir().expect("a directory");
    let (_broker, port) = process::broker(dir.path());
    let text = settings(0, "none", 1000) + "[runtime]\nworkers = 2\n[learn]\nhidden = 512\n";
    let (daemon, _) = Daemon::start(dir.path(), port, &text);
    let mut socket = wire::connect(port, "source");
    let base_ms = now_ms() - 10_000_000;
    let (mut bytes, mut rows) = (Vec::new(), [0u64; 20]);
    let mut send = |stream: usize| {
        rows[stream] += 1;
        let ts_ms = base_ms + rows[stream] as i64 * 100;
        bytes.clear();
        wire::row(&mut bytes, stream, ts_ms, rows[stream], &mut 0, 0);
        socket.write_all(&bytes).expect("a connection");
    };
    // In this order they go to the two workers in turn.
    (0..20).for_each(&mut send);
    std::thread::sleep(Duration::from_secs(1));
    let (begin, mut before) = (Instant::now(), by_worker(&daemon));
    let (mut n, mut shares) = (0u64, Vec::new());
    println!("by half second: busy share of a core of each worker, streams moved");
    for half in 1..=2 * seconds {
        while begin.elapsed() < Duration::from_millis(500 * half) {
            let due = (begin.elapsed().as_secs_f64() * ROWS_A_SECOND) as u64;
            while n < due {
                let cold = n % 100 == 0;
                send(if cold {
                    (n / 100 % 20) as usize
                } else {
                    (n % 3 * 2) as usize
                });
                n += 1;
            }
            std::thread::sleep(Duration::from_micros(300));
        }
        let now = by_worker(&daemon);
        let busy: Vec<f64> = now
            .iter()
            .zip(&before)
            .map(|(a, b)| 2.0 * (a - b))
            .collect();
        let [moves] = daemon.metrics(["spiked_stream_moves_total"]);
        println!("{:4.1} s  {busy:.2?}  {moves}", half as f64 / 2.0);
        shares.push(json!({"busy": busy, "moves": moves}));
        before = now;
    }
    daemon.stop();
    json!(shares)
}

/// Latency of a stream of one channel, 200 rows a second for `seconds`: alone, and beside a stream of
/// 64 and of 512 channels on the same worker, 20 rows a second.
pub fn beside(seconds: u64) -> Value {
    println!("beside channels  predictions  median ms   99th  99.9th  longest");
    let cells = [0, 64, 512].map(|channels| {
        let mut ms = small_stream(channels, seconds);
        ms.sort_by(f64::total_cmp);
        let at = |share: f64| ms[((ms.len() as f64 * share) as usize).min(ms.len() - 1)];
        let [median, p99, p999, longest] = [0.5, 0.99, 0.999, 1.0].map(at);
        println!(
            "{channels:15} {:12} {median:10.2} {p99:6.2} {p999:7.2} {longest:8.2}",
            ms.len()
        );
        json!({"channels": channels, "n": ms.len(), "median_ms": median, "p99_ms": p99, "p999_ms": p999, "longest_ms": longest})
    });
    json!(cells)
}

/// A row of `channels` channels in one message.
fn wide_row(out: &mut Vec<u8>, channels: usize, ts_ms: i64, row: u64) {
    let mut text = String::from("{");
    for channel in 0..channels as u64 {
        let jitter = (row * 977 + channel).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
        let value = (row as f64 * 0.02 + channel as f64).sin() + jitter as f64 / 16_777_216.0;
        write!(text, "\"c{channel}\":{value:.3},").expect("memory");
    }
    write!(text, "\"ts\":{ts_ms}}}").expect("memory");
    wire::publish(out, "wide/a", text.as_bytes(), 0);
}

fn small_stream(channels: usize, seconds: u64) -> Vec<f64> {
    const RATE: u64 = 200;
    let dir = tempfile::tempdir().expect("a directory");
    let (_broker, port) = process::broker(dir.path());
    let text = "[[input]]\ntopic = \"plant/{stream}/{channel}\"\nqos = 0\n\
        [[input]]\ntopic = \"wide/{stream}\"\npayload = \"object\"\nqos = 0\n\
        [stream]\nmax_channels = 512\n[state]\ndurability = \"none\"\n";
    let (daemon, _) = Daemon::start(dir.path(), port, text);
    let base_ms = now_ms() - 10_000_000;
    let mut listener = wire::connect(port, "listener");
    wire::subscribe(&mut listener, "spiked/main/b/prediction");
    let begin = Instant::now();
    let listening = std::thread::spawn(move || {
        let mut came = Vec::new();
        wire::receive(&mut listener, Duration::from_secs(2), |_, payload| {
            let text = String::from_utf8_lossy(payload);
            let ts = text.split("\"ts\":").nth(1).expect("a stamp");
            let ts = ts.split(',').next().and_then(|ts| ts.parse::<i64>().ok());
            let row = (ts.expect("a stamp") - base_ms) / 100;
            came.push((row as u64, begin.elapsed().as_secs_f64()));
            true
        });
        came
    });
    let mut socket = wire::connect(port, "source");
    let mut bytes = Vec::new();
    // The wide stream has learned for a while when the clock starts.
    for row in 0..if channels > 0 { 60 } else { 0 } {
        bytes.clear();
        wide_row(&mut bytes, channels, base_ms + row * 100, row as u64);
        socket.write_all(&bytes).expect("a connection");
    }
    std::thread::sleep(Duration::from_secs(1));
    let (start, mut sent) = (begin.elapsed().as_secs_f64(), Vec::new());
    for n in 0..seconds * RATE {
        let due = start + n as f64 / RATE as f64;
        std::thread::sleep(Duration::from_secs_f64(
            (due - begin.elapsed().as_secs_f64()).max(0.0),
        ));
        bytes.clear();
        if channels > 0 && n % 10 == 0 {
            let row = 60 + n / 10;
            wide_row(&mut bytes, channels, base_ms + row as i64 * 100, row);
        }
        let value = format!(
            "{{\"value\":{:.3},\"ts\":{}}}",
            (n as f64 * 0.05).sin(),
            base_ms + n as i64 * 100
        );
        wire::publish(&mut bytes, "plant/b/c0", value.as_bytes(), 0);
        sent.push(begin.elapsed().as_secs_f64());
        socket.write_all(&bytes).expect("a connection");
    }
    let came = listening.join().expect("it ends");
    daemon.stop();
    let waited = came.iter().filter_map(|&(row, at)| {
        // The first rows find out which channels there are.
        let sent = sent.get(row as usize).filter(|_| row > 20)?;
        Some((at - sent) * 1e3)
    });
    waited.collect()
}
