//! Summary of a recording: accuracy against simple rivals, calibration, flags, stability.

use serde::Serialize;

use super::Z90;
use super::ahead::Ahead;
use super::flagged::Flagged;
use super::proposals::{FEWEST_VALUES, SeenValues, SettingProposal};
use crate::engine::{EngineParams, EngineStats};
use crate::row::{ChannelOutcome, IncidentEdge, Kind, Outcome};

/// The gain over persistence may move by this much (nats a value) from the middle third of a
/// recording to its last and still count as settled.
const SETTLED: f64 = 0.1;
/// A last third this much (nats a value) below persistence is called diverging.
const WORSE: f64 = 0.5;

/// Sums over the scored values of one third of the recording.
#[derive(Clone, Copy, Debug, Default)]
struct Third {
    n: f64,
    density: f64,
    baseline_density: f64,
    /// Highest score of its rows.
    score: f32,
}

/// Running sums of one channel.
#[derive(Clone, Debug, Default)]
struct ErrorSums {
    seen: f64,
    mean: f64,
    m2: f64,
    previous: f64,
    n: f64,
    square: f64,
    square_persistence: f64,
    square_mean: f64,
    moving: f64,
    inside: f64,
    n_density: f64,
    density: f64,
    baseline_density: f64,
}

/// One channel's figures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ChannelSummary {
    /// The channel.
    pub name: String,
    /// Values predicted.
    pub scored: u64,
    /// One-step RMSE, in the channel's units.
    pub rmse: f64,
    /// The same over that of persistence.
    pub rmse_over_persistence: f64,
    /// The same over that of the running mean.
    pub rmse_over_running_mean: f64,
    /// Share of values inside the nominal 90% interval, mean -+ 1.645 sd, of those that were not expected
    /// to stay as they were.
    pub coverage90: f64,
    /// Mean log density under the predictive distribution, nats a value, the channel scaled to unit
    /// standard deviation.
    pub log_density: f64,
    /// The same under persistence, Student's t about the last value.
    pub log_density_persistence: f64,
}

/// Whether learning has settled.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Convergence {
    /// `converged`, `still moving`, `diverging` or `too short`.
    pub state: &'static str,
    /// Why, in words.
    pub why: String,
}

/// A recording's figures. All are test-then-train: every value was predicted before it was seen.
#[derive(Clone, Debug, Serialize)]
pub struct Summary {
    /// Rows.
    pub rows: u64,
    /// Time from the first row to the last, milliseconds.
    pub span_ms: i64,
    /// Highest scores of the recording's parts, in order.
    #[serde(skip)]
    pub severity: Vec<f32>,
    #[serde(skip)]
    first_ms: Option<i64>,
    /// Values that were not missing.
    pub readings: u64,
    /// Wall time, seconds; set by [`Summary::took`].
    pub seconds: f64,
    /// Readings learned a second; set by [`Summary::took`].
    pub readings_per_s: f64,
    /// Mean over channels of the channels' ratio.
    pub rmse_over_persistence: f64,
    /// Mean over channels of the channels' ratio.
    pub rmse_over_running_mean: f64,
    /// Mean over channels.
    pub coverage90: f64,
    /// Mean over channels.
    pub log_density: f64,
    /// Mean over channels.
    pub log_density_persistence: f64,
    /// Rows flagged: an incident was open.
    pub flags: u64,
    /// Incidents opened.
    pub incidents: u64,
    /// The same by kind.
    pub incidents_by_kind: Vec<(&'static str, u64)>,
    /// One by one.
    pub incident_list: Flagged,
    /// False alarms that the setting allows over the time of this recording.
    pub wanted_false_alarms: f64,
    /// Learning updates: rows learned.
    pub updates: u64,
    /// Site precisions clipped to their legal range, a learned row.
    pub clipped_per_row: f64,
    /// Updates skipped because nothing finite came of them.
    pub skipped: u64,
    /// Relative change of the weights per row at the end.
    pub site_change: f64,
    /// A figure a channel.
    pub channels: Vec<ChannelSummary>,
    /// Forecasts further ahead and channels of states.
    #[serde(flatten)]
    pub ahead: Ahead,
    /// Whether learning has settled.
    pub verdict: Convergence,
    /// Settings that would suit the channels.
    pub proposals: Vec<SettingProposal>,
    #[serde(skip)]
    sums: Vec<ErrorSums>,
    #[serde(skip)]
    values: Vec<SeenValues>,
    #[serde(skip)]
    history: Vec<Third>,
    #[serde(skip)]
    warm_up_rows: u64,
    #[serde(skip)]
    names: Vec<String>,
}

/// Rows a slice of the history: thirds are put together from slices when the length is known.
const SLICE: u64 = 64;

impl Summary {
    /// A summary of nothing yet.
    pub fn new(channels: &[String], params: &EngineParams) -> Summary {
        let mut summary = Summary::of_none(params);
        summary.add(channels);
        summary
    }

