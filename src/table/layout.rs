//! Finds separator, header lines and decimal mark of a file by its first lines.

use std::io::{BufRead, Read};

use super::names::is_time_name;
use super::number::{self, CellValue, Decimal, parse_number};
use super::record::{Lines, Separator, Splitter, TableRecord};
use super::{Header, LayoutOptions, TableError};
use crate::time::{DateOrder, civil};

/// Bytes of a file's text that are looked at.
const HEAD_BYTES: u64 = 1 << 18;
/// Records looked at.
const HEAD_RECORDS: usize = 2000;
/// Records at the end of those that say what columns hold: the header lies before them.
const BODY_RECORDS: usize = 200;
/// Separators in the order in which they are preferred.
const SEPARATORS: [u8; 4] = [b';', b'\t', b',', b'|'];

/// The beginning of a file.
pub(super) struct FileHead {
    pub(super) text: Vec<u8>,
    end: u8,
    /// The text ends within the file.
    cut: bool,
}

/// A record with its line, from 1.
pub(super) type Numbered = (u64, TableRecord);

/// How a file is laid out.
#[derive(Debug)]
pub(super) struct Layout {
    pub(super) separator: Separator,
    pub(super) end: u8,
    pub(super) decimal: Decimal,
    /// Names of the columns; `None` where the file has none.
    pub(super) names: Option<Vec<String>>,
    /// Units of the columns, where a row below the names has them.
    pub(super) units: Vec<String>,
    /// Fields of a row.
    pub(super) width: usize,
    /// First line of data, from 1.
    pub(super) first_line: u64,
    /// InfluxDB's annotated CSV.
    pub(super) annotated: bool,
    /// Rows of the head.
    pub(super) rows: Vec<Numbered>,
    /// Findings, in words.
    pub(super) found: Vec<String>,
}

impl FileHead {
    /// Takes the first bytes of `text`.
    pub(super) fn read(text: &mut dyn BufRead) -> Result<FileHead, TableError> {
        let mut head = Vec::new();
        text.take(HEAD_BYTES).read_to_end(&mut head)?;
        let end = if head.contains(&b'\n') || !head.contains(&b'\r') {
            b'\n'
        } else {
            b'\r'
        };
        Ok(FileHead {
            cut: head.len() as u64 == HEAD_BYTES,
            text: head,
            end,
        })
    }

    /// Records of the head by a separator; one that the end cuts is left out.
    fn records(&self, separator: Separator) -> Result<Vec<Numbered>, TableError> {
        let mut lines = Lines::new(Box::new(&self.text[..]), separator, self.end);
        let mut splitter = Splitter::new(separator);
        let (mut line, mut records) = (Vec::new(), Vec::new());
        while records.len() < HEAD_RECORDS
            && let Some(at) = lines.read(&mut line)?
        {
            let mut record = TableRecord::default();
            splitter.split(&line, &mut record);
            records.push((at, record));
        }
        if self.cut && records.len() < HEAD_RECORDS && records.len() > 1 {
            records.pop();
        }
        Ok(records)
    }
}

/// Shape of a cell.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Missing,
    Number,
    Time,
    Text,
}

fn look(cell: &[u8]) -> Look {
    let number = |cell: &[u8]| {
        let marks = [Decimal::Point, Decimal::Comma];
        marks
            .iter()
            .find_map(|decimal| match parse_number(cell, *decimal) {
                CellValue::Other => None,
                CellValue::Missing => Some(Look::Missing),
                CellValue::Number(_) => Some(Look::Number),
            })
    };
    if let Some(look) = number(cell) {
        return look;
    }
    let text = String::from_utf8_lossy(cell);
    let orders = [
        DateOrder::YearMonthDay,
        DateOrder::DayMonthYear,
        DateOrder::MonthDayYear,
    ];
    let is_time = text.len() <= 48
        && (orders
            .iter()
            .any(|order| civil::parse(&text, *order).is_some())
            || civil::is_time_of_day(&text));
    if is_time {
        return Look::Time;
    }
    match number::split_unit(cell) {
        Some((digits, _)) if number(digits.as_bytes()) == Some(Look::Number) => Look::Number,
        _ => Look::Text,
    }
}

