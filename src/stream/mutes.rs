//! Keeps until when a stream, or channels of it, are muted.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::row::{Muted, Row};

/// Ends of mutes by arrival times, unix milliseconds.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Mutes {
    whole: Option<i64>,
    /// Places of muted channels, ascending.
    channels: Vec<(usize, i64)>,
}

impl Mutes {
    /// Mutes a channel, or all, until `until_ms`; a moment not after `now_ms` ends it. All channels
    /// together are muted and unmuted whatever was said of single ones.
    pub fn set(&mut self, channel: Option<usize>, until_ms: i64, now_ms: i64) {
        let until = (until_ms > now_ms).then_some(until_ms);
        match channel {
            None => {
                self.whole = until;
                self.channels.clear();
            }
            Some(c) => {
                self.channels.retain(|(known, _)| *known != c);
                let at = self.channels.partition_point(|(known, _)| *known < c);
                self.channels
                    .splice(at..at, until.map(|until_ms| (c, until_ms)));
            }
        }
    }

    /// Ends the mutes whose time has come by `now_ms`; true where there was one.
    pub fn expire(&mut self, now_ms: i64) -> bool {
        let n = self.channels.len();
        self.channels.retain(|(_, until_ms)| now_ms < *until_ms);
        let ended = self.whole.take_if(|until_ms| now_ms >= *until_ms).is_some();
        ended || self.channels.len() < n
    }

    /// Nothing is muted.
    pub fn is_empty(&self) -> bool {
        self.whole.is_none() && self.channels.is_empty()
    }

    /// A channel is muted, by itself or with all.
    pub fn holds(&self, channel: usize) -> bool {
        self.whole.is_some() || self.channels.iter().any(|(c, _)| *c == channel)
    }

    /// Until when the whole stream is muted.
    pub fn whole(&self) -> Option<i64> {
        self.whole
    }

    /// Muted channels, by their place, and until when.
    pub fn channels(&self) -> &[(usize, i64)] {
        &self.channels
    }

    /// Takes the values of muted channels out of the row; returns the row's values as they came.
    pub fn take_out(&self, row: &mut Row) -> Vec<f64> {
        let came = row.values.clone();
        for (c, value) in row.values.iter_mut().enumerate() {
            if self.holds(c) {
                *value = f64::NAN;
            }
        }
        came
    }
}

impl Mutes {
    /// The same by the names of `channels`.
    pub fn named(&self, channels: &[Arc<str>]) -> Muted {
        let named = self.channels.iter();
        let named = named.map(|&(c, until_ms)| (channels[c].clone(), until_ms));
        Muted {
            until_ms: self.whole,
            channels: named.collect(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mutes_of_channels_and_of_all_end_at_their_time_or_by_a_word() {
        let mut mutes = Mutes::default();
        mutes.set(Some(3), 100, 0);
        mutes.set(Some(1), 200, 0);
        mutes.set(Some(3), 150, 0);
        assert_eq!(mutes.channels(), [(1, 200), (3, 150)]);
        assert!(mutes.holds(3) && !mutes.holds(2));
        assert!(!mutes.expire(149) && mutes.expire(150));
        assert_eq!(mutes.channels(), [(1, 200)]);
        mutes.set(None, 300, 150);
        assert!(mutes.holds(2) && mutes.whole() == Some(300));
        mutes.set(None, 160, 160);
        assert!(mutes.is_empty());
    }
}
