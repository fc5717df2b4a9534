//! Lines of a text file as records: quoted fields may hold line breaks, a quote that is never closed
//! spoils its own line only.

use std::collections::VecDeque;
use std::io::{self, BufRead};

use super::number::bare;

/// Lines that one quoted field may span; beyond that the quote is taken as a character.
const MAX_JOINED_LINES: usize = 64;
/// Longest line, bytes: a longer one is no line of a table.
const MAX_LINE: u64 = 1 << 24;

/// How a line is cut into fields.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Separator {
    /// One byte; fields may be quoted as RFC 4180 has it.
    Byte(u8),
    /// Any white space.
    Blanks,
}

/// Reads records of one or more physical lines.
pub(super) struct Lines<'a> {
    input: Box<dyn BufRead + 'a>,
    separator: Separator,
    end: u8,
    pending: VecDeque<Vec<u8>>,
    line: u64,
}

impl<'a> Lines<'a> {
    /// `end` is the byte that ends a line.
    pub(super) fn new(input: Box<dyn BufRead + 'a>, separator: Separator, end: u8) -> Lines<'a> {
        Lines {
            input,
            separator,
            end,
            pending: VecDeque::new(),
            line: 0,
        }
    }

    /// Reads the next record's text into `text`; its first line, from 1, or `None` at the end.
    pub(super) fn read(&mut self, text: &mut Vec<u8>) -> io::Result<Option<u64>> {
        text.clear();
        if !self.physical(text)? {
            return Ok(None);
        }
        self.line += 1;
        let first = self.line;
        let Separator::Byte(separator) = self.separator else {
            return Ok(Some(first));
        };
        let mut place = place_after(FieldPlace::Start, text, separator);
        if place != FieldPlace::Quoted {
            return Ok(Some(first));
        }
        let alone = text.len();
        let mut joined = Vec::new();
        while joined.len() < MAX_JOINED_LINES {
            let mut next = Vec::new();
            if !self.physical(&mut next)? {
                break;
            }
            text.push(b'\n');
            text.extend_from_slice(&next);
            // The line break leaves the place as it is.
            place = place_after(place, &next, separator);
            joined.push(next);
            if place != FieldPlace::Quoted {
                self.line += joined.len() as u64;
                return Ok(Some(first));
            }
        }
        text.truncate(alone);
        for line in joined.into_iter().rev() {
            self.pending.push_front(line);
        }
        Ok(Some(first))
    }

    fn physical(&mut self, text: &mut Vec<u8>) -> io::Result<bool> {
        if let Some(line) = self.pending.pop_front() {
            text.extend_from_slice(&line);
            return Ok(true);
        }
        let mut input = io::Read::take(&mut self.input, MAX_LINE);
        if input.read_until(self.end, text)? == 0 {
            return Ok(false);
        }
        while matches!(text.last(), Some(b'\n' | b'\r')) {
            text.pop();
        }
        Ok(true)
    }
}

/// Where in a field a line ends that begins at `place`.
fn place_after(mut place: FieldPlace, line: &[u8], separator: u8) -> FieldPlace {
    if !line.contains(&b'"') {
        return match place {
            FieldPlace::Quoted => FieldPlace::Quoted,
            _ => FieldPlace::Bare,
        };
    }
    for &byte in line {
        place = match (place, byte) {
            (FieldPlace::Start, b'"') | (FieldPlace::QuoteInQuotes, b'"') => FieldPlace::Quoted,
            (FieldPlace::Quoted, b'"') => FieldPlace::QuoteInQuotes,
            (FieldPlace::Quoted, _) => FieldPlace::Quoted,
            (_, byte) if byte == separator => FieldPlace::Start,
            _ => FieldPlace::Bare,
        };
    }
    place
}

/// Where in a field a byte stands.
#[derive(Clone, Copy, PartialEq)]
enum FieldPlace {
    Start,
    Bare,
    Quoted,
    QuoteInQuotes,
}

/// The fields of one record.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct TableRecord {
    bytes: Vec<u8>,
    ends: Vec<usize>,
}

impl TableRecord {
    /// Number of fields.
    pub(super) fn len(&self) -> usize {
        self.ends.len()
    }

    /// A field without blanks and quotes around it; empty where there is none.
    pub(super) fn get(&self, field: usize) -> &[u8] {
        let Some(&end) = self.ends.get(field) else {
            return &[];
        };
        let start = field.checked_sub(1).map_or(0, |before| self.ends[before]);
        bare(self.bytes[start..end].trim_ascii())
    }

