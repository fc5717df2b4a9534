//! Outputs that are retained: a subscriber who comes later has the state of every stream, and who listens has
//! each message once.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rumqttc::{Client, Event, MqttOptions, Packet, Publish, QoS};

use crate::cluster::Cluster;
use crate::membership::source;
use crate::plant::wait_until;
use crate::server::{Server, have_server};

/// An MQTT client and everything that it was sent.
struct Subscriber(Arc<Mutex<Vec<Publish>>>);

impl Subscriber {
    fn start(name: &str, port: u16) -> Subscriber {
        let options = MqttOptions::new(name, "127.0.0.1", port);
        let (client, mut connection) = Client::new(options, 10);
        for filter in ["spiked/main/#", "homeassistant/#"] {
            client.subscribe(filter, QoS::AtLeastOnce).unwrap();
        }
        let heard = Arc::new(Mutex::new(Vec::new()));
        let hears = heard.clone();
        std::thread::spawn(move || {
            let _client = client;
            for event in connection.iter() {
                match event {
                    Ok(Event::Incoming(Packet::Publish(message))) => {
                        hears.lock().unwrap().push(message);
                    }
                    Ok(_) => {}
                    Err(_) => return,
                }
            }
        });
        Subscriber(heard)
    }

    /// Messages of a kind, by topic.
    fn heard(&self, is_of: impl Fn(&Publish) -> bool) -> BTreeMap<String, Vec<String>> {
        let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
        for message in self.0.lock().unwrap().iter().filter(|m| is_of(m)) {
            let text = String::from_utf8_lossy(&message.payload).into_owned();
            found.entry(message.topic.clone()).or_default().push(text);
        }
        found
    }

    /// Waits for the retained status.
    fn wait_for_status(&self, text: &str) {
        wait_until("the status", Duration::from_secs(30), || {
            let heard = self.heard(|message| message.topic == "spiked/main/status");
            heard.values().flatten().any(|said| said == text)
        });
    }
}

fn is_anomaly(message: &Publish) -> bool {
    message.topic.ends_with("/anomaly")
}

#[test]
fn who_comes_later_has_the_state_of_every_stream_and_who_listens_has_each_message_once() {
    if !have_server() {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let server = Server::start(dir.path());
    let more = "retain_over_mqtt = true\n";
    let mut cluster = Cluster::new(dir.path(), &server.url(), 16, more);
    cluster.mqtt = server.mqtt;
    cluster.further = "[output]\nhome_assistant = \"homeassistant\"\n".to_owned();
    let listens = Subscriber::start("listens", server.mqtt);
    cluster.start("a");
    cluster.start("b");
    cluster.wait_ready();
    let source = source(&server);
    let n_anomalies = || listens.heard(is_anomaly).len();
    wait_until("every stream is told", Duration::from_secs(30), || {
        n_anomalies() == 24
    });
    wait_until("nothing waits", Duration::from_secs(30), || {
        cluster.messages("t-retained") == 0
    });
    let whole = cluster.wait_for_partitions("a");
    cluster.workers.get_mut("a").unwrap().kill();
    cluster.taken_over(&whole, std::time::Instant::now());
    let sent = source.finish();
    assert_eq!(cluster.messages("t"), sent);
    cluster.workers.remove("a");
    // Everything that waits is published before its end.
    cluster.stop_all();
    listens.wait_for_status("offline");
    for (topic, told) in listens.heard(is_anomaly) {
        let mut once = told.clone();
        once.sort_unstable();
        once.dedup();
        assert_eq!(once.len(), told.len(), "{topic}: {told:?}");
    }

    let later = Subscriber::start("later", server.mqtt);
    later.wait_for_status("offline");
    let is_here = || later.heard(|m| m.retain && is_anomaly(m)).len() == 24;
    wait_until("the states are there", Duration::from_secs(30), is_here);
    let last = |heard: BTreeMap<String, Vec<String>>| -> BTreeMap<String, String> {
        let last = heard
            .into_iter()
            .map(|(topic, told)| (topic, told.last().unwrap().clone()));
        last.collect()
    };
    assert_eq!(
        last(later.heard(is_anomaly)),
        last(listens.heard(is_anomaly))
    );
    let is_discovery = |message: &Publish| message.topic.starts_with("homeassistant/");
    let discovered = later.heard(|m| m.retain && is_discovery(m));
    assert!(discovered.len() >= 24, "{}", discovered.len());
    assert_eq!(last(discovered), last(listens.heard(is_discovery)));
}
