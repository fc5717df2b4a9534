//! Operation of a daemon that runs: settings read anew, backup and restore, requests beyond the limits.

use std::path::Path;
use std::process::{Command, Output};
use std::time::Duration;

use crate::kit::{Broker, Daemon, installed, wait_for};

fn spiked(args: &[&str], state: &Path) -> Output {
    Command::new(env!("CARGO_BIN_EXE_spiked"))
        .env_remove("SPIKED_REQUIRE_TOOLS")
        .args(args)
        .arg("--state-dir")
        .arg(state)
        .output()
        .unwrap()
}

fn log(dir: &Path) -> String {
    std::fs::read_to_string(dir.join("spiked.log")).unwrap()
}

#[test]
fn a_hangup_takes_over_thresholds_names_what_needs_a_restart_and_survives_bad_settings() {
    if !installed(&["mosquitto", "mosquitto_pub"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut daemon = Daemon::start(&broker, dir.path(), "[log]\nlevel = \"info\"\n");
    broker.publish("plant/pump/flow", b"1", 1);
    wait_for("a stream", 10, || daemon.metric("spiked_streams") == 1.0);
    let settings = dir.path().join("spiked.toml");
    let allowed = "spiked_false_alarms_allowed_per_week";
    assert_eq!(daemon.metric(allowed), 1.0);

    std::fs::write(&settings, "[detect]\nfalse_alarms_per_week = \"many\"\n").unwrap();
    daemon.signal("HUP");
    wait_for("the refusal is said", 5, || {
        log(dir.path()).contains("the settings are not taken over")
    });
    assert!(daemon.is_alive());

    let text =
        "[detect]\nfalse_alarms_per_week = 3\n[runtime]\nworkers = 2\n[log]\nlevel = \"debug\"\n";
    std::fs::write(&settings, text).unwrap();
    daemon.signal("HUP");
    wait_for("the threshold is taken over", 5, || {
        daemon.metric(allowed) == 3.0
    });
    let said = log(dir.path());
    assert!(
        said.contains("detect.false_alarms_per_week, log.level"),
        "{said}"
    );
    assert!(said.contains("need a restart"), "{said}");
    assert!(said.contains("runtime.workers"), "{said}");
    broker.publish("plant/pump/flow", b"2", 1);
    let readings = "spiked_readings_received_total";
    wait_for("it goes on", 5, || daemon.metric(readings) == 2.0);
    assert_eq!(daemon.stop().0, 0);
}

#[test]
fn a_hangup_subscribes_to_other_topics_over_the_connection_that_is_up() {
    if !installed(&["mosquitto", "mosquitto_pub"]) {
        return;
    }
    for protocol in ["3.1.1", "5"] {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path());
        let mqtt = format!("[mqtt]\nprotocol = \"{protocol}\"\n");
        let inputs = |topics: &[&str]| {
            let tables = topics
                .iter()
                .map(|t| format!("[[input]]\ntopic = \"{t}\"\n"));
            format!("{mqtt}{}", tables.collect::<String>())
        };
        let before = inputs(&["plant/{stream}/{channel}", "hall/{stream}/{channel}"]);
        let daemon = Daemon::start(&broker, dir.path(), &before);
        broker.publish("plant/pump/flow", b"1", 1);
        broker.publish("hall/fan/speed", b"1", 1);
        wait_for("two streams", 10, || daemon.metric("spiked_streams") == 2.0);
        // The same streams under another topic, a new one, and one that is not wanted any more.
        let after = inputs(&["site/north/{stream}/{channel}", "hall/{stream}/{channel}"]);
        std::fs::write(dir.path().join("spiked.toml"), after).unwrap();
        daemon.signal("HUP");
        wait_for("the topics are said", 5, || {
            let said = log(dir.path());
            said.contains("subscribes to other topics") && said.matches("subscribed").count() >= 2
        });
        broker.publish("plant/pump/flow", b"2", 1);
        broker.publish("hall/fan/speed", b"2", 1);
        broker.publish("site/north/pump/flow", b"3", 1);
        let readings = "spiked_readings_received_total";
        wait_for("the readings", 5, || daemon.metric(readings) == 4.0);
        assert_eq!(
            daemon.metric("spiked_streams"),
            2.0,
            "the stream is the same"
        );
        assert_eq!(daemon.metric("spiked_messages_received_total"), 4.0);
        assert_eq!(daemon.metric("spiked_broker_connections_total"), 2.0);
        assert_eq!(daemon.get("/readyz").0, 200);
        daemon.signal("HUP");
        wait_for("nothing is left to do", 5, || {
            log(dir.path()).contains("nothing has changed")
        });
        // The session that the broker keeps has the new topics only.
        assert_eq!(daemon.stop().0, 0);
        broker.publish("plant/pump/flow", b"5", 1);
        broker.publish("site/north/pump/flow", b"6", 1);
        let mut daemon = Daemon::start(
            &broker,
            dir.path(),
            &inputs(&["site/north/{stream}/{channel}"]),
        );
        wait_for("what came meanwhile", 5, || daemon.metric(readings) == 1.0);
        assert!(daemon.is_alive());
        assert_eq!(daemon.metric("spiked_messages_received_total"), 1.0);
        assert_eq!(daemon.stop().0, 0);
    }
}

#[test]
fn a_start_with_other_inputs_has_the_broker_drop_the_former_ones() {
    if !installed(&["mosquitto", "mosquitto_pub"]) {
        return;
    }
    for (protocol, is_killed) in [("3.1.1", false), ("5", true)] {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start(dir.path());
        let inputs = |topics: &[&str]| {
            let tables = topics
                .iter()
                .map(|t| format!("[[input]]\ntopic = \"{t}\"\n"));
            let tables: String = tables.collect();
            format!("[mqtt]\nprotocol = \"{protocol}\"\n{tables}")
        };
        let before = inputs(&["plant/{stream}/{channel}", "hall/{stream}/{channel}"]);
        let daemon = Daemon::start(&broker, dir.path(), &before);
        match is_killed {
            true => drop(daemon),
            false => assert_eq!(daemon.stop().0, 0),
        }
        let after = inputs(&["hall/{stream}/{channel}"]);
        for _ in 0..2 {
            let daemon = Daemon::start(&broker, dir.path(), &after);
            broker.publish("plant/pump/flow", b"1", 1);
            broker.publish("hall/fan/speed", b"1", 1);
            let readings = "spiked_readings_received_total";
            wait_for("the reading", 5, || daemon.metric(readings) == 1.0);
            assert_eq!(daemon.metric("spiked_messages_received_total"), 1.0);
            assert_eq!(daemon.stop().0, 0);
        }
    }
}

#[test]
fn two_instances_that_feed_each_other_come_to_an_end_and_say_so() {
    if !installed(&["mosquitto", "mosquitto_pub", "mosquitto_sub"]) {
        return;
    }
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let broker = Broker::start(dir.path());
    let settings = |name: &str, other: &str, inputs: &str| {
        format!(
            "[mqtt]\nclient_id = \"{name}\"\n[output]\nprefix = \"{name}\"\n[stream]\nalign = \
             \"per-reading\"\n[[input]]\ntopic = \"{other}/main/{{stream}}/prediction\"\npayload = \
             \"object\"\nts = \"\"\n{inputs}"
        )
    };
    let plant = "[[input]]\ntopic = \"plant/{stream}/{channel}\"\n";
    let first = Daemon::start(&broker, dir.path(), &settings("left", "right", plant));
    let second = Daemon::start(&broker, other.path(), &settings("right", "left", ""));
    let predictions = broker.subscribe("+/main/+/prediction");
    for i in 0..3 {
        broker.publish("plant/pump/flow", format!("{i}").as_bytes(), 1);
    }
    let came = predictions.all(Duration::from_secs(1));
    assert!(came.len() < 100, "{} predictions", came.len());
    let of = |topic: &str| came.iter().filter(|(t, _)| t.starts_with(topic)).count();
    assert!(of("left/") == 3 && of("right/") >= 3, "{came:?}");
    let via = came
        .iter()
        .filter(|(_, payload)| payload.contains("\"via\":\"left/main\""));
    assert_eq!(via.count(), of("right/"));
    let said = log(dir.path());
    assert!(said.contains("feed each other"), "{said}");
    assert_eq!((first.stop().0, second.stop().0), (0, 0));
}

#[test]
fn other_signals_are_said_and_ignored_and_quit_is_an_orderly_end() {
    if !installed(&["mosquitto"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(dir.path());
    let mut daemon = Daemon::start(&broker, dir.path(), "");
    for signal in ["USR1", "USR2", "ALRM"] {
        daemon.signal(signal);
        wait_for(signal, 5, || {
            log(dir.path()).contains(&format!("SIG{signal}"))
        });
    }
    assert!(daemon.is_alive());
    assert_eq!(daemon.get("/readyz").0, 200);
    assert_eq!(daemon.stop_by("QUIT").0, 0);
    assert!(log(dir.path()).contains("stopped"));
}

#[test]
fn a_backup_made_while_the_daemon_runs_is_restored_once_it_has_ended() {
    if !installed(&["mosquitto", "mosquitto_pub"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let copy = dir.path().join("copy.db");
    let copy = copy.to_str().unwrap();
    let broker = Broker::start(dir.path());
    let daemon = Daemon::start(&broker, dir.path(), "");
    broker.publish("plant/pump/flow", b"1", 1);
    let journaled = "spiked_storage_journal_readings_total";
    wait_for("it is on disk", 10, || daemon.metric(journaled) == 1.0);
    let made = spiked(&["backup", copy], &state);
    assert!(made.status.success(), "{made:?}");
    let refused = spiked(&["restore", copy], &state);
    assert_eq!(refused.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&refused.stderr).contains("in use"));
    broker.publish("plant/fan/speed", b"2", 1);
    wait_for("so is the second", 10, || daemon.metric(journaled) == 2.0);
    assert_eq!(daemon.stop().0, 0);

    let done = spiked(&["restore", copy], &state);
    assert!(done.status.success(), "{done:?}");
    let daemon = Daemon::start(&broker, dir.path(), "");
    wait_for("the stream of the backup is back", 10, || {
        daemon.metric("spiked_streams") == 1.0
    });
    assert_eq!(daemon.stop().0, 0);
}

#[test]
fn a_token_from_a_file_is_asked_for_and_probes_go_without() {
    if !installed(&["mosquitto"]) {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let token = dir.path().join("token");
    std::fs::write(&token, "s3cret\n").unwrap();
    let broker = Broker::start(dir.path());
    let settings = format!("[http]\ntoken_file = \"{}\"\n", token.display());
    let daemon = Daemon::start(&broker, dir.path(), &settings);
    assert_eq!(daemon.get("/metrics").0, 401);
    assert_eq!(daemon.get("/healthz").0, 200);
    let said = log(dir.path());
    let warned = said.contains("every user can read");
    let mode = std::os::unix::fs::MetadataExt::mode(&std::fs::metadata(&token).unwrap());
    assert_eq!(warned, mode & 0o004 != 0, "{said}");
    assert_eq!(daemon.stop().0, 0);
}
