//! What the first rows of a recording say of it: separator, time column, channels.

use std::io;

use super::cells::{Cell, Decimal, TimeFormat, is_time_of_day, parse_number};
use super::table::{TableError, TableOptions};
use crate::engine::State;

/// Rows looked at to tell the time column and the columns of numbers.
const PROBE_ROWS: usize = 200;
/// Names that a time column usually has.
const TIME_NAMES: [&str; 7] = [
    "ts",
    "time",
    "timestamp",
    "datetime",
    "date",
    "date_time",
    "t",
];

/// The separator of the first row: the first of `;`, `,` and tab that stands outside quotes.
pub fn separator(text: &[u8]) -> Option<u8> {
    let mut quoted = false;
    let row = text.iter().take_while(|&&byte| {
        quoted ^= byte == b'"';
        quoted || byte != b'\n'
    });
    let mut quoted = false;
    let bare = row.filter(|&&byte| {
        quoted ^= byte == b'"';
        !quoted
    });
    let bare: Vec<u8> = bare.copied().collect();
    [b';', b',', b'\t'].into_iter().find(|c| bare.contains(c))
}

/// A field without the quotes that stand after a space, which no reader of RFC 4180 takes for quotes.
pub fn bare(cell: &str) -> &str {
    let inner = cell.strip_prefix('"').and_then(|c| c.strip_suffix('"'));
    inner.unwrap_or(cell)
}

/// Where the times stand, and how they are written.
pub(super) struct TimeColumn {
    pub(super) name: String,
    pub(super) format: TimeFormat,
    /// What else the days could be, see [`TimeFormat::doubt`].
    pub(super) doubt: Option<String>,
    column: usize,
    /// The column of the times of day, where the days stand alone.
    of_day: Option<usize>,
}

impl TimeColumn {
    /// Puts the time that stands in a row behind `text`.
    pub(super) fn write(&self, row: &csv::ByteRecord, text: &mut String) {
        for (place, column) in std::iter::once(self.column).chain(self.of_day).enumerate() {
            if place > 0 {
                text.push(' ');
            }
            let cell = row.get(column).unwrap_or_default().trim_ascii();
            match std::str::from_utf8(cell) {
                Ok(cell) => text.push_str(cell),
                Err(_) => text.push_str(&String::from_utf8_lossy(cell)),
            }
        }
    }
}

/// What the first rows say of a file.
pub(super) struct Probe {
    pub(super) separator: u8,
    pub(super) time: TimeColumn,
    pub(super) decimal: Decimal,
    pub(super) columns: Vec<usize>,
    pub(super) channels: Vec<String>,
    pub(super) states: Vec<Option<Vec<State>>>,
    pub(super) ignored: Vec<String>,
}

impl Probe {
    pub(super) fn of(
        mut input: impl io::Read,
        options: &TableOptions,
    ) -> Result<Probe, TableError> {
        let mut head = vec![0; 1 << 18];
        let mut filled = 0;
        while filled < head.len() {
            match input.read(&mut head[filled..])? {
                0 => break,
                n => filled += n,
            }
        }
        head.truncate(filled);
        let separator = separator(&head).unwrap_or(b',');
        let mut reader = csv::ReaderBuilder::new()
            .delimiter(separator)
            .flexible(true)
            .from_reader(&head[..]);
        let names: Vec<String> = reader
            .byte_headers()?
            .iter()
            .map(|h| {
                let name = String::from_utf8_lossy(h);
                bare(name.trim_start_matches('\u{feff}').trim()).to_owned()
            })
            .collect();
        // The last row of the probe may be cut in the middle; a short file ends cleanly.
        let mut rows: Vec<csv::ByteRecord> = reader
            .byte_records()
            .take(PROBE_ROWS)
            .collect::<Result<_, _>>()?;
        if filled == 1 << 18 && rows.len() < PROBE_ROWS {
            rows.pop();
        }
        Probe::judge(separator, names, &rows, options)
    }

    fn judge(
        separator: u8,
        names: Vec<String>,
        rows: &[csv::ByteRecord],
        options: &TableOptions,
    ) -> Result<Probe, TableError> {
        let present = names.join(", ");
        let find = |name: &String| {
            let found = names.iter().position(|n| n == name);
            found.ok_or_else(|| TableError::NoColumn {
                name: name.clone(),
                present: present.clone(),
            })
        };
        let ignore: Vec<usize> = options.ignore.iter().map(find).collect::<Result<_, _>>()?;
        let named = options.time.as_ref().map(find).transpose()?;
        let time = find_time(&names, rows, (named, options.time_format.as_deref()));
        let cells = rows.iter().flat_map(|row| row.iter());
        let decimal = match separator {
            b',' => Decimal::Point,
            _ => Decimal::of(cells),
        };
        let (mut columns, mut ignored) = (Vec::new(), Vec::new());
        for (column, name) in names.iter().enumerate() {
            let is_time = time.format != TimeFormat::None
                && (column == time.column || Some(column) == time.of_day);
            if is_time || ignore.contains(&column) {
                continue;
            }
            if name.is_empty() && numbers_rows(rows, column) {
                ignored.push("(row numbers)".to_owned());
            } else if holds_numbers(rows, column, decimal) || options.states_of(name).is_some() {
                columns.push(column);
            } else {
                ignored.push(name.clone());
            }
        }
        let states = |&column: &usize| options.states_of(&names[column]).is_some();
        let no_number = |column: &usize| numbers(rows, *column, decimal).0 == 0;
        let nothing = columns.iter().all(no_number) && !columns.iter().any(states);
        if nothing && (columns.is_empty() || rows.len() < PROBE_ROWS) {
            return Err(TableError::NoChannels(present));
        }
        let mut met = std::collections::HashSet::new();
        if let Some(&twice) = columns.iter().find(|&&column| !met.insert(&names[column])) {
            return Err(TableError::Twice(names[twice].clone()));
        }
        let channels: Vec<String> = columns.iter().map(|&c| names[c].clone()).collect();
        let states = channels.iter().map(|name| options.states_of(name));
        let states = states.collect();
        Ok(Probe {
            separator,
            time,
            decimal,
            columns,
            channels,
            states,
            ignored,
        })
    }
}

