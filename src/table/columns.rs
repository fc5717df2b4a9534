//! Finds what the columns of a recording hold: times, row numbers, channels, texts.

use jiff::tz::TimeZone;

use super::layout::{Layout, Numbered};
use super::number::{self, Cell, Decimal, parse_number};
use super::record::{Record, Separator};
use super::time::TimeFormat;
use super::{TableError, TableOptions};
use crate::time::{DateOrder, civil};

/// Names that a time column usually has, in small letters without anything but letters.
const TIME_NAMES: [&str; 79] = [
    "ts",
    "time",
    "timestamp",
    "datetime",
    "date",
    "t",
    "zeit",
    "uhrzeit",
    "datum",
    "zeitstempel",
    "zeitpunkt",
    "datumzeit",
    "datumuhrzeit",
    "datumunduhrzeit",
    "tijd",
    "fecha",
    "hora",
    "fechahora",
    "heure",
    "dateheure",
    "horodatage",
    "dataora",
    "tid",
    "when",
    "utc",
    "timeutc",
    "utctime",
    "dateutc",
    "datetimeutc",
    "utcdatetime",
    "timestamputc",
    "utctimestamp",
    "localtime",
    "timelocal",
    "eventtime",
    "sampletime",
    "recordedat",
    "measuredat",
    "createdat",
    "readingtime",
    "timeofday",
    "lastchanged",
    "lastupdated",
    "dateandtime",
    "stamp",
    "messdatum",
    "messzeit",
    "timestring",
    "zeitpunktutc",
    "elapsed",
    "elapsedtime",
    "seconds",
    "sec",
    "times",
    "timems",
    "timeus",
    "timens",
    "timesec",
    "timeseconds",
    "observationtime",
    "obstime",
    "validtime",
    "datetimelocal",
    "fechayhora",
    "datahora",
    "dataeora",
    "tidpunkt",
    "tidspunkt",
    "dato",
    "datumtijd",
    "czas",
    "aika",
    "время",
    "дата",
    "датаивремя",
    "时间",
    "日期",
    "日時",
    "時刻",
];

/// Names that row numbers usually have, in small letters.
const ROW_NUMBER_NAMES: [&str; 17] = [
    "",
    "#",
    "record",
    "recno",
    "index",
    "idx",
    "row",
    "rownumber",
    "row number",
    "no",
    "no.",
    "nr",
    "nr.",
    "lfd. nr.",
    "unnamed: 0",
    "id",
    "sample",
];

/// Names of parts of a date that stand in columns of their own, in this order: `mm` is the minute where
/// another is the month.
const PARTS: [&[&str]; 6] = [
    &[
        "year", "yyyy", "yy", "yr", "jahr", "année", "annee", "año", "ano", "anno", "jaar", "år",
    ],
    &[
        "month", "mm", "mo", "mon", "monat", "mois", "mes", "mese", "maand", "månad",
    ],
    &[
        "day", "dd", "dy", "tag", "jour", "dia", "día", "giorno", "dag",
    ],
    &[
        "hour", "hh", "hr", "stunde", "heure", "hora", "ora", "uur", "timme",
    ],
    &[
        "minute", "min", "mi", "mn", "mm", "minuto", "minuut", "minut",
    ],
    &[
        "second", "sec", "ss", "sekunde", "seconde", "segundo", "secondo",
    ],
];

/// The letters of a name, in small ones, without what stands in brackets.
fn letters(name: &str) -> String {
    let bare = name.split(['(', '[', ',']).next().unwrap_or(name);
    bare.chars()
        .filter(|c| c.is_alphabetic())
        .flat_map(char::to_lowercase)
        .collect()
}

/// The name is one that time columns have.
pub(super) fn is_time_name(name: &str) -> bool {
    TIME_NAMES.contains(&letters(name).as_str())
}

