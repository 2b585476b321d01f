//! Which functions are in force: what the shards say that they define is brought to all of them, and read.
//!
//! A design document that adds, changes or takes away a function is acknowledged once every shard has heard of it.
//! Should the router that wrote it die before, the shard that has the design document goes by other functions than the
//! rest; whoever meets that in a write tells the others.

use std::array;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use common::command::{Command, Op};
use common::ids::{DbName, DbUid, DocId, RequestId, ShardId};
use common::query::{Answer, Consistency, Query, Revs};
use common::refusal::Refusal;
use common::validation::{Defined, Fingerprint, ShardValidators, Validator, digest_of, fingerprint};
use common::view::Design;
use futures::future::try_join_all;
use serde_json::{Map, Value, json};
use tokio::time::Instant;
use uuid::Uuid;

use super::functions::{Function, Functions};
use crate::cluster::catalog::DbEntry;
use crate::js::Program;
use crate::ops::bulk::unknown;
use crate::ops::{Error, Ops, confused};

/// Looks before design documents are changed faster than they can be read.
const LOOKS_MAX: u32 = 10;
/// Between two attempts at telling the shards after one failed.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Attempts before it is left to the next write.
const ATTEMPTS_MAX: u32 = 30;
/// Databases whose functions are remembered. What was forgotten is read again.
const KNOWN_MAX: usize = 1_000;
/// Databases whose functions are read side by side.
const LANES: usize = 16;

/// What this router knows of functions.
#[derive(Clone)]
pub struct Validation {
    inner: Arc<Inner>,
}

struct Inner {
    known: Mutex<BTreeMap<DbUid, Arc<Functions>>>,
    /// Writers that meet other functions at once all wait for the one of them that reads those; what kept it from that.
    lanes: [tokio::sync::Mutex<Option<Failed>>; LANES],
}

/// A look that was refused. Those who waited for it are, too, and do not wait for one after the other.
struct Failed {
    db: DbUid,
    at: Instant,
    refusal: Refusal,
}

impl Default for Validation {
    fn default() -> Self {
        let inner = Inner { known: Mutex::default(), lanes: array::from_fn(|_| tokio::sync::Mutex::default()) };
        Self { inner: Arc::new(inner) }
    }
}

impl Validation {
    /// The functions of a database as they were when they were last read; `None` if it had none, as far as is known.
    pub(super) fn get(&self, db: DbUid) -> Option<Arc<Functions>> {
        self.lock().get(&db).cloned()
    }

