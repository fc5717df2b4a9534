//! The predictive distribution of one value: a point mass at the last value, and elsewhere a mixture of
//! Student's t distributions, uniform cells and point masses, over the grid of the sensor.
//!
//! Mean, variance, interval, probability and log density all come from it. A density is the probability
//! of the grid's cell around a value over its width, so that point masses count.

use super::student;
use crate::num::special;

/// One Student's t distribution of the mixture.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Component {
    /// Weight in the mixture.
    pub weight: f64,
    /// Mean.
    pub mean: f64,
    /// Scale, above 0; the variance is twice its square.
    pub scale: f64,
}

/// Probability spread evenly over an interval.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Cell {
    /// Weight in the mixture.
    pub weight: f64,
    /// Lower end.
    pub low: f64,
    /// Upper end, above the lower one.
    pub high: f64,
}

/// Probability of exactly one value.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Atom {
    /// Weight in the mixture.
    pub weight: f64,
    /// The value.
    pub value: f64,
}

/// A predictive distribution; the weights of all parts but `stay` sum to 1.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution {
    /// Probability that the value is exactly the last one.
    pub stay: f64,
    /// The last value.
    pub last: f64,
    /// Width of the sensor's grid, above 0.
    pub grid: f64,
    /// Student's t distributions, their weights so that they sum to 1 without the cell of the last value;
    /// the last one is broad enough that no finite value is impossible.
    pub components: Vec<Component>,
    /// Uniform cells.
    pub cells: Vec<Cell>,
    /// Point masses beside the last value.
    pub atoms: Vec<Atom>,
    /// Probability of the last value's cell under the parts: it belongs to `stay`.
    hole: f64,
}

impl Default for Distribution {
    fn default() -> Distribution {
        Distribution {
            stay: 0.0,
            last: 0.0,
            grid: 1.0,
            components: Vec::new(),
            cells: Vec::new(),
            atoms: Vec::new(),
            hole: 0.0,
        }
    }
}

/// A side of a value.
#[derive(Clone, Copy, Debug)]
enum Side {
    Below,
    Above,
}

/// A part is raised by this factor at most when the last value's cell is taken out of it.
const MOST_RAISED: f64 = 20.0;
/// Density stands for the mean density of a cell narrower than this many scales.
const NARROW: f64 = 0.1;
/// Steps of the search for an interval.
const MAX_STEPS: usize = 40;
/// First factor by which an interval is narrowed and widened in the search.
const NEAR: f64 = 1.25;
/// Probability to which an interval is found.
const TOLERANCE: f64 = 1e-3;

impl Distribution {
    /// Starts anew for a value whose predecessor is `last`, on a grid of width `grid`.
    pub fn clear(&mut self, last: f64, grid: f64) {
        self.components.clear();
        self.cells.clear();
        self.atoms.clear();
        (self.stay, self.last, self.grid, self.hole) = (0.0, last, grid, 0.0);
    }

    /// Sets the probability of no change, once all parts are in. Each part then says what a change leads
    /// to: the cell of the last value is taken out of it, and the rest weighs as much as the whole did.
    pub fn set_stay(&mut self, stay: f64) {
        self.stay = stay;
        let (last, half) = (self.last, 0.5 * self.grid);
        let table: f64 = self.table_weight();
        self.atoms.retain(|a| (a.value - last).abs() >= half);
        let cells: f64 = self.cells.iter().map(|c| c.weight).sum();
        let left = cells + self.atoms.iter().map(|a| a.weight).sum::<f64>();
        let hole = self.table_mass(last);
        let keep = if left > hole {
            table / (left - hole)
        } else {
            0.0
        };
        let keep = keep.min(MOST_RAISED);
        self.cells.iter_mut().for_each(|c| c.weight *= keep);
        self.atoms.iter_mut().for_each(|a| a.weight *= keep);
        self.hole = hole * keep;
        let lost = table - (left - hole) * keep;
        for i in 0..self.components.len() {
            let c = self.components[i];
            let whole = self.component_mass(&Component { weight: 1.0, ..c }, last);
            let raise = 1.0 / (1.0 - whole).max(1.0 / MOST_RAISED);
            // The last one takes what the table cannot give.
            let more = if i + 1 == self.components.len() {
                lost
            } else {
                0.0
            };
            self.components[i].weight = (c.weight + more) * raise;
            self.hole += self.components[i].weight * whole;
        }
    }

