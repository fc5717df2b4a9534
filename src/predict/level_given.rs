//! Predicts each channel's level from the others' levels alone, without its own past, by what was learned
//! rows ago: a sensor that drifts, sticks or is off by a constant stays odd for as long as it is.
//!
//! A predictor that sees the last value follows a fault within a row, and one that learns each row at
//! once follows within a few. Here rows wait before they teach, and those of incidents never do. The
//! weights walk so slowly that a fault as long as the wait is no precedent of itself.

use std::collections::VecDeque;

use serde::{Deserialize, Serialize};

use super::filter::{Forgetting, RecursiveFilter};
use super::noise::Noise;
use super::past::Past;
use crate::encode::Spikes;
use crate::num::scrap::Scrap;

/// Rows that wait, as a share of the rows lived: a young stream cannot wait for what it does not know.
const YOUNG: u64 = 4;
/// Correlation time of the weights, rows.
const WALK_ROWS: f64 = 1e6;
/// Time constants of the partners' traces, rows: what is slow follows what is fast.
const TRACE_ROWS: [f32; 3] = [10.0, 30.0, 100.0];
/// Inputs of a partner: its level, and how far each trace is behind it.
const PARTNER_WIDTH: u32 = 1 + TRACE_ROWS.len() as u32;
/// Inputs before those of partners: the bias and two harmonics of the day.
const SHARED_WIDTH: u32 = 1 + 4;
/// Noise variance before anything is known, and its floor, in squared standard deviations of the level.
const NOISE: f64 = 0.5;
const NOISE_FLOOR: f64 = 1e-6;
/// Memory of what the ignorance is worth, rows.
const WORTH_ROWS: f64 = 1e4;
/// Errors are limited to this many standard deviations before a filter learns them.
const ERROR_LIMIT: f64 = 5.0;

/// Deviation of a level from what the others' levels let expect.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LevelResidual {
    /// In predictive standard deviations.
    pub z: f64,
    /// The predictive standard deviation, in standard deviations of the level.
    pub sd: f64,
}

/// One channel's predictor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct LevelPredictor {
    channel: usize,
    partners: Vec<usize>,
    filter: RecursiveFilter,
    noise: Noise,
    /// The level that the last row let expect, in standard deviations.
    expected: f32,
    worth: Worth,
}

/// Factor of the ignorance that makes it the squared error that it goes with: where a relation is not
/// linear, a regression errs by more than it knows once its inputs leave what it has learned.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Worth {
    /// Ignorance and squared error beyond the noise of the row that was compared last.
    last: Option<(f64, f64)>,
    /// Fading sums of the product of both, and of the squared ignorance: a regression through 0.
    product: f64,
    square: f64,
    /// Errors that counted as less than they were.
    limited: u64,
}

impl Worth {
    fn factor(&self) -> f64 {
        if self.square > 0.0 {
            (self.product / self.square).max(1.0)
        } else {
            1.0
        }
    }

    /// Learns the row that was compared last.
    fn learn(&mut self) {
        if let Some((ignorance, error)) = self.last.take() {
            let keep = 1.0 - 1.0 / WORTH_ROWS;
            self.product = keep * self.product + ignorance * error;
            self.square = keep * self.square + ignorance * ignorance;
        }
    }
}

/// Last known levels of all channels and their leaky traces, in standard deviations.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
struct Levels {
    z: Vec<f32>,
    traces: Vec<[f32; TRACE_ROWS.len()]>,
}

impl Levels {
    /// Takes the levels of a row; a missing one (NaN) stays as it was.
    fn take(&mut self, row: impl Iterator<Item = f32>) {
        for (c, z) in row.enumerate() {
            if c == self.z.len() {
                let first = if z.is_nan() { 0.0 } else { z };
                self.z.push(first);
                self.traces.push([first; TRACE_ROWS.len()]);
            }
            if !z.is_nan() {
                self.z[c] = z;
            }
            for (trace, rows) in self.traces[c].iter_mut().zip(TRACE_ROWS) {
                *trace += (self.z[c] - *trace) / rows;
            }
        }
    }

    fn fill(&self, partners: &[usize], hour: f32, out: &mut Spikes) {
        out.clear();
        out.push(0, 1.0);
        if !hour.is_nan() {
            let angle = std::f64::consts::TAU * f64::from(hour) / 24.0;
            for (i, harmonic) in [(1, angle), (3, 2.0 * angle)] {
                out.push(i, libm::sin(harmonic) as f32);
                out.push(i + 1, libm::cos(harmonic) as f32);
            }
        }
        let mut at = SHARED_WIDTH;
        for &p in partners {
            out.push(at, self.z[p]);
            for (i, trace) in (1..).zip(self.traces[p]) {
                out.push(at + i, trace - self.z[p]);
            }
            at += PARTNER_WIDTH;
        }
    }
}

