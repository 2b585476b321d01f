//! The catalog: databases as documents of `_dbs` on shard 0.
//!
//! Promises that a database exists for all routers or for none: making one is a single conditional write, and a
//! removal that was begun is finished by whoever meets it. What is known to exist is kept and dropped when the
//! catalog's feed reports a change, not when the feed breaks: shard 0 without a primary must not stop the others. What
//! is not known is always asked for. A stale entry does no harm: a dropped uid is refused by every shard for ever.

mod record;
mod security;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::change::Change;
use common::command::{Command, Op};
use common::ids::{DbName, DbUid, DocId, RequestId};
use common::query::Consistency;
use common::refusal::Refusal;
use common::rev::Rev;
use common::secret::Secret;
use futures::future::try_join_all;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::value::RawValue;
use tokio::sync::OnceCell;
use uuid::Uuid;

use self::record::{ClusterRecord, DbRecord, SessionKeyRecord, State};
pub use self::record::{DbEntry, News};
pub use self::security::{Group, Security};
use super::Cluster;
use super::follow::{Freshness, Watcher, follow};
use super::system::{Stored, SystemDb, decode};

/// Pause before the shard map is asked for again.
const SETTLE_PAUSE: Duration = Duration::from_millis(200);
/// How long an eventual read of an unknown database waits for what shard 0's majority says of it. Longer delays each
/// such read in a minority; shorter answers with what may be old although shard 0 is well.
const LOOKUP_PATIENCE: Duration = Duration::from_millis(100);

/// Milliseconds since 1970.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// What a router knows of the databases; a cheap handle.
#[derive(Clone)]
pub struct Catalog {
    inner: Arc<Inner>,
}

struct Inner {
    cluster: Cluster,
    clock: Clock,
    known: Mutex<Known>,
    uuid: OnceCell<Uuid>,
    /// Whether its feed was found once.
    read: AtomicBool,
    session_key: OnceCell<Secret>,
    freshness: Freshness,
    /// The databases that are always there.
    standing: [Arc<DbEntry>; 2],
}

/// The entries kept. `changes` grows with each piece of news, so that an entry read before it is not kept after it.
#[derive(Default)]
struct Known {
    entries: HashMap<DbName, (Rev, Arc<DbEntry>)>,
    changes: u64,
}

impl Known {
    /// Keeps what was read (or written) at `rev`, when `changes` were known, unless there was news since.
    fn keep(&mut self, changes: u64, name: &DbName, rev: Rev, entry: &Arc<DbEntry>) {
        if self.changes == changes {
            self.entries.insert(name.clone(), (rev, entry.clone()));
        }
    }

    /// The database's document is at `rev` now: what was read there stays.
    fn changed(&mut self, name: &DbName, rev: Option<&Rev>) {
        self.changes += 1;
        if self.entries.get(name).is_some_and(|(known, _)| Some(known) != rev) {
            self.entries.remove(name);
        }
    }
}

/// Why the catalog did not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CatalogError {
    /// There is no such database.
    #[error("Database does not exist.")]
    NotFound,
    /// There is one already.
    #[error("The database could not be created, the file already exists.")]
    Exists,
    /// Shard 0 (or, while deleting, another) did not do it.
    #[error(transparent)]
    Refused(#[from] Refusal),
}

impl Catalog {
    /// The catalog of `cluster`. Follows its feed, and sees to the shard map, until the cluster is stopped.
    pub fn start(cluster: Cluster, clock: Clock) -> Self {
        let standing = record::standing().map(Arc::new);
        let inner = Inner {
            cluster,
            clock,
            known: Mutex::default(),
            uuid: OnceCell::new(),
            read: AtomicBool::new(false),
            session_key: OnceCell::new(),
            freshness: Freshness::default(),
            standing,
        };
        let catalog = Self { inner: Arc::new(inner) };
        catalog.inner.cluster.spawn(settle_and_follow(catalog.clone()));
        catalog
    }

