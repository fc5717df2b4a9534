//! Two workers on cores of their own against one, over the same journal.

use std::process::Command;
use std::time::{Duration, Instant};

use crate::cluster::Cluster;
use crate::plant::number;
use crate::server::{Server, have_server};

/// Seconds that the workers `names` take for the whole journal, each on a core of its own, from the moment
/// at which they are ready.
fn learn_anew(cluster: &mut Cluster, names: &[&str], messages: u64) -> f64 {
    cluster.forget();
    for (core, name) in names.iter().enumerate() {
        cluster.start(name);
        let pid = cluster.workers[*name].child.id().to_string();
        let mut pin = Command::new("taskset");
        pin.args(["-acp", &core.to_string(), &pid]);
        let pinned = pin.output().expect("taskset is in util-linux");
        assert!(pinned.status.success(), "{pinned:?}");
    }
    cluster.wait_ready();
    let begin = Instant::now();
    cluster.wait_committed(messages, Duration::from_secs(600));
    let took = begin.elapsed().as_secs_f64();
    cluster.stop_all();
    took
}

#[test]
fn two_workers_take_the_journal_that_one_takes_and_say_how_long() {
    if !have_server() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut cluster = Cluster::new(dir.path(), &server.url(), 16, "");
    cluster.start("first");
    cluster.wait_ready();
    let messages = number("SPIKED_CLUSTER_MESSAGES", 5_000);
    let feed = cluster.feed(messages, 1e5);
    cluster.fed(feed);
    cluster.stop_all();
    let mut ratios = Vec::new();
    for _ in 0..number("SPIKED_CLUSTER_ROUNDS", 1) {
        let one = learn_anew(&mut cluster, &["a"], messages);
        let two = learn_anew(&mut cluster, &["a", "b"], messages);
        println!("{messages} messages: one worker {one:.2} s, two {two:.2} s");
        ratios.push(one / two);
    }
    ratios.sort_by(f64::total_cmp);
    println!("two workers against one: {ratios:.2?} times");
    cluster.assert_learned_once(messages);
}
