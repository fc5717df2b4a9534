//! Proposes settings for channels by the values that a recording has of them.

use std::collections::BTreeSet;

use serde::Serialize;

/// Values of a channel that are remembered: more are no states.
const MAX_VALUES: usize = 8;
/// Fewest values of a recording from which anything is proposed.
pub(super) const FEWEST_VALUES: u64 = 50;
/// A fall of a total to less than this share is a reset.
const RESET_SHARE: f64 = 0.1;
/// Greatest share of rows in which a channel of states changes.
const MAX_CHANGES: f64 = 0.2;

/// A setting that would suit a channel.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SettingProposal {
    /// The channel.
    pub channel: String,
    /// Proposed kind: `constant`, `empty`, `binary`, `enum` or `counter`.
    pub kind: &'static str,
    /// The proposal in words.
    pub text: String,
    /// A piece of configuration; empty where a column is to be left out.
    pub config: String,
}

/// The values that a channel has had.
#[derive(Clone, Debug, Default)]
pub(crate) struct SeenValues {
    seen: u64,
    changes: u64,
    /// Falls that are no resets of a total.
    falls: u64,
    last: Option<f64>,
    /// Distinct values, in order; emptied where there are too many.
    distinct: Vec<f64>,
    many: bool,
}

impl SeenValues {
    pub(crate) fn observe(&mut self, value: f64) {
        self.seen += 1;
        let falls = |last: f64| value < last && !(value >= 0.0 && value < RESET_SHARE * last);
        self.falls += u64::from(self.last.is_some_and(falls));
        self.changes += u64::from(self.last.is_some_and(|last| last != value));
        if self.last.replace(value) == Some(value) || self.many {
            return;
        }
        if let Err(place) = self
            .distinct
            .binary_search_by(|known| known.total_cmp(&value))
        {
            self.distinct.insert(place, value);
            if self.distinct.len() > MAX_VALUES {
                (self.many, self.distinct) = (true, Vec::new());
            }
        }
    }

    /// The proposal for a channel with these values, if there is one from `fewest` on.
    pub(crate) fn proposal(&self, name: &str, fewest: u64) -> Option<SettingProposal> {
        let left_out = |kind, text| SettingProposal {
            channel: name.to_owned(),
            kind,
            text,
            config: String::new(),
        };
        if self.seen == 0 {
            let text = format!("{name:?} never has a value: ignore = [{name:?}] leaves it out");
            return Some(left_out("empty", text));
        }
        let rare = (self.changes as f64) < MAX_CHANGES * self.seen as f64;
        if self.falls == 0 && self.changes >= fewest && self.many {
            return Some(SettingProposal {
                channel: name.to_owned(),
                kind: "counter",
                text: format!(
                    "{name:?} never falls: if it is a total, kind = \"counter\" judges its growth"
                ),
                config: format!("[[channel]]\nname = {name:?}\nkind = \"counter\"\n"),
            });
        }
        if self.seen < fewest || self.many || !rare {
            return None;
        }
        match self.distinct.as_slice() {
            [only] => {
                let text = format!("{name:?} is always {only}: ignore = [{name:?}] leaves it out");
                Some(left_out("constant", text))
            }
            [0.0, 1.0] => Some(SettingProposal::of_states(name, &[], "two values")),
            values if values.iter().all(|value| value.fract() == 0.0) => {
                let states: Vec<String> = values.iter().map(f64::to_string).collect();
                Some(SettingProposal::of_states(
                    name,
                    &states,
                    &format!("{} values", states.len()),
                ))
            }
            _ => None,
        }
    }
}

impl SettingProposal {
    /// For a column of few texts.
    pub(super) fn of_texts(name: &str, texts: &BTreeSet<String>) -> SettingProposal {
        let states: Vec<String> = texts.iter().cloned().collect();
        SettingProposal::of_states(name, &states, &format!("{} texts", states.len()))
    }

    /// Without states: 0 and 1.
    fn of_states(name: &str, states: &[String], what: &str) -> SettingProposal {
        let kind = if matches!(states.len(), 0 | 2) {
            "binary"
        } else {
            "enum"
        };
        let list = match states {
            [] => String::new(),
            _ => format!("\nstates = {}", serde_json::json!(states)),
        };
        let said = list.replace('\n', ", ");
        SettingProposal {
            channel: name.to_owned(),
            kind,
            text: format!("{name:?} has {what}: kind = \"{kind}\"{said}"),
            config: format!("[[channel]]\nname = {name:?}\nkind = \"{kind}\"{list}\n"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proposal(values: impl Iterator<Item = f64>) -> Option<SettingProposal> {
        let mut met = SeenValues::default();
        values.for_each(|value| met.observe(value));
        met.proposal("pump", FEWEST_VALUES)
    }

    #[test]
    fn channels_of_few_values_are_proposed_as_what_they_are() {
        let kind = |of: fn(u32) -> f64| proposal((0..500).map(of)).map(|found| found.kind);
        assert_eq!(kind(|i| f64::from(i / 50 % 2)), Some("binary"));
        assert_eq!(kind(|i| f64::from(i / 50 % 4)), Some("enum"));
        assert_eq!(kind(|_| 7.0), Some("constant"));
        assert_eq!(
            kind(|i| f64::from(i % 2)),
            None,
            "it changes with every row"
        );
        assert_eq!(kind(|i| f64::from(i / 50) * 0.5), None);
        assert_eq!(kind(f64::from), Some("counter"));
        assert_eq!(kind(|i| f64::from(i % 200)), Some("counter"), "with resets");
        assert_eq!(kind(|i| f64::from(i + 2 - 2 * (i % 2))), None, "it falls");
        assert_eq!(
            proposal(std::iter::empty()).map(|found| found.kind),
            Some("empty")
        );
    }

    #[test]
    fn what_is_proposed_is_a_good_configuration() {
        let texts = ["idle", "run \"fast\"", "stop"].map(str::to_owned);
        let proposals = [
            SettingProposal::of_texts("mode", &texts.clone().into()),
            SettingProposal::of_texts("door", &texts[..2].iter().cloned().collect()),
            proposal((0..500).map(|i| f64::from(i / 50 % 2))).expect("binary"),
            proposal((0..500).map(|i| 10.0 * f64::from(i / 50 % 3))).expect("enum"),
        ];
        for proposal in proposals {
            let checked = crate::config::from_text(&proposal.config);
            assert!(checked.is_ok(), "{}: {:?}", proposal.config, checked.err());
        }
    }
}
