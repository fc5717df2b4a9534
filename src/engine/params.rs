//! How rows are learned and judged: settings in the open, parameters once they are valid.

use serde::{Deserialize, Serialize};

use super::plan::{Plan, Rule, State};
use crate::detect::DetectSettings;

/// Most horizons.
const MAX_HORIZONS: usize = 16;

/// Settings of an engine, not yet checked. [`EngineParams::new`] checks them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct EngineSettings {
    /// Hidden spiking units: of the next-step predictor so many, of other networks at most 16; 0 for none,
    /// 0..=1024.
    pub hidden: usize,
    /// Partners from whose present values each number is predicted, at most, 0..=16; 0 for none.
    pub partners: usize,
    /// Memory of the predictors, kB, 16..=1e6: experts that do not fit are left out.
    pub max_model_kb: usize,
    /// Rules for channels: the first that fits holds; plain sensors where none does.
    pub channels: Vec<Rule>,
    /// Rows ahead that are forecast, beside the next one: each 2..=1000, all different, at most 16.
    pub horizons: Vec<u32>,
    /// Hour of day and weekday as inputs, and the context network with them.
    pub calendar: bool,
    /// Learn at all; switched off, the prediction is persistence (for comparison).
    pub learn: bool,
    /// Effective memory of the weights, rows, 100..=1e9.
    pub memory_rows: f64,
    /// Memory of level, noise and score histograms, rows, 100..=1e9.
    pub statistics_rows: f64,
    /// Degrees of freedom of the Student-t weighting, above 0; infinite for a Gaussian.
    pub student_nu: f64,
    /// The noise follows the hour of the day.
    pub hourly_noise: bool,
    /// How rows are judged.
    pub detect: DetectSettings,
    /// Seed of the random prior.
    pub seed: u64,
}

impl Default for EngineSettings {
    fn default() -> EngineSettings {
        EngineSettings {
            hidden: 64,
            partners: 4,
            max_model_kb: 1_000,
            channels: Vec::new(),
            horizons: Vec::new(),
            calendar: true,
            learn: true,
            memory_rows: 10_000.0,
            statistics_rows: 2_000.0,
            student_nu: 8.0,
            hourly_noise: true,
            detect: DetectSettings::default(),
            seed: 1,
        }
    }
}

/// Valid parameters of an engine.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct EngineParams(EngineSettings);

impl EngineParams {
    /// Checks the settings.
    ///
    /// # Errors
    /// Every offence: the setting, its range, what it got.
    pub fn new(settings: EngineSettings) -> Result<EngineParams, Vec<String>> {
        let s = &settings;
        let mut errors = Vec::new();
        let mut repeated = None;
        let mut check = |name: &str, value: f64, low: f64, high: f64| {
            // Written so that NaN fails.
            if !(value >= low && value <= high) {
                errors.push(format!("{name} must be {low} to {high}, got {value}"));
            }
        };
        check("hidden", s.hidden as f64, 0.0, 1024.0);
        check("partners", s.partners as f64, 0.0, 16.0);
        check("max_model_kb", s.max_model_kb as f64, 16.0, 1e6);
        check("memory_rows", s.memory_rows, 100.0, 1e9);
        check("statistics_rows", s.statistics_rows, 100.0, 1e9);
        check("student_nu", s.student_nu, 0.1, f64::INFINITY);
        check("gate_weight", s.detect.gate_weight, 0.0, 1.0);
        check("warm_up_rows", s.detect.warm_up_rows as f64, 20.0, 1e6);
        check(
            "false_alarms_per_week",
            s.detect.false_alarms_per_week,
            1e-6,
            1000.0,
        );
        check(
            "hold_rows",
            f64::from(s.detect.incident.hold_rows),
            10.0,
            1e6,
        );
        check("hold_s", s.detect.incident.hold_s, 1.0, 1e9);
        check("close_share", s.detect.incident.close_share, 0.0, 0.99);
        for (i, &horizon) in s.horizons.iter().enumerate() {
            check("horizons", f64::from(horizon), 2.0, 1000.0);
            if s.horizons[..i].contains(&horizon) {
                repeated = Some(horizon);
            }
        }
        if let Some(horizon) = repeated {
            errors.push(format!("horizons must differ, got {horizon} twice"));
        }
        if s.horizons.len() > MAX_HORIZONS {
            errors.push(format!(
                "horizons must be at most {MAX_HORIZONS}, got {}",
                s.horizons.len()
            ));
        }
        if errors.is_empty() {
            Ok(EngineParams(settings))
        } else {
            Err(errors)
        }
    }

    /// Returns the properties of the channel of this name.
    pub fn plan(&self, stream: &str, channel: &str) -> Plan {
        let rule = self.rule(stream, channel);
        rule.map_or_else(Plan::default, |rule| rule.plan.clone())
    }

    /// The listed states of the channel of this name.
    pub fn states(&self, stream: &str, channel: &str) -> Option<&[State]> {
        self.rule(stream, channel)?.plan.values.listed()
    }

    /// Some channels have listed states.
    pub fn lists_states(&self) -> bool {
        let mut rules = self.0.channels.iter();
        rules.any(|rule| rule.plan.values.listed().is_some())
    }

    fn rule(&self, stream: &str, channel: &str) -> Option<&Rule> {
        self.0.channels.iter().find(|r| r.fits(stream, channel))
    }

    /// The settings, known to be valid.
    pub fn get(&self) -> &EngineSettings {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_are_valid() {
        assert_eq!(
            EngineParams::new(EngineSettings::default()),
            Ok(EngineParams::default())
        );
    }

    #[test]
    fn every_offence_is_told_at_once() {
        let settings = EngineSettings {
            hidden: 5000,
            memory_rows: f64::NAN,
            detect: DetectSettings {
                gate_weight: 2.0,
                ..DetectSettings::default()
            },
            horizons: vec![12, 1, 12],
            ..Default::default()
        };
        let errors = EngineParams::new(settings).expect_err("five offences");
        assert_eq!(errors.len(), 5, "{errors:?}");
        assert!(errors[1].contains("memory_rows") && errors[1].contains("NaN"));
    }
}
