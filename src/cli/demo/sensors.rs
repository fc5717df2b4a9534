//! The sensors of the simulated plant: pumps, channels, units, period and usual steps.

/// Names of the pumps: the streams.
pub const PUMPS: [&str; 3] = ["pump-1", "pump-2", "pump-3"];

/// Channels of a pump, in the order of its readings.
pub const CHANNELS: [&str; 8] = [
    "speed",
    "flow",
    "inlet_pressure",
    "outlet_pressure",
    "motor_current",
    "vibration",
    "bearing_temp",
    "oil_temp",
];

/// Units of the channels.
pub const UNITS: [&str; 8] = ["rpm", "m³/h", "bar", "bar", "A", "mm/s", "°C", "°C"];

/// Standard deviation of one step of each channel in normal operation, in its unit: the size
/// that faults are measured in. A test holds it to the simulation.
pub const STEP_SD: [f64; 8] = [6.4, 0.39, 0.0123, 0.068, 0.39, 0.094, 0.086, 0.07];

/// Seconds between two readings of a channel.
pub const PERIOD_S: f64 = 10.0;
