//! Generates ordinary signals of plants, forty-eight kinds, with and without a fault.

use std::f64::consts::TAU;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

/// Rows a day: a row a minute.
pub const DAY: usize = 1440;
/// Rows that a fault lasts.
pub const FAULT_ROWS: usize = 300;

/// A fault in the first channel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// None.
    None,
    /// The level is off by 3 of the channel's units.
    Bias,
    /// The level leaves by 6 units over the fault.
    Drift,
    /// Two units of white noise are added.
    Noise,
    /// The value stands still.
    Stuck,
    /// Every twentieth row is off by 6 units.
    Spikes,
    /// The channel is missing.
    Silent,
    /// The plant does not do what it does by schedule or cycle: it idles.
    Missed,
    /// The first channel no longer follows the others.
    Decoupled,
}

impl Fault {
    /// Every fault.
    pub const ALL: [Fault; 8] = [
        Fault::Bias,
        Fault::Drift,
        Fault::Noise,
        Fault::Stuck,
        Fault::Spikes,
        Fault::Silent,
        Fault::Missed,
        Fault::Decoupled,
    ];
}

/// How the driver of a kind, its load or set-point, moves.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Driver {
    /// Always the same.
    Constant,
    /// A daily course of this many peaks.
    Course(f64),
    /// On between two hours, on weekdays only where the flag says so.
    Hours(f64, f64, bool),
    /// On and off in turn, for these many rows each.
    Cycle(usize, usize),
    /// One of several levels, changed at random after this many rows on average.
    Modes(f64),
    /// On for the second number of rows, at random every first number on average.
    Events(f64, usize),
    /// An autoregression of this coefficient.
    Wander(f64),
    /// A random walk.
    Walk,
    /// Rises by a step a row, falls back after this many rows.
    Saw(usize),
}

/// How the sensor shows what it measures.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Sensor {
    /// As it is.
    Plain,
    /// In steps of so many units.
    Grid(f64),
    /// Sampled every so many rows and held.
    Polled(usize),
    /// Between 0 and this level.
    Clipped(f64),
    /// As the exponential of it.
    Exponential,
    /// As a count with that mean, five a unit.
    Count,
    /// Whether it is above one half.
    Switch,
}

/// A kind of signal.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Kind {
    /// Its name.
    pub name: &'static str,
    /// Its driver.
    pub driver: Driver,
    /// Amplitude of the driver, units.
    pub swing: f64,
    /// Rows in which the level follows the driver by two thirds.
    pub lag: f64,
    /// White noise, units.
    pub noise: f64,
    /// Noise grows with the level where this is above 0.
    pub load_noise: f64,
    /// How it is shown.
    pub sensor: Sensor,
    /// Channels; those after the first follow the same driver.
    pub channels: usize,
}

const fn kind(name: &'static str, driver: Driver, swing: f64, sensor: Sensor) -> Kind {
    Kind {
        name,
        driver,
        swing,
        lag: 0.0,
        noise: 1.0,
        load_noise: 0.0,
        sensor,
        channels: 1,
    }
}

const fn noise(noise: f64, kind: Kind) -> Kind {
    Kind { noise, ..kind }
}

const fn lag(lag: f64, kind: Kind) -> Kind {
    Kind { lag, ..kind }
}

const fn load_noise(load_noise: f64, kind: Kind) -> Kind {
    Kind { load_noise, ..kind }
}

const fn of(channels: usize, kind: Kind) -> Kind {
    Kind { channels, ..kind }
}

use Driver::{Constant, Course, Cycle, Events, Hours, Modes, Saw, Walk, Wander};
use Sensor::{Clipped, Count, Exponential, Grid, Plain, Polled, Switch};

