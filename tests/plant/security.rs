//! TLS, client certificates, passwords and rights against a mosquitto with an authority of its own.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use crate::authority::Authority;
use crate::kit::{Broker, free_port, installed};

/// A mosquitto by TLS with the server certificate NAME; `more` goes into its settings.
fn tls_broker(dir: &Path, authority: &Authority, name: &str, more: &str) -> Broker {
    let port = free_port();
    let text = format!(
        "user root\nlistener {port} 127.0.0.1\nallow_anonymous true\ncafile {}\ncertfile {}\nkeyfile {}\n\
         log_type error\n{more}",
        authority.path("ca.crt"),
        authority.path(&format!("{name}.crt")),
        authority.path(&format!("{name}.key")),
    );
    let folder = dir.join(format!("broker-{port}"));
    std::fs::create_dir(&folder).unwrap();
    Broker::configured(&folder, port, &text)
}

/// `spiked check --connect` with these settings.
fn check(url: &str, settings: &[(&str, &str)]) -> Output {
    let state = tempfile::tempdir().unwrap();
    let mut command = Command::new(env!("CARGO_BIN_EXE_spiked"));
    command
        .env_remove("SPIKED_REQUIRE_TOOLS")
        .args(["check", "--connect", "--http-listen", "", "--mqtt-url", url])
        .arg("--state-dir")
        .arg(state.path());
    for (key, value) in settings {
        command.args(["--set", &format!("{key}={value}")]);
    }
    command.output().unwrap()
}

/// Complaints of `check` in one line.
fn complaint(output: &Output) -> String {
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(said.trim_end().lines().count(), 1, "one line: {said}");
    said
}

