//! The two networks that every stream has, and the shape of their inputs.

use serde::{Deserialize, Serialize};

use super::SHARED_WIDTH;
use super::channel::Channel;
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

/// Inputs of some channels.
pub fn inputs_of(channels: &[Channel]) -> usize {
    channels
        .iter()
        .map(|channel| channel.width() as usize)
        .sum()
}

/// Inputs of a network that sees everything, and those that are usually active: the nominal fan-in
/// of its priors.
pub fn shape_of(channels: &[Channel]) -> (usize, f32) {
    let active: f32 = channels.iter().map(Channel::active).sum();
    let inputs = SHARED_WIDTH as usize + inputs_of(channels);
    (inputs, active + SHARED_ACTIVE)
}
