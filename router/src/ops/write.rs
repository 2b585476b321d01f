//! Writes one document: an edit, a deletion, or a revision made elsewhere.

use bytes::Bytes;
use common::attachment::Sent;
use common::command::{Address, Attached, Bearer, Body, Edit, EditKind, Graft, Op, Outcome};
use common::document::Parsed;
use common::ids::{DbName, DocId, RequestId};
use common::query::{Answer, Consistency, Query, RevBody, Revs, Upon};
use common::rev::Rev;

use super::validation::Author;
use super::{Error, Ops, Receipt};
use crate::cluster::catalog::DbEntry;

/// One write of one document.
#[derive(Debug, Clone)]
pub struct Write {
    /// Names it over all its retries.
    pub request: RequestId,
    /// What to write.
    pub change: Change,
    /// Whose it is.
    pub author: Author,
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
        /// All attachments it is to have.
        attachments: Vec<Sent>,
    },
    /// Adds a revision made elsewhere (`new_edits=false`).
    Graft {
        /// The revision and its ancestors, newest first.
        path: Vec<Rev>,
        /// Whether it is a deletion.
        deleted: bool,
        /// Its body.
        body: Body,
        /// All attachments it has.
        attachments: Vec<Sent>,
    },
}

impl Change {
    /// What a parsed document with these attachments asks for; what it says of them itself was read before.
    pub fn of(parsed: Parsed, attachments: Vec<Sent>, new_edits: bool) -> Result<Self, Error> {
        if new_edits {
            let kind = EditKind::of_document(parsed.deleted);
            return Ok(Self::Edit { parent: parsed.rev, kind, body: parsed.body, attachments });
        }
        let no_path = "When `new_edits: false`, the document needs `_rev` or `_revisions` specified";
        let path = parsed.path().ok_or_else(|| Error::bad(no_path))?;
        Ok(Self::Graft { path, deleted: parsed.deleted, body: parsed.body, attachments })
    }

    /// Whether it deletes.
    pub fn is_deletion(&self) -> bool {
        match self {
            Self::Edit { kind, .. } => kind.deletes(),
            Self::Graft { deleted, .. } => *deleted,
        }
    }

    /// All attachments the document is to have.
    pub(super) fn attachments(&self) -> &[Sent] {
        match self {
            Self::Edit { attachments, .. } | Self::Graft { attachments, .. } => attachments,
        }
    }

    /// The same without its body and what it carries: what is left names the uploads.
    pub(super) fn uploads_alone(mut self) -> Self {
        let (Self::Edit { body, attachments, .. } | Self::Graft { body, attachments, .. }) = &mut self;
        *body = Body::of(Bytes::from_static(b"{}"));
        attachments.retain(|sent| sent.upload().is_some());
        self
    }

    /// The new body.
    pub(super) fn body(&self) -> &Body {
        match self {
            Self::Edit { body, .. } | Self::Graft { body, .. } => body,
        }
    }

    /// Where it wants to stand in the document's tree.
    pub(super) fn upon(&self) -> Upon {
        match self {
            Self::Edit { parent, kind, .. } => Upon::Edit { parent: parent.clone(), kind: *kind },
            Self::Graft { path, .. } => Upon::Graft { path: path.clone() },
        }
    }

    pub(super) fn into_op(self, db: &DbEntry, doc: Address) -> Op {
        let revs_limit = db.revs_limit;
        let (write, attachments) = match self {
            Self::Edit { parent, kind, body, attachments } => {
                (Bearer::Edit(Edit { doc, parent, kind, body, revs_limit }), attachments)
            }
            Self::Graft { path, deleted, body, attachments } => {
                (Bearer::Graft(Graft { doc, path, deleted, body, revs_limit }), attachments)
            }
        };
        match write {
            Bearer::Edit(edit) if attachments.is_empty() => Op::Edit(edit),
            Bearer::Graft(graft) if attachments.is_empty() => Op::Graft(graft),
            write => Op::Attached(Box::new(Attached { write, attachments })),
        }
    }
}

/// The revision that a write gave; or why it gave none.
pub(super) fn rev_of(id: &DocId, outcome: Outcome) -> Result<Rev, Error> {
    match outcome {
        Outcome::Written { rev, .. } => Ok(rev),
        Outcome::NotFound { deleted: true } => Err(Error::Deleted),
        Outcome::NotFound { deleted: false } => Err(Error::Missing),
        Outcome::MissingStub { name } => Err(Error::MissingStub { id: id.as_str().into(), name }),
        Outcome::MissingUpload => Err(Error::UploadLost),
        _ => Err(Error::Conflict),
    }
}

impl Ops {
    /// Writes one document, if its database's functions let it in, and tells its new revision. A function that a design
    /// document defines is in force when this comes back.
    pub async fn write(&self, db: &DbName, id: &DocId, write: Write) -> Result<Receipt, Error> {
        let unsettled = self.unsettled(db, std::iter::once(id));
        let (outcome, shard) = self.write_let_in(db, id, &write).await?;
        let rev = rev_of(id, outcome)?;
        unsettled.settle().await?;
        Ok(Receipt { rev, shard })
    }

    /// The winner of a document, or a revision of it, to be copied or written upon.
    pub async fn source(&self, db: &DbName, id: &DocId, rev: Option<Rev>) -> Result<RevBody, Error> {
        let revs = rev.map_or(Revs::Winner, Revs::Exact);
        let make = |db: &DbEntry| Query::Doc { db: db.uid, id: id.clone(), revs: revs.clone(), tree: false };
        let (answer, _) = self.read_one(db, id, Consistency::Linearizable, make).await?;
        let Answer::Doc(Some(doc)) = answer else { return Err(Error::Missing) };
        let found = doc.found.into_iter().next().ok_or(Error::Missing)?;
        if found.deleted && revs == Revs::Winner { Err(Error::Deleted) } else { Ok(found) }
    }
}
