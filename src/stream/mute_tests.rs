//! Tests of muting and forgetting: nothing is raised, nothing is learned, everything is shown.

use rand::{RngExt, SeedableRng};
use rand_pcg::Pcg64;

use super::*;
use crate::assemble::Align;
use crate::row::Incident;

const SECOND_MS: i64 = 1000;

struct Source {
    stream: Stream,
    seq: u64,
    rng: Pcg64,
    out: Vec<Outcome>,
}

fn params() -> StreamParams {
    StreamParams {
        assemble: AssembleParams::new(Align::WhenComplete, 0, 60_000, 8, Vec::new()).unwrap(),
        engine: EngineParams::default(),
    }
}

impl Source {
    fn new() -> Source {
        Source {
            stream: Stream::new("press", &params()),
            seq: 0,
            rng: Pcg64::seed_from_u64(5),
            out: Vec::new(),
        }
    }

    /// Rows of two channels a second apart, around `level` in the first.
    fn run(&mut self, n: i64, level: f64) {
        for _ in 0..n {
            let t = self.seq as i64 + 1;
            for (channel, level) in [("force", level), ("heat", 0.0)] {
                self.seq += 1;
                let noise = self.rng.random::<f64>();
                self.push(Reading {
                    seq: self.seq,
                    stream: "press".into(),
                    channel: channel.into(),
                    value: noise + level,
                    ts_ms: t * SECOND_MS,
                    arrival_ms: t * SECOND_MS,
                });
            }
        }
    }

    fn push(&mut self, reading: Reading) -> Verdict {
        self.stream.push(&reading, &mut self.out)
    }

    fn say(&mut self, instruction: &Instruction) -> Verdict {
        self.seq += 1;
        let now_ms = self.seq as i64 * SECOND_MS;
        self.push(instruction.to_reading(self.seq, "press".into(), now_ms))
    }

    fn mute(&mut self, channel: Option<&str>, seconds: u64) -> Verdict {
        self.say(&Instruction::Mute(Mute {
            channel: channel.map(Into::into),
            for_ms: 1000 * seconds,
        }))
    }

    fn incidents(&self, edge: &str) -> usize {
        let edges = self.out.iter().filter_map(|o| o.edge.as_ref());
        edges.filter(|e| e.as_str() == edge).count()
    }

    fn last(&self) -> &Outcome {
        self.out.last().unwrap()
    }
}

#[test]
fn a_muted_stream_raises_nothing_learns_nothing_and_shows_everything() {
    for channel in [None, Some("force")] {
        let mut source = Source::new();
        source.run(1_500, 0.0);
        let before = source.last().channels[0];
        // Two channels a row: numbers, and with them seconds, go by two.
        assert_eq!(source.mute(channel, 400), Verdict::Taken);
        source.run(150, 12.0);
        assert!(source.last().channels[0].value >= 12.0, "shown");
        let during = source.last().channels[0];
        // The noise alone is within 1; a level of 12 would be learned to the full.
        assert!(
            (during.mean - before.mean).abs() < 1.0,
            "learned {during:?} after {before:?}"
        );
        source.run(200, 0.0);
        assert_eq!(source.stream.muted(), Muted::default(), "its time is over");
        assert_eq!(source.incidents("opened"), 0, "{channel:?}");
        let after = source.last().channels[0];
        assert!(
            (0.8..1.5).contains(&(after.sd / before.sd)),
            "{after:?} after {before:?}"
        );
        source.run(60, 12.0);
        assert_eq!(source.incidents("opened"), 1, "heard again");
    }
}

#[test]
fn a_muted_channel_leaves_the_others_heard() {
    let mut source = Source::new();
    source.run(1_500, 0.0);
    assert_eq!(source.mute(Some("heat"), 4_000), Verdict::Taken);
    assert_eq!(source.mute(Some("cold"), 4_000), Verdict::UnknownChannel);
    source.run(60, 12.0);
    assert_eq!(source.incidents("opened"), 1);
    let named: Vec<_> = source.stream.muted().channels;
    assert_eq!(&*named[0].0, "heat");
}

#[test]
fn a_word_ends_a_mute_and_a_mute_ends_an_open_incident() {
    let mut source = Source::new();
    source.run(1_500, 0.0);
    source.mute(None, 10_000);
    source.run(5, 12.0);
    source.mute(None, 0);
    assert!(!source.stream.is_muted());
    source.run(60, 0.0);
    source.run(40, 12.0);
    assert!(source.last().anomaly);
    source.mute(None, 10_000);
    source.run(5, 12.0);
    let edges = (source.incidents("opened"), source.incidents("closed"));
    assert_eq!((edges, source.last().anomaly), ((1, 1), false));
}

#[test]
fn what_is_forgotten_is_learned_anew_and_incidents_keep_their_numbers() {
    let mut source = Source::new();
    source.run(1_500, 0.0);
    source.run(40, 12.0);
    source.run(300, 0.0);
    let opened = source.incidents("opened");
    assert!(opened >= 1);
    assert_eq!(source.say(&Instruction::Forget), Verdict::Taken);
    let said = source.last();
    assert!(said.warming_up && said.channels.is_empty());
    source.run(1_500, 100.0);
    assert_eq!(
        source.incidents("opened"),
        opened,
        "the new level is normal"
    );
    assert!((source.last().channels[0].mean - 100.5).abs() < 0.5);
    source.run(60, 130.0);
    let id = source.stream.engine().incident().map(|i: &Incident| i.id);
    assert_eq!(id, Some(opened as u64 + 1));
}

#[test]
fn the_same_instructions_give_the_same_bits_also_through_a_snapshot() {
    let run = |through_snapshot: bool| {
        let mut source = Source::new();
        source.run(300, 0.0);
        source.mute(Some("force"), 100);
        source.mute(None, 60);
        if through_snapshot {
            let bytes = postcard::to_stdvec(&source.stream).unwrap();
            source.stream = postcard::from_bytes(&bytes).unwrap();
        }
        source.run(100, 5.0);
        source.say(&Instruction::Forget);
        source.run(50, 5.0);
        postcard::to_stdvec(&source.stream).unwrap()
    };
    assert!(run(false) == run(true));
}
