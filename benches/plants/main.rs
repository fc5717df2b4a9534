//! Scores the flags on ordinary plants: false alarms without a fault, faults found.
//!
//! cargo bench --bench plants -- normal [SEEDS] [ROWS]   alarms over wanted, a line a kind
//! cargo bench --bench plants -- faults [SEEDS]          faults found, a line a fault
//! cargo bench --bench plants -- again                   a fault that returns, also where it is confirmed; a schedule
//! cargo bench --bench plants -- named [SEEDS] [FIRST]   whether the channel named first is the faulty one
//! cargo bench --bench plants -- demo [SEEDS] [FAULTS] [FIRST] [ruled]   the plant of the demo, for long
//! cargo bench --bench plants -- state                   bytes a stream of 1, 8, 64 channels
//!
//! --without NAME switches one part off: rest, joint_level, lasting_level, usual_level, run_lengths, mean_shift,
//! cross_channel, discount_autocorrelation or calibrate. Without arguments: normal and faults with one seed.
#![expect(clippy::print_stdout, reason = "tables are the purpose")]

mod coupled;
mod demo;
mod kinds;

use std::collections::BTreeMap;

use coupled::Coupling;
use kinds::{DAY, FAULT_ROWS, Fault, HELD_OUT, KINDS, Kind, record};
use spiked::engine::{Engine, EngineParams, EngineSettings};
use spiked::row::{Feedback, Incident, IncidentEdge, Row, Ruling};

/// Rows of a week.
const WEEK: f64 = 7.0 * DAY as f64;
/// Rows before a fault: six days and a bit, another minute of the day with each seed.
const BEFORE: usize = 9_000;

fn main() {
    let mut args: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| a != "--bench")
        .collect();
    let mut settings = EngineSettings::default();
    while let Some(at) = args.iter().position(|a| a == "--without") {
        args.remove(at);
        switch_off(&mut settings, &args.remove(at));
    }
    let params = EngineParams::new(settings).expect("valid settings");
    let number = |i: usize, default| args.get(i).and_then(|a| a.parse().ok()).unwrap_or(default);
    match args.first().map(String::as_str) {
        Some("normal") => normal(&params, number(1, 5), number(2, 12_000) as usize),
        Some("faults") => faults(&params, number(1, 5)),
        Some("again") => again(&params),
        Some("joined") => joined(&params, number(1, 20)),
        Some("named") => named(&params, number(1, 4), number(2, 0)),
        Some("demo") => {
            let is_ruled = args.last().is_some_and(|arg| arg == "ruled");
            demo(&params, number(1, 5), number(2, 30), number(3, 1), is_ruled);
        }
        Some("state") => state(&params),
        _ => {
            normal(&params, 1, 12_000);
            faults(&params, 1);
        }
    }
}

fn switch_off(settings: &mut EngineSettings, name: &str) {
    let detect = &mut settings.detect;
    *match name {
        "rest" => &mut detect.rest,
        "joint_level" => &mut detect.level,
        "lasting_level" => &mut detect.lasting,
        "usual_level" => &mut detect.usual,
        "run_lengths" => &mut detect.habits,
        "mean_shift" => &mut detect.shift,
        "cross_channel" => &mut detect.joint,
        "discount_autocorrelation" => &mut detect.temper,
        "calibrate" => &mut detect.calibrate,
        _ => panic!("--without {name}: no such part"),
    } = false;
}

/// Row `t` of a recording, a row a minute.
fn row_at(t: usize, values: &[f64]) -> Row {
    let ts_ms = 1_767_571_200_000 + t as i64 * 60_000;
    Row {
        ts_ms,
        arrival_ms: ts_ms,
        values: values.to_vec(),
        held: Vec::new(),
    }
}

/// Rows in which incidents open with these, and rows flagged.
fn run(params: &EngineParams, rows: &[Vec<f64>]) -> (Vec<(usize, Incident)>, usize) {
    run_ruled(params, rows, None)
}

