//! Bounds that hold and are seen: streams that nobody needs make room, a broker that drops messages is
//! noticed, idle HTTP connections leave sockets to the broker, a backlog is no sign of a dead broker.
//!
//! Long form: `SPIKED_BACKLOG_S` (3) seconds behind a backlog; beyond 10, two keep-alives.

use std::net::TcpStream;
use std::os::unix::fs::PermissionsExt;
use std::process::Command;
use std::time::Duration;

use rumqttc::{Client, MqttOptions, QoS};

use crate::plant::{
    Broker, Daemon, SLOW, Source, alone, have_mosquitto, http_get, now_ms, number, wait_until, wide,
};

/// A client that publishes readings with QoS 1, its own time stamps 1 ms apart.
struct Publisher {
    client: Client,
    next_ms: i64,
}

impl Publisher {
    fn start(port: u16) -> Publisher {
        let mut options = MqttOptions::new("publisher", "127.0.0.1", port);
        options.set_inflight(100);
        let (client, mut connection) = Client::new(options, 100);
        std::thread::spawn(move || connection.iter().take_while(Result::is_ok).count());
        let next_ms = now_ms() - 3_600_000;
        Publisher { client, next_ms }
    }

    fn publish(&mut self, topic: &str) {
        self.next_ms += 1;
        let payload = format!("{{\"value\":{},\"ts\":{}}}", self.next_ms % 7, self.next_ms);
        self.client
            .publish(topic, QoS::AtLeastOnce, false, payload)
            .unwrap();
    }
}

#[test]
fn streams_that_came_once_make_room_for_a_real_one_and_do_not_come_back() {
    if !have_mosquitto() {
        return;
    }
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_in_memory();
    let config = "[stream]\nalign = \"per-reading\"\nexpire_after_s = 1.0\n";
    let mut daemon = Daemon::start(dir.path(), broker.port, config);
    daemon.wait_ready();
    let mut publisher = Publisher::start(broker.port);
    let received = |daemon: &Daemon| daemon.metric("spiked_readings_received_total");
    (0..150).for_each(|_| publisher.publish("plant/old/c"));
    wait_until("the old stream", Duration::from_secs(10), || {
        received(&daemon) >= 150.0
    });
    (0..1200).for_each(|k| publisher.publish(&format!("plant/random{k}/c")));
    let refused = |daemon: &Daemon| {
        daemon.metric("spiked_readings_rejected_total{reason=\"too_many_streams\"}")
    };
    wait_until("all 1,200", Duration::from_secs(20), || {
        received(&daemon) + refused(&daemon) >= 1350.0
    });
    let n_refused = refused(&daemon);
    assert!(n_refused > 0.0);
    let (status, reasons) = http_get(daemon.http, "/readyz").unwrap();
    assert_eq!(status, 503, "{reasons}");
    assert!(reasons.contains("stream.max_streams"), "{reasons}");
    let expired = |daemon: &Daemon| daemon.metric("spiked_streams_expired_total");
    wait_until("room", Duration::from_secs(10), || expired(&daemon) > 0.0);
    let before = received(&daemon);
    (0..20).for_each(|_| publisher.publish("plant/real/c"));
    wait_until("the real stream", Duration::from_secs(10), || {
        received(&daemon) >= before + 20.0
    });
    assert_eq!(refused(&daemon), n_refused);
    let n_expired = expired(&daemon);
    let db = rusqlite::Connection::open(daemon.state_file()).unwrap();
    wait_until("it is on the disk", Duration::from_secs(10), || {
        let sql = "SELECT count(*) FROM meta WHERE key GLOB 'forgotten:*'";
        db.query_row(sql, [], |row| row.get::<_, f64>(0)) == Ok(n_expired)
    });
    drop(db);
    let found = daemon.inspect_after_kill();
    let streams = found["streams"].as_array().unwrap();
    let readings = |name: &str| {
        let stream = streams.iter().find(|stream| stream["stream"] == name);
        stream.map_or(0, |stream| stream["readings"].as_u64().unwrap())
    };
    assert_eq!(readings("old"), 150, "it is past its warm-up, and silent");
    assert_eq!(readings("real"), 20);
    assert_eq!(streams.len() as f64, 1001.0 - n_expired);
    assert!(
        daemon.log().contains("make room for others"),
        "{}",
        daemon.log()
    );
    println!(
        "1,200 random topics: {n_refused} refused; {n_expired} streams made room, a real one is learned, \
         {} streams after a kill",
        streams.len()
    );
}

