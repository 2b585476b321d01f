//! Answers queries of views: every shard brings its index up to date and reads its part, page by page; rows are merged
//! by their places, groups put together.
//!
//! The first page of every shard is there before the first row goes out. Memory is bounded by one page a shard. A shard
//! that cannot answer fails the whole query.

mod cleanup;
pub mod design;
mod merge;
pub mod warm;

use std::sync::Arc;

use common::ids::ShardId;
use common::partition::Partition;
use common::query::Consistency;
use common::refusal::Refusal;
use common::view::design::{Reduce, View};
use common::view::{
    GroupLevel, GroupPage, Partial, Reducing, Rows, Span, ViewGroup, ViewPage, ViewReply, ViewRequest, ViewRow, Viewed,
};
use futures::future::try_join_all;

use super::{Error, Ops, STALE_RETRIES_MAX, confused};
use crate::cluster::catalog::DbEntry;
use crate::feed::{Scope, Token};
use crate::js::{Call, Program, Sandbox, Verb};
pub use design::Designed;
use merge::Merge;

/// Rows asked of a shard at once.
const PAGE_ROWS: u64 = 1_000;
/// The same with documents.
const PAGE_ROWS_DOCS: u64 = 200;
/// How long a shard works on its index before it says how far it is, in milliseconds.
const WAIT_MS: u64 = 1_500;

/// What is asked of a view.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ViewQuery {
    /// The ranges wanted, in this order.
    pub spans: Vec<Span>,
    /// Last rows first, within each range.
    pub descending: bool,
    /// Rows to leave out at the start.
    pub skip: u64,
    /// Rows at most.
    pub limit: Option<u64>,
    /// Whether to read the rows' documents.
    pub docs: bool,
    /// Whether to read their conflicts.
    pub conflicts: bool,
    /// Whether the index must be up to date; if not, whether it is brought there behind the answer.
    pub update: Update,
    /// How rows are put together, if they are reduced.
    pub level: Option<GroupLevel>,
    /// Asks only the shard that has this partition.
    pub partition: Option<Partition>,
    /// Whether rows before the first are counted.
    pub count_before: bool,
}

/// When an index is brought up to date.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Update {
    /// Before the answer.
    First,
    /// Not because of this query.
    No,
    /// Behind the answer.
    Behind,
}

/// A query under way.
pub struct Viewing {
    ops: Ops,
    db: Arc<DbEntry>,
    consistency: Consistency,
    request: ViewRequest,
    parts: Parts,
    skip: u64,
    left: Option<u64>,
    /// Rows of the view, over the shards asked.
    pub total: u64,
    /// Rows before the first one, if they could be counted.
    pub offset: Option<u64>,
    /// How far the indexes are.
    pub update_seq: Token,
    /// How old the answer may be, in milliseconds.
    pub lag_ms: u64,
}

enum Parts {
    Rows(Merge<ViewRow>),
    Groups(Merge<ViewGroup>),
}

/// What comes out.
#[derive(Debug, Clone, PartialEq)]
pub enum Row {
    /// A row of the view.
    Mapped(ViewRow),
    /// A group: JSON texts of key and value.
    Reduced(Box<str>, String),
}

impl Ops {
    /// Begins a query of a view. Every shard has answered before this returns.
    pub async fn view(
        &self,
        designed: &Designed,
        view: &View,
        query: &ViewQuery,
        consistency: Consistency,
    ) -> Result<Viewing, Error> {
        let reducing = query.level.and_then(|level| {
            let by = match view.reduce.as_ref()? {
                Reduce::Builtin(builtin) => Ok(*builtin),
                Reduce::Function(text) => Err(text.clone()),
            };
            Some(Reducing { by, level })
        });
        let mut db = designed.db.clone();
        for _ in 0..STALE_RETRIES_MAX {
            let shards = match &query.partition {
                None => self.cluster.shards_of(db.uid),
                Some(partition) => vec![self.shard_of(&db, partition)?],
            };
            let request = ViewRequest {
                db: db.uid,
                group: designed.group(),
                map: view.map,
                consistency,
                last_resort: false,
                update: query.update == Update::First,
                wait_ms: WAIT_MS,
                rows: Rows {
                    spans: query.spans.clone(),
                    descending: query.descending,
                    after: None,
                    limit: page_rows(query.docs, query.limit.map(|limit| limit.saturating_add(query.skip))),
                    docs: query.docs,
                    conflicts: query.conflicts,
                    count_before: query.count_before,
                    reducing: reducing.clone(),
                },
            };
            let asks = shards.iter().map(|shard| self.ask_view(*shard, view, request.clone()));
            let Some(answers) = try_join_all(asks).await?.into_iter().collect::<Option<Vec<_>>>() else {
                self.catalog.forget(db.uid);
                db = self.db_for(&designed.db.name, consistency).await?;
                continue;
            };
            if consistency == Consistency::Linearizable && query.update != Update::No {
                self.warming.note(self, &shards, &request);
            }
            if query.update == Update::Behind {
                self.update_behind(view, &shards, &request);
            }
            let mut viewing = Viewing::new(self, db, consistency, request, query, &shards);
            for (shard, (reply, lag_ms)) in shards.into_iter().zip(answers) {
                viewing.lag_ms = viewing.lag_ms.max(lag_ms);
                viewing.begin(shard, reply)?;
            }
            // From here on nothing may be missing, whoever leads the shard by then.
            viewing.request.update = true;
            viewing.request.rows.count_before = false;
            viewing.leave_out().await?;
            return Ok(viewing);
        }
        Err(Error::NoDatabase)
    }

