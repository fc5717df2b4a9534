//! Reads the parameters of a request, and answers those that cannot be read with the reason.

use axum::Json;
use axum::extract::{FromRequestParts, Query};
use axum::http::StatusCode;
use axum::http::request::Parts;
use axum::response::{IntoResponse, Response};
use serde::de::DeserializeOwned;
use serde_json::json;

/// Parameters of a request; one that is unknown or cannot be read is answered with 400 and the reason.
#[derive(Debug)]
pub(super) struct Parameters<T>(pub T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for Parameters<T> {
    type Rejection = Response;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Parameters<T>, Response> {
        let read = Query::<T>::from_request_parts(parts, state).await;
        let Query(asked) =
            read.map_err(|error| problem(StatusCode::BAD_REQUEST, &in_words(&error.body_text())))?;
        Ok(Parameters(asked))
    }
}

/// The reason in the words of a user of the API.
fn in_words(reason: &str) -> String {
    let reason = reason
        .strip_prefix("Failed to deserialize query string: ")
        .unwrap_or(reason);
    reason
        .replace("unknown field", "unknown parameter")
        .replace("invalid digit found in string", "a whole number is wanted")
        .replace(
            "cannot parse integer from empty string",
            "a whole number is wanted",
        )
}

/// An error as JSON.
pub(super) fn problem(status: StatusCode, text: &str) -> Response {
    (status, Json(json!({ "error": text }))).into_response()
}
