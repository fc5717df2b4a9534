//! Idle streams leave memory and come back with their next reading, bit for bit, also over a kill.

use std::collections::BTreeMap;
use std::time::Duration;

use rumqttc::{Client, MqttOptions, QoS};
use spiked::state::digest;

use crate::kill::{note_journal, replayed};
use crate::plant::{Broker, Daemon, alone, have_mosquitto, now_ms, payload, wait_until};

const CONFIG: &str = "[stream]\nalign = \"per-reading\"\n[state]\nidle_evict_s = 1.0\n";
const STREAMS: u64 = 4;

struct Feed {
    client: Client,
    base_ms: i64,
    k: u64,
}

impl Feed {
    fn new(port: u16) -> Feed {
        let (client, mut connection) = Client::new(MqttOptions::new("feed", "127.0.0.1", port), 50);
        std::thread::spawn(move || connection.iter().take_while(Result::is_ok).count());
        Feed {
            client,
            base_ms: now_ms() - 86_400_000,
            k: 0,
        }
    }

    /// The next `n` readings, to the first `streams` streams in turn.
    fn publish(&mut self, n: u64, streams: u64) {
        for _ in 0..n {
            self.k += 1;
            let topic = format!("plant/s{}/c{}", self.k % streams, self.k / streams % 2);
            let text = payload(self.k, self.base_ms);
            self.client
                .publish(topic, QoS::AtLeastOnce, false, text)
                .unwrap();
        }
    }
}

fn wait_evicted(daemon: &Daemon, n: u64) {
    wait_until("idle streams leave", Duration::from_secs(30), || {
        daemon.metric("spiked_streams_evicted") == n as f64
    });
}

fn wait_received(daemon: &Daemon, n: u64) {
    wait_until("readings arrive", Duration::from_secs(10), || {
        daemon.metric("spiked_readings_received_total") >= n as f64
    });
}

#[test]
fn idle_streams_leave_memory_and_come_back_with_the_same_bits_also_over_a_kill() {
    if !have_mosquitto() {
        return;
    }
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_in_memory();
    let mut daemon = Daemon::start(dir.path(), broker.port, CONFIG);
    daemon.wait_ready();
    let mut feed = Feed::new(broker.port);
    feed.publish(403, STREAMS);
    wait_received(&daemon, 403);
    wait_evicted(&daemon, STREAMS);
    assert_eq!(daemon.metric("spiked_streams"), STREAMS as f64);
    // One comes back, in the middle of a mini-batch, and leaves again.
    feed.publish(3, 1);
    wait_received(&daemon, 406);
    wait_until("one comes back", Duration::from_secs(5), || {
        daemon.metric("spiked_stream_returns_total") == 1.0
    });
    wait_evicted(&daemon, STREAMS);
    assert_eq!(daemon.metric("spiked_stream_evictions_total"), 5.0);
    // A kill just after two came back: what they learned since is in the journal.
    feed.publish(50, 2);
    wait_received(&daemon, 456);
    daemon.kill();
    daemon.restart();
    daemon.wait_ready();
    wait_evicted(&daemon, STREAMS);
    feed.publish(202, STREAMS);
    wait_received(&daemon, 202);
    wait_until("all are back", Duration::from_secs(5), || {
        daemon.metric("spiked_stream_returns_total") == STREAMS as f64
    });
    daemon.stop();
    let learned = same_bits(&daemon, STREAMS);
    assert_eq!(learned, feed.k);
    println!(
        "{STREAMS} streams left memory and came back, a kill between: {learned} readings learned once, digests equal"
    );
}

/// Holds every stream against one that was fed without interruption; returns the readings learned.
fn same_bits(daemon: &Daemon, streams: u64) -> u64 {
    let mut known = BTreeMap::new();
    note_journal(&daemon.state_file(), &mut known);
    let found = daemon.inspect();
    let alone = replayed(&known, &daemon.state_file());
    assert_eq!(alone.len(), streams as usize);
    let mut learned = 0;
    for (stream, found) in alone.iter().zip(found["streams"].as_array().unwrap()) {
        assert_eq!(found["stream"], &**stream.name());
        assert_eq!(found["digest"], digest(stream), "{}", stream.name());
        learned += stream.readings();
    }
    learned
}

#[test]
fn the_memory_of_streams_that_left_goes_back_to_the_system() {
    const MANY: u64 = 300;
    if !have_mosquitto() {
        return;
    }
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_in_memory();
    let config = CONFIG.replace("per-reading", "when-complete");
    let mut daemon = Daemon::start(dir.path(), broker.port, &config);
    daemon.wait_ready();
    let rss = |daemon: &Daemon| daemon.usage().0;
    let empty = rss(&daemon);
    let feed = Feed::new(broker.port);
    let send = |rows: std::ops::Range<u64>| {
        for (row, stream, channel) in rows
            .flat_map(|row| (0..MANY).map(move |stream| (row, stream)))
            .flat_map(|(row, stream)| (0..8).map(move |channel| (row, stream, channel)))
        {
            let topic = format!("plant/s{stream}/c{channel}");
            let ts = feed.base_ms + row as i64 * 60_000;
            let text = format!("{{\"value\":{},\"ts\":{ts}}}", (row * 7 + channel) % 5);
            let sent = feed.client.publish(topic, QoS::AtLeastOnce, false, text);
            sent.unwrap();
        }
    };
    send(0..4);
    wait_received(&daemon, 4 * MANY * 8);
    let live = rss(&daemon);
    wait_evicted(&daemon, MANY);
    wait_until("memory goes back", Duration::from_secs(40), || {
        rss(&daemon) < empty + (live - empty) / 2
    });
    let left = rss(&daemon);
    send(4..5);
    wait_received(&daemon, 5 * MANY * 8);
    daemon.stop();
    assert_eq!(same_bits(&daemon, MANY), 5 * MANY * 8);
    println!("RSS, KiB: {empty} empty, {live} with {MANY} streams, {left} without: digests equal");
}
