//! A nats-server that takes no user but those whose credentials (`.creds`) an operator's account has signed.

use std::path::Path;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use nkeys::KeyPair;
use serde_json::{Value, json};

use crate::plant::{Daemon, free_port, http_get, wait_until};
use crate::security::{check, complaint};
use crate::server::{Server, have_server};

/// An operator, its account with JetStream and the account of the server itself.
struct Operator {
    operator: KeyPair,
    account: KeyPair,
    system: KeyPair,
}

impl Operator {
    fn new() -> Operator {
        Operator {
            operator: KeyPair::new_operator(),
            account: KeyPair::new_account(),
            system: KeyPair::new_account(),
        }
    }

    /// A server that trusts the operator.
    fn server(&self, dir: &Path) -> Server {
        let (port, mqtt) = (free_port(), free_port());
        let limits = json!({
            "subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": true,
            "conn": -1, "leaf": -1, "mem_storage": -1, "disk_storage": -1, "streams": -1, "consumer": -1,
        });
        let account = json!({"type": "account", "version": 2, "limits": limits});
        let limits = json!({"subs": -1, "data": -1, "payload": -1, "conn": -1});
        let system = json!({"type": "account", "version": 2, "limits": limits});
        let operator = json!({"type": "operator", "version": 2});
        let text = format!(
            "server_name: signed\nlisten: 127.0.0.1:{port}\n\
             jetstream {{ store_dir: \"{}/signed\" }}\nmqtt {{ listen: 127.0.0.1:{mqtt} }}\n\
             operator: {}\nsystem_account: {}\nresolver: MEMORY\n\
             resolver_preload {{\n{}: {}\n{}: {}\n}}\n",
            dir.display(),
            token(&self.operator, &self.operator, &operator),
            self.system.public_key(),
            self.account.public_key(),
            token(&self.operator, &self.account, &account),
            self.system.public_key(),
            token(&self.operator, &self.system, &system),
        );
        Server::configured(dir, "signed", port, mqtt, &text)
    }

    /// Writes the credentials of a user of the account of `issuer`.
    fn write_credentials(issuer: &KeyPair, path: &Path) {
        let user = KeyPair::new_user();
        let claims = json!({"type": "user", "version": 2, "subs": -1, "data": -1, "payload": -1});
        let text = format!(
            "-----BEGIN NATS USER JWT-----\n{}\n------END NATS USER JWT------\n\n\
             -----BEGIN USER NKEY SEED-----\n{}\n------END USER NKEY SEED------\n",
            token(issuer, &user, &claims),
            user.seed().unwrap()
        );
        std::fs::write(path, text).unwrap();
    }
}

/// A JSON web token of `subject`, signed by `issuer`, as nats-server reads it.
fn token(issuer: &KeyPair, subject: &KeyPair, claims: &Value) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let header = part(&json!({"typ": "JWT", "alg": "ed25519-nkey"}));
    let body = part(&json!({
        "jti": subject.public_key(), "iat": 1_700_000_000, "iss": issuer.public_key(),
        "name": "test", "sub": subject.public_key(), "nats": claims,
    }));
    let signature = issuer.sign(format!("{header}.{body}").as_bytes()).unwrap();
    format!("{header}.{body}.{}", URL_SAFE_NO_PAD.encode(signature))
}

#[test]
fn a_worker_with_credentials_of_the_account_joins_and_each_misuse_is_one_clear_line() {
    if !have_server() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let ours = Operator::new();
    let server = ours.server(dir.path());
    let url = server.url();
    let path = |name: &str| dir.path().join(name);
    let file = |name: &str| path(name).display().to_string();
    Operator::write_credentials(&ours.account, &path("right.creds"));
    Operator::write_credentials(&KeyPair::new_account(), &path("stranger.creds"));
    std::fs::write(path("empty.creds"), "nothing\n").unwrap();

    let with = |name: &str| check(&[("url", &url), ("credentials_file", &file(name))]);
    let well = with("right.creds");
    assert!(well.status.success(), "{well:?}");
    let said = complaint(&[("url", &url)]);
    assert!(said.contains("cluster.credentials_file"), "{said}");
    for (name, words) in [
        ("stranger.creds", "wrong user name, password or credentials"),
        ("empty.creds", "empty.creds"),
    ] {
        let said = complaint(&[("url", &url), ("credentials_file", &file(name))]);
        assert!(said.contains(words), "{said}");
        assert!(said.contains("cluster.credentials_file"), "{said}");
    }
    let refused = with("missing.creds");
    assert_eq!(refused.status.code(), Some(64), "{refused:?}");
    let said = String::from_utf8_lossy(&refused.stderr);
    let words = "cluster.credentials_file: a readable file";
    assert!(said.contains(words), "{said}");

    let settings = format!(
        "[cluster]\nurl = \"{url}\"\nname = \"t\"\nlease_s = 1.0\ncredentials_file = \"{}\"\n",
        file("right.creds")
    );
    let mut worker = Daemon::start(dir.path(), 1, &settings);
    wait_until("the worker is ready", Duration::from_secs(60), || {
        http_get(worker.http, "/readyz").is_some_and(|(status, _)| status == 200)
    });
    worker.stop();
}
