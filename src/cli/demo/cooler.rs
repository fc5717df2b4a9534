//! The simulated cooler of the pumps' water: a fan that a thermostat switches, in simulated time.
//!
//! A stream with an on/off signal, and with faults of other kinds than those of the pumps: a relay that
//! sticks, two faults that overlap, and one that comes and goes. Same seed, same readings.

use rand::SeedableRng;
use rand_pcg::Pcg64;

use super::faults::{FIRST_ROW, FaultEdge, FaultKind, SPACING};
use super::plant::{Autoregressive, gauss};

/// Name of the stream.
pub const COOLER: &str = "cooler";

/// Channels, in the order of the readings.
pub const CHANNELS: [&str; 4] = ["fan_on", "fan_current", "water_temp", "heat_load"];

/// Their units; none of the on/off signal.
pub const UNITS: [&str; 4] = ["", "A", "°C", "kW"];

/// Water at which the thermostat switches the fan on and off, °C.
const ON_ABOVE: f64 = 31.0;
const OFF_BELOW: f64 = 29.0;
/// Warming by the usual heat load and cooling by the fan, °C a period.
const WARMING: f64 = 0.12;
const COOLING: f64 = 0.30;
/// Current of the fan, A; heat load, kW.
const CURRENT: f64 = 4.2;
const LOAD: f64 = 12.0;
/// Sensor noise of current, water and load, standard deviation.
const SENSOR_SD: [f64; 3] = [0.04, 0.04, 0.12];

/// Rows between the starts of two faults, half-way between those of two pumps.
const EVERY: u64 = 2 * SPACING;
const FIRST: u64 = FIRST_ROW + SPACING / 2;
/// Rows that a fault lasts.
const LENGTH: u64 = 90;
/// Rows after which the second of two overlapping faults begins.
const SECOND_AFTER: u64 = 25;
/// Rows for which a returning fault is there, and away.
const THERE: u64 = 15;
const AWAY: u64 = 22;

const KINDS: [FaultKind; 3] = [
    FaultKind::Relay,
    FaultKind::Overlapping,
    FaultKind::Returning,
];

/// The cooler and its faults.
#[derive(Clone, Debug)]
pub struct Cooler {
    rng: Pcg64,
    load: Autoregressive,
    water: f64,
    is_on: bool,
    row: u64,
    has_faults: bool,
}

/// The fault of a row and the rows since it began.
struct Active {
    kind: FaultKind,
    since: u64,
}

impl Cooler {
    /// A cooler with faults, or without.
    pub fn new(seed: u64, has_faults: bool) -> Cooler {
        Cooler {
            rng: Pcg64::seed_from_u64(seed.wrapping_add(1000)),
            load: Autoregressive::new(0.08, 0.98),
            water: 30.0,
            is_on: false,
            row: 0,
            has_faults,
        }
    }

    /// Number of the fault whose turn it is, from 0, and the rows since it began.
    fn turn(&self) -> Option<(u64, u64)> {
        let since = self.row.checked_sub(FIRST).filter(|_| self.has_faults)?;
        Some((since / EVERY, since % EVERY))
    }

    fn active(&self) -> Option<Active> {
        let (number, since) = self.turn().filter(|(_, since)| *since < LENGTH)?;
        let kind = KINDS[(number % KINDS.len() as u64) as usize];
        Some(Active { kind, since })
    }

    /// The fault that begins or ends with the next row.
    pub fn edge(&self, ts_ms: i64) -> Option<FaultEdge> {
        let (number, since) = self.turn()?;
        if since != 0 && since != LENGTH {
            return None;
        }
        let kind = KINDS[(number % KINDS.len() as u64) as usize];
        let channel = match kind {
            FaultKind::Relay => "fan_on",
            FaultKind::Overlapping => "water_temp and fan_current",
            _ => "fan_current",
        };
        Some(FaultEdge {
            fault: number + 1,
            stream: COOLER.to_owned(),
            channel: channel.to_owned(),
            kind,
            begins: since == 0,
            ts: ts_ms,
        })
    }

    /// The next period: a reading a channel.
    pub fn tick(&mut self) -> [f64; 4] {
        let active = self.active();
        let load = 1.0 + self.load.step(&mut self.rng);
        self.is_on = match self.water {
            water if water > ON_ABOVE => true,
            water if water < OFF_BELOW => false,
            _ => self.is_on,
        };
        let sticks = matches!(&active, Some(fault) if fault.kind == FaultKind::Relay);
        let runs = self.is_on || sticks;
        let cooling = if runs { COOLING } else { 0.0 };
        self.water += WARMING * load - cooling * (self.water - 15.0) / 15.0;
        let mut noise = || gauss(&mut self.rng);
        let mut current = if runs { CURRENT } else { 0.0 };
        current += SENSOR_SD[0] * noise() * if runs { 1.0 } else { 0.3 };
        let mut water = self.water + SENSOR_SD[1] * noise();
        let load = LOAD * load + SENSOR_SD[2] * noise();
        match active {
            Some(Active {
                kind: FaultKind::Overlapping,
                since,
            }) => {
                water += 2.0;
                if since >= SECOND_AFTER {
                    current += 0.8 * noise();
                }
            }
            Some(Active {
                kind: FaultKind::Returning,
                since,
            }) if since % (THERE + AWAY) < THERE => current += 1.5,
            _ => {}
        }
        self.row += 1;
        let rounded = |value: f64| (value * 1e3).round() / 1e3;
        [
            f64::from(u8::from(runs)),
            rounded(current),
            rounded(water),
            rounded(load),
        ]
    }
}

#[cfg(test)]
mod tests {
    use super::super::plant::PERIOD_S;
    use super::*;

    #[test]
    fn the_fan_goes_on_and_off_and_keeps_the_water_between_its_limits() {
        let mut cooler = Cooler::new(1, false);
        let rows: Vec<[f64; 4]> = (0..5000).map(|_| cooler.tick()).collect();
        let switches = rows.windows(2).filter(|w| w[0][0] != w[1][0]).count();
        assert!((150..800).contains(&switches), "{switches}");
        assert!(rows.iter().all(|row| (28.0..32.0).contains(&row[2])));
    }

    #[test]
    fn each_kind_of_fault_is_announced_and_changes_what_is_shown() {
        let (mut good, mut bad) = (Cooler::new(1, false), Cooler::new(1, true));
        let mut kinds = Vec::new();
        let mut changed = [0, 0, 0];
        for row in 0..FIRST + 3 * EVERY {
            let edge = bad.edge((row as f64 * PERIOD_S) as i64);
            kinds.extend(edge.filter(|edge| edge.begins).map(|edge| edge.kind));
            let (good, bad) = (good.tick(), bad.tick());
            if row < FIRST {
                assert_eq!(good, bad);
            } else if (row - FIRST) % EVERY < LENGTH {
                changed[((row - FIRST) / EVERY) as usize] += usize::from(good != bad);
            }
        }
        assert_eq!(kinds, KINDS);
        assert!(changed.iter().all(|n| *n >= 30), "{changed:?}");
    }
}
