//! The demo as a person runs it.

use std::time::Duration;

use crate::support::{Demo, get, has_tool, run};

#[test]
fn it_ends_by_itself_with_an_account() {
    let demo = Demo::start(&["--seconds", "3"]);
    let (text, status) = demo.end(Duration::from_secs(40));
    assert!(status.success(), "{status}: {text}");
    assert!(text.contains("faults flagged: 0 of 0"), "{text}");
    for pump in ["pump-1", "pump-2", "pump-3"] {
        let line = format!("{pump}: ");
        assert!(
            text.lines().any(|l| l.starts_with(&line)),
            "{pump} in {text}"
        );
    }
}

#[test]
fn ctrl_c_ends_it_cleanly_and_others_can_look_on() {
    let demo = Demo::start(&[]);
    demo.metrics("spiked_stream_rows{stream=\"pump-3\"}");
    assert!(!get(demo.http, "/healthz").is_empty());
    if has_tool("mosquitto_sub") {
        let port = demo.mqtt.port().to_string();
        let topic = "spiked/demo/+/prediction";
        let args = ["-p", &port, "-t", topic, "-C", "3", "-W", "20"];
        let seen = run(".", "mosquitto_sub", &args, "");
        assert_eq!(seen.matches("\"stream\":\"").count(), 3, "{seen}");
    }
    demo.signal("INT");
    let (text, status) = demo.end(Duration::from_secs(15));
    assert!(status.success(), "{status}: {text}");
    assert!(text.contains("faults flagged: "), "{text}");
}

#[test]
fn wrong_arguments_are_told_with_their_range() {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_spiked"))
        .env_remove("SPIKED_SKIP_TOOLS")
        .args(["demo", "--speed", "0", "--seconds", "-1"])
        .output()
        .expect("spiked runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(64), "{said}");
}
