//! The engine end to end, on streams whose law is known: horizons, soft sensors, labels, states.
#![expect(clippy::print_stdout, reason = "figures beside what the law allows")]

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use super::interval::Z90;
use super::*;
use crate::encode::Spikes;
use crate::row::{Forecast, IncidentEdge};

/// Sum of twelve uniforms: as good as standard normal.
fn normal(rng: &mut Pcg64) -> f64 {
    (0..12).map(|_| rng.random::<f64>()).sum::<f64>() - 6.0
}

fn engine(settings: EngineSettings, plans: &[Plan]) -> Engine {
    let params = EngineParams::new(settings).expect("good settings");
    let mut engine = Engine::new(&params, 0);
    engine.add(plans.iter().cloned());
    engine
}

fn row(t: u64, values: &[f64]) -> Row {
    let ts_ms = 1_000_000 + t as i64 * 1000;
    Row {
        ts_ms,
        arrival_ms: ts_ms,
        values: values.to_vec(),
        held: Vec::new(),
    }
}

fn with(role: Role, values: Values) -> Plan {
    Plan {
        role,
        values,
        ..Plan::default()
    }
}

/// Takes a snapshot and restores it.
fn saved_and_loaded(engine: &Engine) -> Engine {
    let bytes = postcard::to_allocvec(engine).expect("an engine can be saved");
    postcard::from_bytes(&bytes).expect("and loaded")
}

#[test]
fn ignorance_is_a_part_of_the_deviation_that_falls_with_what_was_seen() {
    let mut rng = Pcg64::seed_from_u64(3);
    let mut engine = engine(EngineSettings::default(), &[Plan::default()]);
    let mut shares = [0.0; 2];
    let mut x = 0.0;
    for t in 0..2_000 {
        x = 0.9 * x + normal(&mut rng);
        let channel = engine.step(&row(t, &[x])).channels[0];
        let share = channel.ignorance_sd / channel.sd;
        assert!(t < 50 || (0.0..1.0).contains(&share), "{t} {share}");
        match t {
            50..100 => shares[0] += share / 50.0,
            1_950.. => shares[1] += share / 50.0,
            _ => {}
        }
    }
    assert!(shares[1] < 0.5 * shares[0], "{shares:?}");
}

#[test]
fn a_forecast_twelve_rows_ahead_of_an_autoregression_is_as_good_and_as_sure_as_can_be() {
    let phi: f64 = 0.95;
    let mut rng = Pcg64::seed_from_u64(1);
    let settings = EngineSettings {
        horizons: vec![3, 12],
        ..EngineSettings::default()
    };
    let mut engine = engine(settings, &[Plan::default()]);
    let mut x = 0.0;
    let mut made: Vec<Vec<Forecast>> = Vec::new();
    // Squares of errors and of the best predictor's, hits, values; a set a horizon.
    let mut sums = [[0.0; 4]; 2];
    let mut past = vec![];
    for t in 0..12_000_u64 {
        x = phi * x + normal(&mut rng);
        let outcome = engine.step(&row(t, &[x + 50.0]));
        past.push(x);
        for (sums, (i, h)) in sums.iter_mut().zip([(0, 3), (1, 12)]) {
            if t < 2000 {
                continue;
            }
            let at = t as usize - h;
            let forecast = made[at][i];
            assert_eq!(forecast.horizon as usize, h);
            let best = phi.powi(h as i32) * past[at];
            sums[0] += (x + 50.0 - forecast.mean).powi(2);
            sums[1] += (x - best).powi(2);
            sums[2] += f64::from(u8::from(
                (x + 50.0 - forecast.mean).abs() <= Z90 * forecast.sd,
            ));
            sums[3] += 1.0;
        }
        made.push(outcome.forecasts);
    }
    for (h, [square, best, hits, n]) in [3, 12].into_iter().zip(sums) {
        let (ratio, coverage) = ((square / best).sqrt(), hits / n);
        println!("h {h}: RMSE over the best {ratio:.3}, coverage {coverage:.3}");
        assert!(ratio < 1.06, "h {h}: RMSE over the best {ratio}");
        assert!(
            (0.88..0.92).contains(&coverage),
            "h {h}: coverage {coverage}"
        );
    }
    let figures = &engine.stats().horizons;
    assert_eq!(figures.len(), 2);
    assert!(figures[1].2 < 0.95, "worse than persistence: {figures:?}");
}

