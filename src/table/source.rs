//! Opens a file of text: unpacks gzip, finds the encoding and hands out UTF-8.

use std::fs::File;
use std::io::{self, BufRead, BufReader, Cursor, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use encoding_rs::{Encoding, UTF_8, UTF_16BE, UTF_16LE, WINDOWS_1252};
use encoding_rs_io::DecodeReaderBytesBuilder;

use super::TableError;

/// Bytes of a file looked at to find its encoding.
const SNIFFED: usize = 1 << 16;

/// First bytes of files that hold no text, and what would be right.
const NO_TEXT: [(&[u8], &str); 9] = [
    (
        b"PK\x03\x04",
        "a zip archive or an Excel workbook: unpack it, or save the sheet as CSV",
    ),
    (
        b"\xd0\xcf\x11\xe0",
        "an old Excel workbook: save the sheet as CSV",
    ),
    (
        b"\x28\xb5\x2f\xfd",
        "compressed with zstd: unpack it with zstd -d",
    ),
    (b"\xfd7zXZ\0", "compressed with xz: unpack it with xz -d"),
    (b"BZh", "compressed with bzip2: unpack it with bzip2 -d"),
    (b"7z\xbc\xaf", "a 7-Zip archive: unpack it"),
    (b"PAR1", "a Parquet file: export it as CSV"),
    (
        b"SQLite format 3\0",
        "an SQLite database: export a table as CSV",
    ),
    (b"%PDF", "a PDF document: export the table as CSV"),
];

/// Text of a file, as UTF-8 line by line.
pub(super) struct TextSource<'a> {
    /// Where the text comes from.
    pub(super) text: Box<dyn BufRead + 'a>,
    /// Compression and encoding, where they are not the usual ones.
    pub(super) found: Vec<String>,
    /// Bytes of the file read so far.
    pub(super) bytes_read: Arc<AtomicU64>,
}

/// Counts what is read through it.
struct Counting<R> {
    inner: R,
    bytes: Arc<AtomicU64>,
}

impl<R: Read> Read for Counting<R> {
    fn read(&mut self, buf: &mut [u8]) -> io::Result<usize> {
        let n = self.inner.read(buf)?;
        self.bytes.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

impl<'a> TextSource<'a> {
    /// Opens a file; `encoding` overrides the one that is found.
    pub(super) fn open(
        path: &Path,
        encoding: Option<&'static Encoding>,
    ) -> Result<TextSource<'a>, TableError> {
        TextSource::of(File::open(path)?, encoding)
    }

    /// The same over any bytes.
    pub(super) fn of(
        input: impl Read + 'a,
        encoding: Option<&'static Encoding>,
    ) -> Result<TextSource<'a>, TableError> {
        let bytes_read = Arc::new(AtomicU64::new(0));
        let mut input: Box<dyn Read + 'a> = Box::new(Counting {
            inner: input,
            bytes: bytes_read.clone(),
        });
        let mut found = Vec::new();
        let mut head = first_bytes(&mut input)?;
        if head.starts_with(b"\x1f\x8b") {
            found.push("gzip".to_owned());
            let packed = BufReader::new(Cursor::new(head).chain(input));
            input = Box::new(flate2::bufread::MultiGzDecoder::new(packed));
            head = first_bytes(&mut input)?;
        }
        for (magic, advice) in NO_TEXT {
            if head.starts_with(magic) {
                return Err(TableError::NoText(advice));
            }
        }
        let sniffed = sniff(&head);
        let encoding = encoding.unwrap_or(sniffed);
        if encoding != UTF_8 {
            found.push(encoding.name().to_owned());
        } else if head.contains(&0) {
            return Err(TableError::NoText("binary: export it as CSV"));
        }
        let decoded = DecodeReaderBytesBuilder::new()
            .encoding(Some(encoding))
            .strip_bom(true)
            .utf8_passthru(true)
            .build(Cursor::new(head).chain(input));
        Ok(TextSource {
            text: Box::new(BufReader::with_capacity(1 << 16, decoded)),
            found,
            bytes_read,
        })
    }
}

fn first_bytes(input: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut head = Vec::new();
    input.take(SNIFFED as u64).read_to_end(&mut head)?;
    Ok(head)
}

/// Finds the encoding by a byte order mark, by NUL bytes at every other place, by validity as UTF-8;
/// everything else is taken as Windows-1252, which Latin-1 is a part of.
fn sniff(head: &[u8]) -> &'static Encoding {
    if let Some((encoding, _)) = Encoding::for_bom(head) {
        return encoding;
    }
    let zeros = |odd: usize| {
        let bytes = head.iter().skip(odd).step_by(2);
        bytes.filter(|&&byte| byte == 0).count()
    };
    let (even, odd) = (zeros(0), zeros(1));
    // Digits and separators have a zero in their upper half: nearly all characters of a table.
    let most = head.len() / 4;
    if odd > most && even == 0 {
        return UTF_16LE;
    }
    if even > most && odd == 0 {
        return UTF_16BE;
    }
    match std::str::from_utf8(head) {
        Ok(_) => UTF_8,
        // A character that the end of the sniffed bytes cuts.
        Err(error) if error.error_len().is_none() => UTF_8,
        Err(_) => WINDOWS_1252,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn read(bytes: &[u8]) -> (String, Vec<String>) {
        let mut source = TextSource::of(bytes, None).expect("text");
        let mut text = String::new();
        source.text.read_to_string(&mut text).expect("UTF-8");
        (text, source.found)
    }

    #[test]
    fn encodings_and_compression_are_found_and_said() {
        let text = "Zeit;T [°C]\n1;20,5\n2;21,5\n";
        let utf16 = |big: bool, mark: bool| -> Vec<u8> {
            let marked = if mark {
                format!("\u{feff}{text}")
            } else {
                text.to_owned()
            };
            let units = marked.encode_utf16();
            units
                .flat_map(|unit| {
                    if big {
                        unit.to_be_bytes()
                    } else {
                        unit.to_le_bytes()
                    }
                })
                .collect()
        };
        let mut packed = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        packed.write_all(&utf16(false, true)).unwrap();
        let latin: Vec<u8> = text.chars().map(|c| c as u8).collect();
        for (bytes, found) in [
            (text.as_bytes().to_vec(), ""),
            (format!("\u{feff}{text}").into_bytes(), ""),
            (utf16(false, true), "UTF-16LE"),
            (utf16(true, true), "UTF-16BE"),
            (utf16(false, false), "UTF-16LE"),
            (utf16(true, false), "UTF-16BE"),
            (latin, "windows-1252"),
            (packed.finish().unwrap(), "gzip, UTF-16LE"),
        ] {
            assert_eq!(read(&bytes), (text.to_owned(), split(found)), "{found}");
        }
    }

    fn split(found: &str) -> Vec<String> {
        let words = found.split(", ").filter(|word| !word.is_empty());
        words.map(str::to_owned).collect()
    }

    #[test]
    fn what_is_no_text_is_refused_with_what_would_be_right() {
        for (bytes, said) in [
            (&b"PK\x03\x04rest"[..], "save the sheet as CSV"),
            (b"1,2\n\0\0\0\x07\n", "binary"),
        ] {
            let error = TextSource::of(bytes, None)
                .err()
                .expect("no text")
                .to_string();
            assert!(error.contains(said), "{error}");
        }
    }
}
