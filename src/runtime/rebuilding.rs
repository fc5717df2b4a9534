//! Rebuilds a stream from what the store keeps of it.

use tracing::{error, warn};

use crate::carrier::store::{Store, StoreError};
use crate::row::Reading;
use crate::status::Status;
use crate::stream::{Stream, StreamParams};

/// An engine panicked over a reading: its stream goes on from what is kept, or anew. A condemned
/// reading is set apart.
pub(super) fn rebuild(
    store: &dyn Store,
    shared: &Status,
    params: &StreamParams,
    reading: &Reading,
    reason: &str,
    condemned: bool,
) -> Stream {
    shared.note_panic();
    let name = &*reading.stream;
    error!(
        stream = name,
        seq = reading.seq,
        channel = %reading.channel,
        value = reading.value,
        reason,
        condemned,
        "an engine panicked; its stream is restored"
    );
    if condemned {
        store.quarantine(reading, reason);
    }
    or_anew(store.recover(name, reading, params), shared, name, params)
}

/// The stored stream; where nothing is stored, or it cannot be read, the stream at its beginning.
pub(super) fn or_anew(
    kept: Result<Option<Stream>, StoreError>,
    shared: &Status,
    name: &str,
    params: &StreamParams,
) -> Stream {
    match kept {
        Ok(Some(stream)) => stream,
        Ok(None) => {
            warn!(
                stream = name,
                "nothing is kept of the stream: it learns anew"
            );
            Stream::new(name, params)
        }
        Err(error) => {
            shared.set_store_failed(true);
            error!(stream = name, %error, "the stream cannot be restored: it learns anew");
            Stream::new(name, params)
        }
    }
}
