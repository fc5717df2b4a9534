//! A Markov chain over the fields of a channel's level: which field follows which, and which value each
//! field is usually left and met at. It knows set-points, switches and cycles that no regression does.

use serde::{Deserialize, Serialize};

use super::distribution::{Atom, Cell, Distribution};
use crate::encode::Level;

/// Fields of the level.
const N_FIELDS: usize = 16;
/// The inner fields are of equal width and cover this many standard deviations on either side.
const INNER_SD: f64 = 2.4;
/// The outermost fields end here.
const OUTER_SD: f64 = 6.0;
/// Rows of a field's counts are faded with this memory, in visits of the field.
const MEMORY: f32 = 2_000.0;
/// The prior of a transition, that it is as likely as its field is visited, counts as so many.
const PRIOR: f64 = 2.0;

/// Counts of transitions between states, for one channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Table {
    /// Transitions from field to field, row by row.
    counts: Vec<f32>,
    /// Visits of each field.
    visits: [f32; N_FIELDS],
    /// The value last met in each field.
    values: [f64; N_FIELDS],
    /// How often a field was met at the value that it was met at before.
    again: [f32; N_FIELDS],
}

impl Default for Table {
    fn default() -> Table {
        Table {
            counts: vec![0.0; N_FIELDS * N_FIELDS],
            visits: [0.0; N_FIELDS],
            values: [f64::NAN; N_FIELDS],
            again: [0.0; N_FIELDS],
        }
    }
}

/// The field of a standardised value.
fn field(z: f64) -> usize {
    let inner = (N_FIELDS - 2) as f64;
    let place = (z + INNER_SD) / (2.0 * INNER_SD) * inner;
    (place.floor() + 1.0).clamp(0.0, (N_FIELDS - 1) as f64) as usize
}

/// Lower end of a field in standard deviations.
fn low(field: usize) -> f64 {
    match field {
        0 => -OUTER_SD,
        N_FIELDS.. => OUTER_SD,
        _ => -INNER_SD + 2.0 * INNER_SD * (field - 1) as f64 / (N_FIELDS - 2) as f64,
    }
}

impl Table {
    /// Adds what follows a value of standardised level `z` to a distribution, with `weight` in all.
    /// Gives false, and adds nothing, where the level has no spread yet.
    pub fn add_to(&self, level: &Level, z: f64, weight: f64, to: &mut Distribution) -> bool {
        if level.sd() <= 0.0 {
            return false;
        }
        let from = field(z);
        let row = &self.counts[from * N_FIELDS..][..N_FIELDS];
        let total: f64 = row.iter().map(|&c| f64::from(c)).sum();
        let visits: f64 = self.visits.iter().map(|&v| f64::from(v)).sum();
        for (f, &count) in row.iter().enumerate() {
            let visited = f64::from(self.visits[f]);
            let overall = (visited + 1.0 / N_FIELDS as f64) / (visits + 1.0);
            let p = weight * (f64::from(count) + PRIOR * overall) / (total + PRIOR);
            let again = f64::from(self.again[f]) / (visited + 1.0);
            let at = |z: f64| level.mean() + z * level.sd();
            if !self.values[f].is_nan() {
                to.atoms.push(Atom {
                    weight: p * again,
                    value: self.values[f],
                });
            }
            to.cells.push(Cell {
                weight: p * (1.0 - again),
                low: at(low(f)),
                high: at(low(f + 1)).max(at(low(f)) + f64::MIN_POSITIVE),
            });
        }
        true
    }

    /// Learns that `value`, of standardised level `z`, followed one of level `before`. `same`: it is the
    /// value that its field was last met at.
    pub fn observe(&mut self, before: f64, z: f64, value: f64, grid: f64) {
        let (from, to) = (field(before), field(z));
        let row = &mut self.counts[from * N_FIELDS..][..N_FIELDS];
        row.iter_mut().for_each(|c| *c *= 1.0 - 1.0 / MEMORY);
        row[to] += 1.0;
        if self.visits[to] >= MEMORY {
            self.visits[to] *= 0.5;
            self.again[to] *= 0.5;
        }
        self.visits[to] += 1.0;
        if (self.values[to] - value).abs() < 0.5 * grid {
            self.again[to] += 1.0;
        }
        self.values[to] = value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_level_has_a_field_and_the_fields_join() {
        for (z, f) in [
            (-99.0, 0),
            (-2.41, 0),
            (-2.39, 1),
            (2.39, 14),
            (2.41, 15),
            (99.0, 15),
        ] {
            assert_eq!(field(z), f, "{z}");
        }
        for f in 0..N_FIELDS {
            assert_eq!(field(0.5 * (low(f) + low(f + 1))), f);
        }
    }

    #[test]
    fn two_set_points_in_turn_are_known_by_value() {
        let (mut table, mut level) = (Table::default(), Level::default());
        let value = |t: usize| if t.is_multiple_of(2) { 20.0 } else { 65.5 };
        for t in 0..500 {
            level.observe(value(t), 1.0, 1e4);
        }
        for t in 1..500 {
            let (before, z) = (level.standardise(value(t - 1)), level.standardise(value(t)));
            table.observe(before, z, value(t), 0.1);
        }
        let mut d = Distribution::default();
        d.clear(65.5, 0.1);
        assert!(table.add_to(&level, level.standardise(65.5), 1.0, &mut d));
        let weight = |value: f64| -> f64 {
            let atoms = d.atoms.iter().filter(|a| a.value == value);
            atoms.map(|a| a.weight).sum()
        };
        assert!(weight(20.0) > 0.97, "{}", weight(20.0));
        let all = d.atoms.iter().map(|a| a.weight).sum::<f64>()
            + d.cells.iter().map(|c| c.weight).sum::<f64>();
        assert!((all - 1.0).abs() < 1e-9);
    }
}
