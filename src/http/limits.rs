//! Serves within limits: connections, sizes of heads and bodies, slow clients, hosts, a token.

use std::convert::Infallible;
use std::io;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::{Body, HttpBody};
use axum::extract::{DefaultBodyLimit, Request, State};
use axum::http::{HeaderMap, Response, StatusCode, header};
use axum::middleware::{Next, from_fn_with_state};
use axum::response::IntoResponse;
use base64::Engine as _;
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::task::JoinSet;
use tokio_io_timeout::TimeoutStream;
use tower::ServiceExt;
use tracing::warn;

use super::turns::{Turn, TurnBody, Turns};
use crate::config::HttpSettings;

/// Time for the head of a request, also on a connection that is kept open.
const HEAD_TIME: Duration = Duration::from_secs(15);
/// Time for which a client may take nothing of an answer.
const WRITE_TIME: Duration = Duration::from_secs(30);
/// Longest head of a request: hyper's least buffer.
const HEAD_BYTES: usize = 8192;
/// Longest body of a request: a verdict has a hundred bytes.
const BODY_BYTES: usize = 16 * 1024;
/// Time for the body of a request.
const BODY_TIME: Duration = Duration::from_secs(5);
/// Time within which a connection that is ended gives its room back.
const FREED_TIME: Duration = Duration::from_millis(500);
/// Wait after the system gave no connection, for want of file descriptors.
const ACCEPT_AGAIN: Duration = Duration::from_millis(100);
/// Paths that need no token: probes have none.
const OPEN_PATHS: [&str; 2] = ["/healthz", "/readyz"];

/// Limits of clients.
#[derive(Clone, Debug)]
pub struct Limits {
    connections: usize,
    /// Names under which a browser may ask for us; `None` for any.
    hosts: Option<Vec<String>>,
    tokens: Vec<String>,
    head_time: Duration,
}

impl Limits {
    /// By the settings. A listener on a loopback address answers to the names of this machine's own
    /// loopback only, unless others are listed: a page from elsewhere whose name a hostile name server
    /// turned into 127.0.0.1 is none of them.
    pub fn new(settings: &HttpSettings) -> Limits {
        let is_loopback = settings.listen.is_none_or(|at| at.ip().is_loopback());
        let listed = &settings.allowed_hosts;
        Limits {
            connections: settings.max_connections,
            hosts: (is_loopback || !listed.is_empty()).then(|| listed.clone()),
            tokens: settings.token.iter().cloned().collect(),
            head_time: HEAD_TIME,
        }
    }

    fn knows_host(&self, headers: &HeaderMap) -> bool {
        let Some(listed) = &self.hosts else {
            return true;
        };
        let Some(host) = headers.get(header::HOST) else {
            // Without one no browser asks.
            return true;
        };
        let Ok(host) = host.to_str() else {
            return false;
        };
        let name = match host.strip_prefix('[') {
            Some(v6) => v6.split(']').next().unwrap_or_default(),
            None => host.rsplit_once(':').map_or(host, |(name, _)| name),
        };
        let name = name.to_ascii_lowercase();
        name == "localhost"
            || name.parse::<IpAddr>().is_ok()
            || listed.iter().any(|known| known.eq_ignore_ascii_case(&name))
    }

    fn knows_token(&self, headers: &HeaderMap) -> bool {
        let given = headers.get(header::AUTHORIZATION);
        let given = given.and_then(|value| token_of(value.to_str().ok()?));
        given.is_some_and(|given| self.tokens.iter().any(|token| is_same(token, &given)))
    }
}

/// The token of `Bearer TOKEN`, or of `Basic`, where browsers ask for a password, whoever the user is.
fn token_of(header: &str) -> Option<String> {
    let (scheme, rest) = header.split_once(' ')?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.trim().to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(rest.trim());
    let text = String::from_utf8(decoded.ok()?).ok()?;
    Some(text.split_once(':')?.1.to_owned())
}

/// Compares in a time that does not say where they differ.
pub(super) fn is_same(a: &str, b: &str) -> bool {
    let differ = a
        .bytes()
        .zip(b.bytes())
        .fold(0, |all, (a, b)| all | (a ^ b));
    a.len() == b.len() && differ == 0
}

/// Serves `app` on `listener` for ever.
///
/// # Errors
/// Never; a connection that fails concerns nobody else.
pub async fn serve(listener: TcpListener, app: Router, limits: Limits) -> io::Result<()> {
    let slots = Arc::new(Semaphore::new(limits.connections));
    let head_time = limits.head_time;
    let app = app
        .layer(DefaultBodyLimit::max(BODY_BYTES))
        .layer(from_fn_with_state(Arc::new(limits), guard));
    // With this future its connections end.
    let mut connections = JoinSet::new();
    let mut turns = Turns::default();
    loop {
        while let Some(ended) = connections.try_join_next_with_id() {
            turns.remove(match ended {
                Ok((task, ())) => task,
                Err(error) => error.id(),
            });
        }
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            Err(error) => {
                warn!(%error, "an HTTP connection cannot be taken");
                tokio::time::sleep(ACCEPT_AGAIN).await;
                continue;
            }
        };
        let Some(slot) = slot(&slots, &mut turns).await else {
            refuse(stream).await;
            continue;
        };
        let app = app.clone();
        let turn = Turn::of_client();
        let of_task = turn.clone();
        let task = connections.spawn(async move {
            answer(stream, app, head_time, of_task).await;
            drop(slot);
        });
        turns.add(turn, task);
    }
}

