//! A file of records: its text, its layout and its rows in turn.

use std::fs::File;
use std::io::{BufReader, Cursor, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::layout::{FileHead, Layout};
use super::number::Decimal;
use super::record::{Lines, Splitter, TableRecord};
use super::source::TextSource;
use super::{LayoutOptions, TableError};

/// Records of a file whose layout was found.
pub struct Sheet<'a> {
    pub(super) layout: Layout,
    lines: Lines<'a>,
    splitter: Splitter,
    bytes_read: Arc<AtomicU64>,
    line: Vec<u8>,
    pub(super) record: TableRecord,
    /// Line of the record, from 1.
    pub(super) at: u64,
}

/// Advice for a file that begins as JSON does.
fn json_advice(head: &[u8]) -> Option<&'static str> {
    let begins = head.trim_ascii_start();
    let within = begins
        .strip_prefix(b"[")
        .unwrap_or(begins)
        .trim_ascii_start();
    let member = within.strip_prefix(b"{")?.trim_ascii_start();
    if !member.starts_with(b"\"") {
        return None;
    }
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or(head);
    let has = |name: &[u8]| line.windows(name.len()).any(|part| part == name);
    Some(match has(b"\"topic\"") && has(b"\"payload\"") {
        true => "messages that mosquitto_sub recorded: --messages replays them",
        false => {
            "JSON: make a table of it, as with jq -r '[.time, .temp] | @csv', or replay it as \
             messages: lines of {\"tst\": TIME, \"topic\": \"plant/press\", \"payload\": {...}} with --messages"
        }
    })
}

impl<'a> Sheet<'a> {
    /// Opens a file and finds its layout.
    ///
    /// # Errors
    /// If the file cannot be read or holds no text.
    pub fn open(path: &Path, options: &LayoutOptions) -> Result<Sheet<'a>, TableError> {
        Sheet::of(File::open(path)?, options)
    }

    /// The same over any bytes.
    ///
    /// # Errors
    /// As [`Sheet::open`].
    pub fn of(input: impl Read + 'a, options: &LayoutOptions) -> Result<Sheet<'a>, TableError> {
        let mut source = TextSource::of(input, options.encoding)?;
        let head = FileHead::read(&mut source.text)?;
        if let Some(advice) = json_advice(&head.text) {
            return Err(TableError::NoText(advice));
        }
        let mut layout = Layout::of(&head, options)?;
        source.found.append(&mut layout.found);
        layout.found = source.found;
        let text = BufReader::new(Cursor::new(head.text).chain(source.text));
        Ok(Sheet {
            lines: Lines::new(Box::new(text), layout.separator, layout.end),
            splitter: Splitter::new(layout.separator),
            layout,
            bytes_read: source.bytes_read,
            line: Vec::new(),
            record: TableRecord::default(),
            at: 0,
        })
    }

    /// Reads the next row into `record`; false at the end. Lines without a filled cell, comments and
    /// all above the data are passed over.
    pub(super) fn read(&mut self) -> Result<bool, TableError> {
        while let Some(at) = self.lines.read(&mut self.line)? {
            if at < self.layout.first_line {
                continue;
            }
            self.splitter.split(&self.line, &mut self.record);
            if !self.layout.passes_over(&self.record) {
                self.at = at;
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Reads the next row as texts, with its line from 1; `None` at the end.
    ///
    /// # Errors
    /// If the file cannot be read.
    pub fn read_texts(&mut self) -> Result<Option<(u64, Vec<String>)>, TableError> {
        if !self.read()? {
            return Ok(None);
        }
        let cells = (0..self.record.len()).map(|field| self.record.text(field).into_owned());
        Ok(Some((self.at, cells.collect())))
    }

    /// Names of the columns; `None` where the file has none.
    pub fn names(&self) -> Option<&[String]> {
        self.layout.names.as_deref()
    }

    /// Fields of a row.
    pub fn width(&self) -> usize {
        self.layout.width
    }

    /// How numbers are written.
    pub fn decimal(&self) -> Decimal {
        self.layout.decimal
    }

    pub(super) fn bytes_read(&self) -> u64 {
        self.bytes_read.load(Ordering::Relaxed)
    }

    /// The beginning of the line last read, for a message.
    pub(super) fn excerpt(&self) -> String {
        String::from_utf8_lossy(&self.line)
            .chars()
            .take(80)
            .collect()
    }
}
