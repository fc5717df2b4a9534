//! Times of one predict and one learn, for the shapes that matter.

use std::hint::black_box;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use spiked::ep::{Input, Network, NetworkDraft, SpikeFunction};
use spiked::num::{counter, fast};

fn draw(i: u32, j: u32) -> f32 {
    counter::bell(counter::row_key(5, i), j)
}

/// `n` samples of `active` inputs out of `inputs`, the last input always on.
fn samples(inputs: u32, active: u32, spikes: bool) -> Vec<(Vec<u32>, Vec<f32>)> {
    (0..512)
        .map(|i| {
            let step = (inputs - 1) / (active - 1).max(1);
            let index: Vec<u32> = (0..active - 1)
                .map(|j| j * step + (counter::mix(i * 977 + j) % step.max(1)))
                .chain([inputs - 1])
                .collect();
            let value = (0..active)
                .map(|j| {
                    if spikes || j + 1 == active {
                        1.0
                    } else {
                        draw(i, j)
                    }
                })
                .collect();
            (index, value)
        })
        .collect()
}

fn regression(c: &mut Criterion, name: &str, mut draft: NetworkDraft, active: u32, spikes: bool) {
    let inputs = draft.inputs as u32;
    let outputs = draft.outputs;
    if let Some(memory) = &mut draft.memory {
        *memory = 10_000.0;
    }
    let mut net = Network::new(&draft.build().expect("valid"));
    let data = samples(inputs, active, spikes);
    let target: Vec<f32> = (0..outputs as u32).map(|k| draw(9, k)).collect();
    let noise = vec![0.3; outputs];
    let mut i = 0;
    let mut group = c.benchmark_group("ep");
    group.throughput(Throughput::Elements(1));
    group.bench_function(format!("{name}/predict"), |b| {
        b.iter(|| {
            i = (i + 1) % data.len();
            let (index, value) = &data[i];
            black_box(net.predict(Input { index, value }).mean[0])
        });
    });
    group.bench_function(format!("{name}/predict_learn"), |b| {
        b.iter(|| {
            i = (i + 1) % data.len();
            let (index, value) = &data[i];
            let x = Input { index, value };
            black_box(net.predict(x).mean[0]);
            black_box(net.learn(x, &target, &noise, 1.0))
        });
    });
}

fn networks(c: &mut Criterion) {
    let stream = NetworkDraft::stream(233, &[16], 8, 100.0);
    regression(c, "233(100)-16-8+direct", stream, 100, false);
    regression(
        c,
        "65-64-1",
        NetworkDraft::regression(65, &[64], 1),
        65,
        false,
    );
    regression(
        c,
        "129-32-8",
        NetworkDraft::regression(129, &[32], 8),
        129,
        false,
    );
    for (name, spikes) in [
        ("", SpikeFunction::Deterministic),
        ("/sigmoid", SpikeFunction::Sigmoid),
    ] {
        let mut draft = NetworkDraft::classification(785, &[100, 100], 10);
        draft.spikes = spikes;
        let mut net = Network::new(&draft.build().expect("valid"));
        let data = samples(785, 157, true);
        let mut i = 0;
        c.bench_function(&format!("ep/785(157)-100-100-10{name}/learn_class"), |b| {
            b.iter(|| {
                i = (i + 1) % data.len();
                let (index, value) = &data[i];
                black_box(net.learn_class(Input { index, value }, i % 10, 1.0))
            });
        });
    }
}

#[multiversion::multiversion(targets("x86_64+avx2+fma"))]
fn probit_functions(t: &[f32], out: &mut [f32]) {
    for (t, out) in t.iter().zip(out) {
        *out = fast::ln_cdf(*t) + fast::inverse_mills(*t) + fast::normal(*t).1;
    }
}

fn functions(c: &mut Criterion) {
    let t: Vec<f32> = (0..1024).map(|i| 3.0 * draw(i, 0)).collect();
    let mut group = c.benchmark_group("num");
    group.throughput(Throughput::Elements(1024));
    group.bench_function("Phi, ln Phi, inverse Mills", |b| {
        b.iter_batched_ref(
            || vec![0.0f32; 1024],
            |out| probit_functions(black_box(&t), out),
            BatchSize::SmallInput,
        );
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default().sample_size(20).measurement_time(std::time::Duration::from_secs(2));
    targets = functions, networks
}
criterion_main!(benches);
