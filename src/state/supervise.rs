//! A stream that panics is rebuilt from snapshot and journal; a reading that makes it panic three
//! times in a row is set apart.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::assemble::Verdict;
use crate::row::{Outcome, Reading};
use crate::stream::Stream;

/// Panics in a row that condemn a reading.
const LIMIT: u32 = 3;

/// Fate of a supervised reading.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Pushed {
    /// Taken or refused by the stream; `panics` times it was rebuilt on the way (0: as a rule).
    Done {
        /// The stream's word.
        verdict: Verdict,
        /// Panics survived.
        panics: u32,
    },
    /// Set apart as a dead letter, the stream rebuilt without it.
    Quarantined {
        /// The panic's words.
        reason: String,
    },
}

/// [`Stream::push`], outliving its panics. `out` holds the outcomes of the attempt that succeeded
/// and of no other. After a panic `rebuild` is given its words and whether the reading is condemned
/// (to be set apart); it returns the stream as it was before the reading.
pub fn push_supervised(
    stream: &mut Stream,
    reading: &Reading,
    out: &mut Vec<Outcome>,
    mut rebuild: impl FnMut(&str, bool) -> Stream,
) -> Pushed {
    let kept = out.len();
    let mut failures = Failures::default();
    let mut panics = 0;
    loop {
        let reason = match caught(|| predict(stream, reading, out)) {
            Ok(verdict) => return Pushed::Done { verdict, panics },
            Err(reason) => reason,
        };
        panics += 1;
        out.truncate(kept);
        let condemned = failures.again(reading.seq);
        *stream = rebuild(&reason, condemned);
        if condemned {
            return Pushed::Quarantined { reason };
        }
    }
}

/// Counts panics in a row for the same reading.
#[derive(Debug, Default)]
pub(crate) struct Failures {
    seq: u64,
    count: u32,
}

impl Failures {
    /// One more for reading `seq`; true when that is enough.
    pub(crate) fn again(&mut self, seq: u64) -> bool {
        if self.seq != seq {
            *self = Failures { seq, count: 0 };
        }
        self.count += 1;
        self.count >= LIMIT
    }
}

/// [`Stream::push`] with a panic as an error; the stream is then in no known state.
pub(crate) fn push_caught(
    stream: &mut Stream,
    reading: &Reading,
    out: &mut Vec<Outcome>,
) -> Result<Verdict, String> {
    caught(|| predict(stream, reading, out))
}

fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(work)).map_err(words)
}

fn predict(stream: &mut Stream, reading: &Reading, out: &mut Vec<Outcome>) -> Verdict {
    #[cfg(test)]
    tests::panic_if_asked(reading);
    stream.push(reading, out)
}

