//! Operators rule on incidents: by mosquitto's own client, journaled, the same bits after a kill.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rumqttc::{Client, Event, MqttOptions, Packet, QoS};
use serde_json::Value;
use spiked::row::Instruction;
use spiked::state::digest;

use crate::kill::{note_journal, replayed};
use crate::plant::{Broker, Daemon, alone, have_mosquitto, now_ms, wait_until};

// The rulings are looked for in the journal, which a second snapshot would prune.
const CONFIG: &str = "[output]\nfeedback = \"on\"\n[state]\nsnapshot_every_s = 10.0\n[stream]\nalign = \"per-reading\"\n";
const TOPIC: &str = "spiked/main/press/feedback";
/// Time between rows by their stamps. With a row a second, a false alarm a week is one in 604,800 rows, which
/// the 800 rows before the first jump cannot prove.
const ROW_MS: i64 = 60_000;

/// Publishes readings and keeps every anomaly message.
struct Plant {
    client: Client,
    said: Arc<Mutex<Vec<Value>>>,
    base_ms: i64,
    row: u64,
}

impl Plant {
    fn start(port: u16) -> Plant {
        let (client, mut connection) =
            Client::new(MqttOptions::new("plant", "127.0.0.1", port), 50);
        let said = Arc::new(Mutex::new(Vec::new()));
        let heard = said.clone();
        client
            .subscribe("spiked/main/press/anomaly", QoS::AtLeastOnce)
            .unwrap();
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/deploy/anomaly.schema.json");
        let schema = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
        let schema = jsonschema::validator_for(&schema).unwrap();
        std::thread::spawn(move || {
            for event in connection.iter().map_while(Result::ok) {
                if let Event::Incoming(Packet::Publish(message)) = event {
                    let json = serde_json::from_slice(&message.payload).unwrap();
                    schema.validate(&json).unwrap();
                    heard.lock().unwrap().push(json);
                }
            }
        });
        Plant {
            client,
            said,
            base_ms: now_ms() - 2_000 * ROW_MS,
            row: 0,
        }
    }

    /// `n` rows, a minute apart by their stamps, around `level`.
    fn run(&mut self, n: u64, level: f64) {
        for _ in 0..n {
            self.row += 1;
            let noise = (self.row * 7919 % 1009) as f64 / 5000.0;
            let value = (self.row as f64 * 0.1).sin() + noise + level;
            let ts = self.base_ms + ROW_MS * self.row as i64;
            let text = format!("{{\"value\":{value},\"ts\":{ts}}}");
            self.client
                .publish("plant/press/force", QoS::AtLeastOnce, false, text)
                .unwrap();
        }
    }

    /// The first message of this incident with this edge.
    fn hear(&self, incident: u64, edge: &str) -> Value {
        let find = || {
            let said = self.said.lock().unwrap();
            let fits = |m: &&Value| m["incident"] == incident && m["event"] == edge;
            said.iter().find(fits).cloned()
        };
        wait_until(edge, Duration::from_secs(10), || find().is_some());
        find().unwrap()
    }
}

/// Messages that an operator would type.
fn say(port: u16, topic: &str, text: &str, more: &[&str]) {
    let sent = Command::new("mosquitto_pub")
        .args(["-p", &port.to_string(), "-q", "1", "-t", topic, "-m", text])
        .args(more)
        .status()
        .unwrap();
    assert!(sent.success());
}

fn ruling(incident: u64, verdict: &str) -> String {
    format!("{{\"incident\": {incident}, \"verdict\": \"{verdict}\"}}")
}

