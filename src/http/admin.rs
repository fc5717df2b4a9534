//! Takes instructions from the page (verdicts, mutes, orders to forget) and publishes them on their
//! topics, behind a token.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::{IntoResponse, Response};
use serde::Deserialize;
use serde_json::{Value, json};
use tracing::info;

use super::Site;
use super::limits::is_same;
use super::query::problem;
use crate::metrics::Class;
use crate::mqtt::{Message, Out};
use crate::payload::{InstructionTopic, MAX_MUTE_S};
use crate::row::Ruling;

/// Not `Authorization`, which may carry the token that every request needs.
const TOKEN_HEADER: &str = "x-admin-token";

/// Who may give instructions, and where they go.
#[derive(Clone)]
pub struct Admin {
    /// The token that a request must carry.
    pub token: String,
    /// Messages go here.
    pub out: Out,
    /// `<prefix>/<instance>` of the topics.
    pub base_topic: String,
    /// Token that an instruction must carry on its topic, where `output.feedback` asks for it.
    pub feedback_token: Option<String>,
}

impl std::fmt::Debug for Admin {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Admin")
            .field("base_topic", &self.base_topic)
            .finish_non_exhaustive()
    }
}

#[derive(Debug, Deserialize)]
pub(super) struct VerdictRequest {
    verdict: Ruling,
}

type Body<T> = Result<Json<T>, axum::extract::rejection::JsonRejection>;

pub(super) async fn verdict(
    State(site): State<Arc<Site>>,
    Path((stream, incident)): Path<(String, u64)>,
    headers: HeaderMap,
    body: Body<VerdictRequest>,
) -> Response {
    let (admin, Json(VerdictRequest { verdict })) = match admitted(&site, &headers, body) {
        Ok(admitted) => admitted,
        Err((status, text)) => return problem(status, &text),
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
    admin.publish(&name, InstructionTopic::Feedback, payload)
}

#[derive(Debug, Deserialize)]
pub(super) struct MuteBody {
    for_s: f64,
    channel: Option<String>,
}

pub(super) async fn mute(
    State(site): State<Arc<Site>>,
    Path(stream): Path<String>,
    headers: HeaderMap,
    body: Body<MuteBody>,
) -> Response {
    let (admin, Json(MuteBody { for_s, channel })) = match admitted(&site, &headers, body) {
        Ok(admitted) => admitted,
        Err((status, text)) => return problem(status, &text),
    };
    if !(0.0..=MAX_MUTE_S).contains(&for_s) {
        return problem(StatusCode::BAD_REQUEST, "for_s: 0 to 31622400 seconds");
    }
    let Some((name, _)) = site.status.history(&stream) else {
        return problem(StatusCode::NOT_FOUND, "no such stream");
    };
    let view = site.status.view(&name);
    let is_known = |channel: &String| {
        let mut known = view.iter().flat_map(|view| &view.channels);
        known.any(|known| **known == **channel)
    };
    if !channel.as_ref().is_none_or(is_known) {
        return problem(StatusCode::NOT_FOUND, "no such channel");
    }
    info!(stream = %name, for_s, channel, "mute from the page");
    let mut payload = json!({ "for_s": for_s });
    if let Some(channel) = channel {
        payload["channel"] = channel.into();
    }
    admin.publish(&name, InstructionTopic::Mute, payload)
}

#[derive(Debug, Deserialize)]
pub(super) struct ForgetBody {
    stream: String,
}

pub(super) async fn forget(
    State(site): State<Arc<Site>>,
    Path(stream): Path<String>,
    headers: HeaderMap,
    body: Body<ForgetBody>,
) -> Response {
    let (admin, Json(body)) = match admitted(&site, &headers, body) {
        Ok(admitted) => admitted,
        Err((status, text)) => return problem(status, &text),
    };
    if body.stream != stream {
        let text = "the body must name the stream once more: {\"stream\": NAME}";
        return problem(StatusCode::BAD_REQUEST, text);
    }
    let Some((name, _)) = site.status.history(&stream) else {
        return problem(StatusCode::NOT_FOUND, "no such stream");
    };
    info!(stream = %name, "order to forget from the page");
    admin.publish(&name, InstructionTopic::Forget, json!({ "stream": &*name }))
}

/// Who may give instructions and the request's body; or the answer where there is none of them.
fn admitted<'a, T>(
    site: &'a Site,
    headers: &HeaderMap,
    body: Body<T>,
) -> Result<(&'a Admin, Json<T>), (StatusCode, String)> {
    let Some(admin) = &site.admin else {
        return Err((StatusCode::NOT_FOUND, "[http] admin is not set".to_owned()));
    };
    if !admin.admits(headers) {
        let text = "the token of [http] admin_token_file is needed in the header X-Admin-Token";
        return Err((StatusCode::UNAUTHORIZED, text.to_owned()));
    }
    let body = body.map_err(|error| (StatusCode::BAD_REQUEST, error.body_text()))?;
    Ok((admin, body))
}

impl Admin {
    /// Publishes an instruction as an operator's client would.
    fn publish(&self, stream: &str, topic: InstructionTopic, mut payload: Value) -> Response {
        if let Some(token) = &self.feedback_token {
            payload["token"] = token.as_str().into();
        }
        self.out.push(Message {
            topic: format!("{}/{stream}/{}", self.base_topic, topic.as_str()).into(),
            payload: payload.to_string().into_bytes(),
            qos: 1,
            retain: false,
            class: Class::Anomaly,
            arrived: None,
            kept: None,
        });
        (StatusCode::ACCEPTED, Json(json!({ "published": true }))).into_response()
    }

    /// The request carries the token.
    fn admits(&self, headers: &HeaderMap) -> bool {
        let token = headers.get(TOKEN_HEADER);
        let token = token.and_then(|value| value.to_str().ok());
        token.is_some_and(|token| is_same(token, &self.token))
    }
}
