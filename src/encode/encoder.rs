//! The encoder family: one standardised value to a few spikes.

use serde::{Deserialize, Serialize};

use super::Spikes;

/// One number to active inputs.
pub trait Encode {
    /// Inputs that the code takes.
    fn width(&self) -> u32;

    /// Inputs that are usually active, for the scale of the priors.
    fn active(&self) -> f32;

    /// Takes the next value `z`, for codes that say what happened rather than what is.
    fn observe(&mut self, z: f32) {
        let _ = z;
    }

    /// Appends the active inputs for `z` (standard deviations from the mean, finite; the value
    /// observed last), numbered from `at`, in ascending order.
    fn encode(&self, z: f32, at: u32, out: &mut Spikes);
}

/// Share of the interval [-range, range] below `z`, 0 to 1.
fn share(z: f32, range: f32) -> f32 {
    (z.clamp(-range, range) + range) / (2.0 * range)
}

/// No spikes: the channel's real-valued inputs alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Raw;

impl Encode for Raw {
    fn width(&self) -> u32 {
        0
    }

    fn active(&self) -> f32 {
        0.0
    }

    fn encode(&self, _: f32, _: u32, _: &mut Spikes) {}
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

    fn active(&self) -> f32 {
        2.0 * self.half_width
    }

    fn encode(&self, z: f32, at: u32, out: &mut Spikes) {
        let top = (self.fields - 1) as f32;
        let centre = share(z, self.range) * top;
        // Up and down to whole numbers, both sides being 0 and more.
        let low = (centre - self.half_width).max(0.0);
        let first = low as u32 + u32::from((low as u32 as f32) < low);
        let last = (centre + self.half_width).min(top) as u32;
        for field in first..=last {
            out.push(at + field, 1.0);
        }
    }
}

/// Thermometer: every threshold below the value spikes.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Thermometer {
    /// Number of thresholds, evenly on [-range, range].
    pub fields: u32,
    /// The thresholds cover [-range, range].
    pub range: f32,
}

impl Encode for Thermometer {
    fn width(&self) -> u32 {
        self.fields
    }

    fn active(&self) -> f32 {
        self.fields as f32 / 2.0
    }

    fn encode(&self, z: f32, at: u32, out: &mut Spikes) {
        let level = share(z, self.range) * self.fields as f32;
        for field in 0..(level as u32).min(self.fields) {
            out.push(at + field, 1.0);
        }
    }
}

/// Latency of a first spike, read as 1 for an immediate one and 0 for none: the two fields beside
/// the value spike, with a strength that falls with the distance to their centre.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Latency {
    /// Number of fields, 2 and more.
    pub fields: u32,
    /// The fields cover [-range, range].
    pub range: f32,
}

impl Encode for Latency {
    fn width(&self) -> u32 {
        self.fields
    }

    fn active(&self) -> f32 {
        2.0
    }

    fn encode(&self, z: f32, at: u32, out: &mut Spikes) {
        let centre = share(z, self.range) * (self.fields - 1) as f32;
        let first = centre.floor();
        let beyond = centre - first;
        out.push(at + first as u32, 1.0 - beyond);
        if beyond > 0.0 {
            out.push(at + first as u32 + 1, beyond);
        }
    }
}

/// Send-on-delta: silent while the value stays near the last one sent; a move of so many steps
/// sends as many spikes, upward ones in the first half of the fields, downward ones in the second.
/// A step is range/fields.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Delta {
    /// Number of fields, 2 and more: half of them upward.
    pub fields: u32,
    /// Fields times the step.
    pub range: f32,
    /// Level sent last; none before the first value.
    sent: Option<f32>,
    /// Steps sent with the last value, signed.
    events: i32,
}

impl Delta {
    /// A code that has sent nothing.
    pub fn new(fields: u32, range: f32) -> Delta {
        Delta {
            fields,
            range,
            sent: None,
            events: 0,
        }
    }
}

impl Encode for Delta {
    fn width(&self) -> u32 {
        self.fields
    }

    fn active(&self) -> f32 {
        1.0
    }

    fn observe(&mut self, z: f32) {
        let step = self.range / self.fields as f32;
        let sent = self.sent.unwrap_or(z);
        self.events = ((z - sent) / step) as i32;
        self.sent = Some(sent + self.events as f32 * step);
    }

    fn encode(&self, _: f32, at: u32, out: &mut Spikes) {
        let half = self.fields / 2;
        let from = if self.events < 0 { half } else { 0 };
        for field in 0..self.events.unsigned_abs().min(half) {
            out.push(at + from + field, 1.0);
        }
    }
}

/// Rate code: each row is cut into as many slots as there are fields; a neuron that gathers the
/// value's share of [-range, range] in each slot spikes whenever it has gathered 1, and carries
/// the rest over.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Rate {
    /// Slots a row, 1 to 64.
    pub fields: u32,
    /// The rate is 0 at -range and 1 a slot at range.
    pub range: f32,
    /// Gathered, 0 to 1.
    charge: f32,
    /// Slots of the last row in which it spiked, lowest bit first.
    train: u64,
}

impl Rate {
    /// A code that has gathered nothing.
    pub fn new(fields: u32, range: f32) -> Rate {
        Rate {
            fields,
            range,
            charge: 0.0,
            train: 0,
        }
    }
}

impl Encode for Rate {
    fn width(&self) -> u32 {
        self.fields
    }

    fn active(&self) -> f32 {
        self.fields as f32 / 2.0
    }

    fn observe(&mut self, z: f32) {
        let rate = share(z, self.range);
        self.train = 0;
        for slot in 0..self.fields {
            self.charge += rate;
            if self.charge >= 1.0 {
                self.charge -= 1.0;
                self.train |= 1 << slot;
            }
        }
    }

