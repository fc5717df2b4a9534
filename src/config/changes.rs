//! Differences between two settings: which keys a running daemon takes over, and which need a restart.

use std::collections::BTreeMap;

use super::Settings;

/// Sections whose keys are those of the models, which tune without a restart unless they make another model.
const MODEL_SECTIONS: [&str; 4] = ["detect", "learn", "experimental", "stream"];
/// Keys that are taken over whatever the models are.
const LIVE: [&str; 2] = ["input", "log.level"];
/// Keys of these that other rooms read as well.
const READ_ELSEWHERE: [&str; 4] = [
    "stream.channels",
    "stream.expire_after_s",
    "stream.max_channels",
    "stream.max_streams",
];

/// Keys that differ between two settings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Changes {
    /// Taken over by a daemon that runs.
    pub live: Vec<String>,
    /// Taken over at the next start.
    pub restart: Vec<String>,
}

impl Changes {
    /// From `old` to `new`; `same_model` says that the models of `old` can go on with `new`.
    pub fn between(old: &Settings, new: &Settings, same_model: bool) -> Changes {
        let (before, after) = (by_key(old.to_toml()), by_key(new.to_toml()));
        let keys = before.keys().chain(after.keys());
        let mut keys: Vec<&String> = keys
            .filter(|key| before.get(*key) != after.get(*key))
            .collect();
        keys.sort_unstable();
        keys.dedup();
        let mut changes = Changes::default();
        for key in keys {
            let section = key.split('.').next().unwrap_or_default();
            let is_model =
                MODEL_SECTIONS.contains(&section) && !READ_ELSEWHERE.contains(&key.as_str());
            if LIVE.contains(&key.as_str()) || (is_model && same_model) {
                changes.live.push(key.clone());
            } else {
                changes.restart.push(key.clone());
            }
        }
        // Secrets are masked in what is compared.
        if old.mqtt.password != new.mqtt.password {
            changes.restart.push("mqtt.password".to_owned());
        }
        if old.http.token != new.http.token {
            changes.restart.push("http.token_file".to_owned());
        }
        let secret = |settings: &Settings| settings.webhook.clone().map(|w| (w.url, w.secret));
        if secret(old) != secret(new) {
            changes.restart.push("webhook".to_owned());
        }
        changes.restart.sort_unstable();
        changes.restart.dedup();
        changes
    }
}

impl Settings {
    /// Takes over from `new` what a running daemon does. The rest stays as it was at the start.
    pub fn take_over(&mut self, new: &Settings, changes: &Changes) {
        let is_live = |key: &str| changes.live.iter().any(|live| live == key);
        if is_live("log.level") {
            self.log_level.clone_from(&new.log_level);
        }
        if is_live("input") {
            self.inputs.clone_from(&new.inputs);
        }
        if changes.live.iter().any(|key| !LIVE.contains(&key.as_str())) {
            self.stream = new.stream.clone();
        }
        self.effective = with_keys_of(&self.effective, &new.effective, &changes.live);
    }
}

/// Effective settings with some keys as others have them.
fn with_keys_of(old: &str, new: &str, keys: &[String]) -> String {
    // They are ours: they parse.
    let parse = |text: &str| text.parse::<toml::Table>().unwrap_or_default();
    let (mut merged, new) = (parse(old), parse(new));
    for key in keys {
        match key.split_once('.') {
            Some((section, name)) => {
                let value = new.get(section).and_then(|section| section.get(name));
                let table = merged.get_mut(section).and_then(toml::Value::as_table_mut);
                if let (Some(table), Some(value)) = (table, value) {
                    table.insert(name.to_owned(), value.clone());
                }
            }
            None => {
                let value = new.get(key).cloned();
                merged.extend(value.map(|value| (key.clone(), value)));
            }
        }
    }
    merged.to_string()
}

/// The values of effective settings by `section.key`; lists of tables as a whole.
fn by_key(effective: &str) -> BTreeMap<String, toml::Value> {
    let mut flat = BTreeMap::new();
    // They are ours: they parse.
    for (section, value) in effective.parse::<toml::Table>().unwrap_or_default() {
        match value {
            toml::Value::Table(keys) => {
                let keys = keys.into_iter();
                flat.extend(keys.map(|(key, value)| (format!("{section}.{key}"), value)));
            }
            other => {
                flat.insert(section, other);
            }
        }
    }
    flat
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::load_plain;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        let pairs = pairs.iter().map(|(key, value)| (*key, (*value).to_owned()));
        load_plain(&pairs.collect::<Vec<_>>()).unwrap()
    }

    #[test]
    fn settings_that_are_taken_over_are_no_longer_a_difference_and_the_others_remain_one() {
        let mut old = settings(&[]);
        let new = settings(&[("log.level", "debug"), ("http.listen", "127.0.0.1:1")]);
        let changes = Changes::between(&old, &new, true);
        old.take_over(&new, &changes);
        let left = Changes::between(&old, &new, true);
        assert_eq!(
            (left.live, left.restart),
            (vec![], vec!["http.listen".to_owned()])
        );
    }

    #[test]
    fn thresholds_and_the_log_level_are_live_and_what_makes_another_model_is_not() {
        let old = settings(&[]);
        let new = settings(&[
            ("detect.false_alarms_per_week", "3"),
            ("log.level", "debug"),
            ("http.listen", "127.0.0.1:1"),
            ("stream.max_streams", "5"),
            ("mqtt.username", "me"),
            ("mqtt.password", "secret"),
        ]);
        let changes = Changes::between(&old, &new, true);
        assert_eq!(changes.live, ["detect.false_alarms_per_week", "log.level"]);
        assert_eq!(
            changes.restart,
            [
                "http.listen",
                "mqtt.password",
                "mqtt.username",
                "stream.max_streams"
            ]
        );
        let other = Changes::between(&old, &new, false);
        assert_eq!(other.live, ["log.level"]);
        assert_eq!(Changes::between(&old, &old, true), Changes::default());
    }
}
