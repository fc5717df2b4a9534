//! Tests of valid configurations, and of the messages about wrong ones.

use std::io::Write;
use std::path::PathBuf;

use config::{Environment, Map};

use super::*;
use crate::encode::Encoder;
use crate::engine::Role;

fn sample(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("config")
        .join(name)
}

fn environment(pairs: &[(&str, &str)]) -> Environment {
    let map: Map<String, String> = pairs
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    Environment::with_prefix(ENV_PREFIX).source(Some(map))
}

fn load_text(text: &str, env: &[(&str, &str)]) -> Result<Settings, ConfigError> {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(text.as_bytes()).unwrap();
    load_from(Some(file.path()), environment(env), &[])
}

fn offences(text: &str, env: &[(&str, &str)]) -> Vec<String> {
    match load_text(text, env) {
        Err(ConfigError::Invalid(offences)) => offences,
        other => panic!("{other:?}"),
    }
}

fn defaults() -> Settings {
    load_from(None, environment(&[]), &[]).unwrap()
}

#[test]
fn the_shipped_sample_shows_every_key_at_its_default() {
    let path = sample("spiked.toml");
    let from_sample = load_from(Some(&path), environment(&[]), &[]).unwrap();
    assert_eq!(from_sample.to_toml(), defaults().to_toml());
    let text = std::fs::read_to_string(path).unwrap();
    let shown: toml::Table = text.parse().unwrap();
    let known: toml::Table = defaults().to_toml().parse().unwrap();
    assert_eq!(shown, known, "a key is missing in the sample");
}

#[test]
fn the_minimal_file_is_short_and_means_the_defaults() {
    let path = sample("minimal.toml");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(text.lines().count() < 10);
    let settings = load_from(Some(&path), environment(&[]), &[]).unwrap();
    assert_eq!(settings.to_toml(), defaults().to_toml());
}

#[test]
fn the_effective_settings_load_as_themselves() {
    let settings = load_text(
        "[learn]\nhidden = 7\n[[input]]\ntopic = \"a/{stream}/{channel}\"\n",
        &[],
    )
    .unwrap();
    let again = load_text(settings.to_toml(), &[]).unwrap();
    assert_eq!(again.to_toml(), settings.to_toml());
}

#[test]
fn flags_win_over_variables_and_variables_over_the_file() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"[mqtt]\nurl = \"mqtt://a:1\"\nclient_id = \"c\"\n[learn]\nhidden = 4\n")
        .unwrap();
    let env = environment(&[
        ("SPIKED_MQTT__URL", "mqtt://b:2"),
        ("SPIKED_LEARN__PARTNERS", "5"),
    ]);
    let flags = [("mqtt.url".to_owned(), "mqtts://[::1]".to_owned())];
    let with_env = load_from(Some(file.path()), env.clone(), &[]).unwrap();
    assert_eq!((with_env.mqtt.host.as_str(), with_env.mqtt.port), ("b", 2));
    assert!(with_env.to_toml().contains("hidden = 4\npartners = 5\n"));
    let result = load_from(Some(file.path()), env, &flags);
    // TLS needs trust anchors, which the machine may lack: either way the flag was heard.
    match result {
        Ok(settings) => {
            assert_eq!(
                (settings.mqtt.host.as_str(), settings.mqtt.port),
                ("::1", 8883)
            );
        }
        Err(error) => assert!(error.to_string().contains("mqtt.ca_file"), "{error}"),
    }
}

