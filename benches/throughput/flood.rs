//! End to end with a real mosquitto: readings a second against a subscriber that only counts, CPU
//! by thread, and latency at fixed rates.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use serde_json::{Value, json};

use crate::process::{self, Counter, Daemon, cpu_by_thread, cpu_of};
use crate::wire;

/// Channels of a stream.
const CHANNELS: u64 = 8;

pub fn now_ms() -> i64 {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("after 1970");
    since.as_millis() as i64
}

/// Messages of `rows` rows of `streams` streams, for up to two connections.
pub fn messages(streams: usize, rows: u64, step_ms: i64, qos: u8) -> Vec<(Vec<u8>, Vec<usize>)> {
    let base = now_ms() - rows as i64 * step_ms - 3_600_000;
    let connections = streams.min(2);
    (0..connections)
        .map(|connection| {
            let (mut bytes, mut ends, mut id) = (Vec::new(), Vec::new(), 0);
            for row in 0..rows {
                for stream in (connection..streams).step_by(connections) {
                    wire::row(
                        &mut bytes,
                        stream,
                        base + row as i64 * step_ms,
                        row,
                        &mut id,
                        qos,
                    );
                    ends.push(bytes.len());
                }
            }
            (bytes, ends)
        })
        .collect()
}

pub fn publish(port: u16, load: &[(Vec<u8>, Vec<usize>)], qos: u8) {
    std::thread::scope(|scope| {
        for (i, (bytes, ends)) in load.iter().enumerate() {
            scope.spawn(move || {
                wire::pump(port, &format!("source-{i}"), bytes, ends, CHANNELS, qos)
            });
        }
    });
}

/// Settings of the daemon: the shipped defaults but for what the run is about.
pub fn settings(qos: u8, durability: &str, max_streams: usize) -> String {
    every(0, qos, durability, max_streams)
}

/// The same, with predictions of a stream `every` so many milliseconds at most.
fn every(every: u64, qos: u8, durability: &str, max_streams: usize) -> String {
    format!(
        "[[input]]\ntopic = \"plant/{{stream}}/{{channel}}\"\nqos = {qos}\n\
         [output]\nprediction_interval_ms = {every}\n[stream]\nmax_streams = {max_streams}\n[state]\ndurability = \"{durability}\"\n"
    )
}

/// Result of one run.
#[derive(Clone, Default)]
pub struct Run {
    pub rate: f64,
    pub lost: f64,
    pub cpu_us: f64,
    cores: f64,
    broker_us: f64,
    /// Of the CPU time, learning mini-batches.
    learning_us: f64,
    threads: Vec<(String, f64)>,
    /// Cores that nobody used.
    idle: f64,
}

/// A subscriber that counts, and publishes as much as the daemon where it `answers`.
fn counter_run(load: &[(Vec<u8>, Vec<usize>)], qos: u8, n: u64, answers: bool) -> Run {
    let dir = tempfile::tempdir().expect("a directory");
    let (broker, port) = process::broker(dir.path());
    let counter = Counter::start(port, qos, n, answers);
    publish(port, load, qos);
    let (got, seconds, cpu) = counter.result();
    Run {
        rate: got / seconds,
        lost: n as f64 - got,
        cpu_us: cpu * 1e6 / got,
        cores: cpu / seconds,
        broker_us: cpu_of(broker.0.id()) * 1e6 / n as f64,
        ..Run::default()
    }
}

