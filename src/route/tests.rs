//! Patterns and the router: what fits, what is refused, what is shared.

use super::*;
use proptest::prelude::*;

fn plant() -> Pattern {
    Pattern::new("plant/{stream}/{channel}", "", "", false).unwrap()
}

fn router(max_streams: usize, max_channels: usize) -> Router {
    Router::new(
        vec![plant()],
        "spiked/main",
        max_streams,
        max_channels,
        vec![],
    )
}

#[test]
fn a_pattern_finds_stream_and_channel_and_subscribes_to_both() {
    assert_eq!(plant().filter(), "plant/+/+");
    let named = |pattern: &Pattern, topic: &str| {
        let names = pattern.names(topic)?;
        let channel = names.channel.map(|c| c.constant().unwrap().to_owned());
        Some((names.stream.constant().unwrap().to_owned(), channel))
    };
    let both = |stream: &str, channel: &str| Some((stream.to_owned(), Some(channel.to_owned())));
    assert_eq!(named(&plant(), "plant/pump1/flow"), both("pump1", "flow"));
    for topic in ["plant/pump1", "plant/pump1/flow/x", "plants/pump1/flow", ""] {
        assert_eq!(plant().matches(topic), None, "{topic}");
    }
    let fixed = Pattern::new("site/+/{channel}/#", "press", "", false).unwrap();
    assert_eq!(fixed.filter(), "site/+/+/#");
    assert_eq!(named(&fixed, "site/a/flow/raw/x"), both("press", "flow"));
    assert_eq!(named(&fixed, "site/a/flow"), both("press", "flow"));
    let object = Pattern::new("plant/{stream}", "", "", true).unwrap();
    assert_eq!(
        named(&object, "plant/pump1"),
        Some(("pump1".to_owned(), None))
    );
    let switches = Pattern::new("{stream}/status/+", "", "", true).unwrap();
    assert_eq!(
        named(&switches, "shelly/status/switch:1"),
        both("shelly", "switch:1")
    );
}

#[test]
fn a_pattern_that_cannot_work_is_refused() {
    for (topic, stream, channel, names) in [
        ("", "", "", false),
        ("plant/{stream}", "", "", false),
        ("plant/{channel}", "", "", false),
        ("plant/{stream}/{stream}/{channel}", "", "", false),
        ("plant/{stream}/{channel}", "s", "", false),
        ("plant/{hall}/{hall}", "s", "c", false),
        ("$share/plant", "s", "c", false),
        ("$Share/g/plant/{stream}/{channel}", "", "", false),
        ("$/plant/{stream}/{channel}", "", "", false),
        ("${stream}/{channel}", "", "", false),
        ("$share/g+/plant/{stream}/{channel}", "", "", false),
        ("plant/{key}", "s", "c", false),
        ("plant/{hall}", "{hal}", "c", false),
        ("{rest#}", "s", "c", false),
        ("plant/#/{stream}/{channel}", "", "", false),
        ("plant/x{stream}/{channel}", "", "", false),
        ("#", "s", "c", false),
        ("plant/x", "a/b", "c", false),
    ] {
        assert!(
            Pattern::new(topic, stream, channel, names).is_err(),
            "{topic}"
        );
    }
}

#[test]
fn a_topic_that_a_broker_sets_apart_is_read_where_it_is_named() {
    let shadow = Pattern::new("$aws/things/{stream}/shadow/{channel}", "", "", false).unwrap();
    let names = shadow.names("$aws/things/press/shadow/temp").unwrap();
    assert_eq!(names.stream.constant(), Some("press"));
    let any = Pattern::new("{a}/things/{stream}/shadow/{channel}", "", "", false).unwrap();
    assert!(any.names("$aws/things/press/shadow/temp").is_none());
}

#[test]
fn named_levels_make_names_and_a_shared_subscription_is_taken_off() {
    let pattern = Pattern::build(&PatternSettings {
        topic: "$share/g1/factory/{hall}/{machine}/+/{rest#}",
        stream: "{hall}.{machine}",
        channel: "m_{rest}",
        ..PatternSettings::default()
    })
    .unwrap();
    assert_eq!(pattern.filter(), "$share/g1/factory/+/+/+/#");
    assert_eq!(pattern.share_group(), Some("g1"));
    let names = pattern.names("factory/h1/press/x/temp/oil").unwrap();
    assert_eq!(names.stream.constant(), Some("h1.press"));
    assert_eq!(names.channel.unwrap().constant(), Some("m_temp.oil"));
    let merged = Pattern::new("factory/{hall}/{stream}/{channel}", "", "", false).unwrap();
    assert_eq!(merged.unused_levels(), ["hall"]);
}

#[test]
fn a_pattern_covers_another_where_it_takes_all_of_its_topics() {
    let pattern = |topic: &str| Pattern::new(topic, "s", "c", false).unwrap();
    for (wide, narrow, covers) in [
        ("plant/+/x", "plant/a/x", true),
        ("plant/#", "plant/a/{n}/+", true),
        ("plant/#", "plant", true),
        ("plant/{a}/{b}", "plant/+/+", true),
        ("plant/a/x", "plant/+/x", false),
        ("plant/+/x", "plant/#", false),
        ("plant/+", "plant/a/b", false),
    ] {
        assert_eq!(
            pattern(wide).covers(&pattern(narrow)),
            covers,
            "{wide} {narrow}"
        );
    }
}

