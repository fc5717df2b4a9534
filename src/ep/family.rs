//! Weight families: how a belief about eight weights moves under a gradient and a precision.
//!
//! | family | weights | belief |
//! |---|---|---|
//! | Gaussian | any real number | mean m, variance s |
//! | binary | +-c | mean m = c tanh(h), variance c^2 - m^2 |
//! | levels | K equal steps on [-c, c] (ternary: 3) | site h, P; moments of exp(h w - P w^2/2) over the levels w/c |

#![expect(
    clippy::needless_range_loop,
    clippy::manual_clamp,
    reason = "the lanes of several arrays advance together, and clamp keeps loops from becoming vector code"
)]

use serde::{Deserialize, Serialize};

use crate::num::{counter, fast};

/// Values handled together.
pub(super) const LANES: usize = 8;

/// Sees a run of means and variances and the precision of their prior.
pub(super) type Visitor<'a> = dyn FnMut(&mut [f32], &mut [f32], f32) + 'a;

/// Largest share of a Gaussian weight's variance that one update may take away.
pub(super) const MAX_SHARE: f32 = 0.9;

/// Largest log-odds step of a binary weight's site in one update.
const MAX_BINARY_STEP: f32 = 1.0;

/// Largest |x| = |tanh h| of a binary weight: |h| <= 5, so that it can still turn round.
const MAX_BINARY_MEAN: f32 = 0.999_909_2;

/// Smallest variance of a weight on a grid, in units of c^2: it can still turn round.
const MIN_LEVEL_VARIANCE: f32 = 1e-6;

/// Which values the weights of a layer may take.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Family {
    /// Real numbers.
    Gaussian,
    /// Two values, +-c.
    Binary,
    /// K values, 3 and more, in equal steps on [-c, c]; 3 are ternary weights.
    Levels(u16),
}

impl Family {
    /// Needs the sites h and P apart from the moments.
    pub(super) fn has_sites(self) -> bool {
        matches!(self, Family::Levels(_))
    }
}

/// Eight values.
pub(super) type Chunk = [f32; LANES];

/// The belief about eight weights on a grid: moments and sites.
pub(super) struct LaneCell<'a> {
    pub m: &'a mut Chunk,
    pub s: &'a mut Chunk,
    pub h: &'a mut Chunk,
    pub p: &'a mut Chunk,
}

impl LaneCell<'_> {
    fn of(chunks: &mut [Chunk; 4]) -> LaneCell<'_> {
        let [m, s, h, p] = chunks;
        LaneCell { m, s, h, p }
    }
}

/// How one weight of a family that needs no sites moves and forgets.
///
/// By value and without branches, so that a loop over a row becomes vector code.
pub(super) trait LaneRule: Copy {
    /// Moves mean `m` and variance `s` by gradient `g` and precision `lambda`; the third result is
    /// 1 where the step was limited.
    fn step(self, m: f32, s: f32, g: f32, lambda: f32) -> (f32, f32, u32);

    /// Keeps `keep` of the site's natural parameters. `draw` is the prior's random draw.
    fn decay(self, m: f32, s: f32, draw: f32, keep: f32) -> (f32, f32);
}

/// Gaussian weights.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Gaussian {
    eta: f32,
    prior_sd: f32,
    prior_precision: f32,
}

impl Gaussian {
    /// The likelihood power.
    pub(super) fn power(self) -> f32 {
        self.eta
    }
}

impl LaneRule for Gaussian {
    /// m <- m + s g, s <- s - s^2 lambda: moments matched. See [`powered`] for a likelihood power
    /// other than 1.
    #[inline(always)]
    fn step(self, m: f32, s: f32, g: f32, lambda: f32) -> (f32, f32, u32) {
        let wanted = lambda * s;
        let x = wanted.max(0.0).min(MAX_SHARE);
        let (gain, left) = powered(self.eta, x);
        ((s * gain).mul_add(g, m), s * left, u32::from(x != wanted))
    }

    /// 1/s <- 1/s0 + keep (1/s - 1/s0), m/s likewise.
    #[inline(always)]
    fn decay(self, m: f32, s: f32, draw: f32, keep: f32) -> (f32, f32) {
        let pull = (1.0 - keep) * s * self.prior_precision;
        let inv = 1.0 / (keep + pull);
        (
            keep.mul_add(m, pull * (self.prior_sd * draw)) * inv,
            s * inv,
        )
    }
}

