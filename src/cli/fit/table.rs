//! Reads tables of numbers: CSV with comma, semicolon or white space, with or without a header.

use std::path::Path;

use crate::replay::{bare, separator};

/// A table of numbers, row by row. A cell that is empty, `nan`, `NA` or `?` is NaN: missing.
#[derive(Clone, Debug, PartialEq)]
pub struct Table {
    /// Column names; the column numbers from 0 where the file has no header.
    pub names: Vec<String>,
    /// Cells, row after row.
    pub cells: Vec<f64>,
}

/// Why a table cannot be read or used.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: String,
        /// What went wrong.
        source: std::io::Error,
    },
    /// No line holds data.
    #[error("{0}: no rows of data")]
    Empty(String),
    /// A cell that is not a number.
    #[error("{path}, line {line}, column {column}: '{cell}' is not a number")]
    Cell {
        /// Which file.
        path: String,
        /// Line, from 1.
        line: usize,
        /// Column, from 1.
        column: usize,
        /// The cell's text.
        cell: String,
    },
    /// A line with another number of columns than the first.
    #[error("{path}, line {line}: {got} columns, the first line has {want}")]
    Ragged {
        /// Which file.
        path: String,
        /// Line, from 1.
        line: usize,
        /// Columns found.
        got: usize,
        /// Columns of the first line.
        want: usize,
    },
    /// No such column.
    #[error("no column '{0}'; give a name from the header or a number from 0")]
    NoColumn(String),
    /// Two tables that do not fit together, or data that the task cannot use.
    #[error("{0}")]
    Misfit(String),
}

impl Table {
    /// Reads a file.
    ///
    /// # Errors
    /// If it cannot be read, holds no data, or a cell is no number.
    pub fn read(path: &Path) -> Result<Table, TableError> {
        let shown = path.display().to_string();
        let text = std::fs::read_to_string(path).map_err(|source| TableError::Io {
            path: shown.clone(),
            source,
        })?;
        Table::parse(&text, &shown)
    }

    /// Parses a file's text; `path` is for messages.
    ///
    /// # Errors
    /// If it holds no data, or a cell is no number.
    pub fn parse(text: &str, path: &str) -> Result<Table, TableError> {
        let text = text.trim_start_matches('\u{feff}');
        let records = match separator(text.trim_start().as_bytes()) {
            Some(separator) => separated(text, separator, path)?,
            None => spaced(text),
        };
        Table::from_records(&records, path)
    }

    fn from_records(records: &[Record], path: &str) -> Result<Table, TableError> {
        let Some((_, head)) = records.first() else {
            return Err(TableError::Empty(path.into()));
        };
        let has_header = head.iter().any(|cell| number(cell).is_none());
        let names: Vec<String> = if has_header {
            head.clone()
        } else {
            (0..head.len()).map(|i| i.to_string()).collect()
        };
        let mut cells = Vec::new();
        for (line, row) in &records[usize::from(has_header)..] {
            if row.len() != names.len() {
                return Err(TableError::Ragged {
                    path: path.into(),
                    line: *line,
                    got: row.len(),
                    want: names.len(),
                });
            }
            for (column, cell) in row.iter().enumerate() {
                cells.push(number(cell).ok_or_else(|| TableError::Cell {
                    path: path.into(),
                    line: *line,
                    column: column + 1,
                    cell: cell.clone(),
                })?);
            }
        }
        if cells.is_empty() {
            return Err(TableError::Empty(path.into()));
        }
        Ok(Table { names, cells })
    }

    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.cells.len() / self.names.len()
    }

    /// One row.
    pub fn row(&self, i: usize) -> &[f64] {
        &self.cells[i * self.names.len()..(i + 1) * self.names.len()]
    }

    /// A column by its name or, failing that, its number from 0.
    ///
    /// # Errors
    /// If there is none.
    pub fn column(&self, name: &str) -> Result<usize, TableError> {
        let by_name = self.names.iter().position(|n| n == name);
        let by_number = || name.parse().ok().filter(|i| *i < self.names.len());
        by_name
            .or_else(by_number)
            .ok_or_else(|| TableError::NoColumn(name.into()))
    }

    /// The rows with the given numbers.
    pub fn select(&self, rows: &[usize]) -> Table {
        Table {
            names: self.names.clone(),
            cells: rows.iter().flat_map(|&i| self.row(i)).copied().collect(),
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

/// A cell as a number; missing ones are NaN.
fn number(cell: &str) -> Option<f64> {
    match cell {
        "" | "NA" | "?" => Some(f64::NAN),
        _ => cell.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commas_semicolons_tabs_and_spaces_all_work() {
        let want = Table {
            names: vec!["0".into(), "1".into()],
            cells: vec![1.0, 2.5, -3.0, 4e2],
        };
        for text in [
            "1,2.5\n-3,4e2\n",
            "1; 2.5\r\n-3; 4e2",
            "1\t2.5\n-3\t4e2",
            "  1   2.5\n\n -3 4e2  \n",
        ] {
            assert_eq!(Table::parse(text, "t").unwrap(), want, "{text:?}");
        }
    }

    #[test]
    fn a_header_names_the_columns_and_quotes_go() {
        let table = Table::parse("\"fixed acidity\";quality\n7.4;5\n;6\n", "t").unwrap();
        assert_eq!(table.column("quality").unwrap(), 1);
        assert_eq!(table.column("0").unwrap(), 0);
        assert!(table.row(1)[0].is_nan());
        assert!(table.column("7").is_err());
    }

    #[test]
    fn quoted_fields_may_hold_separators_line_breaks_and_quotes() {
        let text = "\u{feff}\"length, mm\",\"said \"\"y\"\"\",\"two\nlines\"\r\n\"1\", \"2.5\" ,3\r\n4,,\"6\"";
        let table = Table::parse(text, "t").unwrap();
        assert_eq!(table.names, ["length, mm", "said \"y\"", "two\nlines"]);
        assert_eq!(table.row(0), [1.0, 2.5, 3.0]);
        assert!(table.row(1)[1].is_nan());
        // The header takes two lines: the fault is in line 4 of the file.
        let error = Table::parse("\"a\nb\";c\n1;2\n3;x\n", "t").unwrap_err();
        assert!(
            error.to_string().starts_with("t, line 4, column 2"),
            "{error}"
        );
        let ragged = Table::parse("a,b\n\"1,5\"\n", "t").unwrap_err();
        assert!(
            matches!(ragged, TableError::Ragged { got: 1, .. }),
            "{ragged}"
        );
    }

    #[test]
    fn faults_carry_line_and_column() {
        let error = Table::parse("a,b\n1,2\n3,x\n", "t.csv").unwrap_err();
        assert_eq!(
            error.to_string(),
            "t.csv, line 3, column 2: 'x' is not a number"
        );
        let error = Table::parse("1 2\n3\n", "t").unwrap_err();
        assert!(matches!(error, TableError::Ragged { line: 2, .. }));
        assert!(matches!(Table::parse("\n", "t"), Err(TableError::Empty(_))));
        assert!(matches!(
            Table::parse("a,b\n", "t"),
            Err(TableError::Empty(_))
        ));
    }
}
