//! /metrics, /healthz, /readyz, /streams and a small live page.

mod limits;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{Html, IntoResponse, Response};
use axum::routing::get;
use serde_json::{Map, Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tracing::error;

pub use self::limits::Limits;
use crate::decode::RefusedTopic;
use crate::status::{Status, StreamView};

/// Streams shown by /streams at most.
const MAX_STREAMS: usize = 500;

/// Refusals shown by /streams at most, the newest first.
const MAX_REFUSALS: usize = 50;

/// Serves on `listener` until the task is aborted.
pub fn start(listener: TcpListener, limits: Limits, shared: Arc<Status>) -> JoinHandle<()> {
    let app = Router::new()
        .route("/", get(page))
        .route("/streams", get(streams))
        .route("/metrics", get(metrics))
        .route("/healthz", get(healthz))
        .route("/readyz", get(readyz))
        .with_state(shared);
    tokio::spawn(async move {
        if let Err(error) = limits::serve(listener, app, limits).await {
            error!(%error, "the HTTP listener has failed");
        }
    })
}

async fn page() -> Html<&'static str> {
    Html(include_str!("live.html"))
}

async fn metrics(State(shared): State<Arc<Status>>) -> Response {
    match shared.scrape() {
        Ok(text) => {
            let content_type = "text/plain; version=0.0.4; charset=utf-8";
            ([(header::CONTENT_TYPE, content_type)], text).into_response()
        }
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, error.to_string()).into_response(),
    }
}

/// Alive: every thread makes progress.
async fn healthz(State(shared): State<Arc<Status>>) -> Response {
    let health = shared.health();
    answer(health.alive, &health.reasons)
}

/// Ready: connected, subscribed, learning, storing.
async fn readyz(State(shared): State<Arc<Status>>) -> Response {
    let health = shared.health();
    match shared.remark() {
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

async fn streams(State(shared): State<Arc<Status>>) -> Response {
    let views = shared.views();
    let n_streams = views.len();
    let list: Vec<Value> = views
        .iter()
        .take(MAX_STREAMS)
        .map(|(name, view)| stream_json(name, view))
        .collect();
    let health = shared.health();
    let body = json!({
        "uptime_s": shared.uptime().as_secs(),
        "ready": health.ready,
        "reasons": health.reasons,
        "n_streams": n_streams,
        "streams": list,
        "refusals": shared.refusals().iter().take(MAX_REFUSALS).map(refusal_json).collect::<Vec<_>>(),
    });
    let content_type = [(header::CONTENT_TYPE, "application/json")];
    (content_type, body.to_string()).into_response()
}

fn refusal_json(refused: &RefusedTopic) -> Value {
    let last = &refused.last;
    json!({
        "topic": last.topic,
        "reason": last.reason.as_str(),
        "count": refused.count,
        "newest": refused.newest_ms,
        "payload": last.excerpt,
        "detail": last.detail,
        "stamp": last.stamp_ms,
        "arrival": last.arrival_ms,
        "advice": last.advice,
    })
}

/// A number, or null where it is none: JSON has no NaN.
fn number(x: f64) -> Value {
    serde_json::Number::from_f64(x).map_or(Value::Null, Value::Number)
}

fn stream_json(name: &str, view: &StreamView) -> Value {
    let mut channels = Map::new();
    if let Some(last) = &view.last {
        for (name, channel) in view.channels.iter().zip(&last.channels) {
            let figures = json!({
                "value": number(channel.value),
                "mean": number(channel.mean),
                "sd": number(channel.sd),
                "score": number(channel.score),
            });
            channels.insert(name.to_string(), figures);
        }
    }
    let last = view.last.as_ref();
    json!({
        "stream": name,
        "ts": last.map(|last| last.ts_ms),
        "score": last.map_or(Value::Null, |last| number(last.score)),
        "anomaly": last.is_some_and(|last| last.anomaly),
        "kind": last.and_then(|last| last.kind).map(|kind| kind.as_str()),
        "warming_up": last.is_none_or(|last| last.warming_up),
        "readings": view.readings,
        "rows": view.stats.rows,
        "log_density": number(view.stats.log_density),
        "rmse_ratio": number(view.stats.rmse_ratio),
        "coverage90": number(view.stats.coverage90),
        "channels": channels,
    })
}