/// The daemon, with predictions of each of `streams` every `interval` milliseconds at most.
pub fn daemon_run(
    load: &[(Vec<u8>, Vec<usize>)],
    qos: u8,
    settings: &str,
    (n, streams): (u64, u64),
    interval: u64,
) -> Run {
    let dir = tempfile::tempdir().expect("a directory");
    let (broker, port) = process::broker(dir.path());
    let (daemon, _) = Daemon::start(dir.path(), port, settings);
    let before = cpu_of(daemon.pid());
    let (start, idle) = (Instant::now(), process::idle());
    // Rows themselves are counted now and then only, each prediction when it is sent or dropped.
    let told = [
        "spiked_messages_published_total{kind=\"prediction\"}",
        "spiked_outbox_dropped_total{kind=\"prediction\"}",
        "spiked_predictions_superseded_total",
    ];
    // The last row of each stream may be held back.
    let held = if interval > 0 { streams } else { 0 };
    let wanted = (n / CHANNELS - held) as f64;
    let (mut last, mut n_rows) = (start, -1.0);
    std::thread::scope(|scope| {
        scope.spawn(|| publish(port, load, qos));
        // Predicted and published, not only received; what never comes is waited for three seconds.
        while n_rows < wanted && last.elapsed() < Duration::from_secs(3) {
            // Rarely, since it costs the daemon something, but often when the end is near.
            let left = wanted / f64::max(n_rows, 1.0) - 1.0;
            let left = start.elapsed().mul_f64(left.clamp(0.0, 1.0) / 2.0);
            std::thread::sleep(left.clamp(Duration::from_millis(2), Duration::from_millis(200)));
            let rows = daemon
                .metrics(told)
                .into_iter()
                .filter(|n| !n.is_nan())
                .sum();
            if rows != n_rows {
                (last, n_rows) = (Instant::now(), rows);
            }
        }
    });
    let seconds = last.duration_since(start).as_secs_f64();
    let cpu = cpu_of(daemon.pid()) - before;
    let idle = process::idle() - idle;
    std::thread::sleep(Duration::from_millis(300));
    let [got, learning] = daemon.metrics([
        "spiked_readings_received_total",
        "spiked_learning_seconds_total",
    ]);
    let threads = cpu_by_thread(daemon.pid());
    let run = Run {
        rate: n_rows * CHANNELS as f64 / seconds,
        lost: n as f64 - got,
        cpu_us: cpu * 1e6 / got,
        cores: cpu / seconds,
        broker_us: cpu_of(broker.0.id()) * 1e6 / n as f64,
        learning_us: learning * 1e6 / got,
        threads: threads
            .into_iter()
            .map(|(name, cpu)| (name, cpu * 1e6 / got))
            .collect(),
        idle: idle / seconds,
    };
    daemon.stop();
    run
}

fn median(mut runs: Vec<Run>) -> Run {
    runs.sort_by(|a, b| a.rate.total_cmp(&b.rate));
    runs.swap_remove((runs.len() - 1) / 2)
}

/// Rows of a stream are published at most so often, milliseconds, where less than all are wanted.
const INTERVAL: u64 = 100;

/// The subscribers that [`flood`] compares.
const WHO: [&str; 4] = ["counts", "counts, answers", "learns", "learns, 10/s"];

/// `n` messages for each combination, all subscribers in turn, medians of `rounds` and how far apart
/// the shares were: one that counts, one that counts and publishes as much as the daemon, the daemon,
/// and the daemon with at most ten predictions a second and stream.
pub fn flood(streams: &[usize], qos: &[u8], durability: &[&str], n: u64, rounds: usize) -> Value {
    println!(
        "qos streams durability subscriber       readings/s  share (range)  lost  CPU us a reading: own, of it learning, broker  own cores, idle  by thread"
    );
    let mut table = Vec::new();
    for &qos in qos {
        for &streams in streams {
            let rows = n / CHANNELS / streams as u64;
            let load = messages(streams, rows, 1000, qos);
            let n = rows * CHANNELS * streams as u64;
            for durability in durability {
                let [all, few] = [0, INTERVAL].map(|at| every(at, qos, durability, 1000));
                let mut runs: [Vec<Run>; 4] = Default::default();
                for _ in 0..rounds {
                    let of = [
                        counter_run(&load, qos, n, false),
                        counter_run(&load, qos, n, true),
                        daemon_run(&load, qos, &all, (n, streams as u64), 0),
                        daemon_run(&load, qos, &few, (n, streams as u64), INTERVAL),
                    ];
                    runs.iter_mut()
                        .zip(of)
                        .for_each(|(runs, run)| runs.push(run));
                }
                let counted: Vec<f64> = runs[0].iter().map(|run| run.rate).collect();
                let at = format!("{qos:3} {streams:7} {durability:10}");
                let key = json!({"qos": qos, "streams": streams, "durability": durability, "messages": n});
                for (who, runs) in WHO.iter().zip(runs) {
                    table.push(told(&at, who, runs, &counted, &key));
                }
            }
        }
    }
    json!(table)
}

/// Prints the median of some runs over that of the counting ones of the same rounds.
fn told(at: &str, who: &str, runs: Vec<Run>, counted: &[f64], key: &Value) -> Value {
    let mut shares: Vec<f64> = runs
        .iter()
        .zip(counted)
        .map(|(run, n)| run.rate / n)
        .collect();
    shares.sort_by(f64::total_cmp);
    let (low, high) = (shares[0], shares[shares.len() - 1]);
    let share = shares[(shares.len() - 1) / 2];
    let run = median(runs);
    let threads: Vec<String> = run
        .threads
        .iter()
        .filter(|(_, us)| *us >= 0.05)
        .map(|(name, us)| format!("{name} {us:.1}"))
        .collect();
    println!(
        "{at} {who:16} {:10.0} {:5.1}% ({:.0} to {:.0}) {:4.0}  {:.2} {:.2} {:.2}  {:.2} {:.2}  {}",
        run.rate,
        100.0 * share,
        100.0 * low,
        100.0 * high,
        run.lost,
        run.cpu_us,
        run.learning_us,
        run.broker_us,
        run.cores,
        run.idle,
        threads.join(", ")
    );
    let mut told = key.clone();
    told["subscriber"] = json!(who);
    told["run"] = json!({
        "per_s": run.rate, "share": share, "lowest": low, "highest": high, "lost": run.lost,
        "cpu_us": run.cpu_us, "learning_us": run.learning_us, "broker_cpu_us": run.broker_us,
        "cores": run.cores, "idle_cores": run.idle,
        "cpu_us_by_thread": run.threads.iter().cloned().collect::<std::collections::BTreeMap<_, _>>(),
    });
    told
}

