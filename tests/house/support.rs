//! Shared parts of the tests: tools of the system, the demo as a child process, a scrape.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{self, Receiver};
use std::time::{Duration, Instant};

/// Longest time that a command may take.
const COMMAND_LIMIT: Duration = Duration::from_secs(300);
/// Longest time until the demo says its addresses.
const START_LIMIT: Duration = Duration::from_secs(120);
/// Longest time for one answer over HTTP.
const ANSWER_LIMIT: Duration = Duration::from_secs(30);

/// Root of the repository.
pub fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// The text of a file of the repository.
pub fn read(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Whether `tool` is there. A missing one fails the test, unless `SPIKED_SKIP_TOOLS=1`.
pub fn has_tool(tool: &str) -> bool {
    let found = Command::new(tool)
        .arg("--version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok();
    let skip = std::env::var("SPIKED_SKIP_TOOLS").is_ok_and(|v| v == "1");
    assert!(found || skip, "{tool} is missing: tests/run installs it");
    if !found {
        eprintln!("skipped: {tool} is missing");
    }
    found
}

/// Waits for the end of a child and returns what it said; kills it and fails after `limit`.
pub fn output_within(child: Child, limit: Duration, name: &str) -> Output {
    let pid = child.id().to_string();
    let (sender, ended) = mpsc::channel();
    std::thread::spawn(move || sender.send(child.wait_with_output()));
    let Ok(output) = ended.recv_timeout(limit) else {
        let killed = Command::new("kill").args(["-s", "KILL", &pid]).status();
        panic!("{name} took longer than {limit:?}; killed: {killed:?}");
    };
    output.expect("output")
}

/// Runs a command in `folder` of the repository and returns what it said; fails if it failed.
pub fn run(folder: &str, program: &str, args: &[&str], input: &str) -> String {
    let mut child = Command::new(program)
        .args(args)
        .current_dir(root().join(folder))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{program}: {error}"));
    let mut stdin = child.stdin.take().expect("piped");
    stdin.write_all(input.as_bytes()).expect("input taken");
    drop(stdin);
    let output = output_within(child, COMMAND_LIMIT, program);
    let said = format!(
        "{}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
    assert!(output.status.success(), "{program} {args:?}: {said}");
    said
}

/// `spiked demo` as a child process, killed when dropped.
pub struct Demo {
    child: Child,
    lines: Receiver<String>,
    /// Address of the broker.
    pub mqtt: SocketAddr,
    /// Address of the HTTP listener.
    pub http: SocketAddr,
}

impl Demo {
    /// Starts it and reads the addresses that it prints first.
    pub fn start(args: &[&str]) -> Demo {
        let mut child = Command::new(env!("CARGO_BIN_EXE_spiked"))
            .env_remove("SPIKED_SKIP_TOOLS")
            .arg("demo")
            .args(args)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("spiked starts");
        let out = BufReader::new(child.stdout.take().expect("piped"));
        let (sender, lines) = mpsc::channel();
        std::thread::spawn(move || {
            out.lines()
                .map_while(Result::ok)
                .try_for_each(|line| sender.send(line))
        });
        let next = || lines.recv_timeout(START_LIMIT).unwrap_or_default();
        let address = |line: String, scheme: &str| -> SocketAddr {
            let address = line
                .strip_prefix(scheme)
                .and_then(|rest| rest.split_whitespace().next());
            let address = address.unwrap_or_else(|| panic!("no {scheme} address first: {line}"));
            let address = address.trim_end_matches('/');
            address.parse().expect("an address")
        };
        let (http, mqtt) = (next(), next());
        if mqtt.is_empty() {
            let _ = child.kill();
        }
        let (http, mqtt) = (address(http, "http://"), address(mqtt, "mqtt://"));
        Demo {
            child,
            lines,
            mqtt,
            http,
        }
    }

    /// Sends a signal such as `INT`.
    pub fn signal(&self, name: &str) {
        let pid = self.child.id().to_string();
        run(".", "kill", &["-s", name, &pid], "");
    }

    /// Returns its output until it ends, and its exit status; fails if that takes longer than `limit`.
    pub fn end(mut self, limit: Duration) -> (String, ExitStatus) {
        let end = Instant::now() + limit;
        let mut text = String::new();
        loop {
            let left = end.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => text.extend([line.as_str(), "\n"]),
                Err(mpsc::RecvTimeoutError::Disconnected) => break,
                Err(mpsc::RecvTimeoutError::Timeout) => {
                    panic!("not ended within {limit:?}:\n{text}")
                }
            }
        }
        let status = self.child.wait().expect("it ends");
        (text, status)
    }

    /// The text of /metrics once it has a line that starts with `wanted`.
    pub fn metrics(&self, wanted: &str) -> String {
        let end = Instant::now() + Duration::from_secs(30);
        loop {
            let text = get(self.http, "/metrics");
            if text.lines().any(|line| line.starts_with(wanted)) {
                return text;
            }
            assert!(Instant::now() < end, "no {wanted} in:\n{text}");
            std::thread::sleep(Duration::from_millis(100));
        }
    }
}

impl Drop for Demo {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The body of a GET.
pub fn get(address: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(address).expect("listening");
    stream
        .set_read_timeout(Some(ANSWER_LIMIT))
        .expect("a limit");
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n"
    )
    .expect("asked");
    let mut text = String::new();
    stream.read_to_string(&mut text).expect("answered");
    let (head, body) = text.split_once("\r\n\r\n").expect("head and body");
    assert!(head.starts_with("HTTP/1.1 200"), "{path}: {head}");
    body.to_owned()
}