#[test]
fn horizons_leave_the_next_step_as_it_was_bit_for_bit() {
    let run = |horizons: Vec<u32>| {
        let mut rng = Pcg64::seed_from_u64(4);
        let settings = EngineSettings {
            horizons,
            ..EngineSettings::default()
        };
        let mut engine = engine(settings, &[Plan::default(), Plan::default()]);
        let step = |t| {
            engine
                .step(&row(t, &[normal(&mut rng), normal(&mut rng)]))
                .channels
        };
        (0..400).map(step).collect::<Vec<_>>()
    };
    let (plain, with) = (run(vec![]), run(vec![5, 40]));
    let bits = |rows: &[Vec<ChannelOutcome>]| -> Vec<u64> {
        let all = rows.iter().flatten();
        all.flat_map(|c| [c.mean, c.sd, c.score].map(f64::to_bits))
            .collect()
    };
    assert_eq!(bits(&plain), bits(&with));
}

#[test]
fn a_soft_sensor_finds_a_known_function_of_the_others_and_holds_while_it_is_missing() {
    let mut rng = Pcg64::seed_from_u64(2);
    let plans = [
        Plan::default(),
        Plan::default(),
        with(Role::Target, Values::Numbers),
    ];
    let mut engine = engine(EngineSettings::default(), &plans);
    let (mut a, mut b) = (0.0, 0.0);
    let (mut error, mut spread, mut n) = (0.0, 0.0, 0.0);
    for t in 0..6000 {
        a = 0.9 * a + normal(&mut rng);
        b = 0.8 * b + normal(&mut rng);
        let truth = 20.0 + 3.0 * a - 2.0 * b + 2.0 * (a - 1.0).max(0.0);
        // A laboratory: one row in five, and for the last thousand rows none.
        let measured = if t % 5 == 0 && t < 5000 {
            truth + 0.2 * normal(&mut rng)
        } else {
            f64::NAN
        };
        let outcome = engine.step(&row(t, &[a, b, measured]));
        let sensor = outcome.channels[2];
        if t >= 5000 {
            assert!(sensor.value.is_nan());
            error += (sensor.mean - truth).powi(2);
            spread += (truth - 20.5).powi(2);
            n += 1.0;
        }
    }
    let (rmse, sd) = (f64::sqrt(error / n), f64::sqrt(spread / n));
    println!("soft sensor while missing: RMSE {rmse:.3}, sd of the truth {sd:.3}");
    assert!(rmse < 0.15 * sd, "RMSE {rmse} of a truth with sd {sd}");
}

/// Error of a soft sensor of the product of two sensors, over the standard deviation of the product.
fn error_of_a_product(hidden: usize) -> f64 {
    let mut rng = Pcg64::seed_from_u64(12);
    let plans = [
        Plan::default(),
        Plan::default(),
        with(Role::Target, Values::Numbers),
    ];
    let settings = EngineSettings {
        hidden,
        ..EngineSettings::default()
    };
    let mut engine = engine(settings, &plans);
    let (mut a, mut b): (f64, f64) = (0.0, 0.0);
    let (mut error, mut spread) = (0.0, 0.0);
    for t in 0..14_000 {
        a = 0.9 * a + 0.19_f64.sqrt() * normal(&mut rng);
        b = 0.9 * b + 0.19_f64.sqrt() * normal(&mut rng);
        let product = a * b + 0.1 * normal(&mut rng);
        let outcome = engine.step(&row(t, &[a, b, product]));
        if t >= 10_000 {
            error += (outcome.channels[2].mean - product).powi(2);
            spread += product * product;
        }
    }
    f64::sqrt(error / spread)
}