/// Latency from the last reading of a row sent to its prediction received, at `rate` readings a
/// second over ten streams.
pub fn latency_at(rate: f64, seconds: f64, settings: &str) -> (f64, Vec<f64>) {
    const STREAMS: usize = 10;
    let dir = tempfile::tempdir().expect("a directory");
    let (_broker, port) = process::broker(dir.path());
    let (daemon, _) = Daemon::start(dir.path(), port, settings);
    let rows = (rate * seconds / CHANNELS as f64 / STREAMS as f64) as u64;
    let base = now_ms() - rows as i64 * 1000 - 3_600_000;
    let sent: Arc<Vec<AtomicU64>> = Arc::new(
        (0..rows as usize * STREAMS)
            .map(|_| AtomicU64::new(0))
            .collect(),
    );
    let start = Instant::now();
    let mut listener = wire::connect(port, "listener");
    wire::subscribe(&mut listener, "spiked/main/+/prediction");
    let times = sent.clone();
    let listening = std::thread::spawn(move || {
        let mut latencies = Vec::new();
        wire::receive(&mut listener, Duration::from_secs(2), |topic, payload| {
            let now = start.elapsed().as_nanos() as u64;
            let number = |text: &str, key: &str| -> Option<i64> {
                let rest = &text[text.find(key)? + key.len()..];
                rest[..rest.find(|c: char| !c.is_ascii_digit())?]
                    .parse()
                    .ok()
            };
            let (topic, payload) = (
                String::from_utf8_lossy(topic),
                String::from_utf8_lossy(payload),
            );
            let place = number(&topic, "main/s").zip(number(&payload, "\"ts\":"));
            if let Some((stream, ts)) = place {
                let place = ((ts - base) / 1000) as usize * STREAMS + stream as usize;
                // Until a stream's channels are known its first row waits for the next round.
                if let Some(sent) = times.get(place).filter(|_| place >= STREAMS) {
                    latencies.push((now - sent.load(Relaxed).min(now)) as f64 / 1e3);
                }
            }
            true
        });
        latencies
    });
    let mut socket = wire::connect(port, "source");
    let pace = rate / CHANNELS as f64;
    let (begin, mut n, mut bytes) = (Instant::now(), 0u64, Vec::new());
    while n < rows * STREAMS as u64 {
        let due = ((begin.elapsed().as_secs_f64() * pace) as u64).min(rows * STREAMS as u64);
        while n < due {
            let (row, stream) = (n / STREAMS as u64, n as usize % STREAMS);
            bytes.clear();
            wire::row(&mut bytes, stream, base + row as i64 * 1000, row, &mut 0, 0);
            sent[n as usize].store(start.elapsed().as_nanos() as u64, Relaxed);
            std::io::Write::write_all(&mut socket, &bytes).expect("a connection");
            n += 1;
        }
        std::thread::sleep(Duration::from_micros(300));
    }
    let got = n as f64 * CHANNELS as f64 / begin.elapsed().as_secs_f64();
    let latencies = listening.join().expect("it ends");
    daemon.stop();
    (got, latencies)
}

/// Median, 99th and 99.9th percentile at 1 k/s, 10 k/s and 80% of `ceiling`, the first row of every
/// stream left out.
pub fn latency(ceiling: f64, seconds: f64) -> Value {
    println!("asked/s  sent/s  predictions  median us   99th  99.9th");
    let mut all = Vec::new();
    for rate in [1_000.0, 10_000.0, 0.8 * ceiling] {
        let (got, mut us) = latency_at(rate, seconds, &settings(0, "none", 1000));
        us.sort_by(f64::total_cmp);
        let at = |share: f64| {
            us.get((us.len() as f64 * share) as usize)
                .copied()
                .unwrap_or(f64::NAN)
        };
        println!(
            "{rate:7.0} {got:7.0} {:12} {:10.0} {:6.0} {:7.0}",
            us.len(),
            at(0.5),
            at(0.99),
            at(0.999)
        );
        all.push(json!({"asked": rate, "sent": got, "n": us.len(), "median_us": at(0.5), "p99_us": at(0.99), "p999_us": at(0.999)}));
    }
    json!(all)
}
