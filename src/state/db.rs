//! The SQLite file itself: opening, schema, lock and checks.

use std::fs::{File, Permissions, TryLockError};
use std::os::unix::fs::{DirBuilderExt, PermissionsExt};
use std::path::Path;
use std::time::{Duration, Instant};

use rusqlite::{Connection, OptionalExtension};

use super::error::StateError;

/// Name of the state file within its directory.
pub const FILE_NAME: &str = "spiked.db";

/// Newest schema version that this program reads and writes.
pub(crate) const SCHEMA: i64 = 2;
/// Layout of a history's body, raised with every change of its fields: others are passed over.
pub(crate) const HISTORY_FORMAT: u32 = 1;
/// "spkd", so that another program's database is not taken for ours.
const APPLICATION_ID: i64 = 0x7370_6b64;
/// How long another process may hold the file before we say so.
pub(super) const BUSY: Duration = Duration::from_secs(5);

/// How long another process may hold the directory before we say so.
const LOCK_PATIENCE: Duration = Duration::from_millis(500);

/// Snapshot status: may be restored.
pub(crate) const GOOD: i64 = 0;
/// Snapshot status: of other settings; kept, never restored, never deleted.
pub(crate) const ASIDE: i64 = 1;
/// Snapshot status: its checksum is wrong.
pub(crate) const BAD: i64 = 2;

const TABLES: &str = "
CREATE TABLE meta(key TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE journal(first_seq INTEGER PRIMARY KEY, last_seq INTEGER NOT NULL,
    crc INTEGER NOT NULL, data BLOB NOT NULL);
CREATE TABLE snapshots(id INTEGER PRIMARY KEY, stream TEXT NOT NULL, seq INTEGER NOT NULL,
    readings INTEGER NOT NULL, format INTEGER NOT NULL, created_ms INTEGER NOT NULL,
    crc INTEGER NOT NULL, status INTEGER NOT NULL, params BLOB NOT NULL, state BLOB NOT NULL);
CREATE INDEX snapshots_by_stream ON snapshots(stream, status);
CREATE TABLE incidents(id INTEGER PRIMARY KEY, stream TEXT NOT NULL, number INTEGER NOT NULL,
    start_ms INTEGER NOT NULL, edge INTEGER NOT NULL, body TEXT NOT NULL,
    UNIQUE(stream, number, start_ms, edge));
CREATE TABLE outbox(id INTEGER PRIMARY KEY, topic TEXT NOT NULL, payload BLOB NOT NULL,
    retain INTEGER NOT NULL, created_ms INTEGER NOT NULL);
CREATE TABLE dead_letters(seq INTEGER PRIMARY KEY, stream TEXT NOT NULL, channel TEXT NOT NULL,
    payload TEXT NOT NULL, reason TEXT NOT NULL, created_ms INTEGER NOT NULL);
";

/// Pictures of the streams. Made where it is missing: an older program passes over it, and its loss
/// costs no reading, so it is no part of the schema's version.
const HISTORY_TABLE: &str = "CREATE TABLE IF NOT EXISTS history(stream TEXT PRIMARY KEY,
    format INTEGER NOT NULL, body BLOB NOT NULL) WITHOUT ROWID";

/// Makes the state directory, for its owner alone, where it is missing.
pub(crate) fn make_dir(dir: &Path) -> Result<(), StateError> {
    let mut builder = std::fs::DirBuilder::new();
    let made = builder.recursive(true).mode(0o700).create(dir);
    made.map_err(|source| StateError::Io {
        what: "cannot make the state directory",
        path: dir.to_owned(),
        source,
    })
}

/// Takes the lock that keeps a second daemon away: on the directory itself, so that no file has to stay
/// where it is. It is held as long as the handle lives, and let go by the system when the process dies.
pub(crate) fn lock(path: &Path) -> Result<File, StateError> {
    let dir = path.parent().unwrap_or(Path::new("."));
    let open_error = |e: std::io::Error| StateError::Open {
        path: path.to_owned(),
        detail: e.to_string(),
    };
    let handle = File::open(dir).map_err(open_error)?;
    let until = Instant::now() + LOCK_PATIENCE;
    loop {
        match handle.try_lock() {
            Ok(()) => return Ok(handle),
            Err(TryLockError::WouldBlock) if Instant::now() < until => {
                std::thread::sleep(LOCK_PATIENCE / 20);
            }
            Err(TryLockError::WouldBlock) => {
                return Err(StateError::InUse {
                    path: path.to_owned(),
                });
            }
            Err(TryLockError::Error(error)) => return Err(open_error(error)),
        }
    }
}

