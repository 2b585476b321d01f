//! The database's verbs, one a file, over the whole cluster. No HTTP here: what comes in is parsed, what goes out is
//! data or an [`Error`] with CouchDB's words.

pub mod all_docs;
pub mod atomic;
pub mod bulk;
mod clear;
pub mod compact;
pub mod databases;
pub mod download;
mod error;
pub mod find;
pub mod get;
mod index;
pub mod indexes;
pub mod local;
mod partition;
pub mod purge;
pub mod revs;
pub mod upload;
pub mod validation;
pub mod views;
pub mod write;

use std::sync::Arc;

use common::command::{Command, Op, Outcome};
use common::ids::{DbName, DocId, RequestId, ShardId};
use common::query::{Answer, Consistency, Query};
use common::refusal::Refusal;
use common::rev::Rev;

use crate::cluster::Cluster;
use crate::cluster::catalog::{Catalog, DbEntry};
pub use error::Error;

/// How often a verb starts over with fresh knowledge after a shard said that it went by stale knowledge (the database
/// was made again, the slot has moved). Once is the rule; more than a few times means that the knowledge is wrong.
const STALE_RETRIES_MAX: u32 = 3;

/// The verbs.
#[derive(Clone)]
pub struct Ops {
    /// The way to the shards.
    pub cluster: Cluster,
    /// The databases.
    pub catalog: Catalog,
    /// What a read is when it does not say.
    pub default_consistency: Consistency,
    /// What is known of the databases' indexes.
    pub indexes: indexes::Indexes,
    /// The attachments on their way in.
    pub uploads: upload::Uploads,
    /// What is known of the databases' validation functions.
    pub validation: validation::Validation,
    /// The indexes of views that replicas are told of.
    pub warming: views::warm::Warming,
}

/// A write that went in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receipt {
    /// The new revision.
    pub rev: Rev,
    /// The shard that has it.
    pub shard: ShardId,
}

/// An answer, and how old it may be in milliseconds: 0 when it is linearizable.
pub type Aged<T> = (T, u64);

impl Ops {
    /// The database of that name.
    pub async fn db(&self, name: &DbName) -> Result<Arc<DbEntry>, Error> {
        Ok(self.catalog.db(name).await?)
    }

    /// The same for a read, which may put up with something old.
    pub async fn db_for(&self, name: &DbName, consistency: Consistency) -> Result<Arc<DbEntry>, Error> {
        Ok(self.catalog.db_for(name, consistency).await?)
    }

    /// Writes one command made for what is now known of the database; starts over when that was stale.
    async fn write_one(
        &self,
        name: &DbName,
        id: &DocId,
        request: RequestId,
        make: impl Fn(&DbEntry, common::command::Address) -> Op,
    ) -> Result<(Outcome, ShardId), Error> {
        let mut stale = None;
        for _ in 0..STALE_RETRIES_MAX {
            let db = self.db(name).await?;
            if db.partitioned {
                id.partition()?;
            }
            let (shard, address) = self.cluster.locate(db.uid, db.partitioned, id);
            let command = Command { request, retry: false, op: make(&db, address) };
            match self.cluster.write(shard, command).await? {
                Outcome::Dropped => {
                    self.catalog.forget(db.uid);
                    stale = Some(Error::NoDatabase);
                }
                Outcome::NotOwner { version } => stale = Some(moved(shard, version)),
                outcome => return Ok((outcome, shard)),
            }
        }
        Err(stale.expect("every turn of the loop ends with an outcome or with a reason"))
    }

    /// Asks the shard of one document; starts over when the database was made again.
    async fn read_one(
        &self,
        name: &DbName,
        id: &DocId,
        consistency: Consistency,
        make: impl Fn(&DbEntry) -> Query,
    ) -> Result<Aged<Answer>, Error> {
        for _ in 0..STALE_RETRIES_MAX {
            let db = self.db_for(name, consistency).await?;
            if db.partitioned {
                id.partition()?;
            }
            let (shard, _) = self.cluster.locate(db.uid, db.partitioned, id);
            match self.cluster.read(shard, consistency, make(&db)).await? {
                (Answer::Dropped, _) => self.catalog.forget(db.uid),
                answer => return Ok(answer),
            }
        }
        Err(Error::NoDatabase)
    }
}

/// The shard does not own the slot any more and this router does not know yet: nothing was done.
fn moved(shard: ShardId, version: u64) -> Error {
    let reason = format!("its slots have moved (shard map {version}); try again");
    Error::Refused(Refusal::OutOfService { shard, reason })
}

/// A replica answered another question than it was asked: a bug, reported and never shown as data.
fn confused(shard: ShardId) -> Error {
    Error::Refused(Refusal::OutOfService { shard, reason: "it answered another question".to_owned() })
}
