//! Damaged inputs for every parser that reads what strangers send, from one seed.
//!
//! Long form, some minutes to an hour a parser; `SPIKED_FUZZ_ONLY` names one of them:
//! `SPIKED_FUZZ=10000000 SPIKED_FUZZ_ONLY=time cargo test --profile quick --test recordings no_input
//! -- --nocapture`.

use std::time::{Duration, Instant};

#[path = "../../fuzz/entries.rs"]
mod entries;

/// No input may take longer.
const LIMIT: Duration = Duration::from_millis(10);
/// Inputs a parser where nothing else is asked for.
const INPUTS: u64 = 2000;
/// Longest input made, bytes.
const LONGEST: usize = 4096;
/// Characters that tables, payloads and times hinge on.
const TOKENS: [&[u8]; 24] = [
    b"\n",
    b"\r\n",
    b",",
    b";",
    b"\t",
    b"\"",
    b"#",
    b"{",
    b"}",
    b"[",
    b"/",
    b"+",
    b":",
    b"1e999",
    b"NaN",
    b"-",
    b" UTC",
    b"24:00",
    b"2026-02-30",
    b"99999999999999999999",
    b"\xff\xfe",
    b"\xef\xbb\xbf",
    b"\0",
    b"\xc2\xb0C",
];

/// A generator of numbers by Marsaglia's xorshift.
struct Dice(u64);

impl Dice {
    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % n as u64) as usize
    }

    /// An input made from two seeds: cut, spliced, repeated, and with tokens put in.
    fn input(&mut self, seeds: &[&[u8]]) -> Vec<u8> {
        let mut bytes = seeds[self.below(seeds.len())].to_vec();
        for _ in 0..=self.below(5) {
            let at = self.below(bytes.len() + 1);
            let other = seeds[self.below(seeds.len())];
            match self.below(7) {
                0 => bytes.truncate(at),
                1 => bytes.insert(at, self.below(256) as u8),
                2 => drop(bytes.splice(at..at, TOKENS[self.below(TOKENS.len())].iter().copied())),
                3 => bytes.extend(&other[self.below(other.len())..]),
                4 => {
                    let part = bytes[at..].to_vec();
                    let times = self.below(20);
                    (0..times).for_each(|_| bytes.extend(&part));
                }
                5 => {
                    let end = (at + self.below(8)).min(bytes.len());
                    drop(bytes.drain(at..end));
                }
                _ => {
                    if let Some(byte) = bytes.get_mut(at) {
                        *byte ^= 1 << self.below(8);
                    }
                }
            }
            bytes.truncate(LONGEST);
        }
        bytes
    }
}

/// Time that this thread has computed: other work on the machine counts for nothing.
fn computed() -> Option<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").ok()?;
    let ns = text.split(' ').next()?.parse().ok()?;
    Some(Duration::from_nanos(ns))
}

/// The time that an input takes; where it seems too long, the shortest of a few.
fn time_of(run: fn(&[u8]), input: &[u8]) -> Duration {
    let start = Instant::now();
    run(input);
    let first = start.elapsed();
    if first <= LIMIT {
        return first;
    }
    let again = || {
        let (start, before) = (Instant::now(), computed());
        run(input);
        let waited = start.elapsed();
        match (before, computed()) {
            (Some(before), Some(after)) => waited.min(after - before),
            _ => waited,
        }
    };
    (0..5).map(|_| again()).min().unwrap_or(first)
}

#[test]
fn no_input_makes_a_parser_panic_or_take_long() {
    let inputs = std::env::var("SPIKED_FUZZ")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(INPUTS);
    let only = std::env::var("SPIKED_FUZZ_ONLY").unwrap_or_default();
    let known = entries::ALL.iter().any(|entry| entry.name == only);
    assert!(only.is_empty() || known, "no parser is named {only:?}");
    let wanted = |entry: &entries::Entry| only.is_empty() || entry.name == only;
    for (place, entry) in entries::ALL.iter().enumerate() {
        if !wanted(entry) {
            continue;
        }
        let mut dice = Dice(0x9e37_79b9_7f4a_7c15 + place as u64);
        let (mut slowest, mut worst) = (Duration::ZERO, Vec::new());
        let start = Instant::now();
        for _ in 0..inputs {
            let input = dice.input(entry.seeds);
            let took = time_of(entry.run, &input);
            if took > slowest {
                (slowest, worst) = (took, input);
            }
        }
        let shown = String::from_utf8_lossy(&worst);
        let seconds = start.elapsed().as_secs_f64();
        println!(
            "{}: {inputs} inputs in {seconds:.1} s, slowest {slowest:.1?}",
            entry.name
        );
        assert!(
            slowest <= LIMIT,
            "{}: {slowest:?} for {shown:?}",
            entry.name
        );
    }
}