    /// Whether it was read since this router started, so that what it keeps is looked after.
    pub fn is_known(&self) -> bool {
        self.inner.read.load(Ordering::Relaxed)
    }

    /// The database of that name. Known ones cost nothing; for others shard 0 is asked.
    pub async fn db(&self, name: &DbName) -> Result<Arc<DbEntry>, CatalogError> {
        if let Some(entry) = self.standing(name) {
            return Ok(entry.clone());
        }
        let changes = {
            let known = self.known();
            if let Some((_, entry)) = known.entries.get(name) {
                return Ok(entry.clone());
            }
            known.changes
        };
        let (stored, record) = self.stored(name, Consistency::Linearizable).await?.ok_or(CatalogError::NotFound)?;
        if record.state == State::Deleting {
            self.finish(name, record.uid, stored.rev).await?;
            return Err(CatalogError::NotFound);
        }
        let entry = Arc::new(record.entry(name));
        self.known().keep(changes, name, stored.rev, &entry);
        Ok(entry)
    }

    /// The same for a read that may be answered with something old: while shard 0 has no majority, with what one of its
    /// replicas has. That is not kept, since no feed would tell that it has changed.
    pub async fn db_for(&self, name: &DbName, consistency: Consistency) -> Result<Arc<DbEntry>, CatalogError> {
        match consistency {
            Consistency::Linearizable => return self.db(name).await,
            Consistency::Eventual => {}
        }
        match tokio::time::timeout(LOOKUP_PATIENCE, self.db(name)).await {
            Ok(Err(CatalogError::Refused(_))) | Err(_) => {}
            Ok(known) => return known,
        }
        let stored = self.stored(name, Consistency::Eventual).await?;
        let (_, record) = stored.filter(|(_, record)| record.state == State::Live).ok_or(CatalogError::NotFound)?;
        Ok(Arc::new(record.entry(name)))
    }

    /// Makes a database.
    pub async fn create(&self, name: &DbName, partitioned: bool) -> Result<Arc<DbEntry>, CatalogError> {
        if self.standing(name).is_some() {
            return Err(CatalogError::Exists);
        }
        let record = DbRecord::new(DbUid(Uuid::new_v4()), partitioned, (self.inner.clock)());
        loop {
            let changes = self.known().changes;
            if let Some(rev) = self.dbs().put(&record::id_of(name), None, &record).await? {
                let entry = Arc::new(record.entry(name));
                self.known().keep(changes, name, rev, &entry);
                return Ok(entry);
            }
            match self.stored(name, Consistency::Linearizable).await? {
                Some((_, record)) if record.state == State::Live => return Err(CatalogError::Exists),
                Some((stored, record)) => self.finish(name, record.uid, stored.rev).await?,
                // Removed between the two looks at it.
                None => {}
            }
        }
    }

    /// Removes a database and everything in it.
    pub async fn delete(&self, name: &DbName) -> Result<(), CatalogError> {
        loop {
            let (stored, mut record) = self.current(name).await?;
            if record.state == State::Deleting {
                return self.finish(name, record.uid, stored.rev).await;
            }
            record.state = State::Deleting;
            if let Some(rev) = self.dbs().put(&record::id_of(name), Some(stored.rev), &record).await? {
                return self.finish(name, record.uid, rev).await;
            }
        }
    }

    /// All databases, sorted, and how old the list may be in milliseconds.
    pub async fn all(&self, consistency: Consistency) -> Result<(Vec<DbName>, u64), CatalogError> {
        let mut names: Vec<DbName> = self.inner.standing.iter().map(|entry| entry.name.clone()).collect();
        let (mut after, mut oldest_ms): (Option<DocId>, u64) = (None, 0);
        loop {
            let (page, lag_ms) = self.dbs().page(after.as_ref(), consistency).await?;
            oldest_ms = oldest_ms.max(lag_ms);
            for row in &page.rows {
                let Some(json) = &row.json else { continue };
                let record: DbRecord = decode(&row.id, json)?;
                if record.state == State::Live {
                    names.extend(record::name_of(&row.id));
                }
            }
            after = page.rows.into_iter().last().map(|row| row.id);
            if !page.more || after.is_none() {
                names.sort_unstable();
                return Ok((names, oldest_ms));
            }
        }
    }