/// The site of a moment-matched Gaussian step, raised to the power `eta`: a step that takes the
/// share x = lambda s of the variance has a site of precision x/(s (1 - x)); eta times that site
/// moves the mean by eta s g/(1 + (eta - 1) x) and leaves (1 - x)/(1 + (eta - 1) x) of the variance.
/// Returns the mean's step over s g, and what is left of the variance.
#[inline(always)]
pub(super) fn powered(eta: f32, x: f32) -> (f32, f32) {
    let inv = 1.0 / (eta - 1.0).mul_add(x, 1.0);
    (eta * inv, (1.0 - x) * inv)
}

/// Binary weights.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Binary {
    eta: f32,
    scale: f32,
    inv_scale: f32,
    /// sd of the prior's site h.
    prior_sd: f32,
}

impl Binary {
    #[inline(always)]
    fn moments(self, x: f32) -> (f32, f32) {
        let variance = (-x).mul_add(x, 1.0);
        (self.scale * x, self.scale * self.scale * variance)
    }
}

impl LaneRule for Binary {
    /// h <- h + d, without leaving the mean: tanh(h + d) = (x + tau)/(1 + x tau) with
    /// tau = tanh d = d (15 + d^2)/(15 + 6 d^2), within 0.05% for |d| <= 1.
    #[inline(always)]
    fn step(self, m: f32, _: f32, g: f32, lambda: f32) -> (f32, f32, u32) {
        let wanted = self.eta * self.scale * lambda.mul_add(m, g);
        let d = wanted.max(-MAX_BINARY_STEP).min(MAX_BINARY_STEP);
        let d2 = d * d;
        let tau = d * (15.0 + d2) / 6.0f32.mul_add(d2, 15.0);
        let x = m * self.inv_scale;
        let x = (x + tau) / x.mul_add(tau, 1.0);
        let x = x.max(-MAX_BINARY_MEAN).min(MAX_BINARY_MEAN);
        let (m, s) = self.moments(x);
        (m, s, u32::from(d != wanted))
    }

    #[inline(always)]
    fn decay(self, m: f32, _: f32, draw: f32, keep: f32) -> (f32, f32) {
        let x = m * self.inv_scale;
        let x = x.max(-MAX_BINARY_MEAN).min(MAX_BINARY_MEAN);
        let h = 0.5 * fast::ln((1.0 + x) / (1.0 - x));
        let h = keep.mul_add(h, (1.0 - keep) * (self.prior_sd * draw));
        self.moments(fast::tanh_half(2.0 * h))
    }
}

/// Weights on a grid of levels.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct LevelGrid {
    eta: f32,
    scale: f32,
    prior_sd: f32,
    count: u16,
}

impl LevelGrid {
    /// h <- h + c (g + lambda m), P <- P + c^2 lambda (never below 0, and h never limited while P
    /// grows: all weights would end at 0).
    #[inline(always)]
    pub(super) fn step(
        self,
        cell: LaneCell<'_>,
        g: Chunk,
        lambda: Chunk,
        clipped: &mut [u32; LANES],
    ) {
        let c = self.scale;
        // Copies: behind references the compiler must fear that the four overlap.
        let (m, mut h, mut p) = (*cell.m, *cell.h, *cell.p);
        for l in 0..LANES {
            let positive = lambda[l].max(0.0);
            clipped[l] += u32::from(positive != lambda[l]);
            h[l] = (self.eta * c).mul_add(positive.mul_add(m[l], g[l]), h[l]);
            p[l] = (self.eta * c * c).mul_add(positive, p[l]);
        }
        (*cell.h, *cell.p) = (h, p);
        self.moments(cell);
    }

    /// Keeps `keep` of the sites. `draw` are the prior's random draws.
    #[inline(always)]
    pub(super) fn decay(self, cell: LaneCell<'_>, draw: Chunk, keep: f32) {
        for l in 0..LANES {
            let h0 = self.prior_sd * draw[l];
            cell.h[l] = keep.mul_add(cell.h[l], (1.0 - keep) * h0);
            cell.p[l] *= keep;
        }
        self.moments(cell);
    }

