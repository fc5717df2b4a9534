//! Notices that the state file was removed or replaced while it is open, and writes it anew.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::db;
use super::error::StateError;
use super::reader::Reader;
use super::rows::now_ms;

/// Ends of the names of the files that SQLite works with. Without its log the file lacks what was committed
/// last.
const SUFFIXES: [&str; 3] = ["", "-wal", "-shm"];

/// State of the files at a look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FileState {
    /// They are the ones that were opened.
    InPlace,
    /// One of them was removed, or another one is in its place; what is open is whole.
    Gone,
    /// One of them is shorter than it was, which only a stranger makes it: another program that empties the
    /// log, after it has taken over what is in it, or one that destroys it.
    Cut,
}

/// Identifies a file, whatever its name.
#[derive(Clone, Copy, Debug)]
struct FileIdentity {
    inode: u64,
    device: u64,
    bytes: u64,
}

impl FileIdentity {
    fn of(path: &Path) -> Option<FileIdentity> {
        std::fs::metadata(path).ok().map(FileIdentity::from)
    }

    fn is_same(self, other: Option<FileIdentity>) -> bool {
        other.is_some_and(|other| (self.device, self.inode) == (other.device, other.inode))
    }
}

impl From<Metadata> for FileIdentity {
    fn from(meta: Metadata) -> FileIdentity {
        FileIdentity {
            inode: meta.ino(),
            device: meta.dev(),
            bytes: meta.len(),
        }
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn files_of(path: &Path) -> [Option<FileIdentity>; SUFFIXES.len()] {
    SUFFIXES.map(|suffix| FileIdentity::of(&with_suffix(path, suffix)))
}

/// The files that were opened, and the lock that keeps others away from them.
#[derive(Debug)]
pub(super) struct StateFiles {
    path: PathBuf,
    /// Held for its lock alone.
    lock: File,
    files: [Option<FileIdentity>; SUFFIXES.len()],
}

impl StateFiles {
    /// The place of the state file at `path`, which is open.
    pub(super) fn new(path: &Path, lock: File) -> StateFiles {
        StateFiles {
            path: path.to_owned(),
            lock,
            files: files_of(path),
        }
    }

    /// Looks whether the files are still the ones that were opened.
    pub(super) fn look(&mut self) -> FileState {
        let now = files_of(&self.path);
        let both = self.files.iter().zip(&now);
        let both = both.filter_map(|(opened, found)| Some(((*opened)?, *found)));
        let found = both.fold(FileState::InPlace, |so_far, (opened, found)| {
            if !opened.is_same(found) {
                FileState::Gone
            } else if found.is_some_and(|found| found.bytes < opened.bytes) {
                FileState::Cut
            } else {
                so_far
            }
        });
        if found == FileState::InPlace {
            self.files = now;
        }
        found
    }

    /// Takes the files for what they are now where nothing is missing: reading number `last_seq`, the newest
    /// committed one, is there, and all else is whole. False where something is.
    pub(super) fn accept(&mut self, last_seq: u64) -> bool {
        let newest = Reader::open(&self.path).and_then(|reader| {
            let pruned = reader.pruned_through()?;
            let journaled = reader.journal_span()?.map_or(0, |(.., last)| last);
            Ok(pruned.max(journaled))
        });
        let is_whole = newest.is_ok_and(|newest| newest >= last_seq);
        if is_whole {
            self.files = files_of(&self.path);
        }
        is_whole
    }

    /// Writes everything that `connection` has to a new file, or as much as can be read where its file was
    /// `cut`, moves aside what is found in its place, and opens it.
    ///
    /// # Errors
    /// If it cannot be written, or another daemon works there.
    pub(super) fn write_anew(
        &mut self,
        connection: &Connection,
        cut: bool,
        sync: bool,
    ) -> Result<Connection, StateError> {
        let path = self.path.clone();
        let dir = path.parent().unwrap_or(Path::new("."));
        db::make_dir(dir)?;
        let held = self.lock.metadata().ok().map(FileIdentity::from);
        let is_other_dir = !held.is_some_and(|held| held.is_same(FileIdentity::of(dir)));
        let lock = is_other_dir.then(|| db::lock(&path)).transpose()?;
        let anew = with_suffix(&path, ".anew");
        // Remains of an attempt before this one.
        drop(std::fs::remove_file(&anew));
        let written = connection.execute("VACUUM INTO ?1", [&*anew.to_string_lossy()]);
        match written {
            Ok(_) => {}
            // Nothing can be read any more: it begins with what is in memory.
            Err(_) if cut => drop(std::fs::remove_file(&anew)),
            Err(error) => return Err(StateError::sql("writing the state file anew")(error)),
        }
        if cut && Reader::open(&anew).is_err() {
            drop(std::fs::remove_file(&anew));
        }
        let aside = format!(".found-{}", now_ms());
        for suffix in SUFFIXES {
            let kept = with_suffix(&path, &format!("{aside}{suffix}"));
            // It need not exist.
            drop(std::fs::rename(with_suffix(&path, suffix), kept));
        }
        if anew.exists() || !cut {
            std::fs::rename(&anew, &path).map_err(|source| StateError::Io {
                what: "cannot rename",
                path: anew,
                source,
            })?;
        }
        let opened = db::open_writer(&path, sync)?;
        if let Some(lock) = lock {
            self.lock = lock;
        }
        self.files = files_of(&path);
        Ok(opened)
    }
}
