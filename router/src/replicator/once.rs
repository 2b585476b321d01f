//! `POST /_replicate`: a replication that is asked for by a request, not by a document.
//!
//! One that ends is answered when it has ended, and goes on when whoever asked has gone away. One that does not end
//! runs on this router until it is cancelled, through any router, or this one ends.

use std::sync::Arc;

use common::ids::{DbUid, DocId};
use futures::FutureExt;
use futures::future::{BoxFuture, Shared};
use serde::Deserialize;
use tokio_util::sync::CancellationToken;

use super::ident::Id;
use super::record::{Record, State};
use super::session::Report;
use super::stats::{Progress, Stats};
use super::view::Listed;
use super::{Error, Refused, Replicator, Spec, Wanted, driver};
use crate::auth::{Acting, User};

/// A request.
#[derive(Debug, Clone)]
pub struct Asked<'a> {
    /// Its body.
    pub body: &'a [u8],
    /// Who is asking.
    pub user: &'a User,
}

/// What became of a request.
#[derive(Debug, Clone)]
pub enum Outcome {
    /// It ended.
    Done(Report),
    /// It goes on under this id.
    Running(String),
    /// It was cancelled; its id.
    Cancelled(String),
}

/// One that will end.
#[derive(Clone)]
pub(super) struct Run {
    pub(super) stop: CancellationToken,
    pub(super) listed: Listed,
    ended: Shared<BoxFuture<'static, Result<Report, Error>>>,
}

/// Members that say what to do about a replication, not what it is.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Order {
    cancel: bool,
    replication_id: Option<String>,
    id: Option<String>,
    #[serde(rename = "_local_id")]
    local_id: Option<String>,
}

impl Replicator {
    /// Does what a request asks for.
    pub async fn replicate(&self, asked: Asked<'_>) -> Result<Outcome, Refused> {
        let order: Order = serde_json::from_slice(asked.body).map_err(|error| Refused::Bad(error.to_string()))?;
        if self.inner.way.get().is_none() {
            return Err(Refused::NotStarted);
        }
        let named = order.replication_id.or(order.id).or(order.local_id);
        let id = match named.filter(|_| order.cancel) {
            Some(id) => id,
            None => {
                let wanted = self.wanted(&asked).await?;
                if !order.cancel {
                    return self.begin(wanted).await;
                }
                wanted.id.to_string()
            }
        };
        self.cancel(&id, asked.user).await.map(|()| Outcome::Cancelled(id))
    }

    async fn wanted(&self, asked: &Asked<'_>) -> Result<Wanted, Refused> {
        let spec = Spec::parse(asked.body).map_err(Refused::Bad)?;
        self.inner.check_ends(&spec)?;
        if spec.user_ctx.is_some() && !asked.user.is_admin() {
            return Err(Refused::NotAllowed("Only server admins may replicate in another one's name.".to_owned()));
        }
        let acting = Acting::of(asked.user);
        let cluster = self.inner.catalog.cluster_uuid().await?;
        let id = Id::of(cluster, &spec, &acting);
        Ok(Wanted { id, spec: Arc::new(spec), acting, doc: None })
    }

    async fn begin(&self, wanted: Wanted) -> Result<Outcome, Refused> {
        let id = wanted.id.to_string();
        if wanted.spec.continuous {
            return self.begin_continuous(wanted).await.map(|()| Outcome::Running(id));
        }
        let run = {
            let mut once = self.inner.once();
            match once.get(&id) {
                Some(run) => run.clone(),
                None if once.len() >= self.inner.config.jobs_max => return Err(Refused::TooMany),
                None => {
                    let run = self.spawn(wanted);
                    once.insert(id.clone(), run.clone());
                    run
                }
            }
        };
        run.ended.await.map(Outcome::Done).map_err(Refused::Failed)
    }

