//! What a shard's log carries: commands, and the outcomes that applying them gives on every replica alike.

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use xxhash_rust::xxh3::xxh3_128;

use crate::attachment::Sent;
use crate::ids::{DbUid, DocId, Index, RequestId, Seq, ShardId, Signature, Slot, UploadId};
use crate::mango::kept::Kept;
use crate::rev::Rev;
use crate::validation::{Defined, Fingerprint};

/// One write, as a shard's log carries it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Command {
    /// Names this write over all its retries.
    pub request: RequestId,
    /// Whether it is such a retry: it may have been proposed before, and have taken effect.
    pub retry: bool,
    /// What to do.
    pub op: Op,
}

/// What a command does. The order of the variants is part of the log's format: add at the end only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Op {
    /// An interactive edit: extends a leaf, or conflicts.
    Edit(Edit),
    /// A replicated revision (`new_edits=false`): grafted, never refused.
    Graft(Graft),
    /// A local document, last writer wins unless it names a revision.
    Local(LocalEdit),
    /// Forget a database and refuse its uid for ever.
    DropDb {
        /// The database to drop.
        db: DbUid,
    },
    /// Take over slots under a newer shard map; refused when the replica knows a map at least as new.
    AdoptSlots {
        /// Version of the shard map these slots come from.
        version: u64,
        /// The slots this shard owns from now on, sorted.
        slots: Vec<Slot>,
    },
    /// Drop the bodies of a document's revisions that others descend from. The document keeps its place in the stream.
    Compact {
        /// Which document.
        doc: Address,
    },
    /// Forget leaves of a document, as if they had never been there.
    Purge(Purge),
    /// Keep these indexes of a database and no others, if the shard's are still those of `version`.
    AdoptIndexes {
        /// The database.
        db: DbUid,
        /// The version the decision was made for.
        version: u64,
        /// All indexes of the database.
        indexes: Vec<Kept>,
    },
    /// Go on making a database's indexes, and clearing away those that are kept no longer: one bounded step.
    BuildIndexes {
        /// The database.
        db: DbUid,
    },
    /// Edits of several documents that are written together or not at all.
    Atomic(Atomic),
    /// An edit or a graft of a document that has attachments. One without any drops those that there were.
    Attached(Box<Attached>),
    /// Bytes of an attachment, before the write that names them.
    PutChunk(PutChunk),
    /// Forget uploads that no write has named and that got nothing since an entry of the log: one bounded step.
    ForgetUploads {
        /// Those that got their last chunk before this entry.
        before: Index,
    },
    /// A write of documents of a database that has validation functions. Other databases' writes are sent bare: they
    /// pay nothing for what they do not have.
    Validated(Box<Validated>),
    /// Take in what design documents on other shards define as validation functions.
    AdoptValidators {
        /// The database.
        db: DbUid,
        /// Those shards.
        others: Vec<(ShardId, Defined)>,
    },
    /// Take away every index of views of a database but these.
    KeepViews {
        /// The database.
        db: DbUid,
        /// Those that are still of use, whether the shard has them or not.
        signatures: Vec<Signature>,
    },
}

impl Op {
    /// The database this op concerns; `None` for ops on the shard itself.
    pub fn db(&self) -> Option<DbUid> {
        match self {
            Op::Edit(edit) => Some(edit.doc.db),
            Op::Graft(graft) => Some(graft.doc.db),
            Op::Local(local) => Some(local.doc.db),
            Op::Compact { doc } => Some(doc.db),
            Op::Purge(purge) => Some(purge.doc.db),
            Op::Atomic(atomic) => Some(atomic.db),
            Op::DropDb { db } | Op::AdoptIndexes { db, .. } | Op::BuildIndexes { db } | Op::KeepViews { db, .. } => {
                Some(*db)
            }
            Op::Attached(attached) => Some(attached.write.doc().db),
            Op::PutChunk(chunk) => Some(chunk.doc.db),
            Op::Validated(validated) => validated.op.db(),
            Op::AdoptValidators { db, .. } => Some(*db),
            Op::AdoptSlots { .. } | Op::ForgetUploads { .. } => None,
        }
    }
}

/// Where a document lives.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// The database.
    pub db: DbUid,
    /// The slot the router computed; the replica checks that it owns it.
    pub slot: Slot,
    /// The document.
    pub id: DocId,
}

/// An interactive edit of one document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Edit {
    /// Which document.
    pub doc: Address,
    /// The revision this edit replaces; `None` creates, or continues a deleted document.
    pub parent: Option<Rev>,
    /// What the edit makes of it.
    pub kind: EditKind,
    /// The new body.
    pub body: Body,
    /// Longest chain of ancestors to keep (`_revs_limit`).
    pub revs_limit: u32,
}

/// What an edit makes of a document. The order of the variants is part of the log's format: add at the end only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum EditKind {
    /// A live revision.
    Update,
    /// A deletion written as a document (`"_deleted": true`): it may be the very first revision.
    Tombstone,
    /// A deletion of what must be there.
    Delete,
}

impl EditKind {
    /// The kind of an edit that is a document: a deletion or not.
    pub fn of_document(deleted: bool) -> Self {
        if deleted { Self::Tombstone } else { Self::Update }
    }

    /// Whether the new revision is a deletion.
    pub fn deletes(self) -> bool {
        match self {
            Self::Update => false,
            Self::Tombstone | Self::Delete => true,
        }
    }
}