    fn put(&self, db: DbUid, functions: Option<Arc<Functions>>) {
        let mut known = self.lock();
        if functions.is_some() && known.len() >= KNOWN_MAX && !known.contains_key(&db) {
            known.clear();
        }
        match functions {
            Some(functions) => drop(known.insert(db, functions)),
            None => drop(known.remove(&db)),
        }
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<DbUid, Arc<Functions>>> {
        self.inner.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Design documents that may be written and not yet in force everywhere, if there are any among what is written. Dropped
/// before it was settled (the write failed in part, its outcome is unknown, or whoever asked has gone) it has the shards told
/// by a task of its own.
pub(in crate::ops) struct Unsettled(Option<(Ops, DbName, Vec<DocId>)>);

impl Unsettled {
    /// Comes back when what the design documents define is in force on every shard.
    pub(in crate::ops) async fn settle(mut self) -> Result<(), Error> {
        if let Some((ops, name, designs)) = &self.0 {
            ops.settle_designs(name, designs).await?;
            self.0 = None;
        }
        Ok(())
    }
}

impl Drop for Unsettled {
    fn drop(&mut self) {
        // Without a runtime the process is ending.
        if let (Some((ops, name, _)), Ok(_)) = (&self.0, tokio::runtime::Handle::try_current()) {
            ops.settle_behind(name);
        }
    }
}

impl Ops {
    /// The functions of a database, `None` if it has none: those that are known if they are what `is_it` wants, or else
    /// as they are now.
    pub(in crate::ops) async fn learn(
        &self,
        db: &Arc<DbEntry>,
        is_it: impl Fn(Option<Fingerprint>) -> bool,
    ) -> Result<Option<Arc<Functions>>, Error> {
        let lane = db.uid.0.as_u128() % LANES as u128;
        let mut failed = self.validation.inner.lanes[usize::try_from(lane).unwrap_or(0)].lock().await;
        let known = self.validation.get(db.uid);
        if is_it(known.as_ref().map(|known| known.fingerprint)) {
            return Ok(known);
        }
        if let Some(Failed { refusal, .. }) =
            failed.as_ref().filter(|failed| failed.db == db.uid && failed.at.elapsed() < RETRY_PAUSE)
        {
            return Err(Error::Refused(refusal.clone()));
        }
        let learned = self.look_everywhere(db).await;
        *failed = match &learned {
            Err(Error::Refused(refusal)) => Some(Failed { db: db.uid, at: Instant::now(), refusal: refusal.clone() }),
            _ => None,
        };
        learned
    }

    /// The functions of a database as they are now, on every shard.
    async fn look_everywhere(&self, db: &Arc<DbEntry>) -> Result<Option<Arc<Functions>>, Error> {
        for _ in 0..LOOKS_MAX {
            let Some(validators) = self.settle_validators(db).await? else {
                self.catalog.forget(db.uid);
                return Ok(None);
            };
            if let Some(all) = self.functions(db, &validators).await? {
                let named = fingerprint(&validators);
                let functions = named.map(|fingerprint| Arc::new(Functions { fingerprint, all }));
                self.validation.put(db.uid, functions.clone());
                return Ok(functions);
            }
        }
        Err(Error::ValidatorsChange)
    }

    /// To be held while documents are written: if there are design documents among them and the writing ends in any
    /// other way than by [`Unsettled::settle`], the shards are told all the same, behind the answer.
    pub(in crate::ops) fn unsettled<'a>(&self, name: &DbName, written: impl Iterator<Item = &'a DocId>) -> Unsettled {
        let designs: Vec<DocId> = written.filter(|id| id.is_design()).cloned().collect();
        Unsettled((!designs.is_empty()).then(|| (self.clone(), name.clone(), designs)))
    }

    /// Comes back when what these design documents define is in force on every shard.
    async fn settle_designs(&self, name: &DbName, designs: &[DocId]) -> Result<(), Error> {
        let settled = async {
            let db = self.db(name).await?;
            let place = |id: &DocId| self.cluster.locate(db.uid, db.partitioned, id).0;
            let homes: BTreeSet<ShardId> = designs.iter().map(place).collect();
            let looks = try_join_all(homes.into_iter().map(|shard| self.look_at_validators(&db, shard))).await?;
            // Where none of them has ever had a function nothing can have changed.
            if looks.iter().flatten().any(|(_, known)| known.own.change > 0) {
                self.settle_validators(&db).await?;
            }
            Ok(())
        };
        settled.await.map_err(|error| match error {
            // They are written, and not in force everywhere.
            Error::Refused(refusal) => Error::Refused(unknown(refusal)),
            error => error,
        })
    }

    /// Goes on telling the shards with nobody waiting for it.
    fn settle_behind(&self, name: &DbName) {
        let (ops, name) = (self.clone(), name.clone());
        self.cluster.spawn(async move {
            for _ in 0..ATTEMPTS_MAX {
                tokio::time::sleep(RETRY_PAUSE).await;
                let settled = async { ops.settle_validators(&*ops.db(&name).await?).await };
                match settled.await {
                    Ok(_) | Err(Error::NoDatabase) => return,
                    Err(error) => tracing::debug!(db = %name, %error, "validation functions are not everywhere yet"),
                }
            }
            tracing::warn!(db = %name, "validation functions are not everywhere; a write that meets this brings them there");
        });
    }

    /// Tells every shard what the others define; all that is defined, sorted. `None` if the database was dropped.
    async fn settle_validators(&self, db: &DbEntry) -> Result<Option<Vec<Validator>>, Error> {
        let shards = self.cluster.shards_of(db.uid);
        let looks = try_join_all(shards.into_iter().map(|shard| self.look_at_validators(db, shard))).await?;
        let Some(looks) = looks.into_iter().collect::<Option<Vec<_>>>() else { return Ok(None) };
        let tells = looks.iter().filter_map(|(shard, known)| {
            let others = looks.iter().filter(|(other, _)| other != shard);
            let is_news = |(other, there): &&(ShardId, ShardValidators)| there.own.change > known.change_of(*other);
            let news: Vec<(ShardId, Defined)> =
                others.filter(is_news).map(|(other, there)| (*other, there.own.clone())).collect();
            (!news.is_empty()).then(|| self.tell_validators(db, *shard, news))
        });
        try_join_all(tells).await?;
        let mut all: Vec<Validator> = looks.into_iter().flat_map(|(_, known)| known.own.validators).collect();
        all.sort_unstable();
        Ok(Some(all))
    }

    async fn look_at_validators(
        &self,
        db: &DbEntry,
        shard: ShardId,
    ) -> Result<Option<(ShardId, ShardValidators)>, Error> {
        match self.cluster.read(shard, Consistency::Linearizable, Query::Validators { db: db.uid }).await? {
            (Answer::Validators(known), _) => Ok(Some((shard, *known))),
            (Answer::Dropped, _) => Ok(None),
            _ => Err(confused(shard)),
        }
    }

    async fn tell_validators(
        &self,
        db: &DbEntry,
        shard: ShardId,
        others: Vec<(ShardId, Defined)>,
    ) -> Result<(), Error> {
        let op = Op::AdoptValidators { db: db.uid, others };
        self.cluster.write(shard, Command { request: RequestId(Uuid::new_v4()), retry: false, op }).await?;
        Ok(())
    }

    /// The functions of these design documents; `None` if one of them was changed meanwhile.
    async fn functions(&self, db: &DbEntry, validators: &[Validator]) -> Result<Option<Vec<Function>>, Error> {
        let reads = validators.iter().map(|validator| async move {
            let id = DocId::parse(&validator.ddoc)?;
            let (shard, _) = self.cluster.locate(db.uid, db.partitioned, &id);
            let query = Query::Doc { db: db.uid, id, revs: Revs::Winner, tree: false };
            let (answer, _) = self.cluster.read(shard, Consistency::Linearizable, query).await?;
            let Answer::Doc(Some(doc)) = answer else { return Ok(None) };
            let winner = doc.found.into_iter().next().filter(|winner| digest_of(&winner.json) == validator.digest);
            Ok::<_, Error>(winner.and_then(|winner| function(&validator.ddoc, &winner.json)))
        });
        Ok(try_join_all(reads).await?.into_iter().collect())
    }
}

/// The function of a design document with this body; `None` if it has none.
fn function(ddoc: &str, json: &[u8]) -> Option<Function> {
    let text = Design::validation(json)?;
    let mut members: Map<String, Value> = serde_json::from_slice(json).ok()?;
    let language = members.get("language").and_then(Value::as_str).unwrap_or(Design::JAVASCRIPT);
    if language != Design::JAVASCRIPT {
        return Some(Function { ddoc: ddoc.into(), program: Err(language.into()) });
    }
    members.insert("_id".to_owned(), json!(ddoc));
    let program = Program { design: Value::Object(members).to_string().into(), functions: vec![text] };
    Some(Function { ddoc: ddoc.into(), program: Ok(Arc::new(program)) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_function_may_read_the_whole_of_its_design_document() {
        let json = br#"{"lib":"exports.x = 1","validate_doc_update":"f"}"#;
        let program = function("_design/a", json).expect("one").program.expect("JavaScript");
        assert_eq!(&*program.functions, ["f".into()]);
        let design: Value = serde_json::from_str(&program.design).expect("JSON");
        assert_eq!((&design["_id"], &design["lib"]), (&json!("_design/a"), &json!("exports.x = 1")));
        let foreign = function("_design/a", br#"{"language":"erlang","validate_doc_update":"f"}"#).expect("one");
        assert_eq!(foreign.program.err().as_deref(), Some("erlang"));
        assert!(function("_design/a", br#"{"validate_doc_update":null}"#).is_none());
    }
}
