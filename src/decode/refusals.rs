//! The last refusals by topic, bounded, and which of them are to be said.

use std::collections::HashMap;

use super::explain::Refusal;
use crate::payload::Reject;

/// Time between two log lines for one reason and topic (milliseconds).
const SAY_EVERY_MS: i64 = 60_000;
/// Time between two refusals of one reason and topic that are explained (milliseconds).
const EXPLAIN_EVERY_MS: i64 = 1_000;
/// Topics remembered; refusals of further ones are counted together.
const MAX_TOPICS: usize = 500;
/// Refusals so old make room for others (milliseconds).
const FORGET_MS: i64 = 600_000;
/// Stands for all topics beyond [`MAX_TOPICS`].
const OTHERS: &str = "(other topics)";

/// Refusals of one topic for one reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedTopic {
    /// The last one that was explained.
    pub last: Refusal,
    /// All of them.
    pub count: u64,
    /// Arrival of the newest, unix milliseconds.
    pub newest_ms: i64,
    explained_ms: i64,
    said_ms: i64,
    unsaid: u64,
}

/// The last refusals by topic and reason.
#[derive(Clone, Debug, Default)]
pub struct Refusals {
    topics: HashMap<String, Vec<RefusedTopic>>,
}

impl Refusals {
    /// Counts a refusal. Where it is to be said, `explain` is called, and the refusal comes back
    /// with the number of those that were not said before it.
    pub fn note(
        &mut self,
        reason: Reject,
        topic: &str,
        now_ms: i64,
        explain: impl FnOnce() -> Refusal,
    ) -> Option<(Refusal, u64)> {
        let known = self.topics.contains_key(topic);
        if !known && self.topics.len() >= MAX_TOPICS {
            let fresh =
                |of: &Vec<RefusedTopic>| of.iter().any(|r| now_ms - r.newest_ms < FORGET_MS);
            self.topics.retain(|_, of| fresh(of));
        }
        let key = match known || self.topics.len() < MAX_TOPICS {
            true => topic,
            false => OTHERS,
        };
        if !self.topics.contains_key(key) {
            self.topics.insert(key.to_owned(), Vec::new());
        }
        let entries = self.topics.get_mut(key)?;
        let Some(entry) = entries.iter_mut().find(|entry| entry.last.reason == reason) else {
            let last = explain();
            entries.push(RefusedTopic {
                last: last.clone(),
                count: 1,
                newest_ms: now_ms,
                explained_ms: now_ms,
                said_ms: now_ms,
                unsaid: 0,
            });
            return Some((last, 0));
        };
        entry.count += 1;
        entry.newest_ms = now_ms;
        // A clock that was set back says and explains it once more.
        let lately = |since_ms: i64, every_ms: i64| (0..every_ms).contains(&(now_ms - since_ms));
        let unsaid = lately(entry.said_ms, SAY_EVERY_MS);
        if !(unsaid && lately(entry.explained_ms, EXPLAIN_EVERY_MS)) {
            entry.last = explain();
            entry.explained_ms = now_ms;
        }
        if unsaid {
            entry.unsaid += 1;
            return None;
        }
        entry.said_ms = now_ms;
        Some((entry.last.clone(), std::mem::take(&mut entry.unsaid)))
    }

    /// All of them, the newest first.
    pub fn list(&self) -> Vec<RefusedTopic> {
        let mut all: Vec<RefusedTopic> = self.topics.values().flatten().cloned().collect();
        all.sort_by(|a, b| {
            let names = || a.last.topic.cmp(&b.last.topic);
            b.newest_ms.cmp(&a.newest_ms).then_with(names)
        });
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(reason: Reject, topic: &str) -> Refusal {
        Refusal {
            reason,
            input: String::new(),
            topic: topic.to_owned(),
            excerpt: String::new(),
            detail: String::new(),
            stamp_ms: None,
            arrival_ms: 0,
            advice: String::new(),
        }
    }

    fn note(refusals: &mut Refusals, reason: Reject, topic: &str, now_ms: i64) -> Option<u64> {
        let said = refusals.note(reason, topic, now_ms, || refusal(reason, topic));
        said.map(|(_, further)| further)
    }

    #[test]
    fn each_reason_and_topic_is_said_once_a_minute() {
        let mut refusals = Refusals::default();
        let r = &mut refusals;
        assert_eq!(note(r, Reject::Late, "a", 0), Some(0));
        assert_eq!(note(r, Reject::Late, "b", 0), Some(0));
        assert_eq!(note(r, Reject::Future, "a", 0), Some(0));
        assert_eq!(note(r, Reject::Late, "a", 1000), None);
        assert_eq!(note(r, Reject::Late, "a", 59_999), None);
        assert_eq!(note(r, Reject::Late, "a", 60_000), Some(2));
        let list = r.list();
        assert_eq!((list.len(), list[0].count), (3, 4));
    }

    #[test]
    fn the_last_of_a_topic_is_shown_also_where_it_is_not_said() {
        let mut refusals = Refusals::default();
        let mut note = |advice: &str, now_ms: i64| {
            let mut refused = refusal(Reject::Malformed, "a");
            refused.advice = advice.to_owned();
            let said = refusals.note(Reject::Malformed, "a", now_ms, || refused);
            (said.is_some(), refusals.list()[0].last.advice.clone())
        };
        assert_eq!(note("first", 0), (true, "first".to_owned()));
        assert_eq!(note("at once", 500), (false, "first".to_owned()));
        assert_eq!(note("later", 1_000), (false, "later".to_owned()));
        assert_eq!(note("said", 60_000), (true, "said".to_owned()));
    }

    #[test]
    fn a_flood_of_topics_takes_bounded_memory() {
        let mut refusals = Refusals::default();
        for i in 0..10_000 {
            note(&mut refusals, Reject::NoRoute, &format!("t/{i}"), i / 10);
        }
        assert_eq!(refusals.list().len(), MAX_TOPICS + 1);
        let others: u64 = refusals.list().iter().map(|r| r.count).sum();
        assert_eq!(others, 10_000);
        note(&mut refusals, Reject::NoRoute, "new", FORGET_MS + 2000);
        assert_eq!(refusals.list().len(), 1);
    }
}
