//! Why a verb was not done; the words are CouchDB's, since clients compare them.

use std::borrow::Cow;

use common::ids::Invalid;
use common::refusal::Refusal;
use common::{document, mango};

use crate::cluster::catalog::CatalogError;

/// Why a verb was not done. Unless it is a [`Refusal::UnknownOutcome`], it had and will have no effect.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
pub enum Error {
    /// There is no such database.
    #[error("Database does not exist.")]
    NoDatabase,
    /// There is one already.
    #[error("The database could not be created, the file already exists.")]
    DatabaseExists,
    /// The document (or the revision) was never there.
    #[error("missing")]
    Missing,
    /// The document was there once.
    #[error("deleted")]
    Deleted,
    /// The parent is not a current leaf, or the document exists and no parent was named.
    #[error("Document update conflict.")]
    Conflict,
    /// A name that is not allowed.
    #[error(transparent)]
    Invalid(#[from] Invalid),
    /// A document that is not one.
    #[error(transparent)]
    Document(#[from] document::Error),
    /// A query or an index that is none.
    #[error(transparent)]
    Mango(#[from] mango::Error),
    /// A query of one partition, where there are none.
    #[error("`partition` parameter is not supported in this view.")]
    NotPartitioned,
    /// The index that the query needs is not made yet.
    #[error("The index for this query is still being built.")]
    IndexNotBuilt,
    /// The indexes of the database changed while they were read, again and again.
    #[error("The indexes of the database are being changed; try again.")]
    IndexesChange,
    /// There is no such view.
    #[error("missing_named_view")]
    NoView,
    /// A design document that is none.
    #[error("{0}")]
    Design(String),
    /// A function of a design document that is none.
    #[error("{0}")]
    Compilation(String),
    /// A function of a design document failed where that cannot be passed over.
    #[error("{0}")]
    Function(String),
    /// What is not served here.
    #[error("{0}")]
    Unserved(&'static str),
    /// A validation function does not allow it.
    #[error("{0}")]
    Forbidden(Box<str>),
    /// A validation function wants to know who is asking.
    #[error("{0}")]
    Unauthorized(Box<str>),
    /// A validation function threw something else.
    #[error("{reason}")]
    Thrown {
        /// What kind of thing.
        error: &'static str,
        /// What it says.
        reason: Box<str>,
    },
    /// The validation functions of the database changed while a document was put to them, again and again.
    #[error("The validation functions of the database are being changed; try again.")]
    ValidatorsChange,
    /// The document has no such attachment.
    #[error("Document is missing attachment")]
    NoAttachment,
    /// An attachment that was to stay is not there.
    #[error("Invalid attachment stub in {id} for {name}")]
    MissingStub {
        /// The document.
        id: Box<str>,
        /// The attachment.
        name: Box<str>,
    },
    /// An attachment has more bytes than are taken.
    #[error("{0}")]
    AttachmentTooLarge(Box<str>),
    /// The shard has forgotten what it got of an attachment, which took too long.
    #[error("the attachment took too long; send it again")]
    UploadLost,
    /// Anything else that the caller must write differently.
    #[error("{0}")]
    Bad(Cow<'static, str>),
    /// A shard did not do it.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl From<CatalogError> for Error {
    fn from(error: CatalogError) -> Self {
        match error {
            CatalogError::NotFound => Error::NoDatabase,
            CatalogError::Exists => Error::DatabaseExists,
            CatalogError::Refused(refusal) => Error::Refused(refusal),
        }
    }
}

impl Error {
    /// A request that must be written differently, in CouchDB's words.
    pub fn bad(reason: impl Into<Cow<'static, str>>) -> Self {
        Error::Bad(reason.into())
    }
}
