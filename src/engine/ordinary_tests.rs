//! Ordinary signals of plants that must not be flagged, and the fault among them that must.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use super::*;
use crate::row::IncidentEdge;

const MINUTE_MS: i64 = 60_000;
const DAY: usize = 1440;

/// Sum of twelve uniforms: as good as standard normal.
fn normal(rng: &mut Pcg64) -> f64 {
    (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0
}

/// Incidents of a recording: the row of each, from 0, and its first channel.
fn incidents_of(plans: &[Plan], period_ms: i64, rows: &[Vec<f64>]) -> Vec<(usize, usize)> {
    let mut engine = Engine::new(&EngineParams::default(), 0);
    engine.add(plans.iter().cloned());
    let mut incidents = Vec::new();
    for (t, values) in rows.iter().enumerate() {
        let ts_ms = 1_772_323_200_000 + t as i64 * period_ms;
        let outcome = engine.step(&Row {
            ts_ms,
            arrival_ms: ts_ms,
            values: values.clone(),
            held: Vec::new(),
        });
        if let Some(IncidentEdge::Opened(incident)) = &outcome.edge {
            let first = incident.channels.first();
            incidents.push((t, first.map_or(0, |share| share.channel)));
        }
    }
    incidents
}

/// A temperature with a daily course, to hundredths.
fn temperature(rng: &mut Pcg64, t: usize) -> f64 {
    let course = (t as f64 / DAY as f64 * std::f64::consts::TAU).sin();
    let value = 20.0 + 2.0 * course + 0.05 * normal(rng);
    (value * 100.0).round() / 100.0
}

#[test]
fn a_channel_that_never_changes_or_never_has_a_value_is_no_fault() {
    let constants = [0.0, 7.0, -3.5, 1e12, f64::NAN];
    for (seed, constant) in constants.into_iter().enumerate() {
        let mut rng = Pcg64::seed_from_u64(seed as u64);
        let rows: Vec<Vec<f64>> = (0..3_000)
            .map(|t| vec![temperature(&mut rng, t), constant])
            .collect();
        let incidents = incidents_of(&[Plan::default(), Plan::default()], MINUTE_MS, &rows);
        assert!(
            incidents.iter().all(|&(_, first)| first == 0) && incidents.len() <= 1,
            "{constant}: {incidents:?}"
        );
    }
}

#[test]
fn the_first_runs_of_a_pump_are_as_long_as_those_before_them() {
    let pump = Plan {
        values: Values::binary(),
        ..Plan::default()
    };
    for period in [20, 30, 37, 60] {
        let mut rng = Pcg64::seed_from_u64(period as u64);
        let rows: Vec<Vec<f64>> = (0..1_000)
            .map(|t| {
                let on = f64::from(u8::from((t / period) % 2 == 1));
                vec![temperature(&mut rng, t), on]
            })
            .collect();
        let incidents = incidents_of(&[Plan::default(), pump.clone()], MINUTE_MS, &rows);
        let of_pump = incidents.iter().filter(|&&(_, first)| first == 1).count();
        assert_eq!(of_pump, 0, "{period}: {incidents:?}");
    }
}

#[test]
fn a_load_at_the_same_hours_of_every_day_is_known_after_some_days() {
    // Hours from and to, minutes a row.
    for (from, to, minutes) in [(9, 10, 5), (9, 10, 1), (2, 5, 5), (8, 17, 5), (13, 14, 2)] {
        let mut rng = Pcg64::seed_from_u64(to as u64);
        let per_day = DAY / minutes;
        let rows: Vec<Vec<f64>> = (0..21 * per_day)
            .map(|t| {
                let hour = (t % per_day) * minutes / 60;
                let load = if (from..to).contains(&hour) {
                    1500.0
                } else {
                    300.0
                };
                vec![load + 10.0 * normal(&mut rng)]
            })
            .collect();
        let period_ms = minutes as i64 * MINUTE_MS;
        let incidents = incidents_of(&[Plan::default()], period_ms, &rows);
        let late = incidents.iter().filter(|&&(t, _)| t >= 7 * per_day).count();
        assert!(
            late <= 2 && incidents.len() <= 8,
            "{from} to {to}, {minutes} min: days {:?}",
            incidents.iter().map(|i| i.0 / per_day).collect::<Vec<_>>()
        );
    }
}

#[test]
fn an_energy_counter_is_judged_by_its_growth_and_a_reset_is_none() {
    let counter = Plan {
        counter: true,
        ..Plan::default()
    };
    for seed in 0..3 {
        let mut rng = Pcg64::seed_from_u64(seed);
        let mut total = 1234.0;
        let mut rows: Vec<Vec<f64>> = (0..10 * DAY)
            .map(|t| {
                let evening = (17..21).contains(&(t % DAY / 60));
                let power = if evening { 3.0 } else { 0.5 } + 0.05 * normal(&mut rng);
                total += power.max(0.0) / 60.0;
                if t == 7_000 {
                    total = 0.0;
                }
                vec![(total * 1000.0_f64).round() / 1000.0]
            })
            .collect();
        let plans = [counter.clone()];
        let incidents = incidents_of(&plans, MINUTE_MS, &rows);
        assert!(incidents.len() <= 4, "{incidents:?}");
        assert!(incidents.iter().all(|&(t, _)| !(7_000..7_030).contains(&t)));
        // A load of ten times the usual in the night of the last day.
        let at = 9 * DAY + 120;
        for (k, row) in rows[at..].iter_mut().enumerate() {
            row[0] += (k.min(60) as f64) * 30.0 / 60.0;
        }
        let incidents = incidents_of(&plans, MINUTE_MS, &rows);
        assert!(
            incidents.iter().any(|&(t, _)| (at..at + 60).contains(&t)),
            "{incidents:?}"
        );
    }
}

#[test]
fn a_perfect_ramp_is_no_incident_and_does_not_hide_a_fault() {
    for (start, step) in [(0.0, 1.0), (5e6, 1000.0), (-40.0, 0.25)] {
        let mut rows: Vec<Vec<f64>> = (0..5_000).map(|t| vec![start + step * t as f64]).collect();
        for (k, row) in rows[4_900..4_910].iter_mut().enumerate() {
            row[0] = start + step * [17.0, 9_000.0, 3.0][k % 3];
        }
        let incidents = incidents_of(&[Plan::default()], MINUTE_MS, &rows);
        let rows: Vec<usize> = incidents.iter().map(|i| i.0).collect();
        assert!(
            rows.len() == 1 && (4_900..4_903).contains(&rows[0]),
            "{step}: {rows:?}"
        );
    }
}

#[test]
fn a_coarse_sensor_is_flagged_no_more_often_than_wanted() {
    for step in [0.5, 1.0] {
        let (mut incidents, weeks) = (0, 2.0);
        let seeds = 4;
        for seed in 0..seeds {
            let mut rng = Pcg64::seed_from_u64(seed);
            let mut slow = 0.0;
            let rows: Vec<Vec<f64>> = (0..14 * DAY)
                .map(|t| {
                    slow = 0.999 * slow + 0.02 * normal(&mut rng);
                    let value = temperature(&mut rng, t) + slow;
                    vec![(value / step).round() * step]
                })
                .collect();
            incidents += incidents_of(&[Plan::default()], MINUTE_MS, &rows).len();
        }
        let a_week = incidents as f64 / (weeks * seeds as f64);
        assert!(a_week <= 1.3, "{step}: {a_week} a week");
    }
}

#[test]
fn after_the_first_large_step_nothing_is_predicted_far_beyond_what_was_seen() {
    // Level before, step, and unit of the sensor's grid; a row an hour, as a logger of a battery writes.
    for (level, step, grid) in [
        (13.28, 0.5, 0.01),
        (0.0, -80.0, 1.0),
        (-5.0, 3.0, 0.1),
        (1e4, 900.0, 10.0),
    ] {
        for seed in 0..5 {
            let mut rng = Pcg64::seed_from_u64(seed);
            let mut engine = Engine::new(&EngineParams::default(), 1);
            let first = 12 + 3 * seed as usize;
            let (mut low, mut high) = (f64::INFINITY, f64::NEG_INFINITY);
            for t in 0..first + 40 {
                let decay = 1.0 - 0.01 * t.saturating_sub(first) as f64;
                let moved = if t >= first { step * decay } else { 0.0 };
                let value = level + moved + 0.5 * grid * normal(&mut rng);
                let value = (value / grid).round() * grid;
                let ts_ms = t as i64 * 3_600_000;
                let outcome = engine.step(&Row {
                    ts_ms,
                    arrival_ms: ts_ms,
                    values: vec![value],
                    held: Vec::new(),
                });
                let said = &outcome.channels[0];
                if t > first {
                    let span = high - low;
                    let near = (low - 0.25 * span..=high + 0.25 * span).contains(&said.mean);
                    let says_so = (value - said.mean).abs() <= 3.0 * said.sd;
                    assert!(
                        near || says_so,
                        "{level} {step} seed {seed} row {t}: {said:?}"
                    );
                }
                (low, high) = (low.min(value), high.max(value));
            }
        }
    }
}

#[test]
fn the_unit_of_a_channel_changes_no_flag() {
    let mut rng = Pcg64::seed_from_u64(5);
    let rows: Vec<Vec<f64>> = (0..3_000)
        .map(|t| {
            let fault = if t >= 2_500 { 3.0 } else { 0.0 };
            vec![temperature(&mut rng, t) + fault]
        })
        .collect();
    let plain = incidents_of(&[Plan::default()], MINUTE_MS, &rows);
    assert!(plain.iter().any(|&(t, _)| t >= 2_500), "{plain:?}");
    // Powers of two are exact.
    for exponent in [-40, -30, 30, 80] {
        let unit = f64::powi(2.0, exponent);
        let scaled: Vec<Vec<f64>> = rows.iter().map(|row| vec![row[0] * unit]).collect();
        let incidents = incidents_of(&[Plan::default()], MINUTE_MS, &scaled);
        assert_eq!(incidents, plain, "2^{exponent}");
    }
}

#[test]
fn a_fault_in_another_channel_is_told_while_an_incident_is_open() {
    let mut told = 0;
    for seed in 0..10 {
        let mut rng = Pcg64::seed_from_u64(seed);
        let mut engine = Engine::new(&EngineParams::default(), 4);
        for t in 0..6_000_i64 {
            let mut values: Vec<f64> = (0..4).map(|_| normal(&mut rng)).collect();
            values[0] += if (5_000..5_400).contains(&t) {
                8.0
            } else {
                0.0
            };
            values[2] += if (5_100..5_160).contains(&t) {
                8.0
            } else {
                0.0
            };
            let outcome = engine.step(&Row {
                ts_ms: t * MINUTE_MS,
                arrival_ms: t * MINUTE_MS,
                values,
                held: Vec::new(),
            });
            if let Some(IncidentEdge::Joined { channels, .. }) = &outcome.edge {
                told += u32::from(channels.contains(&2) && (5_100..5_120).contains(&t));
            }
        }
    }
    assert!(told >= 9, "{told} of 10");
}

#[test]
fn direction_smallest_deviation_and_range_are_kept() {
    use crate::detect::{Direction, ValueRange};
    let watched = |watch: Watch, fault: f64| {
        let mut rng = Pcg64::seed_from_u64(8);
        let rows: Vec<Vec<f64>> = (0..3_060)
            .map(|t| vec![normal(&mut rng) + if t >= 3_000 { fault } else { 0.0 }])
            .collect();
        let plan = Plan {
            watch,
            ..Plan::default()
        };
        let incidents = incidents_of(&[plan], MINUTE_MS, &rows);
        incidents.iter().any(|&(t, _)| t >= 3_000)
    };
    let up = Watch {
        direction: Direction::Up,
        ..Watch::default()
    };
    assert!(watched(up, 9.0) && !watched(up, -9.0));
    let large = Watch {
        min_deviation: 12.0,
        ..Watch::default()
    };
    assert!(watched(large, 30.0) && !watched(large, 8.0));
    let range = Watch {
        range: Some(ValueRange {
            low: -20.0,
            high: 4.5,
        }),
        min_deviation: 100.0,
        ..Watch::default()
    };
    assert!(watched(range, 9.0) && !watched(range, -9.0));
}

#[test]
fn muted_channels_raise_nothing_until_their_time_is_over() {
    let mut rng = Pcg64::seed_from_u64(9);
    let mut engine = Engine::new(&EngineParams::default(), 1);
    let mut opened = 0;
    for t in 0..4_200_i64 {
        let fault = match t {
            3_000..3_060 | 3_500..3_560 => 12.0,
            _ => 0.0,
        };
        if t == 2_900 {
            engine.mute(Some(0), 3_200 * MINUTE_MS);
        }
        if t == 3_490 {
            assert_eq!(opened, 0, "muted");
        }
        let outcome = engine.step(&Row {
            ts_ms: t * MINUTE_MS,
            arrival_ms: t * MINUTE_MS,
            values: vec![normal(&mut rng) + fault],
            held: Vec::new(),
        });
        opened += u32::from(matches!(outcome.edge, Some(IncidentEdge::Opened(_))));
    }
    assert_eq!(opened, 1);
}

#[test]
fn a_confirmed_fault_alarms_each_time_it_returns() {
    use crate::row::{Feedback, Ruling};
    for every in [600, 1_000, 1_440] {
        let mut rng = Pcg64::seed_from_u64(every as u64);
        let mut engine = Engine::new(&EngineParams::default(), 1);
        let mut flagged = 0;
        let first = 9_000;
        let mut x = 0.0;
        for t in 0..(first + 5 * every) as i64 {
            x = 0.8 * x + 0.6 * normal(&mut rng);
            let since = t - first as i64;
            let inside = since >= 0 && since % (every as i64) < 60;
            let outcome = engine.step(&Row {
                ts_ms: t * MINUTE_MS,
                arrival_ms: t * MINUTE_MS,
                values: vec![x + if inside { 24.0 } else { 0.0 }],
                held: Vec::new(),
            });
            if let Some(IncidentEdge::Opened(incident)) = &outcome.edge
                && inside
            {
                flagged += 1;
                let feedback = Feedback {
                    incident: incident.id,
                    ruling: Ruling::True,
                };
                engine.feedback(feedback, &mut Vec::new());
            }
        }
        assert_eq!(flagged, 5, "every {every} rows");
    }
}
