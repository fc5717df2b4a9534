//! Every metric, declared once with its help text.
//!
//! Counters are bumped where things happen, per message or per batch; figures of the streams are
//! gathered from the workers' views when somebody asks.

mod cluster;
mod declare;
mod store;
mod streams;

use std::collections::BTreeMap;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use prometheus::{
    Counter, Gauge, GaugeVec, Histogram, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts,
    Registry, TextEncoder,
};

pub use cluster::ClusterMetrics;
use declare::Declare;
use store::StoreMetrics;
pub use streams::StreamFigures;
use streams::StreamMetrics;

use crate::engine::EngineStats;
use crate::payload::Reject;
use crate::predict;
use crate::row::{Kind, Ruling};
use crate::state::StoreStats;

/// Kinds of published messages.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// A prediction: the newest counts, old ones may be dropped.
    Prediction,
    /// A stream's anomaly state.
    Anomaly,
    /// The daemon's status.
    Status,
}

impl Class {
    /// Every class.
    pub const ALL: [Class; 3] = [Class::Prediction, Class::Anomaly, Class::Status];

    /// The word used in metric labels.
    pub fn as_str(self) -> &'static str {
        match self {
            Class::Prediction => "prediction",
            Class::Anomaly => "anomaly",
            Class::Status => "status",
        }
    }
}

/// Names of the results of site updates, in the order of `site_results`.
const SITE_RESULTS: [&str; 6] = [
    "accepted",
    "damped",
    "fell_back",
    "skipped",
    "clipped",
    "limited",
];

fn site_results(stats: &EngineStats) -> [u64; 6] {
    [
        stats.accepted,
        stats.damped,
        stats.fell_back,
        stats.skipped,
        stats.clipped,
        stats.limited,
    ]
}

/// Every metric of the daemon.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// Messages that the broker delivered.
    pub messages_received: IntCounter,
    /// Readings accepted.
    pub readings_received: IntCounter,
    /// Readings accepted before the start and learned again.
    pub readings_replayed: IntCounter,
    /// Jumps of the wall clock.
    pub clock_steps: IntCounter,
    /// Seconds of learning that no snapshot has, of the worker with the most.
    pub unsaved_learning: Gauge,
    rejected: IntCounterVec,
    /// Messages dropped because the intake queue was full.
    pub messages_dropped: IntCounter,
    /// Rows seen by the engines.
    pub rows: IntCounter,
    /// Rows learned.
    pub rows_learned: IntCounter,
    /// Seconds spent on them.
    pub learning_seconds: Counter,
    site_updates: IntCounterVec,
    /// Incidents opened, by kind.
    anomalies: IntCounterVec,
    /// Rulings of operators on incidents.
    rulings: IntCounterVec,
    /// Incidents open now.
    pub incidents_open: IntGauge,
    /// Streams alive.
    pub streams: IntGauge,
    /// Streams that left memory and have not come back.
    pub streams_evicted: IntGauge,
    /// Times that an idle stream left memory.
    pub stream_evictions: IntCounter,
    /// Times that one came back.
    pub stream_returns: IntCounter,
    /// Times that a stream went from one worker to another.
    pub stream_moves: IntCounter,
    /// Streams given up to make room for others.
    pub streams_expired: IntCounter,
    /// Messages that the broker dropped, as it says.
    pub broker_dropped: IntCounter,
    /// Channels of all streams.
    pub channels: IntGauge,
    log_density: Gauge,
    log_density_baseline: Gauge,
    log_density_change: Gauge,
    site_change: Gauge,
    weight_sd: Gauge,
    noise_variance: Gauge,
    coverage: Gauge,
    rmse_ratio: Gauge,
    expert_share: GaugeVec,
    expert_gain: GaugeVec,
    horizon_coverage: GaugeVec,
    horizon_rmse_ratio: GaugeVec,
    unknown_states: IntCounter,
    queue_depth: IntGaugeVec,
    latency: Histogram,
    /// The broker has accepted our connection.
    pub broker_connected: IntGauge,
    /// The broker has accepted our subscriptions.
    pub broker_subscribed: IntGauge,
    /// Connections accepted by the broker.
    pub broker_connections: IntCounter,
    /// Connections that failed or were lost.
    pub broker_failures: IntCounter,
    /// Packets larger than can be received.
    pub poison_packets: IntCounter,
    /// Sequence numbers of Sparkplug's nodes that did not come.
    pub sparkplug_gaps: IntCounter,
    published: IntCounterVec,
    /// Predictions that a newer one replaced before they were due.
    pub predictions_superseded: IntCounter,
    outbox_dropped: IntCounterVec,
    webhook_attempts: IntCounterVec,
    /// Messages sent again after a reconnection.
    pub resent: IntCounter,
    /// Acknowledgements sent.
    pub acks: IntCounter,
    /// Acknowledgements dropped since their connection was gone.
    pub stale_acks: IntCounter,
    /// Panics of an engine.
    pub worker_panics: IntCounter,
    /// Failures of the store.
    pub store_failures: IntCounter,
    /// Metrics of the state store.
    store: StoreMetrics,
    /// Metrics of a worker in a cluster.
    pub cluster: ClusterMetrics,
    /// Ready to serve.
    pub ready: IntGauge,
    start_time: Gauge,
    journal_limit: IntGauge,
    false_alarms_allowed: Gauge,
    each_stream: StreamMetrics,
}

