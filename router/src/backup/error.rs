//! Why a backup, a restore or a verification did not come to a good end, in words for an operator.

use std::io;
use std::path::{Path, PathBuf};

use common::backup::tally::Tally;
use common::ids::DbName;
use serde::Serialize;

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// It was asked for something that makes no sense, or that would do harm.
    #[error("{0}")]
    Usage(String),
    /// No answer, or one that broke off.
    #[error("{url}: {reason}")]
    Unreachable {
        /// What was asked.
        url: String,
        /// What went wrong on the way.
        reason: String,
    },
    /// The server refused.
    #[error("{url}: {status} {reason}")]
    Answered {
        /// What was asked.
        url: String,
        /// The answer's status.
        status: http::StatusCode,
        /// What it said.
        reason: String,
    },
    /// A file or folder of the backup cannot be used.
    #[error("{path}: {source}", path = path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// The backup was never finished.
    #[error("{} is an incomplete backup: it has no manifest.json, which is written last", .0.display())]
    Incomplete(PathBuf),
    /// The backup is not as it was written.
    #[error("the backup is damaged\n{}", lines(.0))]
    Damaged(Vec<Damage>),
    /// After a restore a database is not what was saved.
    #[error("database {database} is not as it was saved: {saved:?} in the backup, {restored:?} restored")]
    Different {
        /// Which.
        database: DbName,
        /// What the backup counts.
        saved: Box<Tally>,
        /// What the cluster counts.
        restored: Box<Tally>,
    },
}

/// A place in a backup that is not as it was written.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, thiserror::Error)]
#[error("{file}: damaged at byte {offset}: {reason}")]
pub struct Damage {
    /// The file, by its name in the backup's folder.
    pub file: String,
    /// Where in it.
    pub offset: u64,
    /// What does not hold.
    pub reason: String,
}

fn lines(damages: &[Damage]) -> String {
    damages.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n")
}

impl Error {
    /// `path` cannot be used.
    pub(super) fn file(path: &Path) -> impl FnOnce(io::Error) -> Self + use<> {
        let path = path.to_owned();
        move |source| Self::File { path, source }
    }

    /// Whether the same may go through a little later: a failover, a restart, a queue that is full.
    pub(super) fn may_pass(&self) -> bool {
        match self {
            Self::Unreachable { .. } => true,
            Self::Answered { status, .. } => {
                matches!(status.as_u16(), 429 | 502 | 503)
            }
            _ => false,
        }
    }
}

impl From<Damage> for Error {
    fn from(damage: Damage) -> Self {
        Self::Damaged(vec![damage])
    }
}