#[test]
fn two_topics_of_one_channel_collide_and_the_first_stays() {
    let pattern = Pattern::new("factory/+/{stream}/{channel}", "", "", false).unwrap();
    let mut router = Router::new(vec![pattern], "spiked/main", 10, 10, vec!["x".into()]);
    assert!(router.admit("factory/hall1/press/x").is_ok());
    assert_eq!(
        router.admit("factory/hall2/press/x"),
        Err(Reject::Collision)
    );
    assert!(router.admit("factory/hall2/press/y").is_ok());
    assert!(router.admit("factory/hall1/press/x").is_ok());
    let source = router.source("press", "x").unwrap();
    assert_eq!(&**source, "factory/hall1/press/x");
    assert!(router.known("factory/hall2/press/x").is_none());
}

#[test]
fn topics_without_a_channel_or_with_bad_names_are_refused() {
    let router = router(10, 10);
    let long = format!("plant/{}/c", "x".repeat(MAX_NAME_BYTES + 1));
    for (topic, reason) in [
        ("plant/pump1/", Reject::NoChannel),
        ("plant//flow", Reject::BadName),
        ("plant/pump1", Reject::NoRoute),
        ("plant/pu\u{7}mp/flow", Reject::BadName),
        (long.as_str(), Reject::BadName),
        ("spiked/main/pump1/prediction", Reject::OwnTopic),
    ] {
        assert_eq!(router.find(topic), Err(reason), "{topic}");
    }
}

#[test]
fn streams_and_channels_beyond_their_caps_are_refused_and_the_others_go_on() {
    let mut router = router(2, 2);
    assert!(router.admit("plant/a/x").is_ok());
    assert!(router.admit("plant/a/y").is_ok());
    assert_eq!(router.admit("plant/a/z"), Err(Reject::TooManyChannels));
    assert!(router.admit("plant/b/x").is_ok());
    assert_eq!(router.admit("plant/c/x"), Err(Reject::TooManyStreams));
    assert!(router.known("plant/a/x").is_some());
    assert!(router.known("plant/c/x").is_none());
    assert_eq!(router.n_streams(), 2);
}

#[test]
fn names_are_shared_between_the_topics_of_a_stream() {
    let mut router = router(10, 10);
    let a = router.admit("plant/a/x").unwrap();
    let b = router.admit("plant/a/y").unwrap();
    assert!(Arc::ptr_eq(
        a.stream.as_ref().unwrap().name(),
        b.stream.as_ref().unwrap().name()
    ));
}

/// MQTT's own rule for filters, written on lists.
fn filter_matches(filter: &[&str], topic: &[&str]) -> bool {
    match (filter, topic) {
        (["#"], _) => true,
        (["+", f @ ..], [_, t @ ..]) => filter_matches(f, t),
        ([a, f @ ..], [b, t @ ..]) => a == b && filter_matches(f, t),
        ([], []) => true,
        _ => false,
    }
}

proptest! {
    #[test]
    fn a_pattern_fits_exactly_the_topics_that_its_filter_delivers(
        pattern in prop::collection::vec(
            prop::sample::select(vec!["a", "b", "+", "{stream}", "{channel}"]), 1..5),
        rest in any::<bool>(),
        topic in prop::collection::vec(prop::sample::select(vec!["a", "b", "c", ""]), 1..6),
    ) {
        let mut levels = vec!["root"];
        levels.extend(pattern);
        if rest {
            levels.push("#");
        }
        let text = levels.join("/");
        let stream = if text.contains("{stream}") { "" } else { "s" };
        let channel = if text.contains("{channel}") { "" } else { "c" };
        if let Ok(pattern) = Pattern::new(&text, stream, channel, false) {
            let topic = format!("root/{}", topic.join("/"));
            let filter = pattern.filter();
            let filter: Vec<&str> = filter.split('/').collect();
            let levels: Vec<&str> = topic.split('/').collect();
            prop_assert_eq!(
                pattern.matches(&topic).is_some(),
                filter_matches(&filter, &levels)
            );
        }
    }
}

#[test]
fn names_that_cannot_be_seen_and_outputs_of_other_instances_are_refused() {
    for name in ["a\u{202e}b", "a\u{200b}", "a\u{2028}b", "\u{feff}a"] {
        let topic = format!("plant/{name}/c");
        assert_eq!(router(9, 9).find(&topic), Err(Reject::BadName), "{name:?}");
    }
    let all = Pattern::new("{stream}/{channel}/#", "", "", false);
    let router = |pattern| Router::new(vec![pattern], "spiked/main", 9, 9, Vec::new());
    if let Ok(all) = all {
        let router = router(all);
        for topic in ["spiked/other/pump/prediction", "spiked/other/status"] {
            assert_eq!(router.find(topic), Err(Reject::OwnTopic), "{topic}");
        }
        assert!(router.find("plant/pump/prediction").is_ok());
    }
}