    /// Takes in the channels that have come since; all are given, in order.
    pub fn add(&mut self, channels: &[impl AsRef<str>]) {
        for name in &channels[self.names.len()..] {
            let name = name.as_ref().to_owned();
            self.names.push(name.clone());
            self.channels.push(ChannelSummary {
                name,
                scored: 0,
                rmse: f64::NAN,
                rmse_over_persistence: f64::NAN,
                rmse_over_running_mean: f64::NAN,
                coverage90: f64::NAN,
                log_density: f64::NAN,
                log_density_persistence: f64::NAN,
            });
            self.values.push(SeenValues::default());
            self.sums.push(ErrorSums {
                previous: f64::NAN,
                ..ErrorSums::default()
            });
        }
    }

    fn of_none(params: &EngineParams) -> Summary {
        Summary {
            rows: 0,
            span_ms: 0,
            severity: Vec::new(),
            first_ms: None,
            readings: 0,
            seconds: 0.0,
            readings_per_s: 0.0,
            rmse_over_persistence: f64::NAN,
            rmse_over_running_mean: f64::NAN,
            coverage90: f64::NAN,
            log_density: f64::NAN,
            log_density_persistence: f64::NAN,
            flags: 0,
            incidents: 0,
            incidents_by_kind: Vec::new(),
            incident_list: Flagged::default(),
            wanted_false_alarms: 0.0,
            updates: 0,
            clipped_per_row: 0.0,
            skipped: 0,
            site_change: 0.0,
            proposals: Vec::new(),
            sums: Vec::new(),
            values: Vec::new(),
            channels: Vec::new(),
            ahead: Ahead::default(),
            verdict: Convergence {
                state: "too short",
                why: String::new(),
            },
            history: Vec::new(),
            warm_up_rows: params.get().detect.warm_up_rows,
            names: Vec::new(),
        }
    }

    /// Takes one row's outcome.
    pub fn observe(&mut self, outcome: &Outcome) {
        if self.rows.is_multiple_of(SLICE) {
            self.history.push(Third::default());
        }
        if !(outcome.forecasts.is_empty() && outcome.odds.is_empty()) {
            self.ahead.observe(&self.names, outcome);
        }
        self.rows += 1;
        let first_ms = *self.first_ms.get_or_insert(outcome.ts_ms);
        self.span_ms = self.span_ms.max(outcome.ts_ms.saturating_sub(first_ms));
        if let Some(part) = self.history.last_mut() {
            // A maximum passes over a score that is NaN.
            part.score = part.score.max(outcome.score.max(outcome.severity) as f32);
        }
        self.flags += u64::from(outcome.anomaly);
        if matches!(outcome.edge, Some(IncidentEdge::Opened(_))) {
            self.incidents += 1;
        }
        let sums = self.sums.iter_mut().zip(&mut self.values);
        for ((sums, values), channel) in sums.zip(&outcome.channels) {
            if channel.value.is_nan() {
                continue;
            }
            values.observe(channel.value);
            self.readings += 1;
            let is_scored = sums.score(channel) && channel.ln_density.is_finite();
            if let Some(third) = self.history.last_mut().filter(|_| is_scored) {
                third.n += 1.0;
                third.density += channel.ln_density;
                third.baseline_density += channel.ln_baseline;
            }
            sums.learn(channel.value);
        }
    }

