//! Reads `[stream]`, `[learn]`, `[detect]` and `[experimental]`: the parameters of each stream.

use std::sync::Arc;
use std::time::Duration;

use config::Value;

use super::reader::{ProblemReport, Section, not_empty};
use crate::assemble::{Align, AssembleParams};
use crate::detect::{DetectSettings, Heads, IncidentParams};
use crate::engine::{EngineParams, EngineSettings, Rule};

/// Settings of `[stream]` that the router needs.
pub(super) struct Caps {
    pub streams: usize,
    /// `None` for never.
    pub expire_after: Option<Duration>,
    pub channels: usize,
    pub listed: Vec<Arc<str>>,
}

pub(super) fn stream(
    value: Option<Value>,
    report: &mut ProblemReport,
) -> (Caps, Option<AssembleParams>) {
    let mut s = Section::new("stream", "[stream]", value, report);
    let align = s.choice(
        "align",
        "when-complete",
        &[
            ("when-complete", Align::WhenComplete),
            ("per-reading", Align::PerReading),
            ("fixed-period", Align::FixedPeriod),
        ],
    );
    let period_s = s.number("period_s", 1.0, 0.001..=86_400.0);
    let max_age_s = s.number("max_age_s", 300.0, 0.001..=31_536_000.0);
    let max_streams = s.size("max_streams", 1000, 1..=1_000_000);
    let max_channels = s.size("max_channels", 64, 1..=4096);
    let expire_after_s = s.number("expire_after_s", 60.0, 0.0..=31_536_000.0);
    let channels = s.list("channels", not_empty);
    let channels: Vec<Arc<str>> = channels.into_iter().map(Arc::from).collect();
    let params = AssembleParams::new(
        align,
        millis(period_s),
        millis(max_age_s),
        max_channels,
        channels.clone(),
    );
    let params = s.accept(params);
    s.done();
    let caps = Caps {
        streams: max_streams,
        expire_after: (expire_after_s > 0.0).then(|| Duration::from_secs_f64(expire_after_s)),
        channels: max_channels,
        listed: channels,
    };
    (caps, params)
}

/// Seconds within a validated range to whole milliseconds, at least 1.
#[expect(
    clippy::cast_possible_truncation,
    reason = "validated ranges end far below i64::MAX"
)]
fn millis(seconds: f64) -> i64 {
    ((seconds * 1000.0).round() as i64).max(1)
}

/// The one place where `[learn]`, `[detect]` and `[experimental]` become the engine's parameters.
pub(super) fn engine(
    learn: Option<Value>,
    detect: Option<Value>,
    experimental: Option<Value>,
    horizons: Vec<u32>,
    channels: Vec<Rule>,
    report: &mut ProblemReport,
) -> Option<EngineParams> {
    let d = EngineSettings::default();
    let mut s = Section::new("learn", "[learn]", learn, report);
    let memory_rows = s.number("weight_memory_rows", d.memory_rows, 100.0..=1e9);
    let statistics_rows = s.number("statistics_memory_rows", d.statistics_rows, 100.0..=1e9);
    let hidden = s.size("hidden", d.hidden, 0..=1024);
    let partners = s.size("partners", d.partners, 0..=16);
    let max_model_kb = s.size("max_model_kb", d.max_model_kb, 16..=1_000_000);
    let student_nu = s.number("student_t_dof", d.student_nu, 0.1..=1e9);
    let seed = s.integer("seed", d.seed, 0..=u64::MAX);
    s.done();
    let mut s = Section::new("detect", "[detect]", detect, report);
    let mut detect = detector(&mut s, d.detect);
    s.done();
    let mut s = Section::new("experimental", "[experimental]", experimental, report);
    let learn = s.flag("learn_weights", d.learn);
    let calendar = s.flag("calendar", d.calendar);
    let hourly_noise = s.flag("hourly_noise", d.hourly_noise);
    witnesses(&mut s, &mut detect);
    let params = EngineParams::new(EngineSettings {
        horizons,
        channels,
        memory_rows,
        statistics_rows,
        hidden,
        partners,
        max_model_kb,
        calendar,
        learn,
        hourly_noise,
        student_nu,
        seed,
        detect,
    });
    let params = s.accept(params);
    s.done();
    params
}

/// Reads `[detect]`.
fn detector(s: &mut Section<'_>, d: DetectSettings) -> DetectSettings {
    let wanted = d.false_alarms_per_week;
    let hold_rows = u64::from(d.incident.hold_rows);
    let hold_rows = s.integer("accept_as_normal_after_rows", hold_rows, 10..=1_000_000);
    let hold_s = s.number(
        "accept_as_normal_after_s",
        d.incident.hold_s,
        1.0..=31_536_000.0,
    );
    DetectSettings {
        false_alarms_per_week: s.number("false_alarms_per_week", wanted, 1e-6..=1000.0),
        warm_up_rows: s.integer("warm_up_rows", d.warm_up_rows, 20..=1_000_000),
        gate_weight: s.number("incident_learning_weight", d.gate_weight, 0.0..=1.0),
        incident: IncidentParams {
            hold_rows: u32::try_from(hold_rows).unwrap_or(u32::MAX),
            hold_s,
            ..d.incident
        },
        ..d
    }
}

/// Reads the detector's switches in `[experimental]`.
fn witnesses(s: &mut Section<'_>, detect: &mut DetectSettings) {
    let heads = [
        ("both", Heads::Both),
        ("step", Heads::Step),
        ("context", Heads::Context),
    ];
    detect.heads = s.choice("heads", "both", &heads);
    detect.temper = s.flag("discount_autocorrelation", detect.temper);
    detect.habits = s.flag("run_lengths", detect.habits);
    detect.calibrate = s.flag("calibrate", detect.calibrate);
    detect.shift = s.flag("mean_shift", detect.shift);
    detect.joint = s.flag("cross_channel", detect.joint);
    detect.lasting = s.flag("lasting_level", detect.lasting);
    detect.usual = s.flag("usual_level", detect.usual);
    detect.level = s.flag("joint_level", detect.level);
    detect.rest = s.flag("rest", detect.rest);
}
