//! The stream of changes of one database, or of one partition, on one shard: every document once, at its latest place.

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use crate::attachment::Attachment;
use crate::ids::{DbUid, DocId, Seq};
use crate::partition::Partition;
use crate::rev::Rev;

/// A request for changes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangesRequest {
    /// The database.
    pub db: DbUid,
    /// Changes behind this seq; ascending: greater ones, descending: lower ones (`Seq(u64::MAX)` from the end).
    pub since: Seq,
    /// Newest first.
    pub descending: bool,
    /// Rows at most in this answer; the replica may send fewer and set `more`.
    pub limit: u32,
    /// With nothing to report, wait this long for something, in milliseconds; 0 answers at once.
    /// The replica may answer earlier with nothing; the asker asks again.
    pub wait_ms: u64,
    /// Whether to send all leaves of a document (`style=all_docs`), not only the winner.
    pub all_leaves: bool,
    /// Whether to send the winners' bodies.
    pub bodies: bool,
    /// Whether the answer must see every write acknowledged before the request; a live feed going on from its own
    /// position need not.
    pub linearizable: bool,
    /// JSON text of a selector in normal form, which [`Change::matching`] answers. The rows it does not match are sent
    /// all the same, without leaves and body: they say how far the replica has looked.
    pub selector: Option<Box<str>>,
    /// A function of a design document in the place of a selector.
    pub function: Option<Box<FilterFunction>>,
    /// Only the changes of this partition's documents, at the seqs of the database's stream.
    pub partition: Option<Partition>,
    /// Whether [`ChangesPage::pending`] is to be counted; otherwise it is an upper bound, which costs nothing.
    pub count_pending: bool,
}

impl ChangesRequest {
    /// At most `limit` changes behind `since`, oldest first, as they are now: winners without bodies, whatever they say.
    pub fn behind(db: DbUid, since: Seq, limit: u32) -> Self {
        Self {
            db,
            since,
            descending: false,
            limit,
            wait_ms: 0,
            all_leaves: false,
            bodies: false,
            linearizable: true,
            selector: None,
            function: None,
            partition: None,
            count_pending: false,
        }
    }
}

/// A filter in JavaScript.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FilterFunction {
    /// JSON text of its design document, or of the part of it that it sees.
    pub design: Box<str>,
    /// The text of the function.
    pub text: Box<str>,
    /// JSON text of the request, which a filter is called with; `None` if it is the map of a view, and lets pass what it
    /// emits rows for.
    pub request: Option<Box<str>>,
}

/// Part of a stream of changes, in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangesPage {
    /// The rows.
    pub rows: Vec<Change>,
    /// Whether there are more rows now.
    pub more: bool,
    /// Last seq of the database on this shard when the page was read.
    pub last_seq: Seq,
    /// How many rows stand behind the last one: if that was to be counted exact up to [`PENDING_COUNTED_MAX`], above that an
    /// upper bound.
    pub pending: u64,
    /// The database was dropped: the stream has ended.
    pub dropped: bool,
}

/// Rows counted one by one for [`ChangesPage::pending`]. Larger costs a longer scan for each page; smaller makes a
/// progress bar less exact.
pub const PENDING_COUNTED_MAX: u64 = 10_000;

/// The latest change of one document.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Change {
    /// Where it stands.
    pub seq: Seq,
    /// The document.
    pub id: DocId,
    /// The winner first; with `all_leaves` the other leaves behind it, highest first.
    pub leaves: Vec<Rev>,
    /// Whether the winner is a deletion.
    pub deleted: bool,
    /// The winner's JSON text without `_`-members, if asked for.
    pub json: Option<Bytes>,
    /// The winner's attachments, if bodies were asked for.
    pub attachments: Vec<Attachment>,
    /// To a selector: which of the leaves asked for it matches, in their order; `None` when there was none.
    pub matching: Option<Vec<Rev>>,
}

impl Change {
    /// Whether a selector was asked for that matches none of the leaves asked for.
    pub fn is_passed_over(&self) -> bool {
        self.matching.as_ref().is_some_and(Vec::is_empty)
    }
}
