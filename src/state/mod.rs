//! Journal, snapshots, incidents, outbox and dead letters, in one SQLite file.
//!
//! One writer thread owns the file ([`StateStore`]); everything else sends it commands over a bounded
//! channel. Commands are written in the order in which they were sent and several share one
//! commit, so a snapshot never holds a reading that the journal does not.
//!
//! # The file
//! | table | a row is | protected by |
//! |---|---|---|
//! | `journal` | one group of accepted readings, packed ([`journal`]) | CRC-32, and the number of the reading before it, so that a missing row is noticed |
//! | `snapshots` | one stream's whole learner state ([`snapshot`]) | CRC-32 over the state and everything said about it |
//! | `incidents` | an incident's opening, its end, or a ruling on it | unique by stream, number, start and edge |
//! | `outbox` | a QoS 1 message without a PUBACK yet, or a message for the webhook | |
//! | `dead_letters` | a reading that a stream cannot digest | |
//!
//! Times are unix milliseconds. `user_version` is the schema version; a newer one is refused.
//!
//! # What survives what
//! With [`Durability::Journal`] a reading whose `done` was called with `Ok` survives a kill at any
//! moment and a power cut (WAL with `synchronous = FULL`). With [`Durability::Snapshot`] the
//! readings since the last snapshot are lost, with [`Durability::None`] all of them.

mod backup;
mod commands;
mod db;
mod error;
mod export;
mod first_page;
pub(crate) mod inspect;
pub mod journal;
mod listing;
mod mark;
mod place;
mod reader;
mod records;
mod recover;
mod report;
mod rows;
mod salvage;
pub mod snapshot;
mod store;
mod supervise;
mod writer;

pub use crate::config::Durability;
pub(crate) use backup::{backup, restore};
pub(crate) use db::{FILE_NAME, is_in_use};
pub use error::StateError;
pub(crate) use export::{export, import};
pub use journal::JournalEntry;
pub use reader::Reader;
pub(crate) use records::StoreStats;
pub use records::{Done, Edge, StoreOptions};
pub use recover::Recovered;
pub(crate) use recover::{DueReadings, JournalReplay, Told};
pub use snapshot::digest;
pub(crate) use snapshot::unfit_changes;
pub use store::StateStore;
#[cfg(feature = "jetstream")]
pub(crate) use supervise::Failures;
pub(crate) use supervise::push_caught;
#[cfg(test)]
pub(crate) use supervise::tests;
pub(crate) use supervise::{Pushed, push_supervised};
