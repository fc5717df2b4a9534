//! Handwritten digits in one pass, seen through local receptive fields.
//!
//! `cargo run --release --example mnist -- FOLDER` with the four idx files, unpacked.

#![expect(clippy::print_stdout, reason = "an example prints its result")]

use std::error::Error;
use std::path::Path;

use spiked::encode::{ReceptiveFields, Spikes};
use spiked::fit::{FitPlan, Samples, Score, Targets, Trainer};

/// Samples and classes of images and their labels in IDX format.
fn read(folder: &Path, name: &str) -> Result<(Samples, Targets), Box<dyn Error>> {
    let images = std::fs::read(folder.join(format!("{name}-images-idx3-ubyte")))?;
    let labels = std::fs::read(folder.join(format!("{name}-labels-idx1-ubyte")))?;
    let side = |at: usize| usize::from(images[at]);
    let (height, width) = (side(11), side(15));
    let mut fields = ReceptiveFields::new(width, height);
    let (mut samples, mut spikes) = (Samples::default(), Spikes::default());
    for image in images[16..].chunks_exact(width * height) {
        let pixels: Vec<f32> = image.iter().map(|b| f32::from(*b)).collect();
        fields.encode(&pixels, &mut spikes);
        samples.push_spikes(&spikes, fields.inputs(), 1.0);
    }
    let classes = labels[8..].iter().map(|b| usize::from(*b)).collect();
    Ok((samples, Targets::Class(classes)))
}

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args().nth(1).ok_or("which folder?")?;
    let (train, classes) = read(Path::new(&folder), "train")?;
    let (test, truth) = read(Path::new(&folder), "t10k")?;
    let plan = FitPlan {
        hidden: vec![200],
        passes: 1,
        ..FitPlan::default()
    };
    let mut trainer = Trainer::learn(&plan, &train, &classes)?;
    if let Score::Classification(score) = trainer.ensemble().test(&test, &truth, 1.0) {
        println!("accuracy {:.2}% after one pass", 100.0 * score.accuracy);
        println!("calibration error {:.2}%", 100.0 * score.ece);
    }
    Ok(())
}
