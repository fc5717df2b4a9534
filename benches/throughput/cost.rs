//! Cost of a row without a broker, and its growth; replay of a recording.

use std::io::Write;
use std::time::Instant;

use serde_json::{Value, json};
use spiked::encode::{Encoder, Population};
use spiked::engine::{Engine, EngineParams, EngineSettings, Plan};
use spiked::row::Row;

use crate::process::cpu_of;

/// Rows before the clock starts: scales known, buffers grown.
const WARM_UP: u64 = 150;

fn fill(row: &mut Row, i: u64, stream: usize) {
    row.ts_ms = 1_700_000_000_000 + i as i64 * 1000;
    row.arrival_ms = row.ts_ms;
    for (c, value) in row.values.iter_mut().enumerate() {
        let noise = ((i * 8191 + c as u64 * 131 + stream as u64)
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            >> 40) as f64;
        *value = (i as f64 * 0.02 + c as f64).sin() + noise / 16_777_216.0;
    }
}

/// CPU us a row, all streams in turn.
fn cost(params: &EngineParams, plan: &Plan, (channels, streams): (usize, usize), rows: u64) -> f64 {
    let engine = || {
        let mut engine = Engine::new(params, 0);
        engine.add(vec![plan.clone(); channels]);
        engine
    };
    let mut engines: Vec<Engine> = (0..streams).map(|_| engine()).collect();
    let mut row = Row {
        ts_ms: 0,
        arrival_ms: 0,
        values: vec![0.0; channels],
        held: Vec::new(),
    };
    let mut begin = 0.0;
    for i in 0..WARM_UP + rows {
        if i == WARM_UP {
            begin = cpu_of(std::process::id());
        }
        for (stream, engine) in engines.iter_mut().enumerate() {
            fill(&mut row, i, stream);
            let outcome = engine.step(&row);
            engine.recycle(outcome);
        }
    }
    (cpu_of(std::process::id()) - begin) * 1e6 / (rows * streams as u64) as f64
}

/// Exponent b of cost = a x^b by least squares on logarithms.
fn exponent(points: &[(f64, f64)]) -> f64 {
    let n = points.len() as f64;
    let logs: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x.ln(), y.ln())).collect();
    let (mx, my) = (
        logs.iter().map(|p| p.0).sum::<f64>() / n,
        logs.iter().map(|p| p.1).sum::<f64>() / n,
    );
    let sxy: f64 = logs.iter().map(|(x, y)| (x - mx) * (y - my)).sum();
    sxy / logs.iter().map(|(x, _)| (x - mx).powi(2)).sum::<f64>()
}

fn table(what: &str, xs: &[usize], mut us: impl FnMut(usize) -> f64) -> Value {
    let points: Vec<(f64, f64)> = xs.iter().map(|&x| (x as f64, us(x))).collect();
    let cells: Vec<String> = points
        .iter()
        .map(|(x, us)| format!("{x}: {us:.1}"))
        .collect();
    let b = exponent(&points);
    println!("{what:28} us a row  {}   exponent {b:.2}", cells.join("  "));
    json!({"what": what, "us_a_row": points, "exponent": b})
}

fn params(change: impl FnOnce(&mut EngineSettings)) -> EngineParams {
    let mut settings = EngineSettings::default();
    change(&mut settings);
    EngineParams::new(settings).expect("valid settings")
}

/// Cost of a row by channels, hidden units, receptive fields and streams; the rest at its default.
pub fn scaling() -> Value {
    let (default, plain) = (EngineParams::default(), Plan::default());
    json!([
        table("channels", &[1, 8, 64, 512], |n| cost(
            &default,
            &plain,
            (n, 1),
            16_000_000 / (n * n.max(8)) as u64 + 60
        )),
        table(
            "hidden units, 8 channels",
            &[16, 32, 64, 128, 256, 512],
            |n| {
                cost(
                    &params(|s| s.hidden = n),
                    &plain,
                    (8, 1),
                    4_000_000 / n as u64,
                )
            }
        ),
        table("fields a channel, 8 channels", &[8, 16, 32, 64], |n| {
            let population = Population {
                fields: n as u32,
                ..Population::default()
            };
            let plan = Plan {
                encoder: Encoder::Population(population),
                ..Plan::default()
            };
            cost(&default, &plan, (8, 1), 250_000)
        }),
        table("streams of 8 channels", &[1, 10, 100, 1000, 10_000], |n| {
            cost(&default, &plain, (8, n), (100_000 / n) as u64 + 10)
        }),
    ])
}

/// `spiked replay` over a recording of eight channels: readings a second by wall clock and by CPU.
pub fn replay(rows: u64, rounds: usize) -> Value {
    let dir = tempfile::tempdir().expect("a directory");
    let path = dir.path().join("eight.csv");
    let mut text = Vec::from(&b"ts,a,b,c,d,e,f,g,h\n"[..]);
    let mut row = Row {
        ts_ms: 0,
        arrival_ms: 0,
        values: vec![0.0; 8],
        held: Vec::new(),
    };
    for i in 0..rows {
        fill(&mut row, i, 0);
        write!(text, "{}", row.ts_ms).expect("memory");
        for value in &row.values {
            write!(text, ",{:.4}", 20.0 + value).expect("memory");
        }
        text.push(b'\n');
    }
    std::fs::write(&path, text).expect("a file");
    let mut best = (0.0f64, 0.0f64);
    for _ in 0..rounds {
        let start = Instant::now();
        let before = children_cpu();
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_spiked"))
            .args([
                "replay",
                "--config",
                concat!(env!("CARGO_MANIFEST_DIR"), "/config/minimal.toml"),
                "--json",
            ])
            .arg(&path)
            .output()
            .expect("it runs");
        assert!(output.status.success());
        let n = (rows * 8) as f64;
        let wall = n / start.elapsed().as_secs_f64();
        let cpu = n / (children_cpu() - before);
        println!(
            "replay, 8 channels, {rows} rows: {wall:.0} readings/s by wall clock, {cpu:.0} a CPU second"
        );
        best = (best.0.max(wall), best.1.max(cpu));
    }
    json!({"rows": rows, "best_per_s": best.0, "best_per_cpu_s": best.1})
}

/// CPU seconds of the children that have ended.
fn children_cpu() -> f64 {
    let text = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    let rest = text.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let fields: Vec<f64> = rest.split(' ').map(|x| x.parse().unwrap_or(0.0)).collect();
    (fields[13] + fields[14]) / 100.0
}
