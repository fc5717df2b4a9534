//! Figures of single streams, under a label each, for so many streams as are wanted.

use std::sync::Arc;
use std::time::Duration;

use prometheus::{GaugeVec, IntGauge, IntGaugeVec, Opts};

use super::declare::Declare;
use super::whole;
use crate::engine::EngineStats;
use crate::row::{ChannelOutcome, Kind};

/// Metrics of one stream.
#[derive(Clone, Copy, Debug)]
pub struct StreamFigures<'a> {
    /// The engine's counters and moving figures.
    pub stats: &'a EngineStats,
    /// Last anomaly score over the bar.
    pub score: f64,
    /// How far the last row is from what was expected.
    pub severity: f64,
    /// Kind of the open incident.
    pub incident: Option<Kind>,
    /// The whole stream is muted.
    pub is_muted: bool,
    /// Time since the last reading came, or since the start.
    pub last_reading_age: Duration,
    /// Usual time between two readings of a channel; zero while unknown.
    pub usual_interval: Duration,
    /// Channel names.
    pub channels: &'a [Arc<str>],
    /// The channels in the last row.
    pub outcomes: &'a [ChannelOutcome],
}

/// Channels that have series of their own, a stream with a label: more channels than that in all have
/// none beyond it.
const CHANNELS_A_STREAM: usize = 8;

/// Figures of single streams.
#[derive(Debug)]
pub(super) struct StreamMetrics {
    rows: IntGaugeVec,
    score: GaugeVec,
    severity: GaugeVec,
    incident: IntGaugeVec,
    muted: IntGaugeVec,
    age: GaugeVec,
    interval: GaugeVec,
    log_density: GaugeVec,
    log_density_baseline: GaugeVec,
    coverage: GaugeVec,
    rmse_ratio: GaugeVec,
    unlabelled: IntGauge,
    channel_value: GaugeVec,
    channel_mean: GaugeVec,
    channel_sd: GaugeVec,
    channels_unlabelled: IntGauge,
}

impl StreamMetrics {
    /// Declares them.
    pub fn declare(d: &Declare<'_>) -> prometheus::Result<StreamMetrics> {
        let incident = Opts::new(
            "spiked_stream_incident",
            "1 while the stream has an open incident of this kind (http.max_labelled_streams)",
        );
        let incident = IntGaugeVec::new(incident, &["stream", "kind"])?;
        d.0.register(Box::new(incident.clone()))?;
        Ok(StreamMetrics {
            rows: d.int_gauges(
                "spiked_stream_rows",
                "Rows of one stream (http.max_labelled_streams)",
                "stream",
            )?,
            score: d.gauges(
                "spiked_stream_score_ratio",
                "Last anomaly score of one stream over its bar (http.max_labelled_streams)",
                "stream",
            )?,
            severity: d.gauges(
                "spiked_stream_severity",
                "Severity of the last row of one stream, unbounded above (http.max_labelled_streams)",
                "stream",
            )?,
            incident,
            muted: d.int_gauges(
                "spiked_stream_muted",
                "1 while the whole stream is muted (http.max_labelled_streams)",
                "stream",
            )?,
            age: d.gauges(
                "spiked_stream_last_reading_age_seconds",
                "Time since the last reading of one stream came, or since the start (http.max_labelled_streams)",
                "stream",
            )?,
            interval: d.gauges(
                "spiked_stream_usual_interval_seconds",
                "Usual time between two readings of a channel of one stream, by its own stamps (http.max_labelled_streams)",
                "stream",
            )?,
            log_density: d.gauges(
                "spiked_stream_log_density_nats",
                "Log predictive density of one stream (http.max_labelled_streams)",
                "stream",
            )?,
            log_density_baseline: d.gauges(
                "spiked_stream_log_density_baseline_nats",
                "The same for the noise-only persistence model (http.max_labelled_streams)",
                "stream",
            )?,
            coverage: d.gauges(
                "spiked_stream_interval_coverage_ratio",
                "Coverage of the nominal 90% interval of one stream (http.max_labelled_streams)",
                "stream",
            )?,
            rmse_ratio: d.gauges(
                "spiked_stream_rmse_persistence_ratio",
                "One-step error over that of persistence of one stream (http.max_labelled_streams)",
                "stream",
            )?,
            unlabelled: d.int_gauge(
                "spiked_streams_unlabelled",
                "Streams without series of their own, since there are more than http.max_labelled_streams",
            )?,
            channel_value: d.gauges_by(
                "spiked_channel_value",
                "Last value of one channel, in its own unit (eight times http.max_labelled_streams channels)",
                &["stream", "channel"],
            )?,
            channel_mean: d.gauges_by(
                "spiked_channel_predicted_mean",
                "The same as it was predicted before it was measured",
                &["stream", "channel"],
            )?,
            channel_sd: d.gauges_by(
                "spiked_channel_predicted_sd",
                "Standard deviation of that prediction",
                &["stream", "channel"],
            )?,
            channels_unlabelled: d.int_gauge(
                "spiked_channels_unlabelled",
                "Channels of the streams with series of their own that have none, since there are too many",
            )?,
        })
    }

