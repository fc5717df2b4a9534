//! Incidents posted to a receiver that fails, is away and comes back, over a kill of the daemon.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use aws_lc_rs::hmac;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use tokio_rustls::rustls::pki_types::pem::PemObject;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::authority::Authority;
use crate::kit::{Broker, Daemon, installed, wait_for};

const SECRET: &str = "a secret of the receiver";

/// A request that the receiver was sent: headers in small letters, and the body.
struct Post {
    head: String,
    body: String,
}

impl Post {
    fn header(&self, name: &str) -> &str {
        let line = self.head.lines().find_map(|line| line.strip_prefix(name));
        line.and_then(|rest| rest.strip_prefix(": "))
            .unwrap_or_default()
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap()
    }

    fn is_signed(&self) -> bool {
        let (id, seconds) = (self.header("webhook-id"), self.header("webhook-timestamp"));
        let signed = format!("{id}.{seconds}.{}", self.body);
        let signature = self
            .header("webhook-signature")
            .strip_prefix("v1,")
            .unwrap();
        let key = hmac::Key::new(hmac::HMAC_SHA256, SECRET.as_bytes());
        let signature = BASE64_STANDARD.decode(signature).unwrap();
        hmac::verify(&key, signed.as_bytes(), &signature).is_ok()
    }
}

/// A receiver that answers with the code in `code`, and hands on what it got; by TLS where it has a
/// certificate.
fn receiver(
    listener: TcpListener,
    code: Arc<AtomicU16>,
    tls: Option<Arc<ServerConfig>>,
) -> Receiver<Post> {
    let (sent, posts) = channel();
    std::thread::spawn(move || {
        for socket in listener.incoming().map_while(Result::ok) {
            let code = code.load(Ordering::SeqCst);
            let post = match &tls {
                None => take(socket, code),
                Some(tls) => take(secured(socket, tls), code),
            };
            if post.is_some_and(|post| sent.send(post).is_err()) {
                return;
            }
        }
    });
    posts
}

fn secured(socket: TcpStream, tls: &Arc<ServerConfig>) -> StreamOwned<ServerConnection, TcpStream> {
    StreamOwned::new(ServerConnection::new(tls.clone()).unwrap(), socket)
}

/// One request and its answer; none where the client goes before, as it does without trust.
fn take(socket: impl Read + Write, code: u16) -> Option<Post> {
    let mut reader = BufReader::new(socket);
    let mut head = String::new();
    while reader.read_line(&mut head).ok()? > 2 {}
    let lines = head.lines().map(|line| match line.split_once(": ") {
        Some((name, value)) => format!("{}: {value}", name.to_lowercase()),
        None => line.to_owned(),
    });
    let mut post = Post {
        head: lines.collect::<Vec<_>>().join("\n"),
        body: String::new(),
    };
    let length = post.header("content-length").parse().unwrap_or(0);
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    post.body = String::from_utf8(body).ok()?;
    let answer = format!("HTTP/1.1 {code} X\r\ncontent-length: 0\r\n\r\n");
    reader.get_mut().write_all(answer.as_bytes()).ok()?;
    reader.get_mut().flush().ok()?;
    Some(post)
}

fn certificate(authority: &Authority, name: &str) -> Arc<ServerConfig> {
    let chain = CertificateDer::from_pem_file(authority.path(&format!("{name}.crt"))).unwrap();
    let key = PrivateKeyDer::from_pem_file(authority.path(&format!("{name}.key"))).unwrap();
    let config = ServerConfig::builder().with_no_client_auth();
    Arc::new(config.with_single_cert(vec![chain], key).unwrap())
}

/// Rows of one channel a second apart, from number `from` on, around `level`.
fn run(broker: &Broker, from: u64, n: u64, level: f64) {
    let mut publisher = broker.publisher("plant/press/force", 1);
    for row in from..from + n {
        let value = (row * 7919 % 1009) as f64 / 1009.0 + level;
        let ts = 1_700_000_000_000 + 1000 * row;
        publisher.line(&format!("{{\"value\":{value},\"ts\":{ts}}}"));
    }
    publisher.finish();
}

