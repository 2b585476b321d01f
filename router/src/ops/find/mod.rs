//! Answers queries by selector: every shard looks through its part, step by step, and what they find is merged.
//!
//! The first document of every shard is known before the first one goes out. Memory is bounded by one page a shard.
//! Not a snapshot: a step sees what was acknowledged before it was asked for. A shard that cannot answer fails the
//! whole query.

mod bookmark;
mod merge;

use std::sync::Arc;

use common::ids::{DbName, DocId, Invalid, ShardId};
use common::mango::bounds::bounds;
use common::mango::plan::{self, Query as Question};
use common::mango::{explain, request};
use common::query::{Answer, Consistency, Find, FindPage, FoundRow, Place, Query};
use common::refusal::Refusal;
use futures::future::try_join_all;

use super::{Error, Ops, STALE_RETRIES_MAX, confused};
use crate::cluster::catalog::DbEntry;
use bookmark::Bookmark;
use merge::Merge;

/// Documents asked of a shard at once.
const PAGE_ROWS: u64 = 200;

/// A query under way.
pub struct Finding {
    ops: Ops,
    consistency: Consistency,
    /// What every shard is asked, but for the place to go on from.
    find: Find,
    merge: Merge,
    /// Documents still to be left out.
    skip: u64,
    /// Documents still wanted.
    left: u64,
    /// Where the last document stood.
    last: Option<Place>,
    /// The bookmark this query began with.
    given: Option<Box<str>>,
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

impl Ops {
    /// Begins a query. Every shard has answered before this returns.
    pub async fn find(
        &self,
        name: &DbName,
        request: &request::Find,
        consistency: Consistency,
    ) -> Result<Finding, Error> {
        let bookmark = request.bookmark.as_deref().map(Bookmark::parse).transpose()?;
        for _ in 0..STALE_RETRIES_MAX {
            let db = self.db_for(name, consistency).await?;
            let mut finding = self.plan(&db, request, bookmark.as_ref(), consistency)?;
            if finding.refill().await? {
                return Ok(finding);
            }
            self.catalog.forget(db.uid);
        }
        Err(Error::NoDatabase)
    }

    /// JSON text of how a query would be answered.
    pub async fn explain(&self, name: &DbName, request: &request::Find) -> Result<String, Error> {
        let db = self.db(name).await?;
        self.shards_for(&db, request)?;
        let question = question(&db, request);
        let (plan, trace) = plan::choose(&question, &[], true)?;
        Ok(explain::answer(name.as_str(), request, &question, plan.as_ref(), &trace))
    }

    fn plan(
        &self,
        db: &Arc<DbEntry>,
        request: &request::Find,
        bookmark: Option<&Bookmark>,
        consistency: Consistency,
    ) -> Result<Finding, Error> {
        let shards = self.shards_for(db, request)?;
        let (plan, _) = plan::choose(&question(db, request), &[], false)?;
        let plan = plan.ok_or(common::mango::Error::NoSortIndex)?;
        if let (Some(Bookmark { index: Some(_), .. }), Some(text)) = (bookmark, &request.bookmark) {
            return Err(bookmark::foreign(text).into());
        }
        let ends = bounds(&plan, request.partition.as_deref());
        // Where nothing can match nobody need be asked.
        let shards = if plan.nothing || request.limit == 0 { Vec::new() } else { shards };
        let after = bookmark.map(|bookmark| &bookmark.place);
        Ok(Finding {
            ops: self.clone(),
            consistency,
            merge: Merge::new(shards, after, plan.descending),
            find: Find {
                db: db.uid,
                selector: request.selector.to_json().into(),
                low: ends.low.into(),
                high: ends.high.map(Into::into),
                descending: plan.descending,
                after: None,
                limit: 0,
                conflicts: request.conflicts,
            },
            skip: request.skip,
            left: request.limit,
            last: None,
            given: request.bookmark.clone(),
            stats: Stats::default(),
            lag_ms: 0,
        })
    }

