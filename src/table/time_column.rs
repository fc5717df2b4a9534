//! Finds where the times of a recording stand, in one column or in several.

use std::cell::LazyCell;

use jiff::tz::TimeZone;

use super::column::{no_time, numbers_rows, place, texts};
use super::layout::{Layout, Numbered};
use super::names::{PARTS, is_time_name, letters};
use super::number::{CellValue, Decimal, parse_number};
use super::record::{Separator, TableRecord};
use super::time::TimeFormat;
use super::{TableError, TableOptions};
use crate::time::{DateOrder, civil};

/// Where the times stand, and how they are written.
#[derive(Clone, Debug)]
pub(super) struct TimeColumn {
    pub(super) name: String,
    pub(super) format: TimeFormat,
    pub(super) zone: TimeZone,
    /// How else the days could be read, see [`TimeFormat::doubt`].
    pub(super) doubt: Option<&'static str>,
    /// The rows run from new to old.
    pub(super) newest_first: bool,
    /// It has days without a time of day.
    pub(super) days_only: bool,
    /// Columns whose cells make up a time, and what stands before each.
    pub(super) parts: Vec<(usize, &'static str)>,
    /// Stands behind them, to make an hour a time of day.
    behind: &'static str,
}

impl TimeColumn {
    fn none() -> TimeColumn {
        TimeColumn {
            name: String::new(),
            format: TimeFormat::None,
            zone: TimeZone::UTC,
            doubt: None,
            newest_first: false,
            days_only: false,
            parts: Vec::new(),
            behind: "",
        }
    }

    /// A column of times alone, for which only the place counts.
    pub(super) fn at(column: usize) -> TimeColumn {
        TimeColumn {
            parts: vec![(column, "")],
            ..TimeColumn::none()
        }
    }

    /// Puts the time that stands in a row behind `text`.
    pub(super) fn write(&self, row: &TableRecord, text: &mut String) {
        for (column, before) in &self.parts {
            text.push_str(before);
            text.push_str(row.text(*column).trim());
        }
        if !text.is_empty() {
            text.push_str(self.behind);
        }
    }

    fn samples(&self, rows: &[Numbered]) -> Vec<String> {
        let texts = rows.iter().map(|(_, row)| {
            let mut text = String::new();
            self.write(row, &mut text);
            text
        });
        texts.filter(|text| !text.trim().is_empty()).collect()
    }

