//! One replica of one shard in its Raft group: openraft with our log, state machine and network around it.
//!
//! This is the only face of openraft the rest of the node sees. It decides nothing by itself: it does not campaign,
//! change members, purge or hand over unless asked.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use common::ids::{Index, NodeId, RaftId, Term};
use common::state::{Peer, Promote};
use openraft::error::ClientWriteError;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::raft::committed::Committed;
use crate::raft::counts::Counts;
use crate::raft::hearing::Hearing;
use crate::raft::log_store::LogStore;
use crate::raft::network::Network;
use crate::raft::pulse::Pulse;
use crate::raft::shared::Shared;
use crate::raft::snapshot::Builder;
pub(crate) use crate::raft::state_machine::run as blocking;
use crate::raft::state_machine::{StateMachine, Wake, read_applied, run};
pub(crate) use crate::raft::timing::Timing;
use crate::raft::types::{Member, Metrics, Packed, Raft, TypeConfig, peers, wal_id};
use crate::raft::wire::{self, Scope};
use crate::storage::{self, Engine};
use crate::store;
use crate::transport::{Lane, PeerTransport};
use crate::wal::Wal;

/// Keys deleted in one step of a sweep; other batches go in between.
const SWEEP_KEYS: usize = 1_000;
/// Bytes of log read at once for people.
const COMMITTED_BYTES_MAX: u64 = 1 << 20;

/// Takes why Raft stopped, and whether that was because the replica's files are damaged.
pub(crate) type Fatal = Arc<dyn Fn(String, bool) + Send + Sync>;

/// What a group is made of.
pub(crate) struct Setup {
    pub(crate) scope: Scope,
    /// The replica's own folder.
    pub(crate) dir: PathBuf,
    pub(crate) wal: Wal,
    pub(crate) engine: Arc<dyn Engine>,
    pub(crate) peers: Arc<dyn PeerTransport>,
    pub(crate) timing: Timing,
    pub(crate) wake: Wake,
    /// Called if Raft stops by itself; the process should end.
    pub(crate) fatal: Fatal,
}

/// Why a group did not start.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    /// The engine cannot be read.
    #[error(transparent)]
    Storage(#[from] storage::Error),
    /// The log and the engine do not fit together: what lies between was lost.
    #[error("the log begins behind entry {purged}, and the engine ends at entry {applied}")]
    Hole {
        /// Last entry purged from the log.
        purged: u64,
        /// Last entry folded into the engine.
        applied: u64,
    },
    /// Openraft did not start.
    #[error("raft does not start: {0}")]
    Raft(String),
}

/// See the module.
pub(crate) struct Group {
    pub(super) raft: Raft,
    pub(super) scope: Scope,
    pub(super) dir: PathBuf,
    pub(super) shared: Arc<Shared>,
    pub(super) hearing: Mutex<Hearing>,
    pub(super) receiving: tokio::sync::Mutex<()>,
    pub(super) pulse: Arc<Pulse>,
    peers: Arc<dyn PeerTransport>,
    pub(super) wal: Wal,
    engine: Arc<dyn Engine>,
    builder: Builder,
    tasks: Mutex<JoinSet<()>>,
    fatal: Fatal,
    pub(super) lead_wanted: mpsc::Sender<RaftId>,
}

/// What became of an entry.
pub(crate) type Proposed = Result<openraft::raft::ClientWriteResponse<TypeConfig>, ClientWriteError<u64, Member>>;

