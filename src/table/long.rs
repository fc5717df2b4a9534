//! Recordings with a line a reading: finds the columns that name the channel and puts the readings
//! of one time into one row.

use std::collections::{BTreeSet, HashMap, HashSet};

use super::column::{CellReading, place};
use super::columns::TableColumns;
use super::layout::Layout;
use super::missing::{MarkCount, MissingMarks, UsualRange};
use super::number::{self, CellValue, Decimal, parse_number};
use super::record::TableRecord;
use super::time_column::TimeColumn;
use super::value::{KeptRow, read_cell};
use super::{TableError, TableOptions, TableShape};
use crate::engine::State;

/// Names of columns that name a channel, in small letters and digits.
const NAME_WORDS: [&str; 34] = [
    "sensor",
    "sensorid",
    "sensorname",
    "name",
    "series",
    "seriesname",
    "metric",
    "metricname",
    "entity",
    "entityid",
    "channel",
    "channelname",
    "tag",
    "tagname",
    "variable",
    "parameter",
    "topic",
    "device",
    "deviceid",
    "field",
    "point",
    "pointname",
    "item",
    "itemname",
    "key",
    "signal",
    "statisticid",
    "measurement",
    "quantity",
    "kanal",
    "messstelle",
    "bezeichnung",
    "id",
    "node",
];
/// Names of columns that hold the values then.
const VALUE_WORDS: [&str; 10] = [
    "value", "state", "reading", "val", "wert", "messwert", "mean", "result", "valor", "v",
];

/// Channels of one recording; beyond that a column names something else.
const MAX_NAMES: usize = 2000;
/// Share of readings that may come twice for one time and name.
const MAX_TWICE: f64 = 0.02;

/// A line a reading.
#[derive(Debug)]
pub(super) struct Long {
    /// Columns whose texts together name the channel.
    names: Vec<usize>,
    /// Columns of values: with more than one, their names are part of the channel's.
    values: Vec<usize>,
    /// Columns of numbers that say something about the name.
    left_out: Vec<usize>,
}

fn word(name: &str) -> String {
    name.chars()
        .filter(|c| c.is_alphanumeric())
        .flat_map(char::to_lowercase)
        .collect()
}

/// Finds whether a file has a line a reading; `None` where it has a column a channel.
pub(super) fn find(
    layout: &Layout,
    columns: &TableColumns,
    options: &TableOptions,
) -> Result<Option<Long>, TableError> {
    match &options.shape {
        TableShape::Wide => return Ok(None),
        TableShape::Long { names, value } => {
            let find = |name: &String| place(&columns.names, name);
            let names = names.iter().map(find).collect::<Result<_, _>>()?;
            return Ok(Some(Long {
                names,
                values: vec![find(value)?],
                left_out: Vec::new(),
            }));
        }
        TableShape::Found => {}
    }
    if columns.time_format_is_none() {
        return Ok(None);
    }
    if let Some(flux) = of_flux(columns) {
        return Ok(Some(flux));
    }
    Ok(by_repeated_times(layout, columns)
        .or_else(|| by_names(columns))
        .or_else(|| by_turns(layout, columns)))
}

/// A column called as one that names a channel, whose few texts or whole numbers take turns from row to
/// row, while each row has a time of its own.
fn by_turns(layout: &Layout, columns: &TableColumns) -> Option<Long> {
    let rows = &layout.rows;
    let takes_turns = |&column: &usize| {
        let cells = || rows.iter().map(|(_, record)| record.get(column));
        let distinct = cells().collect::<HashSet<_>>().len();
        let changes = cells().zip(cells().skip(1)).filter(|(a, b)| a != b).count();
        let few = distinct > 1 && 4 * distinct <= rows.len();
        few && 2 * changes >= rows.len() && cells().all(|cell| !cell.is_empty())
    };
    let is_named = |column: &usize| NAME_WORDS.contains(&word(&columns.names[*column]).as_str());
    let numbered = columns.channels.iter().map(|channel| channel.column);
    let numbered = numbered.filter(|&column| holds_integers(layout, column));
    let mut candidates = columns
        .texts
        .iter()
        .copied()
        .chain(numbered)
        .filter(is_named);
    let name = candidates.find(takes_turns)?;
    let values = columns.channels.iter().map(|channel| channel.column);
    let values: Vec<usize> = values.filter(|column| *column != name).collect();
    (!values.is_empty()).then(|| Long {
        names: vec![name],
        values,
        left_out: Vec::new(),
    })
}