    pub(super) fn has(&self, column: usize) -> bool {
        self.parts.iter().any(|(part, _)| *part == column)
    }
}

/// The zone that the name of a column has in it: `Date Time, GMT-05:00`, `Europe/Berlin (+01:00)`.
pub(super) fn zone_in(name: &str) -> Option<TimeZone> {
    for word in name
        .split([' ', ',', '(', ')', '[', ']'])
        .filter(|word| !word.is_empty())
    {
        if word.contains('/')
            && let Ok(zone) = TimeZone::get(word)
        {
            return Some(zone);
        }
        let offset = word
            .strip_prefix("GMT")
            .or_else(|| word.strip_prefix("UTC"));
        if let Some(offset) = offset.filter(|offset| offset.starts_with(['+', '-'])) {
            let civil = civil::parse(
                &format!("2000-01-01 00:00{offset}"),
                DateOrder::YearMonthDay,
            )?;
            return Some(TimeZone::fixed(
                jiff::tz::Offset::from_seconds(civil.offset_s?).ok()?,
            ));
        }
    }
    None
}

pub(super) fn find_time(
    names: &[String],
    layout: &Layout,
    ignore: &[usize],
    options: &TableOptions,
) -> Result<TimeColumn, TableError> {
    let rows = &layout.rows;
    let pattern = options.time_format.as_deref();
    // Where commas are decimal, which a semicolon hints at, days are written before months.
    let day_first = layout.decimal == Decimal::Comma || layout.separator == Separator::Byte(b';');
    let named = options
        .time
        .as_ref()
        .map(|name| place(names, name))
        .transpose()?;
    let all = || (0..names.len()).filter(|column| !ignore.contains(column));
    // Once for all columns: with thousands of them, each beside each other takes seconds.
    let of_day: OfDay<'_> = LazyCell::new(Box::new(|| {
        let beside = names.iter().enumerate().filter_map(|(column, name)| {
            let behind = beside_days(name, &texts(rows, column))?;
            Some(TimeOfDay { column, behind })
        });
        beside.collect()
    }));
    let read = |column: usize| read_as_time(names, rows, column, pattern, day_first, &of_day);
    let known = |column: &usize| is_time_name(&names[*column]);
    let found = match named {
        Some(column) => read(column),
        None => all()
            .filter(known)
            .find_map(read)
            .or_else(|| date_in_parts(names, rows))
            .or_else(|| {
                all().filter_map(read).find(|(time, samples)| {
                    let first = time.parts[0].0;
                    let leads = first == 0 || (first == 1 && numbers_rows(rows, 0));
                    match time.format {
                        TimeFormat::Unix(_) => leads && time.format.is_plainly_unix(samples),
                        TimeFormat::Days => false,
                        // A number that only looks like a day: an address, a version.
                        _ => {
                            samples.first() != samples.last()
                                || samples.iter().any(|text| text.parse::<f64>().is_err())
                        }
                    }
                })
            }),
    };
    if let Some((time, _)) = found {
        return Ok(time);
    }
    let leads = |column: &usize| known(column) || *column == 0;
    let alone = match named {
        Some(column) => times_of_day(names, rows, column),
        None => all()
            .filter(leads)
            .find_map(|column| times_of_day(names, rows, column)),
    };
    if let Some(time) = alone.filter(|_| pattern.is_none()) {
        return Ok(time);
    }
    // A column that is named like a time, or was asked for, must be one.
    let texts_there = |column: &usize| {
        texts(rows, *column)
            .iter()
            .any(|text| parse_number(text.as_bytes(), Decimal::Point) == CellValue::Other)
    };
    let wanted = named.or_else(|| all().filter(known).find(texts_there));
    let wanted = wanted.or_else(|| pattern.and_then(|_| all().find(|column| texts_there(column))));
    match wanted {
        Some(column) if !texts(rows, column).is_empty() => {
            let format = pattern.map_or(TimeFormat::None, |p| TimeFormat::Pattern(p.to_owned()));
            Err(no_time(rows, column, &names[column], &format))
        }
        _ => Ok(TimeColumn::none()),
    }
}

/// A column of times of day, or of hours and what makes those times of day.
struct TimeOfDay {
    column: usize,
    behind: &'static str,
}

/// The columns of times of day, found when they are first asked for.
type OfDay<'a> = LazyCell<Vec<TimeOfDay>, Box<dyn FnOnce() -> Vec<TimeOfDay> + 'a>>;

/// A column taken as one of times, by the pattern if one is given, joined with one of times of
/// day where it has days alone, and its times in the first rows; `None` if it holds other things.
fn read_as_time(
    names: &[String],
    rows: &[Numbered],
    column: usize,
    pattern: Option<&str>,
    day_first: bool,
    of_day: &OfDay<'_>,
) -> Option<(TimeColumn, Vec<String>)> {
    let judged = |of_day: Option<&TimeOfDay>| {
        let parts = of_day.map(|of_day| (of_day.column, " "));
        let mut time = TimeColumn {
            name: names[column].clone(),
            parts: std::iter::once((column, "")).chain(parts).collect(),
            behind: of_day.map_or("", |of_day| of_day.behind),
            ..TimeColumn::none()
        };
        let samples = time.samples(rows);
        time.format = match pattern {
            Some(pattern) => TimeFormat::Pattern(pattern.to_owned()).that_fits(&samples)?,
            None => TimeFormat::found(&samples, day_first)?.in_unit_of(&names[column], &samples),
        };
        // Small numbers that run both ways are readings: T is a temperature.
        if matches!(time.format, TimeFormat::Unix(_))
            && !time.format.is_plainly_unix(&samples)
            && !time.format.runs_one_way(&samples)
        {
            return None;
        }
        time.doubt = time.format.doubt(&samples).filter(|_| pattern.is_none());
        time.newest_first = runs_back(&time.format, &samples);
        Some((time, samples))
    };
    let alone = judged(None);
    let days = |(time, samples): &(TimeColumn, Vec<String>)| {
        let midnight = |text: &String| {
            time.format
                .utc_ms(text)
                .is_none_or(|ms| ms % 86_400_000 == 0)
        };
        !matches!(time.format, TimeFormat::Unix(_) | TimeFormat::Days)
            && samples
                .iter()
                .all(|text| midnight(text) && !text.contains(':'))
    };
    if alone.as_ref().is_some_and(|found| !days(found)) {
        return alone;
    }
    let of_day = of_day.iter().find(|other| other.column != column);
    let alone = alone.map(|(mut time, samples)| {
        time.days_only = true;
        (time, samples)
    });
    of_day.and_then(|of_day| judged(Some(of_day))).or(alone)
}

