//! One partition of a database: all of it lies on one shard.

use std::sync::Arc;

use common::ids::{DbName, ShardId};
use common::partition::Partition;
use common::query::{Answer, Consistency, Counted, Query, Tally};

use super::{Error, Ops, STALE_RETRIES_MAX, confused};
use crate::cluster::catalog::DbEntry;

impl Ops {
    /// A database that has partitions.
    pub async fn partitioned(&self, name: &DbName, consistency: Consistency) -> Result<Arc<DbEntry>, Error> {
        let db = self.db_for(name, consistency).await?;
        if db.partitioned { Ok(db) } else { Err(Error::bad("database is not partitioned")) }
    }

    /// The one shard that has the documents of a partition.
    pub(crate) fn shard_of(&self, db: &DbEntry, partition: &Partition) -> Result<ShardId, Error> {
        if !db.partitioned {
            return Err(Error::NotPartitioned);
        }
        Ok(self.cluster.shard_of(db.uid, partition))
    }

    /// Counts the documents of a partition, and how old that may be in milliseconds. Not of one moment: a step counts
    /// what is there when it is taken.
    pub async fn count(
        &self,
        name: &DbName,
        partition: &Partition,
        consistency: Consistency,
    ) -> Result<(Counted, u64), Error> {
        for _ in 0..STALE_RETRIES_MAX {
            let db = self.partitioned(name, consistency).await?;
            if let Some(counted) = self.count_in(&db, partition, consistency).await? {
                return Ok(counted);
            }
            self.catalog.forget(db.uid);
        }
        Err(Error::NoDatabase)
    }

    /// `None` if the database was dropped.
    async fn count_in(
        &self,
        db: &DbEntry,
        partition: &Partition,
        consistency: Consistency,
    ) -> Result<Option<(Counted, u64)>, Error> {
        let shard = self.shard_of(db, partition)?;
        let mut tally = Tally { db: db.uid, low: partition.low(), high: partition.high(), after: None };
        let (mut sum, mut oldest_ms) = (Counted::default(), 0);
        loop {
            let (step, lag_ms) = match self.cluster.read(shard, consistency, Query::Tally(tally.clone())).await? {
                (Answer::Counted(step), lag_ms) => (step, lag_ms),
                (Answer::Dropped, _) => return Ok(None),
                _ => return Err(confused(shard)),
            };
            sum.docs += step.docs;
            sum.deleted += step.deleted;
            sum.bytes += step.bytes;
            oldest_ms = lag_ms.max(oldest_ms);
            if step.resume.is_none() {
                return Ok(Some((sum, oldest_ms)));
            }
            if step.resume <= tally.after {
                return Err(confused(shard));
            }
            tally.after = step.resume;
        }
    }
}
