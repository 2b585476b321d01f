//! Counting documents, step by step.

use serde::{Deserialize, Serialize};

use crate::ids::{DbUid, DocId};

/// Counts the documents in a range of ids, deleted ones as well.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tally {
    /// The database.
    pub db: DbUid,
    /// Lowest id, inclusive. May be any text.
    pub low: Box<str>,
    /// Highest id, exclusive.
    pub high: Box<str>,
    /// Goes on behind this one: the `resume` of the step before.
    pub after: Option<DocId>,
}

/// What one step counted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counted {
    /// Documents whose winner is not a deletion.
    pub docs: u64,
    /// Documents whose winner is one.
    pub deleted: u64,
    /// Bytes of the JSON text of the winners that are not deletions.
    pub bytes: u64,
    /// The last document counted, if there may be more behind it.
    pub resume: Option<DocId>,
}
