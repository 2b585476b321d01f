//! Answers requests for rows of views: has the index brought up to date first, step by step, then reads it.
//!
//! An index is made on the replica that is asked, out of what it has applied. What was acknowledged before a
//! linearizable request is in its answer: the index is at least as far as the stream was when the read was confirmed.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use common::ids::{DbUid, DocId, Seq};
use common::metrics::Counter;
use common::query::Consistency;
use common::refusal::Refusal;
use common::view::{
    Group, GroupPage, Partial, Reducing, Signature, ViewAnswer, ViewPage, ViewReply, ViewRequest, Viewed,
};
use tokio::time::Instant;

use super::{Replica, millis};
use crate::js::{self, Call, Failure, Program, Sandbox, Verb};
use crate::raft::group;
use crate::storage;
use crate::store;
use crate::store::views::{self, Mapped, Pending, PendingDoc, State};

/// Longest work on an index in one request; then the asker is told how far it is.
const WORK_MAX: Duration = Duration::from_secs(2);
/// Keys of a lost index cleared away at once.
const CLEARED_MAX: usize = 5_000;

/// Held by who brings an index up to date.
type Turn = tokio::sync::Mutex<()>;

/// One at a time brings an index up to date.
#[derive(Default)]
pub(crate) struct Indexing {
    under_way: Mutex<HashMap<(DbUid, Signature), Weak<Turn>>>,
    /// Documents that were put to map functions.
    mapped: Counter,
}

impl Indexing {
    fn of(&self, db: DbUid, signature: Signature) -> Arc<Turn> {
        let mut under_way = self.under_way.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = under_way.get(&(db, signature)).and_then(Weak::upgrade) {
            return known;
        }
        under_way.retain(|_, known| known.strong_count() > 0);
        let fresh = Arc::new(Turn::new(()));
        under_way.insert((db, signature), Arc::downgrade(&fresh));
        fresh
    }
}

/// An index, and what it is made with.
#[derive(Clone)]
struct Index {
    db: DbUid,
    signature: Signature,
    group: Arc<Group>,
    program: Arc<Program>,
}

/// How an index is.
enum Brought {
    /// As far as the stream was when that was asked, or further.
    To(Seq),
    /// Not there yet; the database was dropped.
    Not(ViewReply),
}

/// How a step ended.
enum Stepped {
    /// Up to here in the stream, and to the purge of this number; whether there is more.
    At(Seq, u64, bool),
    /// The database was dropped.
    Dropped,
}

/// Why an index cannot be had.
enum Broken {
    Storage(storage::Error),
    Function(js::Error),
}

impl From<storage::Error> for Broken {
    fn from(error: storage::Error) -> Self {
        Self::Storage(error)
    }
}

impl From<js::Error> for Broken {
    fn from(error: js::Error) -> Self {
        Self::Function(error)
    }
}

impl Replica {
    /// Answers a request for rows of a view.
    pub(crate) async fn view(&self, request: ViewRequest) -> ViewAnswer {
        let lag = match request.consistency {
            Consistency::Linearizable => {
                self.reads.confirm().await?;
                Duration::ZERO
            }
            Consistency::Eventual => self.fresh_enough(request.last_resort)?,
        };
        let group = Arc::new(request.group.clone());
        let program = Program { design: group.library.clone(), functions: group.maps.clone() };
        let index = Index { db: request.db, signature: group.signature(), group, program: Arc::new(program) };
        let reply = match self.viewed(&index, request).await {
            Ok(reply) => reply,
            Err(Broken::Storage(error)) => return Err(self.broken(&error)),
            Err(Broken::Function(js::Error::Busy)) => return Err(Refusal::Overloaded { shard: self.shard() }),
            Err(Broken::Function(js::Error::Uncompiled(why))) => {
                ViewReply::Uncompiled { map: u32::try_from(why.at).ok(), reason: why.reason }
            }
            Err(Broken::Function(error @ js::Error::Lost)) => {
                return Err(Refusal::OutOfService { shard: self.shard(), reason: error.to_string() });
            }
        };
        Ok(Viewed { reply, lag_ms: millis(lag) })
    }

    /// Documents that were put to map functions since the start.
    pub(crate) fn mapped(&self) -> u64 {
        self.indexing.mapped.get()
    }

    /// Clears away what is left of indexes that were taken away. Done when nothing is left.
    pub(crate) async fn sweep_views(&self) -> Result<(), storage::Error> {
        if !self.group().take_views_left() {
            return Ok(());
        }
        let swept = self.sweep_views_left().await;
        if swept.is_err() {
            self.group().note_views_left();
        }
        swept
    }

    async fn sweep_views_left(&self) -> Result<(), storage::Error> {
        let (engine, group) = (self.group().engine().clone(), self.group().clone());
        let look = move || group.read(views::leftovers);
        for (db, signature) in group::blocking(engine.as_ref(), look).await? {
            let turn = self.indexing.of(db, signature);
            let _alone = turn.lock().await;
            let group = self.group().clone();
            let work = move || match group.read(|reader| views::state(reader, db, signature))? {
                // Somebody had a use for it meanwhile.
                Some(_) => Ok(()),
                None => clear(&group, db, signature),
            };
            group::blocking(engine.as_ref(), work).await?;
        }
        Ok(())
    }