/// A document's body: the JSON object's text without its `_`-members, as sent, and the digest of that text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Body {
    /// JSON text of an object, `{}` at least.
    pub json: Bytes,
    /// XXH3 of `json`, computed once by the router so that replicas need not. It tells edits apart that one document got
    /// upon one revision; nobody is kept from making two bodies of one digest, as with the MD5 of CouchDB, which takes
    /// forty times as long.
    pub digest: [u8; 16],
}

impl Body {
    /// The body that is this text.
    pub fn of(json: Bytes) -> Self {
        Self { digest: xxh3_128(&json).to_be_bytes(), json }
    }
}

/// A revision made elsewhere, with the path that leads to it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Graft {
    /// Which document.
    pub doc: Address,
    /// The revision and its known ancestors, newest first; never empty; generations fall by one.
    pub path: Vec<Rev>,
    /// Whether the revision is a deletion.
    pub deleted: bool,
    /// The revision's body.
    pub body: Body,
    /// Longest chain of ancestors to keep.
    pub revs_limit: u32,
}

/// A write of a document with attachments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// What is written.
    pub write: Bearer,
    /// All attachments it is to have, in the order they are listed; each name once, never empty.
    pub attachments: Vec<Sent>,
}

/// What attachments come with. The order of the variants is part of the log's format: add at the end only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Bearer {
    /// An interactive edit. The digest of its body is that of the text alone.
    Edit(Edit),
    /// A revision made elsewhere.
    Graft(Graft),
}

impl Bearer {
    /// The document.
    pub fn doc(&self) -> &Address {
        match self {
            Self::Edit(edit) => &edit.doc,
            Self::Graft(graft) => &graft.doc,
        }
    }

    /// Its body.
    pub fn body(&self) -> &Body {
        match self {
            Self::Edit(edit) => &edit.body,
            Self::Graft(graft) => &graft.body,
        }
    }
}

/// A write, and why it may be taken.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Validated {
    /// Why.
    pub by: By,
    /// [`Op::Edit`], [`Op::Graft`], [`Op::Atomic`] or [`Op::Attached`].
    pub op: Op,
}

/// Why a write may be taken. The order of the variants is part of the log's format: add at the end only.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum By {
    /// These functions have nothing against it; if they are those of the shard.
    Functions(Fingerprint),
    /// Nobody is asked: it is a restore, or what the cluster notes down itself.
    Exempt,
    /// It may not: its functions refused it. What was uploaded for it is forgotten.
    Nobody,
}

/// One chunk of an upload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PutChunk {
    /// The document it is for.
    pub doc: Address,
    /// The upload.
    pub upload: UploadId,
    /// Which chunk, from 0. One that is there already changes nothing; one behind a gap is refused.
    pub number: u32,
    /// [`CHUNK_BYTES`](crate::attachment::CHUNK_BYTES), or less for the last one.
    pub bytes: Bytes,
}

/// A write of a local document (`_local/…`), which has no tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalEdit {
    /// Which document; its id starts with `_local/`.
    pub doc: Address,
    /// The counter of `0-N` this edit says it replaces; `None` overwrites whatever is there.
    pub parent: Option<u64>,
    /// The new JSON text without `_`-members; `None` deletes.
    pub json: Option<Bytes>,
}

/// Forgets leaves of a document, with those of their ancestors that no other leaf descends from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Purge {
    /// Which document.
    pub doc: Address,
    /// The leaves; revisions that are none are passed over.
    pub revs: Vec<Rev>,
    /// Purges the database remembers, so that a repeated one is told what the first one did.
    pub infos_limit: u32,
}

/// Interactive edits of documents of one slot, each of another document. All of them bear the name of the command, and each
/// document remembers it: done once, it is known by any of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Atomic {
    /// The database.
    pub db: DbUid,
    /// The edits; their addresses are in this database.
    pub edits: Vec<Edit>,
}

/// What applying a command gave; equal on every replica.
/// The order of the variants is part of the wire format: add at the end only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Outcome {
    /// The revision is in (also when this very request had already put it there).
    Written {
        /// The revision that was written.
        rev: Rev,
        /// Where it stands in the database's stream on this shard.
        seq: Seq,
    },
    /// The parent is not a current leaf, or the document exists and no parent was named.
    Conflict,
    /// A deletion, or an edit of a revision, of a document that is not there.
    NotFound {
        /// Whether it was there once.
        deleted: bool,
    },
    /// The database was dropped: its uid is refused for ever.
    Dropped,
    /// This shard does not own the slot; the router's map is stale.
    NotOwner {
        /// Version of the map the shard knows.
        version: u64,
    },
    /// Done; nothing to report.
    Done,
    /// These leaves were forgotten (also when this very request had already done it).
    Purged {
        /// The leaves, in the order asked.
        revs: Vec<Rev>,
    },
    /// A retry whose first try is not remembered, while others are forgotten: it may have taken effect or not, and
    /// does nothing now.
    Forgotten,
    /// Whether there is more to do for the database's indexes on this shard.
    Indexed {
        /// Whether there is.
        more: bool,
    },
    /// To [`Op::Atomic`]: an outcome for each edit. All are [`Outcome::Written`], or nothing was written: then those that
    /// nothing stood in the way of are [`Outcome::Done`].
    Rows(Vec<Outcome>),
    /// An attachment that was to stay is not there, or not with that `revpos`; nothing was written.
    MissingStub {
        /// Its name.
        name: Box<str>,
    },
    /// An upload is not here, or not whole; nothing was written. Send it again.
    MissingUpload,
    /// Uploads were forgotten.
    Swept {
        /// Whether there are more.
        more: bool,
    },
    /// It would be written, but was not put to the validation functions of this shard; nothing was done.
    OtherValidators,
}
