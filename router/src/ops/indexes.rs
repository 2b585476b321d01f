//! The indexes of a database, over all its shards.
//!
//! An index is defined by a design document, which lives on one shard, and is kept by all of them: what the shards
//! say is defined is compared with what each keeps, and those that lack something are told. Making an index of
//! documents that are there is a series of commands, sent by any router that sees that it is not done; whoever sends
//! them, and however many do, each is one more step.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::command::{Command, Op, Outcome};
use common::ids::{DbUid, RequestId, ShardId};
use common::mango::index::Index;
use common::mango::kept::{Kept, ShardIndexes};
use common::mango::key;
use common::query::{Answer, Consistency, Query};
use futures::future::{join_all, try_join_all};
use tokio::time::Instant;
use uuid::Uuid;

use super::{Error, Ops, confused};
use crate::cluster::catalog::DbEntry;

/// How often shards are told again before the reason must be another one than that somebody else told them too.
const TOLD_MAX: u32 = 5;
/// How long whoever first sees an index waits for it. Small databases are done in less, and clients expect that.
const PATIENCE: Duration = Duration::from_secs(1);
/// Between two looks meanwhile.
const PAUSE: Duration = Duration::from_millis(20);
/// Between two attempts at a step that failed.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Attempts at one step before it is left to the next query.
const ATTEMPTS_MAX: u32 = 30;
/// Databases remembered. Knowledge that was forgotten is read again.
const KNOWN_MAX: usize = 1_000;

/// What this router knows of indexes, and which databases it makes some for.
#[derive(Clone, Default)]
pub struct Indexes {
    state: Arc<Mutex<State>>,
}

#[derive(Default)]
struct State {
    known: BTreeMap<DbUid, Arc<Known>>,
    building: BTreeMap<DbUid, Arc<DbEntry>>,
}

/// The indexes of one database.
#[derive(Debug, Clone)]
pub struct Known {
    /// All that are defined, by design document and name.
    pub all: Vec<Index>,
    /// Those that every shard has made.
    pub whole: Vec<Index>,
    wanted: Vec<Kept>,
    shards: Vec<(ShardId, ShardIndexes)>,
}

/// Indexes being made, on one database.
pub struct Building {
    /// The database.
    pub db: Arc<DbEntry>,
    /// The design documents they are of.
    pub ddocs: Vec<Box<str>>,
    /// Documents passed so far, over all shards.
    pub passed: u64,
}

impl Known {
    fn of(db: &DbEntry, shards: Vec<(ShardId, ShardIndexes)>) -> Self {
        let defined = shards.iter().flat_map(|(_, shard)| &shard.defined);
        let kept = defined.flat_map(|(ddoc, definitions)| {
            definitions.iter().map(|definition| {
                let by_partition = definition.partitioned.unwrap_or(db.partitioned);
                Kept { ddoc: ddoc.clone(), definition: definition.clone(), by_partition, keys: key::VERSION }
            })
        });
        let mut wanted: Vec<Kept> = kept.collect();
        wanted.sort_by(|a, b| (&a.ddoc, &a.definition.name).cmp(&(&b.ddoc, &b.definition.name)));
        let index = |kept: &Kept| {
            let mut definition = kept.definition.clone();
            definition.partitioned = Some(kept.by_partition);
            Index { ddoc: kept.ddoc.clone(), definition }
        };
        let is_whole = |wanted: &&Kept| {
            let mut shards = shards.iter();
            shards.all(|(_, shard)| shard.kept.iter().any(|kept| kept.index == **wanted && kept.complete))
        };
        let all = wanted.iter().map(index).collect();
        let whole = wanted.iter().filter(is_whole).map(index).collect();
        Self { all, whole, wanted, shards }
    }

    /// The shards that keep other indexes than they should.
    fn unsettled(&self) -> impl Iterator<Item = (ShardId, u64)> {
        let is_settled = |shard: &ShardIndexes| {
            shard.kept.len() == self.wanted.len() && shard.kept.iter().all(|kept| self.wanted.contains(&kept.index))
        };
        self.shards.iter().filter(move |(_, shard)| !is_settled(shard)).map(|(id, shard)| (*id, shard.version))
    }

    fn unfinished(&self) -> impl Iterator<Item = ShardId> {
        self.shards.iter().filter(|(_, shard)| shard.is_unfinished()).map(|(id, _)| *id)
    }

    /// The version of a shard's indexes.
    pub fn version(&self, shard: ShardId) -> Option<u64> {
        self.shards.iter().find(|(id, _)| *id == shard).map(|(_, known)| known.version)
    }

    /// The number of an index on a shard.
    pub fn number(&self, shard: ShardId, index: &Index) -> Option<u32> {
        let (_, known) = self.shards.iter().find(|(id, _)| *id == shard)?;
        let is_it = |kept: &Kept| kept.ddoc == index.ddoc && kept.definition.name == index.definition.name;
        known.kept.iter().find(|kept| is_it(&kept.index)).map(|kept| kept.number)
    }
}

impl Indexes {
    /// Forgets what is known of a database: it was out of date.
    pub fn forget(&self, db: DbUid) {
        self.lock().known.remove(&db);
    }

    fn get(&self, db: DbUid) -> Option<Arc<Known>> {
        self.lock().known.get(&db).cloned()
    }

    fn put(&self, db: DbUid, known: Arc<Known>) {
        let mut state = self.lock();
        if state.known.len() >= KNOWN_MAX {
            state.known.clear();
        }
        state.known.insert(db, known);
    }

