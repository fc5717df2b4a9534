//! The whole daemon, broker and state file and all, with engines that panic over certain values.

use std::collections::BTreeMap;
use std::path::Path;
use std::time::Duration;

use rumqttc::{AsyncClient, MqttOptions, QoS};
use tokio::sync::oneshot;

use super::{Hooks, Status, serve};
use crate::carrier::disk::DiskStore;
use crate::carrier::store::Store;
use crate::cli::demo::broker;
use crate::config::{Settings, load_plain};
use crate::row::StreamId;
use crate::state::tests::{ALWAYS, TWICE};
use crate::state::{Reader, digest, journal};
use crate::stream::Stream;

/// Readings published, to three streams in turn.
pub(super) const N: u64 = 900;

fn settings(broker: std::net::SocketAddr, dir: &Path) -> Settings {
    load_plain(&[
        ("mqtt.url", format!("mqtt://{broker}")),
        ("mqtt.watch_broker", "false".to_owned()),
        ("state.dir", dir.display().to_string()),
        ("state.snapshot_every_s", "1".to_owned()),
        ("stream.align", "per-reading".to_owned()),
        ("http.listen", String::new()),
    ])
    .unwrap()
}

pub(super) async fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..2000 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not within 20 s: {what}");
}

/// Readings to three streams, one of which is panicked over twice, and one always.
pub(super) async fn publish(broker: std::net::SocketAddr, streams: &str) {
    let options = MqttOptions::new("source", "127.0.0.1", broker.port());
    let (client, mut events) = AsyncClient::new(options, 50);
    let polling = tokio::spawn(async move { while events.poll().await.is_ok() {} });
    for k in 1..=N {
        let value = match k {
            301 => TWICE,
            500 => ALWAYS,
            _ => (k as f64 * 0.1).sin() + (k % 7) as f64 * 0.1,
        };
        let text = format!(
            "{{\"value\":{value},\"ts\":{}}}",
            1_700_000_000_000 + 100 * k
        );
        let topic = format!("plant/{streams}{}/c", k % 3);
        client
            .publish(topic, QoS::AtLeastOnce, false, text)
            .await
            .unwrap();
        if k % 100 == 0 {
            // Long enough for a snapshot in between.
            tokio::time::sleep(Duration::from_millis(150)).await;
        }
    }
    client.disconnect().await.unwrap();
    polling.await.unwrap();
}

fn readings_learned(shared: &Status) -> u64 {
    let rows: Vec<u64> = shared.pick(|(_, view)| Some(view.stats.rows));
    rows.iter().sum()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_that_panics_is_restored_the_others_run_on_and_a_deadly_reading_is_set_apart() {
    let dir = tempfile::tempdir().unwrap();
    let broker = broker::start().unwrap();
    let settings = settings(broker, dir.path());
    let params = settings.stream_params().clone();
    let state = settings.state.clone();
    let store = DiskStore::open(&state).unwrap();
    let ((stop, stopped), (tell, told)) = (oneshot::channel::<()>(), oneshot::channel());
    let hooks = Hooks {
        store: Some(store.clone()),
        started: Some(tell),
        ..Hooks::default()
    };
    let daemon = tokio::spawn(serve(settings, hooks, async move {
        let _ = stopped.await;
    }));
    let shared = told.await.unwrap();
    wait_for("ready", || shared.health().ready).await;
    publish(broker, "s").await;
    wait_for("all but the deadly reading are learned", || {
        readings_learned(&shared) == N - 1
    })
    .await;
    assert_eq!(shared.metrics.worker_panics.get(), 2 + 3);
    let health = shared.health();
    assert!(health.alive && !health.ready, "{health:?}");
    assert!(health.reasons[0].contains("panicked"), "{health:?}");
    stop.send(()).unwrap();
    assert!(daemon.await.unwrap().unwrap().clean);
    assert_eq!(store.stats().dead_letters, 1);
    drop(store);

    let reader = Reader::open(&dir.path().join(crate::state::FILE_NAME)).unwrap();
    let letters = reader.dead_letters().unwrap();
    assert_eq!(letters.len(), 1);
    let (dead, stream, payload, reason) = &letters[0];
    assert_eq!(stream, "s2");
    assert!(payload.contains("\"value\":666.75"), "{payload}");
    assert!(reason.contains("asked to panic"), "{reason}");
    let mut calm: BTreeMap<StreamId, Stream> = BTreeMap::new();
    reader
        .journal(0, |row| {
            for reading in journal::unpack(&row?)?.0.into_iter().map(|a| a.reading) {
                if reading.seq != *dead {
                    let stream = calm
                        .entry(reading.stream.clone())
                        .or_insert_with(|| Stream::new(&reading.stream, &params));
                    stream.push(&reading, &mut Vec::new());
                }
            }
            Ok(())
        })
        .unwrap();
    let again = DiskStore::open(&state).unwrap().restore(&params).unwrap();
    assert_eq!(again.streams.len(), 3);
    for stream in &again.streams {
        assert_eq!(
            digest(stream),
            digest(&calm[stream.name()]),
            "{} is not as if nobody had panicked",
            stream.name()
        );
    }
}