#[test]
fn each_misuse_of_tls_is_one_clear_line_and_the_right_use_connects() {
    if !installed(&["mosquitto", "openssl"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let ours = Authority::new(dir.path(), "ours");
    let other = Authority::new(dir.path(), "other");
    ours.sign("server", "DNS:localhost,IP:127.0.0.1", 30);
    ours.sign("elsewhere", "DNS:elsewhere.example", 30);
    ours.sign("expired", "DNS:localhost,IP:127.0.0.1", -1);
    ours.sign("client", "DNS:client", 30);
    other.sign("stranger", "DNS:stranger", 30);
    let ca = ours.path("ca.crt");
    let ca = ("mqtt.ca_file", ca.as_str());

    let broker = tls_broker(dir.path(), &ours, "server", "");
    let url = |broker: &Broker| format!("mqtts://localhost:{}", broker.port);
    for version in ["3.1.1", "5"] {
        let well = check(&url(&broker), &[ca, ("mqtt.protocol", version)]);
        assert!(well.status.success(), "{well:?}");
    }
    let wrong = other.path("ca.crt");
    for version in ["3.1.1", "5"] {
        let with = [("mqtt.ca_file", wrong.as_str()), ("mqtt.protocol", version)];
        let said = complaint(&check(&url(&broker), &with));
        let words = "of no authority that mqtt.ca_file trusts";
        assert!(said.contains(words), "{version}: {said}");
    }
    let by_system = complaint(&check(&url(&broker), &[]));
    assert!(by_system.contains("of no authority"), "{by_system}");

    let elsewhere = tls_broker(dir.path(), &ours, "elsewhere", "");
    let said = complaint(&check(&url(&elsewhere), &[ca]));
    assert!(said.contains("for another host"), "{said}");

    let expired = tls_broker(dir.path(), &ours, "expired", "");
    let said = complaint(&check(&url(&expired), &[ca]));
    assert!(said.contains("has expired"), "{said}");

    let wants = tls_broker(dir.path(), &ours, "server", "require_certificate true\n");
    let said = complaint(&check(&url(&wants), &[ca]));
    assert!(said.contains("wants a client certificate"), "{said}");
    let (crt, key) = (ours.path("client.crt"), ours.path("client.key"));
    let with = [
        ca,
        ("mqtt.client_cert_file", &crt),
        ("mqtt.client_key_file", &key),
    ];
    let well = check(&url(&wants), &with);
    assert!(well.status.success(), "{well:?}");
    let (crt, key) = (other.path("stranger.crt"), other.path("stranger.key"));
    let with = [
        ca,
        ("mqtt.client_cert_file", &crt),
        ("mqtt.client_key_file", &key),
    ];
    let said = complaint(&check(&url(&wants), &with));
    assert!(
        said.contains("does not take our client certificate"),
        "{said}"
    );

    let plain = Broker::start(&{
        let folder = dir.path().join("plain");
        std::fs::create_dir(&folder).unwrap();
        folder
    });
    let said = complaint(&check(&url(&plain), &[ca]));
    assert!(
        said.contains("no TLS at this port") || said.contains("not speak TLS at this port"),
        "{said}"
    );

    for version in ["tlsv1.2", "tlsv1.3"] {
        let only = tls_broker(
            dir.path(),
            &ours,
            "server",
            &format!("tls_version {version}\n"),
        );
        let well = check(&url(&only), &[ca]);
        assert!(well.status.success(), "{version}: {well:?}");
    }
}

#[test]
fn with_the_sample_rights_the_daemon_works_and_can_publish_nowhere_else() {
    if !installed(&[
        "mosquitto",
        "mosquitto_passwd",
        "mosquitto_pub",
        "mosquitto_sub",
    ]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let passwords = dir.path().join("passwd");
    std::fs::write(&passwords, "").unwrap();
    for user in ["spiked", "sensors", "dashboard", "operator"] {
        let done = Command::new("mosquitto_passwd")
            .arg("-b")
            .arg(&passwords)
            .args([user, &format!("{user}-secret")])
            .output()
            .unwrap();
        assert!(done.status.success(), "{done:?}");
    }
    let acl = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/mosquitto/spiked.acl");
    let acl_copy = dir.path().join("acl");
    std::fs::copy(acl, &acl_copy).unwrap();
    let port = free_port();
    let text = format!(
        "user root\nlistener {port} 127.0.0.1\nallow_anonymous false\npassword_file {}\nacl_file {}\nlog_type error\n",
        passwords.display(),
        acl_copy.display()
    );
    let mut broker = Broker::configured(dir.path(), port, &text);
    let url = format!("mqtt://127.0.0.1:{port}");
    let secret = dir.path().join("secret");
    std::fs::write(&secret, "spiked-secret\n").unwrap();
    let secret = secret.display().to_string();
    let right = [
        ("mqtt.username", "spiked"),
        ("mqtt.password_file", secret.as_str()),
    ];

    let well = check(&url, &right);
    assert!(well.status.success(), "{well:?}");
    let wrong = check(
        &url,
        &[("mqtt.username", "spiked"), ("mqtt.password", "no")],
    );
    assert!(
        complaint(&wrong).contains("wrong user name or password"),
        "{wrong:?}"
    );
    let nobody = complaint(&check(&url, &[]));
    assert!(nobody.contains("wrong user name or password"), "{nobody}");

    // As the daemon's user: its own topics reach a dashboard, others do not.
    broker.log_in("dashboard", "dashboard-secret");
    let seen = broker.subscribe("#");
    broker.log_in("spiked", "spiked-secret");
    broker.publish("spiked/main/pump/anomaly", b"1", 1);
    broker.publish("spiked/other/pump/anomaly", b"2", 1);
    broker.publish("plant/pump/flow", b"3", 1);
    broker.publish("spiked/main/status", b"4", 1);
    broker.log_in("sensors", "sensors-secret");
    broker.publish("plant/pump/flow", b"5", 1);
    broker.publish("spiked/main/pump/feedback", b"6", 1);
    broker.log_in("dashboard", "dashboard-secret");
    broker.publish("plant/pump/flow", b"7", 1);
    broker.log_in("operator", "operator-secret");
    broker.publish("spiked/main/pump/feedback", b"8", 1);
    broker.publish("spiked/main/pump/mute", b"10", 1);
    broker.publish("plant/pump/flow", b"9", 1);
    let payloads = seen.all(Duration::from_millis(700));
    let payloads: Vec<&str> = payloads
        .iter()
        .map(|(_, payload)| payload.as_str())
        .collect();
    assert_eq!(payloads, ["1", "4", "5", "8", "10"]);
}

#[test]
fn a_daemon_with_a_wrong_password_says_so_once_a_while_and_not_thousands_of_times() {
    if !installed(&["mosquitto", "mosquitto_passwd"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let passwords = dir.path().join("passwd");
    std::fs::write(&passwords, "").unwrap();
    let port = free_port();
    let text = format!(
        "user root\nlistener {port} 127.0.0.1\nallow_anonymous false\npassword_file {}\nlog_type error\n",
        passwords.display()
    );
    let broker = Broker::configured(dir.path(), port, &text);
    let settings = "[mqtt]\nusername = \"spiked\"\npassword = \"no\"\n";
    let daemon = crate::kit::Daemon::start_unready(&broker, dir.path(), settings);
    std::thread::sleep(Duration::from_secs(4));
    assert_eq!(daemon.get("/readyz").0, 503);
    let failures = daemon.metric("spiked_broker_connection_failures_total");
    assert!(
        (1.0..=4.0).contains(&failures),
        "{failures} attempts in 4 s"
    );
    assert_eq!(daemon.stop().0, 0);
    let log = std::fs::read_to_string(dir.path().join("spiked.log")).unwrap();
    assert!(log.contains("wrong user name or password"), "{log}");
}
