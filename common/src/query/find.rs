//! Queries by selector: what a replica looks through, a bounded part at a time, and what it found there.

use std::cmp::Ordering;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::attachment::Attachment;
use crate::ids::{DbUid, DocId};
use crate::rev::Rev;

/// Documents that a selector matches, in the order of what is looked through. Deleted ones and design documents never
/// match.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Find {
    /// The database.
    pub db: DbUid,
    /// JSON text of the selector in normal form.
    pub selector: Box<str>,
    /// The number of the index on this shard; `None` reads all documents by id.
    pub index: Option<u32>,
    /// The version of the shard's indexes that this goes by; `None` does not care, as long as the index is there.
    pub version: Option<u64>,
    /// The lowest key looked at: of the index's entries, or the bytes of an id.
    pub low: Bytes,
    /// The end of the keys; `None` to the last.
    pub high: Option<Bytes>,
    /// Highest first.
    pub descending: bool,
    /// Only what stands behind this place, in the direction of reading.
    pub after: Option<Place>,
    /// Documents at most in this answer; a replica may send fewer, or none, and say where to go on.
    pub limit: u32,
    /// Whether to send each document's conflicting leaves, and to show them to the selector.
    pub conflicts: bool,
}

/// Where a document stands in what is looked through. Equal on all shards, so one place serves them all.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Place {
    /// The key of its index entry; empty where documents are read by id.
    pub key: Bytes,
    /// Its id.
    pub id: DocId,
}

/// What a replica found in one step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FindPage {
    /// The documents, in order.
    pub rows: Vec<FoundRow>,
    /// Where to go on, if it did not come to the end.
    pub resume: Option<Place>,
    /// Keys looked at.
    pub keys_examined: u64,
    /// Documents put to the selector.
    pub docs_examined: u64,
}

/// One document that matches.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FoundRow {
    /// Where it stands.
    pub place: Place,
    /// Its winner.
    pub rev: Rev,
    /// The winner's JSON text without `_`-members.
    pub json: Bytes,
    /// Its conflicting leaves, highest first, if asked for.
    pub conflicts: Vec<Rev>,
    /// The winner's attachments.
    pub attachments: Vec<Attachment>,
}

impl Place {
    /// Which of two places is met first.
    pub fn meets(&self, other: &Place, descending: bool) -> Ordering {
        if descending { other.cmp(self) } else { self.cmp(other) }
    }
}
