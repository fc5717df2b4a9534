//! State of a partition's streams as bytes.
//!
//! Layout: CRC-32 of what follows, little-endian, then the postcard encoding of the streams' snapshots.

use tracing::{error, warn};

use crate::state::StateError;
use crate::state::snapshot::{Snapshot, decode, encode};
use crate::stream::{Stream, StreamParams};

/// Snapshots of all streams of a partition.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PartitionState {
    /// By stream, in the order of the names.
    pub streams: Vec<Snapshot>,
}

impl PartitionState {
    /// As bytes.
    pub fn to_bytes(&self) -> Vec<u8> {
        let body = encode(&self.streams);
        let mut bytes = crc32fast::hash(&body).to_le_bytes().to_vec();
        bytes.extend(body);
        bytes
    }

    /// From bytes.
    ///
    /// # Errors
    /// When they are damaged or of another version.
    pub fn from_bytes(bytes: &[u8]) -> Result<PartitionState, StateError> {
        let bad = |detail: &str| StateError::format("state of a partition", detail.to_owned());
        let (crc, body) = bytes.split_first_chunk().ok_or_else(|| bad("too short"))?;
        if crc32fast::hash(body) != u32::from_le_bytes(*crc) {
            return Err(bad("its checksum is wrong"));
        }
        let streams = decode(body)?;
        Ok(PartitionState { streams })
    }

    /// Its streams. One that was made with settings that models of `params` cannot go on with is left out.
    pub(crate) fn open(self, params: &StreamParams) -> Vec<Stream> {
        let opened = self.streams.into_iter().filter_map(|snapshot| {
            if let Some(why) = snapshot.unfit_for(params) {
                warn!(stream = snapshot.stream, "the stream learns anew: {why}");
                return None;
            }
            match snapshot.open_with(params) {
                Ok((stream, _)) => Some(stream),
                Err(error) => {
                    error!(stream = snapshot.stream, %error, "the stream learns anew");
                    None
                }
            }
        });
        opened.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::assemble::{Align, AssembleParams};
    use crate::engine::EngineParams;
    use crate::stream::{Stream, StreamParams};

    #[test]
    fn a_state_comes_back_and_a_damaged_one_is_noticed() {
        let assemble = AssembleParams::new(Align::PerReading, 0, 60_000, 8, Vec::new()).unwrap();
        let engine = EngineParams::default();
        let params = StreamParams { assemble, engine };
        let streams = ["press", "pump"].map(|name| {
            let stream = Stream::new(name, &params);
            Snapshot::of(&stream, &params, 5)
        });
        let state = PartitionState {
            streams: streams.to_vec(),
        };
        let bytes = state.to_bytes();
        assert_eq!(PartitionState::from_bytes(&bytes).unwrap(), state);
        for at in [0, 3, 4, bytes.len() / 2, bytes.len() - 1] {
            let mut damaged = bytes.clone();
            damaged[at] ^= 1;
            assert!(PartitionState::from_bytes(&damaged).is_err(), "at {at}");
        }
        assert!(PartitionState::from_bytes(&bytes[..3]).is_err());
        let empty = PartitionState::default();
        assert_eq!(
            PartitionState::from_bytes(&empty.to_bytes()).unwrap(),
            empty
        );
    }
}
