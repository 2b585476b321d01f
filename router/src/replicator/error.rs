//! Why a replication did not go on.

/// What went wrong, named by what can be done about it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// There is no such database, and it was not to be made.
    #[error("could not open {0}")]
    NoDatabase(String),
    /// The credentials are not good for it.
    #[error("unauthorized to access or create database {0}")]
    Unauthorized(String),
    /// Not allowed, whoever asks.
    #[error("{0}")]
    Forbidden(String),
    /// One of the ends refuses something that will be refused again.
    #[error("{what}: {status} {reason}")]
    Refused {
        /// What was asked, of whom.
        what: String,
        /// The status.
        status: u16,
        /// What it said.
        reason: String,
    },
    /// One of the ends could not be reached, or cannot serve now.
    #[error("{0}")]
    Unavailable(String),
    /// Somebody else has written the checkpoints meanwhile: another router runs this replication.
    #[error("another replication has written the checkpoint of {0}")]
    Overtaken(String),
    /// An answer that is none.
    #[error("{0} answered something that cannot be read: {1}")]
    Malformed(String, String),
}

impl Error {
    /// CouchDB's name for it.
    pub fn name(&self) -> &'static str {
        match self {
            Error::NoDatabase(_) => "db_not_found",
            Error::Unauthorized(_) => "unauthorized",
            Error::Forbidden(_) => "forbidden",
            Error::Refused { .. } | Error::Malformed(..) => "replication_failed",
            Error::Unavailable(_) => "unavailable",
            Error::Overtaken(_) => "checkpoint_commit_failure",
        }
    }
}
