//! Stretches of time, and tables of them: known faults of a recording.

use std::path::Path;

use jiff::tz::TimeZone;
use serde::Serialize;

use super::sheet::Sheet;
use super::time::{RowClock, RowOrder, TimeFormat};
use super::{LayoutOptions, TableError, TableOptions};

/// A stretch of time, unix milliseconds, both ends within.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Stretch {
    /// First moment.
    pub start_ms: i64,
    /// Last moment.
    pub end_ms: i64,
}

impl Stretch {
    /// They have a moment in common.
    pub fn overlaps(&self, other: &Stretch) -> bool {
        self.start_ms <= other.end_ms && other.start_ms <= self.end_ms
    }
}

/// Reads a table of stretches of time, start and end in its first two columns of times; without an end
/// a stretch is a moment.
///
/// # Errors
/// If the file cannot be read, or a start is no time.
pub fn stretches_of(path: &Path, options: &TableOptions) -> Result<Vec<Stretch>, TableError> {
    let mut sheet = Sheet::open(path, &LayoutOptions::default())?;
    let mut rows = Vec::new();
    while let Some(row) = sheet.read_texts()? {
        rows.push(row);
    }
    let zone = options.timezone.clone().unwrap_or(TimeZone::UTC);
    let texts = |column: usize| -> Vec<&str> {
        let cells = rows.iter().filter_map(|(_, cells)| cells.get(column));
        cells
            .map(String::as_str)
            .filter(|text| !text.is_empty())
            .collect()
    };
    let times = (0..sheet.width()).filter_map(|i| Some((i, TimeFormat::of(&texts(i))?)));
    let times: Vec<(usize, TimeFormat)> = times.take(2).collect();
    let Some((start, format)) = times.first().cloned() else {
        return Err(TableError::Empty);
    };
    let mut clock = RowClock::new(format.clone(), zone, RowOrder::default());
    let mut all = Vec::new();
    for (line, cells) in &rows {
        let mut read = |column: usize| clock.read(cells.get(column).map_or("", String::as_str));
        let Some(start_ms) = read(start) else {
            return Err(TableError::Time {
                line: *line,
                column: sheet.names().map_or("1", |names| &names[start]).to_owned(),
                text: cells.get(start).cloned().unwrap_or_default(),
                expected: format.expected(),
            });
        };
        let end_ms = times
            .get(1)
            .and_then(|(end, _)| read(*end))
            .unwrap_or(start_ms);
        all.push(Stretch { start_ms, end_ms });
    }
    Ok(all)
}
