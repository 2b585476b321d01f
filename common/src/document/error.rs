//! Why a document was refused.

/// Why a document was refused; shown as CouchDB's reason, where CouchDB has one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Error {
    /// The text is not JSON, or not UTF-8.
    #[error("invalid UTF-8 JSON")]
    Malformed,
    /// The text is JSON, but not an object.
    #[error("Document must be a JSON object")]
    NotObject,
    /// One object has one key twice.
    #[error("Duplicate key in a JSON object: {key}")]
    DuplicateKey {
        /// The key, unescaped.
        key: String,
    },
    /// More containers inside each other than allowed.
    #[error("JSON is nested more than {max} levels deep")]
    TooDeep {
        /// The limit.
        max: usize,
    },
    /// An integer of more digits than the parser walks.
    #[error("A JSON integer has more than 4300 digits")]
    NumberTooLong,
    /// A member that starts with `_` and means nothing.
    #[error("Bad special document member: {0}")]
    BadMember(String),
    /// `_id` is not a string.
    #[error("Document id must be a string")]
    IdNotString,
    /// `_rev` is not `N-hash`.
    #[error("Invalid rev format")]
    Rev,
    /// `_deleted` is not a boolean.
    #[error("`_deleted` must be a boolean.")]
    DeletedNotBoolean,
    /// `_revisions.start` is not a number of generations.
    #[error("_revisions.start isn't an integer.")]
    RevisionsStart,
    /// `_revisions.ids` is not an array.
    #[error("_revisions.ids isn't a array.")]
    RevisionsIds,
    /// A hash in `_revisions.ids` is not a string, or empty.
    #[error("RevId isn't a string")]
    RevisionsId,
    /// `_revisions` has more hashes than `start` has generations.
    #[error("_revisions.ids has more revisions than _revisions.start")]
    RevisionsTooMany,
    /// An attachment's name that means something else.
    #[error("Attachment name '{0}' starts with prohibited character '_'")]
    AttachmentName(String),
    /// An attachment that is neither a stub, nor follows, nor has data in base64.
    #[error("Invalid attachment data for {0}")]
    AttachmentData(String),
    /// An attachment packed in a way that is not known.
    #[error("Only gzip and identity content-encodings are supported: {0}")]
    AttachmentEncoding(String),
    /// The body of a bulk request is not an object.
    #[error("Request body must be a JSON object")]
    BodyNotObject,
    /// A bulk request without documents.
    #[error("POST body must include `docs` parameter.")]
    DocsMissing,
    /// `docs` is not an array.
    #[error("`docs` parameter must be an array.")]
    DocsNotArray,
    /// `atomic` is not a boolean.
    #[error("`atomic` parameter must be a boolean.")]
    AtomicNotBoolean,
    /// `new_edits` is not a boolean.
    #[error("`new_edits` parameter must be a boolean.")]
    NewEditsNotBoolean,
}

impl Error {
    /// The `error` that goes with the reason; the status is 400 for all of them.
    pub fn name(&self) -> &'static str {
        match self {
            Self::IdNotString => "illegal_docid",
            Self::BadMember(_)
            | Self::RevisionsStart
            | Self::RevisionsIds
            | Self::RevisionsId
            | Self::RevisionsTooMany => "doc_validation",
            _ => "bad_request",
        }
    }
}