/// The same where an operator rules so on each incident as it opens.
fn run_ruled(
    params: &EngineParams,
    rows: &[Vec<f64>],
    ruling: Option<Ruling>,
) -> (Vec<(usize, Incident)>, usize) {
    let mut engine = Engine::new(params, rows[0].len());
    let (mut opened, mut flagged) = (Vec::new(), 0);
    for (t, values) in rows.iter().enumerate() {
        let outcome = engine.step(&row_at(t, values));
        flagged += usize::from(outcome.anomaly);
        if let Some(IncidentEdge::Opened(incident)) = &outcome.edge {
            if let Some(ruling) = ruling {
                let incident = incident.id;
                engine.feedback(Feedback { incident, ruling }, &mut Vec::new());
            }
            opened.push((t, incident.clone()));
        }
        engine.recycle(outcome);
    }
    (opened, flagged)
}

fn normal(params: &EngineParams, seeds: u64, rows: usize) {
    let wanted = params.get().detect.false_alarms_per_week * rows as f64 / WEEK;
    println!("| kind | alarms over wanted | rows flagged % |\n|---|---|---|");
    let ratios: Vec<f64> = KINDS
        .iter()
        .map(|kind| {
            let (mut alarms, mut flagged) = (0, 0);
            for seed in 0..seeds {
                let (opened, n) = run(params, &record(kind, seed, rows, Fault::None, 0));
                alarms += opened.len();
                flagged += n;
            }
            let ratio = alarms as f64 / (wanted * seeds as f64);
            let share = 100.0 * flagged as f64 / (rows as f64 * seeds as f64);
            println!("| {} | {ratio:.2} | {share:.2} |", kind.name);
            ratio
        })
        .collect();
    for (name, part) in [
        ("all but the held out", &ratios[..HELD_OUT]),
        ("held out", &ratios[HELD_OUT..]),
    ] {
        let mean = part.iter().sum::<f64>() / part.len() as f64;
        let over = part.iter().filter(|&&ratio| ratio > 2.0).count();
        println!("| {name} | {mean:.2} | over 2: {over} of {} |", part.len());
    }
}

/// The fault is visible in this kind at all.
fn is_tried(kind: &Kind, fault: Fault) -> bool {
    use kinds::{Driver, Sensor};
    let still = kind.noise == 0.0 && kind.load_noise == 0.0;
    match fault {
        Fault::None => false,
        Fault::Missed => matches!(kind.driver, Driver::Cycle(..) | Driver::Saw(_)),
        Fault::Decoupled => kind.channels > 1 && kind.swing > 3.0,
        Fault::Stuck => !still && !matches!(kind.sensor, Sensor::Count | Sensor::Clipped(_)),
        Fault::Silent => true,
        Fault::Bias | Fault::Drift | Fault::Noise | Fault::Spikes => {
            matches!(kind.sensor, Sensor::Plain | Sensor::Grid(_))
        }
    }
}

/// Plays the demo's plant with `seeds` seeds from `first` on.
fn demo(params: &EngineParams, seeds: u64, n_faults: u64, first: u64, is_ruled: bool) {
    let mut sums = demo::Scores::new();
    for seed in first..first + seeds {
        for (key, score) in demo::play(params, seed, n_faults, is_ruled) {
            let all = ("all".to_owned(), key.1);
            for key in [key, all] {
                let sum = sums.entry(key).or_default();
                sum.flagged += score.flagged;
                sum.faults += score.faults;
                sum.false_alarms += score.false_alarms;
            }
        }
    }
    println!("| fault | when | flagged | of | without a fault |\n|---|---|---|---|---|");
    for ((kind, is_early), score) in sums {
        let when = if is_early { "first ten" } else { "later" };
        let demo::Score {
            flagged, faults, ..
        } = score;
        println!(
            "| {kind} | {when} | {flagged} | {faults} | {} |",
            score.false_alarms
        );
    }
}

fn faults(params: &EngineParams, seeds: u64) {
    let mut found = BTreeMap::<String, (u32, u32)>::new();
    let mut missed = BTreeMap::<String, Vec<&str>>::new();
    for kind in &KINDS {
        for fault in Fault::ALL
            .into_iter()
            .filter(|&fault| is_tried(kind, fault))
        {
            for seed in 0..seeds {
                let at = BEFORE + 37 * seed as usize;
                let (opened, _) = run(params, &record(kind, seed, at + FAULT_ROWS, fault, at));
                let hit = opened.iter().any(|&(t, _)| t >= at);
                for name in [format!("{fault:?}"), "all".to_owned()] {
                    let (hits, n) = found.entry(name).or_default();
                    *hits += u32::from(hit);
                    *n += 1;
                }
                if !hit {
                    missed
                        .entry(format!("{fault:?}"))
                        .or_default()
                        .push(kind.name);
                }
            }
        }
    }
    println!("| fault | found % | of |\n|---|---|---|");
    for (name, (hits, n)) in found {
        println!(
            "| {name} | {:.1} | {n} |",
            100.0 * f64::from(hits) / f64::from(n)
        );
    }
    println!("| fault | missed |\n|---|---|");
    for (fault, kinds) in missed {
        println!("| {fault} | {} |", kinds.join(", "));
    }
}

