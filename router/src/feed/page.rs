//! Reads a feed: one page of it now, or the next change as soon as there is one.

use std::time::Duration;

use common::change::{Change, ChangesPage, ChangesRequest, FilterFunction};
use common::ids::{DbUid, Seq, ShardId};
use common::partition::Partition;
use common::query::{Answer, Consistency, Query};
use common::refusal::Refusal;
use futures::future::try_join_all;
use futures::stream::{FuturesUnordered, StreamExt};
use tokio::time::Instant;

use super::merge::{self, Merged, Part};
use super::token::{Scope, Since, Token};
use crate::cluster::Cluster;

/// Rows a page holds at most, over all shards. More hold more memory; fewer cost round trips.
const PAGE_ROWS: u32 = 1000;
/// Longest wait for changes in one request to a shard; then it is asked again.
const WAIT: Duration = Duration::from_secs(20);

/// What a feed's rows carry, and how many at most.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// Rows at most; `None` for as many as a page holds.
    pub limit: Option<u64>,
    /// Newest first. `since` is ignored then: it starts at the end, as CouchDB's does.
    pub descending: bool,
    /// `style=all_docs`.
    pub all_leaves: bool,
    /// Winners' bodies too.
    pub bodies: bool,
    /// Leaves out changes behind this token; a normal feed of several pages passes the first page's `end`, so that
    /// it ends although writers go on, and shows each id once.
    pub until: Option<Token>,
    /// Descending: goes on below this, the `resume` of the page before.
    pub resume: Option<Token>,
    /// JSON text of a selector in normal form: rows that it does not match come as [`Change::is_passed_over`].
    pub selector: Option<Box<str>>,
    /// A filter function in its place.
    pub function: Option<Box<FilterFunction>>,
    /// Shows the documents of this partition only. The database must have partitions.
    pub partition: Option<Partition>,
    /// Whether what is pending is to be counted; otherwise it is an upper bound while there is more.
    pub count_pending: bool,
    /// How many shards have more, as the page before said.
    pub busy: Option<usize>,
}

/// Part of a feed, in order.
#[derive(Debug, Clone)]
pub struct FeedPage {
    /// The rows, each with the token that resumes behind it.
    pub rows: Vec<(Token, Change)>,
    /// `last_seq`: the token of the last row; where the page began if there is none.
    pub last: Token,
    /// How many changes stand behind `last`.
    pub pending: u64,
    /// Whether there is another page (unless the caller has enough). Ascending: ask again since `last`. Descending:
    /// with `resume`.
    pub more: bool,
    /// How many shards have more; to be passed on for the next page.
    pub busy: usize,
    /// Descending: to be passed on for the next page.
    pub resume: Option<Token>,
    /// Where the feed ended when this page was read.
    pub end: Token,
    /// The database was dropped: the feed has ended.
    pub dropped: bool,
}

/// Reads one page: sees every change acknowledged before the call. If one shard cannot answer, nothing is answered.
pub async fn page(cluster: &Cluster, db: DbUid, since: &Since, options: &Options) -> Result<FeedPage, Refusal> {
    let reader = Reader::new(cluster, db, options);
    if options.descending {
        let from = options.resume.clone().unwrap_or_else(|| reader.everywhere(Seq(u64::MAX)));
        let parts = reader.ask_all(&from).await?;
        return Ok(reader.descending(parts, &from));
    }
    let from = reader.start(since).await?;
    let parts = reader.ask_all(&from).await?;
    Ok(reader.ascending(parts, &from))
}

/// Like [`page`], but waits up to `timeout` for the first change if there is none yet; an empty page after that.
/// May be dropped at any moment. Always ascending: the end of a feed is where changes arrive.
pub async fn wait(
    cluster: &Cluster,
    db: DbUid,
    since: &Since,
    options: &Options,
    timeout: Duration,
) -> Result<FeedPage, Refusal> {
    let deadline = Instant::now() + timeout;
    let reader = Reader::new(cluster, db, options);
    let from = reader.start(since).await?;
    let parts = reader.ask_all(&from).await?;
    let first = reader.ascending(parts, &from);
    if !first.rows.is_empty() || first.dropped {
        return Ok(first);
    }
    match tokio::time::timeout_at(deadline, reader.first_news(&from, deadline)).await {
        Ok(part) => Ok(part?.map_or(first, |part| reader.ascending(vec![part], &from))),
        Err(_) => Ok(first),
    }
}

struct Reader<'a> {
    cluster: &'a Cluster,
    db: DbUid,
    options: &'a Options,
    shards: Vec<ShardId>,
}

impl<'a> Reader<'a> {
    fn new(cluster: &'a Cluster, db: DbUid, options: &'a Options) -> Self {
        let shards = match &options.partition {
            Some(partition) => vec![cluster.shard_of(db, partition)],
            None => cluster.shards_of(db),
        };
        Self { cluster, db, options, shards }
    }

    /// The same seq on every shard.
    fn everywhere(&self, seq: Seq) -> Token {
        let scope = Scope::of(self.options.partition.as_ref());
        let mut token = Token::zero(self.db.into(), scope, self.cluster.map().version);
        for shard in &self.shards {
            token.set(*shard, seq);
        }
        token
    }

