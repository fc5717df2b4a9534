//! Recordings with a line a reading: finds the columns that name the channel.

use std::collections::{HashMap, HashSet};

use super::column::place;
use super::columns::TableColumns;
use super::layout::Layout;
use super::number::{CellValue, parse_number};
use super::record::TableRecord;
use super::{TableError, TableOptions, TableShape};

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

/// Share of readings that may come twice for one time and name.
const MAX_TWICE: f64 = 0.02;

/// A line a reading.
#[derive(Debug)]
pub(super) struct Long {
    /// Columns whose texts together name the channel.
    pub(super) names: Vec<usize>,
    /// Columns of values: with more than one, their names are part of the channel's.
    pub(super) values: Vec<usize>,
    /// Columns of numbers that say something about the name.
    pub(super) left_out: Vec<usize>,
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