    /// One page of one shard, once its index is where it has to be; `None` if the database was dropped.
    async fn ask_view(
        &self,
        shard: ShardId,
        view: &View,
        request: ViewRequest,
    ) -> Result<Option<(ViewReply, u64)>, Error> {
        loop {
            let Viewed { reply, lag_ms } = self.cluster.view(shard, request.clone()).await?;
            return match reply {
                // It goes on where it is, for as long as somebody waits for it.
                ViewReply::Behind { .. } => continue,
                ViewReply::Uncompiled { map, reason } => {
                    let kind = if map.is_some() { "map" } else { "reduce" };
                    Err(Error::Compilation(uncompiled(kind, &view.name, &reason)))
                }
                ViewReply::Failed { reason } => Err(Error::Function(reason)),
                ViewReply::Dropped => Ok(None),
                reply @ (ViewReply::Page(_) | ViewReply::Groups(_)) => Ok(Some((reply, lag_ms))),
            };
        }
    }

    /// Brings the index up to date with nobody waiting for it.
    fn update_behind(&self, view: &View, shards: &[ShardId], request: &ViewRequest) {
        for shard in shards.iter().copied() {
            let rows = Rows { spans: Vec::new(), limit: 1, reducing: None, ..request.rows.clone() };
            let (ops, view, request) =
                (self.clone(), view.clone(), ViewRequest { update: true, rows, ..request.clone() });
            self.cluster.spawn(async move {
                if let Err(error) = ops.ask_view(shard, &view, request).await {
                    tracing::debug!(%shard, %error, "an index of views was not brought up to date");
                }
            });
        }
    }
}

impl Viewing {
    fn new(
        ops: &Ops,
        db: Arc<DbEntry>,
        consistency: Consistency,
        request: ViewRequest,
        query: &ViewQuery,
        shards: &[ShardId],
    ) -> Self {
        let descending = query.descending;
        let parts = match request.rows.reducing {
            None => Parts::Rows(Merge::new(shards, descending)),
            Some(_) => Parts::Groups(Merge::new(shards, descending)),
        };
        let update_seq = Token::zero(db.uid.into(), Scope::Database, ops.cluster.map().version);
        Self {
            ops: ops.clone(),
            db,
            consistency,
            request,
            parts,
            skip: query.skip,
            left: query.limit,
            total: 0,
            offset: query.count_before.then_some(query.skip),
            update_seq,
            lag_ms: 0,
        }
    }

    fn begin(&mut self, shard: ShardId, reply: ViewReply) -> Result<(), Error> {
        if let ViewReply::Page(ViewPage { total, before, .. }) = &reply {
            self.total += total;
            self.offset = self.offset.and_then(|offset| Some(offset + (*before)?));
        }
        let (ViewReply::Page(ViewPage { seq, .. }) | ViewReply::Groups(GroupPage { seq, .. })) = &reply else {
            return Err(confused(shard));
        };
        self.update_seq.set(shard, *seq);
        self.add(shard, reply)
    }

    fn add(&mut self, shard: ShardId, reply: ViewReply) -> Result<(), Error> {
        match (&mut self.parts, reply) {
            (Parts::Rows(merge), ViewReply::Page(page)) => merge.add(shard, page.rows, page.resume),
            (Parts::Groups(merge), ViewReply::Groups(page)) => merge.add(shard, page.groups, page.resume),
            _ => return Err(confused(shard)),
        }
        Ok(())
    }

    /// Whether the next row is at hand, or there is none.
    pub fn is_ready(&self) -> bool {
        self.left == Some(0)
            || match &self.parts {
                Parts::Rows(merge) => merge.starved().is_empty(),
                Parts::Groups(_) => false,
            }
    }