/// Kinds in which faults return.
const RETURNING: [&str; 4] = [
    "white noise",
    "daily course",
    "autoregression",
    "coupled wander",
];
/// Rows that a returning fault lasts, and its size.
const RETURNS_ROWS: usize = 60;
const RETURNS_BY: f64 = 30.0;

/// A fault five times, 600 to 1,440 rows apart, without a word and confirmed each time; then the same as a
/// schedule.
fn again(params: &EngineParams) {
    println!(
        "| kind | every | verdict | flagged of 5 streams, first to fifth time |\n|---|---|---|---|"
    );
    for name in RETURNING {
        for every in [600, 800, 1_000, 1_200, 1_440] {
            for ruling in [None, Some(Ruling::True)] {
                let mut times = [0; 5];
                for seed in 0..5 {
                    let starts: Vec<usize> = (0..5).map(|k| BEFORE + k * every).collect();
                    let rows = returning(name, seed, &starts, BEFORE + 5 * every);
                    let (opened, _) = run_ruled(params, &rows, ruling);
                    for (times, at) in times.iter_mut().zip(starts) {
                        let inside = at..at + RETURNS_ROWS;
                        *times += u32::from(opened.iter().any(|(t, _)| inside.contains(t)));
                    }
                }
                println!("| {name} | {every} | {ruling:?} | {times:?} |");
            }
        }
    }
    println!("| kind | schedule from day | incidents of 5 streams by day |\n|---|---|---|");
    for name in RETURNING {
        for first in [0, 7] {
            let mut days = [0; 16];
            for seed in 0..5 {
                let starts: Vec<usize> = (first..days.len()).map(|day| day * DAY + 600).collect();
                let rows = returning(name, seed, &starts, days.len() * DAY);
                let (opened, _) = run(params, &rows);
                for (t, _) in opened {
                    // An hour past its end is still its aftermath.
                    days[t / DAY] += u32::from((600..720).contains(&(t % DAY)));
                }
            }
            println!("| {name} | {first} | {days:?} |");
        }
    }
}

/// A recording of the kind `name` with the same deviation from each of these rows on.
fn returning(name: &str, seed: u64, starts: &[usize], rows: usize) -> Vec<Vec<f64>> {
    faulty_from(name, seed, starts, RETURNS_BY, rows)
}

/// A recording of a kind whose first channel is off by `by` for [`RETURNS_ROWS`] rows from each start on.
fn faulty_from(name: &str, seed: u64, starts: &[usize], by: f64, rows: usize) -> Vec<Vec<f64>> {
    let kind = KINDS.iter().find(|kind| kind.name == name).expect("a kind");
    let mut rows = record(kind, seed, rows, Fault::None, 0);
    for &at in starts {
        rows[at..at + RETURNS_ROWS]
            .iter_mut()
            .for_each(|row| row[0] += by);
    }
    rows
}

/// Rows between a fault and that of another channel, while the incident of the first is open.
const JOINS_AFTER: usize = 40;
/// Rows within which the second is to be told.
const JOINS_WITHIN: usize = 20;

