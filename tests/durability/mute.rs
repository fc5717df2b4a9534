//! Muted, unmuted and forgotten by the command line against a real broker: journaled, the same bits after
//! kills.

use std::collections::BTreeMap;
use std::process::Output;
use std::time::Duration;

use rumqttc::{Client, MqttOptions, QoS};
use serde_json::Value;
use spiked::row::Instruction;
use spiked::state::digest;

use crate::kill::{note_journal, replayed};
use crate::plant::{Broker, Daemon, alone, have_mosquitto, http_get, now_ms, spiked, wait_until};

// The instructions are looked for in the journal, which a second snapshot would prune.
const CONFIG: &str = "[output]\nfeedback = \"token\"\nfeedback_token = \"a secret of the operators\"\n\
                      [state]\nsnapshot_every_s = 30.0\n[stream]\nalign = \"per-reading\"\n";

/// Publishes rows of one channel, a second apart by their stamps.
struct Press {
    client: Client,
    base_ms: i64,
    row: u64,
}

impl Press {
    fn start(port: u16) -> Press {
        let (client, mut connection) =
            Client::new(MqttOptions::new("plant", "127.0.0.1", port), 50);
        std::thread::spawn(move || connection.iter().take_while(Result::is_ok).count());
        Press {
            client,
            base_ms: now_ms() - 5_000_000,
            row: 0,
        }
    }

    /// Publishes `n` rows around `level` and waits until the daemon has learned them.
    fn run(&mut self, daemon: &Daemon, n: u64, level: f64) {
        for _ in 0..n {
            self.row += 1;
            let value = (self.row * 7919 % 1009) as f64 / 1009.0 + level;
            let ts = self.base_ms + 1000 * self.row as i64;
            let text = format!("{{\"value\":{value},\"ts\":{ts}}}");
            self.client
                .publish("plant/press/force", QoS::AtLeastOnce, false, text)
                .unwrap();
        }
        let last_ms = self.base_ms + 1000 * self.row as i64;
        wait_until("the rows are learned", Duration::from_secs(10), || {
            stream(daemon)["last_ms"] == last_ms
        });
    }
}

/// The stream's line of `/api/v1/streams`.
fn stream(daemon: &Daemon) -> Value {
    let (_, text) = http_get(daemon.http, "/api/v1/streams").unwrap_or_default();
    let list: Value = serde_json::from_str(&text).unwrap_or_default();
    list["streams"][0].clone()
}

/// The stream's state and the metric of mutes follow within the time of a view.
fn wait_for_state(daemon: &Daemon, state: &str, muted: f64) {
    wait_until(state, Duration::from_secs(5), || {
        let metric = daemon.metric("spiked_stream_muted{stream=\"press\"}");
        stream(daemon)["state"] == state && metric == muted
    });
}

fn incidents(daemon: &Daemon) -> u64 {
    let (_, text) = http_get(daemon.http, "/api/v1/incidents").unwrap_or_default();
    let list: Value = serde_json::from_str(&text).unwrap_or_default();
    list["n_incidents"].as_u64().unwrap()
}

fn command(daemon: &Daemon, arguments: &[&str]) -> Output {
    let config = daemon.dir.join("spiked.toml");
    let mut command = spiked();
    command.args(arguments).arg("--config").arg(config);
    command.output().unwrap()
}

fn said(daemon: &Daemon, arguments: &[&str]) -> String {
    let output = command(daemon, arguments);
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{arguments:?}: {error}");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[test]
fn what_an_operator_mutes_or_has_forgotten_stays_so_over_kills_and_gives_the_same_bits() {
    if !have_mosquitto() {
        return;
    }
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_in_memory();
    let mut daemon = Daemon::start(dir.path(), broker.port, CONFIG);
    daemon.wait_ready();
    let mut press = Press::start(broker.port);
    press.run(&daemon, 800, 0.0);

    let answer = said(&daemon, &["mute", "press", "--for", "1h"]);
    assert!(answer.starts_with("press: muted until 20"), "{answer}");
    press.run(&daemon, 60, 12.0);
    assert_eq!(incidents(&daemon), 0, "muted");
    daemon.kill();
    daemon.restart();
    daemon.wait_ready();
    press.run(&daemon, 20, 12.0);
    wait_for_state(&daemon, "muted", 1.0);
    assert_eq!(incidents(&daemon), 0, "muted before the kill");

    assert_eq!(
        said(&daemon, &["unmute", "press"]),
        "press: nothing is muted\n"
    );
    wait_for_state(&daemon, "normal", 0.0);
    press.run(&daemon, 60, 0.0);
    press.run(&daemon, 60, 12.0);
    assert!(incidents(&daemon) >= 1, "heard again");
    let answer = said(
        &daemon,
        &["mute", "press", "--for", "90s", "--channel", "force"],
    );
    assert_eq!(answer, "press: one channel is muted\n");

    assert_eq!(
        said(&daemon, &["forget", "press", "--yes"]),
        "press: one channel is muted, warms up\n"
    );
    press.run(&daemon, 20, 50.0);
    wait_for_state(&daemon, "warming_up", 0.0);
    daemon.kill();
    daemon.restart();
    daemon.wait_ready();
    press.run(&daemon, 10, 50.0);
    let off = command(
        &daemon,
        &[
            "mute",
            "press",
            "--for",
            "1h",
            "--set",
            "output.feedback=off",
        ],
    );
    assert_eq!(off.status.code(), Some(64), "{off:?}");
    daemon.stop();

    let mut known = BTreeMap::new();
    note_journal(&daemon.state_file(), &mut known);
    let said: Vec<_> = known.values().filter_map(Instruction::of).collect();
    assert_eq!(said.len(), 4, "{said:?}");
    let found = daemon.inspect();
    let alone = &replayed(&known, &daemon.state_file())[0];
    assert_eq!(found["streams"][0]["digest"], digest(alone));
    assert_eq!(found["streams"][0]["readings"], press.row);
}