impl Layout {
    /// Finds the layout of a file by its head.
    pub(super) fn of(head: &FileHead, options: &LayoutOptions) -> Result<Layout, TableError> {
        let mut found = Vec::new();
        let announced = announced_separator(&head.text);
        let (separator, mut records) = match options.separator.or(announced) {
            Some(separator) => (separator, head.records(separator)?),
            None => best_separator(head)?,
        };
        if announced.is_some() {
            found.push("line 1 names the separator".to_owned());
            records.remove(0);
        }
        let annotated = records
            .first()
            .is_some_and(|(_, record)| is_annotation(record));
        records
            .retain(|(_, record)| record.filled_len() > 0 && !(annotated && is_annotation(record)));
        let width = usual_width(&records);
        let header = find_header(&records, width, options.header)?;
        let (names, units) = names_of(&records, &header, width, &mut found);
        let first = header.data;
        let first_line = match records.get(first) {
            Some((line, _)) => *line,
            None => records.last().map_or(1, |(line, _)| line + 1),
        };
        if annotated {
            found.push("InfluxDB's annotated CSV".to_owned());
        }
        let rows: Vec<Numbered> = records.split_off(first.min(records.len()));
        let decimal = options.decimal.unwrap_or_else(|| {
            let cells = rows.iter().flat_map(|(_, row)| row.iter());
            Decimal::of(cells, separator == Separator::Byte(b','))
        });
        if decimal == Decimal::Comma && separator == Separator::Byte(b',') {
            found.push("decimal comma".to_owned());
        }
        Ok(Layout {
            separator,
            end: head.end,
            decimal,
            names,
            units,
            width,
            first_line,
            annotated,
            rows,
            found,
        })
    }

    /// A line that is no row: blank, without a filled cell, a comment or an annotation.
    pub(super) fn passes_over(&self, record: &TableRecord) -> bool {
        let filled = record.filled_len();
        filled == 0 || (record.get(0).starts_with(b"#") && (self.annotated || filled != self.width))
    }
}

/// `sep=;` in the first line, as spreadsheets write it.
fn announced_separator(head: &[u8]) -> Option<Separator> {
    let line = head.split(|byte| matches!(byte, b'\n' | b'\r')).next()?;
    let line = number::bare(line.trim_ascii());
    let named = line
        .strip_prefix(b"sep=")
        .or_else(|| line.strip_prefix(b"SEP="))?;
    match named {
        [separator] => Some(Separator::Byte(*separator)),
        [] if head.starts_with(b"sep=\t") => Some(Separator::Byte(b'\t')),
        b"\\t" => Some(Separator::Byte(b'\t')),
        _ => None,
    }
}

fn is_annotation(record: &TableRecord) -> bool {
    matches!(record.get(0), b"#group" | b"#datatype" | b"#default")
}

/// The separator that cuts the lines into the same number of fields, and the fields into numbers and
/// times; white space where none does.
fn best_separator(head: &FileHead) -> Result<(Separator, Vec<Numbered>), TableError> {
    let mut best: Option<(f64, Separator, Vec<Numbered>)> = None;
    for byte in SEPARATORS {
        if !head.text.contains(&byte) {
            continue;
        }
        let separator = Separator::Byte(byte);
        let records = head.records(separator)?;
        let score = score(&records);
        if score > 0.0 && best.as_ref().is_none_or(|(most, _, _)| score > *most) {
            best = Some((score, separator, records));
        }
    }
    if let Some((_, separator, records)) = best {
        return Ok((separator, records));
    }
    Ok((Separator::Blanks, head.records(Separator::Blanks)?))
}

/// Share of lines with the usual number of fields times the share of fields there that are numbers,
/// times or empty; 0 for one field a line.
fn score(records: &[Numbered]) -> f64 {
    let filled: Vec<&TableRecord> = records
        .iter()
        .map(|(_, record)| record)
        .filter(|record| record.filled_len() > 0)
        .collect();
    let width = usual_width(records);
    if width < 2 {
        return 0.0;
    }
    let usual: Vec<&&TableRecord> = filled
        .iter()
        .filter(|record| record.len() == width)
        .collect();
    let body = &usual[usual.len() / 2..];
    let body = &body[body.len().saturating_sub(20)..];
    let cells = body.iter().flat_map(|record| record.iter());
    let (mut known, mut all) = (1.0, 1.0);
    for cell in cells {
        all += 1.0;
        known += f64::from(u8::from(look(cell) != Look::Text));
    }
    usual.len() as f64 / filled.len() as f64 * known / all
}

