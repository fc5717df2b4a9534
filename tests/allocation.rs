//! No allocation on the way of a row, once every buffer has been grown: from bytes to the outcome
//! and its message. A histogram of scores grows with the highest score met, ten times in its life at
//! most.

use std::sync::Arc;

use spiked::assemble::{Align, AssembleParams};
use spiked::engine::EngineParams;
use spiked::payload::{Format, Parsed, Pointer, TimeUnit, prediction_json};
use spiked::route::{Pattern, Router};
use spiked::row::Reading;
use spiked::stream::{Stream, StreamParams};

const CHANNELS: u64 = 8;

fn value(row: u64, channel: u64) -> f64 {
    let noise = (row * CHANNELS + channel).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    (row as f64 * 0.02 + channel as f64).sin() + noise as f64 / 16_777_216.0
}

#[test]
fn rows_allocate_nothing_once_warm_but_for_scores_higher_than_any_before() {
    let channels: Vec<Arc<str>> = (0..CHANNELS).map(|c| format!("c{c}").into()).collect();
    let assemble =
        AssembleParams::new(Align::WhenComplete, 0, 60_000, 8, channels.clone()).unwrap();
    let params = StreamParams {
        assemble,
        engine: EngineParams::default(),
    };
    let pattern = Pattern::new("plant/{stream}/{channel}", "", "", false).unwrap();
    let mut router = Router::new(vec![pattern], "spiked/main", 10, 10, channels);
    let at = |text| Pointer::new(text).unwrap();
    let format = Format::auto(at("/value"), at("/ts"), TimeUnit::Millis);
    let topics: Vec<String> = (0..CHANNELS).map(|c| format!("plant/pump/c{c}")).collect();
    for topic in &topics {
        router.admit(topic).unwrap();
    }
    let mut stream = Stream::new("pump", &params);
    let (mut parsed, mut outcomes, mut message) = (Parsed::default(), Vec::new(), String::new());
    let mut seq = 0;
    let mut rows = |from: u64, to: u64| {
        // Payloads are the broker's: they are made outside of what is counted.
        let payloads: Vec<String> = (from..to)
            .flat_map(|row| {
                (0..CHANNELS).map(move |channel| {
                    let ts = 1_700_000_000_000 + row * 60_000;
                    format!("{{\"value\":{:.4},\"ts\":{ts}}}", value(row, channel))
                })
            })
            .collect();
        let (mut n_outcomes, mut n_edges) = (0, 0);
        let counted = allocation_counter::measure(|| {
            for (i, payload) in payloads.iter().enumerate() {
                let topic = &topics[i % topics.len()];
                let route = router.known(topic).expect("admitted");
                format.parse(payload.as_bytes(), &mut parsed).expect("good");
                seq += 1;
                let ts_ms = parsed.ts_ms().expect("a stamp");
                let reading = Reading {
                    seq,
                    stream: route.stream.clone().expect("a stream"),
                    channel: route.channel.clone().expect("a channel"),
                    value: parsed.number().expect("a value"),
                    ts_ms,
                    arrival_ms: ts_ms,
                };
                stream.push(&reading, &mut outcomes);
                for outcome in outcomes.drain(..) {
                    n_outcomes += 1;
                    message.clear();
                    prediction_json("pump", stream.channels(), &outcome, seq, &mut message);
                    n_edges += usize::from(outcome.edge.is_some());
                    stream.recycle(outcome);
                }
            }
        });
        assert!(n_outcomes + 1 >= to - from);
        (counted.count_total, n_edges)
    };
    // A minute a row: past a day, so that the calendar and the second network are in use.
    let (warming, _) = rows(0, 5000);
    assert!(warming > 0, "nothing was counted");
    // An incident that begins or ends may allocate; all other rows must not.
    let slices = (0..40).map(|i| rows(5000 + 50 * i, 5050 + 50 * i));
    let calm: Vec<u64> = slices
        .filter(|(_, edges)| *edges == 0)
        .map(|(n, _)| n)
        .collect();
    assert!(calm.len() >= 20, "{} calm slices", calm.len());
    // The rest: now and then a score higher than any before.
    let silent = calm.iter().filter(|n| **n == 0).count();
    let grown = calm.iter().sum::<u64>();
    assert!(silent + 2 >= calm.len() && grown <= 4, "{calm:?}");
}
