//! A stream's name together with its hash, so that a row's way through the maps reads the name once.

use std::cmp::Ordering;
use std::collections::HashMap;
use std::fmt;
use std::hash::{BuildHasher, BuildHasherDefault, Hash, Hasher, RandomState};
use std::ops::Deref;
use std::sync::{Arc, LazyLock};

use serde::{Deserialize, Serialize};

/// Keys of the hashes, drawn anew by each process: nobody can choose names that collide.
static KEYS: LazyLock<RandomState> = LazyLock::new(RandomState::new);

/// Identifies a stream by its name, whose hash is computed once.
#[derive(Clone, Serialize, Deserialize)]
#[serde(from = "Arc<str>", into = "Arc<str>")]
pub struct StreamId {
    name: Arc<str>,
    hash: u64,
}

/// A map from streams, which takes the hash as it is.
pub type StreamMap<T> = HashMap<StreamId, T, BuildHasherDefault<PrecomputedHash>>;

/// Returns the one `u64` that it is given.
#[derive(Clone, Copy, Debug, Default)]
pub struct PrecomputedHash(u64);

impl Hasher for PrecomputedHash {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        unreachable!("a stream's hash is a u64, and no {bytes:?}");
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl StreamId {
    /// The stream's name.
    pub fn name(&self) -> &Arc<str> {
        &self.name
    }
}

impl From<Arc<str>> for StreamId {
    fn from(name: Arc<str>) -> StreamId {
        let hash = KEYS.hash_one(&*name);
        StreamId { name, hash }
    }
}

impl From<&str> for StreamId {
    fn from(name: &str) -> StreamId {
        Arc::<str>::from(name).into()
    }
}

impl From<String> for StreamId {
    fn from(name: String) -> StreamId {
        Arc::<str>::from(name).into()
    }
}

impl From<StreamId> for Arc<str> {
    fn from(id: StreamId) -> Arc<str> {
        id.name
    }
}

impl Deref for StreamId {
    type Target = str;

    fn deref(&self) -> &str {
        &self.name
    }
}

impl Hash for StreamId {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl PartialEq for StreamId {
    fn eq(&self, other: &StreamId) -> bool {
        self.hash == other.hash && (Arc::ptr_eq(&self.name, &other.name) || self.name == other.name)
    }
}

impl Eq for StreamId {}

impl PartialOrd for StreamId {
    fn partial_cmp(&self, other: &StreamId) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for StreamId {
    fn cmp(&self, other: &StreamId) -> Ordering {
        self.name.cmp(&other.name)
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.name)
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&self.name, f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_names_are_one_stream_whoever_made_them() {
        let mut map = StreamMap::default();
        map.insert(StreamId::from("pump"), 1);
        map.insert(StreamId::from(String::from("pump")), 2);
        map.insert("oven".into(), 3);
        assert_eq!(map.len(), 2);
        assert_eq!(map[&StreamId::from("pump")], 2);
        let read: StreamId = serde_json::from_str("\"oven\"").unwrap();
        assert_eq!(map[&read], 3);
        assert_eq!(serde_json::to_string(&read).unwrap(), "\"oven\"");
        assert!(StreamId::from("a") < StreamId::from("b"));
    }
}
