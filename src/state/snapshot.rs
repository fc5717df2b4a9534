//! One stream's whole learner state as bytes, and its digest.
//!
//! Layout of `state`: the postcard encoding of [`Stream`], fields in declaration order; it is
//! canonical (no maps with a free order), so two equal states have equal bytes. [`FORMAT`] is
//! raised with every change of those fields, and a snapshot of another format is set aside.
//! `params` is the postcard encoding of [`StreamParams`], kept to name what a new configuration
//! changed. `crc` is CRC-32 over every column but itself.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::error::StateError;
use crate::stream::{Stream, StreamParams, TUNABLE};

/// Version of the layout of a stream's state.
pub const FORMAT: u32 = 14;

/// A stream's state as it goes into the file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Snapshot {
    /// The stream's name.
    pub stream: String,
    /// Number of the last reading in it.
    pub seq: u64,
    /// Readings in it: accepted, and learned or waiting in a partial row or batch.
    pub readings: u64,
    /// [`FORMAT`] at writing.
    pub format: u32,
    /// When it was made, unix milliseconds.
    pub created_ms: i64,
    /// The settings that the stream was built from, encoded.
    pub params: Vec<u8>,
    /// The state, encoded.
    pub state: Vec<u8>,
}

impl Snapshot {
    /// Takes a stream's state. `created_ms` is the time, unix milliseconds.
    pub fn of(stream: &Stream, params: &StreamParams, created_ms: i64) -> Snapshot {
        Snapshot {
            stream: stream.name().to_string(),
            seq: stream.last_seq(),
            readings: stream.readings(),
            format: FORMAT,
            created_ms,
            params: encode(params),
            state: encode(stream),
        }
    }

    /// CRC-32 over every field.
    pub fn checksum(&self) -> u32 {
        let mut crc = crc32fast::Hasher::new();
        for part in [self.stream.as_bytes(), &self.params, &self.state] {
            crc.update(&(part.len() as u64).to_le_bytes());
            crc.update(part);
        }
        for number in [self.seq, self.readings, u64::from(self.format)] {
            crc.update(&number.to_le_bytes());
        }
        crc.update(&self.created_ms.to_le_bytes());
        crc.finalize()
    }

    /// The stream.
    ///
    /// # Errors
    /// When the layout is of another version, or is not what it says it is.
    pub fn open(&self) -> Result<Stream, StateError> {
        let bad = |detail: String| StateError::format("snapshot", detail);
        if self.format != FORMAT {
            return Err(bad(format!(
                "layout {} of stream {:?}, this version reads {FORMAT}",
                self.format, self.stream
            )));
        }
        let stream: Stream = decode(&self.state).map_err(|e| bad(e.to_string()))?;
        let said = (self.stream.as_str(), self.seq, self.readings);
        let found = (&**stream.name(), stream.last_seq(), stream.readings());
        if said != found {
            return Err(bad(format!("is of {found:?} and not of {said:?}")));
        }
        Ok(stream)
    }

    /// The settings it was made with.
    ///
    /// # Errors
    /// When they are of another version of this program.
    pub fn params(&self) -> Result<StreamParams, StateError> {
        decode(&self.params).map_err(|e| StateError::format("snapshot settings", e))
    }

    /// [`Snapshot::open`], to go on with `params`, that it must not be unfit for. Also whether they
    /// are other ones than before.
    ///
    /// # Errors
    /// As [`Snapshot::open`].
    pub fn open_with(&self, params: &StreamParams) -> Result<(Stream, bool), StateError> {
        let mut stream = self.open()?;
        let changed = self.params != encode(params);
        if changed {
            stream.retune(params);
        }
        Ok((stream, changed))
    }

    /// Why a stream with `params` cannot go on from this snapshot; `None` if it can. Settings that
    /// an existing model takes over ([`TUNABLE`]) are no reason.
    pub fn unfit_for(&self, params: &StreamParams) -> Option<String> {
        if self.format != FORMAT {
            return Some(format!(
                "it has layout {}, this version reads {FORMAT}",
                self.format
            ));
        }
        if self.params == encode(params) {
            return None;
        }
        let Ok(old) = self.params() else {
            return Some("its settings are of another version".to_owned());
        };
        let changes = unfit_changes(&old, params);
        match changes.len() {
            0 => None,
            1..=4 => Some(changes.join(", ")),
            n => Some(format!("{} and {} more", changes[..4].join(", "), n - 4)),
        }
    }
}

/// Names what a stream with settings `old` cannot go on with in `new`.
pub fn unfit_changes(old: &StreamParams, new: &StreamParams) -> Vec<String> {
    let mut changes = Vec::new();
    name_changes("", &json(old), &json(new), &mut changes);
    changes
}

/// Canonical bytes of a value.
pub fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    postcard::to_stdvec(value).expect("plain data serialises")
}

/// Reads bytes that [`encode`] made.
///
/// # Errors
/// When they are not, or when something is left over.
pub fn decode<'a, T: serde::Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, StateError> {
    let bad = |detail: String| StateError::format("encoded state", detail);
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok((_, rest)) => Err(bad(format!("{} bytes too many", rest.len()))),
        Err(error) => Err(bad(error.to_string())),
    }
}

