//! Flags on simulated streams: wanted against measured false alarms, and delays on injected faults.
//!
//! `cargo bench --bench detection -- false-alarms [STREAMS] [ROWS]` and
//! `cargo bench --bench detection -- faults [STREAMS]`; both with the shipped defaults.
//! `cargo bench --bench detection -- cost [ROWS]`: time a row and state a channel.
#![expect(clippy::print_stdout, reason = "a bench prints its tables")]

use rand::{Rng, RngExt, SeedableRng};
use rand_pcg::Pcg64;
use spiked::engine::{Engine, EngineParams};
use spiked::row::{IncidentEdge, Row};

const MINUTE_MS: i64 = 60_000;
const WEEK_ROWS: f64 = 10_080.0;

fn normal(rng: &mut impl Rng) -> f64 {
    let u: f64 = 1.0 - rng.random::<f64>();
    let v: f64 = rng.random();
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

/// Student t with 3 degrees of freedom, scaled to unit variance.
fn heavy(rng: &mut impl Rng) -> f64 {
    let chi2: f64 = (0..3).map(|_| normal(rng).powi(2)).sum();
    normal(rng) / (chi2 / 3.0).sqrt() / 3.0f64.sqrt()
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Law {
    Gaussian,
    Heavy,
    Autocorrelated,
    Daily,
    Drifting,
}

const LAWS: [Law; 5] = [
    Law::Gaussian,
    Law::Heavy,
    Law::Autocorrelated,
    Law::Daily,
    Law::Drifting,
];

/// A normal channel of unit standard deviation around its rhythm or drift.
struct Source {
    law: Law,
    state: f64,
    walk: f64,
}

impl Source {
    fn new(law: Law) -> Source {
        Source {
            law,
            state: 0.0,
            walk: 0.0,
        }
    }

    fn next(&mut self, row: usize, rng: &mut impl Rng) -> f64 {
        let day = row as f64 / 1440.0;
        match self.law {
            Law::Gaussian => normal(rng),
            Law::Heavy => heavy(rng),
            Law::Autocorrelated => {
                self.state = 0.95 * self.state + (1.0f64 - 0.95 * 0.95).sqrt() * normal(rng);
                self.state
            }
            Law::Daily => {
                self.state = 0.7 * self.state + (1.0f64 - 0.49).sqrt() * normal(rng);
                self.state + 3.0 * (std::f64::consts::TAU * day).sin()
            }
            Law::Drifting => {
                self.walk += 0.01 * normal(rng);
                0.05 * day + self.walk + normal(rng)
            }
        }
    }
}

/// Incidents opened on a normal stream, by week.
fn run_normal(law: Law, seed: u64, rows: usize) -> usize {
    let mut rng = Pcg64::seed_from_u64(seed);
    let mut engine = Engine::new(&EngineParams::default(), 1);
    let mut source = Source::new(law);
    (0..rows)
        .filter(|&i| {
            let ts_ms = i as i64 * MINUTE_MS;
            let row = Row {
                ts_ms,
                arrival_ms: ts_ms,
                values: vec![source.next(i, &mut rng)],
                held: Vec::new(),
            };
            matches!(engine.step(&row).edge, Some(IncidentEdge::Opened(_)))
        })
        .count()
}

fn false_alarms(streams: usize, rows: usize) {
    let wanted =
        EngineParams::default().get().detect.false_alarms_per_week * rows as f64 / WEEK_ROWS;
    println!(
        "false alarms on {streams} normal streams of {rows} rows, one a minute; wanted {wanted:.2} a stream"
    );
    println!("| law | mean measured / wanted | worst stream / wanted | streams without any |");
    println!("|---|---|---|---|");
    let mut all = Vec::new();
    for (k, law) in LAWS.into_iter().enumerate() {
        let counts: Vec<usize> = (0..streams / LAWS.len())
            .map(|s| run_normal(law, (1000 * k + s) as u64, rows))
            .collect();
        print_counts(&format!("{law:?}"), &counts, wanted);
        all.extend(counts);
    }
    print_counts("all", &all, wanted);
}

fn print_counts(name: &str, counts: &[usize], wanted: f64) {
    let mean = counts.iter().sum::<usize>() as f64 / counts.len() as f64;
    let worst = counts.iter().max().copied().unwrap_or(0) as f64;
    let none = counts.iter().filter(|&&n| n == 0).count();
    println!(
        "| {name} | {:.2} | {:.2} | {none} of {} |",
        mean / wanted,
        worst / wanted,
        counts.len()
    );
}

#[derive(Clone, Copy, Debug, PartialEq)]
enum Fault {
    Bias,
    Drift,
    Gain,
    Noise,
    Stuck,
    Dropout,
    Decoupled,
}

const FAULTS: [(Fault, &[f64]); 7] = [
    (Fault::Bias, &[2.0, 4.0, 8.0]),
    (Fault::Drift, &[4.0, 8.0]),
    (Fault::Gain, &[2.0, 4.0]),
    (Fault::Noise, &[2.0, 4.0]),
    (Fault::Stuck, &[0.0]),
    (Fault::Dropout, &[0.0]),
    (Fault::Decoupled, &[0.0]),
];

const FAULT_AT: usize = 4000;
const FAULT_ROWS: usize = 200;
const CHANNELS: usize = 4;

/// Rows from the fault's start to the first incident that opens within it; the number of incidents
/// opened before it.
fn run_fault(law: Law, fault: Fault, size: f64, seed: u64) -> (Option<usize>, usize) {
    let mut rng = Pcg64::seed_from_u64(seed);
    let mut engine = Engine::new(&EngineParams::default(), CHANNELS);
    let mut sources: Vec<Source> = (0..CHANNELS).map(|_| Source::new(law)).collect();
    let mut stranger = Source::new(law);
    let (mut delay, mut before, mut held) = (None, 0, 0.0);
    for i in 0..FAULT_AT + FAULT_ROWS {
        let common = sources[0].next(i, &mut rng);
        // The other channels follow the first, with a fifth of noise of their own.
        let mut values: Vec<f64> = (0..CHANNELS)
            .map(|c| {
                if c == 0 {
                    common
                } else {
                    0.98 * common + 0.2 * normal(&mut rng)
                }
            })
            .collect();
        let other = stranger.next(i, &mut rng);
        if i >= FAULT_AT {
            let part = (i - FAULT_AT) as f64 / FAULT_ROWS as f64;
            let x = &mut values[1];
            match fault {
                Fault::Bias => *x += size,
                Fault::Drift => *x += size * part,
                Fault::Gain => *x *= size,
                Fault::Noise => *x += size * normal(&mut rng),
                Fault::Stuck => *x = held,
                Fault::Dropout => *x = f64::NAN,
                Fault::Decoupled => *x = 0.98 * other + 0.2 * normal(&mut rng),
            }
        } else {
            held = values[1];
        }
        let ts_ms = i as i64 * MINUTE_MS;
        let outcome = engine.step(&Row {
            ts_ms,
            arrival_ms: ts_ms,
            values,
            held: Vec::new(),
        });
        if matches!(outcome.edge, Some(IncidentEdge::Opened(_))) {
            if i < FAULT_AT {
                before += 1;
            } else if delay.is_none() {
                delay = Some(i - FAULT_AT);
            }
        }
    }
    (delay, before)
}

fn faults(streams: usize) {
    println!(
        "faults in one of {CHANNELS} coupled channels, {streams} streams each, default settings"
    );
    println!(
        "| fault | size (sd) | hit within {FAULT_ROWS} rows | within 20 rows | median delay | incidents a week before it |"
    );
    println!("|---|---|---|---|---|---|");
    for (fault, sizes) in FAULTS {
        for &size in sizes {
            let mut delays = Vec::new();
            let mut before = 0;
            for s in 0..streams {
                let (delay, n) = run_fault(LAWS[s % LAWS.len()], fault, size, s as u64);
                delays.push(delay.unwrap_or(usize::MAX));
                before += n;
            }
            delays.sort_unstable();
            let share = |limit: usize| {
                100.0 * delays.iter().filter(|&&d| d < limit).count() as f64 / streams as f64
            };
            let median = delays[streams / 2];
            let median = if median == usize::MAX {
                "-".into()
            } else {
                median.to_string()
            };
            let weeks = streams as f64 * FAULT_AT as f64 / WEEK_ROWS;
            println!(
                "| {fault:?} | {size} | {:.1}% | {:.1}% | {median} | {:.2} |",
                share(FAULT_ROWS),
                share(20),
                before as f64 / weeks
            );
        }
    }
}

/// Time a row and serialised state a channel, for 1, 8 and 64 channels of autocorrelated noise.
fn cost(rows: usize) {
    println!("| channels | us a row | bytes of state a channel |");
    println!("|---|---|---|");
    for n in [1, 8, 64] {
        let mut rng = Pcg64::seed_from_u64(1);
        let mut sources: Vec<Source> = (0..n).map(|_| Source::new(Law::Autocorrelated)).collect();
        let mut engine = Engine::new(&EngineParams::default(), n);
        let recorded: Vec<Row> = (0..rows)
            .map(|i| Row {
                ts_ms: i as i64 * MINUTE_MS,
                arrival_ms: i as i64 * MINUTE_MS,
                values: sources.iter_mut().map(|s| s.next(i, &mut rng)).collect(),
                held: Vec::new(),
            })
            .collect();
        let start = std::time::Instant::now();
        for row in &recorded {
            std::hint::black_box(engine.step(row));
        }
        let spent = start.elapsed().as_secs_f64();
        let bytes = postcard::to_stdvec(&engine).map_or(0, |state| state.len());
        println!("| {n} | {:.2} | {} |", 1e6 * spent / rows as f64, bytes / n);
    }
}

fn main() {
    let args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with("--"))
        .collect();
    let number =
        |i: usize, default: usize| args.get(i).and_then(|a| a.parse().ok()).unwrap_or(default);
    match args.first().map(String::as_str) {
        Some("false-alarms") => false_alarms(number(1, 200), number(2, 43_200)),
        Some("faults") => faults(number(1, 200)),
        Some("cost") => cost(number(1, 200_000)),
        // `cargo bench` and `cargo test --benches` without arguments: a short run of both.
        _ => {
            false_alarms(10, 4_000);
            faults(10);
            cost(4_000);
        }
    }
}
