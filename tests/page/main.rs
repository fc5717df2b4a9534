//! Looks at the live page in a real browser: Debian's chromium, driven by `look.mjs`.
//!
//! `tests/run` installs chromium, node and the two packages of `package.json`. The script says what it
//! saw, a line each with what was wanted; any offence fails the test. `SPIKED_PAGE_LOAD=1` adds the
//! long form, 50 streams at 20 rows a second: what a viewer costs the daemon, and the time of a frame.
//! `SPIKED_PAGE_ONLY=load` looks at that alone. `SPIKED_PAGE_SHOTS=DIR` writes pictures of the reports of fits.
//! `SPIKED_PAGE_PICTURES=1` writes the README's pictures, `stream.png` and `incident.png`, anew.

use std::path::Path;
use std::process::Command;

fn has(tool: &str) -> bool {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path).any(|place| place.join(tool).exists())
        || Path::new("/usr/sbin").join(tool).exists()
}

#[test]
fn the_page_shows_streams_faults_and_trouble_in_a_real_browser() {
    let here = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/page");
    let tools = ["chromium", "node", "mosquitto", "mosquitto_pub"];
    let mut missing: Vec<&str> = tools.into_iter().filter(|tool| !has(tool)).collect();
    if !here.join("node_modules/playwright-core").exists() {
        missing.push("playwright-core");
    }
    if !missing.is_empty() && std::env::var("SPIKED_SKIP_TOOLS").is_ok_and(|x| x == "1") {
        eprintln!("LEFT OUT: {} not installed", missing.join(", "));
        return;
    }
    assert!(
        missing.is_empty(),
        "not installed: {}; tests/run installs them",
        missing.join(", ")
    );
    let output = Command::new("node")
        .arg(here.join("look.mjs"))
        .env("SPIKED", env!("CARGO_BIN_EXE_spiked"))
        .output()
        .expect("node runs");
    let said = String::from_utf8_lossy(&output.stdout);
    let complaint = String::from_utf8_lossy(&output.stderr);
    eprintln!("{said}");
    assert!(output.status.success(), "{said}\n{complaint}");
}

#[test]
fn the_pictures_of_the_readme_are_there_and_small() {
    for name in ["stream.png", "incident.png"] {
        let path = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("tests/page")
            .join(name);
        let bytes = std::fs::read(&path).expect("SPIKED_PAGE_PICTURES=1 makes it");
        assert!(bytes.starts_with(b"\x89PNG"), "{name}");
        assert!(bytes.len() < 150_000, "{name}: {} bytes", bytes.len());
    }
}