    /// The same as text.
    pub(super) fn text(&self, field: usize) -> std::borrow::Cow<'_, str> {
        String::from_utf8_lossy(self.get(field))
    }

    /// All fields.
    pub(super) fn iter(&self) -> impl Iterator<Item = &[u8]> {
        (0..self.len()).map(|field| self.get(field))
    }

    /// Fields up to the last that holds something.
    pub(super) fn filled_len(&self) -> usize {
        let last = (0..self.len()).rev().find(|&i| !self.get(i).is_empty());
        last.map_or(0, |last| last + 1)
    }
}

/// Cuts records into fields.
pub(super) struct Splitter {
    separator: Separator,
    reader: csv_core::Reader,
}

impl Splitter {
    pub(super) fn new(separator: Separator) -> Splitter {
        let delimiter = match separator {
            Separator::Byte(byte) => byte,
            Separator::Blanks => b' ',
        };
        Splitter {
            separator,
            reader: csv_core::ReaderBuilder::new().delimiter(delimiter).build(),
        }
    }

    /// Cuts a line, with the line breaks that quoted fields have, into `record`.
    pub(super) fn split(&mut self, line: &[u8], record: &mut TableRecord) {
        record.ends.clear();
        if self.separator == Separator::Blanks {
            record.bytes.clear();
            let fields = line.split(u8::is_ascii_whitespace);
            for field in fields.filter(|field| !field.is_empty()) {
                record.bytes.extend_from_slice(field);
                record.ends.push(record.bytes.len());
            }
            return;
        }
        record.bytes.resize(line.len() + 1, 0);
        record.ends.resize(line.len() + 2, 0);
        self.reader.reset();
        let (mut read, mut written, mut fields) = (0, 0, 0);
        loop {
            // An empty input tells the reader that the record ends here.
            let (result, n_in, n_out, n_ends) = self.reader.read_record(
                &line[read..],
                &mut record.bytes[written..],
                &mut record.ends[fields..],
            );
            (read, written, fields) = (read + n_in, written + n_out, fields + n_ends);
            match result {
                csv_core::ReadRecordResult::InputEmpty => {}
                _ => break,
            }
        }
        record.bytes.truncate(written);
        record.ends.truncate(fields);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn records(text: &str, separator: Separator) -> Vec<(u64, Vec<String>)> {
        let mut lines = Lines::new(Box::new(text.as_bytes()), separator, b'\n');
        let mut splitter = Splitter::new(separator);
        let (mut line, mut record, mut all) = (Vec::new(), TableRecord::default(), Vec::new());
        while let Some(at) = lines.read(&mut line).unwrap() {
            splitter.split(&line, &mut record);
            let fields = record
                .iter()
                .map(|f| String::from_utf8_lossy(f).into_owned());
            all.push((at, fields.collect()));
        }
        all
    }

    #[test]
    fn quoted_fields_hold_separators_line_breaks_and_quotes() {
        let text = "a,\"b, c\",\"said \"\"y\"\"\"\r\n\"two\nlines\", \"2.5\" ,3\r\n4,,\"6\"";
        let all = records(text, Separator::Byte(b','));
        let want = [
            (1, vec!["a", "b, c", "said \"y\""]),
            (2, vec!["two\nlines", "2.5", "3"]),
            (4, vec!["4", "", "6"]),
        ];
        assert_eq!(all.len(), want.len());
        for ((line, fields), (at, cells)) in all.iter().zip(want) {
            assert_eq!(*line, at);
            assert_eq!(fields, &cells);
        }
    }

    #[test]
    fn a_quote_that_is_never_closed_spoils_its_own_line_only() {
        let text = format!("a;\"b\n{}", "1;2\n".repeat(200));
        let all = records(&text, Separator::Byte(b';'));
        assert_eq!(all.len(), 201);
        assert_eq!(all[200], (201, vec!["1".to_owned(), "2".to_owned()]));
    }

    #[test]
    fn blanks_separate_where_nothing_else_does() {
        let all = records("  1   2.5\n\n -3\t4e2  \n", Separator::Blanks);
        assert_eq!(all[0].1, ["1", "2.5"]);
        assert!(all[1].1.is_empty());
        assert_eq!(all[2].1, ["-3", "4e2"]);
    }
}
