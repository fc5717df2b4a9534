//! The states of a channel that is one of a few things: which there are, which it is in, how long.

use serde::{Deserialize, Serialize};

use super::plan::{FOUND_STATES, State};
use crate::encode::Spikes;

/// Rows in a state, first of each cell: a cell a row where cycles are short, coarser beyond.
const CELLS: [u32; 22] = [
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 25, 33, 65, 129, 257,
];

/// The states of one channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct States {
    known: Vec<State>,
    /// States that can be told apart; more than are known where they are found as they come.
    capacity: usize,
    /// State of the last row; `None` where missing.
    current: Option<usize>,
    /// Rows that it has been in it.
    rows: u32,
}

impl States {
    /// Inputs that are usually active.
    pub const ACTIVE: f32 = 2.0;

    /// These states, or none yet: then they are found as they come, [`FOUND_STATES`] of them.
    pub fn new(listed: &[State]) -> States {
        States {
            known: listed.to_vec(),
            capacity: if listed.is_empty() {
                FOUND_STATES
            } else {
                listed.len()
            },
            current: None,
            rows: 0,
        }
    }

    /// The states known.
    pub fn known(&self) -> &[State] {
        &self.known
    }

    /// States that can be told apart.
    pub fn capacity(&self) -> usize {
        self.capacity
    }

    /// Place of the state that `value` stands for.
    pub fn find(&self, value: f64) -> Option<usize> {
        self.known.iter().position(|state| state.value == value)
    }

    /// As [`States::find`], finding a new state where there is room.
    pub fn find_or_add(&mut self, value: f64) -> Option<usize> {
        let found = self.find(value);
        if found.is_none() && self.known.len() < self.capacity && !value.is_nan() {
            self.known.push(State {
                name: format!("{value}").into(),
                value,
            });
            return Some(self.known.len() - 1);
        }
        found
    }

    /// State of the row after the last, and rows in it.
    fn next(&self, value: f64) -> (Option<usize>, u32) {
        let state = self.find(value);
        if state == self.current {
            (state, self.rows.saturating_add(1))
        } else {
            (state, 1)
        }
    }

    /// Learns the state of the row (NaN or unknown: missing).
    pub fn observe(&mut self, value: f64) {
        (self.current, self.rows) = self.next(value);
    }

    /// Inputs: one a state, and one a state and cell of the time in it.
    pub fn width(&self) -> u32 {
        (self.capacity * (1 + CELLS.len())) as u32
    }

    /// Appends the active inputs, numbered from `at`, once the row's `value` is past: the state, and how long
    /// it has lasted.
    pub fn encode_present(&self, value: f64, at: u32, out: &mut Spikes) {
        let (state, rows) = self.next(value);
        self.push(state, rows, at, out);
    }

    fn push(&self, state: Option<usize>, rows: u32, at: u32, out: &mut Spikes) {
        let Some(state) = state else { return };
        out.push(at + state as u32, 1.0);
        let cell = CELLS.partition_point(|&first| first <= rows).max(1) - 1;
        let cells = (self.capacity + state * CELLS.len() + cell) as u32;
        out.push(at + cells, 1.0);
    }
}

#[cfg(test)]
mod tests {
    use super::super::plan::Values;
    use super::*;

    #[test]
    fn states_are_found_as_they_come_and_no_more_than_there_is_room_for() {
        let mut states = States::new(&[]);
        for value in 0..FOUND_STATES {
            assert_eq!(states.find_or_add(10.0 * value as f64), Some(value));
        }
        assert_eq!(states.find_or_add(-1.0), None);
        assert_eq!(states.find_or_add(20.0), Some(2));
        assert_eq!(&*states.known()[2].name, "20");
        assert_eq!(States::new(&[]).find_or_add(f64::NAN), None);
    }

    #[test]
    fn the_code_names_the_state_and_how_long_it_has_lasted() {
        let listed = Values::binary();
        let mut states = States::new(listed.listed().unwrap());
        let mut seen = Vec::new();
        for value in [0.0, 0.0, 1.0, f64::NAN, 1.0, 7.0] {
            states.observe(value);
            let mut out = Spikes::default();
            states.push(states.current, states.rows, 100, &mut out);
            seen.push(out.index);
        }
        let wanted: [&[u32]; 6] = [&[100, 102], &[100, 103], &[101, 124], &[], &[101, 124], &[]];
        assert_eq!(seen, wanted);
        for _ in 0..1000 {
            states.observe(1.0);
        }
        let mut out = Spikes::default();
        states.push(states.current, states.rows, 0, &mut out);
        assert_eq!(out.index, [1, 45]);
        assert_eq!(states.width(), 46);
    }
}
