//! Tests of the metrics: registration, labels, counters.

use std::sync::Arc;

use super::*;
use crate::row::ChannelOutcome;

fn figures(stats: &EngineStats, incident: Option<Kind>) -> StreamFigures<'_> {
    StreamFigures {
        stats,
        score: 0.5,
        severity: 0.7,
        incident,
        is_muted: false,
        last_reading_age: Duration::from_secs(3),
        usual_interval: Duration::from_secs(1),
        channels: &[],
        outcomes: &[],
    }
}

#[test]
fn a_stream_that_loses_its_label_leaves_no_series_behind() {
    let metrics = Metrics::new().unwrap();
    let stats = EngineStats::default();
    metrics.set_labelled(&[("b", figures(&stats, Some(Kind::Stuck)))], 0);
    let text = metrics.encode().unwrap();
    for line in [
        "spiked_stream_incident{kind=\"stuck\",stream=\"b\"} 1\n",
        "spiked_stream_incident{kind=\"gap\",stream=\"b\"} 0\n",
        "spiked_stream_last_reading_age_seconds{stream=\"b\"} 3\n",
        "spiked_stream_usual_interval_seconds{stream=\"b\"} 1\n",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    metrics.set_labelled(&[("a", figures(&stats, None))], 1);
    let text = metrics.encode().unwrap();
    assert!(!text.contains("stream=\"b\""), "{text}");
    assert!(text.contains("spiked_streams_unlabelled 1\n"));
}

#[test]
fn channels_have_series_as_far_as_their_number_is_borne() {
    let metrics = Metrics::new().unwrap();
    let stats = EngineStats::default();
    let channels: Vec<Arc<str>> = (0..10).map(|c| format!("c{c}").into()).collect();
    let outcomes = vec![ChannelOutcome::unknown(1.5); 10];
    let figures = StreamFigures {
        channels: &channels,
        outcomes: &outcomes,
        ..figures(&stats, None)
    };
    metrics.set_labelled(&[("a", figures)], 0);
    let text = metrics.encode().unwrap();
    let of_channels = text
        .lines()
        .filter(|line| line.starts_with("spiked_channel_value{"));
    assert_eq!(of_channels.count(), 8);
    assert!(text.contains("spiked_channel_value{channel=\"c7\",stream=\"a\"} 1.5\n"));
    assert!(text.contains("spiked_channels_unlabelled 2\n"));
}

#[test]
fn every_metric_registers_and_says_what_it_is() {
    let metrics = Metrics::new().unwrap();
    metrics.set_queue("intake", 3);
    let stats = EngineStats::default();
    metrics.set_labelled(&[("pump", figures(&stats, Some(Kind::Gap)))], 0);
    let text = metrics.encode().unwrap();
    for line in text.lines().filter(|line| !line.starts_with('#')) {
        let name = line.split(['{', ' ']).next().unwrap();
        let family = name
            .trim_end_matches("_bucket")
            .trim_end_matches("_sum")
            .trim_end_matches("_count");
        assert!(text.contains(&format!("# HELP {family} ")), "{name}");
        assert!(name.starts_with("spiked_") || name.starts_with("process_"));
    }
}

#[test]
fn horizons_are_means_over_the_streams_that_have_them() {
    let metrics = Metrics::new().unwrap();
    let stream = |horizons: &[(u32, f64, f64)]| EngineStats {
        rows: 5,
        coverage90: 0.9,
        rmse_ratio: 0.5,
        horizons: horizons.to_vec(),
        ..EngineStats::default()
    };
    let streams = [
        stream(&[(12, 0.8, 0.75)]),
        stream(&[(12, 1.0, 0.25)]),
        stream(&[]),
    ];
    metrics.set_streams(streams.iter());
    let text = metrics.encode().unwrap();
    for line in [
        "spiked_horizon_interval_coverage_ratio{horizon=\"1\"} 0.9\n",
        "spiked_horizon_interval_coverage_ratio{horizon=\"12\"} 0.9\n",
        "spiked_horizon_rmse_persistence_ratio{horizon=\"12\"} 0.5\n",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
}

#[test]
fn counters_grow_by_what_an_engine_has_done_since() {
    let metrics = Metrics::new().unwrap();
    let before = EngineStats {
        rows: 10,
        skipped: 2,
        ..EngineStats::default()
    };
    let after = EngineStats {
        rows: 15,
        skipped: 3,
        incidents: [1, 0, 0, 0, 0],
        ..EngineStats::default()
    };
    metrics.add_engine(&before, &after);
    let text = metrics.encode().unwrap();
    assert!(text.contains("spiked_rows_total 5\n"));
    assert!(text.contains("spiked_site_updates_total{result=\"skipped\"} 1\n"));
    assert!(text.contains("spiked_incidents_total{kind=\"surprise\"} 1\n"));
}
