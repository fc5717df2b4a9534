//! Finds what the columns of a recording hold: times, row numbers, channels, texts.

use super::column::{CellReading, no_time, numbers_rows, place, reading, texts};
use super::layout::{Layout, Numbered};
use super::missing::MissingMarks;
use super::names::{ROW_NUMBER_NAMES, is_time_name, letters};
use super::number::Decimal;
use super::time::TimeFormat;
use super::time_column::{TimeColumn, find_time, zone_in};
use super::{TableError, TableOptions};
use crate::time::{DateOrder, civil};

/// A column of values.
#[derive(Clone, Debug)]
pub(super) struct ValueColumn {
    pub(super) column: usize,
    pub(super) name: String,
    pub(super) unit: String,
    pub(super) reading: CellReading,
    /// The mark within its numbers: the file's, or another where only that makes them numbers.
    pub(super) decimal: Decimal,
    /// Numbers that stand for a missing value.
    pub(super) missing: MissingMarks,
}

/// Contents of the columns.
#[derive(Debug)]
pub(super) struct TableColumns {
    pub(super) names: Vec<String>,
    pub(super) time: TimeColumn,
    pub(super) channels: Vec<ValueColumn>,
    /// Columns of texts that are left out.
    pub(super) texts: Vec<usize>,
    /// Names of the columns that are left out: texts, row numbers, other times.
    pub(super) ignored: Vec<String>,
    /// Findings, in words.
    pub(super) found: Vec<String>,
}

impl TableColumns {
    /// Judges the columns by the first rows.
    pub(super) fn of(layout: &Layout, options: &TableOptions) -> Result<TableColumns, TableError> {
        let mut found = Vec::new();
        let names = distinct_names(layout, &mut found);
        if names_are_times(&names) {
            return Err(TableError::Turned);
        }
        let find = |name: &String| place(&names, name);
        let ignore: Vec<usize> = options.ignore.iter().map(find).collect::<Result<_, _>>()?;
        let mut time = find_time(&names, layout, &ignore, options)?;
        if let Some(zone) = &options.timezone {
            time.zone = zone.clone();
        } else if time.format != TimeFormat::None
            && let Some(zone) = time
                .parts
                .iter()
                .find_map(|(column, _)| zone_in(&names[*column]))
        {
            found.push(format!("times of the zone that {:?} names", time.name));
            time.zone = zone;
        }
        if time.format == TimeFormat::OfDay {
            found.push(format!(
                "{:?} has times without a date: the first row's day counts as 1970-01-01",
                time.name
            ));
        }
        let mut columns = TableColumns {
            names,
            time,
            channels: Vec::new(),
            texts: Vec::new(),
            ignored: Vec::new(),
            found,
        };
        for column in 0..columns.names.len() {
            if !columns.time.has(column) && !ignore.contains(&column) {
                columns.judge(column, layout, options)?;
            }
        }
        Ok(columns)
    }

    /// The file has no time column.
    pub(super) fn time_format_is_none(&self) -> bool {
        self.time.format == TimeFormat::None
    }

    fn judge(
        &mut self,
        column: usize,
        layout: &Layout,
        options: &TableOptions,
    ) -> Result<(), TableError> {
        let (rows, name) = (&layout.rows, self.names[column].clone());
        let own_name = layout
            .names
            .as_ref()
            .is_some_and(|names| !names[column].is_empty());
        let has_time = self.time.format != TimeFormat::None;
        let unnamed = layout.names.is_none() && column == 0 && has_time;
        let may_number = ROW_NUMBER_NAMES.contains(&name.to_lowercase().as_str());
        let nameless = layout.names.is_some() && !own_name;
        if (may_number || unnamed || nameless) && numbers_rows(rows, column) {
            self.ignored.push("(row numbers)".to_owned());
            if own_name {
                let last = self.ignored.len() - 1;
                self.ignored[last] = format!("{name} (row numbers)");
            }
            return Ok(());
        }
        let empty = rows.iter().all(|(_, row)| row.get(column).is_empty());
        if !own_name && layout.names.is_some() && empty {
            return Ok(());
        }
        let states = options.states_of(&name).is_some();
        let other = match layout.decimal {
            Decimal::Point => Decimal::Comma,
            Decimal::Comma => Decimal::Point,
        };
        let by_mark = |decimal| reading(rows, column, decimal).map(|reading| (reading, decimal));
        let read = by_mark(layout.decimal).or_else(|| by_mark(other));
        match read {
            Some(_) if has_time && is_other_time(layout, column, &name) => {
                self.ignored.push(format!("{name} (another time)"));
            }
            read if read.is_some() || states => {
                let mut unit = layout.units.get(column).cloned().unwrap_or_default();
                let (reading, decimal) = read.unwrap_or((CellReading::Plain, layout.decimal));
                if let CellReading::Unit(in_cells) = &reading {
                    unit.clone_from(in_cells);
                    self.found.push(format!("{name} in {in_cells}"));
                }
                let missing = MissingMarks::of(options.missing.as_ref(), rows, column, decimal);
                self.channels.push(ValueColumn {
                    missing,
                    column,
                    name,
                    unit,
                    reading,
                    decimal,
                });
            }
            _ => self.judge_texts(column, rows, &name)?,
        }
        Ok(())
    }

