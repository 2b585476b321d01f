//! One replica: its folder, its Raft group, and the queues in front of it.
//!
//! Answers what routers ask. Everything that needs other nodes' states (founding, swapping, promoting) is decided by
//! the node's monitor, which calls in here.

mod changes;
mod export;
mod feeds;
pub(crate) mod housekeeping;
pub(crate) mod identity;
mod lead;
pub(crate) mod marks;
mod reads;
mod views;
mod writes;

use std::collections::BTreeSet;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::command::{Command, Op, Outcome};
use common::config::Config;
use common::ids::{Index, NodeId, RequestId, ShardId, Term};
use common::query::{Consistency, Query};
use common::refusal::Refusal;
use common::state::{DiskUse, ReplicaState, Role};
use common::wire::{ReadAnswer, ReadReply, ReadRequest, WriteAnswer};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::raft::committed::Committed;
use crate::raft::group::{self, Group, Timing};
use crate::raft::snapshot;
use crate::raft::wire::Scope;
use crate::storage::{self, boot};
use crate::store;
use crate::transport::PeerTransport;
use crate::wal::{self, Wal};
use feeds::Feeds;
use identity::{Home, Identity};
use reads::Reads;
use writes::Writes;

/// Point reads in one batch that are answered on the spot; more go to a thread that may block. The engine's cache
/// answers most of them in microseconds, less than the hop takes.
const READS_ON_THE_SPOT_MAX: usize = 128;
/// Segments' worth of free space below which writes are refused: the log must be able to go on for what is in flight.
const FREE_SEGMENTS_MIN: u64 = 3;

/// Longest time to make an engine durable before its log is purged; then it is tried again.
const PURGE_PATIENCE: Duration = Duration::from_secs(120);

/// What a replica needs from its node.
#[derive(Clone)]
pub(crate) struct Context {
    pub(crate) config: Arc<Config>,
    pub(crate) peers: Arc<dyn PeerTransport>,
    pub(crate) fatal: Arc<dyn Fn(String) + Send + Sync>,
    /// Whether the node is being drained.
    pub(crate) draining: Arc<AtomicBool>,
}

/// See the module.
pub(crate) struct Replica {
    home: Home,
    identity: Identity,
    config: Arc<Config>,
    group: Arc<Group>,
    writes: Writes,
    reads: Reads,
    feeds: Arc<Feeds>,
    indexing: views::Indexing,
    /// Set while the primary hands over and when the node stops: no more writes.
    closing: AtomicBool,
    /// The newest term in which it was made to stand for election, and when.
    stood: Mutex<Option<(Term, Instant)>>,
    /// Whether the disk has no room for more log.
    no_room: AtomicBool,
    /// The node's.
    draining: Arc<AtomicBool>,
    /// To whom this primary is handing over.
    heir: Mutex<Option<NodeId>>,
    /// Held by whoever hands over: a drain, an admin and a stop may want it at once.
    handing_over: tokio::sync::Mutex<()>,
    /// Other nodes that are being drained, as far as the node's monitor knows.
    drained_others: Mutex<BTreeSet<NodeId>>,
    /// What was measured last of what this replica takes on the disk.
    disk: Mutex<DiskUse>,
    tasks: Mutex<JoinSet<()>>,
    marker: Mutex<Option<boot::Marker>>,
}

/// Why a replica did not open.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// Its files cannot be trusted; they may be moved aside and the replica rebuilt from the others.
    #[error("{0}")]
    Damaged(String),
    /// Somebody else's folder, no rights, no room: an operator must look.
    #[error("{0}")]
    Refused(String),
}

impl From<wal::Error> for OpenError {
    fn from(error: wal::Error) -> Self {
        match error {
            wal::Error::Damaged { .. } => Self::Damaged(error.to_string()),
            _ => Self::Refused(error.to_string()),
        }
    }
}

impl From<storage::Error> for OpenError {
    fn from(error: storage::Error) -> Self {
        match error {
            storage::Error::Damaged { .. } => Self::Damaged(error.to_string()),
            _ => Self::Refused(error.to_string()),
        }
    }
}

impl From<identity::Error> for OpenError {
    fn from(error: identity::Error) -> Self {
        Self::Refused(error.to_string())
    }
}