    fn table_weight(&self) -> f64 {
        let cells = self.cells.iter().map(|c| c.weight).sum::<f64>();
        cells + self.atoms.iter().map(|a| a.weight).sum::<f64>()
    }

    /// Probability of the cell around `value` under the parts alone, the hole not taken out.
    fn parts_mass(&self, value: f64) -> f64 {
        let students = self
            .components
            .iter()
            .map(|c| self.component_mass(c, value));
        students.sum::<f64>() + self.table_mass(value)
    }

    /// Probability of the cell around `value` under one component, with its weight.
    pub fn component_mass(&self, c: &Component, value: f64) -> f64 {
        let half = 0.5 * self.grid;
        let (a, b) = (
            (value - half - c.mean) / c.scale,
            (value + half - c.mean) / c.scale,
        );
        c.weight
            * if b - a < NARROW {
                (b - a) * student::density(0.5 * (a + b))
            } else if a > 0.0 {
                student::cdf(-a) - student::cdf(-b)
            } else {
                student::cdf(b) - student::cdf(a)
            }
    }

    /// Probability of the cell around `value` under uniform cells and point masses, with their weights.
    pub fn table_mass(&self, value: f64) -> f64 {
        let half = 0.5 * self.grid;
        let (low, high) = (value - half, value + half);
        let cells = self.cells.iter().map(|c| {
            let inside = (high.min(c.high) - low.max(c.low)).max(0.0);
            c.weight * inside / (c.high - c.low)
        });
        let atoms = self.atoms.iter().map(|a| {
            let inside = (a.value - value).abs() < half;
            if inside { a.weight } else { 0.0 }
        });
        cells.sum::<f64>() + atoms.sum::<f64>()
    }

    /// `value` lies in the cell of the last value.
    pub fn is_same(&self, value: f64) -> bool {
        (value - self.last).abs() < 0.5 * self.grid
    }

    /// Log density of a finite value, finite always.
    pub fn ln_density(&self, value: f64) -> f64 {
        let ln_grid = libm::log(self.grid);
        if self.is_same(value) {
            let mass = self.stay.max(f64::MIN_POSITIVE);
            return libm::log(mass) - ln_grid;
        }
        let change = 1.0 - self.stay;
        let mass = change * self.parts_mass(value);
        // Of the broadest alone, in logarithms: however far out, it is above 0.
        let broad = self.components.last().map_or(f64::MIN, |c| {
            let ln = student::ln_density((value - c.mean) / c.scale) - libm::log(c.scale);
            ln + libm::log(c.weight * change.max(f64::MIN_POSITIVE))
        });
        if mass > 0.0 {
            (libm::log(mass) - ln_grid).max(broad)
        } else {
            broad
        }
    }

    /// Probability strictly on one side of `value`, without cancellation in that side's tail, and
    /// that of its very cell where it is a point mass.
    fn beyond(&self, value: f64, side: Side) -> (f64, f64) {
        let half = 0.5 * self.grid;
        let change = 1.0 - self.stay;
        if self.is_same(value) {
            let edge = match side {
                Side::Below => self.last - half,
                Side::Above => self.last + half,
            };
            return (change * self.parts_beyond(edge, side), self.stay);
        }
        let passed = match side {
            Side::Below => value > self.last,
            Side::Above => value < self.last,
        };
        let parts = self.parts_beyond(value, side);
        let outside = if passed {
            change * (parts - self.hole).max(0.0) + self.stay
        } else {
            change * parts
        };
        let atoms = self.atoms.iter().filter(|a| a.value == value);
        (outside, change * atoms.map(|a| a.weight).sum::<f64>())
    }

