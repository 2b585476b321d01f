//! The replicator: copies documents between databases of this cluster and of others, once or for ever.
//!
//! What is wanted stands in documents of `_replicator`, or is asked for by `POST /_replicate`. One router runs a
//! replication at a time (`schedule`, pure); how it goes is a record on shard 0 that all routers show. A run
//! (`session`) asks its ends over HTTP, databases of this cluster through this router's own API in the name of whoever
//! wants it, so that there is one way in and nobody gets further by a replication than by themselves.

mod address;
mod docs;
mod driver;
mod error;
mod history;
mod ident;
mod mirror;
mod once;
mod peer;
mod record;
mod schedule;
mod session;
mod spec;
mod stats;
mod transfer;
mod view;

use std::collections::HashMap;
use std::panic::AssertUnwindSafe;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};

use common::config;
use common::ids::DbUid;
use common::refusal::Refusal;
use futures::FutureExt;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use crate::auth::Acting;
use crate::cluster::Cluster;
use crate::cluster::catalog::{Catalog, CatalogError, Clock};
use crate::cluster::system::SystemDb;
use address::Rules;
use ident::Id;
use mirror::Mirror;
use session::Session;
use spec::End;
use stats::Progress;

pub use docs::check as check_document;
pub use error::Error;
pub use once::{Asked, Outcome};
pub use peer::{HttpWire, Service, Wire};
pub use record::{Event, State};
pub use session::Report;
pub use spec::{Notes, Spec};
pub use stats::Stats;
pub use view::{DocRow, JobRow};

/// The replicator of a router; a cheap handle. Runs nothing until it is started.
#[derive(Clone)]
pub struct Replicator {
    inner: Arc<Inner>,
}

struct Inner {
    /// This process, among routers.
    me: Uuid,
    config: config::Replicator,
    rules: Rules,
    cluster: Cluster,
    catalog: Catalog,
    clock: Clock,
    /// The documents that want something.
    docs: Mirror,
    /// The records of what is under way.
    jobs: Mirror,
    /// Something has changed.
    news: Arc<Notify>,
    way: OnceLock<Way>,
    running: Mutex<HashMap<String, Worker>>,
    /// What requests have asked to go on for ever: known here alone.
    asked: Mutex<HashMap<String, Wanted>>,
    once: Mutex<HashMap<String, once::Run>>,
    stop: CancellationToken,
}

/// How ends are reached.
struct Way {
    service: Service,
    wire: Arc<dyn Wire>,
}

/// Something that is wanted, and by whom.
#[derive(Clone)]
struct Wanted {
    id: Id,
    spec: Arc<Spec>,
    acting: Acting,
    /// The document that wants it, and its revision.
    doc: Option<(String, String)>,
}

/// A replication that runs here.
struct Worker {
    stop: CancellationToken,
    progress: Progress,
    begun_ms: u64,
    /// When its record was last written.
    told_ms: u64,
    /// Whether it gives way to another: its record is free when it has ended.
    gives_way: bool,
}