impl From<group::Error> for OpenError {
    fn from(error: group::Error) -> Self {
        match error {
            group::Error::Storage(error) => error.into(),
            group::Error::Hole { .. } => Self::Damaged(error.to_string()),
            group::Error::Raft(reason) => Self::Refused(reason),
        }
    }
}

impl Replica {
    /// Opens the replica at `home`, or makes it.
    pub(crate) async fn open(home: Home, context: &Context) -> Result<Arc<Self>, OpenError> {
        let identity = home.open()?;
        let config = context.config.clone();
        let (at, known, settings) = (home.dir(), identity.clone(), config.storage.clone());
        let opened = tokio::task::spawn_blocking(move || open_files(&at, &known, &settings)).await;
        let (wal, engine, marker) = opened.map_err(|error| OpenError::Damaged(error.to_string()))??;
        let feeds = Arc::new(Feeds::default());
        let woken = feeds.clone();
        let setup = group::Setup {
            scope: Scope { cluster: home.cluster, shard: home.shard, replica: identity.replica.0 },
            dir: home.dir(),
            wal,
            engine,
            peers: context.peers.clone(),
            timing: Timing { heartbeat: config.replication.heartbeat_interval(), lease: config.replication.lease() },
            wake: Arc::new(move |changed| woken.wake(changed)),
            fatal: fatal(home.clone(), context),
        };
        let (group, asked) = Group::open(setup).await?;
        let (writes, writing) = Writes::new(home.shard, &config, group.clone());
        let (reads, reading) = Reads::new(home.shard, group.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(writing.run());
        tasks.spawn(reading.run());
        let this = Arc::new_cyclic(|this| {
            tasks.spawn(lead::hand_over_when_asked(this.clone(), asked));
            Self {
                home,
                identity,
                config,
                group,
                writes,
                reads,
                feeds,
                indexing: views::Indexing::default(),
                closing: AtomicBool::new(false),
                stood: Mutex::default(),
                no_room: AtomicBool::new(false),
                draining: context.draining.clone(),
                heir: Mutex::default(),
                handing_over: tokio::sync::Mutex::default(),
                drained_others: Mutex::default(),
                disk: Mutex::default(),
                tasks: Mutex::new(tasks),
                marker: Mutex::new(Some(marker)),
            }
        });
        this.check_room();
        Ok(this)
    }

    pub(crate) fn shard(&self) -> ShardId {
        self.home.shard
    }

    pub(crate) fn group(&self) -> &Arc<Group> {
        &self.group
    }

    pub(crate) async fn write(&self, commands: &[Command]) -> WriteAnswer {
        let shard = self.shard();
        if self.closing.load(Ordering::Relaxed) || !self.group.is_primary() {
            return Err(Refusal::NotPrimary { shard, primary: self.group.other_primary() });
        }
        if self.no_room.load(Ordering::Relaxed) || self.group.is_disk_full() {
            return Err(Refusal::DiskFull { shard });
        }
        self.writes.write(commands).await
    }

    pub(crate) async fn read(&self, request: ReadRequest) -> ReadAnswer {
        let lag = match request.consistency {
            Consistency::Linearizable => {
                self.reads.confirm().await?;
                Duration::ZERO
            }
            Consistency::Eventual => self.fresh_enough(request.last_resort)?,
        };
        let lag_ms = millis(lag);
        let queries = request.queries;
        let point = |query: &Query| {
            let small = matches!(query, Query::Info { .. } | Query::Indexes { .. } | Query::Validators { .. });
            small || matches!(query, Query::Doc { .. } | Query::Local { .. } | Query::Before(_))
        };
        let on_the_spot = queries.len() <= READS_ON_THE_SPOT_MAX && queries.iter().all(point);
        let at_once = if on_the_spot { self.group.try_read(|reader| answer(reader, &queries)) } else { None };
        let answers = match at_once {
            Some(answers) => answers,
            None => {
                let group = self.group.clone();
                let indexed = |query: &Query| matches!(query, Query::Find(find) if find.index.is_some());
                let work = move || match queries.iter().any(indexed) {
                    // An entry and its document must be of one moment.
                    true => group.read_view(|reader| answer(reader, &queries)).and_then(|answers| answers),
                    false => group.read(|reader| answer(reader, &queries)),
                };
                group::blocking(self.group.engine().as_ref(), work).await
            }
        };
        Ok(ReadReply { answers: answers.map_err(|error| self.broken(&error))?, lag_ms })
    }

    /// How old an eventual read may be here, if that is allowed; as a last resort any age is, but it must be known.
    fn fresh_enough(&self, last_resort: bool) -> Result<Duration, Refusal> {
        let shard = self.shard();
        let age = self.group.age().ok_or(Refusal::TooFarBehind { shard })?;
        let max = Duration::from_millis(self.config.replication.max_replication_lag_ms);
        if last_resort || age <= max { Ok(age) } else { Err(Refusal::TooFarBehind { shard }) }
    }

    fn broken(&self, error: &storage::Error) -> Refusal {
        tracing::error!(shard = %self.shard(), %error, "the engine cannot be read");
        if let storage::Error::Damaged { .. } = error {
            self.group.fail(error.to_string());
        }
        Refusal::OutOfService { shard: self.shard(), reason: error.to_string() }
    }

    pub(crate) fn state(&self) -> ReplicaState {
        let status = self.group.status();
        let waits = status.role == Role::Empty && self.identity.replacement;
        let reason = if let Some(damage) = self.group.damage() {
            Some(damage)
        } else if self.closing.load(Ordering::Relaxed) {
            Some("it is stopping".to_owned())
        } else if status.disk_full || self.no_room.load(Ordering::Relaxed) {
            Some("the disk is full".to_owned())
        } else {
            waits.then(|| "it waits to be rebuilt from the others".to_owned())
        };
        ReplicaState {
            node: self.home.node.clone(),
            shard: self.shard(),
            raft_id: self.identity.replica,
            role: status.role,
            term: status.term,
            primary: status.primary.map(|peer| peer.node),
            heard_ms: status.heard.map(millis),
            last: status.last,
            committed: status.committed,
            applied: status.applied,
            first: status.first,
            lag_ms: millis(status.behind),
            healthy: reason.is_none(),
            reason,
            voters: status.voters,
            learners: status.learners,
            engine: self.group.engine().name().to_owned(),
            draining: self.is_draining(),
            heir: self.heir.lock().unwrap_or_else(PoisonError::into_inner).clone(),
            disk: self.disk_use(),
        }
    }

    /// What [`Replica::check_room`] measured, and what has come since the start.
    fn disk_use(&self) -> DiskUse {
        let measured = *self.disk.lock().unwrap_or_else(PoisonError::into_inner);
        let log_written_bytes = self.group.wal().stats().bytes_written;
        DiskUse { log_written_bytes, snapshot_received_bytes: self.group.snapshot_bytes(), ..measured }
    }

    /// Takes no more writes and does not stand for election any more.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Relaxed);
    }

