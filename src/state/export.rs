//! A model in safetensors, for other programs and to carry it to another plant.
//!
//! The file holds one `U8` tensor `state`, the stream's state byte for byte (see
//! [`super::snapshot`]), another `params` with its settings, and beside them, to be read by other
//! programs and ignored by [`import`], every array of numbers within the state as an `F64` tensor
//! named by the path of its field (`engine.heads.step.net.…`; NaN where a number is missing). The
//! metadata: `format` ("spiked"), `layout`, `stream`, `seq`, `readings`, `created_ms`, `crc`.

use std::collections::HashMap;
use std::path::Path;

use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView, serialize_to_file};
use serde_json::Value;

use super::error::StateError;
use super::snapshot::Snapshot;

/// Value of `format` in the metadata.
const NAME: &str = "spiked";

/// Writes a snapshot as safetensors.
///
/// # Errors
/// When the snapshot cannot be read or the file cannot be written.
pub fn export(snapshot: &Snapshot, file: &Path) -> Result<(), StateError> {
    let tree = serde_json::to_value(snapshot.open()?)
        .map_err(|e| StateError::format("exporting a model", e))?;
    let mut arrays = Vec::new();
    collect(String::new(), &tree, &mut arrays);
    let bytes: Vec<_> = arrays
        .into_iter()
        .map(|(name, shape, values)| {
            let bytes: Vec<u8> = values.iter().flat_map(|v| v.to_le_bytes()).collect();
            (name, Dtype::F64, shape, bytes)
        })
        .chain([
            raw("state", &snapshot.state),
            raw("params", &snapshot.params),
        ])
        .collect();
    let mut views = Vec::with_capacity(bytes.len());
    for (name, dtype, shape, data) in &bytes {
        let view = TensorView::new(*dtype, shape.clone(), data)
            .map_err(|e| StateError::format("exporting a model", e))?;
        views.push((name.as_str(), view));
    }
    serialize_to_file(views, Some(metadata(snapshot)), file)
        .map_err(|e| StateError::format("exporting a model", e))
}

/// Reads a snapshot that [`export`] wrote.
///
/// # Errors
/// When the file cannot be read, is not one of ours, or its checksum or layout is wrong.
pub fn import(file: &Path) -> Result<Snapshot, StateError> {
    let bytes = std::fs::read(file).map_err(|source| StateError::Io {
        what: "cannot read",
        path: file.to_owned(),
        source,
    })?;
    let bad = |detail: String| StateError::format("importing a model", detail);
    let (_, header) = SafeTensors::read_metadata(&bytes).map_err(|e| bad(e.to_string()))?;
    let tensors = SafeTensors::deserialize(&bytes).map_err(|e| bad(e.to_string()))?;
    let metadata = header.metadata().clone().unwrap_or_default();
    let text = |key: &str| {
        metadata
            .get(key)
            .cloned()
            .ok_or_else(|| bad(format!("no {key} in the metadata")))
    };
    let number = |key: &str| {
        let text = text(key)?;
        text.parse::<i64>()
            .map_err(|_| bad(format!("{key} is {text:?} and no number")))
    };
    if text("format")? != NAME {
        return Err(bad(format!("format {:?} is not ours", text("format")?)));
    }
    let tensor = |name: &str| match tensors.tensor(name) {
        Ok(view) if view.dtype() == Dtype::U8 => Ok(view.data().to_vec()),
        Ok(view) => Err(bad(format!("tensor {name} is {:?}", view.dtype()))),
        Err(error) => Err(bad(error.to_string())),
    };
    let snapshot = Snapshot {
        stream: text("stream")?,
        seq: number("seq")? as u64,
        readings: number("readings")? as u64,
        format: u32::try_from(number("layout")?).unwrap_or(u32::MAX),
        created_ms: number("created_ms")?,
        params: tensor("params")?,
        state: tensor("state")?,
    };
    if i64::from(snapshot.checksum()) != number("crc")? {
        return Err(bad("the checksum is wrong".to_owned()));
    }
    snapshot.open()?;
    Ok(snapshot)
}