/// The number of fields that most lines have; of two the larger.
fn usual_width(records: &[Numbered]) -> usize {
    let mut counts = std::collections::BTreeMap::new();
    for (_, record) in records.iter().filter(|(_, record)| record.filled_len() > 0) {
        *counts.entry(record.len()).or_insert(0_usize) += 1;
    }
    let most = counts.iter().max_by_key(|(width, n)| (**n, **width));
    most.map_or(0, |(width, _)| *width)
}

/// Where names and data stand among the records.
struct HeaderPlace {
    /// Records with names, joined where there are several.
    names: std::ops::Range<usize>,
    /// First record of data.
    data: usize,
}

/// The usual look of each column, by the last records of the head.
fn body_looks(records: &[Numbered], width: usize) -> Vec<Look> {
    let usual: Vec<&TableRecord> = records
        .iter()
        .map(|(_, record)| record)
        .filter(|record| record.len() == width)
        .collect();
    let body = &usual[(usual.len() / 2).max(usual.len().saturating_sub(BODY_RECORDS))..];
    let of = |column: usize| {
        let mut counts = [0_usize; 4];
        for record in body {
            counts[look(record.get(column)) as usize] += 1;
        }
        let [missing, numbers, times, texts] = counts;
        if numbers + times + texts == 0 && missing > 0 {
            Look::Missing
        } else if times > 0 && times >= numbers && times >= texts {
            Look::Time
        } else if numbers > 0 && numbers >= texts {
            Look::Number
        } else {
            Look::Text
        }
    };
    (0..width).map(of).collect()
}

/// The record has what the columns usually hold: its times are times, and at least half of its
/// numbers are numbers.
fn is_data(record: &TableRecord, looks: &[Look]) -> bool {
    if record.len() < looks.len() / 2 + 1 {
        return false;
    }
    let (mut right, mut wrong) = (0, 0);
    for (column, usual) in looks.iter().enumerate() {
        match (usual, look(record.get(column))) {
            (Look::Time, Look::Text | Look::Number) => return false,
            (Look::Number, Look::Text | Look::Time) => wrong += 1,
            (Look::Time, Look::Time) | (Look::Number, Look::Number) => right += 1,
            _ => {}
        }
    }
    right > 0 && right >= wrong
}

fn find_header(
    records: &[Numbered],
    width: usize,
    header: Header,
) -> Result<HeaderPlace, TableError> {
    let looks = body_looks(records, width);
    let data_from = |from: usize| {
        let rows = records.iter().enumerate().skip(from);
        rows.filter(|(_, (_, record))| is_data(record, &looks))
            .map(|(i, _)| i)
            .next()
    };
    match header {
        Header::Line(line) => {
            let Some(names) = records.iter().position(|(at, _)| *at == line) else {
                let lines = records.last().map_or(0, |(at, _)| *at);
                return Err(TableError::NoHeader { line, lines });
            };
            let data = data_from(names + 1).unwrap_or(names + 1);
            return Ok(HeaderPlace {
                names: names..names + 1,
                data,
            });
        }
        Header::None => {
            return Ok(HeaderPlace {
                names: 0..0,
                data: data_from(0).unwrap_or(0),
            });
        }
        Header::Found => {}
    }
    let Some(data) = data_from(0) else {
        // Texts alone: the first full line is the header.
        let names = records
            .iter()
            .position(|(_, record)| record.len() == width)
            .unwrap_or(0);
        let end = (names + 1).min(records.len());
        return Ok(HeaderPlace {
            names: names..end,
            data: end,
        });
    };
    // A line of names has a name above most columns; one that begins with # may be a comment.
    // Separators at the ends of rows make columns that nothing is in.
    let filled = looks.iter().rposition(|look| *look != Look::Missing);
    let used = filled.map_or(width, |last| last + 1);
    let wide =
        |record: &TableRecord| 2 * record.filled_len() > used && record.filled_len() <= width;
    let above: Vec<usize> = (0..data)
        .filter(|&i| wide(&records[i].1) && !is_station_line(&records[i].1))
        .collect();
    let distinct = |rows: &std::ops::Range<usize>| {
        let names = (0..width).map(|column| joined(&records[rows.clone()], column));
        let mut met = std::collections::HashSet::new();
        names
            .filter(|name| !name.is_empty())
            .all(|name| met.insert(name))
    };
    let names_a_time = |rows: &std::ops::Range<usize>| {
        (0..width).any(|column| is_time_name(&joined(&records[rows.clone()], column)))
    };
    let single = above.iter().map(|&i| i..i + 1);
    let (Some(&first), Some(&last)) = (above.first(), above.last()) else {
        return Ok(HeaderPlace {
            names: data..data,
            data,
        });
    };
    // Where devices stand above the names of their sensors, both make a name.
    let names = single
        .filter(|rows| names_a_time(rows))
        .find(|rows| distinct(rows))
        .or_else(|| {
            (first..=last)
                .map(|end| first..end + 1)
                .find(|rows| distinct(rows))
        })
        .unwrap_or(first..first + 1);
    // Rows of units are as wide as the names; a narrow line below them is one that cannot be read.
    let below = names.end..data;
    let data = below
        .clone()
        .find(|&i| !wide(&records[i].1))
        .unwrap_or(data);
    Ok(HeaderPlace { names, data })
}

