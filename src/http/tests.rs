//! Holds the API to its description: every path that is described is served, every answer fits its
//! schema, and nothing else is served below `/api`.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::{Duration, Instant};

use serde_json::{Value, json};
use tokio::net::TcpListener;

use super::{Admin, Limits, Site, start};
use crate::config::load_plain;
use crate::engine::EngineStats;
use crate::metrics::Metrics;
use crate::mqtt::Out;
use crate::mqtt::outbox::Outbox;
use crate::payload::Reject;
use crate::row::{
    ChannelOutcome, Forecast, Incident, IncidentEdge, Kind, Muted, Odds, Outcome, Ruling, Share,
    StreamId,
};
use crate::status::{Status, StreamView};

const TOKEN: &str = "a token of sixteen and more";
/// Markup, quotes, a newline and a right-to-left mark, percent-encoded and plain.
const HOSTILE: (&str, &str) = (
    "%3Cimg%20src%3Dx%20onerror%3D%22a%22%3E%0A%E2%80%AE",
    "<img src=x onerror=\"a\">\n\u{202e}",
);

fn incident(edge: bool) -> Incident {
    let share = |channel, share| Share { channel, share };
    Incident {
        id: 3,
        kind: Kind::Drift,
        start_ms: 400_000,
        peak_ms: 410_000,
        end_ms: edge.then_some(440_000),
        peak_score: 4.5,
        channels: vec![share(0, 0.75), share(1, 0.25)],
        accepted: false,
        verdict: edge.then_some(Ruling::True),
    }
}

fn outcome(row: u64) -> Outcome {
    let number = ChannelOutcome {
        value: if row.is_multiple_of(7) {
            f64::NAN
        } else {
            row as f64
        },
        mean: 2.0,
        sd: 0.5,
        score: 0.5,
        ..ChannelOutcome::unknown(f64::NAN)
    };
    let states = vec![("shut".into(), 0.75), ("open".into(), 0.25)];
    let open = (400..440).contains(&row);
    Outcome {
        ts_ms: row as i64 * 1000,
        arrival_ms: row as i64 * 1000 + 5,
        row,
        warming_up: row <= 100,
        score: 0.5,
        severity: 0.5,
        anomaly: open,
        kind: open.then_some(Kind::Drift),
        channels: vec![number, ChannelOutcome::unknown(1.0)],
        forecasts: vec![Forecast {
            channel: 0,
            horizon: 12,
            mean: 3.0,
            sd: f64::NAN,
        }],
        odds: vec![Odds {
            channel: 1,
            seen: Some(1),
            states,
        }],
        edge: match row {
            400 => Some(IncidentEdge::Opened(incident(false))),
            440 => Some(IncidentEdge::Closed(incident(true))),
            _ => None,
        },
    }
}

/// The stream without rows is muted, and a channel of the pump.
fn muted(stream: &str) -> Muted {
    match stream {
        "none" => Muted {
            until_ms: Some(90_000),
            channels: Vec::new(),
        },
        "pump" => Muted {
            until_ms: None,
            channels: vec![("valve".into(), 80_000)],
        },
        _ => Muted::default(),
    }
}

/// A daemon's status with a stream in every state.
fn status() -> Arc<Status> {
    let status = Arc::new(Status::new(Metrics::new().unwrap(), 1, 0));
    let channels: Vec<Arc<str>> = vec!["flow".into(), "valve".into()];
    for (name, rows) in [("pump", 500), (HOSTILE.1, 420), ("young", 50), ("none", 0)] {
        let name = StreamId::from(name);
        let kept = status.history_of(name.name());
        let stats = EngineStats {
            rows,
            learned: rows,
            ..EngineStats::default()
        };
        for row in 1..=rows {
            let open = (400..440).contains(&row).then(|| incident(false));
            kept.lock().push(&channels, &outcome(row), open.as_ref());
            kept.lock().push_stats(&EngineStats {
                rows: row,
                ..stats.clone()
            });
        }
        kept.lock().set_bar(12.0, 1.0);
        let view = StreamView {
            channels: channels.clone(),
            last: (rows > 0).then(|| outcome(rows)),
            stats,
            busy: Duration::ZERO,
            touched: Instant::now(),
            usual_interval: Duration::from_secs(1),
            incident: None,
            muted: muted(&name),
        };
        status.set_view(&name, view);
    }
    status.metrics.reject(Reject::Malformed);
    status
}

struct Server {
    address: SocketAddr,
    out: Out,
    runtime: tokio::runtime::Runtime,
}