/// Room for one more connection: where there is none, a client that keeps us waiting makes it.
async fn slot(slots: &Arc<Semaphore>, turns: &mut Turns) -> Option<OwnedSemaphorePermit> {
    if let Ok(slot) = slots.clone().try_acquire_owned() {
        return Some(slot);
    }
    if !turns.end_slowest() {
        return None;
    }
    // The task gives its room back as soon as it is dropped.
    let freed = tokio::time::timeout(FREED_TIME, slots.clone().acquire_owned());
    freed.await.ok()?.ok()
}

async fn answer(stream: TcpStream, app: Router, head_time: Duration, turn: Turn) {
    let mut stream = TimeoutStream::new(stream);
    stream.set_write_timeout(Some(WRITE_TIME));
    let service = service_fn(move |request: hyper::Request<Incoming>| {
        let (app, turn) = (app.clone(), turn.clone());
        async move { Ok::<_, Infallible>(answer_one(app, request, turn).await) }
    });
    // A client that goes away or is too slow is no fault of ours.
    let _ = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(head_time)
        .max_buf_size(HEAD_BYTES)
        .serve_connection(TokioIo::new(Box::pin(stream)), service)
        .await;
}

/// Answers one request, once its body is here.
async fn answer_one(app: Router, request: hyper::Request<Incoming>, turn: Turn) -> Response<Body> {
    let (head, body) = request.into_parts();
    let body = Body::new(body);
    let body = match body.is_end_stream() || is_too_long(&head.headers) {
        true => Ok(body),
        false => whole(body).await,
    };
    turn.take();
    let response = match body {
        Ok(body) => oneshot(app, Request::from_parts(head, body)).await,
        Err(status) => status.into_response(),
    };
    response.map(|body| Body::new(TurnBody::of(body, turn)))
}

/// A body in one piece.
async fn whole(body: Body) -> Result<Body, StatusCode> {
    match tokio::time::timeout(BODY_TIME, axum::body::to_bytes(body, BODY_BYTES)).await {
        Ok(Ok(bytes)) => Ok(Body::from(bytes)),
        Ok(Err(_)) => Err(StatusCode::PAYLOAD_TOO_LARGE),
        Err(_) => Err(StatusCode::REQUEST_TIMEOUT),
    }
}

/// The head of a request says that its body is longer than any that is taken.
fn is_too_long(headers: &HeaderMap) -> bool {
    let length = headers.get(header::CONTENT_LENGTH);
    let length = length.and_then(|value| value.to_str().ok()?.parse::<u64>().ok());
    length.is_some_and(|length| length > BODY_BYTES as u64)
}

async fn oneshot(app: Router, request: Request) -> Response<Body> {
    match app.oneshot(request).await {
        Ok(response) => response,
        Err(never) => match never {},
    }
}

/// Says that there is no room, where that can be said without waiting.
async fn refuse(mut stream: TcpStream) {
    let text = "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
    // The buffer of a new connection has room.
    let _ = stream.write_all(text.as_bytes()).await;
}