#[test]
fn all_offences_are_said_at_once_with_key_range_and_what_was_found() {
    let text = r#"
        surprise = 1
        [mqtt]
        url = "http://broker"
        keep_alive_s = nan
        clientid = "x"
        [learn]
        hidden = 5000
        partners = 2.5
        weight_memory_rows = "many"
        student_nu = 4
        [detect]
        false_alarms_per_week = -1
        [runtime]
        overload = "explode"
        [stream]
        channels = ["a", "a"]
        [http]
        listen = "9184"
        [[input]]
        topic = "plant/{stream}"
        qos = 2
        [[input]]
        value = "nothing"
    "#;
    let said = offences(text, &[("SPIKED_LEARN__HIDEN", "3"), ("SPIKED_NOPE", "1")]).join("\n");
    for expected in [
        "mqtt.url: mqtt://host:port or mqtts://host:port, got \"http://broker\"",
        "mqtt.keep_alive_s: a number from 5 to 3600, got NaN",
        "mqtt.clientid: no such key",
        "learn.hidden: a whole number from 0 to 1024, got 5000",
        "learn.partners: a whole number from 0 to 16, got 2.5",
        "learn.weight_memory_rows: a number from 100 to 1000000000, got \"many\"",
        "learn.hiden: no such key (from the environment)",
        "learn.student_nu: is now called learn.student_t_dof",
        "detect.false_alarms_per_week: a number from 0.000001 to 1000, got -1",
        "runtime.overload: one of \"block\", \"drop_oldest\", got \"explode\"",
        "stream: channels must differ, got `a` twice",
        "http.listen: address:port such as 127.0.0.1:9184, or empty for none, got \"9184\"",
        "input[0].topic: one {channel}, or `channel`: a name, or one made of levels as in channel = \"{part}.{kind}\"; or payload = \"object\", whose members are channels, got \"plant/{stream}\"",
        "input[0].qos: a whole number from 0 to 1, got 2",
        "input[1].value: a JSON pointer such as /value or /data/0/v, with . in front within the record, got \"nothing\"",
        "surprise: no such key",
        "nope: no such key (from the environment)",
    ] {
        assert!(said.contains(expected), "{expected}\nis not in\n{said}");
    }
    assert_eq!(said.lines().count(), 17, "{said}");
}

#[test]
fn a_section_that_is_no_table_is_an_offence_and_no_panic() {
    let said = offences("mqtt = 3\ninput = \"x\"\nlearn = [1]\n", &[]).join("\n");
    assert!(said.contains("mqtt: a table, got 3"), "{said}");
    assert!(said.contains("input: a list of tables"), "{said}");
    assert!(said.contains("learn: a table, got [1]"), "{said}");
    assert!(matches!(
        load_text("[mqtt\n", &[]),
        Err(ConfigError::Unreadable(_))
    ));
}

#[test]
fn secrets_are_never_shown() {
    let text = "[mqtt]\nusername = \"me\"\npassword = \"hunter2\"\n";
    let settings = load_text(text, &[]).unwrap();
    assert_eq!(settings.mqtt.password, "hunter2");
    assert!(!settings.to_toml().contains("hunter2"));
    assert!(!format!("{settings:?}").contains("hunter2"));
    let said = offences(
        "[mqtt]\nurl = \"mqtt://me:hunter2@host\"\npassword = 7\n",
        &[],
    )
    .join("\n");
    assert!(!said.contains("hunter2"), "{said}");
    assert!(
        said.contains("mqtt.password: a text, got something else (not shown)"),
        "{said}"
    );
}

#[test]
fn a_password_may_come_from_a_file() {
    let mut file = tempfile::NamedTempFile::new().unwrap();
    file.write_all(b"hunter2\n").unwrap();
    let text = format!(
        "[mqtt]\nusername = \"me\"\npassword_file = {:?}\n",
        file.path().display().to_string()
    );
    assert_eq!(load_text(&text, &[]).unwrap().mqtt.password, "hunter2");
    let said = offences(
        "[mqtt]\nusername = \"me\"\npassword_file = \"/nowhere/at/all\"\n",
        &[],
    );
    assert!(
        said[0].starts_with("mqtt.password_file: a readable file"),
        "{said:?}"
    );
}

#[test]
fn a_topic_of_objects_needs_no_channel() {
    let text = "[[input]]\ntopic = \"plant/{stream}\"\npayload = \"object\"\n";
    let settings = load_text(text, &[]).unwrap();
    assert_eq!(settings.inputs[0].pattern.filter(), "plant/+");
    assert!(settings.inputs[0].format.names_channels());
}