impl Server {
    fn start() -> Server {
        let status = status();
        let out = Out::new(Outbox::new(10, 1), status.clone());
        let admin = Admin {
            token: TOKEN.to_owned(),
            out: out.clone(),
            base_topic: "spiked/test".to_owned(),
            feedback_token: Some("another token".to_owned()),
        };
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let address = runtime.block_on(async {
            let listener = TcpListener::bind(("127.0.0.1", 0)).await.unwrap();
            let address = listener.local_addr().unwrap();
            let settings = load_plain(&[
                ("mqtt.url", "mqtt://127.0.0.1:1".to_owned()),
                ("state.durability", "none".to_owned()),
            ]);
            let settings = settings.unwrap();
            let limits = Limits::new(&settings.http);
            start(listener, limits, Site::new(status, &settings, Some(admin)));
            address
        });
        Server {
            address,
            out,
            runtime,
        }
    }

    /// Status, headers and body of a request; of an endless one what comes within three seconds.
    fn ask(&self, method: &str, path: &str, headers: &str, body: &str) -> (u16, String, String) {
        let mut stream = TcpStream::connect(self.address).unwrap();
        let read_for = Some(Duration::from_millis(1200));
        stream.set_read_timeout(read_for).unwrap();
        let n = body.len();
        write!(
            stream,
            "{method} {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\nContent-Length: {n}\r\n{headers}\r\n{body}"
        )
        .unwrap();
        let (mut bytes, mut buffer) = (Vec::new(), [0; 65536]);
        let until = Instant::now() + Duration::from_secs(3);
        while let Ok(n) = stream.read(&mut buffer) {
            if n == 0 || Instant::now() > until {
                break;
            }
            bytes.extend_from_slice(&buffer[..n]);
        }
        let text = String::from_utf8_lossy(&bytes).into_owned();
        let (head, body) = text.split_once("\r\n\r\n").unwrap_or((&text, ""));
        let code = head.split(' ').nth(1).unwrap_or("0").parse().unwrap_or(0);
        (code, head.to_ascii_lowercase(), body.to_owned())
    }

    fn json(&self, path: &str) -> (u16, Value) {
        let (code, head, body) = self.ask("GET", path, "", "");
        assert!(head.contains("content-type: application/json"), "{path}");
        (code, serde_json::from_str(&body).expect(path))
    }
}

fn description() -> Value {
    serde_json::from_str(include_str!("openapi.json")).unwrap()
}

/// Every offence of `answer` against the schema that is described for it.
fn offences(description: &Value, path: &str, method: &str, code: u16, answer: &Value) -> String {
    let responses = &description["paths"][path][method]["responses"];
    let content = &responses[code.to_string()]["content"]["application/json"];
    assert!(content.is_object(), "{path} {code} is not described");
    let mut schema = content["schema"].clone();
    schema["components"] = description["components"].clone();
    let validator = jsonschema::validator_for(&schema).expect("a schema");
    let offences = validator.iter_errors(answer);
    offences
        .map(|offence| format!("{}: {offence}\n", offence.instance_path()))
        .collect()
}

#[test]
fn every_described_path_is_served_and_every_answer_fits_its_schema() {
    let server = Server::start();
    let description = description();
    let history = "/api/v1/streams/{stream}/history";
    let mut seen = Vec::new();
    for (path, concrete) in [
        ("/api/v1/streams", "/api/v1/streams".to_owned()),
        (
            "/api/v1/streams",
            "/api/v1/streams?search=pu&limit=1".to_owned(),
        ),
        (history, "/api/v1/streams/pump/history".to_owned()),
        (history, "/api/v1/streams/pump/history?points=20".to_owned()),
        (
            history,
            "/api/v1/streams/pump/history?from_ms=430000&to_ms=450000".to_owned(),
        ),
        (history, "/api/v1/streams/none/history".to_owned()),
        (history, "/api/v1/streams/nobody/history".to_owned()),
        (history, format!("/api/v1/streams/{}/history", HOSTILE.0)),
        ("/api/v1/incidents", "/api/v1/incidents".to_owned()),
        (
            "/api/v1/incidents",
            "/api/v1/incidents?stream=pump&limit=1".to_owned(),
        ),
        ("/api/v1/inputs", "/api/v1/inputs".to_owned()),
        ("/api/v1/refusals", "/api/v1/refusals".to_owned()),
        ("/api/v1/openapi.json", "/api/v1/openapi.json".to_owned()),
    ] {
        let (code, answer) = server.json(&concrete);
        let offences = offences(&description, path, "get", code, &answer);
        assert!(offences.is_empty(), "{concrete}: {offences}");
        seen.push(path);
    }
    seen.extend([
        "/api/v1/events",
        "/api/v1/streams/{stream}/mute",
        "/api/v1/streams/{stream}/forget",
        "/api/v1/streams/{stream}/incidents/{incident}/verdict",
    ]);
    let paths = description["paths"].as_object().unwrap();
    assert!(paths.keys().all(|path| seen.contains(&path.as_str())));
    assert!(seen.iter().all(|path| paths.contains_key(*path)));
}

