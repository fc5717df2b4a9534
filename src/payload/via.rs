//! Names in a prediction the instances whose predictions its stream takes in.

use std::fmt::Write;

use serde_json::json;

use super::OutputForm;

/// Adds the instances whose predictions a stream is made of to its prediction in JSON.
pub fn add_via(form: OutputForm, via: &str, payload: &mut String) {
    let end = match form {
        OutputForm::Flat | OutputForm::Nested => "}",
        OutputForm::Thingsboard => "}}",
        OutputForm::Influx => return,
    };
    if let Some(open) = payload.strip_suffix(end) {
        payload.truncate(open.len());
        // Writing to a string cannot fail.
        let _ = write!(payload, ",\"via\":{}{end}", json!(via));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::Value;

    #[test]
    fn instances_that_a_prediction_is_made_of_are_named_in_it() {
        for (form, payload, pointer) in [
            (OutputForm::Flat, r#"{"v":2}"#, "/via"),
            (
                OutputForm::Nested,
                r#"{"v":2,"channels":{"a":{"mean":1}}}"#,
                "/via",
            ),
            (
                OutputForm::Thingsboard,
                r#"{"ts":1,"values":{"v":2}}"#,
                "/values/via",
            ),
        ] {
            let mut text = payload.to_owned();
            add_via(form, "a/main b/main", &mut text);
            let json: Value = serde_json::from_str(&text).unwrap();
            assert_eq!(json.pointer(pointer), Some(&json!("a/main b/main")));
        }
    }
}
