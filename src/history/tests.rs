//! Tests of the history: its contents, its thinning, and its form for the drawing code.

use std::sync::Arc;

use super::{FAN, MIN_CAPACITY, Range, StreamHistory};
use crate::row::{ChannelOutcome, Incident, IncidentEdge, Kind, Odds, Outcome, Ruling, Share};

fn names(n: usize) -> Vec<Arc<str>> {
    (0..n).map(|c| format!("c{c}").into()).collect()
}

fn row(row: u64, ts_ms: i64, values: &[f64]) -> Outcome {
    let channel = |&value: &f64| ChannelOutcome {
        value,
        mean: value - 1.0,
        sd: 0.5,
        score: 0.25,
        ..ChannelOutcome::unknown(value)
    };
    Outcome {
        ts_ms,
        arrival_ms: ts_ms,
        row,
        warming_up: row <= 3,
        score: 0.25,
        severity: 0.0,
        anomaly: false,
        kind: None,
        channels: values.iter().map(channel).collect(),
        forecasts: Vec::new(),
        odds: Vec::new(),
        edge: None,
    }
}

/// An open incident of one channel from `start_ms` on, at its worst at `peak_ms`.
fn incident_of(channel: usize, kind: Kind, start_ms: i64, peak_ms: i64) -> Incident {
    Incident {
        id: 1,
        kind,
        start_ms,
        peak_ms,
        end_ms: None,
        peak_score: 1.5,
        channels: vec![Share {
            channel,
            share: 1.0,
        }],
        accepted: false,
        verdict: None,
    }
}

/// `n` rows a second apart; the value is the row's number, but for one spike.
fn filled(n: u64, spike_at: u64) -> StreamHistory {
    let mut history = StreamHistory::new(MIN_CAPACITY);
    for i in 1..=n {
        let value = if i == spike_at { 1e6 } else { i as f64 };
        history.push(&names(1), &row(i, i as i64 * 1000, &[value]), None);
    }
    history
}

#[test]
fn what_is_merged_keeps_its_extremes_and_its_mean() {
    let history = filled(1000, 17);
    let view = history.view(&"s".into(), Range::all(10_000));
    let highs = view.channels[0].high.iter().flatten();
    assert_eq!(highs.copied().fold(0.0, f64::max), 1e6);
    assert_eq!(view.channels[0].low[0], Some(1.0));
    // The first point is of rows 1 to 64: the spike stands for row 17.
    let expected = (1..=64).map(f64::from).sum::<f64>() + 1e6 - 17.0;
    let found = view.channels[0].value[0].unwrap();
    assert!((found - expected / 64.0).abs() < 10.0, "{found}");
}

#[test]
fn memory_is_bounded_and_no_row_is_lost_before_the_last_tier_is_full() {
    let n = 200_000;
    let history = filled(n, 0);
    assert!(history.len() <= 8 * (MIN_CAPACITY + FAN));
    let rows: u64 = history.points().map(|point| u64::from(point.rows)).sum();
    assert_eq!(rows, n);
    assert_eq!(history.span_ms(), Some((1000, n as i64 * 1000)));
    let mut before = 0;
    for point in history.points() {
        assert!(point.start_ms > before, "in order, without overlap");
        before = point.end_ms;
    }
}

#[test]
fn the_newest_rows_are_kept_one_by_one() {
    let history = filled(500, 0);
    let view = history.latest(&"s".into(), 5).unwrap();
    assert_eq!(view.ts_ms, [496_000, 497_000, 498_000, 499_000, 500_000]);
    assert_eq!(view.channels[0].value[4], Some(500.0));
    assert!(view.channels[0].low.is_empty());
    assert!(history.latest(&"s".into(), 400).is_none());
}

#[test]
fn a_view_is_thinned_by_time_and_cut_to_its_range() {
    let history = filled(5_000, 0);
    let all = history.view(&"s".into(), Range::all(50));
    assert!((25..=52).contains(&all.ts_ms.len()), "{}", all.ts_ms.len());
    let range = Range {
        from_ms: 4_990_000,
        to_ms: 4_995_000,
        max_points: 100,
    };
    let some = history.view(&"s".into(), range);
    assert_eq!(some.ts_ms.len(), 6);
    assert_eq!(some.first_ms, Some(1000));
}

