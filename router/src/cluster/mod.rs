//! The cluster as one router sees it: who is where, and a way to every shard.
//!
//! Promises that a request reaches the right replica or is refused in time, and that a write is never repeated under
//! another request id. Knows nothing of documents' rules: those are applied on the shards.

mod ask;
pub mod catalog;
mod coordinator;
mod export;
pub(crate) mod follow;
mod members;
mod probe;
mod slots;
pub(crate) mod system;
#[cfg(test)]
mod tests;
mod watch;

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use common::change::{ChangesPage, ChangesRequest};
use common::command::{Address, Command, Outcome};
use common::config::{Config, ShardEntry};
use common::failover::{Rules, View};
use common::ids::{DbUid, DocId, Index, NodeId, ShardId};
use common::partition::Partition;
use common::placement::{ShardMap, slot_of, slot_of_partition};
use common::query::{Answer, Consistency, Query};
use common::refusal::Refusal;
use common::state::{Campaign, Drain, NodeState, Promote, Role};
use common::view::{ViewAnswer, ViewRequest, Viewed};
use common::wire::ReadRequest;
use futures::FutureExt;
use futures::future::join_all;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use self::members::Members;
use self::probe::Pace;
pub use self::watch::Unready;
use crate::shard::batch::{Batch, Queue, READ_LANES, WRITE_LANES};
use crate::shard::retry::Patience;
use crate::shard::transport::{Transport, WalStream};

/// The shard of the catalog: system databases live there whatever their keys hash to.
pub const CATALOG_SHARD: ShardId = ShardId(0);
/// Longest time without a primary; a little less than the two seconds within which the client must have an answer.
const QUORUM_PATIENCE: Duration = Duration::from_millis(1800);

/// A way to every shard; a cheap handle.
#[derive(Clone)]
pub struct Cluster {
    inner: Arc<Inner>,
}

struct Inner {
    members: Arc<Members>,
    map: RwLock<Arc<ShardMap>>,
    settled: tokio::sync::Mutex<slots::Settled>,
    queues: BTreeMap<ShardId, Queues>,
    patience: Patience,
    pace: Pace,
    tasks: TaskTracker,
    stop: CancellationToken,
}

/// The queues of one shard.
struct Queues {
    writes: Queue<Command, Outcome>,
    /// Bytes of attachments; apart, so that no batch of them stands before a small write.
    chunks: Queue<Command, Outcome>,
    linearizable: Queue<Query, (Answer, u64)>,
    eventual: Queue<Query, (Answer, u64)>,
}

/// One node, as the health monitor saw it last.
#[derive(Debug, Clone)]
pub struct NodeRow {
    /// The node.
    pub node: NodeId,
    /// Whether it answers.
    pub reachable: bool,
    /// What it said of itself, just now or last.
    pub state: Option<NodeState>,
}

impl Cluster {
    /// A way to the nodes at the other end of `transports`, which host the replicas in `shards`. Starts the health
    /// monitor and the failover coordinator; they run until [`Cluster::stop`].
    pub fn start(config: &Config, transports: Vec<Arc<dyn Transport>>, shards: &[ShardEntry]) -> Self {
        let interval = Duration::from_millis(config.replication.health_check_interval_ms);
        let pace = Pace::new(interval);
        let request = Duration::from_millis(config.limits.request_timeout_ms);
        let patience = Patience { quorum: QUORUM_PATIENCE.min(request), request };
        let members = Arc::new(Members::new(transports, shards, pace.patience));
        let (tasks, stop) = (TaskTracker::new(), CancellationToken::new());

        for (node, _) in members.nodes() {
            let watch = probe::watch(members.clone(), node.clone(), pace);
            tasks.spawn(stop.clone().run_until_cancelled_owned(watch));
        }
        let rules = Rules { lease: config.replication.lease() };
        let coordinator = coordinator::run(members.clone(), rules, interval);
        tasks.spawn(stop.clone().run_until_cancelled_owned(coordinator));

        let bytes_max = config.limits.queue_bytes_max;
        let queues = |shard| {
            let reads = |consistency| {
                let send = send_reads(members.clone(), shard, consistency, patience);
                Queue::start(shard, READ_LANES, false, bytes_max, send, &tasks, &stop)
            };
            let send = send_writes(members.clone(), shard, patience);
            let writes = Queue::start(shard, WRITE_LANES, true, bytes_max, send.clone(), &tasks, &stop);
            let chunks = Queue::start(shard, WRITE_LANES, false, bytes_max, send, &tasks, &stop);
            let (linearizable, eventual) = (reads(Consistency::Linearizable), reads(Consistency::Eventual));
            (shard, Queues { writes, chunks, linearizable, eventual })
        };
        let ids: Vec<ShardId> = shards.iter().map(|entry| entry.id).collect();
        let queues = ids.iter().copied().map(queues).collect();
        let map = RwLock::new(Arc::new(ShardMap::even(&ids)));
        let settled = tokio::sync::Mutex::default();
        Self { inner: Arc::new(Inner { members, map, settled, queues, patience, pace, tasks, stop }) }
    }

