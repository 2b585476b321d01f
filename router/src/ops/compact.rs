//! Compaction: asks every shard which documents have bodies to drop, and has them dropped, a few at a time.
//!
//! Each step is a command in the log, so replicas stay equal and writes go on in between. Nothing is lost when it
//! stops half-way (this router ends, a shard has no quorum for too long): what is done is done, and the next one goes
//! on from there.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::command::{Command, Op, Outcome};
use common::ids::{DbUid, DocId, RequestId, ShardId};
use common::query::{Answer, Consistency, IdPage, Query};
use futures::future::join_all;
use uuid::Uuid;

use super::{Error, Ops, confused};
use crate::cluster::catalog::DbEntry;

/// Documents in one step. More would delay writes that come meanwhile.
const STEP: u32 = 64;
/// Attempts at one step before compaction is given up on a shard.
const ATTEMPTS_MAX: u32 = 5;
/// Between two attempts.
const PAUSE: Duration = Duration::from_secs(1);

/// The databases this router compacts now.
#[derive(Debug, Clone, Default)]
pub struct Compactions {
    running: Arc<Mutex<BTreeSet<DbUid>>>,
}

impl Compactions {
    /// Whether a database is being compacted.
    pub fn is_running(&self, db: DbUid) -> bool {
        self.lock().contains(&db)
    }

    /// Compacts a database in the background; once at a time.
    pub fn start(&self, ops: &Ops, db: Arc<DbEntry>) {
        if !self.lock().insert(db.uid) {
            return;
        }
        let (known, ops) = (self.clone(), ops.clone());
        ops.cluster.clone().spawn(async move {
            let shards = ops.cluster.shards_of(db.uid);
            for (shard, done) in join_all(shards.into_iter().map(|shard| ops.compact_shard(&db, shard))).await {
                if let Err(error) = done {
                    tracing::warn!(db = %db.name, %shard, %error, "a compaction stopped half-way");
                }
            }
            known.lock().remove(&db.uid);
        });
    }

    fn lock(&self) -> MutexGuard<'_, BTreeSet<DbUid>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ops {
    async fn compact_shard(&self, db: &DbEntry, shard: ShardId) -> (ShardId, Result<(), Error>) {
        let (mut after, mut failed) = (None, 0);
        loop {
            match self.compact_some(db, shard, after.as_ref()).await {
                Ok(None) => return (shard, Ok(())),
                Ok(Some(last)) => (after, failed) = (Some(last), 0),
                Err(error) if failed + 1 >= ATTEMPTS_MAX => return (shard, Err(error)),
                Err(_) => {
                    failed += 1;
                    tokio::time::sleep(PAUSE).await;
                }
            }
        }
    }

    /// Compacts a few documents behind `after`; the last of them, or `None` at the end.
    async fn compact_some(&self, db: &DbEntry, shard: ShardId, after: Option<&DocId>) -> Result<Option<DocId>, Error> {
        let query = Query::OldBodies { db: db.uid, after: after.cloned(), limit: STEP };
        let IdPage { ids, more } = match self.cluster.read(shard, Consistency::Linearizable, query).await? {
            (Answer::Ids(page), _) => page,
            (Answer::Dropped, _) => return Ok(None),
            _ => return Err(confused(shard)),
        };
        let commands = ids.iter().map(|id| {
            let (_, doc) = self.cluster.locate(db.uid, db.partitioned, id);
            Command { request: RequestId(Uuid::new_v4()), retry: false, op: Op::Compact { doc } }
        });
        let outcomes = self.cluster.write_many(shard, commands.collect()).await?;
        let dropped = outcomes.contains(&Outcome::Dropped);
        Ok(ids.into_iter().next_back().filter(|_| more && !dropped))
    }
}