fn holds_integers(layout: &Layout, column: usize) -> bool {
    let whole = |cell: &[u8]| matches!(parse_number(cell, layout.decimal), CellValue::Number(x) if x.fract() == 0.0);
    layout
        .rows
        .iter()
        .all(|(_, record)| whole(record.get(column)))
}

/// InfluxDB's tables: `_field`, the measurement and the tags name a channel.
fn of_flux(columns: &TableColumns) -> Option<Long> {
    let find = |name: &str| columns.names.iter().position(|known| known == name);
    let (value, field) = (find("_value")?, find("_field")?);
    let tags = columns.texts.iter().copied().filter(|&column| {
        let name = columns.names[column].as_str();
        !name.starts_with('_') && !matches!(name, "result" | "table")
    });
    let names = tags.chain(find("_measurement")).chain([field]).collect();
    Some(Long {
        names,
        values: vec![value],
        left_out: Vec::new(),
    })
}

/// Times repeat, and a column of texts (or two) tells the readings of one time apart.
fn by_repeated_times(layout: &Layout, columns: &TableColumns) -> Option<Long> {
    let rows = &layout.rows;
    let time_of = |record: &TableRecord| {
        let mut text = String::new();
        columns.time.write(record, &mut text);
        text
    };
    let times: Vec<String> = rows.iter().map(|(_, record)| time_of(record)).collect();
    let distinct = times.iter().collect::<HashSet<_>>().len();
    if rows.len() < 4 || 3 * distinct > 2 * rows.len() {
        return None;
    }
    let twice = |names: &[usize]| {
        let keys = rows.iter().zip(&times).map(|((_, record), time)| {
            let names: Vec<&[u8]> = names.iter().map(|&column| record.get(column)).collect();
            (time, names)
        });
        rows.len() - keys.collect::<HashSet<_>>().len()
    };
    let few = |names: &&Vec<usize>| twice(names) as f64 <= MAX_TWICE * rows.len() as f64;
    let numbered = columns
        .channels
        .iter()
        .map(|channel| channel.column)
        .filter(|&column| {
            NAME_WORDS.contains(&word(&columns.names[column]).as_str())
                && holds_integers(layout, column)
        });
    let candidates: Vec<usize> = columns.texts.iter().copied().chain(numbered).collect();
    let single = candidates.iter().map(|&column| vec![column]);
    let pairs = candidates
        .iter()
        .enumerate()
        .flat_map(|(i, &a)| candidates[i + 1..].iter().map(move |&b| vec![a, b]));
    let sets: Vec<Vec<usize>> = single.chain(pairs).collect();
    let names = sets.iter().find(few)?.clone();
    let values = columns.channels.iter().map(|channel| channel.column);
    let mut values: Vec<usize> = values.filter(|column| !names.contains(column)).collect();
    let mut left_out = Vec::new();
    // Beside a column called the value, what never changes for a name says something about the name.
    if let Some(value) = value_by_name(columns).filter(|value| values.contains(value)) {
        let changes = |column: usize| {
            let mut first = HashMap::new();
            rows.iter().any(|(_, record)| {
                let key: Vec<&[u8]> = names.iter().map(|&name| record.get(name)).collect();
                let cell = record.get(column);
                !cell.is_empty() && *first.entry(key).or_insert(cell) != cell
            })
        };
        let says_nothing = |&mut column: &mut usize| column != value && !changes(column);
        left_out.extend(values.extract_if(.., says_nothing));
    }
    let values = if values.is_empty() {
        vec![value_by_name(columns)?]
    } else {
        values
    };
    Some(Long {
        names,
        values,
        left_out,
    })
}

/// Columns that are called as such: `entity_id,state,last_changed`, whether times repeat or not.
fn by_names(columns: &TableColumns) -> Option<Long> {
    let name = columns
        .texts
        .iter()
        .copied()
        .find(|&column| NAME_WORDS.contains(&word(&columns.names[column]).as_str()))?;
    let value = value_by_name(columns)?;
    let alone = columns
        .channels
        .iter()
        .all(|channel| channel.column == value);
    (alone && name != value).then(|| Long {
        names: vec![name],
        values: vec![value],
        left_out: Vec::new(),
    })
}

fn value_by_name(columns: &TableColumns) -> Option<usize> {
    let is = |name: &String| {
        let word = word(name);
        VALUE_WORDS.contains(&word.as_str()) || word.ends_with("value") || word.ends_with("wert")
    };
    columns.names.iter().position(is)
}

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
