//! A recording that is read row by row: a time and a value a channel.

use std::collections::BTreeSet;
use std::io::Read;
use std::path::Path;

use super::columns::{TableColumns, ValueColumn};
use super::long;
use super::missing::MarkCount;
use super::number::{CellValue, parse_number};
use super::pivot::Pivot;
use super::sheet::Sheet;
use super::time::{RowClock, RowOrder, TimeFormat};
use super::value::{KeptRow, read_cell};
use super::{TableError, TableOptions};
use crate::engine::State;
use crate::row::Row;

/// Texts of a column that are remembered: more are no states.
const MAX_TEXTS: usize = 16;

/// Where the rows come from.
enum RowSource {
    /// The file, in its order.
    File,
    /// Memory: turned round, or put together from a line a reading.
    Memory(std::vec::IntoIter<KeptRow>),
}

/// Counts of what could not be read as it stands.
#[derive(Clone, Debug, Default)]
struct Faults {
    cells: u64,
    lines: u64,
    headers: u64,
    backward: u64,
    first: Option<(u64, &'static str, String)>,
}

/// A recording that is being read.
pub struct WideTable<'a> {
    sheet: Sheet<'a>,
    columns: TableColumns,
    clock: RowClock,
    names: Vec<String>,
    /// The states of each channel that lists them.
    states: Vec<Option<Vec<State>>>,
    rows: RowSource,
    row: u64,
    time_text: String,
    last_ms: i64,
    faults: Faults,
    /// Marks of missing values, a count a channel.
    marks: Vec<MarkCount>,
    /// Texts of the columns that are left out since they hold no numbers.
    texts: Vec<(String, BTreeSet<String>)>,
    found: Vec<String>,
}