#[test]
fn a_row_taken_twice_counts_once() {
    let mut history = filled(10, 0);
    let bytes = |history: &StreamHistory| postcard::to_stdvec(history).unwrap();
    let before = bytes(&history);
    history.push(&names(1), &row(10, 10_000, &[10.0]), None);
    history.push(&names(1), &row(4, 4_000, &[4.0]), None);
    assert_eq!(bytes(&history), before);
}

#[test]
fn it_comes_back_from_bytes_as_it_was() {
    let mut history = filled(3_000, 5);
    let channel = incident_of(0, Kind::Gap, 1, 1);
    let mut outcome = row(3001, 3_001_000, &[1.0]);
    outcome.anomaly = true;
    outcome.edge = Some(IncidentEdge::Opened(channel.clone()));
    history.push(&names(1), &outcome, Some(&channel));
    let bytes = postcard::to_stdvec(&history).unwrap();
    let back: StreamHistory = postcard::from_bytes(&bytes).unwrap();
    // NaN is not equal to itself, so bytes are compared.
    assert_eq!(postcard::to_stdvec(&back).unwrap(), bytes);
    assert_eq!(back.rows(), 3001);
}

#[test]
fn a_smaller_capacity_merges_what_is_there() {
    let mut history = StreamHistory::new(1000);
    for i in 1..=900 {
        history.push(&names(1), &row(i, i as i64, &[1.0]), None);
    }
    assert_eq!(history.len(), 900);
    history.set_capacity(MIN_CAPACITY);
    assert!(history.len() < 200);
    let rows: u64 = history.points().map(|point| u64::from(point.rows)).sum();
    assert_eq!(rows, 900);
}

#[test]
fn a_missing_value_is_null_and_a_later_channel_has_nothing_before() {
    let mut history = StreamHistory::new(100);
    history.push(&names(1), &row(1, 1000, &[f64::NAN]), None);
    history.push(&names(2), &row(2, 2000, &[5.0, 7.0]), None);
    let view = history.view(&"s".into(), Range::all(10));
    assert_eq!(view.channels[0].value, [None, Some(5.0)]);
    assert_eq!(view.channels[1].value, [None, Some(7.0)]);
    let json = serde_json::to_value(&view).unwrap();
    assert!(json["channels"][0]["value"][0].is_null());
}

#[test]
fn states_are_places_in_their_list() {
    let mut history = StreamHistory::new(100);
    let mut outcome = row(1, 1000, &[1.0]);
    let states = vec![("shut".into(), 0.9), ("open".into(), 0.1)];
    outcome.odds.push(Odds {
        channel: 0,
        seen: Some(1),
        states,
    });
    history.push(&names(1), &outcome, None);
    let view = history.view(&"s".into(), Range::all(10));
    assert_eq!(*view.channels[0].states[1], *"open");
    assert_eq!(view.channels[0].value, [Some(1.0)]);
    assert_eq!(view.channels[0].mean, [Some(0.0)]);
    assert_eq!(view.channels[0].sd, [Some(0.1)]);
}

#[test]
fn an_incident_shows_the_least_expected_state_of_a_channel_of_states() {
    let mut history = StreamHistory::new(100);
    let incident = incident_of(0, Kind::Surprise, 1000, 3000);
    for (i, p) in [0.4, 0.01, 0.2].into_iter().enumerate() {
        let i = i as u64 + 1;
        let mut outcome = row(i, i as i64 * 1000, &[1.0]);
        outcome.channels[0].mean = f64::NAN;
        outcome.anomaly = true;
        outcome.odds.push(Odds {
            channel: 0,
            seen: Some(1),
            states: vec![("off".into(), 1.0 - p), ("on".into(), p)],
        });
        if i == 1 {
            outcome.edge = Some(IncidentEdge::Opened(incident.clone()));
        }
        history.push(&names(1), &outcome, Some(&incident));
    }
    let views = history.incident_views(&"s".into());
    let relay = &views[0].channels[0];
    assert_eq!(relay.state.as_deref(), Some("on"));
    assert_eq!(relay.expected_state.as_deref(), Some("off"));
    assert_eq!(relay.ts_ms, Some(2000));
    assert!((relay.probability.unwrap() - 0.01).abs() < 1e-6);
    assert_eq!((relay.value, relay.mean, relay.sd), (None, None, None));
}

