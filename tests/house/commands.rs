//! Runs every command of the README against a real broker, in a folder of its own.
//!
//! `cargo` is stood in for by the binary that the tests were built with, `sudo` runs its command, and
//! the absolute paths of an installation lie below the folder. Everything else is real.

use std::fs::{self, Permissions};
use std::net::TcpStream;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use crate::kit::{Broker, free_port, installed, wait_for};
use crate::readme::{commands, inline_commands};
use crate::support::{read, root};

/// A folder in which the README's commands can run.
struct Sandbox {
    _folder: tempfile::TempDir,
    at: PathBuf,
    broker: Broker,
    /// Port of the daemon's HTTP listener.
    http: u16,
}

impl Sandbox {
    fn new() -> Sandbox {
        let folder = tempfile::tempdir().expect("a folder");
        let at = folder.path().to_owned();
        for name in ["config", "deploy", "tests"] {
            symlink(root().join(name), at.join(name)).expect("a link");
        }
        for name in [
            "bin",
            "mosquitto",
            "root/usr/bin",
            "root/etc/systemd/system",
        ] {
            fs::create_dir_all(at.join(name)).expect("a folder");
        }
        let binary = env!("CARGO_BIN_EXE_spiked");
        fs::create_dir_all(at.join("target/release")).expect("a folder");
        symlink(binary, at.join("target/release/spiked")).expect("a link");
        let sandbox = Sandbox {
            broker: Broker::start(&at.join("mosquitto")),
            http: free_port(),
            at,
            _folder: folder,
        };
        let cargo = format!(
            "case \"$1 $2 $3\" in\n\
             'build --release ') exit 0;;\n\
             'run --release --') shift 3; exec {binary} \"$@\";;\n\
             esac\necho \"cargo $*\" >&2; exit 1"
        );
        sandbox.program("cargo", &cargo);
        sandbox.program("sudo", "exec \"$@\"");
        // A unit that systemctl is told of has to be there.
        let units = "case \"$1\" in daemon-reload) exit 0;; enable) shift;; *) exit 1;; esac\n\
                     [ \"$1\" = --now ] && test -f \"$UNITS/$2.service\"";
        sandbox.program("systemctl", units);
        sandbox.recording();
        sandbox
    }

    fn program(&self, name: &str, text: &str) {
        let path = self.at.join("bin").join(name);
        fs::write(&path, format!("#!/bin/sh\n{text}\n")).expect("written");
        fs::set_permissions(&path, Permissions::from_mode(0o755)).expect("made executable");
    }

    /// A recording as an engineer would bring one.
    fn recording(&self) {
        let mut text = String::from("time,flow,pressure\n");
        for row in 0..600 {
            let (minute, hour) = (row % 60, row / 60);
            let flow = 80.0 + f64::from(row % 7) * 0.1;
            text += &format!(
                "2026-01-05T{hour:02}:{minute:02}:00Z,{flow:.2},{:.3}\n",
                2.0 + flow / 1000.0
            );
        }
        fs::write(self.at.join("recording.csv"), text).expect("written");
    }

    /// A command of the README as it runs here: addresses, paths and a limit in time.
    fn adapted(&self, command: &str) -> String {
        let (port, root) = (self.broker.port, self.at.join("root"));
        let root = root.display();
        let limits = [
            ("-- demo", "-- demo --seconds 3".to_owned()),
            (
                "mqtt://BROKER",
                format!("mqtt://127.0.0.1:{port} --seconds 4"),
            ),
            ("mqtt://HOST", format!("mqtt://127.0.0.1:{port}")),
            ("-h BROKER", format!("-h 127.0.0.1 -p {port} -W 4")),
            (" /etc/", format!(" {root}/etc/")),
            (" /usr/", format!(" {root}/usr/")),
        ];
        let mut adapted = command.to_owned();
        for (theirs, here) in limits {
            adapted = adapted.replace(theirs, &here);
        }
        adapted
    }