impl Group {
    /// Opens the group, and gives who asks this primary for the lead. The engine is brought to its own snapshot first
    /// if it came back empty.
    pub(crate) async fn open(setup: Setup) -> Result<(Arc<Self>, mpsc::Receiver<RaftId>), Error> {
        let Setup { scope, dir, wal, engine, peers, timing, wake, fatal } = setup;
        let shared = Shared::new();
        let builder = Builder { engine: engine.clone(), shared: shared.clone(), scope, dir: dir.clone() };
        let this = builder.clone();
        run(engine.as_ref(), move || this.restore()).await?;
        let this = builder.clone();
        run(engine.as_ref(), move || this.complete()).await?;
        let machine = StateMachine::new(engine.clone(), shared.clone(), builder.clone(), wake)?;
        let applied = shared.applied().log_id;
        if let Some(purged) = wal.purged()
            && applied.is_none_or(|applied| applied.index < purged.index)
        {
            return Err(Error::Hole { purged: purged.index, applied: applied.map_or(0, |id| id.index) });
        }
        // Openraft purges at once what a snapshot installed before a crash covers; that snapshot was durable.
        shared.set_durable(applied.filter(|id| wal.last().is_none_or(|last| wal_id(id) > last)));
        let store = LogStore::new(wal.clone(), shared.clone(), scope.replica);
        let network = Network { shared: shared.clone(), scope, peers: peers.clone(), pause: timing.heartbeat };
        let config = Arc::new(timing.config(scope));
        let raft = Raft::new(scope.replica, config, network, store, machine).await;
        let raft = raft.map_err(|error| Error::Raft(error.to_string()))?;
        let pulse = Arc::new(Pulse::new(scope, shared.clone(), peers.clone(), raft.metrics(), timing.patience()));
        let mut tasks = JoinSet::new();
        let beating = pulse.clone();
        tasks.spawn(async move { beating.run(timing.heartbeat).await });
        tasks.spawn(watch_core(raft.clone(), shared.clone(), fatal.clone()));
        // One at a time: whoever else asks meanwhile is refused and may ask again.
        let (lead_wanted, asked) = mpsc::channel(1);
        let group = Arc::new(Self {
            raft,
            scope,
            dir,
            shared,
            hearing: Mutex::default(),
            receiving: tokio::sync::Mutex::new(()),
            pulse,
            peers,
            wal,
            engine,
            builder,
            tasks: Mutex::new(tasks),
            fatal,
            lead_wanted,
        });
        Ok((group, asked))
    }

    /// Whether a message for the incarnation `target` is for this replica.
    pub(crate) fn is(&self, target: u64) -> bool {
        self.scope.replica == target
    }

    /// Whether this replica leads.
    pub(crate) fn is_primary(&self) -> bool {
        self.pulse.leading().is_some()
    }

    /// The other replica that this one takes for the primary.
    pub(crate) fn other_primary(&self) -> Option<NodeId> {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        let leader = metrics.current_leader.filter(|id| *id != self.scope.replica);
        peers(metrics.membership_config.membership(), leader.into_iter()).pop().map(|peer| peer.node)
    }

    /// How long ago a majority last answered; `None` if this replica does not lead.
    pub(crate) fn quorum_age(&self) -> Option<Duration> {
        self.pulse.quorum_age()
    }

    /// How old what is applied here may be; `None` if it cannot tell.
    pub(crate) fn age(&self) -> Option<Duration> {
        let applied = self.shared.applied().log_id;
        self.quorum_age().or_else(|| self.hearing().age(Instant::now(), applied))
    }

    /// See [`Pulse::confirm`].
    pub(crate) async fn confirm(&self) -> Result<(), super::pulse::Unconfirmed> {
        self.pulse.confirm().await
    }

    /// Proposes an entry. Errors if Raft has stopped and nothing was proposed; otherwise the receiver gets the outcome
    /// once it is known, which may be never.
    pub(crate) async fn propose(&self, packed: Packed) -> Result<oneshot::Receiver<Proposed>, String> {
        self.raft.client_write_ff(packed).await.map_err(|error| error.to_string())
    }

    /// Waits until every voter has `index` on disk.
    pub(crate) async fn on_all_voters(&self, index: u64) {
        let mut metrics = self.raft.metrics();
        let everywhere = |metrics: &Metrics| {
            let has = |id: &u64| {
                let matched = metrics.replication.as_ref().and_then(|matched| matched.get(id).copied().flatten());
                *id == self.scope.replica || matched.is_some_and(|matched| matched.index >= index)
            };
            metrics.membership_config.voter_ids().all(|id| has(&id))
        };
        if metrics.wait_for(everywhere).await.is_err() {
            // The core has stopped; whoever waits has a time limit.
            futures::future::pending::<()>().await;
        }
    }

    /// Stands for election.
    pub(crate) async fn elect(&self) -> Result<(), String> {
        self.raft.trigger().elect().await.map_err(|error| error.to_string())
    }

    /// Asks the replica on `node` to stand for election.
    pub(crate) async fn ask_to_stand(&self, node: &NodeId, promote: Promote) {
        match self.peers.promote(node, promote).await {
            Ok(answer) => tracing::debug!(shard = %self.scope.shard, %node, ?answer, "asked to stand for election"),
            Err(error) => tracing::warn!(shard = %self.scope.shard, %error, "could not be asked to stand for election"),
        }
    }

    /// Asks the primary to hand over to this replica; whether it will.
    pub(crate) async fn ask_for_lead(&self, primary: &Peer) -> bool {
        let message = wire::Message::HandOver { to: self.scope.replica };
        let message = wire::seal(&self.scope.of(primary.raft_id.0), &message);
        let answer = self.peers.replicate(&primary.node, Lane::Pulse, message).await;
        answer.is_ok_and(|answer| wire::decode(&answer) == Ok(wire::Answer::Done))
    }

