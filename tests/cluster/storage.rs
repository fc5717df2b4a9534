//! A server whose storage is full: it acknowledges nothing more, and loses nothing that it has.

use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use crate::cluster::Cluster;
use crate::membership::source;
use crate::plant::{free_port, http_get, wait_until};
use crate::server::{Server, have_server};

#[test]
fn a_server_whose_storage_is_full_loses_nothing_acknowledged_and_the_work_goes_on_with_room() {
    if !have_server() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let (port, mqtt) = (free_port(), free_port());
    let text = format!(
        "server_name: one\nlisten: 127.0.0.1:{port}\n\
         jetstream {{ store_dir: \"{}/nats\", max_file_store: 64MB }}\n\
         mqtt {{ listen: 127.0.0.1:{mqtt} }}\n",
        dir.path().display()
    );
    let server = Server::configured(dir.path(), "one", port, mqtt, &text);
    let mut cluster = Cluster::new(dir.path(), &server.url(), 16, "");
    cluster.start("a");
    cluster.start("b");
    cluster.wait_ready();
    let first = source(&server);
    wait_until("something is committed", Duration::from_secs(20), || {
        cluster
            .view()
            .leases
            .values()
            .any(|lease| lease.position > 0)
    });
    cluster.fill_storage();
    wait_until(
        "the workers say what is missing",
        Duration::from_secs(60),
        || {
            cluster.workers.values().all(|worker| {
                let answer = http_get(worker.http, "/readyz");
                answer.is_some_and(|(status, text)| {
                    status == 503 && text.contains("the server's storage is full")
                })
            })
        },
    );
    let acknowledged = first.acked.load(SeqCst);
    cluster.make_room();
    cluster.wait_ready();
    assert!(
        cluster.messages("t") >= acknowledged,
        "the journal has them"
    );
    let more = source(&server);
    wait_until("more readings are taken", Duration::from_secs(20), || {
        more.acked.load(SeqCst) >= 300
    });
    let acknowledged = acknowledged + more.finish();
    let journal = cluster.messages("t");
    assert!(journal >= acknowledged, "{journal} of {acknowledged}");
    cluster.assert_learned_once(journal);
}