impl Metrics {
    /// Declares every metric in a registry of its own.
    ///
    /// # Errors
    /// If two metrics share a name: a programmer's error that a test finds.
    pub fn new() -> prometheus::Result<Metrics> {
        let registry = Registry::new();
        #[cfg(target_os = "linux")]
        registry.register(Box::new(
            prometheus::process_collector::ProcessCollector::for_self(),
        ))?;
        let d = Declare(&registry);
        let build = IntGaugeVec::new(
            Opts::new("spiked_build_info", "Always 1; the version is a label"),
            &["version"],
        )?;
        registry.register(Box::new(build.clone()))?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        Ok(Metrics {
            messages_received: d.counter(
                "spiked_messages_received_total",
                "Messages that the broker delivered, its own figures excepted",
            )?,
            readings_received: d.counter(
                "spiked_readings_received_total",
                "Readings accepted from messages, handed to the learner",
            )?,
            readings_replayed: d.counter(
                "spiked_readings_replayed_total",
                "Readings accepted before the start and learned again, since no snapshot had them",
            )?,
            clock_steps: d.counter(
                "spiked_clock_steps_total",
                "Times that the wall clock jumped by more than the monotonic clock allows",
            )?,
            unsaved_learning: d.gauge(
                "spiked_unsaved_learning_seconds",
                "Learning that a restart would repeat, of the worker with the most (state.recovery_s)",
            )?,
            rejected: d.counters(
                "spiked_readings_rejected_total",
                "Messages and readings refused, by reason",
                "reason",
                &Reject::ALL.map(Reject::as_str),
            )?,
            sparkplug_gaps: d.counter(
                "spiked_sparkplug_sequence_gaps_total",
                "Gaps in the sequence numbers of Sparkplug nodes; each is asked for a rebirth",
            )?,
            messages_dropped: d.counter(
                "spiked_messages_dropped_total",
                "Messages dropped unread because the intake queue was full (overload = drop_oldest)",
            )?,
            rows: d.counter("spiked_rows_total", "Rows predicted and scored")?,
            rows_learned: d.counter("spiked_rows_learned_total", "Rows learned")?,
            learning_seconds: d.fractional_counter(
                "spiked_learning_seconds_total",
                "Time spent on predicting, judging and learning rows",
            )?,
            site_updates: d.counters(
                "spiked_site_updates_total",
                "What became of updates: sites accepted as computed, damped or clipped, batches fallen back, updates skipped, values limited",
                "result",
                &SITE_RESULTS,
            )?,
            anomalies: d.counters(
                "spiked_incidents_total",
                "Incidents opened, by kind",
                "kind",
                &Kind::ALL.map(Kind::as_str),
            )?,
            rulings: d.counters(
                "spiked_verdicts_total",
                "What operators said of incidents, by verdict",
                "verdict",
                &Ruling::ALL.map(Ruling::as_str),
            )?,
            incidents_open: d.int_gauge("spiked_incidents_open", "Streams with an open incident")?,
            streams: d.int_gauge("spiked_streams", "Streams that are learned")?,
            streams_evicted: d.int_gauge(
                "spiked_streams_evicted",
                "Idle streams that are kept on disk only (state.idle_evict_s); the others are live",
            )?,
            stream_evictions: d.counter(
                "spiked_stream_evictions_total",
                "Times that an idle stream left memory",
            )?,
            stream_returns: d.counter(
                "spiked_stream_returns_total",
                "Times that an idle stream came back from disk with a reading",
            )?,
            stream_moves: d.counter(
                "spiked_stream_moves_total",
                "Times that a stream moved from a busy worker to one that was less busy",
            )?,
            streams_expired: d.counter(
                "spiked_streams_expired_total",
                "Streams that hardly came and were given up for others, since there were max_streams (stream.expire_after_s)",
            )?,
            broker_dropped: d.counter(
                "spiked_broker_dropped_messages_total",
                "Messages that the broker dropped, for whichever client, as it says itself (mqtt.watch_broker)",
            )?,
            channels: d.int_gauge("spiked_channels", "Channels of all streams")?,
            log_density: d.gauge(
                "spiked_log_density_nats",
                "Log predictive density of a value, moving mean, mean over streams",
            )?,
            log_density_baseline: d.gauge(
                "spiked_log_density_baseline_nats",
                "The same for the noise-only persistence model: learning helps while it is below spiked_log_density_nats",
            )?,
            log_density_change: d.gauge(
                "spiked_log_density_change_nats",
                "Moving change of the log predictive density a row, mean over streams",
            )?,
            site_change: d.gauge(
                "spiked_site_change_ratio",
                "Relative change of the weight sites an update, mean over streams: falls as learning converges",
            )?,
            weight_sd: d.gauge(
                "spiked_weight_sd_ratio",
                "Posterior over prior standard deviation of the weights touched, mean over streams",
            )?,
            noise_variance: d.gauge(
                "spiked_noise_variance_ratio",
                "Learned noise variance in squared units of the next-step target, mean over streams",
            )?,
            coverage: d.gauge(
                "spiked_interval_coverage_ratio",
                "Share of recent values inside their nominal 90% interval, mean over streams",
            )?,
            rmse_ratio: d.gauge(
                "spiked_rmse_persistence_ratio",
                "One-step error over that of persistence, moving, mean over streams: below 1 is better",
            )?,
            expert_share: d.gauges(
                "spiked_expert_weight_ratio",
                "Mean weight of an expert in the mixture of its channels, mean over streams; given_ marks those that see the other channels of the row",
                "expert",
            )?,
            expert_gain: d.gauges(
                "spiked_expert_gain_nats",
                "Log predictive density with an expert less that without it, a value, mean over streams",
                "expert",
            )?,
            horizon_coverage: d.gauges(
                "spiked_horizon_interval_coverage_ratio",
                "Share of recent values inside the nominal 90% interval given so many rows before, mean over streams",
                "horizon",
            )?,
            horizon_rmse_ratio: d.gauges(
                "spiked_horizon_rmse_persistence_ratio",
                "Error so many rows ahead over that of persistence, moving, mean over streams: below 1 is better",
                "horizon",
            )?,
            unknown_states: d.counter(
                "spiked_unknown_states_total",
                "Values of channels of states beyond the states that can be told apart, taken as missing",
            )?,
            queue_depth: d.int_gauges("spiked_queue_depth", "Waiting in a queue", "queue")?,
            latency: d.latency(
                "spiked_end_to_end_latency_seconds",
                "From the arrival of the reading that completed a row to the publication of its prediction",
            )?,
            broker_connected: d.int_gauge("spiked_broker_connected", "1 while both connections to the broker are up")?,
            broker_subscribed: d.int_gauge(
                "spiked_broker_subscribed",
                "1 while the broker has granted every subscription",
            )?,
            broker_connections: d.counter(
                "spiked_broker_connections_total",
                "Connections that the broker accepted: reconnections are those beyond the first two, one to receive and one to publish",
            )?,
            broker_failures: d.counter(
                "spiked_broker_connection_failures_total",
                "Connections that failed or were lost",
            )?,
            poison_packets: d.counter(
                "spiked_broker_oversized_packets_total",
                "Packets larger than can be received: discarded as they came, and acknowledged",
            )?,
            published: d.counters(
                "spiked_messages_published_total",
                "Messages handed to the broker, by kind",
                "kind",
                &Class::ALL.map(Class::as_str),
            )?,
            predictions_superseded: d.counter(
                "spiked_predictions_superseded_total",
                "Predictions not published, since a newer one of their stream came within prediction_interval_ms",
            )?,
            webhook_attempts: d.counters(
                "spiked_webhook_attempts_total",
                "Attempts to post an incident: delivered, failed (tried again), refused for good, dropped since too many waited",
                "result",
                &["delivered", "failed", "refused", "dropped"],
            )?,
            outbox_dropped: d.counters(
                "spiked_outbox_dropped_total",
                "Messages dropped because the outbox was full, by kind",
                "kind",
                &Class::ALL.map(Class::as_str),
            )?,
            resent: d.counter(
                "spiked_messages_resent_total",
                "Messages sent again because a connection was lost before their acknowledgement",
            )?,
            acks: d.counter("spiked_acks_total", "Acknowledgements sent to the broker")?,
            stale_acks: d.counter(
                "spiked_acks_stale_total",
                "Acknowledgements dropped because their connection was gone: the broker delivers again",
            )?,
            worker_panics: d.counter("spiked_worker_panics_total", "Panics of an engine, caught")?,
            store_failures: d.counter("spiked_storage_failures_total", "Failures of the state store")?,
            store: StoreMetrics::declare(&d)?,
            cluster: ClusterMetrics::declare(&d)?,
            ready: d.int_gauge("spiked_ready", "1 while /readyz says yes")?,
            start_time: d.gauge(
                "spiked_start_time_seconds",
                "When the daemon started, unix time",
            )?,
            journal_limit: d.int_gauge(
                "spiked_storage_journal_limit_bytes",
                "Size of the journal at which snapshots are due (state.journal_max_bytes)",
            )?,
            false_alarms_allowed: d.gauge(
                "spiked_false_alarms_allowed_per_week",
                "False alarms that a stream may raise in a week (detect.false_alarms_per_week)",
            )?,
            each_stream: StreamMetrics::declare(&d)?,
            registry,
        })
    }

