//! Takes verdicts from the page and publishes them on the feedback topic, behind a token.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::json;
use tracing::info;

use super::Site;
use super::api::problem;
use super::limits::is_same;
use crate::metrics::Class;
use crate::mqtt::{Message, Out};
use crate::row::Ruling;

/// Not `Authorization`, which may carry the token that every request needs.
const TOKEN_HEADER: &str = "x-admin-token";

/// Who may give verdicts, and where they go.
#[derive(Clone)]
pub struct Admin {
    /// The token that a request must carry.
    pub token: String,
    /// Messages go here.
    pub out: Out,
    /// `<prefix>/<instance>` of the topics.
    pub base_topic: String,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin")
            .field("base_topic", &self.base_topic)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct Verdict {
    verdict: Ruling,
}

pub(super) async fn verdict(
    State(site): State<Arc<Site>>,
    Path((stream, incident)): Path<(String, u64)>,
    headers: HeaderMap,
    body: Result<Json<Verdict>, axum::extract::rejection::JsonRejection>,
) -> Response {
    let Some(admin) = &site.admin else {
        return problem(StatusCode::NOT_FOUND, "[http] admin is not set");
    };
    if !admin.admits(&headers) {
        return problem(
            StatusCode::UNAUTHORIZED,
            "the token of [http] admin_token_file is needed in the header X-Admin-Token",
        );
    }
    let verdict = match body {
        Ok(Json(body)) => body.verdict,
        Err(error) => return problem(StatusCode::BAD_REQUEST, &error.body_text()),
    };
    let Some((name, history)) = site.status.history(&stream) else {
        return problem(StatusCode::NOT_FOUND, "no such stream");
    };
    let records = history.lock();
    let known = records.incidents().iter();
    if !known.into_iter().any(|r| r.incident.id == incident) {
        return problem(StatusCode::NOT_FOUND, "no such incident");
    }
    drop(records);
    info!(stream = %name, incident, verdict = verdict.as_str(), "verdict from the page");
    let payload = json!({ "incident": incident, "verdict": verdict.as_str() });
    admin.out.push(Message {
        topic: format!("{}/{name}/feedback", admin.base_topic).into(),
        payload: payload.to_string().into_bytes(),
        qos: 1,
        retain: false,
        class: Class::Anomaly,
        arrived: None,
        kept: None,
    });
    (StatusCode::ACCEPTED, Json(json!({ "published": true }))).into_response()
}

impl Admin {
    /// The request carries the token.
    fn admits(&self, headers: &HeaderMap) -> bool {
        let token = headers.get(TOKEN_HEADER);
        let token = token.and_then(|value| value.to_str().ok());
        token.is_some_and(|token| is_same(token, &self.token))
    }
}
