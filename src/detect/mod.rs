//! Detects anomalies: residuals of the predictors in, scores and incidents out.
//!
//! [`Detector`] is the one object of a stream. A row takes this way through it:
//!
//! 1. Each witness's residual becomes a conformal p-value against its own past
//!    ([`ResidualHistory`]), and an e-value (`evalue`), discounted for autocorrelation.
//! 2. `CrossChannelTest` adds each channel's level residual given the other channels'.
//! 3. `EvidenceCusum` sums the mixture of the e-values; `MeanShiftCusum` beside it looks for a
//!    small shift that lasts; `RunLengthMonitor` for values that stand still or are missing.
//! 4. The larger evidence over the bar is the channel's score; `Incidents` opens and closes.
//!
//! All statistics use the past only; memory is constant.

mod autocorrelation;
mod batch_means;
mod cross_channel;
mod detector;
mod episodes;
mod evalue;
mod evidence;
mod feedback;
mod history;
mod incident;
mod incident_log;
mod joint;
mod maxima;
mod mean_shift;
mod monitor;
mod null;
mod residuals;
mod rulings;
mod run_length;
mod settings;
#[cfg(test)]
mod tests;

pub use autocorrelation::LIMIT as RESIDUAL_LIMIT;
pub use detector::{Detector, Judgement, Moment};
pub use feedback::Ruled;
pub use history::ResidualHistory;
pub use incident::IncidentParams;
pub use residuals::{ChannelKind, ChannelResiduals, Residual, Witness};
pub use settings::{DetectSettings, Heads};
