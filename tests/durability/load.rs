//! Load: a flood, a soak, and what the journal costs. Long forms: `SPIKED_FLOOD_S` (5),
//! `SPIKED_SOAK_S` (8), `SPIKED_COST_READINGS` (5000), `SPIKED_COST_ROUNDS` (1).

use std::time::{Duration, Instant};

use crate::plant::{
    Broker, Daemon, SLOW, Source, WIDE, alone, have_mosquitto, http_get, metric_in, now_ms, number,
    wait_until, wide,
};

/// Slope of a line through (s, KiB) points, KiB/s.
fn slope(points: &[(f64, f64)]) -> f64 {
    let n = points.len() as f64;
    let mean = |f: fn(&(f64, f64)) -> f64| points.iter().map(f).sum::<f64>() / n;
    let (mx, my) = (mean(|p| p.0), mean(|p| p.1));
    let sxy: f64 = points.iter().map(|(x, y)| (x - mx) * (y - my)).sum();
    let sxx: f64 = points.iter().map(|(x, _)| (x - mx) * (x - mx)).sum();
    sxy / sxx.max(1e-9)
}

fn sum_of(text: &str, family: &str) -> f64 {
    text.lines()
        .filter(|line| line.starts_with(family))
        .filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok())
        .sum()
}

/// Messages a second that the daemon learns while there are always more, and how many were published.
fn sustainable(daemon: &Daemon, port: u16, base_ms: i64) -> (u64, u64) {
    let source = Source::publish(wide, port, 4000, base_ms);
    let rows = || daemon.metric("spiked_rows_total");
    wait_until("it learns", Duration::from_secs(20), || rows() > 0.0);
    std::thread::sleep(Duration::from_millis(300));
    let (start, before) = (Instant::now(), rows());
    std::thread::sleep(Duration::from_millis(1200));
    let rate = (rows() - before) / start.elapsed().as_secs_f64();
    (rate as u64, source.finish())
}

/// Load: a multiple of the messages that are learned.
struct Flood {
    multiple: u64,
    rate: u64,
    port: u16,
    /// First time stamp.
    base_ms: i64,
}

impl Flood {
    /// More than this a machine that learns so little more than it was measured to would be another one.
    const MOST: u64 = 32;

    fn start(&mut self) -> Source {
        self.base_ms += 5_000_000;
        Source::publish(wide, self.port, self.multiple * self.rate, self.base_ms)
    }
}

#[test]
fn a_flood_is_dropped_by_count_and_memory_stays_bounded() {
    if !have_mosquitto() {
        return;
    }
    let _alone = alone();
    let seconds = number("SPIKED_FLOOD_S", 5);
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_in_memory();
    // A network so large, and rows so wide, that learning, and not the broker, is what cannot keep up.
    let config = format!("{SLOW}overload = \"drop_oldest\"\n[state]\nsnapshot_every_s = 2.0\n");
    let mut daemon = Daemon::start(dir.path(), broker.port, &config);
    daemon.wait_ready();
    let base_ms = now_ms() - 86_400_000;
    let (rate, mut published) = sustainable(&daemon, broker.port, base_ms);
    let mut flood = Flood {
        multiple: 2,
        rate,
        port: broker.port,
        base_ms,
    };
    let mut source = flood.start();
    let dropped = || daemon.metric("spiked_messages_dropped_total");
    let (mut start, mut before) = (Instant::now(), dropped());
    let mut curve = Vec::new();
    while start.elapsed() < Duration::from_secs(seconds) {
        std::thread::sleep(Duration::from_millis(250));
        curve.push((start.elapsed().as_secs_f64(), daemon.usage().0 as f64));
        // Not yet a flood on this machine.
        let is_time = start.elapsed() > Duration::from_millis(1500);
        if is_time && flood.multiple < Flood::MOST && dropped() == before {
            published += source.finish();
            flood.multiple *= 2;
            source = flood.start();
            (start, before) = (Instant::now(), dropped());
            curve.clear();
        }
    }
    published += source.finish();
    // From one scrape, and again: what the intake thread has in hand is in no queue.
    let [mut taken, mut dropped, mut redelivered] = [0.0; 3];
    let mut text = String::new();
    wait_until(
        "each message is taken, dropped or known",
        Duration::from_secs(60),
        || {
            text = http_get(daemon.http, "/metrics").unwrap_or_default().1;
            let received = metric_in(&text, "spiked_messages_received_total");
            taken = metric_in(&text, "spiked_readings_received_total") / WIDE as f64;
            dropped = metric_in(&text, "spiked_messages_dropped_total");
            redelivered = sum_of(
                &text,
                "spiked_readings_rejected_total{reason=\"redelivered\"}",
            );
            received >= published as f64 && received == taken + dropped + redelivered
        },
    );
    // Acknowledged out of their order, the broker would deliver others out of theirs.
    let late = sum_of(&text, "spiked_readings_rejected_total{reason=\"late\"}");
    assert_eq!(late, 0.0, "readings out of order");
    let half = &curve[curve.len() / 2..];
    let growth = slope(half);
    let tenths: Vec<String> = (1..=10)
        .map(|tenth| curve[curve.len() * tenth / 10 - 1].1 / 1024.0)
        .map(|mib| format!("{mib:.1}"))
        .collect();
    println!(
        "flood of {seconds} s at {} times the {rate} messages/s of {WIDE} channels that are learned: {published} published, \
         {taken} taken, {dropped} dropped, {redelivered} redelivered; memory by tenths of the time {} MiB, \
         second half {growth:.2} KiB/s",
        flood.multiple,
        tenths.join(" ")
    );
    assert!(dropped > before, "no flood: this test cannot fail");
    assert!(half.iter().all(|(_, kib)| *kib < 300.0 * 1024.0));
    // Bursts move it by a few MiB, however long it takes.
    let grown = growth * seconds as f64 / 2.0;
    assert!(grown < 10.0 * 1024.0, "{grown} KiB in the second half");
    daemon.stop();
}

