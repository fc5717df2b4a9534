//! The same questions to every carrier: a claim brings the last commit, the journal all that is behind it.

#[cfg(feature = "jetstream")]
#[path = "../../tests/cluster/server.rs"]
pub(crate) mod server;
#[cfg(feature = "jetstream")]
#[path = "../../tests/kit/waiting.rs"]
mod waiting;

use std::time::Duration;

use super::disk::DiskStore;
use super::store::{Accepted, Store};
use super::{Carrier, CarrierError, DeadLetter, JournalMessage, JournalReader, PartitionCommit};
use crate::config::{Settings, load_plain};
use crate::row::Reading;
use crate::state::digest;
use crate::state::snapshot::Snapshot;
use crate::stream::Stream;

/// Readings in the journal, and in the commit.
const N: u64 = 20;
const COMMITTED: u64 = 10;
/// The reading that is set apart.
const DEAD: u64 = 15;

fn settings(more: &[(&str, String)]) -> Settings {
    let common = [("stream.align", "per-reading".to_owned())];
    load_plain(&[&common[..], more].concat()).unwrap()
}

fn reading(seq: u64) -> Reading {
    Reading {
        seq,
        stream: "press".into(),
        channel: "c".into(),
        value: (seq as f64).sin(),
        ts_ms: 1000 * seq as i64,
        arrival_ms: 1000 * seq as i64,
    }
}

/// Numbers of the messages of a journal up to the last one, and of the readings of a journal that ends.
async fn numbers(mut journal: impl JournalReader) -> Vec<u64> {
    let (mut messages, mut numbers) = (Vec::new(), Vec::new());
    while numbers.last() != Some(&N) {
        let next = tokio::time::timeout(Duration::from_secs(20), journal.next(&mut messages));
        next.await.expect("in time").unwrap();
        if messages.is_empty() {
            break;
        }
        for message in messages.drain(..) {
            match message {
                JournalMessage::Sent { sequence, .. } => numbers.push(sequence),
                JournalMessage::Accepted { readings, .. } => {
                    numbers.extend(readings.iter().map(|reading| reading.seq));
                }
            }
        }
    }
    numbers
}

/// Claims, commits, releases and claims again. `feed` has the journal take `N` messages of a reading each.
async fn keeps_its_promises<C: Carrier>(
    settings: &Settings,
    open: impl AsyncFn() -> C,
    feed: impl AsyncFn(&C),
) {
    let params = settings.stream_params();
    let carrier = open().await;
    let first = carrier.claim(0, "", params).await.unwrap();
    assert_eq!((first.streams.len(), first.position), (0, 0), "nothing yet");
    feed(&carrier).await;
    let mut stream = Stream::new("press", params);
    for seq in 1..=COMMITTED {
        stream.push(&reading(seq), &mut Vec::new());
    }
    let snapshot = Snapshot::of(&stream, &stream.params(), 7);
    let commit = PartitionCommit {
        streams: Some(vec![snapshot]),
        position: Some(COMMITTED),
        ..PartitionCommit::default()
    };
    let stale = carrier.commit(0, first.epoch + 1, commit.clone()).await;
    assert!(
        matches!(stale, Err(CarrierError::Fenced { .. })),
        "{stale:?}"
    );
    carrier.commit(0, first.epoch, commit).await.unwrap();
    let dead_letter = DeadLetter {
        seq: DEAD,
        stream: "press".to_owned(),
        reading: serde_json::to_string(&reading(DEAD)).unwrap(),
        reason: "a panic".to_owned(),
    };
    let last = PartitionCommit {
        dead_letter: Some(dead_letter),
        releases: true,
        ..PartitionCommit::default()
    };
    carrier.commit(0, first.epoch, last.clone()).await.unwrap();
    let released = carrier.commit(0, first.epoch, last).await;
    assert!(
        matches!(released, Err(CarrierError::Fenced { .. })),
        "{released:?}"
    );
    drop(carrier);

    let carrier = open().await;
    let second = carrier.claim(0, "", params).await.unwrap();
    assert_eq!(second.position, COMMITTED);
    let digests: Vec<String> = second.streams.iter().map(digest).collect();
    assert_eq!(digests, [digest(&stream)]);
    // Read twice, since a reader may break off.
    for _ in 0..2 {
        let journal = carrier.read(second.position).await.unwrap();
        let mut numbers = numbers(journal).await;
        numbers.retain(|n| second.dead_letters.iter().all(|letter| letter.seq != *n));
        let due = (COMMITTED + 1..=N).filter(|n| *n != DEAD);
        assert_eq!(numbers, due.collect::<Vec<_>>());
    }
    let pending = second.pending.values().sum::<u64>();
    assert!(pending == 0 || pending == N - COMMITTED - 1, "{pending}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_state_file_brings_the_last_commit_and_what_is_behind_it() {
    let dir = tempfile::tempdir().unwrap();
    let settings = settings(&[("state.dir", dir.path().display().to_string())]);
    let open = async || DiskStore::open(&settings.state).unwrap();
    let feed = async |store: &DiskStore| {
        let (tell, told) = tokio::sync::oneshot::channel();
        let group = (1..=N).map(|seq| Accepted {
            delivery: None,
            reading: reading(seq),
        });
        let done = move |kept: Result<(), String>| tell.send(kept).unwrap();
        store.accept(group.collect(), Box::new(done));
        told.await.unwrap().unwrap();
    };
    keeps_its_promises(&settings, open, feed).await;
}

#[cfg(feature = "jetstream")]
mod of_jetstream {
    use super::*;
    use crate::carrier::SharedCarrier;
    use crate::carrier::jetstream::JetStream;

    #[tokio::test(flavor = "multi_thread")]
    async fn a_server_brings_the_last_commit_and_what_is_behind_it() {
        if !server::have_server() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        let server = server::Server::start(dir.path());
        let settings = settings(&[("cluster.url", server.url())]);
        let cluster = settings.cluster.clone().unwrap();
        let open = async || {
            let filters = ["plant/+/+".to_owned()];
            let carrier = JetStream::connect(&cluster, &filters, "spiked/main").await;
            let carrier = carrier.unwrap();
            carrier.prepare().await.unwrap();
            carrier
        };
        let feed = async |_: &JetStream| {
            let client = async_nats::connect(server.url()).await.unwrap();
            let context = async_nats::jetstream::new(client);
            for seq in 1..=N {
                let payload = reading(seq).value.to_string();
                let sent = context.publish("plant.press.c", payload.into()).await;
                sent.unwrap().await.unwrap();
            }
        };
        keeps_its_promises(&settings, open, feed).await;
    }
}
