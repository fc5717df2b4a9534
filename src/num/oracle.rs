//! Reads the tables of exact values that the tests compare with (tests only).

use std::path::Path;

/// The rows of `tests/data/oracle/NAME.csv` that are numbers throughout. A value too small for a
/// double reads as 0.
pub(crate) fn table(name: &str) -> Vec<Vec<f64>> {
    lines(name)
        .into_iter()
        .map(|line| line.iter().map(|field| number(field)).collect())
        .collect()
}

/// The rows as text, without the header.
pub(crate) fn lines(name: &str) -> Vec<Vec<String>> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/data/oracle/{name}.csv"));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path:?}: {e}"));
    let rows: Vec<_> = text
        .lines()
        .skip(1)
        .map(|line| line.split(',').map(str::to_owned).collect())
        .collect();
    assert!(!rows.is_empty(), "{name} has no rows");
    rows
}

/// One field as a number.
pub(crate) fn number(field: &str) -> f64 {
    field.parse().unwrap_or_else(|e| panic!("{field}: {e}"))
}

/// Fails unless `got` is within `relative` of `want`, or within `absolute`.
#[track_caller]
pub(crate) fn close(got: f64, want: f64, relative: f64, absolute: f64, what: &[f64]) {
    let error = (got - want).abs();
    assert!(
        error <= relative * want.abs() || error <= absolute,
        "got {got:e}, want {want:e}, relative error {:e} at {what:?}",
        error / want.abs()
    );
}