    /// Mean and variance from the site, summed outwards from the most probable level: with
    /// y = x - best the weights are exp(y (h - P best) - P y^2/2), and those of neighbours differ
    /// by factors that differ by exp(-P gap^2): three exponentials for any number of levels.
    #[inline(always)]
    fn moments(self, cell: LaneCell<'_>) {
        if self.count == 3 {
            return self.ternary(cell);
        }
        let gap = 2.0 / f32::from(self.count - 1);
        let last = f32::from(self.count - 1);
        let (h, p) = (*cell.h, *cell.p);
        let (mut best, mut top) = ([0.0f32; LANES], [0.0f32; LANES]);
        let (mut up, mut down, mut bend) = ([0.0f32; LANES], [0.0f32; LANES], [0.0f32; LANES]);
        for l in 0..LANES {
            // The peak h/P; without curvature the end that h points to.
            let peak = h[l] / p[l].max(1e-9);
            let place = (peak.max(-1.0).min(1.0) + 1.0) / gap;
            top[l] = ((place + 0.5) as i32) as f32;
            best[l] = top[l].mul_add(gap, -1.0);
            let slope = gap * (-p[l]).mul_add(best[l], h[l]);
            let half = -0.5 * gap * gap * p[l];
            up[l] = fast::exp(half + slope);
            down[l] = fast::exp(half - slope);
            bend[l] = fast::exp(2.0 * half);
        }
        let (mut w, mut v) = ([1.0f32; LANES], [1.0f32; LANES]);
        let (mut zeroth, mut first, mut second) =
            ([1.0f32; LANES], [0.0f32; LANES], [0.0f32; LANES]);
        for i in 1..self.count {
            let k = f32::from(i);
            for l in 0..LANES {
                w[l] = if top[l] + k > last { 0.0 } else { w[l] * up[l] };
                v[l] = if top[l] < k { 0.0 } else { v[l] * down[l] };
                up[l] *= bend[l];
                down[l] *= bend[l];
                zeroth[l] += w[l] + v[l];
                first[l] = k.mul_add(w[l] - v[l], first[l]);
                second[l] = (k * k).mul_add(w[l] + v[l], second[l]);
            }
        }
        for l in 0..LANES {
            let inv = 1.0 / zeroth[l];
            let shift = first[l] * inv;
            let variance = gap * gap * (-shift).mul_add(shift, second[l] * inv);
            cell.m[l] = self.scale * gap.mul_add(shift, best[l]);
            cell.s[l] = self.scale * self.scale * variance.max(MIN_LEVEL_VARIANCE);
        }
    }
}

impl LevelGrid {
    /// The same of three levels, in closed form: with e = exp(-P/2), u = exp(-|h|) and
    /// z = u + e (1 + u^2), m = +-e (1 - u^2)/z and s = e u (1 + u^2 + 4 e u)/z^2.
    #[inline(always)]
    fn ternary(self, cell: LaneCell<'_>) {
        let (h, p) = (*cell.h, *cell.p);
        let (mut m, mut s) = ([0.0f32; LANES], [0.0f32; LANES]);
        for l in 0..LANES {
            let (e, u) = (fast::exp(-0.5 * p[l]), fast::exp(-h[l].abs()));
            let both = u.mul_add(u, 1.0);
            let inv = 1.0 / e.mul_add(both, u);
            let mean = e * (-u).mul_add(u, 1.0) * inv;
            let variance = e * u * (4.0 * e).mul_add(u, both) * inv * inv;
            m[l] = self.scale * mean.copysign(h[l]);
            s[l] = self.scale * self.scale * variance.max(MIN_LEVEL_VARIANCE);
        }
        (*cell.m, *cell.s) = (m, s);
    }
}

/// A family with its parameters, chosen once outside the loops.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub(super) enum AnyRule {
    Gaussian(Gaussian),
    Binary(Binary),
    Levels(LevelGrid),
}

impl AnyRule {
    /// The rule of a family: `eta` is the likelihood power, `variance` the prior's (c^2 for weights
    /// on a grid), `mean_scale` the spread of the prior's means (of the sites h on a grid).
    pub(super) fn new(family: Family, eta: f32, variance: f32, mean_scale: f32) -> AnyRule {
        let scale = variance.sqrt();
        match family {
            Family::Gaussian => AnyRule::Gaussian(Gaussian {
                eta,
                prior_sd: mean_scale * scale,
                prior_precision: 1.0 / variance,
            }),
            Family::Binary => AnyRule::Binary(Binary {
                eta,
                scale,
                inv_scale: 1.0 / scale,
                prior_sd: mean_scale,
            }),
            Family::Levels(count) => AnyRule::Levels(LevelGrid {
                eta,
                scale,
                prior_sd: mean_scale,
                count,
            }),
        }
    }

