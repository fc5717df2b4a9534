//! Serves `/api/v1`: streams, histories, incidents and refusals as JSON.

use std::cmp::Ordering;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};

use super::Site;
use super::query::{Parameters, problem};
use super::summary::{ListedStream, summaries};
use crate::decode::RefusedTopic;
use crate::history::{HistoryView, IncidentView, LearningView, Range};
use crate::payload::Reject;
use crate::status::InputCount;

/// Streams in one answer.
const MAX_STREAMS: usize = 1_000;
/// Incidents in one answer.
const MAX_INCIDENTS: usize = 500;
/// Refusals in one answer.
const MAX_REFUSALS: usize = 100;
/// Points of a history in one answer.
const MAX_POINTS: usize = 5_000;
/// Points where no number is asked for: about one a pixel of a phone, one for two of a screen.
const USUAL_POINTS: usize = 600;

/// How the daemon stands.
#[derive(Clone, Debug, Serialize)]
pub struct DaemonSummary {
    /// Version of the program.
    version: &'static str,
    /// Time since the start, s.
    uptime_s: u64,
    /// Connected, subscribed, learning, storing.
    ready: bool,
    /// The reasons, in words.
    reasons: Vec<String>,
    /// Verdicts can be given here.
    admin: bool,
    /// Readings accepted since the start.
    readings: u64,
    /// Rows learned since the start.
    rows: u64,
    /// Readings on their way to a worker.
    waiting: usize,
}

impl DaemonSummary {
    /// How it stands now.
    pub fn of(site: &Site) -> DaemonSummary {
        let status = &site.status;
        let health = status.health();
        DaemonSummary {
            version: env!("CARGO_PKG_VERSION"),
            uptime_s: status.uptime().as_secs(),
            ready: health.ready,
            reasons: health.reasons,
            admin: site.admin.is_some(),
            readings: status.metrics.readings_received.get(),
            rows: status.metrics.rows.get(),
            waiting: status.waiting(),
        }
    }
}