/// The first line of Campbell Scientific's files: format, station, logger, program.
fn is_station_line(record: &TableRecord) -> bool {
    matches!(record.get(0), b"TOA5" | b"TOACI1" | b"TOB1")
}

fn names_of(
    records: &[Numbered],
    header: &HeaderPlace,
    width: usize,
    found: &mut Vec<String>,
) -> (Option<Vec<String>>, Vec<String>) {
    let shown = |i: usize| records.get(i).map_or(0, |(line, _)| *line);
    if header.names.is_empty() {
        found.push("no header: columns are named 1, 2 and so on".to_owned());
        return (None, Vec::new());
    }
    if header.names.start > 0 || shown(header.names.start) > 1 {
        found.push(format!("names in line {}", shown(header.names.start)));
    }
    let rows = &records[header.names.clone()];
    let mut names: Vec<String> = (0..width).map(|column| joined(rows, column)).collect();
    if let Some(first) = names.first_mut()
        && let Some(name) = first.strip_prefix('#')
        && !name.trim().is_empty()
    {
        *first = name.trim().to_owned();
    }
    // A header without a name above the row numbers, as R writes it.
    let one_short = rows.len() == 1 && rows[0].1.len() + 1 == width;
    let mut body = records[header.data.min(records.len())..].iter();
    // A separator too many at the end of each row is none.
    let last_is_filled = body.any(|(_, row)| !row.get(width - 1).is_empty());
    if one_short
        && last_is_filled
        && records
            .get(header.data)
            .is_some_and(|(_, row)| row.len() == width)
    {
        names.rotate_right(1);
    }
    let below = header.names.end..header.data;
    let mut units = Vec::new();
    if !below.is_empty() {
        let rows = &records[below.clone()];
        let text = |record: &TableRecord| {
            let cells = record.iter().filter(|cell| !cell.is_empty()).take(4);
            let cells: Vec<String> = cells
                .map(|cell| String::from_utf8_lossy(cell).into_owned())
                .collect();
            cells.join(" ")
        };
        let texts: Vec<String> = rows.iter().map(|(_, record)| text(record)).collect();
        found.push(format!(
            "passed over below the names: {}",
            texts.join(" / ")
        ));
        units = (0..width)
            .map(|column| rows[0].1.text(column).into_owned())
            .collect();
    }
    (Some(names), units)
}

/// The texts above a column, each once.
fn joined(rows: &[Numbered], column: usize) -> String {
    let mut parts: Vec<String> = Vec::new();
    for (_, row) in rows {
        let text = row.text(column).trim().to_owned();
        if !text.is_empty() && !parts.contains(&text) {
            parts.push(text);
        }
    }
    parts.join(" ")
}
