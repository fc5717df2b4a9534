//! Tests of the assembler: by example, and by properties that hold for any readings.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;

const MINUTE: i64 = 60_000;

fn params(align: Align, listed: &[&str]) -> AssembleParams {
    let listed = listed.iter().map(|&name| name.into()).collect();
    AssembleParams::new(align, 1_000, MINUTE, 8, listed).expect("valid parameters")
}

fn reading(channel: &str, ts_ms: i64, value: f64) -> Reading {
    Reading {
        seq: 1,
        stream: "s".into(),
        channel: channel.into(),
        value,
        ts_ms,
        arrival_ms: ts_ms + 5,
    }
}

/// One line a row, `ts: values`, `-` where missing.
fn show(rows: &[Row]) -> Vec<String> {
    let cell = |v: &f64| match v.is_nan() {
        true => "-".to_owned(),
        false => v.to_string(),
    };
    rows.iter()
        .map(|row| {
            let cells: Vec<_> = row.values.iter().map(cell).collect();
            format!("{}: {}", row.ts_ms, cells.join(" "))
        })
        .collect()
}

/// Pushes `(channel, ts, value)`, all of which must be taken, and finishes.
fn run(params: &AssembleParams, readings: &[(&str, i64, f64)]) -> Vec<String> {
    let mut assembler = Assembler::new(params);
    let mut rows = Vec::new();
    for &(channel, ts, value) in readings {
        let verdict = assembler.push(&reading(channel, ts, value), &mut rows);
        assert!(verdict.is_taken(), "{channel} at {ts}: {verdict:?}");
    }
    assembler.finish(&mut rows);
    show(&rows)
}

#[test]
fn per_reading_makes_a_row_of_each_and_holds_the_others() {
    let rows = run(
        &params(Align::PerReading, &["a", "b"]),
        &[("a", 10, 1.0), ("b", 20, 2.0), ("a", 30, 3.0)],
    );
    assert_eq!(rows, ["10: 1 -", "20: 1 2", "30: 3 2"]);
}

#[test]
fn when_complete_gives_one_row_a_round_at_once() {
    let mut assembler = Assembler::new(&params(Align::WhenComplete, &["a", "b"]));
    let mut rows = Vec::new();
    for t in 1..=3 {
        assembler.push(&reading("a", t * 1000, t as f64), &mut rows);
        assert_eq!(rows.len() as i64, t - 1);
        assembler.push(&reading("b", t * 1000 + 1, 0.0), &mut rows);
        assert_eq!(
            rows.len() as i64,
            t,
            "the row goes out with its last reading"
        );
    }
    assert_eq!(show(&rows), ["1001: 1 0", "2001: 2 0", "3001: 3 0"]);
}

#[test]
fn discovered_channels_share_their_first_row() {
    let rounds: Vec<_> = (1..=3)
        .flat_map(|t| ["a", "b", "c"].map(|c| (c, t * 1000, t as f64)))
        .collect();
    let rows = run(&params(Align::WhenComplete, &[]), &rounds);
    assert_eq!(rows, ["1000: 1 1 1", "2000: 2 2 2", "3000: 3 3 3"]);
}

#[test]
fn a_missed_round_does_not_shift_the_phase() {
    let mut readings = Vec::new();
    for t in 1..=8_i64 {
        for c in ["a", "b", "c"] {
            if (c, t) != ("a", 5) {
                readings.push((c, t * 1000, t as f64));
            }
        }
    }
    let rows = run(&params(Align::WhenComplete, &["a", "b", "c"]), &readings);
    let expected: Vec<_> = (1..=8)
        .map(|t| {
            let a = if t == 5 { 4 } else { t };
            format!("{t}000: {a} {t} {t}")
        })
        .collect();
    assert_eq!(rows, expected);
}

#[test]
fn starting_in_the_middle_of_a_round_finds_the_phase() {
    let mut readings = vec![("c", 1000, 1.0)];
    for t in 2..=5_i64 {
        readings.extend(["a", "b", "c"].map(|c| (c, t * 1000, t as f64)));
    }
    let rows = run(&params(Align::WhenComplete, &["a", "b", "c"]), &readings);
    assert_eq!(rows[rows.len() - 2..], ["4000: 4 4 4", "5000: 5 5 5"]);
}

