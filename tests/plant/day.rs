//! A day of operation in fast motion: all that happens to a daemon in a plant happens to one, readings come
//! meanwhile, and in the end each of them is learned once and each event is in the log.
//!
//! The short form has a reading a minute, `SPIKED_DAY_ROWS=86400` one a second. The time a reading was published
//! at tells the hour of the plant's day; the machine's own clock is left alone.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use serde_json::Value;

use crate::authority::Authority;
use crate::kit::{Broker, Daemon, free_port, installed, wait_for};

/// Midnight of a day long past, unix milliseconds.
const MIDNIGHT_MS: u64 = 1_704_067_200_000;
const DAY_MS: u64 = 86_400_000;
const RECEIVED: &str = "spiked_readings_received_total";

/// The plant: a broker with a door for sensors and one by TLS for the daemon.
struct Day {
    dir: PathBuf,
    authority: Authority,
    broker: Broker,
    tls_port: u16,
    program: PathBuf,
    rows: u64,
    published: u64,
    /// Of these, before the daemon last ended.
    before: u64,
}

impl Day {
    fn begin(dir: &Path, rows: u64) -> Day {
        let authority = Authority::new(dir, "authority");
        authority.sign("server", "DNS:localhost", 30);
        let program = dir.join("spiked");
        std::fs::copy(env!("CARGO_BIN_EXE_spiked"), &program).unwrap();
        let (port, tls_port) = (free_port(), free_port());
        let broker = Broker::configured(dir, port, &broker_text(dir, &authority, port, tls_port));
        let day = Day {
            dir: dir.to_owned(),
            authority,
            broker,
            tls_port,
            program,
            rows,
            published: 0,
            before: 0,
        };
        day.set("");
        day
    }

    /// Writes the settings of the daemon.
    fn set(&self, more: &str) {
        let text = format!(
            "[mqtt]\nurl = \"mqtts://localhost:{}\"\nca_file = \"{}\"\nreconnect_max_s = 0.5\n\
             [stream]\nalign = \"per-reading\"\n[state]\nsnapshot_every_s = 1.0\n{more}",
            self.tls_port,
            self.authority.path("ca.crt")
        );
        std::fs::write(self.dir.join("spiked.toml"), text).unwrap();
    }

    fn start(&self) -> Daemon {
        Daemon::start_again(&self.program, &self.dir)
    }

    /// Readings come up to this hour of the day.
    fn until(&mut self, hour: u64, topic: &str) {
        let target = self.rows * hour / 24;
        let mut publisher = self.broker.publisher(topic, 1);
        while self.published < target {
            let ts = MIDNIGHT_MS + DAY_MS * self.published / self.rows;
            let value = (self.published * 7919 % 1009) as f64 / 1009.0;
            publisher.line(&format!("{{\"value\":{value},\"ts\":{ts}}}"));
            self.published += 1;
        }
        publisher.finish();
    }

    /// Everything published is taken.
    fn all_taken(&self, daemon: &Daemon) {
        let wanted = (self.published - self.before) as f64;
        wait_for("every reading is taken", 60, || {
            daemon.metric(RECEIVED) >= wanted
        });
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("spiked.log")).unwrap()
    }

    fn says(&self, words: &str) {
        wait_for(words, 20, || self.log().contains(words));
    }

    /// Readings learned of each stream, as the state file has them.
    fn learned(&self) -> u64 {
        let output = Command::new(&self.program)
            .env_remove("SPIKED_DAY_ROWS")
            .args(["inspect", "--json"])
            .arg(self.dir.join("state"))
            .output()
            .unwrap();
        assert!(output.status.success(), "{output:?}");
        let found: Value = serde_json::from_slice(&output.stdout).unwrap();
        let streams = found["streams"].as_array().unwrap();
        streams.iter().filter_map(|s| s["readings"].as_u64()).sum()
    }
}

fn broker_text(dir: &Path, authority: &Authority, port: u16, tls_port: u16) -> String {
    format!(
        "user root\nper_listener_settings false\nallow_anonymous true\nmax_queued_messages 0\nlog_type error\n\
         persistence true\npersistence_location {}/\nlistener {port} 127.0.0.1\nlistener {tls_port} 127.0.0.1\n\
         cafile {}\ncertfile {}\nkeyfile {}\n",
        dir.display(),
        authority.path("ca.crt"),
        authority.path("server.crt"),
        authority.path("server.key"),
    )
}