    /// Probability of the parts strictly on one side of `x`.
    fn parts_beyond(&self, x: f64, side: Side) -> f64 {
        let sign = match side {
            Side::Below => 1.0,
            Side::Above => -1.0,
        };
        let components = self.components.iter();
        let students = components.map(|c| c.weight * student::cdf(sign * (x - c.mean) / c.scale));
        let cells = self.cells.iter().map(|c| {
            let below = ((x - c.low) / (c.high - c.low)).clamp(0.0, 1.0);
            c.weight * if sign > 0.0 { below } else { 1.0 - below }
        });
        let atoms = self.atoms.iter().map(|a| {
            if sign * (x - a.value) > 0.0 {
                a.weight
            } else {
                0.0
            }
        });
        students.sum::<f64>() + cells.sum::<f64>() + atoms.sum::<f64>()
    }

    /// Mean and standard deviation of the components but the broadest; `None` where there is no other.
    pub fn component_moments(&self) -> Option<(f64, f64)> {
        let (_, experts) = self.components.split_last()?;
        let sum = |f: &dyn Fn(&Component) -> f64| experts.iter().map(f).sum::<f64>();
        let weight = sum(&|c| c.weight);
        let mean = sum(&|c| c.weight * (c.mean - self.last)) / weight;
        let square = sum(&|c| {
            let offset = c.mean - self.last - mean;
            c.weight * (student::VARIANCE * c.scale * c.scale + offset * offset)
        });
        (weight > 0.0).then(|| (self.last + mean, (square / weight).sqrt()))
    }

    /// The standard normal deviate of the probability below `value` and half that
    /// of its very cell (the mid-p of Lancaster): 0 in the middle, of the sign of the surprise, and
    /// of variance 1 for continuous values where the distribution is right.
    pub fn deviate(&self, value: f64) -> f64 {
        let tail = |side| {
            let (beyond, at) = self.beyond(value, side);
            beyond + 0.5 * at
        };
        deviate_of(tail(Side::Below), tail(Side::Above))
    }

    /// Mean.
    pub fn mean(&self) -> f64 {
        let (first, _) = self.parts_moments();
        self.last + (1.0 - self.stay) * first
    }

    /// Variance.
    pub fn variance(&self) -> f64 {
        let (first, square) = self.parts_moments();
        // About the last value the hole has no first moment, and of the second that of its width.
        let hole = self.hole * self.grid * self.grid / 12.0;
        let change = 1.0 - self.stay;
        (change * (square - hole) - (change * first).powi(2)).max(0.0)
    }

    /// First and second moment of the parts about the last value.
    fn parts_moments(&self) -> (f64, f64) {
        let (mut first, mut square) = (0.0, 0.0);
        let mut add = |weight: f64, centre: f64, variance: f64| {
            first += weight * (centre - self.last);
            square += weight * ((centre - self.last).powi(2) + variance);
        };
        for c in &self.components {
            add(c.weight, c.mean, student::VARIANCE * c.scale * c.scale);
        }
        for c in &self.cells {
            add(
                c.weight,
                0.5 * (c.low + c.high),
                (c.high - c.low).powi(2) / 12.0,
            );
        }
        for a in &self.atoms {
            add(a.weight, a.value, 0.0);
        }
        (first, square)
    }

    /// Probability within `half` of `centre`, both ends included. The point mass of the last value is
    /// at that value, not in all of its cell.
    fn within(&self, centre: f64, half: f64) -> f64 {
        let (low, high) = (centre - half, centre + half);
        let at_high = self.atoms.iter().filter(|a| a.value == high);
        let parts = self.parts_beyond(high, Side::Below) - self.parts_beyond(low, Side::Below)
            + at_high.map(|a| a.weight).sum::<f64>();
        let cell = (self.last - 0.5 * self.grid, self.last + 0.5 * self.grid);
        let overlap = (high.min(cell.1) - low.max(cell.0)).max(0.0);
        let change = (1.0 - self.stay) * (parts - self.hole * overlap / self.grid).max(0.0);
        let stays = (low..=high).contains(&self.last);
        let stay = if stays { self.stay } else { 0.0 };
        (change + stay).clamp(0.0, 1.0)
    }

