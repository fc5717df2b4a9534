//! Damaged and random bytes for everything that reads bytes: `SPIKED_FUZZ` (20000) each. None may
//! panic.

use spiked::payload::InstructionTopic;
use spiked::payload::{Format, Parsed, Pointer, TimeUnit, parse_instruction};
use spiked::route::Pattern;
use spiked::row::Instruction;
use spiked::state::journal::{JournalRow, pack, unpack};
use spiked::state::snapshot::Snapshot;
use spiked::state::{JournalEntry, snapshot};
use spiked::stream::Stream;

use crate::plant::{Dice, number};
use crate::state::{params, reading};

/// Flips, cuts, repeats and inserts.
fn mutate(bytes: &mut Vec<u8>, dice: &mut Dice) {
    for _ in 0..=dice.below(4) {
        let at = dice.below(bytes.len() as u64 + 1) as usize;
        match dice.below(6) {
            0 => bytes.truncate(at),
            1 => bytes.insert(at, dice.below(256) as u8),
            2 => {
                let part = bytes[at..].to_vec();
                bytes.extend(part.iter().take(64));
            }
            3 => {
                let number = [0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
                bytes.splice(at..at, number);
            }
            _ => {
                if let Some(byte) = bytes.get_mut(at) {
                    *byte ^= 1 << dice.below(8);
                }
            }
        }
    }
}

fn rounds() -> u64 {
    number("SPIKED_FUZZ", 20_000)
}

#[test]
fn no_snapshot_makes_its_reader_panic() {
    let params = params(&[]);
    let mut stream = Stream::new("press", &params);
    for seq in 1..300 {
        let mut reading = reading(seq);
        reading.stream = "press".into();
        stream.push(&reading, &mut Vec::new());
    }
    let whole = Snapshot::of(&stream, &params, 1);
    let mut dice = Dice(1);
    let mut refused = 0;
    for _ in 0..rounds() {
        let mut damaged = whole.clone();
        if dice.below(4) == 0 {
            mutate(&mut damaged.params, &mut dice);
        } else {
            mutate(&mut damaged.state, &mut dice);
        }
        let _ = damaged.unfit_for(&params);
        refused += u64::from(damaged.open().is_err());
    }
    println!("snapshot reader: {} runs, {refused} refused", rounds());
    assert!(refused > 0);
    let mut noise = vec![0; 200];
    for _ in 0..rounds() / 10 {
        noise
            .iter_mut()
            .for_each(|byte| *byte = dice.below(256) as u8);
        let _ = snapshot::decode::<Stream>(&noise);
    }
}

#[test]
fn no_journal_group_makes_its_reader_panic() {
    let readings: Vec<_> = (1..20)
        .map(|seq| JournalEntry {
            reading: reading(seq),
            key: seq,
        })
        .collect();
    let whole = pack(&readings, 0).unwrap();
    let mut dice = Dice(2);
    for _ in 0..rounds() {
        let mut data = whole.data.clone();
        mutate(&mut data, &mut dice);
        let mut crc = crc32fast::Hasher::new();
        crc.update(&whole.first_seq.to_le_bytes());
        crc.update(&whole.last_seq.to_le_bytes());
        crc.update(&data);
        // With a checksum that is right, so that the layout itself is read.
        let row = JournalRow {
            crc: crc.finalize(),
            data,
            ..whole
        };
        let _ = unpack(&row);
    }
}

#[test]
fn no_payload_makes_a_parser_panic() {
    let pointer = |text: &str| Pointer::new(text).unwrap();
    let formats = [
        Format::number(),
        Format::auto(pointer("/value"), pointer("/ts"), TimeUnit::Millis),
        Format::json(pointer("/a/0/b"), pointer("/ts"), TimeUnit::Seconds),
        Format::object(pointer(""), pointer("/ts"), TimeUnit::Nanos),
    ];
    let seeds: [&[u8]; 8] = [
        b"{\"incident\":3,\"verdict\":\"new_normal\"}",
        b"1.5e3",
        b"-1e308",
        b"{\"value\":1.5,\"ts\":1700000000000}",
        b"{\"a\":[{\"b\":1e999}],\"ts\":\"2024-02-29T23:59:60.5+14:00\"}",
        b"{\"flow\":1,\"temp\":null,\"x\":\"y\",\"z\":[[[]]]}",
        b"[1,2,3]",
        b"{\"ts\":-9223372036854775808,\"value\":true}",
    ];
    let mut dice = Dice(3);
    let mut parsed = Parsed::default();
    for round in 0..rounds() {
        let mut payload = seeds[dice.below(seeds.len() as u64) as usize].to_vec();
        mutate(&mut payload, &mut dice);
        let format = &formats[(round % 4) as usize];
        if format.parse(&payload, &mut parsed).is_ok() {
            let mut values = parsed.channels().map(|(_, value)| value);
            assert!(values.all(f64::is_finite), "{payload:?}");
        }
        for topic in InstructionTopic::ALL {
            let read = parse_instruction(topic, "press", &payload, None);
            if let Ok(Instruction::Feedback(feedback)) = read {
                assert!(feedback.incident > 0, "{payload:?}");
            }
        }
    }
}

#[test]
fn no_topic_makes_the_matcher_panic() {
    let patterns = [
        "plant/{stream}/{channel}",
        "a/+/{stream}/{channel}/#",
        "{stream}/x/{channel}",
    ];
    let patterns = patterns.map(|text| Pattern::new(text, "", "", false).unwrap());
    let seeds = [
        "plant/press/temp",
        "a/b/c/d/e/f",
        "s/x/c",
        "a//c/d",
        "plant/+/#",
        "$SYS/x/y",
    ];
    let mut dice = Dice(4);
    for _ in 0..rounds() {
        let mut topic = seeds[dice.below(seeds.len() as u64) as usize]
            .as_bytes()
            .to_vec();
        mutate(&mut topic, &mut dice);
        let topic = String::from_utf8_lossy(&topic);
        for pattern in &patterns {
            let _ = pattern.matches(&topic);
        }
        let _ = Pattern::new(&topic, "", "", false);
    }
}