/// Refuses requests for other hosts, without a token, and with bodies that are too long.
async fn guard(State(limits): State<Arc<Limits>>, request: Request, next: Next) -> Response<Body> {
    let headers = request.headers();
    if !limits.knows_host(headers) {
        let text = "not served under this name: [http] allowed_hosts lists those that are\n";
        return (StatusCode::MISDIRECTED_REQUEST, text).into_response();
    }
    let is_open = OPEN_PATHS.contains(&request.uri().path());
    if !limits.tokens.is_empty() && !is_open && !limits.knows_token(headers) {
        let ask = [(header::WWW_AUTHENTICATE, "Basic realm=\"spiked\"")];
        let text = "a token is needed: Authorization: Bearer TOKEN\n";
        return (StatusCode::UNAUTHORIZED, ask, text).into_response();
    }
    if is_too_long(headers) {
        return StatusCode::PAYLOAD_TOO_LARGE.into_response();
    }
    next.run(request).await
}

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;

    use axum::routing::get;
    use tokio::io::AsyncReadExt;

    use super::*;

    fn limits(listen: &str, allowed: &[&str], token: Option<&str>, connections: usize) -> Limits {
        Limits::new(&HttpSettings {
            listen: listen.parse().ok(),
            max_connections: connections,
            allowed_hosts: allowed.iter().map(|host| (*host).to_owned()).collect(),
            token: token.map(str::to_owned),
            ..HttpSettings::default()
        })
    }

    /// A server whose slots are as many as `limits` say.
    async fn start(limits: Limits) -> SocketAddr {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let app = Router::new()
            .route("/", get(|| async { "hello" }))
            .route("/healthz", get(|| async { "ok" }));
        tokio::spawn(serve(listener, app, limits));
        address
    }

    /// The status line that answers a request.
    async fn ask(address: SocketAddr, request: &str) -> String {
        let mut stream = TcpStream::connect(address).await.unwrap();
        // One that is refused may be closed before all of it is written.
        let _ = stream.write_all(request.as_bytes()).await;
        let mut answer = Vec::new();
        let _ = stream.read_to_end(&mut answer).await;
        let answer = String::from_utf8_lossy(&answer).into_owned();
        answer.lines().next().unwrap_or_default().to_owned()
    }

    async fn status(address: SocketAddr, path: &str, headers: &str) -> String {
        let request = format!("GET {path} HTTP/1.1\r\n{headers}Connection: close\r\n\r\n");
        let line = ask(address, &request).await;
        line.split(' ').nth(1).unwrap_or_default().to_owned()
    }

    #[tokio::test]
    async fn a_loopback_listener_answers_to_its_own_names_and_to_those_listed() {
        let address = start(limits("127.0.0.1:1", &["plant.example"], None, 8)).await;
        for (host, expected) in [
            ("127.0.0.1:9184", "200"),
            ("[::1]:9184", "200"),
            ("LocalHost", "200"),
            ("plant.example:80", "200"),
            ("evil.example", "421"),
            ("127.0.0.1.evil.example", "421"),
        ] {
            let host = format!("Host: {host}\r\n");
            assert_eq!(status(address, "/", &host).await, expected, "{host}");
        }
        let address = start(limits("0.0.0.0:1", &[], None, 8)).await;
        assert_eq!(status(address, "/", "Host: spiked:9184\r\n").await, "200");
    }

    #[tokio::test]
    async fn with_a_token_only_probes_go_without() {
        let address = start(limits("127.0.0.1:1", &[], Some("s3cret"), 8)).await;
        let host = "Host: localhost\r\n";
        assert_eq!(status(address, "/", host).await, "401");
        assert_eq!(status(address, "/healthz", host).await, "200");
        for (credentials, expected) in [
            ("Bearer s3cret", "200"),
            ("Bearer s3cre", "401"),
            ("Bearer wrong!", "401"),
            // me:s3cret
            ("Basic bWU6czNjcmV0", "200"),
            ("Basic !!!", "401"),
        ] {
            let headers = format!("{host}Authorization: {credentials}\r\n");
            assert_eq!(
                status(address, "/", &headers).await,
                expected,
                "{credentials}"
            );
        }
    }

    #[tokio::test]
    async fn heads_and_bodies_that_are_too_long_are_refused() {
        let address = start(limits("127.0.0.1:1", &[], None, 8)).await;
        let long = format!("Host: localhost\r\nX: {}\r\n", "x".repeat(HEAD_BYTES));
        assert_eq!(status(address, "/", &long).await, "431");
        let long = format!("Host: localhost\r\nContent-Length: {}\r\n", BODY_BYTES + 1);
        assert_eq!(status(address, "/", &long).await, "413");
    }

    #[tokio::test]
    async fn a_connection_beyond_the_limit_is_told_so_and_room_comes_back() {
        let address = start(limits("127.0.0.1:1", &[], None, 2)).await;
        let first = TcpStream::connect(address).await.unwrap();
        let _second = TcpStream::connect(address).await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
        let get = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        assert!(ask(address, get).await.contains("503"));
        drop(first);
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert!(ask(address, get).await.contains("200"));
    }

    #[tokio::test]
    async fn slow_heads_bodies_and_silent_clients_make_room_for_one_that_asks() {
        let address = start(limits("127.0.0.1:1", &[], None, 30)).await;
        let mut slow = Vec::new();
        for i in 0..30 {
            let mut stream = TcpStream::connect(address).await.unwrap();
            let part: &[u8] = match i % 3 {
                0 => b"GET / HTTP/1.1\r\nHost: local",
                1 => b"POST / HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\nabc",
                _ => b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
            };
            stream.write_all(part).await.unwrap();
            slow.push(stream);
        }
        let get = "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
        assert!(ask(address, get).await.contains("503"), "none is slow yet");
        tokio::time::sleep(Duration::from_millis(1200)).await;
        for _ in 0..35 {
            let begin = std::time::Instant::now();
            assert!(ask(address, get).await.contains("200"));
            assert!(begin.elapsed() < Duration::from_secs(2));
        }
    }

    #[tokio::test]
    async fn a_client_that_does_not_finish_its_head_is_let_go() {
        let mut limits = limits("127.0.0.1:1", &[], None, 2);
        limits.head_time = Duration::from_millis(200);
        let address = start(limits).await;
        let mut slow = TcpStream::connect(address).await.unwrap();
        slow.write_all(b"GET / HTTP/1.1\r\nHost: local")
            .await
            .unwrap();
        let mut rest = Vec::new();
        let end = slow.read_to_end(&mut rest);
        let _ = tokio::time::timeout(Duration::from_secs(5), end)
            .await
            .expect("let go");
    }
}