    fn shell(&self, command: &str) -> Command {
        let path = std::env::var("PATH").unwrap_or_default();
        let here = |name: &str| self.at.join(name).display().to_string();
        // With a limit in time, which ends all that it started.
        let mut shell = Command::new("timeout");
        shell
            .args(["--kill-after=5", "240", "sh", "-c", command])
            .current_dir(&self.at)
            .env(
                "PATH",
                format!("{}:{}:{path}", here("bin"), here("root/usr/bin")),
            )
            .env("UNITS", self.at.join("root/etc/systemd/system"))
            .env(
                "SPIKED_MQTT__URL",
                format!("mqtt://127.0.0.1:{}", self.broker.port),
            )
            .env("SPIKED_STATE__DIR", self.at.join("state"))
            .env("SPIKED_HTTP__LISTEN", format!("127.0.0.1:{}", self.http))
            .env_remove("SPIKED_SKIP_TOOLS")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        shell
    }
}

fn said(output: &Output) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    text(&output.stdout) + &text(&output.stderr)
}

/// The whole suite is not started once more from within itself: it has to be a program that parses.
fn is_a_script(path: &Path) {
    let mode = fs::metadata(path).expect("it exists").permissions().mode();
    assert!(mode & 0o111 != 0, "{}: {mode:o}", path.display());
    let parses = Command::new("bash").arg("-n").arg(path).status();
    assert!(parses.expect("bash runs").success());
}

#[test]
fn every_command_of_the_readme_does_as_it_says() {
    if !installed(&["mosquitto", "mosquitto_pub", "mosquitto_sub"]) {
        return;
    }
    let sandbox = Sandbox::new();
    let mut flow = sandbox.broker.publisher("plant/pump-1/flow", 0);
    let (stop, stopped) = std::sync::mpsc::channel::<()>();
    let ticking = std::thread::spawn(move || {
        for row in 0..600_u32 {
            flow.line(&format!("{:.2}", 80.0 + f64::from(row % 7) * 0.1));
            let wait = stopped.recv_timeout(Duration::from_millis(50));
            if wait != Err(RecvTimeoutError::Timeout) {
                return;
            }
        }
    });
    let readme = read("README.md");
    let mut ran = 0;
    for command in commands(&readme) {
        if command == "./tests/run" {
            is_a_script(&root().join("tests/run"));
            continue;
        }
        let adapted = sandbox.adapted(&command);
        // A limit in time that is over ends mosquitto_sub with 27.
        let output = sandbox.shell(&adapted).output().expect("sh runs");
        let ended = output.status.success() || output.status.code() == Some(27);
        assert!(ended, "{command}\nran as {adapted}\n{}", said(&output));
        ran += 1;
    }
    assert!(ran >= 8, "only {ran} commands found");

    let report = fs::read_to_string(sandbox.at.join("plant.log")).expect("recorded");
    assert!(report.contains("plant/pump-1/flow"), "{report}");
    let proposed = fs::read_to_string(sandbox.at.join("spiked.toml")).expect("proposed");
    assert!(proposed.contains("[[input]]"), "{proposed}");

    // Commands within sentences: the daemon without an installation runs until it is told to stop.
    let trial = inline_commands(&readme, "spiked run ");
    assert_eq!(trial.len(), 1, "{trial:?}");
    let mut child = sandbox
        .shell(&format!("exec {}", sandbox.adapted(&trial[0])))
        .env_remove("SPIKED_STATE__DIR")
        .spawn()
        .expect("sh runs");
    wait_for("the daemon listens", 20, || {
        TcpStream::connect(("127.0.0.1", sandbox.http)).is_ok()
    });
    assert!(
        sandbox.at.join("spiked.db").exists(),
        "the state lies in the current directory"
    );
    let pid = child.id().to_string();
    let asked = Command::new("kill").args(["-s", "TERM", &pid]).status();
    assert!(asked.expect("kill runs").success());
    let status = child.wait().expect("it ends");
    assert!(status.success(), "{status}");
    drop(stop);
    ticking.join().expect("it ends");
}
