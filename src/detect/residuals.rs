//! Types in which the predictors hand their residuals to the detector.

/// A standardised residual of one predictor.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Residual {
    /// (value - mean) / predictive sd, or the normal score of the value's rank in the predictive
    /// distribution.
    pub z: f64,
    /// The predictive sd in the channel's own unit; NaN where it has none.
    pub scale: f64,
}

impl Residual {
    /// A residual of `z` predictive standard deviations of `scale` units each.
    pub fn new(z: f64, scale: f64) -> Residual {
        Residual { z, scale }
    }

    /// A residual whose unit is not that of the channel.
    pub fn unscaled(z: f64) -> Residual {
        Residual::new(z, f64::NAN)
    }
}

/// One channel of one row, compared with what was predicted before the row was seen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ChannelResiduals {
    /// The value; NaN where missing.
    pub value: f64,
    /// The value was measured for this row, not held from an earlier one.
    pub is_fresh: bool,
    /// Residual of the next step: from the last row, or of a soft sensor from the present one.
    pub step: Option<Residual>,
    /// Residual of the level, given hour and weekday.
    pub context: Option<Residual>,
    /// Residual given the other channels' present values and the channel's own past.
    pub given: Option<Residual>,
    /// Residual of the level given the other channels' levels alone, by what was learned rows ago.
    pub lasting: Option<Residual>,
    /// Deviance residual sqrt(-2 ln p) of the state that the channel is in.
    pub event: Option<Residual>,
    /// The predictor's ignorance dominates its noise: the inputs are unlike anything learned.
    pub is_novel: bool,
}

impl ChannelResiduals {
    /// A channel of which nothing was predicted.
    pub fn unpredicted(value: f64) -> ChannelResiduals {
        ChannelResiduals {
            value,
            is_fresh: !value.is_nan(),
            step: None,
            context: None,
            given: None,
            lasting: None,
            event: None,
            is_novel: false,
        }
    }
}

/// A statistical test that speaks for or against a channel's normality.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Witness {
    /// The next step.
    Step,
    /// The level, given hour and weekday.
    Context,
    /// The level, given the other channels' deviations from theirs.
    CrossChannel,
    /// The value, given the other channels and the own past.
    Given,
    /// The state.
    Event,
}

impl Witness {
    /// Every witness.
    pub const ALL: [Witness; 5] = [
        Witness::Step,
        Witness::Context,
        Witness::CrossChannel,
        Witness::Given,
        Witness::Event,
    ];

    /// It speaks of a level, not of a single step.
    pub fn is_of_level(self) -> bool {
        matches!(self, Witness::Context | Witness::CrossChannel)
    }
}

/// A residual beside the past ones of its witness.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ScoredResidual {
    /// Standardised residual.
    pub z: f64,
    /// ln(z^2 + 1e-3), the unit of the histogram.
    pub score: f64,
    /// Factor of the p-value: the probability of a change where the channel rests.
    pub p_factor: f64,
    /// The value rests as expected: p = 1, and there is nothing to learn.
    pub is_at_rest: bool,
    /// Discounted log e-value, nats.
    pub ln_e: f64,
}

/// The scored residuals of one channel, by witness.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Scored([Option<ScoredResidual>; Witness::ALL.len()]);

impl Scored {
    /// The residual of a witness.
    pub fn get(&self, witness: Witness) -> Option<ScoredResidual> {
        self.0[witness as usize]
    }

    /// The place of a witness's residual.
    pub fn get_mut(&mut self, witness: Witness) -> &mut Option<ScoredResidual> {
        &mut self.0[witness as usize]
    }

    /// Takes a residual that is not scored yet.
    pub fn set(&mut self, witness: Witness, residual: Option<Residual>) {
        self.0[witness as usize] = residual.map(|residual| ScoredResidual {
            z: residual.z,
            score: 0.0,
            p_factor: 1.0,
            is_at_rest: false,
            ln_e: 0.0,
        });
    }

    /// All residuals that there are.
    pub fn iter(&self) -> impl Iterator<Item = ScoredResidual> {
        self.0.iter().flatten().copied()
    }
}