    /// Counts refusals.
    pub fn reject(&self, reason: Reject) {
        self.rejected.with_label_values(&[reason.as_str()]).inc();
    }

    /// Refusals for a reason so far.
    pub fn rejected(&self, reason: Reject) -> u64 {
        self.rejected.with_label_values(&[reason.as_str()]).get()
    }

    /// Counts a published message.
    pub fn published(&self, class: Class) {
        self.published.with_label_values(&[class.as_str()]).inc();
    }

    /// Counts messages dropped from the outbox.
    pub fn outbox_dropped(&self, class: Class, n: u64) {
        self.outbox_dropped
            .with_label_values(&[class.as_str()])
            .inc_by(n);
    }

    /// Notes the way of a reading from arrival to publication.
    pub fn latency(&self, elapsed: Duration) {
        self.latency.observe(elapsed.as_secs_f64());
    }

    /// Adds what one engine has done between two looks at its counters.
    pub fn add_engine(&self, before: &EngineStats, after: &EngineStats) {
        let grown = |a: u64, b: u64| b.saturating_sub(a);
        self.rows.inc_by(grown(before.rows, after.rows));
        self.rows_learned
            .inc_by(grown(before.learned, after.learned));
        let unknown = grown(before.unknown_states, after.unknown_states);
        self.unknown_states.inc_by(unknown);
        let (old, new) = (site_results(before), site_results(after));
        for (idx, name) in SITE_RESULTS.iter().enumerate() {
            let n = grown(old[idx], new[idx]);
            if n > 0 {
                self.site_updates.with_label_values(&[*name]).inc_by(n);
            }
        }
        for (idx, kind) in Kind::ALL.into_iter().enumerate() {
            let n = grown(before.incidents[idx], after.incidents[idx]);
            if n > 0 {
                self.anomalies.with_label_values(&[kind.as_str()]).inc_by(n);
            }
        }
        for (idx, ruling) in Ruling::ALL.into_iter().enumerate() {
            let n = grown(before.rulings[idx], after.rulings[idx]);
            self.rulings.with_label_values(&[ruling.as_str()]).inc_by(n);
        }
    }

