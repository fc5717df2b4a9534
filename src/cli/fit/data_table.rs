//! A table of numbers to learn from, and why one cannot be read or used.

/// A table of numbers, row by row. A cell that is empty, `nan`, `NA` or `?` is NaN: missing.
#[derive(Clone, Debug, PartialEq)]
pub struct DataTable {
    /// Column names; the column numbers from 0 where the file has no header.
    pub names: Vec<String>,
    /// Columns of 0 and 1 that stand for a text each.
    pub one_hot: Vec<bool>,
    /// Cells, row after row.
    pub cells: Vec<f64>,
}

/// Why a table cannot be read or used.
#[derive(Debug, thiserror::Error)]
pub enum DataError {
    /// The file cannot be read.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: String,
        /// The error.
        source: std::io::Error,
    },
    /// The file is no table.
    #[error("{path}: {source}")]
    Table {
        /// Which file.
        path: String,
        /// The fault, in words.
        source: crate::table::TableError,
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
        line: u64,
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
        line: u64,
        /// Columns found.
        got: usize,
        /// Columns of the first line.
        want: usize,
    },
    /// No such column.
    #[error("no column '{0}'; give its number from 0 or one of these names: {1}")]
    NoColumn(String, String),
    /// Two tables that do not fit together, or data that the task cannot use.
    #[error("{0}")]
    Misfit(String),
}

impl DataTable {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.cells.len() / self.names.len()
    }

    /// One row.
    pub fn row(&self, i: usize) -> &[f64] {
        &self.cells[i * self.names.len()..(i + 1) * self.names.len()]
    }

    /// The rows with the given numbers.
    pub fn select(&self, rows: &[usize]) -> DataTable {
        DataTable {
            names: self.names.clone(),
            one_hot: self.one_hot.clone(),
            cells: rows.iter().flat_map(|&i| self.row(i)).copied().collect(),
        }
    }
}
