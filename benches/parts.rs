//! Times of the parts around the learner: encode, assemble, payload parsing, route, a whole row.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use spiked::assemble::{Align, AssembleParams, Assembler};
use spiked::decode::InboundMessage;
use spiked::encode::{Encode, Encoder, Spikes};
use spiked::engine::{Engine, EngineParams};
use spiked::payload::{Format, Parsed, Pointer, TimeUnit, prediction_json};
use spiked::route::{Pattern, Router};
use spiked::row::{Reading, Row, StreamId};

const CHANNELS: usize = 8;

fn names() -> Vec<Arc<str>> {
    (0..CHANNELS).map(|c| format!("c{c}").into()).collect()
}

fn encode(c: &mut Criterion) {
    let (code, mut out, mut z) = (Encoder::default(), Spikes::default(), 0.0f32);
    c.bench_function("encode/population, one value", |b| {
        b.iter(|| {
            z = if z > 3.0 { -3.0 } else { z + 0.01 };
            out.clear();
            code.encode(black_box(z), 0, &mut out);
            black_box(out.index.len())
        });
    });
}

fn assemble(c: &mut Criterion) {
    let names = names();
    let params = AssembleParams::new(Align::WhenComplete, 0, 60_000, 64, names.clone());
    let mut assembler = Assembler::new(&params.expect("valid"));
    let (mut rows, mut n) = (Vec::new(), 0usize);
    let stream = StreamId::from("pump");
    c.bench_function("assemble/when-complete, one reading of eight", |b| {
        b.iter(|| {
            n += 1;
            let ts_ms = 1_700_000_000_000 + (n / CHANNELS) as i64 * 1000;
            let reading = Reading {
                seq: n as u64,
                stream: stream.clone(),
                channel: names[n % CHANNELS].clone(),
                value: n as f64,
                ts_ms,
                arrival_ms: ts_ms,
            };
            black_box(assembler.push(&reading, &mut rows));
            for row in rows.drain(..) {
                assembler.recycle(row);
            }
        });
    });
}

fn payload(c: &mut Criterion) {
    let at = |text| Pointer::new(text).expect("a pointer");
    let value = Format::auto(at("/value"), at("/ts"), TimeUnit::Millis);
    let object = Format::object(at(""), at("/ts"), TimeUnit::Millis);
    let mut out = Parsed::default();
    let mut group = c.benchmark_group("payload");
    for (name, format, bytes) in [
        ("number", &value, &b"21.5375"[..]),
        (
            "json, 58 bytes",
            &value,
            b"{\"value\":21.5375,\"ts\":1700000000123,\"unit\":\"C\",\"q\":\"good\"}",
        ),
        (
            "object of eight",
            &object,
            b"{\"ts\":1700000000123,\"a\":1.5,\"b\":2.5,\"c\":3.5,\"d\":4.5,\"e\":5.5,\"f\":6.5,\"g\":7.5,\"h\":8.5}",
        ),
    ] {
        group.throughput(Throughput::Bytes(bytes.len() as u64));
        group.bench_function(name, |b| {
            b.iter(|| black_box(format.parse(black_box(bytes), &mut out)));
        });
    }
}

