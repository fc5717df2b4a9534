//! Connects to nats-server, and says in plain words why that fails.

use std::error::Error;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use async_nats::{
    Client, ConnectError, ConnectErrorKind, ConnectOptions, Event, ServerError as NatsError,
};
use tokio::sync::mpsc;

use super::CarrierError;
use crate::config::ClusterSettings;
use crate::mqtt::TlsPeer;
use crate::status::lock;

/// Longest wait between two attempts to connect.
const RECONNECT_MAX: Duration = Duration::from_millis(500);
/// The same where somebody has to act: attempts in a row would fill logs and may lock the account.
const REFUSED_WAIT: Duration = Duration::from_secs(10);
/// Time between two attempts whose only end is to say why others fail.
const ASK_EVERY: Duration = Duration::from_secs(2);

/// nats-server, as the other side of TLS.
const SERVER: TlsPeer = TlsPeer {
    name: "the server",
    section: "cluster",
    plain: "nats://",
};

/// Knowledge of a connection that fails.
#[derive(Debug, Default)]
pub(super) struct Obstacle {
    /// Why the last attempt failed, and when that was.
    failed: Mutex<Option<(CarrierError, Instant)>>,
    /// The last refusal of the server while there is a connection.
    denied: Mutex<Option<String>>,
}

impl Obstacle {
    /// Why there is no connection; `None` where that is not known.
    pub(super) fn of_connection(&self) -> Option<CarrierError> {
        lock(&self.failed).as_ref().map(|(error, _)| error.clone())
    }

    /// The last right that the server denied.
    pub(super) fn denied(&self) -> Option<String> {
        lock(&self.denied).clone()
    }

    fn is_refused(&self) -> bool {
        matches!(self.of_connection(), Some(CarrierError::Settings(_)))
    }

    /// Takes note of what the client says. It tells no more than the kind of an error: an attempt beside its
    /// own finds out the rest.
    async fn note(&self, event: Event, settings: &ClusterSettings) {
        match event {
            Event::Connected => *lock(&self.failed) = None,
            Event::ServerError(NatsError::Other(text)) => *lock(&self.denied) = Some(text),
            Event::ClientError(_) => {
                let asked = lock(&self.failed).as_ref().map(|(_, at)| at.elapsed());
                if asked.is_none_or(|ago| ago >= ASK_EVERY) {
                    let failed = attempt(settings).await.err();
                    *lock(&self.failed) = failed.map(|error| (error, Instant::now()));
                }
            }
            _ => {}
        }
    }
}

/// A client that goes on trying to connect, and notes in `obstacle` why it cannot.
pub(super) async fn connect(
    settings: &ClusterSettings,
    name: &str,
    obstacle: &Arc<Obstacle>,
) -> Result<Client, CarrierError> {
    let (known, noted, settings) = (obstacle.clone(), obstacle.clone(), settings.clone());
    let (events, mut told) = mpsc::unbounded_channel();
    let options = options(&settings)
        .await?
        .name(name)
        .max_reconnects(None)
        .retry_on_initial_connect()
        .reconnect_delay_callback(move |attempts| match known.is_refused() {
            true => REFUSED_WAIT,
            false => Duration::from_millis(20 << attempts.min(5)).min(RECONNECT_MAX),
        })
        .event_callback(move |event| {
            // An error means that the client is gone.
            let _ = events.send(event);
            std::future::ready(())
        });
    let client = options.connect(servers(&settings)).await;
    tokio::spawn(async move {
        while let Some(event) = told.recv().await {
            noted.note(event, &settings).await;
        }
    });
    client.map_err(|error| CarrierError::Settings(error.to_string()))
}

/// Connects once and ends the connection.
///
/// # Errors
/// If that fails: in words that say what to change, where it can be known.
pub(super) async fn attempt(settings: &ClusterSettings) -> Result<(), CarrierError> {
    let connected = options(settings).await?.connect(servers(settings)).await;
    connected
        .map(drop)
        .map_err(|error| in_words(settings, &error))
}

fn servers(settings: &ClusterSettings) -> Vec<&str> {
    settings.servers.iter().map(String::as_str).collect()
}

async fn options(settings: &ClusterSettings) -> Result<ConnectOptions, CarrierError> {
    let mut options = ConnectOptions::new()
        .ping_interval(settings.lease / 2)
        .request_timeout(Some(settings.lease));
    if let Some(path) = &settings.credentials_file {
        let read = options.credentials_file(path).await;
        options = read.map_err(|error| {
            let path = path.display();
            CarrierError::Settings(format!("cluster.credentials_file {path}: {error}"))
        })?;
    }
    if !settings.username.is_empty() {
        let (user, password) = (settings.username.clone(), settings.password.clone());
        options = options.user_and_password(user, password);
    }
    if let Some(path) = &settings.ca_file {
        options = options
            .add_root_certificates(path.clone())
            .require_tls(true);
    }
    if let Some((cert, key)) = &settings.client_auth {
        options = options.add_client_certificate(cert.clone(), key.clone());
    }
    Ok(options)
}

fn in_words(settings: &ClusterSettings, error: &ConnectError) -> CarrierError {
    use io::ErrorKind::{BrokenPipe, ConnectionAborted, ConnectionReset, UnexpectedEof};
    match error.kind() {
        ConnectErrorKind::AuthorizationViolation | ConnectErrorKind::Authentication => {
            return CarrierError::Settings(
                "wrong user name, password or credentials (cluster.username, cluster.password_file, \
                 cluster.credentials_file), or not allowed to connect"
                    .to_owned(),
            );
        }
        ConnectErrorKind::Tls => {
            return CarrierError::Settings(format!(
                "cluster.ca_file, client_cert_file or client_key_file cannot be used: {error}"
            ));
        }
        _ => {}
    }
    let is_tls = settings.servers.iter().any(|s| s.starts_with("tls://"));
    let cause = error.source().and_then(|e| e.downcast_ref::<io::Error>());
    let words = cause.and_then(|cause| SERVER.words_of(cause));
    let ended = [
        BrokenPipe,
        ConnectionAborted,
        ConnectionReset,
        UnexpectedEof,
    ];
    match words {
        Some(words) if is_tls => CarrierError::Settings(words),
        Some(words) => CarrierError::Settings(format!(
            "the server wants TLS, tls:// in cluster.url: {words}"
        )),
        None if is_tls
            && settings.client_auth.is_none()
            && cause.is_some_and(|cause| ended.contains(&cause.kind())) =>
        {
            CarrierError::Away(
                "the server ends the connection: perhaps it wants a client certificate \
                 (cluster.client_cert_file and client_key_file)"
                    .to_owned(),
            )
        }
        None => CarrierError::Away(error.to_string()),
    }
}
