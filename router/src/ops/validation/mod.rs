//! Puts writes to the validation functions of their database (`validate_doc_update`) before they are sent.
//!
//! The functions run here, the shard decides whether they were the right ones: a write says by which it was let in, and
//! a shard that goes by others refuses it, whereupon this router reads the functions anew. A router that knows of none
//! sends writes as they are, so a database without functions pays nothing. What a function is shown of the old document
//! is what the shard has; an edit names what it replaces, and is taken only if that is still there.
//!
//! What a function says against a write counts only if it is in force by what the shard, or all of them, said after the
//! write had come in: a function that was taken away holds nobody off.

mod functions;
mod known;

use std::sync::Arc;

use common::command::{By, Command, Op, Outcome, Validated};
use common::ids::{DbName, DocId, RequestId, ShardId};
use common::query::{Answer, Before, Consistency, Met, Query, Standing};
use common::validation::Fingerprint;
use futures::{StreamExt, TryStreamExt};
use serde_json::{Value, json};

use super::get::READS_AT_ONCE;
use super::write::{Change, Write};
use super::{Error, Ops, confused};
use crate::cluster::catalog::DbEntry;
use functions::Functions;
pub use functions::KINDS;
pub use known::Validation;

/// How often a write is put to functions anew because the shard goes by others. Each time they were changed meanwhile.
pub(super) const ROUNDS_MAX: u32 = 10;

/// Whose write it is: what functions are told of it.
#[derive(Debug, Clone)]
pub enum Author {
    /// Somebody.
    User {
        /// The name.
        name: Option<Arc<str>>,
        /// The roles.
        roles: Arc<[String]>,
    },
    /// What is written was let in once: a restore. Functions are not asked.
    Restore,
}

/// A write to be put to the functions.
pub(super) struct Asked<'a> {
    pub(super) id: &'a DocId,
    pub(super) request: RequestId,
    pub(super) change: &'a Change,
}

/// What came of it: by what it may be sent (`None`: as it is), or why it may not be.
pub(super) type Passed = Result<Option<By>, Error>;

impl Asked<'_> {
    fn is_subject(&self) -> bool {
        !self.id.is_design() && !self.id.is_local()
    }
}

/// The op, with what let it in.
pub(super) fn sent(by: Option<By>, op: Op) -> Op {
    match by {
        Some(by) => Op::Validated(Box::new(Validated { by, op })),
        None => op,
    }
}

/// Whether functions are others than those that let a write in.
pub(super) fn other_than(by: Option<By>) -> impl Fn(Option<Fingerprint>) -> bool {
    let tried = match by {
        Some(By::Functions(functions)) => Some(functions),
        _ => None,
    };
    move |known| known != tried
}

/// Somebody, as functions are told of them (`userCtx`).
pub fn user(db: &DbName, name: Option<&str>, roles: &[String]) -> Value {
    json!({"db": db.as_str(), "name": name, "roles": roles})
}

/// The `_security` object of a database, as functions are told of it.
pub fn security(db: &DbEntry) -> Value {
    let admin_only = || json!({"admins": {"roles": ["_admin"]}, "members": {"roles": ["_admin"]}});
    db.security.as_ref().map_or_else(admin_only, |raw| serde_json::from_str(raw.get()).unwrap_or_else(|_| admin_only()))
}

impl Ops {
    /// Sends one write once it was let in; its outcome, never [`Outcome::OtherValidators`].
    pub(super) async fn write_let_in(
        &self,
        name: &DbName,
        id: &DocId,
        write: &Write,
    ) -> Result<(Outcome, ShardId), Error> {
        let Write { request, change, author } = write;
        for _ in 0..ROUNDS_MAX {
            let db = self.db(name).await?;
            let by = match author {
                Author::User { .. } if self.validation.get(db.uid).is_none() => None,
                author => {
                    let asked = Asked { id, request: *request, change };
                    let passed = self.let_in(&db, author, &[asked]).await?.pop().unwrap_or(Ok(None));
                    passed.inspect_err(|_| self.forget_uploads(&db, id, change))?
                }
            };
            let make = |db: &DbEntry, doc| sent(by, change.clone().into_op(db, doc));
            match self.write_one(name, id, *request, make).await? {
                (Outcome::OtherValidators, _) => drop(self.learn(&db, other_than(by)).await?),
                done => return Ok(done),
            }
        }
        Err(Error::ValidatorsChange)
    }