    async fn start(&self, since: &Since) -> Result<Token, Refusal> {
        match since {
            Since::Now => self.now().await,
            Since::Zero => Ok(self.everywhere(Seq(0))),
            // Another database's seqs: everything is news.
            Since::Token(token) if token.origin != self.db.into() => Ok(self.everywhere(Seq(0))),
            // Refused where requests are read; nothing is passed over here either.
            Since::Token(_) if since.check(Scope::of(self.options.partition.as_ref())).is_err() => {
                Ok(self.everywhere(Seq(0)))
            }
            Since::Token(token) => {
                let mut from = self.everywhere(Seq(0));
                for shard in &self.shards {
                    from.set(*shard, token.seq(*shard));
                }
                Ok(from)
            }
        }
    }

    async fn now(&self) -> Result<Token, Refusal> {
        let info = |shard: ShardId| async move {
            let query = Query::Info { db: self.db };
            match self.cluster.read(shard, Consistency::Linearizable, query).await?.0 {
                Answer::Info(counters) => Ok((shard, counters.seq)),
                // Dropped: the page that follows says so.
                _ => Ok((shard, Seq(0))),
            }
        };
        let mut token = self.everywhere(Seq(0));
        for (shard, seq) in try_join_all(self.shards.iter().copied().map(info)).await? {
            token.set(shard, seq);
        }
        Ok(token)
    }

    fn limit(&self) -> u32 {
        let limit = self.options.limit.unwrap_or(u64::from(PAGE_ROWS)).min(u64::from(PAGE_ROWS));
        u32::try_from(limit).unwrap_or(PAGE_ROWS)
    }

    /// Rows asked of each shard: those that are busy share a page, since the order between them means nothing. Newest
    /// first it does.
    fn limit_of_shard(&self) -> u32 {
        let busy = self.options.busy.unwrap_or(self.shards.len()).max(1);
        let shared = if self.options.descending { 1 } else { u32::try_from(busy).unwrap_or(u32::MAX) };
        self.limit().div_ceil(shared)
    }

    fn request(&self, since: Seq, wait: Option<Duration>) -> ChangesRequest {
        ChangesRequest {
            db: self.db,
            since,
            descending: self.options.descending && wait.is_none(),
            limit: self.limit_of_shard(),
            wait_ms: wait.map_or(0, |wait| u64::try_from(wait.as_millis()).unwrap_or(u64::MAX)),
            all_leaves: self.options.all_leaves,
            bodies: self.options.bodies,
            linearizable: wait.is_none(),
            selector: self.options.selector.clone(),
            function: self.options.function.clone(),
            partition: self.options.partition.clone(),
            count_pending: self.options.count_pending,
        }
    }

    async fn ask_all(&self, from: &Token) -> Result<Vec<Part>, Refusal> {
        let ask = |shard: ShardId| async move {
            let page = self.cluster.changes(shard, self.request(from.seq(shard), None)).await?;
            Ok(Part { shard, page })
        };
        try_join_all(self.shards.iter().copied().map(ask)).await
    }

    /// Waits on all shards until `deadline`; the first that has something wins. The others are asked again by the caller's next call,
    /// from the same position.
    async fn first_news(&self, from: &Token, deadline: Instant) -> Result<Option<Part>, Refusal> {
        let ask = |shard: ShardId| async move {
            let wait = deadline.saturating_duration_since(Instant::now()).min(WAIT);
            let page = self.cluster.changes(shard, self.request(from.seq(shard), Some(wait))).await?;
            Ok(Part { shard, page })
        };
        let mut waiting: FuturesUnordered<_> = self.shards.iter().copied().map(ask).collect();
        while let Some(part) = waiting.next().await {
            let part = part?;
            if !part.page.rows.is_empty() || part.page.dropped {
                return Ok(Some(part));
            }
            // A shard of this process may answer without ever giving way, so the end is looked for here as well.
            if Instant::now() + Duration::from_millis(1) >= deadline {
                return Ok(None);
            }
            waiting.push(ask(part.shard));
        }
        Ok(None)
    }

    fn ascending(&self, parts: Vec<Part>, from: &Token) -> FeedPage {
        let ((end, dropped), busy) = (end(&parts, from), busy(&parts));
        let merged = merge::ascending(parts, from, self.options.until.as_ref(), self.limit() as usize);
        let Merged { rows, position, pending, more } = merged;
        FeedPage { rows, last: position, pending, more, busy, resume: None, end, dropped }
    }

    fn descending(&self, parts: Vec<Part>, from: &Token) -> FeedPage {
        let ((end, dropped), busy) = (end(&parts, &self.everywhere(Seq(0))), busy(&parts));
        let Merged { rows, position, pending, more } = merge::descending(parts, from, self.limit() as usize);
        let last = rows.last().map_or_else(|| end.clone(), |(token, _)| token.clone());
        FeedPage { rows, last, pending, more, busy, resume: Some(position), end, dropped }
    }
}

fn busy(parts: &[Part]) -> usize {
    parts.iter().filter(|part| part.page.more).count()
}

/// Where the feed ended when these parts were read, and whether the database was dropped.
fn end(parts: &[Part], from: &Token) -> (Token, bool) {
    let mut end = from.clone();
    let mut dropped = false;
    for Part { shard, page: ChangesPage { last_seq, dropped: gone, .. } } in parts {
        end.set(*shard, *last_seq);
        dropped |= gone;
    }
    (end, dropped)
}
