//! Two workers on cores of their own against one, over the same journal.

use std::process::{Child, Command};
use std::time::{Duration, Instant};

use crate::cluster::Cluster;
use crate::plant::number;
use crate::server::{Server, have_server};

/// Seconds that the workers `names` take for the whole journal, each on a core of its own, from the moment
/// at which they are ready; and the processor time of the one that took most.
fn learn_anew(cluster: &mut Cluster, names: &[&str], messages: u64) -> [f64; 2] {
    cluster.forget();
    for (core, name) in names.iter().enumerate() {
        cluster.start(name);
        let pid = cluster.workers[*name].child.id().to_string();
        let mut pin = Command::new("taskset");
        pin.args(["-acp", &core.to_string(), &pid]);
        let pinned = pin.output().expect("taskset is in util-linux");
        if !pinned.status.success() {
            println!("{name} has no core of its own: {pinned:?}");
        }
    }
    cluster.wait_ready();
    let begin = Instant::now();
    cluster.wait_committed(messages, Duration::from_secs(600));
    let took = begin.elapsed().as_secs_f64();
    let busy = names
        .iter()
        .map(|name| processor_s(&cluster.workers[*name].child));
    let busiest = busy.fold(0.0, f64::max);
    cluster.stop_all();
    [took, busiest]
}

/// Processor time of a process, seconds.
fn processor_s(child: &Child) -> f64 {
    let stat = std::fs::read_to_string(format!("/proc/{}/stat", child.id())).unwrap();
    // Behind the name: user and system time are the 12th and 13th, in hundredths of a second.
    let fields = stat.rsplit(") ").next().unwrap().split(' ');
    let times = fields.skip(11).take(2);
    times
        .map(|ticks| ticks.parse::<f64>().unwrap())
        .sum::<f64>()
        / 100.0
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
        println!(
            "{messages} messages, time and processor time of the busiest: one worker {one:.2?} s, two {two:.2?} s"
        );
        ratios.push([one[0] / two[0], one[1] / two[1]]);
    }
    println!("two workers against one, by time and by processor time: {ratios:.2?} times");
    cluster.assert_learned_once(messages);
}