    /// Looks how much room the disk has, and how much this replica takes of it.
    pub(crate) fn check_room(&self) {
        let Ok(stat) = rustix::fs::statvfs(self.home.dir()) else { return };
        let needed = FREE_SEGMENTS_MIN * self.config.storage.segment_bytes;
        let free_bytes = stat.f_bavail.saturating_mul(stat.f_frsize);
        let log_bytes = self.group.wal().stats().segment_bytes_total;
        let engine_bytes = self.group.engine().size_bytes();
        *self.disk.lock().unwrap_or_else(PoisonError::into_inner) =
            DiskUse { log_bytes, engine_bytes, free_bytes, ..DiskUse::default() };
        let full = free_bytes < needed;
        if self.no_room.swap(full, Ordering::Relaxed) != full {
            match full {
                true => tracing::warn!(shard = %self.shard(), "less than {needed} bytes are free; refusing writes"),
                false => tracing::info!(shard = %self.shard(), "there is room on the disk again"),
            }
        }
    }

    /// Purges the log when it has grown past twice what is to be kept.
    pub(crate) async fn purge(&self) -> Result<(), String> {
        let keep = self.config.storage.log_keep_bytes;
        let wal = self.group.wal();
        let tail = wal.first_index().map_or(0, |first| wal.tail_bytes_since(first));
        if tail <= 2 * keep {
            return Ok(());
        }
        let purged = tokio::time::timeout(PURGE_PATIENCE, self.group.purge(keep)).await;
        purged.unwrap_or_else(|_| Err("it took too long".to_owned()))
    }