    /// Stops the signs of life, so that the voters' leases run out, or resumes them.
    pub(crate) fn set_quiet(&self, quiet: bool) {
        self.pulse.set_quiet(quiet);
        self.raft.runtime_config().heartbeat(!quiet);
    }

    /// Reads the engine.
    pub(crate) fn read<T>(&self, read: impl FnOnce(&dyn storage::Read) -> T) -> T {
        let _open = self.shared.gate.read().unwrap_or_else(PoisonError::into_inner);
        read(self.engine.as_ref())
    }

    /// Reads the engine as it is at one point in time.
    pub(crate) fn read_view<T>(&self, read: impl FnOnce(&dyn storage::Read) -> T) -> Result<T, storage::Error> {
        let _open = self.shared.gate.read().unwrap_or_else(PoisonError::into_inner);
        Ok(read(self.engine.view()?.as_ref()))
    }

    /// Reads the engine unless its content is being replaced just now, which takes long.
    pub(crate) fn try_read<T>(&self, read: impl FnOnce(&dyn storage::Read) -> T) -> Option<T> {
        let _open = match self.shared.gate.try_read() {
            Ok(open) => open,
            Err(std::sync::TryLockError::Poisoned(open)) => open.into_inner(),
            Err(std::sync::TryLockError::WouldBlock) => return None,
        };
        Some(read(self.engine.as_ref()))
    }

    /// A view of the engine as it is now, and the place in the log of the last entry in it.
    pub(crate) fn view(&self) -> Result<(Term, Index, Box<dyn storage::Read>), storage::Error> {
        let _open = self.shared.gate.read().unwrap_or_else(PoisonError::into_inner);
        let view = self.engine.view()?;
        let at = read_applied(view.as_ref())?.log_id.unwrap_or_default();
        Ok((Term(at.leader_id.term), Index(at.index), view))
    }

    /// The engine, to write beside the log (and to ask for its size).
    pub(crate) fn engine(&self) -> &Arc<dyn Engine> {
        &self.engine
    }

    /// What it counts for those who watch it.
    pub(crate) fn counts(&self) -> &Counts {
        &self.shared.counts
    }

    pub(crate) fn wal(&self) -> &Wal {
        &self.wal
    }

    /// Waits until an entry at `index` or behind is applied; `false` if the replica stops before.
    pub(crate) async fn applied_past(&self, index: Index) -> bool {
        let mut applied = self.shared.watch_applied();
        tokio::select! {
            reached = applied.wait_for(|applied| applied.log_id.is_some_and(|id| id.index >= index.0)) => reached.is_ok(),
            () = self.stopping() => false,
        }
    }

    /// Changes whenever role, term, primary or membership do.
    pub(crate) fn watch_role(&self) -> impl AsyncChanges + use<> {
        self.raft.server_metrics()
    }

    /// Whether the disk was full when something was last written.
    pub(crate) fn is_disk_full(&self) -> bool {
        self.shared.is_disk_full()
    }

    /// Bytes of snapshots received since the start, one that is still coming included.
    pub(crate) fn snapshot_bytes(&self) -> u64 {
        self.shared.counts.received.bytes.get()
    }

    /// Deletes some of what dropped databases left; whether there was anything.
    pub(crate) fn sweep(&self) -> Result<bool, storage::Error> {
        let _open = self.shared.gate.read().unwrap_or_else(PoisonError::into_inner);
        let batch = store::sweep(self.engine.as_ref(), SWEEP_KEYS)?;
        if batch.changes.is_empty() {
            return Ok(false);
        }
        self.engine.apply(batch).map(|()| true)
    }

    /// Whether indexes of views may have been left over since this was asked last.
    pub(crate) fn take_views_left(&self) -> bool {
        self.shared.views_left.swap(false, Ordering::Relaxed)
    }

    /// Notes that indexes of views may be left over.
    pub(crate) fn note_views_left(&self) {
        self.shared.views_left.store(true, Ordering::Relaxed);
    }

    /// Writes beside the log what can be made again from what is in it: a batch made of what the engine has now.
    pub(crate) fn write_beside<T>(
        &self,
        make: impl FnOnce(&dyn storage::Read) -> Result<(storage::Batch, T), storage::Error>,
    ) -> Result<T, storage::Error> {
        let _open = self.shared.gate.read().unwrap_or_else(PoisonError::into_inner);
        let _beside = self.shared.beside.read().unwrap_or_else(PoisonError::into_inner);
        let (batch, made) = make(self.engine.as_ref())?;
        if !batch.changes.is_empty() {
            self.engine.apply(batch)?;
        }
        Ok(made)
    }

