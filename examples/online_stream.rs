//! A stream learned online: each value is predicted with its uncertainty, then learned.
//!
//! `cargo run --release --example online_stream`

#![expect(clippy::print_stdout, reason = "an example prints its result")]

use spiked::encode::{Encode, Population, Spikes};
use spiked::ep::noise::NoiseVariance;
use spiked::ep::{Input, Network, NetworkDraft, SpecErrors};
use spiked::num::counter;

/// Rows that the network remembers.
const MEMORY: f64 = 2000.0;

fn value(t: u32) -> f32 {
    let cycle = (t as f32 / 12.0).sin();
    // Halfway the machine changes.
    let level = if t < 3000 { 0.0 } else { 0.7 };
    cycle + level + 0.1 * counter::bell(3, t)
}

fn main() -> Result<(), SpecErrors> {
    let fields = Population::default();
    let width = fields.width();
    // Spikes of the last value and of the one before, both numbers, and the bias.
    let inputs = 2 * width as usize + 3;
    let mut draft = NetworkDraft::stream(inputs, &[32], 1, 10.0);
    draft.memory = Some(MEMORY);
    let mut network = Network::new(&draft.build()?);
    let mut noise = NoiseVariance::new(0.3, MEMORY);
    let (mut inside, mut n, mut square) = (0, 0, 0.0);
    for t in 2..6000 {
        let mut spikes = Spikes::default();
        for back in 0..2u32 {
            fields.encode(value(t - 1 - back), back * width, &mut spikes);
        }
        let first = 2 * width;
        for (k, number) in [value(t - 1), value(t - 2), 1.0].into_iter().enumerate() {
            spikes.push(first + k as u32, number);
        }
        let x = Input {
            index: &spikes.index,
            value: &spikes.value,
        };
        let seen = network.predict(x);
        let (mean, ignorance) = (f64::from(seen.mean[0]), f64::from(seen.variance[0]));
        let (y, sigma2) = (f64::from(value(t)), noise.mean());
        let error = y - mean;
        noise.observe(error, ignorance);
        network.learn(x, &[y as f32], &[sigma2 as f32], 1.0);
        n += 1;
        square += error * error;
        inside += u32::from(error.abs() < 1.645 * (ignorance + sigma2).sqrt());
        if t % 1000 == 0 {
            let rmse = (square / f64::from(n)).sqrt();
            let share = 100.0 * f64::from(inside) / f64::from(n);
            println!(
                "to row {t}: RMSE {rmse:.3}, {share:.1}% in the 90% interval, noise {:.3}",
                noise.mean().sqrt()
            );
            (inside, n, square) = (0, 0, 0.0);
        }
    }
    Ok(())
}
