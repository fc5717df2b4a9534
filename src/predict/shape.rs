//! How noisy a channel is against its usual noise: by hour of the day, by its own level, by the rows
//! since its last value. Three tables of log scales that add up.

use serde::{Deserialize, Serialize};

/// Cells of hours, linear in between.
const HOURS: usize = 24;
/// Cells of the level, linear in between, over [-2.5, 2.5] standard deviations.
const LEVELS: usize = 12;
const LEVEL_RANGE: f64 = 2.5;
/// Cells of the rows since the last value, one an octave.
const AGES: usize = 12;
/// Values that a cell remembers.
const CELL_MEMORY: f32 = 250.0;
/// The prior of a cell, that it is as noisy as any other, counts as so many values.
const PRIOR: f32 = 12.0;
/// No cell is noisier or quieter than e^3 = 20 times.
const LIMIT: f32 = 3.0;
/// A step of the log scale by a score s moves it by s/2 times the rate: the Fisher information of the
/// log scale of Student's t with 4 degrees of freedom is 8/7, so that half of it is a cautious Newton
/// step.
const STEP: f32 = 0.5;

/// Log scales of one table.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
struct Cells {
    ln_scale: Vec<f32>,
    weight: Vec<f32>,
}

impl Cells {
    fn new(n: usize) -> Cells {
        Cells {
            ln_scale: vec![0.0; n],
            weight: vec![PRIOR; n],
        }
    }

    fn at(&self, place: Place) -> f32 {
        (1.0 - place.share) * self.ln_scale[place.cell] + place.share * self.ln_scale[place.next]
    }

    fn observe(&mut self, place: Place, score: f32) {
        for (cell, part) in [(place.cell, 1.0 - place.share), (place.next, place.share)] {
            self.weight[cell] = (self.weight[cell] + part).min(CELL_MEMORY);
            let moved = self.ln_scale[cell] + STEP * part / self.weight[cell] * score;
            self.ln_scale[cell] = moved.clamp(-LIMIT, LIMIT);
        }
    }
}

/// Two neighbouring cells and the share of the second.
#[derive(Clone, Copy, Debug)]
struct Place {
    cell: usize,
    next: usize,
    share: f32,
}

/// Where a row stands in the three tables.
#[derive(Clone, Copy, Debug)]
pub struct Situation {
    /// Hour of the day, 0..24; `None` before a day has been seen.
    pub hour: Option<f64>,
    /// Standardised last level.
    pub z: f64,
    /// Rows since the last value, 1 and more.
    pub age: u32,
}

impl Situation {
    fn hour(self) -> Option<Place> {
        self.hour.map(|hour| {
            let cell = (hour as usize).min(HOURS - 1);
            Place {
                cell,
                next: (cell + 1) % HOURS,
                share: (hour - cell as f64) as f32,
            }
        })
    }

    fn level(self) -> Place {
        let top = (LEVELS - 1) as f64;
        let place = ((self.z + LEVEL_RANGE) / (2.0 * LEVEL_RANGE) * top).clamp(0.0, top);
        let cell = (place as usize).min(LEVELS - 2);
        Place {
            cell,
            next: cell + 1,
            share: (place - cell as f64) as f32,
        }
    }

    fn age(self) -> Place {
        let cell = (self.age.max(1).ilog2() as usize).min(AGES - 1);
        Place {
            cell,
            next: cell,
            share: 0.0,
        }
    }
}

/// The three tables.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NoiseShape {
    hours: Cells,
    levels: Cells,
    ages: Cells,
}

impl Default for NoiseShape {
    fn default() -> NoiseShape {
        NoiseShape {
            hours: Cells::new(HOURS),
            levels: Cells::new(LEVELS),
            ages: Cells::new(AGES),
        }
    }
}

impl NoiseShape {
    /// The scale of errors against the usual one.
    pub fn scale(&self, now: Situation) -> f64 {
        let hour = now.hour().map_or(0.0, |place| self.hours.at(place));
        let ln = hour + self.levels.at(now.level()) + self.ages.at(now.age());
        libm::exp(f64::from(ln))
    }

    /// Learns from the score of the scale (see [`super::student::scale_score`], less its mean of 1).
    pub fn observe(&mut self, now: Situation, score: f64) {
        let score = score as f32;
        if let Some(hour) = now.hour() {
            self.hours.observe(hour, score);
        }
        self.levels.observe(now.level(), score);
        self.ages.observe(now.age(), score);
    }
}

#[cfg(test)]
mod tests {
    use super::super::student;
    use super::*;
    use crate::num::counter;

    #[test]
    fn it_finds_quiet_nights_and_a_noisy_top() {
        let mut shape = NoiseShape::default();
        let situation = |hour: f64, z| Situation {
            hour: Some(hour),
            z,
            age: 1,
        };
        let truth = |hour: f64, z: f64| {
            let night = if hour < 6.0 { 0.2 } else { 1.0 };
            night * if z > 1.0 { 3.0 } else { 1.0 }
        };
        for t in 0..40_000u32 {
            let hour = f64::from(t % 96) / 4.0;
            let z = 4.0 * counter::uniform(counter::row_key(3, t), 0) - 2.0;
            let error = f64::from(counter::bell(counter::row_key(4, t), 0)) * truth(hour, z);
            let u = error / shape.scale(situation(hour, z));
            shape.observe(situation(hour, z), student::scale_score(u) - 1.0);
        }
        let ratio = |a: (f64, f64), b: (f64, f64)| {
            shape.scale(situation(a.0, a.1)) / shape.scale(situation(b.0, b.1))
        };
        let night = ratio((3.0, 0.0), (12.0, 0.0));
        assert!((night / 0.2 - 1.0).abs() < 0.35, "{night}");
        let top = ratio((12.0, 1.6), (12.0, -1.0));
        assert!((top / 3.0 - 1.0).abs() < 0.35, "{top}");
    }

    #[test]
    fn it_starts_even() {
        let now = Situation {
            hour: None,
            z: 1.0,
            age: 5,
        };
        assert_eq!(NoiseShape::default().scale(now), 1.0);
    }
}
