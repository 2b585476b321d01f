//! What a shard is asked of a view, and what it answers.
//!
//! The rows of a view have places: bytes that sort as rows do, by key, then by the document's id as bytes, then in the
//! order they were emitted. They are equal on all shards, so that rows are merged by them alone.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::design::Group;
use super::reduce::{Builtin, Partial};
use crate::attachment::Attachment;
use crate::ids::{DbUid, DocId, Seq};
use crate::query::Consistency;
use crate::refusal::Refusal;
use crate::rev::Rev;

/// A request for rows of a view.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewRequest {
    /// The database.
    pub db: DbUid,
    /// What the index of the view depends on.
    pub group: Group,
    /// Which of its maps.
    pub map: u32,
    /// How fresh the answer must be.
    pub consistency: Consistency,
    /// As of [`ReadRequest`](crate::wire::ReadRequest): answer however old it is.
    pub last_resort: bool,
    /// Whether the index is to be brought up to date first.
    pub update: bool,
    /// How long that may take before the replica says how far it is, in milliseconds.
    pub wait_ms: u64,
    /// What of it.
    pub rows: Rows,
}

/// Which rows, and what of them.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rows {
    /// The ranges wanted, in this order; each within itself in the order of its rows.
    pub spans: Vec<Span>,
    /// Last rows first, within each range.
    pub descending: bool,
    /// Goes on behind this one: the range's number, and a place in it.
    pub after: Option<(u32, Bytes)>,
    /// Rows (or groups) at most; a replica may send fewer, or none, and say where to go on.
    pub limit: u32,
    /// Whether to send the documents that the rows are of.
    pub docs: bool,
    /// Whether to send their conflicts as well.
    pub conflicts: bool,
    /// Whether to count the rows before the first range (up to a bound).
    pub count_before: bool,
    /// Wants the rows reduced.
    pub reducing: Option<Reducing>,
}

/// A range of places.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Span {
    /// The lowest place, inclusive.
    pub low: Bytes,
    /// The end; `None` to the last.
    pub high: Option<Bytes>,
}

/// How rows are reduced.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reducing {
    /// By what: a function in JavaScript (its text) if this is none that is built in.
    pub by: Result<Builtin, Box<str>>,
    /// What is put together.
    pub level: GroupLevel,
}

/// Which rows are put together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum GroupLevel {
    /// All of a range.
    All,
    /// Those with equal keys.
    Exact,
    /// Those whose keys are arrays that begin with so many equal items, or else are equal.
    Items(u32),
}

/// To a request for rows of a view.
pub type ViewAnswer = Result<Viewed, Refusal>;

/// An answer, and how old it may be.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Viewed {
    /// The answer.
    pub reply: ViewReply,
    /// In milliseconds; 0 when linearizable.
    pub lag_ms: u64,
}

/// What a replica answers.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum ViewReply {
    /// Rows.
    Page(ViewPage),
    /// Groups of rows.
    Groups(GroupPage),
    /// The index is not up to date yet; ask again.
    Behind {
        /// How far it is.
        at: Seq,
        /// Where it has to be.
        wanted: Seq,
    },
    /// A function cannot be compiled: which of the maps, or none for the reduce function, and why.
    Uncompiled {
        /// The map.
        map: Option<u32>,
        /// Why.
        reason: String,
    },
    /// A reduce function failed; JSON text of what it threw, or words.
    Failed {
        /// Words.
        reason: String,
    },
    /// The database was dropped.
    Dropped,
}

/// Rows, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewPage {
    /// The rows.
    pub rows: Vec<ViewRow>,
    /// Where to go on, if it did not come to the end.
    pub resume: Option<(u32, Bytes)>,
    /// Rows of the view on this shard.
    pub total: u64,
    /// Rows before the first range, if that was asked for and is small enough to count.
    pub before: Option<u64>,
    /// Up to where the index has taken in the database's stream on this shard.
    pub seq: Seq,
}

/// One row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewRow {
    /// The number of its range.
    pub span: u32,
    /// Its place.
    pub place: Bytes,
    /// The document it is of.
    pub id: DocId,
    /// JSON text.
    pub key: Box<str>,
    /// JSON text.
    pub value: Box<str>,
    /// The document as it is now, if asked for and still there.
    pub doc: Option<ViewDoc>,
}

/// A document beside its row.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ViewDoc {
    /// Its winner.
    pub rev: Rev,
    /// The winner's JSON text without `_`-members.
    pub json: Bytes,
    /// The winner's attachments.
    pub attachments: Vec<Attachment>,
    /// Its conflicting leaves, highest first, if asked for.
    pub conflicts: Vec<Rev>,
}

/// Groups of rows, in order. The last one may go on in the next page, and any may have parts on other shards.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct GroupPage {
    /// The groups.
    pub groups: Vec<ViewGroup>,
    /// Where to go on, if it did not come to the end.
    pub resume: Option<(u32, Bytes)>,
    /// As of [`ViewPage`].
    pub seq: Seq,
}

/// Rows put together.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ViewGroup {
    /// The number of its range.
    pub span: u32,
    /// Bytes that sort as groups do: what their places have in common.
    pub place: Bytes,
    /// JSON text of the key that they have in common.
    pub key: Box<str>,
    /// What came of them.
    pub partial: Partial,
}

/// The place of a row: `partition` where rows are kept by partition, the bytes of its key, the document, its number
/// among those that the document has.
pub fn row_place(partition: Option<&str>, key: &[u8], id: &DocId, number: u32) -> Vec<u8> {
    let mut place = Vec::with_capacity(key.len() + id.as_str().len() + 8 + partition.map_or(0, |name| name.len() + 2));
    if let Some(partition) = partition {
        push_id(&mut place, partition);
    }
    place.extend_from_slice(key);
    push_id(&mut place, id.as_str());
    place.extend_from_slice(&number.to_be_bytes());
    place
}

/// Appends text with an end that sorts before everything: two zeros end it, a zero inside is followed by a one.
pub fn push_id(place: &mut Vec<u8>, text: &str) {
    for byte in text.bytes() {
        place.push(byte);
        if byte == 0 {
            place.push(1);
        }
    }
    place.extend_from_slice(&[0, 0]);
}
