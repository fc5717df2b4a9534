//! Serves what watches the daemon: /metrics for Prometheus, /healthz and /readyz for a supervisor.

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use super::Site;

pub(super) async fn metrics(State(site): State<Arc<Site>>) -> Response {
    match site.status.scrape() {
        Ok(text) => {
            let content_type = "text/plain; version=0.0.4; charset=utf-8";
            ([(header::CONTENT_TYPE, content_type)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Alive: every thread makes progress.
pub(super) async fn healthz(State(site): State<Arc<Site>>) -> Response {
    let health = site.status.health();
    answer(health.alive, &health.reasons)
}

/// Ready: connected, subscribed, learning, storing.
pub(super) async fn readyz(State(site): State<Arc<Site>>) -> Response {
    let health = site.status.health();
    match site.status.remark() {
        Some(remark) if health.ready => (StatusCode::OK, format!("ok\n{remark}\n")).into_response(),
        _ => answer(health.ready, &health.reasons),
    }
}

fn answer(well: bool, reasons: &[String]) -> Response {
    if well {
        (StatusCode::OK, "ok\n".to_owned()).into_response()
    } else {
        let text = reasons.join("\n") + "\n";
        (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
    }
}
