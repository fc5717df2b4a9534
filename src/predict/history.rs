//! Inputs of the predictors from one channel's past: its scale, its last step, leaky traces of its level.

use serde::{Deserialize, Serialize};

use crate::encode::{Encode, Encoder, Level, Spikes, StepScale};

/// Time constants of the leaky traces, in rows of the channel.
const TRACE_ROWS: [f64; 4] = [3.0, 10.0, 30.0, 100.0];
/// Standardised levels, and traces against the level, are limited to this many standard deviations.
const LEVEL_LIMIT: f64 = 5.0;
/// Targets of a channel whose level hardly varies are limited to this many usual steps.
const TARGET_LIMIT: f64 = 20.0;
/// Steps are limited to this many usual steps.
const STEP_LIMIT: f64 = 8.0;
/// Real-valued inputs of a channel: its level, its step, a trace for each time constant.
pub const LINEAR_WIDTH: u32 = 2 + TRACE_ROWS.len() as u32;
/// Memory of the step scale as a share of the level's: it is the unit of the targets.
const STEP_MEMORY_SHARE: f64 = 0.5;

/// The past of one channel.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct History {
    /// Mean and standard deviation.
    pub level: Level,
    /// Mean absolute step between successive values: the unit of next-step targets.
    pub step_scale: StepScale,
    encoder: Encoder,
    /// Last value; NaN before the first.
    last: f64,
    /// Step to the last value; NaN before the second, and after a row without a value.
    step: f64,
    /// Leaky means of the values.
    traces: [f64; TRACE_ROWS.len()],
    /// Rows since the last value, 1 where the last row had one.
    age: u32,
    /// Inputs that were limited.
    pub limited: u64,
}

impl History {
    /// A channel that has no past, with the population code `encoder` of its level.
    pub fn new(encoder: Encoder) -> History {
        History {
            level: Level::default(),
            step_scale: StepScale::default(),
            encoder,
            last: f64::NAN,
            step: f64::NAN,
            traces: [0.0; TRACE_ROWS.len()],
            age: 0,
            limited: 0,
        }
    }

    /// Last value that was not missing; NaN before the first.
    pub fn last(&self) -> f64 {
        self.last
    }

    /// Rows since the last value; 1 where the last row had one.
    pub fn age(&self) -> u32 {
        self.age
    }

    /// The unit of next-step targets; `None` before the first step that was not 0.
    pub fn unit(&self) -> Option<f64> {
        self.step_scale.is_known().then(|| self.step_scale.get())
    }

    /// Inputs that the code of the level takes.
    pub fn code_width(&self) -> u32 {
        self.encoder.width()
    }

    /// Inputs that the code usually activates.
    pub fn code_active(&self) -> f32 {
        self.encoder.active()
    }

    /// The standardised last level.
    pub fn z(&self) -> f32 {
        self.standardise(self.last)
    }

    /// `value` in limited standard deviations from the mean; 0 for a missing one.
    pub fn standardise(&self, value: f64) -> f32 {
        if value.is_nan() {
            return 0.0;
        }
        let z = self.level.standardise(value);
        z.clamp(-LEVEL_LIMIT, LEVEL_LIMIT) as f32
    }

    /// A change in limited usual steps; 0 for a missing one.
    pub fn in_steps(&self, change: f64) -> f32 {
        if change.is_nan() {
            return 0.0;
        }
        let steps = change / self.step_scale.get();
        steps.clamp(-STEP_LIMIT, STEP_LIMIT) as f32
    }

    /// The step to `value` in usual steps, as a target: limited to as many as lead from the lowest to the
    /// highest level that is told apart, and no less than [`TARGET_LIMIT`], so that a load that is switched
    /// seldom is learned as large as it is. NaN before the first step that was not 0.
    pub fn target(&self, value: f64) -> f64 {
        let Some(unit) = self.unit() else {
            return f64::NAN;
        };
        let span = 2.0 * LEVEL_LIMIT * self.level.sd() / unit;
        let limit = span.max(TARGET_LIMIT);
        ((value - self.last) / unit).clamp(-limit, limit)
    }

    /// Appends level, step and traces, numbered from `at`.
    pub fn linear(&self, at: u32, out: &mut Spikes) {
        if self.last.is_nan() {
            return;
        }
        out.push(at, self.z());
        out.push(at + 1, self.in_steps(self.step));
        for (i, trace) in (2..).zip(&self.traces) {
            let sd = self.level.sd();
            if sd > 0.0 {
                let behind = (trace - self.last) / sd;
                let behind = behind.clamp(-LEVEL_LIMIT, LEVEL_LIMIT);
                out.push(at + i, behind as f32);
            }
        }
    }

    /// Appends the population code of the last level, numbered from `at`.
    pub fn code(&self, at: u32, out: &mut Spikes) {
        if !self.last.is_nan() {
            self.encoder.encode(self.z(), at, out);
        }
    }

    /// Appends the population code of any standardised value, numbered from `at`.
    pub fn code_of(&self, z: f32, at: u32, out: &mut Spikes) {
        let mut encoder = self.encoder;
        encoder.observe(z);
        encoder.encode(z, at, out);
    }

