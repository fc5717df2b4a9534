//! The daemon behind a real mosquitto, fed and watched with mosquitto's own C clients.
//!
//! A missing mosquitto fails each test; `SPIKED_SKIP_TOOLS=1` leaves them out.

#![expect(clippy::print_stdout, reason = "a test prints what it measured")]

#[path = "kit/authority.rs"]
mod authority;
#[path = "plant/day.rs"]
mod day;
mod kit;
#[path = "plant/operate.rs"]
mod operate;
#[path = "plant/security.rs"]
mod security;
#[path = "plant/webhook.rs"]
mod webhook;

use std::io::Write;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use kit::{Broker, Daemon, installed, wait_for};
use serde_json::Value;

const TOOLS: [&str; 3] = ["mosquitto", "mosquitto_pub", "mosquitto_sub"];

/// Any state must stay inside the test's directory, and nothing of one run is kept for another.
const SETTINGS: &str = "[state]\ndurability = \"none\"\n";

fn validator(name: &str) -> jsonschema::Validator {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("deploy")
        .join(name);
    let schema: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    jsonschema::validator_for(&schema).unwrap()
}

/// Rows of the recording: unix milliseconds and temperature.
fn recording(n_rows: usize) -> Vec<(i64, f64)> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/data/nab/machine_temperature_system_failure.csv");
    let text = std::fs::read_to_string(path).unwrap();
    text.lines()
        .skip(1)
        .take(n_rows)
        .map(|line| {
            let (time, value) = line.split_once(',').unwrap();
            let ts = spiked::time::parse_moment(time)
                .and_then(spiked::time::ParsedTime::utc_ms)
                .unwrap();
            (ts, value.parse().unwrap())
        })
        .collect()
}

#[test]
fn a_recorded_file_comes_back_as_predictions_and_flags() {
    if !installed(&TOOLS) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let daemon = Daemon::start(&broker, dir.path(), SETTINGS);
    let subscriber = broker.subscribe("spiked/#");
    // Up to and past the first labelled failure, 2013-12-16.
    let rows = recording(5_000);
    let mut publisher = broker.publisher("plant/machine/temperature", 1);
    for (ts, value) in &rows {
        publisher.line(&format!("{{\"value\":{value},\"ts\":{ts}}}"));
    }
    publisher.finish();
    wait_for("every reading is learned", 60, || {
        daemon.metric("spiked_rows_total") >= rows.len() as f64 - 1.0
    });
    let messages = subscriber.all(Duration::from_secs(2));
    let (prediction, anomaly) = (
        validator("prediction.schema.json"),
        validator("anomaly.schema.json"),
    );
    let (mut n_predictions, mut flagged, mut predicted) = (0, Vec::new(), 0);
    for (topic, payload) in &messages {
        if topic == "spiked/main/status" {
            assert_eq!(payload, "online");
            continue;
        }
        let json: Value = serde_json::from_str(payload).unwrap();
        match topic.as_str() {
            "spiked/main/machine/prediction" => {
                prediction.validate(&json).unwrap();
                n_predictions += 1;
                predicted += usize::from(json.get("temperature.sd").is_some());
            }
            "spiked/main/machine/anomaly" => {
                anomaly.validate(&json).unwrap();
                if json["event"] == "opened" {
                    assert_eq!(json["anomaly"], 1);
                    assert_eq!(json["channel_1"], "temperature");
                    flagged.push(json["start"].as_i64().unwrap());
                }
            }
            other => panic!("unexpected topic {other}"),
        }
    }
    println!(
        "{} readings, {n_predictions} predictions ({predicted} with a deviation), flags at {flagged:?}",
        rows.len()
    );
    assert!(n_predictions >= rows.len() - 1, "{n_predictions}");
    assert!(predicted > rows.len() * 9 / 10, "{predicted}");
    // Labelled windows of the benchmark: 2013-12-10 and 2013-12-15 to 2013-12-17, UTC.
    let windows = [
        ("2013-12-10 06:25:00", "2013-12-12 05:35:00"),
        ("2013-12-15 17:50:00", "2013-12-17 17:00:00"),
    ]
    .map(|(a, b)| (ms(a), ms(b)));
    let hit = |(from, to): &(i64, i64)| flagged.iter().any(|t| (from..=to).contains(&t));
    assert!(windows.iter().any(hit), "no flag in a labelled window");
    let (code, _) = daemon.stop();
    assert_eq!(code, 0);
    let last = subscriber.all(Duration::from_millis(500));
    assert!(
        last.contains(&("spiked/main/status".to_owned(), "offline".to_owned())),
        "{last:?}"
    );
}