fn raw(name: &str, data: &[u8]) -> (String, Dtype, Vec<usize>, Vec<u8>) {
    (name.to_owned(), Dtype::U8, vec![data.len()], data.to_vec())
}

fn metadata(snapshot: &Snapshot) -> HashMap<String, String> {
    [
        ("format", NAME.to_owned()),
        ("layout", snapshot.format.to_string()),
        ("stream", snapshot.stream.clone()),
        ("seq", snapshot.seq.to_string()),
        ("readings", snapshot.readings.to_string()),
        ("created_ms", snapshot.created_ms.to_string()),
        ("crc", snapshot.checksum().to_string()),
    ]
    .map(|(key, value)| (key.to_owned(), value))
    .into()
}

type Named = (String, Vec<usize>, Vec<f64>);

/// Arrays of numbers, and of equally long arrays of numbers, with their paths.
fn collect(path: String, value: &Value, out: &mut Vec<Named>) {
    let below = |key: &str| {
        if path.is_empty() {
            key.to_owned()
        } else {
            format!("{path}.{key}")
        }
    };
    match value {
        Value::Object(map) => {
            for (key, value) in map {
                collect(below(key), value, out);
            }
        }
        Value::Array(items) if !items.is_empty() => {
            if let Some(values) = numbers(items) {
                out.push((path, vec![values.len()], values));
                return;
            }
            let rows: Option<Vec<_>> = items
                .iter()
                .map(|row| row.as_array().and_then(|row| numbers(row)))
                .collect();
            match rows {
                Some(rows) if rows.iter().all(|row| row.len() == rows[0].len()) => {
                    out.push((path, vec![rows.len(), rows[0].len()], rows.concat()));
                }
                _ => {
                    for (index, item) in items.iter().enumerate() {
                        collect(below(&index.to_string()), item, out);
                    }
                }
            }
        }
        _ => {}
    }
}

fn numbers(items: &[Value]) -> Option<Vec<f64>> {
    items
        .iter()
        .map(|item| match item {
            Value::Null => Some(f64::NAN),
            Value::Number(number) => number.as_f64(),
            _ => None,
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::row::Reading;
    use crate::state::snapshot::tests::params;
    use crate::stream::Stream;

    fn sample() -> Snapshot {
        let params = params(&["a", "b"]);
        let mut stream = Stream::new("press", &params);
        for seq in 1..200 {
            let reading = Reading {
                seq,
                stream: "press".into(),
                channel: "a".into(),
                value: (seq as f64 * 0.3).sin(),
                ts_ms: 1000 * seq as i64,
                arrival_ms: 1000 * seq as i64,
            };
            stream.push(&reading, &mut Vec::new());
        }
        Snapshot::of(&stream, &params, 7)
    }

    #[test]
    fn an_exported_model_comes_back_bit_for_bit() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("model.safetensors");
        let snapshot = sample();
        export(&snapshot, &file).unwrap();
        assert_eq!(import(&file).unwrap(), snapshot);
    }

    #[test]
    fn a_flipped_bit_in_the_state_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("model.safetensors");
        let snapshot = sample();
        export(&snapshot, &file).unwrap();
        let mut bytes = std::fs::read(&file).unwrap();
        let at = bytes
            .windows(snapshot.state.len())
            .position(|window| window == snapshot.state)
            .unwrap();
        bytes[at + snapshot.state.len() / 2] ^= 4;
        std::fs::write(&file, bytes).unwrap();
        assert!(import(&file).is_err());
        std::fs::write(&file, b"no tensors").unwrap();
        assert!(import(&file).is_err());
    }

    #[test]
    fn arrays_are_found_by_the_path_of_their_field() {
        let tree = serde_json::json!({"a": {"b": [1, 2.5, null], "c": [[1, 2], [3, 4]]}, "d": [{"e": [7]}], "f": 3});
        let mut found = Vec::new();
        collect(String::new(), &tree, &mut found);
        let names: Vec<_> = found
            .iter()
            .map(|(n, s, _)| (n.as_str(), s.clone()))
            .collect();
        assert_eq!(
            names,
            [("a.b", vec![3]), ("a.c", vec![2, 2]), ("d.0.e", vec![1])]
        );
        assert!(found[0].2[2].is_nan());
    }
}
