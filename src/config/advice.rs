//! Warns of settings that are valid but hardly meant: inputs that are never reached, our own outputs, levels unused.

use super::Settings;
use super::settings::FeedbackMode;

impl Settings {
    /// Warnings of settings that mean nothing in a cluster.
    pub(super) fn warnings_of_cluster(&self) -> Vec<String> {
        if self.cluster.is_none() {
            return Vec::new();
        }
        let mut warnings = Vec::new();
        if self.output.predictions_retain {
            warnings.push(
                "output.predictions_retain = true: no prediction is retained in a cluster"
                    .to_owned(),
            );
        }
        if self.state.idle_evict.is_some() {
            warnings.push("state.idle_evict_s: no stream leaves memory in a cluster".to_owned());
        }
        if self
            .inputs
            .iter()
            .any(|input| input.pattern.share_group().is_some())
        {
            warnings.push(
                "input.topic: $share means nothing in a cluster, which shares by itself".to_owned(),
            );
        }
        warnings
    }

    /// Mistakes that do not keep the daemon from running, a line each.
    pub(super) fn warnings_of_inputs(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if !self.inputs_given {
            warnings.push(format!(
                "there is no [[input]]: only {} is subscribed to; write an [[input]] with the topic \
                 of your plant, or let `spiked discover` write it",
                self.inputs[0].pattern.filter()
            ));
        }
        if self.http.admin_token.is_some() && self.output.feedback == FeedbackMode::Off {
            warnings.push(
                "http.admin: buttons of the page publish on topics that output.feedback = \"off\" does \
                 not listen to; set it to \"on\" or \"token\""
                    .to_owned(),
            );
        }
        let own = format!("{}/{}", self.output.prefix, self.output.instance);
        for (idx, input) in self.inputs.iter().enumerate() {
            let pattern = &input.pattern;
            let filter = pattern.filter();
            let mut earlier = self.inputs[..idx].iter().enumerate();
            if let Some((other, _)) = earlier.find(|(_, e)| e.pattern.covers(pattern)) {
                warnings.push(format!(
                    "input[{idx}].topic: {filter} is never reached, since input[{other}] takes all of \
                     its topics; put it first, or give input[{other}] a narrower topic"
                ));
            }
            if ["prediction", "anomaly", "feedback", "mute", "forget"]
                .iter()
                .any(|output| pattern.matches(&format!("{own}/x/{output}")).is_some())
            {
                warnings.push(format!(
                    "input[{idx}].topic: {filter} also subscribes to our own outputs below {own}/, \
                     which are refused; give it a narrower topic, or output.prefix another name"
                ));
            }
            if let Some(group) = pattern.share_group() {
                warnings.push(format!(
                    "input[{idx}].topic: members of the group {group} share the messages of {filter}; \
                     a stream must see all of its readings, so let no other client join the group"
                ));
            }
            for level in pattern.unused_levels() {
                warnings.push(format!(
                    "input[{idx}].topic: {{{level}}} is in no name; topics that differ in it alone \
                     collide, and only the first of them is taken (+ says that this is meant)"
                ));
            }
        }
        warnings
    }
}
