//! A worker of a cluster, nats-server and all, with engines that panic over certain values.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::sync::oneshot;

use super::panic_tests::{N, publish, wait_for};
use super::partitions::READING_BITS;
use super::{Hooks, serve};
use crate::carrier::contract_tests::server::{Server, have_server};
use crate::carrier::jetstream::JetStream;
use crate::carrier::{Carrier, JournalMessage, JournalReader};
use crate::config::{Settings, load_plain};
use crate::decode::InboundMessage;
use crate::row::StreamId;
use crate::state::digest;
use crate::stream::Stream;

fn settings(server: &Server) -> Settings {
    load_plain(&[
        ("cluster.url", server.url()),
        ("cluster.lease_s", "1.0".to_owned()),
        ("cluster.commit_every_s", "0.5".to_owned()),
        ("cluster.partitions", "4".to_owned()),
        ("stream.align", "per-reading".to_owned()),
        ("http.listen", String::new()),
    ])
    .unwrap()
}

/// The streams that learn the whole journal but reading number `dead`, one reading after the other.
async fn learned_in_peace(
    settings: &Settings,
    carrier: &JetStream,
    dead: u64,
) -> BTreeMap<StreamId, Stream> {
    let mut journal = carrier.read(0).await.unwrap();
    let (mut messages, mut readings) = (Vec::new(), Vec::new());
    while (messages.len() as u64) < N {
        journal.next(&mut messages).await.unwrap();
    }
    let mut decoder = settings.decoder(0);
    for message in &messages {
        let JournalMessage::Sent {
            sequence,
            stored_ms,
            topic,
            payload,
            ..
        } = message
        else {
            panic!("{message:?}");
        };
        decoder.last_seq = sequence << READING_BITS;
        let sent = InboundMessage {
            topic,
            payload,
            retained: false,
            arrival_ms: *stored_ms,
            properties: &[],
        };
        assert!(decoder.read(sent, &mut readings).is_ok());
    }
    let mut streams = BTreeMap::new();
    for reading in readings.iter().filter(|reading| reading.seq != dead) {
        let new = || Stream::new(&reading.stream, settings.stream_params());
        let stream = streams.entry(reading.stream.clone()).or_insert_with(new);
        stream.push(reading, &mut Vec::new());
    }
    streams
}

#[tokio::test(flavor = "multi_thread")]
async fn a_partition_whose_engine_panics_goes_on_from_its_last_commit_without_the_deadly_reading() {
    if !have_server() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let settings = settings(&server);
    let cluster = settings.cluster.clone().unwrap();
    let ((stop, stopped), (tell, told)) = (oneshot::channel::<()>(), oneshot::channel());
    let hooks = Hooks {
        started: Some(tell),
        ..Hooks::default()
    };
    let worker = tokio::spawn(serve(settings.clone(), hooks, async move {
        let _ = stopped.await;
    }));
    let shared = told.await.unwrap();
    wait_for("ready", || shared.health().ready).await;
    publish(SocketAddr::from(([127, 0, 0, 1], server.mqtt)), "t").await;
    let carrier = JetStream::connect(&cluster, &[], "").await.unwrap();
    let is_committed = async {
        loop {
            let view = carrier.view().await.unwrap();
            let mut leases = view.leases.values();
            if view.last_sequence >= N && leases.all(|lease| lease.position >= N) {
                return;
            }
        }
    };
    let in_time = tokio::time::timeout(Duration::from_secs(60), is_committed).await;
    in_time.expect("everything is committed");
    assert_eq!(shared.metrics.worker_panics.get(), 2 + 3);
    assert_eq!(shared.metrics.cluster.quarantined.get(), 1);
    let health = shared.health();
    assert!(health.alive && !health.ready, "{health:?}");
    assert!(health.reasons[0].contains("panicked"), "{health:?}");
    stop.send(()).unwrap();
    assert!(worker.await.unwrap().unwrap().clean);

    let view = carrier.view().await.unwrap();
    let letters = view.leases.values().flat_map(|lease| &lease.dead_letters);
    let letters: Vec<_> = letters.collect();
    assert_eq!(letters.len(), 1, "{letters:?}");
    let letter = letters[0];
    assert_eq!(letter.stream, "t2");
    assert!(letter.reading.contains("\"value\":666.75"), "{letter:?}");
    assert!(letter.reason.contains("asked to panic"), "{letter:?}");
    let calm = learned_in_peace(&settings, &carrier, letter.seq).await;
    let mut committed = BTreeMap::new();
    for partition in 0..cluster.partitions {
        for snapshot in carrier
            .state(partition)
            .await
            .unwrap()
            .unwrap_or_default()
            .streams
        {
            let stream = snapshot.open().unwrap();
            committed.insert(stream.name().clone(), digest(&stream));
        }
    }
    let calm: BTreeMap<_, _> = calm
        .iter()
        .map(|(name, s)| (name.clone(), digest(s)))
        .collect();
    assert_eq!(calm.len(), 3);
    assert_eq!(committed, calm, "as if nobody had panicked");
}
