//! Figures of single streams, under a label each, for so many streams as are wanted.

use std::collections::BTreeSet;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use prometheus::{GaugeVec, IntGauge, IntGaugeVec, Opts};

use super::declare::Declare;
use super::whole;
use crate::engine::EngineStats;
use crate::row::Kind;

/// What is exported of one stream.
#[derive(Clone, Copy, Debug)]
pub struct StreamFigures<'a> {
    /// The engine's counters and moving figures.
    pub stats: &'a EngineStats,
    /// Last anomaly score over the bar.
    pub score: f64,
    /// Kind of the open incident.
    pub incident: Option<Kind>,
    /// Time since the last reading came, or since the start.
    pub last_reading_age: Duration,
    /// Usual time between two readings of a channel; zero while unknown.
    pub usual_interval: Duration,
}

/// Figures of single streams.
#[derive(Debug)]
pub(super) struct StreamMetrics {
    rows: IntGaugeVec,
    score: GaugeVec,
    incident: IntGaugeVec,
    age: GaugeVec,
    interval: GaugeVec,
    log_density: GaugeVec,
    log_density_baseline: GaugeVec,
    coverage: GaugeVec,
    rmse_ratio: GaugeVec,
    unlabelled: IntGauge,
    /// Streams that have series now.
    labelled: Mutex<BTreeSet<String>>,
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
            incident,
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
            labelled: Mutex::default(),
        })
    }

    /// Sets the figures of these streams and removes the series of all others, of which `rest` are alive.
    pub fn set(&self, streams: &[(&str, StreamFigures<'_>)], rest: usize) {
        self.unlabelled.set(whole(rest));
        let now: BTreeSet<String> = streams.iter().map(|(name, _)| (*name).to_owned()).collect();
        let mut labelled = self.labelled.lock().unwrap_or_else(PoisonError::into_inner);
        for gone in labelled.difference(&now) {
            self.remove(gone);
        }
        *labelled = now;
        drop(labelled);
        for (name, figures) in streams {
            self.set_one(name, figures);
        }
    }

    fn set_one(&self, name: &str, figures: &StreamFigures<'_>) {
        let stats = figures.stats;
        self.rows.with_label_values(&[name]).set(whole(stats.rows));
        for kind in Kind::ALL {
            let open = i64::from(figures.incident == Some(kind));
            let labels = [name, kind.as_str()];
            self.incident.with_label_values(&labels).set(open);
        }
        let interval = figures.usual_interval.as_secs_f64();
        let known = if interval > 0.0 { interval } else { f64::NAN };
        for (gauge, x) in [
            (&self.score, figures.score),
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

    /// A series that is missing, since its figure was never known, is no error.
    fn remove(&self, name: &str) {
        let _ = self.rows.remove_label_values(&[name]);
        for gauge in [
            &self.score,
            &self.age,
            &self.interval,
            &self.log_density,
            &self.log_density_baseline,
            &self.coverage,
            &self.rmse_ratio,
        ] {
            let _ = gauge.remove_label_values(&[name]);
        }
        for kind in Kind::ALL {
            let _ = self.incident.remove_label_values(&[name, kind.as_str()]);
        }
    }
}
