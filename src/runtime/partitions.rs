//! The intake thread's part in holding partitions: which are here, how far each has come, and cuts between
//! two messages, at which states are taken.

#![cfg_attr(
    not(feature = "jetstream"),
    expect(dead_code, reason = "a single machine cuts nothing")
)]

use std::collections::{BTreeMap, HashMap, HashSet};

use crossbeam_channel::{Receiver, Sender, bounded};
use tokio::sync::oneshot;
use tracing::warn;

use super::balance::Dispatch;
use super::orders::{CutWork, WorkerMessage};
use crate::carrier::{Partition, partition_of};
use crate::config::OutputSettings;
use crate::decode::Decoder;
use crate::mqtt::JournalPlace;
use crate::row::{Reading, StreamId};
use crate::state::snapshot::Snapshot;
use crate::stream::Stream;

/// Readings are numbered by the message that they came in: its number and this many bits for theirs.
pub(super) const READING_BITS: u32 = 16;
/// Topics whose partition is remembered.
const MAX_TOPICS: usize = 1_000_000;

/// An order to the intake thread.
pub(super) enum PartitionOrder {
    /// The streams of a partition are here, with all messages up to `position` learned.
    Admit {
        partition: Partition,
        position: u64,
        streams: Vec<Stream>,
        /// Readings behind that, by stream, where they are known.
        pending: BTreeMap<StreamId, u64>,
        /// Numbers of readings to leave out.
        set_apart: HashSet<u64>,
    },
    /// The journal is to be read behind message `after`, for the partitions that have come; what was read
    /// before counts no more. The answer is the message behind which it is to be read for all of them.
    ReadBehind {
        generation: u64,
        after: u64,
        reply: oneshot::Sender<u64>,
    },
    /// Takes the state of a partition as it is between two messages.
    Cut {
        partition: Partition,
        /// The partition is given up.
        gives_up: bool,
        /// It counts as changed.
        is_due: bool,
        reply: oneshot::Sender<PartitionCut>,
    },
}

/// State of a partition between two messages, as the workers answer with it.
pub(super) struct PartitionCut {
    /// Number of the last message that is in it.
    pub(super) position: u64,
    /// Snapshots of the streams of each worker thread; `None` where nothing has changed.
    pub(super) snapshots: Option<Receiver<Vec<Snapshot>>>,
}

/// The partitions that are here.
pub(super) struct Partitions {
    n_partitions: u16,
    orders: Receiver<PartitionOrder>,
    /// Messages up to this one are not for the partition, since its state has them.
    done: BTreeMap<Partition, u64>,
    /// Partitions that count from the next reading of the journal on, each with its state's last message.
    admitted: BTreeMap<Partition, u64>,
    /// Partitions with readings since their last cut.
    changed: HashSet<Partition>,
    /// Numbers of readings to leave out, of the partitions that have any.
    set_apart: HashMap<Partition, HashSet<u64>>,
    generation: u64,
    /// Number of the last message.
    last: u64,
    /// Partition of each topic that decides its stream.
    topics: HashMap<Box<str>, Option<Partition>>,
}

impl Partitions {
    /// None is here yet.
    pub(super) fn new(n_partitions: u16, orders: Receiver<PartitionOrder>) -> Partitions {
        Partitions {
            n_partitions,
            orders,
            done: BTreeMap::new(),
            admitted: BTreeMap::new(),
            changed: HashSet::new(),
            set_apart: HashMap::new(),
            generation: 0,
            last: 0,
            topics: HashMap::new(),
        }
    }

    /// Inputs were changed: topics may mean other streams.
    pub(super) fn forget_topics(&mut self) {
        self.topics.clear();
    }

    /// Takes note of a message, and numbers its readings. False where no partition that is here wants it.
    pub(super) fn begin(
        &mut self,
        place: &JournalPlace,
        topic: &str,
        decoder: &mut Decoder,
    ) -> bool {
        if place.generation != self.generation || place.sequence <= self.last {
            return false;
        }
        self.last = place.sequence;
        let known = self.topics.get(topic).copied();
        let partition = known.unwrap_or_else(|| {
            let stream = decoder.stream_of(topic);
            let partition = stream.map(|stream| partition_of(&stream, self.n_partitions));
            if self.topics.len() < MAX_TOPICS {
                self.topics.insert(topic.into(), partition);
            }
            partition
        });
        decoder.last_seq = place.sequence << READING_BITS;
        match partition {
            Some(partition) => self.is_wanted(partition),
            // The payload decides.
            None => self.done.values().any(|done| *done < place.sequence),
        }
    }

