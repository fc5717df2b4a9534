//! Conventions that are known by their topics, each with the sample of `config/inputs` for it.

use super::Topic;
use crate::payload::parse_line_protocol;
use crate::time::{ParsedTime, parse_moment};

/// A way in which some kind of device publishes.
pub struct Convention {
    /// Its name.
    pub name: &'static str,
    sample: &'static str,
    /// Whether a topic belongs to it.
    pub is_one: fn(&Topic<'_>) -> bool,
    /// Whether such a topic has values to learn from.
    pub has_values: fn(&Topic<'_>) -> bool,
}

macro_rules! sample {
    ($name:literal) => {
        include_str!(concat!("../../../config/inputs/", $name, ".toml"))
    };
}

fn yes(_: &Topic<'_>) -> bool {
    true
}

/// The conventions, those with the more particular topics first.
pub const CONVENTIONS: [Convention; 18] = [
    Convention {
        name: "Sparkplug B",
        sample: sample!("sparkplug"),
        is_one: |topic| topic.name.starts_with("spBv1.0/"),
        has_values: yes,
    },
    Convention {
        name: "Tasmota",
        sample: sample!("tasmota"),
        is_one: |topic| {
            matches!(
                topic.levels()[..],
                ["tele" | "stat" | "cmnd" | "tasmota", _, ..]
            )
        },
        has_values: |topic| matches!(topic.levels()[..], ["tele", _, "SENSOR" | "STATE"]),
    },
    Convention {
        name: "Zigbee2MQTT",
        sample: sample!("zigbee2mqtt"),
        is_one: |topic| topic.name.starts_with("zigbee2mqtt/"),
        has_values: |topic| topic.levels().len() == 2 && topic.json().is_object(),
    },
    Convention {
        name: "Shelly, first generation",
        sample: sample!("shelly-gen1"),
        is_one: |topic| topic.name.starts_with("shellies/"),
        has_values: |topic| topic.levels().len() > 2,
    },
    Convention {
        name: "Shelly, second generation and later",
        sample: sample!("shelly-gen2"),
        is_one: is_shelly_gen2,
        has_values: yes,
    },
    Convention {
        name: "ESPHome",
        sample: sample!("esphome"),
        is_one: |topic| {
            matches!(
                topic.levels()[..],
                [
                    _,
                    "sensor" | "binary_sensor" | "switch" | "light" | "text_sensor",
                    _,
                    "state"
                ]
            )
        },
        has_values: |topic| topic.levels()[1].ends_with("sensor"),
    },
    Convention {
        name: "Homie",
        sample: sample!("homie"),
        is_one: |topic| topic.name.starts_with("homie/"),
        has_values: |topic| !topic.name.contains('$') && topic.levels().len() > 3,
    },
    Convention {
        name: "ChirpStack",
        sample: sample!("chirpstack"),
        is_one: |topic| {
            matches!(
                topic.levels()[..],
                ["application", _, "device", _, "event", _]
            )
        },
        has_values: |topic| topic.name.ends_with("/up") && topic.json()["object"].is_object(),
    },
    Convention {
        name: "The Things Stack",
        sample: sample!("ttn"),
        is_one: |topic| matches!(topic.levels()[..], ["v3", _, "devices", _, ..]),
        has_values: |topic| {
            topic.name.ends_with("/up")
                && topic.json()["uplink_message"]["decoded_payload"].is_object()
        },
    },
    Convention {
        name: "ThingsBoard, samples with times",
        sample: sample!("thingsboard-array"),
        is_one: |topic| {
            let json = topic.json();
            let first = json.get(0).unwrap_or(&json);
            is_thingsboard(topic) && first["values"].is_object()
        },
        has_values: yes,
    },
    Convention {
        name: "ThingsBoard",
        sample: sample!("thingsboard"),
        is_one: is_thingsboard,
        has_values: yes,
    },
    Convention {
        name: "ThingsBoard gateway",
        sample: sample!("thingsboard-gateway"),
        is_one: |topic| topic.name == "v1/gateway/telemetry",
        has_values: yes,
    },
    Convention {
        name: "Wiren Board",
        sample: sample!("wirenboard"),
        is_one: |topic| matches!(topic.levels()[..], ["", "devices", _, ..]),
        has_values: |topic| matches!(topic.levels()[..], ["", "devices", _, "controls", _]),
    },
    Convention {
        name: "rtl_433",
        sample: sample!("rtl433"),
        is_one: |topic| matches!(topic.levels()[..], ["rtl_433", _, "events"]),
        has_values: yes,
    },
    Convention {
        name: "United Manufacturing Hub",
        sample: sample!("umh"),
        is_one: |topic| topic.name.starts_with("umh/v1/"),
        has_values: |topic| topic.name.contains("/_historian/"),
    },
    Convention {
        name: "DSMR-reader",
        sample: sample!("dsmr"),
        is_one: |topic| topic.name.starts_with("dsmr/"),
        has_values: |topic| topic.name.starts_with("dsmr/reading/"),
    },
    Convention {
        name: "Line protocol, as Telegraf sends it",
        sample: sample!("influx"),
        is_one: |topic| {
            matches!(topic.levels()[..], ["telegraf", _, _])
                && parse_line_protocol(topic.text()).is_ok()
        },
        has_values: yes,
    },
    Convention {
        name: "Home Assistant discovery",
        sample: "",
        is_one: |topic| topic.name.starts_with("homeassistant/"),
        has_values: |_| false,
    },
];

fn is_shelly_gen2(topic: &Topic<'_>) -> bool {
    match topic.levels()[..] {
        [_, "status", part] => part.contains(':') || topic.json()["id"].is_number(),
        [_, "events", "rpc"] => topic.json()["method"].is_string(),
        [device, "online" | "debug" | "rpc" | "command", ..] => device.starts_with("shelly"),
        _ => false,
    }
}

fn is_thingsboard(topic: &Topic<'_>) -> bool {
    matches!(topic.levels()[..], ["v1", "devices", _, "telemetry"])
}

impl Convention {
    /// The sample's tables, with the zone that the device's times have.
    pub fn tables(&self, topics: &[&Topic<'_>]) -> String {
        let lines = self.sample.lines().filter(|line| !line.starts_with('#'));
        let mut text = String::new();
        for line in lines {
            if !line.starts_with("timezone") {
                text.push_str(line);
                text.push('\n');
                continue;
            }
            let zone = topics.iter().find_map(|topic| local_offset(topic));
            if let Some(offset) = zone.filter(|offset| offset != "+00:00") {
                text.push_str(&format!(
                    "# The times are local; a name such as \"Europe/Berlin\" knows summer time.\n\
                     timezone = \"{offset}\"\n"
                ));
            }
        }
        text
    }
}

/// The offset of a topic's times from UTC, where they have none of their own: by their arrival.
fn local_offset(topic: &Topic<'_>) -> Option<String> {
    let json = topic.json();
    let text = ["Time", "time"]
        .iter()
        .find_map(|key| json[*key].as_str())?;
    let ParsedTime::Local(_) = parse_moment(text)? else {
        return None;
    };
    let ahead_ms = parse_moment(text)?.utc_ms()? - topic.arrival_ms();
    let quarters = (ahead_ms as f64 / 900_000.0).round() as i64;
    let minutes = quarters.abs() * 15;
    let sign = if quarters < 0 { '-' } else { '+' };
    (minutes <= 14 * 60).then(|| format!("{sign}{:02}:{:02}", minutes / 60, minutes % 60))
}