#[test]
fn recorded_messages_replayed_give_what_the_daemon_published() {
    if !installed(&TOOLS) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let daemon = Daemon::start(&broker, dir.path(), SETTINGS);
    let recorder = broker.subscribe_as("plant/#", "%U %t %p");
    let subscriber = broker.subscribe("spiked/+/pump/prediction");
    let rows = recording(400);
    let mut flow = broker.publisher("plant/pump/flow", 1);
    let mut heat = broker.publisher("plant/pump/heat", 1);
    for (ts, value) in &rows {
        flow.line(&format!("{{\"value\":{value},\"ts\":{ts}}}"));
        heat.line(&format!("{{\"value\":{},\"ts\":{ts}}}", 2.0 * value + 1.0));
    }
    heat.line("too warm");
    flow.finish();
    heat.finish();
    let messages = recorder.all(Duration::from_secs(1));
    assert_eq!(messages.len(), 2 * rows.len() + 1);
    let text: String = messages
        .iter()
        .map(|(time, rest)| format!("{time} {rest}\n"))
        .collect();
    let (file, out) = (dir.path().join("plant.log"), dir.path().join("out"));
    std::fs::write(&file, text).unwrap();
    let replayed = Command::new(env!("CARGO_BIN_EXE_spiked"))
        .env_remove("SPIKED_SKIP_TOOLS")
        .args(["replay", "--messages", "--json", "--out"])
        .args([&out, &file])
        .output()
        .unwrap();
    assert!(replayed.status.success(), "{replayed:?}");
    assert!(String::from_utf8_lossy(&replayed.stderr).contains("refused as malformed: 1"));
    let summary: Value = serde_json::from_slice(&replayed.stdout).unwrap();
    assert_eq!(summary[0]["stream"], "pump");
    let lines = std::fs::read_to_string(out.join("pump.jsonl")).unwrap();
    let published = subscriber.all(Duration::from_secs(1));
    let published: Vec<&str> = published.iter().map(|message| &*message.1).collect();
    let n_readings = daemon.metric("spiked_readings_received_total");
    println!("{n_readings} readings, {} rows published", published.len());
    assert!(published.len() > rows.len() / 2);
    // The daemon waits for what may still come of the last row.
    let replayed: Vec<&str> = lines.lines().take(published.len()).collect();
    assert_eq!(replayed, published);
    assert!(lines.lines().count() <= published.len() + 1);
}

fn ms(time: &str) -> i64 {
    spiked::time::parse_moment(time)
        .and_then(spiked::time::ParsedTime::utc_ms)
        .unwrap()
}

