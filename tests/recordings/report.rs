//! The report of a recording: what it says, what it weighs, and that a browser shows it.

use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::cases::spiked;

/// A row a minute of two channels; a fault of an hour in the first on the third day.
fn recording(rows: u32) -> String {
    let mut text = "time,flow,temp\n".to_owned();
    for i in 0..rows {
        let t = f64::from(i);
        let noise = f64::from(i * 7919 % 101) / 101.0 - 0.5;
        let fault = if (2900..2960).contains(&i) { 25.0 } else { 0.0 };
        let flow = 50.0 + 3.0 * (t / 60.0).sin() + noise + fault;
        let temp = 20.0 + 2.0 * (t / 300.0).cos() + 0.3 * noise;
        let seconds = 1_772_323_200 + 60 * i;
        text += &format!("{seconds},{flow:.2},{temp:.2}\n");
    }
    text
}

/// Runs `spiked replay` on the recording with its fault known; the summary and the report.
fn report(dir: &Path) -> (String, String) {
    std::fs::write(dir.join("plant.csv"), recording(3200)).expect("written");
    let start = 1_772_323_200 + 60 * 2900;
    let labels = format!("start,end\n{start},{}\n", start + 3600);
    std::fs::write(dir.join("faults.csv"), labels).expect("written");
    let output = spiked()
        .current_dir(dir)
        .args(["replay", "--report", "r.html", "--labels", "faults.csv"])
        .args([
            "--cost-false-alarm",
            "100",
            "--cost-missed-fault",
            "5000",
            "plant.csv",
        ])
        .output()
        .expect("spiked runs");
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let html = std::fs::read_to_string(dir.join("r.html")).expect("a report");
    (String::from_utf8_lossy(&output.stdout).into_owned(), html)
}

#[test]
fn terminal_and_report_say_the_same_in_plain_words() {
    let dir = tempfile::tempdir().expect("a directory");
    let (said, html) = report(dir.path());
    let (_, data) = html.split_once("id=\"data\">").expect("data");
    let (data, _) = data.split_once("</script>").expect("its end");
    let data: Value = serde_json::from_str(data).expect("JSON");
    let sentences = data["sentences"].as_array().expect("sentences");
    let worth = data["money_words"].as_array().expect("the money");
    assert!(sentences.len() >= 2 && worth.len() == 2);
    for sentence in sentences.iter().chain(worth) {
        let sentence = sentence.as_str().expect("text");
        assert!(said.contains(sentence), "{sentence:?} in {said}");
    }
    let detectors = data["money"]["detectors"].as_array().expect("detectors");
    assert_eq!(
        (detectors.len(), &detectors[0]["found"]),
        (4, &Value::from(1)),
        "{said}"
    );
    // A month without a detector misses a fault of 5000 in 2.2 days.
    let none = detectors[3]["cost_per_month"].as_f64().expect("a price");
    assert!(
        (none - 5000.0 * 30.44 / (3199.0 / 1440.0)).abs() < 1.0,
        "{none}"
    );
    let severities: Vec<f64> = data["incidents"]
        .as_array()
        .expect("incidents")
        .iter()
        .filter_map(|incident| incident["severity"].as_f64())
        .collect();
    assert!(
        severities.windows(2).all(|pair| pair[0] >= pair[1]),
        "worst first: {severities:?}"
    );
    assert!(
        said.contains("severity ▁") && said.contains("figures for statisticians"),
        "{said}"
    );
    for outside in ["src=\"http", "href=\"http", "@import", "url(http"] {
        assert!(!html.contains(outside), "it needs {outside}");
    }
}

#[test]
fn a_browser_shows_it_from_disk() {
    if !crate::cases::has("chromium") {
        return;
    }
    let dir = tempfile::tempdir().expect("a directory");
    report(dir.path());
    let file = format!("file://{}", dir.path().join("r.html").display());
    let output = Command::new("chromium")
        .args([
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--virtual-time-budget=3000",
            "--dump-dom",
        ])
        .arg(format!(
            "--user-data-dir={}",
            dir.path().join("profile").display()
        ))
        .arg(file)
        .output()
        .expect("chromium runs");
    let page = String::from_utf8_lossy(&output.stdout);
    let ready = page
        .split("data-ready=\"")
        .nth(1)
        .and_then(|rest| rest.split('"').next());
    println!(
        "report built within {} ms of its loading",
        ready.unwrap_or("?")
    );
    assert!(ready.is_some(), "the script ended: {page:.2000}");
    for wanted in [
        "What it would have been worth",
        "Incidents, worst first",
        "<canvas",
        "no detector",
    ] {
        assert!(page.contains(wanted), "{wanted}");
    }
}

#[test]
fn prices_need_known_faults_and_a_report_one_recording() {
    let dir = tempfile::tempdir().expect("a directory");
    std::fs::write(dir.path().join("a.csv"), recording(50)).expect("written");
    for (args, said) in [
        (&["--cost-missed-fault", "5", "a.csv"][..], "--labels"),
        (&["--report", "r.html", "a.csv", "a.csv"], "one recording"),
        (
            &["--labels", "a.csv", "--cost-false-alarm=-1", "a.csv"],
            "0 or more",
        ),
    ] {
        let output = spiked()
            .current_dir(dir.path())
            .arg("replay")
            .args(args)
            .output();
        let output = output.expect("spiked runs");
        let error = String::from_utf8_lossy(&output.stderr);
        assert!(
            !output.status.success() && error.contains(said),
            "{args:?}: {error}"
        );
    }
}

#[test]
fn recorded_messages_have_a_report_a_stream() {
    let dir = tempfile::tempdir().expect("a directory");
    let lines: Vec<String> = (0..300)
        .flat_map(|i| {
            let at = 1_772_323_200 + 10 * i;
            ["press", "pump"].map(|stream| format!("{at} plant/{stream}/temp {}", 20 + i % 7))
        })
        .collect();
    std::fs::write(dir.path().join("messages.log"), lines.join("\n")).expect("written");
    let input = "[[input]]\ntopic = \"plant/{stream}/{channel}\"\n";
    std::fs::write(dir.path().join("spiked.toml"), input).expect("written");
    let output = spiked()
        .current_dir(dir.path())
        .args(["replay", "--messages", "--config", "spiked.toml"])
        .args(["--report", "r.html", "messages.log"])
        .output()
        .expect("spiked runs");
    let error = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{error}");
    for stream in ["press", "pump"] {
        let page = std::fs::read_to_string(dir.path().join(format!("r.{stream}.html")));
        let page = page.expect("a report");
        let shows = page.contains("\"temp\"") && page.contains(stream);
        assert!(shows, "{stream}");
    }
}