#[test]
fn a_request_that_cannot_be_answered_is_told_what_would_be_right() {
    let server = Server::start();
    let description = description();
    let history = "/api/v1/streams/{stream}/history";
    for (path, concrete, said) in [
        (
            "/api/v1/streams",
            "/api/v1/streams?limit=ten",
            "limit: a whole number is wanted",
        ),
        (
            "/api/v1/streams",
            "/api/v1/streams?name=pump",
            "unknown parameter `name`, expected `search` or `limit`",
        ),
        (
            "/api/v1/incidents",
            "/api/v1/incidents?state=open",
            "expected `stream` or `limit`",
        ),
        (
            history,
            "/api/v1/streams/pump/history?points=",
            "points: a whole number is wanted",
        ),
        (
            history,
            "/api/v1/streams/pump/history?from_ms=2&to_ms=1",
            "from_ms is after to_ms",
        ),
    ] {
        let (code, answer) = server.json(concrete);
        assert_eq!(code, 400, "{concrete}");
        assert!(answer["error"].as_str().unwrap().contains(said), "{answer}");
        let offences = offences(&description, path, "get", code, &answer);
        assert!(offences.is_empty(), "{concrete}: {offences}");
    }
    assert_eq!(server.json("/api/v1/events?taken=x").0, 400);
    let (code, answer) = server.json("/api/v2/streams");
    assert_eq!(code, 404);
    assert!(
        answer["error"].as_str().unwrap().contains("openapi.json"),
        "{answer}"
    );
}

#[test]
fn no_path_below_api_is_served_that_is_not_described() {
    let source = include_str!("mod.rs");
    let described = description();
    let quoted = source.split('"').skip(1).step_by(2);
    let routes: Vec<&str> = quoted.filter(|text| text.starts_with("/api/")).collect();
    assert!(routes.len() >= 7);
    for route in routes {
        assert!(described["paths"][route].is_object(), "{route}");
    }
}

#[test]
fn answers_say_what_was_put_in() {
    let server = Server::start();
    let (_, streams) = server.json("/api/v1/streams");
    let states: Vec<(&str, &str)> = streams["streams"]
        .as_array()
        .unwrap()
        .iter()
        .map(|s| (s["stream"].as_str().unwrap(), s["state"].as_str().unwrap()))
        .collect();
    assert_eq!(states[0], (HOSTILE.1, "incident"), "the worst is first");
    assert!(states.contains(&("young", "warming_up")) && states.contains(&("none", "muted")));
    let (_, history) = server.json("/api/v1/streams/pump/history?points=5000");
    assert_eq!(history["rows"], 500);
    assert_eq!(history["channels"][1]["states"], json!(["shut", "open"]));
    assert_eq!(history["incidents"][0]["verdict"], "true");
    let (_, incidents) = server.json("/api/v1/incidents");
    assert_eq!(incidents["incidents"][0]["end_ms"], Value::Null);
    assert_eq!(incidents["n_incidents"], 2);
    let (_, refusals) = server.json("/api/v1/refusals");
    assert_eq!(
        refusals["counts"],
        json!([{"reason": "malformed", "count": 1}])
    );
}

#[test]
fn events_fit_the_schemas_of_what_they_repeat() {
    let server = Server::start();
    let description = description();
    let (code, head, body) = server.ask("GET", "/api/v1/events?stream=pump&taken=490", "", "");
    assert_eq!(code, 200);
    assert!(head.contains("content-type: text/event-stream"), "{head}");
    let mut seen = Vec::new();
    for event in body.split("\n\n") {
        let line = |name: &str| event.lines().find_map(|l| l.trim().strip_prefix(name));
        let (Some(name), Some(data)) = (line("event: "), line("data: ")) else {
            continue;
        };
        let mut data: Value = serde_json::from_str(data).unwrap();
        let path = match name {
            "streams" => "/api/v1/streams",
            "incidents" => "/api/v1/incidents",
            "rows" => {
                assert_eq!(data["ts_ms"].as_array().unwrap().len(), 10);
                // Rows come without the learning, which is asked for with the history.
                let (_, history) = server.json("/api/v1/streams/pump/history");
                data["learning"] = history["learning"].clone();
                "/api/v1/streams/{stream}/history"
            }
            other => panic!("an event {other}"),
        };
        let offences = offences(&description, path, "get", 200, &data);
        assert!(offences.is_empty(), "{name}: {offences}");
        seen.push(name.to_owned());
    }
    assert_eq!(seen[..3], ["streams", "incidents", "rows"]);
}