/// The predictors of a stream's levels given one another.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LevelGiven {
    /// Most rows that wait.
    delay_rows: u64,
    predictors: Vec<LevelPredictor>,
    present: Levels,
    /// The same as of the row that was learned last.
    learned: Levels,
    /// Levels of the rows that wait, one after the other, NaN where missing.
    waiting: VecDeque<f32>,
    /// Of each of them: hour of the day (NaN before a day has been seen), and whether it may teach.
    marks: VecDeque<(f32, bool)>,
    rows: u64,
    #[serde(skip)]
    row: Scrap<Vec<f32>>,
    #[serde(skip)]
    input: Scrap<Spikes>,
}

impl LevelGiven {
    /// No predictor yet; rows wait for `delay_rows` rows before they teach.
    pub fn new(delay_rows: u64) -> LevelGiven {
        LevelGiven {
            delay_rows,
            predictors: Vec::new(),
            present: Levels::default(),
            learned: Levels::default(),
            waiting: VecDeque::new(),
            marks: VecDeque::new(),
            rows: 0,
            row: Scrap::default(),
            input: Scrap::default(),
        }
    }

    /// Predicts `channel` from `partners` from now on.
    pub fn set_partners(&mut self, channel: usize, partners: &[usize]) {
        let known = self.predictors.iter().position(|p| p.channel == channel);
        if known.is_some_and(|i| self.predictors[i].partners == partners) || partners.is_empty() {
            return;
        }
        let active = 3 + partners.len();
        let width = (SHARED_WIDTH + PARTNER_WIDTH * partners.len() as u32) as usize;
        let walk = Forgetting::RandomWalk(WALK_ROWS);
        let predictor = LevelPredictor {
            channel,
            partners: partners.to_vec(),
            filter: RecursiveFilter::new(width, 1, 1.0 / active as f64, walk),
            noise: Noise::new(NOISE, NOISE_FLOOR),
            expected: 0.0,
            worth: Worth::default(),
        };
        match known {
            Some(i) => self.predictors[i] = predictor,
            None => self.predictors.push(predictor),
        }
    }

    /// Compares the levels of a row with what the others let expect: one residual a
    /// channel goes to `out`. The level that was expected stands in for that of a partner
    /// which is `flagged`: one fault must not make all others look wrong.
    pub fn compare<P: AsRef<Past>>(
        &mut self,
        hour: Option<f64>,
        values: &[f64],
        pasts: &[P],
        flagged: impl Fn(usize) -> bool,
        out: &mut Vec<Option<LevelResidual>>,
    ) {
        let row = &mut self.row.0;
        row.clear();
        row.extend(pasts.iter().zip(values).map(|(past, &value)| {
            let history = past.as_ref().history().filter(|_| !value.is_nan());
            history.map_or(f32::NAN, |history| history.standardise(value))
        }));
        let hour = hour.map_or(f32::NAN, |hour| hour as f32);
        if self.present.z.len() < row.len() {
            // Channels were added: the rows that wait are shorter, and there are few of them.
            self.waiting.clear();
            self.marks.clear();
        }
        self.waiting.extend(row.iter());
        self.marks.push_back((hour, true));
        for predictor in &self.predictors {
            if flagged(predictor.channel) {
                row[predictor.channel] = predictor.expected;
            }
        }
        self.present.take(row.iter().copied());
        out.clear();
        out.resize(values.len(), None);
        let now = self.waiting.len() - values.len();
        for predictor in &mut self.predictors {
            let c = predictor.channel;
            let input = &mut self.input.0;
            self.present.fill(&predictor.partners, hour, input);
            let mut mean = [0.0];
            let raw = predictor.filter.predict(input, &mut mean);
            predictor.expected = mean[0] as f32;
            let z = self.waiting[now + c];
            if !z.is_nan() {
                let noise = predictor.noise.variance();
                let ignorance = predictor.worth.factor() * raw;
                let sd = (ignorance + noise).sqrt();
                let off = f64::from(z) - mean[0];
                let limited = off.abs().min(ERROR_LIMIT * sd);
                predictor.worth.limited += u64::from(limited < off.abs());
                predictor.worth.last = Some((raw, limited * limited - noise));
                out[c] = Some(LevelResidual { z: off / sd, sd });
            }
        }
    }

    /// Sets the rows that a row waits before it teaches.
    pub fn set_delay(&mut self, rows: u64) {
        self.delay_rows = rows;
    }

    /// The row that was compared last has been judged: one in an incident never teaches. Learns the row
    /// that has waited long enough.
    pub fn learn(&mut self, in_incident: bool) {
        if let Some(mark) = self.marks.back_mut() {
            mark.1 &= !in_incident;
        }
        self.rows += 1;
        if !in_incident {
            self.predictors.iter_mut().for_each(|p| p.worth.learn());
        }
        while self.marks.len() as u64 > self.delay_rows.min(self.rows / YOUNG) {
            self.learn_one();
        }
    }