    /// Half the width of the interval around `centre` that misses the share `miss` of the probability;
    /// 0 where a point mass at the centre is enough. `guess`: a half-width to start from.
    pub fn half_width(&self, centre: f64, miss: f64, guess: f64) -> f64 {
        let wanted = 1.0 - miss;
        let atoms = self.atoms.iter().map(|a| a.weight).sum::<f64>();
        let may_suffice = self.stay + (1.0 - self.stay) * atoms >= wanted;
        if may_suffice && self.within(centre, 0.0) >= wanted {
            return 0.0;
        }
        let smallest = 1e-12 * (self.grid + centre.abs()).max(f64::MIN_POSITIVE);
        let mut high = guess.max(smallest);
        let (mut low, mut low_p) = (0.0, 0.0);
        let mut high_p = self.within(centre, high);
        if high_p >= wanted {
            // The guess is mostly near: an interval that is a little smaller mostly bounds it from below.
            let smaller = high / NEAR;
            let p = self.within(centre, smaller);
            if p < wanted {
                (low, low_p) = (smaller, p);
            } else {
                (high, high_p) = (smaller, p);
            }
        }
        let mut raise = NEAR;
        while high_p < wanted && high < f64::MAX / 16.0 {
            (low, low_p) = (high, high_p);
            high *= raise;
            raise = (2.0 * raise).min(8.0);
            high_p = self.within(centre, high);
        }
        for step in 0..MAX_STEPS {
            if high_p - wanted < TOLERANCE || high - low < 1e-9 * high {
                break;
            }
            // By secant and halving in turn: point masses make steps.
            let share = if step % 2 == 0 && high_p > low_p {
                ((wanted - low_p) / (high_p - low_p)).clamp(0.02, 0.98)
            } else {
                0.5
            };
            let middle = low + share * (high - low);
            let p = self.within(centre, middle);
            if p < wanted {
                (low, low_p) = (middle, p);
            } else {
                (high, high_p) = (middle, p);
            }
        }
        high
    }
}

