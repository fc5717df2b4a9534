//! Deals streams to partitions, and partitions to workers.

/// Number of a partition.
pub type Partition = u16;

/// FNV-1a, 64 bits, then the finaliser of MurmurHash3, whose bits all depend on all: the same in every
/// version and on every machine.
fn hash(parts: &[&[u8]]) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    let bytes = parts.iter().flat_map(|part| part.iter());
    let mut h = bytes.fold(OFFSET, |h, &byte| (h ^ u64::from(byte)).wrapping_mul(PRIME));
    h ^= h >> 33;
    h = h.wrapping_mul(0xff51_afd7_ed55_8ccd);
    h ^= h >> 33;
    h = h.wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    h ^ (h >> 33)
}

/// The partition of a stream among so many.
pub fn partition_of(stream: &str, n_partitions: u16) -> Partition {
    let n = u64::from(n_partitions.max(1));
    // Below a 16-bit number.
    u16::try_from(hash(&[stream.as_bytes()]) % n).unwrap_or(0)
}

/// The worker that is to have a partition, by rendezvous hashing: each is weighed with each partition,
/// the heaviest has it. A worker that comes or goes moves its own partitions only. A name behind whose
/// last dot stands what differs from start to start is weighed without that.
pub fn owner_of<'a>(
    partition: Partition,
    workers: impl Iterator<Item = &'a str>,
) -> Option<&'a str> {
    let weight = |worker: &str| {
        let name = worker.rsplit_once('.').map_or(worker, |(name, _)| name);
        hash(&[name.as_bytes(), &[0], &partition.to_le_bytes()])
    };
    workers.max_by_key(|worker| (weight(worker), *worker))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn streams_spread_over_all_partitions_and_stay_where_they_are() {
        let mut counts = [0; 64];
        for n in 0..6400 {
            counts[usize::from(partition_of(&format!("press-{n}"), 64))] += 1;
        }
        assert!(counts.iter().all(|n| (60..=145).contains(n)), "{counts:?}");
        // Stored states depend on it: another number would lose them.
        assert_eq!(
            ["press", "pump"].map(|name| partition_of(name, 64)),
            [32, 57]
        );
    }

    fn deal(workers: &[&str]) -> BTreeMap<Partition, String> {
        let owner = |p| owner_of(p, workers.iter().copied()).unwrap().to_owned();
        (0..64).map(|p| (p, owner(p))).collect()
    }

    #[test]
    fn who_joins_takes_only_what_it_gets_and_who_leaves_gives_only_what_it_had() {
        let two = deal(&["a.1", "b.1"]);
        let three = deal(&["a.1", "b.1", "c.1"]);
        let moved = two.iter().filter(|(p, owner)| three[p] != **owner);
        let moved: Vec<_> = moved.map(|(p, _)| three[p].as_str()).collect();
        assert!(moved.iter().all(|owner| *owner == "c.1"), "{moved:?}");
        assert!((10..=33).contains(&moved.len()), "{}", moved.len());
    }

    #[test]
    fn a_worker_that_starts_anew_under_its_name_has_the_same_partitions() {
        let before = deal(&["a.1", "b.1"]);
        let after = deal(&["a.2", "b.1"]);
        let of_a = |deal: &BTreeMap<Partition, String>| -> Vec<Partition> {
            let of_a = deal.iter().filter(|(_, owner)| owner.starts_with("a."));
            of_a.map(|(p, _)| *p).collect()
        };
        assert_eq!(of_a(&before), of_a(&after));
    }

    #[test]
    fn nobody_has_anything_where_there_is_nobody() {
        assert_eq!(owner_of(3, std::iter::empty()), None);
    }
}