    /// The belief before any data, for the prior's random draws.
    pub(super) fn prior(self, draw: f32) -> PriorWeight {
        let site = match self {
            AnyRule::Gaussian(_) | AnyRule::Binary(_) => 0.0,
            AnyRule::Levels(rule) => rule.prior_sd * draw,
        };
        let (mean, variance) = match self {
            AnyRule::Gaussian(rule) => rule.decay(0.0, 1.0, draw, 0.0),
            AnyRule::Binary(rule) => rule.decay(0.0, 1.0, draw, 0.0),
            AnyRule::Levels(rule) => {
                let mut chunks = [[0.0; LANES]; 4];
                rule.decay(LaneCell::of(&mut chunks), [draw; LANES], 0.0);
                (chunks[0][0], chunks[1][0])
            }
        };
        PriorWeight {
            mean,
            variance,
            site,
        }
    }

    /// Changes the likelihood power.
    pub(super) fn set_power(&mut self, eta: f32) {
        match self {
            AnyRule::Gaussian(rule) => rule.eta = eta,
            AnyRule::Binary(rule) => rule.eta = eta,
            AnyRule::Levels(rule) => rule.eta = eta,
        }
    }

    /// Forgets towards a prior of mean 0 from now on.
    pub(super) fn centre_prior(&mut self) {
        match self {
            AnyRule::Gaussian(rule) => rule.prior_sd = 0.0,
            AnyRule::Binary(rule) => rule.prior_sd = 0.0,
            AnyRule::Levels(rule) => rule.prior_sd = 0.0,
        }
    }

    /// Precision of the prior; 0 for weights on a grid, whose prior has no Gaussian form.
    pub(super) fn prior_precision(self) -> f32 {
        match self {
            AnyRule::Gaussian(rule) => rule.prior_precision,
            AnyRule::Binary(_) | AnyRule::Levels(_) => 0.0,
        }
    }

    /// A value drawn from the belief about a weight, by draw `lane` of `key`.
    pub(super) fn draw(self, weight: [f32; 4], key: u32, lane: u32) -> f32 {
        let [m, s, h, p] = weight;
        match self {
            AnyRule::Gaussian(_) => s.sqrt().mul_add(counter::bell(key, lane), m),
            AnyRule::Binary(rule) => {
                let up = 0.5 * (1.0 + f64::from(m * rule.inv_scale));
                rule.scale.copysign(if counter::uniform(key, lane) < up {
                    1.0
                } else {
                    -1.0
                })
            }
            AnyRule::Levels(rule) => {
                let (h, p) = (f64::from(h), f64::from(p));
                let level = |i: u16| 2.0 * f64::from(i) / f64::from(rule.count - 1) - 1.0;
                let log = |i: u16| h * level(i) - 0.5 * p * level(i) * level(i);
                let top = (0..rule.count).map(log).fold(f64::MIN, f64::max);
                let share = |i: u16| libm::exp(log(i) - top);
                let total: f64 = (0..rule.count).map(share).sum();
                let mut left = total * counter::uniform(key, lane);
                let passes = |i: &u16| {
                    left -= share(*i);
                    left < 0.0
                };
                let found = (0..rule.count).find(passes).unwrap_or(rule.count - 1);
                rule.scale * level(found) as f32
            }
        }
    }

    /// Moves a single weight, given as (m, s, h, P).
    pub(super) fn step_one(self, weight: [&mut f32; 4], g: f32, lambda: f32) -> u64 {
        let [m, s, h, p] = weight;
        let clipped;
        match self {
            AnyRule::Gaussian(rule) => (*m, *s, clipped) = rule.step(*m, *s, g, lambda),
            AnyRule::Binary(rule) => (*m, *s, clipped) = rule.step(*m, *s, g, lambda),
            AnyRule::Levels(rule) => {
                let mut chunks = [[*m; LANES], [*s; LANES], [*h; LANES], [*p; LANES]];
                let mut counts = [0; LANES];
                let cell = LaneCell::of(&mut chunks);
                rule.step(cell, [g; LANES], [lambda; LANES], &mut counts);
                (*m, *s, *h, *p) = (chunks[0][0], chunks[1][0], chunks[2][0], chunks[3][0]);
                clipped = counts[0];
            }
        }
        clipped.into()
    }
}

/// The belief about one weight before any data.
#[derive(Clone, Copy, Debug)]
pub(super) struct PriorWeight {
    pub mean: f32,
    pub variance: f32,
    pub site: f32,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::num::oracle;

    fn moments(count: u16, h: f32, p: f32) -> (f64, f64) {
        let rule = LevelGrid {
            eta: 1.0,
            scale: 1.0,
            prior_sd: 0.0,
            count,
        };
        let (mut m, mut s) = ([0.0; LANES], [0.0; LANES]);
        rule.moments(LaneCell {
            m: &mut m,
            s: &mut s,
            h: &mut [h; LANES],
            p: &mut [p; LANES],
        });
        (m[3].into(), s[3].into())
    }

