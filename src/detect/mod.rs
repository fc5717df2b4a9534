//! Detects anomalies: residuals of the predictors in, scores and incidents out.
//!
//! [`Detector`] is the one object of a stream. A row takes this way through it:
//!
//! 1. A value that is likelier to stay than to change says nothing while it stays; its change is as
//!    surprising as the hazard makes it (`RestHazard`). A held value is no observation.
//! 2. Each witness's residual becomes a conformal p-value with an extrapolated tail, no less than
//!    (n + 1)^-2 after n residuals (`ResidualHistory`). `CrossChannelTest` adds each channel's level
//!    residual given the other channels'.
//! 3. p-values become e-values (`evalue`), discounted for autocorrelation by lag 1 and batch means.
//! 4. `EvidenceCusum` sums the mixture of the e-values; `MeanShiftCusum` beside it looks for a
//!    small shift that lasts; `RunLengthMonitor` for values that stand still or are missing.
//! 5. `JointLevel` measures the Mahalanobis distance of all levels from their slow mean, made a
//!    Student's one; the median of five rows is its height.
//! 6. Every excursion goes uncapped into an `ExcursionRecord`; a bar is the return level that the
//!    record promises at the wanted rate, and no lower than theory's.
//!    `UsualLevel` measures how seldom a channel has been at its present level, and how long it stays there;
//!    `LastingLevel` how far it is, for long, from what the other channels' levels let expect.
//! 7. The joint level's record (`LevelRecord`) counts episodes once and schedules in full.
//! 8. `AlarmDebt`: incidents beyond the wanted ones stretch the bars of the test that opened them, and by a half
//!    those of a channel's levels; those of a channel's own tests mostly in that channel. One that an operator
//!    confirms was none too many.
//! 9. An incident opens where a bar is passed; channels that pass theirs later join it.
//! 10. An operator's verdict takes what an incident taught out of the records, or counts it in full.
//!
//! All statistics use the past only; memory is constant.

mod alarm_debt;
mod autocorrelation;
mod batch_means;
mod channel;
mod covariance;
mod cross_channel;
mod detector;
mod evalue;
mod evidence;
mod feedback;
mod history;
mod incident;
mod incident_course;
mod incident_log;
mod joint_level;
mod lasting_level;
mod lessons;
mod level_record;
mod mean_shift;
mod monitor;
mod record;
mod residuals;
mod rest;
mod rulings;
mod run_length;
mod settings;
mod silence;
#[cfg(test)]
mod tests;
mod usual_level;

pub use autocorrelation::LIMIT as RESIDUAL_LIMIT;
pub use channel::{ChannelKind, ChannelOptions, Direction, ValueRange, Watch};
pub use detector::{Detector, Judgement, Moment};
pub use feedback::Ruled;
pub use incident::IncidentParams;
pub use residuals::{ChannelResiduals, Residual};
pub use settings::{DetectSettings, Heads};
pub use silence::SilenceMonitor;