/// Why nothing was begun.
#[derive(Debug, Clone, thiserror::Error)]
pub enum Refused {
    /// What is wanted cannot be understood.
    #[error("{0}")]
    Bad(String),
    /// One of its ends may not be called from here.
    #[error("{0}")]
    NotAllowed(String),
    /// There is nothing to cancel.
    #[error("not found")]
    NotFound,
    /// It is somebody else's.
    #[error("Only its owner and server admins may cancel a replication.")]
    NotOwner,
    /// Too many run already.
    #[error("too many replications run on this router")]
    TooMany,
    /// This router does not run replications (yet).
    #[error("this router runs no replications")]
    NotStarted,
    /// Shard 0 did not answer.
    #[error(transparent)]
    Catalog(#[from] CatalogError),
    /// Shard 0 did not answer.
    #[error(transparent)]
    Shard(#[from] Refusal),
    /// It ran and failed.
    #[error(transparent)]
    Failed(#[from] Error),
}

impl Replicator {
    /// A replicator that is not started.
    pub fn new(config: config::Replicator, cluster: Cluster, catalog: Catalog) -> Self {
        let of = catalog.clone();
        let inner = Inner {
            me: Uuid::from_u128(rand::random()),
            rules: Rules::of(&config),
            config,
            cluster,
            catalog,
            clock: Arc::new(move || of.now_ms()),
            docs: Mirror::new(DbUid::REPLICATOR),
            jobs: Mirror::new(DbUid::JOBS),
            news: Arc::default(),
            way: OnceLock::new(),
            running: Mutex::default(),
            asked: Mutex::default(),
            once: Mutex::default(),
            stop: CancellationToken::new(),
        };
        Self { inner: Arc::new(inner) }
    }

    /// Begins to run what is wanted: `service` is this router's own API, `wire` the way to others. Once at most.
    pub fn start(&self, service: Service, wire: Arc<dyn Wire>) {
        if self.inner.way.set(Way { service, wire }).is_err() {
            return;
        }
        let spawn = |task| self.inner.cluster.spawn(task);
        for mirror in [|inner: &Inner| &inner.docs, |inner: &Inner| &inner.jobs] as [fn(&Inner) -> &Mirror; 2] {
            let inner = self.inner.clone();
            spawn(Box::pin(async move { mirror(&inner).follow(&inner.cluster, &inner.news).await })
                as std::pin::Pin<Box<dyn Future<Output = ()> + Send>>);
        }
        spawn(Box::pin(driver::run(self.inner.clone())));
    }

    /// Ends everything that runs here, noting how far it is, and leaves it to the other routers.
    pub async fn stop(&self) {
        self.inner.stop.cancel();
        driver::hand_over(&self.inner).await;
    }
}

impl Inner {
    /// One of the catalog's databases on shard 0.
    fn system(&self, db: DbUid) -> SystemDb<'_> {
        SystemDb { cluster: &self.cluster, db }
    }

    fn now_ms(&self) -> u64 {
        (self.clock)()
    }

    /// Whether both ends may be called.
    fn check_ends(&self, spec: &Spec) -> Result<(), Refused> {
        for end in [&spec.source, &spec.target] {
            if let End::Remote { url, .. } = end
                && !self.rules.admits(url)
            {
                let reason = format!("{end} may not be replicated with: replicator.allow does not list it");
                return Err(Refused::NotAllowed(reason));
            }
        }
        Ok(())
    }

    /// Runs a replication to its end.
    async fn run(&self, wanted: &Wanted, progress: &Progress, stop: CancellationToken) -> Result<Report, Error> {
        let way = self.way.get().ok_or_else(|| Error::Unavailable("this router runs no replications".to_owned()))?;
        let acting = match &wanted.spec.user_ctx {
            None => wanted.acting.clone(),
            Some(user) => Acting::As { name: user.name.as_deref().map(Into::into), roles: user.roles.clone().into() },
        };
        let peer = |end| peer::Peer::new(end, wanted.spec.asking, &acting, &way.service, &way.wire);
        let session = Session {
            spec: &wanted.spec,
            source: peer(&wanted.spec.source),
            target: peer(&wanted.spec.target),
            id: &wanted.id.base,
            config: &self.config,
            progress,
            clock: &self.clock,
            stop,
        };
        // A bug of ours must not take the replication out of everybody's sight. The panic hook has logged it.
        let ended = AssertUnwindSafe(session.run()).catch_unwind().await;
        ended.unwrap_or_else(|_| Err(Error::Unavailable("the replication broke off, see the log".to_owned())))
    }

    fn running(&self) -> MutexGuard<'_, HashMap<String, Worker>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn asked(&self) -> MutexGuard<'_, HashMap<String, Wanted>> {
        self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn once(&self) -> MutexGuard<'_, HashMap<String, once::Run>> {
        self.once.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