/// Digest of a stream's whole learner state, 32 hexadecimal digits: FNV-1a (128 bits) of its
/// canonical bytes. Equal for two runs that are equal bit for bit; not meant against forgery.
pub fn digest(stream: &Stream) -> String {
    const OFFSET: u128 = 0x6c62_272e_07bb_0142_62b8_2175_6295_c58d;
    const PRIME: u128 = 0x0000_0000_0100_0000_0000_0000_0000_013b;
    let hash = encode(stream).iter().fold(OFFSET, |hash, &byte| {
        (hash ^ u128::from(byte)).wrapping_mul(PRIME)
    });
    format!("{hash:032x}")
}

fn json(params: &StreamParams) -> Value {
    serde_json::to_value(params).unwrap_or(Value::Null)
}

fn name_changes(path: &str, old: &Value, new: &Value, out: &mut Vec<String>) {
    match (old, new) {
        _ if TUNABLE.contains(&path) => {}
        (Value::Object(old_map), Value::Object(new_map)) => {
            let keys: std::collections::BTreeSet<_> =
                old_map.keys().chain(new_map.keys()).collect();
            for key in keys {
                let path = if path.is_empty() {
                    key.clone()
                } else {
                    format!("{path}.{key}")
                };
                let of = |map: &serde_json::Map<_, _>| map.get(key).cloned().unwrap_or(Value::Null);
                name_changes(&path, &of(old_map), &of(new_map), out);
            }
        }
        _ if old != new => out.push(format!("{path} was {old} and is {new}")),
        _ => {}
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::assemble::{Align, AssembleParams};
    use crate::engine::EngineParams;

    pub(crate) fn params(channels: &[&str]) -> StreamParams {
        StreamParams {
            assemble: AssembleParams::new(
                Align::PerReading,
                1000,
                60_000,
                8,
                channels.iter().map(|&c| c.into()).collect(),
            )
            .unwrap(),
            engine: EngineParams::default(),
        }
    }

    #[test]
    fn a_snapshot_gives_back_the_stream() {
        let params = params(&["a"]);
        let stream = Stream::new("press", &params);
        let snapshot = Snapshot::of(&stream, &params, 5);
        assert_eq!(digest(&snapshot.open().unwrap()), digest(&stream));
        assert_eq!(snapshot.unfit_for(&params), None);
    }

    #[test]
    fn a_changed_setting_is_named() {
        let old = params(&["a"]);
        let snapshot = Snapshot::of(&Stream::new("press", &old), &old, 5);
        let why = snapshot.unfit_for(&params(&["a", "b"])).unwrap();
        assert!(
            why.contains("channels was [\"a\"] and is [\"a\",\"b\"]"),
            "{why}"
        );
    }

    /// Other settings, by the name of a field.
    fn retuned(old: &StreamParams, field: &str, value: Value) -> StreamParams {
        let mut tree = json(old);
        let pointer = format!("/{}", field.replace('.', "/"));
        *tree.pointer_mut(&pointer).expect("a field") = value;
        serde_json::from_value(tree).unwrap()
    }

    #[test]
    fn every_tunable_setting_exists_and_is_taken_over() {
        let old = params(&["a"]);
        let tree = json(&old);
        for field in TUNABLE {
            let pointer = format!("/{}", field.replace('.', "/"));
            assert!(tree.pointer(&pointer).is_some(), "{field}");
        }
        let stream = Stream::new("press", &old);
        let snapshot = Snapshot::of(&stream, &old, 5);
        let new = retuned(&old, "engine.detect.false_alarms_per_week", 7.5.into());
        let new = retuned(&new, "engine.detect.incident.hold_rows", 77.into());
        assert_eq!(snapshot.unfit_for(&new), None);
        let (opened, changed) = snapshot.open_with(&new).unwrap();
        assert!(changed);
        assert_eq!(digest(&opened), digest(&Stream::new("press", &new)));
        let other = retuned(&new, "engine.hidden", 3.into());
        let why = snapshot.unfit_for(&other).unwrap();
        assert_eq!(why, "engine.hidden was 64 and is 3");
    }

    #[test]
    fn another_layout_is_refused() {
        let params = params(&["a"]);
        let mut snapshot = Snapshot::of(&Stream::new("press", &params), &params, 5);
        snapshot.format = FORMAT + 1;
        assert!(snapshot.open().is_err());
        assert!(snapshot.unfit_for(&params).is_some());
    }

    #[test]
    fn a_state_cut_short_or_with_a_tail_is_refused() {
        let params = params(&["a", "b"]);
        let whole = Snapshot::of(&Stream::new("press", &params), &params, 5);
        for len in 0..whole.state.len() {
            let mut cut = whole.clone();
            cut.state.truncate(len);
            assert!(cut.open().is_err(), "cut at {len}");
        }
        let mut long = whole.clone();
        long.state.push(0);
        assert!(long.open().is_err());
    }

    #[test]
    fn the_digest_tells_states_apart() {
        let params = params(&["a"]);
        assert_ne!(
            digest(&Stream::new("press", &params)),
            digest(&Stream::new("pump", &params))
        );
    }
}
