//! Commits of a worker's partitions: their state between two messages, once its outputs are published.

use std::time::{Duration, Instant};

use tokio::sync::oneshot;
use tracing::warn;

use super::membership::{ClusterMember, TOGETHER};
use super::partitions::PartitionCut;
use crate::carrier::{CarrierError, Partition, PartitionCommit, SharedCarrier};

/// A partition with a panic is committed at each look for so long: what is learned before the next one is
/// not learned again.
const WARY: Duration = Duration::from_secs(60);

impl<C: SharedCarrier> ClusterMember<C> {
    /// Waits for a cut and for its outputs, and makes the commit of it.
    pub(super) async fn commit_of(
        &self,
        cut: oneshot::Receiver<PartitionCut>,
    ) -> Result<PartitionCommit, CarrierError> {
        let gone = |what: &str| CarrierError::Away(what.to_owned());
        let cut = cut.await.map_err(|_| gone("the intake thread has ended"))?;
        let n_workers = self.parts.n_workers;
        let streams = match cut.snapshots {
            None => None,
            Some(snapshots) => {
                let gathered = tokio::task::spawn_blocking(move || {
                    let parts: Vec<_> = snapshots.iter().collect();
                    let is_whole = parts.len() == n_workers;
                    let mut streams: Vec<_> = parts.into_iter().flatten().collect();
                    streams.sort_by(|a, b| a.stream.cmp(&b.stream));
                    is_whole.then_some(streams)
                });
                let streams = gathered.await.ok().flatten();
                Some(streams.ok_or_else(|| gone("an engine has panicked"))?)
            }
        };
        let flushed = tokio::time::timeout(self.parts.settings.lease, self.parts.flush.flushed());
        match flushed.await {
            Ok(true) => {}
            Ok(false) => return Err(gone("outputs are no longer published")),
            Err(_) => return Err(gone("its outputs are not acknowledged yet")),
        }
        Ok(PartitionCommit {
            streams,
            position: Some(cut.position),
            ..PartitionCommit::default()
        })
    }

    /// Commits the partitions whose time has come.
    pub(super) async fn commit_due(&mut self) {
        let every = self.parts.settings.commit;
        self.wary.retain(|_, since| since.elapsed() < WARY);
        let due = self.holding.held.iter().filter(|(partition, held)| {
            held.committed.elapsed() >= every || self.wary.contains_key(*partition)
        });
        let mut due: Vec<(Instant, Partition)> =
            due.map(|(p, held)| (held.committed, *p)).collect();
        due.sort_unstable();
        // A few at each look, so that they do not all fall due together for ever.
        due.truncate(TOGETHER);
        let cuts: Vec<_> = due
            .iter()
            .map(|(_, p)| (*p, self.holding.cut(*p, false)))
            .collect();
        let mut is_away = false;
        for (partition, cut) in cuts {
            self.pulse.beat();
            // A server that does not answer once is not asked for the others as well.
            let commit = match is_away {
                true => Err(CarrierError::Away("no answer to the one before".to_owned())),
                false => self.commit_of(cut).await,
            };
            let Some(held) = self.holding.held.get(&partition) else {
                continue;
            };
            let mut position = held.position;
            let done = match commit {
                // Nothing has come.
                Ok(commit) if commit.streams.is_none() && commit.position == Some(position) => {
                    Ok(())
                }
                Ok(commit) => {
                    position = commit.position.unwrap_or(position);
                    self.holding.commit(partition, commit).await
                }
                Err(error) => Err(error),
            };
            if let Err(CarrierError::Fenced { epoch, .. }) = done {
                self.note_refused(partition, epoch).await;
                continue;
            }
            let Some(held) = self.holding.held.get_mut(&partition) else {
                continue;
            };
            held.committed = Instant::now();
            match done {
                Ok(()) => {
                    held.is_due = false;
                    held.position = position;
                    self.parts.shared.metrics.cluster.commits.inc();
                }
                Err(error) => {
                    held.is_due = true;
                    // The others fail with it.
                    if !std::mem::replace(&mut is_away, true) {
                        warn!(partition, %error, "a partition cannot be committed, trying again");
                        let said = format!("partition {partition} cannot be committed: {error}");
                        self.trouble = Some(said);
                    }
                }
            }
        }
    }
}
