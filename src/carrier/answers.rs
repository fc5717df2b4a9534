//! Translates answers of nats-server: its errors, records and times.

use std::time::{SystemTime, UNIX_EPOCH};

use super::CarrierError;

/// The server's words where it stores nothing more.
const FULL: &str = "insufficient resources";

pub(super) fn away(error: impl std::fmt::Display) -> CarrierError {
    let text = error.to_string();
    CarrierError::Away(match text.contains(FULL) {
        true => format!("the server's storage is full, max_file_store or its disk ({text})"),
        false => text,
    })
}

pub(super) fn json(record: &impl serde::Serialize) -> Vec<u8> {
    serde_json::to_vec(record).expect("plain data serialises")
}

pub(super) fn parse<T: serde::de::DeserializeOwned>(bytes: &[u8]) -> Result<T, CarrierError> {
    let parsed = serde_json::from_slice(bytes);
    parsed.map_err(|error| CarrierError::Settings(format!("a record in the bucket: {error}")))
}

pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH);
    since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX))
}

/// Unix milliseconds of nanoseconds.
pub(super) fn unix_ms(nanos: i128) -> i64 {
    i64::try_from(nanos / 1_000_000).unwrap_or(0)
}