/// Says whether a daemon holds the state file at `path`; makes nothing.
pub fn is_in_use(path: &Path) -> bool {
    matches!(lock(path), Err(StateError::InUse { .. }))
}

/// Takes a file's rights away from everyone but its owner: models and readings are nobody else's.
pub(crate) fn keep_private(path: &Path) {
    let private = Permissions::from_mode(0o600);
    if let Err(error) = std::fs::set_permissions(path, private) {
        tracing::warn!(path = %path.display(), %error, "others may be able to read the state file");
    }
}

/// Opens the file for writing and makes its tables if it is new. `sync_every_commit` makes a
/// commit survive a power cut and not only a kill.
pub(crate) fn open_writer(path: &Path, sync_every_commit: bool) -> Result<Connection, StateError> {
    let open_error = |e: rusqlite::Error| StateError::Open {
        path: path.to_owned(),
        detail: e.to_string(),
    };
    let connection = Connection::open(path).map_err(open_error)?;
    // Files that SQLite makes beside it have the same rights.
    keep_private(path);
    connection.busy_timeout(BUSY).map_err(open_error)?;
    check(&connection, path)?;
    let sync = if sync_every_commit { "FULL" } else { "NORMAL" };
    connection
        .pragma_update(None, "journal_mode", "WAL")
        .and_then(|()| connection.pragma_update(None, "synchronous", sync))
        .and_then(|()| connection.pragma_update(None, "cell_size_check", true))
        .map_err(open_error)?;
    if version(&connection).map_err(open_error)? == 0 {
        let script = format!(
            "BEGIN; {TABLES} PRAGMA application_id = {APPLICATION_ID}; PRAGMA user_version = {SCHEMA}; COMMIT;"
        );
        connection.execute_batch(&script).map_err(open_error)?;
    }
    connection
        .execute_batch(HISTORY_TABLE)
        .map_err(open_error)?;
    Ok(connection)
}

/// Refuses files of a newer version, of other programs, and damaged ones.
pub(super) fn check(connection: &Connection, path: &Path) -> Result<(), StateError> {
    let damaged = |e: rusqlite::Error| match e.sqlite_error_code() {
        Some(rusqlite::ErrorCode::DatabaseCorrupt | rusqlite::ErrorCode::NotADatabase) => {
            StateError::Damaged {
                path: path.to_owned(),
                detail: e.to_string(),
            }
        }
        _ => StateError::Open {
            path: path.to_owned(),
            detail: e.to_string(),
        },
    };
    let found = version(connection).map_err(damaged)?;
    let id: i64 = connection
        .pragma_query_value(None, "application_id", |row| row.get(0))
        .map_err(damaged)?;
    let n_tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_master", [], |row| row.get(0))
        .map_err(damaged)?;
    if found == 0 && id == 0 && n_tables == 0 {
        return Ok(());
    }
    if id != APPLICATION_ID {
        return Err(StateError::NotOurs {
            path: path.to_owned(),
        });
    }
    if found > SCHEMA {
        return Err(StateError::NewerSchema {
            path: path.to_owned(),
            found,
            known: SCHEMA,
        });
    }
    let verdict: String = connection
        .query_row("PRAGMA quick_check(1)", [], |row| row.get(0))
        .map_err(damaged)?;
    if found < SCHEMA || verdict != "ok" {
        return Err(StateError::Damaged {
            path: path.to_owned(),
            detail: if verdict == "ok" {
                format!("schema version {found}")
            } else {
                verdict.replace('\n', " ")
            },
        });
    }
    Ok(())
}

pub(super) fn version(connection: &Connection) -> rusqlite::Result<i64> {
    connection.pragma_query_value(None, "user_version", |row| row.get(0))
}

/// Rows, bytes, first and last reading of the journal.
pub(crate) fn span(connection: &Connection) -> rusqlite::Result<Option<(u64, u64, u64, u64)>> {
    connection.query_row(
        "SELECT count(*), coalesce(sum(length(data)), 0), min(first_seq), max(last_seq) FROM journal",
        [],
        |row| {
            let number = |i| row.get::<_, Option<i64>>(i).map(|n| n.map(|n| n as u64));
            Ok(match (number(0)?, number(1)?, number(2)?, number(3)?) {
                (Some(rows), Some(bytes), Some(first), Some(last)) => Some((rows, bytes, first, last)),
                _ => None,
            })
        },
    )
}

/// A number of the meta table; 0 where it is missing.
pub(crate) fn meta(connection: &Connection, key: &str) -> rusqlite::Result<u64> {
    connection
        .query_row("SELECT value FROM meta WHERE key = ?1", [key], |row| {
            row.get::<_, i64>(0)
        })
        .optional()
        .map(|value| value.unwrap_or(0) as u64)
}
