//! A plant for the tests: a broker that can be killed, a daemon that can be killed, a source.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use rumqttc::{Client, Event, MqttOptions, Packet, QoS};

#[path = "../kit/waiting.rs"]
pub mod waiting;
pub use waiting::{free_port, wait_until};

/// Tests against a broker run one after the other: they measure.
pub fn alone() -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    ONE.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Whether `mosquitto` is here. A missing one fails the test, unless `SPIKED_SKIP_TOOLS=1`.
pub fn have_mosquitto() -> bool {
    let found = Command::new("mosquitto")
        .arg("-h")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok();
    let skip = std::env::var("SPIKED_SKIP_TOOLS").is_ok_and(|v| v == "1");
    assert!(found || skip, "mosquitto is missing: tests/run installs it");
    if !found {
        println!("skipped: mosquitto is not installed");
    }
    found
}

/// A number from the environment, or its short form.
pub fn number(variable: &str, short: u64) -> u64 {
    std::env::var(variable).map_or(short, |text| text.parse().unwrap())
}

/// Numbers that look random and are the same in every run.
pub struct Dice(pub u64);

impl Dice {
    pub fn below(&mut self, n: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % n
    }
}

/// A mosquitto without disk and with queues without limit.
pub struct Broker {
    pub port: u16,
    dir: tempfile::TempDir,
    child: Child,
}

impl Broker {
    pub fn start_in_memory() -> Broker {
        Broker::start_with("max_queued_messages 0\n")
    }

    /// A broker without disk, with further settings.
    pub fn start_with(more: &str) -> Broker {
        let (dir, port) = (tempfile::tempdir().unwrap(), free_port());
        let config =
            format!("listener {port} 127.0.0.1\nallow_anonymous true\nlog_type none\n{more}");
        std::fs::write(dir.path().join("mosquitto.conf"), config).unwrap();
        let child = Broker::spawn(dir.path());
        let broker = Broker { port, dir, child };
        broker.wait_up();
        broker
    }

