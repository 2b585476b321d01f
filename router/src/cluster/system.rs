//! Reads and conditional writes of the catalog's own documents on shard 0.
//!
//! Every read that a write follows is linearizable, and every write names the revision it replaces, so two routers never overwrite each
//! other's decisions.

use bytes::Bytes;
use common::command::{By, Command, Edit, EditKind, Op, Outcome, Validated};
use common::document::{self, ParseLimits};
use common::ids::{DbUid, DocId, RequestId};
use common::query::{Answer, Consistency, Query, Range, RangePage, Revs};
use common::refusal::Refusal;
use common::rev::Rev;
use serde::Serialize;
use uuid::Uuid;

use super::{CATALOG_SHARD, Cluster};

/// Ancestors kept of the catalog's documents: nobody replicates them, so few are enough.
const REVS_LIMIT: u32 = 20;
/// Deepest nesting in the catalog's documents; `_security` objects are their only foreign part.
const DEPTH_MAX: usize = 120;
/// Rows asked for at once.
const PAGE_ROWS: u32 = 1000;

/// One of the catalog's databases.
#[derive(Clone, Copy)]
pub(crate) struct SystemDb<'a> {
    pub(crate) cluster: &'a Cluster,
    pub(crate) db: DbUid,
}

/// A document of the catalog that is there.
pub(crate) struct Stored {
    pub(crate) rev: Rev,
    pub(crate) json: Bytes,
}

impl SystemDb<'_> {
    /// The document, unless it is not there (any more).
    pub(crate) async fn get(&self, id: &DocId, consistency: Consistency) -> Result<Option<Stored>, Refusal> {
        let query = Query::Doc { db: self.db, id: id.clone(), revs: Revs::Winner, tree: false };
        let (answer, _) = self.cluster.read(CATALOG_SHARD, consistency, query).await?;
        let Answer::Doc(doc) = answer else { return Err(mismatched()) };
        let winner = doc.and_then(|doc| doc.found.into_iter().next()).filter(|winner| !winner.deleted);
        Ok(winner.map(|winner| Stored { rev: winner.rev, json: winner.json }))
    }

    /// Writes the document over `parent` (`None` creates it); the new revision, or `None` if somebody else was first.
    pub(crate) async fn put<T: Serialize>(
        &self,
        id: &DocId,
        parent: Option<Rev>,
        value: &T,
    ) -> Result<Option<Rev>, Refusal> {
        let unfit = |error: &dyn std::fmt::Display| Refusal::BadBatch(format!("catalog document {id}: {error}"));
        let json = serde_json::to_vec(value).map_err(|error| unfit(&error))?;
        self.edit(id, parent, EditKind::Update, json.into()).await
    }

    /// Deletes the document at `parent`; whether this did it.
    pub(crate) async fn delete(&self, id: &DocId, parent: Rev) -> Result<bool, Refusal> {
        let written = self.edit(id, Some(parent), EditKind::Delete, Bytes::from_static(b"{}")).await?;
        Ok(written.is_some())
    }

    async fn edit(&self, id: &DocId, parent: Option<Rev>, kind: EditKind, json: Bytes) -> Result<Option<Rev>, Refusal> {
        let parsed = document::parse(json, ParseLimits { depth_max: DEPTH_MAX });
        let body = parsed.map_err(|error| Refusal::BadBatch(format!("catalog document {id}: {error}")))?.body;
        let (shard, doc) = self.cluster.locate(self.db, false, id);
        debug_assert_eq!(shard, CATALOG_SHARD);
        let edit = Edit { doc, parent, kind, body, revs_limit: REVS_LIMIT };
        let op = match self.db {
            // Its admins may have functions there. What becomes of a replication is noted whatever they say.
            DbUid::REPLICATOR => Op::Validated(Box::new(Validated { by: By::Exempt, op: Op::Edit(edit) })),
            _ => Op::Edit(edit),
        };
        let command = Command { request: RequestId(Uuid::new_v4()), retry: false, op };
        // System databases are not subject to slots, so this goes by what settles them.
        match self.cluster.queues(shard)?.writes.one(command).await? {
            Outcome::Written { rev, .. } => Ok(Some(rev)),
            Outcome::Conflict | Outcome::NotFound { .. } => Ok(None),
            Outcome::Forgotten => Err(Refusal::UnknownOutcome { shard }),
            _ => Err(mismatched()),
        }
    }

    /// Documents behind `after`, sorted by id, as many as a page holds, and how old they may be in milliseconds.
    pub(crate) async fn page(
        &self,
        after: Option<&DocId>,
        consistency: Consistency,
    ) -> Result<(RangePage, u64), Refusal> {
        let query = Query::Range(Range {
            db: self.db,
            low: after.map(|id| id.as_str().into()),
            high: None,
            low_exclusive: after.is_some(),
            high_exclusive: false,
            descending: false,
            limit: PAGE_ROWS,
            bodies: true,
            conflicts: false,
            count_before: false,
        });
        match self.cluster.read(CATALOG_SHARD, consistency, query).await? {
            (Answer::Range(page), lag_ms) => Ok((page, lag_ms)),
            _ => Err(mismatched()),
        }
    }
}

/// A stored document of the catalog, decoded.
pub(super) fn decode<T: serde::de::DeserializeOwned>(id: &DocId, json: &[u8]) -> Result<T, Refusal> {
    serde_json::from_slice(json).map_err(|error| Refusal::OutOfService {
        shard: CATALOG_SHARD,
        reason: format!("the catalog's document {id} cannot be read: {error}"),
    })
}

/// An answer that does not belong to its question.
pub(super) fn mismatched() -> Refusal {
    Refusal::BadBatch("the answer does not fit the question".to_owned())
}
