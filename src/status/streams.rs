//! Views and histories of the streams.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::{KeptHistory, Status, StreamView, lock};
use crate::history::StreamHistory;
use crate::row::StreamId;

impl Status {
    /// Replaces what is known of a stream.
    pub fn set_view(&self, stream: &StreamId, view: StreamView) {
        let n_channels = view.channels.len();
        let before = lock(&self.views).insert(stream.clone(), view);
        let before = before.map_or(0, |view| view.channels.len());
        if n_channels != before {
            self.n_channels.fetch_add(n_channels, Ordering::AcqRel);
            self.n_channels.fetch_sub(before, Ordering::AcqRel);
        }
    }

    /// A stream is given up: nothing is known of it.
    pub fn forget(&self, stream: &StreamId) {
        let view = lock(&self.views).remove(stream);
        let n_channels = view.map_or(0, |view| view.channels.len());
        self.n_channels.fetch_sub(n_channels, Ordering::AcqRel);
        lock(&self.histories).remove(&**stream);
    }

    /// Maps the view of each stream, and leaves out those of which `of` makes nothing.
    pub fn pick<T, C: FromIterator<T>>(
        &self,
        of: impl FnMut((&StreamId, &StreamView)) -> Option<T>,
    ) -> C {
        lock(&self.views).iter().filter_map(of).collect()
    }

    /// State of one stream.
    pub fn view(&self, stream: &str) -> Option<StreamView> {
        lock(&self.views).get(&StreamId::from(stream)).cloned()
    }

    /// A stream's history; a new one where there is none yet.
    pub fn history_of(&self, stream: &Arc<str>) -> Arc<KeptHistory> {
        let mut histories = lock(&self.histories);
        histories.entry(stream.clone()).or_default().clone()
    }

    /// All histories together may take so many bytes.
    pub fn set_history_bytes(&self, bytes: usize) {
        self.history_bytes.store(bytes, Ordering::Release);
    }

    /// Points that each tier of a history may keep, so that all histories fit the memory for them.
    pub fn history_capacity(&self) -> usize {
        let n_channels = self.n_channels.load(Ordering::Acquire);
        let bytes = self.history_bytes.load(Ordering::Acquire);
        crate::history::capacity_within(bytes, n_channels)
    }

    /// A stream's history, where there is one.
    pub fn history(&self, stream: &str) -> Option<(Arc<str>, Arc<KeptHistory>)> {
        let histories = lock(&self.histories);
        let (name, history) = histories.get_key_value(stream)?;
        Some((name.clone(), history.clone()))
    }

    /// Every stream's history, by name.
    pub fn histories(&self) -> Vec<(Arc<str>, Arc<KeptHistory>)> {
        let histories = lock(&self.histories);
        let mut all: Vec<_> = histories
            .iter()
            .map(|(name, history)| (name.clone(), history.clone()))
            .collect();
        all.sort_by(|a, b| a.0.cmp(&b.0));
        all
    }

    /// Puts a history in its place that was kept over a restart.
    pub fn restore_history(&self, stream: &Arc<str>, history: StreamHistory) {
        let kept = KeptHistory::restored(history);
        lock(&self.histories).insert(stream.clone(), Arc::new(kept));
    }
}
