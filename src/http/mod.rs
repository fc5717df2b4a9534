//! Serves the live page, its API, /metrics, /healthz and /readyz.
//!
//! | file | does |
//! |---|---|
//! | `assets` | the page's files, compiled in, under a strict content security policy |
//! | `api` | `/api/v1`: streams, histories, incidents, refusals as JSON |
//! | `summary` | one stream in a few figures, and the order by trouble |
//! | `events` | `/api/v1/events`: the same as server-sent events while it happens |
//! | `admin` | verdicts and mutes from the page, behind `[http] admin` and a token |
//! | `probes` | /metrics, /healthz, /readyz |
//! | `limits` | connections, hosts, the token for everything, slow clients |
//! | `turns` | whose turn it is on a connection: clients that keep us waiting make room |
//! | `openapi.json` | the API for machines; a test holds it to what is served |
//!
//! The room reads [`Status`] and writes nothing but operators' instructions to the outbox.

mod admin;
mod api;
mod assets;
mod events;
mod limits;
mod probes;
mod query;
mod summary;
#[cfg(test)]
mod tests;
mod turns;

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

use axum::Router;
use axum::extract::Request;
use axum::http::{HeaderValue, header};
use axum::middleware::{Next, from_fn};
use axum::response::Response;
use axum::routing::{get, post};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tracing::error;

pub use self::admin::Admin;
pub use self::limits::Limits;
use crate::config::{Settings, Unit};
use crate::history::{HistoryView, IncidentView};
use crate::status::Status;

/// Parts that the handlers work with.
#[derive(Debug)]
pub struct Site {
    /// Health, views and histories.
    pub status: Arc<Status>,
    /// Where verdicts go; `None` unless `[http] admin` is set.
    pub admin: Option<Admin>,
    /// Rows before a stream is judged.
    pub warm_up_rows: u64,
    /// Units of channels: the first that fits counts.
    pub units: Vec<Unit>,
    /// Viewers that are sent events now.
    viewers: AtomicUsize,
}

impl Site {
    /// Nobody looks yet.
    pub fn new(status: Arc<Status>, settings: &Settings, admin: Option<Admin>) -> Site {
        Site {
            status,
            admin,
            warm_up_rows: settings.stream_params().engine.get().detect.warm_up_rows,
            units: settings.units.clone(),
            viewers: AtomicUsize::new(0),
        }
    }
}

impl Site {
    /// The unit of a channel; empty where none is set.
    fn unit(&self, stream: &str, channel: &str) -> String {
        let fits = self.units.iter().find(|u| u.rule.fits(stream, channel));
        fits.map_or_else(String::new, |unit| unit.unit.clone())
    }

    fn add_units_to_incident(&self, incident: &mut IncidentView) {
        for share in &mut incident.channels {
            share.unit = self.unit(&incident.stream, &share.name);
        }
    }

    fn add_units(&self, history: &mut HistoryView) {
        for channel in &mut history.channels {
            channel.unit = self.unit(&history.stream, &channel.name);
        }
        for incident in &mut history.incidents {
            self.add_units_to_incident(incident);
        }
    }
}

/// Serves on `listener` until the task is aborted.
pub fn start(listener: TcpListener, limits: Limits, site: Site) -> JoinHandle<()> {
    let app = router(Arc::new(site));
    tokio::spawn(async move {
        if let Err(error) = limits::serve(listener, app, limits).await {
            error!(%error, "the HTTP listener has failed");
        }
    })
}

fn router(site: Arc<Site>) -> Router {
    let mut app = Router::new()
        .route("/", get(assets::index))
        .route("/assets/{file}", get(assets::file))
        .route("/api/v1/openapi.json", get(assets::openapi))
        .route("/api/v1/streams", get(api::streams))
        .route("/api/v1/streams/{stream}/history", get(api::history))
        .route("/api/v1/incidents", get(api::incidents))
        .route("/api/v1/inputs", get(api::inputs))
        .route("/api/v1/refusals", get(api::refusals))
        .route("/api/v1/events", get(events::events))
        .route("/metrics", get(probes::metrics))
        .route("/healthz", get(probes::healthz))
        .route("/readyz", get(probes::readyz));
    if site.admin.is_some() {
        let verdict = "/api/v1/streams/{stream}/incidents/{incident}/verdict";
        app = app
            .route(verdict, post(admin::verdict))
            .route("/api/v1/streams/{stream}/mute", post(admin::mute))
            .route("/api/v1/streams/{stream}/forget", post(admin::forget));
    }
    app.fallback(api::nothing_here)
        .layer(from_fn(no_sniffing))
        .with_state(site)
}

/// Nothing served is to be taken for another type, or shown in another site's frame.
async fn no_sniffing(request: Request, next: Next) -> Response {
    let mut response = next.run(request).await;
    let headers = response.headers_mut();
    let nosniff = HeaderValue::from_static("nosniff");
    headers.insert(header::X_CONTENT_TYPE_OPTIONS, nosniff);
    let same_origin = HeaderValue::from_static("no-referrer");
    headers.insert(header::REFERRER_POLICY, same_origin);
    response
}
