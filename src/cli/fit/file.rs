//! A file of records: its header, what its columns hold, and the table that they make.

use std::io;

use super::data_table::{DataError, DataTable};
use crate::table::{CellValue, Decimal, LayoutOptions, Sheet, parse_number};

/// Which columns become a table's, and how.
pub(super) struct ChosenColumns {
    /// Columns of the file, each with the text that a column of 0 and 1 stands for.
    pub(super) kept: Vec<(usize, Option<String>)>,
    /// The column of class names, and these.
    pub(super) named: Option<usize>,
    pub(super) classes: Vec<String>,
}

/// A file's records.
pub(super) struct File<'a> {
    path: &'a str,
    pub(super) names: Vec<String>,
    rows: Vec<NumberedRow>,
    decimal: Decimal,
    /// Columns that hold texts and no number.
    pub(super) words: Vec<bool>,
}

impl File<'_> {
    /// Reads the records of a file.
    pub(super) fn of<'a>(input: impl io::Read, path: &'a str) -> Result<File<'a>, DataError> {
        let fault = |source: crate::table::TableError| DataError::Table {
            path: path.into(),
            source,
        };
        let mut sheet = Sheet::of(input, &LayoutOptions::default()).map_err(fault)?;
        let mut rows = Vec::new();
        while let Some(row) = sheet.read_texts().map_err(fault)? {
            rows.push(row);
        }
        if rows.is_empty() {
            return Err(DataError::Empty(path.into()));
        }
        let (width, decimal) = (sheet.width(), sheet.decimal());
        let words = |column: usize| {
            let cells = rows.iter().filter_map(|row| row.1.get(column));
            let mut read = cells.map(|cell| parse_number(cell.as_bytes(), decimal));
            let mut other = false;
            let number = read.any(|cell| {
                other |= cell == CellValue::Other;
                matches!(cell, CellValue::Number(_))
            });
            other && !number
        };
        let words = (0..width).map(words).collect();
        let names = match sheet.names() {
            Some(names) => names.to_vec(),
            None => (0..width).map(|i| i.to_string()).collect(),
        };
        Ok(File {
            path,
            names,
            rows,
            decimal,
            words,
        })
    }

    /// The texts of a column, each once, in order.
    pub(super) fn texts(&self, column: usize) -> Vec<String> {
        let cells = self.rows.iter().filter_map(|row| row.1.get(column));
        let texts: std::collections::BTreeSet<&String> =
            cells.filter(|cell| !self.is_missing(cell)).collect();
        texts.into_iter().cloned().collect()
    }

    /// Number of rows.
    pub(super) fn rows(&self) -> usize {
        self.rows.len()
    }

    fn is_missing(&self, cell: &str) -> bool {
        parse_number(cell.as_bytes(), self.decimal) == CellValue::Missing
    }

    pub(super) fn table(&self, columns: &ChosenColumns) -> Result<DataTable, DataError> {
        let mut cells = Vec::new();
        for (line, row) in &self.rows {
            if row.len() != self.names.len() {
                return Err(DataError::Ragged {
                    path: self.path.into(),
                    line: *line,
                    got: row.len(),
                    want: self.names.len(),
                });
            }
            for (column, text) in &columns.kept {
                let Some(cell) = row.get(*column) else {
                    let text = "the tables to learn and to test on differ in their columns";
                    return Err(DataError::Misfit(text.into()));
                };
                cells.push(match text {
                    Some(_) if self.is_missing(cell) => f64::NAN,
                    Some(text) => f64::from(u8::from(cell == text)),
                    None => self.value(cell, *line, *column, columns)?,
                });
            }
        }
        let name = |(column, text): &(usize, Option<String>)| match text {
            Some(text) => format!("{}={text}", self.names[*column]),
            None => self.names[*column].clone(),
        };
        let kept = columns.kept.iter();
        Ok(DataTable {
            names: kept.clone().map(name).collect(),
            one_hot: kept.map(|(_, text)| text.is_some()).collect(),
            cells,
        })
    }

    /// A cell as a number, NaN where missing; a class as its place.
    fn value(
        &self,
        cell: &str,
        line: u64,
        column: usize,
        columns: &ChosenColumns,
    ) -> Result<f64, DataError> {
        let named = columns.named == Some(column);
        match parse_number(cell.as_bytes(), self.decimal) {
            CellValue::Missing => Ok(f64::NAN),
            CellValue::Number(x) if !named => Ok(x),
            _ if named => {
                let place = columns.classes.iter().position(|class| class == cell);
                let unknown = || {
                    let text = format!("class '{cell}' is not among those to learn");
                    DataError::Misfit(format!("{}, line {line}: {text}", self.path))
                };
                place.map(|place| place as f64).ok_or_else(unknown)
            }
            _ => Err(DataError::Cell {
                path: self.path.into(),
                line,
                column: column + 1,
                cell: cell.into(),
            }),
        }
    }
}

/// A row's line, from 1, and its cells.
type NumberedRow = (u64, Vec<String>);
