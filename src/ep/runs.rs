//! Runs of numbers that belong together, as the kernels take them.

/// Active inputs of a sample: their places and values.
#[derive(Clone, Copy)]
pub(super) struct ActiveRun<'a> {
    pub index: &'a [u32],
    pub value: &'a [f32],
}

impl<'a> ActiveRun<'a> {
    /// Each input's place and value.
    #[inline(always)]
    pub(super) fn each(self) -> impl Iterator<Item = (u32, f32)> + 'a {
        self.index.iter().copied().zip(self.value.iter().copied())
    }
}

/// Means and variances: of weights, or of units' inputs.
#[derive(Clone, Copy)]
pub(super) struct MomentRun<'a> {
    pub mean: &'a [f32],
    pub variance: &'a [f32],
}

/// The same, to be written.
pub(super) struct MomentRunMut<'a> {
    pub mean: &'a mut [f32],
    pub variance: &'a mut [f32],
}

/// Gradients g and precisions Gamma of units.
#[derive(Clone, Copy)]
pub(super) struct MessageRun<'a> {
    pub g: &'a [f32],
    pub gamma: &'a [f32],
}

/// The same, to be written.
pub(super) struct MessageRunMut<'a> {
    pub g: &'a mut [f32],
    pub gamma: &'a mut [f32],
}

/// Gradient g and precision Gamma of one unit, or of one weight.
#[derive(Clone, Copy)]
pub(super) struct UnitMessage {
    pub g: f32,
    pub gamma: f32,
}

/// Mean and variance of the input of one unit.
#[derive(Clone, Copy)]
pub(super) struct UnitInput {
    pub mean: f32,
    pub variance: f32,
}

/// A block of lanes within rows of `stride` lanes, from lane `at` on.
#[derive(Clone, Copy)]
pub(super) struct LaneBlock {
    pub stride: usize,
    pub at: usize,
}
