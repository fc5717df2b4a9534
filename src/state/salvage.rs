//! Salvages a damaged state file: what its checksums vouch for goes into a new one.
//!
//! The new file is whole, and says so, before the damaged one is touched. A salvage that was cut off is
//! finished by the next start ([`resume`]).

use std::path::{Path, PathBuf};

use rusqlite::Connection;

use super::db::{self, ASIDE};
use super::error::StateError;
use super::journal::{self, JournalRow};
use super::reader::{Reader, SnapshotRow};
use super::rows::{FORGOTTEN, insert_group, insert_snapshot, now_ms, set_meta};

/// Key of the meta table that a salvaged file has once it is whole: when that was.
const SALVAGED: &str = "salvaged_ms";

/// Moves a damaged file away and puts in its place a new one with everything of the old one that
/// its checksums vouch for.
///
/// # Errors
/// When nothing can be saved, or the new file cannot be written.
pub(crate) fn salvage(path: &Path, detail: &str) -> Result<(), StateError> {
    let damaged = || StateError::Damaged {
        path: path.to_owned(),
        detail: detail.to_owned(),
    };
    let reader = Reader::open_unchecked(path).map_err(|_| damaged())?;
    let (snapshots, _) = reader.snapshots(None).unwrap_or_default();
    let mut groups = Vec::new();
    let mut unreadable = 0;
    // An error here means that the table ends early; what came before it counts.
    drop(reader.journal(0, |row| {
        match row.and_then(|row| journal::unpack(&row).map(|_| row)) {
            Ok(row) => groups.push(row),
            Err(_) => unreadable += 1,
        }
        Ok(())
    }));
    let whole: Vec<_> = snapshots.iter().filter(|row| row.intact).collect();
    if whole.is_empty() && groups.is_empty() {
        return Err(damaged());
    }
    let new = with_suffix(path, ".new");
    remove(&new);
    write_salvaged(&new, &reader, &whole, &groups)?;
    drop(reader);
    let kept = put_in_place(path, &new)?;
    tracing::error!(
        detail, kept = %kept.display(), snapshots = whole.len(), groups = groups.len(), unreadable,
        "the state file was damaged; what is whole was taken over, readings may be missing"
    );
    Ok(())
}

/// Finishes a salvage that was cut off. One that had not come far enough is forgotten.
///
/// # Errors
/// When the files cannot be renamed.
pub(crate) fn resume(path: &Path) -> Result<(), StateError> {
    let new = with_suffix(path, ".new");
    if !new.exists() {
        return Ok(());
    }
    let is_whole = Reader::open(&new).is_ok_and(|reader| reader.meta(SALVAGED) > 0);
    if !is_whole {
        remove(&new);
        return Ok(());
    }
    let kept = put_in_place(path, &new)?;
    tracing::error!(
        kept = %kept.display(),
        "the state file was damaged and its salvage was cut off: it is finished now, readings may be missing"
    );
    Ok(())
}

/// Moves the damaged file and its log aside and the new one into its place: the last step is what makes
/// the salvage whole. Returns where the damaged one is.
fn put_in_place(path: &Path, new: &Path) -> Result<PathBuf, StateError> {
    let kept = with_suffix(path, &format!(".damaged-{}", now_ms()));
    let io = |what| {
        move |source| StateError::Io {
            what,
            path: path.to_owned(),
            source,
        }
    };
    if path.exists() {
        std::fs::hard_link(path, &kept).map_err(io("cannot keep the damaged"))?;
    }
    for suffix in ["-wal", "-shm"] {
        // They need not exist, but must not be taken for the new file's.
        drop(std::fs::rename(
            with_suffix(path, suffix),
            with_suffix(&kept, suffix),
        ));
    }
    std::fs::rename(new, path).map_err(io("cannot rename the salvaged"))?;
    Ok(kept)
}

fn remove(path: &Path) {
    for suffix in ["", "-wal", "-shm"] {
        // They need not exist.
        drop(std::fs::remove_file(with_suffix(path, suffix)));
    }
}

fn write_salvaged(
    new: &Path,
    old: &Reader,
    snapshots: &[&SnapshotRow],
    groups: &[JournalRow],
) -> Result<(), StateError> {
    let sql = || StateError::sql("writing the salvaged state file");
    let mut connection = db::open_writer(new, true)?;
    let t = connection.transaction().map_err(sql())?;
    let mut by_age = snapshots.to_vec();
    by_age.sort_by_key(|row| row.id);
    for row in by_age {
        let status = if row.aside { ASIDE } else { db::GOOD };
        insert_snapshot(&t, &row.snapshot, status).map_err(sql())?;
    }
    for row in groups {
        insert_group(&t, row).map_err(sql())?;
    }
    copy_rest(old, &t);
    set_meta(&t, "pruned_through", old.pruned_through().unwrap_or(0)).map_err(sql())?;
    for (stream, seq) in old.forgotten() {
        set_meta(&t, &format!("{FORGOTTEN}{stream}"), seq).map_err(sql())?;
    }
    set_meta(&t, SALVAGED, now_ms() as u64).map_err(sql())?;
    t.commit().map_err(sql())?;
    connection.close().map_err(|(_, e)| sql()(e))
}

/// Incidents, messages and dead letters, as far as they can be read.
fn copy_rest(old: &Reader, new: &Connection) {
    for table in ["incidents", "outbox", "dead_letters", "history"] {
        match old.copy_table(table, new) {
            Ok(rows) => tracing::info!(table, rows, "salvaged"),
            Err(error) => tracing::error!(table, %error, "cannot be salvaged"),
        }
    }
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
