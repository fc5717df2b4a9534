//! Topic filters that the daemon subscribes to.

use crate::config::{FeedbackMode, InputSettings, OutputSettings, Settings};
use crate::mqtt;
use crate::payload::InstructionTopic;

/// The filters to subscribe to, each once.
pub fn filters(inputs: &[InputSettings]) -> Vec<(String, u8)> {
    let mut filters: Vec<(String, u8)> = Vec::new();
    for input in inputs {
        let filter = input.pattern.filter();
        match filters.iter_mut().find(|(known, _)| *known == filter) {
            Some((_, qos)) => *qos = (*qos).max(input.qos),
            None => filters.push((filter, input.qos)),
        }
    }
    filters
}

/// Where the broker's own figures come from, where they are wanted.
pub(super) fn broker_figures(settings: &Settings) -> Vec<(String, u8)> {
    let wanted = settings.mqtt.watch_broker;
    let figures = wanted.then(|| (mqtt::DROPPED_TOPIC.to_owned(), 0));
    figures.into_iter().collect()
}

/// Where instructions and the starts of Home Assistant come from, as far as they are wanted.
pub(super) fn optional_filters(settings: &Settings) -> Vec<(String, u8)> {
    let output = &settings.output;
    let topics = InstructionTopic::ALL
        .into_iter()
        .filter(|_| output.feedback != FeedbackMode::Off);
    let instructions = topics.map(|topic| {
        let filter = format!("{}/{}/+/{}", output.prefix, output.instance, topic.as_str());
        (filter, 1)
    });
    let home_assistant = home_assistant_status(output).map(|topic| (topic, 0));
    instructions.chain(home_assistant).collect()
}

/// The topic on which Home Assistant says that it has started.
pub(super) fn home_assistant_status(output: &OutputSettings) -> Option<String> {
    let prefix = &output.home_assistant;
    (!prefix.is_empty()).then(|| format!("{prefix}/status"))
}