    /// Ends all tasks. Requests under way answer that their outcome is not known.
    pub async fn stop(&self) {
        self.inner.stop.cancel();
        self.inner.tasks.close();
        self.inner.tasks.wait().await;
    }

    /// The shard map this router goes by.
    pub fn map(&self) -> Arc<ShardMap> {
        self.inner.map.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Goes by the catalog's `map` from now on, unless a newer one is known.
    fn adopt_map(&self, map: ShardMap) {
        let mut known = self.inner.map.write().unwrap_or_else(PoisonError::into_inner);
        if map.version >= known.version {
            *known = Arc::new(map);
        }
    }

    /// Runs a task of the router's until [`Cluster::stop`].
    pub(crate) fn spawn(&self, task: impl Future<Output = ()> + Send + 'static) {
        self.inner.tasks.spawn(self.inner.stop.clone().run_until_cancelled_owned(task));
    }

    /// Where a document of a database lives.
    pub fn locate(&self, db: DbUid, partitioned: bool, id: &DocId) -> (ShardId, Address) {
        let slot = slot_of(db, id, partitioned);
        let shard = if db.is_system() { CATALOG_SHARD } else { self.map().shard_of(slot) };
        (shard, Address { db, slot, id: id.clone() })
    }

    /// The shard that has the documents of a partition of a partitioned database.
    pub fn shard_of(&self, db: DbUid, partition: &Partition) -> ShardId {
        self.map().shard_of(slot_of_partition(db, partition))
    }

    /// The shards that hold a database, sorted: all of them, or shard 0 alone for a system database.
    pub fn shards_of(&self, db: DbUid) -> Vec<ShardId> {
        if db.is_system() { vec![CATALOG_SHARD] } else { self.map().shards() }
    }

    /// Writes one command; retried under its request id until it has a definite outcome or time is up.
    pub async fn write(&self, shard: ShardId, command: Command) -> Result<Outcome, Refusal> {
        let queues = self.queues(shard)?;
        match queues.writes.one(command.clone()).await? {
            Outcome::NotOwner { version } => {
                let outcomes = self.write_owned(shard, vec![command], vec![Outcome::NotOwner { version }]).await?;
                outcomes.into_iter().next().ok_or_else(system::mismatched)
            }
            Outcome::Forgotten => Err(Refusal::UnknownOutcome { shard }),
            outcome => Ok(outcome),
        }
    }

    /// Brings bytes of an attachment to a shard, in the order of the calls; retried like a write.
    pub async fn write_chunk(&self, shard: ShardId, command: Command) -> Result<Outcome, Refusal> {
        self.queues(shard)?.chunks.one(command).await
    }

    /// Writes commands that stay together in one batch (not atomic); an outcome for each, in order.
    pub async fn write_many(&self, shard: ShardId, commands: Vec<Command>) -> Result<Vec<Outcome>, Refusal> {
        if commands.is_empty() {
            return Ok(Vec::new());
        }
        let outcomes = self.queues(shard)?.writes.many(commands.clone()).await?;
        self.write_owned(shard, commands, outcomes).await
    }

    /// Asks one question; the answer, and how old it may be in milliseconds (0 when linearizable).
    pub async fn read(&self, shard: ShardId, consistency: Consistency, query: Query) -> Result<(Answer, u64), Refusal> {
        let queues = self.queues(shard)?;
        match consistency {
            Consistency::Linearizable => queues.linearizable.one(query).await,
            Consistency::Eventual => queues.eventual.one(query).await,
        }
    }

    /// Changes of one database on one shard; may wait as long as the request says.
    pub async fn changes(&self, shard: ShardId, mut request: ChangesRequest) -> Result<ChangesPage, Refusal> {
        self.inner.members.ask(shard, &mut request, Instant::now(), &self.inner.patience).await
    }

    /// Rows of a view of one database on one shard; may take as long as the request says.
    pub async fn view(&self, shard: ShardId, mut request: ViewRequest) -> Result<Viewed, Refusal> {
        let Inner { members, patience, .. } = &*self.inner;
        let answer = members.ask(shard, &mut request, Instant::now(), patience).await;
        if !matches!(answer, Err(Refusal::TooFarBehind { .. })) {
            return answer;
        }
        // Nobody who is there is in sync; see `send_reads`.
        request.last_resort = true;
        members.ask(shard, &mut request, Instant::now(), patience).await
    }

    /// The same of each replica that is there and does not lead the shard, one after the other.
    pub async fn view_elsewhere(&self, shard: ShardId, request: &ViewRequest) -> Vec<ViewAnswer> {
        let Inner { members, patience, .. } = &*self.inner;
        let Ok(place) = members.place(shard) else { return Vec::new() };
        let patience = Duration::from_millis(request.wait_ms) + patience.request;
        let mut answers = Vec::new();
        for node in place.replicas.iter().filter(|node| !members.is_suspect(node)) {
            // Whoever leads by now has been asked by somebody who waits.
            if place.primary().as_ref() == Some(node) {
                continue;
            }
            if let Some(transport) = members.transport(node) {
                let answer = tokio::time::timeout(patience, transport.view(shard, request)).await;
                answers.push(answer.unwrap_or_else(|_| Err(Refusal::Unreachable(node.clone()))));
            }
        }
        answers
    }

    /// All nodes, asked now (those that do not answer at once: what they said last).
    pub async fn states(&self) -> Vec<NodeRow> {
        let Inner { members, pace, .. } = &*self.inner;
        join_all(members.nodes().map(|(node, _)| probe::look(members, node, pace.interval))).await;
        members.nodes().map(|(node, _)| members.row(node)).collect()
    }

    /// Asks a replica to campaign: `node`, or the most advanced one that does not lead already.
    pub async fn promote(&self, shard: ShardId, node: Option<NodeId>) -> Result<(NodeId, Campaign), Refusal> {
        let Inner { members, pace, .. } = &*self.inner;
        let place = members.place(shard)?;
        join_all(place.replicas.iter().map(|node| probe::look(members, node, pace.interval))).await;
        let views = members.views(place);
        let candidate = match node {
            Some(node) => views.iter().find(|view| view.state.node == node),
            None => {
                let stands = |role| matches!(role, Role::Replica | Role::Candidate);
                let able = |view: &&View| view.reachable && view.state.healthy && stands(view.state.role);
                let able = views.iter().filter(able).filter(|view| !view.state.draining);
                able.max_by_key(|view| view.state.last)
            }
        };
        let candidate = candidate.ok_or(Refusal::NotHosted { shard })?;
        let node = candidate.state.node.clone();
        let transport = members.transport(&node).ok_or_else(|| Refusal::Unreachable(node.clone()))?;
        let campaign = transport.promote(&Promote { shard, term: candidate.state.term, planned: true }).await?;
        Ok((node, campaign))
    }

    /// Begins or ends the draining of a node; `None` if there is no node of this name.
    pub async fn drain(&self, node: &NodeId, drain: bool) -> Option<Result<NodeState, Refusal>> {
        let members = &self.inner.members;
        let answer = members.transport(node)?.drain(Drain { drain }).await;
        if let Ok(state) = &answer {
            members.answered(node, state.clone());
        }
        Some(answer)
    }

    /// Committed entries of a shard's log as NDJSON, from `from` on; with `follow` the stream goes on with new ones.
    pub async fn wal(&self, shard: ShardId, from: Index, follow: bool) -> Result<WalStream, Refusal> {
        let Inner { members, .. } = &*self.inner;
        let place = members.place(shard)?;
        let primary = place.primary();
        let others = place.replicas.iter().filter(|node| Some(*node) != primary.as_ref());
        let mut refusal = Refusal::NoQuorum { shard };
        for node in primary.iter().chain(others) {
            let Some(transport) = members.transport(node) else { continue };
            match transport.wal(shard, from, follow).await {
                Ok(stream) => return Ok(stream),
                Err(why) => refusal = why,
            }
        }
        Err(refusal)
    }

    fn queues(&self, shard: ShardId) -> Result<&Queues, Refusal> {
        self.inner.queues.get(&shard).ok_or(Refusal::NotHosted { shard })
    }
}

fn send_writes(
    members: Arc<Members>,
    shard: ShardId,
    patience: Patience,
) -> crate::shard::batch::Send<Command, Outcome> {
    Arc::new(move |mut batch: Batch<Command>| {
        let members = members.clone();
        async move { members.ask(shard, &mut batch.items, batch.since, &patience).await }.boxed()
    })
}

fn send_reads(
    members: Arc<Members>,
    shard: ShardId,
    consistency: Consistency,
    patience: Patience,
) -> crate::shard::batch::Send<Query, (Answer, u64)> {
    Arc::new(move |batch: Batch<Query>| {
        let members = members.clone();
        async move {
            let mut request = ReadRequest { consistency, last_resort: false, queries: batch.items };
            let mut reply = members.ask(shard, &mut request, batch.since, &patience).await;
            if matches!(reply, Err(Refusal::TooFarBehind { .. })) {
                // Nobody who is there is in sync. What there is, and how old it may be, is more than nothing.
                request.last_resort = true;
                reply = members.ask(shard, &mut request, batch.since, &patience).await;
            }
            let reply = reply?;
            Ok(reply.answers.into_iter().map(|answer| (answer, reply.lag_ms)).collect())
        }
        .boxed()
    })
}
