//! The workers of a cluster and their leases, as one of them sees them.

use std::collections::{BTreeMap, HashMap};
use std::time::{Duration, Instant};

use crate::carrier::{CarrierNews, Lease, Partition, owner_of};

/// A worker as it was last heard.
#[derive(Clone, Debug)]
struct HeardWorker {
    at: Instant,
    revision: u64,
    is_leaving: bool,
}

/// The workers that are heard, and the leases.
#[derive(Clone, Debug)]
pub(super) struct Roster {
    lease: Duration,
    own: String,
    workers: HashMap<String, HeardWorker>,
    leases: BTreeMap<Partition, Lease>,
    is_current: bool,
}

impl Roster {
    /// Of a worker that has heard nothing.
    pub(super) fn new(own: &str, lease: Duration) -> Roster {
        Roster {
            lease,
            own: own.to_owned(),
            workers: HashMap::new(),
            leases: BTreeMap::new(),
            is_current: false,
        }
    }

    /// Takes note of news.
    pub(super) fn note(&mut self, news: CarrierNews, now: Instant) {
        match news {
            CarrierNews::Heard {
                worker,
                revision,
                is_leaving,
            } => {
                let known = self.workers.get(&worker);
                // A record that is told a second time is no sign of life.
                if known.is_none_or(|known| known.revision != revision) {
                    let heard = HeardWorker {
                        at: now,
                        revision,
                        is_leaving,
                    };
                    self.workers.insert(worker, heard);
                }
            }
            CarrierNews::Left(worker) => {
                self.workers.remove(&worker);
            }
            CarrierNews::Leased(partition, lease) => {
                self.leases.insert(partition, lease);
            }
            CarrierNews::Current => self.is_current = true,
        }
    }

    /// The others may have been there without being heard: each has its whole lease again.
    pub(super) fn give_time(&mut self, now: Instant) {
        self.workers.values_mut().for_each(|worker| worker.at = now);
    }

    /// News come: this worker hears itself.
    pub(super) fn is_fresh(&self, now: Instant) -> bool {
        let own = self.workers.get(&self.own);
        self.is_current && own.is_some_and(|own| now - own.at < self.lease * 3 / 4)
    }

    /// The worker is heard.
    pub(super) fn is_live(&self, worker: &str, now: Instant) -> bool {
        let known = self.workers.get(worker);
        known.is_some_and(|worker| now - worker.at <= self.lease)
    }

    /// Workers that are heard.
    pub(super) fn n_live(&self, now: Instant) -> usize {
        let names = self.workers.keys();
        names.filter(|worker| self.is_live(worker, now)).count()
    }

    /// Workers that have long not been heard: only their records are left.
    pub(super) fn long_gone(&self, now: Instant) -> Vec<String> {
        let gone = self.workers.iter();
        let gone = gone.filter(|(_, worker)| now - worker.at > self.lease * 10);
        gone.map(|(name, _)| name.clone()).collect()
    }

    /// The worker that is to have a partition.
    pub(super) fn owner(&self, partition: Partition, now: Instant) -> Option<&str> {
        let stays = self.workers.iter().filter(|(_, worker)| !worker.is_leaving);
        let names = stays.map(|(name, _)| name.as_str());
        owner_of(partition, names.filter(|name| self.is_live(name, now)))
    }

    /// The lease of a partition; of none before the first claim.
    pub(super) fn lease_of(&self, partition: Partition) -> Lease {
        self.leases.get(&partition).cloned().unwrap_or_default()
    }

    /// No worker that is heard has the partition.
    pub(super) fn is_free(&self, partition: Partition, now: Instant) -> bool {
        let owner = self.leases.get(&partition).map_or("", |lease| &lease.owner);
        owner.is_empty() || !self.is_live(owner, now)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LEASE: Duration = Duration::from_secs(4);

    fn heard(worker: &str, revision: u64, is_leaving: bool) -> CarrierNews {
        CarrierNews::Heard {
            worker: worker.to_owned(),
            revision,
            is_leaving,
        }
    }

    fn leased(owner: &str) -> CarrierNews {
        let lease = Lease {
            epoch: 1,
            owner: owner.to_owned(),
            ..Lease::default()
        };
        CarrierNews::Leased(0, lease)
    }

    #[test]
    fn a_partition_is_free_once_its_worker_was_not_heard_for_the_lease() {
        let start = Instant::now();
        let mut roster = Roster::new("a.1", LEASE);
        roster.note(heard("b.1", 1, false), start);
        roster.note(leased("b.1"), start);
        assert!(!roster.is_free(0, start + LEASE));
        let late = start + LEASE + Duration::from_millis(1);
        assert!(roster.is_free(0, late));
        // The same record told again is no sign of life; a new one is.
        roster.note(heard("b.1", 1, false), late);
        assert!(roster.is_free(0, late));
        roster.note(heard("b.1", 2, false), late);
        assert!(!roster.is_free(0, late));
    }

    #[test]
    fn who_leaves_keeps_its_partitions_and_gets_none() {
        let now = Instant::now();
        let mut roster = Roster::new("a.1", LEASE);
        roster.note(heard("a.1", 1, false), now);
        roster.note(heard("b.1", 2, true), now);
        roster.note(leased("b.1"), now);
        assert!((0..64).all(|p| roster.owner(p, now) == Some("a.1")));
        assert!(!roster.is_free(0, now));
        roster.note(CarrierNews::Left("b.1".to_owned()), now);
        assert!(roster.is_free(0, now));
    }

    #[test]
    fn who_does_not_hear_itself_says_nothing_of_others() {
        let now = Instant::now();
        let mut roster = Roster::new("a.1", LEASE);
        roster.note(heard("a.1", 1, false), now);
        assert!(!roster.is_fresh(now), "not all is told yet");
        roster.note(CarrierNews::Current, now);
        assert!(roster.is_fresh(now));
        assert!(!roster.is_fresh(now + LEASE));
    }
}