#[test]
fn a_receiver_gets_each_incident_signed_in_order_though_it_failed_and_the_daemon_was_killed() {
    if !installed(&["mosquitto", "mosquitto_pub"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let code = Arc::new(AtomicU16::new(503));
    let posts = receiver(listener, code.clone(), None);
    let secret = dir.path().join("secret");
    std::fs::write(&secret, SECRET).unwrap();
    let settings = format!(
        "[stream]\nalign = \"per-reading\"\n[webhook]\nurl = \"http://127.0.0.1:{port}/alarm?k=1\"\n\
         secret_file = \"{}\"\nretry_max_s = 0.5\ntimeout_s = 2.0\n",
        secret.display()
    );
    let mut daemon = Daemon::start(&broker, dir.path(), &settings);
    run(&broker, 1, 800, 0.0);
    run(&broker, 801, 60, 12.0);
    run(&broker, 861, 300, 0.0);

    // It fails: the same message again and again.
    let next = || posts.recv_timeout(Duration::from_secs(20)).expect("a POST");
    let first = next();
    assert!(
        first.head.starts_with("POST /alarm?k=1 HTTP/1.1"),
        "{}",
        first.head
    );
    assert_eq!(first.json()["event"], "opened");
    assert_eq!(first.header("content-type"), "application/json");
    assert!(first.is_signed());
    let again = next();
    assert_eq!(again.header("webhook-id"), first.header("webhook-id"));
    assert!(daemon.metric("spiked_webhook_attempts_total{result=\"failed\"}") >= 1.0);
    wait_for("the incident ends", 20, || {
        daemon.metric("spiked_queue_depth{queue=\"webhook\"}") >= 2.0
    });
    // Messages that wait are on disk.
    wait_for("it is kept", 10, || {
        daemon.metric("spiked_outbox_persisted_messages") >= 2.0
    });
    daemon.signal("KILL");
    wait_for("the end", 10, || !daemon.is_alive());
    drop(daemon);

    code.store(204, Ordering::SeqCst);
    while posts.try_recv().is_ok() {}
    let daemon = Daemon::start(&broker, dir.path(), &settings);
    let opened = next();
    assert_eq!(opened.header("webhook-id"), first.header("webhook-id"));
    assert!(opened.is_signed());
    let closed = next();
    assert_eq!(
        (&closed.json()["event"], &closed.json()["incident"]),
        (&"closed".into(), &1.into())
    );
    wait_for("nothing is kept any more", 10, || {
        daemon.metric("spiked_outbox_persisted_messages") == 0.0
    });
    assert!(daemon.metric("spiked_webhook_attempts_total{result=\"delivered\"}") >= 2.0);
    assert_eq!(daemon.stop().0, 0);
}

#[test]
fn a_receiver_by_tls_with_an_authority_of_its_own_is_posted_to_and_a_stranger_is_not() {
    if !installed(&["mosquitto", "mosquitto_pub", "openssl"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let ours = Authority::new(dir.path(), "ours");
    let other = Authority::new(dir.path(), "other");
    ours.sign("receiver", "DNS:localhost,IP:127.0.0.1", 30);
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let tls = certificate(&ours, "receiver");
    let posts = receiver(listener, Arc::new(AtomicU16::new(200)), Some(tls));
    let settings = |authority: &Authority| {
        format!(
            "[stream]\nalign = \"per-reading\"\n[webhook]\nurl = \"https://localhost:{port}/\"\n\
             ca_file = \"{}\"\nretry_max_s = 0.5\n",
            authority.path("ca.crt")
        )
    };
    let daemon = Daemon::start(&broker, dir.path(), &settings(&other));
    run(&broker, 1, 800, 0.0);
    run(&broker, 801, 60, 12.0);
    wait_for("an attempt without trust", 20, || {
        daemon.metric("spiked_webhook_attempts_total{result=\"failed\"}") >= 1.0
    });
    assert_eq!(daemon.stop().0, 0);
    let log = std::fs::read_to_string(dir.path().join("spiked.log")).unwrap();
    let said = "of no authority that webhook.ca_file trusts";
    assert_eq!(log.matches(said).count(), 1, "{log}");
    assert!(posts.try_recv().is_err(), "nothing was told to a stranger");

    let daemon = Daemon::start(&broker, dir.path(), &settings(&ours));
    let post = posts.recv_timeout(Duration::from_secs(20)).expect("a POST");
    assert_eq!(post.json()["event"], "opened");
    assert_eq!(daemon.stop().0, 0);
}