/// Whether a column holds the times of day beside one of days, or their hours, and what makes such an
/// hour a time of day.
fn beside_days(name: &str, cells: &[String]) -> Option<&'static str> {
    let most = |fits: &dyn Fn(&String) -> bool| {
        let good = cells.iter().filter(|cell| fits(cell)).count();
        good > 0 && 2 * good >= cells.len()
    };
    let hour = |cell: &String| cell.parse::<u8>().is_ok_and(|hour| hour <= 24);
    let all = |fits: &dyn Fn(&String) -> bool| !cells.is_empty() && cells.iter().all(fits);
    if most(&|cell| civil::is_time_of_day(cell))
        || (is_time_name(name) && all(&|cell| civil::is_hour_and_minute(cell)))
    {
        return Some("");
    }
    let is_hour = PARTS[3].contains(&letters(name).as_str()) || letters(name) == "hourofday";
    (is_hour && all(&hour)).then_some(":00")
}

/// A column of times of day alone, or of spans since the start.
fn times_of_day(names: &[String], rows: &[Numbered], column: usize) -> Option<TimeColumn> {
    let mut time = TimeColumn {
        name: names[column].clone(),
        ..TimeColumn::at(column)
    };
    let samples = time.samples(rows);
    time.format = TimeFormat::OfDay.that_fits(&samples)?;
    time.newest_first = runs_back(&time.format, &samples);
    Some(time)
}

/// Year, month, day and further parts in columns of their own.
fn date_in_parts(names: &[String], rows: &[Numbered]) -> Option<(TimeColumn, Vec<String>)> {
    let before = ["", "-", "-", " ", ":", ":"];
    let mut columns: Vec<usize> = Vec::new();
    for part in PARTS {
        let is_part = |name: &String| {
            let name = name.trim().trim_start_matches('#').to_lowercase();
            part.contains(&name.as_str())
        };
        let mut fitting = (0..names.len()).filter(|column| is_part(&names[*column]));
        match fitting.find(|column| !columns.contains(column)) {
            Some(column) => columns.push(column),
            None => break,
        }
    }
    if columns.len() < 3 {
        return None;
    }
    let parts = columns.iter().copied().zip(before).collect();
    let mut time = TimeColumn {
        name: names[columns[0]].clone(),
        parts,
        ..TimeColumn::none()
    };
    // An hour alone is no time of day: the pattern says what it is.
    let pattern = [
        "%Y-%m-%d",
        "%Y-%m-%d %H",
        "%Y-%m-%d %H:%M",
        "%Y-%m-%d %H:%M:%S",
    ];
    time.format = TimeFormat::Pattern(pattern[columns.len() - 3].to_owned());
    let samples = time.samples(rows);
    time.format = time.format.that_fits(&samples)?;
    time.newest_first = runs_back(&time.format, &samples);
    Some((time, samples))
}

/// The times never run forward, over three rows or more.
fn runs_back(format: &TimeFormat, samples: &[String]) -> bool {
    let ms: Vec<i64> = samples
        .iter()
        .filter_map(|text| format.utc_ms(text))
        .collect();
    ms.len() > 2 && ms.first() > ms.last() && ms.iter().rev().is_sorted()
}
