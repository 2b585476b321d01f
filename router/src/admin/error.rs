//! Why a command could not be carried out, and what to do about it.

use std::io;
use std::path::PathBuf;

use http::StatusCode;

use crate::{backup, offline};

/// See the module.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A backup that could not be taken or restored, or that is damaged.
    #[error(transparent)]
    Backup(#[from] backup::error::Error),
    /// The command line cannot be meant so.
    #[error("{0}")]
    Usage(String),
    /// A file that the command line names cannot be read.
    #[error("{path}: {source}")]
    File {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Nobody answers.
    #[error("{url}: {reason}\nIs a router running there? Another one's address is given with --url.")]
    Unreachable {
        /// Who was asked.
        url: String,
        /// What went wrong on the way.
        reason: String,
    },
    /// The router wants to know who is asking.
    #[error(
        "{url}: {reason}\nAn admin's name and password are needed: --user NAME, with the password in the environment \
         variable QUORATE_PASSWORD or in a file given with --password-file."
    )]
    Denied {
        /// Who was asked.
        url: String,
        /// What it said.
        reason: String,
    },
    /// The router answers that it will not, or cannot now.
    #[error("{url}: {status}: {reason}")]
    Refused {
        /// Who was asked.
        url: String,
        /// The answer's status.
        status: StatusCode,
        /// What it said.
        reason: String,
    },
    /// What answers is no router, or one of another version.
    #[error(
        "{url}: the answer cannot be read: {reason}\nIs this a router of Quorate, and not older than this program?"
    )]
    Foreign {
        /// Who was asked.
        url: String,
        /// What does not fit.
        reason: String,
    },
    /// Begun, and not done in time. What was begun goes on.
    #[error("{0}")]
    Unfinished(String),
    /// The files cannot be looked at.
    #[error(transparent)]
    Offline(#[from] offline::Error),
    /// The answer cannot be printed.
    #[error("the output: {0}")]
    Output(#[from] io::Error),
}

impl Error {
    /// The program's exit code: 1 for something begun that is not done, 2 for what could not even be looked at.
    pub(super) fn code(&self) -> u8 {
        match self {
            Error::Unfinished(_) | Error::Backup(_) => 1,
            _ => 2,
        }
    }

    /// Whether nobody reads the output any more, as behind `| head`.
    pub(super) fn is_unread(&self) -> bool {
        matches!(self, Error::Output(error) if error.kind() == io::ErrorKind::BrokenPipe)
    }
}
