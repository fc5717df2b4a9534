//! Notices that the state file was removed or replaced while it is open, and writes it anew.

use std::fs::{File, Metadata};
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::db;
use super::error::StateError;
use super::store::make_dir;
use super::writer::now_ms;

/// Ends of the names of the files that SQLite works with. Without its log the file lacks what was committed
/// last.
const SUFFIXES: [&str; 3] = ["", "-wal", "-shm"];

/// Identifies a file, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Inode {
    device: u64,
    number: u64,
}

impl Inode {
    fn of(path: &Path) -> Option<Inode> {
        std::fs::metadata(path).ok().map(Inode::from)
    }
}

impl From<Metadata> for Inode {
    fn from(meta: Metadata) -> Inode {
        Inode {
            device: meta.dev(),
            number: meta.ino(),
        }
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}

fn files_of(path: &Path) -> [Option<Inode>; SUFFIXES.len()] {
    SUFFIXES.map(|suffix| Inode::of(&with_suffix(path, suffix)))
}

/// The files that were opened, and the lock that keeps others away from them.
#[derive(Debug)]
pub(super) struct Place {
    path: PathBuf,
    /// Held for its lock alone.
    lock: File,
    files: [Option<Inode>; SUFFIXES.len()],
}

impl Place {
    /// The place of the state file at `path`, which is open.
    pub(super) fn new(path: &Path, lock: File) -> Place {
        Place {
            path: path.to_owned(),
            lock,
            files: files_of(path),
        }
    }

    /// One of the files is no longer the one that was opened.
    pub(super) fn is_lost(&mut self) -> bool {
        let now = files_of(&self.path);
        let mut both = self.files.iter().zip(&now);
        let is_lost = both.any(|(opened, found)| opened.is_some() && opened != found);
        if !is_lost {
            self.files = now;
        }
        is_lost
    }

    /// Writes everything that `connection` has to a new file, moves aside what is found in its place, and
    /// opens it.
    ///
    /// # Errors
    /// If it cannot be written, or another daemon works there.
    pub(super) fn write_anew(
        &mut self,
        connection: &Connection,
        sync: bool,
    ) -> Result<Connection, StateError> {
        let path = self.path.clone();
        let dir = path.parent().unwrap_or(Path::new("."));
        make_dir(dir)?;
        let held = self.lock.metadata().ok().map(Inode::from);
        let is_other_dir = held != Inode::of(dir);
        let lock = is_other_dir.then(|| db::lock(&path)).transpose()?;
        let anew = with_suffix(&path, ".anew");
        // What an attempt before this one left.
        drop(std::fs::remove_file(&anew));
        connection
            .execute("VACUUM INTO ?1", [&*anew.to_string_lossy()])
            .map_err(StateError::sql("writing the state file anew"))?;
        let aside = format!(".found-{}", now_ms());
        for suffix in SUFFIXES {
            let kept = with_suffix(&path, &format!("{aside}{suffix}"));
            // It need not exist.
            drop(std::fs::rename(with_suffix(&path, suffix), kept));
        }
        std::fs::rename(&anew, &path).map_err(|source| StateError::Io {
            what: "cannot rename",
            path: anew,
            source,
        })?;
        let opened = db::open_writer(&path, sync)?;
        if let Some(lock) = lock {
            self.lock = lock;
        }
        self.files = files_of(&path);
        Ok(opened)
    }
}