    async fn viewed(&self, index: &Index, request: ViewRequest) -> Result<ViewReply, Broken> {
        let deadline = Instant::now() + Duration::from_millis(request.wait_ms).min(WORK_MAX);
        let mut reply = loop {
            let least = match request.update {
                false => Seq(0),
                true => match self.bring_up(index, deadline).await? {
                    Brought::To(least) => least,
                    Brought::Not(reply) => return Ok(reply),
                },
            };
            // It may have been taken away since: by a snapshot, or because nobody had a use for it.
            if let Some(reply) = self.read_rows(index, &request, least).await? {
                break reply;
            }
        };
        if let (ViewReply::Groups(page), Some(Reducing { by: Err(function), .. })) =
            (&mut reply, &request.rows.reducing)
            && let Some(failed) = self.reduce(page, function, index).await?
        {
            return Ok(failed);
        }
        Ok(reply)
    }

    /// Brings the index as far as the stream is now.
    async fn bring_up(&self, index: &Index, deadline: Instant) -> Result<Brought, Broken> {
        let db = index.db;
        let (group, of) = (self.group().clone(), (db, index.signature));
        let look = move || {
            let at = group.read(|reader| views::state(reader, of.0, of.1))?.unwrap_or_default();
            let wanted = group.read(|reader| Ok((store::last_seq(reader, of.0)?, views::purges(reader, of.0)?)))?;
            Ok::<_, storage::Error>((at, wanted))
        };
        let (State { seq: at, .. }, (wanted, purges)) = group::blocking(self.group().engine().as_ref(), look).await?;
        let behind = |at| Ok(Brought::Not(ViewReply::Behind { at, wanted }));
        let lock = self.indexing.of(db, index.signature);
        let Ok(_alone) = tokio::time::timeout_at(deadline, lock.lock()).await else { return behind(at) };
        loop {
            match self.step(index).await? {
                Stepped::Dropped => return Ok(Brought::Not(ViewReply::Dropped)),
                Stepped::At(at, purged, more) if !more || (at > wanted && purged >= purges) => {
                    return Ok(Brought::To(wanted));
                }
                Stepped::At(at, ..) if Instant::now() >= deadline => return behind(at),
                Stepped::At(..) => {}
            }
        }
    }

    /// Takes the next documents into the index.
    async fn step(&self, index: &Index) -> Result<Stepped, Broken> {
        let (group, of) = (self.group().clone(), index.clone());
        let next = move || {
            let begun = group.read(|reader| views::state(reader, of.db, of.signature))?;
            let state = match begun {
                Some(state) => state,
                // What a lost index left would stand among the rows of the new one.
                None => {
                    clear(&group, of.db, of.signature)?;
                    State::default()
                }
            };
            let pending = group.read_view(|reader| views::pending(reader, of.db, &of.group, &state))??;
            if let Some(Err(views::Lost)) = pending {
                tracing::info!(db = %of.db, view = %of.signature, "purges were forgotten; the index is made anew");
                clear(&group, of.db, of.signature)?;
            }
            Ok::<_, storage::Error>((state, pending))
        };
        let (state, pending) = group::blocking(self.group().engine().as_ref(), next).await?;
        let pending = match pending {
            None => return Ok(Stepped::Dropped),
            Some(Err(views::Lost)) => return Ok(Stepped::At(Seq(0), 0, true)),
            Some(Ok(pending)) => pending,
        };
        let Pending { docs, seq, purges, complete } = pending;
        if docs.is_empty() && (seq, purges) == (state.seq, state.purges) {
            // Compiled all the same: what is no function is to be told, whatever there is to be mapped.
            if state == State::default() {
                Sandbox::shared().check(index.program.clone()).await?;
            }
            return Ok(Stepped::At(seq, purges, !complete));
        }
        self.indexing.mapped.add(docs.iter().filter(|doc| doc.text.is_some()).count() as u64);
        let mapped = map(index, docs).await?;
        let (group, of) = (self.group().clone(), index.clone());
        let fold = move || {
            group.write_beside(|reader| {
                // A snapshot that was installed meanwhile has no index, and may have purged what is on its way here.
                let now = views::state(reader, of.db, of.signature)?;
                if now.unwrap_or_default() != state {
                    return Ok((storage::Batch::default(), None));
                }
                let at = (of.db, of.signature, of.group.by_partition);
                let (batch, state) = views::fold(reader, at, &state, mapped, (seq, purges))?;
                Ok((batch, Some(state)))
            })
        };
        let folded = group::blocking(self.group().engine().as_ref(), fold).await?;
        Ok(folded.map_or(Stepped::At(Seq(0), 0, true), |state| Stepped::At(state.seq, state.purges, !complete)))
    }