    /// What is known of all databases, sorted by name; every change acknowledged before is in it.
    pub async fn entries(&self) -> Result<Vec<DbEntry>, CatalogError> {
        let mut entries: Vec<DbEntry> = self.inner.standing.iter().map(|entry| entry.as_ref().clone()).collect();
        let mut after: Option<DocId> = None;
        loop {
            let (page, _) = self.dbs().page(after.as_ref(), Consistency::Linearizable).await?;
            for row in &page.rows {
                let (Some(json), Some(name)) = (&row.json, record::name_of(&row.id)) else { continue };
                let record: DbRecord = decode(&row.id, json)?;
                if record.state == State::Live {
                    entries.push(record.entry(&name));
                }
            }
            after = page.rows.into_iter().last().map(|row| row.id);
            if !page.more || after.is_none() {
                entries.sort_unstable_by(|a, b| a.name.cmp(&b.name));
                return Ok(entries);
            }
        }
    }

    /// The database a change in the feed of [`DbUid::DBS`] is about, and what happened to it; `None` if it is about
    /// none. The change must carry the body.
    pub fn news(&self, change: &Change) -> Result<Option<(DbName, News)>, CatalogError> {
        Ok(record::news(change)?)
    }

    /// Forgets what it knows of a database: a shard said that it was dropped. Ask again and retry.
    pub fn forget(&self, uid: DbUid) {
        let mut known = self.known();
        known.changes += 1;
        known.entries.retain(|_, (_, entry)| entry.uid != uid);
    }

    /// Sets the longest chain of ancestors kept.
    pub async fn set_revs_limit(&self, name: &DbName, limit: u32) -> Result<(), CatalogError> {
        self.change(name, |record| record.revs_limit = limit).await
    }

    /// Sets how many purges are remembered.
    pub async fn set_purged_infos_limit(&self, name: &DbName, limit: u32) -> Result<(), CatalogError> {
        self.change(name, |record| record.purged_infos_limit = limit).await
    }

    /// Sets the `_security` object.
    pub async fn set_security(&self, name: &DbName, security: Box<RawValue>) -> Result<(), CatalogError> {
        self.change(name, |record| record.security = Some(security.clone())).await
    }

    /// The database of that name, to decide who may come in: what is known of it must have been confirmed within
    /// `follow::FRESH_FOR`, else shard 0 is asked.
    pub async fn db_confirmed(&self, name: &DbName) -> Result<Arc<DbEntry>, CatalogError> {
        if self.inner.freshness.is_fresh() || self.standing(name).is_some() {
            return self.db(name).await;
        }
        let stored = self.stored(name, Consistency::Linearizable).await?;
        let (_, record) = stored.filter(|(_, record)| record.state == State::Live).ok_or(CatalogError::NotFound)?;
        Ok(Arc::new(record.entry(name)))
    }

    /// Milliseconds since 1970, by this router's clock.
    pub fn now_ms(&self) -> u64 {
        (self.inner.clock)()
    }

    /// The cluster's `uuid`: made once, the same on every router for ever.
    pub async fn cluster_uuid(&self) -> Result<Uuid, CatalogError> {
        let id = DocId::parse("cluster").expect("a valid id");
        let read = || async { self.made_once(&id, || ClusterRecord { uuid: Uuid::new_v4() }).await.map(|it| it.uuid) };
        Ok(*self.inner.uuid.get_or_try_init(read).await?)
    }

    /// The key that signs sessions: made once, the same on every router for ever.
    pub async fn session_key(&self) -> Result<&Secret, CatalogError> {
        let id = DocId::parse(DbUid::SESSION_KEY).expect("a valid id");
        let make = || SessionKeyRecord { key: Secret::random() };
        let read = || async { self.made_once(&id, make).await.map(|it| it.key) };
        Ok(self.inner.session_key.get_or_try_init(read).await?)
    }

