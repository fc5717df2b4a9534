//! Turns the totals of counters into growth a row.

use serde::{Deserialize, Serialize};

use crate::row::Row;

/// A counter's last total.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
struct Counter {
    channel: usize,
    /// NaN before the first.
    total: f64,
    /// Rows since then.
    rows: u32,
}

/// The counters of a stream.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Counters(Vec<Counter>);

impl Counters {
    /// Adds a channel.
    pub fn add(&mut self, channel: usize) {
        self.0.push(Counter {
            channel,
            total: f64::NAN,
            rows: 0,
        });
    }

    /// There are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The row with the counters' growth a row in place of their totals: after missing rows its
    /// mean over them. The first total, and one that has fallen (a reset or an overflow), have
    /// none and are missing.
    pub fn grown(&mut self, row: &Row) -> Row {
        let mut grown = row.clone();
        for counter in &mut self.0 {
            counter.rows = counter.rows.saturating_add(1);
            let total = row.values[counter.channel];
            let value = &mut grown.values[counter.channel];
            if total.is_nan() || row.is_held(counter.channel) {
                *value = f64::NAN;
                continue;
            }
            let growth = (total - counter.total) / f64::from(counter.rows);
            *value = if growth >= 0.0 { growth } else { f64::NAN };
            (counter.total, counter.rows) = (total, 0);
        }
        grown
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_total_becomes_growth_and_a_reset_is_missing() {
        let mut counters = Counters::default();
        counters.add(1);
        let totals = [10.0, 12.0, f64::NAN, 16.0, 3.0, 4.0];
        let grown = totals.map(|total| {
            let row = Row {
                ts_ms: 0,
                arrival_ms: 0,
                values: vec![7.0, total],
                held: Vec::new(),
            };
            let grown = counters.grown(&row);
            assert_eq!(grown.values[0], 7.0);
            grown.values[1]
        });
        assert!(grown[0].is_nan() && grown[2].is_nan() && grown[4].is_nan());
        assert_eq!([grown[1], grown[3], grown[5]], [2.0, 2.0, 1.0]);
    }
}
