//! Errors of a state file, worded so that an operator can act.

use std::path::PathBuf;

/// An error of the state file.
#[derive(Debug, thiserror::Error)]
pub enum StateError {
    /// The file or its directory cannot be opened or made.
    #[error("cannot open state file {path}: {detail}")]
    Open {
        /// The file.
        path: PathBuf,
        /// Message of the system or of SQLite.
        detail: String,
    },
    /// Another process holds the file.
    #[error("state file {path} is in use by another process")]
    InUse {
        /// The file.
        path: PathBuf,
    },
    /// The file was written by a newer version of this program.
    #[error(
        "state file {path} has schema {found}, this version knows up to {known}: use the newer version, or another state directory"
    )]
    NewerSchema {
        /// The file.
        path: PathBuf,
        /// Schema version found.
        found: i64,
        /// Newest schema version known.
        known: i64,
    },
    /// The file is a database, but not one of ours.
    #[error("{path} is not a spiked state file")]
    NotOurs {
        /// The file.
        path: PathBuf,
    },
    /// The file is damaged beyond what snapshots and the journal's checksums can mend.
    #[error(
        "state file {path} is damaged and nothing usable could be read from it: {detail}; move it away to start from nothing"
    )]
    Damaged {
        /// The file.
        path: PathBuf,
        /// The finding.
        detail: String,
    },
    /// A checksum or a layout is wrong.
    #[error("{what}: {detail}")]
    Format {
        /// The part that was being read.
        what: &'static str,
        /// The error.
        detail: String,
    },
    /// SQLite refused: disk full, read-only, an I/O error.
    #[error("{what}: {source}")]
    Sql {
        /// The action that failed.
        what: &'static str,
        /// SQLite's words.
        #[source]
        source: rusqlite::Error,
    },
    /// A file could not be read or written.
    #[error("{what} {path}: {source}")]
    Io {
        /// The action that failed.
        what: &'static str,
        /// The file.
        path: PathBuf,
        /// The system's words.
        #[source]
        source: std::io::Error,
    },
    /// The writer has been closed.
    #[error("the state writer has stopped")]
    Closed,
}

impl StateError {
    /// Wraps an SQLite error with what was being done.
    pub(crate) fn sql(what: &'static str) -> impl FnOnce(rusqlite::Error) -> StateError {
        move |source| StateError::Sql { what, source }
    }

    /// A layout or checksum error.
    pub(crate) fn format(what: &'static str, detail: impl ToString) -> StateError {
        StateError::Format {
            what,
            detail: detail.to_string(),
        }
    }
}