#[test]
fn a_paced_load_is_kept_up_with_in_constant_memory() {
    if !have_mosquitto() {
        return;
    }
    let _alone = alone();
    let (seconds, rate) = (number("SPIKED_SOAK_S", 8), number("SPIKED_SOAK_RATE", 1000));
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_in_memory();
    let config = "[stream]\nalign = \"per-reading\"\n[state]\nsnapshot_every_s = 2.0\njournal_max_bytes = 1048576\n";
    let mut daemon = Daemon::start(dir.path(), broker.port, config);
    daemon.wait_ready();
    let source = Source::start(broker.port, rate, now_ms() - 86_400_000);
    let start = Instant::now();
    let (mut curve, mut series) = (Vec::new(), Vec::new());
    while start.elapsed() < Duration::from_secs(seconds) {
        std::thread::sleep(Duration::from_millis(500));
        curve.push((start.elapsed().as_secs_f64(), daemon.usage().0 as f64));
        let (_, text) = http_get(daemon.http, "/metrics").unwrap();
        series.push(text.lines().filter(|line| !line.starts_with('#')).count());
    }
    let asked = start.elapsed().as_secs_f64() * rate as f64;
    // Messages that the source got rid of: on a busy machine it falls behind by itself.
    let acked = source.acked.load(std::sync::atomic::Ordering::SeqCst) as f64;
    let kept = daemon.metric("spiked_rows_total");
    let warm = curve.len() / 2;
    let growth = slope(&curve[warm..]) * 3600.0 / 1024.0;
    println!(
        "soak of {seconds} s at {rate}/s: {:.2}% of the rate, memory {:.1} MiB, slope {growth:.1} MiB/h after warm-up, {} series",
        100.0 * kept / asked,
        curve[curve.len() - 1].1 / 1024.0,
        series[series.len() - 1]
    );
    source.finish();
    assert!(
        kept >= 0.99 * acked - 0.5 * rate as f64,
        "{kept} of {acked} published, {asked} asked for"
    );
    assert!(
        series[series.len() / 2..]
            .iter()
            .all(|&n| n == series[series.len() - 1])
    );
    // Too short a run says nothing about an hour.
    assert!(seconds < 600 || growth <= 8.0, "{growth} MiB/h");
    daemon.stop();
}

/// Readings a second out of the broker's backlog, QoS 1, one reading a message, to the last row.
fn drained(durability: &str, readings: u64) -> f64 {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_in_memory();
    let config =
        format!("[state]\ndurability = \"{durability}\"\n[stream]\nalign = \"per-reading\"\n");
    let mut daemon = Daemon::start(dir.path(), broker.port, &config);
    daemon.wait_ready();
    daemon.stop();
    // The broker keeps them for the session that it knows.
    let source = Source::start(broker.port, 40_000, now_ms() - 86_400_000);
    wait_until("enough is published", Duration::from_secs(60), || {
        source.acked.load(std::sync::atomic::Ordering::SeqCst) >= readings
    });
    let published = source.finish();
    daemon.restart();
    let taken = || daemon.metric("spiked_rows_total");
    wait_until("it starts", Duration::from_secs(20), || taken() > 0.0);
    let (start, before) = (Instant::now(), taken());
    wait_until("every row is learned", Duration::from_secs(120), || {
        taken() >= published as f64
    });
    let rate = (published as f64 - before) / start.elapsed().as_secs_f64();
    daemon.stop();
    rate
}

#[test]
fn the_price_of_the_journal_is_known() {
    if !have_mosquitto() {
        return;
    }
    let _alone = alone();
    let readings = number("SPIKED_COST_READINGS", 5000);
    // Counters move five times a second: a short run is a rough one.
    let rounds = number("SPIKED_COST_ROUNDS", 1) as usize;
    let mut rates = [("none", vec![]), ("snapshot", vec![]), ("journal", vec![])];
    for _ in 0..rounds {
        for (durability, rates) in &mut rates {
            rates.push(drained(durability, readings));
        }
    }
    for (durability, rates) in &mut rates {
        rates.sort_by(f64::total_cmp);
        println!(
            "durability {durability:>8}: {:.0} readings/s, median of {rounds} runs of {readings}, {:.0} to {:.0}",
            rates[rounds / 2],
            rates[0],
            rates[rounds - 1]
        );
    }
}