#[test]
fn a_product_of_sensors_needs_hidden_units() {
    let (with, without) = (error_of_a_product(64), error_of_a_product(0));
    println!("soft sensor of a product: {with:.3} with hidden units, {without:.3} without");
    assert!(with < 0.4, "{with} with hidden units");
    assert!(without > 0.8, "{without} without");
}

#[test]
fn a_target_that_parts_from_what_the_others_say_is_an_incident_of_its_own() {
    let mut rng = Pcg64::seed_from_u64(3);
    let plans = [Plan::default(), with(Role::Target, Values::Numbers)];
    let mut engine = engine(EngineSettings::default(), &plans);
    let (mut x, mut opened) = (0.0, None);
    for t in 0..3040 {
        x = 0.95 * x + normal(&mut rng);
        let off = if t >= 3000 { 3.0 } else { 0.0 };
        let target = 2.0 * x + 0.5 * normal(&mut rng) + off;
        let outcome = engine.step(&row(t, &[x, target]));
        if let Some(IncidentEdge::Opened(incident)) = outcome.edge {
            opened = Some((t, incident.channels[0].channel));
        }
    }
    let (t, channel) = opened.expect("an offset of six sd of the residual");
    assert!(t >= 3000 && channel == 1, "{t} {channel}");
}

#[test]
fn nothing_of_a_targets_or_labels_own_past_is_an_input() {
    for role in [Role::Target, Role::Label] {
        let mut channel = Channel::new(with(role, Values::Numbers));
        let mut spikes = Spikes::default();
        for value in [1.0, 3.0, 2.0] {
            channel.encode_present(value, 0, &mut spikes);
            channel.observe(
                value,
                super::channel::Observing {
                    rests: false,
                    weight: 1.0,
                    statistics_rows: 2000.0,
                    history_rows: 10_000.0,
                },
            );
            channel.past.linear(0, &mut spikes);
        }
        assert_eq!((channel.shape().0, spikes.index.len()), (0, 0));
    }
}

#[test]
fn classes_that_lie_apart_are_told_apart_with_honest_probabilities() {
    let mut rng = Pcg64::seed_from_u64(5);
    let plans = [
        Plan::default(),
        Plan::default(),
        with(Role::Label, Values::Numbers),
    ];
    let mut engine = engine(EngineSettings::default(), &plans);
    let centres = [(0.0, 0.0), (4.0, 0.0), (0.0, 4.0)];
    let (mut right, mut log_loss, mut n, mut sure) = (0.0, 0.0, 0.0, 0.0);
    for t in 0..4000 {
        let class = (t / 37) as usize % 3;
        let (a, b) = centres[class];
        let values = [a + normal(&mut rng), b + normal(&mut rng)];
        // Taught one row in four; classes are called 5, 6, 7.
        let label = if t % 4 == 0 {
            5.0 + class as f64
        } else {
            f64::NAN
        };
        let outcome = engine.step(&row(t, &[values[0], values[1], label]));
        let odds = &outcome.odds[0];
        assert_eq!(outcome.score > 1.0, outcome.anomaly);
        if t >= 2000 {
            let likeliest = odds.likeliest().expect("three classes");
            let p = odds.states[likeliest].1;
            right += f64::from(u8::from(likeliest == class));
            sure += p;
            log_loss -= odds.states[class].1.ln();
            n += 1.0;
            assert_eq!(&*odds.states[class].0, ["5", "6", "7"][class]);
        }
    }
    let (accuracy, sure, log_loss): (f64, f64, f64) = (right / n, sure / n, log_loss / n);
    println!("label: accuracy {accuracy:.3}, mean confidence {sure:.3}, log loss {log_loss:.3}");
    assert!(accuracy > 0.95, "accuracy {accuracy}");
    assert!(
        (accuracy - sure).abs() < 0.04,
        "{accuracy} right, {sure} sure"
    );
    assert!(log_loss < 0.2, "log loss {log_loss}");
}