/// Every kind. Those from [`HELD_OUT`] on were written after the detector's last constant was chosen.
pub const KINDS: [Kind; 48] = [
    noise(0.0, kind("constant", Constant, 0.0, Plain)),
    kind("white noise", Constant, 0.0, Plain),
    kind("white noise, coarse", Constant, 0.0, Grid(2.0)),
    kind("daily course", Course(1.0), 10.0, Plain),
    kind("two peaks a day", Course(2.0), 6.0, Plain),
    noise(
        0.3,
        kind("daily course, coarse", Course(1.0), 10.0, Grid(1.0)),
    ),
    kind("daily course, polled", Course(1.0), 10.0, Polled(15)),
    kind("daily course, clipped", Course(1.0), 10.0, Clipped(5.0)),
    load_noise(0.1, kind("load noise", Course(1.0), 20.0, Plain)),
    noise(0.2, kind("latency", Course(1.0), 0.5, Exponential)),
    kind("counts", Course(1.0), 2.0, Count),
    noise(0.0, kind("timer", Hours(6.0, 20.0, false), 20.0, Plain)),
    kind("timer, noisy", Hours(6.0, 20.0, false), 20.0, Plain),
    kind("office days", Hours(8.0, 18.0, true), 20.0, Plain),
    lag(
        20.0,
        kind("office days, slow", Hours(8.0, 18.0, true), 30.0, Plain),
    ),
    lag(
        60.0,
        noise(
            0.2,
            kind("heated room", Hours(5.0, 22.0, true), 8.0, Grid(0.1)),
        ),
    ),
    noise(
        0.0,
        kind("switch by the clock", Hours(7.0, 19.0, false), 1.0, Switch),
    ),
    noise(0.0, kind("cycle", Cycle(40, 60), 10.0, Plain)),
    noise(0.2, kind("cycle, noisy", Cycle(40, 60), 10.0, Plain)),
    lag(15.0, kind("thermostat", Cycle(25, 35), 20.0, Plain)),
    lag(5.0, kind("compressor", Cycle(10, 90), 15.0, Plain)),
    noise(0.0, kind("pump switch", Cycle(20, 20), 1.0, Switch)),
    noise(0.0, kind("tank", Saw(400), 40.0, Plain)),
    noise(0.3, kind("tank, noisy", Saw(400), 40.0, Plain)),
    noise(0.2, kind("tank, coarse", Saw(700), 40.0, Grid(0.5))),
    noise(0.0, kind("set-points", Modes(500.0), 20.0, Plain)),
    noise(0.3, kind("set-points, noisy", Modes(500.0), 20.0, Plain)),
    lag(10.0, kind("set-points, slow", Modes(400.0), 20.0, Plain)),
    of(
        4,
        lag(8.0, kind("operating modes", Modes(300.0), 50.0, Plain)),
    ),
    noise(0.0, kind("door", Events(600.0, 3), 1.0, Switch)),
    noise(0.1, kind("rain", Events(900.0, 60), 8.0, Clipped(9.0))),
    lag(
        30.0,
        kind("hot water drawn", Events(180.0, 12), 25.0, Plain),
    ),
    kind("bursts", Events(400.0, 8), 6.0, Plain),
    kind("autoregression", Wander(0.95), 3.0, Plain),
    kind("slow wander", Wander(0.9995), 6.0, Plain),
    noise(0.1, kind("random walk", Walk, 0.1, Plain)),
    noise(0.3, kind("wander, coarse", Wander(0.995), 4.0, Grid(1.0))),
    noise(0.3, kind("wander, polled", Wander(0.998), 4.0, Polled(10))),
    of(
        4,
        noise(0.3, kind("coupled wander", Wander(0.98), 4.0, Plain)),
    ),
    of(8, kind("coupled courses", Course(1.0), 10.0, Plain)),
    // Held out.
    lag(
        10.0,
        load_noise(
            0.05,
            kind("shift work", Hours(6.0, 14.0, true), 40.0, Plain),
        ),
    ),
    noise(0.1, lag(3.0, kind("dosing", Cycle(6, 54), 5.0, Grid(0.1)))),
    noise(0.4, kind("queue", Events(120.0, 40), 4.0, Count)),
    of(
        3,
        lag(25.0, kind("oven zones", Modes(600.0), 80.0, Grid(0.5))),
    ),
    noise(0.2, kind("battery", Saw(1440), 12.0, Grid(0.1))),
    of(
        2,
        lag(12.0, kind("fan and filter", Cycle(120, 60), 12.0, Plain)),
    ),
    lag(
        40.0,
        noise(0.5, kind("greenhouse", Course(1.0), 9.0, Clipped(6.0))),
    ),
    of(
        2,
        noise(0.5, kind("lift", Events(30.0, 2), 15.0, Polled(2))),
    ),
];
/// First kind that was written after the last constant was chosen.
pub const HELD_OUT: usize = 40;

struct State {
    driver: f64,
    left: f64,
    on: bool,
}

