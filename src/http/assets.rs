//! Serves the page's files, compiled into the program, under a strict content security policy.

use axum::extract::Path;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};

use crate::charts;

/// No script, style or picture but our own files, no other server, no frame around the page.
const POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' data:; \
     connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const INDEX: &str = include_str!("page/index.html");
const ICON: &str = include_str!("page/icon.svg");
const PAGE_JS: &str = include_str!("page/page.js");
const STREAM_JS: &str = include_str!("page/stream.js");
const PAGE_CSS: &str = include_str!("page/page.css");
const OPENAPI: &str = include_str!("openapi.json");

const SCRIPT: &str = "text/javascript; charset=utf-8";
const STYLE: &str = "text/css; charset=utf-8";

pub(super) async fn index() -> Response {
    let headers = [
        (header::CONTENT_TYPE, "text/html; charset=utf-8"),
        (header::CONTENT_SECURITY_POLICY, POLICY),
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, INDEX).into_response()
}

pub(super) async fn file(Path(name): Path<String>) -> Response {
    let (content_type, text) = match name.as_str() {
        "uplot.js" => (SCRIPT, charts::UPLOT_JS),
        "uplot.css" => (STYLE, charts::UPLOT_CSS),
        "uplot-license.txt" => ("text/plain; charset=utf-8", charts::UPLOT_LICENSE),
        "draw.js" => (SCRIPT, charts::DRAW_JS),
        "style.css" => (STYLE, charts::STYLE_CSS),
        "page.js" => (SCRIPT, PAGE_JS),
        "stream.js" => (SCRIPT, STREAM_JS),
        "page.css" => (STYLE, PAGE_CSS),
        "icon.svg" => ("image/svg+xml", ICON),
        _ => return (StatusCode::NOT_FOUND, "no such file\n").into_response(),
    };
    let headers = [
        (header::CONTENT_TYPE, content_type),
        // A new version of the program must not meet the old one's files.
        (header::CACHE_CONTROL, "no-cache"),
    ];
    (headers, text).into_response()
}

pub(super) async fn openapi() -> Response {
    ([(header::CONTENT_TYPE, "application/json")], OPENAPI).into_response()
}