    fn is_wanted(&self, partition: Partition) -> bool {
        self.done
            .get(&partition)
            .is_some_and(|done| *done < self.last)
    }

    /// Leaves the readings of partitions that are here and have not learned them.
    pub(super) fn retain(&mut self, readings: &mut Vec<Reading>) {
        readings.retain(|reading| {
            let partition = partition_of(&reading.stream, self.n_partitions);
            let apart = self.set_apart.get(&partition);
            let is_apart = apart.is_some_and(|apart| apart.contains(&reading.seq));
            let wanted = self.is_wanted(partition) && !is_apart;
            if wanted {
                self.changed.insert(partition);
            }
            wanted
        });
    }

    fn position(&self, partition: Partition) -> u64 {
        match self.admitted.get(&partition) {
            Some(position) => *position,
            None => self
                .done
                .get(&partition)
                .copied()
                .unwrap_or(0)
                .max(self.last),
        }
    }
}

/// Parts of the intake thread that orders act on.
pub(super) struct OrderScope<'a> {
    pub(super) decoder: &'a mut Decoder,
    pub(super) dispatch: &'a mut Dispatch,
    pub(super) output: &'a OutputSettings,
}

impl Partitions {
    /// Does what the cluster asks for.
    pub(super) fn take_orders(&mut self, scope: &mut OrderScope<'_>) {
        while let Ok(order) = self.orders.try_recv() {
            self.obey(order, scope);
        }
    }

    fn obey(&mut self, order: PartitionOrder, scope: &mut OrderScope<'_>) {
        match order {
            PartitionOrder::Admit {
                partition,
                position,
                streams,
                pending,
                set_apart,
            } => {
                self.admitted.insert(partition, position);
                self.changed.remove(&partition);
                if !set_apart.is_empty() {
                    self.set_apart.insert(partition, set_apart);
                }
                scope.dispatch.place_all(&streams, &pending);
                for stream in streams {
                    admit(scope.decoder, &stream);
                    scope.dispatch.bring(stream, scope.output);
                }
            }
            PartitionOrder::ReadBehind {
                generation,
                after,
                reply,
            } => {
                let after = self.read_behind(generation, after);
                // Nobody waits any more where the daemon is about to stop.
                let _ = reply.send(after);
            }
            PartitionOrder::Cut {
                partition,
                gives_up,
                is_due,
                reply,
            } => {
                if is_due {
                    self.changed.insert(partition);
                }
                let cut = self.cut(partition, gives_up, scope);
                // Nobody waits any more where the daemon is about to stop.
                let _ = reply.send(cut);
            }
        }
    }

    /// Begins a reading behind message `after`, or behind the last one that was taken, where that is earlier:
    /// the partitions that were here go on from there. Returns which it is.
    fn read_behind(&mut self, generation: u64, after: u64) -> u64 {
        let after = match self.done.is_empty() {
            true => after,
            false => after.min(self.last),
        };
        for done in self.done.values_mut() {
            *done = (*done).max(self.last);
        }
        self.done.append(&mut self.admitted);
        self.generation = generation;
        self.last = after;
        after
    }

    fn cut(
        &mut self,
        partition: Partition,
        gives_up: bool,
        scope: &mut OrderScope<'_>,
    ) -> PartitionCut {
        let position = self.position(partition);
        let changed = self.changed.remove(&partition);
        if gives_up {
            self.done.remove(&partition);
            self.admitted.remove(&partition);
            self.set_apart.remove(&partition);
        }
        if !changed && !gives_up {
            return PartitionCut {
                position,
                snapshots: None,
            };
        }
        let (reply, snapshots) = bounded(scope.dispatch.n_workers());
        let n_partitions = self.n_partitions;
        scope.dispatch.flush();
        scope.dispatch.send_all(|| {
            WorkerMessage::Cut(CutWork {
                partition,
                n_partitions,
                gives_up,
                reply: changed.then(|| Sender::clone(&reply)),
            })
        });
        if gives_up {
            let all = scope.decoder.router.streams();
            let gone: Vec<StreamId> = all
                .filter(|stream| partition_of(stream, n_partitions) == partition)
                .cloned()
                .collect();
            scope.decoder.router.remove(&gone);
            gone.iter().for_each(|stream| scope.dispatch.leave(stream));
        }
        PartitionCut {
            position,
            snapshots: changed.then_some(snapshots),
        }
    }
}