    /// Sets the figures of these streams and removes the series of all others, of which `rest` are alive.
    pub fn set(&self, streams: &[(&str, StreamFigures<'_>)], rest: usize) {
        self.unlabelled.set(whole(rest));
        for gauge in self.gauges() {
            gauge.reset();
        }
        self.rows.reset();
        self.incident.reset();
        self.muted.reset();
        let mut room = CHANNELS_A_STREAM * streams.len();
        let mut without = 0;
        for (name, figures) in streams {
            self.set_one(name, figures);
            let labelled = figures.outcomes.len().min(room);
            room -= labelled;
            without += figures.outcomes.len() - labelled;
            let channels = figures.channels.iter().zip(&figures.outcomes[..labelled]);
            for (channel, outcome) in channels {
                self.set_channel([name, channel], outcome);
            }
        }
        self.channels_unlabelled.set(whole(without));
    }

    fn gauges(&self) -> [&GaugeVec; 11] {
        [
            &self.score,
            &self.severity,
            &self.age,
            &self.interval,
            &self.log_density,
            &self.log_density_baseline,
            &self.coverage,
            &self.rmse_ratio,
            &self.channel_value,
            &self.channel_mean,
            &self.channel_sd,
        ]
    }

    fn set_channel(&self, labels: [&str; 2], outcome: &ChannelOutcome) {
        for (gauge, x) in [
            (&self.channel_value, outcome.value),
            (&self.channel_mean, outcome.mean),
            (&self.channel_sd, outcome.sd),
        ] {
            if x.is_finite() {
                gauge.with_label_values(&labels).set(x);
            }
        }
    }

    fn set_one(&self, name: &str, figures: &StreamFigures<'_>) {
        let stats = figures.stats;
        self.rows.with_label_values(&[name]).set(whole(stats.rows));
        let muted = i64::from(figures.is_muted);
        self.muted.with_label_values(&[name]).set(muted);
        for kind in Kind::ALL {
            let open = i64::from(figures.incident == Some(kind));
            let labels = [name, kind.as_str()];
            self.incident.with_label_values(&labels).set(open);
        }
        let interval = figures.usual_interval.as_secs_f64();
        let known = if interval > 0.0 { interval } else { f64::NAN };
        for (gauge, x) in [
            (&self.score, figures.score),
            (&self.severity, figures.severity),
            (&self.age, figures.last_reading_age.as_secs_f64()),
            (&self.interval, known),
        ] {
            if x.is_finite() {
                gauge.with_label_values(&[name]).set(x);
            }
        }
        // Nothing is known of a stream before its first row.
        if stats.rows == 0 {
            return;
        }
        for (gauge, x) in [
            (&self.log_density, stats.log_density),
            (&self.log_density_baseline, stats.log_density_baseline),
            (&self.coverage, stats.coverage90),
            (&self.rmse_ratio, stats.rmse_ratio),
        ] {
            if x.is_finite() {
                gauge.with_label_values(&[name]).set(x);
            }
        }
    }
}