    fn learn_one(&mut self) {
        let Some((hour, teaches)) = self.marks.pop_front() else {
            return;
        };
        let n = self.waiting.len() / (self.marks.len() + 1);
        let row = &mut self.row.0;
        row.clear();
        row.extend(self.waiting.drain(..n));
        self.learned.take(row.iter().copied());
        if !teaches {
            return;
        }
        for predictor in &mut self.predictors {
            let z = row[predictor.channel];
            if z.is_nan() {
                continue;
            }
            let input = &mut self.input.0;
            self.learned.fill(&predictor.partners, hour, input);
            let mut mean = [0.0];
            let ignorance = predictor.filter.predict(input, &mut mean);
            let error = f64::from(z) - mean[0];
            let noise = predictor.noise.variance();
            let limit = ERROR_LIMIT * (ignorance + noise).sqrt();
            let limited = error.clamp(-limit, limit);
            predictor.filter.learn(&[limited], noise);
            predictor.noise.observe(error, ignorance);
        }
    }

    /// The present is the new normal: what waits teaches at once, and what was known before counts for
    /// little.
    pub fn accept(&mut self, forgets: f64) {
        for predictor in &mut self.predictors {
            predictor.filter.forget(forgets);
        }
        self.marks.iter_mut().for_each(|mark| mark.1 = true);
        while !self.marks.is_empty() {
            self.learn_one();
        }
        self.rows = 0;
    }

    /// Squared residuals that counted as less than they were, and resets of covariances.
    pub fn limited(&self) -> u64 {
        let predictors = self.predictors.iter();
        let limits = |p: &LevelPredictor| p.noise.capped + p.filter.resets + p.worth.limited;
        predictors.map(limits).sum()
    }

    /// Bytes of all filters and of the rows that wait.
    pub fn bytes(&self) -> usize {
        let filters = self.predictors.iter().map(|p| p.filter.bytes());
        filters.sum::<usize>() + self.waiting.capacity() * size_of::<f32>()
    }
}

#[cfg(test)]
mod tests {
    use super::super::history::History;
    use super::*;
    use crate::encode::Encoder;
    use crate::num::counter;

    /// Residuals of the second of two coupled channels in the last of `rows` rows, the second off by
    /// `bias` from row `from` on.
    fn last(rows: u32, from: u32, bias: f64) -> f64 {
        let mut level = LevelGiven::new(500);
        level.set_partners(1, &[0]);
        let past = || Past::Number(Box::new(History::new(Encoder::default())));
        let mut pasts = [past(), past()];
        let (mut out, mut common) = (Vec::new(), 0.0);
        for t in 0..rows {
            let noise = |i| f64::from(counter::bell(counter::row_key(5, t), i));
            common = 0.95 * common + 0.3 * noise(0);
            let off = if t < from { 0.0 } else { bias };
            let row = [common, common + 0.1 * noise(1) + off];
            level.compare(None, &row, &pasts, |_| false, &mut out);
            level.learn(false);
            for (past, value) in pasts.iter_mut().zip(row) {
                if let Past::Number(history) = past {
                    history.observe(value, false, 1.0, 1e4);
                }
            }
        }
        out[1].map_or(f64::NAN, |residual| residual.z)
    }

    #[test]
    fn a_bias_stays_odd_for_as_long_as_rows_wait() {
        assert!(last(3_000, 2_600, 0.0).abs() < 3.0);
        assert!(last(2_605, 2_600, 1.0) > 4.0);
        assert!(
            last(3_000, 2_600, 1.0) > 4.0,
            "a fault is no precedent of itself"
        );
    }

    #[test]
    fn channels_that_are_added_while_rows_wait_are_learned_from_then_on() {
        let past = || Past::Number(Box::new(History::new(Encoder::default())));
        let mut level = LevelGiven::new(500);
        let mut out = Vec::new();
        level.set_partners(1, &[0]);
        for n in [2, 7] {
            let pasts: Vec<Past> = (0..n).map(|_| past()).collect();
            level.set_partners(n - 1, &[0]);
            for _ in 0..300 {
                level.compare(None, &vec![1.0; n], &pasts, |_| false, &mut out);
                level.learn(false);
            }
            assert!(out.len() == n && out[n - 1].is_some());
        }
    }

    #[test]
    fn what_is_accepted_teaches_at_once() {
        let mut level = LevelGiven::new(500);
        level.set_partners(1, &[0]);
        let pasts: [Past; 2] =
            std::array::from_fn(|_| Past::Number(Box::new(History::new(Encoder::default()))));
        let mut out = Vec::new();
        for _ in 0..100 {
            level.compare(None, &[1.0, 2.0], &pasts, |_| false, &mut out);
            level.learn(true);
        }
        level.accept(0.9);
        assert!(level.marks.is_empty() && level.waiting.is_empty());
    }
}
