//! Workers of one cluster, and questions to its server.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use async_nats::jetstream;
use serde_json::Value;
use spiked::carrier::ClusterView;
use spiked::carrier::jetstream::JetStream;
use spiked::config::{ClusterSettings, from_text};

use crate::plant::{Daemon, http_get, now_ms, payload, spiked, wait_until};

/// Seconds of a lease in the tests: the shortest there is.
pub const LEASE_S: f64 = 1.0;

/// A stream that is in the way.
const FILLER: &str = "filler";

/// A cluster's settings and workers.
pub struct Cluster {
    dir: PathBuf,
    settings: String,
    /// Port of the MQTT listener, where workers use it.
    pub mqtt: u16,
    /// Further tables of settings.
    pub further: String,
    pub workers: BTreeMap<String, Daemon>,
    runtime: tokio::runtime::Runtime,
    client: JetStream,
    pub context: jetstream::Context,
}

impl Cluster {
    /// Without workers. `url` has the servers, `more` is added to the table of settings.
    pub fn new(dir: &Path, url: &str, partitions: u64, more: &str) -> Cluster {
        let settings = format!(
            "[stream]\nalign = \"per-reading\"\n[[input]]\ntopic = \"plant/{{stream}}/{{channel}}\"\n\
             [cluster]\nurl = \"{url}\"\nname = \"t\"\nlease_s = {LEASE_S:?}\ncommit_every_s = 0.5\n\
             partitions = {partitions}\n{more}\n"
        );
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let parsed: ClusterSettings = from_text(&settings).unwrap().cluster.unwrap();
        let (client, context) = runtime.block_on(async {
            let client = JetStream::connect(&parsed, &[], "").await.unwrap();
            let servers: Vec<&str> = url.split(',').collect();
            (
                client,
                jetstream::new(async_nats::connect(servers).await.unwrap()),
            )
        });
        Cluster {
            dir: dir.to_owned(),
            settings,
            mqtt: 1,
            further: String::new(),
            workers: BTreeMap::new(),
            runtime,
            client,
            context,
        }
    }

    /// Starts a worker.
    pub fn start(&mut self, name: &str) {
        let dir = self.dir.join(name);
        std::fs::create_dir_all(&dir).unwrap();
        let settings = format!("{}worker = \"{name}\"\n{}", self.settings, self.further);
        self.workers
            .insert(name.to_owned(), Daemon::start(&dir, self.mqtt, &settings));
    }

    /// Waits until every partition has a worker that is ready.
    pub fn wait_ready(&self) {
        for (name, worker) in &self.workers {
            wait_until(
                &format!("{name} is ready: {}", worker.log()),
                Duration::from_secs(30),
                || http_get(worker.http, "/readyz").is_some_and(|(status, _)| status == 200),
            );
        }
    }

    /// Stops all workers in order, one after the other.
    pub fn stop_all(&mut self) {
        for (_, mut worker) in std::mem::take(&mut self.workers) {
            worker.stop();
        }
    }

    /// A metric, over all workers.
    pub fn sum(&self, metric: &str) -> f64 {
        self.workers
            .values()
            .map(|worker| worker.metric(metric).max(0.0))
            .sum()
    }

    pub fn view(&self) -> ClusterView {
        let mut view = None;
        wait_until(
            "the server says who has what",
            Duration::from_secs(20),
            || {
                view = self.try_view();
                view.is_some()
            },
        );
        view.unwrap()
    }

    pub fn try_view(&self) -> Option<ClusterView> {
        self.runtime.block_on(self.client.view()).ok()
    }

    /// Waits until the partitions of `worker` (its whole name) have another; returns how long that took
    /// since `since`.
    pub fn taken_over(&self, worker: &str, since: Instant) -> Duration {
        wait_until(
            "its partitions have another worker",
            Duration::from_secs(60),
            || {
                let leases = self.view().leases;
                leases
                    .values()
                    .all(|lease| !lease.owner.is_empty() && lease.owner != worker)
            },
        );
        since.elapsed()
    }

    /// Waits until a worker has partitions; returns its whole name.
    pub fn wait_for_partitions(&self, name: &str) -> String {
        let mut whole = None;
        let has_some = || {
            let leases = self.view().leases;
            let mut owners = leases.into_values().map(|lease| lease.owner);
            whole = owners.find(|owner| owner.split('.').next() == Some(name));
            whole.is_some()
        };
        wait_until(
            "the worker has partitions",
            Duration::from_secs(30),
            has_some,
        );
        whole.unwrap()
    }

