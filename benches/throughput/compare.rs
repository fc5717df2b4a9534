//! Two programs beside one another, in turn: flood, latency and fleet over both versions of MQTT.

use std::path::Path;

use serde_json::{Value, json};

use crate::flood::{daemon_run, latency_at, messages, publish, settings};
use crate::memory::fleet_under;
use crate::process::{Daemon, broker, measure};

/// Streams of the flood.
const STREAMS: usize = 10;
/// Messages of the flood.
const MESSAGES: u64 = 100_000;
/// Streams of the fleet.
const FLEET: usize = 1000;
/// Readings a second, and seconds of them, for the latency.
const PACE: (f64, f64) = (10_000.0, 4.0);
/// The quantities, and whether more is better.
const QUANTITIES: [(&str, bool); 9] = [
    ("flood, QoS 0, readings/s", true),
    ("flood, QoS 0, CPU us a reading", false),
    ("flood, QoS 1 and journal, readings/s", true),
    ("flood, QoS 1 and journal, CPU us a reading", false),
    ("ready after kill -9 at the end of that flood, s", false),
    ("latency, median us", false),
    ("latency, 99th percentile us", false),
    ("fleet, KiB a stream", false),
    ("fleet, start from snapshots, s", false),
];

/// All quantities of the program that is measured, over one version of MQTT.
fn quantities(protocol: &str) -> [f64; QUANTITIES.len()] {
    let text = |qos: u8, durability: &str| {
        settings(qos, durability, FLEET) + &format!("[mqtt]\nprotocol = \"{protocol}\"\n")
    };
    let [plain, kept] = [(0, "none"), (1, "journal")].map(|(qos, durability)| {
        let rows = MESSAGES / 8 / STREAMS as u64;
        let load = messages(STREAMS, rows, 1000, qos);
        let n = rows * 8 * STREAMS as u64;
        let run = daemon_run(&load, qos, &text(qos, durability), (n, STREAMS as u64), 0);
        assert_eq!(run.lost, 0.0, "readings are lost");
        (run.rate, run.cpu_us)
    });
    let (_, mut us) = latency_at(PACE.0, PACE.1, &text(0, "none"));
    us.sort_by(f64::total_cmp);
    let at = |share: f64| us[(us.len() as f64 * share) as usize];
    let fleet = fleet_under(FLEET, 12, 1, &text(0, "snapshot"));
    let of_fleet = |key: &str| fleet[key].as_f64().expect("a number");
    [
        plain.0,
        plain.1,
        kept.0,
        kept.1,
        ready_after_kill(&text(1, "journal")),
        at(0.5),
        at(0.99),
        of_fleet("kib_per_stream"),
        of_fleet("start_s"),
    ]
}

/// Seconds from the start after a `kill -9`, at the moment at which the broker has the last reading of a flood,
/// to readiness.
fn ready_after_kill(settings: &str) -> f64 {
    let dir = tempfile::tempdir().expect("a directory");
    let (_broker, port) = broker(dir.path());
    let (daemon, _) = Daemon::start(dir.path(), port, settings);
    publish(
        port,
        &messages(STREAMS, MESSAGES / 8 / STREAMS as u64, 1000, 1),
        1,
    );
    drop(daemon);
    let (daemon, took) = Daemon::start(dir.path(), port, settings);
    daemon.stop();
    took.as_secs_f64()
}

/// The middle one; of an even number the lower of the two.
fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[(values.len() - 1) / 2]
}

/// Measures the programs in turn, `rounds` times: medians, and the median and range of the ratio of
/// each round.
pub fn compare(programs: [&Path; 2], rounds: usize) -> Value {
    for program in programs {
        assert!(
            program.is_file(),
            "compare BEFORE AFTER [ROUNDS]: no program at {program:?}"
        );
    }
    let mut table = Vec::new();
    for protocol in ["3.1.1", "5"] {
        let mut runs: [Vec<[f64; QUANTITIES.len()]>; 2] = Default::default();
        for round in 0..rounds {
            // Who goes first changes from round to round.
            for which in [round % 2, 1 - round % 2] {
                measure(programs[which]);
                runs[which].push(quantities(protocol));
            }
        }
        println!("MQTT {protocol}: before, after, after over before (range)");
        for (k, (name, more_is_better)) in QUANTITIES.iter().enumerate() {
            let [before, after] = [0, 1].map(|which| median(runs[which].iter().map(|run| run[k])));
            let ratios = runs[0].iter().zip(&runs[1]).map(|(a, b)| b[k] / a[k]);
            let ratios: Vec<f64> = ratios.collect();
            let low = ratios.iter().copied().fold(f64::INFINITY, f64::min);
            let high = ratios.iter().copied().fold(0.0, f64::max);
            let ratio = median(ratios.into_iter());
            let wanted = if *more_is_better { "more" } else { "less" };
            println!(
                "{name:44} {before:10.2} {after:10.2} {ratio:6.3} ({low:.3} to {high:.3}; {wanted} is better)"
            );
            table.push(
                json!({"protocol": protocol, "what": name, "before": before, "after": after,
                "ratio": ratio, "lowest": low, "highest": high}),
            );
        }
    }
    json!(table)
}
