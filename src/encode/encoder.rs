//! The encoder family: one standardised value to a few spikes.

use serde::{Deserialize, Serialize};

use super::Spikes;

/// One number to active inputs.
pub trait Encode {
    /// Inputs that the code takes.
    fn width(&self) -> u32;

    /// Appends the active inputs for `z` (standard deviations from the mean, finite), numbered
    /// from `at`, in ascending order.
    fn encode(&self, z: f32, at: u32, out: &mut Spikes);
}

/// Population code: overlapping receptive fields of equal width on an interval; the fields that
/// contain the value spike. Values outside the interval excite the field at its edge.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Population {
    /// Number of fields, 2 and more.
    pub fields: u32,
    /// The interval is [-range, range].
    pub range: f32,
    /// Half-width of a field, in field spacings.
    pub half_width: f32,
}

impl Default for Population {
    fn default() -> Population {
        Population {
            fields: 16,
            range: 4.0,
            half_width: 1.5,
        }
    }
}

impl Encode for Population {
    fn width(&self) -> u32 {
        self.fields
    }

    fn encode(&self, z: f32, at: u32, out: &mut Spikes) {
        let top = (self.fields - 1) as f32;
        let centre = (z.clamp(-self.range, self.range) + self.range) / (2.0 * self.range) * top;
        let first = (centre - self.half_width).ceil().max(0.0) as u32;
        let last = (centre + self.half_width).floor().min(top) as u32;
        for field in first..=last {
            out.push(at + field, 1.0);
        }
    }
}

/// The codes that a channel can choose from.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encoder {
    /// No spikes beside the real-valued level.
    Raw,
    /// Overlapping receptive fields: the default.
    Population(Population),
    /// Every threshold below the value spikes: `fields` thresholds on [-range, range].
    Thermometer {
        /// Number of thresholds.
        fields: u32,
        /// The thresholds cover [-range, range].
        range: f32,
    },
    /// One field spikes, with a strength that falls with the distance to its centre: the latency
    /// of a first spike, read as 1 for an immediate one and 0 for none.
    Latency {
        /// Number of fields.
        fields: u32,
        /// The fields cover [-range, range].
        range: f32,
    },
}

impl Default for Encoder {
    fn default() -> Encoder {
        Encoder::Population(Population::default())
    }
}

impl Encode for Encoder {
    fn width(&self) -> u32 {
        match *self {
            Encoder::Raw => 0,
            Encoder::Population(code) => code.width(),
            Encoder::Thermometer { fields, .. } | Encoder::Latency { fields, .. } => fields,
        }
    }

    fn encode(&self, z: f32, at: u32, out: &mut Spikes) {
        match *self {
            Encoder::Raw => {}
            Encoder::Population(code) => code.encode(z, at, out),
            Encoder::Thermometer { fields, range } => {
                let level = (z.clamp(-range, range) + range) / (2.0 * range) * fields as f32;
                for field in 0..(level as u32).min(fields) {
                    out.push(at + field, 1.0);
                }
            }
            Encoder::Latency { fields, range } => {
                let top = (fields - 1) as f32;
                let centre = (z.clamp(-range, range) + range) / (2.0 * range) * top;
                let first = centre.floor();
                let share = centre - first;
                out.push(at + first as u32, 1.0 - share);
                if share > 0.0 {
                    out.push(at + first as u32 + 1, share);
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn active(encoder: &impl Encode, z: f32) -> Vec<u32> {
        let mut out = Spikes::default();
        encoder.encode(z, 0, &mut out);
        out.index
    }

    #[test]
    fn three_fields_hold_a_value_inside_and_two_at_the_edge() {
        let code = Population::default();
        assert_eq!(active(&code, -4.0), [0, 1]);
        assert_eq!(active(&code, 99.0), [14, 15]);
        assert_eq!(active(&code, 0.1).len(), 3);
    }

    #[test]
    fn neighbouring_values_share_fields_and_distant_ones_do_not() {
        let code = Population::default();
        let shared = |a: f32, b: f32| {
            let b = active(&code, b);
            active(&code, a).iter().filter(|f| b.contains(f)).count()
        };
        assert!(shared(0.0, 0.3) >= 2);
        assert_eq!(shared(-1.0, 1.0), 0);
    }

    #[test]
    fn a_thermometer_only_adds_spikes_as_the_value_rises() {
        let code = Encoder::Thermometer {
            fields: 8,
            range: 2.0,
        };
        assert!(active(&code, -9.0).is_empty());
        assert_eq!(active(&code, 0.0), [0, 1, 2, 3]);
        assert_eq!(active(&code, 9.0).len(), 8);
    }

    #[test]
    fn latency_shares_one_unit_between_neighbours() {
        let code = Encoder::Latency {
            fields: 9,
            range: 4.0,
        };
        for z in [-5.0, -4.0, -0.3, 0.0, 1.77, 4.0, 5.0] {
            let mut out = Spikes::default();
            code.encode(z, 0, &mut out);
            assert!((out.value.iter().sum::<f32>() - 1.0).abs() < 1e-6, "{z}");
            assert!(out.index.iter().all(|&i| i < 9));
        }
    }
}