    /// Makes the indexes of a database in the background; once at a time.
    fn start(&self, ops: &Ops, db: &Arc<DbEntry>) {
        if self.lock().building.insert(db.uid, db.clone()).is_some() {
            return;
        }
        let (this, ops, db) = (self.clone(), ops.clone(), db.clone());
        ops.cluster.clone().spawn(async move {
            if let Err(error) = ops.build(&db).await {
                tracing::warn!(db = %db.name, %error, "an index was not made to its end");
            }
            this.lock().building.remove(&db.uid);
        });
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Ops {
    /// The indexes of a database as far as this router knows; a shard that is asked by this knowledge says when it is
    /// out of date. `None` if the database was dropped.
    pub(super) async fn indexes_of(
        &self,
        db: &Arc<DbEntry>,
        consistency: Consistency,
    ) -> Result<Option<Arc<Known>>, Error> {
        let Some(known) = self.indexes.get(db.uid) else { return self.indexes_now(db, consistency).await };
        if known.unfinished().next().is_some() {
            self.indexes.start(self, db);
        }
        Ok(Some(known))
    }

    /// The indexes of a database as they are now. Has every shard keep what is defined, and waits a moment for those
    /// that are not made yet. `None` if the database was dropped.
    pub async fn indexes_now(&self, db: &Arc<DbEntry>, consistency: Consistency) -> Result<Option<Arc<Known>>, Error> {
        let deadline = Instant::now() + PATIENCE;
        let mut told = 0;
        loop {
            let Some(known) = self.look_at_indexes(db, consistency).await? else { return Ok(None) };
            let unsettled: Vec<(ShardId, u64)> = known.unsettled().collect();
            if !unsettled.is_empty() && consistency == Consistency::Linearizable && told < TOLD_MAX {
                told += 1;
                let tell = |(shard, version)| self.tell_indexes(db, shard, version, known.wanted.clone());
                try_join_all(unsettled.into_iter().map(tell)).await?;
                continue;
            }
            let is_whole = known.whole.len() == known.all.len();
            if known.unfinished().next().is_some() {
                self.indexes.start(self, db);
                if !is_whole && Instant::now() < deadline {
                    tokio::time::sleep(PAUSE).await;
                    continue;
                }
            }
            let known = Arc::new(known);
            self.indexes.put(db.uid, known.clone());
            return Ok(Some(known));
        }
    }

    async fn look_at_indexes(&self, db: &DbEntry, consistency: Consistency) -> Result<Option<Known>, Error> {
        let looks = self.cluster.shards_of(db.uid).into_iter().map(|shard| async move {
            match self.cluster.read(shard, consistency, Query::Indexes { db: db.uid }).await? {
                (Answer::Indexes(known), _) => Ok(Some((shard, *known))),
                (Answer::Dropped, _) => Ok(None),
                _ => Err(confused(shard)),
            }
        });
        let shards: Option<Vec<_>> = try_join_all(looks).await?.into_iter().collect();
        Ok(shards.map(|shards| Known::of(db, shards)))
    }

    async fn tell_indexes(&self, db: &DbEntry, shard: ShardId, version: u64, indexes: Vec<Kept>) -> Result<(), Error> {
        let op = Op::AdoptIndexes { db: db.uid, version, indexes };
        self.cluster.write(shard, command(op)).await?;
        Ok(())
    }

    /// Has all shards make their indexes, until there is nothing left to do.
    async fn build(&self, db: &DbEntry) -> Result<(), Error> {
        loop {
            let Some(known) = self.look_at_indexes(db, Consistency::Linearizable).await? else { return Ok(()) };
            let unfinished: Vec<ShardId> = known.unfinished().collect();
            if unfinished.is_empty() {
                return Ok(());
            }
            let built = join_all(unfinished.into_iter().map(|shard| self.build_on(db, shard))).await;
            built.into_iter().collect::<Result<(), Error>>()?;
        }
    }

    async fn build_on(&self, db: &DbEntry, shard: ShardId) -> Result<(), Error> {
        let mut failed = 0;
        loop {
            match self.cluster.write(shard, command(Op::BuildIndexes { db: db.uid })).await {
                Ok(Outcome::Indexed { more: true }) => failed = 0,
                Ok(_) => return Ok(()),
                Err(refusal) if failed + 1 >= ATTEMPTS_MAX => return Err(refusal.into()),
                Err(_) => {
                    failed += 1;
                    tokio::time::sleep(RETRY_PAUSE).await;
                }
            }
        }
    }

    /// The databases this router makes indexes for now, and how far it is.
    pub async fn indexes_building(&self) -> Result<Vec<Building>, Error> {
        let databases: Vec<Arc<DbEntry>> = self.indexes.lock().building.values().cloned().collect();
        let mut building = Vec::new();
        for db in databases {
            let Some(known) = self.look_at_indexes(&db, Consistency::Linearizable).await? else { continue };
            let kept = || known.shards.iter().flat_map(|(_, shard)| &shard.kept).filter(|kept| !kept.complete);
            let mut ddocs: Vec<Box<str>> = kept().map(|kept| kept.index.ddoc.clone()).collect();
            ddocs.sort_unstable();
            ddocs.dedup();
            let furthest = |shard: &ShardIndexes| {
                let under_way = shard.kept.iter().filter(|kept| !kept.complete);
                under_way.map(|kept| kept.passed).max().unwrap_or(0)
            };
            let passed = known.shards.iter().map(|(_, shard)| furthest(shard)).sum();
            if !ddocs.is_empty() {
                building.push(Building { db, ddocs, passed });
            }
        }
        Ok(building)
    }
}

fn command(op: Op) -> Command {
    Command { request: RequestId(Uuid::new_v4()), retry: false, op }
}
