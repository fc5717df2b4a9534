//! A file of records: its header, what its columns hold, and the table that they make.

use super::table::{Table, TableError};
use crate::replay::{Cell, Decimal, bare, parse_number, separator};

/// Which columns become a table's, and how.
pub(super) struct Columns {
    pub(super) kept: Vec<usize>,
    /// The column of class names, and these.
    pub(super) named: Option<usize>,
    pub(super) classes: Vec<String>,
}

/// A file's records.
pub(super) struct File<'a> {
    path: &'a str,
    pub(super) names: Vec<String>,
    rows: Vec<Record>,
    decimal: Decimal,
    /// Columns that hold texts and no number.
    pub(super) words: Vec<bool>,
}

impl File<'_> {
    pub(super) fn of<'a>(text: &str, path: &'a str) -> Result<File<'a>, TableError> {
        let text = text.trim_start_matches('\u{feff}');
        let separator = separator(text.trim_start().as_bytes());
        let mut rows = match separator {
            Some(separator) => separated(text, separator, path)?,
            None => spaced(text),
        };
        let decimal = match separator {
            Some(b',') => Decimal::Point,
            _ => Decimal::of(
                rows.iter()
                    .flat_map(|row| row.1.iter().map(String::as_bytes)),
            ),
        };
        let Some((_, head)) = rows.first() else {
            return Err(TableError::Empty(path.into()));
        };
        let width = head.len();
        let held = |column: usize| {
            let cells = rows.iter().skip(1).filter_map(move |row| row.1.get(column));
            cells.map(|cell| parse_number(cell.as_bytes(), decimal))
        };
        let words = |column| {
            let other = |cell: Cell| cell == Cell::Other;
            held(column).any(other) && !held(column).any(|cell| matches!(cell, Cell::Number(_)))
        };
        let words: Vec<bool> = (0..width).map(words).collect();
        // Texts over a column of numbers are names; a table of texts alone has a header.
        let no_number = |cell: &String| parse_number(cell.as_bytes(), decimal) == Cell::Other;
        let names_over_numbers = head
            .iter()
            .zip(&words)
            .any(|(cell, texts)| !texts && no_number(cell));
        let has_header = names_over_numbers || words.iter().all(|&texts| texts);
        let names: Vec<String> = if has_header {
            rows.remove(0).1
        } else {
            (0..width).map(|i| i.to_string()).collect()
        };
        if rows.is_empty() {
            return Err(TableError::Empty(path.into()));
        }
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
        let texts: std::collections::BTreeSet<&String> = cells
            .filter(|cell| parse_number(cell.as_bytes(), self.decimal) != Cell::Missing)
            .collect();
        texts.into_iter().cloned().collect()
    }

    pub(super) fn table(&self, columns: &Columns) -> Result<Table, TableError> {
        let mut cells = Vec::new();
        for (line, row) in &self.rows {
            if row.len() != self.names.len() {
                return Err(TableError::Ragged {
                    path: self.path.into(),
                    line: *line,
                    got: row.len(),
                    want: self.names.len(),
                });
            }
            for &column in &columns.kept {
                let Some(cell) = row.get(column) else {
                    let text = "the tables to learn and to test on differ in their columns";
                    return Err(TableError::Misfit(text.into()));
                };
                cells.push(self.value(cell, (*line, column), columns)?);
            }
        }
        let names = columns
            .kept
            .iter()
            .map(|&column| self.names[column].clone());
        Ok(Table {
            names: names.collect(),
            cells,
        })
    }

    /// A cell as a number, NaN where missing; a class as its place.
    fn value(
        &self,
        cell: &str,
        (line, column): (usize, usize),
        columns: &Columns,
    ) -> Result<f64, TableError> {
        let named = columns.named == Some(column);
        match parse_number(cell.as_bytes(), self.decimal) {
            Cell::Missing => Ok(f64::NAN),
            Cell::Number(x) if !named => Ok(x),
            _ if named => {
                let place = columns.classes.iter().position(|class| class == cell);
                let unknown = || {
                    let text = format!("class '{cell}' is not among those to learn");
                    TableError::Misfit(format!("{}, line {line}: {text}", self.path))
                };
                place.map(|place| place as f64).ok_or_else(unknown)
            }
            _ => Err(TableError::Cell {
                path: self.path.into(),
                line,
                column: column + 1,
                cell: cell.into(),
            }),
        }
    }
}

/// A row's line, from 1, and its cells.
type Record = (usize, Vec<String>);

/// Fields as RFC 4180 has them: in double quotes they may hold separators, line breaks and quotes.
fn separated(text: &str, separator: u8, path: &str) -> Result<Vec<Record>, TableError> {
    let mut reader = csv::ReaderBuilder::new()
        .delimiter(separator)
        .has_headers(false)
        .flexible(true)
        .trim(csv::Trim::All)
        .from_reader(text.as_bytes());
    let mut records = Vec::new();
    for record in reader.records() {
        let record = record.map_err(|e| TableError::Misfit(format!("{path}: {e}")))?;
        let line = record.position().map_or(0, |at| at.line() as usize);
        let cells: Vec<String> = record.iter().map(|cell| bare(cell).to_owned()).collect();
        if cells.iter().any(|cell| !cell.is_empty()) || cells.len() > 1 {
            records.push((line, cells));
        }
    }
    Ok(records)
}

/// Cells between white space.
fn spaced(text: &str) -> Vec<Record> {
    let cells = |line: &str| -> Vec<String> {
        let cells = line.split_whitespace();
        cells
            .map(|cell| cell.trim_matches('"').to_owned())
            .collect()
    };
    let lines = text.lines().enumerate();
    let full = lines.filter(|(_, line)| !line.trim().is_empty());
    full.map(|(i, line)| (i + 1, cells(line))).collect()
}