    /// Waits until the commits have come to the journal's end.
    pub fn wait_committed(&self, messages: u64, limit: Duration) {
        let start = Instant::now();
        loop {
            let view = self.view();
            let mut leases = view.leases.values();
            let is_there = view.last_sequence >= messages;
            if is_there && leases.all(|lease| lease.position >= view.last_sequence) {
                return;
            }
            assert!(start.elapsed() < limit, "{messages} messages: {view:?}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    /// Streams of the last commits, as the command prints them.
    fn streams(&self) -> BTreeMap<String, Value> {
        let config = self.dir.join("cluster.toml");
        std::fs::write(&config, &self.settings).unwrap();
        let output = spiked()
            .args(["cluster", "streams", "--json", "--config"])
            .arg(&config)
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{error}");
        let streams: Vec<Value> = serde_json::from_slice(&output.stdout).unwrap();
        let named = streams.into_iter();
        named
            .map(|stream| (stream["stream"].as_str().unwrap().to_owned(), stream))
            .collect()
    }

    /// Waits until `messages` of the journal are committed, and stops all workers: each reading was learned once,
    /// and the streams are those of one worker in peace.
    pub fn assert_learned_once(&mut self, messages: u64) {
        self.wait_committed(messages, Duration::from_secs(300));
        self.stop_all();
        let streams = self.streams();
        let learned = streams.values().map(|s| s["readings"].as_u64().unwrap());
        assert_eq!(learned.sum::<u64>(), messages, "readings");
        let outputs = self.messages("t-outputs");
        let calm = self.calm_run();
        let differ = differences(&streams, &calm);
        let n = differ.len();
        assert!(
            differ.is_empty(),
            "{n} streams differ: {}",
            differ.join("\n")
        );
        // Equal outputs have equal ids: had one been wrong or missing, the calm run would have added it.
        assert_eq!(self.messages("t-outputs"), outputs, "outputs");
    }

    /// Messages of a stream of the server.
    pub fn messages(&self, stream: &str) -> u64 {
        self.runtime.block_on(async {
            let mut stream = self.context.get_stream(stream).await.unwrap();
            stream.info().await.unwrap().state.messages
        })
    }

    /// Has another stream take all the room that the server has.
    pub fn fill_storage(&self) {
        let filler = jetstream::stream::Config {
            name: FILLER.to_owned(),
            subjects: vec![FILLER.to_owned()],
            ..jetstream::stream::Config::default()
        };
        self.runtime.block_on(async {
            self.context.create_stream(filler).await.unwrap();
            for size in [500_000, 1_000] {
                while self.store(size).await.is_ok() {}
            }
        });
    }

    /// Stores readings 1 to `n` in the journal, each acknowledged before the next one and `rate` a second. One
    /// that is not acknowledged is sent again: the journal knows its id.
    pub fn feed(&self, n: u64, rate: f64) -> tokio::task::JoinHandle<()> {
        let context = self.context.clone();
        let base_ms = now_ms() - 86_400_000;
        self.runtime.spawn(async move {
            let mut due = tokio::time::interval(Duration::from_secs_f64(1.0 / rate));
            for k in 1..=n {
                due.tick().await;
                let publish = || async {
                    let message = jetstream::message::PublishMessage::build()
                        .payload(payload(k, base_ms).into())
                        .message_id(k.to_string());
                    let sent = context.send_publish(format!("plant.s{}.c", k % 24), message);
                    sent.await?.await.map(drop)
                };
                while publish().await.is_err() {
                    tokio::time::sleep(Duration::from_millis(100)).await;
                }
            }
        })
    }

    /// Waits until all readings of a [`Cluster::feed`] are stored.
    pub fn fed(&self, feed: tokio::task::JoinHandle<()>) {
        self.runtime.block_on(feed).unwrap();
    }

    async fn store(&self, bytes: usize) -> Result<(), jetstream::context::PublishError> {
        let sent = self.context.publish(FILLER, vec![0; bytes].into()).await?;
        sent.await.map(drop)
    }

    /// Takes back what [`Cluster::fill_storage`] did.
    pub fn make_room(&self) {
        let deleted = self.context.delete_stream(FILLER);
        self.runtime.block_on(deleted).unwrap();
    }

    /// Forgets leases and states, but not the journal: the next worker learns everything anew.
    pub fn forget(&self) {
        self.runtime.block_on(async {
            self.context.delete_key_value("t-leases").await.unwrap();
            self.context.delete_object_store("t-states").await.unwrap();
        });
    }

    /// Learns the whole journal again, with one worker and in peace; returns its streams.
    fn calm_run(&mut self) -> BTreeMap<String, Value> {
        let last = self.view().last_sequence;
        self.forget();
        self.start("calm");
        self.wait_ready();
        self.wait_committed(last, Duration::from_secs(600));
        self.stop_all();
        self.streams()
    }
}

/// The streams that differ in anything.
fn differences(a: &BTreeMap<String, Value>, b: &BTreeMap<String, Value>) -> Vec<String> {
    let names = a.keys().chain(b.keys());
    let mut names: Vec<String> = names
        .filter(|name| a.get(*name) != b.get(*name))
        .cloned()
        .collect();
    names.sort_unstable();
    names.dedup();
    let show = |name: &String| format!("{name}: {:?} and {:?}", a.get(name), b.get(name));
    names.iter().map(show).collect()
}