/// The answer of `/api/v1/streams`, and the event `streams`.
#[derive(Clone, Debug, Serialize)]
pub struct Streams {
    /// How the daemon stands.
    pub daemon: DaemonSummary,
    /// Streams that fit the search, also those beyond the limit.
    pub n_streams: usize,
    /// Worst first.
    pub streams: Vec<ListedStream>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct StreamsQuery {
    #[serde(default)]
    search: String,
    limit: Option<usize>,
}

impl Streams {
    /// Streams whose name contains `search`.
    pub fn of(site: &Site, search: &str, limit: usize) -> Streams {
        let (n_streams, streams) = summaries(site, search, limit);
        Streams {
            daemon: DaemonSummary::of(site),
            n_streams,
            streams,
        }
    }
}

pub(super) async fn streams(
    State(site): State<Arc<Site>>,
    Parameters(query): Parameters<StreamsQuery>,
) -> Json<Streams> {
    let limit = query.limit.unwrap_or(MAX_STREAMS).min(MAX_STREAMS);
    Json(Streams::of(&site, &query.search, limit))
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct HistoryQuery {
    from_ms: Option<i64>,
    to_ms: Option<i64>,
    points: Option<usize>,
}

/// The answer of `/api/v1/streams/{stream}/history`.
#[derive(Debug, Serialize)]
struct HistoryAnswer {
    #[serde(flatten)]
    history: HistoryView,
    learning: LearningView,
}

pub(super) async fn history(
    State(site): State<Arc<Site>>,
    Path(stream): Path<String>,
    Parameters(query): Parameters<HistoryQuery>,
) -> Response {
    let Some((name, kept)) = site.status.history(&stream) else {
        return problem(StatusCode::NOT_FOUND, "no such stream");
    };
    let range = Range {
        from_ms: query.from_ms.unwrap_or(i64::MIN),
        to_ms: query.to_ms.unwrap_or(i64::MAX),
        max_points: query.points.unwrap_or(USUAL_POINTS).clamp(1, MAX_POINTS),
    };
    if range.from_ms > range.to_ms {
        return problem(StatusCode::BAD_REQUEST, "from_ms is after to_ms");
    }
    // A copy of the points, so that the worker does not wait for the JSON.
    let mut answer = {
        let history = kept.lock();
        HistoryAnswer {
            history: history.view(&name, range),
            learning: history.learning(),
        }
    };
    site.add_units(&mut answer.history);
    Json(answer).into_response()
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct IncidentsQuery {
    stream: Option<String>,
    limit: Option<usize>,
}

/// The answer of `/api/v1/incidents`, and the event `incidents`.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IncidentList {
    /// Incidents kept, also those beyond the limit.
    pub n_incidents: usize,
    /// Open ones first, then worst first.
    pub incidents: Vec<IncidentView>,
}

impl IncidentList {
    /// Incidents of one stream or of all, `limit` at most.
    pub fn of(site: &Site, stream: Option<&str>, limit: usize) -> IncidentList {
        let histories = site.status.histories();
        let wanted = histories
            .iter()
            .filter(|(name, _)| stream.is_none_or(|stream| stream == &**name));
        let views = wanted.flat_map(|(name, history)| history.lock().incident_views(name));
        let mut incidents: Vec<IncidentView> = views.collect();
        incidents.sort_by(worst_first);
        let n_incidents = incidents.len();
        incidents.truncate(limit);
        for incident in &mut incidents {
            site.add_units_to_incident(incident);
        }
        IncidentList {
            n_incidents,
            incidents,
        }
    }
}

fn worst_first(a: &IncidentView, b: &IncidentView) -> Ordering {
    let open = |incident: &IncidentView| incident.end_ms.is_none();
    open(b)
        .cmp(&open(a))
        .then_with(|| b.severity.total_cmp(&a.severity))
        .then_with(|| b.start_ms.cmp(&a.start_ms))
        .then_with(|| a.stream.cmp(&b.stream))
}

pub(super) async fn incidents(
    State(site): State<Arc<Site>>,
    Parameters(query): Parameters<IncidentsQuery>,
) -> Json<IncidentList> {
    let limit = query.limit.unwrap_or(MAX_INCIDENTS).min(MAX_INCIDENTS);
    Json(IncidentList::of(&site, query.stream.as_deref(), limit))
}

/// How many readings were refused for a reason.
#[derive(Debug, Serialize)]
struct RefusalCount {
    reason: &'static str,
    count: u64,
}

/// The last refusal for one reason on one topic.
#[derive(Debug, Serialize)]
struct RefusalView {
    reason: &'static str,
    /// Filter of the input that takes the topic; null where none does, and for single readings.
    input: Option<String>,
    topic: String,
    /// How often on this topic.
    count: u64,
    /// Arrival of the newest, unix ms.
    newest_ms: i64,
    /// Beginning of the payload of the last one that was explained.
    excerpt: String,
    /// The member or record, or what else is known; may be empty.
    detail: String,
    /// The setting that would help.
    advice: String,
}

impl RefusalView {
    fn of(refused: RefusedTopic) -> RefusalView {
        RefusalView {
            reason: refused.last.reason.as_str(),
            input: Some(refused.last.input).filter(|input| !input.is_empty()),
            topic: refused.last.topic,
            count: refused.count,
            newest_ms: refused.newest_ms,
            excerpt: refused.last.excerpt,
            detail: refused.last.detail,
            advice: refused.last.advice,
        }
    }
}

/// Messages of one input.
#[derive(Debug, Serialize)]
struct InputView {
    /// Its topic, as it is subscribed to.
    filter: String,
    messages: u64,
    /// Readings accepted from them.
    readings: u64,
    /// Messages that were refused, or parts of them.
    refused: u64,
    /// Arrival of the newest, unix ms.
    newest_ms: Option<i64>,
    newest_topic: Option<String>,
}

impl InputView {
    fn of(count: InputCount) -> InputView {
        let came = count.messages > 0;
        InputView {
            filter: count.filter,
            messages: count.messages,
            readings: count.readings,
            refused: count.refused,
            newest_ms: came.then_some(count.newest_ms),
            newest_topic: came.then_some(count.newest_topic),
        }
    }
}

/// The answer of `/api/v1/inputs`.
#[derive(Debug, Serialize)]
pub(super) struct InputList {
    /// In the order of the settings.
    inputs: Vec<InputView>,
}

pub(super) async fn inputs(State(site): State<Arc<Site>>) -> Json<InputList> {
    let counts = site.status.inputs().into_iter();
    Json(InputList {
        inputs: counts.map(InputView::of).collect(),
    })
}

/// The answer of `/api/v1/refusals`.
#[derive(Debug, Serialize)]
pub(super) struct RefusalList {
    /// Since the start, by reason, most first; none that never happened.
    counts: Vec<RefusalCount>,
    /// The last by topic and reason, newest first.
    refusals: Vec<RefusalView>,
}

pub(super) async fn refusals(State(site): State<Arc<Site>>) -> Json<RefusalList> {
    let count = |reason: Reject| RefusalCount {
        reason: reason.as_str(),
        count: site.status.metrics.rejected(reason),
    };
    let counts = Reject::ALL.into_iter().map(count);
    let mut counts: Vec<RefusalCount> = counts.filter(|c| c.count > 0).collect();
    counts.sort_by_key(|c| std::cmp::Reverse(c.count));
    let refusals = site.status.refusals().into_iter().take(MAX_REFUSALS);
    Json(RefusalList {
        counts,
        refusals: refusals.map(RefusalView::of).collect(),
    })
}

pub(super) async fn nothing_here() -> Response {
    let text = "nothing is served here: /api/v1/openapi.json lists the addresses; those of instructions need \
                [http] admin = true";
    problem(StatusCode::NOT_FOUND, text)
}