#[test]
fn a_late_channel_appends_and_falls_into_step() {
    let mut readings = Vec::new();
    for t in 1..=6_i64 {
        readings.push(("a", t * 1000, t as f64));
        readings.push(("b", t * 1000 + 10, t as f64));
        if t >= 3 {
            readings.push(("c", t * 1000 + 20, t as f64));
        }
    }
    let rows = run(&params(Align::WhenComplete, &["a", "b"]), &readings);
    assert_eq!(
        rows,
        [
            "1010: 1 1",
            "2010: 2 2",
            "3010: 3 3",
            "4010: 4 4 3",
            "4020: 4 4 4",
            "5020: 5 5 5",
            "6020: 6 6 6"
        ]
    );
}

#[test]
fn a_dead_channel_is_held_then_missing_and_soon_not_waited_for() {
    let mut assembler = Assembler::new(&params(Align::WhenComplete, &["a", "b", "dead"]));
    let mut rows = Vec::new();
    assembler.push(&reading("dead", 900, 7.0), &mut rows);
    for t in 1..=100 {
        assembler.push(&reading("a", t * 1000, 1.0), &mut rows);
        assembler.push(&reading("b", t * 1000, 2.0), &mut rows);
        if t > 4 {
            assert_eq!(rows.len() as i64, t, "nothing waits for the dead channel");
        }
    }
    for row in &rows {
        let held = row.ts_ms - 900 <= MINUTE;
        assert_eq!(row.values[2].is_nan(), !held, "at {}", row.ts_ms);
    }
}

#[test]
fn an_open_row_does_not_outlive_its_readings() {
    let rows = run(
        &params(Align::WhenComplete, &[]),
        &[("a", 1000, 1.0), ("b", 1000 + 2 * MINUTE, 2.0)],
    );
    assert_eq!(rows, ["1000: 1 -", "121000: - 2"]);
}

#[test]
fn a_single_channel_needs_no_company() {
    let rows = run(
        &params(Align::WhenComplete, &[]),
        &[("a", 1000, 1.0), ("a", 2000, 2.0), ("a", 3000, 3.0)],
    );
    assert_eq!(rows, ["1000: 1", "2000: 2", "3000: 3"]);
}

#[test]
fn fixed_period_rows_hold_the_last_value_before_them() {
    let rows = run(
        &params(Align::FixedPeriod, &["a", "b"]),
        &[
            ("a", 1000, 1.0),
            ("b", 1400, 2.0),
            ("a", 1900, 3.0),
            ("a", 4100, 4.0),
        ],
    );
    assert_eq!(
        rows,
        [
            "1000: 1 -",
            "2000: 3 2",
            "3000: 3 2",
            "4000: 3 2",
            "5000: 4 2"
        ]
    );
}

#[test]
fn fixed_period_keeps_silent_through_a_silence_and_counts_it() {
    let mut assembler = Assembler::new(&params(Align::FixedPeriod, &[]));
    let mut rows = Vec::new();
    assembler.push(&reading("a", 0, 1.0), &mut rows);
    assembler.push(&reading("a", 1000 * MINUTE, 2.0), &mut rows);
    assembler.finish(&mut rows);
    assert_eq!(
        rows.len(),
        62,
        "a minute of held rows, both ends, and the new one"
    );
    assert_eq!(assembler.skipped_periods(), 60_000 - 61);
    assert_eq!(rows[61].ts_ms, 1000 * MINUTE);
}

#[test]
fn each_refusal_has_its_reason() {
    let mut assembler = Assembler::new(&params(Align::PerReading, &[]));
    let mut rows = Vec::new();
    let mut push = |channel: &str, ts| assembler.push(&reading(channel, ts, 1.0), &mut rows);
    assert_eq!(push("a", 100_000), Verdict::NewChannel);
    assert_eq!(push("a", 200_000), Verdict::Taken);
    assert_eq!(push("a", 200_000), Verdict::Duplicate);
    assert_eq!(push("a", 100_000), Verdict::Duplicate, "redelivered");
    assert_eq!(push("a", 150_000), Verdict::Late);
    assert_eq!(
        push("b", 199_000),
        Verdict::NewChannel,
        "a second behind its neighbour"
    );
    assert_eq!(push("c", 139_000), Verdict::Late, "missing on arrival");
    for i in 0..6 {
        assert_eq!(push(&format!("d{i}"), 200_000), Verdict::NewChannel);
    }
    assert_eq!(push("e", 200_000), Verdict::TooManyChannels);
    assert_eq!(rows.len(), 9);
}