    /// The next row; `None` at the end. An error in the middle must not look like the end.
    pub async fn next(&mut self) -> Result<Option<Row>, Error> {
        if self.left == Some(0) {
            return Ok(None);
        }
        let row = self.pop().await?;
        if row.is_some() {
            self.left = self.left.map(|left| left - 1);
        }
        match row {
            None => Ok(None),
            Some(Popped::Row(row)) => Ok(Some(Row::Mapped(row))),
            Some(Popped::Group(group)) => {
                let value = self.finish(group.partial).await?;
                Ok(Some(Row::Reduced(group.key, value)))
            }
        }
    }

    /// The database that is asked.
    pub fn db(&self) -> &Arc<DbEntry> {
        &self.db
    }

    /// How fresh its answers are.
    pub fn consistency(&self) -> Consistency {
        self.consistency
    }

    async fn leave_out(&mut self) -> Result<(), Error> {
        for _ in 0..std::mem::take(&mut self.skip) {
            if self.pop().await?.is_none() {
                break;
            }
        }
        Ok(())
    }

    async fn pop(&mut self) -> Result<Option<Popped>, Error> {
        self.refill().await?;
        let mut group = match &mut self.parts {
            Parts::Rows(merge) => return Ok(merge.pop().map(Popped::Row)),
            Parts::Groups(merge) => match merge.pop() {
                None => return Ok(None),
                Some(group) => group,
            },
        };
        // The rest of the group may be on other shards, or on a page that is not here yet.
        loop {
            self.refill().await?;
            let Parts::Groups(merge) = &mut self.parts else { break };
            match merge.pop_equal(group.span, &group.place) {
                Some(other) => group.partial.merge(other.partial),
                None => break,
            }
        }
        Ok(Some(Popped::Group(group)))
    }

    /// Asks on wherever a shard's rows ran out and there may be more.
    async fn refill(&mut self) -> Result<(), Error> {
        let starved = match &self.parts {
            Parts::Rows(merge) => merge.starved(),
            Parts::Groups(merge) => merge.starved(),
        };
        if starved.is_empty() {
            return Ok(());
        }
        let view = View { name: "".into(), map: self.request.map, reduce: None };
        let limit = page_rows(self.request.rows.docs, self.left.map(|left| left.saturating_add(self.skip)));
        let asks = starved.into_iter().map(|(shard, after)| {
            let rows = Rows { after: Some(after), limit, ..self.request.rows.clone() };
            let request = ViewRequest { rows, ..self.request.clone() };
            let (ops, view) = (&self.ops, &view);
            async move { Ok::<_, Error>((shard, ops.ask_view(shard, view, request).await?)) }
        });
        for (shard, answer) in try_join_all(asks).await? {
            let (reply, _) = answer.ok_or(Error::NoDatabase)?;
            self.add(shard, reply)?;
        }
        Ok(())
    }

    /// The value of a group, put together.
    async fn finish(&self, partial: Partial) -> Result<String, Error> {
        let Some(Reducing { by: Err(function), .. }) = &self.request.rows.reducing else { return Ok(partial.show()) };
        let Partial::Values(values) = partial else { return Ok(partial.show()) };
        if let [value] = &values[..] {
            return Ok(value.to_string());
        }
        let program = Program { design: self.request.group.library.clone(), functions: vec![function.clone()] };
        let call = Call { function: 0, text: format!("[null,[{}],true]", values.join(",")).into() };
        let answers = Sandbox::shared().call(Arc::new(program), Verb::Reduce, vec![call]).await;
        match answers.map_err(sandbox)?.pop() {
            Some(Ok(value)) => Ok(value),
            Some(Err(failure)) => Err(Error::Function(failure.to_string())),
            None => Err(Error::Function("it gave nothing".to_owned())),
        }
    }
}

enum Popped {
    Row(ViewRow),
    Group(ViewGroup),
}

/// Why this router's own sandbox did not do it.
pub(super) fn sandbox(error: crate::js::Error) -> Error {
    match error {
        crate::js::Error::Uncompiled(why) => Error::Compilation(why.reason),
        crate::js::Error::Busy => Error::Refused(Refusal::Overloaded { shard: crate::cluster::CATALOG_SHARD }),
        error @ crate::js::Error::Lost => Error::Function(error.to_string()),
    }
}

/// In CouchDB's words.
pub(super) fn uncompiled(kind: &str, view: &str, reason: &str) -> String {
    format!("Compilation of the {kind} function in the '{view}' view failed: {reason}")
}

fn page_rows(docs: bool, wanted: Option<u64>) -> u32 {
    let most = if docs { PAGE_ROWS_DOCS } else { PAGE_ROWS };
    u32::try_from(wanted.unwrap_or(most).clamp(1, most)).expect("a page has at most 1,000 rows")
}
