//! Records in the key-value bucket: JSON, so that any client can show them.

use serde::{Deserialize, Serialize};

use super::{DeadLetter, Lease, Partition};

/// Version of the layout of records, subjects and objects.
pub(super) const LAYOUT: u32 = 1;
/// Key of what all workers must agree on.
pub(super) const AGREED_KEY: &str = "agreed";
/// Readings set apart that a partition's record keeps; one that comes again after it had to make room is
/// set apart again.
const MAX_DEAD_LETTERS: usize = 100;
const WORKER: &str = "worker.";
const PARTITION: &str = "partition.";

/// Settings that all workers must agree on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Agreed {
    pub(super) layout: u32,
    pub(super) partitions: u16,
}

/// Sign of life of a worker.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct WorkerRecord {
    /// Version of the program.
    pub(super) version: String,
    /// It gives up what it has, and takes nothing.
    pub(super) is_leaving: bool,
}

/// Lease and last commit of a partition, in one record, so that one compare-and-set guards both.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct PartitionRecord {
    /// Grows by one with each claim.
    pub(super) epoch: u64,
    /// Worker that has it; empty for none.
    pub(super) owner: String,
    /// Number of the last message in the state.
    pub(super) position: u64,
    /// Object with the state; empty for none.
    pub(super) object: String,
    /// Size of the state, bytes.
    pub(super) state_bytes: u64,
    /// When it was committed, unix milliseconds.
    pub(super) committed_ms: i64,
    /// Readings that are set apart, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(super) dead_letters: Vec<DeadLetter>,
}

impl PartitionRecord {
    /// As the others see it.
    pub(super) fn lease(&self) -> Lease {
        Lease {
            epoch: self.epoch,
            owner: self.owner.clone(),
            position: self.position,
            committed_ms: self.committed_ms,
            state_bytes: self.state_bytes,
            dead_letters: self.dead_letters.clone(),
        }
    }

    /// Adds a reading that is set apart, in the place of the oldest where there are many.
    pub(super) fn set_apart(&mut self, letter: DeadLetter) {
        self.dead_letters.retain(|known| known.seq != letter.seq);
        if self.dead_letters.len() == MAX_DEAD_LETTERS {
            self.dead_letters.remove(0);
        }
        self.dead_letters.push(letter);
    }
}

/// The meaning of a key.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum RecordKey<'a> {
    Worker(&'a str),
    Partition(Partition),
    Other,
}

/// Says what a key is of.
pub(super) fn parse_key(key: &str) -> RecordKey<'_> {
    if let Some(worker) = key.strip_prefix(WORKER) {
        return RecordKey::Worker(worker);
    }
    let number = key.strip_prefix(PARTITION).map(str::parse);
    match number {
        Some(Ok(partition)) => RecordKey::Partition(partition),
        _ => RecordKey::Other,
    }
}

pub(super) fn worker_key(worker: &str) -> String {
    format!("{WORKER}{worker}")
}

pub(super) fn partition_key(partition: Partition) -> String {
    format!("{PARTITION}{partition}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_record_keeps_the_newest_dead_letters_each_once_and_one_without_any_can_be_read() {
        let letter = |seq| DeadLetter {
            seq,
            stream: "press".to_owned(),
            reading: "{}".to_owned(),
            reason: "overflow".to_owned(),
        };
        let mut record = PartitionRecord::default();
        let plain = serde_json::to_string(&record).unwrap();
        assert_eq!(
            serde_json::from_str::<PartitionRecord>(&plain).unwrap(),
            record
        );
        for seq in (0..=100).chain([100]) {
            record.set_apart(letter(seq));
        }
        let kept: Vec<u64> = record.dead_letters.iter().map(|l| l.seq).collect();
        assert_eq!(kept, (1..=100).collect::<Vec<_>>());
    }

    #[test]
    fn keys_come_back() {
        assert_eq!(parse_key(&partition_key(63)), RecordKey::Partition(63));
        assert_eq!(parse_key(&worker_key("a.1")), RecordKey::Worker("a.1"));
        assert_eq!(parse_key(AGREED_KEY), RecordKey::Other);
    }
}
