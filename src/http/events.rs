//! Serves `/api/v1/events`: streams, incidents and new rows as server-sent events.
//!
//! Every second `streams` (the worst [`LISTED`]), `incidents` where they changed, and for the
//! stream that is looked at `rows` four times a second: the same shape as its history, of the new
//! rows alone. Where more rows came than are kept one by one, `reload` says so.

use std::convert::Infallible;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use axum::extract::State;
use axum::http::StatusCode;
use axum::response::sse::{Event, KeepAlive, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::unfold;
use serde::{Deserialize, Serialize};
use tokio::time::{Interval, MissedTickBehavior, interval};

use super::Site;
use super::api::{IncidentList, Streams};
use super::query::{Parameters, problem};

/// Time between two looks at the stream that is shown.
const TICK: Duration = Duration::from_millis(250);
/// Looks at the shown stream for one at all streams.
const LIST_EVERY: u64 = 4;
/// Streams listed at most.
const LISTED: usize = 200;
/// Incidents sent at most.
const INCIDENTS: usize = 60;
/// Viewers at most: each costs a little, and a page that is left open should not cost all.
const MAX_VIEWERS: usize = 64;

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct EventsQuery {
    /// The stream that is looked at.
    stream: Option<String>,
    /// Its rows that are known already.
    taken: Option<u64>,
    #[serde(default)]
    search: String,
}

/// One viewer, counted while it is there.
struct Viewer {
    site: Arc<Site>,
    query: EventsQuery,
    ticks: Interval,
    n_ticks: u64,
    taken: Option<u64>,
    incidents: Option<IncidentList>,
    waiting: Vec<Event>,
}

impl Drop for Viewer {
    fn drop(&mut self) {
        self.site.viewers.fetch_sub(1, Ordering::AcqRel);
    }
}

pub(super) async fn events(
    State(site): State<Arc<Site>>,
    Parameters(query): Parameters<EventsQuery>,
) -> Response {
    if site.viewers.fetch_add(1, Ordering::AcqRel) >= MAX_VIEWERS {
        site.viewers.fetch_sub(1, Ordering::AcqRel);
        return problem(StatusCode::SERVICE_UNAVAILABLE, "too many viewers");
    }
    let mut ticks = interval(TICK);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let viewer = Viewer {
        taken: query.taken,
        site,
        query,
        ticks,
        n_ticks: 0,
        incidents: None,
        waiting: Vec::new(),
    };
    let events = unfold(viewer, async |mut viewer| {
        while viewer.waiting.is_empty() {
            viewer.ticks.tick().await;
            viewer.look();
        }
        let event = viewer.waiting.pop()?;
        Some((Ok::<_, Infallible>(event), viewer))
    });
    let keep_alive = KeepAlive::new().interval(Duration::from_secs(10));
    Sse::new(events).keep_alive(keep_alive).into_response()
}

impl Viewer {
    fn look(&mut self) {
        if self.n_ticks.is_multiple_of(LIST_EVERY) {
            self.look_at_all();
        }
        self.look_at_one();
        self.n_ticks += 1;
        // Taken from the end.
        self.waiting.reverse();
    }

    fn look_at_all(&mut self) {
        let streams = Streams::of(&self.site, &self.query.search, LISTED);
        self.waiting.extend(event("streams", &streams));
        let incidents = IncidentList::of(&self.site, None, INCIDENTS);
        if self.incidents.as_ref() != Some(&incidents) {
            self.waiting.extend(event("incidents", &incidents));
            self.incidents = Some(incidents);
        }
    }

    fn look_at_one(&mut self) {
        let stream = self.query.stream.as_deref();
        let Some((name, kept)) = stream.and_then(|name| self.site.status.history(name)) else {
            return;
        };
        let (taken, view) = {
            let history = kept.lock();
            let new = self.taken.map(|taken| history.taken().checked_sub(taken));
            let view = match new {
                Some(Some(0)) => return,
                Some(Some(new)) => history.latest(&name, new),
                Some(None) | None => None,
            };
            (history.taken(), view)
        };
        let event = match view {
            Some(mut view) => {
                self.site.add_units(&mut view);
                event("rows", &view)
            }
            None => Some(Event::default().event("reload").data("{}")),
        };
        self.taken = Some(taken);
        self.waiting.extend(event);
    }
}

/// An event with JSON in it; `None` where there is no JSON form, which plain figures have.
fn event<T: Serialize>(name: &str, data: &T) -> Option<Event> {
    Event::default().event(name).json_data(data).ok()
}
