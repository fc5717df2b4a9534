//! Clocks gone mad: counted by reason, and without any effect on other streams.

use std::time::Duration;

use rumqttc::{Client, MqttOptions, QoS};
use spiked::state::{Reader, digest, journal};
use spiked::stream::Stream;

use crate::plant::{Broker, Daemon, alone, have_mosquitto, now_ms, wait_until};

/// 2106-02-07, the end of 32-bit clocks.
const YEAR_2106_MS: i64 = 4_294_967_296_000;

#[test]
fn mad_clocks_are_counted_and_leave_other_streams_alone() {
    if !have_mosquitto() {
        return;
    }
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_in_memory();
    let mut daemon = Daemon::start(
        dir.path(),
        broker.port,
        "[stream]\nalign = \"per-reading\"\n",
    );
    daemon.wait_ready();
    let (client, mut connection) =
        Client::new(MqttOptions::new("clock", "127.0.0.1", broker.port), 50);
    std::thread::spawn(move || connection.iter().take_while(Result::is_ok).count());
    let base = now_ms() - 3_600_000;
    // Taken, taken, duplicate, late, a day late, the year 2106 (never a reading), taken.
    let odd = [0, 1000, 1000, 500, -86_400_000, YEAR_2106_MS - base, 2000];
    for k in 0..21_i64 {
        let good = format!("{{\"value\":{},\"ts\":{}}}", k % 5, base + 1000 * k);
        let mad = format!("{{\"value\":{k},\"ts\":{}}}", base + odd[(k / 3) as usize]);
        client
            .publish("plant/good/c", QoS::AtLeastOnce, false, good)
            .unwrap();
        if k % 3 == 0 {
            client
                .publish("plant/mad/c", QoS::AtLeastOnce, false, mad)
                .unwrap();
        }
    }
    wait_until("all are here", Duration::from_secs(10), || {
        daemon.metric("spiked_readings_received_total") >= 27.0
    });
    std::thread::sleep(Duration::from_millis(300));
    let refused = |reason: &str| {
        daemon.metric(&format!(
            "spiked_readings_rejected_total{{reason=\"{reason}\"}}"
        ))
    };
    let counts = ["duplicate", "late", "future"].map(refused);
    assert_eq!(counts, [1.0, 2.0, 1.0]);
    daemon.stop();
    let found = daemon.inspect();
    let reader = Reader::open(&daemon.state_file()).unwrap();
    let (rows, _) = reader.snapshots(Some("good")).unwrap();
    let mut alone = Stream::new("good", &rows[0].snapshot.params().unwrap());
    reader
        .journal(0, |row| {
            for reading in journal::unpack(&row?)?.0.iter().map(|a| &a.reading) {
                if &*reading.stream == "good" {
                    alone.push(reading, &mut Vec::new());
                }
            }
            Ok(())
        })
        .unwrap();
    assert_eq!(found["streams"][0]["digest"], digest(&alone));
    assert_eq!(found["streams"][0]["readings"], 21);
    assert_eq!(found["streams"][1]["readings"], 3);
    println!(
        "mad clocks: duplicate, late, future counted {counts:?}; the good stream is bit for bit as alone"
    );
}