#[test]
fn what_the_broker_drops_while_readings_wait_is_said() {
    if !have_mosquitto() {
        return;
    }
    let _alone = alone();
    for protocol in ["3.1.1", "5"] {
        let dir = tempfile::tempdir().unwrap();
        let broker = Broker::start_with("max_queued_messages 100\nsys_interval 1\n");
        let mut daemon = Daemon::start_speaking(protocol, dir.path(), broker.port, SLOW);
        daemon.wait_ready();
        let source = Source::publish(wide, broker.port, 4000, now_ms() - 86_400_000);
        let mut said = String::new();
        // That it is for want of learning is said where the intake queue has been full.
        wait_until("it is said", Duration::from_secs(40), || {
            said = http_get(daemon.http, "/readyz").unwrap_or_default().1;
            said.contains("the broker drops")
        });
        let dropped = daemon.metric("spiked_broker_dropped_messages_total");
        assert!(dropped > 0.0);
        let log = daemon.log();
        assert_eq!(log.matches("the broker drops messages").count(), 1, "{log}");
        println!("MQTT {protocol}: {dropped} messages dropped by the broker; /readyz: {said}");
        source.finish();
        daemon.kill();
    }
}

#[test]
fn what_the_broker_drops_for_another_client_leaves_the_daemon_ready() {
    if !have_mosquitto() {
        return;
    }
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_with("max_queued_messages 100\nsys_interval 1\n");
    let daemon = Daemon::start(dir.path(), broker.port, "");
    daemon.wait_ready();
    // A client that subscribes and goes away: the broker queues for it until the queue is full.
    let subscribed = Command::new("mosquitto_sub")
        .args(["-p", &broker.port.to_string(), "-t", "plant/#", "-q", "1"])
        .args(["-i", "away", "-c", "-E"])
        .status()
        .expect("mosquitto_sub is needed");
    assert!(subscribed.success());
    let source = Source::start(broker.port, 300, now_ms() - 86_400_000);
    let dropped = || daemon.metric("spiked_broker_dropped_messages_total");
    let mut said = String::new();
    wait_until("it is said", Duration::from_secs(20), || {
        let (status, reasons) = http_get(daemon.http, "/readyz").unwrap_or_default();
        assert!(status == 200, "{reasons}");
        said = reasons;
        said.contains("the broker drops")
    });
    println!(
        "{} messages dropped for another client: {said:?}",
        dropped()
    );
    assert!(dropped() > 0.0 && said.contains("hardly ours"), "{said}");
    source.finish();
}

#[test]
fn a_connection_that_delivers_a_backlog_is_not_given_up() {
    if !have_mosquitto() {
        return;
    }
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_in_memory();
    let mut daemon = Daemon::start(dir.path(), broker.port, SLOW);
    daemon.wait_ready();
    let source = Source::publish(wide, broker.port, 4000, now_ms() - 86_400_000);
    let seconds = number("SPIKED_BACKLOG_S", 3);
    std::thread::sleep(Duration::from_secs(seconds));
    let published = source.sent.load(std::sync::atomic::Ordering::SeqCst);
    let rows = daemon.metric("spiked_rows_total");
    let lost = daemon.metric("spiked_broker_connection_failures_total");
    println!(
        "{seconds} s behind a backlog: {rows} of {published} learned, {lost} connections lost"
    );
    assert!(rows > 0.0 && rows < published as f64, "no backlog");
    assert_eq!(lost, 0.0, "{}", daemon.log());
    source.finish();
    daemon.kill();
}

#[test]
fn idle_http_connections_leave_sockets_to_the_broker() {
    if !have_mosquitto() {
        return;
    }
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let mut broker = Broker::start_in_memory();
    let mut daemon = Daemon::start(dir.path(), broker.port, "");
    daemon.wait_ready();
    let limited = Command::new("prlimit")
        .args(["--pid", &daemon.child.id().to_string(), "--nofile=256:256"])
        .status()
        .expect("prlimit is needed");
    assert!(limited.success());
    let connect = || TcpStream::connect(("127.0.0.1", daemon.http)).unwrap();
    let idle: Vec<TcpStream> = (0..456).map(|_| connect()).collect();
    broker.kill();
    broker.restart();
    wait_until("connected again", Duration::from_secs(10), || {
        let log = daemon.log();
        let connected = "connected to the broker side=Subscriber";
        log.matches(connected).count() >= 2
    });
    drop(idle);
    daemon.wait_ready();
    let mode = daemon.state_file().metadata().unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600, "the state is nobody else's");
    daemon.stop();
}

#[test]
fn two_daemons_of_one_client_id_and_a_slip_in_the_settings_are_told_what_is_wrong() {
    if !have_mosquitto() {
        return;
    }
    let _alone = alone();
    let (dir, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let broker = Broker::start_in_memory();
    let first = Daemon::start(dir.path(), broker.port, "");
    first.wait_ready();
    let second = Daemon::start(other.path(), broker.port, "");
    wait_until("a hint", Duration::from_secs(20), || {
        let hint = "perhaps another client has the same mqtt.client_id";
        first.log().contains(hint) || second.log().contains(hint)
    });
    let file = dir.path().join("slip.toml");
    std::fs::write(&file, "[mqtt]\npassword = \"geheim\nusername = \"x\"\n").unwrap();
    let output = crate::plant::spiked()
        .args(["run", "--config"])
        .arg(&file)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{said}");
    assert!(!said.contains("geheim"), "{said}");
    assert!(said.contains("line 2"), "{said}");
}