    /// A document of the cluster's own that is made by whoever needs it first, and never changed.
    async fn made_once<T: Serialize + DeserializeOwned>(&self, id: &DocId, make: impl Fn() -> T) -> Result<T, Refusal> {
        let system = SystemDb { cluster: &self.inner.cluster, db: DbUid::SHARDS };
        loop {
            if let Some(stored) = system.get(id, Consistency::Linearizable).await? {
                return decode(id, &stored.json);
            }
            // Whoever is first makes it; the next look finds it.
            system.put(id, None, &make()).await?;
        }
    }

    /// Changes a live database's record.
    async fn change(&self, name: &DbName, change: impl Fn(&mut DbRecord)) -> Result<(), CatalogError> {
        loop {
            let (stored, mut record) = self.current(name).await?;
            if record.state == State::Deleting {
                return Err(CatalogError::NotFound);
            }
            change(&mut record);
            record.changed = true;
            if self.dbs().put(&record::id_of(name), Some(stored.rev), &record).await?.is_some() {
                self.forget(record.uid);
                return Ok(());
            }
        }
    }

    /// Ends a removal that is marked at `rev`: drops the database on every shard, then the mark. Whoever else does
    /// the same at the same time does no harm.
    async fn finish(&self, name: &DbName, uid: DbUid, rev: Rev) -> Result<(), CatalogError> {
        self.forget(uid);
        let cluster = &self.inner.cluster;
        let drop_on = |shard| {
            let command = Command { request: RequestId(Uuid::new_v4()), retry: false, op: Op::DropDb { db: uid } };
            cluster.write(shard, command)
        };
        try_join_all(cluster.shards_of(uid).into_iter().map(drop_on)).await?;
        // Whether this router or another one takes the mark away makes no difference.
        self.dbs().delete(&record::id_of(name), rev).await?;
        Ok(())
    }

    /// A database's document, which a write is to replace.
    async fn current(&self, name: &DbName) -> Result<(Stored, DbRecord), CatalogError> {
        self.stored(name, Consistency::Linearizable).await?.ok_or(CatalogError::NotFound)
    }

    async fn stored(
        &self,
        name: &DbName,
        consistency: Consistency,
    ) -> Result<Option<(Stored, DbRecord)>, CatalogError> {
        let id = record::id_of(name);
        let Some(stored) = self.dbs().get(&id, consistency).await? else { return Ok(None) };
        let record = decode(&id, &stored.json)?;
        Ok(Some((stored, record)))
    }

    /// The database of that name that is always there.
    fn standing(&self, name: &DbName) -> Option<&Arc<DbEntry>> {
        self.inner.standing.iter().find(|entry| &entry.name == name)
    }

    fn dbs(&self) -> SystemDb<'_> {
        SystemDb { cluster: &self.inner.cluster, db: DbUid::DBS }
    }

    fn known(&self) -> MutexGuard<'_, Known> {
        self.inner.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Watcher for Catalog {
    fn begin(&self) {
        self.inner.read.store(true, Ordering::Relaxed);
        let mut known = self.known();
        known.changes += 1;
        known.entries.clear();
    }

    fn changed(&self, changes: &[Change]) {
        let mut known = self.known();
        for row in changes {
            if let Some(name) = record::name_of(&row.id) {
                known.changed(&name, row.leaves.first());
            }
        }
    }

    fn freshness(&self) -> &Freshness {
        &self.inner.freshness
    }
}

/// Settles the shard map, then follows the catalog's feed for ever.
async fn settle_and_follow(catalog: Catalog) {
    let cluster = catalog.inner.cluster.clone();
    while let Err(refusal) = cluster.settle().await {
        tracing::debug!(%refusal, "the shard map cannot be settled yet");
        tokio::time::sleep(SETTLE_PAUSE).await;
    }
    follow(cluster, DbUid::DBS, catalog).await;
}