    /// Runs it in a task of its own.
    fn spawn(&self, wanted: Wanted) -> Run {
        let (stop, progress) = (self.inner.stop.child_token(), Progress::default());
        let listed = Listed {
            id: wanted.id.to_string(),
            record: record(&wanted, None, self.inner.now_ms()),
            progress: progress.clone(),
        };
        let (done, ended) = tokio::sync::oneshot::channel();
        let (inner, cancelled) = (self.inner.clone(), stop.clone());
        self.inner.cluster.spawn(async move {
            let id = wanted.id.to_string();
            let ended = inner.run(&wanted, &progress, cancelled).await;
            inner.once().remove(&id);
            // Whoever asked may have gone away.
            let _ = done.send(ended);
        });
        let lost = || Error::Unavailable("this router is ending".to_owned());
        let ended = ended.map(move |ended| ended.unwrap_or_else(|_| Err(lost()))).boxed().shared();
        Run { stop, listed, ended }
    }

    async fn begin_continuous(&self, wanted: Wanted) -> Result<(), Refused> {
        let id = wanted.id.to_string();
        if self.inner.jobs.get(&driver::key(&id)).is_some() {
            return Ok(());
        }
        // They keep their room for as long as this router lives; documents must not be left without.
        let room = self.inner.config.jobs_max.div_ceil(2);
        if self.inner.asked().len() >= room || self.inner.running().len() >= self.inner.config.jobs_max {
            return Err(Refused::TooMany);
        }
        let record = record(&wanted, Some(self.inner.me), self.inner.now_ms());
        self.inner.asked().insert(id.clone(), wanted);
        // Somebody else may have been faster: then it runs, which is what was wanted.
        if !driver::write(&self.inner, &id, None, Some(&record)).await? {
            self.inner.asked().remove(&id);
        }
        self.inner.news.notify_one();
        Ok(())
    }

    async fn cancel(&self, id: &str, user: &User) -> Result<(), Refused> {
        if let Some(run) = self.inner.once().get(id) {
            may(user, run.listed.record.user.as_deref())?;
            run.stop.cancel();
            return Ok(());
        }
        // What this router has not heard of yet is there all the same.
        let key = DocId::parse(&driver::key(id)).map_err(|_| Refused::NotFound)?;
        let jobs = self.inner.system(DbUid::JOBS);
        loop {
            let stored = jobs.get(&key, common::query::Consistency::Linearizable).await?.ok_or(Refused::NotFound)?;
            let record: Record = serde_json::from_slice(&stored.json).map_err(|_| Refused::NotFound)?;
            may(user, record.user.as_deref())?;
            if record.doc.is_some() {
                let reason = "a document asks for this replication: delete it to cancel";
                return Err(Refused::NotAllowed(reason.to_owned()));
            }
            if driver::write(&self.inner, id, Some(stored.rev), None).await? {
                self.inner.asked().remove(id);
                self.inner.news.notify_one();
                return Ok(());
            }
        }
    }
}

fn may(user: &User, owner: Option<&str>) -> Result<(), Refused> {
    let own = owner.is_some() && user.name.as_deref() == owner;
    if own || user.is_admin() { Ok(()) } else { Err(Refused::NotOwner) }
}

/// The record of something that begins now.
pub(super) fn record(wanted: &Wanted, holder: Option<uuid::Uuid>, now_ms: u64) -> Record {
    let (doc, doc_rev) = wanted.doc.clone().unzip();
    Record {
        doc,
        doc_rev,
        user: wanted.acting.name().map(str::to_owned),
        source: wanted.spec.source.to_string(),
        target: wanted.spec.target.to_string(),
        continuous: wanted.spec.continuous,
        holder,
        state: State::Running,
        added_ms: now_ms,
        since_ms: now_ms,
        errors: 0,
        retry_at_ms: 0,
        history: vec![super::Event { at_ms: now_ms, what: "added".to_owned(), reason: None }],
        stats: Stats::default(),
    }
}
