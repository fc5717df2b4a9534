//! Topic filters that a connection subscribes to; they may change while it is up.

use std::collections::VecDeque;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::sync::watch;
use tracing::info;

use super::{DROPPED_TOPIC, LinkSender};
use crate::status::lock;

/// Topic filters with their quality of service.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filters {
    /// Those without which the daemon is not ready.
    pub needed: Vec<(String, u8)>,
    /// Those of which a refusal is borne.
    pub optional: Vec<(String, u8)>,
    /// Those of before: the broker, which keeps them with the session, is asked to drop them.
    pub former: Vec<String>,
}

impl Filters {
    /// Replaces the needed filters, and notes which of them are no longer wanted.
    pub fn replace_needed(&mut self, needed: Vec<(String, u8)>) {
        let before = std::mem::replace(&mut self.needed, needed);
        let before: Vec<String> = before.into_iter().map(|(filter, _)| filter).collect();
        self.add_former(&before);
    }

    /// Notes filters of before, to be dropped unless they are wanted.
    pub fn add_former(&mut self, filters: &[String]) {
        self.former.extend(filters.iter().cloned());
        let wanted = |filter: &String| {
            let mut all = self.needed.iter().chain(&self.optional);
            all.any(|(known, _)| known == filter)
        };
        self.former.retain(|filter| !wanted(filter));
        self.former.sort_unstable();
        self.former.dedup();
    }

    /// Filters that are wanted.
    pub fn wanted(&self) -> Vec<String> {
        let all = self.needed.iter().chain(&self.optional);
        all.map(|(filter, _)| filter.clone()).collect()
    }

    /// Filters to which the broker may hold a subscription: those wanted, and those to be dropped.
    pub fn held(&self) -> Vec<String> {
        let mut held = self.wanted();
        held.extend(self.former.iter().cloned());
        held
    }

    fn is_empty(&self) -> bool {
        self.needed.is_empty() && self.optional.is_empty()
    }
}

/// Subscriptions of one connection: the filters wanted, and those that the broker has not answered yet.
pub(super) struct Subscriptions {
    filters: watch::Receiver<Filters>,
    /// Requests without an answer, oldest first.
    asked: Mutex<VecDeque<Filters>>,
    /// A connection ended over the broker's own figures, as it seems: they are not asked for.
    without_figures: AtomicBool,
}

impl Subscriptions {
    pub(super) fn new(filters: watch::Receiver<Filters>) -> Subscriptions {
        Subscriptions {
            filters,
            asked: Mutex::default(),
            without_figures: AtomicBool::new(false),
        }
    }

    /// Tells when other filters are wanted.
    pub(super) fn changes(&self) -> watch::Receiver<Filters> {
        self.filters.clone()
    }

    /// Nothing is to be subscribed to.
    pub(super) fn is_empty(&self) -> bool {
        self.filters.borrow().is_empty()
    }

    /// The daemon is not ready without some of them.
    pub(super) fn is_needed(&self) -> bool {
        !self.filters.borrow().needed.is_empty()
    }

    /// Subscribes to what is wanted, and has the broker drop what is not any more.
    pub(super) async fn request(&self, sender: &impl LinkSender) {
        let mut filters = self.filters.borrow().clone();
        if self.without_figures.load(Ordering::Acquire) {
            filters
                .optional
                .retain(|(filter, _)| filter != DROPPED_TOPIC);
        }
        let wanted = [&filters.needed[..], &filters.optional].concat();
        let former = filters.former.clone();
        // Errors mean that the connection has ended already: the next one does it again.
        if !wanted.is_empty() {
            lock(&self.asked).push_back(filters);
            if sender.subscribe(&wanted).await.is_err() {
                lock(&self.asked).pop_back();
            }
        }
        if !former.is_empty() {
            let _ = sender.unsubscribe(&former).await;
        }
    }

    /// Takes the filters that an answer of the broker belongs to: those that were asked for first.
    pub(super) fn take_asked(&self) -> Filters {
        let asked = lock(&self.asked).pop_front();
        asked.unwrap_or_else(|| self.filters.borrow().clone())
    }

    /// A request over a connection that has ended has no answer any more.
    pub(super) fn connection_lost(&self) {
        lock(&self.asked).clear();
    }

    /// The broker ended a connection rather than answer the subscription or deliver a message: some do so
    /// where a filter is not permitted.
    pub(super) fn go_without_figures(&self) {
        let filters = self.filters.borrow();
        let mut optional = filters.optional.iter();
        let asked = optional.any(|(filter, _)| filter == DROPPED_TOPIC);
        if asked && !self.without_figures.swap(true, Ordering::AcqRel) {
            info!(
                filter = DROPPED_TOPIC,
                "the connection ended instead of a subscription's answer: we do without the broker's figures"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_is_dropped_at_the_broker_until_it_is_wanted_again() {
        let of = |names: &[&str]| -> Vec<(String, u8)> {
            names.iter().map(|name| ((*name).to_owned(), 1)).collect()
        };
        let mut filters = Filters {
            needed: of(&["a/+", "b/+"]),
            ..Filters::default()
        };
        filters.replace_needed(of(&["b/+", "c/+"]));
        assert_eq!(filters.former, ["a/+"]);
        filters.replace_needed(of(&["a/+"]));
        assert_eq!(filters.former, ["b/+", "c/+"]);
        filters.add_former(&["a/+".to_owned(), "d/+".to_owned()]);
        assert_eq!(filters.held(), ["a/+", "b/+", "c/+", "d/+"]);
        assert_eq!(filters.needed, of(&["a/+"]));
    }
}
