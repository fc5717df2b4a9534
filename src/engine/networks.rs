//! The two networks that every stream has, and the shape of their inputs.

use serde::{Deserialize, Serialize};

use super::SHARED_WIDTH;
use super::head::{Head, Likelihood};
use super::params::EngineSettings;
use crate::ep::NetworkDraft;

/// Inputs of them that are usually active.
const SHARED_ACTIVE: f32 = 4.0;

/// The two networks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Networks {
    /// What comes next.
    pub step: Head,
    /// What the time of day and week lets expect.
    pub context: Head,
}

impl Networks {
    /// For inputs of this shape: all of them, and those that are usually active.
    pub fn new(settings: &EngineSettings, n_channels: usize, shape: (usize, f32)) -> Networks {
        let head = |(inputs, nominal), seed| {
            let mut draft = NetworkDraft::stream(inputs, &[settings.hidden], n_channels, nominal);
            draft.direct = settings.direct;
            draft.memory = Some(settings.memory_rows);
            draft.seed = seed;
            let spec = draft
                .build()
                .expect("validated settings make a valid network");
            Head::new(&spec, n_channels, Likelihood::Gaussian)
        };
        let shared = (SHARED_WIDTH as usize, SHARED_ACTIVE);
        Networks {
            step: head(shape, settings.seed),
            context: head(shared, settings.seed.wrapping_add(1)),
        }
    }
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