#[test]
fn a_stamp_of_the_year_2106_is_refused_and_disturbs_nobody() {
    let mut assembler = Assembler::new(&params(Align::WhenComplete, &["a", "b"]));
    let mut rows = Vec::new();
    let mut absurd = reading("a", 4_294_967_295_000, 1.0);
    absurd.arrival_ms = 500;
    assert_eq!(assembler.push(&absurd, &mut rows), Verdict::Future);
    for t in 1..=3 {
        for channel in ["a", "b"] {
            let verdict = assembler.push(&reading(channel, t * 1000, 1.0), &mut rows);
            assert_eq!(verdict, Verdict::Taken);
        }
    }
    assert_eq!(rows.len(), 3);
}

#[test]
fn a_clock_that_runs_ahead_does_not_age_its_neighbours() {
    let mut assembler = Assembler::new(&params(Align::WhenComplete, &["ahead", "right"]));
    let mut rows = Vec::new();
    for t in 1..=5_i64 {
        let mut ahead = reading("ahead", t * 1000 + 4 * MINUTE, 1.0);
        ahead.arrival_ms = t * 1000;
        assert_eq!(assembler.push(&ahead, &mut rows), Verdict::Taken);
        assert_eq!(
            assembler.push(&reading("right", t * 1000, 2.0), &mut rows),
            Verdict::Taken
        );
    }
    assert_eq!(show(&rows)[4], "5000: 1 2");
}

#[test]
fn readings_stamped_by_arrival_may_share_a_millisecond() {
    let mut assembler = Assembler::new(&params(Align::WhenComplete, &["a"]));
    let mut rows = Vec::new();
    let mut push = |value| {
        let mut stamped = reading("a", 1000, value);
        stamped.arrival_ms = 1000;
        assembler.push(&stamped, &mut rows)
    };
    assert_eq!(push(1.0), Verdict::Taken);
    assert_eq!(push(2.0), Verdict::Taken);
    assert_eq!(push(2.0), Verdict::Duplicate);
}

#[test]
fn parameters_name_every_offence() {
    let errors = AssembleParams::new(
        Align::FixedPeriod,
        0,
        -1,
        1,
        vec!["a".into(), "b".into(), "a".into()],
    )
    .expect_err("four offences");
    assert_eq!(errors.len(), 4, "{errors:?}");
}

#[test]
fn verdict_words_are_distinct() {
    let words: std::collections::BTreeSet<_> = Verdict::ALL.map(Verdict::as_str).into();
    assert_eq!(words.len(), Verdict::ALL.len());
}

fn any_align() -> impl Strategy<Value = Align> {
    prop_oneof![
        Just(Align::PerReading),
        Just(Align::WhenComplete),
        Just(Align::FixedPeriod)
    ]
}

/// Channel, step of time (mostly forward, sometimes absurd), delay of arrival.
fn any_readings() -> impl Strategy<Value = Vec<Reading>> {
    let step = prop_oneof![
        8 => 0_i64..2_000,
        2 => -3_000_i64..0,
        1 => Just(20 * MINUTE),
        1 => any::<i64>(),
    ];
    prop::collection::vec((0_usize..10, step, -1_000_i64..1_000), 0..200).prop_map(|steps| {
        let mut clock = 1_700_000_000_000_i64;
        let mut readings = Vec::new();
        for (i, (channel, step, delay)) in steps.into_iter().enumerate() {
            let ts_ms = clock.saturating_add(step);
            if step.abs() < 3_600_000 {
                clock = ts_ms;
            }
            readings.push(Reading {
                seq: i as u64,
                stream: "s".into(),
                channel: Arc::from(format!("c{channel}")),
                value: i as f64,
                ts_ms,
                arrival_ms: clock + delay,
            });
        }
        readings
    })
}

