//! Answers queries by selector: every shard looks through its part, step by step, and what they find is merged.
//!
//! The first document of every shard is known before the first one goes out. Memory is bounded by one page a shard.
//! Not a snapshot: a step sees what was acknowledged before it was asked for. A shard that cannot answer fails the
//! whole query.

mod bookmark;
mod merge;
mod planned;

use std::sync::Arc;
use std::time::Duration;

use common::ids::{DbName, ShardId};
use common::mango::{explain, plan, request};
use common::partition::Partition;
use common::query::{Answer, Consistency, Find, FindPage, FoundRow, Place, Query};
use common::refusal::Refusal;
use futures::future::try_join_all;
use tokio::time::Instant;

use super::{Error, Ops, confused};
use crate::cluster::catalog::DbEntry;
use bookmark::{Bookmark, IndexName};
use merge::Merge;
use planned::{Planned, question};

/// Documents asked of a shard at once.
const PAGE_ROWS: u64 = 200;
/// How often a query begins again because the database or its indexes are others than was known.
const BEGUN_MAX: u32 = 8;
/// How long a query waits for an index without which it cannot be answered.
const INDEX_PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks meanwhile.
const INDEX_PAUSE: Duration = Duration::from_millis(50);

/// A query under way.
pub struct Finding {
    ops: Ops,
    consistency: Consistency,
    /// The shards, and what each is asked at first.
    asked: Vec<(ShardId, Find)>,
    merge: Merge,
    /// Documents still to be left out.
    skip: u64,
    /// Documents still wanted.
    left: u64,
    /// Where the last document stood.
    last: Option<Place>,
    /// The bookmark this query began with.
    given: Option<Box<str>>,
    index: Option<IndexName>,
    /// Whether the index asked for is not the one that is read.
    pub passed_over: bool,
    /// What it took so far.
    pub stats: Stats,
    /// How old the answer may be, in milliseconds.
    pub lag_ms: u64,
}

/// What a query took, over all shards.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Stats {
    /// Keys looked at.
    pub keys_examined: u64,
    /// Documents put to the selector.
    pub docs_examined: u64,
    /// Documents given out.
    pub returned: u64,
}

/// What came of asking the shards.
enum Asked<T> {
    Answered(T),
    /// The database was dropped.
    Dropped,
    /// A shard's indexes are not those the query goes by.
    OtherIndexes,
}

impl Ops {
    /// Begins a query. Every shard has answered before this returns.
    pub async fn find(
        &self,
        name: &DbName,
        request: &request::Find,
        consistency: Consistency,
    ) -> Result<Finding, Error> {
        let bookmark = request.bookmark.as_deref().map(Bookmark::parse).transpose()?;
        let deadline = Instant::now() + INDEX_PATIENCE;
        let (mut fresh, mut begun, mut stale) = (false, 0, Error::NoDatabase);
        while begun < BEGUN_MAX {
            let db = self.db_for(name, consistency).await?;
            let shards = self.shards_for(&db, request)?;
            let known = match fresh {
                true => self.indexes_now(&db, consistency).await?,
                false => self.indexes_of(&db, consistency).await?,
            };
            let Some(known) = known else {
                self.catalog.forget(db.uid);
                begun += 1;
                continue;
            };
            let planned = match Planned::of(&db, request, bookmark.as_ref(), &known.whole) {
                Ok(planned) => planned,
                // What is known may be old.
                Err(_) if !fresh => {
                    fresh = true;
                    continue;
                }
                Err(error) if Planned::of(&db, request, bookmark.as_ref(), &known.all).is_err() => {
                    return Err(error.into());
                }
                Err(_) if Instant::now() < deadline => {
                    tokio::time::sleep(INDEX_PAUSE).await;
                    continue;
                }
                Err(_) => return Err(Error::IndexNotBuilt),
            };
            // Where nothing can match nobody need be asked.
            let shards = if planned.nothing || request.limit == 0 { Vec::new() } else { shards };
            let asked = shards.iter().map(|shard| (*shard, planned.ask(request, &known, *shard, consistency)));
            let mut finding = Finding {
                ops: self.clone(),
                consistency,
                asked: asked.collect(),
                merge: Merge::new(shards.clone(), bookmark.as_ref().map(|from| &from.place), planned.descending),
                skip: request.skip,
                left: request.limit,
                last: None,
                given: request.bookmark.clone(),
                passed_over: request.use_index.as_ref().is_some_and(|asked| !planned.is_named(asked)),
                index: planned.index,
                stats: Stats::default(),
                lag_ms: 0,
            };
            match finding.refill().await? {
                Asked::Answered(()) => return Ok(finding),
                Asked::Dropped => self.catalog.forget(db.uid),
                Asked::OtherIndexes => {
                    self.indexes.forget(db.uid);
                    (fresh, stale) = (true, Error::IndexesChange);
                }
            }
            begun += 1;
        }
        Err(stale)
    }

