//! Messages to a worker.

use std::time::Instant;

use crossbeam_channel::{Receiver, Sender};

use super::slot::{Evicted, StreamRuntime};
use crate::carrier::Partition;
use crate::row::{Reading, StreamId};
use crate::state::snapshot::Snapshot;
use crate::stream::StreamParams;

/// A reading on its way to its worker.
#[derive(Clone, Debug)]
pub struct Item {
    /// The reading.
    pub reading: Reading,
    /// When its message came.
    pub arrived: Instant,
    /// It was accepted before the start: learned again, since no snapshot has it.
    pub replayed: bool,
}

/// A message to a worker.
pub enum WorkerMessage {
    /// Readings in order.
    Learn(Vec<Item>),
    /// The stream goes to another worker.
    Give(StreamId, Sender<Moved>),
    /// The stream comes from another worker.
    Take(StreamId, Receiver<Moved>),
    /// The stream is given up. Its last reading has this number.
    Forget(StreamId, u64),
    /// Snapshots of a partition's streams are taken.
    Cut(CutWork),
    /// The models go on with other settings.
    Tune(StreamParams),
}

/// An order to take the snapshots of a partition's streams, behind all readings that were sent before.
pub struct CutWork {
    /// The partition.
    pub partition: Partition,
    /// Number of partitions.
    pub n_partitions: u16,
    /// The streams are given up.
    pub gives_up: bool,
    /// Where the snapshots go; `None` for nowhere.
    pub reply: Option<Sender<Vec<Snapshot>>>,
}

/// A stream between two workers: live, evicted, or neither when it has had no reading.
pub struct Moved {
    pub(super) slot: Option<StreamRuntime>,
    pub(super) evicted: Option<Evicted>,
}

impl Moved {
    /// A stream that comes from outside.
    pub(super) fn of(slot: StreamRuntime) -> Moved {
        Moved {
            slot: Some(slot),
            evicted: None,
        }
    }
}

/// A stream that another worker has not given yet, and its readings meanwhile.
pub struct Coming {
    pub(super) from: Receiver<Moved>,
    pub(super) items: Vec<Item>,
}