/// The standard normal deviate with these probabilities below and above it.
fn deviate_of(below: f64, above: f64) -> f64 {
    let ln = |p: f64| libm::log(p.max(f64::MIN_POSITIVE));
    if below < above {
        special::deviate_of_ln(ln(below))
    } else {
        -special::deviate_of_ln(ln(above))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example(stay: f64, grid: f64) -> Distribution {
        let mut d = Distribution::default();
        d.clear(1.0, grid);
        let student = |weight, mean, scale| Component {
            weight,
            mean,
            scale,
        };
        d.components
            .extend([student(0.5, 1.2, 0.3), student(0.2, 0.0, 2.0)]);
        d.cells.push(Cell {
            weight: 0.2,
            low: 2.0,
            high: 3.0,
        });
        d.atoms.push(Atom {
            weight: 0.1,
            value: 4.0,
        });
        d.set_stay(stay);
        d
    }

    /// Sum over the grid of the probability of each cell times `f` of its value.
    fn over_the_grid(d: &Distribution, f: impl Fn(f64) -> f64) -> f64 {
        let cells = (400.0 / d.grid) as i64;
        let value = |i: i64| d.last + i as f64 * d.grid;
        let mass = |x: f64| d.ln_density(x).exp() * d.grid;
        (-cells..=cells).map(|i| mass(value(i)) * f(value(i))).sum()
    }

    #[test]
    fn the_cells_of_the_grid_sum_to_one_and_give_the_moments() {
        for (stay, grid) in [(0.3, 0.25), (0.001, 0.02), (0.9, 0.5)] {
            let d = example(stay, grid);
            assert!(
                (over_the_grid(&d, |_| 1.0) - 1.0).abs() < 2e-3,
                "{stay} {grid}"
            );
            let mean = over_the_grid(&d, |x| x);
            assert!((mean - d.mean()).abs() < 0.01, "{mean} {}", d.mean());
            let square = over_the_grid(&d, |x| (x - mean).powi(2));
            let variance = d.variance() + (1.0 - stay) * grid * grid / 12.0;
            assert!(
                (square / variance - 1.0).abs() < 0.02,
                "{square} {variance}"
            );
        }
    }

    #[test]
    fn the_interval_holds_what_it_promises() {
        for stay in [0.0, 0.05, 0.5] {
            let d = example(stay, 0.01);
            for miss in [0.02, 0.1, 0.3] {
                let centre = d.mean();
                for guess in [1e-3, 1.0, 100.0] {
                    let half = d.half_width(centre, miss, guess);
                    let inside =
                        over_the_grid(&d, |x| f64::from((x - centre).abs() <= half + 0.005));
                    // The point masses make steps; nothing less than what was asked for.
                    assert!(inside > 1.0 - miss - 0.01, "{stay} {miss} {inside}");
                }
            }
        }
        assert_eq!(example(0.95, 0.01).half_width(1.0, 0.1, 1.0), 0.0);
    }

    #[test]
    fn an_interval_around_a_mean_between_two_values_reaches_the_one_that_stays() {
        // A counter that is 0 and seldom 20: the grid is as wide as the values are apart.
        let mut d = Distribution::default();
        d.clear(0.0, 20.0);
        d.atoms.push(Atom {
            weight: 0.9,
            value: 20.0,
        });
        d.components.push(Component {
            weight: 0.1,
            mean: 0.0,
            scale: 100.0,
        });
        d.set_stay(0.95);
        let mean = d.mean();
        assert!(mean > 0.5, "{mean}");
        let half = d.half_width(mean, 0.1, 1.0);
        assert!((mean..1.1 * mean).contains(&half), "{half} {mean}");
    }

    #[test]
    fn the_deviate_of_a_random_value_is_standard_normal() {
        let d = example(0.02, 0.02);
        let mean = over_the_grid(&d, |x| d.deviate(x));
        let square = over_the_grid(&d, |x| d.deviate(x).powi(2));
        // Point masses take some of the variance.
        assert!(mean.abs() < 0.05, "{mean}");
        assert!((0.9..1.02).contains(&square), "{square}");
    }

    #[test]
    fn the_deviate_is_that_of_the_tail_on_either_side() {
        let d = example(0.2, 1e-6);
        for value in [-30.0, 0.3, 1.1, 7.0] {
            let (below, at) = d.beyond(value, Side::Below);
            let p = special::cdf(d.deviate(value));
            assert!((p - below - 0.5 * at).abs() < 1e-9, "{value} {p}");
        }
        assert!(d.deviate(1e8) > d.deviate(1e6) && d.deviate(1e8).is_finite());
    }

    #[test]
    fn no_finite_value_is_impossible() {
        let d = example(0.999, 1e-9);
        for value in [1e300, -1e300, 1e18, 5.0, 1.0, f64::MAX] {
            assert!(d.ln_density(value).is_finite(), "{value}");
            assert!(d.deviate(value).is_finite());
        }
    }

    #[test]
    fn a_symmetric_mixture_is_symmetric() {
        let mut d = Distribution::default();
        d.clear(0.0, 0.1);
        d.components.push(Component {
            weight: 1.0,
            mean: 0.0,
            scale: 1.0,
        });
        d.set_stay(0.4);
        for x in [0.0, 0.3, 2.0, 40.0] {
            assert!((d.ln_density(x) - d.ln_density(-x)).abs() < 1e-9);
            assert!((d.deviate(x) + d.deviate(-x)).abs() < 1e-9);
        }
        assert!(d.mean().abs() < 1e-12);
    }
}
