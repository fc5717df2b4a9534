//! A real Prometheus beside the demo: its rules are evaluated, and every query of every dashboard answered.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::deploy::{dashboards, expressions};
use crate::support::{Demo, has_tool, read, root};

/// A Prometheus with the job and the rules of `deploy/prometheus`, killed when dropped.
struct Prometheus {
    child: Child,
    address: SocketAddr,
    _folder: tempfile::TempDir,
}

impl Prometheus {
    /// Scrapes `target` every second.
    fn start(target: SocketAddr) -> Prometheus {
        let folder = tempfile::tempdir().expect("a folder");
        let rules = root().join("deploy/prometheus/spiked.rules.yml");
        let config = read("deploy/prometheus/prometheus.yml")
            .replace("127.0.0.1:9184", &target.to_string())
            .replace("spiked.rules.yml", rules.to_str().expect("a path"))
            .replace("scrape_interval: 15s", "scrape_interval: 1s");
        let config = format!("global: {{ evaluation_interval: 1s }}\n{config}");
        let file = folder.path().join("prometheus.yml");
        std::fs::write(&file, config).expect("written");
        let free = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = free.local_addr().expect("an address");
        drop(free);
        let child = Command::new("prometheus")
            .arg(format!("--config.file={}", file.display()))
            .arg(format!(
                "--storage.tsdb.path={}",
                folder.path().join("data").display()
            ))
            .arg(format!("--web.listen-address={address}"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .expect("prometheus starts");
        Prometheus {
            child,
            address,
            _folder: folder,
        }
    }

    /// The `data` of an answer of its API; `None` while it does not answer.
    fn api(&self, path: &str) -> Option<Value> {
        let mut stream = TcpStream::connect(self.address).ok()?;
        stream
            .set_read_timeout(Some(Duration::from_secs(30)))
            .ok()?;
        // HTTP/1.0: the answer comes in one piece.
        write!(stream, "GET /api/v1/{path} HTTP/1.0\r\n\r\n").ok()?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).ok()?;
        let (_, body) = answer.split_once("\r\n\r\n")?;
        let body: Value = serde_json::from_str(body).ok()?;
        assert_eq!(body["status"], "success", "{path}: {body}");
        Some(body["data"].clone())
    }

    /// How many series an expression gives.
    fn series(&self, expression: &str) -> usize {
        let path = format!("query?query={}", percent_encoded(expression));
        let data = self.api(&path).unwrap_or_default();
        data["result"].as_array().map_or(0, Vec::len)
    }

    fn wait_for(&self, expression: &str) {
        let end = Instant::now() + Duration::from_secs(30);
        while self.series(expression) == 0 {
            assert!(Instant::now() < end, "nothing for {expression}");
            std::thread::sleep(Duration::from_millis(200));
        }
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn percent_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// A query as Grafana sends it with everything selected; a variable's own query as its metric.
fn as_sent(query: &str) -> String {
    let query = match query.strip_prefix("label_values(") {
        Some(inner) => inner.rsplit_once(',').expect("a label").0,
        None => query,
    };
    ["$instance", "$stream", "$channel"].into_iter().fold(
        query.replace("$__rate_interval", "10s"),
        |query, name| {
            query
                .replace(&format!("=\"{name}\""), "=~\".*\"")
                .replace(name, ".*")
        },
    )
}

#[test]
fn prometheus_evaluates_every_rule_and_answers_every_query_of_the_dashboards() {
    if !has_tool("prometheus") {
        return;
    }
    let demo = Demo::start(&[]);
    demo.metrics("spiked_channel_predicted_sd{");
    let prometheus = Prometheus::start(demo.http);
    prometheus.wait_for("stream:spiked_log_density_gain_nats");
    prometheus.wait_for("increase(spiked_rows_total[10s])");

    let rules = prometheus.api("rules").expect("rules");
    let groups = rules["groups"].as_array().expect("groups");
    let rules: Vec<&Value> = groups
        .iter()
        .flat_map(|group| group["rules"].as_array().expect("rules"))
        .collect();
    let file = std::fs::read_to_string(root().join("deploy/prometheus/spiked.rules.yml"));
    let file = file.expect("the rules");
    let written = file.lines().map(str::trim_start);
    let written =
        written.filter(|line| line.starts_with("- alert:") || line.starts_with("- record:"));
    assert_eq!(rules.len(), written.count());
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule}");
        if rule["type"] == "recording" {
            let name = rule["name"].as_str().expect("a name");
            prometheus.wait_for(name);
        }
    }

    let mut queries = Vec::new();
    for dashboard in dashboards() {
        expressions(&dashboard, &mut queries);
    }
    queries.retain(|query| query != "prometheus");
    assert!(queries.len() > 60, "{} queries", queries.len());
    for query in queries.iter().map(|query| as_sent(query)) {
        let found = prometheus.series(&query);
        // These are empty where all is well.
        let is_filter = [" > 0", " == 1"].iter().any(|end| query.contains(end));
        assert!(found > 0 || is_filter, "nothing for {query}");
    }
}
