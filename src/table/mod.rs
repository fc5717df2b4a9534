//! Reads tables as plants, loggers and spreadsheets write them: finds encoding, separator, header,
//! times and columns by itself, says what it found, and takes an option for each.

mod column;
mod columns;
mod layout;
mod long;
mod missing;
mod names;
mod number;
mod pivot;
mod record;
mod sheet;
mod source;
mod stretch;
mod time;
mod time_column;
mod value;
mod wide;

#[cfg(test)]
mod fixture;
#[cfg(test)]
mod option_tests;
#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;

use std::io;

pub use number::Decimal;
pub(crate) use number::{CellValue, parse_number};
pub use record::Separator;
pub(crate) use sheet::Sheet;
pub(crate) use stretch::{Stretch, stretches_of};
pub(crate) use time::TimeFormat;
pub use wide::WideTable;

use crate::engine::{EngineParams, State};

/// Opens a file of text of any encoding, packed with gzip or not, as UTF-8.
///
/// # Errors
/// If the file cannot be read or holds no text.
pub(crate) fn text_of(path: &std::path::Path) -> Result<Box<dyn io::BufRead>, TableError> {
    Ok(source::TextSource::open(path, None)?.text)
}

/// Where the line with the names stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Header {
    /// It is found: the first line of names above rows of numbers.
    #[default]
    Found,
    /// In this line, from 1.
    Line(u64),
    /// There is none: columns are named 1, 2 and so on.
    None,
}

/// How readings stand in a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum TableShape {
    /// It is found.
    #[default]
    Found,
    /// A column a channel.
    Wide,
    /// A line a reading: columns whose texts name the channel, and the column of the values.
    Long {
        /// Columns whose texts together name the channel.
        names: Vec<String>,
        /// The column of the values.
        value: String,
    },
}

/// How the text of a file becomes records.
#[derive(Clone, Debug, Default)]
pub struct LayoutOptions {
    /// The encoding by its label, such as `latin1`; found if not given.
    pub encoding: Option<&'static encoding_rs::Encoding>,
    /// The separator of fields; found if not given.
    pub separator: Option<Separator>,
    /// Where the names stand.
    pub header: Header,
    /// How numbers are written; found if not given.
    pub decimal: Option<Decimal>,
}

/// The user's settings of a recording.
#[derive(Clone, Debug, Default)]
pub struct TableOptions {
    /// How the text becomes records.
    pub layout: LayoutOptions,
    /// Name of the time column; found by name and content if not given.
    pub time: Option<String>,
    /// How it is written, by a pattern of `strftime`; found by its content if not given.
    pub time_format: Option<String>,
    /// The zone of times without an offset; UTC if not given, or the one that the header names.
    pub timezone: Option<jiff::tz::TimeZone>,
    /// Columns that are no channels.
    pub ignore: Vec<String>,
    /// A column a channel, or a line a reading.
    pub shape: TableShape,
    /// Numbers that stand for a missing value; -999.9 and the like, far below the other values, if not
    /// given.
    pub missing: Option<Vec<f64>>,
    /// Rows are taken in the order of the file, also where that is newest first.
    pub keep_order: bool,
    /// The rules that say which columns hold the names of states, and the stream that they are of.
    pub states: Option<(EngineParams, String)>,
}

impl TableOptions {
    fn states_of(&self, column: &str) -> Option<Vec<State>> {
        let (params, stream) = self.states.as_ref()?;
        params.states(stream, column).map(<[State]>::to_vec)
    }
}

/// Why a table cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// Reading failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// The file holds something other than text.
    #[error("this is no table of text but {0}")]
    NoText(&'static str),
    /// A named column is not there.
    #[error("there is no column {name:?}; there are {present}")]
    NoColumn {
        /// The column asked for.
        name: String,
        /// The columns there are.
        present: String,
    },
    /// No column of numbers.
    #[error("no column of numbers to learn from; the columns are {0}")]
    NoChannels(String),
    /// The columns are named by times.
    #[error(
        "its first row holds the times: a row is a channel there; turn it round, so that each time \
         is a row and each channel a column"
    )]
    Turned,
    /// No line of data.
    #[error("no rows of data")]
    Empty,
    /// The line of names lies behind the end or within data.
    #[error("--header {line}: there is no line of names; the file has {lines} lines or more")]
    NoHeader {
        /// The line asked for.
        line: u64,
        /// Lines of the file's beginning.
        lines: u64,
    },
    /// A column named like a time whose cells cannot be read.
    #[error("line {line}: {text:?} in column {column:?} is no time; expected {expected}")]
    Time {
        /// The line, from 1.
        line: u64,
        /// The time column.
        column: String,
        /// The cell.
        text: String,
        /// The correction.
        expected: String,
    },
    /// More lines than not cannot be read.
    #[error(
        "{unreadable} of {lines} lines cannot be read, the first is line {line}: {why}: {text:?}"
    )]
    Unreadable {
        /// Lines that cannot be read.
        unreadable: u64,
        /// All lines of data.
        lines: u64,
        /// The first of them, from 1.
        line: u64,
        /// The error.
        why: &'static str,
        /// Its beginning.
        text: String,
    },
    /// A line a reading, with too many names to be channels.
    #[error(
        "column {column:?} names {names} channels or more: too many for one recording; --long says \
         which columns name the channel, --ignore leaves columns out"
    )]
    TooManyNames {
        /// The column of names.
        column: String,
        /// Names met.
        names: usize,
    },
}