    /// Sets the figures that are means over streams; streams that cannot say one are left out.
    pub fn set_streams<'a>(&self, streams: impl Iterator<Item = &'a EngineStats> + Clone) {
        let mean = |gauge: &Gauge, figure: fn(&EngineStats) -> f64| {
            let (sum, n) = streams
                .clone()
                .filter(|stats| stats.rows > 0)
                .map(figure)
                .filter(|x| x.is_finite())
                .fold((0.0, 0u32), |(sum, n), x| (sum + x, n + 1));
            if n > 0 {
                gauge.set(sum / f64::from(n));
            }
        };
        mean(&self.log_density, |s| s.log_density);
        mean(&self.log_density_baseline, |s| s.log_density_baseline);
        mean(&self.log_density_change, |s| s.log_density_trend);
        mean(&self.site_change, |s| s.site_change);
        mean(&self.weight_sd, |s| s.weight_sd);
        mean(&self.noise_variance, |s| s.noise_variance);
        mean(&self.coverage, |s| s.coverage90);
        mean(&self.rmse_ratio, |s| s.rmse_ratio);
        self.set_experts(streams.clone());
        self.set_horizons(streams.clone());
        let open = streams.clone().filter(|stats| stats.open).count();
        self.incidents_open.set(whole(open));
    }

    /// Sets the figures of each expert, means over the streams that have it; where none has, it is 0.
    fn set_experts<'a>(&self, streams: impl Iterator<Item = &'a EngineStats> + Clone) {
        let kinds = predict::ExpertKind::ALL.into_iter().enumerate();
        let both = kinds.flat_map(|(e, kind)| [(e, kind, false), (e, kind, true)]);
        for (e, kind, given) in both {
            let of = streams.clone().map(|stats| match given {
                true => &stats.given_experts[e],
                false => &stats.experts[e],
            });
            let having = of.filter(|figures| figures.channels > 0);
            let (share, gain, n) = having.fold((0.0, 0.0, 0u32), |(share, gain, n), figures| {
                (share + figures.share, gain + figures.gain, n + 1)
            });
            let n = f64::from(n.max(1));
            let label = match given {
                true => format!("given_{}", kind.as_str()),
                false => kind.as_str().to_owned(),
            };
            let set = |gauge: &GaugeVec, x: f64| gauge.with_label_values(&[&label]).set(x);
            set(&self.expert_share, share / n);
            set(&self.expert_gain, gain / n);
        }
    }

    /// Sets the figures of each horizon, means over streams; the next row is horizon 1.
    fn set_horizons<'a>(&self, streams: impl Iterator<Item = &'a EngineStats>) {
        let mut sums = BTreeMap::<u32, [f64; 3]>::new();
        for stats in streams.filter(|stats| stats.rows > 0) {
            let next = (1, stats.coverage90, stats.rmse_ratio);
            for &(horizon, coverage, ratio) in stats.horizons.iter().chain([&next]) {
                if coverage.is_finite() && ratio.is_finite() {
                    let sum = sums.entry(horizon).or_default();
                    *sum = [sum[0] + coverage, sum[1] + ratio, sum[2] + 1.0];
                }
            }
        }
        for (horizon, [coverage, ratio, n]) in sums {
            let label = horizon.to_string();
            let set = |gauge: &GaugeVec, sum: f64| gauge.with_label_values(&[&label]).set(sum / n);
            set(&self.horizon_coverage, coverage);
            set(&self.horizon_rmse_ratio, ratio);
        }
    }

    /// Sets the figures of the streams that have labels of their own, and forgets those that had; `rest`
    /// more have none.
    pub fn set_labelled(&self, streams: &[(&str, StreamFigures<'_>)], rest: usize) {
        self.each_stream.set(streams, rest);
    }

    /// Exports when the daemon started and the settings that alerts are measured by.
    pub fn set_limits(&self, journal_max_bytes: u64, false_alarms_per_week: f64) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH);
        let started = now.map_or(0.0, |since| since.as_secs_f64().floor());
        self.start_time.set(started);
        self.journal_limit.set(whole(journal_max_bytes));
        self.set_false_alarms_allowed(false_alarms_per_week);
    }

    /// Exports how many false alarms a week a stream may raise.
    pub fn set_false_alarms_allowed(&self, a_week: f64) {
        self.false_alarms_allowed.set(a_week);
    }

    /// Counts an attempt to post an incident by its result.
    pub fn webhook_attempt(&self, result: &str) {
        self.webhook_attempts.with_label_values(&[result]).inc();
    }

    /// Sets the depth of a queue.
    pub fn set_queue(&self, queue: &str, depth: usize) {
        self.queue_depth
            .with_label_values(&[queue])
            .set(whole(depth));
    }

    /// Exports what the state store counted.
    pub fn set_store(&self, stats: &StoreStats) {
        self.store.set(stats);
    }

    /// The text that Prometheus scrapes.
    ///
    /// # Errors
    /// If a metric cannot be encoded.
    pub fn encode(&self) -> prometheus::Result<String> {
        TextEncoder::new().encode_to_string(&self.registry.gather())
    }
}

/// For a gauge of whole numbers.
fn whole(n: impl TryInto<i64>) -> i64 {
    n.try_into().unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests;
