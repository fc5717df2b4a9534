//! The context network, which every stream has, and the shape of networks' inputs.

use super::head::{Head, Likelihood};
use super::params::EngineSettings;
use super::{SHARED_WIDTH, hidden_of_calendar};
use crate::ep::NetworkDraft;

/// Inputs of the calendar and the bias that are usually active.
const SHARED_ACTIVE: f32 = 4.0;

/// The network of the levels that the time of day and week lets expect.
pub fn context_head(settings: &EngineSettings, n_channels: usize) -> Head {
    let hidden = hidden_of_calendar(settings.hidden);
    let inputs = SHARED_WIDTH as usize;
    let mut draft = NetworkDraft::stream(inputs, &hidden, n_channels, SHARED_ACTIVE);
    draft.memory = Some(settings.memory_rows);
    draft.seed = settings.seed.wrapping_add(1);
    let spec = draft
        .build()
        .expect("validated settings make a valid network");
    Head::new(&spec, n_channels, Likelihood::Gaussian)
}

/// Inputs that channels of these shapes take together, and those that are usually active.
pub fn sum_of(shapes: impl Iterator<Item = (u32, f32)>) -> (usize, f32) {
    shapes.fold((0, 0.0), |(inputs, active), shape| {
        (inputs + shape.0 as usize, active + shape.1)
    })
}

/// Inputs of a network that sees channels of these shapes, and those that are usually active: the
/// nominal fan-in of its priors.
pub fn shape_of(shapes: impl Iterator<Item = (u32, f32)>) -> (usize, f32) {
    let (inputs, active) = sum_of(shapes);
    (SHARED_WIDTH as usize + inputs, active + SHARED_ACTIVE)
}
