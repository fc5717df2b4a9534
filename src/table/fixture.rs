//! A table of readings, written in any form and read again: for the tests of this room.

use super::{TableError, TableOptions, WideTable};
use crate::row::Row;

/// Midnight of 2026-03-01, UTC.
pub(super) const MIDNIGHT_MS: i64 = 1_772_323_200_000;
/// First row of the table: two hours before the next midnight.
pub(super) const START_MS: i64 = MIDNIGHT_MS + 22 * 3_600_000;
/// A row a minute.
pub(super) const STEP_MS: i64 = 60_000;
/// Rows of the table.
pub(super) const ROWS: usize = 240;

/// All that a table says of a recording.
pub(super) struct TableContents {
    pub(super) channels: Vec<String>,
    pub(super) rows: Vec<(i64, Vec<f64>)>,
    pub(super) found: String,
    pub(super) ignored: Vec<String>,
    /// Columns of texts, and how many texts each has.
    pub(super) texts: Vec<(String, usize)>,
    /// Marks that were taken as missing, in words.
    pub(super) marks: Option<String>,
    pub(super) lines_left_out: u64,
}

/// Reads a recording to its end.
pub(super) fn read(bytes: &[u8], options: &TableOptions) -> Result<TableContents, TableError> {
    let mut table = WideTable::of(bytes, options)?;
    let mut row = Row {
        ts_ms: 0,
        arrival_ms: 0,
        values: vec![0.0; table.channels().len()],
        held: Vec::new(),
    };
    let mut rows = Vec::new();
    while table.read(&mut row)? {
        rows.push((row.ts_ms, row.values.clone()));
    }
    let texts = table.texts();
    Ok(TableContents {
        channels: table.channels().to_vec(),
        rows,
        found: table.found().join("; "),
        ignored: table.ignored().to_vec(),
        texts: texts
            .map(|(name, texts)| (name.to_owned(), texts.len()))
            .collect(),
        marks: table.marks(),
        lines_left_out: table.unreadable_lines().map_or(0, |(lines, _)| lines),
    })
}

pub(super) fn read_text(text: &str) -> TableContents {
    read(text.as_bytes(), &TableOptions::default()).unwrap_or_else(|e| panic!("{e}: {text:.300}"))
}

pub(super) fn refusal(text: &str, options: &TableOptions) -> String {
    read(text.as_bytes(), options)
        .err()
        .expect("refused")
        .to_string()
}

/// Temperature, pressure and humidity of a row, in hundredths.
pub(super) fn values(i: usize) -> [f64; 3] {
    let angle = i as f64 / 20.0;
    let hundredths = |x: f64| (x * 100.0).round() / 100.0;
    let noise = ((i * 7919) % 13) as f64 / 50.0;
    [
        hundredths(20.0 + 2.0 * angle.sin() + noise),
        hundredths(1013.0 + angle.cos() - noise),
        hundredths(52.0 + 4.0 * (angle / 3.0).sin() + noise),
    ]
}

/// A time of the table by a pattern of strftime, in a zone.
pub(super) fn at(i: usize, pattern: &str, zone: &str) -> String {
    let stamp = jiff::Timestamp::from_millisecond(START_MS + STEP_MS * i as i64).unwrap();
    stamp.in_tz(zone).unwrap().strftime(pattern).to_string()
}

/// The table with a line a row: times by a pattern, values with `decimal`, parted by `separator`.
pub(super) fn lines(pattern: &str, separator: &str, decimal: &str) -> Vec<String> {
    let line = |i: usize| {
        let cells = values(i).map(|x| format!("{x:.2}").replace('.', decimal));
        let time = at(i, pattern, "UTC").replace('|', separator);
        format!("{time}{separator}{}", cells.join(separator))
    };
    (0..ROWS).map(line).collect()
}

pub(super) fn check(read: &TableContents, names: [&str; 3]) {
    assert_eq!(read.channels, names);
    assert_eq!(read.rows.len(), ROWS);
    for (i, (ts_ms, row)) in read.rows.iter().enumerate() {
        assert_eq!(*ts_ms, START_MS + STEP_MS * i as i64, "row {i}");
        assert_eq!(row, &values(i), "row {i}");
    }
}

pub(super) const NAMES: [&str; 3] = ["temp", "pres", "hum"];
pub(super) const ISO: &str = "%Y-%m-%d %H:%M:%S";

pub(super) fn plain() -> String {
    format!("time,temp,pres,hum\n{}\n", lines(ISO, ",", ".").join("\n"))
}

/// A line a reading, rows in turn.
pub(super) fn long(header: &str, line: impl Fn(usize, &str, f64) -> String) -> String {
    let rows = (0..ROWS).flat_map(|i| {
        let line = &line;
        values(i)
            .into_iter()
            .zip(NAMES)
            .map(move |(x, name)| line(i, name, x))
            .collect::<Vec<_>>()
    });
    format!("{header}\n{}\n", rows.collect::<Vec<_>>().join("\n"))
}
