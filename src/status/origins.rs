//! Instances whose predictions the streams are made of: the intake thread notes them, workers name them.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};

use super::{Status, lock};
use crate::decode::StreamOrigins;
use crate::row::{StreamId, StreamMap};

/// By stream: instances with their prefix, with blanks between.
#[derive(Debug, Default)]
pub(super) struct KeptOrigins {
    is_any: AtomicBool,
    via: Mutex<StreamMap<Arc<str>>>,
}

impl Status {
    /// Replaces the instances whose predictions a stream is made of.
    pub fn set_origins(&self, origins: StreamOrigins) {
        lock(&self.origins.via).insert(origins.stream, origins.via.into());
        self.origins.is_any.store(true, Ordering::Release);
    }

    /// The instances whose predictions a stream is made of; `None` for what is measured.
    pub fn via(&self, stream: &StreamId) -> Option<Arc<str>> {
        let is_any = self.origins.is_any.load(Ordering::Acquire);
        is_any.then(|| lock(&self.origins.via).get(stream).cloned())?
    }
}
