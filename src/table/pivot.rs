//! Puts the readings of one time, each on a line of its own, into one row.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::TableError;
use super::column::CellReading;
use super::columns::TableColumns;
use super::long::Long;
use super::missing::{MarkCount, MissingMarks, UsualRange};
use super::number::{self, CellValue, Decimal, parse_number};
use super::record::TableRecord;
use super::time_column::TimeColumn;
use super::value::{KeptRow, read_cell};
use crate::engine::State;

/// Channels of one recording; beyond that a column names something else.
const MAX_NAMES: usize = 2000;

/// One reading.
struct LongReading {
    ts_ms: i64,
    channel: usize,
    value: f64,
    /// Place of the time's text.
    text: usize,
}

/// One channel that was met.
struct LongChannel {
    parts: Vec<String>,
    value: usize,
    unit: Option<String>,
    numbers: u64,
    others: u64,
    texts: BTreeSet<String>,
    states: Option<Vec<State>>,
}

/// Puts readings together into rows.
pub(super) struct Pivot {
    name_columns: Vec<String>,
    value_columns: Vec<String>,
    left_out: Vec<String>,
    names: Vec<usize>,
    values: Vec<usize>,
    time: Option<TimeColumn>,
    time_name: String,
    decimal: Decimal,
    places: HashMap<(Vec<String>, usize), usize>,
    met: Vec<LongChannel>,
    entries: Vec<LongReading>,
    texts: Vec<String>,
    missing: Option<Vec<f64>>,
}

/// The rows that readings make.
pub(super) struct Pivoted {
    pub(super) names: Vec<String>,
    pub(super) rows: Vec<KeptRow>,
    pub(super) unreadable: u64,
    pub(super) ignored: Vec<String>,
    pub(super) texts: Vec<(String, BTreeSet<String>)>,
    pub(super) found: Vec<String>,
    pub(super) marks: Vec<MarkCount>,
}

impl Pivot {
    /// Reads lines of this shape; `missing` are the numbers that stand for a missing value, where they
    /// are given.
    pub(super) fn new(
        shape: &Long,
        columns: &TableColumns,
        decimal: Decimal,
        missing: Option<Vec<f64>>,
    ) -> Pivot {
        let named = |places: &[usize]| -> Vec<String> {
            places
                .iter()
                .map(|&column| columns.names[column].clone())
                .collect()
        };
        Pivot {
            name_columns: named(&shape.names),
            value_columns: named(&shape.values),
            left_out: named(&shape.left_out),
            names: shape.names.clone(),
            values: shape.values.clone(),
            time: None,
            time_name: columns.time.name.clone(),
            decimal,
            places: HashMap::new(),
            met: Vec::new(),
            entries: Vec::new(),
            texts: Vec::new(),
            missing,
        }
    }

    /// Where the times stand: as found at first, or as the last header within the file says.
    pub(super) fn time<'a>(&'a self, first: &'a TimeColumn) -> &'a TimeColumn {
        self.time.as_ref().unwrap_or(first)
    }

    /// A header within the file, as where several tables stand below each other: its columns count
    /// from there on.
    pub(super) fn is_header(&mut self, record: &TableRecord) -> bool {
        let find = |name: &String| record.iter().position(|cell| cell == name.as_bytes());
        let Some(time) = find(&self.time_name) else {
            return false;
        };
        let places = |names: &[String]| names.iter().map(find).collect::<Option<Vec<usize>>>();
        let (Some(names), Some(values)) = (places(&self.name_columns), places(&self.value_columns))
        else {
            return false;
        };
        (self.names, self.values) = (names, values);
        self.time = Some(TimeColumn::at(time));
        true
    }

