//! Values of cells, and rows of them that wait in memory.

use super::column::{CellReading, truth};
use super::number::{CellValue, Decimal, parse_number, parse_with_unit};
use crate::engine::{State, state_named};

/// A row that waits in memory.
#[derive(Clone, Debug)]
pub(super) struct KeptRow {
    pub(super) ts_ms: i64,
    pub(super) text: String,
    pub(super) values: Vec<f64>,
}

/// Reads a cell of a channel: NaN where missing, `None` where it is no value.
pub(super) fn read_cell(
    cell: &[u8],
    reading: &CellReading,
    decimal: Decimal,
    states: Option<&[State]>,
) -> Option<f64> {
    let read = match reading {
        CellReading::Unit(base) => parse_with_unit(cell, decimal, base),
        CellReading::Plain | CellReading::Truth => parse_number(cell, decimal),
    };
    match (read, named(cell, states)) {
        (CellValue::Number(x), _) | (_, Some(x)) => Some(x),
        (CellValue::Missing, _) => Some(f64::NAN),
        (CellValue::Other, _) => truth(cell).filter(|_| *reading == CellReading::Truth),
    }
}

/// Value of the state that a cell names.
fn named(cell: &[u8], states: Option<&[State]>) -> Option<f64> {
    let text = std::str::from_utf8(cell).ok()?;
    state_named(states?, text).map(|state| state.value)
}