impl<'a> WideTable<'a> {
    /// Opens a file: looks at its first lines to find its layout, times and channels.
    ///
    /// # Errors
    /// If the file cannot be read, a named column is missing, a column named like a time holds none,
    /// or no column holds numbers.
    pub fn open(path: &Path, options: &TableOptions) -> Result<WideTable<'a>, TableError> {
        WideTable::of_sheet(Sheet::open(path, &options.layout)?, options)
    }

    /// The same over bytes in memory or from anywhere.
    ///
    /// # Errors
    /// As [`WideTable::open`].
    pub fn of(input: impl Read + 'a, options: &TableOptions) -> Result<WideTable<'a>, TableError> {
        WideTable::of_sheet(Sheet::of(input, &options.layout)?, options)
    }

    fn of_sheet(sheet: Sheet<'a>, options: &TableOptions) -> Result<WideTable<'a>, TableError> {
        if sheet.layout.rows.is_empty() {
            return Err(TableError::Empty);
        }
        let columns = TableColumns::of(&sheet.layout, options)?;
        let shape = long::find(&sheet.layout, &columns, options)?;
        let newest_first = columns.time.newest_first && !options.keep_order;
        let order = RowOrder {
            newest_first: columns.time.newest_first,
            repeats: shape.is_some(),
        };
        let mut found = sheet.layout.found.clone();
        found.extend(columns.found.iter().cloned());
        let texts = columns
            .texts
            .iter()
            .map(|&column| columns.names[column].clone());
        let mut table = WideTable {
            names: columns
                .channels
                .iter()
                .map(|channel| channel.name.clone())
                .collect(),
            states: Vec::new(),
            clock: RowClock::new(
                columns.time.format.clone(),
                columns.time.zone.clone(),
                order,
            ),
            texts: texts.map(|name| (name, BTreeSet::new())).collect(),
            sheet,
            columns,
            rows: RowSource::File,
            row: 0,
            time_text: String::new(),
            last_ms: i64::MIN,
            faults: Faults::default(),
            marks: Vec::new(),
            found,
        };
        match shape {
            Some(shape) => table.pivot(&shape, options)?,
            None => {
                table.states = table
                    .names
                    .iter()
                    .map(|name| options.states_of(name))
                    .collect();
                let names = table.names.iter();
                table.marks = names.map(|name| MarkCount::of(name)).collect();
                table.has_channels()?;
                if newest_first {
                    table.turn_round()?;
                }
            }
        }
        Ok(table)
    }

    /// A recording without a number in its head teaches nothing, unless more of it is to come.
    fn has_channels(&self) -> Result<(), TableError> {
        let layout = &self.sheet.layout;
        let holds = |channel: &ValueColumn| {
            let cells = layout.rows.iter().map(|(_, row)| row.get(channel.column));
            cells
                .into_iter()
                .any(|cell| parse_number(cell, layout.decimal) != CellValue::Missing)
        };
        let any = self.columns.channels.iter().any(holds);
        if any || (layout.rows.len() >= 200 && !self.columns.channels.is_empty()) {
            return Ok(());
        }
        Err(TableError::NoChannels(self.columns.names.join(", ")))
    }

    /// Reads all rows, which run from new to old, and keeps them from old to new.
    fn turn_round(&mut self) -> Result<(), TableError> {
        let mut row = Row {
            ts_ms: 0,
            arrival_ms: 0,
            values: vec![f64::NAN; self.names.len()],
            held: Vec::new(),
        };
        let mut kept = Vec::new();
        while self.read(&mut row)? {
            let text = self.time_text.clone();
            kept.push(KeptRow {
                ts_ms: row.ts_ms,
                text,
                values: row.values.clone(),
            });
        }
        kept.reverse();
        self.keep(kept);
        self.found.push("newest first, turned round".to_owned());
        Ok(())
    }

    fn keep(&mut self, kept: Vec<KeptRow>) {
        (self.row, self.last_ms) = (0, i64::MIN);
        self.faults.backward = 0;
        self.rows = RowSource::Memory(kept.into_iter());
    }

    /// Reads all lines, each of which is a reading, and keeps the rows that they make.
    fn pivot(&mut self, shape: &long::Long, options: &TableOptions) -> Result<(), TableError> {
        let decimal = self.sheet.layout.decimal;
        let mut pivot = Pivot::new(shape, &self.columns, decimal, options.missing.clone());
        let mut text = String::new();
        while self.sheet.read()? {
            if pivot.is_header(&self.sheet.record) {
                continue;
            }
            text.clear();
            pivot
                .time(&self.columns.time)
                .write(&self.sheet.record, &mut text);
            let Some(ms) = self.clock.read(&text) else {
                self.fault("no time");
                continue;
            };
            self.row += 1;
            let known = |name: &str| options.states_of(name);
            pivot.take(&self.sheet.record, ms, &text, known)?;
        }
        self.check_faults()?;
        let pivoted = pivot.finish()?;
        self.found.extend(pivoted.found);
        self.faults.cells = pivoted.unreadable;
        self.columns.ignored = pivoted.ignored;
        self.texts = pivoted.texts;
        self.names = pivoted.names;
        self.marks = pivoted.marks;
        self.keep(pivoted.rows);
        Ok(())
    }

    /// Names of the channels, in the order of a row's values.
    pub fn channels(&self) -> &[String] {
        &self.names
    }

    /// Columns left out because they hold no numbers, or number the rows.
    pub fn ignored(&self) -> &[String] {
        &self.columns.ignored
    }

    /// Columns of few texts, with these: they may be states.
    pub fn texts(&self) -> impl Iterator<Item = (&str, &BTreeSet<String>)> {
        let few = self
            .texts
            .iter()
            .filter(|(_, texts)| (2..MAX_TEXTS).contains(&texts.len()));
        few.map(|(name, texts)| (name.as_str(), texts))
    }

    /// Unit of a channel, where the file says it.
    pub fn unit(&self, channel: &str) -> Option<&str> {
        let found = self
            .columns
            .channels
            .iter()
            .find(|known| known.name == channel)?;
        (!found.unit.is_empty()).then_some(&found.unit)
    }

    /// The time column; `None` when rows are taken as one second apart.
    pub fn time_column(&self) -> Option<&str> {
        let time = &self.columns.time;
        (time.format != TimeFormat::None).then_some(&time.name)
    }

    /// How else days such as 01/02/2026 could be read, where the first rows fit both.
    pub fn doubt(&self) -> Option<&str> {
        self.columns.time.doubt
    }

    /// Unusual findings, in words.
    pub fn found(&self) -> &[String] {
        &self.found
    }

    /// Bytes of the file read so far.
    pub fn bytes_read(&self) -> u64 {
        self.sheet.bytes_read()
    }

    /// The time of the last row as it stands in the file.
    pub fn time_text(&self) -> &str {
        &self.time_text
    }

    /// Cells that held neither a number nor an accepted word for none; they count as missing.
    pub fn unreadable(&self) -> u64 {
        self.faults.cells
    }

    /// Numbers that were taken as missing values, in words.
    pub fn marks(&self) -> Option<String> {
        let named: Vec<String> = self.marks.iter().filter_map(MarkCount::said).collect();
        (!named.is_empty()).then(|| named.join(", "))
    }

    /// Lines left out because their time could not be read or they had too many fields, and the
    /// first of them: its number, what is wrong, and its beginning.
    pub fn unreadable_lines(&self) -> Option<(u64, (u64, &'static str, &str))> {
        let (line, why, text) = self.faults.first.as_ref()?;
        Some((self.faults.lines, (*line, *why, text.as_str())))
    }

    /// Rows whose time lay before the row above; they are learned in file order.
    pub fn backward(&self) -> u64 {
        self.faults.backward
    }

    /// Local times that the zone leaves out when its clock is put forward.
    pub fn times_in_gap(&self) -> u64 {
        self.clock.in_gap
    }

    /// Reads the next row into `row`; false at the end.
    ///
    /// # Errors
    /// If the file cannot be read, or more of its lines than not.
    pub fn read(&mut self, row: &mut Row) -> Result<bool, TableError> {
        let read = match &mut self.rows {
            RowSource::Memory(rows) => match rows.next() {
                Some(kept) => {
                    row.ts_ms = kept.ts_ms;
                    row.values.copy_from_slice(&kept.values);
                    self.time_text = kept.text;
                    true
                }
                None => false,
            },
            RowSource::File => self.read_line(row)?,
        };
        if !read {
            return Ok(false);
        }
        self.row += 1;
        row.arrival_ms = row.ts_ms;
        self.faults.backward += u64::from(row.ts_ms < self.last_ms);
        self.last_ms = row.ts_ms;
        Ok(true)
    }

    /// Reads the next line that can be read; false at the end of the file.
    fn read_line(&mut self, row: &mut Row) -> Result<bool, TableError> {
        loop {
            if !self.sheet.read()? {
                self.check_faults()?;
                return Ok(false);
            }
            if self.repeats_header() {
                self.faults.headers += 1;
                continue;
            }
            if self.sheet.record.filled_len() > self.sheet.layout.width {
                self.fault("more fields than names");
                continue;
            }
            let Some(ms) = self.read_time() else {
                self.fault("no time");
                continue;
            };
            row.ts_ms = ms;
            self.read_values(&mut row.values);
            self.keep_texts();
            return Ok(true);
        }
    }

    fn read_time(&mut self) -> Option<i64> {
        self.time_text.clear();
        if self.columns.time.format == TimeFormat::None {
            self.time_text.push_str(&(self.row + 1).to_string());
            return Some(self.row as i64 * 1000);
        }
        self.columns
            .time
            .write(&self.sheet.record, &mut self.time_text);
        self.clock.read(&self.time_text)
    }

    fn read_values(&mut self, values: &mut [f64]) {
        let channels = self.columns.channels.iter().zip(&self.states);
        let channels = channels.zip(&mut self.marks);
        for (value, ((channel, states), marks)) in values.iter_mut().zip(channels) {
            let cell = self.sheet.record.get(channel.column);
            *value = match read_cell(cell, &channel.reading, channel.decimal, states.as_deref()) {
                Some(value) if channel.missing.has(value) => marks.take(value),
                Some(value) => value,
                None => {
                    self.faults.cells += 1;
                    f64::NAN
                }
            };
        }
    }

    fn keep_texts(&mut self) {
        for ((_, met), &column) in self.texts.iter_mut().zip(&self.columns.texts) {
            if met.len() < MAX_TEXTS {
                let text = self.sheet.record.text(column);
                if !text.is_empty() && !met.contains(&*text) {
                    met.insert(text.into_owned());
                }
            }
        }
    }

    /// The names again, as where files were put behind each other.
    fn repeats_header(&self) -> bool {
        let record = &self.sheet.record;
        self.sheet.layout.names.as_ref().is_some_and(|names| {
            let same = |(i, name): (usize, &String)| record.get(i) == name.as_bytes();
            record.filled_len() > 1 && names.iter().enumerate().all(same)
        })
    }

    fn fault(&mut self, why: &'static str) {
        self.faults.lines += 1;
        if self.faults.first.is_none() {
            self.faults.first = Some((self.sheet.at, why, self.sheet.excerpt()));
        }
    }

    /// Single lines that cannot be read are counted; where most cannot, nothing is right.
    fn check_faults(&self) -> Result<(), TableError> {
        match &self.faults.first {
            Some((line, why, text)) if self.faults.lines > self.row => {
                Err(TableError::Unreadable {
                    unreadable: self.faults.lines,
                    lines: self.faults.lines + self.row,
                    line: *line,
                    why,
                    text: text.clone(),
                })
            }
            _ => Ok(()),
        }
    }
}
