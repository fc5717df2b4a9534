//! Workers that join and leave, a server that is killed, and a commit that comes too late.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use spiked::carrier::jetstream::JetStream;
use spiked::carrier::{
    Carrier, CarrierError, ClaimedPartition, PartitionCommit, SharedCarrier, owner_of,
};
use spiked::config::{ClusterSettings, from_text};

use crate::cluster::Cluster;
use crate::plant::{Source, free_port, http_get, now_ms, payload, wait_until};
use crate::server::{Server, have_server};

fn settings(url: &str) -> ClusterSettings {
    let text = format!("[cluster]\nurl = \"{url}\"\nname = \"t\"\n");
    from_text(&text).unwrap().cluster.unwrap()
}

#[tokio::test]
async fn a_commit_of_a_worker_that_has_lost_its_lease_is_refused_and_changes_nothing() {
    if !have_server() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let filters = ["plant/+/+".to_owned()];
    let connect = || async {
        let settings = settings(&server.url());
        JetStream::connect(&settings, &filters, "spiked/main")
            .await
            .unwrap()
    };
    let (old, new) = (connect().await, connect().await);
    old.prepare().await.unwrap();
    new.prepare().await.unwrap();
    let params = from_text("").unwrap().stream_params().clone();
    let claim = async |worker: &JetStream, dead: &str| -> Result<ClaimedPartition, CarrierError> {
        worker.claim(7, dead, &params).await
    };
    let first = claim(&old, "").await.unwrap();
    assert_eq!((first.epoch, first.position), (1, 0));
    let commit = |position, releases| PartitionCommit {
        streams: Some(Vec::new()),
        position: Some(position),
        releases,
        ..PartitionCommit::default()
    };
    old.commit(7, 1, commit(10, false)).await.unwrap();
    let refused = claim(&new, "").await.err();
    assert_eq!(
        refused,
        Some(CarrierError::Fenced {
            partition: 7,
            epoch: 1
        }),
        "it has an owner"
    );
    let second = claim(&new, old.worker()).await.unwrap();
    assert_eq!((second.epoch, second.position), (2, 10));
    let stale = old.commit(7, 1, commit(99, false)).await.unwrap_err();
    assert_eq!(
        stale,
        CarrierError::Fenced {
            partition: 7,
            epoch: 2
        }
    );
    new.commit(7, 2, commit(11, true)).await.unwrap();
    let lease = new.view().await.unwrap().leases[&7].clone();
    assert_eq!(
        (lease.epoch, lease.position, lease.owner.as_str()),
        (2, 11, "")
    );
    assert!(
        new.state(7).await.unwrap().is_some(),
        "the refused state is not there, the last one is"
    );
}

/// Readings of 24 streams over MQTT.
pub fn source(server: &Server) -> Source {
    let message = |k: u64, base_ms| (format!("plant/s{}/c", k % 24), payload(k, base_ms));
    Source::publish(message, server.mqtt, 300, now_ms() - 86_400_000)
}

/// Waits until each partition is with the worker that it is dealt to; returns its worker and its epoch.
fn settled(cluster: &Cluster, workers: &[&str]) -> BTreeMap<u16, (String, u64)> {
    let dealt = |partition| owner_of(partition, workers.iter().copied()).unwrap();
    let name = |worker: &str| worker.split('.').next().unwrap_or_default().to_owned();
    let mut found = BTreeMap::new();
    wait_until("all is dealt", Duration::from_secs(20), || {
        let leases = cluster.view().leases.into_iter();
        found = leases
            .map(|(partition, lease)| (partition, (name(&lease.owner), lease.epoch)))
            .collect();
        found
            .iter()
            .all(|(p, (owner, _))| *owner == name(dealt(*p)))
    });
    found
}

/// A partition was claimed once where its worker is another one, and not at all otherwise.
fn assert_moved_once(before: &BTreeMap<u16, (String, u64)>, after: &BTreeMap<u16, (String, u64)>) {
    for (partition, (owner, epoch)) in after {
        let (owner_before, epoch_before) = &before[partition];
        let moves = u64::from(owner != owner_before);
        assert_eq!(
            *epoch,
            epoch_before + moves,
            "{partition}: {before:?} {after:?}"
        );
    }
}