    fn encode(&self, _: f32, at: u32, out: &mut Spikes) {
        for slot in 0..self.fields {
            if self.train >> slot & 1 == 1 {
                out.push(at + slot, 1.0);
            }
        }
    }
}

/// The codes that a channel can choose from, each with its state.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Encoder {
    /// No spikes.
    Raw(Raw),
    /// Overlapping receptive fields.
    Population(Population),
    /// Every threshold below the value.
    Thermometer(Thermometer),
    /// The two fields beside the value, by closeness: the default.
    Latency(Latency),
    /// Moves since the last one sent.
    Delta(Delta),
    /// Spikes as often as the value is high.
    Rate(Rate),
}

impl Default for Encoder {
    fn default() -> Encoder {
        Encoder::Latency(Latency {
            fields: 12,
            range: 2.5,
        })
    }
}

impl Encoder {
    /// Names of the family, for settings.
    pub const NAMES: [&str; 6] = [
        "population",
        "thermometer",
        "delta",
        "latency",
        "rate",
        "raw",
    ];

    /// It says what happened rather than what is: [`Encode::observe`] does something.
    pub fn remembers(&self) -> bool {
        matches!(self, Encoder::Delta(_) | Encoder::Rate(_))
    }

    /// The code of this name with `fields` inputs (2..=64) over [-range, range]; `raw` for any
    /// other name.
    pub fn new(name: &str, fields: u32, range: f32) -> Encoder {
        match name {
            "population" => Encoder::Population(Population {
                fields,
                range,
                ..Population::default()
            }),
            "thermometer" => Encoder::Thermometer(Thermometer { fields, range }),
            "delta" => Encoder::Delta(Delta::new(fields, range)),
            "latency" => Encoder::Latency(Latency { fields, range }),
            "rate" => Encoder::Rate(Rate::new(fields, range)),
            _ => Encoder::Raw(Raw),
        }
    }
}

/// Calls the method of whichever code it is, without an indirection.
macro_rules! of_code {
    ($encoder:expr, $code:ident => $call:expr) => {
        match $encoder {
            Encoder::Raw($code) => $call,
            Encoder::Population($code) => $call,
            Encoder::Thermometer($code) => $call,
            Encoder::Latency($code) => $call,
            Encoder::Delta($code) => $call,
            Encoder::Rate($code) => $call,
        }
    };
}

impl Encode for Encoder {
    fn width(&self) -> u32 {
        of_code!(self, code => code.width())
    }

    fn active(&self) -> f32 {
        of_code!(self, code => code.active())
    }

    fn observe(&mut self, z: f32) {
        of_code!(self, code => code.observe(z));
    }

    fn encode(&self, z: f32, at: u32, out: &mut Spikes) {
        of_code!(self, code => code.encode(z, at, out));
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

    /// Spikes of the values, one after the other.
    fn series(mut encoder: Encoder, values: &[f32]) -> Vec<Vec<u32>> {
        values
            .iter()
            .map(|&z| {
                encoder.observe(z);
                active(&encoder, z)
            })
            .collect()
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
        let code = Encoder::new("thermometer", 8, 2.0);
        assert!(active(&code, -9.0).is_empty());
        assert_eq!(active(&code, 0.0), [0, 1, 2, 3]);
        assert_eq!(active(&code, 9.0).len(), 8);
    }

    #[test]
    fn latency_shares_one_unit_between_neighbours() {
        let code = Encoder::new("latency", 9, 4.0);
        for z in [-5.0, -4.0, -0.3, 0.0, 1.77, 4.0, 5.0] {
            let mut out = Spikes::default();
            code.encode(z, 0, &mut out);
            assert!((out.value.iter().sum::<f32>() - 1.0).abs() < 1e-6, "{z}");
            assert!(out.index.iter().all(|&i| i < 9));
        }
    }

    #[test]
    fn send_on_delta_is_silent_until_a_step_is_passed_and_sends_every_step_once() {
        // Steps of half a standard deviation; a slow climb is sent as often as a jump.
        let code = Encoder::new("delta", 8, 4.0);
        let values = [0.1, 0.4, 0.59, 0.7, 1.11, 3.2, -9.0];
        assert_eq!(
            series(code, &values),
            [
                vec![],
                vec![],
                vec![],
                vec![0],
                vec![0],
                vec![0, 1, 2, 3],
                vec![4, 5, 6, 7]
            ]
        );
    }

    #[test]
    fn the_rate_of_spikes_is_the_value_however_few_the_slots() {
        for z in [-4.0, -3.1, 0.0, 0.77, 3.9, 4.0] {
            let spikes = series(Encoder::new("rate", 3, 4.0), &vec![z; 1000]);
            let count: usize = spikes.iter().map(Vec::len).sum();
            let wanted = 3000.0 * f64::from((z + 4.0) / 8.0);
            assert!((count as f64 - wanted).abs() < 2.0, "{z}: {count}");
        }
    }

    #[test]
    fn every_name_makes_its_own_code_inside_its_width() {
        for name in Encoder::NAMES {
            let code = Encoder::new(name, 10, 3.0);
            let width = if name == "raw" { 0 } else { 10 };
            assert_eq!(code.width(), width, "{name}");
            for spikes in series(code, &[0.0, -50.0, 50.0, 0.2, 3.0, -3.0]) {
                assert!(spikes.windows(2).all(|w| w[0] < w[1]), "{name} {spikes:?}");
                assert!(spikes.iter().all(|&i| i < width), "{name} {spikes:?}");
            }
        }
        let others = Encoder::NAMES.map(|name| Encoder::new(name, 10, 3.0));
        assert!((1..6).all(|i| others[i] != others[0]));
    }
}
