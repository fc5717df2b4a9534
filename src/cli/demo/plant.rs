//! The simulated plant: three pumps of eight coupled channels each, in simulated time.
//!
//! A load with a daily rhythm drives a pump's speed; speed and valve make the flow, both make
//! the pressures, their product makes the motor current, speed shakes the casing, and all that
//! warms the bearing and, later, the oil. On top: correlated process noise, sensor noise, short
//! sensor drop-outs, and the faults of [`super::faults`]. Same seed, same readings.

use std::f64::consts::TAU;

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use super::faults::{FaultEdge, FaultPlan};
pub use super::sensors::{CHANNELS, PERIOD_S, PUMPS, UNITS};

/// Sensor noise of each channel, standard deviation.
const SENSOR_SD: [f64; 8] = [1.5, 0.2, 0.006, 0.03, 0.15, 0.05, 0.06, 0.05];

/// Chance that a sensor drops out at a reading, and the most readings it then misses.
const DROP_OUT_CHANCE: f64 = 1.0 / 1500.0;
const DROP_OUT_MAX: u32 = 3;

/// One measurement: pump, channel, value.
pub type Measurement = (usize, usize, f64);

/// Events of the plant in one period.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Tick {
    /// Simulated moment, unix milliseconds.
    pub ts_ms: i64,
    /// The measurements, without those that dropped out.
    pub measurements: Vec<Measurement>,
    /// Faults that begin or end here.
    pub edges: Vec<FaultEdge>,
}

/// A normal deviate (Box and Muller).
pub fn gauss(rng: &mut Pcg64) -> f64 {
    let radius = (-2.0 * (1.0 - rng.random::<f64>()).ln()).sqrt();
    radius * (TAU * rng.random::<f64>()).cos()
}

/// First-order autoregressive noise around 0.
#[derive(Clone, Debug)]
pub struct Autoregressive {
    value: f64,
    keep: f64,
    kick: f64,
}

impl Autoregressive {
    /// `sd` in the long run; `keep` (0 to 1) of it from one step to the next.
    pub fn new(sd: f64, keep: f64) -> Autoregressive {
        Autoregressive {
            value: 0.0,
            keep,
            kick: sd * (1.0 - keep * keep).sqrt(),
        }
    }

    /// The next value.
    pub fn step(&mut self, rng: &mut Pcg64) -> f64 {
        self.value = self.keep * self.value + self.kick * gauss(rng);
        self.value
    }
}

/// The physical state of one pump.
#[derive(Clone, Debug)]
struct Pump {
    rng: Pcg64,
    /// Hours by which its day is shifted.
    shift_h: f64,
    weather: Autoregressive,
    load: Autoregressive,
    tank: Autoregressive,
    valve: Autoregressive,
    shake: Autoregressive,
    speed: f64,
    flow: f64,
    bearing: f64,
    oil: f64,
    /// Readings that each sensor still misses.
    missing: [u32; 8],
}

impl Pump {
    fn new(seed: u64, number: usize) -> Pump {
        Pump {
            rng: Pcg64::seed_from_u64(seed.wrapping_add(1 + number as u64)),
            shift_h: number as f64 * 1.5,
            weather: Autoregressive::new(0.04, 0.998),
            load: Autoregressive::new(0.03, 0.9),
            tank: Autoregressive::new(0.06, 0.99),
            valve: Autoregressive::new(0.015, 0.97),
            shake: Autoregressive::new(0.08, 0.7),
            speed: 1300.0,
            flow: 72.0,
            bearing: 50.0,
            oil: 42.0,
            missing: [0; 8],
        }
    }

    /// One period on; `throttle` multiplies the valve's opening. The true values by channel.
    fn step(&mut self, hour: f64, throttle: f64) -> [f64; 8] {
        let rng = &mut self.rng;
        let day = (TAU * (hour - 9.0 - self.shift_h) / 24.0).sin();
        let load = 0.55 + 0.15 * day + self.weather.step(rng) + self.load.step(rng);
        self.speed += 0.5 * (900.0 + 800.0 * load - self.speed);
        let opening = (1.0 + self.valve.step(rng)) * throttle;
        self.flow += 0.5 * (0.055 * self.speed * opening - self.flow);
        let inlet = 2.0 + self.tank.step(rng) - 6e-5 * self.flow * self.flow;
        let head = 4e-6 * self.speed * self.speed - 3e-4 * self.flow * self.flow;
        let power_kw = self.flow * head / 36.0 / 0.7;
        let shaking = (self.speed / 1500.0).powi(2);
        let vibration = 1.2 + 1.5 * shaking + self.shake.step(rng);
        let ambient = 18.0 + 5.0 * day;
        let warm = ambient + 25.0 * shaking + 3.0 * vibration;
        self.bearing += PERIOD_S / 600.0 * (warm - self.bearing);
        let cooled = 5.0 + 0.6 * self.bearing + 0.4 * ambient;
        self.oil += PERIOD_S / 1800.0 * (cooled - self.oil);
        [
            self.speed,
            self.flow,
            inlet,
            inlet + head,
            6.0 + 1.7 * power_kw,
            vibration,
            self.bearing,
            self.oil,
        ]
    }

