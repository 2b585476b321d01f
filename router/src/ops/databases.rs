//! What is known of a database as a whole.

use std::sync::Arc;

use common::ids::{DbName, Seq, ShardId};
use common::query::{Answer, Consistency, DbCounters, Query};
use futures::future::try_join_all;

use super::{Aged, Error, Ops, STALE_RETRIES_MAX, confused};
use crate::cluster::catalog::DbEntry;
use crate::feed::{Scope, Token};

/// Counters of a database over all its shards.
#[derive(Debug, Clone)]
pub struct DbInfo {
    /// The database.
    pub db: Arc<DbEntry>,
    /// Sums over its shards.
    pub counters: DbCounters,
    /// Where its feed ends.
    pub update_seq: Token,
    /// How many purges there were, in the form of a place in the feed.
    pub purge_seq: Token,
    /// How many shards hold it.
    pub shards: usize,
    /// How old this may be, in milliseconds: 0 when it is linearizable.
    pub lag_ms: u64,
}

impl Ops {
    /// Counts a database's documents.
    pub async fn info(&self, name: &DbName, consistency: Consistency) -> Result<DbInfo, Error> {
        for _ in 0..STALE_RETRIES_MAX {
            let db = self.db_for(name, consistency).await?;
            if let Some((parts, lag_ms)) = self.counters(&db, consistency).await? {
                return Ok(self.sum(db, &parts, lag_ms));
            }
            self.catalog.forget(db.uid);
        }
        Err(Error::NoDatabase)
    }

    /// Where the feed ends, and how many documents there are, by shard; `None` if the database was dropped.
    pub(crate) async fn counters(
        &self,
        db: &DbEntry,
        consistency: Consistency,
    ) -> Result<Option<Aged<Vec<(ShardId, DbCounters)>>>, Error> {
        let reads = self.cluster.shards_of(db.uid).into_iter().map(|shard| async move {
            match self.cluster.read(shard, consistency, Query::Info { db: db.uid }).await? {
                (Answer::Info(counters), lag_ms) => Ok(Some(((shard, counters), lag_ms))),
                (Answer::Dropped, _) => Ok(None),
                _ => Err(confused(shard)),
            }
        });
        let parts: Option<Vec<_>> = try_join_all(reads).await?.into_iter().collect();
        Ok(parts.map(|parts| {
            let (parts, lags): (Vec<_>, Vec<u64>) = parts.into_iter().unzip();
            (parts, lags.into_iter().max().unwrap_or(0))
        }))
    }

    fn sum(&self, db: Arc<DbEntry>, parts: &[(ShardId, DbCounters)], lag_ms: u64) -> DbInfo {
        let total = |field: fn(&DbCounters) -> u64| parts.iter().map(|(_, counters)| field(counters)).sum();
        let counters = DbCounters {
            seq: Seq(total(|counters| counters.seq.0)),
            docs: total(|counters| counters.docs),
            deleted: total(|counters| counters.deleted),
            bytes: total(|counters| counters.bytes),
            purges: total(|counters| counters.purges),
            blobs: total(|counters| counters.blobs),
            blob_bytes: total(|counters| counters.blob_bytes),
        };
        let (origin, map_version) = (db.uid.into(), self.cluster.map().version);
        let seqs = parts.iter().map(|(shard, counters)| (*shard, counters.seq)).collect();
        let purges = parts.iter().map(|(shard, counters)| (*shard, Seq(counters.purges))).collect();
        DbInfo {
            db,
            counters,
            update_seq: Token { origin, scope: Scope::Database, map_version, seqs },
            purge_seq: Token { origin, scope: Scope::Database, map_version, seqs: purges },
            shards: parts.len(),
            lag_ms,
        }
    }
}