    /// Appends level, step, traces and population code as they will be once the row's `value` is past,
    /// numbered from `at`; of a missing value (NaN) nothing.
    pub fn present(&self, value: f64, at: u32, out: &mut Spikes) {
        if value.is_nan() {
            return;
        }
        let z = self.standardise(value);
        out.push(at, z);
        out.push(at + 1, self.in_steps(value - self.last));
        let sd = self.level.sd();
        for ((i, trace), rows) in (2..).zip(&self.traces).zip(TRACE_ROWS) {
            if sd > 0.0 && !self.last.is_nan() {
                let behind = libm::exp(-1.0 / rows) * (trace - value) / sd;
                let behind = behind.clamp(-LEVEL_LIMIT, LEVEL_LIMIT);
                out.push(at + i, behind as f32);
            }
        }
        self.code_of(z, at + LINEAR_WIDTH, out);
    }

    /// Takes the row's value, NaN where it is missing. The level learns with weight `weight`, all with a
    /// memory of `memory` rows. Where the value `rests` as expected there is no step to learn from.
    pub fn observe(&mut self, value: f64, rests: bool, weight: f64, memory: f64) {
        self.age = self.age.saturating_add(1);
        if value.is_nan() {
            self.step = f64::NAN;
            return;
        }
        let step = value - self.last;
        let limited = |x: f64, limit: f64| u64::from(x.abs() > limit);
        self.limited += limited(self.level.standardise(value), LEVEL_LIMIT);
        self.level.observe(value, weight, memory);
        if self.last.is_nan() {
            self.traces = [value; TRACE_ROWS.len()];
        } else {
            self.limited += limited(step / self.step_scale.get(), STEP_LIMIT);
            let memory = memory * STEP_MEMORY_SHARE;
            if !rests {
                self.step_scale.observe(step, self.level.sd(), memory);
            }
        }
        for (trace, rows) in self.traces.iter_mut().zip(TRACE_ROWS) {
            *trace += -libm::expm1(-1.0 / rows) * (value - *trace);
        }
        (self.step, self.last) = (step, value);
        self.age = 1;
        if self.encoder.remembers() {
            let z = self.z();
            self.encoder.observe(z);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(values: impl IntoIterator<Item = f64>) -> History {
        let mut history = History::new(Encoder::default());
        values
            .into_iter()
            .for_each(|x| history.observe(x, false, 1.0, 1e4));
        history
    }

    #[test]
    fn a_trace_closes_its_share_of_a_jump_a_row() {
        let level = std::iter::repeat_n(0.0, 10).chain([8.0; 3]);
        let history = run(level);
        for (trace, rows) in history.traces.iter().zip(TRACE_ROWS) {
            let wanted = 8.0 * (1.0 - (-3.0 / rows).exp());
            assert!((trace - wanted).abs() < 1e-12);
        }
    }

    #[test]
    fn inputs_do_not_depend_on_the_unit_of_the_channel() {
        let values = |scale: f64| (0..60).map(move |t| scale * f64::from(t * t % 17) + scale);
        let inputs = |scale: f64| {
            let mut out = Spikes::default();
            run(values(scale)).linear(5, &mut out);
            out
        };
        let (one, other) = (inputs(1.0), inputs(1024.0));
        assert_eq!(one.index, [5, 6, 7, 8, 9, 10]);
        for (a, b) in one.value.iter().zip(&other.value) {
            assert!((a - b).abs() < 1e-4, "{a} {b}");
        }
    }

    #[test]
    fn a_switch_of_a_seldom_switched_load_is_a_target_as_large_as_it_is_and_a_giant_is_not() {
        // A load of 4 that is switched every hundred rows, beside noise of 0.02.
        let values = (0..2_000).map(|t| {
            let noise = 0.02 * f64::from(t * 7 % 5 - 2);
            noise + if t / 100 % 2 == 1 { 4.0 } else { 0.0 }
        });
        let history = run(values);
        let unit = history.unit().expect("it has moved");
        assert!(4.0 / unit > 2.0 * TARGET_LIMIT, "{unit}");
        let switched = history.target(history.last() - 4.0);
        assert!((switched * unit + 4.0).abs() < 1e-9);
        let giant = history.target(1e6) * unit;
        assert!(giant < 2.5 * LEVEL_LIMIT * 4.0, "{giant}");
    }

    #[test]
    fn a_row_without_a_value_leaves_the_level_and_takes_the_step() {
        let mut history = run([1.0, 2.0, 4.0]);
        history.observe(f64::NAN, false, 1.0, 1e4);
        assert_eq!((history.last(), history.age()), (4.0, 2));
        let mut out = Spikes::default();
        history.linear(0, &mut out);
        assert!(!out.index.contains(&1));
        history.observe(5.0, false, 1.0, 1e4);
        assert_eq!(history.age(), 1);
        assert_eq!(history.step, 1.0);
    }

    #[test]
    fn the_present_is_encoded_as_it_will_be_once_it_is_past() {
        let mut history = run((0..50).map(|t| f64::from(t * t % 17)));
        for value in [3.0, 11.0, -40.0] {
            let (mut present, mut past) = (Spikes::default(), Spikes::default());
            history.present(value, 5, &mut present);
            let scales = (history.level.clone(), history.step_scale.clone());
            history.observe(value, false, 1.0, 1e9);
            (history.level, history.step_scale) = scales;
            history.linear(5, &mut past);
            history.code(5 + LINEAR_WIDTH, &mut past);
            assert_eq!(present.index, past.index);
            for (a, b) in present.value.iter().zip(&past.value) {
                assert!((a - b).abs() < 1e-5, "{a} {b}");
            }
        }
    }

    #[test]
    fn before_any_value_it_says_nothing() {
        let history = History::new(Encoder::default());
        let mut out = Spikes::default();
        history.linear(0, &mut out);
        history.code(0, &mut out);
        assert!(out.index.is_empty() && history.unit().is_none());
    }
}
