//! Generates plants of several coupled channels with a fault in one of them, known to the scorer.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use crate::kinds::{DAY, FAULT_ROWS, Fault, normal};

/// How the channels of a plant hang together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Coupling {
    /// Sums of two wandering loads, in shares drawn at random.
    Factors,
    /// Each channel follows the one before it, later and weaker.
    Chain,
    /// A pump: speed and valve; flow is their product, pressure and current follow from these.
    Pump,
}

impl Coupling {
    /// Every coupling.
    pub const ALL: [Coupling; 3] = [Coupling::Factors, Coupling::Chain, Coupling::Pump];

    fn channels(self) -> usize {
        match self {
            Coupling::Factors | Coupling::Chain => 6,
            Coupling::Pump => 5,
        }
    }
}

/// Faults of a single channel.
pub const FAULTS: [Fault; 6] = [
    Fault::Bias,
    Fault::Drift,
    Fault::Noise,
    Fault::Stuck,
    Fault::Spikes,
    Fault::Decoupled,
];

/// A plant that moves by itself; a channel's unit is its standard deviation.
struct Plant {
    rng: Pcg64,
    coupling: Coupling,
    shares: Vec<[f64; 2]>,
    loads: [f64; 2],
    stages: Vec<f64>,
}

impl Plant {
    fn new(coupling: Coupling, seed: u64) -> Plant {
        let mut rng = Pcg64::seed_from_u64(seed);
        let shares = (0..coupling.channels()).map(|_| {
            let angle = std::f64::consts::TAU * rng.random::<f64>();
            [angle.cos(), angle.sin()]
        });
        Plant {
            shares: shares.collect(),
            loads: [0.0; 2],
            stages: vec![0.0; coupling.channels()],
            rng,
            coupling,
        }
    }

    fn step(&mut self, t: usize) -> Vec<f64> {
        for (load, memory) in self.loads.iter_mut().zip([0.98_f64, 0.995]) {
            *load = memory * *load + (1.0 - memory * memory).sqrt() * normal(&mut self.rng);
        }
        let course = (std::f64::consts::TAU * t as f64 / DAY as f64).sin();
        let [fast, slow] = [self.loads[0], 0.6 * self.loads[1] + 0.8 * course];
        let noise = 0.1;
        match self.coupling {
            Coupling::Factors => {
                let shares = self.shares.iter();
                let sums = shares.map(|[a, b]| a * fast + b * slow);
                let rng = &mut self.rng;
                sums.map(|sum| sum + noise * normal(rng)).collect()
            }
            Coupling::Chain => {
                let mut before = 0.7 * (fast + slow);
                for (c, stage) in self.stages.iter_mut().enumerate() {
                    *stage += (before - *stage) / (1.0 + 3.0 * c as f64);
                    before = *stage;
                }
                let rng = &mut self.rng;
                let stages = self.stages.iter();
                stages.map(|stage| stage + noise * normal(rng)).collect()
            }
            Coupling::Pump => {
                let (speed, valve) = (1.0 + 0.15 * slow, 0.6 + 0.1 * fast);
                let flow = speed * valve;
                let pressure = speed * speed - 0.5 * flow * flow;
                let current = flow * pressure;
                let values = [
                    speed / 0.15,
                    valve / 0.1,
                    flow / 0.13,
                    pressure / 0.25,
                    current / 0.15,
                ];
                values.map(|x| x + noise * normal(&mut self.rng)).to_vec()
            }
        }
    }
}

/// A recording of `rows` rows of which those from `at` on have the fault, and the channel that has it.
pub fn record(
    coupling: Coupling,
    seed: u64,
    rows: usize,
    fault: Fault,
    at: usize,
) -> (Vec<Vec<f64>>, usize) {
    let mut plant = Plant::new(coupling, seed);
    let mut other = Plant::new(coupling, seed + 500_000);
    let mut rng = Pcg64::seed_from_u64(seed + 900_000);
    let faulty = rng.random_range(0..coupling.channels());
    let sign = if rng.random::<bool>() { 1.0 } else { -1.0 };
    let mut held = f64::NAN;
    let recording = (0..rows).map(|t| {
        let mut row = plant.step(t);
        let stranger = other.step(t)[faulty];
        if !(at..at + FAULT_ROWS).contains(&t) {
            held = row[faulty];
            return row;
        }
        let since = t - at;
        match fault {
            Fault::Bias => row[faulty] += sign * 1.5,
            Fault::Drift => row[faulty] += sign * 3.0 * since as f64 / FAULT_ROWS as f64,
            Fault::Noise => row[faulty] += normal(&mut rng),
            Fault::Stuck => row[faulty] = held,
            Fault::Spikes if since.is_multiple_of(20) => row[faulty] += sign * 3.0,
            Fault::Decoupled => row[faulty] = stranger,
            _ => {}
        }
        row
    });
    (recording.collect(), faulty)
}
