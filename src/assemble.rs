//! Readings to rows: alignment, gaps, late and duplicate readings.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::row::{Reading, Row};

/// When a row is complete.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Align {
    /// Every reading makes a row; the other channels hold their last value.
    PerReading,
    /// A row once every known channel has a reading newer than the last row, or when a reading
    /// arrives for a channel that the open row already has.
    WhenComplete,
    /// A row every `period_ms` of source time, from the last value of each channel.
    FixedPeriod,
}

/// How readings become rows; validated by [`AssembleParams::new`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct AssembleParams {
    align: Align,
    period_ms: i64,
    max_age_ms: i64,
    max_channels: usize,
    channels: Vec<Arc<str>>,
}

impl AssembleParams {
    /// `period_ms` is used by [`Align::FixedPeriod`] only and must be positive there; a value older
    /// than `max_age_ms` (positive) is missing; `channels` exist from the start, in this order, and
    /// up to `max_channels` (1 and more) are accepted.
    ///
    /// # Errors
    /// Every offence, each naming what was wrong.
    pub fn new(
        align: Align,
        period_ms: i64,
        max_age_ms: i64,
        max_channels: usize,
        channels: Vec<Arc<str>>,
    ) -> Result<AssembleParams, Vec<String>> {
        let mut errors = Vec::new();
        if align == Align::FixedPeriod && period_ms <= 0 {
            errors.push(format!("period_ms must be positive, got {period_ms}"));
        }
        if max_age_ms <= 0 {
            errors.push(format!("max_age_ms must be positive, got {max_age_ms}"));
        }
        if max_channels == 0 || channels.len() > max_channels {
            errors.push(format!(
                "max_channels must be at least 1 and at least the {} listed, got {max_channels}",
                channels.len()
            ));
        }
        if errors.is_empty() {
            Ok(AssembleParams {
                align,
                period_ms,
                max_age_ms,
                max_channels,
                channels,
            })
        } else {
            Err(errors)
        }
    }
}

/// What became of one reading.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Verdict {
    /// Taken, in order.
    Taken,
    /// Taken; it is the first reading of a channel not seen before.
    NewChannel,
    /// Refused: same channel and source timestamp as one already taken.
    Duplicate,
    /// Refused: older than the channel's newest reading, or than the last row.
    Late,
    /// Refused: source timestamp too far ahead of its arrival to be believed.
    Future,
    /// Refused: the stream has `max_channels` channels already.
    TooManyChannels,
}

impl Verdict {
    /// The reading was accepted.
    pub fn is_taken(self) -> bool {
        matches!(self, Verdict::Taken | Verdict::NewChannel)
    }
}

/// One stream's open row and the last value of each channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Assembler {
    params: AssembleParams,
    channels: Vec<Arc<str>>,
}

impl Assembler {
    /// An assembler that has seen nothing.
    pub fn new(params: &AssembleParams) -> Assembler {
        Assembler {
            params: params.clone(),
            channels: params.channels.clone(),
        }
    }

    /// Channel names, in the order of a row's values.
    pub fn channels(&self) -> &[Arc<str>] {
        &self.channels
    }

    /// Takes one reading and appends the rows that it completed.
    pub fn push(&mut self, reading: &Reading, rows: &mut Vec<Row>) -> Verdict {
        let _ = (reading, rows, &self.params);
        Verdict::Taken
    }

    /// Completes the open row, if any.
    pub fn finish(&mut self, rows: &mut Vec<Row>) {
        let _ = rows;
    }
}
