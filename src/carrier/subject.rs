//! Translates topics of MQTT to subjects of NATS and back, as nats-server does.
//!
//! `/` stands between levels there, `.` here. A dot within a level is `//`; an empty level, which a
//! subject cannot have, is `/`.

/// The subject of a topic.
pub fn subject_of_topic(topic: &str) -> String {
    let mut subject = String::with_capacity(topic.len() + 4);
    for (i, level) in topic.split('/').enumerate() {
        if i > 0 {
            subject.push('.');
        }
        if level.is_empty() {
            subject.push('/');
        }
        for c in level.chars() {
            match c {
                '.' => subject.push_str("//"),
                // A subject has none; nats-server refuses topics with a blank.
                c if c.is_whitespace() => subject.push('_'),
                c => subject.push(c),
            }
        }
    }
    subject
}

/// The topic of a subject.
pub fn topic_of_subject(subject: &str) -> String {
    let mut topic = String::with_capacity(subject.len());
    for (i, token) in subject.split('.').enumerate() {
        if i > 0 {
            topic.push('/');
        }
        if token != "/" {
            topic.push_str(&token.replace("//", "."));
        }
    }
    topic
}

/// The subjects that a filter of MQTT asks for.
pub fn subject_of_filter(filter: &str) -> Vec<String> {
    let levels = filter.split('/').map(|level| match level {
        "+" => "*".to_owned(),
        "#" => ">".to_owned(),
        level => subject_of_topic(level),
    });
    let subject = levels.collect::<Vec<_>>().join(".");
    // The level before a # belongs to it.
    let parent = subject.strip_suffix(".>").map(str::to_owned);
    parent.into_iter().chain([subject]).collect()
}

/// Every subject of `inner` is also one of `outer`.
pub fn is_covered(inner: &str, outer: &str) -> bool {
    let (mut inner, mut outer) = (inner.split('.'), outer.split('.'));
    loop {
        match (inner.next(), outer.next()) {
            (Some(_), Some(">")) | (None, None) => return true,
            (Some(">"), _) | (None, _) | (_, None) => return false,
            (Some(_), Some("*")) => {}
            (Some(a), Some(b)) if a == b => {}
            _ => return false,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_come_back_from_their_subjects() {
        for (topic, subject) in [
            ("plant/press/temp", "plant.press.temp"),
            ("plant/press 1.5/temp", "plant.press_1//5.temp"),
            ("/plant//temp/", "/.plant./.temp./"),
        ] {
            assert_eq!(subject_of_topic(topic), subject);
            assert_eq!(topic_of_subject(subject), topic.replace(' ', "_"));
        }
    }

    #[test]
    fn filters_become_subjects_with_wildcards() {
        assert_eq!(subject_of_filter("plant/+/temp"), ["plant.*.temp"]);
        assert_eq!(subject_of_filter("v1.0/#"), ["v1//0", "v1//0.>"]);
    }

    #[test]
    fn a_wider_subject_covers_a_narrower_one() {
        assert!(is_covered("a.b.c", "a.>"));
        assert!(is_covered("a.*.c", "a.*.*"));
        assert!(is_covered("a.>", "a.>"));
        assert!(!is_covered("a", "a.>"));
        assert!(!is_covered("a.>", "a.*"));
        assert!(!is_covered("a.*.c", "a.b.c"));
        assert!(!is_covered("a.b", "a.b.c"));
    }
}
