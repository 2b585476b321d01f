//! What a write of a document would meet: what its validation functions are shown, and which functions those are.

use serde::{Deserialize, Serialize};

use super::RevBody;
use crate::command::EditKind;
use crate::ids::{DbUid, DocId, RequestId};
use crate::rev::Rev;
use crate::validation::Fingerprint;

/// A write that is to be sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Before {
    /// The database.
    pub db: DbUid,
    /// The document.
    pub id: DocId,
    /// The write's name.
    pub request: RequestId,
    /// Where it wants to stand.
    pub upon: Upon,
}

/// Where a write wants to stand in a document's tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Upon {
    /// An interactive edit.
    Edit {
        /// The leaf it names.
        parent: Option<Rev>,
        /// What it makes of the document.
        kind: EditKind,
    },
    /// A revision made elsewhere.
    Graft {
        /// The revision and its ancestors, newest first.
        path: Vec<Rev>,
    },
}

/// What it would meet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Met {
    /// The functions in force; `None` if there are none.
    pub in_force: Option<Fingerprint>,
    /// What would become of it, if they had nothing against it.
    pub standing: Standing,
}

/// What would become of a write.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Standing {
    /// Nothing new: it was done before, or there is no place for it.
    Settled,
    /// It would be written, over this revision if over any. An edit that names none replaces nothing, also where the
    /// document was deleted; a revision made elsewhere replaces the newest of its ancestors whose body is kept.
    Open(Option<Box<Replaced>>),
}

/// A revision that would be replaced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Replaced {
    /// The revision.
    pub body: RevBody,
    /// The revision and its ancestors, newest first.
    pub path: Vec<Rev>,
}