#[test]
fn a_day_of_reload_restart_upgrade_full_disk_new_certificate_and_new_broker_loses_nothing() {
    let tools = ["mosquitto", "mosquitto_pub", "openssl", "prlimit"];
    if !installed(&tools) {
        return;
    }
    let begun = Instant::now();
    let dir = tempfile::tempdir().unwrap();
    let rows = std::env::var("SPIKED_DAY_ROWS").map_or(1440, |rows| rows.parse().unwrap());
    let mut day = Day::begin(dir.path(), rows);
    let daemon = day.start();
    let pump = "plant/pump/flow";
    day.until(3, pump);
    day.all_taken(&daemon);

    // Three in the morning: another threshold and another topic, without a restart.
    let inputs = "[detect]\nfalse_alarms_per_week = 2\n[[input]]\ntopic = \"plant/{stream}/{channel}\"\n\
                  [[input]]\ntopic = \"annexe/{stream}/{channel}\"\n";
    day.set(inputs);
    daemon.signal("HUP");
    day.says("detect.false_alarms_per_week, input");
    day.says("subscribes to other topics");
    wait_for("the new subscription", 10, || {
        day.log().matches("subscribed").count() >= 2
    });
    day.until(6, "annexe/fan/speed");
    day.all_taken(&daemon);

    // Six: a restart, readings come meanwhile.
    assert_eq!(daemon.stop().0, 0);
    day.says("stopped");
    day.before = day.published;
    day.until(8, pump);
    let mut daemon = day.start();
    day.until(9, pump);
    day.all_taken(&daemon);

    // Nine: the power fails.
    daemon.signal("KILL");
    wait_for("the end", 10, || !daemon.is_alive());
    day.before = day.published;
    day.until(10, pump);
    let daemon = day.start();
    day.says("recovered");
    day.all_taken(&daemon);

    // Ten: an upgrade replaces the program and keeps settings and state.
    assert_eq!(daemon.stop().0, 0);
    let new = dir.path().join("spiked-new");
    std::fs::copy(env!("CARGO_BIN_EXE_spiked"), &new).unwrap();
    std::fs::rename(&new, &day.program).unwrap();
    day.before = day.published;
    day.until(12, pump);
    let daemon = day.start();
    day.all_taken(&daemon);

    // Noon: the disk is full for a while. Messages wait at the broker.
    daemon.limit_files("4096:unlimited");
    day.until(14, pump);
    wait_for("it is not ready", 20, || daemon.get("/readyz").0 == 503);
    assert_eq!(daemon.get("/healthz").0, 200);
    day.says("cannot write the state file");
    daemon.limit_files("unlimited:unlimited");
    wait_for("it is ready again", 30, || daemon.get("/readyz").0 == 200);
    day.all_taken(&daemon);

    // Two in the afternoon: the broker's certificate expires, and is renewed.
    day.authority.sign("server", "DNS:localhost", -1);
    day.broker.kill();
    day.broker.start_again();
    day.says("has expired");
    day.authority.sign("server", "DNS:localhost", 30);
    day.broker.kill();
    day.broker.start_again();
    wait_for("it is connected again", 20, || {
        daemon.get("/readyz").0 == 200
    });
    day.until(18, pump);
    day.all_taken(&daemon);

    // Six: the broker moves. The daemon says that this takes a restart.
    let moved = dir.path().join("moved");
    std::fs::create_dir(&moved).unwrap();
    let (port, tls_port) = (free_port(), free_port());
    let text = broker_text(&moved, &day.authority, port, tls_port);
    let next = Broker::configured(&moved, port, &text);
    day.tls_port = tls_port;
    day.set(inputs);
    daemon.signal("HUP");
    day.says("these settings need a restart");
    assert!(day.log().contains("mqtt.url"));
    assert_eq!(daemon.stop().0, 0);
    day.before = day.published;
    drop(std::mem::replace(&mut day.broker, next));
    let mut daemon = day.start();
    day.until(24, pump);
    day.all_taken(&daemon);

    assert!(daemon.is_alive());
    assert_eq!(daemon.stop().0, 0);
    assert_eq!(day.learned(), day.published, "each reading is learned once");
    assert_eq!(day.published, rows);
    println!(
        "{rows} readings of a day in {:.1} s",
        begun.elapsed().as_secs_f64()
    );
}