/// A stream of a snapshot keeps its place and those of its channels.
pub(super) fn admit(decoder: &mut Decoder, stream: &Stream) {
    let router = &mut decoder.router;
    let admitted = router.stream(stream.name()).is_ok()
        && stream
            .channels()
            .iter()
            .all(|channel| router.channel(stream.name(), channel).is_ok());
    if !admitted {
        warn!(stream = %stream.name(), "a kept stream is beyond max_streams or max_channels");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load_plain;

    fn place(sequence: u64, generation: u64) -> JournalPlace {
        JournalPlace {
            sequence,
            stored_ms: 0,
            generation,
            pending: 0,
        }
    }

    fn reading(stream: &str) -> Reading {
        Reading {
            seq: 1,
            stream: stream.into(),
            channel: "c".into(),
            value: 1.0,
            ts_ms: 1,
            arrival_ms: 1,
        }
    }

    /// A partition of one that is here, with messages up to 5 learned, and reading begins behind 2.
    fn partitions() -> (Partitions, Decoder) {
        let (_, orders) = bounded(1);
        let mut partitions = Partitions::new(1, orders);
        partitions.done.insert(0, 5);
        partitions.generation = 3;
        partitions.last = 2;
        let url = ("cluster.url", "nats://127.0.0.1:1".to_owned());
        (partitions, load_plain(&[url]).unwrap().decoder(0))
    }

    #[test]
    fn a_message_is_taken_once_and_only_of_the_present_reading() {
        let (mut partitions, mut decoder) = partitions();
        let topic = "plant/press/temp";
        let mut begin = |sequence, generation| {
            partitions.begin(&place(sequence, generation), topic, &mut decoder)
        };
        assert!(!begin(6, 2), "of a reading that counts no more");
        assert!(!begin(5, 3), "the state has it");
        assert!(begin(6, 3));
        assert!(!begin(6, 3), "delivered again");
        assert!(begin(8, 3));
        assert_eq!(decoder.last_seq, 8 << READING_BITS);
        assert_eq!(partitions.position(0), 8);
    }

    #[test]
    fn a_partition_that_comes_from_ahead_leaves_no_gap_to_those_that_are_here() {
        let (mut partitions, _) = partitions();
        partitions.last = 8;
        partitions.admitted.insert(1, 20);
        assert_eq!(partitions.read_behind(4, 20), 8, "this worker is behind");
        assert_eq!((partitions.position(0), partitions.position(1)), (8, 20));
        partitions.admitted.insert(2, 3);
        assert_eq!(
            partitions.read_behind(5, 3),
            3,
            "the one that came is behind"
        );
        assert_eq!((partitions.position(0), partitions.position(2)), (8, 3));
    }

    #[test]
    fn readings_of_other_partitions_are_left_out() {
        let (mut partitions, _) = partitions();
        partitions.n_partitions = 64;
        partitions.last = 6;
        let mine = partition_of("press", 64);
        partitions.done = BTreeMap::from([(mine, 5)]);
        let mut readings = vec![reading("press"), reading("pump")];
        partitions.retain(&mut readings);
        assert_eq!(readings.len(), 1);
        assert_eq!(partitions.changed, HashSet::from([mine]));
    }

    #[test]
    fn a_reading_that_is_set_apart_is_left_out_and_the_others_of_its_message_are_not() {
        let (mut partitions, _) = partitions();
        partitions.last = 6;
        partitions.set_apart.insert(0, HashSet::from([1]));
        let other = Reading {
            seq: 2,
            ..reading("press")
        };
        let mut readings = vec![reading("press"), other];
        partitions.retain(&mut readings);
        assert_eq!(readings.iter().map(|r| r.seq).collect::<Vec<_>>(), [2]);
    }
}
