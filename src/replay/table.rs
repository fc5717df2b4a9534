//! A recording: a CSV file with a time column and a column a channel, read row by row.

use std::fs::File;
use std::io;
use std::path::Path;

use super::cells::{Cell, Decimal, TimeFormat, parse_number};
use super::probe::{Probe, TimeColumn};
use crate::engine::{EngineParams, State, state_named};
use crate::row::Row;

/// What the user says of the columns.
#[derive(Clone, Debug, Default)]
pub struct TableOptions {
    /// Name of the time column; found by name and content if not given.
    pub time: Option<String>,
    /// How it is written, by a pattern of `strftime`; found by its content if not given.
    pub time_format: Option<String>,
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
    /// Not a recording of messages.
    #[error(
        "{0:?} is no message; expected lines of time, topic and payload, as \
         mosquitto_sub -F '%U %t %p' writes them"
    )]
    Messages(String),
    /// Two columns of one name: nobody could tell the channels apart.
    #[error("two columns are named {0:?}: every channel needs a name of its own")]
    Twice(String),
    /// A time that cannot be read.
    #[error("row {row}: {text:?} in column {column:?} is no time; expected {expected}")]
    Time {
        /// Row number, the first row of data is 1.
        row: u64,
        /// The time column.
        column: String,
        /// What stands there.
        text: String,
        /// What would be right.
        expected: String,
    },
}

/// A recording that is being read.
pub struct Table<'a> {
    reader: csv::Reader<Box<dyn io::Read + 'a>>,
    record: csv::ByteRecord,
    time: TimeColumn,
    decimal: Decimal,
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
            time: probe.time,
            decimal: probe.decimal,
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

    /// Columns left out because they hold no numbers, or number the rows.
    pub fn ignored(&self) -> &[String] {
        &self.ignored
    }

    /// The time column; `None` when rows are taken as one second apart.
    pub fn time_column(&self) -> Option<&str> {
        (self.time.format != TimeFormat::None).then_some(&self.time.name)
    }

    /// How else days such as 01/02/2026 could be read, where the first rows fit both.
    pub fn doubt(&self) -> Option<&str> {
        self.time.doubt.as_deref()
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
            *value = match (
                parse_number(cell, self.decimal),
                named(cell, states.as_deref()),
            ) {
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
        if self.time.format == TimeFormat::None {
            self.time_text.push_str(&self.row.to_string());
            return Ok((self.row as i64 - 1) * 1000);
        }
        self.time.write(&self.record, &mut self.time_text);
        self.time
            .format
            .parse(&self.time_text)
            .ok_or_else(|| TableError::Time {
                row: self.row,
                column: self.time.name.clone(),
                text: self.time_text.clone(),
                expected: self.time.format.expected(),
            })
    }
}

/// Value of the state that a cell names.
fn named(cell: &[u8], states: Option<&[State]>) -> Option<f64> {
    let states = states?;
    let text = std::str::from_utf8(cell.trim_ascii()).ok()?;
    state_named(states, text).map(|state| state.value)
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
    fn days_and_times_of_day_in_two_columns_are_one_time() {
        let text = "Datum;Uhrzeit;a\n09.03.2020;10:14:33;1,5\n09.03.2020;10:14:34;-2\n";
        let (channels, rows) = rows(text, &TableOptions::default());
        assert_eq!(channels, ["a"]);
        assert_eq!(rows[0], (1_583_748_873_000, vec![1.5]));
        assert_eq!(rows[1], (1_583_748_874_000, vec![-2.0]));
    }

    #[test]
    fn a_pattern_says_how_times_are_written() {
        let options = |pattern: &str| TableOptions {
            time_format: Some(pattern.into()),
            ..TableOptions::default()
        };
        let text = "a,when\n1,09-Mar-20 10.14.33\n2,09-Mar-20 10.14.34\n";
        let (channels, read) = rows(text, &options("%d-%b-%y %H.%M.%S"));
        assert_eq!(
            (channels, read[0].0),
            (vec!["a".to_owned()], 1_583_748_873_000)
        );
        let by_day = "a,when\n1,03/04/2020\n2,03/04/2020\n";
        let (_, read) = rows(by_day, &options("%d/%m/%Y"));
        assert_eq!(read[0].0, 1_585_872_000_000);
        let table = Table::from_text(by_day, &TableOptions::default()).expect("a good table");
        assert_eq!(table.doubt(), Some("%d/%m/%Y"));
    }

    #[test]
    fn a_time_is_known_by_what_it_is_and_row_numbers_are_no_channel() {
        let (channels, _) = rows(
            "a,total\n1,1583748873\n3,1583748874\n",
            &TableOptions::default(),
        );
        assert_eq!(channels, ["a", "total"], "times come first");
        let text = ",epoch,a\n7,1583748873,1\n8,1583748874,3\n";
        let mut table = Table::from_text(text, &TableOptions::default()).expect("a good table");
        assert_eq!(table.time_column(), Some("epoch"));
        assert_eq!(
            (table.channels(), table.ignored()),
            (&["a".to_owned()][..], &["(row numbers)".to_owned()][..])
        );
        let mut row = Row {
            ts_ms: 0,
            arrival_ms: 0,
            values: vec![0.0],
        };
        assert!(table.read(&mut row).expect("a good row"));
        assert_eq!(row.ts_ms, 1_583_748_873_000);
    }

    #[test]
    fn two_channels_of_one_name_and_a_file_without_numbers_are_refused() {
        let refused = |text: &str| match Table::from_text(text, &TableOptions::default()) {
            Err(error) => error.to_string(),
            Ok(_) => panic!("taken: {text}"),
        };
        assert!(refused("t,a,a\n1,2,3\n").contains("two columns are named \"a\""));
        assert!(refused("t,a\n1,\n2,n/a\n").contains("no column of numbers"));
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
