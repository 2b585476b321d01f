//! Backups: what a shard gives out, how it lies in a file, and what is counted of it.
//!
//! One stream is made by a shard's primary and kept as it is: the checksums in the file are those the primary made. A
//! stream is blocks ([`block`]); the first holds a [`Header`], the last an [`End`], all between them records
//! ([`record`]) in the order that [`tally`] insists on. Records are logical: whole revision trees and the bodies that
//! are kept, nothing of shards, slots or seqs, so that they fit a cluster of any number of shards.
//!
//! Left out: the requests that documents and purges remember (they matter for the seconds in which something is
//! retried), and what can be made again from the rest.

pub mod blobs;
pub mod block;
pub mod plan;
pub mod reader;
pub mod record;
pub mod tally;
#[cfg(test)]
mod tests;

use bytes::Bytes;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::attachment::Attachment;
use crate::ids::{ClusterId, DbUid, DocId, Index, ShardId, Term};
use crate::rev::Rev;
use tally::Tally;

/// The format that is written. A reader refuses every other.
pub const FORMAT: u16 = 1;

/// Asks a shard's primary for its part of a backup; sees every write acknowledged before it was asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportRequest {
    /// Names the backup, so that files of two backups are not taken for one.
    pub backup: Uuid,
    /// The databases wanted, in the order they are to come.
    pub databases: Vec<DbUid>,
}

/// What stands first in a stream.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Header {
    /// [`FORMAT`].
    pub format: u16,
    /// The backup this is a part of.
    pub backup: Uuid,
    /// The cluster.
    pub cluster: ClusterId,
    /// The shard.
    pub shard: ShardId,
    /// Term of the last log entry that is in it.
    pub term: Term,
    /// Index of the last log entry that is in it: all up to this one are, none behind it is.
    pub index: Index,
}

/// What stands last in a stream: what the shard itself counted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct End {
    /// The databases, in the order they came.
    pub databases: Vec<DatabaseEnd>,
}

/// What a shard gave out of one database.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DatabaseEnd {
    /// The database.
    pub uid: DbUid,
    /// Whether it had been deleted: then nothing of it is there.
    pub dropped: bool,
    /// What there is of it.
    pub tally: Tally,
}

/// One write of a restore. Any of them may be repeated, and they may come in any order: the outcome is the same.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Load {
    /// A revision with its body, to be grafted.
    Revision {
        /// The document.
        id: DocId,
        /// The revision, and its ancestors down to one that is written by itself; newest first.
        path: Vec<Rev>,
        /// Whether it is a deletion.
        deleted: bool,
        /// Its JSON text without `_`-members.
        json: Bytes,
    },
    /// A local document.
    Local {
        /// Its id, which starts with `_local/`.
        id: DocId,
        /// Its JSON text without `_`-members.
        json: Bytes,
    },
    /// A revision with attachments, whose bytes were loaded before.
    Attached {
        /// The document.
        id: DocId,
        /// As of [`Load::Revision`].
        path: Vec<Rev>,
        /// Whether it is a deletion.
        deleted: bool,
        /// Its JSON text without `_`-members.
        json: Bytes,
        /// Its attachments.
        attachments: Vec<Attachment>,
    },
    /// Bytes of an attachment. Chunks of one blob come in order, and before the revision that names it.
    Chunk {
        /// The document.
        id: DocId,
        /// The bytes.
        chunk: record::Chunk,
    },
}
