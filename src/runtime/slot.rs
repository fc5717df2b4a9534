//! A stream on its worker, and what was last said of it.

use std::sync::Arc;
use std::time::{Duration, Instant};

use crate::config::OutputSettings;
use crate::engine::EngineStats;
use crate::row::{Incident, Kind, Muted, Outcome};
use crate::status::{KeptHistory, Status};
use crate::stream::Stream;

/// Rows between two looks at how much of its past a stream may keep.
const CAPACITY_EVERY: u64 = 256;

/// The remainder of a stream that was idle for long.
pub struct Evicted {
    /// Number of its last reading.
    pub(super) seq: u64,
    pub(super) said: Option<Said>,
}

/// A stream's state as it was last published.
#[derive(Clone, Debug, PartialEq)]
pub struct Said {
    /// An incident is open.
    pub(super) anomaly: bool,
    /// Its kind.
    pub(super) kind: Option<Kind>,
    /// Mutes that last.
    pub(super) muted: Muted,
}

/// One stream and what was last said of it.
pub struct StreamRuntime {
    pub(super) stream: Stream,
    /// Its engine panicked: it learns nothing until it comes anew.
    pub(super) is_broken: bool,
    pub(super) prediction_topic: Arc<str>,
    pub(super) anomaly_topic: Arc<str>,
    /// The state last published; `None` before the first.
    pub(super) said: Option<Said>,
    pub(super) open: Option<Incident>,
    /// The incident of the whole stream's silence, while it lasts.
    pub(super) silent: Option<Incident>,
    pub(super) last: Option<Outcome>,
    /// When the arrival of the last row's readings was, where it is not published yet.
    pub(super) unsaid: Option<Instant>,
    /// When a prediction was last published.
    pub(super) predicted: Option<Instant>,
    /// Channels announced to Home Assistant, and how often it had started anew by then.
    pub(super) announced: (usize, u64),
    pub(super) counted: EngineStats,
    /// Replayed readings are not counted yet, and will not be.
    pub(super) uncounted: bool,
    pub(super) dirty: bool,
    /// Its history for the page; found with its first row.
    pub(super) history: Option<Arc<KeptHistory>>,
    /// When its last reading came.
    pub(super) touched: Instant,
    /// Time that it has taken so far.
    pub(super) busy: Duration,
    /// Time that it has taken since its last snapshot.
    pub(super) unsaved_busy: Duration,
}

impl StreamRuntime {
    /// A stream under the topics of `output`.
    pub fn new(stream: Stream, output: &OutputSettings) -> StreamRuntime {
        let topic = |what: &str| -> Arc<str> {
            format!(
                "{}/{}/{}/{what}",
                output.prefix,
                output.instance,
                stream.name()
            )
            .into()
        };
        StreamRuntime {
            prediction_topic: topic("prediction"),
            anomaly_topic: topic("anomaly"),
            said: None,
            open: stream
                .engine()
                .incident()
                .filter(|incident| incident.end_ms.is_none())
                .cloned(),
            silent: None,
            last: None,
            unsaid: None,
            predicted: None,
            announced: (0, 0),
            // Rows learned before this start are not counted again.
            counted: stream.engine().stats().clone(),
            uncounted: false,
            dirty: true,
            history: None,
            touched: Instant::now(),
            busy: Duration::ZERO,
            unsaved_busy: Duration::ZERO,
            is_broken: false,
            stream,
        }
    }
}

impl StreamRuntime {
    /// Puts an outcome into the stream's history.
    pub(super) fn record(&mut self, shared: &Status, outcome: &Outcome) {
        let name = self.stream.name();
        let history = self
            .history
            .get_or_insert_with(|| shared.history_of(name.name()));
        let incident = self.stream.engine().incident();
        let mut history = history.lock();
        history.push(self.stream.channels(), outcome, incident);
        if outcome.row.is_multiple_of(CAPACITY_EVERY) {
            history.set_capacity(shared.history_capacity());
        }
    }

    /// Kind of the open incident; after a restart as it opened, until a row says more.
    pub(super) fn incident(&self) -> Option<Kind> {
        let said = self.last.as_ref().and_then(|last| last.kind);
        let kind = said.or(self.open.as_ref().map(|incident| incident.kind));
        kind.filter(|_| self.stream.engine().stats().open)
    }

    pub(super) fn usual_interval(&self) -> Duration {
        Duration::from_secs_f64(self.stream.usual_interval_ms().clamp(0.0, 1e15) / 1000.0)
    }
}