    fn spawn(dir: &Path) -> Child {
        Command::new("mosquitto")
            .arg("-c")
            .arg(dir.join("mosquitto.conf"))
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    fn wait_up(&self) {
        wait_until("the broker listens", Duration::from_secs(10), || {
            TcpStream::connect(("127.0.0.1", self.port)).is_ok()
        });
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    pub fn freeze(&self) {
        signal(&self.child, "STOP");
    }

    pub fn thaw(&self) {
        signal(&self.child, "CONT");
    }

    pub fn restart(&mut self) {
        self.child = Broker::spawn(self.dir.path());
        self.wait_up();
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub fn signal(child: &Child, name: &str) {
    let sent = Command::new("kill")
        .arg(format!("-{name}"))
        .arg(child.id().to_string())
        .status()
        .unwrap();
    assert!(sent.success(), "cannot send {name}");
}

/// The program: that of `SPIKED_BIN` (a release build, say), or the one built with the tests.
fn program() -> String {
    std::env::var("SPIKED_BIN").unwrap_or_else(|_| env!("CARGO_BIN_EXE_spiked").to_owned())
}

/// The program, without the variables that are meant for the tests.
pub fn spiked() -> Command {
    let mut command = Command::new(program());
    without_ours(&mut command);
    command
}

/// The tests' own variables are no settings of the daemon's.
fn without_ours(command: &mut Command) -> &mut Command {
    for (name, _) in std::env::vars() {
        if name.starts_with("SPIKED_") {
            command.env_remove(name);
        }
    }
    command
}

/// The daemon as a process.
pub struct Daemon {
    pub http: u16,
    pub dir: PathBuf,
    config: PathBuf,
    pub child: Child,
}

impl Daemon {
    /// Starts it in `dir` against the broker at `port`; `more` is added to its configuration. It speaks
    /// MQTT 3.1.1, or `SPIKED_PROTOCOL`.
    pub fn start(dir: &Path, port: u16, more: &str) -> Daemon {
        let protocol = std::env::var("SPIKED_PROTOCOL");
        Daemon::start_speaking(protocol.as_deref().unwrap_or("3.1.1"), dir, port, more)
    }

    /// [`Daemon::start`] with a version of MQTT.
    pub fn start_speaking(protocol: &str, dir: &Path, port: u16, more: &str) -> Daemon {
        let http = free_port();
        let config = dir.join("spiked.toml");
        let sections = format!(
            "[mqtt]\nurl = \"mqtt://127.0.0.1:{port}\"\nprotocol = \"{protocol}\"\nclient_id = \"spiked-test\"\nreconnect_max_s = 1.0\nkeep_alive_s = 5.0\n\
             [http]\nlisten = \"127.0.0.1:{http}\"\n[log]\nlevel = \"info\"\n{more}\n",
        );
        std::fs::write(&config, sections).unwrap();
        let child = Daemon::spawn(spiked(), &config, dir);
        Daemon {
            http,
            dir: dir.to_owned(),
            config,
            child,
        }
    }

    /// [`Daemon::start`], but a file that grows beyond its limit is an error and no signal.
    pub fn start_ignoring_file_size(dir: &Path, port: u16, more: &str) -> Daemon {
        let mut daemon = Daemon::start(dir, port, more);
        daemon.wait_ready();
        daemon.stop();
        let mut shell = Command::new("bash");
        let script = "trap '' XFSZ; exec \"$0\" \"$@\"";
        shell.args(["-c", script, &program()]);
        daemon.child = Daemon::spawn(shell, &daemon.config, dir);
        daemon
    }

    fn spawn(mut program: Command, config: &Path, dir: &Path) -> Child {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(dir.join("log"))
            .unwrap();
        without_ours(&mut program)
            .args(["run", "--config"])
            .arg(config)
            .arg("--state-dir")
            .arg(dir.join("state"))
            .stdout(log.try_clone().unwrap())
            .stderr(log)
            .spawn()
            .unwrap()
    }

    pub fn state_file(&self) -> PathBuf {
        self.dir.join("state").join("spiked.db")
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.dir.join("log")).unwrap_or_default()
    }

    pub fn restart(&mut self) {
        self.child = Daemon::spawn(spiked(), &self.config, &self.dir);
    }

    pub fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Stops it in order; panics if it does not end well.
    pub fn stop(&mut self) {
        signal(&self.child, "TERM");
        let status = self.child.wait().unwrap();
        assert!(status.success(), "{status}\n{}", self.log());
    }

    pub fn wait_ready(&self) {
        let start = Instant::now();
        loop {
            let answer = http_get(self.http, "/readyz");
            if answer.as_ref().is_some_and(|(status, _)| *status == 200) {
                return;
            }
            assert!(
                start.elapsed() < Duration::from_secs(20),
                "{answer:?}\n{}",
                self.log()
            );
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// A metric without labels, or with the label text given.
    pub fn metric(&self, name: &str) -> f64 {
        let (_, text) = http_get(self.http, "/metrics").unwrap_or_default();
        metric_in(&text, name)
    }

    /// Resident memory, KiB, and CPU time, ticks.
    pub fn usage(&self) -> (u64, u64) {
        let read = |file: &str| {
            std::fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap()
        };
        let status = read("status");
        let rss = status.lines().find(|line| line.starts_with("VmRSS"));
        let rss = rss.and_then(|l| l.split_whitespace().nth(1)?.parse().ok());
        let stat = read("stat");
        let fields: Vec<_> = stat
            .rsplit(')')
            .next()
            .unwrap()
            .split_whitespace()
            .collect();
        let ticks = |i: usize| fields[i].parse::<u64>().unwrap();
        (rss.unwrap_or(0), ticks(11) + ticks(12))
    }

    /// Kills it, lets it recover and stop, and returns what `inspect` says then.
    pub fn inspect_after_kill(&mut self) -> serde_json::Value {
        self.kill();
        self.restart();
        self.wait_ready();
        self.stop();
        self.inspect()
    }

    /// `spiked inspect --json`.
    pub fn inspect(&self) -> serde_json::Value {
        let output = spiked()
            .args(["inspect", "--json"])
            .arg(self.dir.join("state"))
            .output()
            .unwrap();
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{error}");
        serde_json::from_slice(&output.stdout).unwrap()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // It may be gone already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The value of a metric in a scrape; `NaN` where it is missing.
pub fn metric_in(text: &str, name: &str) -> f64 {
    text.lines()
        .find_map(|line| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok())
        .unwrap_or(f64::NAN)
}

/// A plain GET: status and body.
pub fn http_get(port: u16, path: &str) -> Option<(u16, String)> {
    let mut socket = TcpStream::connect(("127.0.0.1", port)).ok()?;
    socket.set_read_timeout(Some(Duration::from_secs(5))).ok()?;
    write!(
        socket,
        "GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    )
    .ok()?;
    let mut answer = String::new();
    socket.read_to_string(&mut answer).ok()?;
    let (head, body) = answer.split_once("\r\n\r\n")?;
    let status = head.split_whitespace().nth(1)?.parse().ok()?;
    Some((status, body.to_owned()))
}

/// Streams and channels of the source: reading k goes to stream k mod 4, channel k / 4 mod 2.
pub fn topic(k: u64) -> String {
    format!("plant/s{}/c{}", k % 4, k / 4 % 2)
}

/// Channels of a wide message: each costs about as much to learn as a reading of its own.
pub const WIDE: u64 = 64;
/// Settings under which wide messages are learned slowly on any machine; `[runtime]` is open.
pub const SLOW: &str = "[[input]]\ntopic = \"plant/{stream}\"\npayload = \"object\"\n[learn]\nhidden = 1024\n[runtime]\nworkers = 1\nqueue_messages = 100\n";

/// A message of [`WIDE`] channels of one of four streams.
pub fn wide(k: u64, base_ms: i64) -> (String, String) {
    let value = |c: u64| (k as f64 * 0.01 * (c + 1) as f64).sin();
    let members: Vec<String> = (0..WIDE)
        .map(|c| format!("\"c{c}\":{:.4}", value(c)))
        .collect();
    let ts = base_ms + k as i64;
    let payload = format!("{{\"ts\":{ts},{}}}", members.join(","));
    (format!("plant/s{}", k % 4), payload)
}

/// A source that publishes numbered readings with QoS 1 at a steady rate, and counts PUBACKs.
pub struct Source {
    pub sent: Arc<AtomicU64>,
    pub acked: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
    threads: Vec<JoinHandle<()>>,
}

impl Source {
    /// `rate` in readings/s; reading k (from 1) has the timestamp `base_ms + k`.
    pub fn start(port: u16, rate: u64, base_ms: i64) -> Source {
        Source::start_to(topic, port, rate, base_ms)
    }

    /// [`Source::start`], with the topic of each reading.
    pub fn start_to(topic: fn(u64) -> String, port: u16, rate: u64, base_ms: i64) -> Source {
        let message = move |k, base_ms| (topic(k), payload(k, base_ms));
        Source::publish(message, port, rate, base_ms)
    }

    /// [`Source::start`], with other messages.
    pub fn publish(
        message: impl Fn(u64, i64) -> (String, String) + Send + 'static,
        port: u16,
        rate: u64,
        base_ms: i64,
    ) -> Source {
        let mut options = MqttOptions::new("source", "127.0.0.1", port);
        options.set_inflight(200);
        let (client, mut connection) = Client::new(options, 100);
        let (sent, acked) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
        let stop = Arc::new(AtomicBool::new(false));
        let counted = acked.clone();
        let acks = std::thread::spawn(move || {
            for event in connection.iter() {
                match event {
                    Ok(Event::Incoming(Packet::PubAck(_))) => {
                        counted.fetch_add(1, SeqCst);
                    }
                    Ok(Event::Outgoing(rumqttc::Outgoing::Disconnect)) | Err(_) => return,
                    Ok(_) => {}
                }
            }
        });
        let (ended, count, known) = (stop.clone(), sent.clone(), acked.clone());
        let feed = std::thread::spawn(move || {
            let start = Instant::now();
            let mut k = 0;
            while !ended.load(SeqCst) {
                let due = (start.elapsed().as_secs_f64() * rate as f64) as u64;
                while k < due {
                    k += 1;
                    let (topic, payload) = message(k, base_ms);
                    let sent = client.publish(topic, QoS::AtLeastOnce, false, payload);
                    // The broker has ended the connection.
                    if sent.is_err() {
                        return;
                    }
                    count.store(k, SeqCst);
                }
                std::thread::sleep(Duration::from_millis(2));
            }
            let patience = Instant::now();
            while known.load(SeqCst) < k && patience.elapsed() < Duration::from_secs(30) {
                std::thread::sleep(Duration::from_millis(2));
            }
            // An error means that the connection has ended: that is what was wanted.
            let _ = client.disconnect();
        });
        Source {
            sent,
            acked,
            stop,
            threads: vec![feed, acks],
        }
    }

    /// Stops feeding, waits for the broker to have everything; returns how many readings it has.
    pub fn finish(self) -> u64 {
        self.stop.store(true, SeqCst);
        let (sent, acked) = (self.sent, self.acked);
        wait_until(
            "the broker has every reading",
            Duration::from_secs(30),
            || acked.load(SeqCst) == sent.load(SeqCst),
        );
        for thread in self.threads {
            thread.join().unwrap();
        }
        sent.load(SeqCst)
    }
}

/// The payload of reading k.
pub fn payload(k: u64, base_ms: i64) -> String {
    let value = (k as f64 * 0.01).sin() + (k % 13) as f64 * 0.01;
    format!("{{\"value\":{value},\"ts\":{}}}", base_ms + k as i64)
}

pub fn now_ms() -> i64 {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH);
    since.unwrap().as_millis() as i64
}
