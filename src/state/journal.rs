//! How a group of accepted readings is packed into one journal row, and read back.
//!
//! Layout of `data` (postcard): names used by the group, the number of the reading before the
//! group, the arrival of its first reading, then a record a reading: index of its stream's name,
//! index of its channel's name, value (IEEE 754 bits), source timestamp minus arrival, arrival
//! minus the group's first, step of `seq`, delivery key. `crc` is CRC-32 over `first_seq`,
//! `last_seq` (little endian) and `data`.

use std::borrow::Borrow;
use std::collections::HashMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use super::error::StateError;
use crate::row::{Reading, StreamId};

/// A reading on its way into the journal.
#[derive(Clone, Debug, PartialEq)]
pub struct JournalEntry {
    /// The reading, with its number and arrival stamp.
    pub reading: Reading,
    /// Tells the delivery that brought it from others, should the broker deliver it again; on the
    /// first reading of a message only, 0 for none.
    pub key: u64,
}

#[derive(Serialize, Deserialize)]
struct JournalGroup {
    names: Vec<Arc<str>>,
    before: u64,
    arrival_ms: i64,
    records: Vec<Record>,
}

#[derive(Serialize, Deserialize)]
struct Record {
    stream: u32,
    channel: u32,
    value: f64,
    ts_offset: i64,
    arrival_offset: i64,
    seq_step: u64,
    key: u64,
}

/// One row of the journal table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JournalRow {
    /// Number of its first reading.
    pub first_seq: u64,
    /// Number of its last reading.
    pub last_seq: u64,
    /// Checksum.
    pub crc: u32,
    /// The packed readings.
    pub data: Vec<u8>,
}

/// Packs readings, ascending in `seq`, that follow reading number `before` (0 for the first ever).
/// `None` when there are none.
pub fn pack(readings: &[impl Borrow<JournalEntry>], before: u64) -> Option<JournalRow> {
    let first = readings.first()?.borrow();
    let last = readings.last()?.borrow();
    let mut names = NameTable::default();
    let arrival_ms = first.reading.arrival_ms;
    let mut seq = first.reading.seq;
    let records = readings
        .iter()
        .map(|accepted| {
            let accepted: &JournalEntry = accepted.borrow();
            let reading = &accepted.reading;
            debug_assert!(reading.seq >= seq, "journal readings must ascend");
            let seq_step = reading.seq.wrapping_sub(seq);
            seq = reading.seq;
            Record {
                stream: names.index(reading.stream.name()),
                channel: names.index(&reading.channel),
                value: reading.value,
                ts_offset: reading.ts_ms.wrapping_sub(reading.arrival_ms),
                arrival_offset: reading.arrival_ms.wrapping_sub(arrival_ms),
                seq_step,
                key: accepted.key,
            }
        })
        .collect();
    let group = JournalGroup {
        names: names.list,
        before,
        arrival_ms,
        records,
    };
    let data = postcard::to_stdvec(&group).expect("plain data serialises");
    let (first_seq, last_seq) = (first.reading.seq, last.reading.seq);
    Some(JournalRow {
        first_seq,
        last_seq,
        crc: checksum(first_seq, last_seq, &data),
        data,
    })
}

/// Reads a journal row back: the readings, and the number of the reading before them.
///
/// # Errors
/// When the checksum or the layout is wrong.
pub fn unpack(row: &JournalRow) -> Result<(Vec<JournalEntry>, u64), StateError> {
    let bad = |detail: String| StateError::format("journal group", detail);
    if checksum(row.first_seq, row.last_seq, &row.data) != row.crc {
        return Err(bad(format!(
            "checksum of readings {} to {} is wrong",
            row.first_seq, row.last_seq
        )));
    }
    let group: JournalGroup = postcard::from_bytes(&row.data).map_err(|e| bad(e.to_string()))?;
    let names: Vec<StreamId> = group.names.into_iter().map(StreamId::from).collect();
    let name = |index: u32| {
        let name = names.get(index as usize);
        name.ok_or_else(|| bad(format!("name {index} of {}", names.len())))
    };
    let mut seq = row.first_seq;
    let mut readings = Vec::with_capacity(group.records.len());
    for record in &group.records {
        seq = seq.wrapping_add(record.seq_step);
        let arrival_ms = group.arrival_ms.wrapping_add(record.arrival_offset);
        readings.push(JournalEntry {
            reading: Reading {
                seq,
                stream: name(record.stream)?.clone(),
                channel: name(record.channel)?.name().clone(),
                value: record.value,
                ts_ms: arrival_ms.wrapping_add(record.ts_offset),
                arrival_ms,
            },
            key: record.key,
        });
    }
    if seq != row.last_seq {
        return Err(bad(format!("ends at {seq} and not at {}", row.last_seq)));
    }
    Ok((readings, group.before))
}