#[test]
fn who_joins_or_leaves_moves_only_its_own_partitions_and_nothing_is_learned_twice() {
    if !have_server() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let mut cluster = Cluster::new(dir.path(), &server.url(), 16, "");
    cluster.start("a");
    cluster.wait_ready();
    let source = source(&server);
    let one = settled(&cluster, &["a.1"]);
    cluster.start("b");
    let two = settled(&cluster, &["a.1", "b.1"]);
    assert_moved_once(&one, &two);
    cluster.start("c");
    let three = settled(&cluster, &["a.1", "b.1", "c.1"]);
    assert_moved_once(&two, &three);
    let mut leaving = cluster.workers.remove("b").unwrap();
    leaving.stop();
    let left = settled(&cluster, &["a.1", "c.1"]);
    assert_moved_once(&three, &left);
    let sent = source.finish();
    assert_eq!(
        cluster.sum("spiked_cluster_stale_writes_refused_total"),
        0.0,
        "all went in order"
    );
    cluster.assert_learned_once(sent);
}

#[test]
fn a_server_that_is_killed_loses_nothing_that_it_has_and_readiness_says_that_it_is_missing() {
    if !have_server() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut server = Server::start(dir.path());
    let mut cluster = Cluster::new(dir.path(), &server.url(), 16, "");
    cluster.start("a");
    cluster.start("b");
    cluster.wait_ready();
    let first = source(&server);
    std::thread::sleep(Duration::from_millis(1500));
    let sent = first.finish();
    server.kill();
    wait_until(
        "the workers miss the server",
        Duration::from_secs(20),
        || {
            cluster.workers.values().all(|worker| {
                let answer = http_get(worker.http, "/readyz");
                answer.is_some_and(|(status, text)| status == 503 && text.contains("no connection"))
            })
        },
    );
    server.start_again();
    cluster.wait_ready();
    let more = source(&server);
    std::thread::sleep(Duration::from_millis(1500));
    let sent = sent + more.finish();
    wait_until(
        "the journal has everything",
        Duration::from_secs(20),
        || {
            cluster
                .try_view()
                .is_some_and(|view| view.last_sequence >= sent)
        },
    );
    cluster.assert_learned_once(sent);
}

/// Three servers that keep three copies of everything.
fn three_servers(dir: &Path) -> Vec<Server> {
    let routes: Vec<u16> = (0..3).map(|_| free_port()).collect();
    let all = routes.iter().map(|port| format!("nats://127.0.0.1:{port}"));
    let all = all.collect::<Vec<_>>().join(", ");
    let configured = (0..3).map(|i| {
        let (port, mqtt) = (free_port(), free_port());
        let text = format!(
            "server_name: n{i}\nlisten: 127.0.0.1:{port}\n\
             jetstream {{ store_dir: \"{}/nats{i}\", sync_interval: 1s }}\n\
             mqtt {{ listen: 127.0.0.1:{mqtt}, stream_replicas: 3 }}\n\
             cluster {{ name: plant, listen: 127.0.0.1:{}, routes: [{all}] }}\n",
            dir.display(),
            routes[i]
        );
        Server::configured(dir, &format!("n{i}"), port, mqtt, &text)
    });
    configured.collect()
}

/// Long form: `SPIKED_CLUSTER_SERVERS=1`.
#[test]
fn one_of_three_servers_is_killed_and_the_work_goes_on() {
    if std::env::var_os("SPIKED_CLUSTER_SERVERS").is_none() || !have_server() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let mut servers = three_servers(dir.path());
    let urls: Vec<String> = servers.iter().map(Server::url).collect();
    let mut cluster = Cluster::new(dir.path(), &urls.join(","), 16, "replicas = 3\n");
    cluster.start("a");
    cluster.start("b");
    cluster.wait_ready();
    // Not over MQTT: its listener may leave messages unacknowledged when the leader of a stream changes.
    let n = 4_000;
    let feed = cluster.feed(n, 300.0);
    let stored = || cluster.messages("t") >= 900;
    wait_until("messages are stored", Duration::from_secs(20), stored);
    servers[2].kill();
    cluster.fed(feed);
    cluster.wait_ready();
    cluster.assert_learned_once(n);
}
