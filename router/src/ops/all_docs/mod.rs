//! Lists documents by id: every shard is asked for its part of the range, page by page, and the parts are merged.
//!
//! The first page of every shard is there before the first row goes out, so a shard that cannot answer fails the
//! whole listing. Memory is bounded by one page a shard. Not a snapshot: a page sees what was acknowledged before it
//! was asked for.

mod merge;

use std::sync::Arc;

use common::ids::{DbName, ShardId};
use common::partition::Partition;
use common::query::{Answer, Consistency, Query, Range, RangePage, RangeRow};
use futures::future::try_join_all;

use super::{Error, Ops, STALE_RETRIES_MAX, confused};
use crate::cluster::catalog::DbEntry;
use crate::feed::{Scope, Token};
use merge::Merge;

/// Rows of a page without bodies: large enough that a listing is bound by rendering, small enough to hold a few.
const PAGE_ROWS: u64 = 1_000;
/// Rows of a page with bodies.
const PAGE_ROWS_BODIES: u64 = 200;

/// What to list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    /// Lowest id, inclusive.
    pub low: Option<Box<str>>,
    /// Highest id.
    pub high: Option<Box<str>>,
    /// Whether `low` itself is left out.
    pub low_exclusive: bool,
    /// Whether `high` itself is left out.
    pub high_exclusive: bool,
    /// Nothing can be in the range: only the counts are wanted.
    pub empty: bool,
    /// Highest first.
    pub descending: bool,
    /// Rows to leave out at the start.
    pub skip: u64,
    /// Rows at most.
    pub limit: Option<u64>,
    /// Whether to read the winners' bodies.
    pub bodies: bool,
    /// Whether to read the conflicting leaves.
    pub conflicts: bool,
    /// Whether to list the local documents instead of all others.
    pub locals: bool,
    /// Asks only the shard that has this partition; the range must lie within it.
    pub partition: Option<Partition>,
}

/// The ids of design documents: from the first, up to the second, which is none.
pub const DESIGNS: (&str, &str) = ("_design/", "_design0");

impl Listing {
    /// Everything, lowest first, without bodies.
    pub fn all() -> Self {
        Self {
            low: None,
            high: None,
            low_exclusive: false,
            high_exclusive: false,
            empty: false,
            descending: false,
            skip: 0,
            limit: None,
            bodies: false,
            conflicts: false,
            locals: false,
            partition: None,
        }
    }
}

/// A listing under way.
pub struct Listed {
    ops: Ops,
    db: Arc<DbEntry>,
    consistency: Consistency,
    listing: Listing,
    merge: Merge,
    /// Rows still wanted; `None` for all.
    left: Option<u64>,
    /// Documents of the database when the listing began.
    pub total: u64,
    /// Documents that sort before the first row, if they could be counted.
    pub offset: Option<u64>,
    /// Where the feed stood when the listing began.
    pub update_seq: Token,
    /// How old the first pages may be, in milliseconds.
    pub lag_ms: u64,
}

impl Ops {
    /// Begins a listing: asks every shard for its first page.
    pub async fn list(&self, name: &DbName, listing: Listing, consistency: Consistency) -> Result<Listed, Error> {
        for _ in 0..STALE_RETRIES_MAX {
            let db = self.db_for(name, consistency).await?;
            if let Some(listed) = self.begin(&db, listing.clone(), consistency).await? {
                return Ok(listed);
            }
            self.catalog.forget(db.uid);
        }
        Err(Error::NoDatabase)
    }

    async fn begin(
        &self,
        db: &Arc<DbEntry>,
        listing: Listing,
        consistency: Consistency,
    ) -> Result<Option<Listed>, Error> {
        let shards = match &listing.partition {
            None => self.cluster.shards_of(db.uid),
            Some(partition) => vec![self.shard_of(db, partition)?],
        };
        let range = first_range(db, &listing);
        let reads = shards.iter().map(|shard| self.range(*shard, consistency, query(&listing, range.clone())));
        let pages: Option<Vec<(RangePage, u64)>> = try_join_all(reads).await?.into_iter().collect();
        let Some(pages) = pages else { return Ok(None) };
        let total = pages.iter().map(|(page, _)| page.total).sum();
        let before: Option<u64> = pages.iter().map(|(page, _)| page.before).sum();
        let skip = listing.skip;
        let seqs = shards.iter().zip(&pages).map(|(shard, (page, _))| (*shard, page.seq)).collect();
        let lag_ms = pages.iter().map(|(_, lag_ms)| *lag_ms).max().unwrap_or(0);
        let mut merge = Merge::new(listing.descending);
        for (shard, (page, _)) in shards.into_iter().zip(pages) {
            let (rows, more) = if listing.empty { (Vec::new(), false) } else { (page.rows, page.more) };
            merge.add(shard, rows, more);
        }
        let mut listed = Listed {
            ops: self.clone(),
            db: Arc::clone(db),
            consistency,
            merge,
            left: listing.limit,
            total,
            offset: before.map(|before| before.saturating_add(skip).min(total)),
            update_seq: Token {
                origin: db.uid.into(),
                scope: Scope::Database,
                map_version: self.cluster.map().version,
                seqs,
            },
            lag_ms,
            listing,
        };
        listed.skip().await?;
        Ok(Some(listed))
    }

