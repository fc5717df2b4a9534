//! Remembers beside the state file which reading was last committed to it.
//!
//! SQLite takes a log that was cut, removed or damaged for one that ended there, and says nothing. The
//! mark is written after each commit: a file that knows of fewer readings than its mark has lost some.

use std::fs::{File, Metadata};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};

/// Bytes of a page of ours.
pub(super) const PAGE: usize = 4096;
/// Bytes: a number and its checksum. The state file's first page may follow, and its checksum.
const SIZE: usize = 12;

/// The mark of an open state file.
#[derive(Debug)]
pub(crate) struct Mark(File);

/// The mark's file.
pub(crate) fn path_of(state: &Path) -> PathBuf {
    let mut name = state.as_os_str().to_owned();
    name.push(".mark");
    name.into()
}

fn encode(last_seq: u64) -> [u8; SIZE] {
    let mut bytes = [0; SIZE];
    bytes[..8].copy_from_slice(&last_seq.to_le_bytes());
    let crc = crc32fast::hash(&bytes[..8]);
    bytes[8..].copy_from_slice(&crc.to_le_bytes());
    bytes
}

impl Mark {
    /// Opens the mark of the state file at `state`, or makes it.
    ///
    /// # Errors
    /// If it cannot be opened.
    pub(crate) fn open(state: &Path) -> std::io::Result<Mark> {
        let mut options = File::options();
        options.create(true).truncate(false).write(true);
        let file = options.open(path_of(state))?;
        super::db::keep_private(&path_of(state));
        Ok(Mark(file))
    }

    /// It is still the file beside the state file at `state`.
    pub(crate) fn is_at(&self, state: &Path) -> bool {
        let of = |meta: std::io::Result<Metadata>| meta.ok().map(|m| (m.dev(), m.ino()));
        let found = of(std::fs::metadata(path_of(state)));
        found.is_some() && found == of(self.0.metadata())
    }

    /// Keeps the first page of the state file.
    pub(crate) fn keep_first_page(&self, page: &[u8]) {
        let crc = crc32fast::hash(page).to_le_bytes();
        let bytes = [page, &crc].concat();
        if let Err(error) = self.0.write_all_at(&bytes, SIZE as u64) {
            tracing::debug!(%error, "the first page of the state file cannot be kept");
        }
    }

    /// The state file is another one.
    pub(crate) fn forget_first_page(&self) {
        if self.0.metadata().is_ok_and(|meta| meta.len() > SIZE as u64)
            && let Err(error) = self.0.set_len(SIZE as u64)
        {
            tracing::warn!(%error, "the first page of a former state file is still kept");
        }
    }

    /// Reading number `last_seq` is committed.
    pub(crate) fn write(&self, last_seq: u64) {
        if let Err(error) = self.0.write_all_at(&encode(last_seq), 0) {
            tracing::debug!(%error, "the mark of the state file cannot be written");
        }
    }
}

/// The last reading that was committed to the state file at `state`; `None` where that is not known.
pub(crate) fn read(state: &Path) -> Option<u64> {
    let bytes = std::fs::read(path_of(state)).ok()?;
    let last_seq = u64::from_le_bytes(bytes.first_chunk::<8>().copied()?);
    bytes.starts_with(&encode(last_seq)).then_some(last_seq)
}

/// The first page of the state file at `state`, where one is kept.
pub(crate) fn first_page(state: &Path) -> Option<Vec<u8>> {
    let bytes = std::fs::read(path_of(state)).ok()?;
    let (page, crc) = bytes.get(SIZE..)?.split_at_checked(PAGE)?;
    (crc == crc32fast::hash(page).to_le_bytes()).then(|| page.to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mark_reads_back_and_a_damaged_one_says_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("spiked.db");
        assert_eq!(read(&state), None);
        let mark = Mark::open(&state).unwrap();
        for seq in [7, u64::MAX, 9] {
            mark.write(seq);
            assert_eq!(read(&state), Some(seq));
        }
        mark.0.write_all_at(&[1], 3).unwrap();
        assert_eq!(read(&state), None);
    }
}