    /// A column of texts is left out; one that is named like a time and is none stops the run.
    fn judge_texts(
        &mut self,
        column: usize,
        rows: &[Numbered],
        name: &str,
    ) -> Result<(), TableError> {
        let texts = texts(rows, column);
        let of_day = texts
            .iter()
            .filter(|text| civil::is_time_of_day(text))
            .count();
        if TimeFormat::of(&texts).is_some() || (of_day > 0 && 2 * of_day >= texts.len()) {
            let of_day = 2 * of_day >= texts.len();
            if is_time_name(name) && of_day && self.time.days_only {
                return Err(no_time(rows, column, name, &self.time.format));
            }
            self.ignored.push(format!("{name} (another time)"));
            return Ok(());
        }
        if is_time_name(name) && !texts.is_empty() {
            return Err(no_time(rows, column, name, &self.time.format));
        }
        self.texts.push(column);
        self.ignored.push(name.to_owned());
        Ok(())
    }
}

/// A column of numbers named like a time that are unix times or a spreadsheet's days.
fn is_other_time(layout: &Layout, column: usize, name: &str) -> bool {
    let mut texts = texts(&layout.rows, column);
    if layout.decimal == Decimal::Comma {
        texts
            .iter_mut()
            .for_each(|text| *text = text.replace(',', "."));
    }
    let is_time = |format: TimeFormat| format == TimeFormat::Days || format.is_plainly_unix(&texts);
    // Milliseconds of another epoch; T alone may be a temperature.
    let numbers: Vec<f64> = texts.iter().filter_map(|text| text.parse().ok()).collect();
    let back = numbers.windows(2).filter(|pair| pair[1] < pair[0]).count();
    let runs_on =
        letters(name).len() > 2 && numbers.first() != numbers.last() && 50 * back <= numbers.len();
    is_time_name(name) && (TimeFormat::of(&texts).is_some_and(is_time) || runs_on)
}

/// Most columns are named by a time: a row is a channel there.
fn names_are_times(names: &[String]) -> bool {
    let orders = [
        DateOrder::YearMonthDay,
        DateOrder::DayMonthYear,
        DateOrder::MonthDayYear,
    ];
    let is_time = |name: &&String| {
        name.contains([':', '-', '/', '.'])
            && orders
                .iter()
                .any(|order| civil::parse(name, *order).is_some())
    };
    let times = names.iter().filter(is_time).count();
    times > 2 && 2 * times > names.len()
}

/// The names, numbers for columns without one, and a number behind a name that comes again.
fn distinct_names(layout: &Layout, found: &mut Vec<String>) -> Vec<String> {
    let mut met = std::collections::HashMap::new();
    let mut twice = Vec::new();
    let mut names = Vec::new();
    for column in 0..layout.width {
        let own = layout
            .names
            .as_ref()
            .map_or("", |names| names[column].as_str());
        let mut name = if own.is_empty() && (column > 0 || layout.names.is_none()) {
            (column + 1).to_string()
        } else {
            own.to_owned()
        };
        let n = met.entry(name.clone()).or_insert(0);
        *n += 1;
        if *n > 1 {
            twice.push(name.clone());
            name = format!("{name} ({n})");
        }
        names.push(name);
    }
    twice.dedup();
    if !twice.is_empty() {
        found.push(format!(
            "numbered since they come again: {}",
            twice.join(", ")
        ));
    }
    names
}