    /// Committed entries from `from` on, for people to read.
    pub(crate) fn committed(&self, from: Index, limit: usize) -> Result<Vec<Committed>, String> {
        let end = self.shared.applied().log_id.map_or(0, |id| id.index + 1);
        let end = end.min(from.0.saturating_add(limit as u64));
        if from.0 >= end {
            return Ok(Vec::new());
        }
        let entries = self.wal.read(from.0..end, COMMITTED_BYTES_MAX).map_err(|error| error.to_string())?;
        entries.into_iter().map(Committed::of).collect()
    }

    /// Done when the replica stops.
    pub(crate) async fn stopping(&self) {
        self.shared.stopping.cancelled().await;
    }

    /// The files of this replica cannot be trusted any more: the process should end and rebuild it.
    pub(crate) fn fail(&self, reason: String) {
        self.shared.set_damage(reason.clone());
        (self.fatal)(reason, true);
    }

    /// Why the files cannot be trusted any more, if so.
    pub(crate) fn damage(&self) -> Option<String> {
        self.shared.damage()
    }

    /// Makes the engine durable as it is now and purges the log behind that, but for `keep` bytes.
    pub(crate) async fn purge(&self, keep: u64) -> Result<(), String> {
        let builder = self.builder.clone();
        let failed = |error: &dyn std::fmt::Display| error.to_string();
        run(self.engine.as_ref(), move || builder.make_durable()).await.map_err(|error| failed(&error))?;
        self.raft.trigger().snapshot().await.map_err(|error| failed(&error))?;
        let durable = self.shared.watch_durable().borrow().map_or(0, |id| id.index);
        let mut metrics = self.raft.metrics();
        let built = metrics.wait_for(|metrics| metrics.snapshot.is_some_and(|id| id.index >= durable));
        drop(built.await.map_err(|error| failed(&error))?);
        let upto = purge_point(&self.wal, keep).min(durable);
        self.raft.trigger().purge_log(upto).await.map_err(|error| failed(&error))
    }

    /// Ends everything; the log is closed, the engine is flushed.
    pub(crate) async fn shutdown(&self) {
        self.shared.stopping.cancel();
        if let Err(error) = self.raft.shutdown().await {
            tracing::warn!(shard = %self.scope.shard, %error, "raft did not end cleanly");
        }
        let mut tasks = std::mem::take(&mut *self.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        tasks.shutdown().await;
        let engine = self.engine.clone();
        if let Err(error) = run(self.engine.as_ref(), move || engine.flush()).await {
            tracing::warn!(shard = %self.scope.shard, %error, "the engine was not flushed");
        }
        if let Err(error) = self.wal.close() {
            tracing::warn!(shard = %self.scope.shard, %error, "the log did not close cleanly");
        }
    }
}

/// The last index to purge so that about `keep` bytes of log stay.
fn purge_point(wal: &Wal, keep: u64) -> u64 {
    let (mut low, mut high) = (wal.first_index().unwrap_or(0), wal.last().map_or(0, |last| last.index));
    while low < high {
        let middle = low + (high - low) / 2;
        if wal.tail_bytes_since(middle) > keep { low = middle + 1 } else { high = middle }
    }
    low
}

/// Tells when the core stops by itself, or has to because the log failed.
async fn watch_core(raft: Raft, shared: Arc<Shared>, fatal: Fatal) {
    let mut metrics = raft.metrics();
    let reason = tokio::select! {
        stopped = metrics.wait_for(|metrics| metrics.running_state.is_err()) => match stopped {
            Ok(metrics) => metrics.running_state.as_ref().err().map(ToString::to_string),
            Err(_) => None,
        },
        // After the entry was taken: the core may not have noticed yet.
        error = shared.log_failed() => Some(error.to_string()),
    };
    if !shared.stopping.is_cancelled() {
        fatal(reason.unwrap_or_else(|| "it panicked".to_owned()), shared.damage().is_some());
    }
}

/// Something that can be waited on to change.
pub(crate) trait AsyncChanges: Send {
    /// Waits for a change; an error when there will be none.
    fn changed(&mut self) -> impl Future<Output = Result<(), ()>> + Send;
}

impl<T: Send + Sync> AsyncChanges for tokio::sync::watch::Receiver<T> {
    async fn changed(&mut self) -> Result<(), ()> {
        tokio::sync::watch::Receiver::changed(self).await.map_err(drop)
    }
}