fn checksum(first_seq: u64, last_seq: u64, data: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&first_seq.to_le_bytes());
    crc.update(&last_seq.to_le_bytes());
    crc.update(data);
    crc.finalize()
}

#[derive(Default)]
struct NameTable {
    list: Vec<Arc<str>>,
    by_name: HashMap<Arc<str>, u32>,
    /// By the addresses of the names met so far: a name is hashed once for each of them.
    by_address: HashMap<usize, u32>,
}

impl NameTable {
    fn index(&mut self, name: &Arc<str>) -> u32 {
        let (list, by_name) = (&mut self.list, &mut self.by_name);
        let address = name.as_ptr().addr();
        *self.by_address.entry(address).or_insert_with(|| {
            *by_name.entry(name.clone()).or_insert_with(|| {
                list.push(name.clone());
                list.len() as u32 - 1
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn accepted(seq: u64, value: f64, ts_ms: i64, arrival_ms: i64, key: u64) -> JournalEntry {
        JournalEntry {
            reading: Reading {
                seq,
                stream: format!("s{}", seq % 3).into(),
                channel: format!("c{}", seq % 5).into(),
                value,
                ts_ms,
                arrival_ms,
            },
            key,
        }
    }

    #[test]
    fn a_name_is_packed_once_whoever_holds_it() {
        let readings: Vec<_> = (1..=100).map(|seq| accepted(seq, 0.0, 0, 0, 0)).collect();
        let row = pack(&readings, 0).unwrap();
        let group: JournalGroup = postcard::from_bytes(&row.data).unwrap();
        let mut names: Vec<&str> = group.names.iter().map(|name| &**name).collect();
        names.sort_unstable();
        assert_eq!(names, ["c0", "c1", "c2", "c3", "c4", "s0", "s1", "s2"]);
    }

    proptest! {
        #[test]
        fn a_group_reads_back_as_it_was(
            start in 0u64..u64::MAX / 2,
            parts in prop::collection::vec((0u64..1000, -1e300f64..1e300, any::<i64>(), any::<i64>(), any::<u64>()), 1..50)
        ) {
            let mut seq = start;
            let readings: Vec<_> = parts.iter().map(|&(step, value, ts, arrival, key)| {
                seq += step + 1;
                accepted(seq, value, ts, arrival, key)
            }).collect();
            let row = pack(&readings, start).unwrap();
            prop_assert_eq!(unpack(&row).unwrap(), (readings, start));
        }

        #[test]
        fn any_flipped_byte_is_noticed(at in 0usize..200, bit in 0u8..8) {
            let readings: Vec<_> = (1..=10).map(|i| accepted(i, i as f64, i as i64, i as i64, i)).collect();
            let mut row = pack(&readings, 0).unwrap();
            let at = at % row.data.len();
            row.data[at] ^= 1 << bit;
            prop_assert!(unpack(&row).is_err());
        }
    }

    #[test]
    fn a_changed_number_is_noticed() {
        let mut row = pack(&[accepted(7, 1.0, 2, 3, 0)], 6).unwrap();
        row.first_seq = 8;
        assert!(unpack(&row).is_err());
    }

    #[test]
    fn a_group_of_ten_costs_less_than_forty_bytes_a_reading() {
        let readings: Vec<_> = (1..=10)
            .map(|i| {
                accepted(
                    1_000_000 + i,
                    0.1 * i as f64,
                    1_700_000_000_000,
                    1_700_000_000_123,
                    u64::MAX - i,
                )
            })
            .collect();
        let bytes = pack(&readings, 1_000_000).unwrap().data.len();
        assert!(bytes < 400, "{bytes}");
    }
}