/// From a message to its readings: parse, names, route.
fn decode(c: &mut Criterion) {
    const OBJECT: &[u8] = b"{\"ts\":1700000000123,\"a\":1.5,\"b\":2.5,\"c\":3.5,\"d\":4.5,\"e\":5.5,\"f\":6.5,\"g\":7.5,\"h\":8.5}";
    const RECORDS: &[u8] = b"{\"values\":[{\"id\":\"a\",\"v\":1.5},{\"id\":\"b\",\"v\":2.5},{\"id\":\"c\",\"v\":3.5},{\"id\":\"d\",\"v\":4.5},{\"id\":\"e\",\"v\":5.5},{\"id\":\"f\",\"v\":6.5},{\"id\":\"g\",\"v\":7.5},{\"id\":\"h\",\"v\":8.5}]}";
    let mut group = c.benchmark_group("decode");
    for (name, input, topic, payload) in [
        (
            "plain number",
            "topic = \"plant/{stream}/{channel}\"",
            "plant/pump/flow",
            &b"21.5375"[..],
        ),
        (
            "json, 58 bytes",
            "topic = \"plant/{stream}/{channel}\"",
            "plant/pump/flow",
            b"{\"value\":21.5375,\"ts\":1700000000123,\"unit\":\"C\",\"q\":\"good\"}",
        ),
        (
            "object of eight",
            "topic = \"plant/{stream}\"\npayload = \"object\"",
            "plant/pump",
            OBJECT,
        ),
        (
            "mapped object of eight",
            "topic = \"plant/{hall}/{machine}/{part}\"\nstream = \"{hall}.{machine}\"\nchannel = \"{part}\"\npayload = \"object\"\nignore = [\"id\"]",
            "plant/h1/pump/motor",
            OBJECT,
        ),
        (
            "mapped records, eight",
            "topic = \"plant/{stream}\"\neach = \"/values\"\nchannel = \"{./id}\"\nvalue = \"./v\"",
            "plant/pump",
            RECORDS,
        ),
    ] {
        let settings = spiked::config::from_text(&format!("[[input]]\n{input}\n"));
        let mut decoder = settings.expect("valid").decoder(0);
        let mut readings = Vec::new();
        let message = InboundMessage {
            topic,
            payload,
            arrival_ms: 1_700_000_000_200,
            ..InboundMessage::default()
        };
        decoder.read(message, &mut readings).expect("good");
        assert!(!readings.is_empty());
        group.bench_function(name, |b| {
            b.iter(|| {
                readings.clear();
                black_box(decoder.read(black_box(message), &mut readings))
            });
        });
    }
}

fn route(c: &mut Criterion) {
    let pattern = Pattern::new("plant/{stream}/{channel}", "", "", false).expect("valid");
    let mut router = Router::new(vec![pattern], "spiked/main", 2000, 64, Vec::new());
    let topics: Vec<String> = (0..1000 * CHANNELS)
        .map(|i| format!("plant/pump-{}/c{}", i / CHANNELS, i % CHANNELS))
        .collect();
    for topic in &topics {
        router.admit(topic).expect("room");
    }
    let mut i = 0;
    c.bench_function("route/known topic of 8,000", |b| {
        b.iter(|| {
            i = (i + 1) % topics.len();
            black_box(router.known(black_box(&topics[i])).is_some())
        });
    });
    c.bench_function("route/topic not seen before", |b| {
        b.iter(|| black_box(router.find(black_box("plant/other/flow")).is_ok()));
    });
}

fn row(c: &mut Criterion) {
    let (params, names) = (EngineParams::default(), names());
    let mut engine = Engine::new(&params, CHANNELS);
    let mut row = Row {
        ts_ms: 0,
        arrival_ms: 0,
        values: vec![0.0; CHANNELS],
        held: Vec::new(),
    };
    let mut i = 0u64;
    let mut next = move |row: &mut Row| {
        i += 1;
        row.ts_ms = 1_700_000_000_000 + i as i64 * 60_000;
        for (c, value) in row.values.iter_mut().enumerate() {
            let noise = (i * 8191 + c as u64 * 131).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
            *value = (i as f64 * 0.02 + c as f64).sin() + noise as f64 / 16_777_216.0;
        }
    };
    for _ in 0..2000 {
        next(&mut row);
        let outcome = engine.step(&row);
        engine.recycle(outcome);
    }
    c.bench_function("row of eight/predict, judge, learn", |b| {
        b.iter(|| {
            next(&mut row);
            let outcome = engine.step(&row);
            engine.recycle(black_box(outcome));
        });
    });
    next(&mut row);
    let (outcome, mut text) = (engine.step(&row), String::new());
    c.bench_function("row of eight/prediction to JSON", |b| {
        b.iter(|| {
            text.clear();
            prediction_json("pump", &names, black_box(&outcome), 1, &mut text);
            black_box(text.len())
        });
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(std::time::Duration::from_secs(2));
    targets = encode, assemble, payload, decode, route, row
}
criterion_main!(benches);