    /// Takes a line: a reading of each column of values.
    pub(super) fn take(
        &mut self,
        record: &TableRecord,
        ts_ms: i64,
        text: &str,
        states_of: impl Fn(&str) -> Option<Vec<State>>,
    ) -> Result<(), TableError> {
        if self.texts.last().is_none_or(|last| last != text) {
            self.texts.push(text.to_owned());
        }
        for place in 0..self.values.len() {
            let parts = self
                .names
                .iter()
                .map(|&column| record.text(column).trim().to_owned());
            let key = (parts.collect::<Vec<String>>(), place);
            let channel = match self.places.get(&key) {
                Some(&channel) => channel,
                None => self.meet(key.0, key.1, &states_of)?,
            };
            let cell = record.get(self.values[place]);
            if let Some(value) = self.met[channel].read(cell, self.decimal) {
                let text = self.texts.len() - 1;
                self.entries.push(LongReading {
                    ts_ms,
                    channel,
                    value,
                    text,
                });
            }
        }
        Ok(())
    }

    fn meet(
        &mut self,
        parts: Vec<String>,
        value: usize,
        states_of: impl Fn(&str) -> Option<Vec<State>>,
    ) -> Result<usize, TableError> {
        if self.met.len() >= MAX_NAMES {
            return Err(TableError::TooManyNames {
                column: self.name_columns.join(", "),
                names: self.met.len(),
            });
        }
        let whole = parts.join(".");
        self.met.push(LongChannel {
            parts: parts.clone(),
            value,
            unit: None,
            numbers: 0,
            others: 0,
            texts: BTreeSet::new(),
            states: states_of(&whole),
        });
        self.places.insert((parts, value), self.met.len() - 1);
        Ok(self.met.len() - 1)
    }

    /// Ends the file: channels in the order in which they were met, rows in the order of time.
    pub(super) fn finish(mut self) -> Result<Pivoted, TableError> {
        let names = self.channel_names();
        let usable = |met: &LongChannel| met.numbers > 0 && met.numbers >= met.others;
        let mut place_of = vec![None; self.met.len()];
        let (mut kept, mut texts) = (Vec::new(), Vec::new());
        let mut ignored = std::mem::take(&mut self.left_out);
        for (i, met) in self.met.iter_mut().enumerate() {
            if usable(met) {
                place_of[i] = Some(kept.len());
                kept.push(names[i].clone());
            } else {
                ignored.push(names[i].clone());
                texts.push((names[i].clone(), std::mem::take(&mut met.texts)));
            }
        }
        if kept.is_empty() {
            return Err(TableError::NoChannels(names.join(", ")));
        }
        let unreadable = self
            .met
            .iter()
            .filter(|met| usable(met))
            .map(|met| met.others)
            .sum();
        let marks = self.take_marks(&names);
        self.entries.sort_by_key(|entry| entry.ts_ms);
        let mut found = vec![format!(
            "a line a reading: {} of {} names the channel, {} channels",
            self.value_columns.join(", "),
            self.name_columns.join(", "),
            kept.len()
        )];
        let window_ms = self.window_ms(&place_of, &mut found);
        let rows = self.rows(&place_of, kept.len(), window_ms, &mut found);
        Ok(Pivoted {
            names: kept,
            rows,
            unreadable,
            ignored,
            texts,
            found,
            marks,
        })
    }

    /// Makes readings missing that only stand for a missing value.
    fn take_marks(&mut self, names: &[String]) -> Vec<MarkCount> {
        let mut marks: Vec<MarkCount> = names.iter().map(|name| MarkCount::of(name)).collect();
        let mut ranges = vec![UsualRange::default(); names.len()];
        for entry in &self.entries {
            ranges[entry.channel].observe(entry.value);
        }
        let limits = ranges.iter().map(|range| match &self.missing {
            Some(named) => MissingMarks::Named(named.clone()),
            None => range.marks(),
        });
        let limits: Vec<MissingMarks> = limits.collect();
        for entry in &mut self.entries {
            if limits[entry.channel].has(entry.value) {
                entry.value = marks[entry.channel].take(entry.value);
            }
        }
        marks
    }