    /// Puts the figures together when the recording has ended.
    pub fn finish(&mut self, stats: &EngineStats, wanted_false_alarms: f64) {
        for (channel, sums) in self.channels.iter_mut().zip(&self.sums) {
            sums.fill(channel);
        }
        let named = self.names.iter().zip(&self.values);
        self.proposals
            .extend(named.filter_map(|(name, values)| values.proposal(name, FEWEST_VALUES)));
        self.ahead.finish();
        self.rmse_over_persistence = self.mean_of(|c| c.rmse_over_persistence);
        self.rmse_over_running_mean = self.mean_of(|c| c.rmse_over_running_mean);
        self.coverage90 = self.mean_of(|c| c.coverage90);
        self.log_density = self.mean_of(|c| c.log_density);
        self.log_density_persistence = self.mean_of(|c| c.log_density_persistence);
        self.incidents_by_kind = Kind::ALL
            .iter()
            .zip(stats.incidents)
            .map(|(kind, n)| (kind.as_str(), n))
            .collect();
        self.wanted_false_alarms = wanted_false_alarms;
        self.updates = stats.learned;
        self.clipped_per_row = stats.clipped as f64 / (stats.learned as f64).max(1.0);
        self.skipped = stats.skipped;
        self.site_change = stats.site_change;
        self.severity = self.history.iter().map(|part| part.score).collect();
        self.verdict = self.judge();
    }

    /// Takes the wall time of the run, seconds.
    pub fn took(&mut self, seconds: f64) {
        self.seconds = seconds;
        self.readings_per_s = self.readings as f64 / seconds.max(1e-9);
    }

    /// Mean over the channels for which the figure exists; NaN if none.
    fn mean_of(&self, figure: impl Fn(&ChannelSummary) -> f64) -> f64 {
        let figures: Vec<f64> = self
            .channels
            .iter()
            .map(figure)
            .filter(|x| x.is_finite())
            .collect();
        figures.iter().sum::<f64>() / figures.len() as f64
    }

    /// Mean gain over persistence (nats a value) in a span of the history, given in thirds.
    fn gain(&self, third: usize) -> Option<f64> {
        let n = self.history.len();
        let slices = &self.history[third * n / 3..(third + 1) * n / 3];
        let total: f64 = slices.iter().map(|s| s.n).sum();
        let gain: f64 = slices.iter().map(|s| s.density - s.baseline_density).sum();
        (total > 0.0).then(|| gain / total)
    }

    fn judge(&self) -> Convergence {
        let verdict = |state, why| Convergence { state, why };
        if self.rows < 5 * self.warm_up_rows {
            let why = format!(
                "{} rows are fewer than five warm-ups of {} rows",
                self.rows, self.warm_up_rows
            );
            return verdict("too short", why);
        }
        let (Some(middle), Some(last)) = (self.gain(1), self.gain(2)) else {
            return verdict(
                "too short",
                "a third of the recording has no scored values".into(),
            );
        };
        let figures = format!(
            "gain over persistence {middle:+.3} nats a value in the middle third, {last:+.3} in \
             the last; weights change by {:.2}% a row; {} updates skipped",
            100.0 * self.site_change,
            self.skipped
        );
        if !last.is_finite() || last < -WORSE && last < middle {
            verdict(
                "diverging",
                format!("predictions are worse than persistence: {figures}"),
            )
        } else if (last - middle).abs() > SETTLED {
            let way = if last > middle {
                "still improving"
            } else {
                "the data changed"
            };
            verdict("still moving", format!("{way}: {figures}"))
        } else {
            verdict("converged", figures)
        }
    }
}

impl ErrorSums {
    /// Scores one prediction; gives false where there was none.
    fn score(&mut self, channel: &ChannelOutcome) -> bool {
        let ChannelOutcome {
            value, mean, sd, ..
        } = *channel;
        if mean.is_nan() || sd.is_nan() || self.previous.is_nan() {
            return false;
        }
        let (residual, step) = (value - mean, value - self.previous);
        self.n += 1.0;
        self.square += residual * residual;
        self.square_persistence += step * step;
        self.square_mean += (value - self.mean).powi(2);
        if !channel.at_rest {
            self.moving += 1.0;
            self.inside += f64::from(u8::from(residual.abs() <= Z90 * sd));
        }
        if channel.ln_density.is_finite() {
            self.n_density += 1.0;
            self.density += channel.ln_density;
            self.baseline_density += channel.ln_baseline;
        }
        true
    }