#[test]
fn an_incident_shows_the_jump_that_came_before_the_first_flagged_row() {
    let mut history = StreamHistory::new(100);
    let incident = incident_of(0, Kind::Novelty, 15_000, 15_000);
    for i in 10..=15 {
        let value = if i < 13 { 20.0 } else { 27.0 };
        let mut outcome = row(i, i as i64 * 1000, &[value]);
        outcome.channels[0].mean = if i < 14 { 20.0 } else { 27.1 };
        if i == 10 {
            // A swing that was borne.
            (outcome.channels[0].mean, outcome.score) = (90.0, 0.1);
        }
        outcome.anomaly = i == 15;
        history.push(&names(1), &outcome, outcome.anomaly.then_some(&incident));
    }
    let views = history.incident_views(&"s".into());
    let shown = &views[0].channels[0];
    assert_eq!(shown.ts_ms, Some(13_000));
    assert_eq!((shown.value, shown.mean), (Some(27.0), Some(20.0)));
    // A value that was certain is as far as can be.
    let mut certain = StreamHistory::new(100);
    for i in 11..=15 {
        let mut outcome = row(i, i as i64 * 1000, &[if i < 13 { 1.0 } else { 0.0 }]);
        outcome.channels[0].mean = if i < 14 { 1.0 } else { 0.0 };
        outcome.channels[0].sd = 0.0;
        outcome.anomaly = i == 15;
        certain.push(&names(1), &outcome, outcome.anomaly.then_some(&incident));
    }
    let views = certain.incident_views(&"s".into());
    let shown = &views[0].channels[0];
    assert_eq!((shown.value, shown.mean), (Some(0.0), Some(1.0)));
}

#[test]
fn a_spread_far_below_the_steps_of_a_channel_is_no_zero() {
    let mut history = StreamHistory::new(100);
    for i in 1..=20 {
        let mut outcome = row(i, i as i64 * 1000, &[if i < 10 { 20.0 } else { 27.0 }]);
        outcome.channels[0].sd = 1.234_56e-7;
        history.push(&names(1), &outcome, None);
    }
    let view = history.view(&"s".into(), Range::all(100));
    let sd = view.channels[0].sd[5].unwrap();
    assert!((sd - 1.235e-7).abs() < 1e-12, "{sd}");
}

#[test]
fn an_incident_keeps_the_least_expected_row_of_each_channel_and_its_verdict() {
    let mut history = StreamHistory::new(100);
    let mut incident = incident_of(1, Kind::Surprise, 1000, 1000);
    for (i, distance) in [3.0, 9.0, 40.0].into_iter().enumerate() {
        let i = i as u64 + 1;
        incident.peak_ms = 2000.min(i as i64 * 1000);
        let mut outcome = row(i, i as i64 * 1000, &[1.0, 1.0]);
        outcome.anomaly = true;
        outcome.channels[1].mean = 1.0 + distance * 0.5;
        if i == 1 {
            outcome.edge = Some(IncidentEdge::Opened(incident.clone()));
        }
        history.push(&names(2), &outcome, Some(&incident));
    }
    incident.verdict = Some(Ruling::True);
    let mut verdict = row(3, 4000, &[]);
    verdict.edge = Some(IncidentEdge::Judged(incident));
    history.push(&names(2), &verdict, None);
    let views = history.incident_views(&"s".into());
    assert_eq!(views.len(), 1);
    assert_eq!(views[0].verdict, Some("true"));
    let worst = &views[0].channels[0];
    assert_eq!(worst.ts_ms, Some(2000));
    assert_eq!((worst.value, worst.mean), (Some(1.0), Some(5.5)));
}
