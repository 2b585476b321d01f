//! Reads documents: one, one at a revision, its leaves, several by id.

use std::sync::Arc;

use common::ids::{DbName, DocId};
use common::query::{Answer, Consistency, DocAnswer, Query, Revs};
use futures::StreamExt;

use super::{Aged, Error, Ops, confused};
use crate::cluster::catalog::DbEntry;

/// Documents of one request read at the same time. They leave in batches a shard; more would only hold more bodies.
pub const READS_AT_ONCE: usize = 64;

/// What to read of a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Which revisions.
    pub revs: Revs,
    /// Whether to read the tree as well.
    pub tree: bool,
}

impl Ops {
    /// Reads one document; `None` if it was never there.
    pub async fn get(
        &self,
        db: &DbName,
        id: &DocId,
        wanted: &Wanted,
        consistency: Consistency,
    ) -> Result<Aged<Option<DocAnswer>>, Error> {
        let make = |db: &DbEntry| query(db, id, wanted);
        match self.read_one(db, id, consistency, make).await? {
            (Answer::Doc(doc), lag_ms) => Ok((doc, lag_ms)),
            _ => Err(confused(crate::cluster::CATALOG_SHARD)),
        }
    }

    /// Reads several documents of one database, in the order asked.
    pub async fn get_many(
        &self,
        db: &Arc<DbEntry>,
        wanted: Vec<(DocId, Wanted)>,
        consistency: Consistency,
    ) -> Result<Aged<Vec<Option<DocAnswer>>>, Error> {
        let reads = wanted.into_iter().map(|(id, wanted)| {
            let (ops, db) = (self.clone(), Arc::clone(db));
            async move { ops.get_placed(&db, &id, &wanted, consistency).await }
        });
        let mut reads = futures::stream::iter(reads).buffered(READS_AT_ONCE);
        let (mut answers, mut oldest_ms) = (Vec::new(), 0);
        while let Some(answer) = reads.next().await {
            let (answer, lag_ms) = answer?;
            answers.push(answer);
            oldest_ms = lag_ms.max(oldest_ms);
        }
        Ok((answers, oldest_ms))
    }

    /// Reads one document of a database that is known.
    pub async fn get_placed(
        &self,
        db: &DbEntry,
        id: &DocId,
        wanted: &Wanted,
        consistency: Consistency,
    ) -> Result<Aged<Option<DocAnswer>>, Error> {
        let (shard, _) = self.cluster.locate(db.uid, db.partitioned, id);
        match self.cluster.read(shard, consistency, query(db, id, wanted)).await? {
            (Answer::Doc(doc), lag_ms) => Ok((doc, lag_ms)),
            (Answer::Dropped, _) => {
                self.catalog.forget(db.uid);
                Err(Error::NoDatabase)
            }
            _ => Err(confused(shard)),
        }
    }
}

fn query(db: &DbEntry, id: &DocId, wanted: &Wanted) -> Query {
    Query::Doc { db: db.uid, id: id.clone(), revs: wanted.revs.clone(), tree: wanted.tree }
}
