//! What the log could not do, named by what the caller can do about it.

use std::io;
use std::path::{Path, PathBuf};

use super::Identity;

/// An error of the log. Cheap to clone: one failed sync is told to everybody who waited for it.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Error {
    /// The folder belongs to another replica; nothing was touched.
    #[error("{dir} is the log of {found}, not of {expected}")]
    Foreign {
        /// The log's folder.
        dir: PathBuf,
        /// Whose log it is.
        found: Box<Identity>,
        /// Who wanted to open it.
        expected: Box<Identity>,
    },
    /// Another process, or another handle in this one, has the log open.
    #[error("{dir} is in use by another process")]
    Locked {
        /// The log's folder.
        dir: PathBuf,
    },
    /// Bytes that were durable are not what was written. The replica must be rebuilt from the others.
    #[error("{file} is damaged at byte {offset}: {reason}")]
    Damaged {
        /// The segment.
        file: PathBuf,
        /// Where in the segment.
        offset: u64,
        /// What does not hold.
        reason: String,
    },
    /// Written by a version of Quorate that this one does not know. Not damage: use the newer binary.
    #[error("{file} has format {found}, which this version does not know")]
    Format {
        /// The segment.
        file: PathBuf,
        /// The format found there.
        found: u32,
    },
    /// No room for another segment. Nothing of the call was written; it may be repeated when there is room.
    #[error("no room for another log segment in {dir}")]
    DiskFull {
        /// The log's folder.
        dir: PathBuf,
    },
    /// The call does not continue the log; nothing of it was written. A bug of the caller.
    #[error("the log goes on at index {expected}, not at {found}")]
    Order {
        /// The index the log accepts.
        expected: u64,
        /// The index that came.
        found: u64,
    },
    /// One call with more bytes than a segment can ever hold; nothing of it was written.
    #[error("{bytes} bytes in one append are too many")]
    TooLarge {
        /// Size of the call.
        bytes: u64,
    },
    /// The log was closed before the call.
    #[error("the log is closed")]
    Closed,
    /// Reading, writing or syncing failed. After a failed write or sync nobody knows what is on the disk, so the log
    /// refuses everything from there on and the process should end.
    #[error("{path}: {reason}")]
    Io {
        /// The file or folder.
        path: PathBuf,
        /// What the system said.
        reason: String,
    },
}

impl Error {
    pub(super) fn io(path: &Path, error: &io::Error) -> Self {
        Self::Io { path: path.to_owned(), reason: error.to_string() }
    }

    pub(super) fn damaged(file: &Path, offset: u64, reason: impl Into<String>) -> Self {
        Self::Damaged { file: file.to_owned(), offset, reason: reason.into() }
    }
}