    /// Deletes what dropped databases left, in small steps. Done when nothing is left.
    pub(crate) async fn sweep(&self) -> Result<(), storage::Error> {
        loop {
            let group = self.group.clone();
            let step = move || group.sweep();
            if !group::blocking(self.group.engine().as_ref(), step).await? {
                return Ok(());
            }
            tokio::task::yield_now().await;
        }
    }

    /// On the primary: has uploads forgotten that got nothing since the entry `before` and that no write has named.
    pub(crate) async fn forget_uploads(&self, before: Index) -> Result<(), String> {
        let group = self.group.clone();
        let look = move || group.read(|reader| store::uploads::has_old(reader, before));
        let mut more = group::blocking(self.group.engine().as_ref(), look).await.map_err(|error| error.to_string())?;
        while more && self.group.is_primary() {
            let op = Op::ForgetUploads { before };
            // Done twice it does no harm, so a name that depends on nothing else is as good as any.
            let request = RequestId::from_key("uploads", &before.to_string());
            let outcomes = self.write(&[Command { request, retry: false, op }]).await;
            let outcomes = outcomes.map_err(|refusal| refusal.to_string())?;
            more = matches!(outcomes[..], [Outcome::Swept { more: true }]);
        }
        Ok(())
    }

    /// Bytes in the write queue.
    pub(crate) fn queue_bytes(&self) -> usize {
        self.writes.bytes()
    }

    /// Requests that wait for changes now.
    pub(crate) fn feed_waiters(&self) -> usize {
        self.feeds.waiting()
    }

    /// Folders of damaged predecessors that were set aside.
    pub(crate) fn damaged_folders(&self) -> usize {
        self.home.moved_aside()
    }

    /// Committed entries from `from` on.
    pub(crate) async fn wal(&self, from: Index, limit: usize) -> Result<Vec<Committed>, Refusal> {
        let refused = |reason| Refusal::OutOfService { shard: self.shard(), reason };
        self.group.committed(from, limit).map_err(refused)
    }

    /// Ends the replica. Its folder can be opened again afterwards.
    pub(crate) async fn shutdown(&self) {
        self.close();
        self.group.shutdown().await;
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.shutdown().await;
        let marker = self.marker.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(Err(error)) = marker.map(boot::Marker::clean) {
            tracing::warn!(shard = %self.shard(), %error, "the stop could not be marked as clean");
        }
    }
}

fn answer(reader: &dyn storage::Read, queries: &[Query]) -> Result<Vec<common::query::Answer>, storage::Error> {
    queries.iter().map(|query| store::read(reader, query)).collect()
}

/// Notes damage before the process ends, so that the next start rebuilds the replica. Without other copies the folder
/// is kept in use: an operator must look.
fn fatal(home: Home, context: &Context) -> group::Fatal {
    let alone = context.config.shard.iter().any(|entry| entry.id == home.shard && entry.replicas.len() == 1);
    let end = context.fatal.clone();
    Arc::new(move |reason, damaged| {
        if damaged
            && !alone
            && let Err(error) = home.mark_damaged(&reason)
        {
            tracing::error!(shard = %home.shard, %error, "the damage could not be noted");
        }
        end(format!("shard {}: {reason}", home.shard));
    })
}

type Files = (Wal, Arc<dyn storage::Engine>, boot::Marker);

fn open_files(dir: &Path, identity: &Identity, settings: &common::config::Storage) -> Result<Files, OpenError> {
    let owner = wal::Identity {
        cluster: identity.cluster,
        node: identity.node.clone(),
        shard: identity.shard,
        replica: identity.replica,
    };
    let options = wal::Options { segment_bytes: settings.segment_bytes, cache_bytes: settings.log_cache_bytes };
    snapshot::clear(dir).map_err(|error| OpenError::Refused(format!("{}: {error}", dir.display())))?;
    let wal = Wal::open(&dir.join("wal"), &owner, options)?;
    let engine_dir = dir.join("engine");
    let boot_id = boot::boot_id().map_err(|error| OpenError::Refused(format!("no boot id: {error}")))?;
    let (marker, start) = boot::start(&engine_dir, storage::crash_safe(settings.engine), &boot_id)?;
    if start == boot::Start::Wiped {
        tracing::warn!(dir = %engine_dir.display(), "the host stopped uncleanly; the engine is rebuilt");
    }
    let engine = storage::open(settings.engine, &engine_dir, settings.engine_cache_bytes)?;
    Ok((wal, engine, marker))
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}
