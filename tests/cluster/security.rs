//! TLS, client certificates and passwords against a nats-server with an authority of its own.

use std::path::Path;
use std::process::Output;
use std::time::Duration;

use crate::authority::Authority;
use crate::plant::{Daemon, free_port, http_get, spiked, wait_until};
use crate::server::{Server, have_server};

/// A nats-server with further settings.
fn server(dir: &Path, name: &str, more: &str) -> Server {
    let (port, mqtt) = (free_port(), free_port());
    Server::configured(dir, name, port, mqtt, &text(dir, name, [port, mqtt], more))
}

fn text(dir: &Path, name: &str, [port, mqtt]: [u16; 2], more: &str) -> String {
    format!(
        "server_name: {name}\nlisten: 127.0.0.1:{port}\n\
         jetstream {{ store_dir: \"{}/{name}\" }}\n\
         mqtt {{ listen: 127.0.0.1:{mqtt} }}\n{more}\n",
        dir.display()
    )
}

/// Settings of a server that speaks TLS with the certificate `server`.
fn tls(authority: &Authority, more: &str) -> String {
    format!(
        "tls {{ cert_file: \"{}\", key_file: \"{}\", ca_file: \"{}\", {more} }}",
        authority.path("server.crt"),
        authority.path("server.key"),
        authority.path("ca.crt")
    )
}

/// A command that asks the server, with these settings of `[cluster]`.
fn ask(question: &[&str], settings: &[(&str, &str)]) -> Output {
    let mut command = spiked();
    command.args(question);
    for (key, value) in settings {
        command.args(["--set", &format!("cluster.{key}={value}")]);
    }
    command.output().unwrap()
}

/// `check --connect` with these settings.
pub fn check(settings: &[(&str, &str)]) -> Output {
    ask(&["check", "--connect", "--http-listen", ""], settings)
}

/// Complaints in one line, which `check --connect` and `cluster status` have in common.
pub fn complaint(settings: &[(&str, &str)]) -> String {
    let said = [check(settings), ask(&["cluster", "status"], settings)].map(|output| {
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(said.trim_end().lines().count(), 1, "one line: {said}");
        said
    });
    let [checked, status] = said;
    let words = status.trim_start_matches("spiked: ").trim_end();
    assert!(checked.contains(words), "{checked:?} {status:?}");
    checked
}

#[test]
fn each_misuse_of_tls_and_passwords_is_one_clear_line_and_the_right_use_connects() {
    if !have_server() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let ours = Authority::new(dir.path(), "ours");
    let other = Authority::new(dir.path(), "other");
    ours.sign("server", "DNS:localhost,IP:127.0.0.1", 30);
    ours.sign("client", "DNS:client", 30);
    other.sign("stranger", "DNS:stranger", 30);
    let (ca, wrong_ca) = (ours.path("ca.crt"), other.path("ca.crt"));
    let ca = ("ca_file", ca.as_str());

    let open = server(dir.path(), "open", &tls(&ours, ""));
    let url = format!("tls://localhost:{}", open.port);
    let well = check(&[("url", &url), ca]);
    assert!(well.status.success(), "{well:?}");
    for wrong in [vec![("ca_file", wrong_ca.as_str())], vec![]] {
        let with = [vec![("url", url.as_str())], wrong].concat();
        let said = complaint(&with);
        let words = "of no authority that cluster.ca_file trusts";
        assert!(said.contains(words), "{said}");
    }
    let plain_url = format!("nats://localhost:{}", open.port);
    let said = complaint(&[("url", &plain_url)]);
    assert!(said.contains("wants TLS, tls:// in cluster.url"), "{said}");

    let strict = server(dir.path(), "strict", &tls(&ours, "verify: true"));
    let url = format!("tls://localhost:{}", strict.port);
    let said = complaint(&[("url", &url), ca]);
    assert!(said.contains("wants a client certificate"), "{said}");
    assert!(said.contains("cluster.client_cert_file"), "{said}");
    let (crt, key) = (ours.path("client.crt"), ours.path("client.key"));
    let with = [("client_cert_file", &*crt), ("client_key_file", &*key)];
    let well = check(&[&[("url", &*url), ca], &with[..]].concat());
    assert!(well.status.success(), "{well:?}");
    let (crt, key) = (other.path("stranger.crt"), other.path("stranger.key"));
    let with = [("client_cert_file", &*crt), ("client_key_file", &*key)];
    let said = complaint(&[&[("url", &*url), ca], &with[..]].concat());
    let words = "does not take our client certificate";
    assert!(said.contains(words), "{said}");

    let users = "authorization { user: spiked, password: right }";
    let users = server(dir.path(), "users", users);
    let url = format!("tls://localhost:{}", users.port);
    let said = complaint(&[("url", &url), ca]);
    let words = "does not speak TLS at this port: nats:// in cluster.url";
    assert!(said.contains(words), "{said}");
    let secret = dir.path().join("secret");
    let with = [
        ("url", users.url()),
        ("username", "spiked".to_owned()),
        ("password_file", secret.display().to_string()),
    ];
    let with = with.each_ref().map(|(key, value)| (*key, value.as_str()));
    std::fs::write(&secret, "right\n").unwrap();
    let well = check(&with);
    assert!(well.status.success(), "{well:?}");
    std::fs::write(&secret, "wrong\n").unwrap();
    for refused in [&with[..], &with[..1]] {
        let said = complaint(refused);
        assert!(said.contains("wrong user name, password"), "{said}");
        assert!(said.contains("cluster.password_file"), "{said}");
    }
}

#[test]
fn a_worker_with_a_wrong_password_says_so_once_and_joins_when_it_is_right() {
    if !have_server() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let user = |password: &str| format!("authorization {{ user: spiked, password: {password} }}");
    let mut server = server(dir.path(), "users", &user("other"));
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "right\n").unwrap();
    let settings = format!(
        "[cluster]\nurl = \"{}\"\nname = \"t\"\nlease_s = 1.0\nusername = \"spiked\"\n\
         password_file = \"{}\"\n",
        server.url(),
        secret.display()
    );
    let mut worker = Daemon::start(dir.path(), 1, &settings);
    let words = "wrong user name, password or credentials (cluster.username";
    let is_said = || {
        let answer = http_get(worker.http, "/readyz");
        answer.is_some_and(|(status, text)| status == 503 && text.contains(words))
    };
    wait_until("the worker says why", Duration::from_secs(20), is_said);
    server.kill();
    let right = text(
        dir.path(),
        "users",
        [server.port, server.mqtt],
        &user("right"),
    );
    std::fs::write(dir.path().join("users.conf"), right).unwrap();
    server.start_again();
    wait_until("the worker is ready", Duration::from_secs(60), || {
        http_get(worker.http, "/readyz").is_some_and(|(status, _)| status == 200)
    });
    worker.stop();
    let log = worker.log();
    assert_eq!(log.matches(words).count(), 1, "{log}");
    assert!(!log.contains("async_nats"), "{log}");
}
