//! The processes that are measured: a mosquitto of its own, the daemon, the counting subscriber.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::Relaxed};
use std::time::{Duration, Instant};

use crate::wire;

pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    listener.local_addr().expect("an address").port()
}

/// Waits until `what` holds.
pub fn wait_for(what: &str, seconds: u64, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(
            start.elapsed().as_secs() < seconds,
            "not within {seconds} s: {what}"
        );
        std::thread::sleep(Duration::from_millis(10));
    }
}

/// CPU seconds of a process so far.
pub fn cpu_of(pid: u32) -> f64 {
    cpu_in(&format!("/proc/{pid}/stat"))
}

fn cpu_in(path: &str) -> f64 {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    let rest = text.rsplit_once(") ").map_or("", |(_, rest)| rest);
    let fields: Vec<&str> = rest.split(' ').collect();
    let ticks = |i: usize| {
        fields
            .get(i)
            .and_then(|x| x.parse::<f64>().ok())
            .unwrap_or(0.0)
    };
    // utime and stime, in hundredths of a second.
    (ticks(11) + ticks(12)) / 100.0
}

/// CPU seconds of each thread, with its name.
pub fn cpu_of_threads(pid: u32) -> Vec<(String, f64)> {
    let tasks = std::fs::read_dir(format!("/proc/{pid}/task"));
    let tasks = tasks.into_iter().flatten().flatten().map(|task| {
        let path = task.path();
        let name = std::fs::read_to_string(path.join("comm")).unwrap_or_default();
        let cpu = cpu_in(&path.join("stat").display().to_string());
        (name.trim().to_owned(), cpu)
    });
    tasks.collect()
}

/// CPU seconds by name of thread without its number.
pub fn cpu_by_thread(pid: u32) -> Vec<(String, f64)> {
    let mut all: Vec<(String, f64)> = Vec::new();
    for (name, cpu) in cpu_of_threads(pid) {
        let name = name
            .trim_end_matches(|c: char| c.is_ascii_digit() || c == '-')
            .to_owned();
        match all.iter_mut().find(|(known, _)| *known == name) {
            Some((_, sum)) => *sum += cpu,
            None => all.push((name, cpu)),
        }
    }
    all
}

/// Resident memory, KiB.
pub fn rss_of(pid: u32) -> f64 {
    let text = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    line.and_then(|line| line.split_whitespace().next()?.parse().ok())
        .unwrap_or(f64::NAN)
}

/// Seconds that the machine's cores have been idle so far.
pub fn idle() -> f64 {
    let text = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    let first = text.lines().next().unwrap_or_default();
    let fields = first.split_whitespace().skip(4).take(2);
    fields.filter_map(|x| x.parse::<f64>().ok()).sum::<f64>() / 100.0
}

/// A child that is killed when dropped.
pub struct Killed(pub Child);

impl Drop for Killed {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Brokers send at once, without Nagle's algorithm.
pub static NODELAY: AtomicBool = AtomicBool::new(false);

/// A mosquitto in memory.
pub fn broker(dir: &Path) -> (Killed, u16) {
    let port = free_port();
    let config = dir.join("mosquitto.conf");
    let mut text = format!(
        "listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n\
         max_queued_messages 0\nlog_type error\n"
    );
    if NODELAY.load(Relaxed) {
        text.push_str("set_tcp_nodelay true\n");
    }
    std::fs::write(&config, text).expect("a file");
    let sbin = Path::new("/usr/sbin/mosquitto");
    let program = if sbin.exists() {
        sbin
    } else {
        Path::new("mosquitto")
    };
    let child = Command::new(program)
        .arg("-c")
        .arg(&config)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .expect("mosquitto is installed");
    wait_for("mosquitto listens", 10, || {
        TcpStream::connect(("127.0.0.1", port)).is_ok()
    });
    (Killed(child), port)
}

/// The program that is measured in place of this build's.
static PROGRAM: Mutex<Option<PathBuf>> = Mutex::new(None);

/// Has `program` measured from now on.
pub fn measure(program: &Path) {
    let mut measured = PROGRAM.lock().expect("no one panics with it");
    *measured = Some(program.to_owned());
}

fn program() -> PathBuf {
    let measured = PROGRAM.lock().expect("no one panics with it");
    measured
        .clone()
        .unwrap_or_else(|| env!("CARGO_BIN_EXE_spiked").into())
}

/// A running daemon.
pub struct Daemon {
    pub child: Killed,
    http: u16,
}

impl Daemon {
    /// Starts it in `dir` and waits until it is ready; says how long that took.
    pub fn start(dir: &Path, port: u16, settings: &str) -> (Daemon, Duration) {
        let http = free_port();
        let config = dir.join("spiked.toml");
        std::fs::write(&config, settings).expect("a file");
        let log = std::fs::File::create(dir.join("spiked.log")).expect("a file");
        let start = Instant::now();
        let child = Command::new(program())
            .arg("run")
            .arg("--config")
            .arg(config)
            .args(["--mqtt-url", &format!("mqtt://127.0.0.1:{port}")])
            .args(["--http-listen", &format!("127.0.0.1:{http}")])
            .args(["--state-dir", &dir.join("state").display().to_string()])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("the daemon starts");
        let daemon = Daemon {
            child: Killed(child),
            http,
        };
        wait_for("the daemon is ready", 120, || {
            daemon.get("/readyz").starts_with("HTTP/1.1 200")
                || daemon.get("/readyz").starts_with("HTTP/1.0 200")
        });
        (daemon, start.elapsed())
    }