    /// The parts of a name that tell channels apart, joined with points.
    fn channel_names(&self) -> Vec<String> {
        let differs = |part: usize| {
            let texts: HashSet<&String> = self.met.iter().map(|met| &met.parts[part]).collect();
            texts.len() > 1
        };
        let width = self.name_columns.len();
        let mut wanted: Vec<usize> = (0..width).filter(|&part| differs(part)).collect();
        if wanted.is_empty() {
            wanted.push(width - 1);
        }
        let name = |met: &LongChannel| {
            let parts = wanted.iter().map(|&part| met.parts[part].as_str());
            let value = self.value_columns[met.value].as_str();
            let value = (self.value_columns.len() > 1).then_some(value);
            let parts: Vec<&str> = parts.chain(value).filter(|part| !part.is_empty()).collect();
            if parts.is_empty() {
                "(no name)".to_owned()
            } else {
                parts.join(".")
            }
        };
        self.met.iter().map(name).collect()
    }

    /// How far apart readings of one row may lie, ms: 0 where most times have a reading of every
    /// channel, else half of the shortest usual step of a channel.
    fn window_ms(&self, place_of: &[Option<usize>], found: &mut Vec<String>) -> i64 {
        let times: HashSet<i64> = self.entries.iter().map(|entry| entry.ts_ms).collect();
        let channels = place_of.iter().flatten().count();
        if channels < 2 || 2 * self.entries.len() >= times.len() * channels {
            return 0;
        }
        let mut stamps = vec![Vec::new(); place_of.len()];
        for entry in &self.entries {
            stamps[entry.channel].push(entry.ts_ms);
        }
        let usual_step = |stamps: &Vec<i64>| {
            let mut steps: Vec<i64> = stamps.windows(2).map(|pair| pair[1] - pair[0]).collect();
            steps.sort_unstable();
            steps.get(steps.len() / 2).copied().filter(|step| *step > 0)
        };
        let window_ms = stamps.iter().filter_map(usual_step).min().unwrap_or(0) / 2;
        if window_ms > 0 {
            found.push(format!(
                "readings within {} s make a row",
                window_ms as f64 / 1000.0
            ));
        }
        window_ms
    }

    fn rows(
        &self,
        place_of: &[Option<usize>],
        width: usize,
        window_ms: i64,
        found: &mut Vec<String>,
    ) -> Vec<KeptRow> {
        let (mut rows, mut twice) = (Vec::<KeptRow>::new(), 0_u64);
        // Whether the row has a reading of a channel, missing ones included.
        let mut given = vec![false; width];
        for entry in &self.entries {
            let Some(place) = place_of[entry.channel] else {
                continue;
            };
            let begins = rows.last().is_none_or(|row| {
                entry.ts_ms - row.ts_ms > window_ms || (given[place] && entry.ts_ms > row.ts_ms)
            });
            if begins {
                given.fill(false);
                rows.push(KeptRow {
                    ts_ms: entry.ts_ms,
                    text: self.texts[entry.text].clone(),
                    values: vec![f64::NAN; width],
                });
            }
            if let Some(row) = rows.last_mut() {
                twice += u64::from(given[place]);
                given[place] = true;
                row.values[place] = entry.value;
            }
        }
        if twice > 0 {
            found.push(format!(
                "{twice} readings come again for the same time: the last counts"
            ));
        }
        rows
    }
}

impl LongChannel {
    /// Reads a cell; `None` where it is no value.
    fn read(&mut self, cell: &[u8], decimal: Decimal) -> Option<f64> {
        if self.unit.is_none() && parse_number(cell, decimal) == CellValue::Other {
            self.unit = number::split_unit(cell).map(|(_, unit)| unit.to_owned());
        }
        let reading = self
            .unit
            .clone()
            .map_or(CellReading::Truth, CellReading::Unit);
        let value = read_cell(cell, &reading, decimal, self.states.as_deref());
        match value {
            Some(value) => self.numbers += u64::from(!value.is_nan()),
            None => {
                self.others += 1;
                if self.texts.len() < 16 {
                    self.texts
                        .insert(String::from_utf8_lossy(cell).into_owned());
                }
            }
        }
        value
    }
}
