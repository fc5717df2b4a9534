//! A recording: a CSV file with a time column and a column a channel, read row by row.

use std::fs::File;
use std::io;
use std::path::Path;

use super::probe::{Probe, bare};
use crate::engine::{EngineParams, State, state_named};
use crate::payload::parse_rfc3339;
use crate::row::Row;

/// What the user says of the columns.
#[derive(Clone, Debug, Default)]
pub struct TableOptions {
    /// Name of the time column; found by name and content if not given.
    pub time: Option<String>,
    /// Columns that are no channels.
    pub ignore: Vec<String>,
    /// What says which columns hold the names of states, and the stream that they are of.
    pub states: Option<(EngineParams, String)>,
}

impl TableOptions {
    pub(super) fn states_of(&self, column: &str) -> Option<Vec<State>> {
        let (params, stream) = self.states.as_ref()?;
        params.states(stream, column).map(<[State]>::to_vec)
    }
}

/// Why a recording cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum TableError {
    /// Reading or writing failed.
    #[error(transparent)]
    Io(#[from] io::Error),
    /// Not a CSV file.
    #[error("{0}")]
    Csv(#[from] csv::Error),
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
    /// A time that cannot be read.
    #[error(
        "row {row}: {text:?} in column {column:?} is no time; expected unix seconds or \
         milliseconds, or a date and time such as 2026-01-31 13:45:00"
    )]
    Time {
        /// Row number, the first row of data is 1.
        row: u64,
        /// The time column.
        column: String,
        /// What stands there.
        text: String,
    },
}

/// How the time column is written.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum TimeFormat {
    /// Date and time, with or without an offset; without one it is read as UTC.
    Civil,
    /// A unix time; this many milliseconds to its unit.
    Unix(f64),
    /// There is none: rows are taken as one second apart.
    None,
}

/// A recording that is being read.
pub struct Table<'a> {
    reader: csv::Reader<Box<dyn io::Read + 'a>>,
    record: csv::ByteRecord,
    time_column: usize,
    time_name: String,
    format: TimeFormat,
    columns: Vec<usize>,
    channels: Vec<String>,
    /// The states of each channel that lists them.
    states: Vec<Option<Vec<State>>>,
    ignored: Vec<String>,
    row: u64,
    time_text: String,
    last_ms: i64,
    unreadable: u64,
    backward: u64,
}