    /// The shards that have what is asked for.
    fn shards_for(&self, db: &DbEntry, request: &request::Find) -> Result<Vec<ShardId>, Error> {
        let Some(partition) = request.partition.as_deref() else { return Ok(self.cluster.shards_of(db.uid)) };
        if !db.partitioned {
            return Err(Error::NotPartitioned);
        }
        if partition.starts_with('_') {
            return Err(Invalid::PartitionUnderscore.into());
        }
        let any = DocId::parse(&format!("{partition}:x"))?;
        Ok(vec![self.cluster.locate(db.uid, true, &any).0])
    }
}

/// The request, as far as choosing an index goes.
fn question<'q>(db: &DbEntry, request: &'q request::Find) -> Question<'q> {
    Question {
        selector: &request.selector,
        sort: &request.sort,
        projection: &request.projection,
        use_index: request.use_index.as_ref(),
        allow_fallback: request.allow_fallback,
        partition: request.partition.as_deref(),
        partitioned: db.partitioned,
    }
}

impl Finding {
    /// The next document; `None` at the end. An error in the middle must not look like the end.
    pub async fn next(&mut self) -> Result<Option<FoundRow>, Error> {
        while self.left > 0 {
            if !self.refill().await? {
                return Err(Error::NoDatabase);
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

    /// Whether the next document is at hand, or there is none: [`Self::next`] will not wait.
    pub fn is_ready(&self) -> bool {
        self.left == 0 || self.merge.starved().is_empty()
    }

    /// Where to go on behind what was given out: the bookmark given if that is nothing, `nil` without one.
    pub fn bookmark(&self) -> String {
        match &self.last {
            Some(place) => Bookmark { index: None, place: place.clone() }.show(),
            None => self.given.as_deref().unwrap_or("nil").to_owned(),
        }
    }

    /// Asks on wherever a shard's documents ran out and there may be more; `false` if the database was dropped.
    async fn refill(&mut self) -> Result<bool, Error> {
        let starved = self.merge.starved();
        if starved.is_empty() {
            return Ok(true);
        }
        let limit = u32::try_from(self.left.saturating_add(self.skip).clamp(1, PAGE_ROWS)).unwrap_or(u32::MAX);
        let find = Find { limit, ..self.find.clone() };
        let asked = starved.into_iter().map(|(shard, after)| {
            let (ops, consistency, find) = (&self.ops, self.consistency, Find { after, ..find.clone() });
            async move { Ok::<_, Error>((shard, ops.look(shard, consistency, find).await?)) }
        });
        for (shard, found) in try_join_all(asked).await? {
            let Some((page, lag_ms)) = found else { return Ok(false) };
            self.stats.keys_examined += page.keys_examined;
            self.stats.docs_examined += page.docs_examined;
            self.lag_ms = self.lag_ms.max(lag_ms);
            self.merge.add(shard, page);
        }
        Ok(true)
    }
}

impl Ops {
    /// Lets one shard look on until it finds something or comes to its end; `None` if the database was dropped.
    async fn look(
        &self,
        shard: ShardId,
        consistency: Consistency,
        mut find: Find,
    ) -> Result<Option<(FindPage, u64)>, Error> {
        let (mut keys_examined, mut docs_examined, mut oldest_ms) = (0, 0, 0);
        loop {
            let query = Query::Find(Box::new(find.clone()));
            let (page, lag_ms) = match self.cluster.read(shard, consistency, query).await? {
                (Answer::Found(page), lag_ms) => (page, lag_ms),
                (Answer::Dropped, _) => return Ok(None),
                (Answer::NotUnderstood, _) => return Err(not_understood(shard)),
                _ => return Err(confused(shard)),
            };
            keys_examined += page.keys_examined;
            docs_examined += page.docs_examined;
            oldest_ms = lag_ms.max(oldest_ms);
            if !page.rows.is_empty() || page.resume.is_none() {
                return Ok(Some((FindPage { keys_examined, docs_examined, ..page }, oldest_ms)));
            }
            if page.resume == find.after {
                return Err(confused(shard));
            }
            find.after = page.resume;
        }
    }
}

fn not_understood(shard: ShardId) -> Error {
    let reason = "it cannot read this selector; its node runs another version".to_owned();
    Error::Refused(Refusal::OutOfService { shard, reason })
}
