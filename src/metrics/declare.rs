//! Registers metrics as they are declared.

use prometheus::{
    Counter, Gauge, GaugeVec, Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge,
    IntGaugeVec, Opts, Registry,
};

/// Upper bounds of the latency histogram, seconds.
const LATENCY_BUCKETS: [f64; 16] = [
    0.0001, 0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0,
    10.0,
];

/// Registers metrics as they are declared.
pub(super) struct Declare<'a>(pub &'a Registry);

impl Declare<'_> {
    /// A counter of whole numbers.
    pub fn counter(&self, name: &str, help: &str) -> prometheus::Result<IntCounter> {
        let metric = IntCounter::new(name, help)?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    /// A counter of amounts.
    pub fn fractional_counter(&self, name: &str, help: &str) -> prometheus::Result<Counter> {
        let metric = Counter::new(name, help)?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    /// A counter by label, with a series for each value of the label.
    pub fn counters(
        &self,
        name: &str,
        help: &str,
        label: &str,
        values: &[&str],
    ) -> prometheus::Result<IntCounterVec> {
        let metric = IntCounterVec::new(Opts::new(name, help), &[label])?;
        self.0.register(Box::new(metric.clone()))?;
        // A series that exists from the start can be alerted on.
        for value in values {
            metric.with_label_values(&[*value]);
        }
        Ok(metric)
    }

    /// A gauge.
    pub fn gauge(&self, name: &str, help: &str) -> prometheus::Result<Gauge> {
        let metric = Gauge::new(name, help)?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    /// A gauge of whole numbers.
    pub fn int_gauge(&self, name: &str, help: &str) -> prometheus::Result<IntGauge> {
        let metric = IntGauge::new(name, help)?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    /// A gauge by label.
    pub fn gauges(&self, name: &str, help: &str, label: &str) -> prometheus::Result<GaugeVec> {
        self.gauges_by(name, help, &[label])
    }

    /// A gauge by several labels.
    pub fn gauges_by(
        &self,
        name: &str,
        help: &str,
        labels: &[&str],
    ) -> prometheus::Result<GaugeVec> {
        let metric = GaugeVec::new(Opts::new(name, help), labels)?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    /// A gauge of whole numbers by label.
    pub fn int_gauges(
        &self,
        name: &str,
        help: &str,
        label: &str,
    ) -> prometheus::Result<IntGaugeVec> {
        let metric = IntGaugeVec::new(Opts::new(name, help), &[label])?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }

    /// A histogram of seconds.
    pub fn latency(&self, name: &str, help: &str) -> prometheus::Result<Histogram> {
        let options = HistogramOpts::new(name, help).buckets(LATENCY_BUCKETS.to_vec());
        let metric = Histogram::with_opts(options)?;
        self.0.register(Box::new(metric.clone()))?;
        Ok(metric)
    }
}
