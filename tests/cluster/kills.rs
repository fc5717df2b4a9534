//! Workers killed and stopped at random moments under load: every reading of the journal is learned once,
//! in order, and every stream's state is bit for bit that of one worker left in peace.

use std::time::{Duration, Instant};

use crate::cluster::{Cluster, LEASE_S};
use crate::plant::{Dice, Source, now_ms, number, payload, signal};
use crate::server::{Server, have_server};

/// Seconds beyond the lease within which a partition has a worker again.
const BEYOND_LEASE: f64 = 1.0;
/// The same at most, where others use the machine as well.
const BUSY_MACHINE: f64 = 5.0;

const WORKERS: [&str; 3] = ["a", "b", "c"];

#[test]
fn three_workers_killed_and_stopped_at_random_learn_every_reading_once_and_in_order() {
    if !have_server() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let partitions = number("SPIKED_CLUSTER_PARTITIONS", 16);
    let mut cluster = Cluster::new(dir.path(), &server.url(), partitions, "");
    for name in WORKERS {
        cluster.start(name);
    }
    cluster.wait_ready();
    let n_streams = number("SPIKED_CLUSTER_STREAMS", 24);
    let message = move |k: u64, base_ms| {
        let topic = format!("plant/s{}/c{}", k % n_streams, k / n_streams % 2);
        (topic, payload(k, base_ms))
    };
    let rate = number("SPIKED_CLUSTER_RATE", 400);
    let source = Source::publish(message, server.mqtt, rate, now_ms() - 86_400_000);
    let (mut dice, mut gaps, mut refused) = (Dice(0x5eed), Vec::new(), 0.0);
    let kills = number("SPIKED_CLUSTER_KILLS", 4);
    for kill in 0..kills {
        std::thread::sleep(Duration::from_millis(300 + dice.below(700)));
        let name = WORKERS[dice.below(3) as usize];
        let whole = cluster.wait_for_partitions(name);
        let is_stop = kill % 4 == 3;
        let since = Instant::now();
        if is_stop {
            signal(&cluster.workers[name].child, "STOP");
        } else {
            cluster.workers.get_mut(name).unwrap().kill();
        }
        gaps.push(cluster.taken_over(&whole, since).as_secs_f64());
        if is_stop {
            signal(&cluster.workers[name].child, "CONT");
            let worker = &cluster.workers[name];
            let metric = || worker.metric("spiked_cluster_stale_writes_refused_total");
            crate::plant::wait_until("its writes are refused", Duration::from_secs(20), || {
                metric() > 0.0
            });
            refused += metric();
        } else {
            cluster.start(name);
        }
        cluster.wait_ready();
    }
    let sent = source.finish();
    let journal = cluster.messages("t");
    assert_eq!(
        journal, sent,
        "the journal has what the devices were told is taken"
    );
    gaps.sort_by(f64::total_cmp);
    println!(
        "{kills} kills, {n_streams} streams, {journal} readings: {refused} stale writes refused, longest time \
         without a worker {:.2} s with leases of {LEASE_S} s",
        gaps.last().unwrap_or(&0.0)
    );
    assert!(refused > 0.0);
    cluster.assert_learned_once(journal);
    let median = gaps.get(gaps.len() / 2).copied().unwrap_or(0.0);
    assert!(
        median <= LEASE_S + BEYOND_LEASE,
        "{median} s without a worker: {gaps:?}"
    );
    let longest = gaps.last().copied().unwrap_or(0.0);
    assert!(
        longest <= LEASE_S + BUSY_MACHINE,
        "{longest} s without a worker: {gaps:?}"
    );
}