/// A fault in another channel while the incident of a first one is open: told as joined, or by an incident
/// of its own where the first has closed, within [`JOINS_WITHIN`] rows.
fn joined(params: &EngineParams, seeds: u64) {
    println!(
        "| first | second | by | incident open | told | at most rows |\n|---|---|---|---|---|---|"
    );
    for (first, second) in [(0, 1), (1, 2), (2, 0)] {
        for by in [10.0, RETURNS_BY] {
            let (mut open, mut told, mut latest) = (0, 0, 0);
            for seed in 0..seeds {
                let parts: Vec<Vec<Vec<f64>>> = (RETURNING[..3].iter().zip(0..))
                    .map(|(name, c)| {
                        let at = BEFORE + if c == first { 0 } else { JOINS_AFTER };
                        let starts = if c == first || c == second {
                            vec![at]
                        } else {
                            vec![]
                        };
                        faulty_from(name, seed + 100 * c, &starts, by, BEFORE + 2 * RETURNS_ROWS)
                    })
                    .collect();
                let rows = (0..parts[0].len()).map(|t| parts.iter().map(|p| p[t][0]).collect());
                let rows: Vec<Vec<f64>> = rows.collect();
                let at = BEFORE + JOINS_AFTER;
                let (is_open, delay) = told_of(params, &rows, at, second as usize);
                open += u32::from(is_open);
                told += u32::from(delay.is_some());
                latest = latest.max(delay.unwrap_or(0));
            }
            let [first, second] = [first, second].map(|c| RETURNING[c as usize]);
            println!(
                "| {first} | {second} | {by} | {open} of {seeds} | {told} of {seeds} | {latest} |"
            );
        }
    }
}

/// Whether an incident without channel `c` is open in row `at`, and the rows from there to the edge that
/// tells of the channel, where that comes in time.
fn told_of(params: &EngineParams, rows: &[Vec<f64>], at: usize, c: usize) -> (bool, Option<usize>) {
    let mut engine = Engine::new(params, rows[0].len());
    let (mut is_open, mut delay) = (false, None);
    for (t, values) in rows[..at + JOINS_WITHIN].iter().enumerate() {
        let outcome = engine.step(&row_at(t, values));
        let is_told = match &outcome.edge {
            Some(IncidentEdge::Opened(incident)) => {
                let is_of_it = incident.channels.iter().any(|share| share.channel == c);
                is_open |= t < at && !is_of_it;
                is_of_it
            }
            Some(IncidentEdge::Joined { channels, .. }) => {
                is_open &= t >= at || !channels.contains(&c);
                channels.contains(&c)
            }
            Some(IncidentEdge::Closed(_)) => {
                is_open &= t >= at;
                false
            }
            _ => false,
        };
        if t >= at && is_told && delay.is_none() {
            delay = Some(t - at);
        }
        engine.recycle(outcome);
    }
    (is_open, delay)
}

/// Whether the first channel of the first incident in a fault of one of several coupled channels is the
/// faulty one, and its share.
fn named(params: &EngineParams, seeds: u64, first: u64) {
    println!("| coupling | fault | told of | named first | mean share |\n|---|---|---|---|---|");
    let (mut all_told, mut all_right) = (0, 0);
    for coupling in Coupling::ALL {
        for fault in coupled::FAULTS {
            let (mut told, mut right, mut shares) = (0, 0, 0.0);
            for seed in first..first + seeds {
                let at = BEFORE + 37 * seed as usize;
                let (rows, faulty) = coupled::record(coupling, seed, at + FAULT_ROWS, fault, at);
                let (opened, _) = run(params, &rows);
                let Some((_, incident)) = opened.iter().find(|&&(t, _)| t >= at) else {
                    continue;
                };
                told += 1;
                let channels = &incident.channels;
                right += u32::from(channels.first().is_some_and(|s| s.channel == faulty));
                let of_it = channels.iter().find(|s| s.channel == faulty);
                shares += of_it.map_or(0.0, |share| share.share);
            }
            let share = shares / f64::from(told.max(1));
            println!("| {coupling:?} | {fault:?} | {told} of {seeds} | {right} | {share:.2} |");
            all_told += told;
            all_right += right;
        }
    }
    println!("| all | | {all_told} | {all_right} | |");
}

/// Bytes of a stream's state as it is kept on disk, and of its detector alone.
fn state(params: &EngineParams) {
    println!("| channels | engine | detector | detector a channel |\n|---|---|---|---|");
    for channels in [1, 8, 64] {
        let kind = Kind {
            channels,
            ..KINDS[3]
        };
        let mut engine = Engine::new(params, channels);
        let rows = record(&kind, 1, 4_000, Fault::None, 0);
        for (t, values) in rows.iter().enumerate() {
            engine.step(&row_at(t, values));
        }
        let whole = postcard::to_allocvec(&engine).map_or(0, |bytes| bytes.len());
        let detector = postcard::to_allocvec(engine.detector()).map_or(0, |bytes| bytes.len());
        println!(
            "| {channels} | {whole} | {detector} | {} |",
            detector / channels
        );
    }
}