    #[test]
    fn moments_on_a_grid_agree_with_the_oracle() {
        for row in oracle::lines("discrete_moments") {
            let values: Vec<f64> = row[1..].iter().map(|f| oracle::number(f)).collect();
            let (h, p, mean, variance) = (values[0], values[1], values[2], values[3]);
            if row[0] == "binary" {
                oracle::close(
                    fast::tanh_half(2.0 * h as f32).into(),
                    mean,
                    1e-6,
                    0.0,
                    &values,
                );
                continue;
            }
            let count = match row[0].as_str() {
                "ternary" => 3,
                "lev4" => 4,
                "lev16" => 16,
                other => panic!("{other}"),
            };
            let (m, s) = moments(count, h as f32, p as f32);
            oracle::close(m, mean, 2e-5, 2e-6, &values);
            oracle::close(s, variance, 2e-4, 1.1e-6, &values);
        }
    }

    #[test]
    fn a_binary_step_moves_the_site_and_never_saturates() {
        let AnyRule::Binary(rule) = AnyRule::new(Family::Binary, 1.0, 1.0, 0.5) else {
            unreachable!()
        };
        let (mut m, mut s) = (0.3f32, 0.0);
        for i in 0..1000 {
            (m, s, _) = rule.step(m, s, 0.4, 0.0);
            if i == 0 {
                let want = (0.3f64.atanh() + 0.4).tanh();
                assert!((f64::from(m) - want).abs() < 1e-3, "{m} {want}");
            }
        }
        assert!(m < 1.0 && s > 1e-4, "{m} {s}");
    }

    #[test]
    fn draws_lie_on_the_grid_and_have_the_moments_of_the_belief() {
        for family in [Family::Gaussian, Family::Binary, Family::Levels(5)] {
            let rule = AnyRule::new(family, 1.0, 0.25, 0.5);
            let prior = rule.prior(0.8);
            let mut weight = [prior.mean, prior.variance, prior.site, 0.0];
            let [m, s, h, p] = &mut weight;
            rule.step_one([m, s, h, p], 0.7, 1.2);
            let draws: Vec<f64> = (0..20_000)
                .map(|i| rule.draw(weight, 7, i).into())
                .collect();
            let n = draws.len() as f64;
            let mean = draws.iter().sum::<f64>() / n;
            let variance = draws.iter().map(|w| (w - mean) * (w - mean)).sum::<f64>() / n;
            let [m, s, ..] = weight.map(f64::from);
            assert!(
                (mean - m).abs() < 5.0 * (s / n).sqrt(),
                "{family:?} {mean} {m}"
            );
            assert!(
                (variance / s - 1.0).abs() < 0.05,
                "{family:?} {variance} {s}"
            );
            let steps = match family {
                Family::Gaussian => continue,
                Family::Binary => 1.0,
                Family::Levels(count) => f64::from(count - 1),
            };
            let on_grid = |w: &f64| {
                let place = (w / 0.5 + 1.0) / 2.0 * steps;
                (place - place.round()).abs() < 1e-5
            };
            assert!(draws.iter().all(on_grid), "{family:?}");
        }
    }

    #[test]
    fn full_decay_is_the_prior_for_every_family() {
        for family in [Family::Gaussian, Family::Binary, Family::Levels(5)] {
            let rule = AnyRule::new(family, 1.0, 0.25, 0.5);
            let prior = rule.prior(0.8);
            let mut weight = [prior.mean, prior.variance, prior.site, 0.0];
            let [m, s, h, p] = &mut weight;
            rule.step_one([m, s, h, p], 0.7, 0.2);
            assert_ne!(weight[0], prior.mean, "{family:?}");
            let mut chunks = weight.map(|w| [w; LANES]);
            let (mean, variance) = match rule {
                AnyRule::Gaussian(r) => r.decay(weight[0], weight[1], 0.8, 0.0),
                AnyRule::Binary(r) => r.decay(weight[0], weight[1], 0.8, 0.0),
                AnyRule::Levels(r) => {
                    r.decay(LaneCell::of(&mut chunks), [0.8; LANES], 0.0);
                    (chunks[0][0], chunks[1][0])
                }
            };
            assert!((mean - prior.mean).abs() < 1e-6, "{family:?}");
            assert!((variance - prior.variance).abs() < 1e-6, "{family:?}");
        }
    }
}