    /// `None` if the index is not as far as `least`. One that is not there has no rows, whatever may be left of it.
    async fn read_rows(&self, index: &Index, request: &ViewRequest, least: Seq) -> Result<Option<ViewReply>, Broken> {
        let (group, of, map, rows) = (self.group().clone(), index.clone(), request.map, request.rows.clone());
        let read = move || {
            group.read_view(|reader| {
                let state = views::state(reader, of.db, of.signature)?;
                let at = state.as_ref().map_or(Seq(0), |state| state.seq);
                let raw = views::Raw { db: of.db, signature: of.signature, map, rows: &rows };
                let reply = match (&rows.reducing, state) {
                    (None, Some(state)) => ViewReply::Page(views::rows(reader, &raw, &state)?),
                    (Some(reducing), Some(state)) => ViewReply::Groups(views::groups(reader, &raw, reducing, &state)?),
                    (None, None) => {
                        ViewReply::Page(ViewPage { before: rows.count_before.then_some(0), ..ViewPage::default() })
                    }
                    (Some(_), None) => ViewReply::Groups(GroupPage::default()),
                };
                // Asked last: what a drop and the sweep behind it did to an answer is of no account.
                let reply = if store::dropped(reader, of.db)? { ViewReply::Dropped } else { reply };
                Ok((at >= least || reply == ViewReply::Dropped).then_some(reply))
            })
        };
        Ok(group::blocking(self.group().engine().as_ref(), read).await.and_then(|answer| answer)?)
    }

    /// Has a function in JavaScript reduce the rows of each group; the reply if it fails.
    async fn reduce(&self, page: &mut GroupPage, function: &str, index: &Index) -> Result<Option<ViewReply>, Broken> {
        let program = Program { design: index.group.library.clone(), functions: vec![function.into()] };
        let calls = page.groups.iter().map(|group| match &group.partial {
            Partial::Values(rows) => Call { function: 0, text: reduce_arguments(rows).into() },
            _ => Call { function: 0, text: "[[],[],false]".into() },
        });
        let answers = Sandbox::shared().call(Arc::new(program), Verb::Reduce, calls.collect()).await;
        let answers = match answers {
            Err(js::Error::Uncompiled(why)) => {
                return Ok(Some(ViewReply::Uncompiled { map: None, reason: why.reason }));
            }
            answers => answers?,
        };
        for (group, answer) in page.groups.iter_mut().zip(answers) {
            match answer {
                Ok(value) => group.partial = Partial::Values(vec![value.into()]),
                Err(failure) => return Ok(Some(ViewReply::Failed { reason: failure.to_string() })),
            }
        }
        Ok(None)
    }
}

/// The arguments of a reduce function: keys with ids, and values, out of `[[key,id],value]` rows.
fn reduce_arguments(rows: &[Box<str>]) -> String {
    use serde_json::value::RawValue;
    let parsed: Vec<(&RawValue, &RawValue)> = rows.iter().filter_map(|row| serde_json::from_str(row).ok()).collect();
    let keys: Vec<&str> = parsed.iter().map(|(key, _)| key.get()).collect();
    let values: Vec<&str> = parsed.iter().map(|(_, value)| value.get()).collect();
    format!("[[{}],[{}],false]", keys.join(","), values.join(","))
}

/// Clears an index away, a bounded part at a time.
fn clear(group: &group::Group, db: DbUid, signature: Signature) -> Result<(), storage::Error> {
    loop {
        let cleared = group.write_beside(|reader| {
            let batch = views::clear(reader, db, signature, CLEARED_MAX)?;
            let count = batch.changes.len();
            Ok((batch, count))
        });
        if cleared? < CLEARED_MAX {
            return Ok(());
        }
    }
}

/// Puts documents to all maps. A document that a map fails on has no rows of that one, as in CouchDB.
async fn map(index: &Index, docs: Vec<PendingDoc>) -> Result<Vec<(DocId, Mapped)>, js::Error> {
    let maps = index.group.maps.len();
    let mut calls = Vec::with_capacity(docs.len() * maps);
    for text in docs.iter().filter_map(|doc| doc.text.as_ref()) {
        let text: Arc<str> = Arc::from(&**text);
        calls.extend((0..maps).map(|function| Call { function, text: text.clone() }));
    }
    let answers = Sandbox::shared().call(index.program.clone(), Verb::Map, calls).await?;
    let mut answers = answers.into_iter();
    let mapped = docs.into_iter().map(|PendingDoc { id, text }| {
        let mut mapped = Mapped::default();
        let of_doc = if text.is_some() { maps } else { 0 };
        for (map, answer) in (0u32..).zip(answers.by_ref().take(of_doc)) {
            let rows = answer.map_err(|failure: Failure| failure.to_string());
            match rows.and_then(|rows| views::rows_of(map, &rows).map_err(|error| error.to_string())) {
                Ok(rows) => mapped.rows.extend(rows),
                Err(reason) => {
                    tracing::info!(db = %index.db, %id, reason, "a map function failed on a document");
                    mapped.skipped = true;
                }
            }
        }
        (id, mapped)
    });
    Ok(mapped.collect())
}