#[test]
fn states_drawn_by_lot_are_as_likely_as_the_lot_makes_them() {
    let mut rng = Pcg64::seed_from_u64(9);
    let lot = [0.7, 0.2, 0.07, 0.03];
    let sensor = with(Role::Sensor, Values::States(Vec::new()));
    let mut engine = engine(EngineSettings::default(), &[sensor, Plan::default()]);
    let (mut log_loss, mut n) = (0.0, 0.0);
    let mut mean = [0.0; 4];
    for t in 0..6000 {
        let mut u: f64 = rng.random();
        let drawn = lot.iter().position(|p| {
            u -= p;
            u < 0.0
        });
        let drawn = drawn.unwrap_or(0);
        // Met in the order of their numbers.
        let drawn = if t < 4 { t as usize } else { drawn };
        let outcome = engine.step(&row(t, &[drawn as f64, normal(&mut rng)]));
        if t >= 2000 {
            let states = &outcome.odds[0].states;
            log_loss -= states[drawn].1.ln();
            n += 1.0;
            (0..4).for_each(|k| mean[k] += states[k].1 / 4000.0);
        }
    }
    let entropy: f64 = -lot.iter().map(|p| p * p.ln()).sum::<f64>();
    println!(
        "lot: log loss {:.3} of {entropy:.3} possible, {mean:.3?}",
        log_loss / n
    );
    assert!(log_loss / n < entropy + 0.06, "{} nats", log_loss / n);
    for (mean, p) in mean.iter().zip(lot) {
        assert!((mean - p).abs() < 0.05, "{mean} for {p}");
    }
}

/// Rows in which an incident of `channel` opens, where the valve is what `valve` says.
fn incidents_of_a_valve(rows: u64, valve: impl Fn(u64) -> f64) -> Vec<u64> {
    let mut rng = Pcg64::seed_from_u64(6);
    let plans = [Plan::default(), with(Role::Sensor, Values::binary())];
    let mut engine = engine(EngineSettings::default(), &plans);
    let mut opened = Vec::new();
    for t in 0..rows {
        let outcome = engine.step(&row(t, &[normal(&mut rng), valve(t)]));
        if let Some(IncidentEdge::Opened(incident)) = &outcome.edge
            && incident.channels[0].channel == 1
        {
            opened.push(t);
        }
        assert_eq!(outcome.odds[0].seen, Some(valve(t) as usize));
    }
    opened
}

#[test]
fn a_valve_that_opens_when_it_never_does_is_flagged_within_two_rows() {
    let opened = incidents_of_a_valve(3040, |t| f64::from(u8::from(t >= 3000)));
    assert!(opened == [3000] || opened == [3001], "{opened:?}");
}

#[test]
fn a_valve_that_opens_by_its_habit_is_not_flagged_and_one_that_breaks_it_is() {
    // Open five rows in every twenty.
    let habit = |t: u64| u8::from(t % 20 >= 15);
    let opened = incidents_of_a_valve(3000, |t| f64::from(habit(t)));
    assert!(opened.is_empty(), "{opened:?}");
    // By the hour of five of its periods it is noticed that it no longer opens.
    let broken = |t: u64| if t >= 3000 { 0 } else { habit(t) };
    let opened = incidents_of_a_valve(3100, |t| f64::from(broken(t)));
    assert!(
        opened.first().is_some_and(|t| (3015..3100).contains(t)),
        "{opened:?}"
    );
}