    /// Reading of the sensor of `channel` for `truth`; `None` while it drops out.
    fn measure(&mut self, channel: usize, truth: f64) -> Option<f64> {
        let noise = SENSOR_SD[channel] * gauss(&mut self.rng);
        if self.missing[channel] > 0 {
            self.missing[channel] -= 1;
            return None;
        }
        if self.rng.random_bool(DROP_OUT_CHANCE) {
            self.missing[channel] = self.rng.random_range(0..DROP_OUT_MAX);
            return None;
        }
        Some(truth + noise)
    }
}

/// The plant and the faults that are planned for it.
#[derive(Clone, Debug)]
pub struct Plant {
    pumps: Vec<Pump>,
    plan: FaultPlan,
    start_ms: i64,
    row: u64,
}

impl Plant {
    /// A plant that starts at `start_ms` (unix milliseconds).
    pub fn new(seed: u64, start_ms: i64, plan: FaultPlan) -> Plant {
        let mut plant = Plant {
            pumps: (0..PUMPS.len()).map(|i| Pump::new(seed, i)).collect(),
            plan,
            start_ms,
            row: 0,
        };
        plant.settle();
        plant
    }

    /// Runs six hours unseen, so that the temperatures do not begin with a transient.
    fn settle(&mut self) {
        for pump in &mut self.pumps {
            for i in 0..2160 {
                let ms = self.start_ms - (2160 - i) * (PERIOD_S * 1e3) as i64;
                pump.step(hour_of_day(ms), 1.0);
            }
        }
    }

    /// The next period.
    pub fn tick(&mut self) -> Tick {
        let ts_ms = self.start_ms + self.row as i64 * (PERIOD_S * 1e3) as i64;
        let mut tick = Tick {
            ts_ms,
            measurements: Vec::with_capacity(PUMPS.len() * CHANNELS.len()),
            edges: self.plan.edges(self.row, ts_ms),
        };
        for (i, pump) in self.pumps.iter_mut().enumerate() {
            let throttle = self.plan.throttle(i, self.row);
            let truth = pump.step(hour_of_day(ts_ms), throttle);
            for (channel, &value) in truth.iter().enumerate() {
                if let Some(measured) = pump.measure(channel, value) {
                    let noise = gauss(&mut pump.rng);
                    let shown = self.plan.distort(i, channel, self.row, measured, noise);
                    let shown = (shown * 1e3).round() / 1e3;
                    tick.measurements.push((i, channel, shown));
                }
            }
        }
        self.row += 1;
        tick
    }
}

/// Hour of the simulated day, 0 to 24.
pub fn hour_of_day(ts_ms: i64) -> f64 {
    ts_ms.rem_euclid(86_400_000) as f64 / 3.6e6
}

#[cfg(test)]
mod tests {
    use super::super::sensors::STEP_SD;
    use super::*;

    fn series(n_rows: usize) -> Vec<[Vec<f64>; 8]> {
        let mut plant = Plant::new(7, 1_704_067_200_000, FaultPlan::none());
        let mut series = vec![<[Vec<f64>; 8]>::default(); PUMPS.len()];
        for _ in 0..n_rows {
            for (pump, channel, value) in plant.tick().measurements {
                series[pump][channel].push(value);
            }
        }
        series
    }

    fn mean_square(values: impl Iterator<Item = f64>) -> f64 {
        let (sum, n) = values.fold((0.0, 0.0), |(sum, n), v| (sum + v * v, n + 1.0));
        sum / n
    }

    #[test]
    fn steps_are_as_large_as_stated() {
        for pump in series(5000) {
            for (channel, values) in pump.iter().enumerate() {
                let steps = values.windows(2).map(|w| w[1] - w[0]);
                let ratio = mean_square(steps).sqrt() / STEP_SD[channel];
                assert!(
                    (0.8..1.25).contains(&ratio),
                    "{}: {ratio}",
                    CHANNELS[channel]
                );
            }
        }
    }

    #[test]
    fn values_stay_physical_over_a_day() {
        for pump in series(8640) {
            for (channel, values) in pump.iter().enumerate() {
                let low = values.iter().copied().fold(f64::INFINITY, f64::min);
                let high = values.iter().copied().fold(0.0, f64::max);
                assert!(low > 0.0, "{}: {low}", CHANNELS[channel]);
                assert!(
                    high < 3.0 * low + 1.0,
                    "{}: {low} to {high}",
                    CHANNELS[channel]
                );
            }
        }
    }

    #[test]
    fn channels_are_coupled() {
        let pump = &series(3000)[0];
        let n = pump.iter().map(Vec::len).min().expect("eight channels");
        let centred = |values: &[f64]| {
            let mean = values[..n].iter().sum::<f64>() / n as f64;
            values[..n].iter().map(|v| v - mean).collect::<Vec<_>>()
        };
        let (speed, current) = (centred(&pump[0]), centred(&pump[4]));
        let product: f64 = speed.iter().zip(&current).map(|(a, b)| a * b).sum();
        let norm = |v: &[f64]| v.iter().map(|x| x * x).sum::<f64>().sqrt();
        let correlation = product / norm(&speed) / norm(&current);
        assert!(correlation > 0.6, "speed and motor current: {correlation}");
    }

    #[test]
    fn sensors_drop_out_now_and_then() {
        let n: usize = series(3000)[1].iter().map(Vec::len).sum();
        let share = 1.0 - n as f64 / 24_000.0;
        assert!((0.0005..0.005).contains(&share), "missing share {share}");
    }

    #[test]
    fn the_same_seed_gives_the_same_plant() {
        assert_eq!(series(50), series(50));
    }
}
