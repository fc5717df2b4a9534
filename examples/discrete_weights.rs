//! Weights of one bit, of three levels and of sixteen: learned by EP, then carried out as C.
//!
//! `cargo run --release --example discrete_weights -- FOLDER` writes the binary network to FOLDER.

#![expect(clippy::print_stdout, reason = "an example prints its result")]

use std::error::Error;
use std::path::Path;

use spiked::ep::Family;
use spiked::fit::{FitPlan, IntegerNetwork, Samples, Score, Targets, Trainer};
use spiked::num::counter;

/// Three patterns of 24 pixels, one pixel in ten turned round.
fn patterns(first: u32, n: u32) -> (Samples, Targets) {
    let (mut samples, mut classes) = (Samples::default(), Vec::new());
    for i in first..first + n {
        let class = i % 3;
        let pixel =
            |j: u32| f32::from(u8::from((j % 3 == class) != (counter::uniform(i, j) < 0.1)));
        samples.push((0..24).map(pixel), 1.0);
        classes.push(class as usize);
    }
    (samples, Targets::Class(classes))
}

fn main() -> Result<(), Box<dyn Error>> {
    let (train, classes) = patterns(0, 2000);
    let (test, truth) = patterns(5000, 1000);
    for (name, family) in [
        ("binary", Family::Binary),
        ("ternary", Family::Levels(3)),
        ("16 levels", Family::Levels(16)),
        ("gaussian", Family::Gaussian),
    ] {
        let plan = FitPlan {
            family,
            hidden: vec![40],
            passes: 3,
            ..FitPlan::default()
        };
        let mut trainer = Trainer::learn(&plan, &train, &classes)?;
        let Score::Classification(score) = trainer.ensemble().test(&test, &truth, 1.0) else {
            continue;
        };
        let network = trainer.networks().next().ok_or("a network")?;
        let integers = IntegerNetwork::new(network, 1).ok_or("no direct synapses")?;
        let accuracy = 100.0 * score.accuracy;
        println!(
            "{name}: {accuracy:.1}%, {} bytes as integers",
            integers.bytes()
        );
        if let (Family::Binary, Some(folder)) = (family, std::env::args().nth(1)) {
            std::fs::create_dir_all(&folder)?;
            let folder = Path::new(&folder);
            std::fs::write(folder.join("spiked_model.h"), integers.header())?;
            std::fs::write(folder.join("spiked_infer.c"), IntegerNetwork::source())?;
        }
    }
    Ok(())
}