#[test]
fn bad_messages_are_refused_by_reason_and_good_ones_behind_them_arrive() {
    if !installed(&TOOLS) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let settings = format!("{SETTINGS}[[input]]\ntopic = \"plant/{{stream}}/{{channel}}/#\"\n");
    let mut daemon = Daemon::start(&broker, dir.path(), &settings);
    let subscriber = broker.subscribe("spiked/+/+/prediction");
    let deep = "[".repeat(100_000) + &"]".repeat(100_000);
    let large = vec![b'1'; 300_000];
    let huge = vec![b'1'; 20 << 20];
    let bad: [(&str, &[u8], &str); 13] = [
        ("plant/p/flow", b"", "empty"),
        ("plant/p/flow", b"\xff\xfe\x00", "not_utf8"),
        ("plant/p/flow", b"warm", "malformed"),
        ("plant/p/flow", b"{\"value\":", "malformed"),
        ("plant/p/flow", b"NaN", "not_finite"),
        ("plant/p/flow", b"-inf", "not_finite"),
        ("plant/p/flow", b"{\"value\":1e999}", "not_finite"),
        ("plant/p/flow", b"1e308", "out_of_range"),
        ("plant/p/flow", deep.as_bytes(), "too_deep"),
        (
            "plant/p/flow",
            b"{\"value\":1,\"ts\":\"soon\"}",
            "bad_timestamp",
        ),
        ("plant/p/", b"1", "no_channel"),
        ("plant/p/flow", &large, "too_big"),
        // Beyond what a connection takes: it is lost, until one without a limit gets rid of it.
        ("plant/p/flow", &huge, "too_big"),
    ];
    let mut slowest = 0.0_f64;
    // While a stream is new its first row waits: other channels may be about to come.
    let mut good = 3;
    for value in [b"20", b"21", b"22"] {
        broker.publish("plant/p/flow", value, 1);
    }
    assert!(!subscriber.all(Duration::from_millis(500)).is_empty());
    for (topic, payload, reason) in bad {
        let series = format!("spiked_readings_rejected_total{{reason=\"{reason}\"}}");
        let before = daemon.metric(&series);
        broker.publish(topic, payload, 1);
        broker.publish("plant/p/flow", format!("{}", 20 + good).as_bytes(), 1);
        good += 1;
        let start = Instant::now();
        let received = subscriber.next(Duration::from_secs(10));
        let took = start.elapsed();
        assert!(received.is_some(), "nothing arrives behind {reason}");
        let (took, huge) = (took.as_secs_f64(), payload.len() > 1 << 20);
        let limit = if huge { 8.0 } else { 1.0 };
        assert!(took < limit, "{reason}: {took} s");
        if huge {
            println!("behind a packet that no connection takes: {took:.2} s");
        } else {
            slowest = slowest.max(took);
        }
        assert_eq!(daemon.metric(&series), before + 1.0, "{reason}");
        assert!(daemon.is_alive());
    }
    assert_eq!(
        daemon.metric("spiked_readings_received_total"),
        f64::from(good)
    );
    assert!(daemon.metric("spiked_broker_oversized_packets_total") >= 1.0);
    println!(
        "{} bad messages, counted by reason; the good one behind each within {slowest:.3} s",
        bad.len()
    );
    assert_eq!(daemon.stop().0, 0);
}

#[test]
fn a_killed_broker_that_comes_back_finds_the_daemon_again() {
    if !installed(&TOOLS) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(dir.path());
    let settings = format!("{SETTINGS}[mqtt]\nreconnect_max_s = 1.0\n");
    let daemon = Daemon::start(&broker, dir.path(), &settings);
    broker.publish("plant/p/flow", b"1", 1);
    wait_for("the first reading", 5, || {
        daemon.metric("spiked_readings_received_total") == 1.0
    });
    for round in 1..=2 {
        broker.kill();
        wait_for("the loss is noticed", 5, || daemon.get("/readyz").0 == 503);
        assert_eq!(daemon.get("/healthz").0, 200, "alive without a broker");
        std::thread::sleep(Duration::from_secs(1));
        broker.start_again();
        wait_for("ready again", 4, || daemon.get("/readyz").0 == 200);
        let subscriber = broker.subscribe("spiked/+/+/prediction");
        broker.publish("plant/p/flow", b"2", 1);
        assert!(subscriber.next(Duration::from_secs(5)).is_some());
        assert_eq!(
            daemon.metric("spiked_broker_connections_total"),
            f64::from(2 * (round + 1))
        );
    }
    // While the broker is down an attempt a second at most, by each of the two connections.
    assert!(daemon.metric("spiked_broker_connection_failures_total") < 40.0);
    assert_eq!(daemon.stop().0, 0);
}

#[test]
fn the_daemon_that_starts_before_its_broker_waits_for_it() {
    if !installed(&TOOLS) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(dir.path());
    broker.kill();
    let daemon = Daemon::start_unready(&broker, dir.path(), SETTINGS);
    wait_for("it listens", 10, || daemon.get("/healthz").0 == 200);
    assert_eq!(daemon.get("/readyz").0, 503);
    broker.start_again();
    wait_for("ready", 10, || daemon.get("/readyz").0 == 200);
    assert_eq!(daemon.stop().0, 0);
}

/// Publishes `seconds` of 8 channels at 1,000 readings/s, each row at one go.
fn publish_paced(broker: &Broker, seconds: u64) -> u64 {
    let mut publishers: Vec<_> = (0..8)
        .map(|c| broker.publisher(&format!("plant/press/c{c}"), 0))
        .collect();
    let start = Instant::now();
    let n_readings = seconds * 1000;
    for idx in 0..n_readings {
        let due = start + Duration::from_millis(idx);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let value = (idx as f64 * 0.01).sin() + (idx % 7) as f64 * 0.1;
        let c = (idx % 8) as usize;
        publishers[c].line(&value.to_string());
    }
    for publisher in publishers {
        publisher.finish();
    }
    n_readings
}

