//! The faults of the simulated plant: which, when, on which channel, and what a sensor then shows.

use serde::{Deserialize, Serialize};

use super::sensors::{CHANNELS, PUMPS, STEP_SD};

/// The fault, in words.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FaultKind {
    /// A sensor is off by a constant.
    Bias,
    /// A sensor walks away.
    Drift,
    /// A sensor repeats its last value.
    Stuck,
    /// A sensor is noisy.
    Noise,
    /// A sensor mirrors its process: the right range, the wrong sign.
    Decoupled,
    /// The process itself steps: a valve half closes, and all channels follow.
    Step,
    /// A relay sticks: what it switches stays on.
    Relay,
    /// A bias, and before it ends noise of another sensor.
    Overlapping,
    /// A bias that comes and goes.
    Returning,
}

impl FaultKind {
    /// The word used in announcements and in the view.
    pub fn as_str(self) -> &'static str {
        match self {
            FaultKind::Bias => "bias",
            FaultKind::Drift => "drift",
            FaultKind::Stuck => "stuck",
            FaultKind::Noise => "noise",
            FaultKind::Decoupled => "decoupled",
            FaultKind::Step => "step",
            FaultKind::Relay => "stuck relay",
            FaultKind::Overlapping => "overlapping bias and noise",
            FaultKind::Returning => "intermittent bias",
        }
    }
}

/// One fault: rows `start` to `end`, the last excluded.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fault {
    /// Number, from 1.
    pub id: u64,
    /// Index of the pump.
    pub pump: usize,
    /// Index of the channel; for [`FaultKind::Step`] the one that shows it first.
    pub channel: usize,
    /// The fault, in words.
    pub kind: FaultKind,
    /// How much: in steps (`STEP_SD`) of the channel, for a step the part by which the valve closes.
    pub size: f64,
    /// First row.
    pub start: u64,
    /// First row after it.
    pub end: u64,
}

/// A fault that begins or ends, as announced on `plant-faults/<pump>`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct FaultEdge {
    /// Number of the fault, from 1.
    pub fault: u64,
    /// The pump.
    pub stream: String,
    /// The channel.
    pub channel: String,
    /// The fault, in words.
    pub kind: FaultKind,
    /// It begins; else it ends.
    pub begins: bool,
    /// Simulated moment, unix milliseconds.
    pub ts: i64,
}

/// Rows before the first fault: the daemon learns what is normal.
pub const FIRST_ROW: u64 = 1800;
/// Rows between the starts of two faults; each pump has every third.
pub const SPACING: u64 = 550;
/// Rows that a fault lasts; a decoupled sensor stays in its range and lasts twice as long.
const LENGTH: u64 = 60;

/// Kind, channel and size of the faults in turn; pump and sign change with the number.
const SCRIPT: [(FaultKind, usize, f64); 10] = [
    (FaultKind::Bias, 3, 30.0),
    (FaultKind::Stuck, 1, 0.0),
    (FaultKind::Noise, 5, 10.0),
    (FaultKind::Step, 1, 0.3),
    (FaultKind::Drift, 6, 80.0),
    (FaultKind::Decoupled, 1, 0.0),
    (FaultKind::Bias, 7, 30.0),
    (FaultKind::Noise, 2, 10.0),
    (FaultKind::Stuck, 0, 0.0),
    (FaultKind::Drift, 3, 80.0),
];

/// Which faults happen when; and what the sensors in question showed as they began.
#[derive(Clone, Debug)]
pub struct FaultPlan {
    enabled: bool,
    /// Value at the start of the current fault of each pump.
    held: [Option<f64>; PUMPS.len()],
}

impl FaultPlan {
    /// The scripted faults, one every [`SPACING`] rows from [`FIRST_ROW`] on, without end.
    pub fn scripted() -> FaultPlan {
        FaultPlan {
            enabled: true,
            held: [None; PUMPS.len()],
        }
    }

    /// No faults.
    #[cfg(test)]
    pub fn none() -> FaultPlan {
        FaultPlan {
            enabled: false,
            held: [None; PUMPS.len()],
        }
    }

    /// The fault whose turn `row` is, begun or over, and its neighbours' rows do not overlap.
    fn fault_at(&self, row: u64) -> Option<Fault> {
        if !self.enabled || row < FIRST_ROW {
            return None;
        }
        let number = (row - FIRST_ROW) / SPACING;
        let (kind, channel, size) = SCRIPT[(number % SCRIPT.len() as u64) as usize];
        let start = FIRST_ROW + number * SPACING;
        let slow = kind == FaultKind::Decoupled;
        let upwards = number % 4 < 2 || kind == FaultKind::Step;
        Some(Fault {
            id: number + 1,
            pump: (number % PUMPS.len() as u64) as usize,
            channel,
            kind,
            size: if upwards { size } else { -size },
            start,
            end: start + if slow { 2 * LENGTH } else { LENGTH },
        })
    }

    /// The fault that is on at `row` in `pump`.
    fn active(&self, pump: usize, row: u64) -> Option<Fault> {
        self.fault_at(row)
            .filter(|fault| fault.pump == pump && row < fault.end)
    }

