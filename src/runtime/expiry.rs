//! Ages out streams: where there are as many as may be, those that hardly came make room for others.
//!
//! A stream is given up while nothing is lost by that: it is still warming up, so that no row of it was
//! ever judged, and it has been silent for a time that the settings give, and for ten of its usual
//! intervals. A few at a time, so that streams which report in turn, and are more than may be, do not
//! displace each other for ever: whoever has come twice has an interval, and stays.

use std::collections::HashSet;
use std::time::{Duration, Instant};

use crate::route::Router;
use crate::row::StreamId;
use crate::status::Status;

/// Usual intervals without a reading after which a stream is silent; the alerts go by it as well.
const INTERVALS: u32 = 10;
/// Share of the streams that may be, of which there should be room: one in so many.
const RESERVE: usize = 100;

/// Decides which streams make room.
#[derive(Debug)]
pub struct Expiry {
    /// Shortest silence; `None` for never.
    after: Option<Duration>,
    max_streams: usize,
    warm_up_rows: u64,
    looked: Instant,
    /// Streams of which nothing was taken by the last look.
    empty: HashSet<StreamId>,
}

impl Expiry {
    /// Streams of `warm_up_rows` rows at most make room after a silence of `after`, where there are
    /// `max_streams`.
    pub fn new(after: Option<Duration>, max_streams: usize, warm_up_rows: u64) -> Expiry {
        Expiry {
            after,
            max_streams,
            warm_up_rows,
            looked: Instant::now(),
            empty: HashSet::new(),
        }
    }

    /// The streams that make room now, least recently heard first, where there is none.
    pub fn due(&mut self, router: &Router, status: &Status) -> Vec<StreamId> {
        let Some(after) = self.after else {
            return Vec::new();
        };
        if self.looked.elapsed() < after {
            return Vec::new();
        }
        self.looked = Instant::now();
        if router.n_streams() < self.max_streams {
            return Vec::new();
        }
        let known: HashSet<StreamId> = status.pick(|(name, _)| Some(name.clone()));
        let streams = router.streams().filter(|name| !known.contains(*name));
        let empty = streams.cloned().collect();
        let before = std::mem::replace(&mut self.empty, empty);
        let mut due: Vec<StreamId> = self.empty.intersection(&before).cloned().collect();
        let mut silent: Vec<(Duration, StreamId)> = status.pick(|(name, view)| {
            let silence = view.touched.elapsed();
            let limit = after.max(view.usual_interval.saturating_mul(INTERVALS));
            let gives_way = view.stats.rows <= self.warm_up_rows && silence > limit;
            gives_way.then(|| (silence, name.clone()))
        });
        silent.sort_unstable_by(|a, b| b.cmp(a));
        due.extend(silent.into_iter().map(|(_, name)| name));
        due.truncate(self.max_streams.div_ceil(RESERVE));
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::EngineStats;
    use crate::metrics::Metrics;
    use crate::status::StreamView;

    const SECOND: Duration = Duration::from_secs(1);

    fn view(rows: u64, silence: Duration, usual_interval: Duration) -> StreamView {
        StreamView {
            channels: Vec::new(),
            last: None,
            stats: EngineStats {
                rows,
                ..EngineStats::default()
            },
            busy: Duration::ZERO,
            touched: Instant::now().checked_sub(silence).unwrap(),
            usual_interval,
            incident: None,
            muted: Default::default(),
        }
    }

    #[test]
    fn only_a_stream_that_hardly_came_and_is_silent_by_its_own_interval_makes_room() {
        let status = Status::new(Metrics::new().unwrap(), 1, 0);
        let mut router = Router::new(Vec::new(), "spiked", 4, 4, Vec::new());
        let streams = [
            ("learned", view(101, 90 * SECOND, SECOND)),
            ("slow", view(3, 90 * SECOND, 60 * SECOND)),
            ("here", view(3, SECOND, Duration::ZERO)),
            ("once", view(0, 90 * SECOND, Duration::ZERO)),
        ];
        for (name, view) in streams {
            let name = router.stream(name).unwrap();
            status.set_view(&name, view);
        }
        let mut expiry = Expiry::new(Some(SECOND), 4, 100);
        assert_eq!(expiry.due(&router, &status), [], "it looks once in a while");
        expiry.looked = Instant::now().checked_sub(2 * SECOND).unwrap();
        let due = expiry.due(&router, &status);
        assert_eq!(due, ["once".into()]);
        router.remove(&due);
        expiry.looked = Instant::now().checked_sub(2 * SECOND).unwrap();
        assert_eq!(expiry.due(&router, &status), [], "there is room");
    }
}