/// Upper bounds and cumulative counts of a histogram of /metrics.
fn buckets(text: &str, family: &str) -> Vec<(f64, f64)> {
    text.lines()
        .filter_map(|line| {
            let rest = line.strip_prefix(&format!("{family}_bucket{{le=\""))?;
            let (le, count) = rest.split_once("\"} ")?;
            Some((le.parse().unwrap_or(f64::INFINITY), count.parse().ok()?))
        })
        .collect()
}

/// The `q`-quantile of a histogram, interpolated within its bucket.
fn quantile(buckets: &[(f64, f64)], q: f64) -> f64 {
    let mut below = (0.0, 0.0);
    let total = buckets.last().map_or(0.0, |(_, count)| *count);
    for &(le, count) in buckets {
        if count >= q * total {
            let (from, counted) = below;
            return from + (le - from) * (q * total - counted) / (count - counted);
        }
        below = (le, count);
    }
    f64::NAN
}

#[test]
fn at_a_thousand_readings_a_second_predictions_are_out_within_milliseconds() {
    if !installed(&TOOLS) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let daemon = Daemon::start(&broker, dir.path(), SETTINGS);
    let family = "spiked_end_to_end_latency_seconds";
    // The first second loads the binary's pages and learns of the channels.
    let mut sent = publish_paced(&broker, 1) as f64;
    let before = buckets(&daemon.get("/metrics").1, family);
    sent += publish_paced(&broker, 5) as f64;
    wait_for("every reading is received", 10, || {
        daemon.metric("spiked_readings_received_total") >= sent
    });
    std::thread::sleep(Duration::from_millis(300));
    let mut counts = buckets(&daemon.get("/metrics").1, family);
    for (bucket, (_, earlier)) in counts.iter_mut().zip(before) {
        bucket.1 -= earlier;
    }
    let (median, p99) = (quantile(&counts, 0.5), quantile(&counts, 0.99));
    println!(
        "arrival to publication at 1,000 readings/s: median {:.2} ms, 99th percentile {:.2} ms, {} rows",
        median * 1e3,
        p99 * 1e3,
        daemon.metric("spiked_rows_total")
    );
    assert!(daemon.metric("spiked_rows_total") > sent / 8.0 * 0.9);
    assert!(median < 0.05, "median {median} s");
    assert_eq!(daemon.stop().0, 0);
}

#[test]
fn promtool_finds_nothing_to_say_about_the_metrics() {
    let mut tools = TOOLS.to_vec();
    tools.push("promtool");
    if !installed(&tools) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let settings = format!("{SETTINGS}[http]\nmax_labelled_streams = 2\n");
    let daemon = Daemon::start(&broker, dir.path(), &settings);
    for stream in ["a", "b", "c"] {
        broker.publish(&format!("plant/{stream}/flow"), b"1", 1);
    }
    wait_for("three streams", 5, || {
        daemon.metric("spiked_streams") == 3.0
    });
    let (code, text) = daemon.get("/metrics");
    assert_eq!(code, 200);
    let labelled = text
        .lines()
        .filter(|line| line.starts_with("spiked_stream_rows{"))
        .count();
    assert_eq!(labelled, 2, "per-stream series are capped");
    let mut promtool = Command::new("promtool")
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut input = promtool.stdin.take().unwrap();
    input.write_all(text.as_bytes()).unwrap();
    drop(input);
    let output = promtool.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout) + String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && said.trim().is_empty(), "{said}");
}

#[test]
fn check_with_connect_tries_the_broker_and_its_subscriptions() {
    if !installed(&TOOLS) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start(dir.path());
    let config = dir.path().join("check.toml");
    let text = format!("[mqtt]\nurl = \"mqtt://127.0.0.1:{}\"\n", broker.port);
    std::fs::write(&config, text).unwrap();
    let check = || {
        Command::new(env!("CARGO_BIN_EXE_spiked"))
            .env_remove("SPIKED_SKIP_TOOLS")
            .args(["check", "--connect", "--config"])
            .arg(&config)
            .output()
            .unwrap()
    };
    let well = check();
    assert!(well.status.success(), "{well:?}");
    assert!(String::from_utf8_lossy(&well.stdout).contains("plant/+/+"));
    broker.kill();
    assert_eq!(check().status.code(), Some(1));
}