#[test]
fn a_valve_that_switches_at_random_is_as_likely_as_it_is() {
    let mut rng = Pcg64::seed_from_u64(7);
    let mut engine = engine(
        EngineSettings::default(),
        &[with(Role::Sensor, Values::binary())],
    );
    let (mut valve, mut incidents) = (0.0, 0);
    let (mut expected, mut found, mut log_loss, mut n) = (0.0, 0.0, 0.0, 0.0);
    for t in 0..8000 {
        let p: f64 = if valve == 0.0 { 0.03 } else { 0.2 };
        let switched = rng.random::<f64>() < p;
        let before = valve;
        valve = if switched { 1.0 - valve } else { valve };
        let outcome = engine.step(&row(t, &[valve]));
        incidents += u64::from(matches!(outcome.edge, Some(IncidentEdge::Opened(_))));
        if t > 2000 {
            let odds = &outcome.odds[0].states;
            expected += odds[1 - before as usize].1;
            found += f64::from(u8::from(switched));
            log_loss -= odds[valve as usize].1.ln();
            n += 1.0;
        }
    }
    println!(
        "valve: {found} switches, {expected:.0} expected, log loss {:.3}, {incidents} incidents",
        log_loss / n
    );
    assert!(
        (expected / found - 1.0).abs() < 0.2,
        "{expected} expected, {found} found"
    );
    assert!(incidents <= 1, "{incidents} incidents of what is usual");
}

#[test]
fn a_state_that_is_not_listed_is_missing_and_counted() {
    let mut engine = engine(
        EngineSettings::default(),
        &[with(Role::Sensor, Values::binary()), Plan::default()],
    );
    for t in 0..300 {
        let valve = if t % 10 == 9 { 7.0 } else { 1.0 };
        let outcome = engine.step(&row(t, &[valve, 1.0]));
        assert_eq!(outcome.odds[0].seen.is_none(), t % 10 == 9);
    }
    assert_eq!(engine.stats().unknown_states, 30);
}

#[test]
fn channels_that_come_later_join_and_the_state_survives_a_snapshot() {
    let mut rng = Pcg64::seed_from_u64(8);
    let settings = EngineSettings {
        horizons: vec![4],
        ..EngineSettings::default()
    };
    let mut engine = engine(settings, &[Plan::default()]);
    let later = [
        with(Role::Sensor, Values::binary()),
        with(Role::Target, Values::Numbers),
        with(Role::Label, Values::Numbers),
        Plan::default(),
    ];
    let mut x = 0.0;
    let mut errors = [0.0; 2];
    let mut right = 0;
    for t in 0..3000_u64 {
        x = 0.9 * x + normal(&mut rng);
        if t >= 200 && t % 100 == 0 {
            let n = engine.n_channels();
            engine.add(later.get(n - 1).cloned());
        }
        let valve = f64::from(u8::from(x > 1.0));
        let all = [x, valve, 10.0 - 2.0 * x, valve, x + normal(&mut rng)];
        let measured = &all[..engine.n_channels()];
        let outcome = engine.step(&row(t, measured));
        if t >= 1500 {
            errors[0] += (outcome.channels[2].mean - all[2]).powi(2) / 1500.0;
            errors[1] += (all[2] - 10.0).powi(2) / 1500.0;
            let label = outcome.odds.iter().find(|odds| odds.channel == 3);
            right += usize::from(label.is_some_and(|o| o.likeliest() == o.seen));
            let ahead: Vec<usize> = outcome.forecasts.iter().map(|f| f.channel).collect();
            assert_eq!(ahead, [0, 4]);
            assert!(outcome.forecasts.iter().all(|f| f.mean.is_finite()));
        }
        if t == 1700 {
            let (mut other, mut again) = (engine.clone(), saved_and_loaded(&engine));
            for t in 1701..1720 {
                let row = row(t, &[0.5, 0.0, f64::NAN, 1.0, 0.1 * t as f64]);
                let (a, b) = (other.step(&row), again.step(&row));
                assert_eq!(format!("{a:?}"), format!("{b:?}"), "{t}");
            }
        }
    }
    assert!(errors[0] < 0.05 * errors[1], "soft sensor {errors:?}");
    assert!(right > 1425, "{right} labels right of 1500");
}