#[test]
fn a_verdict_needs_the_token_and_goes_to_the_feedback_topic() {
    let server = Server::start();
    let description = description();
    let described = "/api/v1/streams/{stream}/incidents/{incident}/verdict";
    let post = |stream: &str, incident: u64, token: &str, body: &str| {
        let path = format!("/api/v1/streams/{stream}/incidents/{incident}/verdict");
        let headers = format!("Content-Type: application/json\r\nX-Admin-Token: {token}\r\n");
        let (code, _, body) = server.ask("POST", &path, &headers, body);
        let answer: Value = serde_json::from_str(&body).unwrap();
        let offences = offences(&description, described, "post", code, &answer);
        assert!(offences.is_empty(), "{offences}");
        code
    };
    let verdict = r#"{"verdict": "new_normal"}"#;
    assert_eq!(post("pump", 3, "another", verdict), 401);
    assert_eq!(post("pump", 3, "", verdict), 401);
    assert_eq!(post("pump", 3, TOKEN, r#"{"verdict": "maybe"}"#), 400);
    assert_eq!(post("pump", 4, TOKEN, verdict), 404);
    assert_eq!(post("nobody", 3, TOKEN, verdict), 404);
    assert_eq!(server.out.len(), 0);
    assert_eq!(post("pump", 3, TOKEN, verdict), 202);
    assert_eq!(server.out.len(), 1);
}

#[test]
fn mutes_and_orders_to_forget_need_the_token_and_go_to_their_topics() {
    let server = Server::start();
    let description = description();
    let post = |stream: &str, what: &str, token: &str, body: &str| {
        let path = format!("/api/v1/streams/{stream}/{what}");
        let headers = format!("Content-Type: application/json\r\nX-Admin-Token: {token}\r\n");
        let (code, _, body) = server.ask("POST", &path, &headers, body);
        let answer: Value = serde_json::from_str(&body).unwrap();
        let described = format!("/api/v1/streams/{{stream}}/{what}");
        let offences = offences(&description, &described, "post", code, &answer);
        assert!(offences.is_empty(), "{offences}");
        code
    };
    let refused = [
        ("pump", "mute", "another", r#"{"for_s": 60}"#, 401),
        ("pump", "mute", TOKEN, r#"{"for_s": -1}"#, 400),
        ("pump", "mute", TOKEN, "{}", 400),
        ("nobody", "mute", TOKEN, r#"{"for_s": 60}"#, 404),
        (
            "pump",
            "mute",
            TOKEN,
            r#"{"for_s": 60, "channel": "no"}"#,
            404,
        ),
        ("pump", "forget", "", r#"{"stream": "pump"}"#, 401),
        ("pump", "forget", TOKEN, r#"{"stream": "young"}"#, 400),
        ("nobody", "forget", TOKEN, r#"{"stream": "nobody"}"#, 404),
    ];
    for (stream, what, token, body, code) in refused {
        assert_eq!(post(stream, what, token, body), code, "{what} {body}");
    }
    assert_eq!(server.out.len(), 0);
    for (what, body) in [
        ("mute", r#"{"for_s": 60, "channel": "flow"}"#),
        ("mute", r#"{"for_s": 0}"#),
        ("forget", r#"{"stream": "pump"}"#),
    ] {
        assert_eq!(post("pump", what, TOKEN, body), 202, "{what}");
    }
    assert_eq!(server.out.len(), 3);
}

#[test]
fn the_page_comes_under_a_strict_policy_and_weighs_little() {
    let server = Server::start();
    let (code, head, index) = server.ask("GET", "/", "", "");
    assert_eq!(code, 200);
    let policy =
        "content-security-policy: default-src 'none'; script-src 'self'; style-src 'self';";
    assert!(head.contains(policy) && !head.contains("unsafe"), "{head}");
    assert!(head.contains("x-content-type-options: nosniff"));
    let mut weight = index.len();
    let named = index.split('"').skip(1).step_by(2);
    let files: Vec<&str> = named.filter(|text| text.starts_with("/assets/")).collect();
    assert!(files.len() >= 8);
    for file in files {
        let (code, _, body) = server.ask("GET", file, "", "");
        assert_eq!(code, 200, "{file}");
        weight += body.len();
    }
    assert!(weight < 200_000, "{weight} bytes");
    assert!(
        !index.contains("<style") && !index.contains("<script>"),
        "nothing inline"
    );
    assert_eq!(server.ask("GET", "/assets/../mod.rs", "", "").0, 404);
    // Kept until here, or the server would be gone.
    drop(server.runtime);
}