    /// One page of one shard; `None` if the database was dropped.
    async fn range(
        &self,
        shard: ShardId,
        consistency: Consistency,
        query: Query,
    ) -> Result<Option<(RangePage, u64)>, Error> {
        match self.cluster.read(shard, consistency, query).await? {
            (Answer::Range(page), lag_ms) => Ok(Some((page, lag_ms))),
            (Answer::Dropped, _) => Ok(None),
            _ => Err(confused(shard)),
        }
    }
}

impl Listed {
    /// The next row; `None` at the end. An error in the middle must not look like the end.
    pub async fn next(&mut self) -> Result<Option<RangeRow>, Error> {
        if self.left == Some(0) {
            return Ok(None);
        }
        self.refill().await?;
        let row = self.merge.pop();
        if row.is_some() {
            self.left = self.left.map(|left| left - 1);
        }
        Ok(row)
    }

    /// Whether the next row is at hand, or there is none: [`Self::next`] will not wait.
    pub fn is_ready(&self) -> bool {
        self.left == Some(0) || self.merge.starved().is_empty()
    }

    async fn skip(&mut self) -> Result<(), Error> {
        for _ in 0..self.listing.skip {
            self.refill().await?;
            if self.merge.pop().is_none() {
                break;
            }
        }
        Ok(())
    }

    /// Reads on wherever a shard's page ran out and there is more.
    async fn refill(&mut self) -> Result<(), Error> {
        let starved = self.merge.starved();
        if starved.is_empty() {
            return Ok(());
        }
        let reads = starved.into_iter().map(|(shard, last)| {
            let range = query(&self.listing, next_range(&self.db, &self.listing, self.left, last));
            let ops = &self.ops;
            let consistency = self.consistency;
            async move { Ok::<_, Error>((shard, ops.range(shard, consistency, range).await?)) }
        });
        for (shard, page) in try_join_all(reads).await? {
            let (page, _) = page.ok_or(Error::NoDatabase)?;
            self.merge.add(shard, page.rows, page.more);
        }
        Ok(())
    }
}

fn query(listing: &Listing, range: Range) -> Query {
    if listing.locals { Query::Locals(range) } else { Query::Range(range) }
}

fn first_range(db: &DbEntry, listing: &Listing) -> Range {
    Range {
        db: db.uid,
        low: listing.low.clone(),
        high: listing.high.clone(),
        low_exclusive: listing.low_exclusive,
        high_exclusive: listing.high_exclusive,
        descending: listing.descending,
        limit: page_rows(listing, listing.limit.map(|limit| limit.saturating_add(listing.skip))),
        bodies: listing.bodies,
        conflicts: listing.conflicts,
        count_before: true,
    }
}

/// The range behind `last`.
fn next_range(db: &DbEntry, listing: &Listing, left: Option<u64>, last: Box<str>) -> Range {
    let limit = page_rows(listing, left.map(|left| left.saturating_add(listing.skip)));
    let mut range = Range { limit, count_before: false, ..first_range(db, listing) };
    if listing.descending {
        (range.high, range.high_exclusive) = (Some(last), true);
    } else {
        (range.low, range.low_exclusive) = (Some(last), true);
    }
    range
}

fn page_rows(listing: &Listing, wanted: Option<u64>) -> u32 {
    let most = if listing.bodies { PAGE_ROWS_BODIES } else { PAGE_ROWS };
    // At least one row even when none is wanted: `before` is counted up to the first.
    let rows = wanted.unwrap_or(most).clamp(1, most);
    u32::try_from(rows).expect("a page has at most 1,000 rows")
}