    pub fn pid(&self) -> u32 {
        self.child.0.id()
    }

    fn get(&self, path: &str) -> String {
        let mut answer = String::new();
        if let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.http)) {
            let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
            // An answer that was not read is seen as an empty one.
            let _ = stream.write_all(request.as_bytes());
            let _ = stream.read_to_string(&mut answer);
        }
        answer
    }

    /// Values of series of /metrics.
    pub fn metrics<const N: usize>(&self, series: [&str; N]) -> [f64; N] {
        let text = self.get("/metrics");
        series.map(|series| {
            text.lines()
                .find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
                .unwrap_or(f64::NAN)
        })
    }

    /// Ends it in order; says how long that took.
    pub fn stop(mut self) -> Duration {
        let start = Instant::now();
        let id = self.child.0.id().to_string();
        let sent = Command::new("kill")
            .args(["-TERM", &id])
            .status()
            .expect("kill");
        assert!(sent.success());
        self.child.0.wait().expect("it ends");
        start.elapsed()
    }
}

/// Bytes of an answer, a little less than a prediction of eight channels has (885).
const ANSWER: usize = 800;

/// The counting subscriber: this program again, with rumqttc and nothing else.
pub struct Counter {
    _child: Killed,
    lines: BufReader<ChildStdout>,
}

impl Counter {
    /// `answers`: it publishes as much as the daemon does, a message for eight.
    pub fn start(port: u16, qos: u8, expected: u64, answers: bool) -> Counter {
        let mut child = Command::new(std::env::current_exe().expect("a path"))
            .args([
                "count",
                &port.to_string(),
                &qos.to_string(),
                &expected.to_string(),
                &u64::from(answers).to_string(),
            ])
            .stdout(Stdio::piped())
            .spawn()
            .expect("it starts");
        let lines = BufReader::new(child.stdout.take().expect("piped"));
        let mut counter = Counter {
            _child: Killed(child),
            lines,
        };
        assert_eq!(counter.line(), "subscribed");
        counter
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.lines.read_line(&mut line).expect("a line");
        line.trim().to_owned()
    }

    /// Messages, seconds from the first to the last, CPU seconds.
    pub fn result(mut self) -> (f64, f64, f64) {
        let line = self.line();
        let mut numbers = line.split(' ').map(|x| x.parse().expect("a number"));
        let mut next = || numbers.next().expect("three numbers");
        (next(), next(), next())
    }
}

/// Body of the counting subscriber.
pub fn count(port: u16, qos: u8, expected: u64, answers: bool) {
    use rumqttc::{AsyncClient, Event, MqttOptions, Packet, QoS};
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime");
    let mut out = wire::connect(port, "counter-out");
    // As many, as large and in pieces as large as the daemon's.
    let (mut answer, mut answered) = (Vec::new(), 0);
    for _ in 0..8 {
        wire::publish(&mut answer, "spiked/main/s0/prediction", &[b'x'; ANSWER], 0);
    }
    runtime.block_on(async {
        let options = MqttOptions::new("counter", "127.0.0.1", port);
        let (client, mut events) = AsyncClient::new(options, 10);
        let qos = if qos == 0 {
            QoS::AtMostOnce
        } else {
            QoS::AtLeastOnce
        };
        client.subscribe("plant/#", qos).await.expect("a request");
        let (mut n, mut first, mut last) = (0u64, None, Instant::now());
        while n < expected {
            match tokio::time::timeout(Duration::from_secs(3), events.poll()).await {
                Ok(Ok(Event::Incoming(Packet::SubAck(_)))) => println!("subscribed"),
                Ok(Ok(Event::Incoming(Packet::Publish(_)))) => {
                    n += 1;
                    if answers && n - answered >= 64 {
                        answered = n;
                        out.write_all(&answer).expect("a connection");
                    }
                    // The clock is asked now and then: it would be a cost of its own.
                    if first.is_none() || n % 64 == 0 || n == expected {
                        last = Instant::now();
                        first = first.or(Some(last));
                    }
                }
                Ok(Ok(_)) => {}
                Ok(Err(error)) => panic!("{error}"),
                Err(_) if n > 0 => break,
                Err(_) => {}
            }
        }
        let seconds = first.map_or(0.0, |first| last.duration_since(first).as_secs_f64());
        println!("{n} {seconds} {}", cpu_of(std::process::id()));
    });
}