    /// Puts writes of one database to its functions; what came of each, in order. A write that is settled whatever they
    /// say (it was done before, or conflicts) may be sent as it is: the shard takes no other in that way.
    pub(super) async fn let_in(
        &self,
        db: &Arc<DbEntry>,
        author: &Author,
        asked: &[Asked<'_>],
    ) -> Result<Vec<Passed>, Error> {
        let Author::User { name, roles } = author else {
            return Ok(asked.iter().map(|_| Ok(Some(By::Exempt))).collect());
        };
        if self.validation.get(db.uid).is_none() {
            return Ok(asked.iter().map(|_| Ok(None)).collect());
        }
        if db.partitioned {
            // No function is asked about what has no place.
            asked.iter().try_for_each(|one| one.id.partition().map(drop))?;
        }
        let (user, security) = (user(&db.name, name.as_deref(), roles).to_string(), security(db).to_string());
        let mut passed = Vec::with_capacity(asked.len());
        // So many at a time, since all of their old documents are in memory.
        for part in asked.chunks(READS_AT_ONCE) {
            let Some(mut known) = self.validation.get(db.uid) else {
                passed.extend(part.iter().map(|_| Ok(None)));
                continue;
            };
            let Some(met) = self.met(db, part).await? else {
                // Dropped, perhaps made again: the write itself finds out.
                passed.extend(part.iter().map(|_| Ok(None)));
                continue;
            };
            let theirs = |functions: Option<Fingerprint>| met.iter().flatten().all(|met| met.in_force == functions);
            if !theirs(Some(known.fingerprint)) {
                match self.learn(db, theirs).await? {
                    Some(learned) => known = learned,
                    None => {
                        passed.extend(part.iter().map(|_| Ok(None)));
                        continue;
                    }
                }
            }
            passed.extend(judged(&known, part, &met, &user, &security).await?);
        }
        Ok(passed)
    }

    /// What each write would meet, `None` for those that functions are not asked about; `None` if the database was dropped.
    async fn met(&self, db: &Arc<DbEntry>, asked: &[Asked<'_>]) -> Result<Option<Vec<Option<Met>>>, Error> {
        let reads: Vec<_> = asked
            .iter()
            .map(|one| {
                let upon = one.change.upon();
                let before = Before { db: db.uid, id: one.id.clone(), request: one.request, upon };
                let subject = one.is_subject().then_some(before);
                async move {
                    let Some(before) = subject else { return Ok(Some(None)) };
                    let (shard, _) = self.cluster.locate(db.uid, db.partitioned, &before.id);
                    let query = Query::Before(Box::new(before));
                    match self.cluster.read(shard, Consistency::Linearizable, query).await? {
                        (Answer::Met(met), _) => Ok(Some(Some(*met))),
                        (Answer::Dropped, _) => Ok(None),
                        _ => Err(confused(shard)),
                    }
                }
            })
            .collect();
        let met: Vec<_> = futures::stream::iter(reads).buffered(READS_AT_ONCE).try_collect().await?;
        let met: Option<Vec<_>> = met.into_iter().collect();
        if met.is_none() {
            self.catalog.forget(db.uid);
        }
        Ok(met)
    }

    /// Has the shard forget what was uploaded for a write that is refused; behind the answer. If it does not come to
    /// that, the shard forgets it by itself after an hour.
    pub(super) fn forget_uploads(&self, db: &Arc<DbEntry>, id: &DocId, change: &Change) {
        if !change.attachments().iter().any(|sent| sent.upload().is_some()) {
            return;
        }
        let (shard, doc) = self.cluster.locate(db.uid, db.partitioned, id);
        let op = sent(Some(By::Nobody), change.clone().uploads_alone().into_op(db, doc));
        let command = Command { request: RequestId(uuid::Uuid::from_u128(rand::random())), retry: false, op };
        let cluster = self.cluster.clone();
        self.cluster.spawn(async move {
            if let Err(refusal) = cluster.write(shard, command).await {
                tracing::debug!(%shard, %refusal, "what was uploaded for a write that was refused is left to the shard");
            }
        });
    }
}

/// What the functions say of writes that would meet `met`.
async fn judged(
    known: &Functions,
    asked: &[Asked<'_>],
    met: &[Option<Met>],
    user: &str,
    security: &str,
) -> Result<Vec<Passed>, Error> {
    let mut passed: Vec<Passed> = Vec::with_capacity(asked.len());
    let (mut places, mut calls) = (Vec::new(), Vec::new());
    for (at, (one, met)) in asked.iter().zip(met).enumerate() {
        let Some(Met { standing: Standing::Open(old), .. }) = met else {
            passed.push(Ok(None));
            continue;
        };
        match functions::arguments(one.id, one.change, old.as_deref(), user, security) {
            Ok(text) => {
                places.push(at);
                calls.push(text);
                passed.push(Ok(Some(By::Functions(known.fingerprint))));
            }
            Err(error) => passed.push(Err(error)),
        }
    }
    for (at, verdict) in places.into_iter().zip(known.ask(&calls).await?) {
        if let Err(error) = verdict {
            passed[at] = Err(error);
        }
    }
    Ok(passed)
}