    /// Faults that begin or end at `row`.
    pub fn edges(&self, row: u64, ts_ms: i64) -> Vec<FaultEdge> {
        self.fault_at(row)
            .filter(|fault| row == fault.start || row == fault.end)
            .map(|fault| FaultEdge {
                fault: fault.id,
                stream: PUMPS[fault.pump].to_owned(),
                channel: CHANNELS[fault.channel].to_owned(),
                kind: fault.kind,
                begins: row == fault.start,
                ts: ts_ms,
            })
            .into_iter()
            .collect()
    }

    /// By what the valve of `pump` is multiplied.
    pub fn throttle(&self, pump: usize, row: u64) -> f64 {
        match self.active(pump, row) {
            Some(fault) if fault.kind == FaultKind::Step => 1.0 - fault.size,
            _ => 1.0,
        }
    }

    /// Reading of the sensor for `measured`; `noise` is a normal deviate to use.
    pub fn distort(
        &mut self,
        pump: usize,
        channel: usize,
        row: u64,
        measured: f64,
        noise: f64,
    ) -> f64 {
        let Some(fault) = self.active(pump, row) else {
            return measured;
        };
        if fault.channel != channel {
            return measured;
        }
        if row == fault.start || self.held[pump].is_none() {
            self.held[pump] = Some(measured);
        }
        let held = self.held[pump].unwrap_or(measured);
        let size = fault.size * STEP_SD[channel];
        let progress = (row - fault.start + 1) as f64 / (fault.end - fault.start) as f64;
        match fault.kind {
            FaultKind::Bias => measured + size,
            FaultKind::Drift => measured + size * progress,
            FaultKind::Stuck => held,
            FaultKind::Noise => measured + size * noise,
            FaultKind::Decoupled => 2.0 * held - measured,
            FaultKind::Step | FaultKind::Relay | FaultKind::Overlapping | FaultKind::Returning => {
                measured
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::super::plant::{PERIOD_S, Plant};
    use super::*;

    /// Row, pump, channel, and by what it differs.
    type Difference = (u64, usize, usize, f64);

    /// The plant with and without faults, rows `from` to `to`, and the edges.
    fn both(from: u64, to: u64) -> (Vec<Difference>, Vec<FaultEdge>) {
        let mut good = Plant::new(3, 0, FaultPlan::none());
        let mut bad = Plant::new(3, 0, FaultPlan::scripted());
        let (mut differences, mut edges) = (Vec::new(), Vec::new());
        for row in 0..to {
            let (good, bad) = (good.tick(), bad.tick());
            edges.extend(bad.edges);
            if row < from {
                continue;
            }
            for (a, b) in good.measurements.iter().zip(&bad.measurements) {
                if a.2 != b.2 {
                    differences.push((row, a.0, a.1, b.2 - a.2));
                }
            }
        }
        (differences, edges)
    }

    #[test]
    fn a_bias_touches_its_channel_and_its_rows_only() {
        let (differences, edges) = both(0, FIRST_ROW + 400);
        assert_eq!(edges.len(), 2);
        assert!(edges[0].begins && !edges[1].begins);
        assert!(differences.len() > 50);
        for (row, pump, channel, by) in differences {
            assert_eq!((pump, channel), (0, 3));
            assert!((FIRST_ROW..FIRST_ROW + LENGTH).contains(&row));
            assert!((by - 30.0 * STEP_SD[3]).abs() < 2e-3, "{by}");
        }
    }

    #[test]
    fn a_stuck_sensor_repeats_itself() {
        let mut plant = Plant::new(3, 0, FaultPlan::scripted());
        let mut shown = Vec::new();
        for row in 0..FIRST_ROW + SPACING + LENGTH {
            let tick = plant.tick();
            let flow = tick.measurements.iter().find(|m| (m.0, m.1) == (1, 1));
            if row >= FIRST_ROW + SPACING {
                shown.extend(flow.map(|m| m.2));
            }
        }
        assert!(shown.len() > 50);
        assert!(shown.iter().all(|&v| v == shown[0]));
    }

    #[test]
    fn a_closing_valve_reaches_flow_pressure_and_current() {
        let start = FIRST_ROW + 3 * SPACING;
        let (differences, _) = both(start, start + LENGTH);
        for channel in [1, 3, 4] {
            let far = differences
                .iter()
                .any(|d| d.1 == 0 && d.2 == channel && d.3.abs() > 5.0 * STEP_SD[channel]);
            assert!(far, "{}", CHANNELS[channel]);
        }
    }

    #[test]
    fn ten_faults_of_all_kinds_fit_into_a_simulated_day() {
        let hours = (FIRST_ROW + 9 * SPACING + 2 * LENGTH) as f64 * PERIOD_S / 3600.0;
        assert!(hours < 20.0, "60 s at 1200 times real time, got {hours}");
        let plan = FaultPlan::scripted();
        let faults: Vec<_> = (0..10)
            .filter_map(|n| plan.fault_at(FIRST_ROW + n * SPACING))
            .collect();
        assert_eq!(faults.len(), 10);
        for kind in SCRIPT.map(|s| s.0) {
            assert!(faults.iter().any(|fault| fault.kind == kind));
        }
        for pump in 0..PUMPS.len() {
            assert!(faults.iter().filter(|fault| fault.pump == pump).count() >= 3);
        }
    }
}
