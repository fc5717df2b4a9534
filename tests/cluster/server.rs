//! A nats-server as a process, with JetStream and its MQTT listener.

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use super::waiting::{free_port, wait_until};

/// Where tests/run installs it, beside the search path.
const INSTALLED: &str = concat!(
    env!("CARGO_MANIFEST_DIR"),
    "/target/tools/nats/bin/nats-server"
);

/// The program. A missing one fails the test; `SPIKED_SKIP_TOOLS=1` leaves the test out.
pub fn have_server() -> bool {
    let found = program().is_some();
    let skip = std::env::var("SPIKED_SKIP_TOOLS").is_ok_and(|x| x == "1");
    assert!(
        found || skip,
        "nats-server is not installed: tests/run installs it"
    );
    found
}

fn program() -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let mut places = std::env::split_paths(&path).map(|place| place.join("nats-server"));
    let installed = PathBuf::from(INSTALLED);
    places
        .find(|place| place.exists())
        .or(installed.exists().then_some(installed))
}

/// A running nats-server.
pub struct Server {
    pub port: u16,
    pub mqtt: u16,
    config: PathBuf,
    child: Option<Child>,
}

impl Server {
    /// One that keeps its files below `dir`.
    pub fn start(dir: &Path) -> Server {
        let (port, mqtt) = (free_port(), free_port());
        let text = format!(
            "server_name: one\nlisten: 127.0.0.1:{port}\n\
             jetstream {{ store_dir: \"{}/nats\", sync_interval: 1s }}\n\
             mqtt {{ listen: 127.0.0.1:{mqtt} }}\n",
            dir.display()
        );
        Server::configured(dir, "one", port, mqtt, &text)
    }

    /// One with settings of its own.
    pub fn configured(dir: &Path, name: &str, port: u16, mqtt: u16, text: &str) -> Server {
        let config = dir.join(format!("{name}.conf"));
        std::fs::write(&config, text).unwrap();
        let mut server = Server {
            port,
            mqtt,
            config,
            child: None,
        };
        server.start_again();
        server
    }

    pub fn start_again(&mut self) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.config.with_extension("log"))
            .unwrap();
        let child = Command::new(program().unwrap())
            .arg("-c")
            .arg(&self.config)
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .unwrap();
        self.child = Some(child);
        for port in [self.port, self.mqtt] {
            wait_until("nats-server listens", Duration::from_secs(20), || {
                TcpStream::connect(("127.0.0.1", port)).is_ok()
            });
        }
    }

    pub fn kill(&mut self) {
        if let Some(mut child) = self.child.take() {
            // It may be gone already.
            let _ = child.kill();
            let _ = child.wait();
        }
    }

    pub fn url(&self) -> String {
        format!("nats://127.0.0.1:{}", self.port)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.kill();
    }
}