fn find_time(
    names: &[String],
    rows: &[csv::ByteRecord],
    (named, pattern): (Option<usize>, Option<&str>),
) -> TimeColumn {
    let known = |column: &usize| {
        let is = |known: &&str| names[*column].eq_ignore_ascii_case(known);
        TIME_NAMES.iter().any(is)
    };
    let all = || 0..names.len();
    let by_name = || {
        all()
            .filter(known)
            .find_map(|column| read_as_time(rows, column, pattern))
    };
    let numbered = names.first().is_some_and(String::is_empty) && numbers_rows(rows, 0);
    let by_content = || {
        let mut found = all().filter_map(|column| read_as_time(rows, column, pattern));
        found.find(|(time, samples)| match time.format {
            TimeFormat::Unix(_) => {
                time.column == usize::from(numbered) && time.format.is_plainly_unix(samples)
            }
            _ => true,
        })
    };
    let found = match named {
        Some(column) => read_as_time(rows, column, pattern),
        None => by_name().or_else(by_content),
    };
    let found = found.map(|(time, _)| time);
    // A column that was asked for is read as one of times whatever stands there: its rows say what is wrong.
    let asked = pattern.map_or(TimeFormat::Civil, |pattern| {
        TimeFormat::Pattern(pattern.to_owned())
    });
    let wanted = named.is_some() || pattern.is_some();
    let mut time = found.unwrap_or(TimeColumn {
        name: String::new(),
        format: if wanted { asked } else { TimeFormat::None },
        doubt: None,
        column: named.or_else(|| all().find(known)).unwrap_or(0),
        of_day: None,
    });
    time.name = names.get(time.column).cloned().unwrap_or_default();
    time
}

/// A column taken as one of times, by the pattern if one is given, joined with one of times of
/// day where it has days alone, and its times in the first rows; `None` if it holds other things.
fn read_as_time(
    rows: &[csv::ByteRecord],
    column: usize,
    pattern: Option<&str>,
) -> Option<(TimeColumn, Vec<String>)> {
    let samples = |time: &TimeColumn| -> Vec<String> {
        let texts = rows.iter().map(|row| {
            let mut text = String::new();
            time.write(row, &mut text);
            text
        });
        texts.filter(|text| !text.trim().is_empty()).collect()
    };
    let judged = |of_day: Option<usize>| {
        let mut time = TimeColumn {
            name: String::new(),
            format: TimeFormat::None,
            doubt: None,
            column,
            of_day,
        };
        let samples = samples(&time);
        time.format = match pattern {
            Some(pattern) => TimeFormat::Pattern(pattern.to_owned()).that_fits(&samples)?,
            None => TimeFormat::of(&samples)?,
        };
        time.doubt = time.format.doubt(&samples).filter(|_| pattern.is_none());
        Some((time, samples))
    };
    let alone = judged(None);
    let days = |(time, samples): &(TimeColumn, Vec<String>)| {
        !matches!(time.format, TimeFormat::Unix(_)) && !samples.iter().any(|s| s.contains(':'))
    };
    if alone.as_ref().is_some_and(|found| !days(found)) {
        return alone;
    }
    let cells = |column: usize| {
        rows.iter()
            .filter_map(move |row| std::str::from_utf8(row.get(column)?).ok())
    };
    let width = rows.first().map_or(0, csv::ByteRecord::len);
    let of_day = (0..width)
        .find(|&other| other != column && cells(other).all(|cell| is_time_of_day(cell.trim())));
    of_day.and_then(|of_day| judged(Some(of_day))).or(alone)
}

/// It counts the rows up, one by one.
fn numbers_rows(rows: &[csv::ByteRecord], column: usize) -> bool {
    let number = |row: &csv::ByteRecord| match parse_number(row.get(column)?, Decimal::Point) {
        Cell::Number(x) => Some(x),
        _ => None,
    };
    let first = rows.first().and_then(number);
    let mut each = rows.iter().enumerate();
    first.is_some_and(|first| each.all(|(i, row)| number(row) == Some(first + i as f64)))
}

/// Cells of a column that hold numbers, and that hold other things.
fn numbers(rows: &[csv::ByteRecord], column: usize, decimal: Decimal) -> (usize, usize) {
    let cells = rows.iter().map(|row| row.get(column).unwrap_or_default());
    cells.fold((0, 0), |(numbers, others), cell| {
        match parse_number(cell, decimal) {
            Cell::Number(_) => (numbers + 1, others),
            Cell::Missing => (numbers, others),
            Cell::Other => (numbers, others + 1),
        }
    })
}

fn holds_numbers(rows: &[csv::ByteRecord], column: usize, decimal: Decimal) -> bool {
    let (numbers, others) = numbers(rows, column, decimal);
    // A column that is empty at first may fill later: it is a channel that is missing.
    others == 0 || numbers > others
}