/// A recording of `kind`: `rows` rows of which those from `at` on have the fault.
pub fn record(kind: &Kind, seed: u64, rows: usize, fault: Fault, at: usize) -> Vec<Vec<f64>> {
    let place = KINDS.iter().position(|k| k.name == kind.name);
    let mut rng = Pcg64::seed_from_u64(seed * 1_000 + place.unwrap_or(0) as u64);
    let mut state = State {
        driver: 0.0,
        left: 0.0,
        on: false,
    };
    let (mut level, mut other, mut held) = (f64::NAN, 0.0, vec![f64::NAN; kind.channels]);
    let start_day = seed as usize % 7;
    let mut last = vec![f64::NAN; kind.channels];
    (0..rows)
        .map(|t| {
            let inside = fault != Fault::None && (at..at + FAULT_ROWS).contains(&t);
            let driven = drive(kind, t, start_day, &mut state, &mut rng);
            let idle = inside && fault == Fault::Missed;
            let target = kind.swing * if idle { 0.0 } else { driven };
            let follow = if kind.lag > 0.0 { 1.0 / kind.lag } else { 1.0 };
            level = if level.is_nan() {
                target
            } else {
                level + follow * (target - level)
            };
            other = 0.98 * other + 0.2 * normal(&mut rng);
            let mut row: Vec<f64> = (0..kind.channels)
                .map(|c| {
                    let follows = c > 0 || !(inside && fault == Fault::Decoupled);
                    let moved = if follows { level } else { kind.swing * other };
                    let gain = 1.0 + 0.5 * c as f64;
                    let sd = kind.noise + kind.load_noise * moved.abs();
                    let value = gain * moved + sd * normal(&mut rng);
                    let since = t.saturating_sub(at);
                    let faulty = if inside && c == 0 {
                        offset(fault, since, kind, &mut rng)
                    } else {
                        0.0
                    };
                    show(kind, t, value + faulty, &mut held[c], &mut rng)
                })
                .collect();
            if inside && fault == Fault::Stuck {
                row[0] = last[0];
            }
            last.clone_from(&row);
            if inside && fault == Fault::Silent {
                row[0] = f64::NAN;
            }
            row
        })
        .collect()
}

/// Offset of a fault to a value, in units that are visible beside the channel's own noise.
fn offset(fault: Fault, since: usize, kind: &Kind, rng: &mut Pcg64) -> f64 {
    let unit = 2.0 * kind.noise.max(0.05 * kind.swing).max(0.5);
    match fault {
        Fault::Bias => 3.0 * unit,
        Fault::Drift => 6.0 * unit * since as f64 / FAULT_ROWS as f64,
        Fault::Noise => 2.0 * unit * normal(rng),
        Fault::Spikes if since.is_multiple_of(20) => 6.0 * unit,
        _ => 0.0,
    }
}

fn drive(kind: &Kind, t: usize, start_day: usize, state: &mut State, rng: &mut Pcg64) -> f64 {
    let hour = (t % DAY) as f64 / 60.0;
    let weekday = (t / DAY + start_day) % 7;
    match kind.driver {
        Constant => 0.0,
        Course(peaks) => (TAU * peaks * (hour - 8.0) / 24.0).sin(),
        Hours(from, to, workdays) => {
            let works = !workdays || weekday < 5;
            f64::from(u8::from(works && (from..to).contains(&hour)))
        }
        Cycle(on, off) => f64::from(u8::from(t % (on + off) < on)),
        Modes(mean) => {
            state.left -= 1.0;
            if state.left <= 0.0 {
                state.left = 0.3 * mean - 0.7 * mean * (1.0 - rng.random::<f64>()).ln();
                state.driver = (rng.random::<f64>() * 4.0).floor() / 3.0;
            }
            state.driver
        }
        Events(mean, rows) => {
            state.left -= 1.0;
            if state.left <= 0.0 {
                state.on = !state.on;
                state.left = if state.on {
                    rows as f64 * (0.5 + rng.random::<f64>())
                } else {
                    -mean * (1.0 - rng.random::<f64>()).ln()
                };
                state.driver = 0.5 + rng.random::<f64>();
            }
            if state.on { state.driver } else { 0.0 }
        }
        Wander(rho) => {
            state.driver = rho * state.driver + (1.0 - rho * rho).sqrt() * normal(rng);
            state.driver
        }
        Walk => {
            state.driver += normal(rng);
            state.driver
        }
        Saw(rows) => (t % rows) as f64 / rows as f64,
    }
}

fn show(kind: &Kind, t: usize, value: f64, held: &mut f64, rng: &mut Pcg64) -> f64 {
    match kind.sensor {
        Plain => value,
        Grid(step) => (value / step).round() * step,
        Polled(every) => {
            if t.is_multiple_of(every) || held.is_nan() {
                *held = value;
            }
            *held
        }
        Clipped(most) => value.clamp(0.0, most),
        Exponential => value.exp(),
        Count => poisson(5.0 * value.max(0.02), rng),
        Switch => f64::from(u8::from(value > 0.5)),
    }
}

pub(crate) fn normal(rng: &mut Pcg64) -> f64 {
    let u: f64 = 1.0 - rng.random::<f64>();
    (-2.0 * u.ln()).sqrt() * (TAU * rng.random::<f64>()).cos()
}

fn poisson(mean: f64, rng: &mut Pcg64) -> f64 {
    let (mut k, mut p, limit) = (0.0, rng.random::<f64>(), (-mean).exp());
    while p > limit {
        k += 1.0;
        p *= rng.random::<f64>();
    }
    k
}
