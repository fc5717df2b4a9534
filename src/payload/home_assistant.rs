//! Home Assistant discovery: a sensor for each prediction, a binary sensor for each stream.

use std::sync::Arc;

use serde_json::{Value, json};

/// Where the entities of one daemon are, and what they listen to.
#[derive(Clone, Copy, Debug)]
pub struct Discovery<'a> {
    /// First level of Home Assistant's discovery topics.
    pub prefix: &'a str,
    /// Topics of our own up to the stream: `<prefix>/<instance>`.
    pub own: &'a str,
}

impl Discovery<'_> {
    /// The messages that announce a stream's entities, as topic and payload.
    pub fn announce(&self, stream: &str, channels: &[Arc<str>]) -> Vec<(String, String)> {
        let own = format!("{}/{stream}", self.own);
        let mut messages = vec![(
            self.topic("binary_sensor", stream, "problem"),
            self.entity(
                stream,
                "problem",
                json!({
                    "name": "Anomaly",
                    "device_class": "problem",
                    "state_topic": format!("{own}/anomaly"),
                    "value_template": "{{ value_json.anomaly }}",
                    "payload_on": "1",
                    "payload_off": "0",
                    "json_attributes_topic": format!("{own}/anomaly"),
                }),
            ),
        )];
        for channel in channels {
            let key = serde_json::Value::from(format!("{channel}.mean")).to_string();
            let entity = json!({
                "name": format!("{channel} predicted"),
                "state_class": "measurement",
                "state_topic": format!("{own}/prediction"),
                // A row without a prediction leaves the last one.
                "value_template": format!("{{{{ value_json.get({key}, this.state) }}}}"),
            });
            let topic = self.topic("sensor", stream, channel);
            messages.push((topic, self.entity(stream, channel, entity)));
        }
        messages
    }

    fn topic(&self, component: &str, stream: &str, object: &str) -> String {
        let node = id(&format!("{}_{stream}", self.own));
        format!("{}/{component}/{node}/{}/config", self.prefix, id(object))
    }

    fn entity(&self, stream: &str, object: &str, mut entity: Value) -> String {
        let device = id(&format!("{}_{stream}", self.own));
        entity["unique_id"] = json!(format!("{device}_{}", id(object)));
        entity["availability_topic"] = json!(format!("{}/status", self.own));
        entity["device"] = json!({
            "identifiers": [device],
            "name": format!("{stream} (spiked)"),
            "model": "spiked",
            "sw_version": env!("CARGO_PKG_VERSION"),
        });
        entity.to_string()
    }
}

/// A text as an id: letters, digits, `_` and `-`; anything else as its code, so that ids differ
/// where names do.
fn id(text: &str) -> String {
    let mut id = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            'a'..='z' | 'A'..='Z' | '0'..='9' | '-' => id.push(c),
            '_' | '/' | '.' | ' ' if !id.ends_with('_') => id.push('_'),
            c => id.push_str(&format!("x{:x}", u32::from(c))),
        }
    }
    id
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_has_a_problem_and_a_sensor_for_each_prediction() {
        let discovery = Discovery {
            prefix: "homeassistant",
            own: "spiked/main",
        };
        let channels: Vec<Arc<str>> = vec!["oil.temp".into(), "\"x\"".into()];
        let messages = discovery.announce("hall 1.press", &channels);
        assert_eq!(messages.len(), 3);
        let (topic, payload) = &messages[0];
        assert_eq!(
            topic,
            "homeassistant/binary_sensor/spiked_main_hall_1_press/problem/config"
        );
        let json: Value = serde_json::from_str(payload).unwrap();
        assert_eq!(json["device_class"], "problem");
        assert_eq!(json["state_topic"], "spiked/main/hall 1.press/anomaly");
        assert_eq!(json["availability_topic"], "spiked/main/status");
        let json: Value = serde_json::from_str(&messages[1].1).unwrap();
        let template = json["value_template"].as_str().unwrap();
        assert_eq!(
            template,
            "{{ value_json.get(\"oil.temp.mean\", this.state) }}"
        );
    }
}
