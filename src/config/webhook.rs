//! `[webhook]`: where incidents are posted to.

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use axum::http::Uri;
use config::Value;

use super::mqtt::{TlsSettings, trust_anchors};
use super::reader::{ProblemReport, Section, any};
use super::secrets::{SecretFiles, secret_file};

/// Edges of incidents that may be posted.
const EVENTS: [&str; 4] = ["opened", "joined", "closed", "judged"];

/// Where incidents are posted to, and how.
#[derive(Clone, PartialEq)]
pub struct WebhookSettings {
    /// The receiver.
    pub url: Uri,
    /// Trust anchors, where the URL is `https`.
    pub tls: Option<TlsSettings>,
    /// Secret of the signatures; empty for none.
    pub secret: String,
    /// Edges of incidents that are posted, by their words.
    pub events: Vec<String>,
    /// Longest time for one attempt.
    pub timeout: Duration,
    /// Longest wait between two attempts.
    pub retry_max: Duration,
}

impl fmt::Debug for WebhookSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WebhookSettings")
            .field("host", &self.url.host())
            .field("events", &self.events)
            .finish_non_exhaustive()
    }
}

/// `files` are those that hold secrets.
pub(super) fn webhook(
    value: Option<Value>,
    files: &mut SecretFiles,
    report: &mut ProblemReport,
) -> Option<WebhookSettings> {
    let mut s = Section::new("webhook", "[webhook]", value, report);
    let url = s.discreet_text("url", "", |text| match text {
        "" => Ok(()),
        text => parse_url(text).map(|_| ()),
    });
    let secret = secret_file(&mut s, "secret_file", "webhook-secret", files).unwrap_or_default();
    let ca_file = s.text("ca_file", "", any);
    let events = s.list_or("events", &["opened", "closed"], |word| {
        let known = EVENTS.contains(&word);
        known
            .then_some(())
            .ok_or_else(|| "some of \"opened\", \"joined\", \"closed\", \"judged\"".to_owned())
    });
    let timeout = s.number("timeout_s", 10.0, 0.1..=60.0);
    let retry_max = s.number("retry_max_s", 60.0, 0.1..=3600.0);
    let url = parse_url(&url).ok();
    let tls = match &url {
        Some(url) if url.scheme_str() == Some("https") => trust_anchors(&mut s, ca_file),
        _ => None,
    };
    s.done();
    Some(WebhookSettings {
        tls: tls.map(|ca_file: PathBuf| TlsSettings {
            ca_file,
            client_auth: None,
        }),
        url: url?,
        secret,
        events,
        timeout: Duration::from_secs_f64(timeout),
        retry_max: Duration::from_secs_f64(retry_max),
    })
}

/// An absolute URL without a user.
fn parse_url(text: &str) -> Result<Uri, String> {
    let allowed = || "http://host:port/path or https://host:port/path, without a user".to_owned();
    let url: Uri = text.parse().map_err(|_| allowed())?;
    let is_web = matches!(url.scheme_str(), Some("http" | "https"));
    let authority = url.authority().map_or("", |authority| authority.as_str());
    if !is_web || authority.contains('@') || url.host().is_none_or(str::is_empty) {
        return Err(allowed());
    }
    Ok(url)
}
