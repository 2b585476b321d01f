//! The records of a backup, and their bytes: a kind, a length, postcard.
//!
//! Kinds are added at the end and never used again. A kind that is not known is an error: what it holds would be lost
//! in silence.

use bytes::Bytes;
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::attachment::{Attachment, BlobDigest};
use crate::ids::{DbUid, DocId};
use crate::rev::Rev;
use crate::rev_tree::RevTree;

const DATABASE: u8 = 1;
const DOCUMENT: u8 = 2;
const BODY: u8 = 3;
const LOCAL: u8 = 4;
const ATTACHED: u8 = 5;
const CHUNK: u8 = 6;

/// Kind and length.
const HEAD: usize = 5;

/// One record.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Record {
    /// What follows belongs to this database.
    Database(DbUid),
    /// A document; a [`Record::Body`] follows for each revision whose body is kept.
    Document(Document),
    /// The body of a revision of the document before, in the order of its revisions.
    Body(Body),
    /// A local document; they come behind all documents of their database.
    Local(Local),
    /// The same as [`Record::Body`], of a revision with attachments. All bytes of blobs that its document has not named
    /// before follow, in the order of the attachments.
    Attached(Attached),
    /// Bytes of a blob.
    Chunk(Chunk),
}

/// A document's revision tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Document {
    /// Its id.
    pub id: DocId,
    /// All revisions, lowest first, so that a parent stands before its children.
    pub revisions: Vec<Revision>,
}

/// One revision in a tree.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Revision {
    /// The revision.
    pub rev: Rev,
    /// The place of its parent among the revisions, unless it is a root.
    pub parent: Option<u32>,
    /// Whether it is a deletion.
    pub deleted: bool,
    /// Whether its body is kept, and follows.
    pub stored: bool,
}

/// A body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Body {
    /// The place of its revision in the document before.
    pub at: u32,
    /// JSON text of the object without its `_`-members.
    pub json: Bytes,
}

/// A body with attachments.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attached {
    /// The place of its revision in the document before.
    pub at: u32,
    /// JSON text of the object without its `_`-members.
    pub json: Bytes,
    /// Its attachments, in the order they are listed.
    pub attachments: Vec<Attachment>,
}

/// A part of a blob.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Chunk {
    /// The blob.
    pub blob: BlobDigest,
    /// Which of its chunks, from 0.
    pub number: u32,
    /// All bytes of that chunk.
    pub bytes: Bytes,
}

/// A local document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Local {
    /// Its id, which starts with `_local/`.
    pub id: DocId,
    /// N of its revision `0-N`.
    pub counter: u64,
    /// JSON text of the object without its `_`-members.
    pub json: Bytes,
}

/// Bytes that are no record.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Made by a newer program.
    #[error("a record of kind {0}, which is not known here")]
    Kind(u8),
    /// Cut or garbled.
    #[error("a record that cannot be read: {0}")]
    Garbled(String),
}

impl Document {
    /// The document `id` with this tree; without the requests that the tree remembers.
    pub fn of(id: DocId, tree: &RevTree) -> Self {
        let place = |rev: &Rev| tree.nodes().binary_search_by(|node| node.rev.cmp(rev)).ok();
        let parent = |rev: &Rev| tree.parent(rev).and_then(|parent| place(&parent.rev));
        let revision = |node: &crate::rev_tree::Node| Revision {
            rev: node.rev.clone(),
            parent: parent(&node.rev).map(|at| u32::try_from(at).expect("a tree has fewer than 2^32 nodes")),
            deleted: node.deleted,
            stored: node.stored,
        };
        Self { id, revisions: tree.nodes().iter().map(revision).collect() }
    }
}

impl Record {
    /// Puts the record's bytes behind `out`.
    pub fn encode(&self, out: &mut Vec<u8>) {
        match self {
            Self::Database(uid) => put(out, DATABASE, uid),
            Self::Document(document) => put(out, DOCUMENT, document),
            Self::Body(body) => put(out, BODY, body),
            Self::Local(local) => put(out, LOCAL, local),
            Self::Attached(body) => put(out, ATTACHED, body),
            Self::Chunk(chunk) => put(out, CHUNK, chunk),
        }
    }

    /// Takes the first record off `bytes`.
    pub fn decode(bytes: &mut &[u8]) -> Result<Self, Unreadable> {
        let cut = || Unreadable::Garbled("it is cut".to_owned());
        let (head, rest) = bytes.split_first_chunk::<HEAD>().ok_or_else(cut)?;
        let len = u32::from_le_bytes([head[1], head[2], head[3], head[4]]) as usize;
        let (body, rest) = rest.split_at_checked(len).ok_or_else(cut)?;
        *bytes = rest;
        match head[0] {
            DATABASE => get(body).map(Self::Database),
            DOCUMENT => get(body).map(Self::Document),
            BODY => get(body).map(Self::Body),
            LOCAL => get(body).map(Self::Local),
            ATTACHED => get(body).map(Self::Attached),
            CHUNK => get(body).map(Self::Chunk),
            kind => Err(Unreadable::Kind(kind)),
        }
    }
}

fn put<T: Serialize>(out: &mut Vec<u8>, kind: u8, value: &T) {
    let start = out.len();
    out.extend_from_slice(&[kind, 0, 0, 0, 0]);
    *out = postcard::to_extend(value, std::mem::take(out)).expect("records always serialise into memory");
    let len = u32::try_from(out.len() - start - HEAD).expect("a record is far smaller than 4 GiB");
    out[start + 1..start + HEAD].copy_from_slice(&len.to_le_bytes());
}

fn get<T: DeserializeOwned>(bytes: &[u8]) -> Result<T, Unreadable> {
    match postcard::take_from_bytes(bytes) {
        Ok((value, [])) => Ok(value),
        Ok(_) => Err(Unreadable::Garbled("it is too long".to_owned())),
        Err(error) => Err(Unreadable::Garbled(error.to_string())),
    }
}
