//! Counts messages by input on the intake thread, and shows the counts to others twice a second.

use std::time::{Duration, Instant};

use crate::decode::{Decoder, InboundMessage};
use crate::status::{InputCount, Status};

/// Time between two showings.
const EVERY: Duration = Duration::from_millis(500);

/// Messages by input.
pub struct InputCounts {
    counts: Vec<InputCount>,
    shown: Option<Instant>,
}

impl InputCounts {
    /// Of the inputs of a decoder, of which nothing came yet.
    pub fn of(decoder: &Decoder) -> InputCounts {
        let patterns = decoder.router.patterns().iter();
        InputCounts {
            counts: patterns.map(|p| InputCount::new(p.filter())).collect(),
            shown: None,
        }
    }

    /// Goes on with other inputs: those with the same filter keep their counts.
    pub fn replace(&mut self, decoder: &Decoder) {
        let mut next = InputCounts::of(decoder);
        for count in &mut next.counts {
            if let Some(known) = self.counts.iter().find(|c| c.filter == count.filter) {
                count.clone_from(known);
            }
        }
        *self = next;
    }

    /// Counts a message of an input, its readings and refusals.
    pub fn note(
        &mut self,
        input: usize,
        message: &InboundMessage<'_>,
        readings: usize,
        refused: usize,
    ) {
        if let Some(count) = self.counts.get_mut(input) {
            count.note(message.topic, message.arrival_ms, readings, refused);
        }
    }

    /// Shows the counts where the last showing is some time ago.
    pub fn show(&mut self, shared: &Status) {
        if self.shown.is_none_or(|at| at.elapsed() >= EVERY) {
            self.shown = Some(Instant::now());
            shared.set_inputs(&self.counts);
        }
    }
}