/// The zone that the name of a column has in it: `Date Time, GMT-05:00`, `Europe/Berlin (+01:00)`.
fn zone_in(name: &str) -> Option<TimeZone> {
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
    days_only: bool,
    /// Columns whose cells make up a time, and what stands before each.
    parts: Vec<(usize, &'static str)>,
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
    pub(super) fn write(&self, row: &Record, text: &mut String) {
        for (column, before) in &self.parts {
            text.push_str(before);
            text.push_str(row.text(*column).trim());
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

    fn has(&self, column: usize) -> bool {
        self.parts.iter().any(|(part, _)| *part == column)
    }
}

/// How the cells of a channel are read.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Reading {
    /// Numbers.
    Plain,
    /// Numbers with this unit behind them.
    Unit(String),
    /// `true` and `false`, read as 1 and 0.
    Truth,
}

/// A column of values.
#[derive(Clone, Debug)]
pub(super) struct Channel {
    pub(super) column: usize,
    pub(super) name: String,
    pub(super) unit: String,
    pub(super) reading: Reading,
}

/// Contents of the columns.
#[derive(Debug)]
pub(super) struct Columns {
    pub(super) names: Vec<String>,
    pub(super) time: TimeColumn,
    pub(super) channels: Vec<Channel>,
    /// Columns of texts that are left out.
    pub(super) texts: Vec<usize>,
    /// Names of the columns that are left out: texts, row numbers, other times.
    pub(super) ignored: Vec<String>,
    /// Findings, in words.
    pub(super) found: Vec<String>,
}

impl Columns {
    /// Judges the columns by the first rows.
    pub(super) fn of(layout: &Layout, options: &TableOptions) -> Result<Columns, TableError> {
        let mut found = Vec::new();
        let names = distinct_names(layout, &mut found);
        let find = |name: &String| place(&names, name);
        let ignore: Vec<usize> = options.ignore.iter().map(find).collect::<Result<_, _>>()?;
        let mut time = find_time(&names, layout, (&ignore, options))?;
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
        let mut columns = Columns {
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
        match reading(rows, column, layout.decimal) {
            Some(_) if has_time && is_other_time(layout, column, &name) => {
                self.ignored.push(format!("{name} (another time)"));
            }
            reading if reading.is_some() || states => {
                let mut unit = layout.units.get(column).cloned().unwrap_or_default();
                if let Some(Reading::Unit(in_cells)) = &reading {
                    unit.clone_from(in_cells);
                    self.found.push(format!("{name} in {in_cells}"));
                }
                let reading = reading.unwrap_or(Reading::Plain);
                self.channels.push(Channel {
                    column,
                    name,
                    unit,
                    reading,
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
    is_time_name(name) && TimeFormat::of(&texts).is_some_and(is_time)
}

fn no_time(rows: &[Numbered], column: usize, name: &str, format: &TimeFormat) -> TableError {
    let first = rows.iter().find(|(_, row)| !row.get(column).is_empty());
    let (line, text) = first.map_or((0, String::new()), |(line, row)| {
        (*line, row.text(column).chars().take(60).collect())
    });
    TableError::Time {
        line,
        column: name.to_owned(),
        text,
        expected: format.expected(),
    }
}

/// The place of a column by its name.
pub(super) fn place(names: &[String], name: &str) -> Result<usize, TableError> {
    let exact = names.iter().position(|n| n == name);
    let found = exact.or_else(|| names.iter().position(|n| n.trim() == name.trim()));
    found.ok_or_else(|| TableError::NoColumn {
        name: name.to_owned(),
        present: names.join(", "),
    })
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

fn texts(rows: &[Numbered], column: usize) -> Vec<String> {
    let texts = rows
        .iter()
        .map(|(_, row)| row.text(column).trim().to_owned());
    texts.filter(|text| !text.is_empty()).collect()
}

fn find_time(
    names: &[String],
    layout: &Layout,
    (ignore, options): (&[usize], &TableOptions),
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
    let read = |column: usize| read_as_time(names, rows, column, (pattern, day_first));
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
    // A column that is named like a time, or was asked for, must be one.
    let texts_there = |column: &usize| {
        texts(rows, *column)
            .iter()
            .any(|text| parse_number(text.as_bytes(), Decimal::Point) == Cell::Other)
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

/// A column taken as one of times, by the pattern if one is given, joined with one of times of
/// day where it has days alone, and its times in the first rows; `None` if it holds other things.
fn read_as_time(
    names: &[String],
    rows: &[Numbered],
    column: usize,
    (pattern, day_first): (Option<&str>, bool),
) -> Option<(TimeColumn, Vec<String>)> {
    let judged = |of_day: Option<usize>| {
        let parts = std::iter::once((column, "")).chain(of_day.map(|column| (column, " ")));
        let mut time = TimeColumn {
            name: names[column].clone(),
            parts: parts.collect(),
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
    let of_day = (0..names.len()).find(|&other| {
        let cells = texts(rows, other);
        let good = cells
            .iter()
            .filter(|cell| civil::is_time_of_day(cell))
            .count();
        other != column && good > 0 && 2 * good >= cells.len()
    });
    let alone = alone.map(|(mut time, samples)| {
        time.days_only = true;
        (time, samples)
    });
    of_day.and_then(|of_day| judged(Some(of_day))).or(alone)
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

/// It counts the rows up, most of them one by one.
fn numbers_rows(rows: &[Numbered], column: usize) -> bool {
    let number = |(_, row): &Numbered| match parse_number(row.get(column), Decimal::Point) {
        Cell::Number(x) if x.fract() == 0.0 => Some(x),
        _ => None,
    };
    let Some(numbers) = rows.iter().map(number).collect::<Option<Vec<f64>>>() else {
        return false;
    };
    let by_one = numbers
        .windows(2)
        .filter(|pair| (pair[1] - pair[0]).abs() == 1.0)
        .count();
    let one_way = numbers.is_sorted() || numbers.iter().rev().is_sorted();
    numbers.len() > 1 && one_way && 10 * by_one >= 9 * (numbers.len() - 1)
}

/// How a column's cells are read as numbers; `None` where most are no numbers.
pub(super) fn reading(rows: &[Numbered], column: usize, decimal: Decimal) -> Option<Reading> {
    let cells = || rows.iter().map(|(_, row)| row.get(column));
    let (mut numbers, mut others, mut truths) = (0, 0, 0);
    for cell in cells() {
        match parse_number(cell, decimal) {
            Cell::Number(_) => numbers += 1,
            Cell::Missing => {}
            Cell::Other => {
                others += 1;
                truths += usize::from(truth(cell).is_some());
            }
        }
    }
    if others == 0 || numbers > others {
        // A column that is empty at first may fill later: it is a channel that is missing.
        return Some(Reading::Plain);
    }
    if truths == others && numbers == 0 {
        return Some(Reading::Truth);
    }
    let base = cells().find_map(number::split_unit)?.1.to_owned();
    let with_unit = |cell: &[u8]| number::parse_with_unit(cell, decimal, &base);
    let good = cells()
        .filter(|cell| matches!(with_unit(cell), Cell::Number(_)))
        .count();
    let bad = cells()
        .filter(|cell| with_unit(cell) == Cell::Other)
        .count();
    (good > bad).then_some(Reading::Unit(base))
}

/// 1 for `true`, 0 for `false`.
pub(super) fn truth(cell: &[u8]) -> Option<f64> {
    if cell.eq_ignore_ascii_case(b"true") {
        Some(1.0)
    } else if cell.eq_ignore_ascii_case(b"false") {
        Some(0.0)
    } else {
        None
    }
}
