//! Says in words how a restart went.

use std::fmt;
use std::time::Duration;

/// Messages about a restart.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RecoveryReport {
    /// Streams rebuilt.
    pub streams: usize,
    /// Of these, from a snapshot.
    pub from_snapshot: usize,
    /// Readings replayed from the journal.
    pub replayed: u64,
    /// Snapshots passed over because their checksum or layout is wrong.
    pub damaged_snapshots: u64,
    /// Streams whose snapshots are of other settings, and what changed.
    pub set_aside: Vec<(String, String)>,
    /// Streams whose settings have been changed back: they go on with the model that was set aside.
    pub taken_back: Vec<String>,
    /// Streams that go on with changed settings.
    pub retuned: usize,
    /// Streams that have damaged snapshots only, and start from what the journal holds.
    pub started_over: Vec<String>,
    /// Journal groups whose checksum is wrong.
    pub damaged_groups: u64,
    /// Readings missing from the journal at most.
    pub lost_readings: u64,
    /// Readings that had been committed, behind the last one that is there.
    pub lost_log: u64,
    /// Readings that no stream could digest, left out.
    pub dead_letters: u64,
    /// Error of the file, if it had to be salvaged.
    pub salvaged: Option<String>,
    /// How long it took.
    pub took: Duration,
}

impl RecoveryReport {
    /// Something was lost or passed over: worth an ERROR and a look.
    pub fn is_bad(&self) -> bool {
        self.damaged_snapshots + self.damaged_groups + self.lost_readings + self.lost_log > 0
            || !self.started_over.is_empty()
            || self.salvaged.is_some()
    }
}

impl fmt::Display for RecoveryReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{} streams, {} of them from snapshots, {} further readings in the journal, found in {:.3} s",
            self.streams,
            self.from_snapshot,
            self.replayed,
            self.took.as_secs_f64()
        )?;
        if self.retuned > 0 {
            write!(f, "; {} go on with changed settings", self.retuned)?;
        }
        for stream in &self.taken_back {
            write!(
                f,
                "; {stream:?} goes on with the model of its former settings"
            )?;
        }
        for (stream, why) in &self.set_aside {
            write!(f, "; snapshot of {stream:?} set aside: {why}")?;
        }
        if self.damaged_snapshots > 0 {
            write!(
                f,
                "; {} damaged snapshots passed over",
                self.damaged_snapshots
            )?;
        }
        for stream in &self.started_over {
            write!(
                f,
                "; {stream:?} starts over: none of its snapshots is whole"
            )?;
        }
        if self.damaged_groups + self.lost_readings > 0 {
            write!(
                f,
                "; {} damaged journal groups, up to {} readings lost",
                self.damaged_groups, self.lost_readings
            )?;
        }
        if self.lost_log > 0 {
            write!(
                f,
                "; the last {} readings that were committed are missing, and the incidents and snapshots of that time: the file's log was cut, removed or damaged",
                self.lost_log
            )?;
        }
        if self.dead_letters > 0 {
            write!(
                f,
                "; {} readings left out as dead letters",
                self.dead_letters
            )?;
        }
        if let Some(detail) = &self.salvaged {
            write!(f, "; the file was damaged ({detail}) and has been salvaged")?;
        }
        Ok(())
    }
}