fn words(panic: Box<dyn Any + Send>) -> String {
    let text = panic.downcast_ref::<&str>().map(|&s| s.to_owned());
    text.or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "a panic without words".to_owned())
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::row::StreamId;
    use crate::state::snapshot::{Snapshot, tests::params};
    use crate::state::{JournalEntry, Reader, StateStore, StoreOptions, digest};
    use std::cell::Cell;
    use std::collections::BTreeMap;
    use std::sync::Mutex;

    thread_local! {
        /// The reading that panics, and how often it does so yet.
        static PANIC: Cell<(u64, u32)> = const { Cell::new((0, 0)) };
    }

    /// The value over which engines panic twice, on any thread.
    pub(crate) const TWICE: f64 = 666.25;
    /// The value over which they always do.
    pub(crate) const ALWAYS: f64 = 666.75;

    /// Panics over [`TWICE`] so far, by stream.
    static SO_FAR: Mutex<BTreeMap<StreamId, u32>> = Mutex::new(BTreeMap::new());

    pub(super) fn panic_if_asked(reading: &Reading) {
        let is_due = || {
            let mut so_far = SO_FAR.lock().unwrap();
            let panics = so_far.entry(reading.stream.clone()).or_default();
            *panics += 1;
            *panics <= 2
        };
        if reading.value == ALWAYS || (reading.value == TWICE && is_due()) {
            panic!("asked to panic over {}", reading.value);
        }
        let seq = reading.seq;
        let (at, times) = PANIC.get();
        if seq == at && times > 0 {
            PANIC.set((at, times - 1));
            panic!("asked to panic at {seq}");
        }
    }

    fn reading(seq: u64) -> Reading {
        Reading {
            seq,
            stream: "press".into(),
            channel: "a".into(),
            value: (seq as f64).sin(),
            ts_ms: 1000 * seq as i64,
            arrival_ms: 1000 * seq as i64 + 7,
        }
    }

    /// Runs 20 readings with a snapshot after the tenth; reading `at` panics `times` times.
    fn run(at: u64, times: u32) -> (Stream, Vec<Pushed>, StateStore, tempfile::TempDir) {
        let dir = tempfile::tempdir().unwrap();
        let store = StateStore::open(StoreOptions::new(dir.path())).unwrap();
        let params = params(&["a"]);
        store.recover(&|_| Some(params.clone())).unwrap();
        let mut stream = Stream::new("press", &params);
        let (mut out, mut pushed) = (Vec::new(), Vec::new());
        PANIC.set((at, times));
        for seq in 1..=20 {
            let reading = reading(seq);
            let accepted = JournalEntry {
                reading: reading.clone(),
                key: 0,
            };
            store.append(vec![accepted], Box::new(|_| ()));
            let rebuild = |reason: &str, condemned| {
                if condemned {
                    store.dead_letter(&reading, reason);
                }
                store.rebuild("press", &params, seq).unwrap()
            };
            pushed.push(push_supervised(&mut stream, &reading, &mut out, rebuild));
            if seq == 10 {
                store.save(Snapshot::of(&stream, &params, 0));
            }
        }
        store.flush().unwrap();
        (stream, pushed, store, dir)
    }

    #[test]
    fn a_stream_that_panicked_twice_is_as_if_it_had_not() {
        let (calm, ..) = run(0, 0);
        for at in [1, 10, 15] {
            let (stream, pushed, store, _dir) = run(at, 2);
            assert_eq!(digest(&stream), digest(&calm), "panic at {at}");
            let panics = pushed.iter().map(|p| match p {
                Pushed::Done { panics, .. } => *panics,
                Pushed::Quarantined { reason } => panic!("{reason}"),
            });
            assert_eq!(panics.sum::<u32>(), 2);
            assert_eq!(store.stats().dead_letters, 0);
        }
    }

    #[test]
    fn a_reading_that_panics_three_times_is_set_apart_and_stays_so() {
        let (stream, pushed, store, dir) = run(15, 3);
        assert_eq!(stream.readings(), 19);
        assert!(matches!(&pushed[14], Pushed::Quarantined { reason } if reason.contains("at 15")));
        let reader = Reader::open(&store.options().path()).unwrap();
        let letters = reader.dead_letters().unwrap();
        assert_eq!(letters.len(), 1);
        assert!(letters[0].2.contains("\"value\":"), "{}", letters[0].2);
        store.close();
        let again = StateStore::open(StoreOptions::new(dir.path())).unwrap();
        let recovered = again.recover(&|_| Some(params(&["a"]))).unwrap();
        assert_eq!(recovered.streams.len(), 1);
        assert_eq!(digest(&recovered.streams[0]), digest(&stream));
    }

    #[test]
    fn a_panic_during_recovery_is_outlived_too() {
        let (calm, _, store, dir) = run(0, 0);
        store.close();
        let again = StateStore::open(StoreOptions::new(dir.path())).unwrap();
        PANIC.set((14, 2));
        let recovered = again.recover(&|_| Some(params(&["a"]))).unwrap();
        assert_eq!(digest(&recovered.streams[0]), digest(&calm));
    }
}
