//! Writes one document: an edit, a deletion, or a revision made elsewhere.

use common::command::{Address, Body, Edit, EditKind, Graft, Op, Outcome};
use common::document::Parsed;
use common::ids::{DbName, DocId, RequestId};
use common::query::{Answer, Consistency, Query, Revs};
use common::rev::Rev;

use super::{Error, Ops, Receipt};
use crate::cluster::catalog::DbEntry;

/// One write of one document.
#[derive(Debug, Clone)]
pub struct Write {
    /// Names it over all its retries.
    pub request: RequestId,
    /// What to write.
    pub change: Change,
}

/// What a write does to a document.
#[derive(Debug, Clone)]
pub enum Change {
    /// Continues a leaf.
    Edit {
        /// The leaf; `None` creates the document or continues a deleted one.
        parent: Option<Rev>,
        /// What becomes of the document.
        kind: EditKind,
        /// The new body.
        body: Body,
    },
    /// Adds a revision made elsewhere (`new_edits=false`).
    Graft {
        /// The revision and its ancestors, newest first.
        path: Vec<Rev>,
        /// Whether it is a deletion.
        deleted: bool,
        /// Its body.
        body: Body,
    },
}

impl Change {
    /// What a parsed document asks for.
    pub fn of(parsed: Parsed, new_edits: bool) -> Result<Self, Error> {
        if parsed.attachments.is_some() {
            return Err(Error::bad("Attachments are not supported yet."));
        }
        if new_edits {
            let kind = EditKind::of_document(parsed.deleted);
            return Ok(Self::Edit { parent: parsed.rev, kind, body: parsed.body });
        }
        let no_path = "When `new_edits: false`, the document needs `_rev` or `_revisions` specified";
        let path = parsed.path().ok_or_else(|| Error::bad(no_path))?;
        Ok(Self::Graft { path, deleted: parsed.deleted, body: parsed.body })
    }

    /// Whether it deletes.
    pub fn is_deletion(&self) -> bool {
        match self {
            Self::Edit { kind, .. } => kind.deletes(),
            Self::Graft { deleted, .. } => *deleted,
        }
    }

    pub(super) fn into_op(self, db: &DbEntry, doc: Address) -> Op {
        let revs_limit = db.revs_limit;
        match self {
            Self::Edit { parent, kind, body } => Op::Edit(Edit { doc, parent, kind, body, revs_limit }),
            Self::Graft { path, deleted, body } => Op::Graft(Graft { doc, path, deleted, body, revs_limit }),
        }
    }
}

impl Ops {
    /// Writes one document and tells its new revision.
    pub async fn write(&self, db: &DbName, id: &DocId, write: Write) -> Result<Receipt, Error> {
        let Write { request, change } = write;
        let (outcome, shard) = self.write_one(db, id, request, |db, doc| change.clone().into_op(db, doc)).await?;
        match outcome {
            Outcome::Written { rev, .. } => Ok(Receipt { rev, shard }),
            Outcome::NotFound { deleted: true } => Err(Error::Deleted),
            Outcome::NotFound { deleted: false } => Err(Error::Missing),
            _ => Err(Error::Conflict),
        }
    }

    /// The winner of a document, for a copy: its body.
    pub async fn source(&self, db: &DbName, id: &DocId, rev: Option<Rev>) -> Result<bytes::Bytes, Error> {
        let revs = rev.map_or(Revs::Winner, Revs::Exact);
        let make = |db: &DbEntry| Query::Doc { db: db.uid, id: id.clone(), revs: revs.clone(), tree: false };
        let (answer, _) = self.read_one(db, id, Consistency::Linearizable, make).await?;
        let Answer::Doc(Some(doc)) = answer else { return Err(Error::Missing) };
        let found = doc.found.into_iter().next().ok_or(Error::Missing)?;
        if found.deleted && revs == Revs::Winner { Err(Error::Deleted) } else { Ok(found.json) }
    }
}
