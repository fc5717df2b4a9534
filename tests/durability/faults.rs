//! Faults of the network and of the disk: the daemon comes back by itself, and nothing is lost.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use crate::plant::{Broker, Daemon, Source, alone, have_mosquitto, http_get, now_ms, wait_until};
use crate::proxy::{Mode, Proxy};

const CONFIG: &str = "[state]\nsnapshot_every_s = 1.0\n[stream]\nalign = \"per-reading\"\n";
/// The cap of the back-off that the test's daemon has, and a second.
const COMES_BACK: Duration = Duration::from_secs(2);
/// Clock ticks a second in /proc.
const TICKS: f64 = 100.0;

fn received(daemon: &Daemon) -> f64 {
    daemon.metric("spiked_readings_received_total")
}

#[test]
fn a_network_that_cuts_stalls_trickles_or_delays_is_outlived_and_nothing_is_lost() {
    if !have_mosquitto() {
        return;
    }
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_in_memory();
    let proxy = Proxy::start(broker.port);
    let mut daemon = Daemon::start(dir.path(), proxy.port, CONFIG);
    daemon.wait_ready();
    let source = Source::start(broker.port, 200, now_ms() - 86_400_000);
    let faults = [
        (Mode::Cut, 3000),
        (Mode::Silent, 12_000),
        (Mode::Trickle, 3000),
        (Mode::Delay, 3000),
    ];
    for (mode, lasts_ms) in faults {
        std::thread::sleep(Duration::from_millis(300));
        let losses = daemon.metric("spiked_broker_connection_failures_total");
        let (_, cpu) = daemon.usage();
        proxy.set(mode);
        std::thread::sleep(Duration::from_millis(lasts_ms));
        let cpu = (daemon.usage().1 - cpu) as f64 / TICKS / (lasts_ms as f64 / 1000.0);
        if mode == Mode::Silent {
            let noticed = daemon.metric("spiked_broker_connection_failures_total");
            assert!(noticed > losses, "a silent broker is not noticed");
        }
        if mode == Mode::Trickle {
            // The trickled bytes are of no use any more: the connection is cut, as a router would.
            proxy.set(Mode::Cut);
            std::thread::sleep(Duration::from_millis(100));
        }
        let before = received(&daemon);
        let back = Instant::now();
        proxy.set(Mode::Pass);
        // A connection attempt that hangs in the fault has its own limit of 5 s.
        let limit = if mode == Mode::Silent {
            COMES_BACK + Duration::from_secs(5)
        } else {
            COMES_BACK
        };
        wait_until(
            "readings flow again",
            limit + Duration::from_secs(3),
            || received(&daemon) > before,
        );
        let took = back.elapsed();
        println!(
            "{mode:?}: back after {:.2} s, {:.1}% of a core during the fault",
            took.as_secs_f64(),
            100.0 * cpu
        );
        assert!(took <= limit, "{mode:?}: {took:?}");
        assert!(mode != Mode::Cut || cpu < 0.05, "{mode:?}: {cpu} of a core");
    }
    let published = source.finish();
    let metric = || received(&daemon);
    wait_until("every reading is here", Duration::from_secs(20), || {
        metric() >= published as f64
    });
    daemon.stop();
    assert_eq!(learned(&daemon), published);
}

fn learned(daemon: &Daemon) -> u64 {
    let found = daemon.inspect();
    let streams = found["streams"].as_array().unwrap();
    streams.iter().filter_map(|s| s["readings"].as_u64()).sum()
}

/// A limit on the size of files stands for a full disk: writes fall short or fail.
#[test]
fn a_disk_without_room_stops_acknowledgements_and_costs_nothing() {
    let prlimit = |pid: u32, limit: &str| {
        Command::new("prlimit")
            .args(["--pid", &pid.to_string(), &format!("--fsize={limit}")])
            .stderr(Stdio::null())
            .status()
            .is_ok_and(|status| status.success())
    };
    if !have_mosquitto() || !prlimit(std::process::id(), "unlimited:unlimited") {
        println!("skipped: mosquitto or prlimit is missing");
        return;
    }
    let _alone = alone();
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start_in_memory();
    let mut daemon = Daemon::start_ignoring_file_size(dir.path(), broker.port, CONFIG);
    daemon.wait_ready();
    let source = Source::start(broker.port, 500, now_ms() - 86_400_000);
    std::thread::sleep(Duration::from_millis(500));
    assert!(prlimit(daemon.child.id(), "100000:unlimited"));
    wait_until(
        "the daemon says that it cannot write",
        Duration::from_secs(20),
        || http_get(daemon.http, "/readyz").is_some_and(|(status, _)| status == 503),
    );
    let (alive, _) = http_get(daemon.http, "/healthz").unwrap();
    assert_eq!(alive, 200, "it waits for room, and that is all");
    let acked = daemon.metric("spiked_acks_total");
    std::thread::sleep(Duration::from_millis(1000));
    assert_eq!(
        daemon.metric("spiked_acks_total"),
        acked,
        "acknowledged without a disk"
    );
    // A kill in the middle of it, and a disk with room again.
    daemon.kill();
    daemon.restart();
    daemon.wait_ready();
    let published = source.finish();
    std::thread::sleep(Duration::from_millis(200));
    let state = daemon.state_file();
    wait_until(
        "every reading is journaled",
        Duration::from_secs(30),
        || {
            let reader = spiked::state::Reader::open(&state).unwrap();
            reader
                .journal_span()
                .unwrap()
                .is_some_and(|(.., last)| last >= published)
        },
    );
    daemon.stop();
    assert_eq!(learned(&daemon), published);
    println!("a full disk, a kill, room again: {published} of {published} readings learned");
}