proptest! {
    #[test]
    fn rows_never_go_back_and_have_a_value_a_channel(align in any_align(), readings in any_readings()) {
        let mut assembler = Assembler::new(&params(align, &["c3"]));
        let mut rows = Vec::new();
        let mut last_ms = i64::MIN;
        for reading in &readings {
            let n_before = assembler.channels().len();
            let verdict = assembler.push(reading, &mut rows);
            let grown = assembler.channels().len() - n_before;
            prop_assert_eq!(grown > 0, verdict == Verdict::NewChannel);
            for row in rows.drain(..) {
                prop_assert!(row.ts_ms >= last_ms);
                prop_assert!(row.values.len() >= n_before);
                prop_assert!(row.values.len() <= assembler.channels().len());
                last_ms = row.ts_ms;
            }
        }
        prop_assert!(assembler.channels().len() <= 8);
    }

    #[test]
    fn every_taken_reading_appears_in_a_row(
        per_reading in any::<bool>(),
        readings in any_readings(),
    ) {
        let align = if per_reading { Align::PerReading } else { Align::WhenComplete };
        let mut assembler = Assembler::new(&params(align, &[]));
        let (mut rows, mut taken) = (Vec::new(), Vec::new());
        for reading in &readings {
            if assembler.push(reading, &mut rows).is_taken() {
                taken.push((reading.value, reading.ts_ms.min(reading.arrival_ms)));
            }
        }
        assembler.finish(&mut rows);
        prop_assert!(rows.len() <= taken.len());
        for (value, at_ms) in taken {
            let seen = rows.iter().any(|row| row.values.contains(&value));
            let too_old = rows.iter().any(|row| row.ts_ms.saturating_sub(at_ms) > MINUTE);
            prop_assert!(seen || too_old, "{} was taken and is in no row", value);
        }
    }

    #[test]
    fn a_saved_assembler_goes_on_as_if_nothing_had_happened(
        align in any_align(),
        readings in any_readings(),
        cut in 0_usize..200,
    ) {
        let mut whole = Assembler::new(&params(align, &[]));
        let mut broken = whole.clone();
        let (mut rows, mut rows_broken) = (Vec::new(), Vec::new());
        for (i, reading) in readings.iter().enumerate() {
            if i == cut {
                let bytes = postcard::to_allocvec(&broken).expect("saved");
                broken = postcard::from_bytes(&bytes).expect("loaded");
            }
            let verdict = whole.push(reading, &mut rows);
            prop_assert_eq!(verdict, broken.push(reading, &mut rows_broken));
        }
        prop_assert_eq!(&whole, &broken);
        prop_assert_eq!(show(&rows), show(&rows_broken));
    }
}

/// Readings of one channel a second, by what its stamp and the arrival are off at each second: the verdicts.
fn stamped(align: Align, seconds: i64, off: impl Fn(i64) -> (i64, i64)) -> Vec<(i64, Verdict)> {
    let mut assembler = Assembler::new(&params(align, &[]));
    let mut rows = Vec::new();
    let verdicts = (0..seconds).map(|s| {
        let (ts_off, arrival_off) = off(s);
        let reading = Reading {
            ts_ms: 1_700_000_000_000 + 1000 * s + ts_off,
            arrival_ms: 1_700_000_000_000 + 1000 * s + arrival_off,
            ..reading("a", 0, s as f64)
        };
        (s, assembler.push(&reading, &mut rows))
    });
    let verdicts = verdicts.collect();
    assert!(rows.iter().all(|row| row.ts_ms > 1_600_000_000_000));
    verdicts
}

#[test]
fn a_wrong_stamp_costs_a_minute_of_readings_and_no_more() {
    const YEARS: i64 = 10 * 365 * 86_400_000;
    for align in [Align::PerReading, Align::WhenComplete, Align::FixedPeriod] {
        // The source ahead of its arrival, as far as that is believed; the wall clock ten years ahead.
        for wrong in [(299_000, 0), (YEARS, YEARS)] {
            let verdicts = stamped(align, 400, |s| if s == 10 { wrong } else { (0, 0) });
            let late = verdicts.iter().filter(|v| !v.1.is_taken());
            let late: Vec<i64> = late.map(|v| v.0).collect();
            let expected: Vec<i64> = (11..71).collect();
            assert_eq!(late, expected, "{align:?} {wrong:?}");
        }
    }
}

#[test]
fn a_backlog_behind_live_readings_stays_late() {
    // Once live, then a day of it, a hundred times as fast as it was measured.
    let verdicts = stamped(Align::PerReading, 800, |s| match s {
        0 => (0, 0),
        _ => (-86_400_000 + 99_000 * s, 0),
    });
    assert!(verdicts[1..].iter().all(|v| v.1 == Verdict::Late));
}