impl<'a> Table<'a> {
    /// Opens a file: looks at its first rows to find separator, time column and channels.
    ///
    /// # Errors
    /// If the file cannot be read, a named column is missing or no column holds numbers.
    pub fn open(path: &Path, options: &TableOptions) -> Result<Table<'a>, TableError> {
        let probe = Probe::of(File::open(path)?, options)?;
        Ok(Table::from_probe(
            probe,
            Box::new(io::BufReader::with_capacity(1 << 16, File::open(path)?)),
        ))
    }

    /// The same over text in memory.
    ///
    /// # Errors
    /// As [`Table::open`].
    pub fn from_text(text: &'a str, options: &TableOptions) -> Result<Table<'a>, TableError> {
        let probe = Probe::of(text.as_bytes(), options)?;
        Ok(Table::from_probe(probe, Box::new(text.as_bytes())))
    }

    fn from_probe(probe: Probe, input: Box<dyn io::Read + 'a>) -> Table<'a> {
        let reader = csv::ReaderBuilder::new()
            .delimiter(probe.separator)
            .flexible(true)
            .from_reader(input);
        Table {
            reader,
            record: csv::ByteRecord::new(),
            time_column: probe.time_column,
            time_name: probe.time_name,
            format: probe.format,
            columns: probe.columns,
            channels: probe.channels,
            states: probe.states,
            ignored: probe.ignored,
            row: 0,
            time_text: String::new(),
            last_ms: i64::MIN,
            unreadable: 0,
            backward: 0,
        }
    }

    /// Names of the channels, in the order of a row's values.
    pub fn channels(&self) -> &[String] {
        &self.channels
    }

    /// Columns left out because they hold no numbers.
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// The time column; `None` when rows are taken as one second apart.
    pub fn time_column(&self) -> Option<&str> {
        (self.format != TimeFormat::None).then_some(&self.time_name)
    }

    /// Bytes read so far.
    pub fn bytes_read(&self) -> u64 {
        self.reader.position().byte()
    }

    /// The time of the last row as it stands in the file.
    pub fn time_text(&self) -> &str {
        &self.time_text
    }

    /// Cells that held neither a number nor an accepted word for none; they count as missing.
    pub fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// Rows whose time lay before the row above; they are learned in file order.
    pub fn backward(&self) -> u64 {
        self.backward
    }

    /// Reads the next row into `row`; false at the end.
    ///
    /// # Errors
    /// A time that cannot be read, or a broken file.
    pub fn read(&mut self, row: &mut Row) -> Result<bool, TableError> {
        if !self.reader.read_byte_record(&mut self.record)? {
            return Ok(false);
        }
        self.row += 1;
        row.ts_ms = self.read_time()?;
        row.arrival_ms = row.ts_ms;
        self.backward += u64::from(row.ts_ms < self.last_ms);
        self.last_ms = row.ts_ms;
        for ((value, &column), states) in row.values.iter_mut().zip(&self.columns).zip(&self.states)
        {
            let cell = self.record.get(column).unwrap_or_default();
            *value = match (parse_number(cell), named(cell, states.as_deref())) {
                (Cell::Number(x), _) | (_, Some(x)) => x,
                (Cell::Missing, _) => f64::NAN,
                (Cell::Other, _) => {
                    self.unreadable += 1;
                    f64::NAN
                }
            };
        }
        Ok(true)
    }

    fn read_time(&mut self) -> Result<i64, TableError> {
        self.time_text.clear();
        if self.format == TimeFormat::None {
            self.time_text.push_str(&self.row.to_string());
            return Ok((self.row as i64 - 1) * 1000);
        }
        let cell = self.record.get(self.time_column).unwrap_or_default();
        match std::str::from_utf8(cell) {
            Ok(text) => self.time_text.push_str(text.trim()),
            Err(_) => self.time_text.push_str(&String::from_utf8_lossy(cell)),
        }
        parse_time(&self.time_text, self.format).ok_or_else(|| TableError::Time {
            row: self.row,
            column: self.time_name.clone(),
            text: self.time_text.clone(),
        })
    }
}

/// What one cell holds.
pub(super) enum Cell {
    Number(f64),
    Missing,
    Other,
}

pub(super) fn parse_number(cell: &[u8]) -> Cell {
    let cell = cell.trim_ascii();
    if cell.is_empty() {
        return Cell::Missing;
    }
    let text = std::str::from_utf8(cell).ok().map(bare);
    match text.and_then(|text| text.parse::<f64>().ok()) {
        Some(x) if x.is_finite() => Cell::Number(x),
        Some(x) if x.is_nan() => Cell::Missing,
        Some(_) => Cell::Other,
        None if is_word_for_none(cell) => Cell::Missing,
        None => Cell::Other,
    }
}

/// Value of the state that a cell names.
fn named(cell: &[u8], states: Option<&[State]>) -> Option<f64> {
    let states = states?;
    let text = std::str::from_utf8(cell.trim_ascii()).ok()?;
    state_named(states, text).map(|state| state.value)
}

fn is_word_for_none(cell: &[u8]) -> bool {
    [&b"na"[..], b"n/a", b"null", b"none", b"-", b"?"]
        .iter()
        .any(|w| cell.eq_ignore_ascii_case(w))
}

pub(super) fn parse_time(text: &str, format: TimeFormat) -> Option<i64> {
    match format {
        TimeFormat::Unix(unit) => {
            if unit >= 1.0
                && let Ok(whole) = text.parse::<i64>()
            {
                return whole
                    .checked_mul(unit as i64)
                    .filter(|ms| ms.abs() < 9_000_000_000_000_000);
            }
            let x: f64 = text.parse().ok()?;
            (x.is_finite() && x.abs() * unit < 9e15).then(|| (x * unit).round() as i64)
        }
        TimeFormat::Civil => parse_civil(text),
        TimeFormat::None => None,
    }
}

/// A date and time, with or without an offset, or a date alone: unix milliseconds.
fn parse_civil(text: &str) -> Option<i64> {
    // The usual forms, read without a detour; the library knows all others.
    if let Some(ms) = parse_rfc3339(text) {
        return Some(ms);
    }
    if let Ok(stamp) = text.parse::<jiff::Timestamp>() {
        return Some(stamp.as_millisecond());
    }
    let civil: jiff::civil::DateTime = text.parse().ok()?;
    let stamp = civil.to_zoned(jiff::tz::TimeZone::UTC).ok()?;
    Some(stamp.timestamp().as_millisecond())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::{EngineSettings, Plan, Rule, Values};

    fn rows(text: &str, options: &TableOptions) -> (Vec<String>, Vec<(i64, Vec<f64>)>) {
        let mut table = Table::from_text(text, options).expect("a good table");
        let channels = table.channels().to_vec();
        let mut row = Row {
            ts_ms: 0,
            arrival_ms: 0,
            values: vec![0.0; channels.len()],
        };
        let mut all = Vec::new();
        while table.read(&mut row).expect("a good row") {
            all.push((row.ts_ms, row.values.clone()));
        }
        (channels, all)
    }

    #[test]
    fn separator_time_and_channels_are_found() {
        let text = "datetime;a;name;b\n2020-03-09 10:14:33;1.5;x;2\n2020-03-09 10:14:34;;y;-3e2\n";
        let (channels, rows) = rows(text, &TableOptions::default());
        assert_eq!(channels, ["a", "b"]);
        assert_eq!(rows[0], (1_583_748_873_000, vec![1.5, 2.0]));
        assert_eq!(rows[1].0 - rows[0].0, 1000);
        assert!(rows[1].1[0].is_nan());
    }

    #[test]
    fn quoted_fields_may_hold_separators_line_breaks_and_quotes() {
        let text = "\u{feff}\"time\",\"a; b; c\",\"said \"\"y\"\"\",\"two\nlines\"\r\n\
            \"2020-03-09 10:14:33\",\"1.5\", \"2\",\"x, y\"\r\n\"2020-03-09 10:14:34\",,3,\"z\"\r\n";
        let (channels, rows) = rows(text, &TableOptions::default());
        assert_eq!(channels, ["a; b; c", "said \"y\""]);
        assert_eq!(rows[0], (1_583_748_873_000, vec![1.5, 2.0]));
        assert!(rows[1].1[0].is_nan() && rows[1].1[1] == 3.0);
    }

    #[test]
    fn unix_seconds_and_milliseconds_are_told_apart() {
        for (stamp, ms) in [
            ("1583748873", 1_583_748_873_000),
            ("1583748873123", 1_583_748_873_123),
        ] {
            let (_, rows) = rows(&format!("ts,x\n{stamp},1\n"), &TableOptions::default());
            assert_eq!(rows[0].0, ms);
        }
    }

    #[test]
    fn offsets_and_fractions_of_a_second_are_understood() {
        for text in [
            "2020-03-09T10:14:33.250Z",
            "2020-03-09 12:14:33.25+02:00",
            "2020-03-09 10:14:33.25",
        ] {
            assert_eq!(parse_civil(text), Some(1_583_748_873_250), "{text}");
        }
        assert_eq!(parse_civil("1970-01-02"), Some(86_400_000));
    }

    #[test]
    fn without_a_time_column_rows_are_a_second_apart() {
        let (channels, rows) = rows("a,b\n1,2\n3,4\n", &TableOptions::default());
        assert_eq!(channels, ["a", "b"]);
        assert_eq!(rows[1].0 - rows[0].0, 1000);
    }

    #[test]
    fn texts_that_name_states_are_read_also_where_they_are_a_word_for_none() {
        let states = vec!["none".to_owned(), "leak".to_owned()];
        let rule = Rule {
            stream: "*".into(),
            channel: "fault".into(),
            plan: Plan {
                values: Values::states(&states).unwrap(),
                ..Plan::default()
            },
        };
        let settings = EngineSettings {
            channels: vec![rule],
            ..EngineSettings::default()
        };
        let options = TableOptions {
            states: Some((EngineParams::new(settings).unwrap(), "s".into())),
            ..TableOptions::default()
        };
        let text = "ts,fault,other\n1,none,none\n2,leak,1\n3,burst,2\n4,,3\n5,1,4\n";
        let (channels, rows) = rows(text, &options);
        assert_eq!(channels, ["fault", "other"]);
        let faults: Vec<f64> = rows.iter().map(|row| row.1[0]).collect();
        assert_eq!(faults[..2], [0.0, 1.0]);
        assert!(faults[2].is_nan() && faults[3].is_nan() && rows[0].1[1].is_nan());
        assert_eq!(faults[4], 1.0);
    }

    #[test]
    fn a_missing_column_is_named_with_those_there_are() {
        let options = TableOptions {
            ignore: vec!["anomaly".into()],
            ..Default::default()
        };
        let error = Table::from_text("t,a\n0,1\n", &options)
            .err()
            .expect("no such column");
        assert!(error.to_string().contains("\"anomaly\"") && error.to_string().contains("t, a"));
    }

    #[test]
    fn a_broken_time_is_an_error_with_its_row() {
        let text = format!("ts,a\n{}not a time,1\n", "2020-01-01,1\n".repeat(300));
        let mut table = Table::from_text(&text, &TableOptions::default()).expect("starts well");
        let mut row = Row {
            ts_ms: 0,
            arrival_ms: 0,
            values: vec![0.0],
        };
        let error = loop {
            match table.read(&mut row) {
                Ok(true) => {}
                Ok(false) => panic!("the broken time was not seen"),
                Err(error) => break error,
            }
        };
        assert!(error.to_string().contains("row 301"), "{error}");
    }

    #[test]
    fn words_for_nothing_are_missing_and_others_are_counted() {
        let mut table = Table::from_text(
            "ts,a\n1,5\n2,NaN\n3,n/a\n4,oops\n5,inf\n6,7\n7,8\n",
            &TableOptions::default(),
        )
        .expect("a good table");
        let mut row = Row {
            ts_ms: 0,
            arrival_ms: 0,
            values: vec![0.0],
        };
        let mut values = Vec::new();
        while table.read(&mut row).expect("a good row") {
            values.push(row.values[0]);
        }
        assert_eq!(values[0], 5.0);
        assert!(values[1..5].iter().all(|v| v.is_nan()));
        assert_eq!(table.unreadable(), 2);
    }
}
