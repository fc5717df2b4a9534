//! Copies the state file while a daemon writes to it, and puts a copy back in its place.

use std::fs::File;
use std::io;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use super::db::{FILE_NAME, lock};
use super::error::StateError;
use super::reader::Reader;

/// Writes a copy of the state file at `path`, as it is at one moment, to `target`. A daemon may go on
/// writing meanwhile.
///
/// # Errors
/// If `target` exists, or the file cannot be read or copied.
pub fn backup(path: &Path, target: &Path) -> Result<(), StateError> {
    if target.exists() {
        let error = io::Error::other("there is such a file already");
        return Err(failed("cannot write the backup", target, error));
    }
    // The copy is checked, so that a backup can be trusted on the day that it is needed.
    Reader::open(path)?;
    let partial = beside(target, "partial");
    remove(&partial)?;
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let copied = Connection::open_with_flags(path, flags)
        .and_then(|connection| connection.execute("VACUUM INTO ?1", [partial.to_string_lossy()]));
    if let Err(error) = copied {
        let _ = std::fs::remove_file(&partial);
        return Err(StateError::sql("copying the state file")(error));
    }
    Reader::open(&partial)?;
    put(&partial, target)
}

/// Puts the backup `source` in the place of the state file of `dir`, which no daemon may use, and
/// returns where the file that was there is now.
///
/// # Errors
/// If a daemon runs, `source` is no whole state file, or a file cannot be written.
pub fn restore(source: &Path, dir: &Path) -> Result<Option<PathBuf>, StateError> {
    Reader::open(source)?;
    std::fs::create_dir_all(dir)
        .map_err(|error| failed("cannot make the state directory", dir, error))?;
    let path = dir.join(FILE_NAME);
    let _alone = lock(&path)?;
    let partial = beside(&path, "partial");
    std::fs::copy(source, &partial)
        .map_err(|error| failed("cannot copy the backup to", &partial, error))?;
    own_like(&partial, dir).map_err(|error| failed("cannot give away", &partial, error))?;
    let before = path.exists().then(|| beside(&path, "before-restore"));
    if let Some(before) = &before {
        // The log that SQLite has not taken into the file itself goes with it.
        for end in ["", "-wal", "-shm", ".mark"] {
            let (from, to) = (with_end(&path, end), with_end(before, end));
            remove(&to)?;
            if from.exists() {
                std::fs::rename(&from, &to)
                    .map_err(|error| failed("cannot move away", &from, error))?;
            }
        }
    }
    put(&partial, &path)?;
    Ok(before)
}

/// Makes a whole file appear under its name, on the disk.
fn put(partial: &Path, target: &Path) -> Result<(), StateError> {
    let done = File::open(partial)
        .and_then(|file| file.sync_all())
        .and_then(|()| std::fs::rename(partial, target))
        .and_then(|()| {
            let folder = target.parent().filter(|dir| !dir.as_os_str().is_empty());
            File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
        });
    done.map_err(|error| failed("cannot write", target, error))
}

/// A file belongs to whom its directory belongs to: root restores what the service's user reads.
#[cfg(unix)]
fn own_like(file: &Path, dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::{MetadataExt, chown};
    let (dir, own) = (std::fs::metadata(dir)?, std::fs::metadata(file)?);
    if (dir.uid(), dir.gid()) == (own.uid(), own.gid()) {
        return Ok(());
    }
    chown(file, Some(dir.uid()), Some(dir.gid()))
}

#[cfg(not(unix))]
fn own_like(_: &Path, _: &Path) -> io::Result<()> {
    Ok(())
}

fn beside(path: &Path, end: &str) -> PathBuf {
    with_end(path, &format!(".{end}"))
}

fn with_end(path: &Path, end: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(end);
    name.into()
}

fn remove(path: &Path) -> Result<(), StateError> {
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(failed("cannot remove", path, error))
        }
        _ => Ok(()),
    }
}

fn failed(what: &'static str, path: &Path, source: io::Error) -> StateError {
    StateError::Io {
        what,
        path: path.to_owned(),
        source,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::state::{Edge, StateStore, StoreOptions};

    fn edges(path: &Path) -> u64 {
        Reader::open(path).unwrap().counts().unwrap().incident_edges
    }

    fn add(store: &StateStore, number: u64) {
        let edge = Edge {
            stream: "pump".to_owned(),
            number,
            start_ms: 1,
            edge: 0,
            body: "{}".to_owned(),
        };
        store.record(edge, Vec::new());
        store.flush().unwrap();
    }

    #[test]
    fn a_backup_of_a_store_in_use_comes_back_and_what_was_there_is_kept() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        let path = state.join(FILE_NAME);
        let copy = dir.path().join("copy.db");
        let store = StateStore::open(StoreOptions::new(&state)).unwrap();
        add(&store, 1);
        backup(&path, &copy).unwrap();
        add(&store, 2);
        assert!(backup(&path, &copy).is_err(), "nothing is overwritten");
        assert!(matches!(
            restore(&copy, &state),
            Err(StateError::InUse { .. })
        ));
        store.close();
        drop(store);
        let before = restore(&copy, &state).unwrap().unwrap();
        assert_eq!((edges(&path), edges(&before)), (1, 2));
        let store = StateStore::open(StoreOptions::new(&state)).unwrap();
        add(&store, 3);
        store.close();
        assert_eq!(edges(&path), 2);
    }

    #[test]
    fn what_is_no_state_file_is_not_put_in_its_place() {
        let dir = tempfile::tempdir().unwrap();
        let source = dir.path().join("text");
        std::fs::write(&source, "hello").unwrap();
        assert!(restore(&source, dir.path()).is_err());
        assert!(!dir.path().join(FILE_NAME).exists());
    }
}