#[test]
fn rulings_end_confirm_or_accept_incidents_and_are_replayed_in_their_place() {
    if !have_mosquitto() || Command::new("mosquitto_pub").output().is_err() {
        return;
    }
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_in_memory();
    let mut daemon = Daemon::start(dir.path(), broker.port, CONFIG);
    daemon.wait_ready();
    let mut plant = Plant::start(broker.port);
    plant.run(800, 0.0);
    plant.run(40, 4.0);
    let opened = plant.hear(1, "opened");
    assert_eq!(
        (&opened["anomaly"], opened.get("verdict")),
        (&Value::from(1), None)
    );
    // False: it ends.
    say(broker.port, TOPIC, &ruling(1, "false"), &[]);
    assert!(plant.hear(1, "closed")["end"].is_i64());
    let judged = plant.hear(1, "judged");
    assert_eq!(
        (&judged["verdict"], &judged["anomaly"]),
        (&"false".into(), &0.into())
    );
    // A value that still stands out opens another; true: it is confirmed and goes on.
    plant.run(60, 12.0);
    plant.hear(2, "opened");
    say(broker.port, TOPIC, &ruling(2, "true"), &[]);
    let judged = plant.hear(2, "judged");
    assert_eq!(
        (&judged["verdict"], &judged["anomaly"]),
        (&"true".into(), &1.into())
    );
    // New normal: accepted at once. The operator has changed his mind.
    say(broker.port, TOPIC, &ruling(2, "new_normal"), &[]);
    let closed = plant.hear(2, "closed");
    assert_eq!(
        (&closed["accepted"], &closed["anomaly"]),
        (&1.into(), &0.into())
    );
    // A message that is none is refused, by reason.
    let bad = [
        (TOPIC, ruling(99, "true"), "unknown_incident", &[][..]),
        (
            "spiked/main/other/feedback",
            ruling(1, "true"),
            "unknown_incident",
            &[],
        ),
        (TOPIC, ruling(1, "perhaps"), "bad_feedback", &[]),
        (TOPIC, "{\"incident\": 1".to_owned(), "bad_feedback", &[]),
        (TOPIC, ruling(1, "true"), "retained", &["-r"]),
        (TOPIC, ruling(1, "false"), "duplicate", &[]),
    ];
    let refused = |daemon: &Daemon, reason: &str| {
        daemon.metric(&format!(
            "spiked_readings_rejected_total{{reason=\"{reason}\"}}"
        ))
    };
    for (topic, text, reason, more) in &bad {
        let before = refused(&daemon, reason);
        // Retained messages are those from before we came.
        if *reason == "retained" {
            daemon.kill();
            say(broker.port, topic, text, more);
            // A new session, that is told what is retained.
            say_clean(broker.port);
            daemon.restart();
            daemon.wait_ready();
            wait_until(reason, Duration::from_secs(5), || {
                refused(&daemon, reason) == 1.0
            });
            continue;
        }
        say(broker.port, topic, text, more);
        wait_until(reason, Duration::from_secs(5), || {
            refused(&daemon, reason) == before + 1.0
        });
    }
    plant.run(30, 12.0);
    wait_until("the rows arrive", Duration::from_secs(5), || {
        daemon.metric("spiked_readings_received_total") >= 30.0
    });
    std::thread::sleep(Duration::from_millis(300));
    daemon.kill();
    daemon.restart();
    daemon.wait_ready();
    daemon.stop();
    let mut known = BTreeMap::new();
    note_journal(&daemon.state_file(), &mut known);
    let rulings = known.values().filter_map(Instruction::of).count();
    assert!(rulings >= 5, "{rulings} rulings in the journal");
    let found = daemon.inspect();
    let alone = &replayed(&known, &daemon.state_file())[0];
    assert_eq!(found["streams"][0]["digest"], digest(alone));
    assert_eq!(found["streams"][0]["readings"], plant.row);
    let verdicts: Vec<String> = found["incidents"]
        .as_array()
        .unwrap()
        .iter()
        .filter(|edge| !edge[1]["verdict"].is_null())
        .map(|edge| format!("{}: {}", edge[1]["id"], edge[1]["verdict"]))
        .collect();
    for expected in ["1: \"false\"", "2: \"true\"", "2: \"new_normal\""] {
        assert!(verdicts.iter().any(|v| v == expected), "{verdicts:?}");
    }
    println!(
        "{rulings} rulings journaled among {} readings, replayed to the same bits after kills; inspect shows {verdicts:?}",
        plant.row
    );
}

/// Ends the daemon's session at the broker.
fn say_clean(port: u16) {
    let mut options = MqttOptions::new("spiked-test", "127.0.0.1", port);
    options.set_clean_session(true);
    let (client, mut connection) = Client::new(options, 5);
    for event in connection.iter() {
        match event {
            Ok(Event::Incoming(Packet::ConnAck(_))) => client.disconnect().unwrap(),
            Ok(_) => {}
            Err(_) => return,
        }
    }
}
