//! Options of one channel: its kind, and which deviations of it are worth a word.

use serde::{Deserialize, Serialize};

/// Kind of a channel as the detector sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub enum ChannelKind {
    /// A sensor of numbers.
    #[default]
    Number,
    /// A sensor of a few states.
    States,
    /// A soft sensor's target: its silence is no fault.
    Target,
    /// A label: never judged.
    Label,
}

impl ChannelKind {
    /// Its silence, and its standing still, are worth a word.
    pub fn is_sensor(self) -> bool {
        matches!(self, ChannelKind::Number | ChannelKind::States)
    }
}

/// Direction in which a deviation is worth a word.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Direction {
    /// Above and below what was expected.
    #[default]
    Both,
    /// Above only.
    Up,
    /// Below only.
    Down,
}

/// The detector's options of a channel.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ChannelOptions {
    /// Its kind.
    pub kind: ChannelKind,
    /// Which of its deviations are worth a word.
    pub watch: Watch,
}

/// Which deviations of a channel are worth a word, and which values.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Watch {
    /// Direction of deviations.
    pub direction: Direction,
    /// Smallest deviation from what was expected, in the channel's own unit, 0 and more.
    pub min_deviation: f64,
    /// Values outside this range raise an incident at once.
    pub range: Option<ValueRange>,
}

/// Range of values.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ValueRange {
    /// Lowest value.
    pub low: f64,
    /// Highest value.
    pub high: f64,
}

impl Watch {
    /// A deviation of `z` predictive standard deviations of `scale` units each is worth a word.
    pub fn is_worth(&self, z: f64, scale: f64) -> bool {
        let right_way = match self.direction {
            Direction::Both => true,
            Direction::Up => z > 0.0,
            Direction::Down => z < 0.0,
        };
        // Written so that an unknown scale is large enough.
        let too_small = (z * scale).abs() < self.min_deviation;
        right_way && !too_small
    }

    /// A value outside the range that was set.
    pub fn is_out_of_range(&self, value: f64) -> bool {
        let outside = |range: ValueRange| value < range.low || value > range.high;
        self.range.is_some_and(outside)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deviations_are_worth_a_word_by_direction_and_size() {
        let up = Watch {
            direction: Direction::Up,
            min_deviation: 0.5,
            ..Watch::default()
        };
        assert!(up.is_worth(3.0, 0.2) && !up.is_worth(2.0, 0.2) && !up.is_worth(-9.0, 0.2));
        assert!(up.is_worth(3.0, f64::NAN));
        let down = Watch {
            direction: Direction::Down,
            ..Watch::default()
        };
        assert!(down.is_worth(-1.0, 1.0) && !down.is_worth(1.0, 1.0));
    }

    #[test]
    fn a_value_outside_its_range_is_out_of_it() {
        let range = Some(ValueRange {
            low: 0.0,
            high: 10.0,
        });
        let options = Watch {
            range,
            ..Watch::default()
        };
        assert!(options.is_out_of_range(-0.1) && options.is_out_of_range(11.0));
        assert!(!options.is_out_of_range(10.0) && !options.is_out_of_range(f64::NAN));
    }
}