#[test]
fn channels_are_what_the_first_table_that_fits_says() {
    let settings = load_text(
        r#"
        [predict]
        horizons = [1, 12]
        [[channel]]
        name = "valve_*"
        kind = "binary"
        states = ["shut", "open"]
        [[channel]]
        name = "mode"
        stream = "pump-*"
        kind = "enum"
        states = [0, 2, 5]
        [[channel]]
        name = "quality"
        role = "target"
        [[channel]]
        name = "fault"
        role = "label"
        [[channel]]
        name = "*"
        encoder = "delta"
        fields = 8
        "#,
        &[],
    )
    .unwrap();
    let engine = &settings.stream.engine;
    assert_eq!(engine.get().horizons, [12]);
    let names = |channel: &str| {
        let states = engine.states("pump-1", channel).unwrap_or_default();
        states
            .iter()
            .map(|s| (s.name.to_string(), s.value))
            .collect::<Vec<_>>()
    };
    assert_eq!(
        names("valve_3"),
        [("shut".to_owned(), 0.0), ("open".to_owned(), 1.0)]
    );
    assert_eq!(names("mode").len(), 3);
    assert_eq!(names("mode")[2], ("5".to_owned(), 5.0));
    assert!(engine.states("fan-1", "mode").is_none());
    assert_eq!(engine.plan("x", "quality").role, Role::Target);
    assert!(engine.plan("x", "fault").has_states());
    assert_eq!(
        engine.plan("x", "flow").encoder,
        Encoder::new("delta", 8, 2.5)
    );
    // The effective settings as they are shown mean the same.
    let again = load_text(settings.to_toml(), &[]).unwrap();
    assert_eq!(again.stream, settings.stream);
    assert_eq!(again.to_toml(), settings.to_toml());
}

#[test]
fn what_is_wrong_with_channels_is_said_with_the_rest() {
    let said = offences(
        r#"
        [predict]
        horizons = [0, 12]
        [[channel]]
        role = "oracle"
        [[channel]]
        name = "v"
        kind = "binary"
        states = ["a", "b", "c"]
        [[channel]]
        name = "w"
        kind = "enum"
        states = ["a", "a"]
        encoder = "rate"
        fields = 100
        [[channel]]
        name = "x"
        role = "target"
        encoder = "raw"
        colour = "red"
        "#,
        &[],
    );
    let said = said.join("\n");
    for part in [
        "predict.horizons: a list of whole numbers from 1 to 1000, got [0, 12]",
        "channel[0].name: a name, in which * is any text, got none",
        "channel[0].role: one of \"sensor\", \"target\", \"label\", got \"oracle\"",
        "channel[1].states: none or 2 states of a binary channel, got 3",
        "channel[2].states: states that differ",
        "channel[2].fields: a whole number from 2 to 64, got 100",
        "channel[3].encoder: the default where the channel is no sensor of numbers",
        "channel[3].colour: no such key",
    ] {
        assert!(said.contains(part), "{part} in\n{said}");
    }
    let said = offences("", &[("SPIKED_PREDICT__HORIZONS", "4,4")]).join("\n");
    assert!(said.contains("horizons must differ, got 4 twice"), "{said}");
}

#[test]
fn a_file_that_is_no_toml_is_refused_by_its_line_without_showing_it() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("spiked.toml");
    std::fs::write(&path, "[mqtt]\nusername = \"me\"\npassword = \"hunter2\n").unwrap();
    let error = load(Some(&path), &[]).unwrap_err().to_string();
    assert!(
        error.contains("line 3") && !error.contains("hunter2"),
        "{error}"
    );
}

#[test]
fn a_token_for_feedback_must_be_a_secret_worth_the_name() {
    let with = |token: &str| {
        load_plain(&[
            ("mqtt.url", "mqtt://127.0.0.1:1883".to_owned()),
            ("output.feedback", "token".to_owned()),
            ("output.feedback_token", token.to_owned()),
        ])
    };
    let error = with("short").unwrap_err().to_string();
    assert!(
        error.contains("output.feedback_token: a secret of 16"),
        "{error}"
    );
    let settings = with("0123456789abcdef").unwrap();
    assert!(!settings.to_toml().contains("0123456789abcdef"));
}
