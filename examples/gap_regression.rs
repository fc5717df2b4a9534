//! A curve with a gap: how sure is the network where it has seen nothing?
//!
//! `cargo run --release --example gap_regression`

#![expect(clippy::print_stdout, reason = "an example prints its result")]

use spiked::ep::{BatchSchedule, SpecErrors, SpikeFunction};
use spiked::fit::{FitPlan, Samples, Schedule, Targets, Trainer};
use spiked::num::counter;

/// Standard deviation of the noise.
const NOISE: f32 = 0.1;

/// Points of sin x on [-4, -1] and [1, 4].
fn curve() -> (Samples, Targets) {
    let (mut samples, mut y) = (Samples::default(), Vec::new());
    for i in 0..200u32 {
        let side = if i % 2 == 0 { 1.0 } else { -1.0 };
        let x = side * (1.0 + 3.0 * counter::uniform(7, i) as f32);
        // Inputs in units of their standard deviation, near 2.6; the last input is the bias.
        samples.push([x / 2.6].into_iter(), 2.0);
        y.push(x.sin() + NOISE * counter::bell(8, i));
    }
    (samples, Targets::Real(y))
}

fn main() -> Result<(), SpecErrors> {
    let (samples, targets) = curve();
    for (name, schedule) in [
        ("full EP", Schedule::Exact),
        ("stochastic EP", Schedule::Sequential),
        (
            "averaged EP",
            Schedule::Batches(BatchSchedule::Averaged, 32),
        ),
    ] {
        let plan = FitPlan {
            schedule: Some(schedule),
            spikes: Some(SpikeFunction::Deterministic),
            passes: 40,
            ..FitPlan::default()
        };
        let mut trainer = Trainer::learn(&plan, &samples, &targets)?;
        println!("{name}: noise {:.3}", trainer.ensemble().noise_sd());
        for x in [-6.0f32, -2.5, -1.0, -0.5, 0.0, 0.5, 1.0, 2.5, 6.0] {
            let mut grid = Samples::default();
            grid.push([x / 2.6].into_iter(), 2.0);
            let seen = trainer.predict(grid.get(0));
            let (mean, sd) = (seen.mean, seen.ignorance);
            println!(
                "  x {x:5.1}  sin {:6.3}  mean {mean:6.3} +- {sd:.3}",
                x.sin()
            );
        }
    }
    Ok(())
}
