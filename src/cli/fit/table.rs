//! Reads tables of numbers: CSV with comma, semicolon or white space, with or without a header.

use std::path::Path;

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
        let mut lines = text
            .lines()
            .enumerate()
            .map(|(i, line)| (i + 1, line.trim()))
            .filter(|(_, line)| !line.is_empty())
            .peekable();
        let Some(&(_, first)) = lines.peek() else {
            return Err(TableError::Empty(path.into()));
        };
        let separator = [';', ',', '\t'].into_iter().find(|c| first.contains(*c));
        let head = split(first, separator);
        let has_header = head.iter().any(|cell| number(cell).is_none());
        let names: Vec<String> = if has_header {
            lines.next();
            head.iter().map(|name| (*name).to_owned()).collect()
        } else {
            (0..head.len()).map(|i| i.to_string()).collect()
        };
        let mut cells = Vec::new();
        for (line, text) in lines {
            let row = split(text, separator);
            if row.len() != names.len() {
                return Err(TableError::Ragged {
                    path: path.into(),
                    line,
                    got: row.len(),
                    want: names.len(),
                });
            }
            for (column, cell) in row.iter().enumerate() {
                cells.push(number(cell).ok_or_else(|| TableError::Cell {
                    path: path.into(),
                    line,
                    column: column + 1,
                    cell: (*cell).to_owned(),
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

fn split(line: &str, separator: Option<char>) -> Vec<&str> {
    match separator {
        Some(c) => line.split(c).map(bare).collect(),
        None => line.split_whitespace().map(bare).collect(),
    }
}

fn bare(cell: &str) -> &str {
    cell.trim().trim_matches('"')
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
