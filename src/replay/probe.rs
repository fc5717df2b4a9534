//! What the first rows of a recording say of it: separator, time column, channels.

use std::io;

use super::table::{Cell, TableError, TableOptions, TimeFormat, parse_number, parse_time};
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

/// How a column's times are written, judged by samples from it; `None` if they are no times.
fn time_format(samples: &[&str]) -> Option<TimeFormat> {
    let samples: Vec<&str> = samples
        .iter()
        .map(|s| s.trim())
        .filter(|s| !s.is_empty())
        .collect();
    let first = samples.first()?;
    let format = match first.parse::<f64>() {
        // Milliseconds since about 1973, microseconds, nanoseconds; else seconds.
        Ok(x) if x.abs() >= 1e17 => TimeFormat::Unix(1e-6),
        Ok(x) if x.abs() >= 1e14 => TimeFormat::Unix(1e-3),
        Ok(x) if x.abs() >= 1e11 => TimeFormat::Unix(1.0),
        Ok(_) => TimeFormat::Unix(1000.0),
        Err(_) => TimeFormat::Civil,
    };
    samples
        .iter()
        .all(|s| parse_time(s, format).is_some())
        .then_some(format)
}

/// What the first rows say of a file.
pub(super) struct Probe {
    pub(super) separator: u8,
    pub(super) time_column: usize,
    pub(super) time_name: String,
    pub(super) format: TimeFormat,
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
        let (time_column, format) = find_time(&names, rows, named);
        let (mut columns, mut ignored) = (Vec::new(), Vec::new());
        for (column, name) in names.iter().enumerate() {
            let is_time = format != TimeFormat::None && column == time_column;
            if is_time || ignore.contains(&column) {
                continue;
            }
            if holds_numbers(rows, column) || options.states_of(name).is_some() {
                columns.push(column)
            } else {
                ignored.push(name.clone())
            }
        }
        if columns.is_empty() {
            return Err(TableError::NoChannels(present));
        }
        let channels: Vec<String> = columns.iter().map(|&c| names[c].clone()).collect();
        let states = channels.iter().map(|name| options.states_of(name));
        let states = states.collect();
        let time_name = names.get(time_column).cloned().unwrap_or_default();
        Ok(Probe {
            separator,
            time_column,
            time_name,
            format,
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
    named: Option<usize>,
) -> (usize, TimeFormat) {
    let samples = |column: usize| -> Vec<&str> {
        rows.iter()
            .filter_map(|r| std::str::from_utf8(r.get(column)?).ok())
            .collect()
    };
    if let Some(column) = named {
        return (
            column,
            time_format(&samples(column)).unwrap_or(TimeFormat::Civil),
        );
    }
    let by_name = names
        .iter()
        .position(|name| {
            TIME_NAMES
                .iter()
                .any(|known| name.eq_ignore_ascii_case(known))
        })
        .and_then(|column| Some((column, time_format(&samples(column))?)));
    let by_content = || {
        (0..names.len()).find_map(|column| {
            let format = time_format(&samples(column))?;
            (format == TimeFormat::Civil).then_some((column, format))
        })
    };
    by_name.or_else(by_content).unwrap_or((0, TimeFormat::None))
}

fn holds_numbers(rows: &[csv::ByteRecord], column: usize) -> bool {
    let (mut numbers, mut others) = (0, 0);
    for row in rows {
        match parse_number(row.get(column).unwrap_or_default()) {
            Cell::Number(_) => numbers += 1,
            Cell::Missing => {}
            Cell::Other => others += 1,
        }
    }
    // A column that is empty at first may fill later: it is a channel that is missing.
    others == 0 || numbers > others
}