    /// JSON text of how a query would be answered.
    pub async fn explain(&self, name: &DbName, request: &request::Find) -> Result<String, Error> {
        let db = self.db(name).await?;
        self.shards_for(&db, request)?;
        let known = self.indexes_now(&db, Consistency::Linearizable).await?.ok_or(Error::NoDatabase)?;
        let question = question(&db, request);
        let (plan, trace) = plan::choose(&question, &known.whole, true)?;
        Ok(explain::answer(name.as_str(), request, &question, plan.as_ref(), &trace))
    }

    /// The shards that have what is asked for.
    fn shards_for(&self, db: &Arc<DbEntry>, request: &request::Find) -> Result<Vec<ShardId>, Error> {
        let Some(partition) = request.partition.as_deref() else { return Ok(self.cluster.shards_of(db.uid)) };
        if !db.partitioned {
            return Err(Error::NotPartitioned);
        }
        Ok(vec![self.shard_of(db, &Partition::parse(partition)?)?])
    }

    /// Lets one shard look on until it finds something or comes to its end.
    async fn look(
        &self,
        shard: ShardId,
        consistency: Consistency,
        mut find: Find,
    ) -> Result<Asked<(FindPage, u64)>, Error> {
        let (mut keys_examined, mut docs_examined, mut oldest_ms) = (0, 0, 0);
        loop {
            let query = Query::Find(Box::new(find.clone()));
            let (page, lag_ms) = match self.cluster.read(shard, consistency, query).await? {
                (Answer::Found(page), lag_ms) => (page, lag_ms),
                (Answer::Dropped, _) => return Ok(Asked::Dropped),
                (Answer::OtherIndexes, _) => return Ok(Asked::OtherIndexes),
                (Answer::NotUnderstood, _) => return Err(not_understood(shard)),
                _ => return Err(confused(shard)),
            };
            keys_examined += page.keys_examined;
            docs_examined += page.docs_examined;
            oldest_ms = lag_ms.max(oldest_ms);
            if !page.rows.is_empty() || page.resume.is_none() {
                return Ok(Asked::Answered((FindPage { keys_examined, docs_examined, ..page }, oldest_ms)));
            }
            if page.resume == find.after {
                return Err(confused(shard));
            }
            find.after = page.resume;
            // What was begun is brought to its end, as long as its index is there.
            find.version = None;
        }
    }
}

impl Finding {
    /// The next document; `None` at the end. An error in the middle must not look like the end.
    pub async fn next(&mut self) -> Result<Option<FoundRow>, Error> {
        while self.left > 0 {
            match self.refill().await? {
                Asked::Answered(()) => {}
                Asked::Dropped => return Err(Error::NoDatabase),
                Asked::OtherIndexes => return Err(Error::IndexesChange),
            }
            let Some(row) = self.merge.pop() else { break };
            self.last = Some(row.place.clone());
            if self.skip > 0 {
                self.skip -= 1;
                continue;
            }
            self.left -= 1;
            self.stats.returned += 1;
            return Ok(Some(row));
        }
        Ok(None)
    }

    /// Whether documents are read by id, for want of an index.
    pub fn is_by_id(&self) -> bool {
        self.index.is_none()
    }

    /// Where to go on behind what was given out: the bookmark given if that is nothing, `nil` without one.
    pub fn bookmark(&self) -> String {
        match &self.last {
            Some(place) => Bookmark { index: self.index.clone(), place: place.clone() }.show(),
            None => self.given.as_deref().unwrap_or("nil").to_owned(),
        }
    }

    /// Asks on wherever a shard's documents ran out and there may be more.
    async fn refill(&mut self) -> Result<Asked<()>, Error> {
        let starved = self.merge.starved();
        if starved.is_empty() {
            return Ok(Asked::Answered(()));
        }
        let limit = u32::try_from(self.left.saturating_add(self.skip).clamp(1, PAGE_ROWS)).unwrap_or(u32::MAX);
        let asked = starved.into_iter().filter_map(|(shard, after)| {
            let (_, find) = self.asked.iter().find(|(asked, _)| *asked == shard)?;
            let (ops, consistency, find) = (&self.ops, self.consistency, Find { limit, after, ..find.clone() });
            Some(async move { Ok::<_, Error>((shard, ops.look(shard, consistency, find).await?)) })
        });
        for (shard, found) in try_join_all(asked).await? {
            let (page, lag_ms) = match found {
                Asked::Answered(found) => found,
                Asked::Dropped => return Ok(Asked::Dropped),
                Asked::OtherIndexes => return Ok(Asked::OtherIndexes),
            };
            self.stats.keys_examined += page.keys_examined;
            self.stats.docs_examined += page.docs_examined;
            self.lag_ms = self.lag_ms.max(lag_ms);
            self.merge.add(shard, page);
        }
        self.asked.iter_mut().for_each(|(_, find)| find.version = None);
        Ok(Asked::Answered(()))
    }
}

fn not_understood(shard: ShardId) -> Error {
    let reason = "it cannot read this selector; its node runs another version".to_owned();
    Error::Refused(Refusal::OutOfService { shard, reason })
}
