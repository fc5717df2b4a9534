//! Kit of the end-to-end tests: a mosquitto of their own, the daemon as a process, the C clients.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::{Duration, Instant};

/// True where `tools` are installed. A missing tool fails the test, unless `SPIKED_SKIP_TOOLS=1` asks to
/// leave such tests out; the test has to return then.
pub fn installed(tools: &[&str]) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places: Vec<PathBuf> = std::env::split_paths(&path).collect();
    places.push("/usr/sbin".into());
    for tool in tools {
        if !places.iter().any(|place| place.join(tool).exists()) {
            let skip = std::env::var("SPIKED_SKIP_TOOLS").is_ok_and(|x| x == "1");
            assert!(skip, "{tool} is not installed: tests/run installs it");
            eprintln!("LEFT OUT: {tool} is not installed");
            return false;
        }
    }
    true
}

fn program(name: &str) -> Command {
    let sbin = Path::new("/usr/sbin").join(name);
    Command::new(if sbin.exists() { sbin } else { name.into() })
}

/// A port that was free a moment ago.
pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Waits until `what` holds; fails after `seconds`.
pub fn wait_for(what: &str, seconds: u64, mut holds: impl FnMut() -> bool) {
    let start = Instant::now();
    while !holds() {
        assert!(
            start.elapsed() < Duration::from_secs(seconds),
            "not within {seconds} s: {what}"
        );
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// A mosquitto on a port of its own, killed when dropped.
pub struct Broker {
    pub port: u16,
    config: PathBuf,
    child: Option<Child>,
    user: Option<(String, String)>,
}

impl Broker {
    pub fn start(dir: &Path) -> Broker {
        let port = free_port();
        let text = format!(
            "listener {port} 127.0.0.1\nallow_anonymous true\npersistence true\n\
             persistence_location {}/\nmax_queued_messages 0\nlog_type error\n",
            dir.display()
        );
        Broker::configured(dir, port, &text)
    }

    /// One with settings of its own, which listens on `port`.
    pub fn configured(dir: &Path, port: u16, text: &str) -> Broker {
        let config = dir.join("mosquitto.conf");
        std::fs::write(&config, text).unwrap();
        let mut broker = Broker {
            port,
            config,
            child: None,
            user: None,
        };
        broker.start_again();
        broker
    }

    /// Who later clients are.
    pub fn log_in(&mut self, user: &str, password: &str) {
        self.user = Some((user.to_owned(), password.to_owned()));
    }

    pub fn start_again(&mut self) {
        let child = program("mosquitto")
            .arg("-c")
            .arg(&self.config)
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        self.child = Some(child);
        let port = self.port;
        wait_for("mosquitto listens", 10, || {
            TcpStream::connect(("127.0.0.1", port)).is_ok()
        });
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    /// A `mosquitto_pub -l` that publishes each line written to it.
    pub fn publisher(&self, topic: &str, qos: u8) -> Publisher {
        let mut child = self
            .client("mosquitto_pub")
            .args(["-t", topic, "-q", &qos.to_string(), "-l"])
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let input = child.stdin.take();
        Publisher { child, input }
    }

    /// Publishes one payload byte by byte as it is.
    pub fn publish(&self, topic: &str, payload: &[u8], qos: u8) {
        let mut child = self
            .client("mosquitto_pub")
            .args(["-t", topic, "-q", &qos.to_string()])
            // An empty payload is an option of its own.
            .arg(if payload.is_empty() { "-n" } else { "-s" })
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        let mut input = child.stdin.take().unwrap();
        if !payload.is_empty() {
            input.write_all(payload).unwrap();
        }
        drop(input);
        assert!(child.wait().unwrap().success());
    }

    /// Everything published under `filter` from now on, as topic and payload.
    pub fn subscribe(&self, filter: &str) -> Subscriber {
        self.subscribe_as(filter, "%t %p")
    }

    /// The same in another format of `mosquitto_sub`, parted at its first blank.
    pub fn subscribe_as(&self, filter: &str, format: &str) -> Subscriber {
        let mut child = self
            .client("mosquitto_sub")
            .args(["-t", filter, "-q", "1", "-F", format])
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        let output = child.stdout.take().unwrap();
        let (tx, messages) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(output).lines() {
                let Ok(line) = line else { return };
                let (topic, payload) = line.split_once(' ').unwrap_or((&line, ""));
                if tx.send((topic.to_owned(), payload.to_owned())).is_err() {
                    return;
                }
            }
        });
        // The client says nothing when it is subscribed.
        std::thread::sleep(Duration::from_millis(300));
        Subscriber { child, messages }
    }

    fn client(&self, name: &str) -> Command {
        let mut command = program(name);
        command
            .args(["-h", "127.0.0.1", "-p", &self.port.to_string()])
            // Who reads what the test says must not have to wait for it.
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        if let Some((user, password)) = &self.user {
            command.args(["-u", user, "-P", password]);
        }
        command
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.kill();
    }
}

/// A running `mosquitto_pub -l`, killed when dropped: without its broker it would wait for ever.
pub struct Publisher {
    child: Child,
    input: Option<ChildStdin>,
}

impl Publisher {
    pub fn line(&mut self, text: &str) {
        let input = self.input.as_mut().unwrap();
        input.write_all(text.as_bytes()).unwrap();
        input.write_all(b"\n").unwrap();
    }

    /// Ends the input and waits until everything is published.
    pub fn finish(mut self) {
        drop(self.input.take());
        assert!(self.child.wait().unwrap().success());
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        // Both fail when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A running `mosquitto_sub`.
pub struct Subscriber {
    child: Child,
    messages: Receiver<(String, String)>,
}

impl Subscriber {
    pub fn next(&self, timeout: Duration) -> Option<(String, String)> {
        self.messages.recv_timeout(timeout).ok()
    }

    /// Everything that comes until nothing has come for `quiet`.
    pub fn all(&self, quiet: Duration) -> Vec<(String, String)> {
        std::iter::from_fn(|| self.next(quiet)).collect()
    }
}

impl Drop for Subscriber {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The daemon as a process, killed when dropped.
pub struct Daemon {
    child: Child,
    http_port: u16,
}

impl Daemon {
    /// Starts `spiked run` with `settings` added to the addresses, and waits until it is ready.
    pub fn start(broker: &Broker, dir: &Path, settings: &str) -> Daemon {
        let daemon = Daemon::start_unready(broker, dir, settings);
        wait_for("the daemon is ready", 20, || daemon.get("/readyz").0 == 200);
        daemon
    }

    pub fn start_unready(broker: &Broker, dir: &Path, settings: &str) -> Daemon {
        let http_port = free_port();
        let config = dir.join("spiked.toml");
        std::fs::write(&config, settings).unwrap();
        let log = std::fs::File::create(dir.join("spiked.log")).unwrap();
        let child = Command::new(env!("CARGO_BIN_EXE_spiked"))
            .env_remove("SPIKED_SKIP_TOOLS")
            .arg("run")
            .arg("--config")
            .arg(config)
            .args(["--mqtt-url", &format!("mqtt://127.0.0.1:{}", broker.port)])
            .args(["--http-listen", &format!("127.0.0.1:{http_port}")])
            .args(["--state-dir", &dir.join("state").display().to_string()])
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        Daemon { child, http_port }
    }

    /// Starts `program`, whose settings say where the broker is, and adds to the log that there is.
    pub fn start_again(program: &Path, dir: &Path) -> Daemon {
        let http_port = free_port();
        let mut log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(dir.join("spiked.log"))
            .unwrap();
        // A limit on the size of files is to fail writes, not to end the process.
        let mut child = Command::new("sh")
            .args(["-c", "trap '' XFSZ; exec \"$0\" \"$@\""])
            .arg(program)
            .env_remove("SPIKED_SKIP_TOOLS")
            // The daemon takes a variable SPIKED_… for a setting.
            .env_remove("SPIKED_DAY_ROWS")
            .args(["run", "--config"])
            .arg(dir.join("spiked.toml"))
            .args(["--http-listen", &format!("127.0.0.1:{http_port}")])
            .args(["--state-dir", &dir.join("state").display().to_string()])
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // The log is to go on while the process may not write to files.
        let mut said = child.stderr.take().unwrap();
        std::thread::spawn(move || std::io::copy(&mut said, &mut log));
        let daemon = Daemon { child, http_port };
        wait_for("the daemon is ready", 60, || daemon.get("/readyz").0 == 200);
        daemon
    }

    /// Limits the size of the files that it may write, in bytes: a full disk.
    pub fn limit_files(&self, limit: &str) {
        let id = self.child.id().to_string();
        let done = Command::new("prlimit")
            .args(["--pid", &id, &format!("--fsize={limit}")])
            .status();
        assert!(done.unwrap().success());
    }

    /// Status code and body of a GET; 0 where nobody listens.
    pub fn get(&self, path: &str) -> (u16, String) {
        let Ok(mut stream) = TcpStream::connect(("127.0.0.1", self.http_port)) else {
            return (0, String::new());
        };
        stream
            .set_read_timeout(Some(Duration::from_secs(5)))
            .unwrap();
        let request = format!("GET {path} HTTP/1.0\r\nHost: localhost\r\n\r\n");
        if stream.write_all(request.as_bytes()).is_err() {
            return (0, String::new());
        }
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        let code = answer.split(' ').nth(1).and_then(|code| code.parse().ok());
        let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        (code.unwrap_or(0), body.to_owned())
    }

    /// The value of a series of /metrics, such as `spiked_rows_total` or `x{a="b"}`.
    pub fn metric(&self, series: &str) -> f64 {
        let (_, text) = self.get("/metrics");
        text.lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
            .unwrap_or(f64::NAN)
    }

    pub fn is_alive(&mut self) -> bool {
        self.child.try_wait().unwrap().is_none()
    }

    /// Sends a signal such as `HUP`.
    pub fn signal(&self, name: &str) {
        let id = self.child.id().to_string();
        let sent = Command::new("kill").args(["-s", name, &id]).status();
        assert!(sent.unwrap().success());
    }

    /// Sends SIGTERM; returns the exit code and how long the end took.
    pub fn stop(self) -> (i32, Duration) {
        self.stop_by("TERM")
    }

    /// The same by another signal.
    pub fn stop_by(mut self, signal: &str) -> (i32, Duration) {
        let start = Instant::now();
        self.signal(signal);
        let status = self.child.wait().unwrap();
        (status.code().unwrap_or(-1), start.elapsed())
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
