//! `spiked discover` and `spiked check --listen` against a real broker on which devices of ten
//! conventions publish, and the configuration that was written, in use.

#[path = "kit/mod.rs"]
#[expect(dead_code, reason = "other tests use the rest")]
mod kit;

use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

use kit::{Broker, wait_for};

/// Devices: topic, payload with `N` for a number that changes and `TIME` for the local time two hours
/// east, and the channel of the stream that learns from it.
const DEVICES: [(&str, &str, &str); 10] = [
    (
        "tele/ws/SENSOR",
        r#"{"Time":"TIME","DS18B20":{"Id":"000005864756","Temperature":@N}}"#,
        "ws SENSOR.DS18B20.Temperature",
    ),
    (
        "zigbee2mqtt/lamp",
        r#"{"state":"ON","linkquality":96,"voltage":@N}"#,
        "lamp voltage",
    ),
    (
        "shellies/shelly1-a/relay/0/power",
        "@N",
        "shelly1-a relay.0.power",
    ),
    (
        "shellyplus-b/status/switch:0",
        r#"{"id":0,"output":true,"apower":@N}"#,
        "shellyplus-b switch:0.apower",
    ),
    ("boiler/sensor/temp/state", "@N", "boiler temp"),
    (
        "homie/car/engine/temperature",
        "@N",
        "car engine.temperature",
    ),
    (
        "v3/app@ttn/devices/eui-1/up",
        r#"{"uplink_message":{"decoded_payload":{"t":@N}}}"#,
        "eui-1 t",
    ),
    (
        "v1/devices/me/telemetry",
        r#"[{"values":{"t":@N}}]"#,
        "me t",
    ),
    ("telegraf/srv/cpu", "cpu,host=srv load=@N", "srv cpu.load"),
    ("site/hall1/press/oil/temp", "@N", "hall1.press.oil temp"),
];

/// Publishes all devices some times a second until dropped.
struct Plant {
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Plant {
    fn start(broker: &Broker) -> Plant {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let mut publishers: Vec<_> = DEVICES
            .iter()
            .map(|(topic, _, _)| broker.publisher(topic, 0))
            .collect();
        let thread = std::thread::spawn(move || {
            let mut n = 0u32;
            while !stopped.load(Ordering::Relaxed) {
                n += 1;
                let local = jiff::Timestamp::now() + jiff::SignedDuration::from_hours(2);
                let local = local.strftime("%Y-%m-%dT%H:%M:%S").to_string();
                let number = format!("{}.5", 20 + n % 7);
                for (publisher, (_, payload, _)) in publishers.iter_mut().zip(DEVICES) {
                    publisher.line(&payload.replace("TIME", &local).replace("@N", &number));
                }
                std::thread::sleep(Duration::from_millis(200));
            }
            publishers.into_iter().for_each(kit::Publisher::finish);
        });
        Plant {
            stop,
            thread: Some(thread),
        }
    }
}

impl Drop for Plant {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // It fails only where an assertion has failed already.
            let _ = thread.join();
        }
    }
}

fn spiked(args: &[&str]) -> (Output, String) {
    let output = Command::new(env!("CARGO_BIN_EXE_spiked"))
        .args(args)
        .output()
        .expect("spiked starts");
    let text = [&output.stdout[..], &output.stderr]
        .map(String::from_utf8_lossy)
        .concat();
    (output, text)
}

fn path(path: &Path) -> &str {
    path.to_str().expect("text")
}

#[test]
fn ten_conventions_are_recognised_and_the_written_configuration_learns_from_every_sensor() {
    assert!(kit::installed(&[
        "mosquitto",
        "mosquitto_pub",
        "mosquitto_sub"
    ]));
    let dir = tempfile::tempdir().expect("a folder");
    let broker = Broker::start(dir.path());
    let plant = Plant::start(&broker);
    let url = format!("mqtt://127.0.0.1:{}", broker.port);
    let written = dir.path().join("found.toml");
    let (output, text) = spiked(&[
        "discover",
        &url,
        "--seconds",
        "3",
        "--write",
        path(&written),
    ]);
    assert!(output.status.success(), "{text}");
    for name in [
        "Tasmota",
        "Zigbee2MQTT",
        "Shelly, first generation",
        "Shelly, second generation",
        "ESPHome",
        "Homie",
        "The Things Stack",
        "ThingsBoard",
        "Line protocol",
        "Plain numbers",
    ] {
        assert!(text.contains(name), "{name} is not in:\n{text}");
    }
    assert!(text.contains("timezone = \"+02:00\""), "{text}");

    let (output, text) = spiked(&[
        "check",
        "--config",
        path(&written),
        "--listen",
        "2",
        "--set",
        "http.listen=",
        "--state-dir",
        path(dir.path()),
    ]);
    assert!(output.status.success(), "{text}");
    assert!(text.lines().any(|line| line.starts_with("OK, ")), "{text}");
    assert!(
        text.contains("stream hall1.press.oil: channels temp, a row every 0.2"),
        "{text}"
    );

    let http = kit::free_port();
    let config = std::fs::read_to_string(&written).expect("text");
    let config = format!(
        "{config}\n[http]\nlisten = \"127.0.0.1:{http}\"\n[state]\ndurability = \"none\"\n"
    );
    std::fs::write(&written, config).expect("written");
    let mut daemon = Command::new(env!("CARGO_BIN_EXE_spiked"))
        .args(["run", "--config", path(&written)])
        .stderr(std::process::Stdio::null())
        .spawn()
        .expect("spiked starts");
    let mut last = String::new();
    let mut learns = |wanted: &str| {
        let (stream, channel) = wanted.split_once(' ').expect("two words");
        last = get(http, &format!("/api/v1/streams/{stream}/history"));
        let view: serde_json::Value = serde_json::from_str(&last).unwrap_or_default();
        let mut channels = view["channels"].as_array().into_iter().flatten();
        view["rows"].as_u64() >= Some(3) && channels.any(|c| c["name"] == channel)
    };
    let mut all_learn = || DEVICES.iter().all(|(_, _, wanted)| learns(wanted));
    let deadline = std::time::Instant::now() + Duration::from_secs(20);
    let mut learned = all_learn();
    while !learned && std::time::Instant::now() < deadline {
        std::thread::sleep(Duration::from_millis(200));
        learned = all_learn();
    }
    daemon.kill().expect("killed");
    daemon.wait().expect("ended");
    drop(plant);
    assert!(learned, "{last}");
    wait_for("the broker to go on", 1, || true);
}

/// The body of a GET, or nothing.
fn get(port: u16, path: &str) -> String {
    use std::io::{Read, Write};
    let Ok(mut stream) = std::net::TcpStream::connect(("127.0.0.1", port)) else {
        return String::new();
    };
    let mut text = String::new();
    let request =
        format!("GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nConnection: close\r\n\r\n");
    if stream.write_all(request.as_bytes()).is_err() || stream.read_to_string(&mut text).is_err() {
        return String::new();
    }
    text.split_once("\r\n\r\n")
        .map_or(String::new(), |(_, body)| body.to_owned())
}
