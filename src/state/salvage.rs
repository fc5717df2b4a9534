//! Salvage of a damaged state file: what its checksums vouch for goes into a new one.

use std::path::{Path, PathBuf};

use super::db::{self, ASIDE, Reader, SnapshotRow};
use super::error::StateError;
use super::journal::{self, JournalRow};
use super::writer::{insert_snapshot, now_ms};

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
    for suffix in ["", "-wal", "-shm"] {
        drop(std::fs::remove_file(with_suffix(&new, suffix)));
    }
    write_salvaged(&new, &reader, &whole, &groups)?;
    drop(reader);
    let kept = with_suffix(path, &format!(".damaged-{}", now_ms()));
    let rename = |from: &Path, to: &Path| {
        std::fs::rename(from, to).map_err(|source| StateError::Io {
            what: "cannot rename",
            path: from.to_owned(),
            source,
        })
    };
    rename(path, &kept)?;
    for suffix in ["-wal", "-shm"] {
        // They need not exist.
        drop(std::fs::rename(
            with_suffix(path, suffix),
            with_suffix(&kept, suffix),
        ));
    }
    rename(&new, path)?;
    tracing::error!(
        detail, kept = %kept.display(), snapshots = whole.len(), groups = groups.len(), unreadable,
        "the state file was damaged; what is whole was taken over, readings may be missing"
    );
    Ok(())
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
        super::writer::insert_group(&t, row).map_err(sql())?;
    }
    for message in old.outbox().unwrap_or_default() {
        super::writer::insert_message(&t, &message).map_err(sql())?;
    }
    super::writer::set_meta(&t, "pruned_through", old.pruned_through().unwrap_or(0))
        .map_err(sql())?;
    super::writer::set_meta(&t, "salvaged_ms", now_ms() as u64).map_err(sql())?;
    t.commit().map_err(sql())?;
    connection.close().map_err(|(_, e)| sql()(e))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(suffix);
    name.into()
}
