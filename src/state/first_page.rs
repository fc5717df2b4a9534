//! Mends the state file's first page, which says where everything else is: without it nothing can be salvaged.
//!
//! A copy is kept in the mark beside the file. It is written when no connection is open: closing a file takes
//! away the locks that SQLite holds on it.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::error::StateError;
use super::mark::{self, Mark, PAGE};
use super::rows::now_ms;

/// More bytes than this that differ are another version's page, or another program's, and no damage.
const MOST: usize = 16;

/// Bytes of SQLite's header that change as the file is written (change counter, pages, free pages, version of
/// SQLite), and the schema's version, by which files of newer programs are told.
fn may_differ(at: usize) -> bool {
    matches!(at, 24..40 | 60..64 | 92..100)
}

/// The first page of the state file at `path`; `None` where it is not written yet.
pub(super) fn read(path: &Path) -> Option<Vec<u8>> {
    let mut page = vec![0; PAGE];
    let file = File::open(path).ok()?;
    file.read_exact_at(&mut page, 0).ok()?;
    Some(page)
}

/// Keeps the first page of a file that was found whole; without one, what was kept is of another file.
pub(super) fn keep(mark: Option<&Mark>, page: Option<Vec<u8>>) {
    match (mark, page) {
        (Some(mark), Some(page)) => mark.keep_first_page(&page),
        (Some(mark), None) => mark.forget_first_page(),
        (None, _) => {}
    }
}

/// Places at which the first page is damaged: few, and all else is as it was kept.
fn damage(path: &Path) -> Option<Vec<(usize, u8)>> {
    let (kept, found) = (mark::first_page(path)?, read(path)?);
    let both = kept.into_iter().zip(found).enumerate();
    let differ = both.filter(|(at, (kept, found))| kept != found && !may_differ(*at));
    let differ: Vec<(usize, u8)> = differ.map(|(at, (kept, _))| (at, kept)).collect();
    (1..=MOST).contains(&differ.len()).then_some(differ)
}

/// A start would mend the first page.
pub(super) fn is_mendable(path: &Path) -> bool {
    damage(path).is_some()
}

/// Writes the first page as it was, where it is damaged; keeps the damaged file. True where it did.
///
/// # Errors
/// If a file cannot be written.
pub(super) fn mend(path: &Path) -> Result<bool, StateError> {
    let Some(damage) = damage(path) else {
        return Ok(false);
    };
    let mut kept = path.as_os_str().to_owned();
    kept.push(format!(".damaged-{}", now_ms()));
    let io = |source| StateError::Io {
        what: "cannot mend the first page of",
        path: path.to_owned(),
        source,
    };
    std::fs::copy(path, &kept).map_err(io)?;
    let file = File::options().write(true).open(path).map_err(io)?;
    for &(at, byte) in &damage {
        file.write_all_at(&[byte], at as u64).map_err(io)?;
    }
    file.sync_all().map_err(io)?;
    tracing::error!(
        bytes = damage.len(), kept = %Path::new(&kept).display(),
        "the state file's first page was damaged: it is mended from a copy, nothing of it is lost"
    );
    Ok(true)
}
