//! Values to spikes: the encoder family, the running scale of a channel, the calendar.
//!
//! An encoder turns one standardised number into a few active inputs; inputs that are silent
//! are never named, so that the cost of a row follows its spikes.

mod calendar;
mod encoder;
mod receptive;
mod scale;

pub use calendar::{CALENDAR_WIDTH, Calendar, encode_calendar, hour_of_day};
pub use encoder::{Delta, Encode, Encoder, Latency, Population, Rate, Raw, Thermometer};
pub use receptive::ReceptiveFields;
pub use scale::{Level, StepScale};

use serde::{Deserialize, Serialize};

/// The active inputs of one sample: index and value side by side, in ascending order of index.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Spikes {
    /// Input numbers.
    pub index: Vec<u32>,
    /// Their values: 1 for a spike, any finite number for a real-valued input.
    pub value: Vec<f32>,
}

impl Spikes {
    /// Forgets all, keeps the memory.
    pub fn clear(&mut self) {
        self.index.clear();
        self.value.clear();
    }

    /// Makes room for `n` active inputs, and no more.
    pub fn reserve(&mut self, n: usize) {
        self.index.reserve_exact(n.saturating_sub(self.index.len()));
        self.value.reserve_exact(n.saturating_sub(self.value.len()));
    }

    /// Activates input `index`; a value of zero is silence and is left out.
    pub fn push(&mut self, index: u32, value: f32) {
        if value != 0.0 {
            self.index.push(index);
            self.value.push(value);
        }
    }
}