    fn learn(&mut self, value: f64) {
        self.seen += 1.0;
        let deviation = value - self.mean;
        self.mean += deviation / self.seen;
        self.m2 += deviation * (value - self.mean);
        self.previous = value;
    }

    fn fill(&self, channel: &mut ChannelSummary) {
        let sd = (self.m2 / self.seen).sqrt();
        channel.scored = self.n as u64;
        channel.rmse = (self.square / self.n).sqrt();
        channel.rmse_over_persistence = (self.square / self.square_persistence).sqrt();
        channel.rmse_over_running_mean = (self.square / self.square_mean).sqrt();
        channel.coverage90 = self.inside / self.moving;
        channel.log_density = self.density / self.n_density + sd.ln();
        channel.log_density_persistence = self.baseline_density / self.n_density + sd.ln();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ln_normal(residual: f64, sd: f64) -> f64 {
        -0.5 * (std::f64::consts::TAU.ln() + (residual / sd).powi(2)) - sd.ln()
    }

    fn outcome(value: f64, mean: f64, sd: f64) -> Outcome {
        Outcome {
            ts_ms: 0,
            arrival_ms: 0,
            row: 0,
            warming_up: false,
            score: 0.0,
            severity: 0.0,
            anomaly: false,
            kind: None,
            channels: vec![ChannelOutcome {
                mean,
                sd,
                ln_density: ln_normal(value - mean, sd),
                ln_baseline: -2.0,
                ..ChannelOutcome::unknown(value)
            }],
            forecasts: Vec::new(),
            odds: Vec::new(),
            edge: None,
        }
    }

    #[test]
    fn ratios_compare_with_the_value_before_and_the_mean_of_all_before() {
        let mut summary = Summary::new(&["a".into()], &EngineParams::default());
        // Truth alternates 0, 2; the prediction is off by half a unit, persistence by two.
        for i in 0..100 {
            let value = f64::from(i % 2) * 2.0;
            let mean = if i == 0 { f64::NAN } else { value + 0.5 };
            summary.observe(&outcome(value, mean, 1.0));
        }
        summary.finish(&EngineStats::default(), 0.0);
        assert!((summary.rmse_over_persistence - 0.25).abs() < 1e-12);
        assert!((summary.rmse_over_running_mean - 0.5).abs() < 0.02);
        assert_eq!(summary.coverage90, 1.0);
        assert!((summary.log_density_persistence + 2.0).abs() < 1e-9);
        let expected = ln_normal(0.5, 1.0);
        assert!(
            (summary.log_density - expected).abs() < 1e-9,
            "{}",
            summary.log_density
        );
    }

    #[test]
    fn coverage_is_that_of_values_which_were_not_expected_to_stay() {
        let mut summary = Summary::new(&["a".into()], &EngineParams::default());
        for i in 0..100 {
            let mut outcome = outcome(f64::from(i), f64::from(i) + 2.0, 1.0);
            let channel = &mut outcome.channels[0];
            channel.at_rest = i % 2 == 0;
            channel.sd = if i % 4 == 1 { 2.0 } else { 1.0 };
            summary.observe(&outcome);
        }
        summary.finish(&EngineStats::default(), 0.0);
        assert_eq!(summary.coverage90, 0.5);
    }

    #[test]
    fn a_model_that_gets_worse_than_persistence_is_called_diverging() {
        let mut summary = Summary::new(&["a".into()], &EngineParams::default());
        for i in 0..3000 {
            let value = f64::from(i % 7);
            let off = if i > 2000 { 30.0 } else { 0.5 };
            summary.observe(&outcome(value, value + off, 1.0));
        }
        summary.finish(&EngineStats::default(), 0.0);
        assert_eq!(summary.verdict.state, "diverging", "{:?}", summary.verdict);
    }
}
