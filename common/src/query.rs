//! What a replica is asked, and what it answers.

mod before;
mod find;
mod tally;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::attachment::{Attachment, BlobDigest};
use crate::ids::{DbUid, DocId, Seq};
use crate::mango::kept::ShardIndexes;
use crate::rev::Rev;
use crate::rev_tree::RevTree;
use crate::validation::ShardValidators;
pub use before::{Before, Met, Replaced, Standing, Upon};
pub use find::{Find, FindPage, FoundRow, Place};
pub use tally::{Counted, Tally};

/// How fresh an answer must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Consistency {
    /// Sees every write acknowledged before the read began. Primary only.
    Linearizable,
    /// Whatever the asked replica has, if it can prove that this is not older than the configuration allows; however
    /// old it is, if no replica can be found that proves so much.
    Eventual,
}

/// One question to a replica.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Query {
    /// One document.
    Doc {
        /// The database.
        db: DbUid,
        /// The document.
        id: DocId,
        /// Which of its revisions, with their bodies.
        revs: Revs,
        /// Whether to send the whole revision tree as well.
        tree: bool,
    },
    /// One local document.
    Local {
        /// The database.
        db: DbUid,
        /// The document; its id starts with `_local/`.
        id: DocId,
    },
    /// Documents in a range of ids, deleted ones left out.
    Range(Range),
    /// Counters of a database on this shard.
    Info {
        /// The database.
        db: DbUid,
    },
    /// Local documents in a range of ids, as rows of a [`RangePage`]; how many there are is not counted.
    Locals(Range),
    /// Ids of documents that may have bodies to drop by compaction, in byte order.
    OldBodies {
        /// The database.
        db: DbUid,
        /// Only ids behind this one.
        after: Option<DocId>,
        /// Ids at most; a replica may send fewer and say that there are more.
        limit: u32,
    },
    /// Documents that a selector matches.
    Find(Box<Find>),
    /// What the shard knows of the indexes of a database.
    Indexes {
        /// The database.
        db: DbUid,
    },
    /// How many documents there are in a range of ids.
    Tally(Tally),
    /// Bytes of an attachment.
    Chunk {
        /// The database.
        db: DbUid,
        /// The blob.
        blob: BlobDigest,
        /// Which of its chunks, from 0.
        number: u32,
    },
    /// What a write would meet.
    Before(Box<Before>),
    /// What the shard knows of the validation functions of a database.
    Validators {
        /// The database.
        db: DbUid,
    },
}

/// Which revisions of a document are wanted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Revs {
    /// The winner, also when it is a deletion.
    Winner,
    /// This one, leaf or not, if its body is still there.
    Exact(Rev),
    /// All leaves (`open_revs=all`).
    Leaves,
    /// These (`open_revs=[…]`); with `latest`, the leaves that descend from them instead.
    List {
        /// The revisions.
        revs: Vec<Rev>,
        /// Whether a revision stands for the leaves that descend from it.
        latest: bool,
    },
}

/// A range of document ids, in byte order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Range {
    /// The database.
    pub db: DbUid,
    /// Lowest id wanted, inclusive; `None` from the first. May be any text, not only a valid id.
    pub low: Option<Box<str>>,
    /// Highest id wanted; `None` to the last.
    pub high: Option<Box<str>>,
    /// Whether `low` itself is left out.
    pub low_exclusive: bool,
    /// Whether `high` itself is left out.
    pub high_exclusive: bool,
    /// Highest first.
    pub descending: bool,
    /// Rows at most in this answer; a replica may send fewer and say where to go on.
    pub limit: u32,
    /// Whether to send the winners' bodies.
    pub bodies: bool,
    /// Whether to send each document's conflicting leaves.
    pub conflicts: bool,
    /// Whether to count the documents that sort before the first row (up to a bound; see [`RangePage::before`]).
    pub count_before: bool,
}

/// What a replica answers, in the order asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum Answer {
    /// To [`Query::Doc`]: `None` if the document was never there.
    Doc(Option<DocAnswer>),
    /// To [`Query::Local`]: the counter of its `0-N` revision and its JSON text.
    Local(Option<LocalAnswer>),
    /// To [`Query::Range`] and [`Query::Locals`].
    Range(RangePage),
    /// To [`Query::Info`].
    Info(DbCounters),
    /// The database was dropped.
    Dropped,
    /// To [`Query::OldBodies`].
    Ids(IdPage),
    /// To [`Query::Find`]: what one step found.
    Found(FindPage),
    /// To a [`Query::Find`] whose selector this replica cannot read: it runs another version than whoever asks.
    NotUnderstood,
    /// To a [`Query::Find`] that goes by indexes which are not those of this shard (any more).
    OtherIndexes,
    /// To [`Query::Indexes`].
    Indexes(Box<ShardIndexes>),
    /// To [`Query::Tally`]: what one step counted.
    Counted(Counted),
    /// To [`Query::Chunk`]; `None` if it is not (or no longer) here.
    Chunk(Option<Bytes>),
    /// To [`Query::Before`].
    Met(Box<Met>),
    /// To [`Query::Validators`].
    Validators(Box<ShardValidators>),
}

/// Some ids, in order.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdPage {
    /// The ids.
    pub ids: Vec<DocId>,
    /// Whether there may be more behind the last one.
    pub more: bool,
}

/// One document, as far as it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DocAnswer {
    /// The revisions asked for that are there, in the order asked (leaves: winner first).
    pub found: Vec<RevBody>,
    /// The revisions asked for that are not there (or whose body is gone).
    pub missing: Vec<Rev>,
    /// Seq of the document's last change.
    pub seq: Seq,
    /// Whether the winner is a deletion.
    pub deleted: bool,
    /// The tree, if asked for.
    pub tree: Option<RevTree>,
}

/// One revision with its body.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RevBody {
    /// The revision.
    pub rev: Rev,
    /// Whether it is a deletion.
    pub deleted: bool,
    /// JSON text of the object without its `_`-members.
    pub json: Bytes,
    /// Its attachments, in the order they are listed.
    pub attachments: Vec<Attachment>,
}

/// A local document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LocalAnswer {
    /// N of its revision `0-N`.
    pub counter: u64,
    /// JSON text of the object without its `_`-members.
    pub json: Bytes,
}

/// Part of a range, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangePage {
    /// The rows, at most as many as asked for.
    pub rows: Vec<RangeRow>,
    /// Whether the range goes on behind the last row.
    pub more: bool,
    /// How many documents sort before the first row, if that was asked for and is small enough to count.
    pub before: Option<u64>,
    /// How many documents the database has on this shard.
    pub total: u64,
    /// Last seq of the database on this shard.
    pub seq: Seq,
}

/// One document of a range.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RangeRow {
    /// The document.
    pub id: DocId,
    /// Its winner.
    pub rev: Rev,
    /// The winner's JSON text without `_`-members, if asked for.
    pub json: Option<Bytes>,
    /// Its conflicting leaves, highest first, if asked for.
    pub conflicts: Vec<Rev>,
    /// The winner's attachments, if bodies were asked for.
    pub attachments: Vec<Attachment>,
}

/// Counters of one database on one shard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DbCounters {
    /// Last seq.
    pub seq: Seq,
    /// Documents whose winner is not a deletion, design documents included.
    pub docs: u64,
    /// Documents whose winner is a deletion.
    pub deleted: u64,
    /// Bytes of the winners' JSON text.
    pub bytes: u64,
    /// Purges so far.
    pub purges: u64,
    /// Blobs: contents of attachments, each counted once.
    pub blobs: u64,
    /// Their bytes.
    pub blob_bytes: u64,
}
